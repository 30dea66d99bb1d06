//! How things are at the moment: the last drain, and the last seconds.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde_json::{Value, json};

use super::Failure;
use super::params::Params;
use crate::alert::PEERS;
use crate::config;
use crate::detect::finding::Severity;
use crate::detect::findings::{Finding, State as Goes};
use crate::detect::service::json::finding;
use crate::detect::site::Range;
use crate::detect::{Board, RULES};
use crate::kernel::interface_speed;
use crate::status::{Snapshot, Sum};
use crate::web::live::{InterfaceRate, LONGEST_WINDOW};
use crate::web::server::WebState;
use crate::web::view::View;

/// Findings in an answer at most, and where nothing is said.
const FINDINGS: usize = 1000;

/// Nothing may be asked here.
fn no_params(uri: &Uri) -> Result<(), Failure> {
    Ok(Params::of(uri).end()?)
}

/// The state after the last drain.
fn snapshot(state: &WebState) -> Result<Snapshot, Failure> {
    state.snapshot().ok_or(Failure::NotYet)
}

/// `/api/v1/live`
pub(super) async fn live(State(state): State<Arc<WebState>>, uri: Uri) -> Result<Json<View>, Failure> {
    let mut params = Params::of(&uri);
    let longest = usize::try_from(LONGEST_WINDOW.as_secs()).unwrap_or(usize::MAX);
    let seconds = params.number("seconds", 1..=longest)?.unwrap_or(longest);
    let rows = params.rows()?;
    params.end()?;
    // One at a time, and beside those who send: it adds up what many flows did.
    let Ok(_turn) = state.viewing().acquire().await else { return Err(Failure::NotYet) };
    let live = Arc::clone(state.live());
    let view = tokio::task::spawn_blocking(move || live.view(rows, Duration::from_secs(seconds as u64))).await;
    view.map(Json).map_err(|_| Failure::NotYet)
}

/// `/api/v1/status`
pub(super) async fn status(State(state): State<Arc<WebState>>, uri: Uri) -> Result<Json<Snapshot>, Failure> {
    no_params(&uri)?;
    Ok(Json(snapshot(&state)?))
}

/// `/api/v1/accounting`
pub(super) async fn accounting(State(state): State<Arc<WebState>>, uri: Uri) -> Result<Json<Value>, Failure> {
    no_params(&uri)?;
    let snapshot = snapshot(&state)?;
    let sum = |sum: &Sum| {
        let mut value = json!(sum);
        value["balances"] = json!(sum.balances());
        value
    };
    Ok(Json(json!({
        "drainedMilliseconds": snapshot.drained_milliseconds,
        "openFlows": snapshot.open_flows,
        "sums": snapshot.accounting.iter().map(sum).collect::<Vec<_>>(),
        "sinks": snapshot.sinks,
    })))
}

/// `/api/v1/interfaces`
pub(super) async fn interfaces(State(state): State<Arc<WebState>>, uri: Uri) -> Result<Json<Value>, Failure> {
    no_params(&uri)?;
    let (snapshot, rates) = (snapshot(&state)?, state.live().interfaces());
    let interfaces = snapshot.interfaces.iter().map(|interface| {
        let of_it = snapshot.accounting.iter().filter(|sum| sum.interface == interface.name);
        let directions: Vec<Value> = of_it
            .map(|sum| {
                let is_it = |rate: &&InterfaceRate| rate.interface == sum.interface && rate.direction == sum.direction;
                let rate = rates.iter().find(is_it);
                json!({
                    "direction": sum.direction,
                    "bitsPerSecond": rate.map_or(0, |rate| rate.bits_per_second),
                    "packetsPerSecond": rate.map_or(0, |rate| rate.packets_per_second),
                    "seen": sum.seen,
                })
            })
            .collect();
        json!({
            "interface": interface.name,
            "hook": interface.hook,
            "speedBitsPerSecond": interface_speed(&interface.name),
            "directions": directions,
        })
    });
    Ok(Json(json!({ "interfaces": interfaces.collect::<Vec<_>>() })))
}

/// `/api/v1/exporters`
pub(super) async fn exporters(State(state): State<Arc<WebState>>, uri: Uri) -> Result<Json<Value>, Failure> {
    no_params(&uri)?;
    let listening = snapshot(&state)?.listening;
    Ok(Json(json!({ "listeners": listening.listeners, "exporters": listening.exporters })))
}

fn findings_of(board: &Board, most: usize, peers: usize, is_wanted: impl Fn(&Finding) -> bool) -> Value {
    let found = board.findings(most, is_wanted);
    let condition = board.condition();
    let suppressions = board.suppressed().into_iter().map(|(one, count)| {
        json!({ "rule": one.rule, "reason": one.reason, "untilMilliseconds": one.until_ms, "count": count })
    });
    json!({
        "findings": found.iter().map(|one| finding(one, peers)).collect::<Vec<_>>(),
        "forgotten": condition.forgotten,
        "detectors": condition.detectors,
        "sinks": condition.sinks,
        "suppressions": suppressions.collect::<Vec<_>>(),
    })
}

/// `/api/v1/findings`: the latest first.
pub(super) async fn findings(State(state): State<Arc<WebState>>, uri: Uri) -> Result<Json<Value>, Failure> {
    let mut params = Params::of(&uri);
    let severities = [
        ("low", Severity::Low),
        ("medium", Severity::Medium),
        ("high", Severity::High),
        ("critical", Severity::Critical),
    ];
    let least = params.word("severity", &severities)?;
    let goes_on = params.word("state", &[("open", Goes::Open), ("ended", Goes::Ended)])?;
    let rule = params.one("rule", |text| {
        let known = RULES.iter().find(|rule| **rule == text);
        known.ok_or_else(|| format!("expected one of {}", RULES.join(", ")))
    })?;
    let about = params.one("address", |text| config::network(text).map(Range::from))?;
    let id = params.one("id", |text| {
        let is_id = text.bytes().all(|octet| octet.is_ascii_hexdigit() || octet == b'-') && !text.is_empty();
        if is_id { Ok(text.to_owned()) } else { Err("expected what an answer has under `id`".to_owned()) }
    })?;
    let peers = if id.is_some() { usize::MAX } else { PEERS };
    let most = params.number("top", 1..=FINDINGS)?.unwrap_or(FINDINGS);
    params.end()?;
    let board = state.board().cloned().unwrap_or_default();
    let is_wanted = move |one: &Finding| {
        id.as_ref().is_none_or(|id| one.id == *id)
            && least.is_none_or(|least| one.severity >= least)
            && goes_on.is_none_or(|state| one.state == state)
            && rule.is_none_or(|rule| one.rule == *rule)
            && about.is_none_or(|about| one.is_about(&about))
    };
    // There may be many: one at a time, and beside those who send.
    let Ok(_turn) = state.viewing().acquire().await else { return Err(Failure::NotYet) };
    let answer = tokio::task::spawn_blocking(move || findings_of(&board, most, peers, is_wanted)).await;
    answer.map(Json).map_err(|_| Failure::Failed)
}
