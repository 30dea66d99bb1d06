use super::super::victim::testing::{drain, ip, said, spoofed};
use super::*;

const SERVER: &str = "10.0.0.9";
const SYN: u16 = flag::SYN;
const SYN_ACK: u16 = flag::SYN | flag::ACK;

fn detector() -> SynFlood {
    SynFlood::new(&SynFloodSettings::default())
}

fn tcp(from: (Ip, u16), to: (Ip, u16), flags: u16, after_ms: i64, packets: u64) -> Flow {
    let opens = flags & SYN_ACK == SYN;
    Flow { tcp_flags: flags, opens, ..drain(from.0, to.0, (from.1, to.1), protocol::TCP, after_ms, packets, 60) }
}

fn port(number: u32) -> u16 {
    u16::try_from(1024 + number % 60_000).expect("a port")
}

fn server() -> (Ip, u16) {
    (ip(SERVER), 443)
}

/// A connection, packet by packet, or as the drains of a second.
fn connection(client: (Ip, u16), after_ms: i64, is_live: bool) -> Vec<Flow> {
    let server = server();
    if is_live {
        return vec![
            tcp(server, client, SYN_ACK | flag::FIN, after_ms, 6),
            tcp(client, server, SYN_ACK | flag::FIN, after_ms, 7),
        ];
    }
    vec![
        tcp(client, server, SYN, after_ms, 1),
        tcp(server, client, SYN_ACK, after_ms, 1),
        tcp(client, server, flag::ACK, after_ms, 1),
        tcp(client, server, flag::ACK | flag::FIN, after_ms, 1),
    ]
}

/// So many packets a second for 30 s, of as many sources; the server answers.
fn flood(rate: u32, sources: u32) -> Vec<Flow> {
    let of = |number: u32| {
        let from = (spoofed(number % sources), port(number));
        let after_ms = i64::from(number) * 1000 / i64::from(rate);
        [tcp(from, server(), SYN, after_ms, 1), tcp(server(), from, SYN_ACK, after_ms, 1)]
    };
    (0..rate * 30).flat_map(of).collect()
}

fn in_order(mut flows: Vec<Flow>) -> Vec<Flow> {
    flows.sort_by_key(|flow| flow.end_ms);
    flows
}

#[test]
fn floods_are_found_of_one_source_and_of_very_many() {
    for (rate, severity) in [(120, Severity::Medium), (500, Severity::Medium), (2000, Severity::High)] {
        for sources in [1, 7, u32::MAX] {
            let mut detector = detector();
            let seen = said(&mut detector, flood(rate, sources));
            let (after_ms, first) = seen.first().expect("a flood");
            assert!(*after_ms <= 25_000, "{rate} {sources}: {after_ms}");
            let (subject, matter) =
                if sources == 1 { (spoofed(0), "10.0.0.9 tcp/443") } else { (ip(SERVER), "tcp/443") };
            assert_eq!((&first.subject, first.matter.as_str()), (&subject.into(), matter));
            assert_eq!(seen.iter().map(|(_, one)| one.severity).max(), Some(severity), "{rate} {sources}: {first:?}");
            assert!(seen.len() <= 3 && detector.memory().0 < 10, "{} {:?}", seen.len(), detector.memory());
        }
    }
    let seen = said(&mut detector(), flood(500, u32::MAX));
    assert!(seen[0].1.explanation.contains("none was established"), "{}", seen[0].1.explanation);
}

#[test]
fn a_flood_that_goes_on_is_told_with_its_sources_every_time() {
    for sources in [1, u32::MAX] {
        let of = |number: u32| {
            let from = (spoofed(number % sources), port(number));
            tcp(from, server(), SYN, i64::from(number) * 2, 1)
        };
        let seen = said(&mut detector(), (0..500 * 200).map(of));
        assert!(seen.len() >= 3, "{}", seen.len());
        for (_, one) in seen {
            assert_eq!(one.subject, if sources == 1 { spoofed(0).into() } else { ip(SERVER).into() });
            assert!(!one.evidence.is_empty() && !one.explanation.contains("1 source,"), "{}", one.explanation);
            assert!(sources == 1 || one.explanation.contains("00 sources, such as 8."), "{}", one.explanation);
        }
    }
}

#[test]
fn a_flood_of_a_busy_server_is_found() {
    // 100 connections a second, and 1,000 attempts that are none. With many packets in each connection, it takes longer to tell.
    for (packets, within_ms) in [(1, 20_000), (20, 35_000)] {
        let of = |number: u32| {
            let (client, after_ms) = ((ip("192.0.2.1"), port(number)), i64::from(number) * 10);
            let more = (0..packets).map(move |one| tcp(client, server(), flag::ACK, after_ms + one * 10, 1));
            connection(client, after_ms, false).into_iter().chain(more)
        };
        let both = in_order((0..4000).flat_map(of).chain(flood(1000, u32::MAX)).collect());
        let seen = said(&mut detector(), both);
        let (after_ms, first) = seen.first().expect("a flood");
        assert_eq!(first.subject, ip(SERVER).into());
        assert!(*after_ms <= within_ms, "{packets}: {after_ms}");
    }
}

#[test]
fn busy_servers_are_none() {
    for is_live in [false, true] {
        let flows: Vec<Flow> = (0..90_000_u32)
            .flat_map(|number| connection((spoofed(number), port(number)), i64::from(number) / 3, is_live))
            .collect();
        assert_eq!(said(&mut detector(), flows).len(), 0, "{is_live}");
    }
}

#[test]
fn scans_are_none() {
    let scan =
        (0..60_000_u32).map(|number| tcp((spoofed(1), 40_000), (ip(SERVER), port(number)), SYN, i64::from(number), 1));
    let mut first = detector();
    assert_eq!(said(&mut first, scan).len(), 0);
    let sweep =
        (0..60_000_u32).map(|number| tcp((ip(SERVER), 40_000), (spoofed(number), 445), SYN, i64::from(number), 1));
    let mut second = detector();
    assert_eq!(said(&mut second, sweep).len(), 0);
    assert!(first.memory().0 <= 4096 && second.memory().0 <= 4096);
}

#[test]
fn clients_of_a_server_that_is_down_are_none() {
    // 200 clients, each with six connections that are tried again and again.
    let mut flows = Vec::new();
    for round in 0..10 {
        for (client, connection) in (0..200).flat_map(|client| (0..6).map(move |connection| (client, connection))) {
            for again in [0, 1000, 3000, 7000] {
                let from = (ip(&format!("10.0.1.{client}")), port(round * 6 + connection));
                flows.push(tcp(from, server(), SYN, i64::from(round) * 10_000 + again + i64::from(client), 1));
            }
        }
    }
    assert_eq!(said(&mut detector(), in_order(flows)).len(), 0);
}

#[test]
fn a_client_that_is_refused_again_and_again_is_low() {
    let client = |number| (ip("10.0.1.1"), port(number));
    let of = |number: u32| {
        let after_ms = i64::from(number);
        [
            tcp(client(number), server(), SYN, after_ms, 1),
            tcp(server(), client(number), flag::RST | flag::ACK, after_ms, 1),
        ]
    };
    let seen = said(&mut detector(), (0..30_000_u32).flat_map(of));
    assert!(!seen.is_empty() && seen.iter().all(|(_, one)| one.severity == Severity::Low), "{seen:?}");
}
