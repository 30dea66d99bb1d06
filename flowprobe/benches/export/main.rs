//! What the export costs: encoding beside a copy of the same octets, sending beside one system call for each message, and the
//! whole way from the kernel's flow maps to a collector's socket.

#[path = "../common/mod.rs"]
mod common;
mod encode;
mod path;
mod reading;
mod records;
mod send;

use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, ValueEnum};
use serde::Serialize;

use common::{MAX_FLOWS, kernel_release, stay_on_this_cpu};
use encode::{Case, Encoding};
use path::{Leave, Path};
use send::Sending;

/// Measure what the export of records costs
#[derive(Parser)]
struct Args {
    /// What to measure
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Part::Encode, Part::Send, Part::Path], value_name = "PART,…")]
    parts: Vec<Part>,
    /// Numbers of records that are encoded
    #[arg(long, value_delimiter = ',', default_values_t = [256, 65_536], value_parser = clap::value_parser!(u32).range(1..=1 << 20), value_name = "N,…")]
    records: Vec<u32>,
    /// Flows of a generation on the whole way, a power of two
    #[arg(long, default_value_t = MAX_FLOWS, value_name = "N")]
    flows: u32,
    /// Times that encoding and sending are measured; the median counts
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Generations that go the whole way; the median counts
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    generations: u32,
    /// Write the results to FILE as well
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// What can be measured.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Records to messages, beside a copy
    Encode,
    /// Messages to a socket, beside one system call for each
    Send,
    /// From the kernel's flow maps to a socket; takes root
    Path,
}

/// All that was measured.
#[derive(Serialize)]
struct Results {
    kernel: String,
    encode: Vec<Encoding>,
    send: Option<Sending>,
    path: Vec<Path>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let flows = args.flows;
    ensure!(flows.is_power_of_two() && flows <= MAX_FLOWS, "--flows: {flows} is no power of two up to {MAX_FLOWS}");
    let mut results = Results { kernel: kernel_release()?, encode: Vec::new(), send: None, path: Vec::new() };
    // Before this thread stays where it is, since those of the daemon are to run where they like.
    if args.parts.contains(&Part::Path) {
        for leave in [Leave::Active, Leave::Idle] {
            let path = path::measure(leave, flows, args.generations)?;
            path.print();
            results.path.push(path);
        }
    }
    stay_on_this_cpu()?;
    let cases = Case::all()?;
    if args.parts.contains(&Part::Encode) {
        println!("ns of CPU time per record, medians of {} rounds", args.rounds);
        println!(
            "{:<30} {:>8} {:>7} {:>9} {:>9} {:>9} {:>10}",
            "", "records", "octets", "encode", "copy", "ratio", "rounds"
        );
        for case in &cases {
            for &records in &args.records {
                let encoding = encode::measure(case, records as usize, args.rounds)?;
                encoding.print();
                results.encode.push(encoding);
            }
        }
        println!("each message was, octet by octet, the one that was read back before");
    }
    if args.parts.contains(&Part::Send) {
        let case = cases.first().context("there is nothing to send")?;
        let sending = send::measure(case, args.rounds)?;
        sending.print();
        results.send = Some(sending);
    }
    if let Some(path) = &args.json {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        serde_json::to_writer_pretty(file, &results)?;
    }
    Ok(())
}
