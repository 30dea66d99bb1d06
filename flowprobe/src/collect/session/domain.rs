//! What is known of an observation domain, whichever of its exporter's sessions taught it.

use std::net::IpAddr;
use std::sync::Arc;

use super::super::health::ExporterHealth;
use super::super::read::Facts;
use super::super::received::Origin;
use super::super::wire::{Faults, Header};
use super::Moment;
use super::common::Common;
use super::held::Dropped;
use super::sequence::Verdict;
use super::tally::{Charge, Tally};

/// Octets that a domain takes besides what options records have taught.
const OCTETS: usize = 1024;

/// An observation domain of an exporter, in one version.
#[derive(Debug)]
pub(super) struct Domain {
    pub(super) origin: Arc<Origin>,
    pub(super) facts: Facts,
    pub(super) common: Common,
    /// What is counted. The rest is filled in when somebody asks.
    pub(super) health: ExporterHealth,
    pub(super) faults: Faults,
    /// Numbers of its sessions.
    pub(super) sessions: Vec<u64>,
    sampling_v5: Option<u16>,
    charge: Charge,
}

impl Domain {
    pub(super) fn new(address: IpAddr, header: &Header, state: &Tally) -> Self {
        let health = ExporterHealth {
            address: Some(address),
            domain: header.domain,
            version: header.version as u16,
            ..ExporterHealth::default()
        };
        Self {
            origin: Arc::new(Origin { address, domain: header.domain }),
            facts: Facts::default(),
            common: Common::default(),
            health,
            faults: Faults::default(),
            sessions: Vec::new(),
            sampling_v5: None,
            charge: state.charge(OCTETS),
        }
    }

    /// Takes note of a message.
    pub(super) fn see(&mut self, port: u16, header: &Header, octets: usize, now: Moment) {
        let health = &mut self.health;
        let now_ms = now.wall_us / 1000;
        if health.messages == 0 {
            health.first_seen_ms = now_ms;
        }
        health.last_seen_ms = now_ms;
        health.port = port;
        health.messages += 1;
        health.octets += octets as u64;
        health.clock_skew_ms = (header.export_time_us / 1000).cast_signed().wrapping_sub_unsigned(now_ms);
        self.sampling_v5 = header.sampling;
    }

    /// Takes note of what a sequence number said.
    pub(super) fn judge(&mut self, verdict: Verdict) {
        let health = &mut self.health;
        match verdict {
            Verdict::Duplicate => health.duplicates += 1,
            Verdict::Restart => health.restarts += 1,
            Verdict::TakenBack => health.restarts = health.restarts.saturating_sub(1),
            Verdict::Gap(missing) => health.missing += u64::from(missing),
            Verdict::Resumed(missing) if missing > 0 => health.missing += u64::from(missing),
            Verdict::Late | Verdict::Stray => health.reordered += 1,
            Verdict::Unjudged(true) | Verdict::Far | Verdict::Resumed(_) => health.sequence_unknown += 1,
            Verdict::Unjudged(false) | Verdict::InOrder => {}
        }
    }

    /// Takes note that options records have taught something.
    pub(super) fn learnt(&mut self) {
        self.charge.resize(OCTETS + self.facts.octets());
    }

    pub(super) fn drop_sets(&mut self, dropped: Dropped) {
        self.health.dropped_sets += dropped.sets;
        self.health.dropped_octets += dropped.octets;
    }

    /// How it fares. What its sessions have is not in it.
    pub(super) fn health(&self) -> ExporterHealth {
        // As in the reader: the mode in the upper two bits says nothing, and 0 is as good as 1.
        let of_header = self.sampling_v5.map(|word| u32::from(word & 0x3fff)).filter(|&interval| interval > 0);
        ExporterHealth {
            sessions: self.sessions.len(),
            sampling_interval: self.facts.sampling().map(|rate| rate.interval()).or(of_header),
            interface_names: self.facts.interface_names(),
            faults: self.faults.by_name(),
            ..self.health.clone()
        }
    }
}
