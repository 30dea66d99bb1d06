//! The question for records one by one.

use std::cmp::Ordering;

use super::answer::{Answer, Cell, Unit};
use super::filter::Sieve;
use super::gather::{answer, counted, protocol_text};
use super::scan::{Gather, UseOfRollup, gather};
use super::{Request, Source};
use crate::store::file::FileFault;
use crate::store::flows::{Flows, ip};
use crate::store::rollup::{Counts, MinuteKey, MinuteRows};

/// Rows as they are, the latest first.
struct Records {
    top: usize,
    /// When each ended, and its cells; a few more than are asked for, now and then.
    rows: Vec<(i64, Vec<Cell>)>,
    of: usize,
    total: Counts,
}

impl Records {
    fn keep_latest(&mut self) {
        self.rows.sort_by(|(a, one), (b, other)| b.cmp(a).then_with(|| compare(one, other)));
        self.rows.truncate(self.top);
    }
}

/// An order for rows that ended in the same millisecond, so that the same question has the same answer.
fn compare(one: &[Cell], other: &[Cell]) -> Ordering {
    let pairs = one.iter().zip(other).map(|(one, other)| match (one, other) {
        (Cell::Number(one), Cell::Number(other)) => one.cmp(other),
        (Cell::Text(one), Cell::Text(other)) => one.cmp(other),
        (Cell::None, Cell::None) => Ordering::Equal,
        (Cell::None, _) => Ordering::Less,
        (_, Cell::None) => Ordering::Greater,
        (Cell::Number(_), Cell::Text(_)) => Ordering::Less,
        (Cell::Text(_), Cell::Number(_)) => Ordering::Greater,
    });
    pairs.into_iter().find(|order| *order != Ordering::Equal).unwrap_or(Ordering::Equal)
}

impl Gather for Records {
    type Rollup = MinuteRows;

    fn use_of_rollup(&self, _: &Sieve) -> UseOfRollup {
        UseOfRollup::Nothing
    }

    fn fork(&self) -> Self {
        Self { top: self.top, rows: Vec::new(), of: 0, total: Counts::default() }
    }

    fn columns(&self) -> &'static [&'static str] {
        counted!(
            "flowStartMilliseconds",
            "sourceIPAddress",
            "destinationIPAddress",
            "protocolIdentifier",
            "sourceTransportPort",
            "destinationTransportPort",
            "icmpTypeCode",
            "tcpControlBits",
            "ingressInterface",
            "egressInterface",
            "ingressInterfaceName",
            "egressInterfaceName",
            "flowDirection",
            "flowEndReason",
            "exporterIPAddress",
            "otherElements",
            "bgpSourceAsNumber",
            "bgpDestinationAsNumber",
            "sourceAsOrganization",
            "destinationAsOrganization",
            "sourceCountryCode",
            "destinationCountryCode",
            "sourceCityName",
            "destinationCityName",
            "sourceLabel",
            "destinationLabel",
            "sourceHostName",
            "destinationHostName",
            "sourceMacVendor",
            "destinationMacVendor",
            "ingressInterfaceDescription",
            "egressInterfaceDescription",
            "serviceName"
        )
    }

    fn row(&mut self, flows: &Flows, row: usize) {
        let counts = Counts::of(flows, row);
        self.total += counts;
        self.of += 1;
        let end_ms = flows.end_ms[row];
        let exporter = flows.exporter[row];
        let mut cells: Vec<Cell> = vec![
            flows.start_ms[row].into(),
            end_ms.into(),
            ip(flows.source[row]).to_string().into(),
            i64::from(flows.source_port[row]).into(),
            ip(flows.destination[row]).to_string().into(),
            i64::from(flows.destination_port[row]).into(),
            i64::from(flows.protocol[row]).into(),
            protocol_text(flows.protocol[row]).into(),
            i64::from(flows.icmp[row]).into(),
            i64::from(flows.tcp_flags[row]).into(),
        ];
        cells.extend([flows.octets[row], flows.packets[row], flows.sampling[row]].map(Cell::Number));
        cells.extend([
            flows.ingress[row].into(),
            flows.ingress_name[row].as_deref().into(),
            flows.egress[row].into(),
            flows.egress_name[row].as_deref().into(),
            i64::from(flows.direction[row]).into(),
            i64::from(flows.end_reason[row]).into(),
            if exporter == 0 { Cell::None } else { ip(exporter).to_string().into() },
            flows.others[row].as_deref().into(),
            flows.service[row].as_deref().into(),
        ]);
        cells.extend(KNOWN.iter().map(|(_, cell)| cell(flows, row)));
        self.rows.push((end_ms, cells));
        if self.rows.len() >= self.top.saturating_mul(2).max(1024) {
            self.keep_latest();
        }
    }

    fn summed(&mut self, _: &Sieve, _: MinuteKey, _: Counts) {}

    fn join(&mut self, other: Self) {
        self.of += other.of;
        self.total += other.total;
        self.rows.extend(other.rows);
        self.keep_latest();
    }
}

/// What is known of both ends and of the interfaces: names of columns, and what they say of a row.
type Say = fn(&Flows, usize) -> Cell;
const KNOWN: [(&str, Say); 16] = [
    ("sourceHostName", |flows, row| flows.source_host[row].as_deref().into()),
    ("sourceLabel", |flows, row| flows.source_label[row].as_deref().into()),
    ("bgpSourceAsNumber", |flows, row| number(flows.source_as[row])),
    ("sourceAsOrganization", |flows, row| flows.source_as_organization[row].as_deref().into()),
    ("sourceCountryCode", |flows, row| flows.source_country[row].as_deref().into()),
    ("sourceCityName", |flows, row| flows.source_city[row].as_deref().into()),
    ("sourceMacVendor", |flows, row| flows.source_vendor[row].as_deref().into()),
    ("destinationHostName", |flows, row| flows.destination_host[row].as_deref().into()),
    ("destinationLabel", |flows, row| flows.destination_label[row].as_deref().into()),
    ("bgpDestinationAsNumber", |flows, row| number(flows.destination_as[row])),
    ("destinationAsOrganization", |flows, row| flows.destination_as_organization[row].as_deref().into()),
    ("destinationCountryCode", |flows, row| flows.destination_country[row].as_deref().into()),
    ("destinationCityName", |flows, row| flows.destination_city[row].as_deref().into()),
    ("destinationMacVendor", |flows, row| flows.destination_vendor[row].as_deref().into()),
    ("ingressInterfaceDescription", |flows, row| flows.ingress_alias[row].as_deref().into()),
    ("egressInterfaceDescription", |flows, row| flows.egress_alias[row].as_deref().into()),
];

/// A number, of which 0 is none.
const fn number(number: i64) -> Cell {
    if number == 0 { Cell::None } else { Cell::Number(number) }
}

/// Records one by one, the latest first.
pub(super) fn records(source: Source<'_>, request: &Request) -> Result<Answer, FileFault> {
    let empty = Records { top: request.top, rows: Vec::new(), of: 0, total: Counts::default() };
    let (mut records, notes) = gather(source, request, &empty)?;
    records.keep_latest();
    let columns = [
        ("flowStartMilliseconds", Unit::Time),
        ("flowEndMilliseconds", Unit::Time),
        ("sourceIPAddress", Unit::Name),
        ("sourceTransportPort", Unit::Name),
        ("destinationIPAddress", Unit::Name),
        ("destinationTransportPort", Unit::Name),
        ("protocolIdentifier", Unit::Name),
        ("protocol", Unit::Name),
        ("icmpTypeCode", Unit::Name),
        ("tcpControlBits", Unit::Name),
        ("octetDeltaCount", Unit::Octets),
        ("packetDeltaCount", Unit::Count),
        ("samplingInterval", Unit::Count),
        ("ingressInterface", Unit::Name),
        ("ingressInterfaceName", Unit::Name),
        ("egressInterface", Unit::Name),
        ("egressInterfaceName", Unit::Name),
        ("flowDirection", Unit::Name),
        ("flowEndReason", Unit::Name),
        ("exporterIPAddress", Unit::Name),
        ("otherElements", Unit::Name),
        ("serviceName", Unit::Name),
    ];
    let mut answer = answer(request, notes, records.total, records.of, &columns);
    answer.columns.extend(KNOWN.iter().map(|(name, _)| ((*name).to_owned(), Unit::Name)));
    answer.rows.extend(records.rows.into_iter().map(|(_, cells)| cells));
    Ok(answer)
}
