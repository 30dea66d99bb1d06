//! What is known of an exporter, and of messages that are nobody's.

use std::time::Duration;

use super::{FIELDS, Listener, NONE, START, a, flows, from, told};
use crate::collect::health::{ExporterHealth, ListenerTotals};
use crate::collect::wire::build::{ipfix, netflow5, netflow9, set, template, words};

#[test]
fn an_exporter_is_known_by_address_domain_and_version() {
    let mut listener = Listener::new();
    let messages = [
        ipfix(START, 0, 2, &[told(256)]),
        netflow9((9000, START), 0, 1, &[set(0, &template(256, &FIELDS))]),
        netflow5((9000, START), 0, &[1]),
        ipfix(START, 0, 1, &[]),
    ];
    for message in &messages {
        listener.take(a(), message);
    }
    listener.take(from("[2001:db8::1]:5"), &messages[0]);
    let all = listener.exporters.health();
    let ids: Vec<_> = all.iter().map(|health| (health.domain, health.version, health.port)).collect();
    assert_eq!(ids, [(1, 9, 40_000), (1, 10, 40_000), (2, 10, 40_000), (0x0102, 5, 40_000), (2, 10, 5)]);
    assert_eq!(all[4].address, Some(from("[2001:db8::1]:5").address.ip()));
    let totals = listener.exporters.totals();
    assert_eq!((totals.addresses, totals.sessions, totals.messages), (2, 5, 5));
}

#[test]
fn times_and_octets_are_of_all_messages() {
    let mut listener = Listener::new();
    let message = ipfix(START - 3, 0, 1, &[told(256), flows(256, &[1])]);
    listener.take(a(), &message);
    listener.pass(Duration::from_millis(1500));
    listener.take(from("192.0.2.7:50000"), &message);
    let health = listener.health();
    let start_ms = u64::from(START) * 1000;
    assert_eq!((health.first_seen_ms, health.last_seen_ms), (start_ms, start_ms + 1500));
    assert_eq!((health.clock_skew_ms, health.port), (-4500, 50_000));
    assert_eq!((health.messages, health.octets), (2, 2 * message.len() as u64));
}

#[test]
fn messages_of_nobody_are_counted_and_make_no_exporter() {
    let mut listener = Listener::new();
    for message in [&[][..], &[0], &[0, 5, 0, 1], &[0, 1, 2, 3], &[0xff; 100]] {
        listener.take(a(), message);
    }
    let totals = listener.exporters.totals();
    assert_eq!((totals.messages, totals.octets, totals.addresses), (5, 109, 0));
    let faults: Vec<_> = totals.faults.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    assert_eq!(faults, [("shortHeader", 3), ("unsupportedVersion", 2)]);
}

#[test]
fn broken_messages_are_counted_by_what_is_wrong_and_harm_no_others() {
    let mut listener = Listener::new();
    let good = ipfix(START, 0, 1, &[told(256), flows(256, &[1, 2])]);
    assert_eq!(listener.take(a(), &good), [1, 2]);
    assert_eq!(listener.take(a(), &ipfix(START, 2, 1, &[flows(256, &[3])])[..30]), NONE, "cut short");
    let mut lies = ipfix(START, 3, 1, &[flows(256, &[4]), flows(256, &[5])]);
    lies[39] = 0xff;
    assert_eq!(listener.take(a(), &lies), NONE, "RFC 7011 section 9");
    let odd = [flows(256, &[6, 7])[..34].to_vec()].concat();
    let mut odd = ipfix(START, 5, 1, &[set(256, &odd[4..])]);
    odd.extend([9; 5]);
    assert_eq!(listener.take(a(), &odd), [6]);
    assert_eq!(listener.take(a(), &ipfix(START, 7, 1, &[set(2, &words([255, 1, 8, 4]))])), NONE);
    assert_eq!(listener.take(a(), &ipfix(START, 7, 1, &[flows(256, &[8])])), [8]);
    let health = listener.health();
    let faults: Vec<_> = health.faults.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    let expected =
        [("badSetLength", 1), ("badTemplate", 1), ("shortRecord", 1), ("trailingOctets", 1), ("truncatedMessage", 1)];
    assert_eq!(faults, expected);
    assert_eq!(health.missing, 3, "the records of the two messages that were not read");
}

#[test]
fn sets_of_netflow_v9_before_a_broken_one_are_read() {
    let mut listener = Listener::new();
    let mut message =
        netflow9((9000, START), 1, 1, &[set(0, &template(256, &FIELDS)), flows(256, &[1]), flows(256, &[2])]);
    message.truncate(message.len() - 1);
    assert_eq!(listener.take(a(), &message), [1]);
    assert_eq!(listener.take(a(), &netflow9((9000, START), 2, 1, &[flows(256, &[3])])), [3]);
    assert_eq!((listener.health().missing, listener.health().faults.get("badSetLength")), (0, Some(&1)));
}

#[test]
fn a_message_that_is_padded_is_read_and_counted() {
    for padding in [&[0; 3][..], &[1, 2, 3], &[0; 8]] {
        let mut listener = Listener::new();
        let padded = [flows(256, &[1, 2]), padding.to_vec()];
        assert_eq!(listener.take(a(), &ipfix(START, 0, 1, &[&[told(256)][..], &padded].concat())), [1, 2]);
        assert_eq!(listener.take(a(), &ipfix(START, 2, 1, &padded)), [1, 2]);
        let told = set(0, &template(256, &FIELDS));
        assert_eq!(listener.take(a(), &netflow9((9000, START), 1, 1, &[&[told][..], &padded].concat())), [1, 2]);
        let all = listener.exporters.health();
        let faults: Vec<_> = all.iter().flat_map(|health| &health.faults).collect();
        assert_eq!(faults, [(&"trailingOctets".to_owned(), &1), (&"trailingOctets".to_owned(), &2)], "{padding:?}");
        assert!(all.iter().all(|health| (health.missing, health.reordered) == (0, 0)));
    }
}

#[test]
fn options_teach_names_and_rates_to_all_sessions_of_a_domain() {
    let mut listener = Listener::new();
    let options = set(3, &words([300, 2, 1, 10, 4, 82, 8]));
    let name = set(300, &[&[0, 0, 0, 3][..], b"uplink-1"].concat());
    listener.take(a(), &ipfix(START, 0, 1, &[options, name]));
    assert_eq!((listener.health().interface_names, listener.health().options_records), (1, 1));
    let fields = set(2, &template(256, &[(1, 4), (10, 4)]));
    let record = set(256, &[0, 0, 0, 9, 0, 0, 0, 3]);
    listener.take(from("192.0.2.7:9"), &ipfix(START, 0, 1, &[fields, record]));
    let (received, _) = listener.out.beyond.get(0).expect("it says something beyond");
    assert_eq!(received.ingress_name.as_deref(), Some("uplink-1"));
}

#[test]
fn what_is_known_can_be_sent_and_read_back() {
    let mut listener = Listener::new();
    listener.take(a(), &netflow5((9000, START), 0, &[1]));
    listener.take(a(), &[0xff; 9]);
    let (health, totals) = (listener.health(), listener.exporters.totals());
    let json = serde_json::to_string(&(&health, &totals)).expect("it can be written");
    assert!(json.contains(r#""firstSeenMs":1700000000000,"#) && json.contains(r#""unsupportedVersion":1"#), "{json}");
    let read: (ExporterHealth, ListenerTotals) = serde_json::from_str(&json).expect("it can be read");
    assert_eq!(read, (health, totals));
}
