//! Records for the encoders, each different from the others, and always the same ones.

use std::net::{Ipv4Addr, Ipv6Addr};

use flowprobe::record::{EndReason, FlowRecord, Role, SamplingRate, TCP};
use flowprobe_ebpf::flow::Extremes;
use flowprobe_ebpf::{Address, FlowKey, Tunnel};

use crate::common::Family;

/// 2023-11-14, microseconds since 1970 UTC.
pub(crate) const BEGIN_US: u64 = 1_700_000_000_000_000;

/// `count` records of flows; of biflows twice as many, since each is two.
pub(crate) fn records(count: usize, family: Family, biflow: bool) -> Vec<FlowRecord> {
    let mut random = fastrand::Rng::with_seed(1);
    let mut all = Vec::new();
    for _ in 0..count {
        let flow = flow(&mut random, family);
        if biflow {
            let answer = answer(&mut random, &flow);
            all.extend([FlowRecord { role: Role::Forward, ..flow }, answer]);
        } else {
            all.push(flow);
        }
    }
    all
}

fn flow(random: &mut fastrand::Rng, family: Family) -> FlowRecord {
    let packets = random.u64(1..5_000);
    let octets = packets * random.u64(52..1_500);
    let start_us = BEGIN_US + random.u64(..60_000_000);
    let mac = |random: &mut fastrand::Rng| [2, 0, random.u8(..), random.u8(..), random.u8(..), random.u8(..)];
    FlowRecord {
        key: FlowKey {
            source: address(random, family),
            destination: address(random, family),
            ifindex: random.u32(1..8),
            source_port: random.u16(1024..),
            destination_port: random.u16(..),
            vlan: random.u16(..4095),
            protocol: TCP,
            ip_version: if family == Family::Ipv6 { 6 } else { 4 },
            ..FlowKey::default()
        },
        tunnel: Tunnel::NONE,
        packets,
        octets,
        layer2_octets: octets + packets * 14,
        start_us,
        end_us: start_us + random.u64(..60_000_000),
        extremes: Extremes::of(random.u16(40..1500), random.u8(1..)),
        tcp_flags: random.u16(..512),
        fragmented: false,
        ethertype: if family == Family::Ipv6 { 0x86dd } else { 0x0800 },
        tos: random.u8(..),
        mpls_top_label: 0,
        source_as: 0,
        destination_as: 0,
        source_mac: mac(random),
        destination_mac: mac(random),
        route: None,
        sampling: SamplingRate::All,
        end_reason: EndReason::IdleTimeout,
        role: Role::Single,
    }
}

fn answer(random: &mut fastrand::Rng, flow: &FlowRecord) -> FlowRecord {
    let packets = random.u64(1..5_000);
    FlowRecord {
        key: FlowKey {
            source: flow.key.destination,
            destination: flow.key.source,
            source_port: flow.key.destination_port,
            destination_port: flow.key.source_port,
            ..flow.key
        },
        packets,
        octets: packets * 100,
        layer2_octets: packets * 114,
        start_us: flow.start_us + 1_000,
        source_mac: flow.destination_mac,
        destination_mac: flow.source_mac,
        role: Role::Reverse,
        ..*flow
    }
}

fn address(random: &mut fastrand::Rng, family: Family) -> Address {
    match family {
        Family::Ipv4 => Ipv4Addr::from_bits(random.u32(..)).into(),
        Family::Ipv6 => Ipv6Addr::from_bits(random.u128(..)).into(),
    }
}
