//! `cargo xtask test`: everything that can be checked here, one step after the other, and a summary that hides nothing.

mod tally;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::build_ebpf::{self, Check};
use crate::fuzz::{self, Fuzzer, Target};
use crate::toolchain::Missing;
use crate::{packages, process, workspace};
use tally::{Outcome, Tally};

/// Check everything: format, lints, kernel objects, unit tests, end-to-end tests in network namespaces
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Install no Debian packages: tests whose counterparts are missing skip themselves
    #[arg(long)]
    no_install: bool,
    /// Run the long end-to-end tests too, and fuzz for a minute each
    #[arg(long)]
    long: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let target = workspace::target()?;
    let mut tally = Tally::default();
    for line in packages::install(&packages::COUNTERPARTS, !args.no_install) {
        println!("{line}");
        tally.note(line);
    }
    step(&mut tally, "format", || {
        passes(workspace::cargo().args(["fmt", "--all", "--check"]))?;
        passes(workspace::cargo().args(["fmt", "--manifest-path", fuzz::MANIFEST, "--check"]))
    });
    step(&mut tally, "lints", || {
        passes(workspace::cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
    });
    step(&mut tally, "kernel objects", kernel_objects);
    let skips = target.join("skipped-tests.txt");
    step(&mut tally, "unit tests", || {
        let arguments = ["test", "--workspace", "--exclude", "flowprobe-tests", "--no-fail-fast"];
        tests(workspace::cargo().args(arguments), &skips)
    });
    step(&mut tally, "end-to-end tests", || end_to_end(args.long, &skips));
    if args.long {
        for target in Target::ALL {
            step(&mut tally, target.step(), || fuzz_for_a_minute(target));
        }
    }
    println!("{tally}");
    Ok(if tally.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs a step between a header and a line that says how it went. A step that cannot even start has failed.
fn step(tally: &mut Tally, name: &'static str, body: impl FnOnce() -> Result<Outcome>) {
    println!("\n=== {name} ===");
    let start = Instant::now();
    let outcome = body().unwrap_or_else(|error| Outcome::failure(format!("{error:#}")));
    let line = tally.add(name, outcome, start.elapsed());
    println!("--- {line}");
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

fn fuzz_for_a_minute(target: Target) -> Result<Outcome> {
    match Fuzzer::find() {
        Ok(fuzzer) => {
            fuzzer.run(target, 60)?;
            Ok(Outcome::success())
        }
        Err(Missing(what)) => Ok(Outcome::skip(what)),
    }
}

fn end_to_end(long: bool, skips: &Path) -> Result<Outcome> {
    let daemon: PathBuf = workspace::build_daemon().context("the daemon does not build")?;
    let mut command = workspace::cargo();
    command.args(["test", "--package", "flowprobe-tests", "--no-fail-fast", "--", "--test-threads=1"]);
    command.env("FLOWPROBE_BIN", daemon);
    if long {
        command.env("FLOWPROBE_LONG", "1");
    }
    tests(&mut command, skips)
}
