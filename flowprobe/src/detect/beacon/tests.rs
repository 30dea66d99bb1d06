//! Beacons at several strengths.

mod calm;

use std::net::IpAddr;

use super::super::connection::{Connections, Step};
use super::super::site::Site;
use super::*;

const CLIENT: &str = "10.0.0.7";
const SERVER: &str = "198.51.100.9";
const HOUR_MS: i64 = 3_600_000;
const START_MS: i64 = 1_700_000_000_000;

fn ip(text: &str) -> Ip {
    text.parse::<IpAddr>().expect("an address").into()
}

/// The detector behind the joining of both directions, as in the engine.
struct Watch {
    beacon: Beacon,
    connections: Connections,
    seen: Seen,
    site: Site,
    now_ms: i64,
}

impl Watch {
    fn new(settings: BeaconSettings) -> Self {
        Self {
            beacon: Beacon::new(settings, BeaconState::default()),
            connections: Connections::new(10_000),
            seen: Seen::new(),
            site: Site::private_and([]),
            now_ms: 0,
        }
    }

    fn advance(&mut self, now_ms: i64) {
        self.now_ms = self.now_ms.max(now_ms);
        let Self { beacon, connections, seen, site, now_ms } = self;
        let context = Context { site, now_ms: *now_ms };
        connections.advance(*now_ms, &mut |connection, step| match step {
            Step::Judged(outcome) => beacon.judged(connection, outcome, context, seen),
            Step::Over => beacon.over(connection, context, seen),
        });
    }

    fn take(&mut self, flow: &Flow) {
        self.advance(flow.end_ms);
        let Self { beacon, connections, seen, site, now_ms } = self;
        let context = Context { site, now_ms: *now_ms };
        beacon.flow(flow, context, seen);
        connections.take(flow, *now_ms, &mut |connection, step| match step {
            Step::Judged(outcome) => beacon.judged(connection, outcome, context, seen),
            Step::Over => beacon.over(connection, context, seen),
        });
    }

    /// Takes in flows in the order of their ends. Returns what was seen of all together.
    fn all(&mut self, mut flows: Vec<Flow>) -> &Seen {
        flows.sort_by_key(|flow| flow.end_ms);
        flows.iter().for_each(|flow| self.take(flow));
        self.advance(self.now_ms + 200_000);
        &self.seen
    }

    fn worst(&self) -> Option<Severity> {
        self.seen.iter().map(|sighting| sighting.severity).max()
    }
}

fn seen(flows: Vec<Flow>) -> Option<Severity> {
    let mut watch = Watch::new(BeaconSettings::default());
    watch.all(flows);
    watch.worst()
}

/// An exchange between two hosts, of which all may be set.
#[derive(Clone)]
struct Talk {
    client: String,
    server: String,
    port: u16,
    protocol: u8,
    sent: u64,
    received: u64,
    lasts_ms: i64,
    /// Of the client, for all; else a new one each time.
    own_port: Option<u16>,
}

impl Talk {
    fn new(port: u16) -> Self {
        let (client, server) = (CLIENT.to_owned(), SERVER.to_owned());
        Self { client, server, port, protocol: 6, sent: 1200, received: 3000, lasts_ms: 300, own_port: None }
    }

    /// Nobody answers.
    fn failed(port: u16) -> Self {
        Self { sent: 60, received: 0, lasts_ms: 0, ..Self::new(port) }
    }

    fn udp(port: u16) -> Self {
        Self { protocol: protocol::UDP, sent: 120, received: 80, lasts_ms: 20, ..Self::new(port) }
    }

    /// The flows of it at these times, with sizes that vary by so many percent.
    fn at(&self, times: impl IntoIterator<Item = i64>, vary: u64, random: &mut fastrand::Rng) -> Vec<Flow> {
        let mut out = Vec::new();
        for (at, port) in times.into_iter().zip((40_000..60_000).cycle()) {
            let sent = self.sent * (100 + random.u64(0..=2 * vary) - vary) / 100;
            let is_tcp = self.protocol == protocol::TCP;
            let is_answered = self.received > 0;
            let request = Flow {
                source: ip(&self.client),
                destination: ip(&self.server),
                source_port: self.own_port.unwrap_or(port),
                destination_port: self.port,
                protocol: self.protocol,
                tcp_flags: if !is_tcp {
                    0
                } else if is_answered {
                    0x1b
                } else {
                    2
                },
                opens: is_tcp,
                packets: if is_answered && is_tcp { 9 } else { 1 },
                octets: sent,
                start_ms: START_MS + at,
                end_ms: START_MS + at + self.lasts_ms,
                ..Flow::default()
            };
            out.push(request);
            if is_answered {
                out.push(Flow {
                    source: request.destination,
                    destination: request.source,
                    source_port: request.destination_port,
                    destination_port: request.source_port,
                    tcp_flags: if is_tcp { 0x1b } else { 0 },
                    opens: false,
                    octets: self.received,
                    ..request
                });
            }
        }
        out
    }
}

/// So many times, one each period, with so many percent of jitter either way.
fn regular(count: usize, period_ms: i64, jitter: i64, random: &mut fastrand::Rng) -> Vec<i64> {
    let mut at = 0;
    let mut times = Vec::new();
    for _ in 0..count {
        times.push(at);
        let by = period_ms * jitter / 100;
        at += period_ms + random.i64(-by..=by);
    }
    times
}

fn random(seed: u64) -> fastrand::Rng {
    println!("seed {seed}");
    fastrand::Rng::with_seed(seed)
}

#[test]
fn beacons_of_any_period_and_jitter_are_found() {
    for seed in 0..5 {
        let mut random = random(seed);
        for talk in [Talk::new(443), Talk::failed(1177), Talk::udp(7777)] {
            for period_ms in [2000, 10_000, 60_000, 300_000, HOUR_MS] {
                for jitter in [0, 10, 30, 40] {
                    // Twice the intervals of the first sighting, and 12 minutes at least.
                    let count = usize::try_from(720_000 / period_ms).expect("positive").max(30);
                    let times = regular(count, period_ms, jitter, &mut random);
                    let worst = seen(talk.at(times, 10, &mut random));
                    let slow = period_ms >= 300_000 && talk.port == 443;
                    let what = format!("{} {} of {period_ms} ms with ±{jitter} %", talk.protocol, talk.port);
                    assert!(worst.is_some(), "{what}");
                    assert!(
                        worst != Some(Severity::High) && (!slow || worst == Some(Severity::Low)),
                        "{what}: {worst:?}"
                    );
                    if jitter <= 10 && !slow {
                        assert_eq!(worst, Some(Severity::Medium), "{what}");
                    }
                }
            }
        }
    }
}

#[test]
fn twelve_intervals_are_enough_and_said_in_words() {
    let mut random = random(1);
    let mut watch = Watch::new(BeaconSettings::default());
    let times = regular(13, 60_000, 0, &mut random);
    let all = watch.all(Talk::failed(1177).at(times, 0, &mut random));
    assert_eq!(all.len(), 1, "{all:?}");
    let one = &all[0];
    assert_eq!((one.severity, one.matter.as_str()), (Severity::Low, "198.51.100.9 tcp/1177"));
    assert_eq!(one.title, "10.0.0.7 contacts 198.51.100.9 tcp/1177 every 60 s");
    let start = "10.0.0.7 made 13 connections to 198.51.100.9 tcp/1177 in 12 min, one every 60 s. Half of the last 12 \
                 intervals are within 1 ms of that. The client sends 60 B";
    assert!(one.explanation.starts_with(start), "{}", one.explanation);
    assert!(one.explanation.contains("None of them was answered"), "{}", one.explanation);
    assert_eq!((one.evidence.len(), one.first_ms), (8, START_MS));
    let times = regular(12, 60_000, 0, &mut random);
    assert_eq!(seen(Talk::failed(1177).at(times, 0, &mut random)), None);
}

#[test]
fn it_is_said_again_when_doubled_and_not_each_time() {
    let mut random = random(2);
    let mut watch = Watch::new(BeaconSettings::default());
    let times = regular(1440, 60_000, 10, &mut random);
    let said = watch.all(Talk::new(4444).at(times, 10, &mut random)).len();
    assert!((7..=14).contains(&said), "{said}");
    assert!(
        watch.seen.last().is_some_and(|last| last.explanation.contains("in 20 h")
            || last.explanation.contains("in 22 h")
            || last.explanation.contains("in 23 h")
            || last.explanation.contains("in 21 h")),
        "{:?}",
        watch.seen.last()
    );
}

#[test]
fn gaps_and_bursts_hide_no_beacon() {
    let mut random = random(3);
    // A laptop: an hour open, three closed.
    let asleep: Vec<i64> = (0..4).flat_map(|day| (0..12).map(move |n| day * 4 * HOUR_MS + n * 300_000)).collect();
    assert!(seen(Talk::new(8080).at(asleep, 10, &mut random)).is_some());
    // Every tenth is missing.
    let missed: Vec<i64> = (0..60).filter(|n| n % 10 != 3).map(|n| n * 60_000).collect();
    assert_eq!(seen(Talk::new(8080).at(missed, 10, &mut random)), Some(Severity::Medium));
    // Four at a time, at once, and within some seconds.
    for step in [50, 900] {
        let bursts: Vec<i64> = regular(40, 60_000, 10, &mut random)
            .into_iter()
            .flat_map(|at| (0..4).map(move |n| at + n * step))
            .collect();
        let mut watch = Watch::new(BeaconSettings::default());
        watch.all(Talk::new(8443).at(bursts, 10, &mut random));
        assert_eq!(watch.worst(), Some(Severity::Medium), "{step}");
        assert!(watch.seen.iter().any(|seen| seen.explanation.contains("in bursts")), "{:?}", watch.seen.last());
    }
}

#[test]
fn an_attempt_that_is_sent_again_is_one_connection() {
    let mut random = random(4);
    let mut flows = Vec::new();
    for (n, port) in (0..60).zip(50_000..) {
        let talk = Talk { own_port: Some(port), ..Talk::failed(1177) };
        flows.extend(talk.at([0, 3000, 9000].map(|again| n * 23_000 + again), 0, &mut random));
    }
    let mut watch = Watch::new(BeaconSettings::default());
    watch.all(flows);
    let last = watch.seen.last().expect("a beacon");
    assert_eq!(last.title, "10.0.0.7 contacts 198.51.100.9 tcp/1177 every 23 s");
    assert_eq!(watch.worst(), Some(Severity::Medium));
}

#[test]
fn udp_over_one_port_is_of_low_severity() {
    let mut random = random(6);
    for period_ms in [10_000, 60_000, 300_000] {
        let talk = Talk { own_port: Some(50_000), ..Talk::udp(7777) };
        let times = regular(60, period_ms, 20, &mut random);
        assert_eq!(seen(talk.at(times, 10, &mut random)), Some(Severity::Low), "{period_ms}");
        // QUIC's keep-alives.
        let talk = Talk { port: 443, ..talk };
        let times = regular(60, period_ms.min(100_000), 20, &mut random);
        assert_eq!(seen(talk.at(times, 10, &mut random)), None, "{period_ms}");
    }
}

#[test]
fn a_restart_changes_nothing() {
    let mut random = random(10);
    let mut flows = Talk::new(4444).at(regular(30, HOUR_MS, 20, &mut random), 10, &mut random);
    flows.sort_by_key(|flow| flow.end_ms);
    let (first, last) = flows.split_at(flows.len() / 2);
    let mut before = Watch::new(BeaconSettings::default());
    before.all(first.to_vec());
    let kept = serde_json::to_string(before.beacon.state()).expect("JSON");
    let mut after = Watch::new(BeaconSettings::default());
    after.beacon = Beacon::new(BeaconSettings::default(), serde_json::from_str(&kept).expect("the same"));
    after.all(last.to_vec());
    assert_eq!(after.worst(), Some(Severity::Medium));
    let connections = after.seen.last().map(|seen| seen.explanation.clone()).unwrap_or_default();
    assert!(connections.contains("made 30 connections"), "{connections}");
}

#[test]
fn memory_is_bounded_with_a_million_hosts() {
    let mut beacon = Beacon::new(BeaconSettings::default(), BeaconState::default());
    let site = Site::private_and([]);
    let mut seen = Seen::new();
    let flows = Talk::new(443).at([0], 0, &mut random(11));
    let mut one = None;
    let mut connections = Connections::new(10);
    flows.iter().for_each(|flow| connections.take(flow, flow.end_ms, &mut |_, _| ()));
    connections.finish(&mut |connection, step| {
        if step == Step::Over {
            one = Some(*connection);
        }
    });
    let one = one.expect("a connection");
    for round in 0..4 {
        let hosts = if round == 0 { 1_000_000_u32 } else { 200_000 };
        for host in 0..hosts {
            let client = Ip(0xffff_0a00_0000 + u128::from(host));
            let start_ms = one.start_ms + round * 60_000 + i64::from(host % 50_000);
            let server = Ip(0xffff_0b00_0000 + u128::from(host / 2));
            let mut connection = one;
            (connection.client, connection.server, connection.start_ms) = (client, server, start_ms);
            beacon.judged(&connection, Outcome::Answered, Context { site: &site, now_ms: start_ms }, &mut seen);
        }
    }
    let (entries, forgotten) = beacon.memory();
    assert!(entries <= (1 << 16) + (1 << 19) + SERVERS * 3 / 2, "{entries}");
    assert!(forgotten > 1_000_000 && seen.is_empty(), "{forgotten}");
}

#[test]
fn settings_are_read() {
    let text = r#"{"intervals": 20, "lasts": "1h", "octets": "5kB",
        "known-good": ["192.0.2.0/24"], "known-good-services": ["udp/123", 53]}"#;
    let settings: BeaconSettings = serde_json::from_str(text).expect("settings");
    assert_eq!((settings.intervals, settings.lasts, settings.octets), (20, Span::hours(1), Octets(5000)));
    assert_eq!(settings.known_good_services.len(), 2);
    assert!(serde_json::from_str::<BeaconSettings>(r#"{"interval": 20}"#).is_err());
}
