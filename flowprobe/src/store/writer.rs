//! The thread that takes records and writes them out every few seconds, and the one that keeps the store in order meanwhile.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as std_mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::{error, info};

use super::flows::Flows;
use super::layout::Hour;
#[cfg(feature = "object-store")]
use super::remote;
use super::{Retention, Shelf, Store, maintain};
use crate::clock::{WallOffset, monotonic_ns};
use crate::collect::Said;
use crate::enrich::{Enricher, Surroundings};
use crate::losses::{Losses, Lost};
use crate::record::FlowRecord;
use crate::sink::{Event, RecordBatch};

/// How long records wait for others at most: what a kill can cost.
const WRITE_EVERY: Duration = Duration::from_secs(5);

/// Records that are written though less time has passed.
const MANY: usize = 1 << 16;

/// Records that wait at most while they cannot be written. Beyond it the earliest are lost, and counted.
pub(super) const MOST_WAITING: usize = 1 << 18;

/// How often a failing store says so.
const REMIND_NS: u64 = 60_000_000_000;

/// How often the store is put in order.
const MAINTAIN_NS: u64 = 30_000_000_000;

/// Takes records and puts them on the shelf, and what has gathered there into files.
pub struct Writer {
    shelf: Arc<Shelf>,
    losses: Losses,
    known: Surroundings,
    now_ms: i64,
    now_ns: u64,
    /// When writing was tried for the last time.
    written_ns: u64,
    /// When a failure was said for the last time; 0 while all is well.
    said_ns: u64,
}

impl Writer {
    /// Counts in `losses` what cannot be kept, and adds to records what `enricher` knows.
    #[must_use]
    pub fn new(shelf: Arc<Shelf>, losses: Losses, enricher: Option<Enricher>) -> Self {
        let (now_ns, offset) = (monotonic_ns(), WallOffset::measure());
        let now_ms = wall_ms(offset, now_ns);
        let known = Surroundings::new(enricher);
        Self { shelf, losses, known, now_ms, now_ns, written_ns: now_ns, said_ns: 0 }
    }

    /// Takes records.
    pub fn take(&mut self, batch: &RecordBatch) {
        let Self { shelf, known, now_ms, .. } = self;
        known.refresh();
        let waiting = shelf.add(|waiting| {
            for (record, reverse, said) in batch.conversations() {
                push(waiting, record, said, *now_ms, known);
                if let Some(reverse) = reverse.filter(|reverse| reverse.packets > 0) {
                    push(waiting, reverse, said, *now_ms, known);
                }
            }
        });
        // While it fails, once in a while is enough.
        if waiting >= MANY && (self.said_ns == 0 || self.is_due()) {
            self.write_out();
        }
        if waiting > MOST_WAITING {
            self.shed();
        }
    }

    /// Time has passed: it is so late on the monotonic clock, and `now_ms` on the wall.
    pub fn tick(&mut self, now_ns: u64, now_ms: i64) {
        (self.now_ns, self.now_ms) = (now_ns, now_ms);
        self.known.forget();
        if self.is_due() {
            self.write_out();
        }
    }

    fn is_due(&self) -> bool {
        Duration::from_nanos(self.now_ns.saturating_sub(self.written_ns)) >= WRITE_EVERY
    }

    /// Writes what waits. Where that fails it goes on waiting, and the problem is named.
    pub fn write_out(&mut self) {
        self.written_ns = self.now_ns;
        match self.shelf.write_out() {
            Ok(()) => {
                if self.said_ns != 0 {
                    info!("history is written again");
                    self.said_ns = 0;
                }
                self.shelf.note(|condition| condition.problem = None);
            }
            Err(fault) => {
                self.shelf.note(|condition| {
                    condition.problem = Some(fault.to_string());
                    condition.problems += 1;
                });
                if self.said_ns == 0 || self.now_ns.saturating_sub(self.said_ns) >= REMIND_NS {
                    error!("history cannot be written, and waits: {fault}");
                    self.said_ns = self.now_ns.max(1);
                }
            }
        }
    }

    fn shed(&self) {
        for flows in self.shelf.shed(MOST_WAITING / 2) {
            let sum = |values: &[i64]| {
                values.iter().fold(0_u64, |sum, value| sum.saturating_add(u64::try_from(*value).unwrap_or(0)))
            };
            self.losses.add(Lost {
                records: flows.len() as u64,
                packets: sum(&flows.packets),
                octets: sum(&flows.octets),
            });
        }
    }
}

fn push(
    waiting: &mut BTreeMap<Hour, Flows>,
    record: &FlowRecord,
    said: Option<Said<'_>>,
    now_ms: i64,
    known: &mut Surroundings,
) {
    let end_ms = super::flows::end_ms(record, now_ms);
    waiting.entry(Hour::of(end_ms)).or_default().push(record, said, now_ms, known);
}

fn wall_ms(offset: WallOffset, now_ns: u64) -> i64 {
    i64::try_from(offset.to_wall_ms(now_ns)).unwrap_or(i64::MAX)
}

/// The threads of a store.
pub struct Running {
    writer: JoinHandle<()>,
}

/// Keeps what comes out of `queue` until it ends, with what `enricher` knows of it; then the rest is written, and what is under way
/// comes to its end. Counts in `losses` what cannot be kept.
///
/// # Errors
/// A thread cannot be started.
pub fn start(
    store: Store,
    retention: Retention,
    mut queue: mpsc::Receiver<Event>,
    losses: Losses,
    enricher: Option<Enricher>,
) -> io::Result<Running> {
    let shelf = Arc::clone(store.shelf());
    let stop = Arc::new(AtomicBool::new(false));
    #[cfg(feature = "object-store")]
    let remote = store.remote.clone().map(|remote| remote::start(Arc::clone(&shelf), remote)).transpose()?;
    let (ticks, due) = std_mpsc::sync_channel(1);
    let keeper = {
        let (shelf, stop) = (Arc::clone(&shelf), Arc::clone(&stop));
        thread::Builder::new().name("history upkeep".into()).spawn(move || {
            let mut said = Vec::new();
            for now_ms in due {
                said = upkeep(&shelf, retention, now_ms, &stop, &said);
            }
        })?
    };
    let writer = thread::Builder::new().name("history".into()).spawn(move || {
        let mut writer = Writer::new(shelf, losses, enricher);
        let mut maintained_ns = 0;
        while let Some(event) = queue.blocking_recv() {
            match event {
                Event::Records(batch) => writer.take(&batch),
                Event::Tick(tick) => {
                    let now_ms = wall_ms(tick.offset, tick.now_ns);
                    writer.tick(tick.now_ns, now_ms);
                    // Where it is still busy with the last, there is another time.
                    if tick.now_ns.saturating_sub(maintained_ns) >= MAINTAIN_NS && ticks.try_send(now_ms).is_ok() {
                        maintained_ns = tick.now_ns;
                    }
                }
                Event::Deltas(_) | Event::ReceivedDeltas(_) | Event::Datagrams(_) => {}
            }
        }
        writer.write_out();
        stop.store(true, Ordering::Relaxed);
        drop(ticks);
        #[cfg(feature = "object-store")]
        remote.into_iter().for_each(remote::Running::stop);
        let _ = keeper.join();
        // Only now may another daemon write there.
        drop(store);
    })?;
    Ok(Running { writer })
}

impl Running {
    /// Waits until the queue has ended and all is written.
    pub fn ended(self) {
        let _ = self.writer.join();
    }
}

/// Puts the store in order, and says what is wrong: what was said the last time is not said again. Returns what is wrong.
fn upkeep(shelf: &Shelf, retention: Retention, now_ms: i64, stop: &AtomicBool, said: &[String]) -> Vec<String> {
    let faults: Vec<String> = maintain(shelf, retention, now_ms, stop).iter().map(ToString::to_string).collect();
    for fault in faults.iter().filter(|fault| !said.contains(fault)) {
        error!("history: {fault}");
        shelf.note(|condition| condition.problems += 1);
    }
    faults
}
