//! Flows of a gateway: conversations of hosts inside with servers outside, both ways.

use std::net::{IpAddr, Ipv4Addr};

use flowprobe::detect::flow::{Flow, Ip, Mac};

/// IANA's protocol numbers.
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// FIN, SYN, PSH and ACK: a connection from its beginning to its end.
const WHOLE: u16 = 0x1b;

/// When it begins: Monday, 1 June 2026, 08:00 UTC.
const BEGIN_MS: i64 = 1_780_300_800_000;

/// Traffic that goes on.
pub(crate) struct Traffic {
    hosts: u32,
    servers: u32,
    random: fastrand::Rng,
    now_ms: i64,
}

/// Half of them for each quarter of what is drawn: as uneven as traffic is.
fn uneven(random: &mut fastrand::Rng, of: u32) -> u32 {
    let halvings = random.u32(..8);
    random.u32(..(of >> halvings).max(1))
}

fn ip(first: Ipv4Addr, number: u32) -> Ip {
    IpAddr::from(Ipv4Addr::from(u32::from(first) + number)).into()
}

impl Traffic {
    /// Between so many hosts inside and outside.
    pub(crate) fn new(hosts: u32, servers: u32) -> Self {
        Self { hosts, servers, random: fastrand::Rng::with_seed(11), now_ms: BEGIN_MS }
    }

    /// The end of the last second.
    pub(crate) const fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// So many flows of a second.
    pub(crate) fn second(&mut self, second: i64, count: usize, flows: &mut Vec<Flow>) {
        let start_ms = BEGIN_MS + second * 1000;
        self.now_ms = start_ms + 1000;
        while flows.len() + 1 < count {
            let at_ms = start_ms + (flows.len() * 1000 / count) as i64;
            let asked = self.asked(at_ms);
            flows.push(asked);
            flows.push(answer(&asked, &mut self.random));
        }
    }

    /// What a host sends in a conversation: the web mostly, names, time, echoes, and calls.
    fn asked(&mut self, at_ms: i64) -> Flow {
        let random = &mut self.random;
        let (host, server) = (uneven(random, self.hosts), uneven(random, self.servers));
        let (of, port) = match random.u32(..100) {
            0..60 => (TCP, 443),
            60..68 => (TCP, 80),
            68..74 => (UDP, 443),
            74..94 => (UDP, 53),
            94..96 => (UDP, 123),
            96..99 => (UDP, 3478),
            _ => (ICMP, 8 << 8),
        };
        let is_tcp = of == TCP;
        let packets = if is_tcp { random.u64(5..40) } else { random.u64(1..4) };
        let octets = packets * random.u64(60..400);
        // A resolver is asked by all.
        let server = if port == 53 { server % 4 } else { server };
        Flow {
            source: ip(Ipv4Addr::new(10, 0, 0, 0), host),
            destination: ip(Ipv4Addr::new(100, 128, 0, 0), server),
            source_port: if of == ICMP { 0 } else { random.u16(32_768..61_000) },
            destination_port: port,
            protocol: of,
            tcp_flags: if is_tcp { WHOLE } else { 0 },
            opens: is_tcp,
            packets,
            octets,
            start_ms: at_ms,
            end_ms: at_ms + 40,
            length: (52, 400),
            source_mac: card(host),
            destination_mac: ROUTER,
            interface: 1,
            ..Flow::default()
        }
    }
}

const ROUTER: Mac = Mac([0x52, 0x54, 0, 0xff, 0xff, 0xff]);

fn card(number: u32) -> Mac {
    let [a, b, c, d] = number.to_be_bytes();
    Mac([0, 0x1b, a ^ 0x21, b, c, d])
}

fn answer(asked: &Flow, random: &mut fastrand::Rng) -> Flow {
    let packets = asked.packets + random.u64(..4);
    let ports = if asked.protocol == ICMP { (0, 0) } else { (asked.destination_port, asked.source_port) };
    Flow {
        source: asked.destination,
        destination: asked.source,
        source_port: ports.0,
        destination_port: ports.1,
        opens: false,
        packets,
        octets: packets * random.u64(100..1400),
        length: (52, 1500),
        source_mac: ROUTER,
        destination_mac: asked.source_mac,
        interface: 2,
        ..*asked
    }
}
