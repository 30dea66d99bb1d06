//! A change of a finding in the Elastic Common Schema: one JSON document, as SIEMs that know the schema take it in without a parser.

use serde_json::{Map, Value, json};

use super::json::peers;
use super::notice::{Notice, Observer, clean, moment};
use crate::detect::finding::{Severity, Subject};
use crate::detect::findings::{Change, Finding};
use crate::detect::flow::{Ip, Mac, protocol};
use crate::detect::service::json::evidence;

/// Version of the schema.
pub const VERSION: &str = "8.17.0";

/// One line without its end.
#[must_use]
pub fn line(notice: &Notice, observer: &Observer) -> String {
    document(notice, observer).to_string()
}

/// The document.
#[must_use]
pub fn document(notice: &Notice, observer: &Observer) -> Value {
    let finding = &notice.finding;
    let mut document = json!({
        "@timestamp": moment(notice.at_ms),
        "ecs": { "version": VERSION },
        "event": event(notice),
        "flowprobe": { "finding": own(notice) },
        "message": notice.message(),
        "observer": {
            "hostname": observer.hostname,
            "product": observer.product,
            "type": "sensor",
            "vendor": observer.vendor,
            "version": observer.version,
        },
        "related": { "ip": related(finding) },
        "rule": { "id": finding.rule, "name": finding.rule, "ruleset": observer.product },
    });
    for (path, value) in ends(finding).into_iter().chain(service(finding)) {
        put(&mut document, path, value);
    }
    if let Some(technique) = &finding.technique {
        put(&mut document, &["threat"], threat(technique));
    }
    document
}

fn event(notice: &Notice) -> Value {
    let Notice { finding, change, at_ms, .. } = notice;
    let types: &[&str] = match change {
        Change::Opened => &["info", "start"],
        Change::Raised => &["info"],
        Change::Ended => &["info", "end"],
    };
    let mut event = json!({
        "action": notice.change_name(),
        "category": ["network", "intrusion_detection"],
        "created": moment(*at_ms),
        "dataset": "flowprobe.finding",
        "duration": finding.last_ms.saturating_sub(finding.first_ms).max(0).saturating_mul(1_000_000),
        "end": moment(finding.last_ms),
        "id": notice.key(),
        "kind": "alert",
        "module": "flowprobe",
        "reason": clean(&finding.explanation),
        "severity": severity(finding.severity),
        "start": moment(finding.first_ms),
        "type": types,
    });
    // The end of what goes on is not known.
    if *change != Change::Ended
        && let Value::Object(keys) = &mut event
    {
        keys.remove("end");
        keys.remove("duration");
    }
    event
}

/// Numbers as Elastic's own detection rules have them.
const fn severity(severity: Severity) -> u8 {
    match severity {
        Severity::Low => 21,
        Severity::Medium => 47,
        Severity::High => 73,
        Severity::Critical => 99,
    }
}

/// What the schema has no fields for.
fn own(notice: &Notice) -> Value {
    let finding = &notice.finding;
    json!({
        "change": notice.change_name(),
        "count": finding.count,
        "evidence": finding.evidence.iter().map(evidence).collect::<Vec<_>>(),
        "id": finding.id,
        "last": moment(finding.last_ms),
        "matter": finding.matter,
        "peer_count": notice.peer_count,
        "peers": peers(finding),
        "severity": finding.severity,
        "state": finding.state,
        "subject": finding.subject.to_string(),
        "title": clean(&finding.title),
    })
}

fn related(finding: &Finding) -> Vec<String> {
    let subject = match &finding.subject {
        Subject::Host(ip) => Some(*ip),
        Subject::Mac(_) | Subject::Interface(_) => None,
    };
    let peers = finding.peers.iter().copied().filter(|peer| Some(*peer) != subject);
    subject.into_iter().chain(peers).take(super::notice::PEERS + 1).map(|ip| ip.to_string()).collect()
}

type Field = (&'static [&'static str], Value);

/// Source and destination: the subject is the end that it is in most of the evidence, and the only peer is the other.
fn ends(finding: &Finding) -> Vec<Field> {
    match &finding.subject {
        Subject::Host(subject) => {
            let mut peers = finding.peers.iter();
            let peer = peers.next().filter(|_| peers.next().is_none());
            let (source, destination) =
                if is_target(finding, *subject) { (peer, Some(subject)) } else { (Some(subject), peer) };
            let mut fields: Vec<Field> = Vec::new();
            if let Some(source) = source {
                fields.push((&["source", "address"], source.to_string().into()));
                fields.push((&["source", "ip"], source.to_string().into()));
            }
            if let Some(destination) = destination {
                fields.push((&["destination", "address"], destination.to_string().into()));
                fields.push((&["destination", "ip"], destination.to_string().into()));
            }
            fields
        }
        Subject::Mac(mac) => vec![(&["source", "mac"], written(*mac).into())],
        Subject::Interface(name) => vec![(&["observer", "ingress", "interface", "name"], clean(name).into())],
    }
}

fn is_target(finding: &Finding, subject: Ip) -> bool {
    let sent = finding.evidence.iter().filter(|flow| flow.source == subject).count();
    let received = finding.evidence.iter().filter(|flow| flow.destination == subject).count();
    received > sent
}

/// As RFC 7042 and the schema write it.
fn written(mac: Mac) -> String {
    mac.to_string().to_ascii_uppercase().replace(':', "-")
}

/// Protocol, and port of the destination, where all of the evidence that goes one way has the same.
fn service(finding: &Finding) -> Vec<Field> {
    let Some(first) = finding.evidence.first() else { return Vec::new() };
    if finding.evidence.iter().any(|flow| flow.protocol != first.protocol) {
        return Vec::new();
    }
    let mut fields: Vec<Field> = vec![(&["network", "iana_number"], first.protocol.to_string().into())];
    let name = match first.protocol {
        protocol::ICMP => "icmp",
        protocol::TCP => "tcp",
        protocol::UDP => "udp",
        protocol::ICMPV6 => "ipv6-icmp",
        _ => return fields,
    };
    fields.push((&["network", "transport"], name.into()));
    let mut there = finding.evidence.iter().filter(|flow| match &finding.subject {
        Subject::Host(subject) if is_target(finding, *subject) => flow.destination == *subject,
        Subject::Host(subject) => flow.source == *subject,
        Subject::Mac(_) | Subject::Interface(_) => true,
    });
    let port = there.next().map(|flow| flow.destination_port);
    if let Some(port) = port
        && matches!(first.protocol, protocol::TCP | protocol::UDP)
        && there.all(|flow| flow.destination_port == port)
    {
        fields.push((&["destination", "port"], port.into()));
    }
    fields
}

/// `T1048.003` is a technique and the part of it behind the dot.
fn threat(technique: &str) -> Value {
    let whole = technique.split('.').next().unwrap_or(technique);
    let reference = |id: &str| format!("https://attack.mitre.org/techniques/{}/", id.replace('.', "/"));
    let mut about = json!({ "id": [whole], "reference": [reference(whole)] });
    if whole != technique {
        put(&mut about, &["subtechnique"], json!({ "id": [technique], "reference": [reference(technique)] }));
    }
    json!({ "framework": "MITRE ATT&CK", "technique": about })
}

/// Puts a value where `path` leads, making the objects on the way.
fn put(document: &mut Value, path: &[&str], value: Value) {
    let (Some((name, rest)), Value::Object(keys)) = (path.split_first(), document) else { return };
    if rest.is_empty() {
        keys.insert((*name).to_owned(), value);
    } else {
        put(keys.entry(*name).or_insert_with(|| Value::Object(Map::new())), rest, value);
    }
}

#[cfg(test)]
mod tests {
    use super::super::notice::tests::{NOON, ip, notice, observer, probe, sighting};
    use super::*;
    use crate::detect::finding::Sighting;
    use crate::detect::flow::Flow;

    fn of(sighting: Sighting, change: Change) -> Value {
        document(&notice(sighting, change), &observer())
    }

    #[test]
    fn a_document_has_the_fields_of_the_schema() {
        let notice = notice(sighting(), Change::Ended);
        let id = &notice.finding.id;
        let text = "10.0.0.7 probed 512 ports on 10.0.0.9 in 14 s.";
        let expected = json!({
            "@timestamp": "2026-11-30T12:00:00.001Z",
            "ecs": { "version": "8.17.0" },
            "event": {
                "kind": "alert", "category": ["network", "intrusion_detection"], "type": ["info", "end"],
                "action": "ended", "severity": 73, "id": format!("{id}-ended-1"), "dataset": "flowprobe.finding",
                "module": "flowprobe", "created": "2026-11-30T12:00:00.001Z", "start": "2026-11-30T11:59:46.000Z",
                "end": "2026-11-30T12:00:00.000Z", "duration": 14_000_000_000_u64, "reason": text,
            },
            "message": format!("Ended: Port scan of 10.0.0.9. {text}"),
            "rule": { "id": "port-scan", "name": "port-scan", "ruleset": "flowprobe" },
            "observer": {
                "vendor": "flowprobe", "product": "flowprobe", "version": "1.2.3", "hostname": "gate.example",
                "type": "sensor",
            },
            "source": { "address": "10.0.0.7", "ip": "10.0.0.7" },
            "destination": { "address": "10.0.0.9", "ip": "10.0.0.9", "port": 22 },
            "network": { "iana_number": "6", "transport": "tcp" },
            "related": { "ip": ["10.0.0.7", "10.0.0.9"] },
            "threat": {
                "framework": "MITRE ATT&CK",
                "technique": { "id": ["T1046"], "reference": ["https://attack.mitre.org/techniques/T1046/"] },
            },
            "flowprobe": { "finding": {
                "id": id, "change": "ended", "state": "open", "severity": "high", "count": 1, "matter": "",
                "title": "Port scan of 10.0.0.9", "subject": "10.0.0.7", "peers": ["10.0.0.9"], "peer_count": 1,
                "last": "2026-11-30T12:00:00.000Z", "evidence": [evidence(&probe())],
            } },
        });
        assert_eq!(document(&notice, &observer()), expected);
        let line = line(&notice, &observer());
        assert!(line.starts_with("{\"@timestamp\":\"2026-11-30T12:00:00.001Z\",\"") && !line.contains('\n'), "{line}");
    }

    #[test]
    fn what_goes_on_has_no_end_yet() {
        let opened = of(sighting(), Change::Opened);
        assert_eq!((opened["event"].get("end"), opened["event"].get("duration")), (None, None));
        assert_eq!(
            (&opened["event"]["type"], &opened["event"]["action"]),
            (&json!(["info", "start"]), &json!("opened"))
        );
        assert_eq!(of(sighting(), Change::Raised)["event"]["type"], json!(["info"]));
        let numbers = [Severity::Low, Severity::Medium, Severity::High, Severity::Critical]
            .map(|severity| of(Sighting { severity, ..sighting() }, Change::Opened)["event"]["severity"].as_u64());
        assert_eq!(numbers, [Some(21), Some(47), Some(73), Some(99)]);
    }

    #[test]
    fn a_victim_is_the_destination() {
        let flood = Sighting { subject: ip("10.0.0.9").into(), peers: vec![ip("10.0.0.7")], ..sighting() };
        let document = of(flood.clone(), Change::Opened);
        assert_eq!(
            (&document["source"]["ip"], &document["destination"]["ip"]),
            (&json!("10.0.0.7"), &json!("10.0.0.9"))
        );
        assert_eq!(document["destination"]["port"], 22);
        let by_many = Sighting { peers: vec![ip("10.0.0.7"), ip("10.0.0.8")], ..flood };
        let document = of(by_many, Change::Opened);
        assert_eq!((document.get("source"), &document["destination"]["ip"]), (None, &json!("10.0.0.9")));
        assert_eq!(document["related"]["ip"], json!(["10.0.0.9", "10.0.0.7", "10.0.0.8"]));
    }

    #[test]
    fn ports_and_protocols_that_differ_are_left_to_the_evidence() {
        let ports = vec![probe(), Flow { destination_port: 23, ..probe() }];
        let document = of(Sighting { evidence: ports, ..sighting() }, Change::Opened);
        assert_eq!((document["destination"].get("port"), &document["network"]["transport"]), (None, &json!("tcp")));
        let protocols = vec![probe(), Flow { protocol: 17, ..probe() }];
        assert_eq!(of(Sighting { evidence: protocols, ..sighting() }, Change::Opened).get("network"), None);
        let answer = Flow { source: ip("10.0.0.9"), destination: ip("10.0.0.7"), destination_port: 40_000, ..probe() };
        let document = of(Sighting { evidence: vec![answer, probe()], ..sighting() }, Change::Opened);
        assert_eq!(document["destination"]["port"], 22);
        assert_eq!(of(Sighting { evidence: vec![], ..sighting() }, Change::Opened).get("network"), None);
    }

    #[test]
    fn subjects_that_are_no_hosts_and_parts_of_techniques_have_their_fields() {
        let device = Sighting { subject: Subject::Mac(Mac([0, 0x0a, 0xbc, 1, 2, 3])), evidence: vec![], ..sighting() };
        let document = of(device, Change::Opened);
        assert_eq!(
            (&document["source"], &document["related"]["ip"]),
            (&json!({ "mac": "00-0A-BC-01-02-03" }), &json!(["10.0.0.9"]))
        );
        let full = Sighting { subject: Subject::Interface("eth0".into()), evidence: vec![], ..sighting() };
        let document = of(full, Change::Opened);
        assert_eq!(document["observer"]["ingress"]["interface"]["name"], "eth0");
        assert_eq!(document["observer"]["hostname"], "gate.example");
        assert_eq!(
            threat("T1048.003")["technique"],
            json!({
                "id": ["T1048"], "reference": ["https://attack.mitre.org/techniques/T1048/"],
                "subtechnique": { "id": ["T1048.003"], "reference": ["https://attack.mitre.org/techniques/T1048/003/"] },
            })
        );
        let late = notice(Sighting { last_ms: NOON - 20_000, ..sighting() }, Change::Ended);
        assert_eq!(super::document(&late, &observer())["event"]["duration"], 0);
    }
}
