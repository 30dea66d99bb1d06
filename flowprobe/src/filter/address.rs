//! Addresses and networks.

use std::net::{Ipv4Addr, Ipv6Addr};

use flowprobe_ebpf::Address;

use super::FilterError;
use super::ast::{Network, Version};
use super::error::unexpected;
use super::lexer::Token;

const NO_HOST_BITS: &str = "a network address without bits beyond its prefix or mask";
const PREFIX_V4: &str = "a prefix length up to 32";
const PREFIX_V6: &str = "a prefix length up to 128";
const MASK: &str = "an IPv4 netmask";
const MASKED: &str = "an IPv4 address before `mask`";

/// The first 96 bits of an IPv4-mapped address.
const MAPPED: u32 = 96;

/// An address, or the first numbers of an IPv4 address, which are a network: `10.1` is 10.1.0.0/16. A single number is one
/// only where `one_number` says so.
pub(super) fn address(text: &str, one_number: bool) -> Option<Network> {
    if text.contains(':') {
        let address: Ipv6Addr = text.parse().ok()?;
        return Some(Network { version: Version::V6, address: address.into(), mask: mask(128) });
    }
    let mut octets = [0; 4];
    let mut bits = 0;
    let mut places = octets.iter_mut();
    for number in text.split('.') {
        *places.next()? = number.parse().ok()?;
        bits += 8;
    }
    if bits == 8 && !one_number {
        return None;
    }
    Some(Network { version: Version::V4, address: Ipv4Addr::from(octets).into(), mask: mask(MAPPED + bits) })
}

/// `address/prefix`.
pub(super) fn with_prefix(address: Network, token: Token<'_>, prefix: Token<'_>) -> Result<Network, FilterError> {
    let (most, before, expected) = match address.version {
        Version::V4 => (32, MAPPED, PREFIX_V4),
        Version::V6 => (128, 0, PREFIX_V6),
    };
    let bits: Option<u32> = prefix.text.parse().ok().filter(|bits| *bits <= most);
    let bits = bits.ok_or_else(|| unexpected(prefix, expected))?;
    without_host_bits(Network { mask: mask(before + bits), ..address }, token)
}

/// `address mask netmask`.
pub(super) fn with_mask(network: Network, token: Token<'_>, netmask: Token<'_>) -> Result<Network, FilterError> {
    if network.version != Version::V4 {
        return Err(unexpected(token, MASKED));
    }
    let mask_of = address(netmask.text, true).filter(|mask| mask.version == Version::V4);
    let bits = mask_of.ok_or_else(|| unexpected(netmask, MASK))?.address.0[3];
    let Address([high, middle, mapped, _]) = mask(128);
    without_host_bits(Network { mask: Address([high, middle, mapped, bits]), ..network }, token)
}

fn without_host_bits(network: Network, token: Token<'_>) -> Result<Network, FilterError> {
    let beyond = network.address.0.iter().zip(network.mask.0).any(|(word, mask)| word & !mask != 0);
    if beyond { Err(unexpected(token, NO_HOST_BITS)) } else { Ok(network) }
}

/// Multicast addresses. Of IPv4, as in pcap, all from 224.0.0.0 on.
pub(super) fn multicast(version: Version) -> Network {
    let (address, bits) = match version {
        Version::V4 => (Ipv4Addr::new(224, 0, 0, 0).into(), MAPPED + 3),
        Version::V6 => (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0).into(), 8),
    };
    Network { version, address, mask: mask(bits) }
}

/// The mask of the first `bits` bits.
fn mask(bits: u32) -> Address {
    let ones = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
    Ipv6Addr::from_bits(ones).into()
}
