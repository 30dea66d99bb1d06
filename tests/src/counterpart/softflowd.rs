//! softflowd, a probe that exports NetFlow v5, v9 and IPFIX.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use super::reading::Format;
use crate::namespace::Namespace;
use crate::process::{Process, read};

/// A running softflowd and the folder with its control socket.
pub struct Softflowd {
    process: Process,
    folder: TempDir,
}

impl Softflowd {
    /// Starts it on an interface of the namespace, as an exporter to some UDP ports of 127.0.0.1. Flows are reported after two
    /// seconds, whatever their age, and what it captures waits for it in 64 MiB.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(namespace: &Namespace, interface: &str, format: Format, ports: &[u16]) -> Result<Self> {
        let folder = TempDir::new()?;
        let collectors: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let mut command = namespace.command("softflowd");
        command.args(["-d", "-i", interface, "-v", &format.version().to_string(), "-n", &collectors.join(",")]);
        command.args(["-t", "maxlife=2", "-t", "expint=1", "-B", "67108864"]);
        command.arg("-c").arg(control(&folder)).arg("-p").arg(folder.path().join("pid"));
        let mut process = Process::start(&mut command)?;
        process.wait_for_error_lines("Exporting flows from", 1)?;
        Ok(Self { process, folder })
    }

    /// How many packets it has processed. Those that lie in a block of its capture buffer that is not full yet are not among
    /// them: it waits for the whole block.
    ///
    /// # Errors
    /// It does not say, or it has lost packets.
    pub fn processed(&self) -> Result<u64> {
        let said = self.control("statistics")?;
        let number = |name: &str| -> Result<u64> {
            let value = said.lines().find_map(|line| line.strip_prefix(name)).with_context(|| said.clone())?;
            value.trim().parse().with_context(|| said.clone())
        };
        ensure!(number("Packets dropped by libpcap:")? == 0, "{said}");
        number("Packets processed:")
    }

    /// Ends it; it reports all flows before. (By a signal it would not: in the foreground it catches none.)
    ///
    /// # Errors
    /// It does not end, or not by itself.
    pub fn stop(self) -> Result<()> {
        self.control("shutdown")?;
        let finished = self.process.wait()?;
        // It exits with 1, always.
        let willingly = finished.stderr.iter().any(|line| line == "Shutting down on user request");
        ensure!(willingly, "softflowd ended with {}: {:?}", finished.status, finished.stderr);
        Ok(())
    }

    fn control(&self, command: &str) -> Result<String> {
        read(Command::new("softflowctl").arg("-c").arg(control(&self.folder)).arg(command))
    }
}

fn control(folder: &TempDir) -> PathBuf {
    folder.path().join("control")
}
