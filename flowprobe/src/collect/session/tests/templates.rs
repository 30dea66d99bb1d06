//! What is told of templates, and to whom it counts.

use std::time::Duration;

use super::{FIELDS, Listener, NONE, START, a, flows, from, told};
use crate::collect::session::Peer;
use crate::collect::wire::build::{ipfix, netflow5, netflow9, set, template, words};

#[test]
fn records_are_read_by_the_template_that_came_before_them() {
    let mut listener = Listener::new();
    assert_eq!(listener.take(a(), &ipfix(START, 0, 1, &[told(256), flows(256, &[10, 11])])), [10, 11]);
    assert_eq!(listener.take(a(), &ipfix(START, 2, 1, &[flows(256, &[12])])), [12]);
    let (received, _) = listener.out.beyond.get(2).expect("it says something beyond");
    assert_eq!((received.origin.address, received.origin.domain), (a().address.ip(), 1));
    let health = listener.health();
    assert_eq!((health.records, health.templates, health.missing, health.faults.len()), (3, 1, 0, 0));
}

#[test]
fn netflow_v5_needs_no_template() {
    let mut listener = Listener::new();
    assert_eq!(listener.take(a(), &netflow5((9000, START), 0, &[10, 11])), [10, 11]);
    let record = listener.out.records[0];
    assert_eq!((record.key.source_port, record.key.destination_port), (50_000, 443));
    assert_eq!(record.start_us, u64::from(START) * 1_000_000 + 250_000 - 2_000_000);
    assert_eq!(listener.health().sampling_interval, Some(100));
}

#[test]
fn a_flow_of_netflow_v5_may_begin_at_the_boot() {
    let mut listener = Listener::new();
    // Its uptimes are two seconds and one less than that of the header.
    listener.take(a(), &netflow5((2000, START), 0, &[10]));
    let record = listener.out.records[0];
    let boot_us = u64::from(START) * 1_000_000 + 250_000 - 2_000_000;
    assert_eq!((record.start_us, record.end_us), (boot_us, boot_us + 1_000_000));
}

#[test]
fn a_template_that_changes_replaces_the_old_one() {
    let mut listener = Listener::new();
    listener.take(a(), &ipfix(START, 0, 1, &[told(256), flows(256, &[10])]));
    listener.take(a(), &ipfix(START + 1, 1, 1, &[told(256)]));
    assert_eq!(listener.health().templates_changed, 0, "the same again");
    let changed = set(2, &template(256, &[(1, 4)]));
    assert_eq!(listener.take(a(), &ipfix(START, 1, 1, &[changed, set(256, &[0, 0, 0, 5, 0, 0, 0, 6])])), [5, 6]);
    assert_eq!((listener.health().templates_changed, listener.health().templates), (1, 1));
}

#[test]
fn templates_are_withdrawn_one_by_one_and_all_of_a_kind() {
    let mut listener = Listener::new();
    let options = set(3, &words([300, 2, 1, 10, 4, 34, 4]));
    listener.take(a(), &ipfix(START, 0, 1, &[told(256), told(257), told(258), options]));
    assert_eq!(listener.health().templates, 4);
    listener.take(a(), &ipfix(START, 0, 1, &[set(2, &words([256, 0]))]));
    assert_eq!((listener.health().templates, listener.health().templates_withdrawn), (3, 1));
    assert_eq!(listener.take(a(), &ipfix(START, 0, 1, &[flows(256, &[10])])), NONE);
    listener.take(a(), &ipfix(START + 1, 0, 1, &[set(2, &words([2, 0]))]));
    assert_eq!((listener.health().templates, listener.health().templates_withdrawn), (1, 3));
    listener.take(a(), &ipfix(START + 1, 0, 1, &[set(3, &words([3, 0]))]));
    assert_eq!((listener.health().templates, listener.health().templates_withdrawn), (0, 4));
}

#[test]
fn domains_versions_and_addresses_do_not_share_templates() {
    let mut listener = Listener::new();
    let data = [flows(256, &[10])];
    listener.take(a(), &ipfix(START, 0, 1, &[told(256)]));
    assert_eq!(listener.take(a(), &ipfix(START, 0, 2, &data)), NONE);
    assert_eq!(listener.take(a(), &netflow9((9000, START), 0, 1, &data)), NONE);
    assert_eq!(listener.take(from("192.0.2.8:40000"), &ipfix(START, 0, 1, &data)), NONE);
    assert_eq!(listener.take(a(), &ipfix(START, 0, 1, &data)), [10]);
    assert_eq!(listener.take(from("[::ffff:192.0.2.7]:40000"), &ipfix(START, 1, 1, &data)), [10], "the same address");
    assert_eq!(listener.exporters.totals().sessions, 4);
}

#[test]
fn sets_of_the_other_versions_templates_are_passed_over() {
    let mut listener = Listener::new();
    let strange = [set(0, &template(257, &FIELDS)), set(1, &[1, 2, 3, 4, 5]), set(77, &[])];
    let sets = [&strange[..], &[told(256), flows(256, &[10])]].concat();
    assert_eq!(listener.take(a(), &ipfix(START, 0, 1, &sets)), [10]);
    assert_eq!(listener.health().faults.get("reservedSet"), Some(&3));
    let mut listener = Listener::new();
    let sets = [told(257), set(0, &template(256, &FIELDS)), flows(256, &[10])];
    assert_eq!(listener.take(a(), &netflow9((9000, START), 0, 1, &sets)), [10]);
    assert_eq!((listener.health().faults.get("reservedSet"), listener.health().templates), (Some(&1), 1));
}

#[test]
fn templates_in_datagrams_go_when_they_are_not_told_again() {
    let mut listener = Listener::new();
    let connection = Peer { connection: Some(1), ..from("192.0.2.9:1000") };
    for peer in [a(), connection] {
        listener.take(peer, &ipfix(START, 0, 1, &[told(256), told(257)]));
    }
    listener.expire();
    listener.pass(Duration::from_secs(7000));
    listener.take(a(), &ipfix(START + 7000, 0, 1, &[told(257)]));
    listener.pass(Duration::from_secs(201));
    listener.expire();
    let known: Vec<_> = listener.exporters.health().iter().map(|health| health.templates).collect();
    assert_eq!(known, [1, 2]);
    assert_eq!(listener.exporters.health()[0].templates_forgotten, 1);
    assert_eq!(listener.take(a(), &ipfix(START, 0, 1, &[flows(257, &[10])])), [10]);
}

#[test]
fn templates_of_a_connection_end_with_it() {
    let mut listener = Listener::new();
    let [first, second] = [1, 2].map(|number| Peer { connection: Some(number), ..a() });
    for (peer, octets) in [(first, 10), (second, 11)] {
        assert_eq!(listener.take(peer, &ipfix(START, 0, 1, &[flows(256, &[octets])])), NONE, "not known there");
        assert_eq!(
            listener.take(peer, &ipfix(START, 0, 1, &[told(256), flows(256, &[octets])])),
            [u64::from(octets); 2]
        );
    }
    assert_eq!((listener.health().sessions, listener.health().templates), (2, 2));
    listener.exporters.closed(1);
    assert_eq!((listener.health().sessions, listener.health().templates), (1, 1));
    assert_eq!(listener.take(second, &ipfix(START, 0, 1, &[flows(256, &[12])])), [12]);
    listener.exporters.closed(2);
    listener.exporters.closed(2);
    assert_eq!((listener.health().sessions, listener.health().records), (0, 5));
}

#[test]
fn a_template_that_means_nothing_hides_none_behind_it() {
    let mut listener = Listener::new();
    let all = [template(300, &[]), template(255, &FIELDS), template(256, &FIELDS)].concat();
    let message = netflow9((9000, START), 1, 1, &[set(0, &all), flows(256, &[7])]);
    assert_eq!(listener.take(a(), &message), [7]);
    assert_eq!(listener.health().faults.get("badTemplate"), Some(&2));
}
