//! NetFlow v5.

use netflow_parser::{NetflowPacket, NetflowParser};

use super::*;
use flowprobe_ebpf::Route;

fn fixed(sampling: SamplingRate, capacity: usize) -> Encoder {
    let schema = Schema::of(Format::NetFlow5, Extras { sampling, ..Extras::default() }, &Fields::default());
    Encoder::new(Format::NetFlow5, Arc::new(schema), 0x0102_0304, capacity)
}

fn push_all(encoder: &mut Encoder, records: &[FlowRecord]) -> Vec<Packed> {
    let schema = Schema::of(Format::NetFlow5, Extras::default(), &Fields::default());
    pack(encoder, &schema, records)
}

fn read(message: &Packed) -> netflow_parser::static_versions::v5::V5 {
    let mut result = NetflowParser::default().parse_bytes(&message.octets);
    assert!(result.error.is_none(), "{:?}", result.error);
    assert_eq!(result.packets.len(), 1);
    let Some(NetflowPacket::V5(packet)) = result.packets.pop() else { unreachable!("it is of version 5") };
    packet
}

#[test]
fn records_are_read_back_field_by_field() {
    let next_hop = Ipv4Addr::new(203, 0, 113, 254);
    let route = Some(Route { next_hop: next_hop.into(), ifindex: 70_000, ip_version: 4 });
    let records: Vec<FlowRecord> = (1..=40)
        .map(|number| FlowRecord { route, octets: u64::from(number) * 1000, ..record(number, Family::V4) })
        .collect();
    let messages = push_all(&mut fixed(SamplingRate::All, 1472), &records);
    let mut read_back = Vec::new();
    for message in &messages {
        let packet = read(message);
        let header = packet.header;
        assert_eq!((header.count as usize, header.count.into()), (packet.flowsets.len(), message.records));
        assert_eq!((header.engine_type, header.engine_id, header.sampling_interval), (3, 4, 0));
        assert!(header.unix_nsecs.is_multiple_of(1_000_000));
        let now_ms = u64::from(header.unix_secs) * 1000 + u64::from(header.unix_nsecs) / 1_000_000;
        assert_eq!(now_ms, CLOCK.now_ms);
        let boot_ms = now_ms - u64::from(header.sys_up_time);
        read_back.extend(packet.flowsets.into_iter().map(|flow| (flow, boot_ms)));
    }
    assert_eq!(messages.iter().map(|message| message.records).collect::<Vec<_>>(), [30, 10]);
    assert_eq!(read_back.len(), records.len());
    for ((flow, boot_ms), record) in read_back.iter().zip(&records) {
        let key = &record.key;
        assert_eq!((flow.src_addr, flow.dst_addr), (key.source.to_ipv4(), key.destination.to_ipv4()));
        // The index on the other side does not fit into 16 bits.
        assert_eq!((flow.next_hop, flow.input, flow.output), (next_hop, 7, 0));
        assert_eq!((u64::from(flow.d_pkts), u64::from(flow.d_octets)), (record.packets, record.octets));
        let times = (boot_ms + u64::from(flow.first), boot_ms + u64::from(flow.last));
        assert_eq!(times, (record.start_us / 1000, record.end_us / 1000));
        assert_eq!((flow.src_port, flow.dst_port), (key.source_port, key.destination_port));
        assert_eq!((flow.tcp_flags, flow.protocol_number, flow.tos), (0x1b, key.protocol, record.tos));
        assert_eq!((flow.pad1, flow.pad2, flow.src_as, flow.dst_as, flow.src_mask, flow.dst_mask), (0, 0, 0, 0, 0, 0));
    }
}

#[test]
fn messages_have_as_many_records_as_there_is_room_for_and_thirty_at_most() {
    for (capacity, most) in [(0, 1), (512, 10), (1463, 29), (1464, 30), (1472, 30), (65_535, 30)] {
        let records: Vec<FlowRecord> = (1..=61).map(|number| record(number, Family::V4)).collect();
        let records: Vec<FlowRecord> = records.into_iter().map(|one| FlowRecord { octets: 9, ..one }).collect();
        let messages = push_all(&mut fixed(SamplingRate::All, capacity), &records);
        let (_, full) = messages.split_last().expect("there are messages");
        for message in full {
            assert_eq!((message.records, message.octets.len()), (most, 24 + 48 * most as usize));
        }
        assert_eq!(messages.iter().map(|message| message.records).sum::<u32>(), 61);
    }
}

#[test]
fn counts_over_32_bits_are_told_in_pieces_that_add_up() {
    const MOST: u64 = u32::MAX as u64;
    let whole = [(3, 156), (7, MOST), (7, MOST + 1), (1 << 40, 1 << 46), (MOST + 5, 12), (1, 5 * MOST + 3), (0, 0)];
    for (packets, octets) in whole {
        let record = FlowRecord { packets, octets, layer2_octets: octets + 3, ..record(1, Family::V4) };
        let pieces: Vec<FlowRecord> = netflow5_pieces(&record).collect();
        let needed = packets.div_ceil(MOST).max(octets.div_ceil(MOST)).max(1);
        assert_eq!(pieces.len() as u64, needed);
        let sum = |of: fn(&FlowRecord) -> u64| pieces.iter().map(of).sum::<u64>();
        assert_eq!((sum(|piece| piece.packets), sum(|piece| piece.octets)), (packets, octets));
        assert_eq!(sum(|piece| piece.layer2_octets), record.layer2_octets);
        for piece in &pieces {
            assert!(piece.packets <= MOST && piece.octets <= MOST);
            assert_eq!((piece.key, piece.start_us, piece.end_us), (record.key, record.start_us, record.end_us));
        }
        if pieces.len() < 100 {
            let read: Vec<_> = push_all(&mut fixed(SamplingRate::All, 1472), &pieces).iter().map(read).collect();
            let flows = || read.iter().flat_map(|packet| &packet.flowsets);
            assert_eq!(flows().map(|flow| u64::from(flow.d_octets)).sum::<u64>(), octets);
            assert_eq!(flows().map(|flow| u64::from(flow.d_pkts)).sum::<u64>(), packets);
        }
    }
}

#[test]
fn ipv6_and_options_cannot_be_said() {
    let mut encoder = fixed(SamplingRate::All, 1472);
    assert_eq!(encoder.push(&record(1, Family::V6), None, CLOCK), Pushed::Unsayable);
    assert!(encoder.finish(CLOCK).is_none());
    assert!(encoder.templates().messages.is_empty());
    assert_eq!(crate::export::options::all(Format::NetFlow5).count(), 0);
}

#[test]
fn the_header_says_how_packets_are_sampled() {
    for (interval, expected) in [(2, 0x8002), (16_383, 0xbfff), (1_000_000, 0xbfff)] {
        let sampling = SamplingRate::Packets(interval.try_into().expect("not 0"));
        let mut encoder = fixed(sampling, 1472);
        let messages = push_all(&mut encoder, &[FlowRecord { octets: 1, ..record(1, Family::V4) }]);
        assert_eq!(read(&messages[0]).header.sampling_interval, expected);
        encoder.set_schema(&Arc::new(Schema::of(Format::NetFlow5, Extras::default(), &Fields::default())));
        let messages = push_all(&mut encoder, &[FlowRecord { octets: 1, ..record(1, Family::V4) }]);
        assert_eq!(read(&messages[0]).header.sampling_interval, 0);
    }
}
