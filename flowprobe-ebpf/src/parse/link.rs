//! Ethernet and what may stand between it and the IP header.

use bytemuck::{Pod, Zeroable};

use super::{Be16, Frame, Packet, Unparsed};

/// EtherType of IPv4.
pub(super) const IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub(super) const IPV6: u16 = 0x86dd;
/// IEEE 802.1Q customer tag.
const VLAN: u16 = 0x8100;
/// IEEE 802.1ad service tag.
const SERVICE_VLAN: u16 = 0x88a8;
/// The service tag of switches older than 802.1ad.
const OLD_SERVICE_VLAN: u16 = 0x9100;

/// The low 12 bits of a tag control field: the VLAN identifier.
const VLAN_IDENTIFIER: u16 = 0x0fff;

/// Tags that are stepped over; the two outermost are kept.
const MAX_TAGS: usize = 4;

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

/// Where the network layer begins, and which it is.
pub(super) struct Network {
    pub(super) ethertype: u16,
    pub(super) offset: usize,
}

/// Reads the Ethernet header and steps over VLAN tags.
#[inline(always)]
pub(super) fn ethernet(frame: &impl Frame, offloaded_vlan: u16, packet: &mut Packet) -> Result<Network, Unparsed> {
    let header: EthernetHeader = frame.read(0).ok_or(Unparsed::Truncated)?;
    packet.source_mac = header.source;
    packet.destination_mac = header.destination;

    let mut identifiers = [offloaded_vlan, 0];
    let in_frame = usize::from(offloaded_vlan != 0);
    let mut ethertype = header.ethertype.get();
    let mut offset = size_of::<EthernetHeader>();
    for tags in in_frame..in_frame + MAX_TAGS {
        if !matches!(ethertype, VLAN | SERVICE_VLAN | OLD_SERVICE_VLAN) {
            break;
        }
        let tag: VlanTag = frame.read(offset).ok_or(Unparsed::Truncated)?;
        if let Some(identifier) = identifiers.get_mut(tags) {
            *identifier = tag.control.get() & VLAN_IDENTIFIER;
        }
        ethertype = tag.ethertype.get();
        offset += size_of::<VlanTag>();
    }
    [packet.key.vlan, packet.key.customer_vlan] = identifiers;
    Ok(Network { ethertype, offset })
}
