//! How a running daemon is: it answers on a local socket with one JSON object ([`Snapshot`]), and `flowprobe status` shows it
//! as a table, as it is, or as metrics. Whoever says a question to history there ([`crate::query`]) gets that answered instead.

mod client;
mod metrics;
mod process;
mod render;
mod server;
mod snapshot;

use std::convert::Infallible;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use client::{StatusError, exchange, print};
pub use metrics::{exposition, open_metrics};
pub use process::Process;
pub use server::{Server, State, Watched};
pub use snapshot::{Amount, Breakdown, InterfaceStatus, SinkStatus, Snapshot, Sum};

/// Where daemons have their sockets, each one named `PID.sock`.
pub const FOLDER: &str = "/run/flowprobe";

/// Where a daemon listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StatusSocket {
    /// In [`FOLDER`].
    #[default]
    Standard,
    /// At this path, or under this folder as `PID.sock`.
    At(PathBuf),
    /// Nowhere.
    Off,
}

impl StatusSocket {
    /// The socket of the process `pid`.
    #[must_use]
    pub fn path(&self, pid: u32) -> Option<PathBuf> {
        match self {
            Self::Standard => Some(in_folder(Path::new(FOLDER), pid)),
            Self::At(path) if path.is_dir() => Some(in_folder(path, pid)),
            Self::At(path) => Some(path.clone()),
            Self::Off => None,
        }
    }
}

/// `none`, or a path.
impl FromStr for StatusSocket {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(if text == "none" { Self::Off } else { Self::At(text.into()) })
    }
}

impl fmt::Display for StatusSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standard => f.write_str(FOLDER),
            Self::At(path) => write!(f, "{}", path.display()),
            Self::Off => f.write_str("none"),
        }
    }
}

fn in_folder(folder: &Path, pid: u32) -> PathBuf {
    folder.join(format!("{pid}.sock"))
}

/// The sockets of all daemons that have theirs in [`FOLDER`].
///
/// # Errors
/// The folder cannot be read.
pub fn all_sockets() -> Result<Vec<PathBuf>, StatusError> {
    let folder = Path::new(FOLDER);
    match sockets(folder) {
        Ok(found) => Ok(found.into_iter().map(|(_, path)| path).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(StatusError::Unreachable { path: folder.to_owned(), error }),
    }
}

/// The sockets of a folder, by process ID.
fn sockets(folder: &Path) -> std::io::Result<Vec<(u32, PathBuf)>> {
    let mut sockets = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some(pid) = name.and_then(|name| name.strip_suffix(".sock")).and_then(|pid| pid.parse().ok()) {
            sockets.push((pid, path));
        }
    }
    sockets.sort();
    Ok(sockets)
}
