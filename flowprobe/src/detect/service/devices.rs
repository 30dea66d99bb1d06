//! `flowprobe devices`: the devices that the daemon has met, as a file of approvals has them.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::{Value, json};

use super::super::device::{self, Device, DeviceState};
use super::super::flow::Mac;
use super::super::words::counted;
use super::cli::moment;
use super::keep::{Keep, KeepError, Learned};
use super::keeping::INTERFACES;
use crate::enrich::{EnrichConfig, Enricher, Enrichment};
use crate::output::unless_closed;
use crate::store::DEFAULT_FOLDER;

/// Flags of `flowprobe devices`.
#[derive(Clone, Debug, Args)]
pub struct DevicesArgs {
    /// Folder of the history, where the daemon keeps what it has learned [default: /var/lib/flowprobe/store]
    #[arg(long, value_name = "PATH")]
    pub store: Option<PathBuf>,

    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// Writes the devices that were kept, those that were seen last first.
///
/// # Errors
/// What was kept or the system's list of makers cannot be read, or the output refuses.
pub fn print(args: &DevicesArgs, out: &mut impl Write) -> Result<()> {
    let keep = Keep::in_folder(&args.store.clone().unwrap_or_else(|| DEFAULT_FOLDER.into()));
    let learned = keep.learned()?;
    let state = inventory(&keep, &learned)?;
    let makers = Enricher::new(&Arc::new(Enrichment::open(&EnrichConfig::default())?));
    let maker = |mac: Mac| makers.vendor(mac.0.into_iter().fold(0, |sum, octet| sum << 8 | u64::from(octet)));
    let names: Vec<String> =
        kept(&learned, INTERFACES).and_then(|octets| postcard::from_bytes(octets).ok()).unwrap_or_default();
    let written = write(&state, &names, maker, args.json, out);
    unless_closed(written.and_then(|()| out.flush())).context("cannot write the devices")
}

fn kept<'a>(learned: &'a Learned, name: &str) -> Option<&'a [u8]> {
    learned.iter().find(|(other, _)| other == name).map(|(_, octets)| octets.as_slice())
}

/// None where nothing was learned yet.
fn inventory(keep: &Keep, learned: &Learned) -> Result<DeviceState, KeepError> {
    let Some(octets) = kept(learned, device::NAME) else { return Ok(DeviceState::default()) };
    postcard::from_bytes(octets).map_err(|_| KeepError::Damaged { path: keep.folder().join("learned") })
}

fn write(
    state: &DeviceState,
    interfaces: &[String],
    maker: impl Fn(Mac) -> Option<Arc<str>>,
    is_json: bool,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut devices: Vec<&Device> = state.inventory.iter().collect();
    devices.sort_by_key(|device| (std::cmp::Reverse(device.last_ms), device.mac.0));
    if !is_json {
        let many = counted(devices.len() as u64, "device");
        writeln!(out, "# {many}. Who may not be here is to be taken out before this becomes the file of `approvals`.")?;
    }
    for device in devices {
        let interface = interfaces.get(device.interface as usize).map_or("", String::as_str);
        let maker = maker(device.mac);
        if is_json {
            writeln!(out, "{}", in_json(device, interface, maker.as_deref()))?;
        } else {
            in_words(device, interface, maker.as_deref(), out)?;
        }
    }
    Ok(())
}

/// A line of a file of approvals: what is known is a remark, and the maker stands for the name.
fn in_words(device: &Device, interface: &str, maker: Option<&str>, out: &mut impl Write) -> io::Result<()> {
    let name = maker.unwrap_or_default().replace('#', " ");
    write!(out, "{}  {name:<28}  #", device.mac)?;
    for address in &device.addresses {
        write!(out, " {}", address.ip)?;
    }
    if device.is_router() {
        write!(out, " (a router)")?;
    }
    if !interface.is_empty() {
        write!(out, " on {interface}")?;
    }
    if device.vlan != 0 {
        write!(out, " VLAN {}", device.vlan)?;
    }
    writeln!(out, ", {} to {}", moment(device.first_ms), moment(device.last_ms))
}

fn in_json(device: &Device, interface: &str, maker: Option<&str>) -> Value {
    let addresses = device.addresses.iter().map(|address| {
        json!({
            "address": address.ip.to_string(),
            "firstMilliseconds": address.first_ms,
            "lastMilliseconds": address.last_ms,
        })
    });
    json!({
        "mac": device.mac.to_string(),
        "maker": maker,
        "firstMilliseconds": device.first_ms,
        "lastMilliseconds": device.last_ms,
        "interface": interface,
        "vlan": device.vlan,
        "isRouter": device.is_router(),
        "addresses": addresses.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::super::super::device::Approvals;
    use super::super::super::flow::{Flow, Ip};
    use super::super::super::site::Site;
    use super::super::super::{Detection, Outside, Settings};
    use super::*;

    fn ip(text: &str) -> Ip {
        text.parse::<IpAddr>().expect("an address").into()
    }

    /// What was kept of two devices.
    fn kept_folder() -> (tempfile::TempDir, Keep) {
        let folder = tempfile::tempdir().expect("a folder");
        let keep = Keep::in_folder(folder.path());
        let mut detection = Detection::new(Site::private_and([]), &Settings::default(), Outside::default());
        let flow = |last: u8, at_ms| Flow {
            source: ip(&format!("10.0.0.{last}")),
            destination: ip("192.0.2.1"),
            source_mac: Mac([0, 0x1b, 0x21, 0, 0, last]),
            packets: 1,
            octets: 60,
            start_ms: at_ms,
            end_ms: at_ms,
            ..Flow::default()
        };
        detection.take(&[flow(1, 1_700_000_000_000), flow(2, 1_700_000_001_000)]);
        keep.make_folder().expect("a folder");
        let mut learned = detection.learned();
        learned.push((INTERFACES, postcard::to_stdvec(&vec!["lan".to_owned()]).expect("names")));
        keep.save_learned(&learned).expect("kept");
        (folder, keep)
    }

    #[test]
    fn the_list_can_be_the_file_of_approvals() {
        let (_folder, keep) = kept_folder();
        let learned = keep.learned().expect("kept");
        let state = inventory(&keep, &learned).expect("an inventory");
        let text = |is_json| {
            let mut out = Vec::new();
            let maker = |mac: Mac| (mac.0[5] == 1).then(|| "Maker #1".into());
            write(&state, &["lan".to_owned()], maker, is_json, &mut out).expect("written");
            String::from_utf8(out).expect("text")
        };
        let words = text(false);
        let lines: Vec<&str> = words.lines().collect();
        assert!(lines[0].starts_with("# 2 devices."), "{words}");
        assert_eq!(
            lines[2],
            "00:1b:21:00:00:01  Maker  1                      # 10.0.0.1 on lan, 2023-11-14 22:13:20 UTC to 2023-11-14 22:13:20 UTC"
        );
        let approvals = Approvals::parse(&words).expect("a file of approvals");
        assert_eq!(approvals.len(), 2);
        let first: Value = serde_json::from_str(text(true).lines().next().expect("a line")).expect("JSON");
        assert_eq!((&first["mac"], &first["maker"]), (&json!("00:1b:21:00:00:02"), &Value::Null));
        assert_eq!((&first["interface"], &first["addresses"][0]["address"]), (&json!("lan"), &json!("10.0.0.2")));
    }

    #[test]
    fn nothing_learned_is_no_device_and_what_is_damaged_is_said() {
        let (folder, keep) = kept_folder();
        let state = inventory(&keep, &Vec::new()).expect("none");
        let mut out = Vec::new();
        write(&state, &[], |_| None, false, &mut out).expect("written");
        assert!(out.starts_with(b"# 0 devices."), "{}", String::from_utf8_lossy(&out));
        keep.save_learned(&[(device::NAME, vec![255; 9])]).expect("kept");
        let args = DevicesArgs { store: Some(folder.path().to_owned()), json: false };
        let error = print(&args, &mut Vec::new()).expect_err("damaged").to_string();
        assert!(error.contains("learned"), "{error}");
    }
}
