//! Holds that at more than a million packets a second no packet is lost or counted twice, whatever the drains do meanwhile.

use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use flowprobe_tests::daemon::{Daemon, Report};
use flowprobe_tests::live::{Generator, redirected};
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::truth::{Counts, Flows, Total};
use flowprobe_tests::{require, require_kernel};

/// How long traffic flows: long enough for two dozen drains.
fn duration() -> Duration {
    Duration::from_secs(if std::env::var_os("FLOWPROBE_LONG").is_some() { 30 } else { 5 })
}

/// Live frames of `flows` flows while the daemon drains; its report and what the kernel says arrived.
fn run(flows: u32, arguments: &[&str]) -> Result<(Generator, u64, Report)> {
    let room = Namespace::with_pair()?;
    let mut daemon = Daemon::start(&room, &[&["-i", "vb", "--interval", "200ms"], arguments].concat())?;
    let mut generator = Generator::new(&room, "va", flows)?;
    let rate = generator.send_for(&room, duration())?;
    let (arrived, refused) = redirected(&room, "va")?;
    println!(
        "{flows} flows: {:.2} million packets a second, {} frames made, {refused} refused by the veth's full ring",
        rate / 1e6,
        generator.sent(),
    );
    ensure!(arrived + refused == generator.sent(), "the driver does not account for every frame");
    // The frames that its program was run for, by the interface's own count.
    let received = room.counters("vb")?.rx_packets;
    ensure!(received == arrived, "{arrived} frames were handed over, {received} received");
    daemon.wait_until_seen("vb", arrived)?;
    Ok((generator, arrived, daemon.stop()?))
}

/// Every frame has the same size, so octets follow from packets.
fn total(packets: u64, each: Counts) -> Total {
    Total { packets, octets: packets * each.layer2_octets }
}

fn nothing_is_lost(flows: u32) -> Result<()> {
    let (generator, arrived, report) = run(flows, &[])?;
    let arrived_total = total(arrived, generator.counts());
    ensure!(report.term("vb", "seen")? == arrived_total, "seen {:?}, arrived {arrived}", report.term("vb", "seen")?);
    ensure!(report.term("vb", "exported")? == arrived_total, "exported {:?}", report.term("vb", "exported")?);
    let reported = Flows::of_records(&report.records)?;
    ensure!(total(reported.sum().packets, generator.counts()) == reported.sum().into(), "octets do not fit packets");
    ensure!(reported.sum().packets == arrived, "{} packets in records, arrived {arrived}", reported.sum().packets);

    let refused = generator.sent() - arrived;
    let made = generator.packets_by_flow()?;
    ensure!(reported.0.len() == made.len(), "{} flows reported, {} sent", reported.0.len(), made.len());
    for (flow, counts) in &reported.0 {
        let made = made.get(flow).copied().unwrap_or(0);
        // Which frames the ring refused is not known, only how many.
        let possible = made.saturating_sub(refused)..=made;
        ensure!(possible.contains(&counts.packets), "{flow:?}: {} packets reported, {made} sent", counts.packets);
    }
    Ok(())
}

#[test]
fn four_thousand_flows() -> Result<()> {
    require!("ethtool");
    require_kernel!(5, 18, "live frames in a test run");
    nothing_is_lost(4096)
}

#[test]
fn sixty_five_thousand_flows() -> Result<()> {
    require!("ethtool");
    require_kernel!(5, 18, "live frames in a test run");
    nothing_is_lost(65_536)
}

/// Two senders of the same flows at once, on an interface with a queue for each: every flow is new in every generation, and
/// both CPUs meet it.
#[test]
fn two_cpus_that_meet_the_same_new_flows() -> Result<()> {
    require!("ethtool");
    require_kernel!(5, 18, "live frames in a test run");
    let room = Namespace::new()?;
    let queues = "numtxqueues 2 numrxqueues 2";
    room.ip(&format!("link add va {queues} type veth peer name vb {queues}"))?;
    room.ip("link set va up")?;
    room.ip("link set vb up")?;
    let mut daemon = Daemon::start(&room, &["-i", "vb", "--interval", "100ms"])?;
    let mut senders = [Generator::new(&room, "va", 1 << 14)?, Generator::new(&room, "va", 1 << 14)?];
    thread::scope(|scope| -> Result<()> {
        let sending = senders.each_mut().map(|sender| scope.spawn(|| sender.send_for(&room, duration())));
        sending.into_iter().try_for_each(|sender| sender.join().map_err(|_| anyhow!("a sender panicked"))?.map(drop))
    })?;
    let (arrived, refused) = redirected(&room, "va")?;
    let [one, other] = &senders;
    println!("{} and {} frames made, {refused} refused by the veth's full rings", one.sent(), other.sent());
    daemon.wait_until_seen("vb", arrived)?;
    let report = daemon.stop()?;
    let arrived_total = total(arrived, one.counts());
    ensure!(report.term("vb", "seen")? == arrived_total, "seen {:?}, arrived {arrived}", report.term("vb", "seen")?);
    ensure!(report.term("vb", "overflow")? == Total::default(), "the map is large enough");
    let reported = Flows::of_records(&report.records)?;
    ensure!(Total::from(reported.sum()) == arrived_total, "{:?} in records, arrived {arrived}", reported.sum());
    let (made, more) = (one.packets_by_flow()?, other.packets_by_flow()?);
    for (flow, counts) in &reported.0 {
        let made = made.get(flow).copied().unwrap_or(0) + more.get(flow).copied().unwrap_or(0);
        let possible = made.saturating_sub(refused)..=made;
        ensure!(possible.contains(&counts.packets), "{flow:?}: {} packets reported, {made} sent", counts.packets);
    }
    Ok(())
}

#[test]
fn a_full_map_overflows_and_says_so() -> Result<()> {
    require!("ethtool");
    require_kernel!(5, 18, "live frames in a test run");
    let (generator, arrived, report) = run(65_536, &["--max-flows", "1024"])?;
    let [seen, exported, overflow] = ["seen", "exported", "overflow"].map(|term| report.term("vb", term));
    let (seen, exported, overflow) = (seen?, exported?, overflow?);
    ensure!(seen == total(arrived, generator.counts()), "seen {seen:?}, arrived {arrived}");
    ensure!(overflow.packets > 0, "1,024 entries hold 65,536 flows");
    ensure!(exported.packets + overflow.packets == arrived, "{exported:?} + {overflow:?} is not {arrived}");
    ensure!(!report.logged("no room in the kernel's flow map").is_empty(), "the operator is not told");

    let reported = Flows::of_records(&report.records)?;
    ensure!(Total::from(reported.sum()) == exported, "the records do not add up to {exported:?}");
    let made = generator.packets_by_flow()?;
    for (flow, counts) in &reported.0 {
        let made = made.get(flow).copied().unwrap_or(0);
        ensure!(counts.packets <= made, "{flow:?}: {} packets reported, {made} sent", counts.packets);
    }
    Ok(())
}
