//! What tests and benchmarks tell the traffic programs.

use bytemuck::{Pod, Zeroable};

/// Which flows a run of frames goes through. Flow number `f` has `address_base | f` as the 32-bit word at `address_offset`
/// and `0x8000 | f` as the 16-bit port at `port_offset`, both in network byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct TrafficPlan {
    /// Number of flows less one; the number of flows is a power of two.
    pub flow_mask: u32,
    /// The bits of the address that are the same for all flows.
    pub address_base: u32,
    /// Where in the frame the address lies, octets (below 256).
    pub address_offset: u32,
    /// Where the port lies; 0 leaves the frame's own.
    pub port_offset: u32,
    /// Interface out of which `send` sends.
    pub ifindex: u32,
}

/// A flow of scheduled traffic, IPv4: an entry of the map `TRAFFIC_FLOWS`. Numbers are in host byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct TrafficFlow {
    /// Source address; of a flood, what is mixed into the sources that are made up.
    pub source: u32,
    /// Destination address.
    pub destination: u32,
    /// Source port, 0 of ICMP.
    pub source_port: u16,
    /// Destination port; type × 256 + code of ICMP.
    pub destination_port: u16,
    /// Octets of its frames, at least [`SHORTEST_FRAME`] and at most as many as the frame that a run begins with has.
    pub length: u16,
    /// IANA protocol number: TCP, UDP or ICMP.
    pub protocol: u8,
    /// TCP flags.
    pub tcp_flags: u8,
    /// 1 for a flood: each of its frames comes from a source address and port of its own.
    pub flood: u32,
}

/// How a run of scheduled traffic goes through the map `SCHEDULE`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct TrafficSchedule {
    /// Number of entries less one; the number is a power of two.
    pub mask: u32,
    /// Interface out of which the frames are sent.
    pub ifindex: u32,
    /// Octets of the frame that a run begins with.
    pub frame_length: u32,
    /// Zero.
    pub padding: u32,
}

/// The last octets of each scheduled frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct TrafficMark {
    /// [`TRAFFIC_MAGIC`].
    pub magic: u32,
    /// The flow's number.
    pub flow: u32,
}

/// Tells scheduled frames from all others.
pub const TRAFFIC_MAGIC: u32 = 0x666c_6f77;

/// Octets of the Ethernet, IPv4 and TCP headers and of the mark.
pub const SHORTEST_FRAME: u16 = 62;

/// What arrived: packets, and octets of their frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Arrived {
    /// Packets.
    pub packets: u64,
    /// Octets.
    pub octets: u64,
}

const _: () = assert!(size_of::<TrafficFlow>() == 20 && size_of::<TrafficSchedule>() == 16);
const _: () = assert!(SHORTEST_FRAME as usize == 14 + 20 + 20 + size_of::<TrafficMark>());
