//! Where things are: the workspace, cargo's target folder, the daemon.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process;

/// The workspace's root folder. Cargo names it when it runs us; what was true when we were compiled is the fallback.
pub(crate) fn root() -> PathBuf {
    let manifest =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.parent().map_or_else(|| manifest.clone(), Path::to_path_buf)
}

/// Cargo's target folder: we lie in `<target>/<profile>/` ourselves, whatever variable or configuration chose it.
pub(crate) fn target() -> Result<PathBuf> {
    let ourselves = std::env::current_exe().context("cannot find the path of this program")?;
    let folder = ourselves.ancestors().nth(2).context("this program lies in no target folder")?;
    Ok(folder.to_path_buf())
}

/// What only some want of the daemon: tests are of all that it can be.
pub(crate) const FEATURES: &str = "flowprobe/object-store";

/// Builds the daemon in release mode and returns its path.
pub(crate) fn build_daemon() -> Result<PathBuf> {
    build_daemon_with(&[])
}

/// The same with all that it can be.
pub(crate) fn build_whole_daemon() -> Result<PathBuf> {
    build_daemon_with(&["--features", FEATURES])
}

fn build_daemon_with(more: &[&str]) -> Result<PathBuf> {
    let target = target()?;
    let mut build = cargo();
    build.args(["build", "--release", "--package", "flowprobe"]).args(more);
    process::run(build.arg("--target-dir").arg(&target))?;
    Ok(target.join("release").join("flowprobe"))
}

/// `cargo test`, `cargo build` and the like of the whole workspace: what is built of some packages alone has other features, and all
/// that they depend on is compiled once more.
pub(crate) fn cargo_of_all(command: &str) -> Command {
    let mut cargo = cargo();
    cargo.args([command, "--workspace", "--features", FEATURES]);
    cargo
}

/// The cargo that runs us, in the workspace.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}
