//! What the process takes of the machine, as the kernel counts it.

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};
use serde::{Deserialize, Serialize};

/// What a process takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// When it was started, milliseconds since 1970 UTC.
    pub started_milliseconds: u64,
    /// Processor time that it has taken, of all its threads.
    pub cpu_seconds: f64,
    /// Octets of it that are in memory.
    pub resident_octets: u64,
    /// Octets of addresses that it has.
    pub virtual_octets: u64,
    /// Its threads.
    pub threads: u64,
    /// Files, sockets and the like that it has open.
    pub open_files: u64,
    /// How many it may have open.
    pub max_files: u64,
}

impl Process {
    /// This process; none where there is no `/proc`.
    #[must_use]
    pub fn this() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let boot = fs::read_to_string("/proc/stat").ok()?;
        let boot_seconds = boot.lines().find_map(|line| line.strip_prefix("btime ")?.parse().ok())?;
        let mut process = Self::parse(&stat, boot_seconds, clock_ticks_per_second(), page_size() as u64)?;
        // One of them is the folder that is being read.
        process.open_files = (fs::read_dir("/proc/self/fd").ok()?.count() as u64).saturating_sub(1);
        process.max_files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Some(process)
    }

    /// What `/proc/PID/stat` says (proc_pid_stat(5)); it has no files.
    fn parse(stat: &str, boot_seconds: u64, ticks_per_second: u64, page: u64) -> Option<Self> {
        // The name before it may have blanks and brackets in it.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        // Numbered as in the manual, where the first behind the name is the third.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let started = u128::from(field(22)?) * 1000 / u128::from(ticks_per_second);
        #[expect(clippy::cast_precision_loss, reason = "ticks of a thousand years have 42 bits")]
        let cpu_seconds = (field(14)? + field(15)?) as f64 / ticks_per_second as f64;
        Some(Self {
            started_milliseconds: boot_seconds * 1000 + u64::try_from(started).ok()?,
            cpu_seconds,
            resident_octets: field(24)? * page,
            virtual_octets: field(23)?,
            threads: field(20)?,
            ..Self::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn the_line_of_the_kernel_is_read_behind_whatever_name_it_has() {
        let stat = "77 (a) b (c) S 1 77 77 0 -1 4194560 900 0 3 0 250 75 0 0 20 0 14 0 500 1234567168 22274 18446744073709551615 1";
        let process = Process::parse(stat, 1_700_000_000, 100, 4096).expect("it can be read");
        assert_eq!(process.started_milliseconds, 1_700_000_005_000);
        assert_eq!((process.cpu_seconds, process.threads), (3.25, 14));
        assert_eq!((process.resident_octets, process.virtual_octets), (22_274 * 4096, 1_234_567_168));
        assert_eq!(Process::parse("77 (cut) S 1 77", 1_700_000_000, 100, 4096), None);
    }

    #[test]
    fn this_process_has_begun_and_has_files_open() {
        let process = Process::this().expect("there is /proc");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time");
        // The clock may have been set since the boot, but not by a day.
        assert!(Duration::from_millis(process.started_milliseconds) < now + Duration::from_secs(86_400), "{process:?}");
        assert!(process.resident_octets > 1 << 20 && process.virtual_octets > process.resident_octets, "{process:?}");
        assert!(
            process.threads >= 1 && process.open_files >= 3 && process.max_files >= process.open_files,
            "{process:?}"
        );
    }
}
