//! `flowprobe findings`: what the daemon has kept, and findings in words.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;

use super::super::findings::{Finding, State};
use super::json;
use super::keep::Keep;
use crate::output::unless_closed;
use crate::query::TimeArgs;
use crate::store::DEFAULT_FOLDER;

/// Flags of `flowprobe findings`.
#[derive(Clone, Debug, Args)]
pub struct FindingsArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "its documentation would become the command's help")]
    pub time: TimeArgs,

    /// Only those that go on
    #[arg(long)]
    pub open: bool,

    /// Folder of the history, where the daemon keeps them [default: /var/lib/flowprobe/store]
    #[arg(long, value_name = "PATH")]
    pub store: Option<PathBuf>,

    /// Print one JSON object a line, as the API has them
    #[arg(long)]
    pub json: bool,
}

impl FindingsArgs {
    /// The time that is asked for where nothing is said.
    pub const USUAL: Duration = Duration::from_secs(24 * 3600);
}

/// Writes the findings of a time that were kept, worst first.
///
/// # Errors
/// What was kept cannot be read, or the output refuses.
pub fn print(args: &FindingsArgs, (from_ms, to_ms): (i64, i64), out: &mut impl Write) -> Result<()> {
    let keep = Keep::in_folder(&args.store.clone().unwrap_or_else(|| DEFAULT_FOLDER.into()));
    let kept = keep.findings()?;
    let is_wanted =
        |one: &&Finding| one.last_ms >= from_ms && one.first_ms < to_ms && (!args.open || one.state == State::Open);
    let mut found: Vec<&Finding> = kept.iter().filter(is_wanted).collect();
    found.sort_by_key(|one| (std::cmp::Reverse(one.severity), one.first_ms));
    let written = found.iter().try_for_each(|one| {
        if args.json { writeln!(out, "{}", json::finding(one, usize::MAX)) } else { in_words(one, out) }
    });
    let written = match written {
        Ok(()) if found.is_empty() && !args.json => writeln!(out, "Nothing was found."),
        written => written,
    };
    unless_closed(written.and_then(|()| out.flush())).context("cannot write the findings")
}

/// A headline, when it was, and the sentences.
pub(crate) fn in_words(one: &Finding, out: &mut dyn Write) -> io::Result<()> {
    let technique = one.technique.as_ref().map(|technique| format!(", {technique}")).unwrap_or_default();
    writeln!(out, "{:<8} {} ({}{technique})", one.severity.to_string(), one.title, one.rule)?;
    let [first, last] = [one.first_ms, one.last_ms].map(moment);
    let state = if one.state == State::Open { "open" } else { "ended" };
    let times = if one.count == 1 { String::new() } else { format!(", seen {} times", one.count) };
    writeln!(out, "         {first} to {last}, {state}{times}")?;
    writeln!(out, "         {}\n", one.explanation)
}

/// A moment in UTC, to the second.
pub(super) fn moment(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .map_or_else(|_| ms.to_string(), |time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}
