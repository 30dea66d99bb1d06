//! Tables of columns in memory, and what their columns are on disk: everything that reads or writes a file is driven by these.

use std::ops::{Index, Range};
use std::sync::Arc;

/// What the values of a column are, in memory and on disk. Integers are signed on disk and addresses are text, since that is what
/// every reader of Parquet understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Milliseconds since 1970 UTC; a timestamp on disk.
    Time,
    /// A number of up to 63 bits, of which few are alike.
    Count,
    /// A number of up to 32 bits, of which many are alike.
    Id,
    /// A number of up to 31 bits.
    Number,
    /// An IP address as 128 bits, IPv4 mapped into IPv6; text on disk.
    Address,
    /// The same; 0 for none, which is null on disk.
    OptionalAddress,
    /// A MAC address in the lowest 48 bits; text on disk. 0 for none, which is null there.
    Mac,
    /// Text, or null.
    Text,
    /// The same of what only enrichment knows: it takes no memory where nothing is known.
    Name,
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its name, which is that of an IPFIX information element where there is one.
    pub name: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// What it says.
    pub about: &'static str,
}

impl Kind {
    /// Octets of a value in memory.
    #[must_use]
    pub const fn octets(self) -> usize {
        match self {
            Self::Time | Self::Count | Self::Id | Self::Mac => 8,
            Self::Number => 4,
            Self::Address | Self::OptionalAddress | Self::Text | Self::Name => 16,
        }
    }
}

/// The values of a column.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "kinds are explained above")]
pub enum Values<'a> {
    Long(&'a [i64]),
    Int(&'a [i32]),
    Address(&'a [u128]),
    Mac(&'a [u64]),
    Text(&'a Texts),
}

/// The same, to be filled.
#[derive(Debug)]
#[expect(missing_docs, reason = "kinds are explained above")]
pub enum ValuesMut<'a> {
    Long(&'a mut Vec<i64>),
    Int(&'a mut Vec<i32>),
    Address(&'a mut Vec<u128>),
    Mac(&'a mut Vec<u64>),
    Text(&'a mut Texts),
}

/// The texts of a column. As long as no row has any, they take no memory: most of the columns that enrichment fills are empty where
/// nothing is known.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    rows: usize,
    /// As many as there are rows, or none where no row has a text.
    texts: Vec<Option<Arc<str>>>,
}

impl Texts {
    /// Rows.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Adds a row.
    pub fn push(&mut self, text: Option<Arc<str>>) {
        if text.is_some() && self.texts.is_empty() {
            self.texts.resize(self.rows, None);
        }
        self.rows += 1;
        if text.is_some() || !self.texts.is_empty() {
            self.texts.push(text);
        }
    }

    /// The texts of some rows; nothing where none of all has any.
    #[must_use]
    pub fn get(&self, range: Range<usize>) -> Option<&[Option<Arc<str>>]> {
        self.texts.get(range).filter(|_| !self.texts.is_empty())
    }

    /// Makes it so many rows: what is added has no text.
    pub fn resize(&mut self, rows: usize) {
        if !self.texts.is_empty() {
            self.texts.resize(rows, None);
        }
        self.rows = rows;
    }

    /// Removes the first `count` rows.
    pub fn remove_first(&mut self, count: usize) {
        if !self.texts.is_empty() {
            self.texts.drain(..count);
        }
        self.rows -= count;
    }
}

impl Index<usize> for Texts {
    type Output = Option<Arc<str>>;

    fn index(&self, row: usize) -> &Option<Arc<str>> {
        static NONE: Option<Arc<str>> = None;
        self.texts.get(row).unwrap_or(&NONE)
    }
}

impl PartialEq for Texts {
    fn eq(&self, other: &Self) -> bool {
        self.rows == other.rows && (0..self.rows).all(|row| self[row] == other[row])
    }
}

impl ValuesMut<'_> {
    /// Makes it `length` values: what is added says nothing.
    pub fn resize(self, length: usize) {
        match self {
            Self::Long(values) => values.resize(length, 0),
            Self::Int(values) => values.resize(length, 0),
            Self::Address(values) => values.resize(length, 0),
            Self::Mac(values) => values.resize(length, 0),
            Self::Text(values) => values.resize(length),
        }
    }
}

impl ValuesMut<'_> {
    /// Adds the same number so many times, if these are numbers, and says whether they are.
    pub fn repeat(&mut self, number: i64, count: usize) -> bool {
        match self {
            Self::Long(values) => values.resize(values.len() + count, number),
            Self::Int(values) => match i32::try_from(number) {
                Ok(number) => values.resize(values.len() + count, number),
                Err(_) => return false,
            },
            _ => return false,
        }
        true
    }

    /// Removes the first `count` values.
    pub fn remove_first(self, count: usize) {
        match self {
            Self::Long(values) => drop(values.drain(..count)),
            Self::Int(values) => drop(values.drain(..count)),
            Self::Address(values) => drop(values.drain(..count)),
            Self::Mac(values) => drop(values.drain(..count)),
            Self::Text(values) => values.remove_first(count),
        }
    }
}

/// Rows as columns, each of which has as many values as there are rows, or none where it was not read.
pub trait Columns: Default {
    /// The columns, in their order on disk.
    const COLUMNS: &'static [Column];

    /// The values of the column at this index.
    fn values(&self, index: usize) -> Values<'_>;

    /// The same, to be filled.
    fn values_mut(&mut self, index: usize) -> ValuesMut<'_>;

    /// The index of a column.
    fn index_of(name: &str) -> Option<usize> {
        Self::COLUMNS.iter().position(|column| column.name == name)
    }

    /// Removes the first `count` rows, all columns of which are there.
    fn remove_first(&mut self, count: usize) {
        for index in 0..Self::COLUMNS.len() {
            self.values_mut(index).remove_first(count);
        }
    }

    /// Removes all rows and keeps the memory.
    fn clear(&mut self) {
        for index in 0..Self::COLUMNS.len() {
            self.values_mut(index).resize(0);
        }
    }
}

/// Declares a struct with the values of each column, and what the columns are on disk, from one table.
macro_rules! columns {
    (
        $(#[$attribute:meta])*
        $vis:vis struct $name:ident {
            $($field:ident: $kind:ident, $column:literal, $about:literal;)*
        }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, Default, PartialEq)]
        $vis struct $name {
            $(#[doc = $about] pub $field: $crate::store::columns::memory_of!($kind),)*
        }

        impl $crate::store::columns::Columns for $name {
            const COLUMNS: &'static [$crate::store::columns::Column] = &[
                $($crate::store::columns::Column {
                    name: $column,
                    kind: $crate::store::columns::Kind::$kind,
                    about: $about,
                },)*
            ];

            fn values(&self, index: usize) -> $crate::store::columns::Values<'_> {
                let mut at = 0..;
                $(if at.next() == Some(index) {
                    return $crate::store::columns::values_of!($kind, Values, &self.$field);
                })*
                unreachable!("there is no column {index}")
            }

            fn values_mut(&mut self, index: usize) -> $crate::store::columns::ValuesMut<'_> {
                let mut at = 0..;
                $(if at.next() == Some(index) {
                    return $crate::store::columns::values_of!($kind, ValuesMut, &mut self.$field);
                })*
                unreachable!("there is no column {index}")
            }
        }
    };
}

/// How values of a kind are kept in memory.
macro_rules! memory_of {
    (Time) => { Vec<i64> };
    (Count) => { Vec<i64> };
    (Id) => { Vec<i64> };
    (Number) => { Vec<i32> };
    (Address) => { Vec<u128> };
    (OptionalAddress) => { Vec<u128> };
    (Mac) => { Vec<u64> };
    (Text) => { $crate::store::columns::Texts };
    (Name) => { $crate::store::columns::Texts };
}

/// The variant of an enum that has values of a kind.
macro_rules! values_of {
    (Time, $enum:ident, $values:expr) => {
        $crate::store::columns::$enum::Long($values)
    };
    (Count, $enum:ident, $values:expr) => {
        $crate::store::columns::$enum::Long($values)
    };
    (Id, $enum:ident, $values:expr) => {
        $crate::store::columns::$enum::Long($values)
    };
    (Number, $enum:ident, $values:expr) => {
        $crate::store::columns::$enum::Int($values)
    };
    (Address, $enum:ident, $values:expr) => {
        $crate::store::columns::$enum::Address($values)
    };
    (OptionalAddress, $enum:ident, $values:expr) => {
        $crate::store::columns::$enum::Address($values)
    };
    (Mac, $enum:ident, $values:expr) => {
        $crate::store::columns::$enum::Mac($values)
    };
    (Text, $enum:ident, $values:expr) => {
        $crate::store::columns::$enum::Text($values)
    };
    (Name, $enum:ident, $values:expr) => {
        $crate::store::columns::$enum::Text($values)
    };
}

pub(crate) use {columns, memory_of, values_of};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_take_no_memory_until_there_is_one() {
        let mut texts = Texts::default();
        texts.push(None);
        texts.resize(3);
        assert_eq!((texts.len(), texts.texts.capacity(), texts.get(0..3)), (3, 0, None));
        texts.push(Some("a".into()));
        texts.push(None);
        let text = |texts: &Texts| (0..texts.len()).map(|row| texts[row].clone()).collect::<Vec<_>>();
        assert_eq!(text(&texts), [None, None, None, Some("a".into()), None]);
        assert_eq!(texts.get(3..5).map(<[_]>::len), Some(2));
        texts.remove_first(2);
        assert_eq!(text(&texts), [None, Some("a".into()), None]);
        texts.resize(4);
        assert_eq!(text(&texts).len(), 4);
        // It is what is said that counts.
        let mut same = Texts::default();
        [None, Some("a".into()), None, None].into_iter().for_each(|text| same.push(text));
        assert_eq!(texts, same);
        texts.resize(1);
        let mut none = Texts::default();
        none.resize(1);
        assert_eq!(texts, none);
    }
}
