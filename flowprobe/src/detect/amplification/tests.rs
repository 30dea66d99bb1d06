use super::super::victim::testing::{ip, said, spoofed, udp};
use super::*;

const HOST: &str = "10.0.0.9";

fn detector() -> Amplification {
    Amplification::new(&AmplificationSettings::default())
}

fn each_second(seconds: i64, flow: impl Fn(i64) -> Vec<Flow>) -> Vec<Flow> {
    (0..seconds).flat_map(|second| flow(second * 1000)).collect()
}

#[test]
fn ports_are_in_order() {
    assert!(
        PORTS.is_sorted()
            && is_reflector(53)
            && is_reflector(47_808)
            && !is_reflector(443)
            && name(11_211) == "memcached"
    );
}

#[test]
fn unasked_answers_are_found() {
    // Port, reflectors, packets of each a second, octets; and how bad.
    for (port, reflectors, packets, octets, severity) in [
        (123, 200, 2, 468, Severity::Medium),
        (53, 100, 10, 1400, Severity::Medium),
        (11_211, 5, 200, 1400, Severity::Medium),
        (389, 2000, 10, 1400, Severity::High),
        (1900, 3000, 20, 320, Severity::High),
    ] {
        let flows = each_second(30, |at| {
            (0..reflectors).map(|one| udp((spoofed(one), port), (ip(HOST), 4444), at, packets, octets)).collect()
        });
        let seen = said(&mut detector(), flows);
        let (after_ms, first) = seen.first().expect("an attack");
        assert!(*after_ms <= 25_000, "{port}: {after_ms}");
        assert_eq!((&first.subject, first.matter.as_str()), (&ip(HOST).into(), format!("udp/{port}").as_str()));
        assert_eq!(seen.iter().map(|(_, one)| one.severity).max(), Some(severity), "{port}: {first:?}");
        assert!(first.explanation.contains("10.0.0.9 asked nothing"), "{}", first.explanation);
    }
}

#[test]
fn an_attack_on_a_busy_resolver_is_found_at_another_port() {
    let flows = each_second(30, |at| {
        let of = |one| {
            [
                udp((ip(HOST), 5300), (spoofed(one), 53), at, 30, 80),
                udp((spoofed(one), 53), (ip(HOST), 5300), at, 30, 400),
            ]
        };
        let mut flows: Vec<Flow> = (0..200).flat_map(of).collect();
        flows.extend((0..100).map(|one| udp((spoofed(one), 389), (ip(HOST), 4444), at, 10, 1400)));
        flows
    });
    let seen = said(&mut detector(), flows);
    assert!(!seen.is_empty() && seen.iter().all(|(_, one)| one.matter == "udp/389"), "{seen:?}");
}

#[test]
fn what_was_asked_for_is_none() {
    for answers_first in [false, true] {
        let flows = each_second(120, |at| {
            let pair = |here: &str, number: u32, port: u16, asked: (u64, u64), answered: (u64, u64)| {
                let (here, there) = ((ip(here), 5000), (spoofed(number), port));
                let mut pair = [udp(here, there, at, asked.0, asked.1), udp(there, here, at, answered.0, answered.1)];
                if answers_first {
                    pair.reverse();
                }
                pair
            };
            let mut flows = Vec::new();
            // A resolver that asks for signatures, a poller of SNMP in bulk, NTP, QUIC, a game, a peer of BitTorrent at an odd port.
            flows.extend((0..300).flat_map(|one| pair("10.0.0.2", one, 53, (10, 80), (12, 1300))));
            flows.extend((0..20).flat_map(|one| pair("10.0.0.3", one, 161, (50, 90), (100, 1400))));
            flows.extend((0..200).flat_map(|one| pair("10.0.0.4", one, 123, (20, 76), (20, 76))));
            flows.extend(pair("10.0.0.5", 1, 443, (50, 60), (9000, 1250)));
            flows.extend(pair("10.0.0.5", 2, 27_015, (60, 80), (100, 800)));
            flows.extend(pair("10.0.0.5", 3, 10_001, (900, 60), (1800, 1400)));
            flows.extend((0..5).flat_map(|one| pair("10.0.0.6", one, 123, (0, 0), (5, 76))));
            // An inside controller answers an inside host.
            flows.push(udp((ip("10.0.0.1"), 389), (ip("10.0.0.6"), 5000), at, 2000, 1400));
            flows
        });
        assert_eq!(said(&mut detector(), flows).len(), 0, "{answers_first}");
    }
}

#[test]
fn a_host_here_that_amplifies_is_found_and_one_that_serves_is_not() {
    let served = |port: u16, asked: (u64, u64), answered: (u64, u64), seconds| {
        each_second(seconds, |at| {
            let (here, there) = ((ip(HOST), port), (spoofed(1), 80));
            vec![udp(there, here, at, asked.0, asked.1), udp(here, there, at, answered.0, answered.1)]
        })
    };
    for (port, asked, answered) in [
        (123, (10, 36), (1000, 468)),
        (53, (100, 80), (300, 1300)),
        (11_211, (2, 60), (500, 1400)),
        (389, (100, 80), (200, 1400)),
    ] {
        let seen = said(&mut detector(), served(port, asked, answered, 90));
        let (after_ms, first) = seen.first().expect("a reflector");
        assert!(*after_ms <= 80_000, "{port}: {after_ms}");
        assert_eq!(
            (first.rule.name, &first.subject, first.peers.as_slice()),
            ("reflector", &ip(HOST).into(), &[spoofed(1)][..])
        );
    }
    // Pool servers, signatures, a game, a poller outside, and little of it.
    for (port, asked, answered) in [
        (123, (5000, 76), (5000, 76)),
        (53, (500, 90), (500, 1100)),
        (27_015, (300, 80), (400, 800)),
        (161, (200, 200), (200, 1400)),
        (123, (1, 36), (100, 468)),
    ] {
        assert_eq!(said(&mut detector(), served(port, asked, answered, 90)).len(), 0, "{port} {asked:?}");
    }
}

#[test]
fn memory_is_bounded_with_a_million_hosts() {
    let mut detector = detector();
    let host = |number: u32| Ip(0xffff_0a00_0000 | u128::from(number));
    let flows = (0..1_000_000_u32)
        .map(|number| udp((spoofed(number), 53), (host(number), 4000), i64::from(number) / 10, 100, 1000));
    assert_eq!(said(&mut detector, flows).len(), 0);
    assert!(detector.memory().0 <= 2 * 4096, "{:?}", detector.memory());
}
