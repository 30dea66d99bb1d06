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
