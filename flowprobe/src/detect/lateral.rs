//! Lateral movement: an inside host that administers others all of a sudden.

use serde::{Deserialize, Serialize};

use super::connection::{Connection, Outcome};
use super::finding::{Rule, Seen, Severity, Sighting};
use super::flow::{Flow, Ip, protocol};
use super::settings::Span;
use super::sketch::recent::Recent;
use super::words::{counted, listed, span};
use super::{Context, Detector};

static LATERAL: Rule = Rule { name: "lateral-movement", technique: Some("T1021"), quiet_ms: 2 * 3_600_000 };

/// When administration is out of the ordinary.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LateralSettings {
    /// TCP ports by which hosts are administered.
    pub ports: Vec<u16>,
    /// Inside hosts that are new for a source, within [`LateralSettings::within`].
    pub hosts: usize,
    /// The same as long as [`LateralSettings::learning`] is not over.
    pub hosts_at_first: usize,
    /// The time in which they count together.
    pub within: Span,
    /// From the first flow on, the time in which it is learned who administers what.
    pub learning: Span,
}

impl Default for LateralSettings {
    fn default() -> Self {
        Self {
            // SSH, Telnet, RPC, NetBIOS, SMB, RDP, VNC, WinRM.
            ports: vec![22, 23, 135, 139, 445, 3389, 5900, 5985, 5986],
            hosts: 5,
            hosts_at_first: 12,
            within: Span::hours(4),
            learning: Span::hours(24),
        }
    }
}

/// Sources that are remembered.
const SOURCES: usize = 1 << 15;

/// Hosts that are remembered of each, with the port; the longest unused are forgotten.
const KNOWN: usize = 128;

/// What a source has not used for so long is new to it.
const REMEMBERED_MS: i64 = 60 * 86_400_000;

/// Looks for hosts that administer others.
#[derive(Debug)]
pub(crate) struct Lateral {
    settings: LateralSettings,
    memory: Memory,
}

/// What survives a restart.
#[derive(Debug, Serialize, Deserialize)]
struct Memory {
    begun_ms: Option<i64>,
    sources: Recent<Ip, Administrator>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Administrator {
    /// Whom, at which port, since when, and when last.
    known: Vec<(Ip, u16, i64, i64)>,
    /// Of the new ones, how many were said.
    told: usize,
    told_ms: i64,
    evidence: Vec<Flow>,
}

impl Detector for Lateral {
    fn judged(&mut self, connection: &Connection, outcome: Outcome, context: Context<'_>, seen: &mut Seen) {
        let begun_ms = *self.memory.begun_ms.get_or_insert(context.now_ms);
        let is_administration = connection.protocol == protocol::TCP
            && outcome == Outcome::Answered
            && self.settings.ports.contains(&connection.server_port);
        if !is_administration
            || !context.site.is_inside(connection.client)
            || !context.site.is_inside(connection.server)
        {
            return;
        }
        let source = self.memory.sources.entry(connection.client, Administrator::default);
        if !source.note(connection) {
            return;
        }
        let is_learned = context.now_ms - begun_ms > self.settings.learning.0;
        let enough = if is_learned { self.settings.hosts } else { self.settings.hosts_at_first };
        seen.extend(source.sighting(connection, enough, self.settings.within.0));
    }

    fn skip(&mut self, ms: i64) {
        self.memory.begun_ms = self.memory.begun_ms.map(|begun_ms| begun_ms + ms);
    }

    fn name(&self) -> &'static str {
        "lateral-1"
    }

    fn learned(&self) -> Option<Vec<u8>> {
        postcard::to_stdvec(&self.memory).ok()
    }

    fn go_on_with(&mut self, learned: &[u8]) -> bool {
        postcard::from_bytes(learned).map(|learned| self.memory = learned).is_ok()
    }

    fn memory(&self) -> (usize, u64) {
        (self.memory.sources.len(), self.memory.sources.forgotten())
    }
}

impl Lateral {
    /// A detector that has seen nothing yet.
    pub(crate) fn new(settings: LateralSettings) -> Self {
        Self { settings, memory: Memory { begun_ms: None, sources: Recent::new(SOURCES) } }
    }
}

impl Administrator {
    /// Whether the host is new to it.
    fn note(&mut self, connection: &Connection) -> bool {
        let now_ms = connection.start_ms;
        self.known.retain(|(.., last_ms)| now_ms - last_ms <= REMEMBERED_MS);
        let is_same =
            |known: &&mut (Ip, u16, i64, i64)| (known.0, known.1) == (connection.server, connection.server_port);
        if let Some(known) = self.known.iter_mut().find(is_same) {
            known.3 = known.3.max(now_ms);
            return false;
        }
        if self.known.len() >= KNOWN
            && let Some(oldest) = (0..KNOWN).min_by_key(|index| self.known[*index].3)
        {
            self.known.swap_remove(oldest);
        }
        let is_new = !self.known.iter().any(|known| known.0 == connection.server);
        self.known.push((connection.server, connection.server_port, now_ms, now_ms));
        if is_new {
            if self.evidence.len() >= 8 {
                self.evidence.remove(0);
            }
            self.evidence.push(connection.to_flow());
        }
        is_new
    }

    fn sighting(&mut self, connection: &Connection, enough: usize, within_ms: i64) -> Option<Sighting> {
        let now_ms = connection.start_ms;
        let lately = self.known.iter().filter(|(_, _, since_ms, _)| (now_ms - since_ms).abs() <= within_ms);
        let mut hosts: Vec<Ip> = lately.clone().map(|(host, ..)| *host).collect();
        let mut ports: Vec<u16> = lately.clone().map(|(_, port, ..)| *port).collect();
        let first_ms = lately.map(|(_, _, since_ms, _)| *since_ms).min().unwrap_or(now_ms).min(now_ms);
        hosts.sort_unstable();
        hosts.dedup();
        ports.sort_unstable();
        ports.dedup();
        if now_ms - self.told_ms > within_ms {
            self.told = 0;
        }
        // Said again when there are half as many again.
        if hosts.len() < enough || hosts.len() * 2 < self.told * 3 {
            return None;
        }
        (self.told, self.told_ms) = (hosts.len(), now_ms);
        let count = hosts.len() as u64;
        let client = connection.client;
        let before = self.known.len() - hosts.len().min(self.known.len());
        Some(Sighting {
            rule: &LATERAL,
            severity: Severity::Medium,
            subject: client.into(),
            matter: String::new(),
            title: format!("{client} administers {} that it never did before", counted(count, "host")),
            explanation: format!(
                "{client} connected to {} of the inside at TCP {} {} within {}, none of which it had connected to there before: {}. It had known {}.",
                counted(count, "host"),
                if ports.len() == 1 { "port" } else { "ports" },
                listed(&ports, ports.len() as u64),
                span(now_ms - first_ms),
                listed(&hosts, count),
                if before == 0 { "none until then".into() } else { counted(before as u64, "other") },
            ),
            peers: hosts,
            first_ms,
            last_ms: now_ms,
            evidence: self.evidence.clone(),
        })
    }
}
