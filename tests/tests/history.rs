//! Holds that history has what was printed, while the daemon runs and after it, that other programs read it, and that a disk that is
//! full costs nothing but history.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use flowprobe_tests::daemon::{Daemon, binary};
use flowprobe_tests::exporting::{ExportingProcess, Layout, Sender};
use flowprobe_tests::history::{condition, query};
use flowprobe_tests::inject;
use flowprobe_tests::listening::{HERE, flows};
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::process::{read, wait_until};
use flowprobe_tests::truth::{Object, number};
use flowprobe_tests::{require, skip};
use serde_json::Value;

fn rows(answer: &Value) -> Result<&Vec<Value>> {
    answer["rows"].as_array().with_context(|| answer.to_string())
}

/// What tells a record, and what it counts: in JSON lines and in answers alike.
fn essence(record: &Value, address: [&str; 2]) -> String {
    let of = |name: &str| record.get(name).cloned().unwrap_or_default().to_string();
    let port = |name: &str| record.get(name).and_then(Value::as_u64).unwrap_or(0).to_string();
    let names =
        ["protocolIdentifier", "octetDeltaCount", "packetDeltaCount", "flowStartMilliseconds", "flowEndMilliseconds"];
    let ends = [of(address[0]), port("sourceTransportPort"), of(address[1]), port("destinationTransportPort")];
    names.into_iter().map(of).chain(ends).collect::<Vec<_>>().join(" ")
}

fn printed(records: &[Object]) -> Vec<String> {
    let one = |record: &Object| {
        let record = Value::Object(record.clone());
        let version = if record.get("sourceIPv6Address").is_some() { "IPv6" } else { "IPv4" };
        essence(&record, [&format!("source{version}Address"), &format!("destination{version}Address")])
    };
    let mut all: Vec<String> = records.iter().map(one).collect();
    all.sort();
    all
}

fn kept(answer: &Value) -> Result<Vec<String>> {
    let mut all: Vec<String> =
        rows(answer)?.iter().map(|row| essence(row, ["sourceIPAddress", "destinationIPAddress"])).collect();
    all.sort();
    Ok(all)
}

/// How many records a daemon has in history, written or not.
fn in_history(pid: u32) -> Result<u64> {
    let history = condition(pid)?;
    Ok(history["storedRecords"].as_u64().unwrap_or(0) + history["waitingRecords"].as_u64().unwrap_or(0))
}

const ALL: [&str; 5] = ["records", "--last", "1h", "--top", "100000"];

#[test]
fn history_has_what_was_metered_and_what_was_received_while_the_daemon_runs_and_afterwards() -> Result<()> {
    require!();
    let room = Namespace::with_pair()?;
    let folder = tempfile::tempdir()?;
    let store = folder.path().join("store").display().to_string();
    let listen = format!("udp://{HERE}");
    let daemon = Daemon::quick(&room, &["-i", "vb", "--listen", &listen, "--store", &store])?;
    let socket = format!("/run/flowprobe/{}.sock", daemon.id());
    let metered = inject::send_flows(&room, "va", "vb", 1)?;
    let sender = Sender::new(&room, "127.0.0.2:9000", HERE)?;
    let mut process = ExportingProcess::new(10, 1);
    let layout = Layout::plain(256, &process);
    for turn in 0..10 {
        let data = flows(turn * 3, 3, &process);
        sender.send(&process.message(&[layout.template(), layout.data(&data, &process)]))?;
    }
    let expected = metered.0.len() as u64 + 30;
    wait_until("all records in history", || Ok(in_history(daemon.id())? >= expected))?;
    let of_daemon = query(&[&ALL[..], &["--socket", &socket]].concat())?;
    let talkers = ["talkers", "--last", "1h", "--top", "1000", "--by", "flows"];
    let talkers_of_daemon = query(&[&talkers[..], &["--socket", &socket]].concat())?;
    // Another that would write there is refused.
    let other = Command::new(binary()?).args(["run", "--listen", "udp://127.0.0.1:0", "--store", &store]).output()?;
    let said = String::from_utf8_lossy(&other.stderr).into_owned();
    ensure!(other.status.code() == Some(2) && said.contains("the flowprobe with process ID"), "{said}");
    let report = daemon.stop()?;
    ensure!(report.records.len() as u64 == expected, "{} records", report.records.len());
    ensure!(kept(&of_daemon)? == printed(&report.records), "{of_daemon}");
    let of_files = query(&[&ALL[..], &["--store", &store]].concat())?;
    ensure!(kept(&of_files)? == printed(&report.records), "{of_files}");
    let talkers_of_files = query(&[&talkers[..], &["--store", &store]].concat())?;
    ensure!(talkers_of_files["rows"] == talkers_of_daemon["rows"], "{talkers_of_files}\n{talkers_of_daemon}");
    // The names and the origin are kept, too.
    let received = query(&[&ALL[..], &["--store", &store, "--exporter", "127.0.0.2"]].concat())?;
    ensure!(rows(&received)?.len() == 30, "{received}");
    let by_interface = query(&[&ALL[..], &["--store", &store, "--interface", "vb"]].concat())?;
    ensure!(rows(&by_interface)?.len() == metered.0.len(), "{by_interface}");
    ensure!(rows(&by_interface)?.iter().all(|row| row["ingressInterfaceName"] == "vb"), "{by_interface}");
    Ok(())
}

/// Sends so many records to a daemon in one go, each of a source of its own.
fn send_many(room: &Namespace, count: u32) -> Result<()> {
    let sender = Sender::new(room, "127.0.0.3:9000", HERE)?;
    let mut process = ExportingProcess::new(10, 1);
    let layout = Layout::plain(256, &process);
    for turn in 0..count / 20 {
        let data = flows(turn * 20, 20, &process);
        sender.send(&process.message(&[layout.template(), layout.data(&data, &process)]))?;
    }
    Ok(())
}

#[test]
fn a_full_disk_costs_nothing_but_history_and_is_named() -> Result<()> {
    require!("mount", "umount");
    let room = Namespace::new()?;
    let folder = tempfile::tempdir()?;
    let disk = Disk::of(folder.path(), "256k")?;
    let store = folder.path().join("store").display().to_string();
    let mut daemon = Daemon::start(&room, &["--listen", &format!("udp://{HERE}"), "--store", &store])?;
    let pid = daemon.id();
    wait_until("a daemon that keeps history", || Ok(condition(pid)?.is_object()))?;
    let full = std::fs::write(folder.path().join("filler"), vec![1; 300 << 10]);
    ensure!(full.is_err_and(|error| error.kind() == std::io::ErrorKind::StorageFull), "there is room left");
    send_many(&room, 2000)?;
    daemon.wait_for_records(2000)?;
    daemon.wait_for_log("history cannot be written, and waits: ", 1)?;
    let history = condition(daemon.id())?;
    let problem = history["problem"].as_str().unwrap_or_default();
    ensure!(problem.contains("No space left on device"), "{history}");
    ensure!(history["waitingRecords"] == 2000, "{history}");
    // With room again, what has waited is written.
    std::fs::remove_file(folder.path().join("filler"))?;
    daemon.wait_for_log("history is written again", 1)?;
    let report = daemon.stop()?;
    ensure!(report.records.len() == 2000, "{} records", report.records.len());
    let answer = query(&[&ALL[..], &["--store", &store]].concat())?;
    ensure!(kept(&answer)? == printed(&report.records), "{}", answer["total"]);
    drop(disk);
    Ok(())
}

/// A small file system in memory, until it is dropped.
struct Disk<'a> {
    folder: &'a Path,
}

impl<'a> Disk<'a> {
    fn of(folder: &'a Path, size: &str) -> Result<Self> {
        read(Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(folder))?;
        Ok(Self { folder })
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.folder).output();
    }
}

/// What DuckDB makes of the files, if it is there.
fn duckdb(sql: &str) -> Result<Vec<Value>> {
    let program = "import duckdb, json, sys\n\
                   rows = duckdb.sql(sys.argv[1])\n\
                   names = rows.columns\n\
                   print(json.dumps([dict(zip(names, row)) for row in rows.fetchall()], default=str))";
    let text = read(Command::new("python3").args(["-c", program, sql]))?;
    serde_json::from_str(&text).with_context(|| text.clone())
}

#[test]
fn duckdb_reads_the_files_while_the_daemon_writes_and_finds_the_same() -> Result<()> {
    require!("python3");
    if Command::new("python3").args(["-c", "import duckdb"]).output().is_ok_and(|output| !output.status.success()) {
        let test = "duckdb_reads_the_files_while_the_daemon_writes_and_finds_the_same";
        skip::note(test, "not installed: duckdb");
        return Ok(());
    }
    let room = Namespace::new()?;
    let folder = tempfile::tempdir()?;
    let store = folder.path().join("store").display().to_string();
    let daemon = Daemon::start(&room, &["--listen", &format!("udp://{HERE}"), "--store", &store])?;
    send_many(&room, 1000)?;
    let pid = daemon.id();
    wait_until("records that are written", || Ok(condition(pid)?["storedRecords"] == 1000))?;
    // As docs/history.md has it.
    let files = format!("'{store}/flows/*/*.parquet'");
    let sql = format!(
        "SELECT sourceIPAddress AS address, sum(octetDeltaCount * samplingInterval)::BIGINT AS octets, \
         sum(packetDeltaCount * samplingInterval)::BIGINT AS packets, count(*) AS flows \
         FROM {files} WHERE flowEndMilliseconds >= now() - INTERVAL 1 DAY GROUP BY 1"
    );
    let theirs = duckdb(&sql)?;
    let ours = query(&["talkers", "--last", "24h", "--top", "100000", "--store", &store])?;
    let by_address = |rows: &[Value], names: [&str; 3]| -> Result<BTreeMap<String, [u64; 3]>> {
        let one = |row: &Value| {
            let row = row.as_object().context("a row")?;
            let counts = names.map(|name| number(row, name).unwrap_or(0));
            Ok((row["address"].as_str().context("an address")?.to_owned(), counts))
        };
        rows.iter().map(one).collect()
    };
    let theirs = by_address(&theirs, ["octets", "packets", "flows"])?;
    let mut ours = by_address(rows(&ours)?, ["octetsSent", "packetsSent", "flowsSent"])?;
    ours.retain(|_, counts| counts[2] > 0);
    ensure!(theirs == ours && !ours.is_empty(), "{theirs:?}\n{ours:?}");
    daemon.stop()?;
    // One address's records, by times and text.
    let (address, _) = ours.first_key_value().context("an address")?;
    let sql = format!(
        "SELECT count(*) AS n, min(flowStartMilliseconds) AS first FROM {files} WHERE sourceIPAddress = '{address}'"
    );
    let theirs = duckdb(&sql)?;
    let ours = query(&["records", "--last", "24h", "--top", "100000", "--source", address, "--store", &store])?;
    ensure!(theirs[0]["n"] == rows(&ours)?.len(), "{theirs:?} {ours}");
    Ok(())
}
