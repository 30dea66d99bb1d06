//! What standard output or a file gets, on a thread of its own: writing to a pipe that nobody reads blocks, and must block
//! nothing else.

mod csv;
mod ipfix_file;
mod json;

use std::io::{self, Write};
use std::thread::{self, JoinHandle};

use tokio::sync::mpsc;
use tracing::warn;

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

/// Writes the events of `queue` to `destination` until the queue is closed, or until the destination refuses: then `closed`
/// is told.
///
/// # Errors
/// The thread cannot be started.
pub fn start(
    mut writer: impl Writer,
    destination: impl Write + Send + 'static,
    mut queue: mpsc::Receiver<Event>,
    closed: mpsc::Sender<()>,
) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("output".into()).spawn(move || {
        let mut out = io::BufWriter::with_capacity(1 << 16, destination);
        while let Some(event) = queue.blocking_recv() {
            let idle = queue.is_empty();
            let outcome = writer.write(&event, &mut out).and_then(|()| if idle { out.flush() } else { Ok(()) });
            if let Err(error) = outcome {
                if error.kind() != io::ErrorKind::BrokenPipe {
                    warn!("cannot write the output: {error}");
                }
                // Whoever wanted to read has gone; the buffer has no reader either.
                let (_, _) = out.into_parts();
                let _ = closed.try_send(());
                return;
            }
        }
        if let Err(error) = out.flush() {
            warn!("cannot write the output: {error}");
        }
    })
}
