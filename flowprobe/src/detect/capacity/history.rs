//! What interfaces have carried: 5-minute steps of the last hours, and what is left of each day.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::INTERFACES;
use super::trend::quantile;
use crate::detect::flow::Flow;
use crate::detect::sketch::recent::Recent;

/// A step.
pub(super) const STEP_MS: i64 = 300_000;

/// Steps of a day, and of an hour.
const DAY_STEPS: i64 = 288;
const HOUR_STEPS: usize = 12;

/// Steps that are kept: a day, what may come late of it, and the hours until it is looked at.
const STEPS: usize = 320;

/// Days that are kept.
const DAYS: usize = 90;

/// Steps of a day in which anything was seen on any interface, from which on it counts: 16 hours.
const WHOLE: u16 = 192;

/// Octets around each IP packet that interfaces count: Ethernet header and frame check sequence (IEEE 802.3 section 3).
const FRAME: u64 = 18;

/// Where to, as seen from the site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Out,
    In,
    /// Between two that are inside, or two that are outside: either.
    Both,
}

/// Octets by [`Way`].
type Sums = [u64; 3];

/// What a day came to, bits per second by [`Way`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Day {
    /// Since 1970-01-01 UTC.
    pub(super) day: i32,
    /// 95th percentile of the steps: as they are told apart, and of all together.
    p95: [f64; 2],
    /// The same of the busiest hour.
    busiest: [f64; 2],
}

impl Day {
    pub(super) const fn p95(&self, is_one_way: bool) -> f64 {
        self.p95[is_one_way as usize]
    }

    pub(super) const fn busiest(&self, is_one_way: bool) -> f64 {
        self.busiest[is_one_way as usize]
    }
}

/// What an interface has carried.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct History {
    /// Steps one after the other.
    steps: VecDeque<Sums>,
    /// The number of the first of them, since 1970 UTC.
    first: i64,
    /// The last step of which it was said that it was too full.
    pub(super) said_step: i64,
    /// The oldest first.
    pub(super) days: Vec<Day>,
}

impl History {
    pub(super) const fn new() -> Self {
        Self { steps: VecDeque::new(), first: 0, said_step: i64::MIN, days: Vec::new() }
    }

    /// Adds a flow to the steps in which it was, evenly.
    pub(super) fn add(&mut self, flow: &Flow, way: Way) {
        let octets = flow.octets.saturating_add(flow.packets.saturating_mul(FRAME));
        let end = flow.end_ms.div_euclid(STEP_MS);
        // What is older than the steps are is in none of them.
        let start_ms = flow.start_ms.clamp(flow.end_ms.saturating_sub(STEP_MS * STEPS as i64 / 2), flow.end_ms);
        let start = start_ms.div_euclid(STEP_MS);
        if start == end {
            if let Some(sums) = self.step_mut(end) {
                sums[way as usize] = sums[way as usize].saturating_add(octets);
            }
            return;
        }
        let whole = u128::from((flow.end_ms - start_ms).unsigned_abs()).max(1);
        let mut done = 0;
        for step in start..=end {
            let until_ms = ((step + 1) * STEP_MS).min(flow.end_ms) - start_ms;
            // Up to here, so that rounding loses nothing.
            let due = u128::from(octets) * u128::from(until_ms.unsigned_abs()) / whole;
            let due = if step == end { octets } else { u64::try_from(due).unwrap_or(octets) };
            if let Some(sums) = self.step_mut(step) {
                sums[way as usize] = sums[way as usize].saturating_add(due - done);
            }
            done = due;
        }
    }

    /// A step, for which there is room unless it is older than all.
    fn step_mut(&mut self, step: i64) -> Option<&mut Sums> {
        let is_far = step.saturating_sub(self.first) >= (2 * STEPS) as i64;
        if self.steps.is_empty() || is_far {
            self.steps.clear();
            self.first = step;
        }
        while step < self.first && self.steps.len() < STEPS {
            self.steps.push_front([0; 3]);
            self.first -= 1;
        }
        let index = usize::try_from(step - self.first).ok()?;
        while self.steps.len() <= index {
            self.steps.push_back([0; 3]);
        }
        let over = self.steps.len().saturating_sub(STEPS);
        self.steps.drain(..over);
        self.first += over as i64;
        self.steps.get_mut(index - over)
    }

    fn step(&self, step: i64) -> Sums {
        let index = usize::try_from(step - self.first).ok();
        index.and_then(|index| self.steps.get(index)).copied().unwrap_or_default()
    }

    /// The way in which a step carried most.
    pub(super) fn way(&self, step: i64) -> Way {
        let [sent, received, both] = self.step(step);
        if both / 2 > sent.max(received) {
            Way::Both
        } else if sent >= received {
            Way::Out
        } else {
            Way::In
        }
    }

    /// What a step carried the way in which it carried most, bits per second.
    pub(super) fn busiest_way(&self, step: i64, is_one_way: bool) -> f64 {
        rates(self.step(step), 1)[usize::from(is_one_way)]
    }

    /// What a day came to.
    fn close(&mut self, day: i32) {
        let start = i64::from(day) * DAY_STEPS;
        let steps: Vec<Sums> = (start..start + DAY_STEPS).map(|step| self.step(step)).collect();
        if steps.iter().all(|sums| *sums == [0; 3]) || self.days.last().is_some_and(|last| last.day >= day) {
            return;
        }
        let p95 = [0, 1].map(|kind| {
            let mut all: Vec<f64> = steps.iter().map(|sums| rates(*sums, 1)[kind]).collect();
            all.sort_by(f64::total_cmp);
            quantile(&all, 0.95)
        });
        let hours = steps.chunks(HOUR_STEPS).map(|hour| {
            let sum = hour.iter().fold([0_u64; 3], |sum, step| [0, 1, 2].map(|way| sum[way].saturating_add(step[way])));
            rates(sum, hour.len())
        });
        let busiest = hours.fold([0.0_f64; 2], |most, hour| [most[0].max(hour[0]), most[1].max(hour[1])]);
        self.days.push(Day { day, p95, busiest });
        let over = self.days.len().saturating_sub(DAYS);
        self.days.drain(..over);
    }
}

/// Bits per second over so many steps. At first, of the way in which there is most: what may be either is at least half in one of them.
/// Then of all, which go one way.
#[expect(clippy::cast_precision_loss, reason = "three digits are said")]
fn rates([sent, received, both]: Sums, steps: usize) -> [f64; 2] {
    let all = sent.saturating_add(received).saturating_add(both);
    let seconds = steps as f64 * STEP_MS as f64 / 1000.0;
    [sent.max(received).max(all / 2), all].map(|octets| octets as f64 * 8.0 / seconds)
}

/// What interfaces have carried, to go on after a restart.
#[derive(Debug, Serialize, Deserialize)]
pub struct CapacityState {
    pub(super) interfaces: Recent<u32, History>,
    /// The first day that is not closed.
    open_day: Option<i32>,
}

impl Default for CapacityState {
    fn default() -> Self {
        Self { interfaces: Recent::new(INTERFACES), open_day: None }
    }
}

impl CapacityState {
    /// Closes the days before this one; whether there was one that counts.
    pub(super) fn close_days(&mut self, day: i64) -> bool {
        let day = i32::try_from(day).unwrap_or(i32::MAX);
        let open = self.open_day.unwrap_or(day);
        self.open_day = Some(open.max(day));
        // Of those that are longer ago there are no steps any more.
        let mut has_closed = false;
        for day in open.max(day.saturating_sub(2))..day {
            let start = i64::from(day) * DAY_STEPS;
            let is_seen = |step: &i64| self.interfaces.iter().any(|(_, history)| history.step(*step) != [0; 3]);
            let seen = (start..start + DAY_STEPS).filter(is_seen).count();
            if seen >= usize::from(WHOLE) {
                self.interfaces.iter_mut().for_each(|(_, history)| history.close(day));
                has_closed = true;
            }
        }
        has_closed
    }
}
