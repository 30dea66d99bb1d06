//! ipfixDump of libfixbuf, which reads IPFIX files and is strict about them.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::reading::{Reading, integer, milliseconds};

/// Reads a file with ipfixDump: the records that are no options records.
///
/// # Errors
/// It complains about the file, or what it prints cannot be read.
pub fn ipfixdump(file: &Path) -> Result<Vec<Reading>> {
    dump(file, None)
}

/// The same with a file in which records are missing, which the numbers of its messages must tell.
///
/// # Errors
/// They do not tell it, it complains about something else, or what it prints cannot be read.
pub fn ipfixdump_with_a_gap(file: &Path) -> Result<Vec<Reading>> {
    dump(file, Some("IPFIX Message out of sequence"))
}

fn dump(file: &Path, complaint: Option<&str>) -> Result<Vec<Reading>> {
    let mut command = Command::new("ipfixDump");
    command.args(["--data", "--in"]).arg(file).env("TZ", "UTC").stdin(Stdio::null());
    let output = command.output().context("cannot start ipfixDump")?;
    let complaints = String::from_utf8_lossy(&output.stderr);
    let said: Vec<&str> = complaints.lines().filter(|line| !line.is_empty()).collect();
    let is_known = match complaint {
        None => said.is_empty(),
        Some(known) => !said.is_empty() && said.iter().all(|line| line.contains(known)),
    };
    ensure!(output.status.success() && is_known, "ipfixDump: {}: {complaints}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    let records = text.split("--- data record ").skip(1);
    // Only options records have elements of their scope.
    records.filter(|record| !record.contains("(S)")).map(reading).collect()
}

/// Lines as `(7)  sourceTransportPort : 20000`.
fn reading(record: &str) -> Result<Reading> {
    let mut reading = Reading::new();
    for line in record.lines().filter(|line| line.starts_with("\t(")) {
        let (element, shown) = line.split_once(" : ").with_context(|| format!("no element: {line}"))?;
        let name = element.split_whitespace().last().context("an element has a name")?;
        let value = value(name, shown.trim()).with_context(|| line.to_owned())?;
        ensure!(reading.insert(name.to_owned(), value).is_none(), "{name} is there twice: {record}");
    }
    Ok(reading)
}

fn value(name: &str, shown: &str) -> Result<Value> {
    Ok(if name.ends_with("Milliseconds") {
        milliseconds(shown, "[year]-[month]-[day] [hour]:[minute]:[second].[subsecond digits:3]")?
    } else if name.ends_with("IPv6Address") {
        shown.parse::<std::net::Ipv6Addr>()?.to_string().into()
    } else if name.ends_with("Address") {
        shown.into()
    } else if name == "mplsTopLabelStackSection" {
        // Three octets of an octetArray, which it prints as a number whose first octet is the lowest.
        let [first, second, third, _] = u32::try_from(integer(shown)?)?.to_le_bytes();
        u32::from_be_bytes([0, first, second, third]).into()
    } else {
        integer(shown)?.into()
    })
}
