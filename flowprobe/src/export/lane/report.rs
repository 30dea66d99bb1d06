//! What a lane's collectors are told beside flows: options records (RFC 7011 section 4).

use std::time::Instant;

use super::super::encode::Pushed;
use super::super::options::{Facts, Interface};
use super::Lane;
use crate::kernel;
use crate::sink::Tick;

impl Lane {
    /// Says what the session has had and what it lacks: at first, with every refresh of the templates, and at the end. They are of
    /// the moment: where nobody can be reached, or messages wait, they are not said.
    pub(super) async fn report(&mut self, tick: &Tick) {
        self.flush().await;
        self.not_sent.note(self.losses.total(), tick.offset.to_wall_ms(tick.now_ns));
        self.refresh_templates().await;
        self.refresh_options();
        if !(self.options_due || tick.last) || self.link.active.is_none() || !self.store.is_empty() {
            return;
        }
        // Once more where the path has turned out to be too narrow.
        for _ in 0..2 {
            self.options_due = false;
            self.push_options(tick);
            self.flush().await;
            if !self.options_due {
                break;
            }
        }
        self.options_sent = Some(Instant::now());
    }

    /// Over a connection templates are not refreshed; what is said with them over UDP is said as often.
    fn refresh_options(&mut self) {
        let refresh = self.plan.template_refresh();
        self.options_due |= self.options_sent.is_some_and(|sent| sent.elapsed() >= refresh);
    }

    fn push_options(&mut self, tick: &Tick) {
        let domain = self.plan.domain.of_options();
        // As flows are numbered: replayed ones by the capture, whose name the accounting has.
        let system = if self.plan.is_live { system_interfaces() } else { Vec::new() };
        let metered = tick.accounting.iter().map(|one| (one.ifindex, &*one.interface, &*one.interface));
        let system = system.iter().map(|(index, name, alias)| (*index, name.as_str(), alias.as_str()));
        let mut interfaces: Vec<Interface<'_>> =
            system.chain(metered).map(|(index, name, description)| Interface { index, name, description }).collect();
        interfaces.sort_by_key(|interface| interface.index);
        interfaces.dedup_by_key(|interface| interface.index);
        let facts = Facts::new(tick, domain, std::process::id(), self.health.sent(), self.not_sent);
        for (template, facts) in facts.records(self.plan.format, &self.schema.clone(), tick, &interfaces) {
            if self.encoder(domain).push_options(template, &facts) == Pushed::NoRoom {
                self.finish(domain);
                self.encoder(domain).push_options(template, &facts);
            }
        }
    }
}

/// Index, name and alias of every interface of the system.
fn system_interfaces() -> Vec<(u32, String, String)> {
    let one = |name: String| {
        let alias = kernel::interface_alias(&name).unwrap_or_else(|| name.clone());
        Some((kernel::interface_index(&name)?, name, alias))
    };
    kernel::interface_names().into_iter().filter_map(one).collect()
}
