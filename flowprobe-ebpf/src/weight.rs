//! What one frame stands for on the wire.

use crate::flow::{Extremes, FlowValue};
use crate::parse::Packet;

/// One packet, or the segments of an offloaded one.
#[derive(Clone, Copy, Debug)]
pub struct Weight {
    /// Packets.
    pub packets: u64,
    /// Octets from the IP header on.
    pub octets: u64,
    /// Octets of the layer-2 frames.
    pub layer2_octets: u64,
    /// IP lengths of the shortest and the longest packet; TTL of all.
    pub extremes: Extremes,
}

impl Weight {
    /// A frame of `layer2_octets` octets that is one packet.
    #[must_use]
    #[inline(always)]
    pub const fn of_one(packet: &Packet, layer2_octets: u64) -> Self {
        Self {
            packets: 1,
            octets: packet.octets as u64,
            layer2_octets,
            extremes: Extremes::of(capped(packet.octets), packet.ttl),
        }
    }

    /// What this adds to [`FlowValue::layer2_excess`] of a flow with so many link octets.
    #[must_use]
    #[inline(always)]
    pub const fn excess(&self, link_octets: u8) -> u64 {
        let expected = self.octets.wrapping_add(self.packets.wrapping_mul(link_octets as u64));
        self.layer2_octets.wrapping_sub(expected)
    }
}

/// A length as IPFIX's 16-bit fields can hold it.
#[must_use]
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "compared with the largest value before")]
pub const fn capped(length: u32) -> u16 {
    if length > 0xffff { 0xffff } else { length as u16 }
}

impl FlowValue {
    /// The value of a flow that begins with `packet`, which stands for `weight`, at `now` (nanoseconds).
    #[must_use]
    #[inline(always)]
    pub const fn begin(packet: &Packet, weight: Weight, now: u64) -> Self {
        // Where there are more than 255, in a tunnel in a tunnel, the excess takes what is missing here.
        #[expect(clippy::cast_possible_truncation, reason = "said above")]
        let link_octets = packet.network_offset as u8;
        Self {
            packets: weight.packets,
            octets: weight.octets,
            layer2_excess: weight.excess(link_octets),
            first_ns: now,
            last_ns: now,
            extremes: weight.extremes.pack(),
            facts: packet.facts,
            ethertype: packet.ethertype,
            tos: packet.tos,
            link_octets,
            source_mac: packet.source_mac,
            destination_mac: packet.destination_mac,
            mpls_top_label: packet.mpls_top_label,
        }
    }
}
