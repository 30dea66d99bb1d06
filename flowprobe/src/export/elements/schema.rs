//! The layouts of records: which elements, in which order, by what the record is about.

use std::num::NonZeroU32;

use super::places::Places;
use super::{ELEMENTS, Element, Fields, Group};
use crate::export::Format;
use crate::record::{FlowRecord, Role, SamplingRate};

/// IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if *self == Self::V4 { "IPv4" } else { "IPv6" })
    }
}

impl Family {
    const fn of(ip_version: u8) -> Self {
        if ip_version == 6 { Self::V6 } else { Self::V4 }
    }
}

/// What determines the elements of a record, and with them its template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// IP version of the flow.
    pub family: Family,
    /// IP version of the tunnel around it.
    pub outer: Option<Family>,
    /// Whether it is a biflow (RFC 5103).
    pub biflow: bool,
}

impl Shape {
    /// The shape of a record.
    #[must_use]
    pub fn of(record: &FlowRecord) -> Self {
        let outer = if record.tunnel.is_some() { Some(Family::of(record.tunnel.ip_version)) } else { None };
        Self { family: Family::of(record.key.ip_version), outer, biflow: record.role == Role::Forward }
    }

    /// Every shape that there is, in the order of their Template IDs.
    fn all() -> impl Iterator<Item = Self> {
        let outers = [None, Some(Family::V4), Some(Family::V6)];
        [false, true].into_iter().flat_map(move |biflow| {
            outers.into_iter().flat_map(move |outer| {
                [Family::V4, Family::V6].into_iter().map(move |family| Self { family, outer, biflow })
            })
        })
    }

    /// Position in [`Shape::all`].
    const fn position(self) -> usize {
        let outer = match self.outer {
            None => 0,
            Some(Family::V4) => 2,
            Some(Family::V6) => 4,
        };
        self.family as usize + outer + if self.biflow { 6 } else { 0 }
    }
}

/// Number of shapes.
const SHAPES: usize = 12;

/// Template IDs of a schema's layouts begin here …
const FIRST_TEMPLATE: u16 = 256;
/// … and those of a schema that follows such a one, in the same session, here.
const SECOND_TEMPLATE: u16 = 512;
/// The same of received records, behind those of options.
const FIRST_RECEIVED: u16 = 1024;
const SECOND_RECEIVED: u16 = FIRST_RECEIVED + RECEIVED_TURNS * MOST_RECEIVED;

/// Templates of received records at once.
pub(in crate::export) const MOST_RECEIVED: u16 = 2048;

/// How often so many others take their place before a Template ID comes again.
pub(in crate::export) const RECEIVED_TURNS: u16 = 3;

/// What records say beyond what every record says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// Tunnels are opened.
    pub tunnels: bool,
    /// Next hops are looked up.
    pub next_hops: bool,
    /// Autonomous systems are looked up.
    pub as_numbers: bool,
    /// How packets are chosen.
    pub sampling: SamplingRate,
    /// Both directions of a conversation are one record.
    pub biflow: bool,
}

/// The elements of all records of one run of the daemon, or of the time between two changes of its configuration.
#[derive(Debug)]
pub struct Schema {
    extras: Extras,
    /// Template ID of the first layout.
    first_template: u16,
    /// Of the shapes that there may be.
    layouts: Vec<Layout>,
    /// By [`Shape::position`]: which of them.
    by_shape: [u8; SHAPES],
    /// Of records that were received, which say what is not asked of our own: by IP version, and then those of biflows, where
    /// the schema joins them. Behind each stands what the exporter has said beyond, in templates that come about as they are needed.
    received: Vec<Layout>,
}

/// Of records that say nothing more.
impl Default for Schema {
    fn default() -> Self {
        Self::new(Extras::default())
    }
}

/// An element in a template, and its length there.
#[derive(Clone, Copy)]
pub struct FieldSpecifier {
    /// The element.
    pub element: &'static Element,
    /// Octets on the wire.
    pub length: u16,
}

/// The elements of the records of one shape.
pub struct Layout {
    /// The shape.
    pub shape: Shape,
    /// Template ID of its records.
    pub template_id: u16,
    /// In the order of the template.
    pub fields: Vec<FieldSpecifier>,
    /// Octets of a Data Record.
    pub record_length: usize,
    places: Places,
}

impl std::fmt::Debug for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.elements().map(|element| element.name).collect();
        f.debug_struct("Layout").field("shape", &self.shape).field("elements", &names).finish_non_exhaustive()
    }
}

impl Layout {
    fn new(shape: Shape, template_id: u16, fields: &[(usize, u16)]) -> Self {
        let specifiers =
            fields.iter().map(|&(position, length)| FieldSpecifier { element: &ELEMENTS[position], length });
        let specifiers: Vec<FieldSpecifier> = specifiers.collect();
        Self {
            shape,
            template_id,
            record_length: fields.iter().map(|(_, length)| usize::from(*length)).sum(),
            places: Places::of(fields),
            fields: specifiers,
        }
    }

    /// Its elements, in the order of the template.
    pub fn elements(&self) -> impl Iterator<Item = &'static Element> {
        self.fields.iter().map(|field| field.element)
    }

    /// Writes the Data Record of a flow, or of a biflow with the record of its other direction, to the beginning of `out`, of
    /// which it takes [`Layout::record_length`] octets.
    #[inline]
    pub fn write(&self, record: &FlowRecord, reverse: Option<&FlowRecord>, out: &mut [u8]) {
        self.places.fill(record, reverse, &mut out[..self.record_length]);
    }
}

impl Schema {
    /// The schema of records that say this much: what the outputs have, and collectors of IPFIX that want nothing else.
    #[must_use]
    pub fn new(extras: Extras) -> Self {
        Self::numbered(Format::Ipfix, extras, &Fields::default(), FIRST_TEMPLATE)
    }

    /// The schema of a collector that gets these fields in this format.
    #[must_use]
    pub fn of(format: Format, extras: Extras, fields: &Fields) -> Self {
        Self::numbered(format, extras, fields, FIRST_TEMPLATE)
    }

    /// The schema that takes the place of this one in a session. Its Template IDs are others, so that no collector reads a
    /// record by the template of another schema. Two ranges take turns: over UDP a template is not withdrawn, and when its ID
    /// comes again, with the schema after next, the new template replaces the old one (RFC 7011 sections 8.1 and 8.4).
    #[must_use]
    pub fn followed_by(&self, format: Format, extras: Extras, fields: &Fields) -> Self {
        let first = if self.first_template == FIRST_TEMPLATE { SECOND_TEMPLATE } else { FIRST_TEMPLATE };
        Self::numbered(format, extras, fields, first)
    }

    fn numbered(format: Format, extras: Extras, fields: &Fields, first_template: u16) -> Self {
        let tunnels = extras.tunnels && format == Format::Ipfix;
        let biflow = extras.biflow && format == Format::Ipfix && fields.speak_of_answers();
        let received = received(format, fields);
        let mut schema = Self { extras, first_template, layouts: Vec::new(), by_shape: [0; SHAPES], received };
        let mut template_id = first_template;
        for shape in Shape::all() {
            if (shape.outer.is_some() && !tunnels) || (shape.biflow && !biflow) {
                // What such a record says, as far as this schema knows of it.
                let known = Shape { outer: shape.outer.filter(|_| tunnels), biflow: shape.biflow && biflow, ..shape };
                schema.by_shape[shape.position()] = schema.by_shape[known.position()];
                continue;
            }
            let chosen = fields.of(shape.family, format).filter(|(position, _)| {
                let Element { group, .. } = ELEMENTS[*position];
                belongs(group, shape, extras)
            });
            let chosen: Vec<(usize, u16)> = chosen.collect();
            schema.by_shape[shape.position()] = u8::try_from(schema.layouts.len()).unwrap_or(0);
            schema.layouts.push(Layout::new(shape, template_id, &chosen));
            template_id += 1;
        }
        schema
    }

    /// What its records say beyond what every record says.
    #[must_use]
    pub const fn extras(&self) -> Extras {
        self.extras
    }

    /// Whether a biflow is one record; else its directions are records of their own.
    #[must_use]
    pub fn joins_biflows(&self) -> bool {
        self.layouts.last().is_some_and(|layout| layout.shape.biflow)
    }

    /// What a record consists of. One out of a tunnel has the layout of one that is not, where no tunnel was to be opened.
    #[must_use]
    pub fn layout(&self, record: &FlowRecord) -> &Layout {
        &self.layouts[self.position(record)]
    }

    /// Which of [`Schema::layouts`] that is.
    #[must_use]
    pub fn position(&self, record: &FlowRecord) -> usize {
        usize::from(self.by_shape[Shape::of(record).position()])
    }

    /// What a record that was received consists of, but for its tail.
    #[must_use]
    pub fn layout_of_received(&self, record: &FlowRecord) -> &Layout {
        &self.received[self.position_of_received(record)]
    }

    /// Which of [`Schema::layouts_of_received`] that is.
    #[must_use]
    pub fn position_of_received(&self, record: &FlowRecord) -> usize {
        let biflow = if record.role == Role::Forward && self.joins_received_biflows() { 2 } else { 0 };
        Family::of(record.key.ip_version) as usize + biflow
    }

    /// Where the Template IDs of received records begin that have this turn. Like the others they take turns when a schema follows
    /// another, and besides where all of them begin anew.
    #[must_use]
    pub const fn first_received_template(&self, turn: u16) -> u16 {
        let first = if self.first_template == FIRST_TEMPLATE { FIRST_RECEIVED } else { SECOND_RECEIVED };
        first + turn % RECEIVED_TURNS * MOST_RECEIVED
    }

    /// Whether a biflow that was received is one record.
    #[must_use]
    pub fn joins_received_biflows(&self) -> bool {
        self.received.len() > 2
    }

    /// The layouts of received records, which have no Template IDs of their own.
    #[must_use]
    pub fn layouts_of_received(&self) -> &[Layout] {
        &self.received
    }

    /// All layouts, in the order of their Template IDs.
    #[must_use]
    pub fn layouts(&self) -> &[Layout] {
        &self.layouts
    }
}

/// The layouts of records that were received.
fn received(format: Format, fields: &Fields) -> Vec<Layout> {
    let biflow = format == Format::Ipfix && fields.speak_of_answers();
    let shapes = Shape::all().filter(|shape| shape.outer.is_none() && (biflow || !shape.biflow));
    let one_in_two = NonZeroU32::MIN.saturating_add(1);
    let said = |group: Group, shape| match group {
        // Not how packets were chosen, which few exporters say.
        Group::SampledPackets | Group::SampledFlows => false,
        group => belongs(
            group,
            shape,
            Extras {
                next_hops: true,
                as_numbers: true,
                sampling: SamplingRate::Packets(one_in_two),
                ..Extras::default()
            },
        ),
    };
    let layout = |shape: Shape| {
        let chosen = fields.of(shape.family, format).filter(|(position, _)| said(ELEMENTS[*position].group, shape));
        Layout::new(shape, 0, &chosen.collect::<Vec<_>>())
    };
    shapes.map(layout).collect()
}

fn belongs(group: Group, shape: Shape, extras: Extras) -> bool {
    let (v4, v6) = (shape.family == Family::V4, shape.family == Family::V6);
    match group {
        Group::Always => true,
        Group::V4 => v4,
        Group::V6 => v6,
        Group::Tunnel => shape.outer.is_some(),
        Group::OuterV4 => shape.outer == Some(Family::V4),
        Group::OuterV6 => shape.outer == Some(Family::V6),
        Group::NextHop => extras.next_hops,
        Group::AsNumber => extras.as_numbers,
        Group::Sampled => extras.sampling != SamplingRate::All,
        Group::SampledPackets => matches!(extras.sampling, SamplingRate::Packets(_)),
        Group::SampledFlows => matches!(extras.sampling, SamplingRate::Flows(_)),
        Group::Biflow | Group::Reverse => shape.biflow,
        Group::ReverseV4 => shape.biflow && v4,
        Group::ReverseV6 => shape.biflow && v6,
    }
}
