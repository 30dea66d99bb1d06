//! What the daemon's HTTP API says, as far as it is shown.
//!
//! Addresses and numbers are read as such. All that is text becomes [`Text`] on its way in, so that nothing behind this module
//! can put what a network or a file says onto the terminal as it came.

use std::net::IpAddr;

use serde::{Deserialize, Deserializer};
use unicode_width::UnicodeWidthChar as _;

use crate::losses::Lost;
use crate::status::Amount;
use crate::text;

/// Text that a terminal shows in as many columns as it has: no control characters, and nothing without a width of its own,
/// such as marks that pile up or change the direction of what follows.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Text(String);

impl Text {
    pub(super) fn new(text: &str) -> Self {
        let text = text::shown(text).unwrap_or_default();
        Self(text.chars().filter(|c| is_shown(*c)).collect())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a terminal has columns for it.
pub(super) fn is_shown(character: char) -> bool {
    character.width().is_some_and(|columns| columns > 0)
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self::new(&text))
    }
}

/// `/api/v1/live`: what goes by.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Live {
    pub(super) open_flows: u64,
    pub(super) flows_per_second: f64,
    pub(super) bits_per_second: f64,
    pub(super) packets_per_second: f64,
    pub(super) series: Series,
    /// How much of the past the tables show at most.
    pub(super) seconds: f64,
    /// How much of it they show: flows are counted since somebody looks.
    pub(super) covered_seconds: f64,
    pub(super) total: Sum,
    pub(super) sources: Vec<Talker>,
    pub(super) destinations: Vec<Talker>,
    pub(super) protocols: Vec<Protocol>,
    pub(super) services: Vec<Service>,
    pub(super) conversations: Vec<Conversation>,
}

/// The last minutes, a point a second. Octets, packets and flows of a point are those of its `seconds`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Series {
    pub(super) milliseconds: Vec<u64>,
    pub(super) seconds: Vec<f64>,
    pub(super) octets: Vec<u64>,
    pub(super) packets: Vec<u64>,
    pub(super) flows: Vec<u64>,
    pub(super) protocols: Vec<ProtocolSeries>,
}

/// The octets of a protocol at the same points.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProtocolSeries {
    pub(super) protocol_identifier: u8,
    pub(super) octets: Vec<u64>,
}

/// Octets and packets in the time that the tables show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Sum {
    pub(super) octets: u64,
    pub(super) packets: u64,
}

/// What an address has sent, or received.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Talker {
    pub(super) address: IpAddr,
    #[serde(flatten)]
    pub(super) sum: Sum,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Protocol {
    pub(super) protocol_identifier: u8,
    pub(super) protocol: Text,
    #[serde(flatten)]
    pub(super) sum: Sum,
}

/// What came from or went to a port.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Service {
    pub(super) protocol_identifier: u8,
    pub(super) protocol: Text,
    pub(super) port: u16,
    pub(super) service_name: Option<Text>,
    #[serde(flatten)]
    pub(super) sum: Sum,
}

/// One direction of a conversation. Ports are missing, or 0, where the protocol has none.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Conversation {
    #[serde(rename = "sourceIPAddress")]
    pub(super) source: IpAddr,
    #[serde(rename = "sourceTransportPort")]
    pub(super) source_port: Option<u16>,
    #[serde(rename = "destinationIPAddress")]
    pub(super) destination: IpAddr,
    #[serde(rename = "destinationTransportPort")]
    pub(super) destination_port: Option<u16>,
    pub(super) protocol_identifier: u8,
    pub(super) protocol: Text,
    pub(super) service_name: Option<Text>,
    #[serde(flatten)]
    pub(super) sum: Sum,
}

/// `/api/v1/accounting`: where every packet went, since the daemon's start.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Accounting {
    pub(super) sums: Vec<Terms>,
    pub(super) sinks: Vec<Sink>,
}

/// The terms of an interface and direction; [`crate::accounting`] explains them.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Terms {
    pub(super) interface: Text,
    pub(super) direction: Text,
    pub(super) seen: Amount,
    pub(super) exported: Amount,
    pub(super) held: Amount,
    pub(super) overflow: Amount,
    pub(super) unparsed: Amount,
    pub(super) sampled_out: Amount,
    pub(super) filtered_out: Amount,
    pub(super) balances: bool,
}

/// Who gets records, and what it has lost.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Sink {
    pub(super) name: Text,
    pub(super) lost: Lost,
}

/// `/api/v1/interfaces`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Interfaces {
    pub(super) interfaces: Vec<Interface>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Interface {
    pub(super) interface: Text,
    /// How it is metered; none while it is not there.
    pub(super) hook: Option<Text>,
    pub(super) speed_bits_per_second: Option<u64>,
    pub(super) directions: Vec<Direction>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Direction {
    pub(super) direction: Text,
    pub(super) bits_per_second: f64,
    pub(super) packets_per_second: f64,
    pub(super) seen: Amount,
}

/// Of `/api/v1/status`: which daemon it is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Daemon {
    pub(super) version: Text,
    pub(super) uptime_seconds: u64,
}

/// What there is to be shown: one round of questions.
#[derive(Clone, Debug, Default)]
pub(super) struct Picture {
    pub(super) live: Live,
    pub(super) accounting: Accounting,
    pub(super) interfaces: Interfaces,
    /// Asked now and then only.
    pub(super) daemon: Option<Daemon>,
}

/// Rates and amounts come as JSON numbers; they are shown in whole ones.
pub(super) fn whole(number: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "such a cast stops at both ends")]
    let whole = number.round() as u64;
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_as_many_columns_as_it_shows() {
        for (said, shown) in [
            ("eth0", "eth0"),
            ("\u{1b}[31mred\u{7}", "\u{fffd}[31mred\u{fffd}"),
            ("exe\u{202e}gpj.\u{200b}", "exegpj."),
            ("a\u{301}\u{302}\u{303}", "a"),
            ("東京", "東京"),
            ("", ""),
        ] {
            assert_eq!(Text::new(said).as_str(), shown, "{said:?}");
        }
    }

    #[test]
    fn numbers_that_are_none_become_none() {
        for (number, expected) in [(1.5, 2), (-3.0, 0), (f64::NAN, 0), (f64::INFINITY, u64::MAX)] {
            assert_eq!(whole(number), expected, "{number}");
        }
    }
}
