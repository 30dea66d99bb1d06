//! What went nowhere: how it is counted, and when.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::record::{FlowRecord, conversations};
use crate::sink::Event;

/// Records that a sink was to take and that went nowhere, in the terms of RFC 7011 section 4.3. For a sink that wants deltas
/// these stand for records, and for one that prints ticks each counts as one without packets. Sums stay at the most that there
/// is: what records of exporters say may be anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// Records.
    pub records: u64,
    /// Packets in them.
    pub packets: u64,
    /// Octets in them, from the IP header on.
    pub octets: u64,
}

impl Lost {
    /// These records. The two halves of a biflow are one, with the packets of both.
    #[must_use]
    pub fn of(records: &[FlowRecord]) -> Self {
        Self::of_share(records, |_| true)
    }

    /// A flow, or a biflow with the record of its other direction.
    #[must_use]
    #[inline]
    pub fn of_one(record: &FlowRecord, reverse: Option<&FlowRecord>) -> Self {
        let (packets, octets) = reverse.map_or((0, 0), |reverse| (reverse.packets, reverse.octets));
        let (packets, octets) = (record.packets.saturating_add(packets), record.octets.saturating_add(octets));
        Self { records: 1, packets, octets }
    }

    /// Those of these records that `has` a part in.
    #[must_use]
    pub fn of_share(records: &[FlowRecord], has: impl Fn(&FlowRecord) -> bool) -> Self {
        let mut sum = Self::default();
        for (record, reverse) in conversations(records).filter(|(record, _)| has(record)) {
            sum += Self::of_one(record, reverse);
        }
        sum
    }

    /// What is lost with an event.
    #[must_use]
    pub fn of_event(event: &Event) -> Self {
        match event {
            Event::Records(batch) => Self::of(&batch.records),
            Event::Deltas(deltas) | Event::ReceivedDeltas(deltas) => {
                Self::sum(deltas.iter().map(|delta| (delta.value.packets, delta.value.octets)))
            }
            Event::Datagrams(beyond) => Self { records: beyond.len() as u64, ..Self::default() },
            Event::Tick(_) => Self { records: 1, ..Self::default() },
        }
    }

    fn sum(records: impl Iterator<Item = (u64, u64)>) -> Self {
        records.fold(Self::default(), |sum, (packets, octets)| Self {
            records: sum.records + 1,
            packets: sum.packets.saturating_add(packets),
            octets: sum.octets.saturating_add(octets),
        })
    }
}

impl std::ops::AddAssign for Lost {
    fn add_assign(&mut self, other: Self) {
        self.records += other.records;
        self.packets = self.packets.saturating_add(other.packets);
        self.octets = self.octets.saturating_add(other.octets);
    }
}

/// What a sink has lost so far. Counted by the queue that refuses and by the sink itself.
#[derive(Clone, Debug, Default)]
pub struct Losses(Arc<[AtomicU64; 3]>);

impl Losses {
    /// Counts `lost` more.
    pub fn add(&self, lost: Lost) {
        for (total, more) in self.0.iter().zip([lost.records, lost.packets, lost.octets]) {
            // It always says what to set.
            let _ = total.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |total| Some(total.saturating_add(more)));
        }
    }

    /// All so far.
    #[must_use]
    pub fn total(&self) -> Lost {
        let [records, packets, octets] = &*self.0;
        let load = |total: &AtomicU64| total.load(Ordering::Relaxed);
        Lost { records: load(records), packets: load(packets), octets: load(octets) }
    }
}

/// A total, and when it was seen to grow. Times are those of drains, milliseconds since 1970 UTC; 0 for never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noted<T> {
    /// The total.
    pub total: T,
    /// When it was seen to grow for the first time.
    pub first_ms: u64,
    /// When for the last time.
    pub last_ms: u64,
}

impl<T: PartialEq> Noted<T> {
    /// Takes note of what the total is now.
    pub fn note(&mut self, total: T, now_ms: u64) {
        if total == self.total {
            return;
        }
        self.total = total;
        self.last_ms = now_ms;
        if self.first_ms == 0 {
            self.first_ms = now_ms;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Role;

    #[test]
    fn a_biflow_is_lost_as_one_record_with_the_packets_of_both_halves() {
        let half = |role, packets| FlowRecord { role, packets, octets: packets * 10, ..FlowRecord::example() };
        let records = [half(Role::Single, 1), half(Role::Forward, 20), half(Role::Reverse, 300)];
        assert_eq!(Lost::of(&records), Lost { records: 2, packets: 321, octets: 3210 });
    }

    #[test]
    fn sums_of_whatever_exporters_say_stay_at_the_most() {
        let most = FlowRecord { packets: u64::MAX, octets: u64::MAX, ..FlowRecord::example() };
        let half = |role| FlowRecord { role, ..most };
        let records = [most, half(Role::Forward), half(Role::Reverse)];
        let lost = Lost { records: 2, packets: u64::MAX, octets: u64::MAX };
        assert_eq!((Lost::of(&records), Lost::of_share(&records, |_| true)), (lost, lost));
        let losses = Losses::default();
        losses.add(lost);
        losses.add(lost);
        assert_eq!(losses.total(), Lost { records: 4, ..lost });
    }

    #[test]
    fn a_total_is_noted_when_it_grows() {
        let mut noted = Noted::default();
        for (total, now) in [(0, 1), (5, 2), (5, 3), (6, 4), (6, 5)] {
            noted.note(total, now);
        }
        assert_eq!(noted, Noted { total: 6, first_ms: 2, last_ms: 4 });
    }
}
