//! `cargo xtask bench replay`: packets per second, beside softflowd reading the same file.

use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use super::repeated::{Capture, Repeated};
use crate::{packages, process, workspace};

/// A capture of many small TCP connections, where it lies beside the checkout.
const CAPTURE: &str = "../shared/corpus/packets/zeek__echo-connections.pcap.gz";

/// What is run beside flowprobe, and what measures both.
const PROGRAMS: [(&str, &str); 2] = [("softflowd", "softflowd"), ("time", "time")];

/// Flows that either may hold: flowprobe's default. softflowd's own would be 8,192.
const MAX_FLOWS: &str = "262144";

/// Packets a second that a capture is replayed with, beside softflowd
#[derive(clap::Args)]
pub(super) struct Args {
    /// The capture that is repeated until it is long enough: a pcap, also gzipped
    #[arg(long, value_name = "FILE")]
    capture: Option<PathBuf>,
    /// Packets of the long capture, about; the file takes some 80 octets for each
    #[arg(long, default_value_t = 10_000_000, value_name = "N")]
    packets: u32,
    /// Times that each way is measured, in turns; the median counts
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
}

/// One run of a program.
#[derive(Clone, Copy)]
struct Run {
    seconds: f64,
    /// On all CPUs together.
    cpu_seconds: f64,
    peak_kib: u64,
}

/// What reads the capture.
#[derive(Clone, Copy)]
enum Reader {
    Quiet,
    Json,
    Softflowd,
}

const READERS: [(Reader, &str); 3] = [
    (Reader::Quiet, "flowprobe replay --quiet"),
    (Reader::Json, "flowprobe replay --json"),
    (Reader::Softflowd, "softflowd -r"),
];

pub(super) fn run(args: &Args) -> Result<()> {
    let capture = args.capture.clone().unwrap_or_else(|| workspace::root().join(CAPTURE));
    ensure!(capture.is_file(), "there is no {}: name a capture with --capture", capture.display());
    let missing = packages::install(&PROGRAMS, true);
    ensure!(missing.is_empty(), "{}", missing.join("; "));
    let bench = Bench::new()?;

    let capture = Capture::read(&capture)?;
    let long = capture.repeat(capture.copies_for(args.packets), bench.folder.join("long.pcap"))?;
    let short = capture.repeat(capture.copies_for(args.packets / 10), bench.folder.join("short.pcap"))?;
    bench.check(&short)?;

    let mut runs = READERS.map(|_| Vec::new());
    for _ in 0..args.rounds {
        for ((reader, _), runs) in READERS.iter().zip(&mut runs) {
            runs.push(bench.measure(*reader, &long)?);
        }
    }
    show(&runs, long.packets, args.rounds);
    let of_short = bench.measure(Reader::Quiet, &short)?.peak_kib;
    let of_long = runs[0].iter().map(|run| run.peak_kib).max().unwrap_or_default();
    println!("flowprobe's peak memory, --quiet: {of_short} KiB for {} packets", short.packets);
    println!("                                  {of_long} KiB for {} packets", long.packets);
    Ok(())
}

fn show(runs: &[Vec<Run>; 3], packets: u64, rounds: u32) {
    let millions = packets as f64 / 1e6;
    println!("{millions:.1} M packets, medians of {rounds} rounds");
    println!("{:<26} {:>12} {:>14} {:>14} {:>16}", "", "M packets/s", "× softflowd", "of the rounds", "per CPU second");
    let [.., beside] = runs;
    for ((_, name), of_reader) in READERS.iter().zip(runs) {
        let mut ratios: Vec<f64> = beside.iter().zip(of_reader).map(|(them, us)| them.seconds / us.seconds).collect();
        let ratio = median(&mut ratios);
        let range = format!("{:.1}–{:.1}", ratios[0], ratios[ratios.len() - 1]);
        let speed = millions / median(&mut of_reader.iter().map(|run| run.seconds).collect::<Vec<_>>());
        let per_cpu = millions / median(&mut of_reader.iter().map(|run| run.cpu_seconds).collect::<Vec<_>>());
        println!("{name:<26} {speed:>12.1} {ratio:>14.1} {range:>14} {per_cpu:>16.1}");
    }
}

/// Sorts the values and returns the middle one.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

struct Bench {
    daemon: PathBuf,
    /// For everything that is written.
    folder: PathBuf,
    /// softflowd's export has somewhere to go: here, where nobody reads it.
    collector: UdpSocket,
}

impl Bench {
    fn new() -> Result<Self> {
        let folder = workspace::target()?.join("bench-replay");
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let collector = UdpSocket::bind(("127.0.0.1", 0)).context("no port on the loopback")?;
        Ok(Self { daemon: workspace::build_daemon()?, folder, collector })
    }

    fn command(&self, reader: Reader, capture: &Path) -> Result<Command> {
        let flowprobe = |output| {
            let mut command = Command::new(&self.daemon);
            command.args(["replay", output, "--max-flows", MAX_FLOWS]);
            command
        };
        let mut command = match reader {
            Reader::Quiet => flowprobe("--quiet"),
            Reader::Json => flowprobe("--json"),
            Reader::Softflowd => {
                let mut command = Command::new("softflowd");
                // In the foreground and without a control socket; IPFIX to ourselves.
                command.args(["-d", "-c", "none", "-m", MAX_FLOWS, "-v", "10", "-n"]);
                command.arg(self.collector.local_addr()?.to_string());
                command.arg("-p").arg(self.folder.join("softflowd.pid")).arg("-r");
                command
            }
        };
        command.arg(capture);
        Ok(command)
    }

    /// Both must find every packet.
    fn check(&self, capture: &Repeated) -> Result<()> {
        let Repeated { path, packets } = capture;
        for (reader, says) in [
            (Reader::Json, format!("\"packets\":{packets}}}")),
            (Reader::Softflowd, format!("Packets processed: {packets}")),
        ] {
            let mut command = self.command(reader, path)?;
            let said = process::read(&mut command)?;
            ensure!(said.contains(&says), "`{}` does not say {says}", process::line(&command));
        }
        Ok(())
    }

    /// Runs a reader, with its output to nowhere.
    fn measure(&self, reader: Reader, capture: &Repeated) -> Result<Run> {
        let report = self.folder.join("time");
        let measured = self.command(reader, &capture.path)?;
        let mut command = Command::new("time");
        command.args(["--format", "%U %S %M", "--output"]).arg(&report);
        command.arg(measured.get_program()).args(measured.get_args());
        let begin = Instant::now();
        process::run(command.stdout(Stdio::null()).stderr(Stdio::null()))?;
        let seconds = begin.elapsed().as_secs_f64();
        let said = fs::read_to_string(&report).with_context(|| format!("cannot read {}", report.display()))?;
        let fields: Vec<&str> = said.split_whitespace().collect();
        let [user, system, peak] = fields[..] else { bail!("`time` says {said:?}") };
        let cpu_seconds = user.parse::<f64>()? + system.parse::<f64>()?;
        Ok(Run { seconds, cpu_seconds, peak_kib: peak.parse()? })
    }
}
