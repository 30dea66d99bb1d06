//! Where hours of history go when they are over: `s3://bucket/prefix?option=value&…`, and the keys for it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use thiserror::Error;

use super::ConfigError;
use super::collector::{decoded, encoded};
use crate::export::transport::roots_of;

/// A bucket that speaks S3, and how to get there. Keys are never part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// The bucket's name.
    pub bucket: String,
    /// What stands before the names of objects, without a slash at its ends; may be empty.
    pub prefix: String,
    /// Scheme, host and port of a server that is not Amazon's.
    pub endpoint: Option<String>,
    /// The region, else that of the environment.
    pub region: Option<String>,
    /// A file with the keys, else they are those of the environment.
    pub credentials: Option<PathBuf>,
    /// Certificates of the authorities that may have signed the server's, else those that the system trusts.
    pub ca: Option<PathBuf>,
}

/// Why a text is no such URL.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("bad URL for history `{url}`: {problem}")]
pub struct RemoteUrlError {
    url: String,
    problem: String,
}

/// An example for messages.
const EXAMPLE: &str = "s3://bucket/flowprobe?endpoint=https://storage.example:9000";

const NO_KEYS: &str = "keys do not belong here: they come from the environment, or from a file (option `credentials`)";

const OPTIONS: &str = "endpoint, region, credentials, ca";

impl FromStr for Remote {
    type Err = RemoteUrlError;

    fn from_str(url: &str) -> Result<Self, RemoteUrlError> {
        read(url, cfg!(feature = "object-store"))
    }
}

/// What `url` says to a build that can send history elsewhere, or to one that cannot.
fn read(url: &str, can_send: bool) -> Result<Remote, RemoteUrlError> {
    parse(url, can_send).map_err(|problem| RemoteUrlError { url: without_keys(url), problem })
}

/// The place that a URL is of. Messages go to logs: what somebody took for the place of a key, before an `@` or as an option, is not
/// repeated there.
fn without_keys(url: &str) -> String {
    let (place, _) = url.split_once('?').unwrap_or((url, ""));
    match place.rsplit_once('@') {
        Some((keys, rest)) => format!("{}…@{rest}", keys.find("://").map_or("", |end| &keys[..end + 3])),
        None => place.to_owned(),
    }
}

fn parse(url: &str, can_send: bool) -> Result<Remote, String> {
    if !can_send {
        return Err(
            "this flowprobe was built without it; `cargo build --release --features object-store` builds one that \
                    sends history elsewhere"
                .into(),
        );
    }
    let (scheme, rest) = url.split_once("://").ok_or_else(|| format!("expected something like {EXAMPLE}"))?;
    if scheme != "s3" {
        return Err(format!("unknown scheme `{scheme}`; expected s3, as in {EXAMPLE}"));
    }
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    if place.contains('@') {
        return Err(NO_KEYS.into());
    }
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    let mut remote = Remote {
        bucket: name_of_bucket(bucket)?,
        prefix: prefix_of_names(&decoded(prefix)?)?,
        endpoint: None,
        region: None,
        credentials: None,
        ca: None,
    };
    for option in query.split('&').filter(|option| !option.is_empty()) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let value = decoded(value).map_err(|problem| format!("option `{name}`: {problem}"))?;
        set(&mut remote, name, value).map_err(|problem| format!("option `{name}`: {problem}"))?;
    }
    Ok(remote)
}

fn name_of_bucket(name: &str) -> Result<String, String> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    match name {
        "" => Err(format!("the bucket is missing, as in {EXAMPLE}")),
        name if name.chars().all(is_allowed) => Ok(name.to_owned()),
        name => Err(format!("a bucket's name has letters, digits, `-`, `.` and `_`, found `{name}`")),
    }
}

fn prefix_of_names(text: &str) -> Result<String, String> {
    let prefix = text.trim_matches('/');
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '=' | '/');
    let is_way = |segment: &str| matches!(segment, "" | "." | "..");
    if !prefix.chars().all(is_allowed) || (!prefix.is_empty() && prefix.split('/').any(is_way)) {
        return Err(format!(
            "what follows the bucket has letters, digits, `-`, `.`, `_`, `=` and single slashes, found `{text}`"
        ));
    }
    Ok(prefix.to_owned())
}

fn set(remote: &mut Remote, name: &str, value: String) -> Result<(), String> {
    if value.is_empty() && OPTIONS.split(", ").any(|known| known == name) {
        return Err("the value is missing".into());
    }
    match name {
        "endpoint" => remote.endpoint = Some(endpoint(&value)?),
        "region" => remote.region = Some(value),
        "credentials" => remote.credentials = Some(value.into()),
        "ca" => remote.ca = Some(value.into()),
        _ => return Err(format!("unknown; expected one of {OPTIONS}")),
    }
    Ok(())
}

fn endpoint(url: &str) -> Result<String, String> {
    if url.contains('@') {
        return Err(NO_KEYS.into());
    }
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let host = rest.map_or("", |rest| rest.split(['/', ':']).next().unwrap_or(""));
    if host.is_empty() || url.contains(['?', '#']) || url.contains(char::is_whitespace) {
        return Err(format!("expected scheme, host and port, as in https://storage.example:9000, found `{url}`"));
    }
    Ok(url.trim_end_matches('/').to_owned())
}

impl Remote {
    /// Where history goes, without how: what messages and `flowprobe status` call it.
    #[must_use]
    pub fn name(&self) -> String {
        let Self { bucket, prefix, .. } = self;
        if prefix.is_empty() { format!("s3://{bucket}") } else { format!("s3://{bucket}/{prefix}") }
    }

    /// Where history goes, so that two places are never called the same.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{} {}", self.endpoint.as_deref().unwrap_or("-"), self.name())
    }

    /// Whether what it names can be read.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if let Some(path) = &self.credentials {
            Credentials::read(path).map_err(|error| ConfigError::RemoteKeys { name: self.name(), error })?;
        }
        if let Some(path) = &self.ca {
            roots_of(path).map_err(|error| ConfigError::RemoteTls { name: self.name(), error: Box::new(error) })?;
        }
        Ok(())
    }
}

/// As a URL.
impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let options = [
            ("endpoint", self.endpoint.clone()),
            ("region", self.region.clone()),
            ("credentials", path(&self.credentials)),
            ("ca", path(&self.ca)),
        ];
        f.write_str(&self.name())?;
        let given = options.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        given.enumerate().try_for_each(|(number, (name, value))| {
            write!(f, "{}{name}={}", if number == 0 { '?' } else { '&' }, encoded(value))
        })
    }
}

/// Keys, out of a file as other programs that speak S3 have it.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Which key it is.
    pub key_id: String,
    /// The key.
    pub secret: String,
    /// What goes with a key for a time.
    pub token: Option<String>,
}

/// Keys are for nobody's log.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// Why there are no keys in a file.
#[derive(Debug, Error)]
pub enum CredentialsError {
    /// It cannot be read.
    #[error("cannot read `{}`: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A line is missing.
    #[error("there is no line `{name} = …` in `{}`, in its section [default] or before any section", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What the line begins with.
        name: &'static str,
    },
}

impl Credentials {
    /// Those of a file: `aws_access_key_id = …`, `aws_secret_access_key = …`, and perhaps `aws_session_token = …`, in the section
    /// `[default]` or without one.
    ///
    /// # Errors
    /// The file cannot be read, or has none.
    pub fn read(path: &Path) -> Result<Self, CredentialsError> {
        let text =
            std::fs::read_to_string(path).map_err(|error| CredentialsError::Read { path: path.to_owned(), error })?;
        let mut is_ours = true;
        let mut lines = Vec::new();
        for line in text.lines().map(str::trim) {
            if let Some(section) = line.strip_prefix('[') {
                is_ours = section.trim_end_matches(']').trim() == "default";
            } else if is_ours && !line.starts_with(['#', ';']) {
                lines.extend(line.split_once('=').map(|(name, value)| (name.trim(), value.trim())));
            }
        }
        let of = |name: &str| lines.iter().find(|(found, value)| *found == name && !value.is_empty());
        let wanted = |name: &'static str| {
            let line = of(name).ok_or_else(|| CredentialsError::Missing { path: path.to_owned(), name });
            line.map(|(_, value)| (*value).to_owned())
        };
        Ok(Self {
            key_id: wanted("aws_access_key_id")?,
            secret: wanted("aws_secret_access_key")?,
            token: of("aws_session_token").map(|(_, value)| (*value).to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_without_the_feature_names_it() {
        let error = read("s3://bucket", false).expect_err("it is not there").to_string();
        assert!(error.contains("--features object-store"), "{error}");
    }

    #[test]
    fn urls_are_read_and_written_alike() {
        let full = "s3://flows.example/probes/a=1?endpoint=http://127.0.0.1:9000&region=eu-central-1&credentials=/etc/f%26p/keys\
                    &ca=/etc/ca.pem";
        let remote = read(full, true).expect("a URL");
        assert_eq!((&*remote.bucket, &*remote.prefix), ("flows.example", "probes/a=1"));
        assert_eq!(remote.endpoint.as_deref(), Some("http://127.0.0.1:9000"));
        assert_eq!(remote.credentials.as_deref(), Some(Path::new("/etc/f&p/keys")));
        assert_eq!((remote.to_string(), remote.name()), (full.to_owned(), "s3://flows.example/probes/a=1".to_owned()));
        for (text, name) in [("s3://b", "s3://b"), ("s3://b/", "s3://b"), ("s3://b/c/", "s3://b/c")] {
            let remote = read(text, true).expect(text);
            assert_eq!((remote.to_string(), remote.endpoint), (name.to_owned(), None));
        }
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said() {
        for (url, problem) in [
            ("bucket", "expected something like s3://"),
            ("gs://bucket", "unknown scheme `gs`; expected s3, as in "),
            ("s3://", "the bucket is missing"),
            ("s3:///flows", "the bucket is missing"),
            ("s3://a b", "a bucket's name has letters"),
            ("s3://bucket/a//b", "what follows the bucket has"),
            ("s3://bucket/../b", "what follows the bucket has"),
            ("s3://bucket/a*", "what follows the bucket has"),
            ("s3://bucket?endpoint=storage:9000", "option `endpoint`: expected scheme, host and port"),
            ("s3://bucket?endpoint=http://", "option `endpoint`: expected scheme, host and port"),
            ("s3://bucket?region=", "option `region`: the value is missing"),
            ("s3://bucket?key=x", "option `key`: unknown; expected one of endpoint, region, credentials, ca"),
        ] {
            let error = read(url, true).expect_err(url).to_string();
            let place = url.split('?').next().unwrap_or("");
            assert!(error.starts_with(&format!("bad URL for history `{place}`: {problem}")), "{error}");
        }
    }

    #[test]
    fn keys_that_stand_in_a_url_are_refused_and_not_repeated() {
        for (url, said) in [
            ("s3://key:secret@bucket/a", "`s3://…@bucket/a`: keys do not belong here"),
            ("gs://key:sec/secret@bucket", "`gs://…@bucket`: unknown scheme `gs`"),
            ("key:secret@bucket", "`…@bucket`: expected something like s3://"),
            (
                "s3://bucket?endpoint=http://key:secret@host",
                "`s3://bucket`: option `endpoint`: keys do not belong here",
            ),
            ("s3://bucket?region=a&secret_access_key=secret", "`s3://bucket`: option `secret_access_key`: unknown"),
        ] {
            for can_send in [true, false] {
                let error = read(url, can_send).expect_err(url).to_string();
                assert!(!error.contains("key:") && !error.contains("secret@") && !error.contains("=secret"), "{error}");
                assert!(!can_send || error.starts_with(&format!("bad URL for history {said}")), "{error}");
            }
        }
    }

    #[test]
    fn keys_are_read_out_of_a_file() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let read = |text: &str| {
            std::fs::write(file.path(), text).expect("written");
            Credentials::read(file.path())
        };
        let text =
            "[other]\naws_access_key_id = X\n[default]\n# one\naws_access_key_id = A\naws_secret_access_key=b=/+c\n";
        let keys = read(text).expect("keys");
        assert_eq!((&*keys.key_id, &*keys.secret, keys.token.as_deref()), ("A", "b=/+c", None));
        assert_eq!(format!("{keys:?}"), "Credentials { key_id: \"A\", .. }");
        let keys = read("aws_secret_access_key = s\naws_access_key_id = k\naws_session_token = t").expect("keys");
        assert_eq!(keys.token.as_deref(), Some("t"));
        let error = read("[default]\naws_access_key_id = A\naws_secret_access_key =").expect_err("no secret");
        assert!(error.to_string().starts_with("there is no line `aws_secret_access_key = …` in "), "{error}");
        drop(file);
        let error = Credentials::read(Path::new("/nowhere/keys")).expect_err("no file");
        assert!(error.to_string().starts_with("cannot read `/nowhere/keys`: No such file"), "{error}");
    }
}
