//! A barrage: some exporters whose datagrams were built beforehand and are sent again and again, each with the next number and
//! the time of day, at a rate that is asked for.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::ops::AddAssign;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};

use crate::exporting::{ExportingProcess, Field, Flow, Layout, Set};
use crate::namespace::Namespace;

/// Octets that a datagram may have.
const MOST: usize = 1400;

/// Different datagrams of each exporter.
const EACH: u32 = 16;

/// A template and what it says of sampling go out before every so many datagrams of data.
const ANNOUNCED_EVERY: u64 = 500;

/// One of so many packets is what these exporters have metered.
const SAMPLING: u16 = 100;

/// How much of a delay is made up for.
const CATCH_UP: Duration = Duration::from_millis(50);

/// Exporters and their sockets.
pub struct Barrage {
    exporters: Vec<Exporter>,
    next: usize,
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Datagrams, those with templates included.
    pub datagrams: u64,
    /// Records of flows.
    pub records: u64,
}

impl AddAssign for Sent {
    fn add_assign(&mut self, other: Self) {
        self.datagrams += other.datagrams;
        self.records += other.records;
    }
}

impl Barrage {
    /// Exporters at 127.0.1.1, 127.0.1.2 and so on: of five, two speak NetFlow v9, two IPFIX and one v5. They send to `port` of
    /// 127.0.0.1.
    ///
    /// # Errors
    /// The kernel refuses a socket.
    pub fn new(namespace: &Namespace, exporters: u8, port: u16) -> Result<Self> {
        let exporters = namespace.inside(|| (1..=exporters).map(|number| Exporter::new(number, port)).collect())?;
        Ok(Self { exporters, next: 0 })
    }

    /// Sends `rate` records a second for a time. Where the machine could not, it does not try to make up for all of it.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn send_for(&mut self, rate: u64, time: Duration) -> Result<Sent> {
        let records_in = |time: Duration| u64::try_from(time.as_micros()).map(|micros| micros * rate / 1_000_000);
        let start = Instant::now();
        let (mut sent, mut forgiven) = (Sent::default(), 0);
        while start.elapsed() < time {
            let due = records_in(start.elapsed())?;
            forgiven = forgiven.max(due.saturating_sub(sent.records + records_in(CATCH_UP)?));
            let clock = Clock::now()?;
            while sent.records + forgiven < due {
                sent += self.send_one(&clock)?;
            }
            sleep(Duration::from_micros(500));
        }
        Ok(sent)
    }

    /// Each exporter sends one datagram of data: what was lost before is then known.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn send_once(&mut self) -> Result<Sent> {
        let clock = Clock::now()?;
        let mut sent = Sent::default();
        for exporter in &mut self.exporters {
            sent += exporter.send(&clock)?;
        }
        Ok(sent)
    }

    fn send_one(&mut self, clock: &Clock) -> Result<Sent> {
        self.next = (self.next + 1) % self.exporters.len();
        self.exporters.get_mut(self.next).context("an exporter")?.send(clock)
    }
}

/// The time of day, for headers.
struct Clock {
    seconds: u32,
}

impl Clock {
    fn now() -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        Ok(Self { seconds: u32::try_from(now)? })
    }
}

/// A datagram, and how many records of flows and of anything are in it.
struct Datagram {
    octets: Vec<u8>,
    flows: u32,
    records: u32,
}

struct Exporter {
    socket: UdpSocket,
    process: ExportingProcess,
    /// Nothing in NetFlow v5.
    announcement: Option<Datagram>,
    data: Vec<Datagram>,
    /// Datagrams of data so far.
    turn: u64,
}

impl Exporter {
    fn new(number: u8, port: u16) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::new(127, 0, 1, number), 2055))?;
        socket.connect((Ipv4Addr::LOCALHOST, port))?;
        let version = match number % 5 {
            0 => 5,
            1 | 2 => 9,
            _ => 10,
        };
        let mut process = ExportingProcess::new(version, number.into());
        process.sequence = 0;
        let first = u32::from(number) << 16;
        let layout = router_layout(&process);
        let mut data = Vec::new();
        for turn in 0..EACH {
            let fitting = records_that_fit(&layout, &mut process)?;
            let flows: Vec<Flow> =
                (0..fitting).map(|flow| Flow::numbered(first + turn * fitting + flow, &process)).collect();
            let octets = data_message(&layout, &mut process, &flows);
            data.push(Datagram { octets, flows: fitting, records: fitting });
        }
        let announcement = (version != 5).then(|| Datagram {
            octets: process.message(&announcement(&layout, &process)),
            flows: 0,
            records: 1,
        });
        process.sequence = 0;
        Ok(Self { socket, process, announcement, data, turn: 0 })
    }

    /// Sends the next datagram of data, and what goes before it.
    fn send(&mut self, clock: &Clock) -> Result<Sent> {
        let mut sent = Sent::default();
        if let Some(datagram) = self.announcement.as_mut().filter(|_| self.turn.is_multiple_of(ANNOUNCED_EVERY)) {
            sent += numbered(&mut self.process, &self.socket, datagram, clock)?;
        }
        let turn = usize::try_from(self.turn)? % self.data.len();
        let datagram = self.data.get_mut(turn).context("a datagram")?;
        sent += numbered(&mut self.process, &self.socket, datagram, clock)?;
        self.turn += 1;
        Ok(sent)
    }
}

/// Sends a datagram with the next number and this time.
fn numbered(
    process: &mut ExportingProcess,
    socket: &UdpSocket,
    datagram: &mut Datagram,
    clock: &Clock,
) -> Result<Sent> {
    let ran = clock.seconds.saturating_sub(process.seconds);
    let uptime = process.uptime_ms + 1000 * ran;
    let (words, step): (&[(usize, u32)], u32) = match process.version {
        5 => (&[(4, uptime), (8, clock.seconds), (16, process.sequence)], datagram.flows),
        9 => (&[(4, uptime), (8, clock.seconds), (12, process.sequence)], 1),
        _ => (&[(4, clock.seconds), (8, process.sequence)], datagram.records),
    };
    for (place, word) in words {
        datagram.octets.get_mut(*place..place + 4).context("a header")?.copy_from_slice(&word.to_be_bytes());
    }
    process.sequence = process.sequence.wrapping_add(step);
    socket.send(&datagram.octets).context("nobody listens to the barrage")?;
    Ok(Sent { datagrams: 1, records: datagram.flows.into() })
}

/// What routers say of a flow, the peer ASes included.
fn router_layout(process: &ExportingProcess) -> Layout {
    let layout = Layout::plain(300, process);
    let more: [(u16, &[u8]); 9] = [
        (5, &[0]),
        (6, &[0x1b]),
        (10, &[0, 0, 0, 1]),
        (14, &[0, 0, 0, 2]),
        (15, &[192, 0, 2, 1]),
        (16, &[0, 0, 0xfd, 0xe8]),
        (17, &[0, 0, 0xfd, 0xe9]),
        (9, &[24]),
        (13, &[16]),
    ];
    more.into_iter().fold(layout, |layout, (element, value)| {
        let octets = u16::try_from(value.len()).unwrap_or(0);
        layout.with(Field::iana(element, octets), value)
    })
}

fn announcement(layout: &Layout, process: &ExportingProcess) -> [Set; 3] {
    // The system of NetFlow v9, the Observation Domain of IPFIX.
    let scope = Field::iana(if process.version == 9 { 1 } else { 149 }, 4);
    let fields = vec![scope, Field::iana(34, 4), Field::iana(35, 1)];
    let says = [&process.domain.to_be_bytes()[..], &u32::from(SAMPLING).to_be_bytes(), &[1]].concat();
    [layout.template(), Set::OptionsTemplate(301, 1, fields), Set::Data(301, vec![says])]
}

fn data_message(layout: &Layout, process: &mut ExportingProcess, flows: &[Flow]) -> Vec<u8> {
    if process.version == 5 {
        return process.netflow5(flows, 1 << 14 | SAMPLING);
    }
    let data = layout.data(flows, process);
    process.message(&[data])
}

/// How many records make a datagram of at most [`MOST`] octets.
fn records_that_fit(layout: &Layout, process: &mut ExportingProcess) -> Result<u32> {
    let flow = Flow::numbered(1, process);
    let mut octets_of = |flows: usize| data_message(layout, process, &vec![flow.clone(); flows]).len();
    // What is rounded up to whole words is less than a record.
    let fitting = (1..=30).take_while(|flows| octets_of(*flows) <= MOST).last();
    Ok(u32::try_from(fitting.context("a record is longer than a datagram")?)?)
}

/// A UDP socket of a namespace as the kernel shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpQueue {
    /// Octets that wait to be read.
    pub waiting: u64,
    /// Datagrams for which there was no room.
    pub drops: u64,
}

impl UdpQueue {
    /// The socket on this port of an IPv4 address.
    ///
    /// # Errors
    /// There is none.
    pub fn of(namespace: &Namespace, address: Ipv4Addr, port: u16) -> Result<Self> {
        let table = namespace.inside(|| Ok(fs::read_to_string("/proc/thread-self/net/udp")?))?;
        let local = format!("{:08X}:{port:04X}", u32::from_ne_bytes(address.octets()));
        let row = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let row = row.into_iter().find(|row| row.get(1) == Some(&local.as_str()));
        let row = row.with_context(|| format!("no socket on {local}: {table}"))?;
        let (_, waiting) = row.get(4).and_then(|queues| queues.split_once(':')).context("queues")?;
        ensure!(row.len() == 13, "the kernel's table has {} columns", row.len());
        let drops = row.get(12).context("drops")?.parse()?;
        Ok(Self { waiting: u64::from_str_radix(waiting, 16)?, drops })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_are_full_and_hold_what_they_are_counted_for() -> Result<()> {
        for (version, least) in [(5, 28), (9, 25), (10, 21)] {
            let mut process = ExportingProcess::new(version, 1);
            let layout = router_layout(&process);
            let fitting = records_that_fit(&layout, &mut process)?;
            let flows: Vec<Flow> = (0..fitting).map(|number| Flow::numbered(number, &process)).collect();
            let message = data_message(&layout, &mut process, &flows);
            ensure!(message.len() <= MOST && fitting >= least, "v{version}: {fitting} in {} octets", message.len());
        }
        Ok(())
    }
}
