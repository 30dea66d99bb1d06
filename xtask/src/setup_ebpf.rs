//! `cargo xtask setup-ebpf`: gets what `build-ebpf` needs, as far as it is missing: the sources of `core` for nightly
//! Rust, and bpf-linker. Everything else comes with nightly Rust itself.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::debian::Suite;
use crate::toolchain::{self, BPF_LINKER, Linker, Missing, Nightly};
use crate::{process, workspace};

/// Where Debian may have sources of the nightly's series: its suites move on, these are the newest two.
const SUITES: [&str; 2] = ["sid", "forky"];

/// Get what building the kernel objects needs: core's sources for nightly Rust, and bpf-linker
#[derive(clap::Args)]
pub(crate) struct Args {
    /// An archive of Rust's `library` folder, for machines where rustup cannot download it
    #[arg(long, value_name = "FILE")]
    rust_src: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let nightly = Nightly::find().map_err(|Missing(what)| anyhow::Error::msg(what))?;
    println!("nightly Rust: {} at {}", nightly.fact("release"), nightly.sysroot.display());

    if nightly.has_source() {
        println!("core's sources: there, {}", nightly.source().display());
    } else {
        get_source(&nightly, args.rust_src.as_deref())?;
    }

    if let Ok(linker) = Linker::find(&nightly) {
        println!("linker: there, {} ({linker})", linker.path.display());
    } else {
        build_linker(&nightly)?;
    }
    println!("ready for `cargo xtask build-ebpf`");
    Ok(ExitCode::SUCCESS)
}

/// From the archive if one is given; else from rustup, which has the very sources of that nightly; else from Debian.
fn get_source(nightly: &Nightly, archive: Option<&Path>) -> Result<()> {
    if let Some(archive) = archive {
        println!("core's sources: unpacking {}", archive.display());
        let scratch = Scratch::new(nightly)?;
        process::run(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(&scratch.0))?;
        return adopt(nightly, &scratch.0);
    }
    println!("core's sources: asking rustup for its component rust-src");
    let component = ["component", "add", "rust-src", "--toolchain", &nightly.name];
    let Err(rustup) = process::read(Command::new("rustup").args(component)) else {
        return Ok(());
    };
    println!("{rustup:#}");
    debian_source(nightly).with_context(|| {
        format!(
            "neither rustup nor Debian gave the sources of Rust {}: hand over an archive of them with --rust-src FILE",
            nightly.series()
        )
    })
}

/// Downloads and unpacks Debian's package `rust-src`.
fn debian_source(nightly: &Nightly) -> Result<()> {
    let scratch = Scratch::new(nightly)?;
    for suite in SUITES {
        match debian_suite(nightly, suite, &scratch.0.join(suite)) {
            Ok(unpacked) => return adopt(nightly, &unpacked),
            Err(error) => println!("Debian {suite}: {error:#}"),
        }
    }
    bail!("no rust-src {} in Debian's suites {}", nightly.series(), SUITES.join(" and "))
}

/// Downloads the package of the nightly's series from one suite and returns where it is unpacked.
fn debian_suite(nightly: &Nightly, suite: &str, folder: &Path) -> Result<PathBuf> {
    println!("core's sources: looking for rust-src {} in Debian {suite}", nightly.series());
    let archive = Suite::open(suite, folder)?;
    let series = format!("{}.", nightly.series());
    let versions = archive.versions("rust-src")?;
    let Some(version) = versions.iter().find(|version| version.starts_with(&series)) else {
        bail!("has rust-src {}, and nightly is {}", versions.join(", "), nightly.series());
    };
    println!("core's sources: downloading Debian's rust-src {version}");
    let unpacked = folder.join("unpacked");
    archive.unpack(&format!("rust-src={version}"), &unpacked)?;
    Ok(unpacked)
}

/// Moves the folder `library` of an unpacked archive to where the toolchain looks for it.
fn adopt(nightly: &Nightly, unpacked: &Path) -> Result<()> {
    let library = find_library(unpacked, 8).with_context(|| {
        format!("no folder `library` with core/src/lib.rs in what was unpacked to {}", unpacked.display())
    })?;
    let place = nightly.source();
    fs::create_dir_all(place.parent().context("the sysroot has no parent")?)?;
    fs::rename(&library, &place).with_context(|| format!("cannot move the sources to {}", place.display()))?;
    println!("core's sources: now at {}", place.display());
    Ok(())
}

/// Archives hold it at different depths.
fn find_library(folder: &Path, depth: usize) -> Option<PathBuf> {
    if folder.ends_with("library") && folder.join("core/src/lib.rs").is_file() {
        return Some(folder.to_path_buf());
    }
    let entries = fs::read_dir(folder).ok().filter(|_| depth > 0)?;
    let folders =
        entries.filter_map(|entry| entry.ok().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())));
    folders.into_iter().find_map(|entry| find_library(&entry.path(), depth - 1))
}

/// A folder to unpack in, on the toolchain's file system so that the result can be moved; gone when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(nightly: &Nightly) -> Result<Self> {
        let folder = nightly.sysroot.join(format!("lib/rustlib/src-{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("cannot write to {}", nightly.sysroot.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("warning: cannot remove {}: {error}", self.0.display());
        }
    }
}

/// Builds bpf-linker against the LLVM that comes with the toolchain, so that no LLVM package is needed and the LLVM that
/// reads the programs is the one that wrote them.
fn build_linker(nightly: &Nightly) -> Result<()> {
    let tools = toolchain::tools()?;
    let prefix = tools.join("llvm");
    fs::create_dir_all(prefix.join("lib")).with_context(|| format!("cannot create {}", prefix.display()))?;
    let link = prefix.join("lib/libLLVM.so");
    if link.is_symlink() {
        fs::remove_file(&link)?;
    }
    symlink(find_llvm(nightly)?, &link).with_context(|| format!("cannot link {}", link.display()))?;
    println!("linker: building bpf-linker {BPF_LINKER} into {} (a minute or two)", tools.display());
    let mut install = nightly.cargo();
    install
        .args(["install", "--quiet", "--locked", "bpf-linker", "--version", &format!("^{BPF_LINKER}")])
        .args(["--no-default-features", "--features", &format!("llvm-{}", nightly.llvm_major()), "--root"])
        .arg(&tools)
        .arg("--target-dir")
        .arg(workspace::target()?.join("ebpf-tools-build"))
        .env("LLVM_PREFIX", &prefix);
    process::run(&mut install)?;
    match Linker::find(nightly) {
        Ok(linker) => println!("linker: now at {} ({linker})", linker.path.display()),
        Err(Missing(what)) => bail!("bpf-linker was built, but does not run: {what}"),
    }
    Ok(())
}

/// The toolchain's own LLVM: a file like `libLLVM.so.22.1-rust-1.97.0-nightly`.
fn find_llvm(nightly: &Nightly) -> Result<PathBuf> {
    let folder = nightly.sysroot.join("lib");
    let prefix = format!("libLLVM.so.{}.", nightly.llvm_major());
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix)))
        .with_context(|| format!("no {prefix}* in {}", folder.display()))
}
