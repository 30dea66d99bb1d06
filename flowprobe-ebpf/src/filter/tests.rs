//! Each field, each kind of comparison, and jumps, those that no compiler makes included.

use core::net::{Ipv4Addr, Ipv6Addr};

use super::*;
use crate::flow::FACT_FRAGMENT;
use crate::tunnel::Tunnel;

const ALL: u32 = u32::MAX;
const EVERY_BIT: Address = Address([ALL; 4]);

fn packet() -> Packet {
    let key = FlowKey {
        source: Ipv4Addr::new(192, 0, 2, 1).into(),
        destination: Ipv4Addr::new(198, 51, 100, 2).into(),
        ifindex: 3,
        source_port: 49_153,
        destination_port: 443,
        vlan: 100,
        customer_vlan: 200,
        protocol: protocol::TCP,
        ip_version: 4,
        direction: Direction::Egress as u8,
        padding: 0,
    };
    Packet {
        tunnels: 0,
        tunnel: Tunnel::NONE,
        key,
        octets: 1500,
        headers: 54,
        network_offset: 14,
        facts: 0x12 | FACT_FRAGMENT,
        mpls_top_label: 1024 << 4 | 1,
        ttl: 64,
        tos: 0xb8,
        ethertype: 0x0800,
        source_mac: [2, 0, 0, 0, 0, 1],
        destination_mac: [0xff; 6],
    }
}

fn of(tests: &[FilterTest]) -> Filter {
    let mut filter = Filter::default();
    filter.tests[..tests.len()].copy_from_slice(tests);
    filter.length = u32::try_from(tests.len()).expect("few tests");
    filter
}

fn matches(test: FilterTest, packet: &Packet) -> bool {
    of(&[test]).accepts(packet, 1514)
}

#[test]
fn zeroes_accept_everything() {
    assert!(Filter::default().accepts(&packet(), 1514));
    assert!(Filter::default().accepts(&Packet::default(), 0));
}

#[test]
fn every_number_is_compared_with_its_own_field() {
    let packet = packet();
    for (field, value) in [
        (Field::SOURCE_PORT, 49_153),
        (Field::DESTINATION_PORT, 443),
        (Field::ICMP_TYPE_CODE, 443),
        (Field::PROTOCOL, 6),
        (Field::VLAN, 100),
        (Field::CUSTOMER_VLAN, 200),
        (Field::MPLS_TOP_LABEL, 1024 << 4 | 1),
        (Field::LAYER2_OCTETS, 1514),
        (Field::IP_OCTETS, 1500),
        (Field::TOS, 0xb8),
        (Field::TTL, 64),
        (Field::FACTS, 0x1_0012),
        (Field::ETHERTYPE, 0x0800),
        (Field::DIRECTION, 1),
    ] {
        for (low, high, expected) in [
            (value, value, true),
            (0, ALL, true),
            (0, value - 1, false),
            (value + 1, ALL, false),
            (value + 1, value, false),
        ] {
            assert_eq!(matches(FilterTest::range(field, ALL, low, high), &packet), expected, "{field:?} {low} {high}");
        }
    }
    assert!(matches(FilterTest::range(Field::FACTS, 0x02, 2, 2), &packet));
    assert!(!matches(FilterTest::range(Field::FACTS, 0x05, 1, 5), &packet));
    assert!(of(&[FilterTest::range(Field::LAYER2_OCTETS, ALL, ALL, ALL)]).accepts(&packet, u64::MAX));
}

#[test]
fn addresses_are_compared_under_a_mask() {
    let packet = packet();
    let net: Address = Ipv4Addr::new(192, 0, 2, 0).into();
    let mask = Address([ALL, ALL, ALL, 0xffff_ff00_u32.to_be()]);
    assert!(matches(FilterTest::address(Field::SOURCE_ADDRESS, net, mask), &packet));
    assert!(!matches(FilterTest::address(Field::DESTINATION_ADDRESS, net, mask), &packet));
    assert!(!matches(FilterTest::address(Field::SOURCE_ADDRESS, net, EVERY_BIT), &packet));
    // Every word counts.
    let mut six = packet;
    six.key.source = Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 3, 4, 5, 6).into();
    assert!(matches(FilterTest::address(Field::SOURCE_ADDRESS, six.key.source, EVERY_BIT), &six));
    for word in 0..4 {
        let mut other = six.key.source;
        other.0[word] ^= 1;
        assert!(!matches(FilterTest::address(Field::SOURCE_ADDRESS, other, EVERY_BIT), &six));
    }
}

#[test]
fn mac_addresses_are_compared_under_a_mask() {
    let packet = packet();
    let mac = packet.source_mac;
    assert!(matches(FilterTest::mac(Field::SOURCE_MAC, mac, [0xff; 6]), &packet));
    assert!(!matches(FilterTest::mac(Field::DESTINATION_MAC, mac, [0xff; 6]), &packet));
    assert!(matches(FilterTest::mac(Field::DESTINATION_MAC, [1, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]), &packet));
    for octet in 0..6 {
        let mut other = mac;
        other[octet] ^= 0x40;
        assert!(!matches(FilterTest::mac(Field::SOURCE_MAC, other, [0xff; 6]), &packet));
    }
}

#[test]
fn version_and_protocol_are_conditions_of_any_test() {
    let mut packet = packet();
    for (version, protocol, expected) in
        [(0, 0, true), (4, 0, true), (6, 0, false), (4, 6, true), (4, 17, false), (0, 17, false)]
    {
        assert_eq!(matches(FilterTest::ANY.of(version, protocol), &packet), expected);
    }
    // ICMP's type and code are no port.
    packet.key.protocol = protocol::ICMP;
    assert!(!matches(FilterTest::range(Field::DESTINATION_PORT, ALL, 0, 0xffff), &packet));
    assert!(matches(FilterTest::range(Field::ICMP_TYPE_CODE, ALL, 443, 443).of(4, protocol::ICMP), &packet));
}

#[test]
fn jumps_lead_where_they_say_and_never_in_circles() {
    let jump = |on_match, otherwise, field| FilterTest { on_match, otherwise, field, ..FilterTest::ANY };
    let no = Field::SOURCE_ADDRESS;
    let mut never = jump(ACCEPT, 2, no);
    never.mask = [ALL; 4];
    let filter = of(&[jump(1, REJECT, Field::ANY), never, jump(ACCEPT, REJECT, Field::ANY)]);
    assert!(filter.accepts(&packet(), 64));
    assert_eq!(filter.used().len(), 3);
    assert!(!of(&[jump(REJECT, ACCEPT, Field::ANY)]).accepts(&packet(), 64));
    assert!(!of(&[jump(0, 0, Field::ANY)]).accepts(&packet(), 64));
    // Out of range wraps around: harmless, as the bound holds.
    assert!(!of(&[jump(200, 200, Field::ANY)]).accepts(&packet(), 64));
}
