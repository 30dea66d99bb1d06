//! Waiting for memory once for many flows.
//!
//! A table of a million flows is far larger than the processor's caches, and each step from the index to a flow and on to its
//! neighbours waits for memory. Steps of flows that have nothing to do with each other can wait at the same time, but not where
//! each look-up is followed by all the work on its flow: so some flows are looked up first, and then worked on. What was found is
//! not kept, since the work on one flow may move another; it is in the caches, and found again at once.

use std::hint::black_box;

use super::Table;
use super::lists::List;
use crate::record::FlowDelta;

/// Flows that are looked up together.
pub(super) const AHEAD: usize = 32;

impl Table {
    /// Looks up the flows of `deltas`, at most [`AHEAD`], and their neighbours on the lists.
    pub(super) fn look_ahead(&self, deltas: &[FlowDelta]) {
        let mut slots = [None; AHEAD];
        for (slot, delta) in slots.iter_mut().zip(deltas) {
            *slot = self.find(&delta.key, &delta.tunnel);
        }
        let mut neighbours = [[0; 2]; AHEAD];
        for (both, slot) in neighbours.iter_mut().zip(slots.into_iter().flatten()) {
            let entry = self.entry(slot);
            *both = entry.links.both();
            black_box(entry.value.packets);
        }
        for slot in neighbours.as_flattened() {
            if let Some(neighbour) = self.slab.get(*slot as usize) {
                black_box(neighbour.links.both());
            }
        }
    }

    /// Looks up the first flows of a list in the index.
    pub(super) fn look_ahead_in(&self, list: &List) {
        for slot in list.iter(&self.slab).take(AHEAD) {
            let hash = self.hashes.of(self.entry(slot), &self.tunnels);
            black_box(self.index.find(hash, |&other| other == slot));
        }
    }
}
