//! Comma-separated values (RFC 4180): a line with the names of all elements of both families, then one line a record. An
//! element that says nothing about a record is empty.

use std::io::{self, Write};

use super::Writer;
use crate::export::elements::{Element, Family, Field};
use crate::record::FlowRecord;
use crate::sink::Event;

/// Writes records.
pub struct CsvLines {
    columns: Vec<Column>,
    begun: bool,
}

/// A name, and the element of that name in each family's table.
struct Column {
    name: &'static str,
    v4: Option<&'static Element>,
    v6: Option<&'static Element>,
}

impl Default for CsvLines {
    fn default() -> Self {
        let mut columns: Vec<Column> = Vec::new();
        for element in Family::V4.elements().iter().chain(Family::V6.elements()) {
            if !columns.iter().any(|column| column.name == element.name) {
                let of = |family: Family| family.elements().iter().find(|other| other.name == element.name);
                columns.push(Column { name: element.name, v4: of(Family::V4), v6: of(Family::V6) });
            }
        }
        Self { columns, begun: false }
    }
}

impl Writer for CsvLines {
    fn write(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()> {
        if !self.begun {
            self.begun = true;
            let names: Vec<&str> = self.columns.iter().map(|column| column.name).collect();
            writeln!(out, "{}", names.join(","))?;
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
        for (position, column) in self.columns.iter().enumerate() {
            if position > 0 {
                out.write_all(b",")?;
            }
            let element = if Family::of(record) == Family::V4 { column.v4 } else { column.v6 };
            match element.filter(|element| (element.applies)(record)).map(|element| (element.value)(record)) {
                None => {}
                Some(Field::Unsigned(number)) => write!(out, "{number}")?,
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
