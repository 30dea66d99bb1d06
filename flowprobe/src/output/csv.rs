//! Comma-separated values (RFC 4180): a line with the names of all elements that records may have, then one line a record. An
//! element that says nothing about a record is empty.
//!
//! A file has one header: that of the schema with which it began. Where records come to have another schema, its elements
//! stand in the columns of their names; for one that is new there is no column, and it is left out.

use std::io::{self, Write};
use std::sync::Arc;

use super::Writer;
use crate::export::elements::{ELEMENTS, Element, Field, Schema};
use crate::record::{FlowRecord, conversations};
use crate::sink::Event;

/// Writes records.
pub struct CsvLines {
    schema: Arc<Schema>,
    /// The names of the elements of all layouts that the schema had at the beginning.
    columns: Vec<&'static str>,
    /// Of each layout of the schema: what stands in each column.
    rows: Vec<Vec<Option<&'static Element>>>,
    begun: bool,
}

impl CsvLines {
    /// Lines whose columns are the elements of `schema`.
    #[must_use]
    pub fn new(schema: Arc<Schema>) -> Self {
        let in_use = |element: &&Element| {
            schema.layouts().iter().any(|layout| layout.elements().any(|other| other.name == element.name))
        };
        let mut columns: Vec<_> = ELEMENTS.iter().filter(in_use).map(|element| element.name).collect();
        // Whoever looks at a table looks for the time first; the rest stays in its order.
        columns.sort_by_key(|name| !matches!(*name, "flowStartMilliseconds" | "flowEndMilliseconds"));
        Self { rows: rows(&schema, &columns), schema, columns, begun: false }
    }
}

fn rows(schema: &Schema, columns: &[&'static str]) -> Vec<Vec<Option<&'static Element>>> {
    let rows = schema.layouts().iter().map(|layout| {
        let cell = |name: &&'static str| layout.elements().find(|element| element.name == *name);
        columns.iter().map(cell).collect()
    });
    rows.collect()
}

impl Writer for CsvLines {
    fn write(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()> {
        if !self.begun {
            self.begun = true;
            writeln!(out, "{}", self.columns.join(","))?;
        }
        if let Event::Records(batch) = event {
            if !Arc::ptr_eq(&batch.schema, &self.schema) {
                self.schema = Arc::clone(&batch.schema);
                self.rows = rows(&self.schema, &self.columns);
            }
            for (record, reverse) in conversations(&batch.records) {
                self.put(record, reverse, out)?;
            }
        }
        Ok(())
    }
}

impl CsvLines {
    fn put(&self, record: &FlowRecord, reverse: Option<&FlowRecord>, out: &mut dyn Write) -> io::Result<()> {
        for (position, element) in self.rows[self.schema.position(record)].iter().enumerate() {
            if position > 0 {
                out.write_all(b",")?;
            }
            let said = element.and_then(|element| {
                let record = element.subject(record, reverse)?;
                (element.applies)(record).then(|| (element.value)(record))
            });
            match said {
                None => {}
                Some(Field::Unsigned(number)) => write!(out, "{number}")?,
                Some(Field::Float(number)) => write!(out, "{number}")?,
                Some(Field::V4(address)) => write!(out, "{address}")?,
                Some(Field::V6(address)) => write!(out, "{address}")?,
                Some(Field::Mac([a, b, c, d, e, f])) => {
                    write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")?;
                }
            }
        }
        out.write_all(b"\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::elements::Extras;
    use crate::record::SamplingRate;
    use crate::sink::RecordBatch;

    #[test]
    fn the_header_stays_when_the_schema_changes() {
        let sampled = Extras { sampling: SamplingRate::Packets(2.try_into().expect("not 0")), ..Extras::default() };
        for (before, after) in [(sampled, Extras::default()), (Extras::default(), sampled)] {
            let first = Arc::new(Schema::new(before));
            let second = Arc::new(Schema::new(after));
            let mut lines = CsvLines::new(Arc::clone(&first));
            let mut out = Vec::new();
            for (schema, extras) in [(first, before), (second, after)] {
                let record = FlowRecord { sampling: extras.sampling, ..FlowRecord::example() };
                let event = Event::Records(RecordBatch::metered(&schema, &[record], false));
                lines.write(&event, &mut out).expect("a vector takes everything");
            }
            let text = String::from_utf8(out).expect("ASCII");
            let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
            let [header, one, two] = &rows[..] else { unreachable!("a header and two records: {text}") };
            let column = |name: &str| header.iter().position(|column| *column == name);
            assert_eq!(column("samplingInterval").is_some(), before == sampled);
            assert_eq!((header.len(), header.len()), (one.len(), two.len()));
            for (name, value) in [("destinationTransportPort", "443"), ("flowEndReason", "3")] {
                let column = column(name).expect("a column");
                assert_eq!((one[column], two[column]), (value, value));
            }
            if let Some(column) = column("samplingInterval") {
                assert_eq!((one[column], two[column]), ("2", ""));
            }
        }
    }
}
