//! What the demo's daemon is told and keeps: a folder in the build's, with the process id as its name. It stays when the demo has ended, so
//! that history and findings can be asked for, until the next one begins.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::lab::{CLIENTS, GATEWAY, OUTSIDE, SERVER};
use crate::build_and_run::has;
use crate::workspace;

/// Of beacons only what was to be waited for: five minutes are a long demo.
const SETTINGS: &str = "# Written by `cargo xtask demo`. All else is as it always is.\n[beacon]\nlasts = \"20s\"\n";

pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(super) fn new() -> Result<Self> {
        let all = workspace::target()?.join("demo");
        sweep(&all);
        let path = all.join(std::process::id().to_string());
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path })
    }

    /// What the daemon is started with, beside these flags, which win.
    pub(super) fn arguments(&self, flags: &[String]) -> Result<Vec<OsString>> {
        let mut arguments = Vec::new();
        if !has(flags, &["--store", "--config", "-c"]) {
            arguments.extend(["--store".into(), self.path.join("store").into()]);
        }
        if !has(flags, &["--findings", "--config", "-c"]) {
            arguments.extend(["--findings".into(), self.settings()?.into()]);
        }
        Ok(arguments)
    }

    fn settings(&self) -> Result<PathBuf> {
        let (devices, settings) = (self.path.join("devices.txt"), self.path.join("findings.toml"));
        let known = CLIENTS.iter().chain([&SERVER, &OUTSIDE]);
        let lines: String = known.map(|link| format!("{}  {}\n", link.mac, link.host)).collect();
        // With an address among them a device has ten seconds to get one, and is then said with it.
        let text = format!("# Who belongs here.\n{lines}{}  {GATEWAY}\n", CLIENTS[0].gateway());
        fs::write(&devices, text).with_context(|| format!("cannot write {}", devices.display()))?;
        let text = format!("{SETTINGS}\n[device]\napprovals = {devices:?}\n");
        fs::write(&settings, text).with_context(|| format!("cannot write {}", settings.display()))?;
        Ok(settings)
    }
}

/// Removes the folders of demos that have ended.
fn sweep(all: &Path) {
    for folder in fs::read_dir(all).into_iter().flatten().flatten() {
        let has_ended = folder.file_name().to_str().is_some_and(|id| !Path::new("/proc").join(id).exists());
        if has_ended && let Err(error) = fs::remove_dir_all(folder.path()) {
            eprintln!("warning: cannot remove {}: {error}", folder.path().display());
        }
    }
}
