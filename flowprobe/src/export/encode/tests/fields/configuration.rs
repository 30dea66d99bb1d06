//! The generator of configurations and of records.

use std::num::NonZeroU32;

use flowprobe_ebpf::Route;
use flowprobe_ebpf::flow::Extremes;

use super::names::{fault_of_list, fault_of_name, of_answers, says_something, version};
use super::*;
use crate::export::elements::FieldsError;
use crate::record::EndReason;

/// What a collector's `fields` are, and all that they depend on.
#[derive(Clone, Debug)]
pub(super) struct Configuration {
    pub(super) format: Format,
    pub(super) extras: Extras,
    pub(super) preset: Preset,
    lists: Lists,
}

#[derive(Clone, Debug)]
enum Lists {
    None,
    One(Vec<&'static str>),
    Two(Vec<&'static str>, Vec<&'static str>),
}

impl Configuration {
    pub(super) fn random(random: &mut fastrand::Rng) -> Self {
        let format = FORMATS[random.usize(..2)];
        let interval = NonZeroU32::new(random.u32(2..)).expect("not 0");
        let sampling = match random.u8(..3) {
            0 => SamplingRate::All,
            1 => SamplingRate::Packets(interval),
            _ => SamplingRate::Flows(interval),
        };
        let [tunnels, next_hops, as_numbers, biflow] = std::array::from_fn(|_| random.bool());
        let extras = Extras { tunnels, next_hops, as_numbers, sampling, biflow };
        let mut list = |family| random_list(format, extras, family, random);
        let (all, v4, v6) = (list(None), list(Some(4)), list(Some(6)));
        let lists = match random.u8(..10) {
            0 => Lists::None,
            1..=6 => Lists::One(all),
            _ => Lists::Two(v4, v6),
        };
        Self { format, extras, preset: Preset::NAMES[random.usize(..4)].1, lists }
    }

    pub(super) fn fields(&self) -> Result<Fields, FieldsError> {
        let fields = match &self.lists {
            Lists::None => Fields::Preset(self.preset),
            Lists::One(names) => Fields::named(names)?,
            Lists::Two(v4, v6) => Fields::by_family(v4, v6)?,
        };
        fields.check(self.format, self.extras)?;
        Ok(fields)
    }

    /// The names that records such as this one are to have, of those whose records they are; `None` for a preset's.
    pub(super) fn names(&self, record: &FlowRecord) -> Option<&[&'static str]> {
        match &self.lists {
            Lists::None => None,
            Lists::One(names) => Some(names),
            Lists::Two(v4, v6) => Some(if record.key.ip_version == 4 { v4 } else { v6 }),
        }
    }

    /// Why it has to be refused.
    pub(super) fn fault(&self) -> Option<&'static str> {
        let (v4, v6) = match &self.lists {
            Lists::None => return None,
            Lists::One(names) => (names, names),
            Lists::Two(v4, v6) => (v4, v6),
        };
        for (names, other) in [(v4, 6), (v6, 4)] {
            let of_other = |name: &&str| version(name) == Some(other);
            if matches!(self.lists, Lists::Two(..)) && names.iter().any(of_other) {
                return Some("of the other IP version");
            }
            let own = names.iter().find_map(|name| fault_of_name(name, self.format, self.extras));
            if let Some(fault) = own.or_else(|| fault_of_list(names)) {
                return Some(fault);
            }
        }
        if !says_something(v4, 4) || !says_something(v6, 6) {
            return Some("nothing is left");
        }
        let answers = |names: &[&str], other| names.iter().any(|name| of_answers(name) && version(name) != Some(other));
        (answers(v4, 6) != answers(v6, 4)).then_some("answers of one IP version would be lost")
    }
}

/// A list of names: often all of them fit, for all records or for those of one IP version.
fn random_list(format: Format, extras: Extras, family: Option<u8>, random: &mut fastrand::Rng) -> Vec<&'static str> {
    let is_careful = random.u8(..10) < 7;
    let fits = |name: &&str| {
        let is_of = family.is_none_or(|family| version(name).is_none_or(|version| version == family));
        !is_careful || (is_of && fault_of_name(name, format, extras).is_none())
    };
    let mut names: Vec<&str> = ELEMENTS.iter().map(|element| element.name).filter(fits).collect();
    random.shuffle(&mut names);
    let most = if random.bool() { 6 } else { names.len() };
    names.truncate(random.usize(..=most));
    if is_careful && random.u8(..10) < 8 {
        // Tunnels first, so that no order is wrong; and something that every flow has.
        names.sort_by_key(|name| !name.starts_with("tunnel"));
        if !names.contains(&"protocolIdentifier") {
            names.insert(random.usize(..=names.len()), "protocolIdentifier");
        }
    }
    match random.u8(..40) {
        0 => names.push("bgpNextHopIPv4Address"),
        1 => names.extend(names.first().copied()),
        _ => {}
    }
    names
}

/// A record whose every value is random, as far as there may be such.
pub(super) fn random_record(extras: Extras, random: &mut fastrand::Rng) -> FlowRecord {
    let protocols = [6, 17, 1, 58, 47, 132, random.u8(..)];
    let end_reasons = [EndReason::IdleTimeout, EndReason::ActiveTimeout, EndReason::EndOfFlow, EndReason::ForcedEnd];
    let address = |random: &mut fastrand::Rng| Address::from(Ipv6Addr::from(random.u128(..)));
    let versions = [4, 6];
    let tunnel = Tunnel {
        source: address(random),
        destination: address(random),
        id: random.u32(..),
        kind: random.u8(1..7),
        ip_version: versions[random.usize(..2)],
        padding: 0,
    };
    let route =
        Route { next_hop: address(random), ifindex: random.u32(..), ip_version: versions[random.usize(..2)] as u32 };
    // Within a month of now, so that NetFlow v9 needs a second message now and then.
    let start_us = CLOCK.now_ms * 1000 - random.u64(..30 * 86_400_000_000);
    let mut mac = || [0; 6].map(|_: u8| random.u8(..));
    let (source_mac, destination_mac) = (mac(), mac());
    FlowRecord {
        key: FlowKey {
            source: address(random),
            destination: address(random),
            ifindex: random.u32(..),
            source_port: random.u16(..),
            destination_port: random.u16(..),
            vlan: random.u16(..),
            customer_vlan: random.u16(..),
            protocol: protocols[random.usize(..protocols.len())],
            ip_version: versions[random.usize(..2)],
            direction: random.u8(..2),
            padding: 0,
        },
        tunnel: if extras.tunnels && random.bool() { tunnel } else { Tunnel::NONE },
        packets: random.u64(..1 << 60),
        octets: random.u64(..1 << 60),
        layer2_octets: random.u64(..),
        start_us,
        end_us: start_us + random.u64(..86_400_000_000),
        extremes: Extremes {
            length_min: random.u16(..),
            length_max: random.u16(..),
            ttl_min: random.u8(..),
            ttl_max: random.u8(..),
        },
        tcp_flags: random.u16(..0x200),
        fragmented: random.bool(),
        ethertype: random.u16(..),
        tos: random.u8(..),
        mpls_top_label: random.u32(..1 << 24),
        source_mac,
        destination_mac,
        route: (extras.next_hops && random.bool()).then_some(route),
        source_as: random.u32(..),
        destination_as: random.u32(..),
        sampling: extras.sampling,
        end_reason: end_reasons[random.usize(..end_reasons.len())],
        role: Role::Single,
    }
}
