//! Two clocks: the kernel's monotonic one, by which packets are stamped and timeouts run, and the wall clock, in which
//! records speak.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nanoseconds of `CLOCK_MONOTONIC`, the clock of the kernel programs' time stamps.
#[must_use]
pub fn monotonic_ns() -> u64 {
    crate::kernel::monotonic_ns()
}

/// The wall clock, milliseconds since 1970 UTC.
#[must_use]
pub fn wall_now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// How far the wall clock is ahead of the monotonic clock, as last measured.
///
/// Both ends of a record are converted with one and the same offset, so that a step of the wall clock in the middle of a
/// flow moves the record and never stretches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WallOffset {
    /// Wall clock less monotonic clock, nanoseconds.
    nanoseconds: i128,
}

impl WallOffset {
    /// Reads both clocks.
    #[must_use]
    pub fn measure() -> Self {
        let monotonic = monotonic_ns();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self::between(wall, monotonic)
    }

    /// The offset when the wall clock showed `wall` since 1970 and the monotonic clock `monotonic` nanoseconds.
    #[must_use]
    pub fn between(wall: Duration, monotonic: u64) -> Self {
        let nanoseconds = i128::try_from(wall.as_nanos()).unwrap_or(i128::MAX) - i128::from(monotonic);
        Self { nanoseconds }
    }

    /// A monotonic time stamp as microseconds since 1970-01-01 UTC; 0 for what would lie before.
    #[must_use]
    pub fn to_wall_us(self, monotonic: u64) -> u64 {
        let wall = i128::from(monotonic) + self.nanoseconds;
        u64::try_from(wall.max(0) / 1000).unwrap_or(u64::MAX)
    }

    /// The same as milliseconds.
    #[must_use]
    pub fn to_wall_ms(self, monotonic: u64) -> u64 {
        self.to_wall_us(monotonic) / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_moves_a_record_and_keeps_its_length() {
        let before = WallOffset::between(Duration::from_secs(1_000_000), 5_000_000_000);
        let after = WallOffset::between(Duration::from_secs(1_000_000 - 3600 + 1), 6_000_000_000);
        let (start, end) = (5_000_000_000, 5_750_000_000);
        assert_eq!(before.to_wall_ms(start), 1_000_000_000);
        assert_eq!(before.to_wall_us(start + 1_999), 1_000_000_000_001);
        assert_eq!(after.to_wall_ms(start), 1_000_000_000 - 3_600_000);
        assert_eq!(after.to_wall_ms(end) - after.to_wall_ms(start), 750);
    }

    #[test]
    fn the_monotonic_clock_runs() {
        let first = monotonic_ns();
        assert!(monotonic_ns() >= first && first > 0);
    }
}
