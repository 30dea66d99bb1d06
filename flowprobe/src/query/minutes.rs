//! Questions that the rollup by minute has all for: the sum of all, protocols, interfaces, and exporters.

use std::hash::Hash;
use std::sync::Arc;

use super::answer::{Answer, Cell, Unit};
use super::filter::Sieve;
use super::gather::{MOST, THREE, answer, counted, first, measured, merge, protocol_text, six, three};
use super::scan::{Gather, Notes, UseOfRollup, gather};
use super::{Request, Source};
use crate::store::file::FileFault;
use crate::store::flows::{Flows, ip};
use crate::store::rollup::{BothWays, Counts, MINUTE_MS, MinuteKey, MinuteRows, Tally, Weight};

/// What is counted: into which keys, and as what.
trait Count: Send + Sync {
    /// Columns of flows that have the keys.
    const COLUMNS: &'static [&'static str];
    type Key: Hash + Eq + Send + Sync;
    type Value: Default + Weight + std::ops::AddAssign + Send + Sync;

    fn of_row(flows: &Flows, row: usize, counts: Counts, each: impl FnMut(Self::Key, Self::Value));
    fn of_minute(key: &MinuteKey, counts: Counts, each: impl FnMut(Self::Key, Self::Value));
}

struct Minutes<C: Count> {
    tally: Tally<C::Key, C::Value>,
    total: Counts,
}

impl<C: Count> Default for Minutes<C> {
    fn default() -> Self {
        Self { tally: Tally::bounded(MOST), total: Counts::default() }
    }
}

impl<C: Count> Minutes<C> {
    /// All that is meant, and what is to be noted of it.
    fn of(source: Source<'_>, request: &Request) -> Result<(Self, Notes), FileFault> {
        let (minutes, mut notes) = gather(source, request, &Self::default())?;
        notes.is_rough |= minutes.tally.is_rough;
        Ok((minutes, notes))
    }
}

impl<C: Count> Gather for Minutes<C> {
    type Rollup = MinuteRows;

    fn use_of_rollup(&self, sieve: &Sieve) -> UseOfRollup {
        if sieve.is_of_minutes() { UseOfRollup::Minutes } else { UseOfRollup::Nothing }
    }

    fn fork(&self) -> Self {
        Self::default()
    }

    fn columns(&self) -> &'static [&'static str] {
        C::COLUMNS
    }

    fn row(&mut self, flows: &Flows, row: usize) {
        let counts = Counts::of(flows, row);
        self.total += counts;
        C::of_row(flows, row, counts, |key, value| self.tally.add(key, value));
    }

    fn summed(&mut self, sieve: &Sieve, _: i64, key: MinuteKey, counts: Counts) {
        if sieve.passes_minute(&key) {
            self.total += counts;
            C::of_minute(&key, counts, |key, value| self.tally.add(key, value));
        }
    }

    fn join(&mut self, other: Self) {
        self.total += other.total;
        merge(&mut self.tally, other.tally);
    }
}

/// Nothing but the total.
struct All;

impl Count for All {
    const COLUMNS: &'static [&'static str] = counted!();
    type Key = ();
    type Value = Counts;

    fn of_row(_: &Flows, _: usize, _: Counts, _: impl FnMut((), Counts)) {}
    fn of_minute(_: &MinuteKey, _: Counts, _: impl FnMut((), Counts)) {}
}

/// The counts of all that is meant.
pub(super) fn total(source: Source<'_>, request: &Request) -> Result<(Counts, Notes), FileFault> {
    let (Minutes { total, .. }, notes) = Minutes::<All>::of(source, request)?;
    Ok((total, notes))
}

/// The same as an answer without rows.
pub(super) fn totals(source: Source<'_>, request: &Request) -> Result<Answer, FileFault> {
    let (total, notes) = total(source, request)?;
    Ok(answer(request, notes, total, 0, &[]))
}

struct Protocols;

impl Count for Protocols {
    const COLUMNS: &'static [&'static str] = counted!("protocolIdentifier");
    type Key = i32;
    type Value = Counts;

    fn of_row(flows: &Flows, row: usize, counts: Counts, mut each: impl FnMut(i32, Counts)) {
        each(flows.protocol[row], counts);
    }

    fn of_minute(key: &MinuteKey, counts: Counts, mut each: impl FnMut(i32, Counts)) {
        each(key.protocol, counts);
    }
}

/// Protocols.
pub(super) fn protocols(source: Source<'_>, request: &Request) -> Result<Answer, FileFault> {
    let (Minutes { tally, total }, notes) = Minutes::<Protocols>::of(source, request)?;
    let columns: Vec<_> =
        [("protocolIdentifier", Unit::Name), ("protocol", Unit::Name)].into_iter().chain(THREE).collect();
    let mut answer = answer(request, notes, total, tally.counts.len(), &columns);
    for (protocol, counts) in first(&tally.counts, request.top, |counts| measured(*counts, request.by)) {
        let names = [Cell::Number(protocol.into()), Cell::Text(protocol_text(protocol))];
        answer.rows.push(names.into_iter().chain(three(counts)).collect());
    }
    Ok(answer)
}

/// What an interface is called: by its name, else by its index; none where it is not known.
pub(super) fn interface_name(index: i64, name: Option<&Arc<str>>) -> Option<Arc<str>> {
    match (name, index) {
        (Some(name), _) => Some(Arc::clone(name)),
        (None, 0) => None,
        (None, index) => Some(index.to_string().into()),
    }
}

struct Interfaces;

impl Interfaces {
    /// What came in is what was received.
    fn both(into: Option<Arc<str>>, out: Option<Arc<str>>, counts: Counts, mut each: impl FnMut(Arc<str>, BothWays)) {
        if let Some(name) = into {
            each(name, BothWays { received: counts, ..BothWays::default() });
        }
        if let Some(name) = out {
            each(name, BothWays { sent: counts, ..BothWays::default() });
        }
    }
}

impl Count for Interfaces {
    const COLUMNS: &'static [&'static str] =
        counted!("ingressInterface", "egressInterface", "ingressInterfaceName", "egressInterfaceName");
    type Key = Arc<str>;
    type Value = BothWays;

    fn of_row(flows: &Flows, row: usize, counts: Counts, each: impl FnMut(Arc<str>, BothWays)) {
        let into = interface_name(flows.ingress[row], flows.ingress_name[row].as_ref());
        Self::both(into, interface_name(flows.egress[row], flows.egress_name[row].as_ref()), counts, each);
    }

    fn of_minute(key: &MinuteKey, counts: Counts, each: impl FnMut(Arc<str>, BothWays)) {
        let into = interface_name(key.ingress, key.ingress_name.as_ref());
        Self::both(into, interface_name(key.egress, key.egress_name.as_ref()), counts, each);
    }
}

/// Interfaces, by what came in by them and left.
pub(super) fn interfaces(source: Source<'_>, request: &Request) -> Result<Answer, FileFault> {
    let (Minutes { tally, total }, notes) = Minutes::<Interfaces>::of(source, request)?;
    let columns = [
        ("interface", Unit::Name),
        ("octetsOut", Unit::Octets),
        ("octetsIn", Unit::Octets),
        ("packetsOut", Unit::Count),
        ("packetsIn", Unit::Count),
        ("flowsOut", Unit::Count),
        ("flowsIn", Unit::Count),
    ];
    let mut answer = answer(request, notes, total, tally.counts.len(), &columns);
    for (name, both) in first(&tally.counts, request.top, |both| measured(both.sum(), request.by)) {
        answer.rows.push([Cell::Text(name.to_string())].into_iter().chain(six(both)).collect());
    }
    Ok(answer)
}

struct Exporters;

impl Count for Exporters {
    const COLUMNS: &'static [&'static str] = counted!("exporterIPAddress");
    type Key = u128;
    type Value = Counts;

    fn of_row(flows: &Flows, row: usize, counts: Counts, mut each: impl FnMut(u128, Counts)) {
        each(flows.exporter[row], counts);
    }

    fn of_minute(key: &MinuteKey, counts: Counts, mut each: impl FnMut(u128, Counts)) {
        each(key.exporter, counts);
    }
}

/// Exporters; nothing instead of an address is what was metered here.
pub(super) fn exporters(source: Source<'_>, request: &Request) -> Result<Answer, FileFault> {
    let (Minutes { tally, total }, notes) = Minutes::<Exporters>::of(source, request)?;
    let columns: Vec<_> = [("exporterIPAddress", Unit::Name)].into_iter().chain(THREE).collect();
    let mut answer = answer(request, notes, total, tally.counts.len(), &columns);
    for (address, counts) in first(&tally.counts, request.top, |counts| measured(*counts, request.by)) {
        let name = if address == 0 { Cell::None } else { Cell::Text(ip(address).to_string()) };
        answer.rows.push([name].into_iter().chain(three(counts)).collect());
    }
    Ok(answer)
}

/// Whether the rollup by minute tells apart what ends at such steps.
pub(super) const fn tells_apart(step_ms: i64) -> bool {
    step_ms % MINUTE_MS == 0
}
