//! Tunnels: from the packet that carries to the packet that is carried.

use bytemuck::{Pod, Zeroable};

use super::ip::{Part, Payload};
use super::link::{self, IPV4, IPV6, Layer, by_version};
use super::{Be16, Fragments, Frame, Packet, from_ip};
use crate::protocol;
use crate::tunnel::{Tunnel, TunnelKind, Tunnels};

/// Tunnels in tunnels that are opened.
const MAX_TUNNELS: usize = 4;

/// EtherType of an Ethernet frame in a tunnel (Transparent Ethernet Bridging, RFC 1701).
const ETHERNET: u16 = 0x6558;

/// IANA port numbers.
const VXLAN_PORT: u16 = 4789;
const VXLAN_LINUX_PORT: u16 = 8472;
const VXLAN_GPE_PORT: u16 = 4790;
const GENEVE_PORT: u16 = 6081;
const GTP_U_PORT: u16 = 2152;

const UDP_HEADER: usize = 8;

/// What a tunnel's header says.
#[derive(Clone, Copy)]
struct Header {
    kind: TunnelKind,
    id: u32,
    inner: Layer,
}

/// Goes from the packet in `packet`, whose payload is `payload`, to the one that it carries, as long as that is an IP packet
/// in a tunnel to be opened. What is no such packet leaves `packet` at the one that carries it.
#[inline(always)]
pub(super) fn open(
    frame: &impl Frame,
    payload: Payload,
    opened: Tunnels,
    fragments: &impl Fragments,
    packet: &mut Packet,
) {
    if opened == Tunnels::NONE {
        return;
    }
    let mut payload = payload;
    for _ in 0..MAX_TUNNELS {
        let Some(inner) = enter(frame, payload, opened, fragments, packet) else { return };
        payload = inner;
    }
}

/// Steps into one tunnel.
#[inline(always)]
fn enter(
    frame: &impl Frame,
    payload: Payload,
    opened: Tunnels,
    fragments: &impl Fragments,
    packet: &mut Packet,
) -> Option<Payload> {
    let Header { kind, id, inner } = header(frame, payload, opened, packet)?;
    let tunnel = Tunnel {
        source: packet.key.source,
        destination: packet.key.destination,
        id,
        kind: kind as u8,
        ip_version: packet.key.ip_version,
        padding: 0,
    };
    let offset = frame.forget_way(inner.offset);
    let is_ethernet = inner.ethertype == ETHERNET;
    let begin =
        if is_ethernet { link::after_ethernet(frame, offset)? } else { Layer { ethertype: inner.ethertype, offset } };
    let (ip, tags) = link::to_ip(frame, begin, None).ok()?;
    // From here on it does not matter how this was reached.
    let [ethertype, is_ethernet, mpls_top_label] =
        [ip.ethertype.into(), is_ethernet.into(), tags.mpls_top_label].map(|number| frame.forget(number));
    #[expect(clippy::cast_possible_truncation, reason = "an EtherType, as before")]
    let ip = Layer { ethertype: ethertype as u16, ..ip };
    let payload = from_ip(frame, ip, fragments, packet).ok()?;
    packet.tunnel = tunnel;
    packet.tunnels += 1;
    if is_ethernet != 0 {
        link::ethernet(frame, offset, packet).ok()?;
        [packet.key.vlan, packet.key.customer_vlan] = tags.vlans;
    }
    if mpls_top_label != 0 {
        packet.mpls_top_label = mpls_top_label;
    }
    Some(payload)
}

/// Reads the header of a tunnel that is to be opened.
#[inline(always)]
fn header(frame: &impl Frame, payload: Payload, opened: Tunnels, packet: &Packet) -> Option<Header> {
    let Payload { offset, part, .. } = payload;
    if part == Part::Later {
        return None;
    }
    match packet.key.protocol {
        protocol::UDP => {
            let offset = offset + UDP_HEADER;
            match packet.key.destination_port {
                VXLAN_PORT | VXLAN_LINUX_PORT | VXLAN_GPE_PORT if opened.has(Tunnels::VXLAN) => {
                    vxlan(frame, offset, packet.key.destination_port == VXLAN_GPE_PORT)
                }
                GENEVE_PORT if opened.has(Tunnels::GENEVE) => geneve(frame, offset),
                GTP_U_PORT if opened.has(Tunnels::GTP_U) => gtp_u(frame, offset),
                _ => None,
            }
        }
        protocol::GRE if opened.has(Tunnels::GRE) => gre(frame, offset),
        protocol::IPV4 => ip_in_ip(IPV4, offset, opened, packet, [Tunnels::V4_IN_V4, Tunnels::V4_IN_V6]),
        protocol::IPV6 => ip_in_ip(IPV6, offset, opened, packet, [Tunnels::V6_IN_V4, Tunnels::V6_IN_V6]),
        _ => None,
    }
}

/// `[over_v4, over_v6]` are what this would be over either version.
#[inline(always)]
fn ip_in_ip(
    ethertype: u16,
    offset: usize,
    opened: Tunnels,
    packet: &Packet,
    [over_v4, over_v6]: [Tunnels; 2],
) -> Option<Header> {
    let this = if packet.key.ip_version == 4 { over_v4 } else { over_v6 };
    let header = Header { kind: TunnelKind::IpInIp, id: 0, inner: Layer { ethertype, offset } };
    opened.has(this).then_some(header)
}

/// The first eight octets of VXLAN and GENEVE: their network identifier is in the same place.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct OverlayHeader {
    flags: u8,
    reserved: u8,
    /// Of GENEVE the EtherType of what follows; of VXLAN-GPE the next protocol, in the low octet.
    protocol: Be16,
    identifier: [Be16; 2],
}

/// The 24-bit network identifier.
#[inline(always)]
fn network_identifier(header: &OverlayHeader) -> u32 {
    let [high, low] = header.identifier.map(Be16::get);
    u32::from(high) << 8 | u32::from(low) >> 8
}

/// The flag of VXLAN that says that there is an identifier; without it there is no VXLAN.
const VXLAN_HAS_IDENTIFIER: u8 = 0x08;
/// The flag of VXLAN-GPE that says that there is a next protocol.
const VXLAN_HAS_PROTOCOL: u8 = 0x04;

/// VXLAN (RFC 7348) and VXLAN-GPE (draft-ietf-nvo3-vxlan-gpe).
#[inline(always)]
fn vxlan(frame: &impl Frame, offset: usize, is_gpe: bool) -> Option<Header> {
    let header: OverlayHeader = frame.read(offset)?;
    if header.flags & VXLAN_HAS_IDENTIFIER == 0 {
        return None;
    }
    let ethertype = if is_gpe { gpe_ethertype(&header)? } else { ETHERNET };
    let inner = Layer { ethertype, offset: offset + size_of::<OverlayHeader>() };
    Some(Header { kind: TunnelKind::Vxlan, id: network_identifier(&header), inner })
}

/// What follows VXLAN-GPE, as an EtherType.
#[inline(always)]
fn gpe_ethertype(header: &OverlayHeader) -> Option<u16> {
    if header.flags & VXLAN_HAS_PROTOCOL == 0 {
        return None;
    }
    match header.protocol.get() & 0x00ff {
        1 => Some(IPV4),
        2 => Some(IPV6),
        3 => Some(ETHERNET),
        _ => None,
    }
}

/// Of GENEVE: the version is 0; the low bits are the length of the options, in 32-bit words.
const GENEVE_VERSION: u8 = 0xc0;
const GENEVE_OPTIONS: u8 = 0x3f;

/// GENEVE (RFC 8926).
#[inline(always)]
fn geneve(frame: &impl Frame, offset: usize) -> Option<Header> {
    let header: OverlayHeader = frame.read(offset)?;
    if header.flags & GENEVE_VERSION != 0 {
        return None;
    }
    let options = usize::from(header.flags & GENEVE_OPTIONS) * 4;
    let inner = Layer { ethertype: header.protocol.get(), offset: offset + size_of::<OverlayHeader>() + options };
    Some(Header { kind: TunnelKind::Geneve, id: network_identifier(&header), inner })
}

/// Flags of GRE (RFC 2784, RFC 2890): optional fields, in the order in which they follow the first four octets.
const GRE_CHECKSUM: u16 = 0x8000;
const GRE_KEY: u16 = 0x2000;
const GRE_SEQUENCE: u16 = 0x1000;
/// Source routing of RFC 1701, which nobody uses, and versions other than 0 (1 is PPTP's).
const GRE_NOT_OPENED: u16 = 0x4007;
/// What GRE carries besides what has an EtherType: ERSPAN types I and II, type III.
const ERSPAN: u16 = 0x88be;
const ERSPAN_III: u16 = 0x22eb;

/// GRE.
#[inline(always)]
fn gre(frame: &impl Frame, begin: usize) -> Option<Header> {
    let [flags, protocol] = frame.read::<[Be16; 2]>(begin)?.map(Be16::get);
    if flags & GRE_NOT_OPENED != 0 {
        return None;
    }
    let mut offset = begin + 4;
    if flags & GRE_CHECKSUM != 0 {
        offset += 4;
    }
    let mut id = 0;
    if flags & GRE_KEY != 0 {
        let [high, low] = frame.read::<[Be16; 2]>(offset)?.map(Be16::get);
        id = u32::from(high) << 16 | u32::from(low);
        offset += 4;
    }
    if flags & GRE_SEQUENCE != 0 {
        offset += 4;
    }
    match protocol {
        ERSPAN | ERSPAN_III => erspan(frame, offset, protocol == ERSPAN_III, flags & GRE_SEQUENCE != 0),
        ethertype => Some(Header { kind: TunnelKind::Gre, id, inner: Layer { ethertype, offset } }),
    }
}

/// The session, in the low bits of the second half of ERSPAN's first word.
const ERSPAN_SESSION: u16 = 0x03ff;
/// Octets of the headers of types II and III, and of what may follow the latter.
const ERSPAN_II_HEADER: usize = 8;
const ERSPAN_III_HEADER: usize = 12;
const ERSPAN_III_SUBHEADER: usize = 8;

/// ERSPAN (draft-foschiano-erspan): type I has no header at all and no sequence number in GRE.
#[inline(always)]
fn erspan(frame: &impl Frame, offset: usize, is_type_iii: bool, is_sequenced: bool) -> Option<Header> {
    if !is_type_iii && !is_sequenced {
        let inner = Layer { ethertype: ETHERNET, offset };
        return Some(Header { kind: TunnelKind::Erspan, id: 0, inner });
    }
    let [_, low] = frame.read::<[Be16; 2]>(offset)?.map(Be16::get);
    let length = if is_type_iii {
        let last: Be16 = frame.read(offset + ERSPAN_III_HEADER - 2)?;
        ERSPAN_III_HEADER + usize::from(last.get() & 1) * ERSPAN_III_SUBHEADER
    } else {
        ERSPAN_II_HEADER
    };
    let inner = Layer { ethertype: ETHERNET, offset: offset + length };
    Some(Header { kind: TunnelKind::Erspan, id: u32::from(low & ERSPAN_SESSION), inner })
}

/// The first eight octets of GTP.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct GtpHeader {
    flags: u8,
    message: u8,
    length: Be16,
    endpoint: [Be16; 2],
}

/// Version 1 of GTP, not GTP prime.
const GTP_VERSION_MASK: u8 = 0xf0;
const GTP_VERSION: u8 = 0x30;
/// Of these flags any one brings four more octets; the third says that extension headers follow.
const GTP_OPTIONAL: u8 = 0x07;
const GTP_EXTENSION: u8 = 0x04;
/// The message that carries a packet.
const GTP_G_PDU: u8 = 255;
/// Extension headers that are stepped over.
const MAX_GTP_EXTENSIONS: usize = 4;

/// GTP-U (3GPP TS 29.281).
#[inline(always)]
fn gtp_u(frame: &impl Frame, begin: usize) -> Option<Header> {
    let header: GtpHeader = frame.read(begin)?;
    if header.flags & GTP_VERSION_MASK != GTP_VERSION || header.message != GTP_G_PDU {
        return None;
    }
    let mut offset = begin + size_of::<GtpHeader>();
    if header.flags & GTP_OPTIONAL != 0 {
        // Sequence number, N-PDU number, type of the first extension header.
        let has_extensions = header.flags & GTP_EXTENSION != 0;
        let mut next = if has_extensions { low_octet(frame.read(offset + 2)?) } else { 0 };
        offset += 4;
        for _ in 0..MAX_GTP_EXTENSIONS {
            if next == 0 {
                break;
            }
            // The first octet is the length, in words; the last one is the type of the next.
            let words = usize::from(frame.read::<Be16>(offset)?.get() >> 8);
            if words == 0 {
                return None;
            }
            let end = frame.forget_way(offset + words * 4 - 2);
            next = low_octet(frame.read(end)?);
            offset = end + 2;
        }
        if next != 0 {
            return None;
        }
    }
    let [high, low] = header.endpoint.map(Be16::get);
    let inner = Layer { ethertype: by_version(frame, offset).ok()?, offset };
    Some(Header { kind: TunnelKind::GtpU, id: u32::from(high) << 16 | u32::from(low), inner })
}

#[inline(always)]
const fn low_octet(field: Be16) -> u8 {
    field.get().to_be_bytes()[1]
}
