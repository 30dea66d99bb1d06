//! Records as collectors show them, and what each collector and each format cannot show.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use time::PrimitiveDateTime;
use time::format_description::parse_borrowed;

use crate::frames::{ICMP, ICMPV6};
use crate::ipfix::as_on_the_wire;
use crate::truth::{Object, number};

/// A record as a collector shows it, under the names that the daemon's JSON has; what it does not show is absent.
pub type Reading = Object;

/// What a collector is spoken to in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// RFC 7011.
    Ipfix,
    /// RFC 3954.
    NetFlow9,
    /// Cisco's records of fixed layout.
    NetFlow5,
}

impl Format {
    /// The option of a collector URL that asks for it.
    #[must_use]
    pub fn option(self) -> &'static str {
        match self {
            Self::Ipfix => "",
            Self::NetFlow9 => "?format=netflow9",
            Self::NetFlow5 => "?format=netflow5",
        }
    }

    /// The version in the header of its messages.
    #[must_use]
    pub fn version(self) -> u64 {
        match self {
            Self::Ipfix => 10,
            Self::NetFlow9 => 9,
            Self::NetFlow5 => 5,
        }
    }

    /// Whether it has records for such flows.
    #[must_use]
    pub fn carries(self, record: &Object) -> bool {
        self != Self::NetFlow5 || record.contains_key("sourceIPv4Address")
    }
}

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Nobody but the test: the daemon's own JSON.
    Json,
    /// nfcapd, whose files nfdump prints.
    Nfdump,
    /// pmacct's nfacctd.
    Nfacctd,
    /// Wireshark's decoder.
    Tshark,
    /// libfixbuf's reader of files.
    IpfixDump,
}

use Format::{Ipfix, NetFlow5, NetFlow9};
use Reader::{Nfacctd, Nfdump};

/// Something that is not shown as it was metered.
struct Limit {
    /// By whom; by anybody where nobody is named.
    readers: &'static [Reader],
    /// In which formats.
    formats: &'static [Format],
    /// Of which records.
    of: fn(&Object) -> bool,
    elements: &'static [&'static str],
    effect: Effect,
    reason: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Not at all, or as something that says nothing.
    NotShown,
    /// Its lowest octet.
    Octet,
    /// Its lowest two octets.
    TwoOctets,
}

const ALL: &[Format] = &[Ipfix, NetFlow9, NetFlow5];

/// All that is known of what a counterpart does not show as it was sent. Whatever is not named here must be shown.
#[rustfmt::skip]
const LIMITS: &[Limit] = &[
    Limit { readers: &[], formats: &[NetFlow9, NetFlow5], of: any, effect: Effect::NotShown,
        elements: &["layer2OctetDeltaCount", "dot1qVlanId", "dot1qCustomerVlanId", "fragmentFlags", "ethernetType", "flowEndReason"],
        reason: "RFC 3954 ends at element 89; these came with IPFIX" },
    Limit { readers: &[], formats: &[NetFlow9, NetFlow5], of: any, effect: Effect::Octet,
        elements: &["tcpControlBits"],
        reason: "TCP_FLAGS has one octet" },
    Limit { readers: &[], formats: &[NetFlow5], of: any, effect: Effect::NotShown,
        elements: &["ipVersion", "icmpTypeCodeIPv4", "minimumTTL", "maximumTTL", "minimumIpTotalLength", "maximumIpTotalLength",
            "flowDirection", "vlanId", "mplsTopLabelStackSection", "sourceMacAddress", "destinationMacAddress"],
        reason: "its record has no fields for them" },
    Limit { readers: &[], formats: &[NetFlow5], of: any, effect: Effect::TwoOctets,
        elements: &["ingressInterface", "egressInterface"],
        reason: "its fields have two octets" },

    Limit { readers: &[Nfdump], formats: ALL, of: any, effect: Effect::NotShown,
        elements: &["ipVersion", "minimumTTL", "maximumTTL", "minimumIpTotalLength", "maximumIpTotalLength", "layer2OctetDeltaCount",
            "dot1qVlanId", "dot1qCustomerVlanId", "fragmentFlags", "ethernetType", "flowEndReason"],
        reason: "nfdump 1.7.1 has no place for them; its dst_vlan is the VLAN after the exporter, not the inner one" },
    Limit { readers: &[Nfdump], formats: ALL, of: any, effect: Effect::Octet,
        elements: &["tcpControlBits"],
        reason: "nfdump has letters for eight flags" },
    Limit { readers: &[Nfdump], formats: ALL, of: is_icmp, effect: Effect::NotShown,
        elements: &["sourceTransportPort", "destinationTransportPort"],
        reason: "nfdump has type and code in their place" },
    Limit { readers: &[Nfdump], formats: ALL, of: is_not_icmp, effect: Effect::NotShown,
        elements: &["icmpTypeCodeIPv4", "icmpTypeCodeIPv6"],
        reason: "nfdump has the ports in their place" },

    Limit { readers: &[Nfdump], formats: ALL, of: any, effect: Effect::NotShown,
        elements: &["flowStartMicroseconds", "flowEndMicroseconds", "flowStartSeconds", "flowEndSeconds"],
        reason: "nfcapd 1.7.1 reads times in milliseconds and uptimes only" },

    Limit { readers: &[Nfacctd], formats: ALL, of: any, effect: Effect::NotShown,
        elements: &["ipVersion", "icmpTypeCodeIPv4", "icmpTypeCodeIPv6", "minimumTTL", "maximumTTL", "minimumIpTotalLength",
            "maximumIpTotalLength", "layer2OctetDeltaCount", "dot1qVlanId", "dot1qCustomerVlanId", "mplsTopLabelStackSection",
            "fragmentFlags", "flowEndReason"],
        reason: "nfacctd aggregates by what it has primitives for; of ICMP that is the destination port" },
    Limit { readers: &[Nfacctd], formats: &[NetFlow9, NetFlow5], of: any, effect: Effect::NotShown,
        elements: &["flowStartMilliseconds", "flowEndMilliseconds"],
        reason: "nfacctd takes the difference to the header in whole seconds" },
];

fn any(_: &Object) -> bool {
    true
}

fn is_icmp(record: &Object) -> bool {
    number(record, "protocolIdentifier").is_ok_and(|protocol| [ICMP, ICMPV6].map(u64::from).contains(&protocol))
}

fn is_not_icmp(record: &Object) -> bool {
    !is_icmp(record)
}

/// Who reads what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Who reads.
    pub reader: Reader,
    /// And in which format it came.
    pub format: Format,
}

impl View {
    /// A record with all of its elements as it is seen this way.
    #[must_use]
    pub fn of(self, record: &Object) -> Reading {
        let mut seen = record.clone();
        self.limit(&mut seen, |_| true);
        seen
    }

    /// Makes of a record what is seen of it this way, by those limits that `hold`.
    fn limit(self, record: &mut Object, hold: impl Fn(&Limit) -> bool) {
        let limits: Vec<&Limit> = self.limits(record).filter(|limit| hold(limit)).collect();
        for (limit, element) in limits.into_iter().flat_map(|limit| limit.elements.iter().map(move |it| (limit, *it))) {
            let Some(value) = record.get_mut(element) else { continue };
            let mask = match limit.effect {
                Effect::NotShown => {
                    record.remove(element);
                    continue;
                }
                Effect::Octet => 0xff,
                Effect::TwoOctets => 0xffff,
            };
            *value = value.as_u64().map_or(Value::Null, |number| (number & mask).into());
        }
    }

    /// A reading without what this way is known not to show, whatever stands there.
    fn strip(self, reading: &Reading) -> Reading {
        let mut stripped = reading.clone();
        for limit in self.limits(reading).filter(|limit| limit.effect == Effect::NotShown) {
            stripped.retain(|element, _| !limit.elements.contains(&element.as_str()));
        }
        stripped
    }

    fn limits(self, record: &Object) -> impl Iterator<Item = &'static Limit> {
        LIMITS.iter().filter(move |limit| self.is_limited_by(limit) && (limit.of)(record))
    }

    fn is_limited_by(self, limit: &Limit) -> bool {
        (limit.readers.is_empty() || limit.readers.contains(&self.reader)) && limit.formats.contains(&self.format)
    }

    /// What is let pass, for who reads that something else differs.
    fn let_pass(self) -> String {
        let limits = LIMITS.iter().filter(|limit| self.is_limited_by(limit));
        limits.map(|limit| format!("\n(let pass: {}: {})", limit.elements.join(", "), limit.reason)).collect()
    }

    /// Whether the readings are the daemon's records, each of them once, in every element that is shown this way.
    ///
    /// # Errors
    /// Says which records are missing, too many or different and in what, up to a screenful.
    pub fn must_show(self, readings: &[Reading], printed: &[Object]) -> Result<()> {
        let printed = printed.iter().map(as_on_the_wire).filter(|record| self.format.carries(record));
        let expected = printed.map(|record| self.of(&record)).collect();
        self.must_be(expected, readings.iter().map(|reading| self.strip(reading)))
    }

    /// The same of records whose elements were chosen, by `names`: times in each unit, and elements that the format has by name
    /// only. What nobody asked for is not shown, but by nfdump.
    ///
    /// # Errors
    /// As [`View::must_show`].
    pub fn must_show_chosen(self, readings: &[Reading], printed: &[Object], names: &[&str]) -> Result<()> {
        let expected = printed.iter().map(|record| {
            let mut record = as_on_the_wire(record);
            for end in ["Start", "End"] {
                let time = number(&record, &format!("flow{end}Milliseconds"))?;
                record.insert(format!("flow{end}Microseconds"), (time * 1000).into());
                record.insert(format!("flow{end}Seconds"), (time / 1000).into());
            }
            record.retain(|element, _| names.contains(&element.as_str()));
            self.limit(&mut record, |limit| limit.effect != Effect::NotShown || !limit.readers.is_empty());
            Ok(record)
        });
        let shown = readings.iter().map(|reading| {
            let mut shown = reading.clone();
            if self.reader == Nfdump {
                shown = self.strip(&shown);
                shown.retain(|element, _| names.contains(&element.as_str()));
            }
            // The daemon prints milliseconds.
            for element in ["flowStartMicroseconds", "flowEndMicroseconds"] {
                if let Some(value) = shown.get_mut(element) {
                    *value = value.as_u64().map_or(Value::Null, |time| (time - time % 1000).into());
                }
            }
            shown
        });
        self.must_be(expected.collect::<Result<_>>()?, shown)
    }

    /// Whether the readings are those that are expected, in any order.
    fn must_be(self, mut expected: Vec<Reading>, readings: impl Iterator<Item = Reading>) -> Result<()> {
        let count = expected.len();
        let mut missing = BTreeMap::new();
        for record in expected.drain(..) {
            missing.entry(serde_json::to_string(&record)?).or_insert_with(Vec::new).push(record);
        }
        let mut unknown = Vec::new();
        for reading in readings {
            let same = missing.get_mut(&serde_json::to_string(&reading)?).and_then(Vec::pop);
            if same.is_none() {
                unknown.push(reading);
            }
        }
        let missing: Vec<Reading> = missing.into_values().flatten().collect();
        if missing.is_empty() && unknown.is_empty() {
            return Ok(());
        }
        let mut differences: Vec<String> = missing.iter().map(|record| difference(record, &mut unknown)).collect();
        differences.extend(unknown.iter().map(|reading| format!("never exported: {reading:?}")));
        let differing = differences.len();
        differences.truncate(20);
        let (differences, let_pass) = (differences.join("\n"), self.let_pass());
        bail!("{self:?}: {differing} of {count} records are not as exported:\n{differences}{let_pass}")
    }

    /// Whether every reading has the elements of what was sent from its source address, and the packets and octets of each
    /// source add up. `sent` has a record for each source.
    ///
    /// # Errors
    /// Says which elements differ, up to a screenful.
    pub fn must_be_as_sent(self, readings: &[Reading], sent: &[Object]) -> Result<()> {
        let sent = sent.iter().filter(|record| self.format.carries(record)).map(|record| self.of(record));
        let mut sent: BTreeMap<String, Reading> =
            sent.map(|record| Ok((source(&record)?, record))).collect::<Result<_>>()?;
        let mut differences = Vec::new();
        for reading in readings {
            let source = source(reading)?;
            let Some(record) = sent.get_mut(&source) else {
                differences.push(format!("never sent: {reading:?}"));
                continue;
            };
            for counter in ["packetDeltaCount", "octetDeltaCount"] {
                let rest = number(record, counter)?.checked_sub(number(reading, counter)?);
                let rest = rest.with_context(|| format!("{self:?}: {counter} of {source} is more than was sent"))?;
                record.insert(counter.to_owned(), rest.into());
            }
            let others = record.iter().filter(|(element, _)| !element.ends_with("DeltaCount"));
            let differing = others.filter(|(element, value)| reading.get(*element) != Some(value));
            differences.extend(differing.map(|(element, value)| {
                format!("{element} of {source}: sent {value}, shown {:?}", reading.get(element))
            }));
        }
        for (source, record) in &sent {
            let rest = (number(record, "packetDeltaCount")?, number(record, "octetDeltaCount")?);
            if rest != (0, 0) {
                differences.push(format!("{source}: {} packets and {} octets are missing", rest.0, rest.1));
            }
        }
        let count = differences.len();
        differences.truncate(20);
        ensure!(count == 0, "{self:?}: {count} differences to what was sent:\n{}", differences.join("\n"));
        Ok(())
    }
}

/// What differs between a record that was not found and the reading of the same flow, which is taken out of `unknown`.
fn difference(record: &Reading, unknown: &mut Vec<Reading>) -> String {
    let same_in =
        |reading: &Reading, elements: &[&str]| elements.iter().all(|name| reading.get(*name) == record.get(*name));
    let flow = ["sourceIPv4Address", "sourceIPv6Address", "destinationIPv4Address", "destinationIPv6Address"];
    let Some(place) = unknown.iter().position(|reading| same_in(reading, &flow)) else {
        return format!("missing: {record:?}");
    };
    let reading = unknown.swap_remove(place);
    let names: std::collections::BTreeSet<&String> = record.keys().chain(reading.keys()).collect();
    let differing = names.into_iter().filter(|name| record.get(*name) != reading.get(*name));
    let list: Vec<String> = differing
        .map(|name| format!("{name} exported {:?}, shown {:?}", record.get(name), reading.get(name)))
        .collect();
    format!("different: {:?}: {}", source(record).unwrap_or_default(), list.join("; "))
}

fn source(record: &Object) -> Result<String> {
    let source = record.get("sourceIPv4Address").or_else(|| record.get("sourceIPv6Address"));
    Ok(source.and_then(Value::as_str).with_context(|| format!("no source in {record:?}"))?.to_owned())
}

/// Milliseconds since 1970 of a time that a program prints in UTC, in `layout`, a description as the `time` crate has it.
pub(super) fn milliseconds(text: &str, layout: &str) -> Result<Value> {
    Ok((nanoseconds(text, layout)? / 1_000_000).into())
}

/// The same in nanoseconds.
pub(super) fn nanoseconds(text: &str, layout: &str) -> Result<u64> {
    let layout = parse_borrowed::<2>(layout)?;
    let time = PrimitiveDateTime::parse(text, &layout).with_context(|| format!("no time: {text}"))?.assume_utc();
    Ok(u64::try_from(time.unix_timestamp_nanos())?)
}

/// A number that a program prints in decimal, or in hexadecimal after `0x`.
pub(super) fn integer(text: &str) -> Result<u64> {
    let parsed = text.strip_prefix("0x").map_or_else(|| text.parse(), |digits| u64::from_str_radix(digits, 16));
    parsed.with_context(|| format!("no number: {text}"))
}

/// The name of `element` for the IP version of the reading so far: `sourceIPv4Address` says which that is.
pub(super) fn of_version(element: &str, reading: &Reading) -> String {
    format!("{element}{}", if reading.contains_key("sourceIPv4Address") { "IPv4" } else { "IPv6" })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(packets: u64, flags: u64) -> Object {
        let value = json!({
            "flowStartMilliseconds": 1_700_000_000_123_u64, "sourceIPv4Address": "10.0.0.1", "ipVersion": 4,
            "destinationIPv4Address": "10.0.0.2", "protocolIdentifier": 6, "sourceTransportPort": 1,
            "tcpControlBits": flags, "packetDeltaCount": packets, "octetDeltaCount": 60,
        });
        value.as_object().expect("an object").clone()
    }

    #[test]
    fn every_kind_of_difference_is_found_and_what_is_known_is_let_pass() -> Result<()> {
        let printed = [record(1, 0x112), record(2, 0x10)];
        let view = View { reader: Nfdump, format: Ipfix };
        let shown = |record: &Object| view.of(&as_on_the_wire(record));
        let readings = [shown(&printed[1]), shown(&printed[0])];
        assert!(readings[1].get("tcpControlBits") == Some(&0x12.into()), "{readings:?}");
        view.must_show(&readings, &printed)?;
        let too_few = view.must_show(&readings[..1], &printed).expect_err("one is missing").to_string();
        assert!(too_few.contains("1 of 2") && too_few.contains("missing: "), "{too_few}");
        let twice =
            view.must_show(&[readings[0].clone(), readings[0].clone()], &printed[1..]).expect_err("one too many");
        assert!(twice.to_string().contains("never exported: "), "{twice}");
        let other = view.must_show(&[shown(&record(3, 0x10))], &printed[1..]).expect_err("another count").to_string();
        assert!(other.contains("packetDeltaCount exported Some(Number(2)), shown Some(Number(3))"), "{other}");
        Ok(())
    }

    #[test]
    fn what_was_sent_is_held_in_sums_and_in_every_reading() -> Result<()> {
        let view = View { reader: Reader::Json, format: Ipfix };
        let sent = |packets, octets: u64| {
            let mut sent = record(packets, 0x10);
            sent.insert("octetDeltaCount".to_owned(), octets.into());
            [sent]
        };
        let readings = [record(1, 0x10), record(2, 0x10)];
        view.must_be_as_sent(&readings, &sent(3, 120))?;
        let missing = view.must_be_as_sent(&readings[1..], &sent(3, 120)).expect_err("a packet is missing");
        assert!(missing.to_string().contains("1 packets and 60 octets are missing"), "{missing}");
        assert!(view.must_be_as_sent(&readings, &sent(2, 120)).is_err());
        let flags = view.must_be_as_sent(&[record(3, 0x11)], &sent(3, 60)).expect_err("other flags");
        assert!(flags.to_string().contains("tcpControlBits of 10.0.0.1: sent 16"), "{flags}");
        Ok(())
    }

    #[test]
    fn times_and_numbers_are_read_as_printed() -> Result<()> {
        let layout = "[year]-[month]-[day] [hour]:[minute]:[second].[subsecond digits:3]";
        assert_eq!(milliseconds("2023-11-14 22:13:20.500", layout)?, 1_700_000_000_500_u64);
        assert!(milliseconds("2023-11-14", layout).is_err());
        assert_eq!((integer("0x0111")?, integer("17")?), (0x111, 17));
        Ok(())
    }
}
