//! The values of a record, written one after the other, out of which Data Records are cut.
//!
//! An encoder that asks each element of a template for its value calls a function for each. Here the values of all elements are
//! written by one piece of code that the compiler sees whole, and a layout is a few ranges of the outcome.

use super::table::{self, OCTETS};
use super::{ELEMENTS, Groups};
use crate::record::FlowRecord;

/// The values of a record, and behind them those of the other direction of a biflow.
pub struct Image {
    forward: [u8; OCTETS],
    reverse: [u8; OCTETS],
}

/// Octets of an image that a layout takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    is_reverse: bool,
    start: usize,
    length: usize,
}

impl Default for Image {
    fn default() -> Self {
        Self { forward: [0; OCTETS], reverse: [0; OCTETS] }
    }
}

impl Image {
    /// Writes what the elements of `groups` say about a record.
    pub(super) fn paint(&mut self, record: &FlowRecord, reverse: Option<&FlowRecord>, groups: Groups) {
        table::paint::<false>(record, groups, &mut self.forward);
        match reverse {
            Some(reverse) => table::paint::<true>(reverse, groups, &mut self.reverse),
            // What is there answered another flow.
            None if groups.are_of_biflows() => self.reverse.fill(0),
            None => {}
        }
    }

    /// Copies `ranges` to the beginning of `out`, which must have room for them. What lies behind them may be overwritten.
    #[inline]
    pub(super) fn cut(&self, ranges: &[Range], out: &mut [u8]) {
        let mut at = 0;
        for Range { is_reverse, start, length } in ranges {
            let half = if *is_reverse { &self.reverse } else { &self.forward };
            copy(&half[*start..], &mut out[at..], *length);
            at += length;
        }
    }
}

/// Copies `length` octets and, where there is room, some that follow them: most values are so short that a copy of a length which
/// the compiler does not know costs more than they do.
#[inline(always)]
fn copy(from: &[u8], to: &mut [u8], length: usize) {
    const STEP: usize = 16;
    let mut at = 0;
    while at < length {
        match (from[at..].first_chunk::<STEP>(), to[at..].first_chunk_mut::<STEP>()) {
            // Long ones are few.
            (Some(from), Some(to)) if length <= 2 * STEP => *to = *from,
            _ => return to[at..length].copy_from_slice(&from[at..length]),
        }
        at += STEP;
    }
}

/// The ranges of `fields`, positions in the table and octets on the wire, in their order. Of a value that is written in fewer
/// octets than the table has, the last ones are taken.
pub(super) fn ranges(fields: impl Iterator<Item = (usize, u16)>) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    for (position, length) in fields {
        let before: usize = ELEMENTS[..position].iter().map(|element| usize::from(element.length)).sum();
        let element = &ELEMENTS[position];
        let (whole, length) = (usize::from(element.length), usize::from(length));
        let (is_reverse, start) = (element.group.is_reverse(), before + whole - length);
        match ranges.last_mut() {
            Some(last) if last.is_reverse == is_reverse && last.start + last.length == start => last.length += length,
            _ => ranges.push(Range { is_reverse, start, length }),
        }
    }
    ranges
}
