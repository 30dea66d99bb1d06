//! How a lane's finished messages leave, and what becomes of those that cannot.

use std::io;
use std::time::{Duration, Instant};

use tracing::{debug, error, info, warn};

use super::link;
use super::{AT_ONCE, Lane, Plan, Store};
use crate::config::Transport;
use crate::export::outlet::{Item, Outcome, Outlet};
use crate::export::packed::Packed;
use crate::losses::Lost;

/// Octets of a message over a connection or in a file: one record of TLS, and what readers are known to take.
const LONG_MESSAGE: usize = 16_384;

/// Octets of the headers of IPv6 and UDP.
const HEADERS: usize = 48;

/// Over UDP, where there are other collectors: what left so recently that the answer of a host without a collector is still on
/// its way.
const RECENT: Duration = Duration::from_secs(1);
/// Octets of it at most.
const MOST_RECENT: usize = 4 << 20;

/// How often the name of a collector that refuses datagrams is looked up again; and how long one that refuses none any more has
/// done so when that is said.
const LOOK_UP: Duration = Duration::from_secs(10);

/// Octets that a message may have wherever it goes.
pub(super) fn capacity(plan: &Plan) -> usize {
    let of_one = |transport: &Transport, mtu: u16| match transport {
        Transport::Udp => usize::from(mtu) - HEADERS,
        Transport::Tcp | Transport::Tls(_) | Transport::File(_) => LONG_MESSAGE,
    };
    let all = plan.members.iter().map(|member| of_one(&member.collector.transport, member.collector.mtu));
    all.min().unwrap_or(LONG_MESSAGE)
}

impl Lane {
    /// Hands a message to whoever sends it, or keeps it.
    pub(super) fn deliver(&mut self, message: Packed) {
        if !self.store.is_empty() {
            return self.keep(&message);
        }
        match &mut self.link.active {
            None => self.keep(&message),
            Some((_, Outlet::Udp(_))) => self.push_datagram(Item { message, place: None }),
            Some((_, Outlet::Stream(_))) => {
                if let Err(item) = self.hand_over(Item { message, place: None }) {
                    self.keep(&item.message);
                }
            }
            Some((_, Outlet::File(_))) => self.write(message),
        }
    }

    /// Gives a message to the connection.
    fn hand_over(&mut self, item: Item) -> Result<(), Box<Item>> {
        let Some((_, Outlet::Stream(connection))) = &self.link.active else { return Err(Box::new(item)) };
        let (place, records, octets) = (item.place, item.message.weight.records, item.message.octets.len() as u64);
        connection.offer(item)?;
        self.on_the_way.push_back(place);
        self.health.add_sent(1, records, octets);
        Ok(())
    }

    /// Has a message wait for the next datagrams.
    fn push_datagram(&mut self, item: Item) {
        let Some((_, Outlet::Udp(udp))) = &mut self.link.active else { return };
        if !self.plan.is_blind() {
            self.on_the_way.push_back(item.place);
        }
        self.batch_is_full = udp.push(item.message);
    }

    /// Keeps a message for later, behind those that wait. Options records are of the moment, and are not kept.
    fn keep(&mut self, message: &Packed) {
        if message.weight.records == 0 {
            self.options_due = true;
            return;
        }
        if self.link.active.is_some() {
            self.pace.came(message.weight.records);
        }
        let outcome = self.store.append(message);
        if outcome.is_err() {
            self.losses.add(message.weight);
        }
        self.store_outcome(outcome);
    }

    /// Says that the disk refuses, and that it takes again.
    pub(super) fn store_outcome(&mut self, outcome: io::Result<()>) {
        match outcome {
            Err(error) if !self.store_failed => {
                self.store_failed = true;
                error!("{}: messages cannot be kept: {error}; what cannot be sent is lost", self.plan.name);
            }
            Ok(()) if self.store_failed => {
                self.store_failed = false;
                info!("{}: messages can be kept again", self.plan.name);
            }
            _ => {}
        }
    }

    /// Takes messages that may not have arrived, in their order, before all that wait.
    pub(super) fn take_back(&mut self, left: Vec<Item>) {
        self.on_the_way.clear();
        self.arrived = 0;
        // Options records are of the moment.
        let left: Vec<Item> = left.into_iter().filter(|item| item.message.weight.records > 0).collect();
        // What came from the store is there still, and is read again from its first on; but not what was sent before something
        // that did not come from there, which has to come between.
        let mut before: Vec<Item> = left;
        let from_store = before.iter().rev().take_while(|item| item.place.is_some()).count();
        let from_store = before.split_off(before.len() - from_store);
        let first = from_store.first().and_then(|item| item.place);
        if before.is_empty() {
            // All that was read before it has arrived.
            let outcome = match first {
                Some(first) => self.store.retire(first),
                None => self.store.retire_read(),
            };
            self.store_outcome(outcome);
        }
        if let Some(first) = first {
            self.store.rewind(first);
        }
        if before.is_empty() {
            return;
        }
        // The last of these was sent when nothing waited.
        let messages: Vec<Packed> = before.into_iter().map(|item| item.message).collect();
        let weight = sum(&messages);
        let outcome = tokio::task::block_in_place(|| self.store.put_back(messages));
        if outcome.is_err() {
            self.losses.add(weight);
        }
        self.store_outcome(outcome);
    }

    /// Lets go of what has arrived.
    pub(super) fn settle(&mut self) {
        let Some((_, Outlet::Stream(connection))) = &self.link.active else { return };
        let arrived = connection.arrived();
        let more = arrived - self.arrived;
        self.arrived = arrived;
        self.let_go(more);
    }

    /// Lets go of the first of the messages on their way.
    pub(super) fn let_go(&mut self, count: u64) {
        let mut was_kept = false;
        for _ in 0..count {
            was_kept |= self.on_the_way.pop_front().flatten().is_some();
        }
        if was_kept {
            let outcome = match self.on_the_way.iter().find_map(|place| *place) {
                Some(place) => self.store.retire(place),
                None => self.store.retire_read(),
            };
            self.store_outcome(outcome);
        }
    }

    /// Sends some of what waits.
    pub(super) async fn send_kept(&mut self) {
        for _ in 0..AT_ONCE {
            let (place, message) = match self.store.read() {
                Ok(Some(read)) => read,
                Ok(None) => {
                    // Not where what comes at once is more than the connection takes at once.
                    if std::mem::take(&mut self.waiting_told) {
                        info!("{}: all that was kept is on its way", self.plan.name);
                    }
                    break;
                }
                Err(error) => return self.store_outcome(Err(error)),
            };
            self.pace.went(message.weight.records);
            match &mut self.link.active {
                Some((_, Outlet::Stream(_))) => {
                    if self.hand_over(Item { message, place: Some(place) }).is_err() {
                        return self.store.rewind(place);
                    }
                }
                Some((_, Outlet::Udp(_))) => {
                    self.push_datagram(Item { message, place: Some(place) });
                    if self.batch_is_full {
                        self.flush_datagrams().await;
                    }
                }
                Some((_, Outlet::File(_))) => self.write(message),
                None => return self.store.rewind(place),
            }
            if self.pace.wait(Instant::now()) > Duration::ZERO {
                break;
            }
        }
        self.flush_datagrams().await;
    }

    fn write(&mut self, message: Packed) {
        let (weight, octets) = (message.weight, message.octets.len() as u64);
        let Some((_, Outlet::File(files))) = &mut self.link.active else { return };
        match files.write(message, Instant::now(), self.clock.now_s()) {
            Ok(()) => {
                self.health.add_sent(1, weight.records, octets);
                if self.away_told {
                    self.away_told = false;
                    self.health.set_away(false);
                    info!("{}: written again", self.plan.name);
                }
            }
            Err(error) => {
                self.losses.add(weight);
                if !self.away_told {
                    self.away_told = true;
                    self.health.set_away(true);
                    warn!("{}: cannot be written: {error}; records are lost until it can", self.plan.name);
                }
            }
        }
    }

    /// Sends the datagrams that wait.
    pub(super) async fn flush_datagrams(&mut self) {
        self.batch_is_full = false;
        let Some((_, Outlet::Udp(udp))) = &mut self.link.active else { return };
        let outcome = udp.flush(Instant::now(), self.clock.now_s()).await;
        let too_long = self.follow_datagrams(outcome);
        if !too_long.is_empty() {
            self.repack(too_long).await;
        }
    }

    /// Sends templates that are due again, also where no records are.
    pub(super) async fn refresh_templates(&mut self) {
        let Some((_, Outlet::Udp(udp))) = &mut self.link.active else { return };
        let outcome = udp.refresh(Instant::now(), self.clock.now_s()).await;
        if outcome.templates.0 > 0 {
            self.options_due = true;
        }
        // Templates that are too long are due again, with the next message.
        self.follow_datagrams(outcome);
    }

    /// Counts what has become of a batch. Returns what has to be packed anew.
    fn follow_datagrams(&mut self, outcome: Outcome) -> Vec<Packed> {
        let Outcome { sent, templates, lost, error, refused, too_long, recovered } = outcome;
        if self.plan.is_blind() {
            self.follow_refusals(refused.as_ref(), templates.0 > 0 || !sent.is_empty());
        }
        // Where there are others, one that refuses is left at once.
        let error = error.or(refused.filter(|_| self.plan.members.len() > 1));
        self.health.add_sent(templates.0, 0, templates.1);
        for message in sent {
            self.health.add_sent(1, message.weight.records, message.octets.len() as u64);
            if !self.plan.is_blind() {
                self.recent.push_back((Instant::now(), message));
            } else if let Some(encoder) = self.encoders.values_mut().next() {
                encoder.recycle(message);
            }
        }
        self.forget_recent();
        if let Some(failures) = recovered {
            self.health.set_away(false);
            info!("{}: messages go out again, after {failures} that did not", self.plan.name);
        }
        match error {
            Some(error) if !self.plan.is_blind() => {
                let recent = self.recent.drain(..).map(|(_, message)| message);
                let left = recent.chain(lost).chain(too_long).zip(self.on_the_way.drain(..));
                let left = left.map(|(message, place)| Item { message, place }).collect();
                self.lost_link(left, &error.to_string());
                return Vec::new();
            }
            Some(error) => {
                let weight = sum(&lost);
                self.losses.add(weight);
                let Some((_, Outlet::Udp(udp))) = &self.link.active else { return too_long };
                if !lost.is_empty() && udp.failures() == lost.len() as u64 {
                    self.health.set_away(true);
                    warn!("{}: a message of {} records could not be sent: {error}", self.plan.name, weight.records);
                }
            }
            None => {}
        }
        too_long
    }

    /// Says that nobody listens, where the collector's host answers so, and when it does not any more. What was sent counts as
    /// sent all the same: hosts answer once a second or so, and nobody knows how much of it was refused.
    fn follow_refusals(&mut self, refused: Option<&io::Error>, has_sent: bool) {
        match (refused, self.refused) {
            (Some(error), before) => {
                self.refused = Some(Instant::now());
                if before.is_none() {
                    self.health.set_away(true);
                    warn!("{}: nobody listens there, says its host: {error}; what is sent may be lost", self.plan.name);
                }
            }
            (None, Some(at)) if has_sent && at.elapsed() >= LOOK_UP => {
                self.refused = None;
                self.health.set_away(false);
                info!("{}: its host refuses nothing any more", self.plan.name);
            }
            _ => {}
        }
    }

    fn forget_recent(&mut self) {
        let mut octets: usize = self.recent.iter().map(|(_, message)| message.octets.len()).sum();
        let mut count = 0;
        while let Some((at, message)) = self.recent.front()
            && (at.elapsed() >= RECENT || octets > MOST_RECENT)
        {
            octets -= message.octets.len();
            self.recent.pop_front();
            count += 1;
        }
        self.let_go(count);
    }

    /// Packs messages anew for a path MTU that has become smaller. Each piece is sent once: a message that is too long even so
    /// is lost.
    async fn repack(&mut self, too_long: Vec<Packed>) {
        let clock = self.clock;
        let known = self.on_the_way.len().saturating_sub(too_long.len());
        self.on_the_way.truncate(known);
        let mut records: Vec<Packed> = too_long;
        records.extend(self.encoders.values_mut().filter_map(|encoder| encoder.finish(clock)));
        let Some((_, Outlet::Udp(udp))) = &mut self.link.active else { return };
        self.capacity = udp.capacity();
        debug!("{}: the path MTU allows messages of {} octets", self.plan.name, self.capacity);
        let mut pieces = Vec::new();
        for encoder in self.encoders.values_mut() {
            encoder.set_capacity(self.capacity);
        }
        for message in records {
            if message.source.records.is_empty() {
                // Options records are not packed again; flow records that were on disk cannot be.
                self.options_due |= message.weight.records == 0;
                self.losses.add(message.weight);
            }
            for (record, reverse, said) in message.source.conversations() {
                let domain = self.domain(record, said);
                let encoder = self.encoder(domain);
                let outcome = loop {
                    match encoder.push_any(record, reverse, said, clock) {
                        super::Pushed::NoRoom => pieces.extend(encoder.finish(clock)),
                        outcome => break outcome,
                    }
                };
                if outcome == super::Pushed::Unsayable {
                    self.health.add_skipped(Lost::of_one(record, reverse));
                }
            }
        }
        pieces.extend(self.encoders.values_mut().filter_map(|encoder| encoder.finish(clock)));
        let Some((_, Outlet::Udp(udp))) = &mut self.link.active else { return };
        for piece in pieces {
            udp.push(piece);
            if !self.plan.is_blind() {
                self.on_the_way.push_back(None);
            }
        }
        let mut outcome = udp.flush(Instant::now(), clock.now_s()).await;
        let lost = std::mem::take(&mut outcome.too_long);
        let known = self.on_the_way.len().saturating_sub(lost.len());
        self.on_the_way.truncate(known);
        if !lost.is_empty() {
            self.losses.add(sum(&lost));
            warn!("{}: {} messages are too long for the path", self.plan.name, lost.len());
        }
        self.follow_datagrams(outcome);
    }

    /// Looks for another address of a collector that refuses datagrams.
    pub(super) async fn look_up_again(&mut self) {
        if !self.plan.is_blind() || self.looked_up.elapsed() < LOOK_UP {
            return;
        }
        let Some((_, Outlet::Udp(udp))) = &self.link.active else { return };
        if udp.failures() == 0 && self.refused.is_none() {
            return;
        }
        self.looked_up = Instant::now();
        let (address, collector) = (udp.address(), &self.plan.members[0].collector);
        // Where the name is not found the address stays what it was.
        if let Ok(found) = link::resolve(collector).await
            && found != address
            && let Ok(udp) = link::open_udp(&self.plan, collector).await
        {
            info!("{}: {found} is its address now", self.plan.name);
            self.flush_datagrams().await;
            self.link.set_active(0, Outlet::Udp(Box::new(udp)));
            self.refused = None;
            self.health.set_away(false);
            self.options_due = true;
        }
    }
}

fn sum(messages: &[Packed]) -> Lost {
    messages.iter().fold(Lost::default(), |mut sum, message| {
        sum += message.weight;
        sum
    })
}

impl Store {
    /// What becomes of messages while nobody takes them.
    pub(super) const fn what_happens(&self) -> &'static str {
        match self {
            Self::Disk(_) => "messages are kept on disk",
            Self::Memory(_) => "the latest messages are kept in memory",
        }
    }

    /// Nobody is going to take what waits.
    pub(super) fn give_up(&mut self) -> Lost {
        let mut lost = Lost::default();
        while let Ok(Some((_, message))) = self.read() {
            lost += message.weight;
        }
        lost
    }
}
