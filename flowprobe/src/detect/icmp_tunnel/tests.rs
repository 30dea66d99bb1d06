//! Tunnels at several strengths, and pings that are none.

use super::super::site::Site;
use super::*;

const A: Ip = Ip(0xffff_c0a8_9a83);
const B: Ip = Ip(0xffff_c0a8_9a84);

fn echo(is_request: bool, at_ms: i64, size: u16) -> Flow {
    let (source, destination, kind) = if is_request { (A, B, 8) } else { (B, A, 0) };
    Flow {
        source,
        destination,
        destination_port: kind << 8,
        protocol: protocol::ICMP,
        packets: 1,
        octets: size.into(),
        start_ms: at_ms,
        end_ms: at_ms,
        length: (size, size),
        ..Flow::default()
    }
}

/// A probe of this size, and its reply of that size.
fn ping(at_ms: i64, sizes: (u16, u16)) -> [Flow; 2] {
    [echo(true, at_ms, sizes.0), echo(false, at_ms + 1, sizes.1)]
}

fn run(detector: &mut IcmpTunnel, flows: &[Flow]) -> Seen {
    let (site, mut seen, mut advanced_ms) = (Site::private_and([]), Seen::new(), 0);
    for flow in flows {
        let context = Context { site: &site, now_ms: flow.end_ms };
        detector.flow(flow, context, &mut seen);
        if flow.end_ms - advanced_ms >= 5000 {
            advanced_ms = flow.end_ms;
            detector.advance(context, &mut seen);
        }
    }
    seen
}

fn new() -> IcmpTunnel {
    IcmpTunnel::new(IcmpTunnelSettings::default(), State::default())
}

fn found(flows: &[Flow]) -> Seen {
    run(&mut new(), flows)
}

#[test]
fn replies_that_nobody_asked_for_are_a_tunnel() {
    // Like a shell in a tunnel: a probe a second, each with something to say.
    let flows: Vec<Flow> =
        (0..200_u16).flat_map(|n| ping(i64::from(n) * 1000, (80 + n * 7 % 40, 80 + n * 31 % 120))).collect();
    let seen = found(&flows);
    let first = seen.first().expect("a tunnel");
    assert_eq!((first.severity, &first.subject, first.peers.as_slice()), (Severity::Medium, &A.into(), &[B][..]));
    assert!(first.last_ms <= 70_000 && first.explanation.contains("belong to no request"), "{first:?}");
    assert!(seen.len() <= 3, "{} sightings", seen.len());
    // Slowly: one in 20 seconds.
    let slow: Vec<Flow> =
        flows.iter().map(|flow| Flow { start_ms: flow.start_ms * 20, end_ms: flow.end_ms * 20, ..*flow }).collect();
    assert!(found(&slow).first().is_some_and(|first| first.last_ms < 1_800_000));
    // As an exporter without lengths says it, with the answers first.
    let records: Vec<Flow> = flows
        .rchunks(2)
        .rev()
        .flat_map(|both| [both[1], both[0]])
        .map(|flow| Flow { length: (0, 0), ..flow })
        .collect();
    assert_eq!(found(&records).first().map(|first| first.severity), Some(Severity::Medium));
}

#[test]
fn full_packets_one_way_are_a_tunnel() {
    let down: Vec<Flow> = (0..800).flat_map(|n| ping(i64::from(n) * 100, (100, 1028))).collect();
    assert!(found(&down).iter().any(|one| one.explanation.contains("more than was sent")));
    let outward = |flow: Flow| {
        let out = |ip: Ip| if ip == A { ip } else { Ip(0xffff_c633_6409) };
        Flow { source: out(flow.source), destination: out(flow.destination), ..flow }
    };
    let both: Vec<Flow> = (0..20_000).flat_map(|n| ping(i64::from(n) * 50, (1428, 1428))).map(outward).collect();
    assert_eq!(found(&both).first().map(|one| one.severity), Some(Severity::Low));
    let varied: Vec<Flow> =
        (0..300_u16).flat_map(|n| ping(i64::from(n) * 1000, (100 + n % 12, 100 + n % 12))).collect();
    assert_eq!(found(&varied).first().map(|one| one.severity), Some(Severity::Low));
}

#[test]
fn pings_are_not() {
    for (count, every_ms, size) in [
        (20, 1000, 1428),
        (36_000, 1000, 84),
        (36_000, 1000, 56),
        (100, 1000, 60),
        (3000, 1000, 1428),
        (10_000, 10, 84),
    ] {
        let flows: Vec<Flow> = (0..count).flat_map(|n| ping(n * every_ms, (size, size))).collect();
        assert!(found(&flows).is_empty(), "{count} pings of {size} octets");
    }
    // Search for the path MTU, lost above 1,400; a sweep through all sizes.
    let mtu = (0..60_u16).map(|n| (n, 1280 + n * 4)).flat_map(|(n, size)| {
        let [request, reply] = ping(i64::from(n) * 2000, (size, size));
        [Some(request), (size <= 1400).then_some(reply)].into_iter().flatten()
    });
    assert!(found(&mtu.collect::<Vec<_>>()).is_empty());
    let sweep: Vec<Flow> = (0..1400_u16).flat_map(|n| ping(i64::from(n) * 1000, (60 + n, 60 + n))).collect();
    assert!(found(&sweep).is_empty());
    // Replies that are cut off, as some public resolvers do.
    let cut: Vec<Flow> = (0..2000).flat_map(|n| ping(n * 1000, (1428, 92))).collect();
    assert!(found(&cut).is_empty());
    // Three monitors with sizes of their own, whose replies are lost now and then.
    let monitors = (0..30_000_i64).flat_map(|n| {
        let size = [84, 60, 128][usize::try_from(n % 3).expect("small")];
        let [request, reply] = ping(n * 1000, (size, size));
        [Some(request), (n % 7 != 0).then_some(reply)].into_iter().flatten()
    });
    assert!(found(&monitors.collect::<Vec<_>>()).is_empty());
}

#[test]
fn a_restart_goes_on_and_memory_is_bounded() {
    let flows: Vec<Flow> = (0..100_u16).flat_map(|n| ping(i64::from(n) * 1000, (80 + n % 3, 80 + n % 9))).collect();
    let mut before = new();
    assert!(run(&mut before, &flows[..80]).is_empty());
    let text = serde_json::to_string(before.state()).expect("text");
    let mut after = IcmpTunnel::new(IcmpTunnelSettings::default(), serde_json::from_str(&text).expect("the state"));
    assert!(!run(&mut after, &flows[80..150]).is_empty());
    assert!(run(&mut new(), &flows[80..150]).is_empty());
    for host in 0..100_000_u128 {
        run(&mut after, &[Flow { destination: Ip(host + 0xffff_0a00_0000), ..echo(true, 0, 84) }]);
    }
    assert!(after.memory().0 <= PAIRS);
}
