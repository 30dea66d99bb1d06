//! Parquet files: columns in, columns out. A file is written as a whole and appears under its name only when it is complete.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::marker::PhantomData;
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hashbrown::HashMap;
use parquet::basic::{
    Compression, ConvertedType, Encoding, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel,
};
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, RowGroupMetaData};
use parquet::file::properties::{EnabledStatistics, ReaderProperties, WriterProperties, WriterPropertiesPtr};
use parquet::file::reader::FileReader as _;
use parquet::file::serialized_reader::{ReadOptionsBuilder, SerializedFileReader};
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{ColumnPath, Type, TypePtr};
use rustix::io::Errno;
use thiserror::Error;

use super::checksum::{self, Checksums};
use super::columns::{Column, Columns, Kind, Values, ValuesMut};
use super::flows::{SCHEMA_VERSION, ip, mapped, put_mac};

/// Rows of a row group at most: what a reader decodes at once, and what compaction holds in memory.
pub const GROUP: usize = 131_072;

/// The key in a file's metadata that says which version of the columns it has.
pub const SCHEMA_KEY: &str = "flowprobe.schema";

/// Why a file of the store cannot be written or read.
#[derive(Debug, Error)]
#[error("{}: {problem}", path.display())]
pub struct FileFault {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a file.
#[derive(Debug, Error)]
pub enum Problem {
    /// The system refuses.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is no file of this kind, or is damaged.
    #[error("{0}")]
    Parquet(ParquetError),
    /// It is damaged in a way that its reader has no word for.
    #[error("it is damaged")]
    Damaged,
    /// A column is not what it is to be.
    #[error("the column {name} is not what this version of flowprobe knows it as")]
    Column {
        /// Its name.
        name: String,
    },
}

impl From<ParquetError> for Problem {
    fn from(error: ParquetError) -> Self {
        // What the system said is inside.
        match error {
            ParquetError::External(inner) => match inner.downcast::<io::Error>() {
                Ok(error) => Self::Io(*error),
                Err(other) => Self::Parquet(ParquetError::External(other)),
            },
            error => Self::Parquet(error),
        }
    }
}

impl FileFault {
    /// Whether the file is not there.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(&self.problem, Problem::Io(error) if error.kind() == io::ErrorKind::NotFound)
    }

    /// Whether it is the file itself that is wrong, and not the system that refuses.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match &self.problem {
            Problem::Parquet(_) | Problem::Damaged | Problem::Column { .. } => true,
            // It is shorter than it says, or it is what a disk answers that has lost a block, or a file system that finds so.
            Problem::Io(error) => {
                let errno = error.raw_os_error().map(Errno::from_raw_os_error);
                error.kind() == io::ErrorKind::UnexpectedEof
                    || matches!(errno, Some(Errno::IO | Errno::BADMSG | Errno::UCLEAN | Errno::INVAL))
            }
        }
    }

    pub(super) fn at(path: &Path) -> impl Fn(Problem) -> Self + '_ {
        |problem| Self { path: path.to_owned(), problem }
    }

    pub(super) fn io(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        |error| Self { path: path.to_owned(), problem: Problem::Io(error) }
    }
}

/// How much work is put into a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// It will be written once more.
    Passing,
    /// It stays.
    Lasting,
}

/// A file that is being written under a name that nobody reads.
pub struct Writer<C> {
    path: PathBuf,
    parquet: SerializedFileWriter<BufWriter<File>>,
    columns: PhantomData<C>,
}

impl<C: Columns> Writer<C> {
    /// Begins a file at `path`, which must not be there. `facts` are kept in its metadata.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(path: &Path, effort: Effort, facts: &[(&str, String)]) -> Result<Self, FileFault> {
        let file =
            OpenOptions::new().read(true).write(true).create_new(true).open(path).map_err(FileFault::io(path))?;
        let properties = properties(C::COLUMNS, effort, facts);
        let parquet = schema(C::COLUMNS)
            .and_then(|schema| SerializedFileWriter::new(BufWriter::with_capacity(1 << 18, file), schema, properties))
            .map_err(|error| FileFault::at(path)(error.into()))?;
        Ok(Self { path: path.to_owned(), parquet, columns: PhantomData })
    }

    /// Writes some rows as a row group.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&mut self, rows: &C, range: Range<usize>) -> Result<(), FileFault> {
        if range.is_empty() {
            return Ok(());
        }
        let fault = FileFault::at(&self.path);
        let mut group = self.parquet.next_row_group().map_err(|error| fault(error.into()))?;
        for (index, column) in C::COLUMNS.iter().enumerate() {
            write_column(&mut group, column.kind, rows.values(index), &range).map_err(|error| fault(error.into()))?;
        }
        group.close().map_err(|error| fault(error.into()))?;
        Ok(())
    }

    /// Completes the file and waits until it is on the disk.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(mut self) -> Result<(), FileFault> {
        let path = self.path.clone();
        let fault = FileFault::at(&path);
        self.add_checksums().map_err(|error| fault(error.into()))?;
        let mut buffer = self.parquet.into_inner().map_err(|error| fault(error.into()))?;
        buffer.flush().map_err(|error| fault(error.into()))?;
        buffer.get_ref().sync_all().map_err(|error| fault(error.into()))
    }

    /// Of all that is in the file by now.
    fn add_checksums(&mut self) -> io::Result<()> {
        self.parquet.flush()?;
        let facts = self.parquet.properties().key_value_metadata().map_or(&[][..], Vec::as_slice);
        let text = checksum::of(self.parquet.inner().get_ref(), self.parquet.flushed_row_groups(), facts)?;
        self.parquet.append_key_value_metadata(KeyValue::new(checksum::KEY.to_owned(), text));
        Ok(())
    }
}

/// Moves a finished file to where it is read, or exchanges folders in the same way: after this it is there, whatever happens.
///
/// # Errors
/// The system refuses.
pub fn publish(from: &Path, to: &Path) -> Result<(), FileFault> {
    fs::rename(from, to).map_err(FileFault::io(to))?;
    sync_folder(to.parent().unwrap_or(to))
}

/// Waits until what a folder has is on the disk.
///
/// # Errors
/// The system refuses.
pub fn sync_folder(folder: &Path) -> Result<(), FileFault> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(FileFault::io(folder))
}

fn schema(columns: &[Column]) -> Result<TypePtr, ParquetError> {
    let fields = columns.iter().map(|column| {
        let repetition = if is_optional(column.kind) { Repetition::OPTIONAL } else { Repetition::REQUIRED };
        let builder = Type::primitive_type_builder(column.name, physical(column.kind)).with_repetition(repetition);
        let builder = match column.kind {
            Kind::Time => builder.with_logical_type(Some(LogicalType::timestamp(true, TimeUnit::MILLIS))),
            Kind::Address | Kind::OptionalAddress | Kind::Mac | Kind::Text => {
                builder.with_logical_type(Some(LogicalType::String)).with_converted_type(ConvertedType::UTF8)
            }
            Kind::Count | Kind::Id | Kind::Number => builder,
        };
        builder.build().map(Arc::new)
    });
    let fields = fields.collect::<Result<Vec<_>, _>>()?;
    Ok(Arc::new(Type::group_type_builder("flowprobe").with_fields(fields).build()?))
}

const fn is_optional(kind: Kind) -> bool {
    matches!(kind, Kind::OptionalAddress | Kind::Mac | Kind::Text)
}

fn properties(columns: &[Column], effort: Effort, facts: &[(&str, String)]) -> WriterPropertiesPtr {
    /// Of zstd: a good deal smaller than the lowest, and little slower.
    const LASTING: i32 = 3;
    const PASSING: i32 = 1;
    let level = ZstdLevel::try_new(if effort == Effort::Lasting { LASTING } else { PASSING }).unwrap_or_default();
    let facts = [(SCHEMA_KEY, SCHEMA_VERSION.to_string())].into_iter().chain(facts.iter().cloned());
    let facts = facts.map(|(key, value)| KeyValue::new(key.to_owned(), value)).collect();
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("flowprobe ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        .set_max_row_group_row_count(None)
        .set_key_value_metadata(Some(facts));
    for column in columns {
        let path = ColumnPath::from(column.name);
        match column.kind {
            Kind::Time => {
                builder = builder
                    .set_column_dictionary_enabled(path.clone(), false)
                    .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
            }
            Kind::Address if effort == Effort::Lasting => {
                // Folded to what the group really has.
                builder = builder.set_column_bloom_filter_enabled(path.clone(), true);
                builder = builder.set_column_bloom_filter_max_ndv(path, GROUP as u64);
            }
            _ => {}
        }
    }
    Arc::new(builder.build())
}

fn write_column(
    group: &mut SerializedRowGroupWriter<'_, BufWriter<File>>,
    kind: Kind,
    values: Values<'_>,
    range: &Range<usize>,
) -> Result<(), ParquetError> {
    let Some(mut column) = group.next_column()? else {
        return Err(ParquetError::General("there are more columns than in the schema".to_owned()));
    };
    match values {
        Values::Long(values) => column.typed::<Int64Type>().write_batch(&values[range.clone()], None, None)?,
        Values::Int(values) => column.typed::<Int32Type>().write_batch(&values[range.clone()], None, None)?,
        Values::Address(values) => {
            let (texts, levels) = texts(&values[range.clone()], kind, |address| ip(*address).to_string());
            column.typed::<ByteArrayType>().write_batch(&texts, levels.as_deref(), None)?
        }
        Values::Mac(values) => {
            let text = |bits: &u64| {
                let mut text = String::new();
                put_mac(*bits, &mut text);
                text
            };
            let (texts, levels) = texts(&values[range.clone()], kind, text);
            column.typed::<ByteArrayType>().write_batch(&texts, levels.as_deref(), None)?
        }
        Values::Text(values) => {
            let there = values.get(range.clone()).unwrap_or_default();
            let texts: Vec<ByteArray> = there.iter().flatten().map(|text| ByteArray::from(&**text)).collect();
            let mut levels: Vec<i16> = there.iter().map(|text| i16::from(text.is_some())).collect();
            levels.resize(range.len(), 0);
            column.typed::<ByteArrayType>().write_batch(&texts, Some(&levels), None)?
        }
    };
    column.close()
}

/// The text of each value, made once for each that is different; and which are there, where a column may say nothing.
fn texts<T: Copy + Default + Eq + std::hash::Hash>(
    values: &[T],
    kind: Kind,
    text: impl Fn(&T) -> String,
) -> (Vec<ByteArray>, Option<Vec<i16>>) {
    let optional = is_optional(kind);
    let mut known: HashMap<T, ByteArray> = HashMap::new();
    let present = values.iter().filter(|value| !optional || **value != T::default());
    let texts = present.map(|value| known.entry(*value).or_insert_with(|| text(value).into_bytes().into()).clone());
    let texts = texts.collect();
    let levels = optional.then(|| values.iter().map(|value| i16::from(*value != T::default())).collect());
    (texts, levels)
}

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
                let values = rows.values_mut(index);
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

const fn physical(kind: Kind) -> Physical {
    match kind {
        Kind::Time | Kind::Count | Kind::Id => Physical::INT64,
        Kind::Number => Physical::INT32,
        Kind::Address | Kind::OptionalAddress | Kind::Mac | Kind::Text => Physical::BYTE_ARRAY,
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
            spread(&texts, levels.as_deref(), put, 0, |text| parse_address(text).ok_or_else(odd))
        }
        (Source::ByteArrayColumnReader(source), ValuesMut::Mac(values)) => {
            let (texts, levels) = read_texts(source, column.kind, count, odd)?;
            let put = |address| values.push(address);
            spread(&texts, levels.as_deref(), put, 0, |text| parse_mac(text).ok_or_else(odd))
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

/// The 128 bits of an address; most are IPv4 in its plain form, which is read without more ado.
pub(super) fn parse_address(text: &[u8]) -> Option<u128> {
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
