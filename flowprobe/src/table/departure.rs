//! How flows leave: as which records, and which flow goes when there is no room for another.

use flowprobe_ebpf::flow::{Extremes, FACT_FRAGMENT, route_of};

use super::Table;
use super::entry::{Entry, Key};
use crate::clock::WallOffset;
use crate::record::{EndReason, FlowRecord, Role, tcp_flags};

/// How many flows are looked at for one that may leave, where the first ones wait for their partners.
const MOST_LOOKED_AT: usize = 16;

impl Table {
    /// Turns the flow and its partner into records and takes them out. Where TCP has said that it ends, that is the reason.
    pub(super) fn end(&mut self, slot: u32, reason: EndReason, offset: WallOffset, out: &mut Vec<FlowRecord>) {
        let partner = self.entry(slot).partner();
        let is_closing = self.entry(slot).is_closing() || partner.is_some_and(|other| self.entry(other).is_closing());
        self.tell(slot, if is_closing { EndReason::EndOfFlow } else { reason }, offset, out);
        self.remove(slot);
        if let Some(partner) = partner {
            self.remove(partner);
        }
    }

    /// Turns what the flow and its partner counted into records and lets both go on from zero. The flow itself is on no list
    /// meanwhile.
    pub(super) fn report(&mut self, slot: u32, offset: WallOffset, out: &mut Vec<FlowRecord>) {
        let partner = self.entry(slot).partner();
        self.tell(slot, EndReason::ActiveTimeout, offset, out);
        if let Some(partner) = partner {
            // The flags by which it is on its list begin anew, too.
            self.unlink(partner);
            self.entry_mut(partner).begin_anew();
            self.link(partner);
        } else {
            self.presume_role(slot);
        }
        self.entry_mut(slot).begin_anew();
    }

    /// Appends what the flow and its partner counted. Nothing where neither has counted anything since it was last reported.
    ///
    /// A conversation stays one record, in the same roles, also where one half is without packets; that half then has the times
    /// of the other.
    fn tell(&mut self, slot: u32, reason: EndReason, offset: WallOffset, out: &mut Vec<FlowRecord>) {
        let Some(partner) = self.entry(slot).partner() else {
            if self.entry(slot).value.packets > 0 {
                self.account(slot);
                out.push(self.record(slot, Role::Single, reason, offset));
            }
            return;
        };
        if self.entry(slot).value.packets == 0 && self.entry(partner).value.packets == 0 {
            return;
        }
        let (forward, reverse) = self.in_roles(slot, partner);
        self.account(forward);
        self.account(reverse);
        let mut first = self.record(forward, Role::Forward, reason, offset);
        let mut second = self.record(reverse, Role::Reverse, reason, offset);
        if first.packets == 0 {
            (first.start_us, first.end_us) = (second.start_us, second.end_us);
        } else if second.packets == 0 {
            (second.start_us, second.end_us) = (first.start_us, first.end_us);
        }
        out.extend([first, second]);
    }

    fn record(&self, slot: u32, role: Role, end_reason: EndReason, offset: WallOffset) -> FlowRecord {
        let Entry { key: Key { flow, tunnel }, value, .. } = self.entry(slot);
        FlowRecord {
            key: *flow,
            tunnel: self.tunnels.tunnel(*tunnel),
            packets: value.packets,
            octets: value.octets,
            layer2_octets: value.layer2_octets(),
            start_us: offset.to_wall_us(value.first_ns),
            end_us: offset.to_wall_us(value.last_ns),
            extremes: if value.packets == 0 { Extremes::of(0, 0) } else { Extremes::unpack(value.extremes) },
            tcp_flags: tcp_flags(value.facts),
            fragmented: value.facts & FACT_FRAGMENT != 0,
            ethertype: value.ethertype,
            tos: value.tos,
            mpls_top_label: value.mpls_top_label,
            source_mac: value.source_mac,
            destination_mac: value.destination_mac,
            route: self.routes.get(&route_of(value.facts)).copied(),
            // Known later, outside the table.
            source_as: 0,
            destination_as: 0,
            sampling: self.sampling,
            end_reason,
            role,
        }
    }

    /// Moves the flow's counts from held to exported.
    fn account(&mut self, slot: u32) {
        let entry = self.entry(slot);
        let counter = entry.counter();
        if counter.packets == 0 {
            // Of an interface that may have been forgotten.
            return;
        }
        let totals = self.totals.entry((entry.key.flow.ifindex, entry.key.flow.direction)).or_default();
        totals.held = totals.held - counter;
        totals.exported += counter;
    }

    /// The flow that leaves when there is no room for another.
    pub(super) fn victim(&mut self) -> Option<u32> {
        for _ in 0..MOST_LOOKED_AT {
            let slot = self.idle_longest()?;
            let entry = self.entry(slot);
            // Of a conversation, the half with the later packets decides.
            if entry.partner().is_none_or(|other| self.entry(other).value.last_ns <= entry.value.last_ns) {
                return Some(slot);
            }
            self.wait_for_partner(slot);
        }
        self.idle_longest()
    }

    fn idle_longest(&self) -> Option<u32> {
        let (fresh, open) = (self.fresh.head(), self.open.head());
        let idle_longest = || match (fresh, open) {
            (Some(one), Some(other)) if self.entry(other).value.last_ns < self.entry(one).value.last_ns => open,
            (None, open) => open,
            (fresh, _) => fresh,
        };
        let flooded = self.fresh.len() > self.max_flows / 2;
        self.closing.head().or_else(|| if flooded { fresh } else { idle_longest() })
    }

    /// The flow's time has come and its partner's has not: it is looked at again when all others on its list have been.
    pub(super) fn wait_for_partner(&mut self, slot: u32) {
        self.unlink(slot);
        self.link(slot);
    }
}
