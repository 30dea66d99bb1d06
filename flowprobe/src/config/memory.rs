//! How much memory a configuration may come to use.

use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;

use flowprobe_ebpf::room::{MARKS_PER_BLOCK, mark_blocks};
use flowprobe_ebpf::{FlowKey, FlowValue, TunnelledKey, Tunnels};

use super::{Config, Listen, ListenTransport, OutputMode, Target};
use crate::collect::Received;
use crate::collect::session::Limits;
use crate::enrich::{EnrichConfig, OCTETS_OF_NAMES, ReverseDns};
use crate::export::lane::MOST_IN_MEMORY;
use crate::export::outlet;
use crate::query::{MOST_KEYS, WORKERS};
use crate::record::{FlowDelta, FlowRecord};
use crate::sink::{DELTAS_QUEUE, OCTETS_PER_EVENT, RECORDS_PER_EVENT, RECORDS_QUEUE};
use crate::stages::DRAINED_QUEUE;
use crate::store::rollup::{Conversation, Exchanged};
use crate::{drain, store, table};

/// Bounds of memory, octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBound {
    /// Of the daemon: what is resident when the table and all queues are full.
    pub daemon: u64,
    /// Of the kernel's maps, which take it at the start.
    pub kernel: u64,
}

/// What the daemon is without flows: its code, threads, buffers, and the window of the summary.
const DAEMON: u64 = 96 << 20;

/// Messages of a collector that are kept in memory, or may have to go out again, and those on their way.
const OF_COLLECTOR: u64 = (MOST_IN_MEMORY as u64) + outlet::WINDOW + (outlet::QUEUE as u64) * 16_384;

/// The last minute of the live view, and what clients of the dashboard are about to get.
const OF_LIVE: u64 = 64 << 20;

/// What detectors may come to hold in the worst case, which takes hundreds of thousands of hosts: each has tables of so many entries, of so
/// many octets at most; docs/findings has them one by one. A site of hundreds of hosts takes a hundredth of it.
const OF_FINDINGS: u64 = 1 << 30;

/// Questions to history that are answered at once, each by two threads that count as many conversations as they may: a table of twice as
/// many places.
const OF_QUESTIONS: u64 = (WORKERS * 2 * 2 * MOST_KEYS * (size_of::<Conversation>() + size_of::<Exchanged>())) as u64;

/// The kernel's smaller maps, and the counters of the interfaces on two CPUs.
const SMALLER_MAPS: u64 = 8 << 20;

/// Octets of a hash map's entry beside its key and value (`struct htab_elem`, `kernel/bpf/hashtab.c`), and of one of its buckets.
const ENTRY: u64 = 48;
const BUCKET: u64 = 16;

impl MemoryBound {
    /// What `config` may use.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let flows = u64::from(config.table.max_flows.get());
        let marks = u64::from(mark_blocks(config.table.max_flows.get())) * MARKS_PER_BLOCK as u64;
        let batch = (drain::BATCH * size_of::<FlowDelta>()) as u64;
        let of_batch = if config.listen.is_empty() { OF_BATCH } else { OF_RECEIVED_BATCH };
        let records = RECORDS_QUEUE as u64 * of_batch;
        let deltas = DELTAS_QUEUE as u64 * batch;
        let output = match config.output {
            OutputMode::Quiet => 0,
            OutputMode::Json => records,
            OutputMode::Summary => deltas,
        };
        let queues = DRAINED_QUEUE as u64 * batch
            + config.export.targets.iter().flat_map(Target::collectors).map(|_| records + OF_COLLECTOR).sum::<u64>()
            + output;
        // Batches of received records wait in the same queue as what is drained.
        let received = if config.listen.is_empty() { 0 } else { DRAINED_QUEUE as u64 * OF_RECEIVED_BATCH };
        let listeners = received + config.listen.iter().map(of_listener).sum::<u64>();
        let own = if config.interfaces.is_empty() { 0 } else { flows * table::OCTETS_PER_FLOW + marks };
        // What waits, a copy of it while it is written, and what compaction holds.
        let is_enriched = config.enrich.is_of_addresses();
        let history = config.store.folder.as_ref().map_or(0, |_| records + store::most_octets(is_enriched));
        let remote = config.store.remote.as_ref().map_or(0, |_| store::remote::MOST_OCTETS);
        let live = config.web.address.map_or(0, |_| OF_LIVE + deltas);
        let questions = config.store.folder.as_ref().map_or(0, |_| OF_QUESTIONS);
        let findings = config.findings.settings.as_ref().map_or(0, |settings| {
            let lists = settings.indicators.list.iter().filter_map(|list| std::fs::metadata(&list.file).ok());
            OF_FINDINGS
                + DELTAS_QUEUE as u64 * of_batch.max(batch)
                + OF_LIST * lists.map(|file| file.len()).sum::<u64>()
        });
        let daemon =
            DAEMON + own + queues + listeners + history + remote + live + questions + findings + of_enrichment(config);
        let tunnelled =
            if config.scope.tunnels == Tunnels::NONE { 0 } else { hash_map::<TunnelledKey>(config.table.max_flows) };
        let maps = SMALLER_MAPS + marks + 2 * (hash_map::<FlowKey>(config.table.max_flows) + tunnelled);
        let kernel = if config.interfaces.is_empty() { 0 } else { maps };
        Self { daemon, kernel }
    }
}

/// What is made of the files from which names come, at most while one is read anew beside what is in use.
fn of_enrichment(config: &Config) -> u64 {
    /// A network of IPv6 takes six octets in a tree and 128 at most here: first and last address while it is read, and its range
    /// in what is in use and in what is being made, each time in the table of its file and in that of all.
    const OF_DATABASE: u64 = 24;
    /// As measured with short lines, 21 to 24 octets for each of the file.
    const OF_LABELS: u64 = 32;
    /// Likewise 11, of Wireshark's list, when it has been replaced five times.
    const OF_VENDORS: u64 = 16;
    let octets = |paths: &[PathBuf]| -> u64 {
        paths.iter().filter_map(|path| std::fs::metadata(path).ok()).map(|file| file.len()).sum()
    };
    let EnrichConfig { databases, labels, reverse_dns, .. } = &config.enrich;
    let names = if *reverse_dns == ReverseDns::None { 0 } else { OCTETS_OF_NAMES };
    OF_DATABASE * octets(databases)
        + OF_LABELS * octets(labels)
        + OF_VENDORS * octets(&config.enrich.vendor_lists())
        + names
}

/// An indicator list of short lines takes 19 octets for each of about 13, and 43 for an IPv6 address of about 25, twice while a newer one is
/// read, beside the octets of the file.
const OF_LIST: u64 = 6;

/// A batch of records of our own: as many as go on at once.
const OF_BATCH: u64 = (RECORDS_PER_EVENT * size_of::<FlowRecord>()) as u64;

/// A batch of records that were received: as many, with as much as they may say beyond. Messages as they came are no more than that.
const OF_RECEIVED_BATCH: u64 = OF_BATCH + (RECORDS_PER_EVENT * size_of::<Received>() + OCTETS_PER_EVENT) as u64;

/// What one message may bring before it is cut into batches: 65,535 records of an octet, each of which is told with its origin.
const OF_LARGEST_MESSAGE: u64 = (1 << 16) * (size_of::<FlowRecord>() + size_of::<Received>() + 32) as u64;

/// What a listener remembers of exporters, what it reads into and makes of that, and what the kernel keeps for it.
fn of_listener(listen: &Listen) -> u64 {
    let limits = Limits::default();
    let remembered = (limits.state_octets_of_all + limits.held_octets_of_all) as u64;
    let buffers = match listen.transport {
        ListenTransport::Udp { receive_buffer } => u64::from(receive_buffer) + (64 << 16),
        ListenTransport::Tcp | ListenTransport::Tls(_) => 1024 << 16,
    };
    remembered + buffers + OF_LARGEST_MESSAGE
}

/// A flow map of one generation.
fn hash_map<Key>(max_flows: NonZeroU32) -> u64 {
    let flows = u64::from(max_flows.get());
    flows * (ENTRY + (size_of::<Key>() + size_of::<FlowValue>()) as u64) + flows.next_power_of_two() * BUCKET
}

/// In mebibytes.
impl fmt::Display for MemoryBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [daemon, kernel] = [self.daemon, self.kernel].map(|octets| octets.div_ceil(1 << 20));
        write!(f, "at most {daemon} MiB of memory, and {kernel} MiB in the kernel")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn bound(max_flows: u32, tunnels: Tunnels) -> MemoryBound {
        let mut settings = Settings { interfaces: Some(vec!["lo".to_owned()]), ..Settings::default() };
        settings.max_flows = NonZeroU32::new(max_flows);
        settings.selection.tunnels = Some(tunnels);
        MemoryBound::of(&settings.check().expect("a configuration"))
    }

    #[test]
    fn without_interfaces_there_is_no_map_and_a_listener_takes_its_part() {
        let settings = |listen: &[&str]| Settings {
            interfaces: None,
            listen: Some(listen.iter().map(|url| url.parse().expect("a URL")).collect()),
            ..Settings::default()
        };
        let one = MemoryBound::of(&settings(&["udp://127.0.0.1:1"]).check().expect("a configuration"));
        let two = MemoryBound::of(&settings(&["udp://127.0.0.1:1", "udp://127.0.0.1:2"]).check().expect("another"));
        assert_eq!(one.kernel, 0);
        assert!(two.daemon - one.daemon > 128 << 20, "{one:?} {two:?}");
    }

    #[test]
    fn queues_of_outputs_may_hold_what_received_records_say_beyond() {
        let of = |listen: &[&str], collectors: &[&str]| {
            let listen = listen.iter().map(|url| url.parse().expect("a URL")).collect();
            let mut settings =
                Settings { interfaces: Some(vec!["lo".to_owned()]), listen: Some(listen), ..Settings::default() };
            settings.export.targets = Some(collectors.iter().map(|url| url.parse().expect("a URL")).collect());
            MemoryBound::of(&settings.check().expect("a configuration")).daemon
        };
        let of_collector = |listen: &[&str]| of(listen, &["tcp://127.0.0.1:2"]) - of(listen, &[]);
        let beyond = of_collector(&["udp://127.0.0.1:1"]) - of_collector(&[]);
        assert!(beyond >= (RECORDS_QUEUE * OCTETS_PER_EVENT) as u64, "{beyond}");
    }

    #[test]
    fn a_million_flows_cost_two_hundred_octets_each_and_place() {
        let [none, million] = [1, 1_000_000].map(|flows| bound(flows, Tunnels::NONE));
        assert!((million.daemon - none.daemon) / 1_000_000 <= 200, "{million:?}");
        assert!((million.kernel - none.kernel) / 2_000_000 <= 200, "{million:?}");
        assert!(bound(1_000_000, Tunnels::ALL).kernel > million.kernel);
    }
}
