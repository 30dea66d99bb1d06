//! Wires the stages of `flowprobe run` in the order of the data and takes them down in the same order.

use std::io;
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use aya::maps::Map;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::config::{Collector, Config, OutputMode, random_seed};
use crate::drain::{self, Drain, DrainError};
use crate::export::elements::Schema;
use crate::export::{UdpExporter, connect_all};
use crate::logging::Log;
use crate::losses::Losses;
use crate::metering::Metering;
use crate::output::{self, JsonLines, WhenFull};
use crate::probe::{self, Features, Probe};
use crate::sink::{Patience, Sink, Tick, Wants};
use crate::status::{self, InterfaceStatus};
use crate::summary::{Screen, Summary};

/// Pieces of drained generations that may wait for the metering thread. When they do, the drain waits, and the kernel's
/// maps hold what comes in.
const DRAINED_QUEUE: usize = 32;

/// How long collectors and standard output get to take the last records.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// Meters until a signal comes, or standard output has no reader any more.
///
/// # Errors
/// A collector's name has no address, the kernel refuses the programs, an interface cannot be metered, or a drain fails.
pub async fn run(config: Config, log: &Log) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let schema = Arc::new(Schema::new(config.extras()));
    let exporters = connect_all(&config.collectors, &schema, config.observation_domain).await?;

    let features = Features::of_this_kernel();
    let mut ebpf = probe::load_object(config.table.max_flows, config.scope, features, kernel_log_level())?;
    // The reader keeps the ring buffer open, which the programs need when they are loaded.
    let kernel_logs = probe::forward_kernel_logs(&mut ebpf).context("cannot read the kernel programs' messages")?;
    let (mut probe, drain) = open(ebpf, &config)?;

    let (link_changed, mut link_changes) = mpsc::channel(1);
    // Before attaching, so that no change is missed.
    let watch = probe::watch_links(link_changed).context("cannot watch interfaces")?;
    let status_server = bind_status(&config);
    probe.attach_all()?;

    let (state, watched) = status::State::new();
    let status::State { tick, interfaces } = state;
    interfaces.send_replace(interface_status(&probe));
    let status_server = status_server.map(|server| tokio::spawn(server.run(watched)));
    let mut stages = Stages::start(&config, &schema, drain, exporters, &probe, tick, log)?;
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            _ = stages.ended.recv() => break,
            // Where the watcher has ended there is nothing to wait for: the branch is off.
            Some(()) = link_changes.recv() => {
                probe.reconcile();
                interfaces.send_replace(interface_status(&probe));
            }
        }
    }
    info!("stopping: detaching, then sending what is open");
    // First, so that the last drain is the last.
    probe.detach_all();
    watch.abort();
    let outcome = stages.stop().await;
    kernel_logs.abort();
    if let Some(server) = status_server {
        server.abort();
        // Its socket is removed when it has ended.
        let _ = server.await;
    }
    outcome
}

/// Whoever runs `flowprobe status` is to be answered from here on; where that cannot be, says so and goes on.
fn bind_status(config: &Config) -> Option<status::Server> {
    let path = config.status_socket.path(std::process::id())?;
    match status::Server::bind(path.clone()) {
        Ok(server) => Some(server),
        Err(error) => {
            warn!(
                "`flowprobe status` will have no answer: cannot listen on {}: {error}; --status-socket names another path, or none",
                path.display()
            );
            None
        }
    }
}

fn interface_status(probe: &Probe) -> Vec<InterfaceStatus> {
    let one = |(name, hook): (&Arc<str>, Option<probe::Hook>)| InterfaceStatus {
        name: name.to_string(),
        hook: hook.map(|hook| hook.to_string()),
    };
    probe.hooks().map(one).collect()
}

/// Takes the maps out of the object for those who use them.
fn open(mut ebpf: aya::Ebpf, config: &Config) -> Result<(Probe, Drain)> {
    let Map::Array(interfaces) = drain::take(&mut ebpf, "INTERFACES")? else {
        return Err(anyhow!("the map INTERFACES is not an array"));
    };
    let slots = Arc::new(probe::Slots::new(interfaces)?);
    let selection = config.selection.seeded(random_seed());
    let drain = Drain::new(&mut ebpf, config.scope, &selection, Arc::clone(&slots))?;
    Ok((Probe::new(ebpf, slots, config), drain))
}

/// What the kernel programs may say: as much as the daemon's own log shows.
fn kernel_log_level() -> u8 {
    use tracing::level_filters::LevelFilter;
    let level = match LevelFilter::current() {
        LevelFilter::OFF => return 0,
        LevelFilter::ERROR => aya_log::Level::Error,
        LevelFilter::WARN => aya_log::Level::Warn,
        LevelFilter::INFO => aya_log::Level::Info,
        LevelFilter::DEBUG => aya_log::Level::Debug,
        _ => aya_log::Level::Trace,
    };
    level as u8
}

/// Everything behind the kernel, running.
struct Stages {
    stop_drain: std_mpsc::Sender<()>,
    drain: JoinHandle<Result<(), DrainError>>,
    metering: JoinHandle<()>,
    output: Option<JoinHandle<io::Result<()>>>,
    exporters: JoinSet<()>,
    /// Told when a stage has ended that should not have.
    ended: mpsc::Receiver<()>,
}

impl Stages {
    fn start(
        config: &Config,
        schema: &Arc<Schema>,
        drain: Drain,
        exporters: Vec<(Collector, UdpExporter)>,
        probe: &Probe,
        latest: watch::Sender<Option<Arc<Tick>>>,
        log: &Log,
    ) -> Result<Self> {
        let (end, ended) = mpsc::channel(1);
        let mut sinks = Vec::new();
        let mut tasks = JoinSet::new();
        for (collector, exporter) in exporters {
            let (sink, queue) = Sink::sharing(collector.to_string(), Wants::RecordsAndTotals, exporter.losses());
            tasks.spawn(exporter.run(queue));
            sinks.push(sink);
        }
        let output = match config.output {
            OutputMode::Quiet => None,
            OutputMode::Json => {
                let losses = Losses::default();
                let (sink, queue) = Sink::sharing("standard output", Wants::RecordsAndTicks, losses.clone());
                sinks.push(sink);
                let (writer, full) = (JsonLines::default().with_every_tick(), WhenFull::Refuse(losses));
                Some(output::start(writer, output::standard_output()?, full, queue, end.clone())?)
            }
            OutputMode::Summary => {
                let losses = Losses::default();
                let (sink, queue) = Sink::sharing("standard output", Wants::DeltasAndTicks, losses.clone());
                sinks.push(sink);
                let filtered = if config.selection.filter.is_some() { " · filtered" } else { "" };
                let metered = format!("{}{filtered}{}", metered(probe), config.table.sampling);
                let summary = Summary::new(Screen::stdout(log), metered);
                let full = WhenFull::Refuse(losses);
                Some(output::start(summary, output::standard_output()?, full, queue, end.clone())?)
            }
        };
        let (out, drained) = std_mpsc::sync_channel(DRAINED_QUEUE);
        let metering = Metering::new(config.table, Arc::clone(schema), sinks, Patience::None).watched(latest);
        let metering = thread::Builder::new().name("metering".into()).spawn(move || metering.run(&drained))?;
        let (stop_drain, stop) = std_mpsc::channel();
        let interval = config.interval;
        let drain = thread::Builder::new().name("drain".into()).spawn(move || {
            let outcome = drain.run(interval, &stop, &out);
            if outcome.is_err() {
                let _ = end.try_send(());
            }
            outcome
        })?;
        Ok(Self { stop_drain, drain, metering, output, exporters: tasks, ended })
    }

    /// Drains a last time, flushes the table, waits for the sinks.
    async fn stop(self) -> Result<()> {
        let Self { stop_drain, drain, metering, output, mut exporters, ended } = self;
        // The drain may have failed already; then nobody listens.
        let _ = stop_drain.send(());
        let threads = tokio::task::spawn_blocking(move || {
            let drained = drain.join();
            (drained, metering.join())
        });
        let (drained, metered) = threads.await?;
        // The metering thread has let go of the sinks: their queues end.
        let sinks = async {
            while exporters.join_next().await.is_some() {}
            if let Some(output) = output {
                return tokio::task::spawn_blocking(move || output::ended(output)).await?;
            }
            Ok(())
        };
        let written = tokio::time::timeout(SHUTDOWN, sinks).await.unwrap_or_else(|_| {
            warn!("a collector or standard output did not take the last records within {SHUTDOWN:?}");
            Ok(())
        });
        drop(ended);
        metered.map_err(|_| anyhow!("the metering thread has failed"))?;
        drained.map_err(|_| anyhow!("the drain thread has failed"))??;
        written
    }
}

fn metered(probe: &Probe) -> String {
    let one = |(name, hook): (&Arc<str>, Option<probe::Hook>)| match hook {
        Some(hook) => format!("{name} ({hook})"),
        None => name.to_string(),
    };
    probe.hooks().map(one).collect::<Vec<_>>().join(", ")
}
