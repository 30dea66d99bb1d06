//! Records as an IPFIX file (RFC 5655): messages one after the other, as an exporter would have sent them.

use std::io::{self, Write};
use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};

use super::record::Record;

/// Elements and octets of the template; those of addresses are for IPv4 and for IPv6.
const ELEMENTS: [(u16, u16); 18] = [
    (152, 8),
    (153, 8),
    (0, 0),
    (0, 0),
    (7, 2),
    (11, 2),
    (4, 1),
    (6, 2),
    (2, 8),
    (1, 8),
    (56, 6),
    (80, 6),
    (58, 2),
    (10, 4),
    (25, 2),
    (26, 2),
    (136, 1),
    (210, 1),
];

/// Templates of IPv4 and IPv6, each with its Template ID and the elements and octets of its addresses.
const FAMILIES: [(u16, [(u16, u16); 2]); 2] = [(256, [(8, 4), (12, 4)]), (257, [(27, 16), (28, 16)])];

/// A message is sent before it has more octets than this, whatever the time.
const MOST_OCTETS: usize = 60_000;

const HEADER: usize = 16;

fn elements(addresses: [(u16, u16); 2]) -> impl Iterator<Item = (u16, u16)> {
    let mut addresses = addresses.into_iter();
    ELEMENTS.into_iter().map(move |element| if element.0 == 0 { addresses.next().unwrap_or(element) } else { element })
}

/// Writes records, which are in the order of their export, one message for each second in which there are any. Returns how many messages.
///
/// # Errors
/// It cannot be written.
pub fn write(records: &[Record], to: &mut impl Write) -> io::Result<usize> {
    let second = |record: &Record| record.export_ms / 1000;
    let mut messages = Messages { to, sequence: 0, count: 0 };
    messages.message(records.first().map_or(0, second), &[(2, templates())], 0)?;
    for together in records.chunk_by(|one, next| second(one) == second(next)) {
        let mut sets: [Vec<u8>; 2] = Default::default();
        let mut waiting = 0;
        for record in together {
            encode(record, &mut sets[usize::from(record.source.is_ipv6())]);
            waiting += 1;
            if sets[0].len() + sets[1].len() > MOST_OCTETS {
                messages.data(second(record), &mut sets, waiting)?;
                waiting = 0;
            }
        }
        messages.data(second(&together[0]), &mut sets, waiting)?;
    }
    messages.to.flush()?;
    Ok(messages.count)
}

fn templates() -> Vec<u8> {
    let mut octets = Vec::new();
    for (id, addresses) in FAMILIES {
        octets.extend([id, 18].map(u16::to_be_bytes).concat());
        octets
            .extend(elements(addresses).flat_map(|(element, length)| [element, length].map(u16::to_be_bytes).concat()));
    }
    octets
}

fn encode(record: &Record, to: &mut Vec<u8>) {
    to.extend(record.start_ms.to_be_bytes());
    to.extend(record.end_ms.to_be_bytes());
    for address in [record.source, record.destination] {
        match address {
            IpAddr::V4(address) => to.extend(address.octets()),
            IpAddr::V6(address) => to.extend(address.octets()),
        }
    }
    to.extend(record.source_port.to_be_bytes());
    to.extend(record.destination_port.to_be_bytes());
    to.push(record.protocol);
    to.extend(record.flags.to_be_bytes());
    to.extend(record.packets.to_be_bytes());
    to.extend(record.octets.to_be_bytes());
    to.extend(record.source_mac);
    to.extend(record.destination_mac);
    to.extend(record.vlan.to_be_bytes());
    to.extend(record.interface.to_be_bytes());
    to.extend(record.lengths.0.to_be_bytes());
    to.extend(record.lengths.1.to_be_bytes());
    to.push(record.end_reason);
    // paddingOctets, so that a reader has something to skip.
    to.push(0);
}

struct Messages<'a, W> {
    to: &'a mut W,
    sequence: u32,
    count: usize,
}

impl<W: Write> Messages<'_, W> {
    fn data(&mut self, seconds: u64, sets: &mut [Vec<u8>; 2], records: u32) -> io::Result<()> {
        let sets = FAMILIES.map(|(id, _)| id).into_iter().zip(sets.iter_mut().map(std::mem::take));
        let sets: Vec<(u16, Vec<u8>)> = sets.filter(|(_, set)| !set.is_empty()).collect();
        if sets.is_empty() { Ok(()) } else { self.message(seconds, &sets, records) }
    }

    fn message(&mut self, seconds: u64, sets: &[(u16, Vec<u8>)], records: u32) -> io::Result<()> {
        let length = HEADER + sets.iter().map(|(_, set)| set.len() + 4).sum::<usize>();
        let word = |octets: usize| u16::try_from(octets).map_err(io::Error::other);
        self.to.write_all(&[10, word(length)?].map(u16::to_be_bytes).concat())?;
        let seconds = u32::try_from(seconds).map_err(io::Error::other)?;
        self.to.write_all(&[seconds, self.sequence, 1].map(u32::to_be_bytes).concat())?;
        for (id, set) in sets {
            self.to.write_all(&[*id, word(set.len() + 4)?].map(u16::to_be_bytes).concat())?;
            self.to.write_all(set)?;
        }
        self.sequence = self.sequence.wrapping_add(records);
        self.count += 1;
        Ok(())
    }
}

/// Reads back what [`write`] has written; the time of export is that of the header.
///
/// # Errors
/// It is not what was written, says where.
pub fn read(file: &[u8]) -> Result<Vec<Record>> {
    let (mut records, mut at) = (Vec::new(), 0);
    let (mut sequence, mut last) = (0, 0);
    while at < file.len() {
        let mut header = Reader { octets: file.get(at..at + HEADER).with_context(|| format!("a header at {at}"))? };
        let (version, length) = (header.number(2)?, header.number(2)?);
        let (seconds, said) = (header.number(4)?, header.number(4)?);
        ensure!(
            version == 10 && said == sequence,
            "version {version}, sequence number {said}, not {sequence}, at {at}"
        );
        ensure!(seconds >= last, "a message at {at} is from {seconds}, after one from {last}");
        last = seconds;
        let end = at + usize::try_from(length)?;
        let mut sets = Reader { octets: file.get(at + HEADER..end).with_context(|| format!("a message at {at}"))? };
        while !sets.octets.is_empty() {
            let (id, length) = (sets.number(2)?, sets.number(2)?);
            let mut set = Reader { octets: sets.take(usize::try_from(length)? - 4)? };
            if id == 2 {
                ensure!(set.octets == templates(), "other templates at {at}");
                continue;
            }
            while !set.octets.is_empty() {
                records.push(decode(&mut set, id == 257, seconds * 1000)?);
                sequence += 1;
            }
        }
        at = end;
    }
    Ok(records)
}

struct Reader<'a> {
    octets: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.octets.split_at_checked(count).context("too short")?;
        self.octets = rest;
        Ok(taken)
    }

    fn number(&mut self, octets: usize) -> Result<u64> {
        Ok(self.take(octets)?.iter().fold(0, |number, octet| number << 8 | u64::from(*octet)))
    }

    fn word(&mut self) -> Result<u16> {
        Ok(u16::try_from(self.number(2)?)?)
    }

    fn address(&mut self, v6: bool) -> Result<IpAddr> {
        Ok(if v6 { <[u8; 16]>::try_from(self.take(16)?)?.into() } else { <[u8; 4]>::try_from(self.take(4)?)?.into() })
    }
}

fn decode(from: &mut Reader<'_>, v6: bool, export_ms: u64) -> Result<Record> {
    let (start_ms, end_ms) = (from.number(8)?, from.number(8)?);
    let (source, destination) = (from.address(v6)?, from.address(v6)?);
    let record = Record {
        source,
        destination,
        source_port: from.word()?,
        destination_port: from.word()?,
        protocol: from.take(1)?[0],
        flags: from.word()?,
        packets: from.number(8)?,
        octets: from.number(8)?,
        start_ms,
        end_ms,
        export_ms,
        source_mac: from.take(6)?.try_into()?,
        destination_mac: from.take(6)?.try_into()?,
        vlan: from.word()?,
        interface: u32::try_from(from.number(4)?)?,
        lengths: (from.word()?, from.word()?),
        end_reason: from.take(1)?[0],
    };
    from.take(1)?;
    Ok(record)
}
