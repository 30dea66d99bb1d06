//! A template, compiled: where the value of each field goes.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use thiserror::Error;

use super::flow::{Chosen, Outcome};
use super::said::{DIRECTIONS, Keep, Said, keep};
use super::tails::{EXPORTER_V4, EXPORTER_V6, ORIGINAL_DOMAIN};
use super::values::{Place, Side, Values, place_of};
use super::{Context, Facts};
use crate::collect::received::{ReceivedRecords, Specifier, VARIABLE_LENGTH};
use crate::collect::template::{Field, Template};

/// A record ends before its fields do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a record of {octets} octets ends before the fields of its template do")]
pub struct ShortRecord {
    /// Its octets.
    pub octets: usize,
}

/// Where a value lies in a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// Where its length begins, if that stands before it.
    start: u32,
    /// Where the value begins.
    value: u32,
    /// Where it ends.
    end: u32,
}

/// A value that has its place.
#[derive(Clone, Copy, Debug)]
struct Step {
    field: usize,
    side: Side,
    place: Place,
}

/// A field that may have to be in the tail.
#[derive(Clone, Copy, Debug)]
struct Rest {
    field: usize,
    specifier: Specifier,
    /// Of the fields that may stay out, the bit of this; 0 of one that never does.
    bit: u64,
}

/// A field that may stay out of the tail, and when.
#[derive(Clone, Copy)]
struct Check {
    field: usize,
    said: Said,
}

/// A template, compiled once for all its records.
pub struct Plan {
    /// Tells plans apart.
    number: u64,
    lengths: Vec<u16>,
    /// Where the values lie in every record, if no length varies.
    spans: Option<Vec<Span>>,
    steps: Vec<Step>,
    /// Of the last field with this ID: `interfaceName` and `interfaceDescription`.
    texts: [Option<usize>; 2],
    chosen: Chosen,
    /// In the order of a tail.
    rest: Vec<Rest>,
    /// Each with the bit of its place.
    checks: Vec<Check>,
    /// Bits of the fields that once had to be in the tail.
    told: AtomicU64,
    has_exporter: bool,
    has_domain: bool,
}

/// `paddingOctets`.
const PADDING: u16 = 210;

/// Fields that may stay out of a tail. Beyond these each is in it.
const MOST_CHECKS: usize = 64;

impl Plan {
    /// Compiles a template.
    #[must_use]
    pub fn of(template: &Template) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let elements: Vec<(usize, Specifier)> = said_by(template);
        let all: Vec<Specifier> = elements.iter().map(|&(_, specifier)| specifier).collect();
        let (steps, repeated) = steps(template);
        let chosen = Chosen::of(&steps.iter().map(|step| (step.side, step.place)).collect::<Vec<_>>());
        let mut checks = Vec::new();
        let mut rest = Vec::new();
        for &(field, specifier) in &elements {
            let bit = match keep(specifier, &all) {
                // RFC 7011 section 8: repeated elements follow the order of the headers, and the last is the flow's.
                _ if repeated.contains(&field) => 0,
                Keep::Never => continue,
                Keep::Unless(said) if checks.len() < MOST_CHECKS => {
                    checks.push(Check { field, said });
                    1 << (checks.len() - 1)
                }
                Keep::Unless(_) | Keep::Always => 0,
            };
            rest.push(Rest { field, specifier, bit });
        }
        rest.sort_by_key(|rest| match rest.specifier {
            Specifier { length: VARIABLE_LENGTH, .. } => 2,
            Specifier { enterprise, .. } => u8::from(enterprise != 0),
        });
        let last_of =
            |id| elements.iter().rev().find(|(_, of)| (of.enterprise, of.id) == (0, id)).map(|&(field, _)| field);
        let has = |ids: [u16; 2]| ids.into_iter().any(|id| last_of(id).is_some());
        Self {
            number: NUMBERS.fetch_add(1, Relaxed),
            lengths: template.fields.iter().map(|field| field.length()).collect(),
            spans: fixed_spans(template),
            steps,
            texts: [last_of(82), last_of(83)],
            chosen,
            rest,
            checks,
            told: AtomicU64::new(0),
            has_exporter: has([130, 131]),
            has_domain: has([405, 405]),
        }
    }

    /// Reads a record of a flow, and adds to `out` what it says: one record, or the two of a biflow.
    ///
    /// # Errors
    /// The record ends before its fields do. Nothing was added.
    pub fn read(&self, record: &[u8], context: &mut Context<'_>, out: &mut ReceivedRecords) -> Result<(), ShortRecord> {
        let mut cut = std::mem::take(&mut context.tails.spans);
        let read = self.spans(record, &mut cut).map(|spans| self.read_cut(record, spans, context, out));
        context.tails.spans = cut;
        read
    }

    fn read_cut(&self, record: &[u8], spans: &[Span], context: &mut Context<'_>, out: &mut ReceivedRecords) {
        let (mut forward, mut reverse) = (Values::NONE, None);
        self.values(record, spans, &mut forward, &mut reverse);
        let outcome = Outcome::of(&self.chosen, &forward, reverse.as_ref(), context);
        let names = DIRECTIONS.map(|direction| context.facts.interface_name(outcome.forward.interface(direction)));
        let told = self.told(record, spans, &outcome);

        let is_v6 = context.origin.address.is_ipv6();
        let address = context.origin.address;
        let found = context.tails.find((self.number, told, is_v6), address, || self.tail(told, is_v6));
        let mut octets = std::mem::take(&mut context.tails.octets);
        octets.clear();
        let has_own = found.is_some();
        self.put_origin(context, has_own, &mut octets);
        if has_own {
            for rest in self.rest.iter().filter(|rest| rest.bit == 0 || rest.bit & told != 0) {
                octets.extend_from_slice(spans.get(rest.field).map_or(&[], |span| whole(record, *span)));
            }
        }
        let tail = found.unwrap_or_else(|| context.tails.of_origin(is_v6));
        let own = self.chosen.own;
        out.records.push(outcome.forward);
        if let Some(reverse) = outcome.reverse {
            let [ingress, egress] = names.clone();
            out.beyond.push_of(own, context.origin, names, &tail, &octets);
            out.records.push(reverse);
            out.beyond.push_of(own, context.origin, [egress, ingress], &context.tails.empty(), &[]);
        } else {
            out.beyond.push_of(own, context.origin, names, &tail, &octets);
        }
        context.tails.octets = octets;
    }

    /// Learns what an options record says.
    ///
    /// # Errors
    /// The record ends before its fields do. Nothing was learnt.
    pub fn learn(&self, record: &[u8], facts: &mut Facts) -> Result<(), ShortRecord> {
        let mut cut = Vec::new();
        let spans = self.spans(record, &mut cut)?;
        let mut values = Values::NONE;
        self.values(record, spans, &mut values, &mut None);
        let text = |field: Option<usize>| {
            field.and_then(|field| spans.get(field)).map_or(&[][..], |span| value(record, *span))
        };
        let [name, description] = self.texts;
        facts.learn(&values, self.chosen.names_sampler, text(name), text(description));
        Ok(())
    }

    /// Where the values lie in `record`.
    fn spans<'a>(&'a self, record: &[u8], cut: &'a mut Vec<Span>) -> Result<&'a [Span], ShortRecord> {
        let short = ShortRecord { octets: record.len() };
        if let Some(spans) = &self.spans {
            let is_whole = spans.last().is_none_or(|last| last.end as usize <= record.len());
            return if is_whole { Ok(spans) } else { Err(short) };
        }
        cut.clear();
        let mut start = 0_u32;
        for &length in &self.lengths {
            let (prefix, length) = match (length, record.get(start as usize..).unwrap_or_default()) {
                (VARIABLE_LENGTH, [255, high, low, ..]) => (3, u16::from_be_bytes([*high, *low]).into()),
                (VARIABLE_LENGTH, [255, ..] | []) => return Err(short),
                (VARIABLE_LENGTH, [length, ..]) => (1, u32::from(*length)),
                (length, _) => (0, u32::from(length)),
            };
            let value = start.saturating_add(prefix);
            let end = value.saturating_add(length);
            if end as usize > record.len() {
                return Err(short);
            }
            cut.push(Span { start, value, end });
            start = end;
        }
        Ok(cut)
    }

    /// Puts each value to its place, by direction. They are many, and so are not returned but left where they are wanted.
    fn values(&self, record: &[u8], spans: &[Span], forward: &mut Values, reverse: &mut Option<Values>) {
        if self.chosen.has_reverse {
            *reverse = Some(Values::NONE);
        }
        for step in &self.steps {
            let Some(&span) = spans.get(step.field) else { continue };
            match (step.side, &mut *reverse) {
                (Side::Reverse, Some(reverse)) => reverse.put(step.place, value(record, span)),
                _ => forward.put(step.place, value(record, span)),
            }
        }
    }

    /// Bits of the fields that have to be in the tail: those that have something to say of their own in this record, or had in
    /// one before.
    fn told(&self, record: &[u8], spans: &[Span], outcome: &Outcome) -> u64 {
        let before = self.told.load(Relaxed);
        let mut told = before;
        for (place, check) in self.checks.iter().enumerate() {
            let octets = spans.get(check.field).map_or(&[][..], |span| value(record, *span));
            if told & 1 << place == 0 && !check.said.holds(octets, outcome) {
                told |= 1 << place;
            }
        }
        if told != before {
            self.told.fetch_or(told, Relaxed);
        }
        told
    }

    /// The tail with the fields that never stay out and those of these bits.
    fn tail(&self, told: u64, is_v6: bool) -> Vec<Specifier> {
        let address = if is_v6 { EXPORTER_V6 } else { EXPORTER_V4 };
        let origin = [(!self.has_exporter).then_some(address), (!self.has_domain).then_some(ORIGINAL_DOMAIN)];
        let rest = self.rest.iter().filter(|rest| rest.bit == 0 || rest.bit & told != 0).map(|rest| rest.specifier);
        origin.into_iter().flatten().chain(rest).collect()
    }

    /// Writes who sent the record: where the record has a tail of its own, only what that does not say.
    fn put_origin(&self, context: &Context<'_>, has_own: bool, octets: &mut Vec<u8>) {
        if !(has_own && self.has_exporter) {
            match context.origin.address {
                IpAddr::V4(address) => octets.extend(address.octets()),
                IpAddr::V6(address) => octets.extend(address.octets()),
            }
        }
        if !(has_own && self.has_domain) {
            octets.extend(context.origin.domain.to_be_bytes());
        }
    }
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plan")
            .field("number", &self.number)
            .field("fields", &self.lengths.len())
            .finish_non_exhaustive()
    }
}

/// The elements that say something, each with the place of its field.
fn said_by(template: &Template) -> Vec<(usize, Specifier)> {
    let fields = template.fields.iter().enumerate();
    let elements = fields.filter_map(|(field, of)| match of {
        Field::Element(specifier) => Some((field, *specifier)),
        Field::Scope(..) => None,
    });
    elements.filter(|(_, of)| of.length != 0 && (of.enterprise, of.id) != (0, PADDING)).collect()
}

/// The fields whose values have a place, and those that do not get it because a later one has the same.
fn steps(template: &Template) -> (Vec<Step>, Vec<usize>) {
    let mut steps: Vec<Step> = Vec::new();
    let mut repeated = Vec::new();
    for (field, of) in template.fields.iter().enumerate().filter(|(_, of)| of.length() != 0) {
        let Some((side, place)) = place_of(*of) else { continue };
        if let Some(earlier) = steps.iter().position(|step| (step.side, step.place) == (side, place)) {
            repeated.push(steps.remove(earlier).field);
        }
        steps.push(Step { field, side, place });
    }
    (steps, repeated)
}

/// Where the values lie in every record, unless a length varies.
fn fixed_spans(template: &Template) -> Option<Vec<Span>> {
    let mut start = 0_u32;
    let span = |field: &Field| {
        let length = Some(field.length()).filter(|&length| length != VARIABLE_LENGTH)?;
        let (from, end) = (start, start.saturating_add(length.into()));
        start = end;
        Some(Span { start: from, value: from, end })
    };
    template.fields.iter().map(span).collect()
}

fn value(record: &[u8], span: Span) -> &[u8] {
    record.get(span.value as usize..span.end as usize).unwrap_or_default()
}

/// With the length before it, if it has one there.
fn whole(record: &[u8], span: Span) -> &[u8] {
    record.get(span.start as usize..span.end as usize).unwrap_or_default()
}
