//! What is known of an observation domain, whichever of its exporter's sessions taught it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::health::ExporterHealth;
use super::super::read::Facts;
use super::super::received::Origin;
use super::super::wire::{Faults, Header};
use super::Moment;
use super::common::Common;
use super::held::Dropped;
use super::sequence::Verdict;
use super::tally::{Charge, Tally};
use super::uptime::Uptimes;

/// Octets that a domain takes besides what options records have taught.
const OCTETS: usize = 1024;

/// How long an exporter of IPFIX has been silent at least that is held to have begun anew where another port begins with number 0.
/// An exporter that has something to report sends more often; one beside it that begins while it does is another.
const SILENT: Duration = Duration::from_secs(10);

/// A restart that may turn out to be none.
#[derive(Debug)]
struct Doubt {
    /// The session that is silent if it was one.
    session: u64,
    /// Whether another session has shown it, so that anything from this one contradicts it.
    elsewhere: bool,
    /// What had been taught until then.
    facts: Facts,
}

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
    uptimes: Uptimes,
    /// The session that brought the last datagram, and when.
    last: Option<(u64, Instant)>,
    doubt: Option<Doubt>,
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
            uptimes: Uptimes::new(),
            last: None,
            doubt: None,
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
            Verdict::Gap(missing) => health.missing += u64::from(missing),
            Verdict::Resumed(missing) if missing > 0 => health.missing += u64::from(missing),
            Verdict::Late | Verdict::Stray => health.reordered += 1,
            Verdict::Unjudged(true) | Verdict::Far | Verdict::Resumed(_) => health.sequence_unknown += 1,
            Verdict::Unjudged(false) | Verdict::InOrder | Verdict::Restart | Verdict::TakenBack => {}
        }
    }

    /// Takes note that options records have taught something.
    pub(super) fn learnt(&mut self) {
        let aside = self.doubt.as_ref().map_or(0, |doubt| doubt.facts.octets());
        self.charge.resize(OCTETS + self.facts.octets() + aside);
    }

    /// The session that brought the last datagram.
    pub(super) fn last(&self) -> Option<u64> {
        self.last.map(|(session, _)| session)
    }

    /// Takes note of a datagram of this session, whatever it said.
    pub(super) fn hear(&mut self, session: u64, header: &Header, now: Instant) {
        self.last = Some((session, now));
        if let Some(uptime) = header.uptime_ms {
            self.uptimes.note(uptime, false, now);
        }
    }

    /// Whether the first datagram from a port shows that the exporter has begun anew: software has another port then.
    pub(super) fn has_moved(&self, header: &Header, now: Instant) -> bool {
        match header.uptime_ms {
            Some(uptime) => self.uptimes.have_fallen(uptime, now),
            None => {
                let silent = |(_, seen)| now.saturating_duration_since(seen) >= SILENT;
                header.sequence == 0 && self.last.is_some_and(silent)
            }
        }
    }

    /// Forgets what belongs to the former life of the exporter, which has begun anew. That counts once where several of its ports
    /// show it. It is in doubt until `session` goes on where it was; `elsewhere` where another session has shown it.
    pub(super) fn begin_anew(&mut self, (session, elsewhere): (u64, bool), header: &Header, now: Instant) {
        if let Some(uptime) = header.uptime_ms {
            if self.uptimes.is_of_begun(uptime, now) {
                return;
            }
            self.uptimes.note(uptime, true, now);
        }
        self.health.restarts += 1;
        self.common.begin_anew();
        self.doubt = Some(Doubt { session, elsewhere, facts: std::mem::take(&mut self.facts) });
        self.learnt();
    }

    /// Takes note that a session goes on where it was, `elsewhere` without having seemed to begin anew itself. The restart that
    /// would have ended it was none.
    pub(super) fn go_on(&mut self, session: u64, elsewhere: bool) {
        let doubt = self.doubt.take_if(|doubt| (doubt.session, doubt.elsewhere) == (session, elsewhere));
        if let Some(doubt) = doubt {
            self.health.restarts = self.health.restarts.saturating_sub(1);
            self.facts.add(doubt.facts);
            self.learnt();
        }
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
