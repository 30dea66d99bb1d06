//! Holds that opened tunnels show the flows inside, as an independent dissector does, and that collectors understand them.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use flowprobe_tests::captures::shared;
use flowprobe_tests::counterpart::Nfcapd;
use flowprobe_tests::daemon::{Daemon, binary};
use flowprobe_tests::ipfix::{Collector, as_on_the_wire};
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::process::read;
use flowprobe_tests::truth::{Counts, FlowId, Flows, Object, number};
use flowprobe_tests::{require, skip};

/// Captures with tunnels, and those that tshark opens in them. ERSPAN carries no IP packets there.
const CAPTURES: [(&str, &str); 7] = [
    ("ndpi__vxlan.pcap", "vxlan"),
    ("tcpdump__geneve.pcap", "geneve"),
    ("zeek__gre-within-gre.pcap", "gre"),
    ("suricata__ip_in_ip.pcap", "ipip"),
    ("ndpi__6in4tunnel.pcap", "6in4"),
    ("zeek__gtp1_gn_normal_incl_fragmentation.pcap", "gtpu"),
    ("tcpdump__erspan-type-ii-3.pcap", "gre"),
];

#[test]
fn inner_flows_are_those_that_tshark_finds() -> Result<()> {
    require!("tshark");
    let Some(folder) = shared("corpus/packets") else {
        skip::note("inner_flows_are_those_that_tshark_finds", "no captures beside this checkout");
        return Ok(());
    };
    for (name, tunnel) in CAPTURES {
        for tunnels in [tunnel, "all"] {
            let capture = folder.join(name);
            let found = Flows::of_records(&replayed(&capture, tunnels)?)?.without_layer2();
            innermost(&capture)?.must_equal(&found, &format!("{name} with {tunnels}"))?;
        }
        let outer = replayed(&folder.join(name), "")?;
        ensure!(outer.iter().all(|record| !record.contains_key("tunnelKey")), "{name}: a tunnel was opened unasked");
    }
    Ok(())
}

/// Tunnels of which there is no capture, written as bytes.
#[test]
fn crafted_inner_flows_are_those_that_tshark_finds() -> Result<()> {
    require!("tshark");
    let folder = tempfile::tempdir()?;
    let capture = folder.path().join("crafted.pcap");
    for (name, frame) in crafted()? {
        fs::write(&capture, flowprobe_tests::captures::pcap(&[frame]))?;
        let found = Flows::of_records(&replayed(&capture, "all")?)?.without_layer2();
        innermost(&capture)?.must_equal(&found, name)?;
        ensure!(found.0.keys().all(|id| id.destination_port == 53), "{name} was not opened: {found:?}");
    }
    Ok(())
}

/// Frames with a datagram to port 53 in a tunnel, by what they hold.
fn crafted() -> Result<Vec<(&'static str, Vec<u8>)>> {
    let (inner_v4, inner_v6) = (v4(17, &udp(53, &[])?)?, v6(17, &udp(53, &[])?)?);
    let ethernet = |ethertype: u16, packet: &[u8]| [&[4; 12][..], &ethertype.to_be_bytes(), packet].concat();
    let (in_ethernet, gpe) = (ethernet(0x0800, &inner_v4), [12, 0, 0, 1, 0, 4, 87, 0]);
    let geneve = [2, 0, 0x65, 0x58, 0, 0, 9, 0, 1, 2, 0x80, 1, 7, 7, 7, 7];
    let gtp = [0x34, 255, 0, 60, 1, 2, 3, 4, 0, 0, 0, 0x85, 1, 0, 0, 0];
    let tagged = [&[4; 12][..], &[0x81, 0, 0, 100, 8, 0], &inner_v4].concat();
    Ok(vec![
        ("IPv4 in IPv6", ethernet(0x86dd, &v6(4, &inner_v4)?)),
        ("IPv6 in IPv6", ethernet(0x86dd, &v6(41, &inner_v6)?)),
        ("IPv6 in IPv4 in IPv6", ethernet(0x86dd, &v6(4, &v4(41, &inner_v6)?)?)),
        ("IPv4 in VXLAN-GPE", ethernet(0x0800, &v4(17, &udp(4790, &[&gpe[..], &inner_v4].concat())?)?)),
        (
            "a tagged frame in VXLAN",
            ethernet(0x0800, &v4(17, &udp(4789, &[&[8, 0, 0, 0, 0, 4, 87, 0][..], &tagged].concat())?)?),
        ),
        (
            "GENEVE with options over IPv6",
            ethernet(0x86dd, &v6(17, &udp(6081, &[&geneve[..], &in_ethernet].concat())?)?),
        ),
        (
            "GRE with checksum, key and sequence",
            ethernet(0x0800, &v4(47, &[&[0xb0, 0, 8, 0], &[0; 12][..], &inner_v4].concat())?),
        ),
        ("Ethernet in GRE", ethernet(0x0800, &v4(47, &[&[0, 0, 0x65, 0x58][..], &in_ethernet].concat())?)),
        ("MPLS in GRE", ethernet(0x0800, &v4(47, &[&[0, 0, 0x88, 0x47, 0, 0x01, 0x01, 64][..], &inner_v4].concat())?)),
        ("GTP-U with an extension header", ethernet(0x0800, &v4(17, &udp(2152, &[&gtp[..], &inner_v6].concat())?)?)),
    ])
}

fn udp(port: u16, payload: &[u8]) -> Result<Vec<u8>> {
    let length = u16::try_from(8 + payload.len())?;
    Ok([&[0xc0, 1][..], &port.to_be_bytes(), &length.to_be_bytes(), &[0, 0], payload].concat())
}

fn v4(protocol: u8, payload: &[u8]) -> Result<Vec<u8>> {
    let length = u16::try_from(20 + payload.len())?;
    let header = [&[0x45, 0][..], &length.to_be_bytes(), &[0, 7, 0, 0, 64, protocol, 0, 0]].concat();
    Ok([&header[..], &[192, 0, 2, protocol, 198, 51, 100, 8], payload].concat())
}

fn v6(protocol: u8, payload: &[u8]) -> Result<Vec<u8>> {
    let length = u16::try_from(payload.len())?;
    let header = [&[0x60, 0, 0, 0][..], &length.to_be_bytes(), &[protocol, 64]].concat();
    let address = |last: u8| [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[last]].concat();
    Ok([&header[..], &address(protocol), &address(1), payload].concat())
}

fn replayed(capture: &Path, tunnels: &str) -> Result<Vec<Object>> {
    let mut command = Command::new(binary()?);
    command.args(["replay", "--json"]).arg(capture);
    if !tunnels.is_empty() {
        command.args(["--decapsulate", tunnels]);
    }
    let lines = read(&mut command)?;
    let objects = lines.lines().map(serde_json::from_str).collect::<Result<Vec<Object>, _>>()?;
    Ok(objects.into_iter().filter(|object| !object.contains_key("accounting")).collect())
}

/// The flows of a capture by the innermost IP header of each frame, by tshark. What an ICMP error quotes is no header. A later
/// fragment has the ports of its datagram's first.
fn innermost(capture: &Path) -> Result<Flows> {
    const FIELDS: [&str; 20] = [
        "frame.protocols",
        "vlan.id",
        "ip.src",
        "ip.dst",
        "ip.proto",
        "ip.len",
        "ip.id",
        "ip.frag_offset",
        "ipv6.src",
        "ipv6.dst",
        "ipv6.nxt",
        "ipv6.plen",
        "tcp.srcport",
        "tcp.dstport",
        "udp.srcport",
        "udp.dstport",
        "icmp.type",
        "icmp.code",
        "icmpv6.type",
        "icmpv6.code",
    ];
    let mut command = Command::new("tshark");
    command.args(["-o", "ip.defragment:FALSE", "-T", "fields", "-E", "occurrence=a", "-E", "aggregator=,", "-r"]);
    command.arg(capture);
    for field in FIELDS {
        command.args(["-e", field]);
    }
    let mut flows = Flows::default();
    let mut ports = HashMap::new();
    for line in read(&mut command)?.lines() {
        let values: HashMap<&str, Vec<&str>> =
            FIELDS.iter().copied().zip(line.split('\t').map(|values| values.split(',').collect())).collect();
        if let Some((id, octets)) = innermost_of(&values, &mut ports)? {
            flows.add(id, Counts { packets: 1, octets, layer2_octets: 0 });
        }
    }
    Ok(flows)
}

type Datagram = (IpAddr, IpAddr, u64);

fn innermost_of(
    values: &HashMap<&str, Vec<&str>>,
    ports: &mut HashMap<Datagram, (u16, u16)>,
) -> Result<Option<(FlowId, u64)>> {
    // The protocols, without those of a packet that an ICMP error quotes.
    let protocols = values["frame.protocols"].first().copied().unwrap_or_default().split(':');
    let mut layers = Vec::new();
    for layer in protocols {
        layers.push(layer);
        if layer.starts_with("icmp") {
            break;
        }
    }
    let count = |layer: &str| layers.iter().filter(|other| **other == layer).count();
    let Some(version) = layers.iter().rev().find(|layer| matches!(**layer, "ip" | "ipv6")) else { return Ok(None) };
    let nth = |field: &str, layer: &str| -> Result<u64> {
        let value = values[field].get(count(layer) - 1).with_context(|| format!("no {field}: {values:?}"))?;
        let parsed = value.strip_prefix("0x").map_or_else(|| value.parse(), |hex| u64::from_str_radix(hex, 16));
        parsed.with_context(|| format!("{field} is {value}"))
    };
    let port = |field: &str, layer: &str| Ok::<_, anyhow::Error>(u16::try_from(nth(field, layer)?)?);
    let address = |field: &str| -> Result<IpAddr> { Ok(values[field][count(version) - 1].parse()?) };
    let (source, destination) = (address(&format!("{version}.src"))?, address(&format!("{version}.dst"))?);
    let (protocol, octets) = if *version == "ip" {
        (nth("ip.proto", "ip")?, nth("ip.len", "ip")?)
    } else {
        (nth("ipv6.nxt", "ipv6")?, nth("ipv6.plen", "ipv6")? + 40)
    };
    remember(values, ports)?;
    let (mut source_port, mut destination_port) = (0, 0);
    let transport = layers.iter().rev().find(|layer| matches!(**layer, "tcp" | "udp" | "icmp" | "icmpv6"));
    match transport {
        Some(layer @ (&"icmp" | &"icmpv6")) => {
            let [kind, code] = ["type", "code"].map(|field| port(&format!("{layer}.{field}"), layer));
            destination_port = kind? * 256 + code?;
        }
        // A tunnel's own port is no flow's where something else came after it.
        Some(layer) if u64::from(if *layer == "tcp" { 6_u8 } else { 17 }) == protocol => {
            (source_port, destination_port) =
                (port(&format!("{layer}.srcport"), layer)?, port(&format!("{layer}.dstport"), layer)?);
        }
        _ => {}
    }
    if *version == "ip" {
        let datagram = (source, destination, nth("ip.id", "ip")?);
        if nth("ip.frag_offset", "ip")? > 0 {
            (source_port, destination_port) = ports.get(&datagram).copied().unwrap_or_default();
        }
    }
    let protocol = u8::try_from(protocol)?;
    let vlan = tag_before(&layers, version, &values["vlan.id"])?;
    let id = FlowId { source, destination, protocol, source_port, destination_port, vlan, customer_vlan: 0 };
    Ok(Some((id, octets)))
}

/// The tag between the innermost IP header and the frame that it is in, of which `tags` has all; 0 where there is none.
fn tag_before(layers: &[&str], version: &str, tags: &[&str]) -> Result<u16> {
    let before_ip = &layers[..layers.iter().rposition(|layer| *layer == version).context("no IP header")?];
    let frame = before_ip.iter().rposition(|layer| *layer == "eth").unwrap_or(0);
    if !before_ip[frame..].contains(&"vlan") {
        return Ok(0);
    }
    let before = before_ip.iter().filter(|layer| **layer == "vlan").count();
    tags.get(before - 1).context("no tag")?.parse().context("no number")
}

/// Remembers the ports of the outermost datagram.
fn remember(values: &HashMap<&str, Vec<&str>>, ports: &mut HashMap<Datagram, (u16, u16)>) -> Result<()> {
    let first = |field: &str| values[field].first().copied().unwrap_or_default();
    if first("ip.frag_offset") == "0" && first("ip.proto") == "17" {
        let identification = u64::from_str_radix(first("ip.id").trim_start_matches("0x"), 16)?;
        let datagram = (first("ip.src").parse()?, first("ip.dst").parse()?, identification);
        ports.insert(datagram, (first("udp.srcport").parse()?, first("udp.dstport").parse()?));
    }
    Ok(())
}

#[test]
fn a_vxlan_over_ipv4_is_opened_where_it_passes() -> Result<()> {
    require!("nfcapd", "nfdump");
    open_vxlan(["192.0.2.1", "192.0.2.2"], 24, "IPv4")
}

#[test]
fn a_vxlan_over_ipv6_is_opened_where_it_passes() -> Result<()> {
    require!("nfcapd", "nfdump");
    open_vxlan(["fd00:6::1", "fd00:6::2"], 64, "IPv6")
}

/// Two hosts with these addresses, and a VXLAN of the kernel's own between them.
fn open_vxlan([one, other]: [&str; 2], prefix: u8, version: &str) -> Result<()> {
    const PORT: u16 = 4739;
    const SMALL_MTU: usize = 600;
    let (client, server) = (Namespace::new()?, Namespace::new()?);
    client.connect("v", &server)?;
    for (namespace, local, remote, inner) in [(&client, one, other, "10.6.0.1"), (&server, other, one, "10.6.0.2")] {
        namespace.address("v", &format!("{local}/{prefix}"))?;
        namespace.ip(&format!("link add vx type vxlan id 1111 dstport 4789 local {local} remote {remote} dev v"))?;
        namespace.address("vx", &format!("{inner}/24"))?;
        namespace.ip("link set vx up")?;
    }
    let nfcapd = Nfcapd::start(&server, PORT)?;
    let collector = Collector::listen(&server, "127.0.0.1", 0)?;
    let nfcapd_url = format!("udp://127.0.0.1:{PORT}");
    // With little room, the six templates go out in several messages.
    let small = format!("{}?mtu={SMALL_MTU}", collector.url());
    let collectors = ["--collector", &nfcapd_url, "--collector", &small];
    let mut daemon =
        Daemon::quick(&server, &[&["-i", "v", "--decapsulate", "vxlan,geneve"], &collectors[..]].concat())?;
    let receiver = server.inside(|| Ok(UdpSocket::bind(("10.6.0.2", 9))?))?;
    let sender = client.inside(|| Ok(UdpSocket::bind(("10.6.0.1", 40_000))?))?;
    for _ in 0..25 {
        sender.send_to(&[b'.'; 100], ("10.6.0.2", 9))?;
        receiver.recv(&mut [0; 200])?;
    }
    daemon.wait_for_record("the datagrams", |record| number(record, "destinationTransportPort").ok() == Some(9))?;
    let report = daemon.stop()?;

    let inner: Vec<&Object> =
        report.records.iter().filter(|record| number(record, "destinationTransportPort").ok() == Some(9)).collect();
    let [record] = inner[..] else { anyhow::bail!("{} records of the datagrams: {inner:?}", inner.len()) };
    for (name, value) in
        [("packetDeltaCount", 25), ("octetDeltaCount", 25 * 128), ("tunnelType", 1), ("tunnelKey", 1111)]
    {
        ensure!(number(record, name)? == value, "{name} is not {value}: {record:?}");
    }
    // Ethernet, IP, UDP, VXLAN, Ethernet.
    let outer = 14 + if version == "IPv4" { 20 } else { 40 } + 8 + 8 + 14;
    ensure!(number(record, "layer2OctetDeltaCount")? == 25 * (outer + 128), "{record:?}");
    ensure!(number(record, "layer2SegmentId")? == 1 << 56 | 1111, "{record:?}");
    ensure!(record[&format!("tunnelSource{version}Address")] == one, "{record:?}");
    ensure!(record["sourceIPv4Address"] == "10.6.0.1", "{record:?}");

    let received = collector.stop()?;
    ensure!(received.without_template == 0, "{} sets without template", received.without_template);
    ensure!(received.template_messages > 1, "all templates in {} message", received.template_messages);
    ensure!(received.longest_message <= SMALL_MTU - 28, "a message of {} octets", received.longest_message);
    let on_the_wire: Vec<Object> = report.records.iter().map(as_on_the_wire).collect();
    let by_tunnel = |records: &[Object]| -> BTreeMap<String, usize> {
        let mut counted = BTreeMap::new();
        for record in records.iter().filter(|record| record.contains_key("tunnelKey")) {
            *counted.entry(serde_json::to_string(record).unwrap_or_default()).or_default() += 1;
        }
        counted
    };
    ensure!(by_tunnel(&received.records) == by_tunnel(&on_the_wire), "netflow_parser reads other records");
    let expected = Flows::of_records([record])?.without_layer2();
    let mut at_nfdump = nfcapd.stop()?;
    at_nfdump.0.retain(|id, _| id.destination_port == 9);
    expected.must_equal(&at_nfdump, "nfdump")
}

#[test]
fn what_is_no_tunnel_stays_what_it_is() -> Result<()> {
    require!();
    let folder = tempfile::tempdir()?;
    // UDP to the ports of VXLAN and GTP-U whose payload is neither, and a tunnel that is cut off.
    let mut frames = Vec::new();
    for (port, payload) in [(4789_u16, vec![0; 60]), (2152, vec![0x30; 8]), (4789, vec![8, 0, 0, 0, 0, 0, 1, 0, 1, 2])]
    {
        let length = u16::try_from(payload.len())?;
        let mut frame = [&[2; 12][..], &[8, 0, 0x45, 0], &(28 + length).to_be_bytes()].concat();
        frame.extend([0, 7, 0, 0, 64, 17, 0, 0, 192, 0, 2, 7, 198, 51, 100, 8, 0xc0, 1]);
        frame.extend([&port.to_be_bytes()[..], &(8 + length).to_be_bytes(), &[0, 0], &payload].concat());
        frames.push(frame);
    }
    let capture = folder.path().join("no.pcap");
    fs::write(&capture, flowprobe_tests::captures::pcap(&frames))?;
    let plain = Flows::of_records(&replayed(&capture, "")?)?;
    plain.must_equal(&Flows::of_records(&replayed(&capture, "all")?)?, "with all tunnels")?;
    ensure!(plain.sum().packets == 3, "three packets, counted {:?}", plain.sum());
    Ok(())
}
