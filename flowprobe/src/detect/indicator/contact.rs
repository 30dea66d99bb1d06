//! What an inside host has to do with the addresses of a list, and how it is said.

use serde::{Deserialize, Serialize};

use super::set::{ListInfo, Listed};
use super::{CONTACT, PROBE};
use crate::detect::connection::{Amount, Connection};
use crate::detect::finding::{Seen, Severity, Sighting};
use crate::detect::flow::{Flow, Ip};
use crate::detect::sketch::distinct::Distinct;
use crate::detect::words::{counted, grouped, listed as some_of, octets, span};

/// The time between two sightings of the same.
const AGAIN_MS: i64 = 60_000;

/// The time after which it is said again although it has not grown, as long as it goes on.
const GOES_ON_MS: i64 = 30 * 60_000;

/// Listed hosts that are named with the reason.
const NAMED: usize = 4;

/// Listed hosts and flows for the next sighting.
const PENDING: usize = 32;

/// How two have met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The inside host has opened a conversation and was answered.
    Opened,
    /// The inside host was not answered.
    Tried,
    /// The listed host has opened one and was answered.
    Accepted,
    /// The inside host has sent something, and it is not known who began.
    Unclear,
}

/// An inside host and the hosts of a list.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Contact {
    /// Conversations by [`Kind`].
    met: [u64; 4],
    sent: Amount,
    received: Amount,
    peers: Distinct,
    /// The first few, with the reason.
    named: Vec<(Ip, String)>,
    first_ms: i64,
    last_ms: i64,
    pending: (Vec<Ip>, Vec<Flow>),
    pub(super) is_unsaid: bool,
    said: Option<Said>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Said {
    at_ms: i64,
    severity: Severity,
    octets: u64,
    met: u64,
}

impl Contact {
    pub(super) fn new(first_ms: i64) -> Self {
        Self {
            met: [0; 4],
            sent: Amount::default(),
            received: Amount::default(),
            peers: Distinct::default(),
            named: Vec::new(),
            first_ms,
            last_ms: first_ms,
            pending: (Vec::new(), Vec::new()),
            is_unsaid: false,
            said: None,
        }
    }

    /// Whether its finding has ended: what comes is another matter, and is judged by itself.
    pub(super) const fn is_over(&self, now_ms: i64) -> bool {
        now_ms - self.last_ms > CONTACT.quiet_ms
    }

    /// Counts what they have sent; a conversation, where it is one more.
    pub(super) fn add(
        &mut self,
        peer: Ip,
        by: &Listed<'_>,
        kind: Option<Kind>,
        sums: [Amount; 2],
        flows: &[Flow],
        now_ms: i64,
    ) {
        for (whole, sum) in [&mut self.sent, &mut self.received].into_iter().zip(sums) {
            whole.packets = whole.packets.saturating_add(sum.packets);
            whole.octets = whole.octets.saturating_add(sum.octets);
        }
        self.last_ms = self.last_ms.max(now_ms);
        self.is_unsaid = true;
        let Some(kind) = kind else { return };
        self.met[kind as usize] += 1;
        let before = self.peers.count();
        self.peers.add(&peer);
        let is_named = self.named.iter().any(|(named, _)| *named == peer);
        if self.named.len() < NAMED && !is_named {
            self.named.push((peer, by.why()));
        }
        if (self.peers.count() > before || self.said.is_none())
            && self.pending.0.len() < PENDING
            && !self.pending.0.contains(&peer)
        {
            self.pending.0.push(peer);
        }
        self.pending.1.extend(flows.iter().take(4_usize.saturating_sub(self.pending.1.len())));
    }

    fn severity(&self, list: &ListInfo) -> Severity {
        if self.met[Kind::Opened as usize] > 0 {
            return list.severity;
        }
        match list.severity {
            Severity::Low | Severity::Medium => Severity::Low,
            Severity::High => Severity::Medium,
            Severity::Critical => Severity::High,
        }
    }

    /// Says it when it is new, worse, twice as much, or with others; or has gone on for long.
    pub(super) fn say_if_new(&mut self, inside: Ip, list: &ListInfo, now_ms: i64, seen: &mut Seen) {
        let now = Said {
            at_ms: now_ms,
            severity: self.severity(list),
            octets: self.sent.octets.saturating_add(self.received.octets),
            met: self.met.iter().sum(),
        };
        let is_new = self.said.is_none_or(|said| {
            let has_grown =
                now.octets / 2 >= said.octets.max(1000) || now.met / 2 >= said.met.max(4) || !self.pending.0.is_empty();
            let since_ms = now_ms - said.at_ms;
            now.severity > said.severity || since_ms >= AGAIN_MS && has_grown || since_ms >= GOES_ON_MS
        });
        if !is_new || !self.is_unsaid {
            return;
        }
        self.said = Some(now);
        self.is_unsaid = false;
        let (peers, evidence) = std::mem::take(&mut self.pending);
        seen.push(Sighting {
            rule: &CONTACT,
            severity: now.severity,
            subject: inside.into(),
            matter: list.name.clone(),
            title: self.title(inside, list),
            explanation: self.explanation(inside, list),
            peers,
            first_ms: self.first_ms,
            last_ms: self.last_ms,
            evidence,
        });
    }

    fn title(&self, inside: Ip, list: &ListInfo) -> String {
        let [opened, tried, accepted, _] = self.met;
        let does = match (opened, tried, accepted) {
            (1.., ..) => "talks to",
            (0, 1.., 0) => "tries to reach",
            (0, _, 1..) => "answers",
            (0, 0, 0) => "exchanges packets with",
        };
        match (self.peers.count(), self.named.first()) {
            (1, Some((peer, _))) => format!("{inside} {does} {peer}, which is on list {}", list.name),
            (count, _) => format!("{inside} {does} {} on list {}", counted(count, "address"), list.name),
        }
    }

    fn explanation(&self, inside: Ip, list: &ListInfo) -> String {
        let Amount { packets, octets: size } = self.sent;
        let mut text = format!("{inside} sent {} ({}) to ", octets(size), counted(packets, "packet"));
        let Amount { packets, octets: size } = self.received;
        let count = self.peers.count();
        text += &format!(
            "{} on list {} and received {} ({})",
            counted(count, "address"),
            list.name,
            octets(size),
            counted(packets, "packet")
        );
        let lasts_ms = self.last_ms - self.first_ms;
        text += &if lasts_ms >= 1000 { format!(" within {}", span(lasts_ms)) } else { String::new() };
        let phrases = [
            "that it opened were answered",
            "that it opened were not",
            "that the other side opened were answered",
            "began out of sight",
        ];
        let parts: Vec<String> = self
            .met
            .iter()
            .zip(phrases)
            .filter(|(met, _)| **met > 0)
            .map(|(met, phrase)| {
                let phrase = if *met == 1 { phrase.replace(" were", " was") } else { phrase.to_owned() };
                format!("{} {phrase}", counted(*met, "conversation"))
            })
            .collect();
        text += &format!("; {}. Listed: {}.", parts.join(", "), names(&self.named, count));
        text
    }
}

/// An inside host that hosts of a list try to reach.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Probed {
    attempts: u64,
    from: Distinct,
    named: Vec<(Ip, String)>,
    first_ms: i64,
    last_ms: i64,
    pending: (Vec<Ip>, Vec<Flow>),
    /// When, and how many attempts there were.
    said: Option<(i64, u64)>,
}

impl Probed {
    pub(super) fn new(first_ms: i64) -> Self {
        let (from, named) = (Distinct::default(), Vec::new());
        Self { attempts: 0, from, named, first_ms, last_ms: first_ms, pending: (Vec::new(), Vec::new()), said: None }
    }

    /// Whether its finding has ended.
    pub(super) const fn is_over(&self, now_ms: i64) -> bool {
        now_ms - self.last_ms > PROBE.quiet_ms
    }

    pub(super) fn add(&mut self, peer: Ip, by: &Listed<'_>, connection: &Connection) {
        self.attempts += 1;
        self.from.add(&peer);
        self.last_ms = self.last_ms.max(connection.end_ms);
        if self.named.len() < NAMED && self.named.iter().all(|(named, _)| *named != peer) {
            self.named.push((peer, by.why()));
        }
        if self.pending.0.len() < PENDING && !self.pending.0.contains(&peer) {
            self.pending.0.push(peer);
        }
        if self.pending.1.len() < 4 {
            self.pending.1.push(connection.to_flow());
        }
    }

    /// Whether there are enough attempts, and twice as many as were said last.
    pub(super) fn is_new(&self, least: u64, now_ms: i64) -> bool {
        self.attempts >= least
            && self.said.is_none_or(|(at_ms, attempts)| now_ms - at_ms >= AGAIN_MS && self.attempts / 2 >= attempts)
    }

    /// Says it. So many inside hosts are probed by hosts of the list altogether.
    pub(super) fn say(&mut self, inside: Ip, list: &ListInfo, hosts: u64, now_ms: i64) -> Sighting {
        self.said = Some((now_ms, self.attempts));
        let count = self.from.count();
        let (peers, evidence) = std::mem::take(&mut self.pending);
        let lasts = span((self.last_ms - self.first_ms).max(1000));
        let from = counted(count, "address");
        let mut explanation = format!(
            "{from} on list {} tried to reach {inside} {} within {lasts}; it gave no answer but a refusal or an echo. Listed: {}.",
            list.name,
            counted(self.attempts, "time"),
            names(&self.named, count)
        );
        if hosts > 1 {
            explanation += &format!(" Addresses of this list tried {} inside hosts so far.", grouped(hosts));
        }
        Sighting {
            rule: &PROBE,
            severity: Severity::Low,
            subject: inside.into(),
            matter: list.name.clone(),
            title: format!("{from} on list {} probed {inside}", list.name),
            explanation,
            peers,
            first_ms: self.first_ms,
            last_ms: self.last_ms,
            evidence,
        }
    }
}

/// Listed hosts with their reasons.
fn names(named: &[(Ip, String)], total: u64) -> String {
    let texts: Vec<String> =
        named.iter().map(|(ip, why)| if why.is_empty() { ip.to_string() } else { format!("{ip} ({why})") }).collect();
    some_of(&texts, total)
}
