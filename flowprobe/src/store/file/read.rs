//! Reading a file, which may be damaged, or older than the columns are.

use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::properties::ReaderProperties;
use parquet::file::reader::{FileReader as _, RowGroupReader};
use parquet::file::serialized_reader::{ReadOptionsBuilder, SerializedFileReader};
use parquet::file::statistics::Statistics;

use super::{FileFault, GROUP, Problem, is_optional, physical, texts};
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
        self.read_runs(group, columns, |_| all_of(self.group_rows(group)), rows)
    }

    /// The same where only these rows of the group are looked at, which are in their order: the others are added as well, and may say
    /// anything.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn read_some(
        &self,
        group: usize,
        columns: impl Iterator<Item = usize>,
        wanted: &[usize],
        rows: &mut C,
    ) -> Result<(), FileFault> {
        debug_assert!(wanted.is_sorted(), "rows are read in their order");
        self.read_runs(group, columns, |kind| runs_of(wanted, kind), rows)
    }

    fn read_runs(
        &self,
        group: usize,
        columns: impl Iterator<Item = usize>,
        runs: impl Fn(Kind) -> Vec<Range<usize>>,
        rows: &mut C,
    ) -> Result<(), FileFault> {
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
                let part = Part { group: &*reader, place, column, runs: runs(column.kind), count };
                part.read(values)?;
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

/// Rows that are read at once: what they say is in the nearest cache still when it is looked at.
const BATCH: usize = 1 << 10;

/// All of so many rows, a batch at a time.
fn all_of(count: usize) -> Vec<Range<usize>> {
    (0..count).step_by(BATCH).map(|start| start..count.min(start + BATCH)).collect()
}

/// The wanted rows, a batch at a time at most; with those between them where to read these takes less than to pass over them.
fn runs_of(wanted: &[usize], kind: Kind) -> Vec<Range<usize>> {
    let between = match kind {
        Kind::Time | Kind::Count | Kind::Id | Kind::Number => 64,
        Kind::Address | Kind::OptionalAddress | Kind::Mac | Kind::Text | Kind::Name => 4,
    };
    let mut runs: Vec<Range<usize>> = Vec::new();
    for &row in wanted {
        match runs.last_mut() {
            Some(run) if row <= run.end + between && row < run.start + BATCH => run.end = row + 1,
            _ => runs.push(row..row + 1),
        }
    }
    runs
}

/// What is read of a column of a group.
struct Part<'a> {
    group: &'a dyn RowGroupReader,
    /// Where in it the column is.
    place: usize,
    column: &'a Column,
    /// Rows, in their order.
    runs: Vec<Range<usize>>,
    /// Rows of the group.
    count: usize,
}

impl Part<'_> {
    fn odd(&self) -> Problem {
        Problem::Column { name: self.column.name.to_owned() }
    }

    fn read(&self, values: ValuesMut<'_>) -> Result<(), Problem> {
        match values {
            ValuesMut::Long(values) => self.numbers::<Int64Type>(values),
            ValuesMut::Int(values) => self.numbers::<Int32Type>(values),
            ValuesMut::Address(values) => {
                values.reserve(self.count);
                self.texts(|bits| values.push(bits), 0, parse_address)
            }
            ValuesMut::Mac(values) => {
                values.reserve(self.count);
                self.texts(|bits| values.push(bits), 0, parse_mac)
            }
            ValuesMut::Text(values) => {
                let parse = |text: &[u8]| Some(Some(Arc::from(std::str::from_utf8(text).ok()?)));
                self.texts(|text| values.push(text), None, parse)
            }
        }
    }

    fn source<T: DataType>(&self) -> Result<ColumnReaderImpl<T>, Problem> {
        T::get_column_reader(self.group.get_column_reader(self.place)?).ok_or_else(|| self.odd())
    }

    fn numbers<T: DataType>(&self, values: &mut Vec<T::T>) -> Result<(), Problem> {
        let (mut source, begin, mut at) = (self.source::<T>()?, values.len(), 0);
        values.reserve(self.count);
        for run in &self.runs {
            self.pass_over(&mut source, run.start - at)?;
            values.resize(begin + run.start, T::T::default());
            let (rows, _, _) = source.read_records(run.len(), None, None, values)?;
            if rows != run.len() {
                return Err(self.odd());
            }
            at = run.end;
        }
        values.resize(begin + self.count, T::T::default());
        Ok(())
    }

    /// Puts a value for each row: made of its text, or `absent` where the row has none or is not read.
    fn texts<V: Clone>(
        &self,
        put: impl FnMut(V),
        absent: V,
        mut parse: impl FnMut(&[u8]) -> Option<V>,
    ) -> Result<(), Problem> {
        let column = self.group.metadata().column(self.place);
        if !texts::are_plain(column) {
            return self.each(self.source::<ByteArrayType>()?, put, absent, |text| parse(text.data()));
        }
        let pages = self.group.get_column_page_reader(self.place)?;
        let (source, mut meanings) = texts::numbered(pages, column.column_descr())?;
        self.each(source, put, absent, |number| meanings.of(*number, &mut parse))
    }

    fn each<T: DataType, V: Clone>(
        &self,
        mut source: ColumnReaderImpl<T>,
        mut put: impl FnMut(V),
        absent: V,
        mut make: impl FnMut(&T::T) -> Option<V>,
    ) -> Result<(), Problem> {
        let mut there = Vec::with_capacity(BATCH);
        let mut levels = is_optional(self.column.kind).then(|| Vec::with_capacity(BATCH));
        let mut at = 0;
        for run in &self.runs {
            self.pass_over(&mut source, run.start - at)?;
            (at..run.start).for_each(|_| put(absent.clone()));
            there.clear();
            levels.iter_mut().for_each(Vec::clear);
            let (rows, _, _) = source.read_records(run.len(), levels.as_mut(), None, &mut there)?;
            if rows != run.len() {
                return Err(self.odd());
            }
            let mut made = there.iter().map(|text| make(text).ok_or_else(|| self.odd()));
            match &levels {
                None => made.try_for_each(|value| value.map(&mut put))?,
                Some(levels) => {
                    for level in levels {
                        let value = if *level == 1 { made.next().transpose()? } else { None };
                        put(value.unwrap_or_else(|| absent.clone()));
                    }
                }
            }
            at = run.end;
        }
        (at..self.count).for_each(|_| put(absent.clone()));
        Ok(())
    }

    fn pass_over<T: DataType>(&self, source: &mut ColumnReaderImpl<T>, rows: usize) -> Result<(), Problem> {
        if rows > 0 && source.skip_records(rows)? != rows { Err(self.odd()) } else { Ok(()) }
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
