//! The tails that are in use: records whose octets are laid out alike share one.

use std::hash::BuildHasher as _;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use crate::collect::received::{Specifier, Tail};

/// Tails at once. An encoder needs a template for each.
const MOST_TAILS: usize = 512;

/// Ways to a tail that are remembered.
const MOST_WAYS: usize = 8192;

/// Records that go without their tail before those that nobody uses any more are looked for again.
const PATIENCE: u64 = 1024;

/// The part of a plan's fields that goes into a tail: the number of the plan, those of its fields that may stay out and do not,
/// and whether the exporter's address is IPv6.
pub(super) type Way = (u64, u64, bool);

/// The tails of all exporters of a listener, each but once, and at most 512. A record for whose tail there is no room gets one
/// with its origin only, and is counted.
#[derive(Debug)]
pub struct TailBook {
    tails: HashTable<Arc<Tail>>,
    hasher: DefaultHashBuilder,
    /// Tails as plans last found them; `None` where there was no room.
    ways: HashMap<Way, Option<Arc<Tail>>>,
    last: Option<(Way, Arc<Tail>)>,
    /// Of records that say nothing beyond: answers.
    empty: Arc<Tail>,
    /// Of records for whose tail there is no room: of exporters with an address of IPv4, and of IPv6.
    origins: [Arc<Tail>; 2],
    left_out: u64,
    /// For the octets of one tail.
    pub(super) octets: Vec<u8>,
    /// For where the values of one record are.
    pub(super) spans: Vec<super::plan::Span>,
}

/// `exporterIPv4Address`.
pub(super) const EXPORTER_V4: Specifier = Specifier { enterprise: 0, id: 130, length: 4 };
/// `exporterIPv6Address`.
pub(super) const EXPORTER_V6: Specifier = Specifier { enterprise: 0, id: 131, length: 16 };
/// `originalObservationDomainId`.
pub(super) const ORIGINAL_DOMAIN: Specifier = Specifier { enterprise: 0, id: 405, length: 4 };

impl Default for TailBook {
    fn default() -> Self {
        let origin = |address| Arc::new(Tail { fields: vec![address, ORIGINAL_DOMAIN] });
        Self {
            tails: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            ways: HashMap::new(),
            last: None,
            empty: Arc::default(),
            origins: [origin(EXPORTER_V4), origin(EXPORTER_V6)],
            left_out: 0,
            octets: Vec::new(),
            spans: Vec::new(),
        }
    }
}

impl TailBook {
    /// A book without tails.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Tails that are known, those of origins apart.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tails.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tails.is_empty()
    }

    /// Records that got the tail of their origin because there was no room for theirs.
    #[must_use]
    pub const fn left_out(&self) -> u64 {
        self.left_out
    }

    /// The tail of an answer, which says nothing beyond.
    pub(super) fn empty(&self) -> Arc<Tail> {
        Arc::clone(&self.empty)
    }

    /// The tail of a record that gets none of its own, for an exporter with an address of IPv6 or not.
    pub(super) fn of_origin(&self, is_v6: bool) -> Arc<Tail> {
        Arc::clone(&self.origins[usize::from(is_v6)])
    }

    /// The tail that lies at the end of `way`, which `fields` makes where it is not known yet. `None` where there is no room.
    #[inline]
    pub(super) fn find(&mut self, way: Way, fields: impl FnOnce() -> Vec<Specifier>) -> Option<Arc<Tail>> {
        if let Some((last, tail)) = &self.last
            && *last == way
        {
            return Some(Arc::clone(tail));
        }
        let found = match self.ways.get(&way) {
            Some(found) => found.clone(),
            None => self.go(way, fields()),
        };
        match &found {
            Some(tail) => self.last = Some((way, Arc::clone(tail))),
            None => self.leave_out(),
        }
        found
    }

    /// The tail of these fields, which is made where there is none.
    fn go(&mut self, way: Way, fields: Vec<Specifier>) -> Option<Arc<Tail>> {
        if self.ways.len() >= MOST_WAYS {
            self.ways.clear();
        }
        let hash = self.hasher.hash_one(&fields);
        let mut found = self.tails.find(hash, |tail| tail.fields == fields).cloned();
        if found.is_none() && self.tails.len() < MOST_TAILS {
            let tail = Arc::new(Tail { fields });
            let hasher = &self.hasher;
            self.tails.insert_unique(hash, Arc::clone(&tail), |tail| hasher.hash_one(&tail.fields));
            found = Some(tail);
        }
        self.ways.insert(way, found.clone());
        found
    }

    /// Counts a record without its tail. Once in a while those that nobody uses any more make room for others.
    fn leave_out(&mut self) {
        if self.left_out.is_multiple_of(PATIENCE) {
            self.ways.clear();
            self.last = None;
            self.tails.retain(|tail| Arc::strong_count(tail) > 1);
        }
        self.left_out += 1;
    }
}
