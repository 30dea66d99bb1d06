//! `flowprobe report` on the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args};
use thiserror::Error;

use crate::config;
use crate::query::{
    Filter, FilterArgs, Measure, QueryFlagsError, Question, Request, SourceArgs, TimeArgs, usual_step_ms,
};
use crate::summary::format::grouped;

/// Flags of `flowprobe report`.
#[derive(Clone, Debug, Args)]
#[command(group = ArgGroup::new("form").required(true).args(["html", "json"]))]
pub struct ReportArgs {
    /// Write a page with charts and tables to this file, which needs nothing else; - is standard output
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// Print one JSON object with the same answers
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    #[expect(missing_docs, reason = "its documentation would become the command's help")]
    pub time: TimeArgs,

    /// Title of the page [default: with the name of this machine]
    #[arg(long, value_name = "TEXT")]
    pub title: Option<String>,

    /// Rows of each table at most
    #[arg(long, value_name = "NUMBER", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub top: u32,

    /// Time from point to point of the charts [default: what makes 100 to 300]
    #[arg(long, value_name = "TIME", value_parser = config::span)]
    pub step: Option<Duration>,

    #[command(flatten)]
    #[expect(missing_docs, reason = "its documentation would become the command's help")]
    pub filter: FilterArgs,

    #[command(flatten)]
    #[expect(missing_docs, reason = "its documentation would become the command's help")]
    pub source: SourceArgs,
}

/// Flags that make no report together.
#[derive(Debug, Error)]
pub enum ReportFlagsError {
    /// As of a question.
    #[error(transparent)]
    Query(#[from] QueryFlagsError),
    /// More than a chart can show.
    #[error("--step is too short: it makes {} points, a chart has at most {MOST_POINTS}: {}s or more", grouped(*points), shortest_ms.div_ceil(1000))]
    Step {
        /// Points that it would make.
        points: u64,
        /// The shortest step that makes no more than a chart has, milliseconds.
        shortest_ms: u64,
    },
}

/// Points of a chart at most.
const MOST_POINTS: u64 = 1000;

/// The same where no step is asked for: then there are 100 or more in any time of two hours and longer.
const USUAL_POINTS: i64 = 300;

/// What a report asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// When it is asked, milliseconds since 1970 UTC.
    pub(super) now_ms: i64,
    /// From when.
    pub(super) from_ms: i64,
    /// And before when.
    pub(super) to_ms: i64,
    /// Milliseconds from point to point of the charts.
    pub(super) step_ms: i64,
    /// Rows of each table at most.
    pub(super) top: usize,
    /// Which flows.
    pub(super) filter: Filter,
}

impl ReportArgs {
    /// What is asked at `now_ms`.
    ///
    /// # Errors
    /// The flags do not go together.
    pub fn plan(&self, now_ms: i64) -> Result<Plan, ReportFlagsError> {
        const DAY: Duration = Duration::from_secs(86_400);
        let (from_ms, to_ms) = self.time.range(now_ms, DAY)?;
        let span_ms = to_ms.abs_diff(from_ms);
        let step_ms = match self.step.map(|step| u64::try_from(step.as_millis()).unwrap_or(u64::MAX)) {
            Some(step_ms) if span_ms.div_ceil(step_ms.max(1)) > MOST_POINTS => {
                let points = span_ms.div_ceil(step_ms.max(1));
                return Err(ReportFlagsError::Step { points, shortest_ms: span_ms.div_ceil(MOST_POINTS) });
            }
            Some(step_ms) => i64::try_from(step_ms).unwrap_or(i64::MAX),
            None => usual_step_ms(i64::try_from(span_ms).unwrap_or(i64::MAX), USUAL_POINTS),
        };
        Ok(Plan { now_ms, from_ms, to_ms, step_ms, top: self.top as usize, filter: self.filter.filter() })
    }
}

impl Plan {
    /// The question for what happened when, which may be by protocol.
    #[must_use]
    pub fn series(&self, by_protocol: bool) -> Request {
        self.request(Question::Series { step_ms: self.step_ms, by_protocol }, Measure::Octets)
    }

    /// A question of this time and these flows.
    pub(super) fn request(&self, question: Question, by: Measure) -> Request {
        let Self { from_ms, to_ms, filter, top, .. } = self.clone();
        Request { question, from_ms, to_ms, filter, by, top }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::store::layout::DAY_MS;
    use crate::store::rollup::MINUTE_MS;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        report: ReportArgs,
    }

    const NOW_MS: i64 = 1_795_510_014_447;

    fn plan(line: &[&str]) -> Result<Plan, String> {
        let line = Line::try_parse_from([&["report"], line].concat()).map_err(|error| error.to_string())?;
        line.report.plan(NOW_MS).map_err(|error| error.to_string())
    }

    #[test]
    fn the_last_day_is_asked_for_where_nothing_is_said() {
        let plan = plan(&["--json"]).expect("a plan");
        assert_eq!((plan.from_ms, plan.to_ms), (NOW_MS + 1 - DAY_MS, NOW_MS + 1));
        assert_eq!((plan.step_ms, plan.top), (5 * MINUTE_MS, 10));
        let request = plan.series(true);
        assert_eq!(request.question, Question::Series { step_ms: 5 * MINUTE_MS, by_protocol: true });
    }

    #[test]
    fn steps_make_at_most_300_points() {
        let minutes = |span: &str| plan(&["--json", "--last", span]).expect("a plan").step_ms / MINUTE_MS;
        assert_eq!(["10m", "1h", "6h", "24h", "7d", "30d", "90d", "1y"].map(minutes), [1, 1, 2, 5, 60, 180, 720, 2880]);
        let long = plan(&["--json", "--from", "1970-01-01T00:00:00Z"]).expect("a plan");
        assert!((long.to_ms - long.from_ms) / long.step_ms <= 300);
    }

    #[test]
    fn what_makes_no_report_is_refused_with_the_reason() {
        for (line, reason) in [
            (&[][..], "<--html <FILE>|--json>"),
            (&["--html", "a.html", "--json"], "cannot be used with"),
            (&["--json", "--step", "1s"], "it makes 86,400 points, a chart has at most 1000: 87s or more"),
            (&["--json", "--from", "2026-11-24T10:00:00Z", "--to", "2026-11-24T09:00:00Z"], "--from has to be before"),
            (
                &["--json", "--address", "10.0.0.1/8"],
                "`10.0.0.1/8` has bits behind its prefix; the network is 10.0.0.0/8",
            ),
            (&["--json", "--top", "0"], "0 is not in 1..=1000"),
        ] {
            let error = plan(line).expect_err(reason);
            assert!(error.contains(reason), "{error}");
        }
    }
}
