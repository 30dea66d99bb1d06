//! What messages of NetFlow v5, v7, v9 and IPFIX are made of: headers, sets, templates and records. Pure, and without panics on
//! any octets: whatever is wrong with a message has a name ([`Fault`]).

#[cfg(test)]
pub(super) mod build;
mod fault;
mod fixed;
mod header;
mod records;
mod sets;
mod templates;
#[cfg(test)]
mod tests;

pub use fault::{Fault, Faults};
pub use fixed::fixed_template;
pub use header::{Content, Header, open};
pub use records::{Layout, Records};
pub use sets::{Kind, Set, Sets, check_sets};
pub use templates::{Told, ToldTemplates};

/// Takes the first octets off `rest`; `None`, and nothing taken, where there are not so many.
fn take<const OCTETS: usize>(rest: &mut &[u8]) -> Option<[u8; OCTETS]> {
    let (first, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*first)
}

/// Takes a number of two octets off `rest`.
fn take_u16(rest: &mut &[u8]) -> Option<u16> {
    take(rest).map(u16::from_be_bytes)
}

/// Takes a number of four octets off `rest`.
fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    take(rest).map(u32::from_be_bytes)
}
