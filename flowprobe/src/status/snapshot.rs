//! What the daemon answers: the state as of its last drain.

use std::collections::BTreeMap;
use std::time::Duration;

use flowprobe_ebpf::parse::Unparsed;
use flowprobe_ebpf::{Counter, OverflowClass};
use serde::{Deserialize, Serialize};

use super::Process;
use crate::accounting::{Accounting, NamedDestination, direction_name};
use crate::collect::Listening;
use crate::detect;
use crate::enrich;
use crate::export::Condition;
use crate::losses::Lost;
use crate::sink::{QueueState, SinkState, Tick};
use crate::store;

/// The state of a daemon. Names in JSON are those of the accounting objects that `--json` prints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Version of flowprobe.
    pub version: String,
    /// The daemon's process ID.
    pub pid: u32,
    /// Since it was started.
    pub uptime_seconds: u64,
    /// When the last drain was, milliseconds since 1970 UTC.
    pub drained_milliseconds: u64,
    /// How long that took: from the flip to the end of the map.
    pub drain_seconds: f64,
    /// Drains since the start.
    pub drains: u64,
    /// How long all of them took together.
    pub drains_seconds: f64,
    /// Open flows.
    pub open_flows: u64,
    /// Flows that were opened since the start, and records that were received.
    pub opened_flows: u64,
    /// The interfaces that it was told to meter.
    pub interfaces: Vec<InterfaceStatus>,
    /// The accounting sum of each interface and direction, totals since the start.
    pub accounting: Vec<Sum>,
    /// Who gets records, and what went nowhere.
    pub sinks: Vec<SinkStatus>,
    /// How history fares, where it is kept.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub history: Option<store::Condition>,
    /// How the looking for findings fares, where they are looked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub findings: Option<detect::Condition>,
    /// Where the dashboard is, if there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub web: Option<String>,
    /// Where names of addresses come from, and how that fares.
    #[serde(default)]
    pub enrichment: enrich::Condition,
    /// What the process takes, where the system says so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub process: Option<Process>,
    /// The listeners, and the exporters whom they hear.
    #[serde(flatten)]
    pub listening: Listening,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceStatus {
    /// Its name.
    pub name: String,
    /// The hook at which it is metered; none while it is not there.
    pub hook: Option<String>,
}

/// Packets and layer-2 octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Packets.
    pub packets: u64,
    /// Octets of their frames.
    pub octets: u64,
}

/// A term, divided: what is not zero, by name.
pub type Breakdown = BTreeMap<String, Amount>;

/// The accounting sum of one interface and direction: see [`Accounting`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the terms are explained in the accounting")]
pub struct Sum {
    pub interface: String,
    pub direction: String,
    pub seen: Amount,
    pub exported: Amount,
    pub held: Amount,
    pub overflow: Amount,
    pub unparsed: Amount,
    pub sampled_out: Amount,
    pub filtered_out: Amount,
    pub overflow_by_protocol: Breakdown,
    pub overflow_by_destination: Vec<NamedDestination>,
    pub unparsed_by_reason: Breakdown,
}

/// A sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkStatus {
    /// Its name: a collector's URL, or `standard output`.
    pub name: String,
    /// What went nowhere since the start.
    pub lost: Lost,
    /// How full its queue is.
    pub queue: QueueState,
    /// How its collector fares, where it is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub collector: Option<Condition>,
}

impl SinkStatus {
    fn of(sink: &SinkState) -> Self {
        Self { name: sink.name.to_string(), lost: sink.lost, queue: sink.queue, collector: sink.collector }
    }
}

impl Snapshot {
    /// The state of this process as of `tick`.
    #[must_use]
    pub fn of(
        tick: &Tick,
        uptime: Duration,
        interfaces: Vec<InterfaceStatus>,
        history: Option<store::Condition>,
        enrichment: enrich::Condition,
    ) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: uptime.as_secs(),
            drained_milliseconds: tick.offset.to_wall_ms(tick.now_ns),
            drain_seconds: tick.drain.as_secs_f64(),
            drains: tick.drains.count,
            drains_seconds: tick.drains.took.as_secs_f64(),
            open_flows: tick.open_flows as u64,
            opened_flows: tick.opened_flows,
            interfaces,
            accounting: tick.accounting.iter().map(Sum::of).collect(),
            sinks: tick.sinks.iter().map(SinkStatus::of).collect(),
            history,
            findings: None,
            web: None,
            enrichment,
            process: Process::this(),
            listening: tick.listening.clone(),
        }
    }
}

impl Sum {
    fn of(accounting: &Accounting) -> Self {
        let kernel = &accounting.kernel;
        Self {
            interface: accounting.interface.to_string(),
            direction: direction_name(accounting.direction).to_owned(),
            seen: kernel.seen.into(),
            exported: accounting.exported.into(),
            held: accounting.held.into(),
            overflow: accounting.overflow().into(),
            unparsed: accounting.unparsed().into(),
            sampled_out: kernel.sampled_out.into(),
            filtered_out: kernel.filtered_out.into(),
            overflow_by_protocol: breakdown(&OverflowClass::NAMES, &kernel.overflow),
            overflow_by_destination: accounting.overflow_destinations.iter().map(NamedDestination::from).collect(),
            unparsed_by_reason: breakdown(&Unparsed::NAMES, &kernel.unparsed),
        }
    }

    /// The terms by their names, and how each is divided: what the table and the metrics are made from.
    #[must_use]
    pub fn terms(&self) -> [(&'static str, Amount, Option<&Breakdown>); 7] {
        [
            ("seen", self.seen, None),
            ("exported", self.exported, None),
            ("held", self.held, None),
            ("overflow", self.overflow, Some(&self.overflow_by_protocol)),
            ("unparsed", self.unparsed, Some(&self.unparsed_by_reason)),
            ("sampledOut", self.sampled_out, None),
            ("filteredOut", self.filtered_out, None),
        ]
    }

    /// Whether what was seen is the sum of the other terms.
    #[must_use]
    pub fn balances(&self) -> bool {
        let sum = self.terms()[1..].iter().fold(Amount::default(), |sum, (_, term, _)| Amount {
            packets: sum.packets + term.packets,
            octets: sum.octets + term.octets,
        });
        sum == self.seen
    }
}

impl From<Counter> for Amount {
    fn from(counter: Counter) -> Self {
        Self { packets: counter.packets, octets: counter.octets }
    }
}

fn breakdown(names: &[&str], counters: &[Counter]) -> Breakdown {
    let used = names.iter().zip(counters).filter(|(_, counter)| counter.packets > 0);
    used.map(|(name, counter)| ((*name).to_owned(), (*counter).into())).collect()
}

#[cfg(test)]
pub(super) fn example() -> Snapshot {
    let amount = |packets| Amount { packets, octets: packets * 100 };
    Snapshot {
        version: "1.2.3".to_owned(),
        pid: 77,
        uptime_seconds: 3725,
        drained_milliseconds: 1_700_000_000_000,
        drain_seconds: 0.0125,
        drains: 3700,
        drains_seconds: 46.5,
        open_flows: 9,
        opened_flows: 4321,
        interfaces: vec![
            InterfaceStatus { name: "eth0".to_owned(), hook: Some("native XDP".to_owned()) },
            InterfaceStatus { name: "eth1".to_owned(), hook: None },
        ],
        accounting: vec![Sum {
            interface: "eth0".to_owned(),
            direction: "ingress".to_owned(),
            seen: amount(100),
            exported: amount(60),
            held: amount(9),
            overflow: amount(20),
            unparsed: amount(1),
            sampled_out: amount(3),
            filtered_out: amount(7),
            overflow_by_protocol: [("tcp".to_owned(), amount(15)), ("udp".to_owned(), amount(5))].into(),
            overflow_by_destination: vec![NamedDestination {
                destination: "192.0.2.7/32".to_owned(),
                protocol_identifier: 6,
                packets: 14,
                octets: 1400,
            }],
            unparsed_by_reason: [("notIp".to_owned(), amount(1))].into(),
        }],
        sinks: vec![SinkStatus {
            name: "udp://192.0.2.1:4739".to_owned(),
            lost: Lost { records: 4, packets: 5, octets: 600 },
            queue: QueueState { events: 11, capacity: 128 },
            collector: Some(Condition {
                is_away: true,
                sent_messages: 90,
                sent_records: 900,
                sent_octets: 120_000,
                waiting_records: 50,
                waiting_octets: 6000,
                skipped: Lost { records: 7, packets: 8, octets: 900 },
            }),
        }],
        history: Some(store::Condition {
            folder: "/var/lib/flowprobe/store".to_owned(),
            stored_records: 5000,
            waiting_records: 12,
            files: 40,
            octets: 123_456,
            hours: 3,
            deleted_hours: 1,
            problem: Some("tmp/x: No space left on device (os error 28)".to_owned()),
            problems: 2,
            remote: Some(store::remote::RemoteCondition {
                name: "s3://bucket/flowprobe".to_owned(),
                sent_hours: 20,
                sent_octets: 654_321,
                waiting_hours: 2,
                missed_hours: 1,
                problem: Some("hour=2026-11-24T09: Connection refused (os error 111)".to_owned()),
                problems: 4,
            }),
        }),
        findings: Some(detect::service::condition::example()),
        web: Some("http://127.0.0.1:8739".to_owned()),
        enrichment: enrich::Condition {
            files: vec![enrich::FileCondition {
                path: "/var/lib/GeoIP/GeoLite2-ASN.mmdb".to_owned(),
                key: "mmdb".to_owned(),
                contents: "GeoLite2-ASN of 2026-11-24".to_owned(),
                loaded_milliseconds: 1_699_999_000_000,
                reloads: 2,
                failed_reloads: 1,
                problem: Some("it is no MMDB file: it is cut off".to_owned()),
            }],
            reverse_dns: Some(enrich::NamesCondition { asked: 9, found: 7, refused: 1, known: 8 }),
        },
        process: Some(Process {
            started_milliseconds: 1_699_996_275_000,
            cpu_seconds: 12.25,
            resident_octets: 91_234_304,
            virtual_octets: 1_234_567_168,
            threads: 14,
            open_files: 33,
            max_files: 1024,
        }),
        listening: Listening::example(),
    }
}
