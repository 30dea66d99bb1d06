//! What comes to a host, by rate and by source: what detectors of floods share.

use std::hash::Hash;

use super::flow::{Flow, Ip};
use super::sketch::distinct::Distinct;
use super::sketch::heavy::{Heavy, Sieve};
use super::sketch::recent::Recent;
use super::sketch::window::{Peak, SLOT_MS, TEN_SECONDS, Window};

/// Hosts that are looked at closely at once, of one table: of 2 kB each, and 2 kB more where there are many sources.
const MOST: usize = 4096;

/// A rate must have been too high for so long before it is said, so that what goes the other way has been heard of as well.
const HELD_MS: i64 = 4500;

/// A thing is said again after this time, or when it has doubled.
const AGAIN_MS: i64 = 60_000;

/// Sources are counted anew after this time.
const PERIOD_MS: i64 = 60_000;

/// A host to which nothing came for so long is forgotten.
const COLD_MS: i64 = 70_000;

/// Flows that are kept as evidence.
const EVIDENCE: usize = 4;

/// A host, and what came to it.
#[derive(Debug, Default)]
pub(crate) struct Victim<const N: usize> {
    /// Counts of the last minute.
    pub(crate) window: Window<N>,
    /// Who sent it, in this period and the one before.
    periods: [Blame; 2],
    /// The first packet of what is said, milliseconds since 1970 UTC.
    pub(crate) first_ms: i64,
    /// The last packet.
    pub(crate) last_ms: i64,
    /// When it was last heard of: records of exporters come long after the packets.
    heard_ms: i64,
    since_ms: i64,
    held_ms: Option<i64>,
    /// Whether anything was counted since the last look.
    is_touched: bool,
    said: Option<Said>,
}

/// Who sends to a host.
#[derive(Debug, Default)]
struct Blame {
    sources: Distinct,
    /// Which of them send most.
    heavy: Heavy<Ip>,
    evidence: Vec<Flow>,
}

#[derive(Clone, Copy, Debug)]
struct Said {
    at_ms: i64,
    score: u64,
}

impl<const N: usize> Victim<N> {
    fn new(flow: &Flow, now_ms: i64) -> Self {
        Self { first_ms: flow.start_ms, last_ms: flow.end_ms, heard_ms: now_ms, since_ms: now_ms, ..Self::default() }
    }

    /// Counts a flow over its time.
    pub(crate) fn count(&mut self, flow: &Flow, counts: [u64; N]) {
        self.window.add(flow.start_ms, flow.end_ms, counts);
        self.is_touched = true;
    }

    /// Remembers a flow to it, of so much weight, as part of what is counted.
    pub(crate) fn blame(&mut self, flow: &Flow, weight: u64) {
        let [now, _] = &mut self.periods;
        now.sources.add(&flow.source);
        now.heavy.add(flow.source, weight);
        if now.evidence.len() < EVIDENCE {
            now.evidence.push(*flow);
        }
        self.last_ms = self.last_ms.max(flow.end_ms);
    }

    /// The period in which more was sent: one that has just begun knows nothing yet.
    fn blamed(&self) -> &Blame {
        let [now, before] = &self.periods;
        if now.heavy.total() >= before.heavy.total() { now } else { before }
    }

    /// Different sources, about.
    pub(crate) fn sources(&self) -> u64 {
        self.blamed().sources.count()
    }

    /// Which of them send most.
    pub(crate) fn heavy(&self) -> &Heavy<Ip> {
        &self.blamed().heavy
    }

    /// Some of the flows; of the main source, if there is one.
    pub(crate) fn evidence(&self) -> Vec<Flow> {
        let (all, by_one) = (&self.blamed().evidence, self.main_source());
        let of_one: Vec<Flow> = all.iter().copied().filter(|flow| by_one == Some(flow.source)).collect();
        if of_one.is_empty() { all.clone() } else { of_one }
    }

    /// About how many sources there are, at least one: exact up to 48, else to two digits, which is what the sketch is good for.
    pub(crate) fn about_sources(&self) -> u64 {
        let count = self.sources().max(1);
        let unit = if count <= 48 { 1 } else { 10_u64.pow(count.ilog10().saturating_sub(1)) };
        (count + unit / 2) / unit * unit
    }

    /// The source of more than half, if there is one.
    pub(crate) fn main_source(&self) -> Option<Ip> {
        self.heavy().most().map(|(source, _)| source)
    }

    /// The largest sources, the first of them first.
    pub(crate) fn main_sources(&self) -> Vec<Ip> {
        self.heavy().largest().into_iter().map(|(source, _)| source).collect()
    }
}

/// Hosts to which much comes. Only those get in that have received a fiftieth of what is too much.
#[derive(Debug)]
pub(crate) struct Victims<K, const N: usize> {
    sieve: Sieve,
    known: Recent<K, Victim<N>>,
    bar: u64,
}

impl<K: Copy + Eq + Hash, const N: usize> Victims<K, N> {
    /// None yet; `bar` is what is too much.
    pub(crate) fn new(bar: u64) -> Self {
        Self { sieve: Sieve::new((bar / 50).max(1)), known: Recent::new(MOST), bar: bar.max(1) }
    }

    /// The victim of a flow, once there is enough to look at.
    pub(crate) fn of(&mut self, key: K, hash: u64, flow: &Flow, weight: u64, now_ms: i64) -> Option<&mut Victim<N>> {
        self.sieve.passes(hash, weight).then(|| {
            let victim = self.known.entry(key, || Victim::new(flow, now_ms));
            victim.heard_ms = now_ms;
            victim
        })
    }

    /// The victim, if it is known already.
    pub(crate) fn known(&mut self, key: &K) -> Option<&mut Victim<N>> {
        if self.known.len() == 0 { None } else { self.known.get_mut(key) }
    }

    /// Says which got too much within ten seconds.
    pub(crate) fn judge(
        &mut self,
        now_ms: i64,
        score: impl Fn(&[u64; N], i64) -> u64,
        say: impl FnMut(&K, &Victim<N>, &Peak<N>) -> bool,
    ) {
        self.judge_within(TEN_SECONDS, now_ms, score, say);
    }

    /// Says which got too much within so many slots, by a measure of their counts and of their end. `say` returns whether it was said.
    pub(crate) fn judge_within(
        &mut self,
        width: usize,
        now_ms: i64,
        score: impl Fn(&[u64; N], i64) -> u64,
        mut say: impl FnMut(&K, &Victim<N>, &Peak<N>) -> bool,
    ) {
        self.sieve.forget_half();
        let bar = self.bar;
        self.known.retain(|key, victim| {
            if !std::mem::take(&mut victim.is_touched) && victim.held_ms.is_none() {
                victim.renew(now_ms);
                return now_ms - victim.heard_ms < COLD_MS;
            }
            let after_ms = victim.said.map_or(i64::MIN / 2, |said| said.at_ms);
            let peak = victim.window.peak(width, after_ms, &score);
            if peak.score < bar {
                victim.held_ms = None;
                victim.renew(now_ms);
                return now_ms - victim.heard_ms < COLD_MS;
            }
            let held = *victim.held_ms.get_or_insert_with(|| {
                victim.first_ms = victim.first_ms.max(peak.end_ms - i64::try_from(width).unwrap_or(0) * SLOT_MS);
                now_ms
            });
            let is_news =
                victim.said.is_none_or(|said| peak.score / 2 >= said.score || now_ms - said.at_ms >= AGAIN_MS);
            if is_news && now_ms - held >= HELD_MS && say(key, victim, &peak) {
                victim.said = Some(Said { at_ms: now_ms, score: peak.score });
            }
            victim.renew(now_ms);
            now_ms - victim.heard_ms < COLD_MS
        });
    }

    /// Entries in memory, and how many were forgotten for room.
    pub(crate) fn memory(&self) -> (usize, u64) {
        (self.known.len(), self.known.forgotten())
    }
}

impl<const N: usize> Victim<N> {
    /// Begins to count sources anew, where that is due.
    fn renew(&mut self, now_ms: i64) {
        if now_ms - self.since_ms < PERIOD_MS {
            return;
        }
        self.since_ms = now_ms;
        self.periods.rotate_right(1);
        self.periods[0] = Blame::default();
        if self.held_ms.is_none() {
            self.first_ms = self.last_ms;
        }
    }
}

/// A number that stands for an address, and something beside it, in a sieve.
#[expect(clippy::cast_possible_truncation, reason = "each half is taken")]
pub(crate) const fn mixed(ip: Ip, beside: u64) -> u64 {
    let [high, low] = [(ip.0 >> 64) as u64, ip.0 as u64];
    (low ^ high.rotate_left(23) ^ beside.rotate_left(41)).wrapping_mul(0xff51_afd7_ed55_8ccd) ^ low >> 31
}

#[cfg(test)]
pub(crate) mod testing {
    //! Flows as they come, and what a detector says to them.

    use std::net::IpAddr;

    use super::super::connection::{Connections, Step};
    use super::super::finding::{Seen, Sighting};
    use super::super::flow::{Flow, Ip, protocol};
    use super::super::site::Site;
    use super::super::{Context, Detector};

    /// When all tests begin: Tuesday, 2 June 2026.
    pub(crate) const BEGIN_MS: i64 = 1_780_358_400_000;

    pub(crate) fn ip(text: &str) -> Ip {
        text.parse::<IpAddr>().expect("an address").into()
    }

    /// One of very many outside addresses.
    pub(crate) fn spoofed(number: u32) -> Ip {
        Ip(0xffff_0000_0000
            | u128::from(0x0800_0000 + number.wrapping_mul(2_654_435_761) % 0x0100_0000 + number / 0x0100_0000))
    }

    /// So many packets of `octets` within a second that begins so long after the beginning.
    pub(crate) fn drain(
        source: Ip,
        destination: Ip,
        ports: (u16, u16),
        of: u8,
        after_ms: i64,
        packets: u64,
        octets: u64,
    ) -> Flow {
        let length = u16::try_from(octets).expect("a length");
        Flow {
            source,
            destination,
            source_port: ports.0,
            destination_port: ports.1,
            protocol: of,
            packets,
            octets: packets * octets,
            start_ms: BEGIN_MS + after_ms,
            end_ms: BEGIN_MS + after_ms + if packets > 1 { 999 } else { 0 },
            length: (length, length),
            ..Flow::default()
        }
    }

    /// The same of UDP.
    pub(crate) fn udp(from: (Ip, u16), to: (Ip, u16), after_ms: i64, packets: u64, octets: u64) -> Flow {
        drain(from.0, to.0, (from.1, to.1), protocol::UDP, after_ms, packets, octets)
    }

    /// What the detector says, and how long after the beginning; flows are in the order in which they are drained.
    pub(crate) fn said(detector: &mut impl Detector, flows: impl IntoIterator<Item = Flow>) -> Vec<(i64, Sighting)> {
        let site = Site::private_and([]);
        let (mut seen, mut out) = (Seen::new(), Vec::new());
        let mut connections = Connections::new(1 << 16);
        let (mut now_ms, mut advanced_ms) = (BEGIN_MS, BEGIN_MS);
        let mut step = |detector: &mut dyn Detector, connections: &mut Connections, now_ms, seen: &mut Seen| {
            let context = Context { site: &site, now_ms };
            connections.advance(now_ms, &mut |connection, step| {
                if let Step::Judged(outcome) = step {
                    detector.judged(connection, outcome, context, seen);
                }
            });
            detector.advance(context, seen);
            out.extend(seen.drain(..).map(|sighting| (now_ms - BEGIN_MS, sighting)));
        };
        for flow in flows {
            now_ms = now_ms.max(flow.end_ms);
            if now_ms - advanced_ms >= 5000 {
                advanced_ms = now_ms;
                step(detector, &mut connections, now_ms, &mut seen);
            }
            let context = Context { site: &site, now_ms };
            detector.flow(&flow, context, &mut seen);
            if flow.protocol == protocol::TCP {
                connections.take(&flow, now_ms, &mut |_, _| ());
            }
        }
        for later in 1..=6 {
            step(detector, &mut connections, now_ms + later * 5000, &mut seen);
        }
        out
    }
}
