//! Comma-separated values (RFC 4180): a line with the names of all elements that records may have, then one line a record. An
//! element that says nothing about a record is empty.

use std::io::{self, Write};
use std::sync::Arc;

use super::Writer;
use crate::export::elements::{ELEMENTS, Element, Field, Schema};
use crate::record::FlowRecord;
use crate::sink::Event;

/// Writes records.
pub struct CsvLines {
    schema: Arc<Schema>,
    /// The names of the elements of all layouts.
    columns: Vec<&'static str>,
    begun: bool,
}

impl CsvLines {
    /// Records of `schema`.
    #[must_use]
    pub fn new(schema: Arc<Schema>) -> Self {
        let in_use = |element: &&Element| {
            schema.layouts().iter().any(|layout| layout.elements.iter().any(|other| other.name == element.name))
        };
        let columns = ELEMENTS.iter().filter(in_use).map(|element| element.name).collect();
        Self { schema, columns, begun: false }
    }
}

impl Writer for CsvLines {
    fn write(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()> {
        if !self.begun {
            self.begun = true;
            writeln!(out, "{}", self.columns.join(","))?;
        }
        if let Event::Records(records) = event {
            for record in &**records {
                self.put(record, out)?;
            }
        }
        Ok(())
    }
}

impl CsvLines {
    fn put(&self, record: &FlowRecord, out: &mut dyn Write) -> io::Result<()> {
        // The elements of every layout are in the order of the columns.
        let mut elements = self.schema.layout(record).elements.iter().peekable();
        for (position, column) in self.columns.iter().enumerate() {
            if position > 0 {
                out.write_all(b",")?;
            }
            let element = elements.next_if(|element| element.name == *column);
            match element.filter(|element| (element.applies)(record)).map(|element| (element.value)(record)) {
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
