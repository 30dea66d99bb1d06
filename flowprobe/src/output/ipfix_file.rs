//! IPFIX files (RFC 5655): messages one after the other, templates first, what flowprobe says of itself last.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Instant;

use super::Writer;
use crate::config::DomainBy;
use crate::export::Format;
use crate::export::elements::{Fields, Schema};
use crate::export::encode::{Clock, Encoder, Pushed};
use crate::export::options::{Facts, Interface, Sent};
use crate::export::packed::Packed;
use crate::export::session::{Session, Templates};
use crate::losses::{Losses, Lost, Noted};
use crate::record::{FlowRecord, conversations};
use crate::sink::{Event, Tick};

/// Octets of a message. There is no path whose MTU would have to be kept; readers are known to take this much.
const MESSAGE: usize = 16_384;

/// In place of a process ID: the same records make the same file, whoever writes it.
const NO_PROCESS: u32 = 0;

/// Writes records as messages.
pub struct IpfixFile {
    domain: DomainBy,
    fields: Fields,
    batch_schema: Arc<Schema>,
    schema: Arc<Schema>,
    encoders: BTreeMap<u32, Encoder>,
    session: Session,
    sent: Sent,
    losses: Losses,
    not_sent: Noted<Lost>,
    /// Of the latest record: the export time of the message being built.
    export_time: u32,
}

impl IpfixFile {
    /// A file of records of `schema` with these fields. `losses` has what the file does not get.
    #[must_use]
    pub fn new(schema: Arc<Schema>, fields: Fields, domain: DomainBy, losses: Losses) -> Self {
        Self {
            domain,
            schema: Arc::new(Schema::of(Format::Ipfix, schema.extras(), &fields)),
            fields,
            batch_schema: schema,
            encoders: BTreeMap::new(),
            session: Session::new(Format::Ipfix, Templates::Withdrawn),
            sent: Sent::default(),
            losses,
            not_sent: Noted::default(),
            export_time: 0,
        }
    }

    /// The file's own clock is that of its records.
    fn clock(&self) -> Clock {
        Clock { now_ms: u64::from(self.export_time) * 1000, boot_ms: 0 }
    }

    fn encoder(&mut self, domain: u32) -> &mut Encoder {
        let schema = &self.schema;
        self.encoders.entry(domain).or_insert_with(|| Encoder::new(Format::Ipfix, Arc::clone(schema), domain, MESSAGE))
    }

    fn put(&mut self, record: &FlowRecord, reverse: Option<&FlowRecord>, out: &mut dyn Write) -> io::Result<()> {
        let (domain, clock) = (self.domain.of(record), self.clock());
        while self.encoder(domain).push(record, reverse, clock) == Pushed::NoRoom {
            self.finish(domain, out)?;
        }
        let seconds = u32::try_from(record.end_us / 1_000_000).unwrap_or(u32::MAX);
        self.export_time = self.export_time.max(seconds);
        Ok(())
    }

    fn finish(&mut self, domain: u32, out: &mut dyn Write) -> io::Result<()> {
        let clock = self.clock();
        let Some(mut message) = self.encoder(domain).finish(clock) else { return Ok(()) };
        for templates in self.session.next(&mut message, Instant::now(), self.export_time) {
            self.sent.messages += 1;
            self.sent.octets += templates.len() as u64;
            out.write_all(&templates)?;
        }
        let Packed { octets, weight, .. } = &message;
        out.write_all(octets)?;
        self.sent.messages += 1;
        self.sent.records += weight.records;
        self.sent.octets += octets.len() as u64;
        self.encoder(domain).recycle(message);
        Ok(())
    }

    fn finish_all(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let domains: Vec<u32> = self.encoders.keys().copied().collect();
        domains.into_iter().try_for_each(|domain| self.finish(domain, out))
    }

    fn report(&mut self, tick: &Tick, out: &mut dyn Write) -> io::Result<()> {
        self.finish_all(out)?;
        let domain = self.domain.of_options();
        let facts = Facts::new(tick, domain, NO_PROCESS, self.sent, self.not_sent);
        let schema = Arc::clone(&self.schema);
        let one = |one: &'_ crate::accounting::Accounting| (one.ifindex, Arc::clone(&one.interface));
        let mut names: Vec<(u32, Arc<str>)> = tick.accounting.iter().map(one).collect();
        names.dedup_by_key(|(index, _)| *index);
        let interfaces: Vec<Interface<'_>> =
            names.iter().map(|(index, name)| Interface { index: *index, name, description: name }).collect();
        for (template, facts) in facts.records(Format::Ipfix, &schema, tick, &interfaces) {
            while self.encoder(domain).push_options(template, &facts) == Pushed::NoRoom {
                self.finish(domain, out)?;
            }
        }
        self.finish(domain, out)
    }
}

impl Writer for IpfixFile {
    fn write(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()> {
        match event {
            Event::Records(batch) => {
                if !Arc::ptr_eq(&batch.schema, &self.batch_schema) {
                    self.finish_all(out)?;
                    self.batch_schema = Arc::clone(&batch.schema);
                    let extras = batch.schema.extras();
                    self.schema = Arc::new(self.schema.followed_by(Format::Ipfix, extras, &self.fields));
                    for encoder in self.encoders.values_mut() {
                        encoder.set_schema(&self.schema);
                    }
                }
                for (record, reverse) in conversations(&batch.records) {
                    if reverse.is_some() && !self.schema.joins_biflows() {
                        let halves = [Some(record), reverse].into_iter().flatten().filter(|half| half.packets > 0);
                        halves.into_iter().try_for_each(|half| self.put(half, None, out))?;
                    } else {
                        self.put(record, reverse, out)?;
                    }
                }
                Ok(())
            }
            Event::Tick(tick) => {
                self.not_sent.note(self.losses.total(), tick.offset.to_wall_ms(tick.now_ns));
                if tick.last { self.report(tick, out) } else { Ok(()) }
            }
            Event::Deltas(_) | Event::ReceivedDeltas(_) | Event::Datagrams(_) => Ok(()),
        }
    }
}
