//! SYN floods: attempts to open connections to one port of a host of which hardly any come to something (RFC 4987).

use serde::Deserialize;

use super::connection::{Connection, Outcome};
use super::finding::{Rule, Seen, Severity, Sighting};
use super::flow::{Flow, Ip, flag, protocol};
use super::sketch::window::Peak;
use super::victim::{Victim, Victims, mixed};
use super::words::{counted, grouped, listed, span};
use super::{Context, Detector};

static SYN_FLOOD: Rule = Rule { name: "syn-flood", technique: Some("T1499.001"), quiet_ms: 3 * 60_000 };

/// A flood this many times above the bar is no accident.
const FAR: u64 = 10;

/// Seconds over which a rate must be kept up.
const SECONDS: u64 = 10;

/// After this time it is known of nearly all attempts whether they came to something.
const JUDGED_MS: i64 = 12_000;

/// From so many sources on in ten seconds, few attempts of each are a flood as well. Clients of a server that is down are fewer.
const MANY_SOURCES: u64 = 500;

/// Attempts of a source in ten seconds that are more than a client makes whose server is down (RFC 6298: again after 1, 3, 7 s), with
/// six connections at once, as browsers open.
const MANY_OF_ONE: u64 = 32;

/// From where on attempts are a flood.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SynFloodSettings {
    /// Attempts a second at one port of a host, kept up for ten seconds.
    pub attempts_per_second: u64,
    /// Attempts for each connection there that gets established.
    pub attempts_per_connection: u64,
}

impl Default for SynFloodSettings {
    fn default() -> Self {
        Self { attempts_per_second: 100, attempts_per_connection: 3 }
    }
}

/// What is counted of each port of a host.
mod is {
    /// Packets with SYN and no ACK.
    pub(super) const ATTEMPT: usize = 0;
    /// Flows with an ACK to it: each connection has one or more, so that there are no more connections than these.
    pub(super) const ACK: usize = 1;
    /// Connections of which it is known that they got established, by the time at which they began.
    pub(super) const ESTABLISHED: usize = 2;
    /// Flows from it with RST.
    pub(super) const REFUSED: usize = 3;
    /// How many there are.
    pub(super) const COUNTS: usize = 4;
}

/// Looks for SYN floods. What it knows is of seconds, so that none of it is kept over a restart.
#[derive(Debug)]
pub(crate) struct SynFlood {
    settings: SynFloodSettings,
    bar: u64,
    victims: Victims<(Ip, u16), { is::COUNTS }>,
}

impl SynFlood {
    /// A detector that has seen nothing yet.
    pub(crate) fn new(settings: &SynFloodSettings) -> Self {
        let bar = settings.attempts_per_second.saturating_mul(SECONDS);
        Self { settings: settings.clone(), bar, victims: Victims::new(bar) }
    }
}

impl Detector for SynFlood {
    fn flow(&mut self, flow: &Flow, context: Context<'_>, _seen: &mut Seen) {
        if flow.protocol != protocol::TCP {
            return;
        }
        let target = (flow.destination, flow.destination_port);
        if flow.is_attempt() {
            let hash = mixed(flow.destination, u64::from(flow.destination_port) | 1 << 16);
            if let Some(victim) = self.victims.of(target, hash, flow, flow.packets, context.now_ms) {
                victim.count(flow, [flow.packets, 0, 0, 0]);
                victim.blame(flow, flow.packets);
            }
            return;
        }
        if flow.tcp_flags & flag::ACK != 0
            && let Some(victim) = self.victims.known(&target)
        {
            victim.count(flow, [0, 1, 0, 0]);
        }
        if flow.tcp_flags & flag::RST != 0
            && let Some(victim) = self.victims.known(&(flow.source, flow.source_port))
        {
            victim.count(flow, [0, 0, 0, 1]);
        }
    }

    fn judged(&mut self, connection: &Connection, _outcome: Outcome, _context: Context<'_>, _seen: &mut Seen) {
        let both = flag::SYN | flag::ACK;
        if connection.protocol == protocol::TCP
            && connection.client_flags & both == both
            && let Some(victim) = self.victims.known(&(connection.server, connection.server_port))
        {
            victim.window.add(connection.start_ms, connection.start_ms, [0, 0, 1, 0]);
        }
    }

    fn advance(&mut self, context: Context<'_>, seen: &mut Seen) {
        let (bar, each, now_ms) = (self.bar, self.settings.attempts_per_connection, context.now_ms);
        let score = |counts: &[u64; is::COUNTS], end_ms| {
            let connections = connections(counts, end_ms, now_ms);
            if counts[is::ATTEMPT] >= connections.saturating_mul(each) { counts[is::ATTEMPT] } else { 0 }
        };
        self.victims.judge(now_ms, score, |(ip, port), victim, peak| {
            let is_flood = is_flood(victim, peak.counts[is::ATTEMPT], bar);
            if is_flood {
                seen.push(sighting(*ip, *port, victim, peak, connections(&peak.counts, peak.end_ms, now_ms), bar));
            }
            is_flood
        });
    }

    fn name(&self) -> &'static str {
        "syn-flood-1"
    }

    fn memory(&self) -> (usize, u64) {
        self.victims.memory()
    }
}

/// No fewer connections than were established.
fn connections(counts: &[u64; is::COUNTS], end_ms: i64, now_ms: i64) -> u64 {
    if now_ms - end_ms >= JUDGED_MS { counts[is::ACK].min(counts[is::ESTABLISHED]) } else { counts[is::ACK] }
}

/// Whether attempts are a flood, and not those of many clients whose server is down: those are some of each of some hundreds of clients.
fn is_flood(victim: &Victim<{ is::COUNTS }>, attempts: u64, bar: u64) -> bool {
    let sources = victim.sources().max(1);
    let largest = victim.heavy().largest().first().map_or(0, |(_, count)| *count);
    let of_largest = u128::from(largest) * u128::from(attempts) / u128::from(victim.heavy().total().max(1));
    sources >= MANY_SOURCES
        || attempts / sources >= MANY_OF_ONE
        || of_largest >= u128::from(bar) / 2
        || attempts >= bar.saturating_mul(FAR)
}

fn sighting(
    ip: Ip,
    port: u16,
    victim: &Victim<{ is::COUNTS }>,
    peak: &Peak<{ is::COUNTS }>,
    connections: u64,
    bar: u64,
) -> Sighting {
    let attempts = peak.counts[is::ATTEMPT];
    let by_one = victim.main_source();
    let is_refused = peak.counts[is::REFUSED] > attempts / 2;
    let sources = victim.about_sources();
    let severity = match by_one {
        Some(_) if is_refused => Severity::Low,
        _ if attempts >= bar.saturating_mul(FAR) => Severity::High,
        _ => Severity::Medium,
    };
    let rate = grouped(attempts / SECONDS);
    let lasts = span((victim.last_ms - victim.first_ms).max(1000));
    let (title, who) = match by_one {
        Some(source) => (
            format!("{source} floods {ip} port {port} with SYN"),
            format!(
                "{source} sent {} to open a connection to {ip} port {port} within {SECONDS} s ({rate} a second)",
                counted(attempts, "attempt")
            ),
        ),
        None => (
            format!("{ip} port {port} is flooded with SYN"),
            format!(
                "{ip} port {port} got {} to open a connection within {SECONDS} s ({rate} a second) from about {}, such as {}",
                counted(attempts, "attempt"),
                counted(sources, "source"),
                listed(&victim.main_sources(), 0)
            ),
        ),
    };
    let came_of_it = match connections {
        0 => "none was established".to_owned(),
        some => format!("at most {} got established", grouped(some)),
    };
    let means = match (by_one, is_refused) {
        (Some(_), true) => "Each is refused, as to a client that tries again and again without a pause.",
        (Some(_), false) => "Connections that are left half open fill the table of the server until it takes no more.",
        (None, _) => {
            "Sources of such a flood are made up, as a rule; a service with very many clients that has just gone down looks alike."
        }
    };
    Sighting {
        rule: &SYN_FLOOD,
        severity,
        subject: by_one.unwrap_or(ip).into(),
        matter: by_one.map_or_else(|| format!("tcp/{port}"), |_| format!("{ip} tcp/{port}")),
        title,
        explanation: format!("{who}; {came_of_it}. It has lasted {lasts} so far. {means}"),
        peers: by_one.map_or_else(|| victim.main_sources(), |_| vec![ip]),
        first_ms: victim.first_ms,
        last_ms: victim.last_ms,
        evidence: victim.evidence(),
    }
}

#[cfg(test)]
mod tests;
