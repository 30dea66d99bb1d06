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
//!
//! **Biflows.** Where both directions of a conversation are to be one record ([`pairs`]), the flow that answers another is its
//! partner: both leave together, when the time of both has come, as two records that follow each other ([`Role`]).

mod departure;
mod entry;
mod hashes;
mod lists;
mod look_ahead;
mod pairs;
mod tunnels;

use std::num::NonZeroU32;
use std::time::Duration;

use flowprobe_ebpf::{Counter, Direction, FlowKey, FlowValue, Route, Tunnel};
use hashbrown::{HashMap, HashTable};

use crate::clock::WallOffset;
#[cfg(doc)]
use crate::record::Role;
use crate::record::{EndReason, FlowDelta, FlowRecord, SamplingRate, TCP_SYN};
use entry::{Entry, Key};
use hashes::Hashes;
use lists::{List, NONE};
use look_ahead::AHEAD;
use tunnels::TunnelNumbers;

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
    /// Whether both directions of a conversation are one record.
    pub biflow: bool,
}

impl Default for TableConfig {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(15),
            active_timeout: Duration::from_secs(60),
            max_flows: DEFAULT_MAX_FLOWS,
            sampling: SamplingRate::All,
            biflow: false,
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
    hashes: Hashes,
    index: HashTable<u32>,
    /// Flows that were ever opened.
    opened: u64,
    /// Of those that are open, flows that stand apart.
    apart: u32,
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

/// What an open flow costs: its entry, its place in the index, and what either has to spare when it grows.
pub const OCTETS_PER_FLOW: u64 = 168;

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new(config: TableConfig) -> Self {
        Self {
            idle_ns: nanoseconds(config.idle_timeout),
            active_ns: nanoseconds(config.active_timeout),
            linger_ns: nanoseconds(TCP_LINGER.min(config.idle_timeout)),
            max_flows: config.max_flows.get(),
            hashes: Hashes::new(config.biflow),
            index: HashTable::new(),
            opened: 0,
            apart: 0,
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
    /// open have to be flushed before where `sampling` or `biflow` changes; with open flows the latter stays what it is, and the
    /// number of flows always does.
    pub fn reconfigure(&mut self, config: TableConfig) {
        self.idle_ns = nanoseconds(config.idle_timeout);
        self.active_ns = nanoseconds(config.active_timeout);
        self.linger_ns = nanoseconds(TCP_LINGER.min(config.idle_timeout));
        self.sampling = config.sampling;
        if self.is_empty() {
            self.hashes.biflow = config.biflow;
        }
    }

    /// How the packets of the flows are chosen.
    #[must_use]
    pub const fn sampling(&self) -> SamplingRate {
        self.sampling
    }

    /// Whether both directions of a conversation are one record.
    #[must_use]
    pub const fn biflow(&self) -> bool {
        self.hashes.biflow
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

    /// Flows that were opened so far.
    #[must_use]
    pub const fn opened(&self) -> u64 {
        self.opened
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
    /// where this delta begins a new TCP connection, the flow itself at its active timeout, and the flow evicted for room; each
    /// with the flow that answers it, where there is one. Returns whether the flow has had more than one packet by now.
    pub fn merge(&mut self, delta: &FlowDelta, offset: WallOffset, out: &mut Vec<FlowRecord>) -> bool {
        let FlowDelta { key, tunnel, value } = delta;
        self.totals.entry((key.ifindex, key.direction)).or_default().held +=
            Counter { packets: value.packets, octets: value.layer2_octets() };
        let Some(slot) = self.find(key, tunnel) else {
            self.insert(key, tunnel, *value, offset, out);
            return value.packets > 1;
        };
        if self.is_ended_by(slot, value) {
            self.end(slot, EndReason::EndOfFlow, offset, out);
            self.insert(key, tunnel, *value, offset, out);
            return value.packets > 1;
        }
        self.unlink(slot);
        let active_ns = self.active_ns;
        let entry = self.entry_mut(slot);
        entry.absorb(value);
        if entry.value.last_ns.saturating_sub(entry.value.first_ns) >= active_ns {
            self.report(slot, offset, out);
        }
        self.link(slot);
        true
    }

    /// Adds what a source counted of many flows, as [`Table::merge`] does of one. `each` is told of each flow whether it has had
    /// more than one packet by now.
    pub fn merge_all(
        &mut self,
        deltas: &[FlowDelta],
        offset: WallOffset,
        out: &mut Vec<FlowRecord>,
        mut each: impl FnMut(&FlowDelta, bool),
    ) {
        for some in deltas.chunks(AHEAD) {
            self.look_ahead(some);
            for delta in some {
                let established = self.merge(delta, offset, out);
                each(delta, established);
            }
        }
    }

    /// Lets everything leave whose time has come at `now`; of a conversation, when that of both directions has.
    pub fn expire(&mut self, now: u64, offset: WallOffset, out: &mut Vec<FlowRecord>) {
        while self.expire_some(now, offset, usize::MAX, out) {}
    }

    /// The same until `out` holds `most` records, or one more. Returns whether there may be others.
    pub fn expire_some(&mut self, now: u64, offset: WallOffset, most: usize, out: &mut Vec<FlowRecord>) -> bool {
        let (idle, linger) = (self.idle_ns, self.linger_ns);
        let lists: [(Which, u64); 3] =
            [(|table| &table.fresh, idle), (|table| &table.open, idle), (|table| &table.closing, linger)];
        for (list, age) in lists {
            self.expire_list(list, age, now, offset, most, out);
        }
        out.len() >= most
    }

    fn expire_list(
        &mut self,
        list: Which,
        age: u64,
        now: u64,
        offset: WallOffset,
        most: usize,
        out: &mut Vec<FlowRecord>,
    ) {
        // Each flow once: those that wait for their partners are at the end of the list then.
        for number in 0..list(self).len() {
            if out.len() >= most {
                break;
            }
            let Some(slot) = list(self).head().filter(|&slot| self.is_silent(slot, now, age)) else { break };
            if (number as usize).is_multiple_of(AHEAD) {
                self.look_ahead_in(list(self));
            }
            if self.entry(slot).partner().is_none_or(|partner| self.is_silent(partner, now, age)) {
                self.end(slot, EndReason::IdleTimeout, offset, out);
            } else {
                self.wait_for_partner(slot);
            }
        }
    }

    /// Lets every flow leave with `reason`.
    pub fn flush(&mut self, reason: EndReason, offset: WallOffset, out: &mut Vec<FlowRecord>) {
        while let Some(slot) = self.fresh.head().or(self.open.head()).or(self.closing.head()) {
            self.end(slot, reason, offset, out);
        }
    }

    fn entry(&self, slot: u32) -> &Entry {
        &self.slab[slot as usize]
    }

    fn entry_mut(&mut self, slot: u32) -> &mut Entry {
        &mut self.slab[slot as usize]
    }

    /// Whether the flow's last packet is at least `age` before `now`.
    fn is_silent(&self, slot: u32, now: u64, age: u64) -> bool {
        now.saturating_sub(self.entry(slot).value.last_ns) >= age
    }

    /// Whether `value` begins a new connection after the one that the flow was, or was a part of. An answer to the first packet
    /// is no reason to think so, even if it is older than the delta.
    fn is_ended_by(&self, slot: u32, value: &FlowValue) -> bool {
        let entry = self.entry(slot);
        let has_left = |partner| {
            let partner = self.entry(partner);
            partner.is_closing() && value.first_ns > partner.value.last_ns
        };
        value.facts & TCP_SYN != 0
            && value.first_ns >= entry.value.last_ns
            && (entry.is_closing() || entry.partner().is_some_and(has_left))
    }

    fn find(&self, flow: &FlowKey, tunnel: &Tunnel) -> Option<u32> {
        let key = Key { flow: *flow, tunnel: self.tunnels.find(tunnel)? };
        let at = |hash| self.index.find(hash, |&slot| self.entry(slot).key == key).copied();
        let found = at(self.hashes.usual(&key, &self.tunnels));
        if self.apart == 0 { found } else { found.or_else(|| at(self.hashes.apart(&key))) }
    }

    fn insert(
        &mut self,
        flow: &FlowKey,
        tunnel: &Tunnel,
        value: FlowValue,
        offset: WallOffset,
        out: &mut Vec<FlowRecord>,
    ) {
        if self.index.len() >= self.max_flows as usize
            && let Some(victim) = self.victim()
        {
            self.end(victim, EndReason::LackOfResources, offset, out);
        }
        self.opened += 1;
        let key = Key { flow: *flow, tunnel: self.tunnels.hold(tunnel) };
        let usual = self.hashes.usual(&key, &self.tunnels);
        let apart = self.is_crowded(usual);
        let entry = Entry::new(key, value, apart);
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
        let place = if apart { self.hashes.apart(&key) } else { usual };
        let Self { index, slab, hashes, tunnels, .. } = self;
        index.insert_unique(place, slot, |&slot| hashes.of(&slab[slot as usize], tunnels));
        if apart {
            self.apart += 1;
        } else if self.hashes.biflow {
            self.join(slot);
        }
    }

    fn remove(&mut self, slot: u32) {
        self.unlink(slot);
        let hash = self.hashes.of(self.entry(slot), &self.tunnels);
        if let Ok(found) = self.index.find_entry(hash, |&other| other == slot) {
            found.remove();
        }
        self.apart -= u32::from(self.entry(slot).is_apart());
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

/// One of the lists.
type Which = fn(&Table) -> &List;

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
