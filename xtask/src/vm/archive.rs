//! The archive that the kernel unpacks into its first file system: cpio in the "newc" format
//! (`Documentation/driver-api/early-userspace/buffer-format.rst` of the kernel).

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Component, Path};

/// File types and permissions (`inode(7)`).
const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_755;

/// Writes an archive. Folders are made as they are needed.
pub(super) struct Archive<W: Write> {
    output: W,
    written: usize,
    entries: u32,
    folders: BTreeSet<String>,
}

impl<W: Write> Archive<W> {
    pub(super) fn new(output: W) -> Self {
        Self { output, written: 0, entries: 0, folders: BTreeSet::new() }
    }

    /// A folder and those above it.
    pub(super) fn folder(&mut self, path: &Path) -> io::Result<()> {
        let mut name = String::new();
        for part in path.components() {
            let Component::Normal(part) = part else { continue };
            if !name.is_empty() {
                name.push('/');
            }
            name.push_str(&part.to_string_lossy());
            if self.folders.insert(name.clone()) {
                self.entry(&name, DIRECTORY, &[])?;
            }
        }
        Ok(())
    }

    /// An executable file at an absolute path.
    pub(super) fn file(&mut self, path: &Path, content: &[u8]) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            self.folder(folder)?;
        }
        self.entry(path.to_string_lossy().trim_start_matches('/'), FILE, content)
    }

    /// Ends the archive.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.entry("TRAILER!!!", 0, &[])?;
        self.output.flush()?;
        Ok(self.output)
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        let size =
            u32::try_from(content.len()).map_err(|_| io::Error::other(format!("{name} is larger than 4 GiB")))?;
        let name_size = u32::try_from(name.len() + 1).map_err(io::Error::other)?;
        self.entries += 1;
        // Inode, mode, user, group, links, time, size, device and its like, the name's size with its zero, no checksum.
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        let mut header = String::from("070701");
        for field in fields {
            header.push_str(&format!("{field:08X}"));
        }
        self.write(header.as_bytes())?;
        self.write(name.as_bytes())?;
        self.write(&[0])?;
        self.align()?;
        self.write(content)?;
        self.align()
    }

    fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        self.written += octets.len();
        self.output.write_all(octets)
    }

    /// Names and contents end at a multiple of four.
    fn align(&mut self) -> io::Result<()> {
        let missing = self.written.next_multiple_of(4) - self.written;
        self.write(&[0; 3][..missing])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_before_their_files_and_once() -> io::Result<()> {
        let mut archive = Archive::new(Vec::new());
        archive.file(Path::new("/a/b/c"), b"12345")?;
        archive.file(Path::new("/a/d"), b"")?;
        let octets = archive.finish()?;
        assert!(octets.len().is_multiple_of(4));
        let text = String::from_utf8_lossy(&octets);
        // Magic and thirteen fields of eight digits, then the name: its padding and the content are asked for one by one.
        let names: Vec<&str> =
            text.split("070701").skip(1).map(|entry| entry[104..].split('\0').next().unwrap_or_default()).collect();
        assert_eq!(names, ["a", "a/b", "a/b/c", "a/d", "TRAILER!!!"]);
        assert!(text.contains("a/b/c\0") && text.contains("12345\x00\x00\x00070701"));
        Ok(())
    }
}
