//! Holds that neither a log that nobody reads nor a full disk under standard output stops the counting, and that what is lost
//! is counted.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use flowprobe_tests::daemon::{binary, flowprobe};
use flowprobe_tests::disk::TinyDisk;
use flowprobe_tests::inject;
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::process::{read, wait_until};
use flowprobe_tests::require;
use flowprobe_tests::truth::{Object, number};
use rustix::pipe::fcntl_setpipe_size;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// A daemon whose pipes are the test's affair; killed when dropped.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Daemon {
    fn stop(&mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.0), Signal::TERM)?;
        wait_until("the daemon's end", || Ok(self.0.try_wait()?.is_some()))?;
        let status = self.0.wait()?;
        ensure!(status.success(), "ended with {status}");
        Ok(())
    }
}

/// What the daemon that answers at `socket` says; nothing before it listens.
fn status(socket: &Path) -> Option<Value> {
    let text = read(Command::new(binary().ok()?).args(["status", "--json", "--socket"]).arg(socket)).ok()?;
    serde_json::from_str(&text).ok()
}

fn wait_until_seen(socket: &Path, packets: u64) -> Result<()> {
    wait_until("that the packets are seen", || {
        Ok(status(socket).is_some_and(|status| status["accounting"][0]["seen"]["packets"] == packets))
    })
}

#[test]
fn a_log_that_nobody_reads_stops_nothing() -> Result<()> {
    require!();
    let (room, folder) = (Namespace::with_pair()?, TempDir::new()?);
    let socket = folder.path().join("socket");
    let (reader, writer) = std::io::pipe()?;
    // Less than is logged while the programs are loaded.
    fcntl_setpipe_size(&writer, 4096)?;
    let mut command = flowprobe(&room, &["run", "-i", "vb", "--quiet", "--interval", "50ms", "--status-socket"])?;
    command.arg(&socket).env("FLOWPROBE_LOG", "trace").stdin(Stdio::null()).stderr(writer);
    let mut daemon = Daemon(command.spawn()?);
    drop(command);
    wait_until_seen(&socket, 0)?;
    let sent = inject::send_flows(&room, "va", "vb", 1)?;
    wait_until_seen(&socket, sent.sum().packets)?;
    daemon.stop()?;
    let said = std::io::read_to_string(reader)?;
    ensure!(!said.is_empty() && !said.contains("stopping: detaching"), "the pipe was never full: {said}");
    ensure!(room.programs("vb")?.is_empty(), "programs are left");
    Ok(())
}

#[test]
fn a_full_disk_under_standard_output_loses_whole_lines_and_counts_them() -> Result<()> {
    require!("mount", "umount");
    let (room, folder) = (Namespace::with_pair()?, TempDir::new()?);
    let disk = TinyDisk::new(32)?;
    let [socket, log] = ["socket", "log"].map(|name| folder.path().join(name));
    let output = disk.path().join("records");
    let arguments = ["run", "-i", "vb", "--json", "--interval", "20ms", "--idle-timeout", "100ms", "--status-socket"];
    let mut command = flowprobe(&room, &arguments)?;
    command.arg(&socket).stdin(Stdio::null()).stdout(File::create(&output)?).stderr(File::create(&log)?);
    let mut daemon = Daemon(command.spawn()?);
    drop(command);
    let logged = |text: &'static str| wait_until(text, || Ok(fs::read_to_string(&log)?.contains(text)));
    // Accounting alone fills it.
    logged("the output is full")?;
    let sent = inject::send_flows(&room, "va", "vb", 1)?;
    wait_until_seen(&socket, sent.sum().packets)?;
    wait_until("that all flows have ended", || Ok(status(&socket).is_some_and(|status| status["openFlows"] == 0)))?;
    disk.grow(4096)?;
    logged("the output has room again")?;
    let more = inject::send_flows(&room, "va", "vb", 101)?;
    wait_until_seen(&socket, sent.sum().packets + more.sum().packets)?;
    let lost = status(&socket).context("no status")?["sinks"][0]["lost"].clone();
    daemon.stop()?;

    let mut printed = 0;
    let mut last = None;
    for line in fs::read_to_string(&output)?.lines() {
        let object: Object = serde_json::from_str(line).with_context(|| format!("a torn line: {line}"))?;
        match object.get("accounting") {
            Some(sum) => last = Some(sum.clone()),
            None => printed += number(&object, "packetDeltaCount")?,
        }
    }
    let Some(last) = last else { bail!("no accounting was printed") };
    let all = sent.sum().packets + more.sum().packets;
    ensure!(last["exported"]["packets"] == all, "the accounting is off: {last}");
    ensure!(lost["packets"] == sent.sum().packets, "what was refused is not counted: {lost}");
    ensure!(printed == more.sum().packets, "{printed} packets in the records printed, lost were {lost}");
    let said = fs::read_to_string(&log)?;
    ensure!(said.matches("the output is full").count() == 1, "not said once: {said}");
    Ok(())
}
