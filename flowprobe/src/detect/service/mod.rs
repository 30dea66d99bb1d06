//! Detection as the daemon runs it: flows are fed to it, files of settings are watched, what was found is kept, shown and printed.

mod cli;
pub mod condition;
pub mod devices;
mod feed;
pub mod files;
pub mod json;
pub mod keep;
mod keeping;
mod stage;

pub(crate) use cli::in_words;
pub use cli::{FindingsArgs, print};
pub use condition::Condition;
pub use feed::{Feed, Interfaces};
pub use stage::{Board, Stage};
