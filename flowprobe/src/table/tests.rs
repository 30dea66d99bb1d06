//! Timeouts, end reasons, the memory bound and the accounting of the table, on a clock that the tests hold.

use flowprobe_ebpf::flow::{Extremes, with_route};
use flowprobe_ebpf::{Address, FlowKey, Route, Tunnel};

use super::*;
use crate::record::{Role, TCP, TCP_RST, conversations};

mod biflow;
mod partners;
mod random;

const SECOND: u64 = 1_000_000_000;
const FIN: u32 = 0x11;
const SYN: u32 = 0x02;
const ACK: u32 = 0x10;

fn config() -> TableConfig {
    TableConfig {
        idle_timeout: Duration::from_secs(15),
        active_timeout: Duration::from_secs(60),
        max_flows: NonZeroU32::new(4).expect("not zero"),
        ..TableConfig::default()
    }
}

fn offset() -> WallOffset {
    WallOffset::between(Duration::from_secs(1_000), 0)
}

fn key(port: u16) -> FlowKey {
    FlowKey {
        source: Address::from(std::net::Ipv4Addr::new(10, 0, 0, 1)),
        destination: Address::from(std::net::Ipv4Addr::new(10, 0, 0, 2)),
        ifindex: 3,
        source_port: port,
        destination_port: 443,
        protocol: TCP,
        ip_version: 4,
        ..FlowKey::default()
    }
}

/// One packet of 100 octets (114 at layer 2) at each of the given seconds.
fn delta(port: u16, first: u64, last: u64, facts: u32) -> FlowDelta {
    let packets = if first == last { 1 } else { 2 };
    let value = FlowValue {
        packets,
        octets: packets * 100,
        first_ns: first * SECOND,
        last_ns: last * SECOND,
        extremes: Extremes::of(100, 64).pack(),
        facts,
        ..FlowValue::default()
    };
    FlowDelta { key: key(port), tunnel: Tunnel::NONE, value: value.with_layer2_octets(packets * 114) }
}

struct Lab {
    table: Table,
    out: Vec<FlowRecord>,
    sent: Counter,
}

impl Lab {
    fn new() -> Self {
        Self::with(config())
    }

    fn with(config: TableConfig) -> Self {
        Self { table: Table::new(config), out: Vec::new(), sent: Counter::default() }
    }

    fn merge(&mut self, delta: FlowDelta) -> &mut Self {
        self.sent.add(delta.value.packets, delta.value.layer2_octets());
        self.table.merge(&delta, offset(), &mut self.out);
        self.check();
        self
    }

    fn expire(&mut self, second: u64) -> &mut Self {
        self.table.expire(second * SECOND, offset(), &mut self.out);
        self.check();
        self
    }

    fn flush(&mut self) -> &mut Self {
        self.table.flush(EndReason::ForcedEnd, offset(), &mut self.out);
        self.check();
        self
    }

    /// What went in is held or has left, in packets and octets, after every step.
    fn check(&self) {
        let (mut exported, mut all) = (Counter::default(), Counter::default());
        for totals in self.table.totals.values() {
            exported += totals.exported;
            all += totals.exported;
            all += totals.held;
        }
        let mut left = Counter::default();
        for record in &self.out {
            left.add(record.packets, record.layer2_octets);
        }
        assert_eq!(left, exported);
        assert_eq!(all, self.sent);
        self.check_partners();
        self.check_records();
    }

    /// Whoever has a partner is its partner's partner, and both are open.
    fn check_partners(&self) {
        let (table, mut apart) = (&self.table, 0);
        for &slot in &table.index {
            let entry = table.entry(slot);
            apart += u32::from(entry.is_apart());
            if let Some(partner) = entry.partner() {
                let other = table.entry(partner);
                assert_eq!(other.partner(), Some(slot));
                assert!(partner != slot && table.index.iter().any(|&open| open == partner));
                let places =
                    [table.hashes.usual(&entry.key, &table.tunnels), table.hashes.opposite(&other.key, &table.tunnels)];
                assert_eq!(places[0], places[1]);
            }
        }
        assert_eq!(table.apart, apart);
        let listed = table.fresh.len() + table.open.len() + table.closing.len();
        assert_eq!(listed as usize, table.len());
    }

    /// A forward half is followed by its reverse half, which has the same end, and is one of nothing else.
    fn check_records(&self) {
        for (record, reverse) in conversations(&self.out) {
            assert!(record.role == if reverse.is_some() { Role::Forward } else { Role::Single });
            let Some(reverse) = reverse else {
                assert!(record.packets > 0);
                continue;
            };
            assert_eq!((record.key.source, record.key.destination), (reverse.key.destination, reverse.key.source));
            assert_eq!((record.key.protocol, record.end_reason), (reverse.key.protocol, reverse.end_reason));
            assert!(record.packets + reverse.packets > 0);
            for (half, other) in [(record, reverse), (reverse, record)] {
                if half.packets == 0 {
                    assert_eq!((half.octets, half.layer2_octets, half.tcp_flags), (0, 0, 0));
                    assert_eq!((half.start_us, half.end_us), (other.start_us, other.end_us));
                }
            }
        }
    }

    fn reasons(&self) -> Vec<(u16, EndReason, u64)> {
        self.out.iter().map(|record| (record.key.source_port, record.end_reason, record.packets)).collect()
    }
}

#[test]
fn an_idle_flow_leaves_when_its_time_has_come_and_not_before() {
    let mut lab = Lab::new();
    lab.merge(delta(1, 1, 2, ACK)).expire(16);
    assert!(lab.out.is_empty());
    lab.expire(17);
    assert_eq!(lab.reasons(), [(1, EndReason::IdleTimeout, 2)]);
    assert_eq!((lab.out[0].start_us, lab.out[0].end_us), (1_001_000_000, 1_002_000_000));
    assert!(lab.table.is_empty());
}

#[test]
fn a_long_flow_is_reported_at_the_active_timeout_and_goes_on_from_zero() {
    let mut lab = Lab::new();
    for second in (0..=60).step_by(10) {
        lab.merge(delta(1, second, second, ACK)).expire(second);
    }
    assert_eq!(lab.reasons(), [(1, EndReason::ActiveTimeout, 7)]);
    assert_eq!(lab.table.len(), 1);
    lab.merge(delta(1, 61, 62, ACK)).expire(77);
    assert_eq!(lab.reasons()[1], (1, EndReason::IdleTimeout, 2));
    assert_eq!(lab.out[1].start_us, 1_061_000_000);
}

#[test]
fn a_flow_reported_at_its_end_leaves_no_empty_record() {
    let mut lab = Lab::new();
    lab.merge(delta(1, 0, 1, ACK)).merge(delta(1, 60, 60, ACK)).expire(80).flush();
    assert_eq!(lab.reasons(), [(1, EndReason::ActiveTimeout, 3)]);
    assert!(lab.table.is_empty());
}

#[test]
fn fin_and_rst_end_a_flow_after_the_last_acknowledgment() {
    let mut lab = Lab::new();
    lab.merge(delta(1, 0, 1, SYN)).merge(delta(1, 2, 2, FIN)).merge(delta(1, 3, 3, ACK)).expire(4);
    assert!(lab.out.is_empty());
    lab.merge(delta(2, 4, 4, TCP_RST)).expire(5);
    assert_eq!(lab.reasons(), [(1, EndReason::EndOfFlow, 4)]);
    assert_eq!(lab.out[0].tcp_flags, 0x13);
    lab.expire(6);
    assert_eq!(lab.reasons()[1], (2, EndReason::EndOfFlow, 1));
}

#[test]
fn a_new_connection_on_the_same_ports_is_a_new_flow() {
    let mut lab = Lab::new();
    lab.merge(delta(1, 0, 1, SYN | FIN)).merge(delta(1, 2, 2, SYN));
    assert_eq!(lab.reasons(), [(1, EndReason::EndOfFlow, 2)]);
    assert_eq!(lab.table.len(), 1);
}

#[test]
fn a_full_table_lets_the_flow_go_that_is_idle_longest() {
    let mut lab = Lab::new();
    for port in 1..=4 {
        lab.merge(delta(port, u64::from(port), u64::from(port), ACK));
    }
    lab.merge(delta(1, 5, 5, ACK)).merge(delta(9, 6, 6, ACK));
    assert_eq!(lab.reasons(), [(2, EndReason::LackOfResources, 1)]);
    assert_eq!(lab.table.len(), 4);
}

#[test]
fn shutdown_lets_everything_go_once() {
    let mut lab = Lab::new();
    lab.merge(delta(1, 0, 1, ACK)).merge(delta(2, 0, 1, FIN)).flush();
    assert_eq!(lab.reasons(), [(1, EndReason::ForcedEnd, 2), (2, EndReason::EndOfFlow, 2)]);
    lab.flush();
    assert_eq!(lab.out.len(), 2);
}

#[test]
fn slots_are_used_again() {
    let mut lab = Lab::new();
    for round in 0..100 {
        lab.merge(delta(round, u64::from(round) * 20, u64::from(round) * 20, ACK)).expire(u64::from(round) * 20 + 15);
    }
    assert_eq!(lab.out.len(), 100);
    assert_eq!(lab.table.slab.len(), 1);
}

#[test]
fn an_open_flow_costs_at_most_200_octets() {
    // Index: a 4-octet slot number and a control octet, at a load between 7/16 and 7/8.
    assert!(size_of::<Entry>() + 5 * 16 / 7 <= 200, "{}", size_of::<Entry>());
}

#[test]
fn one_flow_in_two_tunnels_is_two_flows() {
    let mut lab = Lab::new();
    let in_tunnel = |id| FlowDelta { tunnel: Tunnel { kind: 1, id, ..Tunnel::NONE }, ..delta(1, 0, 0, ACK) };
    lab.merge(in_tunnel(7)).merge(in_tunnel(8)).merge(delta(1, 0, 0, ACK)).merge(in_tunnel(7));
    assert_eq!(lab.table.len(), 3);
    lab.expire(100);
    let mut found: Vec<_> = lab.out.iter().map(|record| (record.tunnel.id, record.packets)).collect();
    found.sort_unstable();
    assert_eq!(found, [(0, 1), (7, 2), (8, 1)]);
}

#[test]
fn a_record_has_the_latest_route_and_no_flags_of_it() {
    let mut lab = Lab::new();
    let by = |ifindex| Route { ifindex, ip_version: 4, ..Route::default() };
    lab.table.learn_routes(&[(1, by(11)), (2, by(12))]);
    lab.merge(delta(1, 0, 0, with_route(ACK, 1))).merge(delta(1, 1, 1, with_route(SYN, 2)));
    // A program that found none does not undo what is known.
    lab.merge(delta(1, 2, 2, ACK)).expire(100);
    assert_eq!((lab.out[0].route, lab.out[0].tcp_flags), (Some(by(12)), 0x12));
}

/// The wall clock is set in the middle of a flow: what was reported before keeps its times, what comes after has those of the
/// new clock, and every record is as long as it was.
#[test]
fn a_step_of_the_wall_clock_stretches_no_record() {
    const HOUR: i64 = 3_600;
    for step in [HOUR, -HOUR] {
        let before = WallOffset::between(Duration::from_secs(1_000_000), 0);
        let after = WallOffset::between(Duration::from_secs(1_000_000_u64.saturating_add_signed(step)), 0);
        let (mut table, mut out) = (Table::new(config()), Vec::new());
        table.merge(&delta(1, 0, 10, ACK), before, &mut out);
        table.merge(&delta(1, 20, 61, ACK), before, &mut out);
        table.merge(&delta(2, 0, 5, ACK), before, &mut out);
        table.merge(&delta(1, 65, 66, ACK), after, &mut out);
        table.merge(&delta(2, 7, 8, ACK), after, &mut out);
        table.flush(EndReason::ForcedEnd, after, &mut out);
        let times = |record: &FlowRecord| {
            (record.key.source_port, record.start_us / 1_000_000, record.end_us - record.start_us)
        };
        let shifted = |second: u64| (1_000_000 + second).saturating_add_signed(step);
        let expected = [(1, 1_000_000, 61_000_000), (1, shifted(65), 1_000_000), (2, shifted(0), 8_000_000)];
        assert_eq!(out.iter().map(times).collect::<Vec<_>>(), expected);
    }
}
