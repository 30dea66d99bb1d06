//! The parser's rules once more, written plainly from the RFCs: every field is read where it is needed, octet by octet and
//! with a check. It shares nothing with the parser but the types of its input and its result, so that a frame which both
//! read alike was not misread by a slip in either. The fuzzer includes this file as it is: it needs the standard library and
//! `flowprobe-ebpf`, nothing else.

use flowprobe_ebpf::flow::{FACT_FRAGMENT, FACT_INITIATOR};
use flowprobe_ebpf::parse::{Bytes, FragmentKey, FragmentPorts, Fragments, Layer, Origin, Packet, Unparsed};
use flowprobe_ebpf::{Address, FlowKey, Tunnel, TunnelKind, Tunnels};

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;

/// Reads an Ethernet frame (IEEE 802.3, with a type in place of a length), and what is in it in the tunnels of `opened`.
///
/// # Errors
/// Why the frame belongs to no flow.
pub fn ethernet(
    frame: &Bytes<'_>,
    origin: Origin,
    opened: Tunnels,
    fragments: &impl Fragments,
) -> Result<Packet, Unparsed> {
    let octets = frame.captured;
    let (Some(destination_mac), Some(source_mac), Some(ethertype)) =
        (array(octets, 0), array(octets, 6), u16_at(octets, 12))
    else {
        return Err(Unparsed::Truncated);
    };
    let macs = Packet { source_mac, destination_mac, ..Packet::default() };
    from_link(frame, Layer { ethertype, offset: 14 }, origin, opened, fragments, macs)
}

/// Reads what begins at `begin` in the frame.
///
/// # Errors
/// As [`ethernet`].
pub fn network(
    frame: &Bytes<'_>,
    begin: Layer,
    origin: Origin,
    opened: Tunnels,
    fragments: &impl Fragments,
) -> Result<Packet, Unparsed> {
    from_link(frame, begin, origin, opened, fragments, Packet::default())
}

fn from_link(
    frame: &Bytes<'_>,
    begin: Layer,
    origin: Origin,
    opened: Tunnels,
    fragments: &impl Fragments,
    macs: Packet,
) -> Result<Packet, Unparsed> {
    let (tags, mpls_top_label, ip) = to_ip(frame.captured, begin)?;
    let (packet, payload) = from_ip(frame, ip, fragments)?;
    // A tag that the NIC took out of the frame was the outermost.
    let mut vlans = tags;
    if let Some(outermost) = origin.offloaded_vlan {
        vlans.insert(0, outermost);
    }
    let key = FlowKey {
        ifindex: origin.ifindex,
        direction: origin.direction as u8,
        vlan: vlans.first().copied().unwrap_or(0),
        customer_vlan: vlans.get(1).copied().unwrap_or(0),
        ..packet.key
    };
    let Packet { source_mac, destination_mac, .. } = macs;
    let mut packet = Packet { key, mpls_top_label, source_mac, destination_mac, ..packet };
    let mut payload = payload;
    for _ in 0..4 {
        let Some((inner, behind)) = inside(frame, &packet, payload, opened, fragments) else { break };
        (packet, payload) = (inner, behind);
    }
    Ok(packet)
}

/// The packet in the tunnel that `packet` may be, and what follows its headers.
fn inside(
    frame: &Bytes<'_>,
    packet: &Packet,
    payload: Option<usize>,
    opened: Tunnels,
    fragments: &impl Fragments,
) -> Option<(Packet, Option<usize>)> {
    let (kind, id, begin) = tunnel(frame.captured, packet, payload?, opened)?;
    let is_ethernet = begin.ethertype == 0x6558;
    let layer = if is_ethernet {
        Layer { ethertype: u16_at(frame.captured, begin.offset + 12)?, offset: begin.offset + 14 }
    } else {
        begin
    };
    let (vlans, label, ip) = to_ip(frame.captured, layer).ok()?;
    let (inner, payload) = from_ip(frame, ip, fragments).ok()?;
    let Packet { source_mac, destination_mac, mpls_top_label, .. } = *packet;
    let mut inner = Packet {
        key: FlowKey {
            ifindex: packet.key.ifindex,
            direction: packet.key.direction,
            vlan: packet.key.vlan,
            customer_vlan: packet.key.customer_vlan,
            ..inner.key
        },
        tunnel: Tunnel {
            source: packet.key.source,
            destination: packet.key.destination,
            id,
            kind: kind as u8,
            ip_version: packet.key.ip_version,
            padding: 0,
        },
        tunnels: packet.tunnels + 1,
        mpls_top_label: if label == 0 { mpls_top_label } else { label },
        source_mac,
        destination_mac,
        ..inner
    };
    if is_ethernet {
        inner.destination_mac = array(frame.captured, begin.offset)?;
        inner.source_mac = array(frame.captured, begin.offset + 6)?;
        inner.key.vlan = vlans.first().copied().unwrap_or(0);
        inner.key.customer_vlan = vlans.get(1).copied().unwrap_or(0);
    }
    Some((inner, payload))
}

/// What kind of tunnel begins in the payload, its number, and what it carries.
fn tunnel(octets: &[u8], packet: &Packet, payload: usize, opened: Tunnels) -> Option<(TunnelKind, u32, Layer)> {
    let after_udp = payload + 8;
    let ip_in_ip = |ethertype, tunnels| {
        opened.has(tunnels).then_some((TunnelKind::IpInIp, 0, Layer { ethertype, offset: payload }))
    };
    match (packet.key.protocol, packet.key.destination_port, packet.key.ip_version) {
        (17, 4789 | 8472, _) if opened.has(Tunnels::VXLAN) => vxlan(octets, after_udp, false),
        (17, 4790, _) if opened.has(Tunnels::VXLAN) => vxlan(octets, after_udp, true),
        (17, 6081, _) if opened.has(Tunnels::GENEVE) => {
            let [first, _, p1, p0, i2, i1, i0, _] = array(octets, after_udp)?;
            let offset = after_udp + 8 + 4 * usize::from(first % 64);
            let layer = Layer { ethertype: u16::from_be_bytes([p1, p0]), offset };
            (first < 64).then_some((TunnelKind::Geneve, u32::from_be_bytes([0, i2, i1, i0]), layer))
        }
        (17, 2152, _) if opened.has(Tunnels::GTP_U) => gtp_u(octets, after_udp),
        (47, ..) if opened.has(Tunnels::GRE) => gre(octets, payload),
        (4, _, 4) => ip_in_ip(ETHERTYPE_IPV4, Tunnels::V4_IN_V4),
        (4, ..) => ip_in_ip(ETHERTYPE_IPV4, Tunnels::V4_IN_V6),
        (41, _, 4) => ip_in_ip(ETHERTYPE_IPV6, Tunnels::V6_IN_V4),
        (41, ..) => ip_in_ip(ETHERTYPE_IPV6, Tunnels::V6_IN_V6),
        _ => None,
    }
}

/// RFC 7348; with a protocol field draft-ietf-nvo3-vxlan-gpe.
fn vxlan(octets: &[u8], offset: usize, is_gpe: bool) -> Option<(TunnelKind, u32, Layer)> {
    let [flags, _, _, protocol, i2, i1, i0, _] = array(octets, offset)?;
    let (has_identifier, has_protocol) = (flags & 8 != 0, flags & 4 != 0);
    let ethertype = match (is_gpe, has_protocol, protocol) {
        (false, ..) | (true, true, 3) => 0x6558,
        (true, true, 1) => ETHERTYPE_IPV4,
        (true, true, 2) => ETHERTYPE_IPV6,
        _ => return None,
    };
    let layer = Layer { ethertype, offset: offset + 8 };
    has_identifier.then_some((TunnelKind::Vxlan, u32::from_be_bytes([0, i2, i1, i0]), layer))
}

/// RFC 2784 and RFC 2890, and ERSPAN in it.
fn gre(octets: &[u8], begin: usize) -> Option<(TunnelKind, u32, Layer)> {
    let [flags, version, p1, p0] = array(octets, begin)?;
    // Checksum, routing, key, sequence number; the version is in the last three bits.
    let [checksum, routing, key, sequence] = [0x80, 0x40, 0x20, 0x10].map(|bit| flags & bit != 0);
    if routing || version % 8 != 0 {
        return None;
    }
    let mut offset = begin + if checksum { 8 } else { 4 };
    let mut id = 0;
    if key {
        id = u32::from_be_bytes(array(octets, offset)?);
        offset += 4;
    }
    if sequence {
        offset += 4;
    }
    let session = || Some(u32::from(u16_at(octets, offset + 2)? % 1024));
    match u16::from_be_bytes([p1, p0]) {
        0x88be if !sequence => Some((TunnelKind::Erspan, 0, Layer { ethertype: 0x6558, offset })),
        0x88be => Some((TunnelKind::Erspan, session()?, Layer { ethertype: 0x6558, offset: offset + 8 })),
        0x22eb => {
            let has_subheader = octets.get(offset + 11)? % 2 == 1;
            let header = if has_subheader { 20 } else { 12 };
            Some((TunnelKind::Erspan, session()?, Layer { ethertype: 0x6558, offset: offset + header }))
        }
        ethertype => Some((TunnelKind::Gre, id, Layer { ethertype, offset })),
    }
}

/// 3GPP TS 29.281: a G-PDU of version 1.
fn gtp_u(octets: &[u8], begin: usize) -> Option<(TunnelKind, u32, Layer)> {
    let [flags, 255, _, _, identifier @ ..] = array::<8>(octets, begin)? else { return None };
    if flags / 16 != 3 {
        return None;
    }
    let mut offset = begin + 8;
    if flags % 8 != 0 {
        let mut next = if flags & 4 != 0 { *octets.get(offset + 3)? } else { 0 };
        offset += 4;
        let mut extensions = 0;
        while next != 0 {
            // The length is in words, and the type of the next one is the last octet.
            let length = 4 * usize::from(*octets.get(offset)?);
            if length == 0 || extensions == 4 {
                return None;
            }
            next = *octets.get(offset + length - 1)?;
            offset += length;
            extensions += 1;
        }
    }
    let layer = Layer { ethertype: ip_version(octets, offset).ok()?, offset };
    Some((TunnelKind::GtpU, u32::from_be_bytes(identifier), layer))
}

/// What stands in front of the IP header at `begin`: VLAN identifiers, the first label stack entry; and that header.
fn to_ip(octets: &[u8], begin: Layer) -> Result<(Vec<u16>, u32, Layer), Unparsed> {
    let (vlans, ethertype, offset) = tags(octets, begin.ethertype, begin.offset)?;
    let (mpls_top_label, ethertype, offset) = match ethertype {
        0x8847 | 0x8848 => labels(octets, offset)?,
        0x8864 => pppoe(octets, offset)?,
        _ => (0, ethertype, offset),
    };
    Ok((vlans, mpls_top_label, Layer { ethertype, offset }))
}

/// The VLAN identifiers of up to six tags (IEEE 802.1Q, 802.1ad, and 0x9100 of older switches), and what follows them.
fn tags(octets: &[u8], ethertype: u16, offset: usize) -> Result<(Vec<u16>, u16, usize), Unparsed> {
    let mut identifiers = Vec::new();
    let (mut ethertype, mut offset) = (ethertype, offset);
    while [0x8100, 0x88a8, 0x9100].contains(&ethertype) {
        if identifiers.len() == 6 {
            return Err(Unparsed::TooManyTags);
        }
        let control = u16_at(octets, offset).ok_or(Unparsed::Truncated)?;
        ethertype = u16_at(octets, offset + 2).ok_or(Unparsed::Truncated)?;
        // Three bits of priority, one of drop eligibility, then the identifier.
        identifiers.push(control % 4096);
        offset += 4;
    }
    Ok((identifiers, ethertype, offset))
}

/// The first of up to eight label stack entries without its TTL (RFC 3032), and what follows the last one: nothing but the
/// first nibble there says so.
fn labels(octets: &[u8], offset: usize) -> Result<(u32, u16, usize), Unparsed> {
    let entry = |position: usize| array::<4>(octets, offset + 4 * position).ok_or(Unparsed::Truncated);
    for position in 0..8 {
        let [.., label_end, _ttl] = entry(position)?;
        let is_bottom = label_end % 2 == 1;
        if is_bottom {
            let [a, b, c, _ttl] = entry(0)?;
            let below = offset + 4 * (position + 1);
            let ethertype = ip_version(octets, below)?;
            return Ok((u32::from_be_bytes([0, a, b, c]), ethertype, below));
        }
    }
    Err(Unparsed::TooManyTags)
}

/// The EtherType that the first nibble stands for. Of a header that has not even two octets nothing is said.
fn ip_version(octets: &[u8], offset: usize) -> Result<u16, Unparsed> {
    let [first, _] = array(octets, offset).ok_or(Unparsed::Truncated)?;
    match first / 16 {
        4 => Ok(ETHERTYPE_IPV4),
        6 => Ok(ETHERTYPE_IPV6),
        _ => Err(Unparsed::NotIp),
    }
}

/// PPPoE (RFC 2516): six octets, then PPP's protocol number. There is no label.
fn pppoe(octets: &[u8], offset: usize) -> Result<(u32, u16, usize), Unparsed> {
    match u16_at(octets, offset + 6) {
        None => Err(Unparsed::Truncated),
        Some(0x0021) => Ok((0, ETHERTYPE_IPV4, offset + 8)),
        Some(0x0057) => Ok((0, ETHERTYPE_IPV6, offset + 8)),
        Some(_) => Err(Unparsed::NotIp),
    }
}

/// What an IP header says, extension headers included.
struct Ip {
    /// Of the packet: all but the ports, TCP's flags and `headers`.
    packet: Packet,
    /// Where the transport header begins.
    payload: usize,
    /// Where the datagram is a fragment.
    fragment: Option<Fragment>,
}

#[derive(Clone, Copy)]
struct Fragment {
    identification: u32,
    /// In the datagram, in whatever unit: 0 is the first.
    offset: u16,
}

/// Reads from the IP header on: all that does not depend on the link, and is in a tunnel as it is outside. Also where the
/// transport header begins, if it is there.
fn from_ip(
    frame: &Bytes<'_>,
    Layer { ethertype, offset }: Layer,
    fragments: &impl Fragments,
) -> Result<(Packet, Option<usize>), Unparsed> {
    let Ip { mut packet, payload, fragment } = match ethertype {
        ETHERTYPE_IPV4 => ipv4(frame, offset)?,
        ETHERTYPE_IPV6 => ipv6(frame, offset)?,
        _ => return Err(Unparsed::NotIp),
    };
    packet.ethertype = ethertype;
    packet.network_offset = u32_of(offset);
    if fragment.is_some() {
        packet.facts = FACT_FRAGMENT;
    }
    let memory = fragment.map(|Fragment { identification, .. }| FragmentKey {
        source: packet.key.source,
        destination: packet.key.destination,
        identification,
        protocol: packet.key.protocol,
        ip_version: packet.key.ip_version,
        padding: 0,
    });
    let is_later = fragment.as_ref().is_some_and(|fragment| fragment.offset > 0);
    match (fragment, memory) {
        // It begins with the middle of the transport's payload.
        (Some(Fragment { offset: 1.., .. }), Some(memory)) => {
            let ports = fragments.recall(&memory).unwrap_or_default();
            (packet.key.source_port, packet.key.destination_port) = (ports.source, ports.destination);
            packet.headers = u32_of(payload);
        }
        (_, memory) => {
            transport(frame.captured, payload, &mut packet);
            let ports = FragmentPorts { source: packet.key.source_port, destination: packet.key.destination_port };
            if let Some(memory) = memory {
                fragments.remember(&memory, ports);
            }
        }
    }
    Ok((packet, (!is_later).then_some(payload)))
}

/// RFC 791.
fn ipv4(frame: &Bytes<'_>, offset: usize) -> Result<Ip, Unparsed> {
    let header: [u8; 20] = array(frame.captured, offset).ok_or(Unparsed::Truncated)?;
    let (version, words) = (header[0] / 16, header[0] % 16);
    if version != 4 || words < 5 {
        return Err(Unparsed::BadIpv4Header);
    }
    let total_length = u16::from_be_bytes([header[2], header[3]]);
    // Reserved, don't fragment, more fragments; then the offset.
    let flags_and_offset = u16::from_be_bytes([header[6], header[7]]);
    let (more, fragment_offset) = (flags_and_offset & 0x2000 != 0, flags_and_offset % 0x2000);
    let address = |at: usize| {
        let mut mapped = [0; 16];
        mapped[10..12].fill(0xff);
        mapped[12..].copy_from_slice(&header[at..at + 4]);
        Address(words_of(mapped))
    };
    let key = FlowKey {
        source: address(12),
        destination: address(16),
        protocol: header[9],
        ip_version: 4,
        ..FlowKey::default()
    };
    Ok(Ip {
        packet: Packet {
            key,
            octets: if total_length == 0 { rest(frame, offset) } else { total_length.into() },
            ttl: header[8],
            tos: header[1],
            ..Packet::default()
        },
        payload: offset + 4 * usize::from(words),
        fragment: (more || fragment_offset > 0).then_some(Fragment {
            identification: u16::from_be_bytes([header[4], header[5]]).into(),
            offset: fragment_offset,
        }),
    })
}

/// RFC 8200.
fn ipv6(frame: &Bytes<'_>, offset: usize) -> Result<Ip, Unparsed> {
    let header: [u8; 40] = array(frame.captured, offset).ok_or(Unparsed::Truncated)?;
    if header[0] / 16 != 6 {
        return Err(Unparsed::BadIpv6Header);
    }
    let payload_length = u32::from(u16::from_be_bytes([header[4], header[5]]));
    let address = |at: usize| array(&header, at).map(words_of).map(Address).unwrap_or_default();
    let (protocol, payload, fragment) = extension_headers(frame.captured, header[6], offset + 40);
    let key = FlowKey { source: address(8), destination: address(24), protocol, ip_version: 6, ..FlowKey::default() };
    Ok(Ip {
        packet: Packet {
            key,
            octets: if payload_length == 0 { rest(frame, offset) } else { payload_length + 40 },
            ttl: header[7],
            // The traffic class lies across two octets.
            tos: header[0] % 16 * 16 + header[1] / 16,
            ..Packet::default()
        },
        payload,
        fragment,
    })
}

/// Steps over up to eight extension headers of which the first eight octets are there. What comes after a later fragment's
/// header is the middle of something. Where there are several fragment headers the last one counts.
fn extension_headers(octets: &[u8], first: u8, begin: usize) -> (u8, usize, Option<Fragment>) {
    let (mut protocol, mut offset, mut fragment) = (first, begin, None);
    for _ in 0..8 {
        let Some([next, length, a, b, identification @ ..]) = array::<8>(octets, offset) else { break };
        let length = usize::from(length);
        offset += match protocol {
            // Hop-by-hop, routing and destination options; mobility (RFC 6275), host identity (RFC 7401), Shim6 (RFC 5533).
            0 | 43 | 60 | 135 | 139 | 140 => 8 * (length + 1),
            // Authentication (RFC 4302).
            51 => 4 * (length + 2),
            44 => {
                let field = u16::from_be_bytes([a, b]);
                let (fragment_offset, more) = (field / 8, field % 2 == 1);
                // With neither it is an atomic fragment (RFC 6946), which is whole.
                fragment = (more || fragment_offset > 0).then_some(Fragment {
                    identification: u32::from_be_bytes(identification),
                    offset: fragment_offset,
                });
                8
            }
            _ => break,
        };
        protocol = next;
        if let Some(Fragment { offset: 1.., .. }) = fragment {
            break;
        }
    }
    (protocol, offset, fragment)
}

/// Ports, flags and the length of the headers. What the frame does not hold stays 0.
fn transport(octets: &[u8], offset: usize, packet: &mut Packet) {
    let mut headers = offset;
    match packet.key.protocol {
        // TCP, UDP, DCCP, SCTP, UDP-Lite.
        protocol @ (6 | 17 | 33 | 132 | 136) => {
            // Half a pair of ports is none.
            if let Some([a, b, c, d]) = array(octets, offset) {
                packet.key.source_port = u16::from_be_bytes([a, b]);
                packet.key.destination_port = u16::from_be_bytes([c, d]);
            }
            match protocol {
                17 => headers += 8,
                // The common header.
                132 => headers += 12,
                _ => {}
            }
        }
        // ICMP and ICMPv6: type × 256 + code.
        1 | 58 => {
            packet.key.destination_port = u16_at(octets, offset).unwrap_or(0);
            headers += 8;
        }
        _ => {}
    }
    if let (6, Some([offset_and_ns, flags])) = (packet.key.protocol, array(octets, offset + 12)) {
        packet.facts |= u32::from(offset_and_ns % 2) << 8 | u32::from(flags);
        let (syn, ack) = (flags & 0x02 != 0, flags & 0x10 != 0);
        if syn && !ack {
            packet.facts |= FACT_INITIATOR;
        }
        headers += 4 * usize::from(offset_and_ns / 16);
    }
    packet.headers = u32_of(headers);
}

/// Octets of the frame on the wire from `offset` on.
fn rest(frame: &Bytes<'_>, offset: usize) -> u32 {
    frame.original_length.saturating_sub(u32_of(offset))
}

fn array<const N: usize>(octets: &[u8], offset: usize) -> Option<[u8; N]> {
    octets.get(offset..)?.first_chunk().copied()
}

fn u16_at(octets: &[u8], offset: usize) -> Option<u16> {
    array(octets, offset).map(u16::from_be_bytes)
}

/// An address as the key holds it: four words, whose octets are in the order of the packet.
fn words_of(octets: [u8; 16]) -> [u32; 4] {
    [0, 4, 8, 12].map(|at| array(&octets, at).map(u32::from_ne_bytes).unwrap_or_default())
}

fn u32_of(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}
