//! fprobe, a probe that exports NetFlow v5.

use anyhow::{Result, ensure};
use rustix::process::Signal;

use crate::namespace::Namespace;
use crate::process::Process;

/// A running fprobe.
pub struct Fprobe {
    process: Process,
}

impl Fprobe {
    /// Starts it on an interface of the namespace, as an exporter to some UDP ports of 127.0.0.1. Flows are reported a second
    /// after their last packet, and every two seconds. Its filter leaves out what it cannot read: it takes whatever it is given
    /// for IP behind 14 octets.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(namespace: &Namespace, interface: &str, ports: &[u16]) -> Result<Self> {
        let mut command = namespace.command("fprobe");
        command.args(["-i", interface, "-f", "ip and not vlan", "-s1", "-g1", "-d1", "-e2", "-n5"]);
        // In the foreground, with room for all packets that wait.
        command.args(["-l2", "-q100000"]);
        command.args(ports.iter().map(|port| format!("127.0.0.1:{port}")));
        let mut process = Process::start(&mut command)?;
        process.wait_for_output("its last collector", |line| line.contains(&format!("collector #{}", ports.len())))?;
        Ok(Self { process })
    }

    /// Ends it; it reports all flows before.
    ///
    /// # Errors
    /// It ends badly.
    pub fn stop(self) -> Result<()> {
        let finished = self.process.stop(Signal::TERM)?;
        ensure!(finished.status.success(), "fprobe ended with {}: {:?}", finished.status, finished.stdout);
        Ok(())
    }
}
