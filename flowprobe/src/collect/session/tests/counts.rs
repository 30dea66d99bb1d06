//! Numbers that are wrong, and several counts on one port.

use std::time::Duration;

use super::{FIELDS, Listener, NONE, START, a, flows, told};
use crate::collect::session::Peer;
use crate::collect::wire::build::{ipfix, netflow9, set, template};

/// A message with ten records of these octets.
fn ten(sequence: u32) -> Vec<u8> {
    ipfix(START, sequence, 1, &[flows(256, &[sequence; 10])])
}

/// A listener that has had messages of ten records, the next of which would have this number.
fn up_to(next: u32) -> Listener {
    let mut listener = Listener::new();
    listener.take(a(), &ipfix(START, next - 50, 1, &[told(256), flows(256, &[1; 10])]));
    (1..5).for_each(|message| assert_eq!(listener.take(a(), &ten(next - 50 + 10 * message)).len(), 10));
    listener
}

/// Takes a message of ten records, which are read, perhaps behind others that have waited.
fn must_be_read(listener: &mut Listener, sequence: u32) {
    let read = listener.take(a(), &ten(sequence));
    assert!(read.ends_with(&[sequence.into(); 10]), "{sequence}: {read:?}");
}

/// Takes a message of ten records ten times a second.
fn go_on(listener: &mut Listener, from: u32, messages: u32) {
    for message in 0..messages {
        must_be_read(listener, from + 10 * message);
        listener.pass(Duration::from_millis(100));
    }
}

#[test]
fn one_wrong_number_changes_nothing() {
    let next = 1_000_000;
    let wrong = [7, 4000, 5000, 900_000, next - 65_536, next + 305, next + 65_536, next + 100_000, next + (1 << 20)];
    for number in wrong.into_iter().chain([1 << 28, 1 << 30, 1 << 31, u32::MAX]) {
        let mut listener = up_to(next);
        // Without a template there is nothing to read with it, where it looks like a restart.
        listener.take(a(), &ten(number));
        go_on(&mut listener, next, 150);
        let health = listener.health();
        assert_eq!((health.restarts, health.templates, health.missing), (0, 1, 0), "after {number}");
        assert_eq!((health.records, health.dropped_sets), (50 + 10 + 1500, 0), "after {number}");
    }
}

#[test]
fn one_wrong_number_changes_nothing_of_netflow_v9() {
    let templates = [set(0, &template(256, &FIELDS))];
    let message = |sequence: u32| netflow9((90_000_000, START), sequence, 1, &[flows(256, &[sequence])]);
    for number in [0, 3, 4500, 5500, 80_000, 1 << 30, u32::MAX] {
        let mut listener = Listener::new();
        listener.take(a(), &netflow9((90_000_000, START), 4999, 1, &templates));
        (5000..5010).for_each(|sequence| assert_eq!(listener.take(a(), &message(sequence)).len(), 1));
        assert_eq!(listener.take(a(), &message(number)).len(), 1);
        for sequence in 5010..5400 {
            assert_eq!(listener.take(a(), &message(sequence)), [u64::from(sequence)]);
            listener.pass(Duration::from_millis(100));
        }
        let health = listener.health();
        assert_eq!((health.restarts, health.templates, health.missing), (0, 1, 0), "after {number}");
    }
}

#[test]
fn what_is_missing_of_a_long_interruption_is_counted_with_the_second_message_behind_it() {
    let mut listener = up_to(1000);
    listener.take(a(), &ten(201_000));
    assert_eq!((listener.health().missing, listener.health().sequence_unknown), (0, 1));
    listener.take(a(), &ten(201_010));
    assert_eq!((listener.health().missing, listener.health().sequence_unknown), (200_000, 1));
    assert_eq!(listener.take(a(), &ten(150_000)).len(), 10);
    go_on(&mut listener, 201_020, 10);
    let health = listener.health();
    assert_eq!((health.missing, health.reordered, health.restarts), (199_990, 1, 0), "and what is late taken off");
}

#[test]
fn what_is_missing_behind_a_jump_counts_with_it() {
    let mut listener = up_to(1000);
    listener.take(a(), &ten(201_000));
    listener.take(a(), &ten(201_030));
    assert_eq!(listener.health().missing, 200_020);
}

#[test]
fn two_processes_on_one_port_keep_their_templates() {
    for other in [0, 300, 5000, 500_000, 1_200_000, 3_000_000_000] {
        let mut listener = up_to(1_000_000);
        for message in 0..100 {
            must_be_read(&mut listener, 1_000_000 + 20 * message);
            must_be_read(&mut listener, 1_000_010 + 20 * message);
            listener.take(a(), &ten(other + 20 * message));
            listener.take(a(), &ten(other + 10 + 20 * message));
            listener.pass(Duration::from_secs(1));
        }
        let health = listener.health();
        assert_eq!((health.restarts, health.templates, health.missing), (0, 1, 0), "beside {other}");
        assert_eq!((health.records, health.dropped_sets), (4050, 0), "beside {other}");
    }
}

#[test]
fn two_processes_of_netflow_v9_on_one_port_keep_their_templates() {
    let mut listener = Listener::new();
    let old = |sequence, sets: &[Vec<u8>]| netflow9((90_000_000 + 1000 * sequence, START), 9000 + sequence, 1, sets);
    let new = |sequence, sets: &[Vec<u8>]| netflow9((5000 + 1000 * sequence, START), sequence, 1, sets);
    listener.take(a(), &old(0, &[set(0, &template(256, &FIELDS))]));
    for sequence in 1..100 {
        assert!(listener.take(a(), &old(sequence, &[flows(256, &[1])])).ends_with(&[1]));
        listener.take(a(), &new(sequence, &[flows(256, &[2])]));
        listener.pass(Duration::from_secs(1));
    }
    let health = listener.health();
    assert_eq!((health.restarts, health.templates, health.missing), (0, 1, 0));
    assert_eq!((health.records, health.dropped_sets), (198, 0));
}

#[test]
fn templates_of_a_connection_are_kept_whatever_its_numbers() {
    let mut listener = Listener::new();
    let connection = Peer { connection: Some(1), ..a() };
    listener.take(connection, &ipfix(START, 5_000_000, 1, &[told(256), flows(256, &[1; 10])]));
    for number in [0, 10, 3_000_000_000, 2, 900_000] {
        assert_eq!(listener.take(connection, &ten(number)).len(), 10);
    }
    assert_eq!((listener.health().restarts, listener.health().templates), (0, 1));
}

#[test]
fn a_number_without_an_uptime_that_fell_restarts_no_netflow_v9() {
    let mut listener = Listener::new();
    let message = |sequence| netflow9((90_000_000, START), sequence, 1, &[flows(256, &[sequence])]);
    listener.take(a(), &netflow9((90_000_000, START), 5_000_000, 1, &[set(0, &template(256, &FIELDS))]));
    for sequence in [0, 1, 2] {
        assert_eq!(listener.take(a(), &message(sequence)), [u64::from(sequence)]);
    }
    let health = listener.health();
    assert_eq!((health.restarts, health.missing, health.templates), (0, 0, 1));
}

#[test]
fn after_a_restart_the_templates_from_before_do_not_come_back() {
    let mut listener = up_to(1_000_000);
    let changed = set(2, &template(256, &[(1, 4)]));
    assert_eq!(listener.take(a(), &ipfix(START, 0, 1, &[changed, set(256, &[0, 0, 0, 7])])), [7]);
    assert_eq!((listener.health().restarts, listener.health().templates), (1, 1));
    // The count from before after all: of what was told since nothing is undone.
    listener.take(a(), &ipfix(START, 1_000_000, 1, &[set(256, &[0, 0, 0, 8])]));
    assert_eq!(listener.out.records.last().map(|record| record.octets), Some(8));
    assert_eq!((listener.health().restarts, listener.health().templates), (0, 1));
    assert_ne!(listener.take(a(), &ipfix(START, 1_000_001, 1, &[set(256, &[0, 0, 0, 9])])), NONE);
}
