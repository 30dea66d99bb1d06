//! Many conversations with few octets each to one outside host: data that leaves in pieces too small to be noticed.

use serde::{Deserialize, Serialize};

use super::connection::{Connection, Outcome};
use super::finding::{Rule, Seen, Severity, Sighting};
use super::flow::{Flow, Ip, protocol};
use super::settings::{Octets, Span};
use super::sketch::recent::Recent;
use super::sketch::two::Two;
use super::words::{counted, grouped, octets, span};
use super::{Context, Detector};

/// Data Transfer Size Limits.
static RULE: Rule = Rule { name: "small-flows", technique: Some("T1030"), quiet_ms: 2 * 3_600_000 };

/// Pairs of hosts that are followed at once, of about 350 octets each, mostly 150.
const PAIRS: usize = 1 << 16;

/// Outside hosts of which it is known who talks to them, of about 100 octets.
const OUTSIDE: usize = 1 << 16;

/// Counts of a pair start anew after this time.
const WINDOW_MS: i64 = 3_600_000;

/// A pair that was found is not said again for so long, unless it has grown.
const KNOWN_MS: i64 = 7 * 24 * WINDOW_MS;

/// Flows that are kept of each pair as evidence.
const EVIDENCE: usize = 2;

/// When conversations are too many and too small.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SmallFlowsSettings {
    /// Whether it is looked for.
    pub enabled: bool,
    /// So many small conversations of a host with one outside host within an hour.
    pub conversations: u64,
    /// A conversation is small if the client sends less than this.
    pub small: Octets,
    /// In so many different minutes of the hour; a page with many parts, and a test of a server's speed, have fewer.
    pub minutes: u32,
    /// An outside host that so many other hosts inside talk to is ordinary.
    pub prevalent: u8,
    /// Ports of servers that are asked often and little as a matter of course.
    pub ports: Vec<u16>,
    /// Outside networks that are, such as a monitoring service.
    pub expected: Vec<ipnet::IpNet>,
    /// For so long it is learned who talks to whom before anything is said.
    pub learning: Span,
}

impl Default for SmallFlowsSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            conversations: 500,
            small: Octets(2000),
            minutes: 5,
            prevalent: 2,
            // DNS and DNS over TLS (tunnels through DNS are another rule's), NTP.
            ports: vec![53, 853, 123],
            expected: Vec::new(),
            learning: Span::minutes(30),
        }
    }
}

/// Conversations of a host inside with one outside.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Pair {
    start_ms: i64,
    end_ms: i64,
    small: u64,
    /// Those that are not small.
    large: u64,
    packets: u64,
    sent: u64,
    received: u64,
    /// Minutes of the hour with a conversation, one bit each.
    minutes: u64,
    /// Port of the server, and how often another came after it.
    port: u16,
    turns: u64,
    /// How many there were when it was said last, and when.
    said: Option<(u64, i64)>,
    evidence: Vec<Flow>,
}

/// The first hosts inside that talked to an outside host.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Talkers(Vec<Ip>);

/// All that is remembered.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct State {
    pairs: Recent<Two, Pair>,
    talkers: Recent<Ip, Talkers>,
    since_ms: Option<i64>,
}

impl Default for State {
    fn default() -> Self {
        Self { pairs: Recent::new(PAIRS), talkers: Recent::new(OUTSIDE), since_ms: None }
    }
}

/// Looks for many small conversations with one outside host.
#[derive(Debug)]
pub(crate) struct SmallFlows {
    settings: SmallFlowsSettings,
    state: State,
}

impl SmallFlows {
    /// Goes on with what was remembered.
    pub(crate) const fn new(settings: SmallFlowsSettings, state: State) -> Self {
        Self { settings, state }
    }

    /// What is to be remembered.
    pub(crate) const fn state(&self) -> &State {
        &self.state
    }

    /// Whether it may concern this detector at all.
    fn is_of_interest(&self, connection: &Connection, context: Context<'_>) -> bool {
        self.settings.enabled
            && matches!(connection.protocol, protocol::TCP | protocol::UDP)
            && !self.settings.ports.contains(&connection.server_port)
            && context.site.is_inside(connection.client)
            && context.site.is_outside(connection.server)
    }

    fn count(&mut self, connection: &Connection, context: Context<'_>, seen: &mut Seen) {
        let settings = &self.settings;
        let State { pairs, talkers, since_ms } = &mut self.state;
        let since_ms = *since_ms.get_or_insert(connection.start_ms);
        let (client, server) = (connection.client, connection.server);
        let pair = pairs.entry(Two(client, server), || Pair { start_ms: connection.start_ms, ..Pair::default() });
        if connection.start_ms - pair.start_ms > WINDOW_MS {
            *pair = Pair { start_ms: connection.start_ms, said: pair.said, ..Pair::default() };
        }
        pair.add(connection, settings.small.0);
        let is_much = pair.small >= settings.conversations
            && pair.small / 9 >= pair.large
            // Ever other ports are a scan, or hosts that share files.
            && pair.turns <= pair.small / 2
            && pair.minutes.count_ones() >= settings.minutes
            && connection.end_ms - since_ms >= settings.learning.0;
        if !is_much {
            return;
        }
        let is_said = pair.said.is_some_and(|(small, at)| pair.small < 2 * small && context.now_ms - at < KNOWN_MS);
        let others = talkers.get(&server).map_or(0, |known| known.0.iter().filter(|other| **other != client).count());
        let address = server.to_addr();
        if is_said
            || others >= usize::from(settings.prevalent)
            || settings.expected.iter().any(|network| network.contains(&address))
        {
            return;
        }
        pair.said = Some((pair.small, context.now_ms));
        seen.push(pair.to_sighting((client, server), others, settings));
    }
}

impl Detector for SmallFlows {
    fn judged(&mut self, connection: &Connection, outcome: Outcome, context: Context<'_>, seen: &mut Seen) {
        if !self.is_of_interest(connection, context) {
            return;
        }
        if outcome.has_failed() {
            // Datagrams that nobody answers carry data as well; a TCP connection that fails carries none.
            if connection.protocol == protocol::UDP && outcome == Outcome::Unanswered {
                self.count(connection, context, seen);
            }
            return;
        }
        let most = usize::from(self.settings.prevalent) + 1;
        let known = &mut self.state.talkers.entry(connection.server, Talkers::default).0;
        if known.len() < most && !known.contains(&connection.client) {
            known.push(connection.client);
        }
    }

    fn over(&mut self, connection: &Connection, context: Context<'_>, seen: &mut Seen) {
        if self.is_of_interest(connection, context) {
            self.count(connection, context, seen);
        }
    }

    fn name(&self) -> &'static str {
        "small-flows-1"
    }

    fn learned(&self) -> Option<Vec<u8>> {
        postcard::to_stdvec(self.state()).ok()
    }

    fn go_on_with(&mut self, learned: &[u8]) -> bool {
        postcard::from_bytes(learned).map(|learned| self.state = learned).is_ok()
    }

    fn memory(&self) -> (usize, u64) {
        let State { pairs, talkers, .. } = &self.state;
        (pairs.len() + talkers.len(), pairs.forgotten() + talkers.forgotten())
    }
}

impl Pair {
    fn add(&mut self, connection: &Connection, small: u64) {
        self.end_ms = self.end_ms.max(connection.end_ms);
        self.turns += u64::from(self.port != 0 && self.port != connection.server_port);
        self.port = connection.server_port;
        if connection.sent.octets >= small {
            self.large += 1;
            return;
        }
        self.small += 1;
        self.packets = self.packets.saturating_add(connection.sent.packets);
        self.sent = self.sent.saturating_add(connection.sent.octets);
        self.received = self.received.saturating_add(connection.received.octets);
        self.minutes |= 1 << (connection.start_ms - self.start_ms).div_euclid(60_000).clamp(0, 63);
        if self.evidence.len() < EVIDENCE {
            self.evidence.push(connection.to_flow());
        }
    }

    fn to_sighting(&self, (client, server): (Ip, Ip), others: usize, settings: &SmallFlowsSettings) -> Sighting {
        let is_very_much = self.small >= settings.conversations.saturating_mul(8) && others == 0;
        let port = if self.turns > 0 { "several ports".to_owned() } else { format!("port {}", self.port) };
        let whom = match others {
            0 => "No other host here talks to it".to_owned(),
            _ => format!("{} here talked to it", counted(others as u64, "other host")),
        };
        Sighting {
            rule: &RULE,
            severity: if is_very_much { Severity::Medium } else { Severity::Low },
            subject: client.into(),
            matter: server.to_string(),
            title: format!("{client} had {} small conversations with {server}", grouped(self.small)),
            explanation: format!(
                "{client} had {} with {server} on {port} in {}, sending less than {} in each: {} in {} together, and {} came back. {whom}.",
                counted(self.small, "conversation"),
                span(self.end_ms - self.start_ms),
                settings.small,
                octets(self.sent),
                counted(self.packets, "packet"),
                octets(self.received),
            ),
            peers: vec![server],
            first_ms: self.start_ms,
            last_ms: self.end_ms,
            evidence: self.evidence.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::connection::{Connections, Step};
    use super::super::site::Site;
    use super::*;

    const A: Ip = Ip(0xffff_0a00_0007);
    const EVIL: Ip = Ip(0xffff_cb00_7142);

    /// So many conversations of a host, one each so many milliseconds, over a server's port, in which so many octets are sent.
    fn talks(client: Ip, to: (Ip, u16, u8), count: u16, every_ms: i64, sent: u64) -> Vec<Flow> {
        (0..count)
            .flat_map(|n| {
                let at_ms = i64::from(n) * every_ms;
                let up = Flow {
                    source: client,
                    destination: to.0,
                    source_port: 20_000 + n,
                    destination_port: to.1,
                    protocol: to.2,
                    tcp_flags: if to.2 == protocol::TCP { 0x1b } else { 0 },
                    packets: 6,
                    octets: sent,
                    start_ms: at_ms,
                    end_ms: at_ms + 200,
                    ..Flow::default()
                };
                let (source_port, destination_port) = (up.destination_port, up.source_port);
                [up, Flow { source: to.0, destination: client, source_port, destination_port, octets: 400, ..up }]
            })
            .collect()
    }

    fn new() -> SmallFlows {
        SmallFlows::new(SmallFlowsSettings::default(), State::default())
    }

    fn run(detector: &mut SmallFlows, mut flows: Vec<Flow>) -> Seen {
        flows.sort_by_key(|flow| flow.end_ms);
        let (site, mut seen, mut connections) = (Site::private_and([]), Seen::new(), Connections::new(100_000));
        let end_ms = flows.last().map_or(0, |flow| flow.end_ms);
        let ends = [6000, 200_000].map(|after| Flow { end_ms: end_ms + after, ..Flow::default() });
        for flow in flows.iter().chain(&ends) {
            let now_ms = flow.end_ms;
            let context = Context { site: &site, now_ms };
            let mut tell = |connection: &Connection, step| match step {
                Step::Judged(outcome) => detector.judged(connection, outcome, context, &mut seen),
                Step::Over => detector.over(connection, context, &mut seen),
            };
            connections.advance(now_ms, &mut tell);
            connections.take(flow, now_ms, &mut tell);
        }
        seen
    }

    fn found(flows: Vec<Flow>) -> Seen {
        run(&mut new(), flows)
    }

    #[test]
    fn many_small_conversations_with_one_host_are_found() {
        for (count, every_ms, severity) in
            [(560, 6000, Severity::Low), (1200, 3000, Severity::Low), (9000, 390, Severity::Medium)]
        {
            let mut flows = talks(A, (EVIL, 443, protocol::TCP), count, every_ms, 900);
            // Beside what it does with others.
            flows.extend(talks(A, (Ip(0xffff_0808_0101), 443, protocol::TCP), 300, 10_000, 9000));
            let seen = found(flows);
            let last = seen.last().expect("found");
            assert_eq!(
                (last.severity, &last.subject, last.peers.as_slice()),
                (severity, &A.into(), &[EVIL][..]),
                "{seen:?}"
            );
            assert!(
                seen.len() <= 5 && seen[0].explanation.contains(" conversations with 203.0.113.66 on port 443"),
                "{seen:?}"
            );
        }
        // Datagrams to which there is no answer.
        let mut silent = talks(A, (EVIL, 4444, protocol::UDP), 1200, 2500, 300);
        silent.retain(|flow| flow.source == A);
        assert_eq!(found(silent).len(), 1);
    }

    #[test]
    fn ordinary_conversations_are_not() {
        // Too few; too large; a burst; known ports; failed ones; of a server that others talk to; from outside; of ever other ports.
        assert!(found(talks(A, (EVIL, 443, protocol::TCP), 450, 8000, 900)).is_empty());
        assert!(found(talks(A, (EVIL, 443, protocol::TCP), 1000, 3600, 2500)).is_empty());
        assert!(found(talks(A, (EVIL, 443, protocol::TCP), 1000, 100, 900)).is_empty());
        assert!(found(talks(A, (EVIL, 53, protocol::UDP), 3000, 1000, 80)).is_empty());
        assert!(found(talks(A, (EVIL, 123, protocol::UDP), 3000, 1000, 76)).is_empty());
        let mut failed = talks(A, (EVIL, 443, protocol::TCP), 1000, 3000, 60);
        failed.retain(|flow| flow.source == A);
        failed.iter_mut().for_each(|flow| (flow.tcp_flags, flow.packets) = (2, 1));
        assert!(found(failed).is_empty());
        let agents = (0..4).flat_map(|n| talks(Ip(A.0 + n), (EVIL, 443, protocol::TCP), 900, 4000, 900));
        assert!(found(agents.collect()).is_empty());
        assert!(found(talks(EVIL, (A, 443, protocol::TCP), 1000, 3000, 900)).is_empty());
        let mut scan = talks(A, (EVIL, 1000, protocol::UDP), 1000, 3000, 60);
        scan.retain(|flow| flow.source == A);
        scan.iter_mut().for_each(|flow| flow.destination_port = flow.source_port);
        assert!(found(scan).is_empty());
    }

    #[test]
    fn a_restart_goes_on_and_memory_is_bounded() {
        let flows = talks(A, (EVIL, 443, protocol::TCP), 1200, 4000, 900);
        let (one, other) = flows.split_at(800);
        let mut before = new();
        assert!(run(&mut before, one.to_vec()).is_empty());
        let text = serde_json::to_string(before.state()).expect("text");
        let mut after = SmallFlows::new(SmallFlowsSettings::default(), serde_json::from_str(&text).expect("the state"));
        assert_eq!(run(&mut after, other[..400].to_vec()).len(), 1);
        // The next hours are known, as long as there are no more.
        let again = |flow: &Flow| Flow {
            start_ms: flow.start_ms + 2 * WINDOW_MS,
            end_ms: flow.end_ms + 2 * WINDOW_MS,
            ..*flow
        };
        assert!(run(&mut after, flows[..1800].iter().map(again).collect()).is_empty());
        for number in 0..200_000 {
            let mut flow = talks(Ip(A.0 + number), (EVIL, 80, protocol::TCP), 1, 1, 100);
            flow.iter_mut().for_each(|flow| flow.end_ms = 0);
            run(&mut after, flow);
        }
        assert!(after.memory().0 <= PAIRS + OUTSIDE);
    }
}
