//! Sums that are made when an hour is over, so that questions about days and weeks read little: by minute, by address, by service.
//!
//! Counts in rollups are estimates of the whole where packets were sampled: what questions answer with.

use std::hash::Hash;
use std::sync::Arc;

use hashbrown::HashMap;
use serde::Serialize;

mod conversations;
mod known;

use super::columns::columns;
use super::flows::{Flows, Side};
use crate::busier::keep_busier_half;
use crate::record::{ICMP, ICMPV6, has_ports};
pub use conversations::{Conversation, ConversationRows, Exchanged};
pub use known::{HostRows, NAME_COLUMNS, Named, Names, PlaceKey, PlaceRows};

/// Milliseconds of a minute.
pub const MINUTE_MS: i64 = 60_000;

/// Different keys of a rollup at most. When more come, the half with fewer octets is forgotten, and the rollup says that it is not
/// exact: it takes a flood of forged addresses.
pub const MOST_KEYS: usize = 1 << 20;

/// Packets, octets and flows. Sums stay at the most that there is: what records of exporters say may be anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Packets.
    pub packets: i64,
    /// Octets from the IP header on.
    pub octets: i64,
    /// Records, each of which is of one direction.
    pub flows: i64,
}

impl Counts {
    /// What a row of flows counts, as an estimate of the whole.
    #[must_use]
    pub fn of(flows: &Flows, row: usize) -> Self {
        let sampling = flows.sampling[row].max(1);
        Self {
            packets: flows.packets[row].saturating_mul(sampling),
            octets: flows.octets[row].saturating_mul(sampling),
            flows: 1,
        }
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.packets = self.packets.saturating_add(other.packets);
        self.octets = self.octets.saturating_add(other.octets);
        self.flows = self.flows.saturating_add(other.flows);
    }
}

/// Counts of both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BothWays {
    /// From the one side.
    pub sent: Counts,
    /// To it.
    pub received: Counts,
}

impl BothWays {
    /// The counts of a row as those of one end: the source has sent them, the destination received.
    #[must_use]
    pub fn of(side: Side, counts: Counts) -> Self {
        match side {
            Side::Source => Self { sent: counts, ..Self::default() },
            Side::Destination => Self { received: counts, ..Self::default() },
        }
    }

    /// Both together.
    #[must_use]
    pub fn sum(self) -> Counts {
        let mut sum = self.sent;
        sum += self.received;
        sum
    }
}

impl std::ops::AddAssign for BothWays {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.received += other.received;
    }
}

/// Something that is counted by key.
#[derive(Clone, Debug)]
pub struct Tally<K, V> {
    /// The counts.
    pub counts: HashMap<K, V>,
    /// Whether keys were forgotten.
    pub is_rough: bool,
    /// Keys at most.
    most: usize,
}

impl<K, V> Tally<K, V> {
    /// An empty one of so many keys at most.
    #[must_use]
    pub fn bounded(most: usize) -> Self {
        Self { counts: HashMap::new(), is_rough: false, most }
    }

    /// Likewise empty, and of as many keys at most.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self::bounded(self.most)
    }
}

impl<K, V> Default for Tally<K, V> {
    fn default() -> Self {
        Self::bounded(MOST_KEYS)
    }
}

/// What may be forgotten where it is little.
pub trait Weight {
    /// How much it is.
    fn weight(&self) -> u64;
}

impl Weight for Counts {
    fn weight(&self) -> u64 {
        self.octets.try_into().unwrap_or(0)
    }
}

impl Weight for BothWays {
    fn weight(&self) -> u64 {
        self.sum().weight()
    }
}

impl<K: Hash + Eq, V: Default + Weight + std::ops::AddAssign> Tally<K, V> {
    /// Counts `more` of a key.
    pub fn add(&mut self, key: K, more: V) {
        if self.counts.len() >= self.most && !self.counts.contains_key(&key) {
            keep_busier_half(&mut self.counts, Weight::weight);
            self.is_rough = true;
        }
        *self.counts.entry(key).or_default() += more;
    }
}

/// What a minute is divided by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "named and explained as columns of flows")]
pub struct MinuteKey {
    /// Its first moment, milliseconds since 1970 UTC.
    pub minute_ms: i64,
    pub protocol: i32,
    pub direction: i32,
    pub ingress: i64,
    pub egress: i64,
    pub ingress_name: Option<Arc<str>>,
    pub egress_name: Option<Arc<str>>,
    pub exporter: u128,
}

impl MinuteKey {
    /// That of a row of flows. A row counts for the minute in which its flow ended, or was reported.
    #[must_use]
    pub fn of(flows: &Flows, row: usize) -> Self {
        Self {
            minute_ms: flows.end_ms[row].div_euclid(MINUTE_MS) * MINUTE_MS,
            protocol: flows.protocol[row],
            direction: flows.direction[row],
            ingress: flows.ingress[row],
            egress: flows.egress[row],
            ingress_name: flows.ingress_name[row].clone(),
            egress_name: flows.egress_name[row].clone(),
            exporter: flows.exporter[row],
        }
    }
}

/// A protocol and the port of the service, or what else tells its uses apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "named and explained as columns of flows")]
pub struct Service {
    pub protocol: i32,
    /// The lower of a flow's two ports, which is the service's more often than not; of ICMP the type and the code, as in
    /// `icmpTypeCode`.
    pub port: i32,
}

impl Service {
    /// That of a row of flows; none where the protocol has neither ports nor types.
    #[must_use]
    pub fn of(flows: &Flows, row: usize) -> Option<Self> {
        let protocol = flows.protocol[row];
        let service = |port| Some(Self { protocol, port });
        match u8::try_from(protocol) {
            Ok(known) if has_ports(known) => service(flows.source_port[row].min(flows.destination_port[row])),
            Ok(ICMP | ICMPV6) => service(flows.icmp[row]),
            _ => None,
        }
    }

    /// Whether it is a port, and not a type of ICMP.
    #[must_use]
    pub fn has_port(self) -> bool {
        u8::try_from(self.protocol).is_ok_and(has_ports)
    }
}

/// All rollups of some rows.
#[derive(Clone, Debug)]
pub struct Rollups {
    /// By minute.
    pub minutes: Tally<MinuteKey, Counts>,
    /// By address, as source and as destination.
    pub talkers: Tally<u128, BothWays>,
    /// By service.
    pub services: Tally<Service, Counts>,
    /// By both ends and service.
    pub conversations: Tally<Conversation, Exchanged>,
    /// By autonomous system and country.
    pub places: Tally<PlaceKey, BothWays>,
    /// What is known of addresses.
    pub hosts: Tally<u128, Named>,
}

impl Default for Rollups {
    fn default() -> Self {
        Self {
            minutes: Tally::bounded(MinuteRows::MOST),
            talkers: Tally::bounded(TalkerRows::MOST),
            services: Tally::bounded(ServiceRows::MOST),
            conversations: Tally::bounded(ConversationRows::MOST),
            places: Tally::bounded(PlaceRows::MOST),
            hosts: Tally::bounded(HostRows::MOST),
        }
    }
}

impl Rollups {
    /// Counts a row.
    pub fn add(&mut self, flows: &Flows, row: usize) {
        let counts = Counts::of(flows, row);
        self.minutes.add(MinuteKey::of(flows, row), counts);
        if let Some(service) = Service::of(flows, row) {
            self.services.add(service, counts);
        }
        let (conversation, exchanged) = Conversation::of(flows, row, counts);
        self.conversations.add(conversation, exchanged);
        for side in Side::BOTH {
            let both = BothWays::of(side, counts);
            self.talkers.add(flows.ends(side).addresses[row], both);
            self.places.add(PlaceKey::of(flows, row, side), both);
            known::note(&mut self.hosts, flows, row, side);
        }
    }
}

columns! {
    /// The rollup by minute on disk.
    pub struct MinuteRows {
        minute_ms: Time, "minute", "First moment of the minute in which the flows ended.";
        protocol: Number, "protocolIdentifier", "Of the IP header.";
        direction: Number, "flowDirection", "0 metered at ingress, 1 at egress.";
        ingress: Id, "ingressInterface", "Index of the interface by which packets came in.";
        egress: Id, "egressInterface", "Index of the one by which they left.";
        ingress_name: Text, "ingressInterfaceName", "Its name.";
        egress_name: Text, "egressInterfaceName", "Its name.";
        exporter: OptionalAddress, "exporterIPAddress", "Who sent the records.";
        packets: Count, "packets", "Packets.";
        octets: Count, "octets", "Octets.";
        flows: Count, "flows", "Records.";
    }
}

columns! {
    /// The rollup by address on disk.
    pub struct TalkerRows {
        address: Address, "address", "Of the host.";
        packets_sent: Count, "packetsSent", "Packets.";
        octets_sent: Count, "octetsSent", "Octets.";
        flows_sent: Count, "flowsSent", "Records.";
        packets_received: Count, "packetsReceived", "Packets.";
        octets_received: Count, "octetsReceived", "Octets.";
        flows_received: Count, "flowsReceived", "Records.";
    }
}

columns! {
    /// The rollup by service on disk.
    pub struct ServiceRows {
        protocol: Number, "protocolIdentifier", "Of the IP header.";
        port: Number, "port", "The lower of both; of ICMP type × 256 + code.";
        packets: Count, "packets", "Packets.";
        octets: Count, "octets", "Octets.";
        flows: Count, "flows", "Records.";
    }
}

/// What the folders of all rollups are called.
pub const NAMES: [&str; 6] =
    [MinuteRows::NAME, TalkerRows::NAME, ServiceRows::NAME, ConversationRows::NAME, PlaceRows::NAME, HostRows::NAME];

/// A rollup in both of its forms.
pub trait Rollup: super::columns::Columns {
    /// What its folder is called.
    const NAME: &'static str;
    /// Keys at most in each file.
    const MOST: usize = MOST_KEYS;
    /// What is counted.
    type Key: Hash + Eq + Ord + Clone;
    /// As what.
    type Value: Default + Weight + std::ops::AddAssign + Clone;

    /// That of all rollups.
    fn of(rollups: &mut Rollups) -> &mut Tally<Self::Key, Self::Value>;
    /// Adds a row.
    fn push(&mut self, key: &Self::Key, value: &Self::Value);
    /// What a row says.
    fn row(&self, row: usize) -> (Self::Key, Self::Value);
    /// Rows.
    fn count(&self) -> usize;

    /// All of a tally as rows, in the order of their keys.
    fn rows(tally: &Tally<Self::Key, Self::Value>) -> Self {
        let mut keys: Vec<&Self::Key> = tally.counts.keys().collect();
        keys.sort_unstable();
        let mut rows = Self::default();
        for key in keys {
            rows.push(key, &tally.counts[key]);
        }
        rows
    }
}

impl Rollup for MinuteRows {
    const NAME: &'static str = "minutes";
    type Key = MinuteKey;
    type Value = Counts;

    fn of(rollups: &mut Rollups) -> &mut Tally<MinuteKey, Counts> {
        &mut rollups.minutes
    }

    fn push(&mut self, key: &MinuteKey, value: &Counts) {
        self.minute_ms.push(key.minute_ms);
        self.protocol.push(key.protocol);
        self.direction.push(key.direction);
        self.ingress.push(key.ingress);
        self.egress.push(key.egress);
        self.ingress_name.push(key.ingress_name.clone());
        self.egress_name.push(key.egress_name.clone());
        self.exporter.push(key.exporter);
        self.packets.push(value.packets);
        self.octets.push(value.octets);
        self.flows.push(value.flows);
    }

    fn row(&self, row: usize) -> (MinuteKey, Counts) {
        let key = MinuteKey {
            minute_ms: self.minute_ms[row],
            protocol: self.protocol[row],
            direction: self.direction[row],
            ingress: self.ingress[row],
            egress: self.egress[row],
            ingress_name: self.ingress_name[row].clone(),
            egress_name: self.egress_name[row].clone(),
            exporter: self.exporter[row],
        };
        (key, Counts { packets: self.packets[row], octets: self.octets[row], flows: self.flows[row] })
    }

    fn count(&self) -> usize {
        self.minute_ms.len()
    }
}

/// Adds what was sent and received to the six columns that a rollup has for that.
macro_rules! push_both {
    ($rows:expr, $both:expr) => {
        let BothWays { sent, received } = $both;
        $rows.packets_sent.push(sent.packets);
        $rows.octets_sent.push(sent.octets);
        $rows.flows_sent.push(sent.flows);
        $rows.packets_received.push(received.packets);
        $rows.octets_received.push(received.octets);
        $rows.flows_received.push(received.flows);
    };
}

/// What they say in a row.
macro_rules! both_of {
    ($rows:expr, $row:expr) => {
        BothWays {
            sent: Counts {
                packets: $rows.packets_sent[$row],
                octets: $rows.octets_sent[$row],
                flows: $rows.flows_sent[$row],
            },
            received: Counts {
                packets: $rows.packets_received[$row],
                octets: $rows.octets_received[$row],
                flows: $rows.flows_received[$row],
            },
        }
    };
}

use {both_of, push_both};

impl Rollup for TalkerRows {
    const NAME: &'static str = "talkers";
    type Key = u128;
    type Value = BothWays;

    fn of(rollups: &mut Rollups) -> &mut Tally<u128, BothWays> {
        &mut rollups.talkers
    }

    fn push(&mut self, key: &u128, value: &BothWays) {
        self.address.push(*key);
        push_both!(self, *value);
    }

    fn row(&self, row: usize) -> (u128, BothWays) {
        (self.address[row], both_of!(self, row))
    }

    fn count(&self) -> usize {
        self.address.len()
    }
}

impl Rollup for ServiceRows {
    const NAME: &'static str = "services";
    type Key = Service;
    type Value = Counts;

    fn of(rollups: &mut Rollups) -> &mut Tally<Service, Counts> {
        &mut rollups.services
    }

    fn push(&mut self, key: &Service, value: &Counts) {
        self.protocol.push(key.protocol);
        self.port.push(key.port);
        self.packets.push(value.packets);
        self.octets.push(value.octets);
        self.flows.push(value.flows);
    }

    fn row(&self, row: usize) -> (Service, Counts) {
        let key = Service { protocol: self.protocol[row], port: self.port[row] };
        (key, Counts { packets: self.packets[row], octets: self.octets[row], flows: self.flows[row] })
    }

    fn count(&self) -> usize {
        self.port.len()
    }
}
