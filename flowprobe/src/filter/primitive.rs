//! One primitive: its qualifiers, and the value that they say how to read.

use flowprobe_ebpf::{Direction, protocol};

use super::FilterError;
use super::ast::{Comparison, Ends, Expression, Primitive, Quantity, Relation, Version};
use super::error::{unexpected, unsupported};
use super::lexer::Token;
use super::parser::Parser;
use super::{address, names};

/// What stands in front of a value, and says what the value is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Qualifiers {
    layer: Layer,
    ends: Ends,
    kind: Kind,
}

/// The first qualifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layer {
    Any,
    Ether,
    Ip(Version),
    Transport(u8),
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// An address or a network, with nothing in front of it.
    Bare,
    /// An address or a network after `src` or `dst`.
    Address,
    Host,
    Net,
    Port,
    PortRange,
    Protocol,
    EtherType,
    Mac,
}

impl Default for Qualifiers {
    fn default() -> Self {
        Self { layer: Layer::Any, ends: Ends::Either, kind: Kind::Bare }
    }
}

const ADDRESS: &str = "an address";
const BARE: &str = "an address, or a keyword such as host, port or tcp";
const SINGLE: &str = "`and`, `or` or the end (`host` takes one address, `net` takes a prefix)";
const PORT: &str = "a port up to 65535, or the name of a common service such as http or ssh";
const RANGE: &str = "two ports joined by `-`, such as 6000-6008";
const PROTOCOL: &str = "a protocol number up to 255, or a name such as tcp or icmp";
const ETHERTYPE: &str = "an EtherType such as 0x0800, or ip or ip6";
const MAC: &str = "a MAC address";
const AFTER_IP: &str = "`host`, `net`, `proto` or an address";
const AFTER_TRANSPORT: &str = "`port` or `portrange`";
const AFTER_ETHER: &str = "`host`, `src`, `dst`, `proto`, `broadcast` or `multicast`";
const AFTER_DIRECTION: &str = "`host`, `net`, `port`, `portrange` or an address";
const NETMASK: &str = "it would need the interface's netmask; write `ether broadcast` or the address";
const LENGTH: &str = "a length in octets";
const VLAN: &str = "a VLAN identifier from 1 to 4095";
const LABEL: &str = "a label up to 1048575";

const LARGEST_LABEL: u32 = (1 << 20) - 1;

impl<'a> Parser<'a> {
    /// A primitive; with its qualifiers in front of parentheses, a list of them.
    pub(super) fn primitive(&mut self) -> Result<Expression, FilterError> {
        let word = self.peek();
        if self.peek_after(1).text == "[" || word.text == "len" {
            return Ok(Expression::Is(self.comparison()?));
        }
        match word.text {
            "src" | "dst" | "host" | "net" | "port" | "portrange" | "proto" => return self.qualified(Layer::Any),
            "ip" => return self.ip(Version::V4),
            "ip6" => return self.ip(Version::V6),
            "ether" => return self.ether(),
            _ => {}
        }
        if let Some(primitive) = self.keyword()? {
            self.qualifiers = Qualifiers::default();
            return Ok(Expression::Is(primitive));
        }
        if let Some((number, version)) = names::protocol(word.text) {
            self.next();
            if self.is_qualifier() {
                return self.qualified(Layer::Transport(number));
            }
            return Ok(self.of_ip(version, Some(number)));
        }
        if let Some(why) = names::unsupported(word.text) {
            return Err(unsupported(word, word.text, why));
        }
        Ok(Expression::Is(self.value()?))
    }

    /// A primitive that needs no qualifiers.
    fn keyword(&mut self) -> Result<Option<Primitive>, FilterError> {
        let word = self.peek();
        let primitive = match word.text {
            "broadcast" => Primitive::Broadcast,
            "multicast" => Primitive::Multicast,
            "fragment" => Primitive::Fragment,
            "inbound" => Primitive::Way(Direction::Ingress),
            "outbound" => Primitive::Way(Direction::Egress),
            "vlan" => Primitive::Vlan(self.number_after(1, 4095, VLAN)?.and_then(|number| u16::try_from(number).ok())),
            "mpls" => Primitive::Mpls(self.number_after(0, LARGEST_LABEL, LABEL)?),
            "less" => self.length(Relation::LessOrEqual)?,
            "greater" => self.length(Relation::GreaterOrEqual)?,
            _ => return Ok(None),
        };
        self.next();
        Ok(Some(primitive))
    }

    /// The number from `low` to `high` that may follow a keyword; the parser is at the last of the two afterwards.
    fn number_after(&mut self, low: u32, high: u32, expected: &'static str) -> Result<Option<u32>, FilterError> {
        let token = self.peek_after(1);
        if !token.text.starts_with(|c: char| c.is_ascii_digit()) {
            return Ok(None);
        }
        self.next();
        match names::number(token.text) {
            Some(number) if (low..=high).contains(&number) => Ok(Some(number)),
            _ => Err(unexpected(token, expected)),
        }
    }

    fn length(&mut self, relation: Relation) -> Result<Primitive, FilterError> {
        self.next();
        let token = self.peek();
        let number = names::number(token.text).ok_or_else(|| unexpected(token, LENGTH))?;
        Ok(Primitive::Compare(Comparison { quantity: Quantity::Length, mask: u32::MAX, relation, number }))
    }

    /// What begins with `ip` or `ip6`.
    fn ip(&mut self, version: Version) -> Result<Expression, FilterError> {
        let word = self.next();
        let after = self.peek();
        match after.text {
            "multicast" => {
                self.next();
                self.qualifiers = Qualifiers::default();
                let network = address::multicast(version);
                Ok(Expression::Is(Primitive::Network { ends: Ends::Destination, network }))
            }
            "broadcast" => Err(unsupported(word, format!("{} broadcast", word.text), NETMASK)),
            "protochain" => Err(unsupported(after, after.text, names::unsupported(after.text).unwrap_or_default())),
            _ if self.is_qualifier() => self.qualified(Layer::Ip(version)),
            _ => Ok(self.of_ip(Some(version), None)),
        }
    }

    /// What begins with `ether`.
    fn ether(&mut self) -> Result<Expression, FilterError> {
        self.next();
        let after = self.peek();
        if matches!(after.text, "broadcast" | "multicast") {
            return self.primitive();
        }
        if self.is_qualifier() { self.qualified(Layer::Ether) } else { Err(unexpected(after, AFTER_ETHER)) }
    }

    fn of_ip(&mut self, version: Option<Version>, protocol: Option<u8>) -> Expression {
        self.qualifiers = Qualifiers::default();
        Expression::Is(Primitive::Ip { version, protocol })
    }

    fn is_qualifier(&self) -> bool {
        matches!(self.peek().text, "src" | "dst" | "host" | "net" | "port" | "portrange" | "proto")
    }

    /// Qualifiers after `layer`, and the value or the list of values that they are for.
    fn qualified(&mut self, layer: Layer) -> Result<Expression, FilterError> {
        let direction = self.direction();
        let token = self.peek();
        let kind = match (layer, token.text) {
            (Layer::Any | Layer::Ip(_), "host") => Kind::Host,
            (Layer::Any | Layer::Ip(_), "net") => Kind::Net,
            (Layer::Any, "port") => Kind::Port,
            (Layer::Any, "portrange") => Kind::PortRange,
            (Layer::Transport(number), "port") if protocol::has_ports(number) => Kind::Port,
            (Layer::Transport(number), "portrange") if protocol::has_ports(number) => Kind::PortRange,
            (Layer::Any | Layer::Ip(_), "proto") if direction.is_none() => Kind::Protocol,
            (Layer::Ether, "proto") if direction.is_none() => Kind::EtherType,
            (Layer::Ether, "host") => Kind::Mac,
            (Layer::Any, "proto") => return Err(unexpected(token, AFTER_DIRECTION)),
            (Layer::Ip(_), "port" | "portrange" | "proto") => return Err(unexpected(token, AFTER_IP)),
            (Layer::Transport(number), _) if protocol::has_ports(number) => {
                return Err(unexpected(token, AFTER_TRANSPORT));
            }
            (Layer::Transport(_), _) => return Err(unexpected(token, "`and`, `or` or the end")),
            (Layer::Ether, "net" | "port" | "portrange" | "proto") => return Err(unexpected(token, AFTER_ETHER)),
            (Layer::Ether, _) => Kind::Mac,
            (Layer::Any | Layer::Ip(_), _) => Kind::Address,
        };
        // Otherwise the value itself follows.
        if matches!(token.text, "host" | "net" | "port" | "portrange" | "proto") {
            self.next();
        }
        self.qualifiers = Qualifiers { layer, ends: direction.unwrap_or(Ends::Either), kind };
        if self.peek().text == "(" { self.group() } else { Ok(Expression::Is(self.value()?)) }
    }

    fn direction(&mut self) -> Option<Ends> {
        let (first, other) = match self.peek().text {
            "src" => (Ends::Source, "dst"),
            "dst" => (Ends::Destination, "src"),
            _ => return None,
        };
        self.next();
        let both = match (self.peek().text, self.peek_after(1).text) {
            ("or" | "||", second) if second == other => Ends::Either,
            ("and" | "&&", second) if second == other => Ends::Both,
            _ => return Some(first),
        };
        self.next();
        self.next();
        Some(both)
    }

    /// A value, by the qualifiers that hold for it.
    fn value(&mut self) -> Result<Primitive, FilterError> {
        let Qualifiers { layer, ends, kind } = self.qualifiers;
        let token = self.next();
        let protocol = match layer {
            Layer::Transport(number) => Some(number),
            _ => None,
        };
        let version = match layer {
            Layer::Ip(version) => Some(version),
            _ => None,
        };
        Ok(match kind {
            Kind::Bare | Kind::Address | Kind::Host | Kind::Net => self.network(token, ends, kind, version)?,
            Kind::Port => {
                let port = port(token.text).ok_or_else(|| unexpected(token, PORT))?;
                Primitive::Port { ends, protocol, low: port, high: port }
            }
            Kind::PortRange => {
                let (low, high) = port_range(token.text).ok_or_else(|| unexpected(token, RANGE))?;
                Primitive::Port { ends, protocol, low, high }
            }
            Kind::Protocol => Primitive::Ip { version, protocol: Some(protocol_number(token)?) },
            Kind::EtherType => Primitive::EtherType(ethertype(token)?),
            Kind::Mac => Primitive::Mac { ends, mac: names::mac(token.text).ok_or_else(|| unexpected(token, MAC))? },
        })
    }

    fn network(
        &mut self,
        token: Token<'a>,
        ends: Ends,
        kind: Kind,
        version: Option<Version>,
    ) -> Result<Primitive, FilterError> {
        let slash = self.peek();
        let (prefix, mask) = match slash.text {
            "/" if kind == Kind::Host => return Err(unexpected(slash, SINGLE)),
            "/" => {
                self.next();
                (Some(self.next()), None)
            }
            "mask" if kind == Kind::Net => {
                self.next();
                (None, Some(self.next()))
            }
            _ => (None, None),
        };
        // A single number is a network, and nothing else: `net 10`, `10/8`.
        let one_number = kind == Kind::Net || prefix.is_some();
        let address = address::address(token.text, one_number);
        let address = address.ok_or_else(|| unexpected(token, if kind == Kind::Bare { BARE } else { ADDRESS }))?;
        if let Some(version) = version.filter(|version| *version != address.version) {
            return Err(unexpected(token, if version == Version::V4 { "an IPv4 address" } else { "an IPv6 address" }));
        }
        let network = match (prefix, mask) {
            (Some(prefix), _) => address::with_prefix(address, token, prefix)?,
            (_, Some(mask)) => address::with_mask(address, token, mask)?,
            _ => address,
        };
        Ok(Primitive::Network { ends, network })
    }
}

fn port(text: &str) -> Option<u16> {
    names::service(text).or_else(|| u16::try_from(names::number(text)?).ok())
}

/// Two ports, or one; in either order, as pcap has it.
fn port_range(text: &str) -> Option<(u16, u16)> {
    if let Some(port) = port(text) {
        return Some((port, port));
    }
    // Names may hold a `-` themselves.
    let halves =
        text.match_indices('-').find_map(|(place, _)| Some((port(&text[..place])?, port(&text[place + 1..])?)));
    halves.map(|(one, other)| (one.min(other), one.max(other)))
}

fn protocol_number(token: Token<'_>) -> Result<u8, FilterError> {
    let name = token.text.trim_start_matches('\\');
    let number = names::protocol(name).map(|(number, _)| number);
    number.or_else(|| u8::try_from(names::number(name)?).ok()).ok_or_else(|| unexpected(token, PROTOCOL))
}

fn ethertype(token: Token<'_>) -> Result<u16, FilterError> {
    use flowprobe_ebpf::parse::{IPV4, IPV6};

    let name = token.text.trim_start_matches('\\');
    if let Some(why) = names::unsupported(name) {
        return Err(unsupported(token, name, why));
    }
    match name {
        "ip" => Ok(IPV4),
        "ip6" => Ok(IPV6),
        _ => names::number(name)
            .and_then(|number| u16::try_from(number).ok())
            .ok_or_else(|| unexpected(token, ETHERTYPE)),
    }
}
