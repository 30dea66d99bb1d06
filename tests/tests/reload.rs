//! Holds that SIGHUP changes collectors, filter, sampling and timeouts without losing a count, names what takes a restart, and
//! leaves everything as it was where the file is wrong.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use flowprobe_tests::daemon::Daemon;
use flowprobe_tests::frames::{Flow, TCP, UDP, packets_of};
use flowprobe_tests::inject;
use flowprobe_tests::ipfix::Collector;
use flowprobe_tests::live::Generator;
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::truth::{Flows, Total, number};
use flowprobe_tests::{require, require_kernel};
use rustix::process::Signal;
use tempfile::NamedTempFile;

/// A daemon that reads this file, in a namespace with a pair.
struct Lab {
    room: Namespace,
    file: NamedTempFile,
    daemon: Daemon,
    hang_ups: usize,
}

impl Lab {
    fn new(settings: &str) -> Result<Self> {
        let room = Namespace::with_pair()?;
        let file = NamedTempFile::new()?;
        fs::write(file.path(), settings)?;
        let path = file.path().to_str().context("a path in UTF-8")?.to_owned();
        let daemon = Daemon::quick(&room, &["-i", "vb", "-c", &path])?;
        Ok(Self { room, file, daemon, hang_ups: 0 })
    }

    /// Writes the file anew and waits until the daemon says so: a line with `said`.
    fn reload(&mut self, settings: &str, said: &str) -> Result<()> {
        fs::write(self.file.path(), settings)?;
        self.daemon.signal(Signal::HUP)?;
        self.hang_ups += 1;
        self.daemon.wait_for_log("reloaded", self.hang_ups)?;
        let log = self.daemon.log();
        ensure!(log.iter().any(|line| line.contains(said)), "not said `{said}`: {log:?}");
        Ok(())
    }

    /// Sends ten packets each of twenty flows of a protocol, numbered from `first`.
    fn send(&self, protocol: u8, first: u16) -> Result<Flows> {
        let flow = |number| {
            let mut flow = Flow::udp(number, false);
            flow.id.protocol = protocol;
            flow
        };
        let flows: Vec<Flow> = (first..first + 20).map(flow).collect();
        let (frames, sent) = packets_of(&flows, 10)?;
        inject::send(&self.room, "va", "vb", &frames)?;
        Ok(sent)
    }
}

#[test]
fn a_filter_changes_between_two_drains() -> Result<()> {
    require!();
    let mut lab = Lab::new("filter = \"tcp\"\n")?;
    let mut expected = lab.send(TCP, 0)?;
    let mut others = lab.send(UDP, 0)?;
    lab.daemon.wait_until_seen("vb", 400)?;
    lab.reload("filter = \"udp\"\n", "INFO reloaded: filter")?;
    others.add_all(&lab.send(TCP, 100)?);
    expected.add_all(&lab.send(UDP, 100)?);
    lab.daemon.wait_until_seen("vb", 800)?;
    let report = lab.daemon.stop()?;
    expected.must_equal(&Flows::of_records(&report.records)?, "--json")?;
    ensure!(report.term("vb", "filteredOut")? == others.sum().into(), "{:?}", report.term("vb", "filteredOut")?);
    Ok(())
}

#[test]
fn records_say_how_they_were_sampled_before_and_after() -> Result<()> {
    require!();
    let mut lab = Lab::new("")?;
    let collector = Collector::listen(&lab.room, "127.0.0.1", 0)?;
    let url = collector.url();
    lab.reload(&format!("collectors = [\"{url}\"]\n"), "INFO reloaded: collectors")?;
    let whole = lab.send(UDP, 0)?;
    lab.daemon.wait_until_seen("vb", 200)?;
    lab.reload(&format!("collectors = [\"{url}\"]\nsample = 2\n"), "INFO reloaded: sample")?;
    let sampled = lab.send(UDP, 100)?;
    lab.daemon.wait_until_seen("vb", 400)?;
    let report = lab.daemon.stop()?;
    let received = collector.stop()?;
    ensure!(received.without_template == 0, "{} sets without template", received.without_template);

    let mut before = Flows::default();
    for record in &report.records {
        let flow = Flows::of_records([record])?;
        let interval = record.get("samplingPacketSpace").map(|_| number(record, "samplingPacketSpace")).transpose()?;
        let is_new = flow.0.keys().all(|id| sampled.0.contains_key(id));
        ensure!(interval == is_new.then_some(1), "sampled 1 in 1 + {interval:?}: {record:?}");
        if !is_new {
            before.add_all(&flow);
        }
    }
    whole.must_equal(&before, "--json, before")?;
    let all = Flows::of_records(&report.records)?;
    all.without_layer2().must_equal(&Flows::of_records(&received.records)?.without_layer2(), "the collector")?;
    let out = report.term("vb", "sampledOut")?;
    ensure!(out.packets + all.sum().packets == 400 && out.packets > 0, "{out:?} sampled out, {:?}", all.sum());
    Ok(())
}

#[test]
fn collectors_come_and_go_and_timeouts_change() -> Result<()> {
    require!();
    let mut lab = Lab::new("")?;
    let [one, other] = [Collector::listen(&lab.room, "127.0.0.1", 0)?, Collector::listen(&lab.room, "127.0.0.1", 0)?];
    lab.reload(&format!("collectors = [\"{}\"]\n", one.url()), "INFO reloaded: collectors")?;
    let to_one = lab.send(UDP, 0)?;
    lab.daemon.wait_for_records(20)?;
    lab.reload(
        &format!("collectors = [\"{}\"]\nactive-timeout = \"30s\"\nmax-flows = 99\n", other.url()),
        "INFO reloaded: collectors, active-timeout",
    )?;
    lab.daemon.wait_for_log("WARN changed, but takes a restart: max-flows", 1)?;
    let to_other = lab.send(UDP, 100)?;
    lab.daemon.wait_until_seen("vb", 400)?;
    lab.daemon.stop()?;
    to_one.without_layer2().must_equal(&Flows::of_records(&one.stop()?.records)?.without_layer2(), "the first")?;
    to_other.without_layer2().must_equal(&Flows::of_records(&other.stop()?.records)?.without_layer2(), "the second")
}

#[test]
fn what_is_wrong_changes_nothing() -> Result<()> {
    require!();
    let mut lab = Lab::new("filter = \"tcp\"\n")?;
    for (settings, said) in [
        ("filter = \"tcp\"\n", "INFO reloaded: nothing has changed"),
        ("filter = \"host\"\n", "ERROR not reloaded, everything goes on as it was: "),
        ("filter = \"udp\"\ncollectors = [\"udp://name.invalid\"]\n", "cannot find `name.invalid`"),
        ("filter = \"udp\"\ninterfaces = [\"nope\"]\nmax-flow = 3\n", "unknown key `max-flow`"),
    ] {
        lab.reload(settings, said)?;
    }
    fs::remove_file(lab.file.path())?;
    lab.daemon.signal(Signal::HUP)?;
    lab.daemon.wait_for_log("cannot read the configuration file", 1)?;
    let expected = lab.send(TCP, 0)?;
    lab.send(UDP, 0)?;
    lab.daemon.wait_until_seen("vb", 400)?;
    let report = lab.daemon.stop()?;
    expected.must_equal(&Flows::of_records(&report.records)?, "--json")
}

#[test]
fn reloads_under_load_lose_nothing() -> Result<()> {
    require!("ethtool");
    require_kernel!(5, 18, "live frames in a test run");
    let mut lab = Lab::new("")?;
    let mut generator = Generator::new(&lab.room, "va", 1024)?;
    for (filter, said) in [("src net 10.128.0.0/23", "filter"), ("src net 10.128.0.0/24", "filter"), ("", "filter")] {
        generator.send_for(&lab.room, Duration::from_millis(300))?;
        lab.reload(&format!("filter = \"{filter}\"\nsample = {}\n", 1 + filter.len() % 2), said)?;
    }
    generator.send_for(&lab.room, Duration::from_millis(300))?;
    let (arrived, _) = flowprobe_tests::live::redirected(&lab.room, "va")?;
    lab.daemon.wait_until_seen("vb", arrived)?;
    let report = lab.daemon.stop()?;
    let expected = Total { packets: arrived, octets: arrived * generator.counts().layer2_octets };
    ensure!(report.term("vb", "seen")? == expected, "seen {:?}, arrived {arrived}", report.term("vb", "seen")?);
    ensure!(report.term("vb", "filteredOut")?.packets > 0, "the filter was never there");
    let reported = Flows::of_records(&report.records)?.sum();
    ensure!(report.term("vb", "exported")? == reported.into(), "the records do not add up to exported: {reported:?}");
    Ok(())
}
