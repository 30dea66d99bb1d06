//! Hours that are over go to storage that speaks S3 as well, where a site that outgrows one machine asks with ClickHouse, Trino or
//! Spark.
//!
//! ```text
//! compaction ─► flows/hour=…/hour-….parquet ─► uploader ─► bucket: PREFIX/flows/hour=…/hour-….parquet
//!                                                 └► marks: which files are there
//! ```
//!
//! Each row is there once. An object is called by the first file that its hour had here ([`FIRST_KEY`]), and what is made of that
//! file and what came late is called the same: it takes the object's place in a single step. An hour that was deleted here and begins
//! anew has a first file of its own, and so an object beside the other. A kill between an upload and its mark costs that upload once
//! more, to the same name.
//!
//! Nothing waits for it: the uploader has a thread of its own, and is told when there may be something to do.
//!
//! [`FIRST_KEY`]: super::compaction::FIRST_KEY

#[cfg(feature = "object-store")]
mod bucket;
mod marks;
#[cfg(all(test, feature = "object-store"))]
mod tests;
#[cfg(feature = "object-store")]
mod uploader;

use serde::{Deserialize, Serialize};
use thiserror::Error;

#[cfg(feature = "object-store")]
pub use bucket::Bucket;
pub use marks::Marks;
#[cfg(feature = "object-store")]
pub use uploader::{Running, start};

use crate::config::CredentialsError;
use crate::export::transport::TlsError;

/// Octets of a file that are in memory at once, and go out at once.
pub const PART: u64 = 8 << 20;

/// Octets of memory at most: a part, what the connection has of it, and the other side's certificates.
pub const MOST_OCTETS: u64 = 2 * PART + (4 << 20);

/// How it goes with what goes elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemoteCondition {
    /// Where it goes.
    pub name: String,
    /// Files of hours that were sent since the start: an hour for which records come late is sent again.
    pub sent_hours: u64,
    /// Their octets.
    pub sent_octets: u64,
    /// Hours whose file is not there yet, as last counted.
    pub waiting_hours: u64,
    /// Hours that were deleted, or turned out to be damaged, before all of them was there.
    pub missed_hours: u64,
    /// What is wrong, as long as it is: such as a server that is away.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub problem: Option<String>,
    /// How often something was wrong since the start.
    pub problems: u64,
}

/// Why nothing can be sent to a bucket.
#[derive(Debug, Error)]
pub enum BucketFault {
    /// There are no keys.
    #[error("{0}")]
    Keys(#[from] CredentialsError),
    /// Whom to trust is not known.
    #[error("{0}")]
    Tls(Box<TlsError>),
    /// The other side, the way to it, or the library that speaks to it refuses.
    #[error("{said}")]
    Refused {
        /// What it says.
        said: String,
    },
}
