//! Questions about where addresses are: countries, and autonomous systems.

use std::sync::Arc;

use hashbrown::HashMap;

use super::answer::{Answer, Cell, Unit};
use super::filter::Sieve;
use super::gather::{SIX, answer, counted, first, measured, merge, six};
use super::scan::{Gather, UseOfRollup, gather};
use super::{Request, Source};
use crate::store::file::FileFault;
use crate::store::flows::{Flows, Side};
use crate::store::rollup::{BothWays, Counts, PlaceKey, PlaceRows, Tally};

#[derive(Default)]
struct Places {
    tally: Tally<PlaceKey, BothWays>,
}

impl Gather for Places {
    type Rollup = PlaceRows;

    fn use_of_rollup(&self, sieve: &Sieve) -> UseOfRollup {
        if sieve.is_of_time_only() { UseOfRollup::WholePeriods } else { UseOfRollup::Nothing }
    }

    fn fork(&self) -> Self {
        Self::default()
    }

    fn columns(&self) -> &'static [&'static str] {
        counted!(
            "bgpSourceAsNumber",
            "bgpDestinationAsNumber",
            "sourceAsOrganization",
            "destinationAsOrganization",
            "sourceCountryCode",
            "destinationCountryCode"
        )
    }

    fn row(&mut self, flows: &Flows, row: usize) {
        let counts = Counts::of(flows, row);
        for side in Side::BOTH {
            self.tally.add(PlaceKey::of(flows, row, side), BothWays::of(side, counts));
        }
    }

    fn summed(&mut self, _: &Sieve, _: i64, key: PlaceKey, value: BothWays) {
        self.tally.add(key, value);
    }

    fn join(&mut self, other: Self) {
        merge(&mut self.tally, other.tally);
    }
}

/// Countries, by what their addresses sent and received. The total is of all addresses.
pub(super) fn countries(source: Source<'_>, request: &Request) -> Result<Answer, FileFault> {
    let (tally, mut answer) = places(source, request, &[("countryCode", Unit::Name)])?;
    let mut countries: HashMap<Arc<str>, BothWays> = HashMap::new();
    for (key, both) in tally {
        if let Some(country) = key.country {
            *countries.entry(country).or_default() += both;
        }
    }
    answer.of = countries.len() as u64;
    for (country, both) in first(&countries, request.top, |both| measured(both.sum(), request.by)) {
        answer.rows.push([Cell::Text(country.to_string())].into_iter().chain(six(both)).collect());
    }
    Ok(answer)
}

/// Autonomous systems, likewise.
pub(super) fn systems(source: Source<'_>, request: &Request) -> Result<Answer, FileFault> {
    let columns = [("asNumber", Unit::Name), ("asOrganization", Unit::Name)];
    let (tally, mut answer) = places(source, request, &columns)?;
    let mut systems: HashMap<i64, BothWays> = HashMap::new();
    let mut organizations: HashMap<i64, Arc<str>> = HashMap::new();
    for (key, both) in tally.into_iter().filter(|(key, _)| key.as_number != 0) {
        *systems.entry(key.as_number).or_default() += both;
        if let Some(name) = key.as_organization {
            // Names change; the same rows are to have the same answer.
            let known = organizations.entry(key.as_number).or_insert_with(|| Arc::clone(&name));
            if *known < name {
                *known = name;
            }
        }
    }
    answer.of = systems.len() as u64;
    for (number, both) in first(&systems, request.top, |both| measured(both.sum(), request.by)) {
        let name = organizations.get(&number).map(|name| &**name);
        answer.rows.push([number.into(), name.into()].into_iter().chain(six(both)).collect());
    }
    Ok(answer)
}

/// What is counted of all places, and the answer that has no rows yet.
fn places(
    source: Source<'_>,
    request: &Request,
    columns: &[(&str, Unit)],
) -> Result<(HashMap<PlaceKey, BothWays>, Answer), FileFault> {
    let (Places { tally }, mut notes) = gather(source, request, &Places::default())?;
    notes.is_rough |= tally.is_rough;
    let mut total = Counts::default();
    tally.counts.values().for_each(|both| total += both.sent);
    let columns: Vec<_> = columns.iter().copied().chain(SIX).collect();
    Ok((tally.counts, answer(request, notes, total, 0, &columns)))
}
