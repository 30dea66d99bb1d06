//! Holds that records of exporters are told apart, read with the right template and the right time, once each, and that what
//! is missing, late or there twice is counted.

use std::io::Write as _;
use std::net::TcpStream;

use anyhow::{Context as _, Result, ensure};
use flowprobe_tests::exporting::{ExportingProcess, Field, Flow, Layout, Set, must_be_told, says};
use flowprobe_tests::listening::{Listening, flows, health, of};
use flowprobe_tests::require;
use flowprobe_tests::truth::Object;
use serde_json::json;

/// The other layout: what is known of a flow in another order and in other widths.
const OTHER: [(u16, u16); 9] = [(1, 8), (2, 8), (152, 8), (153, 8), (4, 1), (11, 2), (7, 2), (12, 4), (8, 4)];

/// The same for NetFlow v9, whose times are uptimes.
const OTHER_9: [(u16, u16); 9] = [(1, 4), (2, 4), (22, 4), (21, 4), (4, 1), (11, 2), (7, 2), (12, 4), (8, 4)];

#[test]
fn the_same_template_id_means_what_its_exporter_said() -> Result<()> {
    require!();
    for version in [9, 10] {
        let mut listening = Listening::start()?;
        let other = if version == 9 { OTHER_9 } else { OTHER };
        // Three at two addresses, of which one has two behind it.
        let addresses = ["127.0.0.2:9000", "127.0.0.3:9000", "127.0.0.3:9001"];
        let mut sent = Vec::new();
        let mut exporters = Vec::new();
        for (place, address) in (0_u32..).zip(addresses) {
            let mut process = ExportingProcess::new(version, 5);
            process.sequence = 1 + place * 100_000;
            let layout = if place == 1 { Layout::of(300, &other) } else { Layout::plain(300, &process) };
            exporters.push((listening.from(address)?, process, layout));
        }
        for (sender, process, layout) in &mut exporters {
            listening.send(sender, &process.message(&[layout.template()]))?;
        }
        for turn in 0..4 {
            for (place, (sender, process, layout)) in (0_u32..).zip(&mut exporters) {
                let told = flows(place * 1000 + turn * 5, 5, process);
                listening.send(sender, &process.message(&[layout.data(&told, process)]))?;
                sent.push((addresses[place as usize], told));
            }
        }
        let report = listening.stop()?;
        for host in ["127.0.0.2", "127.0.0.3"] {
            let told =
                sent.iter().filter(|(address, _)| address.starts_with(host)).flat_map(|(_, flows)| flows.clone());
            must_be_told(&told.collect::<Vec<_>>(), &of(&report, host))
                .with_context(|| format!("v{version} {host}"))?;
        }
        for record in &report.records {
            ensure!(record.get("originalObservationDomainId") == Some(&json!(5)), "{record:?}");
        }
    }
    Ok(())
}

#[test]
fn an_exporter_that_restarts_has_its_templates_anew() -> Result<()> {
    require!();
    for version in [9, 10] {
        let mut listening = Listening::start()?;
        let sender = listening.from("127.0.0.2:9000")?;
        let mut before = ExportingProcess::new(version, 1);
        before.sequence = 5_000_000;
        let layout = Layout::plain(300, &before);
        let first = flows(0, 6, &before);
        listening.send(&sender, &before.message(&[layout.template(), layout.data(&first, &before)]))?;

        let mut after = ExportingProcess::new(version, 1);
        after.uptime_ms = 6500;
        after.seconds = before.seconds + 1;
        let layout = Layout::of(300, if version == 9 { &OTHER_9 } else { &OTHER });
        let second = flows(100, 6, &after);
        // Its first data come before their template: the old layout would misread them.
        listening.send(&sender, &after.message(&[layout.data(&second[..3], &after)]))?;
        listening.send(&sender, &after.message(&[layout.template(), layout.data(&second[3..], &after)]))?;
        let report = listening.stop()?;
        must_be_told(&[first, second].concat(), &of(&report, "127.0.0.2")).with_context(|| format!("v{version}"))?;
        ensure!(health(&report, "127.0.0.2", "restarts")? == 1, "v{version}: {:?}", report.exporters);
        ensure!(health(&report, "127.0.0.2", "missing")? == 0, "v{version}: {:?}", report.exporters);
    }
    Ok(())
}

#[test]
fn data_before_their_template_are_read_with_the_time_of_their_own_message() -> Result<()> {
    require!();
    let mut listening = Listening::start()?;
    let sender = listening.from("127.0.0.2:9000")?;
    let mut process = ExportingProcess::new(9, 1);
    let layout = Layout::plain(300, &process);
    let early = flows(0, 5, &process);
    let data = process.message(&[layout.data(&early, &process)]);
    listening.send(&sender, &data)?;
    // Two seconds later its clock has been set: another wall clock for the same uptime.
    process.uptime_ms += 2000;
    process.seconds += 30;
    listening.send(&sender, &process.message(&[layout.template()]))?;
    let late = flows(50, 5, &process);
    listening.send(&sender, &process.message(&[layout.data(&late, &process)]))?;
    let report = listening.stop()?;
    must_be_told(&[early, late].concat(), &of(&report, "127.0.0.2"))?;
    ensure!(health(&report, "127.0.0.2", "recoveredSets")? == 1, "{:?}", report.exporters);
    ensure!(health(&report, "127.0.0.2", "recoveredRecords")? == 5, "{:?}", report.exporters);
    Ok(())
}

#[test]
fn records_are_sampled_as_the_options_before_them_say() -> Result<()> {
    require!();
    let mut listening = Listening::start()?;
    let sender = listening.from("127.0.0.2:9000")?;
    let mut process = ExportingProcess::new(10, 1);
    let layout = Layout::plain(300, &process).with(Field::iana(302, 8), &9_u64.to_be_bytes());
    let told = flows(0, 4, &process);
    listening.send(&sender, &process.message(&[layout.template(), layout.data(&told[..2], &process)]))?;
    let options = Set::OptionsTemplate(301, 1, vec![Field::iana(302, 8), Field::iana(305, 4), Field::iana(306, 4)]);
    let selector = [&9_u64.to_be_bytes()[..], &1_u32.to_be_bytes(), &99_u32.to_be_bytes()].concat();
    listening.send(&sender, &process.message(&[options, Set::Data(301, vec![selector])]))?;
    listening.send(&sender, &process.message(&[layout.data(&told[2..], &process)]))?;
    // NetFlow v5 says it in its header: mode 1, one of 1,000.
    let old = listening.from("127.0.0.3:9000")?;
    let mut process = ExportingProcess::new(5, 0);
    let of_old = flows(0, 1, &process);
    listening.send(&old, &process.netflow5(&of_old, 1 << 14 | 1000))?;
    let report = listening.stop()?;
    must_be_told(&told, &of(&report, "127.0.0.2"))?;
    for (flow, interval) in told.iter().zip([None, None, Some(100), Some(100)]) {
        let record = of(&report, "127.0.0.2").into_iter().find(|record| says(record, &flow.told()));
        must_be_scaled(record.context("a record")?, flow, interval)?;
    }
    must_be_scaled(of(&report, "127.0.0.3").first().context("a record")?, &of_old[0], Some(1000))
}

/// A record has its counts as they came, the interval, and what they stand for.
fn must_be_scaled(record: &Object, flow: &Flow, interval: Option<u32>) -> Result<()> {
    let scaled = |count: u32| interval.map(|interval| json!(u64::from(count) * u64::from(interval)));
    ensure!(says(record, &flow.told()), "{record:?}");
    let expected = [
        ("samplingInterval", interval.map(|interval| json!(interval))),
        ("scaledPacketDeltaCount", scaled(flow.packets)),
        ("scaledOctetDeltaCount", scaled(flow.octets)),
    ];
    for (name, value) in expected {
        ensure!(record.get(name) == value.as_ref(), "{name} is not {value:?}: {record:?}");
    }
    Ok(())
}

#[test]
fn what_comes_twice_or_late_is_one_record_each() -> Result<()> {
    require!();
    for version in [5, 9, 10] {
        let mut listening = Listening::start()?;
        let sender = listening.from("127.0.0.2:9000")?;
        let mut process = ExportingProcess::new(version, 1);
        let layout = Layout::plain(300, &process);
        let told = flows(0, 40, &process);
        if version != 5 {
            listening.send(&sender, &process.message(&[layout.template()]))?;
        }
        let messages: Vec<Vec<u8>> = told
            .chunks(4)
            .map(|four| match version {
                5 => process.netflow5(four, 0),
                _ => process.message(&[layout.data(four, &process)]),
            })
            .collect();
        // 1 and 8 come twice, 4 after 5; 6 after 9, and once more.
        for place in [0, 1, 1, 2, 3, 5, 4, 7, 8, 8, 9, 6, 6] {
            listening.send(&sender, &messages[place])?;
        }
        let report = listening.stop()?;
        must_be_told(&told, &of(&report, "127.0.0.2")).with_context(|| format!("v{version}"))?;
        for (name, expected) in [("duplicates", 3), ("reordered", 2), ("missing", 0), ("restarts", 0)] {
            let found = health(&report, "127.0.0.2", name)?;
            ensure!(found == expected, "v{version}: {name} is {found}, not {expected}");
        }
    }
    Ok(())
}

#[test]
fn what_is_missing_is_counted_as_the_version_counts() -> Result<()> {
    require!();
    for (version, missing) in [(5, 12), (9, 3), (10, 12)] {
        let mut listening = Listening::start()?;
        let sender = listening.from("127.0.0.2:9000")?;
        let mut process = ExportingProcess::new(version, 1);
        let layout = Layout::plain(300, &process);
        if version != 5 {
            listening.send(&sender, &process.message(&[layout.template()]))?;
        }
        let told = flows(0, 40, &process);
        let mut arrived = Vec::new();
        for (place, four) in told.chunks(4).enumerate() {
            let message = match version {
                5 => process.netflow5(four, 0),
                _ => process.message(&[layout.data(four, &process)]),
            };
            if ![3, 4, 7].contains(&place) {
                listening.send(&sender, &message)?;
                arrived.extend_from_slice(four);
            }
        }
        let report = listening.stop()?;
        must_be_told(&arrived, &of(&report, "127.0.0.2"))?;
        let found = health(&report, "127.0.0.2", "missing")?;
        ensure!(found == missing, "v{version}: {found} are missing, not {missing}");
    }
    Ok(())
}

#[test]
fn a_template_changes_over_udp_when_it_comes_again() -> Result<()> {
    require!();
    for version in [9, 10] {
        let mut listening = Listening::start()?;
        let sender = listening.from("127.0.0.2:9000")?;
        let mut process = ExportingProcess::new(version, 1);
        let told = flows(0, 12, &process);
        let plain = Layout::plain(300, &process);
        let other = Layout::of(300, if version == 9 { &OTHER_9 } else { &OTHER });
        for (layout, flows) in [&plain, &other, &other].into_iter().zip(told.chunks(4)) {
            let sets = [layout.template(), layout.data(flows, &process)];
            listening.send(&sender, &process.message(&sets))?;
        }
        let report = listening.stop()?;
        must_be_told(&told, &of(&report, "127.0.0.2"))?;
        ensure!(health(&report, "127.0.0.2", "templatesChanged")? == 1, "{:?}", report.exporters);
    }
    Ok(())
}

#[test]
fn a_template_is_withdrawn_and_used_again_over_tcp() -> Result<()> {
    require!();
    let listening = Listening::at(&["tcp://127.0.0.1:4739"])?;
    let mut stream = listening.room.inside(|| Ok(TcpStream::connect("127.0.0.1:4739")?))?;
    let mut process = ExportingProcess::new(10, 1);
    let told = flows(0, 8, &process);
    let (plain, other) = (Layout::plain(300, &process), Layout::of(300, &OTHER));
    let mut octets = process.message(&[plain.template(), plain.data(&told[..4], &process)]);
    octets.extend(process.message(&[Set::Withdrawal(300)]));
    octets.extend(process.message(&[other.template(), other.data(&told[4..], &process)]));
    // In pieces that are no messages.
    for piece in octets.chunks(37) {
        stream.write_all(piece)?;
        stream.flush()?;
    }
    drop(stream);
    let Listening { daemon, .. } = listening;
    daemon.wait_for_health("exporters", "every message", |exporter| exporter["messages"] == 3)?;
    let report = daemon.stop()?;
    must_be_told(&told, &of(&report, "127.0.0.1"))?;
    ensure!(health(&report, "127.0.0.1", "templatesWithdrawn")? == 1, "{:?}", report.exporters);
    Ok(())
}
