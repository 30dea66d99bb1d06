//! Tunnels at several strengths, and name service that is none.

use super::super::site::Site;
use super::*;

const RESOLVER_INSIDE: Ip = Ip(0xffff_0a00_0035);
const OUTSIDE: Ip = Ip(0xffff_c633_6401);
const MINUTE_MS: i64 = 60_000;

fn host(number: u32) -> Ip {
    Ip(0xffff_0a00_0100 + u128::from(number))
}

/// A query of so many octets and its answer.
fn ask(client: Ip, server: Ip, at_ms: i64, sizes: (u64, u64)) -> [Flow; 2] {
    let port = 1024 + u16::try_from(at_ms % 60_000).expect("a port");
    let query = Flow {
        source: client,
        destination: server,
        source_port: port,
        destination_port: 53,
        protocol: protocol::UDP,
        packets: 1,
        octets: sizes.0,
        start_ms: at_ms,
        end_ms: at_ms,
        ..Flow::default()
    };
    let answer =
        Flow { source: server, destination: client, source_port: 53, destination_port: port, octets: sizes.1, ..query };
    [query, answer]
}

/// Queries every so often for so long; sizes go by the number of the query.
fn asks(client: Ip, server: Ip, every_ms: i64, for_ms: i64, sizes: impl Fn(u64) -> (u64, u64)) -> Vec<Flow> {
    (0..for_ms / every_ms).flat_map(|n| ask(client, server, n * every_ms, sizes(n.unsigned_abs()))).collect()
}

/// Ordinary names, one of them long now and then.
fn ordinary(n: u64) -> (u64, u64) {
    (if n.is_multiple_of(50) { 160 } else { 60 + n * 7 % 30 }, 90 + n * 31 % 200)
}

fn run(detector: &mut DnsTunnel, mut flows: Vec<Flow>) -> Seen {
    flows.sort_by_key(|flow| flow.end_ms);
    let (site, mut seen, mut advanced_ms) = (Site::private_and([]), Seen::new(), 0);
    for flow in flows {
        let context = Context { site: &site, now_ms: flow.end_ms };
        detector.flow(&flow, context, &mut seen);
        if flow.end_ms - advanced_ms >= 5000 {
            advanced_ms = flow.end_ms;
            detector.advance(context, &mut seen);
        }
    }
    seen
}

fn new() -> DnsTunnel {
    DnsTunnel::new(DnsTunnelSettings::default(), State::default())
}

fn found(flows: Vec<Flow>) -> Seen {
    run(&mut new(), flows)
}

/// The first sighting's time in minutes and severity.
fn first(flows: Vec<Flow>) -> Option<(i64, Severity)> {
    found(flows).first().map(|one| ((one.last_ms + MINUTE_MS - 1) / MINUTE_MS, one.severity))
}

#[test]
fn uploads_in_names_are_found_fast_and_slow() {
    let varied = |n: u64| (100 + n * 37 % 150, 120);
    let within = |flows, minutes| {
        let (minute, severity) = first(flows).expect("a tunnel");
        assert!(minute <= minutes && severity == Severity::Low, "minute {minute}, {severity}");
    };
    within(asks(host(1), RESOLVER_INSIDE, 200, 5 * MINUTE_MS, varied), 2);
    within(asks(host(1), OUTSIDE, 1000, 10 * MINUTE_MS, varied), 8);
    within(asks(host(1), OUTSIDE, 10_000, 61 * MINUTE_MS, |_| (200, 100)), 60);
    within(asks(host(1), OUTSIDE, 100, 30 * MINUTE_MS, |_| (120, 100)), 15);
    // A fast one is worse as it goes on, and is not said with every query.
    let seen = found(asks(host(1), OUTSIDE, 50, 20 * MINUTE_MS, |_| (280, 200)));
    assert_eq!(seen.last().map(|one| one.severity), Some(Severity::High));
    assert!(seen.len() < 10 && seen[0].explanation.contains("of 280 octets"), "{} {}", seen.len(), seen[0].explanation);
    // Beside ordinary names of the same host.
    let mut mixed = asks(host(1), RESOLVER_INSIDE, 2000, 20 * MINUTE_MS, ordinary);
    mixed.extend(asks(host(1), RESOLVER_INSIDE, 1000, 20 * MINUTE_MS, |_| (230, 120)));
    within(mixed, 6);
    // Over IPv6, whose headers are longer.
    let v6 = Ip(0x2001_0db8 << 96 | 0x53);
    within(asks(Ip(0xfd00 << 112 | 1), v6, 200, 5 * MINUTE_MS, |n| (120 + n * 37 % 150, 140)), 2);
}

#[test]
fn downloads_in_records_are_found() {
    assert!(
        first(asks(host(1), RESOLVER_INSIDE, 50, 5 * MINUTE_MS, |_| (85, 1200))).is_some_and(|(minute, _)| minute <= 1)
    );
    assert!(
        first(asks(host(1), OUTSIDE, 5000, 60 * MINUTE_MS, |_| (85, 1000))).is_some_and(|(minute, _)| minute <= 45)
    );
    let mut tcp = asks(host(1), OUTSIDE, 1000, 20 * MINUTE_MS, |_| (1400, 60));
    tcp.iter_mut().for_each(|flow| flow.protocol = protocol::TCP);
    assert_eq!(first(tcp).map(|(_, severity)| severity), Some(Severity::Medium));
}

#[test]
fn ordinary_name_service_is_not() {
    let hour = 60 * MINUTE_MS;
    // 200 hosts, their resolver, whom it asks; one of them starts long reverse queries of IPv6 addresses.
    let mut site: Vec<Flow> =
        (1..200).flat_map(|n| asks(host(n), RESOLVER_INSIDE, 4000 + i64::from(n), hour, ordinary)).collect();
    site.extend((0..60).flat_map(|n| {
        asks(RESOLVER_INSIDE, Ip(OUTSIDE.0 + n), 2000, hour, |n| (60 + n * 7 % 60, 200 + n * 97 % 1200))
    }));
    site.extend(asks(RESOLVER_INSIDE, OUTSIDE, 20, hour, ordinary));
    site.extend(asks(host(3), RESOLVER_INSIDE, 500, hour / 2, |_| (129, 190)));
    // A validating host: answers with signatures.
    site.extend(asks(host(4), RESOLVER_INSIDE, 500, hour, |n| (75, if n.is_multiple_of(4) { 1232 } else { 420 })));
    assert_eq!(found(site).iter().map(|one| &one.explanation).collect::<Vec<_>>(), Vec::<&String>::new());
    // A zone transfer; an outside client; multicast DNS.
    let mut transfer = asks(RESOLVER_INSIDE, OUTSIDE, 10, 5 * MINUTE_MS, |_| (52, 1500));
    transfer.iter_mut().for_each(|flow| flow.protocol = protocol::TCP);
    assert_eq!(first(transfer), None);
    assert_eq!(first(asks(OUTSIDE, RESOLVER_INSIDE, 100, hour, |_| (200, 1200))), None);
    let mut multicast = asks(host(1), Ip(0xffff_e000_00fb), 100, hour, |_| (300, 1000));
    multicast.iter_mut().for_each(|flow| (flow.source_port, flow.destination_port) = (5353, 5353));
    assert_eq!(first(multicast), None);
}

#[test]
fn a_server_that_others_do_not_ask_is_named() {
    let hours = 4 * 60 * MINUTE_MS;
    let mut flows: Vec<Flow> = (1..10).flat_map(|n| asks(host(n), RESOLVER_INSIDE, 20_000, hours, ordinary)).collect();
    let calm = found(flows.clone());
    assert!(calm.is_empty());
    let google = Ip(0xffff_0808_0808);
    flows.extend(asks(host(1), google, 20_000, hours, ordinary));
    flows.extend(asks(RESOLVER_INSIDE, Ip(OUTSIDE.0 + 1), 1000, hours, ordinary));
    assert!(found(flows.clone()).is_empty());
    flows.extend(asks(host(2), OUTSIDE, 20_000, hours, ordinary));
    let seen = found(flows.clone());
    assert_eq!(seen.len(), 1, "{seen:?}");
    let one = &seen[0];
    assert_eq!((one.rule.name, &one.subject, one.severity), ("outside-resolver", &host(2).into(), Severity::Low));
    // Three that ask it make it usual.
    flows.extend((5..8).flat_map(|n| asks(host(n), OUTSIDE, 20_000, hours, ordinary)));
    assert!(found(flows).is_empty());
    // With one host there is nothing that is usual.
    assert!(found(asks(host(2), OUTSIDE, 2000, hours, ordinary)).is_empty());
}

#[test]
fn a_restart_goes_on_and_memory_is_bounded() {
    let flows = asks(host(1), OUTSIDE, 1000, 10 * MINUTE_MS, |_| (230, 100));
    let (one, other) = flows.split_at(360);
    let mut before = new();
    assert!(run(&mut before, one.to_vec()).is_empty());
    let text = serde_json::to_string(before.state()).expect("text");
    let state = || serde_json::from_str(&text).expect("the state");
    assert!(!run(&mut DnsTunnel::new(DnsTunnelSettings::default(), state()), other[..120].to_vec()).is_empty());
    assert!(run(&mut new(), other[..120].to_vec()).is_empty());
    let mut after = new();
    for number in 0..100_000 {
        run(&mut after, ask(host(number), OUTSIDE, 0, (70, 100)).to_vec());
    }
    assert!(after.memory().0 <= PAIRS + ROLES);
}
