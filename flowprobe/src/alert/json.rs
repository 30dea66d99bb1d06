//! A finding as the API has it: `Finding` of `openapi.json`, with what a change adds.

use serde_json::Value;

use super::notice::{Notice, PEERS};
use crate::detect::findings::Finding;
use crate::detect::service::json::finding;

/// A change: the finding, with `change` and when that became known.
#[must_use]
pub fn body(notice: &Notice) -> Value {
    let mut value = finding(&notice.finding, PEERS);
    if let Value::Object(keys) = &mut value {
        keys.insert("change".into(), notice.change_name().into());
        keys.insert("changeMilliseconds".into(), notice.at_ms.into());
        keys.insert("peerCount".into(), notice.peer_count.into());
    }
    value
}

/// The same as one line without its end.
#[must_use]
pub fn line(notice: &Notice) -> String {
    body(notice).to_string()
}

/// Addresses of the peers, [`PEERS`] of them at most.
pub(super) fn peers(finding: &Finding) -> Vec<String> {
    finding.peers.iter().take(PEERS).map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::super::notice::tests::{NOON, ip, notice, probe, sighting};
    use serde_json::json;

    use super::*;
    use crate::detect::findings::Change;
    use crate::detect::flow::{Flow, Mac};
    use crate::detect::service::json::evidence;

    #[test]
    fn a_finding_is_as_the_api_has_it() {
        let notice = notice(sighting(), Change::Raised);
        let expected = json!({
            "id": notice.finding.id, "rule": "port-scan", "title": "Port scan of 10.0.0.9", "severity": "high",
            "state": "open", "change": "raised", "changeMilliseconds": NOON + 1,
            "firstMilliseconds": NOON - 14_000, "lastMilliseconds": NOON, "detectedMilliseconds": NOON, "count": 1,
            "subjects": ["10.0.0.7"], "matter": "", "peers": ["10.0.0.9"], "peerCount": 1, "technique": "T1046",
            "explanation": "10.0.0.7 probed 512 ports on 10.0.0.9 in 14 s.",
            "evidence": [{
                "sourceIPAddress": "10.0.0.7", "destinationIPAddress": "10.0.0.9", "protocolIdentifier": 6,
                "sourceTransportPort": 40_000, "destinationTransportPort": 22, "tcpControlBits": 2,
                "packetDeltaCount": 1, "octetDeltaCount": 60,
                "flowStartMilliseconds": NOON - 14_000, "flowEndMilliseconds": NOON - 14_000,
                "sourceMacAddress": "02:00:00:00:00:07",
            }],
        });
        assert_eq!(body(&notice), expected);
        assert_eq!(serde_json::from_str::<Value>(&line(&notice)).expect("JSON"), expected);
        assert!(!line(&notice).contains('\n'));
    }

    #[test]
    fn a_flow_has_no_elements_that_it_cannot_have() {
        let echo = Flow { protocol: 1, source_port: 0, destination_port: 0x0800, tcp_flags: 0, ..probe() };
        let keys = |flow: &Flow| evidence(flow).as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
        assert_eq!(evidence(&echo)["icmpTypeCodeIPv4"], 0x0800);
        assert!(!keys(&echo).iter().any(|key| key.contains("Port") || key == "tcpControlBits"));
        let neighbour = Flow { source: ip("fe80::1"), destination: ip("ff02::1"), protocol: 58, ..echo };
        assert_eq!(
            (&evidence(&neighbour)["icmpTypeCodeIPv6"], &evidence(&neighbour)["sourceIPAddress"]),
            (&0x0800.into(), &"fe80::1".into())
        );
        let gre =
            Flow { protocol: 47, source_port: 0, destination_port: 0, vlan: 7, source_mac: Mac::default(), ..probe() };
        assert_eq!(evidence(&gre)["vlanId"], 7);
        assert!(!keys(&gre).iter().any(|key| key.contains("Port") || key.contains("Mac")));
    }
}
