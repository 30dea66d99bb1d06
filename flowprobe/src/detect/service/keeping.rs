//! When it is kept what was found and learned. What cannot be kept is said, counted and tried again; nothing stops for it.

use std::io;
use std::time::{Duration, Instant};

use tracing::{error, info};

use super::super::Detection;
use super::feed::Interfaces;
use super::keep::{Keep, KeepError};
use super::stage::Board;

/// Under which name it is kept which number an interface has: some detectors have learned by number.
pub(super) const INTERFACES: &str = "interfaces-1";

/// What detectors have learned is kept this often.
const LEARNED_EVERY: Duration = Duration::from_secs(300);

/// Findings are kept so soon after one has changed.
const FOUND_SOON: Duration = Duration::from_secs(5);

/// So soon they are tried to be kept again where that has failed.
const AGAIN: Duration = Duration::from_secs(30);

/// Where and when it is kept what was found.
pub(super) struct Keeping {
    keep: Keep,
    /// Files that could not be used, and that are put aside before anything is written.
    of_no_use: Vec<KeepError>,
    /// When what was learned was kept, on a clock that only runs.
    learned: Instant,
    /// When findings were.
    found: Instant,
    /// Whether one has changed since, or could not be kept.
    is_due: bool,
    /// Why that has failed, which is said once.
    problem: Option<String>,
    failures: u64,
}

impl Keeping {
    /// Keeps findings there from now on: at once those of the board, so that it is said early where that cannot be.
    pub(super) fn new(keep: Keep, of_no_use: Vec<KeepError>, board: &Board) -> Self {
        let now = Instant::now();
        let mut keeping = Self { keep, of_no_use, learned: now, found: now, is_due: false, problem: None, failures: 0 };
        let saved = keeping.save_findings(board);
        keeping.note(saved);
        keeping
    }

    /// Why findings are not kept, while that is so.
    pub(super) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// How often that has failed.
    pub(super) const fn failures(&self) -> u64 {
        self.failures
    }

    /// Keeps what it is time for. `is_news` says that a finding has changed.
    pub(super) fn save_in_time(
        &mut self,
        is_news: bool,
        detection: &Detection,
        board: &Board,
        interfaces: &Interfaces,
    ) {
        self.is_due |= is_news;
        let soon = if self.problem.is_some() { AGAIN } else { FOUND_SOON };
        if self.is_due && self.found.elapsed() >= soon {
            let saved = self.save_findings(board);
            self.note(saved);
        }
        if self.learned.elapsed() >= LEARNED_EVERY {
            self.save(detection, board, interfaces);
        }
    }

    /// Keeps all there is.
    pub(super) fn save(&mut self, detection: &Detection, board: &Board, interfaces: &Interfaces) {
        self.learned = Instant::now();
        let mut learned = detection.learned();
        learned.extend(postcard::to_stdvec(&interfaces.names()).ok().map(|names| (INTERFACES, names)));
        let saved = self.put_aside().and_then(|()| self.keep.save_learned(&learned));
        let saved = saved.and_then(|()| self.save_findings(board));
        self.note(saved);
    }

    fn save_findings(&mut self, board: &Board) -> io::Result<()> {
        (self.found, self.is_due) = (Instant::now(), false);
        self.put_aside()?;
        self.keep.save_findings(&board.packed()?)
    }

    /// What could not be used is never written over.
    fn put_aside(&mut self) -> io::Result<()> {
        while let Some(error) = self.of_no_use.last() {
            Keep::put_aside(error)?;
            self.of_no_use.pop();
        }
        Ok(())
    }

    fn note(&mut self, saved: io::Result<()>) {
        let problem = saved.err().map(|error| format!("cannot write to {}: {error}", self.keep.folder().display()));
        match (&problem, &self.problem) {
            (None, Some(_)) => info!("findings are kept again"),
            (Some(problem), None) => error!("findings are not kept over a restart: {problem}"),
            _ => {}
        }
        if problem.is_some() {
            self.failures += 1;
            self.is_due = true;
        }
        self.problem = problem;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::super::findings::Findings;
    use super::*;

    fn board() -> Board {
        Board::new(Findings::default(), Vec::new())
    }

    #[test]
    fn what_cannot_be_kept_is_said_and_tried_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let (keep, inside) = (Keep::in_folder(folder.path()), folder.path().join("findings"));
        fs::write(&inside, "no folder").expect("written");
        let errors = vec![keep.findings().expect_err("no folder"), keep.learned().expect_err("no folder")];
        let mut keeping = Keeping::new(keep, errors, &board());
        let said = keeping.problem().expect("a problem").to_owned();
        assert!(said.starts_with("cannot write to ") && said.contains("findings"), "{said}");
        assert_eq!((keeping.failures(), keeping.is_due, keeping.of_no_use.len()), (1, true, 2));
        let saved = keeping.save_findings(&board());
        keeping.note(saved);
        assert_eq!(keeping.failures(), 2);

        fs::remove_file(&inside).expect("removed");
        let saved = keeping.save_findings(&board());
        keeping.note(saved);
        assert_eq!((keeping.problem(), keeping.failures(), keeping.is_due), (None, 2, false));
        assert_eq!(keeping.keep.findings().expect("kept").iter().count(), 0);
    }

    #[test]
    fn what_cannot_be_read_is_put_aside_and_never_written_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let (keep, inside) = (Keep::in_folder(folder.path()), folder.path().join("findings"));
        // Nobody can read a folder as a file, root neither.
        fs::create_dir_all(inside.join("found/precious")).expect("a folder");
        fs::write(inside.join("learned"), "damaged").expect("written");
        let errors = vec![keep.findings().expect_err("a folder"), keep.learned().expect_err("damage")];
        let mut keeping = Keeping::new(keep, errors, &board());
        assert_eq!((keeping.problem(), keeping.failures()), (None, 0));
        assert!(inside.join("found.unreadable/precious").is_dir() && inside.join("learned.damaged").is_file());
        assert!(keeping.keep.findings().is_ok());

        // Where it cannot be put aside, nothing takes its place.
        fs::remove_file(inside.join("found")).expect("removed");
        fs::create_dir(inside.join("found")).expect("a folder");
        keeping.of_no_use = vec![keeping.keep.findings().expect_err("a folder")];
        let saved = keeping.save_findings(&board());
        assert!(saved.is_err() && inside.join("found").is_dir(), "the name is taken by one that is not empty");
    }
}
