//! Changes of findings as lines of a file that others may rotate.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use super::notice::{Notice, Observer};
use super::settings::FileFormat;
use super::worker::{Sink, Trouble};
use super::{ecs, json};

/// An open file, and where it should be.
#[derive(Debug)]
pub(super) struct Lines {
    path: PathBuf,
    format: FileFormat,
    observer: Observer,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Device and inode.
    identity: (u64, u64),
    /// The last line was cut off.
    is_torn: bool,
}

impl Lines {
    /// Lines of this file, which is opened or made when it is needed.
    pub(super) const fn new(path: PathBuf, format: FileFormat, observer: Observer) -> Self {
        Self { path, format, observer, open: None }
    }

    /// The file that has the name now: a rotation may have given it to another.
    fn open(&mut self) -> io::Result<&mut Open> {
        let named = self.path.metadata().ok().map(|about| (about.dev(), about.ino()));
        let kept = self.open.take().filter(|open| named == Some(open.identity));
        let open = match kept {
            Some(open) => open,
            None => {
                let file = OpenOptions::new().append(true).create(true).mode(0o640).open(&self.path)?;
                let about = file.metadata()?;
                Open { file, identity: (about.dev(), about.ino()), is_torn: false }
            }
        };
        Ok(self.open.insert(open))
    }

    fn write(&mut self, mut line: String) -> io::Result<()> {
        line.push('\n');
        let open = self.open()?;
        if open.is_torn {
            line.insert(0, '\n');
        }
        let mut rest = line.as_bytes();
        while !rest.is_empty() {
            match open.file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    rest = &rest[written..];
                    open.is_torn = !rest.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn trouble(&self, error: &io::Error) -> Trouble {
        Trouble(format!("cannot write `{}`: {error}", self.path.display()))
    }
}

impl Sink for Lines {
    fn check(&mut self) -> Result<(), Trouble> {
        let opened = self.open().map(drop);
        opened.map_err(|error| self.trouble(&error))
    }

    fn tell(&mut self, notice: &Notice) -> Result<(), Trouble> {
        let line = match self.format {
            FileFormat::Ecs => ecs::line(notice, &self.observer),
            FileFormat::Flowprobe => json::line(notice),
        };
        self.write(line).map_err(|error| self.trouble(&error))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::Value;

    use super::super::notice::tests::{notice, observer, sighting};
    use super::*;
    use crate::detect::findings::Change;

    #[test]
    fn lines_go_to_the_file_that_has_the_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, aside) = (folder.path().join("findings.json"), folder.path().join("findings.json.1"));
        let mut lines = Lines::new(path.clone(), FileFormat::Ecs, observer());
        let tell = |lines: &mut Lines| lines.tell(&notice(sighting(), Change::Opened)).expect("written");
        tell(&mut lines);
        tell(&mut lines);
        fs::rename(&path, &aside).expect("rotated");
        tell(&mut lines);
        fs::write(&path, "").expect("cut to nothing, as copytruncate does");
        tell(&mut lines);
        fs::remove_file(&path).expect("removed");
        fs::write(&path, "other\n").expect("made by another");
        tell(&mut lines);
        let count = |path| fs::read_to_string(path).expect("text").lines().count();
        assert_eq!((count(&aside), count(&path)), (2, 2));
        let text = fs::read_to_string(&path).expect("text");
        let last: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
        assert_eq!(last["ecs"]["version"], ecs::VERSION);
    }

    #[test]
    fn a_line_after_one_that_was_cut_off_is_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("findings.json");
        let mut lines = Lines::new(path.clone(), FileFormat::Flowprobe, observer());
        lines.check().expect("a file");
        fs::write(&path, "{\"half").expect("written");
        lines.open.as_mut().expect("open").is_torn = true;
        for _ in 0..2 {
            lines.tell(&notice(sighting(), Change::Ended)).expect("written");
        }
        let text = fs::read_to_string(&path).expect("text");
        let whole =
            text.lines().filter(|line| serde_json::from_str::<Value>(line).is_ok_and(|line| line["change"] == "ended"));
        assert_eq!((whole.count(), text.lines().count()), (2, 3));
    }

    #[test]
    fn what_cannot_be_written_may_be_later() {
        let mut lines = Lines::new("/dev/full".into(), FileFormat::Ecs, observer());
        match lines.tell(&notice(sighting(), Change::Opened)) {
            Err(Trouble(why)) => assert!(why.contains("/dev/full") && why.contains("No space left"), "{why}"),
            other => panic!("{other:?}"),
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("later/findings");
        let mut lines = Lines::new(path.clone(), FileFormat::Ecs, observer());
        assert!(lines.check().is_err() && lines.tell(&notice(sighting(), Change::Opened)).is_err());
        fs::create_dir(folder.path().join("later")).expect("a folder");
        lines.check().expect("a file");
        lines.tell(&notice(sighting(), Change::Opened)).expect("written");
        assert_eq!(fs::read_to_string(&path).expect("text").lines().count(), 1);
    }
}
