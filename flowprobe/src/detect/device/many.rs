//! New and unauthorised devices: few are said one by one, many together.

use serde::{Deserialize, Serialize};

use super::super::finding::{Rule, Severity, Sighting, Subject};
use super::super::flow::Flow;
use super::super::words::counted;

pub(super) static NEW: Rule = Rule { name: "new-device", technique: Some("T1200"), quiet_ms: 3_600_000 };
pub(super) static UNAUTHORISED: Rule =
    Rule { name: "unauthorised-device", technique: Some("T1200"), quiet_ms: 3_600_000 };

pub(super) const DAY_MS: i64 = 86_400_000;

/// New devices of a day, up to which each is worth a look.
pub(super) const RARE: usize = 3;

/// New devices of a day, up to which each has a finding of its own.
pub(super) const SINGLE: usize = 20;

/// Many of a kind that are said together.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Fold {
    since_ms: i64,
    count: u64,
    said: u64,
}

/// Kinds of [`Fold`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Many {
    Random,
    New,
    Addresses,
    UnauthorisedRandom,
    Unauthorised,
}

impl Fold {
    /// Counts one; says so of the first in a day, and whenever they are twice as many.
    pub(super) fn say(&mut self, many: Many, flow: &Flow, now_ms: i64) -> Option<Sighting> {
        if now_ms - self.since_ms > DAY_MS {
            *self = Self { since_ms: now_ms, count: 0, said: 0 };
        }
        self.count += 1;
        if self.count < self.said * 2 {
            return None;
        }
        self.said = self.count;
        let (rule, severity, what, why) = match many {
            Many::Random => (
                &NEW,
                Severity::Low,
                "new random MAC address",
                "Phones and laptops make up MAC addresses, and change them",
            ),
            Many::New => {
                (&NEW, Severity::Low, "more new device", "Each of the first 20 of a day has a finding of its own")
            }
            Many::Addresses => {
                (&NEW, Severity::Low, "more new address", "Each of the first 3 of a day has a finding of its own")
            }
            Many::UnauthorisedRandom => (
                &UNAUTHORISED,
                Severity::Low,
                "unauthorised random MAC address",
                "Devices made them up, and they are not in the file of approvals",
            ),
            Many::Unauthorised => (
                &UNAUTHORISED,
                Severity::Medium,
                "more unauthorised device",
                "Each of the first 20 of a day has a finding of its own",
            ),
        };
        let title = counted(self.count, what);
        let has_mac = flow.source_mac.is_of_a_station();
        let last = if has_mac { flow.source_mac.to_string() } else { flow.source.to_string() };
        let explanation = format!("{title} within 24 h, the last of them {last}. {why}.");
        Some(Sighting {
            subject: Subject::Interface("all networks".to_owned()),
            matter: format!("{many:?}").to_lowercase(),
            first_ms: self.since_ms,
            ..sighting(rule, severity, flow, title, explanation)
        })
    }
}

/// Counts one; how many there were in the last day, at most one more than are told apart.
pub(super) fn arrive(arrivals: &mut Vec<i64>, now_ms: i64) -> usize {
    arrivals.retain(|at_ms| now_ms - at_ms < DAY_MS);
    if arrivals.len() <= SINGLE {
        arrivals.push(now_ms);
    }
    arrivals.len()
}

/// Of the card that sent a flow.
pub(super) fn sighting(
    rule: &'static Rule,
    severity: Severity,
    flow: &Flow,
    title: String,
    explanation: String,
) -> Sighting {
    let is_named = flow.source.is_of_a_host();
    Sighting {
        rule,
        severity,
        subject: Subject::Mac(flow.source_mac),
        matter: String::new(),
        title,
        explanation,
        peers: if is_named { vec![flow.source] } else { vec![] },
        first_ms: flow.start_ms,
        last_ms: flow.end_ms,
        evidence: vec![*flow],
    }
}
