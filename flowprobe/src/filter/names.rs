//! Names that stand for numbers, as pcap has them, and words that pcap knows and flows do not.

use flowprobe_ebpf::protocol::{DCCP, ICMP, ICMPV6, SCTP, TCP, UDP, UDP_LITE};

use super::ast::Version::{self, V4, V6};

/// Protocols: the name, the IANA number, and the IP version that the name alone implies.
///
/// libpcap implies a version for some; those that only this filter has as keywords imply none.
const PROTOCOLS: [(&str, u8, Option<Version>); 23] = [
    ("ah", 51, None),
    ("carp", 112, Some(V4)),
    ("dccp", DCCP, None),
    ("eigrp", 88, None),
    ("esp", 50, None),
    ("etherip", 97, None),
    ("gre", 47, None),
    ("icmp", ICMP, Some(V4)),
    ("icmp6", ICMPV6, Some(V6)),
    ("igmp", 2, Some(V4)),
    ("igrp", 9, Some(V4)),
    ("ipcomp", 108, None),
    ("ipencap", 4, None),
    ("ipip", 4, None),
    ("ipv6-icmp", ICMPV6, None),
    ("l2tp", 115, None),
    ("ospf", 89, None),
    ("pim", 103, None),
    ("sctp", SCTP, None),
    ("tcp", TCP, None),
    ("udp", UDP, None),
    ("udplite", UDP_LITE, None),
    ("vrrp", 112, Some(V4)),
];

/// Services that everybody writes by name.
const SERVICES: [(&str, u16); 40] = [
    ("bgp", 179),
    ("bootpc", 68),
    ("bootps", 67),
    ("domain", 53),
    ("echo", 7),
    ("ftp", 21),
    ("ftp-data", 20),
    ("http", 80),
    ("http-alt", 8080),
    ("https", 443),
    ("imap", 143),
    ("imap2", 143),
    ("imaps", 993),
    ("ipfix", 4739),
    ("isakmp", 500),
    ("kerberos", 88),
    ("ldap", 389),
    ("ldaps", 636),
    ("mdns", 5353),
    ("microsoft-ds", 445),
    ("mysql", 3306),
    ("netbios-dgm", 138),
    ("netbios-ns", 137),
    ("netbios-ssn", 139),
    ("ntp", 123),
    ("pop3", 110),
    ("pop3s", 995),
    ("postgresql", 5432),
    ("radius", 1812),
    ("rdp", 3389),
    ("sip", 5060),
    ("sip-tls", 5061),
    ("smtp", 25),
    ("snmp", 161),
    ("snmp-trap", 162),
    ("ssh", 22),
    ("submission", 587),
    ("syslog", 514),
    ("telnet", 23),
    ("tftp", 69),
];

/// Numbers by name: TCP flags, ICMP and ICMPv6 types.
const CONSTANTS: [(&str, u32); 52] = [
    ("tcp-fin", 0x01),
    ("tcp-syn", 0x02),
    ("tcp-rst", 0x04),
    ("tcp-push", 0x08),
    ("tcp-ack", 0x10),
    ("tcp-urg", 0x20),
    ("tcp-ece", 0x40),
    ("tcp-cwr", 0x80),
    ("icmp-echoreply", 0),
    ("icmp-unreach", 3),
    ("icmp-sourcequench", 4),
    ("icmp-redirect", 5),
    ("icmp-echo", 8),
    ("icmp-routeradvert", 9),
    ("icmp-routersolicit", 10),
    ("icmp-timxceed", 11),
    ("icmp-paramprob", 12),
    ("icmp-tstamp", 13),
    ("icmp-tstampreply", 14),
    ("icmp-ireq", 15),
    ("icmp-ireqreply", 16),
    ("icmp-maskreq", 17),
    ("icmp-maskreply", 18),
    ("icmp6-destinationunreach", 1),
    ("icmp6-packettoobig", 2),
    ("icmp6-timeexceeded", 3),
    ("icmp6-parameterproblem", 4),
    ("icmp6-echo", 128),
    ("icmp6-echoreply", 129),
    ("icmp6-multicastlistenerquery", 130),
    ("icmp6-multicastlistenerreportv1", 131),
    ("icmp6-multicastlistenerdone", 132),
    ("icmp6-routersolicit", 133),
    ("icmp6-routeradvert", 134),
    ("icmp6-neighborsolicit", 135),
    ("icmp6-neighboradvert", 136),
    ("icmp6-redirect", 137),
    ("icmp6-routerrenum", 138),
    ("icmp6-nodeinformationquery", 139),
    ("icmp6-nodeinformationresponse", 140),
    ("icmp6-ineighbordiscoverysolicit", 141),
    ("icmp6-ineighbordiscoveryadvert", 142),
    ("icmp6-multicastlistenerreportv2", 143),
    ("icmp6-homeagentdiscoveryrequest", 144),
    ("icmp6-homeagentdiscoveryreply", 145),
    ("icmp6-mobileprefixsolicit", 146),
    ("icmp6-mobileprefixadvert", 147),
    ("icmp6-certpathsolicit", 148),
    ("icmp6-certpathadvert", 149),
    ("icmp6-multicastrouteradvert", 151),
    ("icmp6-multicastroutersolicit", 152),
    ("icmp6-multicastrouterterm", 153),
];

const NOT_IP: &str = "only IP packets become flows";
const NOT_HERE: &str = "there are no such frames on the links that are metered";
const STEPPED_OVER: &str = "the header is stepped over, and the filter asks what is behind it";
const CHAIN: &str = "extension headers are stepped over; `proto` asks for the protocol behind them";

/// Words of pcap that cannot be said here, with the reason.
const UNSUPPORTED: [(&str, &str); 37] = [
    ("aarp", NOT_IP),
    ("arp", NOT_IP),
    ("atalk", NOT_IP),
    ("clnp", NOT_IP),
    ("decnet", NOT_IP),
    ("esis", NOT_IP),
    ("ipx", NOT_IP),
    ("isis", NOT_IP),
    ("iso", NOT_IP),
    ("lat", NOT_IP),
    ("llc", NOT_IP),
    ("loopback", NOT_IP),
    ("mopdl", NOT_IP),
    ("moprc", NOT_IP),
    ("netbeui", NOT_IP),
    ("pppoed", NOT_IP),
    ("rarp", NOT_IP),
    ("sca", NOT_IP),
    ("stp", NOT_IP),
    ("addr1", NOT_HERE),
    ("fddi", NOT_HERE),
    ("lane", NOT_HERE),
    ("link", NOT_HERE),
    ("ppp", NOT_HERE),
    ("radio", NOT_HERE),
    ("ra", NOT_HERE),
    ("slip", NOT_HERE),
    ("ta", NOT_HERE),
    ("tr", NOT_HERE),
    ("type", NOT_HERE),
    ("wlan", NOT_HERE),
    ("geneve", STEPPED_OVER),
    ("pppoes", STEPPED_OVER),
    ("protochain", CHAIN),
    ("gateway", "names are not resolved; `ether host MAC and not host ADDRESS` says the same"),
    ("ifname", "interfaces are chosen with --interface"),
    ("ifindex", "interfaces are chosen with --interface"),
];

/// The number of a protocol, and the IP version that its name implies as a keyword.
pub(super) fn protocol(name: &str) -> Option<(u8, Option<Version>)> {
    PROTOCOLS.iter().find(|(known, ..)| *known == name).map(|(_, number, version)| (*number, *version))
}

/// The port of a service.
pub(super) fn service(name: &str) -> Option<u16> {
    SERVICES.iter().find(|(known, _)| *known == name).map(|(_, port)| *port)
}

/// All services, by name.
pub(super) fn services() -> impl Iterator<Item = (&'static str, u16)> {
    SERVICES.into_iter()
}

/// A named number.
pub(super) fn constant(name: &str) -> Option<u32> {
    CONSTANTS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// Why a word of pcap cannot be said here.
pub(super) fn unsupported(word: &str) -> Option<&'static str> {
    UNSUPPORTED.iter().find(|(known, _)| *known == word).map(|(_, why)| *why)
}

/// A number as C writes it: decimal, `0x` hexadecimal, `0` octal.
pub(super) fn number(text: &str) -> Option<u32> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (&text[1..], 8),
        None => (text, 10),
    };
    // `from_str_radix` would take a sign.
    if digits.starts_with(|c: char| c.is_ascii_alphanumeric()) { u32::from_str_radix(digits, radix).ok() } else { None }
}

/// The octets of a MAC address: two digits each between `:`, `-` or `.` (a single digit will do), three groups of four
/// between `.`, or twelve digits.
pub(super) fn mac(text: &str) -> Option<[u8; 6]> {
    let groups: Vec<&str> = text.split([':', '-', '.']).collect();
    let digits = match groups.len() {
        6 if groups.iter().all(|group| (1..=2).contains(&group.len())) => {
            groups.iter().map(|group| format!("{group:0>2}")).collect()
        }
        3 if groups.iter().all(|group| group.len() == 4) => groups.concat(),
        1 if text.len() == 12 => text.to_owned(),
        _ => return None,
    };
    let mut mac = [0; 6];
    for (octet, place) in mac.iter_mut().zip((0..).step_by(2)) {
        let digits = digits.get(place..place + 2)?;
        *octet = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_c_writes_them() {
        for (text, expected) in [
            ("0", Some(0)),
            ("80", Some(80)),
            ("0x1F", Some(31)),
            ("017", Some(15)),
            ("4294967295", Some(u32::MAX)),
            ("4294967296", None),
            ("08", None),
            ("0x", None),
            ("-1", None),
            ("0x-1", None),
            ("", None),
            ("a", None),
        ] {
            assert_eq!(number(text), expected, "{text}");
        }
    }

    #[test]
    fn mac_addresses_in_every_notation() {
        let expected = Some([2, 0, 0x5e, 0x10, 0xab, 1]);
        for text in ["02:00:5e:10:AB:01", "2:0:5e:10:ab:1", "02-00-5e-10-ab-01", "02.00.5e.10.ab.01"] {
            assert_eq!(mac(text), expected, "{text}");
        }
        assert_eq!(mac("0200.5e10.ab01"), expected);
        assert_eq!(mac("02005e10ab01"), expected);
        for text in ["02:00:5e:10:ab", "02:00:5e:10:ab:01:02", "02:00:5e:10:ab:0g", "02005e10ab0", "::1", "-1-----", ""]
        {
            assert_eq!(mac(text), None, "{text}");
        }
    }
}
