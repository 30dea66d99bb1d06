//! `cargo xtask fuzz`: arbitrary octets as frames, as captures and as messages of exporters, with cargo-fuzz and nightly Rust.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::toolchain::{Missing, Nightly};
use crate::{process, workspace};

/// The workspace of the programs that are fuzzed.
pub(crate) const MANIFEST: &str = "flowprobe-ebpf/fuzz/Cargo.toml";

/// The release series of cargo-fuzz that is installed.
const CARGO_FUZZ: &str = "0.13";

/// Give the parser, the reader of captures and the listening side arbitrary octets
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to fuzz; each in turn if not given
    target: Option<Target>,
    /// How long each is fuzzed
    #[arg(long, default_value_t = 60, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Build all of them, and fuzz none
    #[arg(long, conflicts_with_all = ["target", "seconds"])]
    build: bool,
}

/// A program in `flowprobe-ebpf/fuzz/targets`.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Target {
    /// Frames: the parser against the second reading of its rules
    Parser,
    /// Captures: their reader, the table and the outputs
    Capture,
    /// Messages of exporters: the listening side, JSON, and IPFIX read again
    Exporters,
}

impl Target {
    pub(crate) const ALL: [Self; 3] = [Self::Parser, Self::Capture, Self::Exporters];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Parser => "parser",
            Self::Capture => "capture",
            Self::Exporters => "exporters",
        }
    }

    /// Of `cargo xtask test`.
    pub(crate) const fn step(self) -> &'static str {
        match self {
            Self::Parser => "fuzz frames",
            Self::Capture => "fuzz captures",
            Self::Exporters => "fuzz messages of exporters",
        }
    }

    /// Octets of the largest input: all headers that a frame can have; a few frames; a few messages.
    const fn longest(self) -> u32 {
        match self {
            Self::Parser => 512,
            Self::Capture => 4096,
            Self::Exporters => 8192,
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let fuzzer = Fuzzer::find().map_err(|Missing(what)| anyhow::Error::msg(what))?;
    if args.build {
        fuzzer.build()?;
        return Ok(ExitCode::SUCCESS);
    }
    for target in args.target.map_or(Target::ALL.to_vec(), |target| vec![target]) {
        fuzzer.run(target, args.seconds)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What fuzzing takes.
pub(crate) struct Fuzzer {
    nightly: Nightly,
    cargo_fuzz: PathBuf,
    /// Inputs and what is built, in cargo's target folder.
    work: PathBuf,
}

impl Fuzzer {
    /// Finds nightly Rust, and cargo-fuzz, which is installed into the target folder where it is missing.
    pub(crate) fn find() -> Result<Self, Missing> {
        let nightly = Nightly::find()?;
        let target = workspace::target().map_err(|error| Missing(format!("{error:#}")))?;
        let tools = target.join("fuzz-tools");
        let cargo_fuzz = tools.join("bin/cargo-fuzz");
        if !cargo_fuzz.is_file() {
            println!("installing cargo-fuzz {CARGO_FUZZ} into {}", tools.display());
            let mut install = nightly.cargo();
            install.args(["install", "--quiet", "--locked", "cargo-fuzz", "--version", &format!("^{CARGO_FUZZ}")]);
            install.arg("--root").arg(&tools).arg("--target-dir").arg(target.join("fuzz-tools-build"));
            process::run(&mut install).map_err(|error| Missing(format!("no cargo-fuzz: {error:#}")))?;
        }
        Ok(Self { nightly, cargo_fuzz, work: target.join("fuzz") })
    }

    /// Fuzzes for so many seconds. An error if something was found; it says which input does it.
    pub(crate) fn run(&self, target: Target, seconds: u32) -> Result<()> {
        let name = target.name();
        let [found, seeds] = ["corpus", "seeds"].map(|folder| self.work.join(folder).join(name));
        fs::create_dir_all(&found).with_context(|| format!("cannot create {}", found.display()))?;
        self.write_seeds()?;
        let mut command = self.nightly.run(&self.cargo_fuzz);
        command.args(["run", name]).arg(&found).arg(&seeds);
        self.add_flags(&mut command);
        command.arg("--").arg(format!("-dict={}", folder().join(format!("{name}.dict")).display()));
        command.args([
            format!("-max_total_time={seconds}"),
            format!("-max_len={}", target.longest()),
            "-timeout=10".to_owned(),
            "-rss_limit_mb=1024".to_owned(),
            "-print_final_stats=1".to_owned(),
            "-verbosity=0".to_owned(),
        ]);
        println!("{}", process::line(&command));
        process::run(&mut command)
    }

    /// Builds all targets as [`Self::run`] would, which then finds them built.
    fn build(&self) -> Result<()> {
        let mut command = self.nightly.run(&self.cargo_fuzz);
        self.add_flags(command.arg("build"));
        println!("{}", process::line(&command));
        process::run(&mut command)
    }

    /// What decides how the targets are built, and where.
    fn add_flags(&self, command: &mut Command) {
        command.arg("--fuzz-dir").arg(folder());
        // The code under test has no `unsafe` of its own: a sanitizer would find nothing, slowly.
        command.args(["--sanitizer", "none", "--target-dir"]).arg(self.work.join("target"));
    }

    /// Inputs made of the captures that lie beside some checkouts; without them there is only the dictionary to begin with.
    fn write_seeds(&self) -> Result<()> {
        let target = workspace::target()?;
        let mut build = workspace::cargo_of_all("build");
        process::run(build.args(["--quiet", "--example", "fuzz_seeds", "--target-dir"]).arg(&target))?;
        process::run(Command::new(target.join("debug/examples/fuzz_seeds")).arg(self.work.join("seeds")))
    }
}

/// Where the targets lie.
fn folder() -> PathBuf {
    workspace::root().join("flowprobe-ebpf/fuzz")
}

/// Why nothing can be fuzzed here, whatever may be installed.
pub(crate) fn missing_compilers() -> Option<Missing> {
    if !process::on_path("c++") {
        return Some(Missing("no C++ compiler, which libFuzzer takes".to_owned()));
    }
    Nightly::find().err()
}

/// All targets being built by a process of their own, which leaves the processors to whoever else wants them. It decides nothing:
/// [`Fuzzer::run`] builds what is not built, and says why that fails.
pub(crate) struct Ahead {
    build: Child,
    said: PathBuf,
}

impl Ahead {
    pub(crate) fn start() -> Result<Self> {
        let work = workspace::target()?.join("fuzz");
        fs::create_dir_all(&work).with_context(|| format!("cannot create {}", work.display()))?;
        let ourselves = std::env::current_exe().context("cannot find the path of this program")?;
        let mut command = Command::new("nice");
        Self::of(command.args(["-n", "19"]).arg(ourselves).args(["fuzz", "--build"]), work.join("build.txt"))
    }

    /// What it says goes into the file `said`.
    fn of(command: &mut Command, said: PathBuf) -> Result<Self> {
        let output = File::create(&said).with_context(|| format!("cannot create {}", said.display()))?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let build = command.spawn().with_context(|| format!("cannot start `{}`", process::line(command)))?;
        Ok(Self { build, said })
    }

    /// Waits for it and shows what it said.
    pub(crate) fn finish(mut self) -> Result<()> {
        let status = self.build.wait()?;
        print!("{}", String::from_utf8_lossy(&fs::read(&self.said)?));
        if !status.success() {
            println!("building all targets ahead: {status}");
        }
        Ok(())
    }
}

impl Drop for Ahead {
    /// Whatever became of its owner, nothing goes on behind it.
    fn drop(&mut self) {
        // It may have been waited for: then this is no more than asking once again.
        let _ = self.build.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_ahead_is_always_waited_for_and_a_failure_is_for_the_step_to_find() -> Result<()> {
        let folder = std::env::temp_dir().join(format!("xtask-ahead-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let (said, done) = (folder.join("said.txt"), folder.join("done"));
        let ahead =
            |script: &str| Ahead::of(Command::new("sh").args(["-c", script]).current_dir(&folder), said.clone());
        ahead("echo one; echo two >&2; exit 3")?.finish()?;
        assert_eq!(fs::read_to_string(&said)?, "one\ntwo\n");
        drop(ahead("sleep 0.2; touch done")?);
        assert!(done.exists());
        Ok(fs::remove_dir_all(&folder)?)
    }
}
