//! Holds that every accounting balances, and that each interface has seen exactly what arrived there, however long it goes on:
//! half a million flows, a flood beside them, a table for an eighth of them, and one fault after the other in an order of
//! chance. `FLOWPROBE_SEED` repeats a run.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fastrand::Rng;
use flowprobe_ebpf::protocol::{ICMP, TCP, UDP};
use flowprobe_tests::accuracy::{Distribution, Hook, Lab, Load, Mix, Pace, Wire, faults, seconds};
use flowprobe_tests::{require, require_kernel};
use rustix::process::Signal;
use tempfile::TempDir;

const LANES: usize = 3;

/// What the daemon says when it has taken another filter.
const RELOADED: &str = "INFO reloaded: filter";

/// Packets that are enough, if the time is not over before.
const PACKETS: u64 = 200_000_000;

/// What can happen, to a lane.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Stopped,
    MadeAgain,
    Moved,
    OtherMtu,
    Wanted,
    Unread,
    Reloaded,
}

const FAULTS: [Fault; 7] =
    [Fault::Stopped, Fault::MadeAgain, Fault::Moved, Fault::OtherMtu, Fault::Wanted, Fault::Unread, Fault::Reloaded];

/// A configuration file whose filter changes.
struct Settings {
    file: PathBuf,
    _folder: TempDir,
    accepts_all: bool,
}

impl Settings {
    fn new() -> Result<Self> {
        let folder = TempDir::new()?;
        let mut settings = Self { file: folder.path().join("flowprobe.toml"), _folder: folder, accepts_all: false };
        settings.change()?;
        Ok(settings)
    }

    /// Accepts everything where it did not, and the other way round.
    fn change(&mut self) -> Result<()> {
        self.accepts_all = !self.accepts_all;
        let filter = if self.accepts_all { "" } else { "filter = \"not icmp\"\n" };
        fs::write(&self.file, format!("idle-timeout = \"2s\"\n{filter}")).context("cannot write the configuration")
    }

    fn path(&self) -> &Path {
        &self.file
    }
}

fn happen(fault: Fault, lab: &mut Lab, lane: usize, settings: &mut Settings, random: &mut Rng) -> Result<()> {
    match fault {
        Fault::Stopped => faults::stop_and_go_on(lab, Duration::from_millis(random.u64(100..2000)), 100_000),
        Fault::MadeAgain => faults::delete_and_make_again(lab, lane..lane + 1),
        Fault::Moved => faults::move_away_and_back(lab, lane),
        Fault::OtherMtu => faults::change_mtu(&lab.wire, lane),
        Fault::Wanted => faults::want_its_place(&lab.wire, lane),
        Fault::Unread => {
            let wire = lab.wire.clone();
            let _unread = wire.ledger();
            sleep(Duration::from_millis(random.u64(100..3000)));
            Ok(())
        }
        Fault::Reloaded => {
            settings.change()?;
            let before = lab.daemon.log().iter().filter(|line| line.contains(RELOADED)).count();
            lab.daemon.signal(Signal::HUP)?;
            lab.daemon.wait_for_log(RELOADED, before + 1)
        }
    }
}

/// Packets that have arrived on all lanes.
fn arrived(wire: &Wire) -> Result<u64> {
    let tally = wire.tally();
    wire.lanes().iter().map(|lane| Ok(tally.arrived(&lane.receiver)?.packets)).sum()
}

fn seed() -> Result<u64> {
    match std::env::var("FLOWPROBE_SEED") {
        Ok(seed) => seed.parse().with_context(|| format!("FLOWPROBE_SEED is no number: {seed}")),
        Err(_) => Ok(fastrand::u64(..)),
    }
}

#[test]
fn one_fault_after_the_other() -> Result<()> {
    require!("ethtool");
    require_kernel!(6, 6, "an order of programs at tc, which counts what arrives");
    let seed = seed()?;
    println!("FLOWPROBE_SEED={seed}");
    let mut random = Rng::with_seed(seed);
    let mix = Mix {
        flows: 500_000,
        distribution: Distribution::Zipf(0.9),
        protocols: &[TCP, UDP, TCP, ICMP],
        lengths: 62..=1514,
        flood_percent: 2,
        seed,
    };
    let traffic = mix.traffic();
    let mut settings = Settings::new()?;
    let config = settings.path().to_string_lossy().into_owned();
    let arguments = ["--max-flows", "65536", "--interval", "500ms", "--config", &config];
    let mut lab = Lab::new(&traffic, LANES, Hook::Native, &arguments)?;
    let mut loads = [Load::over(&traffic, 0..LANES, Pace { rate: Some(1_000_000), ahead: None })?];
    let mut happened = Vec::new();
    lab.under_load(&mut loads, |lab| {
        let end = Instant::now() + seconds(25, 600);
        // Each at least once, in an order of chance, and then any.
        let mut first = FAULTS.to_vec();
        random.shuffle(&mut first);
        while !first.is_empty() || (Instant::now() < end && arrived(&lab.wire)? < PACKETS) {
            let fault = first.pop().or_else(|| random.choice(FAULTS)).context("no fault")?;
            let lane = random.usize(..LANES);
            happen(fault, lab, lane, &mut settings, &mut random)
                .with_context(|| format!("FLOWPROBE_SEED={seed}: {fault:?} of lane {lane}, after {happened:?}"))?;
            happened.push(fault);
            sleep(Duration::from_millis(random.u64(0..1000)));
        }
        Ok(())
    })?;
    let outcome = lab.finish().with_context(|| format!("FLOWPROBE_SEED={seed}: {happened:?}"))?;
    println!("{happened:?}: {outcome}");
    ensure!(outcome.arrived.values().all(|arrived| arrived.packets > 0), "nothing arrived: {:?}", outcome.arrived);
    outcome.must_add_up().with_context(|| format!("FLOWPROBE_SEED={seed}: {happened:?}"))
}
