//! What goes wrong while a daemon meters. Each is done when the daemon is metering every lane again.

use std::ops::Range;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use super::{Lab, Lane, Wire};
use crate::daemon::Daemon;
use crate::live::Foreigner;
use crate::namespace::Namespace;
use crate::process::wait_until;

/// The daemon gets no CPU for `time`, and until so many more packets have arrived on the first lane.
///
/// # Errors
/// It is gone, or they do not arrive.
pub fn stop_and_go_on(lab: &mut Lab, time: Duration, packets: u64) -> Result<()> {
    let lane = lab.wire.lane(0)?;
    let arrived = || -> Result<u64> { Ok(lab.wire.tally().arrived(&lane.receiver)?.packets) };
    lab.daemon.signal(Signal::STOP)?;
    let before = arrived()?;
    sleep(time);
    wait_until("packets arrive while the daemon is stopped", || Ok(arrived()? >= before + packets))?;
    lab.daemon.signal(Signal::CONT)
}

/// The interfaces of these lanes are deleted and made again, while the other lanes carry traffic.
///
/// # Errors
/// The kernel refuses, or the daemon does not notice.
pub fn delete_and_make_again(lab: &mut Lab, lanes: Range<usize>) -> Result<()> {
    let wire = lab.wire.clone();
    let lanes: Vec<&Lane> = lanes.map(|lane| wire.lane(lane)).collect::<Result<_>>()?;
    let noticed: Vec<Noticed> = lanes.iter().map(|lane| Noticed::before(&lab.daemon, lane)).collect();
    let mut quiet = Vec::new();
    for lane in &lanes {
        // Until the daemon meters it again.
        quiet.push(wire.quiet(lane)?);
        wire.cut(lane)?;
    }
    noticed.iter().try_for_each(|lane| lane.gone(&mut lab.daemon))?;
    lanes.iter().try_for_each(|lane| wire.lay(lane))?;
    noticed.iter().try_for_each(|lane| lane.back(&mut lab.daemon))
}

/// A lane's MTU shrinks, so that the longer frames are refused, grows beyond what frames need, and is as before.
///
/// # Errors
/// The kernel refuses.
pub fn change_mtu(wire: &Wire, lane: usize) -> Result<()> {
    let lane = wire.lane(lane)?;
    for mtu in [1000, 3000, 1500] {
        for end in [&lane.sender, &lane.receiver] {
            wire.room.ip(&format!("link set {end} mtu {mtu}"))?;
        }
        sleep(Duration::from_millis(200));
    }
    Ok(())
}

/// Another XDP program wants the lane that the daemon has, and is refused.
///
/// # Errors
/// It is not.
pub fn want_its_place(wire: &Wire, lane: usize) -> Result<()> {
    let lane = wire.lane(lane)?;
    let before = wire.room.programs(&lane.receiver)?;
    let refused = Foreigner::attach(&wire.room, &lane.receiver).err();
    let refused = refused.with_context(|| format!("two programs on {}", lane.receiver))?;
    // For want of room, and nothing else.
    ensure!(format!("{refused:#}").contains("busy"), "{refused:#}");
    let after = wire.room.programs(&lane.receiver)?;
    ensure!(before == after, "{before:?} have become {after:?}");
    Ok(())
}

/// The metered end of a lane is moved into another namespace and back, while the other lanes carry traffic.
///
/// # Errors
/// The kernel refuses, or the daemon does not notice.
pub fn move_away_and_back(lab: &mut Lab, lane: usize) -> Result<()> {
    let wire = lab.wire.clone();
    let lane = wire.lane(lane)?;
    let elsewhere = Namespace::new()?;
    let noticed = Noticed::before(&lab.daemon, lane);
    let _quiet = wire.quiet(lane)?;
    wire.room.ip(&format!("link set {} netns {}", lane.receiver, elsewhere.name()))?;
    noticed.gone(&mut lab.daemon)?;
    wire.leave(lane);
    elsewhere.ip(&format!("link set {} netns {}", lane.receiver, wire.room.name()))?;
    wire.watch(lane)?;
    wire.room.ip(&format!("link set {} up", lane.receiver))?;
    noticed.back(&mut lab.daemon)
}

/// Nobody reads the daemon's standard output until it says that it has lost records. No load may wait for the ledger
/// meanwhile.
///
/// # Errors
/// It does not say so.
pub fn read_nothing_until_records_are_lost(lab: &mut Lab) -> Result<()> {
    let wire = lab.wire.clone();
    let unread = wire.ledger();
    let lost = lab.daemon.wait_for_log("records lost on the way out", 1);
    drop(unread);
    lost.context("nobody reads its output, and it loses nothing")
}

/// How often the daemon has said that a lane is gone, and is metered, before something happened to it.
struct Noticed {
    texts: [String; 2],
    counts: [usize; 2],
}

impl Noticed {
    fn before(daemon: &Daemon, lane: &Lane) -> Self {
        let texts = [format!("interface {} is gone", lane.receiver), format!(" metering {} ", lane.receiver)];
        let log = daemon.log();
        let counts = texts.each_ref().map(|text| log.iter().filter(|line| line.contains(text)).count());
        Self { texts, counts }
    }

    fn gone(&self, daemon: &mut Daemon) -> Result<()> {
        daemon.wait_for_log(&self.texts[0], self.counts[0] + 1)
    }

    fn back(&self, daemon: &mut Daemon) -> Result<()> {
        daemon.wait_for_log(&self.texts[1], self.counts[1] + 1)
    }
}
