//! Reads a received record into a [`FlowRecord`](crate::record::FlowRecord) and a tail, and what options records teach.
//!
//! Pure: no I/O, the times are handed in, and no octets make it panic. A template is compiled once ([`Plan::of`]): where the value
//! of each field goes, and which fields say nothing that the `FlowRecord` does not. **The rule of tails**: a field stays out of the
//! tail only where the same value could be written again from the `FlowRecord`, as one of our own elements (`said.rs`), or
//! where it is zero and the `FlowRecord` knows better. That is looked at for each record; but a field that once had something to
//! say of its own is in the tails of its template from then on, so that an exporter's records are laid out in few ways.
//!
//! What stands for something else is in both places: `octetTotalCount` where there is no `octetDeltaCount`, the time of an event
//! where a flow has no other, and what is finer than a microsecond.

mod facts;
mod flow;
mod plan;
mod said;
mod sampling;
mod tails;
mod times;
mod values;

use std::sync::Arc;

use super::received::Origin;
pub use facts::Facts;
pub use plan::{Plan, ShortRecord};
pub use tails::TailBook;
pub(super) use times::microseconds_of_ntp;
pub(super) use values::{float, number};

/// What is known of a record apart from its octets.
#[derive(Debug)]
pub struct Context<'a> {
    /// Who sent it.
    pub origin: &'a Arc<Origin>,
    /// When its message was exported, by the header, microseconds since 1970.
    pub export_time_us: u64,
    /// When the exporter's uptime was 0, by the header, where it has an uptime; microseconds since 1970.
    pub boot_us: Option<u64>,
    /// The sampling word in the header of NetFlow v5: its mode in the upper two bits, its interval in the others.
    pub sampling_v5: Option<u16>,
    /// What the exporter's options records have taught.
    pub facts: &'a Facts,
    /// When the message was received, microseconds since 1970. Stands in for an export time of 0.
    pub received_us: u64,
    /// The tails of all exporters.
    pub tails: &'a mut TailBook,
}

impl Context<'_> {
    /// When the message was exported; where its header has no time, when it was received.
    const fn exported_us(&self) -> u64 {
        if self.export_time_us == 0 { self.received_us } else { self.export_time_us }
    }
}

#[cfg(test)]
mod tests;
