//! Beacons: small exchanges with one outside host again and again, as regular as malware asks its control server for orders.

mod pairs;
mod rhythm;
#[cfg(test)]
mod tests;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::connection::{Connection, Outcome};
use super::finding::{Rule, Seen, Severity, Sighting};
use super::flow::{Flow, Ip, flag, protocol};
use super::outward::{KnownGood, Port, Prevalence, Service, is_outward};
use super::settings::{Octets, Span};
use super::words::{counted, octets, span};
use super::{Context, Detector};
use pairs::{Exchange, Pair, Pairs};
use rhythm::Rhythm;

/// Application Layer Protocol, of the tactic Command and Control.
static RULE: Rule = Rule { name: "beacon", technique: Some("T1071"), quiet_ms: 24 * 3_600_000 };

/// Outside hosts whose inside talkers are counted.
const SERVERS: usize = 1 << 15;

/// A beacon that goes on without doubling is said again after this time, so that its finding stays open.
const AGAIN_MS: i64 = 4 * 3_600_000;

/// One that has doubled is said again after this time.
const DOUBLED_MS: i64 = 10 * 60_000;

/// The time between two looks at the same pair, by its own connections.
const LOOK_MS: i64 = 30_000;

/// Periods below this are too short for the duration of an exchange to mean something.
const LINGER_MS: u32 = 60_000;

/// Score below which it is not a beacon, and from which on it is regular enough for medium severity. Jitter of ±40 %
/// with sizes that vary by a tenth has about 0.9; telemetry that depends on what the user does, 0.6 to 0.75.
const SCORES: (f64, f64) = (0.72, 0.8);

/// Intervals that are enough for medium severity, whatever the setting: not many more are remembered.
const MANY: usize = 40;

/// A larger datagram, or more of them at once, is a stream's.
const DATAGRAMS: (u64, u64) = (4, 2048);

/// QUIC's, whose packets on an open connection are keep-alives (RFC 9000 section 10.1.2).
const QUIC: u16 = 443;

/// Settings of [`Beacon`].
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct BeaconSettings {
    /// Whether it is looked for.
    pub enabled: bool,
    /// Regular intervals that make a beacon; twice as many for medium severity. 6 to 40.
    pub intervals: usize,
    /// The least time that it must have gone on for.
    pub lasts: Span,
    /// The most that client and server send in an exchange, by the median.
    pub octets: Octets,
    /// On ports 80 and 443, an answered beacon of such a period or a longer one is of low severity: update checks and
    /// telemetry are like that.
    pub slow: Span,
    /// An outside host is common, and not looked at, when so many inside hosts talk to it on a day …
    pub common_hosts: u64,
    /// … and such a share of all that talk outside, percent.
    pub common_percent: u64,
    /// Networks of servers that nothing is said about.
    pub known_good: Vec<IpNet>,
    /// Services that nothing is said about.
    pub known_good_services: Vec<Service>,
    /// Services whose clients are known to ask regularly: low severity.
    pub plausible_services: Vec<Service>,
}

impl Default for BeaconSettings {
    fn default() -> Self {
        // Mail (POP, IMAP, submission), SIP, push (XMPP, Apple, Google), MQTT, STUN and VPN keep-alives.
        let plausible =
            [110, 143, 465, 587, 993, 995, 5060, 5061, 5222, 5223, 5228, 5229, 5230, 1883, 8883, 3478, 3479];
        let vpn = [500, 1194, 4500, 51_820].map(|port| Service { protocol: Some(protocol::UDP), port });
        Self {
            enabled: true,
            intervals: 12,
            lasts: Span::minutes(5),
            octets: Octets(100_000),
            slow: Span::minutes(4),
            common_hosts: 3,
            common_percent: 10,
            known_good: Vec::new(),
            known_good_services: [25, 53, 123, 853].map(Service::any).to_vec(),
            plausible_services: plausible.map(Service::any).into_iter().chain(vpn).collect(),
        }
    }
}

/// What has been seen up to here.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BeaconState {
    pairs: Pairs,
    prevalence: Prevalence,
}

impl Default for BeaconState {
    fn default() -> Self {
        Self { pairs: Pairs::new(), prevalence: Prevalence::new(SERVERS) }
    }
}

/// Finds regular small exchanges of an inside host with one port of an outside one.
#[derive(Debug)]
pub(crate) struct Beacon {
    settings: BeaconSettings,
    known: KnownGood,
    state: BeaconState,
}

impl Beacon {
    /// Goes on from a state.
    pub(crate) fn new(settings: BeaconSettings, state: BeaconState) -> Self {
        let known = KnownGood::new(&settings.known_good, &settings.known_good_services);
        let settings = BeaconSettings { intervals: settings.intervals.clamp(6, 40), ..settings };
        Self { settings, known, state }
    }

    /// What has been seen, to go on from after a restart.
    pub(crate) const fn state(&self) -> &BeaconState {
        &self.state
    }

    fn concerns(&self, connection: &Connection, context: Context<'_>) -> bool {
        self.settings.enabled
            && matches!(connection.protocol, protocol::TCP | protocol::UDP)
            && !self.known.has_service(connection.protocol, connection.server_port)
            && is_outward(connection, context.site)
            && !self.known.has_server(connection.server)
    }

    fn is_common(&self, server: Ip) -> bool {
        self.state.prevalence.is_prevalent(server, self.settings.common_hosts, self.settings.common_percent)
    }

    /// Looks at a pair after another exchange.
    fn look(&mut self, exchange: &Exchange, seen: &mut Seen) {
        let Some(pair) = self.state.pairs.get_mut(exchange) else { return };
        let last_ms = pair.last_ms();
        if pair.beats.len() <= self.settings.intervals || last_ms - pair.looked_ms < LOOK_MS {
            return;
        }
        pair.looked_ms = last_ms;
        let Some(found) =
            rhythm::rhythm(&pair.beats, self.settings.intervals).filter(|found| self.settings.is_beacon(found))
        else {
            pair.is_irregular(self.settings.intervals);
            return;
        };
        pair.is_regular();
        if last_ms - pair.since_ms < self.settings.lasts.0 {
            return;
        }
        let severity = self.severity(exchange, &found);
        let Some(pair) = self.state.pairs.get_mut(exchange) else { return };
        let is_worse = pair.said_severity.is_none_or(|said| severity > said);
        let since_ms = last_ms - pair.said_ms;
        if is_worse || since_ms >= AGAIN_MS || since_ms >= DOUBLED_MS && pair.connections >= 2 * pair.said {
            pair.said = pair.connections;
            pair.said_ms = last_ms;
            pair.said_severity = Some(severity);
            seen.push(sighting(exchange, pair, &found, severity));
        }
    }

    fn severity(&self, exchange: &Exchange, found: &Rhythm) -> Severity {
        let settings = &self.settings;
        let Exchange { server, port, protocol, .. } = *exchange;
        let Some(pair) = self.state.pairs.get(exchange) else { return Severity::Low };
        let fails = pair.failed * 2 > pair.connections;
        let is_web = protocol == protocol::TCP && matches!(port, 80 | 443) && !fails;
        let is_plausible = settings.plausible_services.iter().any(|service| service.is(protocol, port))
            || is_web && i64::from(found.period_ms) >= settings.slow.0
            // Over one pair of ports, it keeps an address translation alive.
            || protocol == protocol::UDP && pair.has_one_port();
        let is_shared = self.state.prevalence.talkers(server) >= 2
            || self.state.prevalence.is_network_prevalent(server, settings.common_hosts, settings.common_percent);
        let is_sure = found.intervals >= (2 * settings.intervals).min(MANY) && found.score >= SCORES.1;
        if is_sure && !is_plausible && !is_shared { Severity::Medium } else { Severity::Low }
    }
}

impl BeaconSettings {
    /// Whether exchanges with this rhythm are small, short and regular enough.
    fn is_beacon(&self, found: &Rhythm) -> bool {
        let lasts_ms = u32::from(found.lasts) * 1000;
        // Open nearly all the time, it is a session that reconnects.
        let is_session = found.period_ms >= LINGER_MS && lasts_ms > found.period_ms / 4 * 3;
        u64::from(found.sent) + u64::from(found.received) <= self.octets.0 && !is_session && found.score >= SCORES.0
    }
}

impl Detector for Beacon {
    fn flow(&mut self, flow: &Flow, context: Context<'_>, seen: &mut Seen) {
        // Datagrams again and again over the same ports, which are one conversation that is judged only once.
        let is_small = flow.protocol == protocol::UDP && flow.packets <= DATAGRAMS.0 && flow.octets <= DATAGRAMS.1;
        if !is_small
            || flow.destination_port == QUIC
            || flow.end_ms - flow.start_ms > 2000
            || !self.settings.enabled
            || self.known.has_service(flow.protocol, flow.destination_port)
            || !context.site.is_inside(flow.source)
        {
            return;
        }
        let exchange = Exchange {
            client: flow.source,
            server: flow.destination,
            port: flow.destination_port,
            protocol: flow.protocol,
        };
        // Only where a conversation has told who is the client.
        if self.state.pairs.touch(&exchange, flow) && !self.is_common(flow.destination) {
            self.look(&exchange, seen);
        }
    }

    fn judged(&mut self, connection: &Connection, outcome: Outcome, context: Context<'_>, seen: &mut Seen) {
        if !self.concerns(connection, context) {
            return;
        }
        self.state.prevalence.note(connection.client, connection.server, context.now_ms);
        if self.is_common(connection.server) {
            return;
        }
        let exchange = Exchange::of(connection);
        if self.state.pairs.note(&exchange, connection, outcome.has_failed()) {
            self.look(&exchange, seen);
        }
    }

    fn over(&mut self, connection: &Connection, context: Context<'_>, _seen: &mut Seen) {
        if self.concerns(connection, context)
            && let Some(pair) = self.state.pairs.get_mut(&Exchange::of(connection))
        {
            pair.amend(connection);
        }
    }

    fn name(&self) -> &'static str {
        "beacon-1"
    }

    fn learned(&self) -> Option<Vec<u8>> {
        postcard::to_stdvec(self.state()).ok()
    }

    fn go_on_with(&mut self, learned: &[u8]) -> bool {
        postcard::from_bytes(learned).map(|learned| self.state = learned).is_ok()
    }

    fn memory(&self) -> (usize, u64) {
        let (pairs, prevalence) = (self.state.pairs.memory(), self.state.prevalence.memory());
        (pairs.0 + prevalence.0, pairs.1 + prevalence.1)
    }
}

fn sighting(exchange: &Exchange, pair: &Pair, found: &Rhythm, severity: Severity) -> Sighting {
    let Exchange { client, server, port, protocol } = *exchange;
    let port = Port(protocol, port);
    let period = span(found.period_ms.into());
    let last_ms = pair.last_ms();
    let failed = match pair.failed {
        0 => String::new(),
        failed if failed == pair.connections => " None of them was answered.".to_owned(),
        failed => format!(" {} of them came to nothing.", counted(failed, "attempt")),
    };
    let gaps = match found.gaps {
        0 => String::new(),
        gaps => format!(", but for {}", counted(gaps as u64, "longer pause")),
    };
    let explanation = format!(
        "{client} made {} to {server} {port} in {}, one every {period}{}. Half of the last {} intervals are within {} of \
         that{gaps}. The client sends {} each time and the server {} (medians). Regularity {:.0} of 100.{failed} Malware \
         asks its control server for orders in this way, and so do some update checks and telemetry.",
        counted(pair.connections, "connection"),
        span(last_ms - pair.since_ms),
        if pair.is_in_bursts() { " in bursts" } else { "" },
        found.intervals,
        span(i64::from(found.off_ms).max(1)),
        octets(found.sent.into()),
        octets(found.received.into()),
        found.score * 100.0,
    );
    Sighting {
        rule: &RULE,
        severity,
        subject: client.into(),
        matter: format!("{server} {port}"),
        title: format!("{client} contacts {server} {port} every {period}"),
        explanation,
        peers: vec![server],
        first_ms: pair.since_ms,
        last_ms,
        evidence: pair.evidence(exchange),
    }
}

/// Whether a connection began while it was watched, as far as flags tell: a TCP connection without SYN went on from before.
const fn has_begun(connection: &Connection) -> bool {
    let flags = connection.client_flags | connection.server_flags;
    connection.protocol != protocol::TCP || connection.client_flags & flag::SYN != 0 || flags == 0
}
