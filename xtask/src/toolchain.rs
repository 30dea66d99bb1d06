//! What the eBPF build runs on: nightly Rust with the sources of `core`, and bpf-linker. Finds them, and says in words
//! which versions they are.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{process, workspace};

/// The release series of bpf-linker that the objects are built with.
pub(crate) const BPF_LINKER: &str = "0.13";

/// `FLOWPROBE_NIGHTLY` names another toolchain than rustup's `nightly`, say `nightly-2026-05-20`.
pub(crate) fn nightly_name() -> String {
    std::env::var("FLOWPROBE_NIGHTLY").unwrap_or_else(|_| "nightly".to_owned())
}

/// A nightly Rust toolchain that rustup knows.
pub(crate) struct Nightly {
    pub(crate) name: String,
    pub(crate) sysroot: PathBuf,
    /// `rustc -vV`
    facts: String,
}

impl Nightly {
    pub(crate) fn find() -> Result<Self, Missing> {
        let name = nightly_name();
        let rustc = |arguments: &[&str]| process::read(rustup_run(&name).arg("rustc").args(arguments));
        match (rustc(&["-vV"]), rustc(&["--print", "sysroot"])) {
            (Ok(facts), Ok(sysroot)) => Ok(Self { name, sysroot: PathBuf::from(sysroot.trim()), facts }),
            _ => Err(Missing(format!(
                "no Rust toolchain `{name}`: install it with `rustup toolchain install {name} --profile minimal \
                 --component rust-src`, or name another in FLOWPROBE_NIGHTLY"
            ))),
        }
    }

    /// `cargo` of this toolchain, in the workspace.
    pub(crate) fn cargo(&self) -> Command {
        self.run(Path::new("cargo"))
    }

    /// A program in the environment of this toolchain.
    pub(crate) fn run(&self, program: &Path) -> Command {
        let mut command = rustup_run(&self.name);
        command.arg(program).current_dir(workspace::root());
        command
    }

    /// Where the sources of the standard library belong.
    pub(crate) fn source(&self) -> PathBuf {
        self.sysroot.join("lib/rustlib/src/rust/library")
    }

    pub(crate) fn has_source(&self) -> bool {
        self.source().join("core/src/lib.rs").is_file()
    }

    /// One of the facts of `rustc -vV`, by its label.
    pub(crate) fn fact(&self, label: &str) -> &str {
        self.facts.lines().find_map(|line| line.strip_prefix(label)?.strip_prefix(": ")).unwrap_or("unknown")
    }

    /// Like `1.97`: Debian's `rust-src` of the same series fits.
    pub(crate) fn series(&self) -> String {
        self.fact("release").split('.').take(2).collect::<Vec<_>>().join(".")
    }

    pub(crate) fn llvm_major(&self) -> &str {
        self.fact("LLVM version").split('.').next().unwrap_or_default()
    }
}

/// The bpf-linker to use.
pub(crate) struct Linker {
    pub(crate) path: PathBuf,
    version: String,
    /// Built by `setup-ebpf` with the nightly's LLVM; one from `PATH` may hold any LLVM.
    ours: bool,
}

impl Linker {
    /// Ours if `setup-ebpf` has built it, else one from `PATH`; only of the series that we know.
    pub(crate) fn find(nightly: &Nightly) -> Result<Self, Missing> {
        let ours = tools().map(|tools| tools.join("bin/bpf-linker")).unwrap_or_default();
        for (path, ours) in [(ours, true), (PathBuf::from("bpf-linker"), false)] {
            // rustup lets it find the LLVM of the toolchain.
            let Ok(said) = process::read(rustup_run(&nightly.name).arg(&path).arg("--version")) else {
                continue;
            };
            let Some(version) = said.trim().strip_prefix("bpf-linker ") else {
                continue;
            };
            if version.strip_prefix(BPF_LINKER).is_some_and(|rest| rest.starts_with('.')) {
                return Ok(Self { path, version: version.to_owned(), ours });
            }
        }
        Err(Missing(format!("no bpf-linker {BPF_LINKER}: `cargo xtask setup-ebpf` builds it")))
    }
}

impl fmt::Display for Linker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let llvm = if self.ours { "rustc's LLVM" } else { "its own LLVM, from PATH" };
        write!(formatter, "bpf-linker {} with {llvm}", self.version)
    }
}

/// All that the build needs.
pub(crate) struct Toolchain {
    pub(crate) nightly: Nightly,
    pub(crate) linker: Linker,
}

/// What is not there, and how to get it.
#[derive(Debug)]
pub(crate) struct Missing(pub(crate) String);

impl Toolchain {
    pub(crate) fn find() -> Result<Self, Missing> {
        let nightly = Nightly::find()?;
        if !nightly.has_source() {
            return Err(Missing(format!(
                "{} has no sources of core (rust-src): `cargo xtask setup-ebpf` gets them",
                nightly.name
            )));
        }
        let linker = Linker::find(&nightly)?;
        Ok(Self { nightly, linker })
    }

    /// What decides the bytes of the objects, as it stands in `object/VERSIONS`.
    pub(crate) fn versions(&self) -> Result<String> {
        Ok(format!(
            "# What built the objects in this folder; `cargo xtask build-ebpf` writes both.\n\
             rustc {} ({} {}) on {}\n\
             LLVM {}\n\
             core's sources {:016x}\n\
             {}\n",
            self.nightly.fact("release"),
            self.nightly.fact("commit-hash").get(..9).unwrap_or("unknown"),
            self.nightly.fact("commit-date"),
            self.nightly.fact("host"),
            self.nightly.fact("LLVM version"),
            source_fingerprint(&self.nightly.source())?,
            self.linker,
        ))
    }
}

/// Where `setup-ebpf` puts its tools.
pub(crate) fn tools() -> Result<PathBuf> {
    Ok(workspace::target()?.join("ebpf-tools"))
}

/// A command in the environment of a toolchain. What the cargo that runs us, or the user, set for other builds stays out.
fn rustup_run(toolchain: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", toolchain]);
    for variable in
        ["CARGO", "CARGO_INCREMENTAL", "RUSTC", "RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER", "CARGO_MANIFEST_DIR"]
    {
        command.env_remove(variable);
    }
    command
}

/// FNV-1a over names and contents of the sources that `-Z build-std=core` compiles. They come from rustup, from Debian
/// or from an archive, none of which leaves its version beside them.
fn source_fingerprint(library: &Path) -> Result<u64> {
    let mut files = Vec::new();
    for folder in ["core/src", "compiler-builtins/compiler-builtins/src"] {
        list_files(&library.join(folder), &mut files)?;
    }
    files.sort();
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for file in files {
        let content = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let name = OsString::from(file.strip_prefix(library).unwrap_or(&file));
        for byte in name.as_encoded_bytes().iter().chain(&content) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    Ok(hash)
}

fn list_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            list_files(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}
