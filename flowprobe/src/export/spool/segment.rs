//! What is known of each segment file, and how it is found out at the start.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use tracing::warn;

use super::entry::FIRST;
use super::reader::{Flaw, Reader};
use super::{Damage, Position, Waiting};

/// How segment files end; before it comes their number in 16 hexadecimal digits, so that names sort as numbers do.
const SUFFIX: &str = ".spool";

/// A segment file.
pub(super) struct Segment {
    pub(super) id: u64,
    /// Octets of the file.
    pub(super) size: u64,
    /// Where what can be read ends.
    pub(super) end: u32,
    /// What of it has not been read.
    pub(super) unread: Waiting,
    /// It is not known to be on the disk as it is.
    pub(super) is_dirty: bool,
}

impl Segment {
    /// Where segment number `id` of `folder` lies.
    pub(super) fn path(folder: &Path, id: u64) -> PathBuf {
        folder.join(format!("{id:016x}{SUFFIX}"))
    }

    /// Whether all of it lies before `position`.
    pub(super) const fn is_before(&self, position: Position) -> bool {
        self.id < position.segment || (self.id == position.segment && self.end <= position.offset)
    }

    /// Has the disk write it. One that somebody has removed needs no more.
    pub(super) fn sync(&mut self, folder: &Path) -> io::Result<()> {
        match File::open(Self::path(folder, self.id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            file => file?.sync_data()?,
        }
        self.is_dirty = false;
        Ok(())
    }

    /// Before its first entry.
    pub(super) const fn start(&self) -> Position {
        Position { segment: self.id, offset: FIRST }
    }
}

/// The numbers of the segments in `folder`, in order. Other files are left alone.
pub(super) fn list(folder: &Path) -> io::Result<Vec<u64>> {
    let mut ids = Vec::new();
    for file in fs::read_dir(folder)? {
        let name = file?.file_name();
        let digits = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)).filter(|digits| digits.len() == 16);
        ids.extend(digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()));
    }
    ids.sort_unstable();
    Ok(ids)
}

/// Reads the segment number `id` to the end, or to where it is damaged. What lies before `place` has arrived. At the end of
/// the `last` one, an entry that was being written when the process or the power died is cut off, and where it was to be the
/// first there is no segment.
///
/// # Errors
/// The file cannot be opened, cut or removed.
pub(super) fn recover(
    folder: &Path,
    id: u64,
    place: Position,
    last: bool,
    damage: &mut Damage,
) -> io::Result<Option<Segment>> {
    let path = Segment::path(folder, id);
    let mut reader = Reader::default();
    reader.open(id, &path)?;
    let size = fs::metadata(&path)?.len();
    let mut segment = Segment { id, size, end: FIRST, unread: Waiting::default(), is_dirty: false };
    let read = match reader.check_header() {
        Err(flaw) => Err((0, flaw)),
        Ok(octets) => read_all(&mut reader, octets, place, &mut segment),
    };
    let Err((at, flaw)) = read else { return Ok(Some(segment)) };
    let (name, rest) = (path.display(), size.saturating_sub(at.into()));
    let is_torn = match flaw {
        Flaw::CutShort => last,
        Flaw::Checksum(next) => last && size == u64::from(next),
        _ => false,
    };
    if !is_torn {
        damage.segments += 1;
        damage.octets += rest;
        warn!("{name}: from octet {at} on: {flaw}; these {rest} octets are lost, and nobody knows how many records");
        return Ok(Some(segment));
    }
    damage.torn_octets += rest;
    if rest > 0 {
        warn!("{name}: the {rest} octets from {at} on are a message that was not written to its end, and are lost");
    }
    if at == 0 {
        return fs::remove_file(&path).map(|()| None);
    }
    OpenOptions::new().write(true).open(&path)?.set_len(at.into())?;
    segment.size = at.into();
    Ok(Some(segment))
}

fn read_all(reader: &mut Reader, octets: u32, place: Position, segment: &mut Segment) -> Result<(), (u32, Flaw)> {
    while let Some(found) = reader.next(segment.end, octets, None)? {
        if (Position { segment: segment.id, offset: found.at }) >= place {
            segment.unread.add(&Waiting::of(&found));
        }
        segment.end = found.next;
    }
    Ok(())
}
