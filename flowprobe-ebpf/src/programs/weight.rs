//! What one run of a program stands for on the wire.

use flowprobe_ebpf::flow::Extremes;
use flowprobe_ebpf::parse::{Frame, Packet};

/// What one run of a program stands for on the wire: one packet, or the segments of an offloaded one.
#[derive(Clone, Copy)]
pub(crate) struct Weight {
    pub(crate) packets: u64,
    pub(crate) octets: u64,
    pub(crate) layer2_octets: u64,
    /// IP lengths of the shortest and the longest packet; TTL of all.
    pub(crate) extremes: Extremes,
}

/// A [`Frame`] in the kernel.
pub(crate) trait KernelFrame: Frame {
    /// Packets on the wire.
    fn packets(&self) -> u64 {
        1
    }

    /// Layer-2 octets on the wire of a frame whose headers the parser could not follow.
    fn layer2_octets(&self) -> u64 {
        u64::from(self.length())
    }

    /// VLAN identifier that the NIC took out of the frame, or 0.
    fn offloaded_vlan(&self) -> u16 {
        0
    }

    /// What the parsed `packet` stands for.
    fn weigh(&self, packet: &Packet) -> Weight {
        Weight {
            packets: 1,
            octets: u64::from(packet.octets),
            layer2_octets: self.layer2_octets(),
            extremes: Extremes::of(capped(packet.octets), packet.ttl),
        }
    }
}

/// A length as IPFIX's 16-bit fields can hold it.
#[inline(always)]
pub(crate) fn capped(length: u32) -> u16 {
    if length > 0xffff { 0xffff } else { length as u16 }
}

impl KernelFrame for crate::xdp_frame::Xdp {}
