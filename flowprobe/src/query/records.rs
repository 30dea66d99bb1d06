//! The question for records one by one.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::answer::{Answer, Cell, Unit};
use super::filter::Sieve;
use super::gather::{answer, protocol_text};
use super::scan::{Gather, Notes, Step, UseOfRollup, patiently, plan, take_all};
use super::{Request, Source, minutes};
use crate::store::columns::{Columns as _, Kind, Values};
use crate::store::file::{FileFault, Reader};
use crate::store::flows::{Flows, ip, put_mac};
use crate::store::layout::Hour;
use crate::store::rollup::{Counts, MinuteKey, MinuteRows};

/// The columns of an answer: those of flows, and the name of the protocol.
const SHOWN: [(&str, Unit); 38] = [
    ("flowStartMilliseconds", Unit::Time),
    ("flowEndMilliseconds", Unit::Time),
    ("sourceIPAddress", Unit::Name),
    ("sourceTransportPort", Unit::Name),
    ("destinationIPAddress", Unit::Name),
    ("destinationTransportPort", Unit::Name),
    ("protocolIdentifier", Unit::Name),
    (PROTOCOL, Unit::Name),
    ("serviceName", Unit::Name),
    ("icmpTypeCode", Unit::Name),
    ("tcpControlBits", Unit::Name),
    ("octetDeltaCount", Unit::Octets),
    ("packetDeltaCount", Unit::Count),
    ("samplingInterval", Unit::Count),
    ("ingressInterface", Unit::Name),
    ("ingressInterfaceName", Unit::Name),
    ("ingressInterfaceDescription", Unit::Name),
    ("egressInterface", Unit::Name),
    ("egressInterfaceName", Unit::Name),
    ("egressInterfaceDescription", Unit::Name),
    ("flowDirection", Unit::Name),
    ("flowEndReason", Unit::Name),
    ("exporterIPAddress", Unit::Name),
    ("sourceHostName", Unit::Name),
    ("sourceLabel", Unit::Name),
    ("bgpSourceAsNumber", Unit::Name),
    ("sourceAsOrganization", Unit::Name),
    ("sourceCountryCode", Unit::Name),
    ("sourceCityName", Unit::Name),
    ("sourceMacVendor", Unit::Name),
    ("destinationHostName", Unit::Name),
    ("destinationLabel", Unit::Name),
    ("bgpDestinationAsNumber", Unit::Name),
    ("destinationAsOrganization", Unit::Name),
    ("destinationCountryCode", Unit::Name),
    ("destinationCityName", Unit::Name),
    ("destinationMacVendor", Unit::Name),
    ("otherElements", Unit::Name),
];
const PROTOCOL: &str = "protocol";

/// The names alone.
static NAMES: [&str; SHOWN.len()] = {
    let (mut names, mut at) = ([""; SHOWN.len()], 0);
    while at < SHOWN.len() {
        names[at] = SHOWN[at].0;
        at += 1;
    }
    names
};

/// Rows as they are, the latest first.
struct Records {
    top: usize,
    /// Which columns of flows are shown; none for the name of the protocol.
    shown: Arc<[Option<usize>]>,
    /// When each ended, and its cells; a few more than are asked for, now and then.
    rows: Vec<(i64, Vec<Cell>)>,
    /// Rows that ended before this are not among the latest.
    oldest_ms: i64,
}

impl Records {
    fn new(top: usize, shown: Arc<[Option<usize>]>) -> Self {
        Self { top, shown, rows: Vec::new(), oldest_ms: i64::MIN }
    }

    fn keep_latest(&mut self) {
        self.rows.sort_by(|(a, one), (b, other)| b.cmp(a).then_with(|| compare(one, other)));
        self.rows.truncate(self.top);
        if let Some((oldest_ms, _)) = self.rows.last().filter(|_| self.rows.len() == self.top) {
            self.oldest_ms = *oldest_ms;
        }
    }
}

/// What a column says in a row.
fn cell(flows: &Flows, column: usize, row: usize) -> Cell {
    match (Flows::COLUMNS[column].kind, flows.values(column)) {
        (_, Values::Long(values)) => values[row].into(),
        (_, Values::Int(values)) => i64::from(values[row]).into(),
        (Kind::OptionalAddress, Values::Address(values)) if values[row] == 0 => Cell::None,
        (_, Values::Address(values)) => ip(values[row]).to_string().into(),
        (_, Values::Mac(values)) if values[row] == 0 => Cell::None,
        (_, Values::Mac(values)) => {
            let mut text = String::new();
            put_mac(values[row], &mut text);
            text.into()
        }
        (_, Values::Text(values)) => values[row].as_deref().into(),
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
        Self { oldest_ms: self.oldest_ms, ..Self::new(self.top, Arc::clone(&self.shown)) }
    }

    fn columns(&self) -> &'static [&'static str] {
        &NAMES
    }

    fn row(&mut self, flows: &Flows, row: usize) {
        let end_ms = flows.end_ms[row];
        if end_ms < self.oldest_ms {
            return;
        }
        let cells = self.shown.iter().map(|column| match column {
            Some(column) => cell(flows, *column, row),
            None => protocol_text(flows.protocol[row]).into(),
        });
        self.rows.push((end_ms, cells.collect()));
        if self.rows.len() >= self.top.saturating_mul(2).max(1024) {
            self.keep_latest();
        }
    }

    fn summed(&mut self, _: &Sieve, _: i64, _: MinuteKey, _: Counts) {}

    fn choose(&mut self, flows: &Flows, rows: &mut Vec<usize>) {
        if rows.len() > self.top {
            let nth = rows.len() - self.top;
            let (_, row, _) = rows.select_nth_unstable_by_key(nth, |row| flows.end_ms[*row]);
            self.oldest_ms = self.oldest_ms.max(flows.end_ms[*row]);
        }
        rows.retain(|row| flows.end_ms[*row] >= self.oldest_ms);
    }

    fn passes_over(&self, reader: &Reader<Flows>, group: usize) -> bool {
        let ends = Flows::index_of("flowEndMilliseconds").and_then(|column| reader.extent(group, column));
        ends.is_some_and(|(_, last)| last < self.oldest_ms)
    }

    fn join(&mut self, other: Self) {
        self.rows.extend(other.rows);
        self.keep_latest();
    }
}

/// Records one by one, the latest first.
pub(super) fn records(source: Source<'_>, request: &Request) -> Result<Answer, FileFault> {
    let shown: Arc<[_]> = NAMES.iter().map(|name| Flows::index_of(name)).collect();
    // Sums are kept longer than records.
    let first = source.snapshot()?.hours.keys().next().map_or(i64::MIN, |hour| hour.start_ms());
    let kept = Request { from_ms: request.from_ms.max(first.min(request.to_ms)), ..request.clone() };
    let (total, notes) = minutes::total(source, &kept)?;
    let sieve = Sieve::of(&request.filter, request.from_ms, request.to_ms);
    let (mut records, of_latest) = patiently(|damaged| {
        let (snapshot, layout) = (source.snapshot()?, source.layout());
        let mut hours: BTreeMap<Hour, Vec<Step>> = BTreeMap::new();
        for step in plan::<MinuteRows>(layout, &snapshot, &sieve, UseOfRollup::Nothing, damaged)? {
            hours.entry(step.hour()).or_default().push(step);
        }
        let (mut latest, mut notes) = (Records::new(request.top, Arc::clone(&shown)), Notes::default());
        for (hour, steps) in hours.into_iter().rev() {
            if hour.end_ms() <= latest.oldest_ms {
                break;
            }
            let (of_hour, of_reading) = take_all(source, &snapshot, &steps, &sieve, &latest)?;
            latest.join(of_hour);
            notes.join(of_reading);
        }
        Ok((latest, notes))
    })?;
    records.keep_latest();
    let mut answer = answer(request, notes, total, usize::try_from(total.flows).unwrap_or(0), &SHOWN);
    for file in of_latest.unreadable {
        if !answer.unreadable.contains(&file) {
            answer.unreadable.push(file);
        }
    }
    answer.rows.extend(records.rows.into_iter().map(|(_, cells)| cells));
    Ok(answer)
}
