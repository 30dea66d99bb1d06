//! The header of a message, and what of the octets behind it belongs to the message.

use super::super::template::Version;
use super::{Fault, take, take_u16, take_u32};

/// What the header of a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The version.
    pub version: Version,
    /// Observation Domain ID of IPFIX, Source ID of NetFlow v9, engine type × 256 + engine ID of v5; 0 in v7, which has none.
    pub domain: u32,
    /// The sequence number: of messages in NetFlow v9, of records in the others.
    pub sequence: u32,
    /// Records in the message; 0 in IPFIX, which does not say. Exporters of NetFlow v9 do not agree on what counts.
    pub count: u16,
    /// When it was exported, microseconds since 1970-01-01 UTC.
    pub export_time_us: u64,
    /// How long the exporter had been up then, milliseconds; `None` in IPFIX.
    pub uptime_ms: Option<u32>,
    /// The sampling word of v5.
    pub sampling: Option<u16>,
}

impl Header {
    /// When the exporter's uptime was 0, microseconds since 1970-01-01 UTC. `None` in IPFIX, and where the exporter's clock is
    /// so wrong that it would be before 1970.
    #[must_use]
    pub fn boot_us(&self) -> Option<u64> {
        self.export_time_us.checked_sub(u64::from(self.uptime_ms?) * 1000)
    }
}

/// What belongs to a message behind its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content<'a> {
    /// Records of v5 or v7, or sets.
    pub octets: &'a [u8],
    /// Whether other octets come behind the message.
    pub trailing: bool,
}

/// Reads the header of a message, and finds what belongs to the message.
///
/// # Errors
/// The outer one where there is no header, so that nobody knows whose it is; the inner one where the header contradicts the
/// octets behind it.
pub fn open(message: &[u8]) -> Result<(Header, Result<Content<'_>, Fault>), Fault> {
    let mut rest = message;
    let version = take_u16(&mut rest).ok_or(Fault::ShortHeader)?;
    let header = match version {
        5 => fixed(Version::NetFlow5, &mut rest),
        7 => fixed(Version::NetFlow7, &mut rest),
        9 => netflow9(&mut rest),
        10 => return ipfix(message).ok_or(Fault::ShortHeader),
        _ => return Err(Fault::UnsupportedVersion),
    };
    let header = header.ok_or(Fault::ShortHeader)?;
    let octets = match header.version {
        Version::NetFlow5 => usize::from(header.count) * 48,
        Version::NetFlow7 => usize::from(header.count) * 52,
        _ => rest.len(),
    };
    Ok((header, within(rest, octets)))
}

/// The first octets of what came behind a header.
fn within(rest: &[u8], octets: usize) -> Result<Content<'_>, Fault> {
    let (octets, trailing) = rest.split_at_checked(octets).ok_or(Fault::TruncatedMessage)?;
    Ok(Content { octets, trailing: !trailing.is_empty() })
}

fn fixed(version: Version, rest: &mut &[u8]) -> Option<Header> {
    let count = take_u16(rest)?;
    let uptime_ms = take_u32(rest)?;
    let (seconds, nanoseconds) = (take_u32(rest)?, take_u32(rest)?);
    let sequence = take_u32(rest)?;
    let (engine, sampling) = (take_u16(rest)?, take_u16(rest)?);
    let is_v5 = version == Version::NetFlow5;
    Some(Header {
        version,
        domain: if is_v5 { engine.into() } else { 0 },
        sequence,
        count,
        // Some exporters write something else where the nanoseconds belong.
        export_time_us: u64::from(seconds) * 1_000_000 + u64::from(nanoseconds.min(999_999_999) / 1000),
        uptime_ms: Some(uptime_ms),
        sampling: is_v5.then_some(sampling),
    })
}

fn netflow9(rest: &mut &[u8]) -> Option<Header> {
    let count = take_u16(rest)?;
    let uptime_ms = take_u32(rest)?;
    let (seconds, sequence, domain) = (take_u32(rest)?, take_u32(rest)?, take_u32(rest)?);
    Some(Header {
        version: Version::NetFlow9,
        domain,
        sequence,
        count,
        export_time_us: u64::from(seconds) * 1_000_000,
        uptime_ms: Some(uptime_ms),
        sampling: None,
    })
}

fn ipfix(message: &[u8]) -> Option<(Header, Result<Content<'_>, Fault>)> {
    const OCTETS: usize = 16;
    let mut rest = message;
    let [_, _, length @ ..] = take::<4>(&mut rest)?;
    let (seconds, sequence, domain) = (take_u32(&mut rest)?, take_u32(&mut rest)?, take_u32(&mut rest)?);
    let header = Header {
        version: Version::Ipfix,
        domain,
        sequence,
        count: 0,
        export_time_us: u64::from(seconds) * 1_000_000,
        uptime_ms: None,
        sampling: None,
    };
    let content = match usize::from(u16::from_be_bytes(length)).checked_sub(OCTETS) {
        Some(octets) => within(rest, octets),
        None => Err(Fault::BadMessageLength),
    };
    Some((header, content))
}
