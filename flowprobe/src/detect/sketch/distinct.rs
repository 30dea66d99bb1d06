//! How many different ones there were, in a kilobyte however many.

use std::hash::Hash;

use serde::{Deserialize, Serialize};

use super::hash::stable;

/// So many are counted exactly.
const EXACT: usize = 48;

/// Registers of the sketch: a standard error of 1.04 / √1024, which is 3.3 %.
const REGISTERS: usize = 1024;

/// A count of different values: exact up to 48, beyond that a HyperLogLog sketch of 1,024 registers (Flajolet et al., 2007), whose standard
/// error is 3.3 %.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Distinct {
    /// Hashes of all of them.
    Few(Vec<u64>),
    /// The sketch, and what it comes to.
    Many(Vec<u8>, u64),
}

impl Default for Distinct {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Distinct {
    /// Counts a value, unless it was counted before.
    pub(crate) fn add(&mut self, value: &impl Hash) {
        let hash = stable(value);
        match self {
            Self::Few(seen) => {
                if seen.contains(&hash) {
                    return;
                }
                if seen.len() < EXACT {
                    seen.push(hash);
                    return;
                }
                let mut registers = vec![0; REGISTERS];
                seen.iter().for_each(|hash| _ = note(&mut registers, *hash));
                note(&mut registers, hash);
                let count = estimate(&registers);
                *self = Self::Many(registers, count);
            }
            // The more there were, the more seldom one changes anything.
            Self::Many(registers, count) => {
                if note(registers, hash) {
                    *count = estimate(registers);
                }
            }
        }
    }

    /// How many there were.
    pub(crate) fn count(&self) -> u64 {
        match self {
            Self::Few(seen) => seen.len() as u64,
            Self::Many(_, count) => *count,
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "an estimate of a count"
)]
fn estimate(registers: &[u8]) -> u64 {
    let m = REGISTERS as f64;
    let sum: f64 = registers.iter().map(|rank| 2_f64.powi(-i32::from(*rank))).sum();
    let raw = 0.7213 / (1.0 + 1.079 / m) * m * m / sum;
    let empty = registers.iter().filter(|rank| **rank == 0).count();
    // Few values: linear counting is better there.
    let count = if raw <= 2.5 * m && empty > 0 { m * (m / empty as f64).ln() } else { raw };
    count.round() as u64
}

/// Whether it changes anything.
#[expect(clippy::cast_possible_truncation, reason = "ranks are at most 55")]
fn note(registers: &mut [u8], hash: u64) -> bool {
    let index = (hash & (REGISTERS as u64 - 1)) as usize;
    let rank = ((hash >> 10) | 1 << 54).trailing_zeros() as u8 + 1;
    let is_more = rank > registers[index];
    if is_more {
        registers[index] = rank;
    }
    is_more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_exact_and_many_are_nearly() {
        let mut distinct = Distinct::default();
        let mut worst: f64 = 0.0;
        for number in 1..=200_000_u64 {
            distinct.add(&number);
            distinct.add(&(number / 2 + 1));
            if number <= 48 {
                assert_eq!(distinct.count(), number);
            }
            let error = distinct.count() as f64 / number as f64 - 1.0;
            worst = worst.max(error.abs());
        }
        assert!(worst < 0.13, "{worst}");
    }
}
