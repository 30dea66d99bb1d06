//! Holds that what leaves is counted as it goes onto the wire, whatever the stack hands to the driver.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::thread;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use flowprobe_tests::daemon::{Daemon, Report};
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::process::{Process, read, wait_until};
use flowprobe_tests::truth::{Counts, Flows, Object, Total, number};
use flowprobe_tests::{kernel, require, require_kernel};
use rustix::process::Signal;

const CLIENT: &str = "10.7.0.1";
const SERVER: &str = "10.7.0.2";
const SERVER_V6: &str = "fd00:7::2";

/// Octets of an IPv4 and a TCP header with time stamps, as every segment has them but the SYN, which has 8 more.
const HEADERS: u64 = 20 + 32;
const SYN_EXTRA: u64 = 8;

struct Pair {
    client: Namespace,
    server: Namespace,
}

impl Pair {
    fn new() -> Result<Self> {
        let (client, server) = (Namespace::new()?, Namespace::new()?);
        client.connect("v", &server)?;
        for (namespace, v4, v6) in [(&client, CLIENT, "fd00:7::1"), (&server, SERVER, SERVER_V6)] {
            namespace.address("v", &format!("{v4}/24"))?;
            namespace.address("v", &format!("{v6}/64"))?;
        }
        Ok(Self { client, server })
    }
}

/// What a socket has sent, by its own counting.
#[derive(Debug)]
struct Sent {
    port: u64,
    segments: u64,
    /// Payload, what was sent twice included.
    octets: u64,
}

/// The connections of a namespace to this port, by `ss`.
fn sockets(namespace: &Namespace, port: u16) -> Result<Vec<Sent>> {
    let text = read(namespace.command("ss").args(["-tinOH", "dport", "=", &format!(":{port}")]))?;
    let lines = text.lines().filter(|line| line.starts_with("ESTAB"));
    lines
        .map(|line| {
            let field = |name: &str| -> Result<u64> {
                let value = line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix(':'));
                Ok(value.unwrap_or("0").parse()?)
            };
            let local = line.split_whitespace().nth(3).context("no local address")?;
            let port = local.rsplit(':').next().context("no port")?.parse()?;
            Ok(Sent { port, segments: field("segs_out")?, octets: field("bytes_sent")? })
        })
        .collect()
}

/// What the records of a report say about packets from a port.
fn from_port(report: &Report, port: u64) -> Result<Counts> {
    let of_port = report.records.iter().filter(|record| number(record, "sourceTransportPort").ok() == Some(port));
    Ok(Flows::of_records(of_port)?.sum())
}

/// iperf3 is stopped in its tracks, so that its sockets can be asked while they are open and still.
#[test]
fn segmented_tcp_is_counted_as_its_own_socket_counts() -> Result<()> {
    require!("iperf3", "ss");
    let pair = Pair::new()?;
    // Between its XDP program and the wire the receiver sees every segment; the sender's stack makes them late.
    let mut receiving = Daemon::quick(&pair.server, &["-i", "v", "--mode", "native"])?;
    let mut sending = Daemon::quick(&pair.client, &["-i", "v", "--mode", "tc", "--egress"])?;
    let mut server = Process::start(pair.server.command("iperf3").args(["-s", "-1", "--forceflush"]))?;
    server.wait_for_output("that it listens", |line| line.contains("Server listening"))?;
    let client = Process::start(pair.client.command("iperf3").args(["-c", SERVER, "-t", "30", "-b", "300M"]))?;
    wait_until("20 MB sent", || Ok(sockets(&pair.client, 5201)?.iter().any(|socket| socket.octets > 20_000_000)))?;
    client.signal(Signal::STOP)?;
    let mut before = String::new();
    wait_until("sockets that are still", || {
        let now = format!("{:?}", sockets(&pair.client, 5201)?);
        thread::sleep(std::time::Duration::from_millis(500));
        Ok(std::mem::replace(&mut before, now.clone()) == now)
    })?;
    let sockets = sockets(&pair.client, 5201)?;
    ensure!(sockets.len() == 2, "a control and a data connection, found {sockets:?}");

    let packets = sockets.iter().map(|socket| socket.segments).sum();
    sending.wait_until_seen_in("v", "egress", packets)?;
    receiving.wait_until_seen("v", packets)?;
    let (sending, receiving) = (sending.stop()?, receiving.stop()?);
    for Sent { port, segments, octets } in &sockets {
        let octets = octets + HEADERS * segments + SYN_EXTRA;
        let expected = Counts { packets: *segments, octets, layer2_octets: octets + 14 * segments };
        for (who, report) in [("egress at tcx", &sending), ("XDP at the receiver", &receiving)] {
            let found = from_port(report, *port)?;
            ensure!(found == expected, "{who}: {found:?}, by the socket {expected:?}");
        }
    }
    let directions: Vec<u64> =
        sending.records.iter().map(|record| number(record, "flowDirection")).collect::<Result<_>>()?;
    ensure!(directions.contains(&0) && directions.contains(&1), "both directions are metered: {directions:?}");
    for record in sending.records.iter().filter(|record| number(record, "flowDirection").ok() == Some(1)) {
        ensure!(record.contains_key("egressInterface") && !record.contains_key("ingressInterface"), "{record:?}");
    }
    // Stopped, it would not hear of anything gentler.
    client.stop(Signal::KILL)?;
    server.stop(Signal::KILL)?;
    Ok(())
}

/// The stack hands TCP in a VXLAN to the driver in one piece too, and every segment repeats the headers of both.
#[test]
fn segmented_tcp_in_a_tunnel_is_counted_with_all_its_headers() -> Result<()> {
    require!("ss");
    require_kernel!(6, 1, "the octets of segments in tunnels");
    const OUTER: u64 = 20 + 8 + 8 + 14;
    // What is in a tunnel that is not opened, only the kernel can know.
    let kernel_knows = kernel::is_at_least(6, 18);
    for tunnels in ["vxlan", "none"].into_iter().take(if kernel_knows { 2 } else { 1 }) {
        let pair = Pair::new()?;
        let ends = [(&pair.client, CLIENT, SERVER, "10.8.0.1"), (&pair.server, SERVER, CLIENT, "10.8.0.2")];
        for (namespace, local, remote, inner) in ends {
            namespace.ip(&format!("link add vx type vxlan id 7 dstport 4789 local {local} remote {remote} dev v"))?;
            namespace.address("vx", &format!("{inner}/24"))?;
            namespace.ip("link set vx up")?;
        }
        // So that nothing but the connection is in the tunnel.
        for (namespace, other, peer) in
            [(&pair.client, "10.8.0.2", &pair.server), (&pair.server, "10.8.0.1", &pair.client)]
        {
            let mac = peer.link("vx")?["address"].as_str().context("no MAC address")?.to_owned();
            namespace.ip(&format!("neigh replace {other} lladdr {mac} dev vx"))?;
        }
        let mut sending =
            Daemon::quick(&pair.client, &["-i", "v", "--mode", "tc", "--egress", "--decapsulate", tunnels])?;
        let listener = pair.server.inside(|| Ok(TcpListener::bind(("10.8.0.2", 9000))?))?;
        let mut client = pair.client.inside(|| Ok(TcpStream::connect(("10.8.0.2", 9000))?))?;
        let (mut server, _) = listener.accept()?;
        let reader = thread::spawn(move || server.read_exact(&mut vec![0; UPLOAD]).map(|()| server));
        client.write_all(&vec![b'.'; UPLOAD])?;
        let _server = reader.join().map_err(|_| anyhow!("the reader panicked"))??;
        let [Sent { segments, octets, .. }] = sockets(&pair.client, 9000)?[..] else { bail!("not one connection") };
        sending.wait_until_seen_in("v", "egress", segments)?;
        let report = sending.stop()?;
        let inner = octets + HEADERS * segments + SYN_EXTRA;
        let (octets, port) = if tunnels == "none" { (inner + OUTER * segments, 4789) } else { (inner, 9000) };
        let expected = Counts { packets: segments, octets, layer2_octets: inner + (OUTER + 14) * segments };
        let to_port = |record: &&Object| {
            number(record, "destinationTransportPort").ok() == Some(port)
                && number(record, "flowDirection").ok() == Some(1)
        };
        let found = Flows::of_records(report.records.iter().filter(to_port))?.sum();
        ensure!(found == expected, "opened {tunnels}: {found:?}, by the socket {expected:?}");
        let longest = report.records.iter().filter_map(|record| number(record, "maximumIpTotalLength").ok()).max();
        ensure!(longest == Some(if tunnels == "none" { 1500 } else { 1450 }), "the longest has {longest:?} octets");
    }
    Ok(())
}

const UPLOAD: usize = 5_000_000;

/// The stack hands datagrams to the driver in one piece (UDP segmentation offload) and they leave as many.
#[test]
fn segmented_udp_is_counted_by_datagrams() -> Result<()> {
    require!();
    const DATAGRAMS: usize = 40;
    const SIZE: usize = 1000;
    let pair = Pair::new()?;
    let mut sending = Daemon::quick(&pair.client, &["-i", "v", "--mode", "tc", "--egress"])?;
    let receiver = pair.server.inside(|| Ok(UdpSocket::bind((SERVER, 9))?))?;
    let sender = pair.client.inside(|| Ok(UdpSocket::bind((CLIENT, 40_000))?))?;
    sender.connect((SERVER, 9))?;
    segment(&sender, SIZE)?;
    sender.send(&vec![b'.'; DATAGRAMS * SIZE - 1])?;
    for number in 1..=DATAGRAMS {
        let expected = if number == DATAGRAMS { SIZE - 1 } else { SIZE };
        ensure!(receiver.recv(&mut [0; 2 * SIZE])? == expected, "datagram {number} is not of {expected} octets");
    }
    sending.wait_until_seen_in("v", "egress", DATAGRAMS as u64)?;
    let report = sending.stop()?;
    let octets = (DATAGRAMS * (28 + SIZE) - 1) as u64;
    let expected = Counts { packets: 40, octets, layer2_octets: octets + 14 * 40 };
    let found = from_port(&report, 40_000)?;
    ensure!(found == expected, "{found:?}, sent were {expected:?}");
    let of_port = |record: &&Object| number(record, "sourceTransportPort").ok() == Some(40_000);
    let record = report.records.iter().find(of_port).context("no record")?;
    let (shortest, longest) = (number(record, "minimumIpTotalLength")?, number(record, "maximumIpTotalLength")?);
    ensure!((shortest, longest) == (1027, 1028), "lengths from {shortest} to {longest}");
    Ok(())
}

/// Sets `UDP_SEGMENT` (`include/uapi/linux/udp.h`).
#[expect(unsafe_code, reason = "no library in use has this option")]
fn segment(socket: &UdpSocket, size: usize) -> Result<()> {
    const UDP_SEGMENT: libc::c_int = 103;
    let size = libc::c_int::try_from(size)?;
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>())?;
    // SAFETY: the option value is a live int of the length given.
    let status = unsafe {
        libc::setsockopt(
            std::os::fd::AsRawFd::as_raw_fd(socket),
            libc::SOL_UDP,
            UDP_SEGMENT,
            (&raw const size).cast(),
            length,
        )
    };
    ensure!(status == 0, "no UDP segmentation: {}", std::io::Error::last_os_error());
    Ok(())
}

#[test]
fn jumbo_frames_are_counted_to_the_last_octet() -> Result<()> {
    require!();
    const PAYLOAD: usize = 8900;
    // Without multi-buffer XDP, its place is at tc.
    let no_xdp = !kernel::is_at_least(5, 18);
    for mode in [if no_xdp { "auto" } else { "native" }, "tc"] {
        let pair = Pair::new()?;
        for namespace in [&pair.client, &pair.server] {
            namespace.ip("link set v mtu 9000")?;
        }
        let mut daemon = Daemon::quick(&pair.server, &["-i", "v", "--mode", mode])?;
        for (address, client, headers) in [(SERVER, CLIENT, 28), (SERVER_V6, "fd00:7::1", 48)] {
            let receiver = pair.server.inside(|| Ok(UdpSocket::bind((address, 9))?))?;
            let sender = pair.client.inside(|| Ok(UdpSocket::bind((client, 40_000 + headers))?))?;
            for _ in 0..20 {
                sender.send_to(&vec![b'.'; PAYLOAD], (address, 9))?;
                ensure!(receiver.recv(&mut vec![0; 2 * PAYLOAD])? == PAYLOAD, "a datagram was cut");
            }
        }
        daemon.wait_until_seen("v", 40)?;
        let report = daemon.stop()?;
        for headers in [28, 48] {
            let octets = 20 * (PAYLOAD as u64 + headers);
            let expected = Counts { packets: 20, octets, layer2_octets: octets + 14 * 20 };
            let found = from_port(&report, 40_000 + headers)?;
            ensure!(found == expected, "{mode}: {found:?}, sent were {expected:?}");
        }
        let why = "native XDP was refused: the MTU is too large for XDP without multi-buffer (Linux 5.18)";
        let said = report.logged(why).len();
        ensure!(said == usize::from(no_xdp && mode == "auto"), "{mode}: {:?}", report.finished.stderr);
    }
    Ok(())
}

/// An interface whose frames begin with the IP header: a tun device, whose other side a test holds.
#[test]
fn an_interface_without_ethernet_headers_is_metered() -> Result<()> {
    require!();
    let room = Namespace::new()?;
    room.ip("tuntap add tun0 mode tun")?;
    let mut far_end = room.inside(|| tun("tun0"))?;
    room.address("tun0", "10.7.1.1/24")?;
    room.address("tun0", "fd00:71::1/64")?;
    room.ip("link set tun0 up")?;
    let mut daemon = Daemon::quick(&room, &["-i", "tun0", "--egress"])?;
    let receiver = room.inside(|| Ok(UdpSocket::bind(("10.7.1.1", 9))?))?;
    // In: a datagram from the far end. Out: the answer.
    let mut packet = [&[0x45, 0, 0, 60, 0, 1, 0, 0, 64, 17][..], &[0, 0, 10, 7, 1, 2, 10, 7, 1, 1]].concat();
    let sum = packet.chunks(2).fold(0_u32, |sum, pair| sum + u32::from(pair[0]) * 256 + u32::from(pair[1]));
    let sum = !(u16::try_from((sum & 0xffff) + (sum >> 16))?);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend([0x9c, 0x40, 0, 9, 0, 40, 0, 0]);
    packet.extend([b'.'; 32]);
    std::io::Write::write_all(&mut far_end, &packet)?;
    let (length, sender) = receiver.recv_from(&mut [0; 100])?;
    ensure!(length == 32, "{length} octets arrived");
    receiver.send_to(&[b'.'; 32], sender)?;
    daemon.wait_until_seen_in("tun0", "egress", 1)?;
    daemon.wait_until_seen("tun0", 1)?;
    let report = daemon.stop()?;
    ensure!(report.logged("its frames have no Ethernet header").len() == 1, "{:?}", report.finished.stderr);
    let one = Total { packets: 1, octets: 60 };
    ensure!(report.term("tun0", "exported")? == one, "in: {:?}", report.term("tun0", "exported")?);
    let out = report.term_in("tun0", "egress", "exported")?;
    ensure!(out.packets >= 1, "out: {out:?}");
    let answer = from_port(&report, 9)?;
    ensure!(answer == Counts { packets: 1, octets: 60, layer2_octets: 60 }, "{answer:?}");
    Ok(())
}

/// The far end of a tun device (`Documentation/networking/tuntap.rst`).
#[expect(unsafe_code, reason = "no library in use opens tun devices")]
fn tun(name: &str) -> Result<std::fs::File> {
    const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
    const IFF_TUN: libc::c_short = 1;
    const IFF_NO_PI: libc::c_short = 0x1000;
    let device = std::fs::File::options().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: a structure of integers and a union of integers and pointers; all zero is a value of each.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = IFF_TUN | IFF_NO_PI;
    // SAFETY: the request is a live `ifreq`, which is what this command reads.
    let status = unsafe { libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&device), TUNSETIFF, &raw mut request) };
    ensure!(status == 0, "cannot open the tun device: {}", std::io::Error::last_os_error());
    Ok(device)
}

#[test]
fn without_egress_only_what_comes_in_is_metered() -> Result<()> {
    require!();
    let pair = Pair::new()?;
    let mut daemon = Daemon::quick(&pair.server, &["-i", "v"])?;
    let listener = pair.server.inside(|| Ok(TcpListener::bind((SERVER, 9000))?))?;
    let accepted = thread::spawn(move || listener.accept());
    pair.client.inside(|| Ok(TcpStream::connect((SERVER, 9000))?))?;
    accepted.join().map_err(|_| anyhow!("the listener panicked"))??;
    daemon.wait_until_seen("v", 3)?;
    let report = daemon.stop()?;
    ensure!(report.records.iter().all(|record| number(record, "flowDirection").ok() == Some(0)), "{report:?}");
    ensure!(report.accounting.iter().all(|sum| sum["direction"] == "ingress"), "egress is accounted for");
    Ok(())
}
