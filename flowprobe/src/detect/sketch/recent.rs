//! Memory that stays bounded: what was used lately is kept, the rest is forgotten a half at a time.

use std::hash::Hash;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use serde::{Deserialize, Serialize};

/// A map of at most so many entries. When half of them are in use since the last time, those that are not are forgotten; so the half that
/// was used last always stays.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound(
    serialize = "K: Eq + Hash + Serialize, V: Serialize",
    deserialize = "K: Eq + Hash + Deserialize<'de>, V: Deserialize<'de>"
))]
pub(crate) struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    half: usize,
    forgotten: u64,
}

impl<K: Copy + Eq + Hash, V> Recent<K, V> {
    /// An empty map of at most `most` entries, 2 or more.
    pub(crate) fn new(most: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), half: (most / 2).max(1), forgotten: 0 }
    }

    /// The entry of a key, which is in use from here on; a new one where there is none.
    pub(crate) fn entry(&mut self, key: K, new: impl FnOnce() -> V) -> &mut V {
        if self.young.len() >= self.half {
            self.age();
        }
        match self.young.entry(key) {
            Entry::Occupied(found) => found.into_mut(),
            Entry::Vacant(place) => place.insert(self.old.remove(&key).unwrap_or_else(new)),
        }
    }

    /// The entry of a key, if there is one.
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// The same, to be changed; it does not count as use.
    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.young.get_mut(key).or_else(|| self.old.get_mut(key))
    }

    /// Takes an entry out.
    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        self.young.remove(key).or_else(|| self.old.remove(key))
    }

    /// Forgets what was not used since the last time that this was done.
    pub(crate) fn age(&mut self) {
        self.forgotten += self.old.len() as u64;
        self.old.clear();
        std::mem::swap(&mut self.young, &mut self.old);
    }

    /// Keeps only those of which this is so.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        self.young.retain(&mut keep);
        self.old.retain(&mut keep);
    }

    /// All entries, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.young.iter().chain(&self.old)
    }

    /// All entries, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.young.iter_mut().chain(&mut self.old)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// How many were forgotten for room, or by [`Recent::age`].
    pub(crate) const fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_there_are_never_too_many() {
        let mut map = Recent::new(100);
        for number in 0..10_000_u32 {
            *map.entry(number, || 0_u32) += 1;
            *map.entry(0, || 0) += 1;
            assert!(map.len() <= 100, "{}", map.len());
        }
        assert_eq!(map.get(&0), Some(&10_001));
        assert_eq!(map.get(&9_999), Some(&1));
        assert_eq!(map.get(&5_000), None);
        assert_eq!(map.len() as u64 + map.forgotten(), 10_000);
    }
}
