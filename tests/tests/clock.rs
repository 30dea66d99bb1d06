//! Holds that no record ends before it starts, and that durations stay right, when the wall clock is set an hour forwards or
//! backwards in the middle of flows. It runs where the clock is nobody else's: in a virtual machine (`cargo xtask vm-test`).

use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use flowprobe_tests::daemon::Daemon;
use flowprobe_tests::inject::send_flows;
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::process::read;
use flowprobe_tests::truth::{Flows, number};
use flowprobe_tests::{require, skip};

/// Set where tests may set the clock.
const MAY_SET: &str = "FLOWPROBE_MAY_SET_CLOCK";

/// The grain of the time stamps: the kernel's tick, on the slowest kernels 10 ms, and once more at either end.
const GRAIN: Duration = Duration::from_millis(30);

fn wall() -> Result<Duration> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?)
}

/// Sets the clock so many seconds forwards or backwards.
fn step(seconds: i64) -> Result<()> {
    let now = i64::try_from(wall()?.as_secs())?;
    read(Command::new("date").args(["-s", &format!("@{}", now + seconds)])).map(drop)
}

fn times_stay_right(seconds: i64) -> Result<()> {
    let room = Namespace::with_pair()?;
    let mut daemon = Daemon::start(&room, &["-i", "vb", "--interval", "200ms", "--idle-timeout", "1h"])?;
    let begin = Instant::now();
    let mut sent = send_flows(&room, "va", "vb", 0)?;
    let first = Instant::now();
    daemon.wait_until_seen("vb", sent.sum().packets)?;
    step(seconds)?;
    sleep(Duration::from_millis(500));
    let second = Instant::now();
    sent.add_all(&send_flows(&room, "va", "vb", 0)?);
    let end = Instant::now();
    daemon.wait_until_seen("vb", sent.sum().packets)?;
    let wall_at_end = wall()?;
    // That no record ends before it starts is checked for every run.
    let report = daemon.stop()?;
    sent.must_equal(&Flows::of_records(&report.records)?, "--json")?;
    ensure!(report.records.len() == sent.0.len(), "{} records of {} flows", report.records.len(), sent.0.len());
    let possible = (second - first).saturating_sub(GRAIN)..=(end - begin) + GRAIN;
    for record in &report.records {
        let [start, end] = ["flowStartMilliseconds", "flowEndMilliseconds"].map(|name| number(record, name));
        let (start, end) = (Duration::from_millis(start?), Duration::from_millis(end?));
        let duration = end - start;
        ensure!(possible.contains(&duration), "{duration:?} is not in {possible:?}: {record:?}");
        // By the clock as it is now, not as it was.
        let ago = end.abs_diff(wall_at_end);
        ensure!(ago < Duration::from_secs(1800), "the last packet came at {end:?}, and it is {wall_at_end:?}");
    }
    Ok(())
}

#[test]
fn steps_of_an_hour_in_the_middle_of_flows() -> Result<()> {
    require!();
    if std::env::var_os(MAY_SET).is_none() {
        skip::note("steps_of_an_hour_in_the_middle_of_flows", "it sets the clock: only in a virtual machine");
        return Ok(());
    }
    for seconds in [3600, -3600, -7200, 3600] {
        times_stay_right(seconds)?;
    }
    Ok(())
}
