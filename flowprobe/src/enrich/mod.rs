//! What is known of addresses beyond what packets say: whose network it is, where, what the operator calls it, its name, and who
//! made the card. Records are enriched before they are kept and exported.
//!
//! ```text
//! files ─ files (watched) ─► Tables ─┐
//! resolver ─ names (threads) ────────┴─► Enrichment ─► an Enricher for each thread ─► records, history, JSON
//! ```
//!
//! Whoever enriches reads memory only: files are read, and names are asked for, by threads of their own. Nothing is ever fetched.

mod database;
mod files;
mod icmp;
mod known;
mod labels;
mod layer;
mod names;
pub(crate) mod ranges;
mod row;
mod services;
mod vendors;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fmt, io, thread};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tracing::warn;

pub use files::FileCondition;
use files::{Contents, FileKind, Watched};
pub use icmp::icmp_name;
pub use known::{End, Interface, Known, Surroundings};
use labels::Labels;
pub use layer::Facts;
use layer::Layer;
use names::Names;
pub use names::{NamesCondition, ReverseDns};
pub use row::Place;
pub use services::service_name;
use vendors::Vendors;

use crate::record::FlowRecord;
use crate::store::flows::{address_bits, ip};

/// Where names come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnrichConfig {
    /// Databases in the MaxMind format; what an earlier one knows counts.
    pub databases: Vec<PathBuf>,
    /// Files with names of networks, likewise.
    pub labels: Vec<PathBuf>,
    /// Lists of makers of network cards; those that the system has where it is not said.
    pub vendors: Option<Vec<PathBuf>>,
    /// Of which addresses the names are asked for.
    pub reverse_dns: ReverseDns,
}

impl EnrichConfig {
    /// The lists of makers that are read: those that were named, or those of the system.
    #[must_use]
    pub fn vendor_lists(&self) -> Vec<PathBuf> {
        self.vendors.clone().unwrap_or_else(vendors::of_this_system)
    }

    /// Whether something is to be known of addresses.
    #[must_use]
    pub fn is_of_addresses(&self) -> bool {
        !self.databases.is_empty() || !self.labels.is_empty() || self.reverse_dns != ReverseDns::None
    }
}

/// In the form of the file.
impl fmt::Display for EnrichConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "mmdb = {:?}", self.databases)?;
        writeln!(f, "labels = {:?}", self.labels)?;
        if let Some(vendors) = &self.vendors {
            writeln!(f, "mac-vendors = {vendors:?}")?;
        }
        let reverse_dns = clap::ValueEnum::to_possible_value(&self.reverse_dns);
        write!(f, "reverse-dns = {:?}", reverse_dns.as_ref().map_or("", |value| value.get_name()))
    }
}

/// A file that cannot be used at the start.
#[derive(Debug, Error)]
pub enum EnrichError {
    /// What is wrong with it.
    #[error("{key}: {}: {problem}", path.display())]
    File {
        /// The key of the configuration that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
}

/// How enrichment fares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// The files.
    pub files: Vec<FileCondition>,
    /// Asking for names, where that is done.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reverse_dns: Option<NamesCondition>,
}

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What all files say.
#[derive(Debug, Default)]
struct Tables {
    /// Of addresses.
    known: Layer,
    vendors: Vendors,
    has_databases: bool,
}

impl Tables {
    fn of(files: &[Watched]) -> Self {
        let (mut known, mut labels) = (Layer::default(), Labels::default());
        let (mut vendors, mut has_databases) = (Vendors::default(), false);
        for file in files {
            match &file.contents {
                Contents::Database(database) => (known, has_databases) = (known.and(&database.layer), true),
                Contents::Labels(file) => labels.add_all(file),
                Contents::Vendors(file) => vendors.add_all(file),
            }
        }
        Self { known: known.and(&labels.layer()), vendors, has_databases }
    }
}

/// What is known, for all threads.
pub struct Enrichment {
    tables: RwLock<Arc<Tables>>,
    /// Goes up when there are others.
    generation: AtomicU64,
    files: Mutex<Vec<Watched>>,
    /// Those of the files, to be seen while one is read.
    conditions: Mutex<Vec<FileCondition>>,
    names: Option<Arc<Names>>,
}

impl fmt::Debug for Enrichment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enrichment").field("condition", &self.condition()).finish_non_exhaustive()
    }
}

impl Enrichment {
    /// Reads all files.
    ///
    /// # Errors
    /// One cannot be used. Lists of makers that nobody has asked for are left out then.
    pub fn open(config: &EnrichConfig) -> Result<Self, EnrichError> {
        let now_ms = now_ms();
        let mut files = Vec::new();
        for (kind, paths) in [
            (FileKind::Database, &config.databases),
            (FileKind::Labels, &config.labels),
            (FileKind::Vendors, &config.vendor_lists()),
        ] {
            // A list that nobody has asked for may be of any kind.
            let is_wanted = kind != FileKind::Vendors || config.vendors.is_some();
            for path in paths {
                match Watched::open(kind, path, now_ms) {
                    Ok(file) => files.push(file),
                    Err(problem) if is_wanted => {
                        return Err(EnrichError::File { key: kind.key(), path: path.clone(), problem });
                    }
                    Err(problem) => warn!("{} is left out: {problem}", path.display()),
                }
            }
        }
        Ok(Self {
            tables: RwLock::new(Arc::new(Tables::of(&files))),
            generation: AtomicU64::new(0),
            conditions: Mutex::new(files.iter().map(|file| file.condition.clone()).collect()),
            files: Mutex::new(files),
            names: Names::start(config.reverse_dns)?,
        })
    }

    /// Starts the thread that reads files anew when they have changed. It ends with the last reference to this.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn watch(self: &Arc<Self>) -> io::Result<()> {
        let shared: Weak<Self> = Arc::downgrade(self);
        thread::Builder::new().name("enrichment".into()).spawn(move || {
            loop {
                thread::sleep(LOOK_EVERY);
                let Some(shared) = shared.upgrade() else { break };
                shared.look(now_ms());
            }
        })?;
        Ok(())
    }

    /// Looks at all files, and reads those that have changed.
    fn look(&self, now_ms: u64) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let mut has_changed = false;
        for file in files.iter_mut() {
            has_changed |= file.look(now_ms);
        }
        let conditions = files.iter().map(|file| file.condition.clone()).collect();
        *self.conditions.lock().unwrap_or_else(PoisonError::into_inner) = conditions;
        if has_changed {
            *self.tables.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Tables::of(&files));
            self.generation.fetch_add(1, Ordering::Release);
        }
    }

    /// How it fares.
    #[must_use]
    pub fn condition(&self) -> Condition {
        Condition {
            files: self.conditions.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            reverse_dns: self.names.as_ref().map(|names| names.condition()),
        }
    }

    fn tables(&self) -> Arc<Tables> {
        Arc::clone(&self.tables.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Octets of memory that names of addresses take at most.
pub const OCTETS_OF_NAMES: u64 = names::MOST_OCTETS;

/// Looks up what is known, for one thread: it waits for no other.
#[derive(Debug)]
pub struct Enricher {
    shared: Arc<Enrichment>,
    tables: Arc<Tables>,
    generation: u64,
}

impl Enricher {
    /// One that knows what `shared` does.
    #[must_use]
    pub fn new(shared: &Arc<Enrichment>) -> Self {
        let generation = shared.generation.load(Ordering::Acquire);
        Self { shared: Arc::clone(shared), tables: shared.tables(), generation }
    }

    /// Takes in what has changed: to be called once for many records.
    pub fn refresh(&mut self) {
        if self.shared.generation.load(Ordering::Acquire) != self.generation {
            *self = Self::new(&self.shared);
        }
    }

    /// What is known of an address, the 128 bits of which are given; nothing of 0.
    #[must_use]
    pub fn facts(&self, bits: u128) -> Facts {
        if bits == 0 { Facts::default() } else { self.tables.known.find(ip(bits)) }
    }

    fn as_number(&self, bits: u128) -> u32 {
        if bits == 0 { 0 } else { self.tables.known.as_number(ip(bits)) }
    }

    /// The name of an address, as far as it is known by now.
    pub fn host_name(&self, bits: u128) -> Option<Arc<str>> {
        self.shared.names.as_ref()?.find(bits, ip(bits))
    }

    /// Who made the card with this MAC address, of which the lowest 48 bits are given.
    #[must_use]
    pub fn vendor(&self, mac: u64) -> Option<Arc<str>> {
        self.tables.vendors.find(mac).cloned()
    }

    /// Whether records say something of autonomous systems.
    #[must_use]
    pub fn knows_places(&self) -> bool {
        self.tables.has_databases
    }

    /// Gives records the numbers of the autonomous systems of their ends. Those that an exporter has said stay: it has them of its
    /// routes.
    pub fn number(&mut self, records: &mut [FlowRecord]) {
        self.refresh();
        if !self.knows_places() {
            return;
        }
        for record in records {
            let ip_version = record.key.ip_version;
            if record.source_as == 0 {
                record.source_as = self.as_number(address_bits(record.key.source, ip_version));
            }
            if record.destination_as == 0 {
                record.destination_as = self.as_number(address_bits(record.key.destination, ip_version));
            }
        }
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(crate) mod tests;
