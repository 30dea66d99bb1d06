//! What it costs to take the flows out of a retired flow map: the daemon's drain, in batches, beside the cheapest way to
//! do it one flow at a time.

#[path = "../common/mod.rs"]
mod common;
mod one_by_one;

use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use flowprobe_ebpf::{Selection, Tunnels};
use serde::Serialize;

use common::{Family, Frame, Lab, MAX_FLOWS, Program, kernel_release, median, stay_on_this_cpu, thread_time};

/// Measure what reading and deleting the flows of a retired map costs
#[derive(Parser)]
struct Args {
    /// Number of flows in the map, a power of two
    #[arg(long, default_value_t = MAX_FLOWS, value_name = "N")]
    flows: u32,
    /// Times that each way is measured; the median counts
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Write the results to FILE as well
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// All that was measured. Times are nanoseconds of CPU time per flow where nothing else is said.
#[derive(Serialize)]
struct Results {
    kernel: String,
    flows: u32,
    /// By the daemon's drain: flip, grace period, counters, flows.
    drain: Vec<f64>,
    /// Milliseconds by the wall clock, for all flows.
    drain_took: Vec<f64>,
    one_by_one: Vec<f64>,
    /// Of the medians: `one_by_one / drain`.
    ratio: f64,
}

/// Packets that each flow gets in a round.
const PACKETS_EACH: u32 = 2;

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
    stay_on_this_cpu()?;
    let flows = args.flows;
    ensure!(flows.is_power_of_two() && flows <= MAX_FLOWS, "--flows: {flows} is no power of two up to {MAX_FLOWS}");
    let mut lab = Lab::new(Frame::new(Family::Ipv4)?, Tunnels::NONE, Selection::default())?;
    lab.set_flows(flows)?;
    lab.select(Program::Whole)?;

    let (mut drain, mut drain_took, mut one_by_one) = (Vec::new(), Vec::new(), Vec::new());
    // Kept from round to round, as the memory is not what is measured.
    let mut taken = Vec::new();
    for _ in 0..args.rounds {
        lab.run(PACKETS_EACH)?;
        taken.clear();
        let begin = thread_time();
        let report = lab.retire(&mut taken)?;
        drain.push(per_flow(begin, flows));
        drain_took.push(report.took.as_secs_f64() * 1e3);
        lab.verify(&taken, PACKETS_EACH)?;

        lab.run(PACKETS_EACH)?;
        taken.clear();
        let begin = thread_time();
        one_by_one::take_all(lab.flow_map(), &mut taken)?;
        one_by_one.push(per_flow(begin, flows));
        lab.verify(&taken, PACKETS_EACH)?;
        // So that the programs know that the map is empty.
        lab.retire(&mut taken)?;
    }

    let ratio = median(&one_by_one) / median(&drain);
    println!("{flows} flows, ns of CPU time per flow, medians of {} rounds", args.rounds);
    println!("{:>12} {:>12} {:>20}", "drain", "one by one", "one by one / drain");
    println!("{:>12.1} {:>12.1} {ratio:>20.2}", median(&drain), median(&one_by_one));
    println!("by the wall clock a drain took {:.0} ms, its grace period included", median(&drain_took));
    println!("both ways returned every flow once, with its packets and octets");
    if let Some(path) = &args.json {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let results = Results { kernel: kernel_release()?, flows, drain, drain_took, one_by_one, ratio };
        serde_json::to_writer_pretty(file, &results)?;
    }
    Ok(())
}

fn per_flow(begin: Duration, flows: u32) -> f64 {
    thread_time().saturating_sub(begin).as_secs_f64() * 1e9 / f64::from(flows)
}
