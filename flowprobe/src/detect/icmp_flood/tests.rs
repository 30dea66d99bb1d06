use super::super::victim::testing::{BEGIN_MS, drain, ip, said, spoofed};
use super::*;

const A: &str = "10.0.0.7";
const B: &str = "10.0.0.9";

const ECHO: u16 = 8 << 8;
const REPLY: u16 = 0;

fn detector() -> IcmpFlood {
    IcmpFlood::new(&IcmpFloodSettings::default())
}

fn icmp(source: Ip, destination: Ip, kind: u16, after_ms: i64, packets: u64) -> Flow {
    let of = if destination.is_v4() { protocol::ICMP } else { protocol::ICMPV6 };
    drain(source, destination, (0, kind), of, after_ms, packets, 84)
}

/// So many packets a second, drained each second, with their answers before or after them.
fn pings(source: &str, destination: &str, seconds: i64, rate: u64, answers: Option<bool>) -> Vec<Flow> {
    let (source, destination) = (ip(source), ip(destination));
    let of_a_second = |second| {
        let asked = icmp(source, destination, ECHO, second * 1000, rate);
        let answered = icmp(destination, source, REPLY, second * 1000, rate);
        match answers {
            None => vec![asked],
            Some(true) => vec![answered, asked],
            Some(false) => vec![asked, answered],
        }
    };
    (0..seconds).flat_map(of_a_second).collect()
}

#[test]
fn ping_f_is_found_and_only_the_pinger_is_to_blame() {
    for (rate, severity) in
        [(300, Severity::Medium), (2400, Severity::Medium), (4000, Severity::High), (60_000, Severity::High)]
    {
        for answers in [None, Some(true), Some(false)] {
            let seen = said(&mut detector(), pings(A, B, 40, rate, answers));
            let (after_ms, first) = seen.first().expect("a flood");
            assert!(*after_ms <= 20_000, "{rate}: {after_ms}");
            assert!(seen.iter().all(|(_, one)| one.subject == ip(A).into() && one.matter == B), "{seen:?}");
            assert_eq!(seen.iter().map(|(_, one)| one.severity).max(), Some(severity), "{rate}: {first:?}");
            assert!(seen.len() <= 3, "{}", seen.len());
        }
    }
    let seen = said(&mut detector(), pings(A, B, 12, 4000, Some(true)));
    let text = &seen[0].1.explanation;
    assert!(text.starts_with("10.0.0.7 sends 4,000 ICMP packets a second to 10.0.0.9"), "{text}");
    assert_eq!(seen[0].1.evidence[0].source, ip(A));
}

#[test]
fn a_raw_flood_of_many_sources_is_found_packet_by_packet_and_blames_the_victim() {
    let flows = (0..200_000_u32).map(|number| icmp(spoofed(number), ip(B), ECHO, i64::from(number) / 10, 1));
    let mut detector = detector();
    let seen = said(&mut detector, flows);
    let (after_ms, first) = seen.first().expect("a flood");
    assert!(*after_ms <= 15_000, "{after_ms}");
    assert_eq!((&first.subject, first.severity), (&ip(B).into(), Severity::High), "{first:?}");
    assert!(first.explanation.contains("10.0.0.9 gets"), "{}", first.explanation);
    assert!(detector.memory().0 < 10, "{:?}", detector.memory());
}

#[test]
fn a_short_burst_at_the_end_of_a_capture_is_found() {
    let seen = said(&mut detector(), pings(A, B, 1, 20_000, None));
    assert_eq!(seen.len(), 1);
}

#[test]
fn records_of_a_minute_are_spread_over_it() {
    let record = |source: Ip, destination, kind, rate: u64, number: i64| Flow {
        start_ms: BEGIN_MS + number * 3000,
        end_ms: BEGIN_MS + number * 3000 + 60_000,
        ..icmp(source, ip(destination), kind, 0, rate * 60)
    };
    // Twenty sources of 20 packets a second each, whose records end at different times.
    let flows = |rate| (0..20).map(move |number| record(spoofed(number), B, ECHO, rate, i64::from(number)));
    assert_eq!(said(&mut detector(), flows(20)).len(), 1);
    assert_eq!(said(&mut detector(), flows(5)).len(), 0);
    // The record of the answers comes first, that of the requests some seconds later.
    let ping =
        [record(ip(B), A, REPLY, 4000, 0), record(spoofed(1), "10.0.0.1", ECHO, 1, 1), record(ip(A), B, ECHO, 4000, 0)];
    let seen = said(&mut detector(), ping);
    assert!(!seen.is_empty() && seen.iter().all(|(_, one)| one.subject == ip(A).into()), "{seen:?}");
}

#[test]
fn smurf_and_floods_of_errors_are_found() {
    let replies =
        (0..20).flat_map(|second| (0..100).map(move |host| icmp(spoofed(host), ip(B), REPLY, second * 1000, 20)));
    let seen = said(&mut detector(), replies);
    assert_eq!((&seen[0].1.subject, seen[0].1.severity), (&ip(B).into(), Severity::Medium));
    assert!(seen[0].1.explanation.contains("echo replies that it did not ask for"), "{}", seen[0].1.explanation);
    let errors = |rate| (0..20).map(move |second| icmp(spoofed(1), ip(B), 3 << 8 | 3, second * 1000, rate));
    assert_eq!(said(&mut detector(), errors(1000)).len(), 0);
    let seen = said(&mut detector(), errors(40_000));
    assert_eq!(seen[0].1.subject, spoofed(1).into());
}

#[test]
fn icmpv6_floods_are_found_and_neighbour_discovery_is_none() {
    let of =
        |kind: u16, rate| (0..20).map(move |second| icmp(ip("fd00::7"), ip("fd00::9"), kind << 8, second * 1000, rate));
    assert_eq!(said(&mut detector(), of(128, 1000)).len(), 1);
    for kind in [133, 134, 135, 136, 143] {
        assert_eq!(said(&mut detector(), of(kind, 5000)).len(), 0, "{kind}");
    }
}

#[test]
fn monitoring_traceroute_and_path_mtu_are_none() {
    // A monitor pings 240 hosts each second and all answer, and 200 more each five seconds; 20 hosts run mtr, with errors to each probe.
    let mut flows = Vec::new();
    for second in 0..120 {
        for host in 0..240 {
            let host = ip(&format!("10.0.1.{host}"));
            flows.extend([icmp(host, ip(A), REPLY, second * 1000, 1), icmp(ip(A), host, ECHO, second * 1000, 1)]);
        }
        for mtr in 0..20 {
            for hop in 0..30 {
                flows.push(icmp(spoofed(hop), ip(&format!("10.0.2.{mtr}")), 11 << 8, second * 1000, 1));
            }
        }
        flows.push(icmp(spoofed(99), ip(B), 3 << 8 | 4, second * 1000, 50));
    }
    assert_eq!(said(&mut detector(), flows).len(), 0);
}

#[test]
fn memory_is_bounded_with_a_million_hosts() {
    let mut detector = detector();
    let flows = (0..1_000_000_u32)
        .map(|number| icmp(ip(A), Ip(0xffff_0a00_0000 | u128::from(number)), ECHO, i64::from(number) / 10, 60));
    assert_eq!(said(&mut detector, flows).len(), 0);
    assert!(detector.memory().0 <= 4096, "{:?}", detector.memory());
}

#[test]
fn the_bar_is_a_setting() {
    let settings: IcmpFloodSettings = serde_json::from_str(r#"{"packets-per-second": 5000}"#).expect("settings");
    assert_eq!(said(&mut IcmpFlood::new(&settings), pings(A, B, 30, 4000, None)).len(), 0);
    assert!(serde_json::from_str::<IcmpFloodSettings>(r#"{"packets": 1}"#).is_err());
}
