//! UDP floods: very many packets to one host that sends nothing back.

use serde::Deserialize;

use super::amplification::is_reflector;
use super::finding::{Rule, Seen, Severity, Sighting};
use super::flow::{Flow, Ip, protocol};
use super::sketch::window::Peak;
use super::victim::{Victim, Victims, mixed};
use super::words::{counted, grouped, listed, octets, span};
use super::{Context, Detector};

static UDP_FLOOD: Rule = Rule { name: "udp-flood", technique: Some("T1498.001"), quiet_ms: 3 * 60_000 };

/// A flood this many times above the bar is no accident.
const FAR: u64 = 10;

/// Seconds over which a rate must be kept up.
const SECONDS: u64 = 10;

/// A host answers if it sends one packet for so many.
const FOR_ONE_ANSWER: u64 = 100;

/// From so many sources on, it does not matter how little each sends. Recorders of video and collectors of flows have fewer.
const MANY_SOURCES: u64 = 1000;

/// From so many sources on, a flood comes of many.
const SEVERAL_SOURCES: u64 = 100;

/// Where downloads by QUIC come from (RFC 9000, RFC 9114), and octets from which on a packet is full of data.
const QUIC: (u16, u64) = (443, 1000);

/// From where on UDP is a flood.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct UdpFloodSettings {
    /// Packets a second to one host, kept up for ten seconds, with less than 1 % in return.
    pub packets_per_second: u64,
    /// Packets a second that one inside source may send as a stream, such as RTP (RFC 3550), without being part of a flood.
    pub stream_packets_per_second: u64,
    /// Ports to which inside hosts send much that is never answered: SNMP traps, syslog, and exports of flows.
    pub one_way_ports: Vec<u16>,
}

impl Default for UdpFloodSettings {
    fn default() -> Self {
        Self {
            packets_per_second: 1500,
            stream_packets_per_second: 1500,
            one_way_ports: vec![162, 514, 1514, 2055, 2056, 4729, 4739, 5140, 6343, 8125, 9555, 9995, 9996, 12_201],
        }
    }
}

/// What is counted of each host.
mod is {
    /// Packets to it from outside.
    pub(super) const FROM_OUTSIDE: usize = 0;
    /// Packets to it from inside.
    pub(super) const FROM_INSIDE: usize = 1;
    /// Packets to it that look like downloads by QUIC of which the other direction is not metered.
    pub(super) const DOWNLOAD: usize = 2;
    /// Packets that it sent.
    pub(super) const SENT: usize = 3;
    /// Octets to it.
    pub(super) const OCTETS: usize = 4;
    /// How many there are.
    pub(super) const COUNTS: usize = 5;
}

/// Looks for UDP floods. What it knows is of seconds, so that none of it is kept over a restart.
#[derive(Debug)]
pub(crate) struct UdpFlood {
    settings: UdpFloodSettings,
    bar: u64,
    victims: Victims<Ip, { is::COUNTS }>,
}

impl UdpFlood {
    /// A detector that has seen nothing yet.
    pub(crate) fn new(settings: &UdpFloodSettings) -> Self {
        let bar = settings.packets_per_second.saturating_mul(SECONDS);
        Self { settings: settings.clone(), bar, victims: Victims::new(bar) }
    }
}

impl Detector for UdpFlood {
    fn flow(&mut self, flow: &Flow, context: Context<'_>, _seen: &mut Seen) {
        if flow.protocol != protocol::UDP || !flow.destination.is_of_a_host() {
            return;
        }
        // Who sends much is known before it gets anything, in whatever order records arrive.
        let hash = mixed(flow.source, 0);
        if let Some(sender) = self.victims.of(flow.source, hash, flow, flow.packets, context.now_ms) {
            sender.count(flow, [0, 0, 0, flow.packets, 0]);
        }
        let hash = mixed(flow.destination, 0);
        let Some(victim) = self.victims.of(flow.destination, hash, flow, flow.packets, context.now_ms) else { return };
        let is_from_inside = context.site.is_inside(flow.source);
        // Collectors of what devices say, and what is the matter of the detector of amplification.
        let is_other = if is_from_inside {
            self.settings.one_way_ports.contains(&flow.destination_port)
        } else {
            is_reflector(flow.source_port)
        };
        if is_other {
            return;
        }
        let kind = match is_from_inside {
            true => is::FROM_INSIDE,
            false if flow.source_port == QUIC.0 && flow.octets_each() >= QUIC.1 => is::DOWNLOAD,
            false => is::FROM_OUTSIDE,
        };
        let mut counts = [0; is::COUNTS];
        counts[kind] = flow.packets;
        counts[is::OCTETS] = flow.octets;
        victim.count(flow, counts);
        victim.blame(flow, flow.packets);
    }

    fn advance(&mut self, context: Context<'_>, seen: &mut Seen) {
        let (bar, stream) = (self.bar, self.settings.stream_packets_per_second.saturating_mul(SECONDS));
        let score = |counts: &[u64; is::COUNTS], _| {
            let came = came(counts);
            if counts[is::SENT].saturating_mul(FOR_ONE_ANSWER) < came { came } else { 0 }
        };
        self.victims.judge(context.now_ms, score, |ip, victim, peak| {
            let packets = of_flood(victim, &peak.counts, stream, context);
            let is_flood = packets >= bar;
            if is_flood {
                seen.push(sighting(*ip, victim, peak, bar, context));
            }
            is_flood
        });
    }

    fn name(&self) -> &'static str {
        "udp-flood-1"
    }

    fn memory(&self) -> (usize, u64) {
        self.victims.memory()
    }
}

const fn came(counts: &[u64; is::COUNTS]) -> u64 {
    counts[is::FROM_OUTSIDE] + counts[is::FROM_INSIDE] + counts[is::DOWNLOAD]
}

/// What of it is a flood: all if there are many sources; else neither downloads nor what inside sources send as streams.
fn of_flood(victim: &Victim<{ is::COUNTS }>, counts: &[u64; is::COUNTS], stream: u64, context: Context<'_>) -> u64 {
    let all = came(counts);
    if victim.sources() >= MANY_SOURCES {
        return all;
    }
    let total = u128::from(victim.heavy().total().max(1));
    let within = |count: u64| u64::try_from(u128::from(count) * u128::from(all) / total).unwrap_or(all);
    let largest = victim.heavy().largest().into_iter().filter(|(source, _)| context.site.is_inside(*source));
    let heavy: u64 = largest.map(|(_, count)| within(count)).filter(|count| *count > stream).sum();
    counts[is::FROM_OUTSIDE] + heavy.min(counts[is::FROM_INSIDE])
}

fn sighting(
    ip: Ip,
    victim: &Victim<{ is::COUNTS }>,
    peak: &Peak<{ is::COUNTS }>,
    bar: u64,
    context: Context<'_>,
) -> Sighting {
    let packets = came(&peak.counts);
    let sources = victim.about_sources();
    let by_one = victim.main_source();
    let is_far = packets >= bar.saturating_mul(FAR);
    // A test of a link's speed looks like a flood of one source.
    let severity = match by_one {
        None if is_far && sources >= SEVERAL_SOURCES => Severity::High,
        Some(source) if context.site.is_inside(source) && context.site.is_inside(ip) && !is_far => Severity::Low,
        _ => Severity::Medium,
    };
    let (rate, sent) = (grouped(packets / SECONDS), peak.counts[is::SENT]);
    let lasts = span((victim.last_ms - victim.first_ms).max(1000));
    let (title, who) = match by_one {
        Some(source) => (
            format!("{source} floods {ip} with UDP"),
            format!("{source} makes most of {} to {ip} within {SECONDS} s", counted(packets, "UDP packet")),
        ),
        None => (
            format!("{ip} is flooded with UDP"),
            format!(
                "{ip} got {} within {SECONDS} s from about {}, such as {}",
                counted(packets, "UDP packet"),
                counted(sources, "source"),
                listed(&victim.main_sources(), 0)
            ),
        ),
    };
    let back = if sent == 0 { "sent nothing back".to_owned() } else { format!("sent back {}", grouped(sent)) };
    Sighting {
        rule: &UDP_FLOOD,
        severity,
        subject: by_one.unwrap_or(ip).into(),
        matter: by_one.map_or_else(String::new, |_| ip.to_string()),
        title,
        explanation: format!(
            "{who} ({rate} a second, {}), and {ip} {back}. It has lasted {lasts} so far. A test of speed by UDP looks alike.",
            octets(peak.counts[is::OCTETS])
        ),
        peers: by_one.map_or_else(|| victim.main_sources(), |_| vec![ip]),
        first_ms: victim.first_ms,
        last_ms: victim.last_ms,
        evidence: victim.evidence(),
    }
}

#[cfg(test)]
mod tests;
