//! The tails that are in use: records whose octets are laid out alike share one.

use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use crate::collect::received::{Specifier, Tail};

/// Tails at once. An encoder needs a template for each.
const MOST_TAILS: usize = 512;

/// Ways to a tail that are remembered.
const MOST_WAYS: usize = 8192;

/// Records for which a tail is kept after one that has it, if it would make room for another tail of the same address. Were it
/// fewer, who has many would need a new template for each record.
const PATIENCE: u64 = 1024;

/// The part of a plan's fields that goes into a tail: the number of the plan, those of its fields that may stay out and do not,
/// and whether the exporter's address is IPv6.
pub(super) type Way = (u64, u64, bool);

/// The tails of all exporters of a listener, each but once, and at most 512. Beyond those, the address that needs another one gives
/// up its own, if none has more, and else the address that has most; what has been unused longest goes. So whoever sends ever
/// other templates has what the others leave over, and takes nothing from them.
///
/// A record for whose tail there is no room gets one with its origin only, and is counted.
#[derive(Debug)]
pub struct TailBook {
    kept: Vec<Kept>,
    /// Where among those kept the tail of some fields is.
    places: HashTable<usize>,
    hasher: DefaultHashBuilder,
    owners: HashMap<IpAddr, Owner>,
    /// Places and numbers of the tails that plans last found there; `None` where there was no room.
    ways: HashMap<Way, Option<(usize, u64)>>,
    last: Option<(Way, usize)>,
    /// Records so far.
    records: u64,
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

/// A tail that is in use.
#[derive(Debug)]
struct Kept {
    tail: Arc<Tail>,
    /// The record for which it was made, by which it is told from others that had its place.
    number: u64,
    /// The last record that had it.
    used: u64,
    /// The address that needed it first.
    owner: IpAddr,
}

/// An address for which tails were made.
#[derive(Debug, Default)]
struct Owner {
    tails: usize,
    /// The record before which none of its tails makes room.
    full_until: u64,
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
            kept: Vec::new(),
            places: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            owners: HashMap::new(),
            ways: HashMap::new(),
            last: None,
            records: 0,
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
    pub const fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether none is.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.kept.is_empty()
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

    /// The tail that lies at the end of `way`, which `fields` makes where it is not known yet; for a record of an exporter at this
    /// address. `None` where there is no room.
    #[inline]
    pub(super) fn find(
        &mut self,
        way: Way,
        address: IpAddr,
        fields: impl FnOnce() -> Vec<Specifier>,
    ) -> Option<Arc<Tail>> {
        self.records += 1;
        if let Some((last, place)) = self.last
            && last == way
        {
            return self.take(place);
        }
        let place = match self.ways.get(&way) {
            Some(&Some((place, number))) if self.kept.get(place).is_some_and(|kept| kept.number == number) => {
                Some(place)
            }
            Some(None) if self.is_full(address) => None,
            _ => self.go(way, address, fields()),
        };
        if let Some(place) = place {
            self.last = Some((way, place));
            return self.take(place);
        }
        self.left_out += 1;
        None
    }

    /// The tail at a place, which is in use now.
    #[inline]
    fn take(&mut self, place: usize) -> Option<Arc<Tail>> {
        let kept = self.kept.get_mut(place)?;
        kept.used = self.records;
        Some(Arc::clone(&kept.tail))
    }

    /// Whether it is known that no tail of this address makes room yet.
    fn is_full(&self, address: IpAddr) -> bool {
        self.owners.get(&address).is_some_and(|owner| owner.full_until > self.records)
    }

    /// The place of the tail of these fields, which is made where there is none.
    fn go(&mut self, way: Way, address: IpAddr, fields: Vec<Specifier>) -> Option<usize> {
        if self.ways.len() >= MOST_WAYS {
            self.ways.clear();
        }
        let hash = self.hasher.hash_one(&fields);
        let Self { kept, places, .. } = self;
        let found = places.find(hash, |&place| kept.get(place).is_some_and(|kept| kept.tail.fields == fields)).copied();
        let place = found.or_else(|| self.keep(address, hash, fields));
        self.ways.insert(way, place.and_then(|place| Some((place, self.kept.get(place)?.number))));
        place
    }

    /// Keeps the tail of these fields. Its place, if there is room for it or another makes room.
    fn keep(&mut self, address: IpAddr, hash: u64, fields: Vec<Specifier>) -> Option<usize> {
        let goes = if self.kept.len() < MOST_TAILS { None } else { Some(self.unused_longest(address)?) };
        let number = self.records;
        let new = Kept { tail: Arc::new(Tail { fields }), number, used: number, owner: address };
        self.owners.entry(address).or_default().tails += 1;
        let place = match goes {
            None => {
                self.kept.push(new);
                self.kept.len() - 1
            }
            Some(place) => {
                let old = std::mem::replace(self.kept.get_mut(place)?, new);
                self.forget(place, &old);
                place
            }
        };
        let Self { kept, places, hasher, .. } = self;
        places
            .insert_unique(hash, place, |&place| kept.get(place).map_or(0, |kept| hasher.hash_one(&kept.tail.fields)));
        Some(place)
    }

    /// The place of the tail that makes room for one of this address.
    fn unused_longest(&mut self, address: IpAddr) -> Option<usize> {
        let tails_of = |owner: &IpAddr| self.owners.get(owner).map_or(0, |owner| owner.tails);
        let most = self.owners.values().map(|owner| owner.tails).max()?;
        let has_most = tails_of(&address) == most;
        let gives = |kept: &Kept| if has_most { kept.owner == address } else { tails_of(&kept.owner) == most };
        let all = self.kept.iter().enumerate().filter(|(_, kept)| gives(kept));
        let (place, used) = all.map(|(place, kept)| (place, kept.used)).min_by_key(|&(_, used)| used)?;
        if has_most && self.records - used <= PATIENCE {
            self.owners.entry(address).or_default().full_until = used + PATIENCE + 1;
            return None;
        }
        Some(place)
    }

    /// Forgets where a tail was that has made room.
    fn forget(&mut self, place: usize, old: &Kept) {
        let hash = self.hasher.hash_one(&old.tail.fields);
        if let Ok(entry) = self.places.find_entry(hash, |&known| known == place) {
            entry.remove();
        }
        if let Some(owner) = self.owners.get_mut(&old.owner) {
            owner.tails = owner.tails.saturating_sub(1);
            if owner.tails == 0 {
                self.owners.remove(&old.owner);
            }
        }
    }
}
