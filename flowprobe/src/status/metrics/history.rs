//! How history fares.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::store::Condition;

metrics! {
    /// Records that were written to history.
    store_records: Counter,
    /// Records that wait to be written to history.
    store_waiting_records: Gauge<u64, AtomicU64>,
    /// Files that were written to history, before they became hours.
    store_files: Counter,
    /// Octets of history on disk.
    store_bytes: Gauge<u64, AtomicU64>,
    /// Partitions, which are hours, of which history has records.
    store_partitions: Gauge<u64, AtomicU64>,
    /// Hours of records that were deleted for their age or for the size of all.
    store_deleted_partitions: Counter,
    /// Whether history cannot be written at the moment: 1, else 0.
    store_failing: Gauge,
    /// What has gone wrong with history.
    store_problems: Counter,
}

impl Metrics {
    pub(super) fn set(&self, history: &Condition) {
        self.store_records.inc_by(history.stored_records);
        self.store_waiting_records.set(history.waiting_records);
        self.store_files.inc_by(history.files);
        self.store_bytes.set(history.octets);
        self.store_partitions.set(history.hours);
        self.store_deleted_partitions.inc_by(history.deleted_hours);
        self.store_failing.set(i64::from(history.problem.is_some()));
        self.store_problems.inc_by(history.problems);
    }
}
