//! What of a received record its `FlowRecord` says already.

use flowprobe_ebpf::Direction;

use super::flow::Outcome;
use super::values::{Side, Slot, place_of, side_of};
use crate::collect::received::{Specifier, VARIABLE_LENGTH};
use crate::collect::registry::REVERSE;
use crate::collect::template::Field as TemplateField;
use crate::export::elements::{ELEMENTS, Field, Group};
use crate::record::{FlowRecord, Role, SamplingRate};

/// Whether a field has to be in the tail.
#[derive(Clone, Copy)]
pub(super) enum Keep {
    Always,
    Never,
    /// Unless the `FlowRecord` says the same.
    Unless(Said),
}

/// In which way the `FlowRecord` may say the same.
#[derive(Clone, Copy)]
pub(super) enum Said {
    /// This would be written from the record of this side.
    By(Side, fn(&FlowRecord) -> Field),
    /// This would be, from the record of the answers, which without packets have the times of the other direction.
    AnswersTime(fn(&FlowRecord) -> Field),
    /// The beginning is from this value.
    Start(Side, Slot),
    /// The end is.
    End(Side, Slot),
    /// Sampling is that of the sampler which the field names.
    Sampler,
}

/// Whether the value of an element has to be in the tail. `others` are the elements of the template, of which this is the last
/// of its ID.
pub(super) fn keep(field: Specifier, others: &[Specifier]) -> Keep {
    let Specifier { enterprise, id, length } = field;
    let side = side_of(enterprise);
    let is_placed = place_of(TemplateField::Element(field)).is_some();
    match (enterprise, id) {
        (0, _) if is_simple(field, others) => Keep::Never,
        // What our own records would call by another name, or what is finer than a microsecond.
        (_, 23 | 24 | 85 | 86 | 88 | 156 | 157 | 160 | 192 | 353) => Keep::Always,
        (0, 233 | 252 | 253 | 309 | 310 | 322..=325) => Keep::Always,
        (0, 8) => by(side, |record| address(record, 4, Field::V4(record.key.source.to_ipv4()))),
        (0, 12) => by(side, |record| address(record, 4, Field::V4(record.key.destination.to_ipv4()))),
        (0, 27) => by(side, |record| address(record, 6, Field::V6(record.key.source.to_ipv6()))),
        (0, 28) => by(side, |record| address(record, 6, Field::V6(record.key.destination.to_ipv6()))),
        (0, 231) => by(Side::Forward, |record| Field::Unsigned(record.octets)),
        (0, 232) => by(Side::Reverse, |record| Field::Unsigned(record.octets)),
        (0, 298) => by(Side::Forward, |record| Field::Unsigned(record.packets)),
        (0, 299) => by(Side::Reverse, |record| Field::Unsigned(record.packets)),
        (0, 239) => by(side, |record| Field::Unsigned(u64::from(record.role == Role::Forward))),
        (0, 35 | 49) => by(side, |record| Field::Unsigned(mode(record.sampling))),
        (0, 50) => by(side, |record| Field::Unsigned(record.sampling.interval().into())),
        (0, 48 | 302) => Keep::Unless(Said::Sampler),
        (0, 34 | 304..=306 | 311) if length != VARIABLE_LENGTH => sampling(id),
        (0, 390 | 396 | 397) if length != VARIABLE_LENGTH => sampling(id),
        (0 | REVERSE, 158) => Keep::Unless(Said::Start(side, Slot::StartDelta)),
        (0 | REVERSE, 159) => Keep::Unless(Said::End(side, Slot::EndDelta)),
        (0 | REVERSE, 22) => Keep::Unless(Said::Start(side, Slot::StartUptime)),
        (0 | REVERSE, 21) => Keep::Unless(Said::End(side, Slot::EndUptime)),
        (REVERSE, 150..=155) => own(id).map_or(Keep::Always, |value| Keep::Unless(Said::AnswersTime(value))),
        (0 | REVERSE, _) if is_placed => own(id).map_or(Keep::Always, |value| by(side, value)),
        _ => Keep::Always,
    }
}

const fn by(side: Side, value: fn(&FlowRecord) -> Field) -> Keep {
    Keep::Unless(Said::By(side, value))
}

/// What our own element of this ID says about a flow, as the table of elements has it.
fn own(id: u16) -> Option<fn(&FlowRecord) -> Field> {
    let is_outer = |group| matches!(group, Group::Tunnel | Group::OuterV4 | Group::OuterV6);
    let row = ELEMENTS.iter().find(|row| (row.enterprise, row.id) == (0, id) && !is_outer(row.group));
    row.map(|row| row.value)
}

/// An address, of flows of this version of IP.
fn address(record: &FlowRecord, ip_version: u8, address: Field) -> Field {
    if record.key.ip_version == ip_version { address } else { Field::Unsigned(0) }
}

/// `samplingAlgorithm`: 2, by chance, is the one that a `FlowRecord` knows.
const fn mode(rate: SamplingRate) -> u64 {
    match rate {
        SamplingRate::Packets(_) => 2,
        SamplingRate::All | SamplingRate::Flows(_) => 0,
    }
}

/// An element about sampling, which says something about packets or about flows.
fn sampling(id: u16) -> Keep {
    macro_rules! of {
        ($sampled:pat, $value:expr) => {
            by(Side::Forward, |record| match record.sampling {
                $sampled => Field::Unsigned($value(record.sampling.interval().into())),
                _ => Field::Unsigned(0),
            })
        };
    }
    match id {
        34 => by(Side::Forward, |record| Field::Unsigned(record.sampling.interval().into())),
        304 => of!(SamplingRate::Packets(_), |_: u64| 4),
        305 => of!(SamplingRate::Packets(_) | SamplingRate::All, |_: u64| 1),
        306 => of!(SamplingRate::Packets(_), |interval: u64| interval - 1),
        311 => by(Side::Forward, |record| match record.sampling {
            SamplingRate::Flows(_) => Field::Unsigned(0),
            _ => Field::Float(1.0 / f64::from(record.sampling.interval())),
        }),
        390 => of!(SamplingRate::Flows(_), |_: u64| 4),
        396 => of!(SamplingRate::Flows(_), |_: u64| 1),
        397 => of!(SamplingRate::Flows(_), |interval: u64| interval - 1),
        _ => Keep::Always,
    }
}

/// Whether an element of IANA goes into the `FlowRecord` whatever its value: it fits, and nothing else in the template has a say
/// in the same. Only so that the usual ones need not be looked at in each record.
fn is_simple(field: Specifier, others: &[Specifier]) -> bool {
    let Specifier { id, length, .. } = field;
    let none_of = |ids: &[u16]| !others.iter().any(|other| other.enterprise == 0 && ids.contains(&other.id));
    match id {
        1 | 2 | 352 => length <= 8,
        4 | 5 | 52 | 53 => length == 1,
        7 => length <= 2 && none_of(&[180, 182]),
        11 => length <= 2 && none_of(&[32, 139, 176, 177, 178, 179, 181, 183]),
        10 | 14 | 16 | 17 => length <= 4,
        8 | 12 => length == 4 && none_of(&[27, 28]),
        27 | 28 => length == 16 && none_of(&[8, 12]),
        56 | 80 => length == 6,
        58 => length <= 2 && none_of(&[243]),
        70 => length == 3,
        245 => length <= 2,
        _ => false,
    }
}

impl Said {
    /// Whether the records that were made of a received one say the value in `octets`. Zeros say nothing.
    pub(super) fn holds(self, octets: &[u8], outcome: &Outcome) -> bool {
        let said = match self {
            Self::By(Side::Forward, value) => equals(value(&outcome.forward), octets),
            Self::By(Side::Reverse, value) => {
                outcome.reverse.as_ref().is_some_and(|record| equals(value(record), octets))
            }
            Self::AnswersTime(value) => equals(value(outcome.reverse.as_ref().unwrap_or(&outcome.forward)), octets),
            Self::Start(Side::Forward, slot) => outcome.times.start_of == slot,
            Self::End(Side::Forward, slot) => outcome.times.end_of == slot,
            Self::Start(Side::Reverse, slot) => outcome.reverse_times.is_some_and(|times| times.start_of == slot),
            Self::End(Side::Reverse, slot) => outcome.reverse_times.is_some_and(|times| times.end_of == slot),
            Self::Sampler => outcome.by_sampler,
        };
        said || octets.iter().all(|&octet| octet == 0)
    }
}

/// Whether `octets` are this value, in whatever size.
fn equals(value: Field, octets: &[u8]) -> bool {
    match value {
        Field::Unsigned(number) => {
            // A number that is too large for 64 bits is read as the largest of them.
            super::number(octets) == number && (number != u64::MAX || octets.len() == 8)
        }
        Field::Float(number) => matches!(octets.len(), 4 | 8) && super::float(octets).to_bits() == number.to_bits(),
        Field::V4(address) => address.octets() == octets,
        Field::V6(address) => address.octets() == octets,
        Field::Mac(address) => address == octets,
    }
}

/// Both directions of an interface, in the order of a [`Received`](crate::collect::Received)'s names.
pub(super) const DIRECTIONS: [Direction; 2] = [Direction::Ingress, Direction::Egress];
