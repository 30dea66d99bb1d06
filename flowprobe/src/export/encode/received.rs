//! Templates of records that were received: the fields that flowprobe has words for, and behind them the tail. Which tails there
//! are only exporters know, so these templates come about one by one, as records need them.
//!
//! Nobody says when an exporter needs one no longer. Where there are too many, all of them go, and those that are needed come
//! about again under other IDs, as those of a schema do that follows another: what one costs does so not depend on how many there
//! are, and no sender can use up those of others.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::Format;
use super::super::elements::{MOST_RECEIVED, RECEIVED_TURNS, Schema};
use super::sets::uptimes;
use super::templates;
use crate::collect::{Specifier, Tail};

/// Octets of all of them and of what their tails consist of. A template may have a thousand fields.
const MOST_OCTETS: usize = 512 << 10;

/// The templates that there are so far, each with the number of its place.
#[derive(Default)]
pub(super) struct ReceivedTemplates {
    all: Vec<ReceivedTemplate>,
    octets: usize,
    /// How often they have begun anew, up to where their IDs come again.
    turn: u16,
    numbers: HashMap<Key, usize>,
    /// The last that was asked for: records of one kind follow each other.
    last: Option<(Key, usize)>,
}

/// A layout, if there is one, and the place of a tail in memory, where nothing else is as long as a template holds the tail.
type Key = (Option<usize>, usize);

/// One of them.
pub(super) struct ReceivedTemplate {
    /// Its Template ID.
    pub(super) id: u16,
    /// Octets of a tail that the format has words for; those of variable length end with the tail.
    pub(super) tail_octets: usize,
    /// Where uptimes lie in its records.
    pub(super) uptimes: Vec<usize>,
    /// A whole message that defines it.
    pub(super) message: Arc<[u8]>,
    _tail: Arc<Tail>,
}

impl ReceivedTemplates {
    /// Whether there are so many that they have to begin anew before there is one of this layout with this tail.
    #[inline]
    pub(super) fn are_too_many_for(&self, position: Option<usize>, tail: &Arc<Tail>) -> bool {
        let is_full = self.all.len() >= usize::from(MOST_RECEIVED) || self.octets >= MOST_OCTETS;
        is_full && !self.numbers.contains_key(&(position, Arc::as_ptr(tail).addr()))
    }

    /// Forgets all. Those that come have other IDs.
    pub(super) fn begin_anew(&mut self) {
        *self = Self { turn: (self.turn + 1) % RECEIVED_TURNS, ..Self::default() };
    }

    /// The number of the template of a layout with this tail, or of a tail alone, and whether it is new. None where there are too many.
    pub(super) fn number_of(
        &mut self,
        format: Format,
        schema: &Schema,
        position: Option<usize>,
        tail: &Arc<Tail>,
    ) -> (Option<usize>, bool) {
        let key = (position, Arc::as_ptr(tail).addr());
        if let Some((_, number)) = self.last.filter(|(last, _)| *last == key) {
            return (Some(number), false);
        }
        let known = self.numbers.get(&key).copied();
        let number = known.or_else(|| self.add(format, schema, position, tail));
        if let Some(number) = number {
            self.numbers.insert(key, number);
            self.last = Some((key, number));
        }
        (number, number.is_some() && known.is_none())
    }

    fn add(&mut self, format: Format, schema: &Schema, position: Option<usize>, tail: &Arc<Tail>) -> Option<usize> {
        let number = self.all.len();
        if number >= usize::from(MOST_RECEIVED) {
            return None;
        }
        let layout = position.map(|position| &schema.layouts_of_received()[position]);
        let id = schema.first_received_template(self.turn) + u16::try_from(number).ok()?;
        let (fields, tail_octets) = match format {
            Format::NetFlow9 => tail.of_netflow9(),
            _ => (tail.fields.len(), usize::MAX),
        };
        let message = templates::of_received(format, layout, &tail.fields[..fields], id);
        let uptimes = layout.map_or(Vec::new(), |layout| uptimes(format, &layout.fields));
        self.octets += message.len() + tail.fields.len() * size_of::<Specifier>();
        let message = message.into();
        self.all.push(ReceivedTemplate { id, tail_octets, uptimes, message, _tail: Arc::clone(tail) });
        Some(number)
    }

    /// The template of a number that [`ReceivedTemplates::number_of`] gave.
    pub(super) fn get(&self, number: usize) -> &ReceivedTemplate {
        &self.all[number]
    }

    /// Messages that define them, but for those that are longer than `capacity`: records of theirs are not said.
    pub(super) fn messages(&self, capacity: usize) -> impl Iterator<Item = Arc<[u8]>> {
        self.all.iter().map(|one| &one.message).filter(move |message| message.len() <= capacity).cloned()
    }
}
