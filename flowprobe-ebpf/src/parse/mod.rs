//! From a frame to its flow key: one parser for the kernel programs and for the host.
//!
//! ```text
//! ethernet ─ tags, labels, PPPoE ─► ip ─► transport ──────► the flow
//!      link.rs     ▲                ip.rs   transport.rs  │
//!                  │                        fragment.rs   │
//!                  └──────── tunnel.rs ◄─ what is opened ─┘
//! ```
//!
//! Each layer reads through a [`Frame`], which checks every access against the end of the frame, and either hands the next
//! layer an offset or says why there is no flow ([`Unparsed`]). **No-panic contract:** no input makes the parser panic,
//! read outside the frame or loop more than a constant number of times; the kernel's verifier proves it for the programs.
//!
//! A new link or network protocol gets an arm in `link`; a new transport an arm in `transport`.

mod fragment;
mod frame;
mod ip;
mod link;
mod transport;
mod tunnel;

pub use fragment::{FragmentKey, FragmentPorts, Fragments, REMEMBERED_DATAGRAMS};
pub use frame::{Be16, Bytes, FARTHEST_OFFSET, Frame};
pub use link::{IPV4, IPV6, Layer, by_version};

use crate::flow::{Direction, FlowKey};
use crate::tunnel::{Tunnel, Tunnels};

/// Where a frame was met: the part of the key that is not in the frame.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The kernel's index of the interface.
    pub ifindex: u32,
    /// Which way the frame passed the interface.
    pub direction: Direction,
    /// VLAN identifier of a tag that the NIC took out of the frame (the kernel's `skb->vlan_tci`; it was the outermost).
    pub offloaded_vlan: Option<u16>,
}

/// What the parser found in one frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// The flow to which the packet belongs.
    pub key: FlowKey,
    /// The tunnel out of which it came, where one was opened. Everything else then is about the inner packet.
    pub tunnel: Tunnel,
    /// Octets from the IP header on, by the IP header's own length field; where that is 0 (segmentation offload), what the
    /// frame holds.
    pub octets: u32,
    /// Octets before the transport payload: what each segment of an offloaded packet repeats on the wire.
    pub headers: u32,
    /// Octets before the IP header.
    pub network_offset: u32,
    /// [`crate::flow::tcp_facts`] and [`crate::flow::FACT_FRAGMENT`].
    pub facts: u32,
    /// First MPLS label stack entry without its TTL: label (20 bits), traffic class (3), bottom of stack (1); 0 without one.
    pub mpls_top_label: u32,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Type of service or traffic class.
    pub tos: u8,
    /// EtherType of the network layer.
    pub ethertype: u16,
    /// Source MAC address.
    pub source_mac: [u8; 6],
    /// Destination MAC address.
    pub destination_mac: [u8; 6],
    /// Tunnels that were opened, one within the other.
    pub tunnels: u8,
}

/// Why a frame carries no flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Unparsed {
    /// The frame ends before its IP header does.
    Truncated = 0,
    /// Neither IPv4 nor IPv6: ARP, LLC, LLDP, PPP control, MPLS pseudowires and the like.
    NotIp = 1,
    /// The EtherType says IPv4; the version or the header length says no.
    BadIpv4Header = 2,
    /// The EtherType says IPv6; the version says no.
    BadIpv6Header = 3,
    /// More VLAN tags or MPLS labels than are stepped over.
    TooManyTags = 4,
}

impl Unparsed {
    /// Number of reasons.
    pub const COUNT: usize = 5;

    /// The names under which the reasons are shown, in the order of [`crate::InterfaceStats::unparsed`].
    pub const NAMES: [&'static str; Self::COUNT] =
        ["truncated", "notIp", "badIpv4Header", "badIpv6Header", "tooManyTags"];
}

/// Parses an Ethernet frame: [`after_ethernet`], then [`network`].
///
/// # Errors
/// The reason why the frame belongs to no flow; `packet` then holds nothing of use.
#[inline(always)]
pub fn ethernet(
    frame: &impl Frame,
    origin: Origin,
    opened: Tunnels,
    fragments: &impl Fragments,
    packet: &mut Packet,
) -> Result<(), Unparsed> {
    let begin = after_ethernet(frame, packet)?;
    network(frame, begin, origin, opened, fragments, packet)
}

/// What follows the Ethernet header with which a frame begins; its addresses go into `packet`.
///
/// # Errors
/// The frame is shorter than the header.
#[inline(always)]
pub fn after_ethernet(frame: &impl Frame, packet: &mut Packet) -> Result<Layer, Unparsed> {
    link::ethernet(frame, 0, packet)
}

/// Parses a frame from what begins at `begin`, and the packets inside the tunnels that are to be opened.
///
/// `packet` is filled in place, because the kernel programs have 512 bytes of stack; it must come zeroed but for what
/// [`after_ethernet`] has put there.
///
/// # Errors
/// The reason why the frame belongs to no flow; `packet` then holds nothing of use.
#[inline(always)]
pub fn network(
    frame: &impl Frame,
    begin: Layer,
    origin: Origin,
    opened: Tunnels,
    fragments: &impl Fragments,
    packet: &mut Packet,
) -> Result<(), Unparsed> {
    packet.key.ifindex = origin.ifindex;
    packet.key.direction = origin.direction as u8;
    let (ip, tags) = link::to_ip(frame, begin, origin.offloaded_vlan)?;
    [packet.key.vlan, packet.key.customer_vlan] = tags.vlans;
    packet.mpls_top_label = tags.mpls_top_label;
    let payload = from_ip(frame, ip, fragments, packet)?;
    tunnel::open(frame, payload, opened, fragments, packet);
    Ok(())
}

/// Reads the IP header and what the transport's says of the flow.
#[inline(always)]
fn from_ip(
    frame: &impl Frame,
    ip: Layer,
    fragments: &impl Fragments,
    packet: &mut Packet,
) -> Result<ip::Payload, Unparsed> {
    let offset = frame.forget_way(ip.offset);
    let payload = match ip.ethertype {
        IPV4 => ip::v4(frame, offset, packet)?,
        IPV6 => ip::v6(frame, offset, packet)?,
        _ => return Err(Unparsed::NotIp),
    };
    packet.ethertype = ip.ethertype;
    packet.network_offset = as_u32(offset);
    transport::ports(frame, &payload, fragments, packet);
    Ok(payload)
}

/// An offset into a frame as the width that records use.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "headers end within the first 64 kB of a frame")]
const fn as_u32(offset: usize) -> u32 {
    offset as u32
}

#[cfg(test)]
mod tests;
