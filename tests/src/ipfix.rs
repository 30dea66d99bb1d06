//! A collector of the test's own: a socket that feeds netflow_parser, which knows nothing of flowprobe.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use netflow_parser::variable_versions::ipfix::FlowSetBody;
use netflow_parser::variable_versions::ipfix::lookup::{
    IANAIPFixField as Field, IPFixField, ReverseInformationElement as Reverse, VMWareIPFixField,
};
use netflow_parser::{FieldValue, NetflowPacket, NetflowParser};
use serde_json::Value;

use crate::namespace::Namespace;
use crate::truth::Object;

/// A UDP socket in a namespace and the thread that reads it.
pub struct Collector {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<Result<Received>>>,
}

/// Everything that came.
#[derive(Debug, Default)]
pub struct Received {
    /// Data records, in the order in which they came, with the names that the daemon's JSON has.
    pub records: Vec<Object>,
    /// Options records, likewise, with the registry's names; the second of two elements has ` 2` after its name.
    pub options: Vec<Object>,
    /// Messages that brought templates.
    pub template_messages: u64,
    /// Sets whose template was not known.
    pub without_template: u64,
    /// Template IDs of the data sets.
    pub templates_used: Vec<u16>,
    /// Octets of the longest message.
    pub longest_message: usize,
    /// The observation domain of each data record, in their order.
    pub domains: Vec<u32>,
    /// And of each options record.
    pub options_domains: Vec<u32>,
}

impl Collector {
    /// Listens on an address of the namespace; port 0 stands for any.
    ///
    /// # Errors
    /// The port is taken.
    pub fn listen(namespace: &Namespace, address: &str, port: u16) -> Result<Self> {
        let socket = namespace.inside(|| Ok(UdpSocket::bind((address, port))?))?;
        // Room for what a flush sends at once.
        socket2::SockRef::from(&socket).set_recv_buffer_size(8 << 20)?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let address = socket.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let reader = std::thread::spawn(move || receive(&socket, &stopped));
        Ok(Self { address, stop, reader: Some(reader) })
    }

    /// The URL that leads here.
    #[must_use]
    pub fn url(&self) -> String {
        format!("udp://{}", self.address)
    }

    /// Reads what is there still and returns everything.
    ///
    /// # Errors
    /// A message could not be parsed, or sequence numbers have a gap.
    pub fn stop(mut self) -> Result<Received> {
        self.stop.store(true, Ordering::Relaxed);
        let reader = self.reader.take().context("stopped twice")?;
        reader.join().map_err(|_| anyhow!("the collector's thread panicked"))?
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn receive(socket: &UdpSocket, stop: &AtomicBool) -> Result<Received> {
    let mut session = Session::default();
    let mut received = Received::default();
    let mut message = vec![0; 65_536];
    loop {
        // Asked before the read: after the last read nothing is left in the socket.
        let last = stop.load(Ordering::Relaxed);
        match socket.recv(&mut message) {
            Ok(length) => session.take_in(&message[..length], &mut received)?,
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                if last {
                    return Ok(received);
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// What is known of one transport session: its templates, and the sequence number that comes next in each domain.
#[derive(Default)]
pub(crate) struct Session {
    parser: NetflowParser,
    sequence: BTreeMap<u32, u32>,
}

impl Session {
    /// Reads a message.
    ///
    /// # Errors
    /// It cannot be parsed, or its sequence number is not the one to expect.
    pub(crate) fn take_in(&mut self, message: &[u8], received: &mut Received) -> Result<()> {
        received.longest_message = received.longest_message.max(message.len());
        let result = self.parser.parse_bytes(message);
        ensure!(result.error.is_none(), "netflow_parser refuses a message: {:?}", result.error);
        for packet in result.packets {
            let NetflowPacket::IPFix(packet) = packet else {
                return Err(anyhow!("a message that is not IPFIX: {packet:?}"));
            };
            let (domain, number) = (packet.header.observation_domain_id, packet.header.sequence_number);
            let expected = self.sequence.get(&domain);
            ensure!(
                expected.is_none_or(|expected| *expected == number),
                "sequence number {number} in domain {domain}, expected {expected:?}"
            );
            let before = received.records.len() + received.options.len();
            let mut has_templates = false;
            for set in packet.flowsets {
                match set.body {
                    FlowSetBody::Data(data) => {
                        received.templates_used.push(set.header.header_id);
                        for fields in data.fields {
                            received.records.push(object(fields)?);
                        }
                    }
                    FlowSetBody::OptionsData(data) => {
                        for fields in data.fields {
                            received.options.push(options_object(fields)?);
                        }
                    }
                    FlowSetBody::Template(_) | FlowSetBody::Templates(_) => has_templates = true,
                    FlowSetBody::OptionsTemplate(_) | FlowSetBody::OptionsTemplates(_) => {}
                    FlowSetBody::NoTemplate(_) => received.without_template += 1,
                    other => return Err(anyhow!("an unexpected set: {other:?}")),
                }
            }
            received.template_messages += u64::from(has_templates);
            received.domains.resize(received.records.len(), domain);
            received.options_domains.resize(received.options.len(), domain);
            // A receiver without the template cannot count the records.
            if received.without_template == 0 {
                let records = u32::try_from(received.records.len() + received.options.len() - before)?;
                self.sequence.insert(domain, number.wrapping_add(records));
            } else {
                self.sequence.remove(&domain);
            }
        }
        Ok(())
    }
}

/// The daemon's records as an IPFIX reader gets them: elements that say nothing are 0, and the destination port of ICMP is
/// its type and code.
#[must_use]
pub fn as_on_the_wire(record: &Object) -> Object {
    let v6 = record.get("ipVersion") == Some(&6.into());
    let (present, absent) = if v6 { ("IPv6", "IPv4") } else { ("IPv4", "IPv6") };
    let icmp = record.get(&format!("icmpTypeCode{present}")).cloned();
    let mut wire: Object = NAMES
        .iter()
        .filter(|(_, name)| !name.contains(absent))
        .map(|(_, name)| ((*name).to_owned(), record.get(*name).cloned().unwrap_or_else(|| nothing(name))))
        .collect();
    // Elements that only some runs of the daemon have, and the addresses of tunnels; but no names, which options records tell.
    let is_name = |name: &str| NAMES_OF_INTERFACES.contains(&name);
    for (name, value) in record.iter().filter(|(name, _)| !is_name(name)) {
        wire.entry(name).or_insert_with(|| value.clone());
    }
    if let Some(type_and_code) = icmp {
        wire.insert("destinationTransportPort".to_owned(), type_and_code);
    }
    wire
}

/// What JSON says of interfaces, and records of IPFIX do not.
pub const NAMES_OF_INTERFACES: [&str; 4] =
    ["ingressInterfaceName", "ingressInterfaceDescription", "egressInterfaceName", "egressInterfaceDescription"];

/// What an element that says nothing is on the wire.
fn nothing(name: &str) -> Value {
    if name.ends_with("MacAddress") { "00:00:00:00:00:00".into() } else { 0.into() }
}

/// Every element that the daemon always exports: netflow_parser's name, and the registry's, which the daemon's JSON has.
const NAMES: [(Field, &str); 33] = [
    (Field::FlowStartMilliseconds, "flowStartMilliseconds"),
    (Field::FlowEndMilliseconds, "flowEndMilliseconds"),
    (Field::SourceIpv4address, "sourceIPv4Address"),
    (Field::DestinationIpv4address, "destinationIPv4Address"),
    (Field::SourceIpv6address, "sourceIPv6Address"),
    (Field::DestinationIpv6address, "destinationIPv6Address"),
    (Field::SourceTransportPort, "sourceTransportPort"),
    (Field::DestinationTransportPort, "destinationTransportPort"),
    (Field::ProtocolIdentifier, "protocolIdentifier"),
    (Field::IpVersion, "ipVersion"),
    (Field::IpClassOfService, "ipClassOfService"),
    (Field::TcpControlBits, "tcpControlBits"),
    (Field::IcmpTypeCodeIpv4, "icmpTypeCodeIPv4"),
    (Field::IcmpTypeCodeIpv6, "icmpTypeCodeIPv6"),
    (Field::MinimumTtl, "minimumTTL"),
    (Field::MaximumTtl, "maximumTTL"),
    (Field::MinimumIpTotalLength, "minimumIpTotalLength"),
    (Field::MaximumIpTotalLength, "maximumIpTotalLength"),
    (Field::PacketDeltaCount, "packetDeltaCount"),
    (Field::OctetDeltaCount, "octetDeltaCount"),
    (Field::Layer2octetDeltaCount, "layer2OctetDeltaCount"),
    (Field::IngressInterface, "ingressInterface"),
    (Field::EgressInterface, "egressInterface"),
    (Field::FlowDirection, "flowDirection"),
    (Field::VlanId, "vlanId"),
    (Field::Dot1qVlanId, "dot1qVlanId"),
    (Field::Dot1qCustomerVlanId, "dot1qCustomerVlanId"),
    (Field::MplsTopLabelStackSection, "mplsTopLabelStackSection"),
    (Field::FragmentFlags, "fragmentFlags"),
    (Field::EthernetType, "ethernetType"),
    (Field::SourceMacaddress, "sourceMacAddress"),
    (Field::DestinationMacaddress, "destinationMacAddress"),
    (Field::FlowEndReason, "flowEndReason"),
];

/// Elements that it exports when it is asked for tunnels, next hops or sampling.
const EXTRA_NAMES: [(Field, &str); 11] = [
    (Field::Layer2segmentId, "layer2SegmentId"),
    (Field::IpNextHopIpv4address, "ipNextHopIPv4Address"),
    (Field::IpNextHopIpv6address, "ipNextHopIPv6Address"),
    (Field::SamplingInterval, "samplingInterval"),
    (Field::SelectorAlgorithm, "selectorAlgorithm"),
    (Field::SamplingPacketInterval, "samplingPacketInterval"),
    (Field::SamplingPacketSpace, "samplingPacketSpace"),
    (Field::SamplingProbability, "samplingProbability"),
    (Field::FlowSelectorAlgorithm, "flowSelectorAlgorithm"),
    (Field::SamplingFlowInterval, "samplingFlowInterval"),
    (Field::SamplingFlowSpacing, "samplingFlowSpacing"),
];

/// Elements of options records.
const OPTIONS_NAMES: [(Field, &str); 32] = [
    (Field::ObservationDomainId, "observationDomainId"),
    (Field::MeteringProcessId, "meteringProcessId"),
    (Field::ExportingProcessId, "exportingProcessId"),
    (Field::ExportedMessageTotalCount, "exportedMessageTotalCount"),
    (Field::ExportedFlowRecordTotalCount, "exportedFlowRecordTotalCount"),
    (Field::ExportedOctetTotalCount, "exportedOctetTotalCount"),
    (Field::IgnoredPacketTotalCount, "ignoredPacketTotalCount"),
    (Field::IgnoredOctetTotalCount, "ignoredOctetTotalCount"),
    (Field::NotSentFlowTotalCount, "notSentFlowTotalCount"),
    (Field::NotSentPacketTotalCount, "notSentPacketTotalCount"),
    (Field::NotSentOctetTotalCount, "notSentOctetTotalCount"),
    (Field::ObservationTimeMilliseconds, "observationTimeMilliseconds"),
    (Field::IngressInterface, "ingressInterface"),
    (Field::EgressInterface, "egressInterface"),
    (Field::InterfaceName, "interfaceName"),
    (Field::SelectorName, "selectorName"),
    (Field::InterfaceDescription, "interfaceDescription"),
    (Field::SelectorId, "selectorId"),
    (Field::SelectorAlgorithm, "selectorAlgorithm"),
    (Field::SamplingPacketInterval, "samplingPacketInterval"),
    (Field::SamplingPacketSpace, "samplingPacketSpace"),
    (Field::SamplingProbability, "samplingProbability"),
    (Field::PrivateEnterpriseNumber, "privateEnterpriseNumber"),
    (Field::InformationElementId, "informationElementId"),
    (Field::InformationElementDataType, "informationElementDataType"),
    (Field::InformationElementSemantics, "informationElementSemantics"),
    (Field::InformationElementUnits, "informationElementUnits"),
    (Field::InformationElementName, "informationElementName"),
    (Field::InformationElementDescription, "informationElementDescription"),
    (Field::FlowDirection, "flowDirection"),
    (Field::PacketTotalCount, "packetTotalCount"),
    (Field::Layer2octetTotalCount, "layer2OctetTotalCount"),
];

/// An options record by names.
fn options_object(fields: Vec<(IPFixField, FieldValue)>) -> Result<Object> {
    let mut record = Object::new();
    for (field, value) in fields {
        let row = OPTIONS_NAMES.iter().find(|(known, _)| IPFixField::IANA(*known) == field);
        let (_, name) = row.with_context(|| format!("an element of no options record of the daemon: {field:?}"))?;
        let name = if record.contains_key(*name) { format!("{name} 2") } else { (*name).to_owned() };
        record.insert(name, number_or_text(&value)?);
    }
    Ok(record)
}

/// Elements that it exports when they are asked for by name, or with a preset.
const ASKED_NAMES: [(Field, &str); 10] = [
    (Field::BiflowDirection, "biflowDirection"),
    (Field::FlowStartMicroseconds, "flowStartMicroseconds"),
    (Field::FlowEndMicroseconds, "flowEndMicroseconds"),
    (Field::FlowDurationMilliseconds, "flowDurationMilliseconds"),
    (Field::IpDiffServCodePoint, "ipDiffServCodePoint"),
    (Field::IpPrecedence, "ipPrecedence"),
    (Field::IcmpTypeIpv4, "icmpTypeIPv4"),
    (Field::IcmpCodeIpv4, "icmpCodeIPv4"),
    (Field::IcmpTypeIpv6, "icmpTypeIPv6"),
    (Field::IcmpCodeIpv6, "icmpCodeIPv6"),
];

/// Those of the answers in a biflow, by the numbers of what they are the reverse of (RFC 5103).
const REVERSE_NAMES: [(u16, &str); 19] = [
    (152, "reverseFlowStartMilliseconds"),
    (153, "reverseFlowEndMilliseconds"),
    (2, "reversePacketDeltaCount"),
    (1, "reverseOctetDeltaCount"),
    (352, "reverseLayer2OctetDeltaCount"),
    (5, "reverseIpClassOfService"),
    (6, "reverseTcpControlBits"),
    (52, "reverseMinimumTTL"),
    (53, "reverseMaximumTTL"),
    (25, "reverseMinimumIpTotalLength"),
    (26, "reverseMaximumIpTotalLength"),
    (58, "reverseVlanId"),
    (245, "reverseDot1qCustomerVlanId"),
    (70, "reverseMplsTopLabelStackSection"),
    (197, "reverseFragmentFlags"),
    (56, "reverseSourceMacAddress"),
    (80, "reverseDestinationMacAddress"),
    (32, "reverseIcmpTypeCodeIPv4"),
    (139, "reverseIcmpTypeCodeIPv6"),
];

/// VMware's, by their numbers.
const VMWARE_NAMES: [(u16, &str); 2] = [(891, "tunnelType"), (892, "tunnelKey")];

/// A record by names. Of an element that is there twice the first is about the tunnel (RFC 7011 section 8).
fn object(fields: Vec<(IPFixField, FieldValue)>) -> Result<Object> {
    let mut record = Object::new();
    for (field, value) in fields {
        let (name, value) = (name(field)?, number_or_text(&value)?);
        if let Some(outer) = record.insert(name.to_owned(), value) {
            let mut letters = name.chars();
            let capital = letters.next().into_iter().flat_map(char::to_uppercase);
            record.insert(format!("tunnel{}{}", capital.collect::<String>(), letters.as_str()), outer);
        }
    }
    // Where the tunnel's IP version is not the flow's, nothing is there twice.
    let other = if record.get("ipVersion") == Some(&6.into()) { "IPv4Address" } else { "IPv6Address" };
    for end in ["ource", "estination"] {
        for initial in ["s", "d"] {
            if let Some(outer) = record.remove(&format!("{initial}{end}{other}")) {
                record.insert(format!("tunnel{}{end}{other}", initial.to_uppercase()), outer);
            }
        }
    }
    Ok(record)
}

fn name(field: IPFixField) -> Result<&'static str> {
    let iana = NAMES.iter().chain(&EXTRA_NAMES).chain(&ASKED_NAMES);
    let iana = iana.map(|(known, name)| (IPFixField::IANA(*known), *name));
    let vmware = VMWARE_NAMES.map(|(number, name)| (IPFixField::VMWare(VMWareIPFixField::from(number)), name));
    let reverse = |number| IPFixField::ReverseInformationElement(Reverse::from(number));
    let reverse = REVERSE_NAMES.map(|(number, name)| (reverse(number), name));
    let row = iana.chain(vmware).chain(reverse).find(|(known, _)| *known == field);
    row.map(|(_, name)| name).with_context(|| format!("an element that the daemon is not known to export: {field:?}"))
}

fn number_or_text(value: &FieldValue) -> Result<Value> {
    Ok(match value {
        FieldValue::Ip4Addr(address) => address.to_string().into(),
        FieldValue::Ip6Addr(address) => address.to_string().into(),
        FieldValue::MacAddr(octets) => octets.map(|octet| format!("{octet:02x}")).join(":").into(),
        FieldValue::Float64(number) => (*number).into(),
        FieldValue::String(text) => text.value.clone().into(),
        // Whatever netflow_parser makes of a number, these are its octets.
        other => {
            let mut octets = Vec::new();
            other.write_be_bytes(&mut octets)?;
            octets.iter().fold(0_u64, |number, octet| number << 8 | u64::from(*octet)).into()
        }
    })
}
