//! History: every record that leaves, on disk, in Parquet files that other programs read too ([`layout`] says where, [`flows`]
//! what is in them).
//!
//! ```text
//! sink ─► writer ─► part files of a few seconds ─► compaction ─► a file an hour, rollups ─► retention
//!            └► what is not written yet ───────────────────────────┐
//!                                        crate::query ◄── Snapshot ┴─ files
//! ```
//!
//! No file is ever changed: each appears whole, under a name that nothing had before, and an hour's parts are exchanged for one file
//! in a single step. So whoever reads finds every row exactly once, whatever has been killed when; what a kill can cost is what had
//! not been written yet, a few seconds of records.

mod checksum;
pub mod columns;
pub mod compaction;
pub mod file;
pub mod flows;
pub mod layout;
mod maintenance;
pub mod remote;
pub mod rollup;
mod shelf;
#[cfg(test)]
pub(crate) mod tests;
mod writer;

use std::fmt;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tracing::warn;

use crate::config::Remote;
use file::FileFault;
use layout::Layout;
pub use maintenance::{Retention, maintain};
#[cfg(feature = "object-store")]
use remote::Bucket;
use remote::{BucketFault, Marks};
pub use shelf::{Condition, Shelf, Snapshot};
pub use writer::{Running, Writer, start};

/// Where history is kept, and how much of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// The folder; none for no history.
    pub folder: Option<PathBuf>,
    /// Whether the folder was asked for: then it has to be had.
    pub is_wanted: bool,
    /// What is kept.
    pub retention: Retention,
    /// Where hours go when they are over, beside staying here.
    pub remote: Option<Remote>,
}

/// Octets of memory at most: rows that wait, a copy of them while they are written, two groups of rows that become one file, and
/// what is encoded of them.
#[must_use]
pub fn most_octets(is_enriched: bool) -> u64 {
    (2 * writer::MOST_WAITING + 2 * file::GROUP) as u64 * flows::octets_of_row(is_enriched) + (32 << 20)
}

/// Where history is kept by default.
pub const DEFAULT_FOLDER: &str = "/var/lib/flowprobe/store";

impl Default for StoreConfig {
    fn default() -> Self {
        Self { folder: Some(DEFAULT_FOLDER.into()), is_wanted: false, retention: Retention::default(), remote: None }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self { age: Duration::from_secs(30 * 24 * 3600), octets: 20 << 30 }
    }
}

/// In the form of the file.
impl fmt::Display for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let folder = self.folder.as_ref().map_or_else(|| "none".to_owned(), |folder| folder.display().to_string());
        writeln!(f, "store = {folder:?}")?;
        writeln!(f, "store-age = \"{}s\"", self.retention.age.as_secs())?;
        write!(f, "store-size = {}", self.retention.octets)?;
        self.remote.iter().try_for_each(|remote| write!(f, "\nstore-remote = {:?}", remote.to_string()))
    }
}

/// Why there is no history.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another daemon writes there.
    #[error("cannot keep history in {}: the flowprobe with process ID {pid} does; --store names another folder, or none", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// Its process ID, or `?`.
        pid: String,
    },
    /// It cannot be had.
    #[error("cannot keep history in {}: {error}; --store names another folder, or none", folder.display())]
    Unusable {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Hours that stay in parts cannot go elsewhere.
    #[error("history cannot go to {name}: the file system of {} cannot exchange folders, so hours stay in parts there", folder.display())]
    Parts {
        /// Where it is to go.
        name: String,
        /// The folder.
        folder: PathBuf,
    },
    /// What has gone elsewhere cannot be known.
    #[error("history cannot go to {name}: {fault}")]
    Marks {
        /// Where it is to go.
        name: String,
        /// What is wrong.
        fault: FileFault,
    },
    /// It cannot go where it is to go.
    #[error("history cannot go to {name}: {fault}")]
    Remote {
        /// Where it is to go.
        name: String,
        /// What is wrong.
        fault: BucketFault,
    },
}

/// A store that this process writes, and nobody else as long as it lives.
#[derive(Debug)]
pub struct Store {
    shelf: Arc<Shelf>,
    /// Where hours go when they are over.
    remote: Option<Remote>,
    _lock: File,
}

impl Store {
    /// Opens the store in `folder` for writing, makes it where it is not there, and removes what earlier processes left unfinished.
    ///
    /// # Errors
    /// Another process writes there, or the system refuses.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let unusable = |error| StoreError::Unusable { folder: folder.to_owned(), error };
        let layout = Layout::new(folder);
        if !folder.exists() {
            // Who talked to whom is nobody's business but the operator's.
            DirBuilder::new().recursive(true).mode(0o750).create(folder).map_err(unusable)?;
        }
        for part in [layout.flows(), layout.unfinished()] {
            fs::create_dir_all(part).map_err(unusable)?;
        }
        let mut lock = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(layout.lock())
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let _ = lock.read_to_string(&mut pid);
                let pid = if pid.trim().is_empty() { "?".to_owned() } else { pid.trim().to_owned() };
                return Err(StoreError::InUse { folder: folder.to_owned(), pid });
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id())).map_err(unusable)?;
        sweep(&layout);
        let can_exchange = compaction::can_exchange(&layout);
        if let Err(error) = &can_exchange {
            warn!(
                "history in {} stays in files of a few seconds: folders cannot be exchanged there: {error}",
                folder.display()
            );
        }
        Ok(Self { shelf: Arc::new(Shelf::new(layout, can_exchange.is_ok())), remote: None, _lock: lock })
    }

    /// Lets hours that are over go to `remote` from when it is started.
    ///
    /// # Errors
    /// They cannot.
    pub fn send_to(&mut self, remote: &Remote) -> Result<(), StoreError> {
        let (name, layout) = (remote.name(), self.shelf.layout());
        if !self.shelf.can_exchange() {
            return Err(StoreError::Parts { name, folder: layout.root().to_owned() });
        }
        // What cannot work at all is found before anything starts.
        #[cfg(feature = "object-store")]
        Bucket::open(remote).map_err(|fault| StoreError::Remote { name: name.clone(), fault })?;
        let marks =
            Marks::read(layout, &remote.place()).map_err(|fault| StoreError::Marks { name: name.clone(), fault })?;
        self.shelf.send(marks, name);
        self.remote = Some(remote.clone());
        Ok(())
    }

    /// What is in it, for those who write and read in this process.
    #[must_use]
    pub const fn shelf(&self) -> &Arc<Shelf> {
        &self.shelf
    }
}

/// Removes what is not finished or has been replaced. Nothing of it is part of the store.
fn sweep(layout: &Layout) {
    for entry in fs::read_dir(layout.unfinished()).into_iter().flatten().flatten() {
        let path = entry.path();
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        if let Err(error) = removed {
            warn!("cannot remove {}: {error}", path.display());
        }
    }
}
