//! From the sockets of the listeners to metering.

use std::io;
use std::net::IpAddr;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::listen::{Handler, Listener, Peer, Running};
use super::received::{Beyond, Origin, ReceivedRecords, Specifier, Tail, VARIABLE_LENGTH};
use super::session::{Exporters, Limits, Moment};
use super::watch::{Heard, Watch};
use crate::config::Relay;
use crate::drain::Drained;
use crate::sink::{OCTETS_PER_EVENT, RECORDS_PER_EVENT};

/// How long records wait for others at most, so that they go on many at a time. Less than any interval between drains.
const GATHERING: Duration = Duration::from_millis(50);

/// How often is looked for what has waited or idled for too long.
const EXPIRING: Duration = Duration::from_secs(1);

/// Lets listeners receive. What comes goes to `out`, which they wait for, and the state of all is to be seen in what is returned.
///
/// # Errors
/// A thread cannot be started.
pub fn start(listeners: Vec<Listener>, relay: Relay, out: &SyncSender<Drained>) -> io::Result<(Vec<Running>, Watch)> {
    let (mut running, mut heard) = (Vec::new(), Vec::new());
    for listener in listeners {
        let exporters = Arc::new(Mutex::new(Exporters::new(Limits::default())));
        heard.push(Heard { counters: listener.counters().clone(), exporters: Arc::clone(&exporters) });
        let datagrams = (relay == Relay::Datagrams).then(|| Datagrams::to(listener.address().port()));
        running.push(listener.start(Intake::new(exporters, datagrams, out.clone(), Instant::now()))?);
    }
    Ok((running, Watch::of(heard)))
}

fn now() -> Moment {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Moment { wall_us: u64::try_from(wall.as_micros()).unwrap_or(u64::MAX), monotonic: Instant::now() }
}

/// What a listener's messages become.
struct Intake {
    exporters: Arc<Mutex<Exporters>>,
    records: ReceivedRecords,
    /// The messages as they came, where these are wanted too.
    datagrams: Option<Datagrams>,
    /// When something was handed on for the last time.
    handed_on: Instant,
    /// When was looked for what is too old. Not when something was handed on: with many records that is all the time.
    expired: Instant,
    out: SyncSender<Drained>,
}

impl Handler for Intake {
    fn message(&mut self, from: Peer, octets: &[u8]) {
        self.take(from, octets, now());
    }

    fn flush(&mut self) {
        self.flush_at(now());
    }

    fn closed(&mut self, connection: u64) {
        self.exporters.lock().unwrap_or_else(PoisonError::into_inner).closed(connection);
    }
}

impl Intake {
    fn new(
        exporters: Arc<Mutex<Exporters>>,
        datagrams: Option<Datagrams>,
        out: SyncSender<Drained>,
        now: Instant,
    ) -> Self {
        Self { exporters, records: ReceivedRecords::default(), datagrams, handed_on: now, expired: now, out }
    }

    fn take(&mut self, from: Peer, octets: &[u8], now: Moment) {
        if let Some(datagrams) = &mut self.datagrams {
            datagrams.add(from, octets, now);
        }
        let Self { exporters, records, .. } = self;
        let gathered = |records: &ReceivedRecords| (records.records.len(), records.beyond.weight());
        let before = gathered(records);
        exporters.lock().unwrap_or_else(PoisonError::into_inner).take(&from, octets, now, records);
        let all = gathered(records);
        // The next message may well bring as much as this one, and with that no event shall be too large.
        let is_full = all.0 * 2 - before.0 > RECORDS_PER_EVENT || all.1 * 2 - before.1 > OCTETS_PER_EVENT;
        if is_full || self.datagrams.as_ref().is_some_and(Datagrams::are_many) {
            self.handed_on = now.monotonic;
            self.hand_on();
        }
    }

    fn flush_at(&mut self, now: Moment) {
        if now.monotonic.saturating_duration_since(self.expired) >= EXPIRING {
            self.expired = now.monotonic;
            let Self { exporters, records, .. } = self;
            exporters.lock().unwrap_or_else(PoisonError::into_inner).expire(now, records);
        }
        if now.monotonic.saturating_duration_since(self.handed_on) >= GATHERING {
            self.handed_on = now.monotonic;
            self.hand_on();
        }
    }

    /// Hands on what was gathered. Where metering has ended nobody is there to miss it.
    fn hand_on(&mut self) {
        if !self.records.records.is_empty() {
            for piece in self.records.take().pieces() {
                let _ = self.out.send(Drained::Received(piece));
            }
        }
        if let Some(datagrams) = self.datagrams.as_mut().filter(|datagrams| !datagrams.gathered.is_empty()) {
            let _ = self.out.send(Drained::Datagrams(std::mem::take(&mut datagrams.gathered)));
        }
    }
}

/// What was gathered is handed on when the listener stops, and what waits is read if it can be.
impl Drop for Intake {
    fn drop(&mut self) {
        let Self { exporters, records, .. } = self;
        exporters.lock().unwrap_or_else(PoisonError::into_inner).finish(records);
        self.hand_on();
    }
}

/// Messages as they came, as records of the same elements: when, from whom, and the payload of the IP packet. What came over a
/// connection is shown as the datagram that it could have been.
struct Datagrams {
    port: u16,
    tails: [Arc<Tail>; 2],
    gathered: Beyond,
}

impl Datagrams {
    /// Those that come to `port`.
    fn to(port: u16) -> Self {
        let element = |id, length| Specifier { enterprise: 0, id, length };
        let tail = |exporter| {
            // observationTimeMilliseconds, exporterIPv4Address or exporterIPv6Address, ipPayloadPacketSection.
            Arc::new(Tail { fields: vec![element(323, 8), exporter, element(314, VARIABLE_LENGTH)] })
        };
        let tails = [tail(element(130, 4)), tail(element(131, 16))];
        Self { port, tails, gathered: Beyond::default() }
    }

    /// Whether so many are gathered that they go on.
    fn are_many(&self) -> bool {
        self.gathered.len() >= RECORDS_PER_EVENT || self.gathered.weight() >= OCTETS_PER_EVENT
    }

    fn add(&mut self, from: Peer, message: &[u8], now: Moment) {
        /// Octets of a UDP header: ports, length, checksum.
        const UDP_HEADER: usize = 8;
        let (ip, port) = (from.address.ip(), from.address.port());
        let length = u16::try_from(message.len() + UDP_HEADER).unwrap_or(u16::MAX);
        let mut octets = Vec::with_capacity(message.len() + 48);
        octets.extend((now.wall_us / 1000).to_be_bytes());
        let tail = match ip {
            IpAddr::V4(address) => {
                octets.extend(address.octets());
                &self.tails[0]
            }
            IpAddr::V6(address) => {
                octets.extend(address.octets());
                &self.tails[1]
            }
        };
        // RFC 7011 section 7: always in the longer form.
        octets.push(u8::MAX);
        octets.extend(length.to_be_bytes());
        for half in [port, self.port, length, 0] {
            octets.extend(half.to_be_bytes());
        }
        octets.extend_from_slice(&message[..message.len().min(usize::from(u16::MAX) - UDP_HEADER)]);
        let origin = Arc::new(Origin { address: ip, domain: 0 });
        self.gathered.push(&origin, [None, None], tail, &octets);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, sync_channel};

    use super::*;
    use crate::collect::wire::build::{ipfix, netflow5, set, template};

    /// One whose time is handed in, and what it hands on.
    fn intake(now: Instant) -> (Intake, Receiver<Drained>) {
        let (out, received) = sync_channel(1000);
        (Intake::new(Arc::new(Mutex::new(Exporters::new(Limits::default()))), None, out, now), received)
    }

    fn peer(port: u16) -> Peer {
        Peer { address: ([192, 0, 2, 7], port).into(), connection: None }
    }

    /// Takes messages of records of this template, each as often; what was handed on: records of each, and octets beyond.
    fn handed_on(fields: &[(u16, u16)], records: usize, messages: u32) -> Vec<(usize, usize)> {
        let (mut intake, drained) = intake(Instant::now());
        let from = peer(1);
        intake.message(from, &ipfix(1, 0, 1, &[set(2, &template(256, fields))]));
        let length: usize = fields.iter().map(|(_, length)| usize::from(*length)).sum();
        for number in 0..messages {
            let sequence = number * u32::try_from(records).expect("few");
            intake.message(from, &ipfix(1, sequence, 1, &[set(256, &vec![7; length * records])]));
        }
        drop(intake);
        let received = |drained| match drained {
            Drained::Received(received) => (received.records.len(), received.beyond.weight()),
            other => panic!("{other:?}"),
        };
        drained.iter().map(received).collect()
    }

    #[test]
    fn large_unknown_elements_go_on_before_there_are_megabytes_of_them() {
        let all = handed_on(&[(2, 4), (32_000, 1400)], 1, 4000);
        assert_eq!(all.iter().map(|(records, _)| records).sum::<usize>(), 4000);
        assert!(all.iter().all(|(_, octets)| *octets <= OCTETS_PER_EVENT), "{all:?}");
        assert!(all.len() <= 8, "{all:?}");
    }

    #[test]
    fn a_message_of_more_records_than_an_event_may_have_goes_on_in_pieces() {
        let all = handed_on(&[(4, 1)], 65_000, 1);
        assert_eq!(all.iter().map(|(records, _)| records).sum::<usize>(), 65_000);
        assert!(all.iter().all(|(records, octets)| *records <= RECORDS_PER_EVENT && *octets <= OCTETS_PER_EVENT));
    }

    /// They would have to be copied if they were more.
    #[test]
    fn usual_messages_are_gathered_to_no_more_than_an_event_may_have() {
        let all = handed_on(&[(8, 4), (12, 4), (1, 4), (2, 4)], 30, 300);
        assert_eq!(all.iter().map(|(records, _)| *records).collect::<Vec<_>>(), [4080, 4080, 840]);
    }

    /// Records of each batch that was handed on.
    fn batches(received: &Receiver<Drained>) -> Vec<usize> {
        let records = |drained| if let Drained::Received(records) = drained { records.records.len() } else { 0 };
        received.try_iter().map(records).collect()
    }

    #[test]
    fn what_waits_for_too_long_goes_however_much_comes_meanwhile() {
        let started = Instant::now();
        let at = |ms| Moment { wall_us: 1_700_000_000_000_000, monotonic: started + Duration::from_millis(ms) };
        let (mut intake, received) = intake(started);
        intake.take(peer(1), &ipfix(1_700_000_000, 0, 1, &[set(256, &[0; 8])]), at(0));
        let mut handed_on = Vec::new();
        for ms in (29_000..=32_000).step_by(40) {
            for message in 0..140_u32 {
                let sequence = (u32::try_from(ms).expect("small") * 140 + message) * 30;
                intake.take(peer(2), &netflow5((9_000_000, 1_700_000_000), sequence, &[1; 30]), at(ms));
            }
            intake.flush_at(at(ms));
            handed_on.extend(batches(&received));
        }
        assert!(handed_on.len() > 70 && handed_on.iter().all(|records| *records >= 4000), "{handed_on:?}");
        let health = intake.exporters.lock().unwrap_or_else(PoisonError::into_inner).health();
        let waits: Vec<_> = health.iter().map(|health| (health.held_sets, health.dropped_sets)).collect();
        assert_eq!(waits, [(0, 1), (0, 0)], "{health:?}");
    }

    #[test]
    fn records_are_handed_on_after_a_while_and_at_the_end() {
        let started = Instant::now();
        let at = |ms| Moment { wall_us: 1_700_000_000_000_000, monotonic: started + Duration::from_millis(ms) };
        let (mut intake, received) = intake(started);
        let message = |sequence| netflow5((9_000_000, 1_700_000_000), sequence, &[1; 2]);
        intake.take(peer(2), &message(0), at(10));
        intake.flush_at(at(49));
        assert!(batches(&received).is_empty());
        intake.flush_at(at(50));
        assert_eq!(batches(&received), [2]);
        // Of two ports of one exporter the one has no template for what it sent.
        let told = |id| set(2, &template(id, &[(1, 4)]));
        intake.take(peer(3), &ipfix(1_700_000_000, 0, 1, &[told(256)]), at(60));
        intake.take(peer(4), &ipfix(1_700_000_000, 0, 1, &[told(257), set(256, &[0, 0, 0, 9])]), at(60));
        drop(intake);
        assert_eq!(batches(&received), [1], "what waited is read with what there is");
    }
}
