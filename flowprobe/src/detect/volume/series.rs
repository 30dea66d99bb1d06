//! A volume over time, and what is odd about a step of it.

use serde::{Deserialize, Serialize};

use super::super::finding::Severity;
use super::super::flow::Flow;
use super::super::sketch::baseline::{Baseline, By, HOUR, STEP_MS, Usual, hour_of, level, octets_of};
use super::VolumeSettings;

/// A host that never moves so much in a step has no baseline.
const HOST_LEARNS: u64 = 1_000_000;

/// Steps that are remembered while nothing is usual yet: an hour and ten minutes.
const RECENT: usize = 14;

/// What has fallen silent so often is not said to have any more: twice within three weeks.
const HABIT: f32 = 1.5;

/// Steps in four weeks.
const FOUR_WEEKS: f32 = 8064.0;

/// Steps in which an interface always had traffic, so that its silence is odd though nothing is known of this hour: half a day.
const ALWAYS: u32 = 144;

/// A volume over time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Series {
    /// Octets of this step.
    now: u64,
    baseline: Baseline,
    /// Octets of the steps before, the latest first; of interfaces only.
    recent: Vec<u64>,
    /// Steps since there was one without traffic.
    busy: u32,
    /// The highest level there was, which fades by a doubling in four weeks.
    peak: f32,
    /// Steps in a row that are too high, and too low.
    high: u32,
    low: u32,
    /// Whether one of those that are too high was twice as much as ever before.
    is_beyond: bool,
    /// The highest level at each hour of the day, which fades likewise; of interfaces only.
    peaks: Vec<f32>,
    /// How often it has fallen silent, which fades by half in four weeks: what comes again and again is no news.
    silences: f32,
    /// Whether the silence that goes on has come often enough before.
    is_habit: bool,
    /// Largest flow of this step.
    pub(super) largest: Option<Box<Flow>>,
}

/// What a step is found to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Odd {
    pub(super) is_high: bool,
    pub(super) severity: Severity,
    pub(super) octets: u64,
    /// What it is compared with.
    pub(super) usual: u64,
    pub(super) by: Option<By>,
    pub(super) steps: u32,
}

/// What a series is of, as far as judging goes.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    pub(super) floor: u64,
    pub(super) is_host: bool,
    pub(super) is_all: bool,
}

impl Series {
    pub(super) fn add(&mut self, flow: &Flow) {
        self.now = self.now.saturating_add(flow.share(flow.octets, STEP_MS));
        if flow.octets >= 100_000 && self.largest.as_ref().is_none_or(|largest| largest.octets < flow.octets) {
            self.largest = Some(Box::new(*flow));
        }
    }

    /// Ends a step: judges it, and learns it.
    pub(super) fn close(&mut self, step: i64, kind: Kind, settings: &VolumeSettings) -> Option<Odd> {
        let here = level(self.now);
        let odd = match self.baseline.usual_around(step) {
            Some(usual) => self.judge((step, here), usual, kind, settings),
            None if kind.is_host => None,
            None => self.judge_cold(kind, settings),
        };
        if !kind.is_host || self.now >= HOST_LEARNS || self.peak > 0.0 {
            self.baseline.learn(step, here);
            self.peak = here.max(self.peak - 1.0 / FOUR_WEEKS);
        }
        if !kind.is_host {
            self.silences *= 1.0 - std::f32::consts::LN_2 / FOUR_WEEKS;
            self.peaks.resize(24, 0.0);
            let peak = &mut self.peaks[hour_of(step, 24)];
            // Of each day, one step in 24 is of this hour.
            *peak = here.max(*peak - 24.0 / FOUR_WEEKS);
            self.recent.insert(0, self.now);
            self.recent.truncate(RECENT);
        }
        self.busy = if self.now == 0 { 0 } else { self.busy.saturating_add(1) };
        self.now = 0;
        odd
    }

    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    fn judge(&mut self, (step, here): (i64, f32), usual: Usual, kind: Kind, settings: &VolumeSettings) -> Option<Odd> {
        let bar = |times: u32, deviations: u32| {
            usual.level + (times.max(1) as f32).log2().max(deviations as f32 * usual.spread)
        };
        let times = if kind.is_host { settings.factor.saturating_mul(2) } else { settings.factor };
        let is_beyond = here >= self.peak + 1.0;
        // What an interface has had at such an hour it may have again.
        let is_new = if kind.is_host { is_beyond } else { here >= self.peak_around(step) + 1.0 };
        let is_high = !kind.is_all
            && self.now >= kind.floor
            && here >= bar(times, settings.deviations)
            // Hosts download what they like; twice as fast as ever before is another thing.
            && (self.high > 0 || is_new);
        let is_low = kind.is_all
            && usual.by != By::All
            && usual.level >= 4.0
            && here < 0.5
            && here < usual.level - 6.0 * usual.spread;
        self.high = if is_high { self.high.saturating_add(1) } else { 0 };
        self.low = if is_low { self.low.saturating_add(1) } else { 0 };
        self.is_beyond = is_high && (is_beyond || self.high > 1 && self.is_beyond);
        let is_twice = !kind.is_host
            && self.is_beyond
            && usual.by == By::Week
            && here >= bar(settings.factor.saturating_mul(2), settings.deviations + 2);
        let severity = if is_high && is_twice { Severity::Medium } else { Severity::Low };
        let (steps, enough) = (self.high.max(self.low), settings.steps.max(1));
        if is_low && steps == enough {
            self.is_habit = self.silences >= HABIT;
            self.silences += 1.0;
        }
        let is_due = steps >= enough && (steps == enough || steps.is_power_of_two());
        // At the first weekend, nothing of a weekend is known.
        let is_news = is_high || !self.is_habit && usual.by == By::Week;
        (is_due && is_news).then_some(Odd {
            is_high,
            severity,
            octets: self.now,
            usual: octets_of(usual.level),
            by: Some(usual.by),
            steps,
        })
    }

    /// The highest level at this hour of the day or those next to it.
    fn peak_around(&self, step: i64) -> f32 {
        let near = [step - HOUR, step, step + HOUR];
        near.into_iter().filter_map(|step| self.peaks.get(hour_of(step, 24))).copied().fold(0.0, f32::max)
    }

    /// Judges by the last hour: a step that is at once many times the most of it, and stays there for another.
    fn judge_cold(&mut self, kind: Kind, settings: &VolumeSettings) -> Option<Odd> {
        if settings.cold_factor == 0 {
            return None;
        }
        if kind.is_all {
            let was_always = self.busy >= ALWAYS || self.low > 0;
            self.low = if self.now == 0 && was_always { self.low.saturating_add(1) } else { 0 };
            let usual = self.recent.iter().copied().max().unwrap_or(0);
            let is_due = self.low == settings.steps.max(1);
            return is_due.then_some(Odd {
                is_high: false,
                severity: Severity::Low,
                octets: 0,
                usual,
                by: None,
                steps: self.low,
            });
        }
        // The rise may have begun in the middle of the step before, which is no measure then.
        let (first, reference) = (*self.recent.first()?, self.recent.get(2..)?);
        if self.recent.len() < RECENT {
            return None;
        }
        let most = reference.iter().copied().max().unwrap_or(0);
        let bar = kind.floor.max(most.saturating_mul(settings.cold_factor.into()));
        // In the morning, volumes rise for an hour; what goes on rising is no jump.
        let is_level = self.now.max(first) / 7 <= self.now.min(first) / 5;
        let earlier = self.recent.get(1).copied().unwrap_or(0);
        let is_new = earlier < bar;
        (first >= bar && self.now >= bar && is_level && is_new).then_some(Odd {
            is_high: true,
            severity: Severity::Low,
            octets: self.now,
            usual: most,
            by: None,
            steps: 2,
        })
    }

    /// Forgets what was going on: nothing was seen for some time.
    pub(super) fn skip(&mut self) {
        (self.now, self.high, self.low, self.busy) = (0, 0, 0, 0);
        self.is_beyond = false;
        self.recent.clear();
    }
}
