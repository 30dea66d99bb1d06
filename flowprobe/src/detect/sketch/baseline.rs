//! What is usual by hour of week: a robust location and spread of the logarithm of a volume, in less than a kilobyte.

use serde::{Deserialize, Serialize};

/// The time that one value is of.
pub(crate) const STEP_MS: i64 = 300_000;

/// Steps in an hour.
pub(crate) const HOUR: i64 = 12;

/// Octets that are as good as none: what is added to a volume before its logarithm is taken.
const NOTHING: f64 = 65_536.0;

/// Values after which an hour of the week is known: two weeks; an hour of the day: three days; and the whole: three days.
const WEEK_KNOWN: u8 = 24;
const DAY_KNOWN: u8 = 36;
const ALL_KNOWN: u32 = 3 * 24 * 12;

/// The least weight of a new value, so that what is usual follows a change of 20 times in seven weeks.
const LEAST_GAIN: f32 = 0.06;

/// A volume as a number of doublings of 64 KiB.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "a logarithm")]
pub(crate) fn level(octets: u64) -> f32 {
    ((octets as f64 + NOTHING) / NOTHING).log2() as f32
}

/// The volume of a level.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below 2 to the power of 64")]
pub(crate) fn octets_of(level: f32) -> u64 {
    (f64::from(level).exp2() * NOTHING - NOTHING).max(0.0) as u64
}

/// Location in 1/256 of a doubling, mean deviation in 1/32, and how many values there were, up to 255.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Cell(u16, u8, u8);

impl Cell {
    /// Moves towards a value, by no more than if it lay three deviations away: the odd one hardly counts.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "levels are at most 48, deviations are cut at 7.9"
    )]
    fn add(&mut self, level: f32) {
        let (mut location, mut spread) = (self.location(), self.spread());
        if self.2 == 0 {
            (location, spread) = (level, 1.0);
        } else {
            let gain = (1.0 / (f32::from(self.2) + 1.0)).max(LEAST_GAIN);
            let off = (level - location).clamp(-3.0 * spread, 3.0 * spread);
            location += gain * off;
            spread += gain * (off.abs() - spread);
        }
        self.0 = (location * 256.0).round().max(0.0) as u16;
        self.1 = (spread.clamp(0.125, 7.9) * 32.0).round() as u8;
        self.2 = self.2.saturating_add(1);
    }

    fn location(self) -> f32 {
        f32::from(self.0) / 256.0
    }

    fn spread(self) -> f32 {
        f32::from(self.1) / 32.0
    }
}

/// By what something is usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// This hour of the week.
    Week,
    /// This hour on other days.
    Day,
    /// All hours.
    All,
}

/// What is usual.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Usual {
    /// Level.
    pub(crate) level: f32,
    /// Mean deviation of levels.
    pub(crate) spread: f32,
    pub(crate) by: By,
}

/// What is usual by hour of week, by hour of day, and at all: 772 octets once there was something.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Baseline {
    /// 168, 24 and 1.
    cells: Vec<Cell>,
    steps: u32,
}

impl Baseline {
    /// Learns the volume of a step.
    pub(crate) fn learn(&mut self, step: i64, level: f32) {
        if self.cells.is_empty() {
            self.cells = vec![Cell::default(); 168 + 24 + 1];
        }
        self.steps = self.steps.saturating_add(1);
        let (week, day) = places(step);
        for place in [week, day, 192] {
            if let Some(cell) = self.cells.get_mut(place) {
                cell.add(level);
            }
        }
    }

    /// What is usual at a step: by this hour of the week, or the same hour of other days, or all hours, whichever is known.
    pub(crate) fn usual(&self, step: i64) -> Option<Usual> {
        let (week, day) = places(step);
        let cell = |place: usize| self.cells.get(place).copied().unwrap_or_default();
        let (cell, by) = if cell(week).2 >= WEEK_KNOWN {
            (cell(week), By::Week)
        } else if cell(day).2 >= DAY_KNOWN {
            (cell(day), By::Day)
        } else if self.steps >= ALL_KNOWN {
            (cell(192), By::All)
        } else {
            return None;
        };
        Some(Usual { level: cell.location(), spread: cell.spread(), by })
    }

    /// The highest that is usual in this hour or those next to it: what comes an hour earlier than it used to is no wonder, nor is the
    /// hour that clocks are changed by.
    pub(crate) fn usual_around(&self, step: i64) -> Option<Usual> {
        let here = self.usual(step)?;
        let near = [step - HOUR, step + HOUR].into_iter().filter_map(|step| self.usual(step)).map(|usual| usual.level);
        Some(Usual { level: near.fold(here.level, f32::max), ..here })
    }
}

/// The cells of an hour of the week and of the day, by UTC.
fn places(step: i64) -> (usize, usize) {
    (hour_of(step, 168), 168 + hour_of(step, 24))
}

/// Which of so many hours a step is in, by UTC.
pub(crate) fn hour_of(step: i64, hours: i64) -> usize {
    usize::try_from(step.div_euclid(HOUR).rem_euclid(hours)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_odd_value_hardly_counts_and_a_new_habit_does() {
        let mut baseline = Baseline::default();
        let at = |day: i64, n: i64| day * 288 + 36 + n;
        for day in 0..21 {
            for n in 0..12 {
                // One step in twelve has a thousand times as much.
                baseline.learn(
                    at(day, n),
                    level(if n == 5 { 10_000_000_000 } else { 10_000_000 + n.unsigned_abs() * 100_000 }),
                );
            }
        }
        let usual = baseline.usual(at(22, 0)).expect("known");
        assert!((7_000_000..16_000_000).contains(&octets_of(usual.level)), "{}", octets_of(usual.level));
        assert_eq!((usual.by, baseline.usual(at(22, 40)).map(|usual| usual.by)), (By::Week, None));
        for day in 21..70 {
            (0..12).for_each(|n| baseline.learn(at(day, n), level(200_000_000)));
        }
        let usual = baseline.usual(at(70, 0)).expect("known");
        assert!(octets_of(usual.level) > 150_000_000, "{}", octets_of(usual.level));
    }

    #[test]
    fn levels_are_doublings() {
        assert!(level(0) == 0.0 && (level(20_000_000) - level(10_000_000) - 1.0).abs() < 0.01);
        assert!(octets_of(level(123_456_789)).abs_diff(123_456_789) < 1_000_000);
    }
}
