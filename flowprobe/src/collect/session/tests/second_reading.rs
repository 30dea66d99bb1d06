//! Messages of real exporters, read by netflow_parser too, which knows nothing of flowprobe: the same records with the same
//! octets. The corpus lies beside some checkouts only.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use netflow_parser::variable_versions::ipfix::lookup::{IANAIPFixField, IPFixField};
use netflow_parser::variable_versions::v9::lookup::V9Field;
use netflow_parser::variable_versions::{ipfix, v9};
use netflow_parser::{FieldValue, NetflowPacket, NetflowParser};

use super::Listener;
use crate::collect::session::Peer;

/// netflow_parser reads the messages that come behind a first one in a payload.
const SEVERAL: &str = "a datagram is one message";
/// netflow_parser passes over the sets.
const EMPTY: &str = "values of variable length may have no octets";
/// netflow_parser leaves the records out.
const BEFORE: &str = "the template comes behind the records";

/// Groups in which netflow_parser finds another number of records, that number, and why ours is right.
const OTHERWISE: [(&str, u64, &str); 10] = [
    ("akvorado__data+templates", 10, BEFORE),
    ("akvorado__datalink", 0, BEFORE),
    ("logstash__ipfix", 12, SEVERAL),
    ("logstash__ipfix_test_ixia", 0, EMPTY),
    ("logstash__ipfix_test_procera", 0, EMPTY),
    ("logstash__netflow5", 30, SEVERAL),
    ("logstash__netflow9_test_h3c_netstream_varstring", 0, "a length of 65535 is variable in NetFlow v9, too"),
    ("pmacct__106-IPFIXv10-HUAWEI-vrf_name", 0, EMPTY),
    ("telegraf__ipfix_pen_35632", 0, EMPTY),
    ("telegraf__issue_13305", 0, EMPTY),
];

/// Messages that belong together, in their order, and who sent them.
struct Group {
    name: String,
    messages: Vec<(SocketAddr, Vec<u8>)>,
}

/// The groups that the corpus's table names; none, with a word about that, where there is no corpus.
fn groups() -> Vec<Group> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus/netflow");
    let Ok(table) = fs::read_to_string(folder.join("EXPECTED.tsv")) else {
        eprintln!("SKIPPED: no corpus of messages lies beside the checkout");
        return Vec::new();
    };
    let group = |line: &str| {
        let (name, rest) = line.split_once('\t').expect("a name and more");
        let files = rest.split('\t').next().expect("files").split(',');
        Group { name: name.to_owned(), messages: files.flat_map(|file| messages(&folder.join(file))).collect() }
    };
    table.lines().skip(1).map(group).collect()
}

/// The messages of a file: the datagrams of a capture, or one, which is the file.
fn messages(file: &PathBuf) -> Vec<(SocketAddr, Vec<u8>)> {
    let octets = fs::read(file).expect("the table names files that are there");
    if file.extension().is_none_or(|extension| extension != "pcap") {
        return vec![(SocketAddr::from(([192, 0, 2, 1], 2055)), octets)];
    }
    let mut messages = Vec::new();
    let mut rest = &octets[24..];
    while let Some((header, after)) = rest.split_at_checked(16) {
        let length = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
        let (frame, after) = after.split_at(length as usize);
        messages.extend(datagram(frame));
        rest = after;
    }
    messages
}

/// Who sent the datagram in an Ethernet frame, and what it says.
fn datagram(frame: &[u8]) -> Option<(SocketAddr, Vec<u8>)> {
    let mut rest = frame.get(12..)?;
    while let [0x81, 0, _, _, behind @ ..] = rest {
        rest = behind;
    }
    let (address, protocol, datagram): (IpAddr, u8, &[u8]) = match rest.get(2..)? {
        packet @ [first, ..] if first >> 4 == 4 => {
            let address: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
            (address.into(), packet[9], packet.get(usize::from(first & 15) * 4..)?)
        }
        packet => {
            let address: [u8; 16] = packet.get(8..24)?.try_into().ok()?;
            (address.into(), packet[6], packet.get(40..)?)
        }
    };
    let header = datagram.first_chunk::<8>().filter(|_| protocol == 17)?;
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let source = (address, u16::from_be_bytes([header[0], header[1]])).into();
    Some((source, datagram.get(8..length)?.to_vec()))
}

/// What netflow_parser finds: how many records of flows, and the octets of those that say so.
#[derive(Default)]
struct Second {
    records: u64,
    octets: Vec<u64>,
}

impl Second {
    fn of(group: &Group) -> Self {
        let mut parsers: HashMap<SocketAddr, NetflowParser> = HashMap::new();
        let mut second = Self::default();
        for (source, message) in &group.messages {
            let packets = parsers.entry(*source).or_default().parse_bytes(message).packets;
            packets.into_iter().for_each(|packet| second.read(packet));
        }
        second
    }

    fn read(&mut self, packet: NetflowPacket) {
        match packet {
            NetflowPacket::V5(packet) => {
                self.records += packet.flowsets.len() as u64;
                self.octets.extend(packet.flowsets.iter().map(|flow| u64::from(flow.d_octets)));
            }
            NetflowPacket::V9(packet) => {
                for set in packet.flowsets {
                    if let v9::FlowSetBody::Data(data) = set.body {
                        data.fields.iter().for_each(|fields| self.record(fields, &V9Field::InBytes));
                    }
                }
            }
            NetflowPacket::IPFix(packet) => {
                let octets = IPFixField::IANA(IANAIPFixField::OctetDeltaCount);
                for set in packet.flowsets {
                    if let ipfix::FlowSetBody::Data(data) = set.body {
                        data.fields.iter().for_each(|fields| self.record(fields, &octets));
                    }
                }
            }
            _ => {}
        }
    }

    fn record<Name: PartialEq>(&mut self, fields: &[(Name, FieldValue)], octets: &Name) {
        self.records += 1;
        let counts = fields.iter().filter(|(name, _)| name == octets).map(|(_, value)| number(value));
        self.octets.extend(counts.filter(|&count| count > 0));
    }
}

fn number(value: &FieldValue) -> u64 {
    let mut octets = Vec::new();
    value.write_be_bytes(&mut octets).expect("memory takes everything");
    octets.iter().fold(0, |number, octet| number << 8 | u64::from(*octet))
}

#[test]
fn netflow_parser_finds_the_same_records() {
    let mut compared = 0;
    for group in groups() {
        let mut listener = Listener::new();
        for (source, message) in &group.messages {
            listener.take(Peer { address: *source, connection: None }, message);
        }
        let second = Second::of(&group);
        let records: u64 = listener.exporters.health().iter().map(|health| health.records).sum();
        if let Some((name, otherwise, reason)) = OTHERWISE.iter().find(|(name, ..)| *name == group.name) {
            assert_ne!(records, *otherwise, "{name} is no exception: {reason}");
            assert_eq!(second.records, *otherwise, "{name}: {reason}");
            continue;
        }
        assert_eq!(records, second.records, "records of {}", group.name);
        // A record of ours that says something else, such as the octets of its whole life, has no counterpart there.
        let mut ours: BTreeMap<u64, usize> = BTreeMap::new();
        listener.out.records.iter().for_each(|record| *ours.entry(record.octets).or_default() += 1);
        for octets in &second.octets {
            let left = ours.get_mut(octets).filter(|left| **left > 0);
            *left.unwrap_or_else(|| panic!("no record of {} with {octets} octets is left", group.name)) -= 1;
        }
        compared += second.octets.len();
    }
    println!("{compared} records have the same octets");
}
