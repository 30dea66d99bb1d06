//! What reaches every address on the internet: attempts of outside hosts that come to nothing. One finding for each host that they are
//! made at, with who makes them.

use serde::{Deserialize, Serialize};

use super::connection::{Connection, Outcome};
use super::finding::{Rule, Seen, Severity, Sighting};
use super::flow::{Flow, Ip, flag, protocol};
use super::sketch::distinct::Distinct;
use super::sketch::recent::Recent;
use super::words::{counted, grouped, span};
use super::{Context, Detector};

static PROBES: Rule = Rule { name: "probes", technique: Some("T1595.001"), quiet_ms: 6 * 3_600_000 };

/// From where on attempts of outside hosts are said.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ProbesSettings {
    /// Different outside hosts that try something at one inside host.
    pub sources: u64,
    /// Different ports of it that they try: peers of a file-sharing network look for one.
    pub ports: u64,
}

impl Default for ProbesSettings {
    fn default() -> Self {
        Self { sources: 10, ports: 5 }
    }
}

/// Inside hosts that are followed.
const HOSTS: usize = 4096;

/// It is said again when there are a tenth more sources, or after this time when there are any.
const AGAIN_MS: i64 = 10 * 60_000;

/// Sources that a sighting names.
const NAMED: usize = 1024;

/// Networks of which attempts are counted, for each host.
const NETWORKS: usize = 32;

/// A connection that ends by RST after so few packets of who opened it has only looked.
const A_LOOK: u64 = 6;

/// Looks at who tries what from outside.
#[derive(Debug)]
pub(crate) struct Probes {
    settings: ProbesSettings,
    hosts: Recent<Ip, Probed>,
}

/// What was tried at one host.
#[derive(Debug, Serialize, Deserialize)]
struct Probed {
    first_ms: i64,
    last_ms: i64,
    attempts: u64,
    sources: Distinct,
    ports: Distinct,
    /// The networks (/24, /48) with most attempts, with counts that may be too high by the smallest of them.
    networks: Vec<(u128, u64)>,
    fresh: Vec<Ip>,
    evidence: Vec<Flow>,
    told: (u64, i64),
}

impl Detector for Probes {
    fn judged(&mut self, connection: &Connection, outcome: Outcome, context: Context<'_>, seen: &mut Seen) {
        let is_echo = matches!(connection.protocol, protocol::ICMP | protocol::ICMPV6);
        if outcome.has_failed() || is_echo && outcome == Outcome::Answered {
            self.note(connection, context, seen);
        }
    }

    fn over(&mut self, connection: &Connection, context: Context<'_>, seen: &mut Seen) {
        let flags = connection.client_flags | connection.server_flags;
        if flags & flag::RST != 0 && connection.sent.packets <= A_LOOK {
            self.note(connection, context, seen);
        }
    }

    fn name(&self) -> &'static str {
        "probes-1"
    }

    fn learned(&self) -> Option<Vec<u8>> {
        postcard::to_stdvec(&self.hosts).ok()
    }

    fn go_on_with(&mut self, learned: &[u8]) -> bool {
        postcard::from_bytes(learned).map(|learned| self.hosts = learned).is_ok()
    }

    fn memory(&self) -> (usize, u64) {
        (self.hosts.len(), self.hosts.forgotten())
    }
}

impl Probes {
    /// A detector that has seen nothing yet.
    pub(crate) fn new(settings: ProbesSettings) -> Self {
        Self { settings, hosts: Recent::new(HOSTS) }
    }

    fn note(&mut self, connection: &Connection, context: Context<'_>, seen: &mut Seen) {
        if !context.site.is_inside(connection.server) || !context.site.is_outside(connection.client) {
            return;
        }
        let host = self.hosts.entry(connection.server, || Probed::begin(connection.start_ms));
        host.add(connection);
        let sources = host.sources.count();
        let (told, told_ms) = host.told;
        let grows = sources >= told + told.div_ceil(10) || sources > told && context.now_ms - told_ms >= AGAIN_MS;
        if sources >= self.settings.sources && host.ports.count() >= self.settings.ports && grows {
            host.told = (sources, context.now_ms);
            seen.push(host.sighting(connection.server, sources));
        }
    }
}

impl Probed {
    fn begin(at_ms: i64) -> Self {
        Self {
            first_ms: at_ms,
            last_ms: at_ms,
            attempts: 0,
            sources: Distinct::default(),
            ports: Distinct::default(),
            networks: Vec::new(),
            fresh: Vec::new(),
            evidence: Vec::new(),
            told: (0, 0),
        }
    }

    fn add(&mut self, connection: &Connection) {
        self.first_ms = self.first_ms.min(connection.start_ms);
        self.last_ms = self.last_ms.max(connection.end_ms);
        self.attempts += 1;
        self.sources.add(&connection.client);
        self.ports.add(&(connection.protocol, connection.server_port));
        let network = connection.client.network().0;
        // Space-Saving (Metwally et al., 2005): who comes new takes the place of who has least, with its count.
        if let Some((_, count)) = self.networks.iter_mut().find(|(known, _)| *known == network) {
            *count += 1;
        } else if self.networks.len() < NETWORKS {
            self.networks.push((network, 1));
        } else if let Some(least) = self.networks.iter_mut().min_by_key(|(_, count)| *count) {
            *least = (network, least.1 + 1);
        }
        if self.fresh.len() < NAMED && !self.fresh.contains(&connection.client) {
            self.fresh.push(connection.client);
        }
        if self.evidence.len() < 8 {
            self.evidence.push(connection.to_flow());
        }
    }

    fn sighting(&mut self, host: Ip, sources: u64) -> Sighting {
        let mut networks = self.networks.clone();
        networks.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let most: Vec<String> = networks
            .iter()
            .take(3)
            .map(|(network, count)| {
                let ip = Ip(*network);
                format!("{ip}/{} ({})", if ip.is_v4() { 24 } else { 48 }, grouped(*count))
            })
            .collect();
        Sighting {
            rule: &PROBES,
            severity: Severity::Low,
            subject: host.into(),
            matter: String::new(),
            title: format!("{host} is probed from outside"),
            explanation: format!(
                "{} made {} at {} of {host} within {} that came to nothing. Most of them came from {}.",
                counted(sources, "outside address"),
                counted(self.attempts, "attempt"),
                counted(self.ports.count(), "port"),
                span(self.last_ms - self.first_ms),
                most.join(", "),
            ),
            peers: std::mem::take(&mut self.fresh),
            first_ms: self.first_ms,
            last_ms: self.last_ms,
            evidence: std::mem::take(&mut self.evidence),
        }
    }
}
