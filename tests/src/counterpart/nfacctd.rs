//! nfacctd of pmacct, with its print plugin.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::reading::{Format, Reading, integer};
use crate::namespace::Namespace;
use crate::process::Process;
use crate::truth::Object;

/// A running nfacctd and the folder with its configuration and its output.
pub struct Nfacctd {
    process: Process,
    folder: TempDir,
}

/// What records are told apart by: all that it has primitives for and the daemon exports.
const AGGREGATE: &str = "src_host, dst_host, src_port, dst_port, proto, tos, tcpflags, vlan, src_mac, dst_mac, etype, in_iface, \
     out_iface, timestamp_start, timestamp_end, sampling_rate, sampling_direction, export_proto_version";

/// What it logs about options templates when a set has more than one: nfacctd 1.7.7 then looks for the second in the wrong place.
/// It does not learn them, and needs none of them.
const OPTIONS_TEMPLATES: &str = "insert_opt_template(): unable to read Options Template Flowset (malformed)";

impl Nfacctd {
    /// Starts it on a UDP port of 127.0.0.1 in the namespace; Debian's build has neither TCP nor DTLS.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(namespace: &Namespace, port: u16) -> Result<Self> {
        let folder = TempDir::new()?;
        let configuration = folder.path().join("nfacctd.conf");
        let output = folder.path().join("output.json");
        // It writes when it ends, and has room until then; numbers stay numbers, and checks are made.
        let text = format!(
            "nfacctd_ip: 127.0.0.1\nnfacctd_port: {port}\nnfacctd_disable_checks: false\nnfacctd_pipe_size: 8388608\n\
             plugins: print\nplugin_pipe_size: 16777216\nplugin_buffer_size: 16384\nprint_output: json\n\
             print_output_file: {}\nprint_refresh_time: 86400\nprint_num_protos: true\ntimestamps_since_epoch: true\n\
             aggregate: {AGGREGATE}\n",
            output.display()
        );
        fs::write(&configuration, text)?;
        let mut process = Process::start(namespace.command("nfacctd").arg("-f").arg(&configuration))?;
        process.wait_for_error_lines("waiting for NetFlow/IPFIX data", 1)?;
        process.wait_for_error_lines("JSON: setting object handlers", 1)?;
        Ok(Self { process, folder })
    }

    /// Stops it and reads what it has written.
    ///
    /// # Errors
    /// It has complained about what it received, or a record cannot be read or did not come in `format`.
    pub fn readings(self, format: Format) -> Result<Vec<Reading>> {
        let finished = self.process.stop(Signal::INT)?;
        let complaints =
            ["WARN", "ERROR", "expecting flow", "unable to", "unknown template", "malformed", "too long", "missing"];
        let complaint = finished.stderr.iter().find(|line| {
            complaints.iter().any(|complaint| line.contains(complaint)) && !line.contains(OPTIONS_TEMPLATES)
        });
        ensure!(complaint.is_none(), "nfacctd: {complaint:?}");
        let text = fs::read_to_string(self.folder.path().join("output.json"))
            .with_context(|| format!("nfacctd has received nothing: {:?}", finished.stderr))?;
        text.lines().map(|line| reading(&serde_json::from_str(line).context("nfacctd's JSON")?, format)).collect()
    }
}

/// What nfacctd shows as it is in the record, and the registry's names for it.
const AS_IT_IS: [(&str, &str); 10] = [
    ("port_src", "sourceTransportPort"),
    ("port_dst", "destinationTransportPort"),
    ("tos", "ipClassOfService"),
    ("packets", "packetDeltaCount"),
    ("bytes", "octetDeltaCount"),
    ("iface_in", "ingressInterface"),
    ("iface_out", "egressInterface"),
    ("vlan", "vlanId"),
    ("mac_src", "sourceMacAddress"),
    ("mac_dst", "destinationMacAddress"),
];

fn reading(record: &Object, format: Format) -> Result<Reading> {
    let value = |name: &str| record.get(name).with_context(|| format!("no {name} in {record:?}"));
    let text = |name: &str| value(name)?.as_str().with_context(|| format!("{name} is no text in {record:?}"));
    ensure!(*value("export_proto_version")? == format.version(), "not in {format:?}: {record:?}");
    let mut reading = Reading::new();
    for (shown, name) in AS_IT_IS {
        reading.insert(name.to_owned(), value(shown)?.clone());
    }
    let version = if text("ip_src")?.contains(':') { "IPv6" } else { "IPv4" };
    reading.insert(format!("source{version}Address"), value("ip_src")?.clone());
    reading.insert(format!("destination{version}Address"), value("ip_dst")?.clone());
    // Numbers, in text.
    reading.insert("protocolIdentifier".to_owned(), integer(text("ip_proto")?)?.into());
    reading.insert("tcpControlBits".to_owned(), integer(text("tcp_flags")?)?.into());
    reading.insert("ethernetType".to_owned(), integer(&format!("0x{}", text("etype")?))?.into());
    let direction = match text("sampling_direction")? {
        "i" => 0.into(),
        "e" => 1.into(),
        _ => Value::Null,
    };
    reading.insert("flowDirection".to_owned(), direction);
    for (shown, name) in [("timestamp_start", "flowStartMilliseconds"), ("timestamp_end", "flowEndMilliseconds")] {
        let (seconds, microseconds) = text(shown)?.split_once('.').context("a time has a fraction")?;
        reading.insert(name.to_owned(), (integer(seconds)? * 1000 + integer(microseconds)? / 1000).into());
    }
    Ok(reading)
}
