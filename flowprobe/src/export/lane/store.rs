//! What is kept for a collector that is away: on disk, or a little of it in memory.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tracing::warn;

use crate::export::packed::Packed;
use crate::export::spool::{Position, Spool, SpoolError};
use crate::losses::Losses;

/// Octets of messages that are kept in memory at most.
pub const MOST_IN_MEMORY: usize = 8 << 20;

/// The same of a source that can wait: it does, so that there is never more than what may be on its way, which is more than the
/// above: the window of a connection, the kernel's buffer and a queue.
pub(super) const MOST_OF_A_REPLAY: usize = 32 << 20;

/// Where a message lies that was read and may have to be read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// On disk.
    Disk(Position),
    /// In memory.
    Memory(u64),
}

/// Messages that wait, oldest first.
pub enum Store {
    /// On disk.
    Disk(Box<Spool>),
    /// In memory.
    Memory(Memory),
}

/// A spool in a folder that another lane has, which is about to end: a collector whose options have changed.
#[derive(Debug)]
pub struct Awaited {
    /// The folder.
    pub folder: PathBuf,
    /// Octets on disk at most.
    pub most_octets: u64,
}

/// How long a lane may take to end.
const UNTIL_FREE: Duration = Duration::from_secs(10);

impl Awaited {
    /// Waits until the folder is free. Where it cannot be had, says so.
    pub(super) async fn open(self, name: &str, losses: &Losses) -> Option<Store> {
        let Self { folder, most_octets } = self;
        let end = Instant::now() + UNTIL_FREE;
        loop {
            let opened = tokio::task::block_in_place(|| Spool::open(&folder, most_octets, losses.clone()));
            match opened {
                Ok(spool) => return Some(Store::Disk(Box::new(spool))),
                Err(SpoolError::InUse { .. }) if Instant::now() < end => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => {
                    warn!("{name}: {error}; only the latest messages are kept, in memory");
                    return None;
                }
            }
        }
    }
}

impl Store {
    /// One in memory, of so many octets. What has to go is counted in `losses`.
    pub(super) fn in_memory(most: usize, losses: Losses) -> Self {
        Self::Memory(Memory { most, ..Memory::new(losses) })
    }

    /// Adds a message at the end. What has to go for it is counted as lost.
    ///
    /// # Errors
    /// The disk refuses; the message is not kept.
    pub(super) fn append(&mut self, message: &Packed) -> io::Result<()> {
        match self {
            Self::Disk(spool) => spool.append(message),
            Self::Memory(memory) => {
                memory.append(message.clone());
                Ok(())
            }
        }
    }

    /// Adds messages before all that wait, in their order.
    ///
    /// # Errors
    /// The disk refuses; the messages are not kept.
    pub(super) fn put_back(&mut self, messages: Vec<Packed>) -> io::Result<()> {
        match self {
            Self::Disk(spool) => spool.put_back(&messages),
            Self::Memory(memory) => {
                memory.put_back(messages);
                Ok(())
            }
        }
    }

    /// The next message.
    ///
    /// # Errors
    /// The disk refuses.
    pub(super) fn read(&mut self) -> io::Result<Option<(Place, Packed)>> {
        match self {
            Self::Disk(spool) => Ok(spool.read()?.map(|(position, message)| (Place::Disk(position), message))),
            Self::Memory(memory) => Ok(memory.read().map(|(number, message)| (Place::Memory(number), message))),
        }
    }

    /// Reads again from `place` on.
    pub(super) fn rewind(&mut self, place: Place) {
        match (self, place) {
            (Self::Disk(spool), Place::Disk(position)) => spool.rewind(position),
            (Self::Memory(memory), Place::Memory(number)) => memory.rewind(number),
            _ => {}
        }
    }

    /// What lies before `place` has arrived.
    ///
    /// # Errors
    /// The disk refuses. It is tried again at the next call.
    pub(super) fn retire(&mut self, place: Place) -> io::Result<()> {
        match (self, place) {
            (Self::Disk(spool), Place::Disk(position)) => spool.retire(position),
            (Self::Memory(memory), Place::Memory(number)) => {
                memory.retire(number);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// All that was read has arrived.
    ///
    /// # Errors
    /// As [`Store::retire`].
    pub(super) fn retire_read(&mut self) -> io::Result<()> {
        match self {
            Self::Disk(spool) => spool.retire(spool.position()),
            Self::Memory(memory) => {
                memory.retire(memory.next);
                Ok(())
            }
        }
    }

    /// Whether nothing waits to be read.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Disk(spool) => spool.is_empty(),
            Self::Memory(memory) => memory.next == memory.first + memory.messages.len() as u64,
        }
    }

    /// What waits: flow records and octets.
    pub(super) fn waiting(&self) -> (u64, u64) {
        match self {
            Self::Disk(spool) => {
                let waiting = spool.waiting();
                (waiting.weight.records, waiting.octets)
            }
            Self::Memory(memory) => memory.waiting(),
        }
    }

    /// Has what is kept survive a power failure too, where it is on disk.
    ///
    /// # Errors
    /// The disk refuses. It is tried again at the next call.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        match self {
            Self::Disk(spool) => spool.sync(),
            Self::Memory(_) => Ok(()),
        }
    }
}

/// Messages in memory: [`MOST_IN_MEMORY`] octets at most unless it is said otherwise, of which the oldest go.
#[derive(Debug)]
pub struct Memory {
    /// Those that were read and those that wait.
    messages: VecDeque<Packed>,
    /// Number of the first of them.
    first: u64,
    /// Number of the first that was not read.
    next: u64,
    octets: usize,
    most: usize,
    losses: Losses,
}

/// Of the first message; so many may be put back before it.
const MIDDLE: u64 = 1 << 62;

impl Memory {
    /// Nothing. What has to go is counted in `losses`.
    pub(super) fn new(losses: Losses) -> Self {
        Self { messages: VecDeque::new(), first: MIDDLE, next: MIDDLE, octets: 0, most: MOST_IN_MEMORY, losses }
    }

    fn append(&mut self, message: Packed) {
        self.octets += message.octets.len();
        self.messages.push_back(message);
        self.drop_oldest();
    }

    /// Only where nothing is read that did not arrive.
    fn put_back(&mut self, messages: Vec<Packed>) {
        self.retire(self.next);
        for message in messages.into_iter().rev() {
            self.octets += message.octets.len();
            self.messages.push_front(message);
            self.first -= 1;
        }
        self.next = self.first;
        self.drop_oldest();
    }

    fn drop_oldest(&mut self) {
        while self.octets > self.most
            && let Some(oldest) = self.messages.pop_front()
        {
            self.octets -= oldest.octets.len();
            if self.first >= self.next {
                self.losses.add(oldest.weight);
                self.next += 1;
            }
            self.first += 1;
        }
    }

    fn read(&mut self) -> Option<(u64, Packed)> {
        let index = usize::try_from(self.next - self.first).ok()?;
        let message = self.messages.get(index)?.clone();
        self.next += 1;
        Some((self.next - 1, message))
    }

    fn rewind(&mut self, number: u64) {
        self.next = number.clamp(self.first, self.next);
    }

    fn retire(&mut self, number: u64) {
        while self.first < number.min(self.next)
            && let Some(arrived) = self.messages.pop_front()
        {
            self.octets -= arrived.octets.len();
            self.first += 1;
        }
    }

    fn waiting(&self) -> (u64, u64) {
        let read = usize::try_from(self.next - self.first).unwrap_or(0);
        let waiting = self.messages.iter().skip(read);
        waiting.fold((0, 0), |(records, octets), message| {
            (records + message.weight.records, octets + message.octets.len() as u64)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::losses::Lost;

    fn message(number: u8, octets: usize) -> Packed {
        let weight = Lost { records: 1, packets: 2, octets: 3 };
        Packed {
            octets: vec![number; octets],
            records: 1,
            weight,
            templates: Arc::default(),
            source: Default::default(),
        }
    }

    fn numbers(store: &mut Store) -> Vec<u8> {
        std::iter::from_fn(|| store.read().expect("memory refuses nothing"))
            .map(|(_, message)| message.octets[0])
            .collect()
    }

    fn store(losses: &Losses) -> Store {
        Store::Memory(Memory::new(losses.clone()))
    }

    #[test]
    fn what_was_read_is_read_again_until_it_has_arrived() {
        let mut store = store(&Losses::default());
        for number in 0..4 {
            store.append(&message(number, 10)).expect("memory refuses nothing");
        }
        assert_eq!(store.waiting(), (4, 40));
        let places: Vec<Place> = (0..3).map(|_| store.read().expect("memory").expect("a message").0).collect();
        store.retire(places[1]).expect("memory refuses nothing");
        store.rewind(places[0]);
        assert_eq!(numbers(&mut store), [1, 2, 3]);
        assert!(store.is_empty());
        store.retire_read().expect("memory refuses nothing");
        store.rewind(places[2]);
        assert_eq!(numbers(&mut store), [0; 0]);
    }

    #[test]
    fn what_comes_back_goes_first() {
        let mut store = store(&Losses::default());
        store.append(&message(3, 10)).expect("memory refuses nothing");
        store.put_back(vec![message(1, 10), message(2, 10)]).expect("memory refuses nothing");
        assert_eq!(numbers(&mut store), [1, 2, 3]);
    }

    #[test]
    fn the_oldest_go_and_are_counted() {
        let losses = Losses::default();
        let mut store = store(&losses);
        for number in 0..4 {
            store.append(&message(number, MOST_IN_MEMORY / 2)).expect("memory refuses nothing");
        }
        assert_eq!(losses.total(), Lost { records: 2, packets: 4, octets: 6 });
        assert_eq!(numbers(&mut store), [2, 3]);
        // What was read already is not lost with it.
        store.append(&message(4, MOST_IN_MEMORY / 2)).expect("memory refuses nothing");
        assert_eq!((losses.total().records, numbers(&mut store)), (2, vec![4]));
    }
}
