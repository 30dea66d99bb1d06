//! When a flow began and ended, in whichever of its many forms an exporter says it.

use super::Context;
use super::values::{Slot, Values};

/// When a flow began and ended, microseconds since 1970, and which values said so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) start_us: u64,
    pub(super) end_us: u64,
    /// [`Slot::Nothing`] where it was worked out from something else.
    pub(super) start_of: Slot,
    pub(super) end_of: Slot,
}

/// Values that say when a flow began, the finest first.
const STARTS: [Slot; 6] = [
    Slot::StartNanoseconds,
    Slot::StartMicroseconds,
    Slot::StartMilliseconds,
    Slot::StartDelta,
    Slot::StartUptime,
    Slot::StartSeconds,
];

/// Values that say when it ended, likewise.
const ENDS: [Slot; 6] = [
    Slot::EndNanoseconds,
    Slot::EndMicroseconds,
    Slot::EndMilliseconds,
    Slot::EndDelta,
    Slot::EndUptime,
    Slot::EndSeconds,
];

/// Values that say when what the record reports was seen, as those about events do.
const OBSERVATIONS: [Slot; 4] = [
    Slot::ObservationNanoseconds,
    Slot::ObservationMicroseconds,
    Slot::ObservationMilliseconds,
    Slot::ObservationSeconds,
];

impl Times {
    /// Those of a record, each by the finest value that is not 0, else by an uptime of 0 that is a time. What is missing follows
    /// from the duration, the time of observation or the other of the two, and with none of them from when the message was
    /// exported.
    pub(super) fn of(values: &Values, has_uptimes: bool, clock: &Clock) -> Self {
        let [start, end] = clock.both(values, has_uptimes);
        if let (Some((start_of, start_us)), Some((end_of, end_us))) = (start, end) {
            return Self { start_us, end_us, start_of, end_of };
        }
        let observed = clock.first(values, &OBSERVATIONS).map(|(_, us)| us);
        let lasted = match values.first(&[Slot::DurationMicroseconds, Slot::DurationMilliseconds]) {
            (Slot::Nothing, _) => None,
            (Slot::DurationMilliseconds, ms) => Some(ms.saturating_mul(1000)),
            (_, us) => Some(us),
        };
        match (start, end) {
            (Some((start_of, start_us)), _) => {
                let end_us = lasted.map(|lasted| start_us.saturating_add(lasted)).filter(is_time).or(observed);
                Self { start_us, end_us: end_us.unwrap_or(0).max(start_us), start_of, end_of: Slot::Nothing }
            }
            (None, end) => {
                let (end_of, end_us) = end.unwrap_or((Slot::Nothing, observed.unwrap_or(clock.export_time_us)));
                let start_us = end_us.saturating_sub(lasted.unwrap_or(0));
                Self { start_us, end_us, start_of: Slot::Nothing, end_of }
            }
        }
    }

    /// Those of the answers: their own values, else those of the other direction, from the first answer on where that is said.
    pub(super) fn of_answers(values: &Values, has_uptimes: bool, forward: Self, clock: &Clock) -> Self {
        let after = forward.start_us.saturating_add(values.get(Slot::ReverseDelta).saturating_mul(1000)).min(LATEST_US);
        let [start, end] = clock.both(values, has_uptimes);
        let (start_of, start_us) = start.unwrap_or((Slot::Nothing, after));
        let (end_of, end_us) = end.unwrap_or((Slot::Nothing, forward.end_us.max(start_us)));
        Self { start_us, end_us, start_of, end_of }
    }
}

/// The end of the year 9999: what is said to be later is no time, so that what follows can calculate with times.
const LATEST_US: u64 = 253_402_300_799_999_999;

const fn is_time(us: &u64) -> bool {
    *us <= LATEST_US
}

/// How long an exporter has been up at most whose uptimes of 0 are both a time.
const JUST_BOOTED_US: u64 = 60_000_000;

/// By how much an exporter's clock may be ahead of itself.
const AHEAD_MS: u64 = 3_600_000;

/// What the values of both directions are measured from.
pub(super) struct Clock {
    export_time_us: u64,
    boot_us: Option<u64>,
}

impl Clock {
    pub(super) fn of(values: &Values, context: &Context<'_>) -> Self {
        let export_time_us = context.exported_us();
        let in_record = values.get(Slot::SystemInit).saturating_mul(1000);
        // One that is to come is none.
        let is_past = |boot_us: &u64| (1..=export_time_us.saturating_add(AHEAD_MS * 1000)).contains(boot_us);
        let told = [Some(in_record), context.boot_us, context.facts.boot_us()];
        Self { export_time_us, boot_us: told.into_iter().flatten().find(is_past) }
    }

    /// Beginning and end, each by the first value that says it.
    fn both(&self, values: &Values, has_uptimes: bool) -> [Option<(Slot, u64)>; 2] {
        let zero = if has_uptimes { self.zero(values) } else { None };
        let of_zero = |slot| Some((slot, zero?)).filter(|_| values.get(slot) == 0);
        [
            self.first(values, &STARTS).or_else(|| of_zero(Slot::StartUptime)),
            self.first(values, &ENDS).or_else(|| of_zero(Slot::EndUptime)),
        ]
    }

    /// The time at uptime 0, where that is one for a record that has both uptimes: if not both are 0, or the exporter has just
    /// booted. Else they are fields that it does not fill in.
    fn zero(&self, values: &Values) -> Option<u64> {
        let (slot, _) = values.first(&[Slot::StartUptime, Slot::EndUptime]);
        let up_us = self.export_time_us.saturating_sub(self.boot_us?);
        if slot == Slot::Nothing && up_us >= JUST_BOOTED_US { None } else { self.of_uptime(0).filter(is_time) }
    }

    /// The first of `slots` that says a time.
    fn first(&self, values: &Values, slots: &[Slot]) -> Option<(Slot, u64)> {
        slots.iter().find_map(|&slot| {
            let number = values.get(slot);
            if number == 0 { None } else { Some((slot, self.time(slot, number).filter(is_time)?)) }
        })
    }

    /// Microseconds since 1970 of a value that is not 0.
    fn time(&self, slot: Slot, number: u64) -> Option<u64> {
        Some(match slot {
            Slot::StartSeconds | Slot::EndSeconds | Slot::ObservationSeconds => number.saturating_mul(1_000_000),
            Slot::StartMilliseconds | Slot::EndMilliseconds | Slot::ObservationMilliseconds => {
                number.saturating_mul(1000)
            }
            Slot::StartDelta | Slot::EndDelta => self.export_time_us.checked_sub(number)?,
            Slot::StartUptime | Slot::EndUptime => self.of_uptime(u32::try_from(number).ok()?)?,
            _ => microseconds_of_ntp(number),
        })
    }

    /// The time at this uptime of the exporter. Uptimes count milliseconds and begin again after 2³² of them, 49.7 days: the one
    /// that is meant is the last before the message was exported, where an uptime that is ahead of the header's by up to an hour is forgiven.
    fn of_uptime(&self, uptime_ms: u32) -> Option<u64> {
        let boot_us = self.boot_us?;
        let now_ms = self.export_time_us.saturating_sub(boot_us) / 1000;
        // The low 32 bits are what the exporter's own count of them would be.
        let ahead_ms = uptime_ms.wrapping_sub(u32::try_from(now_ms & 0xffff_ffff).unwrap_or(0));
        let then_ms = if u64::from(ahead_ms) <= AHEAD_MS {
            now_ms.saturating_add(ahead_ms.into())
        } else {
            // Before the boot where the header's uptime has just begun again: the boot is then 49.7 days later than it was.
            let before_ms = u64::from(ahead_ms.wrapping_neg());
            if before_ms > now_ms {
                return boot_us.checked_sub((before_ms - now_ms) * 1000);
            }
            now_ms - before_ms
        };
        Some(boot_us.saturating_add(then_ms.saturating_mul(1000)))
    }
}

/// Microseconds since 1970 of the NTP format (RFC 7011 sections 6.1.9 and 6.1.10): seconds since 1900 and their fraction. Seconds
/// that would be before 1970 are counted from 2036, when 32 bits of them begin again.
pub(in crate::collect) fn microseconds_of_ntp(ntp: u64) -> u64 {
    /// From 1900 to 1970.
    const ERA: u64 = 2_208_988_800;
    let (seconds, fraction) = (ntp >> 32, ntp & 0xffff_ffff);
    let seconds = if seconds < ERA { seconds + (1 << 32) } else { seconds };
    (seconds - ERA) * 1_000_000 + ((fraction * 1_000_000) >> 32)
}
