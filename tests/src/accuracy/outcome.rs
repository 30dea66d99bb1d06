//! Both sides of the comparison.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::{Result, bail, ensure};

use super::Wire;
use crate::daemon::Report;
use crate::truth::{Counts, Total};

/// Differences that are shown.
const SHOWN: usize = 20;

/// What arrived and what was reported.
pub struct Outcome {
    /// What the daemon said, without its records, which were folded.
    pub report: Report,
    /// What arrived, by interface.
    pub arrived: BTreeMap<String, Total>,
    /// What arrived of each flow.
    pub truth: Vec<Counts>,
    /// What records say of each flow.
    pub reported: Vec<Counts>,
    /// Records in all.
    pub records: u64,
    /// What all records add up to.
    pub sum: Counts,
    strange: Vec<String>,
}

impl Outcome {
    pub(super) fn new(wire: &Wire, report: Report) -> Result<Self> {
        let (tally, ledger) = (wire.tally(), wire.ledger());
        let arrived = tally.interfaces().map(|name| Ok((name.to_owned(), tally.arrived(name)?)));
        Ok(Self {
            report,
            arrived: arrived.collect::<Result<_>>()?,
            truth: tally.by_flow()?,
            reported: ledger.counts().to_vec(),
            records: ledger.records(),
            sum: ledger.sum(),
            strange: ledger.strange().to_vec(),
        })
    }

    /// What arrived at all interfaces.
    #[must_use]
    pub fn arrived_in_all(&self) -> Total {
        sum(self.arrived.values().copied())
    }

    /// A term of the last accountings of all interfaces.
    ///
    /// # Errors
    /// There is none.
    pub fn term(&self, term: &str) -> Result<Total> {
        let terms: Result<Vec<Total>> = self.arrived.keys().map(|name| self.report.term(name, term)).collect();
        Ok(sum(terms?))
    }

    /// What holds after every run, whatever happened: each interface has seen exactly what arrived there, each frame is one
    /// of a flow that was sent, and the records add up to what was exported, unless the daemon says that it lost some.
    ///
    /// # Errors
    /// One of these does not hold.
    pub fn must_add_up(&self) -> Result<()> {
        ensure!(self.strange.is_empty(), "the daemon says what was not sent: {}", self.strange.join("\n"));
        for (interface, arrived) in &self.arrived {
            let seen = self.report.term(interface, "seen")?;
            ensure!(seen == *arrived, "{interface}: seen {seen:?}, arrived {arrived:?}");
        }
        let marked = sum(self.truth.iter().map(|counts| Total::from(*counts)));
        ensure!(marked == self.arrived_in_all(), "{marked:?} of flows, {:?} in all", self.arrived_in_all());
        let (exported, recorded) = (self.term("exported")?, Total::from(self.sum));
        if self.lost_records() {
            ensure!(recorded.packets < exported.packets, "said to have lost records, and has all of {exported:?}");
        } else {
            ensure!(recorded == exported, "records add up to {recorded:?}, exported {exported:?}");
        }
        Ok(())
    }

    /// Whether the daemon says that records were lost on the way out.
    #[must_use]
    pub fn lost_records(&self) -> bool {
        !self.report.logged("records lost on the way out").is_empty()
    }

    /// Whether records add up to exactly what arrived of each of these flows, in packets, IP octets and layer-2 octets.
    ///
    /// # Errors
    /// Says which flows do not, up to a screenful.
    pub fn must_be_exact_for(&self, flows: Range<usize>) -> Result<()> {
        let pairs = self.truth.iter().zip(&self.reported).enumerate().skip(flows.start).take(flows.len());
        let different: Vec<String> = pairs
            .filter(|(_, (truth, reported))| truth != reported)
            .map(|(number, (truth, reported))| format!("flow {number}: arrived {truth:?}, reported {reported:?}"))
            .collect();
        if different.is_empty() {
            return Ok(());
        }
        bail!(
            "{} of {} flows differ:\n{}",
            different.len(),
            flows.len(),
            different[..different.len().min(SHOWN)].join("\n")
        )
    }

    /// Whether every flow is exact, for which nothing may have overflowed.
    ///
    /// # Errors
    /// See [`Outcome::must_add_up`] and [`Outcome::must_be_exact_for`].
    pub fn must_be_exact(&self) -> Result<()> {
        self.must_add_up()?;
        ensure!(!self.lost_records(), "records were lost");
        ensure!(self.term("overflow")? == Total::default(), "overflow {:?}", self.term("overflow")?);
        self.must_be_exact_for(0..self.truth.len())
    }

    /// Flows of which something arrived.
    #[must_use]
    pub fn flows(&self) -> usize {
        self.truth.iter().filter(|counts| counts.packets > 0).count()
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let of = |term| self.term(term).unwrap_or_default().packets;
        write!(
            f,
            "{} packets of {} flows arrived; seen {}, exported {} in {} records, overflow {}, unparsed {}, filtered out {}",
            self.arrived_in_all().packets,
            self.flows(),
            of("seen"),
            of("exported"),
            self.records,
            of("overflow"),
            of("unparsed"),
            of("filteredOut"),
        )
    }
}

fn sum(totals: impl IntoIterator<Item = Total>) -> Total {
    let mut sum = Total::default();
    for total in totals {
        sum += total;
    }
    sum
}
