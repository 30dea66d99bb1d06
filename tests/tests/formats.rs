//! Holds that files, shares, observation domains, chosen elements and the ways of a datagram are what a collector URL asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use flowprobe_tests::counterpart::{
    BAD, Capture, Format, Nfacctd, Nfcapd, Reading, ipfixdump, ipfixdump_with_a_gap, tshark_on_file,
};
use flowprobe_tests::daemon::{Daemon, Report};
use flowprobe_tests::disk::TinyDisk;
use flowprobe_tests::inject::send_flows;
use flowprobe_tests::ipfix::{Collector, Received};
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::require;
use flowprobe_tests::truth::{Flows, Object, number};
use tempfile::TempDir;

/// Flows end soon after their last packet.
const SOON: [&str; 4] = ["--interval", "100ms", "--idle-timeout", "300ms"];

fn start(room: &Namespace, collectors: &[String], more: &[&str]) -> Result<Daemon> {
    let urls: Vec<&str> = collectors.iter().flat_map(|url| ["--collector", url]).collect();
    Daemon::start(room, &[&SOON[..], &urls, more].concat())
}

/// Files in a folder, in the order of their names, which is that of their times but for the one that is written, the first.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<BTreeSet<PathBuf>>>()?;
    Ok(entries.into_iter().collect())
}

/// Flows of readings, none of which shows layer 2.
fn flows(readings: &[Reading]) -> Result<Flows> {
    Ok(Flows::of_records(readings)?.without_layer2())
}

#[test]
fn every_record_is_once_in_one_of_the_files() -> Result<()> {
    require!("ipfixDump", "tshark");
    let (room, folder) = (Namespace::with_pair()?, TempDir::new()?);
    let path = folder.path().join("flows.ipfix");
    fs::write(&path, "of a daemon before")?;
    let mut daemon = start(&room, &[format!("file://{}?rotate=1s", path.display())], &["-i", "vb"])?;
    for round in 0..4 {
        send_flows(&room, "va", "vb", round * 20)?;
        daemon.wait_for_records(20 * usize::from(round + 1))?;
        thread::sleep(Duration::from_millis(700));
    }
    let report = daemon.stop()?;
    let all = files(folder.path())?;
    ensure!(all.len() >= 4, "not rotated: {all:?}");
    let (old, new): (Vec<&PathBuf>, Vec<&PathBuf>) =
        all.iter().partition(|file| fs::read(file).is_ok_and(|octets| octets.starts_with(b"of a daemon")));
    ensure!(old.len() == 1 && *old[0] != path, "what was there is not put aside: {all:?}");
    let (mut dumped, mut decoded) = (Vec::new(), Vec::new());
    for file in new {
        dumped.extend(ipfixdump(file)?);
        decoded.extend(tshark_on_file(file)?);
    }
    for readings in [dumped, decoded] {
        ensure!(readings.len() == report.records.len(), "{} of {} records", readings.len(), report.records.len());
        flows(&report.records)?.must_equal(&flows(&readings)?, "the files")?;
    }
    Ok(())
}

#[test]
fn a_full_disk_costs_records_that_are_counted_and_no_message_is_torn() -> Result<()> {
    require!("ipfixDump");
    let (room, disk) = (Namespace::with_pair()?, TinyDisk::new(16)?);
    let path = disk.path().join("flows.ipfix");
    let mut daemon = start(&room, &[format!("file://{}", path.display())], &["-i", "vb"])?;
    let mut round = 0;
    while !daemon.log().iter().any(|line| line.contains("cannot be written")) {
        ensure!(round < 50, "the disk has room for everything: {:?}", daemon.log());
        send_flows(&room, "va", "vb", round * 20)?;
        round += 1;
        daemon.wait_for_records(20 * usize::from(round))?;
    }
    disk.grow(1024)?;
    send_flows(&room, "va", "vb", round * 20)?;
    daemon.wait_for_log("written again", 1)?;
    let report = daemon.stop()?;
    let kept = ipfixdump_with_a_gap(&path)?;
    let said = report.logged("records sent, ");
    let lost = said.first().and_then(|line| line.split(" records sent, ").nth(1)?.split(' ').next()?.parse().ok());
    let lost: usize = lost.with_context(|| format!("the loss is not said: {:?}", report.finished.stderr))?;
    ensure!(
        lost > 0 && kept.len() + lost == report.records.len(),
        "{} kept, {lost} lost of {}",
        kept.len(),
        report.records.len()
    );
    Ok(())
}

/// Who talks to whom, the same for both directions.
fn conversation(record: &Object) -> Result<String> {
    let end = |side: &str| {
        let address = ["IPv4", "IPv6"].into_iter().find_map(|version| record.get(&format!("{side}{version}Address")));
        format!("{:?} {:?}", address, record.get(&format!("{side}TransportPort")))
    };
    let mut ends = [end("source"), end("destination")];
    ends.sort();
    Ok(ends.join(" "))
}

#[test]
fn each_conversation_is_at_one_collector_also_after_a_restart() -> Result<()> {
    require!();
    let room = Namespace::with_pair()?;
    let mut owners: Vec<BTreeMap<String, usize>> = Vec::new();
    for interface in ["vb", "va"] {
        let collectors = [4741, 4742, 4743].map(|port| Collector::listen(&room, "127.0.0.1", port));
        let collectors = collectors.into_iter().collect::<Result<Vec<Collector>>>()?;
        let urls: Vec<String> = collectors.iter().map(Collector::url).collect();
        let mut daemon = start(&room, &[format!("balance:{}", urls.join(","))], &["-i", interface])?;
        // The second time out of the other end, to be seen as other flows by the interface, and the same by the ends.
        let (from, to) = if interface == "vb" { ("va", "vb") } else { ("vb", "va") };
        send_flows(&room, from, to, 0)?;
        send_flows(&room, from, to, 100)?;
        daemon.wait_for_records(40)?;
        let report = daemon.stop()?;
        let mut owner = BTreeMap::new();
        let mut all = Vec::new();
        for (position, collector) in collectors.into_iter().enumerate() {
            let received = collector.stop()?;
            ensure!(!received.records.is_empty(), "collector {position} got nothing of forty conversations");
            for record in &received.records {
                let before = owner.insert(conversation(record)?, position);
                ensure!(before.is_none_or(|before| before == position), "at two collectors: {record:?}");
            }
            all.extend(received.records);
        }
        ensure!(all.len() == report.records.len(), "{} of {} records", all.len(), report.records.len());
        Flows::of_records(&report.records)?.must_equal(&Flows::of_records(&all)?, "all collectors together")?;
        owners.push(owner);
    }
    ensure!(owners[0] == owners[1], "conversations have moved");
    Ok(())
}

const NFCAPD_PORT: u16 = 4739;
const NFACCTD_PORT: u16 = 2100;

#[test]
fn each_interface_is_a_domain_that_counts_by_itself() -> Result<()> {
    require!("nfcapd", "nfdump", "nfacctd", "tcpdump", "tshark");
    let room = Namespace::with_pair()?;
    room.pair("vc", "vd")?;
    let (nfcapd, nfacctd) = (Nfcapd::start(&room, NFCAPD_PORT)?, Nfacctd::start(&room, NFACCTD_PORT)?);
    let capture = Capture::start(&room, "lo", NFCAPD_PORT)?;
    let own = Collector::listen(&room, "127.0.0.1", 0)?;
    let urls = [format!("udp://127.0.0.1:{NFCAPD_PORT}"), format!("udp://127.0.0.1:{NFACCTD_PORT}"), own.url()];
    let mut daemon = start(&room, &urls, &["-i", "vb", "-i", "vd", "--observation-domain", "interface"])?;
    for round in 0..3 {
        send_flows(&room, "va", "vb", round * 20)?;
        send_flows(&room, "vc", "vd", 100 + round * 20)?;
        daemon.wait_for_records(40 * usize::from(round + 1))?;
    }
    let report = daemon.stop()?;
    let received = own.stop()?;
    ensure!(received.without_template == 0 && received.records.len() == report.records.len(), "records are missing");
    for (record, domain) in received.records.iter().zip(&received.domains) {
        ensure!(number(record, "ingressInterface")? == u64::from(*domain), "in domain {domain}: {record:?}");
    }
    let domains: BTreeSet<u32> = received.domains.iter().copied().collect();
    ensure!(domains == BTreeSet::from([room.index("vb")?, room.index("vd")?]), "{domains:?}");
    ensure!(!received.options.is_empty() && received.options_domains.iter().all(|domain| *domain == 0), "options");

    let sent = flows(&report.records)?;
    sent.must_equal(&nfcapd.stop()?, "nfcapd")?;
    let mut seen = nfacctd.readings(Format::Ipfix)?;
    seen.iter_mut().for_each(|record| drop(record.insert("layer2OctetDeltaCount".to_owned(), 0.into())));
    sent.must_equal(&Flows::of_records(&seen)?, "nfacctd")?;
    let capture = capture.stop()?;
    let bad = capture.decode(NFCAPD_PORT, BAD, &["frame.number", "cflow.od_id"])?;
    ensure!(bad.is_empty(), "tshark finds packets {bad:?} wrong");
    Ok(())
}

/// What a collector gets of forty flows with these flags, and what was printed of them.
fn with_fields(flags: &[&str]) -> Result<(Received, Report)> {
    let room = Namespace::with_pair()?;
    let collector = Collector::listen(&room, "127.0.0.1", 0)?;
    let mut daemon = start(&room, &[collector.url()], &[&["-i", "vb"], flags].concat())?;
    send_flows(&room, "va", "vb", 0)?;
    send_flows(&room, "va", "vb", 100)?;
    daemon.wait_for_records(40)?;
    let report = daemon.stop()?;
    let received = collector.stop()?;
    ensure!(received.without_template == 0 && received.records.len() == report.records.len(), "records are missing");
    Ok((received, report))
}

#[test]
fn records_have_the_fields_that_were_asked_for() -> Result<()> {
    require!();
    for (preset, has, lacks) in [
        ("minimal", "octetDeltaCount", "layer2OctetDeltaCount"),
        ("security", "minimumTTL", "layer2OctetDeltaCount"),
        ("full", "ipPrecedence", "flowStartMicroseconds"),
    ] {
        let (received, report) = with_fields(&["--fields", preset])?;
        for record in &received.records {
            ensure!(record.contains_key(has) && !record.contains_key(lacks), "{preset}: {record:?}");
        }
        let sum = |records: &[Object], name| records.iter().map(|record| number(record, name)).sum::<Result<u64>>();
        for name in ["packetDeltaCount", "octetDeltaCount", "sourceTransportPort", "flowStartMilliseconds"] {
            ensure!(sum(&received.records, name)? == sum(&report.records, name)?, "{preset}: {name}");
        }
    }
    let list =
        "octetDeltaCount,flowStartMicroseconds,ipVersion,sourceTransportPort,sourceIPv6Address,sourceIPv4Address";
    let (received, report) = with_fields(&["--fields", list])?;
    let by_port = |records: &[Object]| -> Result<BTreeMap<u64, Object>> {
        records.iter().map(|record| Ok((number(record, "sourceTransportPort")?, record.clone()))).collect()
    };
    let printed = by_port(&report.records)?;
    for (port, record) in by_port(&received.records)? {
        ensure!(record.len() == 5, "{record:?}");
        let same = printed.get(&port).with_context(|| format!("never printed: {record:?}"))?;
        ensure!(record.get("octetDeltaCount") == same.get("octetDeltaCount"), "{record:?}, printed {same:?}");
        // NTP's seconds since 1900 and their fraction.
        let time = number(&record, "flowStartMicroseconds")?;
        let (seconds, fraction) = ((time >> 32) - 2_208_988_800, time & 0xffff_ffff);
        let milliseconds = seconds * 1000 + ((fraction * 1000) >> 32);
        ensure!(milliseconds == number(same, "flowStartMilliseconds")?, "{milliseconds}: {same:?}");
    }
    Ok(())
}
