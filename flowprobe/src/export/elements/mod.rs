//! Which elements a record consists of. Templates, data records, JSON objects, CSV columns and `docs/elements.md` are made
//! from one table ([`ELEMENTS`]), and so agree.

mod fields;
mod places;
mod schema;
mod table;

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::record::FlowRecord;
pub use fields::{Fields, FieldsError, Preset};
pub use schema::{Extras, Family, FieldSpecifier, Layout, Schema, Shape};
pub(super) use schema::{MOST_RECEIVED, RECEIVED_TURNS};
pub use table::ELEMENTS;

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Field {
    /// IPFIX unsigned8 to unsigned64, dateTimeMilliseconds; also an octetArray of fixed length that holds a number.
    Unsigned(u64),
    /// IPFIX float64.
    Float(f64),
    /// IPFIX ipv4Address.
    V4(Ipv4Addr),
    /// IPFIX ipv6Address.
    V6(Ipv6Addr),
    /// IPFIX macAddress.
    Mac([u8; 6]),
}

/// One row: an element, when it is in a record, and where its value comes from.
#[derive(Clone, Copy)]
pub struct Element {
    /// Name in JSON and CSV: the registry's, but for the addresses of tunnels, which are in a record twice.
    pub name: &'static str,
    /// Whose element it is: 0 for the IANA registry "IPFIX Information Elements", else a Private Enterprise Number.
    pub enterprise: u32,
    /// ElementID in the registry.
    pub id: u16,
    /// Its type in the registry.
    pub data_type: DataType,
    /// Octets on the wire; fewer than the registry's type has is RFC 7011's reduced-size encoding (section 6.2).
    pub length: u16,
    /// What it counts in.
    pub unit: Unit,
    /// In which records the element is.
    pub group: Group,
    /// In which of them without being asked for.
    pub place: Place,
    /// What it says, for the documentation.
    pub about: &'static str,
    /// The value; of an element of the other direction of a biflow, that in the record of the other direction.
    pub value: fn(&FlowRecord) -> Field,
    /// Whether the element says something about the record. In an IPFIX record it is then 0, in a JSON object left out.
    pub applies: fn(&FlowRecord) -> bool,
}

impl Element {
    /// Which of the records of a conversation it is about: of the other direction's elements there may be none.
    #[must_use]
    pub fn subject<'a>(&self, record: &'a FlowRecord, reverse: Option<&'a FlowRecord>) -> Option<&'a FlowRecord> {
        if self.group.is_reverse() { reverse } else { Some(record) }
    }

    /// Whether it counts milliseconds from the boot of the exporter, in the low 32 bits of its value those from 1970.
    pub(super) fn is_uptime(&self) -> bool {
        matches!((self.enterprise, self.id), (0, 21 | 22))
    }

    /// Whether it is neither IANA's nor the reverse of such.
    pub(super) fn is_of_enterprise(&self) -> bool {
        !matches!(self.enterprise, 0 | table::REVERSE)
    }
}

/// A type as the IANA registry "IPFIX Information Element Data Types" numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the registry says what they are")]
#[repr(u8)]
pub enum DataType {
    OctetArray = 0,
    Unsigned8 = 1,
    Unsigned16 = 2,
    Unsigned32 = 3,
    Unsigned64 = 4,
    Float64 = 10,
    MacAddress = 12,
    DateTimeSeconds = 14,
    DateTimeMilliseconds = 15,
    DateTimeMicroseconds = 16,
    Ipv4Address = 18,
    Ipv6Address = 19,
}

/// A unit as the IANA registry "IPFIX Information Element Units" numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the registry says what they are")]
#[repr(u16)]
pub enum Unit {
    None = 0,
    Octets = 2,
    Packets = 3,
    Flows = 4,
    Seconds = 5,
    Milliseconds = 6,
    Microseconds = 7,
    Hops = 11,
}

/// In which records an element is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// In all.
    Always,
    /// In those of IPv4 flows.
    V4,
    /// In those of IPv6 flows.
    V6,
    /// In those of flows out of tunnels.
    Tunnel,
    /// In those of flows out of tunnels over IPv4.
    OuterV4,
    /// In those of flows out of tunnels over IPv6.
    OuterV6,
    /// In all where next hops are looked up.
    NextHop,
    /// In all where autonomous systems are looked up.
    AsNumber,
    /// In all where there is sampling.
    Sampled,
    /// In all where packets are sampled.
    SampledPackets,
    /// In all where flows are sampled.
    SampledFlows,
    /// In those of biflows.
    Biflow,
    /// In those of biflows, about the other direction.
    Reverse,
    /// The same of IPv4.
    ReverseV4,
    /// The same of IPv6.
    ReverseV6,
}

impl Group {
    /// Whether the value comes from the record of the other direction.
    #[must_use]
    pub const fn is_reverse(self) -> bool {
        matches!(self, Self::Reverse | Self::ReverseV4 | Self::ReverseV6)
    }
}

/// In which records of its group an element is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In all, unless other fields are asked for.
    Standard,
    /// In those of the preset `full`.
    Full,
    /// In those for which it is asked by name.
    Asked,
}

#[cfg(test)]
mod tests;
