//! A reader that knows nothing of flowprobe: DuckDB, in a process of its own.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// What it runs.
const PROGRAM: &str = include_str!("outsider.py");

/// The packets of a row, by its octets: a row of which one is garbled shows.
pub(super) fn packets_of(octets: i64) -> i64 {
    1 + octets % 100
}

/// What was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Rows.
    Rows {
        /// All.
        rows: i64,
        /// Of these, such that differ.
        distinct: i64,
        /// Those whose octets are below the number that was asked for.
        early: i64,
        /// Those that do not say what they should, or are in the folder of another hour.
        odd: i64,
    },
    /// There are no files, or one was gone when it was to be read.
    Gone,
}

/// DuckDB.
pub(super) struct Outsider {
    process: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// How often it found all files that it had listed.
    pub(super) found: usize,
    /// How often not.
    pub(super) gone: usize,
}

impl Outsider {
    /// Starts it; nothing where Python has no DuckDB, which is said where tests say what they skip.
    pub(super) fn start(test: &str) -> Option<Self> {
        let started =
            Command::new("python3").args(["-c", PROGRAM]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let Ok(mut process) = started else { return missing(test) };
        let questions = process.stdin.take()?;
        let mut answers = BufReader::new(process.stdout.take()?);
        let mut line = String::new();
        answers.read_line(&mut line).expect("a pipe");
        if line != "ready\n" {
            let _ = process.wait();
            return missing(test);
        }
        Some(Self { process, questions, answers, found: 0, gone: 0 })
    }

    /// Reads all files of the store in `folder`.
    pub(super) fn look(&mut self, folder: &Path, before: i64) -> Seen {
        writeln!(self.questions, "{before} {}", folder.display()).expect("a pipe");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("a pipe");
        if line == "gone\n" || line == "none\n" {
            self.gone += usize::from(line == "gone\n");
            return Seen::Gone;
        }
        let numbers: Vec<i64> = line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        let &[rows, distinct, early, odd] = numbers.as_slice() else { panic!("DuckDB says: {line}") };
        self.found += 1;
        Seen::Rows { rows, distinct, early, odd }
    }
}

impl Drop for Outsider {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn missing(test: &str) -> Option<Outsider> {
    let _ = writeln!(std::io::stderr(), "NO OTHER READER IN {test}: not installed: duckdb for python3");
    if let Some(file) = std::env::var_os("FLOWPROBE_SKIP_FILE") {
        let file = OpenOptions::new().append(true).create(true).open(file);
        let _ = file.and_then(|mut file| writeln!(file, "{test}, by another reader: not installed: duckdb"));
    }
    None
}
