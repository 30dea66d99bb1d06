//! Holds that what a collector misses while it is away, or slow, arrives later and in order, across a daemon that is killed; that
//! records come twice only where the documentation says so; and that what has no room is counted. `FLOWPROBE_LONG` makes it
//! 50,000 flows a second and the collector dead for a minute of it.

use std::fs;
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use flowprobe_tests::daemon::Daemon;
use flowprobe_tests::frames::{Flow, packets_of};
use flowprobe_tests::inject;
use flowprobe_tests::live::Generator;
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::process::wait_until;
use flowprobe_tests::stream::{Key, Recorder, StreamCollector, key, must_arrive};
use flowprobe_tests::truth::Object;
use flowprobe_tests::{require, require_kernel};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

const PORT: u16 = 4739;
const URL: &str = "tcp://127.0.0.1:4739";

/// A namespace with a pair, a folder for the spool, and flows that were never sent before.
struct Lab {
    room: Namespace,
    folder: TempDir,
    flows: u16,
}

impl Lab {
    fn new() -> Result<Self> {
        Ok(Self { room: Namespace::with_pair()?, folder: TempDir::new()?, flows: 0 })
    }

    fn spool(&self) -> Result<&str> {
        self.folder.path().to_str().context("a path in UTF-8")
    }

    fn daemon(&self, collector: &str, more: &[&str]) -> Result<Daemon> {
        let usual = [("--interval", "100ms"), ("--idle-timeout", "300ms"), ("--spool", self.spool()?)];
        let usual = usual.iter().filter(|(flag, _)| !more.contains(flag)).flat_map(|(flag, value)| [*flag, *value]);
        let usual: Vec<&str> = usual.collect();
        Daemon::start(&self.room, &[&usual[..], &["-i", "vb", "--collector", collector], more].concat())
    }

    /// Sends a packet each of so many flows.
    fn send(&mut self, flows: u16) -> Result<()> {
        let numbers = self.flows..self.flows + flows;
        self.flows += flows;
        let flows: Vec<Flow> = numbers.map(|number| Flow::udp(number, number % 2 == 0)).collect();
        inject::send(&self.room, "va", "vb", &packets_of(&flows, 1)?.0)
    }
}

/// Waits until all flows have ended and been printed, `records` of them, and none of them is in the daemon's memory any more:
/// each has been sent or waits. Returns what the status says of the collector.
fn settled(daemon: &Daemon, records: u64) -> Result<Value> {
    let what = "that all has been sent or waits";
    daemon.wait_for_sink(URL, what, |sink| {
        let collector = &sink["collector"];
        let [sent, waiting] = ["sentRecords", "waitingRecords"].map(|name| collector[name].as_u64().unwrap_or(0));
        // What was sent twice is counted twice.
        sent + waiting >= records
            && daemon.printed().is_ok_and(|printed| printed.len() as u64 >= records)
            && daemon.status().is_ok_and(|status| status["openFlows"] == 0)
    })
}

fn count(sink: &Value, name: &str) -> u64 {
    sink["collector"][name].as_u64().unwrap_or(0)
}

#[test]
fn nothing_is_lost_when_collector_and_daemon_are_killed() -> Result<()> {
    require!("socat");
    let mut lab = Lab::new()?;
    let recorder = Recorder::start(&lab.room, &format!("TCP-LISTEN:{PORT}"))?;
    let first = lab.daemon(URL, &[])?;
    lab.send(2000)?;
    wait_until("that the collector gets records", || Ok(recorder.octets() > 10_000))?;
    // What lies in its socket is acknowledged, and dies with it.
    recorder.signal(Signal::STOP)?;
    lab.send(2000)?;
    settled(&first, 4000)?;
    let before = recorder.kill()?;
    lab.send(2000)?;
    let away = settled(&first, 6000)?;
    ensure!(away["collector"]["isAway"] == true && count(&away, "waitingRecords") >= 4000, "{away}");
    ensure!(away["lost"]["records"] == 0, "{away}");
    let mut printed = first.printed()?;
    first.kill()?;

    let recorder = Recorder::start(&lab.room, &format!("TCP-LISTEN:{PORT}"))?;
    let second = lab.daemon(URL, &[])?;
    lab.send(2000)?;
    let sink = second.wait_for_sink(URL, "that all is sent", |sink| {
        sink["collector"]["isAway"] == false && count(sink, "waitingRecords") == 0 && count(sink, "sentRecords") >= 8000
    })?;
    ensure!(sink["lost"]["records"] == 0, "{sink}");
    let report = second.stop()?;
    printed.extend(report.records);
    ensure!(printed.len() == 8000, "{} records printed", printed.len());
    let after = recorder.stop()?;
    ensure!(before.records.len() < 4000, "the first collector had read everything");
    let again = must_arrive(&printed, [&before, &after])?;
    println!("{again} of {} records came twice", printed.len());
    // What the first had read, and less than 256 messages that were retired: none was.
    ensure!(
        again <= before.records.len(),
        "{again} records came twice, the first collector had {}",
        before.records.len()
    );
    Ok(())
}

/// Flows a second, and for how many seconds they come.
struct Load {
    rate: u32,
    /// While the collector is there, before and after.
    there: u32,
    /// While it is there and does not read.
    unread: u32,
    /// While it is dead: half of it to a daemon that is killed, half of it to the next.
    away: u32,
}

impl Load {
    fn new() -> Self {
        if std::env::var_os("FLOWPROBE_LONG").is_some() {
            Self { rate: 50_000, there: 20, unread: 5, away: 60 }
        } else {
            Self { rate: 3000, there: 2, unread: 1, away: 2 }
        }
    }

    fn send(&self, lab: &Lab, generator: &mut Generator, seconds: u32) -> Result<()> {
        let start = Instant::now();
        for tenth in 1..=10 * seconds {
            generator.send(&lab.room, self.rate / 10)?;
            sleep((Duration::from_millis(100) * tenth).saturating_sub(start.elapsed()));
        }
        Ok(())
    }
}

/// Octets that had been acknowledged last and go out again, as `docs/export.md` has it.
const WINDOW: u64 = 32 << 20;

/// What a daemon has printed, folded while it prints: millions of records.
type Keys = Arc<Mutex<Vec<Key>>>;

fn folding(lab: &Lab, keys: &Keys) -> Result<Daemon> {
    let keys = Arc::clone(keys);
    let spool = lab.spool()?;
    let flags = ["--interval", "200ms", "--idle-timeout", "400ms", "--spool", spool, "-i", "vb", "--collector", URL];
    Daemon::start_folding(&lab.room, &flags, move |line| {
        let record = serde_json::from_str::<Object>(line).ok().and_then(|record| key(&record).ok());
        keys.lock().expect("nobody panics with it").extend(record);
        false
    })
}

/// Waits until no flow is open and all records were sent or wait; how many were printed.
fn quiet(daemon: &Daemon, keys: &Keys, more: impl Fn(&Value) -> bool) -> Result<usize> {
    let printed = || keys.lock().expect("nobody panics with it").len();
    wait_until("that all has been sent or waits", || {
        let (status, before) = (daemon.status()?, printed());
        sleep(Duration::from_millis(500));
        Ok(status["openFlows"] == 0 && before > 0 && before == printed())
    })?;
    daemon.wait_for_sink(URL, "that all has been sent or waits", more)?;
    Ok(printed())
}

/// The collector dies under traffic, with what it has not read; the daemon is killed while it is dead; it is back under traffic.
#[test]
fn under_load_nothing_is_lost_when_collector_and_daemon_are_killed() -> Result<()> {
    require!("socat");
    require_kernel!(5, 18, "live frames in a test run");
    let (lab, load) = (Lab::new()?, Load::new());
    let (printed, mut generator) = (Keys::default(), Generator::new(&lab.room, "va", 1 << 20)?);
    let recorder = Recorder::start(&lab.room, &format!("TCP-LISTEN:{PORT}"))?;
    let first = folding(&lab, &printed)?;
    load.send(&lab, &mut generator, load.there)?;
    recorder.signal(Signal::STOP)?;
    load.send(&lab, &mut generator, load.unread)?;
    recorder.signal(Signal::KILL)?;
    let dead = recorder;
    load.send(&lab, &mut generator, load.away / 2)?;
    quiet(&first, &printed, |sink| sink["collector"]["isAway"] == true && sink["lost"]["records"] == 0)?;
    first.kill()?;

    let second = folding(&lab, &printed)?;
    load.send(&lab, &mut generator, load.away / 2)?;
    let (recorder, back) = (Recorder::start(&lab.room, &format!("TCP-LISTEN:{PORT}"))?, Instant::now());
    load.send(&lab, &mut generator, load.there)?;
    let all_sent = |sink: &Value| count(sink, "waitingRecords") == 0 && sink["lost"]["records"] == 0;
    let count = quiet(&second, &printed, all_sent)?;
    let caught_up = back.elapsed();
    second.stop()?;
    let octets = dead.octets();
    let (before, after) = (dead.keys()?, recorder.keys()?);

    let printed = printed.lock().expect("nobody panics with it");
    let (had, came) = (before.len(), after.len());
    ensure!(printed.len() == count, "{} records printed, {count} before the end", printed.len());
    ensure!(had > 0 && had + came >= count, "of {count} records {had} came before and {came} after");
    let again = had + came - count;
    let octets_again = again as u64 * octets / had as u64;
    println!(
        "{count} records printed; {had} came before, {came} after, of which {again} again, {octets_again} octets; nothing waited \
         any more {caught_up:.1?} after the collector was back"
    );
    // What comes again is the last that the first had, and comes first.
    ensure!(again <= had && octets_again <= WINDOW, "{octets_again} octets came twice");
    for (what, came, printed) in
        [("before", &before[..], &printed[..had]), ("after", &after[..], &printed[had - again..])]
    {
        let differs = came.iter().zip(printed).position(|(came, printed)| came != printed);
        ensure!(differs.is_none(), "record {differs:?} of those that came {what} is another or elsewhere");
    }
    Ok(())
}

/// A daemon that is killed while what waits goes out begins again where it knows that messages have arrived.
#[test]
fn a_daemon_killed_while_it_catches_up_repeats_what_may_not_have_arrived() -> Result<()> {
    require!("socat");
    let mut lab = Lab::new()?;
    let first = lab.daemon(URL, &[])?;
    lab.send(20_000)?;
    settled(&first, 20_000)?;
    let printed = first.printed()?;
    first.kill()?;
    let recorder = Recorder::start(&lab.room, &format!("TCP-LISTEN:{PORT}"))?;
    let second = lab.daemon(URL, &["--catch-up", "10000"])?;
    wait_until("that the collector gets records", || Ok(recorder.octets() > 200_000))?;
    second.kill()?;
    let before = recorder.stop()?;
    let recorder = Recorder::start(&lab.room, &format!("TCP-LISTEN:{PORT}"))?;
    let third = lab.daemon(URL, &[])?;
    let sent = |sink: &Value| count(sink, "sentRecords") >= 20_000 && count(sink, "waitingRecords") == 0;
    third.wait_for_sink(URL, "that all is sent", sent)?;
    third.stop()?;
    let after = recorder.stop()?;
    let again = must_arrive(&printed, [&before, &after])?;
    println!("{again} of {} records came twice", printed.len());
    ensure!(!before.records.is_empty() && before.records.len() < printed.len(), "it was not killed on the way");
    // Nothing was older than the window.
    ensure!(again == before.records.len(), "{again} records came twice, {} had come", before.records.len());
    // And after a stop in good order nothing comes again.
    let recorder = Recorder::start(&lab.room, &format!("TCP-LISTEN:{PORT}"))?;
    lab.daemon(URL, &[])?.stop()?;
    let rest = recorder.stop();
    ensure!(rest?.records.is_empty(), "what had arrived came again");
    Ok(())
}

#[test]
fn a_slow_collector_gets_everything_once_and_delays_nobody() -> Result<()> {
    require!();
    let mut lab = Lab::new()?;
    // Little room on the way, so that soon messages wait.
    lab.room.set("net/ipv4/tcp_wmem", "4096 16384 65536")?;
    let collector = StreamCollector::with_buffer(&lab.room, "127.0.0.1", PORT, Some(4096))?;
    let mut daemon = lab.daemon(URL, &[])?;
    lab.send(1000)?;
    collector.wait_for_records(1000)?;
    collector.pause(true);
    for _ in 0..6 {
        lab.send(5000)?;
        sleep(Duration::from_millis(300));
    }
    // Drained and printed though nobody reads.
    daemon.wait_until_seen("vb", 31_000)?;
    let sink = settled(&daemon, 31_000)?;
    ensure!(count(&sink, "waitingRecords") > 0 && sink["collector"]["isAway"] == false, "{sink}");
    collector.pause(false);
    collector.wait_for_records(31_000)?;
    let report = daemon.stop()?;
    let received = collector.stop()?;
    ensure!(must_arrive(&report.records, [&received])? == 0, "some records came twice");
    ensure!(report.logged("WARN tcp").is_empty(), "{:?}", report.finished.stderr);
    ensure!(report.logged("on its way").is_empty(), "what nobody asked is said: {:?}", report.finished.stderr);
    Ok(())
}

/// It stops reading, catches up half, and dies: what waits, what is on its way and what was sent past it are in order.
#[test]
fn a_slow_collector_that_dies_gets_everything_in_order() -> Result<()> {
    require!();
    let mut lab = Lab::new()?;
    lab.room.set("net/ipv4/tcp_wmem", "4096 16384 65536")?;
    let daemon = lab.daemon(URL, &[])?;
    let mut all = Vec::new();
    let mut sent = 0;
    for round in 0..3 {
        let collector = StreamCollector::with_buffer(&lab.room, "127.0.0.1", PORT, Some(4096))?;
        lab.send(1000)?;
        sent += 1000;
        wait_until("all so far", || Ok(collector.records() >= 1000))?;
        collector.pause(true);
        lab.send(8000)?;
        sent += 8000;
        settled(&daemon, sent)?;
        let had = collector.records();
        collector.pause(false);
        collector.wait_for_records(had + 2000 * round)?;
        all.push(collector.vanish()?);
    }
    let collector = StreamCollector::listen(&lab.room, "127.0.0.1", PORT)?;
    let arrived = |sink: &Value| sink["collector"]["isAway"] == false && count(sink, "waitingRecords") == 0;
    daemon.wait_for_sink(URL, "that all is sent", arrived)?;
    wait_until("that it is quiet", || {
        let before = collector.records();
        sleep(Duration::from_millis(300));
        Ok(before > 0 && collector.records() == before)
    })?;
    let report = daemon.stop()?;
    all.push(collector.stop()?);
    let again = must_arrive(&report.records, &all)?;
    println!("{again} of {} records came twice", report.records.len());
    ensure!(report.logged(" lost").is_empty(), "{:?}", report.finished.stderr);
    Ok(())
}

#[test]
fn over_its_bound_the_oldest_go_and_are_counted() -> Result<()> {
    require!();
    let mut lab = Lab::new()?;
    let daemon = lab.daemon(URL, &["--spool-size", "1M"])?;
    lab.send(25_000)?;
    let sink = settled(&daemon, 0)?;
    ensure!(sink["collector"]["isAway"] == true, "{sink}");
    let printed = daemon.wait_for_sink(URL, "that all is counted", |sink| {
        count(sink, "waitingRecords") + sink["lost"]["records"].as_u64().unwrap_or(0) == 25_000
    })?;
    let lost = usize::try_from(printed["lost"]["records"].as_u64().context("a number")?)?;
    ensure!(lost > 0 && count(&printed, "waitingOctets") <= 1 << 20, "{printed}");
    let size: u64 = sizes(&lab)?.iter().sum();
    ensure!(size <= (1 << 20) + 4096, "{size} octets on disk");
    let collector = StreamCollector::listen(&lab.room, "127.0.0.1", PORT)?;
    collector.wait_for_records(25_000 - lost)?;
    let report = daemon.stop()?;
    ensure!(must_arrive(&report.records[lost..], [&collector.stop()?])? == 0, "some records came twice");
    ensure!(report.logged("the oldest messages are lost").len() == 1, "{:?}", report.finished.stderr);
    Ok(())
}

fn sizes(lab: &Lab) -> Result<Vec<u64>> {
    let mut sizes = Vec::new();
    for folder in fs::read_dir(lab.folder.path())? {
        for file in fs::read_dir(folder?.path())? {
            sizes.push(file?.metadata()?.len());
        }
    }
    Ok(sizes)
}

#[test]
fn without_a_spool_the_latest_are_kept_in_memory() -> Result<()> {
    require!();
    let mut lab = Lab::new()?;
    let daemon = lab.daemon(URL, &["--spool", "none"])?;
    lab.send(5000)?;
    settled(&daemon, 5000)?;
    let collector = StreamCollector::listen(&lab.room, "127.0.0.1", PORT)?;
    collector.wait_for_records(5000)?;
    let first = daemon.stop()?;
    ensure!(must_arrive(&first.records, [&collector.stop()?])? == 0, "some records came twice");
    ensure!(sizes(&lab)?.is_empty(), "something was written");
    // At the end nobody takes what is in memory.
    let daemon = lab.daemon(URL, &["--spool", "none"])?;
    lab.send(100)?;
    settled(&daemon, 100)?;
    let report = daemon.stop()?;
    ensure!(
        report.logged("WARN tcp://127.0.0.1:4739: 0 records sent, 100 lost").len() == 1,
        "{:?}",
        report.finished.stderr
    );
    Ok(())
}

/// Flows that are open at the end are more than a connection takes at once.
#[test]
fn all_that_is_open_at_the_end_is_sent() -> Result<()> {
    require!();
    let mut lab = Lab::new()?;
    let collector = StreamCollector::listen(&lab.room, "127.0.0.1", PORT)?;
    let mut daemon = lab.daemon(URL, &["--spool", "none", "--idle-timeout", "1h"])?;
    lab.send(40_000)?;
    daemon.wait_until_seen("vb", 40_000)?;
    let report = daemon.stop()?;
    ensure!(must_arrive(&report.records, [&collector.stop()?])? == 0, "some records came twice");
    ensure!(report.records.len() == 40_000, "{} records", report.records.len());
    Ok(())
}
