//! The graph answers as the expression does, for random expressions and packets.

use std::net::{Ipv4Addr, Ipv6Addr};

use flowprobe_ebpf::flow::FACT_FRAGMENT;
use flowprobe_ebpf::parse::Packet;
use flowprobe_ebpf::{Address, FlowKey};

use super::evaluate::holds;
use crate::filter::{compile, parser};

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).expect("below a usize")
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

const PRIMITIVES: [&str; 44] = [
    "ip",
    "ip6",
    "tcp",
    "udp",
    "icmp",
    "icmp6",
    "proto 17",
    "ip proto 6",
    "ip6 proto 17",
    "ether proto ip6",
    "host 10.0.0.1",
    "src host 10.0.0.2",
    "net 10.0.0.0/30",
    "src and dst net 10",
    "dst 2001:db8::1",
    "net 2001:db8::/32",
    "net ::/0",
    "ip multicast",
    "ip6 multicast",
    "port 53",
    "tcp port 80",
    "src port 53",
    "src and dst portrange 50-90",
    "udp portrange 0-60",
    "vlan",
    "vlan 5",
    "mpls",
    "mpls 7",
    "mpls 0",
    "ether src 2:0:0:0:0:1",
    "ether host 2:0:0:0:0:2",
    "broadcast",
    "multicast",
    "fragment",
    "inbound",
    "outbound",
    "less 100",
    "len != 100",
    "tcp[tcpflags] & 3 != 2",
    "tcp[13] == 18",
    "icmp[icmptype] != 8",
    "icmp6[icmp6type] >= 128",
    "ip[8] < 64",
    "udp[2:2] & 0xf0 > 0x20",
];

fn expression(random: &mut Random, depth: usize) -> String {
    match if depth == 0 { 0 } else { random.below(5) } {
        0 => random.of(&PRIMITIVES).to_owned(),
        1 => format!("not {}", expression(random, depth - 1)),
        2 => format!("({})", expression(random, depth - 1)),
        3 => format!("{} and {}", expression(random, depth - 1), expression(random, depth - 1)),
        _ => format!("{} or {}", expression(random, depth - 1), expression(random, depth - 1)),
    }
}

fn packet(random: &mut Random) -> (Packet, u64) {
    let v4: [Address; 3] = [[10, 0, 0, 1], [10, 0, 0, 5], [224, 0, 0, 1]].map(|octets| Ipv4Addr::from(octets).into());
    let v6 = ["2001:db8::1", "2001:db9::1", "ff02::1", "::ffff:10.0.0.1"];
    let v6: [Address; 4] = v6.map(|text| text.parse::<Ipv6Addr>().expect("an address").into());
    let is_v4 = random.below(2) == 0;
    let pool: &[Address] = if is_v4 { &v4 } else { &v6 };
    let macs = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2], [1, 0, 0x5e, 0, 0, 1], [255; 6]];
    let key = FlowKey {
        source: random.of(pool),
        destination: random.of(pool),
        ifindex: 1,
        source_port: random.of(&[0, 53, 80, 50_000]),
        destination_port: random.of(&[0, 53, 80, 8 << 8, 128 << 8, 129 << 8 | 1]),
        vlan: random.of(&[0, 0, 5, 6]),
        customer_vlan: random.of(&[0, 0, 5, 6]),
        protocol: random.of(&[1, 6, 17, 58, 132]),
        ip_version: if is_v4 { 4 } else { 6 },
        direction: random.of(&[0, 1]),
        padding: 0,
    };
    let packet = Packet {
        key,
        octets: random.of(&[28, 1500]),
        headers: 42,
        network_offset: 14,
        facts: random.of(&[0, 2, 3, 0x12, 0x112]) | random.of(&[0, FACT_FRAGMENT]),
        mpls_top_label: random.of(&[0, 0, 1, 7 << 4, 7 << 4 | 1]),
        ttl: random.of(&[1, 64, 255]),
        tos: random.of(&[0, 0xb8]),
        ethertype: if is_v4 { 0x0800 } else { 0x86dd },
        source_mac: random.of(&macs),
        destination_mac: random.of(&macs),
        ..Packet::default()
    };
    (packet, random.of(&[60, 100, 1514]))
}

#[test]
fn the_graph_says_what_the_expression_says() {
    let mut random = Random(0x5eed);
    let (mut compared, mut accepted) = (0, 0);
    while compared < 200_000 {
        let text = expression(&mut random, 5);
        let Ok(filter) = compile(&text) else {
            assert!(text.len() > 600, "{text}: {:?}", compile(&text));
            continue;
        };
        let tree = parser::parse(&text).expect("an expression").expect("not empty");
        for _ in 0..50 {
            let (packet, octets) = packet(&mut random);
            let expected = holds(&tree, &packet, octets);
            assert_eq!(filter.accepts(&packet, octets), expected, "{text}\n{packet:#?}");
            compared += 1;
            accepted += usize::from(expected);
        }
    }
    // Neither answer is so rare that nothing was compared.
    assert!((compared / 5..compared * 4 / 5).contains(&accepted), "{accepted} of {compared}");
}
