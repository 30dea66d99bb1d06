//! The templates of others, whatever the version: IPFIX (RFC 7011 section 3.4), NetFlow v9 (RFC 3954 section 5.2 and 6.1), and the
//! fixed layouts of NetFlow v5 and v7, which are templates that nobody has to send.

use super::received::{Specifier, VARIABLE_LENGTH};

/// The version of a message: the number in its first two octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum Version {
    /// NetFlow v5.
    NetFlow5 = 5,
    /// NetFlow v7, of Catalyst switches.
    NetFlow7 = 7,
    /// NetFlow v9.
    NetFlow9 = 9,
    /// IPFIX.
    Ipfix = 10,
}

/// What a field of an options template says its record is about, in NetFlow v9 (RFC 3954 section 6.1). In IPFIX the scope is of
/// ordinary elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the RFC says what they are")]
pub enum Scope {
    System,
    Interface,
    LineCard,
    Cache,
    Template,
    /// One that the RFC does not name.
    Other(u16),
}

/// A field of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// An Information Element. Those of NetFlow v9 above 32,767 are of Cisco (Private Enterprise Number 9), 32,768 less, where IANA has none for
    /// the same.
    Element(Specifier),
    /// A scope of NetFlow v9, and its octets.
    Scope(Scope, u16),
}

impl Field {
    /// Octets on the wire, or [`VARIABLE_LENGTH`].
    #[must_use]
    pub const fn length(self) -> u16 {
        match self {
            Self::Element(Specifier { length, .. }) | Self::Scope(_, length) => length,
        }
    }
}

/// A template.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Template {
    /// Whose records it describes.
    pub version: Version,
    /// How many of the first fields are the scope of an options record; 0 in a template of flows.
    pub scope: usize,
    /// Its fields.
    pub fields: Vec<Field>,
}

impl Template {
    /// Octets of the shortest record that it may describe.
    #[must_use]
    pub fn least_octets(&self) -> usize {
        let least = |field: &Field| if field.length() == VARIABLE_LENGTH { 1 } else { usize::from(field.length()) };
        self.fields.iter().map(least).sum()
    }
}
