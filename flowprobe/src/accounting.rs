//! The sum that proves the numbers: `seen = exported + held + overflow + unparsed + sampledOut + filteredOut`, in
//! packets and in layer-2 octets, per interface and direction.
//!
//! The kernel's counters belong to a generation just as flows do, and are read when that generation is retired. So the sum
//! is exact at every drain, also in the middle of traffic.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use flowprobe_ebpf::parse::Unparsed;
use flowprobe_ebpf::{Counter, Direction, InterfaceStats, OverflowClass};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The terms of one interface and direction, totals since the daemon started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accounting {
    /// Name of the interface.
    pub interface: Arc<str>,
    /// Its index; the latest, where it went and came back.
    pub ifindex: u32,
    /// Which way the packets passed it.
    pub direction: Direction,
    /// What the kernel programs counted, as of the drain.
    pub kernel: InterfaceStats,
    /// What has left the table in finished records.
    pub exported: Counter,
    /// What open flows hold.
    pub held: Counter,
    /// Where most of the overflow went, most packets first.
    pub overflow_destinations: Vec<OverflowDestination>,
}

/// Where packets went whose flow found no room, since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverflowDestination {
    /// The host, or the first address of the network.
    pub address: IpAddr,
    /// Length of the network's prefix, bits.
    pub prefix_length: u8,
    /// IANA protocol number.
    pub protocol: u8,
    /// How much.
    pub counter: Counter,
}

/// The same with the names that it has in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamedDestination {
    /// The host or network, always with its prefix length.
    pub destination: String,
    /// IANA protocol number.
    pub protocol_identifier: u8,
    /// Packets.
    pub packets: u64,
    /// Octets of their frames.
    pub octets: u64,
}

impl From<&OverflowDestination> for NamedDestination {
    fn from(one: &OverflowDestination) -> Self {
        Self {
            destination: format!("{}/{}", one.address, one.prefix_length),
            protocol_identifier: one.protocol,
            packets: one.counter.packets,
            octets: one.counter.octets,
        }
    }
}

/// The host, or the network with its prefix length.
impl fmt::Display for OverflowDestination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = if self.address.is_ipv4() { 32 } else { 128 };
        if self.prefix_length == whole {
            write!(f, "{}", self.address)
        } else {
            write!(f, "{}/{}", self.address, self.prefix_length)
        }
    }
}

impl Accounting {
    /// Packets whose flow found no room in the kernel's map.
    #[must_use]
    pub fn overflow(&self) -> Counter {
        sum(&self.kernel.overflow)
    }

    /// Frames without a flow.
    #[must_use]
    pub fn unparsed(&self) -> Counter {
        sum(&self.kernel.unparsed)
    }

    /// The sum under the names of its terms: `seen`, and what it is the sum of.
    #[must_use]
    pub fn terms(&self) -> [(&'static str, Counter); 7] {
        [
            ("seen", self.kernel.seen),
            ("exported", self.exported),
            ("held", self.held),
            ("overflow", self.overflow()),
            ("unparsed", self.unparsed()),
            ("sampledOut", self.kernel.sampled_out),
            ("filteredOut", self.kernel.filtered_out),
        ]
    }

    /// Whether the sum holds, in packets and octets.
    #[must_use]
    pub fn balances(&self) -> bool {
        let mut total = self.exported;
        for term in [self.held, self.overflow(), self.unparsed(), self.kernel.sampled_out, self.kernel.filtered_out] {
            total += term;
        }
        total == self.kernel.seen
    }

    /// The object that `--json` prints.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({ "accounting": {
            "interface": &*self.interface,
            "direction": direction_name(self.direction),
            "seen": Terms::from(self.kernel.seen),
            "exported": Terms::from(self.exported),
            "held": Terms::from(self.held),
            "overflow": Terms::from(self.overflow()),
            "unparsed": Terms::from(self.unparsed()),
            "sampledOut": Terms::from(self.kernel.sampled_out),
            "filteredOut": Terms::from(self.kernel.filtered_out),
            "overflowByDestination": self.overflow_destinations.iter().map(NamedDestination::from).collect::<Vec<_>>(),
            "overflowByProtocol": by_name(OverflowClass::NAMES, &self.kernel.overflow),
            "unparsedByReason": by_name(Unparsed::NAMES, &self.kernel.unparsed),
        }})
    }
}

/// A direction as it is written.
#[must_use]
pub const fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    }
}

/// Adds `more` to `total`, counter by counter.
pub fn add_stats(total: &mut InterfaceStats, more: &InterfaceStats) {
    total.seen += more.seen;
    for (total, more) in total.overflow.iter_mut().zip(more.overflow) {
        *total += more;
    }
    for (total, more) in total.unparsed.iter_mut().zip(more.unparsed) {
        *total += more;
    }
    total.filtered_out += more.filtered_out;
    total.sampled_out += more.sampled_out;
}

#[derive(Serialize)]
struct Terms {
    packets: u64,
    octets: u64,
}

impl From<Counter> for Terms {
    fn from(counter: Counter) -> Self {
        Self { packets: counter.packets, octets: counter.octets }
    }
}

fn sum(counters: &[Counter]) -> Counter {
    let mut total = Counter::default();
    for counter in counters {
        total += *counter;
    }
    total
}

/// The counters that are not zero, under their names.
fn by_name<const N: usize>(names: [&str; N], counters: &[Counter; N]) -> Value {
    let used = names.iter().zip(counters).filter(|(_, counter)| counter.packets > 0);
    used.map(|(name, counter)| ((*name).to_owned(), json!(Terms::from(*counter))))
        .collect::<serde_json::Map<_, _>>()
        .into()
}
