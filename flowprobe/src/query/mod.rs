//! Questions to history: a fixed set of them, with filters, answered from rollups where these suffice and from records where not.
//! The same code answers over the files of any store and, with what is not in a file yet, inside the daemon that writes it.

mod answer;
mod cli;
mod client;
mod filter;
mod gather;
mod names;
mod places;
mod records;
pub(crate) mod render;
mod scan;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub(crate) use answer::bits_per_second;
pub use answer::{Answer, Cell, Total, Unit};
pub(crate) use cli::usual_step_ms;
pub use cli::{FilterArgs, Metered, QueryArgs, QueryFlagsError, SourceArgs, TimeArgs, What};
pub use client::{Place, QueryError, Reply, find, print};
pub use filter::Filter;
pub(crate) use names::prefixed;

use crate::store::file::FileFault;
use crate::store::layout::Layout;
use crate::store::{Shelf, Snapshot};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Question {
    /// Addresses, by what they sent and received.
    Talkers,
    /// Protocols.
    Protocols,
    /// Services, by protocol and port.
    Ports,
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
}

impl<'a> Source<'a> {
    fn layout(self) -> &'a Layout {
        match self {
            Self::Files(layout) => layout,
            Self::Shelf(shelf) => shelf.layout(),
        }
    }

    fn snapshot(self) -> Result<Snapshot, FileFault> {
        match self {
            Self::Files(layout) => Snapshot::of_files(layout),
            Self::Shelf(shelf) => shelf.snapshot(),
        }
    }
}

/// Answers a question.
///
/// # Errors
/// A folder of the store cannot be read. Files that are damaged are named in the answer, and passed over.
pub fn ask(source: Source<'_>, request: &Request) -> Result<Answer, FileFault> {
    match &request.question {
        Question::Talkers => gather::talkers(source, request),
        Question::Protocols => gather::protocols(source, request),
        Question::Ports => gather::ports(source, request),
        Question::Countries => places::countries(source, request),
        Question::Systems => places::systems(source, request),
        Question::Conversations => gather::conversations(source, request),
        Question::Series { step_ms, by_protocol } => gather::series(source, request, *step_ms, *by_protocol),
        Question::Host { address } => {
            let filter = Filter { addresses: vec![(*address).into()], ..request.filter.clone() };
            gather::host(source, &Request { filter, ..request.clone() }, *address)
        }
        Question::Records => records::records(source, request),
    }
}
