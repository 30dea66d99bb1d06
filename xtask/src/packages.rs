//! What tests and benchmarks call: Debian packages, Python's, and programs that are built from crates.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{process, workspace};

/// A program that is called, and the package that has it.
pub(crate) type Need = (&'static str, &'static str);

/// Real counterparts of the end-to-end tests.
pub(crate) const COUNTERPARTS: [Need; 18] = [
    ("ip", "iproute2"),
    ("ping", "iputils-ping"),
    ("ethtool", "ethtool"),
    ("iperf3", "iperf3"),
    ("nfdump", "nfdump"),
    ("nfacctd", "pmacct"),
    ("softflowd", "softflowd"),
    ("ipfixDump", "libfixbuf-tools"),
    ("tcpdump", "tcpdump"),
    ("tshark", "tshark"),
    ("socat", "socat"),
    ("tmux", "tmux"),
    ("openssl", "openssl"),
    ("bpftool", "bpftool"),
    ("chromium", "chromium"),
    ("chromedriver", "chromium-driver"),
    ("faketime", "faketime"),
    ("curl", "curl"),
];

/// Real counterparts of the end-to-end tests whose packages start them on this machine as soon as they are installed: these are
/// unpacked, and found there.
pub(crate) const UNPACKED: [Need; 3] = [("fprobe", "fprobe"), ("prometheus", "prometheus"), ("promtool", "prometheus")];

/// Python's packages by which the end-to-end tests read the files of history, and hold the API against its document.
pub(crate) const PYTHON: [&str; 2] = ["duckdb", "openapi_spec_validator"];

/// A program that is built from its crate: its version and its features.
pub(crate) type Crate = (&'static str, &'static str, &'static str);

/// A server that speaks S3 and checks signatures, to which the end-to-end tests send history. Of its versions the last that the stable
/// Rust of this project builds.
pub(crate) const CRATES: [Crate; 1] = [("s3s-fs", "0.14.1", "binary")];

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

/// Unpacks those of `programs` that are nowhere into `folder`; what stays missing is returned, as lines to show.
pub(crate) fn unpack(programs: &[Need], folder: &Path, allowed: bool) -> Vec<String> {
    let is_in = |place: &&str, program: &str| folder.join(place).join(program).is_file();
    let there = |program: &str| process::on_path(program) || PLACES.iter().any(|place| is_in(place, program));
    // Looked at one by one: a package has brought all of its programs.
    let missing = programs.iter().filter(|(program, _)| !there(program));
    missing
        .flat_map(|(_, package)| {
            if !allowed {
                return not_installed(&[package], "--no-install");
            }
            match unpack_one(package, folder) {
                Ok(()) => Vec::new(),
                Err(error) => not_installed(&[package], &format!("{error:#}")),
            }
        })
        .collect()
}

/// Puts Python's packages that the end-to-end tests read with into `folder`; what stays missing is returned, as lines to show.
pub(crate) fn install_python(packages: &[&str], folder: &Path, allowed: bool) -> Vec<String> {
    let is_missing = |package: &&&str| !folder.join(package).is_dir();
    let missing: Vec<&str> = packages.iter().filter(is_missing).copied().collect();
    if missing.is_empty() {
        return Vec::new();
    }
    if !allowed {
        return not_installed(&missing, "--no-install");
    }
    let mut pip = Command::new("python3");
    // Wheels only: nothing is built here, and nothing of the system's changes.
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:", "--target"]);
    match process::run(pip.arg(folder).args(&missing)) {
        Ok(()) => Vec::new(),
        Err(error) => not_installed(&missing, &format!("{error:#}")),
    }
}

/// Builds programs from their crates into `folder`; what stays missing is returned, as lines to show.
pub(crate) fn install_crates(crates: &[Crate], folder: &Path, allowed: bool) -> Vec<String> {
    let root = folder.join("usr");
    let there = |program: &str| process::on_path(program) || folder.join(PLACES[0]).join(program).is_file();
    let missing = crates.iter().filter(|(program, ..)| !there(program));
    missing
        .flat_map(|(program, version, features)| {
            if !allowed {
                return not_installed(&[program], "--no-install");
            }
            let mut cargo = workspace::cargo();
            // As fast as tests need it: it is built once.
            cargo.args(["install", program, "--version", version, "--features", features, "--locked", "--debug"]);
            match process::run(cargo.args(["--quiet", "--root"]).arg(&root)) {
                Ok(()) => Vec::new(),
                Err(error) => not_installed(&[program], &format!("{error:#}")),
            }
        })
        .collect()
}

/// `PATH`, and behind it the programs that were unpacked or built into `folder`.
pub(crate) fn path_with(folder: &Path) -> Result<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(PLACES.map(|programs| folder.join(programs)));
    std::env::join_paths(folders).context("PATH cannot be extended")
}

/// Where programs lie in their packages; cargo puts what it builds into the first.
const PLACES: [&str; 2] = ["usr/bin", "usr/sbin"];

fn unpack_one(package: &str, folder: &Path) -> Result<()> {
    let downloads = folder.join("download");
    fs::create_dir_all(&downloads).with_context(|| format!("cannot create {}", downloads.display()))?;
    // Else apt complains that its own user cannot write there.
    let download = ["-qq", "-o", "APT::Sandbox::User=root", "download", package];
    process::run(apt_get().args(download).current_dir(&downloads))?;
    let file = fs::read_dir(&downloads)?.next().context("apt-get downloaded no package")??.path();
    process::run(Command::new("dpkg-deb").arg("--extract").arg(&file).arg(folder))?;
    fs::remove_dir_all(&downloads).with_context(|| format!("cannot remove {}", downloads.display()))
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
