//! Names and types of elements, as the IANA registry of IPFIX information elements has them, and the JSON that is made of a tail.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use hashbrown::{HashMap, HashSet};

use super::read::{float, microseconds_of_ntp, number};
use super::received::{Specifier, Tail, VARIABLE_LENGTH};
use crate::export::elements::ELEMENTS;

/// The Private Enterprise Number of reverse elements (RFC 5103 section 6.1).
pub(super) const REVERSE: u32 = 29_305;

/// What the octets of a value are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "RFC 7011 section 6.1 says what they are")]
pub enum Kind {
    /// An octetArray, a list, or a type that is not known here.
    Octets,
    /// Of any size.
    Unsigned,
    /// Of any size.
    Signed,
    Float,
    Boolean,
    String,
    MacAddress,
    Ipv4Address,
    Ipv6Address,
    DateTimeSeconds,
    DateTimeMilliseconds,
    DateTimeMicroseconds,
    DateTimeNanoseconds,
}

impl Kind {
    fn of(data_type: &str) -> Self {
        match data_type {
            "unsigned8" | "unsigned16" | "unsigned32" | "unsigned64" => Self::Unsigned,
            "signed8" | "signed16" | "signed32" | "signed64" => Self::Signed,
            "float32" | "float64" => Self::Float,
            "boolean" => Self::Boolean,
            "string" => Self::String,
            "macAddress" => Self::MacAddress,
            "ipv4Address" => Self::Ipv4Address,
            "ipv6Address" => Self::Ipv6Address,
            "dateTimeSeconds" => Self::DateTimeSeconds,
            "dateTimeMilliseconds" => Self::DateTimeMilliseconds,
            "dateTimeMicroseconds" => Self::DateTimeMicroseconds,
            "dateTimeNanoseconds" => Self::DateTimeNanoseconds,
            _ => Self::Octets,
        }
    }
}

/// The name of an element, and what its octets are.
type Named = (&'static str, Kind);

/// The table in the file beside this one: enterprise, ID, name and type, a line each behind one of headings.
static REGISTRY: LazyLock<HashMap<(u32, u16), Named>> = LazyLock::new(|| {
    let row = |line: &'static str| {
        let mut columns = line.split('\t');
        let (enterprise, id) = (columns.next()?.parse().ok()?, columns.next()?.parse().ok()?);
        Some(((enterprise, id), (columns.next()?, Kind::of(columns.next()?))))
    };
    include_str!("registry.tsv").lines().filter_map(row).collect()
});

/// Names that a record's own fields may have.
static OWN: LazyLock<HashSet<&'static str>> = LazyLock::new(|| ELEMENTS.iter().map(|element| element.name).collect());

/// The name of an element, without a prefix, and what its octets are. Reverse elements have those of what they reverse.
#[must_use]
pub fn element(enterprise: u32, id: u16) -> Option<Named> {
    REGISTRY.get(&(if enterprise == REVERSE { 0 } else { enterprise }, id)).copied()
}

/// Appends to a JSON object that is not empty and still open the elements of a tail: `,"name":value` for each.
///
/// Reverse elements are called `reverse…` (RFC 5103 section 6.1). One that a record's own fields may say too is called
/// `received…`, so that no name occurs twice: an outer address is `receivedSourceIPv4Address`. Of one that occurs several times
/// the value is an array of all, in their order; one that the registry does not know is called `enterprise/id`. Values whose
/// type or length is none of the registry's are written as hexadecimal digits, and so are lists. Times are integers of the
/// unit that their name says, since 1970.
pub fn put_tail_json(tail: &Tail, octets: &[u8], line: &mut String) {
    let mut values = values(tail, octets);
    // Not in the order of the tail, so that those of one element are side by side.
    values.sort_by_key(|(field, _)| (field.enterprise, field.id));
    for same in values.chunk_by(|(one, _), (other, _)| (one.enterprise, one.id) == (other.enterprise, other.id)) {
        let [(field, first), rest @ ..] = same else { continue };
        line.push_str(",\"");
        let kind = put_name(*field, line);
        line.push_str("\":");
        if !rest.is_empty() {
            line.push('[');
        }
        put_value(kind, first, line);
        for (_, octets) in rest {
            line.push(',');
            put_value(kind, octets, line);
        }
        if !rest.is_empty() {
            line.push(']');
        }
    }
}

/// The fields of a tail with the octets of each, without the length before those of variable length.
pub(super) fn values<'a>(tail: &Tail, mut octets: &'a [u8]) -> Vec<(Specifier, &'a [u8])> {
    let mut values = Vec::with_capacity(tail.fields.len());
    for &field in &tail.fields {
        let (prefix, length) = match (field.length, octets) {
            (VARIABLE_LENGTH, [255, high, low, ..]) => (3, usize::from(u16::from_be_bytes([*high, *low]))),
            (VARIABLE_LENGTH, [length, ..]) => (1, usize::from(*length)),
            (VARIABLE_LENGTH, []) => break,
            (length, _) => (0, usize::from(length)),
        };
        let Some((value, rest)) = octets.split_at_checked(prefix + length) else { break };
        values.push((field, &value[prefix..]));
        octets = rest;
    }
    values
}

fn put_name(field: Specifier, line: &mut String) -> Kind {
    let Some((name, kind)) = element(field.enterprise, field.id) else {
        write_to(line, format_args!("{}/{}", field.enterprise, field.id));
        return Kind::Octets;
    };
    let start = line.len();
    put_prefixed(if field.enterprise == REVERSE { "reverse" } else { "" }, name, line);
    if OWN.contains(&line[start..]) {
        let own = line.split_off(start);
        put_prefixed("received", &own, line);
    }
    kind
}

/// A name of ASCII behind a prefix, as in `reverseOctetDeltaCount`.
fn put_prefixed(prefix: &str, name: &str, line: &mut String) {
    line.push_str(prefix);
    match name.split_at_checked(1) {
        Some((first, rest)) if !prefix.is_empty() => {
            line.push(first.chars().next().unwrap_or_default().to_ascii_uppercase());
            line.push_str(rest);
        }
        _ => line.push_str(name),
    }
}

fn put_value(kind: Kind, octets: &[u8], line: &mut String) {
    let put = |line: &mut String, value: std::fmt::Arguments<'_>| write_to(line, value);
    match (kind, octets) {
        (Kind::String, _) => put_text(octets, line),
        (Kind::Unsigned, _) if (1..=8).contains(&octets.len()) => put(line, format_args!("{}", number(octets))),
        (Kind::Signed, _) if (1..=8).contains(&octets.len()) => put(line, format_args!("{}", signed(octets))),
        (Kind::Float, _) if matches!(octets.len(), 4 | 8) && float(octets).is_finite() => {
            put(line, format_args!("{}", float(octets)));
        }
        // RFC 7011 section 6.1.5: 1 is true, 2 is false.
        (Kind::Boolean, [1]) => line.push_str("true"),
        (Kind::Boolean, [2]) => line.push_str("false"),
        (Kind::MacAddress, [a, b, c, d, e, f]) => {
            put(line, format_args!("\"{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}\""));
        }
        (Kind::Ipv4Address, &[a, b, c, d]) => put(line, format_args!("\"{}\"", Ipv4Addr::new(a, b, c, d))),
        (Kind::Ipv6Address, _) if octets.len() == 16 => {
            let address = octets.try_into().map_or(Ipv6Addr::UNSPECIFIED, |octets: [u8; 16]| octets.into());
            put(line, format_args!("\"{address}\""));
        }
        (Kind::DateTimeSeconds | Kind::DateTimeMilliseconds, _) if (1..=8).contains(&octets.len()) => {
            put(line, format_args!("{}", number(octets)));
        }
        (Kind::DateTimeMicroseconds, _) if octets.len() == 8 => {
            put(line, format_args!("{}", microseconds_of_ntp(number(octets))));
        }
        (Kind::DateTimeNanoseconds, _) if octets.len() == 8 => {
            put(line, format_args!("{}", nanoseconds(number(octets))));
        }
        _ => put_hex(octets, line),
    }
}

/// Nanoseconds since 1970: the seconds are those of the microseconds, the fraction is finer.
fn nanoseconds(ntp: u64) -> u64 {
    let seconds = microseconds_of_ntp(ntp) / 1_000_000;
    seconds * 1_000_000_000 + (((ntp & 0xffff_ffff) * 1_000_000_000) >> 32)
}

/// The number in at most eight octets, of two's complement.
fn signed(octets: &[u8]) -> i64 {
    let unused = 64 - 8 * u32::try_from(octets.len().clamp(1, 8)).unwrap_or(8);
    number(octets).cast_signed().wrapping_shl(unused) >> unused
}

/// Text, without the zeros that fill its field.
fn put_text(octets: &[u8], line: &mut String) {
    let text = String::from_utf8_lossy(octets);
    // Text can always be written.
    if let Ok(text) = serde_json::to_string(text.trim_end_matches('\0')) {
        line.push_str(&text);
    }
}

fn put_hex(octets: &[u8], line: &mut String) {
    line.push('"');
    for octet in octets {
        write_to(line, format_args!("{octet:02x}"));
    }
    line.push('"');
}

/// Writing to a string cannot fail.
fn write_to(line: &mut String, value: std::fmt::Arguments<'_>) {
    let _ = line.write_fmt(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tail and its octets as an object.
    fn json(said: &[(u32, u16, u16, &[u8])]) -> String {
        let specifier = |&(enterprise, id, length, _): &(u32, u16, u16, &[u8])| Specifier { enterprise, id, length };
        let tail = Tail { fields: said.iter().map(specifier).collect() };
        let octets: Vec<u8> = said.iter().flat_map(|(.., octets)| octets.iter().copied()).collect();
        let mut line = String::from("{\"a\":1");
        put_tail_json(&tail, &octets, &mut line);
        line.push('}');
        line
    }

    #[test]
    fn every_line_of_the_registry_is_read() {
        assert_eq!(REGISTRY.len(), include_str!("registry.tsv").lines().count() - 1);
        assert_eq!(element(0, 225), Some(("postNATSourceIPv4Address", Kind::Ipv4Address)));
        assert_eq!(element(REVERSE, 1), Some(("octetDeltaCount", Kind::Unsigned)));
        assert_eq!((element(0, 416), element(35_632, 1)), (None, None));
    }

    #[test]
    fn values_are_written_by_their_type() {
        let time = (1_700_000_000_u64 + 2_208_988_800) << 32 | 1 << 31;
        let said: [(u32, u16, u16, &[u8]); 16] = [
            (0, 128, 4, &[0, 0, 0xfc, 0]),
            (0, 95, 4, &[3, 0, 0, 80]),
            (0, 225, 4, &[203, 0, 113, 9]),
            (0, 276, 1, &[2]),
            (0, 281, 16, &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
            (0, 320, 4, &0.5_f32.to_be_bytes()),
            (0, 323, 8, &1_700_000_000_123_u64.to_be_bytes()),
            (0, 322, 4, &1_700_000_000_u32.to_be_bytes()),
            (0, 324, 8, &time.to_be_bytes()),
            (0, 325, 8, &time.to_be_bytes()),
            (0, 365, 6, &[0, 1, 2, 0xaa, 0xbb, 0xcc]),
            (0, 371, 6, b"\"a\xff\n\0\0"),
            (0, 434, 2, &[0xff, 0xfe]),
            (9, 233, 2, &[0xab, 0xcd]),
            (35_632, 118, 1, &[7]),
            (0, 96, VARIABLE_LENGTH, b"\x04http"),
        ];
        let expected = [
            ",\"applicationId\":\"03000050\",\"applicationName\":\"http\",\"bgpNextAdjacentAsNumber\":64512",
            ",\"postNATSourceIPv4Address\":\"203.0.113.9\",\"dataRecordsReliability\":false",
            ",\"postNATSourceIPv6Address\":\"2001:db8::1\",\"absoluteError\":0.5",
            ",\"observationTimeSeconds\":1700000000,\"observationTimeMilliseconds\":1700000000123",
            ",\"observationTimeMicroseconds\":1700000000500000,\"observationTimeNanoseconds\":1700000000500000000",
            ",\"staMacAddress\":\"00:01:02:aa:bb:cc\",\"userName\":\"\\\"a\u{fffd}\\n\",\"mibObjectValueInteger\":-2",
            ",\"egressAclId\":\"abcd\",\"35632/118\":\"07\"}",
        ];
        assert_eq!(json(&said), format!("{{\"a\":1{}", expected.concat()));
    }

    #[test]
    fn no_name_is_there_twice() {
        let said: [(u32, u16, u16, &[u8]); 5] = [
            (0, 8, 4, &[10, 0, 0, 1]),
            (0, 71, 3, &[0, 0, 1]),
            (0, 8, 4, &[10, 0, 0, 2]),
            (REVERSE, 184, 4, &[0, 0, 0, 5]),
            (REVERSE, 1, 4, &[0, 0, 0, 6]),
        ];
        let expected = [
            ",\"receivedSourceIPv4Address\":[\"10.0.0.1\",\"10.0.0.2\"],\"mplsLabelStackSection2\":\"000001\"",
            ",\"receivedReverseOctetDeltaCount\":6,\"reverseTcpSequenceNumber\":5}",
        ];
        assert_eq!(json(&said), format!("{{\"a\":1{}", expected.concat()));
    }

    #[test]
    fn a_value_of_a_length_that_its_type_has_not_is_hexadecimal() {
        let said: [(u32, u16, u16, &[u8]); 5] = [
            (0, 128, 9, &[1, 2, 3, 4, 5, 6, 7, 8, 9]),
            (0, 225, 3, &[1, 2, 3]),
            (0, 276, 1, &[3]),
            (0, 320, 8, &f64::NAN.to_be_bytes()),
            (0, 94, VARIABLE_LENGTH, b"\x09cut"),
        ];
        let expected = [
            ",\"bgpNextAdjacentAsNumber\":\"010203040506070809\",\"postNATSourceIPv4Address\":\"010203\"",
            ",\"dataRecordsReliability\":\"03\",\"absoluteError\":\"7ff8000000000000\"}",
        ];
        assert_eq!(json(&said), format!("{{\"a\":1{}", expected.concat()));
    }
}
