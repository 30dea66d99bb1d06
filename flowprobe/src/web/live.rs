//! What goes by at the moment, for whoever looks: totals second by second, and who makes them. Totals are always there, since a drain has
//! them anyway; what is divided takes work for each flow, and is only counted while somebody looks.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::mpsc;

use super::view::{Address, Conversation, Protocol, Series, Service, Sum, View};
use crate::accounting::{Accounting, direction_name};
use crate::sink::{Event, Tick};
use crate::summary::window::{Amount, Bucket, Window};

/// How much of the past the tables can show.
pub(super) const LONGEST_WINDOW: Duration = Duration::from_secs(60);

/// Samples that are kept: of one drain each, five minutes of them where drains are a second apart.
const SAMPLES: usize = 300;

/// So long after somebody has looked flows are still counted.
const ATTENTION: Duration = Duration::from_secs(120);

/// The recent past, shared by the thread that counts and the server.
pub struct Live {
    state: Mutex<State>,
    /// Whether somebody looks: [`crate::sink::Sink::while_watched`].
    watched: Arc<AtomicBool>,
}

struct State {
    window: Window,
    samples: VecDeque<Sample>,
    /// What the last drain left: its moment, what was seen, and what is divided by interface.
    last: Option<Totals>,
    looked: Option<Instant>,
    interfaces: Vec<InterfaceRate>,
    open_flows: u64,
}

/// What one drain brought.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) wall_ms: u64,
    pub(super) seconds: f64,
    pub(super) packets: u64,
    pub(super) octets: u64,
    pub(super) flows: u64,
    pub(super) protocols: Vec<(u8, Amount)>,
}

/// Totals since the start.
#[derive(Clone, Debug)]
struct Totals {
    now_ns: u64,
    opened: u64,
    interfaces: Vec<(Arc<str>, &'static str, Amount)>,
}

impl Totals {
    fn of(tick: &Tick) -> Self {
        let one = |one: &Accounting| {
            let seen = Amount { packets: one.kernel.seen.packets, octets: one.kernel.seen.octets };
            (Arc::clone(&one.interface), direction_name(one.direction), seen)
        };
        let interfaces = tick.accounting.iter().map(one).collect();
        Self { now_ns: tick.now_ns, opened: tick.opened_flows, interfaces }
    }

    /// What was seen by this interface in this direction.
    fn of_interface(&self, name: &str, direction: &str) -> Amount {
        let found = self.interfaces.iter().find(|(one, way, _)| **one == *name && *way == direction);
        found.map_or_else(Amount::default, |(_, _, amount)| *amount)
    }
}

/// How fast an interface is at the moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InterfaceRate {
    /// Its name.
    pub interface: String,
    /// `ingress` or `egress`.
    pub direction: &'static str,
    /// Bits a second, of frames.
    pub bits_per_second: u64,
    /// Packets a second.
    pub packets_per_second: u64,
}

impl Live {
    /// Nothing has gone by yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let state = State {
            window: Window::new(LONGEST_WINDOW).with_destinations(),
            samples: VecDeque::with_capacity(SAMPLES),
            last: None,
            looked: None,
            interfaces: Vec::new(),
            open_flows: 0,
        };
        Arc::new(Self { state: Mutex::new(state), watched: Arc::default() })
    }

    /// Set while somebody looks.
    #[must_use]
    pub fn watched(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.watched)
    }

    /// Takes in what comes on a thread of its own, until the queue ends.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(self: Arc<Self>, mut queue: mpsc::Receiver<Event>) -> io::Result<JoinHandle<()>> {
        thread::Builder::new().name("live".into()).spawn(move || {
            while let Some(event) = queue.blocking_recv() {
                self.take(&event);
            }
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, event: &Event) {
        let mut state = self.lock();
        match event {
            Event::Deltas(deltas) | Event::ReceivedDeltas(deltas) => state.window.add(deltas),
            Event::Tick(tick) => {
                state.tick(tick);
                if state.looked.is_some_and(|looked| looked.elapsed() > ATTENTION) {
                    self.watched.store(false, Ordering::Relaxed);
                    state.looked = None;
                    state.window.clear();
                }
            }
            Event::Records(_) | Event::Datagrams(_) => {}
        }
    }

    /// How fast each interface is at the moment.
    #[must_use]
    pub fn interfaces(&self) -> Vec<InterfaceRate> {
        self.lock().interfaces.clone()
    }

    /// The recent past: tables of so many rows about so much of it. From now on flows are counted.
    #[must_use]
    pub fn view(&self, rows: usize, span: Duration) -> View {
        let mut state = self.lock();
        state.looked = Some(Instant::now());
        self.watched.store(true, Ordering::Relaxed);
        state.view(rows, span)
    }
}

/// So much in so long, as a rate.
fn per_second(amount: u64, seconds: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "neither is negative, and a rate that large is no rate"
    )]
    let rate = if seconds > 0.0 { (amount as f64 / seconds).round() as u64 } else { 0 };
    rate
}

impl State {
    fn tick(&mut self, tick: &Tick) {
        let totals = Totals::of(tick);
        let protocols: Vec<(u8, Amount)> = self.window.filling().collect();
        self.window.tick(tick.now_ns);
        if self.looked.is_none() {
            // Nothing was counted: this is no time in which nothing went by.
            self.window.clear();
        }
        self.open_flows = tick.open_flows as u64;
        let Some(last) = self.last.replace(totals.clone()) else { return };
        let seconds = Duration::from_nanos(totals.now_ns.saturating_sub(last.now_ns)).as_secs_f64();
        self.interfaces.clear();
        let mut seen = Amount::default();
        for (name, direction, amount) in &totals.interfaces {
            let before = last.of_interface(name, direction);
            let packets = amount.packets.saturating_sub(before.packets);
            let octets = amount.octets.saturating_sub(before.octets);
            seen = Amount { packets: seen.packets + packets, octets: seen.octets + octets };
            self.interfaces.push(InterfaceRate {
                interface: name.to_string(),
                direction,
                bits_per_second: per_second(octets.saturating_mul(8), seconds),
                packets_per_second: per_second(packets, seconds),
            });
        }
        if totals.interfaces.is_empty() {
            // Where nothing is metered here, what exporters say is all there is.
            for (_, amount) in &protocols {
                seen.packets = seen.packets.saturating_add(amount.packets);
                seen.octets = seen.octets.saturating_add(amount.octets);
            }
        }
        if self.samples.len() >= SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample {
            wall_ms: tick.offset.to_wall_ms(tick.now_ns),
            seconds,
            packets: seen.packets,
            octets: seen.octets,
            flows: totals.opened.saturating_sub(last.opened),
            protocols,
        });
    }

    fn view(&self, rows: usize, span: Duration) -> View {
        let now_ns = self.last.as_ref().map_or(0, |last| last.now_ns);
        let span_ns = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let since_ns = now_ns.saturating_sub(span_ns);
        let recent = self.window.totals_since(since_ns);
        let total = total_of(&recent);
        let rates = Rates::of(self.samples.iter().rev().take(RATE_SAMPLES));
        View {
            milliseconds: self.samples.back().map_or(0, |sample| sample.wall_ms),
            open_flows: self.open_flows,
            flows_per_second: rates.flows,
            bits_per_second: rates.bits,
            packets_per_second: rates.packets,
            series: Series::of(&self.samples),
            interfaces: self.interfaces.clone(),
            seconds: span.as_secs(),
            covered_seconds: Duration::from_nanos(self.window.covered_since(since_ns)).as_secs_f64(),
            total,
            sources: recent.top_sources(rows).map(|(address, amount)| Address::of(address, amount)).collect(),
            destinations: recent.top_destinations(rows).map(|(address, amount)| Address::of(address, amount)).collect(),
            protocols: recent.top_protocols(rows).map(|(protocol, amount)| Protocol::of(protocol, amount)).collect(),
            services: recent
                .top_ports(rows)
                .map(|(port, amount)| Service::of(port.protocol, port.port, amount))
                .collect(),
            conversations: recent.top_conversations(rows).map(|(key, amount)| Conversation::of(&key, amount)).collect(),
        }
    }
}

/// All of it: each packet has one protocol.
fn total_of(bucket: &Bucket) -> Sum {
    let mut sum = Sum::default();
    for (_, amount) in bucket.top_protocols(usize::from(u8::MAX) + 1) {
        sum.packets = sum.packets.saturating_add(amount.packets);
        sum.octets = sum.octets.saturating_add(amount.octets);
    }
    sum
}

/// Samples over which rates are taken: one alone jumps.
const RATE_SAMPLES: usize = 3;

struct Rates {
    bits: u64,
    packets: u64,
    flows: u64,
}

impl Rates {
    fn of<'a>(samples: impl Iterator<Item = &'a Sample>) -> Self {
        let (mut seconds, mut octets, mut packets, mut flows) = (0.0, 0_u64, 0_u64, 0_u64);
        for sample in samples {
            seconds += sample.seconds;
            octets = octets.saturating_add(sample.octets);
            packets = packets.saturating_add(sample.packets);
            flows = flows.saturating_add(sample.flows);
        }
        Self {
            bits: per_second(octets.saturating_mul(8), seconds),
            packets: per_second(packets, seconds),
            flows: per_second(flows, seconds),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::sink::{Patience, Sink, Wants};
    use crate::summary::tests::{delta, tick};

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn rates_are_those_of_the_last_drains() {
        let live = Live::new();
        for (second, packets) in [(1, 100), (2, 200), (4, 600), (5, 600)] {
            live.take(&Event::Tick(Arc::new(tick(second * SECOND, packets))));
        }
        let view = live.view(10, LONGEST_WINDOW);
        // The first tick has nothing before it; frames are of 114 octets.
        assert_eq!(view.series.packets, [100, 400, 0]);
        assert_eq!(view.series.seconds, [1.0, 2.0, 1.0]);
        assert_eq!((view.packets_per_second, view.bits_per_second), (125, 125 * 114 * 8));
        assert_eq!((view.open_flows, view.flows_per_second), (3, 0));
        let interfaces = live.interfaces();
        assert_eq!((interfaces.len(), interfaces[0].packets_per_second), (1, 0));
    }

    #[test]
    fn flows_are_counted_while_somebody_looks() {
        let live = Live::new();
        let (sink, mut queue) = Sink::new("live view", Wants::DeltasAndTicks);
        let sink = sink.while_watched(live.watched());
        let mut go = |second: u64| {
            let deltas = [delta(Ipv4Addr::new(10, 0, 0, 1), 4, 6, (51_000, 443), 1000)];
            sink.offer(&Event::Deltas(deltas.as_slice().into()), Patience::None);
            sink.offer(&Event::Tick(Arc::new(tick(second * SECOND, 0))), Patience::None);
            while let Ok(event) = queue.try_recv() {
                live.take(&event);
            }
        };
        (1..5).for_each(&mut go);
        let view = live.view(10, LONGEST_WINDOW);
        assert!(view.sources.is_empty() && view.total == Sum::default());
        (5..8).for_each(&mut go);
        let view = live.view(10, LONGEST_WINDOW);
        assert_eq!((view.total.octets, view.sources[0].octets, view.destinations.len()), (3000, 3000, 1));
        assert_eq!((view.services[0].port, view.services[0].service_name), (443, Some("https")));
        assert_eq!(view.series.protocols[0].octets.iter().sum::<u64>(), 3000);
        // What went by before somebody looked is not among the time.
        assert_eq!((view.seconds, view.covered_seconds), (60, 3.0));
        // Tables of less time have less.
        let view = live.view(10, Duration::from_secs(2));
        assert_eq!((view.total.octets, view.covered_seconds), (2000, 2.0));
        // Nobody looks any more.
        live.lock().looked = Instant::now().checked_sub(ATTENTION * 2);
        (8..11).for_each(&mut go);
        assert!(!live.watched.load(Ordering::Relaxed));
        assert!(live.lock().window.totals().top_sources(9).next().is_none());
        assert_eq!(live.view(10, LONGEST_WINDOW).covered_seconds, 0.0);
    }

    #[test]
    fn octets_are_those_of_the_seconds_that_are_covered() {
        let live = Live::new();
        drop(live.view(10, LONGEST_WINDOW));
        for second in 1..200 {
            let deltas = [delta(Ipv4Addr::new(10, 0, 0, 1), 4, 6, (51_000, 443), 1000)];
            live.take(&Event::Deltas(deltas.as_slice().into()));
            live.take(&Event::Tick(Arc::new(tick(second * SECOND, 0))));
            // Of the first drain nobody knows how long it was.
            for span in [10, 60].map(Duration::from_secs).into_iter().filter(|_| second > 60) {
                let view = live.view(10, span);
                assert_eq!(view.total.octets as f64 / view.covered_seconds, 1000.0, "at {second}, of {span:?}");
                assert!(view.covered_seconds <= span.as_secs_f64() && view.covered_seconds > span.as_secs_f64() - 3.0);
            }
        }
    }
}
