//! `cargo xtask build-ebpf`: the kernel objects that are committed in `flowprobe-ebpf/object`, and the proof that they
//! are what the source gives.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::toolchain::{Missing, Nightly, Toolchain};
use crate::{object_file, process, workspace};

/// The programs, and the objects that are made of them.
const OBJECTS: [(&str, &str); 2] = [("flowprobe-programs", "flowprobe.bpf.o"), ("traffic-programs", "traffic.bpf.o")];

/// Exit code of `--check` where the toolchain is missing and nothing was compared.
const CANNOT_CHECK: u8 = 3;

/// Build the kernel objects into flowprobe-ebpf/object, or check the committed ones
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Rebuild and compare with the committed objects instead of replacing them: exit 1 if they differ, 3 if the
    /// toolchain is missing
    #[arg(long)]
    check: bool,
}

/// What a check found out.
pub(crate) enum Check {
    /// The committed objects are what the source gives; in words, which comparison says so.
    Same(String),
    /// They are not: what differs.
    Different(Vec<String>),
    /// Nothing was compared, for want of a toolchain.
    CannotBuild(Missing),
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if args.check {
        return Ok(match check()? {
            Check::Same(how) => {
                println!("{how}");
                ExitCode::SUCCESS
            }
            Check::Different(what) => {
                eprintln!(
                    "error: the committed objects are not what the source gives; `cargo xtask build-ebpf` renews them"
                );
                for line in what {
                    eprintln!("  {line}");
                }
                ExitCode::FAILURE
            }
            Check::CannotBuild(Missing(what)) => {
                eprintln!("error: nothing compared: {what}");
                ExitCode::from(CANNOT_CHECK)
            }
        });
    }
    let toolchain = Toolchain::find().map_err(|Missing(what)| anyhow::Error::msg(what))?;
    let folder = committed_folder();
    for (name, bytes) in build(&toolchain)? {
        let path = folder.join(name);
        fs::write(&path, &bytes).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}: {} bytes", path.display(), bytes.len());
    }
    let versions = folder.join("VERSIONS");
    fs::write(&versions, toolchain.versions()?).with_context(|| format!("cannot write {}", versions.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Rebuilds the objects and compares them with the committed ones: byte for byte, or, where another toolchain cannot
/// give the same bytes, by programs and maps.
pub(crate) fn check() -> Result<Check> {
    let toolchain = match Toolchain::find() {
        Ok(toolchain) => toolchain,
        Err(missing) => return Ok(Check::CannotBuild(missing)),
    };
    let versions = toolchain.versions()?;
    let committed_versions = fs::read_to_string(committed_folder().join("VERSIONS")).unwrap_or_default();
    let mut different = Vec::new();
    let mut every_byte = true;
    for (name, built) in build(&toolchain)? {
        let path = committed_folder().join(name);
        let committed = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        if committed == built {
            continue;
        }
        every_byte = false;
        let in_programs_and_maps =
            object_file::differences(&object_file::contents(&committed)?, &object_file::contents(&built)?);
        let in_sections = if versions == committed_versions {
            object_file::different_sections(&committed, &built)?
        } else {
            Vec::new()
        };
        let lines = in_programs_and_maps.into_iter().chain(in_sections);
        different.extend(lines.map(|line| format!("{name}: {line}")));
    }
    if !different.is_empty() {
        return Ok(Check::Different(different));
    }
    Ok(Check::Same(if every_byte {
        "the committed objects are identical to what the source gives, byte for byte".to_owned()
    } else {
        format!(
            "the bytes cannot be compared, since other versions built the committed objects; their programs and maps \
             are those of the source, by name, type and size\n  committed: {}\n  here:      {}",
            one_line(&committed_versions),
            one_line(&versions),
        )
    }))
}

/// Builds both objects under the target folder and returns their final bytes.
fn build(toolchain: &Toolchain) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let target = workspace::target()?.join("ebpf");
    // The crates must be unpacked before their folders can be given names.
    let fetch = ["fetch", "--quiet", "--locked", "--target", "bpfel-unknown-none"];
    process::run(toolchain.nightly.cargo().args(fetch)).context("cannot fetch the crates of the kernel programs")?;
    let mut cargo = toolchain.nightly.cargo();
    cargo
        .args(["build", "--quiet", "--package", "flowprobe-ebpf", "--bins", "--features", "programs"])
        .args(["--profile", "ebpf", "--target", "bpfel-unknown-none", "-Zbuild-std=core", "--locked", "--target-dir"])
        .arg(&target)
        .env("CARGO_ENCODED_RUSTFLAGS", rustc_flags(toolchain)?);
    process::run(&mut cargo).context("the kernel programs do not build")?;
    OBJECTS
        .into_iter()
        .map(|(program, name)| {
            let path = target.join("bpfel-unknown-none/ebpf").join(program);
            let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok((name, object_file::strip_debug(&bytes)?))
        })
        .collect()
}

/// The flags of every crate of the build, in cargo's encoding (separated by 0x1f).
fn rustc_flags(toolchain: &Toolchain) -> Result<OsString> {
    let mut linker = OsString::from("-Clinker=");
    linker.push(&toolchain.linker.path);
    let mut flags = vec![
        // aya-ebpf's choice of `pt_regs`, which no program here reads: the same everywhere, for the same bytes everywhere.
        OsString::from("--cfg=bpf_target_arch=\"x86_64\""),
        // BTF is made of the debug information.
        "-Cdebuginfo=2".into(),
        linker,
        "-Clink-arg=--btf".into(),
        // Else LLVM calls a function that copies byte by byte where it could store words.
        "-Clink-arg=--disable-expand-memcpy-in-order".into(),
        "-Ctarget-cpu=v3".into(),
        "-Cpanic=abort".into(),
    ];
    for (path, name) in path_names(&toolchain.nightly)? {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(path);
        flag.push("=");
        flag.push(name);
        flags.push(flag);
    }
    let encoded: Vec<_> = flags.into_iter().map(OsStringExt::into_vec).collect();
    Ok(OsString::from_vec(encoded.join(&0x1f)))
}

/// What the paths of this machine are called in the objects, so that they do not depend on it. rustc takes the last
/// that fits, so the longer ones come last.
fn path_names(nightly: &Nightly) -> Result<Vec<(PathBuf, &'static str)>> {
    let cargo_home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(std::env::home_dir()?.join(".cargo")))
        .context("no home folder: set CARGO_HOME")?;
    let mut names = vec![(cargo_home.clone(), "/cargo"), (nightly.sysroot.clone(), "/sysroot")];
    // One folder for each registry or mirror, named by its host.
    for entry in fs::read_dir(cargo_home.join("registry/src")).into_iter().flatten() {
        names.push((entry?.path(), "/crates"));
    }
    names.push((workspace::root(), "/flowprobe"));
    Ok(names)
}

fn committed_folder() -> PathBuf {
    workspace::root().join("flowprobe-ebpf/object")
}

fn one_line(versions: &str) -> String {
    let lines: Vec<_> = versions.lines().filter(|line| !line.starts_with('#')).collect();
    if lines.is_empty() { "unknown".to_owned() } else { lines.join(", ") }
}
