//! Which change is sent next, and when: pure, and handed the time.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use super::super::pace::Pace;
use super::journal::Stored;
use super::post::{Job, Outcome};
use crate::detect::finding::Severity;

/// All changes that wait, in the order in which they came.
///
/// Where the receiver fails, all wait, and one is tried. Where it refuses one change, that waits, and those of the same finding after it.
pub(super) struct Book {
    pace: Pace,
    items: VecDeque<Item>,
    next: u64,
    /// Failures of the receiver in a row.
    failures: u32,
    /// Nothing is sent before.
    due: Instant,
}

struct Item {
    stored: Stored,
    since: Instant,
    failures: u32,
    due: Instant,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Send this, and say what has become of it.
    Send(Job),
    /// Nothing before then.
    At(Instant),
    /// Nothing waits.
    Nothing,
}

impl Book {
    pub(super) fn new(pace: Pace, now: Instant) -> Self {
        Self { pace, items: VecDeque::new(), next: 0, failures: 0, due: now }
    }

    /// Puts one at the end.
    pub(super) fn add(
        &mut self,
        severity: Severity,
        finding: String,
        key: String,
        body: String,
        now: Instant,
    ) -> Stored {
        let stored = Stored { number: self.next, severity, finding, key, body };
        self.restore(stored.clone(), now);
        stored
    }

    /// Puts one that an earlier run has left at the end. It is tried for as long as a new one: nobody knows how long there was no network.
    pub(super) fn restore(&mut self, stored: Stored, now: Instant) {
        self.next = self.next.max(stored.number.saturating_add(1));
        self.items.push_back(Item { stored, since: now, failures: 0, due: now });
    }

    /// What waits.
    pub(super) fn stored(&self) -> impl Iterator<Item = &Stored> {
        self.items.iter().map(|item| &item.stored)
    }

    /// Puts the latest of this severity away that is not on its way, and returns its number.
    pub(super) fn give_way(&mut self, severity: Severity, in_flight: Option<u64>) -> Option<u64> {
        let may = |item: &Item| item.stored.severity == severity && Some(item.stored.number) != in_flight;
        let at = self.items.iter().rposition(may)?;
        self.items.remove(at).map(|item| item.stored.number)
    }

    /// What to do now.
    pub(super) fn next(&self, now: Instant) -> Next {
        if !self.items.is_empty() && now < self.due {
            return Next::At(self.due);
        }
        let mut held = HashSet::new();
        let mut soonest: Option<Instant> = None;
        for item in &self.items {
            if held.contains(&item.stored.finding) {
                continue;
            }
            if item.due <= now {
                let Stored { number, key, body, .. } = item.stored.clone();
                return Next::Send(Job { number, key, body });
            }
            held.insert(&item.stored.finding);
            soonest = Some(soonest.map_or(item.due, |soonest| soonest.min(item.due)));
        }
        soonest.map_or(Next::Nothing, Next::At)
    }

    /// Takes note of what has become of one. Returns those that do not wait any more: the one that was delivered, or those that are given up.
    pub(super) fn done(&mut self, number: u64, outcome: Outcome, now: Instant) -> Vec<Stored> {
        let Some(position) = self.items.iter().position(|item| item.stored.number == number) else {
            return Vec::new();
        };
        let keeps = self.pace.keeps;
        let is_old = |item: &Item| now.saturating_duration_since(item.since) >= keeps;
        match outcome {
            Outcome::Delivered => {
                self.failures = 0;
                self.due = now;
                self.items.remove(position).map(|item| item.stored).into_iter().collect()
            }
            Outcome::Away { retry_after } => {
                self.failures = self.failures.saturating_add(1);
                self.due = now + self.wait(self.failures, retry_after);
                let (old, young) = std::mem::take(&mut self.items).into_iter().partition::<VecDeque<_>, _>(is_old);
                self.items = young;
                old.into_iter().map(|item| item.stored).collect()
            }
            Outcome::Refused { retry_after } => {
                self.failures = 0;
                self.due = now;
                if is_old(&self.items[position]) {
                    return self.items.remove(position).map(|item| item.stored).into_iter().collect();
                }
                let wait = self.wait(self.items[position].failures.saturating_add(1), retry_after);
                let item = &mut self.items[position];
                item.failures = item.failures.saturating_add(1);
                item.due = now + wait;
                Vec::new()
            }
        }
    }

    /// No shorter than the receiver wants it, up to a day.
    fn wait(&self, failures: u32, retry_after: Option<Duration>) -> Duration {
        let asked = retry_after.unwrap_or_default().min(self.pace.keeps);
        let usual = self.pace.wait(failures);
        // Many senders may have been told the same moment.
        if asked > usual { asked + usual.min(asked / 10) } else { usual }
    }
}

#[cfg(test)]
mod tests;
