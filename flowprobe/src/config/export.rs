//! What the Exporting Process is told: where records go, as what, and what is kept for collectors that are away.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::{ConfigError, Target, Transport, values};
use crate::export::Format;
use crate::export::elements::{Extras, Fields, FieldsError};
use crate::export::transport::TlsClient;
use crate::record::FlowRecord;

/// Where records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportConfig {
    /// Each of them gets all records.
    pub targets: Vec<Target>,
    /// In which observation domains they are.
    pub domain: DomainBy,
    /// Where messages are kept for collectors that are away.
    pub spool: SpoolConfig,
    /// Which elements those get that have no choice of their own.
    pub fields: Fields,
}

/// In which observation domain a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DomainBy {
    /// All in this one.
    Number(u32),
    /// In that of the interface where its flow was metered, whose number is the interface's index. What is about the whole daemon
    /// is in domain 0, which RFC 7011 section 3.1 has for such.
    Interface,
}

impl DomainBy {
    /// The domain of a record.
    #[must_use]
    #[inline]
    pub const fn of(self, record: &FlowRecord) -> u32 {
        match self {
            Self::Number(number) => number,
            Self::Interface => record.key.ifindex,
        }
    }

    /// The domain of options records.
    #[must_use]
    pub const fn of_options(self) -> u32 {
        match self {
            Self::Number(number) => number,
            Self::Interface => 0,
        }
    }
}

impl Default for DomainBy {
    fn default() -> Self {
        Self::Number(1)
    }
}

impl FromStr for DomainBy {
    type Err = values::ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "interface" {
            return Ok(Self::Interface);
        }
        text.parse()
            .map(Self::Number)
            .map_err(|_| values::ValueError { expected: values::DOMAIN, found: text.to_owned() })
    }
}

/// As the file has it.
impl fmt::Display for DomainBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Interface => f.write_str("\"interface\""),
        }
    }
}

/// Where messages are kept for collectors that are away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolConfig {
    /// The folder that has one for each collector; without, a little is kept in memory.
    pub folder: Option<PathBuf>,
    /// Whether the folder was asked for: then it has to be had.
    pub is_wanted: bool,
    /// Octets on disk for each collector at most.
    pub most_octets: u64,
    /// Records a second that go out beyond those that come in, when a collector is back.
    pub catch_up: u32,
}

const DEFAULT_FOLDER: &str = "/var/lib/flowprobe/spool";
const DEFAULT_MOST: u64 = 1 << 30;
const DEFAULT_CATCH_UP: u32 = 200_000;

impl Default for SpoolConfig {
    fn default() -> Self {
        let folder = Some(PathBuf::from(DEFAULT_FOLDER));
        Self { folder, is_wanted: false, most_octets: DEFAULT_MOST, catch_up: DEFAULT_CATCH_UP }
    }
}

impl SpoolConfig {
    fn text(&self) -> String {
        self.folder.as_ref().map_or_else(|| "none".to_owned(), |folder| folder.display().to_string())
    }
}

/// Settings that may or may not have been given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportSettings {
    /// See [`ExportConfig::targets`].
    pub targets: Option<Vec<Target>>,
    /// Which elements collectors get that have no choice of their own.
    pub fields: Option<Fields>,
    /// See [`ExportConfig::domain`].
    pub domain: Option<DomainBy>,
    /// See [`SpoolConfig::folder`]; `none` for none.
    pub spool: Option<PathBuf>,
    /// See [`SpoolConfig::most_octets`].
    pub spool_size: Option<u64>,
    /// See [`SpoolConfig::catch_up`].
    pub catch_up: Option<u32>,
}

impl ExportSettings {
    /// These settings, with those of `base` where these are silent.
    #[must_use]
    pub fn or(self, base: Self) -> Self {
        Self {
            targets: self.targets.or(base.targets),
            fields: self.fields.or(base.fields),
            domain: self.domain.or(base.domain),
            spool: self.spool.or(base.spool),
            spool_size: self.spool_size.or(base.spool_size),
            catch_up: self.catch_up.or(base.catch_up),
        }
    }

    /// What they mean for records that say this much.
    ///
    /// # Errors
    /// A collector is named twice, its certificates cannot be used, or it is to get what records do not say or its format
    /// cannot.
    pub fn check(self, extras: Extras) -> Result<ExportConfig, ConfigError> {
        let fields = self.fields.unwrap_or_default();
        let targets = self.targets.unwrap_or_default().into_iter().map(|target| target.with_fields(&fields));
        let targets: Vec<Target> = targets.collect();
        let all: Vec<_> = targets.iter().flat_map(Target::collectors).collect();
        for (position, collector) in all.iter().enumerate() {
            let name = collector.to_string();
            if all[..position].iter().any(|other| other.to_string() == name) {
                return Err(ConfigError::RepeatedCollector { name });
            }
            let interval = extras.sampling.interval();
            if collector.format == Format::NetFlow5 && interval > Format::RAREST_OF_NETFLOW5 {
                return Err(ConfigError::TooRareForNetFlow5 { name, interval });
            }
            if let Transport::Tls(files) = &collector.transport {
                // Read once more when it is used; what is wrong with them is said before anything starts.
                TlsClient::new(files, &collector.host)
                    .map_err(|error| ConfigError::Tls { name: name.clone(), error })?;
            }
            if let Some(fields) = &collector.fields {
                let cannot = |error: FieldsError| ConfigError::Fields { name: name.clone(), error };
                fields.check(collector.format, extras).map_err(cannot)?;
            }
        }
        let default = SpoolConfig::default();
        let spool = SpoolConfig {
            is_wanted: self.spool.is_some(),
            folder: self.spool.map_or(default.folder, |folder| (folder.as_os_str() != "none").then_some(folder)),
            most_octets: self.spool_size.unwrap_or(default.most_octets),
            catch_up: self.catch_up.unwrap_or(default.catch_up),
        };
        Ok(ExportConfig { targets, domain: self.domain.unwrap_or_default(), spool, fields })
    }
}

/// In the form of the file.
impl fmt::Display for ExportConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let targets: Vec<String> = self.targets.iter().map(|target| target.text(&self.fields)).collect();
        writeln!(f, "collectors = {targets:?}")?;
        writeln!(f, "fields = {}", self.fields)?;
        writeln!(f, "observation-domain = {}", self.domain)?;
        writeln!(f, "spool = {:?}", self.spool.text())?;
        writeln!(f, "spool-size = {}", self.spool.most_octets)?;
        write!(f, "catch-up = {}", self.spool.catch_up)
    }
}
