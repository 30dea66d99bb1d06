//! Ethernet frames, built field by field with correct lengths and checksums.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, ensure};

use crate::truth::{Counts, FlowId, Flows};

/// The destination of every frame: nobody's, so that the receiving stack drops it quietly after it was metered.
pub const NOBODY: [u8; 6] = [0x02, 0, 0, 0, 0x99, 0x99];
/// The source of every frame.
pub const SENDER: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];

/// ICMP's protocol number.
pub const ICMP: u8 = 1;
/// TCP's protocol number.
pub const TCP: u8 = 6;
/// UDP's protocol number.
pub const UDP: u8 = 17;
/// ICMPv6's protocol number.
pub const ICMPV6: u8 = 58;

/// The source port of flow 0 of [`Flow::udp`].
pub const FIRST_PORT: u16 = 1024;

/// A TCP packet that only acknowledges.
pub const ACK: u8 = 0x10;

/// IPv4 options: a router alert (RFC 2113) and an end of the list, padded to two words.
const OPTIONS: [u8; 8] = [0x94, 4, 0, 0, 0, 0, 0, 0];

/// A flow and how its packets look.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Its identity.
    pub id: FlowId,
    /// Whether its IPv4 headers carry options.
    pub options: bool,
    /// TCP flags of its packets.
    pub tcp_flags: u8,
    /// Type of service or traffic class of its packets.
    pub tos: u8,
}

impl Flow {
    /// A flow of plain packets.
    #[must_use]
    pub fn new(id: FlowId) -> Self {
        Self { id, options: false, tcp_flags: ACK, tos: 0 }
    }

    /// A UDP flow, numbered, of IPv4 or IPv6.
    #[must_use]
    pub fn udp(number: u16, v6: bool) -> Self {
        let address = |net: u8| -> IpAddr {
            let [high, low] = number.to_be_bytes();
            if v6 {
                Ipv6Addr::new(0x2001, 0xdb8, net.into(), 0, 0, 0, 0, number).into()
            } else {
                Ipv4Addr::new(10, net, high, low).into()
            }
        };
        Self::new(FlowId {
            source: address(1),
            destination: address(2),
            protocol: UDP,
            source_port: FIRST_PORT + number % 60_000,
            destination_port: 53,
            vlan: 0,
            customer_vlan: 0,
        })
    }

    /// One packet of the flow with `payload` octets after its transport header, and what must be counted of it.
    ///
    /// # Errors
    /// The addresses are of two families, or the protocol is none of those above.
    pub fn packet(&self, payload: usize) -> Result<(Vec<u8>, Counts)> {
        let mut frame = [NOBODY, SENDER].concat();
        for (tag, vlan) in self.tags() {
            frame.extend(tag.to_be_bytes());
            frame.extend(vlan.to_be_bytes());
        }
        let network = self.network(payload)?;
        let ethertype: u16 = if self.id.source.is_ipv4() { 0x0800 } else { 0x86dd };
        frame.extend(ethertype.to_be_bytes());
        let octets = network.len() as u64;
        frame.extend(network);
        let counts = Counts { packets: 1, octets, layer2_octets: frame.len() as u64 };
        Ok((frame, counts))
    }

    /// Tag protocol identifiers and VLANs, the outer first.
    fn tags(&self) -> Vec<(u16, u16)> {
        match (self.id.vlan, self.id.customer_vlan) {
            (0, _) => Vec::new(),
            (vlan, 0) => vec![(0x8100, vlan)],
            (vlan, customer) => vec![(0x88a8, vlan), (0x8100, customer)],
        }
    }

    fn network(&self, payload: usize) -> Result<Vec<u8>> {
        let transport = self.transport(payload)?;
        let mut packet;
        match (self.id.source, self.id.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let options: &[u8] = if self.options { &OPTIONS } else { &[] };
                let header = 20 + options.len();
                packet = vec![0x40 | u8::try_from(header / 4)?, self.tos];
                packet.extend(u16::try_from(header + transport.len())?.to_be_bytes());
                // Identification, flags and fragment offset, TTL, protocol, checksum.
                packet.extend([0, 0, 0x40, 0, 64, self.id.protocol, 0, 0]);
                packet.extend(source.octets());
                packet.extend(destination.octets());
                packet.extend(options);
                let sum = checksum(&packet);
                packet[10..12].copy_from_slice(&sum.to_be_bytes());
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                packet = vec![0x60 | self.tos >> 4, self.tos << 4, 0, 0];
                packet.extend(u16::try_from(transport.len())?.to_be_bytes());
                packet.extend([self.id.protocol, 64]);
                packet.extend(source.octets());
                packet.extend(destination.octets());
            }
            _ => return Err(anyhow::anyhow!("{:?} has addresses of two families", self.id)),
        }
        packet.extend(transport);
        Ok(packet)
    }

    fn transport(&self, payload: usize) -> Result<Vec<u8>> {
        let FlowId { source_port, destination_port, protocol, .. } = self.id;
        let ports = [source_port.to_be_bytes(), destination_port.to_be_bytes()].concat();
        let (mut segment, sum_at) = match protocol {
            TCP => {
                // Sequence, acknowledgment; five words, flags, window; checksum, urgent pointer.
                let rest = [0, 0, 0, 1, 0, 0, 0, 1, 0x50, self.tcp_flags, 0x10, 0, 0, 0, 0, 0];
                ([ports, rest.to_vec()].concat(), 16)
            }
            UDP => {
                let length = u16::try_from(8 + payload)?.to_be_bytes();
                ([ports, length.to_vec(), vec![0, 0]].concat(), 6)
            }
            ICMP | ICMPV6 => {
                ensure!(source_port == 0, "ICMP has no source port");
                // Type and code, checksum, and the rest of the header: an identifier and a sequence number.
                ([destination_port.to_be_bytes().to_vec(), vec![0, 0, 0, 7, 0, 1]].concat(), 2)
            }
            _ => return Err(anyhow::anyhow!("no builder for protocol {protocol}")),
        };
        segment.extend((0..=250).cycle().take(payload));
        let mut summed = if protocol == ICMP { Vec::new() } else { self.pseudo_header(segment.len())? };
        summed.extend(&segment);
        let sum = match (checksum(&summed), protocol) {
            // UDP's way to say that there is a checksum and it is 0 (RFC 768).
            (0, UDP) => 0xffff,
            (sum, _) => sum,
        };
        let field = segment.get_mut(sum_at..sum_at + 2).context("the header has a checksum")?;
        field.copy_from_slice(&sum.to_be_bytes());
        Ok(segment)
    }

    fn pseudo_header(&self, length: usize) -> Result<Vec<u8>> {
        let mut header = Vec::new();
        for address in [self.id.source, self.id.destination] {
            match address {
                IpAddr::V4(address) => header.extend(address.octets()),
                IpAddr::V6(address) => header.extend(address.octets()),
            }
        }
        header.extend(u32::try_from(length)?.to_be_bytes());
        header.extend([0, 0, 0, self.id.protocol]);
        Ok(header)
    }
}

/// `each` packets of every one of these flows, in turn, and what must be counted of them.
///
/// # Errors
/// See [`Flow::packet`].
pub fn packets_of(flows: &[Flow], each: usize) -> Result<(Vec<Vec<u8>>, Flows)> {
    let mut sent = Flows::default();
    let mut frames = Vec::new();
    for round in 0..each {
        for flow in flows {
            let (frame, counts) = flow.packet(20 + round % 1000)?;
            sent.add(flow.id.clone(), counts);
            frames.push(frame);
        }
    }
    Ok((frames, sent))
}

/// An ARP request: a frame without a flow.
#[must_use]
pub fn arp() -> Vec<u8> {
    // Ethernet and IPv4, their lengths, request; then both sides' addresses.
    let request = [0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1];
    let addresses = [2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2];
    [&NOBODY[..], &SENDER, &request, &addresses].concat()
}

/// An IPv4 frame that ends within its header.
#[must_use]
pub fn truncated() -> Vec<u8> {
    [&NOBODY[..], &SENDER, &[0x08, 0, 0x45, 0, 0, 40]].concat()
}

/// An untagged IPv4 frame without options as two fragments, of which the first has `first` octets of payload, a multiple of 8.
///
/// # Errors
/// There is no payload beyond.
pub fn fragments(frame: &[u8], first: usize, identification: u16) -> Result<[Vec<u8>; 2]> {
    let (headers, payload) = frame.split_at_checked(14 + 20).context("a frame with an IPv4 header")?;
    let (one, other) = payload.split_at_checked(first).context("a payload of two fragments")?;
    ensure!(first.is_multiple_of(8), "fragments begin at multiples of 8 octets");
    let offset = u16::try_from(first / 8)?;
    // More fragments; and where the second begins.
    let fragment = |payload: &[u8], flags_and_offset: u16| -> Result<Vec<u8>> {
        let mut frame = headers.to_vec();
        let header = frame.get_mut(14..).context("an IPv4 header")?;
        header[2..4].copy_from_slice(&u16::try_from(20 + payload.len())?.to_be_bytes());
        header[4..6].copy_from_slice(&identification.to_be_bytes());
        header[6..8].copy_from_slice(&flags_and_offset.to_be_bytes());
        header[10..12].fill(0);
        let sum = checksum(header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        frame.extend(payload);
        Ok(frame)
    };
    Ok([fragment(one, 0x2000)?, fragment(other, offset)?])
}

/// The Internet checksum (RFC 1071).
fn checksum(octets: &[u8]) -> u16 {
    let words = octets.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).map_or(0, |sum| !sum)
}
