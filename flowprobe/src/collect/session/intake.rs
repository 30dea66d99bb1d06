//! Takes one message into its session.

use std::collections::VecDeque;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use hashbrown::DefaultHashBuilder;

use super::super::read::{Context, TailBook};
use super::super::received::ReceivedRecords;
use super::super::template::Version;
use super::super::wire::{
    Content, Fault, Faults, Header, Kind, Set, Sets, Told as Said, ToldTemplates, check_sets, fixed_template,
};
use super::domain::Domain;
use super::held::{Dropped, HeldSet};
use super::host::Session;
use super::sequence::Verdict;
use super::stock::{Known, Told};
use super::tally::Tally;
use super::{Limits, Moment};

/// What all sessions of a listener share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) limits: Limits,
    pub(super) tails: TailBook,
    /// Octets of templates, sessions and facts.
    pub(super) state: Tally,
    /// Octets of sets that wait.
    pub(super) held: Tally,
    /// With what octets of messages are hashed, so that nobody can make another message with the hash of one.
    hasher: DefaultHashBuilder,
    /// The layouts of NetFlow v5 and v7.
    fixed: [Option<Known>; 2],
}

impl Shared {
    pub(super) fn new(limits: Limits) -> Self {
        let fixed = [Version::NetFlow5, Version::NetFlow7]
            .map(|version| Known::of(fixed_template(version), false, &Tally::default()));
        let (state, held) = (Tally::default(), Tally::default());
        Self { limits, tails: TailBook::new(), state, held, hasher: DefaultHashBuilder::default(), fixed }
    }
}

/// A message on its way into its session.
pub(super) struct Intake<'a> {
    pub(super) header: &'a Header,
    pub(super) now: Moment,
    /// The number of the session, and the session.
    pub(super) number: u64,
    pub(super) session: &'a mut Session,
    pub(super) domain: &'a mut Domain,
    /// Octets of its host's templates, sessions and facts.
    pub(super) state: &'a Tally,
    pub(super) shared: &'a mut Shared,
    pub(super) out: &'a mut ReceivedRecords,
    pub(super) news: News,
}

/// What a message meant for other sessions of its domain.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct News {
    /// Whether it told templates which others may lack.
    pub(super) taught: bool,
    /// The number of the session by whose template its data were read.
    pub(super) lender: Option<u64>,
}

/// What was read of a set.
#[derive(Clone, Copy)]
struct Read {
    records: u32,
    /// Whether nothing but padding was left.
    whole: bool,
}

impl Intake<'_> {
    /// Takes the message, of which `content` is what is behind its header.
    pub(super) fn take(&mut self, message: &[u8], content: Content<'_>) {
        let header = self.header;
        let padded = match header.version {
            Version::NetFlow5 | Version::NetFlow7 => false,
            // The sets before one that is broken are read all the same.
            Version::NetFlow9 => check_sets(content.octets).unwrap_or(false),
            Version::Ipfix => match check_sets(content.octets) {
                Ok(padded) => padded,
                Err(fault) => return self.domain.faults.add(fault),
            },
        };
        if content.trailing || padded {
            self.domain.faults.add(Fault::TrailingOctets);
        }
        let now = self.now.monotonic;
        let hash = self.shared.hasher.hash_one(message);
        let verdict = self.session.sequence.judge(header, hash, now);
        self.domain.judge(verdict);
        match verdict {
            Verdict::Duplicate => return,
            Verdict::Restart => {
                self.session.templates.set_aside(&mut self.domain.common);
                self.domain.drop_sets(self.session.held.clear());
                self.domain.begin_anew((self.number, false), header, now);
            }
            Verdict::TakenBack => {
                self.session.templates.take_back(&mut self.domain.common);
                self.domain.go_on(self.number, false);
                self.recover_all();
            }
            Verdict::InOrder => self.domain.go_on(self.number, true),
            _ => {}
        }
        if self.session.is_of_datagrams() {
            self.domain.hear(self.number, header, now);
        }
        let units = match header.version {
            Version::NetFlow5 | Version::NetFlow7 => {
                self.fixed(content.octets);
                Some(header.count.into())
            }
            Version::NetFlow9 => {
                self.sets(content.octets);
                Some(1)
            }
            Version::Ipfix => self.sets(content.octets),
        };
        let found = self.session.sequence.advance(header, hash, verdict, units, now);
        self.domain.health.missing = self.domain.health.missing.saturating_sub(found.into());
    }

    /// Reads what has waited for templates that are known here now.
    pub(super) fn recover_all(&mut self) {
        for id in self.session.held.ids() {
            self.recover(id);
        }
    }

    /// Reads records of NetFlow v5 or v7.
    fn fixed(&mut self, octets: &[u8]) {
        let [v5, v7] = &self.shared.fixed;
        let known = if self.header.version == Version::NetFlow5 { v5 } else { v7 };
        if let Some(known) = known {
            read(known, octets, (self.header, self.now.wall_us), self.domain, &mut self.shared.tails, self.out);
        }
    }

    /// Reads sets. How many records were in them; `None` where that is not known.
    fn sets(&mut self, octets: &[u8]) -> Option<u32> {
        let mut records = Some(0_u32);
        for set in Sets::of(octets) {
            let set = match set {
                Ok(set) => set,
                Err(fault) => {
                    self.domain.faults.add(fault);
                    return None;
                }
            };
            match set.kind(self.header.version) {
                Kind::Templates => self.templates(&set, false),
                Kind::OptionsTemplates => self.templates(&set, true),
                Kind::Data => records = records.zip(self.data(&set)).map(|(all, more)| all.wrapping_add(more)),
                Kind::Reserved => self.domain.faults.add(Fault::ReservedSet),
            }
        }
        records
    }

    /// Reads the records of a set, or holds it until its template comes. How many they were, where that is known.
    fn data(&mut self, set: &Set<'_>) -> Option<u32> {
        let (header, wall_us) = (self.header, self.now.wall_us);
        let Some(known) = self.known(set.id) else {
            let moment = (wall_us, self.now.monotonic);
            if !self.session.held.hold(header, set, moment, &self.shared.held, &self.shared.limits) {
                let mut dropped = Dropped::default();
                dropped.add(set.body);
                self.domain.drop_sets(dropped);
            }
            return None;
        };
        let read = read(&known, set.body, (header, wall_us), self.domain, &mut self.shared.tails, self.out);
        read.whole.then_some(read.records)
    }

    /// The template with this ID: the session's, or what other ports of the domain agree on where this one was never told any.
    /// One that has templates, but not this one, may be of another exporter behind the same address.
    fn known(&mut self, id: u16) -> Option<Arc<Known>> {
        if let Some(known) = self.session.templates.get(id) {
            return Some(Arc::clone(known));
        }
        let (known, lender) = self.domain.common.agreed(id).filter(|_| self.session.templates.wants_others())?;
        self.news.lender = Some(lender);
        Some(Arc::clone(known))
    }

    /// Learns templates, and reads what has waited for them.
    fn templates(&mut self, set: &Set<'_>, options: bool) {
        let most_fields = self.shared.limits.fields;
        for said in ToldTemplates::of(self.header.version, options, most_fields, set.body) {
            let templates = &mut self.session.templates;
            let Domain { common, health, faults, .. } = &mut *self.domain;
            match said {
                Err(fault) => faults.add(fault),
                Ok(Said::Withdrawn(id)) => health.templates_withdrawn += u64::from(templates.withdraw(id, common)),
                Ok(Said::AllWithdrawn) => health.templates_withdrawn += templates.withdraw_all(options, common),
                Ok(Said::Template(id, template)) => {
                    let now = self.now.monotonic;
                    let (told, gone) =
                        templates.learn(id, (template, options), now, common, (self.state, &self.shared.limits));
                    health.templates_changed += u64::from(told == Told::Changed);
                    health.templates_forgotten += gone;
                    self.news.taught |= told != Told::Again;
                    self.recover(id);
                }
            }
        }
    }

    /// Reads the sets that have waited for a template of the session.
    fn recover(&mut self, id: u16) {
        let Session { templates, held, .. } = &mut *self.session;
        if let Some(known) = templates.get(id) {
            recover(known, held.release(id), self.domain, &mut self.shared.tails, self.out);
        }
    }
}

/// Reads sets that a session holds by what other ports of its domain agree on, if it was never told a template.
pub(super) fn lend(session: &mut Session, domain: &mut Domain, tails: &mut TailBook, out: &mut ReceivedRecords) {
    for id in session.held.ids() {
        if let Some(known) = domain.common.agreed(id).map(|(known, _)| Arc::clone(known)) {
            recover(&known, session.held.release(id), domain, tails, out);
        }
    }
}

/// Ends the waiting of a set of this session: it is read if other ports of the domain agree on how, and dropped if not.
pub(super) fn settle(
    set: HeldSet,
    session: &Session,
    domain: &mut Domain,
    tails: &mut TailBook,
    out: &mut ReceivedRecords,
) {
    let known = domain.common.agreed(set.id).filter(|_| session.templates.is_shared());
    if let Some(known) = known.map(|(known, _)| Arc::clone(known)) {
        return recover(&known, VecDeque::from([set]), domain, tails, out);
    }
    let mut dropped = Dropped::default();
    dropped.add(&set.body);
    domain.drop_sets(dropped);
}

/// Reads sets that have waited for this template, under the headers with which they came.
fn recover(
    known: &Known,
    sets: VecDeque<HeldSet>,
    domain: &mut Domain,
    tails: &mut TailBook,
    out: &mut ReceivedRecords,
) {
    for set in sets {
        let read = read(known, &set.body, (&set.header, set.received_us), domain, tails, out);
        domain.health.recovered_sets += 1;
        domain.health.recovered_records += u64::from(read.records);
    }
}

/// Reads the records of a set that came under this header, at this time.
fn read(
    known: &Known,
    body: &[u8],
    (header, received_us): (&Header, u64),
    domain: &mut Domain,
    tails: &mut TailBook,
    out: &mut ReceivedRecords,
) -> Read {
    let Domain { origin, facts, health, faults, .. } = domain;
    if known.options {
        let read = each_record(known, body, faults, |record| known.plan.learn(record, facts).is_ok());
        health.options_records += u64::from(read.records);
        domain.learnt();
        return read;
    }
    let left_out = tails.left_out();
    let mut context = Context {
        origin,
        export_time_us: header.export_time_us,
        boot_us: header.boot_us(),
        sampling_v5: header.sampling,
        facts,
        received_us,
        tails,
    };
    let read = each_record(known, body, faults, |record| known.plan.read(record, &mut context, out).is_ok());
    health.records += u64::from(read.records);
    health.tails_left_out += context.tails.left_out() - left_out;
    read
}

/// Hands each record to `take`, which says whether it was one.
fn each_record(known: &Known, body: &[u8], faults: &mut Faults, mut take: impl FnMut(&[u8]) -> bool) -> Read {
    let mut read = Read { records: 0, whole: true };
    for record in known.layout.records(body) {
        let taken = record.and_then(|record| if take(record) { Ok(()) } else { Err(Fault::ShortRecord) });
        match taken {
            Ok(()) => read.records += 1,
            Err(fault) => {
                faults.add(fault);
                read.whole = false;
            }
        }
    }
    read
}
