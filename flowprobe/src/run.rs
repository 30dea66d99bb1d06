//! Wires the stages of `flowprobe run` in the order of the data and takes them down in the same order.

use std::sync::Arc;
use std::sync::mpsc as std_mpsc;

use anyhow::{Context as _, Result, anyhow};
use aya::maps::Map;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use crate::config::{Config, ConfigError, random_seed};
use crate::drain::{self, Drain, KnownFlows};
use crate::export::elements::Schema;
use crate::export::{connect_all, warn_of_leftovers};
use crate::logging::Log;
use crate::probe::{self, Features, Probe};
use crate::stages::{Source, Stages};
use crate::status::{self, InterfaceStatus};
use crate::table::TableConfig;

/// Meters until a signal comes, or standard output has no reader any more. `read_again` gives the configuration anew at SIGHUP.
///
/// # Errors
/// A collector's name has no address, the kernel refuses the programs, an interface cannot be metered, or a drain fails.
pub async fn run(config: Config, read_again: impl Fn() -> Result<Config, ConfigError>, log: &Log) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let schema = Arc::new(Schema::new(config.extras()));
    let lanes = connect_all(&config.export, &config.export.targets, &schema, true, &[]).await?;
    warn_of_leftovers(&config.export);

    let features = Features::of_this_kernel();
    let mut ebpf = probe::load_object(config.table.max_flows, config.scope, features, kernel_log_level())?;
    // The reader keeps the ring buffer open, which the programs need when they are loaded.
    let kernel_logs = probe::forward_kernel_logs(&mut ebpf).context("cannot read the kernel programs' messages")?;
    let (commands, told) = std_mpsc::channel();
    let filling = drain::forward_filling(&mut ebpf, commands.clone()).context("cannot read the ring buffer FILLING")?;
    let seed = random_seed();
    let (mut probe, drain, known) = open(ebpf, &config, seed)?;

    let (link_changed, mut link_changes) = mpsc::channel(1);
    // Before attaching, so that no change is missed.
    let watch = probe::watch_links(link_changed).context("cannot watch interfaces")?;
    let status_server = bind_status(&config);
    probe.attach_all()?;

    let (state, watched) = status::State::new();
    let status::State { tick, interfaces } = state;
    interfaces.send_replace(interface_status(&probe));
    let status_server = status_server.map(|server| tokio::spawn(server.run(watched)));
    let source = Source { drain, known, commands, told, seed };
    let mut stages = Stages::start(config, schema, source, lanes, &probe, tick, log)?;
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
    filling.abort();
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
