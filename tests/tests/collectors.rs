//! Holds that what real collectors read out of the export is what was sent: of every flow the exact packets and octets.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;

use anyhow::{Context as _, Result, anyhow, ensure};
use flowprobe_tests::counterpart::{BAD, Capture, Captured, Nfcapd};
use flowprobe_tests::daemon::{Daemon, Report};
use flowprobe_tests::frames::{self, TCP};
use flowprobe_tests::inject;
use flowprobe_tests::ipfix::{Collector, as_on_the_wire};
use flowprobe_tests::lab::{self, FLOWS, PACKETS, Traffic};
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::process::{Process, read};
use flowprobe_tests::require;
use flowprobe_tests::truth::{Counts, ETHERNET_HEADER, Flows, Object, Total};

const NFCAPD_PORT: u16 = 4739;

#[test]
fn every_collector_reads_every_flow_as_it_was_sent() -> Result<()> {
    require!("nfcapd", "nfdump", "tcpdump", "tshark");
    let room = Namespace::with_pair()?;
    let nfcapd = Nfcapd::start(&room, NFCAPD_PORT)?;
    let collector = Collector::listen(&room, "127.0.0.1", 0)?;
    let capture = Capture::start(&room, "lo", NFCAPD_PORT)?;
    let nfcapd_url = format!("udp://127.0.0.1:{NFCAPD_PORT}");
    let arguments = ["-i", "vb", "--collector", &nfcapd_url, "--collector", &collector.url()];
    let mut daemon = Daemon::quick(&room, &arguments)?;

    let Traffic { frames: mut all, sent, .. } = lab::traffic()?;
    ensure!(sent.sum().packets == PACKETS && sent.0.len() == usize::from(FLOWS), "the traffic is not as planned");
    let without_flow = [frames::arp(), frames::truncated()];
    all.extend(without_flow.clone());
    let before = room.counters("vb")?;
    inject::send(&room, "va", "vb", &all)?;
    let received = Total::received(before, room.counters("vb")?, ETHERNET_HEADER);
    daemon.wait_until_seen("vb", received.packets)?;
    // Some have ended by being idle, the rest are made to.
    daemon.wait_for_record("a flow that has ended by itself", |_| true)?;
    let report = daemon.stop()?;

    let mut total = Total::from(sent.sum());
    for frame in &without_flow {
        total += Total { packets: 1, octets: frame.len() as u64 };
    }
    ensure!(received == total, "the interface received {received:?}, sent were {total:?}");
    ensure!(report.term("vb", "seen")? == total, "seen is not what was sent: {:?}", report.term("vb", "seen")?);
    ensure!(report.term("vb", "exported")? == sent.sum().into(), "exported is not the sum of the flows");
    ensure!(report.term("vb", "unparsed")?.packets == 2, "ARP and the cut frame are not counted as unparsed");
    ensure!(report.term("vb", "overflow")? == Total::default(), "there was room for all");
    sent.must_equal(&Flows::of_records(&report.records)?, "--json")?;

    sent.without_layer2().must_equal(&nfcapd.stop()?, "nfcapd")?;

    let received = collector.stop()?;
    ensure!(received.without_template == 0, "{} sets without template", received.without_template);
    must_be_the_same(&report.records, &received.records)?;

    tshark_agrees(&capture.stop()?, &sent)
}

/// tshark finds nothing wrong in the capture, and the sum of what it decodes is the sum of what was sent. The same check
/// fails when the templates are taken out.
fn tshark_agrees(capture: &Captured, sent: &Flows) -> Result<()> {
    let bad = capture.decode(NFCAPD_PORT, BAD, &["frame.number"])?;
    ensure!(bad.is_empty(), "tshark finds packets {bad:?} malformed or without template");
    let decoded = capture.decode(NFCAPD_PORT, "cflow", &["cflow.packets", "cflow.octets"])?;
    let mut sum = Counts::default();
    for line in &decoded {
        let (packets, octets) = line.split_once('\t').context("two fields")?;
        sum.packets += numbers(packets)?;
        sum.octets += numbers(octets)?;
    }
    let sent = sent.sum();
    ensure!((sum.packets, sum.octets) == (sent.packets, sent.octets), "tshark reads {sum:?}, sent were {sent:?}");

    let without_templates = capture.only(NFCAPD_PORT, "cflow and not (cflow.flowset_id == 2)")?;
    let bad = without_templates.decode(NFCAPD_PORT, BAD, &["frame.number"])?;
    ensure!(!bad.is_empty(), "the check finds nothing wrong in data without templates");
    Ok(())
}

/// The sum of the numbers in tshark's list.
fn numbers(list: &str) -> Result<u64> {
    list.split(',').filter(|number| !number.is_empty()).map(|number| Ok(number.parse::<u64>()?)).sum()
}

/// The records that were printed and those that were received, element by element, whatever their order.
fn must_be_the_same(printed: &[Object], received: &[Object]) -> Result<()> {
    let sorted = |records: Vec<Object>| -> Result<Vec<String>> {
        let texts = records.iter().map(|record| Ok(serde_json::to_string(record)?));
        let mut texts = texts.collect::<Result<Vec<String>>>()?;
        texts.sort();
        Ok(texts)
    };
    let printed = sorted(printed.iter().map(as_on_the_wire).collect())?;
    let received = sorted(received.to_vec())?;
    ensure!(printed.len() == received.len(), "{} records printed, {} received", printed.len(), received.len());
    for (printed, received) in printed.iter().zip(&received) {
        ensure!(printed == received, "printed  {printed}\nreceived {received}");
    }
    Ok(())
}

/// Two namespaces with addresses, joined by the veth pair `v`; the second is metered.
struct Pair {
    client: Namespace,
    server: Namespace,
}

const SERVER: &str = "10.3.0.2";

impl Pair {
    fn new() -> Result<Self> {
        let (client, server) = (Namespace::new()?, Namespace::new()?);
        client.connect("v", &server)?;
        client.address("v", "10.3.0.1/24")?;
        server.address("v", &format!("{SERVER}/24"))?;
        Ok(Self { client, server })
    }

    /// TCP packets that the client has sent, retransmissions included: each segment that segmentation makes counts.
    fn tcp_sent(&self) -> Result<u64> {
        Ok(self.client.protocol_counter("Tcp", "OutSegs")? + self.client.protocol_counter("Tcp", "RetransSegs")?)
    }

    fn offload(&self, state: &str) -> Result<()> {
        read(self.client.command("ethtool").args(["-K", "v", "tso", state, "gso", state])).map(drop)
    }
}

/// Packets and octets of all TCP flows.
fn tcp(report: &Report) -> Result<Counts> {
    let mut sum = Counts::default();
    for (flow, counts) in Flows::of_records(&report.records)?.0 {
        if flow.protocol == TCP {
            sum += counts;
        }
    }
    Ok(sum)
}

#[test]
fn iperf3_is_counted_as_the_interface_counts_it() -> Result<()> {
    require!("iperf3", "ethtool");
    for (mode, missing) in [("native", ETHERNET_HEADER), ("tc", 0)] {
        let pair = Pair::new()?;
        if mode == "tc" {
            // So that the interface counts what is on the wire, too.
            pair.offload("off")?;
        }
        let before = pair.server.counters("v")?;
        let mut daemon = Daemon::quick(&pair.server, &["-i", "v", "--mode", mode])?;
        run_iperf3(&pair)?;
        let received = Total::received(before, pair.server.counters("v")?, missing);
        daemon.wait_until_seen("v", received.packets)?;
        let report = daemon.stop()?;
        let seen = report.term("v", "seen")?;
        ensure!(seen == received, "{mode}: seen {seen:?}, the interface received {received:?}");
        ensure!(seen.packets > 1000, "{mode}: iperf3 has sent next to nothing");
        // TCP makes up for what the veth's ring for XDP had no room for, by sending it again.
        let arrived = pair.tcp_sent()? - pair.client.counters("v")?.tx_dropped;
        let tcp = tcp(&report)?;
        ensure!(tcp.packets == arrived, "{mode}: {} TCP packets in records, {arrived} have arrived", tcp.packets);
    }
    Ok(())
}

#[test]
fn iperf3_with_segmentation_offload_is_counted_by_segments() -> Result<()> {
    require!("iperf3");
    let pair = Pair::new()?;
    let mut daemon = Daemon::quick(&pair.server, &["-i", "v", "--mode", "tc"])?;
    let before = pair.server.counters("v")?;
    run_iperf3(&pair)?;
    let frames = pair.server.counters("v")?.rx_packets - before.rx_packets;
    let sent = pair.tcp_sent()?;
    daemon.wait_until_seen("v", sent)?;
    let tcp = tcp(&daemon.stop()?)?;
    ensure!(tcp.packets == sent, "{} TCP packets in records, the client has sent {sent}", tcp.packets);
    ensure!(frames < sent, "nothing was offloaded: {frames} frames, {sent} packets");
    Ok(())
}

fn run_iperf3(pair: &Pair) -> Result<()> {
    // Unbuffered, to see when it is ready.
    let mut server = Process::start(pair.server.command("iperf3").args(["-s", "-1", "--forceflush"]))?;
    server.wait_for_output("that it listens", |line| line.contains("Server listening"))?;
    read(pair.client.command("iperf3").args(["-c", SERVER, "-n", "40M"]))?;
    ensure!(server.wait()?.status.success(), "the iperf3 server failed");
    Ok(())
}

/// With or without segmentation offload, what tc counts of a TCP connection is its payload and one header a packet.
#[test]
fn octets_do_not_depend_on_segmentation_offload() -> Result<()> {
    require!("ethtool");
    for offload in ["on", "off"] {
        let pair = Pair::new()?;
        pair.offload(offload)?;
        // Then all headers have 40 octets, but that of the SYN, which has 8 more: segment size and window scale.
        for option in ["timestamps", "sack"] {
            pair.client.set(&format!("net/ipv4/tcp_{option}"), "0")?;
        }
        let mut daemon = Daemon::quick(&pair.server, &["-i", "v", "--mode", "tc"])?;
        upload(&pair)?;
        let sent = pair.tcp_sent()?;
        daemon.wait_until_seen("v", sent)?;
        let tcp = tcp(&daemon.stop()?)?;
        ensure!(tcp.packets == sent, "offload {offload}: {} packets, sent were {sent}", tcp.packets);
        ensure!(
            pair.client.protocol_counter("Tcp", "RetransSegs")? == 0,
            "offload {offload}: something was sent twice"
        );
        let octets = UPLOAD as u64 + 40 * sent + 8;
        ensure!(tcp.octets == octets, "offload {offload}: {} octets, sent were {octets}", tcp.octets);
        let layer2 = octets + 14 * sent;
        ensure!(tcp.layer2_octets == layer2, "offload {offload}: {} octets, sent were {layer2}", tcp.layer2_octets);
    }
    Ok(())
}

const UPLOAD: usize = 8_000_000;

/// A TCP connection that sends [`UPLOAD`] octets and ends in good order.
fn upload(pair: &Pair) -> Result<()> {
    let listener = pair.server.inside(|| Ok(TcpListener::bind((SERVER, 9000))?))?;
    let sink = thread::spawn(move || -> Result<usize> {
        let mut received = Vec::with_capacity(UPLOAD);
        listener.accept()?.0.read_to_end(&mut received)?;
        Ok(received.len())
    });
    pair.client.inside(|| {
        let mut stream = TcpStream::connect((SERVER, 9000))?;
        stream.write_all(&vec![b'.'; UPLOAD])?;
        stream.shutdown(std::net::Shutdown::Write)?;
        // Until the other side has closed, too.
        stream.read_to_end(&mut Vec::new())?;
        Ok(())
    })?;
    let received = sink.join().map_err(|_| anyhow!("the sink panicked"))??;
    ensure!(received == UPLOAD, "{received} octets arrived");
    Ok(())
}
