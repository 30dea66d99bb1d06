//! Flow records as an exporter makes them, and conversations that are split into such records.

use std::net::IpAddr;

use fastrand::Rng;

use super::site::Device;

/// After so long an exporter tells of a flow that goes on.
pub const ACTIVE_MS: u64 = 60_000;

/// Without a packet for so long, an exporter takes a flow for over.
pub const IDLE_MS: u64 = 15_000;

/// IANA protocol numbers.
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
}

/// TCP flags.
pub mod flag {
    /// The sender is done.
    pub const FIN: u16 = 0x01;
    /// Opens a connection.
    pub const SYN: u16 = 0x02;
    /// Ends a connection at once, or refuses one.
    pub const RST: u16 = 0x04;
    /// There is data that should not wait.
    pub const PSH: u16 = 0x08;
    /// Acknowledges.
    pub const ACK: u16 = 0x10;
}

/// Why an exporter tells of a flow (IPFIX `flowEndReason`).
mod reason {
    pub(super) const IDLE: u8 = 1;
    pub(super) const ACTIVE: u8 = 2;
    pub(super) const END: u8 = 3;
}

/// What one record of an exporter says: packets one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who sent them.
    pub source: IpAddr,
    /// To whom, of the same family.
    pub destination: IpAddr,
    /// 0 where the protocol has none.
    pub source_port: u16,
    /// ICMP: type × 256 + code.
    pub destination_port: u16,
    /// IANA number.
    pub protocol: u8,
    /// TCP flags, or-ed.
    pub flags: u16,
    /// Packets.
    pub packets: u64,
    /// Octets from the IP header on.
    pub octets: u64,
    /// First packet, milliseconds since 1970 UTC.
    pub start_ms: u64,
    /// Last packet.
    pub end_ms: u64,
    /// When the exporter tells of it.
    pub export_ms: u64,
    /// Smallest and largest IP length.
    pub lengths: (u16, u16),
    /// Of the first frame.
    pub source_mac: [u8; 6],
    /// Of the first frame.
    pub destination_mac: [u8; 6],
    /// 0 without one.
    pub vlan: u16,
    /// Where they came in.
    pub interface: u32,
    /// IPFIX `flowEndReason`.
    pub end_reason: u8,
}

/// How a conversation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Both are done (TCP: FIN).
    Done,
    /// The client has enough (TCP: RST).
    Reset,
    /// It has no end that an exporter sees.
    Open,
}

/// How the packets of a conversation lie in its time, where there are so few that an exporter takes it for over in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// All the same time apart, as those that keep something alive.
    Even,
    /// All at first, and the end at the end.
    AtFirst,
}

/// What one side of a conversation sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Packets.
    pub packets: u64,
    /// Octets from the IP header on.
    pub octets: u64,
}

impl Amount {
    /// So many packets of so many octets each.
    #[must_use]
    pub const fn of(packets: u64, octets_each: u64) -> Self {
        Self { packets, octets: packets * octets_each }
    }
}

/// A conversation of two over a pair of ports.
#[derive(Clone, Copy, Debug)]
pub struct Talk {
    /// Who begins.
    pub client: Device,
    /// With whom.
    pub server: Device,
    /// Port of the client; 0: one is drawn.
    pub client_port: u16,
    /// Port of the server.
    pub server_port: u16,
    /// IANA number.
    pub protocol: u8,
    /// When it begins, milliseconds since 1970 UTC.
    pub start_ms: u64,
    /// How long it takes.
    pub lasts_ms: u64,
    /// By the client.
    pub sent: Amount,
    /// By the server.
    pub received: Amount,
    /// Whether its beginning is seen.
    pub opens: bool,
    /// How it ends.
    pub ending: Ending,
    /// How its packets lie in its time.
    pub pace: Pace,
}

impl Talk {
    /// A TCP connection that carries these octets of content, packets and acknowledgements reckoned from them.
    #[must_use]
    pub fn tcp(client: Device, server: Device, port: u16, start_ms: u64, content: (u64, u64)) -> Self {
        let data = |octets: u64| octets.div_ceil(1400);
        let amount = |mine: u64, theirs: u64| {
            // The handshake and the end, then segments, then acknowledgements of every other one.
            let packets = 4 + data(mine) + data(theirs) / 2;
            Amount { packets, octets: mine + packets * 52 }
        };
        Self {
            client,
            server,
            client_port: 0,
            server_port: port,
            protocol: protocol::TCP,
            start_ms,
            lasts_ms: 200,
            sent: amount(content.0, content.1),
            received: amount(content.1, content.0),
            opens: true,
            ending: Ending::Done,
            pace: Pace::AtFirst,
        }
    }

    /// An exchange over UDP of so many packets and octets.
    #[must_use]
    pub const fn udp(client: Device, server: Device, port: u16, start_ms: u64, amounts: (Amount, Amount)) -> Self {
        Self {
            client,
            server,
            client_port: 0,
            server_port: port,
            protocol: protocol::UDP,
            start_ms,
            lasts_ms: 20,
            sent: amounts.0,
            received: amounts.1,
            opens: true,
            ending: Ending::Open,
            pace: Pace::Even,
        }
    }

    /// With this duration.
    #[must_use]
    pub const fn lasting(self, lasts_ms: u64) -> Self {
        Self { lasts_ms, ..self }
    }

    /// With this end.
    #[must_use]
    pub const fn ending(self, ending: Ending) -> Self {
        Self { ending, ..self }
    }

    /// From this port.
    #[must_use]
    pub const fn from_port(self, client_port: u16) -> Self {
        Self { client_port, ..self }
    }

    /// A part of one that goes on: without its beginning, unless `opens`, and without an end.
    #[must_use]
    pub const fn part(self, opens: bool) -> Self {
        Self { opens, ending: Ending::Open, pace: Pace::Even, ..self }
    }
}

/// One way of a conversation.
#[derive(Clone, Copy)]
struct Way {
    from: Device,
    to: Device,
    ports: (u16, u16),
    protocol: u8,
}

/// Records in the making, and the chance that makes them.
#[derive(Debug)]
pub struct Traffic {
    /// Where chance comes from.
    pub random: Rng,
    /// What was exported, in no order.
    pub records: Vec<Record>,
}

impl Traffic {
    /// None yet.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { random: Rng::with_seed(seed), records: Vec::new() }
    }

    /// A port such as clients have.
    pub fn client_port(&mut self) -> u16 {
        self.random.u16(32_768..61_000)
    }

    /// Both directions of a conversation.
    pub fn talk(&mut self, talk: Talk) {
        let client_port = if talk.client_port == 0 { self.client_port() } else { talk.client_port };
        let (there, back) = ((client_port, talk.server_port), (talk.server_port, client_port));
        let way = Way { from: talk.client, to: talk.server, ports: there, protocol: talk.protocol };
        self.one_way(way, &talk, talk.sent, talk.start_ms);
        let way = Way { from: talk.server, to: talk.client, ports: back, protocol: talk.protocol };
        // The way there and back.
        let delay = 1 + self.random.u64(0..if talk.server.is_outside() { 60 } else { 2 });
        self.one_way(way, &talk, talk.received, talk.start_ms + delay.min(talk.lasts_ms));
    }

    /// SYN to somebody who does not answer; again after 1, 3 and 7 s, `tries` in all. One record each where the pause is longer than the
    /// idle timeout.
    pub fn unanswered(&mut self, client: Device, server: Device, port: u16, start_ms: u64, tries: u64) {
        let lasts_ms = ((1 << tries.saturating_sub(1).min(3)) - 1) * 1000;
        let way = Way { from: client, to: server, ports: (self.client_port(), port), protocol: protocol::TCP };
        let syn = if client.ip.is_ipv4() { 60 } else { 80 };
        let amount = Amount::of(tries, syn);
        self.push(way, amount, (start_ms, start_ms + lasts_ms), flag::SYN, reason::IDLE);
    }

    /// SYN and RST.
    pub fn refused(&mut self, client: Device, server: Device, port: u16, start_ms: u64) {
        let from = self.client_port();
        let way = Way { from: client, to: server, ports: (from, port), protocol: protocol::TCP };
        self.push(way, Amount::of(1, 60), (start_ms, start_ms), flag::SYN, reason::IDLE);
        let way = Way { from: server, to: client, ports: (port, from), protocol: protocol::TCP };
        let at_ms = start_ms + 1;
        self.push(way, Amount::of(1, 40), (at_ms, at_ms), flag::RST | flag::ACK, reason::END);
    }

    /// One packet, or several of the same length, one way.
    pub fn packets(
        &mut self,
        ends: (Device, Device),
        ports: (u16, u16),
        kind: (u8, u16),
        amount: Amount,
        time: (u64, u64),
    ) {
        let way = Way { from: ends.0, to: ends.1, ports, protocol: kind.0 };
        self.push(way, amount, time, kind.1, reason::IDLE);
    }

    /// Echo requests, and their replies where there are any.
    pub fn ping(&mut self, client: Device, server: Device, start_ms: u64, lasts_ms: u64, amounts: (Amount, Amount)) {
        let v4 = client.ip.is_ipv4();
        let protocol = if v4 { protocol::ICMP } else { protocol::ICMPV6 };
        let [ask, answer] = if v4 { [8 << 8, 0] } else { [128 << 8, 129 << 8] };
        let talk = Talk { protocol, ..Talk::udp(client, server, 0, start_ms, amounts).lasting(lasts_ms) };
        self.one_way(Way { from: client, to: server, ports: (0, ask), protocol }, &talk, amounts.0, start_ms);
        self.one_way(Way { from: server, to: client, ports: (0, answer), protocol }, &talk, amounts.1, start_ms + 1);
    }

    /// What goes one way, as the records of which an exporter tells: at the active timeout, and at the end.
    fn one_way(&mut self, way: Way, talk: &Talk, amount: Amount, start_ms: u64) {
        if amount.packets == 0 {
            return;
        }
        let end_ms = (talk.start_ms + talk.lasts_ms).max(start_ms);
        let lasts_ms = end_ms - start_ms;
        let sparse = lasts_ms / amount.packets > IDLE_MS;
        if sparse && talk.pace == Pace::AtFirst && amount.packets > 1 {
            self.at_first(way, talk, amount, (start_ms, end_ms));
            return;
        }
        let pieces = if sparse { amount.packets } else { (lasts_ms / ACTIVE_MS + 1).min(amount.packets) };
        let step = lasts_ms / pieces.max(1);
        let mut left = amount;
        for piece in 0..pieces {
            let (is_first, is_last) = (piece == 0, piece + 1 == pieces);
            let begin = start_ms
                + if sparse && pieces > 1 { lasts_ms * piece / (pieces - 1) } else { lasts_ms * piece / pieces };
            let end = match (sparse, is_last) {
                (true, _) => begin,
                (_, true) => end_ms,
                // The last packet before the timeout, not at it.
                _ => begin + step - 1 - self.random.u64(0..step.min(300)).min(step - 1),
            };
            let part = self.part_of(left, pieces - piece);
            left = Amount { packets: left.packets - part.packets, octets: left.octets - part.octets };
            let flags = flags_of(way, talk, part, (is_first, is_last));
            let reason = match (is_last, flags & (flag::FIN | flag::RST) != 0) {
                (true, true) => reason::END,
                (true, false) => reason::IDLE,
                (false, _) if sparse => reason::IDLE,
                _ => reason::ACTIVE,
            };
            self.push(way, part, (begin, end), flags, reason);
        }
    }

    /// Two records: all but one packet within seconds, and the last one long after.
    fn at_first(&mut self, way: Way, talk: &Talk, amount: Amount, (start_ms, end_ms): (u64, u64)) {
        let last = Amount::of(1, 52.min(amount.octets / amount.packets));
        let first = Amount { packets: amount.packets - 1, octets: amount.octets - last.octets };
        let pause_ms = start_ms + self.random.u64(0..IDLE_MS.min((end_ms - start_ms) / 2));
        self.push(way, first, (start_ms, pause_ms), flags_of(way, talk, first, (true, false)), reason::IDLE);
        let flags = flags_of(way, talk, last, (false, true));
        let why = if flags & (flag::FIN | flag::RST) == 0 { reason::IDLE } else { reason::END };
        self.push(way, last, (end_ms, end_ms), flags, why);
    }

    /// A share of what is left, one of so many, give or take a fifth; at least a packet for each.
    fn part_of(&mut self, left: Amount, pieces: u64) -> Amount {
        if pieces <= 1 {
            return left;
        }
        let even = left.packets / pieces;
        let packets = (even + self.random.u64(0..=even / 5)).clamp(1, left.packets - (pieces - 1));
        Amount {
            packets,
            octets: u64::try_from(u128::from(left.octets) * u128::from(packets) / u128::from(left.packets))
                .unwrap_or(0),
        }
    }

    fn push(&mut self, way: Way, amount: Amount, (start_ms, end_ms): (u64, u64), flags: u16, reason: u8) {
        let each = amount.octets / amount.packets.max(1);
        let top = |octets: u64| u16::try_from(octets.clamp(28, 1500)).unwrap_or(1500);
        let lengths = match (way.protocol, amount.packets) {
            (_, 1) => (top(each), top(each)),
            (protocol::TCP, _) if flags & flag::ACK != 0 => {
                (if each < 52 { 40 } else { 52 }, if each > 60 { top(each * 6) } else { top(each) })
            }
            (protocol::TCP | protocol::ICMP | protocol::ICMPV6, _) => (top(each), top(each)),
            _ => (top(each / 2 + 20).min(top(each)), top(each + each / 2)),
        };
        let wait = match reason {
            reason::IDLE => IDLE_MS + self.random.u64(0..1000),
            reason::ACTIVE => ACTIVE_MS.saturating_sub(end_ms - start_ms),
            _ => self.random.u64(0..1000),
        };
        self.records.push(Record {
            source: way.from.ip,
            destination: way.to.ip,
            source_port: way.ports.0,
            destination_port: way.ports.1,
            protocol: way.protocol,
            flags,
            packets: amount.packets,
            octets: amount.octets,
            start_ms,
            end_ms,
            export_ms: end_ms + wait,
            lengths,
            source_mac: way.from.mac,
            destination_mac: way.from.next_hop(&way.to),
            vlan: way.from.vlan,
            interface: way.from.interface,
            end_reason: reason,
        });
    }
}

/// The flags of a part of a conversation, which may be its first and its last.
fn flags_of(way: Way, talk: &Talk, part: Amount, (is_first, is_last): (bool, bool)) -> u16 {
    if way.protocol != protocol::TCP {
        return 0;
    }
    if is_first && talk.opens && part.packets == 1 {
        // No packet holds more than its own flags.
        return if way.from.ip == talk.client.ip { flag::SYN } else { flag::SYN | flag::ACK };
    }
    let data = if part.octets > part.packets * 60 { flag::PSH } else { 0 };
    let opening = if is_first && talk.opens { flag::SYN } else { 0 };
    let ending = match talk.ending {
        Ending::Done if is_last => flag::FIN,
        Ending::Reset if is_last && way.from.ip == talk.client.ip => flag::RST,
        _ => 0,
    };
    flag::ACK | data | opening | ending
}

/// Whole number of a quantity that is not negative.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, which is what a draw far out should do"
)]
pub fn whole(number: f64) -> u64 {
    number.max(0.0) as u64
}

/// A draw with a long tail: half of them are below the median, one in a hundred above it times `spread` to the power of 2.3.
pub fn heavy(random: &mut Rng, median: u64, spread: f64) -> u64 {
    // The sum of twelve uniform draws is close to normal.
    let normal: f64 = (0..12).map(|_| random.f64()).sum::<f64>() - 6.0;
    #[expect(clippy::cast_precision_loss, reason = "a median")]
    let median = median as f64;
    whole(median * (spread.ln() * normal).exp())
}
