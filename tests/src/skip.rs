//! Tests that cannot run here: no root, no daemon, a tool missing.

use std::fs::OpenOptions;
use std::io::Write as _;

/// Returns from the test, saying why, unless it can run: as root, with a daemon to test, and with the programs named.
#[macro_export]
macro_rules! require {
    ($($program:literal),* $(,)?) => {
        fn here() {}
        let test = std::any::type_name_of_val(&here).trim_end_matches("::here");
        if !$crate::skip::can_run(test, &[$($program),*]) {
            return Ok(());
        }
    };
}

/// Returns from the test, saying why, where the kernel is older than the first that has `what`.
#[macro_export]
macro_rules! require_kernel {
    ($major:literal, $minor:literal, $what:literal) => {
        if !$crate::kernel::is_at_least($major, $minor) {
            fn here() {}
            let test = std::any::type_name_of_val(&here).trim_end_matches("::here");
            $crate::skip::note(test, concat!($what, ": since Linux ", $major, ".", $minor));
            return Ok(());
        }
    };
}

/// Whether `test` can run; if not, it is said on standard error and in the file that `FLOWPROBE_SKIP_FILE` names.
#[must_use]
pub fn can_run(test: &str, programs: &[&str]) -> bool {
    let Some(reason) = missing(programs) else {
        return true;
    };
    note(test, &reason);
    false
}

/// Says on standard error, and in the file that `FLOWPROBE_SKIP_FILE` names, that `test` cannot run and why.
pub fn note(test: &str, reason: &str) {
    // Past the capture of libtest, which hides what a passing test prints.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {reason}");
    if let Some(file) = std::env::var_os("FLOWPROBE_SKIP_FILE")
        && let Err(error) = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&file)
            .and_then(|mut file| writeln!(file, "{test}: {reason}"))
    {
        let _ = writeln!(std::io::stderr(), "cannot write to {}: {error}", file.display());
    }
}

fn missing(programs: &[&str]) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("network namespaces and BPF need root".to_owned());
    }
    if std::env::var_os("FLOWPROBE_BIN").is_none() {
        return Some("FLOWPROBE_BIN does not name the daemon; `cargo xtask test` builds it and does".to_owned());
    }
    let absent: Vec<&str> = ["ip"].iter().chain(programs).copied().filter(|program| !on_path(program)).collect();
    (!absent.is_empty()).then(|| format!("not installed: {}", absent.join(", ")))
}

fn on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}
