//! Which hours have gone elsewhere, known over a restart: a small file for each, which names the file that was sent, and where to.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::store::file::{FileFault, publish};
use crate::store::layout::{FileId, Hour, HourFiles, Layout};

/// What has gone to one place.
#[derive(Debug)]
pub struct Marks {
    layout: Layout,
    /// Where it has gone: what has gone to another place has not gone to this one.
    place: String,
    /// The file of each hour that is there.
    sent: Mutex<BTreeMap<Hour, String>>,
    changed: Notify,
}

impl Marks {
    /// Reads those of hours that the store has, and removes those of others.
    ///
    /// # Errors
    /// Folders cannot be read or made.
    pub fn read(layout: &Layout, place: &str) -> Result<Self, FileFault> {
        let folder = layout.sent();
        fs::create_dir_all(&folder).map_err(FileFault::io(&folder))?;
        let hours = layout.hours()?;
        let names: Vec<String> = hours.iter().map(ToString::to_string).collect();
        for entry in fs::read_dir(&folder).map_err(FileFault::io(&folder))?.flatten() {
            if !names.iter().any(|name| entry.file_name() == **name) {
                let _ = fs::remove_file(entry.path());
            }
        }
        let sent = hours.into_iter().filter_map(|hour| {
            // What cannot be read is as if it had not been sent.
            let text = fs::read_to_string(folder.join(hour.to_string())).ok()?;
            let (id, whither) = text.split_once('\n')?;
            (whither.trim_end_matches('\n') == place).then(|| (hour, id.to_owned()))
        });
        let sent = Mutex::new(sent.collect());
        Ok(Self { layout: layout.clone(), place: place.to_owned(), sent, changed: Notify::new() })
    }

    fn sent(&self) -> MutexGuard<'_, BTreeMap<Hour, String>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this file of an hour is there.
    #[must_use]
    pub fn has(&self, hour: Hour, id: &FileId) -> bool {
        self.sent().get(&hour).is_some_and(|sent| sent == id.as_str())
    }

    /// Whether all that the store has of an hour is there.
    #[must_use]
    pub fn has_all(&self, hour: Hour, files: &HourFiles) -> bool {
        files.parts.is_empty() && files.whole.as_ref().is_none_or(|id| self.has(hour, id))
    }

    /// This file of an hour is of no use to anybody: it is not sent, and nothing waits for it. Not known over a restart.
    pub fn pass_over(&self, hour: Hour, id: &FileId) {
        self.sent().insert(hour, id.as_str().to_owned());
    }

    /// This file of an hour is there.
    ///
    /// # Errors
    /// It cannot be written: then it is known until the end, and sent again after that.
    pub fn set(&self, hour: Hour, id: &FileId) -> Result<(), FileFault> {
        self.sent().insert(hour, id.as_str().to_owned());
        let unfinished = self.layout.unfinished().join(format!("sent-{}", FileId::new().as_str()));
        let text = format!("{}\n{}\n", id.as_str(), self.place);
        let written = write(&unfinished, &text).and_then(|()| publish(&unfinished, &self.path(hour)));
        if written.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        written
    }

    /// Forgets the hours that are not among these, which are all that the store has, in order.
    pub fn keep(&self, hours: &[Hour]) {
        self.sent().retain(|hour, _| {
            let is_there = hours.binary_search(hour).is_ok();
            if !is_there {
                let _ = fs::remove_file(self.path(*hour));
            }
            is_there
        });
    }

    fn path(&self, hour: Hour) -> PathBuf {
        self.layout.sent().join(hour.to_string())
    }

    /// There may be something to send.
    pub fn changed(&self) {
        self.changed.notify_one();
    }

    /// Waits until there may be.
    pub async fn change(&self) {
        self.changed.notified().await;
    }
}

fn write(path: &Path, text: &str) -> Result<(), FileFault> {
    let written = File::create_new(path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(FileFault::io(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_known_after_a_restart_by_place_and_only_of_hours_that_are_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let layout = Layout::new(folder.path());
        let hours = [Hour(500_000), Hour(500_001), Hour(500_002)];
        for path in [layout.unfinished(), layout.hour(hours[0]), layout.hour(hours[1]), layout.hour(hours[2])] {
            fs::create_dir_all(path).expect("a folder");
        }
        let marks = Marks::read(&layout, "- s3://a").expect("none");
        let [first, second] = [FileId::new(), FileId::new()];
        marks.set(hours[0], &first).expect("a mark");
        marks.set(hours[0], &second).expect("a mark");
        marks.set(hours[1], &first).expect("a mark");
        marks.pass_over(hours[2], &first);
        assert_eq!((marks.has(hours[0], &first), marks.has(hours[0], &second)), (false, true));
        assert!(marks.has_all(hours[0], &HourFiles { whole: Some(second.clone()), parts: Vec::new() }));
        assert!(!marks.has_all(hours[0], &HourFiles { whole: Some(second.clone()), parts: vec!["late".into()] }));
        assert!(!marks.has_all(hours[0], &HourFiles { whole: None, parts: vec!["early".into()] }));

        fs::remove_dir(layout.hour(hours[1])).expect("an hour");
        let again = Marks::read(&layout, "- s3://a").expect("marks");
        assert_eq!(
            (again.has(hours[0], &second), again.has(hours[1], &first), again.has(hours[2], &first)),
            (true, false, false)
        );
        assert_eq!(fs::read_dir(layout.sent()).expect("a folder").count(), 1);
        assert!(!Marks::read(&layout, "- s3://b").expect("marks").has(hours[0], &second));
        again.keep(&[]);
        assert!(!again.has(hours[0], &second) && !layout.sent().join(hours[0].to_string()).exists());
    }

    #[test]
    fn a_mark_that_cannot_be_written_holds_until_the_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let marks = Marks::read(&Layout::new(folder.path()), "- s3://a").expect("none");
        let id = FileId::new();
        // There is no folder for what is unfinished.
        assert!(marks.set(Hour(7), &id).is_err());
        assert!(marks.has(Hour(7), &id));
    }
}
