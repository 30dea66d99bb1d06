//! Messages of sets: IPFIX (RFC 7011 section 3) and NetFlow v9 (RFC 3954 section 5), which differ in the header, in padding and
//! in how they tell the time.

use std::sync::Arc;

use super::super::Format;
use super::super::elements::Schema;
use super::super::options::{self, Facts, OptionsTemplate, VARIABLE, Value};
use super::super::packed::{Packed, TemplateSet};
use super::received::ReceivedTemplates;
use super::templates::{self, SET_HEADER, length_u16};
use super::uptime::{Clock, Uptime};
use super::{Gathered, Pushed, buffer};
use crate::collect::Said;
use crate::losses::Lost;
use crate::record::FlowRecord;

/// Largest message that a 16-bit length field can name.
const LARGEST_MESSAGE: usize = 65_535;

/// Builds messages of one observation domain.
pub(super) struct Sets {
    format: Format,
    schema: Arc<Schema>,
    domain: u32,
    /// As it was asked for.
    wanted: usize,
    capacity: usize,
    templates: Arc<TemplateSet>,
    /// As long as a message may be; what is written ends at `at`. Empty between messages.
    message: Vec<u8>,
    at: usize,
    /// The Data Set being filled.
    open_set: Option<DataSet>,
    records: u32,
    pub(super) gathered: Gathered,
    uptime: Uptime,
    /// Of each layout: where uptimes lie in its records.
    uptimes: Vec<Vec<usize>>,
    /// The templates of records that were received.
    received: ReceivedTemplates,
    pub(super) spare: Vec<Vec<u8>>,
}

/// A Data Set that is being filled.
#[derive(Clone, Copy)]
struct DataSet {
    template_id: u16,
    /// Where its header lies.
    start: usize,
    /// Octets of its first record: in NetFlow v9 of all.
    record: usize,
}

impl std::fmt::Debug for Sets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sets").field("format", &self.format).field("domain", &self.domain).finish_non_exhaustive()
    }
}

impl Sets {
    pub(super) fn new(format: Format, schema: Arc<Schema>, domain: u32, capacity: usize) -> Self {
        let mut sets = Self {
            format,
            schema,
            domain,
            wanted: capacity,
            capacity: 0,
            templates: Arc::default(),
            message: Vec::new(),
            at: 0,
            open_set: None,
            records: 0,
            gathered: Gathered::default(),
            uptime: Uptime::default(),
            uptimes: Vec::new(),
            received: ReceivedTemplates::default(),
            spare: Vec::new(),
        };
        sets.prepare();
        sets
    }

    pub(super) fn set_capacity(&mut self, capacity: usize) {
        if capacity != self.wanted {
            self.wanted = capacity;
            self.spare.clear();
            self.prepare();
        }
    }

    pub(super) fn set_schema(&mut self, schema: Arc<Schema>) {
        self.schema = schema;
        self.received.begin_anew();
        self.prepare();
    }

    /// Works out what depends on schema and capacity.
    fn prepare(&mut self) {
        debug_assert!(self.message.is_empty(), "the message in hand was finished");
        let longest = self.schema.layouts().iter().map(|layout| layout.record_length).max().unwrap_or(0);
        let record = self.format.header() + SET_HEADER + longest + self.padding();
        let least = templates::longest(self.format, &self.schema).max(record).max(self.longest_options());
        self.capacity = self.wanted.clamp(least, LARGEST_MESSAGE);
        let mut templates = templates::templates(self.format, &self.schema, self.capacity);
        templates.messages.extend(self.received.messages(self.capacity));
        if *self.templates != templates {
            self.templates = Arc::new(templates);
        }
        self.uptimes = self.schema.layouts().iter().map(|layout| uptimes(self.format, &layout.fields)).collect();
    }

    fn longest_options(&self) -> usize {
        let longest = options::templates(self.format, &self.schema).map(OptionsTemplate::longest_record);
        self.format.header() + SET_HEADER + longest.max().unwrap_or(0) + self.padding()
    }

    /// Octets by which the sets of a message may come to be longer than what is in them: two are padded when a set follows
    /// another and is the last one.
    const fn padding(&self) -> usize {
        match self.format {
            Format::NetFlow9 => 6,
            _ => 0,
        }
    }

    pub(super) fn templates(&self) -> Arc<TemplateSet> {
        Arc::clone(&self.templates)
    }

    #[inline]
    pub(super) fn push(&mut self, record: &FlowRecord, reverse: Option<&FlowRecord>, clock: Clock) -> Pushed {
        let position = self.schema.position(record);
        let layout = &self.schema.layouts()[position];
        let (template_id, length) = (layout.template_id, layout.record_length);
        if self.format == Format::NetFlow9 && !self.tell_time(record, clock) {
            return Pushed::NoRoom;
        }
        if !self.open(template_id, length) {
            return Pushed::NoRoom;
        }
        let start = self.at;
        let Self { schema, message, .. } = self;
        schema.layouts()[position].write(record, reverse, &mut message[start..]);
        self.at = start + length;
        if self.format == Format::NetFlow9 {
            self.uptime.count_from_boot(&self.uptimes[position], &mut self.message[start..]);
        }
        self.records += 1;
        self.gathered.add(record, reverse, None);
        Pushed::Taken
    }

    /// Adds a record that was received. One that no message has room for, or whose template none has, cannot be said.
    pub(super) fn push_received(
        &mut self,
        record: &FlowRecord,
        reverse: Option<&FlowRecord>,
        said: Said<'_>,
        clock: Clock,
    ) -> Pushed {
        let position = self.schema.position_of_received(record);
        let own = self.schema.layouts_of_received()[position].record_length;
        if !self.has_room_for_template(Some(position), said) {
            return Pushed::NoRoom;
        }
        let Some((number, tail)) = self.known(Some(position), own, said) else { return Pushed::Unsayable };
        if self.format == Format::NetFlow9 && !self.tell_time(record, clock) {
            return Pushed::NoRoom;
        }
        if !self.open(self.received.get(number).id, own + tail.len()) {
            return Pushed::NoRoom;
        }
        let start = self.at;
        let Self { schema, message, .. } = self;
        schema.layouts_of_received()[position].write(record, reverse, &mut message[start..]);
        self.at = start + own;
        self.write(tail);
        let Self { received, uptime, message, .. } = self;
        uptime.count_from_boot(&received.get(number).uptimes, &mut message[start..]);
        self.records += 1;
        self.gathered.add(record, reverse, Some(said));
        Pushed::Taken
    }

    /// Adds a record that consists of a tail. NetFlow v9 would have it without its octets.
    pub(super) fn push_datagram(&mut self, said: Said<'_>) -> Pushed {
        if self.format != Format::Ipfix {
            return Pushed::Unsayable;
        }
        if !self.has_room_for_template(None, said) {
            return Pushed::NoRoom;
        }
        let Some((number, tail)) = self.known(None, 0, said) else { return Pushed::Unsayable };
        if !self.open(self.received.get(number).id, tail.len()) {
            return Pushed::NoRoom;
        }
        self.write(tail);
        self.records += 1;
        self.gathered.weight += Lost { records: 1, ..Lost::default() };
        Pushed::Taken
    }

    /// Whether there may be the template of a layout with a tail beside those that there are. Where those are too many, they begin
    /// anew; but not while a message needs them that is being built.
    #[inline]
    fn has_room_for_template(&mut self, position: Option<usize>, (received, _): Said<'_>) -> bool {
        if !self.received.are_too_many_for(position, &received.tail) {
            return true;
        }
        if self.records > 0 {
            return false;
        }
        self.received.begin_anew();
        self.templates = Arc::new(templates::templates(self.format, &self.schema, self.capacity));
        true
    }

    /// The number of the template of a layout, whose records have `own` octets, with a tail, and those octets of the tail that the
    /// format has words for; nothing where no message has room for such a record, or for its template.
    fn known<'a>(&mut self, position: Option<usize>, own: usize, said: Said<'a>) -> Option<(usize, &'a [u8])> {
        let (received, octets) = said;
        let (number, is_new) = self.received.number_of(self.format, &self.schema, position, &received.tail);
        let template = self.received.get(number?);
        let template_fits = template.message.len() <= self.capacity;
        if is_new && template_fits {
            let mut templates = TemplateSet::clone(&self.templates);
            templates.messages.push(Arc::clone(&template.message));
            self.templates = Arc::new(templates);
        }
        let tail = &octets[..octets.len().min(template.tail_octets)];
        let least = self.format.header() + SET_HEADER + own + tail.len() + self.padding();
        (template_fits && least <= self.capacity).then_some((number?, tail))
    }

    /// Whether the message being built, or a new one, can say when the flow was.
    fn tell_time(&mut self, record: &FlowRecord, clock: Clock) -> bool {
        let (start_ms, end_ms) = (record.start_us / 1000, record.end_us / 1000);
        if self.message.is_empty() {
            self.uptime = Uptime::begin(clock, start_ms);
        } else if !self.uptime.holds(start_ms, end_ms) {
            return false;
        }
        self.uptime.note(end_ms);
        true
    }

    pub(super) fn push_options(&mut self, template: &OptionsTemplate, facts: &Facts<'_>) -> Pushed {
        if !self.open(template.template_id, template.record_length(facts)) {
            return Pushed::NoRoom;
        }
        for element in template.elements {
            match (element.value)(facts) {
                Value::Unsigned(number) => self.write(&number.to_be_bytes()[8 - usize::from(element.length)..]),
                Value::Float(number) => self.write(&number.to_be_bytes()),
                Value::Text(text) if element.length == VARIABLE => {
                    // Short texts only: three octets of length would be needed from 255 on.
                    self.write(&[u8::try_from(text.len()).unwrap_or(0)]);
                    self.write(text.as_bytes());
                }
                Value::Text(text) => {
                    let length = usize::from(element.length);
                    let cut = options::end_within(text, length).as_bytes();
                    self.write(cut);
                    self.write(&[0; 256][..length - cut.len()]);
                }
            }
        }
        self.records += 1;
        Pushed::Taken
    }

    fn write(&mut self, octets: &[u8]) {
        self.message[self.at..self.at + octets.len()].copy_from_slice(octets);
        self.at += octets.len();
    }

    /// Opens a Data Set of `template_id`, unless it is open, for a record of `length` octets. Whether there is room for it.
    #[inline]
    fn open(&mut self, template_id: u16, length: usize) -> bool {
        if self.message.is_empty() {
            self.message = buffer(&mut self.spare, self.capacity, self.format.header());
            self.at = self.format.header();
        }
        let is_open = self.open_set.is_some_and(|open| open.template_id == template_id);
        let header = if is_open { 0 } else { SET_HEADER };
        if self.at + header + length + self.padding() > self.capacity {
            return false;
        }
        if !is_open {
            self.close_open_set();
            self.open_set = Some(DataSet { template_id, start: self.at, record: length });
            self.write(&template_id.to_be_bytes());
            self.write(&[0; 2]);
        }
        true
    }

    /// Writes the length into the header of the set that ends here.
    fn close_open_set(&mut self) {
        if let Some(DataSet { start, record, .. }) = self.open_set.take() {
            let padding = self.at.next_multiple_of(4) - self.at;
            // As much as a record would be read as one.
            if self.format == Format::NetFlow9 && padding < record {
                self.write(&[0; 4][..padding]);
            }
            let length = length_u16(self.at - start);
            self.message[start + 2..start + 4].copy_from_slice(&length.to_be_bytes());
        }
    }

    pub(super) fn finish(&mut self, clock: Clock) -> Option<Packed> {
        if self.records == 0 {
            return None;
        }
        self.close_open_set();
        let mut octets = std::mem::take(&mut self.message);
        octets.truncate(self.at);
        let records = std::mem::take(&mut self.records);
        match self.format {
            Format::NetFlow9 => {
                if self.gathered.weight == Lost::default() {
                    // Of options records only: no flow has set the time.
                    self.uptime = Uptime::begin(clock, clock.now_ms);
                }
                let (wall_ms, uptime) = self.uptime.header(clock, 1000);
                octets[0..2].copy_from_slice(&9_u16.to_be_bytes());
                octets[2..4].copy_from_slice(&length_u16(records as usize).to_be_bytes());
                octets[4..8].copy_from_slice(&uptime.to_be_bytes());
                let seconds = u32::try_from(wall_ms / 1000).unwrap_or(u32::MAX);
                octets[8..12].copy_from_slice(&seconds.to_be_bytes());
                octets[16..20].copy_from_slice(&self.domain.to_be_bytes());
            }
            _ => {
                octets[0..2].copy_from_slice(&10_u16.to_be_bytes());
                let length = length_u16(octets.len());
                octets[2..4].copy_from_slice(&length.to_be_bytes());
                octets[4..8].copy_from_slice(&clock.now_s().to_be_bytes());
                octets[12..16].copy_from_slice(&self.domain.to_be_bytes());
            }
        }
        let (weight, source) = self.gathered.take();
        Some(Packed { octets, records, weight, templates: self.templates(), source })
    }
}

/// Where uptimes lie in a record of these fields.
pub(super) fn uptimes(format: Format, fields: &[super::super::elements::FieldSpecifier]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = 0;
    for field in fields {
        if format == Format::NetFlow9 && field.element.is_uptime() {
            found.push(at);
        }
        at += usize::from(field.length);
    }
    found
}
