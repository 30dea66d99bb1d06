//! Cuts the content of a Data Set into records.

use super::super::received::VARIABLE_LENGTH;
use super::super::template::Template;
use super::Fault;

/// How long the records of a template are, as far as that is known before they come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Octets of the shortest record; of every record where no length is variable. Never 0.
    least: usize,
    /// Octets of fixed length before each value of variable length.
    before: Box<[usize]>,
    /// Those behind the last one.
    behind: usize,
}

impl Layout {
    /// That of a template; `None` where its records would have no octets.
    #[must_use]
    pub fn of(template: &Template) -> Option<Self> {
        let least = template.least_octets();
        let (mut before, mut octets) = (Vec::new(), 0);
        for field in &template.fields {
            match field.length() {
                VARIABLE_LENGTH => before.push(std::mem::take(&mut octets)),
                length => octets += usize::from(length),
            }
        }
        (least > 0).then(|| Self { least, before: before.into(), behind: octets })
    }

    /// Walks the records of a Data Set.
    #[must_use]
    pub const fn records<'a>(&'a self, body: &'a [u8]) -> Records<'a> {
        Records { layout: self, rest: body }
    }

    /// Octets of the first record in `octets`; `None` where it does not end there.
    fn length(&self, octets: &[u8]) -> Option<usize> {
        let mut at = 0;
        for before in &self.before {
            at += before;
            let short = *octets.get(at)?;
            at += 1;
            // RFC 7011 section 7: one octet, or three.
            if short < 255 {
                at += usize::from(short);
            } else {
                let long = octets.get(at..)?.first_chunk()?;
                at += 2 + usize::from(u16::from_be_bytes(*long));
            }
        }
        at += self.behind;
        (at <= octets.len()).then_some(at)
    }
}

/// Walks the records of a Data Set. What is left and is shorter than the shortest record is padding: octets that are 0, or too
/// few to mean anything.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    layout: &'a Layout,
    rest: &'a [u8],
}

/// Sets are padded to a multiple of four octets, and what fills them need not be zeros.
const MOST_PADDING: usize = 3;

impl<'a> Iterator for Records<'a> {
    type Item = Result<&'a [u8], Fault>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let layout = self.layout;
        let length = if self.rest.len() < layout.least {
            let rest = std::mem::take(&mut self.rest);
            let padding = rest.len() <= MOST_PADDING || rest.iter().all(|&octet| octet == 0);
            return (!padding).then_some(Err(Fault::ShortRecord));
        } else if layout.before.is_empty() {
            Some(layout.least)
        } else {
            layout.length(self.rest)
        };
        let cut = length.and_then(|length| self.rest.split_at_checked(length));
        let (record, rest) = cut.unzip();
        self.rest = rest.unwrap_or_default();
        Some(record.ok_or(Fault::ShortRecord))
    }
}
