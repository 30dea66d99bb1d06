//! The command line.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand};
use flowprobe_ebpf::Tunnels;

use crate::config::{
    self, AttachMode, ConfigError, DomainBy, EnrichSettings, ExportSettings, Listen, OutputMode, PacketFilter, Relay,
    Remote, SampleBy, SelectionSettings, Settings, Target, WebAddress, WebSettings,
};
use crate::detect::FindingsArgs;
use crate::detect::service::devices::DevicesArgs;
use crate::enrich::ReverseDns;
use crate::export::elements::Fields;
use crate::query::{HuntArgs, QueryArgs};
use crate::report::ReportArgs;
use crate::status::StatusSocket;
use crate::table::TableConfig;
use crate::top::TopArgs;

/// Counts what crosses the network, per flow, in the kernel, and exports it as IPFIX.
#[derive(Debug, Parser)]
#[command(name = "flowprobe", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What flowprobe can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Meter interfaces until stopped.
    Run(Box<RunArgs>),
    /// Read captures instead of interfaces; needs no privilege
    Replay(ReplayArgs),
    /// Ask running daemons how they are: what they meter, the accounting sum, what was lost
    Status(StatusArgs),
    /// Watch what a running daemon meters: who talks, how much, right now
    Top(TopArgs),
    /// Ask history what happened: who talked, how much, when
    Query(QueryArgs),
    /// Say what has looked wrong, as the daemon has kept it
    Findings(FindingsArgs),
    /// List the devices that the daemon has met, as a file of approvals has them
    Devices(DevicesArgs),
    /// Look for the addresses of lists in history: who had to do with them, and when
    Hunt(HuntArgs),
    /// Make one page, or one JSON object, of what history says about a time, to mail or to archive
    Report(ReportArgs),
    /// Check a configuration file and say what it means.
    CheckConfig {
        /// The file.
        file: PathBuf,
    },
}

/// Flags of `flowprobe run`. Each has a key of the same name in the configuration file, which it overrides.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Interface to meter; may be given several times [default: the one with the default route, or none with --listen]
    #[arg(short, long = "interface", value_name = "IFACE", action = ArgAction::Append)]
    pub interfaces: Vec<String>,

    /// Where to receive NetFlow and IPFIX of routers and others: udp://0.0.0.0:2055, tcp://…, tls://… (IPFIX only), with options
    /// such as ?allow=10.0.0.0/8; may be given several times
    #[arg(long, value_name = "URL", action = ArgAction::Append)]
    pub listen: Vec<Listen>,

    /// What collectors get of what is received: the records, the datagrams as they came, or nothing [default: records]
    #[arg(long, value_enum)]
    pub relay: Option<Relay>,

    /// How to attach [default: auto]
    #[arg(long, value_enum)]
    pub mode: Option<AttachMode>,

    /// Put the interfaces into promiscuous mode, for mirror ports and taps
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub promisc: Option<bool>,

    /// Meter what leaves too. On a router it is seen twice then: where it comes in and where it leaves
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub egress: Option<bool>,

    /// Look up the next hop and the egress interface of each new flow in the kernel's routing tables
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub next_hop: Option<bool>,

    #[command(flatten)]
    #[expect(missing_docs, reason = "its documentation would become the command's help")]
    pub selection: SelectionArgs,

    /// Time between drains of the kernel's flow maps, and between summaries [default: 1s]
    #[arg(long, value_name = "TIME", value_parser = config::duration)]
    pub interval: Option<Duration>,

    #[command(flatten)]
    #[expect(missing_docs, reason = "its documentation would become the command's help")]
    pub table: TableArgs,

    #[command(flatten)]
    #[expect(missing_docs, reason = "its documentation would become the command's help")]
    pub export: ExportArgs,

    #[command(flatten)]
    #[expect(missing_docs, reason = "its documentation would become the command's help")]
    pub store: StoreArgs,

    #[command(flatten)]
    #[expect(missing_docs, reason = "its documentation would become the command's help")]
    pub enrich: EnrichArgs,

    /// Where to answer `flowprobe status` and `query`: a socket, or a folder for PID.sock; none for nowhere [default: /run/flowprobe]
    #[arg(long, value_name = "PATH")]
    pub status_socket: Option<StatusSocket>,

    #[command(flatten)]
    #[expect(missing_docs, reason = "its documentation would become the command's help")]
    pub web: WebArgs,

    /// What looks wrong, and from where on it counts (TOML); none to look for nothing [default: all detectors as they are]
    #[arg(long, value_name = "FILE")]
    pub findings: Option<PathBuf>,

    /// Print records and accounting as JSON, one object a line, instead of the summary
    #[arg(long, conflicts_with = "quiet")]
    pub json: bool,

    /// Print nothing but warnings and errors
    #[arg(short, long)]
    pub quiet: bool,

    /// Configuration file (TOML)
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl RunArgs {
    /// The settings of the flags, with those of the file where the flags are silent.
    ///
    /// # Errors
    /// The file cannot be read, or says something that it may not.
    pub fn settings(self) -> Result<Settings, ConfigError> {
        let file = match &self.config {
            Some(path) => Settings::from_file(path)?,
            None => Settings::default(),
        };
        let output = match (self.json, self.quiet) {
            (true, _) => Some(OutputMode::Json),
            (_, true) => Some(OutputMode::Quiet),
            _ => None,
        };
        let flags = Settings {
            interfaces: Some(self.interfaces).filter(|names| !names.is_empty()),
            listen: Some(self.listen).filter(|all| !all.is_empty()),
            relay: self.relay,
            mode: self.mode,
            promisc: self.promisc,
            egress: self.egress,
            next_hop: self.next_hop,
            selection: self.selection.settings(),
            interval: self.interval,
            idle_timeout: self.table.idle_timeout,
            active_timeout: self.table.active_timeout,
            max_flows: self.table.max_flows,
            biflow: self.table.biflow,
            export: self.export.settings(),
            store: self.store.store,
            store_age: self.store.store_age,
            store_size: self.store.store_size,
            enrich: self.enrich.settings(),
            store_remote: self.store.store_remote,
            status_socket: self.status_socket,
            web: self.web.settings(),
            findings: self.findings,
            output,
        };
        Ok(flags.or(file))
    }
}

/// Flags of `flowprobe replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Captures, pcap or pcapng, or files of IPFIX messages (RFC 5655), also gzipped; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// Print records, and the accounting at the end, as JSON, one object a line, instead of a summary
    #[arg(long, conflicts_with_all = ["csv", "quiet"])]
    pub json: bool,

    /// Print records as comma-separated values instead of a summary
    #[arg(long, conflicts_with = "quiet")]
    pub csv: bool,

    /// Print nothing but warnings and errors
    #[arg(short, long)]
    pub quiet: bool,

    /// Look for what is wrong, and print what was found instead of records or a summary
    #[arg(long, conflicts_with_all = ["csv", "quiet"])]
    pub detect: bool,

    /// What is looked for, and from where on it counts (TOML)
    #[arg(long, value_name = "FILE", requires = "detect")]
    pub findings: Option<PathBuf>,

    /// Write records to an IPFIX file (RFC 5655) as well
    #[arg(long, value_name = "FILE")]
    pub ipfix_file: Option<PathBuf>,

    #[command(flatten)]
    #[expect(missing_docs, reason = "its documentation would become the command's help")]
    pub selection: SelectionArgs,

    #[command(flatten)]
    #[expect(missing_docs, reason = "its documentation would become the command's help")]
    pub table: TableArgs,

    #[command(flatten)]
    #[expect(missing_docs, reason = "its documentation would become the command's help")]
    pub export: ExportArgs,

    #[command(flatten)]
    #[expect(missing_docs, reason = "its documentation would become the command's help")]
    pub enrich: EnrichArgs,
}

/// Flags of `flowprobe status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The daemon's socket, or a folder with the sockets of several [default: /run/flowprobe]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,

    /// Print one JSON object for each daemon instead of a table
    #[arg(long, conflicts_with = "metrics")]
    pub json: bool,

    /// Print the metrics of one daemon in the OpenMetrics format
    #[arg(long)]
    pub metrics: bool,
}

// Not documentation comments: clap would take them for the help of the command that flattens them.
// When records leave the table.
#[derive(Clone, Debug, Args)]
#[expect(missing_docs, reason = "see above")]
pub struct TableArgs {
    /// A flow without packets for this long has ended [default: 15s]
    #[arg(long, value_name = "TIME", value_parser = config::duration)]
    pub idle_timeout: Option<Duration>,

    /// A flow that goes on is reported this often [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = config::duration)]
    pub active_timeout: Option<Duration>,

    /// Flows held at once, by the table and, live, by each of the kernel's two maps [default: 262144]
    #[arg(long, value_name = "NUMBER", value_parser = config::max_flows)]
    pub max_flows: Option<NonZeroU32>,

    /// Join both directions of a conversation into one record (RFC 5103)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub biflow: Option<bool>,
}

// Which packets are metered, and how deep they are looked into.
#[derive(Clone, Debug, Args)]
#[expect(missing_docs, reason = "see above")]
pub struct SelectionArgs {
    /// Open tunnels: flows are those of the packets inside. Any of vxlan, geneve, gre, gtpu, ipip (also 4in4, 6in4, 4in6,
    /// 6in6), all; none overrides the file
    #[arg(long, value_name = "TUNNEL", value_delimiter = ',', value_parser = config::tunnels)]
    pub decapsulate: Vec<Tunnels>,

    /// Meter only packets that this expression accepts, in the syntax of tcpdump, such as 'tcp port 80 or 443'; the others
    /// are counted
    #[arg(long, value_name = "EXPR")]
    pub filter: Option<PacketFilter>,

    /// Meter one of so many packets or flows, such as 100 or 1:100; records say so, the others are counted [default: 1]
    #[arg(long, value_name = "NUMBER", value_parser = config::sample)]
    pub sample: Option<NonZeroU32>,

    /// What --sample chooses [default: packets]
    #[arg(long, value_enum)]
    pub sample_by: Option<SampleBy>,
}

impl SelectionArgs {
    /// The settings of these flags.
    #[must_use]
    pub fn settings(&self) -> SelectionSettings {
        SelectionSettings {
            tunnels: self.decapsulate.iter().copied().reduce(Tunnels::and),
            sample: self.sample,
            sample_by: self.sample_by,
            filter: self.filter.clone(),
        }
    }
}

// Where records are sent, and as what.
#[derive(Clone, Debug, Args)]
#[expect(missing_docs, reason = "see above")]
pub struct ExportArgs {
    /// Where to send records: udp://192.0.2.1:4739, tcp://…, tls://…, file:///PATH, with options such as ?format=netflow9;
    /// failover:URL,URL for the first that can be reached, balance:URL,URL for a share each; may be given several times
    #[arg(long = "collector", value_name = "URL", action = ArgAction::Append)]
    pub collectors: Vec<Target>,

    /// What records say: minimal, standard, full, security, or names of elements with commas between them [default: standard]
    #[arg(long, value_name = "FIELDS", value_parser = config::fields)]
    pub fields: Option<Fields>,

    /// Observation Domain ID; `interface` for one for each interface, its index [default: 1]
    #[arg(long, value_name = "NUMBER")]
    pub observation_domain: Option<DomainBy>,

    /// Folder for messages to collectors over TCP, TLS or failover that are away; none for none [default: /var/lib/flowprobe/spool]
    #[arg(long, value_name = "PATH")]
    pub spool: Option<PathBuf>,

    /// Most that waits in it for each collector, such as 500M or 2G; beyond that the oldest go [default: 1G]
    #[arg(long, value_name = "SIZE", value_parser = config::size)]
    pub spool_size: Option<u64>,

    /// Records a second that go out of it, beyond those that come in, when a collector is back [default: 200000]
    #[arg(long, value_name = "NUMBER", value_parser = config::catch_up)]
    pub catch_up: Option<u32>,
}

// Where history is kept.
#[derive(Clone, Debug, Args)]
#[expect(missing_docs, reason = "see above")]
pub struct StoreArgs {
    /// Folder for history, which `flowprobe query` reads; none for none [default: /var/lib/flowprobe/store]
    #[arg(long, value_name = "PATH")]
    pub store: Option<PathBuf>,

    /// Records that are older go, such as 30d or 1y [default: 30d]
    #[arg(long, value_name = "TIME", value_parser = config::span)]
    pub store_age: Option<Duration>,

    /// Most that history takes on disk, such as 500M or 20G; beyond that the oldest hours go [default: 20G]
    #[arg(long, value_name = "SIZE", value_parser = config::size)]
    pub store_size: Option<u64>,

    /// Where hours go when they are over: s3://BUCKET/PREFIX, with options such as ?endpoint=https://storage.example:9000 (takes a
    /// build with the feature object-store)
    #[arg(long, value_name = "URL")]
    pub store_remote: Option<Remote>,
}

// Where the dashboard is, and who may look at it.
#[derive(Clone, Debug, Args)]
#[expect(missing_docs, reason = "see above")]
pub struct WebArgs {
    /// Address of the dashboard, its API and the metrics; none for none [default: 127.0.0.1:8739]
    #[arg(long, value_name = "ADDRESS")]
    pub web: Option<WebAddress>,

    /// File whose first line has to be shown as a bearer token, or typed as the password; beyond loopback there has to be one
    #[arg(long, value_name = "FILE")]
    pub web_token: Option<PathBuf>,

    /// Certificate (PEM) of the dashboard; beyond loopback there has to be one
    #[arg(long, value_name = "FILE")]
    pub web_certificate: Option<PathBuf>,

    /// Its private key (PEM)
    #[arg(long, value_name = "FILE")]
    pub web_key: Option<PathBuf>,

    /// Host name by which it is asked for, beside addresses, localhost and the name of this machine; may be given several times
    #[arg(long, value_name = "NAME", action = ArgAction::Append)]
    pub web_name: Vec<String>,
}

impl WebArgs {
    /// The settings of these flags.
    #[must_use]
    pub fn settings(&self) -> WebSettings {
        WebSettings {
            address: self.web,
            token: self.web_token.clone(),
            certificate: self.web_certificate.clone(),
            key: self.web_key.clone(),
            names: Some(self.web_name.clone()).filter(|names| !names.is_empty()),
        }
    }
}

// Where names of addresses come from.
#[derive(Clone, Debug, Args)]
#[expect(missing_docs, reason = "see above")]
pub struct EnrichArgs {
    /// Database of autonomous systems, countries or cities in the MaxMind format, read anew when it changes; may be given several
    /// times
    #[arg(long, value_name = "FILE", action = ArgAction::Append)]
    pub mmdb: Vec<PathBuf>,

    /// CSV file with a network and its name in each line, such as 10.1.0.0/16,office; read anew when it changes; may be given
    /// several times
    #[arg(long, value_name = "FILE", action = ArgAction::Append)]
    pub labels: Vec<PathBuf>,

    /// List of makers of network cards: oui.csv or oui.txt of the IEEE, Wireshark's manuf; none for none; may be given several
    /// times [default: what the system has]
    #[arg(long, value_name = "FILE", action = ArgAction::Append)]
    pub mac_vendors: Vec<PathBuf>,

    /// Of which addresses the names are asked for [default: none]
    #[arg(long, value_enum)]
    pub reverse_dns: Option<ReverseDns>,
}

impl EnrichArgs {
    /// The settings of these flags.
    #[must_use]
    pub fn settings(&self) -> EnrichSettings {
        let given = |paths: &Vec<PathBuf>| Some(paths.clone()).filter(|paths| !paths.is_empty());
        EnrichSettings {
            databases: given(&self.mmdb),
            labels: given(&self.labels),
            vendors: given(&self.mac_vendors),
            reverse_dns: self.reverse_dns,
        }
    }
}

impl TableArgs {
    /// These timeouts and bounds, with those of `base` where nothing was given.
    #[must_use]
    pub fn over(&self, base: TableConfig) -> TableConfig {
        TableConfig {
            idle_timeout: self.idle_timeout.unwrap_or(base.idle_timeout),
            active_timeout: self.active_timeout.unwrap_or(base.active_timeout),
            max_flows: self.max_flows.unwrap_or(base.max_flows),
            biflow: self.biflow.unwrap_or(base.biflow),
            ..base
        }
    }
}

impl ExportArgs {
    /// The settings of these flags.
    #[must_use]
    pub fn settings(&self) -> ExportSettings {
        ExportSettings {
            targets: Some(self.collectors.clone()).filter(|targets| !targets.is_empty()),
            fields: self.fields.clone(),
            domain: self.observation_domain,
            spool: self.spool.clone(),
            spool_size: self.spool_size,
            catch_up: self.catch_up,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_the_file_switches_on_a_flag_switches_off() {
        for (flags, expected) in [(&[][..], None), (&["--egress"], Some(true)), (&["--egress=false"], Some(false))] {
            let cli = Cli::parse_from([&["flowprobe", "run"], flags].concat());
            let Command::Run(args) = cli.command else { unreachable!("it was `run`") };
            assert_eq!(args.settings().expect("no file to read").egress, expected, "{flags:?}");
        }
    }
}
