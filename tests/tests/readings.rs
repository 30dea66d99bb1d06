//! Holds that every element that a real collector shows is the daemon's and is as it was sent, in every format; and the same of
//! files.

use std::fs;

use anyhow::{Result, ensure};
use flowprobe_tests::captures::pcap;
use flowprobe_tests::counterpart::{
    Capture, Format, Nfacctd, Nfcapd, Reader, Reading, View, ipfixdump, tshark_on_file,
};
use flowprobe_tests::daemon::{Daemon, flowprobe};
use flowprobe_tests::inject;
use flowprobe_tests::ipfix::as_on_the_wire;
use flowprobe_tests::lab;
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::process::read;
use flowprobe_tests::require;
use flowprobe_tests::truth::Object;

/// Those that the daemon speaks.
const FORMATS: [Format; 1] = [Format::Ipfix];

const NFCAPD_PORT: u16 = 4739;
const NFACCTD_PORT: u16 = 2100;

#[test]
fn collectors_show_every_element_as_it_was_sent() -> Result<()> {
    require!("nfcapd", "nfdump", "nfacctd", "tcpdump", "tshark");
    FORMATS.into_iter().try_for_each(collectors_agree)
}

fn collectors_agree(format: Format) -> Result<()> {
    let room = Namespace::with_pair()?;
    let nfcapd = Nfcapd::start(&room, NFCAPD_PORT)?;
    let nfacctd = Nfacctd::start(&room, NFACCTD_PORT)?;
    let capture = Capture::start(&room, "lo", NFCAPD_PORT)?;
    let urls = [NFCAPD_PORT, NFACCTD_PORT].map(|port| format!("udp://127.0.0.1:{port}{}", format.option()));
    let mut daemon = Daemon::quick(&room, &["-i", "vb", "--collector", &urls[0], "--collector", &urls[1]])?;

    let traffic = lab::traffic()?;
    inject::send(&room, "va", "vb", &traffic.frames)?;
    daemon.wait_until_seen("vb", lab::PACKETS)?;
    // Some have ended by being idle, the rest are made to.
    daemon.wait_for_record("a flow that has ended by itself", |_| true)?;
    let printed = daemon.stop()?.records;

    let sent = traffic.records(room.index("vb")?)?;
    let json: Vec<Reading> = printed.iter().map(as_on_the_wire).collect();
    View { reader: Reader::Json, format: Format::Ipfix }.must_be_as_sent(&json, &sent)?;
    let all = [
        (Reader::Nfdump, nfcapd.readings()?),
        (Reader::Nfacctd, nfacctd.readings(format)?),
        (Reader::Tshark, capture.stop()?.readings(NFCAPD_PORT)?),
    ];
    for (reader, readings) in all {
        agrees(View { reader, format }, &readings, &printed, &sent)?;
    }
    Ok(())
}

#[test]
fn readers_of_files_show_every_element_as_it_was_captured() -> Result<()> {
    require!("ipfixDump", "tshark");
    let folder = tempfile::tempdir()?;
    let [capture, file] = ["lab.pcap", "lab.ipfix"].map(|name| folder.path().join(name).display().to_string());
    let mut traffic = lab::traffic()?;
    // A capture has a frame a second: then most flows come in many records.
    traffic.frames.truncate(5000);
    fs::write(&capture, pcap(&traffic.frames))?;
    let room = Namespace::new()?;
    let text = read(&mut flowprobe(&room, &["replay", "--json", "--ipfix-file", &file, &capture])?)?;
    let printed = text.lines().filter(|line| !line.starts_with("{\"accounting\""));
    let printed = printed.map(serde_json::from_str).collect::<Result<Vec<Object>, _>>()?;
    ensure!(printed.len() > 4000, "{} records of 5,000 packets, seconds apart", printed.len());
    for (reader, readings) in
        [(Reader::IpfixDump, ipfixdump(file.as_ref())?), (Reader::Tshark, tshark_on_file(file.as_ref())?)]
    {
        View { reader, format: Format::Ipfix }.must_show(&readings, &printed)?;
    }
    Ok(())
}

fn agrees(view: View, readings: &[Reading], printed: &[Object], sent: &[Object]) -> Result<()> {
    view.must_show(readings, printed)?;
    view.must_be_as_sent(readings, sent)
}
