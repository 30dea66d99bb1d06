//! Messages for which there is no collector at the moment, on disk: bounded, in order, and there after a restart.
//!
//! Messages lie in segment files ([`entry`] has the format), each of which can be read without the others. They are appended
//! to the newest; where that has its size, another is made. What has arrived at the collector is retired: how far that goes
//! is in the file `place`, and segments of which all has arrived are removed. Over the bound the oldest segment goes.
//!
//! A segment is never appended to after a restart: whatever a power failure has done to it, the place that was kept cannot
//! be mistaken for one among newer messages.

mod back;
mod entry;
mod lock;
mod place;
mod reader;
mod segment;
mod tail;
mod tally;

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use tracing::warn;

use crate::export::packed::Packed;
use crate::losses::Losses;
use lock::Lock;
use place::Place;
use reader::{Found, Reader};
use segment::Segment;
use tail::Tail;

pub use lock::SpoolError;
pub use tally::{Damage, Waiting};

/// The smallest bound: a smaller one counts as this.
pub const SMALLEST_BOUND: u64 = 1 << 20;

/// Octets of a segment at most. Of a small bound it is an eighth, so that dropping the oldest drops little.
const LARGEST_SEGMENT: u64 = 8 << 20;

/// Messages that may have arrived and come again after a `kill -9` are fewer than this.
pub const UNSAVED_BELOW: u64 = 256;

/// The numbers of segments are so far apart, for those that may have to go between them ([`Spool::put_back`]).
const GAP: u64 = 1 << 32;

/// A place between messages; the default is before all of them. Valid until the spool is dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    segment: u64,
    offset: u32,
}

/// A queue of messages in a folder.
pub struct Spool {
    folder: PathBuf,
    most_octets: u64,
    /// Octets of a segment at most.
    segment_octets: u64,
    losses: Losses,
    /// The oldest first.
    segments: VecDeque<Segment>,
    /// Octets of all their files.
    octets: u64,
    next_id: u64,
    tail: Tail,
    reader: Reader,
    /// Where the next message is read.
    cursor: Position,
    /// What was read and has not been retired.
    in_flight: VecDeque<(Position, Waiting)>,
    place: Place,
    /// A segment was made or removed since the folder was last synchronized.
    folder_is_dirty: bool,
    damage: Damage,
    /// The bound has cost messages since all was read.
    is_full: bool,
    _lock: Lock,
}

impl Spool {
    /// Opens the spool in `folder`, which is made where it is missing, and reads what has not arrived to see what of it is
    /// sound ([`Spool::damage`]). Its files will have `most_octets` at most, or [`SMALLEST_BOUND`]. What has to go for that
    /// is counted in `losses`, now and later.
    ///
    /// # Errors
    /// Another process has the folder, or it or what is in it cannot be used.
    pub fn open(folder: &Path, most_octets: u64, losses: Losses) -> Result<Self, SpoolError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| SpoolError::Io { path, error }
        };
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed(folder))?;
        let lock = Lock::take(folder)?;
        let (place, is_broken) = Place::load(folder).map_err(failed(&folder.join("place")))?;
        if is_broken {
            warn!("{}: the place is broken: all that lies there is sent, some perhaps again", folder.display());
        }
        let most_octets = most_octets.max(SMALLEST_BOUND);
        let mut spool = Self {
            folder: folder.to_owned(),
            most_octets,
            segment_octets: LARGEST_SEGMENT.min(most_octets / 8),
            losses,
            segments: VecDeque::new(),
            octets: 0,
            next_id: place.position.segment.saturating_add(GAP),
            tail: Tail::default(),
            reader: Reader::default(),
            cursor: place.position,
            in_flight: VecDeque::new(),
            place,
            folder_is_dirty: false,
            damage: Damage::default(),
            is_full: false,
            _lock: lock,
        };
        let ids = segment::list(folder).map_err(failed(folder))?;
        for id in &ids {
            let path = Segment::path(folder, *id);
            spool.recover(*id, ids.last() == Some(id)).map_err(failed(&path))?;
        }
        spool.make_room(0).map_err(failed(folder))?;
        Ok(spool)
    }

    /// Octets of the messages in `folder`, if it is a spool's, as far as their files tell: of one that was stopped in good order
    /// exactly what waits.
    #[must_use]
    pub fn octets_in(folder: &Path) -> u64 {
        let size = |id: &u64| fs::metadata(Segment::path(folder, *id)).map_or(0, |file| file.len());
        segment::list(folder).map_or(0, |ids| ids.iter().map(size).sum())
    }

    fn recover(&mut self, id: u64, last: bool) -> io::Result<()> {
        self.next_id = self.next_id.max(id.saturating_add(GAP));
        if id < self.place.position.segment {
            self.folder_is_dirty = true;
            return fs::remove_file(Segment::path(&self.folder, id));
        }
        if let Some(segment) = segment::recover(&self.folder, id, self.place.position, last, &mut self.damage)? {
            self.octets += segment.size;
            self.segments.push_back(segment);
        }
        Ok(())
    }

    /// Appends `message`. It is the kernel's when this returns: only the machine's own end loses it before [`Spool::sync`].
    /// The oldest segments go for it where they must; what has not been read of them is lost.
    ///
    /// # Errors
    /// The disk refuses, or message and templates are larger than an eighth of the bound. The message is lost, and nothing of
    /// it is in the spool. The caller counts it.
    pub fn append(&mut self, message: &Packed) -> io::Result<()> {
        let mut length = self.tail.format(message);
        if length > self.segment_octets && self.tail.id().is_some() {
            self.tail.close();
            length = self.tail.format(message);
        }
        if length > self.segment_octets {
            let reason = format!("a message of {length} octets with its templates; {} have room", self.segment_octets);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        self.make_room(self.tail.formatted())?;
        let octets = self.tail.formatted();
        let end = match self.tail.id() {
            Some(id) => self.tail.write().map_err(|error| self.at(id, &error))?,
            None => self.begin_segment()?,
        };
        self.octets += octets;
        if let Some(segment) = self.segments.back_mut() {
            segment.unread.add(&Waiting { messages: 1, octets: entry::data_length(message), weight: message.weight });
            (segment.size, segment.end, segment.is_dirty) = (end.into(), end, true);
        }
        Ok(())
    }

    /// Makes a segment of what is formatted. Its number is never used again, also where it cannot be made.
    fn begin_segment(&mut self) -> io::Result<u32> {
        let id = self.next_id;
        self.next_id = id.saturating_add(GAP);
        let end = self.tail.create(id, &Segment::path(&self.folder, id)).map_err(|error| self.at(id, &error))?;
        self.segments.push_back(Segment { id, size: 0, end, unread: Waiting::default(), is_dirty: true });
        self.folder_is_dirty = true;
        Ok(end)
    }

    /// Removes the oldest segments until there is room for `octets`.
    fn make_room(&mut self, octets: u64) -> io::Result<()> {
        while self.octets + octets > self.most_octets
            && let Some(oldest) = self.segments.front()
            && Some(oldest.id) != self.tail.id()
        {
            let unread = oldest.unread;
            self.remove_oldest()?;
            self.losses.add(unread.weight);
            if unread.messages > 0 && !self.is_full {
                self.is_full = true;
                let most = self.most_octets;
                warn!("{}: the spool has its {most} octets: the oldest messages are lost", self.folder.display());
            }
        }
        Ok(())
    }

    /// Reads the next message, and returns where it lies. `None` where all was read. Messages with equal templates have the same
    /// [`TemplateSet`](super::packed::TemplateSet), as long as no others come between. What turns out to be damaged
    /// is left out, up to the next segment, and counted as lost.
    ///
    /// # Errors
    /// A file cannot be opened just now, such as for too many open files. Nothing is skipped.
    pub fn read(&mut self) -> io::Result<Option<(Position, Packed)>> {
        while let Some(index) = self.seek() {
            let (id, end) = (self.segments[index].id, self.segments[index].end);
            match self.reader.open(id, &Segment::path(&self.folder, id)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.skip(index, &error);
                    continue;
                }
                outcome => outcome.map_err(|error| self.at(id, &error))?,
            }
            match self.reader.next(self.cursor.offset, end, self.tail.templates()) {
                Ok(Some(found)) => return Ok(Some(self.take(index, found))),
                Ok(None) => self.cursor.offset = end,
                Err((_, flaw)) => self.skip(index, &flaw),
            }
        }
        self.is_full = false;
        Ok(None)
    }

    /// Moves on to the segment in which there is more, if there is.
    fn seek(&mut self) -> Option<usize> {
        let mut index = self.index(self.cursor.segment);
        loop {
            let segment = self.segments.get(index)?;
            self.cursor = self.cursor.max(segment.start());
            if self.cursor.offset < segment.end {
                return Some(index);
            }
            index += 1;
            self.cursor = self.segments.get(index)?.start();
        }
    }

    /// Of the segment number `id`, or of the first one after it.
    fn index(&self, id: u64) -> usize {
        self.segments.partition_point(|segment| segment.id < id)
    }

    fn take(&mut self, index: usize, found: Found) -> (Position, Packed) {
        let (segment, waiting) = (&mut self.segments[index], Waiting::of(&found));
        let position = Position { segment: segment.id, offset: found.at };
        segment.unread.subtract(&waiting);
        self.in_flight.push_back((position, waiting));
        self.cursor.offset = found.next;
        (position, found.message)
    }

    /// Gives up what cannot be read, from the cursor to the end of the segment.
    fn skip(&mut self, index: usize, reason: &dyn std::fmt::Display) {
        let segment = &mut self.segments[index];
        let (id, lost) = (segment.id, std::mem::take(&mut segment.unread));
        self.damage.segments += 1;
        self.damage.octets += u64::from(segment.end - self.cursor.offset);
        segment.end = self.cursor.offset;
        if self.tail.id() == Some(id) {
            // What comes next would lie behind the damage.
            self.tail.close();
        }
        self.losses.add(lost.weight);
        warn!(
            "{}: from octet {} on: {reason}; {} messages with {} records are lost",
            Segment::path(&self.folder, id).display(),
            self.cursor.offset,
            lost.messages,
            lost.weight.records
        );
    }

    /// Where the next message will be read: [`Spool::retire`] with it retires all that was read.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.cursor
    }

    /// Reads again from `position` on, which must not have been retired. What of it the bound has removed meanwhile is lost.
    pub fn rewind(&mut self, position: Position) {
        let position = position.max(self.place.position);
        while let Some((at, waiting)) = self.in_flight.pop_back_if(|(at, _)| *at >= position) {
            let index = self.index(at.segment);
            match self.segments.get_mut(index).filter(|segment| segment.id == at.segment) {
                Some(segment) => segment.unread.add(&waiting),
                None => self.losses.add(waiting.weight),
            }
        }
        self.cursor = self.cursor.min(position);
    }

    /// All before `position` has arrived: it is not read again, also after a restart, and segments of which all has arrived
    /// are removed. How far that goes is written now and then: after a `kill -9`, fewer than [`UNSAVED_BELOW`] messages that
    /// were retired are read once more, and after a power failure those of the time since [`Spool::sync`], beside what was
    /// read and not retired.
    ///
    /// # Errors
    /// The disk refuses. It is tried again at the next call.
    pub fn retire(&mut self, position: Position) -> io::Result<()> {
        let position = position.min(self.cursor);
        while self.in_flight.pop_front_if(|(at, _)| *at < position).is_some() {
            self.place.unsaved += 1;
        }
        if position > self.place.position {
            self.place.position = position;
            self.place.is_dirty = true;
        }
        self.remove_retired()?;
        if self.place.unsaved >= UNSAVED_BELOW {
            self.place.save(&self.folder, false)?;
        }
        Ok(())
    }

    /// The segment that is written stays, so that catching up with who appends does not mean a new file for each message.
    fn remove_retired(&mut self) -> io::Result<()> {
        while let Some(oldest) = self.segments.front()
            && Some(oldest.id) != self.tail.id()
            && oldest.is_before(self.place.position)
        {
            self.remove_oldest()?;
        }
        Ok(())
    }

    fn remove_oldest(&mut self) -> io::Result<()> {
        let Some(oldest) = self.segments.front() else { return Ok(()) };
        self.reader.forget(oldest.id);
        match fs::remove_file(Segment::path(&self.folder, oldest.id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(self.at(oldest.id, &error)),
            _ => {}
        }
        self.octets -= oldest.size;
        self.segments.pop_front();
        self.folder_is_dirty = true;
        Ok(())
    }

    /// Has what was appended and retired survive also a power failure. The owner calls this about once a second, and at the
    /// end. Takes as long as the disk does.
    ///
    /// # Errors
    /// The disk refuses. It is tried again at the next call.
    pub fn sync(&mut self) -> io::Result<()> {
        if self.segments.back().is_some_and(|newest| newest.is_before(self.place.position)) {
            self.tail.close();
        }
        self.remove_retired()?;
        for segment in self.segments.iter_mut().filter(|segment| segment.is_dirty) {
            segment.sync(&self.folder)?;
        }
        if self.place.is_dirty {
            self.place.save(&self.folder, true)?;
            self.folder_is_dirty = false;
        }
        if self.folder_is_dirty {
            File::open(&self.folder)?.sync_all()?;
            self.folder_is_dirty = false;
        }
        Ok(())
    }

    /// What has not been read.
    #[must_use]
    pub fn waiting(&self) -> Waiting {
        let mut sum = Waiting::default();
        self.segments.iter().for_each(|segment| sum.add(&segment.unread));
        sum
    }

    /// Whether all was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        // Where there is anything, it is most likely in the newest.
        self.segments.iter().rev().all(|segment| segment.unread.messages == 0)
    }

    /// What could not be read so far.
    #[must_use]
    pub const fn damage(&self) -> Damage {
        self.damage
    }

    /// The error with the file that it is about.
    fn at(&self, id: u64, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("{}: {error}", Segment::path(&self.folder, id).display()))
    }
}

#[cfg(test)]
mod tests;
