//! What a benchmark itself has in memory.

use anyhow::{Context as _, Result};

/// KiB that the kernel says this process has or had in memory.
pub(crate) fn memory(field: &str) -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).context("no such line")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
