//! A report says what the same questions answer, and its page says it too, as text and without anything from elsewhere.

use std::time::Duration;

use jiff::tz::TimeZone;
use serde_json::Value;

use super::data::{About, Report};
use super::page::page;
use super::tables::TABLES;
use super::*;
use crate::query::render::text;
use crate::query::{Answer, Cell, Filter, Measure, Question, Request, Source, Unit, ask};
use crate::status::StatusError;
use crate::store::Store;
use crate::store::layout::{DAY_MS, HOUR_MS};
use crate::store::rollup::MINUTE_MS;
use crate::store::tests::{START_MS, add, rows, store};

/// Central European time, by its rules, which need no files.
fn berlin() -> TimeZone {
    TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a time zone")
}

fn about() -> About {
    About { title: None, host: Some("gw1".to_owned()), source: "the files in here".to_owned(), zone: berlin() }
}

fn plan(from_ms: i64, to_ms: i64) -> Plan {
    Plan { now_ms: to_ms, from_ms, to_ms, step_ms: 5 * MINUTE_MS, top: 10, filter: Filter::default() }
}

fn filled() -> (tempfile::TempDir, Store) {
    let (folder, store) = store();
    let mut random = fastrand::Rng::with_seed(21);
    add(store.shelf(), &rows(&mut random, 3000, START_MS, START_MS + DAY_MS));
    store.shelf().write_out().expect("an empty disk");
    (folder, store)
}

fn report(store: &Store, about: About, plan: Plan) -> Report {
    let answer = |request: &Request| Ok(ask(Source::Files(store.shelf().layout()), request)?);
    let series = answer(&plan.series(false)).expect("an answer");
    Report::of(about, plan, series, answer).expect("a report")
}

#[test]
fn a_report_is_what_the_same_questions_answer() {
    let (_folder, store) = filled();
    let filters = [Filter::default(), Filter { protocols: vec![6], ..Filter::default() }];
    for (filter, (from_ms, to_ms)) in filters.into_iter().zip([(0, DAY_MS), (HOUR_MS + 1234, 9 * HOUR_MS + 77)]) {
        let plan = Plan { filter, ..plan(START_MS + from_ms, START_MS + to_ms) };
        let json = report(&store, about(), plan.clone()).to_json();
        let asked = |question, by| {
            let request = plan.request(question, by);
            ask(Source::Shelf(store.shelf()), &request).expect("an answer").to_json()
        };
        for table in TABLES {
            let answer = &json["answers"][table.name];
            assert_eq!(*answer, asked(table.question.clone(), table.by), "{}", table.name);
            assert!(!answer["rows"].as_array().expect("rows").is_empty(), "{}", table.name);
        }
        for (name, by_protocol) in [("series", false), ("seriesByProtocol", true)] {
            let question = Question::Series { step_ms: 5 * MINUTE_MS, by_protocol };
            assert_eq!(json["answers"][name], asked(question, Measure::Octets));
        }
        assert_eq!(json["total"], json["answers"]["series"]["total"]);
        assert_eq!((&json["fromMilliseconds"], &json["toMilliseconds"]), (&plan.from_ms.into(), &plan.to_ms.into()));
        assert_eq!((&json["rough"], &json["unreadable"]), (&Value::Bool(false), &Value::Array(Vec::new())));
        assert_eq!(json["timeZone"], "UTC+01:00");
    }
}

#[test]
fn the_page_has_every_number_of_its_tables() {
    let (_folder, store) = filled();
    let report = report(&store, about(), plan(START_MS, START_MS + DAY_MS));
    let shown = page(&report);
    for (table, answer) in TABLES.iter().zip(&report.tables) {
        let answer = answer.as_ref().expect("an answer");
        let of = |name: &&str| answer.columns.iter().position(|(column, _)| column == name);
        let places: Vec<usize> = table.columns.iter().map(|name| of(name).expect("a column of the answer")).collect();
        for row in &answer.rows {
            for index in &places {
                let value = text(answer.columns[*index].1, &row[*index], &berlin());
                let is_shown = ["</t", "<small"].iter().any(|end| shown.contains(&format!(">{value}{end}")));
                assert!(is_shown, "{}: {value}", table.name);
            }
        }
    }
    assert!(shown.contains("<h1>Traffic of gw1</h1>"), "{shown}");
    assert!(
        shown
            .contains("2026-11-24 01:00:00 to 2026-11-25 01:00:00 <span>UTC+01:00</span> <span>24 h in steps of 5 min")
    );
    let total = text(Unit::Octets, &Cell::Number(report.total().octets), &berlin());
    assert!(shown.contains(&format!(">{total}</dd>")), "{total}");
    assert_eq!(shown.matches("<svg class=\"chart\" role=\"img\"").count(), 3);
    assert_eq!(shown.matches("<caption>").count(), TABLES.len());
    assert!(
        shown.contains(">10.7.0.1<small title=\"host-1.example · Net 1 · FR\">host-1.example · Net 1 · FR</small>")
    );
    // The same again: nothing comes from the clock or the machine.
    assert_eq!(shown, page(&report));
}

#[test]
fn the_page_needs_nothing_and_runs_nothing() {
    let (_folder, store) = filled();
    let page = page(&report(&store, about(), plan(START_MS, START_MS + DAY_MS)));
    assert!(page.contains("content=\"default-src 'none'; style-src 'unsafe-inline'\""));
    for foreign in ["<script", "src=", "href", "url(", "@import", "http:", "https:", "<link", "onload", "onerror"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}

#[test]
fn names_from_the_network_are_text() {
    const NASTY: &str = "<script>alert(\"1\")</script>";
    let (_folder, store) = filled();
    let nasty = || NASTY.to_owned();
    let filter = Filter { protocols: vec![6], ..Filter::default() };
    let about = About { title: Some(nasty()), source: nasty(), ..about() };
    let mut report = report(&store, about, Plan { filter, ..plan(START_MS, START_MS + DAY_MS) });
    report.plan.filter.interfaces = vec![nasty()];
    report.steps.layers[0].name = nasty();
    for answer in report.tables.iter_mut().flatten() {
        answer.rows[0]
            .iter_mut()
            .filter(|cell| matches!(cell, Cell::Text(_)))
            .for_each(|cell| *cell = Cell::Text(nasty()));
        answer.unreadable.push(nasty());
    }
    report.tables[7] = Err(nasty());
    let page = page(&report);
    assert!(!page.contains("<script") && !page.contains("alert(\""), "{page}");
    assert!(page.matches("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;").count() > 10);
}

#[test]
fn a_time_without_anything_is_said_to_be_so() {
    let (_folder, store) = store();
    let empty = report(&store, about(), plan(START_MS - 30 * DAY_MS, START_MS));
    assert!(page(&empty).contains("Nothing was recorded in this time.</p>"));
    assert_eq!(empty.to_json()["total"]["flows"], 0);
    let filter = Filter { interfaces: vec!["eth9".to_owned()], ..Filter::default() };
    let filtered = page(&report(&store, about(), Plan { filter, ..plan(START_MS - DAY_MS, START_MS) }));
    assert!(filtered.contains("Nothing was recorded in this time that fits the filter.</p>"));
    assert!(filtered.contains("Only flows through interface <b>eth9</b>"), "{filtered}");
}

#[test]
fn what_is_not_whole_is_marked() {
    let (_folder, store) = filled();
    let mut report = report(&store, about(), plan(START_MS, START_MS + DAY_MS));
    let of = |report: &mut Report, name: &str, change: fn(&mut Answer)| {
        let index = TABLES.iter().position(|table| table.name == name).expect("a table");
        change(report.tables[index].as_mut().expect("an answer"));
    };
    of(&mut report, "talkersByPackets", |answer| answer.is_rough = true);
    of(&mut report, "protocols", |answer| answer.unreadable.push("a.parquet: EOF".to_owned()));
    of(&mut report, "ports", |answer| answer.unreadable.push("a.parquet: EOF".to_owned()));
    of(&mut report, "conversations", |answer| answer.total.octets = 1_500_000);
    let (page, json) = (page(&report), report.to_json());
    assert!(page.contains("Small ones may be missing or too small in Addresses by packets.</li>"), "{page}");
    assert_eq!(page.matches("Passed over, since it is damaged: a.parquet: EOF").count(), 1);
    assert!(page.contains("Of records that are still kept: 1.50 MB of "), "{page}");
    assert_eq!((&json["rough"], &json["unreadable"][0]), (&Value::Bool(true), &Value::from("a.parquet: EOF")));
}

#[test]
fn a_table_whose_answer_takes_too_long_is_named_as_missing() {
    let (_folder, store) = filled();
    let plan = plan(START_MS, START_MS + DAY_MS);
    let answer = |request: &Request| -> Result<Answer, QueryError> {
        if request.question == Question::Conversations {
            let (path, patience) = ("/run/x.sock".into(), Duration::from_secs(120));
            return Err(QueryError::Late(StatusError::Late { path, patience }));
        }
        Ok(ask(Source::Files(store.shelf().layout()), request)?)
    };
    let series = answer(&plan.series(false)).expect("an answer");
    let report = Report::of(about(), plan, series, answer).expect("a report");
    let json = report.to_json();
    assert!(json["answers"].get("conversations").is_none(), "{json}");
    assert!(json["unanswered"]["conversations"].as_str().is_some_and(|reason| reason.contains("/run/x.sock")));
    let reason =
        "the daemon at /run/x.sock has not answered within 120 s: ask for less, or read its files with --store";
    assert!(page(&report).contains(&format!("No answer in time: {reason}")));
}
