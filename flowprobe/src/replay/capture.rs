//! Reads captures: pcap and pcapng, plain or gzipped, from files or standard input.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;
use pcap_parser::pcapng::Block;
use pcap_parser::traits::PcapNGPacketBlock as _;
use pcap_parser::{PcapBlockOwned, PcapError, PcapHeader, create_reader};
use thiserror::Error;

use super::ReplayError;
use super::link::Link;

/// Octets that are read at a time; blocks may be larger.
const BUFFER: usize = 1 << 18;

/// No block of a sound capture is larger.
const LARGEST_BLOCK: usize = 1 << 28;

/// Interfaces that a section of a capture may describe: each is remembered, and each that has packets is accounted for.
const MOST_INTERFACES: usize = 4096;

/// Frames from one report of progress to the next.
const PROGRESS: u64 = 1 << 16;

/// A capture that cannot be read, or not to its end.
#[derive(Debug, Error)]
#[error("{}: {problem}{}", path.display(), at(*.offset))]
pub struct CaptureError {
    path: PathBuf,
    problem: String,
    /// Octets from the beginning of the (unpacked) file.
    offset: Option<u64>,
}

impl CaptureError {
    /// What is wrong with the file after so many octets of it.
    pub(super) fn at(path: &Path, problem: String, offset: u64) -> Self {
        Self { path: path.to_owned(), problem, offset: Some(offset) }
    }
}

fn cannot_open(path: &Path, error: &io::Error) -> CaptureError {
    CaptureError { path: path.to_owned(), problem: error.to_string(), offset: None }
}

fn at(offset: Option<u64>) -> String {
    offset.map(|offset| format!(", at octet {offset}")).unwrap_or_default()
}

/// What an [`Input`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Packets.
    Capture,
    /// Messages of IPFIX (RFC 5655).
    Messages,
}

/// How a message of IPFIX begins: its version (RFC 7011 section 3.1). No capture begins so.
const IPFIX: [u8; 2] = [0, 10];

/// A frame as it was captured.
pub(super) struct CapturedFrame<'a> {
    pub(super) link: Link,
    /// Number of the interface within the capture.
    pub(super) interface: u32,
    /// Nanoseconds since 1970-01-01 UTC.
    pub(super) time_ns: u64,
    pub(super) data: &'a [u8],
    /// Octets on the wire.
    pub(super) original_length: u32,
}

/// An opened capture, or a file of messages.
pub struct Input {
    path: PathBuf,
    stream: BufReader<Box<dyn Read + Send>>,
    kind: Kind,
    /// Octets taken from the file.
    taken: Arc<AtomicU64>,
    size: Option<u64>,
}

impl Input {
    /// Opens a file; `-` is standard input.
    ///
    /// # Errors
    /// There is no such file, or it may not be read.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        let failed = |error| cannot_open(path, &error);
        let (file, size): (Box<dyn Read + Send>, _) = if path == Path::new("-") {
            (Box::new(io::stdin()), None)
        } else {
            let file = File::open(path).map_err(failed)?;
            let metadata = file.metadata().map_err(failed)?;
            if metadata.is_dir() {
                return Err(failed(io::ErrorKind::IsADirectory.into()));
            }
            (Box::new(file), metadata.is_file().then_some(metadata.len()))
        };
        Self::new(path, file, size)
    }

    /// Takes a capture from any stream. Messages say it is at `path`.
    ///
    /// # Errors
    /// The stream's first octets cannot be read.
    pub fn from_stream(path: &Path, stream: impl Read + Send + 'static) -> Result<Self, CaptureError> {
        Self::new(path, Box::new(stream), None)
    }

    fn new(path: &Path, stream: Box<dyn Read + Send>, size: Option<u64>) -> Result<Self, CaptureError> {
        let taken = Arc::new(AtomicU64::new(0));
        // Only to look at the beginning: it is smaller than what is read at a time, and is then passed by.
        let mut stream = BufReader::new(Counted { inner: stream, taken: Arc::clone(&taken) });
        let is_gzip = is_gzip(&mut stream).map_err(|error| cannot_open(path, &error))?;
        let stream: Box<dyn Read + Send> =
            if is_gzip { Box::new(MultiGzDecoder::new(stream)) } else { Box::new(stream) };
        let mut stream = BufReader::new(stream);
        // What cannot be read is said when it is read.
        let is_ipfix = stream.fill_buf().is_ok_and(|octets| octets.starts_with(&IPFIX));
        let kind = if is_ipfix { Kind::Messages } else { Kind::Capture };
        Ok(Self { path: path.to_owned(), stream, kind, taken, size })
    }

    /// What it holds.
    pub(super) const fn kind(&self) -> Kind {
        self.kind
    }

    /// What is in it, unpacked.
    pub(super) fn stream(&mut self) -> &mut impl Read {
        &mut self.stream
    }

    /// Octets that were taken from the file.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// The path that was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Octets of the file, where it is one.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// Hands every frame to `sink`, in the order of the capture.
    pub(super) fn read(
        self,
        progress: &mut dyn FnMut(u64),
        mut sink: impl FnMut(&CapturedFrame<'_>) -> Result<(), ReplayError>,
    ) -> Result<(), ReplayError> {
        let Self { path, stream, taken, .. } = self;
        let failed = |problem: String, offset: u64| CaptureError::at(&path, problem, offset);
        let mut reader = create_reader(BUFFER, stream).map_err(|error| failed(beginning(&error), 0))?;
        let mut section = Section::default();
        let (mut offset, mut frames) = (0, 0_u64);
        loop {
            // The error borrows the reader: what to do about it is decided first and done after.
            let trouble = match reader.next() {
                Ok((length, block)) => {
                    section.block(&block, &mut sink).map_err(|stop| match stop {
                        Stop::Damage(problem) => failed(problem, offset).into(),
                        Stop::Sink(error) => error,
                    })?;
                    offset += length as u64;
                    reader.consume(length);
                    frames += 1;
                    if frames.is_multiple_of(PROGRESS) {
                        progress(taken.load(Ordering::Relaxed));
                    }
                    continue;
                }
                Err(PcapError::Eof) => return Ok(()),
                Err(PcapError::Incomplete(_) | PcapError::BufferTooSmall | PcapError::UnexpectedEof) => None,
                Err(error) => Some(unreadable(&error)),
            };
            if let Some(problem) = trouble {
                return Err(failed(problem, offset).into());
            }
            if reader.reader_exhausted() {
                return Err(failed("the capture is cut off in the middle of a block".to_owned(), offset).into());
            }
            let before = reader.data().len();
            reader.refill().map_err(|error| failed(unreadable(&error), offset))?;
            // Nothing more fits: one block fills the buffer and is not whole.
            let full = reader.data().len() == before && !reader.reader_exhausted();
            if full && (before >= LARGEST_BLOCK || !reader.grow(before * 2)) {
                return Err(failed("a block is too large".to_owned(), offset).into());
            }
        }
    }
}

/// What is known of the part of the capture that is being read.
#[derive(Default)]
struct Section {
    header: Option<PcapHeader>,
    interfaces: Vec<InterfaceDescription>,
    time_ns: u64,
}

/// An interface of a pcapng section.
struct InterfaceDescription {
    link: i32,
    units_per_second: u64,
    offset_seconds: i64,
}

/// Why reading stops at a block.
enum Stop {
    Damage(String),
    Sink(ReplayError),
}

impl Section {
    fn block(
        &mut self,
        block: &PcapBlockOwned<'_>,
        sink: &mut impl FnMut(&CapturedFrame<'_>) -> Result<(), ReplayError>,
    ) -> Result<(), Stop> {
        let (link, interface, data, original_length) = match block {
            PcapBlockOwned::LegacyHeader(header) => {
                self.header = Some(header.clone());
                return Ok(());
            }
            PcapBlockOwned::Legacy(frame) => {
                let Some(header) = &self.header else { return Ok(()) };
                let per_unit = if header.is_nanosecond_precision() { 1 } else { 1000 };
                self.time_ns = u64::from(frame.ts_sec) * 1_000_000_000 + u64::from(frame.ts_usec) * per_unit;
                // The upper half says how long the frame check sequence is that the frames carry.
                (header.network.0 & 0xffff, 0, frame.data, frame.origlen)
            }
            PcapBlockOwned::NG(Block::SectionHeader(_)) => {
                self.interfaces.clear();
                return Ok(());
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(description)) => {
                if self.interfaces.len() == MOST_INTERFACES {
                    return Err(Stop::Damage(format!("more than {MOST_INTERFACES} interfaces")));
                }
                let units_per_second = description
                    .ts_resolution()
                    .filter(|units| *units > 0)
                    .ok_or_else(|| Stop::Damage("an interface's time resolution is out of range".to_owned()))?;
                self.interfaces.push(InterfaceDescription {
                    link: description.linktype.0,
                    units_per_second,
                    offset_seconds: description.ts_offset(),
                });
                return Ok(());
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let description = self.described(packet.if_id)?;
                let units = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                self.time_ns = description.nanoseconds(units);
                let link = self.described(packet.if_id)?.link;
                (link, packet.if_id, packet.packet_data(), packet.origlen)
            }
            // It has no time stamp: it is taken to have come with the packet before.
            PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                (self.described(0)?.link, 0, packet.packet_data(), packet.origlen)
            }
            PcapBlockOwned::NG(_) => return Ok(()),
        };
        let link =
            Link::of(link).ok_or_else(|| Stop::Damage(format!("link type {link} is not one that can be read")))?;
        sink(&CapturedFrame { link, interface, time_ns: self.time_ns, data, original_length }).map_err(Stop::Sink)
    }

    fn described(&self, interface: u32) -> Result<&InterfaceDescription, Stop> {
        self.interfaces
            .get(interface as usize)
            .ok_or_else(|| Stop::Damage(format!("a packet of interface {interface}, which is not described")))
    }
}

impl InterfaceDescription {
    /// A time stamp as nanoseconds since 1970-01-01 UTC; 0 for what would lie before.
    fn nanoseconds(&self, units: u64) -> u64 {
        let since = i128::from(units) * 1_000_000_000 / i128::from(self.units_per_second);
        let time = since + i128::from(self.offset_seconds) * 1_000_000_000;
        u64::try_from(time.max(0)).unwrap_or(u64::MAX)
    }
}

/// Why a capture does not even begin.
fn beginning(error: &PcapError<&[u8]>) -> String {
    match error {
        PcapError::Eof | PcapError::Incomplete(_) | PcapError::UnexpectedEof => {
            "the file ends before a capture's header does".to_owned()
        }
        PcapError::ReadError => "the file cannot be read, or is not what its gzip header says".to_owned(),
        _ => "the file is neither pcap, pcapng nor IPFIX".to_owned(),
    }
}

/// Why a capture does not go on.
fn unreadable(error: &PcapError<&[u8]>) -> String {
    match error {
        PcapError::ReadError => "the rest cannot be read".to_owned(),
        _ => "a block is damaged".to_owned(),
    }
}

/// Whether the stream begins with gzip's magic number (RFC 1952).
fn is_gzip(stream: &mut impl io::BufRead) -> io::Result<bool> {
    Ok(stream.fill_buf()?.starts_with(&[0x1f, 0x8b]))
}

/// Counts what is read.
struct Counted {
    inner: Box<dyn Read + Send>,
    taken: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.taken.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a capture; the lengths of its frames, and what was wrong with it.
    fn lengths(file: Vec<u8>) -> (Vec<usize>, Option<String>) {
        let input = Input::from_stream(Path::new("test"), io::Cursor::new(file)).expect("memory can be read");
        let mut lengths = Vec::new();
        let outcome = input.read(&mut |_| {}, |frame| {
            lengths.push(frame.data.len());
            Ok(())
        });
        (lengths, outcome.err().map(|error| error.to_string()))
    }

    #[test]
    fn a_frame_may_be_larger_than_what_is_read_at_a_time() {
        let mut file = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
        for length in [1, BUFFER, 3 * BUFFER, 1] {
            let word = u32::try_from(length).expect("small").to_le_bytes();
            file.extend([[0; 4], [0; 4], word, word].concat());
            file.resize(file.len() + length, 0);
        }
        assert_eq!(lengths(file.clone()), (vec![1, BUFFER, 3 * BUFFER, 1], None));
        file.truncate(file.len() - 18);
        let (lengths, problem) = lengths(file);
        assert_eq!(lengths, [1, BUFFER]);
        assert!(problem.expect("a problem").contains("cut off"));
    }

    #[test]
    fn interfaces_are_remembered_within_a_bound() {
        let section = [
            &[0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0][..],
            &[0xff; 8],
            &[28, 0, 0, 0],
        ];
        let interface = [1, 0, 0, 0, 20, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0];
        let with = |interfaces: usize| [section.concat(), interface.repeat(interfaces)].concat();
        assert_eq!(lengths(with(MOST_INTERFACES)).1, None);
        assert!(lengths(with(MOST_INTERFACES + 1)).1.expect("a problem").contains("more than 4096 interfaces"));
    }
}
