//! The segment that is written: one system call for each message, and nothing half written.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use super::entry;
use crate::export::packed::{Packed, TemplateSet};

/// Formats messages and writes them to a file; there is none before the first one, and where the last was closed.
#[derive(Default)]
pub(super) struct Tail {
    open: Option<Open>,
    /// What is formatted.
    buffer: Vec<u8>,
    /// The templates in it, and where in the file they will lie.
    pending: Option<Placed>,
}

struct Open {
    id: u64,
    file: File,
    /// Octets in it, all of them whole entries.
    end: u32,
    /// The templates that it has had last.
    templates: Placed,
}

/// Templates, and where in a segment they lie.
type Placed = (u32, Arc<TemplateSet>);

impl Tail {
    /// The number of the segment that is written.
    pub(super) fn id(&self) -> Option<u64> {
        self.open.as_ref().map(|open| open.id)
    }

    /// The templates that the segment has had last.
    pub(super) fn templates(&self) -> Option<&Arc<TemplateSet>> {
        self.open.as_ref().map(|open| &open.templates.1)
    }

    /// The next message begins a segment.
    pub(super) fn close(&mut self) {
        self.open = None;
    }

    /// Formats `message` for the segment that is open, or for one to be made: templates go before it unless they are those
    /// that the segment has had last. Returns how many octets the segment will have.
    pub(super) fn format(&mut self, message: &Packed) -> u64 {
        self.buffer.clear();
        self.pending = None;
        let end = self.open.as_ref().map_or(0, |open| open.end);
        if self.open.is_none() {
            self.buffer.extend(entry::HEADER);
        }
        let wanted = &message.templates;
        let at = match &self.open {
            Some(Open { templates: (at, has), .. }) if Arc::ptr_eq(has, wanted) || has == wanted => *at,
            _ => {
                let at = end.saturating_add(entry::length_of(&self.buffer));
                entry::put_templates(&mut self.buffer, wanted);
                self.pending = Some((at, Arc::clone(wanted)));
                at
            }
        };
        entry::put_data(&mut self.buffer, message, at);
        u64::from(end) + self.buffer.len() as u64
    }

    /// Octets that are formatted.
    pub(super) fn formatted(&self) -> u64 {
        self.buffer.len() as u64
    }

    /// Writes what was formatted to the segment that is open. Returns how many octets it has now.
    ///
    /// # Errors
    /// The disk refuses, and the segment is as it was, or none is open.
    pub(super) fn write(&mut self) -> io::Result<u32> {
        let Some(open) = &mut self.open else { return Err(io::ErrorKind::NotFound.into()) };
        if let Err(error) = open.file.write_all_at(&self.buffer, open.end.into()) {
            if open.file.set_len(open.end.into()).is_err() {
                // Half an entry stays: nothing may follow it.
                self.open = None;
            }
            return Err(error);
        }
        open.end += entry::length_of(&self.buffer);
        if let Some(templates) = self.pending.take() {
            open.templates = templates;
        }
        Ok(open.end)
    }

    /// Writes what was formatted, as segment number `id` at `path`. Returns how many octets it has.
    ///
    /// # Errors
    /// The disk refuses, and there is no such segment.
    pub(super) fn create(&mut self, id: u64, path: &Path) -> io::Result<u32> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        if let Err(error) = file.write_all_at(&self.buffer, 0) {
            // What has been written is no segment. Where it cannot be removed, the next start says so.
            let _ = fs::remove_file(path);
            return Err(error);
        }
        let end = entry::length_of(&self.buffer);
        self.open = self.pending.take().map(|templates| Open { id, file, end, templates });
        Ok(end)
    }
}
