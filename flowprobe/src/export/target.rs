//! From what is configured to lanes: one for each collector, or for several that stand in for each other.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use thiserror::Error;
use tracing::warn;

use super::elements::Schema;
use super::lane::{Awaited, Lane, Member, Plan, Store};
use super::share::Share;
use super::spool::Spool;
use super::transport::TlsClient;
use crate::config::{Collector, ExportConfig, SpoolConfig, Target, Transport};
use crate::losses::Losses;

/// The names of a target's lanes.
#[must_use]
pub fn names(target: &Target) -> Vec<Arc<str>> {
    lanes(target).into_iter().map(|(name, _)| name).collect()
}

/// A name and the collectors of each lane.
fn lanes(target: &Target) -> Vec<(Arc<str>, Vec<&Collector>)> {
    let url = |collector: &Collector| Arc::from(collector.to_string());
    match target {
        Target::Single(collector) => vec![(url(collector), vec![collector])],
        Target::Balance(all) => all.iter().map(|collector| (url(collector), vec![collector])).collect(),
        Target::Failover(all) => {
            let urls: Vec<String> = all.iter().map(Collector::to_string).collect();
            vec![(Arc::from(format!("failover:{}", urls.join(","))), all.iter().collect())]
        }
    }
}

/// A file, a folder or a certificate of a collector is not as it has to be, which waiting does not change: unlike a network that is
/// not there yet.
#[derive(Debug, Error)]
#[error("cannot use the collector {name}")]
pub struct CannotUse {
    name: Arc<str>,
}

/// A lane for each collector of `targets`, ready to run. Lanes of a source that is not live keep nothing on disk: it is kept
/// waiting. Lanes named in `ending` are about to end: one of the same name has their spool after them.
///
/// # Errors
/// A name has no address, a socket cannot be opened; or, as [`CannotUse`], a file not be read or written, the spool that was asked for
/// not be had.
pub async fn connect_all(
    config: &ExportConfig,
    targets: &[Target],
    schema: &Arc<Schema>,
    is_live: bool,
    ending: &[Arc<str>],
) -> anyhow::Result<Vec<Lane>> {
    let mut all = Vec::new();
    for target in targets {
        let shares = match target {
            Target::Balance(collectors) => {
                let names: Vec<String> = collectors.iter().map(Collector::to_string).collect();
                Share::among(&names).into_iter().map(Some).collect()
            }
            Target::Single(_) | Target::Failover(_) => vec![None],
        };
        for ((name, collectors), share) in lanes(target).into_iter().zip(shares) {
            let cannot_use = || CannotUse { name: Arc::clone(&name) };
            let follows = ending.contains(&name);
            let mut lane = lane(config, Arc::clone(&name), &collectors, share, (schema, is_live), follows)
                .with_context(cannot_use)?;
            let prepared = lane.prepare().await;
            if collectors.iter().any(|one| matches!(one.transport, Transport::File(_))) {
                prepared.with_context(cannot_use)?;
            } else {
                prepared.with_context(|| format!("cannot reach the collector {name}"))?;
            }
            all.push(lane);
        }
    }
    Ok(all)
}

fn lane(
    config: &ExportConfig,
    name: Arc<str>,
    collectors: &[&Collector],
    share: Option<Share>,
    (schema, is_live): (&Arc<Schema>, bool),
    follows: bool,
) -> anyhow::Result<Lane> {
    let members = collectors.iter().map(|collector| member(collector)).collect::<anyhow::Result<Vec<Member>>>()?;
    let losses = Losses::default();
    let keeps = members.len() > 1
        || members.iter().any(|one| matches!(one.collector.transport, Transport::Tcp | Transport::Tls(_)));
    let keeps = is_live && keeps;
    let store = if keeps && !follows { store(&config.spool, &name, &losses)? } else { None };
    let folder = config.spool.folder.as_ref().filter(|_| keeps && follows).map(|folder| place(folder, &name));
    let awaited = folder.map(|folder| Awaited { folder, most_octets: config.spool.most_octets });
    let first = collectors.first().context("there is no collector")?;
    let plan = Plan {
        name,
        members,
        format: first.format,
        fields: first.fields(),
        domain: config.domain,
        share,
        catch_up: config.spool.catch_up,
        is_live,
    };
    let lane = Lane::new(plan, schema, store, losses);
    Ok(match awaited {
        Some(awaited) => lane.after_another(awaited),
        None => lane,
    })
}

fn member(collector: &Collector) -> anyhow::Result<Member> {
    let tls = match &collector.transport {
        Transport::Tls(files) => Some(TlsClient::new(files, &collector.host)?),
        Transport::Udp | Transport::Tcp | Transport::File(_) => None,
    };
    Ok(Member { collector: collector.clone(), tls })
}

/// Where a lane's messages are kept. Without a folder that was asked for it goes on with memory, and says so.
fn store(config: &SpoolConfig, name: &str, losses: &Losses) -> anyhow::Result<Option<Store>> {
    let Some(folder) = config.folder.as_ref().map(|folder| place(folder, name)) else { return Ok(None) };
    // What lies there is read and checked first.
    let opened = tokio::task::block_in_place(|| Spool::open(&folder, config.most_octets, losses.clone()));
    match opened {
        Ok(spool) => Ok(Some(Store::Disk(Box::new(spool)))),
        Err(error) if config.is_wanted => Err(error.into()),
        Err(error) => {
            warn!(
                "{name}: {error}; only the latest messages are kept, in memory; --spool names another folder, or none"
            );
            Ok(None)
        }
    }
}

/// The folder of a lane.
fn place(folder: &Path, name: &str) -> PathBuf {
    let word: String =
        name.chars().map(|letter| if letter.is_ascii_alphanumeric() || letter == '.' { letter } else { '-' }).collect();
    folder.join(word)
}

/// Says which messages wait for collectors that are not configured any more.
pub fn warn_of_leftovers(config: &ExportConfig) {
    let Some(folder) = &config.spool.folder else { return };
    let known: BTreeSet<PathBuf> = config.targets.iter().flat_map(names).map(|name| place(folder, &name)).collect();
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| !known.contains(path)) {
        let octets = Spool::octets_in(&path);
        if octets > 0 {
            let kibibytes = octets.div_ceil(1 << 10);
            warn!("{} holds {kibibytes} KiB of messages for a collector that is not configured", path.display());
        }
    }
}
