//! Octets that are in use, counted by whatever holds them until it is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Octets that are in use for one purpose: those of one holder, and within those of all.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    own: Arc<AtomicUsize>,
    all: Option<Arc<AtomicUsize>>,
}

impl Tally {
    /// The tally of a holder, whose octets count in this one too.
    pub(super) fn within(&self) -> Self {
        Self { own: Arc::default(), all: Some(Arc::clone(&self.own)) }
    }

    /// Octets in use.
    pub(super) fn octets(&self) -> usize {
        self.own.load(Ordering::Relaxed)
    }

    /// Counts `octets` until what it returns is dropped.
    pub(super) fn charge(&self, octets: usize) -> Charge {
        for count in self.counts() {
            count.fetch_add(octets, Ordering::Relaxed);
        }
        Charge { tally: self.clone(), octets }
    }

    fn counts(&self) -> impl Iterator<Item = &AtomicUsize> {
        [Some(&self.own), self.all.as_ref()].into_iter().flatten().map(|count| &**count)
    }
}

/// Octets that are in use.
#[derive(Debug)]
pub(super) struct Charge {
    tally: Tally,
    octets: usize,
}

impl Charge {
    /// Counts so many octets instead.
    pub(super) fn resize(&mut self, octets: usize) {
        for count in self.tally.counts() {
            count.fetch_add(octets, Ordering::Relaxed);
            count.fetch_sub(self.octets, Ordering::Relaxed);
        }
        self.octets = octets;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        for count in self.tally.counts() {
            count.fetch_sub(self.octets, Ordering::Relaxed);
        }
    }
}
