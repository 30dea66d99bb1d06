//! What flowprobe passes on: collectors that keep messages as they came, and a plain reader of NetFlow v9 and IPFIX that gives
//! every value as its octets, whatever the element. It shares nothing with the daemon's own reader.

use std::collections::{BTreeMap, HashMap};
use std::io::{ErrorKind, Read as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use crate::exporting::VARIABLE;
use crate::namespace::Namespace;
use crate::process::patience;

/// A collector that keeps the messages that it gets.
pub struct Keeper {
    url: String,
    stop: Arc<AtomicBool>,
    reader: JoinHandle<Result<Vec<Vec<u8>>>>,
}

impl Keeper {
    /// One that listens for datagrams on the namespace's loopback.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn udp(namespace: &Namespace) -> Result<Self> {
        let socket = namespace.inside(|| Ok(UdpSocket::bind("127.0.0.1:0")?))?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let url = format!("udp://{}", socket.local_addr()?);
        Ok(Self::start(url, move |stop| datagrams(&socket, stop)))
    }

    /// One that accepts one connection on the namespace's loopback.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn tcp(namespace: &Namespace) -> Result<Self> {
        let listener = namespace.inside(|| Ok(TcpListener::bind("127.0.0.1:0")?))?;
        let address: SocketAddr = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        Ok(Self::start(format!("tcp://{address}"), move |_| connection(&listener)))
    }

    fn start(url: String, read: impl FnOnce(&AtomicBool) -> Result<Vec<Vec<u8>>> + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        Self { url, stop, reader: spawn(move || read(&stopped)) }
    }

    /// The URL that leads here.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What came. For a connection, waits for its end.
    ///
    /// # Errors
    /// Reading failed, or a connection ended within a message.
    pub fn stop(self) -> Result<Vec<Vec<u8>>> {
        self.stop.store(true, Ordering::Relaxed);
        self.reader.join().map_err(|_| anyhow!("the collector's thread panicked"))?
    }
}

fn datagrams(socket: &UdpSocket, stop: &AtomicBool) -> Result<Vec<Vec<u8>>> {
    let mut messages = Vec::new();
    let mut datagram = vec![0; 65_536];
    loop {
        // Asked before the read: after the last read nothing is left in the socket.
        let last = stop.load(Ordering::Relaxed);
        match socket.recv(&mut datagram) {
            Ok(length) => messages.push(datagram[..length].to_vec()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if last {
                    return Ok(messages);
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn connection(listener: &TcpListener) -> Result<Vec<Vec<u8>>> {
    let end = Instant::now() + patience();
    let mut stream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(error).context("nobody connects"),
        }
    };
    stream.set_nonblocking(false)?;
    let mut octets = Vec::new();
    stream.read_to_end(&mut octets)?;
    let mut messages = Vec::new();
    let mut rest = &octets[..];
    while !rest.is_empty() {
        let length = word(rest, 2)?;
        let (message, behind) =
            rest.split_at_checked(length.into()).context("the connection ended within a message")?;
        messages.push(message.to_vec());
        rest = behind;
    }
    Ok(messages)
}

/// A record: every value's octets by enterprise and element, in their order where an element is there more than once.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Observation Domain ID or Source ID.
    pub domain: u32,
    /// Whether it is an options record.
    pub options: bool,
    /// Its values.
    pub values: BTreeMap<(u32, u16), Vec<Vec<u8>>>,
}

impl Record {
    /// The octets of an element that is there once.
    ///
    /// # Errors
    /// It is absent, or there twice.
    pub fn octets(&self, enterprise: u32, element: u16) -> Result<&[u8]> {
        match self.values.get(&(enterprise, element)).map(Vec::as_slice) {
            Some([octets]) => Ok(octets),
            other => bail!("{enterprise}/{element} is {other:?} in {self:?}"),
        }
    }

    /// The same as a number.
    ///
    /// # Errors
    /// It is absent, or there twice.
    pub fn number(&self, element: u16) -> Result<u64> {
        Ok(self.octets(0, element)?.iter().fold(0, |number, octet| number << 8 | u64::from(*octet)))
    }
}

/// How many of the fields are scope, and enterprise, element and length of each.
type Fields = (usize, Vec<(u32, u16, u16)>);

/// Reads messages of NetFlow v9 or IPFIX in the order in which they came.
///
/// # Errors
/// A message is wrong, has no template for its data, or a sequence number that is not the one to expect.
pub fn read(messages: &[Vec<u8>]) -> Result<Vec<Record>> {
    let mut templates: HashMap<(u32, u16), Fields> = HashMap::new();
    let mut sequence: HashMap<u32, u32> = HashMap::new();
    let mut records = Vec::new();
    for message in messages {
        let version = word(message, 0)?;
        let (header, number, domain) = match version {
            9 => (20, long(message, 12)?, long(message, 16)?),
            10 => (16, long(message, 8)?, long(message, 12)?),
            _ => bail!("version {version}"),
        };
        ensure!(version == 9 || usize::from(word(message, 2)?) == message.len(), "the length is wrong");
        let expected = *sequence.entry(domain).or_insert(number);
        ensure!(number == expected, "sequence number {number} in domain {domain}, expected {expected}");
        let before = records.len();
        let mut rest = &message[header..];
        while !rest.is_empty() {
            let (id, length) = (word(rest, 0)?, usize::from(word(rest, 2)?));
            ensure!(length >= 4 && length <= rest.len(), "a set of {length} octets");
            let (set, behind) = rest.split_at(length);
            rest = behind;
            match id {
                0..=3 => learn(&set[4..], version, matches!(id, 1 | 3), domain, &mut templates)?,
                _ => {
                    let fields = templates.get(&(domain, id)).with_context(|| format!("no template {id}"))?;
                    take(&set[4..], fields, domain, &mut records)?;
                }
            }
        }
        let step = if version == 9 { 1 } else { u32::try_from(records.len() - before)? };
        sequence.insert(domain, number.wrapping_add(step));
    }
    Ok(records)
}

fn learn(
    mut set: &[u8],
    version: u16,
    options: bool,
    domain: u32,
    templates: &mut HashMap<(u32, u16), Fields>,
) -> Result<()> {
    while set.len() >= 4 && word(set, 0)? >= 256 {
        let id = word(set, 0)?;
        let (count, scope, mut at) = match (options, version) {
            (false, _) => (word(set, 2)?, 0, 4),
            (true, 9) => ((word(set, 2)? + word(set, 4)?) / 4, word(set, 2)? / 4, 6),
            (true, _) => (word(set, 2)?, word(set, 4)?, 6),
        };
        let mut fields = Vec::new();
        for _ in 0..count {
            let (element, octets) = (word(set, at)?, word(set, at + 2)?);
            at += 4;
            if version == 10 && element >= 0x8000 {
                fields.push((long(set, at)?, element & 0x7fff, octets));
                at += 4;
            } else {
                fields.push((0, element, octets));
            }
        }
        templates.insert((domain, id), (scope.into(), fields));
        set = &set[at..];
    }
    Ok(())
}

fn take(mut set: &[u8], (scope, fields): &Fields, domain: u32, records: &mut Vec<Record>) -> Result<()> {
    let least: usize = fields.iter().map(|field| if field.2 == VARIABLE { 1 } else { usize::from(field.2) }).sum();
    ensure!(least > 0, "records of no octets");
    while set.len() >= least {
        let mut record = Record { domain, options: *scope > 0, ..Record::default() };
        for &(enterprise, element, octets) in fields {
            let (mut length, mut prefix) = (usize::from(octets), 0);
            if octets == VARIABLE {
                (length, prefix) = (usize::from(*set.first().context("no length")?), 1);
                if length == 255 {
                    (length, prefix) = (word(set, 1)?.into(), 3);
                }
            }
            let value = set.get(prefix..prefix + length).context("a record is cut off")?;
            record.values.entry((enterprise, element)).or_default().push(value.to_vec());
            set = &set[prefix + length..];
        }
        records.push(record);
    }
    Ok(())
}

fn word(octets: &[u8], at: usize) -> Result<u16> {
    let word = octets.get(at..at + 2).context("cut off")?;
    Ok(u16::from_be_bytes(word.try_into()?))
}

fn long(octets: &[u8], at: usize) -> Result<u32> {
    let long = octets.get(at..at + 4).context("cut off")?;
    Ok(u32::from_be_bytes(long.try_into()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exporting::{ExportingProcess, Field, Flow, Layout};

    #[test]
    fn what_is_built_is_read() -> Result<()> {
        for version in [9, 10] {
            let mut process = ExportingProcess::new(version, 3);
            let mut layout = Layout::plain(256, &process);
            if version == 10 {
                layout = layout.with(Field { enterprise: 99, element: 5, octets: VARIABLE }, b"text");
            }
            let flows = [Flow::numbered(1, &process), Flow::numbered(2, &process)];
            let first = process.message(&[layout.template(), layout.data(&flows, &process)]);
            let second = process.message(&[layout.data(&flows[..1], &process)]);
            let records = read(&[first.clone(), second.clone()])?;
            ensure!(records.len() == 3 && records[1].number(1)? == 1002, "{records:?}");
            if version == 10 {
                ensure!(records[2].octets(99, 5)? == b"text", "{records:?}");
            }
            ensure!(read(&[second, first]).is_err(), "data before their template are read");
        }
        Ok(())
    }
}
