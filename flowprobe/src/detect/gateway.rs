//! Gateways that were not there before: whom hosts hand their packets to outside addresses, and who says that it is an IPv6 router.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Deserializer, Serialize, de};

use super::device::kind::{Kind, is_link_local, kind, number, parse_mac};
use super::finding::{Rule, Seen, Severity, Sighting, Subject};
use super::flow::{Flow, Ip, Mac, protocol};
use super::settings::Span;
use super::sketch::distinct::Distinct;
use super::sketch::recent::Recent;
use super::words::{counted, listed};
use super::{Context, Detector};

/// Interfaces and VLANs that are known at once.
const SEGMENTS: usize = 4096;

/// Gateways that are known of each.
const EACH: usize = 32;

/// Hosts whose MAC addresses are known as those of clients.
const CLIENTS: usize = 1 << 16;

/// Outside networks (IPv4 /24, IPv6 /48) from which on a next hop is a gateway; a single one may be a host of ours that nobody has said to
/// be inside.
const NETWORKS: u64 = 3;

/// A host is a client when it has been one for so long.
const CLIENT_MS: i64 = 3_600_000;

/// IPv4 addresses of one MAC address from which on it sends for others.
const OF_ONE: usize = 4;

/// The usual gateway is still in use when it was within this time.
const LIVE_MS: i64 = 60_000;

/// What goes on is said again after this time.
const AGAIN_MS: i64 = 900_000;

/// Flows that are shown.
const EVIDENCE: usize = 4;

/// Router Advertisement (RFC 4861 section 4.2).
const ADVERTISEMENT: u8 = 134;

static GATEWAY: Rule = Rule { name: "unexpected-gateway", technique: Some("T1557"), quiet_ms: 3_600_000 };
static ROUTER: Rule = Rule { name: "unexpected-ipv6-router", technique: Some("T1557"), quiet_ms: 3_600_000 };

/// What gateways are looked for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct GatewaySettings {
    /// The time in which all gateways that are seen belong here: on each interface and VLAN from its first flow to the outside. One that
    /// stays for as long after it was found belongs here, too, unless there is a list.
    pub learning: Span,
    /// MAC addresses of gateways and IPv6 routers. With any, all others are unexpected, from the first moment on.
    #[serde(deserialize_with = "macs")]
    pub gateways: Vec<Mac>,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self { learning: Span::hours(24), gateways: vec![] }
    }
}

fn macs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Mac>, D::Error> {
    let parse = |text: String| {
        parse_mac(&text)
            .ok_or_else(|| de::Error::custom(format!("\"{text}\" is not a MAC address such as 00:1b:21:0a:0b:0c")))
    };
    Vec::<String>::deserialize(deserializer)?.into_iter().map(parse).collect()
}

/// What is to survive a restart.
#[derive(Debug, Serialize, Deserialize)]
pub struct GatewayState {
    /// By interface and VLAN.
    segments: Recent<u64, Segment>,
    /// By MAC address.
    clients: Recent<u64, Client>,
}

impl Default for GatewayState {
    fn default() -> Self {
        Self { segments: Recent::new(SEGMENTS), clients: Recent::new(CLIENTS) }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Segment {
    began_ms: i64,
    gateways: Vec<Hop>,
    /// Of Router Advertisements.
    routers: Vec<Hop>,
}

/// A next hop, or an IPv6 router.
#[derive(Debug, Serialize, Deserialize)]
struct Hop {
    mac: Mac,
    /// Of a router whose MAC address is not known.
    ip: Ip,
    first_ms: i64,
    last_ms: i64,
    is_known: bool,
    hosts: Distinct,
    networks: Distinct,
    flows: u64,
    said: u64,
    said_ms: i64,
    #[serde(skip)]
    evidence: Vec<Flow>,
}

impl Hop {
    fn new(mac: Mac, ip: Ip, flow: &Flow, is_known: bool) -> Self {
        let (hosts, networks) = (Distinct::default(), Distinct::default());
        let (first_ms, last_ms) = (flow.end_ms, flow.end_ms);
        let (flows, said, said_ms, evidence) = (0, 0, 0, vec![]);
        Self { mac, ip, first_ms, last_ms, is_known, hosts, networks, flows, said, said_ms, evidence }
    }

    fn count(&mut self, flow: &Flow) {
        self.flows += 1;
        self.hosts.add(&flow.source);
        self.networks.add(&flow.destination.network().0);
        if self.evidence.len() < EVIDENCE {
            self.evidence.push(*flow);
        }
    }

    /// Whether it has grown so much, or for so long, that it is to be said.
    fn is_due(&mut self, now_ms: i64) -> bool {
        let is_due = self.said == 0 || self.flows >= self.said * 2 || now_ms - self.said_ms >= AGAIN_MS;
        if is_due {
            (self.said, self.said_ms) = (self.flows, now_ms);
        }
        is_due
    }
}

/// A MAC address that sends to outside addresses.
#[derive(Debug, Serialize, Deserialize)]
struct Client {
    first_ms: i64,
    /// IPv4 addresses, 0 where there is none yet.
    addresses: [u32; OF_ONE],
    /// When it had more addresses than one host has.
    many_ms: Option<i64>,
}

/// Looks for gateways that should not be there.
pub(crate) struct Gateways {
    settings: GatewaySettings,
    state: GatewayState,
}

impl Gateways {
    /// With what was known before.
    pub(crate) const fn new(settings: GatewaySettings, state: GatewayState) -> Self {
        Self { settings, state }
    }

    /// What is to survive a restart.
    pub(crate) const fn state(&self) -> &GatewayState {
        &self.state
    }

    /// A packet to the outside is handed to the next hop.
    fn hop(&mut self, flow: &Flow, now_ms: i64, seen: &mut Seen) {
        let Self { settings, state: GatewayState { segments, clients } } = self;
        let mac = flow.destination_mac;
        let segment = segments.entry(segment(flow), || Segment { began_ms: now_ms, gateways: vec![], routers: vec![] });
        let has_list = !settings.gateways.is_empty();
        let learning_ms = settings.learning.0;
        let is_expected =
            if has_list { settings.gateways.contains(&mac) } else { now_ms - segment.began_ms < learning_ms };
        let Some(hop) = find(&mut segment.gateways, mac, Ip::default(), flow, is_expected) else { return };
        hop.last_ms = hop.last_ms.max(flow.end_ms);
        if has_list {
            hop.is_known = is_expected;
        } else if now_ms - hop.first_ms >= learning_ms {
            hop.is_known = true;
        }
        if hop.is_known {
            return;
        }
        hop.count(flow);
        if hop.networks.count() < NETWORKS || !hop.is_due(now_ms) {
            return;
        }
        let known = |other: &&Hop| other.is_known && other.mac != mac;
        let usual: Vec<Mac> = segment.gateways.iter().filter(known).map(|other| other.mac).collect();
        let is_usual_live = segment.gateways.iter().filter(known).any(|other| now_ms - other.last_ms < LIVE_MS);
        let Some(hop) = segment.gateways.iter().find(|hop| hop.mac == mac) else { return };
        // Of a balanced gateway another forwarder (GLBP: the last octet is its number).
        if let Kind::Router("GLBP") = kind(mac)
            && usual.iter().any(|other| other.0[..5] == mac.0[..5])
        {
            return;
        }
        let was_client = clients
            .get(&number(mac))
            .is_some_and(|client| client.many_ms.unwrap_or(now_ms).min(hop.first_ms) - client.first_ms >= CLIENT_MS);
        seen.push(unexpected(hop, flow, &usual, is_usual_live, was_client));
    }

    /// Remembers who is a client.
    #[expect(clippy::cast_possible_truncation, reason = "the lower half of an IPv4 address")]
    fn client(&mut self, flow: &Flow, now_ms: i64) {
        let client = self.state.clients.entry(number(flow.source_mac), || Client {
            first_ms: now_ms,
            addresses: [0; OF_ONE],
            many_ms: None,
        });
        if flow.source.is_v4() && client.many_ms.is_none() {
            let ip = flow.source.0 as u32;
            if !client.addresses.contains(&ip) {
                match client.addresses.iter_mut().find(|address| **address == 0) {
                    Some(free) => *free = ip,
                    None => client.many_ms = Some(now_ms),
                }
            }
        }
    }

    /// Somebody says that it is a router.
    fn advertisement(&mut self, flow: &Flow, now_ms: i64, seen: &mut Seen) {
        let Self { settings, state: GatewayState { segments, .. } } = self;
        let segment = segments.entry(segment(flow), || Segment { began_ms: now_ms, gateways: vec![], routers: vec![] });
        let (mac, has_list) = (flow.source_mac, !settings.gateways.is_empty() && flow.source_mac.is_of_a_station());
        let ip = if mac.is_of_a_station() { Ip::default() } else { flow.source };
        let is_expected = if has_list {
            settings.gateways.contains(&mac)
        } else {
            let is_gateway = |hop: &Hop| hop.is_known && hop.mac == mac && mac.is_of_a_station();
            now_ms - segment.began_ms < settings.learning.0 || segment.gateways.iter().any(is_gateway)
        };
        let usual: Vec<String> = segment.routers.iter().filter(|hop| hop.is_known).map(name).collect();
        let Some(hop) = find(&mut segment.routers, mac, ip, flow, is_expected) else { return };
        hop.last_ms = hop.last_ms.max(flow.end_ms);
        hop.is_known =
            if has_list { is_expected } else { hop.is_known || now_ms - hop.first_ms >= settings.learning.0 };
        if hop.is_known {
            return;
        }
        hop.flows = hop.flows.saturating_add(flow.packets.max(1));
        if hop.evidence.len() < EVIDENCE {
            hop.evidence.push(*flow);
        }
        if hop.is_due(now_ms) {
            seen.push(advertised(hop, flow, &usual));
        }
    }
}

impl Detector for Gateways {
    fn flow(&mut self, flow: &Flow, context: Context<'_>, seen: &mut Seen) {
        if flow.protocol == protocol::ICMPV6 {
            if flow.icmp_type() == ADVERTISEMENT && is_link_local(flow.source) {
                self.advertisement(flow, context.now_ms, seen);
            }
            // Neighbour discovery goes to addresses of the same link, which may be public ones.
            return;
        }
        if !flow.destination_mac.is_of_a_station()
            || is_link_local(flow.source)
            || !context.site.is_inside(flow.source)
            || !context.site.is_outside(flow.destination)
        {
            return;
        }
        self.hop(flow, context.now_ms, seen);
        if flow.source_mac.is_of_a_station() {
            self.client(flow, context.now_ms);
        }
    }

    fn name(&self) -> &'static str {
        "gateway-1"
    }

    fn learned(&self) -> Option<Vec<u8>> {
        postcard::to_stdvec(self.state()).ok()
    }

    fn go_on_with(&mut self, learned: &[u8]) -> bool {
        postcard::from_bytes(learned).map(|learned| self.state = learned).is_ok()
    }

    fn memory(&self) -> (usize, u64) {
        let GatewayState { segments, clients } = &self.state;
        (segments.len() + clients.len(), segments.forgotten() + clients.forgotten())
    }
}

fn segment(flow: &Flow) -> u64 {
    u64::from(flow.interface) << 16 | u64::from(flow.vlan)
}

/// The hop, which is added where it is new; of too many, in place of the one that was not known and not seen for longest, if there is one.
fn find<'a>(hops: &'a mut Vec<Hop>, mac: Mac, ip: Ip, flow: &Flow, is_known: bool) -> Option<&'a mut Hop> {
    if let Some(index) = hops.iter().position(|hop| hop.mac == mac && hop.ip == ip) {
        return hops.get_mut(index);
    }
    if hops.len() >= EACH {
        let unknown = (0..hops.len()).filter(|index| !hops[*index].is_known);
        hops.swap_remove(unknown.min_by_key(|index| hops[*index].last_ms)?);
    }
    hops.push(Hop::new(mac, ip, flow, is_known));
    hops.last_mut()
}

fn name(hop: &Hop) -> String {
    if hop.mac.is_of_a_station() { hop.mac.to_string() } else { hop.ip.to_string() }
}

fn unexpected(hop: &Hop, flow: &Flow, usual: &[Mac], is_usual_live: bool, was_client: bool) -> Sighting {
    let severity = match kind(hop.mac) {
        _ if was_client && is_usual_live => Severity::High,
        Kind::Router(_) => Severity::Low,
        _ => Severity::Medium,
    };
    let mac = hop.mac;
    let (hosts, networks) = (counted(hop.hosts.count(), "address"), counted(hop.networks.count(), "outside network"));
    let mut explanation =
        format!("Packets of {hosts} to {networks} were handed to {mac}, which was no gateway before.");
    if !usual.is_empty() {
        let live = if is_usual_live { "and still in use" } else { "and not in use now" };
        explanation += &format!(" Usual here, {live}: {}.", listed(usual, usual.len() as u64));
    }
    if was_client {
        explanation += " It was a client of the gateway until now; who hands itself the packets of others can read and change them.";
    }
    if let Kind::Router(of) = kind(mac) {
        explanation += &format!(" The address is that of a virtual router ({of}).");
    }
    Sighting {
        rule: &GATEWAY,
        severity,
        subject: Subject::Mac(mac),
        matter: String::new(),
        title: format!("An unexpected gateway: {mac}"),
        explanation,
        peers: vec![flow.source],
        first_ms: hop.first_ms,
        last_ms: hop.last_ms,
        evidence: hop.evidence.clone(),
    }
}

fn advertised(hop: &Hop, flow: &Flow, usual: &[String]) -> Sighting {
    let (router, count) = (name(hop), counted(hop.flows, "router advertisement"));
    let others = match usual {
        [] => "No other router does.".to_owned(),
        _ => format!("Usual here: {}.", listed(usual, usual.len() as u64)),
    };
    Sighting {
        rule: &ROUTER,
        severity: Severity::Medium,
        subject: if hop.mac.is_of_a_station() { Subject::Mac(hop.mac) } else { hop.ip.into() },
        matter: String::new(),
        title: format!("An unexpected IPv6 router: {router}"),
        explanation: format!(
            "{router} sent {count} from {}, which hosts take as their gateway and name server. {others}",
            flow.source
        ),
        peers: vec![flow.source],
        first_ms: hop.first_ms,
        last_ms: hop.last_ms,
        evidence: hop.evidence.clone(),
    }
}
