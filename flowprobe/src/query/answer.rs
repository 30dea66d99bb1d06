//! An answer, and the forms in which it is shown.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::store::rollup::Counts;

/// What the numbers of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Unit {
    /// Text, or numbers that are names.
    Name,
    /// A number of things.
    Count,
    /// Octets.
    Octets,
    /// Bits a second.
    BitsPerSecond,
    /// Milliseconds since 1970 UTC.
    Time,
}

/// A value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Cell {
    /// A number.
    Number(i64),
    /// Text.
    Text(String),
    /// Nothing.
    None,
}

impl Cell {
    /// As a JSON value.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Number(number) => Value::from(*number),
            Self::Text(text) => Value::from(text.as_str()),
            Self::None => Value::Null,
        }
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Option<&str>> for Cell {
    fn from(text: Option<&str>) -> Self {
        text.map_or(Self::None, |text| Self::Text(text.to_owned()))
    }
}

/// What history answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// Flows that ended at or after this, milliseconds since 1970 UTC.
    pub from_ms: i64,
    /// And before this.
    pub to_ms: i64,
    /// All that was asked for, also what is in none of the rows.
    pub total: Total,
    /// How many rows there would be without a limit.
    pub of: u64,
    /// Names of the columns and what they are.
    pub columns: Vec<(String, Unit)>,
    /// The rows.
    pub rows: Vec<Vec<Cell>>,
    /// Whether keys were forgotten since there were too many: then small ones may be missing or too small.
    pub is_rough: bool,
    /// Files that are damaged and were passed over, with what is wrong.
    pub unreadable: Vec<String>,
}

/// Counts in the names of answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Total {
    /// Packets.
    pub packets: i64,
    /// Octets from the IP header on.
    pub octets: i64,
    /// Records.
    pub flows: i64,
}

impl From<Counts> for Total {
    fn from(counts: Counts) -> Self {
        Self { packets: counts.packets, octets: counts.octets, flows: counts.flows }
    }
}

/// So many octets in a time, as a rate.
pub(crate) fn bits_per_second(octets: i64, lasts_ms: i64) -> i64 {
    let bits = i128::from(octets) * 8000 / i128::from(lasts_ms.max(1));
    i64::try_from(bits).unwrap_or(i64::MAX)
}

impl Answer {
    /// As a JSON object: rows are objects with the names of the columns.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let row = |row: &Vec<Cell>| {
            let fields = self.columns.iter().zip(row).map(|((name, _), cell)| (name.clone(), cell.to_json()));
            Value::Object(fields.collect::<Map<_, _>>())
        };
        serde_json::json!({
            "fromMilliseconds": self.from_ms,
            "toMilliseconds": self.to_ms,
            "total": self.total,
            "of": self.of,
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
            "rough": self.is_rough,
            "unreadable": self.unreadable,
        })
    }

    /// As comma-separated values (RFC 4180) under a line of names.
    #[must_use]
    pub fn to_csv(&self) -> String {
        let mut text = String::new();
        let names: Vec<&str> = self.columns.iter().map(|(name, _)| name.as_str()).collect();
        text.push_str(&names.join(","));
        text.push_str("\r\n");
        for row in &self.rows {
            for (column, cell) in row.iter().enumerate() {
                if column > 0 {
                    text.push(',');
                }
                match cell {
                    Cell::Number(number) => text.push_str(&number.to_string()),
                    Cell::Text(value) if value.contains([',', '"', '\r', '\n']) => {
                        text.push('"');
                        text.push_str(&value.replace('"', "\"\""));
                        text.push('"');
                    }
                    Cell::Text(value) => text.push_str(value),
                    Cell::None => {}
                }
            }
            text.push_str("\r\n");
        }
        text
    }
}
