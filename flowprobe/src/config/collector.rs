//! Collector URLs: `udp://host:port?option=value&…`, and several of them as one target.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

use super::values::{self, ValueError};
use crate::export::elements::{Fields, Preset};
use crate::export::transport::{SocketOptions, TlsFiles};
use crate::export::{FileOptions, Format};

/// IPFIX's registered port, over TLS the one after it; NetFlow has none that is registered, but this one by custom.
pub(super) const IPFIX_PORT: u16 = 4739;
pub(super) const IPFIX_TLS_PORT: u16 = 4740;
pub(super) const NETFLOW_PORT: u16 = 2055;

/// What an IP datagram may hold unless `mtu` says otherwise: Ethernet's MTU. Collectors are known to cut longer ones.
const DEFAULT_MTU: u16 = 1500;

/// How often templates are sent again. RFC 7011 section 8.1 leaves the time to the operator.
const DEFAULT_TEMPLATE_REFRESH: Duration = Duration::from_secs(60);

/// A collector and how to speak to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    /// How messages get there.
    pub transport: Transport,
    /// Name or address; empty of a file.
    pub host: String,
    /// UDP or TCP port; 0 of a file.
    pub port: u16,
    /// The format of the messages.
    pub format: Format,
    /// Most octets of one IP datagram; the path MTU may allow fewer.
    pub mtu: u16,
    /// How often templates are sent again, and options records with them.
    pub template_refresh: Duration,
    /// Which elements it gets, where that is not what all get.
    pub fields: Option<Fields>,
    /// Address and interface from which messages leave, and their class.
    pub socket: SocketOptions,
}

/// How messages get to a collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A connection.
    Tcp,
    /// A connection under TLS.
    Tls(TlsFiles),
    /// A file (RFC 5655), and others before it.
    File(FileOptions),
}

impl Transport {
    const fn scheme(&self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls(_) => "tls",
            Self::File(_) => "file",
        }
    }
}

/// Where a copy of all records goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To one collector.
    Single(Box<Collector>),
    /// To the first that can be reached.
    Failover(Vec<Collector>),
    /// Each conversation to one of them, and always to the same.
    Balance(Vec<Collector>),
}

impl Target {
    /// Its collectors.
    #[must_use]
    pub fn collectors(&self) -> &[Collector] {
        match self {
            Self::Single(collector) => std::slice::from_ref(&**collector),
            Self::Failover(all) | Self::Balance(all) => all,
        }
    }

    /// The same with these fields for collectors that have none of their own.
    #[must_use]
    pub(super) fn with_fields(mut self, fields: &Fields) -> Self {
        let all = match &mut self {
            Self::Single(collector) => std::slice::from_mut(&mut **collector),
            Self::Failover(all) | Self::Balance(all) => all,
        };
        for collector in all.iter_mut().filter(|collector| collector.format != Format::NetFlow5) {
            collector.fields.get_or_insert_with(|| fields.clone());
        }
        self
    }

    /// The whole text, with the options that are not as they would be without, where collectors without fields of their own get
    /// `fields`.
    #[must_use]
    pub fn text(&self, fields: &Fields) -> String {
        let urls = |all: &[Collector]| all.iter().map(|one| one.url(fields)).collect::<Vec<_>>().join(",");
        match self {
            Self::Single(collector) => collector.url(fields),
            Self::Failover(all) => format!("failover:{}", urls(all)),
            Self::Balance(all) => format!("balance:{}", urls(all)),
        }
    }
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

impl FromStr for Target {
    type Err = CollectorError;

    fn from_str(text: &str) -> Result<Self, CollectorError> {
        let (make, urls): (fn(Vec<Collector>) -> Self, &str) = match text.split_once(':') {
            Some(("failover", urls)) => (Self::Failover, urls),
            Some(("balance", urls)) => (Self::Balance, urls),
            _ => return Ok(Self::Single(Box::new(text.parse()?))),
        };
        let all = urls.split(',').map(|url| url.trim().parse()).collect::<Result<Vec<Collector>, _>>()?;
        let bad = |problem: &str| CollectorError { url: text.to_owned(), problem: problem.to_owned() };
        let [first, others @ ..] = &all[..] else { return Err(bad("the collectors are missing")) };
        if others.is_empty() {
            return Err(bad("two collectors or more are expected, with commas between them"));
        }
        if all.iter().any(|one| matches!(one.transport, Transport::File(_))) {
            return Err(bad("a file cannot be among several collectors"));
        }
        if others.iter().any(|other| (other.format, &other.fields) != (first.format, &first.fields)) {
            return Err(bad("all have to have the same format and fields"));
        }
        if all
            .iter()
            .enumerate()
            .any(|(position, one)| all[..position].iter().any(|other| other.to_string() == one.to_string()))
        {
            return Err(bad("a collector is there twice"));
        }
        Ok(make(all))
    }
}

impl FromStr for Collector {
    type Err = CollectorError;

    fn from_str(url: &str) -> Result<Self, CollectorError> {
        parse(url).map_err(|problem| CollectorError { url: url.to_owned(), problem })
    }
}

fn parse(url: &str) -> Result<Collector, String> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| format!("expected something like {EXAMPLE}"))?;
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let transport = match scheme {
        "udp" => Transport::Udp,
        "tcp" => Transport::Tcp,
        "tls" => Transport::Tls(TlsFiles::default()),
        "file" => Transport::File(FileOptions { path: path(place)?, rotate: None, keep: None }),
        "sctp" | "dtls" => return Err(format!("`{scheme}` is not offered; use tls over TCP, as in tls://192.0.2.1")),
        _ => return Err(format!("unknown scheme `{scheme}`; expected udp, tcp, tls or file, as in {EXAMPLE}")),
    };
    let (host, port) = match transport {
        Transport::File(_) => ("", Some(0)),
        _ => authority(place)?,
    };
    let mut collector = Collector {
        transport,
        host: host.to_owned(),
        port: 0,
        format: Format::default(),
        mtu: DEFAULT_MTU,
        template_refresh: DEFAULT_TEMPLATE_REFRESH,
        fields: None,
        socket: SocketOptions::default(),
    };
    for option in query.split('&').filter(|option| !option.is_empty()) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let value = decoded(value).map_err(|problem| format!("option `{name}`: {problem}"))?;
        set(&mut collector, name, &value).map_err(|problem| format!("option `{name}`: {problem}"))?;
    }
    collector.port = port.unwrap_or(default_port(&collector));
    check(&collector)?;
    Ok(collector)
}

const fn default_port(collector: &Collector) -> u16 {
    match (&collector.transport, collector.format) {
        (Transport::File(_), _) => 0,
        (Transport::Tls(_), _) => IPFIX_TLS_PORT,
        (_, Format::Ipfix) => IPFIX_PORT,
        (_, Format::NetFlow9 | Format::NetFlow5) => NETFLOW_PORT,
    }
}

/// What cannot be seen option by option.
fn check(collector: &Collector) -> Result<(), String> {
    let Collector { transport, format, fields, socket, .. } = collector;
    let scheme = transport.scheme();
    if *format != Format::Ipfix && *transport != Transport::Udp {
        return Err(format!("{format} goes over udp only, not {scheme}"));
    }
    if *format == Format::NetFlow5 && fields.is_some() {
        return Err("option `fields`: those of NetFlow v5 are fixed".into());
    }
    if let (Some(source), Ok(host)) = (socket.source, collector.host.parse::<IpAddr>())
        && source.is_ipv4() != host.is_ipv4()
    {
        return Err("option `source`: one of the addresses is IPv4, the other IPv6".into());
    }
    Ok(())
}

/// The path of a file URL: `file:///var/lib/flows.ipfix`.
fn path(place: &str) -> Result<PathBuf, String> {
    let path = decoded(place)?;
    if !path.starts_with('/') {
        return Err("a file is expected by its whole path, as in file:///var/lib/flows.ipfix".into());
    }
    if path.ends_with('/') {
        return Err("a file is expected, not a folder".into());
    }
    Ok(PathBuf::from(path))
}

/// Host and port.
fn authority(place: &str) -> Result<(&str, Option<u16>), String> {
    let authority = place.strip_suffix('/').unwrap_or(place);
    if authority.contains(['/', '#', '@']) {
        return Err(format!("expected host and port and nothing else, as in {EXAMPLE}"));
    }
    split_port(authority)
}

fn split_port(authority: &str) -> Result<(&str, Option<u16>), String> {
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
        None => None,
        Some(port) => match port.parse() {
            Ok(port) if port != 0 => Some(port),
            _ => return Err(format!("expected a port from 1 to 65535, found `{port}`")),
        },
    };
    Ok((host, port))
}

fn set(collector: &mut Collector, name: &str, value: &str) -> Result<(), String> {
    let is_udp = collector.transport == Transport::Udp;
    match (name, &mut collector.transport) {
        ("format", _) => {
            let names = Format::NAMES.map(|(name, _)| name).join(", ");
            collector.format = Format::named(value).ok_or_else(|| format!("expected {names}, found `{value}`"))?;
        }
        ("mtu", _) if is_udp => {
            collector.mtu = match value.parse() {
                Ok(mtu) if mtu >= LEAST_MTU => mtu,
                _ => return Err(format!("expected octets from {LEAST_MTU} to 65535, found `{value}`")),
            };
        }
        ("template-refresh", _) => collector.template_refresh = duration(value)?,
        ("fields", _) => {
            let preset = Preset::named(value).ok_or_else(|| {
                let names = Preset::NAMES.map(|(name, _)| name).join(", ");
                format!("expected {names}, found `{value}`; a list of elements is `fields` in the file")
            })?;
            collector.fields = Some(Fields::Preset(preset));
        }
        ("rotate", Transport::File(file)) => file.rotate = Some(duration(value)?),
        ("keep", Transport::File(file)) => {
            let expected = || format!("expected a number of files, found `{value}`");
            file.keep = Some(value.parse().map_err(|_| expected())?);
        }
        ("source" | "interface" | "dscp", Transport::File(_)) => return Err(format!("a file has no {name}")),
        ("source", _) => {
            let address = value.parse().map_err(|_| format!("expected an address, found `{value}`"))?;
            collector.socket.source = Some(address);
        }
        ("interface", _) if value.is_empty() => return Err("expected the name of an interface".into()),
        ("interface", _) => collector.socket.interface = Some(value.to_owned()),
        ("dscp", _) => {
            collector.socket.dscp = match value.parse() {
                Ok(dscp) if dscp <= 63 => Some(dscp),
                _ => return Err(format!("expected a number from 0 to 63, found `{value}`")),
            };
        }
        ("ca" | "certificate" | "key" | "name", Transport::Tls(_)) if value.is_empty() => {
            return Err("the value is missing".into());
        }
        ("ca", Transport::Tls(files)) => files.ca = Some(PathBuf::from(value)),
        ("certificate", Transport::Tls(files)) => files.certificate = Some(PathBuf::from(value)),
        ("key", Transport::Tls(files)) => files.key = Some(PathBuf::from(value)),
        ("name", Transport::Tls(files)) => files.name = Some(value.to_owned()),
        (_, transport) => {
            return Err(format!("unknown to {}; expected one of {}", transport.scheme(), options(transport)));
        }
    }
    Ok(())
}

const fn options(transport: &Transport) -> &'static str {
    match transport {
        Transport::Udp => "format, fields, mtu, template-refresh, source, interface, dscp",
        Transport::Tcp => "fields, template-refresh, source, interface, dscp",
        Transport::Tls(_) => "ca, certificate, key, name, fields, template-refresh, source, interface, dscp",
        Transport::File(_) => "rotate, keep, fields, template-refresh",
    }
}

fn duration(value: &str) -> Result<Duration, String> {
    values::duration(value).map_err(|error: ValueError| error.to_string())
}

/// `text` without percent-encoding (RFC 3986 section 2.1).
pub(super) fn decoded(text: &str) -> Result<String, String> {
    let octets = percent_encoding::percent_decode_str(text).decode_utf8();
    octets.map(String::from).map_err(|_| format!("`{text}` is not UTF-8"))
}

/// `text` so that it can stand in a URL.
pub(super) fn encoded(text: &str) -> String {
    const OTHERS: percent_encoding::AsciiSet =
        percent_encoding::CONTROLS.add(b' ').add(b'%').add(b'&').add(b'?').add(b'#').add(b',').add(b'"');
    percent_encoding::utf8_percent_encode(text, &OTHERS).to_string()
}

/// What RFC 7011 section 10.3.3 assumes where nothing is known, and what any one template fits in.
const LEAST_MTU: u16 = 512;

impl Collector {
    /// The whole URL, with the options that are not as they would be without, where a collector without fields of its own gets
    /// `fields`. [`fmt::Display`] is the name for messages.
    #[must_use]
    pub fn url(&self, fields: &Fields) -> String {
        let mut options = Vec::new();
        let mut option = |name: &str, value: String| options.push(format!("{name}={value}"));
        if self.format != Format::default() {
            option("format", self.format.name().to_owned());
        }
        if let Some(Fields::Preset(preset)) = self.fields
            && *fields != Fields::Preset(preset)
        {
            option("fields", preset.to_string());
        }
        if self.mtu != DEFAULT_MTU {
            option("mtu", self.mtu.to_string());
        }
        if self.template_refresh != DEFAULT_TEMPLATE_REFRESH {
            option("template-refresh", format!("{:?}", self.template_refresh));
        }
        let SocketOptions { source, interface, dscp } = &self.socket;
        if let Some(source) = source {
            option("source", source.to_string());
        }
        if let Some(interface) = interface {
            option("interface", encoded(interface));
        }
        if let Some(dscp) = dscp {
            option("dscp", dscp.to_string());
        }
        match &self.transport {
            Transport::Tls(TlsFiles { ca, certificate, key, name }) => {
                for (word, path) in [("ca", ca), ("certificate", certificate), ("key", key)] {
                    if let Some(path) = path {
                        option(word, encoded(&path.to_string_lossy()));
                    }
                }
                if let Some(name) = name {
                    option("name", encoded(name));
                }
            }
            Transport::File(FileOptions { rotate, keep, .. }) => {
                if let Some(rotate) = rotate {
                    option("rotate", format!("{rotate:?}"));
                }
                if let Some(keep) = keep {
                    option("keep", keep.to_string());
                }
            }
            Transport::Udp | Transport::Tcp => {}
        }
        let separator = if options.is_empty() { "" } else { "?" };
        format!("{self}{separator}{}", options.join("&"))
    }

    /// The elements that it gets.
    #[must_use]
    pub fn fields(&self) -> Fields {
        self.fields.clone().unwrap_or_default()
    }
}

impl fmt::Display for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { transport, host, port, .. } = self;
        let scheme = transport.scheme();
        match transport {
            Transport::File(file) => write!(f, "{scheme}://{}", encoded(&file.path.to_string_lossy())),
            _ if host.contains(':') => write!(f, "{scheme}://[{host}]:{port}"),
            _ => write!(f, "{scheme}://{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests;
