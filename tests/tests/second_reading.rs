//! Holds that the host's parser reads every frame as a second reading of the rules does: captured, crafted, cut and broken.

use std::fs;

use anyhow::{Result, ensure};
use flowprobe_ebpf::parse::{self, Bytes, Layer, Origin, Packet, Unparsed};
use flowprobe_ebpf::{Direction, Tunnels};
use flowprobe_tests::captures::{captures_in, ethernet_frames, mutated, shared, unpacked};
use flowprobe_tests::fragments::Memory;
use flowprobe_tests::{second_reading, skip};

/// Frames gone wrong.
const MUTATED: usize = 100_000;
const SEED: u64 = 0xf10_09b0_be02;

/// Both readers, and what they remember of fragments.
#[derive(Default)]
struct Readers {
    parser: Memory,
    second: Memory,
    frames: usize,
    flows: usize,
    tunnelled: usize,
}

impl Readers {
    fn compare(&mut self, frame: &Bytes<'_>, offloaded_vlan: Option<u16>) -> Result<()> {
        let origin = Origin { ifindex: 7, direction: Direction::Egress, offloaded_vlan };
        for opened in [Tunnels::NONE, Tunnels::ALL] {
            let mut packet = Packet::default();
            let parsed = parse::ethernet(frame, origin, opened, &self.parser, &mut packet).map(|()| packet);
            let second = second_reading::ethernet(frame, origin, opened, &self.second);
            self.count(frame, &parsed, &second)?;
        }
        Ok(())
    }

    /// The same for links other than Ethernet.
    fn compare_network(&mut self, frame: &Bytes<'_>, ethertype: u16, offset: usize) -> Result<()> {
        let origin = Origin { ifindex: 7, direction: Direction::Ingress, offloaded_vlan: None };
        let (mut packet, begin, opened) = (Packet::default(), Layer { ethertype, offset }, Tunnels::ALL);
        let parsed = parse::network(frame, begin, origin, opened, &self.parser, &mut packet).map(|()| packet);
        let second = second_reading::network(frame, begin, origin, opened, &self.second);
        self.count(frame, &parsed, &second)
    }

    fn count(
        &mut self,
        frame: &Bytes<'_>,
        parsed: &Result<Packet, Unparsed>,
        second: &Result<Packet, Unparsed>,
    ) -> Result<()> {
        ensure!(parsed == second, "the parser says {parsed:#?}, the second reading {second:#?}: {frame:02x?}");
        self.frames += 1;
        self.flows += usize::from(parsed.is_ok());
        self.tunnelled += usize::from(parsed.is_ok_and(|packet| packet.tunnels > 0));
        Ok(())
    }

    fn finish(&self) -> Result<()> {
        ensure!(self.parser == self.second, "they remember different fragments");
        ensure!(self.flows * 10 > self.frames, "only {} of {} frames made a flow", self.flows, self.frames);
        println!(
            "{} frames compared, {} with a flow, {} of them out of a tunnel",
            self.frames, self.flows, self.tunnelled
        );
        Ok(())
    }
}

#[test]
fn captured_frames_are_read_alike() -> Result<()> {
    let Some(corpus) = shared("corpus") else {
        skip::note("captured_frames_are_read_alike", "no captures beside this checkout");
        return Ok(());
    };
    let mut files = Vec::new();
    for folder in ["packets", "labelled", "netflow"] {
        for capture in captures_in(&corpus.join(folder))? {
            files.push(unpacked(&fs::read(capture)?)?.into_owned());
        }
    }
    let captured: Vec<&[u8]> = files.iter().flat_map(|file| ethernet_frames(file)).collect();
    let mut readers = Readers::default();
    for frame in &captured {
        readers.compare(&Bytes::whole(frame), None)?;
    }
    readers.finish()?;
    let mut readers = Readers::default();
    for frame in mutated(&captured, MUTATED, SEED) {
        readers.compare(&Bytes::whole(&frame), None)?;
    }
    println!("seed of the mutations {SEED:#x}");
    readers.finish()
}

#[test]
fn crafted_frames_are_read_alike() -> Result<()> {
    let crafted = crafted();
    let mut readers = Readers::default();
    for frame in &crafted {
        for captured in (0..=frame.len()).filter_map(|end| frame.get(..end)) {
            let original_length = u32::try_from(frame.len() + 100)?;
            readers.compare(&Bytes { captured, original_length }, None)?;
        }
        readers.compare(&Bytes::whole(frame), Some(4094))?;
        let ethertype = u16::from_be_bytes([frame[12], frame[13]]);
        for offset in [0, 13, 14, 15, frame.len(), frame.len() + 1] {
            readers.compare_network(&Bytes::whole(frame), ethertype, offset)?;
        }
    }
    readers.finish()
}

#[test]
fn crafted_frames_gone_wrong_are_read_alike() -> Result<()> {
    let crafted = crafted();
    let frames: Vec<&[u8]> = crafted.iter().map(Vec::as_slice).collect();
    let mut readers = Readers::default();
    for frame in mutated(&frames, MUTATED, SEED) {
        readers.compare(&Bytes::whole(&frame), None)?;
    }
    println!("seed of the mutations {SEED:#x}");
    readers.finish()
}

/// Every way to an IP header, in front of a few packets; and every kind of packet, behind one of the ways.
fn crafted() -> Vec<Vec<u8>> {
    let packets = packets();
    let mut frames = Vec::new();
    for way in ways() {
        for (_, packet) in packets.iter().step_by(29) {
            frames.push([way.as_slice(), packet].concat());
        }
    }
    for tunnel in tunnels() {
        for (_, packet) in packets.iter().step_by(97) {
            frames.push([tunnel.as_slice(), packet].concat());
        }
    }
    for (ethertype, packet) in packets {
        frames.push([&[2; 12][..], &ethertype.to_be_bytes(), &packet].concat());
    }
    frames
}

/// Frames up to where the inner packet begins, of every tunnel, with the optional parts that its header may have; and one in
/// the other.
fn tunnels() -> Vec<Vec<u8>> {
    let outer = |protocol: u8| {
        let mut frame = [&[2; 12][..], &[8, 0, 0x45, 0, 0, 200, 0, 7, 0, 0, 64, protocol, 0, 0]].concat();
        frame.extend([192, 0, 2, 7, 198, 51, 100, 8]);
        frame
    };
    let udp = |port: u16| [&outer(17)[..], &[0xc0, 1], &port.to_be_bytes(), &[0, 180, 0, 0]].concat();
    let ethernet = |ethertype: u16| [&[4; 12][..], &ethertype.to_be_bytes()].concat();
    let mut tunnels = Vec::new();
    for ethertype in [0x0800_u16, 0x86dd] {
        let [e1, e0] = ethertype.to_be_bytes();
        for port in [4789_u16, 8472, 4790] {
            for (flags, protocol) in [(8, 0), (12, 1), (12, 2), (12, 3), (12, 4), (0, 0)] {
                let header = [flags, 0, 0, protocol, 0, 4, 87, 0];
                tunnels.push([&udp(port)[..], &header].concat());
                tunnels.push([&udp(port)[..], &header, &ethernet(ethertype)].concat());
            }
        }
        for options in [0_u8, 1, 3, 64] {
            let body = vec![0; usize::from(options % 64) * 4];
            tunnels.push([&udp(6081)[..], &[options, 0, e1, e0, 0, 0, 9, 0], &body].concat());
            let header = [options, 0, 0x65, 0x58, 0, 0, 9, 0];
            tunnels.push([&udp(6081)[..], &header, &body, &ethernet(ethertype)].concat());
        }
        for flags in 0..=16_u8 {
            let octets = [0x80, 0x20, 0x10].map(|bit| usize::from(flags << 4 & bit != 0) * 4).iter().sum();
            let header = [flags << 4, u8::from(flags == 16), e1, e0];
            tunnels.push([&outer(47)[..], &header, &vec![7; octets]].concat());
        }
        for (protocol, flags, header) in
            [(0x88be_u16, 0_u8, 0), (0x88be, 0x10, 8), (0x22eb, 0x10, 12), (0x22eb, 0x10, 20)]
        {
            let mut body = vec![0; usize::from(flags) / 4 + header];
            if let Some(last) = body.get_mut(15).filter(|_| protocol == 0x22eb) {
                *last = u8::from(header == 20);
            }
            let gre = [&[flags, 0][..], &protocol.to_be_bytes(), &body].concat();
            tunnels.push([&outer(47)[..], &gre, &ethernet(ethertype)].concat());
        }
        for (flags, extensions) in [(0x30_u8, 0), (0x32, 0), (0x34, 1), (0x34, 4), (0x34, 5), (0x36, 0), (0x10, 0)] {
            let mut header = vec![flags, 255, 0, 60, 1, 2, 3, 4];
            if flags % 8 != 0 {
                header.extend([0, 1, 0, u8::from(extensions > 0)]);
            }
            for left in (0..extensions).rev() {
                header.extend([1, 9, 9, u8::from(left > 0)]);
            }
            tunnels.push([udp(2152), header].concat());
        }
        tunnels.push(outer(4));
        tunnels.push(outer(41));
        let inner_gre = [&outer(47)[14..], &[0, 0, e1, e0]].concat();
        tunnels.push([&outer(4)[..], &inner_gre].concat());
        tunnels.push([&outer(4)[..], &outer(4)[14..], &outer(4)[14..], &outer(4)[14..], &inner_gre].concat());
    }
    tunnels
}

/// Ethernet headers with as many tags and labels as are stepped over, and more.
fn ways() -> Vec<Vec<u8>> {
    let mut ways = Vec::new();
    for tags in 0..=7_u8 {
        let mut tagged = vec![2; 12];
        for tag in 1..=tags {
            let identifier = [0x88a8_u16, 0x8100, 0x9100][usize::from(tag % 3)];
            tagged.extend(identifier.to_be_bytes());
            tagged.extend([0xe0 | tag, tag]);
        }
        for ethertype in [0x0800_u16, 0x86dd, 0x0806, 1500] {
            ways.push([&tagged[..], &ethertype.to_be_bytes()].concat());
        }
        for protocol in [0x0021_u16, 0x0057, 0xc021] {
            ways.push([&tagged[..], &[0x88, 0x64, 0x11, 0, 0, 1, 0, 30], &protocol.to_be_bytes()].concat());
        }
        for labels in 1..=9_u8 {
            let mut way = [&tagged[..], &[0x88, 0x47 + labels % 2]].concat();
            way.extend((1..labels).flat_map(|label| [label, label, 0xfe, 64]));
            way.extend([labels, 0, 0x11, 64]);
            ways.push(way);
        }
    }
    ways
}

/// IPv4 packets with options and IPv6 packets with extension headers, whole and in fragments, of every transport.
fn packets() -> Vec<(u16, Vec<u8>)> {
    // TCP's fourteenth octet holds all flags; of the others it is payload.
    let transport = [0xc0, 1, 0, 80, 1, 2, 3, 4, 5, 6, 7, 8, 0x81, 0xff, 0, 0, 0, 0, 0, 0, 9, 9, 9, 9];
    let mut packets = Vec::new();
    for protocol in [1, 6, 17, 33, 47, 58, 59, 132, 136] {
        for fragment in [0_u16, 0x4000, 0x2000, 0x2001, 0x0001, 0x1fff] {
            for (words, length) in [(5, 44_u16), (5, 0), (6, 48), (15, 84), (4, 40)] {
                let [l1, l0] = length.to_be_bytes();
                let [f1, f0] = fragment.to_be_bytes();
                let mut packet = vec![0x40 + words, 0xb8, l1, l0, 0, 7, f1, f0, 64, protocol, 0, 0];
                packet.extend([192, 0, 2, 1, 198, 51, 100, 2]);
                packet.resize(packet.len().max(usize::from(words) * 4), 1);
                packet.extend(transport);
                packets.push((0x0800, packet));
            }
        }
        for extensions in chains() {
            let [l1, l0] = if extensions.len() == 1 { [0, 0] } else { [1, 0] };
            let numbers = extensions.iter().map(|(number, _)| *number).chain([protocol]);
            let mut packet = vec![0x6a, 0xb0, 0, 0, l1, l0, extensions.first().map_or(protocol, |it| it.0), 255];
            packet.extend((0..32).map(|octet| octet * 7));
            for ((_, body), next) in extensions.iter().zip(numbers.skip(1)) {
                packet.push(next);
                packet.extend(body);
            }
            packet.extend(transport);
            packets.push((0x86dd, packet));
        }
    }
    packets
}

/// Chains of extension headers: their numbers, and their octets after the first.
fn chains() -> Vec<Vec<(u8, Vec<u8>)>> {
    let options = |number: u8, length: u8| {
        let octets = if number == 51 { (usize::from(length) + 2) * 4 } else { (usize::from(length) + 1) * 8 };
        let mut body = vec![length];
        body.resize(octets - 1, 0);
        (number, body)
    };
    let fragment = |field: u16| (44, [&[0xff][..], &field.to_be_bytes(), &[1, 2, 3, 4]].concat());
    let mut chains = vec![Vec::new()];
    for number in [0, 43, 51, 60, 135, 139, 140] {
        chains.extend((0..3).map(|length| vec![options(number, length)]));
    }
    for field in [0, 1, 6, 8, 9, 0xfff8] {
        chains.push(vec![fragment(field)]);
        chains.push(vec![options(0, 1), fragment(field), options(60, 0)]);
        chains.push(vec![fragment(1), fragment(field)]);
    }
    chains.extend((2..=10).map(|count| vec![options(60, 0); count]));
    chains
}
