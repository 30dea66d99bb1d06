//! Who gets records, and what of them went nowhere.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::status::SinkStatus;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Sink {
    sink: String,
}

metrics! {
    /// Records that a sink was to take and that went nowhere.
    sink_lost_records: Family<Sink, Counter>,
    /// Packets in records that a sink was to take and that went nowhere.
    sink_lost_packets: Family<Sink, Counter>,
    /// Octets in records that a sink was to take and that went nowhere, from the IP header on.
    sink_lost_bytes: Family<Sink, Counter>,
    /// Events that wait in a sink's queue: batches of records or deltas, and ticks.
    sink_queue_events: Family<Sink, Gauge<u64, AtomicU64>>,
    /// Events that a sink's queue has room for. What a full queue refuses is lost.
    sink_queue_capacity_events: Family<Sink, Gauge<u64, AtomicU64>>,
    /// Whether a collector cannot be reached: 1, else 0.
    collector_away: Family<Sink, Gauge>,
    /// Messages that went to a collector, those of templates included.
    collector_sent_messages: Family<Sink, Counter>,
    /// Flow records in the messages that went to a collector.
    collector_sent_records: Family<Sink, Counter>,
    /// Octets of the messages that went to a collector.
    collector_sent_bytes: Family<Sink, Counter>,
    /// Flow records that wait for a collector, on disk or in memory.
    collector_waiting_records: Family<Sink, Gauge<u64, AtomicU64>>,
    /// Octets of the messages that wait for a collector.
    collector_waiting_bytes: Family<Sink, Gauge<u64, AtomicU64>>,
    /// Flow records that a collector's format has no words for.
    collector_skipped_records: Family<Sink, Counter>,
    /// Packets in flow records that a collector's format has no words for.
    collector_skipped_packets: Family<Sink, Counter>,
    /// Octets in flow records that a collector's format has no words for, from the IP header on.
    collector_skipped_bytes: Family<Sink, Counter>,
}

impl Metrics {
    pub(super) fn set(&self, sinks: &[SinkStatus]) {
        for sink in sinks {
            let labels = Sink { sink: sink.name.clone() };
            self.sink_lost_records.get_or_create(&labels).inc_by(sink.lost.records);
            self.sink_lost_packets.get_or_create(&labels).inc_by(sink.lost.packets);
            self.sink_lost_bytes.get_or_create(&labels).inc_by(sink.lost.octets);
            self.sink_queue_events.get_or_create(&labels).set(sink.queue.events as u64);
            self.sink_queue_capacity_events.get_or_create(&labels).set(sink.queue.capacity as u64);
            let Some(collector) = sink.collector else { continue };
            self.collector_away.get_or_create(&labels).set(i64::from(collector.is_away));
            self.collector_sent_messages.get_or_create(&labels).inc_by(collector.sent_messages);
            self.collector_sent_records.get_or_create(&labels).inc_by(collector.sent_records);
            self.collector_sent_bytes.get_or_create(&labels).inc_by(collector.sent_octets);
            self.collector_waiting_records.get_or_create(&labels).set(collector.waiting_records);
            self.collector_waiting_bytes.get_or_create(&labels).set(collector.waiting_octets);
            self.collector_skipped_records.get_or_create(&labels).inc_by(collector.skipped.records);
            self.collector_skipped_packets.get_or_create(&labels).inc_by(collector.skipped.packets);
            self.collector_skipped_bytes.get_or_create(&labels).inc_by(collector.skipped.octets);
        }
    }
}
