//! NetFlow version 5: a header of 24 octets and up to 30 records of 48, IPv4 only.
//!
//! It has no document of a standards body; the layout is the one of Cisco's "NetFlow Export Datagram Format".

use super::super::Format;
use super::super::elements::Schema;
use super::super::packed::Packed;
use super::uptime::{Clock, Uptime};
use super::{Gathered, Pushed, buffer};
use crate::record::{FlowRecord, SamplingRate};
use flowprobe_ebpf::Direction;

const HEADER: usize = 24;
const RECORD: usize = 48;
/// Records of a message at most.
const MOST: usize = 30;

/// In the header's sampling field: the mode is random. The interval has the other 14 bits.
const RANDOM: u16 = 2 << 14;

/// Builds messages of one engine.
#[derive(Debug)]
pub(super) struct NetFlow5 {
    /// Engine type and engine ID.
    engine: u16,
    sampling: u16,
    most: usize,
    message: Vec<u8>,
    records: usize,
    pub(super) gathered: Gathered,
    uptime: Uptime,
    pub(super) spare: Vec<Vec<u8>>,
}

impl NetFlow5 {
    pub(super) fn new(schema: &Schema, domain: u32, capacity: usize) -> Self {
        let mut fixed = Self {
            engine: u16::try_from(domain & 0xffff).unwrap_or(0),
            sampling: 0,
            most: 1,
            message: Vec::new(),
            records: 0,
            gathered: Gathered::default(),
            uptime: Uptime::default(),
            spare: Vec::new(),
        };
        fixed.set_capacity(capacity);
        fixed.set_schema(schema);
        fixed
    }

    pub(super) fn set_capacity(&mut self, capacity: usize) {
        self.most = (capacity.saturating_sub(HEADER) / RECORD).clamp(1, MOST);
    }

    pub(super) fn set_schema(&mut self, schema: &Schema) {
        self.sampling = match schema.extras().sampling {
            SamplingRate::All => 0,
            sampling => RANDOM | u16::try_from(sampling.interval().min(Format::RAREST_OF_NETFLOW5)).unwrap_or(0),
        };
    }

    /// `record` must be one of [`pieces`].
    pub(super) fn push(&mut self, record: &FlowRecord, clock: Clock) -> Pushed {
        if record.key.ip_version != 4 {
            return Pushed::Unsayable;
        }
        let (start_ms, end_ms) = (record.start_us / 1000, record.end_us / 1000);
        if self.message.is_empty() {
            self.uptime = Uptime::begin(clock, start_ms);
            self.message = buffer(&mut self.spare, HEADER + self.most * RECORD, HEADER);
        } else if self.records == self.most || !self.uptime.holds(start_ms, end_ms) {
            return Pushed::NoRoom;
        }
        self.uptime.note(end_ms);
        let start = HEADER + self.records * RECORD;
        write(record, self.uptime, &mut self.message[start..start + RECORD]);
        self.records += 1;
        self.gathered.add(record, None, None);
        Pushed::Taken
    }

    pub(super) fn finish(&mut self, clock: Clock) -> Option<Packed> {
        if self.message.is_empty() {
            return None;
        }
        let mut octets = std::mem::take(&mut self.message);
        let count = std::mem::take(&mut self.records);
        octets.truncate(HEADER + count * RECORD);
        let records = u32::try_from(count).unwrap_or(0);
        let (wall_ms, uptime) = self.uptime.header(clock, 1);
        let seconds = u32::try_from(wall_ms / 1000).unwrap_or(u32::MAX);
        let nanoseconds = u32::try_from(wall_ms % 1000).unwrap_or(0) * 1_000_000;
        octets[0..4].copy_from_slice(&(5 << 16 | records).to_be_bytes());
        octets[4..8].copy_from_slice(&uptime.to_be_bytes());
        octets[8..12].copy_from_slice(&seconds.to_be_bytes());
        octets[12..16].copy_from_slice(&nanoseconds.to_be_bytes());
        octets[20..22].copy_from_slice(&self.engine.to_be_bytes());
        octets[22..24].copy_from_slice(&self.sampling.to_be_bytes());
        let (weight, source) = self.gathered.take();
        Some(Packed { octets, records, weight, templates: std::sync::Arc::default(), source })
    }
}

/// `record` in pieces of which each can be said in 32 bits: one, but where there are more than 4 GiB in it.
pub fn pieces(record: &FlowRecord) -> impl Iterator<Item = FlowRecord> + use<> {
    const MOST: u64 = u32::MAX as u64;
    let record = *record;
    let count = record.octets.div_ceil(MOST).max(record.packets.div_ceil(MOST)).max(1);
    // The first pieces have one more where it does not come out even.
    let share = move |whole: u64, piece: u64| whole / count + u64::from(piece < whole % count);
    (0..count).map(move |piece| FlowRecord {
        packets: share(record.packets, piece),
        octets: share(record.octets, piece),
        layer2_octets: share(record.layer2_octets, piece),
        ..record
    })
}

fn write(record: &FlowRecord, uptime: Uptime, out: &mut [u8]) {
    let mut at = 0;
    let mut put = |octets: &[u8]| {
        out[at..at + octets.len()].copy_from_slice(octets);
        at += octets.len();
    };
    let key = &record.key;
    put(&key.source.to_ipv4().octets());
    put(&key.destination.to_ipv4().octets());
    let next_hop =
        record.route.filter(|route| route.ip_version == 4).map_or([0; 4], |route| route.next_hop.to_ipv4().octets());
    put(&next_hop);
    put(&interface(record, Direction::Ingress).to_be_bytes());
    put(&interface(record, Direction::Egress).to_be_bytes());
    put(&u32::try_from(record.packets).unwrap_or(u32::MAX).to_be_bytes());
    put(&u32::try_from(record.octets).unwrap_or(u32::MAX).to_be_bytes());
    put(&uptime.of(record.start_us / 1000).to_be_bytes());
    put(&uptime.of(record.end_us / 1000).to_be_bytes());
    put(&key.source_port.to_be_bytes());
    put(&key.destination_port.to_be_bytes());
    // A padding octet, the flags without NS, protocol, type of service; autonomous systems, no masks, padding.
    put(&[0, record.tcp_flags.to_be_bytes()[1], key.protocol, record.tos]);
    put(&as_number(record.source_as).to_be_bytes());
    put(&as_number(record.destination_as).to_be_bytes());
    put(&[0; 4]);
}

/// The number of an autonomous system in 16 bits: what has more is AS_TRANS there (RFC 6793 section 9).
fn as_number(number: u32) -> u16 {
    const AS_TRANS: u16 = 23_456;
    u16::try_from(number).unwrap_or(AS_TRANS)
}

/// The index of an interface in 16 bits; 0, unknown, where it does not fit.
fn interface(record: &FlowRecord, direction: Direction) -> u16 {
    u16::try_from(record.interface(direction)).unwrap_or(0)
}
