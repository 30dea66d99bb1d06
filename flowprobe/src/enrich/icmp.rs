//! Names of ICMP messages, by type and code: of the IANA registries "ICMP Type Numbers" and "ICMPv6 Parameters" those that are in use.

use crate::record::{ICMP, ICMPV6};

/// The name of a message of this protocol, where it is a known one.
#[must_use]
pub fn icmp_name(protocol: i32, kind: i32, code: i32) -> Option<&'static str> {
    match u8::try_from(protocol) {
        Ok(ICMP) => v4(kind, code),
        Ok(ICMPV6) => v6(kind, code),
        _ => None,
    }
}

const fn v4(kind: i32, code: i32) -> Option<&'static str> {
    Some(match (kind, code) {
        (0, _) => "echo reply",
        (3, 0) => "net unreachable",
        (3, 1) => "host unreachable",
        (3, 2) => "protocol unreachable",
        (3, 3) => "port unreachable",
        (3, 4) => "fragmentation needed",
        (3, 9 | 10 | 13) => "administratively prohibited",
        (3, _) => "destination unreachable",
        (4, _) => "source quench",
        (5, _) => "redirect",
        (8, _) => "echo request",
        (9, _) => "router advertisement",
        (10, _) => "router solicitation",
        (11, 0) => "TTL exceeded in transit",
        (11, 1) => "reassembly time exceeded",
        (12, _) => "parameter problem",
        (13, _) => "timestamp request",
        (14, _) => "timestamp reply",
        (42, _) => "extended echo request",
        (43, _) => "extended echo reply",
        _ => return None,
    })
}

const fn v6(kind: i32, code: i32) -> Option<&'static str> {
    Some(match (kind, code) {
        (1, 0) => "no route to destination",
        (1, 1) => "administratively prohibited",
        (1, 3) => "address unreachable",
        (1, 4) => "port unreachable",
        (1, _) => "destination unreachable",
        (2, _) => "packet too big",
        (3, 0) => "hop limit exceeded in transit",
        (3, 1) => "reassembly time exceeded",
        (4, _) => "parameter problem",
        (128, _) => "echo request",
        (129, _) => "echo reply",
        (130, _) => "multicast listener query",
        (131, _) => "multicast listener report",
        (132, _) => "multicast listener done",
        (133, _) => "router solicitation",
        (134, _) => "router advertisement",
        (135, _) => "neighbor solicitation",
        (136, _) => "neighbor advertisement",
        (137, _) => "redirect",
        (143, _) => "multicast listener report v2",
        (160, _) => "extended echo request",
        (161, _) => "extended echo reply",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_both_protocols_have_their_names() {
        assert_eq!((icmp_name(1, 8, 0), icmp_name(58, 8, 0)), (Some("echo request"), None));
        assert_eq!(
            (icmp_name(1, 3, 3), icmp_name(1, 3, 250)),
            (Some("port unreachable"), Some("destination unreachable"))
        );
        assert_eq!((icmp_name(58, 135, 0), icmp_name(6, 8, 0)), (Some("neighbor solicitation"), None));
    }
}
