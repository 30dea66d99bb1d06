//! Where finished work goes: bounded queues, so that whoever is slow loses its own and delays nobody (what a full queue
//! refuses is counted).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::accounting::Accounting;
use crate::clock::WallOffset;
use crate::record::{FlowDelta, FlowRecord};

/// What a sink is told.
#[derive(Clone, Debug)]
pub enum Event {
    /// What a drain brought, before the table.
    Deltas(Arc<[FlowDelta]>),
    /// Records that left the table.
    Records(Arc<[FlowRecord]>),
    /// A drain is complete; all its records went before.
    Tick(Arc<Tick>),
}

/// The state of the daemon after a drain.
#[derive(Clone, Debug)]
pub struct Tick {
    /// The moment, on the monotonic clock.
    pub now_ns: u64,
    /// The wall clock at that moment.
    pub offset: WallOffset,
    /// The accounting sum of every interface and direction.
    pub accounting: Vec<Accounting>,
    /// Open flows.
    pub open_flows: usize,
    /// How the drain went.
    pub drain: Duration,
    /// What each sink's queue refused since the start, by the sink's name.
    pub dropped: Vec<(Arc<str>, u64)>,
    /// Whether this is the last one.
    pub last: bool,
}

/// Which events a sink wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// Records only.
    Records,
    /// Records and ticks.
    RecordsAndTicks,
    /// Deltas and ticks.
    DeltasAndTicks,
}

impl Wants {
    const fn takes(self, event: &Event) -> bool {
        matches!(
            (self, event),
            (Self::Records | Self::RecordsAndTicks, Event::Records(_))
                | (Self::RecordsAndTicks | Self::DeltasAndTicks, Event::Tick(_))
                | (Self::DeltasAndTicks, Event::Deltas(_))
        )
    }
}

/// Events that wait in one queue. Together with [`RECORDS_PER_EVENT`] this bounds a sink's memory: about 70 MB when a sink
/// has stopped and the queue is full of records.
const QUEUE: usize = 128;

/// Records in one event at most.
pub const RECORDS_PER_EVENT: usize = 4096;

/// The sending end of a sink's queue.
#[derive(Debug)]
pub struct Sink {
    name: Arc<str>,
    wants: Wants,
    queue: mpsc::Sender<Event>,
    dropped: AtomicU64,
}

impl Sink {
    /// A queue for a sink called `name`, and the end from which the sink reads.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, wants: Wants) -> (Self, mpsc::Receiver<Event>) {
        let (queue, receiver) = mpsc::channel(QUEUE);
        (Self { name: name.into(), wants, queue, dropped: AtomicU64::new(0) }, receiver)
    }

    /// Queues `event` if the sink wants it. Without `patience` a full queue refuses at once; else it is waited for that long.
    /// What is refused is counted: records one by one, other events as one each.
    pub fn offer(&self, event: &Event, patience: Option<Duration>) {
        if !self.wants.takes(event) {
            return;
        }
        let deadline = patience.map(|patience| Instant::now() + patience);
        let mut event = event.clone();
        loop {
            event = match self.queue.try_send(event) {
                Ok(()) => return,
                Err(TrySendError::Full(event)) if deadline.is_some_and(|deadline| Instant::now() < deadline) => event,
                Err(TrySendError::Full(event) | TrySendError::Closed(event)) => {
                    let lost = match event {
                        Event::Records(records) => records.len() as u64,
                        Event::Deltas(_) | Event::Tick(_) => 1,
                    };
                    self.dropped.fetch_add(lost, Ordering::Relaxed);
                    return;
                }
            };
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The sink's name and what its queue has refused so far.
    #[must_use]
    pub fn dropped(&self) -> (Arc<str>, u64) {
        (Arc::clone(&self.name), self.dropped.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(count: usize) -> Event {
        let record = FlowRecord {
            key: flowprobe_ebpf::FlowKey::default(),
            packets: 1,
            octets: 1,
            layer2_octets: 1,
            start_ms: 0,
            end_ms: 0,
            extremes: flowprobe_ebpf::flow::Extremes::of(1, 1),
            tcp_flags: 0,
            ethertype: 0,
            tos: 0,
            source_mac: [0; 6],
            destination_mac: [0; 6],
            end_reason: crate::record::EndReason::IdleTimeout,
        };
        Event::Records(vec![record; count].into())
    }

    #[test]
    fn a_full_queue_refuses_at_once_and_counts_every_record() {
        let (sink, mut receiver) = Sink::new("slow", Wants::Records);
        for _ in 0..QUEUE {
            sink.offer(&records(2), None);
        }
        assert_eq!(sink.dropped().1, 0);
        sink.offer(&records(3), None);
        sink.offer(&records(4), Some(Duration::from_millis(5)));
        assert_eq!(sink.dropped().1, 7);
        assert!(receiver.try_recv().is_ok());
        sink.offer(&records(5), None);
        assert_eq!(sink.dropped().1, 7);
    }

    #[test]
    fn a_sink_gets_only_what_it_wants() {
        let (sink, mut receiver) = Sink::new("deltas", Wants::DeltasAndTicks);
        sink.offer(&records(1), None);
        assert!(receiver.try_recv().is_err());
        sink.offer(&Event::Deltas(Vec::new().into()), None);
        assert!(receiver.try_recv().is_ok());
    }
}
