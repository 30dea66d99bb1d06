//! Holds that of many vendors' exporters, as they were captured, every flow record is read, and what it says.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use flowprobe_tests::captures::{Datagram, datagrams, shared};
use flowprobe_tests::daemon::{Daemon, Report};
use flowprobe_tests::exporting::{Sender, says};
use flowprobe_tests::listening::{HERE, Listening};
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::truth::{Object, number};
use flowprobe_tests::{require, skip};
use serde_json::{Value, json};

/// Why ipfixcol2 has fewer: it reads no data whose header is older than that of their template, and captures of templates were
/// often taken later. Export times are not the order in which messages were sent.
const LATE_TEMPLATE: &str =
    "the template's message is the later one by its header, and describes the data all the same";

/// Groups of which collectors have different numbers, or all of them not what the standard says: flow records, and why so many.
const DECIDED: [(&str, usize, &str); 19] = [
    (
        "akvorado__data+templates",
        21,
        "the first FlowSet of the message is before the one with its template, and is as readable (RFC 3954 section 9)",
    ),
    ("akvorado__datalink", 1, "the data came before the template, and are as readable (RFC 7011 section 9)"),
    ("akvorado__ethernet-over-mpls-with-control-word", 10, LATE_TEMPLATE),
    ("akvorado__juniper-cpid", 1, LATE_TEMPLATE),
    ("logstash__ipfix_test_viptela", 1, LATE_TEMPLATE),
    (
        "logstash__netflow5",
        2,
        "several messages in one payload, as no exporter sends them: a datagram is one message, and the rest is counted",
    ),
    ("logstash__netflow9_test_0length_fields", 10, "fields of no octets; nfacctd's six are aggregates"),
    ("logstash__netflow9_test_cisco_aci", 3, "three templates come before a FlowSet of length 0, and stay"),
    ("logstash__netflow9_test_cisco_wlc", 19, LATE_TEMPLATE),
    ("logstash__netflow9_test_fortigate_fortios_521", 1, LATE_TEMPLATE),
    (
        "logstash__netflow9_test_h3c_netstream_varstring",
        1,
        "a length of 65535, which is IPFIX's, in a template of NetFlow v9",
    ),
    ("logstash__netflow9_test_invalid01", 2, "FlowSets without padding to four octets, which only should be there"),
    ("logstash__netflow9_test_streamcore", 4, LATE_TEMPLATE),
    ("pmacct__101-NFv9-CISCO-cust_primitives", 51, LATE_TEMPLATE),
    ("pmacct__102-NFv9-CISCO-f2rd-pretag-sampling-reload", 35, LATE_TEMPLATE),
    ("pmacct__106-IPFIXv10-HUAWEI-vrf_name", 3, LATE_TEMPLATE),
    ("pmacct__111-IPFIXv10-NFv9-IPv6-IPv4-mix_sources", 24, LATE_TEMPLATE),
    ("pmacct__400-IPFIXv10-BMP-CISCO-SRv6-multiple-sources", 766, LATE_TEMPLATE),
    ("pmacct__502-IPFIXv10-BGP-IPv6-CISCO-SRv6-lcomms", 75, "nfacctd's 74 are aggregates"),
];

/// Files that one exporter sent, and how many flow records collectors made of them.
struct Group {
    name: String,
    messages: Vec<Datagram>,
    records: usize,
}

/// The groups of the corpus, or those that are named.
fn groups(folder: &Path, named: &[&str]) -> Result<Vec<Group>> {
    let table = fs::read_to_string(folder.join("EXPECTED.tsv"))?;
    let mut groups = Vec::new();
    for line in table.lines().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let &[name, files, _versions, count, ref collectors @ ..] = &columns[..] else {
            anyhow::bail!("not seven columns: {line}");
        };
        if !named.is_empty() && !named.contains(&name) {
            continue;
        }
        let counts = collectors.iter().map(|count| Ok(count.parse()?)).collect::<Result<Vec<usize>>>()?;
        let decided = DECIDED.iter().find(|(group, ..)| *group == name).map(|(_, records, _)| *records);
        let agreed = counts.iter().all(|count| *count == counts[0]).then_some(counts[0]);
        let records = decided.or(agreed).with_context(|| format!("{name}: collectors disagree, and nobody decided"))?;
        ensure!(decided != agreed, "{name}: nothing was to be decided");
        let mut messages = Vec::new();
        for file in files.split(',').map(|file| folder.join(file)) {
            messages.extend(messages_of(&file)?);
        }
        ensure!(messages.len() == count.parse::<usize>()?, "{name}: {} messages", messages.len());
        groups.push(Group { name: name.to_owned(), messages, records });
    }
    ensure!(named.is_empty() || groups.len() == named.len(), "not all of {named:?} are in the corpus");
    Ok(groups)
}

/// The messages of a file: those of a capture, or one, which is the file.
fn messages_of(file: &PathBuf) -> Result<Vec<Datagram>> {
    let octets = fs::read(file).with_context(|| file.display().to_string())?;
    if file.extension().is_some_and(|extension| extension == "pcap") {
        return Ok(datagrams(&octets));
    }
    let nobody = SocketAddr::from(([0; 4], 40_000));
    Ok(vec![Datagram { source: nobody, payload: octets }])
}

/// From which ports messages are sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ports {
    /// From those from which they were captured.
    Captured,
    /// Each from one of its own, as where a capture is repeated by a program that makes a socket for each message.
    Ever,
}

/// Has a daemon read `groups`, each source of each from an address of its own. Returns its report and each group's records.
fn read(groups: &[Group], ports: Ports) -> Result<(Report, Vec<Vec<Object>>)> {
    let room = Namespace::new()?;
    let daemon = Daemon::start(&room, &["--listen", &format!("udp://{HERE}")])?;
    for (number, group) in groups.iter().enumerate() {
        let mut senders: BTreeMap<SocketAddr, Sender> = BTreeMap::new();
        let mut hosts: Vec<IpAddr> = Vec::new();
        for message in &group.messages {
            let host = place(&mut hosts, message.source.ip());
            if ports == Ports::Ever {
                let from = format!("127.1.{}.{}:0", number + 1, host + 1);
                Sender::new(&room, &from, HERE)?.send(&message.payload)?;
                continue;
            }
            let sender = match senders.entry(message.source) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    let from = format!("127.1.{}.{}:{}", number + 1, host + 1, message.source.port());
                    new.insert(Sender::new(&room, &from, HERE)?)
                }
            };
            sender.send(&message.payload)?;
        }
    }
    let sent: usize = groups.iter().map(|group| group.messages.len()).sum();
    daemon.wait_for_health("listeners", "every datagram", |listener| listener["messages"] == sent)?;
    let report = daemon.stop()?;
    let mut records = vec![Vec::new(); groups.len()];
    for record in &report.records {
        let from = record.get("exporterIPv4Address").and_then(Value::as_str).context("a record without exporter")?;
        let octets = from.parse::<std::net::Ipv4Addr>()?.octets();
        records[usize::from(octets[2]) - 1].push(record.clone());
    }
    Ok((report, records))
}

/// Where `item` is among `items`; it is put there if it is not.
fn place<T: PartialEq>(items: &mut Vec<T>, item: T) -> usize {
    items.iter().position(|known| *known == item).unwrap_or_else(|| {
        items.push(item);
        items.len() - 1
    })
}

#[test]
fn every_flow_record_of_every_vendor_is_read() -> Result<()> {
    require!();
    every_record_is_read("every_flow_record_of_every_vendor_is_read", Ports::Captured)
}

#[test]
fn from_which_port_a_message_comes_does_not_matter() -> Result<()> {
    require!();
    every_record_is_read("from_which_port_a_message_comes_does_not_matter", Ports::Ever)
}

fn every_record_is_read(test: &str, ports: Ports) -> Result<()> {
    let Some(folder) = shared("corpus/netflow") else {
        skip::note(test, "no corpus lies beside the checkout");
        return Ok(());
    };
    let groups = groups(&folder, &[])?;
    ensure!(DECIDED.iter().all(|(name, ..)| groups.iter().any(|group| group.name == *name)), "a group is gone");
    let (report, records) = read(&groups, ports)?;
    let mut wrong = Vec::new();
    for ((group, records), number) in groups.iter().zip(&records).zip(1..) {
        if records.len() != group.records {
            let from = format!("127.1.{number}.");
            let is_of_group = |exporter: &&Object| exporter["address"].as_str().is_some_and(|it| it.starts_with(&from));
            let health: Vec<&Object> = report.exporters.iter().filter(is_of_group).collect();
            wrong.push(format!("{}: {} records, not {}: {health:?}", group.name, records.len(), group.records));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// What single records say, by the octets in the captures: the group, what finds the record, and what else it says.
fn known() -> Vec<(&'static str, Value, Value)> {
    vec![
        // A firewall's event: addresses and ports before and after translation, by Cisco's numbers of that time.
        (
            "logstash__netflow9_test_cisco_asa_1",
            json!({"flowId": 8500}),
            json!({
                "sourceIPv4Address": "192.168.14.1", "destinationIPv4Address": "2.2.2.11", "protocolIdentifier": 1,
                "ingressInterface": 3, "egressInterface": 2, "octetDeltaCount": 56,
                "flowStartMilliseconds": 1_444_384_067_569_u64, "observationTimeMilliseconds": 1_444_384_069_599_u64,
                "postNATSourceIPv4Address": "192.168.14.1", "postNATDestinationIPv4Address": "2.2.2.11",
                "postNAPTSourceTransportPort": 0, "postNAPTDestinationTransportPort": 17_549, "firewallEvent": 2,
                "flowEndReason": 3,
                "firewallExtendedEvent": 2025, "username": "",
            }),
        ),
        // Another's, with the application by name.
        (
            "logstash__netflow9_test_paloalto_panos",
            json!({"flowId": 0x66ee4}),
            json!({
                "sourceIPv4Address": "23.35.171.27", "destinationIPv4Address": "10.32.91.205", "firewallEvent": 1,
                "sourceTransportPort": 80, "destinationTransportPort": 49_519, "tcpControlBits": 18,
                "privateEnterpriseNumber": 25_461, "flowStartMilliseconds": 1_510_583_971_000_u64,
            }),
        ),
        // Sampled by options: one packet, then a space of nine; labels, and IPv6.
        (
            "akvorado__mpls",
            json!({"sourceTransportPort": 49_153, "egressInterface": 16}),
            json!({
                "samplingInterval": 10, "packetDeltaCount": 1, "octetDeltaCount": 89, "scaledPacketDeltaCount": 10,
                "scaledOctetDeltaCount": 890, "mplsTopLabelStackSection": 0x04_e250, "mplsLabelStackSection2": "7ffda1",
                "sourceIPv6Address": "fd00::1:0:1:7:1", "destinationIPv6Address": "fd00::1:0:1:5:1", "egressVRFID": 1,
                "flowStartMilliseconds": 1_699_893_330_381_u64,
            }),
        ),
        // Sampled by the selector that options name: one of a population of 256.
        (
            "pmacct__104-IPFIXv10-IPv6-CISCO-sampling_option",
            json!({"ingressVRFID": 0x6000_0000, "sourceIPv6Address": "fe80::fa53:29ff:fe3a:3152"}),
            json!({
                "samplingInterval": 256, "scaledOctetDeltaCount": 72 * 256, "protocolIdentifier": 58,
                "forwardingStatus": 195, "ipClassOfService": 192, "minimumTTL": 255,
            }),
        ),
        // Sampled by the record.
        (
            "akvorado__samplingrate",
            json!({"sourceTransportPort": 13_245}),
            json!({"samplingInterval": 2048, "scaledOctetDeltaCount": 160 * 2048, "vlanId": 701}),
        ),
        // Uptimes: the boot is at 1444331070 s − 45.076 s.
        (
            "logstash__netflow9_test_softflowd",
            json!({"sourceIPv4Address": "172.16.32.100", "destinationIPv4Address": "172.16.32.248"}),
            json!({
                "flowStartMilliseconds": 1_444_331_026_140_u64, "flowEndMilliseconds": 1_444_331_026_141_u64,
                "octetDeltaCount": 76, "sourceTransportPort": 123,
            }),
        ),
        // Uptimes since an initialization that the record tells; Huawei's elements, and which VRF.
        (
            "pmacct__106-IPFIXv10-HUAWEI-vrf_name",
            json!({"sourceIPv6Address": "fd00::2"}),
            json!({
                "flowStartMilliseconds": 1_737_989_300_000_u64, "2011/232": "0001", "ingressVRFID": 1,
                "sourceTransportPort": 54_194, "destinationTransportPort": 179, "ipNextHopIPv6Address": "::1",
            }),
        ),
        // Elements of enterprises: of nProbe, some of no octets, and strings.
        (
            "telegraf__ipfix_pen_35632",
            json!({"sourceTransportPort": 51_413, "destinationTransportPort": 44_400}),
            json!({
                "35632/118": "0025", "35632/188": "", "sourceMacAddress": "00:50:56:b3:86:e7", "octetDeltaCount": 122,
                "flowStartMilliseconds": 1_684_767_922_502_u64,
            }),
        ),
        (
            "logstash__ipfix_test_barracuda_extended_uniflow",
            json!({"sourceIPv4Address": "10.236.5.4"}),
            json!({"10704/5": "6874747073", "10704/7": "4e6f726d616c204f7065726174696f6e", "firewallEvent": 1}),
        ),
        // A biflow, with times of NTP's kind.
        (
            "akvorado__ipfixprobe",
            json!({"sourceTransportPort": 56_166}),
            json!({
                "flowStartMilliseconds": 1_254_722_767_492_u64, "flowEndMilliseconds": 1_254_722_767_526_u64,
                "octetDeltaCount": 62, "reverseOctetDeltaCount": 128, "reversePacketDeltaCount": 1, "flowEndReason": 4,
            }),
        ),
    ]
}

#[test]
fn records_say_what_their_octets_say() -> Result<()> {
    require!();
    let Some(folder) = shared("corpus/netflow") else {
        skip::note("records_say_what_their_octets_say", "no corpus lies beside the checkout");
        return Ok(());
    };
    let known = known();
    let mut names: Vec<&str> = known.iter().map(|(group, ..)| *group).collect();
    names.sort_unstable();
    names.dedup();
    let groups = groups(&folder, &names)?;
    let (_, records) = read(&groups, Ports::Captured)?;
    for (group, which, told) in &known {
        let place = groups.iter().position(|found| found.name == *group).context("a group that was read")?;
        let [which, told] = [which, told].map(|value| value.as_object().cloned().unwrap_or_default());
        let found: Vec<&Object> = records[place].iter().filter(|record| says(record, &which)).collect();
        ensure!(found.len() == 1, "{group}: {} records say {which:?}: {:?}", found.len(), records[place]);
        for (name, value) in &told {
            ensure!(found[0].get(name) == Some(value), "{group}: {name} is not {value}: {:?}", found[0]);
        }
    }
    Ok(())
}

/// An IPFIX file is what a connection carries. Its sequence numbers begin anew in the middle, and no record is the worse for it.
#[test]
fn an_ipfix_file_is_read_from_a_connection() -> Result<()> {
    require!();
    let Some(file) = shared("corpus/netflow/ipfixcol2__example_flows.ipfix") else {
        skip::note("an_ipfix_file_is_read_from_a_connection", "no corpus lies beside the checkout");
        return Ok(());
    };
    let listening = Listening::at(&["tcp://127.0.0.1:4739"])?;
    let mut stream = listening.room.inside(|| Ok(TcpStream::connect("127.0.0.1:4739")?))?;
    stream.write_all(&fs::read(file)?)?;
    drop(stream);
    listening.daemon.wait_for_health("listeners", "every message", |listener| listener["messages"] == 68)?;
    let report = listening.daemon.stop()?;
    let sum = |name: &str| report.records.iter().map(|record| number(record, name)).sum::<Result<u64>>();
    let found = (report.records.len(), sum("packetDeltaCount")?, sum("octetDeltaCount")?);
    // Added up from the file's octets.
    ensure!(found == (3979, 56_695, 49_001_404), "{found:?}: {:?}", report.exporters);
    Ok(())
}
