//! Both directions in one record.

use super::*;
use crate::record::{ICMP, Role, TCP};
use flowprobe_ebpf::Direction;
use flowprobe_ebpf::flow::Extremes;

fn conversation() -> Vec<Said> {
    vec![
        o(8, &[192, 0, 2, 1]),
        o(12, &[192, 0, 2, 2]),
        n(7, 2, 50_000),
        n(11, 2, 443),
        n(4, 1, TCP.into()),
        n(10, 4, 1),
        n(14, 4, 2),
        n(152, 8, 1000),
        n(153, 8, 5000),
    ]
}

/// As YAF writes it, with an element of CERT for when the first answer came.
fn yaf(octets: u64, packets: u64) -> Vec<Said> {
    let rest = [
        n(1, 8, 500),
        n(2, 8, 5),
        of(REVERSE, 1, 8, octets),
        of(REVERSE, 2, 8, packets),
        n(6, 2, 0x1b),
        of(REVERSE, 6, 2, if packets == 0 { 0 } else { 0x12 }),
        of(REVERSE, 52, 1, if packets == 0 { 0 } else { 60 }),
        of(REVERSE, 184, 4, 12_345),
        of(6871, 21, 4, 30),
        of(6871, 14, 1, 2),
        n(136, 1, 3),
        n(239, 1, 1),
    ];
    [&conversation()[..], &rest].concat()
}

#[test]
fn the_answers_are_a_record_of_their_own() {
    let read = read(&yaf(900, 9));
    let [forward, reverse] = read.0.records[..] else { panic!("{} records", read.0.records.len()) };
    assert_eq!((forward.role, reverse.role), (Role::Forward, Role::Reverse));
    assert_eq!((forward.octets, forward.packets, forward.tcp_flags), (500, 5, 0x1b));
    assert_eq!((reverse.octets, reverse.packets, reverse.tcp_flags), (900, 9, 0x12));
    assert_eq!((reverse.key.source, reverse.key.destination), (forward.key.destination, forward.key.source));
    assert_eq!((reverse.key.source_port, reverse.key.destination_port), (443, 50_000));
    assert_eq!((reverse.interface(Direction::Ingress), reverse.interface(Direction::Egress)), (2, 1));
    assert_eq!((reverse.start_us, reverse.end_us), (1_030_000, 5_000_000));
    assert_eq!(reverse.extremes, Extremes { length_min: 0, length_max: 0, ttl_min: 60, ttl_max: 60 });
    assert_eq!(reverse.end_reason, forward.end_reason);
    let beyond = [of(REVERSE, 184, 4, 12_345), of(6871, 21, 4, 30), of(6871, 14, 1, 2)];
    assert_eq!(read.tail(), beyond);
    assert_eq!(read.tail_of(1), []);
    assert_eq!(read.0.conversations(), 1);
}

#[test]
fn without_answers_it_is_a_record_alone() {
    let read = read(&yaf(0, 0));
    assert_eq!((read.one().role, read.one().octets), (Role::Single, 500));
    assert!(!read.tail().iter().any(|(field, _)| field.enterprise == REVERSE && field.id != 184));
    // But for what is said about them all the same.
    let mut said = yaf(0, 0);
    said.push(of(REVERSE, 53, 1, 64));
    assert!(super::read(&said).tail().contains(&of(REVERSE, 53, 1, 64)));
}

#[test]
fn answers_have_times_of_their_own_where_they_are_said() {
    let counts = |octets| [of(REVERSE, 1, 8, octets), of(REVERSE, 2, 8, 0)];
    let times = |start, end| [of(REVERSE, 152, 8, start), of(REVERSE, 153, 8, end)];
    let said = |octets, start, end| [&conversation()[..], &counts(octets), &times(start, end)].concat();
    let answered = read(&said(9, 1007, 4999));
    assert_eq!((answered.0.records[1].start_us, answered.0.records[1].end_us), (1_007_000, 4_999_000));
    assert_eq!(answered.tail(), []);
    // Without packets they are those of the other direction, and say nothing.
    assert_eq!(read(&said(0, 1000, 5000)).tail(), []);
    assert_eq!(read(&said(0, 1000, 5001)).tail(), [of(REVERSE, 153, 8, 5001)]);
}

#[test]
fn responders_of_a_firewall_are_answers() {
    let said = [&conversation()[..], &[n(231, 4, 100), n(232, 4, 200), n(298, 4, 1), n(299, 4, 2)]].concat();
    let read = read(&said);
    let counts: Vec<_> = read.0.records.iter().map(|record| (record.octets, record.packets)).collect();
    assert_eq!(counts, [(100, 1), (200, 2)]);
    assert_eq!(read.tail(), []);
}

#[test]
fn answers_of_icmp_keep_type_and_code_unless_they_say_theirs() {
    let said = |more: &[Said]| {
        let common = [n(4, 1, ICMP.into()), n(32, 2, 0x0800), n(1, 8, 84), of(REVERSE, 1, 8, 84)];
        read(&[&conversation()[..2], &common, more].concat()).0.records[1].key.destination_port
    };
    assert_eq!(said(&[]), 0x0800);
    assert_eq!(said(&[of(REVERSE, 32, 2, 0x0100)]), 0x0100);
}
