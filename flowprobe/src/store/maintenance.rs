//! What keeps a store in order: compaction of hours that are over, sums of days, and retention.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tracing::error;

use super::compaction::{compact, hours_of, sum_day};
use super::file::{FileFault, sync_folder};
use super::layout::{Day, FileId, Hour, HourFiles, Layout, octets_below};
use super::rollup::{ConversationRows, HostRows, MinuteRows, NAMES, PlaceRows, Rollup, ServiceRows, TalkerRows};
use super::shelf::Shelf;

/// How much history is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Records that are older go, hour by hour, once they are elsewhere where they are to go there. Rollups stay 13 times as long:
    /// they take little, and answer questions about last year.
    pub age: Duration,
    /// Where all takes more, the oldest hours go.
    pub octets: u64,
}

/// How many times as long as records rollups stay.
const ROLLUPS_STAY: u32 = 13;

/// After its end an hour is left alone for so long, since records come when flows end, or are reported.
const SETTLES_MS: i64 = 2 * 60_000;

/// Parts that come for an hour which is a file already wait for others: it is written anew as a whole.
const LATE_PARTS: usize = 64;

/// And so long at most.
const LATE_MS: i64 = 10 * 60_000;

/// What was replaced stays for so long, so that whoever has just looked for it finds it.
const LINGERS: Duration = Duration::from_secs(60);

/// Puts the store in order as of `now_ms`, and returns what went wrong on the way; everything else is done all the same. `stop` ends
/// it early.
pub fn maintain(shelf: &Shelf, retention: Retention, now_ms: i64, stop: &AtomicBool) -> Vec<FileFault> {
    let mut faults = Vec::new();
    let layout = shelf.layout();
    remove_replaced(layout);
    let hours = match layout.hours() {
        Ok(hours) => hours,
        Err(fault) => return vec![fault],
    };
    for &hour in hours.iter().filter(|hour| hour.end_ms() + SETTLES_MS <= now_ms) {
        if stop.load(Ordering::Relaxed) {
            return faults;
        }
        let outcome = layout.files(hour).and_then(|files| {
            if shelf.can_compact() && is_due(layout, hour, &files) {
                compact(shelf, hour, stop).map(|_| ())
            } else {
                Ok(())
            }
        });
        if let Err(fault) = outcome {
            faults.extend(put_aside(layout, hour, &fault).err());
            faults.push(fault);
        }
    }
    faults.extend(sum_days::<MinuteRows>(layout, now_ms, stop));
    faults.extend(sum_days::<TalkerRows>(layout, now_ms, stop));
    faults.extend(sum_days::<ServiceRows>(layout, now_ms, stop));
    faults.extend(sum_days::<ConversationRows>(layout, now_ms, stop));
    faults.extend(sum_days::<PlaceRows>(layout, now_ms, stop));
    faults.extend(sum_days::<HostRows>(layout, now_ms, stop));
    let (deleted, problems) = delete_old(shelf, retention, now_ms);
    faults.extend(problems);
    let octets = layout.octets();
    let hours = layout.hours().map_or(0, |hours| hours.len() as u64);
    shelf.note(|condition| {
        condition.octets = octets;
        condition.hours = hours;
        condition.deleted_hours += deleted;
    });
    if let Some(marks) = shelf.remote() {
        marks.changed();
    }
    faults
}

/// Whether an hour is to go elsewhere and has not yet.
fn is_owed(shelf: &Shelf, hour: Hour) -> bool {
    let files = || shelf.layout().files(hour);
    shelf.remote().is_some_and(|marks| !files().is_ok_and(|files| marks.has_all(hour, &files)))
}

/// Moves a file of an hour that is damaged out of the way, so that the others can be made one.
fn put_aside(layout: &Layout, hour: Hour, fault: &FileFault) -> Result<(), FileFault> {
    let is_of_hour = fault.path.parent() == Some(&*layout.hour(hour));
    let Some(name) = fault.path.file_name().filter(|_| fault.is_damage() && is_of_hour) else { return Ok(()) };
    let folder = layout.damaged().join(hour.to_string());
    fs::create_dir_all(&folder).map_err(FileFault::io(&folder))?;
    fs::rename(&fault.path, folder.join(name)).map_err(FileFault::io(&fault.path))
}

/// Whether an hour that is over is to be made one file.
fn is_due(layout: &Layout, hour: Hour, files: &HourFiles) -> bool {
    match (&files.whole, files.parts.len()) {
        (_, 0) => false,
        (None, _) => true,
        (Some(_), parts) => parts >= LATE_PARTS || youngest_ms(&layout.hour(hour), files) >= LATE_MS,
    }
}

/// How long ago the last of an hour's parts came.
fn youngest_ms(folder: &Path, files: &HourFiles) -> i64 {
    let ages =
        files.parts.iter().filter_map(|name| fs::metadata(folder.join(name)).ok()?.modified().ok()?.elapsed().ok());
    ages.min().map_or(0, |age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX))
}

/// Adds up days that are over, where all of their hours are files and the sum is not of these.
fn sum_days<R: Rollup>(layout: &Layout, now_ms: i64, stop: &AtomicBool) -> Vec<FileFault> {
    let mut faults = Vec::new();
    let days = match layout.hours() {
        Ok(hours) => hours.into_iter().map(Hour::day),
        Err(fault) => return vec![fault],
    };
    let mut days: Vec<Day> = days.filter(|day| day.end_ms() + SETTLES_MS <= now_ms).collect();
    days.dedup();
    for day in days {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        faults.extend(sum_of_day::<R>(layout, day).err());
    }
    faults
}

fn sum_of_day<R: Rollup>(layout: &Layout, day: Day) -> Result<(), FileFault> {
    let Some(hours) = whole_hours(layout, R::NAME, day)? else { return Ok(()) };
    let known = layout.rollup_ids(R::NAME, &day)?;
    if let Some(last) = known.last()
        && hours_of::<R>(layout, day, last)?.iter().eq(hours.iter().map(|(_, id)| id.as_str()))
    {
        return Ok(());
    }
    sum_day::<R>(layout, day, &hours)?;
    for id in known {
        let path = layout.rollup_file(R::NAME, &day, &id);
        fs::remove_file(&path).map_err(FileFault::io(&path))?;
    }
    Ok(())
}

/// The hours of a day with the identifiers of their rollups: of hours whose records are gone, too. Nothing where an hour has
/// records and no file of all, or where there are none.
fn whole_hours(layout: &Layout, name: &str, day: Day) -> Result<Option<Vec<(Hour, FileId)>>, FileFault> {
    let mut all = Vec::new();
    for hour in day.hours() {
        let files = layout.files(hour)?;
        match files.whole {
            Some(id) => all.push((hour, id)),
            None if files.parts.is_empty() => {
                all.extend(layout.rollup_ids(name, &hour)?.pop().map(|id| (hour, id)));
            }
            None => return Ok(None),
        }
    }
    Ok(Some(all).filter(|all| !all.is_empty()))
}

/// Deletes what is too old, and the oldest where all takes too much. Returns how many hours of records, and what went wrong.
fn delete_old(shelf: &Shelf, retention: Retention, now_ms: i64) -> (u64, Vec<FileFault>) {
    let layout = shelf.layout();
    let age_ms = i64::try_from(retention.age.as_millis()).unwrap_or(i64::MAX);
    let (mut deleted, mut faults) = (0, Vec::new());
    let mut note = |outcome: Result<(), FileFault>| match outcome {
        Ok(()) => deleted += 1,
        Err(fault) => faults.push(fault),
    };
    let is_old = |hour: &Hour| hour.end_ms() <= now_ms.saturating_sub(age_ms);
    // Those that are to go elsewhere wait for it, as long as there is room.
    let (old, left): (Vec<Hour>, Vec<Hour>) =
        layout.hours().unwrap_or_default().into_iter().partition(|hour| is_old(hour) && !is_owed(shelf, *hour));
    old.into_iter().for_each(|hour| note(delete(shelf, hour)));
    let mut left = left.into_iter().peekable();
    let mut octets = layout.octets();
    while octets > retention.octets {
        // The hour that is being written stays.
        let Some(hour) = left.next_if(|hour| hour.end_ms() <= now_ms) else { break };
        octets = octets.saturating_sub(octets_below(&layout.hour(hour)));
        note(delete(shelf, hour));
    }
    let oldest_ms = now_ms.saturating_sub(age_ms.saturating_mul(ROLLUPS_STAY.into()));
    for name in NAMES {
        faults.extend(delete_rollups(layout, name, |end_ms| end_ms <= oldest_ms));
        remove_outdated(layout, name);
    }
    if octets > retention.octets {
        // There are no more records to go.
        for name in NAMES {
            let first = layout.rollup_days(name).unwrap_or_default().first().map(|day| day.end_ms());
            let first = first
                .into_iter()
                .chain(layout.rollup_hours(name).unwrap_or_default().first().map(|hour| hour.end_ms()))
                .min();
            faults.extend(delete_rollups(layout, name, |end_ms| first.is_some_and(|first| end_ms <= first)));
        }
    }
    (deleted, faults)
}

/// Deletes the rollups of hours and days that are old by when they ended.
fn delete_rollups(layout: &Layout, name: &str, is_old: impl Fn(i64) -> bool) -> Vec<FileFault> {
    let hours = layout.rollup_hours(name).unwrap_or_default();
    let days = layout.rollup_days(name).unwrap_or_default();
    let hours = hours.iter().filter(|hour| is_old(hour.end_ms())).map(ToString::to_string);
    let days = days.iter().filter(|day| is_old(day.end_ms())).map(ToString::to_string);
    let folders = hours.chain(days).map(|period| layout.rollup(name).join(period));
    folders.filter_map(|folder| fs::remove_dir_all(&folder).map_err(FileFault::io(&folder)).err()).collect()
}

/// Removes the rollups of an hour that belong to no file any more, while there is one to which another belongs.
fn remove_outdated(layout: &Layout, name: &str) {
    for hour in layout.rollup_hours(name).unwrap_or_default() {
        remove_outdated_of(layout, name, hour);
    }
}

fn remove_outdated_of(layout: &Layout, name: &str, hour: Hour) {
    let Ok(ids) = layout.rollup_ids(name, &hour) else { return };
    let Ok(HourFiles { whole: Some(whole), .. }) = layout.files(hour) else { return };
    if ids.contains(&whole) {
        for id in ids.iter().filter(|id| **id != whole) {
            let _ = fs::remove_file(layout.rollup_file(name, &hour, id));
        }
    }
}

/// Deletes an hour of records in a single step. What came late for it goes into the rollups before, which stay.
fn delete(shelf: &Shelf, hour: Hour) -> Result<(), FileFault> {
    let (layout, is_owed) = (shelf.layout(), is_owed(shelf, hour));
    if layout.files(hour).is_ok_and(|files| !files.parts.is_empty()) {
        // Where that cannot be, as on a full disk, it goes all the same.
        let _ = compact(shelf, hour, &AtomicBool::new(false));
    }
    // While the file is there that tells which are: by their names alone the last may be one of before the clock was set back.
    for name in NAMES {
        remove_outdated_of(layout, name, hour);
    }
    let (folder, out) = (layout.hour(hour), layout.unfinished().join(FileId::new().as_str()));
    shelf.quietly(|| fs::rename(&folder, &out)).map_err(FileFault::io(&folder))?;
    if is_owed {
        miss(shelf, hour);
    }
    sync_folder(&layout.flows())?;
    fs::remove_dir_all(&out).map_err(FileFault::io(&out))
}

/// An hour is gone here that has not gone where it was to go.
fn miss(shelf: &Shelf, hour: Hour) {
    shelf.note(|condition| {
        if let Some(remote) = &mut condition.remote {
            error!("history of {hour} was deleted for the size of all before it was at {}", remote.name);
            remote.missed_hours += 1;
        }
    });
}

/// Removes what has been replaced a while ago. What is being made just now is younger.
fn remove_replaced(layout: &Layout) {
    for entry in fs::read_dir(layout.unfinished()).into_iter().flatten().flatten() {
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        // What seems to be of the future is of a clock that was set back since.
        let is_old = modified.is_ok_and(|then| then.elapsed().map_or(true, |age| age >= LINGERS));
        if entry.path().is_dir() && is_old {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
