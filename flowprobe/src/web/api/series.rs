//! Rates over time.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde_json::{Value, json};

use super::params::{ParamError, Params};
use super::{Failure, ask};
use crate::clock::wall_now_ms;
use crate::config;
use crate::enrich::{icmp_name, service_name};
use crate::query::{self, Chart, Group, Grouping, Question, Request, Source, Total, usual_step_ms};
use crate::store::layout::HOUR_MS;
use crate::store::rollup::{Counts, MINUTE_MS, Service};
use crate::summary::protocol_name;
use crate::web::baseline::{Baseline, baseline};
use crate::web::server::WebState;

/// Steps of a series where nothing is said, about.
const STEPS: i64 = 120;

/// And at most.
const MOST_STEPS: i64 = 2000;

/// Groups where nothing is said.
const GROUPS: usize = 8;

/// And at most.
const MOST_GROUPS: usize = 50;

/// Up to so long a time records are read for what sums have by the hour only.
const BY_RECORDS_MS: i64 = 6 * HOUR_MS;

const GROUPINGS: [(&str, Grouping); 10] = [
    ("none", Grouping::None),
    ("protocol", Grouping::Protocol),
    ("service", Grouping::Service),
    ("icmp", Grouping::Icmp),
    ("interface", Grouping::Interface),
    ("source", Grouping::Source),
    ("destination", Grouping::Destination),
    ("country", Grouping::Country),
    ("system", Grouping::System),
    ("exporter", Grouping::Exporter),
];

/// `/api/v1/series`
pub(super) async fn series(state: State<Arc<WebState>>, uri: Uri) -> Result<Json<Value>, Failure> {
    let mut params = Params::of(&uri);
    let grouping = params.word("group", &GROUPINGS)?.unwrap_or_default();
    let groups = params.number("top", 1..=MOST_GROUPS)?.unwrap_or(GROUPS);
    let wants_baseline = params.word("baseline", &[("true", true), ("false", false)])?.unwrap_or(false);
    if wants_baseline && grouping != Grouping::None {
        return Err(ParamError::new("baseline", "is of the whole: only where group is none").into());
    }
    let request = Request { top: groups, ..params.request(Question::Totals, wall_now_ms())? };
    let of_minutes = [Grouping::None, Grouping::Protocol, Grouping::Interface, Grouping::Exporter];
    let step_ms = step_of(&mut params, &request, !of_minutes.contains(&grouping))?;
    params.end()?;
    let asked = request.clone();
    let (chart, usual) = ask(&state, move |shelf, stop| {
        let chart = query::chart(Source::Wanted(shelf, stop), &asked, step_ms, grouping)?;
        let usual = if wants_baseline { baseline(shelf, &asked, step_ms, stop)? } else { None };
        Ok((chart, usual))
    })
    .await?;
    Ok(Json(to_json(&chart, usual, &request, step_ms)))
}

/// How long a step is: as is said, or so that there are about a hundred; whole hours where only those have sums and the time is long.
pub(super) fn step_of(params: &mut Params, request: &Request, of_hours: bool) -> Result<i64, ParamError> {
    let span_ms = request.to_ms - request.from_ms;
    let said = params.one("step", |text| config::span(text).map_err(|error| error.to_string()))?;
    let Some(step) = said else {
        let usual = usual_step_ms(span_ms, STEPS);
        let is_rounded = of_hours && span_ms > BY_RECORDS_MS;
        return Ok(if is_rounded { (usual - 1).div_euclid(HOUR_MS) * HOUR_MS + HOUR_MS } else { usual });
    };
    let step_ms = i64::try_from(step.as_millis()).unwrap_or(i64::MAX);
    if span_ms / step_ms > MOST_STEPS {
        let error = format!("would make more than {MOST_STEPS} steps of this time");
        return Err(ParamError::new("step", error));
    }
    Ok(step_ms)
}

/// Steps as they are shown. Of the first and the last only a part may have been asked for. Records come once a minute from flows that go
/// on, so that a part that is shorter than that would show a peak where there was none: it is joined with its neighbour.
pub(super) struct Steps {
    /// Beginnings, milliseconds since 1970.
    pub(super) starts: Vec<i64>,
    /// How long each lasts inside of what is asked for.
    pub(super) seconds: Vec<f64>,
    /// How many at the beginning are one, and how many at the end.
    joined: (bool, bool),
}

impl Steps {
    pub(super) fn of(steps: &[i64], request: &Request, step_ms: i64) -> Self {
        let shortest = step_ms.min(MINUTE_MS);
        let lasts = |step: &i64| query::lasts_ms(request, *step, step_ms);
        let is_short = |step: Option<&i64>| step.is_some_and(|step| lasts(step) < shortest);
        let first = steps.len() > 1 && is_short(steps.first());
        let last = steps.len() > 1 + usize::from(first) && is_short(steps.last());
        let mut lengths: Vec<i64> = steps.iter().map(lasts).collect();
        let mut starts = steps.to_vec();
        if last && let (Some(short), Some(_)) = (lengths.pop(), starts.pop()) {
            lengths.last_mut().into_iter().for_each(|length| *length += short);
        }
        if first {
            lengths[1] += lengths[0];
            lengths.remove(0);
            starts.remove(1);
        }
        let seconds = lengths.into_iter().map(|length| length as f64 / 1000.0).collect();
        Self { starts, seconds, joined: (first, last) }
    }

    /// Counts of all steps as counts of those that are shown.
    pub(super) fn joined(&self, counts: &[Counts]) -> Vec<Counts> {
        let mut counts = counts.to_vec();
        let (first, last) = self.joined;
        if last && let Some(short) = counts.pop() {
            counts.last_mut().into_iter().for_each(|count| *count += short);
        }
        if first && counts.len() > 1 {
            let short = counts.remove(0);
            counts[0] += short;
        }
        counts
    }

    /// What is usual in the steps that are shown.
    fn usual(&self, mut rates: Vec<i64>) -> Vec<i64> {
        let (first, last) = self.joined;
        if last {
            rates.pop();
        }
        if first && !rates.is_empty() {
            rates.remove(0);
        }
        rates
    }
}

/// One of the counts of all steps.
pub(super) fn column(counts: &[Counts], of: impl Fn(&Counts) -> i64) -> Vec<i64> {
    counts.iter().map(of).collect()
}

fn to_json(chart: &Chart, usual: Option<Baseline>, request: &Request, step_ms: i64) -> Value {
    let steps = Steps::of(&chart.steps, request, step_ms);
    let mut sums = vec![Counts::default(); steps.starts.len()];
    let groups: Vec<Value> = (chart.groups.iter())
        .map(|(group, counts)| {
            let counts = steps.joined(counts);
            sums.iter_mut().zip(&counts).for_each(|(sum, counts)| *sum += *counts);
            let (name, filter) = shown(group);
            json!({
                "name": name,
                "filter": filter,
                "octets": column(&counts, |counts| counts.octets),
                "packets": column(&counts, |counts| counts.packets),
                "flows": column(&counts, |counts| counts.flows),
            })
        })
        .collect();
    let rates = |of: fn(&Counts) -> i64, times: f64| {
        let rates = sums.iter().zip(&steps.seconds).map(|(sum, seconds)| of(sum) as f64 * times / seconds.max(0.001));
        let (least, most) =
            rates.fold((f64::INFINITY, 0.0_f64), |(least, most), rate| (least.min(rate), most.max(rate)));
        let lasts = (request.to_ms - request.from_ms) as f64 / 1000.0;
        let average = of(&chart.total) as f64 * times / lasts;
        json!({ "minimum": if least.is_finite() { least } else { 0.0 }, "average": average, "maximum": most })
    };
    let usual = usual.map(|Baseline { days, low, middle, high }| {
        let [low, middle, high] = [low, middle, high].map(|rates| steps.usual(rates));
        json!({ "days": days, "low": low, "middle": middle, "high": high })
    });
    json!({
        "fromMilliseconds": request.from_ms,
        "toMilliseconds": request.to_ms,
        "stepMilliseconds": step_ms,
        "milliseconds": steps.starts,
        "seconds": steps.seconds,
        "groups": groups,
        "total": Total::from(chart.total),
        "rates": {
            "bitsPerSecond": rates(|counts| counts.octets, 8.0),
            "packetsPerSecond": rates(|counts| counts.packets, 1.0),
            "flowsPerSecond": rates(|counts| counts.flows, 1.0),
        },
        "baseline": usual,
        "rough": chart.is_rough,
        "unreadable": chart.unreadable,
    })
}

/// What a group is called, and the parameters that ask for it alone.
fn shown(group: &Group) -> (String, Option<Value>) {
    match group {
        Group::All => ("all".to_owned(), None),
        Group::Other => ("other".to_owned(), None),
        Group::Protocol(protocol) => (protocol_text(*protocol), Some(json!({ "protocol": protocol.to_string() }))),
        Group::Service(service) => of_service(*service),
        Group::In(name) => (format!("{name} in"), Some(json!({ "interface": **name }))),
        Group::Out(name) => (format!("{name} out"), Some(json!({ "interface": **name }))),
        Group::Address(address) => (address.to_string(), Some(json!({ "address": address.to_string() }))),
        Group::Country(code) => (code.to_string(), Some(json!({ "country": **code }))),
        Group::System(number) => (format!("AS{number}"), Some(json!({ "as": number.to_string() }))),
        Group::Exporter(Some(address)) => (address.to_string(), Some(json!({ "exporter": address.to_string() }))),
        Group::Exporter(None) => ("this probe".to_owned(), None),
    }
}

fn of_service(Service { protocol, port }: Service) -> (String, Option<Value>) {
    let name = protocol_text(protocol);
    if (Service { protocol, port }).has_port() {
        let called = service_name(protocol, port).map_or_else(String::new, |service| format!(" {service}"));
        let filter = json!({ "protocol": protocol.to_string(), "port": port.to_string() });
        return (format!("{name}/{port}{called}"), Some(filter));
    }
    let (kind, code) = (port >> 8, port & 0xff);
    let called = icmp_name(protocol, kind, code).map_or_else(String::new, |message| format!(" {message}"));
    let filter = json!({ "protocol": protocol.to_string(), "icmp": format!("{kind}/{code}") });
    (format!("{name} {kind}/{code}{called}"), Some(filter))
}

fn protocol_text(protocol: i32) -> String {
    u8::try_from(protocol).map_or_else(|_| protocol.to_string(), protocol_name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::{Filter, Measure};

    fn request(from_ms: i64, to_ms: i64) -> Request {
        Request { question: Question::Totals, from_ms, to_ms, filter: Filter::default(), by: Measure::Octets, top: 5 }
    }

    fn flows(count: i64) -> Counts {
        Counts { flows: count, ..Counts::default() }
    }

    #[test]
    fn parts_of_steps_that_are_short_are_joined_with_their_neighbours() {
        let starts = [0, 60_000, 120_000, 180_000];
        let counts = [1, 2, 4, 8].map(flows);
        for (from_ms, to_ms, shown, seconds, expected) in [
            (0, 240_000, vec![0, 60_000, 120_000, 180_000], vec![60.0; 4], vec![1, 2, 4, 8]),
            (50_000, 180_010, vec![0, 120_000], vec![70.0, 60.01], vec![3, 12]),
            (0, 180_010, vec![0, 60_000, 120_000], vec![60.0, 60.0, 60.01], vec![1, 2, 12]),
        ] {
            let steps = Steps::of(&starts, &request(from_ms, to_ms), 60_000);
            assert_eq!((&steps.starts, &steps.seconds), (&shown, &seconds));
            assert_eq!(column(&steps.joined(&counts), |counts| counts.flows), expected);
            assert_eq!(steps.usual(vec![1, 2, 3, 4]).len(), shown.len());
        }
        // There is nothing to join with.
        let steps = Steps::of(&[0], &request(10, 20), 60_000);
        assert_eq!((steps.starts, steps.seconds), (vec![0], vec![0.01]));
    }

    #[test]
    fn steps_are_whole_hours_where_sums_have_only_those() {
        let step = |query: &str, span_ms: i64, of_hours: bool| {
            let uri: Uri = format!("/x?{query}").parse().expect("a URI");
            step_of(&mut Params::of(&uri), &request(0, span_ms), of_hours).map_err(|error| error.error)
        };
        assert_eq!((step("", HOUR_MS, true), step("", 24 * HOUR_MS, true)), (Ok(60_000), Ok(HOUR_MS)));
        assert_eq!((step("", 24 * HOUR_MS, false), step("", 30 * 24 * HOUR_MS, true)), (Ok(900_000), Ok(6 * HOUR_MS)));
        assert_eq!(step("step=10s", HOUR_MS, false), Ok(10_000));
        assert!(step("step=1s", HOUR_MS, false).is_err_and(|error| error.contains("more than 2000 steps")));
    }
}
