//! Makes one file of the parts of an hour that is over, and the rollups that follow from it.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::columns::Columns;
use super::file::{Effort, FileFault, GROUP, Reader, Writer, publish, sync_folder};
use super::flows::Flows;
use super::layout::{Day, FileId, Hour, Layout, whole_name};
use super::rollup::{
    ConversationRows, HostRows, MinuteRows, NAMES, PlaceRows, Rollup, Rollups, ServiceRows, TalkerRows, Tally,
};
use super::shelf::Shelf;

/// In a rollup's metadata: whether keys were forgotten in it.
pub const ROUGH_KEY: &str = "flowprobe.rough";

/// In the metadata of a day's rollup: the identifiers of the hours of which it is, with commas between them.
pub const HOURS_KEY: &str = "flowprobe.hours";

/// In the metadata of an hour's file: the identifier of the first file that the hour had. What takes the place of that file keeps it,
/// so that it takes the place of the first elsewhere, too.
pub const FIRST_KEY: &str = "flowprobe.first";

/// Makes one file of all files of an hour, in the order in which they were written, and exchanges them in a single step. Whoever
/// looks finds either the old ones or the new one. What comes for the hour meanwhile is kept beside it. `false` where `stop` was set
/// before the end: then nothing has happened.
///
/// # Errors
/// A file cannot be read or written: then nothing has happened.
pub fn compact(shelf: &Shelf, hour: Hour, stop: &AtomicBool) -> Result<bool, FileFault> {
    let layout = shelf.layout();
    let files = layout.files(hour)?;
    let id = FileId::new();
    let first = match &files.whole {
        Some(whole) => first_of(&layout.hour(hour).join(whole_name(whole)), whole)?,
        None => id.clone(),
    };
    let unfinished = layout.unfinished().join(id.as_str());
    fs::create_dir_all(&unfinished).map_err(FileFault::io(&unfinished))?;
    let outcome = gather(layout, hour, [&id, &first], &mut files.names(), stop).and_then(|rollups| {
        let Some(mut rollups) = rollups else { return Ok(false) };
        // First, so that they are there as soon as the file is by which they are found.
        keep::<MinuteRows>(layout, hour, &id, &mut rollups)?;
        keep::<TalkerRows>(layout, hour, &id, &mut rollups)?;
        keep::<ServiceRows>(layout, hour, &id, &mut rollups)?;
        keep::<ConversationRows>(layout, hour, &id, &mut rollups)?;
        keep::<PlaceRows>(layout, hour, &id, &mut rollups)?;
        keep::<HostRows>(layout, hour, &id, &mut rollups)?;
        shelf.quietly(|| exchange(layout, hour, &id, &files.names().collect::<Vec<_>>())).map(|()| true)
    });
    if !matches!(outcome, Ok(true)) {
        let _ = fs::remove_dir_all(&unfinished);
        for name in NAMES {
            let _ = fs::remove_file(layout.rollup_file(name, &hour, &id));
        }
    }
    outcome
}

/// The first file that the hour had whose file `id` is at `path`: see [`FIRST_KEY`].
///
/// # Errors
/// It is not there, or damaged.
pub(super) fn first_of(path: &Path, id: &FileId) -> Result<FileId, FileFault> {
    let reader = Reader::<Flows>::open(path)?;
    Ok(reader.fact(FIRST_KEY).map_or_else(|| id.clone(), FileId::read))
}

/// Writes the rows of all files into one, and counts them; nothing where it was stopped. The identifiers are its own and that of the
/// first.
fn gather(
    layout: &Layout,
    hour: Hour,
    [id, first]: [&FileId; 2],
    names: &mut dyn Iterator<Item = String>,
    stop: &AtomicBool,
) -> Result<Option<Rollups>, FileFault> {
    let path = layout.unfinished().join(id.as_str()).join(whole_name(id));
    let facts = [(FIRST_KEY, first.as_str().to_owned())];
    let mut writer = Writer::<Flows>::create(&path, Effort::Lasting, &facts)?;
    let (mut rollups, mut rows) = (Rollups::default(), Flows::default());
    for name in names {
        let reader = Reader::<Flows>::open(&layout.hour(hour).join(name))?;
        for group in 0..reader.groups() {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let known = rows.len();
            reader.read(group, 0..Flows::COLUMNS.len(), &mut rows)?;
            for row in known..rows.len() {
                rollups.add(&rows, row);
            }
            while rows.len() >= GROUP {
                writer.write(&rows, 0..GROUP)?;
                rows.remove_first(GROUP);
            }
        }
    }
    writer.write(&rows, 0..rows.len())?;
    writer.finish()?;
    Ok(Some(rollups))
}

/// Writes a rollup of an hour or a day and puts it where it is found by its identifier.
fn keep<R: Rollup>(layout: &Layout, hour: Hour, id: &FileId, rollups: &mut Rollups) -> Result<(), FileFault> {
    write_rollup::<R>(layout, &hour, id, R::of(rollups), &[])
}

fn write_rollup<R: Rollup>(
    layout: &Layout,
    period: &impl fmt::Display,
    id: &FileId,
    tally: &Tally<R::Key, R::Value>,
    facts: &[(&str, String)],
) -> Result<(), FileFault> {
    let path = layout.rollup_file(R::NAME, period, id);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(FileFault::io(folder))?;
    }
    let unfinished = layout.unfinished().join(format!("{}-{}", R::NAME, id.as_str()));
    let rough = (ROUGH_KEY, tally.is_rough.to_string());
    let facts: Vec<_> = facts.iter().cloned().chain([rough]).collect();
    let rows = R::rows(tally);
    let mut writer = Writer::<R>::create(&unfinished, Effort::Lasting, &facts)?;
    let mut from = 0;
    while from < rows.count() {
        let to = rows.count().min(from + GROUP);
        writer.write(&rows, from..to)?;
        from = to;
    }
    writer.finish()?;
    publish(&unfinished, &path)
}

/// Whether the file system can exchange folders: not all can.
pub(super) fn can_exchange(layout: &Layout) -> io::Result<()> {
    let [one, other] = ["one", "other"].map(|name| layout.unfinished().join(name));
    fs::create_dir_all(&one)?;
    fs::create_dir_all(&other)?;
    let outcome = renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE);
    fs::remove_dir(&one)?;
    fs::remove_dir(&other)?;
    Ok(outcome?)
}

/// Exchanges the folder of an hour for the one that has the new file. What is in the old one beside `gathered` has come meanwhile.
fn exchange(layout: &Layout, hour: Hour, id: &FileId, gathered: &[String]) -> Result<(), FileFault> {
    let (fresh, folder) = (layout.unfinished().join(id.as_str()), layout.hour(hour));
    for name in layout.files(hour)?.names().filter(|name| !gathered.contains(name)) {
        fs::hard_link(folder.join(&name), fresh.join(&name)).map_err(FileFault::io(&folder))?;
    }
    sync_folder(&fresh)?;
    renameat_with(CWD, &fresh, CWD, &folder, RenameFlags::EXCHANGE)
        .map_err(|error| FileFault::io(&folder)(error.into()))?;
    // What was replaced stays for a while after this.
    let _ = File::open(&fresh).and_then(|replaced| replaced.set_modified(SystemTime::now()));
    sync_folder(&layout.flows())
}

/// A rollup of an hour or a day, open.
pub struct RollupReader<R> {
    file: Reader<R>,
}

impl<R: Rollup> RollupReader<R> {
    /// Opens the one that was written for this identifier.
    ///
    /// # Errors
    /// It is not there, or damaged.
    pub fn open(layout: &Layout, period: &impl fmt::Display, id: &FileId) -> Result<Self, FileFault> {
        Ok(Self { file: Reader::open(&layout.rollup_file(R::NAME, period, id))? })
    }

    /// Its file.
    #[must_use]
    pub const fn file(&self) -> &Reader<R> {
        &self.file
    }

    /// Groups of sums.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.file.groups()
    }

    /// The sums of a group.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn read(&self, group: usize, mut each: impl FnMut(R::Key, R::Value)) -> Result<(), FileFault> {
        let mut rows = R::default();
        self.file.read(group, 0..R::COLUMNS.len(), &mut rows)?;
        for row in 0..rows.count() {
            let (key, value) = rows.row(row);
            each(key, value);
        }
        Ok(())
    }

    /// Whether keys were forgotten in it.
    #[must_use]
    pub fn is_rough(&self) -> bool {
        self.file.fact(ROUGH_KEY) == Some("true")
    }
}

/// All sums of a rollup, one for each; whether keys were forgotten in it.
///
/// # Errors
/// It is not there, or damaged.
pub fn read_rollup<R: Rollup>(
    layout: &Layout,
    period: &impl fmt::Display,
    id: &FileId,
    mut each: impl FnMut(R::Key, R::Value),
) -> Result<bool, FileFault> {
    let reader = RollupReader::<R>::open(layout, period, id)?;
    for group in 0..reader.groups() {
        reader.read(group, &mut each)?;
    }
    Ok(reader.is_rough())
}

/// The identifiers of the hours that a day's rollup has, where it is one.
///
/// # Errors
/// It is not there, or damaged.
pub fn hours_of<R: Rollup>(layout: &Layout, day: Day, id: &FileId) -> Result<Vec<String>, FileFault> {
    let reader = Reader::<R>::open(&layout.rollup_file(R::NAME, &day, id))?;
    Ok(reader.fact(HOURS_KEY).unwrap_or_default().split(',').filter(|id| !id.is_empty()).map(str::to_owned).collect())
}

/// Adds up the rollups of a day's hours, of which these are the identifiers.
///
/// # Errors
/// One cannot be read, or the sum not be written.
pub fn sum_day<R: Rollup>(layout: &Layout, day: Day, hours: &[(Hour, FileId)]) -> Result<(), FileFault> {
    let mut tally: Tally<R::Key, R::Value> = Tally::bounded(R::MOST);
    for (hour, id) in hours {
        let rough = read_rollup::<R>(layout, hour, id, |key, value| tally.add(key, value))?;
        tally.is_rough |= rough;
    }
    let ids: Vec<&str> = hours.iter().map(|(_, id)| id.as_str()).collect();
    write_rollup::<R>(layout, &day, &FileId::new(), &tally, &[(HOURS_KEY, ids.join(","))])
}
