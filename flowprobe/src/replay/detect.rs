//! `flowprobe replay --detect`: what is wrong in captures and files of records, on their own clock.

use std::io::{self, Write};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::clock::WallOffset;
use crate::config::SelectionConfig;
use crate::detect::service::files::Files;
use crate::detect::service::json;
use crate::detect::site::Site;
use crate::detect::{Board, Detection, Feed, Outside, Settings, Stage, in_words};
use crate::sink::Event;

/// Detectors that look at what a replay brings.
pub(super) struct Looking {
    board: Board,
    thread: JoinHandle<()>,
}

impl Looking {
    /// Starts to look.
    ///
    /// # Errors
    /// A list cannot be used, or the thread not be started.
    pub(super) fn start(
        settings: &Settings,
        selection: &SelectionConfig,
        queue: mpsc::Receiver<Event>,
    ) -> anyhow::Result<Self> {
        let (_, outside) = Files::open(settings)?;
        // The time stamps of captures are the wall clock.
        let offset = WallOffset::between(Duration::ZERO, 0);
        let feed = Feed::new(selection.sampling, offset, Vec::new(), |_| None);
        let interfaces = feed.interfaces();
        let new_lines = outside.new_lines.clone();
        let outside = Outside { names: Box::new(move |number| interfaces.name(number)), ..outside };
        let detection = match &settings.inside {
            Some(networks) => Detection::new(Site::only(networks.iter().copied()), settings, outside),
            None => Detection::new(Site::private_and([]), settings, outside).guessing(),
        };
        let board = Board::new(crate::detect::findings::Findings::default(), settings.suppress.clone());
        let stage = Stage::new(detection, feed, board.clone());
        let thread = stage.with_speeds(settings.capacity.speeds.clone(), false, new_lines).start(queue)?;
        Ok(Self { board, thread })
    }

    /// Waits for the end, and prints what was found: what is worst first, or one JSON object a line.
    ///
    /// # Errors
    /// The output refuses, or the thread has failed.
    pub(super) fn print(self, as_json: bool, out: &mut dyn Write) -> io::Result<()> {
        self.thread.join().map_err(|_| io::Error::other("the thread that looks for findings has failed"))?;
        let mut found = self.board.findings(usize::MAX, |_| true);
        found.sort_by_key(|one| (std::cmp::Reverse(one.severity), one.first_ms));
        if as_json {
            return found.iter().try_for_each(|one| writeln!(out, "{}", json::finding(one, usize::MAX)));
        }
        if found.is_empty() {
            writeln!(out, "Nothing was found.")?;
        }
        found.iter().try_for_each(|one| in_words(one, out))?;
        for (suppression, count) in self.board.suppressed().iter().filter(|(_, count)| *count > 0) {
            let times = if *count == 1 { "once" } else { &format!("{count} times") };
            writeln!(out, "Suppressed {times}: {}, {}", suppression.rule, suppression.reason)?;
        }
        Ok(())
    }
}
