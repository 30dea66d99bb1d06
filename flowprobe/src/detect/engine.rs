//! All detectors together.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::amplification::{Amplification, AmplificationSettings};
use super::beacon::{Beacon, BeaconSettings};
use super::capacity::{Capacity, CapacitySettings, Lines};
use super::connection::{Connection, Connections, Step};
use super::device::{Approvals, DeviceSettings, Devices, Makers};
use super::dhcp::{Dhcp, DhcpSettings};
use super::dns_tunnel::{DnsTunnel, DnsTunnelSettings};
use super::exfiltration::{Exfiltration, ExfiltrationSettings};
use super::finding::{Seen, Sighting};
use super::flow::Flow;
use super::fragments::{Fragments, FragmentsSettings};
use super::gateway::{GatewaySettings, Gateways};
use super::handed::Handed;
use super::icmp_flood::{IcmpFlood, IcmpFloodSettings};
use super::icmp_tunnel::{IcmpTunnel, IcmpTunnelSettings};
use super::indicator::{Indicator, IndicatorSet, IndicatorSettings};
use super::lateral::{Lateral, LateralSettings};
use super::long_lived::{LongLived, LongLivedSettings};
use super::policy::{Policies, PolicySettings};
use super::probes::{Probes, ProbesSettings};
use super::scan::{Scan, ScanSettings};
use super::site::{Guess, Site};
use super::small_flows::{SmallFlows, SmallFlowsSettings};
use super::suppress::Suppression;
use super::syn_flood::{SynFlood, SynFloodSettings};
use super::udp_flood::{UdpFlood, UdpFloodSettings};
use super::volume::{Names, Volume, VolumeSettings};
use super::{Context, Detector};
use crate::alert::settings::SinkSettings;

/// The time between two calls of [`Detector::advance`].
const ADVANCE_MS: i64 = 5000;

/// Where the clock moves by more at once, nobody has looked meanwhile.
const GAP_MS: i64 = 3_600_000;

/// What is looked for, and from where on it counts.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Networks whose hosts are inside, and no others; where it is not given, it is found out.
    pub inside: Option<Vec<IpNet>>,
    /// What is not to be said.
    pub suppress: Vec<Suppression>,
    /// Where findings go; to the daemon's log where there is none.
    pub sink: Vec<SinkSettings>,
    /// See [`ScanSettings`].
    pub scan: ScanSettings,
    /// See [`ProbesSettings`].
    pub probes: ProbesSettings,
    /// See [`LateralSettings`].
    pub lateral_movement: LateralSettings,
    /// See [`IcmpFloodSettings`].
    pub icmp_flood: IcmpFloodSettings,
    /// See [`SynFloodSettings`].
    pub syn_flood: SynFloodSettings,
    /// See [`UdpFloodSettings`].
    pub udp_flood: UdpFloodSettings,
    /// See [`AmplificationSettings`].
    pub amplification: AmplificationSettings,
    /// See [`FragmentsSettings`].
    pub fragments: FragmentsSettings,
    /// See [`BeaconSettings`].
    pub beacon: BeaconSettings,
    /// See [`LongLivedSettings`].
    pub long_lived: LongLivedSettings,
    /// See [`ExfiltrationSettings`].
    pub exfiltration: ExfiltrationSettings,
    /// See [`SmallFlowsSettings`].
    pub small_flows: SmallFlowsSettings,
    /// See [`DnsTunnelSettings`].
    pub dns_tunnel: DnsTunnelSettings,
    /// See [`IcmpTunnelSettings`].
    pub icmp_tunnel: IcmpTunnelSettings,
    /// See [`VolumeSettings`].
    pub volume: VolumeSettings,
    /// See [`DeviceSettings`].
    pub device: DeviceSettings,
    /// See [`DhcpSettings`].
    pub dhcp: DhcpSettings,
    /// See [`GatewaySettings`].
    pub gateway: GatewaySettings,
    /// See [`PolicySettings`].
    pub policy: PolicySettings,
    /// See [`IndicatorSettings`].
    pub indicators: IndicatorSettings,
    /// See [`CapacitySettings`].
    pub capacity: CapacitySettings,
}

/// The names of all rules.
pub const RULES: &[&str] = &[
    "address-conflict",
    "amplification",
    "beacon",
    "capacity-trend",
    "capacity-use",
    "device-maker",
    "dns-tunnel",
    "exfiltration",
    "fragment-flood",
    "host-scan",
    "icmp-flood",
    "icmp-tunnel",
    "indicator",
    "indicator-probe",
    "lateral-movement",
    "long-lived-connection",
    "new-device",
    "outside-resolver",
    "policy",
    "port-scan",
    "probes",
    "reflector",
    "rogue-dhcp",
    "small-flows",
    "syn-flood",
    "tiny-fragments",
    "udp-flood",
    "unauthorised-device",
    "unexpected-gateway",
    "unexpected-ipv6-router",
    "volume-silence",
    "volume-spike",
];

/// What detectors are handed from outside: names, and what was read from files.
pub struct Outside {
    /// Indicator lists, and where newer ones are put.
    pub indicators: Arc<IndicatorSet>,
    /// See [`Outside::indicators`].
    pub new_indicators: Handed<Arc<IndicatorSet>>,
    /// Where it is put what interfaces can do.
    pub new_lines: Handed<Arc<Lines>>,
    /// Devices that may be here, where there is a list of them.
    pub approvals: Option<Approvals>,
    /// Where a newer list is put.
    pub new_approvals: Handed<Approvals>,
    /// Who has made a network card.
    pub makers: Box<dyn Makers + Send>,
    /// What interfaces are called, by their number.
    pub names: Names,
}

/// Nothing is known.
impl Default for Outside {
    fn default() -> Self {
        Self {
            indicators: Arc::default(),
            new_indicators: Handed::default(),
            new_lines: Handed::default(),
            approvals: None,
            new_approvals: Handed::default(),
            makers: Box::new(()),
            names: Box::new(|_| None),
        }
    }
}

/// What a detector keeps in memory, and what time it takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Its name.
    pub detector: Cow<'static, str>,
    /// Hosts, pairs of hosts or whatever it follows.
    pub entries: usize,
    /// Those that were forgotten for room since the start.
    pub forgotten: u64,
    /// Time that it has taken since the start.
    pub nanoseconds: u64,
}

/// Flows that each detector looks at before the next one does: more would not stay in the processor's cache, fewer cost it its own.
const TOGETHER: usize = 256;

/// Conversations that are followed at once.
const CONNECTIONS: usize = 1 << 18;

/// The detectors, and what they look at together.
pub struct Detection {
    site: Site,
    guess: Option<Guess>,
    connections: Connections,
    detectors: Vec<Box<dyn Detector + Send>>,
    /// Time that conversations have taken, and each detector.
    spent: (Duration, Vec<Duration>),
    /// What has happened to conversations that detectors have not been told yet.
    steps: Vec<(Connection, Step)>,
    seen: Seen,
    now_ms: i64,
    advanced_ms: i64,
    /// So late it is, while it is not known who is inside.
    waiting_ms: i64,
}

impl Detection {
    /// Detectors that have seen nothing yet.
    #[must_use]
    pub fn new(site: Site, settings: &Settings, outside: Outside) -> Self {
        let names = outside.names;
        let detectors: Vec<Box<dyn Detector + Send>> = vec![
            Box::new(Scan::new(settings.scan.clone())),
            Box::new(Probes::new(settings.probes.clone())),
            Box::new(Lateral::new(settings.lateral_movement.clone())),
            Box::new(IcmpFlood::new(&settings.icmp_flood)),
            Box::new(SynFlood::new(&settings.syn_flood)),
            Box::new(UdpFlood::new(&settings.udp_flood)),
            Box::new(Amplification::new(&settings.amplification)),
            Box::new(Fragments::new(&settings.fragments)),
            Box::new(Beacon::new(settings.beacon.clone(), Default::default())),
            Box::new(LongLived::new(settings.long_lived.clone(), Default::default())),
            Box::new(Exfiltration::new(settings.exfiltration.clone(), Default::default())),
            Box::new(SmallFlows::new(settings.small_flows.clone(), Default::default())),
            Box::new(DnsTunnel::new(settings.dns_tunnel.clone(), Default::default())),
            Box::new(IcmpTunnel::new(settings.icmp_tunnel.clone(), Default::default())),
            Box::new(Volume::new(settings.volume.clone(), Default::default(), names)),
            Box::new(Devices::new(
                settings.device.clone(),
                (outside.approvals.clone(), outside.new_approvals.clone()),
                outside.makers,
                Default::default(),
            )),
            Box::new(Dhcp::new(settings.dhcp.clone(), Default::default())),
            Box::new(Gateways::new(settings.gateway.clone(), Default::default())),
            Box::new(Policies::new(settings.policy.clone())),
            Box::new(Indicator::new(
                &settings.indicators,
                Arc::clone(&outside.indicators),
                outside.new_indicators.clone(),
                Default::default(),
            )),
            Box::new(Capacity::new(&settings.capacity, outside.new_lines.clone(), Default::default())),
        ];
        Self {
            site,
            guess: None,
            connections: Connections::new(CONNECTIONS),
            spent: (Duration::ZERO, vec![Duration::ZERO; detectors.len()]),
            detectors,
            steps: Vec::with_capacity(TOGETHER),
            seen: Seen::new(),
            now_ms: 0,
            advanced_ms: 0,
            waiting_ms: 0,
        }
    }

    /// Finds out by the first flows who is inside, where these have no private addresses.
    #[must_use]
    pub fn guessing(self) -> Self {
        Self { guess: Some(Guess::default()), ..self }
    }

    /// Takes in flows. They do not move the clock: what exporters say of the time may be wrong.
    pub fn take(&mut self, flows: &[Flow]) {
        for (index, flow) in flows.iter().enumerate() {
            match &mut self.guess {
                None => return flows[index..].chunks(TOGETHER).for_each(|flows| self.look_at(flows)),
                Some(guess) => {
                    if guess.take(flow) {
                        self.settle();
                    }
                }
            }
        }
    }

    /// So late it is now.
    pub fn advance(&mut self, now_ms: i64) {
        if self.guess.is_some() {
            self.waiting_ms = self.waiting_ms.max(now_ms);
            return;
        }
        if self.now_ms > 0 && now_ms - self.now_ms > GAP_MS {
            self.detectors.iter_mut().for_each(|detector| detector.skip(now_ms - self.now_ms));
        }
        self.now_ms = self.now_ms.max(now_ms);
        if self.now_ms - self.advanced_ms < ADVANCE_MS {
            return;
        }
        self.advanced_ms = self.now_ms;
        let now_ms = self.now_ms;
        self.converse(|connections, tell| connections.advance(now_ms, tell));
        let Self { site, detectors, spent, seen, .. } = self;
        let (context, mut watch) = (Context { site, now_ms }, Watch::start());
        for (detector, spent) in detectors.iter_mut().zip(&mut spent.1) {
            detector.advance(context, seen);
            *spent += watch.lap();
        }
    }

    /// Does something to conversations, and tells detectors what happens to them by that.
    fn converse(&mut self, what: impl FnOnce(&mut Connections, &mut dyn FnMut(&Connection, Step))) {
        let Self { site, connections, detectors, spent, steps, seen, now_ms, .. } = self;
        let (context, mut watch, mut told) = (Context { site, now_ms: *now_ms }, Watch::start(), Duration::ZERO);
        let mut tell_all = |steps: &mut Vec<(Connection, Step)>| {
            let mut watch = Watch::start();
            // They come in the order of a map.
            steps.sort_by_key(|(connection, _)| connection.start_ms);
            for (detector, spent) in detectors.iter_mut().zip(&mut spent.1) {
                steps.iter().for_each(|(connection, step)| tell(&mut **detector, connection, *step, context, seen));
                let lap = watch.lap();
                *spent += lap;
                told += lap;
            }
            steps.clear();
        };
        what(connections, &mut |connection, step| {
            steps.push((*connection, step));
            if steps.len() >= TOGETHER {
                tell_all(steps);
            }
        });
        tell_all(steps);
        spent.0 += watch.lap().saturating_sub(told);
    }

    /// There is no more to come: all conversations are over.
    pub fn finish(&mut self) {
        self.settle();
        self.converse(|connections, tell| connections.finish(tell));
        let Self { site, detectors, seen, now_ms, .. } = self;
        let context = Context { site, now_ms: *now_ms };
        // Some wait until what they see has held for some seconds.
        for later in 1..=3 {
            let context = Context { now_ms: *now_ms + later * ADVANCE_MS, ..context };
            detectors.iter_mut().for_each(|detector| detector.advance(context, seen));
        }
    }

    /// What each detector has learned, under its name.
    #[must_use]
    pub fn learned(&self) -> Vec<(&'static str, Vec<u8>)> {
        let one = |detector: &(dyn Detector + Send)| Some((detector.name(), detector.learned()?));
        self.detectors.iter().filter_map(|detector| one(&**detector)).collect()
    }

    /// That of each detector, and of the conversations that are followed.
    #[must_use]
    pub fn loads(&self) -> Vec<Load> {
        let nanoseconds = |spent: Duration| u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX);
        let one = |detector: &(dyn Detector + Send), spent: &Duration| {
            let (entries, forgotten) = detector.memory();
            let name = detector.name().rsplit_once('-').map_or("", |(name, _)| name);
            Load { detector: name.into(), entries, forgotten, nanoseconds: nanoseconds(*spent) }
        };
        let (connections, spent) = (&self.connections, &self.spent);
        let conversations = Load {
            detector: "conversations".into(),
            entries: connections.len(),
            forgotten: connections.hurried,
            nanoseconds: nanoseconds(spent.0),
        };
        let each = self.detectors.iter().zip(&spent.1).map(|(detector, spent)| one(&**detector, spent));
        std::iter::once(conversations).chain(each).collect()
    }

    /// Goes on with what detectors had learned. Returns the names of those that cannot use it.
    pub fn go_on_with(&mut self, learned: &[(String, Vec<u8>)]) -> Vec<&'static str> {
        let mut refused = Vec::new();
        for detector in &mut self.detectors {
            let of_it = learned.iter().find(|(name, _)| name == detector.name());
            if of_it.is_some_and(|(_, octets)| !detector.go_on_with(octets)) {
                refused.push(detector.name());
            }
        }
        refused
    }

    /// Whether something was seen since then.
    #[must_use]
    pub fn has_seen(&self) -> bool {
        !self.seen.is_empty()
    }

    /// What was seen since this was asked last.
    pub fn seen(&mut self) -> std::vec::Drain<'_, Sighting> {
        self.seen.drain(..)
    }

    /// The latest moment that has come, milliseconds since 1970 UTC.
    #[must_use]
    pub const fn now_ms(&self) -> i64 {
        self.now_ms
    }

    fn settle(&mut self) {
        let Some(guess) = self.guess.take() else { return };
        // Those that have waited come with their own time.
        for flow in guess.decide(&mut self.site) {
            self.advance(flow.end_ms);
            self.look_at(&[flow]);
        }
        self.advance(self.waiting_ms);
    }

    fn look_at(&mut self, flows: &[Flow]) {
        if self.now_ms == 0
            && let Some(flow) = flows.first()
        {
            // Nobody has said yet how late it is.
            self.advance(flow.end_ms);
        }
        let now_ms = self.now_ms;
        let Self { site, detectors, spent, seen, .. } = self;
        let (context, mut watch) = (Context { site, now_ms }, Watch::start());
        for (detector, spent) in detectors.iter_mut().zip(&mut spent.1) {
            flows.iter().for_each(|flow| detector.flow(flow, context, seen));
            *spent += watch.lap();
        }
        self.converse(|connections, tell| flows.iter().for_each(|flow| connections.take(flow, now_ms, tell)));
    }
}

/// Tells what each of several things takes that are done one after the other.
struct Watch(Instant);

impl Watch {
    fn start() -> Self {
        Self(Instant::now())
    }

    fn lap(&mut self) -> Duration {
        let before = std::mem::replace(&mut self.0, Instant::now());
        self.0 - before
    }
}

fn tell(detector: &mut dyn Detector, connection: &Connection, step: Step, context: Context<'_>, seen: &mut Seen) {
    match step {
        Step::Judged(outcome) => detector.judged(connection, outcome, context, seen),
        Step::Over => detector.over(connection, context, seen),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The names in `name: "…"` of each `Rule` in the files of a folder, but for those of tests.
    fn rules_in(folder: &Path, out: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                rules_in(&path, out);
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("a file");
            let code = text.split("mod tests {").next().unwrap_or_default();
            if path.ends_with("engine.rs") || path.ends_with("tests.rs") {
                continue;
            }
            let rules = code.split("Rule { name: \"").skip(1).filter_map(|rest| rest.split('"').next());
            out.extend(rules.map(str::to_owned));
        }
    }

    #[test]
    fn all_rules_are_listed() {
        let mut rules = Vec::new();
        rules_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/detect"), &mut rules);
        rules.sort_unstable();
        assert_eq!(rules, RULES);
    }
}
