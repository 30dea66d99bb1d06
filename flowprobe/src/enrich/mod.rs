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
mod known;
mod labels;
mod names;
mod row;
mod services;
mod vendors;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fmt, io, thread};

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use database::{Database, Recent};
pub use files::FileCondition;
use files::{Contents, FileKind, Watched};
pub use known::{End, Interface, Known, Surroundings};
use labels::Labels;
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
    databases: Vec<Arc<Database>>,
    labels: Arc<Labels>,
    vendors: Arc<Vendors>,
}

impl Tables {
    fn of(files: &[Watched]) -> Self {
        let (mut databases, mut labels, mut vendors) = (Vec::new(), Vec::new(), Vec::new());
        for file in files {
            match &file.contents {
                Contents::Database(database) => databases.push(Arc::clone(database)),
                Contents::Labels(file) => labels.push(Arc::clone(file)),
                Contents::Vendors(file) => vendors.push(Arc::clone(file)),
            }
        }
        Self {
            databases,
            labels: merged(labels, |all, other| all.add_all(other)),
            vendors: merged(vendors, |all, other| all.add_all(other)),
        }
    }
}

/// All in one; where it is one, that.
fn merged<T: Default>(mut files: Vec<Arc<T>>, add: impl Fn(&mut T, &T)) -> Arc<T> {
    if files.len() == 1 {
        return files.remove(0);
    }
    let mut all = T::default();
    files.iter().for_each(|file| add(&mut all, file));
    Arc::new(all)
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
        let wanted = [(FileKind::Database, &config.databases), (FileKind::Labels, &config.labels)];
        let none = Vec::new();
        let vendors = (FileKind::Vendors, config.vendors.as_ref().unwrap_or(&none));
        for (kind, paths) in wanted.into_iter().chain([vendors]) {
            for path in paths {
                let fault = |problem| EnrichError::File { key: kind.key(), path: path.clone(), problem };
                files.push(Watched::open(kind, path, now_ms).map_err(fault)?);
            }
        }
        if config.vendors.is_none() {
            let found = vendors::of_this_system();
            files.extend(found.iter().filter_map(|path| Watched::open(FileKind::Vendors, path, now_ms).ok()));
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

/// What is known of an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Where it is, and whose.
    pub place: Place,
    /// What the operator calls its network.
    pub label: Option<Arc<str>>,
}

impl Facts {
    /// Who runs the autonomous system of a record that says this number, or 0: nobody who is known, where that is another one.
    #[must_use]
    pub fn as_organization(&self, said: u32) -> Option<&Arc<str>> {
        let is_of_it = said == 0 || said == self.place.as_number;
        self.place.as_organization.as_ref().filter(|_| is_of_it)
    }
}

/// Addresses of which an enricher remembers what is known.
const MOST_REMEMBERED: usize = 1 << 16;

/// Octets of memory that an enricher takes at most.
pub const OCTETS_OF_ENRICHER: u64 = MOST_REMEMBERED as u64 * 256 + 2 * database::OCTETS_OF_RECENT;

/// Octets of memory that the records of a database take at most.
pub const OCTETS_OF_PLACES: u64 = database::OCTETS_OF_PLACES;

/// Octets of memory that names of addresses take at most.
pub const OCTETS_OF_NAMES: u64 = names::MOST_OCTETS;

/// Looks up what is known, for one thread.
#[derive(Debug)]
pub struct Enricher {
    shared: Arc<Enrichment>,
    tables: Arc<Tables>,
    generation: u64,
    /// By address.
    remembered: HashMap<u128, Arc<Facts>>,
    /// Of each database.
    recent: Vec<Recent>,
}

impl Enricher {
    /// One that knows what `shared` does.
    #[must_use]
    pub fn new(shared: &Arc<Enrichment>) -> Self {
        let generation = shared.generation.load(Ordering::Acquire);
        let tables = shared.tables();
        let recent = vec![Recent::new(); tables.databases.len()];
        Self { shared: Arc::clone(shared), tables, generation, remembered: HashMap::new(), recent }
    }

    /// Takes in what has changed: to be called once for many records.
    pub fn refresh(&mut self) {
        if self.shared.generation.load(Ordering::Acquire) != self.generation {
            *self = Self::new(&self.shared);
        }
    }

    /// What is known of an address, the 128 bits of which are given; nothing of 0.
    pub fn facts(&mut self, bits: u128) -> Arc<Facts> {
        if let Some(facts) = self.remembered.get(&bits) {
            return Arc::clone(facts);
        }
        let facts = Arc::new(if bits == 0 { Facts::default() } else { self.look_up(ip(bits)) });
        if self.remembered.len() >= MOST_REMEMBERED {
            self.remembered.clear();
        }
        self.remembered.insert(bits, Arc::clone(&facts));
        facts
    }

    fn look_up(&mut self, address: IpAddr) -> Facts {
        let mut place = Place::default();
        for (database, recent) in self.tables.databases.iter().zip(&mut self.recent) {
            if let Some(found) = database.find(address, recent) {
                place.add(&found);
            }
        }
        Facts { place, label: self.tables.labels.find(address).cloned() }
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
        !self.tables.databases.is_empty()
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
                record.source_as = self.facts(address_bits(record.key.source, ip_version)).place.as_number;
            }
            if record.destination_as == 0 {
                record.destination_as = self.facts(address_bits(record.key.destination, ip_version)).place.as_number;
            }
        }
    }
}

/// Text as it may be shown: without control characters, and not too long; `None` where nothing is left.
fn text(text: &str) -> Option<Arc<str>> {
    /// Octets.
    const LONGEST: usize = 255;
    let mut clean: String =
        text.trim().chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect();
    clean.truncate(clean.floor_char_boundary(LONGEST));
    (!clean.is_empty()).then(|| clean.into())
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(crate) mod tests;
