//! `cargo xtask build-and-run`: the daemon, built and started.

use std::ffi::OsString;
use std::fs;
use std::io::{IsTerminal, stdin};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::{process, workspace};

/// What the daemon cannot do without, by name and by bit in the kernel's capability sets.
const NEEDED: [(&str, u32); 3] = [("CAP_NET_ADMIN", 12), ("CAP_PERFMON", 38), ("CAP_BPF", 39)];

/// Build the daemon and run it on the default-route interface
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Passed to `flowprobe run`
    #[arg(last = true)]
    flags: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let missing = missing_capabilities()?;
    let sudo = !missing.is_empty() && process::on_path("sudo") && stdin().is_terminal();
    if !missing.is_empty() && !sudo {
        eprintln!(
            "error: metering needs root, or {}; this user lacks {}. Run as root, or \
             `cargo build --release -p flowprobe`, then \
             `setcap cap_net_admin,cap_perfmon,cap_bpf+ep target/release/flowprobe` as root, and start that file.",
            NEEDED.map(|(name, _)| name).join(" + "),
            missing.join(", "),
        );
        return Ok(ExitCode::from(2));
    }

    let daemon = workspace::build_daemon()?;
    let mut command = if sudo {
        eprintln!("{} needs root: starting it through sudo", daemon.display());
        let mut command = Command::new("sudo");
        command.arg(&daemon);
        command
    } else {
        Command::new(&daemon)
    };
    command.arg("run").args(store(&args.flags)?).args(&args.flags);
    // The daemon takes our place, so that signals reach it and its exit code is ours.
    Err(command.exec()).with_context(|| format!("cannot start {}", daemon.display()))
}

/// Where a daemon that was built to be tried out keeps history, unless its flags say so: in the build's folder.
fn store(flags: &[String]) -> Result<Vec<OsString>> {
    if has(flags, &["--store", "--config", "-c"]) {
        return Ok(Vec::new());
    }
    Ok(vec!["--store".into(), workspace::target()?.join("store").into()])
}

/// Whether one of these flags is among those that are passed on.
pub(crate) fn has(flags: &[String], names: &[&str]) -> bool {
    flags.iter().any(|flag| names.iter().any(|name| flag == name || flag.starts_with(&format!("{name}="))))
}

/// Which of the needed capabilities a program started by us will not have: root hands all of its own on, other users
/// only the ambient ones.
fn missing_capabilities() -> Result<Vec<&'static str>> {
    let field = if rustix::process::geteuid().is_root() { "CapEff:" } else { "CapAmb:" };
    let status = fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    let held = status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .with_context(|| format!("/proc/self/status has no {field} line"))?;
    // CAP_SYS_ADMIN (bit 21) includes the newer CAP_BPF and CAP_PERFMON.
    let sys_admin = held & (1 << 21) != 0;
    let has = |bit: u32| held & (1 << bit) != 0 || (sys_admin && bit >= 38);
    Ok(NEEDED.iter().filter(|(_, bit)| !has(*bit)).map(|(name, _)| *name).collect())
}
