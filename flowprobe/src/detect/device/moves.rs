//! Addresses that change from one network card to another while both are there.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::super::finding::{Rule, Seen, Severity, Sighting, Subject};
use super::super::flow::{Flow, Ip, Mac};
use super::super::sketch::recent::Recent;
use super::super::words::{counted, span};

/// Addresses that are followed at once, on each interface and VLAN.
const PLACES: usize = 1 << 16;

/// Addresses of several cards that are kept.
const SHARED: usize = 4096;

/// MAC addresses that are kept of each.
const EACH: usize = 4;

/// A card that has sent from the address within this time still has it.
const LIVE_MS: i64 = 30_000;

/// A card that had the address within this time has it back.
const BACK_MS: i64 = 1_800_000;

/// Changes that are further apart are not counted together.
const APART_MS: i64 = 300_000;

/// Changes from which on it goes back and forth: there, back, and there again.
const BACK_AND_FORTH: u32 = 3;

/// Addresses in an hour that have findings of their own; the rest is one.
const SINGLE: u32 = 20;

const HOUR_MS: i64 = 3_600_000;

/// An address that several network cards claim at once.
static CONFLICT: Rule = Rule { name: "address-conflict", technique: Some("T1557.002"), quiet_ms: 1_800_000 };

/// The same address on another interface or VLAN may be another host's, or the same packet behind a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place {
    ip: Ip,
    interface: u32,
    vlan: u16,
}

impl Place {
    const fn of(flow: &Flow) -> Self {
        Self { ip: flow.source, interface: flow.interface, vlan: flow.vlan }
    }
}

#[derive(Debug)]
struct Binding {
    current: Mac,
    /// Those that had it last, and when.
    macs: Vec<(Mac, i64)>,
    /// Changes so far, and when the first and the last was.
    changes: u32,
    since_ms: i64,
    changed_ms: i64,
    is_of_a_router: bool,
    /// Whether it has a finding of its own.
    is_single: bool,
    evidence: Vec<Flow>,
}

impl Binding {
    fn new(mac: Mac) -> Self {
        Self {
            current: mac,
            macs: Vec::new(),
            changes: 0,
            since_ms: 0,
            changed_ms: i64::MIN / 2,
            is_of_a_router: false,
            is_single: false,
            evidence: Vec::new(),
        }
    }

    fn last_ms(&self, mac: Mac) -> i64 {
        self.macs.iter().find(|(other, _)| *other == mac).map_or(i64::MIN / 2, |(_, last_ms)| *last_ms)
    }

    fn note(&mut self, mac: Mac, at_ms: i64) {
        match self.macs.iter_mut().find(|(other, _)| *other == mac) {
            Some((_, last_ms)) => *last_ms = at_ms.max(*last_ms),
            None => {
                if self.macs.len() >= EACH {
                    let oldest = (0..EACH).min_by_key(|index| self.macs[*index].1).unwrap_or(0);
                    self.macs.swap_remove(oldest);
                }
                self.macs.push((mac, at_ms));
            }
        }
    }

    /// Takes in that a card sent from the address; whether that is a change while the other is there.
    fn take(&mut self, flow: &Flow) -> bool {
        let (mac, last_ms, had_ms) = (flow.source_mac, self.last_ms(self.current), self.last_ms(flow.source_mac));
        self.note(mac, flow.end_ms);
        // What was sent before the change may be told of after it.
        if mac == self.current || flow.end_ms <= last_ms {
            return false;
        }
        self.current = mac;
        // One that comes back to what it had was not replaced by it.
        if flow.start_ms - last_ms > LIVE_MS && flow.start_ms - had_ms > BACK_MS {
            return false;
        }
        if flow.end_ms - self.changed_ms > APART_MS {
            (self.changes, self.since_ms) = (0, flow.end_ms);
            self.evidence.clear();
        }
        self.changes = self.changes.saturating_add(1);
        self.changed_ms = flow.end_ms;
        if self.evidence.len() < EACH {
            self.evidence.push(*flow);
        }
        true
    }
}

/// Which card has which address.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Moves {
    /// What happens within minutes begins anew after a restart.
    #[serde(skip, default = "places")]
    places: Recent<Place, Binding>,
    /// Addresses that had several cards at once in the learning time: teams of cards, or servers behind a balancer.
    shared: BTreeSet<Ip>,
    #[serde(skip)]
    hour: Hour,
}

/// Addresses that were found since an hour began, and those of them that have no finding of their own.
#[derive(Debug, Default)]
struct Hour {
    began_ms: i64,
    single: u32,
    more: u64,
    said: u64,
}

fn places() -> Recent<Place, Binding> {
    Recent::new(PLACES)
}

impl Default for Moves {
    fn default() -> Self {
        Self { places: places(), shared: BTreeSet::new(), hour: Hour::default() }
    }
}

/// Who sends from an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// A device.
    Device,
    /// A router that is known as such, from an address of its own.
    Router,
    /// A device that sends for others lately.
    Relay,
}

impl Moves {
    /// The card that has the address of a flow, if it is another than that of the flow.
    pub(super) fn other(&self, flow: &Flow) -> Option<Mac> {
        self.places.get(&Place::of(flow)).map(|binding| binding.current).filter(|mac| *mac != flow.source_mac)
    }

    /// Forgets who has the address of a flow.
    pub(super) fn forget(&mut self, flow: &Flow) {
        self.places.remove(&Place::of(flow));
    }

    /// Takes in a flow from an inside address.
    pub(super) fn take(&mut self, flow: &Flow, sender: Sender, is_learning: bool, seen: &mut Seen) {
        let place = Place::of(flow);
        if sender == Sender::Relay && self.places.get(&place).is_none() {
            // Addresses behind it are not looked after; there may be any number.
            return;
        }
        let binding = self.places.entry(place, || Binding::new(flow.source_mac));
        binding.is_of_a_router |= sender == Sender::Router;
        if !binding.take(flow) {
            return;
        }
        if is_learning {
            if binding.changes > 1 && self.shared.len() < SHARED {
                self.shared.insert(flow.source);
            }
        } else if (binding.changes.is_power_of_two() || binding.changes == BACK_AND_FORTH)
            && !self.shared.contains(&flow.source)
        {
            seen.extend(self.hour.say(binding, flow));
        }
    }

    pub(super) fn memory(&self) -> (usize, u64) {
        (self.places.len() + self.shared.len(), self.places.forgotten())
    }
}

impl Hour {
    /// What is to be said of an address that has changed.
    fn say(&mut self, binding: &mut Binding, flow: &Flow) -> Option<Sighting> {
        if flow.end_ms - self.began_ms > HOUR_MS {
            *self = Self { began_ms: flow.end_ms, ..Self::default() };
        }
        if !binding.is_single && self.single < SINGLE {
            self.single += 1;
            binding.is_single = true;
        }
        if binding.is_single {
            return Some(sighting(binding, flow));
        }
        self.more += 1;
        if self.more < self.said * 2 {
            return None;
        }
        self.said = self.more;
        let one = sighting(binding, flow);
        let title = format!("{} more between network cards", counted(self.more, "change"));
        let (subject, first_ms) = (Subject::Interface("all networks".to_owned()), self.began_ms);
        let explanation = format!(
            "{title} in {}, of inside addresses; each of the first {SINGLE} addresses of an hour has a finding of its own. \
             The last: {}",
            span(flow.end_ms - self.began_ms),
            one.explanation
        );
        Some(Sighting { subject, title, explanation, first_ms, ..one })
    }
}

fn sighting(binding: &Binding, flow: &Flow) -> Sighting {
    let ip = flow.source;
    let severity = match (binding.is_of_a_router, binding.changes) {
        (true, changes) if changes > BACK_AND_FORTH => Severity::High,
        (true, _) => Severity::Medium,
        (false, changes) if changes >= BACK_AND_FORTH => Severity::Medium,
        (false, _) => Severity::Low,
    };
    let others: Vec<String> =
        binding.macs.iter().filter(|(mac, _)| *mac != flow.source_mac).map(|(mac, _)| mac.to_string()).collect();
    let whose = if binding.is_of_a_router { "The address of a router, " } else { "" };
    let (title, what) = if binding.changes < BACK_AND_FORTH {
        let after = span(flow.end_ms - others_last(binding, flow.source_mac));
        let what = format!("which took over {after} after the other had last sent from it");
        (format!("{ip} has changed to another network card"), what)
    } else {
        let changes = counted(binding.changes.into(), "time");
        let within = span(flow.end_ms - binding.since_ms);
        (format!("{ip} changes between network cards"), format!("and changed between them {changes} in {within}"))
    };
    let explanation = format!(
        "{whose}{ip}, was sent from by {} and then by {}, {what}. Two devices have the same address, or one of them claims the \
         other's to read along (ARP or neighbour discovery spoofing).",
        others.join(" and "),
        flow.source_mac
    );
    let explanation = if whose.is_empty() { explanation.replacen(", was", " was", 1) } else { explanation };
    Sighting {
        rule: &CONFLICT,
        severity,
        subject: ip.into(),
        matter: String::new(),
        title,
        explanation,
        peers: vec![],
        first_ms: binding.since_ms,
        last_ms: flow.end_ms,
        evidence: binding.evidence.clone(),
    }
}

fn others_last(binding: &Binding, mac: Mac) -> i64 {
    let others = binding.macs.iter().filter(|(other, _)| *other != mac);
    others.map(|(_, last_ms)| *last_ms).max().unwrap_or(binding.since_ms)
}
