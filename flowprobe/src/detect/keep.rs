//! What survives a restart: findings, and what detectors have learned. One file, exchanged as a whole.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::findings::Findings;

/// How the file begins. The number changes with the layout of findings.
const MAGIC: &[u8] = b"flowprobe findings 1\n";

/// Octets of a checksum.
const CHECKSUM: usize = 4;

/// Why what was kept cannot be used.
#[derive(Debug, Error)]
pub enum KeepError {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is another file, of another version, or damaged.
    #[error("it is not a file of findings of this version, or it is damaged")]
    Damaged,
}

/// What is kept.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Kept {
    /// Findings.
    pub findings: Findings,
    /// What detectors have learned, under their names.
    pub learned: Vec<(String, Vec<u8>)>,
}

/// Where it is kept.
#[derive(Clone, Debug)]
pub struct Keep {
    path: PathBuf,
}

impl Keep {
    /// In this folder, which is made when something is written.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self { path: folder.join("findings").join("state") }
    }

    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    /// Makes the folder, if there is none.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make_folder(&self) -> io::Result<()> {
        fs::create_dir_all(self.folder())
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was kept; nothing where there is no file. A file that cannot be used is put aside.
    ///
    /// # Errors
    /// The file cannot be read, or is of no use.
    pub fn load(&self) -> Result<Kept, KeepError> {
        let octets = match fs::read(&self.path) {
            Ok(octets) => octets,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Kept::default()),
            Err(error) => return Err(error.into()),
        };
        read(&octets).ok_or_else(|| {
            let _ = fs::rename(&self.path, self.path.with_extension("damaged"));
            KeepError::Damaged
        })
    }

    /// Writes this in the place of what was kept.
    ///
    /// # Errors
    /// It cannot be written; what was kept stays.
    pub fn save(&self, findings: &Findings, learned: &[(&str, Vec<u8>)]) -> io::Result<()> {
        /// The same as [`Kept`].
        #[derive(Serialize)]
        struct Borrowed<'a>(&'a Findings, &'a [(&'a str, Vec<u8>)]);
        let body = postcard::to_stdvec(&Borrowed(findings, learned)).map_err(io::Error::other)?;
        self.make_folder()?;
        let fresh = self.path.with_extension("fresh");
        let mut file = File::create(&fresh)?;
        file.write_all(MAGIC)?;
        file.write_all(&crc32fast::hash(&body).to_le_bytes())?;
        file.write_all(&body)?;
        file.sync_all()?;
        fs::rename(&fresh, &self.path)?;
        File::open(self.folder())?.sync_all()
    }
}

fn read(octets: &[u8]) -> Option<Kept> {
    let rest = octets.strip_prefix(MAGIC)?;
    let (checksum, body) = rest.split_first_chunk::<CHECKSUM>()?;
    if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
        return None;
    }
    postcard::from_bytes(body).ok()
}

#[cfg(test)]
mod tests {
    use super::super::finding::{Rule, Severity, Sighting};
    use super::super::flow::{Flow, Ip};
    use super::*;

    static RULE: Rule = Rule { name: "port-scan", technique: None, quiet_ms: 1000 };

    #[test]
    fn what_was_kept_is_there_again_and_damage_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let keep = Keep::in_folder(folder.path());
        assert_eq!(keep.load().expect("nothing").findings.iter().count(), 0);
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
        keep.save(&findings, &[("scan", vec![1, 2, 3])]).expect("written");
        let mut kept = keep.load().expect("kept");
        assert_eq!(kept.learned, [("scan".to_owned(), vec![1, 2, 3])]);
        assert!(kept.findings.iter().eq(findings.iter()));
        // It goes on: the same finding, and it ends when it is quiet.
        kept.findings.see(sighting(9), 9);
        kept.findings.advance(2000);
        let one: Vec<_> = kept.findings.iter().map(|one| (one.count, one.first_ms, one.state)).collect();
        assert_eq!(one, [(2, 5, super::super::findings::State::Ended)]);

        let octets = fs::read(keep.path()).expect("octets");
        for at in [0, 20, 22, 40, octets.len() - 1] {
            let mut damaged = octets.clone();
            damaged[at] ^= 1;
            fs::write(keep.path(), damaged).expect("written");
            assert!(matches!(keep.load(), Err(KeepError::Damaged)), "{at}");
            assert!(!keep.path().exists() && keep.path().with_extension("damaged").exists());
        }
    }
}
