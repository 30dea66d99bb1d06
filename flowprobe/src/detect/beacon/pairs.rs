//! Who talks to whom, and when: much of those that meet again and again, little of the others.

use serde::{Deserialize, Serialize};

use super::super::connection::Connection;
use super::super::finding::Severity;
use super::super::flow::{Flow, Ip, protocol};
use super::super::sketch::hash::stable;
use super::super::sketch::recent::Recent;
use super::has_begun;
use super::rhythm::{Beat, burst_gap, joined};

/// Pairs whose exchanges are remembered: at most 1.8 kB each, as a rule 500 B.
const PAIRS: usize = 1 << 16;

/// Pairs that were met once or twice: 33 B each.
const MET: usize = 1 << 19;

/// Exchanges that are remembered of each.
const BEATS: usize = 48;

/// What begins within this time is one burst, milliseconds.
const BURST_MS: u32 = 500;

/// Time in which an attempt over the same port is the same, sent again. The pause doubles each time, to a minute as a rule (RFC 6298).
const RETRANSMITTED_MS: i64 = 130_000;

/// Flows that are shown as evidence.
const EVIDENCE: usize = 8;

/// Who talks to which port of whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Exchange {
    pub(super) client: Ip,
    pub(super) server: Ip,
    pub(super) port: u16,
    pub(super) protocol: u8,
}

impl Exchange {
    pub(super) const fn of(connection: &Connection) -> Self {
        Self {
            client: connection.client,
            server: connection.server,
            port: connection.server_port,
            protocol: connection.protocol,
        }
    }

    /// The same in every process.
    fn digest(&self) -> u64 {
        stable(self)
    }
}

/// The exchanges of two hosts.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Pair {
    exchange: Exchange,
    /// Their times count from here.
    origin_ms: i64,
    /// In the order of their times.
    pub(super) beats: Vec<Beat>,
    burst_ms: u32,
    /// When they were looked at last.
    pub(super) looked_ms: i64,
    is_regular: bool,
    /// Since when they have been regular.
    pub(super) since_ms: i64,
    /// Connections since then.
    pub(super) connections: u64,
    /// How many of these came to nothing.
    pub(super) failed: u64,
    /// Connections of which it was said.
    pub(super) said: u64,
    /// When.
    pub(super) said_ms: i64,
    /// How bad.
    pub(super) said_severity: Option<Severity>,
}

impl Pair {
    const fn new(exchange: Exchange, origin_ms: i64) -> Self {
        Self {
            exchange,
            origin_ms,
            beats: Vec::new(),
            burst_ms: BURST_MS,
            looked_ms: i64::MIN / 2,
            is_regular: false,
            since_ms: origin_ms,
            connections: 0,
            failed: 0,
            said: 0,
            said_ms: i64::MIN / 2,
            said_severity: None,
        }
    }

    fn time(&self, offset: u32) -> i64 {
        self.origin_ms + i64::from(offset)
    }

    /// When the latest began.
    pub(super) fn last_ms(&self) -> i64 {
        self.beats.last().map_or(self.origin_ms, |beat| self.time(beat.tail))
    }

    /// The offset of a time; from a new origin where it does not fit (49 days), or is before the first.
    fn offset(&mut self, at_ms: i64) -> u32 {
        if let Ok(offset) = u32::try_from(at_ms - self.origin_ms) {
            return offset;
        }
        if at_ms > self.origin_ms {
            self.beats.clear();
            self.origin_ms = at_ms;
            return 0;
        }
        let by = u32::try_from(self.origin_ms - at_ms).unwrap_or(u32::MAX);
        self.origin_ms -= i64::from(by);
        for beat in &mut self.beats {
            beat.at = beat.at.saturating_add(by);
            beat.tail = beat.tail.saturating_add(by);
        }
        0
    }

    /// Takes in a connection. Whether it is a beat of its own.
    fn add(&mut self, connection: &Connection, has_failed: bool) -> bool {
        let port = connection.client_port;
        let is_known = |beat: &Beat| beat.port == port && port != 0;
        if !has_begun(connection) && self.beats.iter().any(is_known) {
            // Goes on after a long silence.
            return false;
        }
        let at = self.offset(connection.start_ms);
        let (origin, start_ms) = (self.origin_ms, connection.start_ms);
        let again = |beat: &&mut Beat| {
            is_known(beat) && beat.failed > 0 && start_ms - (origin + i64::from(beat.tail)) <= RETRANSMITTED_MS
        };
        if has_failed && let Some(beat) = self.beats.iter_mut().rev().take(4).find(again) {
            beat.tail = beat.tail.max(at);
            beat.sent = beat.sent.saturating_add(fit(connection.sent.octets));
            return false;
        }
        self.insert(Beat {
            at,
            tail: at,
            sent: fit(connection.sent.octets),
            received: fit(connection.received.octets),
            lasts: seconds(connection.lasts_ms()),
            port,
            packets: packets(connection.sent.packets),
            connections: 1,
            failed: u8::from(has_failed),
        })
    }

    /// Takes in datagrams.
    fn add_flow(&mut self, flow: &Flow) -> bool {
        let at = self.offset(flow.start_ms);
        self.insert(Beat {
            at,
            tail: at,
            sent: fit(flow.octets),
            port: flow.source_port,
            packets: packets(flow.packets),
            connections: 1,
            ..Beat::default()
        })
    }

    /// An exchange of which no more than its time is known. Its sizes become those of the one that follows.
    fn stand_in(&mut self, at_ms: i64) {
        let at = self.offset(at_ms);
        self.insert(Beat { at, tail: at, connections: 1, ..Beat::default() });
    }

    fn insert(&mut self, beat: Beat) -> bool {
        let place = self.beats.partition_point(|other| other.at <= beat.at);
        let near = |other: &Beat| beat.at.abs_diff(other.at).min(beat.at.abs_diff(other.tail)) < self.burst_ms;
        let burst = (place.saturating_sub(1)..=place).find(|place| self.beats.get(*place).is_some_and(near));
        if let Some(burst) = burst {
            let own = &mut self.beats[burst];
            if beat.is_same_as(own) {
                own.received = own.received.max(beat.received);
                return false;
            }
            self.connections += 1;
            self.failed += u64::from(beat.failed);
            own.join(&beat);
            own.at = own.at.min(beat.at);
            return false;
        }
        self.connections += 1;
        self.failed += u64::from(beat.failed);
        if self.beats.len() == 2 {
            for first in self.beats.iter_mut().filter(|first| first.packets == 0) {
                *first = Beat { at: first.at, tail: first.tail, port: 0, ..beat };
            }
        }
        self.beats.insert(place, beat);
        if self.beats.len() > BEATS {
            self.make_room();
        }
        true
    }

    /// Joins bursts if there are any, else forgets the oldest beat.
    fn make_room(&mut self) {
        let gap = burst_gap(&self.beats, 6);
        if gap > self.burst_ms {
            self.burst_ms = gap;
            self.beats = joined(&self.beats, gap);
        }
        if self.beats.len() > BEATS {
            self.beats.remove(0);
        }
    }

    /// Takes in what a connection has come to.
    pub(super) fn amend(&mut self, connection: &Connection) {
        let is_it = |beat: &&mut Beat| beat.port == connection.client_port && beat.connections == 1;
        let at = connection.start_ms - self.origin_ms;
        let own = self.beats.iter_mut().rev().filter(is_it).find(|beat| (i64::from(beat.at) - at).abs() < 1000);
        let Some(beat) = own else { return };
        let is_stream_of_beats = connection.protocol == protocol::UDP && connection.lasts_ms() > 10_000;
        if !is_stream_of_beats {
            beat.sent = fit(connection.sent.octets);
            beat.received = fit(connection.received.octets);
            beat.packets = packets(connection.sent.packets);
            beat.lasts = seconds(connection.lasts_ms());
        }
    }

    /// They were found to be regular.
    pub(super) fn is_regular(&mut self) {
        if !self.is_regular {
            self.is_regular = true;
            self.since_ms = self.beats.first().map_or(self.origin_ms, |beat| self.time(beat.at));
            self.connections = self.beats.iter().map(|beat| u64::from(beat.connections)).sum();
            self.failed = self.beats.iter().map(|beat| u64::from(beat.failed)).sum();
            self.said = 0;
        }
    }

    /// They were found not to be. What is old goes, so that a rhythm that begins now is soon seen.
    pub(super) fn is_irregular(&mut self, least: usize) {
        self.is_regular = false;
        if self.beats.len() >= BEATS {
            self.beats.drain(..BEATS - (least + 4).min(BEATS));
            self.beats.shrink_to_fit();
        }
    }

    pub(super) fn is_in_bursts(&self) -> bool {
        self.connections * 2 > 3 * self.beats.len() as u64
            && self.beats.iter().filter(|beat| beat.connections > 1).count() * 2 > self.beats.len()
    }

    /// Whether all of it goes over one port of the client.
    pub(super) fn has_one_port(&self) -> bool {
        let mut ports = self.beats.iter().map(|beat| beat.port).filter(|port| *port != 0);
        ports.next().is_some_and(|first| ports.all(|port| port == first))
    }

    /// The latest exchanges as flows of the client.
    pub(super) fn evidence(&self, exchange: &Exchange) -> Vec<Flow> {
        let flow = |beat: &Beat| Flow {
            source: exchange.client,
            destination: exchange.server,
            source_port: beat.port,
            destination_port: exchange.port,
            protocol: exchange.protocol,
            packets: beat.packets.into(),
            octets: beat.sent.into(),
            start_ms: self.time(beat.at),
            end_ms: self.time(beat.at.saturating_add(u32::from(beat.lasts) * 1000)),
            ..Flow::default()
        };
        let skipped = self.beats.len().saturating_sub(EVIDENCE);
        self.beats[skipped..].iter().map(flow).collect()
    }
}

impl Beat {
    /// Whether it is the same exchange, told of twice: as a flow and as a conversation.
    const fn is_same_as(&self, other: &Self) -> bool {
        self.port == other.port && self.port != 0
    }
}

fn fit(octets: u64) -> u32 {
    u32::try_from(octets).unwrap_or(u32::MAX)
}

fn packets(count: u64) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

fn seconds(ms: i64) -> u16 {
    u16::try_from(ms / 1000).unwrap_or(if ms < 0 { 0 } else { u16::MAX })
}

/// A pair that has been met once or twice.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Met {
    first_ms: i64,
    last_ms: i64,
    port: u16,
    is_again: bool,
}

/// All pairs, by their digests.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Pairs {
    often: Recent<u64, Pair>,
    met: Recent<u64, Met>,
}

impl Pairs {
    pub(super) fn new() -> Self {
        Self { often: Recent::new(PAIRS), met: Recent::new(MET) }
    }

    /// What is remembered of two hosts.
    pub(super) fn get(&self, exchange: &Exchange) -> Option<&Pair> {
        self.often.get(&exchange.digest()).filter(|pair| pair.exchange == *exchange)
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, exchange: &Exchange) -> Option<&mut Pair> {
        self.often.get_mut(&exchange.digest()).filter(|pair| pair.exchange == *exchange)
    }

    /// Takes in a connection. Whether it is worth a look.
    pub(super) fn note(&mut self, exchange: &Exchange, connection: &Connection, has_failed: bool) -> bool {
        self.remember(exchange, exchange.digest(), connection.start_ms, connection.client_port)
            .is_some_and(|pair| pair.add(connection, has_failed))
    }

    /// Takes in datagrams of a pair that has been met. Whether it is worth a look.
    pub(super) fn touch(&mut self, exchange: &Exchange, flow: &Flow) -> bool {
        let digest = exchange.digest();
        let is_met = self.often.get(&digest).is_some() || self.met.get(&digest).is_some();
        is_met
            && self.remember(exchange, digest, flow.start_ms, flow.source_port).is_some_and(|pair| pair.add_flow(flow))
    }

    /// What is remembered of a pair that is met again; from the third time on, with the times of the first and the second.
    fn remember(&mut self, exchange: &Exchange, digest: u64, at_ms: i64, port: u16) -> Option<&mut Pair> {
        let mut before = None;
        if self.often.get(&digest).is_none() {
            let met = Met { first_ms: at_ms, last_ms: at_ms, port, is_again: false };
            let known = self.met.entry(digest, || met);
            let later_ms = (at_ms - known.last_ms).abs();
            if later_ms < BURST_MS.into()
                || port == known.port && port != 0 && later_ms < RETRANSMITTED_MS && exchange.protocol == protocol::TCP
            {
                return None;
            }
            if !known.is_again {
                *known = Met { first_ms: known.last_ms, is_again: true, ..met };
                return None;
            }
            before = self.met.remove(&digest).map(|met| [met.first_ms, met.last_ms]);
        }
        let first_ms = before.map_or(at_ms, |[first, second]| first.min(second).min(at_ms));
        let pair = self.often.entry(digest, || Pair::new(*exchange, first_ms));
        if pair.exchange != *exchange {
            // Two with the same digest, which does not happen by chance.
            *pair = Pair::new(*exchange, first_ms);
        }
        before.into_iter().flatten().for_each(|time_ms| pair.stand_in(time_ms));
        Some(pair)
    }

    pub(super) fn memory(&self) -> (usize, u64) {
        (self.often.len() + self.met.len(), self.often.forgotten() + self.met.forgotten())
    }
}
