//! What of a record goes into the `FlowRecord`.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;
use crate::record::{EndReason, ICMP, ICMPV6, Role, TCP, UDP};
use flowprobe_ebpf::flow::Extremes;
use flowprobe_ebpf::{Direction, Route};

const A: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const B: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
const C: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xc);
const D: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xd);

fn addresses() -> Vec<Said> {
    vec![o(8, &A.octets()), o(12, &B.octets())]
}

/// A flow of this protocol from A to B with these fields.
fn flow(protocol: u8, said: &[Said]) -> Vec<Said> {
    [&addresses()[..], &[n(4, 1, protocol.into())], said].concat()
}

#[test]
fn nearly_all_that_a_switch_says_has_its_place() {
    let said = flow(
        TCP,
        &[
            n(7, 2, 50_000),
            n(11, 2, 443),
            n(1, 8, 1 << 40),
            n(2, 4, 77),
            n(352, 8, 1 << 41),
            n(5, 1, 0xb8),
            n(6, 2, 0x11b),
            n(10, 4, 3),
            n(14, 2, 4),
            o(15, &[10, 0, 0, 1]),
            n(52, 1, 60),
            n(53, 1, 64),
            n(25, 2, 52),
            n(26, 8, 1500),
            n(56, 6, 0x0200_0000_0001),
            n(80, 6, 0x0200_0000_0002),
            n(58, 2, 100),
            n(243, 2, 100),
            n(245, 2, 200),
            o(70, &[0, 0x01, 0x01]),
            n(256, 2, 0x0800),
            n(197, 1, 0x20),
            n(60, 1, 4),
            n(61, 1, 0),
            n(136, 1, 2),
        ],
    );
    let read = read(&said);
    let record = read.one();
    assert_eq!((record.key.source, record.key.destination), (A.into(), B.into()));
    assert_eq!((record.key.source_port, record.key.destination_port), (50_000, 443));
    assert_eq!((record.key.protocol, record.key.ip_version, record.key.vlan), (TCP, 4, 100));
    assert_eq!((record.key.customer_vlan, record.key.direction), (200, Direction::Ingress as u8));
    assert_eq!((record.octets, record.packets, record.layer2_octets), (1 << 40, 77, 1 << 41));
    assert_eq!((record.tos, record.tcp_flags, record.fragmented), (0xb8, 0x11b, true));
    assert_eq!(record.extremes, Extremes { length_min: 52, length_max: 1500, ttl_min: 60, ttl_max: 64 });
    assert_eq!((record.source_mac, record.destination_mac), ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]));
    assert_eq!((record.mpls_top_label, record.ethertype), (0x101, 0x0800));
    assert_eq!((record.end_reason, record.role), (EndReason::ActiveTimeout, Role::Single));
    let route = Route { next_hop: Ipv4Addr::new(10, 0, 0, 1).into(), ifindex: 4, ip_version: 4 };
    assert_eq!((record.key.ifindex, record.route), (3, Some(route)));
    assert_eq!((record.start_us, record.end_us), (NOW_US, NOW_US));
    assert_eq!(read.tail(), []);
}

#[test]
fn what_has_no_place_is_in_the_tail_in_its_order() {
    let said = [
        v(0, 96, b"http"),
        n(128, 4, 64_500),
        of(35_632, 57_590, 2, 7),
        n(210, 2, 0xffff),
        v(0, 236, b""),
        of(0, 147, 0, 0),
        n(148, 8, 99),
        n(57, 6, 0x0200_0000_0009),
    ];
    let [http, asn, enterprise, _, vrf, _, flow_id, mac] = said.clone();
    assert_eq!(read(&flow(TCP, &said)).tail(), [asn, flow_id, mac, enterprise, http, vrf]);
}

#[test]
fn the_version_of_ip_is_said_or_follows_from_the_addresses() {
    let both = |v4: [Ipv4Addr; 2], v6: [Ipv6Addr; 2], version| {
        let [a, b] = v4.map(|address| address.octets());
        let [c, d] = v6.map(|address| address.octets());
        let read = read(&[o(8, &a), o(12, &b), o(27, &c), o(28, &d), n(60, 1, version)]);
        (read.one().key.ip_version, read.one().key.source, read.tail())
    };
    let (no4, no6) = ([Ipv4Addr::UNSPECIFIED; 2], [Ipv6Addr::UNSPECIFIED; 2]);
    assert_eq!(both([A, B], no6, 0), (4, A.into(), vec![]));
    assert_eq!(both(no4, [C, D], 0), (6, C.into(), vec![]));
    assert_eq!(both(no4, no6, 0), (0, Default::default(), vec![]));
    let v6_too = vec![o(27, &C.octets()), o(28, &D.octets())];
    assert_eq!(both([A, B], [C, D], 4), (4, A.into(), v6_too));
    assert_eq!(both([A, B], [C, D], 6), (6, C.into(), addresses()));

    let alone = read(&[o(27, &C.octets()), o(28, &D.octets())]).one();
    assert_eq!((alone.key.ip_version, alone.key.destination, alone.ethertype), (6, D.into(), 0x86dd));
    let neither = read(&[n(60, 1, 6), n(2, 4, 1)]).one();
    assert_eq!((neither.key.ip_version, neither.packets), (6, 1));
    assert_eq!(read(&[n(2, 4, 1)]).one().key.ip_version, 0);
}

#[test]
fn of_repeated_addresses_the_last_are_the_flows() {
    let outer = [o(8, &[10, 0, 0, 1]), o(12, &[10, 0, 0, 2])];
    let read = read(&[&outer[..], &addresses()].concat());
    assert_eq!((read.one().key.source, read.one().key.destination), (A.into(), B.into()));
    assert_eq!(read.tail(), outer);
}

#[test]
fn type_and_code_of_icmp_are_the_destination_port_however_they_come() {
    let port = |protocol, said: &[Said]| {
        let read = read(&flow(protocol, said));
        (read.one().key.destination_port, read.tail())
    };
    let none = vec![];
    assert_eq!(port(ICMP, &[n(7, 2, 0), n(11, 2, 0x0301)]), (0x0301, none.clone()));
    assert_eq!(port(ICMP, &[n(7, 2, 3), n(11, 2, 1)]), (0x0301, none.clone()));
    assert_eq!(port(ICMP, &[n(11, 2, 0), n(32, 2, 0x0800)]), (0x0800, none.clone()));
    assert_eq!(port(ICMP, &[n(11, 2, 0x0303), n(32, 2, 0x0303)]), (0x0303, none.clone()));
    assert_eq!(port(ICMP, &[n(176, 1, 3), n(177, 1, 1)]), (0x0301, none.clone()));
    assert_eq!(port(ICMPV6, &[n(32, 2, 0), n(139, 2, 0x8000)]), (0x8000, none.clone()));
    assert_eq!(port(ICMPV6, &[n(178, 1, 1), n(179, 1, 4)]), (0x0104, none.clone()));
    assert_eq!(port(ICMPV6, &[n(32, 2, 0x8100)]), (0x8100, none.clone()));
    // Both of them, where they say two things.
    assert_eq!(port(ICMP, &[n(11, 2, 9), n(32, 2, 0x0800)]), (0x0800, vec![n(11, 2, 9)]));
    assert_eq!(port(TCP, &[n(11, 2, 443), n(32, 2, 0)]), (443, none));
    assert_eq!(port(TCP, &[n(11, 2, 443), n(32, 2, 5)]), (443, vec![n(32, 2, 5)]));
}

#[test]
fn ports_also_come_by_protocol() {
    let of_udp = [n(180, 2, 5353), n(181, 2, 53), n(182, 2, 0), n(183, 2, 0)];
    let read = read(&flow(UDP, &of_udp));
    assert_eq!((read.one().key.source_port, read.one().key.destination_port), (5353, 53));
    assert_eq!(read.tail(), []);
    let read = super::read(&flow(TCP, &of_udp));
    assert_eq!((read.one().key.source_port, read.one().key.destination_port), (0, 0));
    assert_eq!(read.tail(), of_udp[..2]);
}

#[test]
fn counts_of_other_names_stand_in_and_stay() {
    let counts = |said: &[Said]| {
        let read = read(said);
        (read.one().octets, read.one().packets, read.one().layer2_octets, read.tail())
    };
    let totals = [n(85, 8, 100), n(86, 8, 2), n(353, 8, 128)];
    assert_eq!(counts(&totals), (100, 2, 128, totals.to_vec()));
    let post = [n(23, 4, 90), n(24, 4, 1)];
    assert_eq!(counts(&post), (90, 1, 0, post.to_vec()));
    assert_eq!(counts(&[&[n(1, 4, 80), n(2, 4, 3)], &post[..]].concat()), (80, 3, 0, post.to_vec()));
    assert_eq!(counts(&[n(231, 4, 70), n(298, 4, 4)]), (70, 4, 0, vec![]));
}

#[test]
fn a_value_that_does_not_fit_stays_in_the_tail() {
    let said = [n(7, 4, 70_000), n(26, 8, 100_000), n(136, 1, 9), n(61, 1, 3), o(70, &[0, 1, 1, 64]), n(5, 2, 0x0102)];
    let read = read(&flow(TCP, &said));
    assert_eq!((read.one().key.source_port, read.one().extremes.length_max), (u16::MAX, u16::MAX));
    assert_eq!((read.one().key.direction, read.one().mpls_top_label), (0, 0x101));
    assert_eq!(read.tail(), said);
    let many = o(1, &[1, 0, 0, 0, 0, 0, 0, 0, 0]);
    let read = super::read(&flow(TCP, std::slice::from_ref(&many)));
    assert_eq!((read.one().octets, read.tail()), (u64::MAX, vec![many]));
}

#[test]
fn interfaces_are_by_direction_and_physical_ones_stand_in() {
    let read_as = |said: &[Said]| {
        let record = read(said).one();
        (record.key.ifindex, record.interface(Direction::Ingress), record.interface(Direction::Egress))
    };
    assert_eq!(read_as(&[n(10, 4, 3), n(14, 4, 4), n(61, 1, 0)]), (3, 3, 4));
    assert_eq!(read_as(&[n(10, 4, 3), n(14, 4, 4), n(61, 1, 1)]), (4, 3, 4));
    assert_eq!(read_as(&[n(252, 4, 5), n(14, 4, 0)]), (5, 5, 0));
    assert_eq!(read(&[n(252, 4, 5)]).tail(), [n(252, 4, 5)]);
    assert_eq!(read(&[n(10, 4, 3), n(14, 4, 0)]).one().route, None);
}

#[test]
fn why_a_record_ended_is_what_its_exporter_or_a_firewalls_event_says() {
    let reason = |said: &[Said]| read(&flow(TCP, said)).one().end_reason;
    assert_eq!(reason(&[n(6, 1, 0x1b)]), EndReason::Unsaid);
    assert_eq!(reason(&[n(136, 1, 1)]), EndReason::IdleTimeout);
    assert_eq!(reason(&[n(6, 1, 0x1b), n(136, 1, 5)]), EndReason::LackOfResources);
    assert_eq!(reason(&[n(233, 1, 1)]), EndReason::ActiveTimeout);
    assert_eq!(reason(&[n(233, 1, 2)]), EndReason::EndOfFlow);
}

#[test]
fn flags_are_those_of_tcp() {
    assert_eq!(read(&flow(TCP, &[n(6, 1, 0x12)])).one().tcp_flags, 0x12);
    let read = read(&flow(UDP, &[n(6, 1, 0x10)]));
    assert_eq!((read.one().tcp_flags, read.tail()), (0, vec![n(6, 1, 0x10)]));
}

#[test]
fn a_record_that_ends_too_early_is_refused() {
    let said = flow(TCP, &[v(0, 96, b"http")]);
    let plan = Plan::of(&template(&said));
    let octets = octets(&said);
    for length in 0..octets.len() {
        assert_eq!(Exporter::default().with(&plan, &octets[..length]).err(), Some(ShortRecord { octets: length }));
    }
    let long = [&[255, 0, 4], &b"http"[..]].concat();
    let said = flow(TCP, &[(Specifier { enterprise: 0, id: 96, length: VARIABLE_LENGTH }, long)]);
    assert_eq!(read(&said).tail(), [v(0, 96, b"http")]);
}

#[test]
fn a_record_says_what_its_template_has() {
    let own = |said: &[Said]| read(said).0.beyond.get(0).expect("one").0.own;
    let has = |said: &[Said]| [1, 2, 4, 5, 61].map(|id| own(said).has(0, id));
    assert_eq!(has(&[n(225, 4, 7), n(230, 1, 1)]), [false; 5]);
    assert_eq!(has(&[n(1, 4, 0), n(2, 4, 0), n(4, 1, 0), n(5, 1, 0), n(61, 1, 0)]), [true; 5]);
    // Whatever else stands for a count is one.
    assert_eq!(has(&[n(231, 4, 0), n(86, 4, 0)]), [true, true, false, false, false]);
    let own = own(&[n(231, 4, 1), n(232, 4, 0)]);
    assert_eq!([1, 2, 5, 52].map(|id| own.has(REVERSE, id)), [true, false, false, false]);
    assert!(own.has(0, 8), "what is said only where it says something");
}
