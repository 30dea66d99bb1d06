//! nfcapd, and nfdump, which reads what it has written.

use std::net::IpAddr;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::frames::{ICMP, ICMPV6};
use crate::namespace::Namespace;
use crate::process::{Process, read};
use crate::truth::{Counts, FlowId, Flows, number};

/// A running nfcapd and the folder for its files.
pub struct Nfcapd {
    process: Process,
    folder: TempDir,
}

impl Nfcapd {
    /// Starts it on a port of 127.0.0.1 in the namespace.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(namespace: &Namespace, port: u16) -> Result<Self> {
        let folder = TempDir::new()?;
        let mut command = namespace.command("nfcapd");
        command.arg("-w").arg(folder.path()).args(["-b", "127.0.0.1", "-p", &port.to_string(), "-B", "8388608"]);
        let mut process = Process::start(&mut command)?;
        process.wait_for_error_lines("Startup nfcapd", 1)?;
        Ok(Self { process, folder })
    }

    /// Stops it and reads its files with nfdump: without inner VLANs and layer-2 octets, which nfdump does not show.
    ///
    /// # Errors
    /// It has found an error in what it received, or a record cannot be read.
    pub fn stop(self) -> Result<Flows> {
        let finished = self.process.stop(Signal::TERM)?;
        let verdict = finished.stderr.iter().find(|line| line.contains("Sequence Errors"));
        let verdict = verdict.with_context(|| format!("nfcapd has received nothing: {:?}", finished.stderr))?;
        ensure!(verdict.contains("Sequence Errors: 0, Bad Packets: 0"), "nfcapd: {verdict}");
        let text = read(Command::new("nfdump").arg("-R").arg(self.folder.path()).args(["-o", "json"]))?;
        let records: Vec<Value> = serde_json::from_str(&text).context("nfdump's JSON")?;
        let mut flows = Flows::default();
        for record in &records {
            let (flow, counts) = nfdump_record(record)?;
            flows.add(flow, counts);
        }
        Ok(flows)
    }
}

fn nfdump_record(record: &Value) -> Result<(FlowId, Counts)> {
    let record = record.as_object().with_context(|| format!("no object: {record}"))?;
    let address = |names: [&str; 2]| -> Result<IpAddr> {
        let text = names.iter().find_map(|name| record.get(*name)?.as_str());
        Ok(text.with_context(|| format!("none of {names:?} in {record:?}"))?.parse()?)
    };
    let port = |name: &str| -> Result<u16> { Ok(u16::try_from(number(record, name)?)?) };
    let protocol = u8::try_from(number(record, "proto")?)?;
    let (source_port, destination_port) = if matches!(protocol, ICMP | ICMPV6) {
        (0, port("icmp_type")? * 256 + port("icmp_code")?)
    } else {
        (port("src_port")?, port("dst_port")?)
    };
    let flow = FlowId {
        source: address(["src4_addr", "src6_addr"])?,
        destination: address(["dst4_addr", "dst6_addr"])?,
        protocol,
        source_port,
        destination_port,
        vlan: port("src_vlan")?,
        customer_vlan: 0,
    };
    let counts =
        Counts { packets: number(record, "in_packets")?, octets: number(record, "in_bytes")?, layer2_octets: 0 };
    Ok((flow, counts))
}
