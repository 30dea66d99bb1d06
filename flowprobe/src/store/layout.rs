//! Where files are: folders of hours, and the names in them.
//!
//! ```text
//! lock                                     who writes here
//! flows/hour=2026-11-24T10/part-….parquet  a few seconds of records each, while the hour is open
//! flows/hour=2026-11-24T09/hour-….parquet  a whole hour, when it is over
//! rollups/minutes/hour=2026-11-24T09/….parquet   what follows from the hour file of the same number
//! rollups/talkers/day=2026-11-23/….parquet       what follows from the hours of a day
//! tmp/                                     what is not finished, and what has been replaced
//! damaged/                                 files that could not be read when their hour was over
//! sent/hour=2026-11-24T09                  which file of this hour has gone elsewhere, where hours do
//! ```

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use jiff::Timestamp;
use jiff::civil::DateTime;

use super::file::FileFault;

/// Milliseconds of an hour.
pub const HOUR_MS: i64 = 3_600_000;

/// Milliseconds of a day.
pub const DAY_MS: i64 = 24 * HOUR_MS;

/// An hour of history, by its number since 1970 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(pub i64);

impl Hour {
    /// The hour in which this moment is.
    #[must_use]
    pub const fn of(ms: i64) -> Self {
        Self(ms.div_euclid(HOUR_MS))
    }

    /// Its first moment.
    #[must_use]
    pub const fn start_ms(self) -> i64 {
        self.0 * HOUR_MS
    }

    /// The first moment after it.
    #[must_use]
    pub const fn end_ms(self) -> i64 {
        self.start_ms() + HOUR_MS
    }

    /// Its day.
    #[must_use]
    pub const fn day(self) -> Day {
        Day(self.0.div_euclid(24))
    }

    fn parse(name: &str) -> Option<Self> {
        let start: DateTime = format!("{}:00:00", name.strip_prefix("hour=")?).parse().ok()?;
        let start = start.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond();
        let hour = Self::of(start);
        // Nothing that only looks like one.
        (hour.to_string() == name).then_some(hour)
    }
}

/// As its folder is called.
impl fmt::Display for Hour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = Timestamp::from_millisecond(self.start_ms()).unwrap_or(Timestamp::MIN);
        write!(f, "hour={}", start.strftime("%Y-%m-%dT%H"))
    }
}

/// A day of history, UTC, by its number since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub i64);

impl Day {
    /// Its first moment.
    #[must_use]
    pub const fn start_ms(self) -> i64 {
        self.0 * DAY_MS
    }

    /// The first moment after it.
    #[must_use]
    pub const fn end_ms(self) -> i64 {
        self.start_ms() + DAY_MS
    }

    /// Its hours.
    pub fn hours(self) -> impl Iterator<Item = Hour> {
        (0..24).map(move |hour| Hour(self.0 * 24 + hour))
    }

    fn parse(name: &str) -> Option<Self> {
        let start: DateTime = format!("{}T00:00:00", name.strip_prefix("day=")?).parse().ok()?;
        let start = start.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond();
        let day = Self(start.div_euclid(DAY_MS));
        (day.to_string() == name).then_some(day)
    }
}

/// As its folder is called.
impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = Timestamp::from_millisecond(self.start_ms()).unwrap_or(Timestamp::MIN);
        write!(f, "day={}", start.strftime("%Y-%m-%d"))
    }
}

/// What tells files apart: the moment in which they were made, and a number that no other of this process has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(String);

impl FileId {
    /// One that there was not before.
    #[must_use]
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let now = Timestamp::now();
        // By chance too: a clock that was set back may show the same moment to another process.
        Self(format!("{}-{count:06}-{:08x}", now.strftime("%Y%m%dT%H%M%S%.3f"), fastrand::u32(..)))
    }

    /// That of a file that there is.
    pub(super) fn read(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for FileId {
    fn default() -> Self {
        Self::new()
    }
}

/// The files of an hour.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HourFiles {
    /// The file of the whole hour, and what tells it apart.
    pub whole: Option<FileId>,
    /// Names of those that hold what is not in it.
    pub parts: Vec<String>,
}

impl HourFiles {
    /// The names of all.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.whole.iter().map(whole_name).chain(self.parts.iter().cloned())
    }
}

/// The name of the file that has a whole hour.
#[must_use]
pub fn whole_name(id: &FileId) -> String {
    format!("hour-{}.parquet", id.as_str())
}

/// A store's folders.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// That of the store in `root`.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The folder of the store.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What shows that somebody writes here.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// Folders of hours.
    #[must_use]
    pub fn flows(&self) -> PathBuf {
        self.root.join("flows")
    }

    /// The folder of an hour.
    #[must_use]
    pub fn hour(&self, hour: Hour) -> PathBuf {
        self.flows().join(hour.to_string())
    }

    /// Folders of hours and days of a rollup.
    #[must_use]
    pub fn rollup(&self, name: &str) -> PathBuf {
        self.root.join("rollups").join(name)
    }

    /// What is not finished, and what has been replaced.
    #[must_use]
    pub fn unfinished(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// Files that turned out to be damaged.
    #[must_use]
    pub fn damaged(&self) -> PathBuf {
        self.root.join("damaged")
    }

    /// What has gone elsewhere.
    #[must_use]
    pub fn sent(&self) -> PathBuf {
        self.root.join("sent")
    }

    /// Octets that history takes. What has been replaced and is about to go is not among them.
    #[must_use]
    pub fn octets(&self) -> u64 {
        [self.flows(), self.root.join("rollups"), self.damaged()].iter().map(|folder| octets_below(folder)).sum()
    }

    /// The hours of which there are flows, the earliest first.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn hours(&self) -> Result<Vec<Hour>, FileFault> {
        listed(&self.flows(), Hour::parse)
    }

    /// The files of an hour; none where there is no such folder.
    ///
    /// # Errors
    /// The folder cannot be read, or was replaced meanwhile.
    pub fn files(&self, hour: Hour) -> Result<HourFiles, FileFault> {
        let names = listed(&self.hour(hour), |name| name.ends_with(".parquet").then(|| name.to_owned()))?;
        let mut files = HourFiles::default();
        for name in names {
            let id = name.strip_prefix("hour-").and_then(|name| name.strip_suffix(".parquet"));
            match id {
                // The last, should there ever be two: then the others are as parts.
                Some(id) => {
                    let earlier = files.whole.replace(FileId(id.to_owned()));
                    files.parts.extend(earlier.iter().map(whole_name));
                }
                None => files.parts.push(name),
            }
        }
        Ok(files)
    }

    /// The folders of hours of a rollup.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn rollup_hours(&self, name: &str) -> Result<Vec<Hour>, FileFault> {
        listed(&self.rollup(name), Hour::parse)
    }

    /// The folders of days of a rollup.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn rollup_days(&self, name: &str) -> Result<Vec<Day>, FileFault> {
        listed(&self.rollup(name), Day::parse)
    }

    /// What rollups there are of an hour or a day, the latest last, by what tells them apart.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn rollup_ids(&self, name: &str, period: &impl fmt::Display) -> Result<Vec<FileId>, FileFault> {
        listed(&self.rollup(name).join(period.to_string()), |name| {
            name.strip_suffix(".parquet").map(|id| FileId(id.to_owned()))
        })
    }

    /// The file of a rollup.
    #[must_use]
    pub fn rollup_file(&self, name: &str, period: &impl fmt::Display, id: &FileId) -> PathBuf {
        self.rollup(name).join(period.to_string()).join(format!("{}.parquet", id.as_str()))
    }
}

/// What `read` makes of the names in a folder, in order; nothing where there is no folder.
fn listed<T: Ord>(folder: &Path, read: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, FileFault> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(FileFault::io(folder)(error)),
    };
    let mut all = Vec::new();
    for entry in entries {
        let name = entry.map_err(FileFault::io(folder))?.file_name();
        all.extend(Some(name.as_os_str()).and_then(OsStr::to_str).and_then(&read));
    }
    all.sort_unstable();
    Ok(all)
}

/// Octets of all files below a folder.
#[must_use]
pub fn octets_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let octets = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => octets_below(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    octets.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_and_days_are_called_by_their_first_moment() {
        let ms = 1_795_510_014_447;
        let hour = Hour::of(ms);
        assert_eq!(
            (hour.to_string().as_str(), hour.day().to_string().as_str()),
            ("hour=2026-11-24T08", "day=2026-11-24")
        );
        assert!((hour.start_ms()..hour.end_ms()).contains(&ms));
        assert_eq!((Hour::parse("hour=2026-11-24T08"), Day::parse("day=2026-11-24")), (Some(hour), Some(hour.day())));
        assert_eq!(hour.day().hours().nth(8), Some(hour));
        assert_eq!(Hour::of(-1).to_string(), "hour=1969-12-31T23");
        for name in ["hour=2026-11-24", "hour=2026-11-24T9", "hour=2026-11-24T09:00", "day=2026-11-24", "hour=", "tmp"]
        {
            assert_eq!(Hour::parse(name), None, "{name}");
        }
    }

    #[test]
    fn identifiers_are_never_alike_and_in_the_order_of_time() {
        let ids: Vec<FileId> = (0..1000).map(|_| FileId::new()).collect();
        assert!(ids.is_sorted());
        let mut distinct = ids.clone();
        distinct.dedup();
        assert_eq!(distinct.len(), ids.len());
    }
}
