//! Which addresses of indicator lists are in history, and who had to do with them: `flowprobe hunt`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use hashbrown::HashMap;
use ipnet::IpNet;

use super::answer::{Answer, Cell, Unit};
use super::cli::TimeArgs;
use super::filter::{Filter, Sieve};
use super::gather::{THREE, answer, counted};
use super::scan::{Gather, UseOfRollup, gather};
use super::{Measure, Question, Request, Source};
use crate::detect::flow::Ip;
use crate::detect::indicator::{Hit, IndicatorSet, Past, hunt};
use crate::detect::site::Site;
use crate::store::file::FileFault;
use crate::store::flows::{Flows, ip};
use crate::store::rollup::{BothWays, Counts, TalkerRows};

/// Listed addresses of which it is looked up who had to do with them: the latest.
const LOOKED_UP: usize = 64;

/// Others that are named for each.
const NAMED: usize = 3;

/// Flags of `flowprobe hunt`.
#[derive(Clone, Debug, Args)]
pub struct HuntArgs {
    /// Lists of addresses and networks: plain, CSV, FireHOL netset, address and score
    #[arg(required = true, value_name = "LIST")]
    pub lists: Vec<PathBuf>,

    #[command(flatten)]
    #[expect(missing_docs, reason = "its documentation would become the command's help")]
    pub time: TimeArgs,

    /// Entries with a lower score are left out
    #[arg(long, value_name = "NUMBER")]
    pub minimum_score: Option<f64>,

    /// Let private addresses match, too
    #[arg(long)]
    pub match_inside: bool,

    /// Folder of the history [default: /var/lib/flowprobe/store]
    #[arg(long, value_name = "PATH")]
    pub store: Option<PathBuf>,

    /// Print one JSON object instead of a table
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,

    /// Print comma-separated values instead of a table
    #[arg(long)]
    pub csv: bool,
}

impl HuntArgs {
    /// The time that is asked for where nothing is said.
    pub const USUAL: Duration = Duration::from_secs(30 * 24 * 3600);
}

/// Addresses of lists with what history has of each.
struct Hunt {
    set: Arc<IndicatorSet>,
    found: HashMap<u128, Past>,
}

impl Hunt {
    fn of(set: &Arc<IndicatorSet>) -> Self {
        Self { set: Arc::clone(set), found: HashMap::new() }
    }

    fn add(&mut self, address: u128, times: (i64, i64), counts: Counts) {
        if self.set.has(Ip(address)) {
            let count = |number: i64| u64::try_from(number).unwrap_or(0);
            let past = Past {
                address: Ip(address),
                first_ms: times.0,
                last_ms: times.1,
                packets: count(counts.packets),
                octets: count(counts.octets),
                flows: count(counts.flows),
            };
            self.put(past);
        }
    }

    fn put(&mut self, past: Past) {
        self.found
            .entry(past.address.0)
            .and_modify(|known| {
                known.first_ms = known.first_ms.min(past.first_ms);
                known.last_ms = known.last_ms.max(past.last_ms);
                known.packets = known.packets.saturating_add(past.packets);
                known.octets = known.octets.saturating_add(past.octets);
                known.flows = known.flows.saturating_add(past.flows);
            })
            .or_insert(past);
    }
}

impl Gather for Hunt {
    type Rollup = TalkerRows;

    fn use_of_rollup(&self, _: &Sieve) -> UseOfRollup {
        UseOfRollup::WholePeriods
    }

    fn fork(&self) -> Self {
        Self::of(&self.set)
    }

    fn columns(&self) -> &'static [&'static str] {
        counted!("sourceIPAddress", "destinationIPAddress", "flowStartMilliseconds")
    }

    fn row(&mut self, flows: &Flows, row: usize) {
        let (times, counts) = ((flows.start_ms[row], flows.end_ms[row]), Counts::of(flows, row));
        self.add(flows.source[row], times, counts);
        self.add(flows.destination[row], times, counts);
    }

    fn summed(&mut self, _: &Sieve, start_ms: i64, address: u128, both: BothWays) {
        self.add(address, (start_ms, start_ms), both.sum());
    }

    fn join(&mut self, other: Self) {
        other.found.into_values().for_each(|past| self.put(past));
    }
}

/// Who had to do with some addresses.
struct Others {
    wanted: Arc<Vec<u128>>,
    found: HashMap<(u128, u128), i64>,
}

impl Gather for Others {
    type Rollup = TalkerRows;

    fn use_of_rollup(&self, _: &Sieve) -> UseOfRollup {
        UseOfRollup::Nothing
    }

    fn fork(&self) -> Self {
        Self { wanted: Arc::clone(&self.wanted), found: HashMap::new() }
    }

    fn columns(&self) -> &'static [&'static str] {
        counted!("sourceIPAddress", "destinationIPAddress")
    }

    fn row(&mut self, flows: &Flows, row: usize) {
        let (source, destination) = (flows.source[row], flows.destination[row]);
        let octets = Counts::of(flows, row).octets;
        // Of two that are listed, each has the other.
        for (address, other) in [(source, destination), (destination, source)] {
            if self.wanted.binary_search(&address).is_ok() {
                *self.found.entry((address, other)).or_default() += octets;
            }
        }
    }

    fn summed(&mut self, _: &Sieve, _: i64, _: u128, _: BothWays) {}

    fn join(&mut self, other: Self) {
        for (pair, octets) in other.found {
            *self.found.entry(pair).or_default() += octets;
        }
    }
}

/// The listed addresses that are in the history of this time, the latest first, with the lists that have them. Times are those of flows, or
/// the beginning of the hour or day of the sums that were read.
///
/// # Errors
/// A folder of the store cannot be read.
pub fn listed(
    source: Source<'_>,
    (from_ms, to_ms): (i64, i64),
    set: &Arc<IndicatorSet>,
    site: &Site,
) -> Result<Answer, FileFault> {
    let request = Request {
        question: Question::Talkers,
        from_ms,
        to_ms,
        filter: Filter::default(),
        by: Measure::default(),
        top: usize::MAX,
    };
    let (Hunt { found, .. }, notes) = gather(source, &request, &Hunt::of(set))?;
    let hits = hunt(set, site, found.into_values());
    let others = others(source, &request, &hits)?;
    let columns: Vec<(&str, Unit)> = [
        ("address", Unit::Name),
        ("list", Unit::Name),
        ("reason", Unit::Name),
        ("firstMilliseconds", Unit::Time),
        ("lastMilliseconds", Unit::Time),
    ]
    .into_iter()
    .chain(THREE)
    .chain([("others", Unit::Name)])
    .collect();
    let mut total = Counts::default();
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let mut rows = Vec::new();
    for Hit { past, listed } in &hits {
        let counts = [past.octets, past.packets, past.flows].map(signed);
        (total.octets, total.packets, total.flows) =
            (total.octets + counts[0], total.packets + counts[1], total.flows + counts[2]);
        let with = others.get(&past.address.0).map(String::as_str);
        for one in listed {
            let mut row = vec![
                Cell::Text(past.address.to_string()),
                Cell::Text(one.list.name.clone()),
                Some(one.why().as_str()).filter(|why| !why.is_empty()).into(),
                Cell::Number(past.first_ms),
                Cell::Number(past.last_ms),
            ];
            row.extend(counts.map(Cell::Number));
            row.push(with.into());
            rows.push(row);
        }
    }
    let mut answer = answer(&request, notes, total, rows.len(), &columns);
    answer.rows = rows;
    Ok(answer)
}

/// Who had most to do with each of the latest hits, in words.
fn others(source: Source<'_>, request: &Request, hits: &[Hit<'_>]) -> Result<HashMap<u128, String>, FileFault> {
    let looked_up = &hits[..hits.len().min(LOOKED_UP)];
    let mut wanted: Vec<u128> = looked_up.iter().map(|hit| hit.past.address.0).collect();
    wanted.sort_unstable();
    let (Some(from_ms), Some(_)) = (looked_up.iter().map(|hit| hit.past.first_ms).min(), wanted.first()) else {
        return Ok(HashMap::new());
    };
    let addresses = wanted.iter().map(|address| IpNet::from(ip(*address))).collect();
    let request = Request {
        from_ms: from_ms.max(request.from_ms),
        filter: Filter { addresses, ..Filter::default() },
        ..request.clone()
    };
    let (Others { found, .. }, _) =
        gather(source, &request, &Others { wanted: Arc::new(wanted), found: HashMap::new() })?;
    let mut by_address: BTreeMap<u128, Vec<(i64, u128)>> = BTreeMap::new();
    for ((address, other), octets) in found {
        by_address.entry(address).or_default().push((octets, other));
    }
    let named = by_address.into_iter().map(|(address, mut others)| {
        others.sort_unstable_by(|one, other| other.cmp(one));
        let names: Vec<String> = others.iter().take(NAMED).map(|(_, other)| ip(*other).to_string()).collect();
        let more = others.len() - names.len();
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        (address, names.join(", ") + &more)
    });
    Ok(named.collect())
}
