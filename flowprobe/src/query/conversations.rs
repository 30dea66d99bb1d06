//! Who talked to whom.

use std::net::IpAddr;

use hashbrown::HashMap;

use super::answer::{Answer, Cell, Unit};
use super::filter::Sieve;
use super::gather::{MOST, SIX, answer, counted, first, measured, merge, protocol_text, service_cell, six};
use super::names::{self, NamesOf};
use super::scan::{Gather, Notes, UseOfRollup, gather};
use super::{Request, Source, minutes};
use crate::store::file::FileFault;
use crate::store::flows::{Flows, ip, mapped};
use crate::store::rollup::{BothWays, Conversation, ConversationRows, Counts, Exchanged, Tally};

struct Conversations {
    tally: Tally<Conversation, Exchanged>,
    total: Counts,
}

impl Default for Conversations {
    fn default() -> Self {
        Self { tally: Tally::bounded(MOST), total: Counts::default() }
    }
}

impl Gather for Conversations {
    type Rollup = ConversationRows;

    fn use_of_rollup(&self, sieve: &Sieve) -> UseOfRollup {
        if sieve.is_of_protocols() { UseOfRollup::WholePeriods } else { UseOfRollup::Nothing }
    }

    fn fork(&self) -> Self {
        Self::default()
    }

    fn columns(&self) -> &'static [&'static str] {
        counted!(
            "sourceIPAddress",
            "destinationIPAddress",
            "protocolIdentifier",
            "sourceTransportPort",
            "destinationTransportPort",
            "flowStartMilliseconds"
        )
    }

    fn row(&mut self, flows: &Flows, row: usize) {
        let counts = Counts::of(flows, row);
        self.total += counts;
        let (key, exchanged) = Conversation::of(flows, row, counts);
        self.tally.add(key, exchanged);
    }

    fn summed(&mut self, sieve: &Sieve, _: i64, key: Conversation, value: Exchanged) {
        if sieve.passes_protocol(key.protocol) {
            self.total += value.both.sum();
            self.tally.add(key, value);
        }
    }

    fn join(&mut self, other: Self) {
        self.total += other.total;
        merge(&mut self.tally, other.tally);
    }
}

const OF_CONVERSATION: [(&str, Unit); 6] = [
    ("protocolIdentifier", Unit::Name),
    ("protocol", Unit::Name),
    ("port", Unit::Name),
    ("serviceName", Unit::Name),
    ("firstMilliseconds", Unit::Time),
    ("lastMilliseconds", Unit::Time),
];

/// Who talked to whom.
pub(super) fn conversations(source: Source<'_>, request: &Request) -> Result<Answer, FileFault> {
    let (Conversations { tally, total }, mut notes) = gather(source, request, &Conversations::default())?;
    notes.is_rough |= tally.is_rough;
    // What was forgotten belongs to the whole.
    let total = if notes.is_rough { minutes::total(source, request)?.0 } else { total };
    rows(source, request, &tally.counts, Seen { total, by: None }, notes)
}

/// The conversations of one address: what is sent is what it sent.
pub(super) fn of_host(source: Source<'_>, request: &Request, address: IpAddr) -> Result<Answer, FileFault> {
    let (Conversations { tally, total }, mut notes) = gather(source, request, &Conversations::default())?;
    notes.is_rough |= tally.is_rough;
    rows(source, request, &tally.counts, Seen { total, by: Some(mapped(address)) }, notes)
}

/// How conversations are seen.
pub(super) struct Seen {
    /// All that was counted.
    pub(super) total: Counts,
    /// By this of their ends, where they are not seen from outside.
    pub(super) by: Option<u128>,
}

/// The largest conversations by both of their ends; or as one address has them, by its peer.
pub(super) fn rows(
    source: Source<'_>,
    request: &Request,
    all: &HashMap<Conversation, Exchanged>,
    Seen { total, by }: Seen,
    notes: Notes,
) -> Result<Answer, FileFault> {
    let ends = if by.is_none() { ["client", "server"] } else { ["peer", "role"] };
    let columns: Vec<_> = ends.map(|end| (end, Unit::Name)).into_iter().chain(OF_CONVERSATION).chain(SIX).collect();
    let mut answer = answer(request, notes, total, all.len(), &columns);
    let named = if by.is_none() { &ends[..] } else { &ends[..1] };
    named.iter().for_each(|end| answer.columns.extend(names::columns(end)));
    let rows = first(all, request.top, |one| measured(one.both.sum(), request.by));
    let names = NamesOf::find(source, request, rows.iter().flat_map(|(key, _)| [key.client, key.server]), &mut answer)?;
    for (key, Exchanged { both, first_ms, last_ms }) in rows {
        let address = |bits| Cell::Text(ip(bits).to_string());
        let BothWays { sent, received } = both;
        let (ends, both, named) = match by {
            None => ([address(key.client), address(key.server)], both, vec![key.client, key.server]),
            Some(own) if own == key.client => {
                ([address(key.server), Cell::from("client".to_owned())], both, vec![key.server])
            }
            Some(_) => {
                let both = BothWays { sent: received, received: sent };
                ([address(key.client), Cell::from("server".to_owned())], both, vec![key.client])
            }
        };
        let service = [
            Cell::Number(key.protocol.into()),
            Cell::Text(protocol_text(key.protocol)),
            Cell::Number(key.port.into()),
            service_cell(key.protocol, key.port),
        ];
        let times = [first_ms, last_ms].map(Cell::Number);
        let mut row: Vec<Cell> = ends.into_iter().chain(service).chain(times).chain(six(both)).collect();
        named.into_iter().for_each(|address| row.extend(names.cells(address)));
        answer.rows.push(row);
    }
    Ok(answer)
}
