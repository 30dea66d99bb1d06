//! The formats of flow export, and what a message of each has in its header.

use std::fmt;

/// A format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// IPFIX (RFC 7011).
    #[default]
    Ipfix,
    /// NetFlow version 9 (RFC 3954).
    NetFlow9,
    /// NetFlow version 5: IPv4 only, its fields are fixed.
    NetFlow5,
}

impl Format {
    /// All, by the names that the configuration has for them.
    pub const NAMES: [(&'static str, Self); 3] =
        [("ipfix", Self::Ipfix), ("netflow9", Self::NetFlow9), ("netflow5", Self::NetFlow5)];

    /// Of how many packets NetFlow version 5 can say that one was metered.
    pub const RAREST_OF_NETFLOW5: u32 = (1 << 14) - 1;

    /// The format of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, format)| *format)
    }

    /// Its name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, format)| *format == self).map_or("", |(name, _)| name)
    }

    /// Octets of a message's header.
    #[must_use]
    pub const fn header(self) -> usize {
        match self {
            Self::Ipfix => 16,
            Self::NetFlow9 => 20,
            Self::NetFlow5 => 24,
        }
    }

    /// Where in the header the sequence number lies, four octets.
    const fn sequence_at(self) -> usize {
        match self {
            Self::Ipfix => 8,
            Self::NetFlow9 => 12,
            Self::NetFlow5 => 16,
        }
    }

    /// The Observation Domain ID or Source ID of a message; of NetFlow v5 engine type and engine ID.
    #[must_use]
    pub fn domain(self, message: &[u8]) -> u32 {
        match self {
            Self::Ipfix => word(message, 12),
            Self::NetFlow9 => word(message, 16),
            Self::NetFlow5 => word(message, 20) >> 16,
        }
    }

    /// Writes what is only known when a message leaves: its sequence number, and in IPFIX the export time, in seconds since
    /// 1970 UTC. The times of the others are those to which their uptimes belong, and stay.
    pub fn stamp(self, message: &mut [u8], sequence: u32, export_time: u32) {
        put_word(message, self.sequence_at(), sequence);
        if self == Self::Ipfix {
            put_word(message, 4, export_time);
        }
    }

    /// Makes a message of templates one of this domain that leaves now.
    pub fn address(self, message: &mut [u8], domain: u32, sequence: u32, export_time: u32) {
        self.stamp(message, sequence, export_time);
        match self {
            Self::Ipfix => put_word(message, 12, domain),
            Self::NetFlow9 => {
                put_word(message, 8, export_time);
                put_word(message, 16, domain);
            }
            Self::NetFlow5 => {}
        }
    }

    /// By how much a message with so many Data Records moves the sequence number.
    #[must_use]
    pub const fn step(self, records: u32) -> u32 {
        match self {
            // RFC 7011 section 3.1, and what version 5 counts: records.
            Self::Ipfix | Self::NetFlow5 => records,
            // RFC 3954 section 5.1: packets.
            Self::NetFlow9 => 1,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipfix => "IPFIX",
            Self::NetFlow9 => "NetFlow v9",
            Self::NetFlow5 => "NetFlow v5",
        })
    }
}

fn word(message: &[u8], at: usize) -> u32 {
    message.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_be_bytes)
}

fn put_word(message: &mut [u8], at: usize, word: u32) {
    if let Some(place) = message.get_mut(at..at + 4) {
        place.copy_from_slice(&word.to_be_bytes());
    }
}
