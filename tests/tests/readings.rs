//! Holds that every element that a real collector shows is the daemon's and is as it was sent, in every format; and the same of
//! files and of messages in a TCP connection.

use std::io::{self, Write as _};
use std::net::{TcpListener, TcpStream};
use std::{fs, thread};

use anyhow::{Result, anyhow, ensure};
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
use flowprobe_tests::truth::{Object, number};
use tempfile::TempDir;

/// Those that the daemon speaks.
const FORMATS: [Format; 3] = [Format::Ipfix, Format::NetFlow9, Format::NetFlow5];

const NFCAPD_PORT: u16 = 4739;
const NFACCTD_PORT: u16 = 2100;
const STREAM_PORT: u16 = 4740;

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

/// Every kind of element, among them times in all units and one that NetFlow v9 has by name only. Times are in the order that the
/// reader of tshark's output knows them by.
const CHOSEN: [&str; 22] = [
    "flowEndReason",
    "sourceIPv4Address",
    "destinationIPv4Address",
    "sourceIPv6Address",
    "destinationIPv6Address",
    "destinationTransportPort",
    "sourceTransportPort",
    "protocolIdentifier",
    "octetDeltaCount",
    "packetDeltaCount",
    "flowStartMilliseconds",
    "flowEndMilliseconds",
    "flowStartMicroseconds",
    "flowEndMicroseconds",
    "flowStartSeconds",
    "flowEndSeconds",
    "sourceMacAddress",
    "destinationMacAddress",
    "vlanId",
    "ingressInterface",
    "egressInterface",
    "tcpControlBits",
];

#[test]
fn collectors_show_chosen_fields_as_they_were_sent() -> Result<()> {
    require!("nfcapd", "nfdump", "tcpdump", "tshark");
    [Format::Ipfix, Format::NetFlow9].into_iter().try_for_each(collectors_agree_on_chosen_fields)
}

fn collectors_agree_on_chosen_fields(format: Format) -> Result<()> {
    let room = Namespace::with_pair()?;
    let nfcapd = Nfcapd::start(&room, NFCAPD_PORT)?;
    let capture = Capture::start(&room, "lo", NFCAPD_PORT)?;
    let (url, fields) = (format!("udp://127.0.0.1:{NFCAPD_PORT}{}", format.option()), CHOSEN.join(","));
    let mut daemon = Daemon::quick(&room, &["-i", "vb", "--fields", &fields, "--collector", &url])?;
    let traffic = lab::traffic()?;
    inject::send(&room, "va", "vb", &traffic.frames)?;
    daemon.wait_until_seen("vb", lab::PACKETS)?;
    // Two reasons to end.
    daemon.wait_for_record("a flow that has ended by itself", |_| true)?;
    let printed = daemon.stop()?.records;

    let mut sent = traffic.records(room.index("vb")?)?;
    sent.iter_mut().for_each(|record| record.retain(|element, _| CHOSEN.contains(&element.as_str())));
    let shown = capture.stop()?.readings(NFCAPD_PORT)?;
    let is_finer = |record: &Reading| Ok(number(record, "flowStartMicroseconds")? % 1000 != 0);
    ensure!(shown.iter().map(is_finer).collect::<Result<Vec<bool>>>()?.contains(&true), "milliseconds as microseconds");
    for (reader, readings) in [(Reader::Tshark, shown), (Reader::Nfdump, nfcapd.readings()?)] {
        let view = View { reader, format };
        view.must_show_chosen(&readings, &printed, &CHOSEN)?;
        view.must_be_as_sent(&readings, &sent)?;
    }
    Ok(())
}

#[test]
fn readers_of_files_show_every_element_as_it_was_captured() -> Result<()> {
    require!("ipfixDump", "tshark");
    let room = Namespace::new()?;
    let (folder, printed) = replayed(&room)?;
    let file = folder.path().join(FILE);
    for (reader, readings) in [(Reader::IpfixDump, ipfixdump(&file)?), (Reader::Tshark, tshark_on_file(&file)?)] {
        View { reader, format: Format::Ipfix }.must_show(&readings, &printed)?;
    }
    Ok(())
}

/// A file's messages one after the other are what a TCP connection carries; segments end anywhere in them.
#[test]
fn a_decoder_finds_the_messages_in_a_tcp_connection() -> Result<()> {
    require!("tcpdump", "tshark");
    let room = Namespace::new()?;
    let (folder, printed) = replayed(&room)?;
    let messages = fs::read(folder.path().join(FILE))?;
    let capture = Capture::start_tcp(&room, "lo", STREAM_PORT)?;
    let listener = room.inside(|| Ok(TcpListener::bind(("127.0.0.1", STREAM_PORT))?))?;
    let sink = thread::spawn(move || -> Result<u64> { Ok(io::copy(&mut listener.accept()?.0, &mut io::sink())?) });
    room.inside(|| Ok(TcpStream::connect(("127.0.0.1", STREAM_PORT))?.write_all(&messages)?))?;
    let received = sink.join().map_err(|_| anyhow!("the sink panicked"))??;
    ensure!(received == messages.len() as u64, "{received} octets arrived");
    let readings = capture.stop()?.readings(STREAM_PORT)?;
    View { reader: Reader::Tshark, format: Format::Ipfix }.must_show(&readings, &printed)
}

/// The file's name in the folder that [`replayed`] makes.
const FILE: &str = "lab.ipfix";

/// A folder with the IPFIX file of a capture, and the records that are in it.
fn replayed(room: &Namespace) -> Result<(TempDir, Vec<Object>)> {
    let folder = tempfile::tempdir()?;
    let [capture, file] = ["lab.pcap", FILE].map(|name| folder.path().join(name).display().to_string());
    let mut traffic = lab::traffic()?;
    // A capture has a frame a second, so that most flows come in many records.
    traffic.frames.truncate(5000);
    fs::write(&capture, pcap(&traffic.frames))?;
    let text = read(&mut flowprobe(room, &["replay", "--json", "--ipfix-file", &file, &capture])?)?;
    let printed = text.lines().filter(|line| !line.starts_with("{\"accounting\""));
    let printed = printed.map(serde_json::from_str).collect::<Result<Vec<Object>, _>>()?;
    ensure!(printed.len() > 4000, "{} records of 5,000 packets, seconds apart", printed.len());
    Ok((folder, printed))
}

fn agrees(view: View, readings: &[Reading], printed: &[Object], sent: &[Object]) -> Result<()> {
    view.must_show(readings, printed)?;
    view.must_be_as_sent(readings, sent)
}
