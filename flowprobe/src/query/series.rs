//! Rates over time, of all or of the largest groups.

use std::hash::Hash;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use serde::{Deserialize, Serialize};

use super::answer::{Answer, Cell, Unit, bits_per_second};
use super::filter::Sieve;
use super::gather::{MOST, THREE, answer, counted, first, measured, merge, protocol_text, three};
use super::minutes::{interface_name, tells_apart};
use super::scan::{Gather, Notes, UseOfRollup, gather};
use super::{Request, Source, minutes};
use crate::store::file::FileFault;
use crate::store::flows::{Flows, Side, ip};
use crate::store::layout::HOUR_MS;
use crate::store::rollup::{
    BothWays, Counts, MinuteKey, MinuteRows, PlaceKey, PlaceRows, Rollup, Service, ServiceRows, TalkerRows, Tally,
};

/// What a series is divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "named as what they are")]
pub enum Grouping {
    /// Not at all.
    #[default]
    None,
    Protocol,
    /// Protocol and port.
    Service,
    /// Type and code of ICMP.
    Icmp,
    /// Interface, by which packets came in or left.
    Interface,
    /// Address from which packets came.
    Source,
    /// Address to which they went.
    Destination,
    Country,
    /// Autonomous system.
    System,
    Exporter,
}

/// Flows that are shown together.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Group {
    /// All, where nothing is divided.
    All,
    /// Of this protocol.
    Protocol(i32),
    /// Of this service, or message of ICMP.
    Service(Service),
    /// In by this interface.
    In(Arc<str>),
    /// Out by it.
    Out(Arc<str>),
    /// From or to this address.
    Address(IpAddr),
    /// From or to this country.
    Country(Arc<str>),
    /// From or to this autonomous system.
    System(i64),
    /// Of this exporter; of none where they were metered here.
    Exporter(Option<IpAddr>),
    /// Of none of those that are shown.
    Other,
}

/// What happened in steps of time.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Beginnings of the steps, milliseconds since 1970 UTC.
    pub steps: Vec<i64>,
    /// The largest groups with what they did in each step, the largest first and [`Group::Other`] last.
    pub groups: Vec<(Group, Vec<Counts>)>,
    /// All of it. A flow that belongs to two groups counts once.
    pub total: Counts,
    /// Whether small ones may be missing.
    pub is_rough: bool,
    /// Files that are damaged and were passed over.
    pub unreadable: Vec<String>,
}

/// The `request.top` largest groups over time, by `request.by`; all others as one. A record counts for the step in which its flow ended,
/// or was reported.
///
/// # Errors
/// A folder cannot be read.
pub fn chart(source: Source<'_>, request: &Request, step_ms: i64, grouping: Grouping) -> Result<Chart, FileFault> {
    match grouping {
        Grouping::None | Grouping::Protocol | Grouping::Interface | Grouping::Exporter => {
            Sums::<MinuteRows>::chart(source, request, step_ms, grouping)
        }
        Grouping::Service | Grouping::Icmp => Sums::<ServiceRows>::chart(source, request, step_ms, grouping),
        Grouping::Source | Grouping::Destination => Sums::<TalkerRows>::chart(source, request, step_ms, grouping),
        Grouping::Country | Grouping::System => Sums::<PlaceRows>::chart(source, request, step_ms, grouping),
    }
}

/// A rollup that has the groups of some divisions.
trait Divided: Rollup {
    /// For which part of a question it serves.
    fn serves(sieve: &Sieve, step_ms: i64) -> UseOfRollup;
    /// When a row of it was, whether it is meant, and the groups to which it belongs.
    fn groups(
        row: (i64, Self::Key, Self::Value),
        sieve: &Sieve,
        grouping: Grouping,
        each: &mut dyn FnMut(i64, Group, Counts),
    );
}

/// Hours tell apart what ends at such steps. Where there are no steps, days do, too.
fn hours(sieve_fits: bool, step_ms: i64) -> UseOfRollup {
    match step_ms {
        _ if !sieve_fits => UseOfRollup::Nothing,
        i64::MAX => UseOfRollup::WholePeriods,
        step_ms if step_ms % HOUR_MS == 0 => UseOfRollup::WholeHours,
        _ => UseOfRollup::Nothing,
    }
}

impl Divided for MinuteRows {
    fn serves(sieve: &Sieve, step_ms: i64) -> UseOfRollup {
        let fits = sieve.is_of_minutes() && (step_ms == i64::MAX || tells_apart(step_ms));
        if fits { UseOfRollup::Minutes } else { UseOfRollup::Nothing }
    }

    fn groups(
        (_, key, counts): (i64, MinuteKey, Counts),
        sieve: &Sieve,
        grouping: Grouping,
        each: &mut dyn FnMut(i64, Group, Counts),
    ) {
        if sieve.passes_minute(&key) {
            of_minute(&key, grouping, &mut |group| each(key.minute_ms, group, counts));
        }
    }
}

fn of_minute(key: &MinuteKey, grouping: Grouping, each: &mut dyn FnMut(Group)) {
    match grouping {
        Grouping::Protocol => each(Group::Protocol(key.protocol)),
        Grouping::Exporter => each(of_exporter(key.exporter)),
        Grouping::Interface => {
            let (into, out) = ((key.ingress, &key.ingress_name), (key.egress, &key.egress_name));
            of_interfaces(into, out).for_each(each);
        }
        _ => each(Group::All),
    }
}

fn of_exporter(address: u128) -> Group {
    Group::Exporter((address != 0).then(|| ip(address)))
}

/// The groups of the interfaces with these indices and names, by which packets came in and left.
fn of_interfaces(into: (i64, &Option<Arc<str>>), out: (i64, &Option<Arc<str>>)) -> impl Iterator<Item = Group> {
    let name = |(index, name): (i64, &Option<Arc<str>>)| interface_name(index, name.as_ref());
    name(into).map(Group::In).into_iter().chain(name(out).map(Group::Out))
}

/// Whether such a service is one of a division.
fn is_of(service: Service, grouping: Grouping) -> bool {
    service.has_port() == (grouping == Grouping::Service)
}

impl Divided for ServiceRows {
    fn serves(sieve: &Sieve, step_ms: i64) -> UseOfRollup {
        hours(sieve.is_of_protocols(), step_ms)
    }

    fn groups(
        (start_ms, service, counts): (i64, Service, Counts),
        sieve: &Sieve,
        grouping: Grouping,
        each: &mut dyn FnMut(i64, Group, Counts),
    ) {
        if sieve.passes_protocol(service.protocol) && is_of(service, grouping) {
            each(start_ms, Group::Service(service), counts);
        }
    }
}

impl Divided for TalkerRows {
    fn serves(sieve: &Sieve, step_ms: i64) -> UseOfRollup {
        hours(sieve.is_of_time_only(), step_ms)
    }

    fn groups(
        (start_ms, address, both): (i64, u128, BothWays),
        _: &Sieve,
        grouping: Grouping,
        each: &mut dyn FnMut(i64, Group, Counts),
    ) {
        let counts = if grouping == Grouping::Source { both.sent } else { both.received };
        if counts.flows > 0 {
            each(start_ms, Group::Address(ip(address)), counts);
        }
    }
}

impl Divided for PlaceRows {
    fn serves(sieve: &Sieve, step_ms: i64) -> UseOfRollup {
        hours(sieve.is_of_time_only(), step_ms)
    }

    fn groups(
        (start_ms, place, both): (i64, PlaceKey, BothWays),
        _: &Sieve,
        grouping: Grouping,
        each: &mut dyn FnMut(i64, Group, Counts),
    ) {
        if let Some(group) = of_place(&place, grouping) {
            each(start_ms, group, both.sum());
        }
    }
}

fn of_place(place: &PlaceKey, grouping: Grouping) -> Option<Group> {
    match grouping {
        Grouping::Country => place.country.clone().map(Group::Country),
        _ => (place.as_number != 0).then_some(Group::System(place.as_number)),
    }
}

/// The groups of a row.
fn of_row(flows: &Flows, row: usize, grouping: Grouping, each: &mut dyn FnMut(Group)) {
    match grouping {
        Grouping::None => each(Group::All),
        Grouping::Protocol => each(Group::Protocol(flows.protocol[row])),
        Grouping::Exporter => each(of_exporter(flows.exporter[row])),
        Grouping::Interface => {
            let into = (flows.ingress[row], &flows.ingress_name[row]);
            let out = (flows.egress[row], &flows.egress_name[row]);
            of_interfaces(into, out).for_each(each);
        }
        Grouping::Service | Grouping::Icmp => {
            let service = Service::of(flows, row).filter(|service| is_of(*service, grouping));
            service.map(Group::Service).into_iter().for_each(each);
        }
        Grouping::Source => each(Group::Address(ip(flows.source[row]))),
        Grouping::Destination => each(Group::Address(ip(flows.destination[row]))),
        Grouping::Country | Grouping::System => {
            let places = Side::BOTH.map(|side| of_place(&PlaceKey::of(flows, row, side), grouping));
            places.into_iter().flatten().for_each(each);
        }
    }
}

struct Sums<R> {
    step_ms: i64,
    grouping: Grouping,
    /// The groups that are told apart, where those are not all.
    shown: Option<Arc<HashSet<Group>>>,
    tally: Tally<(i64, Group), Counts>,
    rollup: PhantomData<fn(R)>,
}

impl<R: Divided> Sums<R> {
    fn new(step_ms: i64, grouping: Grouping, shown: Option<Arc<HashSet<Group>>>) -> Self {
        Self { step_ms, grouping, shown, tally: Tally::bounded(MOST), rollup: PhantomData }
    }

    fn chart(source: Source<'_>, request: &Request, step_ms: i64, grouping: Grouping) -> Result<Chart, FileFault> {
        let step_ms = step_ms.max(1);
        // Once without steps, to know the largest: all groups in all steps may be too many.
        let (largest, forgot) = match grouping {
            Grouping::None => (vec![Group::All], false),
            _ => {
                let (sums, notes) = gather(source, request, &Self::new(i64::MAX, grouping, None))?;
                let forgot = notes.is_rough || sums.tally.is_rough;
                let all = sums.tally.counts.into_iter().map(|((_, group), counts)| (group, counts)).collect();
                let ranked = first(&all, request.top, |counts| measured(*counts, request.by));
                (ranked.into_iter().map(|(group, _)| group).collect(), forgot)
            }
        };
        let shown = Arc::new(largest.iter().cloned().collect());
        let (sums, notes) = gather(source, request, &Self::new(step_ms, grouping, Some(shown)))?;
        let total = match grouping {
            Grouping::None => sums.tally.counts.values().fold(Counts::default(), |mut sum, counts| {
                sum += *counts;
                sum
            }),
            _ => minutes::total(source, request)?.0,
        };
        let first_step = request.from_ms.div_euclid(step_ms);
        let last_step = (request.to_ms - 1).div_euclid(step_ms);
        let steps: Vec<i64> = (first_step..=last_step).map(|step| step * step_ms).collect();
        let has_others = sums.tally.counts.keys().any(|(_, group)| *group == Group::Other);
        let counts_of = |group: Group| {
            let of_step = |step: &i64| sums.tally.counts.get(&(*step, group.clone())).copied().unwrap_or_default();
            let counts = steps.iter().map(of_step).collect();
            (group, counts)
        };
        let groups = largest.into_iter().chain(has_others.then_some(Group::Other)).map(counts_of).collect();
        let Notes { is_rough, unreadable, .. } = notes;
        Ok(Chart { steps, groups, total, is_rough: is_rough || forgot || sums.tally.is_rough, unreadable })
    }

    fn add(&mut self, when_ms: i64, group: Group, counts: Counts) {
        let step = if self.step_ms == i64::MAX { 0 } else { when_ms.div_euclid(self.step_ms) * self.step_ms };
        let is_shown = self.shown.as_ref().is_none_or(|shown| shown.contains(&group));
        self.tally.add((step, if is_shown { group } else { Group::Other }), counts);
    }
}

impl<R: Divided> Gather for Sums<R> {
    type Rollup = R;

    fn use_of_rollup(&self, sieve: &Sieve) -> UseOfRollup {
        R::serves(sieve, self.step_ms)
    }

    fn fork(&self) -> Self {
        Self::new(self.step_ms, self.grouping, self.shown.clone())
    }

    fn columns(&self) -> &'static [&'static str] {
        match self.grouping {
            Grouping::None | Grouping::Protocol => counted!("protocolIdentifier"),
            Grouping::Service | Grouping::Icmp => {
                counted!("protocolIdentifier", "sourceTransportPort", "destinationTransportPort", "icmpTypeCode")
            }
            Grouping::Interface | Grouping::Exporter => counted!(
                "ingressInterface",
                "egressInterface",
                "ingressInterfaceName",
                "egressInterfaceName",
                "exporterIPAddress"
            ),
            Grouping::Source => counted!("sourceIPAddress"),
            Grouping::Destination => counted!("destinationIPAddress"),
            Grouping::Country | Grouping::System => counted!(
                "sourceCountryCode",
                "destinationCountryCode",
                "bgpSourceAsNumber",
                "bgpDestinationAsNumber",
                "sourceAsOrganization",
                "destinationAsOrganization"
            ),
        }
    }

    fn row(&mut self, flows: &Flows, row: usize) {
        let (end_ms, counts, grouping) = (flows.end_ms[row], Counts::of(flows, row), self.grouping);
        of_row(flows, row, grouping, &mut |group| self.add(end_ms, group, counts));
    }

    fn summed(&mut self, sieve: &Sieve, start_ms: i64, key: R::Key, value: R::Value) {
        let grouping = self.grouping;
        R::groups((start_ms, key, value), sieve, grouping, &mut |when_ms, group, counts| {
            self.add(when_ms, group, counts);
        });
    }

    fn join(&mut self, other: Self) {
        merge(&mut self.tally, other.tally);
    }
}

/// Steps that a series has at most where nothing happened in them.
const MOST_STEPS: i64 = 100_000;

/// Rates over time, as rows. Steps in which there was nothing are there too, unless they are by protocol.
pub(super) fn table(
    source: Source<'_>,
    request: &Request,
    step_ms: i64,
    by_protocol: bool,
) -> Result<Answer, FileFault> {
    let grouping = if by_protocol { Grouping::Protocol } else { Grouping::None };
    let empty = Sums::<MinuteRows>::new(step_ms.max(1), grouping, None);
    let (Sums { step_ms, tally, .. }, mut notes) = gather(source, request, &empty)?;
    notes.is_rough |= tally.is_rough;
    let mut total = Counts::default();
    let mut counts: HashMap<(i64, i32), Counts> = HashMap::new();
    for ((step, group), of_step) in tally.counts {
        total += of_step;
        let protocol = if let Group::Protocol(protocol) = group { protocol } else { 0 };
        counts.insert((step, protocol), of_step);
    }
    let (start, steps) = (request.from_ms.div_euclid(step_ms), (request.to_ms - 1).div_euclid(step_ms));
    if !by_protocol && steps - start < MOST_STEPS {
        for step in start..=steps {
            counts.entry((step * step_ms, 0)).or_default();
        }
    }
    let mut columns = vec![("milliseconds", Unit::Time)];
    if by_protocol {
        columns.extend([("protocolIdentifier", Unit::Name), ("protocol", Unit::Name)]);
    }
    columns.extend(THREE);
    columns.push(("bitsPerSecond", Unit::BitsPerSecond));
    let mut answer = answer(request, notes, total, counts.len(), &columns);
    let mut keys: Vec<(i64, i32)> = counts.keys().copied().collect();
    keys.sort_unstable();
    for key in keys {
        let counts = counts[&key];
        let mut row = vec![Cell::Number(key.0)];
        if by_protocol {
            row.extend([Cell::Number(key.1.into()), Cell::Text(protocol_text(key.1))]);
        }
        row.extend(three(counts));
        row.push(Cell::Number(bits_per_second(counts.octets, lasts_ms(request, key.0, step_ms))));
        answer.rows.push(row);
    }
    Ok(answer)
}

/// How much of a step was asked for: one of which only a part was lasts as long as that.
pub(crate) fn lasts_ms(request: &Request, step: i64, step_ms: i64) -> i64 {
    step.saturating_add(step_ms).min(request.to_ms) - step.max(request.from_ms)
}
