//! Holds that counts stay exact through what goes wrong around a daemon: it gets no CPU, interfaces go, change and move, another
//! program wants its place, nobody reads what it writes, the disk is full.

use std::fs::{self, File};
use std::net::UdpSocket;
use std::thread::sleep;

use anyhow::{Context as _, Result, ensure};
use flowprobe_ebpf::protocol::{ICMP, TCP, UDP};
use flowprobe_tests::accuracy::{
    Distribution, Hook, Lab, Load, Mix, Outcome, Pace, Traffic, Wire, faults, seconds, under_load,
};
use flowprobe_tests::daemon::{flowprobe, memory_bound};
use flowprobe_tests::disk::TinyDisk;
use flowprobe_tests::process::{Process, wait_until};
use flowprobe_tests::resources;
use flowprobe_tests::truth::{Object, Total, must_balance};
use flowprobe_tests::{require, require_kernel};
use rustix::process::Signal;
use serde_json::Value;

/// Drains five times a second.
const QUICK: [&str; 4] = ["--interval", "200ms", "--idle-timeout", "2s"];

fn mix(flows: u32, flood_percent: u8) -> Traffic {
    let (distribution, protocols) = (Distribution::Zipf(1.0), &[TCP, UDP, ICMP]);
    Mix { flows, distribution, protocols, lengths: 62..=1514, flood_percent, seed: 6 }.traffic()
}

/// Traffic of a few thousand flows on two lanes, while `fault` happens to the first; nothing of it may be lost.
fn both_lanes_stay_exact(fault: impl FnOnce(&mut Lab) -> Result<()>) -> Result<Outcome> {
    let traffic = mix(4096, 0);
    let mut lab = Lab::new(&traffic, 2, Hook::Native, &QUICK)?;
    let mut loads = [Load::new(&traffic, 0, Pace::FAST)?, Load::new(&traffic, 1, Pace::FAST)?];
    lab.under_load(&mut loads, |lab| {
        sleep(seconds(1, 5));
        fault(lab)?;
        sleep(seconds(1, 5));
        Ok(())
    })?;
    let outcome = lab.finish()?;
    println!("{outcome}");
    ensure!(outcome.arrived.values().all(|arrived| arrived.packets > 0), "nothing arrived: {:?}", outcome.arrived);
    outcome.must_be_exact()?;
    Ok(outcome)
}

#[test]
fn a_stopped_daemon_loses_nothing_but_what_overflows() -> Result<()> {
    require!();
    require_kernel!(6, 6, "an order of programs at tc, which counts what arrives");
    let traffic = mix(1000, 20);
    let mut lab = Lab::new(&traffic, 1, Hook::Native, &[&QUICK[..], &["--max-flows", "16384"]].concat())?;
    let mut loads = [Load::new(&traffic, 0, Pace::FULL)?];
    // A fifth of a million are flows of their own, and the kernel's two maps have room for 32,768.
    lab.under_load(&mut loads, |lab| faults::stop_and_go_on(lab, seconds(3, 10), 1_000_000))?;
    let outcome = lab.finish()?;
    println!("{outcome}");
    ensure!(outcome.term("overflow")?.packets > 0, "nothing overflowed");
    outcome.must_add_up()
}

#[test]
fn an_interface_that_goes_and_comes_back_beside_traffic() -> Result<()> {
    require!("ethtool");
    require_kernel!(6, 6, "an order of programs at tc, which counts what arrives");
    let outcome = both_lanes_stay_exact(|lab| (0..3).try_for_each(|_| faults::delete_and_make_again(lab, 0..1)))?;
    let gone = outcome.report.logged("interface vb is gone").len();
    ensure!(gone == 3, "it went three times, {gone} are said");
    Ok(())
}

#[test]
fn an_mtu_that_changes_under_traffic() -> Result<()> {
    require!();
    require_kernel!(6, 6, "an order of programs at tc, which counts what arrives");
    both_lanes_stay_exact(|lab| faults::change_mtu(&lab.wire, 0)).map(drop)
}

#[test]
fn a_foreign_program_that_comes_later_is_refused() -> Result<()> {
    require!();
    require_kernel!(6, 6, "an order of programs at tc, which counts what arrives");
    both_lanes_stay_exact(|lab| faults::want_its_place(&lab.wire, 0)).map(drop)
}

#[test]
fn an_interface_that_is_moved_away_and_back() -> Result<()> {
    require!("ethtool");
    require_kernel!(6, 6, "an order of programs at tc, which counts what arrives");
    both_lanes_stay_exact(|lab| faults::move_away_and_back(lab, 0)).map(drop)
}

#[test]
fn a_collector_that_is_never_read() -> Result<()> {
    require!();
    require_kernel!(6, 6, "an order of programs at tc, which counts what arrives");
    let traffic = mix(65_536, 0);
    let arguments = [&QUICK[..], &["--collector", "udp://127.0.0.1:4739"]].concat();
    let mut lab = Lab::new(&traffic, 1, Hook::Native, &arguments)?;
    // Before the first record is.
    let _deaf = lab.wire.room.inside(|| Ok(UdpSocket::bind("127.0.0.1:4739")?))?;
    let mut loads = [Load::new(&traffic, 0, Pace::FAST)?];
    lab.under_load(&mut loads, |_| {
        sleep(seconds(4, 30));
        Ok(())
    })?;
    let outcome = lab.finish()?;
    println!("{outcome}");
    outcome.must_be_exact()
}

#[test]
fn standard_output_that_is_not_read_for_a_while() -> Result<()> {
    require!();
    require_kernel!(6, 6, "an order of programs at tc, which counts what arrives");
    let traffic = mix(65_536, 50);
    let mut lab = Lab::new(&traffic, 1, Hook::Native, &[&QUICK[..], &["--max-flows", "16384"]].concat())?;
    let mut loads = [Load::new(&traffic, 0, Pace::FULL)?];
    lab.under_load(&mut loads, |lab| {
        faults::read_nothing_until_records_are_lost(lab)?;
        sleep(seconds(1, 5));
        Ok(())
    })?;
    lab.settle()?;
    let memory = resources::memory(lab.daemon.id(), "VmHWM")?;
    let outcome = lab.finish()?;
    println!("{outcome}; at most {} MiB in memory", memory >> 20);
    ensure!(outcome.lost_records(), "what was lost is not said");
    let bound = memory_bound(16_384)?;
    ensure!(memory <= bound, "{memory} octets in memory, which was to be {bound} at most");
    outcome.must_add_up()
}

#[test]
fn a_full_disk() -> Result<()> {
    require!("mount", "umount");
    require_kernel!(6, 6, "an order of programs at tc, which counts what arrives");
    let traffic = mix(4096, 0);
    let wire = Wire::new(&traffic, 1, Hook::Native)?;
    let disk = TinyDisk::new(256)?;
    let path = disk.path().join("records.json");
    let mut command = flowprobe(&wire.room, &["run", "--json", "--mode", "native", "-i", "vb"])?;
    // A flow that goes on is reported again and again.
    command.args(["--interval", "200ms", "--active-timeout", "500ms"]);
    let mut daemon = Process::start_into(&mut command, File::create(&path)?)?;
    daemon.wait_for_error_lines(" metering vb ", 1)?;
    let mut loads = [Load::new(&traffic, 0, Pace { rate: Some(200_000), ahead: None })?];
    under_load(&wire, &mut loads, || {
        daemon.wait_for_error_lines("records lost on the way out, in total by sink: standard output: ", 1)?;
        let full = fs::metadata(&path)?.len();
        disk.grow(128 << 10)?;
        wait_until("the file grows when there is room", || Ok(fs::metadata(&path)?.len() > full))
    })?;
    let arrived = wire.tally().arrived("vb")?;
    let finished = daemon.stop(Signal::TERM)?;
    ensure!(finished.status.success(), "the daemon ended with {}: {:?}", finished.status, finished.stderr);

    let text = fs::read_to_string(&path)?;
    let objects = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let sums: Vec<Object> = objects.filter_map(|object| object.get("accounting")?.as_object().cloned()).collect();
    println!("{arrived:?} arrived; {} octets and {} accountings written", text.len(), sums.len());
    sums.iter().try_for_each(must_balance)?;
    let last = sums.last().context("no accounting")?;
    ensure!(Total::of_term(last, "seen")? == arrived, "arrived {arrived:?}, seen {last:?}");
    ensure!(Total::of_term(last, "exported")? == arrived, "arrived {arrived:?}, exported {last:?}");
    Ok(())
}
