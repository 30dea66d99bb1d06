//! Wires the stages of `flowprobe run` in the order of the data and takes them down in the same order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;

use anyhow::{Context as _, Result, anyhow};
use aya::maps::Map;
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use crate::clock::{WallOffset, monotonic_ns};
use crate::collect::listen::Listener;
use crate::config::{Config, ConfigError, WebConfig, random_seed};
use crate::detect::device::Makers;
use crate::detect::flow::Mac;
use crate::detect::service::keep::Keep;
use crate::detect::site::{Networks, Site};
use crate::drain::{self, Command, Drain, KnownFlows};
use crate::enrich::{Enricher, Enrichment};
use crate::export::elements::Schema;
use crate::export::{connect_all, warn_of_leftovers};
use crate::logging::Log;
use crate::probe::{self, Features, Probe};
use crate::stages::{Kept, Source, Stages};
use crate::status::{self, InterfaceStatus};
use crate::store::flows::mac_bits;
use crate::store::{Store, StoreConfig, StoreError};
use crate::table::TableConfig;
use crate::web::{self, Live, WebState};
use crate::{alert, detect, kernel};

/// Meters and listens until a signal comes, or standard output has no reader any more. `read_again` gives the configuration anew
/// at SIGHUP.
///
/// # Errors
/// A file of names cannot be used, a collector's name has no address, an address cannot be listened at, the kernel refuses the
/// programs, an interface cannot be metered, or a drain fails.
pub async fn run(config: Config, read_again: impl Fn() -> Result<Config, ConfigError>, log: &Log) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let schema = Arc::new(Schema::new(config.extras()));
    // Before anybody hears of this process.
    let enrichment = Arc::new(Enrichment::open(&config.enrich)?);
    let lanes = connect_all(&config.export, &config.export.targets, &schema, true, &[]).await?;
    warn_of_leftovers(&config.export);
    let listeners = config.listen.iter().map(Listener::bind).collect::<Result<Vec<_>, _>>()?;
    enrichment.watch()?;
    let store = open_store(&config.store)?;
    let shelf = store.as_ref().map(|store| Arc::clone(store.shelf()));
    let detectors = open_detectors(&config, store.is_some(), &enrichment)?;

    let (commands, told) = std_mpsc::channel();
    let seed = random_seed();
    let (mut meter, source) = if config.interfaces.is_empty() {
        (None, None)
    } else {
        let (meter, drain, known) = Meter::open(&config, commands.clone(), seed)?;
        (Some(meter), Some((drain, known)))
    };
    let status_server = bind_status(&config);
    let web_server = bind_web(&config.web)?;
    if let Some(meter) = &mut meter {
        meter.probe.attach_all()?;
    }

    let (state, watched) = status::State::new();
    let status::State { tick, interfaces } = state;
    interfaces.send_replace(interface_status(meter.as_ref()));
    let url = web_server.as_ref().map(web::Server::url);
    let board = detectors.as_ref().map(|stage| stage.board().clone());
    let watched = watched.with_history(shelf)?.with_enrichment(Arc::clone(&enrichment)).with_findings(board.clone());
    let watched = watched.with_web(url);
    let status_server = status_server.map(|server| tokio::spawn(server.run(watched.clone())));
    let live = web_server.is_some().then(Live::new);
    let web_server = match (web_server, &live) {
        (Some(server), Some(live)) => {
            info!("the dashboard is at {}", server.url());
            Some(tokio::spawn(server.run(WebState::new(watched, Arc::clone(live), board))))
        }
        _ => None,
    };
    let source = Source { meter: source, listeners, commands, told, seed };
    let kept = Kept { lanes, store, enrichment, live, detectors };
    let mut stages = Stages::start(config, schema, source, kept, meter.as_ref().map(|meter| &meter.probe), tick, log)?;
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            _ = stages.ended.recv() => break,
            _ = hang_up.recv() => match read_again() {
                Ok(wanted) => stages.reload(wanted).await,
                Err(error) => error!("not reloaded, everything goes on as it was: {error}"),
            },
            // Where the watcher has ended there is nothing to wait for: the branch is off.
            Some(()) = link_change(meter.as_mut()) => {
                if let Some(meter) = &mut meter {
                    meter.probe.reconcile();
                }
                interfaces.send_replace(interface_status(meter.as_ref()));
            }
        }
    }
    info!("stopping: detaching, then sending what is open");
    let kernel_logs = meter.map(Meter::detach);
    let outcome = stages.stop().await;
    if let Some(kernel_logs) = kernel_logs {
        kernel_logs.abort();
    }
    for server in status_server.into_iter().chain(web_server) {
        server.abort();
        // Its socket is removed when it has ended.
        let _ = server.await;
    }
    outcome
}

/// Opens the store that is to be written, if there is to be one. Where nobody has asked for it, flowprobe does without one that
/// cannot be had.
fn open_store(config: &StoreConfig) -> Result<Option<Store>, StoreError> {
    let Some(folder) = &config.folder else { return Ok(None) };
    let opened = Store::open(folder).and_then(|mut store| {
        config.remote.iter().try_for_each(|remote| store.send_to(remote))?;
        Ok(store)
    });
    match opened {
        Ok(store) => Ok(Some(store)),
        Err(error) if config.is_wanted => Err(error),
        Err(error) => {
            warn!("{error}");
            Ok(None)
        }
    }
}

/// Detectors as they are configured, if there are to be any.
fn open_detectors(config: &Config, keeps_history: bool, enrichment: &Arc<Enrichment>) -> Result<Option<detect::Stage>> {
    let Some(settings) = config.findings.settings.as_deref() else { return Ok(None) };
    let (files, outside) = detect::service::files::Files::open(settings)?;
    let networks = Networks::of_this_machine();
    let site = match &settings.inside {
        Some(inside) => Site::only(inside.iter().copied()),
        None => Site::private_and(networks.inside),
    };
    let offset = WallOffset::measure();
    let mut feed = detect::Feed::new(config.selection.sampling, offset, networks.own, kernel::interface_name);
    // Before the first tick somebody may say something else of the time.
    let now_ms = feed.tick(offset, monotonic_ns());
    let interfaces = feed.interfaces();
    let outside = detect::Outside {
        makers: Box::new(KnownMakers(Enricher::new(enrichment))),
        names: Box::new(move |number| interfaces.name(number)),
        ..outside
    };
    let new_lines = outside.new_lines.clone();
    let mut detection = detect::Detection::new(site, settings, outside);
    detection.advance(now_ms);
    let board = detect::Board::new(detect::findings::Findings::default(), settings.suppress.clone());
    let keep = config.store.folder.as_ref().filter(|_| keeps_history).map(|folder| Keep::in_folder(folder));
    if let Some(keep) = &keep {
        // Those who write there say that they cannot, and try again.
        let _ = keep.make_folder();
    }
    let sinks = alert::start(&settings.sink, keep.as_ref().map(Keep::folder))?;
    files.watch()?;
    let stage = detect::Stage::new(detection, feed, board).telling(sinks);
    let stage = stage.with_speeds(settings.capacity.speeds.clone(), true, new_lines);
    Ok(Some(match keep {
        Some(keep) => stage.keeping(keep),
        None => stage,
    }))
}

/// Makers of network cards, by the lists that names come from.
struct KnownMakers(Enricher);

impl Makers for KnownMakers {
    fn maker(&self, mac: Mac) -> Option<Arc<str>> {
        self.0.vendor(mac_bits(mac.0))
    }
}

/// What meters interfaces, and what belongs to it.
struct Meter {
    probe: Probe,
    /// Forwards what the programs say.
    kernel_logs: JoinHandle<()>,
    /// Tells the drain that a map is filling.
    filling: JoinHandle<()>,
    /// Tells that interfaces have come or gone.
    watch: JoinHandle<()>,
    link_changes: mpsc::Receiver<()>,
}

impl Meter {
    /// Loads the programs; nothing is attached yet.
    fn open(config: &Config, commands: std_mpsc::Sender<Command>, seed: u32) -> Result<(Self, Drain, KnownFlows)> {
        let features = Features::of_this_kernel();
        let mut ebpf = probe::load_object(config.table.max_flows, config.scope, features, kernel_log_level())?;
        // The reader keeps the ring buffer open, which the programs need when they are loaded.
        let kernel_logs = probe::forward_kernel_logs(&mut ebpf).context("cannot read the kernel programs' messages")?;
        let filling = drain::forward_filling(&mut ebpf, commands).context("cannot read the ring buffer FILLING")?;
        let (probe, drain, known) = open(ebpf, config, seed)?;
        let (link_changed, link_changes) = mpsc::channel(1);
        // Before attaching, so that no change is missed.
        let watch = probe::watch_links(link_changed).context("cannot watch interfaces")?;
        Ok((Self { probe, kernel_logs, filling, watch, link_changes }, drain, known))
    }

    /// Takes the programs off, first of all, so that the last drain is the last. What they still have to say may come after it.
    fn detach(mut self) -> JoinHandle<()> {
        self.probe.detach_all();
        self.watch.abort();
        self.filling.abort();
        self.kernel_logs
    }
}

/// Waits until interfaces come or go; nothing where none is metered.
async fn link_change(meter: Option<&mut Meter>) -> Option<()> {
    meter?.link_changes.recv().await
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

/// The dashboard is to be had from here on. Where nobody has asked for it, flowprobe does without one that cannot be.
fn bind_web(config: &WebConfig) -> Result<Option<web::Server>> {
    let Some(address) = config.address else { return Ok(None) };
    match web::Server::bind(address, config) {
        Ok(server) => Ok(Some(server)),
        Err(error) if config.is_wanted => Err(WebTaken { address, error }.into()),
        Err(error) => {
            warn!("there is no dashboard: cannot listen on {address}: {error}; --web names another address, or none");
            Ok(None)
        }
    }
}

/// The dashboard cannot be where it is wanted.
#[derive(Debug, Error)]
#[error("the dashboard cannot be at {address}: {error}")]
pub struct WebTaken {
    address: SocketAddr,
    error: std::io::Error,
}

fn interface_status(meter: Option<&Meter>) -> Vec<InterfaceStatus> {
    let one = |(name, hook): (&Arc<str>, Option<probe::Hook>)| InterfaceStatus {
        name: name.to_string(),
        hook: hook.map(|hook| hook.to_string()),
    };
    meter.into_iter().flat_map(|meter| meter.probe.hooks()).map(one).collect()
}

/// Takes the maps out of the object for those who use them.
fn open(mut ebpf: aya::Ebpf, config: &Config, seed: u32) -> Result<(Probe, Drain, KnownFlows)> {
    let Map::Array(interfaces) = drain::take(&mut ebpf, "INTERFACES")? else {
        return Err(anyhow!("the map INTERFACES is not an array"));
    };
    let slots = Arc::new(probe::Slots::new(interfaces)?);
    let selection = config.selection.seeded(seed);
    let TableConfig { max_flows, idle_timeout, .. } = config.table;
    let (drain, known) =
        Drain::new(&mut ebpf, config.scope, &selection, max_flows.get(), idle_timeout, Arc::clone(&slots))?;
    Ok((Probe::new(ebpf, slots, config), drain, known))
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
