//! `cargo xtask bench`: the daemon's benchmarks.

mod repeated;
mod replay;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use crate::{process, workspace};

/// Measure the kernel programs, the drain, the export, history, enrichment or the replay
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Nanoseconds a packet costs in the XDP program
    Kernel(OfDaemon),
    /// What reading and deleting the flows of a retired map costs
    Drain(OfDaemon),
    /// What encoding and sending records costs, and how fast flows get from the kernel's maps to a socket
    Export(OfDaemon),
    /// What keeping history costs, and how fast it answers, beside DuckDB over the same files where Python has it
    Store(OfDaemon),
    /// How fast names of addresses are looked up
    Enrich(OfDaemon),
    /// What history costs a running daemon in CPU time and memory, beside one without
    History(OfDaemon),
    Replay(replay::Args),
}

#[derive(clap::Args)]
struct OfDaemon {
    /// Passed to the benchmark, such as `--json FILE`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    match &args.what {
        What::Kernel(args) => of_daemon("kernel", args)?,
        What::Drain(args) => of_daemon("drain", args)?,
        What::Export(args) => of_daemon("export", args)?,
        What::Store(args) => of_daemon("store", args)?,
        What::Enrich(args) => of_daemon("enrich", args)?,
        What::History(args) => history(args)?,
        What::Replay(args) => replay::run(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The one that runs the daemon itself.
fn history(args: &OfDaemon) -> Result<()> {
    let daemon = workspace::build_daemon()?;
    let mut command = workspace::cargo();
    command.args(["bench", "--package", "flowprobe-tests", "--bench", "history", "--"]).args(&args.arguments);
    process::run(command.env("FLOWPROBE_BIN", daemon))
}

fn of_daemon(bench: &str, args: &OfDaemon) -> Result<()> {
    process::run(
        workspace::cargo().args(["bench", "--package", "flowprobe", "--bench", bench, "--"]).args(&args.arguments),
    )
}
