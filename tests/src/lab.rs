//! The lab's traffic: flows of every kind that differ in all that a collector may show, each from a source of its own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::frames::{ACK, Flow, ICMP, ICMPV6, NOBODY, SENDER, TCP, UDP};
use crate::truth::{FlowId, Flows, Object};

/// How many flows [`traffic`] has.
pub const FLOWS: u16 = 1000;

/// And packets, of all of them together.
pub const PACKETS: u64 = 100_000;

/// Frames, and all that is known of them.
pub struct Traffic {
    /// The flows.
    pub flows: Vec<Flow>,
    /// Their frames, in the order in which they are sent.
    pub frames: Vec<Vec<u8>>,
    /// What must be counted.
    pub sent: Flows,
}

/// 100,000 packets of 1,000 flows of every kind, shuffled into each other.
///
/// # Errors
/// See [`Flow::packet`].
pub fn traffic() -> Result<Traffic> {
    let flows: Vec<Flow> = (0..FLOWS).map(flow).collect();
    let mut sent = Flows::default();
    let mut frames = Vec::new();
    // Flow `number` has 1 to 199 packets: in each round come those that have packets left.
    for round in 0..200 {
        for (number, flow) in flows.iter().enumerate().filter(|(number, _)| round < 1 + 2 * (number % 100)) {
            let payload = (number * 13 + round * 37) % 1400;
            let (frame, counts) = flow.packet(payload)?;
            sent.add(flow.id.clone(), counts);
            frames.push(frame);
        }
    }
    Ok(Traffic { flows, frames, sent })
}

/// One of the flows: a fifth is IPv6; protocols, tags, flags and options alternate at periods that have no common factor.
fn flow(number: u16) -> Flow {
    let v6 = number.is_multiple_of(5);
    let protocol = match number % 7 {
        0 | 1 if v6 => ICMPV6,
        0 | 1 => ICMP,
        2..=4 => TCP,
        _ => UDP,
    };
    let [high, low] = number.to_be_bytes();
    let address = |net: u8| -> IpAddr {
        if v6 {
            Ipv6Addr::new(0x2001, 0xdb8, 0, u16::from(net), 0, 0, 0, number).into()
        } else {
            Ipv4Addr::new(10, net, high, low).into()
        }
    };
    let icmp = matches!(protocol, ICMP | ICMPV6);
    let (vlan, customer_vlan) = match number % 11 {
        0..=2 => (100 + number % 50, 0),
        3 | 4 => (1000 + number % 50, 200 + number % 30),
        _ => (0, 0),
    };
    let destination_port = match protocol {
        // Destination unreachable with its codes, echo request.
        ICMP if number.is_multiple_of(2) => 3 * 256 + number % 16,
        ICMP => 8 * 256,
        ICMPV6 => 128 * 256 + 256 * (number % 2),
        _ => 1 + number % 1000,
    };
    Flow {
        options: !v6 && number.is_multiple_of(13),
        // None of those that begin or end a connection.
        tcp_flags: ACK | [0, 0x08, 0x20, 0x40, 0x80, 0xe8][usize::from(number % 6)],
        tos: low.wrapping_mul(3),
        ..Flow::new(FlowId {
            source: address(1),
            destination: address(2),
            protocol,
            source_port: if icmp { 0 } else { 20_000 + number },
            destination_port,
            vlan,
            customer_vlan,
        })
    }
}

impl Traffic {
    /// What records must say of each flow, with all of its packets in one record, under the names that the daemon's JSON has
    /// and with 0 for what says nothing. `interface` is the index of the one where the frames come in.
    ///
    /// # Errors
    /// A flow was never sent.
    pub fn records(&self, interface: u32) -> Result<Vec<Object>> {
        self.flows.iter().map(|flow| self.record(flow, interface)).collect()
    }

    fn record(&self, flow: &Flow, interface: u32) -> Result<Object> {
        let FlowId { source, destination, protocol, source_port, destination_port, vlan, customer_vlan } = &flow.id;
        let counts = self.sent.0.get(&flow.id).with_context(|| format!("{flow:?} was not sent"))?;
        let version = if source.is_ipv4() { 4 } else { 6 };
        let icmp = matches!(*protocol, ICMP | ICMPV6);
        let record = json!({
            format!("sourceIPv{version}Address"): source.to_string(),
            format!("destinationIPv{version}Address"): destination.to_string(),
            "sourceTransportPort": source_port,
            "destinationTransportPort": destination_port,
            "protocolIdentifier": protocol,
            "ipVersion": version,
            "ipClassOfService": flow.tos,
            "tcpControlBits": if *protocol == TCP { flow.tcp_flags } else { 0 },
            format!("icmpTypeCodeIPv{version}"): if icmp { *destination_port } else { 0 },
            "minimumTTL": 64,
            "maximumTTL": 64,
            "packetDeltaCount": counts.packets,
            "octetDeltaCount": counts.octets,
            "ingressInterface": interface,
            "egressInterface": 0,
            "flowDirection": 0,
            "vlanId": vlan,
            "dot1qVlanId": vlan,
            "dot1qCustomerVlanId": customer_vlan,
            "mplsTopLabelStackSection": 0,
            "fragmentFlags": 0,
            "ethernetType": if version == 4 { 0x0800 } else { 0x86dd },
            "sourceMacAddress": mac(SENDER),
            "destinationMacAddress": mac(NOBODY),
        });
        let Value::Object(record) = record else { anyhow::bail!("no object") };
        Ok(record)
    }
}

fn mac(address: [u8; 6]) -> String {
    address.map(|octet| format!("{octet:02x}")).join(":")
}
