//! The parser's rules once more, written plainly from the RFCs: every field is read where it is needed, octet by octet and
//! with a check. It shares nothing with the parser but the types of its input and its result, so that a frame which both
//! read alike was not misread by a slip in either. The fuzzer includes this file as it is: it needs the standard library and
//! `flowprobe-ebpf`, nothing else.

use flowprobe_ebpf::flow::FACT_FRAGMENT;
use flowprobe_ebpf::parse::{Bytes, FragmentKey, FragmentPorts, Fragments, Origin, Packet, Unparsed};
use flowprobe_ebpf::{Address, FlowKey};

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;

/// Reads an Ethernet frame (IEEE 802.3, with a type in place of a length).
///
/// # Errors
/// Why the frame belongs to no flow.
pub fn ethernet(frame: &Bytes<'_>, origin: Origin, fragments: &impl Fragments) -> Result<Packet, Unparsed> {
    let octets = frame.captured;
    let (Some(destination_mac), Some(source_mac), Some(ethertype)) =
        (array(octets, 0), array(octets, 6), u16_at(octets, 12))
    else {
        return Err(Unparsed::Truncated);
    };
    let packet = network(frame, ethertype, 14, origin, fragments)?;
    Ok(Packet { source_mac, destination_mac, ..packet })
}

/// Reads what begins `offset` octets into the frame and is said to be of `ethertype`.
///
/// # Errors
/// As [`ethernet`].
pub fn network(
    frame: &Bytes<'_>,
    ethertype: u16,
    offset: usize,
    origin: Origin,
    fragments: &impl Fragments,
) -> Result<Packet, Unparsed> {
    let (tags, ethertype, offset) = tags(frame.captured, ethertype, offset)?;
    let (mpls_top_label, ethertype, offset) = match ethertype {
        0x8847 | 0x8848 => labels(frame.captured, offset)?,
        0x8864 => pppoe(frame.captured, offset)?,
        _ => (0, ethertype, offset),
    };
    let packet = from_ip(frame, ethertype, offset, fragments)?;
    // A tag that the NIC took out of the frame was the outermost.
    let mut vlans = tags;
    if origin.offloaded_vlan != 0 {
        vlans.insert(0, origin.offloaded_vlan);
    }
    let key = FlowKey {
        ifindex: origin.ifindex,
        direction: origin.direction as u8,
        vlan: vlans.first().copied().unwrap_or(0),
        customer_vlan: vlans.get(1).copied().unwrap_or(0),
        ..packet.key
    };
    Ok(Packet { key, mpls_top_label, ..packet })
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
            let ethertype = match octets.get(below).ok_or(Unparsed::Truncated)? / 16 {
                4 => ETHERTYPE_IPV4,
                6 => ETHERTYPE_IPV6,
                _ => return Err(Unparsed::NotIp),
            };
            return Ok((u32::from_be_bytes([0, a, b, c]), ethertype, below));
        }
    }
    Err(Unparsed::TooManyTags)
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

/// Reads from the IP header at `offset` on: all that does not depend on the link, and is in a tunnel as it is outside.
fn from_ip(frame: &Bytes<'_>, ethertype: u16, offset: usize, fragments: &impl Fragments) -> Result<Packet, Unparsed> {
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
    Ok(packet)
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
        Address(words_of([
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0xff,
            0xff,
            header[at],
            header[at + 1],
            header[at + 2],
            header[at + 3],
        ]))
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
            if protocol == 17 {
                headers += 8;
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
