//! When to drain: at the interval, and sooner where a flow map is filling.

use std::time::{Duration, Instant};

/// How much sooner than at the interval a drain may come at most: a flood must not keep the daemon draining all the time.
const SOONEST: u32 = 8;

/// The time table of drains.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    next: Instant,
    /// Before that not even a filling map is drained.
    soonest: Instant,
}

impl Pace {
    pub(super) fn new(interval: Duration, now: Instant) -> Self {
        Self { interval, next: now + interval, soonest: now }
    }

    /// How long to wait for the next drain.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        self.next.saturating_duration_since(now)
    }

    /// A map is filling.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.next = self.next.min(self.soonest.max(now));
    }

    pub(super) fn set_interval(&mut self, interval: Duration, now: Instant) {
        self.interval = interval;
        self.next = self.next.min(now + interval);
    }

    /// A drain that began at `began` is complete. Whether it took longer than the interval.
    pub(super) fn drained(&mut self, began: Instant, now: Instant) -> bool {
        let took = now.saturating_duration_since(began);
        // A drain in time keeps the beat.
        let due = if began < self.next { began } else { self.next };
        self.next = due + self.interval;
        // At most half of the time goes into draining.
        self.soonest = (began + self.interval / SOONEST).max(now + took);
        let late = self.next < now;
        self.next = self.next.max(now);
        late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn drains_keep_the_beat_of_the_interval() {
        let start = Instant::now();
        let mut pace = Pace::new(ms(1000), start);
        assert_eq!(pace.wait(start), ms(1000));
        assert!(!pace.drained(start + ms(1003), start + ms(1050)));
        assert_eq!(pace.wait(start + ms(1050)), ms(950));
    }

    #[test]
    fn a_filling_map_is_drained_sooner_but_not_all_the_time() {
        let start = Instant::now();
        let mut pace = Pace::new(ms(1000), start);
        pace.hurry(start + ms(900));
        assert_eq!(pace.wait(start + ms(900)), ms(0));
        assert!(!pace.drained(start + ms(901), start + ms(910)));
        pace.hurry(start + ms(910));
        assert_eq!(pace.wait(start + ms(910)), ms(116));
        assert!(!pace.drained(start + ms(1026), start + ms(1226)));
        // It took 200 ms: so long nothing is drained.
        pace.hurry(start + ms(1226));
        assert_eq!(pace.wait(start + ms(1226)), ms(200));
        assert!(!pace.drained(start + ms(1426), start + ms(1430)));
        assert_eq!(pace.wait(start + ms(1430)), ms(996));
    }

    #[test]
    fn a_drain_that_takes_too_long_is_late() {
        let start = Instant::now();
        let mut pace = Pace::new(ms(100), start);
        assert!(pace.drained(start + ms(100), start + ms(250)));
        assert_eq!(pace.wait(start + ms(250)), ms(0));
    }
}
