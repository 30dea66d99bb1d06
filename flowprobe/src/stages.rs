//! Everything behind the kernel: the threads and tasks of `flowprobe run`, started, changed by a reload, and stopped.

use std::io;
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::collect;
use crate::collect::listen::{Listener, Running};
use crate::config::{Config, OutputMode, Relay};
use crate::detect;
use crate::drain::{Command, Drain, DrainError, KnownFlows, Reload, tick_alone};
use crate::enrich::{Enricher, Enrichment};
use crate::export::elements::Schema;
use crate::export::lane::Lane;
use crate::export::{connect_all, names};
use crate::logging::Log;
use crate::losses::Losses;
use crate::metering::{Change, Metering};
use crate::output::{self, JsonLines, WhenFull};
use crate::probe::{Hook, Probe};
use crate::reload::{Difference, beyond, merged};
use crate::sink::{FINDINGS, Patience, Sink, Tick, Wants};
use crate::store::{self, Store};
use crate::summary::{Screen, Summary};
use crate::web::Live;

/// Pieces of drained generations that may wait for the metering thread. When they do, the drain waits, and the kernel's
/// maps hold what comes in.
pub const DRAINED_QUEUE: usize = 32;

/// How long collectors and standard output get to take the last records.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// Where the flows come from.
pub struct Source {
    /// Takes them out of the kernel, and keeps their room in there; without interfaces nothing does.
    pub meter: Option<(Drain, KnownFlows)>,
    /// Where others send theirs.
    pub listeners: Vec<Listener>,
    /// Tells the drain what to do.
    pub commands: std_mpsc::Sender<Command>,
    /// Where the drain hears it.
    pub told: std_mpsc::Receiver<Command>,
    /// Of the hash that chooses flows.
    pub seed: u32,
}

/// Where the records go that collectors and standard output do not get alone.
pub struct Kept {
    /// Collectors.
    pub lanes: Vec<Lane>,
    /// History, where it is kept.
    pub store: Option<Store>,
    /// What is added to records before.
    pub enrichment: Arc<Enrichment>,
    /// The recent past, where somebody may look at it.
    pub live: Option<Arc<Live>>,
    /// Who looks for what is wrong, if somebody does.
    pub detectors: Option<detect::Stage>,
}

/// The stages, running.
pub struct Stages {
    /// As it was last applied.
    config: Config,
    /// Of the hash that chooses flows: the same before and after a reload.
    seed: u32,
    schema: Arc<Schema>,
    commands: std_mpsc::Sender<Command>,
    listeners: Vec<Running>,
    drain: JoinHandle<Result<(), DrainError>>,
    metering: JoinHandle<()>,
    output: Option<JoinHandle<io::Result<()>>>,
    history: Option<store::Running>,
    detectors: Option<JoinHandle<()>>,
    exporters: JoinSet<()>,
    /// Told when a stage has ended that should not have.
    pub ended: mpsc::Receiver<()>,
}

impl Stages {
    /// Starts them. The state after each drain is shown in `latest`.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(
        config: Config,
        schema: Arc<Schema>,
        source: Source,
        kept: Kept,
        probe: Option<&Probe>,
        latest: watch::Sender<Option<Arc<Tick>>>,
        log: &Log,
    ) -> Result<Self> {
        let Source { meter, listeners, commands, told, seed } = source;
        let Kept { lanes, store, enrichment, live, detectors } = kept;
        let (end, ended) = mpsc::channel(1);
        let mut tasks = JoinSet::new();
        let mut sinks = start_lanes(lanes, config.relay, &mut tasks);
        let history = store.map(|store| {
            let losses = Losses::default();
            let (sink, queue) = Sink::sharing("history", Wants::RecordsAndTotals, losses.clone());
            sinks.push(sink);
            store::start(store, config.store.retention, queue, losses, Some(Enricher::new(&enrichment)))
        });
        let history = history.transpose()?;
        let output = match config.output {
            OutputMode::Quiet => None,
            OutputMode::Json => {
                let losses = Losses::default();
                let (sink, queue) = Sink::sharing("standard output", Wants::RecordsAndTicks, losses.clone());
                sinks.push(sink);
                let (writer, full) = (JsonLines::enriched(&enrichment).with_every_tick(), WhenFull::Refuse(losses));
                Some(output::start(writer, output::standard_output()?, full, queue, end.clone())?)
            }
            OutputMode::Summary => {
                let losses = Losses::default();
                let (sink, queue) = Sink::sharing("standard output", Wants::DeltasAndTicks, losses.clone());
                sinks.push(sink);
                let summary = Summary::new(Screen::stdout(log), metered(probe, &config));
                let full = WhenFull::Refuse(losses);
                Some(output::start(summary, output::standard_output()?, full, queue, end.clone())?)
            }
        };
        if let Some(live) = live {
            let (sink, queue) = Sink::new("live view", Wants::DeltasAndTicks);
            sinks.push(sink.while_watched(live.watched()));
            // It ends with its queue, and nobody waits for it.
            live.start(queue)?;
        }
        let detectors = detectors.map(|stage| {
            let (sink, queue) = Sink::new(FINDINGS, Wants::AsItComes);
            sinks.push(sink);
            stage.start(queue)
        });
        let detectors = detectors.transpose()?;
        let (out, drained) = std_mpsc::sync_channel(DRAINED_QUEUE);
        let (listeners, watch) = collect::start(listeners, config.relay, &out)?;
        let (drain, known) = meter.unzip();
        let mut metering = Metering::new(config.table, Arc::clone(&schema), sinks, Patience::None)
            .with_listeners(watch)
            .enriching(Some(Enricher::new(&enrichment)))
            .watched(latest);
        if let Some(known) = known {
            metering = metering.with_known_flows(known);
        }
        let metering = thread::Builder::new().name("metering".into()).spawn(move || metering.run(&drained))?;
        let interval = config.interval;
        let drain = thread::Builder::new().name("drain".into()).spawn(move || {
            let outcome = match drain {
                Some(drain) => drain.run(interval, &told, &out),
                None => tick_alone(interval, &told, &out),
            };
            if outcome.is_err() {
                let _ = end.try_send(());
            }
            outcome
        })?;
        Ok(Self {
            config,
            seed,
            schema,
            commands,
            listeners,
            drain,
            metering,
            output,
            history,
            detectors,
            exporters: tasks,
            ended,
        })
    }

    /// Applies what can change of a configuration that was read anew, and says what takes a restart. Where it cannot be applied,
    /// nothing changes.
    pub async fn reload(&mut self, wanted: Config) {
        let Difference { now, at_restart } = Difference::between(&self.config, &wanted);
        if now.is_empty() {
            info!("reloaded: nothing has changed");
        } else if let Err(error) = self.apply(merged(&self.config, wanted), now.join(", ")).await {
            error!("not reloaded, everything goes on as it was: {error:#}");
            return;
        }
        if !at_restart.is_empty() {
            warn!("changed, but takes a restart: {}", at_restart.join(", "));
        }
    }

    async fn apply(&mut self, config: Config, what: String) -> Result<()> {
        let extras = config.extras();
        let schema =
            if extras == self.config.extras() { Arc::clone(&self.schema) } else { Arc::new(Schema::new(extras)) };
        let added = beyond(&config.export.targets, &self.config.export.targets);
        let removed = beyond(&self.config.export.targets, &config.export.targets);
        let ending: Vec<Arc<str>> = removed.iter().flat_map(names).collect();
        let lanes = connect_all(&config.export, &added, &schema, true, &ending).await?;
        // Those that have ended meanwhile are of no interest any more.
        while self.exporters.try_join_next().is_some() {}
        let change = Change {
            table: config.table,
            schema: Arc::clone(&schema),
            selection: config.selection.remarks(),
            removed: ending,
            added: start_lanes(lanes, config.relay, &mut self.exporters),
            what,
        };
        let reload = Reload {
            selection: config.selection.seeded(self.seed),
            interval: config.interval,
            idle_timeout: config.table.idle_timeout,
            change,
        };
        self.commands.send(Command::Reload(Box::new(reload))).map_err(|_| anyhow!("the drain has ended"))?;
        (self.config, self.schema) = (config, schema);
        Ok(())
    }

    /// Drains a last time, flushes the table, waits for the sinks.
    ///
    /// # Errors
    /// The drain has failed, or an output could not be written.
    pub async fn stop(self) -> Result<()> {
        let Self { commands, listeners, drain, metering, output, history, detectors, mut exporters, ended, .. } = self;
        // First, so that what they have is handed on before the last tick.
        tokio::task::spawn_blocking(move || listeners.into_iter().for_each(Running::stop)).await?;
        // The drain may have failed already; then nobody listens.
        let _ = commands.send(Command::Stop);
        let threads = tokio::task::spawn_blocking(move || {
            let drained = drain.join();
            (drained, metering.join())
        });
        let (drained, metered) = threads.await?;
        // The metering thread has let go of the sinks: their queues end.
        let sinks = async {
            while exporters.join_next().await.is_some() {}
            if let Some(history) = history {
                tokio::task::spawn_blocking(move || history.ended()).await?;
            }
            if let Some(detectors) = detectors {
                tokio::task::spawn_blocking(move || detectors.join())
                    .await?
                    .map_err(|_| anyhow!("the thread \"findings\" has failed"))?;
            }
            if let Some(output) = output {
                return tokio::task::spawn_blocking(move || output::ended(output)).await?;
            }
            Ok(())
        };
        let written = tokio::time::timeout(SHUTDOWN, sinks).await.unwrap_or_else(|_| {
            warn!("a collector, history or standard output did not take the last records within {SHUTDOWN:?}");
            Ok(())
        });
        drop(ended);
        metered.map_err(|_| anyhow!("the metering thread has failed"))?;
        drained.map_err(|_| anyhow!("the drain thread has failed"))??;
        written
    }
}

/// Starts the lanes; the ends of their queues.
pub fn start_lanes(lanes: Vec<Lane>, relay: Relay, tasks: &mut JoinSet<()>) -> Vec<Sink> {
    let start = |lane: Lane| {
        let (sink, queue) = Sink::sharing(lane.name(), Wants::RecordsAndTotals, lane.losses());
        let sink = sink.of_lane(lane.share(), lane.health(), relay);
        tasks.spawn(lane.run(queue));
        sink
    };
    lanes.into_iter().map(start).collect()
}

/// The interfaces and their hooks, and where else flows come from.
fn metered(probe: Option<&Probe>, config: &Config) -> String {
    let one = |(name, hook): (&Arc<str>, Option<Hook>)| match hook {
        Some(hook) => format!("{name} ({hook})"),
        None => name.to_string(),
    };
    let listeners = config.listen.iter().map(ToString::to_string);
    probe.into_iter().flat_map(Probe::hooks).map(one).chain(listeners).collect::<Vec<_>>().join(", ")
}
