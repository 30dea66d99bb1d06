//! What a detector says, and what becomes of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::flow::{Flow, Ip, Mac};

/// How bad it is if it is true, and how sure that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Low,
    /// Somebody should look.
    Medium,
    /// Somebody should look now.
    High,
    /// Something is known to be in the wrong hands.
    Critical,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        })
    }
}

/// A kind of finding.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name in configuration and outputs.
    pub name: &'static str,
    /// MITRE ATT&CK technique, where one fits.
    pub technique: Option<&'static str>,
    /// A finding ends when nothing was seen of it for so long.
    pub quiet_ms: i64,
}

/// Whom or what a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Subject {
    /// A host.
    Host(Ip),
    /// A network card.
    Mac(Mac),
    /// An interface, by name.
    Interface(String),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(ip) => ip.fmt(f),
            Self::Mac(mac) => mac.fmt(f),
            Self::Interface(name) => f.write_str(name),
        }
    }
}

impl From<Ip> for Subject {
    fn from(ip: Ip) -> Self {
        Self::Host(ip)
    }
}

/// What a detector has seen, once more or for the first time.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// The kind.
    pub rule: &'static Rule,
    /// By what is seen up to here.
    pub severity: Severity,
    /// Who does it, or whom it is about. Sightings of one rule about one subject and one matter are one finding.
    pub subject: Subject,
    /// The matter: what tells two findings about the same subject apart, such as `tcp/445`. May be empty.
    pub matter: String,
    /// A headline without a full stop.
    pub title: String,
    /// The whole of it in sentences, with the numbers up to here.
    pub explanation: String,
    /// Who else is concerned, such as whom a scan met; a sighting names those that are new, or some.
    pub peers: Vec<Ip>,
    /// When it began, milliseconds since 1970 UTC.
    pub first_ms: i64,
    /// When it was last seen.
    pub last_ms: i64,
    /// Some of the flows.
    pub evidence: Vec<Flow>,
}

/// Where detectors put what they see.
pub(crate) type Seen = Vec<Sighting>;
