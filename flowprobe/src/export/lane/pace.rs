//! How fast what was kept for a collector goes out when it is back.

use std::time::{Duration, Instant};

/// Allows so many records a second beyond those that come in meanwhile, so that what waits becomes less at that rate, however
/// much traffic there is.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: u32,
    /// Records that may go out now; less than none where a message had more.
    allowed: f64,
    since: Instant,
}

/// What may go out at once after a pause.
const BURST: f64 = 0.1;

impl Pace {
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        Self { per_second, allowed: 0.0, since: now }
    }

    /// Takes note of records that came in.
    pub(super) fn came(&mut self, records: u64) {
        #[expect(clippy::cast_precision_loss, reason = "records of a message")]
        let records = records as f64;
        self.allowed += records;
    }

    /// Takes note of records that went out.
    pub(super) fn went(&mut self, records: u64) {
        #[expect(clippy::cast_precision_loss, reason = "records of a message")]
        let records = records as f64;
        self.allowed -= records;
    }

    /// How long the next message has to wait.
    pub(super) fn wait(&mut self, now: Instant) -> Duration {
        let rate = f64::from(self.per_second);
        let elapsed = now.saturating_duration_since(self.since).as_secs_f64();
        self.since = now;
        self.allowed = (self.allowed + elapsed * rate).min(self.allowed.max(rate * BURST));
        if self.allowed >= 0.0 { Duration::ZERO } else { Duration::from_secs_f64(-self.allowed / rate) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records that go out in a second in messages of ten, while `incoming` come in.
    fn in_a_second(per_second: u32, incoming: u64) -> u64 {
        let mut now = Instant::now();
        let mut pace = Pace::new(per_second, now);
        let mut gone = 0;
        for _ in 0..1000 {
            now += Duration::from_millis(1);
            pace.came(incoming / 1000);
            while pace.wait(now) == Duration::ZERO {
                pace.went(10);
                gone += 10;
            }
        }
        gone
    }

    #[test]
    fn so_many_a_second_beyond_what_comes_in() {
        assert!((1000..=1110).contains(&in_a_second(1000, 0)), "{}", in_a_second(1000, 0));
        assert!((6000..=6110).contains(&in_a_second(1000, 5000)), "{}", in_a_second(1000, 5000));
    }

    #[test]
    fn a_pause_is_not_made_up_for() {
        let now = Instant::now();
        let mut pace = Pace::new(1000, now);
        let later = now + Duration::from_secs(3600);
        let mut gone = 0;
        while pace.wait(later) == Duration::ZERO {
            pace.went(10);
            gone += 10;
        }
        assert!(gone <= 110, "{gone}");
        assert!(pace.wait(later) <= Duration::from_millis(10));
    }
}
