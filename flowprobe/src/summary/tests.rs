//! The summary as it looks, at 80 columns.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use flowprobe_ebpf::{Address, Counter, Direction, FlowKey, FlowValue, InterfaceStats, Tunnel};

use super::*;
use crate::accounting::Accounting;
use crate::clock::WallOffset;
use crate::losses::{Lost, Noted};
use crate::record::FlowDelta;

pub(crate) fn delta(
    source: impl Into<Address>,
    version: u8,
    protocol: u8,
    ports: (u16, u16),
    octets: u64,
) -> FlowDelta {
    let key = FlowKey {
        source: source.into(),
        destination: Address::from(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff)),
        protocol,
        ip_version: version,
        source_port: ports.0,
        destination_port: ports.1,
        ..FlowKey::default()
    };
    let value = FlowValue { packets: octets / 100, octets, ..FlowValue::default() };
    FlowDelta { key, tunnel: Tunnel::NONE, value }
}

pub(crate) fn tick(now_ns: u64, packets: u64) -> Tick {
    let kernel = InterfaceStats { seen: Counter { packets, octets: packets * 114 }, ..InterfaceStats::default() };
    let accounting = Accounting {
        interface: "veth0".into(),
        ifindex: 7,
        direction: Direction::Ingress,
        kernel,
        exported: Counter::default(),
        held: kernel.seen,
        overflow_destinations: Vec::new(),
    };
    Tick {
        now_ns,
        offset: WallOffset::measure(),
        accounting: vec![accounting],
        ignored: Noted::default(),
        open_flows: 3,
        opened_flows: 3,
        drain: Duration::from_millis(1),
        drains: Default::default(),
        sinks: vec![crate::sink::SinkState {
            name: "udp://192.0.2.1:4739".into(),
            lost: Lost { records: 12, ..Lost::default() },
            queue: Default::default(),
            collector: None,
        }],
        listening: Default::default(),
        selection: "".into(),
        last: false,
    }
}

fn draw(summary: &mut Summary, deltas: &[FlowDelta], tick: &Tick) -> String {
    let mut out = Vec::new();
    summary.write(&Event::Deltas(deltas.into()), &mut out).expect("memory takes all");
    summary.write(&Event::Tick(Arc::new(tick.clone())), &mut out).expect("memory takes all");
    String::from_utf8(out).expect("text")
}

fn summary() -> Summary {
    Summary::new(Screen::elsewhere(), "veth0 (native XDP)".to_owned())
}

#[test]
fn fits_80_columns_and_says_what_matters() {
    let long = Ipv6Addr::new(0x2001, 0xdb8, 0xaaaa, 0xaaaa, 0xaaaa, 0xaaaa, 0xaaaa, 0xaaaa);
    let deltas = [
        delta(Ipv4Addr::new(10, 0, 0, 1), 4, 6, (51000, 443), 5_000_000),
        delta(long, 6, 17, (65535, 65534), 9_000),
        delta(Ipv4Addr::new(10, 0, 0, 9), 4, 1, (0, 8 * 256), 700),
    ];
    let mut summary = summary();
    draw(&mut summary, &[], &tick(1_000_000_000, 0));
    let text = draw(&mut summary, &deltas, &tick(3_000_000_000, 50_097));
    for line in text.lines() {
        assert!(line.chars().count() <= WIDTH, "{line}");
    }
    for expected in [
        "up 2 s · veth0 (native XDP)",
        "now 25,048 packets/s, 22.8 Mbit/s · total 50,097 packets, 5.71 MB · 3 open flows",
        "veth0: seen 50,097 = exported 0 + held 50,097 + overflow 0 + unparsed 0",
        "udp://192.0.2.1:4739: 12 records lost",
        "tcp/443",
        "udp/65534",
        "icmp 10.0.0.9 → ",
        "type 8 code 0",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
    let [first, second] = ["10.0.0.1 ", "2001:db8:aaaa"].map(|source| text.find(source).expect("a row"));
    assert!(first < second, "most octets first\n{text}");
}

#[test]
fn what_is_older_than_the_window_is_forgotten() {
    let mut summary = summary();
    draw(&mut summary, &[delta(Ipv4Addr::new(10, 0, 0, 1), 4, 6, (1, 2), 100)], &tick(1_000_000_000, 1));
    assert!(draw(&mut summary, &[], &tick(10_000_000_000, 1)).contains("10.0.0.1"));
    assert!(!draw(&mut summary, &[], &tick(11_000_000_000, 1)).contains("10.0.0.1"));
}

#[test]
fn the_last_one_shows_no_rate() {
    let mut summary = summary();
    draw(&mut summary, &[], &tick(1_000_000_000, 10));
    let text = draw(&mut summary, &[], &Tick { last: true, ..tick(1_001_000_000, 12) });
    assert!(text.contains("\ntotal 12 packets, 1.36 kB\n") && !text.contains("now "), "{text}");
}

#[test]
fn who_only_listens_sees_what_was_received() {
    let listening = Listening::example();
    let tick = Tick { accounting: Vec::new(), listening, ..tick(1_000_000_000, 0) };
    let text = draw(&mut summary(), &[], &tick);
    let expected = "udp://0.0.0.0:2055: 1,234 records of 1 exporter · 5 missing · 9 dropped";
    assert!(text.contains(expected) && !text.contains("now "), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
}
