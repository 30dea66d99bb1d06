//! Where the summary is drawn: over itself on a terminal, one below the other elsewhere.

use std::io::{self, IsTerminal as _, Write};

use terminal_size::{Height, Width, terminal_size};

use crate::logging::RecentLines;

/// Lines of a summary that goes elsewhere than to a terminal.
const ROWS_ELSEWHERE: usize = 30;

/// Log lines shown below the summary.
const LOG_LINES: usize = 3;

/// A place to draw.
pub struct Screen {
    terminal: Option<RecentLines>,
    drawn: bool,
}

impl Screen {
    /// Standard output. Where both it and standard error are the terminal, log lines are shown below the summary instead of
    /// across it.
    #[must_use]
    pub fn stdout(log: &crate::logging::Log) -> Self {
        let terminal = io::stdout().is_terminal().then(|| log.keep_off_the_screen());
        Self { terminal, drawn: false }
    }

    /// Anything that is not a terminal.
    #[must_use]
    pub const fn elsewhere() -> Self {
        Self { terminal: None, drawn: false }
    }

    /// Lines there is room for.
    pub(super) fn rows(&self) -> usize {
        match (&self.terminal, terminal_size()) {
            (Some(_), Some((_, Height(rows)))) => usize::from(rows).saturating_sub(LOG_LINES + 1),
            _ => ROWS_ELSEWHERE,
        }
    }

    /// Draws `lines`; `last` leaves them standing.
    pub(super) fn draw(&mut self, lines: &[String], last: bool, out: &mut dyn Write) -> io::Result<()> {
        let Some(log) = &self.terminal else {
            for line in lines {
                writeln!(out, "{line}")?;
            }
            return writeln!(out);
        };
        // Clear once; later only overwrite, so that nothing flickers.
        let begin = if self.drawn { "\x1b[H" } else { "\x1b[2J\x1b[H" };
        self.drawn = true;
        out.write_all(begin.as_bytes())?;
        for line in lines {
            write!(out, "{line}\x1b[K\r\n")?;
        }
        write!(out, "\x1b[K\r\n")?;
        for line in log.last(LOG_LINES) {
            // A line that wrapped would push the summary off the screen.
            let line: String = line.chars().take(columns()).collect();
            write!(out, "{line}\x1b[K\r\n")?;
        }
        write!(out, "\x1b[J")?;
        if last {
            log.release();
        }
        out.flush()
    }
}

/// Columns of the terminal; those of the summary where it does not say.
fn columns() -> usize {
    terminal_size().map_or(super::WIDTH, |(Width(columns), _)| usize::from(columns))
}
