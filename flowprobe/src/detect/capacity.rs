//! Interfaces that are nearly full, or will be.

mod history;
mod trend;

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::Deserialize;

use super::finding::{Rule, Seen, Severity, Sighting, Subject};
use super::flow::{Flow, Ip};
use super::handed::Handed;
use super::settings::Rate;
use super::sketch::recent::Recent;
use super::words::counted;
use super::{Context, Detector};
pub use history::CapacityState;
use history::{History, STEP_MS, Way};
use trend::Trend;

static USE: Rule = Rule { name: "capacity-use", technique: None, quiet_ms: 3_600_000 };
static TREND: Rule = Rule { name: "capacity-trend", technique: None, quiet_ms: 3 * DAY_MS };

const DAY_MS: i64 = 86_400_000;

/// Interfaces whose use is followed.
const INTERFACES: usize = 2048;

/// Time after the end of a step in which flows of it may still come; what comes later still counts for the next look and for the day.
const LATE_MS: i64 = 60_000;

/// Steps over which a use is followed back at most: a day.
const STEPS_BACK: i64 = 288;

/// Steps that are looked at again for what has come late.
const LOOKED_BACK: i64 = 12;

/// When nothing of a day comes any more, as a rule.
const DAY_LATE_MS: i64 = 3_600_000;

/// Larger flows that are kept as evidence.
const LARGEST: usize = 4;

/// A trend whose last date is later than this says nothing.
const LATEST_DAYS: f64 = 730.0;

/// When an interface is too full.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct CapacitySettings {
    /// Use of an interface from which on it is said, per cent of its speed.
    pub use_percent: u8,
    /// For how many minutes in a row, in steps of 5.
    pub minutes: u16,
    /// Days with data from which on a trend is looked for.
    pub trend_days: u16,
    /// A date within so many days is said.
    pub within_days: u16,
    /// What interfaces can do each way, by name, where they do not say so themselves.
    pub speeds: BTreeMap<String, Rate>,
}

impl Default for CapacitySettings {
    fn default() -> Self {
        Self { use_percent: 80, minutes: 15, trend_days: 7, within_days: 90, speeds: BTreeMap::new() }
    }
}

/// What is known of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// As findings name it.
    pub name: String,
    /// Each way; 0 where it is not known.
    pub bits_per_second: u64,
    /// Whether all its flows go the same way, as those do that exporters report by the interface they came in on. Otherwise they are told
    /// apart by which end is inside.
    pub is_one_way: bool,
}

/// By [`Flow::interface`].
pub type Lines = HashMap<u32, Line>;

/// Follows how full interfaces are.
#[derive(Debug)]
pub struct Capacity {
    settings: CapacitySettings,
    lines: Arc<Lines>,
    new_lines: Handed<Arc<Lines>>,
    state: CapacityState,
    /// The largest flows of each interface in this step and the one before.
    largest: Recent<u32, [Vec<Flow>; 2]>,
    step: i64,
}

impl Capacity {
    /// With what was seen before. Speeds are taken from where they are put, at the next [`Detector::advance`].
    #[must_use]
    pub fn new(settings: &CapacitySettings, new_lines: Handed<Arc<Lines>>, state: CapacityState) -> Self {
        let largest = Recent::new(INTERFACES);
        Self { settings: settings.clone(), lines: Arc::default(), new_lines, state, largest, step: i64::MIN }
    }

    /// What was seen, to be kept.
    #[must_use]
    pub const fn state(&self) -> &CapacityState {
        &self.state
    }

    fn begin_step(&mut self, step: i64) {
        self.step = step;
        for (_, [young, old]) in self.largest.iter_mut() {
            *old = std::mem::take(young);
        }
    }

    /// A run of full steps that is longer than was said.
    fn look_at_use(&mut self, number: u32, line: &Line, now_ms: i64, seen: &mut Seen) {
        let Some(history) = self.state.interfaces.get_mut(&number) else { return };
        let newest = (now_ms - LATE_MS).div_euclid(STEP_MS) - 1;
        let least = i64::from(self.settings.minutes).max(1).div_euclid(5).max(1);
        let percent = |step: i64| history.busiest_way(step, line.is_one_way) / bits(line) * 100.0;
        let is_full = |step: &i64| percent(*step) >= f64::from(self.settings.use_percent.max(1));
        let Some(end) =
            (newest - LOOKED_BACK..=newest).rev().find(|step| (step - least + 1..=*step).all(|step| is_full(&step)))
        else {
            return;
        };
        if end <= history.said_step {
            return;
        }
        let start =
            end + 1 - (0..STEPS_BACK).take_while(|back| is_full(&(end - back))).count().try_into().unwrap_or(least);
        let length = end + 1 - start;
        let uses: Vec<f64> = (start..=end).map(percent).collect();
        let mean = uses.iter().sum::<f64>() / uses.len() as f64;
        let most = uses.iter().copied().fold(0.0, f64::max);
        history.said_step = end;
        let way = match (line.is_one_way, history.way(end)) {
            (true, _) | (_, Way::Both) => "",
            (_, Way::Out) => " out of the site",
            (_, Way::In) => " into the site",
        };
        let evidence: Vec<Flow> =
            self.largest.get(&number).into_iter().flatten().flatten().copied().take(LARGEST).collect();
        let peers: Vec<Ip> = evidence.iter().flat_map(|flow| [flow.source, flow.destination]).collect();
        let minutes = length * 5;
        let name = &line.name;
        let word = if most >= 95.0 { "full" } else { "nearly full" };
        seen.push(Sighting {
            rule: &USE,
            severity: Severity::Medium,
            subject: Subject::Interface(name.clone()),
            matter: String::new(),
            title: format!("{name} is {word}: {mean:.0} % of {} for {minutes} min", speed(bits(line))),
            explanation: format!(
                "{name} carried {}{way} for {minutes} min, {mean:.0} % of its speed of {}; at most {most:.0} % in 5 min.",
                speed(mean / 100.0 * bits(line)),
                speed(bits(line)),
            ),
            peers,
            first_ms: start * STEP_MS,
            last_ms: (end + 1) * STEP_MS,
            evidence,
        });
    }

    /// By the days that are over.
    fn look_at_trend(&mut self, number: u32, line: &Line, now_ms: i64, seen: &mut Seen) {
        let Some(history) = self.state.interfaces.get(&number) else { return };
        let Some(newest) = history.days.last() else { return };
        let points: Vec<(f64, f64)> =
            history.days.iter().map(|day| (f64::from(day.day), day.busiest(line.is_one_way))).collect();
        if points.len() < usize::from(self.settings.trend_days.max(3)) {
            return;
        }
        let Some(trend) = Trend::of(&points) else { return };
        let today = f64::from(newest.day);
        let level = trend.at(today);
        let left = bits(line) - level;
        let [soonest, about, latest] = [trend.slopes[2], trend.slopes[1], trend.slopes[0]].map(|slope| left / slope);
        // A growth that would not be noticed is none.
        let has_grown = trend.slopes[1] * (today - points[0].0) >= 0.05 * level;
        if left <= 0.0
            || trend.slopes[0] <= 0.0
            || !has_grown
            || about > f64::from(self.settings.within_days)
            || latest > LATEST_DAYS
        {
            return;
        }
        let [soonest, about, latest] = [soonest, about, latest].map(|days| date(today + days));
        let name = &line.name;
        let p95 = newest.p95(line.is_one_way);
        seen.push(Sighting {
            rule: &TREND,
            severity: Severity::Low,
            subject: Subject::Interface(name.clone()),
            matter: String::new(),
            title: format!("{name} fills on about {about}"),
            explanation: format!(
                "The busiest hour of {name} carries about {} ({:.0} % of {}) and grows by {} a day, by the busiest hours of {}. It \
                 fills on about {about}, between {soonest} and {latest}. On {}, 95 % of the time it carried at most {}.",
                speed(level),
                level / bits(line) * 100.0,
                speed(bits(line)),
                speed(trend.slopes[1]),
                counted(points.len() as u64, "day"),
                date(today),
                speed(p95),
            ),
            peers: Vec::new(),
            first_ms: i64::from(history.days[0].day) * DAY_MS,
            last_ms: now_ms,
            evidence: Vec::new(),
        });
    }
}

impl Detector for Capacity {
    fn flow(&mut self, flow: &Flow, context: Context<'_>, _seen: &mut Seen) {
        let way = match (context.site.is_inside(flow.source), context.site.is_inside(flow.destination)) {
            (true, false) => Way::Out,
            (false, true) => Way::In,
            _ => Way::Both,
        };
        self.state.interfaces.entry(flow.interface, History::new).add(flow, way);
        let largest = &mut self.largest.entry(flow.interface, <[Vec<Flow>; 2]>::default)[0];
        if largest.len() < LARGEST {
            largest.push(*flow);
        } else if let Some(least) =
            largest.iter_mut().min_by_key(|flow| flow.octets).filter(|least| least.octets < flow.octets)
        {
            *least = *flow;
        }
    }

    fn advance(&mut self, context: Context<'_>, seen: &mut Seen) {
        let now_ms = context.now_ms;
        let is_new = self.new_lines.take().map(|lines| self.lines = lines).is_some();
        let step = (now_ms - LATE_MS).div_euclid(STEP_MS);
        if step == self.step && !is_new {
            return;
        }
        if step != self.step {
            self.begin_step(step);
        }
        let day = (now_ms - DAY_LATE_MS).div_euclid(DAY_MS);
        let is_new_day = self.state.close_days(day);
        let lines = Arc::clone(&self.lines);
        for (number, line) in lines.iter().filter(|(_, line)| line.bits_per_second > 0) {
            self.look_at_use(*number, line, now_ms, seen);
            if is_new_day || is_new {
                self.look_at_trend(*number, line, now_ms, seen);
            }
        }
    }

    fn name(&self) -> &'static str {
        "capacity-1"
    }

    fn learned(&self) -> Option<Vec<u8>> {
        postcard::to_stdvec(self.state()).ok()
    }

    fn go_on_with(&mut self, learned: &[u8]) -> bool {
        postcard::from_bytes(learned).map(|learned| self.state = learned).is_ok()
    }

    fn memory(&self) -> (usize, u64) {
        (self.state.interfaces.len(), self.state.interfaces.forgotten())
    }
}

#[expect(clippy::cast_precision_loss, reason = "three digits are said")]
fn bits(line: &Line) -> f64 {
    line.bits_per_second as f64
}

/// Bits per second, in decimal units.
fn speed(bits: f64) -> String {
    let units = [(1e12, "Tbit/s"), (1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s")];
    match units.into_iter().find(|(unit, _)| bits >= *unit) {
        Some((unit, name)) => {
            let number = bits / unit;
            let whole = (number - number.round()).abs() < 0.005;
            if whole || number >= 100.0 {
                format!("{number:.0} {name}")
            } else if number >= 10.0 {
                format!("{number:.1} {name}")
            } else {
                format!("{number:.2} {name}")
            }
        }
        None => format!("{bits:.0} bit/s"),
    }
}

/// The date of a day, counted from 1970-01-01 on, in UTC.
#[expect(clippy::cast_possible_truncation, reason = "days within two years of a day that has been")]
fn date(day: f64) -> Date {
    let moment = Timestamp::from_second(day.floor() as i64 * 86_400).unwrap_or(Timestamp::UNIX_EPOCH);
    moment.to_zoned(TimeZone::UTC).date()
}

#[cfg(test)]
mod tests;
