//! What each question makes of rows, and the answer that comes of it.

use std::hash::Hash;

use hashbrown::HashMap;
use ipnet::IpNet;

use super::answer::{Answer, Cell, Unit};
use super::filter::Sieve;
use super::names::{self, NamesOf};
use super::scan::{Gather, Notes, UseOfRollup, gather};
use super::{Measure, Request, Source};
use crate::enrich::{icmp_name, service_name};
use crate::store::file::FileFault;
use crate::store::flows::{Flows, Side, ip};
use crate::store::rollup::{BothWays, Counts, Service, ServiceRows, TalkerRows, Tally, Weight};
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

pub(super) fn three(counts: Counts) -> [Cell; 3] {
    [counts.octets.into(), counts.packets.into(), counts.flows.into()]
}

pub(super) const THREE: [(&str, Unit); 3] =
    [("octets", Unit::Octets), ("packets", Unit::Count), ("flows", Unit::Count)];

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

/// Different keys that each thread counts at once for an answer: there may be more in a flood of forged addresses, and other work is
/// going on. What is beyond is forgotten, the smallest first, and the answer says so.
pub(crate) const MOST: usize = 1 << 18;

struct Talkers {
    tally: Tally<u128, BothWays>,
}

impl Default for Talkers {
    fn default() -> Self {
        Self { tally: Tally::bounded(MOST) }
    }
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

    fn summed(&mut self, _: &Sieve, _: i64, key: u128, value: BothWays) {
        self.tally.add(key, value);
    }

    fn join(&mut self, other: Self) {
        merge(&mut self.tally, other.tally);
    }
}

/// What a talker is ranked by: what it did on one side, or on both.
fn of_side(both: BothWays, side: Option<Side>) -> Counts {
    match side {
        Some(Side::Source) => both.sent,
        Some(Side::Destination) => both.received,
        None => both.sum(),
    }
}

/// Addresses by what they sent and received, or only those of one side by what they did there. Each row of flows counts for both of its
/// ends.
pub(super) fn talkers(source: Source<'_>, request: &Request, side: Option<Side>) -> Result<Answer, FileFault> {
    let (Talkers { mut tally }, mut notes) = gather(source, request, &Talkers::default())?;
    notes.is_rough |= tally.is_rough;
    let mut total = Counts::default();
    tally.counts.values().for_each(|both| total += both.sent);
    if side.is_some() {
        tally.counts.retain(|_, both| of_side(*both, side).flows > 0);
    }
    let columns: Vec<_> = [("address", Unit::Name)].into_iter().chain(SIX).collect();
    let mut answer = answer(request, notes, total, tally.counts.len(), &columns);
    answer.columns.extend(names::columns(""));
    let rows = first(&tally.counts, request.top, |both| measured(of_side(*both, side), request.by));
    let names = NamesOf::find(source, request, rows.iter().map(|(address, _)| *address), &mut answer)?;
    for (address, both) in rows {
        let address_and_counts = [Cell::Text(ip(address).to_string())].into_iter().chain(six(both));
        answer.rows.push(address_and_counts.chain(names.cells(address)).collect());
    }
    Ok(answer)
}

/// Networks of so many bits, IPv4 and IPv6, by what their addresses sent and received. What two addresses of one network have to do with
/// each other counts for both.
pub(super) fn networks(
    source: Source<'_>,
    request: &Request,
    (prefix, prefix6): (u8, u8),
) -> Result<Answer, FileFault> {
    let (Talkers { tally }, mut notes) = gather(source, request, &Talkers::default())?;
    notes.is_rough |= tally.is_rough;
    let mut total = Counts::default();
    let mut networks: HashMap<IpNet, BothWays> = HashMap::new();
    for (address, both) in tally.counts {
        total += both.sent;
        let address = ip(address);
        let length = if address.is_ipv4() { prefix.min(32) } else { prefix6.min(128) };
        let network = IpNet::new(address, length).map_or_else(|_| address.into(), |network| network.trunc());
        *networks.entry(network).or_default() += both;
    }
    let columns: Vec<_> = [("network", Unit::Name)].into_iter().chain(SIX).collect();
    let mut answer = answer(request, notes, total, networks.len(), &columns);
    for (network, both) in first(&networks, request.top, |both| measured(both.sum(), request.by)) {
        answer.rows.push([Cell::Text(network.to_string())].into_iter().chain(six(both)).collect());
    }
    Ok(answer)
}

/// What of services is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Uses {
    /// Ports of the protocols that have them.
    Ports,
    /// Types and codes of ICMP.
    Icmp,
}

struct Services {
    uses: Uses,
    tally: Tally<Service, Counts>,
    /// Of all of them, also those that were forgotten.
    total: Counts,
}

impl Services {
    fn of(uses: Uses) -> Self {
        Self { uses, tally: Tally::bounded(MOST), total: Counts::default() }
    }

    fn add(&mut self, service: Service, counts: Counts) {
        if service.has_port() == (self.uses == Uses::Ports) {
            self.total += counts;
            self.tally.add(service, counts);
        }
    }
}

impl Gather for Services {
    type Rollup = ServiceRows;

    fn use_of_rollup(&self, sieve: &Sieve) -> UseOfRollup {
        if sieve.is_of_protocols() { UseOfRollup::WholePeriods } else { UseOfRollup::Nothing }
    }

    fn fork(&self) -> Self {
        Self::of(self.uses)
    }

    fn columns(&self) -> &'static [&'static str] {
        counted!("protocolIdentifier", "sourceTransportPort", "destinationTransportPort", "icmpTypeCode")
    }

    fn row(&mut self, flows: &Flows, row: usize) {
        if let Some(service) = Service::of(flows, row) {
            self.add(service, Counts::of(flows, row));
        }
    }

    fn summed(&mut self, sieve: &Sieve, _: i64, key: Service, value: Counts) {
        if sieve.passes_protocol(key.protocol) {
            self.add(key, value);
        }
    }

    fn join(&mut self, other: Self) {
        self.total += other.total;
        merge(&mut self.tally, other.tally);
    }
}

/// Services by protocol and port, of the protocols that have ports.
pub(super) fn ports(source: Source<'_>, request: &Request) -> Result<Answer, FileFault> {
    let (Services { tally, total, .. }, mut notes) = gather(source, request, &Services::of(Uses::Ports))?;
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

/// Types and codes of ICMP and ICMPv6.
pub(super) fn icmp(source: Source<'_>, request: &Request) -> Result<Answer, FileFault> {
    let (Services { tally, total, .. }, mut notes) = gather(source, request, &Services::of(Uses::Icmp))?;
    notes.is_rough |= tally.is_rough;
    let names = ["protocolIdentifier", "protocol", "icmpType", "icmpCode", "name"];
    let columns: Vec<_> = names.map(|name| (name, Unit::Name)).into_iter().chain(THREE).collect();
    let mut answer = answer(request, notes, total, tally.counts.len(), &columns);
    for (service, counts) in first(&tally.counts, request.top, |counts| measured(*counts, request.by)) {
        let [kind, code] = [service.port >> 8, service.port & 0xff];
        let names = [
            Cell::Number(service.protocol.into()),
            Cell::Text(protocol_text(service.protocol)),
            Cell::Number(kind.into()),
            Cell::Number(code.into()),
            icmp_name(service.protocol, kind, code).into(),
        ];
        answer.rows.push(names.into_iter().chain(three(counts)).collect());
    }
    Ok(answer)
}
