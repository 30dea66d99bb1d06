//! Who may talk to whom: policies of the operator's, and who breaks them.

mod rules;
mod terms;
#[cfg(test)]
mod tests;

use serde::Deserialize;

use rules::Rules;
pub use rules::{NumberOrText, Written};
use terms::protocol_name;

use super::connection::{Connection, Outcome};
use super::finding::{Rule, Seen, Sighting, Subject};
use super::flow::{Flow, Ip, flag, protocol};
use super::sketch::recent::Recent;
use super::words::{counted, grouped};
use super::{Context, Detector};

/// Breaches that are followed at once, by policy and client.
const BREACHES: usize = 1 << 14;

/// Servers and ports that are named of each.
const TARGETS: usize = 8;

/// Flows that are shown of each.
const EVIDENCE: usize = 4;

/// Clients of a policy in an hour that have findings of their own; with more of them, such as a scan of made-up addresses, the rest is one.
const CLIENTS: u32 = 256;

/// What is not said at once is said after this time.
const SOON_MS: i64 = 60_000;

const HOUR_MS: i64 = 3_600_000;

/// A breach of a policy.
static BREACH: Rule = Rule { name: "policy", technique: None, quiet_ms: 900_000 };

/// Policies: a list of [`Written`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<Written>")]
pub struct PolicySettings {
    rules: Rules,
}

impl Default for PolicySettings {
    fn default() -> Self {
        Self { rules: Rules::none() }
    }
}

impl TryFrom<Vec<Written>> for PolicySettings {
    type Error = String;

    /// Fails with the name of the policy that contradicts itself or that nothing can break, and why.
    fn try_from(written: Vec<Written>) -> Result<Self, String> {
        Rules::new(written).map(|rules| Self { rules })
    }
}

impl PolicySettings {
    /// Names of the policies, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.rules.policies.iter().map(|policy| policy.name.as_str())
    }
}

/// Looks for breaches of policies.
pub(crate) struct Policies {
    rules: Rules,
    /// By number of the policy, and client; the unspecified address for those that have no finding of their own.
    breaches: Recent<(u32, Ip), Breach>,
    /// By policy: clients in the hour that began then.
    clients: Vec<(i64, u32)>,
    /// Those of which there is more to say.
    unsaid: Vec<(u32, Ip)>,
}

#[derive(Debug)]
struct Target {
    server: Ip,
    port: u16,
    protocol: u8,
    count: u64,
}

#[derive(Debug, Default)]
struct Breach {
    first_ms: i64,
    last_ms: i64,
    talked: u64,
    tried: u64,
    targets: Vec<Target>,
    /// Those that there was no room for.
    others: u64,
    said: u64,
    said_ms: i64,
    is_unsaid: bool,
    evidence: Vec<Flow>,
}

impl Policies {
    /// Of these settings. What was seen before a restart is in the findings.
    pub(crate) fn new(settings: PolicySettings) -> Self {
        let rules = settings.rules;
        let clients = vec![(0, 0); rules.policies.len()];
        Self { rules, breaches: Recent::new(BREACHES), clients, unsaid: vec![] }
    }

    fn breach(&mut self, index: usize, talk: &Talk, connection: &Connection, now_ms: i64, seen: &mut Seen) {
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        let mut key = (number, talk.client);
        if self.breaches.get(&key).is_none() {
            let (began_ms, count) = &mut self.clients[index];
            if now_ms - *began_ms >= HOUR_MS {
                (*began_ms, *count) = (now_ms, 0);
            }
            *count = count.saturating_add(1);
            if *count > CLIENTS {
                key.1 = Ip::default();
            }
        }
        let new = || Breach { first_ms: connection.start_ms, said_ms: i64::MIN / 2, ..Breach::default() };
        let breach = self.breaches.entry(key, new);
        breach.take(talk, connection);
        let count = breach.talked + breach.tried;
        if count >= breach.said * 2 {
            breach.say(now_ms);
            seen.push(sighting(&self.rules, key, breach));
        } else if !breach.is_unsaid {
            breach.is_unsaid = true;
            self.unsaid.push(key);
        }
    }
}

impl Breach {
    fn take(&mut self, talk: &Talk, connection: &Connection) {
        self.first_ms = self.first_ms.min(connection.start_ms);
        self.last_ms = self.last_ms.max(connection.end_ms);
        *(if talk.has_failed { &mut self.tried } else { &mut self.talked }) += 1;
        let Talk { server, port, protocol, .. } = *talk;
        let is_it = |target: &&mut Target| (target.server, target.port, target.protocol) == (server, port, protocol);
        if let Some(known) = self.targets.iter_mut().find(is_it) {
            known.count += 1;
        } else if self.targets.len() < TARGETS {
            self.targets.push(Target { server, port, protocol, count: 1 });
        } else {
            self.others += 1;
        }
        if self.evidence.len() < EVIDENCE {
            self.evidence.push(connection.to_flow());
        }
    }

    const fn say(&mut self, now_ms: i64) {
        (self.said, self.said_ms) = (self.talked + self.tried, now_ms);
    }
}

impl Detector for Policies {
    fn judged(&mut self, connection: &Connection, outcome: Outcome, context: Context<'_>, seen: &mut Seen) {
        if self.rules.is_empty() {
            return;
        }
        let Some(talk) = talk(connection, outcome) else { return };
        let mut broken = Vec::new();
        self.rules.broken(context.site, talk.client, talk.server, talk.protocol, talk.port, |index| broken.push(index));
        let has = |ports: [u16; 2]| ports.contains(&connection.client_port) && ports.contains(&connection.server_port);
        // No host works without DHCP; rogue servers of it have a detector of their own.
        let is_dhcp = talk.protocol == protocol::UDP && (has([67, 68]) || has([546, 547]));
        for index in broken {
            if is_dhcp && self.rules.policies[index].has_only_ports() {
                continue;
            }
            self.breach(index, &talk, connection, context.now_ms, seen);
        }
    }

    fn advance(&mut self, context: Context<'_>, seen: &mut Seen) {
        let Self { rules, breaches, unsaid, .. } = self;
        unsaid.retain(|key| {
            let Some(breach) = breaches.get_mut(key) else { return false };
            if context.now_ms - breach.said_ms < SOON_MS {
                return true;
            }
            breach.is_unsaid = false;
            if breach.said < breach.talked + breach.tried {
                breach.say(context.now_ms);
                seen.push(sighting(rules, *key, breach));
            }
            false
        });
        // Once it is quiet, it begins anew.
        breaches.retain(|_, breach| breach.is_unsaid || context.now_ms - breach.last_ms <= BREACH.quiet_ms);
    }

    fn name(&self) -> &'static str {
        "policy-1"
    }

    fn memory(&self) -> (usize, u64) {
        (self.breaches.len() + self.clients.len(), self.breaches.forgotten())
    }
}

/// Who talks to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Talk {
    client: Ip,
    server: Ip,
    protocol: u8,
    /// 0 where the protocol has none.
    port: u16,
    has_failed: bool,
}

/// What a conversation says about who talks to whom, if it does.
fn talk(connection: &Connection, outcome: Outcome) -> Option<Talk> {
    /// Ports that clients take on most systems (Linux from 32768, RFC 6335 from 49152), and such as they hardly take.
    const CLIENTS: u16 = 32_768;
    const SERVERS: u16 = 10_000;
    let Connection { client, server, client_port, server_port, protocol, client_flags, .. } = *connection;
    let has_ports = rules::WITH_PORTS.contains(&protocol);
    // An answer without a question, as comes to those whose addresses others make up; and the end of a conversation.
    let is_end = protocol == protocol::TCP && client_flags & flag::SYN == 0 && client_flags & flag::RST != 0;
    if connection.sent.packets == 0 || is_end && outcome == Outcome::Unknown {
        return None;
    }
    let has_failed = outcome.has_failed();
    let is_attempt = protocol == protocol::TCP && client_flags & flag::SYN != 0 && client_flags & flag::ACK == 0;
    let is_reverse = has_ports && !is_attempt && client_port != 0 && client_port < SERVERS && server_port >= CLIENTS;
    if is_reverse {
        // The middle of a conversation, or its answer before its question. Nobody was there to be asked if it came to nothing.
        return (!has_failed && connection.received.packets > 0).then_some(Talk {
            client: server,
            server: client,
            protocol,
            port: client_port,
            has_failed,
        });
    }
    Some(Talk { client, server, protocol, port: if has_ports { server_port } else { 0 }, has_failed })
}

fn sighting(rules: &Rules, (number, client): (u32, Ip), breach: &Breach) -> Sighting {
    let policy = &rules.policies[number as usize];
    let is_many = client == Ip::default();
    let who = if is_many { "More clients".to_owned() } else { client.to_string() };
    let verb = if breach.talked > 0 { "talked to" } else { "tried to talk to" };
    let name = |target: &Target| {
        let (server, protocol) = (target.server.to_addr(), protocol_name(target.protocol));
        match target.port {
            0 => format!("{server} ({protocol})"),
            port => format!("{} ({protocol})", std::net::SocketAddr::new(server, port)),
        }
    };
    let mut named: Vec<String> =
        breach.targets.iter().map(|target| format!("{} {}", name(target), times(target.count))).collect();
    if breach.others > 0 {
        named.push(format!("others {}", times(breach.others)));
    }
    let tried = match (breach.talked, breach.tried) {
        (0, tried) => {
            format!("All {} were tried only: nobody answered, or it was refused.", counted(tried, "conversation"))
        }
        (talked, 0) => format!("{} in all.", counted(talked, "conversation")),
        (talked, tried) => {
            format!("{} in all, and {} that came to nothing.", counted(talked, "conversation"), grouped(tried))
        }
    };
    let tried = tried.replace("All 1 conversation were", "It was");
    let first = breach.targets.first().map(name).unwrap_or_default();
    let more = if breach.targets.len() > 1 || breach.others > 0 { " and others" } else { "" };
    Sighting {
        rule: &BREACH,
        severity: policy.severity,
        subject: if is_many { Subject::Interface("all networks".to_owned()) } else { client.into() },
        matter: policy.name.clone(),
        title: format!("{who} {verb} {first}{more} against the policy \"{}\"", policy.name),
        explanation: format!("{who} {verb} {}. The policy \"{}\" forbids it. {tried}", named.join(", "), policy.name),
        peers: breach.targets.iter().map(|target| target.server).collect(),
        first_ms: breach.first_ms,
        last_ms: breach.last_ms,
        evidence: breach.evidence.clone(),
    }
}

fn times(count: u64) -> String {
    match count {
        1 => "once".to_owned(),
        _ => counted(count, "time"),
    }
}
