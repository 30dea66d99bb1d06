//! Biflows (RFC 5103): which open flow answers which, and which of the two opened the conversation.
//!
//! A flow is joined when it is opened, with the best of those that it meets; later ones may be better for either and then take
//! it over, as long as no record has called the two a pair. A flow has one partner at most, and is its partner's partner; both
//! leave together.

use std::cmp::{Ordering, Reverse};

use flowprobe_ebpf::FlowKey;
use flowprobe_ebpf::flow::FACT_INITIATOR;

use super::Table;
use super::entry::{Entry, Key};
use super::hashes::{MOST_SIGHTINGS, are_opposite};
use crate::record::{ICMP, ICMPV6, Role, TCP, TCP_SYN, has_ports};

/// How well two flows answer each other, the better the greater: by place, then by VLANs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    place: Place,
    same_vlans: bool,
}

/// Where both directions of a conversation are seen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// Where each comes in: a router.
    Router,
    /// At one interface, in one direction: a mirror port.
    Mirror,
    /// At one interface, in and out.
    Interface,
}

/// ICMP and ICMPv6 types that ask, and those that answer them.
const QUESTIONS: [(u8, u8, u8); 5] = [(ICMP, 8, 0), (ICMP, 13, 14), (ICMP, 15, 16), (ICMP, 17, 18), (ICMPV6, 128, 129)];

impl Table {
    /// Joins a flow that was just opened, with the best that it meets.
    pub(super) fn join(&mut self, opened: u32) {
        let mut seeking = Some(opened);
        // Each round joins two that answer each other better than one of them did its partner before, so there is an end.
        while let Some(slot) = seeking.take()
            && let Some(found) = self.best_partner(slot)
        {
            seeking = self.entry(found).partner();
            if let Some(left) = seeking {
                self.entry_mut(left).set_partner(None);
            }
            self.entry_mut(found).set_partner(Some(slot));
            self.entry_mut(slot).set_partner(Some(found));
        }
    }

    /// Whether there are so many flows in the usual place of `hash` that another has to stand apart.
    pub(super) fn is_crowded(&self, hash: u64) -> bool {
        let of_this_place = |slot: &&u32| self.hashes.of(self.entry(**slot), &self.tunnels) == hash;
        // The index hands out a few of other places, too; hardly ever is there a need to look at them.
        let has_many = || self.index.iter_hash(hash).nth(MOST_SIGHTINGS - 1).is_some();
        self.hashes.biflow
            && has_many()
            && self.index.iter_hash(hash).filter(of_this_place).nth(MOST_SIGHTINGS - 1).is_some()
    }

    /// The flow that answers this one best, of those that are free or answer theirs less well.
    fn best_partner(&self, slot: u32) -> Option<u32> {
        let entry = self.entry(slot);
        let of_ended = |other: &Entry| {
            other.is_closing() && entry.value.facts & TCP_SYN != 0 && entry.value.first_ns > other.value.last_ns
        };
        self.index
            .iter_hash(self.hashes.opposite(&entry.key, &self.tunnels))
            .filter_map(|&candidate| {
                let other = self.entry(candidate);
                let rank = self.rank(&entry.key, &other.key)?;
                let is_free = match other.partner() {
                    None => !other.is_apart(),
                    Some(partner) => {
                        other.role() == Role::Single && self.rank(&other.key, &self.entry(partner).key) < Some(rank)
                    }
                };
                (is_free && !of_ended(other)).then_some((rank, Reverse(candidate)))
            })
            .max()
            .map(|(_, Reverse(found))| found)
    }

    /// How well two flows answer each other, if they do.
    fn rank(&self, one: &Key, other: &Key) -> Option<Rank> {
        if !answers(&one.flow, &other.flow) {
            return None;
        }
        if !are_opposite(&self.tunnels.tunnel(one.tunnel), &self.tunnels.tunnel(other.tunnel)) {
            return None;
        }
        let (one, other) = (&one.flow, &other.flow);
        let place = match (one.ifindex == other.ifindex, one.direction == other.direction) {
            (true, false) => Place::Interface,
            (true, true) => Place::Mirror,
            (false, true) => Place::Router,
            (false, false) => return None,
        };
        let same_vlans = (one.vlan, one.customer_vlan) == (other.vlan, other.customer_vlan);
        Some(Rank { place, same_vlans })
    }

    /// The same two, the one that opened the conversation first. What records have said is not taken back.
    pub(super) fn in_roles(&mut self, one: u32, other: u32) -> (u32, u32) {
        let (forward, reverse) = if opened(self.entry(one), self.entry(other)) { (one, other) } else { (other, one) };
        self.entry_mut(forward).set_role(Role::Forward);
        self.entry_mut(reverse).set_role(Role::Reverse);
        (forward, reverse)
    }

    /// The half of a biflow that a flow is to be which is now reported without answers: the first to come opened it, unless it
    /// says otherwise itself.
    pub(super) fn presume_role(&mut self, slot: u32) {
        let entry = self.entry(slot);
        if self.hashes.biflow && entry.role() == Role::Single {
            let role = if says_that_it_opened(entry) < 0 { Role::Reverse } else { Role::Forward };
            self.entry_mut(slot).set_role(role);
        }
    }
}

/// Whether `other` is the opposite direction of `one`, by addresses, protocol and ports.
fn answers(one: &FlowKey, other: &FlowKey) -> bool {
    // Who talks to themselves is seen going out and coming in: the same packets.
    let is_same = (one.source, one.source_port) == (other.source, other.source_port)
        && (one.destination, one.destination_port) == (other.destination, other.destination_port);
    !is_same
        && (one.source, one.destination) == (other.destination, other.source)
        && (one.protocol, one.ip_version) == (other.protocol, other.ip_version)
        && match one.protocol {
            ICMP | ICMPV6 => asks(one, other) || asks(other, one),
            protocol => {
                !has_ports(protocol)
                    || (one.source_port, one.destination_port) == (other.destination_port, other.source_port)
            }
        }
}

/// Whether `answer` has the ICMP type that answers the one of `question`, and the same code.
fn asks(question: &FlowKey, answer: &FlowKey) -> bool {
    let [asked, code] = question.destination_port.to_be_bytes();
    let [answered, answered_code] = answer.destination_port.to_be_bytes();
    code == answered_code && QUESTIONS.contains(&(question.protocol, asked, answered))
}

/// Whether `one` opened the conversation rather than `other`, which answers it. The kernel's clock is coarse, so both may have
/// begun at once: clients have the larger port number, as a rule, and between equal ports the smaller address is as good as any.
fn opened(one: &Entry, other: &Entry) -> bool {
    let said = |entry: &Entry| match entry.role() {
        Role::Forward => 1,
        Role::Single => 0,
        Role::Reverse => -1,
    };
    let (first, second) = (&one.key.flow, &other.key.flow);
    said(one)
        .cmp(&said(other))
        .then_with(|| says_that_it_opened(one).cmp(&says_that_it_opened(other)))
        .then_with(|| other.value.first_ns.cmp(&one.value.first_ns))
        .then_with(|| first.source_port.cmp(&second.source_port))
        .then_with(|| second.source.to_ipv6().cmp(&first.source.to_ipv6()))
        == Ordering::Greater
}

/// What a flow's own packets say: 1 for those that open a conversation, -1 for those that answer, 0 for neither.
fn says_that_it_opened(entry: &Entry) -> i8 {
    let [icmp_type, _] = entry.key.flow.destination_port.to_be_bytes();
    match entry.key.flow.protocol {
        TCP if entry.value.facts & FACT_INITIATOR != 0 => 1,
        // SYN only with ACK.
        TCP if entry.value.facts & TCP_SYN != 0 => -1,
        protocol if QUESTIONS.iter().any(|&(of, asked, _)| (of, asked) == (protocol, icmp_type)) => 1,
        protocol if QUESTIONS.iter().any(|&(of, _, answer)| (of, answer) == (protocol, icmp_type)) => -1,
        _ => 0,
    }
}
