//! One process at a time has a spool.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a spool cannot be opened.
#[derive(Debug, Error)]
pub enum SpoolError {
    /// Another process has it.
    #[error("the spool folder `{}` is in use by another process: each flowprobe and each collector needs its own", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder or a file in it cannot be made, read or written.
    #[error("cannot use `{}` for the spool: {error}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
}

/// The lock on a folder, until this is dropped.
pub(super) struct Lock(File);

impl Lock {
    /// Takes the lock on `folder`.
    ///
    /// # Errors
    /// Somebody has it, or its file cannot be made.
    pub(super) fn take(folder: &Path) -> Result<Self, SpoolError> {
        let path = folder.join("lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        match file.map(|file| file.try_lock().map(|()| Self(file))) {
            Ok(Ok(lock)) => Ok(lock),
            Ok(Err(TryLockError::WouldBlock)) => Err(SpoolError::InUse { folder: folder.to_owned() }),
            Ok(Err(TryLockError::Error(error))) | Err(error) => Err(SpoolError::Io { path, error }),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough: a child process that is just being started has it open too.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_also_while_another_has_a_copy_of_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let lock = Lock::take(folder.path()).expect("it is free");
        // As a child process has between fork and exec.
        let copy = lock.0.try_clone().expect("a copy");
        assert!(matches!(Lock::take(folder.path()), Err(SpoolError::InUse { .. })));
        drop(lock);
        assert!(Lock::take(folder.path()).is_ok());
        drop(copy);
    }
}
