//! Whole records of kinds of exporters, as octets.

use super::*;
use crate::record::{EndReason, Role, SamplingRate, TCP, UDP};

/// Fields by ID and length, padding as 210.
fn fields(all: &[(u16, u16)]) -> Vec<Field> {
    let element = |&(id, length)| Field::Element(Specifier { enterprise: 0, id, length });
    all.iter().map(element).collect()
}

/// The fields of NetFlow v5.
const NETFLOW5: [(u16, u16); 20] = [
    (8, 4),
    (12, 4),
    (15, 4),
    (10, 2),
    (14, 2),
    (2, 4),
    (1, 4),
    (22, 4),
    (21, 4),
    (7, 2),
    (11, 2),
    (210, 1),
    (6, 1),
    (4, 1),
    (5, 1),
    (16, 2),
    (17, 2),
    (9, 1),
    (13, 1),
    (210, 2),
];

#[rustfmt::skip]
const NETFLOW5_RECORD: [u8; 48] = [
    192, 0, 2, 1,  198, 51, 100, 2,  192, 0, 2, 254,
    0, 3,  0, 4,
    0, 0, 0, 10,  0, 0, 0x3a, 0x98,
    0, 0, 0x27, 0x10,  0, 0, 0x4e, 0x20,
    0xc3, 0x50,  0x01, 0xbb,
    0xff,  0x1b,  6,  0x10,
    0xfc, 0x00,  0x00, 0x2a,  24, 16,
    0xff, 0xff,
];

#[test]
fn netflow5() {
    let template = Template { version: Version::NetFlow5, scope: 0, fields: fields(&NETFLOW5) };
    // Up for a hundred seconds; one of 1,000 is sampled.
    let (boot_us, sampling_v5) = (Some(NOW_US - 100_000_000), Some(0x43e8));
    let mut exporter = Exporter { boot_us, sampling_v5, ..Exporter::default() };
    let read = exporter.with(&Plan::of(&template), &NETFLOW5_RECORD).expect("a whole record");
    let record = read.one();
    assert_eq!((record.key.source_port, record.key.destination_port, record.key.protocol), (50_000, 443, TCP));
    assert_eq!((record.packets, record.octets, record.tos, record.tcp_flags), (10, 15_000, 0x10, 0x1b));
    assert_eq!((record.start_us, record.end_us), (NOW_US - 90_000_000, NOW_US - 80_000_000));
    assert_eq!((record.key.ifindex, record.route.map(|route| (route.ifindex, route.ip_version))), (3, Some((4, 4))));
    assert_eq!((record.sampling.interval(), record.end_reason), (1000, EndReason::Unsaid));
    assert_eq!(record.scaled(), (10_000, 15_000_000));
    assert_eq!((record.source_as, record.destination_as), (0xfc00, 42));
    assert_eq!(read.tail(), [n(9, 1, 24), n(13, 1, 16)]);
}

/// NSEL of an ASA: a flow that was torn down, with its address after translation and the firewall's events.
#[test]
fn firewall_events() {
    let said = [
        n(148, 4, 0x0102_0304),
        o(8, &[192, 168, 14, 1]),
        n(7, 2, 46_000),
        n(10, 2, 3),
        o(12, &[2, 2, 2, 11]),
        n(11, 2, 80),
        n(14, 2, 4),
        n(4, 1, TCP.into()),
        n(176, 1, 0),
        n(177, 1, 0),
        o(225, &[203, 0, 113, 9]),
        o(226, &[2, 2, 2, 11]),
        n(227, 2, 61_000),
        n(228, 2, 80),
        n(233, 1, 2),
        of(9, 234, 2, 2014),
        n(323, 8, 1_700_000_000_000),
        n(152, 8, 1_699_999_990_000),
        n(231, 4, 116),
        n(232, 4, 528),
        n(298, 4, 2),
        n(299, 4, 3),
        of(9, 232, 12, 1),
        of(9, 7232, 65, 0),
    ];
    let read = read(&said);
    let [forward, reverse] = read.0.records[..] else { panic!("{} records", read.0.records.len()) };
    assert_eq!((forward.octets, reverse.octets), (116, 528));
    assert_eq!((forward.role, reverse.role), (Role::Forward, Role::Reverse));
    assert_eq!((reverse.key.source_port, reverse.key.destination_port), (80, 46_000));
    assert_eq!((forward.start_us, forward.end_us), (1_699_999_990_000_000, 1_700_000_000_000_000));
    assert_eq!((reverse.start_us, reverse.end_reason), (forward.start_us, EndReason::EndOfFlow));
    let ids: Vec<_> = read.tail().iter().map(|(field, _)| (field.enterprise, field.id)).collect();
    let iana = [148, 225, 226, 227, 228, 233, 323].map(|id| (0, id));
    assert_eq!(ids, [&iana[..], &[(9, 234), (9, 232), (9, 7232)]].concat());
    assert!(read.tail().contains(&n(227, 2, 61_000)));
}

/// As nProbe does: elements of its own, some of them of variable length.
#[test]
fn elements_of_an_enterprise() {
    const NTOP: u32 = 35_632;
    let said = [
        n(8, 4, 0x0a00_0001),
        n(12, 4, 0x0a00_0002),
        n(4, 1, UDP.into()),
        n(7, 2, 5353),
        n(11, 2, 53),
        n(1, 4, 300),
        n(2, 4, 4),
        of(NTOP, 118, 2, 5),
        v(NTOP, 205, b"example.org"),
        of(NTOP, 123, 4, 777),
        n(130, 4, 0x0a00_00fe),
        v(0, 459, b"GET"),
    ];
    let read = read(&said);
    assert_eq!((read.one().packets, read.one().sampling), (4, SamplingRate::All));
    // The exporter behind the exporter is the one that counts.
    let [.., l7, dns, client, exporter, method] = said;
    assert_eq!(read.tail_of(0), [n(405, 4, 7), exporter, l7, client, dns, method]);
}
