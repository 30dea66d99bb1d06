//! IPv4 (RFC 791) and IPv6 (RFC 8200).

use bytemuck::{Pod, Zeroable};

use super::{Be16, Frame, Packet, Unparsed, as_u32};
use crate::flow::{Address, FACT_FRAGMENT};

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Ipv4Header {
    version_and_words: u8,
    tos: u8,
    total_length: Be16,
    identification: Be16,
    fragment: Be16,
    ttl: u8,
    protocol: u8,
    checksum: Be16,
    source: u32,
    destination: u32,
}

/// More fragments follow, or this one does not begin its datagram.
const FRAGMENT: u16 = 0x3fff;
/// Where in its datagram a fragment lies, in units of 8 octets.
const FRAGMENT_OFFSET: u16 = 0x1fff;
/// Header length of IPv4 without options, in 32-bit words.
const MIN_WORDS: u8 = 5;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Ipv6Header {
    version_class_label: [Be16; 2],
    payload_length: Be16,
    next_header: u8,
    hop_limit: u8,
    source: Address,
    destination: Address,
}

/// Where the transport header begins.
pub(super) struct Payload {
    pub(super) offset: usize,
    /// False in later fragments, which carry none.
    pub(super) has_transport_header: bool,
}

/// Reads the IPv4 header at `offset`, options included.
#[inline(always)]
pub(super) fn v4(frame: &impl Frame, offset: usize, packet: &mut Packet) -> Result<Payload, Unparsed> {
    let header: Ipv4Header = frame.read(offset).ok_or(Unparsed::Truncated)?;
    let words = header.version_and_words & 0x0f;
    if header.version_and_words >> 4 != 4 || words < MIN_WORDS {
        return Err(Unparsed::BadIpv4Header);
    }
    let fragment = header.fragment.get();
    packet.key.source = Address::v4_mapped(header.source);
    packet.key.destination = Address::v4_mapped(header.destination);
    packet.key.ip_version = 4;
    packet.key.protocol = header.protocol;
    packet.octets = match u32::from(header.total_length.get()) {
        0 => rest_of(frame, offset),
        length => length,
    };
    packet.facts = if fragment & FRAGMENT == 0 { 0 } else { FACT_FRAGMENT };
    packet.ttl = header.ttl;
    packet.tos = header.tos;
    Ok(Payload { offset: offset + usize::from(words) * 4, has_transport_header: fragment & FRAGMENT_OFFSET == 0 })
}

/// Reads the IPv6 header at `offset`.
#[inline(always)]
pub(super) fn v6(frame: &impl Frame, offset: usize, packet: &mut Packet) -> Result<Payload, Unparsed> {
    let header: Ipv6Header = frame.read(offset).ok_or(Unparsed::Truncated)?;
    let version_and_class = header.version_class_label[0].get();
    if version_and_class >> 12 != 6 {
        return Err(Unparsed::BadIpv6Header);
    }
    packet.key.source = header.source;
    packet.key.destination = header.destination;
    packet.key.ip_version = 6;
    packet.key.protocol = header.next_header;
    packet.octets = match u32::from(header.payload_length.get()) {
        0 => rest_of(frame, offset),
        length => length + HEADER_V6,
    };
    packet.facts = 0;
    packet.ttl = header.hop_limit;
    packet.tos = version_and_class.to_be_bytes()[0] << 4 | version_and_class.to_be_bytes()[1] >> 4;
    Ok(Payload { offset: offset + size_of::<Ipv6Header>(), has_transport_header: true })
}

/// Octets of the fixed IPv6 header.
const HEADER_V6: u32 = 40;

/// Octets of the frame from `offset` on.
#[inline(always)]
fn rest_of(frame: &impl Frame, offset: usize) -> u32 {
    frame.length().saturating_sub(as_u32(offset))
}
