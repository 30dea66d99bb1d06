//! What may be wrong with an expression.

use flowprobe_ebpf::filter::MAX_TESTS;
use thiserror::Error;

use super::lexer::Token;

/// Why an expression is no filter. Each is one line; columns are characters and begin at 1.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FilterError {
    /// The grammar wants something else.
    #[error("column {column}: expected {expected}, found {found}")]
    Unexpected {
        /// Where.
        column: usize,
        /// What would have been right.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// pcap knows it, flows do not.
    #[error("column {column}: `{what}` cannot be a filter here: {why}")]
    Unsupported {
        /// Where.
        column: usize,
        /// The word or accessor.
        what: String,
        /// The reason, or what to write instead.
        why: &'static str,
    },
    /// More nesting than any filter that fits has.
    #[error("column {column}: more than {most} parentheses, negations and changes between `and` and `or`")]
    TooNested {
        /// Where the first too many stands.
        column: usize,
        /// How many there may be.
        most: usize,
    },
    /// The graph has no room for it.
    #[error("it needs {needed} tests, and a filter has room for {MAX_TESTS}")]
    TooLong {
        /// Tests of the whole expression.
        needed: usize,
    },
}

/// The error that `token` is not what was `expected`.
pub(super) fn unexpected(token: Token<'_>, expected: &'static str) -> FilterError {
    let found = if token.text.is_empty() { "the end".to_owned() } else { format!("`{}`", token.text.escape_debug()) };
    FilterError::Unexpected { column: token.column, expected, found }
}

/// The error that `what`, at `token`, is beyond this filter.
pub(super) fn unsupported(token: Token<'_>, what: impl Into<String>, why: &'static str) -> FilterError {
    FilterError::Unsupported { column: token.column, what: what.into(), why }
}
