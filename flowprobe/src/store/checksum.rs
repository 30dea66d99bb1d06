//! Checksums of what a file holds, in its metadata: of each column of each group, and of the metadata themselves. Without them a bit
//! that has turned over is another value more often than not, since neither pages nor their compression notice it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use crc32fast::Hasher;
use parquet::file::metadata::{ColumnChunkMetaData, KeyValue, RowGroupMetaData};

/// The key in a file's metadata: numbers in hexadecimal with commas between them, that of the metadata first, then those of the
/// columns, group by group: of its pages, and of its Bloom filter where it has one.
pub(super) const KEY: &str = "flowprobe.checksums";

/// How all keys begin that are ours.
const OURS: &str = "flowprobe.";

/// What is to be found in a file.
#[derive(Debug, Default)]
pub(super) struct Checksums {
    /// By group and column; none of files that somebody else has written.
    columns: Vec<Vec<OfColumn>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct OfColumn {
    pages: u32,
    bloom_filter: Option<u32>,
}

/// The text for a file that is complete but for its metadata.
pub(super) fn of(file: &File, groups: &[RowGroupMetaData], facts: &[KeyValue]) -> io::Result<String> {
    let mut text = format!("{:08x}", of_metadata(groups, facts));
    for column in groups.iter().flat_map(RowGroupMetaData::columns) {
        let sums = OfColumn { pages: of_pages(file, column)?, bloom_filter: of_bloom_filter(file, column)? };
        for sum in [Some(sums.pages), sums.bloom_filter].into_iter().flatten() {
            text.push_str(&format!(",{sum:08x}"));
        }
    }
    Ok(text)
}

impl Checksums {
    /// Those that a file's metadata have; nothing where they are wrong already. Files of ours have had them from the beginning: a key with
    /// an octet that has changed must not be taken for none.
    pub(super) fn read(groups: &[RowGroupMetaData], facts: &[KeyValue]) -> Option<Self> {
        let Some(text) = facts.iter().find(|fact| fact.key == KEY) else {
            let is_ours = facts.iter().any(|fact| fact.key.starts_with(OURS));
            return (!is_ours).then(Self::default);
        };
        let mut sums = text.value.as_deref()?.split(',').map(|sum| u32::from_str_radix(sum, 16).ok());
        if sums.next()?? != of_metadata(groups, facts) {
            return None;
        }
        let mut columns = Vec::with_capacity(groups.len());
        for group in groups {
            let of_column = |column: &ColumnChunkMetaData| {
                let pages = sums.next()??;
                let bloom_filter = if column.bloom_filter_offset().is_some() { Some(sums.next()??) } else { None };
                Some(OfColumn { pages, bloom_filter })
            };
            columns.push(group.columns().iter().map(of_column).collect::<Option<_>>()?);
        }
        sums.next().is_none().then_some(Self { columns })
    }

    fn of(&self, group: usize, column: usize) -> Option<OfColumn> {
        self.columns.get(group)?.get(column).copied()
    }

    /// Whether a column's pages in a group are what they were.
    pub(super) fn pages_fit(&self, file: &File, group: &RowGroupMetaData, at: (usize, usize)) -> io::Result<bool> {
        let Some(expected) = self.of(at.0, at.1) else { return Ok(true) };
        Ok(of_pages(file, group.column(at.1))? == expected.pages)
    }

    /// Whether a column's Bloom filter in a group is what it was.
    pub(super) fn bloom_filter_fits(
        &self,
        file: &File,
        group: &RowGroupMetaData,
        at: (usize, usize),
    ) -> io::Result<bool> {
        let Some(expected) = self.of(at.0, at.1) else { return Ok(true) };
        Ok(of_bloom_filter(file, group.column(at.1))? == expected.bloom_filter)
    }
}

/// Of all in the metadata that decides what is read.
fn of_metadata(groups: &[RowGroupMetaData], facts: &[KeyValue]) -> u32 {
    let mut hasher = Hasher::new();
    let mut add = |octets: &[u8]| {
        hasher.update(&octets.len().to_le_bytes());
        hasher.update(octets);
    };
    for fact in facts.iter().filter(|fact| fact.key != KEY) {
        add(fact.key.as_bytes());
        add(fact.value.as_deref().unwrap_or_default().as_bytes());
    }
    for group in groups {
        add(&group.num_rows().to_le_bytes());
        for column in group.columns() {
            add(column.column_path().string().as_bytes());
            // As the format has them: how a library shows its own types may change.
            add(column.column_type().to_string().as_bytes());
            add(&(column.compression_codec() as i32).to_le_bytes());
            let statistics = column.statistics();
            add(statistics.and_then(|statistics| statistics.min_bytes_opt()).unwrap_or_default());
            add(statistics.and_then(|statistics| statistics.max_bytes_opt()).unwrap_or_default());
            let nulls = statistics.and_then(|statistics| statistics.null_count_opt());
            add(&nulls.unwrap_or(u64::MAX).to_le_bytes());
            let numbers = [
                column.num_values(),
                column.data_page_offset(),
                column.dictionary_page_offset().unwrap_or(-1),
                column.compressed_size(),
                column.uncompressed_size(),
                column.bloom_filter_offset().unwrap_or(-1),
                column.bloom_filter_length().unwrap_or(-1).into(),
            ];
            numbers.iter().for_each(|number| add(&number.to_le_bytes()));
        }
    }
    hasher.finalize()
}

fn of_pages(file: &File, column: &ColumnChunkMetaData) -> io::Result<u32> {
    let (start, length) = column.byte_range();
    of_range(file, start, length)
}

fn of_bloom_filter(file: &File, column: &ColumnChunkMetaData) -> io::Result<Option<u32>> {
    let Some(start) = column.bloom_filter_offset() else { return Ok(None) };
    let length = column.bloom_filter_length().unwrap_or(0);
    let of = |number: i64| u64::try_from(number).map_err(|_| io::ErrorKind::UnexpectedEof);
    of_range(file, of(start)?, of(length.into())?).map(Some)
}

/// Of so many octets of a file, from `start` on.
fn of_range(file: &File, mut start: u64, mut length: u64) -> io::Result<u32> {
    let (mut hasher, mut buffer) = (Hasher::new(), vec![0; 1 << 17]);
    while length > 0 {
        let some = usize::try_from(length).map_or(buffer.len(), |length| length.min(buffer.len()));
        file.read_exact_at(&mut buffer[..some], start)?;
        hasher.update(&buffer[..some]);
        start += some as u64;
        length -= some as u64;
    }
    Ok(hasher.finalize())
}
