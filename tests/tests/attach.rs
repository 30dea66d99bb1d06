//! Holds that programs are on the interfaces that were asked for while the daemon runs, and on none afterwards, however it
//! ends.

use anyhow::{Result, ensure};
use flowprobe_tests::daemon::{Daemon, flowprobe};
use flowprobe_tests::inject::send_flows;
use flowprobe_tests::kernel;
use flowprobe_tests::live::Foreigner;
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::process::{Process, wait_until};
use flowprobe_tests::truth::{Flows, Total, number};
use flowprobe_tests::{require, require_kernel};
use rustix::process::Signal;

/// The kernel takes programs off some moments after a process has gone.
fn wait_for_no_program(room: &Namespace, interface: &str) -> Result<()> {
    wait_until("no program on the interface", || Ok(room.programs(interface)?.is_empty()))
}

#[test]
fn a_killed_daemon_leaves_nothing_and_can_be_started_again_at_once() -> Result<()> {
    require!();
    for mode in ["native", "tc", "generic"] {
        let room = Namespace::with_pair()?;
        let daemon = Daemon::quick(&room, &["-i", "vb", "--mode", mode, "--promisc"])?;
        send_flows(&room, "va", "vb", 0)?;
        ensure!(!room.programs("vb")?.is_empty(), "{mode}: no program");
        let killed = daemon.kill()?;
        ensure!(!killed.status.success(), "{mode}: it was killed and ended well");
        // At once: the kernel may still be taking the old program off.
        let mut again = Daemon::quick(&room, &["-i", "vb", "--mode", mode])?;
        let sent = send_flows(&room, "va", "vb", 100)?;
        again.wait_until_seen("vb", sent.sum().packets)?;
        ensure!(room.programs("vb")?.len() == 1, "{mode}: {:?}", room.programs("vb")?);
        let report = again.stop()?;
        sent.must_equal(&Flows::of_records(&report.records)?, mode)?;
        wait_for_no_program(&room, "vb")?;
        wait_until("no promiscuous mode", || Ok(room.link("vb")?["promiscuity"] == 0))?;
    }
    Ok(())
}

#[test]
fn signals_end_it_in_good_order() -> Result<()> {
    require!();
    for signal in [Signal::TERM, Signal::INT] {
        let room = Namespace::with_pair()?;
        let mut daemon = Daemon::start(&room, &["-i", "vb", "--interval", "200ms"])?;
        let sent = send_flows(&room, "va", "vb", 0)?;
        daemon.wait_until_seen("vb", sent.sum().packets)?;
        // That it exits with 0 and holds nothing at the end is checked for every run.
        let report = daemon.stop_with(signal)?;
        ensure!(room.programs("vb")?.is_empty(), "{signal:?}: programs are left: {:?}", room.programs("vb")?);
        sent.must_equal(&Flows::of_records(&report.records)?, "flushed records")?;
        for record in &report.records {
            ensure!(number(record, "flowEndReason")? == 4, "{signal:?}: not a forced end: {record:?}");
        }
    }
    Ok(())
}

#[test]
fn packets_on_their_way_when_it_stops_are_reported() -> Result<()> {
    require!();
    let room = Namespace::with_pair()?;
    // No drain comes before the one at the end.
    let daemon = Daemon::start(&room, &["-i", "vb", "--interval", "1h"])?;
    let sent = send_flows(&room, "va", "vb", 0)?;
    let report = daemon.stop()?;
    sent.must_equal(&Flows::of_records(&report.records)?, "flushed records")
}

#[test]
fn an_interface_that_goes_and_comes_back() -> Result<()> {
    require!();
    let room = Namespace::with_pair()?;
    room.pair("wa", "wb")?;
    let mut daemon = Daemon::quick(&room, &["-i", "vb", "-i", "wb"])?;
    let mut on_vb = send_flows(&room, "va", "vb", 0)?;
    let mut on_wb = send_flows(&room, "wa", "wb", 100)?;
    daemon.wait_until_seen("vb", on_vb.sum().packets)?;

    room.ip("link delete va")?;
    daemon.wait_for_log("WARN interface vb is gone", 1)?;
    on_wb.add_all(&send_flows(&room, "wa", "wb", 200)?);

    room.pair("va", "vb")?;
    daemon.wait_for_log(" metering vb ", 2)?;
    on_vb.add_all(&send_flows(&room, "va", "vb", 300)?);
    on_wb.add_all(&send_flows(&room, "wa", "wb", 400)?);
    daemon.wait_until_seen("vb", on_vb.sum().packets)?;
    daemon.wait_until_seen("wb", on_wb.sum().packets)?;
    let report = daemon.stop()?;

    for (interface, sent) in [("vb", &on_vb), ("wb", &on_wb)] {
        let seen = report.term(interface, "seen")?;
        ensure!(seen == sent.sum().into(), "{interface}: seen {seen:?}, sent {:?}", sent.sum());
        ensure!(report.term(interface, "exported")? == seen, "{interface}: not all was exported");
    }
    let mut sent = on_vb;
    sent.add_all(&on_wb);
    sent.must_equal(&Flows::of_records(&report.records)?, "--json")
}

#[test]
fn each_of_several_interfaces_has_its_own_sum() -> Result<()> {
    require!();
    let room = Namespace::with_pair()?;
    room.pair("wa", "wb")?;
    room.pair("xa", "xb")?;
    let mut daemon = Daemon::quick(&room, &["-i", "vb", "-i", "wb", "-i", "xb"])?;
    // The same flows on each: the interface is a part of what makes a flow.
    let mut sent = send_flows(&room, "va", "vb", 0)?;
    let one = Total::from(sent.sum());
    sent.add_all(&send_flows(&room, "wa", "wb", 0)?);
    daemon.wait_until_seen("wb", one.packets)?;
    let report = daemon.stop()?;
    ensure!(report.term("vb", "seen")? == one && report.term("wb", "seen")? == one, "not each its own packets");
    ensure!(report.term("xb", "seen")? == Total::default(), "packets seen where none were");
    ensure!(report.records.len() == 2 * 20, "{} records of 20 flows on two interfaces", report.records.len());
    for interface in ["vb", "wb"] {
        let index = u64::from(room.index(interface)?);
        let there = report.records.iter().filter(|record| number(record, "ingressInterface").ok() == Some(index));
        ensure!(there.count() == 20, "{interface}: not 20 records");
    }
    sent.must_equal(&Flows::of_records(&report.records)?, "--json")
}

#[test]
fn auto_makes_way_for_a_foreign_xdp_program() -> Result<()> {
    require!();
    require_kernel!(5, 18, "the foreign program's multi-buffer XDP");
    let room = Namespace::with_pair()?;
    let _foreigner = Foreigner::attach(&room, "vb")?;
    let mut daemon = Daemon::quick(&room, &["-i", "vb"])?;
    ensure!(
        room.programs("vb")? == ["native empty".to_owned(), format!("{} tc_ingress", kernel::tc_hook())],
        "{:?}",
        room.programs("vb")?
    );
    let sent = send_flows(&room, "va", "vb", 0)?;
    daemon.wait_until_seen("vb", sent.sum().packets)?;
    let report = daemon.stop()?;
    let why = "native XDP was refused: another XDP program is attached there";
    let said = format!("metering vb ({}; {why})", kernel::tc_hook());
    ensure!(report.logged(&said).len() == 1, "not said why: {:?}", report.finished.stderr);
    sent.must_equal(&Flows::of_records(&report.records)?, "--json")?;
    wait_until("only the foreign program", || Ok(room.programs("vb")? == ["native empty"]))?;

    // Forced to be native, it gives up and leaves the other alone.
    let refused = Process::start(&mut flowprobe(&room, &["run", "-i", "vb", "--mode", "native"])?)?.wait()?;
    ensure!(refused.status.code() == Some(1), "ended with {}", refused.status);
    let error = "flowprobe: cannot attach to `vb` as native XDP: another XDP program is attached there";
    ensure!(refused.stderr == [error], "{:?}", refused.stderr);
    ensure!(room.programs("vb")? == ["native empty"], "{:?}", room.programs("vb")?);
    Ok(())
}

#[test]
fn promiscuous_mode_ends_with_the_daemon() -> Result<()> {
    require!();
    let room = Namespace::with_pair()?;
    let promiscuity = || -> Result<Option<u64>> { Ok(room.link("vb")?["promiscuity"].as_u64()) };
    let before = promiscuity()?;
    ensure!(before == Some(0), "promiscuous before: {before:?}");
    for (arguments, during) in [(vec!["-i", "vb"], 0), (vec!["-i", "vb", "--promisc"], 1)] {
        let daemon = Daemon::quick(&room, &arguments)?;
        ensure!(promiscuity()? == Some(during), "{arguments:?}: {:?}", promiscuity()?);
        daemon.stop()?;
        ensure!(promiscuity()? == Some(0), "{arguments:?}: promiscuous afterwards: {:?}", promiscuity()?);
    }
    Ok(())
}
