//! Holds what of received records collectors get: in IPFIX every element with its octets, in NetFlow what that can say, the
//! datagrams as they came where that is asked for, and nothing where that is.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};
use flowprobe_tests::daemon::{Daemon, Report};
use flowprobe_tests::exporting::{ExportingProcess, Field, Flow, Layout, Sender, VARIABLE, must_be_told};
use flowprobe_tests::listening::{HERE, flows};
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::relayed::{Keeper, Record, read};
use flowprobe_tests::require;

/// Where the exporter of these tests sends from.
const EXPORTER: &str = "127.0.0.2:9000";

/// Sends messages to a daemon that has the collector `url`, and ends it when it has read them.
fn pass_on(room: &Namespace, more: &[&str], messages: &[Vec<u8>]) -> Result<Report> {
    let listen = format!("udp://{HERE}");
    let daemon = Daemon::start(room, &[&["--listen", &listen], more].concat())?;
    let sender = Sender::new(room, EXPORTER, HERE)?;
    for message in messages {
        sender.send(message)?;
    }
    daemon.wait_for_health("listeners", "every datagram", |listener| listener["messages"] == messages.len())?;
    daemon.stop()
}

/// The flow record that is of `flow`, by its source port.
fn record_of<'a>(records: &'a [Record], flow: &Flow) -> Result<&'a Record> {
    let is =
        |record: &&Record| !record.options && record.number(7).is_ok_and(|port| port == u64::from(flow.source_port));
    let mut found = records.iter().filter(is);
    let record = found.next().with_context(|| format!("no record of {flow:?} in {records:?}"))?;
    ensure!(found.next().is_none(), "{flow:?} was passed on twice");
    Ok(record)
}

/// A record says of `flow` what every format can say.
fn must_say(record: &Record, flow: &Flow) -> Result<()> {
    let (Ok(source), Ok(destination)) = (
        <[u8; 4]>::try_from(record.octets(0, 8)?).map(Ipv4Addr::from),
        <[u8; 4]>::try_from(record.octets(0, 12)?).map(Ipv4Addr::from),
    ) else {
        anyhow::bail!("no addresses of four octets: {record:?}");
    };
    ensure!(flow.source == source && flow.destination == destination, "{source} {destination} {flow:?}");
    let numbers = [
        (1, flow.octets),
        (2, flow.packets),
        (4, flow.protocol.into()),
        (7, flow.source_port.into()),
        (11, flow.destination_port.into()),
    ];
    for (element, number) in numbers {
        ensure!(record.number(element)? == u64::from(number), "{element} is not {number}: {record:?}");
    }
    Ok(())
}

#[test]
fn ipfix_has_every_element_with_its_octets() -> Result<()> {
    require!();
    let room = Namespace::new()?;
    let keeper = Keeper::udp(&room)?;
    let mut process = ExportingProcess::new(10, 77);
    let long = "x".repeat(200);
    let more: [(Field, &[u8]); 7] = [
        (Field::iana(225, 4), &[203, 0, 113, 9]),
        (Field::iana(233, 1), &[2]),
        (Field::iana(148, 8), &[1, 2, 3, 4, 5, 6, 7, 8]),
        (Field { enterprise: 35_632, element: 188, octets: VARIABLE }, b"example.net"),
        (Field { enterprise: 2011, element: 701, octets: 3 }, &[7, 0, 9]),
        (Field { enterprise: 9, element: 7232, octets: VARIABLE }, b""),
        (Field::iana(371, VARIABLE), long.as_bytes()),
    ];
    let layout = more.iter().fold(Layout::plain(300, &process), |layout, (field, value)| layout.with(*field, value));
    let told = flows(0, 40, &process);
    let mut messages = vec![process.message(&[layout.template()])];
    messages.extend(told.chunks(4).map(|four| process.message(&[layout.data(four, &process)])));
    let report = pass_on(&room, &["--collector", keeper.url()], &messages)?;
    must_be_told(&told, &report.records.iter().collect::<Vec<_>>())?;
    let records = read(&keeper.stop()?)?;
    for flow in &told {
        let record = record_of(&records, flow)?;
        must_say(record, flow)?;
        ensure!(record.number(152)? == flow.start_ms && record.number(153)? == flow.end_ms, "{record:?}");
        for (field, value) in &more {
            ensure!(record.octets(field.enterprise, field.element)? == *value, "{field:?}: {record:?}");
        }
        ensure!(record.octets(0, 130)? == [127, 0, 0, 2] && record.number(405)? == 77, "{record:?}");
    }
    ensure!(records.iter().filter(|record| !record.options).count() == told.len(), "records too many");
    Ok(())
}

#[test]
fn netflow_9_has_what_it_can_say() -> Result<()> {
    require!();
    let room = Namespace::new()?;
    let keeper = Keeper::udp(&room)?;
    let mut process = ExportingProcess::new(10, 77);
    let layout = Layout::plain(300, &process)
        .with(Field::iana(225, 4), &[203, 0, 113, 9])
        .with(Field { enterprise: 35_632, element: 188, octets: VARIABLE }, b"example.net");
    let told = flows(0, 8, &process);
    let message = process.message(&[layout.template(), layout.data(&told, &process)]);
    let collector = format!("{}?format=netflow9", keeper.url());
    pass_on(&room, &["--collector", &collector], &[message])?;
    let messages = keeper.stop()?;
    let records = read(&messages)?;
    for flow in &told {
        let record = record_of(&records, flow)?;
        must_say(record, flow)?;
        ensure!(record.octets(0, 225)? == [203, 0, 113, 9], "{record:?}");
        ensure!(record.octets(0, 130)? == [127, 0, 0, 2], "{record:?}");
        ensure!(record.values.keys().all(|(enterprise, _)| *enterprise == 0), "{record:?}");
    }
    Ok(())
}

#[test]
fn netflow_5_has_what_it_can_say() -> Result<()> {
    require!();
    let room = Namespace::new()?;
    let keeper = Keeper::udp(&room)?;
    let mut process = ExportingProcess::new(9, 77);
    let layout = Layout::plain(300, &process);
    let told = flows(0, 40, &process);
    let message = process.message(&[layout.template(), layout.data(&told, &process)]);
    let collector = format!("{}?format=netflow5", keeper.url());
    pass_on(&room, &["--collector", &collector], &[message])?;
    let mut ports = Vec::new();
    let mut sequence = None;
    for message in keeper.stop()? {
        let long = |at: usize| message[at..at + 4].iter().fold(0_u64, |number, octet| number << 8 | u64::from(*octet));
        let count = usize::from(message[3]);
        ensure!(message[..2] == [0, 5] && message.len() == 24 + 48 * count, "{message:?}");
        ensure!(sequence.is_none_or(|expected| expected == long(16)), "sequence {} not {sequence:?}", long(16));
        sequence = Some(long(16) + count as u64);
        for at in (24..message.len()).step_by(48) {
            let port = u16::from_be_bytes([message[at + 32], message[at + 33]]);
            let flow = told.iter().find(|flow| flow.source_port == port).context("a flow that was sent")?;
            ensure!((long(at + 16), long(at + 20)) == (flow.packets.into(), flow.octets.into()), "{flow:?}");
            ports.push(port);
        }
    }
    ports.sort_unstable();
    ensure!(ports == told.iter().map(|flow| flow.source_port).collect::<Vec<_>>(), "{ports:?}");
    Ok(())
}

#[test]
fn an_absurd_count_is_not_told_in_billions_of_records_of_netflow_5() -> Result<()> {
    require!();
    let room = Namespace::new()?;
    let keeper = Keeper::udp(&room)?;
    let mut process = ExportingProcess::new(10, 77);
    let absurd = Layout::of(300, &[(8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (2, 4), (152, 8), (153, 8)]);
    let absurd = absurd.with(Field::iana(85, 8), &[0x7f; 8]);
    let plain = Layout::plain(301, &process);
    let (first, second) = (flows(0, 1, &process), flows(1, 1, &process));
    let sets = [absurd.template(), plain.template(), absurd.data(&first, &process), plain.data(&second, &process)];
    let message = process.message(&sets);
    let collector = format!("{}?format=netflow5", keeper.url());
    let report = pass_on(&room, &["--collector", &collector], &[message])?;
    ensure!(report.records.len() == 2, "{:?}", report.records);
    let messages = keeper.stop()?;
    ensure!(messages.len() == 1 && messages[0].len() == 24 + 48, "{} messages", messages.len());
    ensure!(messages[0][24 + 32..][..2] == second[0].source_port.to_be_bytes(), "{:?}", messages[0]);
    Ok(())
}

#[test]
fn nothing_is_passed_on_where_that_is_asked() -> Result<()> {
    require!();
    let room = Namespace::new()?;
    let keeper = Keeper::udp(&room)?;
    let mut process = ExportingProcess::new(10, 77);
    let layout = Layout::plain(300, &process);
    let told = flows(0, 8, &process);
    let message = process.message(&[layout.template(), layout.data(&told, &process)]);
    let report = pass_on(&room, &["--relay", "none", "--collector", keeper.url()], &[message])?;
    must_be_told(&told, &report.records.iter().collect::<Vec<_>>())?;
    let records = read(&keeper.stop()?)?;
    ensure!(records.iter().all(|record| record.options), "{records:?}");
    Ok(())
}

#[test]
fn datagrams_come_out_octet_by_octet() -> Result<()> {
    require!();
    let room = Namespace::new()?;
    let keeper = Keeper::tcp(&room)?;
    let mut process = ExportingProcess::new(9, 77);
    let layout = Layout::plain(300, &process);
    let mut messages = vec![process.message(&[layout.template()])];
    messages.extend(flows(0, 40, &process).chunks(4).map(|four| process.message(&[layout.data(four, &process)])));
    // What cannot be read is passed on as well: it is not flowprobe's to judge.
    messages.push(b"no NetFlow at all".to_vec());
    pass_on(&room, &["--relay", "datagrams", "--collector", keeper.url()], &messages)?;
    let records = read(&keeper.stop()?)?;
    let records: Vec<&Record> = records.iter().filter(|record| !record.options).collect();
    ensure!(records.len() == messages.len(), "{} records of {} datagrams", records.len(), messages.len());
    for (record, message) in records.iter().zip(&messages) {
        let section = record.octets(0, 314)?;
        let (header, payload) = section.split_at_checked(8).context("no UDP header")?;
        let words: Vec<u16> = header.chunks(2).map(|word| u16::from_be_bytes([word[0], word[1]])).collect();
        ensure!(words[..2] == [9000, 2055] && usize::from(words[2]) == 8 + message.len(), "{words:?}");
        ensure!(payload == message, "other octets than were sent");
        ensure!(record.octets(0, 130)? == [127, 0, 0, 2], "{record:?}");
    }
    Ok(())
}
