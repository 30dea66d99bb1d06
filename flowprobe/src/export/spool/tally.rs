//! What the spool says of itself.

use super::reader::Found;
use crate::losses::Lost;

/// Messages that lie on disk and have not been read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Messages.
    pub messages: u64,
    /// Octets that they take on disk.
    pub octets: u64,
    /// The flow records in them.
    pub weight: Lost,
}

impl Waiting {
    pub(super) fn of(found: &Found) -> Self {
        Self { messages: 1, octets: (found.next - found.at).into(), weight: found.message.weight }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.combine(other, u64::wrapping_add);
    }

    pub(super) fn subtract(&mut self, other: &Self) {
        self.combine(other, u64::wrapping_sub);
    }

    /// What is read from a file may be anything: sums wrap, and differences undo them.
    fn combine(&mut self, other: &Self, operation: fn(u64, u64) -> u64) {
        for (own, others) in [
            (&mut self.messages, other.messages),
            (&mut self.octets, other.octets),
            (&mut self.weight.records, other.weight.records),
            (&mut self.weight.packets, other.weight.packets),
            (&mut self.weight.octets, other.weight.octets),
        ] {
            *own = operation(*own, others);
        }
    }
}

/// What of the spool could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// Octets at the end of the newest segment that were not written to their end, and were cut off at the start. There is
    /// less than one message in them.
    pub torn_octets: u64,
    /// Segments that were left where an entry of theirs could not be read.
    pub segments: u64,
    /// Octets in them from there on. What records were in them is known, and counted as lost, only if they were sound when
    /// the spool was opened.
    pub octets: u64,
}
