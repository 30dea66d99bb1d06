//! The recent past as `/api/v1/live` says it. Names are those of the API: see `openapi.json` and docs/api.md.

use std::collections::VecDeque;
use std::net::IpAddr;

use serde::Serialize;

use super::live::{InterfaceRate, Sample};
use crate::enrich::service_name;
use crate::summary::protocol_name;
use crate::summary::window::{self, Amount};

/// The recent past.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    pub milliseconds: u64,
    pub open_flows: u64,
    pub flows_per_second: u64,
    pub bits_per_second: u64,
    pub packets_per_second: u64,
    pub series: Series,
    pub interfaces: Vec<InterfaceRate>,
    pub seconds: u64,
    pub covered_seconds: f64,
    pub total: Sum,
    pub sources: Vec<Address>,
    pub destinations: Vec<Address>,
    pub protocols: Vec<Protocol>,
    pub services: Vec<Service>,
    pub conversations: Vec<Conversation>,
}

/// Samples, column by column.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Series {
    pub milliseconds: Vec<u64>,
    pub seconds: Vec<f64>,
    pub octets: Vec<u64>,
    pub packets: Vec<u64>,
    pub flows: Vec<u64>,
    pub protocols: Vec<ProtocolSeries>,
}

/// What of the samples is of one protocol.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProtocolSeries {
    pub protocol_identifier: u8,
    pub protocol: String,
    pub octets: Vec<u64>,
    pub packets: Vec<u64>,
}

impl Series {
    pub(super) fn of(samples: &VecDeque<Sample>) -> Self {
        let mut series = Self::default();
        let mut seen: Vec<u8> = samples.iter().flat_map(|sample| &sample.protocols).map(|(one, _)| *one).collect();
        seen.sort_unstable();
        seen.dedup();
        for sample in samples {
            series.milliseconds.push(sample.wall_ms);
            series.seconds.push(sample.seconds);
            series.octets.push(sample.octets);
            series.packets.push(sample.packets);
            series.flows.push(sample.flows);
        }
        for protocol in seen {
            let of = |sample: &Sample| {
                let found = sample.protocols.iter().find(|(one, _)| *one == protocol);
                found.map_or_else(Amount::default, |(_, amount)| *amount)
            };
            series.protocols.push(ProtocolSeries {
                protocol_identifier: protocol,
                protocol: protocol_name(protocol),
                octets: samples.iter().map(|sample| of(sample).octets).collect(),
                packets: samples.iter().map(|sample| of(sample).packets).collect(),
            });
        }
        series
    }
}

/// Octets from the IP header on, and packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sum {
    pub octets: u64,
    pub packets: u64,
}

/// Defines a row of a table: what it is about, and its sum.
macro_rules! row {
    ($name:ident { $($(#[$attribute:meta])* $field:ident: $kind:ty),* }, $text:literal) => {
        #[doc = $text]
        #[derive(Clone, Debug, PartialEq, Eq, Serialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $name {
            $($(#[$attribute])* pub $field: $kind,)*
            pub octets: u64,
            pub packets: u64,
        }
    };
}

row!(Address { address: String }, "An address.");
row!(Protocol { protocol_identifier: u8, protocol: String }, "A protocol.");
row!(Service { protocol_identifier: u8, protocol: String, port: u16, service_name: Option<&'static str> }, "A service.");
row!(
    Conversation {
        #[serde(rename = "sourceIPAddress")]
        source_ip_address: String,
        source_transport_port: u16,
        #[serde(rename = "destinationIPAddress")]
        destination_ip_address: String,
        destination_transport_port: u16,
        protocol_identifier: u8,
        protocol: String,
        service_name: Option<&'static str>
    },
    "One direction of a conversation."
);

impl Address {
    pub(super) fn of(address: IpAddr, Amount { packets, octets }: Amount) -> Self {
        Self { address: address.to_string(), octets, packets }
    }
}

impl Protocol {
    pub(super) fn of(protocol: u8, Amount { packets, octets }: Amount) -> Self {
        Self { protocol_identifier: protocol, protocol: protocol_name(protocol), octets, packets }
    }
}

fn service(protocol: u8, port: u16) -> Option<&'static str> {
    service_name(protocol.into(), port.into()).map(|name| &**name)
}

impl Service {
    pub(super) fn of(protocol: u8, port: u16, Amount { packets, octets }: Amount) -> Self {
        let service_name = service(protocol, port);
        Self { protocol_identifier: protocol, protocol: protocol_name(protocol), port, service_name, octets, packets }
    }
}

impl Conversation {
    pub(super) fn of(key: &window::Conversation, Amount { packets, octets }: Amount) -> Self {
        Self {
            source_ip_address: key.source.to_string(),
            source_transport_port: key.source_port,
            destination_ip_address: key.destination.to_string(),
            destination_transport_port: key.destination_port,
            protocol_identifier: key.protocol,
            protocol: protocol_name(key.protocol),
            service_name: service(key.protocol, key.source_port.min(key.destination_port)),
            octets,
            packets,
        }
    }
}
