//! What was sent, what was reported, and every difference between the two.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::AddAssign;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Map, Value};

use crate::namespace::Counters;

/// A record or an accounting object, as the daemon prints it.
pub type Object = Map<String, Value>;

/// What makes two packets one flow, as far as every collector can tell.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlowId {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// IANA protocol number.
    pub protocol: u8,
    /// Source port; 0 where there is none.
    pub source_port: u16,
    /// Destination port; type × 256 + code for ICMP and ICMPv6.
    pub destination_port: u16,
    /// Outer VLAN identifier, 0 where there is none.
    pub vlan: u16,
    /// Inner VLAN identifier, 0 where there is none.
    pub customer_vlan: u16,
}

/// What was counted of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets.
    pub packets: u64,
    /// Octets from the IP header on.
    pub octets: u64,
    /// Octets of the layer-2 frames.
    pub layer2_octets: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.octets += other.octets;
        self.layer2_octets += other.layer2_octets;
    }
}

/// Flows and their counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flows(pub BTreeMap<FlowId, Counts>);

impl Flows {
    /// Counts something of a flow.
    pub fn add(&mut self, flow: FlowId, counts: Counts) {
        *self.0.entry(flow).or_default() += counts;
    }

    /// The flows of the daemon's records.
    ///
    /// # Errors
    /// A record lacks an element.
    pub fn of_records<'a>(records: impl IntoIterator<Item = &'a Object>) -> Result<Self> {
        let mut flows = Self::default();
        for record in records {
            flows.add(flow_id(record)?, counts(record)?);
        }
        Ok(flows)
    }

    /// Counts all that `other` has.
    pub fn add_all(&mut self, other: &Self) {
        for (flow, counts) in &other.0 {
            self.add(flow.clone(), *counts);
        }
    }

    /// What all flows add up to.
    #[must_use]
    pub fn sum(&self) -> Counts {
        let mut sum = Counts::default();
        for counts in self.0.values() {
            sum += *counts;
        }
        sum
    }

    /// These flows as a collector without layer 2 shows them: no inner VLAN, no layer-2 octets.
    #[must_use]
    pub fn without_layer2(&self) -> Self {
        let mut flows = Self::default();
        for (id, counts) in &self.0 {
            flows.add(FlowId { customer_vlan: 0, ..id.clone() }, Counts { layer2_octets: 0, ..*counts });
        }
        flows
    }

    /// Whether `found` has exactly these flows with exactly these counts.
    ///
    /// # Errors
    /// Says which flows are missing, too many or different, up to a screenful.
    pub fn must_equal(&self, found: &Self, who: &str) -> Result<()> {
        let mut differences = Vec::new();
        for (id, sent) in &self.0 {
            match found.0.get(id) {
                None => differences.push(format!("missing: {id:?}: {sent:?}")),
                Some(reported) if reported != sent => {
                    differences.push(format!("different: {id:?}: sent {sent:?}, reported {reported:?}"));
                }
                Some(_) => {}
            }
        }
        let unknown = found.0.iter().filter(|(id, _)| !self.0.contains_key(id));
        differences.extend(unknown.map(|(id, counts)| format!("never sent: {id:?}: {counts:?}")));
        if !differences.is_empty() {
            let count = differences.len();
            differences.truncate(20);
            bail!("{who}: {count} of {} flows are not as sent:\n{}", self.0.len(), differences.join("\n"));
        }
        Ok(())
    }
}

/// Packets and layer-2 octets: a term of the accounting sum, or what an interface counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// Packets.
    pub packets: u64,
    /// Octets of layer-2 frames.
    pub octets: u64,
}

impl Total {
    /// Reads a term of an accounting object.
    ///
    /// # Errors
    /// There is no such term.
    pub fn of_term(accounting: &Object, term: &str) -> Result<Self> {
        let value = accounting.get(term).with_context(|| format!("no {term} in {accounting:?}"))?;
        let number = |name: &str| value[name].as_u64().with_context(|| format!("no {name} in {term}"));
        Ok(Self { packets: number("packets")?, octets: number("octets")? })
    }

    /// What an interface received between two looks at its counters. Where native XDP takes socket buffers from a veth
    /// ring, the kernel has already stepped over their Ethernet headers and counts `missing` octets too few of each.
    #[must_use]
    pub fn received(before: Counters, after: Counters, missing: u64) -> Self {
        let packets = after.rx_packets - before.rx_packets;
        Self { packets, octets: after.rx_octets - before.rx_octets + missing * packets }
    }
}

impl From<Counts> for Total {
    fn from(counts: Counts) -> Self {
        Self { packets: counts.packets, octets: counts.layer2_octets }
    }
}

impl AddAssign for Total {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.octets += other.octets;
    }
}

/// Octets of an Ethernet header, which veth leaves out: see [`Total::received`].
pub const ETHERNET_HEADER: u64 = 14;

/// Checks `seen = exported + held + overflow + unparsed + sampledOut + filteredOut`, in packets and octets.
///
/// # Errors
/// It does not hold, or a term is missing.
pub fn must_balance(accounting: &Object) -> Result<()> {
    let mut sum = Total::default();
    for term in ["exported", "held", "overflow", "unparsed", "sampledOut", "filteredOut"] {
        sum += Total::of_term(accounting, term)?;
    }
    let seen = Total::of_term(accounting, "seen")?;
    ensure!(seen == sum, "seen {seen:?} is not the sum of its terms {sum:?}: {accounting:?}");
    Ok(())
}

/// Both directions of each biflow as records of their own, with what makes a flow, counts and times; records of one direction as
/// they are.
#[must_use]
pub fn directions(records: &[Object]) -> Vec<Object> {
    let mut all = Vec::new();
    for record in records {
        all.push(record.clone());
        if record.contains_key("reversePacketDeltaCount") {
            all.push(opposite(record));
        }
    }
    // One that went on in one direction only.
    all.retain(|record| record.get("packetDeltaCount") != Some(&0.into()));
    all
}

/// What a biflow says of the answers.
fn opposite(record: &Object) -> Object {
    let mut answer = Object::new();
    for (name, value) in record {
        let turned = match name.strip_prefix("source") {
            Some(rest) => format!("destination{rest}"),
            None => name.strip_prefix("destination").map_or_else(|| name.clone(), |rest| format!("source{rest}")),
        };
        answer.insert(turned, value.clone());
    }
    for (name, value) in record {
        if let Some(rest) = name.strip_prefix("reverse") {
            let mut letters = rest.chars();
            let first = letters.next().into_iter().flat_map(char::to_lowercase);
            answer.insert(first.chain(letters).collect(), value.clone());
        }
    }
    answer
}

/// An element of a record as a number.
///
/// # Errors
/// It is absent or no number.
pub fn number(record: &Object, name: &str) -> Result<u64> {
    record.get(name).and_then(Value::as_u64).with_context(|| format!("no number {name} in {record:?}"))
}

fn counts(record: &Object) -> Result<Counts> {
    Ok(Counts {
        packets: number(record, "packetDeltaCount")?,
        octets: number(record, "octetDeltaCount")?,
        layer2_octets: number(record, "layer2OctetDeltaCount")?,
    })
}

fn flow_id(record: &Object) -> Result<FlowId> {
    let address = |names: [&str; 2]| -> Result<IpAddr> {
        let text = names.iter().find_map(|name| record.get(*name)?.as_str());
        Ok(text.with_context(|| format!("none of {names:?} in {record:?}"))?.parse()?)
    };
    let optional =
        |name: &str| -> Result<u16> { record.get(name).map_or(Ok(0), |_| Ok(u16::try_from(number(record, name)?)?)) };
    let ports = ["destinationTransportPort", "icmpTypeCodeIPv4", "icmpTypeCodeIPv6"];
    let destination_port = ports.into_iter().find(|name| record.contains_key(*name)).map_or(Ok(0), optional)?;
    Ok(FlowId {
        source: address(["sourceIPv4Address", "sourceIPv6Address"])?,
        destination: address(["destinationIPv4Address", "destinationIPv6Address"])?,
        protocol: u8::try_from(number(record, "protocolIdentifier")?)?,
        source_port: optional("sourceTransportPort")?,
        destination_port,
        vlan: optional("vlanId")?,
        customer_vlan: optional("dot1qCustomerVlanId")?,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: &Value) -> Object {
        value.as_object().expect("an object").clone()
    }

    #[test]
    fn every_kind_of_difference_is_found() -> Result<()> {
        let record = |port: u16, packets: u64| {
            object(&json!({
                "sourceIPv4Address": "10.0.0.1", "destinationIPv4Address": "10.0.0.2", "protocolIdentifier": 17,
                "sourceTransportPort": port, "destinationTransportPort": 53,
                "packetDeltaCount": packets, "octetDeltaCount": 60, "layer2OctetDeltaCount": 74,
            }))
        };
        let sent = Flows::of_records(&[record(1, 1), record(2, 1)])?;
        sent.must_equal(&sent, "itself")?;
        let other = Flows::of_records(&[record(1, 2), record(3, 1)])?;
        let error = sent.must_equal(&other, "nobody").expect_err("differences").to_string();
        for part in ["nobody: 3 of 2", "different: ", "missing: ", "never sent: "] {
            assert!(error.contains(part), "{error}");
        }
        Ok(())
    }

    #[test]
    fn a_sum_that_is_one_octet_off_is_found() {
        let accounting = |seen: u64| {
            let zero = json!({"packets": 0, "octets": 0});
            object(&json!({
                "seen": {"packets": 1, "octets": seen}, "exported": {"packets": 1, "octets": 60},
                "held": zero, "overflow": zero, "unparsed": zero, "sampledOut": zero, "filteredOut": zero,
            }))
        };
        assert!(must_balance(&accounting(60)).is_ok());
        assert!(must_balance(&accounting(61)).is_err());
    }
}
