//! All that is known of one address, in one reading.

use std::net::IpAddr;

use hashbrown::HashMap;
use ipnet::IpNet;

use super::answer::{Answer, Cell, Unit};
use super::conversations;
use super::filter::Sieve;
use super::gather::{MOST, SIX, answer, counted, first, measured, merge, protocol_text, service_cell, six};
use super::names::{self, NamesOf};
use super::scan::{Gather, Notes, UseOfRollup, gather, patiently, plan, take_all};
use super::{Filter, Request, Source};
use crate::store::columns::Columns as _;
use crate::store::file::{FileFault, Reader};
use crate::store::flows::{Flows, Side, ip, mapped};
use crate::store::layout::{DAY_MS, HOUR_MS};
use crate::store::rollup::{
    BothWays, Conversation, Counts, Exchanged, MinuteKey, MinuteRows, Service, TalkerRows, Tally,
};

/// What history knows of an address.
#[derive(Clone, Debug)]
pub struct Host {
    /// The address.
    pub address: IpAddr,
    /// What it was called: the columns of an answer that are about that, and what they say.
    pub names: Vec<(String, Cell)>,
    /// From which network cards its packets came, the latest first.
    pub mac_addresses: Vec<MacAddress>,
    /// When it was first in a flow, in all of history: milliseconds since 1970 UTC. To the hour where records are gone.
    pub first_ms: Option<i64>,
    /// And when it was last.
    pub last_ms: Option<i64>,
    /// What it sent and received in the time that is asked for.
    pub both: BothWays,
    /// The same over time.
    pub series: HostSeries,
    /// With whom.
    pub peers: Answer,
    /// Which services it used or had.
    pub services: Answer,
    /// Both, conversation by conversation.
    pub conversations: Answer,
}

/// A network card from which packets of a host came: its own, or that of the router before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacAddress {
    /// Its 48 bits.
    pub bits: u64,
    /// When it was last seen, milliseconds since 1970 UTC.
    pub last_ms: i64,
}

/// What a host did in steps of time.
#[derive(Clone, Debug, Default)]
pub struct HostSeries {
    /// Beginnings of the steps, milliseconds since 1970 UTC.
    pub steps: Vec<i64>,
    /// What it sent and received in each.
    pub counts: Vec<BothWays>,
}

/// Network cards that are remembered at most.
const MOST_CARDS: usize = 64;

/// All that there is of an address: `request` says in which time, and how many rows of each table.
///
/// # Errors
/// A folder cannot be read.
pub fn host(source: Source<'_>, request: &Request, address: IpAddr, step_ms: i64) -> Result<Host, FileFault> {
    let own = mapped(address);
    let filter = Filter { addresses: vec![address.into()], ..request.filter.clone() };
    let request = &Request { filter, ..request.clone() };
    let (found, mut notes) = gather(source, request, &Found::new(own, step_ms.max(1)))?;
    notes.is_rough |= found.conversations.is_rough;
    let (first_ms, last_ms) = seen(source, request, address, found.times)?;
    let steps: Vec<i64> = (request.from_ms.div_euclid(found.step_ms)..=(request.to_ms - 1).div_euclid(found.step_ms))
        .map(|step| step * found.step_ms)
        .collect();
    let counts = steps.iter().map(|step| found.steps.get(step).copied().unwrap_or_default()).collect();
    let peers = peers(source, request, &found, notes.clone())?;
    let services = services(request, &found, notes.clone());
    let as_seen = conversations::Seen { total: found.both.sum(), by: Some(own) };
    let conversations = conversations::rows(source, request, &found.conversations.counts, as_seen, notes)?;
    let mut called = answer(request, Notes::default(), Counts::default(), 0, &[]);
    let everywhen = Request { from_ms: EVERYWHEN.0, ..request.clone() };
    let known = NamesOf::find(source, &everywhen, std::iter::once(own), &mut called)?;
    let names = names::columns("").into_iter().map(|(name, _)| name).zip(known.cells(own)).collect();
    Ok(Host {
        address,
        names,
        mac_addresses: found.cards(),
        first_ms,
        last_ms,
        both: found.both,
        series: HostSeries { steps, counts },
        peers,
        services,
        conversations,
    })
}

fn peers(source: Source<'_>, request: &Request, found: &Found, notes: Notes) -> Result<Answer, FileFault> {
    let mut peers: HashMap<u128, BothWays> = HashMap::new();
    for (conversation, exchanged) in &found.conversations.counts {
        let (_, peer, both) = found.as_seen(conversation, exchanged);
        *peers.entry(peer).or_default() += both;
    }
    let columns: Vec<_> = [("address", Unit::Name)].into_iter().chain(SIX).collect();
    let mut answer = answer(request, notes, found.both.sum(), peers.len(), &columns);
    answer.columns.extend(names::columns(""));
    let rows = first(&peers, request.top, |both| measured(both.sum(), request.by));
    let names = NamesOf::find(source, request, rows.iter().map(|(address, _)| *address), &mut answer)?;
    for (address, both) in rows {
        let cells = [Cell::Text(ip(address).to_string())].into_iter().chain(six(both));
        answer.rows.push(cells.chain(names.cells(address)).collect());
    }
    Ok(answer)
}

fn services(request: &Request, found: &Found, notes: Notes) -> Answer {
    let mut services: HashMap<(&'static str, Service), BothWays> = HashMap::new();
    for (conversation, exchanged) in &found.conversations.counts {
        let service = Service { protocol: conversation.protocol, port: conversation.port };
        if service.has_port() {
            let (role, _, both) = found.as_seen(conversation, exchanged);
            *services.entry((role, service)).or_default() += both;
        }
    }
    let names = ["role", "protocolIdentifier", "protocol", "port", "serviceName"];
    let columns: Vec<_> = names.map(|name| (name, Unit::Name)).into_iter().chain(SIX).collect();
    let mut answer = answer(request, notes, found.both.sum(), services.len(), &columns);
    for ((role, service), both) in first(&services, request.top, |both| measured(both.sum(), request.by)) {
        let names = [
            Cell::Text(role.to_owned()),
            Cell::Number(service.protocol.into()),
            Cell::Text(protocol_text(service.protocol)),
            Cell::Number(service.port.into()),
            service_cell(service.protocol, service.port),
        ];
        answer.rows.push(names.into_iter().chain(six(both)).collect());
    }
    answer
}

/// What was found of an address.
struct Found {
    own: u128,
    step_ms: i64,
    both: BothWays,
    /// Beginning of the first flow, and end of the last.
    times: Option<(i64, i64)>,
    steps: HashMap<i64, BothWays>,
    conversations: Tally<Conversation, Exchanged>,
    cards: HashMap<u64, i64>,
}

impl Found {
    fn new(own: u128, step_ms: i64) -> Self {
        Self {
            own,
            step_ms,
            both: BothWays::default(),
            times: None,
            steps: HashMap::new(),
            conversations: Tally::bounded(MOST),
            cards: HashMap::new(),
        }
    }

    /// What the address is in one of its conversations, with whom, and what it sent and received.
    fn as_seen(&self, conversation: &Conversation, exchanged: &Exchanged) -> (&'static str, u128, BothWays) {
        let BothWays { sent, received } = exchanged.both;
        let Conversation { client, server, .. } = *conversation;
        match (client == self.own, server == self.own) {
            // What it says to itself it sends and receives.
            (true, true) => {
                let all = exchanged.both.sum();
                ("client", self.own, BothWays { sent: all, received: all })
            }
            (true, false) => ("client", server, exchanged.both),
            _ => ("server", client, BothWays { sent: received, received: sent }),
        }
    }

    fn note_card(&mut self, card: u64, last_ms: i64) {
        if let Some(known) = self.cards.get_mut(&card) {
            *known = last_ms.max(*known);
            return;
        }
        if self.cards.len() >= MOST_CARDS {
            let oldest = self.cards.iter().min_by_key(|(_, last_ms)| **last_ms).map(|(card, _)| *card);
            oldest.map(|card| self.cards.remove(&card));
        }
        self.cards.insert(card, last_ms);
    }

    fn cards(&self) -> Vec<MacAddress> {
        let of = |(bits, last_ms): (&u64, &i64)| MacAddress { bits: *bits, last_ms: *last_ms };
        let mut cards: Vec<MacAddress> = self.cards.iter().map(of).collect();
        cards.sort_by_key(|card| (-card.last_ms, card.bits));
        cards
    }
}

impl Gather for Found {
    type Rollup = MinuteRows;

    fn use_of_rollup(&self, _: &Sieve) -> UseOfRollup {
        UseOfRollup::Nothing
    }

    fn fork(&self) -> Self {
        Self::new(self.own, self.step_ms)
    }

    fn columns(&self) -> &'static [&'static str] {
        counted!(
            "sourceIPAddress",
            "destinationIPAddress",
            "protocolIdentifier",
            "sourceTransportPort",
            "destinationTransportPort",
            "flowStartMilliseconds",
            "sourceMacAddress"
        )
    }

    fn row(&mut self, flows: &Flows, row: usize) {
        let counts = Counts::of(flows, row);
        let step = flows.end_ms[row].div_euclid(self.step_ms) * self.step_ms;
        let (conversation, exchanged) = Conversation::of(flows, row, counts);
        self.conversations.add(conversation, exchanged);
        self.times = joined(self.times, Some((flows.start_ms[row], flows.end_ms[row])));
        if flows.source[row] == self.own && flows.source_mac[row] != 0 {
            self.note_card(flows.source_mac[row], flows.end_ms[row]);
        }
        let ends = [(Side::Source, flows.source[row]), (Side::Destination, flows.destination[row])];
        for (side, _) in ends.into_iter().filter(|(_, end)| *end == self.own) {
            let both = BothWays::of(side, counts);
            self.both += both;
            *self.steps.entry(step).or_default() += both;
        }
    }

    fn summed(&mut self, _: &Sieve, _: i64, _: MinuteKey, _: Counts) {}

    fn join(&mut self, other: Self) {
        self.both += other.both;
        self.times = joined(self.times, other.times);
        for (step, both) in other.steps {
            *self.steps.entry(step).or_default() += both;
        }
        merge(&mut self.conversations, other.conversations);
        for (card, last_ms) in other.cards {
            self.note_card(card, last_ms);
        }
    }
}

/// All of history.
const EVERYWHEN: (i64, i64) = (i64::MIN / 2, i64::MAX / 2);

/// When an address was first and last in a flow, in all of history. `found` is what it was in the flows that are asked for: where these are
/// all that it has in their time, only the time before and after is looked through.
fn seen(
    source: Source<'_>,
    request: &Request,
    address: IpAddr,
    found: Option<(i64, i64)>,
) -> Result<(Option<i64>, Option<i64>), FileFault> {
    let all = Filter { addresses: vec![address.into()], ..Filter::default() };
    let (before, after, found) = if request.filter == all {
        ((EVERYWHEN.0, request.from_ms), (request.to_ms, EVERYWHEN.1), found)
    } else {
        (EVERYWHEN, EVERYWHEN, None)
    };
    let (first, last) = (edge(source, address, Edge::First, before)?, edge(source, address, Edge::Last, after)?);
    let (found_first, found_last) = found.unzip();
    Ok((first.into_iter().chain(found_first).min(), last.into_iter().chain(found_last).max()))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Edge {
    First,
    Last,
}

/// The first or the last moment in a time: the day by its sums, the hour of that day by its own, the moment by the records of that hour.
fn edge(source: Source<'_>, address: IpAddr, edge: Edge, within: (i64, i64)) -> Result<Option<i64>, FileFault> {
    let Some(day) = narrow(source, address, edge, within, UseOfRollup::WholePeriods, DAY_MS)? else {
        return Ok(None);
    };
    let span = |moment_ms: i64, lasts_ms: i64| {
        let begin_ms = moment_ms.div_euclid(lasts_ms) * lasts_ms;
        (begin_ms.max(within.0), (begin_ms + lasts_ms).min(within.1))
    };
    let hour = narrow(source, address, edge, span(day, DAY_MS), UseOfRollup::WholeHours, HOUR_MS)?.unwrap_or(day);
    let moment = narrow(source, address, edge, span(hour, HOUR_MS), UseOfRollup::Nothing, HOUR_MS)?;
    Ok(Some(moment.unwrap_or(hour)))
}

/// The first or last that is found in a time, which is looked through in periods that last so long.
fn narrow(
    source: Source<'_>,
    address: IpAddr,
    edge: Edge,
    (from_ms, to_ms): (i64, i64),
    use_of_rollup: UseOfRollup,
    lasts_ms: i64,
) -> Result<Option<i64>, FileFault> {
    let filter = Filter { addresses: vec![IpNet::from(address)], ..Filter::default() };
    let sieve = Sieve::of(&filter, from_ms, to_ms);
    let (found, _) = patiently(|damaged| {
        let (snapshot, layout) = (source.snapshot()?, source.layout());
        let mut steps = plan::<TalkerRows>(layout, &snapshot, &sieve, use_of_rollup, damaged)?;
        let period = |step: &super::scan::Step| step.hour().start_ms().div_euclid(lasts_ms);
        steps.sort_by_key(|step| if edge == Edge::First { period(step) } else { -period(step) });
        let mut notes = Notes::default();
        for of_period in steps.chunk_by(|one, other| period(one) == period(other)) {
            let (seen, of_reading) = take_all(source, &snapshot, of_period, &sieve, &Seen::of(mapped(address)))?;
            notes.join(of_reading);
            if let Some((first_ms, last_ms)) = seen.times {
                return Ok((Some(if edge == Edge::First { first_ms } else { last_ms }), notes));
            }
        }
        Ok((None, notes))
    })?;
    Ok(found)
}

/// The time from the first beginning to the last end.
fn joined(one: Option<(i64, i64)>, other: Option<(i64, i64)>) -> Option<(i64, i64)> {
    match (one, other) {
        (Some((first, last)), Some((begin, end))) => Some((first.min(begin), last.max(end))),
        (one, other) => one.or(other),
    }
}

/// When an address was seen; by sums to their beginning.
struct Seen {
    own: u128,
    times: Option<(i64, i64)>,
}

impl Seen {
    const fn of(own: u128) -> Self {
        Self { own, times: None }
    }

    fn add(&mut self, first_ms: i64, last_ms: i64) {
        self.times = joined(self.times, Some((first_ms, last_ms)));
    }
}

impl Gather for Seen {
    type Rollup = TalkerRows;

    fn use_of_rollup(&self, _: &Sieve) -> UseOfRollup {
        UseOfRollup::WholePeriods
    }

    fn fork(&self) -> Self {
        Self::of(self.own)
    }

    fn columns(&self) -> &'static [&'static str] {
        &["flowStartMilliseconds"]
    }

    fn row(&mut self, flows: &Flows, row: usize) {
        self.add(flows.start_ms[row], flows.end_ms[row]);
    }

    fn summed(&mut self, _: &Sieve, start_ms: i64, address: u128, _: BothWays) {
        if address == self.own {
            self.add(start_ms, start_ms);
        }
    }

    fn join(&mut self, other: Self) {
        self.times = joined(self.times, other.times);
    }

    fn passes_over_sums(&self, reader: &Reader<TalkerRows>, group: usize) -> Result<bool, FileFault> {
        let column: Vec<usize> = TalkerRows::index_of("address").into_iter().collect();
        Ok(!reader.may_have(group, &column, self.own)?)
    }
}
