//! Options records, and the times of NetFlow v9.

use std::time::Duration;

use flowprobe_ebpf::{Counter, Direction, InterfaceStats};

use super::*;
use crate::accounting::Accounting;
use crate::clock::WallOffset;
use crate::export::elements::ELEMENTS;
use crate::export::options::{Facts, Interface, Sent};
use crate::losses::Noted;
use crate::sink::Tick;

pub(super) const SENT: Sent = Sent { messages: 4, records: 5, octets: 6 };
pub(super) const NOT_SENT: Noted<Lost> =
    Noted { total: Lost { records: 1, packets: 2, octets: 3 }, first_ms: 8, last_ms: 9 };

pub(super) fn tick() -> Tick {
    let counter = Counter { packets: 7, octets: 700 };
    let accounting = |interface: &str, direction| Accounting {
        interface: interface.into(),
        ifindex: 3,
        direction,
        kernel: InterfaceStats { seen: counter, ..InterfaceStats::default() },
        exported: counter,
        overflow_destinations: Vec::new(),
        held: Counter::default(),
    };
    Tick {
        now_ns: 0,
        offset: WallOffset::between(Duration::ZERO, 0),
        accounting: vec![accounting("eth0", Direction::Ingress), accounting(&"x".repeat(300), Direction::Egress)],
        ignored: Noted { total: counter, first_ms: 11, last_ms: 12 },
        open_flows: 0,
        opened_flows: 0,
        drain: Duration::ZERO,
        drains: Default::default(),
        sinks: Vec::new(),
        listening: Default::default(),
        selection: "".into(),
        last: true,
    }
}

/// All options records of a session, as a collector reads them at this capacity.
fn round_trip(format: Format, capacity: usize) -> Vec<reader::Read> {
    let tick = tick();
    let interfaces = [
        Interface { index: 3, name: "eth0", description: "uplink" },
        Interface { index: 4, name: "eth1", description: "" },
    ];
    let schema = Arc::new(Schema::of(format, extras(), &Fields::default()));
    let mut encoder = Encoder::new(format, Arc::clone(&schema), 1, capacity);
    let mut reader = Reader::default();
    for message in &encoder.templates().messages {
        reader.read(message);
    }
    let mut messages = Vec::new();
    for (template, facts) in Facts::new(&tick, 1, 99, SENT, NOT_SENT).records(format, &schema, &tick, &interfaces) {
        if encoder.push_options(template, &facts) == Pushed::NoRoom {
            messages.extend(encoder.finish(CLOCK));
            assert_eq!(encoder.push_options(template, &facts), Pushed::Taken);
        }
    }
    messages.extend(encoder.finish(CLOCK));
    let mut records = Vec::new();
    for message in messages {
        assert!(message.octets.len() <= capacity);
        assert_eq!(message.weight, Lost::default());
        let read = reader.read(&message.octets);
        assert_eq!(read.len(), message.records as usize);
        records.extend(read);
    }
    records
}

#[test]
fn those_of_ipfix_are_read_back() {
    for capacity in [700, 1472, 65_535] {
        let records = round_trip(Format::Ipfix, capacity);
        let of = |template: u16| records.iter().filter(|read| read.template_id == template).collect::<Vec<_>>();
        let enterprises = ELEMENTS.iter().filter(|element| element.enterprise == 6876);
        let counts = [768, 769, 770, 771, 772, 773, 774, 775].map(|template| of(template).len());
        assert_eq!(counts, [1, 1, 1, 7, 7, 2, 1, enterprises.clone().count()]);
        let statistics = of(768)[0];
        assert_eq!([149, 143, 41, 42, 40].map(|id| statistics.number(id)), [1, 99, 4, 5, 6]);
        assert_eq!([164, 165].map(|id| of(769)[0].number(id)), [7, 700]);
        assert_eq!(of(769)[0].numbers(0, 323), [11, 12]);
        assert_eq!([144, 166, 167, 168].map(|id| of(770)[0].number(id)), [99, 1, 2, 3]);
        assert_eq!(of(770)[0].numbers(0, 323), [8, 9]);
        for (record, (name, counter)) in of(771).iter().zip(tick().accounting[0].terms()) {
            assert_eq!((record.octets(82), record.octets(335)), (&b"eth0"[..], name.as_bytes()));
            assert_eq!([10, 61, 86, 353].map(|id| record.number(id)), [3, 0, counter.packets, counter.octets]);
        }
        // Of a text that is too long, the end.
        assert_eq!((of(772)[0].octets(82), of(772)[0].number(61)), (&[b'x'; 200][..], 1));
        // Texts of a fixed length are filled up with zeros.
        let padded = |text: &str| [text.as_bytes(), &[0; 64][text.len()..]].concat();
        assert_eq!((of(773)[0].octets(83), of(773)[0].octets(82)), (&padded("uplink")[..], &padded("eth0")[..]));
        assert_eq!((of(773)[1].octets(83), of(773)[1].octets(82)), (&padded("")[..], &padded("eth1")[..]));
        assert_eq!([302, 304, 305, 306].map(|id| of(774)[0].number(id)), [1, 4, 1, 9]);
        assert_eq!(of(774)[0].octets(311), 0.1_f64.to_be_bytes());
        for (record, element) in of(775).iter().zip(enterprises) {
            assert_eq!([346, 303].map(|id| record.number(id)), [6876, u64::from(element.id)]);
            assert_eq!((record.octets(341), record.octets(340)), (element.name.as_bytes(), element.about.as_bytes()));
        }
    }
}

#[test]
fn those_of_netflow9_are_read_back() {
    let records = round_trip(Format::NetFlow9, 512);
    let ids: Vec<u16> = records.iter().map(|read| read.template_id).collect();
    assert_eq!(ids, [768, 768, 769, 770]);
    let padded = |text: &str, length: usize| {
        let mut octets = text.as_bytes().to_vec();
        octets.resize(length, 0);
        octets
    };
    // The scope type Interface, then what is said.
    assert_eq!((records[0].number(2), records[1].number(2)), (3, 4));
    assert_eq!((records[0].octets(82), records[0].octets(83)), (&padded("eth0", 32)[..], &padded("uplink", 64)[..]));
    assert_eq!([1, 34, 35].map(|id| records[2].number(id)), [1, 10, 2]);
    assert_eq!([1, 40, 41, 42].map(|id| records[3].number(id)), [1, 6, 4, 5]);
    // A message without flows has the time of now.
    assert_eq!(records[0].boot_ms, CLOCK.boot_ms);
}

#[test]
fn options_and_flows_share_messages() {
    for format in FORMATS {
        let schema = Arc::new(Schema::of(format, Extras::default(), &Fields::default()));
        let mut encoder = Encoder::new(format, Arc::clone(&schema), 1, 1472);
        let mut reader = Reader::default();
        for message in &encoder.templates().messages {
            reader.read(message);
        }
        let tick = tick();
        let facts = Facts::new(&tick, 1, 99, SENT, NOT_SENT);
        let (template, facts) = facts.records(format, &schema, &tick, &[]).pop().expect("there are such");
        encoder.push(&record(1, Family::V4), None, CLOCK);
        assert_eq!(encoder.push_options(template, &facts), Pushed::Taken);
        encoder.push(&record(2, Family::V4), None, CLOCK);
        let message = encoder.finish(CLOCK).expect("a message");
        assert_eq!((message.records, message.weight.records), (3, 2));
        let ids: Vec<u16> = reader.read(&message.octets).iter().map(|read| read.template_id).collect();
        assert_eq!(ids, [256, template.template_id, 256]);
    }
}

#[test]
fn netflow9_counts_uptimes_from_anew_where_they_would_wrap() {
    const DAY_MS: u64 = 86_400_000;
    let format = Format::NetFlow9;
    let clock = Clock { now_ms: 1_700_000_002_345, boot_ms: 1_700_000_002_345 - 400 * DAY_MS };
    let schema = Arc::new(Schema::of(format, Extras::default(), &Fields::default()));
    let mut encoder = Encoder::new(format, schema, 1, 65_535);
    let mut reader = Reader::default();
    for message in &encoder.templates().messages {
        reader.read(message);
    }
    // Before the boot too: a capture of another day.
    let days = [0, 1, 30, 24, 49, 50, 399, 400, 401, 2000];
    let mut messages = Vec::new();
    let records = days.map(|day| {
        let start_us = (clock.now_ms - day * DAY_MS) * 1000 - 5_000_123;
        FlowRecord { start_us, end_us: start_us + 1_234_567, ..record(1, Family::V4) }
    });
    for record in &records {
        if encoder.push(record, None, clock) == Pushed::NoRoom {
            messages.extend(encoder.finish(clock));
            assert_eq!(encoder.push(record, None, clock), Pushed::Taken);
        }
    }
    messages.extend(encoder.finish(clock));
    assert!(messages.len() > 2 && messages.len() < days.len());
    let read: Vec<_> = messages.iter().flat_map(|message| reader.read(&message.octets)).collect();
    assert_eq!(read.len(), records.len());
    for (read, record) in read.iter().zip(&records) {
        let times = (read.boot_ms + read.number(22), read.boot_ms + read.number(21));
        assert_eq!(times, (record.start_us / 1000, record.end_us / 1000));
    }
}
