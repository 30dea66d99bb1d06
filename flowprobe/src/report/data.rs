//! What a report says: the answers to its questions, and what follows from them.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::cli::Plan;
use super::steps::Steps;
use super::tables::TABLES;
use crate::query::{Answer, Measure, QueryError, Request, Total, bits_per_second};

/// What does not come out of history.
#[derive(Clone, Debug)]
pub(super) struct About {
    /// The title that was asked for.
    pub(super) title: Option<String>,
    /// The name of this machine.
    pub(super) host: Option<String>,
    /// Who has answered.
    pub(super) source: String,
    /// In which moments are shown.
    pub(super) zone: TimeZone,
}

/// A report.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) about: About,
    pub(super) plan: Plan,
    pub(super) series: Answer,
    pub(super) by_protocol: Answer,
    pub(super) steps: Steps,
    /// The answer for each of [`TABLES`], or why there is none.
    pub(super) tables: Vec<Result<Answer, String>>,
}

impl Report {
    /// Asks all but `series`, which has been asked already. A table whose answer takes too long is named as missing.
    ///
    /// # Errors
    /// There is no answer for another reason.
    pub(super) fn of(
        about: About,
        plan: Plan,
        series: Answer,
        mut ask: impl FnMut(&Request) -> Result<Answer, QueryError>,
    ) -> Result<Self, QueryError> {
        let by_protocol = ask(&plan.series(true))?;
        let mut tables = Vec::with_capacity(TABLES.len());
        for table in TABLES {
            match ask(&plan.request(table.question.clone(), table.by)) {
                Err(late @ QueryError::Late(_)) => tables.push(Err(late.to_string())),
                outcome => tables.push(Ok(outcome?)),
            }
        }
        let steps = Steps::of(&series, &by_protocol, plan.step_ms);
        Ok(Self { about, plan, series, by_protocol, steps, tables })
    }

    /// What it is called.
    pub(super) fn title(&self) -> String {
        match (&self.about.title, &self.about.host) {
            (Some(title), _) => title.clone(),
            (None, Some(host)) => format!("Traffic of {host}"),
            (None, None) => "Traffic".to_owned(),
        }
    }

    /// All that was counted.
    pub(super) const fn total(&self) -> &Total {
        &self.series.total
    }

    pub(super) const fn lasts_ms(&self) -> i64 {
        self.plan.to_ms.saturating_sub(self.plan.from_ms)
    }

    /// Every answer with its name.
    pub(super) fn answers(&self) -> impl Iterator<Item = (&'static str, &Answer)> {
        let series = [("series", &self.series), ("seriesByProtocol", &self.by_protocol)];
        let tables = TABLES.iter().zip(&self.tables);
        series.into_iter().chain(tables.filter_map(|(table, answer)| Some((table.name, answer.as_ref().ok()?))))
    }

    /// Files that are damaged, each once.
    pub(super) fn unreadable(&self) -> Vec<&str> {
        let mut files: Vec<&str> =
            self.answers().flat_map(|(_, answer)| answer.unreadable.iter().map(String::as_str)).collect();
        files.sort_unstable();
        files.dedup();
        files
    }

    /// As a JSON object, in which answers are as `flowprobe query` has them.
    pub(super) fn to_json(&self) -> Value {
        let Plan { now_ms, from_ms, to_ms, step_ms, filter, .. } = &self.plan;
        let zone = &self.about.zone;
        let peak = self.steps.peak(Measure::Octets).map(|step| {
            let bits = bits_per_second(step.total.octets, step.end_ms - step.start_ms);
            json!({"milliseconds": step.start_ms, "bitsPerSecond": bits})
        });
        let answers: Map<String, Value> =
            self.answers().map(|(name, answer)| (name.to_owned(), answer.to_json())).collect();
        let unanswered = TABLES.iter().zip(&self.tables).filter_map(|(table, answer)| {
            let reason = answer.as_ref().err()?;
            Some((table.name.to_owned(), Value::from(reason.as_str())))
        });
        json!({
            "title": self.title(),
            "host": self.about.host,
            "source": self.about.source,
            "madeMilliseconds": now_ms,
            "timeZone": zone_name(zone).map_or_else(|| zone_text(zone, *from_ms, *to_ms), str::to_owned),
            "fromMilliseconds": from_ms,
            "toMilliseconds": to_ms,
            "stepMilliseconds": step_ms,
            "filter": filter,
            "total": self.total(),
            "bitsPerSecond": bits_per_second(self.total().octets, self.lasts_ms()),
            "peak": peak,
            "rough": self.answers().any(|(_, answer)| answer.is_rough),
            "unreadable": self.unreadable(),
            "unanswered": unanswered.collect::<Map<_, _>>(),
            "answers": answers,
        })
    }
}

/// The name of a time zone, if it has one.
fn zone_name(zone: &TimeZone) -> Option<&str> {
    if zone.is_unknown() { Some("UTC") } else { zone.iana_name() }
}

/// A time zone as it is between two moments: `Europe/Berlin, UTC+01:00`.
pub(super) fn zone_text(zone: &TimeZone, from_ms: i64, to_ms: i64) -> String {
    let offset = |ms| {
        let moment = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MIN);
        format!("UTC{}", moment.to_zoned(zone.clone()).strftime("%:z"))
    };
    let (first, last) = (offset(from_ms), offset(to_ms));
    let offsets = if first == last { first } else { format!("{first}, then {last}") };
    match zone_name(zone) {
        Some("UTC") => "UTC".to_owned(),
        Some(name) => format!("{name}, {offsets}"),
        None => offsets,
    }
}
