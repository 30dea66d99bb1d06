//! Packs records into IPFIX messages (RFC 7011 section 3). Pure: it does no I/O, is handed the export time, and does not
//! allocate once its buffer has grown.

use std::sync::Arc;

use super::elements::{Element, Field, Layout, Schema};
use super::statistics::{Facts, OptionsTemplate, VARIABLE, Value, options};
use crate::record::FlowRecord;

/// IPFIX's version number.
const VERSION: u16 = 10;
/// Octets of the message header.
const MESSAGE_HEADER: usize = 16;
/// Octets of a set header.
const SET_HEADER: usize = 4;
/// Set ID of a Template Set.
const TEMPLATE_SET: u16 = 2;
/// Set ID of an Options Template Set.
const OPTIONS_TEMPLATE_SET: u16 = 3;
/// In a Field Specifier: an Enterprise Number follows.
const ENTERPRISE_BIT: u16 = 0x8000;
/// Largest message that the 16-bit length field can name.
const LARGEST_MESSAGE: usize = 65_535;

/// Builds messages of one observation domain over one transport session.
#[derive(Debug)]
pub struct Encoder {
    schema: Arc<Schema>,
    observation_domain: u32,
    capacity: usize,
    /// Data Records in the messages that were finished: the next message's sequence number.
    sequence: u32,
    buffer: Vec<u8>,
    /// The Data Set being filled: its Template ID and where its header lies.
    open_set: Option<(u16, usize)>,
    records: u32,
}

impl Encoder {
    /// An encoder of records of `schema` whose messages have at most `capacity` octets, and room for a template or a record at
    /// least.
    #[must_use]
    pub fn new(schema: Arc<Schema>, observation_domain: u32, capacity: usize) -> Self {
        let (buffer, open_set) = (Vec::new(), None);
        let mut encoder = Self { schema, observation_domain, capacity, sequence: 0, buffer, open_set, records: 0 };
        encoder.set_capacity(capacity);
        encoder
    }

    /// Changes how many octets a message may have, from the next record on.
    pub fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity.clamp(smallest_message(&self.schema), LARGEST_MESSAGE);
    }

    /// The schema of the records that follow.
    #[must_use]
    pub const fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Changes what the records that follow consist of. The message in hand must have been finished, and the templates of the
    /// new schema go first.
    pub fn set_schema(&mut self, schema: Arc<Schema>) {
        self.schema = schema;
        self.set_capacity(self.capacity);
    }

    /// Octets that a message may have.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Whether `record` still fits into the message being built. Into an empty one every record does.
    #[must_use]
    pub fn fits(&self, record: &FlowRecord) -> bool {
        let layout = self.schema.layout(record);
        self.has_room(layout.template_id, layout.record_length)
    }

    /// The same for an options record.
    #[must_use]
    pub fn fits_options(&self, template: &OptionsTemplate, facts: &Facts<'_>) -> bool {
        self.has_room(template.template_id, template.record_length(facts))
    }

    fn has_room(&self, template_id: u16, length: usize) -> bool {
        let header = if self.is_open(template_id) { 0 } else { SET_HEADER };
        self.buffer.is_empty() || self.buffer.len() + header + length <= self.capacity
    }

    /// Number of templates: one for each layout, and those of options together as one.
    #[must_use]
    pub fn templates(&self) -> usize {
        self.schema.layouts().len() + 1
    }

    /// Adds a Template Set of the templates from number `from` on, as many as there is room for, and one at least, and an
    /// Options Template Set. The message in hand must have been finished. Returns the number of the first one that found no
    /// room, or [`Encoder::templates`].
    pub fn push_templates(&mut self, from: usize) -> usize {
        self.begin();
        let schema = Arc::clone(&self.schema);
        let (start, layouts) = (self.buffer.len(), schema.layouts());
        let mut next = from;
        for layout in layouts.iter().skip(from) {
            if next == from {
                self.put_u16(TEMPLATE_SET);
                self.put_u16(0);
            } else if self.buffer.len() + template_length(layout) > self.capacity {
                break;
            }
            self.put_template(layout);
            next += 1;
        }
        if next > from {
            self.close_set(start);
        }
        if next == layouts.len() && (next == from || self.buffer.len() + options_templates_length() <= self.capacity) {
            self.put_options_templates();
            next += 1;
        }
        next
    }

    fn put_options_templates(&mut self) {
        let start = self.buffer.len();
        self.put_u16(OPTIONS_TEMPLATE_SET);
        self.put_u16(0);
        for template in options() {
            self.put_u16(template.template_id);
            self.put_u16(length_u16(template.elements.len()));
            self.put_u16(template.scope);
            for element in template.elements {
                self.put_u16(element.id);
                self.put_u16(element.length);
            }
        }
        self.close_set(start);
    }

    /// Adds a Data Record.
    pub fn push(&mut self, record: &FlowRecord) {
        self.begin();
        let schema = Arc::clone(&self.schema);
        let layout = schema.layout(record);
        self.open(layout.template_id);
        for element in &layout.elements {
            let value = (element.value)(record);
            self.put(value, usize::from(element.length));
        }
        self.records += 1;
    }

    /// Adds an options record, which is a Data Record too.
    pub fn push_options(&mut self, template: &OptionsTemplate, facts: &Facts<'_>) {
        self.begin();
        self.open(template.template_id);
        for element in template.elements {
            match (element.value)(facts) {
                Value::Unsigned(number) => self.put(Field::Unsigned(number), usize::from(element.length)),
                Value::Text(text) => {
                    debug_assert_eq!(element.length, VARIABLE, "only texts have a length of their own");
                    // Short texts only: three octets of length would be needed from 255 on.
                    self.buffer.push(u8::try_from(text.len()).unwrap_or(0));
                    self.buffer.extend_from_slice(text.as_bytes());
                }
            }
        }
        self.records += 1;
    }

    /// Begins a Data Set, unless it is open.
    fn open(&mut self, template_id: u16) {
        if !self.is_open(template_id) {
            self.close_open_set();
            self.open_set = Some((template_id, self.buffer.len()));
            self.put_u16(template_id);
            self.put_u16(0);
        }
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

    fn put_template(&mut self, layout: &Layout) {
        self.put_u16(layout.template_id);
        self.put_u16(length_u16(layout.elements.len()));
        for Element { enterprise, id, length, .. } in &layout.elements {
            let is_enterprise = if *enterprise == 0 { 0 } else { ENTERPRISE_BIT };
            self.put_u16(*id | is_enterprise);
            self.put_u16(*length);
            if *enterprise != 0 {
                self.buffer.extend_from_slice(&enterprise.to_be_bytes());
            }
        }
    }

    fn begin(&mut self) {
        if self.buffer.is_empty() {
            self.buffer.resize(MESSAGE_HEADER, 0);
        }
    }

    fn is_open(&self, template_id: u16) -> bool {
        self.open_set.is_some_and(|(open, _)| open == template_id)
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
            Field::Float(number) => self.buffer.extend_from_slice(&number.to_be_bytes()),
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

/// Octets of a Template Record.
fn template_length(layout: &Layout) -> usize {
    let fields = layout.elements.iter().map(|element| if element.enterprise == 0 { 4 } else { 8 });
    4 + fields.sum::<usize>()
}

/// Octets of the Options Template Set.
fn options_templates_length() -> usize {
    SET_HEADER + options().map(OptionsTemplate::template_length).sum::<usize>()
}

/// Octets of a message that holds the longest template, or the longest record.
fn smallest_message(schema: &Schema) -> usize {
    let of_flows = schema.layouts().iter().map(|layout| template_length(layout).max(layout.record_length));
    let of_options = options().map(OptionsTemplate::longest_record);
    let longest = of_flows.chain(of_options).max();
    MESSAGE_HEADER + (SET_HEADER + longest.unwrap_or(0)).max(options_templates_length())
}

/// A length that the encoder has kept below [`LARGEST_MESSAGE`].
fn length_u16(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests;
