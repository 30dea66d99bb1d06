//! IPv4 (RFC 791) and IPv6 with its extension headers (RFC 8200).

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

/// Of IPv4: more fragments follow, or this one does not begin its datagram.
const FRAGMENT: u16 = 0x3fff;
/// Of IPv4: where in its datagram a fragment lies, in units of 8 octets.
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

/// Octets of the fixed IPv6 header.
const IPV6_HEADER: u32 = 40;

/// The first eight octets of any extension header; a fragment header is no longer.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ExtensionHeader {
    next_header: u8,
    length: u8,
    /// Of a fragment header: offset in units of 8 octets, shifted left by 3, and the flag M.
    fragment: Be16,
    /// Of a fragment header.
    identification: [Be16; 2],
}

/// Extension headers that are stepped over.
const MAX_EXTENSION_HEADERS: usize = 8;

/// Of an IPv6 fragment header: this fragment does not begin its datagram, or more follow.
const IPV6_FRAGMENT: u16 = 0xfff9;
/// Of an IPv6 fragment header: the offset.
const IPV6_FRAGMENT_OFFSET: u16 = 0xfff8;

/// Next Header values of extension headers (IANA "IPv6 Extension Header Types", less ESP, whose content is sealed, and the
/// experimental ones).
mod extension {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const AUTHENTICATION: u8 = 51;
    pub(super) const DESTINATION_OPTIONS: u8 = 60;
    pub(super) const MOBILITY: u8 = 135;
    pub(super) const HOST_IDENTITY: u8 = 139;
    pub(super) const SHIM6: u8 = 140;
}

/// What follows the IP header.
#[derive(Clone, Copy)]
pub(super) struct Payload {
    /// Where it begins.
    pub(super) offset: usize,
    /// Which part of its datagram it is.
    pub(super) part: Part,
    /// The datagram's identification, where it is fragmented.
    pub(super) identification: u32,
}

/// Which part of a datagram a packet carries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it.
    Whole,
    /// A fragment with the transport header.
    First,
    /// A fragment without.
    Later,
}

impl Part {
    #[inline(always)]
    const fn of(is_fragment: bool, is_later: bool) -> Self {
        match (is_fragment, is_later) {
            (_, true) => Self::Later,
            (true, false) => Self::First,
            (false, false) => Self::Whole,
        }
    }

    #[inline(always)]
    const fn facts(self) -> u32 {
        match self {
            Self::Whole => 0,
            Self::First | Self::Later => FACT_FRAGMENT,
        }
    }
}

/// Reads the IPv4 header at `offset`, options included. `packet` is untouched where there is none.
#[inline(always)]
pub(super) fn v4(frame: &impl Frame, offset: usize, packet: &mut Packet) -> Result<Payload, Unparsed> {
    let header: Ipv4Header = frame.read(offset).ok_or(Unparsed::Truncated)?;
    let words = header.version_and_words & 0x0f;
    if header.version_and_words >> 4 != 4 || words < MIN_WORDS {
        return Err(Unparsed::BadIpv4Header);
    }
    let fragment = header.fragment.get();
    let part = Part::of(fragment & FRAGMENT != 0, fragment & FRAGMENT_OFFSET != 0);
    packet.key.source = Address::v4_mapped(header.source);
    packet.key.destination = Address::v4_mapped(header.destination);
    packet.key.ip_version = 4;
    packet.key.protocol = header.protocol;
    packet.octets = match u32::from(header.total_length.get()) {
        0 => rest_of(frame, offset),
        length => length,
    };
    packet.facts = part.facts();
    packet.ttl = header.ttl;
    packet.tos = header.tos;
    Ok(Payload {
        offset: offset + usize::from(words) * 4,
        part,
        identification: u32::from(header.identification.get()),
    })
}

/// Reads the IPv6 header at `offset` and steps over extension headers. The protocol is the first Next Header that is none.
/// `packet` is untouched where there is no IPv6 header.
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
    packet.octets = match u32::from(header.payload_length.get()) {
        0 => rest_of(frame, offset),
        length => length + IPV6_HEADER,
    };
    packet.ttl = header.hop_limit;
    packet.tos = (version_and_class >> 4).to_be_bytes()[1];
    let (protocol, payload) = extension_headers(frame, header.next_header, offset + size_of::<Ipv6Header>());
    packet.key.protocol = protocol;
    packet.facts = payload.part.facts();
    Ok(payload)
}

#[inline(always)]
fn extension_headers(frame: &impl Frame, next_header: u8, begin: usize) -> (u8, Payload) {
    let mut protocol = next_header;
    let mut payload = Payload { offset: begin, part: Part::Whole, identification: 0 };
    for _ in 0..MAX_EXTENSION_HEADERS {
        if !is_extension(protocol) || payload.part == Part::Later {
            break;
        }
        let Some(header) = frame.read::<ExtensionHeader>(payload.offset) else { break };
        let length = match protocol {
            extension::FRAGMENT => {
                let field = header.fragment.get();
                payload.part = Part::of(field & IPV6_FRAGMENT != 0, field & IPV6_FRAGMENT_OFFSET != 0);
                let [high, low] = header.identification.map(Be16::get);
                payload.identification = u32::from(high) << 16 | u32::from(low);
                size_of::<ExtensionHeader>()
            }
            // RFC 4302 counts the authentication header in 32-bit words, less two.
            extension::AUTHENTICATION => (usize::from(header.length) + 2) * 4,
            _ => (usize::from(header.length) + 1) * 8,
        };
        payload.offset = frame.forget_way(payload.offset + length);
        protocol = header.next_header;
    }
    (protocol, payload)
}

#[inline(always)]
const fn is_extension(next_header: u8) -> bool {
    matches!(
        next_header,
        extension::HOP_BY_HOP
            | extension::ROUTING
            | extension::FRAGMENT
            | extension::AUTHENTICATION
            | extension::DESTINATION_OPTIONS
            | extension::MOBILITY
            | extension::HOST_IDENTITY
            | extension::SHIM6
    )
}

/// Octets of the frame from `offset` on.
#[inline(always)]
fn rest_of(frame: &impl Frame, offset: usize) -> u32 {
    frame.length().saturating_sub(as_u32(offset))
}
