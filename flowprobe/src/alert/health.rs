//! How a sink fares, as status and metrics show it: told by its thread, read by who asks.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tracing::{error, info, warn};

use crate::detect::finding::Severity;

/// Changes that wait for a sink at most. Where more come, those of the lowest severity are refused, of these the latest.
pub const ROOM: u64 = 1000;

/// What is known of a sink. Of all changes that it was to be told, each is sent, failed, refused, or waits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What the configuration calls it.
    pub name: String,
    /// Changes that were delivered.
    pub sent: u64,
    /// Changes that were given up.
    pub failed: u64,
    /// Changes for which there was no room, also those that had waited and gave way to worse ones.
    pub refused: u64,
    /// Changes that wait.
    pub waiting: u64,
    /// Attempts that came to nothing, most of them made again.
    pub failed_attempts: u64,
    /// What is wrong, while something is.
    pub trouble: Option<String>,
    /// How often what waits could not be written to disk.
    #[serde(default)]
    pub failed_saves: u64,
    /// Why what waits would not survive a restart, while that is so.
    #[serde(default)]
    pub unsaved: Option<String>,
}

/// The same, shared.
#[derive(Clone, Debug)]
pub(super) struct Health(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    name: String,
    sent: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
    waiting: Mutex<Waiting>,
    failed_attempts: AtomicU64,
    trouble: Mutex<Option<String>>,
    failed_saves: AtomicU64,
    unsaved: Mutex<Option<String>>,
    is_full: AtomicBool,
}

impl Health {
    pub(super) fn new(name: String) -> Self {
        let zero = || AtomicU64::new(0);
        Self(Arc::new(Shared {
            name,
            sent: zero(),
            failed: zero(),
            refused: zero(),
            waiting: Mutex::default(),
            failed_attempts: zero(),
            trouble: Mutex::new(None),
            failed_saves: zero(),
            unsaved: Mutex::new(None),
            is_full: AtomicBool::new(false),
        }))
    }

    pub(super) fn name(&self) -> &str {
        &self.0.name
    }

    /// Takes a place for a change of a finding of this severity: a free one, or that of a less severe one, which has to [give
    /// way](Self::giving_way) then. Counts it as refused where there is neither. Says once that there is no room, until one is delivered.
    pub(super) fn admit(&self, severity: Severity) -> bool {
        let admitted = lock(&self.0.waiting).admit(severity);
        if admitted != Admitted::Free && !self.0.is_full.swap(true, Ordering::Relaxed) {
            error!(
                sink = self.name(),
                "{ROOM} changes of findings wait for this sink; from now on the least severe are refused, and counted"
            );
        }
        if admitted == Admitted::Refused {
            self.0.refused.fetch_add(1, Ordering::Relaxed);
        }
        admitted != Admitted::Refused
    }

    /// A severity of which one that waits has to give way, while there is one.
    pub(super) fn giving_way(&self) -> Option<Severity> {
        let waiting = lock(&self.0.waiting);
        SEVERITIES.into_iter().find(|severity| waiting.displaced[*severity as usize] > 0)
    }

    /// One of this severity has given way.
    pub(super) fn gave_way(&self, severity: Severity) {
        lock(&self.0.waiting).gave_way(severity);
        self.0.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// A change that an earlier run has left.
    pub(super) fn restored(&self, severity: Severity) {
        lock(&self.0.waiting).held[severity as usize] += 1;
    }

    /// One that waited was delivered.
    pub(super) fn sent(&self, severity: Severity) {
        lock(&self.0.waiting).gone(severity);
        self.0.sent.fetch_add(1, Ordering::Relaxed);
        self.0.is_full.store(false, Ordering::Relaxed);
        self.well();
    }

    /// One that waited is given up.
    pub(super) fn failed(&self, severity: Severity) {
        lock(&self.0.waiting).gone(severity);
        self.0.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// An attempt came to nothing and will be made again. Said once, until it is well again.
    pub(super) fn attempt_failed(&self, trouble: &str) {
        self.0.failed_attempts.fetch_add(1, Ordering::Relaxed);
        if self.ail(trouble) {
            warn!(sink = self.name(), "findings wait to be delivered: {trouble}");
        }
    }

    /// An attempt came to nothing, and the change is lost. Said once, until it is well again.
    pub(super) fn lost(&self, severity: Severity, trouble: &str) {
        self.0.failed_attempts.fetch_add(1, Ordering::Relaxed);
        self.failed(severity);
        if self.ail(trouble) {
            error!(sink = self.name(), "changes of findings are lost: {trouble}");
        }
    }

    /// Takes note of what is wrong. Returns whether nothing was before.
    fn ail(&self, trouble: &str) -> bool {
        lock(&self.0.trouble).replace(trouble.to_owned()).is_none()
    }

    /// What waits could not be written to disk. Said once, until it can be.
    pub(super) fn not_saved(&self, error: &io::Error) {
        self.0.failed_saves.fetch_add(1, Ordering::Relaxed);
        if lock(&self.0.unsaved).replace(error.to_string()).is_none() {
            warn!(sink = self.name(), "what waits would not survive a restart: {error}");
        }
    }

    /// What waits is on disk.
    pub(super) fn saved(&self) {
        if lock(&self.0.unsaved).take().is_some() {
            info!(sink = self.name(), "what waits would survive a restart again");
        }
    }

    /// It can be told.
    pub(super) fn well(&self) {
        if lock(&self.0.trouble).take().is_some() {
            info!(sink = self.name(), "findings are delivered again");
        }
    }

    /// Changes that wait.
    pub(super) fn waiting(&self) -> u64 {
        lock(&self.0.waiting).held.iter().sum()
    }

    /// All of it.
    pub(super) fn condition(&self) -> Condition {
        let shared = &*self.0;
        let number = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Condition {
            name: shared.name.clone(),
            sent: number(&shared.sent),
            failed: number(&shared.failed),
            refused: number(&shared.refused),
            waiting: self.waiting(),
            failed_attempts: number(&shared.failed_attempts),
            trouble: lock(&shared.trouble).clone(),
            failed_saves: number(&shared.failed_saves),
            unsaved: lock(&shared.unsaved).clone(),
        }
    }
}

/// The least first.
const SEVERITIES: [Severity; 4] = [Severity::Low, Severity::Medium, Severity::High, Severity::Critical];

/// What waits, by severity.
#[derive(Debug, Default)]
struct Waiting {
    held: [u64; 4],
    /// Those of `held` whose place another has taken: until the sink's thread has put them away both are there, at most [`ROOM`] of each
    /// severity but the highest.
    displaced: [u64; 4],
}

/// What becomes of a change that comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admitted {
    /// It has a place that was free.
    Free,
    /// It has the place of a less severe one.
    Instead,
    Refused,
}

impl Waiting {
    fn admit(&mut self, severity: Severity) -> Admitted {
        let stay = |at: usize| self.held[at] - self.displaced[at];
        let is_free = (0..4).map(stay).sum::<u64>() < ROOM;
        let less = (0..severity as usize).find(|at| stay(*at) > 0);
        let admitted = match less {
            _ if is_free => Admitted::Free,
            Some(less) => {
                self.displaced[less] += 1;
                Admitted::Instead
            }
            None => return Admitted::Refused,
        };
        self.held[severity as usize] += 1;
        admitted
    }

    /// One is gone that was delivered or given up. No more have to give way than there are.
    fn gone(&mut self, severity: Severity) {
        let at = severity as usize;
        self.held[at] = self.held[at].saturating_sub(1);
        self.displaced[at] = self.displaced[at].min(self.held[at]);
    }

    /// One is gone whose place another has taken.
    fn gave_way(&mut self, severity: Severity) {
        let at = severity as usize;
        self.displaced[at] = self.displaced[at].saturating_sub(1);
        self.gone(severity);
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_is_in_one_of_the_counts() {
        let health = Health::new("log".into());
        let admitted = (0..ROOM + 5).filter(|_| health.admit(Severity::Low)).count();
        assert_eq!(admitted, 1000);
        health.attempt_failed("no route");
        assert_eq!(health.condition().trouble.as_deref(), Some("no route"));
        health.sent(Severity::Low);
        health.lost(Severity::Low, "a full disk");
        (0..3).for_each(|_| health.failed(Severity::Low));
        assert!(health.admit(Severity::Low), "there is room again");
        let said = health.condition();
        assert_eq!((said.sent, said.failed, said.refused, said.waiting, said.failed_attempts), (1, 4, 5, 996, 2));
        assert_eq!(said.trouble.as_deref(), Some("a full disk"));
        health.sent(Severity::Low);
        assert_eq!(health.condition().trouble, None);
    }

    #[test]
    fn the_least_severe_give_way_and_nothing_else_does() {
        let health = Health::new("log".into());
        let admitted = |severity, count| (0..count).filter(|_| health.admit(severity)).count();
        assert_eq!(
            (admitted(Severity::Low, 600), admitted(Severity::High, 300), admitted(Severity::Medium, 200)),
            (600, 300, 200)
        );
        // 100 low ones have to go.
        assert_eq!(health.giving_way(), Some(Severity::Low));
        assert_eq!((health.waiting(), health.condition().refused), (1100, 0));
        (0..99).for_each(|_| health.gave_way(Severity::Low));
        assert_eq!(health.giving_way(), Some(Severity::Low));
        health.gave_way(Severity::Low);
        assert_eq!((health.giving_way(), health.waiting(), health.condition().refused), (None, 1000, 100));

        assert_eq!(admitted(Severity::Low, 7), 0, "nothing is less severe");
        assert_eq!(admitted(Severity::Critical, 1010), 1000, "all others give way, and then none is left");
        let mut gone = Vec::new();
        while let Some(severity) = health.giving_way() {
            health.gave_way(severity);
            gone.push(severity);
        }
        assert_eq!(
            (gone.len(), gone.is_sorted(), gone[499], gone[500], gone[700]),
            (1000, true, Severity::Low, Severity::Medium, Severity::High)
        );
        let said = health.condition();
        assert_eq!((said.waiting, said.refused), (1000, 100 + 7 + 10 + 1000));
    }

    #[test]
    fn one_that_was_delivered_meanwhile_need_not_give_way() {
        let health = Health::new("log".into());
        assert!(health.admit(Severity::Low) && (1..ROOM).all(|_| health.admit(Severity::High)));
        assert!(health.admit(Severity::High) && health.giving_way() == Some(Severity::Low));
        health.sent(Severity::Low);
        let said = health.condition();
        assert_eq!((health.giving_way(), said.sent, said.waiting, said.refused), (None, 1, 1000, 0));
    }
}
