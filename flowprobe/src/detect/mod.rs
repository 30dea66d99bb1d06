//! What looks wrong. Detectors are pure: they are handed flows and the time, and say what they see; sightings become findings.
//!
//! A flow goes to the detectors as it is, and into the [`connection`]s, which tell them what has become of an attempt and what a
//! conversation came to.

pub mod amplification;
pub mod beacon;
pub mod capacity;
pub mod connection;
pub mod device;
pub mod dhcp;
pub mod dns_tunnel;
mod engine;
pub mod exfiltration;
pub mod finding;
pub mod findings;
pub mod flow;
pub mod fragments;
pub mod gateway;
pub mod handed;
pub mod icmp_flood;
pub mod icmp_tunnel;
pub mod indicator;
pub mod lateral;
pub mod long_lived;
pub mod outward;
pub mod policy;
pub mod probes;
pub mod scan;
pub mod service;
pub mod settings;
pub mod site;
pub(crate) mod sketch;
pub mod small_flows;
pub mod suppress;
pub mod syn_flood;
pub mod udp_flood;
pub(crate) mod victim;
pub mod volume;
pub(crate) mod words;

use connection::{Connection, Outcome};
pub use engine::{Detection, Load, Outside, RULES, Settings};
use finding::Seen;
use flow::Flow;
pub(crate) use service::in_words;
pub use service::{Board, Condition, Feed, FindingsArgs, Interfaces, Stage, print};
use site::Site;

/// What every detector may look at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    /// Who is inside.
    pub(crate) site: &'a Site,
    /// Milliseconds since 1970 UTC: of the wall clock, or of the capture that is read. It never goes back.
    pub(crate) now_ms: i64,
}

/// Something that looks for one thing.
pub(crate) trait Detector {
    /// A flow has gone by.
    fn flow(&mut self, _flow: &Flow, _context: Context<'_>, _seen: &mut Seen) {}

    /// It is known what has become of an attempt: once for each conversation, 5 to 10 seconds after it began.
    fn judged(&mut self, _connection: &Connection, _outcome: Outcome, _context: Context<'_>, _seen: &mut Seen) {}

    /// A conversation is over that was answered, or of which it is not known whether it was.
    fn over(&mut self, _connection: &Connection, _context: Context<'_>, _seen: &mut Seen) {}

    /// Time has gone by: called about once in 5 seconds of it.
    fn advance(&mut self, _context: Context<'_>, _seen: &mut Seen) {}

    /// So much time went by in which nobody looked, as between two captures: none of it is time in which something was learned.
    fn skip(&mut self, _ms: i64) {}

    /// Its name among what is kept, with the number of its layout.
    fn name(&self) -> &'static str;

    /// What it has learned, to be kept; nothing where that is of no use after a restart.
    fn learned(&self) -> Option<Vec<u8>> {
        None
    }

    /// Goes on with what was kept; whether it could be used.
    fn go_on_with(&mut self, _learned: &[u8]) -> bool {
        false
    }

    /// Entries in memory, and how many were forgotten for room.
    fn memory(&self) -> (usize, u64);
}
