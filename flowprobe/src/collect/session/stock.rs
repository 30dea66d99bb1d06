//! The templates of a session.

use std::time::Instant;

use lru::LruCache;

use super::super::read::Plan;
use super::super::template::Template;
use super::super::wire::Layout;
use super::Limits;
use super::tally::{Charge, Tally};

/// Octets that a template takes for each of its fields, with what is made of them for reading, and besides.
const PER_FIELD: usize = 64;
const BESIDES: usize = 512;

/// A template and what was made of it for reading.
#[derive(Debug)]
pub(super) struct Known {
    template: Template,
    pub(super) layout: Layout,
    pub(super) plan: Plan,
    /// Whether its records are options.
    pub(super) options: bool,
    refreshed: Instant,
    _charge: Charge,
}

impl Known {
    /// `None` where its records would have no octets.
    pub(super) fn of(template: Template, options: bool, now: Instant, state: &Tally) -> Option<Self> {
        let layout = Layout::of(&template)?;
        let charge = state.charge(BESIDES + template.fields.len() * PER_FIELD);
        let plan = Plan::of(&template);
        Some(Self { template, layout, plan, options, refreshed: now, _charge: charge })
    }
}

/// What a template was to the session that was told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// The same as before.
    Again,
    New,
    /// Another than before with this ID.
    Changed,
}

/// The templates of a session by their IDs, which flows and options share.
#[derive(Debug)]
pub(super) struct Stock {
    known: LruCache<u16, Known>,
}

impl Stock {
    pub(super) fn new() -> Self {
        Self { known: LruCache::unbounded() }
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// The template with this ID, which is in use now.
    pub(super) fn get(&mut self, id: u16) -> Option<&Known> {
        self.known.get(&id)
    }

    /// Learns a template. What it was, and how many others had to go for it.
    pub(super) fn learn(
        &mut self,
        id: u16,
        (template, options): (Template, bool),
        now: Instant,
        (state, limits): (&Tally, &Limits),
    ) -> (Told, u64) {
        let before = self.known.get_mut(&id);
        let told = match &before {
            Some(known) if known.template == template && known.options == options => Told::Again,
            Some(_) => Told::Changed,
            None => Told::New,
        };
        if let (Told::Again, Some(known)) = (told, before) {
            known.refreshed = now;
        } else if let Some(known) = Known::of(template, options, now, state) {
            self.known.put(id, known);
        }
        let mut gone = 0;
        while self.known.len() > limits.templates && self.forget_idlest() {
            gone += 1;
        }
        (told, gone)
    }

    /// Forgets the template with this ID. Whether there was one.
    pub(super) fn withdraw(&mut self, id: u16) -> bool {
        self.known.pop(&id).is_some()
    }

    /// Forgets those of options, or those of flows. How many there were.
    pub(super) fn withdraw_all(&mut self, options: bool) -> u64 {
        self.forget(|known| known.options == options)
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.known.clear();
    }

    /// Forgets those that were not told again for too long. How many there were.
    pub(super) fn expire(&mut self, now: Instant, limits: &Limits) -> u64 {
        self.forget(|known| now.saturating_duration_since(known.refreshed) > limits.templates_for)
    }

    /// Forgets the one whose last use is the longest ago. Whether there was one.
    pub(super) fn forget_idlest(&mut self) -> bool {
        self.known.pop_lru().is_some()
    }

    fn forget(&mut self, gone: impl Fn(&Known) -> bool) -> u64 {
        let ids: Vec<u16> = self.known.iter().filter(|(_, known)| gone(known)).map(|(id, _)| *id).collect();
        ids.iter().filter(|&&id| self.withdraw(id)).count() as u64
    }
}
