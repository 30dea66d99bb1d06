//! The command line.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand};

use crate::config::{self, AttachMode, Collector, ConfigError, OutputMode, Settings};

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
    Run(RunArgs),
    /// Read captures instead of interfaces; needs no privilege
    Replay(ReplayArgs),
    /// Check a configuration file and say what it means.
    CheckConfig {
        /// The file.
        file: PathBuf,
    },
}

/// Flags of `flowprobe run`. Each has a key of the same name in the configuration file, which it overrides.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Interface to meter; may be given several times [default: the one with the default route]
    #[arg(short, long = "interface", value_name = "IFACE", action = ArgAction::Append)]
    pub interfaces: Vec<String>,

    /// Where to send IPFIX, such as udp://192.0.2.1:4739; may be given several times
    #[arg(long = "collector", value_name = "URL", action = ArgAction::Append)]
    pub collectors: Vec<Collector>,

    /// How to attach [default: auto]
    #[arg(long, value_enum)]
    pub mode: Option<AttachMode>,

    /// Put the interfaces into promiscuous mode, for mirror ports and taps
    #[arg(long)]
    pub promisc: bool,

    /// Time between drains of the kernel's flow maps, and between summaries [default: 1s]
    #[arg(long, value_name = "TIME", value_parser = config::duration)]
    pub interval: Option<Duration>,

    /// A flow without packets for this long has ended [default: 15s]
    #[arg(long, value_name = "TIME", value_parser = config::duration)]
    pub idle_timeout: Option<Duration>,

    /// A flow that goes on is reported this often [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = config::duration)]
    pub active_timeout: Option<Duration>,

    /// Flows held at once, by the table and by each of the kernel's two maps [default: 262144]
    #[arg(long, value_name = "NUMBER", value_parser = config::max_flows)]
    pub max_flows: Option<NonZeroU32>,

    /// IPFIX Observation Domain ID [default: 1]
    #[arg(long, value_name = "NUMBER")]
    pub observation_domain: Option<u32>,

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
            mode: self.mode,
            promisc: self.promisc.then_some(true),
            interval: self.interval,
            idle_timeout: self.idle_timeout,
            active_timeout: self.active_timeout,
            max_flows: self.max_flows,
            collectors: Some(self.collectors).filter(|collectors| !collectors.is_empty()),
            observation_domain: self.observation_domain,
            output,
        };
        Ok(flags.or(file))
    }
}

/// Flags of `flowprobe replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Captures, pcap or pcapng, also gzipped; `-` is standard input
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

    /// Write records to an IPFIX file (RFC 5655) as well
    #[arg(long, value_name = "FILE")]
    pub ipfix_file: Option<PathBuf>,

    /// Where to send IPFIX, such as udp://192.0.2.1:4739; may be given several times
    #[arg(long = "collector", value_name = "URL", action = ArgAction::Append)]
    pub collectors: Vec<Collector>,

    /// A flow without packets for this long, on the capture's clock, has ended [default: 15s]
    #[arg(long, value_name = "TIME", value_parser = config::duration)]
    pub idle_timeout: Option<Duration>,

    /// A flow that goes on is reported this often, on the capture's clock [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = config::duration)]
    pub active_timeout: Option<Duration>,

    /// Flows held at once [default: 262144]
    #[arg(long, value_name = "NUMBER", value_parser = config::max_flows)]
    pub max_flows: Option<NonZeroU32>,

    /// IPFIX Observation Domain ID
    #[arg(long, value_name = "NUMBER", default_value_t = config::DEFAULT_OBSERVATION_DOMAIN)]
    pub observation_domain: u32,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
