//! Exporters that send from changing ports, and several behind one address.

use super::{FIELDS, Listener, NONE, START, flows, from, told};
use crate::collect::wire::build::{ipfix, netflow9, set, template};

fn port(port: u16) -> super::Peer {
    from(&format!("192.0.2.7:{port}"))
}

#[test]
fn line_cards_on_ports_of_their_own_are_one_session() {
    let mut listener = Listener::new();
    listener.take(port(1), &ipfix(START, 100, 1, &[told(256), flows(256, &[1])]));
    for number in 1..200_u16 {
        let message = ipfix(START, 100 + u32::from(number), 1, &[flows(256, &[number.into()])]);
        assert_eq!(listener.take(port(1 + number % 8), &message), [u64::from(number)]);
    }
    let health = listener.health();
    assert_eq!((health.sessions, health.joined, health.missing, health.records), (1, 7, 0, 200));
}

#[test]
fn a_new_port_for_each_datagram_is_one_session() {
    let mut listener = Listener::new();
    listener.take(port(1), &netflow9((9000, START), 7, 1, &[set(0, &template(256, &FIELDS))]));
    for number in 1..=500_u16 {
        let message = netflow9((9000, START), 7 + u32::from(number), 1, &[flows(256, &[number.into()])]);
        assert_eq!(listener.take(port(1000 + number), &message), [u64::from(number)]);
    }
    assert_eq!((listener.health().sessions, listener.health().missing), (1, 0));
}

#[test]
fn two_exporters_behind_one_address_keep_their_templates() {
    let mut listener = Listener::new();
    let other = |sequence, octets: u32| ipfix(START, sequence, 1, &[set(256, &octets.to_be_bytes())]);
    listener.take(port(1), &ipfix(START, 0, 1, &[told(256)]));
    listener.take(port(2), &ipfix(START, 0, 1, &[set(2, &template(256, &[(1, 4)]))]));
    for number in 0..50 {
        assert_eq!(listener.take(port(1), &ipfix(START, 2 * number, 1, &[flows(256, &[5, 6])])), [5, 6]);
        assert_eq!(listener.take(port(2), &other(number, 7)), [7]);
    }
    let health = listener.health();
    assert_eq!((health.sessions, health.joined, health.missing, health.templates_changed), (2, 0, 0, 0));
}

#[test]
fn a_count_of_its_own_is_not_given_up_for_a_gap() {
    let mut listener = Listener::new();
    let first = |sequence| netflow9((9000, START), sequence, 1, &[set(0, &template(256, &FIELDS)), flows(256, &[5])]);
    let second =
        |sequence| netflow9((9000, START), sequence, 1, &[set(0, &template(256, &[(1, 4)])), set(256, &[0, 0, 0, 7])]);
    for sequence in 1..10 {
        listener.take(port(1), &first(sequence + 1));
        listener.take(port(2), &second(sequence - 1));
    }
    // What the first is about to send, since three were lost on the way.
    assert_eq!(listener.take(port(2), &second(11)), [7]);
    assert_eq!(listener.take(port(1), &first(11)), [5]);
    let health = listener.health();
    assert_eq!((health.sessions, health.joined, health.missing, health.templates_changed), (2, 0, 2, 0));
}

#[test]
fn what_a_port_held_before_it_was_recognised_is_read() {
    let mut listener = Listener::new();
    listener.take(port(1), &ipfix(START, 100, 1, &[told(256), flows(256, &[1])]));
    // Because of it nobody knows how others' data are to be read.
    listener.take(port(3), &ipfix(START, 900, 1, &[set(2, &template(256, &[(1, 4)]))]));
    // Overtaken by the message before it, which comes from the first port.
    assert_eq!(listener.take(port(2), &ipfix(START, 102, 1, &[flows(256, &[3])])), NONE);
    assert_eq!(listener.take(port(1), &ipfix(START, 101, 1, &[flows(256, &[2])])), [2]);
    assert_eq!((listener.health().sessions, listener.health().held_sets), (3, 1));
    assert_eq!(listener.take(port(1), &ipfix(START, 103, 1, &[flows(256, &[4])])), [4]);
    assert_eq!(listener.take(port(2), &ipfix(START, 104, 1, &[flows(256, &[5])])), [3, 5]);
    let health = listener.health();
    assert_eq!((health.sessions, health.joined, health.held_sets, health.dropped_sets), (2, 1, 0, 0));
}

#[test]
fn what_a_port_was_told_before_it_was_recognised_is_known() {
    let mut listener = Listener::new();
    listener.take(port(1), &netflow9((9000, START), 100, 1, &[set(0, &template(256, &FIELDS))]));
    // The template was sent after these, but has overtaken them.
    assert_eq!(listener.take(port(2), &netflow9((8000, START), 90, 1, &[flows(256, &[1])])), [1]);
    assert_eq!(listener.take(port(1), &netflow9((8000, START), 91, 1, &[flows(256, &[2])])), [2]);
    let health = listener.health();
    assert_eq!((health.sessions, health.joined, health.templates, health.held_sets), (1, 1, 1, 0));
}
