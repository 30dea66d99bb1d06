//! Attacks with IP fragments: too small to be honest (RFC 1858, RFC 3128), or so many that reassembly gives up (RFC 4963, RFC 8900).

use serde::Deserialize;

use super::finding::{Rule, Seen, Severity, Sighting};
use super::flow::{Flow, Ip, protocol};
use super::sketch::window::Peak;
use super::victim::{Victim, Victims, mixed};
use super::words::{counted, grouped, listed, span};
use super::{Context, Detector};

static TINY_FRAGMENTS: Rule = Rule { name: "tiny-fragments", technique: None, quiet_ms: 3 * 60_000 };
static FRAGMENT_FLOOD: Rule = Rule { name: "fragment-flood", technique: Some("T1499.001"), quiet_ms: 3 * 60_000 };

/// Octets below which no fragment is but the last of its datagram: every host takes 576 of IPv4 (RFC 791), and IPv6 links 1,280.
const SMALL: u64 = 576;

/// Small fragments for each large one, from which on they are not the ends of datagrams.
const SMALL_FOR_ONE: u64 = 4;

/// An attack this many times above the bar is no accident.
const FAR: u64 = 10;

/// From where on fragments are an attack. All counts are of ten seconds, and of one host that gets them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct FragmentsSettings {
    /// Fragments of less than 576 octets, with hardly any larger ones.
    pub tiny: u64,
    /// The same from many sources.
    pub spread: u64,
    /// Fragments of any size from many sources.
    pub any_size: u64,
    /// What many sources are, within a minute.
    pub sources: u64,
}

impl Default for FragmentsSettings {
    fn default() -> Self {
        Self { tiny: 200, spread: 1000, any_size: 20_000, sources: 100 }
    }
}

/// What is counted of each host.
mod is {
    /// Fragments below 576 octets.
    pub(super) const SMALL: usize = 0;
    /// Fragments of 576 octets or more.
    pub(super) const LARGE: usize = 1;
    /// Fragments of IPv4 whose protocol is an extension header of IPv6.
    pub(super) const CONFUSED: usize = 2;
    /// Octets of small fragments.
    pub(super) const OCTETS: usize = 3;
    /// How many there are.
    pub(super) const COUNTS: usize = 4;
}

const COUNTS: usize = is::COUNTS;

/// Looks for attacks with fragments. What it knows is of seconds, so that none of it is kept over a restart.
#[derive(Debug)]
pub(crate) struct Fragments {
    settings: FragmentsSettings,
    victims: Victims<Ip, COUNTS>,
}

impl Fragments {
    /// A detector that has seen nothing yet.
    pub(crate) fn new(settings: &FragmentsSettings) -> Self {
        let bar = settings.tiny.min(settings.spread).min(settings.any_size);
        Self { settings: settings.clone(), victims: Victims::new(bar) }
    }
}

impl Detector for Fragments {
    fn flow(&mut self, flow: &Flow, context: Context<'_>, _seen: &mut Seen) {
        if !flow.is_fragmented || !flow.destination.is_of_a_host() {
            return;
        }
        let Some(small) = small(flow) else { return };
        let hash = mixed(flow.destination, 0);
        let Some(victim) = self.victims.of(flow.destination, hash, flow, flow.packets, context.now_ms) else { return };
        let mut counts = [0; COUNTS];
        counts[if small { is::SMALL } else { is::LARGE }] = flow.packets;
        if small {
            counts[is::OCTETS] = flow.octets;
        }
        if flow.destination.is_v4() && is_of_ipv6(flow.protocol) {
            counts[is::CONFUSED] = flow.packets;
        }
        victim.count(flow, counts);
        victim.blame(flow, flow.packets);
    }

    fn advance(&mut self, context: Context<'_>, seen: &mut Seen) {
        let Self { settings, victims } = self;
        let score = |counts: &[u64; COUNTS], _| {
            if is_tiny(counts) {
                counts[is::SMALL] + counts[is::LARGE]
            } else {
                counts[is::LARGE] + counts[is::SMALL] / 2
            }
        };
        victims.judge(context.now_ms, score, |ip, victim, peak| {
            let from_many = victim.sources() >= settings.sources;
            let fragments = peak.counts[is::SMALL] + peak.counts[is::LARGE];
            let is_tiny = is_tiny(&peak.counts);
            let sighting = if from_many && is_tiny && fragments >= settings.spread {
                flood(*ip, victim, peak, settings.spread)
            } else if is_tiny && fragments >= settings.tiny {
                tiny(*ip, victim, peak, settings.tiny)
            } else if from_many && fragments >= settings.any_size {
                flood(*ip, victim, peak, settings.any_size)
            } else {
                return false;
            };
            seen.push(sighting);
            true
        });
    }

    fn name(&self) -> &'static str {
        "fragments-1"
    }

    fn memory(&self) -> (usize, u64) {
        self.victims.memory()
    }
}

/// Whether the packets of a flow are all smaller than any fragment but the last; not known of some. A flow with larger ones may have whole
/// packets among them as well, so that it counts as large.
const fn small(flow: &Flow) -> Option<bool> {
    match (flow.length.1, flow.packets) {
        (0, 1) => Some(flow.octets < SMALL),
        (0, _) => None,
        (largest, _) => Some((largest as u64) < SMALL),
    }
}

/// Extension headers of IPv6 as the protocol of IPv4, where none of them has a meaning: hop-by-hop options, routing, fragment and
/// destination options (IANA "Assigned Internet Protocol Numbers").
const fn is_of_ipv6(protocol: u8) -> bool {
    matches!(protocol, 0 | 43 | 44 | 60)
}

const fn is_tiny(counts: &[u64; COUNTS]) -> bool {
    counts[is::SMALL] > counts[is::LARGE].saturating_mul(SMALL_FOR_ONE)
}

fn sizes(counts: &[u64; COUNTS]) -> String {
    let each = counts[is::OCTETS] / counts[is::SMALL].max(1);
    match counts[is::LARGE] {
        0 => format!("all below {SMALL} octets ({each} on average), which only the last fragment of a datagram may be"),
        large => format!(
            "all but {} below {SMALL} octets, which only the last fragment of a datagram may be",
            grouped(large)
        ),
    }
}

fn confused(counts: &[u64; COUNTS]) -> String {
    match counts[is::CONFUSED] {
        0 => String::new(),
        some => format!(
            " {} of them name a header of IPv6 as their protocol, which means nothing in IPv4: they are made to confuse what \
             reassembles them.",
            grouped(some)
        ),
    }
}

fn flood(ip: Ip, victim: &Victim<COUNTS>, peak: &Peak<COUNTS>, bar: u64) -> Sighting {
    let fragments = peak.counts[is::SMALL] + peak.counts[is::LARGE];
    let sources = victim.about_sources();
    let of_what = if is_tiny(&peak.counts) { sizes(&peak.counts) } else { "of any size".to_owned() };
    let each = ((victim.heavy().total() + sources / 2) / sources).max(1);
    Sighting {
        rule: &FRAGMENT_FLOOD,
        severity: if fragments >= bar.saturating_mul(FAR) { Severity::High } else { Severity::Medium },
        subject: ip.into(),
        matter: String::new(),
        title: format!("{ip} is flooded with IP fragments of about {} sources", grouped(sources)),
        explanation: format!(
            "{ip} got {} within 10 s, {of_what}. They come from about {}, about {} of each so far, such as {}. It has lasted {}.{} \
             Fragments of datagrams that are never whole fill the memory for reassembly, and honest ones are dropped.",
            counted(fragments, "fragment"),
            counted(sources, "source"),
            grouped(each),
            listed(&victim.main_sources(), 0),
            span((victim.last_ms - victim.first_ms).max(1000)),
            confused(&peak.counts)
        ),
        peers: victim.main_sources(),
        first_ms: victim.first_ms,
        last_ms: victim.last_ms,
        evidence: victim.evidence(),
    }
}

fn tiny(ip: Ip, victim: &Victim<COUNTS>, peak: &Peak<COUNTS>, bar: u64) -> Sighting {
    let fragments = peak.counts[is::SMALL] + peak.counts[is::LARGE];
    let by_one = victim.main_source();
    let sources = victim.about_sources();
    let who = by_one.map_or_else(|| counted(sources, "source"), |source| source.to_string());
    let carries_tcp = victim.evidence().iter().any(|flow| flow.protocol == protocol::TCP);
    let why = if carries_tcp {
        " So little of TCP in each hides ports and flags from filters (RFC 1858, RFC 3128)."
    } else {
        " So little in each hides from filters and sensors what they carry (RFC 1858)."
    };
    Sighting {
        rule: &TINY_FRAGMENTS,
        severity: if fragments >= bar.saturating_mul(FAR) { Severity::Medium } else { Severity::Low },
        subject: by_one.unwrap_or(ip).into(),
        matter: by_one.map_or_else(String::new, |_| ip.to_string()),
        title: format!("{who} sends tiny IP fragments to {ip}"),
        explanation: format!(
            "{who} sent {ip} {} within 10 s, {}.{}{why}",
            counted(fragments, "fragment"),
            sizes(&peak.counts),
            confused(&peak.counts)
        ),
        peers: by_one.map_or_else(|| victim.main_sources(), |_| vec![ip]),
        first_ms: victim.first_ms,
        last_ms: victim.last_ms,
        evidence: victim.evidence(),
    }
}

#[cfg(test)]
mod tests;
