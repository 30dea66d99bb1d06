//! What the daemon reports of a mix, folded while it comes: millions of records become one sum for each flow.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;

use flowprobe_ebpf::traffic::TrafficFlow;
use serde::Deserialize;
use serde_json::Value;

use super::mix::Traffic;
use crate::truth::{Counts, Object, Total};

/// Strange records that are kept to be shown.
const EXAMPLES: usize = 20;

/// The sums of records, and the last accounting of each interface.
#[derive(Debug)]
pub struct Ledger {
    numbers: HashMap<Key, u32>,
    /// The number of the flood, and where it goes.
    flood: Option<(u32, Ipv4Addr)>,
    counts: Vec<Counts>,
    records: u64,
    /// What records of no known flow add up to.
    strange: Counts,
    examples: Vec<String>,
    /// By interface and direction.
    accounting: BTreeMap<(String, String), Object>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    source_port: u16,
    destination_port: u16,
    protocol: u8,
}

/// What a record says, as far as it is compared.
#[derive(Deserialize)]
struct Record<'a> {
    #[serde(rename = "sourceIPv4Address")]
    source: &'a str,
    #[serde(rename = "destinationIPv4Address")]
    destination: &'a str,
    #[serde(rename = "protocolIdentifier")]
    protocol: u8,
    #[serde(rename = "sourceTransportPort", default)]
    source_port: u16,
    #[serde(rename = "destinationTransportPort", default)]
    destination_port: u16,
    #[serde(rename = "icmpTypeCodeIPv4", default)]
    icmp: u16,
    #[serde(rename = "packetDeltaCount")]
    packets: u64,
    #[serde(rename = "octetDeltaCount")]
    octets: u64,
    #[serde(rename = "layer2OctetDeltaCount")]
    layer2_octets: u64,
    #[serde(rename = "flowStartMilliseconds")]
    start: u64,
    #[serde(rename = "flowEndMilliseconds")]
    end: u64,
}

impl Ledger {
    /// An empty ledger of the flows of `traffic`.
    #[must_use]
    pub fn new(traffic: &Traffic) -> Self {
        let numbered = || (0_u32..).zip(&traffic.flows);
        let flood = numbered().find(|(_, flow)| flow.flood != 0);
        Self {
            numbers: numbered().filter(|(_, flow)| flow.flood == 0).map(|(number, flow)| (key(flow), number)).collect(),
            flood: flood.map(|(number, flow)| (number, flow.destination.into())),
            counts: vec![Counts::default(); traffic.flows.len()],
            records: 0,
            strange: Counts::default(),
            examples: Vec::new(),
            accounting: BTreeMap::new(),
        }
    }

    /// Takes a line that the daemon printed; whether it is not a record, and to be kept.
    pub fn take(&mut self, line: &str) -> bool {
        if line.starts_with("{\"accounting\"") {
            self.take_accounting(line);
            return true;
        }
        let Ok(record) = serde_json::from_str::<Record<'_>>(line) else {
            // Whoever reads what was kept sees that it is nothing that was expected.
            self.example(line);
            return true;
        };
        let counts = Counts { packets: record.packets, octets: record.octets, layer2_octets: record.layer2_octets };
        self.records += 1;
        let known = record.start <= record.end;
        match self.number(&record).filter(|_| known).and_then(|number| self.counts.get_mut(number as usize)) {
            Some(sum) => *sum += counts,
            None => {
                self.strange += counts;
                self.example(line);
            }
        }
        false
    }

    /// What was reported of each flow.
    #[must_use]
    pub fn counts(&self) -> &[Counts] {
        &self.counts
    }

    /// Records so far.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// What all records add up to.
    #[must_use]
    pub fn sum(&self) -> Counts {
        let mut sum = self.strange;
        for counts in &self.counts {
            sum += *counts;
        }
        sum
    }

    /// Lines that are neither accounting nor records of a flow that was sent, or whose time runs backwards: some of them.
    #[must_use]
    pub fn strange(&self) -> &[String] {
        &self.examples
    }

    /// The last accounting of what came in on an interface.
    #[must_use]
    pub fn accounting(&self, interface: &str) -> Option<&Object> {
        self.accounting.get(&(interface.to_owned(), "ingress".to_owned()))
    }

    /// What has been seen on an interface, by its last accounting.
    #[must_use]
    pub fn seen(&self, interface: &str) -> Total {
        let last = self.accounting(interface).and_then(|last| Total::of_term(last, "seen").ok());
        last.unwrap_or_default()
    }

    fn number(&self, record: &Record<'_>) -> Option<u32> {
        let destination: Ipv4Addr = record.destination.parse().ok()?;
        if let Some((number, target)) = self.flood
            && target == destination
        {
            return Some(number);
        }
        let key = Key {
            source: record.source.parse().ok()?,
            destination,
            source_port: record.source_port,
            // Never both.
            destination_port: record.destination_port | record.icmp,
            protocol: record.protocol,
        };
        self.numbers.get(&key).copied()
    }

    fn take_accounting(&mut self, line: &str) {
        let value: Option<Value> = serde_json::from_str(line).ok();
        let Some(Value::Object(sum)) = value.and_then(|mut value| Some(value.get_mut("accounting")?.take())) else {
            self.example(line);
            return;
        };
        let text = |name: &str| sum.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        self.accounting.insert((text("interface"), text("direction")), sum);
    }

    fn example(&mut self, line: &str) {
        if self.examples.len() < EXAMPLES {
            self.examples.push(line.to_owned());
        }
    }
}

fn key(flow: &TrafficFlow) -> Key {
    Key {
        source: flow.source.into(),
        destination: flow.destination.into(),
        source_port: flow.source_port,
        destination_port: flow.destination_port,
        protocol: flow.protocol,
    }
}
