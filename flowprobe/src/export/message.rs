//! Packs records into IPFIX messages (RFC 7011 section 3). Pure: it does no I/O, is handed the export time, and does not
//! allocate once its buffer has grown.

use super::elements::{Element, Family, Field};
use crate::record::FlowRecord;

/// IPFIX's version number.
const VERSION: u16 = 10;
/// Octets of the message header.
const MESSAGE_HEADER: usize = 16;
/// Octets of a set header.
const SET_HEADER: usize = 4;
/// Set ID of a Template Set.
const TEMPLATE_SET: u16 = 2;
/// Largest message that the 16-bit length field can name.
const LARGEST_MESSAGE: usize = 65_535;

/// Builds messages of one observation domain over one transport session.
#[derive(Debug)]
pub struct Encoder {
    observation_domain: u32,
    capacity: usize,
    /// Data Records in the messages that were finished: the next message's sequence number.
    sequence: u32,
    buffer: Vec<u8>,
    /// The Data Set being filled: its family and where its header lies.
    open_set: Option<(Family, usize)>,
    records: u32,
}

impl Encoder {
    /// An encoder whose messages have at most `capacity` octets, and room for the templates at least.
    #[must_use]
    pub fn new(observation_domain: u32, capacity: usize) -> Self {
        let mut encoder =
            Self { observation_domain, capacity, sequence: 0, buffer: Vec::new(), open_set: None, records: 0 };
        encoder.set_capacity(capacity);
        encoder
    }

    /// Changes how many octets a message may have, from the next record on.
    pub fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity.clamp(smallest_message(), LARGEST_MESSAGE);
    }

    /// Octets that a message may have.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Whether `record` still fits into the message being built. Into an empty one every record does.
    #[must_use]
    pub fn fits(&self, record: &FlowRecord) -> bool {
        let family = Family::of(record);
        let header = if self.is_open(family) { 0 } else { SET_HEADER };
        self.buffer.is_empty() || self.buffer.len() + header + record_length(family) <= self.capacity
    }

    /// Begins a message with a Template Set that describes the records of both families. The message in hand must have been
    /// finished.
    pub fn push_templates(&mut self) {
        self.begin();
        let start = self.buffer.len();
        self.put_u16(TEMPLATE_SET);
        self.put_u16(0);
        for family in [Family::V4, Family::V6] {
            self.put_u16(template_id(family));
            self.put_u16(length_u16(family.elements().len()));
            for Element { id, length, .. } in family.elements() {
                self.put_u16(*id);
                self.put_u16(*length);
            }
        }
        self.close_set(start);
    }

    /// Adds a Data Record.
    pub fn push(&mut self, record: &FlowRecord) {
        self.begin();
        let family = Family::of(record);
        if !self.is_open(family) {
            self.close_open_set();
            self.open_set = Some((family, self.buffer.len()));
            self.put_u16(template_id(family));
            self.put_u16(0);
        }
        for element in family.elements() {
            let value = (element.value)(record);
            self.put(value, usize::from(element.length));
        }
        self.records += 1;
    }

    /// Completes the message being built; `None` where nothing was added. `export_time` is in seconds since 1970 UTC. The
    /// octets are valid until the next call.
    pub fn finish(&mut self, export_time: u32) -> Option<Message> {
        if self.buffer.is_empty() {
            return None;
        }
        self.close_open_set();
        let length = length_u16(self.buffer.len());
        let mut header = [0; MESSAGE_HEADER];
        header[0..2].copy_from_slice(&VERSION.to_be_bytes());
        header[2..4].copy_from_slice(&length.to_be_bytes());
        header[4..8].copy_from_slice(&export_time.to_be_bytes());
        header[8..12].copy_from_slice(&self.sequence.to_be_bytes());
        header[12..16].copy_from_slice(&self.observation_domain.to_be_bytes());
        self.buffer[..MESSAGE_HEADER].copy_from_slice(&header);
        let records = std::mem::take(&mut self.records);
        self.sequence = self.sequence.wrapping_add(records);
        Some(Message { records })
    }

    /// The octets of the message that [`Encoder::finish`] completed.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.buffer
    }

    /// Makes room for the next message.
    pub fn clear(&mut self) {
        self.buffer.clear();
    }

    /// Takes back a finished message that was never sent, so that its records can be packed again.
    pub fn take_back(&mut self, message: Message) {
        self.sequence = self.sequence.wrapping_sub(message.records);
        self.buffer.clear();
    }

    fn begin(&mut self) {
        if self.buffer.is_empty() {
            self.buffer.resize(MESSAGE_HEADER, 0);
        }
    }

    fn is_open(&self, family: Family) -> bool {
        self.open_set.is_some_and(|(open, _)| open == family)
    }

    fn close_open_set(&mut self) {
        if let Some((_, start)) = self.open_set.take() {
            self.close_set(start);
        }
    }

    /// Writes the length into the header of the set that began at `start` and ends here.
    fn close_set(&mut self, start: usize) {
        let length = length_u16(self.buffer.len() - start);
        self.buffer[start + 2..start + 4].copy_from_slice(&length.to_be_bytes());
    }

    fn put_u16(&mut self, value: u16) {
        self.buffer.extend_from_slice(&value.to_be_bytes());
    }

    /// Writes a value in `length` octets.
    fn put(&mut self, value: Field, length: usize) {
        match value {
            Field::Unsigned(number) => self.buffer.extend_from_slice(&number.to_be_bytes()[8 - length..]),
            Field::V4(address) => self.buffer.extend_from_slice(&address.octets()),
            Field::V6(address) => self.buffer.extend_from_slice(&address.octets()),
            Field::Mac(address) => self.buffer.extend_from_slice(&address),
        }
    }
}

/// A finished message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Data Records in it.
    pub records: u32,
}

/// The Template ID of a family's records.
const fn template_id(family: Family) -> u16 {
    match family {
        Family::V4 => 256,
        Family::V6 => 257,
    }
}

/// Octets of a family's Data Record.
fn record_length(family: Family) -> usize {
    family.elements().iter().map(|element| usize::from(element.length)).sum()
}

/// Octets of a message that holds the templates, or the longest record.
fn smallest_message() -> usize {
    let templates: usize = [Family::V4, Family::V6].iter().map(|family| 4 + 4 * family.elements().len()).sum();
    MESSAGE_HEADER + SET_HEADER + templates.max(record_length(Family::V6))
}

/// A length that the encoder has kept below [`LARGEST_MESSAGE`].
fn length_u16(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests;
