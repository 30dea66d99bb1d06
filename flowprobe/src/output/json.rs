//! JSON lines: one object a record, with the names of the IANA registry, and one a tick for each accounting sum.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::Arc;

use flowprobe_ebpf::Direction;

use serde_json::{Value, json};

use super::Writer;
use crate::collect::registry::put_tail_json;
use crate::collect::{Listening, Own, Said};
use crate::enrich::{End, Enricher, Enrichment, Facts, Interface, Known, Surroundings};
use crate::export::elements::{Field, Layout};
use crate::record::FlowRecord;
use crate::sink::{Event, Tick};
use crate::store::flows::{address_bits, mac_bits};

/// Writes records, and the accounting of the last tick.
#[derive(Debug)]
pub struct JsonLines {
    line: String,
    every_tick: bool,
    known: Surroundings,
}

impl JsonLines {
    /// Lines that say what is known of addresses and interfaces, too.
    #[must_use]
    pub fn enriched(enrichment: &Arc<Enrichment>) -> Self {
        let known = Surroundings::new(Some(Enricher::new(enrichment)));
        Self { line: String::new(), every_tick: false, known }
    }

    /// Accounting at every tick, not only at the last.
    #[must_use]
    pub fn with_every_tick(self) -> Self {
        Self { every_tick: true, ..self }
    }
}

impl Writer for JsonLines {
    fn write(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()> {
        match event {
            Event::Records(batch) => {
                self.known.refresh();
                for (record, reverse, said) in batch.conversations() {
                    self.line.clear();
                    match said {
                        None => {
                            put_record(batch.schema.layout(record), record, reverse, Own::ALL, &mut self.line);
                            put_interfaces(record, &mut self.known, &mut self.line);
                        }
                        Some(said) => {
                            let layout = batch.schema.layout_of_received(record);
                            put_record(layout, record, reverse, said.0.own, &mut self.line);
                            put_received(record, reverse, said, &mut self.line);
                        }
                    }
                    put_known(record, &mut self.known, &mut self.line);
                    self.line.push_str("}\n");
                    out.write_all(self.line.as_bytes())?;
                }
                Ok(())
            }
            Event::Tick(tick) => {
                self.known.forget();
                self.put_tick(tick, out)
            }
            Event::Deltas(_) | Event::ReceivedDeltas(_) | Event::Datagrams(_) => Ok(()),
        }
    }
}

impl JsonLines {
    fn put_tick(&self, tick: &Tick, out: &mut dyn Write) -> io::Result<()> {
        if !self.every_tick && !tick.last {
            return Ok(());
        }
        tick.accounting.iter().try_for_each(|sum| writeln!(out, "{}", sum.to_json()))?;
        // There may be a thousand exporters: not each time.
        if tick.last { put_listening(&tick.listening, out) } else { Ok(()) }
    }
}

/// Appends `record` as an object that is still open. Elements that say nothing about it are left out, also where they are 0 only because
/// they are none of its `own`; names and values need no escapes.
fn put_record(layout: &Layout, record: &FlowRecord, reverse: Option<&FlowRecord>, own: Own, line: &mut String) {
    let mut separator = '{';
    for element in layout.elements() {
        let Some(record) = element.subject(record, reverse).filter(|record| (element.applies)(record)) else {
            continue;
        };
        let (name, value) = (element.name, (element.value)(record));
        if value == Field::Unsigned(0) && !own.has(element.enterprise, element.id) {
            continue;
        }
        // Writing to a string does not fail.
        let _ = match value {
            Field::Unsigned(number) => write!(line, "{separator}\"{name}\":{number}"),
            Field::Float(number) => write!(line, "{separator}\"{name}\":{number}"),
            Field::V4(address) => write!(line, "{separator}\"{name}\":\"{address}\""),
            Field::V6(address) => write!(line, "{separator}\"{name}\":\"{address}\""),
            Field::Mac([a, b, c, d, e, f]) => {
                write!(line, "{separator}\"{name}\":\"{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}\"")
            }
        };
        separator = ',';
    }
}

/// Appends what a received record says beyond: estimates of the whole where packets were sampled, the names of its interfaces, who
/// sent it, and its tail.
fn put_received(record: &FlowRecord, reverse: Option<&FlowRecord>, (received, tail): Said<'_>, line: &mut String) {
    for (record, names) in [
        (Some(record), ["scaledPacketDeltaCount", "scaledOctetDeltaCount"]),
        (reverse, ["reverseScaledPacketDeltaCount", "reverseScaledOctetDeltaCount"]),
    ] {
        if let Some(record) = record.filter(|record| record.sampling.interval() > 1) {
            let (packets, octets) = record.scaled();
            // Writing to a string does not fail.
            let _ = write!(line, ",\"{}\":{packets},\"{}\":{octets}", names[0], names[1]);
        }
    }
    put_text("ingressInterfaceName", received.ingress_name.as_deref(), line);
    put_text("egressInterfaceName", received.egress_name.as_deref(), line);
    put_tail_json(&received.tail, tail, line);
}

/// Appends what the interfaces of this machine are called.
fn put_interfaces(record: &FlowRecord, known: &mut impl Known, line: &mut String) {
    for (direction, names) in [
        (Direction::Ingress, ["ingressInterfaceName", "ingressInterfaceDescription"]),
        (Direction::Egress, ["egressInterfaceName", "egressInterfaceDescription"]),
    ] {
        let Interface { name, alias } = known.interface(record.interface(direction));
        put_text(names[0], name.as_deref(), line);
        put_text(names[1], alias.as_deref(), line);
    }
}

/// Appends what is known of both ends, under the names that history has.
fn put_known(record: &FlowRecord, known: &mut impl Known, line: &mut String) {
    let key = &record.key;
    for (address, mac, as_number, names) in [
        (key.source, record.source_mac, record.source_as, SOURCE_NAMES),
        (key.destination, record.destination_mac, record.destination_as, DESTINATION_NAMES),
    ] {
        let End { facts, host_name, vendor } = known.end(address_bits(address, key.ip_version), mac_bits(mac));
        let Facts { place, label } = &facts;
        let organization = facts.as_organization(as_number);
        let others = [&place.country, &place.city, label, &host_name, &vendor].map(Option::as_ref);
        for (name, text) in names.into_iter().zip([organization].into_iter().chain(others)) {
            put_text(name, text.map(|text| &**text), line);
        }
    }
}

/// In the order in which [`put_known`] has them.
const SOURCE_NAMES: [&str; 6] =
    ["sourceAsOrganization", "sourceCountryCode", "sourceCityName", "sourceLabel", "sourceHostName", "sourceMacVendor"];
const DESTINATION_NAMES: [&str; 6] = [
    "destinationAsOrganization",
    "destinationCountryCode",
    "destinationCityName",
    "destinationLabel",
    "destinationHostName",
    "destinationMacVendor",
];

fn put_text(name: &str, text: Option<&str>, line: &mut String) {
    if let Some(text) = text {
        // Writing to a string does not fail.
        let _ = write!(line, ",\"{name}\":{}", Value::from(text));
    }
}

fn put_listening(listening: &Listening, out: &mut dyn Write) -> io::Result<()> {
    listening.listeners.iter().try_for_each(|one| writeln!(out, "{}", json!({ "listener": one })))?;
    listening.exporters.iter().try_for_each(|one| writeln!(out, "{}", json!({ "exporter": one })))
}

#[cfg(test)]
mod tests {
    use flowprobe_ebpf::FlowKey;

    use super::*;
    use crate::export::elements::Schema;

    fn object(protocol: u8, port: u16) -> Value {
        let example = FlowRecord::example();
        let key = FlowKey { source_port: 0, destination_port: port, protocol, ..example.key };
        let record = FlowRecord { key, tcp_flags: 0, source_mac: [2, 0, 0, 0, 0, 10], ..example };
        let mut line = String::new();
        put_record(Schema::default().layout(&record), &record, None, Own::ALL, &mut line);
        line.push('}');
        serde_json::from_str(&line).expect("one JSON object")
    }

    #[test]
    fn an_icmp_record_has_type_and_code_and_no_ports() {
        let object = object(1, 8 * 256);
        assert_eq!(object["sourceIPv4Address"], "192.0.2.1");
        assert_eq!((&object["icmpTypeCodeIPv4"], &object["octetDeltaCount"]), (&2048.into(), &156.into()));
        assert_eq!(object["flowStartMilliseconds"], 1_700_000_000_123_u64);
        assert_eq!(object["sourceMacAddress"], "02:00:00:00:00:0a");
        assert_eq!((&object["ingressInterface"], &object["flowEndReason"]), (&7.into(), &3.into()));
        for absent in ["destinationTransportPort", "sourceTransportPort", "vlanId", "egressInterface", "tcpControlBits"]
        {
            assert!(object.get(absent).is_none(), "{absent}");
        }
    }

    #[test]
    fn a_udp_record_has_ports_and_no_icmp() {
        let object = object(17, 53);
        assert_eq!(object["destinationTransportPort"], 53);
        assert!(object.get("icmpTypeCodeIPv4").is_none());
    }

    #[test]
    fn what_an_exporter_has_not_said_is_no_zero() {
        let layouts = Schema::default();
        let record = FlowRecord { packets: 0, octets: 0, tos: 0, ..FlowRecord::example() };
        let names = ["packetDeltaCount", "octetDeltaCount", "ipClassOfService", "flowDirection", "protocolIdentifier"];
        let said = |own: Own| {
            let mut line = String::new();
            put_record(layouts.layout_of_received(&record), &record, None, own, &mut line);
            line.push('}');
            let object: Value = serde_json::from_str(&line).expect("one JSON object");
            names.map(|name| object.get(name).and_then(Value::as_u64))
        };
        assert_eq!(said(Own::ALL), [Some(0), Some(0), Some(0), Some(0), Some(6)]);
        // What is not 0 was made of something else.
        assert_eq!(said(Own::of(|_, _| false)), [None, None, None, None, Some(6)]);
        assert_eq!(said(Own::of(|_, id| matches!(id, 1 | 61))), [None, Some(0), None, Some(0), Some(6)]);
    }
}
