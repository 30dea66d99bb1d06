//! How the files of names fare.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::enrich::FileCondition;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NamesFile {
    file: String,
}

metrics! {
    /// Since when what is in use of a file of names has been, seconds since 1970 UTC.
    enrichment_loaded_timestamp_seconds: Family<NamesFile, Gauge<f64, AtomicU64>>,
    /// Whether what is in a file of names now cannot be used, and what was there before is: 1, else 0.
    enrichment_failing: Family<NamesFile, Gauge>,
    /// How often a file of names was read anew.
    enrichment_reloads: Family<NamesFile, Counter>,
    /// How often a file of names was to be read anew and could not be used.
    enrichment_failed_reloads: Family<NamesFile, Counter>,
}

impl Metrics {
    pub(super) fn set(&self, files: &[FileCondition]) {
        for file in files {
            let labels = NamesFile { file: file.path.clone() };
            let loaded = super::seconds(file.loaded_milliseconds);
            self.enrichment_loaded_timestamp_seconds.get_or_create(&labels).set(loaded);
            self.enrichment_failing.get_or_create(&labels).set(i64::from(file.problem.is_some()));
            self.enrichment_reloads.get_or_create(&labels).inc_by(file.reloads);
            self.enrichment_failed_reloads.get_or_create(&labels).inc_by(file.failed_reloads);
        }
    }
}
