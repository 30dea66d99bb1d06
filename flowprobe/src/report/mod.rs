//! `flowprobe report`: what happened in a time, on one page that needs nothing else, or as one JSON object. It asks history as
//! `flowprobe query` does, and says what that answers.
//!
//! The page is made here, charts too: it has no script, which mail clients strip, and asks for nothing over the network.

mod chart;
mod cli;
mod data;
mod file;
mod html;
mod page;
mod steps;
mod tables;
#[cfg(test)]
mod tests;
mod ticks;

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use jiff::tz::TimeZone;
use thiserror::Error;

pub use cli::{Plan, ReportArgs, ReportFlagsError};

use crate::query::{self, Place, QueryError};
use data::{About, Report};

/// Why there is no report.
#[derive(Debug, Error)]
pub enum ReportError {
    /// History does not answer.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The file cannot be written.
    #[error("cannot write the report to {}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Standard output refuses.
    #[error("cannot write the report: {0}")]
    Output(#[from] io::Error),
}

/// Asks all that a report says, and writes it where `args` say, or to `out`. Moments are shown as they are in `zone`.
///
/// # Errors
/// See [`ReportError`].
pub fn write(args: &ReportArgs, plan: Plan, zone: TimeZone, out: &mut impl Write) -> Result<(), ReportError> {
    let path = args.html.as_ref().filter(|path| path.as_os_str() != "-");
    if let Some(path) = path {
        // Said before history is searched for a minute.
        file::check(path).map_err(|error| ReportError::File { path: path.clone(), error })?;
    }
    let (place, series) = query::find(&args.source, &plan.series(false))?;
    let source = match &place {
        Place::Files(folder) => format!("the files in {}", folder.display()),
        Place::Daemon(socket) => format!("the daemon at {}", socket.display()),
    };
    let about = About { title: args.title.clone(), host: host(), source, zone };
    let report = Report::of(about, plan, series, |request| place.ask(request))?;
    let text = if args.json { format!("{}\n", report.to_json()) } else { page::page(&report) };
    match path {
        Some(path) => file::write(path, &text).map_err(|error| ReportError::File { path: path.clone(), error }),
        None => {
            out.write_all(text.as_bytes())?;
            Ok(out.flush()?)
        }
    }
}

/// The name of this machine.
fn host() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}
