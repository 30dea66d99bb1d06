//! Holds that a daemon which listens to many exporters, or to fast ones, loses no record that it does not count, and that its
//! memory is bounded. Beside it nfcapd is given the very same stream; what both cost is printed. `FLOWPROBE_LONG` makes it five
//! minutes of 200,000 records a second.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fastrand::Rng;
use flowprobe_tests::accuracy::{is_long, seconds};
use flowprobe_tests::barrage::{Barrage, Sent, UdpQueue};
use flowprobe_tests::counterpart::CountingNfcapd;
use flowprobe_tests::daemon::{Daemon, flowprobe, status_of};
use flowprobe_tests::exporting::{ExportingProcess, Field, Flow, Layout, Set};
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::process::{Process, wait_until};
use flowprobe_tests::truth::{Object, number};
use flowprobe_tests::{require, resources};
use rustix::process::Signal;
use serde_json::Value;

const PORT: u16 = 2055;
const LISTEN: &str = "udp://127.0.0.1:2055?receive-buffer=4MiB";

/// Of either collector, as much as the kernel grants to everybody.
const RECEIVE_BUFFER: u32 = 4 << 20;

/// Octets that a daemon may have in memory with a thousand exporters.
const MOST_OF_A_THOUSAND: u64 = 128 << 20;

/// The same under load, whatever is behind it.
const MOST_UNDER_LOAD: u64 = 256 << 20;

/// Exporters of the thousand.
const EXPORTERS: u16 = 1000;

/// Messages that each sends, with so many records each.
const ROUNDS: u32 = 3;
const RECORDS: u32 = 10;

/// What was printed of an exporter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Heard {
    records: u64,
    packets: u64,
    octets: u64,
    /// The interval of its sampling, in all of its records; 0 where they differ.
    sampling: u64,
}

/// One of a thousand: a template that no other has, and a sampling interval that few have.
struct One {
    address: Ipv4Addr,
    process: ExportingProcess,
    layout: Layout,
    sampling: u32,
    flows: Vec<Flow>,
}

impl One {
    fn new(number: u16) -> Self {
        let [high, low] = number.to_be_bytes();
        let version = if number.is_multiple_of(2) { 9 } else { 10 };
        let process = ExportingProcess::new(version, number.into());
        let times: [(u16, u16); 2] = if version == 9 { [(22, 4), (21, 4)] } else { [(152, 8), (153, 8)] };
        let mut fields = [&[(8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (2, 4), (1, 4)][..], &times].concat();
        Rng::with_seed(number.into()).shuffle(&mut fields);
        let layout = Layout::of(256 + number % 700, &fields).with(Field::iana(16, 4), &u32::from(number).to_be_bytes());
        let first = u32::from(number) * ROUNDS * RECORDS;
        let flows = (first..first + ROUNDS * RECORDS).map(|flow| Flow::numbered(flow, &process)).collect();
        Self {
            address: Ipv4Addr::new(127, 0, 1 + high, low),
            process,
            layout,
            sampling: 2 + u32::from(number % 100),
            flows,
        }
    }

    fn announcement(&mut self) -> Vec<u8> {
        let scope = Field::iana(if self.process.version == 9 { 1 } else { 149 }, 4);
        let fields = vec![scope, Field::iana(34, 4), Field::iana(35, 1)];
        let says = [&self.process.domain.to_be_bytes()[..], &self.sampling.to_be_bytes(), &[1]].concat();
        let sets = [self.layout.template(), Set::OptionsTemplate(1000, 1, fields), Set::Data(1000, vec![says])];
        self.process.message(&sets)
    }

    fn data(&mut self, round: u32) -> Result<Vec<u8>> {
        let mut rounds = self.flows.chunks(RECORDS as usize);
        let data = self.layout.data(rounds.nth(round as usize).context("a round")?, &self.process);
        Ok(self.process.message(&[data]))
    }

    fn expected(&self) -> Heard {
        let sum = |of: fn(&Flow) -> u32| self.flows.iter().map(|flow| u64::from(of(flow))).sum();
        Heard {
            records: self.flows.len() as u64,
            packets: sum(|flow| flow.packets),
            octets: sum(|flow| flow.octets),
            sampling: self.sampling.into(),
        }
    }
}

/// What is printed, by exporter.
type Tally = Arc<Mutex<BTreeMap<String, Heard>>>;

/// Adds a printed record to those of its exporter; false where it is none.
fn add(tally: &Tally, line: &str) -> Option<()> {
    let record: Object = serde_json::from_str(line).ok()?;
    let exporter = record.get("exporterIPv4Address")?.as_str()?.to_owned();
    let number = |name: &str| number(&record, name).ok();
    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
    let sampling = number("samplingInterval").unwrap_or(0);
    let heard = tally.entry(exporter).or_insert(Heard { sampling, ..Heard::default() });
    heard.records += 1;
    heard.packets += number("packetDeltaCount")?;
    heard.octets += number("octetDeltaCount")?;
    if heard.sampling != sampling {
        heard.sampling = 0;
    }
    Some(())
}

#[test]
fn a_thousand_exporters() -> Result<()> {
    require!();
    let room = Namespace::new()?;
    let tally = Tally::default();
    let adding = Arc::clone(&tally);
    let daemon = Daemon::start_folding(&room, &["--listen", LISTEN], move |line| add(&adding, line).is_none())?;
    let before = resources::memory(daemon.id(), "VmRSS")?;
    let mut exporters: Vec<One> = (0..EXPORTERS).map(One::new).collect();
    let mut sent = 0;
    for round in 0..=ROUNDS {
        let messages = exporters.iter_mut().map(|exporter| {
            let message = if round == 0 { exporter.announcement() } else { exporter.data(round - 1)? };
            Ok((exporter.address, message))
        });
        let messages = messages.collect::<Result<Vec<_>>>()?;
        room.inside(|| {
            for (address, message) in &messages {
                UdpSocket::bind((*address, PORT))?.send_to(message, ("127.0.0.1", PORT))?;
            }
            Ok(())
        })?;
        sent += messages.len() as u64;
        daemon.wait_for_health("listeners", "all datagrams", |listener| {
            listener["messages"].as_u64().unwrap_or(0) + listener["kernelDrops"].as_u64().unwrap_or(0) == sent
        })?;
    }
    let status = daemon.status()?;
    ensure!(status["listeners"][0]["kernelDrops"] == 0, "there was room for all: {}", status["listeners"]);
    let healthy = status["exporters"].as_array().context("exporters")?.iter().filter(|exporter| is_healthy(exporter));
    let healthy = healthy.count();
    ensure!(healthy == usize::from(EXPORTERS), "{healthy} exporters are healthy: {:.2000}", status["exporters"]);
    let (after, most) = (resources::memory(daemon.id(), "VmRSS")?, resources::memory(daemon.id(), "VmHWM")?);
    let of_each = after.saturating_sub(before) / u64::from(EXPORTERS);
    println!("{before} octets before, {after} with {EXPORTERS} exporters, {of_each} for each, {most} at most");
    ensure!(most <= MOST_OF_A_THOUSAND, "{most} octets in memory");

    let report = daemon.stop()?;
    ensure!(report.exporters.len() == usize::from(EXPORTERS), "{} exporters at the end", report.exporters.len());
    let heard = tally.lock().unwrap_or_else(PoisonError::into_inner);
    for exporter in &exporters {
        let address = exporter.address.to_string();
        let expected = exporter.expected();
        ensure!(heard.get(&address) == Some(&expected), "{address}: {:?} of {expected:?}", heard.get(&address));
    }
    ensure!(heard.len() == exporters.len(), "{} exporters printed", heard.len());
    Ok(())
}

/// Whether all records of an exporter were read and nothing of it was missed.
fn is_healthy(exporter: &Value) -> bool {
    let nothing = ["missing", "reordered", "duplicates", "restarts", "heldSets", "droppedSets"];
    exporter["records"] == ROUNDS * RECORDS
        && exporter["optionsRecords"] == 1
        && exporter["templates"] == 2
        && nothing.iter().all(|name| exporter[*name] == 0)
        && exporter["faults"].as_object().is_some_and(serde_json::Map::is_empty)
}

/// A collector that is measured.
enum Contender {
    /// flowprobe with nothing behind it, and no output.
    Quiet,
    /// With JSON lines to nowhere.
    Json,
    /// With a collector over UDP that reads nothing.
    Relay,
    /// nfcapd, which writes to memory.
    Nfcapd,
}

/// A line of the table.
struct Row {
    name: &'static str,
    sent: Sent,
    taken: u64,
    drops: u64,
    /// Records for which what is behind a daemon had no room.
    lost: u64,
    cpu: Duration,
    memory: u64,
}

impl Row {
    fn print(&self) {
        let seconds = self.cpu.as_secs_f64();
        let taken = self.taken as f64;
        println!(
            "| {} | {} | {} | {} | {} | {seconds:.2} | {:.0} | {:.0} | {:.1} |",
            self.name,
            self.sent.records,
            self.taken,
            self.drops,
            self.lost,
            taken / seconds,
            1e9 * seconds / taken,
            self.memory as f64 / f64::from(1 << 20)
        );
    }
}

/// Records a second and for how long: what a build for development takes, or what was asked for.
fn load() -> (u64, Duration) {
    (if is_long() { 200_000 } else { 20_000 }, seconds(3, 300))
}

#[test]
fn fifty_fast_exporters() -> Result<()> {
    require!("nfcapd");
    println!(
        "| collector | records sent | taken | datagrams dropped | records lost | CPU s | records per CPU s | ns each | peak MiB |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for contender in [Contender::Quiet, Contender::Json, Contender::Relay, Contender::Nfcapd] {
        measure(&contender)?.print();
    }
    Ok(())
}

fn measure(contender: &Contender) -> Result<Row> {
    let room = Namespace::new()?;
    // Nobody reads it, and it is soon full.
    let away = room.inside(|| Ok(UdpSocket::bind("127.0.0.1:0")?))?;
    let collector = format!("udp://{}", away.local_addr()?);
    let arguments: &[&str] = match contender {
        Contender::Quiet => &["--quiet"],
        Contender::Json => &["--json"],
        Contender::Relay => &["--quiet", "--collector", &collector],
        Contender::Nfcapd => return measure_nfcapd(&room),
    };
    let mut command = flowprobe(&room, &["run", "--listen", LISTEN])?;
    let process = Process::start_into(command.args(arguments), File::create("/dev/null")?)?;
    // It says nothing, so that the kernel is asked.
    wait_until("a socket", || Ok(UdpQueue::of(&room, Ipv4Addr::LOCALHOST, PORT).is_ok()))?;
    let (sent, cpu, drops) = bombard(&room, process.id())?;

    let mut status = Value::Null;
    let mut counted = Counted::default();
    wait_until("all datagrams read or counted", || {
        status = status_of(process.id())?;
        counted = Counted::of(&status)?;
        Ok(counted.datagrams + counted.drops >= sent.datagrams)
    })
    .with_context(|| format!("{sent:?}: {status}"))?;
    ensure!(counted.datagrams + counted.drops == sent.datagrams, "{counted:?} of {sent:?}");
    ensure!(counted.drops == drops, "the kernel says that it dropped {drops}: {counted:?}");
    if drops == 0 {
        ensure!(counted.records == sent.records && counted.missing == 0, "{counted:?} of {sent:?}");
    }
    // A datagram has at most 30 records.
    ensure!(sent.records - counted.records <= 30 * drops, "{counted:?} of {sent:?}, {drops} dropped");
    let lost = match contender {
        Contender::Relay => sent_or_lost(process.id(), counted.records)?,
        _ => lost(&status_of(process.id())?),
    };
    let memory = resources::memory(process.id(), "VmHWM")?;
    ensure!(memory <= MOST_UNDER_LOAD, "{memory} octets in memory");
    let finished = process.stop(Signal::TERM)?;
    ensure!(finished.status.success(), "{finished:?}");
    let name = match contender {
        Contender::Quiet => "flowprobe, nothing behind it",
        Contender::Json => "flowprobe, JSON to nowhere",
        Contender::Relay => "flowprobe, relaying over UDP",
        Contender::Nfcapd => "nfcapd",
    };
    Ok(Row { name, sent, taken: counted.records, drops, lost, cpu, memory })
}

/// Records that all sinks together have lost.
fn lost(status: &Value) -> u64 {
    let sinks = status["sinks"].as_array().into_iter().flatten();
    sinks.filter_map(|sink| sink["lost"]["records"].as_u64()).sum()
}

/// Waits until the collector was sent all records, or had no room for them, and returns for how many it had none.
fn sent_or_lost(pid: u32, records: u64) -> Result<u64> {
    let mut status = Value::Null;
    wait_until("all records sent or lost", || {
        status = status_of(pid)?;
        let collector =
            status["sinks"].as_array().and_then(|sinks| sinks.iter().find(|it| it["collector"].is_object()));
        let sent = collector.and_then(|it| it["collector"]["sentRecords"].as_u64()).unwrap_or(0);
        ensure!(sent + lost(&status) <= records, "{records} received: {status}");
        Ok(sent + lost(&status) == records)
    })
    .with_context(|| format!("{records} received: {}", status["sinks"]))?;
    Ok(lost(&status))
}

fn measure_nfcapd(room: &Namespace) -> Result<Row> {
    let nfcapd = CountingNfcapd::start(room, PORT, RECEIVE_BUFFER)?;
    let (sent, cpu, drops) = bombard(room, nfcapd.id())?;
    let memory = resources::memory(nfcapd.id(), "VmHWM")?;
    let taken = nfcapd.stop()?;
    ensure!(sent.records - taken <= 30 * drops, "nfcapd has read {taken} of {sent:?}, {drops} dropped");
    Ok(Row { name: "nfcapd, files in memory", sent, taken, drops, lost: 0, cpu, memory })
}

/// Sends the load to a process that listens, until it has read all; returns what was sent, what CPU time that has cost it, and
/// how many datagrams the kernel had no room for.
fn bombard(room: &Namespace, pid: u32) -> Result<(Sent, Duration, u64)> {
    let (rate, time) = load();
    let mut barrage = Barrage::new(room, 50, PORT)?;
    let queue = || UdpQueue::of(room, Ipv4Addr::LOCALHOST, PORT);
    let before = resources::cpu_time(pid)?;
    let mut sent = barrage.send_for(rate, time)?;
    wait_until("an empty socket", || Ok(queue()?.waiting == 0))?;
    sent += barrage.send_once()?;
    wait_until("an empty socket", || Ok(queue()?.waiting == 0))?;
    // What was read is still worked on.
    std::thread::sleep(Duration::from_secs(2));
    Ok((sent, resources::cpu_time(pid)? - before, queue()?.drops))
}

/// What `flowprobe status` counts.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    datagrams: u64,
    drops: u64,
    records: u64,
    missing: u64,
}

impl Counted {
    fn of(status: &Value) -> Result<Self> {
        let listener = &status["listeners"][0];
        let number = |name: &str| listener[name].as_u64().with_context(|| format!("no {name}: {listener}"));
        let exporters = status["exporters"].as_array().cloned().unwrap_or_default();
        let sum = |name: &str| exporters.iter().filter_map(|exporter| exporter[name].as_u64()).sum();
        Ok(Self {
            datagrams: number("messages")?,
            drops: number("kernelDrops")?,
            records: sum("records"),
            missing: sum("missing"),
        })
    }
}
