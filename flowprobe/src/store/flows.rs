//! The columns of the flow files: what history keeps of a record. This is the one place where they are named.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use flowprobe_ebpf::{Address, Direction, TunnelKind};

use super::columns::{Columns as _, Kind, Texts, columns};
use crate::collect::Said;
use crate::collect::registry::put_tail_json;
use crate::enrich::{End, Facts, Interface, Known, service_name};
use crate::record::{FlowRecord, Role};

/// Version of the columns below, kept in each file. A column is only ever added, so that a later flowprobe reads earlier files, in
/// which those that were added since say nothing.
pub const SCHEMA_VERSION: u32 = 2;

columns! {
    /// Flow records. Counts are as they were metered; estimates of the whole are these times `samplingInterval`.
    pub struct Flows {
        start_ms: Time, "flowStartMilliseconds", "First packet.";
        end_ms: Time, "flowEndMilliseconds", "Last packet.";
        source: Address, "sourceIPAddress", "sourceIPv4Address or sourceIPv6Address; :: where there is none.";
        destination: Address, "destinationIPAddress", "destinationIPv4Address or destinationIPv6Address, likewise.";
        source_port: Number, "sourceTransportPort", "0 for protocols without ports.";
        destination_port: Number, "destinationTransportPort", "0 for protocols without ports.";
        protocol: Number, "protocolIdentifier", "Of the IP header.";
        packets: Count, "packetDeltaCount", "Packets, as metered.";
        octets: Count, "octetDeltaCount", "Octets from the IP header on, as metered.";
        layer2_octets: Count, "layer2OctetDeltaCount", "Octets of the frames, as metered; 0 where an exporter has not said.";
        sampling: Id, "samplingInterval", "Of how many packets or flows one was metered.";
        tcp_flags: Number, "tcpControlBits", "Or-ed over all packets.";
        tos: Number, "ipClassOfService", "Of the first packet.";
        icmp: Number, "icmpTypeCode", "icmpTypeCodeIPv4 or icmpTypeCodeIPv6: type × 256 + code; 0 for other protocols.";
        ip_version: Number, "ipVersion", "4, 6, or 0 where there are no addresses.";
        ingress: Id, "ingressInterface", "Index of the interface by which packets came in; 0 where it is not known.";
        egress: Id, "egressInterface", "Index of the one by which they left, likewise.";
        ingress_name: Text, "ingressInterfaceName", "Its name, where it is known.";
        egress_name: Text, "egressInterfaceName", "Its name, where it is known.";
        direction: Number, "flowDirection", "0 metered at ingress, 1 at egress.";
        vlan: Number, "vlanId", "0 without.";
        customer_vlan: Number, "dot1qCustomerVlanId", "The inner one of two; 0 without.";
        source_mac: Mac, "sourceMacAddress", "Of the first packet.";
        destination_mac: Mac, "destinationMacAddress", "Of the first packet.";
        ttl_min: Number, "minimumTTL", "Smallest TTL or hop limit.";
        ttl_max: Number, "maximumTTL", "Largest TTL or hop limit.";
        fragmented: Number, "fragmentFlags", "32 where there were fragments.";
        next_hop: OptionalAddress, "ipNextHopAddress", "ipNextHopIPv4Address or ipNextHopIPv6Address.";
        mpls_top_label: Number, "mplsTopLabelStackSection", "First label stack entry without its TTL; 0 without.";
        tunnel_kind: Text, "tunnelType", "The tunnel out of which packets came: vxlan, geneve, gre, erspan, gtpu, ipip.";
        tunnel_key: Id, "tunnelKey", "Its number.";
        tunnel_source: OptionalAddress, "tunnelSourceAddress", "Its source.";
        tunnel_destination: OptionalAddress, "tunnelDestinationAddress", "Its destination.";
        end_reason: Number, "flowEndReason", "Why the record left the table (RFC 5102); 0 where an exporter has not said.";
        biflow: Number, "biflowDirection", "Of two halves of a biflow 1 for the initiator's and 2 for the answers; else 0.";
        exporter: OptionalAddress, "exporterIPAddress", "Who sent the record; null for our own.";
        domain: Id, "originalObservationDomainId", "Its observation domain there.";
        moved: Number, "flowTimesMoved", "1 where the exporter's clock is a day or more off: times are then those of arrival.";
        others: Text, "otherElements", "All else that its exporter said, as a JSON object.";
        source_as: Id, "bgpSourceAsNumber", "Autonomous system of the source: as its exporter says, else by the databases; 0 where it is not known.";
        destination_as: Id, "bgpDestinationAsNumber", "The same of the destination.";
        source_as_organization: Name, "sourceAsOrganization", "Who runs the autonomous system of the source.";
        destination_as_organization: Name, "destinationAsOrganization", "The same of the destination.";
        source_country: Name, "sourceCountryCode", "Country of the source: two letters of ISO 3166-1.";
        destination_country: Name, "destinationCountryCode", "The same of the destination.";
        source_city: Name, "sourceCityName", "City of the source, in English.";
        destination_city: Name, "destinationCityName", "The same of the destination.";
        source_label: Name, "sourceLabel", "What the operator calls the network of the source.";
        destination_label: Name, "destinationLabel", "The same of the destination.";
        source_host: Name, "sourceHostName", "Name of the source, as it was asked for then.";
        destination_host: Name, "destinationHostName", "The same of the destination.";
        source_vendor: Text, "sourceMacVendor", "Who made the card with sourceMacAddress.";
        destination_vendor: Text, "destinationMacVendor", "The same of destinationMacAddress.";
        ingress_alias: Text, "ingressInterfaceDescription", "Alias of the interface by which packets came in, of our own.";
        egress_alias: Text, "egressInterfaceDescription", "The same of the one by which they left.";
        service: Text, "serviceName", "Name of the service at the lower of both ports.";
    }
}

/// Octets of a row in memory, without the texts that it shares with others.
#[must_use]
pub fn octets_of_row(is_enriched: bool) -> u64 {
    let kinds = Flows::COLUMNS.iter().map(|column| column.kind);
    kinds.filter(|kind| is_enriched || *kind != Kind::Name).map(|kind| kind.octets() as u64).sum()
}

/// One of both ends of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as in the headers")]
pub enum Side {
    Source,
    Destination,
}

impl Side {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Source, Self::Destination];
}

/// The columns of one end.
#[derive(Clone, Copy)]
pub(super) struct Ends<'a> {
    pub(super) addresses: &'a [u128],
    pub(super) as_numbers: &'a [i64],
    pub(super) as_organizations: &'a Texts,
    pub(super) countries: &'a Texts,
    pub(super) cities: &'a Texts,
    pub(super) labels: &'a Texts,
    pub(super) host_names: &'a Texts,
}

/// What a record may be off from now, into the past and into the future, before its times are taken for wrong.
const PLAUSIBLE_PAST_MS: i64 = 24 * 3_600_000;
const PLAUSIBLE_FUTURE_MS: i64 = 3_600_000;

impl Flows {
    /// Rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.end_ms.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a record that left the table at `now_ms`, with what it says beyond where it was received, and what is known besides.
    pub fn push(&mut self, record: &FlowRecord, said: Option<Said<'_>>, now_ms: i64, known: &mut impl Known) {
        let key = &record.key;
        let said_ms = signed(record.end_us / 1000);
        let end_ms = end_ms(record, now_ms);
        let duration_ms = said_ms.saturating_sub(signed(record.start_us / 1000));
        self.start_ms.push(end_ms.saturating_sub(duration_ms.clamp(0, PLAUSIBLE_PAST_MS)));
        self.end_ms.push(end_ms);
        self.moved.push(i32::from(end_ms != said_ms));
        self.source.push(address_bits(key.source, key.ip_version));
        self.destination.push(address_bits(key.destination, key.ip_version));
        let [source_port, destination_port] =
            if record.has_ports() { [key.source_port, key.destination_port] } else { [0, 0] };
        self.source_port.push(source_port.into());
        self.destination_port.push(destination_port.into());
        self.icmp.push(if record.is_icmp() { key.destination_port.into() } else { 0 });
        self.protocol.push(key.protocol.into());
        self.packets.push(signed(record.packets));
        self.octets.push(signed(record.octets));
        self.layer2_octets.push(signed(record.layer2_octets));
        self.sampling.push(record.sampling.interval().into());
        self.tcp_flags.push(record.tcp_flags.into());
        self.tos.push(record.tos.into());
        self.ip_version.push(key.ip_version.into());
        let [ingress, egress] = [Direction::Ingress, Direction::Egress].map(|direction| record.interface(direction));
        self.ingress.push(ingress.into());
        self.egress.push(egress.into());
        self.direction.push(key.direction.into());
        self.vlan.push(key.vlan.into());
        self.customer_vlan.push(key.customer_vlan.into());
        self.source_mac.push(mac_bits(record.source_mac));
        self.destination_mac.push(mac_bits(record.destination_mac));
        self.ttl_min.push(record.extremes.ttl_min.into());
        self.ttl_max.push(record.extremes.ttl_max.into());
        /// The bit "more fragments" of `fragmentFlags`.
        const MORE_FRAGMENTS: i32 = 0x20;
        self.fragmented.push(if record.fragmented { MORE_FRAGMENTS } else { 0 });
        let hop = record.route.filter(|route| route.ip_version != 0);
        self.next_hop.push(hop.map_or(0, |route| address_bits(route.next_hop, route.ip_version)));
        self.mpls_top_label.push(i32::try_from(record.mpls_top_label).unwrap_or(i32::MAX));
        self.push_tunnel(record);
        self.end_reason.push(record.end_reason as i32);
        self.biflow.push(match record.role {
            Role::Single => 0,
            Role::Forward => 1,
            Role::Reverse => 2,
        });
        self.push_origin(said, [ingress, egress], known);
        self.push_known(record, known);
    }

    /// Who has told of a record, and what else; of our own, the names of the interfaces.
    fn push_origin(&mut self, said: Option<Said<'_>>, [ingress, egress]: [u32; 2], known: &mut impl Known) {
        match said {
            Some((received, octets)) => {
                self.exporter.push(mapped(received.origin.address));
                self.domain.push(received.origin.domain.into());
                self.ingress_name.push(received.ingress_name.clone());
                self.egress_name.push(received.egress_name.clone());
                let mut json = String::new();
                put_tail_json(&received.tail, octets, &mut json);
                // Each value has a comma before it.
                self.others.push((!json.is_empty()).then(|| format!("{{{}}}", &json[1..]).into()));
                self.ingress_alias.push(None);
                self.egress_alias.push(None);
            }
            None => {
                self.exporter.push(0);
                self.domain.push(0);
                let Interface { name, alias } = known.interface(ingress);
                self.ingress_name.push(name);
                self.ingress_alias.push(alias);
                let Interface { name, alias } = known.interface(egress);
                self.egress_name.push(name);
                self.egress_alias.push(alias);
                self.others.push(None);
            }
        }
    }

    /// What is known of both ends.
    fn push_known(&mut self, record: &FlowRecord, known: &mut impl Known) {
        let key = &record.key;
        let End { facts, host_name, vendor } =
            known.end(address_bits(key.source, key.ip_version), mac_bits(record.source_mac));
        self.source_as.push(as_number(record.source_as, &facts));
        self.source_as_organization.push(facts.as_organization(record.source_as).cloned());
        self.source_country.push(facts.place.country);
        self.source_city.push(facts.place.city);
        self.source_label.push(facts.label);
        self.source_host.push(host_name);
        self.source_vendor.push(vendor);
        let End { facts, host_name, vendor } =
            known.end(address_bits(key.destination, key.ip_version), mac_bits(record.destination_mac));
        self.destination_as.push(as_number(record.destination_as, &facts));
        self.destination_as_organization.push(facts.as_organization(record.destination_as).cloned());
        self.destination_country.push(facts.place.country);
        self.destination_city.push(facts.place.city);
        self.destination_label.push(facts.label);
        self.destination_host.push(host_name);
        self.destination_vendor.push(vendor);
        let port = if record.has_ports() { key.source_port.min(key.destination_port) } else { 0 };
        let service = if port == 0 { None } else { service_name(key.protocol.into(), port.into()) };
        self.service.push(service.cloned());
    }

    /// What is known of the ends of flows that are their sources, or of those that are their destinations.
    pub(super) fn ends(&self, side: Side) -> Ends<'_> {
        match side {
            Side::Source => Ends {
                addresses: &self.source,
                as_numbers: &self.source_as,
                as_organizations: &self.source_as_organization,
                countries: &self.source_country,
                cities: &self.source_city,
                labels: &self.source_label,
                host_names: &self.source_host,
            },
            Side::Destination => Ends {
                addresses: &self.destination,
                as_numbers: &self.destination_as,
                as_organizations: &self.destination_as_organization,
                countries: &self.destination_country,
                cities: &self.destination_city,
                labels: &self.destination_label,
                host_names: &self.destination_host,
            },
        }
    }

    /// Adds a row of others, all columns of which are there.
    #[cfg(test)]
    pub(crate) fn append_row(&mut self, others: &Self, row: usize) {
        use super::columns::{Values, ValuesMut};
        for index in 0..Self::COLUMNS.len() {
            match (others.values(index), self.values_mut(index)) {
                (Values::Long(from), ValuesMut::Long(to)) => to.push(from[row]),
                (Values::Int(from), ValuesMut::Int(to)) => to.push(from[row]),
                (Values::Address(from), ValuesMut::Address(to)) => to.push(from[row]),
                (Values::Mac(from), ValuesMut::Mac(to)) => to.push(from[row]),
                (Values::Text(from), ValuesMut::Text(to)) => to.push(from[row].clone()),
                _ => unreachable!("both are the same columns"),
            }
        }
    }

    fn push_tunnel(&mut self, record: &FlowRecord) {
        let tunnel = &record.tunnel;
        let kind = tunnel_name(tunnel.kind);
        self.tunnel_kind.push(kind.map(Arc::from));
        self.tunnel_key.push(tunnel.id.into());
        let [source, destination] = match kind {
            Some(_) => [tunnel.source, tunnel.destination].map(|end| address_bits(end, tunnel.ip_version)),
            None => [0; 2],
        };
        self.tunnel_source.push(source);
        self.tunnel_destination.push(destination);
    }
}

/// The number of an autonomous system: the record's own, else what is known of the address.
fn as_number(said: u32, facts: &Facts) -> i64 {
    if said == 0 { facts.place.as_number.into() } else { said.into() }
}

/// When a record's flow ended: as it says, or where its exporter's clock is too far off, when it came. So a clock that was never set
/// does not hide traffic in the year 1970.
pub(super) fn end_ms(record: &FlowRecord, now_ms: i64) -> i64 {
    let said_ms = signed(record.end_us / 1000);
    let is_plausible = (-PLAUSIBLE_PAST_MS..=PLAUSIBLE_FUTURE_MS).contains(&said_ms.saturating_sub(now_ms));
    if is_plausible { said_ms } else { now_ms }
}

/// What a kind of tunnel is called; nothing where it is none.
fn tunnel_name(kind: u8) -> Option<&'static str> {
    const KINDS: [(TunnelKind, &str); 6] = [
        (TunnelKind::Vxlan, "vxlan"),
        (TunnelKind::Geneve, "geneve"),
        (TunnelKind::Gre, "gre"),
        (TunnelKind::Erspan, "erspan"),
        (TunnelKind::GtpU, "gtpu"),
        (TunnelKind::IpInIp, "ipip"),
    ];
    KINDS.into_iter().find(|(known, _)| *known as u8 == kind).map(|(_, name)| name)
}

/// What fits into 63 bits.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// An address of the programs as 128 bits; 0 where there is none.
#[must_use]
pub fn address_bits(address: Address, ip_version: impl Into<u32>) -> u128 {
    match ip_version.into() {
        4 => mapped(address.to_ipv4().into()),
        6 => address.to_ipv6().to_bits(),
        _ => 0,
    }
}

/// An address as 128 bits.
#[must_use]
pub fn mapped(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The address of which these are the 128 bits.
#[must_use]
pub fn ip(bits: u128) -> IpAddr {
    Ipv6Addr::from_bits(bits).to_canonical()
}

/// A MAC address in the lowest 48 bits.
#[must_use]
pub fn mac_bits(octets: [u8; 6]) -> u64 {
    let [a, b, c, d, e, f] = octets;
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

/// Appends a MAC address as it is written: six octets with colons between them.
pub fn put_mac(bits: u64, text: &mut String) {
    let [_, _, a, b, c, d, e, f] = bits.to_be_bytes();
    // Writing to a string does not fail.
    let _ = write!(text, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
}
