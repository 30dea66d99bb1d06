//! How far messages have arrived: a file of its own, so that segments are only ever appended to.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::Position;

const FILE: &str = "place";
const NEW_FILE: &str = "place.new";
/// Number and offset of a segment, and the CRC-32 of both.
const OCTETS: usize = 8 + 4 + 4;

/// The place that is kept.
#[derive(Default)]
pub(super) struct Place {
    /// All before it has arrived.
    pub(super) position: Position,
    /// Messages that have arrived since the file was written.
    pub(super) unsaved: u64,
    /// The file is not known to be on the disk as it is.
    pub(super) is_dirty: bool,
}

impl Place {
    /// The place in `folder`; the very beginning where it is missing or broken, so that messages are sent twice rather than
    /// not at all. Says whether it is broken.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub(super) fn load(folder: &Path) -> io::Result<(Self, bool)> {
        let octets = match fs::read(folder.join(FILE)) {
            Ok(octets) => octets,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Self::default(), false)),
            Err(error) => return Err(error),
        };
        let position = parse(&octets);
        Ok((Self { position: position.unwrap_or_default(), ..Self::default() }, position.is_none()))
    }

    /// Writes the file: whole, whenever the process dies, and also where the power does if `durable`.
    ///
    /// # Errors
    /// The disk refuses. The file is as it was.
    pub(super) fn save(&mut self, folder: &Path, durable: bool) -> io::Result<()> {
        let (new, path) = (folder.join(NEW_FILE), folder.join(FILE));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&format(self.position))?;
        if durable {
            file.sync_data()?;
        }
        fs::rename(&new, &path)?;
        self.is_dirty = !durable;
        self.unsaved = 0;
        if durable { File::open(folder)?.sync_all() } else { Ok(()) }
    }
}

fn format(position: Position) -> [u8; OCTETS] {
    let mut octets = [0; OCTETS];
    octets[..8].copy_from_slice(&position.segment.to_be_bytes());
    octets[8..12].copy_from_slice(&position.offset.to_be_bytes());
    let checksum = crc32fast::hash(&octets[..12]);
    octets[12..].copy_from_slice(&checksum.to_be_bytes());
    octets
}

fn parse(octets: &[u8]) -> Option<Position> {
    let octets: &[u8; OCTETS] = octets.try_into().ok()?;
    let (segment, rest) = octets.split_first_chunk()?;
    let position = Position { segment: u64::from_be_bytes(*segment), offset: u32::from_be_bytes(*rest.first_chunk()?) };
    (format(position) == *octets).then_some(position)
}
