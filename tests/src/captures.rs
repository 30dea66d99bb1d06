//! Captures: those that lie beside some checkouts of the project, files of a test's own, and frames gone wrong.

use std::borrow::Cow;
use std::fs;
use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Result;
use flate2::read::MultiGzDecoder;

/// Real captures and an independent reader, where they lie beside the checkout.
#[must_use]
pub fn shared(part: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared").join(part);
    path.exists().then_some(path)
}

/// The captures in a folder, in the order of their names.
///
/// # Errors
/// The folder cannot be read.
pub fn captures_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut captures = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.to_string_lossy();
        if name.ends_with(".pcap") || name.ends_with(".pcap.gz") {
            captures.push(path);
        }
    }
    captures.sort();
    Ok(captures)
}

/// A file's content without gzip, if that is around it.
///
/// # Errors
/// It is, and is broken.
pub fn unpacked(file: &[u8]) -> Result<Cow<'_, [u8]>> {
    if !file.starts_with(&[0x1f, 0x8b]) {
        return Ok(file.into());
    }
    let mut content = Vec::new();
    MultiGzDecoder::new(file).read_to_end(&mut content)?;
    Ok(content.into())
}

/// A pcap of microseconds and Ethernet with one frame a second.
#[must_use]
pub fn pcap(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0];
    for (second, frame) in (1_700_000_000_u32..).zip(frames) {
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX).to_le_bytes();
        for word in [second.to_le_bytes(), 500_000_u32.to_le_bytes(), length, length] {
            file.extend(word);
        }
        file.extend(frame);
    }
    file
}

/// The captured octets of an Ethernet capture's frames; nothing where the file is none in pcap's older format.
#[must_use]
pub fn ethernet_frames(file: &[u8]) -> Vec<&[u8]> {
    let (Some([0xd4, 0xc3, 0xb2, 0xa1]), Some([1, 0, 0, 0])) = (file.get(..4), file.get(20..24)) else {
        return Vec::new();
    };
    let mut frames = Vec::new();
    let mut rest = &file[24..];
    while let Some((header, after)) = rest.split_at_checked(16) {
        let length = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
        let Some((frame, after)) = after.split_at_checked(length as usize) else { break };
        frames.push(frame);
        rest = after;
    }
    frames
}

/// A datagram of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// The address and port from which it came.
    pub source: SocketAddr,
    /// What was in it.
    pub payload: Vec<u8>,
}

/// The UDP datagrams of an Ethernet capture, of IPv4 and IPv6, with or without VLAN tags; none of the corpus is fragmented.
#[must_use]
pub fn datagrams(file: &[u8]) -> Vec<Datagram> {
    ethernet_frames(file).into_iter().filter_map(datagram).collect()
}

fn datagram(frame: &[u8]) -> Option<Datagram> {
    let mut rest = frame.get(12..)?;
    while let [0x81 | 0x88, 0x00 | 0xa8, _, _, behind @ ..] = rest {
        rest = behind;
    }
    let (address, udp): (IpAddr, &[u8]) = match rest {
        [0x08, 0x00, packet @ ..] => {
            let [first, .., protocol, _, _] = *packet.first_chunk::<12>()?;
            let is_udp = protocol == 17;
            let header = usize::from(first & 15) * 4;
            let source: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
            (source.into(), is_udp.then(|| packet.get(header..))??)
        }
        [0x86, 0xdd, packet @ ..] => {
            let source: [u8; 16] = packet.get(8..24)?.try_into().ok()?;
            (source.into(), (packet.get(6) == Some(&17)).then(|| packet.get(40..))??)
        }
        _ => return None,
    };
    let [port_high, port_low, _, _, length_high, length_low, _, _] = *udp.first_chunk::<8>()?;
    let length = usize::from(u16::from_be_bytes([length_high, length_low]));
    let port = u16::from_be_bytes([port_high, port_low]);
    Some(Datagram { source: (address, port).into(), payload: udp.get(8..length)?.to_vec() })
}

/// How far into a frame mutations reach: past the headers of nearly all.
const HEADERS: usize = 90;

/// `count` frames made from `frames`, each with one to four octets of its headers changed or its end cut off. The same seed
/// makes the same frames.
#[must_use]
pub fn mutated(frames: &[&[u8]], count: usize, seed: u64) -> Vec<Vec<u8>> {
    let mut state = seed;
    // SplitMix64 (Steele, Lea and Flood, 2014): enough for mutations, and the same everywhere.
    let mut random = |below: usize| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % below as u64).unwrap_or(0)
    };
    let mut made = Vec::with_capacity(count);
    while made.len() < count {
        let mut frame = frames[random(frames.len())].to_vec();
        for _ in 0..=random(4) {
            let place = random(frame.len().clamp(1, HEADERS));
            if let Some(octet) = frame.get_mut(place) {
                *octet = u8::try_from(random(256)).unwrap_or(0);
            }
        }
        if random(8) == 0 {
            frame.truncate(random(frame.len().max(1)));
        }
        made.push(frame);
    }
    made
}
