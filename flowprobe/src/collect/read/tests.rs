//! Records as exporters write them, octet by octet.

mod biflows;
mod exporters;
mod facts;
mod flows;
mod random;
mod tails;
mod times;

use super::*;
use crate::collect::received::{ReceivedRecords, Specifier, VARIABLE_LENGTH};
use crate::collect::registry::{self, REVERSE};
use crate::collect::template::{Field, Template, Version};
use crate::record::FlowRecord;

/// The export time of the tests: 2023-11-14 22:13:20 UTC.
const NOW_US: u64 = 1_700_000_000_000_000;

/// A field and its octets in a record, as they would be on the wire.
type Said = (Specifier, Vec<u8>);

/// An element of IANA with a number as its value.
fn n(id: u16, length: u16, value: u64) -> Said {
    of(0, id, length, value)
}

/// The same of an enterprise.
fn of(enterprise: u32, id: u16, length: u16, value: u64) -> Said {
    let mut octets = vec![0; length.into()];
    for (place, octet) in octets.iter_mut().rev().zip(value.to_le_bytes()) {
        *place = octet;
    }
    (Specifier { enterprise, id, length }, octets)
}

/// An element of IANA with these octets as its value.
fn o(id: u16, octets: &[u8]) -> Said {
    let length = u16::try_from(octets.len()).expect("short");
    (Specifier { enterprise: 0, id, length }, octets.to_vec())
}

/// An element of variable length, with its own before it.
fn v(enterprise: u32, id: u16, octets: &[u8]) -> Said {
    let mut all = vec![u8::try_from(octets.len()).expect("short")];
    all.extend(octets);
    (Specifier { enterprise, id, length: VARIABLE_LENGTH }, all)
}

fn template(said: &[Said]) -> Template {
    let fields = said.iter().map(|(specifier, _)| Field::Element(*specifier)).collect();
    Template { version: Version::Ipfix, scope: 0, fields }
}

fn octets(said: &[Said]) -> Vec<u8> {
    said.iter().flat_map(|(_, octets)| octets).copied().collect()
}

/// An exporter and what is known of it.
struct Exporter {
    origin: Arc<Origin>,
    boot_us: Option<u64>,
    sampling_v5: Option<u16>,
    facts: Facts,
    tails: TailBook,
}

impl Default for Exporter {
    fn default() -> Self {
        Self {
            origin: Origin { address: [192, 0, 2, 250].into(), domain: 7 }.into(),
            boot_us: None,
            sampling_v5: None,
            facts: Facts::default(),
            tails: TailBook::new(),
        }
    }
}

impl Exporter {
    fn with(&mut self, plan: &Plan, record: &[u8]) -> Result<Read, ShortRecord> {
        let mut out = ReceivedRecords::default();
        let mut context = Context {
            origin: &self.origin,
            export_time_us: NOW_US,
            boot_us: self.boot_us,
            sampling_v5: self.sampling_v5,
            facts: &self.facts,
            received_us: NOW_US + 5,
            tails: &mut self.tails,
        };
        plan.read(record, &mut context, &mut out)?;
        Ok(Read(out))
    }

    fn read(&mut self, said: &[Said]) -> Read {
        self.with(&Plan::of(&template(said)), &octets(said)).expect("a whole record")
    }

    /// Learns an options record whose first field is its scope.
    fn learn(&mut self, said: &[Said]) {
        let template = Template { scope: 1, ..template(said) };
        Plan::of(&template).learn(&octets(said), &mut self.facts).expect("a whole record");
    }
}

/// What a record was read as.
struct Read(ReceivedRecords);

impl Read {
    /// Its record, which is none of a biflow.
    fn one(&self) -> FlowRecord {
        let [record] = self.0.records[..] else { panic!("{} records", self.0.records.len()) };
        record
    }

    fn tail_of(&self, index: usize) -> Vec<Said> {
        let (received, octets) = self.0.beyond.get(index).expect("each record has something beyond");
        let values = registry::values(&received.tail, octets);
        let with_length = |(field, value): (Specifier, &[u8])| match field.length {
            VARIABLE_LENGTH => v(field.enterprise, field.id, value),
            _ => (field, value.to_vec()),
        };
        values.into_iter().map(with_length).collect()
    }

    /// The tail of the first record, without the origin.
    fn tail(&self) -> Vec<Said> {
        let tail = self.tail_of(0);
        assert_eq!(tail[..2], [o(130, &[192, 0, 2, 250]), n(405, 4, 7)]);
        tail[2..].to_vec()
    }
}

/// What one record of these fields is read as, from an exporter of which nothing is known.
fn read(said: &[Said]) -> Read {
    Exporter::default().read(said)
}
