//! What detectors of outward traffic share: services known to be good, and how many inside hosts talk to an outside one.

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::connection::Connection;
use super::flow::{Ip, protocol};
use super::site::{Range, Site};
use super::sketch::distinct::Distinct;
use super::sketch::recent::Recent;

const DAY_MS: i64 = 24 * 3_600_000;

/// So many hosts are counted anew with each that is added, more of them when as many have been added as there were.
const EXACT: u64 = 48;

/// A port, of one protocol or of TCP and UDP, written such as `udp/123` or `123`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// IANA number; without one, TCP and UDP.
    pub protocol: Option<u8>,
    /// Of the server.
    pub port: u16,
}

impl Service {
    /// A port of TCP and UDP.
    pub(crate) const fn any(port: u16) -> Self {
        Self { protocol: None, port }
    }

    pub(crate) fn is(self, protocol: u8, port: u16) -> bool {
        self.port == port && self.protocol.is_none_or(|own| own == protocol)
    }
}

impl<'de> Deserialize<'de> for Service {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u16),
            Text(String),
        }
        let text = match Written::deserialize(deserializer)? {
            Written::Number(port) => return Ok(Self::any(port)),
            Written::Text(text) => text,
        };
        let (protocol, port) = match text.split_once('/') {
            Some(("tcp", port)) => (Some(protocol::TCP), port),
            Some(("udp", port)) => (Some(protocol::UDP), port),
            None => (None, text.as_str()),
            Some(_) => (None, ""),
        };
        let expected = |_| de::Error::custom(format!("\"{text}\" is not a service such as udp/123, tcp/443 or 53"));
        Ok(Self { protocol, port: port.parse().map_err(expected)? })
    }
}

/// A server's port in words.
pub(crate) struct Port(pub(crate) u8, pub(crate) u16);

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            protocol::TCP => write!(f, "tcp/{}", self.1),
            protocol::UDP => write!(f, "udp/{}", self.1),
            other => write!(f, "protocol {other}"),
        }
    }
}

/// Networks and services that nothing is said about.
#[derive(Debug)]
pub(crate) struct KnownGood {
    networks: Vec<Range>,
    services: Vec<Service>,
}

impl KnownGood {
    pub(crate) fn new(networks: &[IpNet], services: &[Service]) -> Self {
        Self { networks: networks.iter().map(|network| (*network).into()).collect(), services: services.to_vec() }
    }

    pub(crate) fn has_service(&self, protocol: u8, port: u16) -> bool {
        self.services.iter().any(|service| service.is(protocol, port))
    }

    pub(crate) fn has_server(&self, ip: Ip) -> bool {
        self.networks.iter().any(|network| network.has(ip))
    }
}

/// Whether an inside host opened it to an outside one.
pub(crate) fn is_outward(connection: &Connection, site: &Site) -> bool {
    site.is_inside(connection.client) && site.is_outside(connection.server)
}

/// Different hosts, of this day and of the day before.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Talkers {
    day: i64,
    before: u64,
    today: Distinct,
    /// What `today` came to when it was counted last: beyond the exact ones, that takes microseconds.
    counted: u64,
    since_counted: u64,
}

impl Talkers {
    fn add(&mut self, client: Ip, day: i64) {
        if day != self.day {
            let is_next = day == self.day + 1;
            self.before = if is_next { self.today.count() } else { 0 };
            (self.today, self.counted, self.since_counted) = (Distinct::default(), 0, 0);
            self.day = day;
        }
        self.today.add(&client);
        self.since_counted += 1;
        if self.counted < EXACT || self.since_counted >= self.counted {
            (self.counted, self.since_counted) = (self.today.count(), 0);
        }
    }

    /// Of the fuller of the two days, so that midnight changes nothing.
    fn count(&self, day: i64) -> u64 {
        match day - self.day {
            0 => self.counted.max(self.before),
            1 => self.counted,
            _ => 0,
        }
    }
}

/// How many inside hosts talk to each outside host and to its network (/24, /48), of how many that talk outside at all. Exact for up to 48
/// hosts, from there on with the standard error of [`Distinct`], 3.3 %.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Prevalence {
    servers: Recent<Ip, Talkers>,
    networks: Recent<Ip, Talkers>,
    all: Talkers,
    day: i64,
}

impl Prevalence {
    /// Room for so many outside hosts, and half as many networks: at most a kilobyte each.
    pub(crate) fn new(most: usize) -> Self {
        Self { servers: Recent::new(most), networks: Recent::new(most / 2), all: Talkers::default(), day: 0 }
    }

    /// An inside host talks to an outside one.
    pub(crate) fn note(&mut self, client: Ip, server: Ip, now_ms: i64) {
        self.day = now_ms.div_euclid(DAY_MS);
        self.all.add(client, self.day);
        self.servers.entry(server, Talkers::default).add(client, self.day);
        self.networks.entry(server.network(), Talkers::default).add(client, self.day);
    }

    /// Inside hosts that talk to it.
    pub(crate) fn talkers(&self, server: Ip) -> u64 {
        self.servers.get(&server).map_or(0, |talkers| talkers.count(self.day))
    }

    /// Whether so many talk to it, and such a share of all that talk outside.
    pub(crate) fn is_prevalent(&self, server: Ip, hosts: u64, percent: u64) -> bool {
        self.is_many(self.talkers(server), hosts, percent)
    }

    /// The same of its network.
    pub(crate) fn is_network_prevalent(&self, server: Ip, hosts: u64, percent: u64) -> bool {
        let count = self.networks.get(&server.network()).map_or(0, |talkers| talkers.count(self.day));
        self.is_many(count, hosts, percent)
    }

    fn is_many(&self, count: u64, hosts: u64, percent: u64) -> bool {
        count >= hosts.max(1) && count * 100 >= self.all.count(self.day) * percent
    }

    /// Entries, and how many were forgotten.
    pub(crate) fn memory(&self) -> (usize, u64) {
        (self.servers.len() + self.networks.len(), self.servers.forgotten() + self.networks.forgotten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_read() {
        let read = |text: &str| serde_json::from_str::<Service>(text);
        assert_eq!(read("\"udp/123\"").expect("udp"), Service { protocol: Some(17), port: 123 });
        assert_eq!(read("53").expect("a number"), Service::any(53));
        assert_eq!(read("\"53\"").expect("a text"), Service::any(53));
        for wrong in ["\"sctp/1\"", "\"tcp/\"", "\"tcp/70000\"", "\"\"", "70000"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!(Service::any(53).is(6, 53) && !Service { protocol: Some(17), port: 53 }.is(6, 53));
    }

    #[test]
    fn prevalence_is_a_share_and_survives_midnight() {
        let mut prevalence = Prevalence::new(1000);
        let (server, rare) = (Ip(0xffff_0101_0101), Ip(0xffff_0202_0202));
        for client in 0..40 {
            prevalence.note(Ip(client), server, DAY_MS - 1);
            prevalence.note(Ip(client + 1000), Ip(0xffff_0303_0000 + client), DAY_MS - 1);
        }
        for client in 0..3 {
            prevalence.note(Ip(client), rare, DAY_MS - 1);
        }
        assert!(prevalence.is_prevalent(server, 3, 10) && !prevalence.is_prevalent(rare, 3, 10));
        assert!(!prevalence.is_prevalent(Ip(0xffff_0303_0001), 3, 10));
        assert!(prevalence.is_network_prevalent(Ip(0xffff_0303_0001), 3, 10));
        prevalence.note(Ip(1), rare, DAY_MS + 1);
        assert_eq!((prevalence.talkers(server), prevalence.talkers(rare)), (40, 3));
        prevalence.note(Ip(1), rare, 3 * DAY_MS);
        assert_eq!((prevalence.talkers(server), prevalence.talkers(rare)), (0, 1));
    }

    #[test]
    fn there_are_never_too_many() {
        let mut prevalence = Prevalence::new(1000);
        for number in 0..200_000_u128 {
            prevalence.note(Ip(number), Ip(0xffff_0000_0000 + number * 256), 0);
        }
        assert!(prevalence.memory().0 <= 1500 && prevalence.memory().1 > 200_000);
    }
}
