//! The templates that the sessions of a domain have in common: by them data are read whose own session was told none.

use std::sync::Arc;

use hashbrown::HashMap;

use super::super::template::Template;
use super::stock::Known;

/// A template that sessions of a domain have for an ID.
#[derive(Debug)]
struct Variant {
    known: Arc<Known>,
    /// How many have it.
    sessions: usize,
    /// The number of the one that was told it last.
    teller: u64,
}

/// The templates of a domain's sessions that datagrams brought, by their IDs. More than one for an ID where sessions have
/// different ones: these are of different exporters, and nobody can say whose data a session without templates brings.
#[derive(Debug, Default)]
pub(super) struct Common {
    variants: HashMap<u16, Vec<Variant>>,
    /// How often the exporter has begun anew.
    life: u32,
}

impl Common {
    /// The template that all sessions have which know this ID, and the number of the one that was told it last; `None` where
    /// none does, or they differ.
    pub(super) fn agreed(&self, id: u16) -> Option<(&Arc<Known>, u64)> {
        match self.variants.get(&id)?.as_slice() {
            [only] => Some((&only.known, only.teller)),
            _ => None,
        }
    }

    /// What was made of this template for a session that has it already.
    pub(super) fn find(&self, id: u16, template: &Template, options: bool) -> Option<Arc<Known>> {
        let variant = self.variants.get(&id)?.iter().find(|variant| variant.known.is(template, options))?;
        Some(Arc::clone(&variant.known))
    }

    /// The exporter's present life. What was added in another is not in here any more.
    pub(super) const fn life(&self) -> u32 {
        self.life
    }

    /// Forgets all, since the exporter has begun anew. Sessions keep what they were told, for themselves until they are told again.
    pub(super) fn begin_anew(&mut self) {
        self.variants.clear();
        self.life = self.life.wrapping_add(1);
    }

    /// Takes note that one more session has this template.
    pub(super) fn add(&mut self, id: u16, known: &Arc<Known>, teller: u64) {
        let variants = self.variants.entry(id).or_default();
        match variants.iter_mut().find(|variant| variant.known.is_same(known)) {
            Some(variant) => (variant.sessions, variant.teller) = (variant.sessions + 1, teller),
            None => variants.push(Variant { known: Arc::clone(known), sessions: 1, teller }),
        }
    }

    /// Takes note that a session which has this template was told it again.
    pub(super) fn again(&mut self, id: u16, known: &Arc<Known>, teller: u64) {
        let variants = self.variants.get_mut(&id).into_iter().flatten();
        variants.filter(|variant| variant.known.is_same(known)).for_each(|variant| variant.teller = teller);
    }

    /// Takes note that a session has this template no longer.
    pub(super) fn remove(&mut self, id: u16, known: &Arc<Known>) {
        let Some(variants) = self.variants.get_mut(&id) else { return };
        for variant in variants.iter_mut().filter(|variant| variant.known.is_same(known)) {
            variant.sessions = variant.sessions.saturating_sub(1);
        }
        variants.retain(|variant| variant.sessions > 0);
        if variants.is_empty() {
            self.variants.remove(&id);
        }
    }
}
