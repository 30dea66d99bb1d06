//! What the names of elements say, told a second time: by the names themselves, not by the table.

use super::*;

/// The elements of the tunnel's header, and those of the flow that are one with them in the registry.
const TWINS: [(&str, &str); 4] = [
    ("tunnelSourceIPv4Address", "sourceIPv4Address"),
    ("tunnelDestinationIPv4Address", "destinationIPv4Address"),
    ("tunnelSourceIPv6Address", "sourceIPv6Address"),
    ("tunnelDestinationIPv6Address", "destinationIPv6Address"),
];

pub(super) fn of_tunnels(name: &str) -> bool {
    name.starts_with("tunnel") || name == "layer2SegmentId"
}

pub(super) fn of_answers(name: &str) -> bool {
    name.starts_with("reverse")
}

pub(super) fn of_biflows(name: &str) -> bool {
    of_answers(name) || name == "biflowDirection"
}

/// The one IP version whose flows have it.
pub(super) fn version(name: &str) -> Option<u8> {
    if name.starts_with("tunnel") || name.starts_with("ipNextHop") {
        return None;
    }
    let v6 = name.contains("IPv6") || name == "icmpTypeCode";
    if name.contains("IPv4") { Some(4) } else { v6.then_some(6) }
}

/// Whether a record of an IPFIX or NetFlow v9 collector has it, if its setting is there.
pub(super) fn is_in(name: &str, record: &FlowRecord, joined: bool) -> bool {
    let around = if record.tunnel.is_some() { record.tunnel.ip_version } else { 0 };
    let tunnel = match name {
        _ if !of_tunnels(name) => true,
        _ if name.contains("IPv4") => around == 4,
        _ if name.contains("IPv6") => around == 6,
        _ => around != 0,
    };
    tunnel && version(name).is_none_or(|version| version == record.key.ip_version) && (joined || !of_biflows(name))
}

/// The fault of a name by itself.
pub(super) fn fault_of_name(name: &str, format: Format, extras: Extras) -> Option<&'static str> {
    if !ELEMENTS.iter().any(|element| element.name == name) {
        return Some("no such element");
    }
    let is_uptime = name.ends_with("SysUpTime") || name == "icmpTypeCode";
    let (is_sampled, by_packets, by_flows) = match extras.sampling {
        SamplingRate::All => (false, false, false),
        SamplingRate::Packets(_) => (true, true, false),
        SamplingRate::Flows(_) => (true, false, true),
    };
    let lacks = match name {
        _ if of_tunnels(name) => !extras.tunnels || format == Format::NetFlow9,
        _ if of_biflows(name) => !extras.biflow || format == Format::NetFlow9,
        _ if name.starts_with("ipNextHop") => !extras.next_hops,
        _ if name.starts_with("bgp") => !extras.as_numbers,
        "samplingInterval" => !is_sampled,
        "selectorAlgorithm" | "samplingPacketInterval" | "samplingPacketSpace" | "samplingProbability" => !by_packets,
        "flowSelectorAlgorithm" | "samplingFlowInterval" | "samplingFlowSpacing" => !by_flows,
        _ => is_uptime && format == Format::Ipfix,
    };
    lacks.then_some("nothing to say, or no words for it")
}

/// The fault of a list as a whole.
pub(super) fn fault_of_list(names: &[&str]) -> Option<&'static str> {
    for (position, name) in names.iter().enumerate() {
        let before = &names[..position];
        if before.contains(name) {
            return Some("twice");
        }
        if TWINS.iter().any(|(first, second)| first == name && before.contains(second)) {
            return Some("the tunnel's after the flow's");
        }
    }
    None
}

/// Whether flows of an IP version that are in no tunnel and have no answer have anything of the list.
pub(super) fn says_something(names: &[&str], ip_version: u8) -> bool {
    let plain = names.iter().filter(|name| !of_tunnels(name) && !of_biflows(name));
    plain.into_iter().any(|name| version(name).is_none_or(|version| version == ip_version))
}
