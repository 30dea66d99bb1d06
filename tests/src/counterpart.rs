//! Real collectors and readers of IPFIX: nfcapd with nfdump, and tcpdump with tshark.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
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
