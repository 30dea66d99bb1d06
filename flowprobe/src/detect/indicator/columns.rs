//! Which column of a list holds what.

use super::address::Block;
use super::parse::score;

/// Lines that are looked at before it is decided, and octets.
const LINES: usize = 64;
const OCTETS: usize = 1 << 18;

/// Names of columns in lower case, without anything but letters and digits.
const ADDRESSES: [&str; 19] = [
    "ip",
    "ipaddress",
    "address",
    "network",
    "cidr",
    "netblock",
    "prefix",
    "indicator",
    "ioc",
    "iocvalue",
    "dstip",
    "srcip",
    "destinationip",
    "sourceip",
    "ipv4",
    "ipv6",
    "host",
    "iporcidr",
    "value",
];
const FIRSTS: [&str; 6] = ["start", "startip", "first", "firstip", "from", "ipfrom"];
const LASTS: [&str; 6] = ["end", "endip", "last", "lastip", "to", "ipto"];
const SCORES: [&str; 8] = [
    "score",
    "confidence",
    "confidencelevel",
    "abuseconfidencescore",
    "riskscore",
    "threatscore",
    "weight",
    "severityscore",
];
const REASONS: [&str; 15] = [
    "category",
    "description",
    "reason",
    "malware",
    "malwareprintable",
    "threat",
    "threattype",
    "type",
    "tag",
    "tags",
    "comment",
    "note",
    "family",
    "title",
    "classification",
];

/// Reasons that are put together.
const MOST_REASONS: usize = 3;

/// The columns of a list; without a delimiter there are none.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) delimiter: Option<u8>,
    pub(super) address: usize,
    /// Where `address` is the first of a range, the column of its last.
    pub(super) last: Option<usize>,
    pub(super) score: Option<usize>,
    pub(super) reasons: Vec<usize>,
    /// The number of the line that says so, from 1 on, unless that is a comment.
    pub(super) header: Option<u64>,
}

impl Columns {
    /// Finds them out by a header, which may be a comment, else by the first lines.
    pub(super) fn find(bytes: &[u8]) -> Self {
        let mut sample: Vec<(u64, &[u8])> = Vec::new();
        let mut comment: Option<&[u8]> = None;
        let mut bytes = &bytes[..bytes.len().min(OCTETS)];
        // A line that is cut off says nothing, unless it is all there is.
        if bytes.len() == OCTETS {
            bytes = &bytes[..bytes.iter().rposition(|byte| *byte == b'\n').unwrap_or(0)];
        }
        for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
            match line.trim_ascii() {
                [] => {}
                [b'#', text @ ..] if sample.is_empty() => {
                    let is_header = [b'\t', b','].into_iter().any(|delimiter| names(text, delimiter).is_some());
                    comment = if is_header { Some(text) } else { comment };
                }
                [b'#' | b';', ..] => {}
                line => sample.push((number, line)),
            }
            if sample.len() >= LINES {
                break;
            }
        }
        let Some((number, first)) = sample.first().copied() else { return Self::default() };
        let is_name = !first.contains(&b',') && is_one_of(&ADDRESSES, &plain_name(first));
        // Semicolons begin comments, unless a header says otherwise.
        let delimiter = match names(first, b';') {
            Some(_) => Some(b';'),
            None => delimiter(&sample),
        };
        let header = delimiter.and_then(|delimiter| names(first, delimiter)).map(|names| (names, Some(number)));
        let from_comment = || Some((names(comment?, delimiter?)?, None));
        match (delimiter, header.or_else(from_comment)) {
            (None, _) => Self { header: is_name.then_some(number), ..Self::default() },
            (Some(delimiter), Some((names, header))) => Self::named(&names, delimiter, header, &sample),
            (Some(delimiter), None) => Self::unnamed(delimiter, &sample),
        }
    }

    fn named(names: &[String], delimiter: u8, header: Option<u64>, sample: &[(u64, &[u8])]) -> Self {
        let with = |known: &[&str]| names.iter().position(|name| is_one_of(known, name));
        let rows = || sample.iter().filter(|(number, _)| Some(*number) != header);
        let listed = |column: usize| rows().filter(|(_, line)| is_address(line, delimiter, column)).count();
        let candidates = (0..names.len()).filter(|column| is_one_of(&ADDRESSES, &names[*column]));
        // Of those with the most addresses the first.
        let named = candidates
            .map(|column| (listed(column), column))
            .max_by_key(|(count, column)| (*count, usize::MAX - column));
        let (address, last) = match (named, with(&FIRSTS), with(&LASTS)) {
            (Some((count, column)), ..) if count > 0 => (column, None),
            (_, Some(first), Some(last)) => (first, Some(last)),
            (Some((_, column)), ..) => (first_address(delimiter, sample).unwrap_or(column), None),
            _ => (first_address(delimiter, sample).unwrap_or(0), None),
        };
        let reasons = (0..names.len()).filter(|column| *column != address && is_one_of(&REASONS, &names[*column]));
        Self {
            delimiter: Some(delimiter),
            address,
            last,
            score: with(&SCORES),
            reasons: reasons.take(MOST_REASONS).collect(),
            header,
        }
    }

    fn unnamed(delimiter: u8, sample: &[(u64, &[u8])]) -> Self {
        let address = first_address(delimiter, sample).unwrap_or(0);
        let mut columns = Self { delimiter: Some(delimiter), address, ..Self::default() };
        let mut row = Vec::new();
        let Some((_, line)) = sample.iter().find(|(_, line)| is_address(line, delimiter, address)) else {
            return columns;
        };
        fields(line, delimiter, &mut row);
        let other = 1 - address.min(1);
        if row.len() == 2 && score(row[other]).is_some() {
            columns.score = Some(other);
            return columns;
        }
        // A text: neither a number nor a time nor an address, as the first line has it.
        let is_text = |text: &[u8]| {
            text.iter().any(u8::is_ascii_alphabetic) && !text[0].is_ascii_digit() && Block::parse(text).is_err()
        };
        columns.reasons.extend((0..row.len()).find(|column| *column != address && is_text(row[*column])));
        columns
    }
}

/// The delimiter of at least half of the lines, if there is one.
fn delimiter(sample: &[(u64, &[u8])]) -> Option<u8> {
    [b'\t', b','].into_iter().find(|delimiter| {
        let has =
            |line: &&[u8]| line.iter().take_while(|byte| !matches!(byte, b'#' | b';')).any(|byte| byte == delimiter);
        // The header and what is not an entry may be otherwise.
        sample.iter().filter(|(_, line)| has(line)).count() * 2 >= sample.len()
    })
}

/// The first column that has an address, in the first line that has one.
fn first_address(delimiter: u8, sample: &[(u64, &[u8])]) -> Option<usize> {
    let mut row = Vec::new();
    sample.iter().find_map(|(_, line)| {
        fields(line, delimiter, &mut row);
        row.iter().position(|field| Block::parse(field).is_ok())
    })
}

fn is_address(line: &[u8], delimiter: u8, column: usize) -> bool {
    let mut row = Vec::new();
    fields(line, delimiter, &mut row);
    row.get(column).is_some_and(|field| Block::parse(field).is_ok())
}

/// The names of columns, where a line has two or more and one of them is of addresses.
fn names(line: &[u8], delimiter: u8) -> Option<Vec<String>> {
    let mut row = Vec::new();
    fields(line.trim_ascii(), delimiter, &mut row);
    if row.len() < 2 || row.iter().any(|field| field.len() > 60 || Block::parse(field).is_ok()) {
        return None;
    }
    let names: Vec<String> = row.iter().map(|field| plain_name(field)).collect();
    let has = |known: &[&str]| names.iter().any(|name| is_one_of(known, name));
    (has(&ADDRESSES) || has(&FIRSTS) && has(&LASTS)).then_some(names)
}

fn plain_name(text: &[u8]) -> String {
    text.iter()
        .take(60)
        .filter(|byte| byte.is_ascii_alphanumeric())
        .map(|byte| char::from(byte.to_ascii_lowercase()))
        .collect()
}

fn is_one_of(known: &[&str], name: &str) -> bool {
    known.contains(&name)
}

/// The fields of a line, without the quotation marks and the space around them. A quotation mark that is not closed ends with its line, so
/// that it costs no other.
pub(super) fn fields<'a>(line: &'a [u8], delimiter: u8, out: &mut Vec<&'a [u8]>) {
    out.clear();
    let mut rest = line;
    loop {
        let start =
            rest.iter().position(|byte| *byte == delimiter || !byte.is_ascii_whitespace()).unwrap_or(rest.len());
        // Behind the closing quotation mark; two of them are one of the text.
        let mut from = 0;
        if rest.get(start) == Some(&b'"') {
            from = start + 1;
            while let Some(close) = rest[from..].iter().position(|byte| *byte == b'"') {
                from += close + 1;
                if rest.get(from) != Some(&b'"') {
                    break;
                }
                from += 1;
            }
        }
        let end = rest[from..].iter().position(|byte| *byte == delimiter).map(|at| from + at);
        let field = rest[..end.unwrap_or(rest.len())].trim_ascii();
        out.push(
            field.strip_prefix(b"\"").map_or(field, |field| field.strip_suffix(b"\"").unwrap_or(field)).trim_ascii(),
        );
        match end {
            Some(end) => rest = &rest[end + 1..],
            None => return,
        }
    }
}
