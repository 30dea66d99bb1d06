//! Requests over HTTP from inside a namespace to servers of others, by a client that knows what they may answer; [`crate::http`] says
//! just what it is told to.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use ureq::Agent;
use ureq::http::{Response, header::HeaderMap};

use crate::namespace::Namespace;
use crate::process::patience;

/// Octets of an answer at most.
const LARGEST: u64 = 256 << 20;

/// What a server answers.
#[derive(Debug)]
pub struct Answer {
    /// Such as 200.
    pub status: u16,
    /// Its header fields.
    pub headers: HeaderMap,
    /// Its text.
    pub body: String,
}

impl Answer {
    /// A header field; empty where it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The text, which has to be JSON.
    ///
    /// # Errors
    /// It is not.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("{}: {}", self.status, self.body))
    }
}

/// What is answered in `room` to a GET of this URL with these header fields, whatever its status is.
///
/// # Errors
/// There is no answer.
pub fn get(room: &Namespace, url: &str, headers: &[(&str, &str)]) -> Result<Answer> {
    room.inside(|| {
        let mut request = agent().get(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request.call().with_context(|| format!("GET {url}"))?)
    })
}

/// The JSON that is answered with status 200.
///
/// # Errors
/// There is no answer, or another one.
pub fn get_json(room: &Namespace, url: &str) -> Result<Value> {
    let answer = get(room, url, &[])?;
    ensure!(answer.status == 200, "GET {url}: {}: {}", answer.status, answer.body);
    answer.json()
}

/// What is answered in `room` to a POST of this JSON.
///
/// # Errors
/// There is no answer.
pub fn post(room: &Namespace, url: &str, body: &Value) -> Result<Answer> {
    room.inside(|| answer(agent().post(url).send_json(body).with_context(|| format!("POST {url}"))?))
}

/// What is answered in `room` to a DELETE.
///
/// # Errors
/// There is no answer.
pub fn delete(room: &Namespace, url: &str) -> Result<Answer> {
    room.inside(|| answer(agent().delete(url).call().with_context(|| format!("DELETE {url}"))?))
}

fn answer(mut response: Response<ureq::Body>) -> Result<Answer> {
    let body = response.body_mut().with_config().limit(LARGEST).read_to_string()?;
    Ok(Answer { status: response.status().as_u16(), headers: response.headers().clone(), body })
}

/// One that asks directly, and to which every status is an answer.
fn agent() -> Agent {
    let patience = patience() + Duration::from_secs(30);
    Agent::config_builder().http_status_as_error(false).proxy(None).timeout_global(Some(patience)).build().into()
}
