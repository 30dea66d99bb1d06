//! The JSON API: `/api/v1/…`. What it answers is in `openapi.json` beside this, which tests hold against the running server.

mod host;
mod params;
mod series;
mod state;
mod tables;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::guard::refusal;
use super::server::WebState;
use crate::query::Unanswered;
use crate::store::Shelf;
use crate::store::file::FileFault;
use params::ParamError;

/// What the API is, as OpenAPI 3.1 has it.
const OPEN_API: &str = include_str!("openapi.json");

/// Everything below `/api`.
pub(super) fn router() -> Router<Arc<WebState>> {
    Router::new()
        .route("/v1/totals", get(tables::totals))
        .route("/v1/top/{dimension}", get(tables::top))
        .route("/v1/conversations", get(tables::conversations))
        .route("/v1/records", get(tables::records))
        .route("/v1/series", get(series::series))
        .route("/v1/hosts/{address}", get(host::host))
        .route("/v1/live", get(state::live))
        .route("/v1/accounting", get(state::accounting))
        .route("/v1/interfaces", get(state::interfaces))
        .route("/v1/exporters", get(state::exporters))
        .route("/v1/findings", get(state::findings))
        .route("/v1/status", get(state::status))
        .route("/v1/openapi.json", get(open_api))
        .fallback(nothing_here)
}

async fn open_api() -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], OPEN_API).into_response()
}

async fn nothing_here(uri: Uri) -> Response {
    let error = format!("there is no /api{} here: /api/v1/openapi.json lists what there is", uri.path());
    refusal(StatusCode::NOT_FOUND, &error, None)
}

/// Why a question is not answered.
enum Failure {
    /// A parameter is wrong.
    Param(ParamError),
    /// There is no such thing.
    Missing(String),
    /// This daemon keeps no history.
    NoHistory,
    /// Too many ask.
    Busy,
    /// It took too long.
    Late,
    /// There was no drain yet.
    NotYet,
    /// The daemon has failed at it.
    Failed,
    /// History cannot be read.
    Fault(FileFault),
}

impl From<ParamError> for Failure {
    fn from(error: ParamError) -> Self {
        Self::Param(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Self::Param(ParamError { parameter, error }) => refusal(StatusCode::BAD_REQUEST, &error, Some(&parameter)),
            Self::Missing(error) => refusal(StatusCode::NOT_FOUND, &error, None),
            Self::NoHistory => refusal(
                StatusCode::NOT_FOUND,
                "this daemon keeps no history: it runs with --store none, or could not open one",
                None,
            ),
            Self::Busy => {
                let error = "more questions are waiting than can be answered soon: ask again in a second";
                retry_after(refusal(StatusCode::TOO_MANY_REQUESTS, error, None), "1")
            }
            Self::Late => {
                let error = "this takes too long: ask for less time, or with flowprobe query --store FOLDER";
                retry_after(refusal(StatusCode::SERVICE_UNAVAILABLE, error, None), "10")
            }
            Self::NotYet => {
                let error = "the first drain is not over yet: ask again in a second";
                retry_after(refusal(StatusCode::SERVICE_UNAVAILABLE, error, None), "1")
            }
            Self::Failed => {
                let error = "the daemon has failed at this question: its log says where";
                refusal(StatusCode::INTERNAL_SERVER_ERROR, error, None)
            }
            Self::Fault(fault) => {
                refusal(StatusCode::INTERNAL_SERVER_ERROR, &format!("cannot read history: {fault}"), None)
            }
        }
    }
}

fn retry_after(mut response: Response, seconds: &'static str) -> Response {
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
    response
}

/// What `work` finds in history, at the pool where such questions are answered.
async fn ask<T: Send + 'static>(
    State(state): &State<Arc<WebState>>,
    work: impl FnOnce(&Shelf, &AtomicBool) -> Result<T, FileFault> + Send + 'static,
) -> Result<T, Failure> {
    let (shelf, pool) = state.history().ok_or(Failure::NoHistory)?;
    let asked = pool.ask(move |stop| work(&shelf, stop));
    match tokio::time::timeout(super::server::PATIENCE, asked).await {
        Err(_) => Err(Failure::Late),
        Ok(Err(Unanswered::Busy)) => Err(Failure::Busy),
        Ok(Err(Unanswered::Failed)) => Err(Failure::Failed),
        Ok(Ok(Err(fault))) => Err(Failure::Fault(fault)),
        Ok(Ok(Ok(found))) => Ok(found),
    }
}
