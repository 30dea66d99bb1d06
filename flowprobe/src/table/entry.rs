//! An open flow: what the table keeps of it, and how what is counted later joins what was counted before.

use std::hash::{Hash, Hasher};

use flowprobe_ebpf::flow::{
    Extremes, FACT_ESTABLISHED, FACT_FRAGMENT, FACT_INITIATOR, FACT_TCP_FLAGS, route_of, with_route,
};
use flowprobe_ebpf::{Counter, FlowKey, FlowValue};

use super::lists::{Links, NONE};
use super::tunnels::TunnelNumber;
use crate::record::{Role, TCP, TCP_FIN, TCP_RST};

/// In an open flow's facts: the first and the second half of a biflow, once records have said so, and of a flow that was reported
/// alone what it is to be when its answers come. Only the table knows these two.
pub(super) const FACT_FORWARD: u32 = 1 << 14;
pub(super) const FACT_REVERSE: u32 = 1 << 13;

/// What stays true of a flow when its counts have been reported.
const LASTING_FACTS: u32 = FACT_ESTABLISHED | FACT_INITIATOR | FACT_FORWARD | FACT_REVERSE;

const _: () = {
    let others = FACT_TCP_FLAGS | FACT_FRAGMENT | FACT_ESTABLISHED | FACT_INITIATOR;
    assert!(others & (FACT_FORWARD | FACT_REVERSE) == 0);
    assert!(route_of(LASTING_FACTS) == 0);
};

/// In [`Entry::partner`]: has none and is to have none, see [`super::hashes`]. No table is so large that it has this slot.
const APART: u32 = NONE - 1;

/// What makes a flow.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) flow: FlowKey,
    pub(super) tunnel: TunnelNumber,
}

/// As octets in a row, which is less work than field by field; equal keys have equal octets, since their padding is zero.
impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(bytemuck::bytes_of(&self.flow));
        self.tunnel.hash(state);
    }
}

/// An open flow.
pub(super) struct Entry {
    pub(super) key: Key,
    pub(super) value: FlowValue,
    pub(super) links: Links,
    /// The slot of the flow that answers this one, [`NONE`] or [`APART`].
    partner: u32,
}

const _: () = assert!(size_of::<Entry>() == 136);

impl Entry {
    /// A flow that was not open before. One that is `apart` never has a partner.
    pub(super) fn new(key: Key, mut value: FlowValue, apart: bool) -> Self {
        if value.packets > 1 {
            value.facts |= FACT_ESTABLISHED;
        }
        Self { key, value, links: Links::NONE, partner: if apart { APART } else { NONE } }
    }

    pub(super) fn is_closing(&self) -> bool {
        self.key.flow.protocol == TCP && self.value.facts & (TCP_FIN | TCP_RST) != 0
    }

    pub(super) fn is_established(&self) -> bool {
        self.value.facts & FACT_ESTABLISHED != 0
    }

    pub(super) fn counter(&self) -> Counter {
        Counter { packets: self.value.packets, octets: self.value.layer2_octets() }
    }

    pub(super) fn partner(&self) -> Option<u32> {
        (self.partner < APART).then_some(self.partner)
    }

    pub(super) fn is_apart(&self) -> bool {
        self.partner == APART
    }

    /// Of an entry that is not apart.
    pub(super) fn set_partner(&mut self, partner: Option<u32>) {
        self.partner = partner.unwrap_or(NONE);
    }

    /// The half of a biflow that records have called this flow, or would have.
    pub(super) fn role(&self) -> Role {
        match self.value.facts & (FACT_FORWARD | FACT_REVERSE) {
            FACT_FORWARD => Role::Forward,
            FACT_REVERSE => Role::Reverse,
            _ => Role::Single,
        }
    }

    pub(super) fn set_role(&mut self, role: Role) {
        let fact = match role {
            Role::Single => 0,
            Role::Forward => FACT_FORWARD,
            Role::Reverse => FACT_REVERSE,
        };
        self.value.facts = self.value.facts & !(FACT_FORWARD | FACT_REVERSE) | fact;
    }

    /// Adds what was counted since.
    pub(super) fn absorb(&mut self, more: &FlowValue) {
        absorb(&mut self.value, more);
        self.value.facts |= FACT_ESTABLISHED;
    }

    /// Goes on from zero.
    pub(super) fn begin_anew(&mut self) {
        let value = &mut self.value;
        (value.packets, value.octets, value.layer2_excess) = (0, 0, 0);
        value.facts = with_route(value.facts & LASTING_FACTS, route_of(value.facts));
    }
}

/// Adds `more` to `value`. A value that was reported at its active timeout begins anew.
fn absorb(value: &mut FlowValue, more: &FlowValue) {
    if value.packets == 0 {
        let first_of_flow = (value.tos, value.mpls_top_label, value.source_mac, value.destination_mac);
        let facts = later_facts(value.facts, more.facts);
        *value = *more;
        value.facts = facts;
        (value.tos, value.mpls_top_label, value.source_mac, value.destination_mac) = first_of_flow;
        return;
    }
    let layer2_octets = value.layer2_octets() + more.layer2_octets();
    value.packets += more.packets;
    value.octets += more.octets;
    *value = value.with_layer2_octets(layer2_octets);
    value.first_ns = value.first_ns.min(more.first_ns);
    value.last_ns = value.last_ns.max(more.last_ns);
    value.extremes = Extremes::unpack(value.extremes).union(Extremes::unpack(more.extremes)).pack();
    value.facts = later_facts(value.facts, more.facts);
}

/// Flags of both, and the later route if that is known.
const fn later_facts(facts: u32, more: u32) -> u32 {
    let route = if route_of(more) == 0 { route_of(facts) } else { route_of(more) };
    with_route(facts | more, route)
}
