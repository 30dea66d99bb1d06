//! What sequence numbers say.

use std::time::Duration;

use super::{FIELDS, Listener, NONE, START, a, flows, told};
use crate::collect::session::Peer;
use crate::collect::wire::build::{ipfix, netflow5, netflow9, set, template, words};

/// A listener that has had ten records in one message of IPFIX.
fn begun() -> Listener {
    let mut listener = Listener::new();
    listener.take(a(), &ipfix(START, 0, 1, &[told(256), flows(256, &[1; 10])]));
    listener
}

fn three(sequence: u32) -> Vec<u8> {
    ipfix(START, sequence, 1, &[flows(256, &[sequence; 3])])
}

/// Missing, reordered, duplicates and restarts.
fn counts(listener: &Listener) -> [u64; 4] {
    let health = listener.health();
    [health.missing, health.reordered, health.duplicates, health.restarts]
}

#[test]
fn a_gap_is_missing_until_it_comes_late() {
    let mut listener = begun();
    listener.take(a(), &three(10));
    listener.take(a(), &three(19));
    assert_eq!(counts(&listener), [6, 0, 0, 0]);
    assert_eq!(listener.take(a(), &three(16)).len(), 3, "what is late is taken");
    assert_eq!(counts(&listener), [3, 1, 0, 0]);
    listener.take(a(), &three(13));
    assert_eq!(counts(&listener), [0, 2, 0, 0]);
    listener.take(a(), &three(22));
    assert_eq!(counts(&listener), [0, 2, 0, 0], "and the count went on");
}

#[test]
fn what_is_late_in_the_middle_of_a_gap_leaves_two() {
    let mut listener = begun();
    for (sequence, missing) in [(40, 30), (20, 27), (30, 24), (13, 21), (17, 18), (37, 15), (23, 12)] {
        listener.take(a(), &three(sequence));
        assert_eq!(listener.health().missing, missing, "after {sequence}");
    }
    assert_eq!(listener.health().reordered, 6);
}

#[test]
fn numbers_begin_again_after_32_bits() {
    let mut listener = Listener::new();
    listener.take(a(), &ipfix(START, u32::MAX - 1, 1, &[told(256), flows(256, &[1; 3])]));
    listener.take(a(), &three(1));
    listener.take(a(), &three(7));
    listener.take(a(), &three(4));
    assert_eq!(counts(&listener), [0, 1, 0, 0]);
}

#[test]
fn the_same_message_again_is_dropped_and_another_with_its_number_is_not() {
    let mut listener = begun();
    assert_eq!(listener.take(a(), &three(10)).len(), 3);
    assert_eq!(listener.take(a(), &three(10)).len(), 0);
    assert_eq!(counts(&listener), [0, 0, 1, 0]);
    assert_eq!(listener.take(a(), &ipfix(START, 10, 1, &[flows(256, &[99; 3])])).len(), 3);
    assert_eq!(counts(&listener), [0, 1, 1, 0]);
    for sequence in (13..13 + 3 * 63).step_by(3) {
        listener.take(a(), &three(sequence));
    }
    assert_eq!(listener.take(a(), &three(13)).len(), 0, "63 messages ago");
    assert_eq!(counts(&listener), [0, 1, 2, 0]);
}

#[test]
fn netflow_v9_counts_messages_and_v5_flows() {
    let mut listener = Listener::new();
    let message =
        |sequence| netflow9((9000, START), sequence, 1, &[set(0, &template(256, &FIELDS)), flows(256, &[1; 5])]);
    for sequence in [100, 101, 104, 103] {
        listener.take(a(), &message(sequence));
    }
    assert_eq!(counts(&listener), [1, 1, 0, 0]);
    let mut listener = Listener::new();
    for sequence in [100, 105, 115, 110] {
        listener.take(a(), &netflow5((9000, START), sequence, &[1; 5]));
    }
    assert_eq!(counts(&listener), [0, 1, 0, 0]);
    listener.take(a(), &netflow5((9000, START), 123, &[1; 5]));
    assert_eq!(counts(&listener), [3, 1, 0, 0]);
}

#[test]
fn records_of_options_count() {
    let mut listener = Listener::new();
    let options =
        [set(3, &words([300, 2, 1, 10, 4, 34, 4])), set(300, &[0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0, 2, 0, 0, 0, 9])];
    listener.take(a(), &ipfix(START, 0, 1, &options));
    listener.take(a(), &ipfix(START, 2, 1, &[told(256), flows(256, &[1])]));
    assert_eq!(counts(&listener), [0; 4]);
    assert_eq!((listener.health().options_records, listener.health().records), (2, 1));
}

#[test]
fn records_that_cannot_be_counted_make_no_gap() {
    let mut listener = begun();
    listener.take(a(), &ipfix(START, 10, 1, &[set(999, &[1; 40])]));
    assert_eq!(listener.health().sequence_unknown, 0);
    listener.take(a(), &three(17));
    assert_eq!((counts(&listener), listener.health().sequence_unknown), ([0; 4], 1));
    listener.take(a(), &three(23));
    assert_eq!((counts(&listener), listener.health().sequence_unknown), ([3, 0, 0, 0], 1));
}

#[test]
fn an_uptime_that_fell_is_a_restart_which_forgets_templates_and_what_waits() {
    let mut listener = Listener::new();
    let templates = [set(0, &template(256, &FIELDS))];
    listener.take(a(), &netflow9((90_000_000, START), 500, 1, &templates));
    listener.take(a(), &netflow9((90_001_000, START + 1), 501, 1, &[flows(256, &[1]), flows(257, &[1])]));
    assert_eq!((listener.health().held_sets, listener.health().templates), (1, 1));
    listener.pass(Duration::from_secs(120));
    assert_eq!(listener.take(a(), &netflow9((20_000, START + 120), 3, 1, &[flows(256, &[2])])), NONE);
    let health = listener.health();
    assert_eq!((health.restarts, health.missing, health.templates), (1, 0, 0));
    assert_eq!((health.held_sets, health.dropped_sets, health.dropped_octets), (1, 1, 16), "the new one waits");
    assert_eq!(listener.take(a(), &netflow9((21_000, START + 121), 4, 1, &templates)), [2]);
    assert_eq!(counts(&listener), [0, 0, 0, 1]);
}

#[test]
fn an_uptime_that_began_again_after_32_bits_or_came_late_is_no_restart() {
    let mut listener = Listener::new();
    let message = |uptime, sequence| netflow9((uptime, START), sequence, 1, &[set(0, &template(256, &FIELDS))]);
    listener.take(a(), &message(u32::MAX - 60_000, 10));
    listener.pass(Duration::from_secs(120));
    listener.take(a(), &message(60_000, 12));
    assert_eq!((counts(&listener), listener.health().templates), ([1, 0, 0, 0], 1));
    listener.take(a(), &message(51_000, 14));
    assert_eq!(counts(&listener), [2, 0, 0, 0]);
    listener.take(a(), &message(60_000 - 15_000, 11));
    assert_eq!(counts(&listener), [1, 1, 0, 0], "it lies in a gap, whatever its uptime");
}

#[test]
fn an_exporter_that_has_been_up_for_longer_than_since_its_last_message_has_not_restarted() {
    let mut listener = Listener::new();
    let templates = [set(0, &template(256, &FIELDS))];
    listener.take(a(), &netflow9((90_000_000, START), 500, 1, &templates));
    // As in captures whose data were written before the template: 19 seconds older, by both clocks.
    assert_eq!(listener.take(a(), &netflow9((89_981_000, START - 19), 486, 1, &[flows(256, &[1])])), [1]);
    // An exporter whose uptimes are of several line cards.
    assert_eq!(listener.take(a(), &netflow9((89_800_000, START + 16), 516, 1, &[flows(256, &[2])])), [2]);
    assert_eq!(listener.health().restarts, 0);
}

#[test]
fn netflow_v5_that_restarts_loses_nothing() {
    let mut listener = Listener::new();
    listener.take(a(), &netflow5((90_000_000, START), 500, &[1; 5]));
    assert_eq!(listener.take(a(), &netflow5((20_000, START), 0, &[1; 5])).len(), 5);
    listener.take(a(), &netflow5((21_000, START), 5, &[1; 5]));
    assert_eq!(counts(&listener), [0, 0, 0, 1]);
}

#[test]
fn ipfix_restarts_where_its_numbers_begin_again_and_not_a_little_below() {
    let mut listener = begun();
    listener.take(a(), &three(2_000_000_000));
    listener.take(a(), &three(2_000_000_003));
    assert_eq!((counts(&listener), listener.health().templates), ([0; 4], 1), "nothing is missing of so many");
    listener.take(a(), &three(1_999_999_990));
    assert_eq!(counts(&listener), [0, 1, 0, 0], "a stray one");
    listener.take(a(), &three(1_999_999_993));
    listener.take(a(), &three(1_999_999_996));
    assert_eq!((counts(&listener), listener.health().sequence_unknown), ([0, 1, 0, 0], 3), "it goes on from there");
    assert_eq!(listener.take(a(), &ipfix(START, 4097, 1, &[flows(256, &[7])])), [7], "no number to begin with");
    assert_eq!(listener.take(a(), &ipfix(START, 30, 1, &[flows(256, &[7])])), NONE, "its templates are forgotten");
    assert_eq!((counts(&listener), listener.health().templates), ([0, 1, 0, 1], 0));
    let mut listener = begun();
    listener.take(a(), &three(50_000));
    listener.take(a(), &three(0));
    assert_eq!((listener.health().restarts, listener.health().templates), (0, 1), "that came late");
}

#[test]
fn a_gap_is_not_waited_for_longer_than_ten_seconds() {
    let mut listener = begun();
    listener.take(a(), &three(16));
    listener.pass(Duration::from_secs(11));
    assert_eq!(listener.take(a(), &three(10)).len(), 3);
    assert_eq!(counts(&listener), [6, 1, 0, 0]);
}

#[test]
fn connections_have_their_own_numbers() {
    let mut listener = begun();
    let connection = Peer { connection: Some(1), ..a() };
    listener.take(connection, &ipfix(START, 10, 1, &[told(256), flows(256, &[1; 3])]));
    assert_eq!((listener.health().sessions, listener.health().joined), (2, 0));
    listener.take(a(), &three(10));
    listener.take(connection, &three(13));
    assert_eq!(counts(&listener), [0; 4]);
}
