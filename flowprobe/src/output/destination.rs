//! Where an output's octets go, and what happens when there is no room: what is formatted stays in memory with an offset, so
//! that no line is ever torn, and further events are refused and counted until it has been written.

use std::io::{self, Write};

use tracing::{info, warn};

use crate::losses::{Losses, Lost};
use crate::sink::Event;

/// Octets that are gathered before they are written, while more events wait.
const GATHERED: usize = 1 << 16;

/// What an output does where its disk is full.
#[derive(Clone, Debug)]
pub enum WhenFull {
    /// It ends with an error.
    Fail,
    /// It waits for room, and counts what it refuses meanwhile.
    Refuse(Losses),
}

/// A file, pipe or terminal that is written without a buffer of its own.
pub(super) struct Destination<W> {
    out: W,
    when_full: WhenFull,
    /// What is formatted and not yet written, from `offset` on.
    pending: Vec<u8>,
    offset: usize,
    /// What of the events in it would be lost.
    of_events: Lost,
    /// There was no room for it.
    is_full: bool,
    /// What was refused since.
    refused: Lost,
}

impl<W: Write> Destination<W> {
    pub(super) fn new(out: W, when_full: WhenFull) -> Self {
        let (of_events, refused) = (Lost::default(), Lost::default());
        Self { out, when_full, pending: Vec::new(), offset: 0, of_events, is_full: false, refused }
    }

    /// Has `format` write what `event` means, unless there is no room for what came before. `more` events wait.
    ///
    /// # Errors
    /// The destination refuses, for another reason than that it is full, or the format fails.
    pub(super) fn take(
        &mut self,
        event: &Event,
        more: bool,
        format: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.is_full {
            self.write_out()?;
            if self.is_full {
                self.refuse(Lost::of_event(event));
                return Ok(());
            }
        }
        format(&mut self.pending)?;
        self.of_events += Lost::of_event(event);
        if more && self.pending.len() < GATHERED { Ok(()) } else { self.write_out() }
    }

    /// The last attempt: what finds no room now is lost.
    ///
    /// # Errors
    /// As [`Destination::take`].
    pub(super) fn end(mut self) -> io::Result<()> {
        self.write_out()?;
        if self.is_full {
            let lost = self.of_events;
            self.refuse(lost);
            warn!("the output is full to the end: {} records are lost in all", self.refused.records);
        }
        Ok(())
    }

    fn refuse(&mut self, lost: Lost) {
        self.refused += lost;
        if let WhenFull::Refuse(losses) = &self.when_full {
            losses.add(lost);
        }
    }

    /// Writes as much as there is room for.
    fn write_out(&mut self) -> io::Result<()> {
        while self.offset < self.pending.len() {
            match self.out.write(&self.pending[self.offset..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(octets) => self.offset += octets,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if self.waits_for_room(&error) => {
                    if !self.is_full {
                        warn!("the output is full: {error}; records are lost until there is room");
                        self.is_full = true;
                    }
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        (self.offset, self.of_events) = (0, Lost::default());
        self.pending.clear();
        // A large event is no reason to hold its memory for good.
        self.pending.shrink_to(GATHERED * 16);
        self.out.flush()?;
        if std::mem::take(&mut self.is_full) {
            let lost = std::mem::take(&mut self.refused);
            info!("the output has room again, after {} records were lost", lost.records);
        }
        Ok(())
    }

    fn waits_for_room(&self, error: &io::Error) -> bool {
        matches!(self.when_full, WhenFull::Refuse(_))
            && matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::record::FlowRecord;
    use crate::sink::RecordBatch;

    /// A disk with room for so many octets.
    #[derive(Default)]
    struct Disk {
        room: usize,
        written: Vec<u8>,
        error: Option<io::ErrorKind>,
    }

    impl Write for &mut Disk {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            let length = octets.len().min(self.room);
            if length == 0 {
                return Err(self.error.unwrap_or(io::ErrorKind::StorageFull).into());
            }
            self.room -= length;
            self.written.extend(&octets[..length]);
            Ok(length)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn event(records: usize) -> Event {
        Event::Records(RecordBatch::metered(&Arc::default(), &vec![FlowRecord::example(); records], false))
    }

    fn put(destination: &mut Destination<&mut Disk>, records: usize, line: &str) -> io::Result<()> {
        destination.take(&event(records), false, |out| writeln!(out, "{line}"))
    }

    #[test]
    fn a_full_disk_tears_no_line_and_what_it_refuses_is_counted() {
        let losses = Losses::default();
        let mut disk = Disk { room: 8, ..Disk::default() };
        let mut destination = Destination::new(&mut disk, WhenFull::Refuse(losses.clone()));
        put(&mut destination, 1, "one").expect("there is room");
        put(&mut destination, 1, "two and a half").expect("it is kept");
        assert_eq!(losses.total(), Lost::default());
        for records in [2, 3] {
            put(&mut destination, records, "three").expect("it is refused");
        }
        assert_eq!(losses.total().records, 5);
        // Not yet enough room.
        destination.out.room = 4;
        put(&mut destination, 4, "four").expect("it is refused");
        destination.out.room = 1000;
        put(&mut destination, 7, "five").expect("there is room again");
        assert_eq!(losses.total().records, 9);
        assert_eq!(losses.total().packets, 27);
        destination.end().expect("nothing is left");
        assert_eq!(String::from_utf8_lossy(&disk.written), "one\ntwo and a half\nfive\n");
    }

    #[test]
    fn what_is_never_written_is_lost() {
        let losses = Losses::default();
        let mut disk = Disk { room: 2, ..Disk::default() };
        let mut destination = Destination::new(&mut disk, WhenFull::Refuse(losses.clone()));
        put(&mut destination, 6, "one").expect("it is kept");
        put(&mut destination, 1, "two").expect("it is refused");
        destination.end().expect("a full disk is no error");
        assert_eq!(losses.total().records, 7);
    }

    #[test]
    fn other_errors_are_errors() {
        for (when_full, kind) in [
            (WhenFull::Fail, io::ErrorKind::StorageFull),
            (WhenFull::Refuse(Losses::default()), io::ErrorKind::BrokenPipe),
        ] {
            let mut disk = Disk { error: Some(kind), ..Disk::default() };
            let mut destination = Destination::new(&mut disk, when_full);
            let error = put(&mut destination, 1, "one").expect_err("no room");
            assert_eq!(error.kind(), kind);
        }
    }
}
