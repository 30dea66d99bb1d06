//! What is metered: the daemon itself, its drains, its interfaces and the accounting sum of each.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::status::{Snapshot, Sum};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Interface {
    interface: String,
    hook: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Term {
    interface: String,
    direction: String,
    term: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Way {
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

// A counter may not go down: hence `held` is a gauge beside the counter of the other terms.
metrics! {
    /// Version of the daemon, as a label of the constant 1.
    build_info: Family<Build, Gauge>,
    /// Seconds since the daemon was started.
    uptime_seconds: Gauge<u64, AtomicU64>,
    /// Flows that are open in the table.
    open_flows: Gauge<u64, AtomicU64>,
    /// Flows that were opened since the start, and records that were received.
    opened_flows: Counter,
    /// Drains of the kernel's flow map.
    drains: Counter,
    /// Time that drains took, all together.
    drain_seconds: Counter<f64, AtomicU64>,
    /// Time that the last drain took.
    last_drain_seconds: Gauge<f64, AtomicU64>,
    /// When the last drain was, seconds since 1970 UTC: the other metrics are as of then.
    last_drain_timestamp_seconds: Gauge<f64, AtomicU64>,
    /// Whether an interface that is to be metered is there and metered: 1, else 0. The hook at which it is metered is a label.
    interface_metered: Family<Interface, Gauge>,
    /// Packets by term of the accounting sum, all but held: seen = exported + held + overflow + unparsed + sampledOut + filteredOut.
    packets: Family<Term, Counter>,
    /// Octets of the layer-2 frames by term of the accounting sum, all but held.
    bytes: Family<Term, Counter>,
    /// Packets that open flows hold: the term of the sum that also goes down.
    held_packets: Family<Way, Gauge<u64, AtomicU64>>,
    /// Octets of the layer-2 frames that open flows hold.
    held_bytes: Family<Way, Gauge<u64, AtomicU64>>,
    /// Whether the accounting sum holds, in packets and octets, to the last one: 1, else 0.
    accounting_balances: Family<Way, Gauge>,
    /// Packets whose flow found no room in the kernel's map, by protocol.
    overflow_packets: Family<Overflow, Counter>,
    /// Octets of the layer-2 frames whose flow found no room in the kernel's map, by protocol.
    overflow_bytes: Family<Overflow, Counter>,
    /// Frames that carry no flow, by reason.
    unparsed_packets: Family<Unparsed, Counter>,
    /// Octets of frames that carry no flow, by reason.
    unparsed_bytes: Family<Unparsed, Counter>,
}

impl Metrics {
    pub(super) fn set(&self, snapshot: &Snapshot) {
        self.build_info.get_or_create(&Build { version: snapshot.version.clone() }).set(1);
        self.uptime_seconds.set(snapshot.uptime_seconds);
        self.open_flows.set(snapshot.open_flows);
        self.opened_flows.inc_by(snapshot.opened_flows);
        self.drains.inc_by(snapshot.drains);
        self.drain_seconds.inc_by(snapshot.drains_seconds);
        self.last_drain_seconds.set(snapshot.drain_seconds);
        self.last_drain_timestamp_seconds.set(super::seconds(snapshot.drained_milliseconds));
        for one in &snapshot.interfaces {
            let labels = Interface { interface: one.name.clone(), hook: one.hook.clone().unwrap_or_default() };
            self.interface_metered.get_or_create(&labels).set(i64::from(one.hook.is_some()));
        }
        for sum in &snapshot.accounting {
            self.set_sum(sum);
        }
    }

    fn set_sum(&self, sum: &Sum) {
        let (interface, direction) = (sum.interface.clone(), sum.direction.clone());
        let way = Way { interface: interface.clone(), direction: direction.clone() };
        self.held_packets.get_or_create(&way).set(sum.held.packets);
        self.held_bytes.get_or_create(&way).set(sum.held.octets);
        self.accounting_balances.get_or_create(&way).set(i64::from(sum.balances()));
        for (term, amount, _) in sum.terms().into_iter().filter(|(term, ..)| *term != "held") {
            let labels = Term { interface: interface.clone(), direction: direction.clone(), term };
            self.packets.get_or_create(&labels).inc_by(amount.packets);
            self.bytes.get_or_create(&labels).inc_by(amount.octets);
        }
        for (protocol, amount) in &sum.overflow_by_protocol {
            let (interface, direction) = (interface.clone(), direction.clone());
            let labels = Overflow { interface, direction, protocol: protocol.clone() };
            self.overflow_packets.get_or_create(&labels).inc_by(amount.packets);
            self.overflow_bytes.get_or_create(&labels).inc_by(amount.octets);
        }
        for (reason, amount) in &sum.unparsed_by_reason {
            let (interface, direction) = (interface.clone(), direction.clone());
            let labels = Unparsed { interface, direction, reason: reason.clone() };
            self.unparsed_packets.get_or_create(&labels).inc_by(amount.packets);
            self.unparsed_bytes.get_or_create(&labels).inc_by(amount.octets);
        }
    }
}
