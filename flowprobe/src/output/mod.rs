//! What standard output or a file gets, on a thread of its own: writing to a pipe that nobody reads blocks, and must block
//! nothing else.

mod csv;
mod destination;
mod ipfix_file;
mod json;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, anyhow};
use tokio::sync::mpsc;

use crate::sink::Event;
pub use csv::CsvLines;
use destination::Destination;
pub use destination::WhenFull;
pub use ipfix_file::IpfixFile;
pub use json::JsonLines;

/// Something that turns events into text.
pub trait Writer: Send + 'static {
    /// Writes what `event` means.
    ///
    /// # Errors
    /// The output refuses.
    fn write(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()>;
}

/// Standard output without the buffer that the standard library gives it, which hides how much was written.
///
/// # Errors
/// It is closed.
pub fn standard_output() -> io::Result<File> {
    Ok(io::stdout().as_fd().try_clone_to_owned()?.into())
}

/// Writes the events of `queue` to `destination` on a thread of its own, until the queue is closed or the destination
/// refuses; then `closed` is told. A full disk is treated as `when_full` says. The thread's result is what the destination
/// said; a pipe whose reader has gone is no error.
///
/// # Errors
/// The thread cannot be started.
pub fn start(
    writer: impl Writer,
    destination: impl Write + Send + 'static,
    when_full: WhenFull,
    queue: mpsc::Receiver<Event>,
    closed: mpsc::Sender<()>,
) -> io::Result<JoinHandle<io::Result<()>>> {
    thread::Builder::new().name("output".into()).spawn(move || {
        let outcome = write_all(writer, Destination::new(destination, when_full), queue);
        if outcome.is_err() {
            let _ = closed.try_send(());
        }
        unless_closed(outcome)
    })
}

/// What became of writing: a pipe whose reader has gone is no error.
///
/// # Errors
/// Any other.
pub fn unless_closed(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}

fn write_all<W: Write>(
    mut writer: impl Writer,
    mut out: Destination<W>,
    mut queue: mpsc::Receiver<Event>,
) -> io::Result<()> {
    while let Some(event) = queue.blocking_recv() {
        let more = !queue.is_empty();
        out.take(&event, more, |text| writer.write(&event, text))?;
    }
    out.end()
}

/// Waits for an output's end.
///
/// # Errors
/// What the destination said, or that the thread has failed.
pub fn ended(output: JoinHandle<io::Result<()>>) -> anyhow::Result<()> {
    let outcome = output.join().map_err(|_| anyhow!("an output thread has failed"))?;
    outcome.context("cannot write the output")
}
