//! What detectors remember with: bounded tables, counts of what is distinct or heavy, sliding windows, and what is usual.

pub(crate) mod baseline;
pub(crate) mod distinct;
pub(crate) mod hash;
pub(crate) mod heavy;
pub(crate) mod recent;
pub(crate) mod two;
pub(crate) mod window;
