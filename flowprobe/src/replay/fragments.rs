//! The host's memory of fragmented datagrams.

use std::cell::RefCell;

use flowprobe_ebpf::parse::{FragmentKey, FragmentPorts, Fragments};
use hashbrown::HashMap;

/// Datagrams in one of the two halves.
const HALF: usize = 1 << 16;

/// Remembers at least the last [`HALF`] datagrams and at most twice as many: when the younger half is full it becomes the
/// older one, and what was the older one is forgotten.
#[derive(Default)]
pub(super) struct RecentFragments(RefCell<Halves>);

#[derive(Default)]
struct Halves {
    younger: HashMap<FragmentKey, FragmentPorts>,
    older: HashMap<FragmentKey, FragmentPorts>,
}

impl Fragments for RecentFragments {
    fn remember(&self, key: &FragmentKey, ports: FragmentPorts) {
        let mut halves = self.0.borrow_mut();
        halves.younger.insert(*key, ports);
        if halves.younger.len() >= HALF {
            halves.older = std::mem::take(&mut halves.younger);
        }
    }

    fn recall(&self, key: &FragmentKey) -> Option<FragmentPorts> {
        let halves = self.0.borrow();
        halves.younger.get(key).or_else(|| halves.older.get(key)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(identification: u32) -> FragmentKey {
        FragmentKey { identification, ..FragmentKey::default() }
    }

    #[test]
    fn the_recent_ones_are_known_and_memory_is_bounded() {
        let fragments = RecentFragments::default();
        let many = u32::try_from(HALF * 5 / 2).expect("small");
        for number in 0..many {
            fragments.remember(&key(number), FragmentPorts { source: 1, destination: 2 });
        }
        assert!(fragments.recall(&key(0)).is_none());
        assert!(fragments.recall(&key(many - u32::try_from(HALF).expect("small"))).is_some());
        let halves = fragments.0.borrow();
        assert!(halves.younger.len() + halves.older.len() <= 2 * HALF);
    }
}
