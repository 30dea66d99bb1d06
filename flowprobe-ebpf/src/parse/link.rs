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

/// What begins somewhere in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// What it is: an EtherType.
    pub ethertype: u16,
    /// Where: octets from the frame's beginning.
    pub offset: usize,
}

/// What was stepped over on the way to an IP header.
#[derive(Clone, Copy)]
pub(super) struct Tags {
    /// The two outermost VLAN identifiers, 0 where there is none.
    pub(super) vlans: [u16; 2],
    /// [`Packet::mpls_top_label`].
    pub(super) mpls_top_label: u32,
}

/// Reads the Ethernet header at `offset`; its addresses go into `packet`.
#[inline(always)]
pub(super) fn ethernet(frame: &impl Frame, offset: usize, packet: &mut Packet) -> Result<Layer, Unparsed> {
    let header: EthernetHeader = frame.read(offset).ok_or(Unparsed::Truncated)?;
    packet.source_mac = header.source;
    packet.destination_mac = header.destination;
    Ok(Layer { ethertype: header.ethertype.get(), offset: offset + size_of::<EthernetHeader>() })
}

/// What follows the Ethernet header at `offset`.
#[inline(always)]
pub(super) fn after_ethernet(frame: &impl Frame, offset: usize) -> Option<Layer> {
    let ethertype: Be16 = frame.read(offset + core::mem::offset_of!(EthernetHeader, ethertype))?;
    Some(Layer { ethertype: ethertype.get(), offset: offset + size_of::<EthernetHeader>() })
}

/// Steps over whatever stands in front of the IP header.
#[inline(always)]
pub(super) fn to_ip(frame: &impl Frame, begin: Layer, offloaded_vlan: Option<u16>) -> Result<(Layer, Tags), Unparsed> {
    let (layer, vlans) = vlan_tags(frame, begin, offloaded_vlan)?;
    let (layer, mpls_top_label) = match layer.ethertype {
        MPLS | MPLS_UPSTREAM => labels(frame, layer.offset)?,
        PPPOE_SESSION => (pppoe(frame, layer.offset)?, 0),
        _ => (layer, 0),
    };
    Ok((layer, Tags { vlans, mpls_top_label }))
}

/// Steps over VLAN tags; the two outermost identifiers are kept.
#[inline(always)]
fn vlan_tags(frame: &impl Frame, begin: Layer, offloaded_vlan: Option<u16>) -> Result<(Layer, [u16; 2]), Unparsed> {
    let Layer { mut ethertype, mut offset } = begin;
    let [mut outer, mut inner] = [offloaded_vlan.unwrap_or(0), 0];
    let before = usize::from(offloaded_vlan.is_some());
    for position in before..before + MAX_TAGS {
        if !is_tag(ethertype) {
            break;
        }
        let tag: VlanTag = frame.read(offset).ok_or(Unparsed::Truncated)?;
        let identifier = tag.control.get() & VLAN_IDENTIFIER;
        // Not an array: the compiler would address it in ways that the verifier refuses.
        match position {
            0 => outer = identifier,
            1 => inner = identifier,
            _ => {}
        }
        ethertype = tag.ethertype.get();
        offset += size_of::<VlanTag>();
    }
    if is_tag(ethertype) { Err(Unparsed::TooManyTags) } else { Ok((Layer { ethertype, offset }, [outer, inner])) }
}

#[inline(always)]
const fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, VLAN | SERVICE_VLAN | OLD_SERVICE_VLAN)
}

/// Steps over an MPLS label stack (RFC 3032) and returns its first entry as [`Packet::mpls_top_label`] has it. Nothing in it
/// says what follows: as routers do, the first nibble is taken for an IP version; what is neither is a pseudowire or the like.
#[inline(always)]
fn labels(frame: &impl Frame, begin: usize) -> Result<(Layer, u32), Unparsed> {
    let mut offset = begin;
    let mut top = 0;
    for position in 0..MAX_LABELS {
        let entry: [Be16; 2] = frame.read(offset).ok_or(Unparsed::Truncated)?;
        let [high, low] = entry.map(Be16::get);
        if position == 0 {
            top = u32::from(high) << 8 | u32::from(low) >> 8;
        }
        offset += size_of::<[Be16; 2]>();
        if low & BOTTOM_OF_STACK != 0 {
            return Ok((Layer { ethertype: by_version(frame, offset)?, offset }, top));
        }
    }
    Err(Unparsed::TooManyTags)
}

/// The S bit in the low half of a label stack entry.
const BOTTOM_OF_STACK: u16 = 0x0100;

/// The EtherType that the IP version in the first nibble at `offset` stands for.
///
/// # Errors
/// The frame ends there, or what begins there is no IP header.
#[inline(always)]
pub fn by_version(frame: &impl Frame, offset: usize) -> Result<u16, Unparsed> {
    match frame.read::<Be16>(offset).ok_or(Unparsed::Truncated)?.get() >> 12 {
        4 => Ok(IPV4),
        6 => Ok(IPV6),
        _ => Err(Unparsed::NotIp),
    }
}

/// Steps over the headers of PPPoE and PPP.
#[inline(always)]
fn pppoe(frame: &impl Frame, offset: usize) -> Result<Layer, Unparsed> {
    let header: PppoeHeader = frame.read(offset).ok_or(Unparsed::Truncated)?;
    let ethertype = match header.protocol.get() {
        PPP_IPV4 => IPV4,
        PPP_IPV6 => IPV6,
        _ => return Err(Unparsed::NotIp),
    };
    Ok(Layer { ethertype, offset: offset + size_of::<PppoeHeader>() })
}
