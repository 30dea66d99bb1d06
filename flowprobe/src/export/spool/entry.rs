//! How messages lie in a segment file. Integers are big-endian; the CRC-32 is over length and body.
//!
//! ```text
//! segment    magic (8), version (4), entries
//! entry      length of the body (4), CRC-32 (4), body
//! body       1, templates: each length (4), message
//!            2, offset of its templates' entry (4), records (4), weight: records, packets, octets (8 each), message
//! ```

use crc32fast::Hasher;

use crate::export::packed::{Packed, TemplateSet};
use crate::losses::Lost;

/// What a segment begins with: what it is, and the version of what follows.
pub(super) const HEADER: [u8; 12] = *b"fp-spool\0\0\0\x01";
/// Where the first entry begins.
pub(super) const FIRST: u32 = 12;
const _: () = assert!(HEADER.len() == FIRST as usize, "the first entry follows the header");

/// Length and checksum, before the body.
pub(super) const PREFIX: u32 = 8;

const TEMPLATES: u8 = 1;
const DATA: u8 = 2;
/// Numbers of a data entry, between its kind and the message.
const NUMBERS: usize = 4 + 4 + 3 * 8;

/// The body of an entry that is whole.
pub(super) enum Body<'a> {
    /// What the messages that follow need.
    Templates(TemplateSet),
    /// A message.
    Data(Data<'a>),
}

/// See [`Packed`].
pub(super) struct Data<'a> {
    /// Where in the segment the entry of its templates begins.
    pub(super) templates_at: u32,
    pub(super) records: u32,
    pub(super) weight: Lost,
    pub(super) octets: &'a [u8],
}

/// Adds an entry of templates to `out`.
pub(super) fn put_templates(out: &mut Vec<u8>, templates: &TemplateSet) {
    let start = begin(out, TEMPLATES);
    for message in &templates.messages {
        out.extend(length_of(message).to_be_bytes());
        out.extend(message.iter());
    }
    finish(out, start);
}

/// Adds an entry of a message whose templates lie at `templates_at`.
pub(super) fn put_data(out: &mut Vec<u8>, message: &Packed, templates_at: u32) {
    let start = begin(out, DATA);
    out.extend(templates_at.to_be_bytes());
    out.extend(message.records.to_be_bytes());
    for number in [message.weight.records, message.weight.packets, message.weight.octets] {
        out.extend(number.to_be_bytes());
    }
    out.extend(&message.octets);
    finish(out, start);
}

fn begin(out: &mut Vec<u8>, kind: u8) -> usize {
    let start = out.len();
    out.extend([0; PREFIX as usize]);
    out.push(kind);
    start
}

fn finish(out: &mut [u8], start: usize) {
    let (prefix, body) = out[start..].split_at_mut(PREFIX as usize);
    let length = length_of(body).to_be_bytes();
    prefix[..4].copy_from_slice(&length);
    prefix[4..].copy_from_slice(&checksum(length, body).to_be_bytes());
}

/// A length that a segment has room for: what is larger never reaches the disk.
pub(super) fn length_of(octets: &[u8]) -> u32 {
    u32::try_from(octets.len()).unwrap_or(u32::MAX)
}

fn checksum(length: [u8; 4], body: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&length);
    hasher.update(body);
    hasher.finalize()
}

/// The length of the body that follows `prefix`.
pub(super) fn body_length(prefix: &[u8]) -> Option<u32> {
    prefix.first_chunk().copied().map(u32::from_be_bytes)
}

/// The body of `entry`, if the checksum is right.
pub(super) fn checked(entry: &[u8]) -> Option<&[u8]> {
    let (length, rest) = entry.split_first_chunk()?;
    let (expected, body) = rest.split_first_chunk()?;
    (checksum(*length, body) == u32::from_be_bytes(*expected)).then_some(body)
}

/// What `body` says, if it makes sense.
pub(super) fn parse(body: &[u8]) -> Option<Body<'_>> {
    let (kind, rest) = body.split_first()?;
    match *kind {
        TEMPLATES => parse_templates(rest).map(Body::Templates),
        DATA => parse_data(rest).map(Body::Data),
        _ => None,
    }
}

fn parse_templates(mut rest: &[u8]) -> Option<TemplateSet> {
    let mut messages = Vec::new();
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk()?;
        let (message, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        messages.push(message.into());
        rest = after;
    }
    Some(TemplateSet { messages })
}

fn parse_data(rest: &[u8]) -> Option<Data<'_>> {
    let (mut numbers, octets) = rest.split_at_checked(NUMBERS)?;
    let (templates_at, records) = (take_u32(&mut numbers)?, take_u32(&mut numbers)?);
    let weight =
        Lost { records: take_u64(&mut numbers)?, packets: take_u64(&mut numbers)?, octets: take_u64(&mut numbers)? };
    Some(Data { templates_at, records, weight, octets })
}

fn take_u32(from: &mut &[u8]) -> Option<u32> {
    let (number, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(u32::from_be_bytes(*number))
}

fn take_u64(from: &mut &[u8]) -> Option<u64> {
    let (number, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(u64::from_be_bytes(*number))
}

/// Octets of the entry of `message`.
pub(super) fn data_length(message: &Packed) -> u64 {
    (PREFIX as usize + 1 + NUMBERS + message.octets.len()) as u64
}
