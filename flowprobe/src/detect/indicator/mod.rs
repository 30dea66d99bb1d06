//! Inside hosts that have to do with addresses of indicator lists.

mod address;
mod columns;
mod contact;
mod filter;
mod hunt;
mod parse;
mod set;

use std::hash::Hash;
use std::path::PathBuf;
use std::sync::Arc;

use hashbrown::HashMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::connection::{Amount, Connection, Outcome};
use super::finding::{Rule, Seen, Severity};
use super::flow::{Flow, Ip, flag, protocol};
use super::handed::Handed;
use super::site::{Site, is_private};
use super::sketch::distinct::Distinct;
use super::sketch::recent::Recent;
use super::{Context, Detector};
use contact::{Contact, Kind, Probed};
pub use hunt::{Hit, Past, hunt};
pub use parse::{NothingListed, Parsed, Refusal, parse};
use set::{Found, IndicatorSet as Set};
pub use set::{IndicatorSet, ListInfo, Listed};

static CONTACT: Rule = Rule { name: "indicator", technique: Some("T1071"), quiet_ms: 3_600_000 };
static PROBE: Rule = Rule { name: "indicator-probe", technique: Some("T1595"), quiet_ms: 6 * 3_600_000 };

/// Pairs of an inside host and a listed one.
const PAIRS: usize = 1 << 15;

/// Pairs of a list and an inside host that talks to listed ones, of at most 2 KiB each; and as many that are probed.
const HOSTS: usize = 1 << 14;

/// Inside hosts of which it is said that hosts of the same list probe them; of the others there is a count.
const PROBED: usize = 64;

/// What both have sent when they talk, even where nobody saw it begin.
const ALIVE: u64 = 4;

/// And for how long they have, so that the beginning would have been judged.
const ALIVE_MS: i64 = 15_000;

/// What is looked for in indicator lists.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct IndicatorSettings {
    /// The lists.
    pub list: Vec<ListSettings>,
    /// Attempts of listed hosts to reach an inside host from which on it is said that it is probed; never at 0.
    pub probes: u64,
}

impl Default for IndicatorSettings {
    fn default() -> Self {
        Self { list: Vec::new(), probes: 10 }
    }
}

/// A list of addresses and networks.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ListSettings {
    /// Where it is.
    pub file: PathBuf,
    /// As findings name it. By default what it calls itself, else the name of the file.
    pub name: Option<String>,
    /// Severity when an inside host opens a conversation with a listed address and is answered. One step less, when it is not
    /// answered, when the listed host begins, and when it is not known who did.
    pub severity: Severity,
    /// Said of entries that have no reason of their own. By default the category that the list says of itself.
    pub reason: Option<String>,
    /// Entries with a lower score are ignored. Entries without a score are not.
    pub minimum_score: Option<f64>,
    /// Whether entries match inside hosts and private addresses, too.
    pub match_inside: bool,
}

impl Default for ListSettings {
    fn default() -> Self {
        Self {
            file: PathBuf::new(),
            name: None,
            severity: Severity::Medium,
            reason: None,
            minimum_score: None,
            match_inside: false,
        }
    }
}

impl ListSettings {
    /// As findings name it.
    fn name_of(&self, parsed: &Parsed) -> String {
        let of_file = || self.file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        self.name.clone().or_else(|| parsed.name.clone()).or_else(of_file).unwrap_or_default()
    }
}

/// Whether an address may match: a host's that is not ours, and that is routed on the internet.
fn may_match(site: &Site, ip: Ip) -> bool {
    site.is_outside(ip) && !is_private(ip)
}

/// An inside host and a listed one.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Pair {
    /// By the inside host; not yet counted in a contact.
    sent: Amount,
    /// By the listed one.
    received: Amount,
    first_ms: i64,
    /// Whether one has sent RST.
    is_reset: bool,
    /// Whether it is known that they talk: what they send is counted in their contacts.
    talks: bool,
}

/// What is remembered of a list.
#[derive(Debug, Default, Serialize, Deserialize)]
struct OfList {
    probed: Distinct,
    said: Vec<Ip>,
}

/// What was seen, to go on after a restart.
#[derive(Debug, Serialize, Deserialize)]
pub struct IndicatorState {
    #[serde(serialize_with = "as_list", deserialize_with = "from_list::<PAIRS, _, _, _>")]
    pairs: Recent<(Ip, Ip), Pair>,
    /// By list and inside host.
    #[serde(serialize_with = "as_list", deserialize_with = "from_list::<HOSTS, _, _, _>")]
    contacts: Recent<(u64, Ip), Contact>,
    #[serde(serialize_with = "as_list", deserialize_with = "from_list::<HOSTS, _, _, _>")]
    probed: Recent<(u64, Ip), Probed>,
    lists: HashMap<u64, OfList>,
}

impl Default for IndicatorState {
    fn default() -> Self {
        Self {
            pairs: Recent::new(PAIRS),
            contacts: Recent::new(HOSTS),
            probed: Recent::new(HOSTS),
            lists: HashMap::new(),
        }
    }
}

/// JSON has no keys that are pairs.
fn as_list<K, V, S>(map: &Recent<K, V>, serializer: S) -> Result<S::Ok, S::Error>
where
    K: Copy + Eq + Hash + Serialize,
    V: Serialize,
    S: Serializer,
{
    serializer.collect_seq(map.iter())
}

fn from_list<'de, const MOST: usize, K, V, D>(deserializer: D) -> Result<Recent<K, V>, D::Error>
where
    K: Copy + Eq + Hash + Deserialize<'de>,
    V: Deserialize<'de>,
    D: Deserializer<'de>,
{
    let mut map = Recent::new(MOST);
    for (key, value) in Vec::<(K, V)>::deserialize(deserializer)? {
        map.entry(key, || value);
    }
    Ok(map)
}

/// Flows that matched and of which nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ignored {
    /// The listed address is inside, private, or no host's.
    pub inside: u64,
    /// Nobody is inside.
    pub passing: u64,
}

/// Looks both ends of each flow up.
#[derive(Debug)]
pub struct Indicator {
    probes: u64,
    set: Arc<Set>,
    new_set: Handed<Arc<Set>>,
    state: IndicatorState,
    /// Since the start.
    ignored: Ignored,
}

/// An inside host and a listed one in a flow or a conversation.
#[derive(Clone, Copy)]
struct Meeting {
    inside: Ip,
    listed: Ip,
    found: Found,
    is_first: bool,
}

impl Indicator {
    /// With these lists, and what was seen before. Newer lists are taken from where they are put, at the next [`Detector::advance`].
    #[must_use]
    pub fn new(settings: &IndicatorSettings, set: Arc<Set>, new_set: Handed<Arc<Set>>, state: IndicatorState) -> Self {
        Self { probes: settings.probes, set, new_set, state, ignored: Ignored::default() }
    }

    /// What was seen, to be kept.
    #[must_use]
    pub const fn state(&self) -> &IndicatorState {
        &self.state
    }

    /// What nothing was said of, since the start.
    #[must_use]
    pub const fn ignored(&self) -> Ignored {
        self.ignored
    }

    /// Those of two ends that are listed, each with the other; the first of the two is the source or the client.
    fn meetings(&self, first: Ip, second: Ip) -> [Option<Meeting>; 2] {
        let of = |inside, listed, is_first| {
            let found = self.set.find(listed);
            (found != 0).then_some(Meeting { inside, listed, found, is_first })
        };
        [of(first, second, true), of(second, first, false)]
    }

    fn sum(&mut self, flow: &Flow, meeting: Meeting, context: Context<'_>, seen: &mut Seen) {
        let Meeting { inside, listed, found, is_first: is_sent } = meeting;
        let counts = may_match(context.site, listed);
        let may_be_inside = || self.set.listed(found).iter().any(|listed| listed.list.match_inside);
        let matches = counts || self.set.may_match_inside() && may_be_inside();
        if !matches {
            self.ignored.inside += 1;
            return;
        }
        if !context.site.is_inside(inside) {
            self.ignored.passing += 1;
            return;
        }
        let pair = self.state.pairs.entry((inside, listed), || Pair { first_ms: flow.start_ms, ..Pair::default() });
        let amount = if is_sent { &mut pair.sent } else { &mut pair.received };
        amount.packets = amount.packets.saturating_add(flow.packets);
        amount.octets = amount.octets.saturating_add(flow.octets);
        pair.first_ms = pair.first_ms.min(flow.start_ms);
        pair.is_reset |= flow.protocol == protocol::TCP && flow.tcp_flags & flag::RST != 0;
        let first_ms = pair.first_ms;
        let is_alive = pair.sent.packets >= ALIVE && pair.received.packets >= ALIVE && !flow.is_icmp();
        if pair.talks {
            self.meet(meeting, None, &[], flow.start_ms, context, seen);
        } else if is_alive && !pair.is_reset && flow.end_ms - first_ms >= ALIVE_MS {
            self.meet(meeting, Some(Kind::Unclear), &[*flow], first_ms, context, seen);
        }
    }

    /// Counts what a pair has sent in its contacts, of each list one.
    fn meet(
        &mut self,
        meeting: Meeting,
        kind: Option<Kind>,
        flows: &[Flow],
        first_ms: i64,
        context: Context<'_>,
        seen: &mut Seen,
    ) {
        let Meeting { inside, listed, found, .. } = meeting;
        let pair = self.state.pairs.entry((inside, listed), || Pair { first_ms, ..Pair::default() });
        pair.talks = true;
        let first_ms = first_ms.min(pair.first_ms);
        let sums = [std::mem::take(&mut pair.sent), std::mem::take(&mut pair.received)];
        let counts = may_match(context.site, listed);
        for by in self.set.listed(found).iter().filter(|by| counts || by.list.match_inside) {
            let contact = self.state.contacts.entry((by.list.id, inside), || Contact::new(first_ms));
            if contact.is_over(context.now_ms) {
                *contact = Contact::new(first_ms);
            }
            contact.add(listed, by, kind, sums, flows, context.now_ms);
            contact.say_if_new(inside, by.list, context.now_ms, seen);
        }
    }

    /// A listed host has tried to reach an inside one, or looks as if.
    fn probe(&mut self, meeting: Meeting, connection: &Connection, context: Context<'_>, seen: &mut Seen) {
        let Meeting { inside, listed, found, .. } = meeting;
        let counts = may_match(context.site, listed);
        if self.probes == 0 || !context.site.is_inside(inside) {
            return;
        }
        for by in self.set.listed(found).iter().filter(|by| counts || by.list.match_inside) {
            let probed = self.state.probed.entry((by.list.id, inside), || Probed::new(connection.start_ms));
            if probed.is_over(connection.start_ms) {
                *probed = Probed::new(connection.start_ms);
            }
            probed.add(listed, by, connection);
            let of_list = self.state.lists.entry(by.list.id).or_default();
            of_list.probed.add(&inside);
            if !probed.is_new(self.probes, context.now_ms) {
                continue;
            }
            if !of_list.said.contains(&inside) {
                if of_list.said.len() >= PROBED {
                    continue;
                }
                of_list.said.push(inside);
            }
            seen.push(probed.say(inside, by.list, of_list.probed.count(), context.now_ms));
        }
    }

    fn take_new_set(&mut self) {
        let Some(set) = self.new_set.take() else { return };
        let ids: Vec<u64> = set.lists().iter().map(|list| list.id).collect();
        self.state.contacts.retain(|(list, _), _| ids.contains(list));
        self.state.probed.retain(|(list, _), _| ids.contains(list));
        self.state.lists.retain(|list, _| ids.contains(list));
        self.set = set;
    }
}

impl Detector for Indicator {
    fn flow(&mut self, flow: &Flow, context: Context<'_>, seen: &mut Seen) {
        for meeting in self.meetings(flow.source, flow.destination).into_iter().flatten() {
            self.sum(flow, meeting, context, seen);
        }
    }

    fn judged(&mut self, connection: &Connection, outcome: Outcome, context: Context<'_>, seen: &mut Seen) {
        for meeting in self.meetings(connection.client, connection.server).into_iter().flatten() {
            let is_icmp = matches!(connection.protocol, protocol::ICMP | protocol::ICMPV6);
            let (sent, flags) = if meeting.is_first {
                (connection.sent, connection.client_flags)
            } else {
                (connection.received, connection.server_flags)
            };
            // Who sends nothing but RST refuses, though the question was not seen, or is told of later.
            let refuses = flags & (flag::SYN | flag::RST | flag::PSH | flag::FIN) == flag::RST && sent.packets <= 2;
            let kind = match (meeting.is_first, outcome) {
                (true, Outcome::Answered) => Some(Kind::Opened),
                (true, Outcome::Refused | Outcome::Unanswered) => Some(Kind::Tried),
                // Those who only answer to echo requests have not let anybody in.
                (false, Outcome::Answered) if !is_icmp => Some(Kind::Accepted),
                (_, Outcome::Unknown) if sent.packets > 0 && !refuses => Some(Kind::Unclear),
                _ => None,
            };
            match kind {
                Some(_) if !context.site.is_inside(meeting.inside) => {}
                Some(_) => self.meet(meeting, kind, &[connection.to_flow()], connection.start_ms, context, seen),
                None => self.probe(meeting, connection, context, seen),
            }
        }
    }

    fn advance(&mut self, context: Context<'_>, seen: &mut Seen) {
        self.take_new_set();
        for ((list, inside), contact) in self.state.contacts.iter_mut().filter(|(_, contact)| contact.is_unsaid) {
            if let Some(list) = self.set.lists().iter().find(|known| known.id == *list) {
                contact.say_if_new(*inside, list, context.now_ms, seen);
            }
        }
    }

    fn name(&self) -> &'static str {
        "indicator-1"
    }

    fn learned(&self) -> Option<Vec<u8>> {
        postcard::to_stdvec(self.state()).ok()
    }

    fn go_on_with(&mut self, learned: &[u8]) -> bool {
        postcard::from_bytes(learned).map(|learned| self.state = learned).is_ok()
    }

    fn memory(&self) -> (usize, u64) {
        let IndicatorState { pairs, contacts, probed, .. } = &self.state;
        (pairs.len() + contacts.len() + probed.len(), pairs.forgotten() + contacts.forgotten() + probed.forgotten())
    }
}

#[cfg(test)]
mod tests;
