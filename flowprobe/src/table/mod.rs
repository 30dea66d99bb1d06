//! The flow table: merges deltas into open flows and decides when a record leaves.
//!
//! Deterministic: it does no I/O and is handed `now` (nanoseconds of the monotonic clock), so that timeouts are tested
//! exactly and at once. Open flows lie in one slab, found through an index by key and ordered by three lists ([`lists`]):
//! those of one packet so far, those of more, and TCP flows that have said goodbye. Each list is ordered by the drain that last
//! touched a flow, so expiry looks only at what has expired and evicting the flow that is idle longest costs nothing to find.
//!
//! **Memory bound.** At most `max_flows` flows are open. The one that makes it one too many evicts the flow that has been
//! idle longest, which leaves as a record with [`EndReason::LackOfResources`]: nothing is dropped. While flows of one packet
//! hold more than half of the table it is the one of those that has been idle longest, so that a flood evicts itself.

mod lists;
mod tunnels;

use std::hash::BuildHasher;
use std::num::NonZeroU32;
use std::time::Duration;

use flowprobe_ebpf::flow::{Extremes, FACT_ESTABLISHED, FACT_FRAGMENT, route_of, with_route};
use flowprobe_ebpf::{Counter, Direction, FlowKey, FlowValue, Route, Tunnel};
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use crate::clock::WallOffset;
use crate::record::{EndReason, FlowDelta, FlowRecord, SamplingRate, TCP, TCP_FIN, TCP_RST, TCP_SYN, tcp_flags};
use lists::{Links, List, NONE};
use tunnels::{TunnelNumber, TunnelNumbers};

/// When records leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableConfig {
    /// A flow without packets for this long has ended.
    pub idle_timeout: Duration,
    /// A flow that goes on is reported this often.
    pub active_timeout: Duration,
    /// Flows open at once.
    pub max_flows: NonZeroU32,
    /// Which packets the flows consist of; every record says so.
    pub sampling: SamplingRate,
}

impl Default for TableConfig {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(15),
            active_timeout: Duration::from_secs(60),
            max_flows: DEFAULT_MAX_FLOWS,
            sampling: SamplingRate::All,
        }
    }
}

/// See [`TableConfig::max_flows`].
const DEFAULT_MAX_FLOWS: NonZeroU32 = NonZeroU32::new(262_144).expect("not zero");

/// How long a TCP flow stays open after its FIN or RST, so that the last acknowledgments are still its own.
const TCP_LINGER: Duration = Duration::from_secs(2);

/// What was counted of the flows of one interface and direction: the table's two terms of the accounting sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Left the table in records.
    pub exported: Counter,
    /// In open flows.
    pub held: Counter,
}

/// All open flows.
pub struct Table {
    idle_ns: u64,
    active_ns: u64,
    linger_ns: u64,
    max_flows: u32,
    hasher: DefaultHashBuilder,
    index: HashTable<u32>,
    slab: Vec<Entry>,
    free: List,
    /// Flows of one packet so far.
    fresh: List,
    open: List,
    closing: List,
    totals: HashMap<(u32, u8), Totals>,
    sampling: SamplingRate,
    tunnels: TunnelNumbers,
    /// What the numbers in flows' facts stand for.
    routes: HashMap<u32, Route>,
}

struct Entry {
    key: Key,
    value: FlowValue,
    links: Links,
}

/// What makes a flow.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    flow: FlowKey,
    tunnel: TunnelNumber,
}

/// What an open flow costs: its entry, its place in the index, and what either has to spare when it grows.
pub const OCTETS_PER_FLOW: u64 = 168;

const _: () = assert!(size_of::<Entry>() == 136);

impl Entry {
    fn is_closing(&self) -> bool {
        self.key.flow.protocol == TCP && self.value.facts & (TCP_FIN | TCP_RST) != 0
    }

    fn is_established(&self) -> bool {
        self.value.facts & FACT_ESTABLISHED != 0
    }

    fn counter(&self) -> Counter {
        Counter { packets: self.value.packets, octets: self.value.layer2_octets() }
    }
}

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new(config: TableConfig) -> Self {
        Self {
            idle_ns: nanoseconds(config.idle_timeout),
            active_ns: nanoseconds(config.active_timeout),
            linger_ns: nanoseconds(TCP_LINGER.min(config.idle_timeout)),
            max_flows: config.max_flows.get(),
            hasher: DefaultHashBuilder::default(),
            index: HashTable::new(),
            slab: Vec::new(),
            free: List::new(),
            fresh: List::new(),
            open: List::new(),
            closing: List::new(),
            totals: HashMap::new(),
            sampling: config.sampling,
            tunnels: TunnelNumbers::default(),
            routes: HashMap::new(),
        }
    }

    /// Flows end and are reported by these times from now on, and records say that they were chosen like this. Those that are
    /// open have to be flushed before where `sampling` changes. The number of flows stays what it is.
    pub fn reconfigure(&mut self, config: TableConfig) {
        self.idle_ns = nanoseconds(config.idle_timeout);
        self.active_ns = nanoseconds(config.active_timeout);
        self.linger_ns = nanoseconds(TCP_LINGER.min(config.idle_timeout));
        self.sampling = config.sampling;
    }

    /// How the packets of the flows are chosen.
    #[must_use]
    pub const fn sampling(&self) -> SamplingRate {
        self.sampling
    }

    /// Adds routes to those that are known by number.
    pub fn learn_routes(&mut self, routes: &[(u32, Route)]) {
        self.routes.extend(routes.iter().copied());
    }

    /// Number of open flows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether no flow is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The table's terms of the accounting sum of an interface and direction.
    #[must_use]
    pub fn totals(&self, ifindex: u32, direction: Direction) -> Totals {
        self.totals.get(&(ifindex, direction as u8)).copied().unwrap_or_default()
    }

    /// Forgets an interface of which no flow is open. Returns what was exported of each direction.
    pub fn forget_interface(&mut self, ifindex: u32) -> Vec<(Direction, Counter)> {
        let mut exported = Vec::new();
        for direction in [Direction::Ingress, Direction::Egress] {
            let key = (ifindex, direction as u8);
            if self.totals.get(&key).is_some_and(|totals| totals.held == Counter::default()) {
                exported.extend(self.totals.remove(&key).map(|totals| (direction, totals.exported)));
            }
        }
        exported
    }

    /// Whether there were flows of an interface since it was last forgotten.
    #[must_use]
    pub fn knows_interface(&self, ifindex: u32) -> bool {
        [Direction::Ingress, Direction::Egress].iter().any(|way| self.totals.contains_key(&(ifindex, *way as u8)))
    }

    /// Adds what a source counted. Records that leave because of it are appended to `out`: the previous flow of the same key
    /// where this delta begins a new TCP connection, the flow itself at its active timeout, and the flow evicted for room.
    /// Returns whether the flow has had more than one packet by now.
    pub fn merge(&mut self, delta: &FlowDelta, offset: WallOffset, out: &mut Vec<FlowRecord>) -> bool {
        let FlowDelta { key, tunnel, value } = delta;
        self.totals.entry((key.ifindex, key.direction)).or_default().held +=
            Counter { packets: value.packets, octets: value.layer2_octets() };
        let Some(slot) = self.find(key, tunnel) else {
            self.insert(key, tunnel, *value, offset, out);
            return value.packets > 1;
        };
        let entry = self.entry(slot);
        if entry.is_closing() && value.facts & TCP_SYN != 0 && value.first_ns >= entry.value.last_ns {
            self.end(slot, EndReason::EndOfFlow, offset, out);
            self.insert(key, tunnel, *value, offset, out);
            return value.packets > 1;
        }
        self.unlink(slot);
        let active_ns = self.active_ns;
        let entry = self.entry_mut(slot);
        absorb(&mut entry.value, value);
        entry.value.facts |= FACT_ESTABLISHED;
        if entry.value.last_ns.saturating_sub(entry.value.first_ns) >= active_ns {
            self.report(slot, offset, out);
        }
        self.link(slot);
        true
    }

    /// Lets everything leave whose time has come at `now`.
    pub fn expire(&mut self, now: u64, offset: WallOffset, out: &mut Vec<FlowRecord>) {
        let (idle, linger) = (self.idle_ns, self.linger_ns);
        while let Some(slot) =
            self.oldest_since(self.fresh.head(), now, idle).or_else(|| self.oldest_since(self.open.head(), now, idle))
        {
            // A flow whose counts were all reported at its active timeout, and that stayed silent since, has nothing to add.
            if self.entry(slot).value.packets == 0 {
                self.remove(slot);
            } else {
                self.end(slot, EndReason::IdleTimeout, offset, out);
            }
        }
        while let Some(slot) = self.oldest_since(self.closing.head(), now, linger) {
            self.end(slot, EndReason::EndOfFlow, offset, out);
        }
    }

    /// Lets every flow leave with `reason`.
    pub fn flush(&mut self, reason: EndReason, offset: WallOffset, out: &mut Vec<FlowRecord>) {
        while let Some(slot) = self.fresh.head().or(self.open.head()).or(self.closing.head()) {
            let entry = self.entry(slot);
            if entry.value.packets == 0 {
                self.remove(slot);
            } else {
                let reason = if entry.is_closing() { EndReason::EndOfFlow } else { reason };
                self.end(slot, reason, offset, out);
            }
        }
    }

    fn entry(&self, slot: u32) -> &Entry {
        &self.slab[slot as usize]
    }

    fn entry_mut(&mut self, slot: u32) -> &mut Entry {
        &mut self.slab[slot as usize]
    }

    /// `head`, if its last packet is at least `age` before `now`.
    fn oldest_since(&self, head: Option<u32>, now: u64, age: u64) -> Option<u32> {
        head.filter(|&slot| now.saturating_sub(self.entry(slot).value.last_ns) >= age)
    }

    fn find(&self, flow: &FlowKey, tunnel: &Tunnel) -> Option<u32> {
        let key = Key { flow: *flow, tunnel: self.tunnels.find(tunnel)? };
        self.index.find(hash(&self.hasher, &key), |&slot| self.entry(slot).key == key).copied()
    }

    fn insert(
        &mut self,
        flow: &FlowKey,
        tunnel: &Tunnel,
        mut value: FlowValue,
        offset: WallOffset,
        out: &mut Vec<FlowRecord>,
    ) {
        if self.index.len() >= self.max_flows as usize
            && let Some(victim) = self.victim()
        {
            let reason =
                if self.entry(victim).is_closing() { EndReason::EndOfFlow } else { EndReason::LackOfResources };
            self.end(victim, reason, offset, out);
        }
        if value.packets > 1 {
            value.facts |= FACT_ESTABLISHED;
        }
        let key = Key { flow: *flow, tunnel: self.tunnels.hold(tunnel) };
        let hash_of_key = hash(&self.hasher, &key);
        let entry = Entry { key, value, links: Links::NONE };
        let slot = if let Some(slot) = self.free.head() {
            self.free.remove(&mut self.slab, slot);
            *self.entry_mut(slot) = entry;
            slot
        } else {
            // `max_flows` is a u32, so every slot number is one.
            let slot = u32::try_from(self.slab.len()).unwrap_or(NONE);
            self.slab.push(entry);
            slot
        };
        self.link(slot);
        let Self { index, slab, hasher, .. } = self;
        index.insert_unique(hash_of_key, slot, |&slot| hash(hasher, &slab[slot as usize].key));
    }

    /// The flow that leaves when there is no room for another.
    fn victim(&self) -> Option<u32> {
        let (fresh, open) = (self.fresh.head(), self.open.head());
        let idle_longest = || match (fresh, open) {
            (Some(one), Some(other)) if self.entry(other).value.last_ns < self.entry(one).value.last_ns => open,
            (None, open) => open,
            (fresh, _) => fresh,
        };
        let flooded = self.fresh.len() > self.max_flows / 2;
        self.closing.head().or_else(|| if flooded { fresh } else { idle_longest() })
    }

    /// Turns the flow into a record and takes it out.
    fn end(&mut self, slot: u32, reason: EndReason, offset: WallOffset, out: &mut Vec<FlowRecord>) {
        self.account(slot);
        out.push(self.record(slot, reason, offset));
        self.remove(slot);
    }

    /// Turns what the flow counted into a record and lets it go on from zero.
    fn report(&mut self, slot: u32, offset: WallOffset, out: &mut Vec<FlowRecord>) {
        self.account(slot);
        out.push(self.record(slot, EndReason::ActiveTimeout, offset));
        let value = &mut self.entry_mut(slot).value;
        (value.packets, value.octets, value.layer2_excess) = (0, 0, 0);
        value.facts = with_route(FACT_ESTABLISHED, route_of(value.facts));
    }

    fn record(&self, slot: u32, end_reason: EndReason, offset: WallOffset) -> FlowRecord {
        let Entry { key: Key { flow, tunnel }, value, .. } = self.entry(slot);
        FlowRecord {
            key: *flow,
            tunnel: self.tunnels.tunnel(*tunnel),
            packets: value.packets,
            octets: value.octets,
            layer2_octets: value.layer2_octets(),
            start_ms: offset.to_wall_ms(value.first_ns),
            end_ms: offset.to_wall_ms(value.last_ns),
            extremes: Extremes::unpack(value.extremes),
            tcp_flags: tcp_flags(value.facts),
            fragmented: value.facts & FACT_FRAGMENT != 0,
            ethertype: value.ethertype,
            tos: value.tos,
            mpls_top_label: value.mpls_top_label,
            source_mac: value.source_mac,
            destination_mac: value.destination_mac,
            route: self.routes.get(&route_of(value.facts)).copied(),
            sampling: self.sampling,
            end_reason,
        }
    }

    /// Moves the flow's counts from held to exported.
    fn account(&mut self, slot: u32) {
        let entry = self.entry(slot);
        let counter = entry.counter();
        let totals = self.totals.entry((entry.key.flow.ifindex, entry.key.flow.direction)).or_default();
        totals.held = totals.held - counter;
        totals.exported += counter;
    }

    fn remove(&mut self, slot: u32) {
        self.unlink(slot);
        let hash = hash(&self.hasher, &self.entry(slot).key);
        if let Ok(found) = self.index.find_entry(hash, |&other| other == slot) {
            found.remove();
        }
        self.tunnels.release(self.entry(slot).key.tunnel);
        self.free.push_back(&mut self.slab, slot);
    }

    fn link(&mut self, slot: u32) {
        self.with_list_of(slot, |list, slab| list.push_back(slab, slot));
    }

    fn unlink(&mut self, slot: u32) {
        self.with_list_of(slot, |list, slab| list.remove(slab, slot));
    }

    fn with_list_of(&mut self, slot: u32, change: impl FnOnce(&mut List, &mut [Entry])) {
        let entry = self.entry(slot);
        let list = if entry.is_closing() {
            &mut self.closing
        } else if entry.is_established() {
            &mut self.open
        } else {
            &mut self.fresh
        };
        change(list, &mut self.slab);
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Adds `more` to `value`. A value that was reported at its active timeout begins anew.
fn absorb(value: &mut FlowValue, more: &FlowValue) {
    if value.packets == 0 {
        let first_of_flow = (value.tos, value.mpls_top_label, value.source_mac, value.destination_mac);
        let facts = later_facts(value.facts & FACT_ESTABLISHED | with_route(0, route_of(value.facts)), more.facts);
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

/// The hash of a flow's place in the index.
fn hash(hasher: &DefaultHashBuilder, key: &Key) -> u64 {
    hasher.hash_one(key)
}

#[cfg(test)]
mod tests;
