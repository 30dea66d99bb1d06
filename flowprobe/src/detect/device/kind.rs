//! What a MAC address says by itself about whose it is.

use super::super::flow::{Ip, Mac};

/// Whose an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A card's, from a maker's range.
    Maker,
    /// A virtual machine's or a container's.
    Virtual(&'static str),
    /// A virtual router's, which several routers share (VRRP, HSRP, GLBP).
    Router(&'static str),
    /// Made up, as phones and laptops do for each network and some of them every day (IEEE 802.11bh calls it randomised).
    Random,
}

/// What is known of an address by its prefix.
pub(crate) const fn kind(mac: Mac) -> Kind {
    match mac.0 {
        // RFC 9568 section 7.3; CARP has the same.
        [0, 0, 0x5e, 0, 1 | 2, _] => Kind::Router("VRRP"),
        // Versions 1 and 2, and that of IPv6.
        [0, 0, 0x0c, 7, 0xac, _] | [0, 0, 0x0c, 0x9f, 0xf0..=0xff, _] | [0, 5, 0x73, 0xa0, 0..=0x0f, _] => {
            Kind::Router("HSRP")
        }
        [0, 7, 0xb4, ..] => Kind::Router("GLBP"),
        [0x52, 0x54, 0, ..] => Kind::Virtual("QEMU"),
        [2, 0x42, ..] => Kind::Virtual("Docker"),
        [0, 0x0c, 0x29, ..] | [0, 0x50, 0x56, ..] | [0, 5, 0x69, ..] | [0, 0x1c, 0x14, ..] => Kind::Virtual("VMware"),
        [0, 0x15, 0x5d, ..] => Kind::Virtual("Hyper-V"),
        [8, 0, 0x27, ..] | [0x0a, 0, 0x27, ..] => Kind::Virtual("VirtualBox"),
        [0, 0x16, 0x3e, ..] => Kind::Virtual("Xen"),
        [0xbc, 0x24, 0x11, ..] => Kind::Virtual("Proxmox"),
        _ if mac.is_local() => Kind::Random,
        _ => Kind::Maker,
    }
}

/// A MAC address as people write it: six pairs of hexadecimal digits with `:` or `-` between them, or three groups of four with `.`.
pub(crate) fn parse_mac(text: &str) -> Option<Mac> {
    let (separator, groups, length) = match text.find([':', '-', '.'])? {
        4 if text.as_bytes()[4] == b'.' => ('.', 3, 4),
        2 if text.as_bytes()[2] != b'.' => (char::from(text.as_bytes()[2]), 6, 2),
        _ => return None,
    };
    let parts: Vec<&str> = text.split(separator).collect();
    let digits = parts.concat();
    let is_right = parts.len() == groups && parts.iter().all(|part| part.len() == length);
    if !is_right || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let [_, _, octets @ ..] = u64::from_str_radix(&digits, 16).ok()?.to_be_bytes();
    Some(Mac(octets))
}

/// The address as a number, for keys.
pub(crate) const fn number(mac: Mac) -> u64 {
    let [a, b, c, d, e, f] = mac.0;
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

/// Addresses that hosts give themselves, and that several may have on several links: 169.254.0.0/16, fe80::/10.
pub(crate) const fn is_link_local(ip: Ip) -> bool {
    ip.0 >> 16 == 0xffff_a9fe || ip.0 >> 118 == 0xfe80 >> 6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_known_for_what_they_are() {
        for (text, expected) in [
            ("00:00:5e:00:01:0a", Kind::Router("VRRP")),
            ("00-00-5E-00-02-FF", Kind::Router("VRRP")),
            ("0000.0c07.ac01", Kind::Router("HSRP")),
            ("00:00:0c:9f:f1:23", Kind::Router("HSRP")),
            ("00:07:b4:00:01:02", Kind::Router("GLBP")),
            ("52:54:00:12:34:56", Kind::Virtual("QEMU")),
            ("02:42:ac:11:00:02", Kind::Virtual("Docker")),
            ("00:15:5d:01:02:03", Kind::Virtual("Hyper-V")),
            ("da:a1:19:00:00:01", Kind::Random),
            ("00:1b:21:00:00:01", Kind::Maker),
            ("00:00:5e:00:03:01", Kind::Maker),
        ] {
            assert_eq!(kind(parse_mac(text).expect("an address")), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "00:11:22:33:44", "00:11:22:33:44:5g", "001122334455", "00:11-22:33:44:55", "10.0.0.1", "é:é"]
        {
            assert_eq!(parse_mac(text), None, "{text}");
        }
        assert_eq!(parse_mac("0a:0b:0c:0d:0e:0f").map(number), Some(0x0a0b_0c0d_0e0f));
    }
}
