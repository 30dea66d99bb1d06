//! One POST, its signature, and what its answer means.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use ring::hmac;
use rustls::crypto::ring as provider;
use thiserror::Error;
use ureq::Agent;
use ureq::http::header::{CONTENT_TYPE, RETRY_AFTER};
use ureq::http::{HeaderMap, StatusCode, Uri};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::super::pace::Pace;
use super::super::settings::WebhookSettings;
use crate::export::transport::{TlsError, certificates};

/// Octets of a secret at least.
const SECRET: usize = 16;

/// Octets of an answer that are looked at.
const ANSWER: u64 = 64 << 10;

/// A change to send.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Job {
    /// Which it is.
    pub(super) number: u64,
    /// The same for each attempt.
    pub(super) key: String,
    /// JSON.
    pub(super) body: String,
}

/// What has become of it.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::alert) struct Answered {
    /// Which it is.
    pub(super) number: u64,
    /// Whether it has arrived.
    pub(super) outcome: Outcome,
    /// Why it has not.
    pub(super) trouble: Option<String>,
}

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::alert) enum Outcome {
    /// The receiver has it.
    Delivered,
    /// The receiver cannot be had now, whatever it is sent.
    Away {
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// The receiver does not want this.
    Refused {
        /// How long it wants to be left alone with it.
        retry_after: Option<Duration>,
    },
}

/// Why there can be no requests.
#[derive(Debug, Error)]
pub enum PostError {
    /// A certificate of an authority cannot be used.
    #[error("ca: {0}")]
    Certificates(TlsError),
    /// Nobody is trusted.
    #[error("the system has no certificates of authorities; name a file with the receiver's (ca)")]
    NoRoots,
    /// The secret cannot be read.
    #[error("secret-file: cannot read `{}`: {error}", path.display())]
    Secret {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// There is no such variable, or it is not text.
    #[error("secret-env: there is no environment variable `{0}`")]
    NoVariable(String),
    /// It could be guessed.
    #[error("the secret has {0} octets; it needs {SECRET} or more")]
    Short(usize),
    /// It is said twice.
    #[error("secret-file and secret-env cannot both be set")]
    TwoSecrets,
}

/// One receiver.
pub(in crate::alert) struct Post {
    agent: Agent,
    uri: Uri,
    secret: Option<hmac::Key>,
    patience: Duration,
}

impl Post {
    /// Reads the secret and the certificates.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub(in crate::alert) fn new(settings: &WebhookSettings, pace: &Pace) -> Result<Self, PostError> {
        let mut config = Agent::config_builder()
            .proxy(None)
            // What is signed is for the one receiver.
            .max_redirects(0)
            .http_status_as_error(false)
            .user_agent(concat!("flowprobe/", env!("CARGO_PKG_VERSION")))
            // Receivers close what is idle, without a word.
            .max_idle_age(Duration::from_secs(3))
            .timeout_global(Some(pace.patience));
        if settings.url.is_https() {
            config = config.tls_config(tls(settings.ca.as_deref())?);
        }
        Ok(Self {
            agent: config.build().new_agent(),
            uri: settings.url.uri().clone(),
            secret: secret(settings)?,
            patience: pace.patience,
        })
    }

    pub(super) fn send(&self, job: &Job) -> Answered {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut request = self
            .agent
            .post(&self.uri)
            .header(CONTENT_TYPE, "application/json")
            .header("Idempotency-Key", &job.key)
            .header("X-Flowprobe-Timestamp", now.to_string());
        if let Some(secret) = &self.secret {
            request = request.header("X-Flowprobe-Signature", signature(secret, now, job.body.as_bytes()));
        }
        let (outcome, trouble) = match request.send(job.body.as_bytes()) {
            Ok(mut response) => {
                let (status, headers) = (response.status(), response.headers().clone());
                // A connection can be used again when all has been read.
                let _ = response.body_mut().with_config().limit(ANSWER).read_to_vec();
                let outcome = meaning(status, &headers, Timestamp::now());
                (outcome, (outcome != Outcome::Delivered).then(|| format!("the receiver answers {status}")))
            }
            Err(error) => (Outcome::Away { retry_after: None }, Some(self.words(&error))),
        };
        Answered { number: job.number, outcome, trouble }
    }

    /// What is wrong, without the URL.
    fn words(&self, error: &ureq::Error) -> String {
        match error {
            // Its own words begin with `io:`.
            ureq::Error::Io(error) => error.to_string(),
            ureq::Error::Timeout(_) => format!("there is no answer within {:?}", self.patience),
            ureq::Error::BadUri(_) => "its URL is not one that can be asked".to_owned(),
            error => error.to_string(),
        }
    }
}

/// `v1=` and the hexadecimal HMAC-SHA256 (RFC 2104) of the seconds, a dot and the body.
fn signature(secret: &hmac::Key, seconds: u64, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(secret);
    context.update(seconds.to_string().as_bytes());
    context.update(b".");
    context.update(body);
    context.sign().as_ref().iter().fold("v1=".to_owned(), |text, octet| format!("{text}{octet:02x}"))
}

/// A status that is about what was sent lets other changes pass; all others are about the receiver, and may change: a proxy that has lost
/// it answers 404, one whose configuration is being mended 401.
fn meaning(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Outcome {
    let retry_after = headers.get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?, now));
    match status.as_u16() {
        200..=299 => Outcome::Delivered,
        400 | 413 | 415 | 422 => Outcome::Refused { retry_after },
        _ => Outcome::Away { retry_after },
    }
}

/// RFC 9110 section 10.2.3: seconds, or a date.
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if text.bytes().all(|digit| digit.is_ascii_digit()) {
        // Digits that are no number are too many.
        return (!text.is_empty()).then(|| Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let then = DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(then.duration_since(now).try_into().unwrap_or_default())
}

fn secret(settings: &WebhookSettings) -> Result<Option<hmac::Key>, PostError> {
    let octets = match (&settings.secret_file, &settings.secret_env) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => return Err(PostError::TwoSecrets),
        (Some(path), None) => std::fs::read(path).map_err(|error| PostError::Secret { path: path.clone(), error })?,
        (None, Some(name)) => std::env::var(name).map_err(|_| PostError::NoVariable(name.clone()))?.into_bytes(),
    };
    let octets = octets.trim_ascii();
    if octets.len() < SECRET {
        return Err(PostError::Short(octets.len()));
    }
    Ok(Some(hmac::Key::new(hmac::HMAC_SHA256, octets)))
}

/// Trusts these authorities, or those of the system.
fn tls(authorities: Option<&Path>) -> Result<TlsConfig, PostError> {
    let found = match authorities {
        Some(path) => certificates(path).map_err(PostError::Certificates)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    if found.is_empty() {
        return Err(PostError::NoRoots);
    }
    let roots: Vec<Certificate<'static>> =
        found.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect();
    let config = TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .unversioned_rustls_crypto_provider(Arc::new(provider::default_provider()));
    Ok(config.build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_other_programs() {
        // From `printf '1796040000.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef`.
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"0123456789abcdef");
        assert_eq!(
            signature(&key, 1_796_040_000, b"{\"a\":1}"),
            "v1=3300133c84498ddc14995d410c9240a1dd15abe0a3c8148adbbe888209e24ab2"
        );
    }

    #[test]
    fn answers_have_their_meaning() {
        let of =
            |status: u16| meaning(StatusCode::from_u16(status).expect("a status"), &HeaderMap::new(), Timestamp::now());
        assert_eq!([200, 204].map(of), [Outcome::Delivered; 2]);
        let away = Outcome::Away { retry_after: None };
        assert_eq!([302, 401, 403, 404, 408, 410, 429, 500, 503].map(of), [away; 9]);
        assert_eq!([400, 413, 415, 422].map(of), [Outcome::Refused { retry_after: None }; 4]);
    }

    #[test]
    fn a_receiver_says_when_to_come_back_in_seconds_or_by_date() {
        let now: Timestamp = "1994-11-06T08:48:37Z".parse().expect("a moment");
        let read = |text| retry_after(text, now);
        assert_eq!(read(" 120 "), Some(Duration::from_secs(120)));
        assert_eq!(read("99999999999999999999999"), Some(Duration::from_secs(u64::MAX)));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(read("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(["", "soon", "-1"].map(read), [None; 3]);
    }
}
