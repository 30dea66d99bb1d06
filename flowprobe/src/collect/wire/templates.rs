//! What sets of templates say: IPFIX (RFC 7011 section 3.4) and NetFlow v9 (RFC 3954 sections 5.2 and 6.1).

use super::super::received::Specifier;
use super::super::template::{Field, Scope, Template, Version};
use super::{Fault, take_u16, take_u32};

/// The bit of an element's ID that says that an enterprise's number follows. NetFlow v9 has no such numbers; what has the bit
/// there is Cisco's.
const ENTERPRISE: u16 = 0x8000;

/// Cisco's Private Enterprise Number.
const CISCO: u32 = 9;

/// `postNATSourceIPv4Address`, which `postNATDestinationIPv4Address`, `postNAPTSourceTransportPort` and
/// `postNAPTDestinationTransportPort` follow.
const POST_NAT_SOURCE: u16 = 225;

/// `firewallEvent`.
const FIREWALL_EVENT: u16 = 233;

/// What a record in a set of templates says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// This template has this ID.
    Template(u16, Template),
    /// No template has this ID any more.
    Withdrawn(u16),
    /// None of those whose sets are like this one is left: of flows, or of options.
    AllWithdrawn,
}

/// Walks the templates of a set. One that means nothing is passed over; one whose end nobody knows is the last.
#[derive(Clone, Debug)]
pub struct ToldTemplates<'a> {
    version: Version,
    options: bool,
    most_fields: usize,
    rest: &'a [u8],
}

impl<'a> ToldTemplates<'a> {
    /// Walks those of a set of this version, of options or of flows. One with more fields than `most_fields` is an error, behind
    /// which the walk goes on.
    #[must_use]
    pub const fn of(version: Version, options: bool, most_fields: usize, body: &'a [u8]) -> Self {
        Self { version, options, most_fields, rest: body }
    }

    /// What the next says; the inner `None` where that makes no sense, the outer one where nobody knows where it ends.
    fn cut(&mut self) -> Option<Option<Told>> {
        let rest = &mut self.rest;
        let id = take_u16(rest)?;
        let template = match (self.version, self.options) {
            (Version::NetFlow9, false) => {
                let count = take_u16(rest)?;
                Template { version: self.version, scope: 0, fields: netflow9_fields(rest, count)? }
            }
            (Version::NetFlow9, true) => netflow9_options(rest)?,
            (_, options) => {
                let count = take_u16(rest)?;
                if count == 0 {
                    return Some(self.withdrawal(id));
                }
                let scope = if options { take_u16(rest)? } else { 0 };
                let fields = ipfix_fields(rest, count)?;
                if options && (scope == 0 || scope > count) {
                    return Some(None);
                }
                Template { version: self.version, scope: scope.into(), fields }
            }
        };
        Some((id >= 256 && template.least_octets() > 0).then_some(Told::Template(id, template)))
    }

    /// One ID, or with that of the set all.
    const fn withdrawal(&self, id: u16) -> Option<Told> {
        match (id, self.options) {
            (2, false) | (3, true) => Some(Told::AllWithdrawn),
            (256.., _) => Some(Told::Withdrawn(id)),
            _ => None,
        }
    }
}

impl Iterator for ToldTemplates<'_> {
    type Item = Result<Told, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        // Shorter than any record, or zeros: padding.
        if self.rest.len() < 4 || self.rest.iter().all(|&octet| octet == 0) {
            return None;
        }
        let told = self.cut();
        Some(match told {
            Some(Some(Told::Template(_, template))) if template.fields.len() > self.most_fields => {
                Err(Fault::TooManyFields)
            }
            Some(told) => told.ok_or(Fault::BadTemplate),
            None => {
                self.rest = &[];
                Err(Fault::BadTemplate)
            }
        })
    }
}

fn ipfix_fields(rest: &mut &[u8], count: u16) -> Option<Vec<Field>> {
    let field = |rest: &mut &[u8]| {
        let (id, length) = (take_u16(rest)?, take_u16(rest)?);
        let enterprise = if id & ENTERPRISE == 0 { 0 } else { take_u32(rest)? };
        Some(Field::Element(Specifier { enterprise, id: id & !ENTERPRISE, length }))
    };
    (0..count).map(|_| field(rest)).collect()
}

fn netflow9_fields(rest: &mut &[u8], count: u16) -> Option<Vec<Field>> {
    let field = |rest: &mut &[u8]| {
        let (id, length) = (take_u16(rest)?, take_u16(rest)?);
        let (enterprise, id) = match id {
            // What the ASA said before it said the elements of IANA's registry: addresses and ports after translation, and the event.
            40_001..=40_004 => (0, id - 40_001 + POST_NAT_SOURCE),
            40_005 => (0, FIREWALL_EVENT),
            _ if id & ENTERPRISE == 0 => (0, id),
            _ => (CISCO, id & !ENTERPRISE),
        };
        Some(Field::Element(Specifier { enterprise, id, length }))
    };
    (0..count).map(|_| field(rest)).collect()
}

/// Behind the ID: octets of the scope's fields, octets of the others', and then both.
fn netflow9_options(rest: &mut &[u8]) -> Option<Template> {
    let (scopes, others) = (take_u16(rest)?, take_u16(rest)?);
    if scopes % 4 != 0 || others % 4 != 0 {
        return None;
    }
    let mut fields = Vec::new();
    for _ in 0..scopes / 4 {
        let (scope, length) = (take_u16(rest)?, take_u16(rest)?);
        let scope = match scope {
            1 => Scope::System,
            2 => Scope::Interface,
            3 => Scope::LineCard,
            4 => Scope::Cache,
            5 => Scope::Template,
            other => Scope::Other(other),
        };
        fields.push(Field::Scope(scope, length));
    }
    let scope = fields.len();
    fields.extend(netflow9_fields(rest, others / 4)?);
    Some(Template { version: Version::NetFlow9, scope, fields })
}
