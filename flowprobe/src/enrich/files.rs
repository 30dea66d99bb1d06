//! The files that names come from: read at the start, looked at every few seconds, and read anew when they have changed. A new one
//! that cannot be used changes nothing.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tracing::{error, info};

use super::database::Database;
use super::labels::Labels;
use super::vendors::Vendors;

/// What a file holds.
#[derive(Clone, Debug)]
pub(super) enum Contents {
    Database(Arc<Database>),
    Labels(Arc<Labels>),
    Vendors(Arc<Vendors>),
}

/// Which kind of file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    Database,
    Labels,
    Vendors,
}

impl FileKind {
    /// The key of the configuration by which it is named.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Database => "mmdb",
            Self::Labels => "labels",
            Self::Vendors => "mac-vendors",
        }
    }

    fn read(self, path: &Path) -> Result<Contents, String> {
        Ok(match self {
            Self::Database => Contents::Database(Arc::new(Database::open(path)?)),
            Self::Labels => Contents::Labels(Arc::new(Labels::open(path)?)),
            Self::Vendors => Contents::Vendors(Arc::new(Vendors::open(path)?)),
        })
    }
}

impl Contents {
    fn describe(&self) -> String {
        match self {
            Self::Database(database) => database.about.clone(),
            Self::Labels(labels) => format!("{} networks", labels.len()),
            Self::Vendors(vendors) => format!("{} prefixes", vendors.len()),
        }
    }
}

/// How a file fares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileCondition {
    /// Its path.
    pub path: String,
    /// The key of the configuration by which it is named.
    pub key: String,
    /// What is in use of it.
    pub contents: String,
    /// Since when, milliseconds since 1970 UTC.
    pub loaded_milliseconds: u64,
    /// How often it was read anew since the start.
    pub reloads: u64,
    /// How often it was to be read anew and could not be used.
    pub failed_reloads: u64,
    /// Why what is there now is not in use.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub problem: Option<String>,
}

/// What tells a file from another at the same path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    device: u64,
    inode: u64,
    octets: u64,
    modified: (i64, i64),
}

impl Mark {
    fn of(path: &Path) -> Option<Self> {
        let file = fs::metadata(path).ok()?;
        let modified = (file.mtime(), file.mtime_nsec());
        Some(Self { device: file.dev(), inode: file.ino(), octets: file.len(), modified })
    }
}

/// A file that is watched.
#[derive(Debug)]
pub(super) struct Watched {
    kind: FileKind,
    path: PathBuf,
    /// What is in use.
    pub(super) contents: Contents,
    /// The file that was read last, whether or not it could be used.
    read: Option<Mark>,
    /// What was there at the last look: a file is read when it has come to rest.
    seen: Option<Mark>,
    pub(super) condition: FileCondition,
}

impl Watched {
    /// Reads a file for the first time.
    ///
    /// # Errors
    /// It cannot be used; in words.
    pub(super) fn open(kind: FileKind, path: &Path, now_ms: u64) -> Result<Self, String> {
        let mark = Mark::of(path);
        let contents = kind.read(path)?;
        let condition = FileCondition {
            path: path.display().to_string(),
            key: kind.key().to_owned(),
            contents: contents.describe(),
            loaded_milliseconds: now_ms,
            ..FileCondition::default()
        };
        Ok(Self { kind, path: path.to_owned(), contents, read: mark, seen: mark, condition })
    }

    /// Looks whether the file has changed, and reads it then. Returns whether other contents are in use now.
    pub(super) fn look(&mut self, now_ms: u64) -> bool {
        let now = Mark::of(&self.path);
        let is_at_rest = now == self.seen;
        self.seen = now;
        if now == self.read || !is_at_rest {
            return false;
        }
        self.read = now;
        let path = self.path.display();
        match self.kind.read(&self.path) {
            Ok(contents) => {
                self.condition.contents = contents.describe();
                self.condition.loaded_milliseconds = now_ms;
                self.condition.reloads += 1;
                self.condition.problem = None;
                self.contents = contents;
                info!("{path} has changed and is in use: {}", self.condition.contents);
                true
            }
            Err(problem) => {
                error!("{path} has changed and cannot be used, what was there before is: {problem}");
                self.condition.failed_reloads += 1;
                self.condition.problem = Some(problem);
                false
            }
        }
    }
}
