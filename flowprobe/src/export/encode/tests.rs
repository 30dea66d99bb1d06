//! Messages read back by netflow_parser, and the rules that a reader forgives but a strict collector does not.

mod bounds;
mod fields;
mod flows;
mod netflow5;
mod options;
mod reader;
mod received;

use std::net::{Ipv4Addr, Ipv6Addr};

use flowprobe_ebpf::{Address, FlowKey, Tunnel};

use super::*;
use crate::export::elements::{Extras, Family, Fields, Preset};
use crate::record::{Role, SamplingRate, conversations};
use reader::Reader;

/// Ten days after the boot.
const CLOCK: Clock = Clock { now_ms: 1_700_000_002_345, boot_ms: 1_699_136_000_100 };

const FORMATS: [Format; 2] = [Format::Ipfix, Format::NetFlow9];

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

/// Records of both IP versions in turns.
fn mixed(count: u16) -> Vec<FlowRecord> {
    (1..=count).map(|number| record(number, if number % 3 == 0 { Family::V6 } else { Family::V4 })).collect()
}

/// A conversation in its two halves.
fn biflow(number: u16, family: Family) -> [FlowRecord; 2] {
    let forward = FlowRecord { role: Role::Forward, ..record(number, family) };
    let key = FlowKey {
        source: forward.key.destination,
        destination: forward.key.source,
        source_port: forward.key.destination_port,
        destination_port: forward.key.source_port,
        ..forward.key
    };
    let (start_us, end_us) = (forward.start_us + 5_000_000, forward.end_us + 7_000_000);
    let counts = (u64::from(number) + 77, u64::from(number) + 7777);
    let reverse = FlowRecord {
        key,
        role: Role::Reverse,
        packets: counts.0,
        octets: counts.1,
        start_us,
        end_us,
        tcp_flags: 0x12,
        source_mac: [2, 0, 0, 0, 0, 9],
        ..forward
    };
    [forward, reverse]
}

fn extras() -> Extras {
    let sampling = SamplingRate::Packets(10.try_into().expect("not 0"));
    Extras { tunnels: true, next_hops: true, as_numbers: true, sampling, biflow: true }
}

fn encoder(format: Format, capacity: usize) -> Encoder {
    Encoder::new(format, Arc::new(Schema::of(format, Extras::default(), &Fields::default())), 9, capacity)
}

/// The messages that `records` make, as a lane makes them: biflows are joined where the schema does.
fn pack(encoder: &mut Encoder, schema: &Schema, records: &[FlowRecord]) -> Vec<Packed> {
    let mut messages = Vec::new();
    let mut push = |record, reverse| {
        if encoder.push(record, reverse, CLOCK) == Pushed::NoRoom {
            messages.push(encoder.finish(CLOCK).expect("there is something in it"));
            assert_eq!(encoder.push(record, reverse, CLOCK), Pushed::Taken);
        }
    };
    for (record, reverse) in conversations(records) {
        if schema.joins_biflows() {
            push(record, reverse);
        } else {
            push(record, None);
            reverse.into_iter().for_each(|reverse| push(reverse, None));
        }
    }
    messages.extend(encoder.finish(CLOCK));
    messages
}

fn word(octets: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(octets[at..at + 4].try_into().expect("four octets"))
}

fn half(octets: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(octets[at..at + 2].try_into().expect("two octets"))
}

/// The sets of a message: ID, and what is in them. The lengths in their headers must add up to the message's.
fn sets(format: Format, message: &[u8]) -> Vec<(u16, &[u8])> {
    let (mut sets, mut at) = (Vec::new(), format.header());
    while at < message.len() {
        let end = at + usize::from(half(message, at + 2));
        sets.push((half(message, at), &message[at + 4..end]));
        at = end;
    }
    assert_eq!(at, message.len());
    sets
}
