//! The HTTP side: asks the daemon, with bounds for how long it may take and how much it may say.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use ureq::http::Uri;
use ureq::http::header::{ACCEPT, AUTHORIZATION, RETRY_AFTER};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body, http};

use super::api::{Accounting, Daemon, Interfaces, Live, Picture, Text};
use super::app::{Question, Trouble};
use crate::export::transport::{TlsError, certificates};

/// How long a connection, and an answer with it, may take.
const PATIENCE_TO_CONNECT: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(10);

/// Octets of an answer at most, and of one that says what is wrong.
const LARGEST: u64 = 16 << 20;
const LARGEST_ERROR: u64 = 64 << 10;

/// Asks one daemon.
pub(super) struct Client {
    agent: Agent,
    base: String,
    authorization: Option<String>,
}

/// Why the daemon cannot be asked as told.
#[derive(Debug, Error)]
pub enum ClientError {
    /// It is no URL of a daemon.
    #[error("`{0}` is no URL of a daemon, such as http://127.0.0.1:8739 or https://probe.example:8739")]
    Url(String),
    /// A certificate of an authority cannot be used.
    #[error("--ca-file: {0}")]
    Certificates(TlsError),
    /// Nobody is trusted.
    #[error("the system has no certificates of authorities; name a file with the daemon's (--ca-file)")]
    NoRoots,
    /// The token cannot be read.
    #[error("--token-file: cannot read `{path}`: {error}")]
    Token {
        /// The file.
        path: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// There is no token in its file, or something that no header can have.
    #[error("--token-file: the first line of `{0}` is no token")]
    NoToken(String),
}

impl Client {
    /// For the daemon at `url`.
    ///
    /// # Errors
    /// The URL is none, or a file cannot be used.
    pub(super) fn new(url: &str, token: Option<&Path>, authorities: Option<&Path>) -> Result<Self, ClientError> {
        let base = base(url).ok_or_else(|| ClientError::Url(Text::new(url).as_str().to_owned()))?;
        let authorization = token.map(read_token).transpose()?.map(|token| format!("Bearer {token}"));
        let mut config = Agent::config_builder()
            // What is asked is near, and a token is not for others.
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .user_agent(concat!("flowprobe/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(PATIENCE_TO_CONNECT))
            .timeout_global(Some(PATIENCE));
        if base.starts_with("https:") {
            config = config.tls_config(tls(authorities)?);
        }
        Ok(Self { agent: config.build().new_agent(), base, authorization })
    }

    /// Where the daemon is, as it may be shown.
    pub(super) fn url(&self) -> &str {
        &self.base
    }

    /// One round of questions.
    pub(super) fn ask(&self, question: Question) -> Result<Picture, Trouble> {
        let Question { seconds, top, about } = question;
        let live: Live = self.get(&format!("live?top={top}&seconds={seconds}"))?;
        let accounting: Accounting = self.get("accounting")?;
        let interfaces: Interfaces = self.get("interfaces")?;
        let daemon: Option<Daemon> = if about { Some(self.get("status")?) } else { None };
        Ok(Picture { live, accounting, interfaces, daemon })
    }

    fn get<T: DeserializeOwned>(&self, what: &str) -> Result<T, Trouble> {
        let mut request = self.agent.get(format!("{}/api/v1/{what}", self.base)).header(ACCEPT, "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let mut response = request.call().map_err(|error| trouble(&error))?;
        if response.status() != http::StatusCode::OK {
            return Err(refused(response));
        }
        let text = response.body_mut().with_config().limit(LARGEST).read_to_vec().map_err(|error| trouble(&error))?;
        serde_json::from_slice(&text).map_err(|error| Trouble {
            text: shown(&format!("what answers is no flowprobe daemon of this version ({what}: {error})")),
            nobody: false,
            retry: None,
        })
    }
}

/// A URL without the slash at its end, where it is one that others can be made from.
fn base(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let authority = uri.authority()?;
    let scheme = uri.scheme_str().filter(|scheme| ["http", "https"].contains(scheme))?;
    let plain = !authority.host().is_empty() && !authority.as_str().contains('@') && uri.query().is_none();
    plain.then(|| format!("{scheme}://{authority}{}", uri.path().trim_end_matches('/')))
}

fn read_token(path: &Path) -> Result<String, ClientError> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| ClientError::Token { path: name.clone(), error })?;
    let token = text.lines().next().unwrap_or_default().trim();
    let usable = !token.is_empty() && token.chars().all(|c| c.is_ascii_graphic());
    if usable { Ok(token.to_owned()) } else { Err(ClientError::NoToken(name)) }
}

/// Trusts these authorities, or those of the system.
fn tls(authorities: Option<&Path>) -> Result<TlsConfig, ClientError> {
    let found = match authorities {
        Some(path) => certificates(path).map_err(ClientError::Certificates)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    if found.is_empty() {
        return Err(ClientError::NoRoots);
    }
    let roots: Vec<Certificate<'static>> =
        found.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect();
    let config = TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()));
    Ok(config.build())
}

/// A connection that did not come about, or broke.
fn trouble(error: &ureq::Error) -> Trouble {
    let nobody = match error {
        ureq::Error::Io(error) => {
            use std::io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
            [ConnectionRefused, HostUnreachable, NetworkUnreachable].contains(&error.kind())
        }
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => true,
        _ => false,
    };
    let text = match error {
        // Its own words begin with `io:`.
        ureq::Error::Io(error) => error.to_string(),
        ureq::Error::Timeout(_) => format!("it has taken longer than {} s", PATIENCE.as_secs()),
        error => error.to_string(),
    };
    Trouble { text: shown(&text), nobody, retry: None }
}

/// What the daemon says instead of an answer.
fn refused(mut response: http::Response<Body>) -> Trouble {
    #[derive(Deserialize)]
    struct Said {
        error: Text,
    }
    let status = response.status();
    let retry = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let said = response.body_mut().with_config().limit(LARGEST_ERROR).read_to_vec().unwrap_or_default();
    let said =
        serde_json::from_slice(&said).map_or_else(|_| String::new(), |said: Said| said.error.as_str().to_owned());
    let text = match status.as_u16() {
        401 | 403 => format!("the daemon wants a token that it knows (--token-file): {status}"),
        404 if said.is_empty() => format!("what answers is no flowprobe daemon of this version: {status}"),
        _ if said.is_empty() => format!("the daemon says {status}"),
        _ => said,
    };
    Trouble { text: shown(&text), nobody: false, retry: retry.map(Duration::from_secs) }
}

/// Libraries repeat what a peer has said.
fn shown(text: &str) -> String {
    Text::new(text).as_str().to_owned()
}

#[cfg(test)]
mod tests;
