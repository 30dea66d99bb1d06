//! Answers that are rows: totals, the first of each dimension, conversations, records.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::params::{Form, Params};
use super::{Failure, ask};
use crate::clock::wall_now_ms;
use crate::query::{self, Answer, Question, Request, Source, USUAL_PREFIX, USUAL_PREFIX6, bits_per_second};
use crate::web::server::WebState;

/// `/api/v1/totals`
pub(super) async fn totals(state: State<Arc<WebState>>, uri: Uri) -> Result<Response, Failure> {
    let mut params = Params::of(&uri);
    let request = params.request(Question::Totals, wall_now_ms())?;
    params.end()?;
    let Answer { from_ms, to_ms, total, is_rough, unreadable, .. } = answer(&state, request).await?;
    let lasts_ms = (to_ms - from_ms).max(1);
    let per_second = |count: i64| count as f64 * 1000.0 / lasts_ms as f64;
    Ok(Json(json!({
        "fromMilliseconds": from_ms,
        "toMilliseconds": to_ms,
        "total": total,
        "bitsPerSecond": bits_per_second(total.octets, lasts_ms),
        "packetsPerSecond": per_second(total.packets),
        "flowsPerSecond": per_second(total.flows),
        "rough": is_rough,
        "unreadable": unreadable,
    }))
    .into_response())
}

/// What can be ranked, by its name.
const DIMENSIONS: [(&str, Question); 10] = [
    ("addresses", Question::Talkers),
    ("sources", Question::Sources),
    ("destinations", Question::Destinations),
    ("protocols", Question::Protocols),
    ("services", Question::Ports),
    ("icmp", Question::Icmp),
    ("countries", Question::Countries),
    ("systems", Question::Systems),
    ("interfaces", Question::Interfaces),
    ("exporters", Question::Exporters),
];

/// `/api/v1/top/{dimension}`
pub(super) async fn top(
    state: State<Arc<WebState>>,
    Path(dimension): Path<String>,
    uri: Uri,
) -> Result<Response, Failure> {
    let mut params = Params::of(&uri);
    let question = if dimension == "networks" {
        let length = |bits: Option<usize>, usual| bits.and_then(|bits| u8::try_from(bits).ok()).unwrap_or(usual);
        Question::Networks {
            prefix: length(params.number("prefix", 0..=32)?, USUAL_PREFIX),
            prefix6: length(params.number("prefix6", 0..=128)?, USUAL_PREFIX6),
        }
    } else {
        let known = DIMENSIONS.iter().find(|(name, _)| *name == dimension).map(|(_, question)| question.clone());
        known.ok_or_else(|| {
            let names = DIMENSIONS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            Failure::Missing(format!("what is ranked is one of {names}, networks"))
        })?
    };
    table(state, params, question, &dimension).await
}

/// `/api/v1/conversations`
pub(super) async fn conversations(state: State<Arc<WebState>>, uri: Uri) -> Result<Response, Failure> {
    table(state, Params::of(&uri), Question::Conversations, "conversations").await
}

/// `/api/v1/records`
pub(super) async fn records(state: State<Arc<WebState>>, uri: Uri) -> Result<Response, Failure> {
    table(state, Params::of(&uri), Question::Records, "records").await
}

async fn table(
    state: State<Arc<WebState>>,
    mut params: Params,
    question: Question,
    name: &str,
) -> Result<Response, Failure> {
    let form = params.form()?;
    let request = params.request(question, wall_now_ms())?;
    params.end()?;
    let answer = answer(&state, request).await?;
    match form {
        Form::Json => Ok(Json(answer.to_json()).into_response()),
        Form::Csv => {
            let mut response = answer.to_csv().into_response();
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8; header=present"));
            let file = format!("attachment; filename=\"flowprobe-{name}.csv\"");
            headers.extend(HeaderValue::from_str(&file).ok().map(|value| (header::CONTENT_DISPOSITION, value)));
            Ok(response)
        }
    }
}

async fn answer(state: &State<Arc<WebState>>, request: Request) -> Result<Answer, Failure> {
    ask(state, move |shelf, stop| query::ask(Source::Wanted(shelf, stop), &request)).await
}
