//! What the daemon is told: a file ([`file`]) and flags become one checked [`Config`]. Later code never checks again.

mod collector;
mod enrich;
mod export;
mod file;
mod findings;
mod listen;
mod memory;
mod remote;
mod selection;
mod values;
mod web;

use std::fmt;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum as _;
use flowprobe_ebpf::Tunnels;
use thiserror::Error;

use crate::enrich::EnrichConfig;
use crate::export::elements::{Extras, FieldsError};
use crate::export::transport::TlsError;
use crate::kernel;
use crate::probe::Scope;
use crate::status::StatusSocket;
use crate::store::{Retention, StoreConfig};
use crate::table::TableConfig;
pub use collector::{Collector, CollectorError, Target, Transport};
pub use enrich::EnrichSettings;
pub use export::{DomainBy, ExportConfig, ExportSettings, SpoolConfig};
pub use file::FileError;
pub use findings::{FindingsConfig, FindingsFileError, read as read_findings};
pub use listen::{Listen, ListenTransport, ListenUrlError, Relay};
pub use memory::MemoryBound;
pub use remote::{Credentials, CredentialsError, Remote, RemoteUrlError};
pub use selection::{PacketFilter, SampleBy, SelectionConfig, SelectionSettings, random_seed};
pub use values::{ValueError, catch_up, duration, fields, max_flows, network, sample, size, span, tunnels};
pub use web::{DEFAULT_ADDRESS, Token, WebAddress, WebConfig, WebError, WebSettings, WebTls};

/// The daemon's configuration, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Interfaces to meter, by name. Empty where only [`Config::listen`] was given.
    pub interfaces: Vec<String>,
    /// Where NetFlow and IPFIX of others are received.
    pub listen: Vec<Listen>,
    /// What collectors get of it.
    pub relay: Relay,
    /// How the programs are attached.
    pub mode: AttachMode,
    /// Put the interfaces into promiscuous mode.
    pub promisc: bool,
    /// What is looked at beyond what comes in, and of it beyond the outermost headers.
    pub scope: Scope,
    /// Which packets are metered.
    pub selection: SelectionConfig,
    /// Time from drain to drain, and from one update of the terminal to the next.
    pub interval: Duration,
    /// When records leave the table. Its `max_flows` is the size of each kernel flow map too.
    pub table: TableConfig,
    /// Where records are sent, and as what.
    pub export: ExportConfig,
    /// Where history is kept.
    pub store: StoreConfig,
    /// Where names of addresses come from.
    pub enrich: EnrichConfig,
    /// Where `flowprobe status` and `flowprobe query` are answered.
    pub status_socket: StatusSocket,
    /// Where the dashboard is.
    pub web: WebConfig,
    /// Whether findings are looked for, and how.
    pub findings: FindingsConfig,
    /// What standard output gets.
    pub output: OutputMode,
}

impl Config {
    /// What records say beyond what every record says.
    #[must_use]
    pub fn extras(&self) -> Extras {
        Extras {
            tunnels: self.scope.tunnels != Tunnels::NONE,
            next_hops: self.scope.routes,
            as_numbers: !self.enrich.databases.is_empty(),
            sampling: self.selection.sampling,
            biflow: self.table.biflow,
        }
    }
}

/// How the kernel programs are attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum AttachMode {
    /// Native XDP where the driver has it and the interface is free, else tc.
    #[default]
    Auto,
    /// XDP in the driver, or fail.
    Native,
    /// tc ingress: tcx from Linux 6.6 on, clsact before.
    Tc,
    /// XDP on socket buffers. It sees what the driver or GRO has coalesced as one packet.
    Generic,
}

/// What standard output gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutputMode {
    /// A summary at each interval.
    #[default]
    Summary,
    /// One JSON object a line.
    Json,
    /// Nothing.
    Quiet,
}

impl fmt::Display for OutputMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Summary => "summary",
            Self::Json => "json",
            Self::Quiet => "quiet",
        })
    }
}

/// Settings that may or may not have been given, by flags or by a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// See [`Config::interfaces`].
    pub interfaces: Option<Vec<String>>,
    /// See [`Config::listen`].
    pub listen: Option<Vec<Listen>>,
    /// See [`Config::relay`].
    pub relay: Option<Relay>,
    /// See [`Config::mode`].
    pub mode: Option<AttachMode>,
    /// See [`Config::promisc`].
    pub promisc: Option<bool>,
    /// See [`Scope::egress`].
    pub egress: Option<bool>,
    /// See [`Scope::routes`].
    pub next_hop: Option<bool>,
    /// What packets are metered.
    pub selection: SelectionSettings,
    /// See [`Config::interval`].
    pub interval: Option<Duration>,
    /// See [`TableConfig::idle_timeout`].
    pub idle_timeout: Option<Duration>,
    /// See [`TableConfig::active_timeout`].
    pub active_timeout: Option<Duration>,
    /// See [`TableConfig::max_flows`].
    pub max_flows: Option<NonZeroU32>,
    /// See [`TableConfig::biflow`].
    pub biflow: Option<bool>,
    /// Where records are sent.
    pub export: ExportSettings,
    /// See [`StoreConfig::folder`]; `none` for none.
    pub store: Option<PathBuf>,
    /// See [`crate::store::Retention::age`].
    pub store_age: Option<Duration>,
    /// See [`crate::store::Retention::octets`].
    pub store_size: Option<u64>,
    /// See [`StoreConfig::remote`].
    pub store_remote: Option<Remote>,
    /// Where names of addresses come from.
    pub enrich: EnrichSettings,
    /// See [`Config::status_socket`].
    pub status_socket: Option<StatusSocket>,
    /// Where the dashboard is.
    pub web: WebSettings,
    /// See [`FindingsConfig::path`]; `none` for no findings.
    pub findings: Option<PathBuf>,
    /// See [`Config::output`].
    pub output: Option<OutputMode>,
}

impl Settings {
    /// Settings from a TOML file.
    ///
    /// # Errors
    /// The file cannot be read, or says something that it may not.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })?;
        file::parse(path, &text).map_err(ConfigError::File)
    }

    /// These settings, with those of `base` where these are silent.
    #[must_use]
    pub fn or(self, base: Self) -> Self {
        Self {
            interfaces: self.interfaces.or(base.interfaces),
            listen: self.listen.or(base.listen),
            relay: self.relay.or(base.relay),
            mode: self.mode.or(base.mode),
            promisc: self.promisc.or(base.promisc),
            egress: self.egress.or(base.egress),
            next_hop: self.next_hop.or(base.next_hop),
            selection: self.selection.or(base.selection),
            interval: self.interval.or(base.interval),
            idle_timeout: self.idle_timeout.or(base.idle_timeout),
            active_timeout: self.active_timeout.or(base.active_timeout),
            max_flows: self.max_flows.or(base.max_flows),
            biflow: self.biflow.or(base.biflow),
            export: self.export.or(base.export),
            store: self.store.or(base.store),
            store_age: self.store_age.or(base.store_age),
            store_size: self.store_size.or(base.store_size),
            store_remote: self.store_remote.or(base.store_remote),
            enrich: self.enrich.or(base.enrich),
            status_socket: self.status_socket.or(base.status_socket),
            web: self.web.or(base.web),
            findings: self.findings.or(base.findings),
            output: self.output.or(base.output),
        }
    }

    /// The configuration that these settings mean on this machine: interfaces must exist. Without any, the one with the default
    /// route is taken, unless there is something to listen to instead.
    ///
    /// # Errors
    /// An interface that does not exist or is named twice; no interface named, nothing to listen to and no default route.
    pub fn check(self) -> Result<Config, ConfigError> {
        self.check_beside(&[])
    }

    /// The same while the interfaces `metered` are metered, which need not exist at the moment.
    ///
    /// # Errors
    /// As [`Settings::check`].
    pub fn check_beside(self, metered: &[String]) -> Result<Config, ConfigError> {
        let table = TableConfig::default();
        let listen = self.listen.unwrap_or_default();
        let interfaces = match self.interfaces {
            Some(names) if !names.is_empty() => names,
            _ if !listen.is_empty() => Vec::new(),
            _ if default_route_interface().is_none() && !metered.is_empty() => metered.to_vec(),
            _ => vec![default_route_interface().ok_or_else(|| ConfigError::NoInterface { existing: existing() })?],
        };
        for (position, name) in interfaces.iter().enumerate() {
            if kernel::interface_index(name).is_none() && !metered.contains(name) {
                return Err(ConfigError::UnknownInterface { name: name.clone(), existing: existing() });
            }
            if interfaces[..position].contains(name) {
                return Err(ConfigError::RepeatedInterface { name: name.clone() });
            }
        }
        let selection = self.selection.check()?;
        let (sampling, biflow) = (selection.sampling, self.biflow.unwrap_or(false));
        let scope = Scope {
            tunnels: selection.tunnels,
            egress: self.egress.unwrap_or(false),
            routes: self.next_hop.unwrap_or(false),
        };
        let tunnels = scope.tunnels != Tunnels::NONE;
        let enrich = self.enrich.check();
        let as_numbers = !enrich.databases.is_empty();
        let export = self.export.check(Extras { tunnels, next_hops: scope.routes, as_numbers, sampling, biflow })?;
        let relay = self.relay.unwrap_or_default();
        let history = StoreConfig::default();
        let store = StoreConfig {
            is_wanted: self.store.is_some() || self.store_remote.is_some(),
            folder: self.store.map_or(history.folder, |folder| (folder.as_os_str() != "none").then_some(folder)),
            retention: Retention {
                age: self.store_age.unwrap_or(history.retention.age),
                octets: self.store_size.unwrap_or(history.retention.octets),
            },
            remote: self.store_remote,
        };
        if let Some(remote) = &store.remote {
            if store.folder.is_none() {
                return Err(ConfigError::RemoteWithoutStore { name: remote.name() });
            }
            remote.check()?;
        }
        listen::check(&listen, relay, &export.targets)?;
        Ok(Config {
            interfaces,
            listen,
            relay,
            scope,
            selection,
            mode: self.mode.unwrap_or_default(),
            promisc: self.promisc.unwrap_or(false),
            interval: self.interval.unwrap_or(DEFAULT_INTERVAL),
            table: TableConfig {
                idle_timeout: self.idle_timeout.unwrap_or(table.idle_timeout),
                active_timeout: self.active_timeout.unwrap_or(table.active_timeout),
                max_flows: self.max_flows.unwrap_or(table.max_flows),
                sampling,
                biflow,
            },
            export,
            store,
            enrich,
            status_socket: self.status_socket.unwrap_or_default(),
            web: self.web.check()?,
            findings: FindingsConfig::of(self.findings)?,
            output: self.output.unwrap_or_default(),
        })
    }
}

/// The configuration as `check-config` shows it: in the form of the file.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = self.mode.to_possible_value();
        writeln!(f, "interfaces = {:?}", self.interfaces)?;
        if !self.listen.is_empty() {
            writeln!(f, "listen = {:?}", self.listen.iter().map(Listen::url).collect::<Vec<_>>())?;
            writeln!(f, "relay = \"{}\"", self.relay.name())?;
        }
        writeln!(f, "{}", self.export)?;
        writeln!(f, "mode = {:?}", mode.as_ref().map_or("", |mode| mode.get_name()))?;
        writeln!(f, "promisc = {}", self.promisc)?;
        writeln!(f, "egress = {}", self.scope.egress)?;
        writeln!(f, "next-hop = {}", self.scope.routes)?;
        writeln!(f, "{}", self.selection)?;
        writeln!(f, "interval = \"{:?}\"", self.interval)?;
        writeln!(f, "idle-timeout = \"{:?}\"", self.table.idle_timeout)?;
        writeln!(f, "active-timeout = \"{:?}\"", self.table.active_timeout)?;
        writeln!(f, "max-flows = {}", self.table.max_flows)?;
        writeln!(f, "biflow = {}", self.table.biflow)?;
        writeln!(f, "{}", self.store)?;
        writeln!(f, "{}", self.enrich)?;
        writeln!(f, "status-socket = {:?}", self.status_socket.to_string())?;
        writeln!(f, "{}", self.web)?;
        writeln!(f, "{}", self.findings)?;
        writeln!(f, "output = \"{}\"", self.output)?;
        write!(f, "# {}", MemoryBound::of(self))
    }
}

const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The file says something that it may not.
    #[error(transparent)]
    File(FileError),
    /// The file of the detectors cannot be used.
    #[error(transparent)]
    Findings(#[from] FindingsFileError),
    /// No such interface.
    #[error("there is no interface `{name}`; those that exist are: {existing}")]
    UnknownInterface {
        /// The name given.
        name: String,
        /// The names that exist.
        existing: String,
    },
    /// An interface named twice would be metered twice.
    #[error("the interface `{name}` is named twice")]
    RepeatedInterface {
        /// Its name.
        name: String,
    },
    /// A collector named twice would get everything twice.
    #[error("the collector {name} is named twice")]
    RepeatedCollector {
        /// Its URL.
        name: String,
    },
    /// Two sockets cannot have one address.
    #[error("what is to be listened on, {name}, is that of {other} already{}", if name == other { "" } else { ", which is every address" })]
    RepeatedListener {
        /// Its URL.
        name: String,
        /// That of the one before it.
        other: String,
    },
    /// Certificates or key for exporters cannot be used.
    #[error("cannot listen on {name}: {error}")]
    ListenerTls {
        /// Its URL.
        name: String,
        /// What is wrong with them.
        error: Box<TlsError>,
    },
    /// What goes elsewhere is on disk before.
    #[error("history cannot go to {name} with `store = \"none\"`: it is kept in a folder before")]
    RemoteWithoutStore {
        /// Where it is to go.
        name: String,
    },
    /// The keys for where history goes cannot be had.
    #[error("history cannot go to {name}: {error}")]
    RemoteKeys {
        /// Where it is to go.
        name: String,
        /// What is wrong with them.
        error: CredentialsError,
    },
    /// There is no dashboard like this.
    #[error(transparent)]
    Web(#[from] WebError),
    /// Certificates for where history goes cannot be used.
    #[error("history cannot go to {name}: {error}")]
    RemoteTls {
        /// Where it is to go.
        name: String,
        /// What is wrong with them.
        error: Box<TlsError>,
    },
    /// A datagram in a datagram.
    #[error(
        "the collector {name}: with `relay = \"datagrams\"` it has to be one of tcp, tls or file: what came as a whole datagram \
         and is put into another is too long for the path"
    )]
    RelayedDatagrams {
        /// Its URL.
        name: String,
    },
    /// A collector cannot get what it is to get.
    #[error("the collector {name}: fields: {error}")]
    Fields {
        /// Its URL.
        name: String,
        /// What it cannot get.
        error: FieldsError,
    },
    /// A collector's certificates or key cannot be used.
    #[error("cannot use the collector {name}: {error}")]
    Tls {
        /// Its URL.
        name: String,
        /// What is wrong with them.
        error: TlsError,
    },
    /// The field for it has 14 bits.
    #[error("the collector {name}: NetFlow v5 cannot say that one of {interval} was sampled; one of 16383 is the most")]
    TooRareForNetFlow5 {
        /// Its URL.
        name: String,
        /// Of how many.
        interval: u32,
    },
    /// Sampling of one of how many?
    #[error("what is sampled is given, but not one of how many: add --sample, or `sample` in the file, such as 1:100")]
    SampleOfHowMany,
    /// None given, none to be guessed.
    #[error(
        "no interface has the default route: name one with -i, or exporters' messages with --listen; those that exist are: {existing}"
    )]
    NoInterface {
        /// The names that exist.
        existing: String,
    },
}

fn existing() -> String {
    kernel::interface_names().join(", ")
}

/// The interface of the IPv4 default route, else of the IPv6 one, by the kernel's routing tables in `/proc/net`.
fn default_route_interface() -> Option<String> {
    let v4 = std::fs::read_to_string("/proc/self/net/route").ok();
    let v6 = std::fs::read_to_string("/proc/self/net/ipv6_route").ok();
    v4.as_deref().and_then(default_route_v4).or_else(|| v6.as_deref().and_then(default_route_v6))
}

/// `/proc/net/route`: name, destination, gateway, flags, reference count, use, metric, mask …, in hexadecimal.
fn default_route_v4(table: &str) -> Option<String> {
    let routes = table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace();
        let name = fields.next()?;
        let destination = fields.next()?;
        let metric: u32 = fields.nth(4)?.parse().ok()?;
        let mask = fields.next()?;
        (destination == "00000000" && mask == "00000000").then_some((metric, name))
    });
    routes.min_by_key(|(metric, _)| *metric).map(|(_, name)| name.to_owned())
}

/// `/proc/net/ipv6_route`: destination, its prefix length, source, its prefix length, gateway, metric, …, name.
fn default_route_v6(table: &str) -> Option<String> {
    let routes = table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, "00", _, _, _, metric, .., name] = fields[..] else {
            return None;
        };
        (name != "lo").then_some((u32::from_str_radix(metric, 16).ok()?, name))
    });
    routes.min_by_key(|(metric, _)| *metric).map(|(_, name)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_route_with_the_lowest_metric_wins() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
            wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
            eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
            eth1\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        assert_eq!(default_route_v4(table).as_deref(), Some("eth0"));
        assert_eq!(default_route_v4(""), None);
    }

    #[test]
    fn the_ipv6_default_route_is_found() {
        let zero = "00000000000000000000000000000000";
        let table = format!(
            "{zero} 00 {zero} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth0\n\
             {zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200       lo\n"
        );
        assert_eq!(default_route_v6(&table).as_deref(), Some("eth0"));
    }

    #[test]
    fn flags_win_over_the_file() {
        let flags = Settings { interval: Some(Duration::from_millis(200)), ..Settings::default() };
        let file = Settings {
            interval: Some(Duration::from_secs(5)),
            interfaces: Some(vec!["lo".to_owned()]),
            ..Settings::default()
        };
        let config = flags.or(file).check().expect("lo exists");
        assert_eq!((config.interval, config.interfaces), (Duration::from_millis(200), vec!["lo".to_owned()]));
    }

    #[test]
    fn interfaces_that_are_missing_or_repeated_are_refused() {
        let named = |names: &[&str]| Settings {
            interfaces: Some(names.iter().map(|name| (*name).to_owned()).collect()),
            ..Settings::default()
        };
        let error = named(&["nope0"]).check().expect_err("no such interface").to_string();
        assert!(error.starts_with("there is no interface `nope0`; those that exist are: "), "{error}");
        assert!(error.contains("lo"), "{error}");
        assert!(matches!(named(&["lo", "lo"]).check(), Err(ConfigError::RepeatedInterface { .. })));
    }
}
