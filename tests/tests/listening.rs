//! Holds what concerns the sockets at which flowprobe listens: who is heard, what is dropped, and that all versions, both IP
//! versions, and interfaces go side by side.

use anyhow::{Context as _, Result, ensure};
use flowprobe_tests::daemon::{Daemon, was_received};
use flowprobe_tests::exporting::{ExportingProcess, Flow, Layout, Sender, must_be_told};
use flowprobe_tests::frames::{self, packets_of};
use flowprobe_tests::inject;
use flowprobe_tests::listening::{HERE, Listening, flows, health, of};
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::process::wait_until;
use flowprobe_tests::require;
use flowprobe_tests::truth::{Flows, Object};
use rustix::process::Signal;
use serde_json::{Value, json};

#[test]
fn every_version_is_read_on_one_port() -> Result<()> {
    require!();
    let mut listening = Listening::start()?;
    let sender = listening.from("127.0.0.2:9000")?;
    let mut told = Vec::new();
    let mut processes = [5, 9, 10].map(|version| ExportingProcess::new(version, 1));
    for turn in 0..5 {
        for process in &mut processes {
            let of_turn = flows(u32::from(process.version) * 1000 + turn * 3, 3, process);
            let layout = Layout::plain(256, process);
            let message = match process.version {
                5 => process.netflow5(&of_turn, 0),
                _ => process.message(&[layout.template(), layout.data(&of_turn, process)]),
            };
            listening.send(&sender, &message)?;
            told.extend(of_turn);
        }
    }
    let report = listening.stop()?;
    must_be_told(&told, &of(&report, "127.0.0.2"))?;
    ensure!(report.exporters.len() == 3, "{:?}", report.exporters);
    Ok(())
}

#[test]
fn only_who_may_is_heard() -> Result<()> {
    require!();
    let mut listening = Listening::at(&[&format!("udp://{HERE}?allow=127.0.5.0/24,127.0.0.9")])?;
    let mut told = Vec::new();
    let addresses = ["127.0.5.1:9000", "127.0.0.8:9000", "127.0.0.9:9000", "127.0.6.1:9000"];
    for (place, address) in (0_u32..).zip(addresses) {
        let mut process = ExportingProcess::new(9, 1);
        let layout = Layout::plain(300, &process);
        let of_this = flows(place * 100, 3, &process);
        let sender = listening.from(address)?;
        let message = process.message(&[layout.template(), layout.data(&of_this, &process)]);
        sender.send(&message)?;
        if place % 2 == 0 {
            listening.sent += 1;
            told.push((address.trim_end_matches(":9000"), of_this));
        }
    }
    let refused = |listener: &Value| listener["refused"] == 2;
    listening.daemon.wait_for_health("listeners", "two refused", refused)?;
    let report = listening.stop()?;
    for (address, of_this) in &told {
        must_be_told(of_this, &of(&report, address))?;
    }
    ensure!(report.records.len() == 6 && report.exporters.len() == 2, "{:?}", report.exporters);
    Ok(())
}

#[test]
fn what_the_kernel_drops_is_counted() -> Result<()> {
    require!();
    const MESSAGES: u32 = 20_000;
    let listening = Listening::at(&[&format!("udp://{HERE}?receive-buffer=1M")])?;
    let sender = listening.from("127.0.0.2:9000")?;
    let mut process = ExportingProcess::new(9, 1);
    let layout = Layout::plain(300, &process);
    sender.send(&process.message(&[layout.template()]))?;
    listening.daemon.wait_for_health("listeners", "the template", |listener| listener["messages"] == 1)?;
    listening.daemon.signal(Signal::STOP)?;
    for flow in &flows(0, MESSAGES, &process) {
        sender.send(&process.message(&[layout.data(std::slice::from_ref(flow), &process)]))?;
    }
    listening.daemon.signal(Signal::CONT)?;
    // The kernel says what it has dropped with the next datagram that it has room for.
    let count = |listener: &Value, name: &str| listener[name].as_u64().unwrap_or_default();
    let sum = |listener: &Value| count(listener, "messages") + count(listener, "kernelDrops");
    let (mut sent, mut before, mut listener) = (u64::from(MESSAGES) + 1, 0, Value::Null);
    let mut number = MESSAGES;
    wait_until("the sum of what was read and dropped", || {
        listener = listening.daemon.status()?["listeners"][0].take();
        if sum(&listener) == before && before < sent {
            let one = Flow::numbered(number, &process);
            sender.send(&process.message(&[layout.data(&[one], &process)]))?;
            (number, sent) = (number + 1, sent + 1);
        }
        before = sum(&listener);
        Ok(before == sent)
    })
    .with_context(|| format!("{sent} sent: {listener}"))?;
    let report = listening.daemon.stop()?;
    let dropped = count(&listener, "kernelDrops");
    ensure!(dropped > 0, "nothing was dropped: {listener}");
    ensure!(report.records.len() as u64 == count(&listener, "messages") - 1, "{} records", report.records.len());
    // One message each, so the exporter's numbers say the same.
    ensure!(health(&report, "127.0.0.2", "missing")? == dropped, "{dropped} dropped, {:?}", report.exporters);
    Ok(())
}

#[test]
fn exporters_with_ipv6_and_those_that_come_mapped_have_their_addresses() -> Result<()> {
    require!();
    let room = Namespace::new()?;
    room.set("net/ipv6/conf/lo/disable_ipv6", "0")?;
    let daemon = Daemon::start(&room, &["--listen", "udp://[::]:2055"])?;
    for (from, to) in [("[::1]:9000", "[::1]:2055"), ("127.0.0.2:9000", HERE)] {
        let mut process = ExportingProcess::new(10, 1);
        let layout = Layout::plain(300, &process).v6();
        let flow = Flow::numbered(7, &process).v6();
        Sender::new(&room, from, to)?.send(&process.message(&[layout.template(), layout.data(&[flow], &process)]))?;
    }
    daemon.wait_for_health("listeners", "both", |listener| listener["messages"] == 2)?;
    let report = daemon.stop()?;
    let told = Flow::numbered(7, &ExportingProcess::new(10, 1)).v6();
    for address in ["::1", "127.0.0.2"] {
        let records = of(&report, address);
        ensure!(records.len() == 1, "{address}: {:?}", report.records);
        ensure!(records[0].get("sourceIPv6Address") == Some(&json!(told.source.to_string())), "{:?}", records[0]);
    }
    Ok(())
}

#[test]
fn what_is_metered_and_what_is_received_come_side_by_side() -> Result<()> {
    require!();
    let room = Namespace::with_pair()?;
    let mut daemon = Daemon::quick(&room, &["-i", "vb", "--listen", &format!("udp://{HERE}")])?;
    let own: Vec<frames::Flow> = (0..20).map(|number| frames::Flow::udp(number, false)).collect();
    let (packets, sent) = packets_of(&own, 3)?;
    inject::send(&room, "va", "vb", &packets)?;
    let sender = Sender::new(&room, "127.0.0.2:9000", HERE)?;
    let mut process = ExportingProcess::new(10, 1);
    let layout = Layout::plain(300, &process);
    let told = flows(0, 20, &process);
    sender.send(&process.message(&[layout.template(), layout.data(&told, &process)]))?;
    daemon.wait_until_seen("vb", 60)?;
    daemon.wait_for_health("listeners", "the datagram", |listener| listener["messages"] == 1)?;
    let report = daemon.stop()?;
    let (received, metered): (Vec<&Object>, Vec<&Object>) =
        report.records.iter().partition(|record| was_received(record));
    must_be_told(&told, &received)?;
    sent.must_equal(&Flows::of_records(metered)?, "--json")?;
    Ok(())
}
