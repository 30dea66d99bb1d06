//! Sets that came before their template.

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use super::super::wire::{Header, Set};
use super::Limits;
use super::tally::{Charge, Tally};

/// Octets that a held set takes besides its own.
const BESIDES: usize = 128;

/// A set whose template is not known yet, with the header of its message, since uptimes and times of its records are measured
/// from what that says.
#[derive(Debug)]
pub(super) struct HeldSet {
    pub(super) header: Header,
    pub(super) id: u16,
    pub(super) body: Box<[u8]>,
    pub(super) received_us: u64,
    since: Instant,
    _charge: Charge,
}

/// The held sets of a session, oldest first.
#[derive(Debug, Default)]
pub(super) struct Held {
    sets: VecDeque<HeldSet>,
    own: Tally,
}

/// Sets that nobody has read, and never will.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    pub(super) sets: u64,
    pub(super) octets: u64,
}

impl Dropped {
    pub(super) fn add(&mut self, body: &[u8]) {
        self.sets += 1;
        self.octets += body.len() as u64;
    }
}

impl Held {
    /// Nothing held yet, of what counts in `all`.
    pub(super) fn within(all: &Tally) -> Self {
        Self { sets: VecDeque::new(), own: all.within() }
    }

    pub(super) fn len(&self) -> usize {
        self.sets.len()
    }

    /// Holds a set. Whether there was room: in its session, and in `all`.
    pub(super) fn hold(
        &mut self,
        header: &Header,
        set: &Set<'_>,
        (received_us, since): (u64, Instant),
        all: &Tally,
        limits: &Limits,
    ) -> bool {
        let octets = set.body.len() + BESIDES;
        let room =
            self.own.octets() + octets <= limits.held_octets && all.octets() + octets <= limits.held_octets_of_all;
        if room {
            let (header, body, charge) = (*header, set.body.into(), self.own.charge(octets));
            self.sets.push_back(HeldSet { header, id: set.id, body, received_us, since, _charge: charge });
        }
        room
    }

    /// The IDs of the sets, each once.
    pub(super) fn ids(&self) -> BTreeSet<u16> {
        self.sets.iter().map(|set| set.id).collect()
    }

    /// Takes out the sets of a template, which has come.
    pub(super) fn release(&mut self, id: u16) -> VecDeque<HeldSet> {
        if self.sets.iter().all(|set| set.id != id) {
            return VecDeque::new();
        }
        let (released, kept) = std::mem::take(&mut self.sets).into_iter().partition(|set| set.id == id);
        self.sets = kept;
        released
    }

    /// Takes out the next that has been held too long, if there is one.
    pub(super) fn next_expired(&mut self, now: Instant, limits: &Limits) -> Option<HeldSet> {
        self.sets.pop_front_if(|set| now.saturating_duration_since(set.since) > limits.held_for)
    }

    /// Takes out the next, if there is one.
    pub(super) fn next(&mut self) -> Option<HeldSet> {
        self.sets.pop_front()
    }

    /// Drops all.
    pub(super) fn clear(&mut self) -> Dropped {
        let mut dropped = Dropped::default();
        self.sets.drain(..).for_each(|set| dropped.add(&set.body));
        dropped
    }

    /// Takes over what another session has held.
    pub(super) fn append(&mut self, other: &mut Self) {
        self.sets.append(&mut other.sets);
    }
}
