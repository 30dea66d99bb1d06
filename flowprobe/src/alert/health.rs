//! How a sink fares, as status and metrics show it: told by its thread, read by who asks.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tracing::{error, info, warn};

/// Changes that wait for a sink at most. One that comes then is refused.
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
    /// Changes for which there was no room.
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
    waiting: AtomicU64,
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
            waiting: zero(),
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

    /// Takes a place for a change, if there is one. Counts it as refused else, and says so once, until one is delivered.
    pub(super) fn admit(&self) -> bool {
        let more = |waiting| (waiting < ROOM).then_some(waiting + 1);
        if self.0.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok() {
            return true;
        }
        self.0.refused.fetch_add(1, Ordering::Relaxed);
        if !self.0.is_full.swap(true, Ordering::Relaxed) {
            error!(sink = self.name(), "{ROOM} changes of findings wait for this sink; more are refused, and counted");
        }
        false
    }

    /// Changes that an earlier run has left.
    pub(super) fn restored(&self, count: u64) {
        self.0.waiting.fetch_add(count, Ordering::Relaxed);
    }

    /// One that waited was delivered.
    pub(super) fn sent(&self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        self.0.sent.fetch_add(1, Ordering::Relaxed);
        self.0.is_full.store(false, Ordering::Relaxed);
        self.well();
    }

    /// So many that waited are given up.
    pub(super) fn failed(&self, count: u64) {
        self.0.waiting.fetch_sub(count, Ordering::Relaxed);
        self.0.failed.fetch_add(count, Ordering::Relaxed);
    }

    /// An attempt came to nothing and will be made again. Said once, until it is well again.
    pub(super) fn attempt_failed(&self, trouble: &str) {
        self.0.failed_attempts.fetch_add(1, Ordering::Relaxed);
        if self.ail(trouble) {
            warn!(sink = self.name(), "findings wait to be delivered: {trouble}");
        }
    }

    /// An attempt came to nothing, and the change is lost. Said once, until it is well again.
    pub(super) fn lost(&self, trouble: &str) {
        self.0.failed_attempts.fetch_add(1, Ordering::Relaxed);
        self.failed(1);
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
        self.0.waiting.load(Ordering::Relaxed)
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
            waiting: number(&shared.waiting),
            failed_attempts: number(&shared.failed_attempts),
            trouble: lock(&shared.trouble).clone(),
            failed_saves: number(&shared.failed_saves),
            unsaved: lock(&shared.unsaved).clone(),
        }
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
        let admitted = (0..ROOM + 5).filter(|_| health.admit()).count();
        assert_eq!(admitted, 1000);
        health.attempt_failed("no route");
        assert_eq!(health.condition().trouble.as_deref(), Some("no route"));
        health.sent();
        health.lost("a full disk");
        health.failed(3);
        assert!(health.admit(), "there is room again");
        let said = health.condition();
        assert_eq!((said.sent, said.failed, said.refused, said.waiting, said.failed_attempts), (1, 4, 5, 996, 2));
        assert_eq!(said.trouble.as_deref(), Some("a full disk"));
        health.sent();
        assert_eq!(health.condition().trouble, None);
    }
}
