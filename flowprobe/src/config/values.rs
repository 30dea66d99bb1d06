//! Single values, the same from a flag and from a file.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use flowprobe_ebpf::Tunnels;
use ipnet::IpNet;
use thiserror::Error;

use crate::export::elements::{Fields, FieldsError, Preset};

/// A value that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("expected {expected}, found `{found}`")]
pub struct ValueError {
    /// What is allowed.
    pub expected: &'static str,
    /// What was given.
    pub found: String,
}

/// What [`duration`] allows.
pub(super) const DURATION: &str = "a time from 10ms to 1d, such as 200ms, 1.5s, 2m or 1h (a bare number is seconds)";

const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// A time: a number with a unit (ms, s, m, h, d), or a number of seconds.
///
/// # Errors
/// The text is no such time, or is shorter than 10 ms or longer than a day.
pub fn duration(text: &str) -> Result<Duration, ValueError> {
    let parsed = || {
        let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let seconds = match unit {
            "ms" => 0.001,
            "" | "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return None,
        };
        let number: f64 = number.trim().parse().ok()?;
        let time = Duration::try_from_secs_f64(number * seconds).ok()?;
        (SHORTEST..=LONGEST).contains(&time).then_some(time)
    };
    parsed().ok_or_else(|| ValueError { expected: DURATION, found: text.to_owned() })
}

/// What [`span`] allows.
pub(super) const SPAN: &str = "a time from 1s to 10 years, such as 90m, 24h, 30d, 4w or 1y (a bare number is seconds)";

const LONGEST_SPAN: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// A stretch of history: a number with a unit (s, m, h, d, w, y), or a number of seconds.
///
/// # Errors
/// The text is no such time, or is shorter than a second or longer than ten years.
pub fn span(text: &str) -> Result<Duration, ValueError> {
    let parsed = || {
        let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let seconds = match unit {
            "" | "s" => 1,
            "m" | "min" => 60,
            "h" => 3600,
            "d" => 86_400,
            "w" => 7 * 86_400,
            "y" => 365 * 86_400,
            _ => return None,
        };
        let number: u64 = number.trim().parse().ok()?;
        let time = Duration::from_secs(number.checked_mul(seconds)?);
        (Duration::from_secs(1)..=LONGEST_SPAN).contains(&time).then_some(time)
    };
    parsed().ok_or_else(|| ValueError { expected: SPAN, found: text.to_owned() })
}

/// What [`max_flows`] allows.
pub(super) const MAX_FLOWS: &str = "a number of flows from 1 to 16777216";

const MOST_FLOWS: u32 = 1 << 24;

/// A number of flows.
///
/// # Errors
/// The text is no number, or one out of range.
pub fn max_flows(text: &str) -> Result<NonZeroU32, ValueError> {
    let number: Option<NonZeroU32> = text.replace('_', "").parse().ok();
    number
        .filter(|number| number.get() <= MOST_FLOWS)
        .ok_or_else(|| ValueError { expected: MAX_FLOWS, found: text.to_owned() })
}

/// What [`sample`] allows.
pub(super) const SAMPLE: &str = "one of how many, a number from 1 to 16777216";

const RAREST: u32 = 1 << 24;

/// Of how many packets or flows one is metered.
///
/// # Errors
/// The text is no number, or one out of range.
pub fn sample(text: &str) -> Result<NonZeroU32, ValueError> {
    // As it is often written: 1:100, 1/100.
    let number = text.strip_prefix("1:").or_else(|| text.strip_prefix("1/")).unwrap_or(text);
    let number: Option<NonZeroU32> = number.replace('_', "").parse().ok();
    number
        .filter(|number| number.get() <= RAREST)
        .ok_or_else(|| ValueError { expected: SAMPLE, found: text.to_owned() })
}

/// What [`tunnels`] allows.
pub(super) const TUNNELS: &str = "a tunnel: vxlan, geneve, gre, gtpu, ipip, 4in4, 6in4, 4in6, 6in6, all or none";

/// Tunnels to open, by one name.
///
/// # Errors
/// The text names none.
pub fn tunnels(text: &str) -> Result<Tunnels, ValueError> {
    let known = Tunnels::NAMES.iter().find(|(name, _)| *name == text);
    known.map(|(_, tunnels)| *tunnels).ok_or_else(|| ValueError { expected: TUNNELS, found: text.to_owned() })
}

/// What an observation domain may be.
pub(super) const DOMAIN: &str = "a number from 0 to 4294967295, or interface";

/// What [`size`] allows.
pub(super) const SIZE: &str = "a size of 1 MiB or more, such as 500M, 2G or 1T (a bare number is octets)";

const SMALLEST: u64 = 1 << 20;

/// A size on disk: a number with a unit of 1024, its square and so on, or a number of octets.
///
/// # Errors
/// The text is no such size, or one below 1 MiB.
pub fn size(text: &str) -> Result<u64, ValueError> {
    let parsed = || {
        let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let factor: u64 = match unit {
            "" => 1,
            "K" | "k" | "KiB" => 1 << 10,
            "M" | "m" | "MiB" => 1 << 20,
            "G" | "g" | "GiB" => 1 << 30,
            "T" | "t" | "TiB" => 1 << 40,
            _ => return None,
        };
        let number: u64 = number.trim().replace('_', "").parse().ok()?;
        number.checked_mul(factor).filter(|size| *size >= SMALLEST)
    };
    parsed().ok_or_else(|| ValueError { expected: SIZE, found: text.to_owned() })
}

/// What [`catch_up`] allows.
pub(super) const CATCH_UP: &str = "a number of records a second from 1 to 4294967295";

/// Records a second.
///
/// # Errors
/// The text is no number, or 0.
pub fn catch_up(text: &str) -> Result<u32, ValueError> {
    let number: Option<u32> = text.replace('_', "").parse().ok();
    number.filter(|number| *number > 0).ok_or_else(|| ValueError { expected: CATCH_UP, found: text.to_owned() })
}

/// Fields as a flag has them: a preset, or names with commas between them.
///
/// # Errors
/// A name that is not known, one that is there twice, or none for one of the IP versions.
pub fn fields(text: &str) -> Result<Fields, FieldsError> {
    match Preset::named(text) {
        Some(preset) => Ok(Fields::Preset(preset)),
        None => Fields::named(&text.split(',').map(str::trim).collect::<Vec<_>>()),
    }
}

/// A network, or one address as the network of itself. IPv4 is always written as such.
///
/// # Errors
/// The text is neither, has bits behind its prefix, or is a network of IPv4-mapped addresses.
pub fn network(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address.to_canonical()));
    }
    let network: IpNet =
        text.parse().map_err(|_| format!("expected a network such as 192.0.2.0/24, or an address, found `{text}`"))?;
    // It may be meant as a longer one, and a list that means something else than it seems to is worse than one that is refused.
    if network.addr() != network.network() {
        return Err(format!("`{text}` has bits behind its prefix; the network is {}", network.trunc()));
    }
    match network {
        IpNet::V6(mapped) if mapped.prefix_len() >= 96 && mapped.addr().to_ipv4_mapped().is_some() => {
            Err(format!("`{text}` is a network of IPv4 and has to be written as one"))
        }
        network => Ok(network),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_with_and_without_units() {
        for (text, millis) in [
            ("200ms", 200),
            ("1s", 1000),
            ("0.5", 500),
            ("2", 2000),
            ("1.5m", 90_000),
            ("1h", 3_600_000),
            ("1 s", 1000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "-1s", "5 parsecs", "1ms", "2d", "nan", "1e300s", "10ms10ms"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn stretches_of_history() {
        for (text, hours) in [("90d", 90 * 24), ("24h", 24), ("2w", 14 * 24), ("1y", 365 * 24), ("3600", 1)] {
            assert_eq!(span(text), Ok(Duration::from_secs(hours * 3600)), "{text}");
        }
        for text in ["", "d", "0d", "-1d", "11y", "1.5h", "99999999999999999999d", "fortnight"] {
            assert!(span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn one_of_how_many() {
        for text in ["100", "1:100", "1/100", "1_00"] {
            assert_eq!(sample(text).map(NonZeroU32::get), Ok(100), "{text}");
        }
        for text in ["0", "2:100", "1:", "-1", "often", "16777217", ""] {
            assert!(sample(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_tunnel_that_there_is_is_named_in_the_error() {
        let error = tunnels("l2tp").expect_err("unknown").to_string();
        for (name, meant) in Tunnels::NAMES {
            assert!(error.contains(name), "{error}");
            assert_eq!(tunnels(name), Ok(meant));
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(
            ["1M", "2G", "1_048_576", "1T"].map(|text| size(text).ok()),
            [1 << 20, 2 << 30, 1 << 20, 1 << 40].map(Some)
        );
        for text in ["", "1K", "-1G", "1.5G", "99999999T", "large"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_of_flows() {
        assert_eq!(max_flows("65_536").map(NonZeroU32::get), Ok(65_536));
        for text in ["0", "-1", "many", "16777217", "4294967296", ""] {
            assert!(max_flows(text).is_err(), "{text}");
        }
    }
}
