//! Exporters that begin anew, and what is forgotten then.

use std::time::Duration;

use super::{FIELDS, Listener, NONE, START, flows, from, told};
use crate::collect::session::Peer;
use crate::collect::wire::build::{ipfix, netflow5, netflow9, set, template, words};

fn port(port: u16) -> Peer {
    from(&format!("192.0.2.7:{port}"))
}

/// Samples one of a hundred, and has an interface with a name.
fn options() -> [Vec<u8>; 2] {
    let template = words([300, 3, 1, 10, 4, 34, 4, 82, 4]);
    [
        set(3, &template),
        set(300, &[0, 0, 0, 0, 0, 0, 0, 100, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, b'e', b't', b'h', b'3']),
    ]
}

/// The same of NetFlow v9, without the name.
fn options_v9() -> [Vec<u8>; 2] {
    [set(1, &words([300, 4, 4, 1, 4, 34, 4])), set(300, &[0, 0, 0, 0, 0, 0, 0, 100])]
}

/// The interval by which the last record was sampled.
fn interval(listener: &Listener) -> Option<u32> {
    listener.out.records.last().map(|record| record.sampling.interval())
}

/// A listener that knows a rate and a template of NetFlow v9, told from port 1, where messages are numbered from 503.
fn begun() -> Listener {
    let mut listener = Listener::new();
    let [options, rate] = options_v9();
    listener.take(port(1), &netflow9((90_000_000, START), 501, 1, &[options, rate]));
    let templates = [set(0, &template(256, &FIELDS)), flows(256, &[1])];
    assert_eq!(listener.take(port(1), &netflow9((90_000_000, START), 502, 1, &templates)), [1]);
    assert_eq!(interval(&listener), Some(100));
    listener
}

#[test]
fn what_options_taught_does_not_outlive_a_restart() {
    let mut listener = begun();
    listener.pass(Duration::from_secs(120));
    let templates = [set(0, &template(256, &FIELDS)), flows(256, &[2])];
    assert_eq!(listener.take(port(1), &netflow9((20_000, START), 0, 1, &templates)), [2]);
    assert_eq!((interval(&listener), listener.health().sampling_interval), (Some(1), None));
    assert_eq!(listener.health().restarts, 1);
    let mut listener = Listener::new();
    listener.take(port(1), &ipfix(START, 1_000_000, 1, &options()));
    assert_eq!((listener.health().sampling_interval, listener.health().interface_names), (Some(100), 1));
    listener.take(port(1), &ipfix(START, 0, 1, &[told(256), flows(256, &[1])]));
    assert_eq!((listener.health().sampling_interval, listener.health().interface_names), (None, 0));
    assert_eq!((interval(&listener), listener.health().restarts), (Some(1), 1));
}

#[test]
fn what_options_taught_comes_back_with_a_restart_that_was_none() {
    let mut listener = Listener::new();
    listener.take(port(1), &ipfix(START, 1_000_000, 1, &options()));
    let before = listener.exporters.totals().state_octets;
    listener.take(port(1), &ipfix(START, 0, 1, &[]));
    listener.take(port(1), &ipfix(START, 1_000_002, 1, &[]));
    let health = listener.health();
    assert_eq!((health.sampling_interval, health.interface_names, health.restarts), (Some(100), 1, 0));
    assert_eq!(listener.exporters.totals().state_octets, before);
}

#[test]
fn an_uptime_that_fell_on_another_port_is_a_restart_too() {
    let mut listener = begun();
    listener.pass(Duration::from_secs(120));
    let data = [flows(256, &[2])];
    assert_eq!(listener.take(port(2), &netflow9((20_000, START), 0, 1, &data)), NONE, "templates of another life");
    assert_eq!((listener.health().restarts, listener.health().sampling_interval), (1, None));
    let templates = [set(0, &template(256, &FIELDS))];
    assert_eq!(listener.take(port(2), &netflow9((21_000, START), 1, 1, &templates)), [2]);
    assert_eq!((interval(&listener), listener.health().restarts), (Some(1), 1));
    // The next port has what this life has told.
    listener.pass(Duration::from_secs(5));
    assert_eq!(listener.take(port(3), &netflow9((26_000, START), 40, 1, &data)), [2]);
    assert_eq!(listener.health().restarts, 1);
    let mut listener = Listener::new();
    for (number, uptime) in [(1, 90_000_000), (2, 91_000_000), (3, 20_000), (4, 21_000)] {
        listener.take(port(number), &netflow5((uptime, START), 7, &[1]));
        listener.pass(Duration::from_secs(1));
    }
    assert_eq!(listener.health().restarts, 1);
}

#[test]
fn ports_of_one_exporter_restart_once() {
    let mut listener = begun();
    let other = |uptime, sets: &[Vec<u8>]| netflow9((uptime, START), 9000, 1, sets);
    listener.take(port(2), &other(90_000_000, &[]));
    listener.pass(Duration::from_secs(60));
    let [options, rate] = options_v9();
    listener.take(port(1), &netflow9((20_000, START), 0, 1, &[options, rate]));
    listener.pass(Duration::from_secs(1));
    listener.take(port(2), &other(21_000, &[]));
    assert_eq!((listener.health().restarts, listener.health().sampling_interval), (1, Some(100)));
}

#[test]
fn two_exporters_behind_one_address_do_not_restart_again_and_again() {
    for ports in [[1, 0], [1, 1]] {
        let mut listener = begun();
        for second in 0..100_u16 {
            let second_ms = u32::from(second) * 1000;
            let old = netflow9((90_000_000 + second_ms, START), 503 + u32::from(second), 1, &[]);
            listener.take(port(1 + second * ports[1]), &old);
            // The other has begun five seconds before, and has a new port each time.
            let new = netflow9((5000 + second_ms, START), u32::from(second), 1, &[]);
            listener.take(port(1000 + second * ports[0]), &new);
            listener.pass(Duration::from_secs(1));
        }
        let health = listener.health();
        assert!(health.restarts <= 1, "{health:?}");
        if ports == [1, 0] {
            assert_eq!((health.restarts, health.sampling_interval), (0, Some(100)), "the old one goes on");
        }
    }
}

#[test]
fn ipfix_that_begins_at_0_on_another_port_after_a_silence_is_a_restart() {
    let mut listener = Listener::new();
    let [template, rate] = options();
    listener.take(port(1), &ipfix(START, 50, 1, &[template, rate]));
    listener.pass(Duration::from_secs(5));
    listener.take(port(2), &ipfix(START, 0, 1, &[told(256)]));
    assert_eq!(listener.health().restarts, 0, "the other has just sent");
    listener.take(port(1), &ipfix(START, 52, 1, &[told(257), flows(257, &[1])]));
    listener.pass(Duration::from_secs(10));
    listener.take(port(3), &ipfix(START, 0, 1, &[told(256)]));
    assert_eq!((listener.health().restarts, listener.health().sampling_interval), (1, None));
    // With nothing to report it says number 0 again, each time from another port.
    for number in 4..10 {
        listener.pass(Duration::from_secs(60));
        listener.take(port(number), &ipfix(START + u32::from(number), 0, 1, &[told(256)]));
    }
    assert_eq!(listener.health().restarts, 1);
    // The one that was silent goes on: it was another.
    listener.take(port(1), &ipfix(START, 53, 1, &[flows(257, &[1])]));
    assert_eq!((listener.health().restarts, listener.health().sampling_interval), (0, Some(100)));
}
