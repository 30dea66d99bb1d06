//! An address from which messages come, and whose session each of them is.

use std::net::IpAddr;
use std::time::Instant;

use hashbrown::HashMap;
use lru::LruCache;

use super::super::health::ExporterHealth;
use super::super::received::ReceivedRecords;
use super::super::template::Version;
use super::super::wire::{Content, Fault, Header};
use super::domain::Domain;
use super::held::Held;
use super::intake::{self, Intake, News, Shared};
use super::sequence::Sequence;
use super::stock::Stock;
use super::tally::{Charge, Tally};
use super::{Limits, Moment};

/// By which a message comes to its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Way {
    /// A source port of datagrams.
    Port(u16),
    /// A connection.
    Connection(u64),
}

/// The version and domain of an exporter.
type Id = (Version, u32);

/// How a message came to its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Known,
    /// Its way has just joined the session.
    Joined,
    Opened,
}

/// A session: what one Exporting Process tells about one of its domains.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: Id,
    /// Ports of one that uses several; never empty.
    ways: Vec<Way>,
    pub(super) sequence: Sequence,
    pub(super) templates: Stock,
    pub(super) held: Held,
    _charge: Charge,
}

/// Octets that a session takes besides its templates.
const SESSION_OCTETS: usize = 2048;

/// Ports of a session that are remembered. One that was forgotten is found again by its numbers.
const MOST_WAYS: usize = 64;

/// Sessions, those that sent last, among which the one is looked for that a message from another port continues.
const CANDIDATES: usize = 64;

impl Session {
    fn new(number: u64, id: Id, way: Way, state: &Tally, held: &Tally) -> Self {
        let (ways, held, charge) = (vec![way], Held::within(held), state.charge(SESSION_OCTETS));
        let is_of_datagrams = matches!(way, Way::Port(_));
        let (sequence, templates) = (Sequence::new(is_of_datagrams), Stock::new(number, is_of_datagrams));
        Self { id, ways, sequence, templates, held, _charge: charge }
    }

    pub(super) fn is_of_datagrams(&self) -> bool {
        matches!(self.ways.first(), Some(Way::Port(_)))
    }
}

/// An address from which messages come.
#[derive(Debug)]
pub(super) struct Host {
    address: IpAddr,
    /// By their numbers, those that sent last first.
    sessions: LruCache<u64, Session>,
    domains: LruCache<Id, Domain>,
    ways: HashMap<(Id, Way), u64>,
    next: u64,
    /// When the last message came.
    pub(super) seen: Instant,
    /// Octets of its templates, sessions and facts.
    state: Tally,
    _charge: Charge,
}

impl Host {
    pub(super) fn new(address: IpAddr, now: Instant, state: &Tally) -> Self {
        const OCTETS: usize = 1024;
        let state = state.within();
        Self {
            address,
            sessions: LruCache::unbounded(),
            domains: LruCache::unbounded(),
            ways: HashMap::new(),
            next: 0,
            seen: now,
            _charge: state.charge(OCTETS),
            state,
        }
    }

    pub(super) fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Takes a message that came from `port` by `way`.
    pub(super) fn take(
        &mut self,
        (port, way): (u16, Way),
        (message, header, content): (&[u8], &Header, Result<Content<'_>, Fault>),
        now: Moment,
        shared: &mut Shared,
        out: &mut ReceivedRecords,
    ) {
        self.seen = now.monotonic;
        let id = (header.version, header.domain);
        let domain = self.domains.get_or_insert_mut(id, || Domain::new(self.address, header, &self.state));
        domain.see(port, header, message.len(), now);
        let content = match content {
            Ok(content) => content,
            Err(fault) => return domain.faults.add(fault),
        };
        let (number, found) = self.route(id, way, header.sequence, &shared.held);
        if found == Found::Opened && matches!(way, Way::Port(_)) {
            self.look_back(id, header, now.monotonic);
        }
        let (Some(session), Some(domain)) = (self.sessions.get_mut(&number), self.domains.get_mut(&id)) else { return };
        let state = &self.state;
        let mut intake = Intake { header, now, number, session, domain, state, shared, out, news: News::default() };
        if found == Found::Joined {
            intake.recover_all();
        }
        intake.take(message, content);
        let News { taught, lender } = intake.news;
        if let Some(lender) = lender {
            // Whose templates are in use does not go before those who use them.
            self.sessions.promote(&lender);
            self.sessions.promote(&number);
        }
        if taught {
            self.lend(id, number, shared, out);
        }
    }

    /// Reads what other sessions of a domain hold by the templates that this one was told.
    fn lend(&mut self, id: Id, number: u64, shared: &mut Shared, out: &mut ReceivedRecords) {
        let Some(domain) = self.domains.peek_mut(&id) else { return };
        let others = domain.sessions.iter().copied().filter(|other| *other != number);
        for other in others.collect::<Vec<u64>>() {
            let session = self.sessions.peek_mut(&other);
            if let Some(session) = session.filter(|other| other.held.len() > 0 && other.templates.wants_others()) {
                intake::lend(session, domain, &mut shared.tails, out);
            }
        }
    }

    /// Takes note where the first message of a session shows that its exporter has begun anew. That of IPFIX has to have counted
    /// something before: one with nothing to report says number 0 again and again.
    fn look_back(&mut self, id: Id, header: &Header, now: Instant) {
        let Some(domain) = self.domains.peek_mut(&id) else { return };
        let Some(last) = domain.last() else { return };
        let has_counted = self.sessions.peek(&last).is_some_and(|session| session.sequence.has_counted());
        if domain.has_moved(header, now) && (header.uptime_ms.is_some() || has_counted) {
            domain.begin_anew((last, true), header, now);
        }
    }

    /// The number of the session of a message, and how it came there. It is the session of its way, or that
    /// which expects its sequence number, where an exporter sends from changing ports.
    ///
    /// A message from a port joins another session of the same version and domain if its number is what that one expects next
    /// and is not 0, with which everybody begins, unless the port has a count of its own, which is then only interrupted. Two
    /// exporters behind one address so stay apart.
    fn route(&mut self, id: Id, way: Way, sequence: u32, held: &Tally) -> (u64, Found) {
        let own = self.ways.get(&(id, way)).copied();
        if matches!(way, Way::Port(_)) && sequence != 0 {
            let count = own.and_then(|own| self.sessions.peek(&own)).map(|session| &session.sequence);
            let stays = count.is_some_and(|count| count.expects(sequence) || count.is_settled());
            let continues = |(number, session): (&u64, &Session)| {
                let other = session.id == id && session.is_of_datagrams() && Some(*number) != own;
                (other && session.sequence.expects(sequence)).then_some(*number)
            };
            if !stays && let Some(other) = self.sessions.iter().take(CANDIDATES).find_map(continues) {
                self.join(id, way, own, other);
                return (other, Found::Joined);
            }
        }
        match own {
            Some(own) => (own, Found::Known),
            None => (self.open(id, way, held), Found::Opened),
        }
    }

    fn open(&mut self, id: Id, way: Way, held: &Tally) -> u64 {
        let number = self.next;
        self.next += 1;
        self.sessions.put(number, Session::new(number, id, way, &self.state, held));
        self.ways.insert((id, way), number);
        if let Some(domain) = self.domains.peek_mut(&id) {
            domain.sessions.push(number);
        }
        number
    }

    /// Makes `way` one of the session `other`'s. What its own has held, if that had no other way, goes on waiting there, and what
    /// it was told is known there.
    fn join(&mut self, id: Id, way: Way, own: Option<u64>, other: u64) {
        let mut orphan = None;
        if let Some((own, session)) = own.and_then(|own| Some((own, self.sessions.peek_mut(&own)?))) {
            session.ways.retain(|known| *known != way);
            if session.ways.is_empty() {
                orphan = self.remove(own);
            }
        }
        let Some(session) = self.sessions.peek_mut(&other) else { return };
        if let Some(mut orphan) = orphan {
            session.held.append(&mut orphan.held);
            if let Some(domain) = self.domains.peek_mut(&id) {
                session.templates.append(orphan.templates, &mut domain.common);
            }
        }
        session.ways.push(way);
        if session.ways.len() > MOST_WAYS {
            let forgotten = session.ways.remove(0);
            self.ways.remove(&(id, forgotten));
        }
        self.ways.insert((id, way), other);
        if let Some(domain) = self.domains.peek_mut(&id) {
            domain.health.joined += 1;
        }
    }

    /// Takes a session out.
    fn remove(&mut self, number: u64) -> Option<Session> {
        let mut session = self.sessions.pop(&number)?;
        for way in &session.ways {
            self.ways.remove(&(session.id, *way));
        }
        if let Some(domain) = self.domains.peek_mut(&session.id) {
            domain.sessions.retain(|known| *known != number);
            session.templates.set_aside(&mut domain.common);
        }
        Some(session)
    }

    /// Forgets a session, and counts what it held.
    fn forget(&mut self, number: u64) {
        let Some(mut session) = self.remove(number) else { return };
        if let Some(domain) = self.domains.peek_mut(&session.id) {
            domain.drop_sets(session.held.clear());
        }
    }

    /// Forgets the sessions of a way, which is closed.
    pub(super) fn close(&mut self, way: Way) {
        let numbers: Vec<u64> =
            self.ways.iter().filter(|((_, known), _)| *known == way).map(|(_, number)| *number).collect();
        numbers.into_iter().for_each(|number| self.forget(number));
    }

    /// Lets domains, sessions and templates go that are too many, but never the session that sent last. How many sessions went.
    pub(super) fn trim(&mut self, limits: &Limits) -> u64 {
        let before = self.sessions.len();
        let has_room = |host: &Self| host.state.octets() <= limits.state_octets;
        while self.domains.len() > 1 && (self.domains.len() > limits.sessions || !has_room(self)) {
            let Some((_, domain)) = self.domains.pop_lru() else { break };
            for number in domain.sessions {
                self.remove(number);
            }
        }
        while self.sessions.len() > 1 && (self.sessions.len() > limits.sessions || !has_room(self)) {
            let Some((&number, _)) = self.sessions.peek_lru() else { break };
            self.forget(number);
        }
        let gone = before.saturating_sub(self.sessions.len());
        while !has_room(self)
            && let Some((_, session)) = self.sessions.iter_mut().next()
            && let Some(domain) = self.domains.peek_mut(&session.id)
            && session.templates.forget_idlest(&mut domain.common)
        {
            domain.health.templates_forgotten += 1;
        }
        gone as u64
    }

    /// Reads or drops sets that have waited for too long, and with `templates` also forgets templates that are no longer good.
    pub(super) fn expire(&mut self, now: Instant, templates: bool, shared: &mut Shared, out: &mut ReceivedRecords) {
        let Shared { limits, tails, .. } = shared;
        for (_, session) in &mut self.sessions {
            let Some(domain) = self.domains.peek_mut(&session.id) else { continue };
            while let Some(set) = session.held.next_expired(now, limits) {
                intake::settle(set, session, domain, tails, out);
            }
            if templates && session.is_of_datagrams() {
                domain.health.templates_forgotten += session.templates.expire(now, &mut domain.common, limits);
            }
        }
    }

    /// Reads or drops all sets that wait, since no more comes.
    pub(super) fn finish(&mut self, shared: &mut Shared, out: &mut ReceivedRecords) {
        for (_, session) in &mut self.sessions {
            let Some(domain) = self.domains.peek_mut(&session.id) else { continue };
            while let Some(set) = session.held.next() {
                intake::settle(set, session, domain, &mut shared.tails, out);
            }
        }
    }

    /// How each of its domains fares.
    pub(super) fn health(&self) -> impl Iterator<Item = ExporterHealth> {
        self.domains.iter().map(|(_, domain)| {
            let mut health = domain.health();
            for session in domain.sessions.iter().filter_map(|number| self.sessions.peek(number)) {
                health.templates += session.templates.len();
                health.held_sets += session.held.len();
            }
            health
        })
    }
}
