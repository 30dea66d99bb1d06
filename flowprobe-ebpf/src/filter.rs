//! The packet filter: a small decision graph over what the parser found, evaluated for every parsed packet.
//!
//! The daemon compiles an expression into the graph and writes it into a map; the kernel programs and the replay evaluate it.
//! Each test says where to go on if it matches and where if not: to a later test, or to an end. Jumps lead forward only, so
//! a packet meets each test at most once.
//!
//! The graph lies in a map, of whose content the kernel's verifier knows nothing. So the loop has a constant bound, each
//! index is masked, and tests are read where they lie.

use bytemuck::{Pod, Zeroable};

use crate::flow::{Address, Direction, FlowKey};
use crate::parse::Packet;
use crate::protocol;

/// Tests of the longest filter, a power of two.
pub const MAX_TESTS: usize = 64;

/// A jump target: the packet is metered.
pub const ACCEPT: u8 = 0xff;

/// A jump target: the packet is left out.
pub const REJECT: u8 = 0xfe;

/// What a test looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct Field(pub u8);

impl Field {
    /// Nothing: the test matches wherever its IP version and protocol do.
    pub const ANY: Self = Self(0);
    /// Source address; compared under a mask.
    pub const SOURCE_ADDRESS: Self = Self(1);
    /// Destination address; compared under a mask.
    pub const DESTINATION_ADDRESS: Self = Self(2);
    /// Source MAC address; compared under a mask.
    pub const SOURCE_MAC: Self = Self(3);
    /// Destination MAC address; compared under a mask.
    pub const DESTINATION_MAC: Self = Self(4);
    /// Source port. Without one, in ICMP for example, no range matches.
    pub const SOURCE_PORT: Self = Self(5);
    /// Destination port. Without one no range matches.
    pub const DESTINATION_PORT: Self = Self(6);
    /// ICMP or ICMPv6 type × 256 + code; of use with [`FilterTest::protocol`] only.
    pub const ICMP_TYPE_CODE: Self = Self(7);
    /// Transport protocol.
    pub const PROTOCOL: Self = Self(8);
    /// Outer VLAN identifier, 0 without one.
    pub const VLAN: Self = Self(9);
    /// Inner VLAN identifier, 0 without one.
    pub const CUSTOMER_VLAN: Self = Self(10);
    /// [`Packet::mpls_top_label`], 0 without one.
    pub const MPLS_TOP_LABEL: Self = Self(11);
    /// Octets of the layer-2 frame.
    pub const LAYER2_OCTETS: Self = Self(12);
    /// Octets from the IP header on.
    pub const IP_OCTETS: Self = Self(13);
    /// Type of service or traffic class.
    pub const TOS: Self = Self(14);
    /// TTL or hop limit.
    pub const TTL: Self = Self(15);
    /// [`Packet::facts`]: [`crate::flow::tcp_facts`] and [`crate::flow::FACT_FRAGMENT`].
    pub const FACTS: Self = Self(16);
    /// EtherType of the network layer.
    pub const ETHERTYPE: Self = Self(17);
    /// A [`Direction`].
    pub const DIRECTION: Self = Self(18);
}

/// The value of a port that a packet does not have: larger than any port.
const NO_PORT: u32 = u32::MAX;

/// One test and where it leads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct FilterTest {
    /// Addresses: what the masked field must be; MAC addresses fill a word and the low half of the next. Numbers: the smallest
    /// and the largest that match.
    pub value: [u32; 4],
    /// The bits of the field that count, of numbers in the first word.
    pub mask: [u32; 4],
    /// What is compared.
    pub field: Field,
    /// The IP version without which the test does not match; 0 where either will do.
    pub ip_version: u8,
    /// The transport protocol without which the test does not match; 0 where any will do.
    pub protocol: u8,
    /// Where to go on if the test matches: the index of a later test, [`ACCEPT`] or [`REJECT`].
    pub on_match: u8,
    /// Where to go on if not.
    pub otherwise: u8,
    /// Zero.
    pub padding: [u8; 3],
}

impl FilterTest {
    /// A test of nothing but the IP version and the protocol, which [`FilterTest::of`] adds.
    pub const ANY: Self = Self {
        value: [0; 4],
        mask: [0; 4],
        field: Field::ANY,
        ip_version: 0,
        protocol: 0,
        on_match: ACCEPT,
        otherwise: REJECT,
        padding: [0; 3],
    };

    /// Whether an address field is `address` in the bits of `mask`.
    #[must_use]
    pub const fn address(field: Field, address: Address, mask: Address) -> Self {
        Self { field, value: address.0, mask: mask.0, ..Self::ANY }
    }

    /// Whether a MAC address field is `mac` in the bits of `mask`.
    #[must_use]
    pub const fn mac(field: Field, mac: [u8; 6], mask: [u8; 6]) -> Self {
        let ([v0, v1], [m0, m1]) = (words(mac), words(mask));
        Self { field, value: [v0, v1, 0, 0], mask: [m0, m1, 0, 0], ..Self::ANY }
    }

    /// Whether the bits of `mask` of a number, the others zeroed, are from `low` to `high`.
    #[must_use]
    pub const fn range(field: Field, mask: u32, low: u32, high: u32) -> Self {
        Self { field, value: [low, high, 0, 0], mask: [mask, 0, 0, 0], ..Self::ANY }
    }

    /// The same test, of packets of this IP version and protocol only; 0 is any.
    #[must_use]
    pub const fn of(mut self, ip_version: u8, protocol: u8) -> Self {
        self.ip_version = ip_version;
        self.protocol = protocol;
        self
    }

    /// Whether the test matches.
    #[inline(always)]
    fn matches(&self, packet: &Packet, layer2_octets: u64) -> bool {
        let key = &packet.key;
        if self.ip_version != 0 && self.ip_version != key.ip_version {
            return false;
        }
        if self.protocol != 0 && self.protocol != key.protocol {
            return false;
        }
        match self.field {
            Field::ANY => true,
            Field::SOURCE_ADDRESS => self.is_address(&key.source),
            Field::DESTINATION_ADDRESS => self.is_address(&key.destination),
            Field::SOURCE_MAC => self.is_mac(packet.source_mac),
            Field::DESTINATION_MAC => self.is_mac(packet.destination_mac),
            field => self.has_number(number(field, packet, layer2_octets)),
        }
    }

    #[inline(always)]
    const fn is_address(&self, address: &Address) -> bool {
        let (words, value, mask) = (&address.0, &self.value, &self.mask);
        let high = (words[0] ^ value[0]) & mask[0] | (words[1] ^ value[1]) & mask[1];
        let low = (words[2] ^ value[2]) & mask[2] | (words[3] ^ value[3]) & mask[3];
        high | low == 0
    }

    #[inline(always)]
    const fn is_mac(&self, mac: [u8; 6]) -> bool {
        let words = words(mac);
        (words[0] ^ self.value[0]) & self.mask[0] | (words[1] ^ self.value[1]) & self.mask[1] == 0
    }

    #[inline(always)]
    const fn has_number(&self, number: u32) -> bool {
        let masked = number & self.mask[0];
        self.value[0] <= masked && masked <= self.value[1]
    }
}

/// A MAC address as numbers: the first four octets and the last two.
#[inline(always)]
const fn words(mac: [u8; 6]) -> [u32; 2] {
    let [a, b, c, d, e, f] = mac;
    [u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([0, 0, e, f])]
}

/// The fields that are numbers. One that is unknown, which no compiled filter has, is 0.
#[inline(always)]
fn number(field: Field, packet: &Packet, layer2_octets: u64) -> u32 {
    let key = &packet.key;
    match field {
        Field::SOURCE_PORT => port(key, key.source_port),
        Field::DESTINATION_PORT => port(key, key.destination_port),
        Field::ICMP_TYPE_CODE => key.destination_port.into(),
        Field::PROTOCOL => key.protocol.into(),
        Field::VLAN => key.vlan.into(),
        Field::CUSTOMER_VLAN => key.customer_vlan.into(),
        Field::MPLS_TOP_LABEL => packet.mpls_top_label,
        Field::LAYER2_OCTETS => capped(layer2_octets),
        Field::IP_OCTETS => packet.octets,
        Field::TOS => packet.tos.into(),
        Field::TTL => packet.ttl.into(),
        Field::FACTS => packet.facts,
        Field::ETHERTYPE => packet.ethertype.into(),
        Field::DIRECTION => key.direction.into(),
        _ => 0,
    }
}

/// Without the protocol, ICMP's type and code would pass for a port.
#[inline(always)]
fn port(key: &FlowKey, port: u16) -> u32 {
    if protocol::has_ports(key.protocol) { port.into() } else { NO_PORT }
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "compared with the largest value before")]
const fn capped(octets: u64) -> u32 {
    if octets > u32::MAX as u64 { u32::MAX } else { octets as u32 }
}

/// A filter as it lies in a map. All zeroes, as a map begins, is one that accepts every packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Filter {
    /// The tests; the first is where a packet begins.
    pub tests: [FilterTest; MAX_TESTS],
    /// Number of tests; 0 accepts every packet.
    pub length: u32,
}

impl Default for Filter {
    fn default() -> Self {
        Self::zeroed()
    }
}

impl Filter {
    /// Whether `packet`, of a frame of `layer2_octets` octets, is to be metered.
    ///
    /// Whatever the graph holds, this ends after [`MAX_TESTS`] tests; a graph that has not come to an end by then, which only
    /// one with jumps backward can bring about, rejects.
    ///
    /// A program calls this best from a global function, which the verifier checks by itself: as a part of the program it would
    /// be followed once for each state in which the parser can end, some ten times as many instructions.
    #[must_use]
    #[inline(always)]
    pub fn accepts(&self, packet: &Packet, layer2_octets: u64) -> bool {
        if self.length == 0 {
            return true;
        }
        let mut index = 0;
        for _ in 0..MAX_TESTS {
            let test = &self.tests[index & (MAX_TESTS - 1)];
            let next = if test.matches(packet, layer2_octets) { test.on_match } else { test.otherwise };
            if next >= REJECT {
                return next == ACCEPT;
            }
            index = usize::from(next);
        }
        false
    }

    /// The tests that are used.
    #[must_use]
    pub fn used(&self) -> &[FilterTest] {
        let length = usize::try_from(self.length).unwrap_or(MAX_TESTS);
        self.tests.get(..length).unwrap_or(&self.tests)
    }
}

const _: () = {
    assert!(MAX_TESTS.is_power_of_two() && MAX_TESTS <= REJECT as usize);
    assert!(size_of::<FilterTest>() == 40 && align_of::<FilterTest>() == 4);
    assert!(size_of::<Filter>() == 40 * MAX_TESTS + 4);
    assert!(core::mem::offset_of!(Filter, length) == 40 * MAX_TESTS);
    assert!(Direction::Ingress as u8 == 0 && Direction::Egress as u8 == 1);
};

#[cfg(test)]
mod tests;
