//! Arbitrary octets as messages of exporters, read and written as JSON and IPFIX: nothing may panic or grow without bound, JSON must be
//! JSON, and what is written as IPFIX must be read again without a fault, record for record.

#![no_main]

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use flowprobe::collect::ReceivedRecords;
use flowprobe::collect::session::{Exporters, Limits, Moment, Peer};
use flowprobe::enrich::{EnrichConfig, Enrichment};
use flowprobe::export::Format;
use flowprobe::export::elements::Schema;
use flowprobe::export::encode::{Clock, Encoder, Pushed};
use flowprobe::export::packed::Packed;
use flowprobe::export::session::{Session, Templates};
use flowprobe::output::{JsonLines, Writer};
use flowprobe::sink::{Event, RecordBatch};
use libfuzzer_sys::fuzz_target;

/// Of nobody is anything known.
static NOTHING_KNOWN: LazyLock<Arc<Enrichment>> = LazyLock::new(|| {
    let config = EnrichConfig { vendors: Some(Vec::new()), ..EnrichConfig::default() };
    Arc::new(Enrichment::open(&config).expect("no file to read"))
});

/// 2023-11-14.
const NOW_US: u64 = 1_700_000_000_000_000;

// An input is messages, each behind two octets of length, of which the upper bits say who sends it and how late it is.
fuzz_target!(|octets: &[u8]| {
    let mut exporters = Exporters::new(limits());
    let started = Instant::now();
    let mut now = Moment { wall_us: NOW_US, monotonic: started };
    let mut rest = octets;
    while let Some(([first, second], behind)) = rest.split_first_chunk() {
        let length = (usize::from(first & 0x07) << 8 | usize::from(*second)).min(behind.len());
        let (message, after) = behind.split_at(length);
        rest = after;
        let peer = Peer {
            address: SocketAddr::new(IpAddr::from([192, 0, 2, 1 + (first >> 7)]), 2055 + u16::from(first >> 6 & 1)),
            connection: (first >> 5 & 1 == 1).then_some(7),
        };
        let passed = Duration::from_millis(u64::from(first >> 3 & 3) * 9_000);
        now = Moment { wall_us: now.wall_us + passed.as_micros() as u64, monotonic: now.monotonic + passed };
        let mut received = ReceivedRecords::default();
        exporters.take(&peer, message, now, &mut received);
        exporters.expire(now, &mut received);
        assert_eq!(received.records.len(), received.beyond.len());
        write(received);
        if message.is_empty() {
            exporters.closed(7);
        }
    }
    let totals = exporters.totals();
    assert!(totals.state_octets <= limits().state_octets_of_all * 2, "{totals:?}");
    assert!(totals.held_octets <= limits().held_octets_of_all, "{totals:?}");
    let _ = exporters.health();
});

fn limits() -> Limits {
    Limits { state_octets: 64 << 10, state_octets_of_all: 128 << 10, held_octets_of_all: 32 << 10, ..Limits::default() }
}

fn write(received: ReceivedRecords) {
    let schema = Arc::new(Schema::default());
    let ReceivedRecords { records, beyond } = received;
    let batch =
        RecordBatch { schema: Arc::clone(&schema), records: records.into(), scraps: false, beyond: Arc::new(beyond) };
    let mut lines = Vec::new();
    JsonLines::enriched(&NOTHING_KNOWN).write(&Event::Records(batch.clone()), &mut lines).expect("memory takes all");
    let conversations = batch.conversations().count();
    let mut printed = 0;
    for line in lines.split(|octet| *octet == b'\n').filter(|line| !line.is_empty()) {
        serde_json::from_slice::<serde_json::Value>(line).expect("a line is JSON");
        printed += 1;
    }
    assert_eq!(printed, conversations);
    for format in [Format::Ipfix, Format::NetFlow9] {
        let mut encoder = Encoder::new(format, Arc::clone(&schema), 1, 16_384);
        let clock = Clock { now_ms: NOW_US / 1000, boot_ms: NOW_US / 1000 - 1_000_000 };
        let (mut messages, mut taken) = (Vec::new(), 0);
        for (record, reverse, said) in batch.conversations() {
            let reverse = reverse.filter(|_| schema.joins_received_biflows());
            loop {
                match encoder.push_any(record, reverse, said, clock) {
                    Pushed::NoRoom => messages.push(encoder.finish(clock).expect("there is something in it")),
                    Pushed::Taken => break taken += 1,
                    Pushed::Unsayable => break,
                }
            }
        }
        messages.extend(encoder.finish(clock));
        if format == Format::Ipfix {
            assert_eq!(read_again(messages), taken);
        }
    }
}

/// How many records are in messages of our own.
fn read_again(messages: Vec<Packed>) -> u64 {
    let mut exporters = Exporters::new(Limits::default());
    let peer = Peer { address: SocketAddr::from(([192, 0, 2, 9], 4739)), connection: Some(1) };
    let now = Moment { wall_us: NOW_US, monotonic: Instant::now() };
    let mut received = ReceivedRecords::default();
    let mut session = Session::new(Format::Ipfix, Templates::Withdrawn);
    for mut message in messages {
        for templates in session.next(&mut message, now.monotonic, 1_700_000_000) {
            exporters.take(&peer, &templates, now, &mut received);
        }
        exporters.take(&peer, &message.octets, now, &mut received);
    }
    let health = exporters.health();
    assert!(
        health.iter().all(|one| one.faults.is_empty() && one.held_sets == 0 && one.dropped_sets == 0),
        "{health:?}"
    );
    health.iter().map(|one| one.records).sum()
}
