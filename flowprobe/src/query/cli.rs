//! `flowprobe query` on the command line: what is asked, of when, of which flows, and in which form it is answered.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use ipnet::IpNet;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use thiserror::Error;

use super::{Filter, IcmpType, Measure, Question, Request};
use crate::config;
use crate::store::layout::DAY_MS;
use crate::store::rollup::MINUTE_MS;
use crate::summary::protocol_number;

/// Flags of `flowprobe query`.
#[derive(Clone, Debug, Args)]
pub struct QueryArgs {
    /// What to ask
    #[arg(value_enum)]
    pub what: What,

    /// The address that `host` is about
    pub host: Option<IpAddr>,

    #[command(flatten)]
    #[expect(missing_docs, reason = "its documentation would become the command's help")]
    pub time: TimeArgs,

    /// Rows at most
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub top: u32,

    /// What decides which come first
    #[arg(long, value_enum, default_value_t)]
    pub by: Measure,

    /// Of `series`: time from row to row [default: what makes about a hundred]
    #[arg(long, value_name = "TIME", value_parser = config::span)]
    pub step: Option<Duration>,

    /// Of `networks`: bits of a network's prefix, of IPv4 [default: 24]
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u8).range(0..=32))]
    pub prefix: Option<u8>,

    /// Of `networks`: the same of IPv6 [default: 64]
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u8).range(0..=128))]
    pub prefix6: Option<u8>,

    /// Of `series`: by protocol, too
    #[arg(long)]
    pub by_protocol: bool,

    #[command(flatten)]
    #[expect(missing_docs, reason = "its documentation would become the command's help")]
    pub filter: FilterArgs,

    /// Print one JSON object instead of a table
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,

    /// Print comma-separated values instead of a table
    #[arg(long)]
    pub csv: bool,

    #[command(flatten)]
    #[expect(missing_docs, reason = "its documentation would become the command's help")]
    pub source: SourceArgs,
}

// Not documentation comments, as in `crate::cli`. When it was.
#[derive(Clone, Debug, Args)]
#[expect(missing_docs, reason = "see above")]
pub struct TimeArgs {
    /// Of the last so much time, such as 90m, 24h, 30d [default: 1h; of a report 24h]
    #[arg(long, value_name = "TIME", value_parser = config::span, conflicts_with_all = ["from", "to"])]
    pub last: Option<Duration>,

    /// From this moment on: 2026-11-24, "2026-11-24 10:00", 10:00 (today), or 2026-11-24T10:00:00Z; local time where none is said
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    pub from: Option<i64>,

    /// Up to this moment [default: now]
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    pub to: Option<i64>,
}

// Which flows are meant.
#[derive(Clone, Debug, Args)]
#[expect(missing_docs, reason = "see above")]
pub struct FilterArgs {
    /// Only flows from or to this address or network; this and the others below may be given several times
    #[arg(long, value_name = "NETWORK", value_parser = config::network)]
    pub address: Vec<IpNet>,

    /// Only flows from this address or network
    #[arg(long, value_name = "NETWORK", value_parser = config::network)]
    pub source: Vec<IpNet>,

    /// Only flows to this address or network
    #[arg(long, value_name = "NETWORK", value_parser = config::network)]
    pub destination: Vec<IpNet>,

    /// Only flows from or to this port
    #[arg(long, value_name = "NUMBER")]
    pub port: Vec<u16>,

    /// Only this protocol: a number or a name, such as tcp
    #[arg(long, value_name = "PROTOCOL", value_parser = protocol)]
    pub protocol: Vec<u8>,

    /// Only messages of ICMP with this type and code, such as 8/0, or with this type
    #[arg(long, value_name = "TYPE/CODE")]
    pub icmp: Vec<IcmpType>,

    /// Only flows that came in or left by this interface: a name or an index
    #[arg(long, value_name = "IFACE")]
    pub interface: Vec<String>,

    /// Only flows from or to this autonomous system
    #[arg(long = "as", value_name = "NUMBER", value_parser = as_number)]
    pub systems: Vec<u32>,

    /// Only flows from or to this country: two letters, such as DE
    #[arg(long, value_name = "CODE", value_parser = country)]
    pub country: Vec<String>,

    /// Only flows from or to a network with this label
    #[arg(long, value_name = "LABEL")]
    pub label: Vec<String>,

    /// Only records of this exporter
    #[arg(long, value_name = "ADDRESS")]
    pub exporter: Vec<IpAddr>,

    /// Only what was metered in this direction
    #[arg(long, value_enum)]
    pub direction: Option<Metered>,
}

// Where the answer is.
#[derive(Clone, Debug, Args)]
#[expect(missing_docs, reason = "see above")]
pub struct SourceArgs {
    /// Read the files of this store, whether or not a daemon writes it
    #[arg(long, value_name = "PATH", conflicts_with = "socket")]
    pub store: Option<PathBuf>,

    /// Ask the daemon with this socket [default: the one in /run/flowprobe, else the files in /var/lib/flowprobe/store]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
}

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// Addresses, by what they sent and received
    Talkers,
    /// Addresses, by what they sent
    Sources,
    /// Addresses, by what they received
    Destinations,
    /// Networks, by what their addresses sent and received: see --prefix
    Networks,
    /// Protocols
    Protocols,
    /// Services, by protocol and port
    Ports,
    /// Types and codes of ICMP
    Icmp,
    /// Interfaces, by what came in and left
    Interfaces,
    /// Exporters, and what was metered here
    Exporters,
    /// Countries, by what their addresses sent and received; takes a database (--mmdb of the daemon)
    Countries,
    /// Autonomous systems, likewise
    Systems,
    /// Who talked to whom, by service, both directions together
    Conversations,
    /// Rates over time
    Series,
    /// What one address did: its conversations
    Host,
    /// Records one by one, the latest first
    Records,
}

/// Where a flow was metered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Metered {
    /// As it came in.
    Ingress,
    /// As it left.
    Egress,
}

/// Flags that make no question together.
#[derive(Debug, Error)]
pub enum QueryFlagsError {
    /// Host of what address?
    #[error("`host` takes an address: flowprobe query host 192.0.2.7")]
    HostIsMissing,
    /// An address for another question.
    #[error("only `host` takes an address here; --address {address} is for the others")]
    HostIsTooMuch {
        /// The address.
        address: IpAddr,
    },
    /// A flag of another question.
    #[error("--{flag} is for `{what}` only")]
    OfAnother {
        /// Its name.
        flag: &'static str,
        /// The question.
        what: &'static str,
    },
    /// Nothing can have happened then.
    #[error("--from has to be before --to")]
    Backwards,
}

impl QueryArgs {
    /// The question, as asked at `now_ms`.
    ///
    /// # Errors
    /// The flags do not go together.
    pub fn request(&self, now_ms: i64) -> Result<Request, QueryFlagsError> {
        match (self.what, self.host) {
            (What::Host, None) => return Err(QueryFlagsError::HostIsMissing),
            (What::Host, Some(_)) | (_, None) => {}
            (_, Some(address)) => return Err(QueryFlagsError::HostIsTooMuch { address }),
        }
        let of_others = [
            ("step", self.step.is_some(), What::Series),
            ("by-protocol", self.by_protocol, What::Series),
            ("prefix", self.prefix.is_some(), What::Networks),
            ("prefix6", self.prefix6.is_some(), What::Networks),
        ];
        if let Some((flag, _, what)) = of_others.into_iter().find(|(_, given, what)| *given && *what != self.what) {
            let what = if what == What::Series { "series" } else { "networks" };
            return Err(QueryFlagsError::OfAnother { flag, what });
        }
        const HOUR: Duration = Duration::from_secs(3600);
        /// Of a series, at most: what a terminal can be scrolled through.
        const ROWS: i64 = 120;
        let (from_ms, to_ms) = self.time.range(now_ms, HOUR)?;
        let question = match (self.what, self.host) {
            (What::Host, Some(address)) => Question::Host { address },
            (What::Talkers | What::Host, _) => Question::Talkers,
            (What::Sources, _) => Question::Sources,
            (What::Destinations, _) => Question::Destinations,
            (What::Networks, _) => Question::Networks {
                prefix: self.prefix.unwrap_or(USUAL_PREFIX),
                prefix6: self.prefix6.unwrap_or(USUAL_PREFIX6),
            },
            (What::Icmp, _) => Question::Icmp,
            (What::Interfaces, _) => Question::Interfaces,
            (What::Exporters, _) => Question::Exporters,
            (What::Protocols, _) => Question::Protocols,
            (What::Ports, _) => Question::Ports,
            (What::Countries, _) => Question::Countries,
            (What::Systems, _) => Question::Systems,
            (What::Conversations, _) => Question::Conversations,
            (What::Records, _) => Question::Records,
            (What::Series, _) => {
                let step_ms = self.step.map_or_else(
                    || usual_step_ms(to_ms.saturating_sub(from_ms), ROWS),
                    |step| i64::try_from(step.as_millis()).unwrap_or(i64::MAX),
                );
                Question::Series { step_ms, by_protocol: self.by_protocol }
            }
        };
        let filter = self.filter.filter();
        Ok(Request { question, from_ms, to_ms, filter, by: self.by, top: self.top as usize })
    }
}

impl TimeArgs {
    /// From when, and before when: where nothing is said, so much `usual` time up to `now_ms`.
    ///
    /// # Errors
    /// It ends before it begins.
    pub fn range(&self, now_ms: i64, usual: Duration) -> Result<(i64, i64), QueryFlagsError> {
        let last_ms = i64::try_from(self.last.unwrap_or(usual).as_millis()).unwrap_or(i64::MAX);
        // The millisecond in which it is asked belongs to what is asked for.
        let to_ms = self.to.unwrap_or(now_ms + 1);
        let from_ms = self.from.unwrap_or(to_ms.saturating_sub(last_ms));
        if from_ms < to_ms { Ok((from_ms, to_ms)) } else { Err(QueryFlagsError::Backwards) }
    }
}

impl FilterArgs {
    /// The filter of these flags.
    #[must_use]
    pub fn filter(&self) -> Filter {
        Filter {
            addresses: self.address.clone(),
            sources: self.source.clone(),
            destinations: self.destination.clone(),
            ports: self.port.clone(),
            protocols: self.protocol.clone(),
            icmp: self.icmp.clone(),
            interfaces: self.interface.clone(),
            systems: self.systems.clone(),
            countries: self.country.clone(),
            labels: self.label.clone(),
            exporters: self.exporter.clone(),
            direction: self.direction.map(|direction| direction as u8),
        }
    }
}

/// Bits of a network's prefix where nobody has said otherwise, of IPv4.
pub(crate) const USUAL_PREFIX: u8 = 24;

/// The same of IPv6.
pub(crate) const USUAL_PREFIX6: u8 = 64;

/// The shortest step that makes no more than `most` of a time, and is one that people count in. Records come once a minute from flows that
/// go on, so that shorter steps would show peaks where there were none.
pub(crate) fn usual_step_ms(span_ms: i64, most: i64) -> i64 {
    let steps = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720].map(|minutes| minutes * MINUTE_MS);
    let days = span_ms / (most * DAY_MS) + 1;
    steps.into_iter().find(|step| span_ms / step <= most).unwrap_or(days * DAY_MS)
}

/// A number of an autonomous system, also as `AS64500`.
pub(crate) fn as_number(text: &str) -> Result<u32, String> {
    let number = text.strip_prefix("AS").or_else(|| text.strip_prefix("as")).unwrap_or(text).parse();
    number.map_err(|_| format!("expected the number of an autonomous system, such as 64500 or AS64500, found `{text}`"))
}

pub(crate) fn country(text: &str) -> Result<String, String> {
    let is_code = text.len() == 2 && text.bytes().all(|octet| octet.is_ascii_alphabetic());
    if is_code {
        Ok(text.to_ascii_uppercase())
    } else {
        Err(format!("expected two letters, such as DE, found `{text}`"))
    }
}

pub(crate) fn protocol(text: &str) -> Result<u8, String> {
    let known = text.parse().ok().or_else(|| protocol_number(text));
    known.ok_or_else(|| {
        format!("expected a protocol, such as tcp, udp, icmp, or a number from 0 to 255, found `{text}`")
    })
}

/// A moment, milliseconds since 1970 UTC. What says nothing of a time zone is local time.
fn moment(text: &str) -> Result<i64, String> {
    let zone = TimeZone::system();
    let of_local = |local: DateTime| local.to_zoned(zone.clone()).map(|zoned| zoned.timestamp().as_millisecond());
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment.as_millisecond());
    }
    let local = (text.parse::<DateTime>().ok())
        .or_else(|| text.parse::<Date>().ok().map(|date| date.to_datetime(Time::midnight())))
        .or_else(|| {
            text.parse::<Time>().ok().map(|time| Zoned::now().with_time_zone(zone.clone()).date().to_datetime(time))
        });
    local.and_then(|local| of_local(local).ok()).ok_or_else(|| {
        format!(
            "expected a moment, such as 2026-11-24, \"2026-11-24 10:00\", 10:00 or 2026-11-24T10:00:00Z, found `{text}`"
        )
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        query: QueryArgs,
    }

    const NOW_MS: i64 = 1_795_510_014_447;

    fn request(line: &[&str]) -> Result<Request, String> {
        let line = Line::try_parse_from([&["query"], line].concat()).map_err(|error| error.to_string())?;
        line.query.request(NOW_MS).map_err(|error| error.to_string())
    }

    #[test]
    fn the_last_hour_is_asked_for_where_nothing_is_said() {
        let asked = request(&["talkers"]).expect("a question");
        assert_eq!((asked.question, asked.to_ms - asked.from_ms, asked.top), (Question::Talkers, 3_600_000, 20));
        assert_eq!(asked.to_ms, NOW_MS + 1);
    }

    #[test]
    fn moments_with_a_time_zone_are_what_they_say() {
        let line = ["series", "--from", "2026-11-24T09:00:00Z", "--to", "2026-11-24T12:00:00+01:00", "--step", "10m"];
        let asked = request(&line).expect("a question");
        assert_eq!(asked.from_ms, 1_795_510_800_000);
        assert_eq!(asked.to_ms - asked.from_ms, 2 * 3_600_000);
        assert_eq!(asked.question, Question::Series { step_ms: 600_000, by_protocol: false });
        for text in ["2026-11-24", "2026-11-24 10:00", "2026-11-24T10:00:05", "10:00"] {
            assert!(moment(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn steps_make_about_a_hundred_rows() {
        let minutes = |span: &str| match request(&["series", "--last", span]).expect("a question").question {
            Question::Series { step_ms, .. } => step_ms / MINUTE_MS,
            _ => unreachable!("it is a series"),
        };
        assert_eq!(["10m", "1h", "3h", "24h", "7d", "30d", "1y"].map(minutes), [1, 1, 2, 15, 120, 360, 5760]);
    }

    #[test]
    fn what_makes_no_question_is_refused_with_the_reason() {
        for (line, reason) in [
            (&["host"][..], "`host` takes an address"),
            (&["talkers", "192.0.2.1"], "only `host` takes an address here; --address 192.0.2.1"),
            (&["ports", "--step", "1m"], "--step is for `series` only"),
            (&["talkers", "--from", "2026-11-24T10:00:00Z", "--to", "2026-11-24T09:00:00Z"], "--from has to be before"),
            (
                &["talkers", "--address", "10.0.0.1/8"],
                "`10.0.0.1/8` has bits behind its prefix; the network is 10.0.0.0/8",
            ),
            (&["talkers", "--address", "host"], "expected a network such as 192.0.2.0/24, or an address, found `host`"),
            (&["talkers", "--protocol", "tpc"], "expected a protocol"),
            (&["talkers", "--last", "soon"], "expected a time from 1s to 10 years"),
            (&["talkers", "--from", "yesterday"], "expected a moment"),
            (&["talkers", "--prefix", "16"], "--prefix is for `networks` only"),
            (&["networks", "--prefix", "33"], "33 is not in 0..=32"),
            (&["talkers", "--icmp", "8/x"], "expected a type of ICMP and its code"),
            (&["talkers", "--as", "ASX"], "expected the number of an autonomous system"),
            (&["talkers", "--country", "Germany"], "expected two letters, such as DE, found `Germany`"),
            (&["talkers", "--top", "0"], "0 is not in 1..=1000000"),
            (&["talkers", "--last", "1h", "--from", "10:00"], "cannot be used with"),
            (
                &["chatter"],
                "talkers, sources, destinations, networks, protocols, ports, icmp, interfaces, exporters, countries",
            ),
        ] {
            let error = request(line).expect_err(reason);
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn filters_are_taken_as_they_are_written() {
        let line = ["records", "--protocol", "tcp", "--protocol", "17", "--port", "53", "--source", "10.0.0.0/8"];
        let filter = request(&line).expect("a question").filter;
        assert_eq!((filter.protocols, filter.ports), (vec![6, 17], vec![53]));
        assert_eq!(filter.sources, ["10.0.0.0/8".parse().expect("a network")]);
    }
}
