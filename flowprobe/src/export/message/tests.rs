//! Messages read back by netflow_parser, and the rules of RFC 7011 that a reader forgives but a strict collector does not.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use flowprobe_ebpf::{Address, Counter, Direction, FlowKey, InterfaceStats, Tunnel};
use netflow_parser::variable_versions::ipfix::FlowSetBody;
use netflow_parser::{NetflowPacket, NetflowParser};

use super::*;
use crate::accounting::Accounting;
use crate::clock::WallOffset;
use crate::export::elements::{Extras, Family};
use crate::export::statistics::{Facts, Sent};
use crate::losses::{Lost, Noted};
use crate::record::SamplingRate;
use crate::sink::Tick;

fn record(number: u16, family: Family) -> FlowRecord {
    let (source, destination) = match family {
        Family::V4 => (Ipv4Addr::new(192, 0, 2, 1).into(), Ipv4Addr::new(198, 51, 100, 2).into()),
        Family::V6 => {
            let address = |last| Address::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last));
            (address(1), address(2))
        }
    };
    let example = FlowRecord::example();
    FlowRecord {
        key: FlowKey {
            source,
            destination,
            source_port: number,
            vlan: 100,
            ip_version: if family == Family::V4 { 4 } else { 6 },
            ..example.key
        },
        octets: u64::from(number) << 33,
        mpls_top_label: 0x12_3451,
        ..example
    }
}

fn encoder(capacity: usize) -> Encoder {
    Encoder::new(Arc::new(Schema::default()), 1, capacity)
}

/// Octets of a Data Record of an IPv4 flow.
fn v4_length() -> usize {
    Schema::default().layout(&record(1, Family::V4)).record_length
}

/// All messages that `records` make at `capacity`, templates first.
fn encode(records: &[FlowRecord], capacity: usize) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(Arc::new(Schema::default()), 9, capacity);
    let mut messages = Vec::new();
    let mut finish = |encoder: &mut Encoder| {
        if encoder.finish(1_700_000_002).is_some() {
            messages.push(encoder.octets().to_vec());
            encoder.clear();
        }
    };
    let mut next = encoder.push_templates(0);
    while next < encoder.templates() {
        finish(&mut encoder);
        next = encoder.push_templates(next);
    }
    for record in records {
        if !encoder.fits(record) {
            finish(&mut encoder);
        }
        encoder.push(record);
    }
    finish(&mut encoder);
    messages
}

fn word(octets: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(octets[at..at + 4].try_into().expect("four octets"))
}

#[test]
fn netflow_parser_reads_the_records_back() {
    let records: Vec<FlowRecord> =
        (1..=40).map(|number| record(number, if number % 3 == 0 { Family::V6 } else { Family::V4 })).collect();
    let mut parser = NetflowParser::default();
    let mut ports = Vec::new();
    for message in encode(&records, 1472) {
        let result = parser.parse_bytes(&message);
        assert!(result.error.is_none(), "{:?}", result.error);
        for packet in result.packets {
            let NetflowPacket::IPFix(packet) = packet else { unreachable!("version 10 is IPFIX") };
            for set in packet.flowsets {
                if let FlowSetBody::Data(data) = set.body {
                    for fields in data.fields {
                        let text = format!("{fields:?}");
                        let port = records.iter().find(|record| text.contains(&format!("{}", record.octets)));
                        ports.push(port.map(|record| record.key.source_port));
                        assert!(text.contains("MacAddr([2, 0, 0, 0, 0, 1])"), "{text}");
                    }
                }
            }
        }
    }
    assert_eq!(ports.len(), 40);
    assert!(ports.iter().all(Option::is_some));
}

#[test]
fn messages_stay_within_the_capacity_and_sequence_numbers_count_data_records() {
    let records: Vec<FlowRecord> = (1..=1000).map(|number| record(number, Family::V4)).collect();
    let mut sequence = 0;
    for message in encode(&records, 600) {
        assert!(message.len() <= 600);
        assert_eq!(usize::from(u16::from_be_bytes([message[2], message[3]])), message.len());
        assert_eq!((word(&message, 4), word(&message, 8), word(&message, 12)), (1_700_000_002, sequence, 9));
        // The templates of flow records, those of options records.
        let (mut at, mut data) = (MESSAGE_HEADER, message.len() - MESSAGE_HEADER);
        while at < message.len() && word(&message, at) >> 16 < 256 {
            let length = (word(&message, at) & 0xffff) as usize;
            (at, data) = (at + length, data - length);
        }
        let octets = data.saturating_sub(SET_HEADER);
        assert_eq!(octets % v4_length(), 0);
        sequence += u32::try_from(octets / v4_length()).expect("small");
    }
    assert_eq!(sequence, 1000);
}

#[test]
fn a_capacity_too_small_for_the_templates_is_raised() {
    let encoder = encoder(10);
    assert!(encoder.capacity() <= 512 - 28, "{}", encoder.capacity());
    for message in encode(&[record(1, Family::V6), record(2, Family::V4)], 10) {
        assert!(message.len() <= encoder.capacity());
    }
}

#[test]
fn a_message_that_was_not_sent_can_be_packed_again() {
    let mut encoder = encoder(1472);
    encoder.push(&record(1, Family::V4));
    let message = encoder.finish(0).expect("a message");
    encoder.take_back(message);
    encoder.push(&record(1, Family::V4));
    assert!(encoder.finish(0).is_some());
    assert_eq!(word(encoder.octets(), 8), 0);
}

#[test]
fn every_element_has_the_width_of_its_value() {
    let ten = 10.try_into().expect("not zero");
    for sampling in [SamplingRate::All, SamplingRate::Packets(ten), SamplingRate::Flows(ten)] {
        widths_are_right(&Arc::new(Schema::new(Extras { tunnels: true, next_hops: true, sampling })));
    }
}

fn widths_are_right(schema: &Arc<Schema>) {
    for family in [Family::V4, Family::V6] {
        for ip_version in [0, 4, 6] {
            let tunnel = Tunnel { kind: u8::from(ip_version != 0), ip_version, ..Tunnel::NONE };
            let record = FlowRecord { tunnel, ..record(1, family) };
            let mut encoder = Encoder::new(Arc::clone(schema), 1, 1472);
            encoder.push(&record);
            encoder.finish(0).expect("a message");
            let expected = MESSAGE_HEADER + SET_HEADER + schema.layout(&record).record_length;
            assert_eq!(encoder.octets().len(), expected);
        }
    }
}

#[test]
fn templates_that_find_no_room_wait_for_the_next_message() {
    let schema = Schema::new(Extras { tunnels: true, ..Extras::default() });
    let mut encoder = Encoder::new(Arc::new(schema), 1, 512);
    let (mut next, mut messages) = (0, 0);
    while next < encoder.templates() {
        next = encoder.push_templates(next);
        encoder.finish(0).expect("a message");
        assert!(encoder.octets().len() <= 512);
        encoder.clear();
        messages += 1;
    }
    assert_eq!((next, messages > 1), (7, true));
}

#[test]
fn a_schema_that_follows_another_has_templates_of_its_own() {
    let first = Arc::new(Schema::default());
    let sampling = SamplingRate::Packets(10.try_into().expect("not zero"));
    let mut encoder = Encoder::new(Arc::clone(&first), 1, 1472);
    let mut parser = NetflowParser::default();
    let (mut ids, mut sequences) = (Vec::new(), Vec::new());
    for schema in [Arc::clone(&first), Arc::new(first.followed_by(Extras { sampling, ..Extras::default() })), first] {
        if !Arc::ptr_eq(&schema, encoder.schema()) {
            encoder.set_schema(schema);
        }
        encoder.push_templates(0);
        encoder.push(&FlowRecord { sampling, ..record(1, Family::V4) });
        encoder.finish(0).expect("a message");
        sequences.push(word(encoder.octets(), 8));
        let result = parser.parse_bytes(encoder.octets());
        assert!(result.error.is_none(), "{:?}", result.error);
        for packet in result.packets {
            let NetflowPacket::IPFix(packet) = packet else { unreachable!("version 10 is IPFIX") };
            let data = packet.flowsets.iter().filter(|set| matches!(set.body, FlowSetBody::Data(_)));
            ids.extend(data.map(|set| (set.header.header_id, format!("{:?}", set.body).contains("SamplingInterval"))));
        }
        encoder.clear();
    }
    assert_eq!(ids, [(256, false), (512, true), (256, false)]);
    assert_eq!(sequences, [0, 1, 2]);
}

#[test]
fn options_records_are_read_back_and_count_in_the_sequence() {
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
    let tick = Tick {
        now_ns: 0,
        offset: WallOffset::between(Duration::ZERO, 0),
        accounting: vec![accounting("eth0", Direction::Ingress), accounting(&"x".repeat(300), Direction::Egress)],
        ignored: Noted { total: counter, first_ms: 11, last_ms: 12 },
        open_flows: 0,
        drain: Duration::ZERO,
        lost: Vec::new(),
        selection: "".into(),
        last: true,
    };
    let sent = Sent { messages: 4, records: 5, octets: 6 };
    let not_sent = Noted { total: Lost { records: 1, packets: 2, octets: 3 }, first_ms: 8, last_ms: 9 };
    let mut encoder = encoder(512);
    let mut messages = Vec::new();
    let mut finish = |encoder: &mut Encoder| {
        if encoder.finish(0).is_some() {
            assert!(encoder.octets().len() <= 512);
            messages.push(encoder.octets().to_vec());
            encoder.clear();
        }
    };
    let mut next = 0;
    while next < encoder.templates() {
        next = encoder.push_templates(next);
        finish(&mut encoder);
    }
    for (template, facts) in Facts::new(&tick, 1, 99, sent, not_sent).records(&tick) {
        if !encoder.fits_options(template, &facts) {
            finish(&mut encoder);
        }
        encoder.push_options(template, &facts);
    }
    finish(&mut encoder);

    let (mut parser, mut records) = (NetflowParser::default(), Vec::new());
    for message in &messages {
        assert_eq!(word(message, 8) as usize, records.len());
        let result = parser.parse_bytes(message);
        assert!(result.error.is_none(), "{:?}", result.error);
        for packet in result.packets {
            let NetflowPacket::IPFix(packet) = packet else { unreachable!("version 10 is IPFIX") };
            for set in packet.flowsets {
                if let FlowSetBody::OptionsData(data) = set.body {
                    records.extend(data.fields.into_iter().map(|fields| (set.header.header_id, format!("{fields:?}"))));
                }
            }
        }
    }
    let count = |template: u16| records.iter().filter(|(id, _)| *id == template).count();
    assert_eq!([768, 769, 770, 771, 772].map(count), [1, 1, 1, 7, 7]);
    let reliability = &records[2].1;
    for part in ["(NotSentFlowTotalCount), ", "(NotSentOctetTotalCount), ", "(ExportingProcessId), "] {
        assert!(reliability.contains(part), "{reliability}");
    }
    for (position, (name, counter)) in tick.accounting[0].terms().into_iter().enumerate() {
        let record = &records[3 + position].1;
        assert!(record.contains("\"eth0\"") && record.contains(&format!("\"{name}\"")), "{record}");
        assert!(record.contains(&format!("{})", counter.packets)), "{record}");
    }
}
