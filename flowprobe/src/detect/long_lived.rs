//! Long-lived connections to the outside: tunnels, remote control, and what else stays for hours.

mod table;
#[cfg(test)]
mod tests;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::connection::{Connection, Outcome};
use super::finding::{Rule, Seen, Severity, Sighting};
use super::flow::{Flow, protocol};
use super::outward::{KnownGood, Port, Prevalence, Service, is_outward};
use super::settings::{Octets, Span};
use super::words::{octets, span};
use super::{Context, Detector};
use table::{Line, Table, Who};

/// Protocol Tunneling, of the tactic Command and Control.
static RULE: Rule = Rule { name: "long-lived-connection", technique: Some("T1572"), quiet_ms: 3 * 3_600_000 };

/// Outside hosts whose inside talkers are counted.
const SERVERS: usize = 1 << 14;

/// Outside hosts whose long connections are counted.
const HELD: usize = 1 << 12;

/// From this share of [`LongLivedSettings::lasts`] on a connection counts among those of its server's network.
const COUNTS: i64 = 8;

/// One that goes on is said again after this time, so that its finding stays open.
const AGAIN_MS: i64 = 2 * 3_600_000;

/// Settings of [`LongLived`].
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LongLivedSettings {
    /// Whether it is looked for.
    pub enabled: bool,
    /// From this duration on.
    pub lasts: Span,
    /// Records of the same addresses and ports are one connection as long as the pauses between them are no longer.
    pub pause: Span,
    /// Fewer octets, of both together, are keep-alives: these are said only from three times [`LongLivedSettings::lasts`] on.
    pub octets: Octets,
    /// Medium severity when the inside host has sent so much, and twice as much as it received.
    pub upload: Octets,
    /// An outside host is common, and nothing is said of it, when so many inside hosts talk to it on a day …
    pub common_hosts: u64,
    /// … and such a share of all that talk outside, percent.
    pub common_percent: u64,
    /// Networks of servers that nothing is said about.
    pub known_good: Vec<IpNet>,
    /// Services that nothing is said about.
    pub known_good_services: Vec<Service>,
}

impl Default for LongLivedSettings {
    fn default() -> Self {
        // DNS and NTP from a fixed port; mail that is pushed (IMAP IDLE); push (XMPP, Apple, Google), MQTT.
        let services = [53, 123, 853, 143, 993, 5222, 5223, 5228, 5229, 5230, 1883, 8883].map(Service::any);
        Self {
            enabled: true,
            lasts: Span::hours(8),
            pause: Span::minutes(45),
            octets: Octets(25_000),
            upload: Octets(1_000_000),
            common_hosts: 3,
            common_percent: 10,
            known_good: Vec::new(),
            known_good_services: services.to_vec(),
        }
    }
}

/// What has been seen up to here.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LongLivedState {
    table: Table,
    prevalence: Prevalence,
    /// The same of those that last: who holds one, of all that hold one.
    holders: Prevalence,
}

impl Default for LongLivedState {
    fn default() -> Self {
        Self { table: Table::default(), prevalence: Prevalence::new(SERVERS), holders: Prevalence::new(HELD) }
    }
}

/// Finds connections of an inside host to an outside one that go on for hours, while they do.
#[derive(Debug)]
pub(crate) struct LongLived {
    settings: LongLivedSettings,
    known: KnownGood,
    state: LongLivedState,
}

impl LongLived {
    /// Goes on from a state.
    pub(crate) fn new(settings: LongLivedSettings, state: LongLivedState) -> Self {
        let known = KnownGood::new(&settings.known_good, &settings.known_good_services);
        Self { settings, known, state }
    }

    /// What has been seen, to go on from after a restart.
    pub(crate) const fn state(&self) -> &LongLivedState {
        &self.state
    }

    fn say(&self, line: Line, flow: &Flow, is_sent: bool, seen: &mut Seen) {
        let [client, server] = if is_sent { [flow.source, flow.destination] } else { [flow.destination, flow.source] };
        let ports = [flow.source_port, flow.destination_port];
        let [client_port, server_port] = if is_sent { ports } else { [ports[1], ports[0]] };
        let is_inward = match line.who() {
            Who::Outside => true,
            Who::Inside => false,
            // The server's port is the lower one, and a well-known one has a server behind it.
            Who::Unknown => client_port < server_port && client_port < 1024,
        };
        let settings = &self.settings;
        if is_inward
            || self.known.has_service(flow.protocol, server_port)
            || self.known.has_server(server)
            // Two gateways that have a VPN between them.
            || flow.protocol == protocol::UDP && client_port == server_port
            || self.state.prevalence.is_prevalent(server, settings.common_hosts, settings.common_percent)
            // A service to which many stay connected has many servers.
            || self.state.holders.is_network_prevalent(server, settings.common_hosts, settings.common_percent)
        {
            return;
        }
        let port = Port(flow.protocol, server_port);
        let (sent, received) = (line.sent, line.received);
        let severity = if sent >= settings.upload.0 && sent >= received.saturating_mul(2) {
            Severity::Medium
        } else {
            Severity::Low
        };
        let lasts = span(line.lasts_ms());
        let evidence = Flow {
            source: client,
            destination: server,
            source_port: client_port,
            destination_port: server_port,
            protocol: flow.protocol,
            packets: line.packets.into(),
            octets: sent,
            start_ms: line.first_ms(),
            end_ms: line.last_ms(),
            interface: flow.interface,
            ..Flow::default()
        };
        seen.push(Sighting {
            rule: &RULE,
            severity,
            subject: client.into(),
            matter: format!("{server} {port}"),
            title: format!("{client} has been connected to {server} {port} for {lasts}"),
            explanation: format!(
                "A connection of {client} to {server} {port} has gone on for {lasts}, in which {client} sent {} and received {}. Tunnels, \
                 remote control and reverse shells stay like this; so do VPNs, push services and open terminals.",
                octets(sent),
                octets(received),
            ),
            peers: vec![server],
            first_ms: line.first_ms(),
            last_ms: line.last_ms(),
            evidence: vec![evidence],
        });
    }
}

impl Detector for LongLived {
    fn flow(&mut self, flow: &Flow, context: Context<'_>, seen: &mut Seen) {
        if !self.settings.enabled || flow.is_icmp() {
            return;
        }
        let is_sent = context.site.is_inside(flow.source);
        if is_sent == context.site.is_inside(flow.destination)
            || !flow.source.is_of_a_host()
            || !flow.destination.is_of_a_host()
        {
            return;
        }
        let Some(line) = self.state.table.take(flow, is_sent, self.settings.pause.0) else { return };
        let lasts_ms = line.lasts_ms();
        if !line.is_counted && line.who() != Who::Outside && lasts_ms >= self.settings.lasts.0 / COUNTS {
            line.is_counted = true;
            let (inside, outside) =
                if is_sent { (flow.source, flow.destination) } else { (flow.destination, flow.source) };
            self.state.holders.note(inside, outside, context.now_ms);
        }
        let is_idle = line.sent.saturating_add(line.received) < self.settings.octets.0;
        let enough_ms = self.settings.lasts.0.saturating_mul(if is_idle { 3 } else { 1 });
        if lasts_ms >= enough_ms && (line.said_ms() == 0 || lasts_ms >= line.said_ms() + AGAIN_MS) {
            line.is_said();
            let found = *line;
            self.say(found, flow, is_sent, seen);
        }
    }

    fn judged(&mut self, connection: &Connection, _outcome: Outcome, context: Context<'_>, _seen: &mut Seen) {
        if self.settings.enabled && is_outward(connection, context.site) {
            self.state.prevalence.note(connection.client, connection.server, context.now_ms);
        }
    }

    fn name(&self) -> &'static str {
        "long-lived-2"
    }

    fn learned(&self) -> Option<Vec<u8>> {
        postcard::to_stdvec(self.state()).ok()
    }

    fn go_on_with(&mut self, learned: &[u8]) -> bool {
        postcard::from_bytes(learned).map(|learned| self.state = learned).is_ok()
    }

    fn memory(&self) -> (usize, u64) {
        let LongLivedState { table, prevalence, holders } = &self.state;
        let parts = [table.memory(), prevalence.memory(), holders.memory()];
        parts.into_iter().fold((0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1))
    }
}
