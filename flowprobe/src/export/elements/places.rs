//! Where the values of a layout lie in its Data Records, and the writing of them.
//!
//! An encoder that asks each element of a template for its value calls a function for each. Here one piece of code, which the
//! compiler sees whole, goes through the table and writes each value at its place. Most layouts have a long run of the table as it
//! is; for that the compiler knows the places too.

use super::table::{self, Part, ROWS, Run, is_in_run, part, put, run_length, usual_length};
use super::{ELEMENTS, Element};
use crate::record::FlowRecord;

/// Where the values of a layout lie.
pub(super) struct Places {
    /// By row of the table: the offset in the Data Record, or [`NOWHERE`].
    by_row: [u16; ROWS],
    /// The run that begins at an offset. Its rows are nowhere else.
    run: Option<(Run, u16)>,
    /// The same of [`Run::Reverse`].
    reverse_run: Option<u16>,
    /// Whether there are rows of the part outside of runs.
    has_always: bool,
    has_rare: bool,
    /// Whether there is anything about the other direction.
    has_reverse: bool,
    /// Values of which there are fewer octets than the table has: their offsets and octets. They are few.
    reduced: Vec<(&'static Element, usize, usize)>,
}

/// Behind the end of every record.
const NOWHERE: u16 = u16::MAX;

const KIND: u8 = Part::Kind as u8;
const ALWAYS: u8 = Part::Always as u8;
const RARE: u8 = Part::Rare as u8;
const REVERSE: u8 = Part::Reverse as u8;
const REVERSE_KIND: u8 = Part::ReverseKind as u8;

const IPFIX_RUN: u8 = Run::Ipfix as u8;
const NETFLOW9_RUN: u8 = Run::NetFlow9 as u8;
const REVERSE_RUN: u8 = Run::Reverse as u8;

impl Places {
    /// Those of `fields`, rows of the table and octets on the wire, in their order.
    pub(super) fn of(fields: &[(usize, u16)]) -> Self {
        let mut places = Self {
            by_row: [NOWHERE; ROWS],
            run: None,
            reverse_run: None,
            has_always: false,
            has_rare: false,
            has_reverse: fields.iter().any(|(row, _)| ELEMENTS[*row].group.is_reverse()),
            reduced: Vec::new(),
        };
        let runs = [Run::Ipfix, Run::NetFlow9, Run::Reverse].map(|run| (run, rows(run)));
        let (mut rest, mut at) = (fields, 0);
        while let [(row, length), others @ ..] = rest {
            let found = runs.iter().find_map(|(run, rows)| Some((*run, rest.strip_prefix(&rows[..])?)));
            if let Some((run, others)) = found {
                match run {
                    Run::Reverse => places.reverse_run = Some(at),
                    run => places.run = Some((run, at)),
                }
                at += run_length(run as u8);
                rest = others;
            } else {
                places.add(*row, *length, at);
                at += length;
                rest = others;
            }
        }
        places
    }

    fn add(&mut self, row: usize, length: u16, at: u16) {
        let element = &ELEMENTS[row];
        if length < element.length {
            self.reduced.push((element, usize::from(at), usize::from(length)));
        } else {
            self.by_row[row] = at;
            let part = part(element.group, element.place, element.id);
            self.has_always |= part == Part::Always;
            self.has_rare |= part == Part::Rare;
        }
    }

    /// Writes what they say of a flow, or of a biflow with the record of its other direction, to `out`, a Data Record.
    #[inline]
    pub(super) fn fill(&self, record: &FlowRecord, reverse: Option<&FlowRecord>, out: &mut [u8]) {
        if self.has_reverse && reverse.is_none() {
            // What there is to say of answers that there were not.
            out.fill(0);
        }
        table::write::<KIND>(record, &self.by_row, out);
        match self.run {
            Some((Run::NetFlow9, start)) => {
                table::write_run::<NETFLOW9_RUN>(record, octets_of(out, start, NETFLOW9_RUN));
            }
            Some((_, start)) => table::write_run::<IPFIX_RUN>(record, octets_of(out, start, IPFIX_RUN)),
            None => {}
        }
        if self.has_always {
            table::write::<ALWAYS>(record, &self.by_row, out);
        }
        if self.has_rare {
            table::write::<RARE>(record, &self.by_row, out);
        }
        if let (true, Some(reverse)) = (self.has_reverse, reverse) {
            table::write::<REVERSE_KIND>(reverse, &self.by_row, out);
            match self.reverse_run {
                Some(start) => table::write_run::<REVERSE_RUN>(reverse, octets_of(out, start, REVERSE_RUN)),
                None => table::write::<REVERSE>(reverse, &self.by_row, out),
            }
        }
        for (element, start, length) in &self.reduced {
            if let Some(subject) = element.subject(record, reverse) {
                put(&mut out[*start..start + length], (element.value)(subject));
            }
        }
    }
}

/// The rows of a run, and their octets on the wire.
fn rows(run: Run) -> Vec<(usize, u16)> {
    let all = ELEMENTS.iter().enumerate();
    let rows = all.filter(|(_, element)| is_in_run(run as u8, element.group, element.place, element.id));
    rows.map(|(row, element)| (row, usual_length(element.id, element.length))).collect()
}

/// The octets of a run that begins at `start`.
#[inline(always)]
fn octets_of(out: &mut [u8], start: u16, run: u8) -> &mut [u8] {
    let start = usize::from(start);
    &mut out[start..start + usize::from(run_length(run))]
}

#[cfg(test)]
mod tests {
    use super::super::{Extras, Field, Fields, Layout, Preset, Schema};
    use super::*;
    use crate::export::Format;
    use crate::record::SamplingRate;

    fn schemas(fields: &Fields) -> [Schema; 2] {
        let sampling = SamplingRate::Packets(2.try_into().expect("not 0"));
        let everything = Extras { tunnels: true, next_hops: true, as_numbers: true, sampling, biflow: true };
        [Format::Ipfix, Format::NetFlow9].map(|format| Schema::of(format, everything, fields))
    }

    fn places(layout: &Layout) -> Places {
        let row = |element| ELEMENTS.iter().position(|other| std::ptr::eq(other, element)).expect("out of the table");
        let fields: Vec<(usize, u16)> = layout.fields.iter().map(|field| (row(field.element), field.length)).collect();
        Places::of(&fields)
    }

    /// What the elements of a layout say, each asked for itself; zero of answers that there are not.
    fn asked(layout: &Layout, record: &FlowRecord, reverse: Option<&FlowRecord>) -> Vec<u8> {
        let mut octets = Vec::new();
        for field in &layout.fields {
            match field.element.subject(record, reverse).map(field.element.value) {
                Some(Field::Unsigned(number)) => {
                    octets.extend(&number.to_be_bytes()[8 - usize::from(field.length)..]);
                }
                Some(Field::Float(number)) => octets.extend(number.to_be_bytes()),
                Some(Field::V4(address)) => octets.extend(address.octets()),
                Some(Field::V6(address)) => octets.extend(address.octets()),
                Some(Field::Mac(address)) => octets.extend(address),
                None => octets.resize(octets.len() + usize::from(field.length), 0),
            }
        }
        octets
    }

    #[test]
    fn each_value_lies_where_its_template_says() {
        let example = FlowRecord::example();
        let record = FlowRecord { tcp_flags: 0x1ff, mpls_top_label: 0x12_3451, tos: 0xb8, ..example };
        let reverse = FlowRecord { tcp_flags: 0x112, packets: 77, octets: 0x0102_0304_0506, ..record };
        // The addresses of a tunnel have to come before the flow's.
        let all = || ELEMENTS.iter().filter(|element| !element.name.starts_with("tunnel"));
        let backwards: Vec<&str> = all().rev().map(|element| element.name).collect();
        // And a run with more of its part behind it.
        let is_first = |of: &&Element| is_in_run(NETFLOW9_RUN, of.group, of.place, of.id);
        let (first, others): (Vec<&Element>, Vec<&Element>) = all().partition(is_first);
        let run_first: Vec<&str> = first.iter().chain(&others).map(|element| element.name).collect();
        let chosen = [backwards, run_first].map(|names| Fields::named(&names).expect("known elements"));
        let presets = Preset::NAMES.map(|(_, preset)| Fields::Preset(preset));
        for schema in presets.iter().chain(&chosen).flat_map(schemas) {
            for layout in schema.layouts() {
                for reverse in [Some(&reverse), None] {
                    let mut out = vec![0xa5; layout.record_length];
                    layout.write(&record, reverse, &mut out);
                    assert_eq!(out, asked(layout, &record, reverse), "{layout:?}");
                }
            }
        }
    }

    #[test]
    fn standard_layouts_are_written_in_runs() {
        // Nearly every record that there is has one of them.
        let [ipfix, netflow9] = schemas(&Fields::default());
        for layout in ipfix.layouts() {
            let places = places(layout);
            assert_eq!(places.run.map(|(run, _)| run), Some(Run::Ipfix), "{layout:?}");
            assert_eq!(places.reverse_run.is_some(), layout.shape.biflow, "{layout:?}");
            assert!(places.reduced.is_empty(), "{layout:?}");
        }
        for layout in netflow9.layouts() {
            assert_eq!(places(layout).run.map(|(run, _)| run), Some(Run::NetFlow9), "{layout:?}");
        }
        let plain =
            [Format::Ipfix, Format::NetFlow9].map(|format| Schema::of(format, Extras::default(), &Fields::default()));
        assert!(plain.iter().flat_map(Schema::layouts).all(|layout| !places(layout).has_rare));
    }
}
