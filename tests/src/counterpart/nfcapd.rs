//! nfcapd, and nfdump, which reads what it has written.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::reading::{Reading, milliseconds, of_version};
use crate::namespace::Namespace;
use crate::process::{Process, read};
use crate::truth::{Flows, Object, number};

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

    /// Stops it and reads its files with nfdump: flows without inner VLANs and layer-2 octets, which nfdump does not show.
    ///
    /// # Errors
    /// It has found an error in what it received, or a record cannot be read.
    pub fn stop(self) -> Result<Flows> {
        flows(self.readings()?)
    }

    /// The same for an exporter that does not number its messages as its format has it.
    ///
    /// # Errors
    /// As [`Nfcapd::stop`], but for the numbers.
    pub fn stop_whatever_the_numbers(self) -> Result<Flows> {
        flows(self.read(|verdict| verdict.contains("Bad Packets: 0"))?)
    }

    /// Stops it and reads its files with nfdump.
    ///
    /// # Errors
    /// It has found an error in what it received, or a record cannot be read.
    pub fn readings(self) -> Result<Vec<Reading>> {
        self.read(|verdict| verdict.contains("Sequence Errors: 0, Bad Packets: 0"))
    }

    /// Stops it; what nfdump says of each record in its files, in its own words.
    ///
    /// # Errors
    /// As [`Nfcapd::readings`].
    pub fn objects(self) -> Result<Vec<Object>> {
        self.read_objects(|verdict| verdict.contains("Sequence Errors: 0, Bad Packets: 0"))
    }

    /// Stops it and reads its files with nfdump, if its verdict on every exporter is good.
    fn read(self, good: fn(&str) -> bool) -> Result<Vec<Reading>> {
        self.read_objects(good)?.iter().map(reading).collect()
    }

    fn read_objects(self, good: fn(&str) -> bool) -> Result<Vec<Object>> {
        let finished = self.process.stop(Signal::TERM)?;
        // Its decoders say nothing else than that an exporter is new, unless something is wrong.
        let complaint = finished.stderr.iter().find(|line| line.starts_with("Process_") && !line.contains(": New "));
        ensure!(complaint.is_none(), "nfcapd: {complaint:?}");
        let mut verdicts = finished.stderr.iter().filter(|line| line.contains("Sequence Errors")).peekable();
        ensure!(verdicts.peek().is_some(), "nfcapd has received nothing: {:?}", finished.stderr);
        let bad = verdicts.find(|verdict| !good(verdict));
        ensure!(bad.is_none(), "nfcapd: {bad:?}");
        // nfdump prints local time.
        let mut nfdump = Command::new("nfdump");
        nfdump.env("TZ", "UTC").arg("-R").arg(self.folder.path()).args(["-o", "json"]);
        serde_json::from_str(&read(&mut nfdump)?).context("nfdump's JSON")
    }
}

/// A running nfcapd whose files are removed as soon as they are full: only what it counts is of interest.
pub struct CountingNfcapd {
    process: Process,
    _folder: TempDir,
}

impl CountingNfcapd {
    /// Starts it on a port of 127.0.0.1 in the namespace, with a receive buffer of so many octets, and its files in memory.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(namespace: &Namespace, port: u16, receive_buffer: u32) -> Result<Self> {
        let folder = TempDir::new_in("/dev/shm")?;
        let mut command = namespace.command("nfcapd");
        command.arg("-w").arg(folder.path()).args(["-b", "127.0.0.1", "-p", &port.to_string()]);
        command.args(["-B", &receive_buffer.to_string(), "-t", "5", "-x", "rm %d/%f"]);
        let mut process = Process::start(&mut command)?;
        process.wait_for_error_lines("Startup nfcapd", 1)?;
        Ok(Self { process, _folder: folder })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Stops it; returns how many records it has read.
    ///
    /// # Errors
    /// It does not end, or does not say.
    pub fn stop(self) -> Result<u64> {
        let finished = self.process.stop(Signal::TERM)?;
        // One of each file.
        let verdicts = finished.stderr.iter().filter_map(|line| line.split_once(" Flows: "));
        let counts = verdicts.map(|(_, rest)| Ok(rest.split(',').next().unwrap_or_default().parse::<u64>()?));
        let counts: Vec<u64> = counts.collect::<Result<_>>()?;
        ensure!(!counts.is_empty(), "nfcapd has received nothing: {:?}", finished.stderr);
        Ok(counts.iter().sum())
    }
}

/// The flows of what nfdump shows.
fn flows(mut readings: Vec<Reading>) -> Result<Flows> {
    for reading in &mut readings {
        reading.insert("layer2OctetDeltaCount".to_owned(), 0.into());
    }
    Flows::of_records(&readings)
}

/// What nfdump shows as it is in the record, and the registry's names for it.
const AS_IT_IS: [(&str, &str); 16] = [
    ("src4_addr", "sourceIPv4Address"),
    ("dst4_addr", "destinationIPv4Address"),
    ("src6_addr", "sourceIPv6Address"),
    ("dst6_addr", "destinationIPv6Address"),
    ("src_port", "sourceTransportPort"),
    ("dst_port", "destinationTransportPort"),
    ("proto", "protocolIdentifier"),
    ("src_tos", "ipClassOfService"),
    ("in_packets", "packetDeltaCount"),
    ("in_bytes", "octetDeltaCount"),
    ("input_snmp", "ingressInterface"),
    ("output_snmp", "egressInterface"),
    ("direction", "flowDirection"),
    ("src_vlan", "vlanId"),
    ("in_src_mac", "sourceMacAddress"),
    ("in_dst_mac", "destinationMacAddress"),
];

/// The eight flags from CWR down to FIN; a dot for one that is not set.
const FLAGS: &str = "CEUAPRSF";

fn reading(record: &Object) -> Result<Reading> {
    let shown = AS_IT_IS.iter().filter_map(|(shown, name)| Some(((*name).to_owned(), record.get(*shown)?.clone())));
    let mut reading: Reading = shown.collect();
    let text =
        |name: &str| record.get(name).and_then(Value::as_str).with_context(|| format!("no {name} in {record:?}"));
    for (shown, name) in [("first", "flowStartMilliseconds"), ("last", "flowEndMilliseconds")] {
        let layout = "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]";
        reading.insert(name.to_owned(), milliseconds(text(shown)?, layout)?);
    }
    // Of ICMP it shows none.
    if record.contains_key("tcp_flags") {
        let flags = text("tcp_flags")?;
        ensure!(flags.len() == FLAGS.len(), "nfdump's flags are {flags}");
        let bits =
            FLAGS.chars().zip(flags.chars()).fold(0_u64, |bits, (flag, shown)| bits << 1 | u64::from(flag == shown));
        reading.insert("tcpControlBits".to_owned(), bits.into());
    } else {
        reading.insert("tcpControlBits".to_owned(), 0.into());
    }
    if record.contains_key("icmp_type") {
        let type_and_code = number(record, "icmp_type")? * 256 + number(record, "icmp_code")?;
        reading.insert(of_version("icmpTypeCode", &reading), type_and_code.into());
    }
    // Label, traffic class, bottom of stack.
    if record.contains_key("mpls_1") {
        let parts = text("mpls_1")?.split('-').map(str::parse).collect::<Result<Vec<u64>, _>>()?;
        let [label, class, bottom] = parts[..] else { anyhow::bail!("nfdump's MPLS label has {parts:?}") };
        reading.insert("mplsTopLabelStackSection".to_owned(), (label << 4 | class << 1 | bottom).into());
    }
    Ok(reading)
}
