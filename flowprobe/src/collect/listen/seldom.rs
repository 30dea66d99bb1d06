//! Remarks that anybody on the network can bring about are made seldom, so that they do not fill the log.

use std::fmt;
use std::time::{Duration, Instant};

/// Time from one remark of a kind to the next.
const INTERVAL: Duration = Duration::from_secs(10);

/// When a remark of one kind was made last.
#[derive(Debug, Default)]
pub(super) struct Seldom {
    said: Option<Instant>,
    unsaid: u64,
}

impl Seldom {
    /// What to add to the remark, if it is to be made: how often it was not.
    pub(super) fn due(&mut self, now: Instant) -> Option<Unsaid> {
        if self.said.is_some_and(|said| now.duration_since(said) < INTERVAL) {
            self.unsaid += 1;
            return None;
        }
        self.said = Some(now);
        Some(Unsaid(std::mem::take(&mut self.unsaid)))
    }
}

/// How often a remark was not made.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unsaid(u64);

impl fmt::Display for Unsaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            unsaid => write!(f, " (and {unsaid} more like it before)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remark_is_made_at_once_then_seldom() {
        let (mut seldom, begin) = (Seldom::default(), Instant::now());
        assert_eq!(seldom.due(begin).map(|unsaid| unsaid.to_string()).as_deref(), Some(""));
        for millis in [0, 5_000, 9_999] {
            assert_eq!(seldom.due(begin + Duration::from_millis(millis)), None);
        }
        assert_eq!(
            seldom.due(begin + INTERVAL).map(|unsaid| unsaid.to_string()).as_deref(),
            Some(" (and 3 more like it before)")
        );
        assert_eq!(seldom.due(begin + 2 * INTERVAL), Some(Unsaid(0)));
    }
}
