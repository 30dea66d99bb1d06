//! What a packet costs in flowprobe's XDP program, beside an empty program and one that only parses: nanoseconds of CPU
//! time per packet, by the number of flows among which the packets are spread.

#[path = "../common/mod.rs"]
mod common;

use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use flowprobe::filter;
use flowprobe_ebpf::{Selection, Tunnels};
use serde::Serialize;

use common::{Family, Frame, Lab, MAX_FLOWS, Program, kernel_release, median, stay_on_this_cpu};

/// Measure what a packet costs in the XDP program
#[derive(Parser)]
struct Args {
    /// Numbers of flows, powers of two
    #[arg(long, value_delimiter = ',', default_values_t = [1, 1024, 65_536, 524_288], value_name = "N,…")]
    flows: Vec<u32>,
    /// IP version of the frames
    #[arg(long, value_enum, default_value_t = Family::Ipv4)]
    frame: Family,
    /// Times that each program is measured; the median counts
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Packets of one measurement, at least; rounded up to whole passes over all flows
    #[arg(long, default_value_t = 1 << 20, value_parser = clap::value_parser!(u32).range(1..=1 << 28))]
    packets: u32,
    /// Measure the program that opens tunnels; the frames are in none
    #[arg(long)]
    decapsulate: bool,
    /// Give the program this filter, which must accept every frame
    #[arg(long, value_name = "EXPR")]
    filter: Option<String>,
    /// Write the results to FILE as well
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// All that was measured.
#[derive(Serialize)]
struct Results {
    kernel: String,
    frame: Family,
    sizes: Vec<Size>,
}

/// What was measured with one number of flows. Times are nanoseconds per packet; those of the three programs hold the
/// traffic program, which comes before each of them.
#[derive(Serialize)]
struct Size {
    flows: u32,
    packets_per_round: u64,
    empty: Vec<f64>,
    parse_only: Vec<f64>,
    whole: Vec<f64>,
    /// Less the empty program of the same round; median.
    parse_only_net: f64,
    whole_net: f64,
    /// What the whole program takes, in multiples of parsing, both net, of the same round; median.
    ratio: f64,
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
    stay_on_this_cpu()?;
    for flows in &args.flows {
        ensure!(
            flows.is_power_of_two() && *flows <= MAX_FLOWS,
            "--flows: {flows} is no power of two up to {MAX_FLOWS}"
        );
    }
    let filter = args.filter.as_deref().map(filter::compile).transpose()?.unwrap_or_default();
    let tunnels = if args.decapsulate { Tunnels::ALL } else { Tunnels::NONE };
    let mut lab = Lab::new(Frame::new(args.frame)?, tunnels, Selection { filter, ..Selection::default() })?;
    let mut results = Results { kernel: kernel_release()?, frame: args.frame, sizes: Vec::new() };
    println!(
        "ns of CPU time per packet, medians of {} rounds; net: less the empty program, round by round",
        args.rounds
    );
    println!(
        "{:>8} {:>8} {:>8} {:>8} {:>10} {:>10} {:>12}",
        "flows", "empty", "parse", "whole", "parse net", "whole net", "whole/parse"
    );
    for flows in &args.flows {
        let size = measure(&mut lab, *flows, args)?;
        println!(
            "{:>8} {:>8.1} {:>8.1} {:>8.1} {:>10.1} {:>10.1} {:>12.2}",
            size.flows,
            median(&size.empty),
            median(&size.parse_only),
            median(&size.whole),
            size.parse_only_net,
            size.whole_net,
            size.ratio
        );
        results.sizes.push(size);
    }
    println!("every flow's packets and octets, and the interface's counters, were exactly what was sent");
    if let Some(path) = &args.json {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        serde_json::to_writer_pretty(file, &results)?;
    }
    Ok(())
}

/// Measures the three programs in turn, round by round, so that what disturbs the machine disturbs them alike.
fn measure(lab: &mut Lab, flows: u32, args: &Args) -> Result<Size> {
    let passes = args.packets.div_ceil(flows);
    lab.set_flows(flows)?;
    // Inserts the flows, so that the measured packets find theirs.
    lab.select(Program::Whole)?;
    lab.run(1)?;

    let (mut empty, mut parse_only, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..args.rounds {
        for (program, times) in
            [(Program::Empty, &mut empty), (Program::ParseOnly, &mut parse_only), (Program::Whole, &mut whole)]
        {
            lab.select(program)?;
            times.push(lab.run(passes)?);
        }
    }
    let mut taken = Vec::new();
    lab.retire(&mut taken)?;
    lab.verify(&taken, 1 + args.rounds * passes)?;

    let parse_only_net = net(&parse_only, &empty);
    let whole_net = net(&whole, &empty);
    let ratios: Vec<f64> = whole_net.iter().zip(&parse_only_net).map(|(whole, parse)| whole / parse).collect();
    Ok(Size {
        flows,
        packets_per_round: u64::from(passes) * u64::from(flows),
        parse_only_net: median(&parse_only_net),
        whole_net: median(&whole_net),
        ratio: median(&ratios),
        empty,
        parse_only,
        whole,
    })
}

/// `times` less those of the empty program in the same round: the machine's speed changes between rounds.
fn net(times: &[f64], empty: &[f64]) -> Vec<f64> {
    times.iter().zip(empty).map(|(time, empty)| time - empty).collect()
}
