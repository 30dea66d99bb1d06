//! What encoding costs, beside a copy of the same octets, record by record, into messages with the same headers.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use flowprobe::export::Format;
use flowprobe::export::elements::{Extras, Fields, Schema};
use flowprobe::export::encode::{Clock, Encoder, Pushed};
use flowprobe::export::packed::Packed;
use flowprobe::record::{FlowRecord, conversations};
use serde::Serialize;

use crate::common::{Family, median, thread_time};
use crate::reading;
use crate::records::{BEGIN_US, records};

/// Octets of a message: what Ethernet's MTU leaves for UDP over IPv4.
pub(crate) const MESSAGE: usize = 1_472;

/// Messages that are made before they are looked at and their buffers used again: as many as the daemon sends at once.
const BATCH: usize = 32;

/// The moment of the export.
pub(crate) const CLOCK: Clock = Clock { now_ms: BEGIN_US / 1000 + 120_000, boot_ms: BEGIN_US / 1000 - 1_000_000 };

/// Records of one kind, and how they are said.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) format: Format,
    pub(crate) schema: Arc<Schema>,
    family: Family,
    biflow: bool,
}

/// Elements in an order that has nothing to do with that of the table.
const CHOSEN: [&str; 14] = [
    "octetDeltaCount",
    "destinationTransportPort",
    "flowEndMilliseconds",
    "sourceIPv4Address",
    "sourceIPv6Address",
    "tcpControlBits",
    "protocolIdentifier",
    "flowStartMilliseconds",
    "destinationIPv4Address",
    "destinationIPv6Address",
    "vlanId",
    "packetDeltaCount",
    "sourceTransportPort",
    "ingressInterface",
];

impl Case {
    pub(crate) fn all() -> Result<Vec<Self>> {
        let standard = Fields::default();
        let chosen = Fields::named(&CHOSEN)?;
        let case = |name, format, fields: &Fields, family, biflow| Self {
            name,
            format,
            schema: Arc::new(Schema::of(format, Extras { biflow, ..Extras::default() }, fields)),
            family,
            biflow,
        };
        Ok(vec![
            case("IPFIX, IPv4", Format::Ipfix, &standard, Family::Ipv4, false),
            case("IPFIX, IPv6", Format::Ipfix, &standard, Family::Ipv6, false),
            case("IPFIX, IPv4 biflows", Format::Ipfix, &standard, Family::Ipv4, true),
            case("IPFIX, IPv4, 12 chosen fields", Format::Ipfix, &chosen, Family::Ipv4, false),
            case("NetFlow v9, IPv4", Format::NetFlow9, &standard, Family::Ipv4, false),
            case("NetFlow v5", Format::NetFlow5, &standard, Family::Ipv4, false),
        ])
    }

    pub(crate) fn records(&self, count: usize) -> Vec<FlowRecord> {
        records(count, self.family, self.biflow)
    }

    /// All messages that `records` make.
    pub(crate) fn messages(&self, records: &[FlowRecord]) -> Result<Vec<Packed>> {
        let mut encoder = self.encoder();
        let mut messages = Vec::new();
        for (record, reverse) in conversations(records) {
            while encoder.push(record, reverse, CLOCK) != Pushed::Taken {
                messages.push(encoder.finish(CLOCK).context("an empty message has no room")?);
            }
        }
        messages.extend(encoder.finish(CLOCK));
        Ok(messages)
    }

    fn encoder(&self) -> Encoder {
        Encoder::new(self.format, Arc::clone(&self.schema), 1, MESSAGE)
    }
}

/// What was measured of one case: nanoseconds of CPU time per record.
#[derive(Serialize)]
pub(crate) struct Encoding {
    case: &'static str,
    /// A biflow is one.
    records: usize,
    /// Octets of a record.
    record_length: usize,
    encode: Vec<f64>,
    copy: Vec<f64>,
    /// Of each round: `encode / copy`.
    ratios: Vec<f64>,
}

impl Encoding {
    pub(crate) fn print(&self) {
        let Self { case, records, record_length, encode, copy, ratios } = self;
        let (least, most) =
            ratios.iter().fold((f64::MAX, 0.0_f64), |(least, most), one| (least.min(*one), most.max(*one)));
        println!(
            "{case:<30} {records:>8} {record_length:>7} {:>9.1} {:>9.1} {:>9.1} {least:>6.1}–{most:.1}",
            median(encode),
            median(copy),
            median(ratios),
        );
    }
}

/// Measures a case with so many records, encoding and copying in turns. What both make is compared, octet by octet, with what
/// was made before; and that was read back.
pub(crate) fn measure(case: &Case, count: usize, rounds: u32) -> Result<Encoding> {
    /// Records in one measurement at least, so that the clock is fine enough.
    const LEAST: usize = 1 << 16;
    let records = case.records(count);
    let messages = case.messages(&records)?;
    reading::check(case, &records, &messages).with_context(|| format!("{}: read back", case.name))?;
    let prepared = Prepared::new(case.format, messages)?;
    let passes = LEAST.div_ceil(count);
    let mut measured = Encoding {
        case: case.name,
        records: count,
        record_length: prepared.record_length,
        encode: Vec::new(),
        copy: Vec::new(),
        ratios: Vec::new(),
    };
    let mut encoder = case.encoder();
    let per_record = |took: Duration| took.as_secs_f64() * 1e9 / (count * passes) as f64;
    for _ in 0..rounds {
        let mut took = (Duration::ZERO, Duration::ZERO);
        for _ in 0..passes {
            took.0 += encode(&mut encoder, &records, &prepared)?;
            took.1 += prepared.copy()?;
        }
        let (encode, copy) = (per_record(took.0), per_record(took.1));
        measured.encode.push(encode);
        measured.copy.push(copy);
        measured.ratios.push(encode / copy);
    }
    Ok(measured)
}

/// Encodes `records` and returns the CPU time that it took.
fn encode(encoder: &mut Encoder, records: &[FlowRecord], prepared: &Prepared) -> Result<Duration> {
    let mut took = Duration::ZERO;
    let mut batch: Vec<Packed> = Vec::with_capacity(BATCH);
    let mut rest = conversations(records);
    let mut expected = prepared.messages.iter();
    // One that did not fit into the last message of a batch.
    let mut left = None;
    loop {
        let begin = thread_time();
        for message in batch.drain(..) {
            encoder.recycle(message);
        }
        while batch.len() < BATCH {
            let Some((record, reverse)) = left.take().or_else(|| rest.next()) else {
                batch.extend(encoder.finish(CLOCK));
                break;
            };
            if encoder.push(record, reverse, CLOCK) == Pushed::NoRoom {
                batch.extend(encoder.finish(CLOCK));
                left = Some((record, reverse));
            }
        }
        took += thread_time().saturating_sub(begin);
        if batch.is_empty() {
            ensure!(expected.next().is_none(), "messages are missing");
            return Ok(took);
        }
        for message in &batch {
            ensure!(expected.next().is_some_and(|expected| expected.octets == message.octets), "a message is another");
        }
    }
}

/// What a copy begins and ends with.
struct Prepared {
    messages: Vec<Packed>,
    /// The records of all messages, one after the other.
    octets: Vec<u8>,
    record_length: usize,
    /// Octets before the first record of a message.
    header: usize,
}

impl Prepared {
    fn new(format: Format, messages: Vec<Packed>) -> Result<Self> {
        let header = format.header() + if format == Format::NetFlow5 { 0 } else { 4 };
        let first = messages.first().context("there are no messages")?;
        let record_length = (first.octets.len() - header) / first.records as usize;
        let mut octets = Vec::new();
        for message in &messages {
            octets.extend_from_slice(&message.octets[header..header + message.records as usize * record_length]);
        }
        Ok(Self { messages, octets, record_length, header })
    }

    /// Copies all records into messages and returns the CPU time that it took.
    fn copy(&self) -> Result<Duration> {
        let mut took = Duration::ZERO;
        let mut buffers = vec![vec![0; MESSAGE]; BATCH];
        let record_length = std::hint::black_box(self.record_length);
        let mut records = self.octets.chunks_exact(record_length);
        for batch in self.messages.chunks(BATCH) {
            let begin = thread_time();
            for (message, buffer) in batch.iter().zip(&mut buffers) {
                buffer[..self.header].copy_from_slice(&message.octets[..self.header]);
                let mut at = self.header;
                for record in records.by_ref().take(message.records as usize) {
                    buffer[at..at + record_length].copy_from_slice(record);
                    at += record_length;
                }
            }
            took += thread_time().saturating_sub(begin);
            for (message, buffer) in batch.iter().zip(&buffers) {
                let end = self.header + message.records as usize * record_length;
                ensure!(message.octets[..end] == buffer[..end], "a copy is another");
            }
        }
        ensure!(records.next().is_none(), "records are left");
        Ok(took)
    }
}
