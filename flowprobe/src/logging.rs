//! The daemon's log, on standard error. Whoever logs waits for nobody: lines are queued for a thread that writes them, and where
//! standard error stands still (a paused terminal, a pipe that nobody reads) those that find no room are dropped and counted.

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

/// The environment variable that selects what is logged, as `tracing_subscriber::EnvFilter` reads it.
pub const FILTER: &str = "FLOWPROBE_LOG";

/// Lines that are kept while they are kept off the screen.
const KEPT: usize = 16;

/// Lines that wait for standard error; about a megabyte.
const WAITING: usize = 8192;

/// How long the end of the process waits for the last lines to be written.
const PATIENCE: Duration = Duration::from_secs(1);

/// The log as it was set up. When it is dropped, what was logged is written, if standard error takes it within a second.
#[derive(Debug)]
pub struct Log {
    recent: RecentLines,
    guard: Option<WorkerGuard>,
}

/// The way of all lines: to standard error, or, while a summary is drawn on the same terminal, to where it finds the latest.
#[derive(Clone, Debug)]
pub struct RecentLines {
    shared: Arc<Mutex<Recent>>,
    queue: NonBlocking,
    progress: Arc<Progress>,
}

#[derive(Debug, Default)]
struct Recent {
    off_screen: bool,
    lines: VecDeque<String>,
}

/// How far the thread that writes has come.
#[derive(Debug, Default)]
struct Progress {
    /// Lines that were handed to the queue, those included that it has dropped.
    handed: AtomicU64,
    /// Lines that were written, or refused by standard error.
    done: AtomicU64,
    dropped: OnceLock<ErrorCounter>,
}

impl Progress {
    fn dropped(&self) -> u64 {
        self.dropped.get().map_or(0, |dropped| dropped.dropped_lines() as u64)
    }

    fn waiting(&self) -> bool {
        self.done.load(Ordering::Acquire) + self.dropped() < self.handed.load(Ordering::Acquire)
    }
}

/// Standard error, on the thread that writes.
struct Destination<W> {
    out: W,
    progress: Arc<Progress>,
    /// Dropped lines that have been told of.
    told: u64,
}

/// Starts logging. What the kernel programs log through aya-log comes the same way.
#[must_use]
pub fn start(default_filter: &str) -> Log {
    // A request that is tried again is nothing yet: what comes of it is said.
    let default_filter = format!("{default_filter},object_store=warn");
    let filter = EnvFilter::try_from_env(FILTER).unwrap_or_else(|_| EnvFilter::new(default_filter));
    let log = Log::to(io::stderr(), WAITING);
    // A second start, in one process, is a test's; the first one's log goes on.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(false)
        .with_writer(log.recent.clone())
        .try_init();
    log
}

impl Log {
    fn to(out: impl Write + Send + 'static, waiting: usize) -> Self {
        let progress = Arc::new(Progress::default());
        let destination = Destination { out, progress: Arc::clone(&progress), told: 0 };
        let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(waiting).thread_name("log");
        let (queue, guard) = builder.finish(destination);
        // Nobody else sets it.
        let _ = progress.dropped.set(queue.error_counter());
        Self { recent: RecentLines { shared: Arc::default(), queue, progress }, guard: Some(guard) }
    }

    /// From now on lines go to the returned buffer where standard error is the terminal on which a summary is drawn.
    #[must_use]
    pub fn keep_off_the_screen(&self) -> RecentLines {
        if io::stderr().is_terminal() {
            self.recent.with(|recent| recent.off_screen = true);
        }
        self.recent.clone()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let end = Instant::now() + PATIENCE;
        while self.recent.progress.waiting() && Instant::now() < end {
            thread::sleep(Duration::from_millis(2));
        }
        if self.recent.progress.waiting() {
            // The thread hangs in a write, and the guard would say so on standard output, which is not for that.
            std::mem::forget(self.guard.take());
        }
    }
}

impl<W: Write> Write for Destination<W> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.out.write(octets)
    }

    /// One call is one line.
    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        let outcome = self.out.write_all(line);
        self.progress.done.fetch_add(1, Ordering::Release);
        outcome
    }

    /// Called when nothing waits any more: then it is known how much was dropped.
    fn flush(&mut self) -> io::Result<()> {
        let dropped = self.progress.dropped();
        if dropped > self.told {
            let mut line = String::new();
            // Without the time it is a line, too.
            let _ = SystemTime.format_time(&mut format::Writer::new(&mut line));
            let more = dropped - self.told;
            line.push_str(&format!("  WARN {more} log lines were dropped while standard error took none\n"));
            self.out.write_all(line.as_bytes())?;
            self.told = dropped;
        }
        self.out.flush()
    }
}

impl RecentLines {
    /// The last `count` lines.
    #[must_use]
    pub fn last(&self, count: usize) -> Vec<String> {
        self.with(|recent| recent.lines.iter().skip(recent.lines.len().saturating_sub(count)).cloned().collect())
    }

    /// The summary is over: lines go to standard error again.
    pub fn release(&self) {
        self.with(|recent| recent.off_screen = false);
    }

    fn with<T>(&self, action: impl FnOnce(&mut Recent) -> T) -> T {
        action(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<'a> MakeWriter<'a> for RecentLines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for RecentLines {
    /// One call is one line: so the formatter calls it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let kept = self.with(|recent| {
            if recent.off_screen {
                recent.lines.push_back(String::from_utf8_lossy(line).trim_end().to_owned());
                if recent.lines.len() > KEPT {
                    recent.lines.pop_front();
                }
            }
            recent.off_screen
        });
        if !kept {
            // Before: a line that is waited for is not missed.
            self.progress.handed.fetch_add(1, Ordering::Release);
            self.queue.write_all(line)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::mpsc;

    use super::*;

    /// What is logged by a thread.
    #[derive(Clone, Default)]
    pub(crate) struct Page(Arc<Mutex<Vec<u8>>>);

    impl Page {
        /// What this logs, without colours and times.
        pub(crate) fn of(what: impl FnOnce()) -> String {
            let page = Self::default();
            let subscriber =
                tracing_subscriber::fmt().with_writer(page.clone()).with_ansi(false).without_time().finish();
            tracing::subscriber::with_default(subscriber, what);
            String::from_utf8(page.0.lock().expect("no panic").clone()).expect("UTF-8")
        }
    }

    impl Write for Page {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").write(octets)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Page {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    /// Takes a line only when it is let.
    struct Gate {
        open: mpsc::Receiver<()>,
        lines: Arc<Mutex<Vec<String>>>,
    }

    impl Write for Gate {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            // Once the other end is gone it stays open.
            let _ = self.open.recv();
            let line = String::from_utf8_lossy(octets).into_owned();
            self.lines.lock().expect("no panic").push(line);
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn who_logs_is_not_kept_waiting_and_what_was_dropped_is_told() {
        let (let_through, open) = mpsc::channel();
        let lines = Arc::default();
        let log = Log::to(Gate { open, lines: Arc::clone(&lines) }, 4);
        let mut writer = log.recent.clone();
        // More than the queue holds, and the thread that writes stands still.
        for number in 0..20 {
            writer.write_all(format!("line {number}\n").as_bytes()).expect("it is queued or dropped");
        }
        let dropped = log.recent.progress.dropped();
        // One may be in the hands of the thread.
        assert!((15..=16).contains(&dropped), "{dropped}");
        drop(let_through);
        drop(log);
        let text = lines.lock().expect("no panic").concat();
        assert!(text.starts_with("line 0\nline 1\n"), "{text}");
        assert!(text.contains(&format!("WARN {dropped} log lines were dropped")), "{text}");
    }
}
