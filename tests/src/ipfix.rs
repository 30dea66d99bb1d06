//! A collector of the test's own: a socket that feeds netflow_parser, which knows nothing of flowprobe.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use netflow_parser::variable_versions::ipfix::FlowSetBody;
use netflow_parser::variable_versions::ipfix::lookup::{IANAIPFixField as Field, IPFixField};
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
    /// Messages that brought templates.
    pub template_messages: u64,
    /// Sets whose template was not known.
    pub without_template: u64,
    /// Template IDs of the data sets.
    pub templates_used: Vec<u16>,
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
    let mut parser = NetflowParser::default();
    let mut received = Received::default();
    let mut sequence = None;
    let mut message = vec![0; 65_536];
    loop {
        // Asked before the read: after the last read nothing is left in the socket.
        let last = stop.load(Ordering::Relaxed);
        match socket.recv(&mut message) {
            Ok(length) => take_in(&message[..length], &mut parser, &mut sequence, &mut received)?,
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                if last {
                    return Ok(received);
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn take_in(
    message: &[u8],
    parser: &mut NetflowParser,
    sequence: &mut Option<u32>,
    received: &mut Received,
) -> Result<()> {
    let result = parser.parse_bytes(message);
    ensure!(result.error.is_none(), "netflow_parser refuses a message: {:?}", result.error);
    for packet in result.packets {
        let NetflowPacket::IPFix(packet) = packet else {
            return Err(anyhow!("a message that is not IPFIX: {packet:?}"));
        };
        let number = packet.header.sequence_number;
        ensure!(sequence.is_none_or(|expected| expected == number), "sequence number {number}, expected {sequence:?}");
        let before = received.records.len();
        let mut has_templates = false;
        for set in packet.flowsets {
            match set.body {
                FlowSetBody::Data(data) => {
                    received.templates_used.push(set.header.header_id);
                    for fields in data.fields {
                        let record: Result<Object> =
                            fields.into_iter().map(|(field, value)| named(field, &value)).collect();
                        received.records.push(record?);
                    }
                }
                FlowSetBody::Template(_) | FlowSetBody::Templates(_) => has_templates = true,
                FlowSetBody::NoTemplate(_) => received.without_template += 1,
                other => return Err(anyhow!("an unexpected set: {other:?}")),
            }
        }
        received.template_messages += u64::from(has_templates);
        // A receiver without the template cannot count the records.
        *sequence = (received.without_template == 0)
            .then(|| Ok::<_, anyhow::Error>(number.wrapping_add(u32::try_from(received.records.len() - before)?)))
            .transpose()?;
    }
    Ok(())
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
        .map(|(_, name)| ((*name).to_owned(), record.get(*name).cloned().unwrap_or(Value::from(0))))
        .collect();
    if let Some(type_and_code) = icmp {
        wire.insert("destinationTransportPort".to_owned(), type_and_code);
    }
    wire
}

/// Every element that the daemon exports: netflow_parser's name, and the registry's, which the daemon's JSON has.
const NAMES: [(Field, &str); 32] = [
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
    (Field::EthernetType, "ethernetType"),
    (Field::SourceMacaddress, "sourceMacAddress"),
    (Field::DestinationMacaddress, "destinationMacAddress"),
    (Field::FlowEndReason, "flowEndReason"),
];

fn named(field: IPFixField, value: &FieldValue) -> Result<(String, Value)> {
    let row = NAMES.iter().find(|(known, _)| IPFixField::IANA(*known) == field);
    let (_, name) = row.with_context(|| format!("an element that the daemon is not known to export: {field:?}"))?;
    let value = match value {
        FieldValue::Ip4Addr(address) => address.to_string().into(),
        FieldValue::Ip6Addr(address) => address.to_string().into(),
        FieldValue::MacAddr(octets) => octets.map(|octet| format!("{octet:02x}")).join(":").into(),
        // Whatever netflow_parser makes of a number, these are its octets.
        other => {
            let mut octets = Vec::new();
            other.write_be_bytes(&mut octets)?;
            octets.iter().fold(0_u64, |number, octet| number << 8 | u64::from(*octet)).into()
        }
    };
    Ok(((*name).to_owned(), value))
}
