//! `cargo xtask test`: everything that can be checked here, one step after the other, and a summary that hides nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::build_ebpf::{self, Check};
use crate::fuzz::{self, Ahead, Fuzzer, Target};
use crate::tally::{self, Outcome, Tally};
use crate::toolchain::Missing;
use crate::{packages, process, vm, workspace};

/// Check everything: format, lints, kernel objects, unit tests, end-to-end tests in network namespaces; fuzzing and another
/// kernel in a short form
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Install no packages: tests whose counterparts are missing skip themselves
    #[arg(long)]
    no_install: bool,
    /// Run the tests in their long form, fuzz for a minute each, and run them on all other kernels (`cargo xtask
    /// vm-test`)
    #[arg(long)]
    long: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let target = workspace::target()?;
    let mut tally = Tally::default();
    for line in packages::install(&packages::COUNTERPARTS, !args.no_install) {
        tally.note(line);
    }
    let unpacked = target.join("counterparts");
    for line in packages::unpack(&packages::UNPACKED, &unpacked, !args.no_install) {
        tally.note(line);
    }
    for line in packages::install_crates(&packages::CRATES, &unpacked, !args.no_install) {
        tally.note(line);
    }
    let python = target.join("python");
    for line in packages::install_python(&packages::PYTHON, &python, !args.no_install) {
        tally.note(line);
    }
    tally.step("format", || {
        passes(workspace::cargo().args(["fmt", "--all", "--check"]))?;
        passes(workspace::cargo().args(["fmt", "--manifest-path", fuzz::MANIFEST, "--check"]))
    });
    tally.step("lints", || {
        passes(workspace::cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
        passes(workspace::cargo_of_all("clippy").args(["--all-targets", "--", "-D", "warnings"]))
    });
    tally.step("kernel objects", kernel_objects);
    let skips = target.join("skipped-tests.txt");
    tally.step("unit tests", || {
        let mut command = workspace::cargo_of_all("test");
        command.args(["--lib", "--bins", "--no-fail-fast"]).env("PYTHONPATH", &python);
        if args.long {
            command.env("FLOWPROBE_LONG", "1");
        }
        tests(&mut command, &skips)
    });
    // End-to-end tests mostly wait: the fuzzers are built meanwhile.
    let mut ahead = fuzz::missing_compilers().is_none().then(Ahead::start);
    tally.step("end-to-end tests", || end_to_end(args.long, &skips, &unpacked, &python));
    let seconds = if args.long { 60 } else { 10 };
    for target in Target::ALL {
        tally.step(target.step(), || {
            if let Some(ahead) = ahead.take() {
                ahead?.finish()?;
            }
            fuzz_for(target, seconds)
        });
    }
    if args.long {
        vm::add_all_steps(&mut tally, !args.no_install);
    } else {
        vm::add_short_step(&mut tally, !args.no_install);
    }
    Ok(tally.finish())
}

/// A step that is one check.
fn passes(command: &mut Command) -> Result<Outcome> {
    println!("{}", process::line(command));
    process::run(command)?;
    Ok(Outcome::success())
}

fn kernel_objects() -> Result<Outcome> {
    Ok(match build_ebpf::check()? {
        Check::Same(how) => {
            println!("{how}");
            Outcome::success()
        }
        Check::Different(what) => Outcome::failure(format!(
            "the committed objects are not what the source gives (`cargo xtask build-ebpf` renews them): {}",
            what.join("; ")
        )),
        Check::CannotBuild(Missing(what)) => Outcome::skip(what),
    })
}

/// A step that runs tests: counts them, and those that skipped themselves, from the file where they say so.
fn tests(command: &mut Command, skips: &Path) -> Result<Outcome> {
    println!("{}", process::line(command));
    fs::write(skips, "").with_context(|| format!("cannot empty {}", skips.display()))?;
    let mut outcome = tally::stream(command.env("FLOWPROBE_SKIP_FILE", skips))?;
    let said = fs::read_to_string(skips).with_context(|| format!("cannot read {}", skips.display()))?;
    outcome.skipped_themselves(&said);
    Ok(outcome)
}

fn fuzz_for(target: Target, seconds: u32) -> Result<Outcome> {
    if let Some(Missing(what)) = fuzz::missing_compilers() {
        return Ok(Outcome::skip(what));
    }
    match Fuzzer::find() {
        Ok(fuzzer) => {
            fuzzer.run(target, seconds)?;
            Ok(Outcome::success())
        }
        Err(Missing(what)) => Ok(Outcome::skip(what)),
    }
}

fn end_to_end(long: bool, skips: &Path, unpacked: &Path, python: &Path) -> Result<Outcome> {
    let daemon: PathBuf = workspace::build_whole_daemon().context("the daemon does not build")?;
    let mut command = workspace::cargo_of_all("test");
    command.args(["--test", "*", "--no-fail-fast", "--", "--test-threads=1"]);
    command.env("FLOWPROBE_BIN", daemon).env("PATH", packages::path_with(unpacked)?);
    command.env("PYTHONPATH", python);
    if long {
        command.env("FLOWPROBE_LONG", "1");
    }
    tests(&mut command, skips)
}
