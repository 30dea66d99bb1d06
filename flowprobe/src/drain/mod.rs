//! Takes what the kernel programs have counted: flips the generation, waits a grace period, reads the retired flow map to
//! the end. On a thread of its own, so that nothing slow downstream delays it for longer than its bounded queue.

mod batch;
mod filling;
mod flows;
mod overflow;
mod pace;
mod room;
mod routes;
mod stats;
mod ticks;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use aya::Ebpf;
use aya::maps::{Array, Map, MapData, MapError};
use flowprobe_ebpf::{Counter, Direction, InterfaceStats, OverflowKey, Route, Selection, Tunnels};
use thiserror::Error;
use tracing::warn;

use crate::clock::{self, WallOffset};
use crate::collect::{Beyond, ReceivedRecords};
use crate::kernel::{self, MapValue};
use crate::metering::Change;
use crate::probe::{LoadError, Scope, Slots};
use crate::record::FlowDelta;
pub use batch::BATCH;
pub use filling::forward_filling;
use flows::FlowMaps;
use overflow::OverflowReader;
use pace::Pace;
pub use room::KnownFlows;
use room::{Epochs, Fill, RoomReader};
use routes::RouteReader;
use stats::StatsReader;
pub use ticks::tick_alone;

/// What the drain hands on.
#[derive(Debug)]
pub enum Drained {
    /// Routes that flows refer to by number; before these flows.
    Routes(Vec<(u32, Route)>),
    /// Some of a generation's flows.
    Flows {
        /// The flows.
        deltas: Vec<FlowDelta>,
        /// Whether so many flows are in the generation that new ones may have found no room.
        crowded: bool,
    },
    /// What exporters have sent. It comes from listeners, beside the drain.
    Received(ReceivedRecords),
    /// The same as it came, where that is what goes on.
    Datagrams(Beyond),
    /// The generation is read to its end.
    End(DrainReport),
    /// What comes after this is to be treated otherwise.
    Change(Box<Change>),
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
    /// Where packets of the generation went that found no room, as far as it is known.
    pub overflow: Vec<(OverflowKey, Counter)>,
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
    /// A map could not be read.
    #[error("cannot read the map {map}: {error}")]
    Batch {
        /// Its name.
        map: &'static str,
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

/// What the drain is told while it runs.
#[derive(Debug)]
pub enum Command {
    /// Drain both generations a last time, and end.
    Stop,
    /// A flow map is filling.
    Hurry,
    /// From the next generation on, something is different.
    Reload(Box<Reload>),
}

/// A change between two generations.
#[derive(Debug)]
pub struct Reload {
    /// Which packets are metered.
    pub selection: Selection,
    /// Time between drains.
    pub interval: Duration,
    /// How long a flow may be idle.
    pub idle_timeout: Duration,
    /// What changes for those to whom the drain hands on, when all of the generations before has been handed on.
    pub change: Change,
}

/// The maps, and which generation is being written.
pub struct Drain {
    control: Array<MapData, u32>,
    selection: Array<MapData, MapValue<Selection>>,
    room: RoomReader,
    epochs: Epochs,
    flows: [FlowMaps; 2],
    routes: RouteReader,
    stats: StatsReader,
    overflow: OverflowReader,
    /// Packets in overflow as of the last drain.
    overflowed: u64,
    generation: u32,
}

impl Drain {
    /// Takes the maps out of an object that was loaded for this `scope` and `max_flows`, and says what is to be metered. Flows
    /// that are idle for no longer than `idle_timeout` keep their room; [`KnownFlows`] says which there are.
    ///
    /// # Errors
    /// A map is missing or not of the expected shape.
    pub fn new(
        ebpf: &mut Ebpf,
        scope: Scope,
        selection: &Selection,
        max_flows: u32,
        idle_timeout: Duration,
        slots: Arc<Slots>,
    ) -> Result<(Self, KnownFlows), LoadError> {
        let tunnels = scope.tunnels != Tunnels::NONE;
        let flows = [["FLOWS_0", "TUNNELLED_0"], ["FLOWS_1", "TUNNELLED_1"]];
        let [flows_0, flows_1] = flows.map(|names| FlowMaps::take(ebpf, names, tunnels));
        let stats = take(ebpf, "STATS")?;
        let stats =
            StatsReader::new(stats, slots, scope.egress).map_err(|error| LoadError::Map { name: "STATS", error })?;
        let (epochs, known) = Epochs::begin(ebpf, idle_timeout)?;
        let mut drain = Self {
            control: array(ebpf, "CONTROL")?,
            selection: array(ebpf, "SELECTION")?,
            room: RoomReader::take(ebpf, max_flows)?,
            epochs,
            flows: [flows_0?, flows_1?],
            routes: RouteReader::take(ebpf)?,
            stats,
            overflow: OverflowReader::take(ebpf)?,
            overflowed: 0,
            generation: 0,
        };
        drain.prepare(selection)?;
        Ok((drain, known))
    }

    /// Tells the programs what they are to know before the first packet.
    fn prepare(&mut self, selection: &Selection) -> Result<(), LoadError> {
        for generation in [0, 1] {
            let written = self.selection.set(generation, MapValue(*selection), 0);
            written.map_err(|error| LoadError::Map { name: "SELECTION", error })?;
        }
        let epoch = self.epochs.current().0;
        self.control.set(1, epoch, 0).map_err(|error| LoadError::Map { name: "CONTROL", error })
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
        let Self { epochs, control, .. } = self;
        epochs.next(begin, |epoch| control.set(1, epoch.0, 0))?;
        kernel::wait_for_grace_period().map_err(DrainError::GracePeriod)?;
        // Nobody writes the retired generation any more: its counters and its flows belong together.
        let stats = self.stats.read(retired)?;
        let overflow = self.where_it_went(retired, &stats)?;
        let (offset, now_ns) = (WallOffset::measure(), clock::monotonic_ns());
        let routes = self.routes.news()?;
        if !routes.is_empty() {
            sink(Drained::Routes(routes))?;
        }
        let flows = match self.room.take_stock(retired)? {
            Fill::Empty => 0,
            fill => self.flows[retired as usize].read_to_end(fill == Fill::Crowded, &mut sink)?,
        };
        Ok(DrainReport { now_ns, offset, flows, took: begin.elapsed(), stats, overflow })
    }

    /// Reads the maps of overflow if there was any.
    fn where_it_went(&mut self, retired: u32, stats: &[MeterStats]) -> Result<Vec<(OverflowKey, Counter)>, DrainError> {
        let overflowed = stats.iter().flat_map(|one| one.totals.overflow).map(|counter| counter.packets).sum();
        if std::mem::replace(&mut self.overflowed, overflowed) == overflowed {
            return Ok(Vec::new());
        }
        self.overflow.read(retired)
    }

    /// Drains every `interval`, sooner where told that a map is filling, until told to stop or nobody is left to tell.
    ///
    /// # Errors
    /// The first drain that fails.
    pub fn run(
        mut self,
        interval: Duration,
        commands: &Receiver<Command>,
        out: &SyncSender<Drained>,
    ) -> Result<(), DrainError> {
        let mut pace = Pace::new(interval, Instant::now());
        let mut late: u64 = 0;
        loop {
            match commands.recv_timeout(pace.wait(Instant::now())) {
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    self.drain_to(out)?;
                    // What arrived between the last flip and the end of the programs.
                    return self.drain_to(out);
                }
                Ok(Command::Hurry) => pace.hurry(Instant::now()),
                Ok(Command::Reload(reload)) => {
                    pace.set_interval(reload.interval, Instant::now());
                    self.reload(*reload, out)?;
                }
                Err(RecvTimeoutError::Timeout) => {
                    let began = Instant::now();
                    self.drain_to(out)?;
                    if pace.drained(began, Instant::now()) {
                        late += 1;
                        // Not each time: where the interval is too short, that would be every time.
                        if late.is_power_of_two() {
                            warn!("drains took longer than the interval, {late} so far");
                        }
                    }
                }
            }
        }
    }

    /// Lets the next generation be metered by another selection; what was metered before is handed on before the change is.
    fn reload(&mut self, reload: Reload, out: &SyncSender<Drained>) -> Result<(), DrainError> {
        let Reload { selection, idle_timeout, change, .. } = reload;
        self.epochs.set_length(idle_timeout);
        // No program looks at the selection of the generation that is not the current one.
        self.selection.set(self.generation ^ 1, MapValue(selection), 0)?;
        self.drain_to(out)?;
        self.selection.set(self.generation ^ 1, MapValue(selection), 0)?;
        out.send(Drained::Change(Box::new(change))).map_err(|_| DrainError::NoReceiver)
    }

    fn drain_to(&mut self, out: &SyncSender<Drained>) -> Result<(), DrainError> {
        let report = self.retire(|drained| out.send(drained).map_err(|_| DrainError::NoReceiver))?;
        out.send(Drained::End(report)).map_err(|_| DrainError::NoReceiver)
    }
}

/// The array called `name` of a loaded object.
fn array<V: aya::Pod>(ebpf: &mut Ebpf, name: &'static str) -> Result<Array<MapData, V>, LoadError> {
    Array::try_from(take(ebpf, name)?).map_err(|error| LoadError::Map { name, error })
}

/// Takes the map called `name` out of a loaded object.
///
/// # Errors
/// There is none.
pub fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, LoadError> {
    ebpf.take_map(name).ok_or(LoadError::NoMap(name))
}
