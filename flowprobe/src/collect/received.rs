//! What a record that was received says beyond a [`FlowRecord`]: who sent it, and every element for which a `FlowRecord` has no
//! place, as the octets that it came with.
//!
//! Nothing that an exporter says is thrown away because flowprobe has no name for it. Addresses after translation, firewall
//! events, AS numbers and enterprises' elements travel in a *tail*, octet by octet, beside the record; an encoder of IPFIX
//! writes the tail behind the record's own fields, and JSON names what the registry knows.

use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use super::registry::REVERSE;
use crate::record::{FlowRecord, Role};
use crate::sink::{OCTETS_PER_EVENT, RECORDS_PER_EVENT};

/// In a template: the length of each value stands before it (RFC 7011 section 7).
pub const VARIABLE_LENGTH: u16 = 65_535;

/// Who sent records: an Exporting Process and one of its Observation Domains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The exporter's address: IPv4 where it came as an IPv4-mapped one.
    pub address: IpAddr,
    /// Observation Domain ID of IPFIX, Source ID of NetFlow v9, engine type × 256 + engine ID of v5 and v7.
    pub domain: u32,
}

/// An element in a template of whomever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Specifier {
    /// 0 for the IANA registry, else a Private Enterprise Number.
    pub enterprise: u32,
    /// Element ID, below 32,768.
    pub id: u16,
    /// Octets, or [`VARIABLE_LENGTH`].
    pub length: u16,
}

/// The elements of a tail, in the order of their octets: those of IANA with a fixed length, then enterprises' with a fixed length,
/// then those of variable length. NetFlow v9 has words for the first of the three only.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// The elements.
    pub fields: Vec<Specifier>,
}

impl Tail {
    /// How many of the first elements NetFlow v9 can say, and their octets.
    #[must_use]
    pub fn of_netflow9(&self) -> (usize, usize) {
        let sayable = self.fields.iter().take_while(|field| field.enterprise == 0 && field.length != VARIABLE_LENGTH);
        sayable.fold((0, 0), |(count, octets), field| (count + 1, octets + usize::from(field.length)))
    }
}

/// Which of the elements that every record of flowprobe's own says something about an exporter says too. Events of firewalls have
/// no counts: where they are 0 in a [`FlowRecord`], that means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own(u16);

impl Own {
    /// Each with the enterprise whose it is.
    const ELEMENTS: [(u32, u16); 13] = [
        (0, 1),
        (0, 2),
        (0, 4),
        (0, 5),
        (0, 61),
        (REVERSE, 1),
        (REVERSE, 2),
        (REVERSE, 5),
        (REVERSE, 25),
        (REVERSE, 26),
        (REVERSE, 52),
        (REVERSE, 53),
        (REVERSE, 352),
    ];

    /// All of them.
    pub const ALL: Self = Self((1 << Self::ELEMENTS.len()) - 1);

    /// Those of which this is so.
    pub fn of(is_said: impl Fn(u32, u16) -> bool) -> Self {
        let said = Self::ELEMENTS.iter().enumerate().filter(|(_, element)| is_said(element.0, element.1));
        Self(said.fold(0, |own, (bit, _)| own | 1 << bit))
    }

    /// Whether an element may be said of a record: it is one of these, or only said where it says something.
    #[must_use]
    pub fn has(self, enterprise: u32, id: u16) -> bool {
        let bit = Self::ELEMENTS.iter().position(|&element| element == (enterprise, id));
        bit.is_none_or(|bit| self.0 & 1 << bit != 0)
    }
}

/// What one record says beyond its [`FlowRecord`].
#[derive(Clone, Debug)]
pub struct Received {
    /// What of the [`FlowRecord`] it says itself.
    pub own: Own,
    /// Who sent it.
    pub origin: Arc<Origin>,
    /// Name of the interface by which its packets came in, where the exporter has told it.
    pub ingress_name: Option<Arc<str>>,
    /// The same of the one by which they left.
    pub egress_name: Option<Arc<str>>,
    /// What the octets are.
    pub tail: Arc<Tail>,
    /// Where its octets begin among those of all.
    start: usize,
    /// Where they end.
    end: usize,
}

/// What one record says beyond, with the octets of its tail.
pub type Said<'a> = (&'a Received, &'a [u8]);

/// What each of some records says beyond, at the same index. Empty where none was received.
#[derive(Clone, Debug, Default)]
pub struct Beyond {
    each: Vec<Option<Received>>,
    octets: Vec<u8>,
    weight: usize,
}

impl Beyond {
    /// Adds what the next record says, besides all that its `FlowRecord` does. The octets are those of its tail, each value of variable
    /// length behind its own (RFC 7011 section 7).
    pub fn push(&mut self, origin: &Arc<Origin>, names: [Option<Arc<str>>; 2], tail: &Arc<Tail>, octets: &[u8]) {
        self.push_of(Own::ALL, origin, names, tail, octets);
    }

    /// The same of a record that says so much of its `FlowRecord`.
    pub fn push_of(
        &mut self,
        own: Own,
        origin: &Arc<Origin>,
        names: [Option<Arc<str>>; 2],
        tail: &Arc<Tail>,
        octets: &[u8],
    ) {
        let start = self.octets.len();
        self.octets.extend_from_slice(octets);
        let [ingress_name, egress_name] = names;
        self.weight += weight(&self.each, tail, octets.len());
        let (origin, tail) = (Arc::clone(origin), Arc::clone(tail));
        self.each.push(Some(Received { own, origin, ingress_name, egress_name, tail, start, end: self.octets.len() }));
    }

    /// Lets the record at `index` say the same. Those before it of which nothing was said have nothing to say.
    pub fn set(&mut self, index: usize, (received, octets): Said<'_>) {
        self.each.resize(index, None);
        let Received { own, origin, ingress_name, egress_name, tail, .. } = received;
        self.push_of(*own, origin, [ingress_name.clone(), egress_name.clone()], tail, octets);
    }

    /// None yet, and room for as many as are here, but for no more than an event holds.
    #[must_use]
    fn another(&self) -> Self {
        let each = Vec::with_capacity(self.each.len().min(RECORDS_PER_EVENT));
        Self { each, octets: Vec::with_capacity(self.octets.len().min(OCTETS_PER_EVENT)), weight: 0 }
    }

    /// Octets of all tails and of what they consist of. The latter are few, unless hardly two records are laid out alike.
    #[must_use]
    pub const fn weight(&self) -> usize {
        self.weight
    }

    /// What of it is the record's at `index`.
    fn weight_of(&self, index: usize) -> usize {
        self.get(index).map_or(0, |(received, octets)| weight(&self.each[..index], &received.tail, octets.len()))
    }

    /// What those of these indices say, as they are numbered from 0 on.
    fn part(&self, indices: Range<usize>) -> Self {
        let mut part = Self::default();
        for index in indices.clone() {
            if let Some(said) = self.get(index) {
                part.set(index - indices.start, said);
            }
        }
        part
    }

    /// How many records have something here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.each.len()
    }

    /// Whether none has.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.each.is_empty()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.each.clear();
        self.octets.clear();
        self.weight = 0;
    }

    /// What the record at `index` says beyond, and the octets of its tail.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Said<'_>> {
        let received = self.each.get(index)?.as_ref()?;
        Some((received, self.octets.get(received.start..received.end)?))
    }
}

/// Octets that a record is told beyond in: those of its tail, and of that tail's fields where neither of the two records before it
/// has the same, as the halves of biflows have theirs in turns.
fn weight(before: &[Option<Received>], tail: &Arc<Tail>, octets: usize) -> usize {
    let is_known = before.iter().rev().take(2).flatten().any(|one| Arc::ptr_eq(&one.tail, tail));
    octets + if is_known { 0 } else { tail.fields.len() * size_of::<Specifier>() }
}

/// Records that were received, in the order in which they came.
#[derive(Debug, Default)]
pub struct ReceivedRecords {
    /// The records. The two halves of a biflow are one after the other ([`Role`]).
    pub records: Vec<FlowRecord>,
    /// What each says beyond.
    pub beyond: Beyond,
}

impl ReceivedRecords {
    /// Takes all that is here, and leaves room for as many: what comes is much like what came, and a record that has its place at
    /// once is not moved when there are more.
    #[must_use]
    pub fn take(&mut self) -> Self {
        let records = Vec::with_capacity(self.records.len().min(RECORDS_PER_EVENT));
        let room = Self { records, beyond: self.beyond.another() };
        std::mem::replace(self, room)
    }

    /// All that is here in pieces of which an event may have one each: [`RECORDS_PER_EVENT`] records and [`OCTETS_PER_EVENT`] octets
    /// beyond at most, where no biflow is parted. What is no more than that is the one piece, and is not copied.
    pub fn pieces(self) -> impl Iterator<Item = Self> {
        let (mut rest, mut start) = (Some(self), 0);
        std::iter::from_fn(move || {
            let all = rest.as_ref().filter(|all| start < all.records.len())?;
            let end = all.end_of_piece(start);
            if start == 0 && end == all.records.len() {
                return rest.take();
            }
            let piece = Self { records: all.records[start..end].to_vec(), beyond: all.beyond.part(start..end) };
            start = end;
            Some(piece)
        })
    }

    /// Where a piece ends that begins at `start`.
    fn end_of_piece(&self, start: usize) -> usize {
        let count = self.records.len();
        if start == 0 && count <= RECORDS_PER_EVENT && self.beyond.weight() <= OCTETS_PER_EVENT {
            return count;
        }
        let (mut end, mut octets) = (start, 0);
        while end < count {
            let is_biflow = self.records.get(end + 1).is_some_and(|next| next.role == Role::Reverse);
            let next = end + 1 + usize::from(is_biflow);
            octets += (end..next).map(|index| self.beyond.weight_of(index)).sum::<usize>();
            if end > start && (next - start > RECORDS_PER_EVENT || octets > OCTETS_PER_EVENT) {
                break;
            }
            end = next;
        }
        end
    }

    /// Records, a biflow as one.
    #[must_use]
    pub fn conversations(&self) -> usize {
        self.records.iter().filter(|record| record.role != Role::Reverse).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Arc<Origin> {
        Arc::new(Origin { address: [192, 0, 2, 7].into(), domain: 1 })
    }

    fn tail(fields: usize) -> Arc<Tail> {
        Arc::new(Tail { fields: vec![Specifier { enterprise: 9, id: 1, length: VARIABLE_LENGTH }; fields] })
    }

    /// So many records, each with a tail of so many octets, which say its number.
    fn received(count: usize, octets: usize, role: impl Fn(usize) -> Role) -> ReceivedRecords {
        let (origin, tail, mut all) = (origin(), tail(1), ReceivedRecords::default());
        for number in 0..count {
            let mut said = vec![0; octets];
            said.iter_mut().rev().zip(number.to_le_bytes()).for_each(|(octet, digit)| *octet = digit);
            all.records.push(FlowRecord { role: role(number), octets: number as u64, ..FlowRecord::example() });
            all.beyond.push(&origin, [None, None], &tail, &said);
        }
        all
    }

    /// Whatever is cut into pieces is still there, in its order, and what each record says beyond is its own.
    fn check(all: ReceivedRecords) -> usize {
        let count = all.records.len();
        let (mut number, mut pieces) = (0, 0);
        for piece in all.pieces() {
            pieces += 1;
            assert!((1..=RECORDS_PER_EVENT).contains(&piece.records.len()));
            assert!(piece.beyond.weight() <= OCTETS_PER_EVENT, "{} octets", piece.beyond.weight());
            assert!(piece.records[0].role != Role::Reverse, "a biflow is in one piece");
            assert_eq!(piece.beyond.len(), piece.records.len());
            for (index, record) in piece.records.iter().enumerate() {
                let (_, octets) = piece.beyond.get(index).expect("each record says something beyond");
                let said = octets.iter().rev().take(8).rev().fold(0, |said, octet| said << 8 | u64::from(*octet));
                assert_eq!((record.octets, said), (number, number));
                number += 1;
            }
        }
        assert_eq!(number, count as u64);
        pieces
    }

    #[test]
    fn pieces_have_no_more_records_and_octets_than_an_event_may_have() {
        let single = |_| Role::Single;
        assert_eq!(check(received(0, 8, single)), 0);
        assert_eq!(check(received(RECORDS_PER_EVENT, 8, single)), 1);
        assert_eq!(check(received(65_000, 8, single)), 16);
        // The large unknown element of a record is as long as a datagram.
        assert_eq!(check(received(3000, 1400, single)), 5);
        let halves = |first: usize| {
            move |number: usize| {
                if number >= first && (number - first) % 2 == 1 { Role::Reverse } else { Role::Forward }
            }
        };
        for first in [0, 1] {
            assert_eq!(check(received(10_001, 8, halves(first))), 3);
            check(received(2001, 1400, halves(first)));
        }
    }

    #[test]
    fn what_is_within_the_bounds_is_not_copied() {
        let all = received(1000, 8, |_| Role::Single);
        let before = all.records.as_ptr();
        let pieces: Vec<_> = all.pieces().collect();
        assert_eq!((pieces.len(), pieces[0].records.as_ptr()), (1, before));
    }

    #[test]
    fn fields_weigh_where_hardly_two_records_are_laid_out_alike() {
        let (origin, mut beyond) = (origin(), Beyond::default());
        let [one, other, empty] = [100, 50, 0].map(tail);
        let mut weights = Vec::new();
        for tail in [&one, &empty, &one, &empty, &other, &other, &one] {
            beyond.push(&origin, [None, None], tail, &[0; 10]);
            weights.push(beyond.weight());
        }
        assert_eq!(weights, [810, 820, 830, 840, 1250, 1260, 2070]);
        beyond.clear();
        assert_eq!(beyond.weight(), 0);
    }

    #[test]
    fn after_a_burst_there_is_room_for_one_event_and_no_more() {
        let mut all = received(20_000, 100, |_| Role::Single);
        assert_eq!(all.take().records.len(), 20_000);
        assert!(all.records.capacity() <= RECORDS_PER_EVENT && all.beyond.octets.capacity() <= OCTETS_PER_EVENT);
    }
}
