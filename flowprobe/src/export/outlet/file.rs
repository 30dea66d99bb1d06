//! IPFIX files (RFC 5655) of a daemon: messages one after the other, a new file at intervals.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::export::Format;
use crate::export::packed::Packed;
use crate::export::session::{Session, Templates};

/// Where files are written, and when another one is begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileOptions {
    /// The file that is written. Those before have the time of their last message in their names.
    pub path: PathBuf,
    /// A new one is begun after this long; without, only when the daemon starts.
    pub rotate: Option<Duration>,
    /// Files that are kept beside the one that is written; without, all.
    pub keep: Option<usize>,
}

/// The file that is written.
pub struct IpfixFiles {
    options: FileOptions,
    /// None before the first message.
    open: Option<Open>,
}

struct Open {
    file: File,
    octets: u64,
    since: Instant,
    session: Session,
}

impl IpfixFiles {
    /// Nothing is written yet. A file that is there already is put aside.
    ///
    /// # Errors
    /// The folder is not there or may not be written to, or what is there is no file.
    pub fn new(options: FileOptions) -> io::Result<Self> {
        let files = Self { options, open: None };
        files.put_aside()?;
        // Whether it can be written is to be known before there is anything to write.
        File::create(&files.options.path)?;
        Ok(files)
    }

    /// Appends a message.
    ///
    /// # Errors
    /// The disk refuses. The file then ends with the message before.
    pub fn write(&mut self, mut message: Packed, now: Instant, export_time: u32) -> io::Result<()> {
        if let (Some(open), Some(rotate)) = (&self.open, self.options.rotate)
            && now.saturating_duration_since(open.since) >= rotate
        {
            self.close()?;
            self.put_aside()?;
        }
        if self.open.is_none() {
            let session = Session::new(Format::Ipfix, Templates::Withdrawn);
            self.open = Some(Open { file: File::create(&self.options.path)?, octets: 0, since: now, session });
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        let mut octets = open.session.next(&mut message, now, export_time).concat();
        octets.extend_from_slice(&message.octets);
        if let Err(error) = open.file.write_all(&octets) {
            // Where that fails too, the next file has no such end.
            if open.file.set_len(open.octets).is_err() {
                self.open = None;
            } else {
                open.session.lost();
                io::Seek::seek(&mut open.file, io::SeekFrom::End(0))?;
            }
            return Err(error);
        }
        open.octets += octets.len() as u64;
        Ok(())
    }

    /// Has what was written survive a power failure too, and ends the file.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn close(&mut self) -> io::Result<()> {
        self.open.take().map_or(Ok(()), |open| open.file.sync_data())
    }

    /// Gives a file that is there the name of its time, and removes the oldest beyond those that are kept.
    fn put_aside(&self) -> io::Result<()> {
        let path = &self.options.path;
        let written = match fs::metadata(path) {
            Ok(found) if found.is_file() && found.len() == 0 => return Ok(()),
            Ok(found) if found.is_file() => found.modified()?,
            Ok(_) => return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut aside = named(path, written);
        let mut copy = 1;
        while aside.exists() {
            copy += 1;
            aside = named(path, written).with_extension(format!("{copy}.{}", extension(path)));
        }
        fs::rename(path, aside)?;
        let Some(keep) = self.options.keep else { return Ok(()) };
        let mut others = others(path)?;
        others.sort();
        for old in others.iter().rev().skip(keep) {
            fs::remove_file(old)?;
        }
        Ok(())
    }
}

impl Drop for IpfixFiles {
    fn drop(&mut self) {
        // Without a message it would be an empty file, which no reader takes.
        if self.open.is_none() && fs::metadata(&self.options.path).is_ok_and(|found| found.len() == 0) {
            let _ = fs::remove_file(&self.options.path);
        }
    }
}

/// `flows.ipfix` of a moment: `flows-20231114T221320Z.ipfix`.
fn named(path: &Path, moment: SystemTime) -> PathBuf {
    let moment = jiff::Timestamp::try_from(moment).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    path.with_file_name(format!("{}-{}.{}", stem(path), moment.strftime("%Y%m%dT%H%M%SZ"), extension(path)))
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn extension(path: &Path) -> String {
    path.extension().map_or_else(|| "ipfix".to_owned(), |extension| extension.to_string_lossy().into_owned())
}

/// The files that were put aside.
fn others(path: &Path) -> io::Result<Vec<PathBuf>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (begin, end) = (format!("{}-", stem(path)), format!(".{}", extension(path)));
    let is_other = |name: &str| {
        name.strip_prefix(&begin)
            .and_then(|rest| rest.strip_suffix(&end))
            .is_some_and(|time| time.len() >= 16 && time.as_bytes()[8] == b'T' && time.as_bytes()[15] == b'Z')
    };
    let entries = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let mut all = entries.collect::<io::Result<Vec<PathBuf>>>()?;
    all.retain(|path| path.file_name().is_some_and(|name| is_other(&name.to_string_lossy())));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::export::elements::Schema;
    use crate::export::encode::{Clock, Encoder};
    use crate::record::FlowRecord;

    fn message() -> Packed {
        let mut encoder = Encoder::new(Format::Ipfix, Arc::new(Schema::default()), 1, 1400);
        encoder.push(&FlowRecord::example(), None, Clock::read());
        encoder.finish(Clock::read()).expect("a message")
    }

    /// The lengths of a file's messages, which must fill it.
    fn lengths(path: &Path) -> Vec<usize> {
        let octets = fs::read(path).expect("a file");
        let (mut at, mut lengths) = (0, Vec::new());
        while at < octets.len() {
            let length = usize::from(u16::from_be_bytes([octets[at + 2], octets[at + 3]]));
            lengths.push(length);
            at += length;
        }
        assert_eq!(at, octets.len());
        lengths
    }

    #[test]
    fn each_file_begins_with_templates_and_only_so_many_are_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("flows.ipfix");
        let options = FileOptions { path: path.clone(), rotate: Some(Duration::from_secs(60)), keep: Some(2) };
        let mut files = IpfixFiles::new(options.clone()).expect("a folder to write to");
        let mut now = Instant::now();
        for _ in 0..5 {
            for _ in 0..2 {
                files.write(message(), now, 0).expect("written");
            }
            now += Duration::from_secs(60);
        }
        let templates = message().templates.messages.len();
        assert_eq!(lengths(&path).len(), templates + 2);
        let others = others(&path).expect("a folder");
        assert_eq!(others.len(), 2);
        assert!(others.iter().all(|path| lengths(path).len() == templates + 2));
        // One that a daemon before has left is put aside too.
        drop(files);
        drop(IpfixFiles::new(options).expect("a folder to write to"));
        assert!(!path.exists());
    }

    #[test]
    fn what_cannot_be_a_file_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let named = |path: PathBuf| IpfixFiles::new(FileOptions { path, rotate: None, keep: None }).err();
        assert!(named(folder.path().join("none/flows.ipfix")).is_some());
        let error = named(folder.path().to_owned()).expect("a folder is none").to_string();
        assert!(error.contains("it is no file"), "{error}");
    }
}
