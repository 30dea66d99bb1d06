//! What each question makes of rows, and the answer that comes of it.

use std::cmp::Ordering;
use std::hash::Hash;
use std::net::IpAddr;

use hashbrown::HashMap;

use super::answer::{Answer, Cell, Unit, bits_per_second};
use super::filter::Sieve;
use super::names::{self, NamesOf};
use super::scan::{Gather, Notes, UseOfRollup, gather};
use super::{Measure, Request, Source};
use crate::enrich::service_name;
use crate::store::file::FileFault;
use crate::store::flows::{Flows, Side, ip, mapped};
use crate::store::rollup::{BothWays, Counts, MinuteKey, MinuteRows, PortRows, Service, TalkerRows, Tally, Weight};
use crate::summary::protocol_name;

/// The columns that [`Counts::of`] looks at, and others.
macro_rules! counted {
    ($($name:literal),*) => {
        &["packetDeltaCount", "octetDeltaCount", "samplingInterval", $($name),*]
    };
}
pub(super) use counted;

pub(super) fn merge<K: Hash + Eq, V: Default + Weight + std::ops::AddAssign>(
    into: &mut Tally<K, V>,
    from: Tally<K, V>,
) {
    into.is_rough |= from.is_rough;
    if into.counts.is_empty() {
        into.counts = from.counts;
        return;
    }
    for (key, value) in from.counts {
        into.add(key, value);
    }
}

pub(super) fn measured(counts: Counts, by: Measure) -> i64 {
    match by {
        Measure::Octets => counts.octets,
        Measure::Packets => counts.packets,
        Measure::Flows => counts.flows,
    }
}

/// The first `top` of a tally, most first; equals in the order of their keys.
pub(super) fn first<K: Ord + Clone, V: Copy>(
    tally: &HashMap<K, V>,
    top: usize,
    weight: impl Fn(&V) -> i64,
) -> Vec<(K, V)> {
    let mut all: Vec<(&K, &V)> = tally.iter().collect();
    let order = |a: &(&K, &V), b: &(&K, &V)| weight(b.1).cmp(&weight(a.1)).then_with(|| a.0.cmp(b.0));
    if all.len() > top {
        all.select_nth_unstable_by(top, order);
        all.truncate(top);
    }
    all.sort_unstable_by(order);
    all.into_iter().map(|(key, value)| (key.clone(), *value)).collect()
}

pub(super) fn answer(request: &Request, notes: Notes, total: Counts, of: usize, columns: &[(&str, Unit)]) -> Answer {
    Answer {
        from_ms: request.from_ms,
        to_ms: request.to_ms,
        total: total.into(),
        of: of as u64,
        columns: columns.iter().map(|(name, unit)| ((*name).to_owned(), *unit)).collect(),
        rows: Vec::new(),
        is_rough: notes.is_rough,
        unreadable: notes.unreadable,
    }
}

fn three(counts: Counts) -> [Cell; 3] {
    [counts.octets.into(), counts.packets.into(), counts.flows.into()]
}

const THREE: [(&str, Unit); 3] = [("octets", Unit::Octets), ("packets", Unit::Count), ("flows", Unit::Count)];

/// Six columns: what was sent, and what was received.
pub(super) const SIX: [(&str, Unit); 6] = [
    ("octetsSent", Unit::Octets),
    ("octetsReceived", Unit::Octets),
    ("packetsSent", Unit::Count),
    ("packetsReceived", Unit::Count),
    ("flowsSent", Unit::Count),
    ("flowsReceived", Unit::Count),
];

pub(super) fn six(both: BothWays) -> [Cell; 6] {
    let BothWays { sent, received } = both;
    [sent.octets, received.octets, sent.packets, received.packets, sent.flows, received.flows].map(Cell::Number)
}

pub(super) fn protocol_text(protocol: i32) -> String {
    u8::try_from(protocol).map_or_else(|_| protocol.to_string(), protocol_name)
}

/// The name of the service at a port.
pub(super) fn service_cell(protocol: i32, port: i32) -> Cell {
    service_name(protocol, port).map(|name| &**name).into()
}

#[derive(Default)]
struct Talkers {
    tally: Tally<u128, BothWays>,
}

impl Gather for Talkers {
    type Rollup = TalkerRows;

    fn use_of_rollup(&self, sieve: &Sieve) -> UseOfRollup {
        if sieve.is_of_time_only() { UseOfRollup::WholePeriods } else { UseOfRollup::Nothing }
    }

    fn fork(&self) -> Self {
        Self::default()
    }

    fn columns(&self) -> &'static [&'static str] {
        counted!("sourceIPAddress", "destinationIPAddress")
    }

    fn row(&mut self, flows: &Flows, row: usize) {
        let counts = Counts::of(flows, row);
        self.tally.add(flows.source[row], BothWays::of(Side::Source, counts));
        self.tally.add(flows.destination[row], BothWays::of(Side::Destination, counts));
    }

    fn summed(&mut self, _: &Sieve, key: u128, value: BothWays) {
        self.tally.add(key, value);
    }

    fn join(&mut self, other: Self) {
        merge(&mut self.tally, other.tally);
    }
}

/// Addresses by what they sent and received. Each row of flows counts for both of its ends.
pub(super) fn talkers(source: Source<'_>, request: &Request) -> Result<Answer, FileFault> {
    let (Talkers { tally }, mut notes) = gather(source, request, &Talkers::default())?;
    notes.is_rough |= tally.is_rough;
    let mut total = Counts::default();
    tally.counts.values().for_each(|both| total += both.sent);
    let columns: Vec<_> = [("address", Unit::Name)].into_iter().chain(SIX).collect();
    let mut answer = answer(request, notes, total, tally.counts.len(), &columns);
    answer.columns.extend(names::columns(""));
    let rows = first(&tally.counts, request.top, |both| measured(both.sum(), request.by));
    let names = NamesOf::find(source, request, rows.iter().map(|(address, _)| *address), &mut answer)?;
    for (address, both) in rows {
        let address_and_counts = [Cell::Text(ip(address).to_string())].into_iter().chain(six(both));
        answer.rows.push(address_and_counts.chain(names.cells(address)).collect());
    }
    Ok(answer)
}

#[derive(Default)]
struct Protocols {
    tally: Tally<i32, Counts>,
}

impl Gather for Protocols {
    type Rollup = MinuteRows;

    fn use_of_rollup(&self, sieve: &Sieve) -> UseOfRollup {
        if sieve.is_of_minutes() { UseOfRollup::Minutes } else { UseOfRollup::Nothing }
    }

    fn fork(&self) -> Self {
        Self::default()
    }

    fn columns(&self) -> &'static [&'static str] {
        counted!("protocolIdentifier")
    }

    fn row(&mut self, flows: &Flows, row: usize) {
        self.tally.add(flows.protocol[row], Counts::of(flows, row));
    }

    fn summed(&mut self, sieve: &Sieve, key: MinuteKey, value: Counts) {
        if sieve.passes_minute(&key) {
            self.tally.add(key.protocol, value);
        }
    }

    fn join(&mut self, other: Self) {
        merge(&mut self.tally, other.tally);
    }
}

/// Protocols.
pub(super) fn protocols(source: Source<'_>, request: &Request) -> Result<Answer, FileFault> {
    let (Protocols { tally }, mut notes) = gather(source, request, &Protocols::default())?;
    notes.is_rough |= tally.is_rough;
    let mut total = Counts::default();
    tally.counts.values().for_each(|counts| total += *counts);
    let columns: Vec<_> =
        [("protocolIdentifier", Unit::Name), ("protocol", Unit::Name)].into_iter().chain(THREE).collect();
    let mut answer = answer(request, notes, total, tally.counts.len(), &columns);
    for (protocol, counts) in first(&tally.counts, request.top, |counts| measured(*counts, request.by)) {
        let names = [Cell::Number(protocol.into()), Cell::Text(protocol_text(protocol))];
        answer.rows.push(names.into_iter().chain(three(counts)).collect());
    }
    Ok(answer)
}

#[derive(Default)]
struct Ports {
    tally: Tally<Service, Counts>,
    /// What has no ports, too.
    total: Counts,
}

impl Gather for Ports {
    type Rollup = PortRows;

    fn use_of_rollup(&self, sieve: &Sieve) -> UseOfRollup {
        if sieve.is_of_time_only() { UseOfRollup::WholePeriods } else { UseOfRollup::Nothing }
    }

    fn fork(&self) -> Self {
        Self::default()
    }

    fn columns(&self) -> &'static [&'static str] {
        counted!("protocolIdentifier", "sourceTransportPort", "destinationTransportPort")
    }

    fn row(&mut self, flows: &Flows, row: usize) {
        if let Some(service) = Service::of(flows, row) {
            let counts = Counts::of(flows, row);
            self.total += counts;
            self.tally.add(service, counts);
        }
    }

    fn summed(&mut self, _: &Sieve, key: Service, value: Counts) {
        self.total += value;
        self.tally.add(key, value);
    }

    fn join(&mut self, other: Self) {
        self.total += other.total;
        merge(&mut self.tally, other.tally);
    }
}

/// Services by protocol and port, of the protocols that have ports.
pub(super) fn ports(source: Source<'_>, request: &Request) -> Result<Answer, FileFault> {
    let (Ports { tally, total }, mut notes) = gather(source, request, &Ports::default())?;
    notes.is_rough |= tally.is_rough;
    let columns: Vec<_> = [
        ("protocolIdentifier", Unit::Name),
        ("protocol", Unit::Name),
        ("port", Unit::Name),
        ("serviceName", Unit::Name),
    ]
    .into_iter()
    .chain(THREE)
    .collect();
    let mut answer = answer(request, notes, total, tally.counts.len(), &columns);
    for (service, counts) in first(&tally.counts, request.top, |counts| measured(*counts, request.by)) {
        let names = [
            Cell::Number(service.protocol.into()),
            Cell::Text(protocol_text(service.protocol)),
            Cell::Number(service.port.into()),
            service_cell(service.protocol, service.port),
        ];
        answer.rows.push(names.into_iter().chain(three(counts)).collect());
    }
    Ok(answer)
}

/// Both ends of a conversation. The server is the end with the lower port; where both are alike, or there are none, the end with the
/// larger address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Conversation {
    client: u128,
    server: u128,
    protocol: i32,
    port: i32,
}

/// What of a conversation was counted: when first and last, and from the client and to it.
#[derive(Clone, Copy, Debug)]
struct Exchanged {
    both: BothWays,
    first_ms: i64,
    last_ms: i64,
}

impl Default for Exchanged {
    fn default() -> Self {
        Self { both: BothWays::default(), first_ms: i64::MAX, last_ms: i64::MIN }
    }
}

impl std::ops::AddAssign for Exchanged {
    fn add_assign(&mut self, other: Self) {
        self.both += other.both;
        self.first_ms = self.first_ms.min(other.first_ms);
        self.last_ms = self.last_ms.max(other.last_ms);
    }
}

impl Weight for Exchanged {
    fn weight(&self) -> u64 {
        self.both.weight()
    }
}

#[derive(Default)]
struct Conversations {
    tally: Tally<Conversation, Exchanged>,
    total: Counts,
}

impl Gather for Conversations {
    type Rollup = MinuteRows;

    fn use_of_rollup(&self, _: &Sieve) -> UseOfRollup {
        UseOfRollup::Nothing
    }

    fn fork(&self) -> Self {
        Self::default()
    }

    fn columns(&self) -> &'static [&'static str] {
        counted!(
            "sourceIPAddress",
            "destinationIPAddress",
            "protocolIdentifier",
            "sourceTransportPort",
            "destinationTransportPort",
            "flowStartMilliseconds"
        )
    }

    fn row(&mut self, flows: &Flows, row: usize) {
        let counts = Counts::of(flows, row);
        self.total += counts;
        let (source, destination) = (flows.source[row], flows.destination[row]);
        let (source_port, destination_port) = (flows.source_port[row], flows.destination_port[row]);
        let is_from_client = match source_port.cmp(&destination_port) {
            Ordering::Greater => true,
            Ordering::Less => false,
            Ordering::Equal => source <= destination,
        };
        let (client, server) = if is_from_client { (source, destination) } else { (destination, source) };
        let both = BothWays::of(if is_from_client { Side::Source } else { Side::Destination }, counts);
        let port = source_port.min(destination_port);
        let key = Conversation { client, server, protocol: flows.protocol[row], port };
        self.tally.add(key, Exchanged { both, first_ms: flows.start_ms[row], last_ms: flows.end_ms[row] });
    }

    fn summed(&mut self, _: &Sieve, _: MinuteKey, _: Counts) {}

    fn join(&mut self, other: Self) {
        self.total += other.total;
        merge(&mut self.tally, other.tally);
    }
}

const OF_CONVERSATION: [(&str, Unit); 6] = [
    ("protocolIdentifier", Unit::Name),
    ("protocol", Unit::Name),
    ("port", Unit::Name),
    ("serviceName", Unit::Name),
    ("firstMilliseconds", Unit::Time),
    ("lastMilliseconds", Unit::Time),
];

/// Who talked to whom.
pub(super) fn conversations(source: Source<'_>, request: &Request) -> Result<Answer, FileFault> {
    of_conversations(source, request, None)
}

/// The conversations of one address: what is sent is what it sent.
pub(super) fn host(source: Source<'_>, request: &Request, address: IpAddr) -> Result<Answer, FileFault> {
    of_conversations(source, request, Some(mapped(address)))
}

/// Conversations by both of their ends; or as one address has them, by its peer.
fn of_conversations(source: Source<'_>, request: &Request, own: Option<u128>) -> Result<Answer, FileFault> {
    let (Conversations { tally, total }, mut notes) = gather(source, request, &Conversations::default())?;
    notes.is_rough |= tally.is_rough;
    let ends = if own.is_none() { ["client", "server"] } else { ["peer", "role"] };
    let columns: Vec<_> = ends.map(|end| (end, Unit::Name)).into_iter().chain(OF_CONVERSATION).chain(SIX).collect();
    let mut answer = answer(request, notes, total, tally.counts.len(), &columns);
    let named = if own.is_none() { &ends[..] } else { &ends[..1] };
    named.iter().for_each(|end| answer.columns.extend(names::columns(end)));
    let rows = first(&tally.counts, request.top, |one| measured(one.both.sum(), request.by));
    let names = NamesOf::find(source, request, rows.iter().flat_map(|(key, _)| [key.client, key.server]), &mut answer)?;
    for (key, Exchanged { both, first_ms, last_ms }) in rows {
        let address = |bits| Cell::Text(ip(bits).to_string());
        let BothWays { sent, received } = both;
        let (ends, both, named) = match own {
            None => ([address(key.client), address(key.server)], both, vec![key.client, key.server]),
            Some(own) if own == key.client => {
                ([address(key.server), Cell::from("client".to_owned())], both, vec![key.server])
            }
            Some(_) => {
                let both = BothWays { sent: received, received: sent };
                ([address(key.client), Cell::from("server".to_owned())], both, vec![key.client])
            }
        };
        let service = [
            Cell::Number(key.protocol.into()),
            Cell::Text(protocol_text(key.protocol)),
            Cell::Number(key.port.into()),
            service_cell(key.protocol, key.port),
        ];
        let times = [first_ms, last_ms].map(Cell::Number);
        let mut row: Vec<Cell> = ends.into_iter().chain(service).chain(times).chain(six(both)).collect();
        named.into_iter().for_each(|address| row.extend(names.cells(address)));
        answer.rows.push(row);
    }
    Ok(answer)
}

struct Series {
    step_ms: i64,
    by_protocol: bool,
    tally: Tally<(i64, i32), Counts>,
}

impl Series {
    fn key(&self, end_ms: i64, protocol: i32) -> (i64, i32) {
        (end_ms.div_euclid(self.step_ms) * self.step_ms, if self.by_protocol { protocol } else { 0 })
    }
}

impl Gather for Series {
    type Rollup = MinuteRows;

    fn use_of_rollup(&self, sieve: &Sieve) -> UseOfRollup {
        let is_of_minutes = self.step_ms % crate::store::rollup::MINUTE_MS == 0;
        if is_of_minutes && sieve.is_of_minutes() { UseOfRollup::Minutes } else { UseOfRollup::Nothing }
    }

    fn fork(&self) -> Self {
        Self { step_ms: self.step_ms, by_protocol: self.by_protocol, tally: Tally::default() }
    }

    fn columns(&self) -> &'static [&'static str] {
        counted!("protocolIdentifier")
    }

    fn row(&mut self, flows: &Flows, row: usize) {
        self.tally.add(self.key(flows.end_ms[row], flows.protocol[row]), Counts::of(flows, row));
    }

    fn summed(&mut self, sieve: &Sieve, key: MinuteKey, value: Counts) {
        if sieve.passes_minute(&key) {
            self.tally.add(self.key(key.minute_ms, key.protocol), value);
        }
    }

    fn join(&mut self, other: Self) {
        merge(&mut self.tally, other.tally);
    }
}

/// Steps that a series has at most where nothing happened in them.
const MOST_STEPS: i64 = 100_000;

/// Rates over time. A record counts for the step in which its flow ended, or was reported. Steps in which there was nothing are
/// there too, unless they are by protocol.
pub(super) fn series(
    source: Source<'_>,
    request: &Request,
    step_ms: i64,
    by_protocol: bool,
) -> Result<Answer, FileFault> {
    let empty = Series { step_ms: step_ms.max(1), by_protocol, tally: Tally::default() };
    let (Series { step_ms, mut tally, .. }, mut notes) = gather(source, request, &empty)?;
    notes.is_rough |= tally.is_rough;
    let mut total = Counts::default();
    tally.counts.values().for_each(|counts| total += *counts);
    let (start, steps) = (request.from_ms.div_euclid(step_ms), (request.to_ms - 1).div_euclid(step_ms));
    if !by_protocol && steps - start < MOST_STEPS {
        for step in start..=steps {
            tally.counts.entry((step * step_ms, 0)).or_default();
        }
    }
    let mut columns = vec![("milliseconds", Unit::Time)];
    if by_protocol {
        columns.extend([("protocolIdentifier", Unit::Name), ("protocol", Unit::Name)]);
    }
    columns.extend(THREE);
    columns.push(("bitsPerSecond", Unit::BitsPerSecond));
    let mut answer = answer(request, notes, total, tally.counts.len(), &columns);
    let mut keys: Vec<(i64, i32)> = tally.counts.keys().copied().collect();
    keys.sort_unstable();
    for key in keys {
        let counts = tally.counts[&key];
        // A step of which only a part was asked for lasts as long as that.
        let lasts_ms = (key.0 + step_ms).min(request.to_ms) - key.0.max(request.from_ms);
        let mut row = vec![Cell::Number(key.0)];
        if by_protocol {
            row.extend([Cell::Number(key.1.into()), Cell::Text(protocol_text(key.1))]);
        }
        row.extend(three(counts));
        row.push(Cell::Number(bits_per_second(counts.octets, lasts_ms)));
        answer.rows.push(row);
    }
    Ok(answer)
}
