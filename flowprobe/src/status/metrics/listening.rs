//! How listeners and exporters fare.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::collect::Listening;
use crate::collect::health::ExporterHealth;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Listener {
    listener: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerFault {
    listener: String,
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Exporter {
    listener: String,
    exporter: String,
    domain: u32,
    version: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Fault {
    listener: String,
    exporter: String,
    domain: u32,
    version: u16,
    reason: String,
}

metrics! {
    /// Messages that a listener has received.
    listener_messages: Family<Listener, Counter>,
    /// Octets of the messages that a listener has received.
    listener_bytes: Family<Listener, Counter>,
    /// Datagrams or connections of senders that the access list does not have.
    listener_refused: Family<Listener, Counter>,
    /// Octets of datagrams of senders that the access list does not have.
    listener_refused_bytes: Family<Listener, Counter>,
    /// Datagrams that the kernel dropped because the receive buffer was full.
    listener_kernel_drops: Family<Listener, Counter>,
    /// Datagrams that were longer than what UDP over IP may carry, and are lost.
    listener_truncated: Family<Listener, Counter>,
    /// Reads, or acceptances of connections, that the kernel refused.
    listener_receive_errors: Family<Listener, Counter>,
    /// Octets that the kernel keeps of datagrams that are not read yet.
    listener_receive_buffer_bytes: Family<Listener, Gauge<u64, AtomicU64>>,
    /// Connections of exporters that are open.
    listener_connections_open: Family<Listener, Gauge<u64, AtomicU64>>,
    /// Connections of exporters so far.
    listener_connections: Family<Listener, Counter>,
    /// Connections that were closed at once, because so many were open.
    listener_connections_turned_away: Family<Listener, Counter>,
    /// Connections that came to no agreement on TLS.
    listener_handshakes_failed: Family<Listener, Counter>,
    /// Connections that were closed because something else than IPFIX came.
    listener_ended_not_ipfix: Family<Listener, Counter>,
    /// Connections that were closed because nothing came for long.
    listener_ended_idle: Family<Listener, Counter>,
    /// Connections that broke, or ended within a message.
    listener_ended_broken: Family<Listener, Counter>,
    /// Addresses of exporters that are known.
    listener_addresses: Family<Listener, Gauge<u64, AtomicU64>>,
    /// Transport sessions that are known.
    listener_sessions: Family<Listener, Gauge<u64, AtomicU64>>,
    /// Octets in which a listener keeps templates, sessions and what options records have told.
    listener_state_bytes: Family<Listener, Gauge<u64, AtomicU64>>,
    /// Octets in which sets wait for their templates.
    listener_held_bytes: Family<Listener, Gauge<u64, AtomicU64>>,
    /// Addresses that were forgotten because there were too many, or too much to remember.
    listener_addresses_evicted: Family<Listener, Counter>,
    /// Transport sessions that were forgotten because there were too many, or too much to remember.
    listener_sessions_evicted: Family<Listener, Counter>,
    /// Addresses that were forgotten because nothing came for long.
    listener_addresses_expired: Family<Listener, Counter>,
    /// What was wrong with messages of which nobody knows whose they are, by reason.
    listener_faults: Family<ListenerFault, Counter>,
    /// Port from which the last message of an exporter came.
    exporter_port: Family<Exporter, Gauge<u64, AtomicU64>>,
    /// When the first message of an exporter came, seconds since 1970 UTC.
    exporter_first_seen_timestamp_seconds: Family<Exporter, Gauge<f64, AtomicU64>>,
    /// When the last message of an exporter came, seconds since 1970 UTC.
    exporter_last_seen_timestamp_seconds: Family<Exporter, Gauge<f64, AtomicU64>>,
    /// Transport sessions that an exporter has.
    exporter_sessions: Family<Exporter, Gauge<u64, AtomicU64>>,
    /// Source ports of an exporter that were found to be of a session with other ports.
    exporter_joined: Family<Exporter, Counter>,
    /// Messages of an exporter.
    exporter_messages: Family<Exporter, Counter>,
    /// Octets of the messages of an exporter.
    exporter_bytes: Family<Exporter, Counter>,
    /// Flow records of an exporter.
    exporter_records: Family<Exporter, Counter>,
    /// Options records of an exporter.
    exporter_options_records: Family<Exporter, Counter>,
    /// Templates of an exporter that are known.
    exporter_templates: Family<Exporter, Gauge<u64, AtomicU64>>,
    /// Templates of an exporter that have replaced others with their IDs.
    exporter_templates_changed: Family<Exporter, Counter>,
    /// Templates that an exporter has withdrawn.
    exporter_templates_withdrawn: Family<Exporter, Counter>,
    /// Templates that were forgotten because they were not told again for long, or there were too many.
    exporter_templates_forgotten: Family<Exporter, Counter>,
    /// What is missing by an exporter's sequence numbers: messages of NetFlow v9, records of the others. It goes down when something comes late.
    exporter_missing: Family<Exporter, Gauge<u64, AtomicU64>>,
    /// Messages of an exporter that came late.
    exporter_reordered: Family<Exporter, Counter>,
    /// Messages of an exporter that came twice and were dropped once.
    exporter_duplicates: Family<Exporter, Counter>,
    /// Times that an exporter has begun anew.
    exporter_restarts: Family<Exporter, Counter>,
    /// Messages of an exporter before which nobody knows whether something is missing.
    exporter_sequence_unknown: Family<Exporter, Counter>,
    /// Sets of an exporter that wait for their template.
    exporter_held_sets: Family<Exporter, Gauge<u64, AtomicU64>>,
    /// Sets of an exporter that have waited for their template, and were read.
    exporter_recovered_sets: Family<Exporter, Counter>,
    /// Records of sets that have waited for their template, and were read.
    exporter_recovered_records: Family<Exporter, Counter>,
    /// Sets of an exporter whose template did not come.
    exporter_dropped_sets: Family<Exporter, Counter>,
    /// Octets of sets of an exporter whose template did not come.
    exporter_dropped_bytes: Family<Exporter, Counter>,
    /// Export time of an exporter's last message less the time at which it came.
    exporter_clock_skew_seconds: Family<Exporter, Gauge<f64, AtomicU64>>,
    /// Of how many packets or flows one is metered, where the whole exporter has one rate and has said it.
    exporter_sampling_interval: Family<Exporter, Gauge<u64, AtomicU64>>,
    /// Interfaces of an exporter whose names are known.
    exporter_interface_names: Family<Exporter, Gauge<u64, AtomicU64>>,
    /// Records of an exporter that were taken without what flowprobe has no words for, for which there was no room.
    exporter_tails_left_out: Family<Exporter, Counter>,
    /// What was wrong with messages of an exporter, by reason.
    exporter_faults: Family<Fault, Counter>,
}

impl Metrics {
    pub(super) fn set(&self, listening: &Listening) {
        for one in &listening.listeners {
            self.set_listener(one);
        }
        for one in &listening.exporters {
            let labels = Exporter {
                listener: one.listener.clone(),
                exporter: one.health.address.map_or(String::new(), |address| address.to_string()),
                domain: one.health.domain,
                version: one.health.version,
            };
            self.set_traffic(&labels, &one.health);
            self.set_templates(&labels, &one.health);
        }
    }

    fn set_listener(&self, one: &crate::collect::Listener) {
        let (socket, decoded) = (&one.socket, &one.decoded);
        let labels = Listener { listener: socket.url.clone() };
        self.listener_messages.get_or_create(&labels).inc_by(socket.messages);
        self.listener_bytes.get_or_create(&labels).inc_by(socket.octets);
        self.listener_refused.get_or_create(&labels).inc_by(socket.refused);
        self.listener_refused_bytes.get_or_create(&labels).inc_by(socket.refused_octets);
        self.listener_kernel_drops.get_or_create(&labels).inc_by(socket.kernel_drops);
        self.listener_truncated.get_or_create(&labels).inc_by(socket.truncated);
        self.listener_receive_errors.get_or_create(&labels).inc_by(socket.receive_errors);
        if let Some(octets) = socket.receive_buffer {
            self.listener_receive_buffer_bytes.get_or_create(&labels).set(octets);
        }
        self.listener_connections_open.get_or_create(&labels).set(socket.connections_open);
        self.listener_connections.get_or_create(&labels).inc_by(socket.connections_total);
        self.listener_connections_turned_away.get_or_create(&labels).inc_by(socket.connections_turned_away);
        self.listener_handshakes_failed.get_or_create(&labels).inc_by(socket.handshakes_failed);
        self.listener_ended_not_ipfix.get_or_create(&labels).inc_by(socket.ended_not_ipfix);
        self.listener_ended_idle.get_or_create(&labels).inc_by(socket.ended_idle);
        self.listener_ended_broken.get_or_create(&labels).inc_by(socket.ended_broken);
        self.listener_addresses.get_or_create(&labels).set(decoded.addresses as u64);
        self.listener_sessions.get_or_create(&labels).set(decoded.sessions as u64);
        self.listener_state_bytes.get_or_create(&labels).set(decoded.state_octets as u64);
        self.listener_held_bytes.get_or_create(&labels).set(decoded.held_octets as u64);
        self.listener_addresses_evicted.get_or_create(&labels).inc_by(decoded.addresses_evicted);
        self.listener_sessions_evicted.get_or_create(&labels).inc_by(decoded.sessions_evicted);
        self.listener_addresses_expired.get_or_create(&labels).inc_by(decoded.addresses_expired);
        for (reason, count) in &decoded.faults {
            let labels = ListenerFault { listener: socket.url.clone(), reason: reason.clone() };
            self.listener_faults.get_or_create(&labels).inc_by(*count);
        }
    }

    /// When and what an exporter has sent, and what of it is missing.
    fn set_traffic(&self, labels: &Exporter, health: &ExporterHealth) {
        let seconds = |ms: f64| ms / 1000.0;
        self.exporter_port.get_or_create(labels).set(health.port.into());
        self.exporter_first_seen_timestamp_seconds.get_or_create(labels).set(seconds(health.first_seen_ms as f64));
        self.exporter_last_seen_timestamp_seconds.get_or_create(labels).set(seconds(health.last_seen_ms as f64));
        self.exporter_clock_skew_seconds.get_or_create(labels).set(seconds(health.clock_skew_ms as f64));
        self.exporter_sessions.get_or_create(labels).set(health.sessions as u64);
        self.exporter_joined.get_or_create(labels).inc_by(health.joined);
        self.exporter_messages.get_or_create(labels).inc_by(health.messages);
        self.exporter_bytes.get_or_create(labels).inc_by(health.octets);
        self.exporter_records.get_or_create(labels).inc_by(health.records);
        self.exporter_options_records.get_or_create(labels).inc_by(health.options_records);
        self.exporter_missing.get_or_create(labels).set(health.missing);
        self.exporter_reordered.get_or_create(labels).inc_by(health.reordered);
        self.exporter_duplicates.get_or_create(labels).inc_by(health.duplicates);
        self.exporter_restarts.get_or_create(labels).inc_by(health.restarts);
        self.exporter_sequence_unknown.get_or_create(labels).inc_by(health.sequence_unknown);
        for (reason, count) in &health.faults {
            let Exporter { listener, exporter, domain, version } = labels.clone();
            let labels = Fault { listener, exporter, domain, version, reason: reason.clone() };
            self.exporter_faults.get_or_create(&labels).inc_by(*count);
        }
    }

    /// What it has told of its records and itself, and what could not be read for want of that.
    fn set_templates(&self, labels: &Exporter, health: &ExporterHealth) {
        self.exporter_templates.get_or_create(labels).set(health.templates as u64);
        self.exporter_templates_changed.get_or_create(labels).inc_by(health.templates_changed);
        self.exporter_templates_withdrawn.get_or_create(labels).inc_by(health.templates_withdrawn);
        self.exporter_templates_forgotten.get_or_create(labels).inc_by(health.templates_forgotten);
        self.exporter_held_sets.get_or_create(labels).set(health.held_sets as u64);
        self.exporter_recovered_sets.get_or_create(labels).inc_by(health.recovered_sets);
        self.exporter_recovered_records.get_or_create(labels).inc_by(health.recovered_records);
        self.exporter_dropped_sets.get_or_create(labels).inc_by(health.dropped_sets);
        self.exporter_dropped_bytes.get_or_create(labels).inc_by(health.dropped_octets);
        if let Some(interval) = health.sampling_interval {
            self.exporter_sampling_interval.get_or_create(labels).set(interval.into());
        }
        self.exporter_interface_names.get_or_create(labels).set(health.interface_names as u64);
        self.exporter_tails_left_out.get_or_create(labels).inc_by(health.tails_left_out);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use prometheus_client::encoding::text;
    use serde_json::{Map, Value};

    use super::*;

    /// Gives every number its own value, from `next` on, and those that may be unknown one. What each is then, by the name of its metric
    /// behind `prefix`.
    fn number(object: &mut Map<String, Value>, prefix: &str, next: &mut u32) -> BTreeMap<String, u32> {
        let mut named = BTreeMap::new();
        for (key, value) in object {
            match value {
                Value::Object(reasons) => {
                    *reasons = [("why".to_owned(), (*next).into())].into_iter().collect();
                }
                Value::Number(_) | Value::Null => *value = (*next).into(),
                _ => continue,
            }
            let mut name = prefix.to_owned();
            for character in key.chars() {
                if character.is_ascii_uppercase() {
                    name.push('_');
                }
                name.push(character.to_ascii_lowercase());
            }
            named.insert(name, *next);
            *next += 1000;
        }
        named
    }

    #[test]
    fn all_that_json_says_of_listeners_and_exporters_has_its_metric() {
        let mut json = serde_json::to_value(Listening::example()).expect("it can be written");
        let mut next = 1000;
        let mut decoded = json["listeners"][0]["decoded"].take();
        let mut named = number(decoded.as_object_mut().expect("an object"), "listener_", &mut next);
        let listener = json["listeners"][0].as_object_mut().expect("an object");
        listener.remove("decoded");
        // What is counted twice, before and behind the queue, has the name of the first.
        named.extend(number(listener, "listener_", &mut next));
        listener.insert("decoded".to_owned(), decoded);
        named.extend(number(json["exporters"][0].as_object_mut().expect("an object"), "exporter_", &mut next));
        // These are labels.
        named.retain(|name, _| !matches!(name.as_str(), "exporter_domain" | "exporter_version"));
        assert!(named.len() > 50, "{named:?}");

        let mut registry = Registry::with_prefix("flowprobe");
        Metrics::register(&mut registry).set(&serde_json::from_value(json).expect("it can be read"));
        let mut page = String::new();
        text::encode(&mut page, &registry).expect("it can be written");
        for (name, number) in named {
            let (name, number) = match name.strip_suffix("_ms") {
                Some("exporter_clock_skew") => {
                    ("exporter_clock_skew_seconds".to_owned(), format!("{}.0", number / 1000))
                }
                Some(name) => (format!("{name}_timestamp_seconds"), format!("{}.0", number / 1000)),
                None if name == "listener_receive_buffer" => (format!("{name}_bytes"), number.to_string()),
                None => (name.trim_end_matches("_total").replace("octets", "bytes"), number.to_string()),
            };
            let is_it = |line: &str| {
                let rest = line.strip_prefix("flowprobe_").and_then(|line| line.strip_prefix(name.as_str()));
                rest.is_some_and(|rest| {
                    (rest.starts_with('{') || rest.starts_with("_total{")) && line.ends_with(&format!(" {number}"))
                })
            };
            assert!(page.lines().any(is_it), "{name} {number} is not in\n{page}");
        }
    }
}
