//! What was found, how the looking for it fares, and those that findings go to.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::alert;
use crate::detect::Condition;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Severity {
    severity: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Rule {
    rule: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Detector {
    detector: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Sink {
    sink: String,
}

metrics! {
    /// Findings that go on, by severity.
    findings_open: Family<Severity, Gauge<u64, AtomicU64>>,
    /// Findings that go on, by rule.
    findings_rule_open: Family<Rule, Gauge<u64, AtomicU64>>,
    /// Findings that were opened, or went on after they had ended, by rule.
    findings_rule_opened: Family<Rule, Counter>,
    /// Findings that are kept, those that have ended included.
    findings_kept: Gauge<u64, AtomicU64>,
    /// Findings that there was no room for any more.
    findings_forgotten: Counter,
    /// Whether findings cannot be kept over a restart at the moment: 1, else 0.
    findings_unsaved: Gauge,
    /// How often findings, or what detectors have learned, could not be written to disk.
    findings_failed_saves: Counter,
    /// Whether the thread that looks for findings has failed, so that nothing is looked for any more: 1, else 0.
    findings_stopped: Gauge,
    /// Sightings that suppressions have kept quiet.
    findings_suppressed_sightings: Counter,
    /// Flows that detectors have looked at: parts of flows that are metered, and records that were received.
    findings_seen_flows: Counter,
    /// Flows that detectors have not looked at because their queue was full.
    findings_missed_flows: Counter,
    /// Hosts, pairs of hosts or whatever else a detector follows that it has in memory.
    detector_entries: Family<Detector, Gauge<u64, AtomicU64>>,
    /// What a detector followed and has forgotten for room.
    detector_forgotten_entries: Family<Detector, Counter>,
    /// Time that the thread that looks for findings has spent in a detector, or in joining flows to conversations.
    detector_busy_seconds: Family<Detector, Counter<f64, AtomicU64>>,
    /// Changes of findings that were delivered to a sink.
    findings_sink_sent_changes: Family<Sink, Counter>,
    /// Changes of findings that wait for a sink.
    findings_sink_waiting_changes: Family<Sink, Gauge<u64, AtomicU64>>,
    /// Changes of findings that were given up.
    findings_sink_failed_changes: Family<Sink, Counter>,
    /// Changes of findings that a sink's queue had no room for.
    findings_sink_refused_changes: Family<Sink, Counter>,
    /// Attempts to deliver a change of a finding that came to nothing; most are made again.
    findings_sink_failed_attempts: Family<Sink, Counter>,
    /// Whether findings cannot be delivered to a sink at the moment: 1, else 0.
    findings_sink_failing: Family<Sink, Gauge>,
    /// How often what waits for a webhook could not be written to disk.
    findings_sink_failed_saves: Family<Sink, Counter>,
    /// Whether what waits for a webhook would not survive a restart at the moment: 1, else 0.
    findings_sink_unsaved: Family<Sink, Gauge>,
}

impl Metrics {
    pub(super) fn set(&self, found: &Condition) {
        let open = found.open;
        for (severity, count) in
            [("low", open.low), ("medium", open.medium), ("high", open.high), ("critical", open.critical)]
        {
            self.findings_open.get_or_create(&Severity { severity }).set(count);
        }
        for of_it in &found.rules {
            let rule = Rule { rule: of_it.rule.clone() };
            self.findings_rule_open.get_or_create(&rule).set(of_it.open);
            self.findings_rule_opened.get_or_create(&rule).inc_by(of_it.opened);
        }
        self.findings_kept.set(found.kept);
        self.findings_forgotten.inc_by(found.forgotten);
        self.findings_unsaved.set(i64::from(found.problem.is_some()));
        self.findings_failed_saves.inc_by(found.failed_saves);
        self.findings_stopped.set(i64::from(found.has_failed));
        self.findings_suppressed_sightings.inc_by(found.suppressed);
        self.findings_seen_flows.inc_by(found.flows);
        self.findings_missed_flows.inc_by(found.missed_flows);
        for memory in &found.detectors {
            let detector = Detector { detector: memory.detector.clone().into_owned() };
            self.detector_entries.get_or_create(&detector).set(memory.entries as u64);
            self.detector_forgotten_entries.get_or_create(&detector).inc_by(memory.forgotten);
            self.detector_busy_seconds
                .get_or_create(&detector)
                .inc_by(Duration::from_nanos(memory.nanoseconds).as_secs_f64());
        }
        found.sinks.iter().for_each(|sink| self.set_sink(sink));
    }

    fn set_sink(&self, sink: &alert::Condition) {
        let labels = Sink { sink: sink.name.clone() };
        self.findings_sink_sent_changes.get_or_create(&labels).inc_by(sink.sent);
        self.findings_sink_waiting_changes.get_or_create(&labels).set(sink.waiting);
        self.findings_sink_failed_changes.get_or_create(&labels).inc_by(sink.failed);
        self.findings_sink_refused_changes.get_or_create(&labels).inc_by(sink.refused);
        self.findings_sink_failed_attempts.get_or_create(&labels).inc_by(sink.failed_attempts);
        self.findings_sink_failing.get_or_create(&labels).set(i64::from(sink.trouble.is_some()));
        self.findings_sink_failed_saves.get_or_create(&labels).inc_by(sink.failed_saves);
        self.findings_sink_unsaved.get_or_create(&labels).set(i64::from(sink.unsaved.is_some()));
    }
}
