//! Findings as JSON: the same in the API, in files and in what is sent.

use serde_json::{Map, Value, json};

use super::super::findings::Finding;
use super::super::flow::{Flow, protocol};

/// A finding under the names of the API, with so many of its peers at most. Addresses are texts, times are milliseconds since 1970 UTC.
#[must_use]
pub fn finding(one: &Finding, peers: usize) -> Value {
    json!({
        "id": one.id,
        "rule": one.rule,
        "title": one.title,
        "severity": one.severity,
        "state": one.state,
        "firstMilliseconds": one.first_ms,
        "lastMilliseconds": one.last_ms,
        "detectedMilliseconds": one.detected_ms,
        "count": one.count,
        "subjects": [one.subject.to_string()],
        "matter": one.matter,
        "peers": one.peers.iter().take(peers).map(ToString::to_string).collect::<Vec<_>>(),
        "peerCount": one.peers.len(),
        "technique": one.technique,
        "explanation": one.explanation,
        "evidence": one.evidence.iter().map(evidence).collect::<Vec<_>>(),
    })
}

/// A flow by the names of IPFIX elements: those that it has. The addresses are of either version.
#[must_use]
pub fn evidence(flow: &Flow) -> Value {
    let mut keys = Map::new();
    let mut put = |name: &str, value: Value| drop(keys.insert(name.into(), value));
    put("sourceIPAddress", flow.source.to_string().into());
    put("destinationIPAddress", flow.destination.to_string().into());
    put("protocolIdentifier", flow.protocol.into());
    match flow.protocol {
        protocol::ICMP => put("icmpTypeCodeIPv4", flow.destination_port.into()),
        protocol::ICMPV6 => put("icmpTypeCodeIPv6", flow.destination_port.into()),
        _ if (flow.source_port, flow.destination_port) == (0, 0) => {}
        _ => {
            put("sourceTransportPort", flow.source_port.into());
            put("destinationTransportPort", flow.destination_port.into());
        }
    }
    if flow.protocol == protocol::TCP {
        put("tcpControlBits", flow.tcp_flags.into());
    }
    put("packetDeltaCount", flow.packets.into());
    put("octetDeltaCount", flow.octets.into());
    put("flowStartMilliseconds", flow.start_ms.into());
    put("flowEndMilliseconds", flow.end_ms.into());
    for (name, mac) in [("sourceMacAddress", flow.source_mac), ("destinationMacAddress", flow.destination_mac)] {
        if mac.0 != [0; 6] {
            put(name, mac.to_string().into());
        }
    }
    if flow.vlan != 0 {
        put("vlanId", flow.vlan.into());
    }
    Value::Object(keys)
}
