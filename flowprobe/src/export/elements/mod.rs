//! Which elements a record consists of. Templates, data records, JSON objects, CSV columns and `docs/elements.md` are made
//! from one table ([`table::ELEMENTS`]), and so agree.

mod table;

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::record::{FlowRecord, SamplingRate};
pub use table::ELEMENTS;

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Field {
    /// IPFIX unsigned8 to unsigned64, dateTimeMilliseconds; also an octetArray of fixed length that holds a number.
    Unsigned(u64),
    /// IPFIX float64.
    Float(f64),
    /// IPFIX ipv4Address.
    V4(Ipv4Addr),
    /// IPFIX ipv6Address.
    V6(Ipv6Addr),
    /// IPFIX macAddress.
    Mac([u8; 6]),
}

/// One row: an element, when it is in a record, and where its value comes from.
#[derive(Clone, Copy)]
pub struct Element {
    /// Name in JSON and CSV: the registry's, but for the addresses of tunnels, which are in a record twice.
    pub name: &'static str,
    /// Whose element it is: 0 for the IANA registry "IPFIX Information Elements", else a Private Enterprise Number.
    pub enterprise: u32,
    /// ElementID in the registry.
    pub id: u16,
    /// Octets on the wire; fewer than the registry's type has is RFC 7011's reduced-size encoding (section 6.2).
    pub length: u16,
    /// In which records the element is.
    pub group: Group,
    /// What it says, for the documentation.
    pub about: &'static str,
    /// The value.
    pub value: fn(&FlowRecord) -> Field,
    /// Whether the element says something about the record. In an IPFIX record it is then 0, in a JSON object left out.
    pub applies: fn(&FlowRecord) -> bool,
}

/// In which records an element is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// In all.
    Always,
    /// In those of IPv4 flows.
    V4,
    /// In those of IPv6 flows.
    V6,
    /// In those of flows out of tunnels.
    Tunnel,
    /// In those of flows out of tunnels over IPv4.
    OuterV4,
    /// In those of flows out of tunnels over IPv6.
    OuterV6,
    /// In all where next hops are looked up.
    NextHop,
    /// In all where there is sampling.
    Sampled,
    /// In all where packets are sampled.
    SampledPackets,
    /// In all where flows are sampled.
    SampledFlows,
}

/// IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
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
}

impl Shape {
    /// The shape of a record.
    #[must_use]
    pub const fn of(record: &FlowRecord) -> Self {
        let outer = if record.tunnel.is_some() { Some(Family::of(record.tunnel.ip_version)) } else { None };
        Self { family: Family::of(record.key.ip_version), outer }
    }

    /// Every shape that there is, in the order of their Template IDs.
    const ALL: [Self; 6] = [
        Self { family: Family::V4, outer: None },
        Self { family: Family::V6, outer: None },
        Self { family: Family::V4, outer: Some(Family::V4) },
        Self { family: Family::V4, outer: Some(Family::V6) },
        Self { family: Family::V6, outer: Some(Family::V4) },
        Self { family: Family::V6, outer: Some(Family::V6) },
    ];

    /// Position in [`Shape::ALL`].
    const fn position(self) -> usize {
        match (self.outer, self.family) {
            (None, Family::V4) => 0,
            (None, Family::V6) => 1,
            (Some(Family::V4), Family::V4) => 2,
            (Some(Family::V6), Family::V4) => 3,
            (Some(Family::V4), Family::V6) => 4,
            (Some(Family::V6), Family::V6) => 5,
        }
    }
}

/// Template IDs of a schema's layouts begin here …
const FIRST_TEMPLATE: u16 = 256;
/// … and those of a schema that follows such a one, in the same session, here.
const SECOND_TEMPLATE: u16 = 512;

/// What records say beyond what every record says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// Tunnels are opened.
    pub tunnels: bool,
    /// Next hops are looked up.
    pub next_hops: bool,
    /// How packets are chosen.
    pub sampling: SamplingRate,
}

/// The elements of all records of one run of the daemon, or of the time between two changes of its configuration.
#[derive(Debug)]
pub struct Schema {
    /// Template ID of the first layout.
    first_template: u16,
    /// By [`Shape::position`]; without tunnels the first two only.
    layouts: Vec<Layout>,
}

/// Of records that say nothing more.
impl Default for Schema {
    fn default() -> Self {
        Self::new(Extras::default())
    }
}

/// The elements of the records of one shape.
pub struct Layout {
    /// The shape.
    pub shape: Shape,
    /// Template ID of its records.
    pub template_id: u16,
    /// In the order of the template.
    pub elements: Vec<&'static Element>,
    /// Octets of a Data Record.
    pub record_length: usize,
}

impl std::fmt::Debug for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.elements.iter().map(|element| element.name).collect();
        f.debug_struct("Layout").field("shape", &self.shape).field("elements", &names).finish_non_exhaustive()
    }
}

impl Schema {
    /// The schema of records that say this much.
    #[must_use]
    pub fn new(extras: Extras) -> Self {
        Self::numbered(extras, FIRST_TEMPLATE)
    }

    /// The schema that takes the place of this one in a session. Its Template IDs are others, so that no collector reads a
    /// record by the template of another schema. Two ranges take turns: over UDP a template is not withdrawn, and when its ID
    /// comes again, with the schema after next, the new template replaces the old one (RFC 7011 sections 8.1 and 8.4).
    #[must_use]
    pub fn followed_by(&self, extras: Extras) -> Self {
        let first = if self.first_template == FIRST_TEMPLATE { SECOND_TEMPLATE } else { FIRST_TEMPLATE };
        Self::numbered(extras, first)
    }

    fn numbered(extras: Extras, first_template: u16) -> Self {
        let shapes = Shape::ALL.into_iter().filter(|shape| extras.tunnels || shape.outer.is_none());
        let layouts = shapes.zip(first_template..).map(|(shape, template_id)| {
            let elements = ELEMENTS.iter().filter(|element| belongs(element.group, shape, extras));
            let elements: Vec<&'static Element> = elements.collect();
            let record_length = elements.iter().map(|element| usize::from(element.length)).sum();
            Layout { shape, template_id, elements, record_length }
        });
        Self { first_template, layouts: layouts.collect() }
    }

    /// What a record consists of. One out of a tunnel has the layout of one that is not, where no tunnel was to be opened.
    #[must_use]
    pub fn layout(&self, record: &FlowRecord) -> &Layout {
        &self.layouts[self.position(record)]
    }

    /// Which of [`Schema::layouts`] that is.
    #[must_use]
    pub fn position(&self, record: &FlowRecord) -> usize {
        let shape = Shape::of(record);
        let position = shape.position();
        if position < self.layouts.len() { position } else { Shape { outer: None, ..shape }.position() }
    }

    /// All layouts, in the order of their Template IDs.
    #[must_use]
    pub fn layouts(&self) -> &[Layout] {
        &self.layouts
    }
}

fn belongs(group: Group, shape: Shape, extras: Extras) -> bool {
    match group {
        Group::Always => true,
        Group::V4 => shape.family == Family::V4,
        Group::V6 => shape.family == Family::V6,
        Group::Tunnel => shape.outer.is_some(),
        Group::OuterV4 => shape.outer == Some(Family::V4),
        Group::OuterV6 => shape.outer == Some(Family::V6),
        Group::NextHop => extras.next_hops,
        Group::Sampled => extras.sampling != SamplingRate::All,
        Group::SampledPackets => matches!(extras.sampling, SamplingRate::Packets(_)),
        Group::SampledFlows => matches!(extras.sampling, SamplingRate::Flows(_)),
    }
}

#[cfg(test)]
mod tests;
