//! IPFIX files (RFC 5655): messages one after the other, templates first, what flowprobe says of itself last.

use std::io::{self, Write};
use std::sync::Arc;

use super::Writer;
use crate::export::elements::Schema;
use crate::export::message::Encoder;
use crate::export::statistics::{Facts, Sent};
use crate::losses::{Losses, Lost, Noted};
use crate::sink::{Event, Tick};

/// Octets of a message. There is no path whose MTU would have to be kept; readers are known to take this much.
const MESSAGE: usize = 16_384;

/// In place of a process ID: the same records make the same file, whoever writes it.
const NO_PROCESS: u32 = 0;

/// Writes records as messages.
pub struct IpfixFile {
    encoder: Encoder,
    observation_domain: u32,
    sent: Sent,
    /// Flow records in the message being built.
    pending: u64,
    losses: Losses,
    not_sent: Noted<Lost>,
    /// Of the latest record: the export time of the message being built.
    export_time: u32,
}

impl IpfixFile {
    /// A file of one observation domain. A message has room for all templates. `losses` has what the file does not get.
    #[must_use]
    pub fn new(schema: Arc<Schema>, observation_domain: u32, losses: Losses) -> Self {
        let mut encoder = Encoder::new(schema, observation_domain, MESSAGE);
        encoder.push_templates(0);
        let (sent, not_sent) = (Sent::default(), Noted::default());
        Self { encoder, observation_domain, sent, pending: 0, losses, not_sent, export_time: 0 }
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.encoder.finish(self.export_time).is_some() {
            let octets = self.encoder.octets();
            out.write_all(octets)?;
            self.sent.messages += 1;
            self.sent.records += std::mem::take(&mut self.pending);
            self.sent.octets += octets.len() as u64;
            self.encoder.clear();
        }
        Ok(())
    }

    fn report(&mut self, tick: &Tick, out: &mut dyn Write) -> io::Result<()> {
        self.finish(out)?;
        let facts = Facts::new(tick, self.observation_domain, NO_PROCESS, self.sent, self.not_sent);
        for (template, facts) in facts.records(tick) {
            if !self.encoder.fits_options(template, &facts) {
                self.finish(out)?;
            }
            self.encoder.push_options(template, &facts);
        }
        self.finish(out)
    }
}

impl Writer for IpfixFile {
    fn write(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()> {
        match event {
            Event::Records(batch) => {
                if !Arc::ptr_eq(&batch.schema, self.encoder.schema()) {
                    self.finish(out)?;
                    self.encoder.set_schema(Arc::clone(&batch.schema));
                    self.encoder.push_templates(0);
                }
                for record in &*batch.records {
                    if !self.encoder.fits(record) {
                        self.finish(out)?;
                    }
                    self.encoder.push(record);
                    self.pending += 1;
                    let seconds = u32::try_from(record.end_us / 1_000_000).unwrap_or(u32::MAX);
                    self.export_time = self.export_time.max(seconds);
                }
                Ok(())
            }
            Event::Tick(tick) => {
                self.not_sent.note(self.losses.total(), tick.offset.to_wall_ms(tick.now_ns));
                if tick.last { self.report(tick, out) } else { Ok(()) }
            }
            Event::Deltas(_) => Ok(()),
        }
    }
}
