//! The numbers that a record holds, each at the place of its meaning.

use crate::collect::registry::REVERSE;
use crate::collect::template::{Field, Scope};

/// Makes of the rows the places, and the way from an element's ID to its place.
macro_rules! slots {
    ($($name:ident = $id:literal;)*) => {
        /// Where a number has its place: one of IANA's elements that a record or the facts about an exporter are made of.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(super) enum Slot {
            /// That of no element: always 0.
            Nothing,
            $($name),*
        }

        /// All of them.
        const SLOTS: usize = 1 $(+ { let _ = Slot::$name; 1 })*;

        impl Slot {
            /// That of the element with this ID.
            const fn of(id: u16) -> Option<Self> {
                match id {
                    $($id => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

slots! {
    Octets = 1;
    Packets = 2;
    Protocol = 4;
    Tos = 5;
    TcpFlags = 6;
    SourcePort = 7;
    SourceV4 = 8;
    Ingress = 10;
    DestinationPort = 11;
    DestinationV4 = 12;
    Egress = 14;
    NextHopV4 = 15;
    SourceAs = 16;
    DestinationAs = 17;
    EndUptime = 21;
    StartUptime = 22;
    PostOctets = 23;
    PostPackets = 24;
    LengthMin = 25;
    LengthMax = 26;
    Icmp = 32;
    SamplingInterval = 34;
    Sampler = 48;
    SamplerInterval = 50;
    TtlMin = 52;
    TtlMax = 53;
    SourceMac = 56;
    Vlan = 58;
    IpVersion = 60;
    Direction = 61;
    MplsTopLabel = 70;
    DestinationMac = 80;
    OctetsTotal = 85;
    PacketsTotal = 86;
    FragmentOffset = 88;
    EndReason = 136;
    IcmpV6 = 139;
    StartSeconds = 150;
    EndSeconds = 151;
    StartMilliseconds = 152;
    EndMilliseconds = 153;
    StartMicroseconds = 154;
    EndMicroseconds = 155;
    StartNanoseconds = 156;
    EndNanoseconds = 157;
    StartDelta = 158;
    EndDelta = 159;
    SystemInit = 160;
    DurationMilliseconds = 161;
    DurationMicroseconds = 162;
    IcmpType = 176;
    IcmpCode = 177;
    IcmpV6Type = 178;
    IcmpV6Code = 179;
    UdpSourcePort = 180;
    UdpDestinationPort = 181;
    TcpSourcePort = 182;
    TcpDestinationPort = 183;
    Ttl = 192;
    FragmentFlags = 197;
    InitiatorOctets = 231;
    FirewallEvent = 233;
    Dot1qVlan = 243;
    CustomerVlan = 245;
    PhysicalIngress = 252;
    PhysicalEgress = 253;
    Ethertype = 256;
    InitiatorPackets = 298;
    Selector = 302;
    PacketInterval = 305;
    PacketSpace = 306;
    SamplingSize = 309;
    SamplingPopulation = 310;
    SamplingProbability = 311;
    ObservationSeconds = 322;
    ObservationMilliseconds = 323;
    ObservationMicroseconds = 324;
    ObservationNanoseconds = 325;
    Layer2Octets = 352;
    Layer2OctetsTotal = 353;
    FlowInterval = 396;
    FlowSpacing = 397;
    // The Private Enterprise Number of CERT has it, not IANA.
    ReverseDelta = 0xffff;
}

/// An address of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Wide {
    Source,
    Destination,
    NextHop,
}

/// What a value is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A number of as many octets as there are.
    Unsigned(Slot),
    /// A number in the first three octets, of however many.
    LabelEntry,
    /// IPFIX float64 or float32; the number is the bits of the former.
    Float(Slot),
    /// An address of IPv6.
    Wide(Wide),
}

/// Which direction of a biflow a value is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Side {
    /// That of the record, or of the side that opened the conversation.
    Forward,
    /// That of the answers.
    Reverse,
}

/// CERT's Private Enterprise Number, and its `reverseFlowDeltaMilliseconds`: from the first packet to the first answer.
const CERT: u32 = 6871;
const CERT_REVERSE_DELTA: u16 = 21;

/// Where the value of a field has its place, if it has one.
pub(super) fn place_of(field: Field) -> Option<(Side, Place)> {
    let specifier = match field {
        Field::Scope(Scope::Interface, _) => return Some((Side::Forward, Place::Unsigned(Slot::Ingress))),
        Field::Scope(..) => return None,
        Field::Element(specifier) => specifier,
    };
    match (specifier.enterprise, specifier.id) {
        (0, 232) => Some((Side::Reverse, Place::Unsigned(Slot::InitiatorOctets))),
        (0, 299) => Some((Side::Reverse, Place::Unsigned(Slot::InitiatorPackets))),
        (0, 27) => Some((Side::Forward, Place::Wide(Wide::Source))),
        (0, 28) => Some((Side::Forward, Place::Wide(Wide::Destination))),
        (0, 62) => Some((Side::Forward, Place::Wide(Wide::NextHop))),
        (0, 311) => Some((Side::Forward, Place::Float(Slot::SamplingProbability))),
        (0 | REVERSE, 70) => Some((side_of(specifier.enterprise), Place::LabelEntry)),
        (0, 0xffff) => None,
        (0, id) => Slot::of(id).map(|slot| (Side::Forward, Place::Unsigned(slot))),
        (REVERSE, id) if is_of_either_side(id) => Slot::of(id).map(|slot| (Side::Reverse, Place::Unsigned(slot))),
        (CERT, CERT_REVERSE_DELTA) => Some((Side::Reverse, Place::Unsigned(Slot::ReverseDelta))),
        _ => None,
    }
}

/// Whose direction an element of this enterprise is about.
pub(super) const fn side_of(enterprise: u32) -> Side {
    if enterprise == REVERSE { Side::Reverse } else { Side::Forward }
}

/// Elements that a reverse record takes from the reverse ones; its key is that of the forward one turned round.
const fn is_of_either_side(id: u16) -> bool {
    matches!(id, 1 | 2 | 5 | 6 | 21 | 22 | 25 | 26 | 32 | 52 | 53 | 56 | 58 | 80 | 85 | 86 | 88)
        || matches!(id, 139 | 150..=159 | 161 | 162 | 176..=179 | 192 | 197 | 243 | 245 | 352 | 353)
}

/// The values of one direction.
#[derive(Clone, Copy)]
pub(super) struct Values {
    numbers: [u64; SLOTS],
    wide: [u128; 3],
}

impl Values {
    pub(super) const NONE: Self = Self { numbers: [0; SLOTS], wide: [0; 3] };

    /// The number of `slot`; 0 where the record has none.
    #[inline]
    pub(super) const fn get(&self, slot: Slot) -> u64 {
        self.numbers[slot as usize]
    }

    /// The first of these that is not 0, and whose it is; [`Slot::Nothing`] where all are.
    pub(super) fn first(&self, slots: &[Slot]) -> (Slot, u64) {
        let said = slots.iter().map(|&slot| (slot, self.get(slot))).find(|&(_, number)| number != 0);
        said.unwrap_or((Slot::Nothing, 0))
    }

    #[inline]
    pub(super) const fn wide(&self, wide: Wide) -> u128 {
        self.wide[wide as usize]
    }

    /// Puts a value to its place.
    #[inline]
    pub(super) fn put(&mut self, place: Place, octets: &[u8]) {
        match place {
            Place::Unsigned(slot) => self.numbers[slot as usize] = number(octets),
            Place::LabelEntry => {
                self.numbers[Slot::MplsTopLabel as usize] = number(octets.get(..3).unwrap_or(octets));
            }
            Place::Float(slot) => self.numbers[slot as usize] = float(octets).to_bits(),
            Place::Wide(wide) => self.wide[wide as usize] = octets.try_into().map_or(0, u128::from_be_bytes),
        }
    }
}

/// The number that octets make; the largest where it is larger.
#[inline]
pub(in crate::collect) fn number(octets: &[u8]) -> u64 {
    match *octets {
        [a] => a.into(),
        [a, b] => u16::from_be_bytes([a, b]).into(),
        [a, b, c, d] => u32::from_be_bytes([a, b, c, d]).into(),
        [a, b, c, d, e, f, g, h] => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
        _ => {
            let (beyond, last) = octets.split_at(octets.len().saturating_sub(8));
            let number = last.iter().fold(0, |number, &octet| number << 8 | u64::from(octet));
            if beyond.iter().all(|&octet| octet == 0) { number } else { u64::MAX }
        }
    }
}

/// IPFIX float64 or, as its reduced-size encoding, float32; 0 for other lengths.
pub(in crate::collect) fn float(octets: &[u8]) -> f64 {
    if let Ok(octets) = octets.try_into() {
        f64::from_be_bytes(octets)
    } else {
        octets.try_into().map_or(0.0, |octets| f32::from_be_bytes(octets).into())
    }
}
