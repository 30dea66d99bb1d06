//! Which flows a question is about.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::record::{ICMP, ICMPV6};
use crate::store::columns::{Columns as _, Texts};
use crate::store::flows::{Flows, ip, mapped};
use crate::store::rollup::MinuteKey;

/// Flows that are meant: of each kind that is given, one has to fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Filter {
    /// Networks in which the source or the destination is.
    pub addresses: Vec<IpNet>,
    /// In which the source is.
    pub sources: Vec<IpNet>,
    /// In which the destination is.
    pub destinations: Vec<IpNet>,
    /// The source port or that of the destination.
    pub ports: Vec<u16>,
    /// Protocol numbers.
    pub protocols: Vec<u8>,
    /// Types and codes of ICMP and ICMPv6.
    pub icmp: Vec<IcmpType>,
    /// Names or indices of interfaces by which packets came in or left.
    pub interfaces: Vec<String>,
    /// Autonomous systems of the source or the destination.
    pub systems: Vec<u32>,
    /// Countries of either, as two capital letters.
    pub countries: Vec<String>,
    /// What the operator calls the network of either.
    pub labels: Vec<String>,
    /// Who sent the records.
    pub exporters: Vec<IpAddr>,
    /// `flowDirection`: 0 metered at ingress, 1 at egress.
    pub direction: Option<u8>,
}

impl Filter {
    /// Whether the rollup by minute has all that decides.
    #[must_use]
    pub(crate) fn is_of_minutes(&self) -> bool {
        Sieve::of(self, 0, 0).is_of_minutes()
    }
}

/// A type of ICMP with one of its codes, or with all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IcmpType {
    /// Type.
    pub kind: u8,
    /// Code; none for any.
    pub code: Option<u8>,
}

impl IcmpType {
    const fn has(self, type_and_code: i32) -> bool {
        type_and_code >> 8 == self.kind as i32
            && match self.code {
                Some(code) => type_and_code & 0xff == code as i32,
                None => true,
            }
    }
}

/// `TYPE/CODE`, or `TYPE` for any code.
impl FromStr for IcmpType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, code) = text.split_once('/').map_or((text, None), |(kind, code)| (kind, Some(code)));
        let read = |part: &str| part.parse::<u8>().ok();
        let parsed = read(kind).and_then(|kind| match code {
            None => Some(Self { kind, code: None }),
            Some(code) => read(code).map(|code| Self { kind, code: Some(code) }),
        });
        parsed.ok_or_else(|| format!("expected a type of ICMP and its code, such as 8/0, or a type, found `{text}`"))
    }
}

/// A filter in the form in which rows are held against it, with the time that is asked for.
#[derive(Clone, Debug)]
pub(super) struct Sieve {
    from_ms: i64,
    to_ms: i64,
    addresses: Vec<Network>,
    sources: Vec<Network>,
    destinations: Vec<Network>,
    ports: Vec<i32>,
    protocols: Vec<i32>,
    icmp: Vec<IcmpType>,
    interfaces: Vec<(Option<i64>, String)>,
    systems: Vec<i64>,
    countries: Vec<String>,
    labels: Vec<String>,
    exporters: Vec<u128>,
    direction: Option<i32>,
}

/// A network of IPv6 addresses, IPv4 among them as mapped ones.
#[derive(Clone, Copy, Debug)]
struct Network {
    bits: u128,
    mask: u128,
}

impl Network {
    fn of(network: &IpNet) -> Self {
        let length = match network {
            IpNet::V4(_) => 96 + network.prefix_len(),
            IpNet::V6(_) => network.prefix_len(),
        };
        let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
        Self { bits: mapped(network.addr()) & mask, mask }
    }

    const fn has(self, address: u128) -> bool {
        address & self.mask == self.bits
    }
}

fn has(networks: &[Network], address: u128) -> bool {
    networks.iter().any(|network| network.has(address))
}

impl Sieve {
    pub(super) fn of(filter: &Filter, from_ms: i64, to_ms: i64) -> Self {
        let networks = |networks: &[IpNet]| networks.iter().map(Network::of).collect();
        Self {
            from_ms,
            to_ms,
            addresses: networks(&filter.addresses),
            sources: networks(&filter.sources),
            destinations: networks(&filter.destinations),
            ports: filter.ports.iter().map(|port| (*port).into()).collect(),
            protocols: filter.protocols.iter().map(|protocol| (*protocol).into()).collect(),
            icmp: filter.icmp.clone(),
            interfaces: filter.interfaces.iter().map(|name| (name.parse().ok(), name.clone())).collect(),
            systems: filter.systems.iter().map(|number| (*number).into()).collect(),
            countries: filter.countries.clone(),
            labels: filter.labels.clone(),
            exporters: filter.exporters.iter().map(|address| mapped(*address)).collect(),
            direction: filter.direction.map(Into::into),
        }
    }

    pub(super) const fn times(&self) -> (i64, i64) {
        (self.from_ms, self.to_ms)
    }

    /// Whether nothing but the time decides.
    pub(super) fn is_of_time_only(&self) -> bool {
        self.is_of_minutes() && !self.has_any_of_minutes()
    }

    /// Whether the rollup by minute has all that decides.
    pub(super) fn is_of_minutes(&self) -> bool {
        let networks = [&self.addresses, &self.sources, &self.destinations];
        networks.iter().all(|networks| networks.is_empty())
            && self.ports.is_empty()
            && self.icmp.is_empty()
            && self.systems.is_empty()
            && self.countries.is_empty()
            && self.labels.is_empty()
    }

    /// Whether the time and the protocol have all that decides.
    pub(super) fn is_of_protocols(&self) -> bool {
        self.is_of_minutes() && self.interfaces.is_empty() && self.exporters.is_empty() && self.direction.is_none()
    }

    /// Whether the protocol is meant, where nothing but that and the time decides.
    pub(super) fn passes_protocol(&self, protocol: i32) -> bool {
        self.protocols.is_empty() || self.protocols.contains(&protocol)
    }

    fn has_any_of_minutes(&self) -> bool {
        !self.protocols.is_empty()
            || !self.interfaces.is_empty()
            || !self.exporters.is_empty()
            || self.direction.is_some()
    }

    /// The columns that decide, the time first.
    pub(super) fn columns(&self) -> Vec<usize> {
        let mut names = vec!["flowEndMilliseconds"];
        let either = !self.addresses.is_empty();
        let given = [
            (either || !self.sources.is_empty(), &["sourceIPAddress"][..]),
            (either || !self.destinations.is_empty(), &["destinationIPAddress"]),
            (!self.ports.is_empty(), &["sourceTransportPort", "destinationTransportPort"]),
            (!self.protocols.is_empty() || !self.icmp.is_empty(), &["protocolIdentifier"]),
            (!self.icmp.is_empty(), &["icmpTypeCode"]),
            (
                !self.interfaces.is_empty(),
                &["ingressInterface", "egressInterface", "ingressInterfaceName", "egressInterfaceName"],
            ),
            (!self.systems.is_empty(), &["bgpSourceAsNumber", "bgpDestinationAsNumber"]),
            (!self.countries.is_empty(), &["sourceCountryCode", "destinationCountryCode"]),
            (!self.labels.is_empty(), &["sourceLabel", "destinationLabel"]),
            (!self.exporters.is_empty(), &["exporterIPAddress"]),
            (self.direction.is_some(), &["flowDirection"]),
        ];
        names.extend(given.into_iter().filter(|(is_given, _)| *is_given).flat_map(|(_, names)| names));
        names.into_iter().filter_map(Flows::index_of).collect()
    }

    /// Where single addresses are asked for, and nothing else will do: these, and the columns one of which has to have one.
    pub(super) fn hosts(&self) -> Vec<(Vec<IpAddr>, Vec<usize>)> {
        let all = |networks: &[Network], columns: &[&str]| {
            let hosts = !networks.is_empty() && networks.iter().all(|network| network.mask == u128::MAX);
            hosts.then(|| {
                let addresses = networks.iter().map(|network| ip(network.bits)).collect();
                (addresses, columns.iter().filter_map(|name| Flows::index_of(name)).collect())
            })
        };
        let (source, destination) = ("sourceIPAddress", "destinationIPAddress");
        [
            all(&self.addresses, &[source, destination]),
            all(&self.sources, &[source]),
            all(&self.destinations, &[destination]),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Whether a row is meant, of which the columns that decide are there.
    pub(super) fn passes(&self, flows: &Flows, row: usize) -> bool {
        let end_ms = flows.end_ms[row];
        (self.from_ms..self.to_ms).contains(&end_ms)
            && (self.addresses.is_empty()
                || has(&self.addresses, flows.source[row])
                || has(&self.addresses, flows.destination[row]))
            && (self.sources.is_empty() || has(&self.sources, flows.source[row]))
            && (self.destinations.is_empty() || has(&self.destinations, flows.destination[row]))
            && (self.ports.is_empty()
                || self.ports.contains(&flows.source_port[row])
                || self.ports.contains(&flows.destination_port[row]))
            && (self.protocols.is_empty() || self.protocols.contains(&flows.protocol[row]))
            && (self.icmp.is_empty() || self.is_icmp(flows.protocol[row], flows.icmp[row]))
            && (self.interfaces.is_empty()
                || self.is_interface(flows.ingress[row], flows.ingress_name[row].as_deref())
                || self.is_interface(flows.egress[row], flows.egress_name[row].as_deref()))
            && (self.exporters.is_empty() || self.exporters.contains(&flows.exporter[row]))
            && self.direction.is_none_or(|direction| direction == flows.direction[row])
            && self.is_of_place(flows, row)
    }

    /// Whether one of both ends is in such a place.
    fn is_of_place(&self, flows: &Flows, row: usize) -> bool {
        let is_any = |wanted: &[String], texts: [&Texts; 2]| {
            wanted.is_empty()
                || texts
                    .iter()
                    .any(|text| text[row].as_deref().is_some_and(|text| wanted.iter().any(|one| one == text)))
        };
        (self.systems.is_empty()
            || self.systems.contains(&flows.source_as[row])
            || self.systems.contains(&flows.destination_as[row]))
            && is_any(&self.countries, [&flows.source_country, &flows.destination_country])
            && is_any(&self.labels, [&flows.source_label, &flows.destination_label])
    }

    /// The same of a row of the rollup by minute, where that has all that decides.
    pub(super) fn passes_minute(&self, key: &MinuteKey) -> bool {
        (self.from_ms..self.to_ms).contains(&key.minute_ms)
            && self.passes_protocol(key.protocol)
            && (self.interfaces.is_empty()
                || self.is_interface(key.ingress, key.ingress_name.as_deref())
                || self.is_interface(key.egress, key.egress_name.as_deref()))
            && (self.exporters.is_empty() || self.exporters.contains(&key.exporter))
            && self.direction.is_none_or(|direction| direction == key.direction)
    }

    fn is_icmp(&self, protocol: i32, type_and_code: i32) -> bool {
        [i32::from(ICMP), i32::from(ICMPV6)].contains(&protocol) && self.icmp.iter().any(|one| one.has(type_and_code))
    }

    fn is_interface(&self, index: i64, name: Option<&str>) -> bool {
        self.interfaces
            .iter()
            .any(|(wanted_index, wanted)| name == Some(wanted) || (index != 0 && *wanted_index == Some(index)))
    }
}
