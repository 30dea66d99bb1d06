//! Where a flow stands in the index.
//!
//! Without biflows the hash is that of the whole key. With them it is that of the conversation: the same for both directions,
//! whatever the interface and the VLAN, so that a flow meets its answers where it stands itself. Whoever can send any VLAN tags
//! could make a chain of such flows as long as they like; one that finds many there stands apart, by its whole key, and is not
//! joined.

use std::hash::BuildHasher;

use flowprobe_ebpf::{Address, Tunnel, TunnelKind};
use hashbrown::DefaultHashBuilder;

use super::entry::{Entry, Key};
use super::tunnels::TunnelNumbers;
use crate::record::has_ports;

/// Flows in one place of the index: sightings of one conversation on several interfaces, in several VLANs, either way.
pub(super) const MOST_SIGHTINGS: usize = 64;

/// How places are found.
pub(super) struct Hashes {
    state: DefaultHashBuilder,
    /// Whether conversations meet.
    pub(super) biflow: bool,
}

impl Hashes {
    pub(super) fn new(biflow: bool) -> Self {
        Self { state: DefaultHashBuilder::default(), biflow }
    }

    /// Of a flow's usual place.
    pub(super) fn usual(&self, key: &Key, tunnels: &TunnelNumbers) -> u64 {
        if self.biflow { self.conversation(key, tunnels) } else { self.apart(key) }
    }

    /// Of the place of a flow that stands apart.
    pub(super) fn apart(&self, key: &Key) -> u64 {
        self.state.hash_one(key)
    }

    /// Of the place of an open flow.
    pub(super) fn of(&self, entry: &Entry, tunnels: &TunnelNumbers) -> u64 {
        if entry.is_apart() { self.apart(&entry.key) } else { self.usual(&entry.key, tunnels) }
    }

    fn conversation(&self, key: &Key, tunnels: &TunnelNumbers) -> u64 {
        let flow = &key.flow;
        // Type and code of ICMP stay out, because an answer's differ.
        let ports = if has_ports(flow.protocol) { (flow.source_port, flow.destination_port) } else { (0, 0) };
        let ends = ordered((flow.source, ports.0), (flow.destination, ports.1));
        let ends = (ends, flow.protocol);
        let tunnel = tunnels.tunnel(key.tunnel);
        if tunnel.is_some() { self.state.hash_one((ends, both_ways(&tunnel))) } else { self.state.hash_one(ends) }
    }
}

/// What is the same of a tunnel both ways.
fn both_ways(tunnel: &Tunnel) -> (u8, u32, [Address; 2]) {
    let (one, other) = ordered(tunnel.source, tunnel.destination);
    (tunnel.kind, number_both_ways(tunnel), [one, other])
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

fn ordered<T: Ord>(one: T, other: T) -> (T, T) {
    if one <= other { (one, other) } else { (other, one) }
}
