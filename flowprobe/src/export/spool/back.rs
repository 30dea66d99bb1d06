//! Messages that come back: they go before those that wait.

use std::fs;
use std::io;

use super::segment::Segment;
use super::tail::Tail;
use super::{Spool, Waiting, entry};
use crate::export::packed::Packed;

impl Spool {
    /// Adds `messages` before all that have not been read: messages that went another way meanwhile and did not arrive. All that was
    /// read is retired.
    ///
    /// # Errors
    /// The disk refuses. Then none of them is in the spool, and the caller counts them.
    pub fn put_back(&mut self, messages: &[Packed]) -> io::Result<()> {
        let Some(first) = self.segments.iter().position(|segment| segment.unread.messages > 0) else {
            self.retire(self.cursor)?;
            return messages.iter().try_for_each(|message| self.append(message));
        };
        if messages.is_empty() {
            return self.retire(self.cursor);
        }
        let (id, start, cursor) = (self.segments[first].id, self.segments[first].start(), self.cursor);
        // Of a segment that was begun to be read, the rest goes behind the messages, and it is removed.
        let is_begun = cursor > start;
        let rest = if is_begun { self.rest_of(id)? } else { Vec::new() };
        let numbers = if is_begun {
            (id, self.segments.get(first + 1).map_or(self.next_id, |next| next.id))
        } else {
            let before = first.checked_sub(1).map_or(self.place.position.segment, |before| self.segments[before].id);
            (before, id)
        };
        let before = match self.write_between(numbers, messages.iter().chain(&rest)) {
            Ok(before) => before,
            Err(error) => {
                self.rewind(cursor);
                return Err(error);
            }
        };
        let Some(start) = before.first().map(Segment::start) else { return Ok(()) };
        self.octets += before.iter().map(|segment| segment.size).sum::<u64>();
        let at = first + usize::from(is_begun);
        for segment in before.into_iter().rev() {
            self.segments.insert(at, segment);
        }
        if self.tail.id() == Some(id) && is_begun {
            self.tail.close();
        }
        self.folder_is_dirty = true;
        self.cursor = start;
        self.retire(start)?;
        self.make_room(0)
    }

    /// Reads what is left of the segment in which the cursor is.
    fn rest_of(&mut self, id: u64) -> io::Result<Vec<Packed>> {
        let mut rest = Vec::new();
        while self.segments.iter().any(|segment| segment.id == id && segment.unread.messages > 0) {
            match self.read()? {
                Some((position, message)) if position.segment == id => rest.push(message),
                // What was left is damaged.
                Some((position, _)) => {
                    self.rewind(position);
                    break;
                }
                None => break,
            }
        }
        Ok(rest)
    }

    /// Writes segments with numbers between these two. Where it fails, none of them is left.
    fn write_between<'a>(
        &self,
        (before, after): (u64, u64),
        messages: impl Iterator<Item = &'a Packed>,
    ) -> io::Result<Vec<Segment>> {
        let mut id = before + (after - before) / 2;
        let mut tail = Tail::default();
        let mut written: Vec<Segment> = Vec::new();
        let mut write = |message: &Packed| -> io::Result<()> {
            if tail.format(message) > self.segment_octets && tail.id().is_some() {
                tail.close();
                tail.format(message);
            }
            let end = if tail.id().is_some() {
                tail.write()?
            } else {
                if id <= before || id >= after {
                    return Err(io::Error::other("there is no number left for what came back"));
                }
                let end = tail.create(id, &Segment::path(&self.folder, id))?;
                written.push(Segment { id, size: 0, end, unread: Waiting::default(), is_dirty: true });
                id += 1;
                end
            };
            if let Some(segment) = written.last_mut() {
                segment.unread.add(&Waiting {
                    messages: 1,
                    octets: entry::data_length(message),
                    weight: message.weight,
                });
                (segment.size, segment.end) = (end.into(), end);
            }
            Ok(())
        };
        let outcome = messages.into_iter().try_for_each(&mut write);
        if let Err(error) = outcome {
            for segment in &written {
                // Whatever of it is there would be read after a restart.
                let _ = fs::remove_file(Segment::path(&self.folder, segment.id));
            }
            return Err(error);
        }
        Ok(written)
    }
}
