//! What every request has to pass, and what every answer carries.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use crate::config::Token;

/// Scripts, styles and data are ours or they are not loaded; nobody puts a page into another one.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Headers of every answer.
const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Octets of a request's path and query at most.
const LONGEST_URI: usize = 8 << 10;

/// Who may ask.
pub(super) struct Guard {
    token: Option<Token>,
    names: Vec<String>,
}

impl Guard {
    /// Whoever shows the token, if there is one, and has the server by one of these names.
    pub(super) fn new(token: Option<Token>, names: &[String]) -> Self {
        let own = rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase();
        let named = names.iter().map(|name| name.to_ascii_lowercase());
        Self { token, names: named.chain([own, "localhost".to_owned()]).collect() }
    }

    /// Whether the server is called as it may be: a page of somebody else's, whose name has come to mean this machine, could read
    /// everything otherwise.
    fn knows(&self, headers: &HeaderMap, uri: &Uri) -> bool {
        let host = uri.authority().map(|authority| authority.as_str().to_owned()).or_else(|| {
            let host = headers.get(header::HOST)?.to_str().ok()?;
            Some(host.to_owned())
        });
        let Some(host) = host else { return false };
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|octet| octet.is_ascii_digit()) && !name.ends_with(':') => name,
            _ => &host,
        };
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        bare.parse::<IpAddr>().is_ok() || self.names.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    /// Whether the token was shown, as a bearer's (RFC 6750) or as the password of whoever (RFC 7617).
    fn lets_in(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
        let Some(shown) = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()) else {
            return false;
        };
        match shown.split_once(' ').map(|(scheme, rest)| (scheme.to_ascii_lowercase(), rest.trim())) {
            Some((scheme, shown)) if scheme == "bearer" => token.is(shown.as_bytes()),
            Some((scheme, shown)) if scheme == "basic" => {
                let decoded = BASE64_STANDARD.decode(shown).unwrap_or_default();
                let password = decoded.iter().position(|octet| *octet == b':').map(|colon| &decoded[colon + 1..]);
                password.is_some_and(|password| token.is(password))
            }
            _ => false,
        }
    }
}

/// Lets a request pass, or says why not.
pub(super) async fn pass(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    // Whoever only looks whether the process lives has no token, and learns nothing else.
    let is_open = matches!(request.uri().path(), "/healthz" | "/readyz");
    let mut response = if request.uri().path_and_query().is_some_and(|it| it.as_str().len() > LONGEST_URI) {
        refusal(StatusCode::URI_TOO_LONG, "this is longer than any question that is answered here", None)
    } else if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response =
            refusal(StatusCode::METHOD_NOT_ALLOWED, "nothing can be changed here: GET and HEAD only", None);
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        response
    } else if !guard.knows(request.headers(), request.uri()) {
        let why =
            "the server is not known by this name: use an address, localhost, or a name that --web-name has given it";
        refusal(StatusCode::MISDIRECTED_REQUEST, why, None)
    } else if !is_open && !guard.lets_in(request.headers()) {
        let why = "this takes the token of --web-token: as a bearer token, or as the password of any user";
        let mut response = refusal(StatusCode::UNAUTHORIZED, why, None);
        let challenge = HeaderValue::from_static("Basic realm=\"flowprobe\", charset=\"UTF-8\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        response
    } else {
        next.run(request).await
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    // What is not a file of ours is of this moment, and of nobody else.
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Why there is no answer, and because of which parameter.
pub(super) fn refusal(status: StatusCode, error: &str, parameter: Option<&str>) -> Response {
    let body = match parameter {
        Some(parameter) => json!({ "error": error, "parameter": parameter }),
        None => json!({ "error": error }),
    };
    (status, Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).expect("a header"));
        headers
    }

    #[test]
    fn the_server_answers_to_its_names_only() {
        let guard = Guard::new(None, &["Flows.example".to_owned()]);
        for host in
            ["localhost", "LOCALHOST:8739", "127.0.0.1:8739", "[::1]:8739", "[::1]", "192.0.2.7", "flows.example:443"]
        {
            assert!(guard.knows(&headers(header::HOST, host), &Uri::from_static("/")), "{host}");
        }
        for host in ["attacker.example", "localhost.attacker.example", "", ":8739", "127.0.0.1.attacker.example:8739"] {
            assert!(!guard.knows(&headers(header::HOST, host), &Uri::from_static("/")), "{host}");
        }
        assert!(!guard.knows(&HeaderMap::new(), &Uri::from_static("/")));
        let proxied = Uri::from_static("http://attacker.example/");
        assert!(!guard.knows(&headers(header::HOST, "localhost"), &proxied));
    }

    #[test]
    fn the_token_is_taken_in_both_forms() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "secret-secret-secret").expect("written");
        let settings = crate::config::WebSettings { token: Some(file.path().to_owned()), ..Default::default() };
        let token = settings.check().expect("a token").token.map(|(_, token)| token);
        let guard = Guard::new(token, &[]);
        let lets_in = |value: &str| guard.lets_in(&headers(header::AUTHORIZATION, value));
        // `printf user:secret-secret-secret | base64`
        for value in ["Bearer secret-secret-secret", "basic dXNlcjpzZWNyZXQtc2VjcmV0LXNlY3JldA=="] {
            assert!(lets_in(value), "{value}");
        }
        for value in ["", "Bearer", "Bearer secret", "Basic !", "Basic dXNlcg==", "secret-secret-secret", "Digest x"] {
            assert!(!lets_in(value), "{value}");
        }
        assert!(!guard.lets_in(&HeaderMap::new()));
    }
}
