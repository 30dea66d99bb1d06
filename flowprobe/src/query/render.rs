//! An answer as a table for people.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::answer::{Answer, Cell, Unit};
use crate::summary::format::{bits, bytes, count};

/// Columns that a table leaves out, since it would be wider than any terminal, unless they are what its rows are about; JSON and CSV have
/// them.
const TOO_WIDE: [&str; 23] = [
    "protocolIdentifier",
    "icmpTypeCode",
    "samplingInterval",
    "ingressInterface",
    "egressInterface",
    "flowEndReason",
    "otherElements",
    "asNumber",
    "cityName",
    "clientAsNumber",
    "clientCityName",
    "serverAsNumber",
    "serverCityName",
    "peerAsNumber",
    "peerCityName",
    "bgpSourceAsNumber",
    "bgpDestinationAsNumber",
    "sourceCityName",
    "destinationCityName",
    "sourceMacVendor",
    "destinationMacVendor",
    "ingressInterfaceDescription",
    "egressInterfaceDescription",
];

/// Columns that only enrichment fills: those that say nothing in any row are left out.
const MAY_BE_EMPTY: [&str; 8] =
    ["serviceName", "HostName", "hostName", "Label", "label", "AsOrganization", "CountryCode", "countryCode"];

/// The table, and what there is to say of it.
#[must_use]
pub(super) fn table(answer: &Answer) -> String {
    let zone = TimeZone::system();
    let is_empty = |index: usize| answer.rows.iter().all(|row| row[index] == Cell::None);
    let is_shown = |index: &usize| {
        let name = answer.columns[*index].0.as_str();
        let is_left_out = MAY_BE_EMPTY.iter().any(|end| name.ends_with(end)) && is_empty(*index);
        // The first is what a row is about, such as the number of an autonomous system, which elsewhere is only a remark.
        *index == 0 || !(TOO_WIDE.contains(&name) || is_left_out)
    };
    let shown: Vec<usize> = (0..answer.columns.len()).filter(is_shown).collect();
    let mut lines: Vec<Vec<String>> = vec![shown.iter().map(|index| heading(&answer.columns[*index].0)).collect()];
    for row in &answer.rows {
        lines.push(shown.iter().map(|index| text(answer.columns[*index].1, &row[*index], &zone)).collect());
    }
    let widths: Vec<usize> = (0..shown.len())
        .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut out = String::new();
    for line in &lines {
        let mut row = String::new();
        for (column, value) in line.iter().enumerate() {
            let width = widths[column];
            // Writing to a string does not fail.
            let _ = match answer.columns[shown[column]].1 {
                Unit::Name | Unit::Time => write!(row, "{value:<width$}  "),
                Unit::Count | Unit::Octets | Unit::BitsPerSecond => write!(row, "{value:>width$}  "),
            };
        }
        out.push_str(row.trim_end());
        out.push('\n');
    }
    let total = &answer.total;
    let _ = writeln!(
        out,
        "\n{} of {} rows · {} in {} packets of {} flows · {} to {}",
        count(answer.rows.len() as u64),
        count(answer.of),
        bytes(unsigned(total.octets)),
        count(unsigned(total.packets)),
        count(unsigned(total.flows)),
        time(answer.from_ms, &zone),
        time(answer.to_ms, &zone),
    );
    if answer.is_rough {
        out.push_str("There were too many to count them all: small ones may be missing or too small.\n");
    }
    for line in passed_over(answer.unreadable.iter().map(String::as_str)) {
        out.push_str(&line);
        out.push('\n');
    }
    out
}

/// What is said of damaged files: of the first ones which, and how many more there are. JSON has them all.
pub(crate) fn passed_over<'a>(files: impl ExactSizeIterator<Item = &'a str>) -> Vec<String> {
    const NAMED: usize = 8;
    let more = files.len().saturating_sub(NAMED);
    let named = files.take(NAMED).map(|file| format!("Passed over, since it is damaged: {file}"));
    let others = (more > 0).then(|| format!("{more} more files are damaged and passed over; `--json` names them all."));
    named.chain(others).collect()
}

/// A moment, to the second.
pub(crate) fn time(ms: i64, zone: &TimeZone) -> String {
    let moment = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MIN);
    moment.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// A value for people.
pub(crate) fn text(unit: Unit, cell: &Cell, zone: &TimeZone) -> String {
    match (unit, cell) {
        (Unit::Name, Cell::Number(number)) => number.to_string(),
        (Unit::Time, Cell::Number(ms)) => time(*ms, zone),
        (Unit::Octets, Cell::Number(octets)) => bytes(unsigned(*octets)),
        (Unit::BitsPerSecond, Cell::Number(rate)) => bits(unsigned(*rate)),
        (Unit::Count, Cell::Number(number)) => count(unsigned(*number)),
        (_, Cell::Text(text)) => text.clone(),
        (_, Cell::None) => "-".to_owned(),
    }
}

pub(crate) fn unsigned(number: i64) -> u64 {
    number.try_into().unwrap_or(0)
}

/// What a column is called above a table: `octetsSent` is `octets sent`, and elements lose what goes without saying.
pub(crate) fn heading(name: &str) -> String {
    let short = match name {
        "flowStartMilliseconds" | "firstMilliseconds" => "first",
        "flowEndMilliseconds" | "lastMilliseconds" => "last",
        "milliseconds" => "from",
        "sourceIPAddress" => "source",
        "destinationIPAddress" => "destination",
        "sourceTransportPort" | "destinationTransportPort" => "port",
        "octetDeltaCount" => "octets",
        "packetDeltaCount" => "packets",
        "tcpControlBits" => "flags",
        "protocolIdentifier" => "number",
        "ingressInterfaceName" => "in",
        "egressInterfaceName" => "out",
        "flowDirection" => "direction",
        "exporterIPAddress" => "exporter",
        "bitsPerSecond" => "rate",
        "serviceName" => "service",
        "hostName" => "name",
        "clientHostName" => "client name",
        "serverHostName" => "server name",
        "peerHostName" => "name",
        "countryCode" => "country",
        "asNumber" => "number",
        "asOrganization" => "organization",
        name => name,
    };
    let mut words = String::new();
    for letter in short.chars() {
        if letter.is_ascii_uppercase() {
            words.push(' ');
        }
        words.push(letter.to_ascii_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Total;

    #[test]
    fn many_damaged_files_do_not_bury_the_answer() {
        let files = ["a: it is damaged"; 10];
        assert_eq!(passed_over(files[..1].iter().copied()), ["Passed over, since it is damaged: a: it is damaged"]);
        assert_eq!(passed_over(files[..8].iter().copied()).len(), 8);
        let lines = passed_over(files.iter().copied());
        assert_eq!(lines.len(), 9);
        assert_eq!(lines[8], "2 more files are damaged and passed over; `--json` names them all.");
    }

    #[test]
    fn what_the_rows_are_about_is_shown_and_remarks_are_where_there_is_room() {
        let headings = |names: &[&str]| {
            let answer = Answer {
                from_ms: 0,
                to_ms: 1,
                total: Total::default(),
                of: 1,
                columns: names.iter().map(|name| ((*name).to_owned(), Unit::Name)).collect(),
                rows: vec![vec![Cell::Number(64_500); names.len()]],
                is_rough: false,
                unreadable: Vec::new(),
            };
            table(&answer).lines().next().map(str::to_owned)
        };
        assert_eq!(headings(&["asNumber", "asOrganization"]).as_deref(), Some("number  organization"));
        assert_eq!(headings(&["address", "asNumber", "asOrganization"]).as_deref(), Some("address  organization"));
    }
}
