//! How a collector fares, as the status shows it: told by who sends, read by who asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::options::Sent;
use crate::losses::{Losses, Lost};

/// What is known of a collector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Whether it cannot be reached: over UDP whether the last message was refused.
    pub is_away: bool,
    /// Messages that have left, those of templates included; some of them twice, where a connection was broken.
    pub sent_messages: u64,
    /// Flow records in them.
    pub sent_records: u64,
    /// Octets of them.
    pub sent_octets: u64,
    /// Flow records that wait for it, on disk or in memory.
    pub waiting_records: u64,
    /// Octets of their messages.
    pub waiting_octets: u64,
    /// What its format has no words for, and so was left out.
    pub skipped: Lost,
}

/// The same, shared.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    is_away: AtomicBool,
    sent: [AtomicU64; 3],
    waiting: [AtomicU64; 2],
    skipped: Losses,
}

impl Health {
    /// Takes note of whether the collector can be reached.
    pub fn set_away(&self, is_away: bool) {
        self.0.is_away.store(is_away, Ordering::Relaxed);
    }

    /// Counts messages that have left: how many, the flow records in them, their octets.
    pub fn add_sent(&self, messages: u64, records: u64, octets: u64) {
        for (total, more) in self.0.sent.iter().zip([messages, records, octets]) {
            total.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// What has left.
    #[must_use]
    pub fn sent(&self) -> Sent {
        let [messages, records, octets] =
            [0, 1, 2].map(|position: usize| self.0.sent[position].load(Ordering::Relaxed));
        Sent { messages, records, octets }
    }

    /// Takes note of what waits: flow records and octets.
    pub fn set_waiting(&self, records: u64, octets: u64) {
        self.0.waiting[0].store(records, Ordering::Relaxed);
        self.0.waiting[1].store(octets, Ordering::Relaxed);
    }

    /// Counts what the format has no words for.
    pub fn add_skipped(&self, skipped: Lost) {
        self.0.skipped.add(skipped);
    }

    /// All of it.
    #[must_use]
    pub fn condition(&self) -> Condition {
        let sent = self.sent();
        Condition {
            is_away: self.0.is_away.load(Ordering::Relaxed),
            sent_messages: sent.messages,
            sent_records: sent.records,
            sent_octets: sent.octets,
            waiting_records: self.0.waiting[0].load(Ordering::Relaxed),
            waiting_octets: self.0.waiting[1].load(Ordering::Relaxed),
            skipped: self.0.skipped.total(),
        }
    }
}
