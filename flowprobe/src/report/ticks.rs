//! Where the axes of a chart are marked, and with what: round numbers, and moments that are round where they are shown.

use jiff::civil::Date;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp, Zoned};

/// A vertical axis from 0 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scale {
    /// Marks above 0.
    count: u32,
    /// From mark to mark: 1, 2 or 5, and as many zeros as this, or as many places behind the point.
    digit: u32,
    zeros: i32,
}

impl Scale {
    /// One on which `largest` is, with three to five marks.
    pub(super) fn of(largest: f64) -> Self {
        // An axis without anything on it goes up to 1.
        let largest = if largest.is_finite() && largest > 0.0 { largest } else { 1.0 };
        #[expect(clippy::cast_possible_truncation, reason = "the logarithm of any f64 is within ±324")]
        let zeros = (largest / 5.0).log10().floor() as i32;
        for (digit, zeros) in [(1, zeros), (2, zeros), (5, zeros), (1, zeros + 1), (2, zeros + 1)] {
            let step = Self { count: 1, digit, zeros }.top();
            for count in 1..=5 {
                if step * f64::from(count) >= largest {
                    return Self { count, digit, zeros };
                }
            }
        }
        // Not reached: twenty times a power of ten above a fifth of it is enough.
        Self { count: 5, digit: 5, zeros: zeros + 1 }
    }

    /// The upper end.
    pub(super) fn top(self) -> f64 {
        f64::from(self.count * self.digit) * 10_f64.powi(self.zeros)
    }

    /// How far up each mark is, from 0 to 1, and what stands there.
    pub(super) fn marks(self) -> impl Iterator<Item = (f64, String)> {
        (0..=self.count).map(move |mark| (f64::from(mark) / f64::from(self.count), self.label(mark)))
    }

    /// A number as short as it can be; all of an axis have the same unit.
    fn label(self, mark: u32) -> String {
        const UNITS: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
        if mark == 0 {
            return "0".to_owned();
        }
        let mut unit = 0;
        while unit + 1 < UNITS.len() && self.top() >= 1000_f64.powi(i32::try_from(unit).unwrap_or(0) + 1) {
            unit += 1;
        }
        let zeros = self.zeros - 3 * i32::try_from(unit).unwrap_or(0);
        let number = f64::from(mark * self.digit) * 10_f64.powi(zeros);
        let places = usize::try_from(-zeros).unwrap_or(0);
        format!("{number:.places$}{}", UNITS[unit])
    }
}

/// A mark of the axis of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) ms: i64,
    pub(super) label: String,
}

/// Marks of an axis of time at most.
const MOST: i64 = 9;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// Seconds from mark to mark.
#[rustfmt::skip]
const STEPS: [i64; 22] = [
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR,
    DAY, 2 * DAY, 3 * DAY, 7 * DAY, 14 * DAY,
];

/// 1970-01-05, a Monday, on which weeks are counted.
const MONDAY: i64 = 4 * DAY;

/// Marks from one moment to another.
pub(super) fn moments(from_ms: i64, to_ms: i64, zone: &TimeZone) -> Vec<Moment> {
    let span = (to_ms.saturating_sub(from_ms)) / 1000;
    match STEPS.into_iter().find(|step| span / step <= MOST) {
        Some(step) => of_seconds(step, from_ms, to_ms, zone),
        None => of_months(span, from_ms, to_ms, zone),
    }
}

/// Steps along local clocks: noon is marked as noon, also behind a change to summer time.
fn of_seconds(step: i64, from_ms: i64, to_ms: i64, zone: &TimeZone) -> Vec<Moment> {
    let Some(first) = zoned(from_ms, zone) else { return Vec::new() };
    let local = from_ms.div_euclid(1000) + i64::from(first.offset().seconds());
    let shift = if step % (7 * DAY) == 0 { MONDAY } else { 0 };
    let mut clock = (local - shift).div_euclid(step) * step + shift;
    let mut moments: Vec<Moment> = Vec::new();
    // Twice as many as there can be, so that it ends whatever clocks do.
    for _ in 0..2 * MOST + 4 {
        let Ok(shown) = Timestamp::from_second(clock) else { break };
        let Ok(moment) = Offset::UTC.to_datetime(shown).to_zoned(zone.clone()) else { break };
        clock += step;
        let ms = moment.timestamp().as_millisecond();
        if ms > to_ms {
            break;
        }
        if ms >= from_ms && moments.last().is_none_or(|last| last.ms < ms) {
            let is_midnight = moment.time() == jiff::civil::Time::midnight();
            let format = match step {
                ..60 => "%H:%M:%S",
                60.. if is_midnight || step >= DAY => "%b %-d",
                60.. => "%H:%M",
            };
            moments.push(Moment { ms, label: moment.strftime(format).to_string() });
        }
    }
    moments
}

fn of_months(span: i64, from_ms: i64, to_ms: i64, zone: &TimeZone) -> Vec<Moment> {
    let months = span / (30 * DAY) + 1;
    let step = [1, 2, 3, 6, 12, 24, 60, 120].into_iter().find(|step| months / step <= MOST).unwrap_or(600);
    let Some(first) = zoned(from_ms, zone) else { return Vec::new() };
    let mut month = (i64::from(first.year()) * 12 + i64::from(first.month()) - 1).div_euclid(step) * step;
    let mut moments = Vec::new();
    for _ in 0..2 * MOST + 4 {
        let (Ok(year), Ok(of_year)) = (i16::try_from(month.div_euclid(12)), i8::try_from(month.rem_euclid(12) + 1))
        else {
            break;
        };
        month += step;
        let Ok(moment) = Date::new(year, of_year, 1).and_then(|date| date.to_zoned(zone.clone())) else { break };
        let ms = moment.timestamp().as_millisecond();
        if ms > to_ms {
            break;
        }
        if ms >= from_ms {
            moments.push(Moment { ms, label: moment.strftime("%b %Y").to_string() });
        }
    }
    moments
}

fn zoned(ms: i64, zone: &TimeZone) -> Option<Zoned> {
    Some(Timestamp::from_millisecond(ms).ok()?.to_zoned(zone.clone()))
}

/// A time as short as it can be said: `5 min`, `24 h`, `30 d`.
pub(super) fn lasts(ms: i64) -> String {
    let seconds = SignedDuration::from_millis(ms).as_secs();
    match seconds {
        0 => format!("{ms} ms"),
        _ if seconds % DAY == 0 && seconds > DAY => format!("{} d", seconds / DAY),
        _ if seconds % HOUR == 0 => format!("{} h", seconds / HOUR),
        _ if seconds % 60 == 0 => format!("{} min", seconds / 60),
        _ if seconds > 2 * DAY => format!("{} d {} h", seconds / DAY, seconds % DAY / HOUR),
        _ if seconds > HOUR => format!("{} h {:02} min", seconds / HOUR, seconds % HOUR / 60),
        _ if seconds > 60 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Central European time, by its rules, which need no files.
    fn berlin() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a time zone")
    }

    fn labels(largest: f64) -> Vec<String> {
        Scale::of(largest).marks().map(|(_, label)| label).collect()
    }

    #[test]
    fn marks_are_round_and_all_is_below_the_last() {
        assert_eq!(labels(0.0), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(1_000_000.0), ["0", "0.2M", "0.4M", "0.6M", "0.8M", "1.0M"]);
        assert_eq!(labels(1_240_000_000.0), ["0", "0.5G", "1.0G", "1.5G"]);
        assert_eq!(labels(7.3), ["0", "2", "4", "6", "8"]);
        assert_eq!(labels(0.034), ["0", "0.01", "0.02", "0.03", "0.04"]);
        assert_eq!(labels(430_000.0), ["0", "100k", "200k", "300k", "400k", "500k"]);
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..10_000 {
            let largest = 10_f64.powf(random.f64() * 24.0 - 4.0);
            let scale = Scale::of(largest);
            let marks = scale.marks().count() - 1;
            assert!(scale.top() >= largest && scale.top() < largest * 2.0, "{largest}: {scale:?}");
            assert!((3..=5).contains(&marks), "{largest}: {scale:?}");
        }
    }

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().expect("a moment").as_millisecond()
    }

    fn shown(from: &str, to: &str) -> Vec<String> {
        moments(at(from), at(to), &berlin()).into_iter().map(|moment| moment.label).collect()
    }

    #[test]
    fn moments_are_round_on_local_clocks() {
        assert_eq!(
            shown("2026-11-24T09:02:00Z", "2026-11-25T09:02:00Z"),
            ["12:00", "15:00", "18:00", "21:00", "Nov 25", "03:00", "06:00", "09:00"]
        );
        assert_eq!(shown("2026-11-24T09:00:00Z", "2026-11-24T09:05:00Z").len(), 6);
        assert_eq!(shown("2026-11-24T09:00:00Z", "2026-11-24T09:00:04Z")[..2], ["10:00:00", "10:00:01"]);
        // Weeks begin on Mondays.
        assert_eq!(shown("2026-10-26T12:00:00Z", "2026-11-25T12:00:00Z"), ["Nov 2", "Nov 9", "Nov 16", "Nov 23"]);
        assert_eq!(shown("2025-11-25T12:00:00Z", "2026-11-25T12:00:00Z")[..2], ["Jan 2026", "Mar 2026"]);
        assert_eq!(shown("2026-09-27T22:00:00Z", "2026-11-24T12:00:00Z")[..2], ["Sep 28", "Oct 5"]);
    }

    #[test]
    fn days_stay_days_when_clocks_are_changed() {
        let over = moments(at("2026-10-24T22:00:00Z"), at("2026-10-25T22:59:00Z"), &berlin());
        let hours: Vec<_> =
            over.iter().map(|moment| (moment.label.as_str(), (moment.ms - over[0].ms) / 3_600_000)).collect();
        assert_eq!(hours[..4], [("Oct 25", 0), ("03:00", 4), ("06:00", 7), ("09:00", 10)]);
        let spring = moments(at("2026-03-28T23:00:00Z"), at("2026-03-29T05:00:00Z"), &berlin());
        assert!(spring.is_sorted_by(|one, other| one.ms < other.ms), "{spring:?}");
    }

    #[test]
    fn times_are_said_shortly() {
        let said = [300_000, 86_400_000, 30 * 86_400_000, 5_400_000, 90_061_000, 61_000, 12, 7_260_000].map(lasts);
        assert_eq!(said, ["5 min", "24 h", "30 d", "90 min", "25 h 01 min", "1 min 01 s", "12 ms", "121 min"]);
    }
}
