//! tcpdump, and tshark, which decodes what it has captured.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::reading::{Reading, integer, nanoseconds, of_version};
use crate::namespace::Namespace;
use crate::process::{Process, read};
use crate::truth::Object;

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
        Self::start_with(namespace, interface, &format!("udp dst port {port}"))
    }

    /// Captures TCP of a port on an interface.
    ///
    /// # Errors
    /// tcpdump does not start.
    pub fn start_tcp(namespace: &Namespace, interface: &str, port: u16) -> Result<Self> {
        Self::start_with(namespace, interface, &format!("tcp port {port}"))
    }

    fn start_with(namespace: &Namespace, interface: &str, filter: &str) -> Result<Self> {
        let folder = TempDir::new()?;
        let mut command = namespace.command("tcpdump");
        command.args(["-i", interface, "-U", "-B", "16384", "-Z", "root", "-w"]).arg(folder.path().join("export.pcap"));
        command.arg(filter);
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

/// In the view of a strict decoder: packets that are malformed, have data of an unknown template or elements of unknown type,
/// or whose sequence number is not the one to expect.
pub const BAD: &str = "_ws.malformed or _ws.expert.group == \"Malformed\" or cflow.no_template_found or cflow.unknown_field_type \
    or cflow.unexpected_sequence_number";

impl Captured {
    /// The packets for which a display filter holds, a line of the named fields for each. What goes to `port` is read as
    /// IPFIX.
    ///
    /// # Errors
    /// tshark fails.
    pub fn decode(&self, port: u16, filter: &str, fields: &[&str]) -> Result<Vec<String>> {
        let mut command = tshark(&self.file, Some(port), filter);
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
        read(tshark(&self.file, Some(port), filter).arg("-w").arg(&file))?;
        Ok(Self { file, _folder: folder })
    }

    /// Every record in what goes to `port`, over UDP or TCP.
    ///
    /// # Errors
    /// tshark finds something wrong, or what it prints cannot be read.
    pub fn readings(&self, port: u16) -> Result<Vec<Reading>> {
        readings(&self.file, Some(port))
    }
}

/// Every record in an IPFIX file.
///
/// # Errors
/// tshark finds something wrong, or what it prints cannot be read.
pub fn tshark_on_file(file: &Path) -> Result<Vec<Reading>> {
    readings(file, None)
}

fn tshark(file: &Path, port: Option<u16>, filter: &str) -> Command {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(file).args(["-Y", filter]).env("TZ", "UTC");
    for transport in ["udp", "tcp"] {
        command.args(port.map(|port| format!("-d{transport}.port=={port},cflow")));
    }
    command
}

fn readings(file: &Path, port: Option<u16>) -> Result<Vec<Reading>> {
    let bad = read(tshark(file, port, BAD).args(["-T", "fields", "-e", "frame.number", "-e", "_ws.expert.message"]))?;
    ensure!(bad.is_empty(), "tshark finds these packets wrong: {bad}");
    let text = read(tshark(file, port, "cflow").args(["-T", "json", "--no-duplicate-keys"]))?;
    let packets: Value = serde_json::from_str(&text).context("tshark's JSON")?;
    let mut readings = Vec::new();
    for packet in packets.as_array().context("tshark prints a list")? {
        let messages = &packet["_source"]["layers"]["cflow"];
        // A segment may have several messages.
        for message in messages.as_array().map_or(std::slice::from_ref(messages), Vec::as_slice) {
            let mut flows = Vec::new();
            collect_flows(message, &mut flows);
            let start = system_start(message)?;
            for flow in flows {
                readings.push(reading(flow, start)?);
            }
        }
    }
    Ok(readings)
}

/// Goes down to the objects that are flows: those with a count of packets and a protocol, which options records lack.
fn collect_flows<'a>(value: &'a Value, flows: &mut Vec<&'a Object>) {
    let Some(object) = value.as_object() else { return };
    if object.contains_key("cflow.packets") && object.contains_key("cflow.protocol") {
        flows.push(object);
    } else {
        object.values().for_each(|value| collect_flows(value, flows));
    }
}

/// When the exporter started, in milliseconds since 1970, by the header of a NetFlow message: its times count from there.
fn system_start(message: &Value) -> Result<Option<u64>> {
    let Some(uptime) = message["cflow.sysuptime"].as_str() else { return Ok(None) };
    let part = |name: &str| message["cflow.timestamp_tree"][name].as_str().map_or(Ok(0), integer);
    let now = part("cflow.unix_secs")? * 1000 + part("cflow.unix_nsecs")? / 1_000_000;
    Ok(Some(now.checked_sub(span(uptime)?).context("an exporter that started before 1970")?))
}

/// The milliseconds of a time span as `90.123000000`.
fn span(text: &str) -> Result<u64> {
    let (seconds, nanoseconds) = text.split_once('.').with_context(|| format!("no time span: {text}"))?;
    Ok(integer(seconds)? * 1000 + integer(nanoseconds)? / 1_000_000)
}

/// tshark's fields and the registry's names for them.
const FIELDS: [(&str, &str); 28] = [
    ("cflow.srcaddr", "sourceIPv4Address"),
    ("cflow.dstaddr", "destinationIPv4Address"),
    ("cflow.srcaddrv6", "sourceIPv6Address"),
    ("cflow.dstaddrv6", "destinationIPv6Address"),
    ("cflow.srcport", "sourceTransportPort"),
    ("cflow.dstport", "destinationTransportPort"),
    ("cflow.protocol", "protocolIdentifier"),
    ("cflow.ip_version", "ipVersion"),
    ("cflow.tos", "ipClassOfService"),
    ("cflow.tcpflags", "tcpControlBits"),
    ("cflow.ttl_min", "minimumTTL"),
    ("cflow.ttl_max", "maximumTTL"),
    ("cflow.length_min", "minimumIpTotalLength"),
    ("cflow.length_max", "maximumIpTotalLength"),
    ("cflow.packets", "packetDeltaCount"),
    ("cflow.octets", "octetDeltaCount"),
    ("cflow.layer2_octet_delta_count", "layer2OctetDeltaCount"),
    ("cflow.inputint", "ingressInterface"),
    ("cflow.outputint", "egressInterface"),
    ("cflow.direction", "flowDirection"),
    ("cflow.vlanid", "vlanId"),
    ("cflow.dot1q_vlan_id", "dot1qVlanId"),
    ("cflow.dot1q_customer_vlan_id", "dot1qCustomerVlanId"),
    ("cflow.ip_fragment_flags", "fragmentFlags"),
    ("cflow.ethernet_type", "ethernetType"),
    ("cflow.srcmac", "sourceMacAddress"),
    ("cflow.dstmac", "destinationMacAddress"),
    ("cflow.flow_end_reason", "flowEndReason"),
];

fn reading(flow: &Object, system_start: Option<u64>) -> Result<Reading> {
    let mut reading = Reading::new();
    for (field, name) in FIELDS {
        let Some(value) = flow.get(field) else { continue };
        let text = value.as_str().with_context(|| format!("{field} is no text: {flow:?}"))?;
        reading.insert(name.to_owned(), value_of(name, text)?);
    }
    read_times(flow, system_start, &mut reading)?;
    let number = |value: &Value| value.as_str().with_context(|| format!("no text: {flow:?}")).and_then(integer);
    // As NetFlow had it for both versions, and as IPFIX has it for version 6.
    if let Some(both) = flow.get("cflow.icmp_type_code_ipv4") {
        reading.insert(of_version("icmpTypeCode", &reading), number(both)?.into());
    } else if let (Some(kind), Some(code)) = (flow.get("cflow.icmp_ipv6_type"), flow.get("cflow.icmp_ipv6_code")) {
        reading.insert("icmpTypeCodeIPv6".to_owned(), (number(kind)? * 256 + number(code)?).into());
    }
    // Label, traffic class, bottom of stack.
    if let Some((_, label)) = flow.iter().find(|(name, _)| name.starts_with("MPLS-Label1")) {
        let part = |name: &str| number(&label[format!("cflow.mpls_{name}")]);
        let entry = part("label")? << 4 | part("exp")? << 1 | part("bos")?;
        reading.insert("mplsTopLabelStackSection".to_owned(), entry.into());
    }
    Ok(reading)
}

/// The units of times in the order in which a record has them, where it has several, and how many nanoseconds each is: tshark does
/// not tell them apart.
const UNITS: [(&str, u64); 3] = [("Milliseconds", 1_000_000), ("Microseconds", 1000), ("Seconds", 1_000_000_000)];

fn read_times(flow: &Object, system_start: Option<u64>, reading: &mut Reading) -> Result<()> {
    let layout = "[month repr:short] [day padding:space], [year] [hour]:[minute]:[second].[subsecond digits:9] UTC";
    let times = flow.get("cflow.timedelta_tree").with_context(|| format!("no times: {flow:?}"))?;
    let times = times.as_array().map_or(std::slice::from_ref(times), Vec::as_slice);
    for ((unit, length), times) in UNITS.iter().zip(times) {
        for (end, name) in [("start", format!("flowStart{unit}")), ("end", format!("flowEnd{unit}"))] {
            let shown = |kind: &str| times[format!("cflow.{kind}{end}")].as_str();
            let value = match (shown("abstime"), shown("time"), system_start) {
                (Some(text), ..) => nanoseconds(text, layout)? / length,
                (None, Some(text), Some(start)) => start + span(text)?,
                _ => bail!("no {name}: {flow:?}"),
            };
            reading.insert(name, value.into());
        }
    }
    Ok(())
}

fn value_of(name: &str, text: &str) -> Result<Value> {
    Ok(if name.ends_with("MacAddress") {
        text.into()
    } else if name.ends_with("Address") {
        let Ok(address) = text.parse::<IpAddr>() else { bail!("{name} is {text}") };
        address.to_string().into()
    } else {
        integer(text)?.into()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::truth::number;

    #[test]
    fn times_of_netflow_count_from_the_start_of_the_exporter() -> Result<()> {
        let message = json!({
            "cflow.sysuptime": "100.500000000",
            "cflow.timestamp_tree": {"cflow.unix_secs": "1700000000", "cflow.unix_nsecs": "250000000"},
            "pdu 1/1": {
                "cflow.srcaddr": "10.0.0.1", "cflow.packets": "7", "cflow.protocol": "6",
                "cflow.timedelta_tree": {"cflow.timestart": "90.123000000", "cflow.timeend": "95.456000000"},
            },
        });
        let mut flows = Vec::new();
        collect_flows(&message, &mut flows);
        let reading = reading(flows[0], system_start(&message)?)?;
        assert_eq!(number(&reading, "flowStartMilliseconds")?, 1_699_999_989_873);
        assert_eq!(number(&reading, "flowEndMilliseconds")?, 1_699_999_995_206);
        Ok(())
    }
}
