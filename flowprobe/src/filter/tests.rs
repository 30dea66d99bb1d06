//! The grammar, by expressions that must say the same; every field, by packets; the graph, by its jumps.

mod errors;
mod evaluate;
mod random;

use std::net::{Ipv4Addr, Ipv6Addr};

use flowprobe_ebpf::filter::{ACCEPT, REJECT};
use flowprobe_ebpf::flow::FACT_FRAGMENT;
use flowprobe_ebpf::parse::Packet;
use flowprobe_ebpf::{Direction, FlowKey};

use super::{compile, parser};

const OCTETS: u64 = 1514;

/// 192.0.2.1:49153 → 198.51.100.2:443, an outgoing SYN.
fn tcp() -> Packet {
    let key = FlowKey {
        source: Ipv4Addr::new(192, 0, 2, 1).into(),
        destination: Ipv4Addr::new(198, 51, 100, 2).into(),
        ifindex: 1,
        source_port: 49_153,
        destination_port: 443,
        protocol: 6,
        ip_version: 4,
        direction: Direction::Egress as u8,
        ..FlowKey::default()
    };
    Packet {
        key,
        octets: 1500,
        facts: 0x02,
        ttl: 64,
        tos: 0xb8,
        ethertype: 0x0800,
        source_mac: [2, 0, 0, 0, 0, 1],
        destination_mac: [2, 0, 0, 0, 0, 2],
        ..Packet::default()
    }
}

fn with(protocol: u8, destination_port: u16) -> Packet {
    let mut packet = tcp();
    packet.key = FlowKey { protocol, source_port: 0, destination_port, ..packet.key };
    packet.facts = 0;
    packet
}

fn six() -> Packet {
    let mut packet = with(58, 128 << 8 | 3);
    packet.key.ip_version = 6;
    packet.key.source = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into();
    packet.key.destination = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2).into();
    packet.ethertype = 0x86dd;
    packet
}

#[track_caller]
fn check(packet: &Packet, matching: &[&str], others: &[&str]) {
    for (texts, expected) in [(matching, true), (others, false)] {
        for text in texts {
            let filter = compile(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(filter.accepts(packet, OCTETS), expected, "{text}");
        }
    }
}

#[track_caller]
fn same(one: &str, other: &str) {
    let [one, other] = [one, other].map(|text| parser::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")));
    assert_eq!(one, other);
}

#[test]
fn nothing_accepts_everything() {
    assert_eq!(compile(" ").expect("a filter").length, 0);
}

#[test]
fn and_and_or_bind_alike_and_not_binds_closer() {
    same("tcp or udp and port 53", "(tcp or udp) and port 53");
    same("tcp and udp or icmp and ip", "((tcp and udp) or icmp) and ip");
    same("not tcp and udp", "(not tcp) and udp");
    same("! tcp || udp && ip6", "((not tcp) or udp) and ip6");
    same("not not tcp", "not (not tcp)");
}

#[test]
fn bare_values_take_the_qualifiers_before_them() {
    same("tcp port 80 or 443", "tcp port 80 or tcp port 443");
    same("tcp dst port ftp or ftp-data or domain", "tcp dst port 21 or tcp dst port 20 or tcp dst port 53");
    same("host 10.0.0.1 or 10.0.0.2 and port 80", "host 10.0.0.1 or host 10.0.0.2 and port 80");
    same("not host 10.0.0.1 and 10.0.0.2", "not host 10.0.0.1 and host 10.0.0.2");
    same("src net 10.1 or 10.2 or not 10.3", "src net 10.1 or src net 10.2 or not src net 10.3");
    same("port (80 or 443)", "port 80 or port 443");
    same("port 80 or (443 or 22)", "port 80 or (port 443 or port 22)");
    same("port 80 or (tcp) or 443", "port 80 or tcp or port 443");
    same("proto 6 or 17", r"proto \tcp or \udp");
    same("portrange 1-5 or 7-9", "portrange 1-5 or portrange 9-7");
    same("ether src 2:0:0:0:0:1 or 0200.0000.0002", "ether src host 02:00:00:00:00:01 or ether src 020000000002");
    // Nothing before: an address.
    same("10.0.0.1 or 2001:db8::/32", "host 10.0.0.1 or net 2001:db8::/32");
    same("tcp and 10.0.0.1", "tcp and host 10.0.0.1");
}

#[test]
fn words_that_say_the_same() {
    same("net 10", "net 10.0.0.0/8");
    same("net 10.1", "net 10.1.0.0 mask 255.255.0.0");
    same("net 10.1.2", "src or dst net 10.1.2.0/24");
    same("net 10.0.0.1", "host 10.0.0.1");
    same("10/8", "net 10");
    same("src 10.0.0.1", "src host 10.0.0.1");
    same("dst or src 10.0.0.1", "host 10.0.0.1");
    same("net ::/0", "net ::/0");
    same("ip proto tcp", "ip proto 6");
    same("ip6 proto ipv6-icmp", "icmp6");
    same("icmp", "ip proto 1");
    same("less 0x40", "len <= 64");
    same("greater 64", "len >= 64");
    same("broadcast or multicast", "ether broadcast or ether multicast");
    same("tcp[tcpflags] & (tcp-syn|tcp-ack) = tcp-syn", "tcp[13] & 18 == 2");
    same("(tcp[13] & 2) != 0", "tcp[13:1] & tcp-syn != 0");
    same("((tcp[13]) & 2) != 0", "(tcp[13] & 2 != 0)");
    same("icmp[icmptype] == icmp-echo", "icmp[0] = 8");
    same("icmp6[icmp6type] == icmp6-echo", "icmp6[0:1] == 128");
    same("ether proto \\ip", "ether proto 0x0800");
}

#[test]
fn addresses() {
    check(
        &tcp(),
        &[
            "host 192.0.2.1",
            "dst host 198.51.100.2",
            "src net 192.0.2.0/24",
            "net 198",
            "src or dst net 198.51",
            "src and dst net 0.0.0.0/0",
            "net 192.0.0.0 mask 192.0.0.0",
            "ip host 192.0.2.1",
            "not 192.0.2.2",
        ],
        &[
            "host 192.0.2.2",
            "dst host 192.0.2.1",
            "src and dst net 192.0.2.0/24",
            "net ::/0",
            "::ffff:192.0.2.1",
            "ip multicast",
        ],
    );
    check(
        &six(),
        &["2001:db8::1", "src net 2001:db8::/32", "ip6 dst host ff02::2", "ip6 multicast", "net ::/0", "net 2000::/3"],
        &["dst 2001:db8::1", "2001:db8::2", "src net 2001:db9::/32", "net 0.0.0.0/0", "ip multicast"],
    );
}

#[test]
fn ports_are_asked_of_protocols_that_have_them() {
    check(
        &tcp(),
        &[
            "port 443",
            "tcp port https",
            "dst port 443",
            "portrange 400-500",
            "src portrange 49152-65535",
            "tcp[2:2] = 443",
        ],
        &["port 80", "src port 443", "udp port 443", "src and dst port 443", "sctp[0:2] > 0", "udp[2:2] != 1"],
    );
    for protocol in [6, 17, 33, 132, 136] {
        check(&with(protocol, 53), &["port domain", "port 0", "dst portrange 50-60"], &["src port 53"]);
    }
    check(&with(1, 53), &["not port 53", "icmp[icmpcode] == 53"], &["port 53", "portrange 0-65535", "tcp[2:2] != 0"]);
}

#[test]
fn protocols_and_versions() {
    check(
        &tcp(),
        &["ip", "tcp", "proto 6", "ip proto \\tcp", "ether proto 0x0800", "ip[9] == 6"],
        &["ip6", "udp", "icmp", "ip6 proto 6", "ether proto ip6", "proto 0"],
    );
    check(&six(), &["ip6", "icmp6", "proto 58", "ip6 proto 58"], &["ip", "icmp", "ip proto 58", "tcp"]);
    for (name, number) in [("gre", 47), ("esp", 50), ("ah", 51), ("ospf", 89), ("sctp", 132), ("dccp", 33), ("igmp", 2)]
    {
        check(&with(number, 0), &[name], &["tcp", "icmp"]);
    }
}

#[test]
fn what_stands_before_the_ip_header() {
    let mut packet = tcp();
    check(
        &packet,
        &["not vlan", "not mpls", "ether src 2:0:0:0:0:1"],
        &["vlan", "mpls", "mpls 0", "ether host 2:0:0:0:0:3"],
    );
    packet.key.vlan = 100;
    packet.key.customer_vlan = 200;
    packet.mpls_top_label = 1024 << 4 | 1;
    packet.destination_mac = [1, 0, 0x5e, 0, 0, 1];
    check(
        &packet,
        &["vlan", "vlan 100", "vlan 200", "vlan 200 and vlan 100", "mpls", "mpls 1024", "multicast", "vlan and tcp"],
        &["vlan 300", "mpls 1025", "mpls 0", "broadcast"],
    );
    packet.mpls_top_label = 1;
    packet.destination_mac = [255; 6];
    check(&packet, &["mpls 0", "broadcast", "multicast", "ether dst ff-ff-ff-ff-ff-ff"], &["mpls 1"]);
}

#[test]
fn comparisons() {
    let mut packet = tcp();
    check(
        &packet,
        &[
            "len == 1514",
            "greater 1514",
            "less 1514",
            "len != 1513",
            "len > 1513",
            "len < 1515",
            "ip[2:2] >= 1500",
            "ip[8] <= 64",
            "ip[1] & 0xfc == 0xb8",
            "tcp[tcpflags] == tcp-syn",
            "tcp[13] & 0x12 != tcp-ack",
            "outbound",
            "tcp[13] & (tcp-syn|tcp-fin) != 0",
            "tcp[13] < 256",
            "tcp[13] != 256",
        ],
        &[
            "len != 1514",
            "greater 1515",
            "less 1513",
            "len > 4294967295",
            "len < 0",
            "tcp[tcpflags] & tcp-ack != 0",
            "ip6[7] > 0",
            "inbound",
            "icmp[icmptype] != 200",
            "tcp[13] == 258",
            "tcp[13] > 255",
            "fragment",
        ],
    );
    packet.facts = 0x112 | FACT_FRAGMENT;
    check(&packet, &["tcp[13] == 0x12", "fragment", "tcp[tcpflags] == tcp-syn|tcp-ack"], &["tcp[13] == 2"]);
    check(
        &six(),
        &["icmp6[icmp6type] == icmp6-echo", "icmp6[icmp6code] == 3", "ip6[7] == 64"],
        &["icmp[icmptype] == 128", "icmp6[icmp6type] != icmp6-echo", "ip[8] == 64", "tcp[13] & 2 == 0"],
    );
    let echo = with(1, 8 << 8);
    check(
        &echo,
        &["icmp[icmptype] = icmp-echo", "icmp[0] & 8 > 7"],
        &["icmp[icmptype] == icmp-echoreply", "icmp[1] > 0"],
    );
}

#[test]
fn evaluation_stops_at_the_first_test_that_decides() {
    let filter = compile("not (tcp dst port 80 or 443) and ip").expect("a filter");
    let targets: Vec<(u8, u8)> = filter.used().iter().map(|test| (test.on_match, test.otherwise)).collect();
    assert_eq!(targets, [(REJECT, 1), (REJECT, 2), (ACCEPT, REJECT)]);
    let protocols: Vec<u8> = filter.used().iter().map(|test| test.protocol).collect();
    assert_eq!(protocols, [6, 6, 0]);
}

#[test]
fn jumps_lead_forward() {
    let long = ["net 10.0.0.0/8"; 16].join(" and not ");
    for text in [&long, "(tcp or udp) and (port 1 or not (port 2 and host 10.0.0.1)) or icmp"] {
        for (place, test) in compile(text).expect("a filter").used().iter().enumerate() {
            for target in [test.on_match, test.otherwise] {
                assert!(target >= REJECT || usize::from(target) > place, "{text}: {place} → {target}");
            }
        }
    }
}
