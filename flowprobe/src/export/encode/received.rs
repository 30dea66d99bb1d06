//! Templates of records that were received: the fields that flowprobe has words for, and behind them the tail. Which tails there
//! are only exporters know, so these templates come about one by one, as records need them.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::Format;
use super::super::elements::Schema;
use super::sets::uptimes;
use super::templates;
use crate::collect::Tail;

/// Most templates of received records. There are no more tails than exporters have templates, and listeners bound those.
const MOST: usize = 2048;

/// The templates that there are so far, each with the number of its place.
#[derive(Default)]
pub(super) struct ReceivedTemplates {
    all: Vec<ReceivedTemplate>,
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
    pub(super) message: Vec<u8>,
    _tail: Arc<Tail>,
}

impl ReceivedTemplates {
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
        if number >= MOST {
            return None;
        }
        let layout = position.map(|position| &schema.layouts_of_received()[position]);
        let id = schema.first_received_template() + u16::try_from(number).ok()?;
        let (fields, tail_octets) = match format {
            Format::NetFlow9 => tail.of_netflow9(),
            _ => (tail.fields.len(), usize::MAX),
        };
        let message = templates::of_received(format, layout, &tail.fields[..fields], id);
        let uptimes = layout.map_or(Vec::new(), |layout| uptimes(format, &layout.fields));
        self.all.push(ReceivedTemplate { id, tail_octets, uptimes, message, _tail: Arc::clone(tail) });
        Some(number)
    }

    /// The template of a number that [`ReceivedTemplates::number_of`] gave.
    pub(super) fn get(&self, number: usize) -> &ReceivedTemplate {
        &self.all[number]
    }

    /// Messages that define them, but for those that are longer than `capacity`: records of theirs are not said.
    pub(super) fn messages(&self, capacity: usize) -> impl Iterator<Item = Vec<u8>> {
        self.all.iter().map(|one| &one.message).filter(move |message| message.len() <= capacity).cloned()
    }
}
