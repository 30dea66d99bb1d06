//! How it goes with the names that are asked for.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::enrich::NamesCondition;

metrics! {
    /// Addresses whose names were asked for.
    reverse_dns_questions: Counter,
    /// Addresses that were asked for and have a name.
    reverse_dns_names: Counter,
    /// Addresses whose names were not asked for, since too many waited.
    reverse_dns_refused: Counter,
    /// Addresses whose names, or that they have none, are remembered.
    reverse_dns_known: Gauge<u64, AtomicU64>,
}

impl Metrics {
    pub(super) fn set(&self, names: NamesCondition) {
        self.reverse_dns_questions.inc_by(names.asked);
        self.reverse_dns_names.inc_by(names.found);
        self.reverse_dns_refused.inc_by(names.refused);
        self.reverse_dns_known.set(names.known);
    }
}
