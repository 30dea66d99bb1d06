//! Single values, the same from a flag and from a file.

use std::num::NonZeroU32;
use std::time::Duration;

use thiserror::Error;

/// A value that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("expected {expected}, found `{found}`")]
pub struct ValueError {
    /// What is allowed.
    pub expected: &'static str,
    /// What was given.
    pub found: String,
}

/// What [`duration`] allows.
pub(super) const DURATION: &str = "a time from 10ms to 1d, such as 200ms, 1.5s, 2m or 1h (a bare number is seconds)";

const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// A time: a number with a unit (ms, s, m, h, d), or a number of seconds.
///
/// # Errors
/// The text is no such time, or is shorter than 10 ms or longer than a day.
pub fn duration(text: &str) -> Result<Duration, ValueError> {
    let parsed = || {
        let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let seconds = match unit {
            "ms" => 0.001,
            "" | "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return None,
        };
        let number: f64 = number.trim().parse().ok()?;
        let time = Duration::try_from_secs_f64(number * seconds).ok()?;
        (SHORTEST..=LONGEST).contains(&time).then_some(time)
    };
    parsed().ok_or_else(|| ValueError { expected: DURATION, found: text.to_owned() })
}

/// What [`max_flows`] allows.
pub(super) const MAX_FLOWS: &str = "a number of flows from 1 to 16777216";

const MOST_FLOWS: u32 = 1 << 24;

/// A number of flows.
///
/// # Errors
/// The text is no number, or one out of range.
pub fn max_flows(text: &str) -> Result<NonZeroU32, ValueError> {
    let number: Option<NonZeroU32> = text.replace('_', "").parse().ok();
    number
        .filter(|number| number.get() <= MOST_FLOWS)
        .ok_or_else(|| ValueError { expected: MAX_FLOWS, found: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_with_and_without_units() {
        for (text, millis) in [
            ("200ms", 200),
            ("1s", 1000),
            ("0.5", 500),
            ("2", 2000),
            ("1.5m", 90_000),
            ("1h", 3_600_000),
            ("1 s", 1000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "-1s", "5 parsecs", "1ms", "2d", "nan", "1e300s", "10ms10ms"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_of_flows() {
        assert_eq!(max_flows("65_536").map(NonZeroU32::get), Ok(65_536));
        for text in ["0", "-1", "many", "16777217", "4294967296", ""] {
            assert!(max_flows(text).is_err(), "{text}");
        }
    }
}
