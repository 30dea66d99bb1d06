//! The way of records to one collector, or to the first of several that can be reached: encode, send, keep what cannot be sent.
//!
//! A lane is a sink with a task of its own. What it has finished goes out at once where a collector can be reached and nothing
//! waits; else it is kept ([`store`]) behind what waits already, so that the order stays. Over UDP nobody says that a
//! collector is away, so that there only lanes with several collectors keep anything.

mod end;
mod link;
mod pace;
mod report;
mod send;
mod store;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::Format;
use super::elements::{Extras, Fields, Schema};
use super::encode::{Clock, Encoder, Pushed, netflow5_pieces};
use super::health::Health;
use super::outlet::{Item, Outlet};
use super::packed::Packed;
use super::share::Share;
use crate::collect::{Beyond, Said};
use crate::config::{DomainBy, Transport};
use crate::losses::{Losses, Lost, Noted};
use crate::record::FlowRecord;
use crate::sink::Event;
pub use link::Member;
use link::{Link, LinkEvent};
use pace::Pace;
pub use store::{Awaited, MOST_IN_MEMORY, Place, Store};

/// How long a lane of a source that can wait does so for a collector that has gone.
const PATIENCE: Duration = Duration::from_secs(30);

/// Messages that are taken out of the store at once.
const AT_ONCE: usize = 16;

/// Records of NetFlow v5 that one that was received becomes at most: 4 TiB. One octet of an exporter gone wrong claims more than
/// can be sent in a day.
const MOST_PIECES_OF_RECEIVED: usize = 1024;

/// What a lane is to do.
#[derive(Debug)]
pub struct Plan {
    /// Its name in the log and in the status: the collectors' URLs.
    pub name: Arc<str>,
    /// Who gets the records: the first that can be reached.
    pub members: Vec<Member>,
    /// In which format.
    pub format: Format,
    /// With which elements.
    pub fields: Fields,
    /// In which observation domains.
    pub domain: DomainBy,
    /// Of which conversations; without, of all.
    pub share: Option<Share>,
    /// Records a second that go out of the store beyond those that come in.
    pub catch_up: u32,
    /// Whether the source is live; one that is not is kept waiting instead of anything being lost.
    pub is_live: bool,
}

impl Plan {
    fn template_refresh(&self) -> Duration {
        self.members.iter().map(|member| member.collector.template_refresh).min().unwrap_or(Duration::MAX)
    }

    /// Whether messages may turn out to be too long for a path.
    fn has_datagrams(&self) -> bool {
        self.members.iter().any(|member| member.collector.transport == Transport::Udp)
    }

    /// Whether there is one collector, over UDP, of which nobody says that it is away.
    fn is_blind(&self) -> bool {
        matches!(&self.members[..], [Member { collector, .. }] if collector.transport == Transport::Udp)
    }
}

/// A lane and what it has in hand.
pub struct Lane {
    plan: Arc<Plan>,
    link: Link,
    store: Store,
    awaited: Option<Awaited>,
    pace: Pace,
    /// What the batches consist of.
    batch_schema: Arc<Schema>,
    /// What this lane makes of it.
    schema: Arc<Schema>,
    encoders: BTreeMap<u32, Encoder>,
    capacity: usize,
    clock: Clock,
    /// Messages that were handed to the connection and are not known to have arrived: where they are kept.
    on_the_way: VecDeque<Option<Place>>,
    /// How many of the connection's have arrived.
    arrived: u64,
    /// Over UDP, where there are other collectors: what left a moment ago.
    recent: VecDeque<(Instant, Packed)>,
    losses: Losses,
    health: Health,
    not_sent: Noted<Lost>,
    options_due: bool,
    options_sent: Option<Instant>,
    synced: Instant,
    looked_up: Instant,
    /// When the host of the one collector over UDP last answered that nobody listens there.
    refused: Option<Instant>,
    store_failed: bool,
    /// So many datagrams wait that it is time to send them.
    batch_is_full: bool,
    /// The collectors cannot be reached, and it was said.
    away_told: bool,
    /// What waits was said to wait: it is said when it does not any more.
    waiting_told: bool,
}

impl Lane {
    /// A lane of records of `schema`, for which `store` keeps what cannot be sent. What nobody gets is counted in `losses`.
    #[must_use]
    pub fn new(plan: Plan, schema: &Arc<Schema>, store: Option<Store>, losses: Losses) -> Self {
        let plan = Arc::new(plan);
        let now = Instant::now();
        let most_in_memory = if plan.is_live { MOST_IN_MEMORY } else { store::MOST_OF_A_REPLAY };
        let own = Schema::of(plan.format, schema.extras(), &plan.fields);
        Self {
            link: Link::new(Arc::clone(&plan)),
            store: store.unwrap_or_else(|| Store::in_memory(most_in_memory, losses.clone())),
            awaited: None,
            pace: Pace::new(plan.catch_up, now),
            batch_schema: Arc::clone(schema),
            schema: Arc::new(own),
            encoders: BTreeMap::new(),
            capacity: send::capacity(&plan),
            clock: Clock::read(),
            on_the_way: VecDeque::new(),
            arrived: 0,
            recent: VecDeque::new(),
            losses,
            health: Health::default(),
            not_sent: Noted::default(),
            options_due: true,
            options_sent: None,
            synced: now,
            looked_up: now,
            refused: None,
            store_failed: false,
            batch_is_full: false,
            away_told: false,
            waiting_told: false,
            plan,
        }
    }

    /// Makes sure that the collectors can be found, so that what is misspelt is known at the start. A lane over UDP has its socket
    /// then, one of a source that can wait its connection; the others connect when they run.
    ///
    /// # Errors
    /// A name has no address, a socket cannot be opened, a source that can wait has no collector.
    pub async fn prepare(&mut self) -> anyhow::Result<()> {
        for member in
            self.plan.members.iter().filter(|member| !matches!(member.collector.transport, Transport::File(_)))
        {
            link::resolve(&member.collector).await?;
        }
        if self.plan.is_blind() {
            let udp = link::open_udp(&self.plan, &self.plan.members[0].collector).await?;
            self.capacity = udp.capacity();
            self.use_outlet(0, Outlet::Udp(Box::new(udp))).await;
            return Ok(());
        }
        let is_file = self.plan.members.iter().any(|member| matches!(member.collector.transport, Transport::File(_)));
        if self.plan.is_live && !is_file {
            return Ok(());
        }
        let templates = self.encoder(self.plan.domain.of_options()).templates();
        self.link.try_member(0, Arc::clone(&templates));
        loop {
            match self.link.event(None).await {
                LinkEvent::Open(position, outlet) => {
                    self.use_outlet(position, *outlet).await;
                    return Ok(());
                }
                LinkEvent::Failed(failed, error) => match self.link.after(failed) {
                    Some(next) => self.link.try_member(next, Arc::clone(&templates)),
                    None => return Err(error),
                },
                LinkEvent::Ended(_) | LinkEvent::Room | LinkEvent::Due => {}
            }
        }
    }

    /// Where it counts the records that nobody gets.
    #[must_use]
    pub fn losses(&self) -> Losses {
        self.losses.clone()
    }

    /// Where it tells how its collectors fare.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> Arc<str> {
        Arc::clone(&self.plan.name)
    }

    /// Its share, where it gets not all.
    #[must_use]
    pub fn share(&self) -> Option<Share> {
        self.plan.share.clone()
    }

    /// The same with a spool that the lane before it is about to let go of, which is waited for when this one runs.
    #[must_use]
    pub fn after_another(mut self, spool: Awaited) -> Self {
        self.awaited = Some(spool);
        self
    }

    /// Sends what comes in until the queue is closed and empty. What cannot be sent is kept, or counted as lost.
    pub async fn run(mut self, mut queue: mpsc::Receiver<Event>) {
        if let Some(awaited) = self.awaited.take()
            && let Some(store) = awaited.open(&self.plan.name, &self.losses).await
        {
            self.store = store;
        }
        loop {
            let wants_more = self.wants_more();
            let room_after =
                (!self.store.is_empty() && self.link.active.is_some()).then(|| self.pace.wait(Instant::now()));
            tokio::select! {
                event = queue.recv(), if wants_more => {
                    let Some(event) = event else { break };
                    self.take(event).await;
                    // What waits in the queue may fill the message; nothing else is worth a delay.
                    if queue.is_empty() {
                        self.flush().await;
                    }
                }
                happened = self.link.event(room_after) => self.follow_link(happened).await,
            }
            self.care().await;
        }
        self.end().await;
    }

    /// Whether more is taken out of the queue. A source that can wait is made to, as long as that may help.
    fn wants_more(&self) -> bool {
        if self.plan.is_live {
            return true;
        }
        let gave_up = self.link.away_since.is_some_and(|since| since.elapsed() >= PATIENCE);
        gave_up || (self.store.is_empty() && self.link.active.is_some())
    }

    async fn take(&mut self, event: Event) {
        self.clock = Clock::read();
        match event {
            Event::Records(batch) => {
                self.follow_schema(&batch.schema);
                for (record, reverse, said) in batch.conversations() {
                    if self.plan.share.as_ref().is_none_or(|share| share.has(record)) {
                        self.push(record, reverse, said);
                    }
                    if self.batch_is_full {
                        self.flush_datagrams().await;
                    }
                }
            }
            Event::Datagrams(datagrams) => self.relay(&datagrams),
            Event::Tick(tick) => self.report(&tick).await,
            Event::Deltas(_) | Event::ReceivedDeltas(_) => {}
        }
    }

    /// Where records come to have another schema, they go into messages of their own, which need templates of their own.
    fn follow_schema(&mut self, schema: &Arc<Schema>) {
        if Arc::ptr_eq(schema, &self.batch_schema) {
            return;
        }
        self.finish_all();
        self.batch_schema = Arc::clone(schema);
        let extras: Extras = schema.extras();
        if extras != self.schema.extras() {
            self.schema = Arc::new(self.schema.followed_by(self.plan.format, extras, &self.plan.fields));
        }
        for encoder in self.encoders.values_mut() {
            encoder.set_schema(&self.schema);
        }
        self.options_due = true;
    }

    fn push(&mut self, record: &FlowRecord, reverse: Option<&FlowRecord>, said: Option<Said<'_>>) {
        let joins = if said.is_some() { self.schema.joins_received_biflows() } else { self.schema.joins_biflows() };
        if let Some(reverse) = reverse
            && !joins
        {
            // Two flows, of which each had packets, or octets where nobody counted packets.
            let is_flow = |half: &&FlowRecord| half.packets > 0 || half.octets > 0;
            for half in [record, reverse].into_iter().filter(is_flow) {
                self.push_one(half, None, said);
            }
        } else {
            self.push_one(record, reverse, said);
        }
    }

    fn push_one(&mut self, record: &FlowRecord, reverse: Option<&FlowRecord>, said: Option<Said<'_>>) {
        if self.plan.format == Format::NetFlow5 {
            let pieces = netflow5_pieces(record);
            // Its range knows how many there are.
            if said.is_some() && pieces.size_hint().0 > MOST_PIECES_OF_RECEIVED {
                return self.health.add_skipped(Lost::of_one(record, None));
            }
            for piece in pieces {
                self.encode(&piece, None, said);
            }
        } else {
            self.encode(record, reverse, said);
        }
    }

    fn encode(&mut self, record: &FlowRecord, reverse: Option<&FlowRecord>, said: Option<Said<'_>>) {
        let domain = self.domain(record, said);
        loop {
            let clock = self.clock;
            match self.encoder(domain).push_any(record, reverse, said, clock) {
                Pushed::Taken => return,
                Pushed::Unsayable => return self.health.add_skipped(Lost::of_one(record, reverse)),
                Pushed::NoRoom => self.finish(domain),
            }
        }
    }

    /// Passes datagrams of exporters on as they came.
    fn relay(&mut self, datagrams: &Beyond) {
        let domain = self.plan.domain.of_options();
        for said in (0..datagrams.len()).filter_map(|index| datagrams.get(index)) {
            if self.plan.share.as_ref().is_some_and(|share| !share.has_exporter(said.0.origin.address)) {
                continue;
            }
            let outcome = loop {
                match self.encoder(domain).push_datagram(said) {
                    Pushed::NoRoom => self.finish(domain),
                    outcome => break outcome,
                }
            };
            if outcome == Pushed::Unsayable {
                self.health.add_skipped(Lost { records: 1, ..Lost::default() });
            }
        }
    }

    /// The domain of a record. The interfaces of others are none of ours, and are no domains.
    fn domain(&self, record: &FlowRecord, said: Option<Said<'_>>) -> u32 {
        if said.is_some() { self.plan.domain.of_options() } else { self.plan.domain.of(record) }
    }

    fn encoder(&mut self, domain: u32) -> &mut Encoder {
        self.encoders.entry(domain).or_insert_with(|| {
            let mut encoder = Encoder::new(self.plan.format, Arc::clone(&self.schema), domain, self.capacity);
            if self.plan.has_datagrams() {
                encoder.keep_source();
            }
            encoder
        })
    }

    fn finish(&mut self, domain: u32) {
        let clock = self.clock;
        if let Some(message) = self.encoder(domain).finish(clock) {
            self.deliver(message);
        }
    }

    /// Finishes the messages in hand.
    fn finish_all(&mut self) {
        let domains: Vec<u32> = self.encoders.keys().copied().collect();
        for domain in domains {
            self.finish(domain);
        }
    }

    /// Sends the messages in hand.
    async fn flush(&mut self) {
        self.finish_all();
        self.flush_datagrams().await;
    }

    async fn follow_link(&mut self, happened: LinkEvent) {
        match happened {
            LinkEvent::Open(position, outlet) => self.use_outlet(position, *outlet).await,
            LinkEvent::Failed(position, error) => self.could_not_reach(position, &error),
            LinkEvent::Ended(ended) => {
                let (mut left, why) = (ended.left, ended.why.unwrap_or_default());
                if let Some((_, Outlet::Udp(udp))) = &mut self.link.active {
                    let recent = self.recent.drain(..).map(|(_, message)| message);
                    let messages = recent.chain(udp.take_unsent()).zip(self.on_the_way.drain(..));
                    left.extend(messages.map(|(message, place)| Item { message, place }));
                }
                self.lost_link(left, &why);
            }
            LinkEvent::Room => self.send_kept().await,
            LinkEvent::Due => {
                let templates = self.encoder(self.plan.domain.of_options()).templates();
                self.link.try_member(0, templates);
            }
        }
    }

    async fn use_outlet(&mut self, position: usize, outlet: Outlet) {
        // What waits for the one that was in use goes there.
        self.flush_datagrams().await;
        self.recent.clear();
        let on_the_way = self.on_the_way.len() as u64;
        let away = self.link.away_since;
        let url = self.plan.members[position].collector.to_string();
        let before = self.link.set_active(position, outlet);
        let before_was_udp = matches!(before, Some(Outlet::Udp(_)));
        self.health.set_away(false);
        if let Some(Outlet::Stream(connection)) = before {
            // Whatever has not arrived there goes to this one, before what follows.
            let ended = connection.close().await;
            self.take_back(ended.left);
        }
        if before_was_udp {
            self.let_go(on_the_way);
        }
        self.options_due = true;
        let (records, _) = self.store.waiting();
        self.waiting_told = records > 0;
        let waiting = if records > 0 { format!("; {records} records wait for it") } else { String::new() };
        match away.filter(|_| self.away_told) {
            _ if self.link.is_unsteady() => debug!("{url}: accepts again{waiting}"),
            Some(since) if self.plan.members.len() == 1 => {
                info!("{url}: reached again after {:.1} s{waiting}", since.elapsed().as_secs_f64());
            }
            _ if self.plan.members.len() > 1 => info!("{url}: in use{waiting}"),
            _ if records > 0 => info!("{url}: reached{waiting}"),
            _ => {}
        }
        self.away_told = false;
    }

    fn could_not_reach(&mut self, position: usize, error: &anyhow::Error) {
        let next = self.link.after(position);
        if self.link.active.is_none() {
            self.health.set_away(true);
            if !self.away_told {
                let url = &self.plan.members[position].collector;
                warn!("{url}: cannot be reached: {error:#}; {}", self.store.what_happens());
                self.away_told = next.is_none();
            }
        }
        if let Some(next) = next {
            let templates = self.encoder(self.plan.domain.of_options()).templates();
            self.link.try_member(next, templates);
        }
    }

    /// The collector in use has gone; `left` is what it may not have.
    fn lost_link(&mut self, left: Vec<Item>, why: &str) {
        let position = self.link.active.as_ref().map_or(0, |(position, _)| *position);
        let next = self.link.set_away();
        let url = &self.plan.members[position].collector;
        if self.link.is_unsteady() {
            debug!("{url}: {why}");
        } else {
            warn!("{url}: {why}; {}", self.store.what_happens());
        }
        self.away_told = true;
        self.health.set_away(true);
        self.take_back(left);
        if let Some(next) = next {
            let templates = self.encoder(self.plan.domain.of_options()).templates();
            self.link.try_member(next, templates);
        }
    }

    /// What has to be done now and then.
    async fn care(&mut self) {
        self.settle();
        if self.link.has_steadied() {
            info!("{}: in use, and does not close its connections any more", self.plan.name);
        }
        if self.synced.elapsed() >= Duration::from_secs(1) {
            self.synced = Instant::now();
            let outcome = tokio::task::block_in_place(|| self.store.sync());
            self.store_outcome(outcome);
            self.look_up_again().await;
        }
        let (records, octets) = self.store.waiting();
        self.health.set_waiting(records, octets);
    }
}
