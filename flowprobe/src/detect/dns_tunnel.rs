//! DNS tunnels, by the sizes and the rate of queries and answers; and name servers outside that are not the site's.
//!
//! A tunnel through DNS carries data up in the names of queries and down in the records of answers. Few names are long: of ordinary queries
//! nearly all are below 100 octets with their headers, and a reverse query of an IPv6 address (RFC 3596 section 2.5) has at most 141.

mod pair;

use serde::{Deserialize, Serialize};

use super::finding::{Rule, Seen, Severity, Sighting};
use super::flow::{Flow, Ip, protocol};
use super::settings::{Octets, Span};
use super::sketch::distinct::Distinct;
use super::sketch::recent::Recent;
use super::sketch::two::Two;
use super::words::{counted, octets, span};
use super::{Context, Detector};
use pair::{Pair, keep};

/// Application Layer Protocol: DNS.
static TUNNEL: Rule = Rule { name: "dns-tunnel", technique: Some("T1071.004"), quiet_ms: 2 * 3_600_000 };

/// The same.
static RESOLVER: Rule = Rule { name: "outside-resolver", technique: Some("T1071.004"), quiet_ms: 24 * 3_600_000 };

/// The port of DNS (RFC 1035 section 4.2). Multicast DNS has another.
const DNS: u16 = 53;

/// Pairs of client and server that are followed at once, of about 450 octets each.
const PAIRS: usize = 1 << 15;

/// Hosts whose part in DNS is remembered, of at most 2.2 kB and mostly 100 octets each.
const ROLES: usize = 1 << 14;

/// Counts of a pair start anew after this time.
const WINDOW_MS: i64 = 3_600_000;

/// Queries up to here are ordinary, octets from an IPv4 header on.
const ORDINARY: u64 = 90;

/// Queries from here on are long: more than a reverse query of an IPv6 address with EDNS and a cookie (RFC 7873).
const LONG: u64 = 145;

/// Answers up to here are ordinary: what DNS could send without EDNS (RFC 1035 section 2.3.4), and headers.
const ANSWER: u64 = 540;

/// Who asks so many different servers follows delegations: it is a resolver.
const FOLLOWS: u64 = 20;

/// Who is asked by so many hosts inside is a resolver of the site.
const SERVES: u64 = 3;

/// When DNS is a tunnel, and which name servers are known.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct DnsTunnelSettings {
    /// Whether it is looked for.
    pub enabled: bool,
    /// What names of long queries hold beyond an ordinary name within an hour, for a low severity; medium at 8 times as much.
    pub upload: Octets,
    /// What answers hold within an hour, when they have 700 octets or more on average, for a low severity; medium at 8 times as much.
    pub download: Octets,
    /// What a client sends within an hour over TCP, when it is twice as much as it gets.
    pub tcp_upload: Octets,
    /// How many times as much a resolver of the site may send and get.
    pub resolver_factor: u64,
    /// So many queries within an hour to a server outside that is not known make a finding; 0 for none.
    pub outside_queries: u64,
    /// For so long it is learned which servers the hosts of the site ask, before that is said.
    pub learning: Span,
    /// Servers that any host may ask directly, and resolvers of the site.
    pub resolvers: Vec<ipnet::IpNet>,
}

impl Default for DnsTunnelSettings {
    fn default() -> Self {
        // Public resolvers of Google, Cloudflare, Quad9 and Cisco, which many devices have built in.
        let public = [
            "8.8.8.8/32",
            "8.8.4.4/32",
            "1.1.1.1/32",
            "1.0.0.1/32",
            "9.9.9.9/32",
            "149.112.112.112/32",
            "208.67.222.222/32",
            "208.67.220.220/32",
            "2001:4860:4860::/48",
            "2606:4700:4700::/48",
            "2620:fe::/48",
            "2620:119:35::/48",
        ];
        Self {
            enabled: true,
            upload: Octets(30_000),
            download: Octets(500_000),
            tcp_upload: Octets(1_000_000),
            resolver_factor: 10,
            outside_queries: 50,
            learning: Span::hours(2),
            resolvers: public.iter().filter_map(|network| network.parse().ok()).collect(),
        }
    }
}

/// Who asks a host, and whom it asks.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Role {
    asked_by: Distinct,
    asks: Distinct,
}

/// All that is remembered.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct State {
    pairs: Recent<Two, Pair>,
    roles: Recent<Ip, Role>,
    /// When the first DNS was seen.
    since_ms: Option<i64>,
}

impl Default for State {
    fn default() -> Self {
        Self { pairs: Recent::new(PAIRS), roles: Recent::new(ROLES), since_ms: None }
    }
}

impl State {
    fn is_resolver(&self, ip: Ip) -> bool {
        self.roles.get(&ip).is_some_and(|role| role.asked_by.count() >= SERVES || role.asks.count() >= FOLLOWS)
    }
}

/// Looks for DNS tunnels of hosts inside.
#[derive(Debug)]
pub(crate) struct DnsTunnel {
    settings: DnsTunnelSettings,
    state: State,
}

impl DnsTunnel {
    /// Goes on with what was remembered.
    pub(crate) const fn new(settings: DnsTunnelSettings, state: State) -> Self {
        Self { settings, state }
    }

    /// What is to be remembered.
    pub(crate) const fn state(&self) -> &State {
        &self.state
    }
}

impl Detector for DnsTunnel {
    fn flow(&mut self, flow: &Flow, context: Context<'_>, _seen: &mut Seen) {
        if flow.source_port != DNS && flow.destination_port != DNS || !self.settings.enabled {
            return;
        }
        // Of two resolvers that ask each other over port 53 it is not known who does.
        let is_between_resolvers = flow.source_port == flow.destination_port
            && context.site.is_inside(flow.source)
            && context.site.is_inside(flow.destination);
        if is_between_resolvers {
            return;
        }
        let is_query = flow.destination_port == DNS && (flow.source_port != DNS || context.site.is_inside(flow.source));
        let (client, server) = if is_query { (flow.source, flow.destination) } else { (flow.destination, flow.source) };
        let is_dns =
            matches!(flow.protocol, protocol::UDP | protocol::TCP) && server.is_of_a_host() && client.is_of_a_host();
        if !is_dns || flow.is_attempt() || !context.site.is_inside(client) {
            return;
        }
        let start_ms = flow.start_ms.max(flow.end_ms - WINDOW_MS);
        let State { pairs, roles, since_ms } = &mut self.state;
        since_ms.get_or_insert(start_ms);
        let mut is_new = false;
        let pair = pairs.entry(Two(client, server), || {
            is_new = true;
            Pair::new(start_ms)
        });
        if flow.end_ms - pair.start_ms > WINDOW_MS && start_ms > pair.start_ms {
            let is_named = pair.is_named;
            *pair = Pair { is_named, ..Pair::new(start_ms) };
            is_new = true;
        }
        pair.start_ms = pair.start_ms.min(start_ms);
        pair.end_ms = pair.end_ms.max(flow.end_ms);
        if flow.protocol == protocol::TCP {
            let amount = if is_query { &mut pair.tcp_sent } else { &mut pair.tcp_received };
            *amount = amount.saturating_add(flow.share(flow.octets, WINDOW_MS));
        } else if is_query {
            let each = pair.queries.add(flow, ORDINARY, LONG);
            keep(&mut pair.evidence, flow, each);
        } else {
            pair.answers.add(flow, ANSWER, ANSWER);
        }
        if is_new {
            roles.entry(server, Role::default).asked_by.add(&client);
            roles.entry(client, Role::default).asks.add(&server);
        }
    }

    fn advance(&mut self, context: Context<'_>, seen: &mut Seen) {
        let mut said = Vec::new();
        for (key, pair) in self.state.pairs.iter() {
            let is_due = context.now_ms - pair.end_ms <= WINDOW_MS
                && pair.said.is_none_or(|(before, _)| pair.octets() >= 2 * before);
            if !is_due {
                continue;
            }
            if let Some((severity, why)) = self.tunnel(*key, pair) {
                said.push((*key, Some(severity)));
                seen.push(tunnel_seen(*key, pair, severity, &why));
            } else if !pair.is_named && self.is_odd_server(*key, pair, context) {
                said.push((*key, None));
                seen.push(resolver_seen(*key, pair));
            }
        }
        for (key, severity) in said {
            let Some(pair) = self.state.pairs.get_mut(&key) else { continue };
            match severity {
                Some(severity) => pair.said = Some((pair.octets(), severity)),
                None => pair.is_named = true,
            }
        }
    }

    fn name(&self) -> &'static str {
        "dns-tunnel-1"
    }

    fn learned(&self) -> Option<Vec<u8>> {
        postcard::to_stdvec(self.state()).ok()
    }

    fn go_on_with(&mut self, learned: &[u8]) -> bool {
        postcard::from_bytes(learned).map(|learned| self.state = learned).is_ok()
    }

    fn memory(&self) -> (usize, u64) {
        let State { pairs, roles, .. } = &self.state;
        (pairs.len() + roles.len(), pairs.forgotten() + roles.forgotten())
    }
}

impl DnsTunnel {
    /// Whether the pair is a tunnel, how bad it is, and why.
    fn tunnel(&self, Two(client, _): Two, pair: &Pair) -> Option<(Severity, String)> {
        let settings = &self.settings;
        let (queries, answers) = (&pair.queries, &pair.answers);
        let is_candidate = queries.excess >= settings.upload.0
            || queries.rather >= settings.upload.0
            || answers.octets >= settings.download.0
            || pair.tcp_sent >= settings.tcp_upload.0;
        if !is_candidate {
            return None;
        }
        let factor = if self.state.is_resolver(client) { settings.resolver_factor.max(1) } else { 1 };
        let graded = |amount: u64, bar: u64| match amount / bar.saturating_mul(factor).max(1) {
            0 => None,
            1..8 => Some(Severity::Low),
            _ => Some(Severity::Medium),
        };
        // A resolver of many has long names among others; so has whoever asks about files and addresses in names.
        let is_mostly_long =
            queries.long.saturating_mul(5) >= queries.packets && (factor == 1 || queries.mean() >= LONG);
        if is_mostly_long && let Some(severity) = graded(queries.excess, settings.upload.0) {
            let is_all = queries.excess / 64 >= settings.upload.0.saturating_mul(factor) && queries.mean() >= LONG;
            let severity = if is_all { Severity::High } else { severity };
            let why = format!(
                "{} of the queries have {LONG} octets or more, room for {} of data in their names; ordinary ones have 60 to {ORDINARY}",
                super::words::grouped(queries.long),
                octets(queries.excess)
            );
            return Some((severity, why));
        }
        let both = queries.rather + queries.excess;
        if factor == 1 && queries.mean() >= 100 && both >= settings.upload.0.saturating_mul(8) {
            return Some((
                Severity::Low,
                format!("ordinary queries have 60 to {ORDINARY} octets, and fewer of them are sent"),
            ));
        }
        if answers.mean() >= 700
            && let Some(severity) = graded(answers.octets, settings.download.0)
        {
            return Some((severity, "ordinary answers have 100 to 300 octets, and few are large".to_owned()));
        }
        if pair.tcp_sent >= settings.tcp_upload.0 && pair.tcp_sent / 2 >= pair.tcp_received {
            let why = format!(
                "{} were sent over TCP port 53 and {} came back, where answers are larger than queries",
                octets(pair.tcp_sent),
                octets(pair.tcp_received)
            );
            return Some((Severity::Medium, why));
        }
        None
    }

    /// Whether a host asks a server outside that is not the site's, where others ask the site's.
    fn is_odd_server(&self, Two(client, server): Two, pair: &Pair, context: Context<'_>) -> bool {
        let settings = &self.settings;
        let is_enough = settings.outside_queries > 0
            && pair.queries.packets >= settings.outside_queries
            && pair.answers.packets > 0
            && self.state.since_ms.is_some_and(|since| context.now_ms - since >= settings.learning.0);
        if !is_enough || !context.site.is_outside(server) || self.state.is_resolver(client) {
            return false;
        }
        // A server that answers hosts inside is a resolver, even if it has few of them.
        let serves = self.state.roles.get(&client).is_some_and(|role| role.asked_by.count() > 0);
        let is_known = settings.resolvers.iter().any(|network| network.contains(&server.to_addr()));
        let asked_by = |ip: &Ip| self.state.roles.get(ip).map_or(0, |role| role.asked_by.count());
        // It is odd only where there is something that is usual.
        !serves && !is_known && asked_by(&server) < SERVES && self.state.roles.iter().any(|(ip, _)| asked_by(ip) >= 5)
    }
}

fn tunnel_seen(Two(client, server): Two, pair: &Pair, severity: Severity, why: &str) -> Sighting {
    let (queries, answers) = (&pair.queries, &pair.answers);
    Sighting {
        rule: &TUNNEL,
        severity,
        subject: client.into(),
        matter: server.to_string(),
        title: format!("{client} seems to tunnel through DNS to {server}"),
        explanation: format!(
            "{client} sent {server} {} of {} octets on average and got {} of {} octets in {}: {why}.",
            counted(queries.packets, "query"),
            queries.mean(),
            counted(answers.packets, "answer"),
            answers.mean(),
            span(pair.end_ms - pair.start_ms)
        ),
        peers: vec![server],
        first_ms: pair.start_ms,
        last_ms: pair.end_ms,
        evidence: pair.evidence.clone(),
    }
}

fn resolver_seen(Two(client, server): Two, pair: &Pair) -> Sighting {
    Sighting {
        rule: &RESOLVER,
        severity: Severity::Low,
        subject: client.into(),
        matter: server.to_string(),
        title: format!("{client} asks a name server outside, {server}"),
        explanation: format!(
            "{client} sent {} to {server} in {} past the resolvers that other hosts here ask.",
            counted(pair.queries.packets, "query"),
            span(pair.end_ms - pair.start_ms)
        ),
        peers: vec![server],
        first_ms: pair.start_ms,
        last_ms: pair.end_ms,
        evidence: pair.evidence.clone(),
    }
}

#[cfg(test)]
mod tests;
