//! The project's own commands: `cargo xtask --help` lists them.

mod bench;
mod build_and_run;
mod build_ebpf;
mod debian;
mod demo;
mod fuzz;
mod object_file;
mod packages;
mod process;
mod setup_ebpf;
mod tally;
mod test;
mod toolchain;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The commands of the flowprobe project
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    BuildAndRun(build_and_run::Args),
    Test(test::Args),
    VmTest(vm::Args),
    Demo(demo::Args),
    #[command(hide = true)]
    DemoTraffic(demo::TrafficArgs),
    Bench(bench::Args),
    Fuzz(fuzz::Args),
    BuildEbpf(build_ebpf::Args),
    SetupEbpf(setup_ebpf::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::BuildAndRun(args) => build_and_run::run(&args),
        Command::Test(args) => test::run(&args),
        Command::VmTest(args) => vm::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::DemoTraffic(args) => demo::run_traffic(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::BuildEbpf(args) => build_ebpf::run(&args),
        Command::SetupEbpf(args) => setup_ebpf::run(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
