//! The thread between the drain and the sinks: keeps the table, does the accounting, hands out events.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use flowprobe_ebpf::{Counter, Direction, InterfaceStats};
use tokio::sync::watch;
use tracing::{error, warn};

use crate::accounting::{Accounting, add_stats};
use crate::clock::WallOffset;
use crate::drain::{DrainReport, Drained, MeterStats};
use crate::export::elements::Schema;
use crate::losses::Noted;
use crate::record::{EndReason, FlowRecord};
use crate::sink::{Event, Patience, RECORDS_PER_EVENT, RecordBatch, Sink, Tick};
use crate::table::{Table, TableConfig};

/// How long full queues may keep the shutdown waiting, all together.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(3);

/// The table and those who wait for its records.
pub struct Metering {
    table: Table,
    schema: Arc<Schema>,
    patience: Patience,
    sinks: Vec<Sink>,
    /// Where the state after each drain is to be seen.
    latest: Option<watch::Sender<Option<Arc<Tick>>>>,
    /// The kernel's counters as of the last drain.
    stats: Vec<MeterStats>,
    records: Vec<FlowRecord>,
    /// Those of single packets, while records are handed out.
    scraps: Vec<FlowRecord>,
    ignored: Noted<Counter>,
    overflow_warned: u64,
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
            latest: None,
            stats: Vec::new(),
            records: Vec::new(),
            scraps: Vec::new(),
            ignored: Noted::default(),
            overflow_warned: 0,
            losses_told: 0,
        }
    }

    /// Shows the state after each drain in `latest`, too.
    #[must_use]
    pub fn watched(self, latest: watch::Sender<Option<Arc<Tick>>>) -> Self {
        Self { latest: Some(latest), ..self }
    }

    /// Changes what records consist of, from the next one on that leaves the table. A schema that follows another in the same
    /// session is made by [`Schema::followed_by`].
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
                Drained::Flows(deltas) => {
                    for delta in &deltas {
                        self.table.merge(delta, offset, &mut self.records);
                    }
                    // Most outputs want none, and they are copied.
                    if self.sinks.iter().any(Sink::wants_deltas) {
                        self.offer(&Event::Deltas(deltas.into()));
                    }
                    self.hand_out_records();
                }
                Drained::End(report) => {
                    (offset, now_ns, drain) = (report.offset, report.now_ns, report.took);
                    self.complete(report);
                }
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

    fn complete(&mut self, report: DrainReport) {
        let DrainReport { now_ns, offset, took, stats, .. } = report;
        self.stats = stats;
        self.table.expire(now_ns, offset, &mut self.records);
        self.hand_out_records();
        self.tick(now_ns, offset, took, false);
    }

    fn tick(&mut self, now_ns: u64, offset: WallOffset, drain: Duration, last: bool) {
        let accounting = self.accounting();
        self.warn_of_losses(&accounting);
        let mut ignored = Counter::default();
        for one in &accounting {
            ignored += one.overflow();
            ignored += one.unparsed();
        }
        self.ignored.note(ignored, offset.to_wall_ms(now_ns));
        let tick = Tick {
            now_ns,
            offset,
            accounting,
            ignored: self.ignored,
            open_flows: self.table.len(),
            drain,
            lost: self.sinks.iter().map(Sink::lost).collect(),
            last,
        };
        let tick = Arc::new(tick);
        if let Some(latest) = &self.latest {
            latest.send_replace(Some(Arc::clone(&tick)));
        }
        self.offer(&Event::Tick(tick));
    }

    fn hand_out_records(&mut self) {
        let (mut records, mut scraps) = (std::mem::take(&mut self.records), std::mem::take(&mut self.scraps));
        // Where nothing is refused they stay in their order.
        if self.patience != Patience::Forever {
            records.retain(|record| {
                if record.packets == 1 {
                    scraps.push(*record);
                }
                record.packets != 1
            });
        }
        self.hand_out(&records, false);
        self.hand_out(&scraps, true);
        for buffer in [&mut records, &mut scraps] {
            buffer.clear();
            buffer.shrink_to(RECORDS_PER_EVENT);
        }
        (self.records, self.scraps) = (records, scraps);
    }

    fn hand_out(&self, records: &[FlowRecord], scraps: bool) {
        for piece in records.chunks(RECORDS_PER_EVENT) {
            let batch = RecordBatch { schema: Arc::clone(&self.schema), records: piece.into(), scraps };
            self.offer(&Event::Records(batch));
        }
    }

    fn offer(&self, event: &Event) {
        for sink in &self.sinks {
            sink.offer(event, self.patience);
        }
    }

    /// The sum by interface name: an interface that went and came back under another index is still the same one.
    fn accounting(&self) -> Vec<Accounting> {
        let mut all: Vec<Accounting> = Vec::new();
        let mut positions = HashMap::new();
        for MeterStats { interface, ifindex, direction, totals } in &self.stats {
            let position = *positions.entry((&**interface, *direction)).or_insert_with(|| {
                all.push(empty(interface, *direction));
                all.len() - 1
            });
            let one = &mut all[position];
            one.ifindex = *ifindex;
            let of_table = self.table.totals(*ifindex, *direction);
            add_stats(&mut one.kernel, totals);
            one.exported += of_table.exported;
            one.held += of_table.held;
        }
        all
    }

    fn warn_of_losses(&mut self, accounting: &[Accounting]) {
        let mut overflow = 0;
        for one in accounting {
            overflow += one.overflow().packets;
            if !one.balances() {
                error!("the accounting of {} does not balance: {}", one.interface, one.to_json());
            }
        }
        if overflow > self.overflow_warned {
            let more = overflow - self.overflow_warned;
            warn!(
                "the kernel's flow map was full: {more} packets are counted in overflow; a larger --max-flows or a shorter --interval gives them room"
            );
            self.overflow_warned = overflow;
        }
        self.tell_losses_of_sinks();
    }

    /// Says what sinks have lost; again when that has doubled, since a collector may be away for long.
    fn tell_losses_of_sinks(&mut self) {
        let losses: Vec<_> = self.sinks.iter().map(Sink::lost).filter(|(_, lost)| lost.records > 0).collect();
        let total: u64 = losses.iter().map(|(_, lost)| lost.records).sum();
        if total == 0 || total < self.losses_told.saturating_mul(2) {
            return;
        }
        let by_sink: Vec<String> = losses.iter().map(|(name, lost)| format!("{name}: {}", lost.records)).collect();
        error!("records lost on the way out, in total by sink: {}", by_sink.join(", "));
        self.losses_told = total;
    }
}

fn empty(interface: &Arc<str>, direction: Direction) -> Accounting {
    Accounting {
        interface: Arc::clone(interface),
        ifindex: 0,
        direction,
        kernel: InterfaceStats::default(),
        exported: Counter::default(),
        held: Counter::default(),
    }
}
