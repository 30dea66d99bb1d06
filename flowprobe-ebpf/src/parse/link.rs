//! Ethernet and what may stand between it and the IP header: VLAN tags, MPLS labels, PPPoE.

use bytemuck::{Pod, Zeroable};

use super::{Be16, Frame, Packet, Unparsed};

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;
/// IEEE 802.1Q customer tag.
const VLAN: u16 = 0x8100;
/// IEEE 802.1ad service tag.
const SERVICE_VLAN: u16 = 0x88a8;
/// The service tag of switches older than 802.1ad.
const OLD_SERVICE_VLAN: u16 = 0x9100;
/// MPLS unicast (RFC 5332).
const MPLS: u16 = 0x8847;
/// MPLS multicast, or with a label that the receiver has assigned upstream (RFC 5332).
const MPLS_UPSTREAM: u16 = 0x8848;
/// PPPoE session stage (RFC 2516).
const PPPOE_SESSION: u16 = 0x8864;

/// The low 12 bits of a tag control field: the VLAN identifier.
const VLAN_IDENTIFIER: u16 = 0x0fff;

/// Tags that are stepped over; the two outermost are kept.
const MAX_TAGS: usize = 6;

/// MPLS labels that are stepped over; the first is kept.
const MAX_LABELS: usize = 8;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct EthernetHeader {
    destination: [u8; 6],
    source: [u8; 6],
    ethertype: Be16,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct VlanTag {
    control: Be16,
    ethertype: Be16,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct PppoeHeader {
    version_type_code: Be16,
    session: Be16,
    length: Be16,
    /// Of PPP: RFC 1661.
    protocol: Be16,
}

/// PPP protocol numbers of IPv4 and IPv6.
const PPP_IPV4: u16 = 0x0021;
const PPP_IPV6: u16 = 0x0057;

/// Where the network layer begins, and which it is.
#[derive(Clone, Copy)]
pub(super) struct Network {
    pub(super) ethertype: u16,
    pub(super) offset: usize,
}

/// Reads the Ethernet header.
#[inline(always)]
pub(super) fn ethernet(frame: &impl Frame, packet: &mut Packet) -> Result<Network, Unparsed> {
    let header: EthernetHeader = frame.read(0).ok_or(Unparsed::Truncated)?;
    packet.source_mac = header.source;
    packet.destination_mac = header.destination;
    Ok(Network { ethertype: header.ethertype.get(), offset: size_of::<EthernetHeader>() })
}

/// Steps over whatever stands in front of the IP header.
#[inline(always)]
pub(super) fn to_ip(
    frame: &impl Frame,
    begin: Network,
    offloaded_vlan: u16,
    packet: &mut Packet,
) -> Result<Network, Unparsed> {
    let network = tags(frame, begin, offloaded_vlan, packet)?;
    match network.ethertype {
        MPLS | MPLS_UPSTREAM => labels(frame, network.offset, packet),
        PPPOE_SESSION => pppoe(frame, network.offset),
        _ => Ok(network),
    }
}

/// Steps over VLAN tags; the two outermost identifiers go into the key.
#[inline(always)]
fn tags(frame: &impl Frame, begin: Network, offloaded_vlan: u16, packet: &mut Packet) -> Result<Network, Unparsed> {
    let Network { mut ethertype, mut offset } = begin;
    let mut identifiers = [offloaded_vlan, 0];
    let before = usize::from(offloaded_vlan != 0);
    for position in before..before + MAX_TAGS {
        if !is_tag(ethertype) {
            break;
        }
        let tag: VlanTag = frame.read(offset).ok_or(Unparsed::Truncated)?;
        if let Some(identifier) = identifiers.get_mut(position) {
            *identifier = tag.control.get() & VLAN_IDENTIFIER;
        }
        ethertype = tag.ethertype.get();
        offset += size_of::<VlanTag>();
    }
    [packet.key.vlan, packet.key.customer_vlan] = identifiers;
    if is_tag(ethertype) { Err(Unparsed::TooManyTags) } else { Ok(Network { ethertype, offset }) }
}

#[inline(always)]
const fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, VLAN | SERVICE_VLAN | OLD_SERVICE_VLAN)
}

/// Steps over an MPLS label stack (RFC 3032). Nothing in it says what follows: as routers do, the first nibble is taken for
/// an IP version; what is neither is a pseudowire or the like.
#[inline(always)]
fn labels(frame: &impl Frame, begin: usize, packet: &mut Packet) -> Result<Network, Unparsed> {
    let mut offset = begin;
    for position in 0..MAX_LABELS {
        let entry: [Be16; 2] = frame.read(offset).ok_or(Unparsed::Truncated)?;
        let [high, low] = entry.map(Be16::get);
        if position == 0 {
            packet.mpls_top_label = u32::from(high) << 8 | u32::from(low) >> 8;
        }
        offset += size_of::<[Be16; 2]>();
        if low & BOTTOM_OF_STACK != 0 {
            let first: u8 = frame.read(offset).ok_or(Unparsed::Truncated)?;
            let ethertype = match first >> 4 {
                4 => IPV4,
                6 => IPV6,
                _ => return Err(Unparsed::NotIp),
            };
            return Ok(Network { ethertype, offset });
        }
    }
    Err(Unparsed::TooManyTags)
}

/// The S bit in the low half of a label stack entry.
const BOTTOM_OF_STACK: u16 = 0x0100;

/// Steps over the headers of PPPoE and PPP.
#[inline(always)]
fn pppoe(frame: &impl Frame, offset: usize) -> Result<Network, Unparsed> {
    let header: PppoeHeader = frame.read(offset).ok_or(Unparsed::Truncated)?;
    let ethertype = match header.protocol.get() {
        PPP_IPV4 => IPV4,
        PPP_IPV6 => IPV6,
        _ => return Err(Unparsed::NotIp),
    };
    Ok(Network { ethertype, offset: offset + size_of::<PppoeHeader>() })
}
