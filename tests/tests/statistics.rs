//! Holds that the options records say what the daemon's own accounting says, to readers that know nothing of flowprobe.

use anyhow::{Context as _, Result, ensure};
use flowprobe_tests::counterpart::{BAD, Capture, Nfcapd};
use flowprobe_tests::daemon::{Daemon, Report};
use flowprobe_tests::frames;
use flowprobe_tests::inject;
use flowprobe_tests::ipfix::Collector;
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::require;
use flowprobe_tests::truth::{Object, Total, number};

const PORT: u16 = 4739;
const TERMS: [&str; 7] = ["seen", "exported", "held", "overflow", "unparsed", "sampledOut", "filteredOut"];

#[test]
fn collectors_read_the_accounting_out_of_options_records() -> Result<()> {
    require!("nfcapd", "nfdump", "tcpdump", "tshark");
    let room = Namespace::with_pair()?;
    let nfcapd = Nfcapd::start(&room, PORT)?;
    let collector = Collector::listen(&room, "127.0.0.1", 0)?;
    let capture = Capture::start(&room, "lo", PORT)?;
    let nfcapd_url = format!("udp://127.0.0.1:{PORT}");
    // The map has room for eight flows: the others are overflow.
    let arguments = ["-i", "vb", "--egress", "--max-flows", "8", "--observation-domain", "5"];
    let collectors = ["--collector", &nfcapd_url, "--collector", &collector.url()];
    let mut daemon = Daemon::quick(&room, &[&arguments[..], &collectors].concat())?;
    // The first drain, of which the first options records are.
    daemon.wait_until_seen("vb", 0)?;
    let sent = inject::send_flows(&room, "va", "vb", 1)?;
    inject::send(&room, "va", "vb", &[frames::arp(), frames::truncated()])?;
    let packets = sent.sum().packets + 2;
    daemon.wait_until_seen("vb", packets)?;
    inject::send(&room, "vb", "va", &[frames::arp()])?;
    daemon.wait_until_seen_in("vb", "egress", 1)?;
    let id = daemon.id();
    let report = daemon.stop()?;
    ensure!(report.term("vb", "overflow")?.packets > 0, "the map was to be too small");
    ensure!(report.term("vb", "unparsed")?.packets == 2, "two frames have no flow");

    let received = collector.stop()?;
    ensure!(received.without_template == 0, "{} sets without template", received.without_template);
    accounting_agrees(&received.options, &report, room.index("vb")?)?;
    statistics_agree(&received.options, &report, id)?;
    let records = received.records.len() as u64;
    let process = last(&received.options, "exportedFlowRecordTotalCount")?;
    ensure!(number(process, "exportedFlowRecordTotalCount")? == records, "{records} records came: {process:?}");

    let counted: u64 = nfcapd.stop()?.sum().packets;
    ensure!(counted == report.term("vb", "exported")?.packets, "nfdump reads {counted} packets");
    let captured = capture.stop()?;
    let bad = captured.decode(PORT, BAD, &["frame.number"])?;
    ensure!(bad.is_empty(), "tshark finds packets {bad:?} malformed or without template");
    // The last message: overflow among the terms that came in.
    let fields = ["cflow.selector_name", "cflow.permanent_packets", "cflow.layer2_octet_total_count"];
    let lines = captured.decode(PORT, "cflow.selector_name", &fields)?;
    let line = lines.last().context("tshark finds no terms")?;
    let columns: Vec<Vec<&str>> = line.split('\t').map(|column| column.split(',').collect()).collect();
    let [names, packets, octets] = &columns[..] else { anyhow::bail!("tshark prints {line}") };
    ensure!(names[..7] == TERMS, "tshark reads the terms {names:?}");
    for (position, name) in TERMS.iter().enumerate() {
        let read = Total { packets: packets[position].parse()?, octets: octets[position].parse()? };
        ensure!(read == report.term("vb", name)?, "tshark reads {name} as {read:?}");
    }
    Ok(())
}

/// The last record that has an element.
fn last<'a>(options: &'a [Object], element: &str) -> Result<&'a Object> {
    options
        .iter()
        .rev()
        .find(|record| record.contains_key(element))
        .with_context(|| format!("no record with {element}"))
}

fn accounting_agrees(options: &[Object], report: &Report, ifindex: u32) -> Result<()> {
    for (direction, scope) in [("ingress", "ingressInterface"), ("egress", "egressInterface")] {
        for term in TERMS {
            let is = |record: &&Object| {
                record.get("selectorName") == Some(&term.into()) && record.get(scope) == Some(&ifindex.into())
            };
            let record = options.iter().rev().find(is).with_context(|| format!("no record of {term}, {direction}"))?;
            let packets = number(record, "packetTotalCount")?;
            let read = Total { packets, octets: number(record, "layer2OctetTotalCount")? };
            ensure!(read == report.term_in("vb", direction, term)?, "{direction} {term}: {record:?}");
            ensure!(record.get("interfaceName") == Some(&"vb".into()), "{record:?}");
            ensure!(number(record, "flowDirection")? == u64::from(direction == "egress"), "{record:?}");
            ensure!(number(record, "observationDomainId")? == 5, "{record:?}");
        }
    }
    Ok(())
}

fn statistics_agree(options: &[Object], report: &Report, process: u32) -> Result<()> {
    let mut ignored = Total::default();
    for direction in ["ingress", "egress"] {
        for term in ["overflow", "unparsed"] {
            ignored += report.term_in("vb", direction, term)?;
        }
    }
    let first = options.iter().find(|record| record.contains_key("ignoredPacketTotalCount")).context("none")?;
    ensure!(number(first, "ignoredPacketTotalCount")? == 0, "the first is of the time before: {first:?}");
    ensure!(number(first, "observationTimeMilliseconds 2")? == 0, "nothing was ignored yet: {first:?}");
    let reliability = last(options, "ignoredPacketTotalCount")?;
    let packets = number(reliability, "ignoredPacketTotalCount")?;
    let read = Total { packets, octets: number(reliability, "ignoredOctetTotalCount")? };
    ensure!(read == ignored, "ignored were {ignored:?}: {reliability:?}");
    let (begin, end) =
        (number(reliability, "observationTimeMilliseconds")?, number(reliability, "observationTimeMilliseconds 2")?);
    ensure!(0 < begin && begin < end, "the frame that left came later: {reliability:?}");
    ensure!(number(reliability, "meteringProcessId")? == u64::from(process), "{reliability:?}");
    let export = last(options, "notSentFlowTotalCount")?;
    ensure!(number(export, "notSentFlowTotalCount")? == 0, "all was sent: {export:?}");
    ensure!(number(export, "exportingProcessId")? == u64::from(process), "{export:?}");
    Ok(())
}
