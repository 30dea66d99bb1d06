//! How much is remembered of exporters, and for how long.

use std::time::Duration;

/// How much is remembered of exporters, and for how long.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Addresses.
    pub addresses: usize,
    /// Transport sessions of an address, and observation domains of it.
    pub sessions: usize,
    /// Templates of a session.
    pub templates: usize,
    /// Fields of a template.
    pub fields: usize,
    /// Octets of an address's templates and sessions, and of what its options records have taught.
    pub state_octets: usize,
    /// The same of all addresses. More than of one.
    pub state_octets_of_all: usize,
    /// How long a set waits for its template.
    pub held_for: Duration,
    /// Octets of a session's sets that wait.
    pub held_octets: usize,
    /// The same of all sessions.
    pub held_octets_of_all: usize,
    /// How long a template that came in a datagram is good without having been told again (RFC 7011 section 8.4).
    pub templates_for: Duration,
    /// How long an address is remembered from which nothing comes.
    pub idle_for: Duration,
    /// How often templates that are no longer good are looked for.
    pub sweep_every: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            addresses: 16_384,
            sessions: 1024,
            templates: 4096,
            fields: 1024,
            state_octets: 16 << 20,
            state_octets_of_all: 128 << 20,
            held_for: Duration::from_secs(30),
            held_octets: 64 << 10,
            held_octets_of_all: 8 << 20,
            templates_for: Duration::from_secs(2 * 3600),
            idle_for: Duration::from_secs(24 * 3600),
            sweep_every: Duration::from_secs(60),
        }
    }
}
