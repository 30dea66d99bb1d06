//! How the exporters fare that are listened to, one by one, and the listener as a whole.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// What is known of one exporter: of one observation domain at one address, in one version. What is counted is since it was
/// first seen, or seen again after it had been forgotten.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExporterHealth {
    /// Its address.
    pub address: Option<IpAddr>,
    /// The port from which its last message came.
    pub port: u16,
    /// Observation Domain ID, Source ID, or engine.
    pub domain: u32,
    /// 5, 7, 9 or 10.
    pub version: u16,
    /// First message, milliseconds since 1970-01-01 UTC.
    pub first_seen_ms: u64,
    /// Last message, likewise.
    pub last_seen_ms: u64,
    /// Transport sessions that it has now.
    pub sessions: usize,
    /// Source ports that were found to be of a session with other ports.
    pub joined: u64,
    /// Messages that came, whatever became of them.
    pub messages: u64,
    /// Their octets.
    pub octets: u64,
    /// Records of flows that were read.
    pub records: u64,
    /// Records of options that were read.
    pub options_records: u64,
    /// Templates that are known now, of all its sessions.
    pub templates: usize,
    /// Templates that have replaced others with their IDs.
    pub templates_changed: u64,
    /// Templates that the exporter has withdrawn.
    pub templates_withdrawn: u64,
    /// Templates that were forgotten because they were not told again for long, or there were too many.
    pub templates_forgotten: u64,
    /// What is missing by the sequence numbers: messages of NetFlow v9, records of the others.
    pub missing: u64,
    /// Messages that were late.
    pub reordered: u64,
    /// Messages that came twice. The second was dropped.
    pub duplicates: u64,
    /// Times that it has begun anew.
    pub restarts: u64,
    /// Messages before which nobody knows whether something is missing.
    pub sequence_unknown: u64,
    /// Sets that wait for their template now.
    pub held_sets: usize,
    /// Sets that have waited, and were read.
    pub recovered_sets: u64,
    /// Their records.
    pub recovered_records: u64,
    /// Sets that nobody could read because their template did not come, or whose waiting there was no room for.
    pub dropped_sets: u64,
    /// Their octets.
    pub dropped_octets: u64,
    /// Export time of the last message less our time then, milliseconds.
    pub clock_skew_ms: i64,
    /// Of how many packets or flows one is metered, where the whole exporter has one rate and has said it.
    pub sampling_interval: Option<u32>,
    /// Interfaces whose names are known.
    pub interface_names: usize,
    /// Records that were taken without their tail, for which there was no room.
    pub tails_left_out: u64,
    /// What was wrong with messages, and how often.
    pub faults: BTreeMap<String, u64>,
}

/// What is known of a listener as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerTotals {
    /// Messages that came, whatever became of them.
    pub messages: u64,
    /// Their octets.
    pub octets: u64,
    /// Addresses that are known now.
    pub addresses: usize,
    /// Transport sessions that are known now.
    pub sessions: usize,
    /// Octets in which templates, sessions and what options records have told are kept.
    pub state_octets: usize,
    /// Octets in which sets wait for their templates.
    pub held_octets: usize,
    /// Addresses that were forgotten because there were too many, or too much to remember.
    pub addresses_evicted: u64,
    /// Sessions that were forgotten likewise.
    pub sessions_evicted: u64,
    /// Addresses that were forgotten because nothing came for long.
    pub addresses_expired: u64,
    /// What was wrong with messages of which nobody knows whose they are, and how often.
    pub faults: BTreeMap<String, u64>,
}
