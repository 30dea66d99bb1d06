//! flowprobe's daemon: drains the kernel's flow maps into IPFIX and a summary on the terminal.
//!
//! A reader finds code by following a packet; the folders are the stages of its way:
//!
//! ```text
//! probe ─► (kernel) ─► drain ─► table ─► export  ─► collectors
//!                                   └──► output  ─► JSON lines
//!                        └────────────►  summary ─► terminal
//! exporters ─► collect ────────────────► all three
//! ```
//!
//! Before they leave, [`enrich`] adds to records what is known of their addresses.
//!
//! [`config`] is checked once, before anything starts; [`run`] wires the stages; [`accounting`] proves their numbers.

pub mod accounting;
pub mod alert;
pub mod busier;
pub mod cli;
pub mod clock;
pub mod collect;
pub mod config;
pub mod detect;
pub mod drain;
pub mod enrich;
pub mod export;
pub mod filter;
pub mod kernel;
pub mod ledger;
pub mod logging;
pub mod losses;
pub mod metering;
pub mod output;
pub mod probe;
pub mod query;
pub mod record;
pub mod reload;
pub mod replay;
pub mod report;
pub mod run;
pub mod sink;
pub mod stages;
pub mod status;
pub mod store;
pub mod summary;
pub mod table;
pub mod text;
pub mod top;
pub mod web;
