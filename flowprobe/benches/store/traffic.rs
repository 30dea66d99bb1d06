//! Days of flows as a gateway may have them: few hosts are in most of them, services have low ports and clients high ones, most flows
//! are short, and there are more of them by day.

use std::net::{IpAddr, Ipv4Addr};

use flowprobe::record::{EndReason, FlowRecord, ICMP, Role, SamplingRate, TCP, UDP};
use flowprobe_ebpf::flow::Extremes;
use flowprobe_ebpf::{FlowKey, Tunnel};

/// 2026-11-24 00:00 UTC.
pub(crate) const START_MS: i64 = 1_795_478_400_000;

/// Hosts inside and outside.
pub(crate) const HOSTS: u32 = 65_536;

const BATCH: u64 = 4096;

/// Flows in the order in which they end.
pub(crate) struct Traffic {
    random: fastrand::Rng,
    flows: u64,
    lasts_us: u64,
    made: u64,
    now_us: u64,
}

/// A host that is in few flows.
pub(crate) fn quiet_host() -> IpAddr {
    outside(HOSTS / 2 - 1).into()
}

fn inside(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0000 | (number + 1))
}

fn outside(number: u32) -> Ipv4Addr {
    // Spread, as addresses of servers are.
    Ipv4Addr::from_bits(0x2000_0000 + number.wrapping_mul(2_654_435_761) % 0x8000_0000)
}

impl Traffic {
    /// So many flows, spread over days.
    pub(crate) fn new(flows: u64, days: u64) -> Self {
        /// Microseconds of a day.
        const DAY_US: u64 = 86_400_000_000;
        Self { random: fastrand::Rng::with_seed(7), flows, lasts_us: days * DAY_US, made: 0, now_us: 0 }
    }

    /// When the last flow ended, milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> i64 {
        i64::try_from(self.now_us / 1000).expect("a time")
    }

    pub(crate) fn next_batch(&mut self) -> Option<Vec<FlowRecord>> {
        let count = BATCH.min(self.flows - self.made);
        (count > 0).then(|| (0..count).map(|_| self.flow()).collect())
    }

    /// One of so many, the first of them most often (Zipf, exponent 1).
    fn popular(&mut self, of: u32) -> u32 {
        let rank = (f64::from(of) + 1.0).powf(self.random.f64()) - 1.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is below `of`, and not negative"
        )]
        let rank = rank as u32;
        rank.min(of - 1)
    }

    fn flow(&mut self) -> FlowRecord {
        let start_us = u64::try_from(START_MS).expect("a time") * 1000;
        let since_us = u128::from(self.lasts_us) * u128::from(self.made) / u128::from(self.flows);
        self.now_us = start_us + u64::try_from(since_us).expect("a time");
        self.made += 1;
        let client = inside(self.popular(HOSTS / 2));
        let server = outside(self.popular(HOSTS / 2));
        let (protocol, port) = match self.random.u8(..100) {
            0..=2 => (ICMP, 0),
            3..=34 => (UDP, [53, 443, 123, 5060][usize::from(self.random.u8(..16)).min(3)]),
            _ => (TCP, [443, 80, 22, 993, 8080, 25, 445, 3306][usize::try_from(self.popular(8)).unwrap_or(0)]),
        };
        let is_answer = self.random.bool();
        let high = self.random.u16(32_768..=60_999);
        let packets = u64::from(self.popular(5000)) + 1;
        let octets = packets * u64::from(40 + self.popular(1460));
        let lasted_us = u64::from(self.popular(60_000)) * 1000;
        let (source, destination) = if is_answer { (server, client) } else { (client, server) };
        let [source_port, destination_port] = match protocol {
            ICMP => [0, if is_answer { 0 } else { 2048 }],
            _ if is_answer => [port, high],
            _ => [high, port],
        };
        let [.., a, b] = client.octets();
        FlowRecord {
            key: FlowKey {
                source: source.into(),
                destination: destination.into(),
                ifindex: 2 + u32::from(is_answer),
                source_port,
                destination_port,
                protocol,
                ip_version: 4,
                ..FlowKey::default()
            },
            tunnel: Tunnel::NONE,
            packets,
            octets,
            layer2_octets: octets + packets * 14,
            start_us: self.now_us - lasted_us,
            end_us: self.now_us,
            extremes: Extremes::of(52, if is_answer { 56 } else { 64 }),
            tcp_flags: if protocol == TCP { 0x1b } else { 0 },
            fragmented: false,
            ethertype: 0x0800,
            tos: 0,
            mpls_top_label: 0,
            source_as: 0,
            destination_as: 0,
            source_mac: [2, 0, 0, 0, if is_answer { 255 } else { a }, if is_answer { 255 } else { b }],
            destination_mac: [2, 0, 0, 0, if is_answer { a } else { 255 }, if is_answer { b } else { 255 }],
            route: None,
            sampling: SamplingRate::All,
            end_reason: if protocol == TCP { EndReason::EndOfFlow } else { EndReason::IdleTimeout },
            role: Role::Single,
        }
    }
}
