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
        let intake = Intake {
            exporters,
            records: ReceivedRecords::default(),
            datagrams,
            handed_on: Instant::now(),
            out: out.clone(),
        };
        running.push(listener.start(intake)?);
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
    out: SyncSender<Drained>,
}

impl Handler for Intake {
    fn message(&mut self, from: Peer, octets: &[u8]) {
        let now = now();
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
            self.hand_on();
        }
    }

    fn flush(&mut self) {
        if self.handed_on.elapsed() >= GATHERING {
            let Self { exporters, records, .. } = self;
            exporters.lock().unwrap_or_else(PoisonError::into_inner).expire(now(), records);
            self.hand_on();
        }
    }

    fn closed(&mut self, connection: u64) {
        self.exporters.lock().unwrap_or_else(PoisonError::into_inner).closed(connection);
    }
}

impl Intake {
    /// Hands on what was gathered. Where metering has ended nobody is there to miss it.
    fn hand_on(&mut self) {
        self.handed_on = Instant::now();
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
    use crate::collect::wire::build::{ipfix, set, template};

    fn intake() -> (Intake, Receiver<Drained>) {
        let (out, drained) = sync_channel(1000);
        let exporters = Arc::new(Mutex::new(Exporters::new(Limits::default())));
        let records = ReceivedRecords::default();
        (Intake { exporters, records, datagrams: None, handed_on: Instant::now(), out }, drained)
    }

    /// Takes messages of records of this template, each as often; what was handed on: records of each, and octets beyond.
    fn handed_on(fields: &[(u16, u16)], records: usize, messages: u32) -> Vec<(usize, usize)> {
        let (mut intake, drained) = intake();
        let from = Peer { address: ([192, 0, 2, 7], 1).into(), connection: None };
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
}
