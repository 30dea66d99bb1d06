//! A long capture made of a short one: the same frames again and again, each time later.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::process;

/// A pcap in memory: microseconds, little-endian.
pub(super) struct Capture {
    file: Vec<u8>,
    /// Where each frame's header begins.
    frames: Vec<usize>,
    /// Seconds from the first frame to a full one after the last.
    seconds: u32,
}

const FILE_HEADER: usize = 24;
const FRAME_HEADER: usize = 16;

impl Capture {
    /// Reads a pcap, also a gzipped one.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let file = if path.extension().is_some_and(|extension| extension == "gz") {
            process::read_octets(Command::new("gzip").args(["--decompress", "--stdout"]).arg(path))?
        } else {
            fs::read(path).with_context(|| format!("cannot read {}", path.display()))?
        };
        ensure!(file.starts_with(&[0xd4, 0xc3, 0xb2, 0xa1]), "{} is no little-endian pcap", path.display());
        let (mut frames, mut at) = (Vec::new(), FILE_HEADER);
        while let Some(length) = word(&file, at + 8) {
            frames.push(at);
            at += FRAME_HEADER + length as usize;
        }
        ensure!(at == file.len(), "{} is cut off", path.display());
        let times = || frames.iter().filter_map(|at| word(&file, *at));
        let (Some(first), Some(last)) = (times().min(), times().max()) else {
            bail!("{} has no frames", path.display());
        };
        Ok(Self { seconds: last - first + 1, file, frames })
    }

    /// Writes `copies` of it to a file, which is gone when what is returned drops.
    pub(super) fn repeat(&self, copies: u32, path: PathBuf) -> Result<Repeated> {
        let repeated = Repeated { packets: u64::from(copies) * self.frames.len() as u64, path };
        let cannot = || format!("cannot write {}", repeated.path.display());
        let mut out = BufWriter::new(File::create(&repeated.path).with_context(cannot)?);
        let mut file = self.file.clone();
        out.write_all(&file[..FILE_HEADER]).with_context(cannot)?;
        for _ in 0..copies {
            out.write_all(&file[FILE_HEADER..]).with_context(cannot)?;
            for &at in &self.frames {
                let second = word(&file, at).and_then(|second| second.checked_add(self.seconds));
                let later = second.context("the capture's clock would pass 2106")?;
                file[at..at + 4].copy_from_slice(&later.to_le_bytes());
            }
        }
        out.flush().with_context(cannot)?;
        Ok(repeated)
    }

    /// How many copies have at least `packets`; one, at the least.
    pub(super) fn copies_for(&self, packets: u32) -> u32 {
        packets.max(1).div_ceil(u32::try_from(self.frames.len()).unwrap_or(u32::MAX))
    }
}

/// A file that is removed when it is dropped.
pub(super) struct Repeated {
    pub(super) path: PathBuf,
    pub(super) packets: u64,
}

impl Drop for Repeated {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            eprintln!("warning: cannot remove {}: {error}", self.path.display());
        }
    }
}

fn word(file: &[u8], at: usize) -> Option<u32> {
    file.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}
