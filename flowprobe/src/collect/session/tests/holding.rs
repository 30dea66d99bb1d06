//! Sets that come before their template.

use std::time::Duration;

use super::{FIELDS, Listener, NONE, START, a, flows, told};
use crate::collect::session::Limits;
use crate::collect::wire::build::{ipfix, netflow9, set, template};

#[test]
fn sets_wait_for_their_template() {
    let mut listener = Listener::new();
    assert_eq!(listener.take(a(), &ipfix(START, 0, 1, &[flows(256, &[1, 2]), flows(257, &[3])])), NONE);
    assert_eq!(listener.take(a(), &ipfix(START, 3, 1, &[flows(256, &[4])])), NONE);
    assert_eq!(listener.health().held_sets, 3);
    assert_eq!(listener.take(a(), &ipfix(START, 4, 1, &[told(256), flows(256, &[5])])), [1, 2, 4, 5], "in their order");
    let health = listener.health();
    assert_eq!((health.held_sets, health.recovered_sets, health.recovered_records, health.records), (1, 2, 3, 4));
    assert_eq!(listener.take(a(), &ipfix(START, 5, 1, &[told(257)])), [3]);
    assert_eq!(listener.exporters.totals().held_octets, 0);
    assert_eq!((listener.health().missing, listener.health().dropped_sets), (0, 0));
}

#[test]
fn times_are_those_of_the_message_in_which_a_set_came() {
    let mut listener = Listener::new();
    let fields = [(1, 4), (22, 4), (21, 4)];
    let record = [7_u32, 1000, 2000].map(u32::to_be_bytes).concat();
    listener.take(a(), &netflow9((5000, START), 1, 1, &[set(256, &record)]));
    listener.pass(Duration::from_secs(5));
    // Whose clock has been put an hour ahead since.
    assert_eq!(listener.take(a(), &netflow9((10_000, START + 3605), 2, 1, &[set(0, &template(256, &fields))])), [7]);
    let record = listener.out.records[0];
    let boot_us = (u64::from(START) - 5) * 1_000_000;
    assert_eq!((record.start_us, record.end_us), (boot_us + 1_000_000, boot_us + 2_000_000));
}

#[test]
fn sets_wait_for_thirty_seconds() {
    let mut listener = Listener::new();
    listener.take(a(), &ipfix(START, 0, 1, &[flows(256, &[1, 2])]));
    listener.pass(Duration::from_secs(20));
    listener.take(a(), &ipfix(START, 2, 1, &[flows(256, &[3])]));
    listener.pass(Duration::from_secs(11));
    listener.expire();
    let health = listener.health();
    assert_eq!((health.held_sets, health.dropped_sets, health.dropped_octets), (1, 1, 32));
    assert_eq!(listener.take(a(), &ipfix(START, 3, 1, &[told(256)])), [3]);
}

#[test]
fn what_does_not_fit_is_counted() {
    let limits = Limits { held_octets: 400, held_octets_of_all: 700, ..Limits::default() };
    let mut listener = Listener::within(limits);
    for domain in [1, 2] {
        for sequence in 0..4 {
            listener.take(a(), &ipfix(START, sequence, domain, &[flows(256, &[sequence])]));
        }
    }
    let counts: Vec<_> = listener.exporters.health().iter().map(|h| (h.held_sets, h.dropped_sets)).collect();
    assert_eq!(counts, [(2, 2), (2, 2)]);
    listener.take(a(), &ipfix(START, 0, 3, &[flows(256, &[1])]));
    assert_eq!(listener.exporters.health()[2].dropped_sets, 1, "there is no room in all");
    assert_eq!(listener.take(a(), &ipfix(START, 4, 1, &[told(256)])), [0, 1]);
    listener.take(a(), &ipfix(START, 1, 3, &[flows(256, &[1])]));
    assert_eq!(listener.exporters.health()[2].held_sets, 1, "and now there is");
    assert!(listener.exporters.totals().held_octets <= 700);
}

#[test]
fn options_wait_too() {
    let mut listener = Listener::new();
    let options = set(1, &[1, 44, 0, 4, 0, 4, 0, 1, 0, 4, 0, 34, 0, 4]);
    listener.take(a(), &netflow9((5000, START), 1, 1, &[set(300, &[0, 0, 0, 1, 0, 0, 0, 9])]));
    listener.take(a(), &netflow9((5000, START), 2, 1, &[options, set(0, &template(256, &FIELDS))]));
    let health = listener.health();
    assert_eq!((health.recovered_records, health.options_records, health.records, health.templates), (1, 1, 0, 2));
}
