//! Hosts, protocols and ports as policies name them.

use std::net::IpAddr;

use ipnet::IpNet;

use super::super::flow::{Ip, protocol};
use super::super::site::Range;
use super::rules::NumberOrText;

/// Ranges of ports, both ends included.
pub(super) type Ports = Vec<(u16, u16)>;

/// Some hosts, or all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Term {
    is_not: bool,
    word: Word,
    /// Of [`Word::Network`].
    pub(super) network: Option<IpNet>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Any,
    Inside,
    Outside,
    Network,
}

impl Term {
    /// Everybody.
    pub(super) const ANY: Self = Self { is_not: false, word: Word::Any, network: None };

    fn parse(text: &str) -> Option<Self> {
        let (is_not, rest) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest.trim_start()));
        let word = |word| Some(Self { is_not, word, network: None });
        match rest {
            "any" => word(Word::Any),
            "inside" => word(Word::Inside),
            "outside" => word(Word::Outside),
            _ => {
                let network = rest.parse::<IpNet>().or_else(|_| rest.parse::<IpAddr>().map(IpNet::from)).ok()?;
                Some(Self { is_not, word: Word::Network, network: Some(network) })
            }
        }
    }

    /// Whether an address is among those that it names, or would name without `!`.
    fn names(&self, ip: Ip, is_inside: bool) -> bool {
        match self.word {
            Word::Any => true,
            Word::Inside => is_inside,
            Word::Outside => !is_inside,
            Word::Network => self.network.is_some_and(|network| Range::from(network).has(ip)),
        }
    }

    /// Whether a list has an address: one of those that it names, or any where it names none, and none of those with `!`.
    pub(super) fn have(terms: &[Self], ip: Ip, is_inside: bool) -> bool {
        let mut named = terms.iter().filter(|term| !term.is_not).peekable();
        let is_named = named.peek().is_none() || named.any(|term| term.names(ip, is_inside));
        is_named && !terms.iter().any(|term| term.is_not && term.names(ip, is_inside))
    }

    /// Whether all that another term names is among what this one names.
    fn covers(&self, other: &Self) -> bool {
        match (self.network, other.network) {
            (Some(own), Some(others)) => own.contains(&others),
            (Some(own), None) => own.prefix_len() == 0 && matches!(own, IpNet::V6(_)),
            (None, _) => self.word == Word::Any || self.word == other.word,
        }
    }
}

/// Reads hosts. `key` is where they are written.
pub(super) fn terms(key: &str, list: &[String]) -> Result<Vec<Term>, String> {
    if list.is_empty() {
        return Err(format!("{key} is an empty list, which nobody is in; leave it out for any"));
    }
    let parse = |text: &String| {
        Term::parse(text.trim()).ok_or_else(|| {
            format!("{key} has \"{text}\", which is neither an address, a network such as 10.0.5.0/24, nor inside, outside or any")
        })
    };
    let terms: Vec<Term> = list.iter().map(parse).collect::<Result<_, _>>()?;
    let without = |term: &Term| terms.iter().any(|not| not.is_not && not.covers(term));
    let not = |word| terms.iter().any(|term| term.is_not && term.word == word);
    let nobody = not(Word::Any) || not(Word::Inside) && not(Word::Outside);
    let mut named = terms.iter().filter(|term| !term.is_not).peekable();
    if nobody || named.peek().is_some() && named.all(without) {
        return Err(format!("nobody is in {key} ({}): what it names is taken away again", list.join(", ")));
    }
    Ok(terms)
}

/// Why nobody of these clients can talk to any of these servers.
pub(super) fn fault(from: &[Term], to: &[Term]) -> Option<String> {
    let family = |terms: &[Term], is_v4: bool| {
        let mut named = terms.iter().filter(|term| !term.is_not).peekable();
        named.peek().is_some()
            && named.all(|term| term.network.is_some_and(|network| matches!(network, IpNet::V4(_)) == is_v4))
    };
    let is_apart = family(from, true) && family(to, false) || family(from, false) && family(to, true);
    is_apart
        .then(|| "its clients and its servers are of different versions of IP, so no conversation matches".to_owned())
}

/// Reads ports. `key` is where they are written.
pub(super) fn ports(key: &str, list: &[NumberOrText]) -> Result<Ports, String> {
    if list.is_empty() {
        return Err(format!("{key} is an empty list, which no port is in; leave it out for any"));
    }
    let parse = |item: &NumberOrText| {
        let text = match item {
            NumberOrText::Number(number) => number.to_string(),
            NumberOrText::Text(text) => text.trim().to_owned(),
        };
        let (first, last) = text.split_once('-').unwrap_or((&text, &text));
        match (first.trim().parse::<u16>(), last.trim().parse::<u16>()) {
            (Ok(first), Ok(last)) if first <= last => Ok((first, last)),
            (Ok(first), Ok(last)) => Err(format!("{key} has \"{text}\", which no port is in; {last}-{first} is meant")),
            _ => Err(format!(
                "{key} has \"{text}\", which is neither a port from 0 to 65535 nor a range such as 8000-8100"
            )),
        }
    };
    list.iter().map(parse).collect()
}

const NAMES: [(&str, u8); 14] = [
    ("icmp", protocol::ICMP),
    ("igmp", 2),
    ("ipip", 4),
    ("tcp", protocol::TCP),
    ("udp", protocol::UDP),
    ("dccp", 33),
    ("ipv6", 41),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmpv6", protocol::ICMPV6),
    ("ospf", 89),
    ("sctp", 132),
    ("udplite", 136),
];

/// Reads a protocol, by name or IANA number.
pub(super) fn protocol_number(item: &NumberOrText) -> Result<u8, String> {
    let text = match item {
        NumberOrText::Number(number) => number.to_string(),
        NumberOrText::Text(text) => text.trim().to_ascii_lowercase(),
    };
    let known = NAMES.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
    known.or_else(|| text.parse().ok()).ok_or_else(|| {
        let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
        format!("protocols has \"{text}\", which is neither a number from 0 to 255 nor one of {}", names.join(", "))
    })
}

/// The name of a protocol, or its number.
pub(super) fn protocol_name(number: u8) -> String {
    NAMES
        .iter()
        .find(|(_, known)| *known == number)
        .map_or_else(|| format!("protocol {number}"), |(name, _)| (*name).to_owned())
}
