//! A snapshot as metrics, in the text formats that Prometheus reads. Each metric is defined once, and its comment is the help that
//! the reader gets. Names are Prometheus's: base units, so that octets are bytes there, and `_total` behind what only grows.

use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::registry::Registry;

use super::Snapshot;

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

mod enrichment;
mod findings;
mod history;
mod listening;
mod metering;
mod process;
mod remote;
mod reverse_dns;
mod sinks;
#[cfg(test)]
mod tests;

/// The content type of what [`open_metrics`] returns.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of a snapshot for who asks over HTTP with this `Accept`, behind their content type: OpenMetrics where that is asked
/// for, else Prometheus's own text format, version 0.0.4, which everybody reads.
#[must_use]
pub fn exposition(snapshot: &Snapshot, accept: Option<&str>) -> (&'static str, String) {
    if accept.is_some_and(prefers_open_metrics) {
        return (OPEN_METRICS, open_metrics(snapshot));
    }
    let mut page = String::new();
    // Writing to a string does not fail.
    let _ = prometheus_text::encode(&mut page, &registry(snapshot));
    (prometheus_text::CONTENT_TYPE, page)
}

/// The metrics of a snapshot in the OpenMetrics text format.
#[must_use]
pub fn open_metrics(snapshot: &Snapshot) -> String {
    let mut page = String::new();
    // Writing to a string does not fail.
    let _ = text::encode(&mut page, &registry(snapshot));
    page
}

/// All metrics. Those of the process have the names that every program's have; the others begin with `flowprobe_`. What there is
/// not, such as history that is not kept, has none.
fn registry(snapshot: &Snapshot) -> Registry {
    let mut all = Registry::default();
    if let Some(process) = &snapshot.process {
        process::Metrics::register(&mut all).set(process);
    }
    let ours = all.sub_registry_with_prefix("flowprobe");
    metering::Metrics::register(ours).set(snapshot);
    sinks::Metrics::register(ours).set(&snapshot.sinks);
    if let Some(history) = &snapshot.history {
        history::Metrics::register(ours).set(history);
        if let Some(remote) = &history.remote {
            remote::Metrics::register(ours).set(remote);
        }
    }
    if let Some(found) = &snapshot.findings {
        findings::Metrics::register(ours).set(found);
    }
    enrichment::Metrics::register(ours).set(&snapshot.enrichment.files);
    if let Some(names) = snapshot.enrichment.reverse_dns {
        reverse_dns::Metrics::register(ours).set(names);
    }
    listening::Metrics::register(ours).set(&snapshot.listening);
    all
}

/// Whether an `Accept` (RFC 9110 section 12.5.1) names OpenMetrics, and plain text not before it.
fn prefers_open_metrics(accept: &str) -> bool {
    let weight = |wanted: &str| {
        let of_one = |range: &str| {
            let mut parts = range.split(';').map(str::trim);
            if !parts.next()?.eq_ignore_ascii_case(wanted) {
                return None;
            }
            let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            // A weight that is none counts as if it were not there.
            Some(weight.and_then(|weight| weight.parse().ok()).unwrap_or(1.0_f32))
        };
        accept.split(',').filter_map(of_one).fold(0.0, f32::max)
    };
    let open_metrics = weight("application/openmetrics-text");
    open_metrics > 0.0 && open_metrics >= weight("text/plain")
}

/// Milliseconds since 1970 in the base unit.
#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 have 41 bits")]
fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1000.0
}
