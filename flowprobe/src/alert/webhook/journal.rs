//! What waits, on disk: lines are added for what comes and for what is done, and now and then all is written anew.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::detect::finding::Severity;

/// Lines beyond which a journal is written anew.
const LINES: usize = 4000;

/// Lines that may lie about when nothing waits.
const IDLE_LINES: usize = 20;

/// A change that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stored {
    /// Counted up for each.
    pub(super) number: u64,
    /// The finding's; one that was written without gives way to none.
    #[serde(default = "worst")]
    pub(super) severity: Severity,
    /// The finding's identifier.
    pub(super) finding: String,
    /// The same for each attempt.
    pub(super) key: String,
    /// What is sent.
    pub(super) body: String,
}

const fn worst() -> Severity {
    Severity::Critical
}

/// A line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Record {
    /// It waits.
    Add(Stored),
    /// It has arrived, or was given up.
    Done(u64),
}

/// The file.
pub(super) struct Journal {
    path: PathBuf,
    /// What lines are added to; none where the last could not be.
    file: Option<File>,
    lines: usize,
    /// Whether there is a file that cannot be read. It is put aside before another takes its name.
    is_unread: bool,
}

impl Journal {
    /// Reads what waits, in the order in which it came, and goes on from there. Lines that are cut off or damaged are passed over. An error
    /// says that the file could not be read, or could not be written: that is tried again with each [`Journal::write`].
    pub(super) fn open(path: PathBuf) -> (Self, Vec<Stored>, io::Result<()>) {
        let read = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            read => read,
        };
        let mut journal = Self { path, file: None, lines: 0, is_unread: read.is_err() };
        let octets = match read {
            Ok(octets) => octets,
            Err(error) => return (journal, Vec::new(), Err(error)),
        };
        let mut waiting: Vec<Stored> = Vec::new();
        for line in octets.split(|octet| *octet == b'\n') {
            match serde_json::from_slice(line) {
                Ok(Record::Add(stored)) => waiting.push(stored),
                Ok(Record::Done(number)) => waiting.retain(|stored| stored.number != number),
                Err(_) => {}
            }
        }
        let written = journal.rewrite(waiting.iter());
        (journal, waiting, written)
    }

    /// Adds lines, or writes all that waits where there are too many or the last could not be added.
    ///
    /// # Errors
    /// The disk refuses.
    pub(super) fn write<'a, I: Iterator<Item = &'a Stored>>(
        &mut self,
        records: &[Record],
        waiting: impl Fn() -> I,
    ) -> io::Result<()> {
        self.lines += records.len();
        let is_idle = self.lines > IDLE_LINES && waiting().next().is_none();
        let Some(file) = self.file.as_mut().filter(|_| self.lines <= LINES && !is_idle) else {
            return self.rewrite(waiting());
        };
        let mut text = Vec::new();
        for record in records {
            put(&mut text, record)?;
        }
        let written = file.write_all(&text).and_then(|()| file.sync_data());
        if written.is_err() {
            // A line may have been cut off.
            self.file = None;
        }
        written
    }

    /// Writes a new file in place of the old one: whole, whenever the machine dies.
    fn rewrite<'a>(&mut self, waiting: impl Iterator<Item = &'a Stored>) -> io::Result<()> {
        self.file = None;
        let mut text = Vec::new();
        let mut lines = 0;
        for stored in waiting {
            put(&mut text, &Record::Add(stored.clone()))?;
            lines += 1;
        }
        let new = self.path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&text)?;
        file.sync_data()?;
        if self.is_unread {
            match fs::rename(&self.path, self.path.with_extension("unreadable")) {
                // It was the folder that could not be read, or somebody else has moved it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                renamed => renamed?,
            }
            self.is_unread = false;
        }
        fs::rename(&new, &self.path)?;
        if let Some(folder) = self.path.parent() {
            File::open(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })?.sync_all()?;
        }
        self.file = Some(file);
        self.lines = lines;
        Ok(())
    }
}

fn put(text: &mut Vec<u8>, record: &Record) -> io::Result<()> {
    serde_json::to_writer(&mut *text, record)?;
    text.push(b'\n');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(number: u64) -> Stored {
        let finding = format!("f{}", number % 3);
        Stored { number, severity: Severity::High, finding, key: format!("k{number}"), body: "{\n}".into() }
    }

    fn open(path: &Path) -> (Journal, Vec<Stored>) {
        let (journal, left, opened) = Journal::open(path.to_owned());
        opened.expect("a journal");
        (journal, left)
    }

    #[test]
    fn what_waits_is_there_again_whatever_was_cut_off() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("webhook.jsonl");
        let (mut journal, left) = open(&path);
        assert_eq!(left, []);
        let none = || std::iter::empty();
        let add = [0, 1, 2].map(|number| Record::Add(stored(number)));
        journal.write(&add, none).expect("written");
        journal.write(&[Record::Done(1)], none).expect("written");
        drop(journal);
        let text = fs::read(&path).expect("text");
        fs::write(&path, [&text[..], b"{\"add\":{\"number\":3,\"find"].concat()).expect("cut off");
        let (mut journal, left) = open(&path);
        assert_eq!(left, [stored(0), stored(2)]);
        journal.write(&[Record::Add(stored(4))], none).expect("written");
        assert_eq!(open(&path).1, [stored(0), stored(2), stored(4)]);
        let before = r#"{"add":{"number":5,"finding":"f","key":"k","body":""}}"#;
        fs::write(&path, before).expect("written");
        assert_eq!(open(&path).1[0].severity, Severity::Critical);
    }

    #[test]
    fn a_journal_does_not_grow_without_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("webhook.jsonl");
        let (mut journal, _) = open(&path);
        let waits = [stored(9999)];
        let mut most = 0;
        for number in 0..3 * LINES as u64 {
            // Lines are not written to the disk one by one here: that takes a while.
            journal.lines += 1;
            if number % 500 == 0 {
                journal.write(&[Record::Add(stored(number)), Record::Done(number)], || waits.iter()).expect("written");
            }
            most = most.max(journal.lines);
        }
        assert!(most <= LINES + 502, "{most}");
        journal.lines = IDLE_LINES;
        journal.write(&[Record::Done(9999)], || [].iter()).expect("written");
        assert_eq!(fs::metadata(&path).expect("a file").len(), 0);
    }

    #[test]
    fn a_disk_that_refuses_is_asked_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, inside) = (folder.path().join("spool/webhook.jsonl"), folder.path().join("spool"));
        assert!(Journal::open(path.clone()).2.is_err());
        fs::create_dir(&inside).expect("a folder");
        let (mut journal, _) = open(&path);
        fs::remove_dir_all(&inside).expect("removed");
        journal.file = None;
        let waits = [stored(1)];
        assert!(journal.write(&[Record::Add(stored(1))], || waits.iter()).is_err());
        fs::create_dir(&inside).expect("a folder");
        journal.write(&[], || waits.iter()).expect("written");
        assert_eq!(open(&path).1, waits);
    }

    #[test]
    fn a_journal_that_cannot_be_read_is_put_aside_when_there_is_something_to_write() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("webhook.jsonl");
        // Nobody can read a folder as a file, root neither.
        fs::create_dir_all(path.join("precious")).expect("a folder");
        let (mut journal, left, opened) = Journal::open(path.clone());
        assert!(opened.is_err() && left.is_empty() && path.join("precious").is_dir());
        let waits = [stored(1)];
        journal.write(&[Record::Add(stored(1))], || waits.iter()).expect("written");
        assert!(folder.path().join("webhook.unreadable/precious").is_dir());
        assert_eq!(open(&path).1, waits);
    }

    #[test]
    fn a_folder_that_was_none_is_no_journal_that_cannot_be_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, inside) = (folder.path().join("spool/webhook.jsonl"), folder.path().join("spool"));
        fs::write(&inside, "no folder").expect("written");
        let (mut journal, _, opened) = Journal::open(path.clone());
        assert!(opened.is_err());
        fs::remove_file(&inside).expect("removed");
        fs::create_dir(&inside).expect("a folder");
        let waits = [stored(1)];
        journal.write(&[Record::Add(stored(1))], || waits.iter()).expect("written");
        assert_eq!(open(&path).1, waits);
    }
}
