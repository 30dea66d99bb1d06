//! The options records of NetFlow v9 (RFC 3954 section 6.1): what collectors of it ask for. Their scopes are not elements but the
//! scope types System and Interface, and texts have a fixed length.

use super::{OptionsTemplate, Value, number, row};

/// Scope types.
const SYSTEM: u16 = 1;
const INTERFACE: u16 = 2;

/// Which interface has which number.
pub(super) static INTERFACES: OptionsTemplate = OptionsTemplate {
    template_id: 768,
    title: "Interfaces",
    scope: 1,
    elements: &[
        row(INTERFACE, 4, "Interface", "Index of the interface.", |facts| number(facts.interface.index)),
        row(83, 64, "interfaceDescription", "Its alias, else its name.", |facts| {
            Value::Text(facts.interface.description)
        }),
        // The last one: nfcapd 1.7.1 takes what follows it for the next record.
        row(82, 32, "interfaceName", "Its name.", |facts| Value::Text(facts.interface.name)),
    ],
};

/// How packets are sampled, where they are.
pub(super) static SAMPLING: OptionsTemplate = OptionsTemplate {
    template_id: 769,
    title: "How packets are sampled",
    scope: 1,
    elements: &[
        row(SYSTEM, 4, "System", "The Source ID.", |facts| number(facts.observation_domain)),
        row(34, 4, "samplingInterval", "Of how many packets one was metered.", |facts| {
            number(facts.sampling.interval())
        }),
        row(35, 1, "samplingAlgorithm", "2: random.", |_| number(2_u8)),
    ],
};

/// What the session has had.
pub(super) static STATISTICS: OptionsTemplate = OptionsTemplate {
    template_id: 770,
    title: "What was exported",
    scope: 1,
    elements: &[
        row(SYSTEM, 4, "System", "The Source ID.", |facts| number(facts.observation_domain)),
        row(40, 8, "exportedOctetTotalCount", "Octets of the messages before this one.", |facts| {
            number(facts.sent.octets)
        }),
        row(41, 8, "exportedMessageTotalCount", "Those messages.", |facts| number(facts.sent.messages)),
        row(42, 8, "exportedFlowRecordTotalCount", "Flow records in them.", |facts| number(facts.sent.records)),
    ],
};
