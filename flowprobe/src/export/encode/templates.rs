//! Messages of templates (RFC 7011 section 3.4, RFC 3954 section 5.2 and 6.1).

use super::super::Format;
use super::super::elements::{Layout, Schema};
use super::super::options::{self, OptionsTemplate};
use super::super::packed::TemplateSet;
use crate::collect::Specifier;

/// Octets of a set header.
pub(super) const SET_HEADER: usize = 4;
/// In a Field Specifier of IPFIX: an Enterprise Number follows.
const ENTERPRISE_BIT: u16 = 0x8000;

/// A template as it stands in its set.
struct Template {
    octets: Vec<u8>,
    is_options: bool,
}

/// All templates of a schema and of the options records, in messages of at most `capacity` octets, which must have room for
/// the longest of them ([`longest`]).
pub(super) fn templates(format: Format, schema: &Schema, capacity: usize) -> TemplateSet {
    let mut messages = Vec::new();
    let mut message = Vec::new();
    let mut records: u16 = 0;
    let mut open: Option<(bool, usize)> = None;
    for template in all(format, schema) {
        let needs = template.octets.len() + SET_HEADER + MOST_PADDING;
        if !message.is_empty() && message.len() + needs > capacity {
            close(format, &mut message, open.take());
            finish(format, &mut message, records);
            messages.push(std::mem::take(&mut message).into());
            records = 0;
        }
        if message.is_empty() {
            message.resize(format.header(), 0);
        }
        // A set for each options template: there are readers that take the second one of a set for damage.
        if template.is_options || open.is_none_or(|(is_options, _)| is_options) {
            close(format, &mut message, open.take());
            open = Some((template.is_options, message.len()));
            message.extend(set_id(format, template.is_options).to_be_bytes());
            message.extend([0; 2]);
        }
        message.extend(template.octets);
        records += 1;
    }
    close(format, &mut message, open);
    if !message.is_empty() {
        finish(format, &mut message, records);
        messages.push(message.into());
    }
    TemplateSet { messages }
}

/// Octets of the longest message with one template.
pub(super) fn longest(format: Format, schema: &Schema) -> usize {
    let longest = all(format, schema).map(|template| template.octets.len()).max();
    format.header() + SET_HEADER + longest.unwrap_or(0) + MOST_PADDING
}

/// To multiples of four octets in NetFlow v9: of the set that a template's own follows, and of its own.
const MOST_PADDING: usize = 6;

fn all(format: Format, schema: &Schema) -> impl Iterator<Item = Template> {
    let flows = schema.layouts().iter().map(move |layout| Template { octets: of_flows(layout), is_options: false });
    let options = options::templates(format, schema)
        .map(move |template| Template { octets: of_options(format, template), is_options: true });
    flows.chain(options)
}

const fn set_id(format: Format, is_options: bool) -> u16 {
    match (format, is_options) {
        (Format::Ipfix, false) => 2,
        (Format::Ipfix, true) => 3,
        (_, false) => 0,
        (_, true) => 1,
    }
}

fn of_flows(layout: &Layout) -> Vec<u8> {
    let mut octets = Vec::new();
    octets.extend(layout.template_id.to_be_bytes());
    octets.extend(length_u16(layout.fields.len()).to_be_bytes());
    for field in &layout.fields {
        let is_enterprise = if field.element.enterprise == 0 { 0 } else { ENTERPRISE_BIT };
        octets.extend((field.element.id | is_enterprise).to_be_bytes());
        octets.extend(field.length.to_be_bytes());
        if field.element.enterprise != 0 {
            octets.extend(field.element.enterprise.to_be_bytes());
        }
    }
    octets
}

/// A message with the template of received records: those of a layout, and a tail behind them; or of a tail alone.
pub(super) fn of_received(format: Format, layout: Option<&Layout>, tail: &[Specifier], template_id: u16) -> Vec<u8> {
    let mut template = layout.map_or(vec![0; 4], of_flows);
    let fields = layout.map_or(0, |layout| layout.fields.len()) + tail.len();
    template[..2].copy_from_slice(&template_id.to_be_bytes());
    template[2..4].copy_from_slice(&length_u16(fields).to_be_bytes());
    for field in tail {
        let bit = if field.enterprise == 0 { 0 } else { ENTERPRISE_BIT };
        template.extend((field.id | bit).to_be_bytes());
        template.extend(field.length.to_be_bytes());
        if field.enterprise != 0 {
            template.extend(field.enterprise.to_be_bytes());
        }
    }
    let mut message = vec![0; format.header()];
    let set = message.len();
    message.extend(set_id(format, false).to_be_bytes());
    message.extend([0; 2]);
    message.extend(template);
    close(format, &mut message, Some((false, set)));
    finish(format, &mut message, 1);
    message
}

fn of_options(format: Format, template: &OptionsTemplate) -> Vec<u8> {
    let mut octets = Vec::new();
    let (all, scope) = (template.elements.len(), usize::from(template.scope));
    octets.extend(template.template_id.to_be_bytes());
    // IPFIX has the number of all fields and of those of the scope; NetFlow v9 the octets of the scope's specifiers and of the
    // others'.
    let (first, second) = if format == Format::Ipfix { (all, scope) } else { (4 * scope, 4 * (all - scope)) };
    octets.extend(length_u16(first).to_be_bytes());
    octets.extend(length_u16(second).to_be_bytes());
    for element in template.elements {
        octets.extend(element.id.to_be_bytes());
        octets.extend(element.length.to_be_bytes());
    }
    octets
}

/// Writes the length into the header of the set that is open.
fn close(format: Format, message: &mut Vec<u8>, open: Option<(bool, usize)>) {
    if let Some((_, start)) = open {
        if format == Format::NetFlow9 {
            message.resize(message.len().next_multiple_of(4), 0);
        }
        let length = length_u16(message.len() - start);
        message[start + 2..start + 4].copy_from_slice(&length.to_be_bytes());
    }
}

fn finish(format: Format, message: &mut [u8], records: u16) {
    let (version, second) = match format {
        Format::Ipfix => (10, length_u16(message.len())),
        _ => (9_u16, records),
    };
    message[0..2].copy_from_slice(&version.to_be_bytes());
    message[2..4].copy_from_slice(&second.to_be_bytes());
}

/// A length that is kept below 65,535.
pub(super) fn length_u16(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}
