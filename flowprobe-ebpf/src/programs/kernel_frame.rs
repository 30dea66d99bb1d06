//! What one run of a program stands for on the wire.

use flowprobe_ebpf::Weight;
use flowprobe_ebpf::parse::{Frame, Packet};

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

    /// VLAN identifier of a tag that the NIC took out of the frame.
    fn offloaded_vlan(&self) -> Option<u16> {
        None
    }

    /// What the parsed `packet` stands for.
    fn weigh(&self, packet: &Packet) -> Weight {
        Weight::of_one(packet, self.layer2_octets())
    }
}

impl KernelFrame for crate::xdp_frame::Xdp {}
