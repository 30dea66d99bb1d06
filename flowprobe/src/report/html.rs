//! Markup, into which data gets only as text.

use std::fmt::{self, Display, Write as _};

/// A document that is being written. Markup is what stands in this program; all else is text, and cannot be anything else.
#[derive(Debug, Default)]
pub(super) struct Html {
    out: String,
}

impl Html {
    /// Markup as it is.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.out.push_str(markup);
        self
    }

    /// Text, or the value of an attribute between quotation marks: what would be markup is escaped.
    pub(super) fn text(&mut self, text: impl Display) -> &mut Self {
        // Writing to a string does not fail.
        let _ = write!(Escaped(&mut self.out), "{text}");
        self
    }

    /// The document.
    pub(super) fn finish(self) -> String {
        self.out
    }
}

struct Escaped<'a>(&'a mut String);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            match letter {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // Markup may not have them, and text needs none.
                letter if letter.is_control() && letter != '\n' => self.0.push(char::REPLACEMENT_CHARACTER),
                letter => self.0.push(letter),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_never_markup() {
        let mut html = Html::default();
        html.raw("<p title=\"").text("\" onload='x()").raw("\">").text("<script>&\u{0}\u{1b}[0m").raw("</p>");
        assert_eq!(html.finish(), "<p title=\"&quot; onload=&#39;x()\">&lt;script&gt;&amp;\u{fffd}\u{fffd}[0m</p>");
    }
}
