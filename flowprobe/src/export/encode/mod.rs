//! Packs records into messages. Pure: no I/O, the time is handed in, and nothing is allocated for a record.

mod netflow5;
mod received;
mod sets;
mod templates;
mod uptime;

use std::sync::Arc;

pub use netflow5::pieces as netflow5_pieces;
pub use uptime::Clock;

use super::Format;
use super::elements::Schema;
use super::options::{Facts, OptionsTemplate};
use super::packed::{Packed, Source, TemplateSet};
use crate::collect::Said;
use crate::losses::Lost;
use crate::record::FlowRecord;
use netflow5::NetFlow5;
use sets::Sets;

/// Packs records of one observation domain into messages of one format.
#[derive(Debug)]
pub struct Encoder(Kind);

#[derive(Debug)]
enum Kind {
    /// IPFIX and NetFlow v9.
    Sets(Box<Sets>),
    NetFlow5(Box<NetFlow5>),
}

/// What has become of a record that was handed to an encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It is in the message.
    Taken,
    /// The message has no room for it and has to be finished first. An empty one takes every record.
    NoRoom,
    /// The format has no words for it.
    Unsayable,
}

impl Encoder {
    /// An encoder of records of `schema` whose messages have at most `capacity` octets, and room for a record at least.
    #[must_use]
    pub fn new(format: Format, schema: Arc<Schema>, domain: u32, capacity: usize) -> Self {
        Self(match format {
            Format::Ipfix | Format::NetFlow9 => Kind::Sets(Box::new(Sets::new(format, schema, domain, capacity))),
            Format::NetFlow5 => Kind::NetFlow5(Box::new(NetFlow5::new(&schema, domain, capacity))),
        })
    }

    /// Changes how many octets a message may have. The message in hand must have been finished.
    pub fn set_capacity(&mut self, capacity: usize) {
        match &mut self.0 {
            Kind::Sets(sets) => sets.set_capacity(capacity),
            Kind::NetFlow5(fixed) => fixed.set_capacity(capacity),
        }
    }

    /// Changes what the records that follow consist of. The message in hand must have been finished.
    pub fn set_schema(&mut self, schema: &Arc<Schema>) {
        match &mut self.0 {
            Kind::Sets(sets) => sets.set_schema(Arc::clone(schema)),
            Kind::NetFlow5(fixed) => fixed.set_schema(schema),
        }
    }

    /// What a collector needs to know first.
    #[must_use]
    pub fn templates(&self) -> Arc<TemplateSet> {
        match &self.0 {
            Kind::Sets(sets) => sets.templates(),
            Kind::NetFlow5(_) => Arc::default(),
        }
    }

    /// Adds a record; of a biflow with that of its other direction, where the schema joins them.
    #[inline]
    pub fn push(&mut self, record: &FlowRecord, reverse: Option<&FlowRecord>, clock: Clock) -> Pushed {
        match &mut self.0 {
            Kind::Sets(sets) => sets.push(record, reverse, clock),
            Kind::NetFlow5(fixed) => fixed.push(record, clock),
        }
    }

    /// Adds a record that was received, or a biflow that was where the schema joins those, with all that it says beyond for which
    /// the format has words.
    fn push_received(
        &mut self,
        record: &FlowRecord,
        reverse: Option<&FlowRecord>,
        said: Said<'_>,
        clock: Clock,
    ) -> Pushed {
        match &mut self.0 {
            Kind::Sets(sets) => sets.push_received(record, reverse, said, clock),
            Kind::NetFlow5(fixed) => fixed.push(record, clock),
        }
    }

    /// Adds a record of either kind.
    pub fn push_any(
        &mut self,
        record: &FlowRecord,
        reverse: Option<&FlowRecord>,
        said: Option<Said<'_>>,
        clock: Clock,
    ) -> Pushed {
        match said {
            None => self.push(record, reverse, clock),
            Some(said) => self.push_received(record, reverse, said, clock),
        }
    }

    /// Adds an exporter's datagram as it came: a record that consists of a tail.
    pub fn push_datagram(&mut self, said: Said<'_>) -> Pushed {
        match &mut self.0 {
            Kind::Sets(sets) => sets.push_datagram(said),
            Kind::NetFlow5(_) => Pushed::Unsayable,
        }
    }

    /// Adds an options record, which is a Data Record too.
    pub fn push_options(&mut self, template: &OptionsTemplate, facts: &Facts<'_>) -> Pushed {
        match &mut self.0 {
            Kind::Sets(sets) => sets.push_options(template, facts),
            Kind::NetFlow5(_) => Pushed::Unsayable,
        }
    }

    /// Completes the message being built; `None` where nothing was added.
    pub fn finish(&mut self, clock: Clock) -> Option<Packed> {
        match &mut self.0 {
            Kind::Sets(sets) => sets.finish(clock),
            Kind::NetFlow5(fixed) => fixed.finish(clock),
        }
    }

    /// Has messages bring their flow records along, so that they can be packed anew.
    pub fn keep_source(&mut self) {
        self.parts().1.keeps_source = true;
    }

    /// Takes the buffers of a message that has left, to be filled again.
    pub fn recycle(&mut self, message: Packed) {
        let Packed { octets, mut source, .. } = message;
        let (spare, gathered) = self.parts();
        if spare.len() < MOST_SPARE {
            spare.push(octets);
        }
        if gathered.keeps_source && gathered.spare.len() < MOST_SPARE {
            source.clear();
            gathered.spare.push(source);
        }
    }

    fn parts(&mut self) -> (&mut Vec<Vec<u8>>, &mut Gathered) {
        match &mut self.0 {
            Kind::Sets(sets) => (&mut sets.spare, &mut sets.gathered),
            Kind::NetFlow5(fixed) => (&mut fixed.spare, &mut fixed.gathered),
        }
    }
}

/// The flow records of the message being built.
#[derive(Debug, Default)]
struct Gathered {
    weight: Lost,
    keeps_source: bool,
    source: Source,
    /// What earlier messages brought along, emptied.
    spare: Vec<Source>,
}

impl Gathered {
    #[inline]
    fn add(&mut self, record: &FlowRecord, reverse: Option<&FlowRecord>, said: Option<Said<'_>>) {
        self.weight += Lost::of_one(record, reverse);
        if self.keeps_source {
            self.source.add(record, reverse, said);
        }
    }

    fn take(&mut self) -> (Lost, Source) {
        let next = self.spare.pop().unwrap_or_default();
        (std::mem::take(&mut self.weight), std::mem::replace(&mut self.source, next))
    }
}

/// Buffers that are kept: as many as are sent at once.
const MOST_SPARE: usize = 64;

/// A buffer of `length` octets for a message, `header` of them zero.
fn buffer(spare: &mut Vec<Vec<u8>>, length: usize, header: usize) -> Vec<u8> {
    let mut buffer = spare.pop().unwrap_or_default();
    buffer.resize(length, 0);
    buffer[..header].fill(0);
    buffer
}

#[cfg(test)]
mod tests;
