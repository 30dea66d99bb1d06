//! ICMP floods: far more echo requests, unsolicited replies or errors than anybody needs.

use serde::Deserialize;

use super::finding::{Rule, Seen, Severity, Sighting};
use super::flow::{Flow, Ip, protocol};
use super::sketch::window::Peak;
use super::victim::{Victim, Victims, mixed};
use super::words::{counted, grouped, listed, span};
use super::{Context, Detector};

static ICMP_FLOOD: Rule = Rule { name: "icmp-flood", technique: Some("T1498.001"), quiet_ms: 3 * 60_000 };

/// So many errors weigh as much as one request: who scans, or is spoofed, gets some of them, and routers limit what they send.
const ERRORS_FOR_ONE: u64 = 10;

/// A flood this many times above the bar is no accident.
const FAR: u64 = 10;

/// Seconds over which a rate must be kept up.
const SECONDS: u64 = 10;

/// From where on ICMP is a flood.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct IcmpFloodSettings {
    /// ICMP and ICMPv6 packets a second to one host, kept up for ten seconds; ten times as many at once are the same.
    pub packets_per_second: u64,
}

impl Default for IcmpFloodSettings {
    fn default() -> Self {
        Self { packets_per_second: 250 }
    }
}

/// What is counted of each host.
mod is {
    /// Requests and whatever is neither below.
    pub(super) const ASKED: usize = 0;
    /// Errors to it (RFC 792: types 3, 4, 11, 12; RFC 4443: 1 to 4).
    pub(super) const ERROR: usize = 1;
    /// Echo replies to it.
    pub(super) const REPLY: usize = 2;
    /// Echo requests that it sent.
    pub(super) const ASKS: usize = 3;
    /// How many there are.
    pub(super) const COUNTS: usize = 4;
}

/// Looks for ICMP floods. What it knows is of seconds, so that none of it is kept over a restart.
#[derive(Debug)]
pub(crate) struct IcmpFlood {
    bar: u64,
    victims: Victims<Ip, { is::COUNTS }>,
}

impl IcmpFlood {
    /// A detector that has seen nothing yet.
    pub(crate) fn new(settings: &IcmpFloodSettings) -> Self {
        let bar = settings.packets_per_second.saturating_mul(SECONDS);
        Self { bar, victims: Victims::new(bar) }
    }
}

impl Detector for IcmpFlood {
    fn flow(&mut self, flow: &Flow, context: Context<'_>, _seen: &mut Seen) {
        if !flow.is_icmp() {
            return;
        }
        let Some(kind) = kind(flow) else { return };
        if flow.destination.is_of_a_host()
            && let Some(victim) =
                self.victims.of(flow.destination, mixed(flow.destination, 0), flow, flow.packets, context.now_ms)
        {
            victim.count(flow, only(kind, flow.packets));
            victim.blame(flow, flow.packets);
        }
        // One packet of one of a million made-up sources makes no entry.
        if is_echo_request(flow) && flow.source.is_of_a_host() {
            let asks = only(is::ASKS, flow.packets);
            if flow.packets == 1 {
                if let Some(asker) = self.victims.known(&flow.source) {
                    asker.count(flow, asks);
                }
            } else if let Some(asker) =
                self.victims.of(flow.source, mixed(flow.source, 0), flow, flow.packets, context.now_ms)
            {
                asker.count(flow, asks);
            }
        }
    }

    fn advance(&mut self, context: Context<'_>, seen: &mut Seen) {
        let bar = self.bar;
        self.victims.judge(
            context.now_ms,
            |counts, _| came(counts),
            |ip, victim, peak| {
                seen.push(sighting(*ip, victim, peak, bar));
                true
            },
        );
    }

    fn name(&self) -> &'static str {
        "icmp-flood-1"
    }

    fn memory(&self) -> (usize, u64) {
        self.victims.memory()
    }
}

/// What a packet counts as; none for the neighbour discovery and multicast listener reports of ICMPv6 (RFC 4861, 2710, 3810).
const fn kind(flow: &Flow) -> Option<usize> {
    match (flow.protocol, flow.icmp_type()) {
        (protocol::ICMP, 3 | 4 | 11 | 12) | (protocol::ICMPV6, 1..=4) => Some(is::ERROR),
        (protocol::ICMP, 0) | (protocol::ICMPV6, 129) => Some(is::REPLY),
        (protocol::ICMPV6, 130..=137 | 143) => None,
        _ => Some(is::ASKED),
    }
}

const fn is_echo_request(flow: &Flow) -> bool {
    matches!((flow.protocol, flow.icmp_type()), (protocol::ICMP, 8) | (protocol::ICMPV6, 128))
}

const fn only(kind: usize, packets: u64) -> [u64; is::COUNTS] {
    let mut counts = [0; is::COUNTS];
    counts[kind] = packets;
    counts
}

/// What came that nobody asked for.
const fn came(counts: &[u64; is::COUNTS]) -> u64 {
    let unasked = counts[is::REPLY].saturating_sub(counts[is::ASKS]);
    counts[is::ASKED].saturating_add(counts[is::ERROR] / ERRORS_FOR_ONE).saturating_add(unasked)
}

fn sighting(ip: Ip, victim: &Victim<{ is::COUNTS }>, peak: &Peak<{ is::COUNTS }>, bar: u64) -> Sighting {
    let unasked = peak.counts[is::REPLY].saturating_sub(peak.counts[is::ASKS]);
    let errors = peak.counts[is::ERROR];
    let sources = victim.about_sources();
    let packets = peak.counts[is::ASKED].saturating_add(errors).saturating_add(unasked);
    // A little of what was counted may be solicited; the rate is that of the rest.
    let all: u64 = peak.counts.iter().fold(0, |sum, count| sum.saturating_add(*count));
    let rate = grouped(share(peak.fastest, packets, all).max(packets / SECONDS));
    let by_one = victim.main_source();
    let lasts = span((victim.last_ms - victim.first_ms).max(1000));
    let what = match packets {
        all if unasked > all / 2 => "echo replies that it did not ask for",
        all if errors > all / 2 => "ICMP errors",
        _ => "ICMP packets",
    };
    let (title, who) = match by_one {
        Some(source) if unasked > packets / 2 => {
            (format!("{source} floods {ip} with echo replies"), format!("{source} sends {ip} {rate} {what} a second"))
        }
        Some(source) => {
            (format!("{source} floods {ip} with ICMP"), format!("{source} sends {rate} {what} a second to {ip}"))
        }
        None => (
            format!("{ip} is flooded with ICMP"),
            format!("{ip} gets {rate} {what} a second from about {}", counted(sources, "source")),
        ),
    };
    let most = listed(&victim.main_sources(), sources);
    let named = if by_one.is_none() && sources > 1 { format!(" Most come from {most}.") } else { String::new() };
    let is_far = peak.score >= bar.saturating_mul(FAR) && unasked <= packets / 2;
    Sighting {
        rule: &ICMP_FLOOD,
        severity: if is_far { Severity::High } else { Severity::Medium },
        subject: by_one.unwrap_or(ip).into(),
        matter: by_one.map_or_else(String::new, |_| ip.to_string()),
        title,
        explanation: format!(
            "{who}: {} within {SECONDS} s at most, for {lasts} so far.{named} More than {} a second are no one's test of reachability.",
            counted(packets, "packet"),
            grouped(bar / SECONDS)
        ),
        peers: by_one.map_or_else(|| victim.main_sources(), |_| vec![ip]),
        first_ms: victim.first_ms,
        last_ms: victim.last_ms,
        evidence: victim.evidence(),
    }
}

fn share(number: u64, part: u64, whole: u64) -> u64 {
    u64::try_from(u128::from(number) * u128::from(part) / u128::from(whole.max(1))).unwrap_or(number)
}

#[cfg(test)]
mod tests;
