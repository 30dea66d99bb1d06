//! A file system of a few kilobytes, to be full soon.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use tempfile::TempDir;

use crate::process::read;

/// A file system in memory, mounted on a folder of its own; unmounted and removed when dropped.
pub struct TinyDisk {
    folder: TempDir,
}

impl TinyDisk {
    /// One of `kibibytes`.
    ///
    /// # Errors
    /// It cannot be mounted.
    pub fn new(kibibytes: u32) -> Result<Self> {
        let folder = TempDir::new()?;
        let size = format!("size={kibibytes}k");
        read(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "flowprobe-test"]).arg(folder.path()))?;
        Ok(Self { folder })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Makes it as large as this.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn grow(&self, kibibytes: u32) -> Result<()> {
        let options = format!("remount,size={kibibytes}k");
        read(Command::new("mount").args(["-o", &options]).arg(self.path())).map(drop)
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        // Lazily, since a process that is being killed may have a file open there.
        if let Err(error) = read(Command::new("umount").arg("--lazy").arg(self.path())) {
            eprintln!("warning: {error:#}");
        }
    }
}
