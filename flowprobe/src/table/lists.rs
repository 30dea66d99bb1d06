//! Doubly linked lists through the slab: order without allocation.

use super::Entry;

/// No slot.
pub(super) const NONE: u32 = u32::MAX;

/// An entry's neighbours in the list it is on.
#[derive(Clone, Copy)]
pub(super) struct Links {
    previous: u32,
    next: u32,
}

impl Links {
    pub(super) const NONE: Self = Self { previous: NONE, next: NONE };

    /// The neighbours.
    pub(super) const fn both(self) -> [u32; 2] {
        [self.previous, self.next]
    }
}

/// A list of slots, oldest first.
pub(super) struct List {
    head: u32,
    tail: u32,
    length: u32,
}

impl List {
    pub(super) const fn new() -> Self {
        Self { head: NONE, tail: NONE, length: 0 }
    }

    pub(super) fn head(&self) -> Option<u32> {
        (self.head != NONE).then_some(self.head)
    }

    pub(super) fn len(&self) -> u32 {
        self.length
    }

    /// The slots, oldest first.
    pub(super) fn iter(&self, slab: &[Entry]) -> impl Iterator<Item = u32> {
        let there = |slot: u32| (slot != NONE).then_some(slot);
        std::iter::successors(there(self.head), move |&slot| there(slab[slot as usize].links.next))
    }

    pub(super) fn push_back(&mut self, slab: &mut [Entry], slot: u32) {
        slab[slot as usize].links = Links { previous: self.tail, next: NONE };
        match self.tail {
            NONE => self.head = slot,
            tail => slab[tail as usize].links.next = slot,
        }
        self.tail = slot;
        self.length += 1;
    }

    /// Takes `slot`, which is on this list, out of it.
    pub(super) fn remove(&mut self, slab: &mut [Entry], slot: u32) {
        let Links { previous, next } = slab[slot as usize].links;
        match previous {
            NONE => self.head = next,
            previous => slab[previous as usize].links.next = next,
        }
        match next {
            NONE => self.tail = previous,
            next => slab[next as usize].links.previous = previous,
        }
        slab[slot as usize].links = Links::NONE;
        self.length -= 1;
    }
}
