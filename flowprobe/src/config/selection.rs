//! Which packets are metered, and how deep they are looked into: the same for interfaces and for captures.

use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;

use clap::ValueEnum as _;
use flowprobe_ebpf::{Filter, Selection, Tunnels};

use super::ConfigError;
use crate::filter::{self, FilterError};
use crate::record::SamplingRate;

/// Settings of the selection that may or may not have been given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SelectionSettings {
    /// Tunnels to open.
    pub tunnels: Option<Tunnels>,
    /// One of how many packets or flows is metered.
    pub sample: Option<NonZeroU32>,
    /// What sampling chooses.
    pub sample_by: Option<SampleBy>,
    /// Which packets are wanted at all.
    pub filter: Option<PacketFilter>,
}

/// A filter, and the expression that it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketFilter {
    text: String,
    compiled: Arc<Filter>,
}

impl FromStr for PacketFilter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        Ok(Self { text: text.to_owned(), compiled: Arc::new(filter::compile(text)?) })
    }
}

impl fmt::Display for PacketFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What sampling chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum SampleBy {
    /// Each packet by chance.
    #[default]
    Packets,
    /// Flows, with their answers, by a hash: all their packets or none.
    Flows,
}

/// The selection, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectionConfig {
    /// Tunnels to open.
    pub tunnels: Tunnels,
    /// Which packets are metered.
    pub sampling: SamplingRate,
    /// Which packets are wanted at all.
    pub filter: Option<PacketFilter>,
}

impl SelectionSettings {
    /// These settings, with those of `base` where these are silent.
    #[must_use]
    pub fn or(self, base: Self) -> Self {
        Self {
            tunnels: self.tunnels.or(base.tunnels),
            sample: self.sample.or(base.sample),
            sample_by: self.sample_by.or(base.sample_by),
            filter: self.filter.or(base.filter),
        }
    }

    /// What the settings mean.
    ///
    /// # Errors
    /// It is said what sampling chooses, and not of how many.
    pub fn check(self) -> Result<SelectionConfig, ConfigError> {
        if self.sample.is_none() && self.sample_by.is_some() {
            return Err(ConfigError::SampleOfHowMany);
        }
        let sampling = match (self.sample, self.sample_by.unwrap_or_default()) {
            (None | Some(NonZeroU32::MIN), _) => SamplingRate::All,
            (Some(interval), SampleBy::Packets) => SamplingRate::Packets(interval),
            (Some(interval), SampleBy::Flows) => SamplingRate::Flows(interval),
        };
        Ok(SelectionConfig { tunnels: self.tunnels.unwrap_or_default(), sampling, filter: self.filter })
    }
}

impl SelectionConfig {
    /// Remarks on which packets are metered, to follow what is metered in a title; nothing where all are.
    #[must_use]
    pub fn remarks(&self) -> Arc<str> {
        let filtered = self.filter.as_ref().is_some_and(|filter| !filter.text.trim().is_empty());
        format!("{}{}", if filtered { " · filtered" } else { "" }, self.sampling).into()
    }

    /// The same as the programs and the replay are told. `seed` is mixed into the hash that chooses flows.
    #[must_use]
    pub fn seeded(&self, seed: u32) -> Selection {
        let filter = self.filter.as_ref().map_or_else(Filter::default, |filter| *filter.compiled);
        Selection { filter, sampling: self.sampling.seeded(seed) }
    }
}

/// A number that differs from run to run. The standard library draws the keys of its hash tables from the system.
#[must_use]
pub fn random_seed() -> u32 {
    let [.., a, b, c, d] = RandomState::new().build_hasher().finish().to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// In the form of the configuration file.
impl fmt::Display for SelectionConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sample, by) = match self.sampling {
            SamplingRate::All => (1, SampleBy::default()),
            SamplingRate::Packets(interval) => (interval.get(), SampleBy::Packets),
            SamplingRate::Flows(interval) => (interval.get(), SampleBy::Flows),
        };
        let by = by.to_possible_value();
        let filter = self.filter.as_ref().map_or("", |filter| &filter.text);
        writeln!(f, "filter = {}", toml::Value::from(filter))?;
        writeln!(f, "decapsulate = {:?}", names_of(self.tunnels))?;
        writeln!(f, "sample = {sample}")?;
        write!(f, "sample-by = {:?}", by.as_ref().map_or("", |by| by.get_name()))
    }
}

/// The shortest list of names that means `tunnels`.
fn names_of(tunnels: Tunnels) -> Vec<&'static str> {
    let mut left = tunnels;
    let mut names = Vec::new();
    let mut known = Tunnels::NAMES;
    known.sort_by_key(|(_, meant)| std::cmp::Reverse(meant.0.count_ones()));
    for (name, meant) in known {
        if meant != Tunnels::NONE && left.0 & meant.0 == meant.0 {
            names.push(name);
            left.0 &= !meant.0;
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tunnels_are_named_as_shortly_as_can_be() {
        assert_eq!(names_of(Tunnels::NONE), Vec::<&str>::new());
        assert_eq!(names_of(Tunnels::ALL), ["all"]);
        assert_eq!(names_of(Tunnels::IP_IN_IP.and(Tunnels::GRE)), ["ipip", "gre"]);
        assert_eq!(names_of(Tunnels::V6_IN_V4), ["6in4"]);
    }

    #[test]
    fn sampling_one_in_one_is_none() {
        let settings = |sample| SelectionSettings { sample: NonZeroU32::new(sample), ..SelectionSettings::default() };
        let sampling = |sample| settings(sample).check().map(|checked| checked.sampling).expect("right");
        assert_eq!(sampling(1), SamplingRate::All);
        assert_eq!(sampling(10).interval(), 10);
        let alone = SelectionSettings { sample_by: Some(SampleBy::Flows), ..SelectionSettings::default() };
        assert!(matches!(alone.check(), Err(ConfigError::SampleOfHowMany)));
    }
}
