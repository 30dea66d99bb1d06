//! A daemon's answers, for tests.

use super::api::{Accounting, Conversation, Interfaces, Live, Picture};

/// What goes by in ten seconds.
const LIVE: &str = r#"{
    "milliseconds": 1700000300000, "openFlows": 1234, "flowsPerSecond": 4.5, "bitsPerSecond": 12345678, "packetsPerSecond": 2345,
    "series": {
        "milliseconds": [1700000297000, 1700000298000, 1700000299000], "seconds": [1.0, 1.0, 0.5],
        "octets": [1000000, 2000000, 500000], "packets": [1000, 2000, 500], "flows": [2, 4, 1],
        "protocols": [{"protocolIdentifier": 6, "protocol": "TCP", "octets": [500000, 1000000, 500000], "packets": [1, 1, 1]}]
    },
    "interfaces": [{"interface": "eth0", "direction": "ingress", "bitsPerSecond": 12345678, "packetsPerSecond": 2345}],
    "seconds": 10, "coveredSeconds": 10.0, "total": {"octets": 10000000, "packets": 20000},
    "sources": [
        {"address": "10.0.0.1", "octets": 7000000, "packets": 7000},
        {"address": "10.0.0.2", "octets": 2000000, "packets": 9000},
        {"address": "2001:db8::1", "octets": 900000, "packets": 3000},
        {"address": "10.0.0.10", "octets": 100000, "packets": 1000}
    ],
    "destinations": [
        {"address": "10.0.0.2", "octets": 8000000, "packets": 11000},
        {"address": "10.0.0.1", "octets": 2000000, "packets": 9000}
    ],
    "protocols": [
        {"protocolIdentifier": 6, "protocol": "TCP", "octets": 9000000, "packets": 16000},
        {"protocolIdentifier": 17, "protocol": "UDP", "octets": 100000, "packets": 1000},
        {"protocolIdentifier": 58, "protocol": "ICMPv6", "octets": 900000, "packets": 3000}
    ],
    "services": [
        {"protocolIdentifier": 6, "protocol": "TCP", "port": 443, "serviceName": "https", "octets": 9000000, "packets": 16000},
        {"protocolIdentifier": 17, "protocol": "UDP", "port": 53, "serviceName": "domain", "octets": 100000, "packets": 1000},
        {"protocolIdentifier": 6, "protocol": "TCP", "port": 9999, "serviceName": null, "octets": 10, "packets": 1}
    ],
    "conversations": [
        {"sourceIPAddress": "10.0.0.1", "sourceTransportPort": 50001, "destinationIPAddress": "10.0.0.2", "destinationTransportPort": 443,
            "protocolIdentifier": 6, "protocol": "TCP", "serviceName": "https", "octets": 7000000, "packets": 7000},
        {"sourceIPAddress": "10.0.0.2", "sourceTransportPort": 443, "destinationIPAddress": "10.0.0.1", "destinationTransportPort": 50001,
            "protocolIdentifier": 6, "protocol": "TCP", "serviceName": "https", "octets": 2000000, "packets": 9000},
        {"sourceIPAddress": "2001:db8::1", "sourceTransportPort": 0, "destinationIPAddress": "2001:db8::2", "destinationTransportPort": 32768,
            "protocolIdentifier": 58, "protocol": "ICMPv6", "serviceName": null, "octets": 900000, "packets": 3000},
        {"sourceIPAddress": "10.0.0.10", "sourceTransportPort": 50002, "destinationIPAddress": "10.0.0.1", "destinationTransportPort": 53,
            "protocolIdentifier": 17, "protocol": "UDP", "serviceName": "domain", "octets": 100000, "packets": 1000}
    ]
}"#;

const ACCOUNTING: &str = r#"{
    "drainedMilliseconds": 1700000300000, "openFlows": 1234,
    "sums": [{
        "interface": "eth0", "direction": "ingress", "seen": {"packets": 50000, "octets": 40000000},
        "exported": {"packets": 40000, "octets": 30000000}, "held": {"packets": 9995, "octets": 9999580},
        "overflow": {"packets": 0, "octets": 0}, "unparsed": {"packets": 5, "octets": 420},
        "sampledOut": {"packets": 0, "octets": 0}, "filteredOut": {"packets": 0, "octets": 0}, "balances": true,
        "overflowByProtocol": {}, "overflowByDestination": [], "unparsedByReason": {"notIp": {"packets": 5, "octets": 420}}
    }],
    "sinks": [{"name": "udp://192.0.2.1:4739", "lost": {"records": 0, "packets": 0, "octets": 0}, "collector": {}}]
}"#;

const INTERFACES: &str = r#"{"interfaces": [
    {"interface": "eth0", "hook": "native XDP", "speedBitsPerSecond": 1000000000, "directions": [
        {"direction": "ingress", "bitsPerSecond": 12345678, "packetsPerSecond": 2345, "seen": {"packets": 50000, "octets": 40000000}}]},
    {"interface": "wlan0", "hook": null, "speedBitsPerSecond": null, "directions": [
        {"direction": "ingress", "bitsPerSecond": 0, "packetsPerSecond": 0, "seen": {"packets": 0, "octets": 0}}]}
]}"#;

const STATUS: &str = r#"{"version": "0.1.0", "pid": 42, "uptimeSeconds": 3700}"#;

/// The answers by what was asked.
pub(super) const ANSWERS: [(&str, &str); 4] =
    [("live", LIVE), ("accounting", ACCOUNTING), ("interfaces", INTERFACES), ("status", STATUS)];

/// All of them.
pub(super) fn picture() -> Picture {
    let live: Live = serde_json::from_str(LIVE).expect("as the API has it");
    let accounting: Accounting = serde_json::from_str(ACCOUNTING).expect("as the API has it");
    let interfaces: Interfaces = serde_json::from_str(INTERFACES).expect("as the API has it");
    Picture { live, accounting, interfaces, daemon: serde_json::from_str(STATUS).ok() }
}

/// The same with so many conversations, of which the first are the largest.
pub(super) fn many(conversations: u16) -> Picture {
    let mut picture = picture();
    let one = picture.live.conversations[0].clone();
    let all = (0..conversations).map(|number| {
        let mut conversation = Conversation { source_port: Some(1000 + number), ..one.clone() };
        conversation.sum.octets = u64::from(conversations - number) * 1000;
        conversation
    });
    picture.live.conversations = all.collect();
    picture
}
