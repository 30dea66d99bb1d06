//! A hash that is the same in every process and with every release of the standard library, for what is kept over a restart.

use std::hash::{Hash, Hasher};

/// Mixes words by multiplication; the end is that of SplitMix64 (Steele, Lea and Flood, 2014), after which each bit depends on all.
#[derive(Default)]
struct Stable(u64);

impl Hasher for Stable {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 = (self.0.rotate_left(29) ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }

    fn finish(&self) -> u64 {
        let mut hash = self.0;
        hash = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ hash >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^ hash >> 31
    }
}

/// The hash of a value.
pub(crate) fn stable(value: &impl Hash) -> u64 {
    let mut hasher = Stable::default();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_what_they_always_were_and_differ_in_every_bit() {
        assert_eq!(stable(&0_u64), 0);
        let first = stable(&1_u64);
        let mut seen = std::collections::HashSet::new();
        let mut ones = [0_u32; 64];
        for number in 0..10_000_u64 {
            let hash = stable(&(number, 6_u8));
            seen.insert(hash);
            for (bit, count) in ones.iter_mut().enumerate() {
                *count += u32::from(hash >> bit & 1 == 1);
            }
        }
        assert_eq!(seen.len(), 10_000);
        assert!(ones.iter().all(|count| (4700..5300).contains(count)), "{ones:?}");
        assert_eq!(first, stable(&1_u64));
        assert_ne!(first, stable(&2_u64));
    }
}
