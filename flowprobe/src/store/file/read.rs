//! Reading a file, which may be damaged, or older than the columns are.

use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{ByteArray, ByteArrayType, DataType};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::properties::ReaderProperties;
use parquet::file::reader::FileReader as _;
use parquet::file::serialized_reader::{ReadOptionsBuilder, SerializedFileReader};
use parquet::file::statistics::Statistics;

use super::{FileFault, GROUP, Problem, is_optional, physical};
use crate::store::checksum::Checksums;
use crate::store::columns::{Column, Columns, Kind, ValuesMut};
use crate::store::flows::{ip, mapped};

/// A file of the store, open.
pub struct Reader<C> {
    path: PathBuf,
    parquet: SerializedFileReader<File>,
    /// The same file, to be read beside it.
    file: File,
    checksums: Checksums,
    /// Where each column of `C` is in this file; nowhere in a file that is older than it.
    places: Vec<Option<usize>>,
    columns: PhantomData<C>,
}

impl<C: Columns> Reader<C> {
    /// Opens a file and reads what it consists of.
    ///
    /// # Errors
    /// It is not there, is damaged, or is of another kind.
    pub fn open(path: &Path) -> Result<Self, FileFault> {
        let fault = FileFault::at(path);
        let file = File::open(path).map_err(FileFault::io(path))?;
        let properties = ReaderProperties::builder().set_read_bloom_filter(true).build();
        let options = ReadOptionsBuilder::new().with_reader_properties(properties).build();
        let beside = file.try_clone().map_err(FileFault::io(path))?;
        let parquet = guarded(|| Ok(SerializedFileReader::new_with_options(file, options)?)).map_err(&fault)?;
        // Such large ones are never written, and would take any amount of memory.
        let groups = parquet.metadata().row_groups();
        if groups.iter().any(|group| !usize::try_from(group.num_rows()).is_ok_and(|rows| rows <= GROUP)) {
            return Err(fault(Problem::Damaged));
        }
        let facts = parquet.metadata().file_metadata().key_value_metadata().map_or(&[][..], Vec::as_slice);
        let checksums = Checksums::read(groups, facts).ok_or_else(|| fault(Problem::Damaged))?;
        let descriptor = parquet.metadata().file_metadata().schema_descr();
        let mut places = Vec::with_capacity(C::COLUMNS.len());
        for column in C::COLUMNS {
            let place = descriptor.columns().iter().position(|there| there.name() == column.name);
            if let Some(place) = place {
                let there = descriptor.column(place);
                let fits = there.max_def_level() == i16::from(is_optional(column.kind))
                    && there.max_rep_level() == 0
                    && there.physical_type() == physical(column.kind);
                if !fits {
                    return Err(fault(Problem::Column { name: column.name.to_owned() }));
                }
            }
            places.push(place);
        }
        Ok(Self { path: path.to_owned(), parquet, file: beside, checksums, places, columns: PhantomData })
    }

    /// Row groups.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.parquet.num_row_groups()
    }

    /// Rows in all.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.parquet.metadata().file_metadata().num_rows().try_into().unwrap_or(0)
    }

    /// What the file's metadata says under this key.
    #[must_use]
    pub fn fact(&self, key: &str) -> Option<&str> {
        let facts = self.parquet.metadata().file_metadata().key_value_metadata()?;
        facts.iter().find(|fact| fact.key == key)?.value.as_deref()
    }

    fn group(&self, group: usize) -> &RowGroupMetaData {
        self.parquet.metadata().row_group(group)
    }

    /// Rows of a group.
    #[must_use]
    pub fn group_rows(&self, group: usize) -> usize {
        self.group(group).num_rows().try_into().unwrap_or(0)
    }

    /// Smallest and largest value of a column of integers in a group, where the file says so.
    #[must_use]
    pub fn extent(&self, group: usize, column: usize) -> Option<(i64, i64)> {
        let statistics = self.group(group).column((*self.places.get(column)?)?).statistics()?;
        match statistics {
            Statistics::Int64(statistics) => Some((*statistics.min_opt()?, *statistics.max_opt()?)),
            Statistics::Int32(statistics) => Some(((*statistics.min_opt()?).into(), (*statistics.max_opt()?).into())),
            _ => None,
        }
    }

    /// Whether no row of a group says anything in a column, as far as the file tells: all are null, or 0.
    #[must_use]
    pub fn says_nothing(&self, group: usize, column: usize) -> bool {
        let Some(place) = self.places.get(column).copied().flatten() else { return true };
        let Some(statistics) = self.group(group).column(place).statistics() else { return false };
        statistics.null_count_opt() == Some(self.group_rows(group) as u64) || self.extent(group, column) == Some((0, 0))
    }

    /// Whether a group may have this address in one of these columns: it has not where the file says so.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn may_have(&self, group: usize, columns: &[usize], address: u128) -> Result<bool, FileFault> {
        let text = ip(address).to_string();
        let look = || {
            for place in columns.iter().filter_map(|column| self.places[*column]) {
                must_fit(self.checksums.bloom_filter_fits(&self.file, self.group(group), (group, place)))?;
            }
            let reader = self.parquet.get_row_group(group)?;
            let may_have = |column: &usize| match self.places[*column] {
                None => false,
                Some(place) => reader.get_column_bloom_filter(place).is_none_or(|filter| filter.check(text.as_str())),
            };
            Ok(columns.iter().any(may_have))
        };
        guarded(look).map_err(FileFault::at(&self.path))
    }

    /// Reads columns of a group behind what `rows` has in them.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn read(&self, group: usize, columns: impl Iterator<Item = usize>, rows: &mut C) -> Result<(), FileFault> {
        let count = self.group_rows(group);
        let read = || {
            let reader = self.parquet.get_row_group(group)?;
            for index in columns {
                let column = &C::COLUMNS[index];
                let mut values = rows.values_mut(index);
                // Of a column that says the same in all rows, the file's metadata has it.
                if let Some((least, most)) = self.extent(group, index)
                    && least == most
                    && values.repeat(least, count)
                {
                    continue;
                }
                let Some(place) = self.places[index] else {
                    let length = length(&values) + count;
                    values.resize(length);
                    continue;
                };
                must_fit(self.checksums.pages_fit(&self.file, self.group(group), (group, place)))?;
                read_column(reader.get_column_reader(place)?, column, values, count)?;
            }
            Ok(())
        };
        guarded(read).map_err(FileFault::at(&self.path))
    }
}

/// Does something with a file that may be damaged. The library that reads it panics at some damage; that is a fault of the file, and
/// no reason to stop. What was half read then is not to be used.
fn guarded<T>(work: impl FnOnce() -> Result<T, Problem>) -> Result<T, Problem> {
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(Problem::Damaged))
}

/// A checksum that does not fit, or what it is of is not in the file: that is damage, too.
fn must_fit(outcome: io::Result<bool>) -> Result<(), Problem> {
    match outcome {
        Ok(true) => Ok(()),
        Ok(false) => Err(Problem::Damaged),
        Err(error) => Err(error.into()),
    }
}

fn length(values: &ValuesMut<'_>) -> usize {
    match values {
        ValuesMut::Long(values) => values.len(),
        ValuesMut::Int(values) => values.len(),
        ValuesMut::Address(values) => values.len(),
        ValuesMut::Mac(values) => values.len(),
        ValuesMut::Text(values) => values.len(),
    }
}

fn read_column(
    source: parquet::column::reader::ColumnReader,
    column: &Column,
    values: ValuesMut<'_>,
    count: usize,
) -> Result<(), Problem> {
    use parquet::column::reader::ColumnReader as Source;
    let odd = || Problem::Column { name: column.name.to_owned() };
    match (source, values) {
        (Source::Int64ColumnReader(source), ValuesMut::Long(values)) => read_values(source, values, count, odd),
        (Source::Int32ColumnReader(source), ValuesMut::Int(values)) => read_values(source, values, count, odd),
        (Source::ByteArrayColumnReader(source), ValuesMut::Address(values)) => {
            let (texts, levels) = read_texts(source, column.kind, count, odd)?;
            values.reserve(count);
            let put = |address| values.push(address);
            let mut recent = Recent::new();
            spread(&texts, levels.as_deref(), put, 0, |text| recent.of(text, parse_address).ok_or_else(odd))
        }
        (Source::ByteArrayColumnReader(source), ValuesMut::Mac(values)) => {
            let (texts, levels) = read_texts(source, column.kind, count, odd)?;
            let put = |address| values.push(address);
            let mut recent = Recent::new();
            spread(&texts, levels.as_deref(), put, 0, |text| recent.of(text, parse_mac).ok_or_else(odd))
        }
        (Source::ByteArrayColumnReader(source), ValuesMut::Text(values)) => {
            let (texts, levels) = read_texts(source, column.kind, count, odd)?;
            let mut last: Option<(&[u8], Arc<str>)> = None;
            spread(
                &texts,
                levels.as_deref(),
                |text| values.push(text),
                None,
                |octets| {
                    // Neighbours are often alike, and share the text then.
                    match &last {
                        Some((before, text)) if *before == octets => Ok(Some(Arc::clone(text))),
                        _ => {
                            let text: Arc<str> = std::str::from_utf8(octets).map_err(|_| odd())?.into();
                            last = Some((octets, Arc::clone(&text)));
                            Ok(Some(text))
                        }
                    }
                },
            )
        }
        _ => Err(odd()),
    }
}

fn read_values<T: DataType>(
    mut source: ColumnReaderImpl<T>,
    values: &mut Vec<T::T>,
    count: usize,
    odd: impl Fn() -> Problem,
) -> Result<(), Problem> {
    let (rows, _, _) = source.read_records(count, None, None, values)?;
    if rows == count { Ok(()) } else { Err(odd()) }
}

fn read_texts(
    mut source: ColumnReaderImpl<ByteArrayType>,
    kind: Kind,
    count: usize,
    odd: impl Fn() -> Problem,
) -> Result<(Vec<ByteArray>, Option<Vec<i16>>), Problem> {
    let mut texts = Vec::with_capacity(count);
    let mut levels = is_optional(kind).then(|| Vec::with_capacity(count));
    let (rows, _, _) = source.read_records(count, levels.as_mut(), None, &mut texts)?;
    if rows == count { Ok((texts, levels)) } else { Err(odd()) }
}

/// Puts a value for each row: made of its text, or `absent` where the row has none.
fn spread<'a, V: Clone>(
    texts: &'a [ByteArray],
    levels: Option<&[i16]>,
    mut put: impl FnMut(V),
    absent: V,
    mut make: impl FnMut(&'a [u8]) -> Result<V, Problem>,
) -> Result<(), Problem> {
    let Some(levels) = levels else {
        for text in texts {
            put(make(text.data())?);
        }
        return Ok(());
    };
    let mut texts = texts.iter();
    for level in levels {
        put(match (level, texts.as_slice()) {
            (1, [text, ..]) => {
                texts.next();
                make(text.data())?
            }
            _ => absent.clone(),
        });
    }
    Ok(())
}

/// Places for values that were read a moment ago.
const KNOWN: usize = 1 << 12;

/// Values that were read a moment ago, by where their text is: rows that have the same value share its text, which is in the file once.
struct Recent<V> {
    places: Vec<((*const u8, usize), V)>,
}

impl<V: Copy + Default> Recent<V> {
    fn new() -> Self {
        Self { places: vec![((std::ptr::null(), 0), V::default()); KNOWN] }
    }

    /// What `parse` makes of this text, which has to stay where it is as long as there are recent ones.
    fn of(&mut self, text: &[u8], parse: impl FnOnce(&[u8]) -> Option<V>) -> Option<V> {
        let at = (text.as_ptr(), text.len());
        // Texts are behind each other, and longer than eight octets in most cases.
        let place = &mut self.places[(at.0.addr() >> 3) % KNOWN];
        if place.0 != at {
            *place = (at, parse(text)?);
        }
        Some(place.1)
    }
}

/// The 128 bits of an address; most are IPv4 in its plain form, which is read without more ado.
fn parse_address(text: &[u8]) -> Option<u128> {
    let mut bits: u128 = 0xffff;
    let (mut octet, mut digits, mut octets) = (0_u32, 0, 1);
    for &letter in text {
        match letter {
            b'0'..=b'9' => {
                octet = octet.wrapping_mul(10).wrapping_add(u32::from(letter - b'0'));
                digits += 1;
            }
            b'.' if (1..=3).contains(&digits) && octet < 256 && octets < 4 => {
                bits = bits << 8 | u128::from(octet);
                (octet, digits, octets) = (0, 0, octets + 1);
            }
            // IPv6.
            _ => return Some(mapped(std::str::from_utf8(text).ok()?.parse().ok()?)),
        }
    }
    (octets == 4 && (1..=3).contains(&digits) && octet < 256).then_some(bits << 8 | u128::from(octet))
}

fn parse_mac(text: &[u8]) -> Option<u64> {
    let mut bits = 0;
    let mut count = 0;
    for part in text.split(|letter| *letter == b':') {
        let octet = u8::from_str_radix(std::str::from_utf8(part).ok()?, 16).ok()?;
        bits = bits << 8 | u64::from(octet);
        count += 1;
    }
    (count == 6).then_some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_written() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..10_000 {
            let bits = match random.u8(..4) {
                0 => u128::from(random.u32(..)) | 0xffff_0000_0000,
                1 => random.u128(..),
                2 => u128::from(random.u64(..)),
                _ => random.u128(..) & random.u128(..) & random.u128(..),
            };
            let text = ip(bits).to_string();
            assert_eq!(parse_address(text.as_bytes()), Some(bits), "{text}");
        }
        for text in ["", "1.2.3", "1.2.3.256", "1.2.3.4.5", "1..3.4", "1.2.3.", "0001.2.3.4", "4294967297.2.3.4", "x"] {
            assert_eq!(parse_address(text.as_bytes()), None, "{text}");
        }
    }
}
