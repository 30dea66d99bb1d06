//! Data from a port that was told no templates, where other ports of the same exporter were.

use std::time::Duration;

use super::{FIELDS, Listener, NONE, START, flows, from, told};
use crate::collect::session::{Limits, Peer};
use crate::collect::wire::build::{ipfix, netflow9, set, template, words};

fn port(port: u16) -> Peer {
    from(&format!("192.0.2.7:{port}"))
}

/// Another template with the ID of [`told`], and a record of it.
fn other() -> [Vec<u8>; 2] {
    [set(2, &template(256, &[(1, 4)])), set(256, &[0, 0, 0, 7])]
}

#[test]
fn data_from_a_new_port_are_read_by_the_template_of_another() {
    let mut listener = Listener::new();
    listener.take(port(1), &ipfix(START, 100, 1, &[told(256)]));
    assert_eq!(listener.take(port(2), &ipfix(START, 9000, 1, &[flows(256, &[1, 2])])), [1, 2]);
    assert_eq!(listener.take(port(2), &ipfix(START, 9002, 1, &[flows(256, &[3])])), [3], "and its records count");
    let health = listener.health();
    assert_eq!((health.sessions, health.held_sets, health.recovered_sets), (2, 0, 0));
    assert_eq!((health.missing, health.sequence_unknown), (0, 0));
}

#[test]
fn a_socket_for_each_message_loses_nothing() {
    let mut listener = Listener::within(Limits { sessions: 8, ..Limits::default() });
    let templates = [set(0, &template(256, &FIELDS))];
    listener.take(port(1), &netflow9((9000, START), 7, 1, &templates));
    for number in 0..500_u16 {
        let message = netflow9((9000, START), 9 + 2 * u32::from(number), 1, &[flows(256, &[number.into()])]);
        assert_eq!(listener.take(port(1000 + number), &message), [u64::from(number)]);
        if number % 100 == 99 {
            // Told again by another, which then keeps it.
            listener.take(port(2000 + number), &netflow9((9000, START), 10 + 2 * u32::from(number), 1, &templates));
        }
    }
    let health = listener.health();
    assert_eq!((health.sessions, health.records, health.dropped_sets), (8, 500, 0));
}

#[test]
fn what_options_told_of_one_port_is_known_of_data_from_another() {
    let mut listener = Listener::new();
    listener.take(port(1), &ipfix(START, 100, 1, &[told(256), set(3, &words([300, 2, 1, 10, 4, 34, 4]))]));
    listener.take(port(2), &ipfix(START, 7000, 1, &[set(300, &[0, 0, 0, 0, 0, 0, 0, 9])]));
    assert_eq!((listener.health().options_records, listener.health().sampling_interval), (1, Some(9)));
    listener.take(port(3), &ipfix(START, 8000, 1, &[flows(256, &[1])]));
    assert_eq!(listener.out.records[0].sampling.interval(), 9);
}

#[test]
fn data_wait_where_other_ports_have_different_templates() {
    let mut listener = Listener::new();
    let [template, record] = other();
    listener.take(port(1), &ipfix(START, 100, 1, &[told(256)]));
    listener.take(port(2), &ipfix(START, 500, 1, &[template]));
    assert_eq!(listener.take(port(3), &ipfix(START, 9000, 1, std::slice::from_ref(&record))), NONE);
    assert_eq!(listener.health().held_sets, 1);
    listener.pass(Duration::from_secs(31));
    listener.expire();
    let health = listener.health();
    assert_eq!((health.held_sets, health.recovered_sets, health.dropped_sets), (0, 0, 1));
    // One of them has it no longer: what the other has is what there is.
    listener.take(port(3), &ipfix(START, 9001, 1, &[record]));
    listener.take(port(1), &ipfix(START, 100, 1, &[set(2, &words([256, 0]))]));
    listener.pass(Duration::from_secs(31));
    listener.expire();
    assert_eq!(listener.out.records.last().map(|record| record.octets), Some(7));
    let health = listener.health();
    assert_eq!((health.recovered_sets, health.recovered_records, health.dropped_sets), (1, 1, 1));
}

#[test]
fn who_has_templates_of_its_own_waits_for_the_one_it_lacks_and_has_anothers_in_the_end() {
    let mut listener = Listener::new();
    listener.take(port(1), &ipfix(START, 100, 1, &[told(256)]));
    listener.take(port(2), &ipfix(START, 500, 1, &[told(257)]));
    assert_eq!(listener.take(port(2), &ipfix(START, 500, 1, &[flows(256, &[1])])), NONE);
    listener.pass(Duration::from_secs(29));
    listener.expire();
    assert_eq!(listener.health().held_sets, 1);
    listener.pass(Duration::from_secs(2));
    listener.expire();
    assert_eq!(listener.out.records.last().map(|record| record.octets), Some(1));
    let health = listener.health();
    assert_eq!((health.held_sets, health.recovered_sets, health.dropped_sets), (0, 1, 0));
}

#[test]
fn what_waits_at_the_end_is_read_by_others_templates_or_dropped() {
    let mut listener = Listener::new();
    listener.take(port(1), &ipfix(START, 100, 1, &[told(256)]));
    listener.take(port(2), &ipfix(START, 500, 1, &[told(257)]));
    listener.take(port(2), &ipfix(START, 500, 1, &[flows(256, &[1, 2]), flows(300, &[3])]));
    let Listener { exporters, out, .. } = &mut listener;
    exporters.finish(out);
    assert_eq!(listener.out.records.iter().map(|record| record.octets).collect::<Vec<_>>(), [1, 2]);
    let health = listener.health();
    assert_eq!((health.held_sets, health.recovered_records, health.dropped_sets), (0, 2, 1));
}

#[test]
fn a_template_that_another_port_is_told_afterwards_releases_what_waits() {
    let mut listener = Listener::new();
    let options = set(3, &words([300, 2, 1, 10, 4, 34, 4]));
    assert_eq!(listener.take(port(2), &ipfix(START, 500, 1, &[flows(256, &[1]), flows(257, &[2])])), NONE);
    assert_eq!(listener.take(port(3), &ipfix(START, 800, 1, &[set(300, &[0, 0, 0, 0, 0, 0, 0, 9])])), NONE);
    assert_eq!(listener.take(port(1), &ipfix(START, 100, 1, &[told(256), options])), [1]);
    let health = listener.health();
    assert_eq!((health.held_sets, health.recovered_sets, health.options_records), (1, 2, 1));
    // Who was told others does not get it at once.
    listener.take(port(4), &ipfix(START, 900, 1, &[told(256), flows(258, &[4])]));
    assert_eq!(listener.take(port(1), &ipfix(START, 100, 1, &[told(258)])), NONE);
    assert_eq!(listener.health().held_sets, 2);
}

#[test]
fn connections_neither_lend_templates_nor_borrow_them() {
    let mut listener = Listener::new();
    let [first, second] = [1, 2].map(|number| Peer { connection: Some(number), ..port(1) });
    listener.take(first, &ipfix(START, 0, 1, &[told(256)]));
    listener.take(port(9), &ipfix(START, 0, 1, &[told(257)]));
    assert_eq!(listener.take(port(8), &ipfix(START, 700, 1, &[flows(256, &[1])])), NONE);
    assert_eq!(listener.take(second, &ipfix(START, 0, 1, &[flows(256, &[1]), flows(257, &[2])])), NONE);
    listener.pass(Duration::from_secs(31));
    listener.expire();
    assert_eq!((listener.health().dropped_sets, listener.health().recovered_sets), (3, 0));
}

#[test]
fn templates_that_are_no_longer_good_are_lent_no_longer() {
    let mut listener = Listener::new();
    listener.take(port(1), &ipfix(START, 100, 1, &[told(256)]));
    listener.expire();
    listener.pass(Duration::from_secs(7201));
    listener.expire();
    assert_eq!(listener.take(port(2), &ipfix(START, 500, 1, &[flows(256, &[1])])), NONE);
    listener.take(port(1), &ipfix(START + 7201, 100, 1, &[told(256)]));
    assert_eq!(listener.health().recovered_sets, 1);
}
