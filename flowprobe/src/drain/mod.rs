//! Takes what the kernel programs have counted: flips the generation, waits a grace period, reads the retired flow map to
//! the end. On a thread of its own, so that nothing slow downstream delays it for longer than its bounded queue.

mod flows;
mod routes;
mod stats;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use aya::Ebpf;
use aya::maps::{Array, Map, MapData, MapError};
use flowprobe_ebpf::{Direction, FlowKey, GENERATIONS, InterfaceStats, Route, Selection, TunnelledKey, Tunnels};
use thiserror::Error;
use tracing::warn;

use crate::clock::{self, WallOffset};
use crate::kernel::{self, MapValue};
use crate::probe::{LoadError, Scope, Slots};
use crate::record::FlowDelta;
pub use flows::FlowMap;
use routes::RouteReader;
use stats::StatsReader;

/// What the drain hands on.
#[derive(Debug)]
pub enum Drained {
    /// Routes that flows refer to by number; before these flows.
    Routes(Vec<(u32, Route)>),
    /// Some of a generation's flows.
    Flows(Vec<FlowDelta>),
    /// The generation is read to its end.
    End(DrainReport),
}

/// The state of the kernel's counters when a generation was retired.
#[derive(Debug)]
pub struct DrainReport {
    /// The moment, on the monotonic clock.
    pub now_ns: u64,
    /// The wall clock at that moment.
    pub offset: WallOffset,
    /// Flows in the generation.
    pub flows: usize,
    /// From the flip to the end of the map.
    pub took: Duration,
    /// Totals since the programs were loaded, by interface and direction.
    pub stats: Vec<MeterStats>,
}

/// The kernel's counters of one interface and direction.
#[derive(Debug)]
pub struct MeterStats {
    /// Name of the interface.
    pub interface: Arc<str>,
    /// Its index.
    pub ifindex: u32,
    /// Direction.
    pub direction: Direction,
    /// Totals of all CPUs and of both generations, as of the drain.
    pub totals: InterfaceStats,
}

/// Why a drain failed.
#[derive(Debug, Error)]
pub enum DrainError {
    /// The grace period could not be waited for.
    #[error("cannot wait for a grace period (membarrier): {0}; flowprobe needs CONFIG_MEMBARRIER and CPUs with ticks")]
    GracePeriod(std::io::Error),
    /// The flow map could not be read.
    #[error("cannot read the flow map of generation {generation}: {error}")]
    Flows {
        /// Which of the two.
        generation: u32,
        /// What the kernel says.
        error: std::io::Error,
    },
    /// The generation word could not be written, or the counters not be read.
    #[error("cannot use the kernel's maps: {0}")]
    Map(#[from] MapError),
    /// What was drained has nowhere to go.
    #[error("the metering thread has ended")]
    NoReceiver,
}

/// The maps, and which generation is being written.
pub struct Drain {
    control: Array<MapData, u32>,
    flows: [FlowMap<FlowKey>; 2],
    /// Where tunnels are opened.
    tunnelled: Option<[FlowMap<TunnelledKey>; 2]>,
    routes: RouteReader,
    stats: StatsReader,
    generation: u32,
}

impl Drain {
    /// Takes the maps out of an object that was loaded for this `scope`, and says what is to be metered.
    ///
    /// # Errors
    /// A map is missing or not of the expected shape.
    pub fn new(ebpf: &mut Ebpf, scope: Scope, selection: &Selection, slots: Arc<Slots>) -> Result<Self, LoadError> {
        select(ebpf, selection)?;
        let flows = [FlowMap::take(ebpf, "FLOWS_0")?, FlowMap::take(ebpf, "FLOWS_1")?];
        let tunnelled = if scope.tunnels == Tunnels::NONE {
            None
        } else {
            Some([FlowMap::take(ebpf, "TUNNELLED_0")?, FlowMap::take(ebpf, "TUNNELLED_1")?])
        };
        let routes = RouteReader::take(ebpf)?;
        let control = take(ebpf, "CONTROL")?;
        let control = Array::try_from(control).map_err(|error| LoadError::Map { name: "CONTROL", error })?;
        let stats = take(ebpf, "STATS")?;
        let stats =
            StatsReader::new(stats, slots, scope.egress).map_err(|error| LoadError::Map { name: "STATS", error })?;
        Ok(Self { control, flows, tunnelled, routes, stats, generation: 0 })
    }

    /// Retires the generation that is being written and hands what it holds to `sink`, in pieces.
    ///
    /// # Errors
    /// The kernel refuses, or `sink` does. What was read before has been handed on; what was not is still in its map and
    /// comes with the next drain but one.
    pub fn retire(
        &mut self,
        mut sink: impl FnMut(Drained) -> Result<(), DrainError>,
    ) -> Result<DrainReport, DrainError> {
        let begin = Instant::now();
        let retired = self.generation;
        let next = retired ^ 1;
        self.control.set(0, next, 0)?;
        self.generation = next;
        kernel::wait_for_grace_period().map_err(DrainError::GracePeriod)?;
        // Nobody writes the retired generation any more: its counters and its flows belong together.
        let stats = self.stats.read(retired)?;
        let (offset, now_ns) = (WallOffset::measure(), clock::monotonic_ns());
        let routes = self.routes.news()?;
        if !routes.is_empty() {
            sink(Drained::Routes(routes))?;
        }
        let mut hand_on = |deltas| sink(Drained::Flows(deltas));
        let mut flows = self.flows[retired as usize].read_to_end(retired, &mut hand_on)?;
        if let Some(tunnelled) = &mut self.tunnelled {
            flows += tunnelled[retired as usize].read_to_end(retired, &mut hand_on)?;
        }
        Ok(DrainReport { now_ns, offset, flows, took: begin.elapsed(), stats })
    }

    /// Drains every `interval` until `stop` says so or its sender is gone, then drains both generations a last time.
    ///
    /// # Errors
    /// The first drain that fails.
    pub fn run(mut self, interval: Duration, stop: &Receiver<()>, out: &SyncSender<Drained>) -> Result<(), DrainError> {
        let mut next = Instant::now() + interval;
        let mut late = 0;
        loop {
            let stopped = match stop.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(()) | Err(RecvTimeoutError::Disconnected) => true,
                Err(RecvTimeoutError::Timeout) => false,
            };
            self.drain_to(out)?;
            if stopped {
                // What arrived between the last flip and the end of the programs.
                return self.drain_to(out);
            }
            next += interval;
            let now = Instant::now();
            if next < now {
                next = now;
                late += 1;
                // Not each time: where the interval is too short, that would be every time.
                if u64::is_power_of_two(late) {
                    warn!("{late} drains took longer than the interval of {interval:?}");
                }
            }
        }
    }

    fn drain_to(&mut self, out: &SyncSender<Drained>) -> Result<(), DrainError> {
        let report = self.retire(|drained| out.send(drained).map_err(|_| DrainError::NoReceiver))?;
        out.send(Drained::End(report)).map_err(|_| DrainError::NoReceiver)
    }
}

/// Writes the selection of both generations.
fn select(ebpf: &mut Ebpf, selection: &Selection) -> Result<(), LoadError> {
    const NAME: &str = "SELECTION";
    let map = ebpf.map_mut(NAME).ok_or(LoadError::NoMap(NAME))?;
    let write = |map| {
        let mut map: Array<_, MapValue<Selection>> = Array::try_from(map)?;
        (0..GENERATIONS).try_for_each(|generation| map.set(generation, MapValue(*selection), 0))
    };
    write(map).map_err(|error| LoadError::Map { name: NAME, error })
}

/// Takes the map called `name` out of a loaded object.
///
/// # Errors
/// There is none.
pub fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, LoadError> {
    ebpf.take_map(name).ok_or(LoadError::NoMap(name))
}
