//! `flowprobe top`: a live view of what a running daemon meters, over its HTTP API.
//!
//! The state and what keys do to it ([`app`]) know neither the terminal nor the network and are handed the time; [`client`]
//! asks the daemon, [`draw`] puts the state onto a terminal, and [`run`] wires them.

mod api;
mod app;
mod cli;
mod client;
mod draw;
#[cfg(test)]
mod example;
mod layout;
mod panel;
mod run;
mod table;
mod text;

pub use cli::{STANDARD_URL, TopArgs, TopError};
pub use client::ClientError;
pub use run::run;
