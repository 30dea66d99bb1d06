//! What a record that was received says beyond a [`FlowRecord`]: who sent it, and every element for which a `FlowRecord` has no
//! place, as the octets that it came with.
//!
//! Nothing that an exporter says is thrown away because flowprobe has no name for it. Addresses after translation, firewall
//! events, AS numbers and enterprises' elements travel in a *tail*, octet by octet, beside the record; an encoder of IPFIX
//! writes the tail behind the record's own fields, and JSON names what the registry knows.

use std::net::IpAddr;
use std::sync::Arc;

use crate::record::{FlowRecord, Role};

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

/// What one record says beyond its [`FlowRecord`].
#[derive(Clone, Debug)]
pub struct Received {
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
}

impl Beyond {
    /// Adds what the next record says. The octets are those of its tail, each value of variable length behind its own (RFC 7011
    /// section 7).
    pub fn push(&mut self, origin: &Arc<Origin>, names: [Option<Arc<str>>; 2], tail: &Arc<Tail>, octets: &[u8]) {
        let start = self.octets.len();
        self.octets.extend_from_slice(octets);
        let [ingress_name, egress_name] = names;
        let (origin, tail) = (Arc::clone(origin), Arc::clone(tail));
        self.each.push(Some(Received { origin, ingress_name, egress_name, tail, start, end: self.octets.len() }));
    }

    /// Lets the record at `index` say the same. Those before it of which nothing was said have nothing to say.
    pub fn set(&mut self, index: usize, (received, octets): Said<'_>) {
        self.each.resize(index, None);
        let Received { origin, ingress_name, egress_name, tail, .. } = received;
        self.push(origin, [ingress_name.clone(), egress_name.clone()], tail, octets);
    }

    /// None yet, and room for as many as are here.
    #[must_use]
    fn another(&self) -> Self {
        Self { each: Vec::with_capacity(self.each.len()), octets: Vec::with_capacity(self.octets.len()) }
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
    }

    /// What the record at `index` says beyond, and the octets of its tail.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Said<'_>> {
        let received = self.each.get(index)?.as_ref()?;
        Some((received, self.octets.get(received.start..received.end)?))
    }
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
        let room = Self { records: Vec::with_capacity(self.records.len()), beyond: self.beyond.another() };
        std::mem::replace(self, room)
    }

    /// Records, a biflow as one.
    #[must_use]
    pub fn conversations(&self) -> usize {
        self.records.iter().filter(|record| record.role != Role::Reverse).count()
    }
}
