//! Writing a file.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::marker::PhantomData;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hashbrown::HashMap;
use parquet::basic::{Compression, ConvertedType, Encoding, LogicalType, Repetition, TimeUnit, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{ColumnPath, Type, TypePtr};

use super::{FileFault, GROUP, SCHEMA_KEY, is_optional, physical};
use crate::store::checksum;
use crate::store::columns::{Column, Columns, Kind, Values};
use crate::store::flows::{SCHEMA_VERSION, ip, put_mac};

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

fn schema(columns: &[Column]) -> Result<TypePtr, ParquetError> {
    let fields = columns.iter().map(|column| {
        let repetition = if is_optional(column.kind) { Repetition::OPTIONAL } else { Repetition::REQUIRED };
        let builder = Type::primitive_type_builder(column.name, physical(column.kind)).with_repetition(repetition);
        let builder = match column.kind {
            Kind::Time => builder.with_logical_type(Some(LogicalType::timestamp(true, TimeUnit::MILLIS))),
            Kind::Address | Kind::OptionalAddress | Kind::Mac | Kind::Text | Kind::Name => {
                builder.with_logical_type(Some(LogicalType::String)).with_converted_type(ConvertedType::UTF8)
            }
            Kind::Count | Kind::Id | Kind::Number => builder,
        };
        builder.build().map(Arc::new)
    });
    let fields = fields.collect::<Result<Vec<_>, _>>()?;
    Ok(Arc::new(Type::group_type_builder("flowprobe").with_fields(fields).build()?))
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
