//! Wires `flowprobe replay`.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, mpsc as std_mpsc};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result, anyhow};
use flowprobe_ebpf::Tunnels;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::detect::Looking;
use super::{CaptureError, Input, Replay, ReplayError};
use crate::cli::ReplayArgs;
use crate::config::SelectionConfig;
use crate::config::{ExportConfig, Relay};
use crate::detect::Settings;
use crate::enrich::{Enricher, Enrichment};
use crate::export::connect_all;
use crate::export::elements::{Extras, Schema};
use crate::losses::Losses;
use crate::metering::Metering;
use crate::output::{self, CsvLines, IpfixFile, JsonLines, WhenFull};
use crate::sink::{FINDINGS, Patience, Sink, Wants};
use crate::stages::start_lanes;
use crate::summary::{Summary, file_name};
use crate::table::TableConfig;

/// Pieces of captures that may wait for the metering thread.
const QUEUE: usize = 16;

/// Files that are read in no time get no progress bar.
const LONG: u64 = 64 << 20;

/// What records of a replay say beyond what every record says.
#[must_use]
pub fn extras(args: &ReplayArgs, selection: &SelectionConfig) -> Extras {
    Extras {
        tunnels: selection.tunnels != Tunnels::NONE,
        next_hops: false,
        as_numbers: !args.enrich.settings().check().databases.is_empty(),
        sampling: selection.sampling,
        biflow: args.table.biflow.unwrap_or(false),
    }
}

/// Opens every capture.
///
/// # Errors
/// The first that cannot be opened.
pub fn open_all(files: &[PathBuf]) -> Result<Vec<Input>, CaptureError> {
    files.iter().map(|path| Input::open(path)).collect()
}

/// Reads `inputs` one after the other, as `args` and `selection` say. A capture that is damaged is read up to the damage; the
/// others follow.
///
/// # Errors
/// A capture was damaged, an output cannot be written, or a collector not be reached.
pub async fn run(
    args: ReplayArgs,
    selection: SelectionConfig,
    export: ExportConfig,
    detect: Option<Settings>,
    inputs: Vec<Input>,
) -> Result<()> {
    let (end, closed) = mpsc::channel(2);
    let mut sinks: Vec<Sink> = Vec::new();
    let mut exporters = JoinSet::new();
    let table = TableConfig { sampling: selection.sampling, ..args.table.over(TableConfig::default()) };
    let schema = Arc::new(Schema::new(extras(&args, &selection)));
    let enrichment = Arc::new(Enrichment::open(&args.enrich.settings().check())?);
    let lanes = connect_all(&export, &export.targets, &schema, false, &[]).await?;
    let losses: Vec<(Arc<str>, Losses)> = lanes.iter().map(|lane| (lane.name(), lane.losses())).collect();
    sinks.extend(start_lanes(lanes, Relay::default(), &mut exporters));
    let outputs = outputs(&args, &export, &schema, &enrichment, &mut sinks, &end)?;
    let looking = match &detect {
        None => None,
        Some(settings) => {
            let (sink, queue) = Sink::new(FINDINGS, Wants::AsItComes);
            sinks.push(sink);
            Some(Looking::start(settings, &selection, queue)?)
        }
    };
    let (out, drained) = std_mpsc::sync_channel(QUEUE);
    let readers = sinks.len();
    let metering = Metering::new(table, schema, sinks, Patience::Forever).selecting(selection.remarks());
    let metering = metering.enriching(Some(Enricher::new(&enrichment)));
    let metering = thread::Builder::new().name("metering".into()).spawn(move || metering.run(&drained))?;
    let replay = Replay::new(out, closed, readers, &selection).minding_order(detect.is_some());
    let outcome = tokio::task::spawn_blocking(move || read_all(replay, inputs)).await?;
    let ended = tokio::task::spawn_blocking(move || {
        metering.join().map_err(|_| anyhow!("the metering thread has failed"))?;
        outputs.into_iter().try_for_each(output::ended)?;
        let printed = match looking {
            Some(looking) => output::unless_closed(looking.print(args.json, &mut io::stdout().lock())),
            None => Ok(()),
        };
        printed.context("cannot write the output")
    });
    ended.await??;
    while exporters.join_next().await.is_some() {}
    outcome?;
    match losses.iter().find(|(_, losses)| losses.total().records > 0) {
        Some((name, losses)) => Err(anyhow!("{} records did not reach {name}", losses.total().records)),
        None => Ok(()),
    }
}

/// Starts what was asked for on standard output, and the IPFIX file.
fn outputs(
    args: &ReplayArgs,
    export: &ExportConfig,
    schema: &Arc<Schema>,
    enrichment: &Arc<Enrichment>,
    sinks: &mut Vec<Sink>,
    end: &mpsc::Sender<()>,
) -> Result<Vec<JoinHandle<io::Result<()>>>> {
    let mut threads = Vec::new();
    if let Some(path) = &args.ipfix_file {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let losses = Losses::default();
        let (sink, queue) = Sink::sharing(path.display().to_string(), Wants::RecordsAndTotals, losses.clone());
        sinks.push(sink);
        let writer = IpfixFile::new(Arc::clone(schema), export.fields.clone(), export.domain, losses);
        threads.push(output::start(writer, file, WhenFull::Fail, queue, end.clone())?);
    }
    let wants = if args.json || args.csv { Wants::RecordsAndTicks } else { Wants::DeltasAndTicks };
    if !args.quiet && !args.detect {
        let (sink, queue) = Sink::new("standard output", wants);
        sinks.push(sink);
        let (out, full, end) = (output::standard_output()?, WhenFull::Fail, end.clone());
        threads.push(if args.json {
            output::start(JsonLines::enriched(enrichment), out, full, queue, end)?
        } else if args.csv {
            output::start(CsvLines::new(Arc::clone(schema)), out, full, queue, end)?
        } else {
            let names = args.files.iter().map(|path| file_name(&path.to_string_lossy()).to_owned());
            let names: Vec<String> = names.collect();
            output::start(Summary::of_everything(names.join(", ")), out, full, queue, end)?
        });
    }
    Ok(threads)
}

fn read_all(mut replay: Replay, inputs: Vec<Input>) -> Result<()> {
    let mut first_damage = None;
    for input in inputs {
        let bar = progress_bar(&input);
        let outcome = replay.read(input, &mut |octets| bar.set_position(octets));
        bar.finish_and_clear();
        match outcome {
            Ok(()) => {}
            // Whoever reads has seen enough.
            Err(ReplayError::NoReceiver(_)) => break,
            Err(ReplayError::Capture(error)) => match first_damage {
                None => first_damage = Some(error),
                Some(_) => tracing::error!("{error}"),
            },
        }
    }
    // Also where nobody reads: there is nothing left to do.
    let _ = replay.finish();
    first_damage.map_or(Ok(()), |error| Err(error.into()))
}

/// A bar on a terminal, for files that take their time.
fn progress_bar(input: &Input) -> ProgressBar {
    let Some(size) = input.size().filter(|size| *size >= LONG) else { return ProgressBar::hidden() };
    let bar = ProgressBar::new(size);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {percent}% {bytes_per_sec} {eta}") {
        bar.set_style(style);
    }
    bar
}
