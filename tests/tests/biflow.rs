//! Holds that a biflow has the packets and octets of both directions as they are metered without it, whoever reads it, and that its
//! source is who opened the conversation.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use flowprobe_tests::counterpart::{BAD, Capture, Format, Nfacctd, Nfcapd};
use flowprobe_tests::daemon::{Daemon, Report};
use flowprobe_tests::frames::{ACK, Flow, ICMP, TCP, UDP};
use flowprobe_tests::inject;
use flowprobe_tests::ipfix::Collector;
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::process::read;
use flowprobe_tests::require;
use flowprobe_tests::truth::{FlowId, Flows, Object, directions, number};

const CLIENT: &str = "10.3.0.1";
const SERVER: &str = "10.4.0.2";
const TCP_PORT: u16 = 9000;
const CLOSED_PORT: u16 = 9001;
const UDP_PORT: u16 = 9053;
const CONNECTIONS: usize = 5;

/// A client and a server, and a router between them.
struct Path {
    client: Namespace,
    router: Namespace,
    server: Namespace,
}

impl Path {
    fn new() -> Result<Self> {
        let (client, router, server) = (Namespace::new()?, Namespace::new()?, Namespace::new()?);
        for (interface, end, address, gateway) in
            [("vc", &client, CLIENT, "10.3.0.254"), ("vs", &server, SERVER, "10.4.0.254")]
        {
            router.connect(interface, end)?;
            end.address(interface, &format!("{address}/24"))?;
            router.address(interface, &format!("{gateway}/24"))?;
            end.ip(&format!("route add default via {gateway}"))?;
        }
        router.set("net/ipv4/ip_forward", "1")?;
        Ok(Self { client, router, server })
    }

    /// Connections with data both ways, questions and answers over UDP, pings, and connections that are refused.
    fn talk(&self) -> Result<()> {
        let listener = self.server.inside(|| Ok(TcpListener::bind((SERVER, TCP_PORT))?))?;
        let answering = self.server.inside(|| Ok(UdpSocket::bind((SERVER, UDP_PORT))?))?;
        let server = thread::spawn(move || -> Result<()> {
            for _ in 0..CONNECTIONS {
                let mut stream = listener.accept()?.0;
                let mut question = Vec::new();
                stream.read_to_end(&mut question)?;
                stream.write_all(&question[..question.len() / 2])?;
            }
            let mut question = [0; 100];
            for _ in 0..CONNECTIONS {
                let (length, client) = answering.recv_from(&mut question)?;
                answering.send_to(&question[..length / 2], client)?;
            }
            Ok(())
        });
        self.client.inside(|| {
            for number in 1..=CONNECTIONS {
                let mut stream = TcpStream::connect((SERVER, TCP_PORT))?;
                stream.write_all(&vec![b'.'; number * 20_000])?;
                stream.shutdown(std::net::Shutdown::Write)?;
                stream.read_to_end(&mut Vec::new())?;
                ensure!(TcpStream::connect((SERVER, CLOSED_PORT)).is_err(), "nobody listens there");
            }
            for _ in 0..CONNECTIONS {
                let socket = UdpSocket::bind((CLIENT, 0))?;
                socket.set_read_timeout(Some(Duration::from_secs(10)))?;
                socket.send_to(&[b'.'; 80], (SERVER, UDP_PORT))?;
                socket.recv(&mut [0; 100])?;
            }
            Ok(())
        })?;
        server.join().map_err(|_| anyhow!("the server panicked"))??;
        read(self.client.command("ping").args(["-q", "-c", "7", "-i", "0.05", SERVER])).map(drop)
    }
}

/// What the same traffic is with biflows, and without.
fn metered_twice(path: &Path, room: &Namespace, ways: [&[&str]; 2]) -> Result<[Report; 2]> {
    let [with, without] = ways;
    // Nothing ends before the end.
    let times = ["--interval", "200ms", "--idle-timeout", "60s"];
    let biflows = Daemon::start(room, &[&times[..], with, &["--biflow"]].concat())?;
    let flows = Daemon::start(room, &[&times[..], without].concat())?;
    path.talk()?;
    // Until the last packets have come by.
    thread::sleep(Duration::from_millis(500));
    Ok([biflows.stop()?, flows.stop()?])
}

/// Each conversation is one record, whose source is the client.
fn must_be_biflows(records: &[Object]) -> Result<()> {
    let of = |protocol: u8, port: u16| {
        let has = |record: &&Object, name, value: u64| record.get(name) == Some(&value.into());
        records.iter().filter(move |record| {
            has(record, "protocolIdentifier", protocol.into())
                && (protocol == ICMP || has(record, "destinationTransportPort", port.into()))
        })
    };
    let conversations =
        [(TCP, TCP_PORT, CONNECTIONS), (TCP, CLOSED_PORT, CONNECTIONS), (UDP, UDP_PORT, CONNECTIONS), (ICMP, 0, 1)];
    for (protocol, port, count) in conversations {
        let all: Vec<&Object> = of(protocol, port).collect();
        ensure!(all.len() == count, "{} records of protocol {protocol} to port {port}: {all:?}", all.len());
        for record in all {
            ensure!(record.get("sourceIPv4Address") == Some(&CLIENT.into()), "not opened by the client: {record:?}");
            ensure!(record.get("biflowDirection") == Some(&1.into()), "{record:?}");
            ensure!(number(record, "reversePacketDeltaCount")? > 0, "no answers: {record:?}");
            let flags = |name| number(record, name).map(|flags| flags & 0x3f);
            if port == CLOSED_PORT {
                ensure!(flags("tcpControlBits")? == 2 && flags("reverseTcpControlBits")? == 0x14, "{record:?}");
            }
        }
    }
    let other = records.iter().find(|record| !record.contains_key("reversePacketDeltaCount"));
    ensure!(other.is_none(), "a direction without the other: {other:?}");
    Ok(())
}

fn agree([biflows, flows]: &[Report; 2]) -> Result<()> {
    must_be_biflows(&biflows.records)?;
    let both = Flows::of_records(&directions(&biflows.records))?;
    Flows::of_records(&flows.records)?.must_equal(&both, "biflows")
}

#[test]
fn at_one_interface_in_both_directions() -> Result<()> {
    require!("ping");
    let path = Path::new()?;
    let native = ["-i", "vs", "--egress", "--mode", "native"];
    let tc = ["-i", "vs", "--egress", "--mode", "tc"];
    agree(&metered_twice(&path, &path.server, [&native, &tc])?)?;
    agree(&metered_twice(&path, &path.server, [&tc, &native])?)
}

#[test]
fn on_a_router_where_each_direction_comes_in() -> Result<()> {
    require!("ping");
    let path = Path::new()?;
    let both = ["-i", "vc", "-i", "vs", "--mode", "tc"];
    let reports = metered_twice(&path, &path.router, [&both, &both])?;
    agree(&reports)?;
    let index = path.router.index("vc")?;
    let elsewhere = reports[0].records.iter().find(|record| record.get("ingressInterface") != Some(&index.into()));
    ensure!(elsewhere.is_none(), "it came in at {index}: {elsewhere:?}");
    Ok(())
}

const SYN: u8 = 2;
const RST: u8 = 4;

/// Conversations as a mirror port shows them, and what must be counted of each direction: connections, scans with and without
/// answers, and UDP with and without.
fn mirrored() -> Result<(Vec<Vec<u8>>, Flows, usize)> {
    let mut frames = Vec::new();
    let mut sent = Flows::default();
    let mut put = |flow: &Flow, flags: u8, payload: usize| -> Result<()> {
        let (frame, counts) = Flow { tcp_flags: flags, ..flow.clone() }.packet(payload)?;
        sent.add(flow.id.clone(), counts);
        frames.push(frame);
        Ok(())
    };
    const EACH: u16 = 20;
    for number in 0..EACH {
        let there = |protocol: u8, first: u16| {
            let mut flow = Flow::udp(first + number, number % 4 == 0);
            flow.id.protocol = protocol;
            flow
        };
        let back = |there: &Flow| {
            let FlowId { source, destination, source_port, destination_port, .. } = there.id.clone();
            Flow::new(FlowId {
                source: destination,
                destination: source,
                source_port: destination_port,
                destination_port: source_port,
                ..there.id.clone()
            })
        };
        let connection = there(TCP, 0);
        put(&connection, SYN, 0)?;
        put(&back(&connection), SYN | ACK, 0)?;
        put(&connection, ACK, 300)?;
        put(&back(&connection), ACK, 700)?;
        let refused = there(TCP, 1000);
        put(&refused, SYN, 0)?;
        put(&back(&refused), RST | ACK, 0)?;
        put(&there(TCP, 2000), SYN, 0)?;
        let question = there(UDP, 3000);
        put(&question, 0, 50)?;
        put(&back(&question), 0, 400)?;
        put(&there(UDP, 4000), 0, 60)?;
    }
    // Three of the five kinds are answered.
    Ok((frames, sent, usize::from(EACH) * 3))
}

const NFCAPD: [u16; 3] = [4739, 4740, 4741];
const NFACCTD_PORT: u16 = 2100;

#[test]
fn at_a_mirror_port_for_every_collector() -> Result<()> {
    require!("nfcapd", "nfdump", "nfacctd", "tcpdump", "tshark");
    let room = Namespace::with_pair()?;
    let formats = [Format::Ipfix, Format::NetFlow9, Format::NetFlow5];
    let nfcapds = NFCAPD.into_iter().map(|port| Nfcapd::start(&room, port)).collect::<Result<Vec<_>>>()?;
    let nfacctd = Nfacctd::start(&room, NFACCTD_PORT)?;
    let capture = Capture::start(&room, "lo", NFCAPD[0])?;
    let [whole, plain] = [Collector::listen(&room, "127.0.0.1", 0)?, Collector::listen(&room, "127.0.0.1", 0)?];
    let mut urls: Vec<String> =
        NFCAPD.iter().zip(formats).map(|(port, format)| format!("udp://127.0.0.1:{port}{}", format.option())).collect();
    urls.extend([format!("udp://127.0.0.1:{NFACCTD_PORT}"), whole.url()]);
    let collectors: Vec<&str> = urls.iter().flat_map(|url| ["--collector", url]).collect();
    let times = ["--interval", "200ms", "--idle-timeout", "60s"];
    let mut daemon = Daemon::start(&room, &[&["-i", "vb", "--biflow"], &times[..], &collectors].concat())?;
    // Of fields that say nothing of the answers.
    let fields = "sourceIPv4Address,destinationIPv4Address,sourceIPv6Address,destinationIPv6Address,ipVersion,protocolIdentifier,\
                  sourceTransportPort,destinationTransportPort,packetDeltaCount,octetDeltaCount,layer2OctetDeltaCount";
    let other = ["-i", "vb", "--biflow", "--mode", "tc", "--collector", &plain.url(), "--fields", fields];
    let other = Daemon::start(&room, &[&times[..], &other].concat())?;

    let (frames, sent, answered) = mirrored()?;
    inject::send(&room, "va", "vb", &frames)?;
    daemon.wait_until_seen("vb", frames.len() as u64)?;
    thread::sleep(Duration::from_millis(500));
    let report = daemon.stop()?;
    other.stop()?;

    sent.must_equal(&Flows::of_records(&directions(&report.records))?, "--json")?;
    let joined = |records: &[Object]| records.iter().filter(|one| one.contains_key("reversePacketDeltaCount")).count();
    ensure!(joined(&report.records) == answered, "{} of {answered} are joined", joined(&report.records));
    ensure!(report.term("vb", "exported")? == sent.sum().into(), "{:?}", report.term("vb", "exported")?);
    for record in &report.records {
        ensure!(number(record, "destinationTransportPort")? == 53, "not opened by the source: {record:?}");
    }
    let received = whole.stop()?;
    ensure!(received.without_template == 0 && joined(&received.records) == answered, "{:?}", joined(&received.records));
    sent.must_equal(&Flows::of_records(&directions(&received.records))?, "netflow_parser")?;
    let received = plain.stop()?;
    ensure!(joined(&received.records) == 0, "it was not to hear of answers");
    sent.must_equal(&Flows::of_records(&received.records)?, "netflow_parser, without reverse elements")?;

    let opening = forward(&report.records)?;
    for (nfcapd, format) in nfcapds.into_iter().zip(formats) {
        let seen = nfcapd.stop()?;
        match format {
            // It has places for answers and leaves those of RFC 5103 empty.
            Format::Ipfix => opening.must_equal(&seen, "nfcapd, of IPFIX")?,
            Format::NetFlow9 => sent.without_layer2().must_equal(&seen, "nfcapd, of NetFlow v9")?,
            Format::NetFlow5 => of_ipv4(&sent.without_layer2()).must_equal(&seen, "nfcapd, of NetFlow v5")?,
        }
    }
    let mut seen = nfacctd.readings(Format::Ipfix)?;
    seen.iter_mut().for_each(|record| drop(record.insert("layer2OctetDeltaCount".to_owned(), 0.into())));
    opening.must_equal(&Flows::of_records(&seen)?, "nfacctd")?;

    let capture = capture.stop()?;
    let bad = capture.decode(NFCAPD[0], BAD, &["frame.number"])?;
    ensure!(bad.is_empty(), "tshark finds packets {bad:?} wrong");
    let reverse = capture.decode(NFCAPD[0], "cflow.template_ipfix_field_pen == 29305", &["frame.number"])?;
    ensure!(!reverse.is_empty(), "tshark finds no reverse elements in the templates");
    // It shows an element and its reverse under one name.
    let mut sums = [0; 2];
    for line in capture.decode(NFCAPD[0], "cflow", &["cflow.packets", "cflow.octets"])? {
        for (sum, list) in sums.iter_mut().zip(line.split('\t')) {
            for number in list.split(',').filter(|number| !number.is_empty()) {
                *sum += number.parse::<u64>()?;
            }
        }
    }
    let all = sent.sum();
    ensure!(sums == [all.packets, all.octets], "tshark reads {sums:?}, sent were {all:?}");
    Ok(())
}

/// What those did who opened the conversations, as a collector without layer 2 has it.
fn forward(records: &[Object]) -> Result<Flows> {
    Ok(Flows::of_records(records)?.without_layer2())
}

fn of_ipv4(flows: &Flows) -> Flows {
    Flows(flows.0.iter().filter(|(id, _)| id.source.is_ipv4()).map(|(id, counts)| (id.clone(), *counts)).collect())
}
