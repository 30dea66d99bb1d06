//! Finished messages, on their way from an encoder to a collector.

use std::sync::Arc;

use crate::collect::{Beyond, Said};
use crate::losses::Lost;
use crate::record::{FlowRecord, numbered_conversations};

/// The templates that messages with data need: whole messages, headers included. None for NetFlow v5.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TemplateSet {
    /// In the order in which they are sent. Sets that have grown out of one another share them.
    pub messages: Vec<Arc<[u8]>>,
}

/// A finished message with Data Records. Sequence number and export time are written when it is sent.
#[derive(Clone, Debug)]
pub struct Packed {
    /// The whole message, its header included.
    pub octets: Vec<u8>,
    /// Data Records in it, those of options included: what the sequence number counts.
    pub records: u32,
    /// The flow records in it, and what they count: what is lost with it.
    pub weight: Lost,
    /// What a collector needs to have had before.
    pub templates: Arc<TemplateSet>,
    /// The flow records once more, where the path may turn out to be too narrow for the message.
    pub source: Source,
}

/// The flow records of a message.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The records.
    pub records: Vec<FlowRecord>,
    /// What those that were received say beyond.
    pub beyond: Beyond,
}

impl Source {
    /// Adds a record, or a biflow.
    pub fn add(&mut self, record: &FlowRecord, reverse: Option<&FlowRecord>, said: Option<Said<'_>>) {
        if let Some(said) = said {
            self.beyond.set(self.records.len(), said);
        }
        self.records.push(*record);
        self.records.extend(reverse.copied());
    }

    /// Empties it, and keeps its memory.
    pub fn clear(&mut self) {
        self.records.clear();
        self.beyond.clear();
    }

    /// Each conversation, as [`crate::sink::RecordBatch::conversations`] gives them.
    pub fn conversations(&self) -> impl Iterator<Item = (&FlowRecord, Option<&FlowRecord>, Option<Said<'_>>)> {
        let said = |index| self.beyond.get(index);
        numbered_conversations(&self.records).map(move |(index, record, reverse)| (record, reverse, said(index)))
    }
}
