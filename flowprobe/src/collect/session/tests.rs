//! Exporters made of messages: what their listener makes of each, and what it then knows.

mod bounds;
mod counts;
mod damage;
mod health;
mod holding;
mod joining;
mod ports;
mod restarts;
mod second_reading;
mod sequence;
mod templates;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Exporters, Limits, Moment, Peer};
use crate::collect::health::ExporterHealth;
use crate::collect::received::ReceivedRecords;
use crate::collect::wire::build::{set, template};

/// When tests begin, seconds since 1970.
const START: u32 = 1_700_000_000;

/// Source and destination address, octets and packets.
const FIELDS: [(u16, u16); 4] = [(8, 4), (12, 4), (1, 4), (2, 4)];

/// What a message without flows brings.
const NONE: [u64; 0] = [];

/// A listener, and what it has received.
struct Listener {
    exporters: Exporters,
    started: Instant,
    now: Duration,
    out: ReceivedRecords,
}

impl Listener {
    fn new() -> Self {
        Self::within(Limits::default())
    }

    fn within(limits: Limits) -> Self {
        let (exporters, out) = (Exporters::new(limits), ReceivedRecords::default());
        Self { exporters, started: Instant::now(), now: Duration::ZERO, out }
    }

    fn moment(&self) -> Moment {
        let wall_us = u64::from(START) * 1_000_000 + u64::try_from(self.now.as_micros()).expect("tests are short");
        Moment { wall_us, monotonic: self.started + self.now }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    fn expire(&mut self) {
        self.exporters.expire(self.moment(), &mut self.out);
    }

    /// Takes a message; the octets of the flows that it has brought.
    fn take(&mut self, peer: Peer, message: &[u8]) -> Vec<u64> {
        let before = self.out.records.len();
        self.exporters.take(&peer, message, self.moment(), &mut self.out);
        assert_eq!(self.out.records.len(), self.out.beyond.len(), "each record says something beyond");
        self.out.records[before..].iter().map(|record| record.octets).collect()
    }

    /// How the only exporter fares.
    fn health(&self) -> ExporterHealth {
        let mut all = self.exporters.health();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }
}

/// A datagram from this address and port.
fn from(address: &str) -> Peer {
    let address: SocketAddr = address.parse().expect("an address and a port");
    Peer { address, connection: None }
}

fn a() -> Peer {
    from("192.0.2.7:40000")
}

/// The set with the template of [`FIELDS`] in IPFIX.
fn told(id: u16) -> Vec<u8> {
    set(2, &template(id, &FIELDS))
}

/// A set of records of [`FIELDS`] with these octets.
fn flows(id: u16, octets: &[u32]) -> Vec<u8> {
    let record = |octets: &u32| [0xc000_0201, 0xc633_6402, *octets, 1].map(u32::to_be_bytes).concat();
    set(id, &octets.iter().flat_map(record).collect::<Vec<u8>>())
}
