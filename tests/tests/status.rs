//! Holds that `flowprobe status` says what the daemon's own accounting says, and that whoever asks disturbs nobody.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use flowprobe_tests::daemon::{Daemon, binary};
use flowprobe_tests::frames;
use flowprobe_tests::inject;
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::process::{Finished, Process, read};
use flowprobe_tests::require;
use flowprobe_tests::truth::number;
use serde_json::Value;
use tempfile::TempDir;

/// A daemon that answers in `folder`, and keeps its flows open.
fn daemon(room: &Namespace, folder: &Path) -> Result<Daemon> {
    let folder = folder.to_str().context("a folder's name")?;
    let times = ["--interval", "200ms", "--idle-timeout", "1h"];
    Daemon::start(room, &[&times[..], &["-i", "vb", "--max-flows", "8", "--status-socket", folder]].concat())
}

fn status(socket: &Path, arguments: &[&str]) -> Result<Finished> {
    Process::start(Command::new(binary()?).args(["status", "--socket"]).arg(socket).args(arguments))?.wait()
}

fn snapshots(socket: &Path) -> Result<Vec<Value>> {
    let finished = status(socket, &["--json"])?;
    ensure!(finished.status.success(), "{:?}", finished.stderr);
    finished.stdout.iter().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

fn must_fail(finished: &Finished, part: &str) -> Result<()> {
    let said = finished.stderr.join("\n");
    ensure!(finished.status.code() == Some(1) && finished.stdout.is_empty(), "ended with {}", finished.status);
    ensure!(finished.stderr.len() == 1 && said.contains(part), "`{part}` is not in: {said}");
    Ok(())
}

#[test]
fn the_status_is_an_accounting_that_the_daemon_printed() -> Result<()> {
    require!();
    let (room, folder) = (Namespace::with_pair()?, TempDir::new()?);
    let mut daemon = daemon(&room, folder.path())?;
    let sent = inject::send_flows(&room, "va", "vb", 1)?;
    inject::send(&room, "va", "vb", &[frames::arp()])?;
    let packets = sent.sum().packets + 1;
    daemon.wait_until_seen("vb", packets)?;

    let all = snapshots(folder.path())?;
    let [snapshot] = &all[..] else { anyhow::bail!("one daemon was started: {all:?}") };
    ensure!(snapshot["pid"] == daemon.id() && snapshot["interfaces"][0]["name"] == "vb", "{snapshot}");
    ensure!(snapshot["sinks"][0]["name"] == "standard output", "{snapshot}");
    let sum = snapshot["accounting"][0].as_object().context("a sum")?.clone();
    ensure!(sum["seen"]["packets"] == packets && sum["overflowByProtocol"]["udp"]["packets"].is_u64(), "{sum:?}");
    // The table has room for eight; how many the kernel's map lets in depends on when it is drained.
    let open = usize::try_from(snapshot["openFlows"].as_u64().context("no number of open flows")?)?;
    ensure!((1..=8).contains(&open), "{snapshot}");

    let metrics = status(folder.path(), &["--metrics"])?.stdout;
    let line = format!("flowprobe_packets_total{{interface=\"vb\",direction=\"ingress\",term=\"seen\"}} {packets}");
    ensure!(metrics.contains(&line), "`{line}` is not in {metrics:#?}");
    let table = status(folder.path(), &[])?.stdout;
    for (term, key) in [("  seen", "seen"), ("+ held", "held"), ("+ overflow", "overflow"), ("+ unparsed", "unparsed")]
    {
        let row = table.iter().find(|line| line.starts_with(term)).with_context(|| format!("no {term}: {table:#?}"))?;
        let numbers: Vec<&str> = row[term.len()..].split_whitespace().collect();
        let expected = [&sum[key]["packets"], &sum[key]["octets"]].map(ToString::to_string);
        ensure!(numbers == expected, "{row}: {sum:?}");
    }
    ensure!(table.iter().all(|line| line.chars().count() <= 80), "{table:#?}");

    let socket = folder.path().join(format!("{}.sock", daemon.id()));
    ensure!(socket.exists(), "the socket is elsewhere");
    let report = daemon.stop()?;
    ensure!(report.accounting.contains(&sum), "never printed: {sum:?}");
    // Nothing has come since: the last records are those of the flows that were open, and have what was held.
    let last = report.records.len().checked_sub(open).context("fewer records than open flows")?;
    let held = report.records[last..].iter().map(|record| number(record, "packetDeltaCount")).sum::<Result<u64>>()?;
    ensure!(sum["held"]["packets"] == held, "{held} packets in {open} flows: {sum:?}");
    ensure!(!socket.exists(), "the socket is left");
    must_fail(&status(folder.path(), &[])?, "no flowprobe daemon answers in")
}

#[test]
fn two_daemons_answer_and_a_dead_one_does_not() -> Result<()> {
    require!();
    let (folder, rooms) = (TempDir::new()?, [Namespace::with_pair()?, Namespace::with_pair()?]);
    let (one, two) = (daemon(&rooms[0], folder.path())?, daemon(&rooms[1], folder.path())?);
    let ids = |all: &[Value]| all.iter().filter_map(|snapshot| snapshot["pid"].as_u64()).collect::<Vec<u64>>();
    let mut expected = [u64::from(one.id()), u64::from(two.id())];
    expected.sort_unstable();
    ensure!(ids(&snapshots(folder.path())?) == expected, "not both answer");
    let table = status(folder.path(), &[])?.stdout;
    ensure!(table.iter().filter(|line| line.contains("· process ")).count() == 2, "{table:#?}");
    must_fail(&status(folder.path(), &["--metrics"])?, "choose one with --socket")?;
    let socket = |daemon: &Daemon| folder.path().join(format!("{}.sock", daemon.id()));
    let (dead, alive) = (socket(&one), socket(&two));
    ensure!(ids(&snapshots(&dead)?) == [u64::from(one.id())], "by its own socket");

    one.kill()?;
    ensure!(dead.exists(), "who was killed cannot clean up");
    ensure!(ids(&snapshots(folder.path())?) == [u64::from(two.id())], "only one is left");
    must_fail(&status(&dead, &[])?, "cannot ask the daemon at")?;
    let third = daemon(&rooms[0], folder.path())?;
    ensure!(!dead.exists() && alive.exists(), "the stale socket is removed, the other one stays");
    third.stop()?;
    two.stop().map(drop)
}

#[test]
fn clients_that_do_not_read_disturb_nobody() -> Result<()> {
    require!();
    let (room, folder) = (Namespace::with_pair()?, TempDir::new()?);
    let mut daemon = daemon(&room, folder.path())?;
    let socket = folder.path().join(format!("{}.sock", daemon.id()));
    let clients: Vec<UnixStream> = (0..50).map(|_| UnixStream::connect(&socket)).collect::<std::io::Result<_>>()?;
    let sent = inject::send_flows(&room, "va", "vb", 1)?;
    daemon.wait_until_seen("vb", sent.sum().packets)?;
    ensure!(snapshots(&socket)?.len() == 1, "somebody else is answered");
    daemon.stop()?;
    drop(clients);
    Ok(())
}

#[test]
fn a_path_that_is_wrong_is_said_and_metering_goes_on() -> Result<()> {
    require!();
    let (room, folder) = (Namespace::with_pair()?, TempDir::new()?);
    let file = folder.path().join("notes.txt");
    std::fs::write(&file, "precious")?;
    let name = file.to_str().context("a name")?;
    let mut daemon = Daemon::quick(&room, &["-i", "vb", "--status-socket", name])?;
    daemon.wait_for_log("`flowprobe status` will have no answer: cannot listen on", 1)?;
    let sent = inject::send_flows(&room, "va", "vb", 1)?;
    daemon.wait_until_seen("vb", sent.sum().packets)?;
    daemon.stop()?;
    ensure!(std::fs::read(&file)? == b"precious", "the file was touched");
    must_fail(&status(&file, &[])?, "cannot ask the daemon at")?;
    must_fail(&status(&folder.path().join("nowhere"), &["--json"])?, "nowhere: No such file")?;
    must_fail(&status(folder.path(), &["--json"])?, "no flowprobe daemon answers in")
}

#[test]
fn without_a_path_all_daemons_of_the_machine_are_asked() -> Result<()> {
    require!();
    let room = Namespace::with_pair()?;
    let daemon = Daemon::quick(&room, &["-i", "vb"])?;
    // Others may be running, too.
    let text = read(Command::new(binary()?).args(["status", "--json"]))?;
    let pid = format!("\"pid\":{},", daemon.id());
    ensure!(text.lines().filter(|line| line.contains(&pid)).count() == 1, "{text}");
    daemon.stop().map(drop)
}
