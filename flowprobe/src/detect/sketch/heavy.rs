//! Who makes most of it, and whether it is enough to look at, in a fixed space.

/// Keys that are counted at once: any that makes more than an eighth of the whole is among them.
const KEYS: usize = 8;

/// The largest counts by key (Space-Saving; Metwally, Agrawal, El Abbadi, 2005).
#[derive(Clone, Debug)]
pub(crate) struct Heavy<K> {
    counts: Vec<Count<K>>,
    total: u64,
}

#[derive(Clone, Copy, Debug)]
struct Count<K> {
    key: K,
    count: u64,
    /// What of it may be of others.
    error: u64,
}

impl<K> Default for Heavy<K> {
    fn default() -> Self {
        Self { counts: Vec::new(), total: 0 }
    }
}

impl<K: Copy + Eq> Heavy<K> {
    /// Counts so many more of a key.
    pub(crate) fn add(&mut self, key: K, count: u64) {
        self.total = self.total.saturating_add(count);
        if let Some(known) = self.counts.iter_mut().find(|known| known.key == key) {
            known.count = known.count.saturating_add(count);
        } else if self.counts.len() < KEYS {
            self.counts.push(Count { key, count, error: 0 });
        } else if let Some(least) = self.counts.iter_mut().min_by_key(|known| known.count) {
            *least = Count { key, count: least.count.saturating_add(count), error: least.count };
        }
    }

    /// All that was counted.
    pub(crate) const fn total(&self) -> u64 {
        self.total
    }

    /// Keys with what is surely theirs, the largest first.
    pub(crate) fn largest(&self) -> Vec<(K, u64)> {
        let mut known: Vec<(K, u64)> = self.counts.iter().map(|one| (one.key, one.count - one.error)).collect();
        known.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        known
    }

    /// The key that surely makes more than half.
    pub(crate) fn most(&self) -> Option<(K, u64)> {
        self.largest().first().copied().filter(|(_, count)| *count > self.total / 2)
    }
}

/// Cells of a sieve.
const CELLS: usize = 1 << 15;

/// Lets through what comes often; keys share cells, so that it may let through more, never less.
#[derive(Debug)]
pub(crate) struct Sieve {
    cells: Vec<u32>,
    bar: u32,
}

impl Sieve {
    /// Lets keys through that reach `bar` between two calls of [`Sieve::forget_half`], about.
    pub(crate) fn new(bar: u64) -> Self {
        Self { cells: vec![0; CELLS], bar: u32::try_from(bar).unwrap_or(u32::MAX) }
    }

    /// Counts, and whether the key is through.
    pub(crate) fn passes(&mut self, hash: u64, count: u64) -> bool {
        let spread = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 49;
        let cell = &mut self.cells[usize::try_from(spread).unwrap_or(0)];
        *cell = cell.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        *cell >= self.bar
    }

    /// So that what came long ago counts little.
    pub(crate) fn forget_half(&mut self) {
        self.cells.iter_mut().for_each(|cell| *cell /= 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_makes_most_is_named_among_many() {
        let mut heavy = Heavy::default();
        for number in 0..100_000_u32 {
            heavy.add(number + 10, 1);
            heavy.add(7, 2);
        }
        let (key, count) = heavy.most().expect("one");
        assert_eq!((key, heavy.total()), (7, 300_000));
        assert!((199_000..=200_000).contains(&count), "{count}");
        let mut even = Heavy::default();
        (0..100_000_u32).for_each(|number| even.add(number % 1000, 1));
        assert_eq!(even.most(), None);
    }

    #[test]
    fn the_sieve_holds_back_what_is_rare() {
        let mut sieve = Sieve::new(50);
        let passed = (0..10_000_u64).filter(|number| sieve.passes(*number, 1)).count();
        assert_eq!(passed, 0);
        assert_eq!((0..100).filter(|_| sieve.passes(1 << 40, 1)).count(), 51);
        assert!(sieve.passes(77, 1_000_000_000_000));
        (0..6).for_each(|_| sieve.forget_half());
        assert!(!sieve.passes(1 << 40, 1));
    }
}
