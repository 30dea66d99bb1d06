//! Where finished work goes: bounded queues, so that whoever is slow loses its own and delays nobody (what a full queue
//! refuses is counted).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use flowprobe_ebpf::Counter;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::accounting::Accounting;
use crate::clock::WallOffset;
use crate::collect::{Beyond, Listening, Said};
use crate::config::Relay;
use crate::export::elements::Schema;
use crate::export::{Condition, Health, Share};
use crate::losses::{Losses, Lost, Noted};
use crate::record::{FlowDelta, FlowRecord, numbered_conversations};

/// The sink of the thread that looks for findings.
pub const FINDINGS: &str = "findings";

/// What a sink is told.
#[derive(Clone, Debug)]
pub enum Event {
    /// What a drain brought, before the table.
    Deltas(Arc<[FlowDelta]>),
    /// What records that were received have counted; the records themselves follow.
    ReceivedDeltas(Arc<[FlowDelta]>),
    /// Records that left the table.
    Records(RecordBatch),
    /// Datagrams of exporters as they came: each has nothing but a tail.
    Datagrams(Arc<Beyond>),
    /// A drain is complete; all its records went before.
    Tick(Arc<Tick>),
}

/// Records of one schema, which is another object ([`Arc::ptr_eq`]) whenever what records consist of has changed.
#[derive(Clone, Debug)]
pub struct RecordBatch {
    /// What the records consist of.
    pub schema: Arc<Schema>,
    /// The records, [`RECORDS_PER_EVENT`] at most. The two halves of a biflow are in one batch, one after the other.
    pub records: Arc<[FlowRecord]>,
    /// Whether these are records of single packets, which are refused first: a scan or a flood leaves little else, and
    /// must not push out the records of conversations.
    pub scraps: bool,
    /// Where the records were received: what each says beyond, at the same index, [`OCTETS_PER_EVENT`] at most; else nothing.
    pub beyond: Arc<Beyond>,
}

impl RecordBatch {
    /// Records of our own.
    #[must_use]
    pub fn metered(schema: &Arc<Schema>, records: &[FlowRecord], scraps: bool) -> Self {
        Self { schema: Arc::clone(schema), records: records.into(), scraps, beyond: Arc::default() }
    }

    /// Each conversation among them ([`crate::record::conversations`]), and what it says beyond where it was received.
    pub fn conversations(&self) -> impl Iterator<Item = (&FlowRecord, Option<&FlowRecord>, Option<Said<'_>>)> {
        let said = |index| self.beyond.get(index);
        numbered_conversations(&self.records).map(move |(index, record, reverse)| (record, reverse, said(index)))
    }
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
    /// What was seen and is in no flow, on all interfaces: overflow and unparsed.
    pub ignored: Noted<Counter>,
    /// Open flows.
    pub open_flows: usize,
    /// Flows that were opened since the start, and records that were received.
    pub opened_flows: u64,
    /// How long the drain took.
    pub drain: Duration,
    /// All drains so far.
    pub drains: Drains,
    /// How each sink fares.
    pub sinks: Vec<SinkState>,
    /// How the listeners and the exporters whom they hear fare.
    pub listening: Listening,
    /// Remarks on which packets are metered, as a title shows them after what is: such as ` · filtered`.
    pub selection: Arc<str>,
    /// Whether this is the last one.
    pub last: bool,
}

/// Drains since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drains {
    /// How many.
    pub count: u64,
    /// How long they took, all together.
    pub took: Duration,
}

/// Which events a sink wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// Records only.
    Records,
    /// Records and ticks.
    RecordsAndTicks,
    /// Records, and ticks for the totals in them: one that is refused is no loss, since the next one has them too.
    RecordsAndTotals,
    /// Deltas and ticks.
    DeltasAndTicks,
    /// Everything once and as it comes: deltas of what is metered, records of what was received, and ticks. One of these that is
    /// refused is no loss.
    AsItComes,
}

impl Wants {
    /// Whether it gets deltas.
    const fn is_of_deltas(self) -> bool {
        matches!(self, Self::DeltasAndTicks | Self::AsItComes)
    }

    const fn takes(self, event: &Event) -> bool {
        matches!(
            (self, event),
            (Self::Records | Self::RecordsAndTicks | Self::RecordsAndTotals, Event::Records(_))
                | (
                    Self::RecordsAndTicks | Self::RecordsAndTotals | Self::DeltasAndTicks | Self::AsItComes,
                    Event::Tick(_)
                )
                | (Self::DeltasAndTicks | Self::AsItComes, Event::Deltas(_))
                | (Self::DeltasAndTicks, Event::ReceivedDeltas(_))
                | (Self::AsItComes, Event::Records(_))
                | (Self::RecordsAndTotals, Event::Datagrams(_))
        )
    }
}

/// Events that wait in the queue of a sink that wants records. It bounds the sink's memory when it has stopped, and holds what
/// a table of half a million flows reports at once.
pub const RECORDS_QUEUE: usize = 128;

/// The same of a sink that wants deltas, of which there is no such burst.
pub const DELTAS_QUEUE: usize = 32;

/// Records of single packets are taken as long as so many more events have room.
const SCRAPS_LEAVE: usize = RECORDS_QUEUE / 4;

/// Records in one event at most.
pub const RECORDS_PER_EVENT: usize = 4096;

/// Octets of what received records say beyond, in one event at most; but one conversation is never parted.
pub const OCTETS_PER_EVENT: usize = 1 << 20;

/// How long a full queue is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Not at all: the source is live, and would be delayed.
    None,
    /// Until this moment, however many events there are.
    Until(Instant),
    /// As long as it takes: the source can wait.
    Forever,
}

/// The sending end of a sink's queue.
#[derive(Debug)]
pub struct Sink {
    name: Arc<str>,
    wants: Wants,
    queue: mpsc::Sender<Event>,
    losses: Losses,
    /// The conversations that it gets, where those are not all.
    share: Option<Share>,
    /// How the collectors behind it fare.
    health: Option<Health>,
    /// What it gets of what was received.
    relay: Relay,
    /// Whether somebody looks at what it makes of deltas, where it is not always so.
    watched: Option<Arc<AtomicBool>>,
}

/// What is known of a sink.
#[derive(Clone, Debug)]
pub struct SinkState {
    /// Its name.
    pub name: Arc<str>,
    /// What it has lost so far.
    pub lost: Lost,
    /// How full its queue is.
    pub queue: QueueState,
    /// How its collector fares, where it is one.
    pub collector: Option<Condition>,
}

/// How full a sink's queue is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueState {
    /// Events that wait in it: batches of records or deltas, and ticks.
    pub events: usize,
    /// How many may.
    pub capacity: usize,
}

impl Sink {
    /// A queue for a sink called `name`, and the end from which the sink reads.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, wants: Wants) -> (Self, mpsc::Receiver<Event>) {
        Self::sharing(name, wants, Losses::default())
    }

    /// The same for a sink that counts in `losses` what it loses itself.
    #[must_use]
    pub fn sharing(name: impl Into<Arc<str>>, wants: Wants, losses: Losses) -> (Self, mpsc::Receiver<Event>) {
        let length = if wants.is_of_deltas() { DELTAS_QUEUE } else { RECORDS_QUEUE };
        let (queue, receiver) = mpsc::channel(length);
        let name = name.into();
        let sink = Self { name, wants, queue, losses, share: None, health: None, relay: Relay::Records, watched: None };
        (sink, receiver)
    }

    /// The same sink, which gets deltas only while this is set.
    #[must_use]
    pub fn while_watched(self, watched: Arc<AtomicBool>) -> Self {
        Self { watched: Some(watched), ..self }
    }

    /// The sink of a collector that gets this share, tells `health` how it fares, and gets what was received in this form.
    #[must_use]
    pub fn of_lane(self, share: Option<Share>, health: Health, relay: Relay) -> Self {
        Self { share, health: Some(health), relay, ..self }
    }

    /// The sink's name.
    #[must_use]
    pub const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether the sink wants what drains bring.
    #[must_use]
    pub fn wants_deltas(&self) -> bool {
        let is_watched = self.watched.as_ref().is_none_or(|watched| watched.load(Ordering::Relaxed));
        self.wants.is_of_deltas() && is_watched
    }

    /// Queues `event` if the sink wants it. What a full queue refuses is counted; a sink that has ended has said why itself.
    /// Must not be called from an asynchronous task, which it could block.
    pub fn offer(&self, event: &Event, patience: Patience) {
        let is_for_it = match event {
            Event::Records(batch) if self.wants == Wants::AsItComes => !batch.beyond.is_empty(),
            Event::Records(batch) => batch.beyond.is_empty() || self.relay == Relay::Records,
            Event::Datagrams(_) => self.relay == Relay::Datagrams,
            Event::Deltas(_) | Event::ReceivedDeltas(_) => self.wants_deltas(),
            Event::Tick(_) => true,
        };
        if !is_for_it || !self.wants.takes(event) {
            return;
        }
        let refused = match patience {
            // It refuses only where the sink has ended.
            Patience::Forever => return drop(self.queue.blocking_send(event.clone())),
            Patience::None => self.offer_until(event.clone(), None),
            Patience::Until(end) => self.offer_until(event.clone(), Some(end)),
        };
        if let Some(event) = refused {
            self.losses.add(self.loss(&event));
        }
    }

    fn loss(&self, event: &Event) -> Lost {
        match event {
            Event::Tick(_) if matches!(self.wants, Wants::RecordsAndTotals | Wants::AsItComes) => Lost::default(),
            Event::Records(batch) => match &self.share {
                None => Lost::of(&batch.records),
                Some(share) => Lost::of_share(&batch.records, |record| share.has(record)),
            },
            event => Lost::of_event(event),
        }
    }

    /// Gives `event` back if there is still no room at `end`, or at once.
    fn offer_until(&self, mut event: Event, end: Option<Instant>) -> Option<Event> {
        let leave = if matches!(&event, Event::Records(batch) if batch.scraps) { SCRAPS_LEAVE } else { 0 };
        loop {
            if self.queue.capacity() >= leave || self.queue.is_closed() {
                event = match self.queue.try_send(event) {
                    Ok(()) | Err(TrySendError::Closed(_)) => return None,
                    Err(TrySendError::Full(event)) => event,
                };
            }
            if end.is_none_or(|end| Instant::now() >= end) {
                return Some(event);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// What it has lost so far.
    #[must_use]
    pub fn lost(&self) -> Lost {
        self.losses.total()
    }

    /// What is known of it.
    #[must_use]
    pub fn state(&self) -> SinkState {
        let collector = self.health.as_ref().map(Health::condition);
        let capacity = self.queue.max_capacity();
        let queue = QueueState { events: capacity - self.queue.capacity(), capacity };
        SinkState { name: Arc::clone(&self.name), lost: self.lost(), queue, collector }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(count: usize) -> Event {
        Event::Records(RecordBatch::metered(&Arc::default(), &vec![FlowRecord::example(); count], false))
    }

    fn scraps(count: usize) -> Event {
        let Event::Records(batch) = records(count) else { unreachable!("records are records") };
        Event::Records(RecordBatch { scraps: true, ..batch })
    }

    /// What so many records of [`FlowRecord::example`] are.
    fn lost(records: u64) -> Lost {
        Lost { records, packets: records * 3, octets: records * 156 }
    }

    #[test]
    fn a_full_queue_refuses_at_once_and_counts_every_record() {
        let losses = Losses::default();
        let (sink, mut receiver) = Sink::sharing("slow", Wants::Records, losses.clone());
        for _ in 0..RECORDS_QUEUE {
            sink.offer(&records(2), Patience::None);
        }
        assert_eq!(sink.lost(), Lost::default());
        assert_eq!(sink.state().queue, QueueState { events: RECORDS_QUEUE, capacity: RECORDS_QUEUE });
        sink.offer(&records(3), Patience::None);
        losses.add(lost(4));
        assert_eq!(sink.lost(), lost(7));
        assert!(receiver.try_recv().is_ok());
        assert_eq!(sink.state().queue.events, RECORDS_QUEUE - 1);
        sink.offer(&records(5), Patience::None);
        assert_eq!(sink.lost(), lost(7));
    }

    #[test]
    fn single_packets_are_refused_first() {
        let (sink, mut receiver) = Sink::new("slow", Wants::Records);
        for _ in 0..RECORDS_QUEUE - SCRAPS_LEAVE {
            sink.offer(&records(1), Patience::None);
        }
        sink.offer(&scraps(2), Patience::None);
        assert_eq!(sink.lost(), Lost::default());
        sink.offer(&scraps(3), Patience::None);
        assert_eq!(sink.lost(), lost(3));
        // What is left is for the others, all of it.
        for _ in 1..SCRAPS_LEAVE {
            sink.offer(&records(1), Patience::None);
        }
        assert_eq!(sink.lost(), lost(3));
        sink.offer(&records(4), Patience::None);
        assert_eq!(sink.lost(), lost(7));
        for _ in 0..SCRAPS_LEAVE {
            assert!(receiver.try_recv().is_ok());
        }
        sink.offer(&scraps(5), Patience::None);
        assert_eq!(sink.lost(), lost(7));
    }

    #[test]
    fn a_sink_that_has_ended_loses_nothing_more() {
        let (sink, receiver) = Sink::new("ended", Wants::Records);
        drop(receiver);
        for event in [records(1), scraps(1)] {
            sink.offer(&event, Patience::Until(Instant::now() + Duration::from_secs(3600)));
        }
        assert_eq!(sink.lost(), Lost::default());
    }

    #[test]
    fn deltas_count_as_records_and_a_tick_as_one_where_it_is_printed() {
        let value = flowprobe_ebpf::FlowValue { packets: 3, octets: 156, ..Default::default() };
        let delta = FlowDelta { key: FlowRecord::example().key, tunnel: flowprobe_ebpf::Tunnel::NONE, value };
        let tick = Tick {
            now_ns: 0,
            offset: WallOffset::measure(),
            accounting: Vec::new(),
            ignored: Noted::default(),
            open_flows: 0,
            opened_flows: 0,
            drain: Duration::ZERO,
            drains: Drains::default(),
            sinks: Vec::new(),
            listening: Listening::default(),
            selection: "".into(),
            last: false,
        };
        let tick = Event::Tick(tick.into());
        let (sink, _receiver) = Sink::new("totals", Wants::RecordsAndTotals);
        for _ in 0..=RECORDS_QUEUE {
            sink.offer(&tick, Patience::None);
        }
        assert_eq!(sink.lost(), Lost::default());
        let (sink, _receiver) = Sink::new("stuck", Wants::DeltasAndTicks);
        for _ in 0..=DELTAS_QUEUE {
            sink.offer(&tick, Patience::None);
        }
        assert_eq!(sink.lost(), Lost { records: 1, ..Lost::default() });
        sink.offer(&Event::Deltas(vec![delta; 2].into()), Patience::None);
        assert_eq!(sink.lost(), Lost { records: 3, ..lost(2) });
    }

    #[test]
    fn patience_is_for_all_events_together() {
        let (sink, _receiver) = Sink::new("stuck", Wants::Records);
        let end = Instant::now() + Duration::from_millis(20);
        for _ in 0..RECORDS_QUEUE + 1000 {
            sink.offer(&records(1), Patience::Until(end));
        }
        assert_eq!(sink.lost(), lost(1000));
    }

    #[test]
    fn a_source_that_can_wait_loses_nothing() {
        let (sink, mut receiver) = Sink::new("slow", Wants::Records);
        let reader = std::thread::spawn(move || {
            let mut count = 0;
            while receiver.blocking_recv().is_some() {
                count += 1;
            }
            count
        });
        for _ in 0..RECORDS_QUEUE * 4 {
            sink.offer(&records(1), Patience::Forever);
        }
        assert_eq!(sink.lost(), Lost::default());
        drop(sink);
        assert_eq!(reader.join().expect("a count"), RECORDS_QUEUE * 4);
    }

    #[test]
    fn a_sink_gets_only_what_it_wants() {
        let (sink, mut receiver) = Sink::new("deltas", Wants::DeltasAndTicks);
        sink.offer(&records(1), Patience::None);
        assert!(receiver.try_recv().is_err());
        sink.offer(&Event::Deltas(Vec::new().into()), Patience::None);
        assert!(receiver.try_recv().is_ok());
    }
}
