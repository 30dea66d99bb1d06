//! How listeners and those whom they hear fare, for whoever asks.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::health::{ExporterHealth, ListenerTotals};
use super::listen::{ListenerCounters, ListenerHealth};
use super::session::Exporters;

/// A listener, and what it has come to know of those who send.
#[derive(Clone)]
pub struct Heard {
    /// What its sockets count.
    pub counters: ListenerCounters,
    /// Those who send, each with its templates. Locked while messages are read.
    pub exporters: Arc<Mutex<Exporters>>,
}

/// Where the state of all listeners is to be seen.
#[derive(Clone, Default)]
pub struct Watch(Arc<[Heard]>);

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watch").field(&self.0.len()).finish()
    }
}

impl Watch {
    /// The state of these.
    #[must_use]
    pub fn of(listeners: Vec<Heard>) -> Self {
        Self(listeners.into())
    }

    /// How they fare.
    #[must_use]
    pub fn look(&self) -> Listening {
        let mut listening = Listening::default();
        for Heard { counters, exporters } in &*self.0 {
            let exporters = exporters.lock().unwrap_or_else(PoisonError::into_inner);
            let socket = counters.health();
            let of_listener = |health| Exporter { listener: socket.url.clone(), health };
            listening.exporters.extend(exporters.health().into_iter().map(of_listener));
            listening.listeners.push(Listener { decoded: exporters.totals(), socket });
        }
        listening
    }
}

/// How all listeners and exporters fare.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Listening {
    /// The listeners, as they are configured.
    pub listeners: Vec<Listener>,
    /// Those who send to them.
    pub exporters: Vec<Exporter>,
}

/// How one listener fares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listener {
    /// What its sockets count.
    #[serde(flatten)]
    pub socket: ListenerHealth,
    /// What its decoder knows of all exporters together.
    pub decoded: ListenerTotals,
}

/// How one exporter fares.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Exporter {
    /// The listener that hears it.
    pub listener: String,
    /// What is known of it.
    #[serde(flatten)]
    pub health: ExporterHealth,
}

#[cfg(test)]
impl Listening {
    /// A listener that hears one exporter, of which something is missing.
    pub(crate) fn example() -> Self {
        let counters =
            ListenerCounters::new("udp://0.0.0.0:2055".to_owned(), ([0, 0, 0, 0], 2055).into(), Some(1 << 20));
        let faults = |name: &str| [(name.to_owned(), 3)].into();
        let decoded = ListenerTotals { faults: faults("unsupportedVersion"), ..ListenerTotals::default() };
        let health = ExporterHealth {
            address: Some(std::net::Ipv6Addr::from([0xfd; 16]).into()),
            domain: u32::MAX,
            version: 10,
            last_seen_ms: 1_699_999_990_000,
            records: 1234,
            missing: 5,
            duplicates: 2,
            clock_skew_ms: -1500,
            sampling_interval: Some(100),
            faults: faults("shortRecord"),
            ..ExporterHealth::default()
        };
        let socket = ListenerHealth { messages: 77, refused: 8, kernel_drops: 9, ..counters.health() };
        let exporters = vec![Exporter { listener: socket.url.clone(), health }];
        Self { listeners: vec![Listener { socket, decoded }], exporters }
    }
}
