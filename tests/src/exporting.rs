//! Exporters of the tests' own: messages of NetFlow v5, v9 and IPFIX built octet by octet, and sockets that send them from any
//! address of a namespace's loopback.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::frames::UDP;
use crate::namespace::Namespace;
use crate::truth::Object;

/// In a template: the length of each value stands before it (RFC 7011 section 7).
pub const VARIABLE: u16 = 65_535;

/// A field of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// 0 for the IANA registry, else a Private Enterprise Number, which only IPFIX can say.
    pub enterprise: u32,
    /// Its number.
    pub element: u16,
    /// Octets, or [`VARIABLE`].
    pub octets: u16,
}

impl Field {
    /// An element of the IANA registry.
    #[must_use]
    pub const fn iana(element: u16, octets: u16) -> Self {
        Self { enterprise: 0, element, octets }
    }
}

/// What messages consist of behind their headers: sets of IPFIX, FlowSets of NetFlow v9.
#[derive(Clone, Debug)]
pub enum Set {
    /// A template of flows.
    Template(u16, Vec<Field>),
    /// A template of options records, of whose fields the first so many are the scope.
    OptionsTemplate(u16, usize, Vec<Field>),
    /// The withdrawal of a template (RFC 7011 section 8.1).
    Withdrawal(u16),
    /// Records, each as its octets.
    Data(u16, Vec<Vec<u8>>),
}

impl Set {
    /// Its octets in a message of this version.
    fn encoded(&self, version: u16) -> Vec<u8> {
        let ipfix = version == 10;
        let (id, mut body) = match self {
            Self::Template(id, fields) => {
                let mut body = words(&[*id, count(fields)]);
                body.extend(fields.iter().flat_map(specifier));
                (if ipfix { 2 } else { 0 }, body)
            }
            Self::OptionsTemplate(id, scope, fields) => {
                let scope_fields = u16::try_from(*scope).unwrap_or(u16::MAX);
                let mut body = if ipfix {
                    words(&[*id, count(fields), scope_fields])
                } else {
                    // NetFlow v9 has their octets, four for each.
                    words(&[*id, 4 * scope_fields, 4 * (count(fields) - scope_fields)])
                };
                body.extend(fields.iter().flat_map(specifier));
                (if ipfix { 3 } else { 1 }, body)
            }
            Self::Withdrawal(id) => (2, words(&[*id, 0])),
            Self::Data(id, records) => (*id, records.concat()),
        };
        body.resize(body.len().next_multiple_of(4), 0);
        let mut set = words(&[id, length(body.len() + 4)]);
        set.extend(body);
        set
    }

    /// How many records it has, templates included: what NetFlow v9 counts in its header.
    fn records(&self) -> usize {
        if let Self::Data(_, records) = self { records.len() } else { 1 }
    }
}

fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn count<T>(items: &[T]) -> u16 {
    u16::try_from(items.len()).unwrap_or(u16::MAX)
}

fn length(octets: usize) -> u16 {
    u16::try_from(octets).unwrap_or(u16::MAX)
}

fn specifier(field: &Field) -> Vec<u8> {
    if field.enterprise == 0 {
        return words(&[field.element, field.octets]);
    }
    let mut octets = words(&[field.element | 0x8000, field.octets]);
    octets.extend(field.enterprise.to_be_bytes());
    octets
}

/// What an Exporting Process says of itself in the header of its next message.
#[derive(Clone, Debug)]
pub struct ExportingProcess {
    /// 5, 9 or 10.
    pub version: u16,
    /// Observation Domain ID; of NetFlow v5 the engine.
    pub domain: u32,
    /// As the version counts: flows, messages, or Data Records.
    pub sequence: u32,
    /// Export time, seconds since 1970.
    pub seconds: u32,
    /// Milliseconds since it booted.
    pub uptime_ms: u32,
}

impl ExportingProcess {
    /// One that has been up for an hour and exports now.
    #[must_use]
    pub fn new(version: u16, domain: u32) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let seconds = u32::try_from(now).unwrap_or(u32::MAX);
        Self { version, domain, sequence: 1, seconds, uptime_ms: 3_600_000 }
    }

    /// The wall clock when it booted, milliseconds since 1970.
    #[must_use]
    pub fn boot_ms(&self) -> u64 {
        u64::from(self.seconds) * 1000 - u64::from(self.uptime_ms)
    }

    /// A message of NetFlow v9 or IPFIX. The next one's sequence number follows from it.
    #[must_use]
    pub fn message(&mut self, sets: &[Set]) -> Vec<u8> {
        let body: Vec<u8> = sets.iter().flat_map(|set| set.encoded(self.version)).collect();
        let records: usize = sets.iter().map(Set::records).sum();
        let mut message;
        if self.version == 10 {
            message = words(&[10, length(16 + body.len())]);
            message.extend(self.seconds.to_be_bytes());
        } else {
            message = words(&[9, length(records)]);
            message.extend(self.uptime_ms.to_be_bytes());
            message.extend(self.seconds.to_be_bytes());
        }
        message.extend(self.sequence.to_be_bytes());
        message.extend(self.domain.to_be_bytes());
        message.extend(body);
        let data = sets.iter().filter(|set| matches!(set, Set::Data(..))).map(Set::records).sum();
        let step = if self.version == 10 { data } else { 1 };
        self.sequence = self.sequence.wrapping_add(u32::try_from(step).unwrap_or(u32::MAX));
        message
    }

    /// A message of NetFlow v5 with these IPv4 flows, at most 30. `sampling` is the last word of the header: the mode in its upper
    /// two bits, and the interval.
    #[must_use]
    pub fn netflow5(&mut self, flows: &[Flow], sampling: u16) -> Vec<u8> {
        let mut message = words(&[5, count(flows)]);
        for word in [self.uptime_ms, self.seconds, 0, self.sequence] {
            message.extend(word.to_be_bytes());
        }
        message.extend(words(&[u16::try_from(self.domain).unwrap_or(0), sampling]));
        for flow in flows {
            let value = |element, octets| flow.value(Field::iana(element, octets), self).unwrap_or_default();
            for (element, octets) in [(8, 4), (12, 4)] {
                message.extend(value(element, octets));
            }
            // Next hop and interfaces.
            message.extend([0; 8]);
            for (element, octets) in [(2, 4), (1, 4), (22, 4), (21, 4), (7, 2), (11, 2)] {
                message.extend(value(element, octets));
            }
            message.extend([0, 0, flow.protocol, 0]);
            // AS numbers, prefix lengths, padding.
            message.extend([0; 8]);
        }
        self.sequence = self.sequence.wrapping_add(count(flows).into());
        message
    }
}

/// A flow that exporters tell of.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Source address.
    pub source: IpAddr,
    /// Destination address, of the same family.
    pub destination: IpAddr,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Protocol.
    pub protocol: u8,
    /// Packets.
    pub packets: u32,
    /// Octets.
    pub octets: u32,
    /// First packet, milliseconds since 1970.
    pub start_ms: u64,
    /// Last packet, likewise.
    pub end_ms: u64,
}

impl Flow {
    /// One that no other number has, and that ended in the seconds before `process` exports.
    #[must_use]
    pub fn numbered(number: u32, process: &ExportingProcess) -> Self {
        let [_, high, middle, low] = number.to_be_bytes();
        let export_ms = u64::from(process.seconds) * 1000;
        Self {
            source: Ipv4Addr::new(10, high, middle, low).into(),
            destination: Ipv4Addr::new(198, 51, 100, low).into(),
            source_port: 1024 + u16::try_from(number % 50_000).unwrap_or(0),
            destination_port: 53,
            protocol: UDP,
            packets: 1 + number % 100,
            octets: 1000 + number,
            start_ms: export_ms - 5000 - u64::from(number % 1000),
            end_ms: export_ms - 1000,
        }
    }

    /// The same between IPv6 addresses.
    #[must_use]
    pub fn v6(self) -> Self {
        let mapped = |address: IpAddr, net: u16| match address {
            IpAddr::V4(address) => {
                let [a, b, c, d] = address.octets().map(u16::from);
                Ipv6Addr::new(0x2001, 0xdb8, net, 0, 0, 0, a << 8 | b, c << 8 | d).into()
            }
            IpAddr::V6(_) => address,
        };
        Self { source: mapped(self.source, 1), destination: mapped(self.destination, 2), ..self }
    }

    /// What a field of it is in a message of `process`, or nothing where it has no such field.
    fn value(&self, field: Field, process: &ExportingProcess) -> Option<Vec<u8>> {
        let uptime = |ms: u64| ms.wrapping_sub(process.boot_ms()) & u64::from(u32::MAX);
        let number = match (field.enterprise, field.element) {
            (0, 1) => self.octets.into(),
            (0, 2) => self.packets.into(),
            (0, 4) => self.protocol.into(),
            (0, 7) => self.source_port.into(),
            (0, 11) => self.destination_port.into(),
            (0, 21) => uptime(self.end_ms),
            (0, 22) => uptime(self.start_ms),
            (0, 152) => self.start_ms,
            (0, 153) => self.end_ms,
            (0, 8 | 27) => return Some(octets_of(self.source)),
            (0, 12 | 28) => return Some(octets_of(self.destination)),
            _ => return None,
        };
        let octets = usize::from(field.octets).min(8);
        Some(number.to_be_bytes()[8 - octets..].to_vec())
    }

    /// What flowprobe's JSON must say of it, whatever else it says.
    #[must_use]
    pub fn told(&self) -> Object {
        let family = if self.source.is_ipv4() { "IPv4" } else { "IPv6" };
        let told = [
            (format!("source{family}Address"), json!(self.source.to_string())),
            (format!("destination{family}Address"), json!(self.destination.to_string())),
            ("sourceTransportPort".to_owned(), json!(self.source_port)),
            ("destinationTransportPort".to_owned(), json!(self.destination_port)),
            ("protocolIdentifier".to_owned(), json!(self.protocol)),
            ("packetDeltaCount".to_owned(), json!(self.packets)),
            ("octetDeltaCount".to_owned(), json!(self.octets)),
            ("flowStartMilliseconds".to_owned(), json!(self.start_ms)),
            ("flowEndMilliseconds".to_owned(), json!(self.end_ms)),
        ];
        told.into_iter().collect()
    }
}

fn octets_of(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// A layout of records: fields that are of the flow, and others, which have the same value in every record.
#[derive(Clone, Debug)]
pub struct Layout {
    id: u16,
    fields: Vec<(Field, Vec<u8>)>,
}

impl Layout {
    /// A layout of these fields of a [`Flow`].
    #[must_use]
    pub fn of(id: u16, fields: &[(u16, u16)]) -> Self {
        let fields = fields.iter().map(|&(element, octets)| (Field::iana(element, octets), Vec::new()));
        Self { id, fields: fields.collect() }
    }

    /// Addresses, ports, protocol, counts, and times as `process` has them.
    #[must_use]
    pub fn plain(id: u16, process: &ExportingProcess) -> Self {
        let fields = [(8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (2, 4), (1, 4)];
        let times: [(u16, u16); 2] = if process.version == 10 { [(152, 8), (153, 8)] } else { [(22, 4), (21, 4)] };
        Self::of(id, &[&fields[..], &times].concat())
    }

    /// The same with IPv6 addresses.
    #[must_use]
    pub fn v6(mut self) -> Self {
        for (field, _) in &mut self.fields {
            *field = match field.element {
                8 => Field::iana(27, 16),
                12 => Field::iana(28, 16),
                _ => *field,
            };
        }
        self
    }

    /// With one more field at its end, which has this value in every record.
    #[must_use]
    pub fn with(mut self, field: Field, value: &[u8]) -> Self {
        self.fields.push((field, value.to_vec()));
        self
    }

    /// Its template.
    #[must_use]
    pub fn template(&self) -> Set {
        Set::Template(self.id, self.fields.iter().map(|(field, _)| *field).collect())
    }

    /// Records of these flows.
    #[must_use]
    pub fn data(&self, flows: &[Flow], process: &ExportingProcess) -> Set {
        let record = |flow: &Flow| -> Vec<u8> {
            let mut record = Vec::new();
            for (field, value) in &self.fields {
                if field.octets == VARIABLE {
                    // Values of these tests are short.
                    record.push(u8::try_from(value.len()).unwrap_or(0));
                }
                record.extend(flow.value(*field, process).as_ref().unwrap_or(value));
            }
            record
        };
        Set::Data(self.id, flows.iter().map(record).collect())
    }
}

/// A socket from which messages go to flowprobe.
pub struct Sender {
    socket: UdpSocket,
}

impl Sender {
    /// A socket in the namespace, bound to `from` and for messages to `to`; port 0 stands for any.
    ///
    /// # Errors
    /// The address is taken, or is none of the namespace.
    pub fn new(namespace: &Namespace, from: &str, to: &str) -> Result<Self> {
        let (from, to): (SocketAddr, SocketAddr) =
            (from.parse().with_context(|| from.to_owned())?, to.parse().with_context(|| to.to_owned())?);
        let socket = namespace.inside(|| {
            let socket = UdpSocket::bind(from).with_context(|| format!("cannot bind {from}"))?;
            socket.connect(to)?;
            Ok(socket)
        })?;
        Ok(Self { socket })
    }

    /// Sends a message as one datagram.
    ///
    /// # Errors
    /// The kernel refuses it, or nobody listens.
    pub fn send(&self, message: &[u8]) -> Result<()> {
        let sent = self.socket.send(message)?;
        ensure!(sent == message.len(), "{sent} of {} octets were sent", message.len());
        Ok(())
    }
}

/// Whether `record` says all that `told` says.
#[must_use]
pub fn says(record: &Object, told: &Object) -> bool {
    told.iter().all(|(name, value)| record.get(name) == Some(value))
}

/// Makes sure that of every flow there is exactly one record, and no record of anything else.
///
/// # Errors
/// A flow without its record, or a record too many.
pub fn must_be_told(flows: &[Flow], records: &[&Object]) -> Result<()> {
    let mut left: Vec<&Object> = records.to_vec();
    for flow in flows {
        let told = flow.told();
        let place = left.iter().position(|record| says(record, &told));
        let place = place.with_context(|| format!("no record says {told:?}; there are {left:?}"))?;
        left.swap_remove(place);
    }
    ensure!(left.is_empty(), "{} records too many: {left:?}", left.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use netflow_parser::{NetflowPacket, NetflowParser};

    use super::*;

    #[test]
    fn an_independent_reader_reads_what_is_built() -> Result<()> {
        let mut parser = NetflowParser::default();
        for version in [9, 10] {
            let mut process = ExportingProcess::new(version, 7);
            let flows: Vec<Flow> = (0..3).map(|number| Flow::numbered(number, &process)).collect();
            let layout = Layout::plain(300, &process);
            let scope = Set::OptionsTemplate(
                301,
                1,
                vec![Field::iana(if version == 9 { 1 } else { 149 }, 4), Field::iana(34, 4)],
            );
            let sampled = Set::Data(301, vec![vec![0, 0, 0, 7, 0, 0, 0, 100]]);
            let message = process.message(&[layout.template(), scope, layout.data(&flows, &process), sampled]);
            let result = parser.parse_bytes(&message);
            ensure!(result.error.is_none(), "{:?}", result.error);
            let text = serde_json::to_string(&result.packets)?;
            ensure!(text.matches("10.0.0.").count() == 3, "v{version}: {text}");
            ensure!(process.sequence == if version == 9 { 2 } else { 5 }, "v{version}: {}", process.sequence);
        }
        let mut process = ExportingProcess::new(5, 0);
        let message = process.netflow5(&[Flow::numbered(7, &process)], 0);
        let result = parser.parse_bytes(&message);
        let [NetflowPacket::V5(packet)] = &result.packets[..] else {
            return Err(anyhow::anyhow!("no NetFlow v5: {result:?}"));
        };
        let record = &packet.flowsets[0];
        ensure!(record.d_octets == 1007 && record.src_port == 1031 && record.last - record.first == 4007, "{record:?}");
        Ok(())
    }
}
