//! The options records of IPFIX.

use super::{OptionsElement, OptionsTemplate, VARIABLE, Value, number, row};

const OBSERVATION_DOMAIN: OptionsElement =
    row(149, 4, "observationDomainId", "As in the message header.", |facts| number(facts.observation_domain));
const METERING_PROCESS: OptionsElement =
    row(143, 4, "meteringProcessId", "The daemon's process ID; 0 in files.", |facts| number(facts.process));
const INTERFACE_NAME: OptionsElement = row(
    82,
    VARIABLE,
    "interfaceName",
    "Name of the interface; of a replayed capture its path, or the end of it.",
    |facts| Value::Text(facts.interface.name),
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
pub(super) static STATISTICS: [OptionsTemplate; 3] = [
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
pub(super) static ACCOUNTING: [OptionsTemplate; 2] = [
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
                |facts| number(facts.interface.index),
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
                |facts| number(facts.interface.index),
            ),
            INTERFACE_NAME,
            SELECTOR_NAME,
            DIRECTION,
            TERM_PACKETS,
            TERM_OCTETS,
        ],
    },
];

/// Which interface has which number. Texts have a fixed length, and the name is the last: nfcapd 1.7.1 knows such records, and only
/// so. Of what follows the name it takes the octets for those of the next record.
pub(super) static INTERFACES: OptionsTemplate = OptionsTemplate {
    template_id: 773,
    title: "Interfaces",
    scope: 1,
    elements: &[
        row(10, 4, "ingressInterface", "Index of the interface, of whichever direction.", |facts| {
            number(facts.interface.index)
        }),
        row(83, 64, "interfaceDescription", "Its alias (`ip link set … alias …`), else its name.", |facts| {
            Value::Text(facts.interface.description)
        }),
        row(82, 64, "interfaceName", "Its name; of a replayed capture its path, or the end of it.", |facts| {
            Value::Text(facts.interface.name)
        }),
    ],
};

/// How packets are sampled, where they are (RFC 5477 sections 8.1 and 8.2).
pub(super) static SELECTOR: OptionsTemplate = OptionsTemplate {
    template_id: 774,
    title: "How packets are sampled",
    scope: 2,
    elements: &[
        OBSERVATION_DOMAIN,
        row(302, 4, "selectorId", "1: there is one.", |_| number(1_u32)),
        row(304, 2, "selectorAlgorithm", "4: uniform probabilistic (RFC 5475).", |_| number(UNIFORM_PROBABILISTIC)),
        row(305, 4, "samplingPacketInterval", "1: packets chosen …", |_| number(1_u32)),
        row(306, 4, "samplingPacketSpace", "… for this many that were not, on average.", |facts| {
            number(facts.sampling.interval() - 1)
        }),
        row(311, 8, "samplingProbability", "The same as the probability of each packet.", |facts| {
            Value::Float(1.0 / f64::from(facts.sampling.interval()))
        }),
    ],
};

/// Of the IANA registry "PSAMP Parameters".
const UNIFORM_PROBABILISTIC: u16 = 4;

/// What elements are that IANA does not have, where records have such (RFC 5610).
pub(super) static TYPES: OptionsTemplate = OptionsTemplate {
    template_id: 775,
    title: "Elements of enterprises (RFC 5610)",
    scope: 2,
    elements: &[
        row(346, 4, "privateEnterpriseNumber", "Whose element it is.", |facts| number(facts.element().enterprise)),
        row(303, 2, "informationElementId", "Its number.", |facts| number(facts.element().id)),
        row(339, 1, "informationElementDataType", "Its type, as IANA numbers them.", |facts| {
            number(facts.element().data_type as u8)
        }),
        row(344, 1, "informationElementSemantics", "4: an identifier.", |_| number(IDENTIFIER)),
        row(345, 2, "informationElementUnits", "Its unit, as IANA numbers them.", |facts| {
            number(facts.element().unit as u16)
        }),
        row(341, VARIABLE, "informationElementName", "Its name.", |facts| Value::Text(facts.element().name)),
        row(340, VARIABLE, "informationElementDescription", "What it says.", |facts| {
            Value::Text(facts.element().about)
        }),
    ],
};

/// Of the IANA registry "IPFIX Information Element Semantics": so are all elements of enterprises here.
const IDENTIFIER: u8 = 4;
