//! Text into tokens.

use super::FilterError;
use super::error::unexpected;

/// A word or a symbol, as it was written; the end of the text is the empty token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) text: &'a str,
    /// Where it begins, in characters from 1.
    pub(super) column: usize,
}

/// Longest first, so that `==` is not two `=`.
const SYMBOLS: [&str; 23] = [
    "&&", "||", "==", "!=", "<=", ">=", "<<", ">>", "(", ")", "[", "]", "!", "&", "|", "=", "<", ">", "/", "+", "*",
    "%", "^",
];

/// Splits `text`. The last token is the end.
///
/// Addresses, ranges (`80-90`) and names (`tcp-syn`) are words; a word may begin with `\`, as pcap writes names that are
/// keywords too.
pub(super) fn tokens(text: &str) -> Result<Vec<Token<'_>>, FilterError> {
    let mut tokens = Vec::new();
    let (mut rest, mut column) = (text, 1);
    loop {
        let trimmed = rest.trim_start();
        column += rest.chars().count() - trimmed.chars().count();
        rest = trimmed;
        let length = length(rest);
        let (token, after) = rest.split_at(length);
        tokens.push(Token { text: token, column });
        if rest.is_empty() {
            return Ok(tokens);
        }
        if length == 0 {
            let end = rest.chars().next().map_or(0, char::len_utf8);
            return Err(unexpected(Token { text: &rest[..end], column }, "a word, a number or an operator"));
        }
        column += token.chars().count();
        rest = after;
    }
}

/// Octets of the token at the beginning of `text`; 0 where no token begins so.
fn length(text: &str) -> usize {
    if let Some(symbol) = SYMBOLS.iter().find(|symbol| text.starts_with(**symbol)) {
        return symbol.len();
    }
    let escape = usize::from(text.starts_with('\\'));
    let word = text[escape..].find(|c: char| !is_of_word(c)).unwrap_or(text.len() - escape);
    if word == 0 { 0 } else { escape + word }
}

const fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '-' | '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<&str> {
        tokens(text).expect("tokens").into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn words_and_symbols() {
        assert_eq!(texts("!(tcp[13:1]&2!=0)"), ["!", "(", "tcp", "[", "13:1", "]", "&", "2", "!=", "0", ")", ""]);
        assert_eq!(
            texts(r"ip proto \tcp&&net 2001:db8::/32"),
            ["ip", "proto", r"\tcp", "&&", "net", "2001:db8::", "/", "32", ""]
        );
        assert_eq!(texts("  "), [""]);
    }

    #[test]
    fn columns_are_characters() {
        let columns: Vec<usize> = tokens(" a\tor  b").expect("tokens").iter().map(|token| token.column).collect();
        assert_eq!(columns, [2, 4, 8, 9]);
        let error = tokens("host ü").expect_err("no token").to_string();
        assert_eq!(error, "column 6: expected a word, a number or an operator, found `ü`");
        assert!(tokens(r"proto \ tcp").is_err());
    }
}
