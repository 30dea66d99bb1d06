//! Tokens into an expression.
//!
//! The grammar is pcap's: `not` binds closest; `and` and `or` bind alike and from the left; a bare address or number takes
//! the qualifiers of the primitive before it (`tcp port 80 or 443`). What is in front of a value is read in `primitive`.

use super::FilterError;
use super::ast::Expression;
use super::error::unexpected;
use super::lexer::{self, Token};
use super::primitive::Qualifiers;

/// Parentheses, negations and changes between `and` and `or` in one expression. Every one makes the expression deeper, and
/// no filter that fits into its tests needs nearly as many.
const MOST_NESTING: usize = 256;

/// The expression that `text` says; `None` where it says nothing.
pub(super) fn parse(text: &str) -> Result<Option<Expression>, FilterError> {
    let mut parser =
        Parser { tokens: lexer::tokens(text)?, position: 0, nesting: 0, qualifiers: Qualifiers::default() };
    if parser.peek().text.is_empty() {
        return Ok(None);
    }
    let expression = parser.expression()?;
    let rest = parser.peek();
    if rest.text.is_empty() { Ok(Some(expression)) } else { Err(unexpected(rest, "`and`, `or` or the end")) }
}

/// Where the parser is in the tokens.
pub(super) struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    position: usize,
    nesting: usize,
    /// What a bare value is.
    pub(super) qualifiers: Qualifiers,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Junction {
    And,
    Or,
}

impl<'a> Parser<'a> {
    /// Terms joined by `and` and `or`.
    pub(super) fn expression(&mut self) -> Result<Expression, FilterError> {
        let mut expression = self.term()?;
        let mut before = None;
        while let Some((junction, token)) = self.junction() {
            if before.is_some_and(|before| before != junction) {
                self.nest(token)?;
            }
            before = Some(junction);
            let term = self.term()?;
            expression = match junction {
                Junction::And => expression.and(term),
                Junction::Or => expression.or(term),
            };
        }
        Ok(expression)
    }

    fn junction(&mut self) -> Option<(Junction, Token<'a>)> {
        let token = self.peek();
        let junction = match token.text {
            "and" | "&&" => Junction::And,
            "or" | "||" => Junction::Or,
            _ => return None,
        };
        self.next();
        Some((junction, token))
    }

    fn term(&mut self) -> Result<Expression, FilterError> {
        if let Some(not) = self.take("not").or_else(|| self.take("!")) {
            self.nest(not)?;
            return Ok(Expression::Not(Box::new(self.term()?)));
        }
        if self.peek().text != "(" {
            return self.primitive();
        }
        if self.is_operand_in_parentheses() {
            return Ok(Expression::Is(self.comparison()?));
        }
        self.group()
    }

    /// An expression in parentheses. Bare values after it are what they were before it.
    pub(super) fn group(&mut self) -> Result<Expression, FilterError> {
        let open = self.next();
        self.nest(open)?;
        let qualifiers = self.qualifiers;
        let expression = self.expression()?;
        self.expect(")", "`and`, `or` or `)`")?;
        self.qualifiers = qualifiers;
        Ok(expression)
    }

    /// Counts what makes the expression deeper: whoever walks it later does so by recursion.
    pub(super) fn nest(&mut self, token: Token<'a>) -> Result<(), FilterError> {
        self.nesting += 1;
        if self.nesting > MOST_NESTING {
            return Err(FilterError::TooNested { column: token.column, most: MOST_NESTING });
        }
        Ok(())
    }

    /// The token to come.
    pub(super) fn peek(&self) -> Token<'a> {
        self.peek_after(0)
    }

    /// The token after the next `count`.
    pub(super) fn peek_after(&self, count: usize) -> Token<'a> {
        let end = Token { text: "", column: 1 };
        self.tokens.get(self.position + count).or(self.tokens.last()).copied().unwrap_or(end)
    }

    /// The token to come, which is then behind; there is no going beyond the end.
    pub(super) fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        self.position += 1;
        token
    }

    /// The token to come, if it is `text`, which is then behind.
    pub(super) fn take(&mut self, text: &str) -> Option<Token<'a>> {
        (self.peek().text == text).then(|| self.next())
    }

    pub(super) fn expect(&mut self, text: &str, expected: &'static str) -> Result<(), FilterError> {
        let token = self.next();
        if token.text == text { Ok(()) } else { Err(unexpected(token, expected)) }
    }

    pub(super) const fn position(&self) -> (usize, usize) {
        (self.position, self.nesting)
    }

    pub(super) const fn go_back(&mut self, (position, nesting): (usize, usize)) {
        self.position = position;
        self.nesting = nesting;
    }
}
