//! Key and value of the flow maps, as they lie in kernel memory.
//!
//! Both sides read these bytes, so every size and offset is asserted, padding is a named field and always zero, and all
//! fields are plain integers. Addresses and ports are in the byte order that each field states.

use core::net::{Ipv4Addr, Ipv6Addr};

use bytemuck::{Pod, Zeroable};

/// Which way a packet passed the interface. IPFIX `flowDirection` (element 61).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Direction {
    /// The packet came in from the wire.
    Ingress = 0,
    /// The packet goes out to the wire.
    Egress = 1,
}

/// An IPv6 address, or an IPv4 address as IPv4-mapped IPv6 (RFC 4291 section 2.5.5.2), in network byte order. Held as
/// words because that is how the kernel programs copy and hash it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
#[repr(transparent)]
pub struct Address(pub [u32; 4]);

impl Address {
    /// The IPv4-mapped form of the address whose four bytes, as they stand in the packet, are `word`.
    #[must_use]
    #[inline(always)]
    pub const fn v4_mapped(word: u32) -> Self {
        Self([0, 0, 0x0000_ffff_u32.to_be(), word])
    }

    /// The address as the standard library's type.
    #[must_use]
    pub fn to_ipv6(self) -> Ipv6Addr {
        let bytes: [u8; 16] = bytemuck::cast(self.0);
        Ipv6Addr::from(bytes)
    }

    /// The last four bytes: the IPv4 address, where the key's `ip_version` is 4.
    #[must_use]
    pub fn to_ipv4(self) -> Ipv4Addr {
        Ipv4Addr::from(self.0[3].to_ne_bytes())
    }
}

impl From<Ipv4Addr> for Address {
    fn from(address: Ipv4Addr) -> Self {
        Self::v4_mapped(u32::from_ne_bytes(address.octets()))
    }
}

impl From<Ipv6Addr> for Address {
    fn from(address: Ipv6Addr) -> Self {
        Self(bytemuck::cast(address.octets()))
    }
}

/// What makes two packets one flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
#[repr(C)]
pub struct FlowKey {
    /// Source address of the IP header.
    pub source: Address,
    /// Destination address of the IP header.
    pub destination: Address,
    /// Interface on which the packet was metered (the kernel's ifindex).
    pub ifindex: u32,
    /// Source port, host byte order; 0 where the protocol has none.
    pub source_port: u16,
    /// Destination port, host byte order. ICMP and ICMPv6: type × 256 + code, as NetFlow has it.
    pub destination_port: u16,
    /// Outer VLAN identifier (1–4094), 0 where the frame has no tag.
    pub vlan: u16,
    /// Inner (customer) VLAN identifier, 0 where the frame has fewer than two tags.
    pub customer_vlan: u16,
    /// Transport protocol (IANA protocol numbers).
    pub protocol: u8,
    /// 4 or 6. An IPv6 packet may carry IPv4-mapped addresses, so the addresses alone do not tell.
    pub ip_version: u8,
    /// A [`Direction`].
    pub direction: u8,
    /// Zero.
    pub padding: u8,
}

/// What is known of a flow since its generation began.
///
/// Programs on several CPUs write one value at once: the counters with atomic additions, `extremes` by compare and
/// exchange, `facts` by atomic or; `last_ns` may lose a race against a packet of the same instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct FlowValue {
    /// Packets on the wire.
    pub packets: u64,
    /// Octets from the IP header on, the header included (IPv4 total length, IPv6 payload length + 40).
    pub octets: u64,
    /// Layer-2 octets beyond [`FlowValue::link_octets`] for each packet, wrapping: padding of short frames, and whatever
    /// differs from the first packet. For most packets that is nothing, which saves a third atomic addition.
    /// [`FlowValue::layer2_octets`] is what to read.
    pub layer2_excess: u64,
    /// Kernel monotonic clock (`CLOCK_MONOTONIC`), nanoseconds, when the first packet was metered.
    pub first_ns: u64,
    /// The same for the last packet.
    pub last_ns: u64,
    /// [`Extremes`], packed into one word.
    pub extremes: u64,
    /// TCP header flags seen (the low 9 bits: CWR, ECE, URG, ACK, PSH, RST, SYN, FIN and NS), or-ed over all packets;
    /// above them [`FACT_INITIATOR`], [`FACT_FRAGMENT`], and the flow's route ([`route_of`]).
    pub facts: u32,
    /// EtherType of the frame's network layer (0x0800, 0x86DD), host byte order.
    pub ethertype: u16,
    /// Type of service / traffic class of the first packet.
    pub tos: u8,
    /// Octets of the first frame before its IP header.
    pub link_octets: u8,
    /// Source MAC address of the first frame.
    pub source_mac: [u8; 6],
    /// Destination MAC address of the first frame.
    pub destination_mac: [u8; 6],
    /// First MPLS label stack entry of the first packet, without its TTL ([`crate::parse::Packet::mpls_top_label`]).
    pub mpls_top_label: u32,
}

impl FlowValue {
    /// Octets of the layer-2 frames, as the interface counts them (without preamble and frame check sequence).
    #[must_use]
    #[inline(always)]
    pub const fn layer2_octets(&self) -> u64 {
        self.octets.wrapping_add(self.packets.wrapping_mul(self.link_octets as u64)).wrapping_add(self.layer2_excess)
    }

    /// The same value with this many layer-2 octets.
    #[must_use]
    pub const fn with_layer2_octets(mut self, octets: u64) -> Self {
        self.layer2_excess = 0;
        self.layer2_excess = octets.wrapping_sub(self.layer2_octets());
        self
    }
}

/// In [`FlowValue::facts`]: the flow held IP fragments.
pub const FACT_FRAGMENT: u32 = 1 << 16;

/// In [`FlowValue::facts`]: the flow has had more than one packet. The daemon's table notes it; programs never do.
pub const FACT_ESTABLISHED: u32 = 1 << 15;

/// In [`FlowValue::facts`]: the bits that are TCP flags.
pub const FACT_TCP_FLAGS: u32 = 0x1ff;

/// In [`FlowValue::facts`]: a packet had SYN and no ACK, as only the side sends that opens a connection. The flags of several
/// packets, or-ed, do not tell.
pub const FACT_INITIATOR: u32 = 1 << 9;

/// TCP's flags as facts, from the 16 bits that begin with the header's length: the flags themselves, and whether the packet
/// opens a connection. Arithmetic only, so that the verifier has no branch to follow.
#[must_use]
#[inline(always)]
pub const fn tcp_facts(field: u16) -> u32 {
    const SYN: u32 = 0x02;
    // From ACK's place to SYN's, and from SYN's to the fact's.
    const ACK_TO_SYN: u32 = 3;
    const SYN_TO_INITIATOR: u32 = 8;
    let flags = field as u32 & FACT_TCP_FLAGS;
    flags | (flags & !(flags >> ACK_TO_SYN) & SYN) << SYN_TO_INITIATOR
}

/// In [`FlowValue::facts`]: the number of the flow's [`crate::Route`], above the rest.
const ROUTE_SHIFT: u32 = 17;

/// The number of the flow's route, 0 where it is unknown.
#[must_use]
#[inline(always)]
pub const fn route_of(facts: u32) -> u32 {
    facts >> ROUTE_SHIFT
}

/// `facts` with this number of a route, at most [`crate::interface::MOST_ROUTES`], instead of the one it has.
#[must_use]
#[inline(always)]
pub const fn with_route(facts: u32, route: u32) -> u32 {
    facts & ((1 << ROUTE_SHIFT) - 1) | route << ROUTE_SHIFT
}

/// Smallest and largest IP length and TTL (hop limit) of a flow's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extremes {
    /// IPFIX `minimumIpTotalLength`, octets, capped at 65,535.
    pub length_min: u16,
    /// IPFIX `maximumIpTotalLength`, octets, capped at 65,535.
    pub length_max: u16,
    /// IPFIX `minimumTTL`.
    pub ttl_min: u8,
    /// IPFIX `maximumTTL`.
    pub ttl_max: u8,
}

impl Extremes {
    /// The extremes of a single packet.
    #[must_use]
    #[inline(always)]
    pub const fn of(length: u16, ttl: u8) -> Self {
        Self { length_min: length, length_max: length, ttl_min: ttl, ttl_max: ttl }
    }

    /// The word in [`FlowValue::extremes`].
    #[must_use]
    #[inline(always)]
    pub const fn pack(self) -> u64 {
        self.length_min as u64
            | (self.length_max as u64) << 16
            | (self.ttl_min as u64) << 32
            | (self.ttl_max as u64) << 40
    }

    /// The inverse of [`Extremes::pack`].
    #[must_use]
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "each field is cut out of the word")]
    pub const fn unpack(word: u64) -> Self {
        Self {
            length_min: word as u16,
            length_max: (word >> 16) as u16,
            ttl_min: (word >> 32) as u8,
            ttl_max: (word >> 40) as u8,
        }
    }

    /// The extremes of the packets of both.
    #[must_use]
    #[inline(always)]
    pub fn union(self, other: Self) -> Self {
        Self {
            length_min: self.length_min.min(other.length_min),
            length_max: self.length_max.max(other.length_max),
            ttl_min: self.ttl_min.min(other.ttl_min),
            ttl_max: self.ttl_max.max(other.ttl_max),
        }
    }
}

// The layouts are an interface between two compilers; a change here is a change of the object file.
const _: () = {
    assert!(size_of::<FlowKey>() == 48);
    assert!(align_of::<FlowKey>() == 4);
    assert!(core::mem::offset_of!(FlowKey, ifindex) == 32);
    assert!(core::mem::offset_of!(FlowKey, protocol) == 44);
    assert!(size_of::<FlowValue>() == 72);
    assert!(align_of::<FlowValue>() == 8);
    assert!(core::mem::offset_of!(FlowValue, facts) == 48);
    assert!(core::mem::offset_of!(FlowValue, source_mac) == 56);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_survive_packing_and_merge() {
        let a = Extremes::of(1500, 64);
        let b = Extremes::of(40, 255);
        assert_eq!(Extremes::unpack(a.pack()), a);
        let both = Extremes { length_min: 40, length_max: 1500, ttl_min: 64, ttl_max: 255 };
        assert_eq!(Extremes::unpack(a.union(b).pack()), both);
    }

    #[test]
    fn a_connection_is_opened_by_syn_without_ack() {
        for field in 0..=u16::MAX {
            let opens = field & 0x12 == 0x02;
            assert_eq!(
                tcp_facts(field),
                u32::from(field & 0x1ff) | if opens { FACT_INITIATOR } else { 0 },
                "{field:#x}"
            );
        }
    }

    #[test]
    fn addresses_convert_both_ways() {
        let v4 = Ipv4Addr::new(192, 0, 2, 7);
        assert_eq!(Address::from(v4).to_ipv4(), v4);
        assert_eq!(Address::from(v4).to_ipv6(), v4.to_ipv6_mapped());
        let v6: Ipv6Addr = "2001:db8::1:2".parse().expect("an address");
        assert_eq!(Address::from(v6).to_ipv6(), v6);
    }
}
