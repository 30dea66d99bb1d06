//! What a store holds at a moment: its files, and the rows that are not in a file yet. Those who write and those who ask meet here.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};

use super::columns::Columns as _;
use super::file::{Effort, FileFault, GROUP, Writer, sync_folder};
use super::flows::Flows;
use super::layout::{FileId, Hour, HourFiles, Layout};
use super::remote::{Marks, RemoteCondition};

/// A store in this process.
#[derive(Debug)]
pub struct Shelf {
    layout: Layout,
    /// Whether folders can be exchanged here, and so hours be made of parts.
    can_exchange: bool,
    /// What has gone elsewhere, where hours do.
    remote: OnceLock<Marks>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Rows that are not in a file yet, by hour.
    waiting: BTreeMap<Hour, Flows>,
    condition: Condition,
}

/// How a store fares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Its folder.
    pub folder: String,
    /// Records written since the start.
    pub stored_records: u64,
    /// Records that wait to be written.
    pub waiting_records: u64,
    /// Files written since the start.
    pub files: u64,
    /// Octets on disk, as last measured.
    pub octets: u64,
    /// Hours of which there are records, as last counted.
    pub hours: u64,
    /// Hours that were deleted for their age or for the size of all since the start.
    pub deleted_hours: u64,
    /// What is wrong, as long as it is: such as a disk that is full.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub problem: Option<String>,
    /// Problems since the start.
    pub problems: u64,
    /// How it goes with what goes elsewhere, where hours do.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub remote: Option<RemoteCondition>,
}

/// What a store holds at one moment: each row is in a file that is named here, or waits.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The files of each hour.
    pub hours: BTreeMap<Hour, HourFiles>,
    /// Rows that are not in a file, by hour.
    pub waiting: Vec<(Hour, Flows)>,
}

impl Shelf {
    /// That of a store that is empty or has files.
    #[must_use]
    pub fn new(layout: Layout, can_exchange: bool) -> Self {
        let condition = Condition { folder: layout.root().display().to_string(), ..Condition::default() };
        let state = Mutex::new(State { condition, ..State::default() });
        Self { layout, can_exchange, remote: OnceLock::new(), state }
    }

    /// Hours go elsewhere from now on, to what is called `name`.
    pub(super) fn send(&self, marks: Marks, name: String) {
        self.note(|condition| condition.remote = Some(RemoteCondition { name, ..RemoteCondition::default() }));
        // It is said once, before anybody asks.
        let _ = self.remote.set(marks);
    }

    /// What has gone elsewhere, where hours do.
    pub(super) fn remote(&self) -> Option<&Marks> {
        self.remote.get()
    }

    /// Where its files are.
    #[must_use]
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Whether folders can be exchanged here.
    pub(super) const fn can_exchange(&self) -> bool {
        self.can_exchange
    }

    /// Whether hours can be made of parts: where folders can be exchanged, and while files can be written.
    pub(super) fn can_compact(&self) -> bool {
        self.can_exchange && self.state().condition.problem.is_none()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whoever failed while it held this left rows that are whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it fares.
    #[must_use]
    pub fn condition(&self) -> Condition {
        self.state().condition.clone()
    }

    /// Notes how it fares.
    pub fn note(&self, change: impl FnOnce(&mut Condition)) {
        change(&mut self.state().condition);
    }

    /// Lets rows wait: those that `fill` puts into those of their hour. Returns how many wait then.
    pub fn add(&self, fill: impl FnOnce(&mut BTreeMap<Hour, Flows>)) -> usize {
        let mut state = self.state();
        fill(&mut state.waiting);
        let waiting = state.waiting.values().map(Flows::len).sum();
        state.condition.waiting_records = waiting as u64;
        waiting
    }

    /// Writes what waits into files, one for each hour. What cannot be written goes on waiting.
    ///
    /// # Errors
    /// The first that cannot be written.
    pub fn write_out(&self) -> Result<(), FileFault> {
        // Written from a copy: whoever asks, or adds, must not wait for the disk.
        let waiting = self.state().waiting.clone();
        for (hour, flows) in waiting {
            let id = FileId::new();
            let unfinished = self.layout.unfinished().join(id.as_str());
            let written = write_part(&unfinished, &flows);
            let mut state = self.state();
            let published = written.and_then(|()| self.publish_part(hour, &id));
            if let Err(fault) = published {
                let _ = fs::remove_file(&unfinished);
                return Err(fault);
            }
            // The rows are in a file now. Where that cannot be made sure of they must still not wait, and be written, once more.
            let synced = sync_folder(&self.layout.hour(hour));
            // Those that came meanwhile stay.
            if let Some(rows) = state.waiting.get_mut(&hour) {
                rows.remove_first(flows.len());
                if rows.is_empty() {
                    state.waiting.remove(&hour);
                }
            }
            let left = state.waiting.values().map(Flows::len).sum::<usize>();
            state.condition.waiting_records = left as u64;
            state.condition.stored_records += flows.len() as u64;
            state.condition.files += 1;
            drop(state);
            synced?;
        }
        Ok(())
    }

    /// Puts a finished part where it is read. The state is held meanwhile, so that its rows are seen once. Where this fails, it is not
    /// there.
    fn publish_part(&self, hour: Hour, id: &FileId) -> Result<(), FileFault> {
        let folder = self.layout.hour(hour);
        if !folder.exists() {
            fs::create_dir_all(&folder).map_err(FileFault::io(&folder))?;
            sync_folder(&self.layout.flows())?;
        }
        let path = folder.join(format!("part-{}.parquet", id.as_str()));
        fs::rename(self.layout.unfinished().join(id.as_str()), &path).map_err(FileFault::io(&path))
    }

    /// Drops the earliest of what waits until `most` rows are left. Returns what was dropped.
    pub fn shed(&self, most: usize) -> Vec<Flows> {
        let mut state = self.state();
        let mut shed = Vec::new();
        while state.waiting.values().map(Flows::len).sum::<usize>() > most {
            let Some((_, flows)) = state.waiting.pop_first() else { break };
            shed.push(flows);
        }
        let left = state.waiting.values().map(Flows::len).sum::<usize>();
        state.condition.waiting_records = left as u64;
        shed
    }

    /// Runs `exchange` while no file is published and nobody looks which there are.
    pub(super) fn quietly<T>(&self, exchange: impl FnOnce() -> T) -> T {
        let _state = self.state();
        exchange()
    }

    /// What there is now.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub fn snapshot(&self) -> Result<Snapshot, FileFault> {
        let state = self.state();
        let waiting = state.waiting.iter().map(|(hour, flows)| (*hour, flows.clone())).collect();
        Ok(Snapshot { waiting, ..Snapshot::of_files(&self.layout)? })
    }
}

impl Snapshot {
    /// Of a store that another process writes, or nobody: what is in files.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub fn of_files(layout: &Layout) -> Result<Self, FileFault> {
        let files = layout.hours()?.into_iter().map(|hour| Ok((hour, layout.files(hour)?)));
        Ok(Self { hours: files.collect::<Result<_, FileFault>>()?, waiting: Vec::new() })
    }
}

fn write_part(path: &Path, flows: &Flows) -> Result<(), FileFault> {
    let mut writer = Writer::create(path, Effort::Passing, &[])?;
    let mut from = 0;
    while from < flows.len() {
        let to = flows.len().min(from + GROUP);
        writer.write(flows, from..to)?;
        from = to;
    }
    writer.finish()
}
