//! The hours of history that are sent elsewhere.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::store::remote::RemoteCondition;

metrics! {
    /// Files of hours that were sent to where history goes; an hour for which records come late is sent again.
    store_remote_partitions: Counter,
    /// Octets of the files of hours that were sent.
    store_remote_bytes: Counter,
    /// Hours whose file is not there yet.
    store_remote_waiting_partitions: Gauge<u64, AtomicU64>,
    /// Hours that were deleted, or turned out to be damaged, before all of them was there.
    store_remote_missed_partitions: Counter,
    /// Whether history cannot be sent at the moment: 1, else 0.
    store_remote_failing: Gauge,
    /// How often history could not be sent.
    store_remote_problems: Counter,
}

impl Metrics {
    pub(super) fn set(&self, remote: &RemoteCondition) {
        self.store_remote_partitions.inc_by(remote.sent_hours);
        self.store_remote_bytes.inc_by(remote.sent_octets);
        self.store_remote_waiting_partitions.set(remote.waiting_hours);
        self.store_remote_missed_partitions.inc_by(remote.missed_hours);
        self.store_remote_failing.set(i64::from(remote.problem.is_some()));
        self.store_remote_problems.inc_by(remote.problems);
    }
}
