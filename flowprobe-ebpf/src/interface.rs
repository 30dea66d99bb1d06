//! What the kernel programs know of an interface, and what they find out about a flow's other one.

use bytemuck::{Pod, Zeroable};

use crate::flow::Address;

/// An entry of the map `INTERFACES`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct InterfaceSlot {
    /// The kernel's index of the interface; 0 where the slot is free.
    pub ifindex: u32,
    /// A [`LinkLayer`].
    pub link: u32,
}

/// How an interface's frames begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum LinkLayer {
    /// With an Ethernet header.
    #[default]
    Ethernet = 0,
    /// With the IP header: tun devices, WireGuard, IP tunnels, PPP.
    Ip = 1,
}

/// What the routing tables, or the packet itself, say about the interface on the other side of a flow. Key of the map
/// `ROUTES`, whose values are small numbers that fit into a flow's facts ([`crate::flow::route_of`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct Route {
    /// Next hop; the unspecified address where the destination is on the link, or where nothing is known of it.
    pub next_hop: Address,
    /// Of a packet that came in: the interface by which it will leave. Of one that goes out: the one by which it came in,
    /// 0 where it is the host's own.
    pub ifindex: u32,
    /// 4 or 6: of the next hop; 0 where nothing is known of it.
    pub ip_version: u32,
}

/// Routes that can be told apart: their numbers have 15 bits, and 0 stands for none.
pub const MOST_ROUTES: u32 = (1 << 15) - 1;

const _: () = assert!(size_of::<InterfaceSlot>() == 8 && size_of::<Route>() == 24);
