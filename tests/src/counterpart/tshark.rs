//! tcpdump, and tshark, which decodes what it has captured.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::namespace::Namespace;
use crate::process::{Process, read};

/// A running tcpdump that writes what it captures into a file.
pub struct Capture {
    process: Process,
    folder: TempDir,
}

impl Capture {
    /// Captures UDP of a port on an interface.
    ///
    /// # Errors
    /// tcpdump does not start.
    pub fn start(namespace: &Namespace, interface: &str, port: u16) -> Result<Self> {
        let folder = TempDir::new()?;
        let mut command = namespace.command("tcpdump");
        command.args(["-i", interface, "-U", "-B", "16384", "-Z", "root", "-w"]).arg(folder.path().join("export.pcap"));
        command.arg(format!("udp dst port {port}"));
        let mut process = Process::start(&mut command)?;
        process.wait_for_error_lines("listening on", 1)?;
        Ok(Self { process, folder })
    }

    /// Ends the capture, of which nothing may be lost.
    ///
    /// # Errors
    /// The kernel has dropped packets.
    pub fn stop(self) -> Result<Captured> {
        // What was captured is handed over in blocks, which time out.
        std::thread::sleep(std::time::Duration::from_millis(1200));
        let finished = self.process.stop(Signal::INT)?;
        let dropped = finished.stderr.iter().find(|line| line.contains("dropped by kernel"));
        let dropped = dropped.with_context(|| format!("tcpdump does not say what it lost: {:?}", finished.stderr))?;
        ensure!(dropped.starts_with("0 "), "tcpdump: {dropped}");
        Ok(Captured { file: self.folder.path().join("export.pcap"), _folder: self.folder })
    }
}

/// A capture file; removed when dropped.
pub struct Captured {
    file: PathBuf,
    _folder: TempDir,
}

/// In the view of a strict decoder: packets that are malformed, or have data of an unknown template.
pub const BAD: &str = "_ws.malformed or _ws.expert.group == \"Malformed\" or cflow.no_template_found";

impl Captured {
    /// The packets for which a display filter holds, a line of the named fields for each. What goes to `port` is read as
    /// IPFIX.
    ///
    /// # Errors
    /// tshark fails.
    pub fn decode(&self, port: u16, filter: &str, fields: &[&str]) -> Result<Vec<String>> {
        let mut command = tshark(&self.file, port, filter);
        command.args(["-T", "fields"]).args(fields.iter().flat_map(|field| ["-e", field]));
        Ok(read(&mut command)?.lines().map(str::to_owned).collect())
    }

    /// A capture with only those packets for which a display filter holds.
    ///
    /// # Errors
    /// tshark fails.
    pub fn only(&self, port: u16, filter: &str) -> Result<Self> {
        let folder = TempDir::new()?;
        let file = folder.path().join("part.pcap");
        read(tshark(&self.file, port, filter).arg("-w").arg(&file))?;
        Ok(Self { file, _folder: folder })
    }
}

fn tshark(file: &Path, port: u16, filter: &str) -> Command {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(file).args(["-d", &format!("udp.port=={port},cflow"), "-Y", filter]);
    command
}
