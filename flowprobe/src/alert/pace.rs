//! When to try again.

use std::time::Duration;

/// Times of a sink whose other side may fail. Tests have shorter ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    /// The wait after the first failure; it doubles with each further one.
    pub(super) first: Duration,
    /// The longest wait.
    pub(super) longest: Duration,
    /// How long one attempt may take.
    pub(super) patience: Duration,
    /// How long a change is tried before it is given up.
    pub(super) keeps: Duration,
}

impl Pace {
    /// Of sinks over a network.
    pub(super) const USUAL: Self = Self {
        first: Duration::from_secs(1),
        longest: Duration::from_secs(300),
        patience: Duration::from_secs(10),
        keeps: Duration::from_secs(24 * 3600),
    };

    /// The wait after so many failures in a row: a random one from the upper half, so that many senders do not come back at once.
    pub(super) fn wait(&self, failures: u32) -> Duration {
        let doubled = self.first.saturating_mul(1 << failures.saturating_sub(1).min(20));
        doubled.min(self.longest).mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        for (failures, most) in [(1, 1), (2, 2), (3, 4), (9, 256), (10, 300), (u32::MAX, 300)] {
            let most = Duration::from_secs(most);
            for _ in 0..100 {
                let wait = Pace::USUAL.wait(failures);
                assert!(wait >= most / 2 && wait <= most, "{failures}: {wait:?}");
            }
        }
    }
}
