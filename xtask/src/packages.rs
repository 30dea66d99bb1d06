//! Debian packages that tests and benchmarks call by their programs.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::process;

/// A program that is called, and the package that has it.
pub(crate) type Need = (&'static str, &'static str);

/// Real counterparts of the end-to-end tests.
pub(crate) const COUNTERPARTS: [Need; 11] = [
    ("ip", "iproute2"),
    ("ping", "iputils-ping"),
    ("ethtool", "ethtool"),
    ("iperf3", "iperf3"),
    ("nfdump", "nfdump"),
    ("nfacctd", "pmacct"),
    ("ipfixDump", "libfixbuf-tools"),
    ("tshark", "tshark"),
    ("socat", "socat"),
    ("openssl", "openssl"),
    ("bpftool", "bpftool"),
];

/// Whether we may install packages: Debian's kind of system, and root.
fn can_install() -> bool {
    Path::new("/etc/debian_version").exists() && process::on_path("apt-get") && rustix::process::geteuid().is_root()
}

/// Installs those of `programs`, each with its package, that are not there; what stays missing is returned, as lines to show.
pub(crate) fn install(programs: &[Need], allowed: bool) -> Vec<String> {
    let missing: Vec<_> = programs.iter().filter(|(program, _)| !process::on_path(program)).collect();
    if missing.is_empty() {
        return Vec::new();
    }
    let packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
    if !allowed {
        return not_installed(&packages, "--no-install");
    }
    if !can_install() {
        return not_installed(&packages, "only root on Debian's kind of system can");
    }
    println!("installing missing packages: {}", packages.join(" "));
    if let Err(error) = process::run(apt_get().args(["-qq", "update"])) {
        return not_installed(&packages, &format!("{error:#}"));
    }
    // One by one, so that a package which this release does not have is the only one to be missed.
    packages
        .into_iter()
        .flat_map(|package| match install_one(package) {
            Ok(()) => Vec::new(),
            Err(error) => not_installed(&[package], &format!("{error:#}")),
        })
        .collect()
}

fn not_installed(packages: &[&str], why: &str) -> Vec<String> {
    packages.iter().map(|package| format!("package {package} not installed: {why}")).collect()
}

fn install_one(package: &str) -> Result<()> {
    process::run(apt_get().args(["-qq", "install", "--yes", "--no-install-recommends", package]))
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}
