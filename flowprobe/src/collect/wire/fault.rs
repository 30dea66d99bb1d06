//! What can be wrong with a message, by name, and how often it was.

use std::collections::BTreeMap;

/// What is wrong with a message or with a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is too short for a header, or for that of its version.
    ShortHeader,
    /// Its first two octets are no version that is read.
    UnsupportedVersion,
    /// It says that it is longer than what came. Nothing of it is read.
    TruncatedMessage,
    /// An IPFIX message says that it is shorter than its header. Nothing of it is read.
    BadMessageLength,
    /// Octets came behind the message, or at its end behind the last set: fewer than the header of one, or zeros only. They are not
    /// read; all else is.
    TrailingOctets,
    /// A set is shorter than its header or reaches beyond the message. Nothing of an IPFIX message is read, as RFC 7011
    /// section 9 demands; of one of NetFlow v9, the sets before.
    BadSetLength,
    /// A set has an ID below 256 that means nothing in this version. It is passed over.
    ReservedSet,
    /// A template contradicts itself, has an ID below 256, or describes records without octets. It is passed over. Of one that is
    /// cut short, or of whose octets nobody knows how many they are, the rest of the set is not read.
    BadTemplate,
    /// A template has more fields than are remembered. It is passed over.
    TooManyFields,
    /// The last record of a set is cut short, or what is behind the last one is no padding. It is not read.
    ShortRecord,
}

impl Fault {
    /// All, with their names.
    const NAMES: [(Self, &'static str); 10] = [
        (Self::ShortHeader, "shortHeader"),
        (Self::UnsupportedVersion, "unsupportedVersion"),
        (Self::TruncatedMessage, "truncatedMessage"),
        (Self::BadMessageLength, "badMessageLength"),
        (Self::TrailingOctets, "trailingOctets"),
        (Self::BadSetLength, "badSetLength"),
        (Self::ReservedSet, "reservedSet"),
        (Self::BadTemplate, "badTemplate"),
        (Self::TooManyFields, "tooManyFields"),
        (Self::ShortRecord, "shortRecord"),
    ];
}

/// How often each fault was found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults([u64; Fault::NAMES.len()]);

impl Faults {
    /// Counts one.
    pub const fn add(&mut self, fault: Fault) {
        self.0[fault as usize] += 1;
    }

    /// Those that were found, by name.
    #[must_use]
    pub fn by_name(&self) -> BTreeMap<String, u64> {
        let found = Fault::NAMES.iter().map(|&(fault, name)| (name.to_owned(), self.0[fault as usize]));
        found.filter(|&(_, count)| count > 0).collect()
    }
}
