//! The rollup of who talked to whom.

use std::cmp::Ordering;

use super::super::columns::columns;
use super::super::flows::{Flows, Side};
use super::{BothWays, Counts, Rollup, Rollups, Tally, Weight, both_of, push_both};

/// Both ends of a conversation. The server is the end with the lower port; where both are alike, or there are none, the end with the
/// larger address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "named and explained as columns of the rollup")]
pub struct Conversation {
    pub client: u128,
    pub server: u128,
    pub protocol: i32,
    pub port: i32,
}

impl Conversation {
    /// That of a row of flows, and what the row counts for it.
    #[must_use]
    pub fn of(flows: &Flows, row: usize, counts: Counts) -> (Self, Exchanged) {
        let (source, destination) = (flows.source[row], flows.destination[row]);
        let (source_port, destination_port) = (flows.source_port[row], flows.destination_port[row]);
        let is_from_client = match source_port.cmp(&destination_port) {
            Ordering::Greater => true,
            Ordering::Less => false,
            Ordering::Equal => source <= destination,
        };
        let (client, server) = if is_from_client { (source, destination) } else { (destination, source) };
        let both = BothWays::of(if is_from_client { Side::Source } else { Side::Destination }, counts);
        let port = source_port.min(destination_port);
        let key = Self { client, server, protocol: flows.protocol[row], port };
        (key, Exchanged { both, first_ms: flows.start_ms[row], last_ms: flows.end_ms[row] })
    }
}

/// What of a conversation was counted: when first and last, and from the client and to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named and explained as columns of the rollup")]
pub struct Exchanged {
    pub both: BothWays,
    pub first_ms: i64,
    pub last_ms: i64,
}

impl Default for Exchanged {
    fn default() -> Self {
        Self { both: BothWays::default(), first_ms: i64::MAX, last_ms: i64::MIN }
    }
}

impl std::ops::AddAssign for Exchanged {
    fn add_assign(&mut self, other: Self) {
        self.both += other.both;
        self.first_ms = self.first_ms.min(other.first_ms);
        self.last_ms = self.last_ms.max(other.last_ms);
    }
}

impl Weight for Exchanged {
    fn weight(&self) -> u64 {
        self.both.weight()
    }
}

columns! {
    /// The rollup by conversation on disk.
    pub struct ConversationRows {
        client: Address, "client", "The end with the higher port.";
        server: Address, "server", "The end with the lower port, which is the service's more often than not.";
        protocol: Number, "protocolIdentifier", "Of the IP header.";
        port: Number, "port", "The lower of both.";
        first_ms: Time, "firstMilliseconds", "When the first of its flows began.";
        last_ms: Time, "lastMilliseconds", "When the last of them ended.";
        packets_sent: Count, "packetsSent", "Packets of the client.";
        octets_sent: Count, "octetsSent", "Octets of the client.";
        flows_sent: Count, "flowsSent", "Records of the client.";
        packets_received: Count, "packetsReceived", "Packets of the server.";
        octets_received: Count, "octetsReceived", "Octets of the server.";
        flows_received: Count, "flowsReceived", "Records of the server.";
    }
}

impl Rollup for ConversationRows {
    const NAME: &'static str = "conversations";
    /// There are nearly as many conversations as flows: the large ones are what is asked for, the others are in the records.
    const MOST: usize = 1 << 15;
    type Key = Conversation;
    type Value = Exchanged;

    fn of(rollups: &mut Rollups) -> &mut Tally<Conversation, Exchanged> {
        &mut rollups.conversations
    }

    fn push(&mut self, key: &Conversation, value: &Exchanged) {
        self.client.push(key.client);
        self.server.push(key.server);
        self.protocol.push(key.protocol);
        self.port.push(key.port);
        self.first_ms.push(value.first_ms);
        self.last_ms.push(value.last_ms);
        push_both!(self, value.both);
    }

    fn row(&self, row: usize) -> (Conversation, Exchanged) {
        let key = Conversation {
            client: self.client[row],
            server: self.server[row],
            protocol: self.protocol[row],
            port: self.port[row],
        };
        let (first_ms, last_ms) = (self.first_ms[row], self.last_ms[row]);
        (key, Exchanged { both: both_of!(self, row), first_ms, last_ms })
    }

    fn count(&self) -> usize {
        self.client.len()
    }
}
