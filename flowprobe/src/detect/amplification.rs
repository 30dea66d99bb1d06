//! Amplification: answers of servers that were asked in somebody else's name, to a host here or by a host here.

use serde::Deserialize;

use super::finding::{Rule, Seen, Severity, Sighting};
use super::flow::{Flow, Ip, protocol};
use super::settings::Octets;
use super::sketch::window::{MINUTE, Peak};
use super::victim::{Victim, Victims, mixed};
use super::words::{counted, grouped, listed, octets, span};
use super::{Context, Detector};

static VICTIM: Rule = Rule { name: "amplification", technique: Some("T1498.002"), quiet_ms: 3 * 60_000 };
static REFLECTOR: Rule = Rule { name: "reflector", technique: Some("T1498.002"), quiet_ms: 10 * 60_000 };

/// UDP ports whose services answer much to little, by name, in order (US-CERT alert TA14-017A and later additions to it). Remote Desktop
/// and TURN are left out: they carry pictures to who only watches.
const PORTS: [(u16, &str); 28] = [
    (17, "quote of the day"),
    (19, "character generator"),
    (53, "DNS"),
    (69, "TFTP"),
    (111, "portmapper"),
    (123, "NTP"),
    (137, "NetBIOS name service"),
    (161, "SNMP"),
    (177, "XDMCP"),
    (389, "connectionless LDAP"),
    (427, "service location"),
    (520, "RIP"),
    (623, "IPMI"),
    (1434, "SQL Server browser"),
    (1900, "SSDP"),
    (3283, "Apple Remote Desktop"),
    (3702, "WS-Discovery"),
    (5093, "Sentinel licence manager"),
    (5351, "NAT-PMP"),
    (5353, "mDNS"),
    (5683, "CoAP"),
    (10_001, "Ubiquiti discovery"),
    (11_211, "memcached"),
    (27_015, "Source engine"),
    (30_718, "Lantronix discovery"),
    (32_414, "Plex discovery"),
    (37_810, "Dahua discovery"),
    (47_808, "BACnet"),
];

/// From here on systems take the ports of clients.
const CLIENTS: u16 = 32_768;

/// Services whose ordinary answers are long: DNS with signatures (RFC 4034), and games.
const LONG_WINDED: [u16; 2] = [53, 27_015];

/// Packets that come for each packet that was sent, from which on they were not asked for: an answer may take some fragments.
const ANSWERS_FOR_ONE: u64 = 10;

/// Amplified answers are longer than ordinary ones, in octets each.
const LONG: u64 = 250;

/// An attack this many times above the bar is no accident.
const FAR: u64 = 10;

/// Whether a service that attackers use to amplify answers from this UDP port.
pub(crate) fn is_reflector(port: u16) -> bool {
    PORTS.binary_search_by_key(&port, |(known, _)| *known).is_ok()
}

fn name(port: u16) -> &'static str {
    PORTS.binary_search_by_key(&port, |(known, _)| *known).map_or("", |found| PORTS[found].1)
}

/// From where on answers are amplification.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct AmplificationSettings {
    /// Answers to one host within ten seconds that it did not ask for, from any number of reflectors.
    pub octets: Octets,
    /// Reflectors from which on a fifth of that is enough.
    pub reflectors: u64,
    /// Octets that come for each that was sent, from which on they were not asked for, and from which on a service here amplifies.
    pub ratio: u64,
    /// Answers of a service here to one outside address within a minute.
    pub reflected: Octets,
}

impl Default for AmplificationSettings {
    fn default() -> Self {
        Self { octets: Octets(5_000_000), reflectors: 50, ratio: 10, reflected: Octets(5_000_000) }
    }
}

/// What is counted of each host, and of each pair.
mod is {
    /// Octets of answers.
    pub(super) const OCTETS: usize = 0;
    /// Packets of answers.
    pub(super) const PACKETS: usize = 1;
    /// Octets of questions.
    pub(super) const ASKED_OCTETS: usize = 2;
    /// Packets of questions.
    pub(super) const ASKED_PACKETS: usize = 3;
    /// How many there are.
    pub(super) const COUNTS: usize = 4;
}

const COUNTS: usize = is::COUNTS;

/// Who is used, for what, and against whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Use {
    here: Ip,
    port: u16,
    there: Ip,
}

impl Use {
    const fn hash(self) -> u64 {
        mixed(self.here, self.port as u64) ^ mixed(self.there, 1)
    }
}

/// Looks for amplification. What it knows is of a minute, so that none of it is kept over a restart.
#[derive(Debug)]
pub(crate) struct Amplification {
    settings: AmplificationSettings,
    victims: Victims<(Ip, u16), COUNTS>,
    used: Victims<Use, COUNTS>,
}

impl Amplification {
    /// A detector that has seen nothing yet.
    pub(crate) fn new(settings: &AmplificationSettings) -> Self {
        Self {
            settings: settings.clone(),
            victims: Victims::new(settings.octets.0 / 5),
            used: Victims::new(settings.reflected.0),
        }
    }

    /// A reflector answers somebody.
    fn answers(&mut self, flow: &Flow, context: Context<'_>) {
        let port = flow.source_port;
        let answer = [flow.octets, flow.packets, 0, 0];
        if context.site.is_outside(flow.source) {
            let (key, hash) = ((flow.destination, port), mixed(flow.destination, u64::from(port)));
            if let Some(victim) = self.victims.of(key, hash, flow, flow.octets, context.now_ms) {
                victim.count(flow, answer);
                victim.blame(flow, flow.octets);
            }
        } else if context.site.is_outside(flow.destination) {
            let key = Use { here: flow.source, port, there: flow.destination };
            if let Some(used) = self.used.of(key, key.hash(), flow, flow.octets, context.now_ms) {
                used.count(flow, answer);
                used.blame(flow, flow.octets);
            }
        }
    }

    /// Somebody asks a reflector.
    fn asks(&mut self, flow: &Flow, context: Context<'_>) {
        let port = flow.destination_port;
        let question = [0, 0, flow.octets, flow.packets];
        // Who asks much is known before the answers come, in whatever order records arrive.
        let weight = flow.octets.saturating_mul(self.settings.ratio);
        if context.site.is_outside(flow.destination) {
            let hash = mixed(flow.source, u64::from(port));
            if let Some(victim) = self.victims.of((flow.source, port), hash, flow, weight, context.now_ms) {
                victim.count(flow, question);
            }
        } else if context.site.is_outside(flow.source) {
            let key = Use { here: flow.destination, port, there: flow.source };
            if let Some(used) = self.used.of(key, key.hash(), flow, weight, context.now_ms) {
                used.count(flow, question);
            }
        }
    }
}

impl Detector for Amplification {
    fn flow(&mut self, flow: &Flow, context: Context<'_>, _seen: &mut Seen) {
        if flow.protocol != protocol::UDP || !flow.destination.is_of_a_host() {
            return;
        }
        // High ports are clients', too: those of somebody who asks a well-known one.
        let is_service = |port: u16, other: u16| is_reflector(port) && (port < CLIENTS || other >= 1024);
        if is_service(flow.source_port, flow.destination_port) {
            self.answers(flow, context);
        }
        if is_service(flow.destination_port, flow.source_port) {
            self.asks(flow, context);
        }
    }

    fn advance(&mut self, context: Context<'_>, seen: &mut Seen) {
        let Self { settings, victims, used } = self;
        let unasked = |counts: &[u64; COUNTS], _| {
            let is_unasked = counts[is::ASKED_OCTETS].saturating_mul(settings.ratio) < counts[is::OCTETS]
                && counts[is::ASKED_PACKETS].saturating_mul(ANSWERS_FOR_ONE) < counts[is::PACKETS];
            if is_unasked { counts[is::OCTETS] } else { 0 }
        };
        victims.judge(context.now_ms, unasked, |(ip, port), victim, peak| {
            let is_long = octets_each(peak) >= LONG;
            let is_much = peak.score >= settings.octets.0;
            let is_attack = is_much || is_long && victim.sources() >= settings.reflectors;
            if is_attack {
                seen.push(of_victim(*ip, *port, victim, peak, settings.octets.0));
            }
            is_attack
        });
        // The port is not at hand where counts are scored, so that services with long answers are held to more when it is said.
        let amplified = |counts: &[u64; COUNTS], _| {
            if counts[is::ASKED_OCTETS].saturating_mul(settings.ratio) <= counts[is::OCTETS] {
                counts[is::OCTETS]
            } else {
                0
            }
        };
        used.judge_within(MINUTE, context.now_ms, amplified, |used, flows, peak| {
            let ratio = settings.ratio * if LONG_WINDED.contains(&used.port) { 2 } else { 1 };
            let asked = peak.counts[is::ASKED_OCTETS];
            // Without a question it is not known whether there was none, or that direction is not metered.
            let is_used = asked > 0 && asked.saturating_mul(ratio) <= peak.counts[is::OCTETS];
            if is_used {
                seen.push(of_reflector(used, flows, peak, settings.reflected.0));
            }
            is_used
        });
    }

    fn name(&self) -> &'static str {
        "amplification-1"
    }

    fn memory(&self) -> (usize, u64) {
        let [(one, forgotten), (other, too)] = [self.victims.memory(), self.used.memory()];
        (one + other, forgotten + too)
    }
}

const fn octets_each(peak: &Peak<COUNTS>) -> u64 {
    match peak.counts[is::OCTETS].checked_div(peak.counts[is::PACKETS]) {
        Some(each) => each,
        None => 0,
    }
}

const fn severity(octets: u64, bar: u64) -> Severity {
    if octets >= bar.saturating_mul(FAR) { Severity::High } else { Severity::Medium }
}

fn of_victim(ip: Ip, port: u16, victim: &Victim<COUNTS>, peak: &Peak<COUNTS>, bar: u64) -> Sighting {
    let sources = victim.about_sources();
    let asked = match peak.counts[is::ASKED_PACKETS] {
        0 => "asked nothing".to_owned(),
        some => format!("sent {} ({})", counted(some, "packet"), octets(peak.counts[is::ASKED_OCTETS])),
    };
    Sighting {
        rule: &VICTIM,
        severity: severity(peak.score, bar),
        subject: ip.into(),
        matter: format!("udp/{port}"),
        title: format!("{ip} gets amplified {} answers that it did not ask for", name(port)),
        explanation: format!(
            "{} from UDP port {port} ({}) sent {ip} {} in {} within 10 s, {} octets each, while {ip} {asked}. It has lasted {} so far. \
             Somebody asks them in its name. Most comes from {}.",
            counted(sources, "reflector"),
            name(port),
            octets(peak.score),
            counted(peak.counts[is::PACKETS], "packet"),
            grouped(octets_each(peak)),
            span((victim.last_ms - victim.first_ms).max(1000)),
            listed(&victim.main_sources(), sources)
        ),
        peers: victim.main_sources(),
        first_ms: victim.first_ms,
        last_ms: victim.last_ms,
        evidence: victim.evidence(),
    }
}

fn of_reflector(used: &Use, flows: &Victim<COUNTS>, peak: &Peak<COUNTS>, bar: u64) -> Sighting {
    let Use { here, port, there } = used;
    let asked = peak.counts[is::ASKED_OCTETS];
    let ratio = peak.counts[is::OCTETS] / asked.max(1);
    Sighting {
        rule: &REFLECTOR,
        severity: severity(peak.score, bar),
        subject: (*here).into(),
        matter: format!("udp/{port}"),
        title: format!("{here} is used to amplify an attack by {}", name(*port)),
        explanation: format!(
            "{here} sent {there} {} from UDP port {port} ({}) within a minute, and got {} in {}: it gave {} octets for each. \
             Somebody may ask it in the name of {there}. A service that answers anybody should answer less, or fewer.",
            octets(peak.score),
            name(*port),
            octets(asked),
            counted(peak.counts[is::ASKED_PACKETS], "packet"),
            grouped(ratio)
        ),
        peers: vec![*there],
        first_ms: flows.first_ms,
        last_ms: flows.last_ms,
        evidence: flows.evidence(),
    }
}

#[cfg(test)]
mod tests;
