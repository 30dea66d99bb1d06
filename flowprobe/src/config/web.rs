//! Where the dashboard is, and who may look at it.

use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use thiserror::Error;

use crate::collect::listen::{TlsServer, TlsServerFiles};
use crate::export::transport::TlsError;

/// Where it is if nobody has said otherwise.
pub const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8739);

/// Letters of a token at least: what cannot be guessed.
const SHORTEST_TOKEN: usize = 16;

/// And at most: a file with more is another one.
const LONGEST_TOKEN: usize = 1024;

/// Where the dashboard is to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebAddress {
    /// At this address.
    At(SocketAddr),
    /// Nowhere.
    Off,
}

/// `none`, an address with a port, or an address.
impl FromStr for WebAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = DEFAULT_ADDRESS.port();
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        match (text, text.parse(), bare.parse::<IpAddr>()) {
            ("none", ..) => Ok(Self::Off),
            (_, Ok(address), _) => Ok(Self::At(address)),
            (_, _, Ok(address)) => Ok(Self::At(SocketAddr::new(address, port))),
            _ => Err(format!("expected an address of this machine, such as 127.0.0.1:{port}, or none, found `{text}`")),
        }
    }
}

/// Settings that may or may not have been given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebSettings {
    /// Where it is.
    pub address: Option<WebAddress>,
    /// See [`WebConfig::token`]; `none` for none.
    pub token: Option<PathBuf>,
    /// See [`WebTls::certificate`].
    pub certificate: Option<PathBuf>,
    /// See [`WebTls::key`].
    pub key: Option<PathBuf>,
    /// See [`WebConfig::names`].
    pub names: Option<Vec<String>>,
}

/// Where the dashboard is, and who may look at it, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebConfig {
    /// Address and port; nowhere without.
    pub address: Option<SocketAddr>,
    /// Whether somebody has asked for it: else flowprobe does without where it cannot be had.
    pub is_wanted: bool,
    /// The file with the token that has to be shown, and the token.
    pub token: Option<(PathBuf, Token)>,
    /// What it shows itself.
    pub tls: Option<WebTls>,
    /// Names by which it is asked for, beside addresses and names of this machine.
    pub names: Vec<String>,
}

impl Default for WebConfig {
    fn default() -> Self {
        Self { address: Some(DEFAULT_ADDRESS), is_wanted: false, token: None, tls: None, names: Vec::new() }
    }
}

/// Certificate and key, as PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebTls {
    /// The certificate, with those between it and its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl WebTls {
    /// Reads both.
    ///
    /// # Errors
    /// One cannot be used.
    pub fn server(&self) -> Result<TlsServer, TlsError> {
        let Self { certificate, key } = self.clone();
        TlsServer::new(&TlsServerFiles { certificate, key, client_ca: None })
    }
}

/// A secret that whoever asks has to show. It is nowhere shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// Whether `shown` is the token. How long that takes does not depend on how much of it is right.
    #[must_use]
    pub fn is(&self, shown: &[u8]) -> bool {
        let own = self.0.as_bytes();
        let differ = own.iter().zip(shown).fold(0, |differ, (one, other)| differ | (one ^ other));
        own.len() == shown.len() && std::hint::black_box(differ) == 0
    }

    /// The token in a file, whose first line it is.
    fn read(path: &Path) -> Result<Self, WebError> {
        let text = fs::read_to_string(path).map_err(|error| WebError::Token { path: path.to_owned(), error })?;
        let token = text.lines().next().unwrap_or_default().trim();
        if !(SHORTEST_TOKEN..=LONGEST_TOKEN).contains(&token.len())
            || token.bytes().any(|octet| !octet.is_ascii_graphic())
        {
            return Err(WebError::BadToken { path: path.to_owned() });
        }
        Ok(Self(token.to_owned()))
    }
}

/// Why there is no dashboard like this.
#[derive(Debug, Error)]
pub enum WebError {
    /// Everybody could look.
    #[error(
        "the dashboard at {address} could be seen from other machines: that takes {missing}. Without, it has to be at a loopback \
         address such as {DEFAULT_ADDRESS}, or behind a tunnel or a proxy that does both"
    )]
    Open {
        /// Where it was to be.
        address: SocketAddr,
        /// What is not given.
        missing: &'static str,
    },
    /// Half of a pair.
    #[error("{given} needs {missing} with it")]
    Half {
        /// The key that is given.
        given: &'static str,
        /// The one that is not.
        missing: &'static str,
    },
    /// The file cannot be read.
    #[error("cannot read the token in `{}`: {error}", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// It has no token.
    #[error(
        "the first line of `{}` is no token: it takes {SHORTEST_TOKEN} to {LONGEST_TOKEN} letters, digits and signs, such as \
         `openssl rand -hex 32` prints", path.display()
    )]
    BadToken {
        /// The file.
        path: PathBuf,
    },
    /// Certificate or key cannot be used.
    #[error("the dashboard cannot have TLS: {0}")]
    Tls(Box<TlsError>),
}

impl WebSettings {
    /// These settings, with those of `base` where these are silent.
    #[must_use]
    pub fn or(self, base: Self) -> Self {
        Self {
            address: self.address.or(base.address),
            token: self.token.or(base.token),
            certificate: self.certificate.or(base.certificate),
            key: self.key.or(base.key),
            names: self.names.or(base.names),
        }
    }

    /// What they mean. The files are read, so that what is wrong with them is said at once.
    ///
    /// # Errors
    /// See [`WebError`].
    pub fn check(self) -> Result<WebConfig, WebError> {
        let token = match self.token.filter(|path| path.as_os_str() != "none") {
            Some(path) => {
                let token = Token::read(&path)?;
                Some((path, token))
            }
            None => None,
        };
        let tls = match (self.certificate, self.key) {
            (Some(certificate), Some(key)) => Some(WebTls { certificate, key }),
            (None, None) => None,
            (Some(_), None) => return Err(WebError::Half { given: "web-certificate", missing: "web-key" }),
            (None, Some(_)) => return Err(WebError::Half { given: "web-key", missing: "web-certificate" }),
        };
        if let Some(tls) = &tls {
            tls.server().map_err(|error| WebError::Tls(Box::new(error)))?;
        }
        let is_wanted = self.address.is_some();
        let address = match self.address.unwrap_or(WebAddress::At(DEFAULT_ADDRESS)) {
            WebAddress::At(address) => Some(address),
            WebAddress::Off => None,
        };
        if let Some(address) = address.filter(|address| !address.ip().to_canonical().is_loopback()) {
            let missing = match (&token, &tls) {
                (None, None) => "a token (--web-token FILE) and TLS (--web-certificate FILE --web-key FILE)",
                (None, Some(_)) => "a token (--web-token FILE)",
                (Some(_), None) => "TLS (--web-certificate FILE --web-key FILE)",
                (Some(_), Some(_)) => "",
            };
            if !missing.is_empty() {
                return Err(WebError::Open { address, missing });
            }
        }
        Ok(WebConfig { address, is_wanted, token, tls, names: self.names.unwrap_or_default() })
    }
}

impl fmt::Display for WebConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => write!(f, "web = \"{address}\"")?,
            None => f.write_str("web = \"none\"")?,
        }
        if let Some((path, _)) = &self.token {
            write!(f, "\nweb-token = {path:?}")?;
        }
        if let Some(WebTls { certificate, key }) = &self.tls {
            write!(f, "\nweb-certificate = {certificate:?}\nweb-key = {key:?}")?;
        }
        if !self.names.is_empty() {
            write!(f, "\nweb-name = {:?}", self.names)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(address: &str) -> WebSettings {
        WebSettings { address: Some(address.parse().expect("an address")), ..WebSettings::default() }
    }

    #[test]
    fn addresses_are_taken_with_and_without_a_port() {
        for (text, address) in [
            ("127.0.0.1", Some("127.0.0.1:8739")),
            ("127.0.0.1:80", Some("127.0.0.1:80")),
            ("::1", Some("[::1]:8739")),
            ("[::1]", Some("[::1]:8739")),
            ("[::1]:443", Some("[::1]:443")),
            ("none", None),
        ] {
            let config = settings(text).check().expect(text);
            assert_eq!(config.address.map(|address| address.to_string()).as_deref(), address);
            assert!(config.is_wanted);
        }
        for text in ["", "localhost", "127.0.0.1:", "127.0.0.1:99999", ":8739", "http://127.0.0.1"] {
            assert!(text.parse::<WebAddress>().is_err(), "{text}");
        }
        assert_eq!(WebSettings::default().check().expect("the defaults"), WebConfig::default());
    }

    #[test]
    fn beyond_loopback_it_takes_a_token_and_tls() {
        for address in ["0.0.0.0", "[::]:8739", "192.0.2.1", "::ffff:192.0.2.1"] {
            let error = settings(address).check().expect_err(address).to_string();
            assert!(error.contains("takes a token (--web-token FILE) and TLS"), "{error}");
        }
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), "0123456789abcdef\n").expect("written");
        let with_token = WebSettings { token: Some(file.path().to_owned()), ..settings("192.0.2.1") };
        let error = with_token.clone().check().expect_err("no TLS").to_string();
        assert!(error.contains("that takes TLS (--web-certificate"), "{error}");
        let half = WebSettings { certificate: Some("x".into()), ..with_token.clone() };
        assert_eq!(half.check().expect_err("half").to_string(), "web-certificate needs web-key with it");
        let loopback = WebSettings { address: None, ..with_token };
        let (_, token) = loopback.check().expect("loopback needs no TLS").token.expect("a token");
        assert_eq!(
            [&b"0123456789abcdef"[..], b"0123456789abcdeg", b"0123456789abcde", b""].map(|one| token.is(one)),
            [true, false, false, false]
        );
        assert_eq!(format!("{token:?}"), "Token(…)");
        for text in ["", "short", "0123456789 abcdef"] {
            fs::write(file.path(), text).expect("written");
            let error = WebSettings { token: Some(file.path().to_owned()), ..WebSettings::default() }.check();
            assert!(error.is_err_and(|error| error.to_string().contains("is no token")), "{text}");
        }
    }
}
