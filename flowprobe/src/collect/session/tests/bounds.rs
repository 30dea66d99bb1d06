//! Nothing that is sent makes a listener remember more than it may, and what is in use is what stays.

use std::time::{Duration, Instant};

use super::{FIELDS, Listener, NONE, START, a, flows, from, told};
use crate::collect::session::{Limits, Peer};
use crate::collect::wire::build::{ipfix, set, template, words};

#[test]
fn of_too_many_addresses_the_idlest_go() {
    let mut listener = Listener::within(Limits { addresses: 10, ..Limits::default() });
    listener.take(a(), &ipfix(START, 0, 1, &[told(256)]));
    for host in 0..100_u8 {
        listener.take(from(&format!("198.51.100.{host}:1")), &ipfix(START, 0, 1, &[told(256)]));
        listener.take(a(), &ipfix(START, 0, 1, &[told(256)]));
    }
    let totals = listener.exporters.totals();
    assert_eq!((totals.addresses, totals.addresses_evicted, totals.sessions_evicted), (10, 91, 91));
    assert_eq!(listener.take(a(), &ipfix(START, 0, 1, &[flows(256, &[1])])), [1], "who sends stays");
    assert_eq!(listener.take(from("198.51.100.3:1"), &ipfix(START, 0, 1, &[flows(256, &[1])])), NONE);
}

#[test]
fn of_too_many_sessions_and_domains_the_idlest_go() {
    let mut listener = Listener::within(Limits { sessions: 8, ..Limits::default() });
    for (port, domain) in (1..=50_u16).map(|port| (port, 1)).chain((1..=50).map(|domain| (1, domain))) {
        let peer = Peer { address: (a().address.ip(), port).into(), connection: None };
        listener.take(peer, &ipfix(START, 0, domain, &[told(256), set(999, &[1; 10])]));
        listener.take(a(), &ipfix(START, 0, 77, &[told(256)]));
    }
    let totals = listener.exporters.totals();
    // One message of the last fifty goes to a session that is there, since its port was the first one's.
    assert_eq!((totals.sessions, listener.exporters.health().len()), (8, 8));
    assert!(totals.sessions_evicted >= 90, "{totals:?}");
    assert_eq!(listener.take(a(), &ipfix(START, 0, 77, &[flows(256, &[1])])), [1], "who sends stays");
    let known: Vec<_> = listener.exporters.health().iter().map(|health| health.sessions).collect();
    assert_eq!(known, [1; 8]);
    assert_eq!(totals.held_octets, 7 * (10 + 128), "what the others held is given back");
}

#[test]
fn of_too_many_templates_those_that_nobody_uses_go() {
    let mut listener = Listener::within(Limits { templates: 16, ..Limits::default() });
    listener.take(a(), &ipfix(START, 0, 1, &[told(256)]));
    for id in 300..400_u16 {
        let sequence = u32::from(id) - 300;
        let known = listener.take(a(), &ipfix(START, sequence, 1, &[told(id), flows(256, &[7])]));
        assert_eq!(known, [7], "template {id}");
    }
    let health = listener.health();
    assert_eq!((health.templates, health.templates_forgotten), (16, 85));
}

#[test]
fn octets_of_templates_are_bounded_by_address_and_in_all() {
    let limits = Limits { state_octets: 100_000, state_octets_of_all: 300_000, ..Limits::default() };
    let mut listener = Listener::within(limits);
    let wide = |id| set(2, &template(id, &[(1, 4); 500]));
    let small = |sequence| ipfix(START, sequence, 1, &[told(256), flows(256, &[7])]);
    for round in 0..20_u16 {
        for host in 1..=9_u8 {
            listener.take(from(&format!("198.51.100.{host}:{round}")), &ipfix(START, 0, 1, &[wide(300 + round)]));
            assert!(listener.exporters.totals().state_octets <= 300_000);
        }
        assert_eq!(listener.take(a(), &small(round.into())), [7]);
    }
    assert!(listener.exporters.totals().addresses_evicted > 0);
    let mut alone = Listener::within(Limits { state_octets: 100_000, ..Limits::default() });
    for id in 300..400 {
        alone.take(a(), &ipfix(START, 0, 1, &[wide(id)]));
        assert!(alone.exporters.totals().state_octets <= 100_000);
    }
    assert!(alone.health().templates >= 2 && alone.health().templates_forgotten >= 90, "{:?}", alone.health());
}

#[test]
fn octets_of_what_options_told_are_bounded_too() {
    let mut listener = Listener::within(Limits { state_octets: 100_000, ..Limits::default() });
    let options = set(3, &words([300, 2, 1, 10, 4, 82, 200]));
    let name = |index: u32| [&index.to_be_bytes()[..], &[b'n'; 200]].concat();
    let names = set(300, &(1..=100).flat_map(name).collect::<Vec<u8>>());
    for domain in 1..=30 {
        let message = ipfix(START, 0, domain, &[options.clone(), names.clone()]);
        listener.take(a(), &message);
        let before = listener.exporters.totals().state_octets;
        listener.pass(Duration::from_secs(1));
        listener.take(a(), &ipfix(START + 1, 100, domain, std::slice::from_ref(&names)));
        assert_eq!(listener.exporters.totals().state_octets, before, "the same names again");
        assert!((26_400..=100_000).contains(&before), "100 names of 200 octets are in it: {before}");
    }
    let known: Vec<_> =
        listener.exporters.health().iter().map(|health| (health.domain, health.interface_names)).collect();
    assert_eq!(known, [(28, 100), (29, 100), (30, 100)], "those that told last");
}

#[test]
fn who_sends_ever_other_templates_takes_no_elements_from_others() {
    let mut listener = Listener::new();
    // An element of an enterprise that no registry has.
    let fields = |element: u16| words([256, 2, 1, 4, 0x8000 | element, 4, 0, 64_000]);
    let record = |id| set(id, &[0, 0, 0, 9, 0xab, 0xcd, 0, 1]);
    let mut json = |from: Peer, sequence: u32, sets: &[Vec<u8>]| {
        let before = listener.out.records.len();
        assert_eq!(listener.take(from, &ipfix(START, sequence, 1, sets)), [9]);
        let (received, octets) = listener.out.beyond.get(before).expect("it says something beyond");
        let mut line = String::new();
        crate::collect::registry::put_tail_json(&received.tail, octets, &mut line);
        line
    };
    let restless = from("198.51.100.66:1");
    for element in 0..2000_u16 {
        json(restless, element.into(), &[set(2, &fields(element)), record(256)]);
        if element % 100 == 0 {
            let said = json(a(), (element / 100).into(), &[set(2, &fields(7777)), record(256)]);
            assert!(said.contains(r#""64000/7777":"abcd0001""#), "{element}: {said}");
        }
    }
    let late = json(from("192.0.2.99:1"), 0, &[set(2, &fields(8888)), record(256)]);
    assert!(late.contains(r#""64000/8888":"abcd0001""#), "{late}");
    let left_out: Vec<_> = listener.exporters.health().iter().map(|health| health.tails_left_out > 0).collect();
    assert_eq!(left_out, [false, false, true], "by address");
}

#[test]
fn what_is_forgotten_leaves_nothing_behind() {
    let mut listener = Listener::new();
    let connection = Peer { connection: Some(5), ..a() };
    for peer in [a(), connection] {
        listener.take(peer, &ipfix(START, 0, 1, &[told(256), set(2, &template(257, &FIELDS)), set(999, &[1; 99])]));
    }
    assert!(listener.exporters.totals().held_octets > 0);
    listener.pass(Duration::from_secs(24 * 3600 + 1));
    listener.take(from("192.0.2.8:1"), &ipfix(START, 0, 1, &[]));
    listener.expire();
    let totals = listener.exporters.totals();
    assert_eq!((totals.addresses, totals.addresses_expired, totals.sessions, totals.held_octets), (1, 1, 1, 0));
    listener.exporters.closed(5);
    listener.pass(Duration::from_secs(24 * 3600 + 1));
    listener.expire();
    assert_eq!(listener.exporters.totals().state_octets, 0);
}

/// A flood of messages that all want something new must not take time that grows with what is known.
#[test]
fn a_flood_of_forged_addresses_costs_little() {
    const MESSAGES: u32 = 60_000;
    let mut listener = Listener::within(Limits { addresses: 1000, ..Limits::default() });
    let began = Instant::now();
    for number in 0..MESSAGES {
        let [_, _, c, d] = number.to_be_bytes();
        let peer = Peer { address: ([198, 18, c, d], 1).into(), connection: None };
        listener.take(peer, &ipfix(START, number, number, &[told(256), flows(257, &[1])]));
    }
    assert_eq!(listener.exporters.totals().addresses, 1000);
    // Some microseconds each, where nothing else runs; to look at all addresses would take minutes.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}
