//! NetFlow v5 and v7: layouts that never change, as the templates that nobody has to send.

use super::super::received::Specifier;
use super::super::template::{Field, Template, Version};

/// `paddingOctets`.
const PADDING: u16 = 210;

/// What records of both versions begin with: IDs and octets. The one octet that says nothing in v5 says in v7 which fields do
/// not count, which no element has a word for.
const COMMON: [(u16, u16); 16] = [
    (8, 4),
    (12, 4),
    (15, 4),
    (10, 2),
    (14, 2),
    (2, 4),
    (1, 4),
    (22, 4),
    (21, 4),
    (7, 2),
    (11, 2),
    (PADDING, 1),
    (6, 1),
    (4, 1),
    (5, 1),
    (16, 2),
];

/// What follows in both.
const PREFIXES: [(u16, u16); 4] = [(17, 2), (9, 1), (13, 1), (PADDING, 2)];

/// Behind them, in v7 only: the router that the switch stood in for, which no element has a word for either.
const SHORTCUT: (u16, u16) = (PADDING, 4);

/// The template of the records of NetFlow v5 or v7.
#[must_use]
pub fn fixed_template(version: Version) -> Template {
    let shortcut = (version == Version::NetFlow7).then_some(SHORTCUT);
    let fields = COMMON.into_iter().chain(PREFIXES).chain(shortcut);
    let fields = fields.map(|(id, length)| Field::Element(Specifier { enterprise: 0, id, length })).collect();
    Template { version, scope: 0, fields }
}
