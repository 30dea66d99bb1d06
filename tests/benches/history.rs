//! What history costs a running daemon: the same stream of received records goes in turns to one that keeps history and to one that
//! does not, at rates that both take, and CPU time and memory are compared. `cargo xtask bench history`.

use std::fs::File;
use std::net::Ipv4Addr;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use flowprobe_tests::barrage::{Barrage, Sent, UdpQueue};
use flowprobe_tests::daemon::{flowprobe, status_of};
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::process::{Process, wait_until};
use flowprobe_tests::resources;
use rustix::process::Signal;
use serde_json::Value;

const PORT: u16 = 2055;
const LISTEN: &str = "udp://127.0.0.1:2055?receive-buffer=4MiB";

/// What is read is written after five seconds at the latest.
const SETTLES: Duration = Duration::from_secs(7);

/// Measures history in the daemon that `FLOWPROBE_BIN` names.
#[derive(Parser)]
struct Args {
    /// Records a second.
    #[arg(long, default_values_t = [50_000, 200_000])]
    rate: Vec<u64>,
    /// Seconds of each run.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Rounds of four runs each: without history, with it, with it, without.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What a run has cost.
struct Run {
    records: u64,
    dropped_datagrams: u64,
    lost: u64,
    cpu: Duration,
    peak: u64,
    files: u64,
}

fn main() -> Result<()> {
    let args = Args::parse();
    println!(
        "| records/s | history | records | datagrams dropped | lost by history | files | CPU s | CPU ns a record | peak MiB |"
    );
    println!("| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for rate in args.rate {
        let mut costs = [Vec::new(), Vec::new()];
        for _ in 0..args.rounds {
            for keeps in [false, true, true, false] {
                let run = measure(keeps, rate, Duration::from_secs(args.seconds))?;
                let ns = run.cpu.as_nanos() as f64 / run.records as f64;
                println!(
                    "| {rate} | {} | {} | {} | {} | {} | {:.2} | {ns:.0} | {:.1} |",
                    if keeps { "on" } else { "off" },
                    run.records,
                    run.dropped_datagrams,
                    run.lost,
                    run.files,
                    run.cpu.as_secs_f64(),
                    run.peak as f64 / f64::from(1 << 20)
                );
                costs[usize::from(keeps)].push(ns);
            }
        }
        let [off, on] = costs.map(|all| all.iter().sum::<f64>() / all.len() as f64);
        println!(
            "{rate} records/s: {off:.0} ns without history, {on:.0} with it: {:.0} more, {:.2} times",
            on - off,
            on / off
        );
    }
    Ok(())
}

/// Sends the stream to a daemon of its own, and makes sure that it has read all that the kernel did not drop, and that history has all
/// that it did not count as lost.
fn measure(keeps: bool, rate: u64, time: Duration) -> Result<Run> {
    let room = Namespace::new()?;
    let folder = tempfile::tempdir()?;
    let store = folder.path().join("store").display().to_string();
    let arguments = ["run", "--quiet", "--listen", LISTEN, "--store", if keeps { &store } else { "none" }];
    let process = Process::start_into(&mut flowprobe(&room, &arguments)?, File::create("/dev/null")?)?;
    wait_until("a socket", || Ok(UdpQueue::of(&room, Ipv4Addr::LOCALHOST, PORT).is_ok()))?;
    let mut barrage = Barrage::new(&room, 50, PORT)?;
    let before = resources::cpu_time(process.id())?;
    let mut sent: Sent = barrage.send_for(rate, time)?;
    sent += barrage.send_once()?;
    let queue = || UdpQueue::of(&room, Ipv4Addr::LOCALHOST, PORT);
    wait_until("an empty socket", || Ok(queue()?.waiting == 0))?;
    // Asking would cost the daemon time, too.
    sleep(SETTLES);
    let cpu = resources::cpu_time(process.id())? - before;
    let peak = resources::memory(process.id(), "VmHWM")?;
    let dropped_datagrams = queue()?.drops;
    let status = status_of(process.id())?;
    let exporters = status["exporters"].as_array().context("exporters")?;
    let records: u64 = exporters.iter().filter_map(|exporter| exporter["records"].as_u64()).sum();
    // A datagram has at most 30 records.
    ensure!(sent.records - records <= 30 * dropped_datagrams, "{records} of {sent:?}, {dropped_datagrams} dropped");
    let lost = lost(&status);
    if keeps {
        let stored = status["history"]["storedRecords"].as_u64().context("history")?;
        ensure!(stored + lost == records, "{stored} stored and {lost} lost of {records}: {}", status["history"]);
    }
    let files = status["history"]["files"].as_u64().unwrap_or(0);
    let finished = process.stop(Signal::TERM)?;
    ensure!(finished.status.success(), "{finished:?}");
    Ok(Run { records, dropped_datagrams, lost, cpu, peak, files })
}

/// Records that all sinks together have lost.
fn lost(status: &Value) -> u64 {
    let sinks = status["sinks"].as_array().into_iter().flatten();
    sinks.filter_map(|sink| sink["lost"]["records"].as_u64()).sum()
}
