//! The whole way from the kernel's flow maps to a collector's socket: drain, table, records, messages, system calls. The maps
//! are filled before the clock starts.

use std::collections::BTreeMap;
use std::fs;
use std::net::UdpSocket;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use flowprobe::config::{DomainBy, ExportConfig, Relay, SpoolConfig};
use flowprobe::drain::{Drained, KnownFlows};
use flowprobe::export::elements::{Fields, Schema};
use flowprobe::export::{Health, connect_all};
use flowprobe::losses::Losses;
use flowprobe::metering::Metering;
use flowprobe::sink::Patience;
use flowprobe::stages::{DRAINED_QUEUE, start_lanes};
use flowprobe::table::TableConfig;
use flowprobe_ebpf::{Selection, Tunnels};
use serde::Serialize;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::common::{Family, Frame, Lab, MAX_FLOWS, Program, median};

/// Packets that each flow gets between two drains: records of single packets would be refused where a queue is nearly full.
const PACKETS_EACH: u32 = 2;

/// How long the last record may take to leave.
const PATIENCE: Duration = Duration::from_secs(60);

/// When the records of a generation leave.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Leave {
    /// While it is drained: each flow was open before, and is reported at its active timeout.
    Active,
    /// All at once when it has been drained: each flow is new, and has ended.
    Idle,
}

/// What was measured: one value for each generation.
#[derive(Serialize)]
pub(crate) struct Path {
    leave: Leave,
    flows: u32,
    /// Seconds from the flip of the generations to the last record's system call.
    took: Vec<f64>,
    /// Millions of flows a second.
    rate: Vec<f64>,
    /// Records that the lane's queue had no room for.
    refused: Vec<u64>,
    /// Seconds of CPU time by thread.
    cpu: BTreeMap<String, Vec<f64>>,
}

impl Path {
    pub(crate) fn print(&self) {
        let Self { leave, flows, took, rate, refused, cpu } = self;
        let when = match leave {
            Leave::Active => "records leave while the generation is drained (active timeout)",
            Leave::Idle => "records leave all at once when it has been drained (idle timeout)",
        };
        let (least, most) =
            rate.iter().fold((f64::MAX, 0.0_f64), |(least, most), one| (least.min(*one), most.max(*one)));
        println!("{flows} flows from the flip to the socket; {when}");
        println!("    {:.2} M flows/s ({least:.2}–{most:.2}), {:.0} ms", median(rate), median(took) * 1e3);
        for (thread, seconds) in cpu {
            println!("    {thread:<10} {:>6.0} ns of CPU time per flow", median(seconds) * 1e9 / f64::from(*flows));
        }
        println!("    refused by the queue: {refused:?} records");
    }
}

/// Measures `generations` of so many flows.
pub(crate) fn measure(leave: Leave, flows: u32, generations: u32) -> Result<Path> {
    let mut lab = Lab::new(Frame::new(Family::Ipv4)?, Tunnels::NONE, Selection::default())?;
    lab.set_flows(flows)?;
    lab.select(Program::Whole)?;
    let nobody = UdpSocket::bind(("127.0.0.1", 0))?;
    let known = lab.take_known().context("the flows that are known were taken")?;
    let daemon = Daemon::start(leave, nobody.local_addr()?.port(), known)?;

    let mut measured =
        Path { leave, flows, took: Vec::new(), rate: Vec::new(), refused: Vec::new(), cpu: BTreeMap::new() };
    if leave == Leave::Active {
        // The flows become known; none of them has a record yet.
        lab.run(PACKETS_EACH)?;
        lab.drain_to(&daemon.drained)?;
    }
    for _ in 0..generations {
        lab.run(PACKETS_EACH)?;
        daemon.settle()?;
        let (sent, refused) = daemon.records();
        let (before, begin) = (cpu_times()?, Instant::now());
        lab.drain_to(&daemon.drained)?;
        let wanted = sent + refused + u64::from(flows);
        while daemon.records().0 + daemon.records().1 < wanted {
            ensure!(begin.elapsed() < PATIENCE, "{:?} of {flows} records sent and refused", daemon.records());
            thread::sleep(Duration::from_micros(500));
        }
        let took = begin.elapsed().as_secs_f64();
        for (thread, seconds) in cpu_times()? {
            let more = seconds - before.get(&thread).copied().unwrap_or(0.0);
            measured.cpu.entry(thread).or_default().push(more);
        }
        let refused_now = daemon.records().1 - refused;
        measured.took.push(took);
        measured.rate.push((f64::from(flows) - refused_now as f64) / took / 1e6);
        measured.refused.push(refused_now);
    }
    daemon.stop()?;
    Ok(measured)
}

/// What the daemon is behind its drain, with one collector.
struct Daemon {
    drained: SyncSender<Drained>,
    metering: JoinHandle<()>,
    runtime: Runtime,
    tasks: JoinSet<()>,
    health: Health,
    losses: Losses,
}

impl Daemon {
    fn start(leave: Leave, port: u16, known: KnownFlows) -> Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("tokio").enable_all().build()?;
        let schema = Arc::new(Schema::default());
        let target = format!("udp://127.0.0.1:{port}").parse()?;
        let spool = SpoolConfig { folder: None, ..SpoolConfig::default() };
        let config =
            ExportConfig { targets: vec![target], domain: DomainBy::default(), spool, fields: Fields::default() };
        let lanes = runtime.block_on(connect_all(&config, &config.targets, &schema, true, &[]))?;
        let lane = lanes.first().context("there is no lane")?;
        let (health, losses) = (lane.health(), lane.losses());
        let mut tasks = JoinSet::new();
        let sinks = {
            let _inside = runtime.enter();
            start_lanes(lanes, Relay::default(), &mut tasks)
        };
        let (always, never) = (Duration::from_nanos(1), Duration::from_secs(3600));
        let (active_timeout, idle_timeout) = match leave {
            Leave::Active => (Duration::ZERO, never),
            Leave::Idle => (never, always),
        };
        let max_flows = NonZeroU32::new(MAX_FLOWS).context("no room for flows")?;
        let table = TableConfig { idle_timeout, active_timeout, max_flows, ..TableConfig::default() };
        let metering = Metering::new(table, schema, sinks, Patience::None).with_known_flows(known);
        let (drained, queue) = sync_channel(DRAINED_QUEUE);
        let metering = thread::Builder::new().name("metering".into()).spawn(move || metering.run(&queue))?;
        Ok(Self { drained, metering, runtime, tasks, health, losses })
    }

    /// Flow records that have left, and those that were refused.
    fn records(&self) -> (u64, u64) {
        (self.health.sent().records, self.losses.total().records)
    }

    /// Waits until nothing happens any more.
    fn settle(&self) -> Result<()> {
        let begin = Instant::now();
        let mut before = cpu_times()?;
        loop {
            thread::sleep(Duration::from_millis(50));
            let now = cpu_times()?;
            let is_quiet =
                |name: &&str| now.get(*name).zip(before.get(*name)).is_some_and(|(now, before)| now - before < 0.002);
            if ["metering", "tokio"].iter().all(is_quiet) {
                return Ok(());
            }
            ensure!(begin.elapsed() < PATIENCE, "the threads do not come to rest");
            before = now;
        }
    }

    fn stop(self) -> Result<()> {
        let Self { drained, metering, runtime, mut tasks, .. } = self;
        drop(drained);
        metering.join().map_err(|_| anyhow!("the metering thread has failed"))?;
        runtime.block_on(async { while tasks.join_next().await.is_some() {} });
        Ok(())
    }
}

/// Seconds of CPU time of this process by the names of its threads; this one is the drain.
fn cpu_times() -> Result<BTreeMap<String, f64>> {
    let mut times = BTreeMap::new();
    for task in fs::read_dir("/proc/self/task").context("cannot see the threads")? {
        let task = task?;
        let is_this = task.file_name().into_string().is_ok_and(|id| id == std::process::id().to_string());
        let name = fs::read_to_string(task.path().join("comm"))?.trim().to_owned();
        let times_of = fs::read_to_string(task.path().join("schedstat"))?;
        let ns: u64 = times_of.split_whitespace().next().context("no CPU time")?.parse()?;
        *times.entry(if is_this { "drain".to_owned() } else { name }).or_default() += ns as f64 / 1e9;
    }
    Ok(times)
}
