//! Where names of addresses come from, as given.

use std::path::PathBuf;

use crate::enrich::{EnrichConfig, ReverseDns};

/// Settings that may or may not have been given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnrichSettings {
    /// See [`EnrichConfig::databases`].
    pub databases: Option<Vec<PathBuf>>,
    /// See [`EnrichConfig::labels`].
    pub labels: Option<Vec<PathBuf>>,
    /// See [`EnrichConfig::vendors`]; `none` for none.
    pub vendors: Option<Vec<PathBuf>>,
    /// See [`EnrichConfig::reverse_dns`].
    pub reverse_dns: Option<ReverseDns>,
}

impl EnrichSettings {
    /// These settings, with those of `base` where these are silent.
    #[must_use]
    pub fn or(self, base: Self) -> Self {
        Self {
            databases: self.databases.or(base.databases),
            labels: self.labels.or(base.labels),
            vendors: self.vendors.or(base.vendors),
            reverse_dns: self.reverse_dns.or(base.reverse_dns),
        }
    }

    /// What they mean. Whether the files can be used is seen when they are read.
    #[must_use]
    pub fn check(self) -> EnrichConfig {
        let but_none = |paths: Vec<PathBuf>| paths.into_iter().filter(|path| path.as_os_str() != "none").collect();
        EnrichConfig {
            databases: self.databases.map(but_none).unwrap_or_default(),
            labels: self.labels.map(but_none).unwrap_or_default(),
            vendors: self.vendors.map(but_none),
            reverse_dns: self.reverse_dns.unwrap_or_default(),
        }
    }
}
