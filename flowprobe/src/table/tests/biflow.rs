//! When both directions of a conversation leave, as which records, and which of them is the first.

use flowprobe_ebpf::flow::FACT_INITIATOR;

use super::*;
use crate::record::{ICMP, UDP};

const OPENS: u32 = SYN | FACT_INITIATOR;
const SYN_ACK: u32 = SYN | ACK;

pub(super) fn joining() -> TableConfig {
    TableConfig { biflow: true, ..config() }
}

/// The same packets the other way.
pub(super) fn back(delta: FlowDelta) -> FlowDelta {
    let key = FlowKey {
        source: delta.key.destination,
        destination: delta.key.source,
        source_port: delta.key.destination_port,
        destination_port: delta.key.source_port,
        ..delta.key
    };
    FlowDelta { key, ..delta }
}

/// What a client sends from its port to port 443 of the server.
fn ask(port: u16, first: u64, last: u64, facts: u32) -> FlowDelta {
    delta(port, first, last, facts)
}

/// What it gets from there.
fn answer(port: u16, first: u64, last: u64, facts: u32) -> FlowDelta {
    back(delta(port, first, last, facts))
}

fn lab() -> Lab {
    Lab::with(joining())
}

impl Lab {
    /// Role, source port, packets and end of every record.
    fn told(&self) -> Vec<(Role, u16, u64, EndReason)> {
        let told = |record: &FlowRecord| (record.role, record.key.source_port, record.packets, record.end_reason);
        self.out.iter().map(told).collect()
    }
}

fn pair(client: u16, packets: [u64; 2], end: EndReason) -> [(Role, u16, u64, EndReason); 2] {
    [(Role::Forward, client, packets[0], end), (Role::Reverse, 443, packets[1], end)]
}

#[test]
fn a_connection_is_one_pair_whoever_is_met_first() {
    let client = [ask(9, 0, 1, OPENS | ACK), ask(9, 2, 3, FIN)];
    let server = [answer(9, 0, 1, SYN_ACK), answer(9, 3, 3, FIN)];
    let in_turn = [client[0], server[0], client[1], server[1]];
    let answers_first = [server[0], client[0], server[1], client[1]];
    let one_after_the_other = [server[0], server[1], client[0], client[1]];
    for order in [in_turn, answers_first, one_after_the_other] {
        let mut lab = lab();
        for delta in order {
            lab.merge(delta);
        }
        lab.expire(4);
        assert_eq!(lab.told(), []);
        lab.expire(5);
        assert_eq!(lab.told(), pair(9, [4, 3], EndReason::EndOfFlow));
        assert!(lab.table.is_empty());
    }
}

#[test]
fn a_connection_within_one_tick_is_one_pair() {
    for swapped in [false, true] {
        let mut deltas = [ask(9, 1, 1, OPENS | FIN), answer(9, 1, 1, SYN_ACK | FIN)];
        if swapped {
            deltas.reverse();
        }
        let mut lab = lab();
        lab.merge(deltas[0]).merge(deltas[1]).expire(3);
        assert_eq!(lab.told(), pair(9, [1, 1], EndReason::EndOfFlow));
    }
}

/// Who opened a conversation: the sender of its first packet where nobody says, by port and address where both began at once.
#[test]
fn the_first_half_is_the_side_that_opened() {
    let udp = |delta: FlowDelta| FlowDelta { key: FlowKey { protocol: UDP, ..delta.key }, ..delta };
    let ports = |delta: FlowDelta, source, destination| {
        let key = FlowKey { source_port: source, destination_port: destination, ..delta.key };
        udp(FlowDelta { key, ..delta })
    };
    let at = |second| delta(0, second, second, 0);
    let cases = [
        // SYN, though it comes later and has the smaller port; and SYN with ACK where the other was not seen to begin.
        (ask(9, 5, 5, OPENS), answer(9, 4, 4, SYN_ACK)),
        (ask(9, 5, 5, ACK), answer(9, 4, 4, SYN_ACK)),
        // Both did, or nobody: time.
        (ask(9, 4, 4, OPENS), answer(9, 5, 5, OPENS)),
        (ask(9, 4, 4, ACK), answer(9, 5, 5, ACK)),
        (ports(at(4), 53, 5000), back(ports(at(5), 53, 5000))),
        // The larger port, then the smaller address.
        (ports(at(4), 5000, 53), back(ports(at(4), 5000, 53))),
        (back(ports(at(4), 53, 5000)), ports(at(4), 53, 5000)),
        (ports(at(4), 123, 123), back(ports(at(4), 123, 123))),
    ];
    for (number, (first, second)) in cases.into_iter().enumerate() {
        for order in [[first, second], [second, first]] {
            let mut lab = lab();
            lab.merge(order[0]).merge(order[1]).flush();
            let keys: Vec<_> = lab.out.iter().map(|record| record.key).collect();
            assert_eq!(keys, [first.key, second.key], "case {number}");
        }
    }
}

#[test]
fn an_icmp_request_is_the_first_half() {
    let icmp = |kind: u16, second| {
        let delta = delta(0, second, second, 0);
        FlowDelta { key: FlowKey { protocol: ICMP, destination_port: kind << 8, ..delta.key }, ..delta }
    };
    let reply =
        FlowDelta { key: FlowKey { destination_port: 0, source_port: 0, ..back(icmp(0, 1)).key }, ..icmp(0, 1) };
    let mut lab = lab();
    lab.merge(reply).merge(icmp(8, 2)).expire(20);
    let kinds: Vec<_> = lab.out.iter().map(|record| (record.role, record.key.destination_port >> 8)).collect();
    assert_eq!(kinds, [(Role::Forward, 8), (Role::Reverse, 0)]);
}

#[test]
fn at_the_active_timeout_of_either_both_are_reported_and_go_on_from_zero() {
    let mut lab = lab();
    lab.merge(answer(9, 0, 1, ACK)).merge(ask(9, 5, 6, ACK));
    for second in (10..=60).step_by(10) {
        lab.merge(answer(9, second, second, ACK)).expire(second);
    }
    // The server was first to be seen and stays the first half, though its next record begins later.
    let halves = |packets: [u64; 2], end| [(Role::Forward, 443, packets[0], end), (Role::Reverse, 9, packets[1], end)];
    assert_eq!(lab.told(), halves([8, 2], EndReason::ActiveTimeout));
    lab.out.clear();
    lab.sent = Counter::default();
    lab.table.totals.clear();
    lab.merge(ask(9, 61, 61, ACK)).merge(answer(9, 62, 63, ACK)).expire(78);
    assert_eq!(lab.told(), halves([2, 1], EndReason::IdleTimeout));
    assert!(lab.table.is_empty());
}

#[test]
fn a_half_without_packets_stays_in_the_record_with_the_times_of_the_other() {
    for server_goes_on in [true, false] {
        let mut lab = lab();
        lab.merge(ask(9, 0, 1, OPENS)).merge(answer(9, 0, 1, SYN_ACK));
        let goes_on = if server_goes_on { answer } else { ask };
        for second in (10..=130).step_by(10) {
            lab.merge(goes_on(9, second, second, ACK)).expire(second);
        }
        lab.expire(145);
        let packets = |one, other| if server_goes_on { [other, one] } else { [one, other] };
        let expected =
            [pair(9, packets(8, 2), EndReason::ActiveTimeout), pair(9, packets(7, 0), EndReason::ActiveTimeout)];
        assert_eq!(lab.told(), expected.concat());
        let [.., forward, reverse] = &lab.out[..] else { panic!("two records at least") };
        assert_eq!((forward.start_us, forward.end_us), (1_070_000_000, 1_130_000_000));
        let empty = if server_goes_on { forward } else { reverse };
        assert_eq!((empty.packets, empty.tcp_flags, empty.extremes), (0, 0, Extremes::of(0, 0)));
        // Both were reported in full.
        assert!(lab.table.is_empty());
        lab.out.clear();
        lab.sent = Counter::default();
        lab.table.totals.clear();
        lab.merge(ask(9, 200, 201, OPENS)).merge(answer(9, 200, 201, SYN_ACK));
        lab.merge(goes_on(9, 260, 260, ACK)).merge(goes_on(9, 261, 261, ACK)).flush();
        assert_eq!(lab.told()[2..], pair(9, packets(1, 0), EndReason::ForcedEnd));
    }
}

/// A flow that was reported alone came first, whenever its answers come.
#[test]
fn answers_to_a_flow_that_was_reported_alone_are_the_second_half() {
    let mut lab = lab();
    lab.merge(ask(9, 0, 0, 0)).merge(ask(9, 60, 60, 0));
    lab.merge(answer(9, 61, 61, 0)).merge(ask(9, 62, 62, 0)).flush();
    let single = (Role::Single, 9, 2, EndReason::ActiveTimeout);
    assert_eq!(lab.told(), [&[single][..], &pair(9, [1, 1], EndReason::ForcedEnd)].concat());
    // Unless it has said that it answers.
    let mut lab = self::lab();
    lab.merge(answer(9, 0, 0, SYN_ACK)).merge(answer(9, 60, 60, ACK));
    lab.merge(ask(9, 61, 61, ACK)).merge(answer(9, 62, 62, ACK)).flush();
    let single = (Role::Single, 443, 2, EndReason::ActiveTimeout);
    assert_eq!(lab.told(), [&[single][..], &pair(9, [1, 1], EndReason::ForcedEnd)].concat());
}

#[test]
fn a_half_that_is_idle_waits_for_the_other_and_keeps_nobody_waiting() {
    let mut lab = lab();
    lab.merge(ask(9, 0, 1, OPENS)).merge(ask(1, 2, 2, ACK)).merge(ask(2, 3, 4, ACK));
    for second in (0..=40).step_by(5) {
        lab.merge(answer(9, second, second, ACK)).expire(second);
    }
    let single = |port, packets| (Role::Single, port, packets, EndReason::IdleTimeout);
    assert_eq!(lab.told(), [single(1, 1), single(2, 2)]);
    lab.expire(54);
    assert_eq!(lab.out.len(), 2);
    lab.expire(55);
    assert_eq!(lab.told()[2..], pair(9, [2, 9], EndReason::IdleTimeout));
    assert!(lab.table.is_empty());
}

#[test]
fn tcp_ends_when_both_have_said_goodbye_or_the_other_falls_silent() {
    // Half closed: the server goes on.
    let mut lab = lab();
    lab.merge(ask(9, 0, 1, OPENS | FIN)).merge(answer(9, 0, 1, SYN_ACK));
    for second in 2..=20 {
        lab.merge(answer(9, second, second, ACK)).expire(second);
    }
    assert_eq!(lab.told(), []);
    lab.merge(answer(9, 21, 21, FIN)).expire(22);
    assert_eq!(lab.told(), []);
    lab.expire(23);
    assert_eq!(lab.told(), pair(9, [2, 22], EndReason::EndOfFlow));
    // Reset: the other says nothing more.
    let mut lab = self::lab();
    lab.merge(ask(9, 0, 1, OPENS)).merge(answer(9, 1, 1, TCP_RST)).expire(2);
    assert_eq!(lab.told(), []);
    lab.expire(3);
    assert_eq!(lab.told(), pair(9, [2, 1], EndReason::EndOfFlow));
}

#[test]
fn a_new_connection_ends_both_halves_of_the_one_before() {
    let (client, server) = (ask(9, 3, 3, OPENS), answer(9, 3, 3, SYN_ACK));
    for order in [[client, server], [server, client]] {
        // Both closed; or one of them, by a reset.
        for (asked, answered) in [(FIN, FIN), (TCP_RST, ACK), (ACK, TCP_RST)] {
            let mut lab = lab();
            lab.merge(ask(9, 0, 1, OPENS | asked)).merge(answer(9, 0, 1, SYN_ACK | answered));
            lab.merge(order[0]).merge(order[1]);
            assert_eq!(lab.told(), pair(9, [2, 2], EndReason::EndOfFlow));
            lab.flush();
            assert_eq!(lab.told()[2..], pair(9, [1, 1], EndReason::ForcedEnd));
        }
    }
}

/// A drain brings the answer before the SYN that it answers, which was sent again.
#[test]
fn a_reset_does_not_part_the_packets_before_it() {
    for refused_at in [1, 2] {
        let mut lab = lab();
        lab.merge(ask(9, 0, 0, OPENS)).merge(answer(9, refused_at, refused_at, TCP_RST)).merge(ask(9, 1, 1, OPENS));
        lab.expire(4);
        assert_eq!(lab.told(), pair(9, [2, 1], EndReason::EndOfFlow));
    }
}

#[test]
fn a_connection_does_not_get_the_answers_of_the_one_before() {
    let mut lab = lab();
    // The first SYN was not seen.
    lab.merge(answer(9, 0, 1, FIN)).merge(ask(9, 2, 2, OPENS)).merge(answer(9, 2, 2, SYN_ACK)).flush();
    let single = (Role::Single, 443, 2, EndReason::EndOfFlow);
    assert_eq!(lab.told(), [&[single][..], &pair(9, [1, 1], EndReason::ForcedEnd)].concat());
}

#[test]
fn a_full_table_lets_both_halves_go() {
    let mut lab = lab();
    lab.merge(ask(1, 1, 2, OPENS)).merge(answer(1, 1, 2, SYN_ACK)).merge(ask(2, 3, 4, ACK)).merge(ask(3, 5, 6, ACK));
    lab.merge(ask(4, 7, 8, ACK));
    assert_eq!(lab.told(), pair(1, [2, 2], EndReason::LackOfResources));
    assert_eq!(lab.table.len(), 3);
}

#[test]
fn a_full_table_keeps_the_conversation_of_which_one_half_is_idle() {
    let mut lab = lab();
    // Asked once, and answered ever since.
    lab.merge(ask(1, 1, 1, 0)).merge(answer(1, 1, 2, 0)).merge(ask(2, 3, 4, 0)).merge(ask(3, 3, 3, 0));
    lab.merge(answer(1, 5, 6, 0)).merge(ask(4, 7, 7, 0)).merge(ask(5, 8, 8, 0));
    let single = |port, packets| (Role::Single, port, packets, EndReason::LackOfResources);
    assert_eq!(lab.told(), [single(3, 1), single(2, 2)]);
}

#[test]
fn shutdown_lets_both_halves_go() {
    let mut lab = lab();
    lab.merge(ask(1, 0, 0, 0)).merge(ask(9, 0, 1, 0)).merge(answer(9, 1, 1, 0)).merge(answer(8, 1, 2, FIN)).flush();
    let single = |port, packets, end| (Role::Single, port, packets, end);
    let expected = [
        &[single(1, 1, EndReason::ForcedEnd)][..],
        &pair(9, [2, 1], EndReason::ForcedEnd),
        &[single(443, 2, EndReason::EndOfFlow)],
    ];
    assert_eq!(lab.told(), expected.concat());
    assert!(lab.table.is_empty());
}

/// A half of one packet that is reported is still one of one packet, and comes to the others with its second.
#[test]
fn a_report_leaves_each_half_where_it_belongs() {
    let mut lab = lab();
    let is_known = |lab: &mut Lab, delta| lab.table.merge(&delta, offset(), &mut lab.out);
    let counted = [ask(9, 0, 0, 0), answer(9, 50, 50, 0), ask(9, 60, 60, 0), answer(9, 61, 61, 0)];
    let known = counted.map(|delta| {
        lab.sent.add(delta.value.packets, delta.value.layer2_octets());
        let known = is_known(&mut lab, delta);
        lab.check();
        known
    });
    assert_eq!(known, [false, false, true, true]);
    assert_eq!((lab.table.fresh.len(), lab.table.open.len()), (0, 2));
}
