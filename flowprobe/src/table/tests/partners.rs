//! Which flow answers which.

use flowprobe_ebpf::{Direction, TunnelKind};

use super::biflow::{back, joining};
use super::*;
use crate::record::{ICMP, ICMPV6};
use crate::table::hashes::MOST_SIGHTINGS;

const IN: u8 = Direction::Ingress as u8;
const OUT: u8 = Direction::Egress as u8;

/// A flow as seen somewhere: interface, direction, VLAN.
type Sighting = (u32, u8, u16);

fn seen((ifindex, direction, vlan): Sighting, delta: FlowDelta) -> FlowDelta {
    FlowDelta { key: FlowKey { ifindex, direction, vlan, ..delta.key }, ..delta }
}

/// The pairs that leave, as the sightings of both halves, sorted.
fn joined(deltas: &[FlowDelta]) -> Vec<(Sighting, Sighting)> {
    let mut lab = Lab::with(TableConfig { max_flows: NonZeroU32::new(1000).expect("not zero"), ..joining() });
    for delta in deltas {
        lab.merge(*delta);
    }
    lab.flush();
    assert!(lab.table.is_empty());
    let of = |record: &FlowRecord| (record.key.ifindex, record.key.direction, record.key.vlan);
    let mut pairs: Vec<_> = conversations(&lab.out).filter_map(|(one, other)| Some((of(one), of(other?)))).collect();
    pairs.sort_unstable();
    pairs
}

/// All orders of these.
fn orders<T: Clone>(of: &[T]) -> Vec<Vec<T>> {
    let Some((first, rest)) = of.split_first() else { return vec![Vec::new()] };
    let with_first_at = |order: &Vec<T>, place| {
        let mut order = order.clone();
        order.insert(place, first.clone());
        order
    };
    orders(rest).iter().flat_map(|order| (0..=order.len()).map(|place| with_first_at(order, place))).collect()
}

#[test]
fn the_closest_sightings_are_joined_in_whatever_order_they_come() {
    let ask = |place| seen(place, delta(9, 1, 2, 0));
    let answer = |place| seen(place, back(delta(9, 3, 4, 0)));
    let at = |ifindex, direction| (ifindex, direction, 0);
    let cases = [
        // One interface, in and out; a mirror port; a router that is metered where packets come in.
        (vec![ask(at(1, IN)), answer(at(1, OUT))], vec![(at(1, IN), at(1, OUT))]),
        (vec![ask(at(1, IN)), answer(at(1, IN))], vec![(at(1, IN), at(1, IN))]),
        (vec![ask(at(1, IN)), answer(at(2, IN))], vec![(at(1, IN), at(2, IN))]),
        // What comes in at one interface and what leaves by another, with nothing else, are not known to be one conversation.
        (vec![ask(at(1, IN)), answer(at(2, OUT))], vec![]),
        // One direction, seen twice.
        (vec![ask(at(1, IN)), ask(at(2, OUT))], vec![]),
        (vec![ask(at(1, IN)), ask(at(2, OUT)), answer(at(2, IN))], vec![(at(2, OUT), at(2, IN))]),
        // A router that is metered both ways.
        (
            vec![ask(at(1, IN)), ask(at(2, OUT)), answer(at(2, IN)), answer(at(1, OUT))],
            vec![(at(1, IN), at(1, OUT)), (at(2, OUT), at(2, IN))],
        ),
        // Whom a better partner leaves finds another.
        (
            vec![ask(at(1, IN)), answer(at(2, IN)), ask(at(3, IN)), answer(at(1, OUT))],
            vec![(at(1, IN), at(1, OUT)), (at(3, IN), at(2, IN))],
        ),
        // VLANs: the same if there is one, else another; and a router with one cable.
        (vec![ask((1, IN, 5)), answer((1, IN, 6))], vec![((1, IN, 5), (1, IN, 6))]),
        (vec![ask((1, IN, 5)), answer((1, IN, 6)), answer((1, IN, 5))], vec![((1, IN, 5), (1, IN, 5))]),
        (
            vec![ask((1, IN, 5)), ask((1, IN, 6)), answer((1, IN, 6)), answer((1, IN, 5))],
            vec![((1, IN, 5), (1, IN, 5)), ((1, IN, 6), (1, IN, 6))],
        ),
        // The place counts for more than the VLAN.
        (vec![ask((1, IN, 5)), answer((1, OUT, 6)), answer((2, IN, 5))], vec![((1, IN, 5), (1, OUT, 6))]),
    ];
    for (number, (deltas, expected)) in cases.iter().enumerate() {
        for order in orders(deltas) {
            assert_eq!(&joined(&order), expected, "case {number}");
        }
    }
}

/// Whom records have called a pair stays one, though a better partner comes.
#[test]
fn a_pair_that_was_reported_is_not_parted() {
    let place = |ifindex, delta| seen((ifindex, IN, 0), delta);
    let begun = [place(1, delta(9, 0, 1, 0)), place(2, back(delta(9, 1, 2, 0))), place(1, delta(9, 60, 61, 0))];
    let better = seen((1, OUT, 0), back(delta(9, 61, 62, 0)));
    let goes_on = [place(1, delta(9, 62, 63, 0)), place(2, back(delta(9, 62, 63, 0)))];
    let deltas = [&begun[..], &[better], &goes_on].concat();
    assert_eq!(joined(&deltas), vec![((1, IN, 0), (2, IN, 0)); 2]);
}

#[test]
fn only_what_answers_is_joined() {
    let with = |key: FlowKey| FlowDelta { key, ..delta(9, 1, 2, 0) };
    let ask = key(9);
    let answer = back(delta(9, 1, 2, 0)).key;
    let is_joined = |one, other| !joined(&[with(one), with(other)]).is_empty();
    assert!(is_joined(ask, answer));
    for other in [
        FlowKey { destination_port: 10, ..answer },
        FlowKey { source_port: 444, ..answer },
        FlowKey { source: ask.source, ..answer },
        FlowKey { protocol: 17, ..answer },
        FlowKey { ip_version: 6, ..answer },
        FlowKey { source_port: ask.source_port, destination_port: ask.destination_port, ..answer },
    ] {
        assert!(!is_joined(ask, other), "{other:?}");
    }
    // Without ports, and to oneself.
    let bare = FlowKey { protocol: 47, source_port: 0, destination_port: 0, ..ask };
    assert!(is_joined(bare, FlowKey { source: bare.destination, destination: bare.source, ..bare }));
    let own = FlowKey { destination: ask.source, destination_port: ask.source_port, ..ask };
    assert!(!is_joined(own, FlowKey { direction: OUT, ..own }));
    let own = FlowKey { destination_port: 443, ..own };
    assert!(is_joined(own, FlowKey { source_port: 443, destination_port: own.source_port, ..own }));
}

#[test]
fn icmp_requests_are_joined_with_their_replies() {
    let icmp = |protocol, kind: u8, code: u8| FlowKey {
        protocol,
        source_port: 0,
        destination_port: u16::from_be_bytes([kind, code]),
        ..key(0)
    };
    let mut found = Vec::new();
    for protocol in [ICMP, ICMPV6] {
        for (asked, answered) in (0..=255).flat_map(|asked| (0..=255).map(move |answered| (asked, answered))) {
            let question = icmp(protocol, asked, 0);
            let answer = icmp(protocol, answered, 0);
            let answer = FlowKey { source: answer.destination, destination: answer.source, ..answer };
            let deltas = [question, answer].map(|key| FlowDelta { key, ..delta(0, 1, 1, 0) });
            let mut table = Table::new(joining());
            let mut out = Vec::new();
            for delta in &deltas {
                table.merge(delta, offset(), &mut out);
            }
            table.flush(EndReason::ForcedEnd, offset(), &mut out);
            if out[0].role == Role::Forward && out[0].key == question {
                found.push((protocol, asked, answered));
            }
        }
    }
    assert_eq!(found, [(1, 8, 0), (1, 13, 14), (1, 15, 16), (1, 17, 18), (58, 128, 129)]);
    let reply = |code| {
        let reply = icmp(ICMP, 0, code);
        FlowKey { source: reply.destination, destination: reply.source, ..reply }
    };
    let with_code = |key| FlowDelta { key, ..delta(0, 1, 1, 0) };
    assert_eq!(joined(&[with_code(icmp(ICMP, 8, 3)), with_code(reply(0))]), []);
    assert_eq!(joined(&[with_code(icmp(ICMP, 8, 3)), with_code(reply(3))]).len(), 1);
}

#[test]
fn answers_come_back_in_the_same_tunnel() {
    let end = |last| Address::from(std::net::Ipv4Addr::new(192, 0, 2, last));
    let tunnel = |kind: TunnelKind, id, source, destination| Tunnel {
        source: end(source),
        destination: end(destination),
        id,
        kind: kind as u8,
        ip_version: 4,
        padding: 0,
    };
    let is_joined = |one, other| {
        let deltas =
            [FlowDelta { tunnel: one, ..delta(9, 1, 2, 0) }, FlowDelta { tunnel: other, ..back(delta(9, 1, 2, 0)) }];
        !joined(&deltas).is_empty()
    };
    use TunnelKind::{Geneve, GtpU, Vxlan};
    assert!(is_joined(tunnel(Vxlan, 7, 1, 2), tunnel(Vxlan, 7, 2, 1)));
    assert!(!is_joined(tunnel(Vxlan, 7, 1, 2), tunnel(Vxlan, 8, 2, 1)));
    assert!(!is_joined(tunnel(Vxlan, 7, 1, 2), tunnel(Vxlan, 7, 1, 2)));
    assert!(!is_joined(tunnel(Vxlan, 7, 1, 2), tunnel(Vxlan, 7, 3, 1)));
    assert!(!is_joined(tunnel(Vxlan, 7, 1, 2), tunnel(Geneve, 7, 2, 1)));
    assert!(!is_joined(tunnel(Vxlan, 7, 1, 2), Tunnel::NONE));
    // Each end of a GTP-U tunnel has a number of its own.
    assert!(is_joined(tunnel(GtpU, 7, 1, 2), tunnel(GtpU, 8, 2, 1)));
}

#[test]
fn a_scan_leaves_no_pairs() {
    let probe = |port: u16| {
        let probe = delta(50_000, 1, 1, SYN);
        FlowDelta { key: FlowKey { destination_port: port, ..probe.key }, ..probe }
    };
    let deltas: Vec<_> = (1..500).map(probe).collect();
    assert_eq!(joined(&deltas), []);
}

/// Whoever sends one packet in many VLANs makes no long chain; what is beyond its end is found and leaves like anything else.
#[test]
fn one_conversation_in_many_vlans_does_not_fill_one_place() {
    let most = u16::try_from(MOST_SIGHTINGS).expect("few");
    let mut lab = Lab::with(TableConfig { max_flows: NonZeroU32::new(1000).expect("not zero"), ..joining() });
    for round in 0..2 {
        for vlan in 1..=most * 2 {
            lab.merge(seen((1, IN, vlan), delta(9, round, round, 0)));
        }
        assert_eq!(lab.table.len(), MOST_SIGHTINGS * 2);
        assert_eq!(lab.table.apart, u32::from(most));
    }
    for vlan in 1..=most * 2 {
        lab.merge(seen((1, OUT, vlan), back(delta(9, 1, 2, 0))));
    }
    assert_eq!(lab.table.apart, u32::from(most) * 2);
    lab.expire(100);
    assert!(lab.table.is_empty());
    assert_eq!((lab.out.len(), lab.table.apart), (MOST_SIGHTINGS * 4, 0));
    assert!(lab.out.iter().all(|record| record.packets == 2));
    // Those that stand apart are not joined, the others each in its VLAN.
    for (one, other) in conversations(&lab.out) {
        assert_eq!(other.map(|other| other.key.vlan), (one.key.vlan <= most).then_some(one.key.vlan));
    }
}

#[test]
fn flows_are_joined_from_the_moment_on_when_none_is_open() {
    let mut lab = Lab::new();
    lab.merge(delta(9, 0, 0, 0));
    lab.table.reconfigure(joining());
    assert!(!lab.table.biflow());
    lab.merge(back(delta(9, 0, 0, 0))).flush();
    assert!(lab.out.iter().all(|record| record.role == Role::Single));
    lab.table.reconfigure(joining());
    assert!(lab.table.biflow());
    lab.merge(delta(9, 1, 1, 0)).merge(back(delta(9, 1, 1, 0))).flush();
    assert_eq!(lab.out[2..].iter().map(|record| record.role).collect::<Vec<_>>(), [Role::Forward, Role::Reverse]);
}
