//! What flowprobe says of itself in options records (RFC 7011 section 4): statistics of the Metering Process, its reliability
//! and that of the Exporting Process, the accounting sum, interfaces, sampling, and elements that IANA does not have. Templates,
//! records and the page in `docs/` are made from the same tables.

mod ipfix;
mod netflow9;

use flowprobe_ebpf::{Counter, Direction};

use super::Format;
use super::elements::{ELEMENTS, Element, Schema};
use crate::losses::{Lost, Noted};
use crate::record::SamplingRate;
use crate::sink::Tick;

/// In a Field Specifier: the length is in the record (RFC 7011 section 7).
pub const VARIABLE: u16 = 0xffff;

/// Octets of a text at most; of a longer one, which is the path of a capture, the end is shown.
const LONGEST_TEXT: usize = 200;

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// IPFIX unsigned8 to unsigned64, dateTimeMilliseconds.
    Unsigned(u64),
    /// IPFIX float64.
    Float(f64),
    /// IPFIX string, 254 octets at most.
    Text(&'a str),
}

/// An element of options records: one row of the table.
pub struct OptionsElement {
    /// Name in the IANA registry; of a scope of NetFlow v9 that of its type.
    pub name: &'static str,
    /// ElementID there; of a scope of NetFlow v9 its type.
    pub id: u16,
    /// Octets on the wire, or [`VARIABLE`].
    pub length: u16,
    /// What it says, for the documentation.
    pub about: &'static str,
    /// The value.
    pub value: for<'a> fn(&Facts<'a>) -> Value<'a>,
}

/// One kind of options record.
pub struct OptionsTemplate {
    /// Template ID; the same in every session, and not one of a [`Schema`].
    pub template_id: u16,
    /// What it is about, as RFC 7011 calls it.
    pub title: &'static str,
    /// How many of the elements are the scope: they come first.
    pub scope: u16,
    /// Scope and fields, in the order of the template.
    pub elements: &'static [OptionsElement],
}

/// What has gone out in a session so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Messages.
    pub messages: u64,
    /// Flow records, without those of options.
    pub records: u64,
    /// Octets of the messages, headers included.
    pub octets: u64,
}

/// An interface, by its number.
#[derive(Clone, Copy, Debug, Default)]
pub struct Interface<'a> {
    /// Index of the interface.
    pub index: u32,
    /// Its name.
    pub name: &'a str,
    /// Its alias, else its name.
    pub description: &'a str,
}

/// One term of the accounting sum.
#[derive(Clone, Copy, Debug)]
pub struct Term {
    /// Which way the packets passed the interface.
    pub direction: Direction,
    /// The term's name.
    pub name: &'static str,
    /// The term.
    pub counter: Counter,
}

/// Everything that an options record may say.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// Observation Domain ID of the session.
    pub observation_domain: u32,
    /// Process ID: of the Metering Process and of the Exporting Process, which are one; 0 in files.
    pub process: u32,
    /// What has gone out in the session.
    pub sent: Sent,
    /// What was counted and is in no flow, on all interfaces: overflow and unparsed, packets and layer-2 octets.
    pub ignored: Noted<Counter>,
    /// What the session was to send and did not.
    pub not_sent: Noted<Lost>,
    /// How packets are chosen.
    pub sampling: SamplingRate,
    /// The interface that the record is about, where it is about one.
    pub interface: Interface<'a>,
    /// The term that the record is about, where it is about one.
    pub term: Term,
    /// The element that the record is about, where it is about one.
    element: &'static Element,
}

impl<'a> Facts<'a> {
    /// What `tick` says about a session, about nothing in particular yet.
    #[must_use]
    pub fn new(tick: &Tick, observation_domain: u32, process: u32, sent: Sent, not_sent: Noted<Lost>) -> Self {
        let none = Counter { packets: 0, octets: 0 };
        Self {
            observation_domain,
            process,
            sent,
            ignored: tick.ignored,
            not_sent,
            sampling: SamplingRate::All,
            interface: Interface::default(),
            term: Term { direction: Direction::Ingress, name: "", counter: none },
            element: &ELEMENTS[0],
        }
    }

    fn element(&self) -> &'static Element {
        self.element
    }

    /// All options records of a session in `format` whose records are those of `schema`: statistics, the terms of the accounting of
    /// each interface and direction, the `interfaces`, and what is to be known of sampling and of elements.
    pub fn records(
        self,
        format: Format,
        schema: &Schema,
        tick: &'a Tick,
        interfaces: &'a [Interface<'a>],
    ) -> Vec<(&'static OptionsTemplate, Self)> {
        let facts = Self { sampling: schema.extras().sampling, ..self };
        let mut records = Vec::new();
        for template in templates(format, schema) {
            match template.subject() {
                Subject::Session => records.push((template, facts)),
                Subject::Terms(direction) => {
                    for one in tick.accounting.iter().filter(|one| one.direction == direction) {
                        let interface = Interface { index: one.ifindex, name: end_of(&one.interface), description: "" };
                        let terms = one.terms().into_iter().map(|(name, counter)| Term { direction, name, counter });
                        records.extend(terms.map(|term| (template, Self { interface, term, ..facts })));
                    }
                }
                Subject::Interfaces => {
                    let cut = |interface: &Interface<'a>| Interface {
                        name: end_of(interface.name),
                        description: end_of(interface.description),
                        ..*interface
                    };
                    records.extend(interfaces.iter().map(|one| (template, Self { interface: cut(one), ..facts })));
                }
                Subject::Elements => {
                    records.extend(of_enterprises(schema).map(|element| (template, Self { element, ..facts })));
                }
            }
        }
        records
    }
}

/// What there is a record for each of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Subject {
    Session,
    Terms(Direction),
    Interfaces,
    Elements,
}

fn end_of(text: &str) -> &str {
    end_within(text, LONGEST_TEXT)
}

/// The end of a text that is too long for so many octets.
pub(super) fn end_within(text: &str, octets: usize) -> &str {
    let start = (text.len().saturating_sub(octets)..=text.len()).find(|start| text.is_char_boundary(*start));
    &text[start.unwrap_or(0)..]
}

impl OptionsTemplate {
    /// Octets of a record that says this.
    #[must_use]
    pub fn record_length(&self, facts: &Facts<'_>) -> usize {
        let lengths = self.elements.iter().map(|element| match (element.value)(facts) {
            Value::Text(text) if element.length == VARIABLE => 1 + text.len(),
            _ => usize::from(element.length),
        });
        lengths.sum()
    }

    /// Octets of the longest record that there can be.
    #[must_use]
    pub fn longest_record(&self) -> usize {
        let longest = |length| if length == VARIABLE { 1 + LONGEST_TEXT } else { usize::from(length) };
        self.elements.iter().map(|element| longest(element.length)).sum()
    }

    fn subject(&self) -> Subject {
        let is = |other: &Self| std::ptr::eq(self, other);
        if is(&ipfix::ACCOUNTING[0]) {
            Subject::Terms(Direction::Ingress)
        } else if is(&ipfix::ACCOUNTING[1]) {
            Subject::Terms(Direction::Egress)
        } else if is(&ipfix::INTERFACES) || is(&netflow9::INTERFACES) {
            Subject::Interfaces
        } else if is(&ipfix::TYPES) {
            Subject::Elements
        } else {
            Subject::Session
        }
    }
}

/// Every options template of a format, in the order of their Template IDs.
pub fn all(format: Format) -> impl Iterator<Item = &'static OptionsTemplate> {
    let all: Vec<&OptionsTemplate> = match format {
        Format::Ipfix => {
            let more = [&ipfix::INTERFACES, &ipfix::SELECTOR, &ipfix::TYPES];
            ipfix::STATISTICS.iter().chain(&ipfix::ACCOUNTING).chain(more).collect()
        }
        Format::NetFlow9 => vec![&netflow9::INTERFACES, &netflow9::SAMPLING, &netflow9::STATISTICS],
        Format::NetFlow5 => Vec::new(),
    };
    all.into_iter()
}

/// Those of a session whose records are those of `schema`.
pub fn templates(format: Format, schema: &Schema) -> impl Iterator<Item = &'static OptionsTemplate> {
    let samples_packets = matches!(schema.extras().sampling, SamplingRate::Packets(_));
    let has_enterprises = of_enterprises(schema).next().is_some();
    all(format).filter(move |template| {
        let of_sampling = std::ptr::eq(*template, &ipfix::SELECTOR) || std::ptr::eq(*template, &netflow9::SAMPLING);
        (samples_packets || !of_sampling) && (has_enterprises || template.subject() != Subject::Elements)
    })
}

/// The elements of a schema that are neither IANA's nor such in reverse (RFC 5103 says what those are).
fn of_enterprises(schema: &Schema) -> impl Iterator<Item = &'static Element> {
    let in_use = |element: &&Element| {
        schema.layouts().iter().any(|layout| layout.elements().any(|other| std::ptr::eq(other, *element)))
    };
    ELEMENTS.iter().filter(|element| element.is_of_enterprise()).filter(in_use)
}

const fn row(
    id: u16,
    length: u16,
    name: &'static str,
    about: &'static str,
    value: for<'a> fn(&Facts<'a>) -> Value<'a>,
) -> OptionsElement {
    OptionsElement { name, id, length, about, value }
}

fn number(value: impl Into<u64>) -> Value<'static> {
    Value::Unsigned(value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn template_ids_are_in_order_and_out_of_the_schemas_ranges() {
        for (format, expected) in [(Format::Ipfix, 768..776), (Format::NetFlow9, 768..771), (Format::NetFlow5, 0..0)] {
            let ids: Vec<u16> = all(format).map(|template| template.template_id).collect();
            assert_eq!(ids, expected.collect::<Vec<u16>>());
        }
    }

    #[test]
    fn a_long_name_keeps_its_end_and_its_characters_whole() {
        let name = format!("{}é.pcap", "ö".repeat(300));
        assert!(end_of(&name).len() <= LONGEST_TEXT && end_of(&name).ends_with("öé.pcap"));
        assert_eq!(end_of("eth0"), "eth0");
    }

    #[test]
    fn texts_of_elements_are_short_enough() {
        for element in ELEMENTS.iter().filter(|element| element.is_of_enterprise()) {
            assert!(element.about.len() <= LONGEST_TEXT, "{}", element.name);
        }
    }
}
