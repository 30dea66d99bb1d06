//! Frames sent into lanes until told to stop, as fast as a pace allows.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::mix::Traffic;
use super::{Generator, Lane, Wire};

/// Frames that are made in one go at most, of a load for one lane.
const BURST: u32 = 1 << 16;

/// The same of a load for several, so that each has its turn often.
const SMALL_BURST: u32 = 1 << 15;

/// How fast frames are sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// Frames a second at most.
    pub rate: Option<u32>,
    /// Frames that may have arrived without being in the daemon's accounting as the test has read it. It bounds what lies in
    /// the daemon's queues, so that a slow reader loses no record however slow it is.
    pub ahead: Option<u64>,
}

impl Pace {
    /// As fast as the kernel can.
    pub const FULL: Self = Self { rate: None, ahead: None };

    /// As fast as the daemon's records are read, where each packet may be one.
    pub const READ: Self = Self { rate: None, ahead: Some(300_000) };

    /// As fast as the daemon's records are read, where flows have many packets each.
    pub const FAST: Self = Self { rate: None, ahead: Some(1 << 22) };
}

/// A generator and the lanes that it sends into, in turn.
pub struct Load {
    generator: Generator,
    lanes: Range<usize>,
    pace: Pace,
    /// Where the generator aims.
    aim: u32,
}

impl Load {
    /// `traffic` for a lane.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn new(traffic: &Traffic, lane: usize, pace: Pace) -> Result<Self> {
        Self::over(traffic, lane..lane + 1, pace)
    }

    /// `traffic` for several lanes. Those that are kept quiet are passed over.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn over(traffic: &Traffic, lanes: Range<usize>, pace: Pace) -> Result<Self> {
        Ok(Self { generator: Generator::new(traffic)?, lanes, pace, aim: 0 })
    }

    /// Frames that were made so far.
    #[must_use]
    pub const fn sent(&self) -> u64 {
        self.generator.sent()
    }

    /// Sends `count` frames at the load's pace.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn send(&mut self, wire: &Wire, count: u64) -> Result<()> {
        self.run(wire, count, &AtomicBool::new(false))
    }

    /// Sends until `count` frames are made, or `stop` is set.
    pub(super) fn run(&mut self, wire: &Wire, count: u64, stop: &AtomicBool) -> Result<()> {
        let (start, first) = (Instant::now(), self.sent());
        let end = first.saturating_add(count);
        let mut turns = self.lanes.clone().cycle();
        while self.sent() < end && !stop.load(Ordering::Relaxed) {
            let lane = wire.lane(turns.next().context("a load without lanes")?)?;
            let burst = self.burst(start, first).min(u32::try_from(end - self.sent()).unwrap_or(u32::MAX));
            let may_send = burst > 0 && !self.is_ahead(wire, lane)?;
            let Some(_turn) = may_send.then(|| lane.turn()).flatten() else {
                sleep(Duration::from_millis(1));
                continue;
            };
            if self.aim != lane.index() {
                self.aim = lane.index();
                self.generator.aim(self.aim)?;
            }
            self.generator.send(&wire.room, burst)?;
        }
        Ok(())
    }

    /// Frames that the rate allows now.
    fn burst(&self, start: Instant, first: u64) -> u32 {
        let most = if self.lanes.len() == 1 { BURST } else { SMALL_BURST };
        let Some(rate) = self.pace.rate else { return most };
        let allowed = u64::from(rate) * u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX) / 1000;
        u32::try_from(allowed.saturating_sub(self.sent() - first)).unwrap_or(u32::MAX).min(most)
    }

    fn is_ahead(&self, wire: &Wire, lane: &Lane) -> Result<bool> {
        let Some(ahead) = self.pace.ahead else { return Ok(false) };
        let (arrived, seen) = wire.arrived_and_seen(lane)?;
        Ok(arrived.packets.saturating_sub(seen.packets) > ahead)
    }
}
