//! What looking for findings costs: flows a second by one thread and what each detector takes of it, memory with very many hosts, and what
//! indicator lists take to read, to keep and to compare with.

mod indicators;
#[path = "../common/memory.rs"]
mod memory;
mod traffic;

use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use flowprobe::detect::site::Site;
use flowprobe::detect::{Detection, Load, Outside, Settings};
use memory::memory;
use traffic::Traffic;

/// Measures detectors.
#[derive(Parser)]
struct Args {
    /// Flows in a second of the clock that detectors see.
    #[arg(long, default_value_t = 1_000_000)]
    flows: usize,
    /// Seconds, after ten that are not counted.
    #[arg(long, default_value_t = 10)]
    seconds: i64,
    /// Entries of the indicator list.
    #[arg(long, default_value_t = 500_000)]
    entries: u32,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Seconds until tables have what they will have.
const WARM: i64 = 10;

fn main() -> Result<()> {
    let args = Args::parse();
    indicators::measure(args.entries)?;
    // A gateway, and one in front of which stand as many hosts as there are.
    for (hosts, servers) in [(2000, 20_000), (1_000_000, 1_000_000)] {
        detectors(&args, hosts, servers)?;
    }
    Ok(())
}

fn detectors(args: &Args, hosts: u32, servers: u32) -> Result<()> {
    println!("\n{hosts} hosts inside, {servers} outside:");
    let before = memory("VmRSS:")?;
    let mut traffic = Traffic::new(hosts, servers);
    let mut detection = Detection::new(Site::private_and([]), &Settings::default(), Outside::default());
    let mut flows = Vec::with_capacity(args.flows);
    let (mut rates, mut from) = (Vec::new(), Vec::new());
    for second in 0..WARM + args.seconds {
        if second == WARM {
            from = detection.loads();
        }
        flows.clear();
        traffic.second(second, args.flows, &mut flows);
        let then = Instant::now();
        // As many as a drain brings at once.
        for flows in flows.chunks(1024) {
            detection.take(flows);
        }
        detection.advance(traffic.now_ms());
        if second >= WARM {
            rates.push(flows.len() as f64 / then.elapsed().as_secs_f64() / 1e6);
        }
        drop(detection.seen());
    }
    let own = size_of_val(flows.as_slice()) as u64;
    rates.sort_by(f64::total_cmp);
    let (least, most) = (rates[0], rates[rates.len() - 1]);
    println!("{:.2} M flows/s by one thread ({least:.2}–{most:.2})", rates[rates.len() / 2]);
    let flows = args.seconds as f64 * args.flows as f64;
    print(&from, &detection.loads(), flows);
    println!("{} MiB in memory", (memory("VmRSS:")?.saturating_sub(before) << 10).saturating_sub(own) >> 20);
    Ok(())
}

/// What each takes of a flow, the most first.
fn print(from: &[Load], to: &[Load], flows: f64) {
    let mut each: Vec<(&Load, f64)> =
        to.iter().zip(from).map(|(to, from)| (to, (to.nanoseconds - from.nanoseconds) as f64 / flows)).collect();
    each.sort_by(|one, other| other.1.total_cmp(&one.1));
    let all: f64 = each.iter().map(|(_, nanoseconds)| nanoseconds).sum();
    println!("{:<24}{:>8}{:>10}{:>12}", "", "ns/flow", "entries", "forgotten");
    println!("{:<24}{all:>8.0}", "all");
    for (of, nanoseconds) in each {
        println!("{:<24}{nanoseconds:>8.1}{:>10}{:>12}", of.detector, of.entries, of.forgotten);
    }
}
