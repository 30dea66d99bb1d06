//! What survives a restart: findings, and what detectors have learned. Two files, each exchanged as a whole.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::super::findings::Findings;

/// How the files begin. The number changes with the layout of findings; detectors have numbers of their own.
const MAGIC: &[u8] = b"flowprobe findings 1\n";

/// Octets of a checksum.
const CHECKSUM: usize = 4;

/// Why what was kept cannot be used.
#[derive(Debug, Error)]
pub enum KeepError {
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It is another file, of another version, or damaged.
    #[error("{} is not a file of findings of this version, or it is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

/// What detectors have learned, under their names.
pub type Learned = Vec<(String, Vec<u8>)>;

/// Where it is kept.
#[derive(Clone, Debug)]
pub struct Keep {
    folder: PathBuf,
}

impl Keep {
    /// In this folder of history.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self { folder: folder.join("findings") }
    }

    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes the folder, if there is none.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make_folder(&self) -> io::Result<()> {
        fs::create_dir_all(&self.folder)
    }

    /// What was found; nothing where there is no file.
    ///
    /// # Errors
    /// The file cannot be read, or is of no use.
    pub fn findings(&self) -> Result<Findings, KeepError> {
        read(&self.found())
    }

    /// What was learned; nothing where there is no file.
    ///
    /// # Errors
    /// The file cannot be read, or is of no use.
    pub fn learned(&self) -> Result<Learned, KeepError> {
        read(&self.folder.join("learned"))
    }

    /// Puts a file aside that cannot be used, so that it is not written over.
    ///
    /// # Errors
    /// It cannot be renamed, and is where it was.
    pub fn put_aside(error: &KeepError) -> io::Result<()> {
        let (path, ending) = match error {
            KeepError::Io { path, .. } => (path, "unreadable"),
            KeepError::Damaged { path } => (path, "damaged"),
        };
        match fs::rename(path, path.with_extension(ending)) {
            // Somebody else has.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            renamed => renamed,
        }
    }

    /// Findings as they are written.
    ///
    /// # Errors
    /// There is no room for them in memory.
    pub fn packed(findings: &Findings) -> io::Result<Vec<u8>> {
        pack(findings)
    }

    /// Writes packed findings in the place of those that were kept.
    ///
    /// # Errors
    /// They cannot be written; what was kept stays.
    pub fn save_findings(&self, packed: &[u8]) -> io::Result<()> {
        self.write(&self.found(), packed)
    }

    /// Writes what was learned in the place of what was kept.
    ///
    /// # Errors
    /// It cannot be written; what was kept stays.
    pub fn save_learned(&self, learned: &[(&str, Vec<u8>)]) -> io::Result<()> {
        self.write(&self.folder.join("learned"), &pack(&learned)?)
    }

    fn found(&self) -> PathBuf {
        self.folder.join("found")
    }

    fn write(&self, path: &Path, body: &[u8]) -> io::Result<()> {
        self.make_folder()?;
        let fresh = path.with_extension("fresh");
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(MAGIC)?;
        file.write_all(&crc32fast::hash(body).to_le_bytes())?;
        file.write_all(body)?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        File::open(&self.folder)?.sync_all()
    }
}

fn pack(what: &impl Serialize) -> io::Result<Vec<u8>> {
    postcard::to_stdvec(what).map_err(io::Error::other)
}

fn read<T: DeserializeOwned + Default>(path: &Path) -> Result<T, KeepError> {
    match fs::read(path) {
        Ok(octets) => unpack(&octets).ok_or_else(|| KeepError::Damaged { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(T::default()),
        Err(error) => Err(KeepError::Io { path: path.to_owned(), error }),
    }
}

fn unpack<T: DeserializeOwned>(octets: &[u8]) -> Option<T> {
    let rest = octets.strip_prefix(MAGIC)?;
    let (checksum, body) = rest.split_first_chunk::<CHECKSUM>()?;
    if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
        return None;
    }
    postcard::from_bytes(body).ok()
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::{Rule, Severity, Sighting};
    use super::super::super::findings::State;
    use super::super::super::flow::{Flow, Ip};
    use super::*;

    static RULE: Rule = Rule { name: "port-scan", technique: None, quiet_ms: 1000 };

    #[test]
    fn what_was_kept_is_there_again_and_damage_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let keep = Keep::in_folder(folder.path());
        assert_eq!((keep.findings().expect("nothing").iter().count(), keep.learned().expect("nothing").len()), (0, 0));
        let mut findings = Findings::default();
        let sighting = |ms| Sighting {
            rule: &RULE,
            severity: Severity::Medium,
            subject: Ip(7).into(),
            matter: "x".into(),
            title: "t".into(),
            explanation: "e".into(),
            peers: vec![Ip(u128::MAX)],
            first_ms: ms,
            last_ms: ms,
            evidence: vec![Flow::default()],
        };
        findings.see(sighting(5), 6);
        keep.save_findings(&Keep::packed(&findings).expect("room")).expect("written");
        keep.save_learned(&[("scan-1", vec![1, 2, 3])]).expect("written");
        assert_eq!(keep.learned().expect("kept"), [("scan-1".to_owned(), vec![1, 2, 3])]);
        let mut kept = keep.findings().expect("kept");
        assert!(kept.iter().eq(findings.iter()));
        // It goes on: the same finding, and it ends when it is quiet.
        kept.see(sighting(9), 9);
        kept.advance(2000);
        let one: Vec<_> = kept.iter().map(|one| (one.count, one.first_ms, one.state)).collect();
        assert_eq!(one, [(2, 5, State::Ended)]);

        let path = keep.found();
        let octets = fs::read(&path).expect("octets");
        for at in [0, 20, 22, 40, octets.len() - 1] {
            let mut damaged = octets.clone();
            damaged[at] ^= 1;
            fs::write(&path, damaged).expect("written");
            let error = keep.findings().expect_err("damage");
            assert!(path.exists() && error.to_string().contains("damaged"), "{error}");
            Keep::put_aside(&error).expect("renamed");
            assert!(!path.exists() && path.with_extension("damaged").exists(), "{at}");
        }
    }
}
