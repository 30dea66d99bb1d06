//! Which elements a collector gets: a preset, or a list of names.

use std::fmt;

use thiserror::Error;

use super::table::{LAST_OF_NETFLOW9, usual_length};
use super::{ELEMENTS, Element, Extras, Family, Group, Place};
use crate::export::Format;
use crate::record::SamplingRate;

/// Elements by their place in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fields {
    /// A set that has a name.
    Preset(Preset),
    /// Those named, in their order, in records of IPv4 and of IPv6 flows.
    Chosen {
        /// In those of IPv4 flows.
        v4: Vec<usize>,
        /// In those of IPv6 flows.
        v6: Vec<usize>,
    },
}

/// A set of elements that has a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preset {
    /// Who, with whom, when and how much.
    Minimal,
    /// Everything, each in one form.
    #[default]
    Standard,
    /// The standard, and what can be derived from it.
    Full,
    /// What those who look for attacks want to know, and no more.
    Security,
}

impl Preset {
    /// All, by their names.
    pub const NAMES: [(&'static str, Self); 4] =
        [("minimal", Self::Minimal), ("standard", Self::Standard), ("full", Self::Full), ("security", Self::Security)];

    /// The preset of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, preset)| *preset)
    }

    fn has(self, element: &Element) -> bool {
        match self {
            Self::Minimal => MINIMAL.contains(&element.name),
            Self::Standard => element.place == Place::Standard,
            Self::Full => element.place != Place::Asked,
            Self::Security => MINIMAL.contains(&element.name) || SECURITY.contains(&element.name),
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(_, preset)| preset == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

/// The elements of [`Preset::Minimal`].
pub(super) const MINIMAL: [&str; 17] = [
    "sourceIPv4Address",
    "destinationIPv4Address",
    "sourceIPv6Address",
    "destinationIPv6Address",
    "flowStartMilliseconds",
    "flowEndMilliseconds",
    "sourceTransportPort",
    "destinationTransportPort",
    "protocolIdentifier",
    "packetDeltaCount",
    "octetDeltaCount",
    "samplingInterval",
    "biflowDirection",
    "reverseFlowStartMilliseconds",
    "reverseFlowEndMilliseconds",
    "reversePacketDeltaCount",
    "reverseOctetDeltaCount",
];

/// What [`Preset::Security`] has beyond that.
pub(super) const SECURITY: [&str; 37] = [
    "tunnelType",
    "tunnelKey",
    "tunnelSourceIPv4Address",
    "tunnelDestinationIPv4Address",
    "tunnelSourceIPv6Address",
    "tunnelDestinationIPv6Address",
    "icmpTypeCodeIPv4",
    "icmpTypeCodeIPv6",
    "ipVersion",
    "ipClassOfService",
    "tcpControlBits",
    "minimumTTL",
    "maximumTTL",
    "minimumIpTotalLength",
    "maximumIpTotalLength",
    "ingressInterface",
    "egressInterface",
    "flowDirection",
    "vlanId",
    "dot1qCustomerVlanId",
    "fragmentFlags",
    "sourceMacAddress",
    "destinationMacAddress",
    "flowDurationMilliseconds",
    "flowEndReason",
    "ipNextHopIPv4Address",
    "ipNextHopIPv6Address",
    "reverseTcpControlBits",
    "reverseIpClassOfService",
    "reverseMinimumTTL",
    "reverseMaximumTTL",
    "reverseMinimumIpTotalLength",
    "reverseMaximumIpTotalLength",
    "reverseFragmentFlags",
    "reverseSourceMacAddress",
    "reverseIcmpTypeCodeIPv4",
    "reverseIcmpTypeCodeIPv6",
];

/// Why fields cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FieldsError {
    /// No such element, or none that a flow here has.
    #[error("`{name}` is no element that can be filled{}; docs/elements.md has them all", suggestion(.similar))]
    Unknown {
        /// The name given.
        name: String,
        /// The element whose name is like it.
        similar: Option<&'static str>,
    },
    /// A record would say it twice.
    #[error("`{name}` is there twice")]
    Repeated {
        /// The element.
        name: &'static str,
    },
    /// It is about flows that there are not.
    #[error("`{name}` says nothing without {setting}")]
    Needs {
        /// The element.
        name: &'static str,
        /// What would have to be set.
        setting: &'static str,
    },
    /// It is about the other IP version.
    #[error("`{name}` is not in records of {family} flows")]
    OtherFamily {
        /// The element.
        name: &'static str,
        /// The flows.
        family: Family,
    },
    /// A reader would take the one for the other.
    #[error(
        "`{first}` has to come before `{second}`: they are one element of the registry, and the tunnel's is the first"
    )]
    Order {
        /// The element of the tunnel.
        first: &'static str,
        /// That of the flow.
        second: &'static str,
    },
    /// The format has no such element.
    #[error("{format} cannot say `{name}`: {why}")]
    Unsayable {
        /// The element.
        name: &'static str,
        /// The format.
        format: Format,
        /// Why.
        why: &'static str,
    },
    /// Biflows are joined or they are not: what answers flows of this IP version would be lost.
    #[error("records of {family} flows would say nothing of the answers, and those of the other IP version do")]
    OneSided {
        /// The flows.
        family: Family,
    },
    /// Nothing would be left to say.
    #[error("no field is left for {family} flows")]
    None {
        /// The flows.
        family: Family,
    },
}

fn suggestion(similar: &Option<&'static str>) -> String {
    similar.map_or(String::new(), |name| format!(", but `{name}` is"))
}

impl Default for Fields {
    fn default() -> Self {
        Self::Preset(Preset::default())
    }
}

impl Fields {
    /// The elements of these names. Those of one IP version are in the records of its flows, the others in all.
    ///
    /// # Errors
    /// A name that is not known or is there twice, or none for one of the IP versions.
    pub fn named<Name: AsRef<str>>(names: &[Name]) -> Result<Self, FieldsError> {
        let all = positions(names)?;
        let of = |family: Family| all.iter().copied().filter(|&position| is_of(&ELEMENTS[position], family)).collect();
        Self::Chosen { v4: of(Family::V4), v6: of(Family::V6) }.whole()
    }

    /// The same with a list for each IP version.
    ///
    /// # Errors
    /// As [`Fields::named`]; also an element of the other IP version.
    pub fn by_family<Name: AsRef<str>>(v4: &[Name], v6: &[Name]) -> Result<Self, FieldsError> {
        let of = |names: &[Name], family: Family| {
            let all = positions(names)?;
            let other = all.iter().map(|&position| &ELEMENTS[position]).find(|element| !is_of(element, family));
            other.map_or(Ok(all), |element| Err(FieldsError::OtherFamily { name: element.name, family }))
        };
        Self::Chosen { v4: of(v4, Family::V4)?, v6: of(v6, Family::V6)? }.whole()
    }

    fn whole(self) -> Result<Self, FieldsError> {
        if let Self::Chosen { v4, v6 } = &self {
            for (family, all) in [(Family::V4, v4), (Family::V6, v6)] {
                // Of a flow that came out of no tunnel and has no answer.
                if !all.iter().any(|&position| is_plain(ELEMENTS[position].group)) {
                    return Err(FieldsError::None { family });
                }
            }
        }
        Ok(self)
    }

    /// Whether flows that say this much, in this format, can fill them.
    ///
    /// # Errors
    /// The first that they cannot fill.
    pub fn check(&self, format: Format, extras: Extras) -> Result<(), FieldsError> {
        let Self::Chosen { v4, v6 } = self else { return Ok(()) };
        for element in v4.iter().chain(v6).map(|&position| &ELEMENTS[position]) {
            let name = element.name;
            if let Some(why) = unsayable(element, format) {
                return Err(FieldsError::Unsayable { name, format, why });
            }
            if let Some(setting) = missing_setting(element.group, extras) {
                return Err(FieldsError::Needs { name, setting });
            }
        }
        match (speaks_of_answers(v4), speaks_of_answers(v6)) {
            (true, false) => Err(FieldsError::OneSided { family: Family::V6 }),
            (false, true) => Err(FieldsError::OneSided { family: Family::V4 }),
            _ => Ok(()),
        }
    }

    /// Whether records of biflows would say anything about the answers.
    pub(super) fn speak_of_answers(&self) -> bool {
        match self {
            Self::Preset(_) => true,
            Self::Chosen { v4, v6 } => speaks_of_answers(v4) || speaks_of_answers(v6),
        }
    }

    /// Those of flows of an IP version in a format: positions in the table and octets on the wire.
    pub(super) fn of(&self, family: Family, format: Format) -> impl Iterator<Item = (usize, u16)> {
        let positions: Vec<usize> = match self {
            Self::Preset(preset) => {
                let all = (0..ELEMENTS.len()).filter(|&position| preset.has(&ELEMENTS[position]));
                if format == Format::Ipfix { all.collect() } else { all.filter_map(as_netflow9).collect() }
            }
            Self::Chosen { v4, v6 } => if family == Family::V4 { v4 } else { v6 }.clone(),
        };
        let whole = matches!(self, Self::Chosen { .. } | Self::Preset(Preset::Full)) && format == Format::Ipfix;
        positions.into_iter().map(move |position| {
            let Element { id, length, .. } = ELEMENTS[position];
            (position, if whole { length } else { usual_length(id, length) })
        })
    }
}

/// As the configuration has them.
impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |positions: &[usize]| {
            let names: Vec<&str> = positions.iter().map(|&position| ELEMENTS[position].name).collect();
            format!("{names:?}")
        };
        match self {
            Self::Preset(preset) => write!(f, "\"{preset}\""),
            Self::Chosen { v4, v6 } => write!(f, "{{ ipv4 = {}, ipv6 = {} }}", names(v4), names(v6)),
        }
    }
}

fn positions<Name: AsRef<str>>(names: &[Name]) -> Result<Vec<usize>, FieldsError> {
    let mut positions = Vec::new();
    for name in names.iter().map(AsRef::as_ref) {
        let position = ELEMENTS.iter().position(|element| element.name == name);
        let position =
            position.ok_or_else(|| FieldsError::Unknown { name: name.to_owned(), similar: similar(name) })?;
        let Element { name, enterprise, id, .. } = ELEMENTS[position];
        if positions.contains(&position) {
            return Err(FieldsError::Repeated { name });
        }
        let same = |&&before: &&usize| (ELEMENTS[before].enterprise, ELEMENTS[before].id) == (enterprise, id);
        if name.starts_with("tunnel")
            && let Some(&before) = positions.iter().find(same)
        {
            return Err(FieldsError::Order { first: name, second: ELEMENTS[before].name });
        }
        positions.push(position);
    }
    Ok(positions)
}

/// The element that was meant: the same letters, or a name that contains the other.
fn similar(name: &str) -> Option<&'static str> {
    let small = name.to_lowercase();
    let same = ELEMENTS.iter().find(|element| element.name.to_lowercase() == small);
    let like = || {
        ELEMENTS.iter().find(|element| {
            let known = element.name.to_lowercase();
            small.len() >= 4 && (known.contains(&small) || small.contains(&known))
        })
    };
    same.or_else(like).map(|element| element.name)
}

const fn is_of(element: &Element, family: Family) -> bool {
    match element.group {
        Group::V4 | Group::ReverseV4 => matches!(family, Family::V4),
        Group::V6 | Group::ReverseV6 => matches!(family, Family::V6),
        _ => true,
    }
}

fn speaks_of_answers(positions: &[usize]) -> bool {
    positions.iter().any(|&position| ELEMENTS[position].group.is_reverse())
}

/// Whether elements of this group are in the records of flows that came out of no tunnel and have no answer.
const fn is_plain(group: Group) -> bool {
    !group.is_reverse() && !matches!(group, Group::Tunnel | Group::OuterV4 | Group::OuterV6 | Group::Biflow)
}

const fn missing_setting(group: Group, extras: Extras) -> Option<&'static str> {
    match group {
        Group::Always | Group::V4 | Group::V6 => None,
        Group::Tunnel | Group::OuterV4 | Group::OuterV6 if !extras.tunnels => Some("--decapsulate"),
        Group::NextHop if !extras.next_hops => Some("--next-hop"),
        Group::AsNumber if !extras.as_numbers => Some("--mmdb"),
        Group::Sampled if matches!(extras.sampling, SamplingRate::All) => Some("--sample"),
        Group::SampledPackets if !matches!(extras.sampling, SamplingRate::Packets(_)) => Some("--sample by packets"),
        Group::SampledFlows if !matches!(extras.sampling, SamplingRate::Flows(_)) => Some("--sample-by flows"),
        Group::Biflow | Group::Reverse | Group::ReverseV4 | Group::ReverseV6 if !extras.biflow => Some("--biflow"),
        _ => None,
    }
}

fn unsayable(element: &Element, format: Format) -> Option<&'static str> {
    match format {
        Format::Ipfix if element.is_uptime() => Some("it has times of its own, such as flowStartMilliseconds"),
        Format::Ipfix if element.name == ICMP_V6 => Some("it has icmpTypeCodeIPv6"),
        Format::Ipfix => None,
        Format::NetFlow9 if element.enterprise != 0 => Some("it has no elements of enterprises"),
        Format::NetFlow9 if element.name.starts_with("tunnel") => Some("it has no repeated elements"),
        Format::NetFlow9 if element.group == Group::Tunnel => Some("its records say nothing of tunnels"),
        Format::NetFlow9 if element.group == Group::Biflow => Some("its records have one direction"),
        Format::NetFlow9 => None,
        Format::NetFlow5 => Some("its fields are fixed"),
    }
}

const FLOW_START_UPTIME: &str = "flowStartSysUpTime";
const FLOW_END_UPTIME: &str = "flowEndSysUpTime";
const ICMP_V6: &str = "icmpTypeCode";

/// What stands in a NetFlow v9 record for an element of a preset: what RFC 3954 or the registry's compatible range has.
fn as_netflow9(position: usize) -> Option<usize> {
    let element = &ELEMENTS[position];
    let stands_for = match element.name {
        "flowStartMilliseconds" => FLOW_START_UPTIME,
        "flowEndMilliseconds" => FLOW_END_UPTIME,
        "icmpTypeCodeIPv6" => ICMP_V6,
        name => name,
    };
    let position = ELEMENTS.iter().position(|element| element.name == stands_for)?;
    let element = &ELEMENTS[position];
    (unsayable(element, Format::NetFlow9).is_none() && element.id <= LAST_OF_NETFLOW9).then_some(position)
}
