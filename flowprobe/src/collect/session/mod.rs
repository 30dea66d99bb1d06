//! What a listener knows of the exporters that send to it: their templates, how their sequence numbers go on, and what their
//! options records have taught. Pure: it is handed messages and the time.
//!
//! ```text
//! Exporters ─► Host, an address ─► Domain, of one version: facts, templates in common, health
//!                              └─► Session: a source port or a connection: templates, sequence, sets that wait
//! ```
//!
//! Everything is bounded ([`Limits`]). Over a bound, what has been idle longest goes, so that who sends keeps what is theirs;
//! all of it is counted. Looking for what is idle longest takes no time that depends on how much is known.

mod common;
mod domain;
mod held;
mod host;
mod intake;
mod limits;
mod sequence;
mod stock;
mod tally;
#[cfg(test)]
mod tests;
mod uptime;

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use hashbrown::HashMap;
use lru::LruCache;

use host::{Host, Way};
use intake::Shared;
pub use limits::Limits;

use super::health::{ExporterHealth, ListenerTotals};
use super::received::ReceivedRecords;
use super::wire::{Faults, open};

/// Whence a message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// The address and port that sent it.
    pub address: SocketAddr,
    /// The number of the connection, of TCP or TLS, which no other connection of this listener had or will have; `None` for
    /// datagrams.
    pub connection: Option<u64>,
}

/// When a message came.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Wall clock, microseconds since 1970-01-01 UTC.
    pub wall_us: u64,
    /// The clock by which waiting and idling are measured.
    pub monotonic: Instant,
}

/// The exporters that a listener knows.
#[derive(Debug)]
pub struct Exporters {
    shared: Shared,
    /// Those that sent last come first.
    hosts: LruCache<IpAddr, Host>,
    /// Whose an open connection is.
    connections: HashMap<u64, IpAddr>,
    totals: ListenerTotals,
    faults: Faults,
    swept: Option<Instant>,
}

impl Exporters {
    /// None yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            shared: Shared::new(limits),
            hosts: LruCache::unbounded(),
            connections: HashMap::new(),
            totals: ListenerTotals::default(),
            faults: Faults::default(),
            swept: None,
        }
    }

    /// Takes a message: a datagram, or what a connection's framing has cut out. What its records are is added to `out`, and
    /// before those what has waited for a template that came in it.
    pub fn take(&mut self, peer: &Peer, message: &[u8], now: Moment, out: &mut ReceivedRecords) {
        self.totals.messages += 1;
        self.totals.octets += message.len() as u64;
        let (header, content) = match open(message) {
            Ok(opened) => opened,
            Err(fault) => return self.faults.add(fault),
        };
        let address = peer.address.ip().to_canonical();
        let way = match peer.connection {
            None => Way::Port(peer.address.port()),
            Some(connection) => {
                self.connections.insert(connection, address);
                Way::Connection(connection)
            }
        };
        let shared = &mut self.shared;
        let host = self.hosts.get_or_insert_mut(address, || Host::new(address, now.monotonic, &shared.state));
        host.take((peer.address.port(), way), (message, &header, content), now, shared, out);
        self.totals.sessions_evicted += host.trim(&self.shared.limits);
        self.trim();
    }

    /// Forgets what a connection had, which is closed.
    pub fn closed(&mut self, connection: u64) {
        let Some(address) = self.connections.remove(&connection) else { return };
        if let Some(host) = self.hosts.peek_mut(&address) {
            host.close(Way::Connection(connection));
        }
    }

    /// Forgets what has waited or idled for too long. What has waited and can be read by the templates of others is added to
    /// `out`. To be called about once a second.
    pub fn expire(&mut self, now: Moment, out: &mut ReceivedRecords) {
        let limits = &self.shared.limits;
        let now = now.monotonic;
        let idle = |host: &Host| now.saturating_duration_since(host.seen) > limits.idle_for;
        while self.hosts.peek_lru().is_some_and(|(_, host)| idle(host)) {
            self.hosts.pop_lru();
            self.totals.addresses_expired += 1;
        }
        let sweep = self.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= limits.sweep_every);
        if sweep {
            self.swept = Some(now);
        }
        let shared = &mut self.shared;
        if sweep || shared.held.octets() > 0 {
            self.hosts.iter_mut().for_each(|(_, host)| host.expire(now, sweep, shared, out));
        }
    }

    /// Ends the waiting of all sets, since no more comes: what can be read by the templates of others is added to `out`.
    pub fn finish(&mut self, out: &mut ReceivedRecords) {
        let shared = &mut self.shared;
        self.hosts.iter_mut().for_each(|(_, host)| host.finish(shared, out));
    }

    /// How each exporter fares, in the order of their addresses, domains and versions.
    #[must_use]
    pub fn health(&self) -> Vec<ExporterHealth> {
        let mut all: Vec<ExporterHealth> = self.hosts.iter().flat_map(|(_, host)| host.health()).collect();
        all.sort_by_key(|health| (health.address, health.domain, health.version));
        all
    }

    /// What is known of the listener as a whole.
    #[must_use]
    pub fn totals(&self) -> ListenerTotals {
        ListenerTotals {
            addresses: self.hosts.len(),
            sessions: self.hosts.iter().map(|(_, host)| host.sessions()).sum(),
            state_octets: self.shared.state.octets(),
            held_octets: self.shared.held.octets(),
            faults: self.faults.by_name(),
            ..self.totals.clone()
        }
    }

    /// Lets addresses go that are too many, or with whose templates there is too much.
    fn trim(&mut self) {
        let limits = &self.shared.limits;
        while self.hosts.len() > limits.addresses.max(1)
            || self.shared.state.octets() > limits.state_octets_of_all && self.hosts.len() > 1
        {
            let Some((_, host)) = self.hosts.pop_lru() else { break };
            self.totals.addresses_evicted += 1;
            self.totals.sessions_evicted += host.sessions() as u64;
        }
    }
}
