//! Parquet files: columns in, columns out. A file is written as a whole and appears under its name only when it is complete.

mod read;
mod texts;
mod write;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use parquet::basic::Type as Physical;
use parquet::errors::ParquetError;
use rustix::io::Errno;
use thiserror::Error;

use super::columns::Kind;
pub use read::Reader;
pub use write::{Effort, Writer};

/// Rows of a row group at most: what a reader decodes at once, and what compaction holds in memory.
pub const GROUP: usize = 131_072;

/// The key in a file's metadata that says which version of the columns it has.
pub const SCHEMA_KEY: &str = "flowprobe.schema";

/// Why a file of the store cannot be written or read.
#[derive(Debug, Error)]
#[error("{}: {problem}", path.display())]
pub struct FileFault {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a file.
#[derive(Debug, Error)]
pub enum Problem {
    /// The system refuses.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is no file of this kind, or is damaged.
    #[error("{0}")]
    Parquet(ParquetError),
    /// It is damaged in a way that its reader has no word for.
    #[error("it is damaged")]
    Damaged,
    /// A column is not what it is to be.
    #[error("the column {name} is not what this version of flowprobe knows it as")]
    Column {
        /// Its name.
        name: String,
    },
}

impl From<ParquetError> for Problem {
    fn from(error: ParquetError) -> Self {
        // What the system said is inside.
        match error {
            ParquetError::External(inner) => match inner.downcast::<io::Error>() {
                Ok(error) => Self::Io(*error),
                Err(other) => Self::Parquet(ParquetError::External(other)),
            },
            error => Self::Parquet(error),
        }
    }
}

impl FileFault {
    /// Whether the file is not there.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(&self.problem, Problem::Io(error) if error.kind() == io::ErrorKind::NotFound)
    }

    /// Whether it is the file itself that is wrong, and not the system that refuses.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match &self.problem {
            Problem::Parquet(_) | Problem::Damaged | Problem::Column { .. } => true,
            // It is shorter than it says, what is packed in it does not unpack, or it is what a disk answers that has lost a block, or a
            // file system that finds so.
            Problem::Io(error) => {
                let errno = error.raw_os_error().map(Errno::from_raw_os_error);
                error.kind() == io::ErrorKind::UnexpectedEof
                    || (error.kind() == io::ErrorKind::Other && errno.is_none())
                    || matches!(errno, Some(Errno::IO | Errno::BADMSG | Errno::UCLEAN | Errno::INVAL))
            }
        }
    }

    pub(super) fn at(path: &Path) -> impl Fn(Problem) -> Self + '_ {
        |problem| Self { path: path.to_owned(), problem }
    }

    pub(super) fn io(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        |error| Self { path: path.to_owned(), problem: Problem::Io(error) }
    }
}

/// Moves a finished file to where it is read, or exchanges folders in the same way: after this it is there, whatever happens.
///
/// # Errors
/// The system refuses.
pub fn publish(from: &Path, to: &Path) -> Result<(), FileFault> {
    fs::rename(from, to).map_err(FileFault::io(to))?;
    sync_folder(to.parent().unwrap_or(to))
}

/// Waits until what a folder has is on the disk.
///
/// # Errors
/// The system refuses.
pub fn sync_folder(folder: &Path) -> Result<(), FileFault> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(FileFault::io(folder))
}

const fn is_optional(kind: Kind) -> bool {
    matches!(kind, Kind::OptionalAddress | Kind::Mac | Kind::Text | Kind::Name)
}

const fn physical(kind: Kind) -> Physical {
    match kind {
        Kind::Time | Kind::Count | Kind::Id => Physical::INT64,
        Kind::Number => Physical::INT32,
        Kind::Address | Kind::OptionalAddress | Kind::Mac | Kind::Text | Kind::Name => Physical::BYTE_ARRAY,
    }
}
