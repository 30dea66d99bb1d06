//! Holds that ordinary flows stay exact beside a flood of SYNs from sources that never repeat, that the flood costs no more
//! memory than was configured, and that its target is named.

use std::thread::sleep;

use anyhow::{Context as _, Result, ensure};
use flowprobe_ebpf::protocol::{ICMP, TCP, UDP};
use flowprobe_tests::accuracy::{Distribution, Hook, Lab, Load, Mix, Outcome, Pace, seconds};
use flowprobe_tests::daemon::memory_bound;
use flowprobe_tests::resources;
use flowprobe_tests::truth::{Object, Total};
use flowprobe_tests::{require, require_kernel};

/// Flows beside the flood.
const ORDINARY: u32 = 100;

/// Packets before the flood begins, where ordinary flows are first: two hundred of each flow.
const BEFORE: u64 = 20_000;

/// A table that the flood fills in some hundredths of a second.
const ARGUMENTS: [&str; 6] = ["--max-flows", "16384", "--interval", "200ms", "--idle-timeout", "2s"];

/// Flows that have a packet each in turn, and between two of a flow's packets as many of the flood as its share makes.
fn mix(flood_percent: u8) -> Mix {
    Mix {
        flows: ORDINARY,
        distribution: Distribution::InTurn,
        protocols: &[TCP, UDP, ICMP],
        lengths: 62..=1514,
        flood_percent,
        seed: 4,
    }
}

fn overflowed(accounting: &Object) -> bool {
    Total::of_term(accounting, "overflow").is_ok_and(|overflow| overflow.packets > 0)
}

/// Floods for a while, and until it has been too much for the kernel's map; the most that the daemon had in memory.
fn flood(lab: &mut Lab, load: Load) -> Result<u64> {
    let mut loads = [load];
    lab.under_load(&mut loads, |lab| {
        sleep(seconds(6, 60));
        lab.wait_for_accounting("overflow", overflowed)
    })?;
    lab.settle()?;
    resources::memory(lab.daemon.id(), "VmHWM")
}

fn must_stand(outcome: &Outcome, memory: u64) -> Result<()> {
    println!("{outcome}; at most {} MiB in memory", memory >> 20);
    outcome.must_add_up()?;
    let (exported, overflow) = (outcome.term("exported")?, outcome.term("overflow")?);
    ensure!(exported.packets + overflow.packets == outcome.arrived_in_all().packets, "{exported:?}, {overflow:?}");
    outcome.must_be_exact_for(0..ORDINARY as usize)?;
    let bound = memory_bound(16_384)?;
    ensure!(memory <= bound, "{memory} octets in memory, which was to be {bound} at most");
    target_is_named(outcome)
}

fn target_is_named(outcome: &Outcome) -> Result<()> {
    let last = outcome.report.accounting.iter().rev().find(|sum| sum["interface"] == "vb").context("no accounting")?;
    let worst = last.get("overflowByDestination").and_then(|all| all.get(0));
    let worst = worst.with_context(|| format!("overflow by destination is not said: {last:?}"))?;
    ensure!(worst["destination"] == "198.18.0.1/32" && worst["protocolIdentifier"] == TCP, "{worst}");
    ensure!(worst["packets"].as_u64() > Some(0) && worst["octets"].as_u64() > Some(0), "{worst}");
    Ok(())
}

/// Ordinary flows first, and then a flood in which of a hundred packets one is theirs, so that the map is full long before each
/// has had its turn.
fn ordinary_flows_then_flood(pace: Pace) -> Result<()> {
    let (quiet, flooded) = (mix(0).traffic(), mix(99).traffic());
    let mut lab = Lab::new(&flooded, 1, Hook::Native, &ARGUMENTS)?;
    let mut before = Load::new(&quiet, 0, Pace::READ)?;
    before.send(&lab.wire, BEFORE)?;
    lab.settle()?;
    let memory = flood(&mut lab, Load::new(&flooded, 0, pace)?)?;
    must_stand(&lab.finish()?, memory)
}

#[test]
fn flows_that_were_there_before_stay_exact() -> Result<()> {
    require!();
    require_kernel!(6, 6, "an order of programs at tc, which counts what arrives");
    ordinary_flows_then_flood(Pace::READ)
}

/// So fast that not all records of single packets find a place on standard output.
#[test]
fn flows_stay_exact_when_more_comes_than_can_be_written() -> Result<()> {
    require!();
    require_kernel!(6, 6, "an order of programs at tc, which counts what arrives");
    ordinary_flows_then_flood(Pace::FULL)
}

/// Of ten packets one is of an ordinary flow, so that each has had its turn before the map is full.
#[test]
fn flows_that_begin_with_it_stay_exact() -> Result<()> {
    require!();
    require_kernel!(6, 6, "an order of programs at tc, which counts what arrives");
    let flooded = mix(90).traffic();
    let mut lab = Lab::new(&flooded, 1, Hook::Native, &ARGUMENTS)?;
    let memory = flood(&mut lab, Load::new(&flooded, 0, Pace::READ)?)?;
    must_stand(&lab.finish()?, memory)
}
