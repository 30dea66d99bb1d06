//! Lists of addresses out of files: plain text, comma- or tab-separated columns, FireHOL's netsets and ipsets, `ipset save`. An odd line is
//! counted and said; it never costs the others.

use std::fmt;

use hashbrown::HashMap;

use super::address::{ADDRESS, Block};
use super::columns::{Columns, fields};

/// Octets of the longest line that is looked at.
const LINE: usize = 4096;
const SHORTER: &str = "a line of at most 4,096 octets";

/// Entries of one list; a limit so that numbers of ranges fit in 32 bits.
const MOST: usize = 1 << 26;
const FEWER: &str = "at most 67,108,864 entries";

/// Refused lines that are shown.
const SHOWN: usize = 5;

/// Different reasons and scores of one list, and octets of reasons; what comes after has none.
const NOTES: usize = 1 << 20;
const TEXTS: usize = 64 << 20;

/// Characters of a reason.
const REASON: usize = 120;

/// Why an address is listed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Note {
    pub(super) score: Option<f32>,
    /// Empty where nothing is said.
    pub(super) reason: Box<str>,
}

/// A line that holds no entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its number, from 1 on.
    pub line: u64,
    /// How it begins.
    pub found: String,
    /// What would have been right there.
    pub expected: &'static str,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: \"{}\" is not {}", self.line, self.found, self.expected)
    }
}

/// What a file holds.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    /// First address, last address, index into `notes`.
    pub(super) v4: Vec<(u32, u32, u32)>,
    /// The same of IPv6.
    pub(super) v6: Vec<(u128, u128, u32)>,
    /// Without score and reason first.
    pub(super) notes: Vec<Note>,
    /// By a FireHOL header, or `ipset save`.
    pub name: Option<String>,
    /// By a FireHOL header, such as `malware`.
    pub category: Option<String>,
    /// By a FireHOL header.
    pub maintainer: Option<String>,
    /// Lines in which nothing was listed that should have been.
    pub refused: u64,
    /// The first 5 of them.
    pub refusals: Vec<Refusal>,
    /// Entries that were left out because their score is lower than the smallest that counts.
    pub below: u64,
    /// Entries without a score although there is a smallest that counts. They count.
    pub unscored: u64,
    /// Entries whose reason there was no room for.
    pub unexplained: u64,
}

impl Parsed {
    /// Entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Whether nothing is listed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A file that has no entry, and not because it is an empty list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NothingListed {
    /// Lines that were refused; 0 where the file is empty.
    pub refused: u64,
    /// The first 5 of them.
    pub refusals: Vec<Refusal>,
}

impl fmt::Display for NothingListed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.refused == 0 {
            return f.write_str("is empty: expected addresses or networks, one a line, or comments");
        }
        write!(f, "has no entry; {} lines were refused", self.refused)?;
        self.refusals.iter().try_for_each(|refusal| write!(f, "; {refusal}"))
    }
}

impl std::error::Error for NothingListed {}

/// Reads a list. Entries with a score below `minimum_score` are left out; those without a score are not. A list of comments only is empty;
/// a file in which nothing can be read, and one of no octets, is an error.
pub fn parse(bytes: &[u8], minimum_score: Option<f64>) -> Result<Parsed, NothingListed> {
    parse_with(bytes, minimum_score, NOTES)
}

/// With room for so many notes.
fn parse_with(bytes: &[u8], minimum_score: Option<f64>, most_notes: usize) -> Result<Parsed, NothingListed> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = Reader {
        columns: Columns::find(bytes),
        out: Parsed { notes: vec![Note::default()], ..Parsed::default() },
        minimum_score,
        most_notes,
        known: HashMap::new(),
        key: Vec::new(),
        texts: 0,
    };
    let (mut row, mut reason) = (Vec::new(), Vec::new());
    let mut number = 0;
    let mut has_comments = false;
    for line in bytes.split(|byte| *byte == b'\n') {
        number += 1;
        let line = line.trim_ascii();
        match line {
            [] => continue,
            [b'#' | b';', comment @ ..] | [b'/', b'/', comment @ ..] => {
                has_comments = true;
                if reader.out.is_empty() {
                    reader.header(comment);
                }
                continue;
            }
            _ => {}
        }
        let is_header = reader.columns.header == Some(number);
        let taken = if is_header {
            Ok(())
        } else if line.len() > LINE {
            Err(SHORTER)
        } else if reader.columns.delimiter.is_some() {
            reader.row(line, &mut row, &mut reason)
        } else {
            reader.plain(line)
        };
        if let Err(expected) = taken {
            reader.out.refuse(number, line, expected);
        }
    }
    let Parsed { refused, below, .. } = reader.out;
    if reader.out.is_empty() && below == 0 && (refused > 0 || !has_comments && reader.columns.header.is_none()) {
        return Err(NothingListed { refused, refusals: reader.out.refusals });
    }
    Ok(reader.out)
}

impl Parsed {
    fn refuse(&mut self, line: u64, text: &[u8], expected: &'static str) {
        self.refused += 1;
        if self.refusals.len() < SHOWN {
            let found = shown(&text[..text.len().min(160)], 40).unwrap_or_default();
            self.refusals.push(Refusal { line, found, expected });
        }
    }
}

struct Reader {
    columns: Columns,
    out: Parsed,
    minimum_score: Option<f64>,
    most_notes: usize,
    /// Score and reason as they are in the file, to the index of the note.
    known: HashMap<Vec<u8>, u32>,
    key: Vec<u8>,
    texts: usize,
}

impl Reader {
    /// A comment before the first entry: FireHOL's say the name alone in a line, then `Maintainer : …` and `Category : …`.
    fn header(&mut self, comment: &[u8]) {
        let comment = comment[..comment.len().min(LINE)].trim_ascii();
        let is_word = |text: &[u8]| text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(byte));
        if let Some(colon) = comment.iter().position(|byte| *byte == b':') {
            let value = || shown(&comment[colon + 1..], REASON);
            match comment[..colon].trim_ascii().to_ascii_lowercase().as_slice() {
                b"category" => self.out.category = value(),
                b"maintainer" => self.out.maintainer = value(),
                _ => {}
            }
        } else if self.out.name.is_none() && self.out.category.is_none() && is_word(comment) {
            self.out.name = shown(comment, REASON).filter(|name| name.contains(|c: char| c.is_ascii_alphabetic()));
        }
    }

    /// A line of columns.
    fn row<'a>(&mut self, line: &'a [u8], row: &mut Vec<&'a [u8]>, reason: &mut Vec<u8>) -> Result<(), &'static str> {
        fields(line, self.columns.delimiter.unwrap_or(b','), row);
        let field = |index: usize| row.get(index).copied().unwrap_or_default();
        let mut block = Block::parse(field(self.columns.address))?;
        if let Some(last) = self.columns.last {
            block = block.to(Block::parse(field(last))?)?;
        }
        reason.clear();
        for text in self.columns.reasons.iter().map(|index| field(*index)).filter(|text| !text.is_empty()) {
            if !reason.is_empty() {
                reason.extend_from_slice(b", ");
            }
            reason.extend_from_slice(text);
        }
        let score = self.columns.score.and_then(|index| score(field(index)));
        self.list(block, score, reason)
    }

    /// A line without columns: an entry, and perhaps a score, a text or a comment after it.
    fn plain(&mut self, line: &[u8]) -> Result<(), &'static str> {
        let (body, comment) = match line.iter().position(|byte| matches!(byte, b'#' | b';')) {
            Some(at) => (line[..at].trim_ascii_end(), line[at + 1..].trim_ascii()),
            None => (line, &[][..]),
        };
        let Some(space) = body.iter().position(u8::is_ascii_whitespace) else {
            return self.list(Block::parse(body)?, None, comment);
        };
        let (first, rest) = (&body[..space], body[space..].trim_ascii());
        match first {
            b"add" => {
                let mut words = rest.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
                self.list(Block::parse(words.nth(1).ok_or(ADDRESS)?)?, None, comment)
            }
            b"create" => {
                let name = rest.split(u8::is_ascii_whitespace).next().and_then(|name| shown(name, REASON));
                self.out.name = self.out.name.take().or(name);
                Ok(())
            }
            _ if rest.starts_with(b"-") || rest.starts_with(b"/") || first.ends_with(b"-") => {
                self.list(Block::parse(body)?, None, comment)
            }
            _ => {
                let block = Block::parse(first)?;
                let score = score(rest);
                let reason = if score.is_some() || !comment.is_empty() { comment } else { rest };
                self.list(block, score, reason)
            }
        }
    }

    fn list(&mut self, block: Block, score: Option<f64>, reason: &[u8]) -> Result<(), &'static str> {
        match (self.minimum_score, score) {
            (Some(minimum), Some(score)) if score < minimum => {
                self.out.below += 1;
                return Ok(());
            }
            (Some(_), None) => self.out.unscored += 1,
            _ => {}
        }
        if self.out.len() >= MOST {
            return Err(FEWER);
        }
        let note = self.note(score, reason);
        match block {
            Block::V4(first, last) => self.out.v4.push((first, last, note)),
            Block::V6(first, last) => self.out.v6.push((first, last, note)),
        }
        Ok(())
    }

    /// The index of a note, a new one where it is not known.
    #[expect(clippy::cast_possible_truncation, reason = "scores to seven digits")]
    fn note(&mut self, score: Option<f64>, reason: &[u8]) -> u32 {
        if score.is_none() && reason.is_empty() {
            return 0;
        }
        let score = score.map(|score| score as f32);
        self.key.clear();
        self.key.extend_from_slice(&score.unwrap_or(f32::NAN).to_bits().to_ne_bytes());
        self.key.extend_from_slice(reason);
        if let Some(known) = self.known.get(&self.key) {
            return *known;
        }
        if self.out.notes.len() >= self.most_notes || self.texts + self.key.len() > TEXTS {
            self.out.unexplained += 1;
            return 0;
        }
        self.texts += self.key.len();
        let index = u32::try_from(self.out.notes.len()).unwrap_or(0);
        self.out.notes.push(Note { score, reason: shown(reason, REASON).unwrap_or_default().into() });
        self.known.insert(self.key.clone(), index);
        index
    }
}

/// A number that is a score.
pub(super) fn score(text: &[u8]) -> Option<f64> {
    let number: f64 = str::from_utf8(text).ok()?.trim_ascii().parse().ok()?;
    number.is_finite().then_some(number)
}

/// Text as it may be shown: at most so many characters, none of them control characters; none where nothing is left.
fn shown(text: &[u8], most: usize) -> Option<String> {
    let text = String::from_utf8_lossy(text);
    let clean: String = text
        .trim_matches(|c: char| c.is_whitespace() || c == '"')
        .chars()
        .take(most)
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .collect();
    (!clean.is_empty()).then_some(clean)
}

#[cfg(test)]
mod tests;
