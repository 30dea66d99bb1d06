//! Holds what a million open flows cost: at most 200 octets of the kernel for each slot of a generation's map, and at most 200
//! of the daemon for each flow.

use anyhow::{Result, ensure};
use flowprobe_ebpf::protocol::UDP;
use flowprobe_tests::accuracy::{Distribution, Hook, Lab, Load, Mix, Pace};
use flowprobe_tests::resources;
use flowprobe_tests::truth::Total;
use flowprobe_tests::{require, require_kernel};

const FLOWS: u32 = 1_000_000;

/// Octets for each, of the kernel and of the daemon.
const MOST: u64 = 200;

#[test]
fn a_million_open_flows() -> Result<()> {
    require!();
    require_kernel!(6, 6, "an order of programs at tc, which counts what arrives");
    let mix = Mix {
        flows: FLOWS,
        distribution: Distribution::InTurn,
        protocols: &[UDP],
        lengths: 62..=62,
        flood_percent: 0,
        seed: 5,
    };
    let traffic = mix.traffic();
    let arguments = ["--max-flows", "1000000", "--idle-timeout", "1h", "--active-timeout", "1h"];
    let mut lab = Lab::new(&traffic, 1, Hook::Native, &arguments)?;
    let before = resources::memory(lab.daemon.id(), "VmRSS")?;
    let mut load = Load::new(&traffic, 0, Pace::FULL)?;
    // A frame that the veth's full ring refused comes in one of the next rounds.
    let mut open = 0;
    while open < FLOWS as usize {
        load.send(&lab.wire, traffic.schedule.len() as u64)?;
        lab.settle()?;
        open = lab.wire.tally().by_flow()?.iter().filter(|counts| counts.packets > 0).count();
    }
    let after = resources::memory(lab.daemon.id(), "VmRSS")?;
    let of_flow = after.saturating_sub(before) / u64::from(FLOWS);
    let arrived = lab.wire.tally().arrived("vb")?;
    let held = lab.wire.ledger().accounting("vb").map(|last| Total::of_term(last, "held")).transpose()?;
    ensure!(held == Some(arrived), "{arrived:?} arrived, {held:?} held");

    let maps = resources::maps(lab.daemon.id())?;
    let flow_maps: Vec<_> = maps.iter().filter(|map| map.name.starts_with("FLOWS_")).collect();
    ensure!(flow_maps.len() == 2, "the daemon holds {maps:?}");
    for map in flow_maps {
        let of_slot = map.octets / map.max_entries;
        println!("{}: {} octets for {} slots, {of_slot} each", map.name, map.octets, map.max_entries);
        ensure!(map.max_entries >= u64::from(FLOWS), "no room for {FLOWS}: {map:?}");
        ensure!(of_slot <= MOST, "{of_slot} octets of the kernel for a slot");
    }
    println!("the daemon: {before} octets before and {after} with {open} open flows, {of_flow} for each");
    ensure!(of_flow <= MOST, "{of_flow} octets of the daemon for a flow");
    // There is no need to see a million records leave.
    lab.daemon.kill().map(drop)
}
