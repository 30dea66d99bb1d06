//! Holds that what real exporters report of known traffic is printed by a daemon that listens to them, as one prints it that
//! probes the same interface, as nfcapd reads it from the same exporter, and as it was sent: of every flow the exact packets and
//! octets, within what the exporter and its format can say.

use std::collections::BTreeMap;
use std::slice;

use anyhow::{Context as _, Result, ensure};
use flowprobe_tests::counterpart::{Format, Fprobe, Nfcapd, Softflowd};
use flowprobe_tests::daemon::Daemon;
use flowprobe_tests::frames::{Flow, ICMP, ICMPV6, TCP, fragments, packets_of};
use flowprobe_tests::inject;
use flowprobe_tests::lab;
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::process::wait_until;
use flowprobe_tests::require;
use flowprobe_tests::truth::{Counts, FlowId, Flows, Object, number};

const PORT: u16 = 2055;
const NFCAPD_PORT: u16 = 9995;

/// By how much the times of two readings may differ: clocks of exporters tell whole milliseconds of uptime, and whole seconds of
/// the day.
const CLOCKS_MS: u64 = 1500;

/// Frames, and what must be counted of them.
struct Traffic {
    frames: Vec<Vec<u8>>,
    sent: Flows,
    /// What `sent` becomes for who has no memory of fragments: the later ones are flows without ports.
    in_pieces: Flows,
}

/// The lab's flows with four packets each, answers to every third, connections that begin and end, and datagrams in fragments.
fn traffic() -> Result<Traffic> {
    let mut flows = lab::traffic()?.flows;
    let answers: Vec<Flow> = flows.iter().step_by(3).filter(|flow| flow.id.source_port > 0).map(answer).collect();
    flows.extend(answers);
    let (mut frames, mut sent) = packets_of(&flows, 4)?;
    for (number, tcp_flags) in (0..20).flat_map(|number| [0x02, 0x10, 0x11].map(|flags| (number, flags))) {
        let connection = Flow::udp(3000 + number, false);
        let flow = Flow { tcp_flags, ..Flow::new(FlowId { protocol: TCP, ..connection.id }) };
        let (frame, counts) = flow.packet(0)?;
        sent.add(flow.id, counts);
        frames.push(frame);
    }
    let mut in_pieces = sent.clone();
    for number in 0..20 {
        let flow = Flow::udp(2000 + number, false);
        let (whole, counts) = flow.packet(1200)?;
        let pieces = fragments(&whole, 608, 1000 + number)?;
        let first = Counts { packets: 1, octets: 20 + 608, layer2_octets: 0 };
        let later = Counts { octets: counts.octets - 608, ..first };
        sent.add(flow.id.clone(), first);
        sent.add(flow.id.clone(), later);
        in_pieces.add(flow.id.clone(), first);
        in_pieces.add(FlowId { source_port: 0, destination_port: 0, ..flow.id }, later);
        frames.extend(pieces);
    }
    Ok(Traffic { frames, sent, in_pieces })
}

fn answer(flow: &Flow) -> Flow {
    let FlowId { source, destination, source_port, destination_port, .. } = flow.id;
    let id = FlowId {
        source: destination,
        destination: source,
        source_port: destination_port,
        destination_port: source_port,
        ..flow.id
    };
    Flow { id, ..flow.clone() }
}

/// Flows without layer 2, as far and under the identity that `shown` gives them.
fn by_addresses_and_ports(flows: &Flows, shown: impl Fn(&FlowId) -> Option<FlowId>) -> Flows {
    let mut shown_flows = Flows::default();
    for (id, counts) in &flows.0 {
        if let Some(id) = shown(id) {
            shown_flows.add(FlowId { vlan: 0, customer_vlan: 0, ..id }, Counts { layer2_octets: 0, ..*counts });
        }
    }
    shown_flows
}

/// The flow that pushes others out of the exporter's capture buffer.
fn push() -> Flow {
    Flow::udp(5000, false)
}

/// A namespace with an interface that a daemon probes, and the daemon and nfcapd that listen to an exporter there.
struct Stage {
    room: Namespace,
    probing: Daemon,
    listening: Daemon,
    nfcapd: Nfcapd,
}

/// Whether an exporter numbers its messages as its format has it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Numbers {
    Right,
    Wrong,
}

/// What each has read.
struct Outcome {
    probed: Vec<Object>,
    listened: Vec<Object>,
    nfcapd: Flows,
}

impl Stage {
    fn new() -> Result<Self> {
        let room = Namespace::with_pair()?;
        let nfcapd = Nfcapd::start(&room, NFCAPD_PORT)?;
        let listening = Daemon::quick(&room, &["--listen", &format!("udp://127.0.0.1:{PORT}")])?;
        let probing = Daemon::quick(&room, &["-i", "vb"])?;
        Ok(Self { room, probing, listening, nfcapd })
    }

    fn send(&self, frames: &[Vec<u8>]) -> Result<()> {
        inject::send(&self.room, "va", "vb", frames)
    }

    /// Waits until the listening daemon has printed so many packets of other flows than [`push`]'s.
    fn wait_until_printed(&self, packets: u64) -> Result<()> {
        wait_until(&format!("{packets} packets printed"), || {
            Ok(without_push(&received(&self.listening.printed()?)?).sum().packets >= packets)
        })
    }

    fn end(self, numbers: Numbers) -> Result<Outcome> {
        let probed = self.probing.stop()?.records;
        let listened = self.listening.stop()?.records;
        let nfcapd = match numbers {
            Numbers::Right => self.nfcapd.stop()?,
            Numbers::Wrong => self.nfcapd.stop_whatever_the_numbers()?,
        };
        Ok(Outcome { probed, listened, nfcapd })
    }
}

impl Outcome {
    /// Who probes has read all that was sent, and who listens what the exporter can say of it, twice.
    fn must_be(&self, sent: &Flows, reported: &Flows, by_nfcapd: &Flows) -> Result<()> {
        let probed = by_addresses_and_ports(&Flows::of_records(&self.probed)?, |id| Some(id.clone()));
        twice(&by_addresses_and_ports(sent, |id| Some(id.clone())))
            .must_equal(&without_push(&probed), "the daemon that probes")?;
        twice(by_nfcapd).must_equal(&without_push(&self.nfcapd), "nfcapd")?;
        twice(reported).must_equal(&without_push(&received(&self.listened)?), "the daemon that listens")?;
        for record in &self.listened {
            let says = |name: &str| record.get(name).with_context(|| format!("no {name} in {record:?}"));
            ensure!(says("exporterIPv4Address")? == "127.0.0.1", "another exporter: {record:?}");
            says("originalObservationDomainId")?;
        }
        let (probed, listened) = (times(&self.probed)?, times(&self.listened)?);
        // Not there are the flows without ports of later fragments.
        for (id, listened) in listened {
            let Some(probed) = probed.get(&id) else { continue };
            let differ = listened.0.abs_diff(probed.0).max(listened.1.abs_diff(probed.1));
            ensure!(differ <= CLOCKS_MS, "{id:?} was from {listened:?}, and probed from {probed:?}");
        }
        Ok(())
    }
}

/// When each flow begins and ends.
fn times(records: &[Object]) -> Result<BTreeMap<FlowId, (u64, u64)>> {
    let mut times = BTreeMap::new();
    for record in records {
        let flows = by_addresses_and_ports(&received(slice::from_ref(record))?, |id| Some(id.clone()));
        let id = flows.0.into_keys().next().context("a flow")?;
        let (start, end) = (number(record, "flowStartMilliseconds")?, number(record, "flowEndMilliseconds")?);
        let of_flow = times.entry(id).or_insert((start, end));
        *of_flow = (of_flow.0.min(start), of_flow.1.max(end));
    }
    Ok(times)
}

fn twice(flows: &Flows) -> Flows {
    let mut sum = flows.clone();
    sum.add_all(flows);
    sum
}

fn without_push(flows: &Flows) -> Flows {
    by_addresses_and_ports(flows, |id| (*id != push().id).then(|| id.clone()))
}

/// The flows of records that were received: layer 2 is not what these exporters report.
fn received(records: &[Object]) -> Result<Flows> {
    let without_layer2 = records.iter().cloned().map(|mut record| {
        record.insert("layer2OctetDeltaCount".to_owned(), 0.into());
        record
    });
    Flows::of_records(&without_layer2.collect::<Vec<_>>())
}

/// softflowd keeps one flow for both directions and reports each as a record of its own. It reads over one VLAN tag, and not over
/// two; octets are those of IP. NetFlow v5 has no IPv6. Its messages of IPFIX have the number of the records to their own end,
/// where RFC 7011 has those before, and so a collector finds gaps where their lengths differ.
fn softflowd(format: Format) -> Result<()> {
    let stage = Stage::new()?;
    let Traffic { frames, sent, in_pieces } = traffic()?;
    let reported = by_addresses_and_ports(&in_pieces, |id| {
        let can = id.customer_vlan == 0 && (format != Format::NetFlow5 || id.source.is_ipv4());
        can.then(|| id.clone())
    });
    let exporter = Softflowd::start(&stage.room, "vb", format, &[PORT, NFCAPD_PORT])?;
    let (more, _) = packets_of(&[push()], 64)?;
    let mut on_their_way = 0;
    let mut play = || -> Result<()> {
        stage.send(&frames)?;
        on_their_way += frames.len() as u64;
        let all = on_their_way;
        // It reads its capture by blocks that are full.
        while exporter.processed()? < all {
            stage.send(&more)?;
            on_their_way += more.len() as u64;
        }
        Ok(())
    };
    // Once to be reported by its timeouts, once at its end.
    play()?;
    stage.wait_until_printed(reported.sum().packets)?;
    play()?;
    exporter.stop()?;
    stage.wait_until_printed(2 * reported.sum().packets)?;
    let numbers = if format == Format::Ipfix { Numbers::Wrong } else { Numbers::Right };
    let by_nfcapd = by_addresses_and_ports(&reported, |id| match (format, id.protocol) {
        // Of element 139 it knows in IPFIX only.
        (Format::NetFlow9, ICMPV6) => Some(FlowId { destination_port: 0, ..id.clone() }),
        _ => Some(id.clone()),
    });
    stage.end(numbers)?.must_be(&sent, &reported, &by_nfcapd)
}

#[test]
fn softflowd_with_netflow_5() -> Result<()> {
    require!("softflowd", "softflowctl", "nfcapd", "nfdump");
    softflowd(Format::NetFlow5)
}

#[test]
fn softflowd_with_netflow_9() -> Result<()> {
    require!("softflowd", "softflowctl", "nfcapd", "nfdump");
    softflowd(Format::NetFlow9)
}

#[test]
fn softflowd_with_ipfix() -> Result<()> {
    require!("softflowd", "softflowctl", "nfcapd", "nfdump");
    softflowd(Format::Ipfix)
}

/// fprobe reads IPv4 behind an Ethernet header and nothing else, so neither IPv6 nor what has a VLAN tag. ICMP's type is a source
/// port to it and the code a destination port, of which nfcapd makes something else.
#[test]
fn fprobe_with_netflow_5() -> Result<()> {
    require!("fprobe", "nfcapd", "nfdump");
    let stage = Stage::new()?;
    let Traffic { frames, sent, .. } = traffic()?;
    let exporter = Fprobe::start(&stage.room, "vb", &[PORT, NFCAPD_PORT])?;
    let reported = by_addresses_and_ports(&sent, |id| (id.source.is_ipv4() && id.vlan == 0).then(|| id.clone()));
    let by_nfcapd = by_addresses_and_ports(&reported, |id| {
        let code = if id.protocol == ICMP { 0xff } else { 0 };
        Some(FlowId { destination_port: id.destination_port & !code, ..id.clone() })
    });
    for times in [1, 2] {
        stage.send(&frames)?;
        stage.wait_until_printed(times * reported.sum().packets)?;
    }
    exporter.stop()?;
    stage.end(Numbers::Right)?.must_be(&sent, &reported, &by_nfcapd)
}
