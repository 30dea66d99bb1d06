//! Connections that last, and what only seems to.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::super::flow::{Ip, protocol};
use super::super::site::Site;
use super::*;

const CLIENT: &str = "10.0.0.7";
const SERVER: &str = "198.51.100.9";
const HOUR_MS: i64 = 3_600_000;
const START_MS: i64 = 1_700_000_000_000;

fn ip(text: &str) -> Ip {
    text.parse::<IpAddr>().expect("an address").into()
}

/// A flow of the client, from and to so many milliseconds.
fn sent(port: u16, from_ms: i64, to_ms: i64, octets: u64) -> Flow {
    Flow {
        source: ip(CLIENT),
        destination: ip(SERVER),
        source_port: 50_000,
        destination_port: port,
        protocol: protocol::TCP,
        tcp_flags: 0x18,
        packets: 10,
        octets,
        start_ms: START_MS + from_ms,
        end_ms: START_MS + to_ms,
        ..Flow::default()
    }
}

/// The answer to it.
fn received(flow: &Flow, octets: u64) -> Flow {
    Flow {
        source: flow.destination,
        destination: flow.source,
        source_port: flow.destination_port,
        destination_port: flow.source_port,
        octets,
        ..*flow
    }
}

fn watch(detector: &mut LongLived, flows: impl IntoIterator<Item = Flow>) -> Seen {
    let (site, mut seen) = (Site::private_and([]), Seen::new());
    for flow in flows {
        detector.flow(&flow, Context { site: &site, now_ms: flow.end_ms }, &mut seen);
    }
    seen
}

fn new() -> LongLived {
    LongLived::new(LongLivedSettings::default(), LongLivedState::default())
}

fn seen(flows: impl IntoIterator<Item = Flow>) -> Seen {
    watch(&mut new(), flows)
}

/// A flow each so many milliseconds for so long, both ways.
fn talk(port: u16, each_ms: i64, hours: i64) -> impl Iterator<Item = Flow> {
    (0..=hours * HOUR_MS / each_ms).flat_map(move |n| {
        let one = sent(port, n * each_ms, n * each_ms, 3000);
        [one, received(&one, 2900)]
    })
}

#[test]
fn it_is_found_while_it_goes_on_however_it_is_told() {
    // Live, once a second; a keep-alive now and then; records of 30 minutes; one record of all.
    for each_ms in [1000, 300_000, 1_680_000, 2_600_000] {
        let seen = seen(talk(443, each_ms, 9));
        assert_eq!(seen.len(), 1, "{each_ms}: {seen:?}");
        let one = &seen[0];
        assert_eq!(
            (one.severity, one.matter.as_str(), one.first_ms),
            (Severity::Low, "198.51.100.9 tcp/443", START_MS)
        );
        assert!((8 * HOUR_MS..9 * HOUR_MS).contains(&(one.last_ms - START_MS)), "{each_ms}: {one:?}");
    }
    let records = (0..20).map(|n| sent(443, n * 1_800_000, (n + 1) * 1_800_000 - 7, 3000));
    assert_eq!(seen(records).len(), 1);
    let whole = seen([sent(22, 0, 10 * HOUR_MS, 50_000)]);
    assert_eq!(whole.len(), 1);
    let text = "A connection of 10.0.0.7 to 198.51.100.9 tcp/22 has gone on for 10 h, in which 10.0.0.7 sent 50.0 kB and received 0 B.";
    assert!(whole[0].explanation.starts_with(text), "{}", whole[0].explanation);
    assert_eq!(seen(talk(443, 60_000, 7)).len(), 0);
}

#[test]
fn it_is_said_again_every_two_hours() {
    assert_eq!(seen(talk(443, 60_000, 24)).len(), 9);
}

#[test]
fn an_upload_is_of_medium_severity() {
    let flows = |octets, back| {
        (0..9).flat_map(move |hour| {
            let one = sent(443, hour * HOUR_MS, (hour + 1) * HOUR_MS, octets);
            [one, received(&one, back)]
        })
    };
    assert_eq!(seen(flows(1_000_000, 10_000)).iter().map(|seen| seen.severity).max(), Some(Severity::Medium));
    assert_eq!(seen(flows(1_000_000, 900_000)).iter().map(|seen| seen.severity).max(), Some(Severity::Low));
    assert_eq!(seen(flows(5000, 0)).iter().map(|seen| seen.severity).max(), Some(Severity::Low));
}

#[test]
fn what_begins_anew_is_not_long() {
    // A pause of an hour, and a new connection over the same ports.
    let pause = talk(443, 60_000, 5).chain(talk(443, 60_000, 5).map(|flow| Flow {
        start_ms: flow.start_ms + 6 * HOUR_MS,
        end_ms: flow.end_ms + 6 * HOUR_MS,
        ..flow
    }));
    assert!(seen(pause).is_empty());
    let again = talk(443, 60_000, 12).map(|flow| Flow {
        opens: flow.source_port == 50_000 && (flow.start_ms - START_MS) % (6 * HOUR_MS) == 0,
        ..flow
    });
    assert!(seen(again).is_empty());
}

#[test]
fn known_good_inside_and_inward_are_not_said() {
    for port in [53, 123, 993, 5228] {
        assert!(seen(talk(port, 60_000, 12)).is_empty(), "{port}");
    }
    assert!(
        seen(talk(443, 60_000, 12).map(|flow| Flow { source: ip("10.0.0.1"), destination: ip("10.0.0.2"), ..flow }))
            .is_empty()
    );
    let to_many = talk(443, 60_000, 12)
        .filter(|flow| flow.source == ip(CLIENT))
        .map(|flow| Flow { destination: ip("239.1.1.1"), ..flow });
    assert!(seen(to_many).is_empty());
    // An inside server, as its port says, or the first packet.
    let server = |port: u16| {
        talk(50_001, 60_000, 12).map(move |flow| {
            let own = if flow.source == ip(CLIENT) { (port, 50_001) } else { (50_001, port) };
            Flow { source_port: own.0, destination_port: own.1, ..flow }
        })
    };
    assert!(seen(server(22)).is_empty());
    let opened = Flow { opens: true, tcp_flags: 2, ..received(&sent(50_001, 0, 0, 60), 60) };
    let is_accepted = |flow: &Flow| flow.start_ms > START_MS;
    let first = [sent(50_001, 0, 0, 60), opened];
    assert!(seen(first.into_iter().chain(talk(50_001, 60_000, 12).filter(is_accepted))).is_empty());
    let known_good = vec!["198.51.100.0/24".parse().expect("a network")];
    for settings in [
        LongLivedSettings { known_good, ..Default::default() },
        LongLivedSettings { enabled: false, ..Default::default() },
    ] {
        let mut detector = LongLived::new(settings, LongLivedState::default());
        assert!(watch(&mut detector, talk(443, 60_000, 12)).is_empty());
    }
}

#[test]
fn keep_alives_alone_are_said_on_the_second_day() {
    let words = || talk(443, 1_680_000, 27).map(|flow| Flow { octets: 85, ..flow });
    let seen = seen(words());
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(
        seen[0].last_ms - START_MS >= 24 * HOUR_MS && seen[0].explanation.contains("has gone on for 24 h"),
        "{seen:?}"
    );
}

#[test]
fn what_many_hosts_stay_connected_to_is_not_said() {
    let mut detector = new();
    for host in 0..3 {
        detector.state.prevalence.note(Ip(0xffff_0a00_0000 + host), ip(SERVER), START_MS + 8 * HOUR_MS);
    }
    assert!(watch(&mut detector, talk(443, 60_000, 12)).is_empty());
    // Each has another server of the same network; one does not make a service.
    for (others, found) in [(2, 0), (1, 2)] {
        let of_another = |number: u32| {
            talk(443, 60_000, 12).map(move |flow| {
                let (host, server) =
                    (Ip(0xffff_0a00_0100 + u128::from(number)), Ip(ip(SERVER).0 + 1 + u128::from(number)));
                let is_sent = flow.source == ip(CLIENT);
                let (source, destination) = if is_sent { (host, server) } else { (server, host) };
                Flow { source, destination, ..flow }
            })
        };
        let mut flows: Vec<Flow> = talk(443, 60_000, 12).chain((0..others).flat_map(of_another)).collect();
        flows.sort_by_key(|flow| flow.start_ms);
        let said: BTreeSet<_> = seen(flows).iter().map(|one| one.peers.clone()).collect();
        assert_eq!(said.len(), found, "{said:?}");
    }
}

#[test]
fn a_restart_changes_nothing() {
    let mut before = new();
    assert!(watch(&mut before, talk(443, 60_000, 7)).is_empty());
    let kept = serde_json::to_string(before.state()).expect("JSON");
    assert!(kept.len() < 1000, "{kept}");
    let mut after = LongLived::new(LongLivedSettings::default(), serde_json::from_str(&kept).expect("the same"));
    let later = talk(443, 60_000, 9).filter(|flow| flow.start_ms > START_MS + 7 * HOUR_MS);
    assert_eq!(watch(&mut after, later).len(), 1);
}

#[test]
fn a_million_hosts_do_not_push_out_what_lasts() {
    let mut detector = new();
    let mut found = Seen::new();
    for hour in 0..9 {
        found.extend(watch(&mut detector, [sent(443, hour * HOUR_MS, (hour + 1) * HOUR_MS, 3000)]));
        let others = (0..300_000_u32).map(|host| Flow {
            source: Ip(0xffff_0a00_0000 + u128::from(host)),
            destination: Ip(0xffff_0b00_0000 + u128::from(host)),
            ..sent(443, (hour + 1) * HOUR_MS, (hour + 1) * HOUR_MS + 1, 100)
        });
        found.extend(watch(&mut detector, others));
    }
    assert_eq!(found.len(), 1);
    let (entries, forgotten) = detector.memory();
    assert!(entries <= 1 << 18 && forgotten > 10_000, "{entries} {forgotten}");
}

#[test]
fn settings_are_read() {
    let settings: LongLivedSettings =
        serde_json::from_str(r#"{"lasts": "4h", "pause": "10min", "upload": "10MB"}"#).expect("settings");
    assert_eq!(
        (settings.lasts, settings.pause, settings.upload),
        (Span::hours(4), Span::minutes(10), Octets(10_000_000))
    );
    assert!(serde_json::from_str::<LongLivedSettings>(r#"{"last": "4h"}"#).is_err());
}
