//! What the addresses of an answer were called: of each the latest that history has, up to the end of the time that is asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::answer::{Answer, Cell, Unit};
use super::filter::Sieve;
use super::scan::{Damaged, Gather, Notes, Step, UseOfRollup, patiently, plan, take_all};
use super::{Filter, Request, Source};
use crate::store::columns::Columns as _;
use crate::store::file::{FileFault, Reader};
use crate::store::flows::{Flows, Side, ip};
use crate::store::rollup::{HostRows, NAME_COLUMNS, Named, Names};

/// So many addresses are looked for by the filters that files have for them.
const FEW: usize = 64;

/// Names by address.
#[derive(Debug, Default)]
pub(super) struct NamesOf {
    names: HashMap<u128, Names>,
}

/// What a row says of an address in so many columns, which are called `prefix` and then by these names.
pub(super) const COLUMNS: [&str; 6] = ["hostName", "label", "asNumber", "asOrganization", "countryCode", "cityName"];

/// The columns of an end of a row.
pub(super) fn columns(prefix: &str) -> Vec<(String, Unit)> {
    COLUMNS.iter().map(|column| (prefixed(prefix, column), Unit::Name)).collect()
}

/// The name of a column of an end of a row: `client` and `hostName` are `clientHostName`.
pub(crate) fn prefixed(prefix: &str, column: &str) -> String {
    match (prefix, column.split_at_checked(1)) {
        ("", _) | (_, None) => column.to_owned(),
        (prefix, Some((first, rest))) => format!("{prefix}{}{rest}", first.to_ascii_uppercase()),
    }
}

impl NamesOf {
    /// The cells of an address under [`columns`].
    pub(super) fn cells(&self, address: u128) -> [Cell; 6] {
        let Some(Names { host_name, label, as_number, as_organization, country, city }) = self.names.get(&address)
        else {
            return [const { Cell::None }; 6];
        };
        let number = if *as_number == 0 { Cell::None } else { Cell::Number(*as_number) };
        let [host_name, label, organization, country, city] =
            [host_name, label, as_organization, country, city].map(|text| text.as_deref().into());
        [host_name, label, number, organization, country, city]
    }

    /// Looks for these addresses, in the latest days first, for an answer, in which is noted what is damaged.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub(super) fn find(
        source: Source<'_>,
        request: &Request,
        addresses: impl Iterator<Item = u128>,
        answer: &mut Answer,
    ) -> Result<Self, FileFault> {
        let wanted: HashSet<u128> = addresses.filter(|address| *address != 0).collect();
        let (names, notes) = patiently(|damaged| try_to_find(source, request, wanted.clone(), damaged))?;
        for file in notes.unreadable {
            // Most is read for the numbers already.
            if !answer.unreadable.contains(&file) {
                answer.unreadable.push(file);
            }
        }
        Ok(names)
    }
}

fn try_to_find(
    source: Source<'_>,
    request: &Request,
    mut wanted: HashSet<u128>,
    damaged: &Damaged,
) -> Result<(NamesOf, Notes), FileFault> {
    let (mut names, mut notes) = (HashMap::new(), Notes::default());
    if wanted.is_empty() {
        return Ok((NamesOf { names }, notes));
    }
    let (snapshot, layout) = (source.snapshot()?, source.layout());
    let of_time = Sieve::of(&Filter::default(), request.from_ms, request.to_ms);
    let mut days: BTreeMap<i64, Vec<Step>> = BTreeMap::new();
    for step in plan::<HostRows>(layout, &snapshot, &of_time, UseOfRollup::WholePeriods, damaged)? {
        days.entry(step.day_ms()).or_default().push(step);
    }
    for steps in days.into_values().rev() {
        let addresses = if wanted.len() <= FEW { wanted.iter().map(|bits| ip(*bits).into()).collect() } else { vec![] };
        let sieve = Sieve::of(&Filter { addresses, ..Filter::default() }, request.from_ms, request.to_ms);
        let empty = Found { wanted: Arc::new(wanted), found: HashMap::new() };
        let (Found { found, wanted: all }, of_day) = take_all(source, &snapshot, &steps, &sieve, &empty)?;
        notes.join(of_day);
        drop(empty);
        wanted = Arc::unwrap_or_clone(all);
        for (address, named) in found {
            wanted.remove(&address);
            names.insert(address, named.names);
        }
        if wanted.is_empty() {
            break;
        }
    }
    Ok((NamesOf { names }, notes))
}

/// What was found of the addresses that are wanted.
struct Found {
    wanted: Arc<HashSet<u128>>,
    found: HashMap<u128, Named>,
}

impl Found {
    fn add(&mut self, address: u128, named: Named) {
        *self.found.entry(address).or_default() += named;
    }
}

impl Gather for Found {
    type Rollup = HostRows;

    fn use_of_rollup(&self, _: &Sieve) -> UseOfRollup {
        UseOfRollup::WholePeriods
    }

    fn fork(&self) -> Self {
        Self { wanted: Arc::clone(&self.wanted), found: HashMap::new() }
    }

    fn columns(&self) -> &'static [&'static str] {
        &OF_ROWS
    }

    fn row(&mut self, flows: &Flows, row: usize) {
        for (side, address) in [(Side::Source, flows.source[row]), (Side::Destination, flows.destination[row])] {
            let is_later = |known: &Named| known.seen_ms > flows.end_ms[row];
            if self.wanted.contains(&address)
                && !self.found.get(&address).is_some_and(is_later)
                && let Some(named) = Named::of(flows, row, side)
            {
                self.add(address, named);
            }
        }
    }

    fn summed(&mut self, _: &Sieve, _: i64, address: u128, named: Named) {
        if self.wanted.contains(&address) {
            self.add(address, named);
        }
    }

    fn join(&mut self, other: Self) {
        for (address, named) in other.found {
            self.add(address, named);
        }
    }

    /// Most groups say nothing where nothing is known.
    fn passes_over(&self, reader: &Reader<Flows>, group: usize) -> bool {
        NAME_COLUMNS.iter().filter_map(|name| Flows::index_of(name)).all(|column| reader.says_nothing(group, column))
    }

    fn passes_over_sums(&self, reader: &Reader<HostRows>, group: usize) -> Result<bool, FileFault> {
        if self.wanted.len() > FEW {
            return Ok(false);
        }
        let column: Vec<usize> = HostRows::index_of("address").into_iter().collect();
        for address in self.wanted.iter() {
            if reader.may_have(group, &column, *address)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The columns of rows that are looked at, besides the time.
const OF_ROWS: [&str; 14] = {
    let mut all = ["sourceIPAddress"; 14];
    all[1] = "destinationIPAddress";
    let mut at = 0;
    while at < NAME_COLUMNS.len() {
        all[at + 2] = NAME_COLUMNS[at];
        at += 1;
    }
    all
};
