//! History, asked from outside: by `flowprobe query`, and by DuckDB, which knows nothing of flowprobe.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::daemon::{binary, status_of};
use crate::process::{read, wait_until};

/// What `flowprobe query` with these arguments answers.
///
/// # Errors
/// It does not.
pub fn query(arguments: &[&str]) -> Result<Value> {
    let text = read(Command::new(binary()?).arg("query").args(arguments).arg("--json"))?;
    serde_json::from_str(&text).with_context(|| text.clone())
}

/// All records of the last day, asked of the daemon of this process id.
///
/// # Errors
/// It does not answer.
pub fn records_of_daemon(pid: u32) -> Result<Value> {
    query(&["records", "--last", "24h", "--top", "1000000", "--socket", &format!("/run/flowprobe/{pid}.sock")])
}

/// The same, read from the files in a folder.
///
/// # Errors
/// They cannot be read.
pub fn records_of_files(store: &str) -> Result<Value> {
    query(&["records", "--last", "24h", "--top", "1000000", "--store", store])
}

/// The numbers of the flows of an answer ([`crate::exporting::Flow::numbered`]), in order.
///
/// # Errors
/// It is no answer.
pub fn numbers(answer: &Value) -> Result<Vec<u64>> {
    let rows = answer["rows"].as_array().with_context(|| answer.to_string())?;
    let number = |row: &Value| row["octetDeltaCount"].as_u64()?.checked_sub(1000);
    let mut numbers = rows.iter().map(number).collect::<Option<Vec<_>>>().context("flows without a number")?;
    numbers.sort_unstable();
    Ok(numbers)
}

/// What a daemon says of its history, as soon as it answers, which may be a moment after its start.
///
/// # Errors
/// It does not answer.
pub fn condition(pid: u32) -> Result<Value> {
    let mut history = Value::Null;
    wait_until("what the daemon says of its history", || {
        let Ok(mut status) = status_of(pid) else { return Ok(false) };
        history = status["history"].take();
        Ok(true)
    })?;
    Ok(history)
}

/// DuckDB, in a process of its own.
pub struct DuckDb {
    process: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// How often it found all files that it had listed.
    pub found: u64,
    /// How often one was gone by then.
    pub gone: u64,
}

/// What it found in the files of flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Rows.
    pub rows: u64,
    /// Of these, such that differ.
    pub distinct: u64,
    /// Those of flows whose number is below the one that was asked for.
    pub early: u64,
    /// Those that are garbled, or in the folder of another hour.
    pub odd: u64,
}

impl DuckDb {
    /// Starts it; nothing where Python does not have it.
    ///
    /// # Errors
    /// There is no Python.
    pub fn start() -> Result<Option<Self>> {
        let program = include_str!("../../flowprobe/src/store/tests/outsider.py");
        let mut command = Command::new("python3");
        let mut process = command.args(["-c", program]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let questions = process.stdin.take().context("no input")?;
        let mut answers = BufReader::new(process.stdout.take().context("no output")?);
        let mut line = String::new();
        answers.read_line(&mut line)?;
        let mut started = Self { process, questions, answers, found: 0, gone: 0 };
        if line == "ready\n" {
            return Ok(Some(started));
        }
        started.process.wait()?;
        Ok(None)
    }

    /// Reads all files of flows of a store; nothing where there are none, or one was gone when it was to be read. Flows are numbered
    /// ([`crate::exporting::Flow::numbered`]).
    ///
    /// # Errors
    /// A file is not what it should be.
    pub fn look(&mut self, store: &str, before: u64) -> Result<Option<Found>> {
        writeln!(self.questions, "{} {store}", before + 1000)?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        if line == "gone\n" || line == "none\n" {
            self.gone += u64::from(line == "gone\n");
            return Ok(None);
        }
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        let &[rows, distinct, early, odd] = numbers.as_slice() else { bail!("DuckDB says: {line}") };
        self.found += 1;
        Ok(Some(Found { rows, distinct, early, odd }))
    }
}

impl Drop for DuckDb {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
