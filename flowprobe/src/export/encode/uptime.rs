//! NetFlow's times: milliseconds since the exporter was booted, in 32 bits, beside the wall clock in the header.
//!
//! A collector takes the header's wall clock less its uptime for the moment of the boot, and adds a flow's uptime to that. What
//! it gets is exact to the millisecond if both times of the header are those of one instant, which is why the header of
//! version 9, whose wall clock has whole seconds, is that of the next full second. Uptimes are counted from a moment before the
//! message's flows, the boot or one of its 24-day steps, so that none of them wraps within a message.

use crate::clock::{self, WallOffset};

/// The moment, as an exporter knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Milliseconds since 1970 UTC.
    pub now_ms: u64,
    /// When the machine was booted, likewise.
    pub boot_ms: u64,
}

impl Clock {
    /// Reads it.
    #[must_use]
    pub fn read() -> Self {
        let offset = WallOffset::measure();
        Self { now_ms: offset.to_wall_ms(clock::monotonic_ns()), boot_ms: offset.to_wall_ms(0) }
    }

    /// The moment in whole seconds, as IPFIX message headers have it until 2106.
    #[must_use]
    pub fn now_s(self) -> u32 {
        u32::try_from(self.now_ms / 1000).unwrap_or(u32::MAX)
    }
}

/// How far a message's zero of uptimes moves when it moves: half of what 32 bits hold.
const STEP_MS: u64 = 1 << 31;

/// How long before its first flow an exporter has been booted that has not: one of captures of other days.
const BEFORE_MS: u64 = 3_600_000;

/// The times of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Uptime {
    /// What uptimes are counted from, milliseconds since 1970 UTC.
    pub(super) base_ms: u64,
    /// The end of the flow that ends last.
    latest_ms: u64,
}

impl Uptime {
    /// The times of a message that begins with a flow of `start_ms`.
    pub(super) fn begin(clock: Clock, start_ms: u64) -> Self {
        let base_ms = match start_ms.checked_sub(clock.boot_ms) {
            Some(uptime) => clock.boot_ms + uptime / STEP_MS * STEP_MS,
            None => start_ms.saturating_sub(BEFORE_MS),
        };
        Self { base_ms, latest_ms: 0 }
    }

    /// Whether a flow can be said by these uptimes.
    pub(super) fn holds(self, start_ms: u64, end_ms: u64) -> bool {
        start_ms >= self.base_ms && end_ms.saturating_sub(self.base_ms) < u64::from(u32::MAX)
    }

    /// Takes note of a flow in the message.
    pub(super) fn note(&mut self, end_ms: u64) {
        self.latest_ms = self.latest_ms.max(end_ms);
    }

    /// A moment as an uptime.
    pub(super) fn of(self, ms: u64) -> u32 {
        u32::try_from(ms.saturating_sub(self.base_ms)).unwrap_or(u32::MAX)
    }

    /// Makes uptimes of the milliseconds since 1970 at these places of a record, which has their last 32 bits.
    pub(super) fn count_from_boot(self, places: &[usize], record: &mut [u8]) {
        #[expect(clippy::cast_possible_truncation, reason = "both are taken modulo 2^32, and so is their difference")]
        let base = self.base_ms as u32;
        for at in places {
            let place = &mut record[*at..at + 4];
            let ms = place.iter().fold(0_u32, |ms, octet| ms << 8 | u32::from(*octet));
            place.copy_from_slice(&ms.wrapping_sub(base).to_be_bytes());
        }
    }

    /// The wall clock of the header in milliseconds, a multiple of `grain`, and its uptime. It is not before any flow's end,
    /// and that end itself where now is too far away: in captures of other days.
    pub(super) fn header(self, clock: Clock, grain: u64) -> (u64, u32) {
        let at = |ms: u64| {
            let wall = ms.div_ceil(grain) * grain;
            u32::try_from(wall - self.base_ms.min(wall)).map(|uptime| (wall, uptime)).ok()
        };
        let now = at(clock.now_ms.max(self.latest_ms));
        now.or_else(|| at(self.latest_ms)).unwrap_or((self.latest_ms, u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a collector makes of a flow's uptime.
    fn read(uptime: Uptime, header: (u64, u32), ms: u64) -> u64 {
        header.0 - u64::from(header.1) + u64::from(uptime.of(ms))
    }

    #[test]
    fn times_are_read_back_to_the_millisecond_however_long_the_uptime_is() {
        const DAY: u64 = 86_400_000;
        for days in [0, 1, 24, 25, 49, 50, 400] {
            let clock = Clock { now_ms: 1_700_000_000_777, boot_ms: 1_700_000_000_777 - days * DAY - 5000 };
            let (start, end) = (clock.now_ms - 4321, clock.now_ms - 12);
            let mut uptime = Uptime::begin(clock, start);
            assert!(uptime.holds(start, end));
            uptime.note(end);
            for grain in [1, 1000] {
                let header = uptime.header(clock, grain);
                assert!(header.0.is_multiple_of(grain) && header.0 >= end && uptime.of(end) <= header.1);
                assert_eq!((read(uptime, header, start), read(uptime, header, end)), (start, end));
            }
        }
    }

    #[test]
    fn captures_of_other_days_are_read_back_too() {
        let clock = Clock { now_ms: 1_700_000_000_777, boot_ms: 1_699_000_000_000 };
        for (start, end) in [(1_000_000_123, 1_000_000_456), (123, 456), (1_800_000_000_001, 1_800_000_000_002)] {
            let mut uptime = Uptime::begin(clock, start);
            assert!(uptime.holds(start, end));
            uptime.note(end);
            let header = uptime.header(clock, 1000);
            assert_eq!((read(uptime, header, start), read(uptime, header, end)), (start, end));
        }
    }

    #[test]
    fn what_lies_too_far_apart_is_not_in_one_message() {
        let clock = Clock { now_ms: 1_700_000_000_777, boot_ms: 1_699_000_000_000 };
        let uptime = Uptime::begin(clock, 1_699_500_000_000);
        assert!(uptime.holds(1_699_000_000_000, 1_700_000_000_000));
        assert!(!uptime.holds(1_698_999_999_999, 1_700_000_000_000));
        assert!(!uptime.holds(1_699_500_000_000, 1_699_000_000_000 + (1 << 32)));
    }
}
