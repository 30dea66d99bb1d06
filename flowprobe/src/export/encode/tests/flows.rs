//! Flow records of IPFIX and NetFlow v9 come back as they were, and their templates with them.

use super::*;

const REVERSE: u32 = 29_305;

/// What every record says, field by field.
fn compare(format: Format, read: &reader::Read, record: &FlowRecord) {
    let key = &record.key;
    let (source, destination) = if key.ip_version == 4 { (8, 12) } else { (27, 28) };
    if key.ip_version == 4 {
        assert_eq!(read.octets(source), key.source.to_ipv4().octets());
        assert_eq!(read.octets(destination), key.destination.to_ipv4().octets());
    } else {
        assert_eq!(read.octets(source), key.source.to_ipv6().octets());
        assert_eq!(read.octets(destination), key.destination.to_ipv6().octets());
    }
    let numbers: [(u16, u64); 12] = [
        (7, key.source_port.into()),
        (11, key.destination_port.into()),
        (4, key.protocol.into()),
        (5, record.tos.into()),
        (6, u64::from(record.tcp_flags) & 0xff),
        (2, record.packets),
        (1, record.octets),
        (52, record.extremes.ttl_min.into()),
        (26, record.extremes.length_max.into()),
        (10, key.ifindex.into()),
        (58, key.vlan.into()),
        (70, record.mpls_top_label.into()),
    ];
    for (id, number) in numbers {
        assert_eq!(read.number(id), number, "element {id}");
    }
    assert_eq!((read.octets(56), read.octets(80)), (&record.source_mac[..], &record.destination_mac[..]));
    let times = match format {
        Format::Ipfix => (read.number(152), read.number(153)),
        _ => (read.boot_ms + read.number(22), read.boot_ms + read.number(21)),
    };
    assert_eq!(times, (record.start_us / 1000, record.end_us / 1000));
    if format == Format::Ipfix {
        assert_eq!((read.number(352), read.number(136)), (record.layer2_octets, record.end_reason as u64));
    }
}

#[test]
fn records_are_read_back_field_by_field() {
    for format in FORMATS {
        let (records, mut encoder, mut reader) = (mixed(40), encoder(format, 1472), Reader::default());
        for message in &encoder.templates().messages {
            assert_eq!(reader.read(message), []);
        }
        let schema = Schema::of(format, Extras::default(), &Fields::default());
        let messages = pack(&mut encoder, &schema, &records);
        let read: Vec<_> = messages.iter().flat_map(|message| reader.read(&message.octets)).collect();
        assert_eq!((read.len(), messages.len() > 1), (records.len(), true));
        for (read, record) in read.iter().zip(&records) {
            compare(format, read, record);
        }
    }
}

#[test]
fn a_message_knows_what_is_in_it() {
    for format in FORMATS {
        let mut encoder = encoder(format, 1472);
        encoder.keep_source();
        let records = mixed(40);
        let schema = Schema::of(format, Extras::default(), &Fields::default());
        let messages = pack(&mut encoder, &schema, &records);
        let source: Vec<FlowRecord> = messages.iter().flat_map(|message| message.source.records.clone()).collect();
        assert_eq!(source, records);
        let mut weight = Lost::default();
        for message in &messages {
            assert_eq!(message.records as usize, message.source.records.len());
            assert_eq!(message.weight, Lost::of(&message.source.records));
            assert!(Arc::ptr_eq(&message.templates, &encoder.templates()));
            weight += message.weight;
        }
        assert_eq!(weight, Lost::of(&records));
        assert!(encoder.finish(CLOCK).is_none());
    }
}

#[test]
fn a_biflow_is_one_record_with_reverse_elements() {
    let schema = Arc::new(Schema::of(Format::Ipfix, Extras { biflow: true, ..Extras::default() }, &Fields::default()));
    let mut encoder = Encoder::new(Format::Ipfix, Arc::clone(&schema), 9, 1472);
    let mut reader = Reader::default();
    for message in &encoder.templates().messages {
        reader.read(message);
    }
    let halves = [biflow(1, Family::V4), biflow(2, Family::V6), biflow(3, Family::V4)];
    let single = record(4, Family::V4);
    let records: Vec<FlowRecord> = halves.iter().flatten().copied().chain([single]).collect();
    let messages = pack(&mut encoder, &schema, &records);
    assert_eq!(messages.iter().map(|message| message.records).sum::<u32>(), 4);
    let read: Vec<_> = messages.iter().flat_map(|message| reader.read(&message.octets)).collect();
    assert_eq!(read.len(), 4);
    for (read, [forward, reverse]) in read.iter().zip(&halves) {
        compare(Format::Ipfix, read, forward);
        let expected: [(u16, u64); 6] = [
            (152, reverse.start_us / 1000),
            (153, reverse.end_us / 1000),
            (2, reverse.packets),
            (1, reverse.octets),
            (6, reverse.tcp_flags.into()),
            (56, 0x0200_0000_0009),
        ];
        for (id, number) in expected {
            assert_eq!(read.numbers(REVERSE, id), [number], "reverse element {id}");
        }
        assert_eq!(read.number(239), 1);
    }
    compare(Format::Ipfix, &read[3], &single);
    assert!(read[3].numbers(REVERSE, 2).is_empty());
}

#[test]
fn a_half_without_its_other_one_has_no_answers_of_another() {
    let schema = Arc::new(Schema::of(Format::Ipfix, Extras { biflow: true, ..Extras::default() }, &Fields::default()));
    let mut encoder = Encoder::new(Format::Ipfix, Arc::clone(&schema), 9, 1472);
    let mut reader = Reader::default();
    for message in &encoder.templates().messages {
        reader.read(message);
    }
    let [forward, reverse] = biflow(1, Family::V4);
    let messages = pack(&mut encoder, &schema, &[forward, reverse, forward]);
    let read: Vec<_> = messages.iter().flat_map(|message| reader.read(&message.octets)).collect();
    assert_eq!((read[0].numbers(REVERSE, 2), read[1].numbers(REVERSE, 2)), (vec![reverse.packets], vec![0]));
    compare(Format::Ipfix, &read[1], &forward);
}

#[test]
fn a_schema_that_follows_another_has_templates_of_its_own() {
    for format in FORMATS {
        let fields = Fields::default();
        let first = Arc::new(Schema::of(format, Extras::default(), &fields));
        let sampling = SamplingRate::Packets(10.try_into().expect("not 0"));
        let second = Arc::new(first.followed_by(format, Extras { sampling, ..Extras::default() }, &fields));
        let mut encoder = Encoder::new(format, Arc::clone(&first), 1, 1472);
        let mut reader = Reader::default();
        let mut seen = Vec::new();
        for schema in [&first, &second, &first] {
            encoder.set_schema(schema);
            for message in &encoder.templates().messages {
                reader.read(message);
            }
            for message in pack(&mut encoder, schema, &[FlowRecord { sampling, ..record(1, Family::V4) }]) {
                let read = reader.read(&message.octets);
                seen.extend(read.iter().map(|read| (read.template_id, read.numbers(0, 34))));
            }
        }
        assert_eq!(seen, [(256, vec![]), (512, vec![10]), (256, vec![])]);
    }
}

#[test]
fn tunnels_and_repeated_elements_are_told_apart_by_their_order() {
    let schema = Arc::new(Schema::of(Format::Ipfix, extras(), &Fields::Preset(Preset::Full)));
    let mut encoder = Encoder::new(Format::Ipfix, Arc::clone(&schema), 1, 1472);
    let mut reader = Reader::default();
    for message in &encoder.templates().messages {
        reader.read(message);
    }
    let (source, destination) = (Ipv4Addr::new(10, 0, 0, 1).into(), Ipv4Addr::new(10, 0, 0, 2).into());
    let tunnel = Tunnel { kind: 1, ip_version: 4, id: 77, source, destination, ..Tunnel::NONE };
    let inner = FlowRecord { tunnel, sampling: extras().sampling, ..record(1, Family::V4) };
    let messages = pack(&mut encoder, &schema, &[inner]);
    let read = reader.read(&messages[0].octets);
    assert_eq!(read[0].numbers(0, 8), [0x0a00_0001, 0xc000_0201]);
    assert_eq!(read[0].numbers(0, 12), [0x0a00_0002, 0xc633_6402]);
    assert_eq!((read[0].numbers(6876, 891), read[0].numbers(6876, 892)), (vec![1], vec![77]));
    assert_eq!(read[0].numbers(0, 6), [0x11b], "the preset `full` has all flags");
    assert_eq!(read[0].octets(311), 0.1_f64.to_be_bytes());
}
