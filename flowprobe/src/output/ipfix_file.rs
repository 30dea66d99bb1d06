//! IPFIX files (RFC 5655): messages one after the other, templates first.

use std::io::{self, Write};
use std::sync::Arc;

use super::Writer;
use crate::export::elements::Schema;
use crate::export::message::Encoder;
use crate::sink::Event;

/// Octets of a message. There is no path whose MTU would have to be kept; readers are known to take this much.
const MESSAGE: usize = 16_384;

/// Writes records as messages.
pub struct IpfixFile {
    encoder: Encoder,
    /// Of the latest record: the export time of the message being built.
    export_time: u32,
}

impl IpfixFile {
    /// A file of one observation domain. A message has room for all templates.
    #[must_use]
    pub fn new(schema: Arc<Schema>, observation_domain: u32) -> Self {
        let mut encoder = Encoder::new(schema, observation_domain, MESSAGE);
        encoder.push_templates(0);
        Self { encoder, export_time: 0 }
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.encoder.finish(self.export_time).is_some() {
            out.write_all(self.encoder.octets())?;
            self.encoder.clear();
        }
        Ok(())
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
                    let seconds = u32::try_from(record.end_ms / 1000).unwrap_or(u32::MAX);
                    self.export_time = self.export_time.max(seconds);
                }
                Ok(())
            }
            Event::Tick(tick) if tick.last => self.finish(out),
            Event::Tick(_) | Event::Deltas(_) => Ok(()),
        }
    }
}
