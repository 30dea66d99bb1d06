//! Holds that a disk that turns read-only, a file that is damaged, a clock that is set and a daemon that is killed cost nothing but
//! history, and of that no more than docs/history.md says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow, ensure};
use flowprobe_tests::accuracy::is_long;
use flowprobe_tests::daemon::{Daemon, binary, flowprobe};
use flowprobe_tests::disk::TinyDisk;
use flowprobe_tests::exporting::{ExportingProcess, Layout, Sender};
use flowprobe_tests::history::{DuckDb, Found, condition, numbers, query, records_of_daemon, records_of_files};
use flowprobe_tests::inject;
use flowprobe_tests::ipfix::Collector;
use flowprobe_tests::listening::{HERE, flows};
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::process::{Process, read, wait_until};
use flowprobe_tests::relayed::{self, Keeper};
use flowprobe_tests::{require, skip};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Records of a message.
const EACH: u32 = 20;

/// An exporter whose flows are numbered.
struct Exporter {
    sender: Sender,
    process: ExportingProcess,
    next: u32,
}

impl Exporter {
    fn new(room: &Namespace) -> Result<Self> {
        let sender = Sender::new(room, "127.0.0.3:9000", HERE)?;
        Ok(Self { sender, process: ExportingProcess::new(10, 1), next: 0 })
    }

    /// Sends so many records of flows that ended so many hours ago, a moment more.
    fn send(&mut self, count: u32, hours_ago: u32) -> Result<()> {
        let now = ExportingProcess::new(10, 1).seconds;
        self.process.seconds = now - hours_ago * 3600;
        let layout = Layout::plain(256, &self.process);
        for _ in 0..count / EACH {
            let data = flows(self.next, EACH, &self.process);
            self.next += EACH;
            self.sender.send(&self.process.message(&[layout.template(), layout.data(&data, &self.process)]))?;
        }
        Ok(())
    }
}

fn wait_until_stored(daemon: &Daemon, records: u64) -> Result<()> {
    wait_until("records that are written", || Ok(condition(daemon.id())?["storedRecords"] == records))
}

/// The value of a metric without labels.
fn metric(pid: u32, name: &str) -> Result<String> {
    let socket = format!("/run/flowprobe/{pid}.sock");
    let page = read(Command::new(binary()?).args(["status", "--metrics", "--socket", &socket]))?;
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map(str::to_owned).with_context(|| format!("no {name}: {page}"))
}

/// A folder that is read-only in the view that a process has of the machine, until this is dropped.
struct ReadOnly<'a> {
    pid: String,
    folder: &'a str,
}

impl<'a> ReadOnly<'a> {
    /// A view of its own is what `ip netns exec` gives each daemon. The folder is mounted over itself, since one in which a file is
    /// open for writing, as the lock is, cannot be made read-only where it is.
    fn of(pid: u32, folder: &'a str) -> Result<Self> {
        let read_only = Self { pid: pid.to_string(), folder };
        read_only.run(&["mount", "--bind", folder, folder])?;
        read_only.run(&["mount", "-o", "remount,bind,ro", folder])?;
        Ok(read_only)
    }

    fn run(&self, command: &[&str]) -> Result<()> {
        read(Command::new("nsenter").args(["--target", &self.pid, "--mount"]).args(command)).map(drop)
    }

    fn end(self) -> Result<()> {
        self.run(&["umount", self.folder])
    }
}

#[test]
fn a_disk_that_turns_read_only_costs_nothing_but_history_and_is_named() -> Result<()> {
    require!("mount", "umount", "nsenter");
    let room = Namespace::new()?;
    let disk = TinyDisk::new(16 << 10)?;
    let store = disk.path().join("store").display().to_string();
    let collector = Keeper::tcp(&room)?;
    let listen = format!("udp://{HERE}");
    let arguments = ["--listen", &listen, "--store", &store, "--collector", collector.url()];
    let mut daemon = Daemon::start(&room, &arguments)?;
    let pid = daemon.id();
    let mut exporter = Exporter::new(&room)?;
    exporter.send(100, 0)?;
    wait_until_stored(&daemon, 100)?;
    ensure!(metric(pid, "flowprobe_store_failing")? == "0", "it fails already");

    let read_only = ReadOnly::of(pid, &store)?;
    exporter.send(1000, 0)?;
    daemon.wait_for_log("history cannot be written, and waits: ", 1)?;
    let history = condition(pid)?;
    let problem = history["problem"].as_str().unwrap_or_default();
    ensure!(problem.contains("Read-only file system"), "{history}");
    ensure!(
        daemon.log().iter().any(|line| line.contains("waits: ") && line.contains("Read-only")),
        "{:?}",
        daemon.log()
    );
    ensure!(metric(pid, "flowprobe_store_failing")? == "1", "it does not say so");
    daemon.wait_for_records(1100)?;
    daemon.wait_for_sink("tcp", "all records exported", |sink| sink["collector"]["sentRecords"] == 1100)?;
    wait_until("records that wait", || Ok(condition(pid)?["waitingRecords"] == 1000))?;
    // What waits is in the daemon's answers, and what was written is in everybody's.
    ensure!(numbers(&records_of_daemon(pid)?)? == (0..1100).collect::<Vec<_>>(), "not all are in the answer");
    ensure!(numbers(&records_of_files(&store)?)? == (0..100).collect::<Vec<_>>(), "files are not as they were");

    read_only.end()?;
    daemon.wait_for_log("history is written again", 1)?;
    let history = condition(pid)?;
    ensure!(history["problem"].is_null() && history["waitingRecords"] == 0, "{history}");
    ensure!(metric(pid, "flowprobe_store_failing")? == "0", "it still says so");
    let report = daemon.stop()?;
    ensure!(report.records.len() == 1100, "{} records", report.records.len());
    let records = relayed::read(&collector.stop()?)?;
    let octets = records.iter().filter(|record| !record.options).map(|record| record.number(1));
    let mut exported = octets.map(|octets| Ok(octets? - 1000)).collect::<Result<Vec<_>>>()?;
    exported.sort_unstable();
    ensure!(exported == (0..1100).collect::<Vec<_>>(), "the collector has {exported:?}");
    ensure!(numbers(&records_of_files(&store)?)? == (0..1100).collect::<Vec<_>>(), "not all were written");
    Ok(())
}

/// The files of flows in a store, those of the earliest hour first.
fn files(store: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for hour in fs::read_dir(Path::new(store).join("flows"))? {
        for file in fs::read_dir(hour?.path())? {
            files.push(file?.path());
        }
    }
    files.sort();
    Ok(files)
}

/// Whether an answer names this file, and no other, as one that cannot be read.
fn names_only(answer: &Value, file: &Path) -> bool {
    let unreadable = answer["unreadable"].as_array().cloned().unwrap_or_default();
    let named = |line: &Value| line.as_str().is_some_and(|line| line.contains(&*file.to_string_lossy()));
    unreadable.len() == 1 && unreadable.iter().all(named)
}

#[test]
fn a_damaged_file_is_named_and_passed_over_and_the_rest_stays() -> Result<()> {
    require!();
    let room = Namespace::new()?;
    let folder = tempfile::tempdir()?;
    let store = folder.path().join("store").display().to_string();
    let arguments = ["--listen", &format!("udp://{HERE}"), "--store", &store];
    let mut daemon = Daemon::start(&room, &arguments)?;
    let mut exporter = Exporter::new(&room)?;
    // Three hours, and so three files: 0 to 39 of long ago, 40 to 79, and 80 to 119 of now.
    for hours_ago in [5, 3, 0] {
        exporter.send(40, hours_ago)?;
    }
    daemon.wait_for_records(120)?;
    daemon.stop()?;
    let all = files(&store)?;
    let [_, before, now] = &all[..] else { anyhow::bail!("{all:?}") };

    // One of an hour that is over is put aside when the hour is to become one file, which is soon after the start.
    let octets = fs::read(before)?;
    fs::write(before, &octets[..octets.len() - 100])?;
    let first_and_last: Vec<u64> = (0..40).chain(80..120).collect();
    let answer = records_of_files(&store)?;
    ensure!(names_only(&answer, before) && numbers(&answer)? == first_and_last, "{answer}");
    let mut daemon = Daemon::start(&room, &arguments)?;
    daemon.wait_for_log(&format!("history: {}", before.display()), 1)?;
    let of_hour = before.strip_prefix(Path::new(&store).join("flows"))?;
    wait_until("a file that is put aside", || Ok(Path::new(&store).join("damaged").join(of_hour).is_file()))?;
    ensure!(!before.exists(), "it is still there");
    ensure!(metric(daemon.id(), "flowprobe_store_problems_total")? == "1", "it is not counted");
    for answer in [records_of_daemon(daemon.id())?, records_of_files(&store)?] {
        ensure!(answer["unreadable"] == json!([]) && numbers(&answer)? == first_and_last, "{answer}");
    }

    // One of the hour that is open stays until then.
    let octets = fs::read(now)?;
    let zeros = vec![0; octets.len()];
    for damaged in [&octets[..octets.len() / 2], b"", &zeros] {
        fs::write(now, damaged)?;
        for answer in [records_of_daemon(daemon.id())?, records_of_files(&store)?] {
            ensure!(names_only(&answer, now) && numbers(&answer)? == (0..40).collect::<Vec<_>>(), "{answer}");
        }
    }
    exporter.send(20, 0)?;
    wait_until_stored(&daemon, 20)?;
    let report = daemon.stop()?;
    ensure!(report.records.len() == 20, "{} records", report.records.len());
    let answer = records_of_files(&store)?;
    let rest: Vec<u64> = (0..40).chain(120..140).collect();
    ensure!(names_only(&answer, now) && numbers(&answer)? == rest, "{answer}");
    Ok(())
}

/// The wall clock of a process, which this sets and nobody else's: libfaketime answers in the kernel's place.
struct FakeClock {
    library: PathBuf,
    file: PathBuf,
}

impl FakeClock {
    fn new(folder: &Path) -> Result<Self> {
        let library = |folder: PathBuf| folder.join("faketime/libfaketime.so.1");
        let mut places = fs::read_dir("/usr/lib")?.filter_map(|place| Some(library(place.ok()?.path())));
        let library = places.find(|library| library.is_file()).context("faketime without its library")?;
        let clock = Self { library, file: folder.join("clock") };
        clock.is_off_by(0)?;
        Ok(clock)
    }

    /// Sets it so many hours forwards or backwards from the machine's.
    fn is_off_by(&self, hours: i64) -> Result<()> {
        let fresh = self.file.with_extension("fresh");
        fs::write(&fresh, format!("{:+}\n", hours * 3600))?;
        Ok(fs::rename(&fresh, &self.file)?)
    }

    fn set_for(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("FAKETIME_TIMESTAMP_FILE", &self.file);
        // Read anew each time; the other clock runs on.
        command.envs([("FAKETIME_NO_CACHE", "1"), ("FAKETIME_DONT_FAKE_MONOTONIC", "1"), ("DONT_FAKE_MONOTONIC", "1")]);
    }
}

const HOUR_MS: i64 = 3_600_000;

fn now_ms() -> Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

/// What of a record has to be the same everywhere, its end first.
fn essence(record: &Value) -> Option<[i64; 4]> {
    let names = ["flowEndMilliseconds", "flowStartMilliseconds", "packetDeltaCount", "octetDeltaCount"];
    let [end, start, packets, octets] = names.map(|name| record[name].as_i64());
    Some([end?, start?, packets?, octets?])
}

#[test]
fn a_clock_that_jumps_an_hour_and_back_costs_nothing_and_hours_are_right() -> Result<()> {
    require!("faketime");
    let room = Namespace::with_pair()?;
    let folder = tempfile::tempdir()?;
    let clock = FakeClock::new(folder.path())?;
    let store = folder.path().join("store").display().to_string();
    let collector = Collector::listen(&room, "127.0.0.1", 0)?;
    let url = collector.url();
    let flags = ["run", "--json", "-i", "vb", "--interval", "200ms", "--idle-timeout", "1s"];
    let mut command = flowprobe(&room, &[&flags[..], &["--store", &store, "--collector", &url]].concat())?;
    clock.set_for(&mut command);
    let mut process = Process::start(&mut command)?;
    process.wait_for_error_lines(" metering ", 1)?;
    let pid = process.id();

    let mut expected = 0;
    let mut ends_at = Vec::new();
    for hours in [0, 1, 0, -1, 0] {
        clock.is_off_by(hours)?;
        let from_ms = now_ms()? + hours * HOUR_MS;
        let sent = inject::send_flows(&room, "va", "vb", 0)?;
        let count = sent.0.len() as u64;
        expected += count;
        wait_until("records in history", || {
            let history = condition(pid)?;
            Ok(history["storedRecords"].as_u64().unwrap_or(0) + history["waitingRecords"].as_u64().unwrap_or(0)
                == expected)
        })?;
        ends_at.extend(vec![from_ms; usize::try_from(count)?]);
    }
    let finished = process.stop(Signal::TERM)?;
    ensure!(finished.status.success(), "{finished:?}");
    let lines = finished.stdout.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut printed: Vec<[i64; 4]> = lines.filter_map(|line| essence(&line)).collect();
    ensure!(printed.len() as u64 == expected, "{} records of {expected} printed", printed.len());
    ensure!(collector.stop()?.records.len() as u64 == expected, "the collector misses some");
    // By the clock as it was then: a record is sooner there than half a minute after its flow.
    for (end, sent_ms) in printed.iter().map(|record| record[0]).zip(ends_at) {
        ensure!((sent_ms - 1000..sent_ms + 30_000).contains(&end), "it ends at {end}, and was sent at {sent_ms}");
    }
    printed.sort_unstable();
    // Hour by hour, each of which is looked for in its own folder.
    let mut kept = Vec::new();
    let first = now_ms()? / HOUR_MS - 3;
    for hour in first..first + 7 {
        let [from, to] = [hour, hour + 1].map(|hour| timestamp(hour * HOUR_MS));
        let answer = query(&["records", "--from", &from?, "--to", &to?, "--top", "100000", "--store", &store])?;
        kept.extend(answer["rows"].as_array().context("rows")?.iter().filter_map(essence));
    }
    kept.sort_unstable();
    ensure!(kept == printed, "{kept:?}\n{printed:?}");
    Ok(())
}

/// A moment as `flowprobe query` takes it.
fn timestamp(ms: i64) -> Result<String> {
    Ok(read(Command::new("date").args(["--utc", "--date", &format!("@{}", ms / 1000), "+%Y-%m-%dT%H:%M:%SZ"]))?
        .trim()
        .to_owned())
}

/// Sends records of flows that ended so many hours ago to a daemon, and kills it after a time; returns up to which number it said that
/// records are written. DuckDB reads meanwhile.
fn send_and_kill(
    room: &Namespace,
    store: &str,
    duckdb: &mut DuckDb,
    (first, hours_ago): (u32, u32),
    time: Duration,
) -> Result<u64> {
    let listen = format!("udp://{HERE}?receive-buffer=4MiB");
    let daemon = Daemon::start(room, &["--listen", &listen, "--store", store, "--interval", "200ms"])?;
    let mut exporter = Exporter::new(room)?;
    exporter.next = first;
    let (stored, stop) = (AtomicU64::new(first.into()), AtomicBool::new(false));
    let watch = || -> Result<()> {
        while !stop.load(Ordering::Relaxed) {
            let before = stored.load(Ordering::Acquire);
            // Where a file was exchanged meanwhile, it is to look again.
            if let Some(found) = duckdb.look(store, before)? {
                ensure!(
                    (found.distinct, found.early, found.odd) == (found.rows, before, 0),
                    "{before} are written: {found:?}"
                );
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let watching = scope.spawn(watch);
        let end = Instant::now() + time;
        let mut sending = || -> Result<()> {
            for turn in 0_u64.. {
                exporter.send(2 * EACH, hours_ago)?;
                sleep(Duration::from_millis(5));
                if turn.is_multiple_of(20) {
                    let written = condition(daemon.id())?["storedRecords"].as_u64().unwrap_or(0);
                    stored.store(u64::from(first) + written, Ordering::Release);
                }
                if Instant::now() >= end {
                    break;
                }
            }
            Ok(())
        };
        let sent = sending();
        let killed = daemon.kill();
        stop.store(true, Ordering::Relaxed);
        let watched = watching.join().map_err(|_| anyhow!("the thread that watches panicked"))?;
        sent.and(killed.map(drop)).and(watched)
    })?;
    Ok(stored.into_inner())
}

#[test]
fn a_daemon_that_is_killed_again_and_again_loses_what_waited_and_nothing_else() -> Result<()> {
    let test = "a_daemon_that_is_killed_again_and_again_loses_what_waited_and_nothing_else";
    require!("python3");
    let Some(mut duckdb) = DuckDb::start()? else {
        skip::note(test, "not installed: duckdb");
        return Ok(());
    };
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let room = Namespace::new()?;
    let folder = tempfile::tempdir()?;
    let store = folder.path().join("store").display().to_string();
    let (mut kept, mut whole) = (0, 0);
    let mut parts = Vec::new();
    for round in 0..if is_long() { 200 } else { 8 } {
        // Of eight rounds one ends in each eighth of the time, so that some are killed before the first file and some after it.
        if parts.is_empty() {
            parts = (0..8).collect();
            random.shuffle(&mut parts);
        }
        let part = parts.pop().context("parts")?;
        let time = Duration::from_millis(10 + part * 1100 + random.u64(..1100));
        // Each round has another hour, which is over: so the next daemon makes a file of it as soon as it runs.
        let from = (u32::try_from(kept)?, 2 + round % 20);
        let stored = send_and_kill(&room, &store, &mut duckdb, from, time)?;
        let found = duckdb.look(&store, stored)?;
        kept = found.map_or(0, |found| found.rows);
        let context = format!("seed {seed}, round {round}: {stored} were written, {found:?}");
        ensure!(kept >= stored, "{context}");
        // Numbers without a gap: nobody exchanges files any more, and none can be gone.
        let expected = Found { rows: kept, distinct: kept, early: stored, odd: 0 };
        ensure!(found.is_none_or(|found| found == expected), "{context}");
        let below = duckdb.look(&store, kept)?;
        ensure!(below.is_none_or(|below| below.early == kept), "{context}: {below:?}");
        let answer = query(&["protocols", "--last", "26h", "--store", &store])?;
        ensure!(answer["total"]["flows"] == kept && answer["unreadable"] == json!([]), "{context}: {answer}");
        whole += files(&store)?.iter().filter(|file| file.to_string_lossy().contains("/hour-")).count();
    }
    println!(
        "{kept} records, {whole} hours made whole on the way; DuckDB looked {} times, and {} times too late",
        duckdb.found, duckdb.gone
    );
    ensure!(kept > 0, "nothing was kept");
    // One that is left alone makes files of all hours that are over, and every row is there once.
    let daemon = Daemon::start(&room, &["--listen", &format!("udp://{HERE}"), "--store", &store])?;
    wait_until("a whole hour", || Ok(files(&store)?.iter().any(|file| file.to_string_lossy().contains("/hour-"))))?;
    daemon.stop()?;
    let found = duckdb.look(&store, kept)?;
    let expected = Found { rows: kept, distinct: kept, early: kept, odd: 0 };
    ensure!(found.is_none_or(|found| found == expected), "{found:?} of {kept}");
    Ok(())
}
