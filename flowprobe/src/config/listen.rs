//! Where NetFlow and IPFIX of others are received: `udp://address:port?option=value&…`, and what becomes of it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use thiserror::Error;

use super::collector::{IPFIX_PORT, IPFIX_TLS_PORT, NETFLOW_PORT, decoded, encoded};
use super::{ConfigError, Target, Transport, values};
use crate::collect::listen::{TlsServer, TlsServerFiles};

/// What waits in the kernel while a burst is read. Its own default, 208 KiB, holds fewer than a hundred datagrams.
const DEFAULT_RECEIVE_BUFFER: u32 = 8 << 20;

/// An address where exporters are listened to, and who may send there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// How messages come.
    pub transport: ListenTransport,
    /// Address and port. `[::]` stands for the addresses of both IP versions, port 0 for any that is free.
    pub address: SocketAddr,
    /// Networks that may send; all may where there are none.
    pub allow: Vec<IpNet>,
}

/// How messages come from exporters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenTransport {
    /// Datagrams of NetFlow or IPFIX.
    Udp {
        /// Octets that may wait in the kernel, if it grants as many.
        receive_buffer: u32,
    },
    /// Connections with IPFIX.
    Tcp,
    /// The same under TLS.
    Tls(TlsServerFiles),
}

impl ListenTransport {
    const fn scheme(&self) -> &'static str {
        match self {
            Self::Udp { .. } => "udp",
            Self::Tcp => "tcp",
            Self::Tls(_) => "tls",
        }
    }

    const fn default_port(&self) -> u16 {
        match self {
            Self::Udp { .. } => NETFLOW_PORT,
            Self::Tcp => IPFIX_PORT,
            Self::Tls(_) => IPFIX_TLS_PORT,
        }
    }

    const fn options(&self) -> &'static str {
        match self {
            Self::Udp { .. } => "allow, receive-buffer",
            Self::Tcp => "allow",
            Self::Tls(_) => "certificate, key, client-ca, allow",
        }
    }
}

/// What becomes of what was received, beside the local outputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Relay {
    /// Collectors get the records, in each collector's format and with our own templates.
    #[default]
    Records,
    /// Collectors get the messages as they came.
    Datagrams,
    /// Collectors get nothing of it.
    None,
}

impl Relay {
    /// The name in flags and files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Datagrams => "datagrams",
            Self::None => "none",
        }
    }
}

/// Why a text is no address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("bad URL to listen on `{url}`: {problem}")]
pub struct ListenUrlError {
    url: String,
    problem: String,
}

/// An example for messages.
const EXAMPLE: &str = "udp://0.0.0.0:2055";

impl FromStr for Listen {
    type Err = ListenUrlError;

    fn from_str(url: &str) -> Result<Self, ListenUrlError> {
        parse(url).map_err(|problem| ListenUrlError { url: url.to_owned(), problem })
    }
}

fn parse(url: &str) -> Result<Listen, String> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| format!("expected something like {EXAMPLE}"))?;
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let transport = match scheme {
        "udp" => ListenTransport::Udp { receive_buffer: DEFAULT_RECEIVE_BUFFER },
        "tcp" => ListenTransport::Tcp,
        "tls" => ListenTransport::Tls(TlsServerFiles::default()),
        "sctp" | "dtls" => return Err(format!("`{scheme}` is not offered; use tls over TCP, as in tls://0.0.0.0")),
        _ => return Err(format!("unknown scheme `{scheme}`; expected udp, tcp or tls, as in {EXAMPLE}")),
    };
    let address = address(place, transport.default_port())?;
    let mut listen = Listen { transport, address, allow: Vec::new() };
    for option in query.split('&').filter(|option| !option.is_empty()) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let value = decoded(value).map_err(|problem| format!("option `{name}`: {problem}"))?;
        set(&mut listen, name, &value).map_err(|problem| format!("option `{name}`: {problem}"))?;
    }
    if let ListenTransport::Tls(files) = &listen.transport {
        for (name, path) in [("certificate", &files.certificate), ("key", &files.key)] {
            if path.as_os_str().is_empty() {
                return Err(format!("option `{name}` is missing: tls shows exporters a certificate"));
            }
        }
    }
    Ok(listen)
}

/// Address and port, of which the second may be missing.
fn address(place: &str, default_port: u16) -> Result<SocketAddr, String> {
    let place = place.strip_suffix('/').unwrap_or(place);
    let example = || format!("as in {EXAMPLE}; 0.0.0.0 or [::] is every address of the machine");
    if place.parse::<Ipv6Addr>().is_ok() {
        return Err("an IPv6 address stands in brackets: [2001:db8::1]".into());
    }
    if place.is_empty() || place.starts_with(':') {
        return Err(format!("the address is missing, {}", example()));
    }
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (place, None),
    };
    let ip: Option<IpAddr> = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(host) => host.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    };
    let ip = ip.ok_or_else(|| format!("expected an address of this machine, found `{host}`, {}", example()))?;
    let port = match port {
        None => default_port,
        Some(port) => port.parse().map_err(|_| format!("expected a port from 0 to 65535, found `{port}`"))?,
    };
    Ok(SocketAddr::new(ip.to_canonical(), port))
}

fn set(listen: &mut Listen, name: &str, value: &str) -> Result<(), String> {
    match (name, &mut listen.transport) {
        ("allow", _) => {
            for text in value.split(',') {
                let network = super::network(text.trim())?;
                if !listen.allow.contains(&network) {
                    listen.allow.push(network);
                }
            }
        }
        ("receive-buffer", ListenTransport::Udp { receive_buffer }) => {
            let size = values::size(value).ok().and_then(|size| i32::try_from(size).ok());
            *receive_buffer = size
                .map(i32::unsigned_abs)
                .filter(|size| *size <= MOST_RECEIVE_BUFFER)
                .ok_or_else(|| format!("expected a size from 1 MiB to 512 MiB, such as 16M, found `{value}`"))?;
        }
        // The second name is what web servers' users try first.
        ("certificate" | "cert" | "key" | "client-ca", ListenTransport::Tls(_)) if value.is_empty() => {
            return Err("the value is missing".into());
        }
        ("certificate" | "cert", ListenTransport::Tls(files)) => files.certificate = PathBuf::from(value),
        ("key", ListenTransport::Tls(files)) => files.key = PathBuf::from(value),
        ("client-ca", ListenTransport::Tls(files)) => files.client_ca = Some(PathBuf::from(value)),
        (_, transport) => {
            return Err(format!("unknown to {}; expected one of {}", transport.scheme(), transport.options()));
        }
    }
    Ok(())
}

/// The kernel doubles it, in an `int`.
const MOST_RECEIVE_BUFFER: u32 = 512 << 20;

impl Listen {
    /// Whether `peer` may send here. IPv4-mapped addresses are to be unmapped before.
    #[must_use]
    pub fn allows(&self, peer: IpAddr) -> bool {
        self.allow.is_empty() || self.allow.iter().any(|network| network.contains(&peer))
    }

    /// Whether the kernel would refuse one of the two because of the other.
    fn overlaps(&self, other: &Self) -> bool {
        let is_udp = |listen: &Self| matches!(listen.transport, ListenTransport::Udp { .. });
        let covers = |a: IpAddr, b: IpAddr| a == b || a.is_unspecified() && (a.is_ipv6() || b.is_ipv4());
        let (a, b) = (self.address, other.address);
        is_udp(self) == is_udp(other)
            && a.port() == b.port()
            && a.port() != 0
            && (covers(a.ip(), b.ip()) || covers(b.ip(), a.ip()))
    }

    /// The whole URL, with the options that are not as they would be without. [`fmt::Display`] is the name for messages.
    #[must_use]
    pub fn url(&self) -> String {
        let mut options = Vec::new();
        let mut option = |name: &str, value: String| options.push(format!("{name}={value}"));
        match &self.transport {
            ListenTransport::Udp { receive_buffer } if *receive_buffer != DEFAULT_RECEIVE_BUFFER => {
                option("receive-buffer", receive_buffer.to_string());
            }
            ListenTransport::Tls(TlsServerFiles { certificate, key, client_ca }) => {
                option("certificate", encoded(&certificate.to_string_lossy()));
                option("key", encoded(&key.to_string_lossy()));
                if let Some(client_ca) = client_ca {
                    option("client-ca", encoded(&client_ca.to_string_lossy()));
                }
            }
            ListenTransport::Udp { .. } | ListenTransport::Tcp => {}
        }
        if !self.allow.is_empty() {
            option("allow", self.allow.iter().map(shortest).collect::<Vec<_>>().join(","));
        }
        let separator = if options.is_empty() { "" } else { "?" };
        format!("{self}{separator}{}", options.join("&"))
    }

    /// The same with the address that a socket was given.
    #[must_use]
    pub(crate) fn at(&self, address: SocketAddr) -> Self {
        Self { address, ..self.clone() }
    }
}

/// One address without the length of its prefix.
fn shortest(network: &IpNet) -> String {
    let is_one = match network {
        IpNet::V4(network) => network.prefix_len() == Ipv4Net::from(network.addr()).prefix_len(),
        IpNet::V6(network) => network.prefix_len() == Ipv6Net::from(network.addr()).prefix_len(),
    };
    if is_one { network.addr().to_string() } else { network.to_string() }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.transport.scheme(), self.address)
    }
}

/// Checks what cannot be seen of one URL alone.
pub(super) fn check(all: &[Listen], relay: Relay, targets: &[Target]) -> Result<(), ConfigError> {
    for (position, listen) in all.iter().enumerate() {
        if let Some(other) = all[..position].iter().find(|other| listen.overlaps(other)) {
            return Err(ConfigError::RepeatedListener { name: listen.to_string(), other: other.to_string() });
        }
        if let ListenTransport::Tls(files) = &listen.transport {
            // Read once more when it is used; what is wrong with them is said before anything starts.
            let of = |error| ConfigError::ListenerTls { name: listen.to_string(), error: Box::new(error) };
            TlsServer::new(files).map_err(of)?;
        }
    }
    let collectors = || targets.iter().flat_map(Target::collectors);
    match collectors().find(|collector| collector.transport == Transport::Udp) {
        Some(collector) if relay == Relay::Datagrams => {
            Err(ConfigError::RelayedDatagrams { name: collector.to_string() })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
