//! Numbers for people.

use std::time::Duration;

/// A count: exact below a million, then three digits and a letter.
pub(crate) fn count(number: u64) -> String {
    if number < 1_000_000 { grouped(number) } else { scaled(number, &["", "k", "M", "G", "T", "P"]).replace(' ', "") }
}

/// A count in at most six characters, for lines that hold many.
pub(crate) fn compact(number: u64) -> String {
    if number < 100_000 { grouped(number) } else { scaled(number, &["", "k", "M", "G", "T", "P"]).replace(' ', "") }
}

/// Octets, in decimal units as interfaces are rated.
pub(crate) fn bytes(octets: u64) -> String {
    scaled(octets, &["B", "kB", "MB", "GB", "TB", "PB"])
}

/// A rate, from octets in a second.
pub(super) fn bits_per_second(octets: u64) -> String {
    bits(octets.saturating_mul(8))
}

/// A rate, from bits in a second.
pub(crate) fn bits(bits: u64) -> String {
    scaled(bits, &["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s", "Pbit/s"])
}

/// A time, to the second.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, s) => format!("{s} s"),
        (0, 0, m, s) => format!("{m} min {s:02} s"),
        (0, h, m, _) => format!("{h} h {m:02} min"),
        (d, h, ..) => format!("{d} d {h:02} h"),
    }
}

/// IANA protocol numbers that are common, and their names.
const PROTOCOLS: [(u8, &str); 16] = [
    (1, "ICMP"),
    (2, "IGMP"),
    (4, "IPIP"),
    (6, "TCP"),
    (17, "UDP"),
    (33, "DCCP"),
    (41, "6in4"),
    (47, "GRE"),
    (50, "ESP"),
    (51, "AH"),
    (58, "ICMPv6"),
    (89, "OSPF"),
    (103, "PIM"),
    (112, "VRRP"),
    (132, "SCTP"),
    (136, "UDPLite"),
];

/// The name of an IANA protocol number, where one is common; else the number.
pub(crate) fn protocol_name(protocol: u8) -> String {
    let known = PROTOCOLS.iter().find(|(number, _)| *number == protocol);
    known.map_or_else(|| format!("proto {protocol}"), |(_, name)| (*name).to_owned())
}

/// The number of a protocol that is called so, in letters of either case.
pub(crate) fn protocol_number(name: &str) -> Option<u8> {
    PROTOCOLS.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(number, _)| *number)
}

/// A count to the last digit.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Three digits and a unit, rounded down: a number never looks larger than it is.
fn scaled(number: u64, units: &[&str]) -> String {
    let mut divisor = 1_u64;
    let mut unit = 0;
    while number / divisor >= 1000 && unit + 1 < units.len() {
        divisor = divisor.saturating_mul(1000);
        unit += 1;
    }
    let whole = number / divisor;
    let tenths = number % divisor * 10 / divisor;
    let hundredths = number % divisor / (divisor / 100).max(1);
    match (unit, whole) {
        (0, _) => format!("{whole} {}", units[0]),
        (_, 100..) => format!("{whole} {}", units[unit]),
        (_, 10..) => format!("{whole}.{tenths} {}", units[unit]),
        _ => format!("{whole}.{hundredths:02} {}", units[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_never_too_large() {
        assert_eq!(
            ["0", "999", "1,000", "999,999", "1.00M", "18.4M"].map(str::to_owned),
            [0, 999, 1_000, 999_999, 1_000_000, 18_499_999].map(count)
        );
        assert_eq!(
            ["0 B", "999 B", "1.00 kB", "1.50 MB", "10.1 MB", "999 GB"].map(str::to_owned),
            [0, 999, 1_000, 1_509_999, 10_199_999, 999_999_999_999].map(bytes)
        );
        assert_eq!(bits_per_second(125_000_000), "1.00 Gbit/s");
        assert_eq!(bits_per_second(u64::MAX), "18446 Pbit/s");
        assert_eq!(duration(Duration::from_secs(83)), "1 min 23 s");
        assert_eq!(duration(Duration::from_secs(90_000)), "1 d 01 h");
    }
}
