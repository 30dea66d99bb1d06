//! Volumes that are out of the ordinary: of an interface by class of protocol, and of hosts inside, against what is usual at this hour of
//! the week.

mod series;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use super::finding::{Rule, Seen, Sighting, Subject};
use super::flow::{Flow, Ip, protocol};
use super::settings::Octets;
use super::sketch::baseline::{By, STEP_MS};
use super::sketch::recent::Recent;
use super::words::{octets, span};
use super::{Context, Detector};
use series::{Kind, Odd, Series};

static SPIKE: Rule = Rule { name: "volume-spike", technique: None, quiet_ms: 6 * STEP_MS };
static SILENCE: Rule = Rule { name: "volume-silence", technique: None, quiet_ms: 6 * STEP_MS };

/// Interfaces that are followed, of about 5 kB.
const INTERFACES: usize = 4096;

/// Numbers of interfaces whose names are kept at hand.
const NUMBERS: usize = 4 * INTERFACES;

/// Hosts inside that are followed, of 400 octets, and 772 for each of the four ways of which a baseline is learned: 115 MB at most.
const HOSTS: usize = 1 << 15;

/// After so many steps without a call it is a gap in what was seen, not silence.
const GAP: i64 = 6;

/// Classes of protocols, and all together.
const CLASSES: [&str; 5] = ["TCP", "UDP", "ICMP", "other", "all"];
const ALL: usize = 4;

/// The number of an interface as its name, `None` where it has none.
pub(crate) type Names = Box<dyn Fn(u32) -> Option<String> + Send>;

/// When a volume is out of the ordinary.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct VolumeSettings {
    /// Whether it is looked for.
    pub enabled: bool,
    /// Less than this of a class of protocols in 5 minutes on an interface is never too much.
    pub floor: Octets,
    /// The same for ICMP.
    pub icmp_floor: Octets,
    /// The same for a host, each way.
    pub host_floor: Octets,
    /// How many times what is usual it must be, at least.
    pub factor: u32,
    /// How many mean deviations above what is usual it must be, at least.
    pub deviations: u32,
    /// For so many steps of 5 minutes.
    pub steps: u32,
    /// How many times the most of the last hour it must be at once while nothing is usual yet; at 0 nothing is said until then.
    pub cold_factor: u32,
    /// Whether hosts are looked at, not only interfaces.
    pub hosts: bool,
}

impl Default for VolumeSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            floor: Octets(10_000_000),
            icmp_floor: Octets(1_000_000),
            host_floor: Octets(500_000_000),
            factor: 5,
            deviations: 6,
            steps: 3,
            cold_factor: 0,
            hosts: true,
        }
    }
}

/// An interface, by name: numbers may be others after a restart.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Interface {
    name: String,
    classes: [Series; 5],
}

/// A host inside, by [`WAYS`]: a server that is backed up by night is not used to send the same outside.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct HostVolume {
    ways: [Series; 4],
}

/// Ways of a host's traffic.
const WAYS: [&str; 4] = ["from inside", "to inside", "from outside", "to outside"];

/// All that is remembered.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct State {
    interfaces: Vec<Interface>,
    hosts: Recent<Ip, HostVolume>,
    /// The step that is counted: 5 minutes since 1970 UTC; 0 before the first.
    step: i64,
    /// Interfaces for which there was no room.
    forgotten: u64,
}

impl Default for State {
    fn default() -> Self {
        Self { interfaces: Vec::new(), hosts: Recent::new(HOSTS), step: 0, forgotten: 0 }
    }
}

/// Looks for volumes that are out of the ordinary.
pub(crate) struct Volume {
    settings: VolumeSettings,
    state: State,
    names: Names,
    /// Whether the state is of a run before, and nothing was closed since.
    has_resumed: bool,
    /// Places in `state.interfaces`; `None` for those for which there was no room.
    numbers: HashMap<u32, Option<usize>>,
}

impl Volume {
    /// Goes on with what was remembered. `names` tells the name of an interface when its number is seen first: it is called once for each.
    pub(crate) fn new(settings: VolumeSettings, state: State, names: Names) -> Self {
        Self { settings, state, names, numbers: HashMap::new(), has_resumed: false }
    }

    /// What is to be remembered.
    pub(crate) const fn state(&self) -> &State {
        &self.state
    }

    fn interface(&mut self, number: u32) -> Option<&mut Interface> {
        let place = match self.numbers.get(&number) {
            Some(place) => *place,
            None => self.learn_number(number),
        };
        self.state.interfaces.get_mut(place?)
    }

    fn learn_number(&mut self, number: u32) -> Option<usize> {
        let interfaces = &mut self.state.interfaces;
        let name = (self.names)(number).unwrap_or_else(|| format!("interface {number}"));
        let place = interfaces.iter().position(|one| one.name == name).or_else(|| {
            if interfaces.len() >= INTERFACES {
                self.state.forgotten += 1;
                return None;
            }
            interfaces.push(Interface { name, ..Interface::default() });
            Some(interfaces.len() - 1)
        });
        if self.numbers.len() >= NUMBERS {
            self.numbers.clear();
        }
        self.numbers.insert(number, place);
        place
    }

    fn close(&mut self, seen: &mut Seen) {
        let Self { settings, state, .. } = self;
        let step = state.step;
        for interface in &mut state.interfaces {
            for (class, series) in interface.classes.iter_mut().enumerate() {
                let floor = if class == 2 { settings.icmp_floor.0 } else { settings.floor.0 };
                let kind = Kind { floor, is_host: false, is_all: class == ALL };
                let odd = series.close(step, kind, settings);
                let largest = series.largest.take();
                if let Some(odd) = odd {
                    let subject = Subject::Interface(interface.name.clone());
                    seen.push(sighting(subject, CLASSES[class], odd, step, largest.as_deref()));
                }
            }
        }
        for (ip, host) in state.hosts.iter_mut() {
            for (series, way) in host.ways.iter_mut().zip(WAYS) {
                let kind = Kind { floor: settings.host_floor.0, is_host: true, is_all: false };
                let odd = series.close(step, kind, settings);
                let largest = series.largest.take();
                if let Some(odd) = odd {
                    seen.push(sighting((*ip).into(), way, odd, step, largest.as_deref()));
                }
            }
        }
    }

    fn skip(&mut self) {
        self.state.interfaces.iter_mut().flat_map(|one| &mut one.classes).for_each(Series::skip);
        self.state.hosts.iter_mut().flat_map(|(_, host)| &mut host.ways).for_each(Series::skip);
    }
}

impl Detector for Volume {
    fn flow(&mut self, flow: &Flow, context: Context<'_>, seen: &mut Seen) {
        if !self.settings.enabled {
            return;
        }
        self.advance(context, seen);
        let class = match flow.protocol {
            protocol::TCP => 0,
            protocol::UDP => 1,
            protocol::ICMP | protocol::ICMPV6 => 2,
            _ => 3,
        };
        if let Some(interface) = self.interface(flow.interface) {
            interface.classes[class].add(flow);
            interface.classes[ALL].add(flow);
        }
        if !self.settings.hosts {
            return;
        }
        let (source, destination) = (flow.source, flow.destination);
        let [is_from_inside, is_to_inside] = [source, destination].map(|ip| context.site.is_inside(ip));
        for (way, ip, is_inside, is_other_inside) in
            [(0, destination, is_to_inside, is_from_inside), (1, source, is_from_inside, is_to_inside)]
        {
            if is_inside && ip.is_of_a_host() {
                let way = if is_other_inside { way } else { way + 2 };
                self.state.hosts.entry(ip, HostVolume::default).ways[way].add(flow);
            }
        }
    }

    fn advance(&mut self, context: Context<'_>, seen: &mut Seen) {
        let now = context.now_ms.div_euclid(STEP_MS);
        if now <= self.state.step || !self.settings.enabled {
            return;
        }
        let is_gap = std::mem::take(&mut self.has_resumed) || now - self.state.step > GAP;
        if self.state.step != 0 && is_gap {
            self.skip();
        } else if self.state.step != 0 {
            while self.state.step < now {
                self.close(seen);
                self.state.step += 1;
            }
        }
        self.state.step = now;
    }

    fn name(&self) -> &'static str {
        "volume-2"
    }

    fn learned(&self) -> Option<Vec<u8>> {
        postcard::to_stdvec(self.state()).ok()
    }

    fn go_on_with(&mut self, learned: &[u8]) -> bool {
        // What went by in between was not seen by anybody.
        self.has_resumed = true;
        postcard::from_bytes(learned).map(|learned| self.state = learned).is_ok()
    }

    fn memory(&self) -> (usize, u64) {
        let State { interfaces, hosts, forgotten, .. } = &self.state;
        (interfaces.len() + hosts.len(), hosts.forgotten() + forgotten)
    }
}

#[expect(clippy::cast_precision_loss, reason = "two digits")]
fn sighting(subject: Subject, what: &str, odd: Odd, step: i64, largest: Option<&Flow>) -> Sighting {
    let last_ms = (step + 1) * STEP_MS;
    let first_ms = last_ms - i64::from(odd.steps) * STEP_MS;
    let lasts = span(last_ms - first_ms);
    let (is_host, usual) = (matches!(subject, Subject::Host(_)), octets(odd.usual));
    let of = if is_host { format!("Traffic of {subject} {what}") } else { format!("Traffic on {subject} ({what})") };
    let compared = match odd.by {
        Some(By::Week) => format!("At this hour of the week {usual} are usual"),
        Some(By::Day) => format!("At this hour on other days {usual} are usual"),
        Some(By::All) => format!("At all hours {usual} are usual"),
        None if odd.is_high => {
            format!("The most in 5 minutes of the hour before was {usual}; what is usual at this hour is not known yet")
        }
        None => format!("It had traffic without a break for half a day, of the last steps {usual} at most"),
    };
    let (rule, title, explanation) = if odd.is_high {
        let times = odd.octets as f64 / odd.usual.max(1) as f64;
        let times = if times < 1000.0 { format!("{times:.0} times") } else { "more than 1,000 times".to_owned() };
        (
            &SPIKE,
            format!("{of} is {times} what it was"),
            format!("{of} has been high for {lasts}, {} in the last 5 minutes. {compared}.", octets(odd.octets)),
        )
    } else {
        (
            &SILENCE,
            format!("{subject} has gone silent"),
            format!("{of} has been {} in the last 5 minutes, for {lasts}. {compared}.", octets(odd.octets)),
        )
    };
    Sighting {
        rule,
        severity: odd.severity,
        subject,
        matter: what.to_owned(),
        title,
        explanation,
        peers: largest
            .map(|flow| [flow.source, flow.destination])
            .into_iter()
            .flatten()
            .filter(|ip| ip.is_of_a_host())
            .collect(),
        first_ms,
        last_ms,
        evidence: largest.copied().into_iter().collect(),
    }
}

#[cfg(test)]
mod tests;
