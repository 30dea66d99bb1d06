//! The templates of a session.

use std::sync::Arc;
use std::time::Instant;

use lru::LruCache;

use super::super::read::Plan;
use super::super::template::Template;
use super::super::wire::Layout;
use super::Limits;
use super::common::Common;
use super::tally::{Charge, Tally};

/// Octets that a template takes for each of its fields, with what is made of them for reading, and besides.
const PER_FIELD: usize = 64;
const BESIDES: usize = 512;

/// Octets that a session takes for each of its templates, which it may share with others.
const PER_TEMPLATE: usize = 128;

/// A template and what was made of it for reading.
#[derive(Debug)]
pub(super) struct Known {
    template: Template,
    pub(super) layout: Layout,
    pub(super) plan: Plan,
    /// Whether its records are options.
    pub(super) options: bool,
    _charge: Charge,
}

impl Known {
    /// `None` where its records would have no octets.
    pub(super) fn of(template: Template, options: bool, state: &Tally) -> Option<Self> {
        let layout = Layout::of(&template)?;
        let charge = state.charge(BESIDES + template.fields.len() * PER_FIELD);
        let plan = Plan::of(&template);
        Some(Self { template, layout, plan, options, _charge: charge })
    }

    /// Whether it was made of this one.
    pub(super) fn is(&self, template: &Template, options: bool) -> bool {
        self.options == options && self.template == *template
    }

    /// Whether records are read by the other as by this one.
    pub(super) fn is_same(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        Arc::ptr_eq(self, other) || self.is(&other.template, other.options)
    }
}

/// What a template was to the session that was told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// The same as before.
    Again,
    New,
    /// Another than before with this ID.
    Changed,
}

/// A template that a session was told.
#[derive(Debug)]
struct Own {
    known: Arc<Known>,
    refreshed: Instant,
    /// The life of its exporter in which it was told, or told again.
    life: u32,
    _charge: Charge,
}

/// The templates of a session by their IDs, which flows and options share.
#[derive(Debug)]
pub(super) struct Stock {
    known: LruCache<u16, Own>,
    /// Those from before a restart that may have been none.
    former: LruCache<u16, Own>,
    /// The number of the session.
    session: u64,
    /// Whether they came in datagrams. Those of a connection are nobody else's (RFC 7011 section 8).
    shared: bool,
    /// Whether it was ever told one.
    told: bool,
}

impl Stock {
    pub(super) fn new(session: u64, shared: bool) -> Self {
        let (known, former) = (LruCache::unbounded(), LruCache::unbounded());
        Self { known, former, session, shared, told: false }
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether it brought datagrams and never a template, so that its exporter may have told them elsewhere.
    pub(super) const fn wants_others(&self) -> bool {
        self.shared && !self.told
    }

    /// Whether templates of others may be used, in the end.
    pub(super) const fn is_shared(&self) -> bool {
        self.shared
    }

    /// The template with this ID, which is in use now.
    pub(super) fn get(&mut self, id: u16) -> Option<&Arc<Known>> {
        self.known.get(&id).map(|own| &own.known)
    }

    /// Learns a template. What it was, and how many others had to go for it.
    pub(super) fn learn(
        &mut self,
        id: u16,
        (template, options): (Template, bool),
        now: Instant,
        common: &mut Common,
        (state, limits): (&Tally, &Limits),
    ) -> (Told, u64) {
        self.told = true;
        let before = self.known.get_mut(&id);
        let told = match &before {
            Some(own) if own.known.is(&template, options) => Told::Again,
            Some(_) => Told::Changed,
            None => Told::New,
        };
        if let (Told::Again, Some(own)) = (told, before) {
            own.refreshed = now;
            match (self.shared, own.life == common.life()) {
                (true, true) => common.again(id, &own.known, self.session),
                (true, false) => common.add(id, &own.known, self.session),
                (false, _) => {}
            }
            own.life = common.life();
        } else {
            let shared = if self.shared { common.find(id, &template, options) } else { None };
            if let Some(known) = shared.or_else(|| Known::of(template, options, state).map(Arc::new)) {
                self.withdraw(id, common);
                if self.shared {
                    common.add(id, &known, self.session);
                }
                let (life, charge) = (common.life(), state.charge(PER_TEMPLATE));
                self.known.put(id, Own { known, refreshed: now, life, _charge: charge });
            }
        }
        let mut gone = 0;
        while self.known.len() > limits.templates && self.withdraw_idlest(common) {
            gone += 1;
        }
        (told, gone)
    }

    /// Forgets the template with this ID. Whether there was one.
    pub(super) fn withdraw(&mut self, id: u16, common: &mut Common) -> bool {
        let own = self.known.pop(&id);
        own.iter().for_each(|own| self.leave(id, own, common));
        own.is_some()
    }

    /// Takes one of its templates out of those in common.
    fn leave(&self, id: u16, own: &Own, common: &mut Common) {
        if self.shared && own.life == common.life() {
            common.remove(id, &own.known);
        }
    }

    /// Forgets those of options, or those of flows. How many there were.
    pub(super) fn withdraw_all(&mut self, options: bool, common: &mut Common) -> u64 {
        self.forget(|own| own.known.options == options, common)
    }

    /// Forgets all, but so that they can be taken back.
    pub(super) fn set_aside(&mut self, common: &mut Common) {
        let known = std::mem::replace(&mut self.known, LruCache::unbounded());
        known.iter().for_each(|(&id, own)| self.leave(id, own, common));
        self.former = known;
    }

    /// Takes back what was set aside, but for what has been told anew since.
    pub(super) fn take_back(&mut self, common: &mut Common) {
        let mut former = std::mem::replace(&mut self.former, LruCache::unbounded());
        former.iter_mut().for_each(|(_, own)| own.life = common.life());
        self.add(former, common);
    }

    /// Takes over what another session, which is no more, had set aside and this one does not know.
    pub(super) fn append(&mut self, other: Self, common: &mut Common) {
        self.told |= other.told;
        self.add(other.former, common);
    }

    fn add(&mut self, mut templates: LruCache<u16, Own>, common: &mut Common) {
        while let Some((id, own)) = templates.pop_lru() {
            if self.known.contains(&id) {
                continue;
            }
            if self.shared && own.life == common.life() {
                common.add(id, &own.known, self.session);
            }
            self.known.put(id, own);
        }
    }

    /// Forgets those that were not told again for too long. How many there were.
    pub(super) fn expire(&mut self, now: Instant, common: &mut Common, limits: &Limits) -> u64 {
        let is_old = |own: &Own| now.saturating_duration_since(own.refreshed) > limits.templates_for;
        if self.former.iter().any(|(_, own)| is_old(own)) {
            self.former.clear();
        }
        self.forget(is_old, common)
    }

    /// Forgets one that was set aside, else the one whose last use is the longest ago. Whether there was one.
    pub(super) fn forget_idlest(&mut self, common: &mut Common) -> bool {
        self.former.pop_lru().is_some() || self.withdraw_idlest(common)
    }

    fn withdraw_idlest(&mut self, common: &mut Common) -> bool {
        self.known.peek_lru().map(|(&id, _)| id).is_some_and(|id| self.withdraw(id, common))
    }

    fn forget(&mut self, gone: impl Fn(&Own) -> bool, common: &mut Common) -> u64 {
        let ids: Vec<u16> = self.known.iter().filter(|(_, own)| gone(own)).map(|(id, _)| *id).collect();
        ids.iter().filter(|&&id| self.withdraw(id, common)).count() as u64
    }
}
