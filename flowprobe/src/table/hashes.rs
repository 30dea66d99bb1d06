//! Where a flow stands in the index.
//!
//! Without biflows the hash is that of the whole key. With them it is that of the ends, whatever the interface and the VLAN: a flow
//! that answers is found by the hash of the ends the other way round. Whoever can send any VLAN tags could make a chain of flows
//! between the same ends as long as they like; one that finds many there stands apart, by its whole key, and is not joined.

use std::hash::BuildHasher;

use flowprobe_ebpf::{FlowKey, Tunnel, TunnelKind};
use hashbrown::DefaultHashBuilder;

use super::entry::{Entry, Key};
use super::tunnels::TunnelNumbers;
use crate::record::has_ports;

/// Flows in one place of the index: sightings of the same packets on several interfaces and in several VLANs.
pub(super) const MOST_SIGHTINGS: usize = 64;

/// How places are found.
pub(super) struct Hashes {
    state: DefaultHashBuilder,
    /// Whether flows find those that answer them.
    pub(super) biflow: bool,
}

impl Hashes {
    pub(super) fn new(biflow: bool) -> Self {
        Self { state: DefaultHashBuilder::default(), biflow }
    }

    /// Of a flow's usual place.
    pub(super) fn usual(&self, key: &Key, tunnels: &TunnelNumbers) -> u64 {
        if self.biflow { self.of_ends(&key.flow, &tunnels.tunnel(key.tunnel)) } else { self.apart(key) }
    }

    /// Of the usual place of those that answer the flow.
    pub(super) fn opposite(&self, key: &Key, tunnels: &TunnelNumbers) -> u64 {
        let Key { flow, tunnel } = key;
        let tunnel = tunnels.tunnel(*tunnel);
        let flow = FlowKey {
            source: flow.destination,
            destination: flow.source,
            source_port: flow.destination_port,
            destination_port: flow.source_port,
            ..*flow
        };
        self.of_ends(&flow, &Tunnel { source: tunnel.destination, destination: tunnel.source, ..tunnel })
    }

    /// Of the place of a flow that stands apart.
    pub(super) fn apart(&self, key: &Key) -> u64 {
        self.state.hash_one(key)
    }

    /// Of the place of an open flow.
    pub(super) fn of(&self, entry: &Entry, tunnels: &TunnelNumbers) -> u64 {
        if entry.is_apart() { self.apart(&entry.key) } else { self.usual(&entry.key, tunnels) }
    }

    fn of_ends(&self, flow: &FlowKey, tunnel: &Tunnel) -> u64 {
        // Type and code of ICMP stay out, because an answer's differ.
        let ports = if has_ports(flow.protocol) { (flow.source_port, flow.destination_port) } else { (0, 0) };
        let ends = (flow.source, flow.destination, ports, flow.protocol);
        if tunnel.is_some() {
            let around = (tunnel.source, tunnel.destination, tunnel.kind, number_both_ways(tunnel));
            self.state.hash_one((ends, around))
        } else {
            self.state.hash_one(ends)
        }
    }
}

/// The tunnel's number, except in GTP-U, where each end chooses the one under which it wants to be sent to.
fn number_both_ways(tunnel: &Tunnel) -> u32 {
    if tunnel.kind == TunnelKind::GtpU as u8 { 0 } else { tunnel.id }
}

/// Whether packets that answer those out of `one` come out of `other`.
pub(super) fn are_opposite(one: &Tunnel, other: &Tunnel) -> bool {
    (one.kind, one.ip_version, number_both_ways(one)) == (other.kind, other.ip_version, number_both_ways(other))
        && (one.source, one.destination) == (other.destination, other.source)
}
