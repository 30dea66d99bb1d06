//! What a process holds, by its `/proc` folder: memory, file descriptors, BPF maps.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// A BPF map that a process holds open.
#[derive(Clone, Debug)]
pub struct HeldMap {
    /// Its name.
    pub name: String,
    /// The entries that it may have.
    pub max_entries: u64,
    /// What the kernel charges for it, octets.
    pub octets: u64,
}

/// A line of `/proc/PID/status` that is in kB, in octets: `VmRSS` is what the process has in memory, `VmHWM` the most that it
/// ever had.
///
/// # Errors
/// The process is gone, or there is no such line.
pub fn memory(pid: u32, line: &str) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let value = field(&text, line).with_context(|| format!("no {line} of process {pid}"))?;
    let kibibytes: u64 = value.trim_end_matches("kB").trim().parse().with_context(|| format!("{line}: {value}"))?;
    Ok(kibibytes << 10)
}

/// CPU time that a process has taken so far, all threads, in user space and in the kernel.
///
/// # Errors
/// The process is gone.
pub fn cpu_time(pid: u32) -> Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in brackets may contain anything.
    let (_, rest) = text.rsplit_once(')').context("no name in brackets")?;
    let mut ticks = rest.split_whitespace().skip(11).map(str::parse::<u64>);
    let (user, kernel) = (ticks.next().context("no user time")??, ticks.next().context("no system time")??);
    Ok(Duration::from_millis((user + kernel) * 1000 / rustix::param::clock_ticks_per_second()))
}

/// How many descriptors of each kind a process has open: `anon_inode:bpf-map`, `anon_inode:bpf-prog`, `anon_inode:bpf_link`,
/// `socket`, `pipe` and so on; files by their paths.
///
/// # Errors
/// The process is gone.
pub fn descriptors(pid: u32) -> Result<BTreeMap<String, usize>> {
    let mut kinds = BTreeMap::new();
    for (_, target) in open_files(pid)? {
        // `socket:[1234]`: which one does not matter.
        let kind = target.split(":[").next().unwrap_or_default().to_owned();
        *kinds.entry(kind).or_default() += 1;
    }
    Ok(kinds)
}

/// The BPF maps that a process holds, each once.
///
/// # Errors
/// The process is gone, or its maps cannot be asked about.
pub fn maps(pid: u32) -> Result<Vec<HeldMap>> {
    let mut held = BTreeMap::new();
    for (descriptor, target) in open_files(pid)? {
        if target != "anon_inode:bpf-map" {
            continue;
        }
        let text = fs::read_to_string(format!("/proc/{pid}/fdinfo/{descriptor}"))?;
        let number = |name: &str| -> Result<u64> {
            let value = field(&text, name).with_context(|| format!("no {name} of descriptor {descriptor}"))?;
            Ok(value.parse()?)
        };
        held.insert(u32::try_from(number("map_id")?)?, (number("max_entries")?, number("memlock")?));
    }
    let mut maps = Vec::new();
    for map in aya::maps::loaded_maps() {
        let map = map?;
        if let Some((max_entries, octets)) = held.get(&map.id()).copied() {
            maps.push(HeldMap { name: map.name_as_str().unwrap_or_default().to_owned(), max_entries, octets });
        }
    }
    Ok(maps)
}

/// The numbers of a process's descriptors, and what they are.
fn open_files(pid: u32) -> Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let entry = entry?;
        // One that was closed meanwhile is not open.
        if let Ok(target) = fs::read_link(entry.path()) {
            files.push((entry.file_name().to_string_lossy().into_owned(), target.to_string_lossy().into_owned()));
        }
    }
    Ok(files)
}

/// What follows `name:` in a text of such lines.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn this_process_holds_what_it_opened() -> Result<()> {
        let pid = std::process::id();
        let before = descriptors(pid)?.get("/dev/null").copied().unwrap_or_default();
        let file = File::open("/dev/null")?;
        assert_eq!(descriptors(pid)?.get("/dev/null"), Some(&(before + 1)));
        drop(file);
        assert!(memory(pid, "VmHWM")? >= 1 << 20);
        assert!(memory(pid, "VmNothing").is_err());
        Ok(())
    }
}
