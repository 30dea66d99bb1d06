//! Counting: what test programs say, step by step, and the summary at the end.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::process;

/// How one step went.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    passed: u64,
    failed: u64,
    /// Name and reason, one for each.
    skipped: Vec<String>,
    /// Why it failed, or which tests did.
    failures: Vec<String>,
}

impl Outcome {
    pub(crate) fn success() -> Self {
        Self { passed: 1, ..Self::default() }
    }

    pub(crate) fn failure(why: String) -> Self {
        Self { failed: 1, failures: vec![why], ..Self::default() }
    }

    pub(crate) fn skip(why: String) -> Self {
        Self { skipped: vec![why], ..Self::default() }
    }

    /// One more failure that no test program has counted.
    pub(crate) fn fail(&mut self, why: String) {
        self.failed += 1;
        self.failures.push(why);
    }

    pub(crate) fn failed(&self) -> u64 {
        self.failed
    }

    #[cfg(test)]
    pub(crate) fn failures(&self) -> &[String] {
        &self.failures
    }

    /// Takes in one line of a test program's output.
    pub(crate) fn read_line(&mut self, line: &str) {
        if let Some(test) = line.strip_prefix("test ") {
            if let Some((name, why)) = test.split_once(" ... ignored") {
                let why = why.trim_start_matches([',', ' ']);
                self.skipped.push(format!("{name}: {}", if why.is_empty() { "ignored" } else { why }));
            } else if let Some(name) = test.strip_suffix(" ... FAILED") {
                self.failures.push(name.to_owned());
            } else if let Some(result) = test.strip_prefix("result: ") {
                self.passed += count(result, " passed");
                self.failed += count(result, " failed");
            }
        }
    }

    /// Tests that skipped themselves look passed to cargo. Each wrote a line `test name: reason`; the last counts.
    pub(crate) fn skipped_themselves(&mut self, lines: &str) {
        let by_name: BTreeMap<_, _> = lines.lines().filter_map(|line| Some((line.split_once(": ")?.0, line))).collect();
        self.passed = self.passed.saturating_sub(by_name.len() as u64);
        self.skipped.extend(by_name.into_values().map(str::to_owned));
    }
}

/// The number before a word of `test result: ok. 5 passed; 0 failed; …`.
fn count(result: &str, word: &str) -> u64 {
    let before = result.split(word).next().filter(|before| before.len() < result.len());
    before.and_then(|before| before.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

/// Runs `cargo test`, shows its output as it comes, and counts.
pub(crate) fn stream(command: &mut Command) -> Result<Outcome> {
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start `{}`", process::line(command)))?;
    let mut outcome = Outcome::default();
    let mut output = BufReader::new(child.stdout.take().context("no output")?);
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(&line);
        print!("{text}");
        outcome.read_line(text.trim_end());
        line.clear();
    }
    let status = child.wait()?;
    if !status.success() && outcome.failed == 0 {
        // It did not build, or a test took the whole program down.
        outcome.fail(format!("`{}`: {status}", process::line(command)));
    }
    Ok(outcome)
}

/// What all steps add up to.
#[derive(Default)]
pub(crate) struct Tally {
    steps: Vec<(String, Outcome)>,
    notes: Vec<String>,
}

impl Tally {
    /// Something the reader must know that is no test: said now and in the summary.
    pub(crate) fn note(&mut self, line: String) {
        println!("{line}");
        self.notes.push(line);
    }

    /// Runs a step between a header and a line that says how it went. A step that cannot even start has failed.
    pub(crate) fn step(&mut self, name: &str, body: impl FnOnce() -> Result<Outcome>) {
        println!("\n=== {name} ===");
        let start = Instant::now();
        let outcome = body().unwrap_or_else(|error| Outcome::failure(format!("{error:#}")));
        let line = self.add(name, outcome, start.elapsed());
        println!("--- {line}");
    }

    /// Takes in a step and returns the line that says how it went.
    fn add(&mut self, name: &str, outcome: Outcome, took: Duration) -> String {
        let word = match (outcome.failed, outcome.passed) {
            (0, 0) if !outcome.skipped.is_empty() => "skipped",
            (0, _) => "ok",
            _ => "FAILED",
        };
        let mut line = format!("{name}: {word}, {:.1} s", took.as_secs_f64());
        let (passed, failed, skipped) = (outcome.passed, outcome.failed, outcome.skipped.len());
        if passed + failed + skipped as u64 > 1 {
            line.push_str(&format!(" ({passed} passed, {failed} failed, {skipped} skipped)"));
        }
        self.steps.push((line.clone(), outcome));
        line
    }

    fn failed(&self) -> u64 {
        self.steps.iter().map(|(_, outcome)| outcome.failed).sum()
    }

    /// Shows the summary; a failure anywhere is a failure of the command.
    pub(crate) fn finish(&self) -> ExitCode {
        println!("{self}");
        if self.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "\n=== summary ===")?;
        for line in &self.notes {
            writeln!(formatter, "note: {line}")?;
        }
        for (line, outcome) in &self.steps {
            writeln!(formatter, "{line}")?;
            for why in &outcome.skipped {
                writeln!(formatter, "  skipped: {why}")?;
            }
            for why in &outcome.failures {
                writeln!(formatter, "  FAILED: {why}")?;
            }
        }
        let passed: u64 = self.steps.iter().map(|(_, outcome)| outcome.passed).sum();
        let skipped: usize = self.steps.iter().map(|(_, outcome)| outcome.skipped.len()).sum();
        write!(formatter, "\n{passed} passed, {} failed, {skipped} skipped", self.failed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(output: &str) -> Outcome {
        let mut outcome = Outcome::default();
        for line in output.lines() {
            outcome.read_line(line);
        }
        outcome
    }

    #[test]
    fn counts_what_cargo_test_says() {
        let outcome = outcome(
            "running 3 tests\n\
             test a ... ok\n\
             test b::c ... FAILED\n\
             test d ... ignored, takes an hour\n\
             test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
             test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n",
        );
        assert_eq!((outcome.passed, outcome.failed), (13, 1));
        assert_eq!(outcome.skipped, ["d: takes an hour"]);
        assert_eq!(outcome.failures, ["b::c"]);
    }

    #[test]
    fn tests_that_skip_themselves_have_not_passed() {
        let mut outcome = outcome("test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured");
        outcome.skipped_themselves("xdp::counts: no root\nxdp::counts: no root\nexport::nfdump: no nfcapd\n");
        assert_eq!(outcome.passed, 1);
        assert_eq!(outcome.skipped, ["export::nfdump: no nfcapd", "xdp::counts: no root"]);
    }

    #[test]
    fn the_last_line_is_the_sum() {
        let mut tally = Tally::default();
        tally.add("format", Outcome::success(), Duration::ZERO);
        tally.add("kernel objects", Outcome::skip("no nightly".to_owned()), Duration::ZERO);
        tally.add("unit tests", Outcome::failure("does not build".to_owned()), Duration::ZERO);
        assert_eq!(tally.to_string().lines().last(), Some("1 passed, 1 failed, 1 skipped"));
    }
}
