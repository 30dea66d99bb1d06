//! What goes between a client and a server.

use serde::{Deserialize, Serialize};

use super::super::finding::Severity;
use super::super::flow::Flow;
use super::{ORDINARY, WINDOW_MS};

/// Flows that are kept of each pair as evidence.
const EVIDENCE: usize = 3;

/// Packets, and octets as if all were IPv4.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Way {
    pub(super) packets: u64,
    pub(super) octets: u64,
    /// Of long ones, or large ones.
    pub(super) long: u64,
    /// What long ones have beyond what is ordinary.
    pub(super) excess: u64,
    /// What those have beyond it that are neither ordinary nor long.
    pub(super) rather: u64,
}

impl Way {
    pub(super) fn add(&mut self, flow: &Flow, ordinary: u64, long: u64) -> u64 {
        let packets = flow.share(flow.packets, WINDOW_MS);
        // An IPv6 header has 20 octets more.
        let each = flow.octets_each().saturating_sub(if flow.source.is_v4() { 0 } else { 20 });
        self.packets = self.packets.saturating_add(packets);
        self.octets = self.octets.saturating_add(packets.saturating_mul(each));
        let beyond = packets.saturating_mul(each.saturating_sub(ordinary));
        if each >= long {
            self.long = self.long.saturating_add(packets);
            self.excess = self.excess.saturating_add(beyond);
        } else {
            self.rather = self.rather.saturating_add(beyond);
        }
        each
    }

    pub(super) fn mean(&self) -> u64 {
        self.octets.checked_div(self.packets).unwrap_or(0)
    }
}

/// DNS between a client and a server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Pair {
    pub(super) queries: Way,
    pub(super) answers: Way,
    pub(super) tcp_sent: u64,
    pub(super) tcp_received: u64,
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
    /// Octets when a tunnel was said last, and how severe it was.
    pub(super) said: Option<(u64, Severity)>,
    /// Whether it was said that the server is not the site's.
    pub(super) is_named: bool,
    /// Largest queries first.
    pub(super) evidence: Vec<Flow>,
}

impl Pair {
    pub(super) fn new(start_ms: i64) -> Self {
        let (queries, answers) = (Way::default(), Way::default());
        Self {
            queries,
            answers,
            tcp_sent: 0,
            tcp_received: 0,
            start_ms,
            end_ms: start_ms,
            said: None,
            is_named: false,
            evidence: Vec::new(),
        }
    }

    pub(super) const fn octets(&self) -> u64 {
        self.queries.octets.saturating_add(self.answers.octets).saturating_add(self.tcp_sent)
    }
}

/// Keeps the flows with the largest queries.
pub(super) fn keep(evidence: &mut Vec<Flow>, flow: &Flow, each: u64) {
    if evidence.len() < EVIDENCE {
        evidence.push(*flow);
    } else if each > ORDINARY
        && let Some(least) = evidence.iter_mut().min_by_key(|kept| kept.octets_each())
        && least.octets_each() < each
    {
        *least = *flow;
    }
}
