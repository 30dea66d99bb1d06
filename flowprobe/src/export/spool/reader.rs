//! Reads messages out of segment files, many with one system call.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use thiserror::Error;

use super::entry::{self, Body, PREFIX};
use crate::export::packed::{Packed, TemplateSet};

/// Octets that are asked for at once.
const AHEAD: u32 = 1 << 18;

/// Why what lies at a place of a segment cannot be read.
#[derive(Debug, Error)]
pub(super) enum Flaw {
    #[error("the file does not begin as a segment of this version does")]
    Foreign,
    #[error("an entry is cut short")]
    CutShort,
    /// With where the entry would end.
    #[error("the checksum of an entry is wrong")]
    Checksum(u32),
    #[error("an entry makes no sense")]
    Senseless,
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A message and where it lies.
pub(super) struct Found {
    /// Where its entry begins.
    pub(super) at: u32,
    /// Where the next one does.
    pub(super) next: u32,
    pub(super) message: Packed,
}

/// One segment file at a time.
#[derive(Default)]
pub(super) struct Reader {
    file: Option<(u64, File)>,
    /// What of the file lies in memory, from `start` on.
    buffer: Vec<u8>,
    start: u32,
    /// The templates that were read last, and where in the file they lie; another file has them elsewhere.
    templates: Option<(Option<u32>, Arc<TemplateSet>)>,
}

impl Reader {
    /// Turns to segment number `id` at `path`, unless it is the one in hand.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub(super) fn open(&mut self, id: u64, path: &Path) -> io::Result<()> {
        if self.file.as_ref().is_none_or(|(open, _)| *open != id) {
            self.close();
            self.file = Some((id, File::open(path)?));
        }
        Ok(())
    }

    /// Lets go of segment number `id`, which is removed.
    pub(super) fn forget(&mut self, id: u64) {
        if self.file.as_ref().is_some_and(|(open, _)| *open == id) {
            self.close();
        }
    }

    fn close(&mut self) {
        self.file = None;
        self.buffer.clear();
        if let Some((at, _)) = &mut self.templates {
            *at = None;
        }
    }

    /// Reads the first message from `offset` on in a segment of `end` octets; `None` where there is none. Templates that are
    /// equal to those of the message before, or to `known`, are the same object.
    ///
    /// # Errors
    /// There is something else, and where it is.
    pub(super) fn next(
        &mut self,
        mut offset: u32,
        end: u32,
        known: Option<&Arc<TemplateSet>>,
    ) -> Result<Option<Found>, (u32, Flaw)> {
        while offset < end {
            let next = self.load(offset, end).map_err(|flaw| (offset, flaw))?;
            match self.parse(offset, next).map_err(|flaw| (offset, flaw))? {
                Body::Templates(templates) => self.remember(offset, templates, known),
                Body::Data(data) => {
                    let (records, weight, octets) = (data.records, data.weight, data.octets.to_vec());
                    let at = data.templates_at;
                    let templates = self.templates(at, offset, known).map_err(|flaw| (offset, flaw))?;
                    let message = Packed { octets, records, weight, templates, source: Default::default() };
                    return Ok(Some(Found { at: offset, next, message }));
                }
            }
            offset = next;
        }
        Ok(None)
    }

    /// The templates at `at`, for a message at `offset`: those that came by, except after a leap.
    fn templates(&mut self, at: u32, offset: u32, known: Option<&Arc<TemplateSet>>) -> Result<Arc<TemplateSet>, Flaw> {
        if self.templates.as_ref().is_none_or(|(has, _)| *has != Some(at)) {
            let next = self.load(at, offset)?;
            let Body::Templates(templates) = self.parse(at, next)? else { return Err(Flaw::Senseless) };
            self.remember(at, templates, known);
        }
        self.templates.as_ref().map(|(_, templates)| Arc::clone(templates)).ok_or(Flaw::Senseless)
    }

    fn remember(&mut self, at: u32, templates: TemplateSet, known: Option<&Arc<TemplateSet>>) {
        let last = self.templates.take().map(|(_, last)| last);
        let same = last.as_ref().into_iter().chain(known).find(|other| ***other == templates).map(Arc::clone);
        self.templates = Some((Some(at), same.unwrap_or_else(|| Arc::new(templates))));
    }

    /// Has the entry at `offset` in memory and returns where it ends.
    fn load(&mut self, offset: u32, end: u32) -> Result<u32, Flaw> {
        let begins = offset.checked_add(PREFIX).filter(|begins| *begins <= end).ok_or(Flaw::CutShort)?;
        self.fill(offset, begins, end)?;
        let length = entry::body_length(self.view(offset, begins)).ok_or(Flaw::CutShort)?;
        let next = begins.checked_add(length).filter(|next| *next <= end).ok_or(Flaw::CutShort)?;
        self.fill(offset, next, end)?;
        Ok(next)
    }

    fn parse(&self, offset: u32, next: u32) -> Result<Body<'_>, Flaw> {
        let body = entry::checked(self.view(offset, next)).ok_or(Flaw::Checksum(next))?;
        entry::parse(body).ok_or(Flaw::Senseless)
    }

    /// Has `offset..next` in memory, and some of what follows before `end`.
    fn fill(&mut self, offset: u32, next: u32, end: u32) -> io::Result<()> {
        let has = self.start.saturating_add(entry::length_of(&self.buffer));
        if self.start <= offset && next <= has {
            return Ok(());
        }
        let Some((_, file)) = &self.file else { return Err(io::ErrorKind::NotFound.into()) };
        let length = (next - offset).max(AHEAD).min(end - offset);
        self.start = offset;
        self.buffer.resize(length as usize, 0);
        let outcome = file.read_exact_at(&mut self.buffer, offset.into());
        if outcome.is_err() {
            self.buffer.clear();
        }
        outcome
    }

    fn view(&self, offset: u32, next: u32) -> &[u8] {
        &self.buffer[(offset - self.start) as usize..(next - self.start) as usize]
    }

    /// Whether the file begins as a segment does, and how many of its octets can be read at most.
    ///
    /// # Errors
    /// It does not.
    pub(super) fn check_header(&self) -> Result<u32, Flaw> {
        let Some((_, file)) = &self.file else { return Err(Flaw::CutShort) };
        let octets = file.metadata()?.len();
        let mut header = [0; entry::HEADER.len()];
        match file.read_exact_at(&mut header, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(Flaw::CutShort),
            Err(error) => Err(error.into()),
            Ok(()) if header == entry::HEADER => Ok(u32::try_from(octets).unwrap_or(u32::MAX)),
            Ok(()) => Err(Flaw::Foreign),
        }
    }
}
