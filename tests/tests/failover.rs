//! Holds that another collector stands in for one that dies, that the first gets what follows when it is back, that nothing is
//! lost between them, and what a reload does to collectors that are away.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use flowprobe_tests::daemon::Daemon;
use flowprobe_tests::inject;
use flowprobe_tests::ipfix::Collector;
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::require;
use flowprobe_tests::stream::{StreamCollector, must_arrive};
use flowprobe_tests::truth::Object;
use rustix::process::Signal;
use tempfile::TempDir;

const PORTS: [u16; 2] = [4739, 4741];

/// Flows of each [`send`].
const FLOWS: usize = 20;

/// A daemon whose collectors are those of a file, in a namespace with a pair.
struct Lab {
    room: Namespace,
    folder: TempDir,
    sent: u16,
}

impl Lab {
    fn new(collectors: &str) -> Result<Self> {
        let lab = Self { room: Namespace::with_pair()?, folder: TempDir::new()?, sent: 0 };
        lab.write(collectors)?;
        Ok(lab)
    }

    fn write(&self, collectors: &str) -> Result<()> {
        let spool = self.folder.path().join("spool");
        let settings = format!("collectors = [{collectors}]\nspool = {spool:?}\nidle-timeout = \"300ms\"\n");
        fs::write(self.folder.path().join("flowprobe.toml"), settings).context("cannot write the file")
    }

    fn daemon(&self) -> Result<Daemon> {
        let file = self.folder.path().join("flowprobe.toml");
        let file = file.to_str().context("a path in UTF-8")?;
        Daemon::start(&self.room, &["-i", "vb", "-c", file, "--interval", "100ms"])
    }

    /// Sends [`FLOWS`] and waits until their records have been printed.
    fn send(&mut self, daemon: &mut Daemon) -> Result<()> {
        inject::send_flows(&self.room, "va", "vb", 1 + 100 * self.sent)?;
        self.sent += 1;
        daemon.wait_for_records(usize::from(self.sent) * FLOWS)
    }

    fn listen(&self, port: u16) -> Result<StreamCollector> {
        StreamCollector::listen(&self.room, "127.0.0.1", port)
    }
}

fn failover(scheme: &str) -> (String, [String; 2]) {
    let urls = PORTS.map(|port| format!("{scheme}://127.0.0.1:{port}"));
    (format!("failover:{}", urls.join(",")), urls)
}

#[test]
fn over_tcp_another_stands_in_and_the_first_comes_back() -> Result<()> {
    require!();
    let (url, [a, b]) = failover("tcp");
    let mut lab = Lab::new(&format!("{url:?}"))?;
    let [one, other] = [lab.listen(PORTS[0])?, lab.listen(PORTS[1])?];
    let mut daemon = lab.daemon()?;
    lab.send(&mut daemon)?;
    one.wait_for_records(FLOWS)?;
    ensure!(other.connections() == 0, "the second is connected to though the first is there");
    // It had all that was sent so far, but who knows.
    let mut received = vec![one.vanish()?];
    lab.send(&mut daemon)?;
    daemon.wait_for_log(&format!("{b}: in use"), 1)?;
    other.wait_for_records(FLOWS)?;
    let one = lab.listen(PORTS[0])?;
    daemon.wait_for_log(&format!("{a}: in use"), 1)?;
    received.push(other.stop()?);
    lab.send(&mut daemon)?;
    one.wait_for_records(FLOWS)?;
    // Now nobody is there.
    received.push(one.vanish()?);
    lab.send(&mut daemon)?;
    lab.send(&mut daemon)?;
    daemon.wait_for_sink("failover:", "what waits", |sink| sink["collector"]["waitingRecords"].as_u64() >= Some(40))?;
    let other = lab.listen(PORTS[1])?;
    other.wait_for_records(2 * FLOWS)?;
    let report = daemon.stop()?;
    received.push(other.stop()?);
    let again = must_arrive(&report.records, &received)?;
    println!("{again} of {} records came twice", report.records.len());
    ensure!(report.logged(" lost").is_empty(), "{:?}", report.finished.stderr);
    Ok(())
}

#[test]
fn over_udp_another_stands_in_and_the_first_comes_back() -> Result<()> {
    require!();
    let (url, [a, b]) = failover("udp");
    let mut lab = Lab::new(&format!("{url:?}"))?;
    let listen = |lab: &Lab, port| Collector::listen(&lab.room, "127.0.0.1", port);
    let [one, other] = [listen(&lab, PORTS[0])?, listen(&lab, PORTS[1])?];
    let mut daemon = lab.daemon()?;
    daemon.wait_for_log(&format!("{a}: in use"), 1)?;
    lab.send(&mut daemon)?;
    sleep(Duration::from_millis(300));
    let mut received = vec![one.stop()?];
    lab.send(&mut daemon)?;
    lab.send(&mut daemon)?;
    daemon.wait_for_log(&format!("{b}: in use"), 1)?;
    let one = listen(&lab, PORTS[0])?;
    daemon.wait_for_log(&format!("{a}: in use"), 2)?;
    lab.send(&mut daemon)?;
    sleep(Duration::from_millis(300));
    received.extend([other.stop()?, one.stop()?]);
    // Now nobody is there.
    lab.send(&mut daemon)?;
    lab.send(&mut daemon)?;
    daemon.wait_for_sink("failover:", "what waits", |sink| sink["collector"]["waitingRecords"].as_u64() >= Some(40))?;
    let other = listen(&lab, PORTS[1])?;
    daemon.wait_for_log(&format!("{b}: in use"), 2)?;
    let report = daemon.stop()?;
    received.push(other.stop()?);
    ensure!(received.iter().all(|received| received.without_template == 0), "data came before its template");
    let again = must_arrive(&report.records, &received)?;
    println!("{again} of {} records came twice", report.records.len());
    Ok(())
}

#[test]
fn a_collector_that_is_removed_while_it_is_away_leaves_what_waits() -> Result<()> {
    require!();
    let [a, b] = PORTS.map(|port| format!("tcp://127.0.0.1:{port}"));
    let mut lab = Lab::new(&format!("{a:?}"))?;
    let mut daemon = lab.daemon()?;
    lab.send(&mut daemon)?;
    daemon.wait_for_sink(&a, "what waits", |sink| sink["collector"]["waitingRecords"] == FLOWS)?;
    let other = lab.listen(PORTS[1])?;
    lab.write(&format!("{b:?}"))?;
    daemon.signal(Signal::HUP)?;
    daemon.wait_for_log("INFO reloaded: collectors", 1)?;
    daemon.wait_for_log(&format!("{a}: 0 records sent, {FLOWS} wait on disk for the next start"), 1)?;
    lab.send(&mut daemon)?;
    let mut printed = daemon.stop()?.records;
    must_arrive(&printed[FLOWS..], [&other.stop()?])?;
    let other = lab.listen(PORTS[1])?;
    let mut daemon = lab.daemon()?;
    daemon.wait_for_log("of messages for a collector that is not configured", 1)?;
    daemon.stop()?;
    ensure!(other.stop()?.records.is_empty(), "the other got what was not for it");
    // It is configured again.
    lab.write(&format!("{a:?}"))?;
    let one = lab.listen(PORTS[0])?;
    let daemon = lab.daemon()?;
    one.wait_for_records(FLOWS)?;
    daemon.stop()?;
    printed.truncate(FLOWS);
    must_arrive(&printed, [&one.stop()?]).map(drop)
}

/// Its place on disk is still in use when the new one begins.
#[test]
fn a_collector_whose_options_change_gets_what_waited() -> Result<()> {
    require!();
    let url = format!("tcp://127.0.0.1:{}", PORTS[0]);
    let mut lab = Lab::new(&format!("{url:?}"))?;
    let mut daemon = lab.daemon()?;
    lab.send(&mut daemon)?;
    daemon.wait_for_sink(&url, "what waits", |sink| sink["collector"]["waitingRecords"] == FLOWS)?;
    lab.write(&format!("\"{url}?template-refresh=30s\""))?;
    daemon.signal(Signal::HUP)?;
    daemon.wait_for_log("reloaded", 1)?;
    lab.send(&mut daemon)?;
    daemon.wait_for_sink(&url, "what waits", |sink| sink["collector"]["waitingRecords"] == 2 * FLOWS)?;
    let collector = lab.listen(PORTS[0])?;
    collector.wait_for_records(2 * FLOWS)?;
    let report = daemon.stop()?;
    let records: &[Object] = &report.records;
    must_arrive(records, [&collector.stop()?])?;
    ensure!(report.logged("ERROR").is_empty(), "{:?}", report.finished.stderr);
    Ok(())
}
