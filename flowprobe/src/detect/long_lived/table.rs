//! Pairs of addresses and ports that are talking, in a table that costs one look into memory for each flow.

use serde::{Deserialize, Serialize, Serializer};

use super::super::flow::{Flow, Ip, flag, protocol};

/// Places in a set: a key may be in any of them.
const WAYS: usize = 4;

/// Sets: with 48 B for each place, 12.6 MB.
const SETS: usize = 1 << 16;

/// A repeated SYN within this time opens nothing new, seconds.
const OPENING_S: u32 = 130;

/// Who began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Who {
    /// Not seen.
    #[default]
    Unknown,
    /// The host inside.
    Inside,
    /// The one outside.
    Outside,
}

/// A connection, or an unbroken run of records of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    /// By the inside host, octets.
    pub(super) sent: u64,
    /// By the outside host.
    pub(super) received: u64,
    /// By the inside host.
    pub(super) packets: u32,
    /// Seconds since 1970 UTC, to 2106.
    first: u32,
    last: u32,
    /// How long it had lasted when it was said, seconds.
    said: u32,
    who: Who,
    /// Whether it was counted among those of its server.
    pub(super) is_counted: bool,
}

impl Line {
    pub(super) fn lasts_ms(&self) -> i64 {
        i64::from(self.last.saturating_sub(self.first)) * 1000
    }

    pub(super) fn said_ms(&self) -> i64 {
        i64::from(self.said) * 1000
    }

    pub(super) fn first_ms(&self) -> i64 {
        i64::from(self.first) * 1000
    }

    pub(super) fn last_ms(&self) -> i64 {
        i64::from(self.last) * 1000
    }

    pub(super) const fn who(&self) -> Who {
        self.who
    }

    pub(super) const fn is_said(&mut self) {
        self.said = self.last.saturating_sub(self.first);
    }

    fn new(flow: &Flow) -> Self {
        Self { first: seconds(flow.start_ms), last: seconds(flow.end_ms), ..Self::default() }
    }

    /// Takes in what one of the two has sent.
    fn add(&mut self, flow: &Flow, is_sent: bool, pause_ms: i64) {
        let (start, end) = (seconds(flow.start_ms), seconds(flow.end_ms));
        let is_new = flow.opens && start > self.first.saturating_add(OPENING_S);
        if is_new || i64::from(start.saturating_sub(self.last)) * 1000 > pause_ms {
            *self = Self::new(flow);
        }
        self.first = self.first.min(start);
        self.last = self.last.max(end);
        if is_sent {
            self.sent = self.sent.saturating_add(flow.octets);
            self.packets = self.packets.saturating_add(u32::try_from(flow.packets).unwrap_or(u32::MAX));
        } else {
            self.received = self.received.saturating_add(flow.octets);
        }
        let has_syn = flow.protocol == protocol::TCP && flow.tcp_flags & flag::SYN != 0;
        if flow.opens || has_syn && flow.tcp_flags & flag::ACK == 0 {
            self.who = if is_sent { Who::Inside } else { Who::Outside };
        } else if flow.accepts() {
            self.who = if is_sent { Who::Outside } else { Who::Inside };
        }
    }
}

/// The connections that are going on. In a full set the youngest gives way, so that what has lasted stays.
#[derive(Debug, Default, Deserialize)]
#[serde(from = "Vec<(u64, Line)>")]
pub(super) struct Table {
    /// Set after set, 0 where there is none; nothing before the first flow. Apart from the lines, so that a set is in one cache line.
    keys: Vec<u64>,
    lines: Vec<Line>,
    forgotten: u64,
}

impl From<Vec<(u64, Line)>> for Table {
    fn from(kept: Vec<(u64, Line)>) -> Self {
        let mut table = Self::default();
        table.reserve();
        for (key, line) in kept {
            let set = set(key);
            if let Some(free) = (set..set + WAYS).find(|place| table.keys[*place] == 0) {
                table.keys[free] = key;
                table.lines[free] = line;
            }
        }
        table
    }
}

impl Serialize for Table {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.keys.iter().zip(&self.lines).filter(|(key, _)| **key != 0))
    }
}

impl Table {
    fn reserve(&mut self) {
        self.keys = vec![0; WAYS * SETS];
        self.lines = vec![Line::default(); WAYS * SETS];
    }

    /// Takes in a flow between the inside and the outside. None where it is an outside host's that nobody has answered.
    pub(super) fn take(&mut self, flow: &Flow, is_sent: bool, pause_ms: i64) -> Option<&mut Line> {
        if self.keys.is_empty() {
            self.reserve();
        }
        let key = key(flow, is_sent);
        let set = set(key);
        let place = match self.keys[set..set + WAYS].iter().position(|other| *other == key) {
            Some(way) => set + way,
            // What scanners send does not fill the table.
            None if !is_sent && flow.is_attempt() => return None,
            None => {
                let place = self.free(set, flow, pause_ms)?;
                self.keys[place] = key;
                self.lines[place] = Line::new(flow);
                place
            }
        };
        let line = &mut self.lines[place];
        line.add(flow, is_sent, pause_ms);
        Some(line)
    }

    /// A place of a set that is free or over, else that of the youngest.
    fn free(&mut self, set: usize, flow: &Flow, pause_ms: i64) -> Option<usize> {
        let now = seconds(flow.end_ms);
        let mut places = set..set + WAYS;
        let is_over = |line: &Line| i64::from(now.saturating_sub(line.last)) * 1000 > pause_ms;
        if let Some(place) = places.clone().find(|place| self.keys[*place] == 0 || is_over(&self.lines[*place])) {
            return Some(place);
        }
        self.forgotten += 1;
        let youngest = places.next()?;
        Some(places.fold(
            youngest,
            |one, other| if self.lines[other].lasts_ms() < self.lines[one].lasts_ms() { other } else { one },
        ))
    }

    /// Lines in use, and how many gave way.
    pub(super) fn memory(&self) -> (usize, u64) {
        (self.keys.iter().filter(|key| **key != 0).count(), self.forgotten)
    }
}

fn set(key: u64) -> usize {
    usize::try_from(key >> 48).unwrap_or(0) % SETS * WAYS
}

fn seconds(ms: i64) -> u32 {
    u32::try_from(ms / 1000).unwrap_or(0)
}

/// The same for both directions, never 0. Two that share it, by chance one in 2⁴⁸ of those in the table, count as one.
fn key(flow: &Flow, is_sent: bool) -> u64 {
    let (source, destination) = ((flow.source, flow.source_port), (flow.destination, flow.destination_port));
    let (inside, outside) = if is_sent { (source, destination) } else { (destination, source) };
    let ports = u64::from(inside.1) << 32 | u64::from(outside.1) << 8 | u64::from(flow.protocol);
    let [a, b] = halves(inside.0);
    let [c, d] = halves(outside.0);
    let mut state = 0x9e37_79b9_7f4a_7c15;
    for word in [a, b, c, d, ports] {
        state = fold(state ^ word, 0xd6e8_feb8_6659_fd93) ^ word.rotate_left(32);
    }
    fold(state, 0xa076_1d64_78bd_642f) | 1
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves of a number")]
const fn halves(ip: Ip) -> [u64; 2] {
    [(ip.0 >> 64) as u64, ip.0 as u64]
}

/// Both halves of the product, mixed.
#[expect(clippy::cast_possible_truncation, reason = "the two halves of a number")]
const fn fold(one: u64, other: u64) -> u64 {
    let product = one as u128 * other as u128;
    (product >> 64) as u64 ^ product as u64
}
