//! Values of settings, as they are written in the file.

use std::fmt;

use serde::{Deserialize, Deserializer, de};

/// A time in milliseconds, written such as `5min` or `2h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub i64);

impl Span {
    /// So many seconds.
    #[must_use]
    pub const fn seconds(seconds: i64) -> Self {
        Self(seconds * 1000)
    }

    /// So many minutes.
    #[must_use]
    pub const fn minutes(minutes: i64) -> Self {
        Self::seconds(minutes * 60)
    }

    /// So many hours.
    #[must_use]
    pub const fn hours(hours: i64) -> Self {
        Self::minutes(hours * 60)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let expected = || de::Error::custom(format!("\"{text}\" is not a time such as 30s, 5min, 2h or 7d"));
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(expected)?;
        let number: i64 = text[..digits].parse().map_err(|_| expected())?;
        let unit = match text[digits..].trim() {
            "s" => 1000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(expected()),
        };
        number.checked_mul(unit).map(Self).ok_or_else(expected)
    }
}

/// Octets, written as a number or such as `100MB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Octets(pub u64);

impl fmt::Display for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&super::words::octets(self.0))
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (text, number, unit) = number_and_unit(deserializer)?;
        let factor = match unit.as_str() {
            "" | "B" => Some(1),
            "kB" => Some(1000),
            "MB" => Some(1_000_000),
            "GB" => Some(1_000_000_000),
            "TB" => Some(1_000_000_000_000),
            _ => None,
        };
        let octets = number.zip(factor).and_then(|(number, factor): (u64, u64)| number.checked_mul(factor));
        octets
            .map(Self)
            .ok_or_else(|| de::Error::custom(format!("\"{text}\" is not a size such as 500kB, 100MB or 2GB")))
    }
}

/// Bits a second, written such as `100Mbit/s` or `10Gbit/s`, or as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(pub u64);

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (text, number, unit) = number_and_unit(deserializer)?;
        let factor = match unit.trim_end_matches("/s") {
            "" | "bit" => Some(1),
            "kbit" | "k" => Some(1000),
            "Mbit" | "M" => Some(1_000_000),
            "Gbit" | "G" => Some(1_000_000_000),
            "Tbit" | "T" => Some(1_000_000_000_000),
            _ => None,
        };
        let rate = number.zip(factor).and_then(|(number, factor): (u64, u64)| number.checked_mul(factor));
        rate.map(Self)
            .ok_or_else(|| de::Error::custom(format!("\"{text}\" is not a rate such as 100Mbit/s or 10Gbit/s")))
    }
}

/// A number, or a text that begins with one: the text, the number, and what comes after it.
fn number_and_unit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(String, Option<u64>, String), D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a number, or a text such as \"10M\"")]
    enum Written {
        Number(u64),
        Text(String),
    }
    let text = match Written::deserialize(deserializer)? {
        Written::Number(number) => return Ok((number.to_string(), Some(number), String::new())),
        Written::Text(text) => text,
    };
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = (text[..digits].parse().ok(), text[digits..].trim().to_owned());
    Ok((text, number, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct All {
        span: Span,
        octets: Octets,
        rate: Rate,
    }

    fn read(span: &str, octets: &str, rate: &str) -> Result<All, toml::de::Error> {
        toml::from_str(&format!("span = {span}\noctets = {octets}\nrate = {rate}"))
    }

    #[test]
    fn values_are_read_with_their_units() {
        let all = |span, octets, rate| All { span: Span(span), octets: Octets(octets), rate: Rate(rate) };
        assert_eq!(read("\"30s\"", "7", "9600"), Ok(all(30_000, 7, 9600)));
        assert_eq!(read("\"5min\"", "\"2 MB\"", "\"10Gbit/s\""), Ok(all(300_000, 2_000_000, 10_000_000_000)));
        assert_eq!(read("\"7d\"", "\"500kB\"", "\"1G\""), Ok(all(7 * 86_400_000, 500_000, 1_000_000_000)));
        for (span, octets, rate, expected) in [
            ("\"soon\"", "1", "1", "is not a time"),
            ("\"9999999999999999d\"", "1", "1", "is not a time"),
            ("\"1d\"", "\"1 mile\"", "1", "is not a size"),
            ("\"1d\"", "\"99999999999TB\"", "1", "is not a size"),
            ("\"1d\"", "1", "\"fast\"", "is not a rate"),
        ] {
            let error = read(span, octets, rate).expect_err("wrong").to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
