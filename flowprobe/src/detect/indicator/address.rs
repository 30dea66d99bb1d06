//! An address, a network or a range of addresses, as lists write them.

use std::net::Ipv6Addr;

/// What was expected where there is none of these.
pub(super) const ADDRESS: &str = "an address, a network such as 192.0.2.0/24 or a range such as 192.0.2.1-192.0.2.9";
const PREFIX: &str = "a prefix length, at most 32 for IPv4 and 128 for IPv6, or a netmask such as 255.255.255.0";
const PORT: &str = "a port up to 65535 after the address";
const ORDER: &str = "a range whose first address is not behind its last";
const HOST: &str = "an address other than 0.0.0.0 and ::";
const NARROWER: &str = "a network that is not half of all addresses or more";

/// Octets of the longest form, with room for the ways of defanging it.
const LONGEST: usize = 160;

/// Addresses from the first to the last. IPv4-mapped IPv6 is IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block {
    V4(u32, u32),
    V6(u128, u128),
}

impl Block {
    /// What is written there: an address, alone, with a prefix length or netmask, or with a port; or a range. In error, what was expected.
    pub(super) fn parse(text: &[u8]) -> Result<Self, &'static str> {
        let text = text.trim_ascii();
        if text.len() > LONGEST {
            return Err(ADDRESS);
        }
        let block = if text.iter().any(|byte| matches!(byte, b'[' | b'(' | b'\\')) {
            Self::plain(&armed(text))?
        } else {
            Self::plain(text)?
        };
        match block {
            Self::V4(0, 0) | Self::V6(0, 0) => Err(HOST),
            // `::/1` and `8000::/1` are in lists of what is not in use.
            Self::V4(first, last) if last - first >= u32::MAX >> 1 => Err(NARROWER),
            Self::V6(0, u128::MAX) => Err(NARROWER),
            block => Ok(block),
        }
    }

    /// From the first address of one to the last of another.
    pub(super) fn to(self, other: Self) -> Result<Self, &'static str> {
        match (self, other) {
            (Self::V4(first, _), Self::V4(_, last)) if first <= last => Ok(Self::V4(first, last)),
            (Self::V6(first, _), Self::V6(_, last)) if first <= last => Ok(Self::V6(first, last)),
            _ => Err(ORDER),
        }
    }

    fn plain(text: &[u8]) -> Result<Self, &'static str> {
        if let Some((address, rest)) = v4(text) {
            return match rest.trim_ascii_start() {
                [] => Ok(Self::V4(address, address)),
                [b'/', bits @ ..] => v4_network(address, bits),
                [b':', port @ ..] => is_port(port).then_some(Self::V4(address, address)).ok_or(PORT),
                [b'-', last @ ..] => Self::V4(address, address).to(Self::plain(last.trim_ascii_start())?),
                _ => Err(ADDRESS),
            };
        }
        if let [b'[', inner @ ..] = text {
            let end = inner.iter().position(|byte| *byte == b']').ok_or(ADDRESS)?;
            let block = v6(&inner[..end])?;
            return match (&inner[end + 1..], block) {
                ([], _) => Ok(block),
                ([b':', port @ ..], _) => is_port(port).then_some(block).ok_or(PORT),
                ([b'/', bits @ ..], Self::V6(first, _)) => v6_network(first, bits),
                _ => Err(ADDRESS),
            };
        }
        let Some(end) = text.iter().position(|byte| matches!(byte, b'/' | b'-')) else { return v6(text) };
        let first = v6(text[..end].trim_ascii_end())?;
        match (text[end], first) {
            (b'/', Self::V6(first, _)) => v6_network(first, &text[end + 1..]),
            // IPv4-mapped: 96 bits are before it.
            (b'/', Self::V4(first, _)) => {
                let bits = number(&text[end + 1..]).filter(|bits| (96..=128).contains(bits)).ok_or(PREFIX)?;
                Ok(v4_around(first, bits - 96))
            }
            _ => first.to(v6(text[end + 1..].trim_ascii_start())?),
        }
    }
}

/// An IPv4 address in dotted decimal, and what follows it. Leading zeros are refused: some read them as octal.
fn v4(text: &[u8]) -> Option<(u32, &[u8])> {
    let (mut address, mut at) = (0, 0);
    for part in 0..4 {
        let start = at;
        let mut value = 0;
        while let Some(digit @ b'0'..=b'9') = text.get(at).copied() {
            value = value * 10 + u32::from(digit - b'0');
            at += 1;
            if at - start > 3 {
                return None;
            }
        }
        if at == start || value > 255 || at - start > 1 && text[start] == b'0' {
            return None;
        }
        address = address << 8 | value;
        if part < 3 {
            if text.get(at) != Some(&b'.') {
                return None;
            }
            at += 1;
        }
    }
    Some((address, &text[at..]))
}

fn v4_network(address: u32, bits: &[u8]) -> Result<Block, &'static str> {
    if let Some((mask, [])) = v4(bits.trim_ascii()) {
        return if mask.leading_ones() + mask.trailing_zeros() == 32 {
            Ok(v4_around(address, mask.leading_ones()))
        } else {
            Err(PREFIX)
        };
    }
    number(bits).filter(|bits| *bits <= 32).map(|bits| v4_around(address, bits)).ok_or(PREFIX)
}

/// The network around an address.
fn v4_around(address: u32, bits: u32) -> Block {
    let host = u32::MAX.checked_shr(bits).unwrap_or(0);
    Block::V4(address & !host, address | host)
}

fn v6(text: &[u8]) -> Result<Block, &'static str> {
    let address: Ipv6Addr = str::from_utf8(text).ok().and_then(|text| text.trim_ascii().parse().ok()).ok_or(ADDRESS)?;
    Ok(match address.to_ipv4_mapped() {
        Some(v4) => Block::V4(v4.to_bits(), v4.to_bits()),
        None => Block::V6(address.to_bits(), address.to_bits()),
    })
}

fn v6_network(address: u128, bits: &[u8]) -> Result<Block, &'static str> {
    let bits = number(bits).filter(|bits| *bits <= 128).ok_or(PREFIX)?;
    let host = u128::MAX.checked_shr(bits).unwrap_or(0);
    Ok(Block::V6(address & !host, address | host))
}

fn number(text: &[u8]) -> Option<u32> {
    let text = text.trim_ascii();
    let is_number = (1..=5).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    is_number.then(|| text.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0')))
}

fn is_port(text: &[u8]) -> bool {
    number(text).is_some_and(|port| port <= 65_535)
}

/// Without what makes an address no link: `1.2.3[.]4`, `1.2.3(.)4`, `1.2.3[dot]4`, `1.2.3\.4`, `2001[:]db8::1`.
fn armed(text: &[u8]) -> Vec<u8> {
    let forms: [(&[u8], u8); 7] = [
        (b"[.]", b'.'),
        (b"(.)", b'.'),
        (b"[dot]", b'.'),
        (b"(dot)", b'.'),
        (b"\\.", b'.'),
        (b"[:]", b':'),
        (b"[/]", b'/'),
    ];
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [byte, after @ ..] = rest {
        match forms.iter().find(|(form, _)| rest.starts_with(form)) {
            Some((form, meant)) => {
                plain.push(*meant);
                rest = &rest[form.len()..];
            }
            None => {
                plain.push(*byte);
                rest = after;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn range4(first: &str, last: &str) -> Block {
        let bits = |text: &str| text.parse::<Ipv4Addr>().expect("an address").to_bits();
        Block::V4(bits(first), bits(last))
    }

    fn range6(first: &str, last: &str) -> Block {
        let bits = |text: &str| text.parse::<Ipv6Addr>().expect("an address").to_bits();
        Block::V6(bits(first), bits(last))
    }

    #[test]
    fn every_way_of_writing_it_is_read() {
        let one = range4("192.0.2.9", "192.0.2.9");
        for text in [
            "192.0.2.9",
            " 192.0.2.9\t",
            "192.0.2.9/32",
            "192.0.2.9:443",
            "192.0.2[.]9",
            "192[.]0[.]2[.]9",
            "192.0.2(.)9",
            "192.0.2[dot]9",
            "192.0.2[.]9[:]8080",
            "192\\.0\\.2\\.9",
            "::ffff:192.0.2.9",
            "::ffff:c000:209/128",
            "192.0.2.9-192.0.2.9",
            "192.0.2.9/255.255.255.255",
            "[::ffff:192.0.2.9]:80",
        ] {
            assert_eq!(Block::parse(text.as_bytes()), Ok(one), "{text}");
        }
        let network = range4("192.0.2.0", "192.0.2.255");
        for text in [
            "192.0.2.0/24",
            "192.0.2.7/24",
            "192.0.2.0-192.0.2.255",
            "192.0.2.0 - 192.0.2.255",
            "192.0.2.0/255.255.255.0",
            "192.0.2[.]0[/]24",
            "::ffff:192.0.2.0/120",
        ] {
            assert_eq!(Block::parse(text.as_bytes()), Ok(network), "{text}");
        }
        let one = range6("2001:db8::1", "2001:db8::1");
        for text in
            ["2001:db8::1", "2001:DB8:0::1", "[2001:db8::1]:443", "[2001:db8::1]", "2001[:]db8::1", "2001:db8::1/128"]
        {
            assert_eq!(Block::parse(text.as_bytes()), Ok(one), "{text}");
        }
        assert_eq!(Block::parse(b"2001:db8::5/32"), Ok(range6("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff")));
        assert_eq!(Block::parse(b"2001:db8::1-2001:db8::9"), Ok(range6("2001:db8::1", "2001:db8::9")));
        assert_eq!(Block::parse(b"8000::/1"), Ok(range6("8000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")));
        assert_eq!(Block::parse(b"224.0.0.0/3"), Ok(range4("224.0.0.0", "255.255.255.255")));
    }

    #[test]
    fn what_is_none_is_refused_with_what_was_expected() {
        for (text, expected) in [
            ("", ADDRESS),
            ("example.org", ADDRESS),
            ("192.0.2", ADDRESS),
            ("192.0.2.256", ADDRESS),
            ("192.0.2.09", ADDRESS),
            ("192.0.2.1.5", ADDRESS),
            ("192.0.2.9/33", PREFIX),
            ("192.0.2.9/", PREFIX),
            ("192.0.2.9/255.0.255.0", PREFIX),
            ("192.0.2.9/-1", PREFIX),
            ("192.0.2.9:65536", PORT),
            ("192.0.2.9:http", PORT),
            ("192.0.2.9-192.0.2.8", ORDER),
            ("192.0.2.9-2001:db8::1", ORDER),
            ("0.0.0.0", HOST),
            ("::", HOST),
            ("0.0.0.0/0", NARROWER),
            ("128.0.0.0/1", NARROWER),
            ("::/0", NARROWER),
            ("::ffff:0:0/96", NARROWER),
            ("2001:db8::1/129", PREFIX),
            ("fe80::1%eth0", ADDRESS),
            ("[2001:db8::1", ADDRESS),
            ("192.0.2.9-", ADDRESS),
            ("1.2.3.4\0", ADDRESS),
            ("::ffff:1.2.3.4/24", PREFIX),
        ] {
            assert_eq!(Block::parse(text.as_bytes()), Err(expected), "{text}");
        }
        assert_eq!(Block::parse(&[0xff, 0xfe, b'1']), Err(ADDRESS));
        assert_eq!(Block::parse(&[b'['; 100_000]), Err(ADDRESS));
    }

    #[test]
    fn no_bytes_do_harm() {
        let mut random = fastrand::Rng::with_seed(3);
        let some = b"0123456789abcdef.:/-[]() \\dot\0\xff";
        for _ in 0..200_000 {
            let text: Vec<u8> = (0..random.usize(..30)).map(|_| some[random.usize(..some.len())]).collect();
            match Block::parse(&text) {
                Ok(Block::V4(first, last)) => assert!(first <= last),
                Ok(Block::V6(first, last)) => assert!(first <= last),
                Err(expected) => assert!(!expected.is_empty()),
            }
        }
    }
}
