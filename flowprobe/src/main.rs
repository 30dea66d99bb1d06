//! `flowprobe`: reads the command line, checks, and hands over to the library.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use jiff::tz::TimeZone;

use flowprobe::alert::SinkError;
use flowprobe::cli::{Cli, Command, ReplayArgs, RunArgs};
use flowprobe::clock::wall_now_ms;
use flowprobe::collect::listen::ListenError;
use flowprobe::config::{OutputMode, Settings};
use flowprobe::detect::FindingsArgs;
use flowprobe::detect::indicator::{IndicatorSet, ListSettings};
use flowprobe::detect::service::devices;
use flowprobe::detect::service::files::{Files, FilesError, read_list};
use flowprobe::enrich::{EnrichError, Enrichment};
use flowprobe::export::{CannotUse, Format};
use flowprobe::query::{HuntArgs, QueryArgs};
use flowprobe::report::ReportArgs;
use flowprobe::run::WebTaken;
use flowprobe::store::StoreError;
use flowprobe::top::TopArgs;
use flowprobe::{config, detect, logging, probe, query, replay, report, run, status, top};

/// What a wrong flag, file or privilege exits with: nothing was started.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(args) => meter(*args),
        Command::Replay(args) => replay(args),
        Command::Status(args) => {
            status::print(&args, &mut std::io::stdout().lock()).map_err(|error| Failure::Running(error.into()))
        }
        Command::Top(args) => watch(&args),
        Command::Query(args) => query(&args),
        Command::Findings(args) => findings(&args),
        Command::Devices(args) => devices::print(&args, &mut std::io::stdout().lock()).map_err(Failure::Running),
        Command::Hunt(args) => hunt(&args),
        Command::Report(args) => report(&args),
        Command::CheckConfig { file } => check_config(&file),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(error)) => fail(&error, USAGE),
        Err(Failure::Running(error)) => fail(&error, 1),
    }
}

enum Failure {
    Usage(anyhow::Error),
    Running(anyhow::Error),
}

fn usage(error: impl Into<anyhow::Error>) -> Failure {
    Failure::Usage(error.into())
}

/// A wrong setting that only the start has found is as wrong as one that the check has.
fn ended(error: anyhow::Error) -> Failure {
    if error.is::<CannotUse>()
        || error.is::<ListenError>()
        || error.is::<StoreError>()
        || error.is::<EnrichError>()
        || error.is::<WebTaken>()
        || error.is::<FilesError>()
        || error.is::<SinkError>()
    {
        Failure::Usage(error)
    } else {
        Failure::Running(error)
    }
}

fn meter(args: RunArgs) -> Result<(), Failure> {
    let config = args.clone().settings().and_then(Settings::check).map_err(usage)?;
    let metered = config.interfaces.clone();
    let read_again = move || args.clone().settings().and_then(|settings| settings.check_beside(&metered));
    if !config.interfaces.is_empty() {
        probe::check_privilege(config.promisc).map_err(usage)?;
    }
    let log = logging::start(if config.output == OutputMode::Quiet { "warn" } else { "info" });
    let runtime = runtime()?;
    let outcome = runtime.block_on(run::run(config, read_again, &log)).map_err(ended);
    // A thread that hangs on a pipe nobody reads must not keep the process.
    runtime.shutdown_background();
    outcome
}

fn replay(args: ReplayArgs) -> Result<(), Failure> {
    let selection = args.selection.settings().check().map_err(usage)?;
    let extras = replay::extras(&args, &selection);
    let export = args.export.settings().check(extras).map_err(usage)?;
    if args.ipfix_file.is_some() {
        export.fields.check(Format::Ipfix, extras).context("--ipfix-file: fields").map_err(usage)?;
    }
    let detect = match (args.detect, &args.findings) {
        (false, _) => None,
        (true, None) => Some(detect::Settings::default()),
        (true, Some(path)) => Some(config::read_findings(path).map_err(usage)?),
    };
    let inputs = replay::open_all(&args.files).map_err(usage)?;
    let _log = logging::start("warn");
    let runtime = runtime()?;
    let outcome = runtime.block_on(replay::run(args, selection, export, detect, inputs)).map_err(ended);
    runtime.shutdown_background();
    outcome
}

fn watch(args: &TopArgs) -> Result<(), Failure> {
    top::run(args).map_err(|error| if error.is_usage() { usage(error) } else { Failure::Running(error.into()) })
}

fn query(args: &QueryArgs) -> Result<(), Failure> {
    let request = args.request(wall_now_ms()).map_err(usage)?;
    query::print(args, &request, &mut std::io::stdout().lock()).map_err(|error| Failure::Running(error.into()))
}

fn findings(args: &FindingsArgs) -> Result<(), Failure> {
    let range = args.time.range(wall_now_ms(), FindingsArgs::USUAL).map_err(usage)?;
    detect::print(args, range, &mut std::io::stdout().lock()).map_err(Failure::Running)
}

fn hunt(args: &HuntArgs) -> Result<(), Failure> {
    let times = args.time.range(wall_now_ms(), HuntArgs::USUAL).map_err(usage)?;
    let _log = logging::start("warn");
    let list = |path: &PathBuf| {
        let list = ListSettings {
            file: path.clone(),
            minimum_score: args.minimum_score,
            match_inside: args.match_inside,
            ..ListSettings::default()
        };
        read_list(&list).map(|parsed| (list, parsed))
    };
    let lists = args.lists.iter().map(list).collect::<Result<Vec<_>, FilesError>>().map_err(usage)?;
    let set = Arc::new(IndicatorSet::of(lists));
    query::print_hunt(args, times, &set, &mut std::io::stdout().lock()).map_err(|error| Failure::Running(error.into()))
}

fn report(args: &ReportArgs) -> Result<(), Failure> {
    let plan = args.plan(wall_now_ms()).map_err(usage)?;
    let out = &mut std::io::stdout().lock();
    report::write(args, plan, TimeZone::system(), out).map_err(|error| Failure::Running(error.into()))
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::Running(error.into()))
}

fn check_config(file: &std::path::Path) -> Result<(), Failure> {
    let config = Settings::from_file(file).and_then(Settings::check).map_err(usage)?;
    // Their files are read, so that what is wrong with them is said here too.
    Enrichment::open(&config.enrich).map_err(usage)?;
    if let Some(settings) = &config.findings.settings {
        Files::open(settings).map_err(usage)?;
    }
    println!("{config}");
    Ok(())
}

/// How long standard error may take to take the last line.
const LAST_LINE: Duration = Duration::from_secs(1);

fn fail(error: &anyhow::Error, code: u8) -> ExitCode {
    let line = format!("flowprobe: {error:#}");
    let (written, done) = mpsc::channel();
    // A pipe that nobody reads must not keep the process.
    thread::spawn(move || {
        eprintln!("{line}");
        let _ = written.send(());
    });
    let _ = done.recv_timeout(LAST_LINE);
    ExitCode::from(code)
}
