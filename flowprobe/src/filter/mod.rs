//! The packet filter's language: an expression in the syntax of `pcap-filter(7)` becomes the decision graph that the kernel
//! programs and the replay evaluate.
//!
//! ```text
//! text ─ lexer ─► tokens ─ parser ─► Expression ─ compiler ─► Filter
//!              primitive, operand, names        lower
//! ```
//!
//! What can be said and what differs from pcap is in `docs/filter.md`.

mod address;
mod ast;
mod compiler;
mod error;
mod lexer;
mod lower;
mod names;
mod operand;
mod parser;
mod primitive;

#[cfg(test)]
mod tests;

pub use error::FilterError;

use flowprobe_ebpf::Filter;

/// Services that everybody writes by name, and their ports.
pub(crate) fn well_known_services() -> impl Iterator<Item = (&'static str, u16)> {
    names::services()
}

/// Compiles an expression. An empty one accepts every packet.
///
/// # Errors
/// The text is no expression, says what a flow cannot be asked, or needs more tests than a filter has room for.
pub fn compile(text: &str) -> Result<Filter, FilterError> {
    match parser::parse(text)? {
        Some(expression) => compiler::compile(&expression),
        None => Ok(Filter::default()),
    }
}
