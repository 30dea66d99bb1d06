//! What detectors are fed with: what drains bring of our own flows, and the records of others.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use flowprobe_ebpf::Direction;
use flowprobe_ebpf::flow::{Extremes, FACT_FRAGMENT, FACT_INITIATOR};
use hashbrown::HashMap;

use super::super::flow::{Flow, Ip, Mac, flag};
use crate::clock::WallOffset;
use crate::collect::Said;
use crate::record::{FlowDelta, FlowRecord, SamplingRate, TCP, tcp_flags};
use crate::store::flows::address_bits;

/// Interfaces that have a number and a name; beyond that they are all the last.
const INTERFACES: usize = 65_536;

/// Interfaces of this machine and of exporters under numbers of their own.
#[derive(Clone, Debug, Default)]
pub struct Interfaces {
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    numbers: HashMap<(Option<IpAddr>, u32), u32>,
    /// By number.
    names: Vec<String>,
    /// An index may be another after a restart, a name is not.
    by_name: HashMap<String, u32>,
}

impl Interfaces {
    /// The number of an interface: of this machine, or of this exporter.
    fn number(&self, exporter: Option<IpAddr>, index: u32, name: impl FnOnce() -> String) -> u32 {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Known { numbers, names, by_name } = &mut *known;
        if let Some(number) = numbers.get(&(exporter, index)) {
            return *number;
        }
        let next = u32::try_from(names.len().min(INTERFACES - 1)).unwrap_or(0);
        if numbers.len() >= INTERFACES {
            return next;
        }
        let name = name();
        let number = *by_name.entry(name.clone()).or_insert(next);
        if number as usize == names.len() {
            names.push(name);
        }
        numbers.insert((exporter, index), number);
        number
    }

    /// The names, by number, to be kept.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).names.clone()
    }

    /// Gives these names the numbers that they had.
    pub fn go_on_with(&self, names: Vec<String>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.by_name = names.iter().cloned().zip(0..).collect();
        known.names = names;
    }

    /// All of them: number, exporter where it is not of this machine, and name.
    #[must_use]
    pub fn all(&self) -> Vec<(u32, Option<IpAddr>, String)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let one = |((exporter, _), number): (&(Option<IpAddr>, u32), &u32)| {
            Some((*number, *exporter, known.names.get(*number as usize)?.clone()))
        };
        known.numbers.iter().filter_map(one).collect()
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self, number: u32) -> Option<String> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.names.get(number as usize).cloned()
    }
}

/// An exporter's clock may be so much ahead of ours, since the last tick.
const AHEAD_MS: i64 = 60_000;

/// A flow of which the clock is wrong has lasted no longer.
const LONGEST_MS: i64 = 86_400_000;

/// Turns deltas and records into flows.
#[derive(Debug)]
pub struct Feed {
    sampling: SamplingRate,
    offset: WallOffset,
    /// The last tick, milliseconds since 1970 UTC; 0 before the first.
    now_ms: i64,
    ahead: u64,
    interfaces: Interfaces,
    /// Addresses of this machine. What others send was counted when it came in.
    own: Vec<Ip>,
    /// What an interface with this index is called, where flows are metered.
    name: fn(u32) -> Option<String>,
    /// The last interface that was asked for: flows come in bursts of the same one.
    last: Option<((Option<IpAddr>, u32), u32)>,
}

impl Feed {
    /// One for flows that are sampled so, metered at a machine with these addresses and interfaces of these names.
    #[must_use]
    pub fn new(sampling: SamplingRate, offset: WallOffset, own: Vec<Ip>, name: fn(u32) -> Option<String>) -> Self {
        Self { sampling, offset, now_ms: 0, ahead: 0, interfaces: Interfaces::default(), own, name, last: None }
    }

    /// The interfaces that were met so far, and those to come.
    #[must_use]
    pub fn interfaces(&self) -> Interfaces {
        self.interfaces.clone()
    }

    /// So far apart the clocks are, and so late it is on the monotonic one. Returns the time by the wall clock, milliseconds since 1970 UTC.
    /// A wall clock that is set back is not followed, so that time goes on for detectors.
    pub fn tick(&mut self, offset: WallOffset, now_ns: u64) -> i64 {
        self.offset = self.offset.max(offset);
        self.now_ms = i64::try_from(self.offset.to_wall_ms(now_ns)).unwrap_or(i64::MAX);
        self.now_ms
    }

    /// Records whose exporter's clock was ahead, so that they were taken to have ended just now.
    #[must_use]
    pub const fn ahead(&self) -> u64 {
        self.ahead
    }

    /// What a drain brought of a flow; `None` for what only passes through this machine and goes out, which was counted before.
    pub fn of_delta(&mut self, delta: &FlowDelta) -> Option<Flow> {
        let (key, value) = (&delta.key, &delta.value);
        let source = Ip(address_bits(key.source, key.ip_version));
        if key.direction == Direction::Egress as u8 && !self.own.contains(&source) {
            return None;
        }
        let ms = |ns| i64::try_from(self.offset.to_wall_ms(ns)).unwrap_or(i64::MAX);
        let (start_ms, end_ms) = (ms(value.first_ns), ms(value.last_ns));
        let interval = u64::from(self.sampling.interval());
        let name = self.name;
        let interface =
            self.interface(None, key.ifindex, || name(key.ifindex).unwrap_or_else(|| key.ifindex.to_string()));
        Some(Flow {
            source,
            destination: Ip(address_bits(key.destination, key.ip_version)),
            source_port: key.source_port,
            destination_port: key.destination_port,
            protocol: key.protocol,
            tcp_flags: tcp_flags(value.facts),
            opens: value.facts & FACT_INITIATOR != 0,
            is_fragmented: value.facts & FACT_FRAGMENT != 0,
            packets: value.packets.saturating_mul(interval),
            octets: value.octets.saturating_mul(interval),
            start_ms,
            end_ms,
            length: lengths(Extremes::unpack(value.extremes)),
            source_mac: Mac(value.source_mac),
            destination_mac: Mac(value.destination_mac),
            vlan: key.vlan,
            interface,
        })
    }

    /// A record that was received. `None` where it counted nothing, as events of firewalls do.
    pub fn of_record(&mut self, record: &FlowRecord, said: Option<Said<'_>>) -> Option<Flow> {
        let key = &record.key;
        let (packets, octets) = record.scaled();
        if packets == 0 && octets == 0 {
            return None;
        }
        let exporter = said.map(|(received, _)| received.origin.address);
        let interface = self.interface(exporter, key.ifindex, || {
            let name = said.and_then(|(received, _)| received.ingress_name.as_deref().map(str::to_owned));
            let name = name.unwrap_or_else(|| key.ifindex.to_string());
            // Of a file it is not known who has sent it.
            let exporter = exporter.filter(|exporter| !exporter.is_unspecified());
            exporter.map_or_else(|| name.clone(), |exporter| format!("{exporter} {name}"))
        });
        let ms = |us: u64| i64::try_from(us / 1000).unwrap_or(i64::MAX);
        let (mut start_ms, mut end_ms) = (ms(record.start_us), ms(record.end_us));
        if self.now_ms > 0 && end_ms > self.now_ms + AHEAD_MS {
            self.ahead += 1;
            (start_ms, end_ms) = (self.now_ms - (end_ms - start_ms).clamp(0, LONGEST_MS), self.now_ms);
        }
        Some(Flow {
            source: Ip(address_bits(key.source, key.ip_version)),
            destination: Ip(address_bits(key.destination, key.ip_version)),
            source_port: key.source_port,
            destination_port: key.destination_port,
            protocol: key.protocol,
            tcp_flags: record.tcp_flags,
            opens: key.protocol == TCP && record.tcp_flags & (flag::SYN | flag::ACK) == flag::SYN,
            is_fragmented: record.fragmented,
            packets,
            octets,
            start_ms,
            end_ms,
            length: lengths(record.extremes),
            source_mac: Mac(record.source_mac),
            destination_mac: Mac(record.destination_mac),
            vlan: key.vlan,
            interface,
        })
    }

    fn interface(&mut self, exporter: Option<IpAddr>, index: u32, name: impl FnOnce() -> String) -> u32 {
        match self.last {
            Some((key, number)) if key == (exporter, index) => number,
            _ => {
                let number = self.interfaces.number(exporter, index, name);
                self.last = Some(((exporter, index), number));
                number
            }
        }
    }
}

/// Both are 0 where they are not known.
const fn lengths(extremes: Extremes) -> (u16, u16) {
    (extremes.length_min, extremes.length_max)
}
