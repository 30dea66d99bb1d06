//! Questions that the rollup by minute has all for: interfaces, and exporters.

use std::hash::Hash;
use std::sync::Arc;

use hashbrown::HashMap;

use super::answer::{Answer, Cell, Unit};
use super::filter::Sieve;
use super::gather::{THREE, answer, counted, first, measured, six, three};
use super::scan::{Gather, UseOfRollup, gather};
use super::{Request, Source};
use crate::store::file::FileFault;
use crate::store::flows::{Flows, ip};
use crate::store::rollup::{BothWays, Counts, MINUTE_MS, MinuteKey, MinuteRows};

/// What is counted of a row: into which keys, and as what.
trait Count: Send {
    type Key: Hash + Eq + Send;
    type Value: Default + std::ops::AddAssign + Send;

    fn keys(key: &MinuteKey, counts: Counts, each: impl FnMut(Self::Key, Self::Value));
}

/// Keys of one kind, by what the rollup by minute knows.
struct Minutes<C: Count> {
    counts: HashMap<C::Key, C::Value>,
    total: Counts,
}

impl<C: Count> Default for Minutes<C> {
    fn default() -> Self {
        Self { counts: HashMap::new(), total: Counts::default() }
    }
}

impl<C: Count> Minutes<C> {
    fn add(&mut self, key: &MinuteKey, counts: Counts) {
        self.total += counts;
        C::keys(key, counts, |key, value| *self.counts.entry(key).or_default() += value);
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
        counted!(
            "protocolIdentifier",
            "flowDirection",
            "ingressInterface",
            "egressInterface",
            "ingressInterfaceName",
            "egressInterfaceName",
            "exporterIPAddress"
        )
    }

    fn row(&mut self, flows: &Flows, row: usize) {
        self.add(&MinuteKey::of(flows, row), Counts::of(flows, row));
    }

    fn summed(&mut self, sieve: &Sieve, _: i64, key: MinuteKey, value: Counts) {
        if sieve.passes_minute(&key) {
            self.add(&key, value);
        }
    }

    fn join(&mut self, other: Self) {
        self.total += other.total;
        for (key, value) in other.counts {
            *self.counts.entry(key).or_default() += value;
        }
    }
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

impl Count for Interfaces {
    type Key = Arc<str>;
    /// What came in is what was received.
    type Value = BothWays;

    fn keys(key: &MinuteKey, counts: Counts, mut each: impl FnMut(Arc<str>, BothWays)) {
        if let Some(name) = interface_name(key.ingress, key.ingress_name.as_ref()) {
            each(name, BothWays { received: counts, ..BothWays::default() });
        }
        if let Some(name) = interface_name(key.egress, key.egress_name.as_ref()) {
            each(name, BothWays { sent: counts, ..BothWays::default() });
        }
    }
}

/// Interfaces, by what came in by them and left.
pub(super) fn interfaces(source: Source<'_>, request: &Request) -> Result<Answer, FileFault> {
    let (Minutes { counts, total }, notes) = gather(source, request, &Minutes::<Interfaces>::default())?;
    let columns = [
        ("interface", Unit::Name),
        ("octetsOut", Unit::Octets),
        ("octetsIn", Unit::Octets),
        ("packetsOut", Unit::Count),
        ("packetsIn", Unit::Count),
        ("flowsOut", Unit::Count),
        ("flowsIn", Unit::Count),
    ];
    let mut answer = answer(request, notes, total, counts.len(), &columns);
    for (name, both) in first(&counts, request.top, |both| measured(both.sum(), request.by)) {
        answer.rows.push([Cell::Text(name.to_string())].into_iter().chain(six(both)).collect());
    }
    Ok(answer)
}

struct Exporters;

impl Count for Exporters {
    type Key = u128;
    type Value = Counts;

    fn keys(key: &MinuteKey, counts: Counts, mut each: impl FnMut(u128, Counts)) {
        each(key.exporter, counts);
    }
}

/// Exporters; nothing instead of an address is what was metered here.
pub(super) fn exporters(source: Source<'_>, request: &Request) -> Result<Answer, FileFault> {
    let (Minutes { counts, total }, notes) = gather(source, request, &Minutes::<Exporters>::default())?;
    let columns: Vec<_> = [("exporterIPAddress", Unit::Name)].into_iter().chain(THREE).collect();
    let mut answer = answer(request, notes, total, counts.len(), &columns);
    for (address, counts) in first(&counts, request.top, |counts| measured(*counts, request.by)) {
        let name = if address == 0 { Cell::None } else { Cell::Text(ip(address).to_string()) };
        answer.rows.push([name].into_iter().chain(three(counts)).collect());
    }
    Ok(answer)
}

/// Whether the rollup by minute tells apart what ends at such steps.
pub(super) const fn tells_apart(step_ms: i64) -> bool {
    step_ms % MINUTE_MS == 0
}
