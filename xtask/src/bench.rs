//! `cargo xtask bench`: the daemon's benchmarks.

use std::process::ExitCode;

use anyhow::Result;
use clap::ValueEnum;

use crate::{process, workspace};

/// Measure the kernel programs or the drain
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to measure
    what: What,
    /// Passed to the benchmark, such as `--json FILE`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// Nanoseconds a packet costs in the XDP program
    Kernel,
    /// What reading and deleting the flows of a retired map costs
    Drain,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let bench = match args.what {
        What::Kernel => "kernel",
        What::Drain => "drain",
    };
    process::run(
        workspace::cargo().args(["bench", "--package", "flowprobe", "--bench", bench, "--"]).args(&args.arguments),
    )?;
    Ok(ExitCode::SUCCESS)
}
