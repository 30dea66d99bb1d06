//! Reads files of IPFIX messages (RFC 5655): the same reading as that of what comes over a connection, on the clock of the messages.

use std::io::Read;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use tracing::warn;

use super::capture::CaptureError;
use super::{Input, Replay, ReplayError};
use crate::collect::ReceivedRecords;
use crate::collect::listen::Frames;
use crate::collect::session::{Exporters, Limits, Moment, Peer};
use crate::drain::Drained;
use crate::sink::{OCTETS_PER_EVENT, RECORDS_PER_EVENT};

/// Octets of a message's header up to the end of its export time (RFC 7011 section 3.1).
const EXPORT_TIME_ENDS: usize = 8;

/// How often it is told how late it is, on the clock of the messages: their records are finished, so that nothing has to time out.
const STEP_NS: u64 = 5_000_000_000;

/// Octets that are read at a time.
const PIECE: u64 = 1 << 16;

/// What is known of the file that is being read.
struct Reading {
    exporters: Exporters,
    records: ReceivedRecords,
    /// Every file is a connection of its own.
    peer: Peer,
    /// The export time of the first message, and the moment that stands for it.
    began: (Option<u32>, Instant),
}

impl Reading {
    fn new() -> Self {
        Self {
            exporters: Exporters::new(Limits::default()),
            records: ReceivedRecords::default(),
            peer: Peer { address: (Ipv4Addr::UNSPECIFIED, 0).into(), connection: Some(1) },
            began: (None, Instant::now()),
        }
    }

    fn message(&mut self, message: &[u8], export_time: u32) {
        let began = *self.began.0.get_or_insert(export_time);
        let since = Duration::from_secs(export_time.saturating_sub(began).into());
        let now = Moment { wall_us: u64::from(export_time) * 1_000_000, monotonic: self.began.1 + since };
        self.exporters.take(&self.peer, message, now, &mut self.records);
    }

    fn is_full(&self) -> bool {
        self.records.records.len() >= RECORDS_PER_EVENT / 2 || self.records.beyond.weight() >= OCTETS_PER_EVENT / 2
    }

    /// Says what of the file could not be read.
    fn tell_faults(&self, path: &std::path::Path) {
        let (health, totals) = (self.exporters.health(), self.exporters.totals());
        let without_template: u64 = health.iter().map(|health| health.dropped_sets).sum();
        if without_template > 0 {
            warn!("{}: {without_template} sets have no template in the file, and were not read", path.display());
        }
        for (fault, count) in health.iter().flat_map(|health| &health.faults).chain(&totals.faults) {
            warn!("{}: {fault}: {count} times", path.display());
        }
    }
}

impl Replay {
    /// Reads a file of messages to its end. `progress` is told now and then how many octets of it were read.
    pub(super) fn read_messages(&mut self, mut input: Input, progress: &mut dyn FnMut(u64)) -> Result<(), ReplayError> {
        let path = input.path().to_owned();
        let (mut reading, mut frames, mut offset) = (Reading::new(), Frames::default(), 0);
        let failed = |problem: String, offset| CaptureError::at(&path, problem, offset);
        let outcome = loop {
            let read = input.stream().take(PIECE).read_to_end(frames.room());
            match read {
                Err(error) => break Err(failed(error.to_string(), offset)),
                Ok(0) if frames.is_within_message() => {
                    break Err(failed("the file is cut off in the middle of a message".to_owned(), offset));
                }
                Ok(0) => break Ok(()),
                Ok(_) => {}
            }
            progress(input.taken());
            if let Err(error) = self.take_messages(&mut reading, &mut frames, &mut offset)? {
                break Err(failed(error, offset));
            }
        };
        reading.exporters.finish(&mut reading.records);
        self.hand_on_received(&mut reading)?;
        reading.tell_faults(&path);
        outcome.map_err(Into::into)
    }

    /// Takes the messages that are there as a whole. The inner error is what is wrong with the file.
    fn take_messages(
        &mut self,
        reading: &mut Reading,
        frames: &mut Frames,
        offset: &mut u64,
    ) -> Result<Result<(), String>, ReplayError> {
        loop {
            let message = match frames.next() {
                Ok(Some(message)) => message,
                Ok(None) => return Ok(Ok(())),
                Err(error) => return Ok(Err(error.to_string())),
            };
            let export_time = message.get(..EXPORT_TIME_ENDS).and_then(<[u8]>::last_chunk).copied();
            let export_time = u32::from_be_bytes(export_time.unwrap_or_default());
            self.packets += 1;
            *offset += message.len() as u64;
            // First what came before, and how late it is; then what comes at that time.
            if self.is_time_to_report(u64::from(export_time) * 1_000_000_000, STEP_NS) {
                self.hand_on_received(reading)?;
                self.report()?;
            }
            reading.message(message, export_time);
            if reading.is_full() {
                self.hand_on_received(reading)?;
            }
        }
    }

    fn hand_on_received(&mut self, reading: &mut Reading) -> Result<(), ReplayError> {
        if reading.records.records.is_empty() {
            return Ok(());
        }
        self.look_for_readers()?;
        for piece in reading.records.take().pieces() {
            self.out.send(Drained::Received(piece)).map_err(|_| super::NoReceiver)?;
        }
        Ok(())
    }
}
