//! Collector URLs: `udp://host:port?option=value&…`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

use super::values::{self, ValueError};

/// IPFIX's registered port.
const DEFAULT_PORT: u16 = 4739;

/// What an IP datagram may hold unless `mtu` says otherwise: Ethernet's MTU. Collectors are known to cut longer ones.
const DEFAULT_MTU: u16 = 1500;

/// How often templates are sent again. RFC 7011 section 8.1 leaves the time to the operator.
const DEFAULT_TEMPLATE_REFRESH: Duration = Duration::from_secs(60);

/// A collector and how to speak to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    /// Name or address.
    pub host: String,
    /// UDP port.
    pub port: u16,
    /// Most octets of one IP datagram; the path MTU may allow fewer.
    pub mtu: u16,
    /// How often templates are sent again.
    pub template_refresh: Duration,
}

/// Why a text is no collector.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("bad collector URL `{url}`: {problem}")]
pub struct CollectorError {
    url: String,
    problem: String,
}

/// An example for messages.
const EXAMPLE: &str = "udp://192.0.2.1:4739";

impl FromStr for Collector {
    type Err = CollectorError;

    fn from_str(url: &str) -> Result<Self, CollectorError> {
        parse(url).map_err(|problem| CollectorError { url: url.to_owned(), problem })
    }
}

fn parse(url: &str) -> Result<Collector, String> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| format!("expected something like {EXAMPLE}"))?;
    match scheme {
        "udp" => {}
        "tcp" | "tls" => return Err(format!("`{scheme}` is not offered yet; use udp, as in {EXAMPLE}")),
        _ => return Err(format!("unknown scheme `{scheme}`; expected udp, as in {EXAMPLE}")),
    }
    let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    if authority.contains(['/', '#', '@']) {
        return Err(format!("expected host and port and nothing else, as in {EXAMPLE}"));
    }
    let (host, port) = split_port(authority)?;
    let mut collector =
        Collector { host: host.to_owned(), port, mtu: DEFAULT_MTU, template_refresh: DEFAULT_TEMPLATE_REFRESH };
    for option in query.split('&').filter(|option| !option.is_empty()) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        set(&mut collector, name, value).map_err(|problem| format!("option `{name}`: {problem}"))?;
    }
    Ok(collector)
}

fn split_port(authority: &str) -> Result<(&str, u16), String> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or("the `[` of an IPv6 address has no `]`")?;
        host.parse::<std::net::Ipv6Addr>().map_err(|_| format!("`{host}` is not an IPv6 address"))?;
        match port.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if port.is_empty() => (host, None),
            None => return Err(format!("expected `:port` after `]`, found `{port}`")),
        }
    } else {
        match authority.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err("an IPv6 address stands in brackets: [2001:db8::1]".into());
            }
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }
    };
    if host.is_empty() || host.contains(char::is_whitespace) {
        return Err(format!("the host is missing, as in {EXAMPLE}"));
    }
    let port = match port {
        None => DEFAULT_PORT,
        Some(port) => match port.parse() {
            Ok(port) if port != 0 => port,
            _ => return Err(format!("expected a port from 1 to 65535, found `{port}`")),
        },
    };
    Ok((host, port))
}

fn set(collector: &mut Collector, name: &str, value: &str) -> Result<(), String> {
    match name {
        "format" if value == "ipfix" => {}
        "format" => return Err(format!("expected ipfix, found `{value}`")),
        "mtu" => {
            collector.mtu = match value.parse() {
                Ok(mtu) if mtu >= LEAST_MTU => mtu,
                _ => return Err(format!("expected octets from {LEAST_MTU} to 65535, found `{value}`")),
            };
        }
        "template-refresh" => {
            collector.template_refresh = values::duration(value).map_err(|error: ValueError| error.to_string())?;
        }
        _ => return Err("unknown; expected format, mtu or template-refresh".into()),
    }
    Ok(())
}

/// What RFC 7011 section 10.3.3 assumes where nothing is known, and what any one template fits in.
const LEAST_MTU: u16 = 512;

impl Collector {
    /// The whole URL, with the options that are not as they would be without. [`fmt::Display`] is the name for messages.
    #[must_use]
    pub fn url(&self) -> String {
        let mut options = Vec::new();
        if self.mtu != DEFAULT_MTU {
            options.push(format!("mtu={}", self.mtu));
        }
        if self.template_refresh != DEFAULT_TEMPLATE_REFRESH {
            options.push(format!("template-refresh={:?}", self.template_refresh));
        }
        let separator = if options.is_empty() { "" } else { "?" };
        format!("{self}{separator}{}", options.join("&"))
    }
}

impl fmt::Display for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, .. } = self;
        if host.contains(':') { write!(f, "udp://[{host}]:{port}") } else { write!(f, "udp://{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_what_it_was_made_of() {
        for url in ["udp://[2001:db8::10]:2055?mtu=1280", "udp://c.example:4739?mtu=600&template-refresh=1.5s"] {
            let collector: Collector = url.parse().expect("a collector");
            assert_eq!(collector.url(), url);
        }
    }

    #[test]
    fn urls_with_and_without_port_and_options() {
        let plain: Collector = "udp://collector.example".parse().expect("a collector");
        assert_eq!((plain.host.as_str(), plain.port, plain.mtu), ("collector.example", 4739, 1500));
        let full: Collector =
            "udp://[2001:db8::1]:2055?mtu=9000&template-refresh=5s&format=ipfix".parse().expect("a collector");
        assert_eq!((full.host.as_str(), full.port, full.mtu), ("2001:db8::1", 2055, 9000));
        assert_eq!(full.template_refresh, Duration::from_secs(5));
        assert_eq!(full.to_string(), "udp://[2001:db8::1]:2055");
    }

    #[test]
    fn bad_urls_say_what_is_wrong() {
        for (url, problem) in [
            ("192.0.2.1:4739", "expected something like udp://192.0.2.1:4739"),
            ("http://192.0.2.1", "unknown scheme `http`"),
            ("tls://192.0.2.1", "`tls` is not offered yet"),
            ("udp://", "the host is missing"),
            ("udp://:4739", "the host is missing"),
            ("udp://192.0.2.1:0", "expected a port from 1 to 65535, found `0`"),
            ("udp://192.0.2.1:70000", "expected a port from 1 to 65535, found `70000`"),
            ("udp://2001:db8::1:4739", "an IPv6 address stands in brackets"),
            ("udp://[2001:db8::1", "has no `]`"),
            ("udp://[::1]x", "expected `:port` after `]`"),
            ("udp://192.0.2.1/path", "host and port and nothing else"),
            ("udp://192.0.2.1?mtu=100", "option `mtu`: expected octets from 512"),
            ("udp://192.0.2.1?retries=3", "option `retries`: unknown"),
            ("udp://192.0.2.1?format=sflow", "option `format`: expected ipfix"),
        ] {
            let error = url.parse::<Collector>().expect_err(url).to_string();
            assert!(error.contains(problem) && error.contains(url), "{url}: {error}");
        }
    }
}
