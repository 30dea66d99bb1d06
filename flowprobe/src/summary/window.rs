//! What went by in the last seconds, by source, protocol, port and conversation.

use std::collections::VecDeque;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

use flowprobe_ebpf::{Address, FlowKey};
use hashbrown::HashMap;

use crate::busier::keep_busier_half;
use crate::record::{FlowDelta, has_ports};

/// Different keys of a kind that one bucket holds. When more come, the half with fewer octets is forgotten: that is missing in
/// the tables, never in the totals above them.
const MAX_KEYS: usize = 1 << 13;

/// Into how many buckets the past is divided at most.
const MAX_BUCKETS: u64 = 20;

/// Packets, and octets from the IP header on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) packets: u64,
    pub(crate) octets: u64,
}

/// A transport port: the lower of a flow's two, which is the service's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Port {
    pub(crate) protocol: u8,
    pub(crate) port: u16,
}

/// One direction of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Conversation {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
}

/// Buckets of the recent past.
pub(crate) struct Window {
    /// Whether destinations are counted, too.
    has_destinations: bool,
    span_ns: u64,
    /// Time that a bucket covers at least.
    grain_ns: u64,
    filling: Bucket,
    full: VecDeque<Full>,
    /// When the last drain was.
    ticked_ns: Option<u64>,
}

/// A bucket that is closed, or at least has all that one drain has brought.
struct Full {
    /// When the time begins that it covers, and when the first of its drains was.
    begin_ns: u64,
    then_ns: u64,
    bucket: Bucket,
}

impl Window {
    pub(crate) fn new(span: Duration) -> Self {
        let span_ns = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Self {
            has_destinations: false,
            span_ns,
            grain_ns: (span_ns / MAX_BUCKETS).max(1),
            filling: Bucket::default(),
            full: VecDeque::new(),
            ticked_ns: None,
        }
    }

    /// The same, with destinations.
    pub(crate) fn with_destinations(self) -> Self {
        Self { has_destinations: true, ..self }
    }

    /// Adds what a drain brought.
    pub(crate) fn add(&mut self, deltas: &[FlowDelta]) {
        for FlowDelta { key, value, .. } in deltas {
            let amount = Amount { packets: value.packets, octets: value.octets };
            self.filling.add(key, amount);
            if self.has_destinations {
                count(&mut self.filling.destinations, address_of(key, key.destination), amount);
            }
        }
    }

    /// A drain is complete: closes its bucket and forgets those that have left the window. What drains bring that follow each
    /// other quickly goes into one bucket.
    pub(crate) fn tick(&mut self, now_ns: u64) {
        let bucket = std::mem::take(&mut self.filling);
        let begin_ns = self.ticked_ns.replace(now_ns).unwrap_or(now_ns);
        match self.full.back_mut() {
            Some(last) if now_ns / self.grain_ns == last.then_ns / self.grain_ns => last.bucket.merge(&bucket),
            _ => self.full.push_back(Full { begin_ns, then_ns: now_ns, bucket }),
        }
        while self.full.len() > 1
            && self.full.front().is_some_and(|full| now_ns.saturating_sub(full.then_ns) >= self.span_ns)
        {
            self.full.pop_front();
        }
    }

    /// The sum of the buckets in the window.
    pub(crate) fn totals(&self) -> Bucket {
        self.totals_since(0)
    }

    /// The sum of those that were closed after this moment.
    pub(crate) fn totals_since(&self, since_ns: u64) -> Bucket {
        let mut totals = Bucket::default();
        for full in self.since(since_ns) {
            totals.merge(&full.bucket);
        }
        totals
    }

    /// How much time that sum covers, in nanoseconds: buckets begin where they do, and the window may not be full yet.
    pub(crate) fn covered_since(&self, since_ns: u64) -> u64 {
        let begin = self.since(since_ns).next().map(|full| full.begin_ns);
        begin.zip(self.ticked_ns).map_or(0, |(begin, end)| end.saturating_sub(begin))
    }

    fn since(&self, since_ns: u64) -> impl Iterator<Item = &Full> {
        self.full.iter().filter(move |full| full.then_ns > since_ns)
    }

    /// What the drain has brought that is not complete yet, by protocol.
    pub(crate) fn filling(&self) -> impl Iterator<Item = (u8, Amount)> {
        self.filling.protocols.iter().map(|(protocol, amount)| (*protocol, *amount))
    }

    /// Forgets all that was counted: what is covered begins with the last drain.
    pub(crate) fn clear(&mut self) {
        (self.filling, self.full) = (Bucket::default(), VecDeque::new());
    }
}

/// Amounts by key.
#[derive(Default)]
pub(crate) struct Bucket {
    sources: HashMap<IpAddr, Amount>,
    destinations: HashMap<IpAddr, Amount>,
    protocols: HashMap<u8, Amount>,
    ports: HashMap<Port, Amount>,
    conversations: HashMap<Conversation, Amount>,
}

impl Bucket {
    fn add(&mut self, key: &FlowKey, amount: Amount) {
        let (source, destination) = (address_of(key, key.source), address_of(key, key.destination));
        count(&mut self.sources, source, amount);
        count(&mut self.protocols, key.protocol, amount);
        if has_ports(key.protocol) {
            let port = key.source_port.min(key.destination_port);
            count(&mut self.ports, Port { protocol: key.protocol, port }, amount);
        }
        let conversation = Conversation {
            source,
            destination,
            protocol: key.protocol,
            source_port: key.source_port,
            destination_port: key.destination_port,
        };
        count(&mut self.conversations, conversation, amount);
    }

    fn merge(&mut self, other: &Self) {
        merge(&mut self.sources, &other.sources);
        merge(&mut self.destinations, &other.destinations);
        merge(&mut self.protocols, &other.protocols);
        merge(&mut self.ports, &other.ports);
        merge(&mut self.conversations, &other.conversations);
    }

    pub(crate) fn top_sources(&self, rows: usize) -> impl Iterator<Item = (IpAddr, Amount)> + use<> {
        top(&self.sources, rows)
    }

    pub(crate) fn top_destinations(&self, rows: usize) -> impl Iterator<Item = (IpAddr, Amount)> + use<> {
        top(&self.destinations, rows)
    }

    pub(crate) fn top_protocols(&self, rows: usize) -> impl Iterator<Item = (u8, Amount)> + use<> {
        top(&self.protocols, rows)
    }

    pub(crate) fn top_ports(&self, rows: usize) -> impl Iterator<Item = (Port, Amount)> + use<> {
        top(&self.ports, rows)
    }

    pub(crate) fn top_conversations(&self, rows: usize) -> impl Iterator<Item = (Conversation, Amount)> + use<> {
        top(&self.conversations, rows)
    }
}

fn address_of(key: &FlowKey, address: Address) -> IpAddr {
    if key.ip_version == 4 { address.to_ipv4().into() } else { address.to_ipv6().into() }
}

fn count<K: Hash + Eq>(amounts: &mut HashMap<K, Amount>, key: K, amount: Amount) {
    if amounts.len() >= MAX_KEYS && !amounts.contains_key(&key) {
        keep_busier_half(amounts, |amount| amount.octets);
    }
    let sum = amounts.entry(key).or_default();
    // What exporters say may be anything.
    sum.packets = sum.packets.saturating_add(amount.packets);
    sum.octets = sum.octets.saturating_add(amount.octets);
}

fn merge<K: Hash + Eq + Copy>(amounts: &mut HashMap<K, Amount>, more: &HashMap<K, Amount>) {
    for (key, amount) in more {
        count(amounts, *key, *amount);
    }
}

/// The `rows` keys with most octets, most first; equals in the order of their keys, so that the screen does not flicker.
fn top<K: Copy + Ord>(amounts: &HashMap<K, Amount>, rows: usize) -> impl Iterator<Item = (K, Amount)> + use<K> {
    let mut all: Vec<(K, Amount)> = amounts.iter().map(|(key, amount)| (*key, *amount)).collect();
    let order = |a: &(K, Amount), b: &(K, Amount)| b.1.octets.cmp(&a.1.octets).then(a.0.cmp(&b.0));
    if all.len() > rows {
        all.select_nth_unstable_by(rows, order);
        all.truncate(rows);
    }
    all.sort_unstable_by(order);
    all.into_iter()
}
