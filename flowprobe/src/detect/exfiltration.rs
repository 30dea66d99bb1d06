//! Exfiltration: a host inside sends far more outside than it and others here are used to.
//!
//! Two things make an upload odd: that nobody else here talks to whom it goes to, and that it is far more than the host used to send. The
//! first is known after minutes, the second after a day, and by hour of week after a week.

mod uploads;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use super::connection::{Connection, Outcome};
use super::finding::{Rule, Seen, Severity, Sighting};
use super::flow::{Flow, Ip};
use super::settings::{Octets, Span};
use super::sketch::recent::Recent;
use super::sketch::two::Two;
use super::words::{counted, octets, span};
use super::{Context, Detector};
use uploads::{DAY_MS, Destination, HOUR_MS, Host, Talkers, folded};

/// Exfiltration Over Alternative Protocol.
static RULE: Rule = Rule { name: "exfiltration", technique: Some("T1048"), quiet_ms: 2 * HOUR_MS };

/// Hosts inside whose habits are known, of 250 octets to 2.7 kB: 88 MB at most.
const HOSTS: usize = 1 << 15;

/// Outside hosts of which it is known who talks to them.
const OUTSIDE: usize = 1 << 17;

/// Networks of such hosts.
const NETWORKS: usize = 1 << 15;

/// Pairs of an inside host and an outside one that asks it for something at a port that does not say so.
const VISITS: usize = 1 << 14;

/// The time between two looks at all hosts.
const LOOK_MS: i64 = 30_000;

/// So many others that talk to its network make an outside host likely to be a service's.
const SHARED: usize = 2;

/// From so many peers on there is something to compare with.
const PEERS: usize = 10;

/// When an upload is exfiltration.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ExfiltrationSettings {
    /// Whether it is looked for.
    pub enabled: bool,
    /// Less than this within an hour to one outside host is never one. Twice as much where there are fewer than 10 hosts to compare with,
    /// 10 times as much to an outside host that others here talk to, too.
    pub hour: Octets,
    /// Less than this within a day to one outside host is not a slow one. Twice as much where there are fewer than 10 hosts.
    pub day: Octets,
    /// How many times more than it used to the host must send.
    pub factor: u64,
    /// How many times more must go out than comes back.
    pub ratio: u64,
    /// For so long it is waited, where the host is not known for a week and there are 10 hosts or more, whether others send to the same
    /// outside host: a backup service on the first night.
    pub hold: Span,
    /// Outside networks that get uploads as a matter of course, such as a backup service.
    pub expected: Vec<ipnet::IpNet>,
}

impl Default for ExfiltrationSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            hour: Octets(100_000_000),
            day: Octets(250_000_000),
            factor: 4,
            ratio: 3,
            hold: Span::minutes(20),
            expected: Vec::new(),
        }
    }
}

/// All that is remembered.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct State {
    hosts: Recent<Ip, Host>,
    talkers: Recent<Ip, Talkers>,
    networks: Recent<Ip, Talkers>,
    visits: Recent<Two, ()>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            hosts: Recent::new(HOSTS),
            talkers: Recent::new(OUTSIDE),
            networks: Recent::new(NETWORKS),
            visits: Recent::new(VISITS),
        }
    }
}

/// What hosts of the site send outside.
#[derive(Clone, Copy, Debug, Default)]
struct Peers {
    count: usize,
    /// Median and 90th percentile of the last hour, and of the last 24 hours.
    hour: (u64, u64),
    day: (u64, u64),
    /// The third most of the busiest hours of the last day.
    third_most: u64,
}

impl Peers {
    fn of<'a>(hosts: impl Iterator<Item = &'a Host>) -> Self {
        let (mut hour, mut day, mut most) = (Vec::new(), Vec::new(), Vec::new());
        for host in hosts.filter(|host| host.most_up() > 0) {
            hour.push(host.hour_up());
            day.push(host.day_up());
            most.push(host.most_up());
        }
        let count = hour.len();
        if count == 0 {
            return Self::default();
        }
        let middle = |of: &mut Vec<u64>| {
            of.sort_unstable();
            (of[count / 2], of[count * 9 / 10])
        };
        let (hour, day) = (middle(&mut hour), middle(&mut day));
        most.sort_unstable();
        Self { count, hour, day, third_most: if count >= 3 { most[count - 3] } else { 0 } }
    }

    const fn are_few(&self) -> bool {
        self.count < PEERS
    }
}

/// Looks for uploads that are out of the ordinary.
#[derive(Debug)]
pub(crate) struct Exfiltration {
    settings: ExfiltrationSettings,
    state: State,
    looked_ms: i64,
}

impl Exfiltration {
    /// Goes on with what was remembered.
    pub(crate) const fn new(settings: ExfiltrationSettings, state: State) -> Self {
        Self { settings, state, looked_ms: 0 }
    }

    /// What is to be remembered.
    pub(crate) const fn state(&self) -> &State {
        &self.state
    }
}

/// Whether the sender is one that is asked, as its port says: what clients outside fetch from a server is not its upload.
const fn is_served(port: u16, client_port: u16) -> bool {
    port != 0 && client_port >= 1024 && (port < 1024 || matches!(port, 3389 | 8000 | 8080 | 8443))
}

/// Who else talks to an outside host.
#[derive(Clone, Copy, Debug, Default)]
struct Others {
    /// To the host itself.
    to_it: usize,
    /// To its network (/24, /48).
    to_network: usize,
    /// It asked the inside host, and not the other way round.
    is_visitor: bool,
}

impl Detector for Exfiltration {
    fn flow(&mut self, flow: &Flow, context: Context<'_>, _seen: &mut Seen) {
        let is_up = context.site.is_inside(flow.source);
        if is_up == context.site.is_inside(flow.destination) || !self.settings.enabled {
            return;
        }
        let (inside, outside) = if is_up { (flow.source, flow.destination) } else { (flow.destination, flow.source) };
        if !outside.is_of_a_host()
            || !inside.is_of_a_host()
            || is_up && is_served(flow.source_port, flow.destination_port)
        {
            return;
        }
        if is_up {
            self.state.hosts.entry(inside, || Host::new(flow.start_ms)).take(flow, outside, true);
        } else if flow.octets > 0 && !flow.is_attempt() {
            // The answer may come before the question, but a host that never sends is of no interest.
            self.state.hosts.entry(inside, || Host::new(flow.start_ms)).take(flow, outside, false);
        }
    }

    fn judged(&mut self, connection: &Connection, outcome: Outcome, context: Context<'_>, _seen: &mut Seen) {
        let (inside, outside) = (connection.client, connection.server);
        // Who was visited from there does not talk to it, nor does a gateway that is seen to get the answers of others.
        let has_asked = !outcome.has_failed() && connection.sent.packets > 0;
        let State { talkers, networks, visits, .. } = &mut self.state;
        if has_asked && context.site.is_inside(inside) && context.site.is_outside(outside) {
            talkers.entry(outside, Talkers::default).add(folded(inside));
            networks.entry(outside.network(), Talkers::default).add(folded(inside));
        } else if has_asked
            && context.site.is_outside(inside)
            && context.site.is_inside(outside)
            && !is_served(connection.server_port, connection.client_port)
        {
            visits.entry(Two(outside, inside), || ());
        }
    }

    fn advance(&mut self, context: Context<'_>, seen: &mut Seen) {
        if context.now_ms - self.looked_ms < LOOK_MS {
            return;
        }
        self.looked_ms = context.now_ms;
        let Self { settings, state: State { hosts, talkers, networks, visits }, .. } = self;
        hosts.iter_mut().for_each(|(_, host)| host.turn(context.now_ms));
        let peers = Peers::of(hosts.iter().map(|(_, host)| host));
        let mut others = HashMap::new();
        for (ip, host) in hosts.iter_mut() {
            let judge = Judge { ip: *ip, settings, peers, now_ms: context.now_ms };
            judge.look(
                host,
                &mut |outside| {
                    let of = |known: Option<&Talkers>| known.map_or(0, |known| known.others(folded(*ip)));
                    *others.entry((*ip, outside)).or_insert_with(|| Others {
                        to_it: of(talkers.get(&outside)),
                        to_network: of(networks.get(&outside.network())),
                        is_visitor: visits.get(&Two(*ip, outside)).is_some(),
                    })
                },
                seen,
            );
        }
    }

    fn name(&self) -> &'static str {
        "exfiltration-2"
    }

    fn learned(&self) -> Option<Vec<u8>> {
        postcard::to_stdvec(self.state()).ok()
    }

    fn go_on_with(&mut self, learned: &[u8]) -> bool {
        postcard::from_bytes(learned).map(|learned| self.state = learned).is_ok()
    }

    fn memory(&self) -> (usize, u64) {
        let State { hosts, talkers, networks, visits } = &self.state;
        (
            hosts.len() + talkers.len() + networks.len() + visits.len(),
            hosts.forgotten() + talkers.forgotten() + networks.forgotten() + visits.forgotten(),
        )
    }
}

/// What a host is judged by.
struct Judge<'a> {
    ip: Ip,
    settings: &'a ExfiltrationSettings,
    peers: Peers,
    now_ms: i64,
}

impl Judge<'_> {
    /// Looks at a host. `others` tells who else talks to an outside host.
    fn look(&self, host: &mut Host, others: &mut impl FnMut(Ip) -> Others, seen: &mut Seen) {
        let is_new = self.now_ms - host.since_ms < DAY_MS;
        let is_strange = self.now_ms - host.since_ms < 7 * DAY_MS;
        let (this_hour, day_up) = (host.this_hour(), host.day_up());
        let is_any = host
            .destinations
            .iter()
            .any(|one| one.hour.up >= self.settings.hour.0 || one.day.up >= self.settings.day.0);
        if !is_any && this_hour < self.settings.hour.0.saturating_mul(10) && host.said == 0 {
            host.destinations
                .iter_mut()
                .filter(|one| self.now_ms - one.last_ms > HOUR_MS)
                .for_each(|one| one.suspect = None);
            return;
        }
        let (usual, usual_day, is_unknown) = (host.usual_uploads(), host.usual_day(), host.usual() == 0);
        let bar = usual.saturating_mul(self.settings.factor);
        for one in &mut host.destinations {
            if self.now_ms - one.last_ms > HOUR_MS || self.is_expected(one) {
                one.suspect = None;
                continue;
            }
            if one.suspect.is_none() && self.is_much(one, bar, this_hour) {
                one.suspect = Some((self.now_ms, one.hour));
            }
            let is_slow = self.is_slow(one, usual_day, day_up);
            if one.suspect.is_none() && !is_slow {
                continue;
            }
            let others = others(one.ip);
            if others.to_it > 0 || others.is_visitor {
                continue;
            }
            let is_held = is_strange && !self.peers.are_few();
            let is_due = one.suspect.is_some_and(|(since, _)| !is_held || self.now_ms - since >= self.settings.hold.0);
            if !(is_due || is_slow) || one.day.up < one.said.saturating_mul(2).max(1) {
                continue;
            }
            let up = one.suspect.map_or(0, |(_, exchange)| exchange.up.max(one.hour.up));
            let severity = match (is_due, is_new, usual_day) {
                // A service with many servers, of which it met one of its own.
                _ if others.to_network >= SHARED => Severity::Low,
                (true, true, _) if up < self.settings.hour.0.saturating_mul(if is_unknown { 10 } else { 5 }) => {
                    Severity::Low
                }
                (true, ..) | (false, _, Some(_)) => Severity::Medium,
                _ => Severity::Low,
            };
            one.said = one.day.up;
            seen.push(self.to_one(one, severity, usual, (is_due, others)));
        }
        if !is_new {
            self.look_at_all(host, host.usual(), seen);
        }
    }

    fn is_expected(&self, one: &Destination) -> bool {
        !self.settings.expected.is_empty() && {
            let address = one.ip.to_addr();
            self.settings.expected.iter().any(|network| network.contains(&address))
        }
    }

    /// Whether it got far more within an hour than the host used to send, and than others send.
    fn is_much(&self, one: &Destination, bar: u64, this_hour: u64) -> bool {
        let (hour, settings) = (&one.hour, self.settings);
        if hour.up < settings.hour.0.max(bar) {
            return false;
        }
        if self.peers.are_few() {
            // Not half a share of what goes out at all: of an hour that has just begun, that is what it was in the one before.
            let is_most = hour.up / 4 >= this_hour.saturating_sub(hour.up);
            return hour.up / 2 >= settings.hour.0 && hour.is_upload(settings.ratio.max(10)) && is_most;
        }
        // Not the high quantile: those who have a video call are above many an upload.
        hour.is_upload(settings.ratio.max(1)) && hour.up / settings.factor.max(1) >= self.peers.hour.0
    }

    /// Whether it got a little in most hours, which is much over a day.
    fn is_slow(&self, one: &Destination, usual_day: Option<u64>, day_up: u64) -> bool {
        let (day, settings) = (&one.day, self.settings);
        let few = self.peers.are_few();
        let median = if few { 0 } else { self.peers.day.0 };
        day.up >= if few { settings.day.0.saturating_mul(2) } else { settings.day.0 }
            && one.hours >= 6
            && day.is_upload(settings.ratio.max(1))
            && day.up / 3 >= median
            && day.up / 2 >= usual_day.unwrap_or(0)
            && day.up >= day_up / 2
    }

    fn to_one(&self, one: &Destination, severity: Severity, usual: u64, (is_fast, who): (bool, Others)) -> Sighting {
        let network = if who.to_network >= SHARED { ", though others talk to its network" } else { "" };
        let exchange = if is_fast {
            one.suspect.map_or(one.hour, |(_, then)| if one.hour.up >= then.up { one.hour } else { then })
        } else {
            one.day
        };
        let others = if self.peers.are_few() {
            match self.peers.count.saturating_sub(1) {
                0 => "No other host here sends outside".to_owned(),
                1 => "1 other host here sends outside, which is too few to compare with".to_owned(),
                count => format!("{count} other hosts here send outside, which is too few to compare with"),
            }
        } else {
            let (median, high) = if is_fast { self.peers.hour } else { self.peers.day };
            format!(
                "Half of the hosts here send outside {} or less, nine of ten {} or less",
                octets(median),
                octets(high)
            )
        };
        let habit = match (is_fast, usual) {
            (true, 0) => String::new(),
            (true, _) => format!(" It used to upload {} in an hour.", octets(usual)),
            (false, _) => format!(" It did so in {}.", counted(one.hours.into(), "hour")),
        };
        Sighting {
            rule: &RULE,
            severity,
            subject: self.ip.into(),
            matter: one.ip.to_string(),
            title: format!("{} sent {} to {}, which no other host here talks to", self.ip, octets(exchange.up), one.ip),
            explanation: format!(
                "{} sent {} to {} within {} and got {} back. No other host here talks to it{network}.{habit} {others}.",
                self.ip,
                octets(exchange.up),
                one.ip,
                span((one.last_ms - exchange.since_ms).max(1000)),
                octets(exchange.down),
            ),
            peers: vec![one.ip],
            first_ms: exchange.since_ms,
            last_ms: one.last_ms,
            evidence: vec![one.evidence],
        }
    }

    /// Whether all that a host sends is far more than it used to send, whoever gets it.
    fn look_at_all(&self, host: &mut Host, usual: u64, seen: &mut Seen) {
        let (up, settings) = (host.this_hour(), self.settings);
        if up < host.said / 2 {
            host.said = 0;
        }
        let bar = settings.hour.0.max(usual).max(self.peers.hour.1).saturating_mul(10);
        // Two others who did the like within a day make it usual.
        if self.peers.are_few() || up < bar || up < host.said.saturating_mul(2) || self.peers.third_most >= up / 2 {
            return;
        }
        let mut most: Vec<&Destination> =
            host.destinations.iter().filter(|one| self.now_ms - one.last_ms <= HOUR_MS).collect();
        most.sort_by_key(|one| std::cmp::Reverse(one.hour.up));
        let Some(first) = most.first() else { return };
        if !first.hour.is_upload(settings.ratio.max(1)) || first.said > 0 || self.is_expected(first) {
            return;
        }
        let named: Vec<String> =
            most.iter().take(3).map(|one| format!("{} to {}", octets(one.hour.up), one.ip)).collect();
        let sighting = Sighting {
            rule: &RULE,
            severity: Severity::Low,
            subject: self.ip.into(),
            matter: String::new(),
            title: format!("{} sent {} outside in an hour", self.ip, octets(up)),
            explanation: format!(
                "{} sent {} outside in this hour, most of it {}. It used to send {} in such an hour, and nine of ten hosts {} or less.",
                self.ip,
                octets(up),
                named.join(", "),
                octets(usual),
                octets(self.peers.hour.1)
            ),
            peers: most.iter().take(3).map(|one| one.ip).collect(),
            first_ms: first.hour.since_ms,
            last_ms: first.last_ms,
            evidence: most.iter().take(3).map(|one| one.evidence).collect(),
        };
        host.said = up;
        seen.push(sighting);
    }
}

#[cfg(test)]
mod tests;
