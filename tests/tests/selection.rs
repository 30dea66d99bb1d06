//! Holds that what is filtered out or not sampled is counted as such, that records say so, and that the rest is exact.

use anyhow::{Context as _, Result, ensure};
use flowprobe_tests::daemon::{Daemon, Report};
use flowprobe_tests::frames::{Flow, TCP, UDP, packets_of};
use flowprobe_tests::inject;
use flowprobe_tests::ipfix::{Collector, as_on_the_wire};
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::require;
use flowprobe_tests::truth::{Flows, Object, Total, number};

const FLOWS: u16 = 400;
const EACH: usize = 20;

/// What a daemon with these arguments reports of known traffic, the traffic, and what a collector got.
fn metered(arguments: &[&str]) -> Result<(Report, Flows, Vec<Object>)> {
    let room = Namespace::with_pair()?;
    let collector = Collector::listen(&room, "127.0.0.1", 0)?;
    let url = collector.url();
    let mut daemon = Daemon::quick(&room, &[&["-i", "vb", "--collector", &url], arguments].concat())?;
    let flows: Vec<Flow> = (0..FLOWS).map(|number| Flow::udp(number, number % 2 == 1)).collect();
    let (frames, sent) = packets_of(&flows, EACH)?;
    inject::send(&room, "va", "vb", &frames)?;
    daemon.wait_until_seen("vb", frames.len() as u64)?;
    let report = daemon.stop()?;
    let received = collector.stop()?;
    ensure!(received.without_template == 0, "{} sets without template", received.without_template);
    ensure!(report.term("vb", "seen")? == sent.sum().into(), "not everything was seen");
    Ok((report, sent, received.records))
}

/// The flows of a report, and that they are among those that were sent.
fn kept(report: &Report, sent: &Flows) -> Result<Flows> {
    let kept = Flows::of_records(&report.records)?;
    for id in kept.0.keys() {
        ensure!(sent.0.contains_key(id), "nobody sent {id:?}");
    }
    ensure!(report.term("vb", "exported")? == kept.sum().into(), "exported is not the sum of the records");
    Ok(kept)
}

#[test]
fn one_flow_in_ten_is_metered_whole() -> Result<()> {
    require!();
    let (report, sent, received) = metered(&["--sample", "1:10", "--sample-by", "flows"])?;
    let kept = kept(&report, &sent)?;
    // Five standard deviations of a binomial distribution: 400 flows, one in ten.
    ensure!((10..=70).contains(&kept.0.len()), "{} of {FLOWS} flows", kept.0.len());
    for (id, counts) in &kept.0 {
        ensure!(*counts == sent.0[id], "{id:?} is not whole: {counts:?}");
    }
    let out = report.term("vb", "sampledOut")?;
    let all = Total::from(sent.sum());
    let expected = Total { packets: all.packets - kept.sum().packets, octets: all.octets - kept.sum().layer2_octets };
    ensure!(out == expected, "sampled out {out:?}, should be {expected:?}");
    for record in &report.records {
        let said = ["samplingInterval", "samplingFlowInterval", "samplingFlowSpacing", "flowSelectorAlgorithm"]
            .map(|name| number(record, name).ok());
        ensure!(said == [Some(10), Some(1), Some(9), Some(4)], "{record:?}");
    }
    arrived(&report, &received)
}

/// Makes sure that a collector read what the daemon printed.
fn arrived(report: &Report, received: &[Object]) -> Result<()> {
    ensure!(received.len() == report.records.len(), "{} records received", received.len());
    let wire: Vec<_> = report.records.iter().map(as_on_the_wire).collect();
    let strange = received.iter().find(|record| !wire.contains(record));
    ensure!(strange.is_none(), "the daemon has no such record: {strange:?}");
    Ok(())
}

#[test]
fn one_packet_in_four_is_metered() -> Result<()> {
    require!();
    let (report, sent, received) = metered(&["--sample", "4"])?;
    let (kept, all) = (kept(&report, &sent)?.sum(), Total::from(sent.sum()));
    // Five standard deviations: 8,000 packets, one in four.
    ensure!((1800..=2200).contains(&kept.packets), "{} of {} packets", kept.packets, all.packets);
    let out = report.term("vb", "sampledOut")?;
    ensure!(out.packets + kept.packets == all.packets, "sampled out {out:?}, kept {kept:?}, sent {all:?}");
    for record in &report.records {
        let said = ["samplingInterval", "samplingPacketInterval", "samplingPacketSpace", "selectorAlgorithm"]
            .map(|name| number(record, name).ok());
        ensure!(said == [Some(4), Some(1), Some(3), Some(4)], "{record:?}");
        ensure!(record["samplingProbability"] == 0.25, "{record:?}");
    }
    arrived(&report, &received)
}

#[test]
fn the_kernel_filters_as_it_is_told() -> Result<()> {
    require!();
    for (filter, wanted) in [
        ("ip6 and udp", (|id, _| id == 6) as fn(u8, u16) -> bool),
        ("udp and not ip6 and (port 40000 or src portrange 40010-40019)", |version, port| {
            version == 4 && (port == 40_000 || (40_010..=40_019).contains(&port))
        }),
        ("tcp or less 10", |_, _| false),
        ("len >= 1", |_, _| true),
    ] {
        for mode in ["native", "tc"] {
            let (report, sent, _) = metered(&["--mode", mode, "--filter", filter])?;
            let mut expected = Flows::default();
            for (id, counts) in &sent.0 {
                if wanted(if id.source.is_ipv4() { 4 } else { 6 }, id.source_port) {
                    expected.add(id.clone(), *counts);
                }
            }
            expected.must_equal(&Flows::of_records(&report.records)?, &format!("{mode} with {filter}"))?;
            let out = report.term("vb", "filteredOut")?;
            let rest = Total::from(sent.sum()).packets - expected.sum().packets;
            ensure!(out.packets == rest, "{filter}: filtered out {out:?}, should be {rest}");
        }
    }
    Ok(())
}

/// Together they leave out what either does.
#[test]
fn a_filter_goes_with_sampling() -> Result<()> {
    require!();
    let (report, sent, _) = metered(&["--filter", "ip6", "--sample", "2", "--sample-by", "flows"])?;
    let kept = kept(&report, &sent)?;
    ensure!(kept.0.keys().all(|id| id.source.is_ipv6() && id.protocol == UDP), "the filter let others through");
    let half = sent.sum().packets / 2;
    ensure!(report.term("vb", "filteredOut")?.packets == half, "not half of it was IPv4");
    let out = report.term("vb", "sampledOut")?;
    ensure!(out.packets + kept.sum().packets == half && out.packets > 0, "sampled out {out:?}");
    let first = report.records.first().context("no record")?;
    ensure!(number(first, "protocolIdentifier")? != u64::from(TCP), "{first:?}");
    Ok(())
}
