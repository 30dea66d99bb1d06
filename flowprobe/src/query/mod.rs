//! Questions to history: a fixed set of them, with filters, answered from rollups where these suffice and from records where not.
//! The same code answers over the files of any store and, with what is not in a file yet, inside the daemon that writes it.

mod answer;
mod cli;
mod client;
mod conversations;
mod filter;
mod gather;
mod host;
mod hunt;
mod minutes;
mod names;
mod places;
mod pool;
mod records;
pub(crate) mod render;
mod scan;
mod series;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

pub(crate) use answer::bits_per_second;
pub use answer::{Answer, Cell, Total, Unit};
pub use cli::{FilterArgs, Metered, QueryArgs, QueryFlagsError, SourceArgs, TimeArgs, What};
pub(crate) use cli::{USUAL_PREFIX, USUAL_PREFIX6, as_number, country, protocol, usual_step_ms};
pub use client::{Place, QueryError, Reply, find, print, print_hunt};
pub use filter::{Filter, IcmpType};
pub(crate) use gather::MOST as MOST_KEYS;
pub use host::{Host, HostSeries, MacAddress, host};
pub use hunt::{HuntArgs, listed};
pub(crate) use names::prefixed;
pub(crate) use pool::{Pool, Unanswered, WORKERS};
pub(crate) use series::lasts_ms;
pub use series::{Chart, Group, Grouping, chart};

use crate::store::file::FileFault;
use crate::store::flows::Side;
use crate::store::layout::{Hour, Layout};
use crate::store::rollup::{MinuteRows, Rollup as _};
use crate::store::{Shelf, Snapshot};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Question {
    /// Addresses, by what they sent and received.
    Talkers,
    /// Those that sent, by what they sent.
    Sources,
    /// Those that received, by what they received.
    Destinations,
    /// Networks, by what their addresses sent and received.
    Networks {
        /// Length of the prefixes of IPv4.
        prefix: u8,
        /// Length of those of IPv6.
        prefix6: u8,
    },
    /// Protocols.
    Protocols,
    /// Services, by protocol and port.
    Ports,
    /// Types and codes of ICMP.
    Icmp,
    /// Interfaces, by what came in and left.
    Interfaces,
    /// Exporters, and what was metered here.
    Exporters,
    /// Countries, by what their addresses sent and received.
    Countries,
    /// Autonomous systems, likewise.
    Systems,
    /// Who talked to whom, by service, both directions together.
    Conversations,
    /// Rates over time.
    Series {
        /// Milliseconds of a step.
        step_ms: i64,
        /// Whether by protocol, too.
        by_protocol: bool,
    },
    /// What an address did: by peer and service, as [`Question::Conversations`] of it.
    Host {
        /// The address.
        address: std::net::IpAddr,
    },
    /// Records, one by one.
    Records,
    /// The sum of all.
    Totals,
}

/// What decides which rows come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "camelCase")]
pub enum Measure {
    /// Octets
    #[default]
    Octets,
    /// Packets
    Packets,
    /// Flows
    Flows,
}

/// A question with all that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// What is asked.
    pub question: Question,
    /// Flows that ended at or after this, milliseconds since 1970 UTC.
    pub from_ms: i64,
    /// And before this.
    pub to_ms: i64,
    /// And are such.
    pub filter: Filter,
    /// What decides which come first.
    pub by: Measure,
    /// Rows of the answer at most.
    pub top: usize,
}

/// Where the answer is.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// In the files of a store, whoever writes it.
    Files(&'a Layout),
    /// In those of the store that this process writes, and in what waits.
    Shelf(&'a Shelf),
    /// Likewise, for somebody who may not want it any more: then what there is so far is no answer.
    Wanted(&'a Shelf, &'a AtomicBool),
}

impl<'a> Source<'a> {
    fn layout(self) -> &'a Layout {
        match self {
            Self::Files(layout) => layout,
            Self::Shelf(shelf) | Self::Wanted(shelf, _) => shelf.layout(),
        }
    }

    fn snapshot(self) -> Result<Snapshot, FileFault> {
        match self {
            Self::Files(layout) => Snapshot::of_files(layout),
            Self::Shelf(shelf) | Self::Wanted(shelf, _) => shelf.snapshot(),
        }
    }

    fn is_stopped(self) -> bool {
        matches!(self, Self::Wanted(_, stop) if stop.load(Ordering::Relaxed))
    }
}

/// Answers a question.
///
/// # Errors
/// A folder of the store cannot be read. Files that are damaged are named in the answer, and passed over.
pub fn ask(source: Source<'_>, request: &Request) -> Result<Answer, FileFault> {
    match &request.question {
        Question::Talkers => gather::talkers(source, request, None),
        Question::Sources => gather::talkers(source, request, Some(Side::Source)),
        Question::Destinations => gather::talkers(source, request, Some(Side::Destination)),
        Question::Networks { prefix, prefix6 } => gather::networks(source, request, (*prefix, *prefix6)),
        Question::Protocols => minutes::protocols(source, request),
        Question::Ports => gather::ports(source, request),
        Question::Icmp => gather::icmp(source, request),
        Question::Interfaces => minutes::interfaces(source, request),
        Question::Exporters => minutes::exporters(source, request),
        Question::Countries => places::countries(source, request),
        Question::Systems => places::systems(source, request),
        Question::Conversations => conversations::conversations(source, request),
        Question::Series { step_ms, by_protocol } => series::table(source, request, *step_ms, *by_protocol),
        Question::Host { address } => {
            let filter = Filter { addresses: vec![(*address).into()], ..request.filter.clone() };
            conversations::of_host(source, &Request { filter, ..request.clone() }, *address)
        }
        Question::Records => records::records(source, request),
        Question::Totals => minutes::totals(source, request),
    }
}

/// The first hour of which there is anything, records or sums.
///
/// # Errors
/// A folder cannot be read.
pub(crate) fn first_hour(source: Source<'_>) -> Result<Option<Hour>, FileFault> {
    let layout = source.layout();
    let first = source.snapshot()?.hours.keys().next().copied();
    let of_sums = layout.rollup_hours(MinuteRows::NAME)?.first().copied();
    let of_days = layout.rollup_days(MinuteRows::NAME)?.first().map(|day| Hour::of(day.start_ms()));
    Ok([first, of_sums, of_days].into_iter().flatten().min())
}
