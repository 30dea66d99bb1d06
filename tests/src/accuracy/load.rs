//! Frames sent into a lane until told to stop, as fast as a pace allows.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::mix::Traffic;
use super::{Generator, Wire};

/// Frames that are made in one go at most.
const BURST: u32 = 1 << 16;

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

/// A generator and the lane that it sends into.
pub struct Load {
    generator: Generator,
    lane: usize,
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
        Ok(Self { generator: Generator::new(traffic)?, lane, pace, aim: 0 })
    }

    /// Takes another order of the same flows.
    ///
    /// # Errors
    /// See [`Generator::reschedule`].
    pub fn reschedule(&mut self, traffic: &Traffic) -> Result<()> {
        self.generator.reschedule(&traffic.schedule)
    }

    /// Turns to another lane.
    pub fn turn_to(&mut self, lane: usize) {
        self.lane = lane;
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
        let lane = wire.lane(self.lane)?;
        let (start, first) = (Instant::now(), self.sent());
        let end = first.saturating_add(count);
        while self.sent() < end && !stop.load(Ordering::Relaxed) {
            let burst = self.burst(start, first).min(u32::try_from(end - self.sent()).unwrap_or(u32::MAX));
            if burst == 0 || self.is_ahead(wire)? {
                sleep(Duration::from_millis(1));
                continue;
            }
            let _turn = lane.turn();
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
        let Some(rate) = self.pace.rate else { return BURST };
        let allowed = u64::from(rate) * u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX) / 1000;
        u32::try_from(allowed.saturating_sub(self.sent() - first)).unwrap_or(u32::MAX).min(BURST)
    }

    fn is_ahead(&self, wire: &Wire) -> Result<bool> {
        let Some(ahead) = self.pace.ahead else { return Ok(false) };
        let (arrived, seen) = wire.arrived_and_seen(wire.lane(self.lane)?)?;
        Ok(arrived.packets.saturating_sub(seen.packets) > ahead)
    }
}
