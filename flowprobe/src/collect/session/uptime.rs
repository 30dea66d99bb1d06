//! Uptimes, which NetFlow v5, v7 and v9 say: what proves that an exporter has begun anew.

use std::time::{Duration, Instant};

/// How far uptimes go back because messages overtake each other, and those of one life are apart.
const UPTIME_SLACK: Duration = Duration::from_secs(10);

/// How far the clocks of an exporter and of this host may have parted while an uptime begins again.
const CLOCK_SLACK: Duration = Duration::from_secs(60);

/// An uptime, and when it was said.
#[derive(Clone, Copy, Debug)]
struct Reading {
    uptime_ms: u32,
    at: Instant,
}

impl Reading {
    /// Whether this uptime has grown since as the time has, give or take so much. It begins again after 2³² ms.
    fn goes_on(self, uptime_ms: u32, now: Instant, slack: Duration) -> bool {
        let passed = now.saturating_duration_since(self.at).as_millis() & u128::from(u32::MAX);
        let expected = self.uptime_ms.wrapping_add(u32::try_from(passed).unwrap_or(0));
        let apart = uptime_ms.wrapping_sub(expected).cast_signed().unsigned_abs();
        Duration::from_millis(apart.into()) <= slack
    }
}

/// The uptimes that came one way: those of one exporter, or of several that take turns.
#[derive(Debug, Default)]
pub(super) struct Uptimes {
    last: Option<Reading>,
    /// The first of the life that began last, and the last of the one before.
    begun: Option<Reading>,
    former: Option<Reading>,
}

impl Uptimes {
    pub(super) const fn new() -> Self {
        Self { last: None, begun: None, former: None }
    }

    /// Whether this one proves that the exporter has begun anew: it has fallen, which neither the order on the way nor the end
    /// of 32 bits explains, to no more than what has passed since the one before, and is not of the life that began last. That
    /// goes on where two processes take turns, one of which has been up for longer.
    pub(super) fn have_fallen(&self, uptime_ms: u32, now: Instant) -> bool {
        let Some(last) = self.last else { return false };
        let back = Duration::from_millis(last.uptime_ms.saturating_sub(uptime_ms).into());
        let most = now.saturating_duration_since(last.at) + CLOCK_SLACK;
        back > UPTIME_SLACK
            && Duration::from_millis(uptime_ms.into()) <= most
            && !last.goes_on(uptime_ms, now, CLOCK_SLACK)
            && !self.is_of_begun(uptime_ms, now)
    }

    /// Whether this one is of the life that began last.
    pub(super) fn is_of_begun(&self, uptime_ms: u32, now: Instant) -> bool {
        self.begun.is_some_and(|begun| begun.goes_on(uptime_ms, now, UPTIME_SLACK))
    }

    /// Whether this one is of the life before the one that began last.
    pub(super) fn is_of_former(&self, uptime_ms: u32, now: Instant) -> bool {
        self.former.is_some_and(|former| former.goes_on(uptime_ms, now, CLOCK_SLACK))
    }

    /// Takes note of one, with which the exporter may have begun anew.
    pub(super) fn note(&mut self, uptime_ms: u32, anew: bool, now: Instant) {
        let reading = Reading { uptime_ms, at: now };
        if anew {
            (self.former, self.begun) = (self.last, Some(reading));
        }
        self.last = Some(reading);
    }
}
