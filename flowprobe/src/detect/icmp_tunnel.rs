//! ICMP tunnels: echo messages that carry something else than a probe.
//!
//! An echo reply returns the data of its request (RFC 792, RFC 4443 section 4.2), so an honest exchange has the same sizes both ways, and
//! mostly one size. A tunnel answers with sizes that nobody asked for, with more than was asked, or with ever other sizes.

use serde::{Deserialize, Serialize};

use super::finding::{Rule, Seen, Severity, Sighting};
use super::flow::{Flow, Ip, protocol};
use super::settings::{Octets, Span};
use super::site::Site;
use super::sketch::recent::Recent;
use super::sketch::two::Two;
use super::words::{counted, octets, span};
use super::{Context, Detector};

/// Protocol Tunneling.
static RULE: Rule = Rule { name: "icmp-tunnel", technique: Some("T1572"), quiet_ms: 2 * 3_600_000 };

/// Pairs of hosts that are followed at once, of about 800 octets each.
const PAIRS: usize = 1 << 14;

/// Counts of a pair start anew after this time.
const WINDOW_MS: i64 = 3_600_000;

/// Flows that are kept of each pair as evidence.
const EVIDENCE: usize = 3;

/// Fewer echo messages each way say nothing of whose sizes are whose.
const EACH_WAY: u64 = 20;

/// How many times the octets of the requests the replies must have to be more than was asked for.
const MORE: f64 = 1.5;

/// What of replies may be in excess before it counts: a reply or two of another exchange.
const SOME: u64 = 50_000;

/// When echo messages are a tunnel.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct IcmpTunnelSettings {
    /// Whether it is looked for.
    pub enabled: bool,
    /// An exchange that lasts less is not looked at.
    pub sustained: Span,
    /// So many different sizes of replies that no request had are a tunnel.
    pub unasked_sizes: u32,
    /// So many different sizes one way, though the other way has the same, may be one.
    pub sizes: u32,
    /// With so many echo messages, both ways together, within an hour.
    pub packets: u64,
    /// So many octets one way within an hour, in large messages of an inside host to an outside one, may be one whatever their sizes.
    pub octets: Octets,
    /// What a large message is: octets from the IP header on, on average.
    pub large: u64,
}

impl Default for IcmpTunnelSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            sustained: Span::minutes(1),
            unasked_sizes: 3,
            sizes: 8,
            packets: 200,
            octets: Octets(300_000),
            large: 300,
        }
    }
}

/// Which IP lengths there were, up to 1,535 octets; longer ones are one.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Sizes([u64; 24]);

impl Sizes {
    fn add(&mut self, size: u64) {
        let bit = size.min(1535);
        if let Some(word) = usize::try_from(bit / 64).ok().and_then(|word| self.0.get_mut(word)) {
            *word |= 1 << (bit % 64);
        }
    }

    fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// How many there are that the other has not.
    fn beyond(&self, other: &Self) -> u32 {
        self.0.iter().zip(&other.0).map(|(here, there)| (here & !there).count_ones()).sum()
    }
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Way {
    packets: u64,
    octets: u64,
    sizes: Sizes,
}

impl Way {
    fn add(&mut self, flow: &Flow) {
        // A record of a day is not an hour's.
        let (packets, octets) = (flow.share(flow.packets, WINDOW_MS), flow.share(flow.octets, WINDOW_MS));
        self.packets = self.packets.saturating_add(packets);
        self.octets = self.octets.saturating_add(octets);
        let (least, most) = flow.length;
        if most > 0 {
            self.sizes.add(u64::from(least));
            self.sizes.add(u64::from(most));
        } else if flow.packets > 0 && flow.octets.is_multiple_of(flow.packets) {
            // An average that is not whole is no packet's size.
            self.sizes.add(flow.octets_each());
        }
    }

    fn mean(&self) -> u64 {
        self.octets.checked_div(self.packets).unwrap_or(0)
    }
}

/// Echo messages between two hosts.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Pair {
    /// Who sent most requests, as far as is known: who sent the first.
    asks: Ip,
    requests: Way,
    replies: Way,
    start_ms: i64,
    end_ms: i64,
    /// Packets when it was said last, and how severe it was.
    said: Option<(u64, Severity)>,
    evidence: Vec<Flow>,
}

impl Pair {
    fn new(asks: Ip, start_ms: i64) -> Self {
        let (requests, replies) = (Way::default(), Way::default());
        Self { asks, requests, replies, start_ms, end_ms: start_ms, said: None, evidence: Vec::new() }
    }

    const fn packets(&self) -> u64 {
        self.requests.packets.saturating_add(self.replies.packets)
    }
}

/// All that is remembered.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct State {
    pairs: Recent<Two, Pair>,
}

impl Default for State {
    fn default() -> Self {
        Self { pairs: Recent::new(PAIRS) }
    }
}

/// Looks for ICMP tunnels between any two hosts.
#[derive(Debug)]
pub(crate) struct IcmpTunnel {
    settings: IcmpTunnelSettings,
    state: State,
}

impl IcmpTunnel {
    /// Goes on with what was remembered.
    pub(crate) const fn new(settings: IcmpTunnelSettings, state: State) -> Self {
        Self { settings, state }
    }

    /// What is to be remembered.
    pub(crate) const fn state(&self) -> &State {
        &self.state
    }
}

/// Whether a flow is an echo request (true), a reply (false), or neither.
const fn echo(flow: &Flow) -> Option<bool> {
    match (flow.protocol, flow.icmp_type()) {
        (protocol::ICMP, 8) | (protocol::ICMPV6, 128) => Some(true),
        (protocol::ICMP, 0) | (protocol::ICMPV6, 129) => Some(false),
        _ => None,
    }
}

impl Detector for IcmpTunnel {
    fn flow(&mut self, flow: &Flow, _context: Context<'_>, _seen: &mut Seen) {
        let Some(is_request) = echo(flow) else { return };
        if !self.settings.enabled || !flow.source.is_of_a_host() || !flow.destination.is_of_a_host() {
            return;
        }
        let key = Two(flow.source.min(flow.destination), flow.source.max(flow.destination));
        let asks = if is_request { flow.source } else { flow.destination };
        // Of a long record, the last hour.
        let start_ms = flow.start_ms.max(flow.end_ms - WINDOW_MS);
        let pair = self.state.pairs.entry(key, || Pair::new(asks, start_ms));
        if flow.end_ms - pair.start_ms > WINDOW_MS && start_ms > pair.start_ms {
            *pair = Pair::new(asks, start_ms);
        }
        pair.start_ms = pair.start_ms.min(start_ms);
        pair.end_ms = pair.end_ms.max(flow.end_ms);
        // Two hosts that ping each other are two exchanges; their sizes are put together, which hides no size that was not asked for.
        let way = if is_request { &mut pair.requests } else { &mut pair.replies };
        let before = way.sizes.count();
        way.add(flow);
        if pair.evidence.len() < EVIDENCE && (before != way.sizes.count() || pair.evidence.is_empty()) {
            pair.evidence.push(*flow);
        }
    }

    fn advance(&mut self, context: Context<'_>, seen: &mut Seen) {
        let settings = &self.settings;
        for (Two(low, high), pair) in self.state.pairs.iter_mut() {
            let packets = pair.packets();
            if pair.end_ms - pair.start_ms < settings.sustained.0 || packets < 2 * EACH_WAY {
                continue;
            }
            // The other half of an exporter's record may still be on its way.
            if context.now_ms - pair.end_ms > WINDOW_MS {
                continue;
            }
            let Some((severity, why)) = judge(pair, is_outward(pair, Two(*low, *high), context.site), settings) else {
                continue;
            };
            let is_news = pair.said.is_none_or(|(said, before)| packets >= said.saturating_mul(2) || severity > before);
            if !is_news {
                continue;
            }
            pair.said = Some((packets, severity));
            let other = if pair.asks == *low { *high } else { *low };
            seen.push(sighting(pair, other, severity, &why));
        }
    }

    fn name(&self) -> &'static str {
        "icmp-tunnel-1"
    }

    fn learned(&self) -> Option<Vec<u8>> {
        postcard::to_stdvec(self.state()).ok()
    }

    fn go_on_with(&mut self, learned: &[u8]) -> bool {
        postcard::from_bytes(learned).map(|learned| self.state = learned).is_ok()
    }

    fn memory(&self) -> (usize, u64) {
        (self.state.pairs.len(), self.state.pairs.forgotten())
    }
}

/// Whether an inside host asks an outside one.
fn is_outward(pair: &Pair, Two(low, high): Two, site: &Site) -> bool {
    let asked = if pair.asks == low { high } else { low };
    site.is_inside(pair.asks) && site.is_outside(asked)
}

/// Whether it is a tunnel, how bad, and why.
#[expect(clippy::cast_precision_loss, reason = "a ratio")]
fn judge(pair: &Pair, is_outward: bool, settings: &IcmpTunnelSettings) -> Option<(Severity, String)> {
    let (requests, replies) = (&pair.requests, &pair.replies);
    let is_both_ways = requests.packets >= EACH_WAY && replies.packets >= EACH_WAY;
    let unasked = replies.sizes.beyond(&requests.sizes);
    if is_both_ways && unasked >= settings.unasked_sizes {
        let is_much = pair.packets() >= 1000 && unasked >= 3 * settings.unasked_sizes;
        let why = format!(
            "{} of replies belong to no request, though an echo reply returns what it was sent",
            counted(u64::from(unasked), "size")
        );
        return Some((if is_much { Severity::High } else { Severity::Medium }, why));
    }
    // Where each reply holds as much as each request, records of requests are on their way, or some were lost.
    if is_both_ways
        && replies.octets > SOME
        && replies.mean() > requests.mean()
        && (replies.octets - SOME) as f64 > requests.octets as f64 * MORE
    {
        return Some((Severity::Medium, "the replies hold more than was sent to be returned".to_owned()));
    }
    let sizes = requests.sizes.count().max(replies.sizes.count());
    // A search for the path MTU, or a sweep, has each size a few times.
    if sizes >= settings.sizes && pair.packets() >= settings.packets.max(8 * u64::from(sizes)) {
        return Some((Severity::Low, format!("the messages have {sizes} different sizes, where a probe has one")));
    }
    let most = requests.octets.max(replies.octets);
    // Inside, lines are tried with large ones; those that come from outside are a flood, however they are answered.
    if is_outward && is_both_ways && most >= settings.octets.0 && requests.mean().max(replies.mean()) >= settings.large
    {
        let severity = if most >= settings.octets.0.saturating_mul(10) { Severity::Medium } else { Severity::Low };
        return Some((severity, "the messages are large and many, more than a probe takes".to_owned()));
    }
    None
}

fn sighting(pair: &Pair, other: Ip, severity: Severity, why: &str) -> Sighting {
    let (requests, replies) = (&pair.requests, &pair.replies);
    Sighting {
        rule: &RULE,
        severity,
        subject: pair.asks.into(),
        matter: other.to_string(),
        title: format!("{} seems to tunnel through ICMP echo to {other}", pair.asks),
        explanation: format!(
            "{} and {other} exchanged {} of {} and {} of {} in {}: {why}.",
            pair.asks,
            counted(requests.packets, "echo request"),
            octets(requests.octets),
            counted(replies.packets, "reply"),
            octets(replies.octets),
            span(pair.end_ms - pair.start_ms),
        ),
        peers: vec![other],
        first_ms: pair.start_ms,
        last_ms: pair.end_ms,
        evidence: pair.evidence.clone(),
    }
}

#[cfg(test)]
mod tests;
