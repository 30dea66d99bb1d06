//! `[[sink]]` tables of the configuration.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;
use ureq::http::Uri;
use ureq::http::uri::Authority;

use crate::detect::finding::Severity;

/// One place that findings go to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum SinkSettings {
    /// A syslog collector.
    Syslog(SyslogSettings),
    /// Whoever takes a POST.
    Webhook(WebhookSettings),
    /// A file of JSON lines.
    File(FileSettings),
    /// The daemon's own log.
    Log(LogSettings),
}

/// A syslog collector, here or elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SyslogSettings {
    /// What the status calls it, else `syslog` and where it is.
    pub name: Option<String>,
    /// Findings below this are not told.
    pub minimum_severity: Severity,
    /// Where it is.
    pub url: SyslogUrl,
    /// Who says it, by the collector's rules.
    pub facility: Facility,
    /// How messages are written, else `local` for a socket of this machine and `rfc5424` elsewhere.
    pub format: Option<SyslogFormat>,
    /// Octets of a message at most, 480 to 65,000; a longer one is cut.
    pub largest: Largest,
    /// With `tls`: certificates of the authorities that may have signed the collector's, PEM, else those that the system trusts.
    pub ca: Option<PathBuf>,
    /// With `tls`: the client's certificate, where the collector wants one.
    pub certificate: Option<PathBuf>,
    /// With `tls`: its private key.
    pub key: Option<PathBuf>,
    /// With `tls`: the name that the collector's certificate must be for, else the host.
    pub server_name: Option<String>,
}

impl Default for SyslogSettings {
    fn default() -> Self {
        Self {
            name: None,
            minimum_severity: Severity::Low,
            url: SyslogUrl::Local(PathBuf::from("/dev/log")),
            facility: Facility::Local0,
            format: None,
            largest: Largest(2048),
            ca: None,
            certificate: None,
            key: None,
            server_name: None,
        }
    }
}

/// A receiver of POSTs. It has no default place.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct WebhookSettings {
    /// What the status calls it, else `webhook` and its host.
    #[serde(default)]
    pub name: Option<String>,
    /// Findings below this are not told.
    #[serde(default = "lowest")]
    pub minimum_severity: Severity,
    /// Where it is.
    pub url: WebhookUrl,
    /// The file whose content, without white space at its ends, is the secret that signatures are made with.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// The environment variable that has the secret.
    #[serde(default)]
    pub secret_env: Option<String>,
    /// Certificates of the authorities that may have signed the receiver's, PEM, else those that the system trusts.
    #[serde(default)]
    pub ca: Option<PathBuf>,
}

/// A file of JSON lines. It has no default place.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FileSettings {
    /// What the status calls it, else `file` and its path.
    #[serde(default)]
    pub name: Option<String>,
    /// Findings below this are not told.
    #[serde(default = "lowest")]
    pub minimum_severity: Severity,
    /// The file. Its folder has to be there.
    pub path: PathBuf,
    /// What a line is.
    #[serde(default)]
    pub format: FileFormat,
}

/// The daemon's own log.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LogSettings {
    /// What the status calls it, else `log`.
    pub name: Option<String>,
    /// Findings below this are not told.
    pub minimum_severity: Severity,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { name: None, minimum_severity: Severity::Low }
    }
}

const fn lowest() -> Severity {
    Severity::Low
}

/// What a line of a file is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileFormat {
    /// A document of the Elastic Common Schema.
    #[default]
    Ecs,
    /// A finding as the API has it, with its change.
    Flowprobe,
}

/// How a syslog message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SyslogFormat {
    /// RFC 5424, with structured data.
    Rfc5424,
    /// As the C library's `syslog(3)` writes to `/dev/log`: what the collectors that listen there expect.
    Local,
}

/// Facilities (RFC 5424 section 6.2.1) that a program of a site may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Facility {
    /// Security and authorization messages; `auth` to many collectors.
    Security = 4,
    /// For the site's own use, as all that follow.
    Local0 = 16,
    /// As [`Self::Local0`].
    Local1,
    /// As [`Self::Local0`].
    Local2,
    /// As [`Self::Local0`].
    Local3,
    /// As [`Self::Local0`].
    Local4,
    /// As [`Self::Local0`].
    Local5,
    /// As [`Self::Local0`].
    Local6,
    /// As [`Self::Local0`].
    Local7,
}

/// Octets of a syslog message: every receiver takes 480, and should take 2,048 (RFC 5424 section 6.1); UDP has room for 65,507.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "usize")]
pub struct Largest(usize);

impl Largest {
    /// So many octets.
    #[must_use]
    pub const fn octets(self) -> usize {
        self.0
    }
}

impl TryFrom<usize> for Largest {
    type Error = String;

    fn try_from(octets: usize) -> Result<Self, String> {
        if (480..=65_000).contains(&octets) {
            Ok(Self(octets))
        } else {
            Err(format!("{octets} is not a length of messages from 480 to 65000 octets"))
        }
    }
}

/// Where a syslog collector is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum SyslogUrl {
    /// A datagram socket of this machine: `unix:///dev/log`.
    Local(PathBuf),
    /// RFC 5426: `udp://host:514`.
    Udp(String, u16),
    /// RFC 6587 with octet counts: `tcp://host:601`.
    Tcp(String, u16),
    /// RFC 5425: `tls://host:6514`.
    Tls(String, u16),
}

impl TryFrom<String> for SyslogUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || {
            format!(
                "\"{text}\" is no place of a syslog collector, such as udp://host:514, tcp://host:601, tls://host:6514 or unix:///dev/log"
            )
        };
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        if scheme == "unix" {
            return if rest.starts_with('/') { Ok(Self::Local(rest.into())) } else { Err(wrong()) };
        }
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let authority = uri.authority().ok_or_else(wrong)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let plain = ["", "/"].contains(&uri.path()) && uri.query().is_none() && !authority.as_str().contains('@');
        if host.is_empty() || !plain {
            return Err(wrong());
        }
        let port = |default| port(authority, default).ok_or_else(wrong);
        match scheme {
            "udp" => Ok(Self::Udp(host, port(514)?)),
            "tcp" => Ok(Self::Tcp(host, port(601)?)),
            "tls" => Ok(Self::Tls(host, port(6514)?)),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for SyslogUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host, port) = match self {
            Self::Local(path) => return write!(f, "unix://{}", path.display()),
            Self::Udp(host, port) => ("udp", host, port),
            Self::Tcp(host, port) => ("tcp", host, port),
            Self::Tls(host, port) => ("tls", host, port),
        };
        if host.contains(':') { write!(f, "{scheme}://[{host}]:{port}") } else { write!(f, "{scheme}://{host}:{port}") }
    }
}

/// A URL whose path and query may be what a receiver knows its senders by: only the beginning is ever shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct WebhookUrl(Uri);

impl WebhookUrl {
    /// All of it.
    #[must_use]
    pub(super) const fn uri(&self) -> &Uri {
        &self.0
    }

    /// Whether it takes TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }
}

impl TryFrom<String> for WebhookUrl {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        // The text is not repeated: it may hold a secret.
        let wrong = "it is no URL of a receiver, such as https://alerts.example/flowprobe";
        let uri: Uri = text.parse().map_err(|_| wrong)?;
        let authority = uri.authority().ok_or(wrong)?;
        let usable = !authority.host().is_empty()
            && !authority.as_str().contains('@')
            && port(authority, 443).is_some()
            && matches!(uri.scheme_str(), Some("http" | "https"));
        if usable { Ok(Self(uri)) } else { Err(wrong) }
    }
}

impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = self.0.authority().map_or("", |authority| authority.as_str());
        write!(f, "{}://{authority}", self.0.scheme_str().unwrap_or_default())
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}/…")
    }
}

/// The port of what has no user, or `default`; none where there is something else behind the host.
fn port(authority: &Authority, default: u16) -> Option<u16> {
    match authority.as_str().strip_prefix(authority.host())? {
        "" => Some(default),
        rest => rest.strip_prefix(':')?.parse().ok().filter(|port| *port != 0),
    }
}

impl SinkSettings {
    /// What the status calls it.
    #[must_use]
    pub fn name(&self) -> String {
        let (name, otherwise) = match self {
            Self::Syslog(settings) => (&settings.name, format!("syslog {}", settings.url)),
            Self::Webhook(settings) => (&settings.name, format!("webhook {}", settings.url)),
            Self::File(settings) => (&settings.name, format!("file {}", settings.path.display())),
            Self::Log(settings) => (&settings.name, "log".to_owned()),
        };
        name.clone().unwrap_or(otherwise)
    }

    /// Findings below this are not told.
    #[must_use]
    pub const fn minimum_severity(&self) -> Severity {
        match self {
            Self::Syslog(settings) => settings.minimum_severity,
            Self::Webhook(settings) => settings.minimum_severity,
            Self::File(settings) => settings.minimum_severity,
            Self::Log(settings) => settings.minimum_severity,
        }
    }
}

#[cfg(test)]
mod tests;
