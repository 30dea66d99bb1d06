//! Servers of DHCP that nobody has set up: they can give a network an address server, a name server and a gateway of their own.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::device::kind::parse_mac;
use super::finding::{Rule, Seen, Severity, Sighting, Subject};
use super::flow::{Flow, Ip, Mac, protocol};
use super::settings::Span;
use super::site::Range;
use super::sketch::distinct::Distinct;
use super::sketch::recent::Recent;
use super::words::counted;
use super::{Context, Detector};

/// Ports of servers and relays, and of clients (RFC 2131 section 4.1, RFC 9915 section 7.2).
const V4: (u16, u16) = (67, 68);
const V6: (u16, u16) = (547, 546);

/// Servers that are known at once, relays, and those under suspicion, each.
const SERVERS: usize = 1024;

/// From so many suspects on it is somebody who makes up addresses, and the rest is one finding.
const SINGLE: usize = 32;

/// What goes on is said again after this time.
const AGAIN_MS: i64 = 1_800_000;

/// Flows that are shown.
const EVIDENCE: usize = 4;

static ROGUE: Rule = Rule { name: "rogue-dhcp", technique: Some("T1557.003"), quiet_ms: 7_200_000 };

/// What DHCP servers are looked for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct DhcpSettings {
    /// The time from the first flow in which all servers that are seen belong here.
    pub learning: Span,
    /// Servers and relays that may answer: addresses, networks, or MAC addresses. With any, all others are rogue, from the first moment on.
    pub servers: Vec<Server>,
}

impl Default for DhcpSettings {
    fn default() -> Self {
        Self { learning: Span::hours(24), servers: vec![] }
    }
}

/// A server that may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// By its address, or those of its network.
    At(Range),
    /// By its network card.
    Mac(Mac),
}

impl Server {
    fn is(&self, flow: &Flow) -> bool {
        match self {
            Self::At(range) => range.has(flow.source),
            Self::Mac(mac) => *mac == flow.source_mac,
        }
    }
}

impl<'de> Deserialize<'de> for Server {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if let Some(mac) = parse_mac(&text) {
            return Ok(Self::Mac(mac));
        }
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        let expected =
            |_| de::Error::custom(format!("\"{text}\" is not an address, a network or a MAC address of a DHCP server"));
        network.map(|network| Self::At(network.into())).map_err(expected)
    }
}

/// What is to survive a restart.
#[derive(Debug, Serialize, Deserialize)]
pub struct DhcpState {
    began_ms: Option<i64>,
    /// Those of the learning time, and when they last answered.
    servers: Recent<Ip, i64>,
    /// Whom known servers answer in the clients' place (RFC 2131 section 4.1, RFC 9915 section 19).
    relays: Recent<Ip, i64>,
    suspects: Recent<Ip, Suspect>,
}

impl Default for DhcpState {
    fn default() -> Self {
        Self {
            began_ms: None,
            servers: Recent::new(SERVERS),
            relays: Recent::new(SERVERS),
            suspects: Recent::new(SERVERS),
        }
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Suspect {
    first_ms: i64,
    answers: u64,
    clients: Distinct,
    said: u64,
    said_ms: i64,
    is_first_here: bool,
    #[serde(skip)]
    evidence: Vec<Flow>,
}

/// Looks for servers of DHCP that should not be there.
pub(crate) struct Dhcp {
    settings: DhcpSettings,
    state: DhcpState,
}

impl Dhcp {
    /// With what was known before.
    pub(crate) const fn new(settings: DhcpSettings, state: DhcpState) -> Self {
        Self { settings, state }
    }

    /// What is to survive a restart.
    pub(crate) const fn state(&self) -> &DhcpState {
        &self.state
    }

    fn is_allowed(&self, flow: &Flow) -> bool {
        self.settings.servers.iter().any(|server| server.is(flow))
    }

    /// An answer of a server, or of a relay in its place.
    fn answer(&mut self, flow: &Flow, now_ms: i64, seen: &mut Seen) {
        let is_learning = now_ms - self.state.began_ms.unwrap_or(now_ms) < self.settings.learning.0;
        let has_list = !self.settings.servers.is_empty();
        if self.state.relays.get(&flow.source).is_some() || self.is_allowed(flow) {
            return;
        }
        if !has_list && (is_learning || self.state.servers.get(&flow.source).is_some()) {
            *self.state.servers.entry(flow.source, || now_ms) = now_ms;
            return;
        }
        let state = &mut self.state;
        let is_first_here = state.servers.len() == 0 && state.suspects.len() == 0;
        let suspect = state.suspects.entry(flow.source, || Suspect {
            first_ms: flow.start_ms,
            is_first_here,
            ..Suspect::default()
        });
        suspect.answers = suspect.answers.saturating_add(flow.packets);
        suspect.clients.add(&(flow.destination, flow.destination_mac));
        if suspect.evidence.len() < EVIDENCE {
            suspect.evidence.push(*flow);
        }
        if suspect.answers < suspect.said * 2 && now_ms - suspect.said_ms < AGAIN_MS {
            return;
        }
        (suspect.said, suspect.said_ms) = (suspect.answers, now_ms);
        let mut sighting = sighting(suspect, flow, has_list);
        if state.suspects.len() > SINGLE {
            sighting.subject = Subject::Interface("all networks".to_owned());
        }
        seen.push(sighting);
    }
}

impl Detector for Dhcp {
    fn flow(&mut self, flow: &Flow, context: Context<'_>, seen: &mut Seen) {
        let now_ms = context.now_ms;
        let began_ms = *self.state.began_ms.get_or_insert(now_ms);
        let (server, client) = if flow.source.is_v4() { V4 } else { V6 };
        if flow.source_port != server || flow.protocol != protocol::UDP {
            return;
        }
        if flow.destination_port == client {
            // An answer to a public address comes from the provider's server, on the line to it.
            if flow.source.is_of_a_host() && !context.site.is_outside(flow.destination) {
                self.answer(flow, now_ms, seen);
            }
        } else if flow.destination_port == server && flow.destination.is_of_a_host() {
            let is_learning = self.settings.servers.is_empty() && now_ms - began_ms < self.settings.learning.0;
            if is_learning || self.is_allowed(flow) || self.state.servers.get(&flow.source).is_some() {
                *self.state.relays.entry(flow.destination, || now_ms) = now_ms;
            }
        }
    }

    fn skip(&mut self, ms: i64) {
        self.state.began_ms = self.state.began_ms.map(|began_ms| began_ms + ms);
    }

    fn name(&self) -> &'static str {
        "dhcp-1"
    }

    fn learned(&self) -> Option<Vec<u8>> {
        postcard::to_stdvec(self.state()).ok()
    }

    fn go_on_with(&mut self, learned: &[u8]) -> bool {
        postcard::from_bytes(learned).map(|learned| self.state = learned).is_ok()
    }

    fn memory(&self) -> (usize, u64) {
        let DhcpState { servers, relays, suspects, .. } = &self.state;
        (servers.len() + relays.len() + suspects.len(), servers.forgotten() + relays.forgotten() + suspects.forgotten())
    }
}

fn sighting(suspect: &Suspect, flow: &Flow, has_list: bool) -> Sighting {
    let ip = flow.source;
    let (severity, why) = if has_list {
        (Severity::High, "It is not one of the servers in the settings.")
    } else if suspect.is_first_here {
        (Severity::Low, "No server was seen in the learning time; it is the first.")
    } else {
        (Severity::Medium, "It was not seen in the learning time.")
    };
    let name = if flow.source_mac.is_of_a_station() { format!("{ip} ({})", flow.source_mac) } else { ip.to_string() };
    let version = if ip.is_v4() { "DHCP" } else { "DHCPv6" };
    let answers = counted(suspect.answers, "answer");
    let clients = counted(suspect.clients.count(), "destination");
    Sighting {
        rule: &ROGUE,
        severity,
        subject: ip.into(),
        matter: String::new(),
        title: format!("An unexpected {version} server: {ip}"),
        explanation: format!(
            "{name} sent {answers} of a {version} server, to {clients}. {why} A rogue server gives clients a gateway and name \
             servers of its choice."
        ),
        peers: if flow.destination.is_of_a_host() { vec![flow.destination] } else { vec![] },
        first_ms: suspect.first_ms,
        last_ms: flow.end_ms,
        evidence: suspect.evidence.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::site::Site;
    use super::*;

    const DAY_MS: i64 = 86_400_000;

    fn ip(text: &str) -> Ip {
        text.parse::<IpAddr>().expect("an address").into()
    }

    fn udp(source: (&str, u16), destination: (&str, u16), at_ms: i64) -> Flow {
        Flow {
            source: ip(source.0),
            destination: ip(destination.0),
            source_port: source.1,
            destination_port: destination.1,
            protocol: protocol::UDP,
            packets: 1,
            octets: 328,
            start_ms: at_ms,
            end_ms: at_ms,
            ..Flow::default()
        }
    }

    fn offer(source: &str, at_ms: i64) -> Flow {
        udp((source, 67), ("255.255.255.255", 68), at_ms)
    }

    fn take(dhcp: &mut Dhcp, flow: &Flow) -> Vec<(Severity, String)> {
        let mut seen = Seen::new();
        dhcp.flow(flow, Context { site: &Site::private_and([]), now_ms: flow.end_ms }, &mut seen);
        seen.into_iter().map(|sighting| (sighting.severity, sighting.explanation)).collect()
    }

    fn with(settings: &str) -> Dhcp {
        Dhcp::new(serde_json::from_str(settings).expect("settings"), DhcpState::default())
    }

    #[test]
    fn a_server_that_comes_after_the_learning_time_is_found_with_its_first_answer() {
        let mut dhcp = with("{}");
        for at_ms in [0, 3_600_000, DAY_MS - 1] {
            assert_eq!(take(&mut dhcp, &offer("10.0.0.1", at_ms)), []);
        }
        assert_eq!(take(&mut dhcp, &udp(("10.0.0.1", 67), ("10.0.0.9", 68), 9 * DAY_MS)), []);
        let found = take(&mut dhcp, &offer("10.0.0.66", 9 * DAY_MS));
        assert_eq!(found[0].0, Severity::Medium);
        assert!(
            found[0].1.starts_with("10.0.0.66 sent 1 answer of a DHCP server, to 1 destination. "),
            "{}",
            found[0].1
        );
        let later: usize = (0..1000).map(|n| take(&mut dhcp, &offer("10.0.0.66", 9 * DAY_MS + n)).len()).sum();
        assert_eq!(later, 9, "when they have doubled");
        assert_eq!(take(&mut dhcp, &offer("10.0.0.1", 9 * DAY_MS)), []);
    }

    #[test]
    fn with_a_list_it_is_high_at_once_and_relays_of_the_list_are_not_found() {
        let mut dhcp = with(r#"{"servers": ["10.9.0.2", "10.8.0.0/30", "00:1b:21:00:00:01"]}"#);
        for server in ["10.9.0.2", "10.8.0.3"] {
            assert_eq!(take(&mut dhcp, &offer(server, 0)), []);
        }
        let by_mac = Flow { source_mac: Mac([0, 0x1b, 0x21, 0, 0, 1]), ..offer("10.0.0.3", 0) };
        assert_eq!(take(&mut dhcp, &by_mac), []);
        assert_eq!(take(&mut dhcp, &offer("10.1.0.1", 0))[0].0, Severity::High);
        // A relay: the server answers it, and it the client.
        assert_eq!(take(&mut dhcp, &udp(("10.9.0.2", 67), ("10.2.0.1", 67), 0)), []);
        assert_eq!(take(&mut dhcp, &offer("10.2.0.1", 1)), []);
        // Whom a rogue server answers is no relay.
        assert_eq!(take(&mut dhcp, &udp(("10.1.0.1", 67), ("10.3.0.1", 67), 1)), []);
        assert_eq!(take(&mut dhcp, &offer("10.3.0.1", 1)).len(), 1);
    }

    #[test]
    fn version_6_is_looked_at_too() {
        let mut dhcp = with("{}");
        let reply = |source, at_ms| udp((source, 547), ("fe80::99", 546), at_ms);
        assert_eq!(take(&mut dhcp, &reply("fe80::1", 0)), []);
        assert_eq!(take(&mut dhcp, &reply("fe80::1", 2 * DAY_MS)), []);
        let found = take(&mut dhcp, &reply("fe80::66", 2 * DAY_MS));
        assert!(found[0].0 == Severity::Medium && found[0].1.contains("DHCPv6"), "{found:?}");
    }

    #[test]
    fn what_is_no_answer_of_a_server_inside_is_nothing() {
        let mut dhcp = with(r#"{"servers": ["10.9.0.2"]}"#);
        for flow in [
            udp(("10.0.0.7", 68), ("255.255.255.255", 67), 0),
            udp(("0.0.0.0", 67), ("255.255.255.255", 68), 0),
            udp(("10.0.0.7", 67), ("10.0.0.8", 69), 0),
            udp(("96.120.1.1", 67), ("203.0.113.7", 68), 0),
            Flow { protocol: protocol::TCP, ..offer("10.0.0.7", 0) },
            udp(("fe80::7", 67), ("fe80::8", 68), 0),
        ] {
            assert_eq!(take(&mut dhcp, &flow), [], "{flow:?}");
        }
    }

    #[test]
    fn the_first_server_of_a_network_without_any_is_said_softly() {
        let mut dhcp = with("{}");
        assert_eq!(take(&mut dhcp, &udp(("10.0.0.7", 5000), ("10.0.0.8", 53), 0)), []);
        assert_eq!(take(&mut dhcp, &offer("10.0.0.1", 2 * DAY_MS))[0].0, Severity::Low);
        assert_eq!(take(&mut dhcp, &offer("10.0.0.66", 2 * DAY_MS))[0].0, Severity::Medium);
    }

    #[test]
    fn what_was_learned_survives_and_made_up_servers_fill_nothing() {
        let mut dhcp = with("{}");
        take(&mut dhcp, &offer("10.0.0.1", 0));
        take(&mut dhcp, &udp(("10.0.0.1", 67), ("10.2.0.1", 67), 0));
        let text = serde_json::to_string(dhcp.state()).expect("text");
        let mut dhcp = Dhcp::new(DhcpSettings::default(), serde_json::from_str(&text).expect("a state"));
        for known in ["10.0.0.1", "10.2.0.1"] {
            assert_eq!(take(&mut dhcp, &offer(known, 2 * DAY_MS)), []);
        }
        let mut subjects = std::collections::BTreeSet::new();
        let site = Site::private_and([]);
        for number in 0..65_536_u32 {
            let mut seen = Seen::new();
            let flow = Flow { source: Ip(0xffff_0a05_0000 + u128::from(number)), ..offer("10.0.0.1", 2 * DAY_MS) };
            dhcp.flow(&flow, Context { site: &site, now_ms: 2 * DAY_MS }, &mut seen);
            subjects.extend(seen.into_iter().map(|sighting| sighting.subject));
        }
        assert_eq!(subjects.len(), SINGLE + 1);
        assert!(dhcp.memory().0 <= 3 * SERVERS && dhcp.memory().1 > 0);
        assert_eq!(take(&mut dhcp, &offer("10.0.0.1", 2 * DAY_MS)), []);
    }

    #[test]
    fn settings_say_what_is_wrong() {
        let error =
            serde_json::from_str::<DhcpSettings>(r#"{"servers": ["ten"]}"#).expect_err("no settings").to_string();
        assert!(error.starts_with("\"ten\" is not an address, a network or a MAC address of a DHCP server"), "{error}");
    }
}
