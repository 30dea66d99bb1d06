//! The daemon's log, on standard error.

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _, Write};
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The environment variable that selects what is logged, as `tracing_subscriber::EnvFilter` reads it.
pub const FILTER: &str = "FLOWPROBE_LOG";

/// Lines that are kept while they are kept off the screen.
const KEPT: usize = 16;

/// The log as it was set up.
#[derive(Clone, Debug)]
pub struct Log {
    recent: RecentLines,
}

/// The latest lines of a log that shares the terminal with a summary.
#[derive(Clone, Debug, Default)]
pub struct RecentLines {
    shared: Arc<Mutex<Recent>>,
}

#[derive(Debug, Default)]
struct Recent {
    off_screen: bool,
    lines: VecDeque<String>,
}

/// Starts logging. What the kernel programs log through aya-log comes the same way.
#[must_use]
pub fn start(default_filter: &str) -> Log {
    let filter = EnvFilter::try_from_env(FILTER).unwrap_or_else(|_| EnvFilter::new(default_filter));
    let recent = RecentLines::default();
    // A second start, in one process, is a test's; the first one's log goes on.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(false)
        .with_writer(recent.clone())
        .try_init();
    Log { recent }
}

impl Log {
    /// From now on lines go to the returned buffer where standard error is the terminal on which a summary is drawn.
    #[must_use]
    pub fn keep_off_the_screen(&self) -> RecentLines {
        if io::stderr().is_terminal() {
            self.recent.with(|recent| recent.off_screen = true);
        }
        self.recent.clone()
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
        if kept { Ok(line.len()) } else { io::stderr().write_all(line).map(|()| line.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
