//! Child processes: their output is read as it comes, and they are killed when dropped.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take. It is never what is tested: it ends a test that would wait for ever. On a machine that is
/// slow because it is emulated, `FLOWPROBE_TEST_PATIENCE` says how many times longer.
#[must_use]
pub fn patience() -> Duration {
    let factor = std::env::var("FLOWPROBE_TEST_PATIENCE").ok().and_then(|factor| factor.parse().ok());
    Duration::from_secs(30) * factor.unwrap_or(1)
}

/// A running child and what it has said so far.
pub struct Process {
    line: String,
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

/// What a child has left behind.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output, by lines.
    pub stdout: Vec<String>,
    /// Its error output, by lines.
    pub stderr: Vec<String>,
}

impl Process {
    /// Starts `command`.
    ///
    /// # Errors
    /// There is no such program.
    pub fn start(command: &mut Command) -> Result<Self> {
        Self::start_folding(command, |_| true)
    }

    /// Starts `command` and hands each line of its standard output to `fold`, which says whether it is kept: of millions of
    /// lines only what they add up to need stay. While `fold` does not return, nobody reads the child's output.
    ///
    /// # Errors
    /// There is no such program.
    pub fn start_folding(command: &mut Command, fold: impl FnMut(&str) -> bool + Send + 'static) -> Result<Self> {
        let stdout = command.stdout(Stdio::piped());
        let mut process = Self::spawn(stdout)?;
        process.stdout = Lines::read(process.child.stdout.take().context("no standard output")?, fold);
        Ok(process)
    }

    /// Starts `command` with its standard output in a file.
    ///
    /// # Errors
    /// There is no such program.
    pub fn start_into(command: &mut Command, file: File) -> Result<Self> {
        Self::spawn(command.stdout(file))
    }

    /// Starts `command`, whose standard output is taken care of.
    fn spawn(command: &mut Command) -> Result<Self> {
        let line = command_line(command);
        let mut child = command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{line}`"))?;
        let stderr = Lines::read(child.stderr.take().context("no error output")?, |_| true);
        Ok(Self { line, child, stdout: Lines::default(), stderr })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until its error output has `count` lines that contain `text`.
    ///
    /// # Errors
    /// It ended before, or took too long.
    pub fn wait_for_error_lines(&mut self, text: &str, count: usize) -> Result<()> {
        let end = Instant::now() + patience();
        loop {
            if self.stderr.count(text) >= count {
                return Ok(());
            }
            // Looked at after the line was missed: a line that it printed before it ended is not missed.
            if let Some(status) = self.child.try_wait()? {
                self.stderr.wait_for_end();
                ensure!(
                    self.stderr.count(text) >= count,
                    "`{}` ended ({status}) before it said `{text}`: {}",
                    self.line,
                    self.stderr
                );
                return Ok(());
            }
            ensure!(Instant::now() < end, "`{}` did not say `{text}` {count} times: {}", self.line, self.stderr);
            self.stderr.wait(Duration::from_millis(50));
        }
    }

    /// Waits until its standard output has a line for which `wanted` holds, and returns it.
    ///
    /// # Errors
    /// It ended before, or took too long.
    pub fn wait_for_output(&mut self, what: &str, mut wanted: impl FnMut(&str) -> bool) -> Result<String> {
        let end = Instant::now() + patience();
        let mut seen = 0;
        loop {
            if let Some(line) = self.stdout.find_from(&mut seen, &mut wanted) {
                return Ok(line);
            }
            ensure!(
                self.child.try_wait()?.is_none(),
                "`{}` ended before it printed {what}: {}",
                self.line,
                self.stderr
            );
            ensure!(Instant::now() < end, "`{}` did not print {what}", self.line);
            self.stdout.wait(Duration::from_millis(50));
        }
    }

    /// Its error output so far.
    #[must_use]
    pub fn errors(&self) -> Vec<String> {
        self.stderr.snapshot()
    }

    /// Its standard output so far.
    #[must_use]
    pub fn output(&self) -> Vec<String> {
        self.stdout.snapshot()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal).with_context(|| format!("cannot signal `{}`", self.line))
    }

    /// Sends it a signal and waits for its end.
    ///
    /// # Errors
    /// It is gone, or does not end.
    pub fn stop(self, signal: Signal) -> Result<Finished> {
        self.signal(signal)?;
        self.wait()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It does not end.
    pub fn wait(mut self) -> Result<Finished> {
        let end = Instant::now() + patience();
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            ensure!(Instant::now() < end, "`{}` does not end: {}", self.line, self.stderr);
            sleep(Duration::from_millis(10));
        };
        self.stdout.wait_for_end();
        self.stderr.wait_for_end();
        Ok(Finished { status, stdout: self.stdout.snapshot(), stderr: self.stderr.snapshot() })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `command` to its end and returns what it printed.
///
/// # Errors
/// It cannot be started or fails; its error output is in the error.
pub fn read(command: &mut Command) -> Result<String> {
    let line = command_line(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}` failed: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Waits until `condition` holds.
///
/// # Errors
/// It does not come to hold, or cannot be checked.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + patience();
    while !condition()? {
        ensure!(Instant::now() < end, "waited in vain: {what}");
        sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn command_line(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut line = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    for argument in command.get_args() {
        // Writing to a string does not fail.
        let _ = write!(line, " {}", argument.to_string_lossy());
    }
    line
}

/// The lines of a pipe, read by a thread that ends with it.
#[derive(Default)]
struct Lines {
    shared: Arc<(Mutex<Vec<String>>, Condvar)>,
    reader: Option<JoinHandle<()>>,
}

impl Lines {
    /// Reads `pipe` and keeps the lines for which `keep` holds.
    fn read(pipe: impl Read + Send + 'static, mut keep: impl FnMut(&str) -> bool + Send + 'static) -> Self {
        let shared = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let writer = Arc::clone(&shared);
        let reader = spawn(move || {
            let mut pipe = BufReader::with_capacity(1 << 16, pipe);
            let mut line = Vec::new();
            while matches!(pipe.read_until(b'\n', &mut line), Ok(octets) if octets > 0) {
                let text = String::from_utf8_lossy(&line);
                let text = text.trim_end_matches('\n');
                if keep(text) {
                    writer.0.lock().unwrap_or_else(PoisonError::into_inner).push(text.to_owned());
                    writer.1.notify_all();
                }
                line.clear();
            }
        });
        Self { shared, reader: Some(reader) }
    }

    fn with<T>(&self, action: impl FnOnce(&[String]) -> T) -> T {
        action(&self.shared.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn count(&self, text: &str) -> usize {
        self.with(|lines| lines.iter().filter(|line| line.contains(text)).count())
    }

    fn find_from(&self, position: &mut usize, mut wanted: impl FnMut(&str) -> bool) -> Option<String> {
        self.with(|lines| {
            let found = lines[*position..].iter().find(|line| wanted(line)).cloned();
            *position = lines.len();
            found
        })
    }

    fn snapshot(&self) -> Vec<String> {
        self.with(<[String]>::to_vec)
    }

    /// Waits for a new line, or for `most`.
    fn wait(&self, most: Duration) {
        let lines = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.shared.1.wait_timeout(lines, most).unwrap_or_else(PoisonError::into_inner));
    }

    fn wait_for_end(&mut self) {
        if let Some(reader) = self.reader.take() {
            // It does not panic.
            let _ = reader.join();
        }
    }
}

impl std::fmt::Display for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.snapshot().join("\n"))
    }
}
