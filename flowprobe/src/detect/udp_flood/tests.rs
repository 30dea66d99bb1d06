use super::super::victim::testing::{BEGIN_MS, ip, said, spoofed, udp};
use super::*;

const HOST: &str = "10.0.0.9";

fn detector() -> UdpFlood {
    UdpFlood::new(&UdpFloodSettings::default())
}

/// A flow each second for so long.
fn each_second(seconds: i64, flow: impl Fn(i64) -> Vec<Flow>) -> Vec<Flow> {
    (0..seconds).flat_map(|second| flow(second * 1000)).collect()
}

#[test]
fn floods_of_one_and_of_many_are_found() {
    for (rate, sources, severity) in [
        (6000, 1, Severity::Medium),
        (100_000, 1, Severity::Medium),
        (6000, 3000, Severity::Medium),
        (60_000, 3000, Severity::High),
    ] {
        let flows = each_second(40, |at| {
            (0..sources)
                .map(|one| udp((spoofed(one), 4000), (ip(HOST), 80), at, rate / u64::from(sources), 60))
                .collect()
        });
        let seen = said(&mut detector(), flows);
        let (after_ms, first) = seen.first().expect("a flood");
        assert!(*after_ms <= 25_000, "{rate} {sources}: {after_ms}");
        let subject = if sources == 1 { spoofed(0) } else { ip(HOST) };
        assert_eq!(
            (&first.subject, seen.iter().map(|(_, one)| one.severity).max()),
            (&subject.into(), Some(severity)),
            "{rate} {sources}"
        );
        assert!(first.explanation.contains("sent nothing back"), "{}", first.explanation);
        assert!(seen.len() <= 3, "{}", seen.len());
    }
    let inside = each_second(20, |at| vec![udp((ip("10.0.0.7"), 4000), (ip(HOST), 5001), at, 6000, 1400)]);
    let seen = said(&mut detector(), inside);
    assert_eq!((&seen[0].1.subject, seen[0].1.severity), (&ip("10.0.0.7").into(), Severity::Low));
    // Inside addresses that are made up.
    let made_up = |number: u32| Ip(0xffff_0a00_0000 | u128::from(number % 50_000));
    let flows =
        (0..200_000_u32).map(|number| udp((made_up(number), 4000), (ip(HOST), 80), i64::from(number) / 10, 1, 60));
    assert!(!said(&mut detector(), flows).is_empty());
}

#[test]
fn what_is_answered_is_none() {
    for order in [[0, 1], [1, 0]] {
        // A download by QUIC with few acknowledgements, and the records of another, of a minute each.
        let both = [
            udp((spoofed(1), 443), (ip(HOST), 50_000), 0, 20_000, 1200),
            udp((ip(HOST), 50_000), (spoofed(1), 443), 0, 600, 60),
        ];
        let drains = each_second(40, |at| {
            order.map(|one: usize| Flow { start_ms: BEGIN_MS + at, end_ms: BEGIN_MS + at + 999, ..both[one] }).to_vec()
        });
        assert_eq!(said(&mut detector(), drains).len(), 0);
        let record = |flow: Flow, minute: i64, late: i64| Flow {
            packets: flow.packets * 60,
            start_ms: BEGIN_MS + minute * 60_000 + late,
            end_ms: BEGIN_MS + minute * 60_000 + late + 59_000,
            ..flow
        };
        let records =
            (0..5).flat_map(|minute| [record(both[order[0]], minute, 0), record(both[order[1]], minute, 2000)]);
        let mut flows: Vec<Flow> = records.collect();
        flows.sort_by_key(|flow| flow.end_ms);
        assert_eq!(said(&mut detector(), flows).len(), 0, "{order:?}");
    }
}

#[test]
fn media_collectors_downloads_and_multicast_are_none() {
    let camera = |number: i64| ip(&format!("10.0.3.{number}"));
    let ordinary = each_second(60, |at| {
        let mut flows: Vec<Flow> =
            (0..64).map(|one| udp((camera(one), 5004), (ip("10.0.0.20"), 6000), at, 900, 1300)).collect();
        flows.extend((0..20).map(|one| udp((camera(one), 40_000), (ip("10.0.0.21"), 514), at, 2000, 300)));
        flows.push(udp((camera(1), 40_000), (ip("10.0.0.21"), 2055), at, 9000, 1400));
        flows.push(udp((camera(2), 5004), (ip("239.1.1.1"), 5004), at, 90_000, 1300));
        // Only this direction is metered.
        flows.push(udp((spoofed(1), 443), (ip("10.0.0.22"), 50_000), at, 9000, 1250));
        flows
    });
    assert_eq!(said(&mut detector(), ordinary).len(), 0);
}

#[test]
fn memory_is_bounded_with_a_million_hosts() {
    let mut detector = detector();
    let host = |number: u32| Ip(0xffff_0a00_0000 | u128::from(number));
    let flows = (0..1_000_000_u32)
        .map(|number| udp((spoofed(number), 53), (host(number), 4000), i64::from(number) / 10, 2000, 100));
    assert_eq!(said(&mut detector, flows).len(), 0);
    assert!(detector.memory().0 <= 4096, "{:?}", detector.memory());
}
