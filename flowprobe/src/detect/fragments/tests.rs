use super::super::victim::testing::{drain, ip, said, spoofed, udp};
use super::*;

const HOST: &str = "10.0.0.9";

fn detector() -> Fragments {
    Fragments::new(&FragmentsSettings::default())
}

fn fragment(source: Ip, of: u8, after_ms: i64, packets: u64, length: (u16, u16)) -> Flow {
    let octets = packets * (u64::from(length.0) + u64::from(length.1)) / 2;
    let flow = drain(source, ip(HOST), (0, 0), of, after_ms, packets, 100);
    Flow { octets, length, is_fragmented: true, ..flow }
}

#[test]
fn tiny_fragments_of_one_source_are_found() {
    for (packets, severity) in [(300, Severity::Low), (1252, Severity::Low), (3000, Severity::Medium)] {
        let flows = (0..packets).map(|number| fragment(ip("10.0.0.7"), 6, number * 3, 1, (36, 36)));
        let seen = said(&mut detector(), flows);
        let (after_ms, first) = seen.first().expect("an attack");
        assert!(*after_ms <= 20_000, "{after_ms}");
        assert_eq!(
            (first.rule.name, &first.subject, first.severity),
            ("tiny-fragments", &ip("10.0.0.7").into(), severity)
        );
        assert!(first.explanation.contains("RFC 3128"), "{}", first.explanation);
    }
}

#[test]
fn fragments_of_many_sources_are_found() {
    // Each sends the two ends of a datagram whose middle never comes, with a protocol that IPv4 does not have.
    for (ms, count, severity) in [(4, 4096, Severity::Medium), (1, 16_384, Severity::High)] {
        let of = |number: i64| {
            let source = spoofed(u32::try_from(number).expect("small"));
            [fragment(source, 44, number * ms, 1, (116, 116)), fragment(source, 44, number * ms, 1, (28, 28))]
        };
        let seen = said(&mut detector(), (0..count).flat_map(of));
        let (after_ms, first) = seen.first().expect("an attack");
        assert!(*after_ms <= 20_000, "{after_ms}");
        assert_eq!((first.rule.name, &first.subject), ("fragment-flood", &ip(HOST).into()));
        assert_eq!(seen.iter().map(|(_, one)| one.severity).max(), Some(severity));
        assert!(
            first.explanation.contains("means nothing in IPv4") && first.explanation.contains("2 of each"),
            "{}",
            first.explanation
        );
    }
    let large =
        (0..100).flat_map(|tenth| (0..500).map(move |one| fragment(spoofed(one), 17, tenth * 100, 2, (600, 1500))));
    assert_eq!(said(&mut detector(), large).first().map(|(_, one)| one.rule.name), Some("fragment-flood"));
}

#[test]
fn honest_fragments_are_none() {
    let mut flows = Vec::new();
    for second in 0..60 {
        let at = second * 1000;
        // NFS at 500 Mbit/s, a tunnel by GRE or ESP, long answers of DNS, and their later fragments apart from the first.
        flows.push(fragment(ip("10.0.0.1"), 17, at, 40_000, (60, 1500)));
        flows.push(fragment(ip("10.0.0.2"), 47, at, 20_000, (44, 1500)));
        flows.push(fragment(ip("10.0.0.3"), 50, at, 5000, (100, 1400)));
        flows.extend((0..30).map(|one| fragment(spoofed(one), 17, at, 2, (300, 1500))));
        flows.push(fragment(ip("10.0.0.4"), 17, at, 500, (1500, 1500)));
        flows.push(fragment(ip("10.0.0.4"), 17, at, 500, (52, 52)));
        // Of records without lengths nothing is known, and whole packets are none of it.
        flows.push(Flow { length: (0, 0), ..fragment(ip("10.0.0.5"), 17, at, 5000, (60, 60)) });
        flows.push(udp((ip("10.0.0.6"), 1), (ip(HOST), 1), at, 50_000, 60));
    }
    assert_eq!(said(&mut detector(), flows).len(), 0);
    // Some tiny ones by themselves.
    assert_eq!(
        said(&mut detector(), (0..150).map(|number| fragment(spoofed(number), 17, i64::from(number), 1, (36, 36))))
            .len(),
        0
    );
}

#[test]
fn memory_is_bounded_with_a_million_hosts() {
    let mut detector = detector();
    let host = |number: u32| Ip(0xffff_0a00_0000 | u128::from(number));
    let flows = (0..1_000_000_u32).map(|number| Flow {
        destination: host(number),
        ..fragment(spoofed(number), 17, i64::from(number) / 10, 10, (1500, 1500))
    });
    assert_eq!(said(&mut detector, flows).len(), 0);
    assert!(detector.memory().0 <= 4096, "{:?}", detector.memory());
}
