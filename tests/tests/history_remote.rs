//! Holds that hours of history go to a server that speaks S3 and checks signatures, each row once: after it was away, after keys that
//! it does not take, after a kill, and when records come late.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use flowprobe_tests::counterpart::s3::{self, ENDPOINT, KEY, Server};
use flowprobe_tests::daemon::{Daemon, binary, flowprobe, status_of};
use flowprobe_tests::exporting::{ExportingProcess, Flow, Layout, Sender};
use flowprobe_tests::listening::{HERE, flows};
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::process::{Process, read, wait_until};
use flowprobe_tests::{require, skip};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

/// A daemon's history, the bucket to which it goes, and the keys for that.
struct Place {
    folder: TempDir,
    store: String,
    url: String,
}

impl Place {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name).display().to_string();
        fs::create_dir_all(folder.path().join("root/history"))?;
        let url = format!("s3://history/site/a?endpoint={ENDPOINT}&credentials={}", path("keys"));
        Ok(Self { store: path("store"), url, folder })
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn keys(&self, keys: [&str; 2]) -> Result<()> {
        s3::write_keys(&self.folder.path().join("keys"), keys)
    }

    fn daemon(&self, room: &Namespace) -> Result<Daemon> {
        let listen = format!("udp://{HERE}");
        Daemon::start(room, &["--listen", &listen, "--store", &self.store, "--store-remote", &self.url])
    }

    fn objects(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        s3::objects(&self.root().join("history"))
    }

    /// What objects are to be, apart from how they are called: the files of hours that are over, by hour.
    fn files(&self) -> Result<Vec<Vec<u8>>> {
        let mut all = BTreeMap::new();
        for hour in fs::read_dir(Path::new(&self.store).join("flows"))? {
            for file in fs::read_dir(hour?.path())? {
                let path = file?.path();
                if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("hour-")) {
                    all.insert(path.clone(), fs::read(path)?);
                }
            }
        }
        Ok(all.into_values().collect())
    }

    fn must_be_there(&self) -> Result<()> {
        let there: Vec<Vec<u8>> = self.objects()?.into_values().collect();
        ensure!(there == self.files()? && !there.is_empty(), "{:?}", self.objects()?.keys());
        Ok(())
    }
}

/// Sends so many records of flows that ended so many hours before this one began, each of a source of its own.
fn send(room: &Namespace, count: u32, hours_ago: u64) -> Result<()> {
    let sender = Sender::new(room, "127.0.0.3:9000", HERE)?;
    let mut process = ExportingProcess::new(10, 1);
    let layout = Layout::plain(256, &process);
    let ended_ms = (u64::from(process.seconds) / 3600 - hours_ago) * 3_600_000 + 1_800_000;
    for turn in 0..count / 20 {
        let mut data: Vec<Flow> = flows(turn * 20, 20, &process);
        if hours_ago > 0 {
            for flow in &mut data {
                (flow.start_ms, flow.end_ms) = (ended_ms - 2000, ended_ms);
            }
        }
        sender.send(&process.message(&[layout.template(), layout.data(&data, &process)]))?;
    }
    Ok(())
}

/// Hours are made of parts every half a minute, and what has failed is tried again within a minute: that takes its time.
fn eventually(what: &str, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let mut last = wait_until(what, &mut condition);
    for _ in 0..2 {
        last = last.or_else(|_| wait_until(what, &mut condition));
    }
    last
}

/// What a daemon says of what goes elsewhere.
fn remote(pid: u32) -> Result<Value> {
    Ok(status_of(pid)?["history"]["remote"].clone())
}

fn await_remote(pid: u32, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let mut last = Value::Null;
    let waited = eventually(what, || {
        // It answers from its first drain on.
        last = remote(pid).unwrap_or_default();
        Ok(wanted(&last))
    });
    waited.with_context(|| last.to_string())?;
    Ok(last)
}

fn problem(remote: &Value) -> &str {
    remote["problem"].as_str().unwrap_or_default()
}

#[test]
fn hours_go_to_a_server_that_was_away_and_to_no_one_else_and_are_there_once() -> Result<()> {
    require!("s3s-fs");
    let (room, place) = (Namespace::new()?, Place::new()?);
    place.keys([KEY[0], "another secret"])?;
    let mut daemon = place.daemon(&room)?;
    send(&room, 200, 1)?;
    send(&room, 100, 2)?;
    daemon.wait_for_records(300)?;
    // It is away: that is said, and all else goes on.
    let away = await_remote(daemon.id(), "hours that wait", |remote| {
        remote["waitingHours"] == 2 && problem(remote).contains("Connection refused")
    })?;
    ensure!(away["sentHours"] == 0 && away["problems"].as_u64() > Some(0), "{away}");
    send(&room, 500, 0)?;
    daemon.wait_for_records(500)?;
    eventually("records that are kept", || Ok(status_of(daemon.id())?["history"]["storedRecords"] == 800))?;
    daemon.wait_for_log("history does not get to s3://history/site/a, and waits: hour=", 1)?;

    // It comes, and does not take the key; then it does.
    let _server = Server::start(&room, &place.root())?;
    let refused =
        await_remote(daemon.id(), "a key that is refused", |remote| problem(remote).contains("SignatureDoesNotMatch"))?;
    ensure!(refused["sentHours"] == 0 && place.objects()?.is_empty(), "{refused}");
    place.keys(KEY)?;
    let sent = await_remote(daemon.id(), "hours that are sent", |remote| remote["sentHours"] == 2)?;
    ensure!(sent["waitingHours"] == 0 && sent["problem"].is_null() && sent["missedHours"] == 0, "{sent}");
    daemon.wait_for_log("history goes to s3://history/site/a again", 1)?;
    place.must_be_there()?;
    ensure!(
        place.objects()?.keys().all(|name| name.starts_with("site/a/flows/hour=20") && name.contains("/hour-20")),
        "{:?}",
        place.objects()?.keys()
    );
    let octets: usize = place.objects()?.values().map(Vec::len).sum();
    ensure!(sent["sentOctets"] == octets, "{sent}, {octets}");
    shown_everywhere(daemon.id(), octets)?;
    daemon.stop()?;
    rows_are_the_same(&place)
}

fn shown_everywhere(pid: u32, octets: usize) -> Result<()> {
    let socket = format!("/run/flowprobe/{pid}.sock");
    let status = |form: &[&str]| read(Command::new(binary()?).args(["status", "--socket", &socket]).args(form));
    let (table, metrics) = (status(&[])?, status(&["--metrics"])?);
    for (text, line) in [
        (&table, "Hours of history elsewhere                     sent      waiting       missed"),
        (&table, "  s3://history/site/a                             2            0            0"),
        (&metrics, "flowprobe_store_remote_partitions_total 2"),
        (&metrics, &format!("flowprobe_store_remote_bytes_total {octets}")),
        (&metrics, "flowprobe_store_remote_waiting_partitions 0"),
        (&metrics, "flowprobe_store_remote_failing 0"),
    ] {
        ensure!(text.lines().any(|found| found == line), "`{line}` is not in\n{text}");
    }
    Ok(())
}

/// What DuckDB makes of it, if it is there.
fn duckdb(sql: &str) -> Result<String> {
    let program = "import duckdb, sys\nprint(duckdb.sql(sys.argv[1]).fetchall()[0])";
    read(Command::new("python3").args(["-c", program, sql]))
}

fn has_duckdb(test: &str) -> bool {
    let is_there =
        Command::new("python3").args(["-c", "import duckdb"]).output().is_ok_and(|output| output.status.success());
    if !is_there {
        skip::note(test, "not installed: duckdb");
    }
    is_there
}

/// The bucket has the rows that the store has of these hours, each once: as an outsider reads them.
fn rows_are_the_same(place: &Place) -> Result<()> {
    if !has_duckdb("hours_go_to_a_server_that_was_away_and_to_no_one_else_and_are_there_once, the rows of it") {
        return Ok(());
    }
    let columns = "* EXCLUDE (hour)";
    let here = format!("SELECT {columns} FROM '{}/flows/*/hour-*.parquet'", place.store);
    let there = format!("SELECT {columns} FROM '{}/history/site/a/flows/*/*.parquet'", place.root().display());
    let said = duckdb(&format!(
        "SELECT (SELECT count(*) FROM ({there})), (SELECT count(*) FROM ({here} EXCEPT ALL {there})), \
         (SELECT count(*) FROM ({there} EXCEPT ALL {here}))"
    ))?;
    ensure!(said.trim() == "(300, 0, 0)", "{said}");
    Ok(())
}

#[test]
fn a_kill_costs_an_upload_at_most_and_late_records_take_the_place_of_what_was_there() -> Result<()> {
    require!("s3s-fs");
    let (room, place) = (Namespace::new()?, Place::new()?);
    place.keys(KEY)?;
    let _server = Server::start(&room, &place.root())?;
    let mut daemon = place.daemon(&room)?;
    send(&room, 200, 1)?;
    send(&room, 100, 2)?;
    daemon.wait_for_records(300)?;
    await_remote(daemon.id(), "hours that are sent", |remote| remote["sentHours"] == 2)?;
    let first = place.objects()?;
    daemon.kill()?;

    // What is there is known, and not sent again.
    let daemon = place.daemon(&room)?;
    await_remote(daemon.id(), "a look at what is there", |remote| remote["waitingHours"] == 0)?;
    eventually("an order that was made", || Ok(status_of(daemon.id())?["history"]["hours"] == 2))?;
    let last = remote(daemon.id())?;
    ensure!(last["sentHours"] == 0 && place.objects()? == first, "{last}");
    daemon.kill()?;

    // As after a kill between an upload and its mark.
    let mark = fs::read_dir(Path::new(&place.store).join("sent"))?.next().context("a mark")??.path();
    fs::remove_file(&mark)?;
    let mut daemon = place.daemon(&room)?;
    await_remote(daemon.id(), "an hour that is sent once more", |remote| remote["sentHours"] == 1)?;
    ensure!(mark.is_file() && place.objects()? == first, "{:?}", place.objects()?.keys());

    // Late records wait for others for ten minutes: their file is made that old.
    send(&room, 40, 1)?;
    daemon.wait_for_records(40)?;
    let hours = Path::new(&place.store).join("flows");
    let late = || -> Result<Option<PathBuf>> {
        for hour in fs::read_dir(&hours)? {
            for file in fs::read_dir(hour?.path())? {
                let path = file?.path();
                if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("part-")) {
                    return Ok(Some(path));
                }
            }
        }
        Ok(None)
    };
    wait_until("a part for records that are late", || Ok(late()?.is_some()))?;
    let part = late()?.context("a part")?;
    File::options().write(true).open(&part)?.set_modified(SystemTime::now() - Duration::from_secs(700))?;
    await_remote(daemon.id(), "an hour that is sent anew", |remote| remote["sentHours"] == 2)?;
    let now = place.objects()?;
    ensure!(now.keys().eq(first.keys()) && now != first, "{:?}", now.keys());
    place.must_be_there()?;
    daemon.stop()?;
    if has_duckdb("a_kill_costs_an_upload_at_most_and_late_records_take_the_place_of_what_was_there, the rows of it") {
        let objects = format!("'{}/history/site/a/flows/*/*.parquet'", place.root().display());
        let said = duckdb(&format!("SELECT count(*) FROM {objects}"))?;
        ensure!(said.trim() == "(340,)", "{said}");
    }
    Ok(())
}

#[test]
fn a_long_hour_goes_in_parts_with_keys_of_the_environment() -> Result<()> {
    require!("s3s-fs", "python3");
    if !has_duckdb("a_long_hour_goes_in_parts_with_keys_of_the_environment") {
        return Ok(());
    }
    let (room, place) = (Namespace::new()?, Place::new()?);
    // An hour that was there before, of more than two parts; a later version has other columns.
    let hour = Path::new(&place.store).join("flows/hour=2026-11-24T09");
    fs::create_dir_all(&hour)?;
    let file = hour.join("hour-20261124T100200.000-000000-00000000.parquet");
    let rows = "SELECT range AS number, md5(range::VARCHAR) AS digest FROM range(700000)";
    duckdb(&format!("COPY ({rows}) TO '{}' (FORMAT parquet)", file.display()))?;
    let octets = file.metadata()?.len();
    ensure!(octets > 17 << 20, "{octets} octets are not many");
    let _server = Server::start(&room, &place.root())?;
    let url = format!("s3://history?endpoint={ENDPOINT}");
    let listen = format!("udp://{HERE}");
    let arguments = ["run", "--quiet", "--listen", &listen, "--store", &place.store, "--store-age", "5y"];
    let mut command = flowprobe(&room, &[&arguments[..], &["--store-remote", &url]].concat())?;
    command.env("AWS_ACCESS_KEY_ID", KEY[0]).env("AWS_SECRET_ACCESS_KEY", KEY[1]);
    let daemon = Process::start(&mut command)?;
    await_remote(daemon.id(), "the hour", |remote| remote["sentHours"] == 1)?;
    let objects = place.objects()?;
    let name = "flows/hour=2026-11-24T09/hour-20261124T100200.000-000000-00000000.parquet";
    ensure!(objects.keys().eq([name]) && objects[name] == fs::read(&file)?, "{:?}", objects.keys());
    ensure!(daemon.stop(Signal::TERM)?.status.success(), "it did not end well");
    Ok(())
}
