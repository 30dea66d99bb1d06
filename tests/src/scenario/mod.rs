//! Labelled scenarios: ordinary days of a [`site`] of 200 hosts ([`ordinary`]), [`attacks`] hidden in them, as an [`ipfix`] file for
//! `flowprobe replay --detect`, and the [`score`] of what it finds; and the same for logs that others have [`labelled`].
//!
//! All is made up from a [`seed`]: the same one gives the same traffic.

pub mod attacks;
pub mod ipfix;
pub mod labelled;
pub mod ordinary;
pub mod record;
pub mod score;
pub mod site;

/// Where chance begins: what `FLOWPROBE_SEED` says, else 1.
#[must_use]
pub fn seed() -> u64 {
    std::env::var("FLOWPROBE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests;
