//! Scans: attempts that come to nothing, at many ports of a host or at many hosts; fast ones, and slow ones over hours.

use serde::{Deserialize, Serialize};

use super::connection::{Connection, Outcome};
use super::finding::{Rule, Seen, Severity, Sighting};
use super::flow::{Flow, Ip, protocol};
use super::settings::Span;
use super::sketch::distinct::Distinct;
use super::sketch::recent::Recent;
use super::words::{counted, listed, span};
use super::{Context, Detector};

static PORT_SCAN: Rule = Rule { name: "port-scan", technique: Some("T1046"), quiet_ms: 30 * 60_000 };
static HOST_SCAN: Rule = Rule { name: "host-scan", technique: Some("T1018"), quiet_ms: 30 * 60_000 };

/// From where on attempts are a scan. All counts are of different targets, none of which answered.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ScanSettings {
    /// Ports of one host, within [`ScanSettings::within`].
    pub ports: usize,
    /// Hosts at one port, within the same time.
    pub hosts: usize,
    /// Hosts that are asked for an echo, within the same time: answered or not, if a quarter is not.
    pub echoes: usize,
    /// The time for a fast scan.
    pub within: Span,
    /// Ports of one host, within [`ScanSettings::slow_within`].
    pub slow_ports: usize,
    /// Hosts at one port, within the same time.
    pub slow_hosts: usize,
    /// The time for a slow scan.
    pub slow_within: Span,
}

impl Default for ScanSettings {
    fn default() -> Self {
        Self {
            ports: 15,
            hosts: 25,
            echoes: 15,
            within: Span::minutes(5),
            slow_ports: 20,
            slow_hosts: 40,
            slow_within: Span::hours(24),
        }
    }
}

/// Sources that are remembered.
const SOURCES: usize = 1 << 16;

/// Attempts that are remembered of each: more than any of the limits.
const ATTEMPTS: usize = 64;

/// Scans of one source that are followed at once.
const SCANS: usize = 32;

/// Ports of which it is remembered how often others answered there.
const ANSWERED: usize = 8;

/// A source that tries so many different ports of outside hosts is in a network of peers, not a scanner of one port.
const PORTS_OF_PEERS: usize = 8;

/// Ports at which programs reach many outside hosts, some of which are gone: DNS, HTTP, NTP, HTTPS. Without a route by one version of IP,
/// they do not reach any.
const COMMON: [u16; 4] = [53, 80, 123, 443];

/// Of outside hosts, as many as are remembered have to be tried at these within this time.
const COMMON_WITHIN_MS: i64 = 10_000;

/// A scan is said again when it has doubled, or after this time when it has grown.
const AGAIN_MS: i64 = 60_000;

/// Targets that a sighting names.
const NAMED: usize = 256;

/// Where traceroute sends its datagrams: to another port each time, without an answer.
const TRACEROUTE: std::ops::RangeInclusive<u16> = 33_434..=33_534;

/// Looks for scans.
#[derive(Debug)]
pub(crate) struct Scan {
    settings: ScanSettings,
    sources: Recent<Ip, Source>,
    /// Scans that have grown since they were said.
    due: Vec<(Ip, Shape)>,
}

/// An attempt: one for each target, with its latest time.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Attempt {
    target: Ip,
    /// Of ICMP, type × 256 + code.
    port: u16,
    protocol: u8,
    failed: bool,
    at_ms: i64,
}

impl Attempt {
    const fn is_echo(&self) -> bool {
        matches!(self.protocol, protocol::ICMP | protocol::ICMPV6)
    }
}

/// What one source has tried.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Source {
    /// Different targets, the latest last. Those of TCP and UDP came to nothing.
    attempts: Vec<Attempt>,
    /// Where others answered: protocol, port, how many, and when that was last halved.
    answered: Vec<(u8, u16, u32, i64)>,
    /// Scans that go on.
    scans: Vec<Scanned>,
}

/// What the targets of a scan have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Shape {
    /// Ports of this host.
    Ports(Ip, u8),
    /// Hosts, at this port.
    Hosts(u16, u8),
}

impl Shape {
    fn has(self, attempt: &Attempt) -> bool {
        match self {
            Self::Ports(host, protocol) => (attempt.target, attempt.protocol) == (host, protocol),
            Self::Hosts(port, protocol) => (attempt.port, attempt.protocol) == (port, protocol),
        }
    }
}

/// A scan that goes on.
#[derive(Debug, Serialize, Deserialize)]
struct Scanned {
    shape: Shape,
    first_ms: i64,
    last_ms: i64,
    targets: Distinct,
    /// What was said last: the count, and when.
    told: (u64, i64),
    /// Some targets, in words.
    some: Vec<String>,
    /// Those that are new since it was said.
    fresh: Vec<Ip>,
    evidence: Vec<Flow>,
    inside: bool,
    #[serde(skip)]
    is_due: bool,
}

impl Detector for Scan {
    fn judged(&mut self, connection: &Connection, outcome: Outcome, context: Context<'_>, _seen: &mut Seen) {
        let attempt = Attempt {
            target: connection.server,
            port: connection.server_port,
            protocol: connection.protocol,
            failed: outcome.has_failed(),
            at_ms: connection.start_ms,
        };
        if outcome == Outcome::Unknown || attempt.protocol == protocol::UDP && TRACEROUTE.contains(&attempt.port) {
            return;
        }
        if !attempt.failed && !attempt.is_echo() {
            if let Some(source) = self.sources.get_mut(&connection.client) {
                source.note_answer(&attempt, self.settings.within.0);
            }
            return;
        }
        let source = self.sources.entry(connection.client, Source::default);
        source.note(attempt, self.settings.slow_within.0);
        for shape in [Shape::Ports(attempt.target, attempt.protocol), Shape::Hosts(attempt.port, attempt.protocol)] {
            if matches!(shape, Shape::Ports(..)) && attempt.is_echo() {
                continue;
            }
            if let Some(scan) = source.goes_on(shape, &attempt, connection, &self.settings, context)
                && !std::mem::replace(&mut scan.is_due, true)
            {
                self.due.push((connection.client, shape));
            }
        }
    }

    /// Says what has grown: once it is known of all attempts of these seconds what has become of them, and what remains a minute later.
    fn advance(&mut self, context: Context<'_>, seen: &mut Seen) {
        let sources = &mut self.sources;
        self.due.retain(|(ip, shape)| {
            let scans = sources.get_mut(ip).map(|source| source.scans.iter_mut());
            let Some(scan) = scans.and_then(|mut scans| scans.find(|scan| scan.shape == *shape)) else { return false };
            seen.extend(scan.sighting(*ip, context));
            scan.is_due = scan.targets.count() > scan.told.0;
            scan.is_due
        });
    }

    fn name(&self) -> &'static str {
        "scan-1"
    }

    fn learned(&self) -> Option<Vec<u8>> {
        postcard::to_stdvec(&self.sources).ok()
    }

    fn go_on_with(&mut self, learned: &[u8]) -> bool {
        postcard::from_bytes(learned).map(|learned| self.sources = learned).is_ok()
    }

    fn memory(&self) -> (usize, u64) {
        (self.sources.len(), self.sources.forgotten())
    }
}

impl Scan {
    /// A detector that has seen nothing yet.
    pub(crate) fn new(settings: ScanSettings) -> Self {
        Self { settings, sources: Recent::new(SOURCES), due: Vec::new() }
    }
}

impl Source {
    fn note(&mut self, attempt: Attempt, within_ms: i64) {
        let is_same = |other: &Attempt| {
            (other.target, other.port, other.protocol) == (attempt.target, attempt.port, attempt.protocol)
        };
        self.attempts.retain(|other| !is_same(other) && attempt.at_ms - other.at_ms <= within_ms);
        if self.attempts.len() >= ATTEMPTS {
            self.attempts.remove(0);
        }
        self.attempts.push(attempt);
    }

    /// Notes that somebody answered at this port; what is long ago counts ever less.
    fn note_answer(&mut self, attempt: &Attempt, halved_ms: i64) {
        let found = self
            .answered
            .iter_mut()
            .find(|(protocol, port, ..)| (*protocol, *port) == (attempt.protocol, attempt.port));
        if let Some((_, _, count, since_ms)) = found {
            if attempt.at_ms - *since_ms > halved_ms {
                (*count, *since_ms) = (*count / 2, attempt.at_ms);
            }
            *count = count.saturating_add(1);
            return;
        }
        if self.answered.len() >= ANSWERED {
            self.answered.remove(0);
        }
        self.answered.push((attempt.protocol, attempt.port, 1, attempt.at_ms));
    }

    fn answered_at(&self, port: u16, protocol: u8) -> usize {
        let found = self.answered.iter().find(|(other, at, ..)| (*other, *at) == (protocol, port));
        found.map_or(0, |(_, _, count, _)| *count as usize)
    }

    /// The scan of this shape, if it is one with this attempt.
    fn goes_on(
        &mut self,
        shape: Shape,
        attempt: &Attempt,
        connection: &Connection,
        settings: &ScanSettings,
        context: Context<'_>,
    ) -> Option<&mut Scanned> {
        self.scans.retain(|scan| attempt.at_ms - scan.last_ms <= settings.slow_within.0);
        let known = self.scans.iter().position(|scan| scan.shape == shape);
        let index = match known {
            Some(index) => index,
            None if self.is_scan(shape, attempt, settings, context) => {
                if self.scans.len() >= SCANS
                    && let Some(oldest) = (0..SCANS).min_by_key(|index| self.scans[*index].last_ms)
                {
                    self.scans.swap_remove(oldest);
                }
                self.scans.push(Scanned::begin(shape, context.site.is_inside(connection.client)));
                let scan = self.scans.last_mut()?;
                self.attempts.iter().filter(|other| shape.has(other)).for_each(|other| scan.add(other));
                self.scans.len() - 1
            }
            None => return None,
        };
        let scan = self.scans.get_mut(index)?;
        scan.add(attempt);
        if scan.evidence.len() < 8 {
            scan.evidence.push(connection.to_flow());
        }
        Some(scan)
    }

    /// Whether the attempts of this shape are enough.
    fn is_scan(&self, shape: Shape, attempt: &Attempt, settings: &ScanSettings, context: Context<'_>) -> bool {
        let of_shape = || self.attempts.iter().filter(move |other| shape.has(other));
        let lately = of_shape().filter(|other| attempt.at_ms - other.at_ms <= settings.within.0).count();
        let all = of_shape().count();
        match shape {
            Shape::Ports(..) => lately >= settings.ports || all >= settings.slow_ports,
            Shape::Hosts(..) if attempt.is_echo() => {
                let failed = of_shape().filter(|other| other.failed).count();
                lately >= settings.echoes && failed * 4 >= all
            }
            Shape::Hosts(port, protocol) => {
                let is_inside = context.site.is_inside(attempt.target);
                if COMMON.contains(&port) && !is_inside {
                    let at_once = of_shape().filter(|other| attempt.at_ms - other.at_ms <= COMMON_WITHIN_MS).count();
                    return at_once >= ATTEMPTS;
                }
                if lately < settings.hosts && all < settings.slow_hosts {
                    return false;
                }
                // Somebody may have many peers of whom some are gone, or no route by one of the two versions of IP.
                let enough = if protocol == protocol::TCP { 2 } else { 5 };
                let is_alone = all >= enough * self.answered_at(port, protocol);
                is_alone && (is_inside || self.ports() < PORTS_OF_PEERS)
            }
        }
    }

    /// How many different ports were tried.
    fn ports(&self) -> usize {
        let mut ports: Vec<u16> = self.attempts.iter().map(|attempt| attempt.port).collect();
        ports.sort_unstable();
        ports.dedup();
        ports.len()
    }
}

impl Scanned {
    fn begin(shape: Shape, inside: bool) -> Self {
        Self {
            shape,
            first_ms: i64::MAX,
            last_ms: i64::MIN,
            targets: Distinct::default(),
            told: (0, i64::MIN),
            some: Vec::new(),
            fresh: Vec::new(),
            evidence: Vec::new(),
            inside,
            is_due: false,
        }
    }

    fn add(&mut self, attempt: &Attempt) {
        self.first_ms = self.first_ms.min(attempt.at_ms);
        self.last_ms = self.last_ms.max(attempt.at_ms);
        let word = match self.shape {
            Shape::Ports(..) => {
                self.targets.add(&attempt.port);
                attempt.port.to_string()
            }
            Shape::Hosts(..) => {
                self.targets.add(&attempt.target);
                attempt.target.to_string()
            }
        };
        if self.some.len() < 5 && !self.some.contains(&word) {
            self.some.push(word);
        }
        if self.fresh.len() < NAMED && !self.fresh.contains(&attempt.target) {
            self.fresh.push(attempt.target);
        }
    }

    /// What is to be said, if there is something new.
    fn sighting(&mut self, source: Ip, context: Context<'_>) -> Option<Sighting> {
        let count = self.targets.count();
        let (told, told_ms) = self.told;
        let grows = count >= told * 2 || count > told && context.now_ms.saturating_sub(told_ms) >= AGAIN_MS;
        if !grows {
            return None;
        }
        self.told = (count, context.now_ms);
        let time = span(self.last_ms - self.first_ms);
        let (rule, noun, matter, whose) = match self.shape {
            Shape::Ports(host, protocol) => {
                (&PORT_SCAN, "port", format!("{} {host}", transport(protocol)), String::new())
            }
            Shape::Hosts(_, protocol @ (protocol::ICMP | protocol::ICMPV6)) => {
                (&HOST_SCAN, "host", transport(protocol).to_owned(), format!("by {} echo", transport(protocol)))
            }
            Shape::Hosts(port, protocol) => (
                &HOST_SCAN,
                "host",
                format!("{}/{port}", transport(protocol)),
                format!("at {} port {port}", transport(protocol)),
            ),
        };
        let targets = counted(count, noun);
        let answers = match self.shape {
            Shape::Hosts(_, protocol::ICMP | protocol::ICMPV6) => "Many of them did not answer",
            _ => "None of these attempts came to anything",
        };
        let (title, explanation) = match self.shape {
            Shape::Ports(host, protocol) => (
                format!("{source} scans ports of {host}"),
                format!(
                    "{source} tried {targets} ({}) of {host} within {time}: {}. {answers}.",
                    transport(protocol),
                    listed(&self.some, count)
                ),
            ),
            Shape::Hosts(..) => (
                format!("{source} scans hosts {whose}"),
                format!("{source} tried {targets} {whose} within {time}: {}. {answers}.", listed(&self.some, count)),
            ),
        };
        let is_fast = count >= 100 && self.last_ms - self.first_ms <= 3_600_000;
        Some(Sighting {
            rule,
            severity: match (self.inside, is_fast) {
                (true, true) => Severity::High,
                (true, false) | (false, true) => Severity::Medium,
                (false, false) => Severity::Low,
            },
            subject: source.into(),
            matter,
            title,
            explanation,
            peers: std::mem::take(&mut self.fresh),
            first_ms: self.first_ms,
            last_ms: self.last_ms,
            evidence: self.evidence.clone(),
        })
    }
}

/// The name of a transport protocol.
fn transport(protocol: u8) -> &'static str {
    match protocol {
        protocol::TCP => "TCP",
        protocol::UDP => "UDP",
        protocol::ICMP => "ICMP",
        protocol::ICMPV6 => "ICMPv6",
        _ => "other",
    }
}
