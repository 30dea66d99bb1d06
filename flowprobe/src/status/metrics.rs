//! A snapshot as OpenMetrics text. Each metric is defined once, and its comment is the help that the reader gets.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Snapshot;
use crate::{enrich, store};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Term {
    interface: String,
    direction: String,
    term: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Held {
    interface: String,
    direction: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Overflow {
    interface: String,
    direction: String,
    protocol: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Unparsed {
    interface: String,
    direction: String,
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Sink {
    sink: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NamesFile {
    file: String,
}

/// Defines a struct of metrics, and how it is registered: name, help and type of each stand in one place.
macro_rules! metrics {
    ($(#[doc = $help:literal] $name:ident: $kind:ty,)*) => {
        pub(super) struct Metrics {
            $(#[doc = $help] $name: $kind,)*
        }

        impl Metrics {
            pub(super) fn register(registry: &mut Registry) -> Self {
                let metrics = Self { $($name: Default::default(),)* };
                // The library ends the help with a full stop itself.
                $(registry.register(stringify!($name), $help.trim().trim_end_matches('.'), metrics.$name.clone());)*
                metrics
            }
        }
    };
}

mod listening;

metrics! {
    /// Version of the daemon, as a label of the constant 1.
    build_info: Family<Build, Gauge>,
    /// Seconds since the daemon was started.
    uptime_seconds: Gauge<u64, AtomicU64>,
    /// Flows that are open in the table.
    open_flows: Gauge<u64, AtomicU64>,
    /// Duration of the last drain of the kernel's flow map.
    drain_seconds: Gauge<f64, AtomicU64>,
    /// Packets by term of the accounting sum, all but held: seen = exported + held + overflow + unparsed + sampledOut + filteredOut.
    packets: Family<Term, Counter>,
    /// Octets of the layer-2 frames by term of the accounting sum, all but held.
    octets: Family<Term, Counter>,
    /// Packets that open flows hold: the term of the sum that also goes down.
    held_packets: Family<Held, Gauge<u64, AtomicU64>>,
    /// Octets of the layer-2 frames that open flows hold.
    held_octets: Family<Held, Gauge<u64, AtomicU64>>,
    /// Packets whose flow found no room in the kernel's map, by protocol.
    overflow_packets: Family<Overflow, Counter>,
    /// Octets of the layer-2 frames of those packets.
    overflow_octets: Family<Overflow, Counter>,
    /// Frames that carry no flow, by reason.
    unparsed_packets: Family<Unparsed, Counter>,
    /// Octets of those frames.
    unparsed_octets: Family<Unparsed, Counter>,
    /// Records that a sink was to take and that went nowhere.
    sink_lost_records: Family<Sink, Counter>,
    /// Packets in those records.
    sink_lost_packets: Family<Sink, Counter>,
    /// Octets in those records, from the IP header on.
    sink_lost_octets: Family<Sink, Counter>,
    /// Whether a collector cannot be reached: 1, else 0.
    collector_away: Family<Sink, Gauge>,
    /// Messages that went to a collector, those of templates included.
    collector_sent_messages: Family<Sink, Counter>,
    /// Flow records in those messages.
    collector_sent_records: Family<Sink, Counter>,
    /// Octets of those messages.
    collector_sent_octets: Family<Sink, Counter>,
    /// Flow records that wait for a collector, on disk or in memory.
    collector_waiting_records: Family<Sink, Gauge<u64, AtomicU64>>,
    /// Octets of their messages.
    collector_waiting_octets: Family<Sink, Gauge<u64, AtomicU64>>,
    /// Flow records that a collector's format has no words for.
    collector_skipped_records: Family<Sink, Counter>,
    /// Records that were written to history.
    store_records: Counter,
    /// Records that wait to be written to history.
    store_waiting_records: Gauge<u64, AtomicU64>,
    /// Files that were written to history, before they became hours.
    store_files: Counter,
    /// Octets of history on disk.
    store_octets: Gauge<u64, AtomicU64>,
    /// Hours of which history has records.
    store_hours: Gauge<u64, AtomicU64>,
    /// Hours of records that were deleted for their age or for the size of all.
    store_deleted_hours: Counter,
    /// Whether history cannot be written at the moment: 1, else 0.
    store_failing: Gauge,
    /// What has gone wrong with history.
    store_problems: Counter,
    /// Files of hours that were sent to where history goes; an hour for which records come late is sent again.
    store_remote_hours: Counter,
    /// Octets of those files.
    store_remote_octets: Counter,
    /// Hours whose file is not there yet.
    store_remote_waiting_hours: Gauge<u64, AtomicU64>,
    /// Hours that were deleted, or turned out to be damaged, before all of them was there.
    store_remote_missed_hours: Counter,
    /// Whether history cannot be sent at the moment: 1, else 0.
    store_remote_failing: Gauge,
    /// How often history could not be sent.
    store_remote_problems: Counter,
    /// Since when what is in use of a file of names has been, seconds since 1970 UTC.
    enrichment_loaded_timestamp_seconds: Family<NamesFile, Gauge<f64, AtomicU64>>,
    /// Whether what is in a file of names now cannot be used, and what was there before is: 1, else 0.
    enrichment_failing: Family<NamesFile, Gauge>,
    /// How often a file of names was read anew.
    enrichment_reloads: Family<NamesFile, Counter>,
    /// How often it was to be and could not be used.
    enrichment_failed_reloads: Family<NamesFile, Counter>,
    /// Addresses whose names were asked for.
    reverse_dns_questions: Counter,
    /// Those that have a name.
    reverse_dns_names: Counter,
    /// Those that were not asked for since too many waited.
    reverse_dns_refused: Counter,
    /// Addresses whose names, or that they have none, are remembered.
    reverse_dns_known: Gauge<u64, AtomicU64>,
}

/// The metrics of a snapshot, in the OpenMetrics text format. All begin with `flowprobe_`. A counter may not go down: hence
/// `held` is a gauge beside the counter of the other terms, and so is what is missing, of which some may still come.
#[must_use]
pub fn open_metrics(snapshot: &Snapshot) -> String {
    let mut registry = Registry::with_prefix("flowprobe");
    let metrics = Metrics::register(&mut registry);
    metrics.set(snapshot);
    listening::Metrics::register(&mut registry).set(&snapshot.listening);
    let mut page = String::new();
    // Writing to a string does not fail.
    let _ = text::encode(&mut page, &registry);
    page
}

impl Metrics {
    fn set_history(&self, history: &store::Condition) {
        self.store_records.inc_by(history.stored_records);
        self.store_waiting_records.set(history.waiting_records);
        self.store_files.inc_by(history.files);
        self.store_octets.set(history.octets);
        self.store_hours.set(history.hours);
        self.store_deleted_hours.inc_by(history.deleted_hours);
        self.store_failing.set(i64::from(history.problem.is_some()));
        self.store_problems.inc_by(history.problems);
        if let Some(remote) = &history.remote {
            self.store_remote_hours.inc_by(remote.sent_hours);
            self.store_remote_octets.inc_by(remote.sent_octets);
            self.store_remote_waiting_hours.set(remote.waiting_hours);
            self.store_remote_missed_hours.inc_by(remote.missed_hours);
            self.store_remote_failing.set(i64::from(remote.problem.is_some()));
            self.store_remote_problems.inc_by(remote.problems);
        }
    }

    fn set_enrichment(&self, enrichment: &enrich::Condition) {
        for file in &enrichment.files {
            let labels = NamesFile { file: file.path.clone() };
            #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 have 41 bits")]
            let loaded = file.loaded_milliseconds as f64 / 1000.0;
            self.enrichment_loaded_timestamp_seconds.get_or_create(&labels).set(loaded);
            self.enrichment_failing.get_or_create(&labels).set(i64::from(file.problem.is_some()));
            self.enrichment_reloads.get_or_create(&labels).inc_by(file.reloads);
            self.enrichment_failed_reloads.get_or_create(&labels).inc_by(file.failed_reloads);
        }
        if let Some(names) = enrichment.reverse_dns {
            self.reverse_dns_questions.inc_by(names.asked);
            self.reverse_dns_names.inc_by(names.found);
            self.reverse_dns_refused.inc_by(names.refused);
            self.reverse_dns_known.set(names.known);
        }
    }

    fn set(&self, snapshot: &Snapshot) {
        self.build_info.get_or_create(&Build { version: snapshot.version.clone() }).set(1);
        self.uptime_seconds.set(snapshot.uptime_seconds);
        self.open_flows.set(snapshot.open_flows);
        self.drain_seconds.set(snapshot.drain_seconds);
        if let Some(history) = &snapshot.history {
            self.set_history(history);
        }
        self.set_enrichment(&snapshot.enrichment);
        for sum in &snapshot.accounting {
            let (interface, direction) = (sum.interface.clone(), sum.direction.clone());
            let held = Held { interface: interface.clone(), direction: direction.clone() };
            self.held_packets.get_or_create(&held).set(sum.held.packets);
            self.held_octets.get_or_create(&held).set(sum.held.octets);
            for (term, amount, _) in sum.terms().into_iter().filter(|(term, ..)| *term != "held") {
                let labels = Term { interface: interface.clone(), direction: direction.clone(), term };
                self.packets.get_or_create(&labels).inc_by(amount.packets);
                self.octets.get_or_create(&labels).inc_by(amount.octets);
            }
            for (protocol, amount) in &sum.overflow_by_protocol {
                let (interface, direction) = (interface.clone(), direction.clone());
                let labels = Overflow { interface, direction, protocol: protocol.clone() };
                self.overflow_packets.get_or_create(&labels).inc_by(amount.packets);
                self.overflow_octets.get_or_create(&labels).inc_by(amount.octets);
            }
            for (reason, amount) in &sum.unparsed_by_reason {
                let (interface, direction) = (interface.clone(), direction.clone());
                let labels = Unparsed { interface, direction, reason: reason.clone() };
                self.unparsed_packets.get_or_create(&labels).inc_by(amount.packets);
                self.unparsed_octets.get_or_create(&labels).inc_by(amount.octets);
            }
        }
        for sink in &snapshot.sinks {
            let labels = Sink { sink: sink.name.clone() };
            self.sink_lost_records.get_or_create(&labels).inc_by(sink.lost.records);
            self.sink_lost_packets.get_or_create(&labels).inc_by(sink.lost.packets);
            self.sink_lost_octets.get_or_create(&labels).inc_by(sink.lost.octets);
            let Some(collector) = sink.collector else { continue };
            self.collector_away.get_or_create(&labels).set(i64::from(collector.is_away));
            self.collector_sent_messages.get_or_create(&labels).inc_by(collector.sent_messages);
            self.collector_sent_records.get_or_create(&labels).inc_by(collector.sent_records);
            self.collector_sent_octets.get_or_create(&labels).inc_by(collector.sent_octets);
            self.collector_waiting_records.get_or_create(&labels).set(collector.waiting_records);
            self.collector_waiting_octets.get_or_create(&labels).set(collector.waiting_octets);
            self.collector_skipped_records.get_or_create(&labels).inc_by(collector.skipped.records);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::example;
    use super::*;

    #[test]
    fn the_page_has_every_number_of_the_snapshot() {
        let page = open_metrics(&example());
        for line in [
            "flowprobe_build_info{version=\"1.2.3\"} 1",
            "flowprobe_uptime_seconds 3725",
            "flowprobe_open_flows 9",
            "flowprobe_drain_seconds 0.0125",
            "flowprobe_packets_total{interface=\"eth0\",direction=\"ingress\",term=\"sampledOut\"} 3",
            "flowprobe_octets_total{interface=\"eth0\",direction=\"ingress\",term=\"seen\"} 10000",
            "flowprobe_held_packets{interface=\"eth0\",direction=\"ingress\"} 9",
            "flowprobe_overflow_packets_total{interface=\"eth0\",direction=\"ingress\",protocol=\"tcp\"} 15",
            "flowprobe_unparsed_octets_total{interface=\"eth0\",direction=\"ingress\",reason=\"notIp\"} 100",
            "flowprobe_sink_lost_packets_total{sink=\"udp://192.0.2.1:4739\"} 5",
            "flowprobe_collector_away{sink=\"udp://192.0.2.1:4739\"} 1",
            "flowprobe_collector_sent_records_total{sink=\"udp://192.0.2.1:4739\"} 900",
            "flowprobe_collector_waiting_octets{sink=\"udp://192.0.2.1:4739\"} 6000",
            "flowprobe_collector_skipped_records_total{sink=\"udp://192.0.2.1:4739\"} 7",
            "flowprobe_store_records_total 5000",
            "flowprobe_store_waiting_records 12",
            "flowprobe_store_octets 123456",
            "flowprobe_store_deleted_hours_total 1",
            "flowprobe_store_failing 1",
            "flowprobe_store_remote_hours_total 20",
            "flowprobe_store_remote_octets_total 654321",
            "flowprobe_store_remote_waiting_hours 2",
            "flowprobe_store_remote_missed_hours_total 1",
            "flowprobe_store_remote_failing 1",
            "flowprobe_store_remote_problems_total 4",
            "flowprobe_enrichment_loaded_timestamp_seconds{file=\"/var/lib/GeoIP/GeoLite2-ASN.mmdb\"} 1699999000.0",
            "flowprobe_enrichment_failing{file=\"/var/lib/GeoIP/GeoLite2-ASN.mmdb\"} 1",
            "flowprobe_enrichment_reloads_total{file=\"/var/lib/GeoIP/GeoLite2-ASN.mmdb\"} 2",
            "flowprobe_reverse_dns_names_total 7",
            "flowprobe_reverse_dns_known 8",
            "flowprobe_listener_kernel_drops_total{listener=\"udp://0.0.0.0:2055\"} 9",
            "flowprobe_exporter_missing{listener=\"udp://0.0.0.0:2055\",exporter=\"fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd\",domain=\"4294967295\",version=\"10\"} 5",
            "flowprobe_exporter_clock_skew_seconds{listener=\"udp://0.0.0.0:2055\",exporter=\"fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd\",domain=\"4294967295\",version=\"10\"} -1.5",
            "# HELP flowprobe_sink_lost_records Records that a sink was to take and that went nowhere.",
            "# TYPE flowprobe_packets counter",
        ] {
            assert!(page.lines().any(|found| found == line), "`{line}` is not in\n{page}");
        }
        assert!(page.ends_with("# EOF\n") && !page.contains("term=\"held\""));
    }
}
