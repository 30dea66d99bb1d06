//! The thread between the drain and the sinks: keeps the table, does the accounting, hands out events.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use flowprobe_ebpf::{Counter, OverflowKey};
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::clock::WallOffset;
use crate::collect::{ReceivedRecords, Watch};
use crate::drain::{DrainReport, Drained, KnownFlows};
use crate::enrich::Enricher;
use crate::export::elements::Schema;
use crate::ledger::{self, Ledger};
use crate::losses::Noted;
use crate::record::{EndReason, FlowDelta, FlowRecord, Role};
use crate::sink::{Drains, Event, Patience, RECORDS_PER_EVENT, RecordBatch, Sink, Tick};
use crate::summary::protocol_name;
use crate::table::{Table, TableConfig};

/// How long full queues may keep the shutdown waiting, all together.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(3);

/// Time between two warnings of overflow.
const OVERFLOW_WARNINGS_NS: u64 = 10_000_000_000;

/// Records that are handed out at once. Several events, so that they are full where records of single packets go apart.
const PORTION: usize = 4 * RECORDS_PER_EVENT;

/// What a reload changes here.
#[derive(Debug)]
pub struct Change {
    /// When records leave. The number of flows stays what it was.
    pub table: TableConfig,
    /// What records consist of.
    pub schema: Arc<Schema>,
    /// Remarks on which packets are metered.
    pub selection: Arc<str>,
    /// Names of sinks that get no more.
    pub removed: Vec<Arc<str>>,
    /// Sinks that are new.
    pub added: Vec<Sink>,
    /// What has changed, in the words of the configuration; said when it has.
    pub what: String,
}

/// The table and those who wait for its records.
pub struct Metering {
    table: Table,
    schema: Arc<Schema>,
    patience: Patience,
    sinks: Vec<Sink>,
    ledger: Ledger,
    /// Where the kernel programs are told which flows are known.
    known: Option<KnownFlows>,
    /// Remarks on which packets are metered.
    selection: Arc<str>,
    /// Where the state after each drain is to be seen.
    latest: Option<watch::Sender<Option<Arc<Tick>>>>,
    /// The listeners, where there are any.
    listeners: Watch,
    /// What is known of addresses.
    enricher: Option<Enricher>,
    records: Vec<FlowRecord>,
    /// Those of single packets, while records are handed out.
    scraps: Vec<FlowRecord>,
    ignored: Noted<Counter>,
    /// Records of others.
    received: u64,
    drains: Drains,
    /// Packets in overflow at the last warning, and when that was.
    overflow_warned: (u64, u64),
    losses_told: u64,
}

impl Metering {
    /// A metering stage with an empty table. Its records are those of `schema`; `patience` is what the source has with full
    /// queues.
    #[must_use]
    pub fn new(config: TableConfig, schema: Arc<Schema>, sinks: Vec<Sink>, patience: Patience) -> Self {
        Self {
            table: Table::new(config),
            schema,
            patience,
            sinks,
            ledger: Ledger::default(),
            known: None,
            selection: Arc::from(""),
            latest: None,
            listeners: Watch::default(),
            enricher: None,
            records: Vec::new(),
            scraps: Vec::new(),
            ignored: Noted::default(),
            drains: Drains::default(),
            overflow_warned: (0, 0),
            losses_told: 0,
            received: 0,
        }
    }

    /// Tells the kernel programs which flows are known, so that they keep their room in a flood.
    #[must_use]
    pub fn with_known_flows(self, known: KnownFlows) -> Self {
        Self { known: Some(known), ..self }
    }

    /// Says these remarks on which packets are metered in every tick.
    #[must_use]
    pub fn selecting(self, selection: Arc<str>) -> Self {
        Self { selection, ..self }
    }

    /// Shows the state after each drain in `latest`, too.
    #[must_use]
    pub fn watched(self, latest: watch::Sender<Option<Arc<Tick>>>) -> Self {
        Self { latest: Some(latest), ..self }
    }

    /// Says in every tick how these listeners and those whom they hear fare.
    #[must_use]
    pub fn with_listeners(self, listeners: Watch) -> Self {
        Self { listeners, ..self }
    }

    /// Gives records the numbers of their autonomous systems.
    #[must_use]
    pub fn enriching(self, enricher: Option<Enricher>) -> Self {
        Self { enricher, ..self }
    }

    /// Changes what records consist of, from the next one on that leaves the table.
    pub fn set_schema(&mut self, schema: Arc<Schema>) {
        self.hand_out_records();
        self.schema = schema;
    }

    /// Takes in what is drained until the drain ends, then lets every open flow leave.
    pub fn run(mut self, drained: &Receiver<Drained>) {
        // What the last drain says also holds for what follows it.
        let (mut offset, mut now_ns, mut drain) = (WallOffset::measure(), 0, Duration::ZERO);
        for message in drained {
            match message {
                Drained::Routes(routes) => self.table.learn_routes(&routes),
                Drained::Flows { deltas, crowded } => {
                    self.merge(&deltas, crowded, offset);
                    // Most outputs want none, and they are copied.
                    if self.sinks.iter().any(Sink::wants_deltas) {
                        self.offer(&Event::Deltas(deltas.into()));
                    }
                    self.hand_out_records();
                }
                Drained::Received(received) => self.hand_on(received),
                Drained::Datagrams(datagrams) => self.offer(&Event::Datagrams(datagrams.into())),
                Drained::End(report) => {
                    (offset, now_ns, drain) = (report.offset, report.now_ns, report.took);
                    self.complete(report);
                }
                Drained::Change(change) => self.change(*change, offset),
            }
        }
        self.table.flush(EndReason::ForcedEnd, offset, &mut self.records);
        if self.patience == Patience::None {
            // There is no more to come that could be delayed.
            self.patience = Patience::Until(Instant::now() + SHUTDOWN_PATIENCE);
        }
        self.hand_out_records();
        self.tick(now_ns, offset, drain, true);
    }

    /// Hands on what was received, in as many events as it takes. Its records are finished: whoever sent them has had them in a
    /// table of its own.
    fn hand_on(&mut self, mut received: ReceivedRecords) {
        if let Some(enricher) = &mut self.enricher {
            enricher.number(&mut received.records);
        }
        self.received += received.records.len() as u64;
        for ReceivedRecords { records, beyond } in received.pieces() {
            if self.sinks.iter().any(Sink::wants_deltas) {
                // Records of events, such as a firewall's, may have counted nothing.
                let counted = records.iter().filter(|record| record.packets > 0 || record.octets > 0);
                let deltas: Vec<FlowDelta> = counted.map(FlowRecord::to_delta).collect();
                self.offer(&Event::ReceivedDeltas(deltas.into()));
            }
            let schema = Arc::clone(&self.schema);
            let batch = RecordBatch { schema, records: records.into(), scraps: false, beyond: Arc::new(beyond) };
            self.offer(&Event::Records(batch));
        }
    }

    /// Takes deltas into the table. Of a generation in which new flows may have found no room, only flows of more than one
    /// packet are known afterwards: there would be no end to the others.
    fn merge(&mut self, deltas: &[FlowDelta], crowded: bool, offset: WallOffset) {
        let Self { table, known, records, .. } = self;
        table.merge_all(deltas, offset, records, |delta, established| {
            if let Some(known) = known
                && (established || !crowded)
            {
                known.mark(&delta.key);
            }
        });
    }

    /// Flows that are open when another choice of packets begins end: a record has one way in which its packets were chosen. So
    /// do those that are open when conversations are joined from now on, or no longer.
    fn change(&mut self, change: Change, offset: WallOffset) {
        let Change { table, schema, selection, removed, added, what } = change;
        if table.sampling != self.table.sampling() || table.biflow != self.table.biflow() {
            self.table.flush(EndReason::ForcedEnd, offset, &mut self.records);
        }
        self.set_schema(schema);
        self.selection = selection;
        self.table.reconfigure(table);
        self.sinks.retain(|sink| !removed.contains(sink.name()));
        self.sinks.extend(added);
        info!("reloaded: {what}");
    }

    fn complete(&mut self, mut report: DrainReport) {
        self.ledger.update(&mut report);
        let DrainReport { now_ns, offset, took, overflow, .. } = report;
        self.drains.count += 1;
        self.drains.took += took;
        // In portions, so that those who wait for them work meanwhile, and a burst does not have to fit into their queues.
        while self.table.expire_some(now_ns, offset, PORTION, &mut self.records) {
            self.hand_out_records();
        }
        self.hand_out_records();
        let tick = self.tick(now_ns, offset, took, false);
        self.warn_of_overflow(&tick, &overflow);
    }

    fn tick(&mut self, now_ns: u64, offset: WallOffset, drain: Duration, last: bool) -> Arc<Tick> {
        let accounting = self.ledger.sums(&mut self.table);
        for one in accounting.iter().filter(|one| !one.balances()) {
            error!("the accounting of {} does not balance: {}", one.interface, one.to_json());
        }
        self.tell_losses_of_sinks();
        let mut ignored = Counter::default();
        for one in &accounting {
            ignored += one.overflow();
            ignored += one.unparsed();
        }
        self.ignored.note(ignored, offset.to_wall_ms(now_ns));
        let tick = Arc::new(Tick {
            now_ns,
            offset,
            accounting,
            ignored: self.ignored,
            open_flows: self.table.len(),
            opened_flows: self.table.opened() + self.received,
            drain,
            drains: self.drains,
            sinks: self.sinks.iter().map(Sink::state).collect(),
            listening: self.listeners.look(),
            selection: Arc::clone(&self.selection),
            last,
        });
        if let Some(latest) = &self.latest {
            latest.send_replace(Some(Arc::clone(&tick)));
        }
        self.offer(&Event::Tick(Arc::clone(&tick)));
        tick
    }

    fn hand_out_records(&mut self) {
        let (mut records, mut scraps) = (std::mem::take(&mut self.records), std::mem::take(&mut self.scraps));
        if let Some(enricher) = &mut self.enricher {
            enricher.number(&mut records);
        }
        // Where nothing is refused they stay in their order.
        if self.patience != Patience::Forever {
            records.retain(|record| {
                let is_scrap = record.packets == 1 && record.role == Role::Single;
                if is_scrap {
                    scraps.push(*record);
                }
                !is_scrap
            });
        }
        self.hand_out(&records, false);
        self.hand_out(&scraps, true);
        for buffer in [&mut records, &mut scraps] {
            buffer.clear();
            buffer.shrink_to(PORTION);
        }
        (self.records, self.scraps) = (records, scraps);
    }

    fn hand_out(&self, records: &[FlowRecord], scraps: bool) {
        for piece in pieces(records) {
            self.offer(&Event::Records(RecordBatch::metered(&self.schema, piece, scraps)));
        }
    }

    fn offer(&self, event: &Event) {
        for sink in &self.sinks {
            sink.offer(event, self.patience);
        }
    }

    /// Says that there was overflow: at once, and in a flood every ten seconds.
    fn warn_of_overflow(&mut self, tick: &Tick, drained: &[(OverflowKey, Counter)]) {
        let overflow: u64 = tick.accounting.iter().map(|one| one.overflow().packets).sum();
        let (warned, then) = self.overflow_warned;
        if overflow == warned || (warned > 0 && tick.now_ns.saturating_sub(then) < OVERFLOW_WARNINGS_NS) {
            return;
        }
        let more = overflow - warned;
        let busiest = ledger::busiest(drained).map_or(String::new(), |busiest| {
            format!(", most of them {} to {busiest}", protocol_name(busiest.protocol))
        });
        warn!(
            "no room in the kernel's flow map: {more} packets are counted in overflow{busiest}; a larger --max-flows gives more room"
        );
        self.overflow_warned = (overflow, tick.now_ns);
    }

    /// Says what sinks have lost; again when that has doubled, since a collector may be away for long.
    fn tell_losses_of_sinks(&mut self) {
        let losses = self.sinks.iter().map(|sink| (sink.name(), sink.lost()));
        let losses: Vec<_> = losses.filter(|(_, lost)| lost.records > 0).collect();
        let total: u64 = losses.iter().map(|(_, lost)| lost.records).sum();
        if total == 0 || total < self.losses_told.saturating_mul(2) {
            return;
        }
        let by_sink: Vec<String> = losses.iter().map(|(name, lost)| format!("{name}: {}", lost.records)).collect();
        error!("records lost on the way out, in total by sink: {}", by_sink.join(", "));
        self.losses_told = total;
    }
}

/// `records` in pieces of as many as an event holds; one less where that would part the halves of a biflow.
fn pieces(records: &[FlowRecord]) -> impl Iterator<Item = &[FlowRecord]> {
    let mut rest = records;
    std::iter::from_fn(move || {
        let parts_halves = rest.get(RECORDS_PER_EVENT).is_some_and(|next| next.role == Role::Reverse);
        let (piece, others) = rest.split_at(rest.len().min(RECORDS_PER_EVENT - usize::from(parts_halves)));
        rest = others;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_event_ends_between_the_halves_of_a_biflow() {
        for singles in [0, 1, 2] {
            let half = |role| FlowRecord { role, ..FlowRecord::example() };
            let mut records = vec![half(Role::Single); singles];
            for _ in 0..RECORDS_PER_EVENT {
                records.extend([half(Role::Forward), half(Role::Reverse)]);
            }
            let pieces: Vec<_> = pieces(&records).collect();
            assert_eq!(pieces.concat(), records);
            assert_eq!(pieces.len(), if singles == 0 { 2 } else { 3 });
            for piece in pieces {
                assert!(piece.len() <= RECORDS_PER_EVENT);
                assert!(piece.first().is_some_and(|first| first.role != Role::Reverse));
                assert!(piece.last().is_some_and(|last| last.role != Role::Forward));
            }
        }
    }

    #[test]
    fn what_was_received_goes_on_in_events_that_are_not_too_large() {
        let (sink, mut receiver) = Sink::new("all", crate::sink::Wants::Records);
        let mut metering = Metering::new(TableConfig::default(), Arc::default(), vec![sink], Patience::None);
        let origin = Arc::new(crate::collect::Origin { address: [192, 0, 2, 7].into(), domain: 1 });
        let mut received = ReceivedRecords::default();
        for _ in 0..3 * RECORDS_PER_EVENT {
            received.records.push(FlowRecord::example());
            received.beyond.push(&origin, [None, None], &Arc::default(), &[0; 300]);
        }
        metering.hand_on(received);
        let mut records = 0;
        while let Ok(Event::Records(batch)) = receiver.try_recv() {
            assert!(batch.records.len() <= RECORDS_PER_EVENT && batch.beyond.weight() <= crate::sink::OCTETS_PER_EVENT);
            records += batch.conversations().filter(|(.., said)| said.is_some()).count();
        }
        assert_eq!(records, 3 * RECORDS_PER_EVENT);
    }

    /// Where queues may refuse, records of single packets travel apart from the others; a biflow's half never does.
    #[test]
    fn a_half_of_a_single_packet_stays_with_the_other() {
        let (sink, mut receiver) = Sink::new("all", crate::sink::Wants::Records);
        let schema = Arc::new(Schema::default());
        let mut metering = Metering::new(TableConfig::default(), schema, vec![sink], Patience::None);
        let record = |role, packets| FlowRecord { role, packets, ..FlowRecord::example() };
        metering.records =
            vec![record(Role::Single, 1), record(Role::Forward, 1), record(Role::Reverse, 1), record(Role::Single, 2)];
        metering.hand_out_records();
        let mut batches = Vec::new();
        while let Ok(Event::Records(batch)) = receiver.try_recv() {
            batches.push((batch.scraps, batch.records.iter().map(|record| record.role).collect::<Vec<_>>()));
        }
        assert_eq!(batches, [(false, vec![Role::Forward, Role::Reverse, Role::Single]), (true, vec![Role::Single])]);
    }
}
