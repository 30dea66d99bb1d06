//! Texts of which each is made sense of once, however many rows have it: a file has those that differ in a dictionary, and of each row
//! which of them it is. The library that reads files hands out the text of each row, and keeps count of who has one, which costs more
//! than all else of reading. So it is shown a column of numbers, which are those of the texts.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc;

use parquet::basic::{Encoding, Repetition, Type as Physical};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{ByteArray, Int32Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::schema::types::{ColumnDescriptor, Type};

/// Whether all texts of a column in a group are in a dictionary, or one behind the other. What others have written may be packed in more
/// ways.
pub(super) fn are_plain(column: &ColumnChunkMetaData) -> bool {
    use Encoding as E;
    #[expect(deprecated, reason = "files of others name it where they have no levels at all")]
    let plain = [E::PLAIN, E::PLAIN_DICTIONARY, E::RLE_DICTIONARY, E::RLE, E::BIT_PACKED];
    column.encodings().all(|encoding| plain.contains(&encoding))
}

/// The numbers of a column's texts, and the texts, which have to be [plain](are_plain).
pub(super) fn numbered<V: Clone>(
    pages: Box<dyn PageReader>,
    column: &ColumnDescriptor,
) -> Result<(ColumnReaderImpl<Int32Type>, Meanings<V>), ParquetError> {
    let is_optional = column.max_def_level() > 0;
    let repetition = if is_optional { Repetition::OPTIONAL } else { Repetition::REQUIRED };
    let number = Type::primitive_type_builder(column.name(), Physical::INT32).with_repetition(repetition).build()?;
    let numbers = ColumnDescriptor::new(Arc::new(number), column.max_def_level(), 0, column.path().clone());
    let (tell, told) = mpsc::channel();
    let pages = Numbered { pages, is_optional, count: 0, tell };
    let meanings = Meanings { told, pages: Vec::new(), values: Vec::new() };
    Ok((ColumnReaderImpl::new(Arc::new(numbers), Box::new(pages)), meanings))
}

/// The texts of a page.
struct Texts {
    page: ByteArray,
    /// Where they are in it.
    places: Vec<Range<usize>>,
}

/// What texts mean, by their number.
pub(super) struct Meanings<V> {
    /// Pages that were read.
    told: mpsc::Receiver<Texts>,
    pages: Vec<Texts>,
    /// Of all texts of these pages, as far as it was asked for.
    values: Vec<Option<V>>,
}

impl<V: Clone> Meanings<V> {
    /// What `parse` makes of the text of this number.
    pub(super) fn of(&mut self, number: i32, parse: impl FnOnce(&[u8]) -> Option<V>) -> Option<V> {
        let number = usize::try_from(number).ok()?;
        if let Some(Some(value)) = self.values.get(number) {
            return Some(value.clone());
        }
        while self.values.len() <= number {
            let texts = self.told.try_recv().ok()?;
            self.values.resize(self.values.len() + texts.places.len(), None);
            self.pages.push(texts);
        }
        let value = parse(self.text(number)?)?;
        self.values[number] = Some(value.clone());
        Some(value)
    }

    fn text(&self, mut number: usize) -> Option<&[u8]> {
        for Texts { page, places } in &self.pages {
            match places.get(number) {
                Some(place) => return page.data().get(place.clone()),
                None => number -= places.len(),
            }
        }
        None
    }
}

/// Pages of texts as pages of their numbers.
struct Numbered {
    pages: Box<dyn PageReader>,
    is_optional: bool,
    /// Texts that have a number.
    count: i32,
    tell: mpsc::Sender<Texts>,
}

impl Numbered {
    /// Of a page whose texts begin at `start`, what is before them and then their numbers.
    fn numbers(&mut self, page: ByteArray, start: usize) -> Result<Vec<u8>, ParquetError> {
        let cut_off = || ParquetError::EOF("a page of texts ends within one".to_owned());
        let octets = page.data();
        let mut numbers = octets.get(..start).ok_or_else(cut_off)?.to_vec();
        let (mut places, mut rest) = (Vec::new(), &octets[start..]);
        while let Some((length, behind)) = rest.split_first_chunk() {
            let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
            let begin = octets.len() - behind.len();
            rest = behind.get(length..).ok_or_else(cut_off)?;
            places.push(begin..begin + length);
            numbers.extend_from_slice(&self.count.to_le_bytes());
            self.count = self.count.checked_add(1).ok_or_else(cut_off)?;
        }
        // Whoever does not look at the texts any more has no need of them.
        let _ = self.tell.send(Texts { page, places });
        Ok(numbers)
    }

    fn number(&mut self, mut page: Page) -> Result<Page, ParquetError> {
        match &mut page {
            Page::DictionaryPage { buf, .. } => *buf = self.numbers(buf.clone().into(), 0)?.into(),
            Page::DataPage { buf, num_values, encoding: Encoding::PLAIN, def_level_encoding, .. } => {
                let levels = match (self.is_optional, *def_level_encoding) {
                    (false, _) => 0,
                    // They have their length before them.
                    (true, Encoding::RLE) => {
                        let length = buf.first_chunk().map_or(u32::MAX, |length| u32::from_le_bytes(*length));
                        u64::from(length) + 4
                    }
                    (true, _) => u64::from(num_values.div_ceil(8)),
                };
                let start = usize::try_from(levels).unwrap_or(usize::MAX);
                *buf = self.numbers(buf.clone().into(), start)?.into();
            }
            Page::DataPageV2 { buf, encoding: Encoding::PLAIN, def_levels_byte_len, rep_levels_byte_len, .. } => {
                let levels = u64::from(*def_levels_byte_len) + u64::from(*rep_levels_byte_len);
                let start = usize::try_from(levels).unwrap_or(usize::MAX);
                *buf = self.numbers(buf.clone().into(), start)?.into();
            }
            // Of numbers already: those of the texts in the dictionary.
            Page::DataPage { .. } | Page::DataPageV2 { .. } => {}
        }
        Ok(page)
    }
}

impl PageReader for Numbered {
    fn get_next_page(&mut self) -> Result<Option<Page>, ParquetError> {
        let page = self.pages.get_next_page()?;
        page.map(|page| self.number(page)).transpose()
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>, ParquetError> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<(), ParquetError> {
        self.pages.skip_next_page()
    }
}

impl Iterator for Numbered {
    type Item = Result<Page, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::Path;

    use parquet::data_type::ByteArrayType;
    use parquet::file::properties::{WriterProperties, WriterVersion};
    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::*;
    use crate::store::columns::Columns as _;
    use crate::store::file::Reader;
    use crate::store::flows::{Flows, ip, put_mac};

    const SCHEMA: &str =
        "message flows { required binary sourceIPAddress (UTF8); optional binary sourceMacAddress (UTF8); }";

    /// Some rows as somebody else may write them.
    fn write(path: &Path, addresses: &[u128], cards: &[u64], properties: WriterProperties) {
        let schema = Arc::new(parse_message_type(SCHEMA).expect("a schema"));
        let file = File::create(path).expect("a file");
        let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).expect("a writer");
        let mut group = writer.next_row_group().expect("a group");
        let texts: Vec<ByteArray> = addresses.iter().map(|bits| ip(*bits).to_string().into_bytes().into()).collect();
        let mut column = group.next_column().expect("columns").expect("the first");
        column.typed::<ByteArrayType>().write_batch(&texts, None, None).expect("a column");
        column.close().expect("a column");
        let of_card = |bits: &u64| {
            let mut text = String::new();
            put_mac(*bits, &mut text);
            text.into_bytes().into()
        };
        let texts: Vec<ByteArray> = cards.iter().filter(|bits| **bits != 0).map(of_card).collect();
        let levels: Vec<i16> = cards.iter().map(|bits| i16::from(*bits != 0)).collect();
        let mut column = group.next_column().expect("columns").expect("the second");
        column.typed::<ByteArrayType>().write_batch(&texts, Some(&levels), None).expect("a column");
        column.close().expect("a column");
        group.close().expect("a group");
        writer.close().expect("a file");
    }

    /// How the pages of the first column are packed.
    fn encodings(path: &Path) -> Vec<Encoding> {
        let reader = SerializedFileReader::new(File::open(path).expect("a file")).expect("a reader");
        let group = reader.get_row_group(0).expect("a group");
        let pages = group.get_column_page_reader(0).expect("a column");
        let mut encodings: Vec<Encoding> = pages.map(|page| page.expect("a page").encoding()).collect();
        encodings.dedup();
        encodings
    }

    #[test]
    fn texts_are_read_however_they_are_packed() {
        use Encoding::{DELTA_BYTE_ARRAY, DELTA_LENGTH_BYTE_ARRAY, PLAIN, RLE_DICTIONARY};
        let mut random = fastrand::Rng::with_seed(7);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file.parquet");
        // Some come again and again.
        let addresses: Vec<u128> = (0..9000).map(|_| random.u128(..) >> random.u32(1..128)).collect();
        let cards: Vec<u64> = (0..9000).map(|_| [0, 1, random.u64(..1 << 48)][random.usize(..3)]).collect();
        let packed = [
            // A dictionary, and what is no longer in it.
            (None, vec![PLAIN, RLE_DICTIONARY, PLAIN]),
            (Some(PLAIN), vec![PLAIN]),
            (Some(DELTA_LENGTH_BYTE_ARRAY), vec![DELTA_LENGTH_BYTE_ARRAY]),
            (Some(DELTA_BYTE_ARRAY), vec![DELTA_BYTE_ARRAY]),
        ];
        for (version, (encoding, pages)) in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0]
            .iter()
            .flat_map(|version| packed.iter().map(move |packed| (version, packed)))
        {
            let properties = WriterProperties::builder()
                .set_writer_version(*version)
                .set_data_page_row_count_limit(700)
                .set_write_batch_size(100)
                .set_dictionary_page_size_limit(50_000);
            let properties = match encoding {
                Some(encoding) => properties.set_dictionary_enabled(false).set_encoding(*encoding),
                None => properties.set_encoding(PLAIN),
            };
            write(&path, &addresses, &cards, properties.build());
            assert_eq!(encodings(&path), *pages);
            let reader = Reader::<Flows>::open(&path).expect("a file");
            let columns = ["sourceIPAddress", "sourceMacAddress"].map(|name| Flows::index_of(name).expect("a column"));
            let mut flows = Flows::default();
            reader.read(0, columns.into_iter(), &mut flows).expect("columns");
            assert_eq!((&flows.source, &flows.source_mac), (&addresses, &cards));
            for one_of in [1, 3, 50, 2000, 20_000] {
                let wanted: Vec<usize> = (0..addresses.len()).filter(|_| random.usize(..one_of) == 0).collect();
                let mut some = Flows::default();
                reader.read_some(0, columns.into_iter(), &wanted, &mut some).expect("columns");
                assert_eq!((some.source.len(), some.source_mac.len()), (addresses.len(), cards.len()));
                for row in wanted {
                    assert_eq!((some.source[row], some.source_mac[row]), (addresses[row], cards[row]));
                }
            }
        }
    }
}
