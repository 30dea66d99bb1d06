//! The tables of a report. Another one is one more line here: page and JSON follow.

use crate::query::{Answer, Cell, Measure, Question, Total};

/// A table.
pub(super) struct Table {
    /// Its name in JSON.
    pub(super) name: &'static str,
    /// And on the page.
    pub(super) title: &'static str,
    /// What is asked.
    pub(super) question: Question,
    /// What decides which rows come first, and of what shares are.
    pub(super) by: Measure,
    /// The columns that the page has.
    pub(super) columns: &'static [&'static str],
    /// How much of the page's width it takes.
    pub(super) width: Width,
    /// Of what it is, where that is less than all.
    pub(super) of: &'static str,
    /// Whether it is empty where nothing is known of addresses.
    pub(super) takes_knowledge: bool,
}

/// A part of the page's width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    Third,
    Half,
    Whole,
}

const THREE: [&str; 3] = ["octets", "packets", "flows"];
const READ: &str = "what could be read";

/// All of them, in the order of the page.
#[rustfmt::skip]
pub(super) static TABLES: &[Table] = &[
    Table { name: "talkersByOctets", title: "Addresses by octets", question: Question::Talkers, by: Measure::Octets, columns: &["address", "octetsSent", "octetsReceived"], width: Width::Third, of: READ, takes_knowledge: false },
    Table { name: "talkersByPackets", title: "Addresses by packets", question: Question::Talkers, by: Measure::Packets, columns: &["address", "packetsSent", "packetsReceived"], width: Width::Third, of: READ, takes_knowledge: false },
    Table { name: "talkersByFlows", title: "Addresses by flows", question: Question::Talkers, by: Measure::Flows, columns: &["address", "flowsSent", "flowsReceived"], width: Width::Third, of: READ, takes_knowledge: false },
    Table { name: "protocols", title: "Protocols by octets", question: Question::Protocols, by: Measure::Octets, columns: &["protocol", THREE[0], THREE[1], THREE[2]], width: Width::Half, of: READ, takes_knowledge: false },
    Table { name: "ports", title: "Services by octets", question: Question::Ports, by: Measure::Octets, columns: &["protocol", "port", "serviceName", THREE[0], THREE[1], THREE[2]], width: Width::Half, of: "what has ports", takes_knowledge: false },
    Table { name: "countries", title: "Countries by octets", question: Question::Countries, by: Measure::Octets, columns: &["countryCode", "octetsSent", "octetsReceived"], width: Width::Half, of: READ, takes_knowledge: true },
    Table { name: "systems", title: "Autonomous systems by octets", question: Question::Systems, by: Measure::Octets, columns: &["asNumber", "asOrganization", "octetsSent", "octetsReceived"], width: Width::Half, of: READ, takes_knowledge: true },
    Table { name: "conversations", title: "Conversations by octets", question: Question::Conversations, by: Measure::Octets, columns: &["client", "server", "protocol", "port", "octetsSent", "octetsReceived", "packetsSent", "packetsReceived", "firstMilliseconds", "lastMilliseconds"], width: Width::Whole, of: "records that are still kept", takes_knowledge: false },
];

/// The name of a measure in columns.
pub(super) const fn name(by: Measure) -> &'static str {
    match by {
        Measure::Octets => THREE[0],
        Measure::Packets => THREE[1],
        Measure::Flows => THREE[2],
    }
}

/// So many of what is measured.
pub(super) const fn measured(total: &Total, by: Measure) -> i64 {
    match by {
        Measure::Octets => total.octets,
        Measure::Packets => total.packets,
        Measure::Flows => total.flows,
    }
}

/// The number of the column with this name.
pub(super) fn column(answer: &Answer, name: &str) -> Option<usize> {
    answer.columns.iter().position(|(column, _)| column == name)
}

/// The number in a column that there may be.
pub(super) fn number(row: &[Cell], column: Option<usize>) -> i64 {
    match column.and_then(|column| row.get(column)) {
        Some(Cell::Number(number)) => *number,
        _ => 0,
    }
}

/// What a row counts: the columns of one number, or of what was sent and what was received.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    parts: [Option<usize>; 2],
}

impl Counted {
    pub(super) fn of(answer: &Answer, by: Measure) -> Self {
        let name = name(by);
        let parts = match column(answer, name) {
            Some(column) => [Some(column), None],
            None => ["Sent", "Received"].map(|end| column(answer, &format!("{name}{end}"))),
        };
        Self { parts }
    }

    /// Of which of both parts this column is, where there are two.
    pub(super) fn part(self, column: usize) -> Option<usize> {
        self.parts[1].and(self.parts.iter().position(|part| *part == Some(column)))
    }

    pub(super) fn parts(self, row: &[Cell]) -> [i64; 2] {
        self.parts.map(|column| number(row, column))
    }

    pub(super) fn sum(self, row: &[Cell]) -> i64 {
        let [one, other] = self.parts(row);
        one.saturating_add(other)
    }
}
