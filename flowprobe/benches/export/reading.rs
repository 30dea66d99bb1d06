//! Reads messages back, plainly: each value is asked of the table of elements, and compared with what lies in its place.

use anyhow::{Context as _, Result, ensure};
use flowprobe::export::Format;
use flowprobe::export::elements::{Field, FieldSpecifier};
use flowprobe::export::packed::Packed;
use flowprobe::record::{FlowRecord, conversations};

use crate::encode::Case;

/// Makes sure that `messages` say of `records`, all of them and in their order, what they should.
pub(crate) fn check(case: &Case, records: &[FlowRecord], messages: &[Packed]) -> Result<()> {
    let mut conversations = conversations(records);
    for Packed { octets, records: count, .. } in messages {
        let mut at = case.format.header() + if case.format == Format::NetFlow5 { 0 } else { 4 };
        for _ in 0..*count {
            let (record, reverse) = conversations.next().context("there are more records than there should be")?;
            at += match case.format {
                Format::NetFlow5 => check_fixed(record, &octets[at..])?,
                Format::Ipfix | Format::NetFlow9 => check_record(case, record, reverse, octets, at)?,
            };
        }
        ensure!(octets.len() < at + 4, "octets are left");
    }
    ensure!(conversations.next().is_none(), "records are missing");
    Ok(())
}

/// Returns the record's length.
fn check_record(
    case: &Case,
    record: &FlowRecord,
    reverse: Option<&FlowRecord>,
    message: &[u8],
    start: usize,
) -> Result<usize> {
    let mut at = start;
    for FieldSpecifier { element, length } in &case.schema.layout(record).fields {
        let name = element.name;
        let subject = element.subject(record, reverse).with_context(|| format!("{name} is about nothing"))?;
        let mut value = (element.value)(subject);
        if let (Field::Unsigned(ms), true) = (value, name.ends_with("SysUpTime")) {
            value = Field::Unsigned(uptime(ms, message)?);
        }
        let expected = match value {
            Field::Unsigned(number) => number.to_be_bytes()[8 - usize::from(*length)..].to_vec(),
            Field::Float(number) => number.to_be_bytes().to_vec(),
            Field::V4(address) => address.octets().to_vec(),
            Field::V6(address) => address.octets().to_vec(),
            Field::Mac(address) => address.to_vec(),
        };
        let found = message.get(at..at + usize::from(*length));
        ensure!(found == Some(&expected[..]), "{name} is {found:?} and should be {expected:?}");
        at += usize::from(*length);
    }
    Ok(at - start)
}

/// A moment as milliseconds from what the header of a message of NetFlow v9 says was the boot.
fn uptime(ms: u64, message: &[u8]) -> Result<u64> {
    let word = |at: usize| message.get(at..at + 4).and_then(|word| word.try_into().ok()).map(u32::from_be_bytes);
    let (uptime, seconds) = word(4).zip(word(8)).context("a message without a header")?;
    Ok(ms + u64::from(uptime) - u64::from(seconds) * 1000)
}

/// What NetFlow v5 says of a record, its times apart.
fn check_fixed(record: &FlowRecord, octets: &[u8]) -> Result<usize> {
    const LENGTH: usize = 48;
    let key = &record.key;
    let expected = [
        (0, key.source.to_ipv4().to_bits()),
        (4, key.destination.to_ipv4().to_bits()),
        (16, u32::try_from(record.packets)?),
        (20, u32::try_from(record.octets)?),
        (32, u32::from(key.source_port) << 16 | u32::from(key.destination_port)),
    ];
    for (at, expected) in expected {
        ensure!(octets.get(at..at + 4) == Some(&expected.to_be_bytes()), "the word at {at} is not {expected}");
    }
    Ok(LENGTH)
}
