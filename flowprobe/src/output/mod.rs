//! What standard output or a file gets, on a thread of its own: writing to a pipe that nobody reads blocks, and must block
//! nothing else.

mod csv;
mod ipfix_file;
mod json;

use std::io::{self, Write};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, anyhow};
use tokio::sync::mpsc;

use crate::sink::Event;
pub use csv::CsvLines;
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

/// Writes the events of `queue` to `destination` on a thread of its own, until the queue is closed or the destination
/// refuses; then `closed` is told. The thread's result is what the destination said; a pipe whose reader has gone is no error.
///
/// # Errors
/// The thread cannot be started.
pub fn start(
    writer: impl Writer,
    destination: impl Write + Send + 'static,
    queue: mpsc::Receiver<Event>,
    closed: mpsc::Sender<()>,
) -> io::Result<JoinHandle<io::Result<()>>> {
    thread::Builder::new().name("output".into()).spawn(move || {
        let mut out = io::BufWriter::with_capacity(1 << 16, destination);
        let outcome = write_all(writer, &mut out, queue);
        if outcome.is_err() {
            // What is in the buffer would be refused again.
            let (_, _) = out.into_parts();
            let _ = closed.try_send(());
        }
        match outcome {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            outcome => outcome,
        }
    })
}

fn write_all(mut writer: impl Writer, out: &mut impl Write, mut queue: mpsc::Receiver<Event>) -> io::Result<()> {
    while let Some(event) = queue.blocking_recv() {
        writer.write(&event, out)?;
        if queue.is_empty() {
            out.flush()?;
        }
    }
    out.flush()
}

/// Waits for an output's end.
///
/// # Errors
/// What the destination said, or that the thread has failed.
pub fn ended(output: JoinHandle<io::Result<()>>) -> anyhow::Result<()> {
    let outcome = output.join().map_err(|_| anyhow!("an output thread has failed"))?;
    outcome.context("cannot write the output")
}
