//! What devices are looked for, as it is set.

use std::path::PathBuf;

use serde::Deserialize;

use super::super::settings::Span;

/// What devices are looked for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct DeviceSettings {
    /// The time from the first flow in which all that is seen belongs here.
    pub learning: Span,
    /// A file of devices that may be here ([`super::Approvals::parse`]); all others are not authorised, from the first moment on.
    pub approvals: Option<PathBuf>,
    /// Makers of whom devices may be, or parts of their names; capitals do not matter. Without any, a maker that is new to the site is
    /// said.
    pub makers: Vec<String>,
    /// What to do with MAC addresses that devices make up.
    pub random_macs: RandomMacs,
}

/// What to do with MAC addresses that devices make up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RandomMacs {
    /// One finding of low severity for all of them.
    #[default]
    Fold,
    /// The same as with others.
    Each,
}

impl Default for DeviceSettings {
    fn default() -> Self {
        Self { learning: Span::hours(24), approvals: None, makers: vec![], random_macs: RandomMacs::default() }
    }
}
