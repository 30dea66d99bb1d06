//! What flowprobe says of itself in options records (RFC 7011 section 4): statistics of the Metering Process, its reliability
//! and that of the Exporting Process, and the accounting sum. Templates, records and the page in `docs/` are made from one
//! table ([`options`]).

use flowprobe_ebpf::{Counter, Direction};

use crate::losses::{Lost, Noted};
use crate::sink::Tick;

/// In a Field Specifier: the length is in the record (RFC 7011 section 7).
pub const VARIABLE: u16 = 0xffff;

/// Octets of a text at most; of a longer one, which is the path of a capture, the end is shown.
const LONGEST_TEXT: usize = 200;

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// IPFIX unsigned8 to unsigned64, dateTimeMilliseconds.
    Unsigned(u64),
    /// IPFIX string, 254 octets at most.
    Text(&'a str),
}

/// An element of options records: one row of the table.
pub struct OptionsElement {
    /// Name in the IANA registry.
    pub name: &'static str,
    /// ElementID there.
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
    /// Template ID; the same in every session, and not one of a [`Schema`](super::elements::Schema).
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
    /// IPFIX messages.
    pub messages: u64,
    /// Flow records, without those of options.
    pub records: u64,
    /// Octets of the messages, from the IPFIX header on.
    pub octets: u64,
}

/// One term of the accounting sum.
#[derive(Clone, Copy, Debug)]
pub struct Term<'a> {
    /// Index of the interface.
    pub ifindex: u32,
    /// Its name.
    pub interface: &'a str,
    /// Which way the packets passed it.
    pub direction: Direction,
    /// The term's name.
    pub name: &'static str,
    /// The term.
    pub counter: Counter,
}

/// Everything that an options record may say.
#[derive(Clone, Copy, Debug)]
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
    /// The term that the record is about, where it is about one.
    pub term: Term<'a>,
}

impl<'a> Facts<'a> {
    /// What `tick` says about a session, about no term yet.
    #[must_use]
    pub const fn new(tick: &Tick, observation_domain: u32, process: u32, sent: Sent, not_sent: Noted<Lost>) -> Self {
        let none = Counter { packets: 0, octets: 0 };
        let term = Term { ifindex: 0, interface: "", direction: Direction::Ingress, name: "", counter: none };
        Self { observation_domain, process, sent, ignored: tick.ignored, not_sent, term }
    }

    /// All options records: the statistics, then the terms of the accounting of each interface and direction.
    pub fn records(self, tick: &'a Tick) -> impl Iterator<Item = (&'static OptionsTemplate, Self)> {
        let statistics = STATISTICS.iter().map(move |template| (template, self));
        let terms = tick.accounting.iter().flat_map(move |one| {
            one.terms().into_iter().map(move |(name, counter)| {
                let interface = end_of(&one.interface);
                let term = Term { ifindex: one.ifindex, interface, direction: one.direction, name, counter };
                (accounting_template(one.direction), Self { term, ..self })
            })
        });
        statistics.chain(terms)
    }
}

/// The end of a text that is too long.
fn end_of(text: &str) -> &str {
    let start = (text.len().saturating_sub(LONGEST_TEXT)..=text.len()).find(|start| text.is_char_boundary(*start));
    &text[start.unwrap_or(0)..]
}

impl OptionsTemplate {
    /// Octets of the Options Template Record.
    #[must_use]
    pub fn template_length(&self) -> usize {
        6 + 4 * self.elements.len()
    }

    /// Octets of a record that says this.
    #[must_use]
    pub fn record_length(&self, facts: &Facts<'_>) -> usize {
        let lengths = self.elements.iter().map(|element| match (element.value)(facts) {
            Value::Unsigned(_) => usize::from(element.length),
            Value::Text(text) => 1 + text.len(),
        });
        lengths.sum()
    }

    /// Octets of the longest record that there can be.
    #[must_use]
    pub fn longest_record(&self) -> usize {
        let longest = |length| if length == VARIABLE { 1 + LONGEST_TEXT } else { usize::from(length) };
        self.elements.iter().map(|element| longest(element.length)).sum()
    }
}

/// The options records of flowprobe, in the order of their Template IDs.
pub fn options() -> impl Iterator<Item = &'static OptionsTemplate> {
    STATISTICS.iter().chain(&ACCOUNTING)
}

const fn accounting_template(direction: Direction) -> &'static OptionsTemplate {
    match direction {
        Direction::Ingress => &ACCOUNTING[0],
        Direction::Egress => &ACCOUNTING[1],
    }
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

const OBSERVATION_DOMAIN: OptionsElement =
    row(149, 4, "observationDomainId", "As in the message header.", |facts| number(facts.observation_domain));
const METERING_PROCESS: OptionsElement =
    row(143, 4, "meteringProcessId", "The daemon's process ID; 0 in files.", |facts| number(facts.process));
const INTERFACE_NAME: OptionsElement = row(
    82,
    VARIABLE,
    "interfaceName",
    "Name of the interface; of a replayed capture its path, or the end of it.",
    |facts| Value::Text(facts.term.interface),
);
const SELECTOR_NAME: OptionsElement = row(
    335,
    VARIABLE,
    "selectorName",
    "The term: `seen`, `exported`, `held`, `overflow`, `unparsed`, `sampledOut` or `filteredOut`.",
    |facts| Value::Text(facts.term.name),
);
const DIRECTION: OptionsElement =
    row(61, 1, "flowDirection", "0 ingress, 1 egress.", |facts| number(facts.term.direction as u8));
const TERM_PACKETS: OptionsElement =
    row(86, 8, "packetTotalCount", "Packets of the term since the start.", |facts| number(facts.term.counter.packets));
const TERM_OCTETS: OptionsElement =
    row(353, 8, "layer2OctetTotalCount", "Octets of their frames, likewise.", |facts| {
        number(facts.term.counter.octets)
    });

/// RFC 7011 sections 4.1 to 4.3.
static STATISTICS: [OptionsTemplate; 3] = [
    OptionsTemplate {
        template_id: 768,
        title: "Metering Process Statistics (RFC 7011 section 4.1)",
        scope: 2,
        elements: &[
            OBSERVATION_DOMAIN,
            METERING_PROCESS,
            row(41, 8, "exportedMessageTotalCount", "Messages of the session, before this one.", |facts| {
                number(facts.sent.messages)
            }),
            row(42, 8, "exportedFlowRecordTotalCount", "Flow records in them.", |facts| number(facts.sent.records)),
            row(40, 8, "exportedOctetTotalCount", "Octets of them, from the IPFIX header on.", |facts| {
                number(facts.sent.octets)
            }),
        ],
    },
    OptionsTemplate {
        template_id: 769,
        title: "Metering Process Reliability Statistics (RFC 7011 section 4.2)",
        scope: 2,
        elements: &[
            OBSERVATION_DOMAIN,
            METERING_PROCESS,
            row(
                164,
                8,
                "ignoredPacketTotalCount",
                "Packets that were seen and are in no flow: overflow and unparsed, of all interfaces.",
                |facts| number(facts.ignored.total.packets),
            ),
            row(
                165,
                8,
                "ignoredOctetTotalCount",
                "Octets of their frames; of what is unparsed nobody knows where IP begins.",
                |facts| number(facts.ignored.total.octets),
            ),
            row(
                323,
                8,
                "observationTimeMilliseconds",
                "The drain that first found such packets; 0 if none has.",
                |facts| number(facts.ignored.first_ms),
            ),
            row(323, 8, "observationTimeMilliseconds", "The last drain that found more; 0 if none has.", |facts| {
                number(facts.ignored.last_ms)
            }),
        ],
    },
    OptionsTemplate {
        template_id: 770,
        title: "Exporting Process Reliability Statistics (RFC 7011 section 4.3)",
        scope: 1,
        elements: &[
            row(144, 4, "exportingProcessId", "The daemon's process ID; 0 in files.", |facts| number(facts.process)),
            row(
                166,
                8,
                "notSentFlowTotalCount",
                "Flow records that this session was to have and has not: refused by its queue, or by the network.",
                |facts| number(facts.not_sent.total.records),
            ),
            row(167, 8, "notSentPacketTotalCount", "Packets in them.", |facts| number(facts.not_sent.total.packets)),
            row(168, 8, "notSentOctetTotalCount", "Octets in them, from the IP header on.", |facts| {
                number(facts.not_sent.total.octets)
            }),
            row(
                323,
                8,
                "observationTimeMilliseconds",
                "The drain at which such records were first known; 0 if never.",
                |facts| number(facts.not_sent.first_ms),
            ),
            row(
                323,
                8,
                "observationTimeMilliseconds",
                "The last drain at which there were more; 0 if never.",
                |facts| number(facts.not_sent.last_ms),
            ),
        ],
    },
];

/// The accounting sum, a record for each term of each interface and direction. IANA has no elements for the terms, and
/// flowprobe has no enterprise number: hence they go by name.
static ACCOUNTING: [OptionsTemplate; 2] = [
    OptionsTemplate {
        template_id: 771,
        title: "Accounting of what came in",
        scope: 4,
        elements: &[
            OBSERVATION_DOMAIN,
            row(
                10,
                4,
                "ingressInterface",
                "Index of the interface; the latest, where it went and came back.",
                |facts| number(facts.term.ifindex),
            ),
            INTERFACE_NAME,
            SELECTOR_NAME,
            DIRECTION,
            TERM_PACKETS,
            TERM_OCTETS,
        ],
    },
    OptionsTemplate {
        template_id: 772,
        title: "Accounting of what left",
        scope: 4,
        elements: &[
            OBSERVATION_DOMAIN,
            row(
                14,
                4,
                "egressInterface",
                "Index of the interface; the latest, where it went and came back.",
                |facts| number(facts.term.ifindex),
            ),
            INTERFACE_NAME,
            SELECTOR_NAME,
            DIRECTION,
            TERM_PACKETS,
            TERM_OCTETS,
        ],
    },
];

fn number(value: impl Into<u64>) -> Value<'static> {
    Value::Unsigned(value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn template_ids_are_in_order_and_out_of_the_schemas_ranges() {
        let ids: Vec<u16> = options().map(|template| template.template_id).collect();
        assert_eq!(ids, [768, 769, 770, 771, 772]);
    }

    #[test]
    fn a_long_name_keeps_its_end_and_its_characters_whole() {
        let name = format!("{}é.pcap", "ö".repeat(300));
        assert!(end_of(&name).len() <= LONGEST_TEXT && end_of(&name).ends_with("öé.pcap"));
        assert_eq!(end_of("eth0"), "eth0");
    }
}
