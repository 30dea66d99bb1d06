//! Holds how records come to their end on real traffic, and how they travel: templates, message sizes, several collectors.

use std::io::Read as _;
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use flowprobe_tests::counterpart::Capture;
use flowprobe_tests::daemon::{Daemon, Report};
use flowprobe_tests::frames::{FIRST_PORT, Flow, ICMP, ICMPV6, TCP, UDP, packets_of};
use flowprobe_tests::inject;
use flowprobe_tests::ipfix::Collector;
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::process::read;
use flowprobe_tests::require;
use flowprobe_tests::truth::{Flows, Object, Total, number};
use socket2::SockRef;

const IDLE: u64 = 1;
const ACTIVE: u64 = 2;
const END_OF_FLOW: u64 = 3;
const FORCED: u64 = 4;
const LACK_OF_RESOURCES: u64 = 5;

const FIN: u64 = 0x01;
const RST: u64 = 0x04;

const CLIENT: &str = "10.3.0.1";
const SERVER: &str = "10.3.0.2";
const SERVER_V6: &str = "fd00:3::2";

/// A client and a server with addresses of both families, joined by the veth pair `v`.
struct Pair {
    client: Namespace,
    server: Namespace,
    /// Takes the client's datagrams, so that none is answered by "port unreachable".
    _discard: UdpSocket,
}

impl Pair {
    fn new() -> Result<Self> {
        let (client, server) = (Namespace::new()?, Namespace::new()?);
        client.connect("v", &server)?;
        for (namespace, v4, v6) in [(&client, CLIENT, "fd00:3::1"), (&server, SERVER, SERVER_V6)] {
            namespace.address("v", &format!("{v4}/24"))?;
            namespace.address("v", &format!("{v6}/64"))?;
        }
        let discard = server.inside(|| Ok(UdpSocket::bind((SERVER, 9))?))?;
        Ok(Self { client, server, _discard: discard })
    }

    /// The daemon on the server's end: it sees what the client sends.
    fn metered(&self, arguments: &[&str]) -> Result<Daemon> {
        Daemon::start(&self.server, &[&["-i", "v", "--interval", "200ms"], arguments].concat())
    }

    /// A TCP connection that the client ends by `end`, and then the server.
    fn connection(&self, port: u16, end: impl FnOnce(TcpStream) -> Result<()> + Send) -> Result<()> {
        let listener = self.server.inside(|| Ok(TcpListener::bind((SERVER, port))?))?;
        let client = self.client.inside(|| Ok(TcpStream::connect((SERVER, port))?))?;
        let (mut server, _) = listener.accept()?;
        end(client)?;
        // A reset is what it may well read.
        let _ = server.read_to_end(&mut Vec::new());
        Ok(())
    }

    fn udp_socket(&self, port: u16) -> Result<UdpSocket> {
        self.client.inside(|| {
            let socket = UdpSocket::bind((CLIENT, port))?;
            socket.connect((SERVER, 9))?;
            Ok(socket)
        })
    }
}

/// The end reasons of the records whose element `name` is `value`.
fn reasons(report: &Report, name: &str, value: u64) -> Result<Vec<u64>> {
    of(report, name, value).into_iter().map(|record| number(record, "flowEndReason")).collect()
}

fn of<'a>(report: &'a Report, name: &str, value: u64) -> Vec<&'a Object> {
    report.records.iter().filter(|record| number(record, name).ok() == Some(value)).collect()
}

#[test]
fn connections_end_with_fin_or_reset() -> Result<()> {
    require!();
    let pair = Pair::new()?;
    // Nothing may be idle here for long enough, so that only the flags can end a flow.
    let mut daemon = pair.metered(&["--idle-timeout", "1h"])?;
    pair.connection(9001, |client| Ok(client.shutdown(Shutdown::Write)?))?;
    pair.connection(9002, |client| {
        // Closing then sends a reset.
        SockRef::from(&client).set_linger(Some(Duration::ZERO))?;
        Ok(())
    })?;
    let port = "destinationTransportPort";
    for connection in [9001, 9002] {
        daemon.wait_for_record("the connection", |record| number(record, port).ok() == Some(connection))?;
    }
    let report = daemon.stop()?;
    for (connection, flag) in [(9001, FIN), (9002, RST)] {
        ensure!(reasons(&report, port, connection)? == [END_OF_FLOW], "{:?}", of(&report, port, connection));
        let flags = number(of(&report, port, connection)[0], "tcpControlBits")?;
        ensure!(flags & (FIN | RST) == flag, "port {connection}: flags {flags:#x}");
    }
    Ok(())
}

#[test]
fn flows_end_by_being_idle_or_by_force() -> Result<()> {
    require!();
    let pair = Pair::new()?;
    let mut daemon = pair.metered(&["--idle-timeout", "1s"])?;
    pair.udp_socket(7001)?.send(b"once")?;
    let port = "sourceTransportPort";
    let idle = daemon.wait_for_record("the idle flow", |record| number(record, port).ok() == Some(7001))?;
    ensure!(number(&idle, "flowEndReason")? == IDLE, "{idle:?}");
    pair.udp_socket(7002)?.send(b"at the end")?;
    let report = daemon.stop()?;
    ensure!(reasons(&report, port, 7001)? == [IDLE], "{:?}", of(&report, port, 7001));
    ensure!(reasons(&report, port, 7002)? == [FORCED], "{:?}", of(&report, port, 7002));
    Ok(())
}

#[test]
fn a_flow_that_goes_on_is_reported_at_the_active_timeout() -> Result<()> {
    require!();
    let pair = Pair::new()?;
    let mut daemon = pair.metered(&["--active-timeout", "1s", "--idle-timeout", "1h"])?;
    let socket = pair.udp_socket(7003)?;
    let mut sent = 0;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        socket.send(&[b'.'; 100])?;
        sent += 1;
        sleep(Duration::from_millis(10));
    }
    let two = |record: &Object| number(record, "flowEndReason").ok() == Some(ACTIVE);
    daemon.wait_for_record("a record at the active timeout", two)?;
    let report = daemon.stop()?;
    let records = of(&report, "sourceTransportPort", 7003);
    let reasons = reasons(&report, "sourceTransportPort", 7003)?;
    let active = reasons.iter().filter(|reason| **reason == ACTIVE).count();
    ensure!(active >= 2, "{active} reports of a flow that went on for 3 s with an active timeout of 1 s");
    ensure!(reasons.iter().all(|reason| [ACTIVE, FORCED].contains(reason)), "{reasons:?}");
    let sum = |name| records.iter().map(|record| number(record, name)).sum::<Result<u64>>();
    ensure!(sum("packetDeltaCount")? == sent, "{} packets in deltas, sent were {sent}", sum("packetDeltaCount")?);
    ensure!(sum("octetDeltaCount")? == sent * 128, "{} octets in deltas", sum("octetDeltaCount")?);
    for (one, next) in records.iter().zip(&records[1..]) {
        let (end, start) = (number(one, "flowEndMilliseconds")?, number(next, "flowStartMilliseconds")?);
        ensure!(end <= start, "a record begins before the one before it ends: {one:?} {next:?}");
    }
    Ok(())
}

#[test]
fn a_full_table_lets_the_idlest_flow_leave() -> Result<()> {
    require!();
    let room = Namespace::with_pair()?;
    let arguments = ["-i", "vb", "--max-flows", "64", "--interval", "500ms", "--idle-timeout", "1h"];
    let mut daemon = Daemon::start(&room, &arguments)?;
    let mut sent = Flows::default();
    // Each drain brings fewer flows than the kernel's maps hold, all together more than the table does.
    for batch in 0..4 {
        let flows: Vec<Flow> = (0..32).map(|number| Flow::udp(batch * 32 + number, false)).collect();
        let (frames, these) = packets_of(&flows, 3)?;
        inject::send(&room, "va", "vb", &frames)?;
        sent.add_all(&these);
        daemon.wait_until_seen("vb", sent.sum().packets)?;
    }
    let report = daemon.stop()?;
    sent.must_equal(&Flows::of_records(&report.records)?, "--json")?;
    ensure!(report.term("vb", "overflow")? == Total::default(), "the kernel's maps had room");
    for record in &report.records {
        let source = number(record, "sourceTransportPort")?;
        // The first two batches had to make room for the last two.
        let expected = if source < u64::from(FIRST_PORT) + 64 { LACK_OF_RESOURCES } else { FORCED };
        ensure!(number(record, "flowEndReason")? == expected, "source port {source}: {record:?}");
    }
    Ok(())
}

#[test]
fn pings_of_both_families_have_type_and_code() -> Result<()> {
    require!("ping");
    let pair = Pair::new()?;
    let mut daemon = pair.metered(&[])?;
    for address in [SERVER, SERVER_V6] {
        read(pair.client.command("ping").args(["-n", "-q", "-c", "3", "-i", "0.2", "-s", "100", address]))?;
    }
    daemon.wait_until_seen("v", 6)?;
    // What of it is neighbour discovery is not ours.
    let report = daemon.stop()?;
    let flows = Flows::of_records(&report.records)?;
    for (protocol, type_and_code, header) in [(ICMP, 8 * 256, 20), (ICMPV6, 128 * 256, 40)] {
        let pings =
            flows.0.iter().filter(|(flow, _)| (flow.protocol, flow.destination_port) == (protocol, type_and_code));
        let counts: Vec<_> = pings.map(|(_, counts)| (counts.packets, counts.octets)).collect();
        ensure!(counts == [(3, 3 * (header + 108))], "protocol {protocol}: {counts:?}");
    }
    for (protocol, name) in [(ICMP, "icmpTypeCodeIPv4"), (ICMPV6, "icmpTypeCodeIPv6")] {
        for record in of(&report, "protocolIdentifier", protocol.into()) {
            ensure!(record.contains_key(name) && !record.contains_key("destinationTransportPort"), "{record:?}");
        }
    }
    Ok(())
}

/// Sends single-packet flows of both families, ten a second.
fn trickle(room: &Namespace, time: Duration, first: u16) -> Result<Flows> {
    let mut sent = Flows::default();
    let start = Instant::now();
    for number in first.. {
        if start.elapsed() >= time {
            break;
        }
        let (frames, these) = packets_of(&[Flow::udp(number, number % 2 == 0)], 1)?;
        inject::send(room, "va", "vb", &frames)?;
        sent.add_all(&these);
        sleep(Duration::from_millis(100));
    }
    Ok(sent)
}

#[test]
fn templates_come_again_in_time() -> Result<()> {
    require!();
    let room = Namespace::with_pair()?;
    let often = Collector::listen(&room, "127.0.0.1", 0)?;
    let once = Collector::listen(&room, "127.0.0.1", 0)?;
    let often_url = format!("{}?template-refresh=1s", often.url());
    let arguments = ["--collector", &often_url, "--collector", &once.url(), "--idle-timeout", "300ms"];
    let daemon = Daemon::start(&room, &[&["-i", "vb", "--interval", "100ms"][..], &arguments].concat())?;
    trickle(&room, Duration::from_secs(4), 0)?;
    let report = daemon.stop()?;
    let (often, once) = (often.stop()?, once.stop()?);
    ensure!((3..=6).contains(&often.template_messages), "{} times templates in 4 s", often.template_messages);
    ensure!(once.template_messages == 1, "{} times templates within the default minute", once.template_messages);
    for received in [often, once] {
        ensure!(received.records.len() == report.records.len(), "{} records received", received.records.len());
        ensure!(received.without_template == 0, "{} sets without template", received.without_template);
        let mut templates = received.templates_used;
        templates.sort_unstable();
        templates.dedup();
        ensure!(templates == [256, 257], "templates {templates:?} for two families");
    }
    Ok(())
}

/// The source port of the first flow that is sent once the late collector listens.
const LATE: u16 = 3000;

#[test]
fn a_collector_that_comes_late_can_read_what_follows() -> Result<()> {
    require!();
    let room = Namespace::with_pair()?;
    // Takes what comes and says nothing, so that the exporter is not told that nobody listens.
    let silent = room.inside(|| Ok(UdpSocket::bind("127.0.0.1:4739")?))?;
    let arguments = ["--collector", "udp://127.0.0.1:4739?template-refresh=1s", "--idle-timeout", "300ms"];
    let mut daemon = Daemon::start(&room, &[&["-i", "vb", "--interval", "100ms"][..], &arguments].concat())?;
    trickle(&room, Duration::from_millis(1500), 0)?;
    daemon.wait_for_record("a record that nobody reads", |_| true)?;
    drop(silent);
    let late = Collector::listen(&room, "127.0.0.1", 4739)?;
    let sent = trickle(&room, Duration::from_millis(3000), LATE - FIRST_PORT)?;
    daemon.stop()?;
    let received = late.stop()?;
    ensure!(received.template_messages >= 1, "no templates");
    let decoded = Flows::of_records(&received.records)?;
    // The templates come after a second at the latest. From the first record that could be read on, none is missing.
    let missing: Vec<u16> =
        sent.0.keys().filter(|flow| !decoded.0.contains_key(flow)).map(|flow| flow.source_port).collect();
    let first = decoded.0.keys().map(|flow| flow.source_port).filter(|port| *port >= LATE).min();
    let first = first.context("none of the later flows was decoded")?;
    ensure!(missing.iter().all(|port| *port < first), "from port {first} on, flows are missing: {missing:?}");
    Ok(())
}

#[test]
fn no_message_is_larger_than_the_path_allows() -> Result<()> {
    require!("tcpdump", "tshark");
    let (here, there) = (Namespace::with_pair()?, Namespace::new()?);
    here.connect("v", &there)?;
    here.address("v", &format!("{CLIENT}/24"))?;
    there.address("v", &format!("{SERVER}/24"))?;
    let collector = Collector::listen(&there, SERVER, 4739)?;
    let capture = Capture::start(&there, "v", 4739)?;
    let url = collector.url();
    let mut daemon =
        Daemon::start(&here, &["-i", "vb", "--interval", "200ms", "--idle-timeout", "500ms", "--collector", &url])?;

    let mut sent = Flows::default();
    for (round, mtu) in [1500, 1280].into_iter().enumerate() {
        // The sender's end last, so that nothing is too large for the receiver's.
        for namespace in [&here, &there] {
            namespace.ip(&format!("link set v mtu {mtu}"))?;
        }
        let first = u16::try_from(round)? * 2000;
        let flows: Vec<Flow> = (first..first + 2000).map(|number| Flow::udp(number, number % 2 == 0)).collect();
        let (frames, these) = packets_of(&flows, 1)?;
        inject::send(&here, "va", "vb", &frames)?;
        sent.add_all(&these);
        let last = flows.last().map(|flow| u64::from(flow.id.source_port));
        daemon.wait_for_record("the last flow", |record| number(record, "sourceTransportPort").ok() == last)?;
        daemon.wait_until_seen("vb", sent.sum().packets)?;
    }
    let report = daemon.stop()?;
    sent.must_equal(&Flows::of_records(&report.records)?, "--json")?;
    sent.must_equal(&Flows::of_records(&collector.stop()?.records)?, "the collector")?;

    let captured = capture.stop()?;
    let fragments = captured.decode(4739, "ip.flags.mf == 1 or ip.frag_offset > 0", &["frame.number"])?;
    ensure!(fragments.is_empty(), "packets {fragments:?} are fragments");
    let lengths = captured.decode(4739, "ip", &["ip.len"])?;
    let lengths = lengths.iter().map(|length| Ok(length.parse::<u64>()?)).collect::<Result<Vec<u64>>>()?;
    // Once a message has met the smaller MTU, none is larger.
    let smaller = lengths.iter().rposition(|length| *length > 1280).map_or(0, |last| last + 1);
    let (before, after) = lengths.split_at(smaller);
    ensure!(before.iter().all(|length| *length <= 1500), "a packet is larger than 1500: {before:?}");
    let filled = |lengths: &[u64], from: u64| lengths.iter().filter(|length| **length > from).count();
    ensure!(filled(before, 1300) > 50, "the messages for 2,000 records are not filled: {before:?}");
    ensure!(filled(after, 1100) > 50, "the messages for the smaller MTU are not filled: {after:?}");
    Ok(())
}

/// Sends 400 packets of 200 flows, and waits until the daemon has drained them.
fn burst(room: &Namespace, daemon: &mut Daemon, sent: &mut Flows, number: u16) -> Result<()> {
    let flows: Vec<Flow> = (0..200).map(|flow| Flow::udp(number * 200 + flow, flow % 2 == 0)).collect();
    let (frames, these) = packets_of(&flows, 2)?;
    inject::send(room, "va", "vb", &frames)?;
    sent.add_all(&these);
    daemon.wait_until_seen("vb", sent.sum().packets)
}

#[test]
fn every_collector_gets_everything_even_if_others_are_down() -> Result<()> {
    require!();
    let room = Namespace::with_pair()?;
    room.pair("wa", "wb")?;
    room.address("wa", "10.9.0.1/24")?;
    let (one, other) = (Collector::listen(&room, "127.0.0.1", 0)?, Collector::listen(&room, "127.0.0.1", 0)?);
    // Nobody listens at the first; the way to the second will be gone for a while.
    let (refusing, unreachable) = ("udp://127.0.0.1:1", "udp://10.9.0.2:4739");
    let urls = [refusing.to_owned(), unreachable.to_owned(), one.url(), other.url()];
    let collectors = urls.iter().flat_map(|url| ["--collector", url]);
    let arguments = ["-i", "vb", "--interval", "200ms", "--idle-timeout", "300ms"].into_iter().chain(collectors);
    let mut daemon = Daemon::start(&room, &arguments.collect::<Vec<_>>())?;
    let mut sent = Flows::default();
    burst(&room, &mut daemon, &mut sent, 0)?;
    room.ip("link set wa down")?;
    burst(&room, &mut daemon, &mut sent, 1)?;
    daemon.wait_for_log(&format!("WARN {unreachable}: a message of"), 1)?;
    room.ip("link set wa up")?;
    burst(&room, &mut daemon, &mut sent, 2)?;
    daemon.wait_for_log(&format!("INFO {unreachable}: messages go out again"), 1)?;
    let report = daemon.stop()?;

    sent.must_equal(&Flows::of_records(&report.records)?, "--json")?;
    for (name, collector) in [("one", one), ("other", other)] {
        sent.must_equal(&Flows::of_records(&collector.stop()?.records)?, name)?;
    }
    let lost = report.logged(&format!("WARN {unreachable}: ")).into_iter().any(|line| line.ends_with(" lost"));
    ensure!(lost, "what {unreachable} has not got is not counted: {:?}", report.finished.stderr);
    Ok(())
}

#[test]
fn what_is_not_of_a_flow_with_ports_has_none() -> Result<()> {
    require!();
    let pair = Pair::new()?;
    let mut daemon = pair.metered(&[])?;
    pair.udp_socket(7004)?.send(b"a datagram")?;
    pair.connection(9003, |client| Ok(client.shutdown(Shutdown::Write)?))?;
    daemon.wait_for_record("the connection", |record| number(record, "destinationTransportPort").ok() == Some(9003))?;
    let report = daemon.stop()?;
    for (protocol, has_flags) in [(UDP, false), (TCP, true)] {
        let records = of(&report, "protocolIdentifier", protocol.into());
        ensure!(!records.is_empty(), "no record of protocol {protocol}");
        for record in records {
            ensure!(record.contains_key("tcpControlBits") == has_flags, "{record:?}");
            ensure!(record.contains_key("sourceTransportPort"), "{record:?}");
        }
    }
    Ok(())
}
