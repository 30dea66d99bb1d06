//! What the benchmarks stand on: flowprobe's programs loaded as the daemon loads them, and frames run through them with
//! `BPF_PROG_TEST_RUN`. Nothing is attached and nothing is sent: a test run hands the program a buffer, and the interface
//! that it names is the loopback of this network namespace.

mod frame;

use std::num::NonZeroU32;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, Map, MapData, PerCpuArray, ProgramArray};
use aya::programs::{ProgramFd, TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, include_bytes_aligned};
use flowprobe::accounting::add_stats;
use flowprobe::drain::{Drain, DrainError, DrainReport, Drained, KnownFlows, take};
use flowprobe::kernel::MapValue;
use flowprobe::probe::{Features, Scope, Slots, check_privilege, load_object};
use flowprobe::record::FlowDelta;
use flowprobe_ebpf::{
    Direction, GENERATIONS, INTERFACE_SLOTS, InterfaceSlot, InterfaceStats, Selection, Tunnels, stats_index,
};
use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

pub(crate) use frame::{Family, Frame};

static TRAFFIC: &[u8] =
    include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/../flowprobe-ebpf/object/traffic.bpf.o"));

/// Of no consequence here: no flow is idle.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// The interface that a test run names, unless told otherwise: the loopback, which is the first of every namespace.
const LOOPBACK: u32 = 1;

/// Room in each flow map.
pub(crate) const MAX_FLOWS: u32 = 1 << 20;

/// flowprobe's programs, the traffic that they are given, and what has been given since the last drain.
pub(crate) struct Lab {
    flowprobe: Ebpf,
    /// The name of its program that is measured.
    whole: &'static str,
    traffic: Ebpf,
    under_test: ProgramArray<MapData>,
    drain: Drain,
    /// Until it is taken; the programs need its map when they are loaded.
    known: Option<KnownFlows>,
    stats: PerCpuArray<MapData, MapValue<InterfaceStats>>,
    counted: InterfaceStats,
    flow_maps: [MapData; GENERATIONS as usize],
    generation: usize,
    frame: Frame,
    flows: u32,
}

impl Lab {
    /// Loads both objects; flowprobe's opens these tunnels and meters what is selected.
    pub(crate) fn new(frame: Frame, tunnels: Tunnels, selection: Selection) -> Result<Self> {
        check_privilege(false).context("this benchmark runs programs in the kernel, which takes root")?;
        let scope = Scope { tunnels, ..Scope::default() };
        // New flows find room in three quarters of a map.
        let capacity = (MAX_FLOWS * 4).div_ceil(3);
        let max_flows = NonZeroU32::new(capacity).context("no room for flows")?;
        let mut flowprobe = load_object(max_flows, scope, Features::of_this_kernel(), 0)?;
        let flow_maps = [duplicate(&flowprobe, "FLOWS_0")?, duplicate(&flowprobe, "FLOWS_1")?];
        let stats = PerCpuArray::try_from(Map::PerCpuArray(duplicate(&flowprobe, "STATS")?))?;
        let interfaces = Map::Array(duplicate(&flowprobe, "INTERFACES")?);
        let mut interfaces: Array<_, MapValue<InterfaceSlot>> = Array::try_from(interfaces)?;
        interfaces.set(slot(), MapValue(InterfaceSlot { ifindex: LOOPBACK, link: 0 }), 0)?;
        let Map::Array(interfaces) = take(&mut flowprobe, "INTERFACES")? else {
            anyhow::bail!("the map INTERFACES is not an array");
        };
        let slots = Arc::new(Slots::new(interfaces)?);
        let (drain, known) = Drain::new(&mut flowprobe, scope, &selection, capacity, IDLE_TIMEOUT, slots)?;
        let whole = if tunnels == Tunnels::NONE { "xdp_ingress" } else { "xdp_ingress_tunnels" };
        load_program(&mut flowprobe, whole)?;

        let mut traffic = Ebpf::load(TRAFFIC).context("cannot load the traffic programs")?;
        let under_test = ProgramArray::try_from(take(&mut traffic, "UNDER_TEST")?)?;
        for name in ["traffic", "empty", "parse_only"] {
            load_program(&mut traffic, name)?;
        }
        Ok(Self {
            flowprobe,
            whole,
            traffic,
            under_test,
            drain,
            known: Some(known),
            stats,
            counted: InterfaceStats::default(),
            flow_maps,
            generation: 0,
            frame,
            flows: 0,
        })
    }

    /// Sets the number of flows, a power of two, through which the frames of the next runs go.
    pub(crate) fn set_flows(&mut self, flows: u32) -> Result<()> {
        ensure!(flows.is_power_of_two() && flows <= MAX_FLOWS, "{flows} flows: not a power of two up to {MAX_FLOWS}");
        let map = self.traffic.map_mut("PLAN").context("the traffic object has no map PLAN")?;
        let mut plan: Array<_, [u32; 5]> = Array::try_from(map)?;
        plan.set(0, bytemuck::cast::<_, [u32; 5]>(self.frame.plan(flows)), 0)?;
        self.flows = flows;
        Ok(())
    }

    /// Puts `program` behind the traffic.
    pub(crate) fn select(&mut self, program: Program) -> Result<()> {
        let fd = match program {
            Program::Empty => fd_of(&mut self.traffic, "empty")?,
            Program::ParseOnly => fd_of(&mut self.traffic, "parse_only")?,
            Program::Whole => fd_of(&mut self.flowprobe, self.whole)?,
        };
        Ok(self.under_test.set(0, &fd, 0)?)
    }

    /// Sends every flow `passes` packets through the selected program. Returns the CPU time that one packet took, in
    /// nanoseconds: the kernel's own figure is a whole number of them, which is too coarse.
    pub(crate) fn run(&mut self, passes: u32) -> Result<f64> {
        const XDP_PASS: u32 = 2;
        let packets = self.flows.checked_mul(passes).context("too many packets for one run")?;
        let mut options = TestRunOptions::new();
        options.data_in = Some(self.frame.bytes());
        options.repeat = packets;
        let program = xdp(&mut self.traffic, "traffic")?;
        let begin = thread_time();
        let outcome = program.test_run(options)?;
        let took = thread_time().saturating_sub(begin);
        ensure!(outcome.return_value == XDP_PASS, "the program returned {}", outcome.return_value);
        Ok(took.as_secs_f64() * 1e9 / f64::from(packets))
    }

    /// The flow map that programs write now, as a second handle.
    #[allow(dead_code, reason = "used by one of the benchmarks")]
    pub(crate) fn flow_map(&self) -> &MapData {
        &self.flow_maps[self.generation]
    }

    /// Where the daemon's table tells the programs which flows are known. To be taken once.
    #[allow(dead_code, reason = "used by one of the benchmarks")]
    pub(crate) fn take_known(&mut self) -> Option<KnownFlows> {
        self.known.take()
    }

    /// Hands what has been counted to `out`, as the daemon's drain does.
    #[allow(dead_code, reason = "used by one of the benchmarks")]
    pub(crate) fn drain_to(&mut self, out: &SyncSender<Drained>) -> Result<()> {
        let report = self.drain.retire(|drained| out.send(drained).map_err(|_| DrainError::NoReceiver))?;
        self.generation ^= 1;
        out.send(Drained::End(report)).context("nobody takes what is drained")
    }

    /// Moves all flows to the end of `flows` with the daemon's own drain.
    #[allow(dead_code, reason = "used by two of the benchmarks")]
    pub(crate) fn retire(&mut self, flows: &mut Vec<FlowDelta>) -> Result<DrainReport> {
        let report = self.drain.retire(|drained| {
            if let Drained::Flows { deltas, .. } = drained {
                flows.extend_from_slice(&deltas);
            }
            Ok(())
        })?;
        self.generation ^= 1;
        Ok(report)
    }

    /// Makes sure that `flows` are those of the plan, each with `packets_each` packets, and that the interface's counters
    /// say the same.
    #[allow(dead_code, reason = "used by two of the benchmarks")]
    pub(crate) fn verify(&mut self, flows: &[FlowDelta], packets_each: u32) -> Result<()> {
        let mut missing = vec![true; self.flows as usize];
        for FlowDelta { key, value, .. } in flows {
            let number = self.frame.flow_of(key, self.flows).with_context(|| format!("a flow nobody sent: {key:?}"))?;
            ensure!(std::mem::take(&mut missing[number as usize]), "flow {number} came twice");
            ensure!(value.packets == u64::from(packets_each), "{} packets, not {packets_each}: {key:?}", value.packets);
            let octets = value.packets * self.frame.length();
            ensure!(value.layer2_octets() == octets, "{} octets, not {octets}: {key:?}", value.layer2_octets());
        }
        let missing = missing.into_iter().filter(|missing| *missing).count();
        ensure!(missing == 0, "{missing} of {} flows are missing", self.flows);

        let mut total = InterfaceStats::default();
        for generation in 0..GENERATIONS {
            for MapValue(of_one_cpu) in self.stats.get(&stats_index(slot(), Direction::Ingress, generation), 0)?.iter()
            {
                add_stats(&mut total, of_one_cpu);
            }
        }
        let mut expected = self.counted;
        let packets = u64::from(self.flows) * u64::from(packets_each);
        expected.seen.add(packets, packets * self.frame.length());
        ensure!(total == expected, "the interface's counters say {total:?}, not {expected:?}");
        self.counted = total;
        Ok(())
    }
}

/// What can be put behind the traffic.
#[derive(Clone, Copy)]
#[allow(dead_code, reason = "most benchmarks run the whole program only")]
pub(crate) enum Program {
    /// Does nothing.
    Empty,
    /// Parses the frame.
    ParseOnly,
    /// flowprobe's `xdp_ingress`.
    Whole,
}

/// The middle of `values`, which must not be empty.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

/// The running kernel's release, for the record.
pub(crate) fn kernel_release() -> Result<String> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").context("cannot read the kernel's release")?;
    Ok(release.trim().to_owned())
}

fn slot() -> u32 {
    LOOPBACK % INTERFACE_SLOTS
}

/// Keeps this thread on the CPU on which it is, and those that it starts later.
pub(crate) fn stay_on_this_cpu() -> Result<()> {
    let mut only = CpuSet::new();
    only.set(sched_getcpu());
    sched_setaffinity(None, &only).context("cannot stay on one CPU")
}

/// CPU time of this thread: what other processes took of the CPU is not in it.
pub(crate) fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let part = |part: i64| u64::try_from(part).unwrap_or(0);
    Duration::from_secs(part(time.tv_sec)) + Duration::from_nanos(part(time.tv_nsec))
}

/// A second handle on the map called `name`; the first is taken by the drain.
fn duplicate(ebpf: &Ebpf, name: &'static str) -> Result<MapData> {
    let map = ebpf.map(name).with_context(|| format!("the object has no map {name}"))?;
    let (Map::Array(data) | Map::HashMap(data) | Map::PerCpuArray(data)) = map else {
        anyhow::bail!("the map {name} is of another type than expected");
    };
    Ok(MapData::from_fd(data.fd().as_fd().try_clone_to_owned()?)?)
}

fn xdp<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Xdp> {
    let program = ebpf.program_mut(name).with_context(|| format!("the object has no program {name}"))?;
    Ok(program.try_into()?)
}

fn load_program(ebpf: &mut Ebpf, name: &'static str) -> Result<()> {
    xdp(ebpf, name)?.load().with_context(|| format!("the kernel refuses {name}"))
}

fn fd_of(ebpf: &mut Ebpf, name: &'static str) -> Result<ProgramFd> {
    Ok(xdp(ebpf, name)?.fd()?.try_clone()?)
}
