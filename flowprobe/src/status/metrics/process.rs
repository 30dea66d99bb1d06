//! What the process takes, under the names that the client libraries of Prometheus give it.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::status::Process;

metrics! {
    /// Processor time that the process has taken, of all its threads.
    process_cpu_seconds: Counter<f64, AtomicU64>,
    /// Bytes of the process that are in memory; what the kernel keeps for it, such as the maps of flows, is not in it.
    process_resident_memory_bytes: Gauge<u64, AtomicU64>,
    /// Bytes of addresses that the process has.
    process_virtual_memory_bytes: Gauge<u64, AtomicU64>,
    /// Threads of the process.
    process_threads: Gauge<u64, AtomicU64>,
    /// Files, sockets and the like that the process has open.
    process_open_fds: Gauge<u64, AtomicU64>,
    /// Files that the process may have open.
    process_max_fds: Gauge<u64, AtomicU64>,
    /// When the process was started, seconds since 1970 UTC.
    process_start_time_seconds: Gauge<f64, AtomicU64>,
}

impl Metrics {
    pub(super) fn set(&self, process: &Process) {
        self.process_cpu_seconds.inc_by(process.cpu_seconds);
        self.process_resident_memory_bytes.set(process.resident_octets);
        self.process_virtual_memory_bytes.set(process.virtual_octets);
        self.process_threads.set(process.threads);
        self.process_open_fds.set(process.open_files);
        self.process_max_fds.set(process.max_files);
        self.process_start_time_seconds.set(super::seconds(process.started_milliseconds));
    }
}
