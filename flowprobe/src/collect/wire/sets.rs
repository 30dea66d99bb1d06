//! The sets of a message: IPFIX's Sets, NetFlow v9's FlowSets.

use super::super::template::Version;
use super::{Fault, take_u16};

/// Octets of a set's header.
const SET_HEADER: usize = 4;

/// What a set has in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Templates of flows.
    Templates,
    /// Templates of options.
    OptionsTemplates,
    /// Records of the template with the set's ID.
    Data,
    /// Nothing that is known. The IDs of the one version's templates mean nothing in the other.
    Reserved,
}

/// A set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set<'a> {
    /// Its ID.
    pub id: u16,
    /// What is behind its header.
    pub body: &'a [u8],
}

impl Set<'_> {
    /// What it has in it.
    #[must_use]
    pub const fn kind(&self, version: Version) -> Kind {
        match (version, self.id) {
            (_, 256..) => Kind::Data,
            (Version::Ipfix, 2) | (Version::NetFlow9, 0) => Kind::Templates,
            (Version::Ipfix, 3) | (Version::NetFlow9, 1) => Kind::OptionsTemplates,
            _ => Kind::Reserved,
        }
    }
}

/// Walks sets. The first that is broken is the last, since nobody knows where the next would begin. Exporters pad messages, though
/// no RFC has that: what is too short for a set's header behind the last set, or nothing but zeros, ends them.
#[derive(Clone, Debug)]
pub struct Sets<'a> {
    rest: &'a [u8],
}

impl<'a> Sets<'a> {
    /// Walks the sets of a message's content.
    #[must_use]
    pub const fn of(content: &'a [u8]) -> Self {
        Self { rest: content }
    }

    /// What is left over. Behind the last set that is padding.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn cut(&mut self) -> Option<Set<'a>> {
        let id = take_u16(&mut self.rest)?;
        let body = usize::from(take_u16(&mut self.rest)?).checked_sub(SET_HEADER)?;
        let (body, rest) = self.rest.split_at_checked(body)?;
        self.rest = rest;
        Some(Set { id, body })
    }
}

impl<'a> Iterator for Sets<'a> {
    type Item = Result<Set<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        // Zeros would be a set shorter than its header; only there they are looked at.
        let padding = self.rest.len() < SET_HEADER
            || self.rest.starts_with(&[0; SET_HEADER]) && self.rest.iter().all(|&octet| octet == 0);
        if padding {
            return None;
        }
        let set = self.cut();
        if set.is_none() {
            self.rest = &[];
        }
        Some(set.ok_or(Fault::BadSetLength))
    }
}

/// Whether all sets of a message's content are whole, and whether something comes behind them.
///
/// # Errors
/// One is not.
pub fn check_sets(content: &[u8]) -> Result<bool, Fault> {
    let mut sets = Sets::of(content);
    sets.try_for_each(|set| set.map(|_| ()))?;
    Ok(!sets.rest().is_empty())
}
