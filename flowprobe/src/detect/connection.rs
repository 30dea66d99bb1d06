//! Both directions of a conversation, joined again: who opened it, whether anybody answered, and what it came to.

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use super::flow::{Flow, Ip, Mac, flag, protocol};

/// Time that an answer may take. A conversation is judged when it has none by then.
const ANSWER_MS: i64 = 5000;

/// Where there is no room to wait for so long, no answer within this time means nothing.
const SOON_MS: i64 = 1000;

/// Time without a packet after which a conversation is over: more than exporters take between two records of the same flow, as a rule.
const IDLE_MS: i64 = 150_000;

/// The time between two looks at what is over.
const SWEEP_MS: i64 = 2500;

/// More packets than a client sends that gets no answer; from there on it is a conversation one way, such as a stream of RTP.
const ONE_WAY: u64 = 8;

/// The first of the ports that Linux gives to clients (`net.ipv4.ip_local_port_range`); Windows and macOS begin at 49152.
const CLIENTS_PORT: u16 = 32_768;

/// Packets and octets from the IP header on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Packets.
    pub packets: u64,
    /// Octets.
    pub octets: u64,
}

impl Amount {
    const fn add(&mut self, flow: &Flow) {
        self.packets = self.packets.saturating_add(flow.packets);
        self.octets = self.octets.saturating_add(flow.octets);
    }
}

/// What became of an attempt to talk to somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nobody answered.
    Unanswered,
    /// The answer was RST.
    Refused,
    /// They talk.
    Answered,
    /// Packets one way, and nothing that says whether there is another: the middle of a conversation, or a stream.
    Unknown,
}

impl Outcome {
    /// Whether the attempt came to nothing.
    #[must_use]
    pub const fn has_failed(self) -> bool {
        matches!(self, Self::Unanswered | Self::Refused)
    }
}

/// What two hosts say to each other over a pair of ports; of ICMP, echo and other queries without regard to their identifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Who began, as far as it can be told.
    pub client: Ip,
    /// With whom.
    pub server: Ip,
    /// 0 where the protocol has none.
    pub client_port: u16,
    /// Of ICMP, type × 256 + code of the query.
    pub server_port: u16,
    /// IANA number.
    pub protocol: u8,
    /// First packet, milliseconds since 1970 UTC.
    pub start_ms: i64,
    /// Last packet.
    pub end_ms: i64,
    /// By the client.
    pub sent: Amount,
    /// By the server.
    pub received: Amount,
    /// TCP flags of the client, or-ed.
    pub client_flags: u16,
    /// TCP flags of the server.
    pub server_flags: u16,
    /// Source of the client's first frame.
    pub client_mac: Mac,
    /// Where the client's packets came in, or the server's as long as there are none.
    pub interface: u32,
    judged: bool,
    /// Whether the client was seen to open it.
    opened: bool,
    /// When it was first and last heard of: records of exporters come long after the flow.
    heard_ms: (i64, i64),
}

impl Connection {
    fn new(flow: &Flow, now_ms: i64) -> Self {
        let mut new = Self {
            client: flow.source,
            server: flow.destination,
            client_port: flow.source_port,
            server_port: flow.destination_port,
            protocol: flow.protocol,
            start_ms: flow.start_ms,
            end_ms: flow.end_ms,
            sent: Amount::default(),
            received: Amount::default(),
            client_flags: 0,
            server_flags: 0,
            client_mac: flow.source_mac,
            interface: flow.interface,
            judged: false,
            opened: flow.opens,
            heard_ms: (now_ms, now_ms),
        };
        new.add(flow);
        if answers(flow) {
            new.swap();
        }
        new
    }

    /// Takes in what one of the two has sent.
    fn add(&mut self, flow: &Flow) {
        if flow.source == self.client && (flow.source_port == self.client_port || flow.is_icmp()) {
            // Of two that have the same address and port, whoever: it talks to itself.
            self.sent.add(flow);
            self.client_flags |= flow.tcp_flags;
        } else {
            let is_first = self.received.packets == 0;
            self.received.add(flow);
            self.server_flags |= flow.tcp_flags;
            if flow.opens || is_first && !self.opened && self.is_answered_by(flow) {
                self.swap();
                self.opened = flow.opens;
            }
        }
        self.start_ms = self.start_ms.min(flow.start_ms);
        self.end_ms = self.end_ms.max(flow.end_ms);
    }

    /// Whether the first of the other side shows that the one that was taken for the client answers it: it began earlier, or at once and from
    /// a port such as clients have.
    const fn is_answered_by(&self, flow: &Flow) -> bool {
        !flow.is_icmp()
            && (flow.start_ms < self.start_ms
                || flow.start_ms == self.start_ms
                    && self.client_port < CLIENTS_PORT
                    && self.server_port >= CLIENTS_PORT)
    }

    /// The client was the server.
    const fn swap(&mut self) {
        std::mem::swap(&mut self.client, &mut self.server);
        std::mem::swap(&mut self.client_port, &mut self.server_port);
        std::mem::swap(&mut self.sent, &mut self.received);
        std::mem::swap(&mut self.client_flags, &mut self.server_flags);
    }

    /// What has become of it so far.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        if self.protocol == protocol::TCP {
            let asked = self.client_flags;
            return match (asked & flag::SYN != 0, asked & flag::ACK != 0) {
                // It went on, or a SYN came back.
                (true, true) => Outcome::Answered,
                (true, false) if self.server_flags & flag::SYN != 0 => Outcome::Answered,
                (true, false) if self.server_flags & flag::RST != 0 => Outcome::Refused,
                (true, false) => Outcome::Unanswered,
                // Neither, but an end, or nothing: FIN, NULL and Xmas scans send these.
                (false, false) if self.sent.packets > 0 && asked & flag::RST == 0 => {
                    if self.server_flags & flag::RST != 0 { Outcome::Refused } else { Outcome::Unanswered }
                }
                (false, true) if self.received.packets > 0 && self.server_flags & flag::RST == 0 => Outcome::Answered,
                _ => Outcome::Unknown,
            };
        }
        if self.sent.packets > 0 && self.received.packets > 0 {
            Outcome::Answered
        } else if self.sent.packets > ONE_WAY || self.sent.packets == 0 || self.is_between_servers() {
            Outcome::Unknown
        } else {
            Outcome::Unanswered
        }
    }

    /// Whether both use the same well-known port, as NTP servers do among themselves: which of the two has asked is not known, then.
    const fn is_between_servers(&self) -> bool {
        self.client_port == self.server_port && self.client_port != 0 && self.client_port < 1024
    }

    /// How long it has lasted, milliseconds.
    #[must_use]
    pub const fn lasts_ms(&self) -> i64 {
        self.end_ms - self.start_ms
    }

    /// The client's side of it as a flow, as evidence.
    #[must_use]
    pub fn to_flow(&self) -> Flow {
        Flow {
            source: self.client,
            destination: self.server,
            source_port: self.client_port,
            destination_port: self.server_port,
            protocol: self.protocol,
            tcp_flags: self.client_flags,
            packets: self.sent.packets,
            octets: self.sent.octets,
            start_ms: self.start_ms,
            end_ms: self.end_ms,
            source_mac: self.client_mac,
            interface: self.interface,
            ..Flow::default()
        }
    }
}

/// Whether a flow that is the first of its conversation is the answer of a server whose question was not seen, or comes later.
const fn answers(flow: &Flow) -> bool {
    if flow.is_icmp() {
        return is_icmp_answer(flow.protocol, flow.icmp_type());
    }
    if flow.opens || flow.is_attempt() || flow.source_port == flow.destination_port {
        return false;
    }
    flow.accepts() || flow.source_port != 0 && flow.source_port < 1024 && flow.destination_port >= 1024
}

/// Echo request, timestamp, information and address mask request (RFC 792, 950); echo request of ICMPv6 (RFC 4443).
const fn is_icmp_question(protocol: u8, kind: u8) -> bool {
    if protocol == protocol::ICMP { matches!(kind, 8 | 13 | 15 | 17) } else { kind == 128 }
}

const fn is_icmp_answer(protocol: u8, kind: u8) -> bool {
    if protocol == protocol::ICMP { matches!(kind, 0 | 14 | 16 | 18) } else { kind == 129 }
}

/// A pair of hosts and ports, whoever of the two comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Pair {
    low: (Ip, u16),
    high: (Ip, u16),
    protocol: u8,
}

impl Pair {
    fn of(flow: &Flow) -> Self {
        let ports = if flow.is_icmp() { [0, 0] } else { [flow.source_port, flow.destination_port] };
        let (one, other) = ((flow.source, ports[0]), (flow.destination, ports[1]));
        let (low, high) = if one <= other { (one, other) } else { (other, one) };
        Self { low, high, protocol: flow.protocol }
    }
}

/// Conversations that are going on.
#[derive(Debug)]
pub(crate) struct Connections {
    open: HashMap<Pair, Connection>,
    most: usize,
    swept_ms: i64,
    /// Judged or ended before their time, for room.
    pub(crate) hurried: u64,
}

/// What happens to a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is known what has become of the attempt. Once for each conversation.
    Judged(Outcome),
    /// It is over. Only those that were answered, or of which it is not known; after it was judged.
    Over,
}

impl Connections {
    /// Room for so many.
    pub(crate) fn new(most: usize) -> Self {
        Self { open: HashMap::new(), most: most.max(1), swept_ms: 0, hurried: 0 }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// Takes in a flow. `tell` hears what happens to conversations.
    pub(crate) fn take(&mut self, flow: &Flow, now_ms: i64, tell: &mut (impl FnMut(&Connection, Step) + ?Sized)) {
        let is_talk = !flow.is_icmp()
            || is_icmp_question(flow.protocol, flow.icmp_type())
            || is_icmp_answer(flow.protocol, flow.icmp_type());
        if !is_talk || !flow.source.is_of_a_host() || !flow.destination.is_of_a_host() {
            return;
        }
        if self.open.len() >= self.most {
            self.make_room(now_ms, tell);
        }
        let key = Pair::of(flow);
        match self.open.entry(key) {
            hashbrown::hash_map::Entry::Occupied(mut found) => {
                let connection = found.get_mut();
                let is_another = flow.opens && connection.judged && {
                    let ends = flag::FIN | flag::RST;
                    (connection.client_flags | connection.server_flags) & ends != 0
                };
                if is_another || flow.start_ms - connection.end_ms > IDLE_MS {
                    finish(connection, tell);
                    *connection = Connection::new(flow, now_ms);
                } else {
                    connection.add(flow);
                    connection.heard_ms.1 = now_ms;
                }
            }
            hashbrown::hash_map::Entry::Vacant(place) => {
                place.insert(Connection::new(flow, now_ms));
            }
        }
    }

    /// Judges what has had its time, and ends what is over.
    pub(crate) fn advance(&mut self, now_ms: i64, tell: &mut (impl FnMut(&Connection, Step) + ?Sized)) {
        if now_ms - self.swept_ms >= SWEEP_MS {
            self.swept_ms = now_ms;
            self.sweep(now_ms, ANSWER_MS, IDLE_MS, tell);
        }
    }

    /// Ends all of them.
    pub(crate) fn finish(&mut self, tell: &mut (impl FnMut(&Connection, Step) + ?Sized)) {
        for connection in self.open.values_mut() {
            finish(connection, tell);
        }
        self.open.clear();
    }

    fn sweep(
        &mut self,
        now_ms: i64,
        answer_ms: i64,
        idle_ms: i64,
        tell: &mut (impl FnMut(&Connection, Step) + ?Sized),
    ) {
        self.open.retain(|_, connection| {
            let quiet_ms = now_ms - connection.heard_ms.1;
            if !connection.judged && now_ms - connection.heard_ms.0 >= answer_ms {
                connection.judged = true;
                // In a hurry, an answer may still be on its way.
                let outcome = match connection.outcome() {
                    outcome if outcome.has_failed() && quiet_ms < SOON_MS => Outcome::Unknown,
                    outcome => outcome,
                };
                tell(connection, Step::Judged(outcome));
                if outcome.has_failed() {
                    // What comes later begins anew; repeated attempts over the same ports are one as long as they come.
                    return quiet_ms < answer_ms;
                }
            }
            if connection.judged && connection.outcome().has_failed() {
                return quiet_ms < answer_ms;
            }
            let stays = quiet_ms < idle_ms;
            if !stays {
                tell(connection, Step::Over);
            }
            stays
        });
    }

    /// Ends what has been quiet for longest, at least a quarter of all.
    fn make_room(&mut self, now_ms: i64, tell: &mut (impl FnMut(&Connection, Step) + ?Sized)) {
        // How many have been quiet for less than so many doublings of a millisecond, and no less than one fewer.
        let mut quiet = [0_usize; 64];
        for connection in self.open.values() {
            quiet[doublings(now_ms - connection.heard_ms.1)] += 1;
        }
        let (mut ended, mut least) = (0, quiet.len() - 1);
        while least > 0 {
            ended += quiet[least];
            if ended >= self.open.len() / 4 {
                break;
            }
            least -= 1;
        }
        let quiet_ms = if least == 0 { i64::MIN } else { 1 << (least - 1) };
        let before = self.open.len();
        self.sweep(now_ms, quiet_ms.min(ANSWER_MS), quiet_ms.min(IDLE_MS), tell);
        self.hurried += (before - self.open.len()) as u64;
    }
}

/// 0 for nothing, else the number of the highest bit.
const fn doublings(ms: i64) -> usize {
    if ms <= 0 { 0 } else { ms.ilog2() as usize + 1 }
}

fn finish(connection: &mut Connection, tell: &mut (impl FnMut(&Connection, Step) + ?Sized)) {
    let outcome = connection.outcome();
    if !connection.judged {
        connection.judged = true;
        tell(connection, Step::Judged(outcome));
    }
    if !outcome.has_failed() {
        tell(connection, Step::Over);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    const A: &str = "192.0.2.1";
    const B: &str = "198.51.100.2";

    fn ip(text: &str) -> Ip {
        text.parse::<IpAddr>().expect("an address").into()
    }

    fn tcp(source: (&str, u16), destination: (&str, u16), at_ms: i64, tcp_flags: u16) -> Flow {
        Flow {
            source: ip(source.0),
            destination: ip(destination.0),
            source_port: source.1,
            destination_port: destination.1,
            protocol: protocol::TCP,
            tcp_flags,
            opens: tcp_flags & (flag::SYN | flag::ACK) == flag::SYN,
            packets: 1,
            octets: 60,
            start_ms: at_ms,
            end_ms: at_ms,
            ..Flow::default()
        }
    }

    /// What is told of these flows until so long after the last.
    fn told(flows: &[Flow], after_ms: i64) -> Vec<(Connection, Step)> {
        let mut out = Vec::new();
        let mut connections = Connections::new(1000);
        let mut tell = |connection: &Connection, step| out.push((*connection, step));
        for flow in flows {
            connections.take(flow, flow.end_ms, &mut tell);
            connections.advance(flow.end_ms, &mut tell);
        }
        connections.advance(flows.iter().map(|flow| flow.end_ms).max().unwrap_or(0) + after_ms, &mut tell);
        out
    }

    #[test]
    fn attempts_end_as_their_flags_say() {
        let (client, server) = ((A, 50_000), (B, 443));
        let outcome = |flows: &[Flow]| {
            let steps = told(flows, ANSWER_MS);
            assert_eq!(steps.len(), 1, "{steps:?}");
            assert_eq!((steps[0].0.client, steps[0].0.server_port), (ip(A), 443), "{steps:?}");
            steps[0].1
        };
        let (syn, synack, ack, rst) = (flag::SYN, flag::SYN | flag::ACK, flag::ACK, flag::RST | flag::ACK);
        let request = tcp(client, server, 1000, syn);
        assert_eq!(outcome(&[request]), Step::Judged(Outcome::Unanswered));
        assert_eq!(outcome(&[request, tcp(server, client, 1001, rst)]), Step::Judged(Outcome::Refused));
        let accepted = tcp(server, client, 1001, synack);
        assert_eq!(outcome(&[request, accepted]), Step::Judged(Outcome::Answered));
        assert_eq!(outcome(&[request, accepted, tcp(client, server, 1002, ack)]), Step::Judged(Outcome::Answered));
        // The answer comes first, as records of exporters may.
        assert_eq!(outcome(&[accepted, request]), Step::Judged(Outcome::Answered));
        // One way of it is seen.
        assert_eq!(outcome(&[accepted]), Step::Judged(Outcome::Unknown));
        assert_eq!(outcome(&[request, tcp(client, server, 1002, ack)]), Step::Judged(Outcome::Answered));
        // FIN, NULL and Xmas.
        for odd in [flag::FIN, 0, 0x29] {
            assert_eq!(outcome(&[tcp(client, server, 1, odd)]), Step::Judged(Outcome::Unanswered));
        }
    }

    #[test]
    fn a_conversation_is_judged_once_and_ends_once() {
        let (client, server) = ((A, 50_000), (B, 443));
        let mut flows = vec![tcp(client, server, 0, flag::SYN), tcp(server, client, 1, flag::SYN | flag::ACK)];
        for second in 1..600 {
            flows.push(tcp(client, server, second * 1000, flag::ACK));
        }
        let steps = told(&flows, IDLE_MS);
        let [(_, Step::Judged(Outcome::Answered)), (over, Step::Over)] = &steps[..] else { panic!("{steps:?}") };
        assert_eq!((over.sent.packets, over.received.packets, over.lasts_ms()), (600, 1, 599_000));
        // A SYN over the same ports after an end is another.
        flows.push(tcp(client, server, 600_000, flag::FIN | flag::ACK));
        flows.push(tcp(client, server, 601_000, flag::SYN));
        assert_eq!(told(&flows, ANSWER_MS).len(), 3);
    }

    #[test]
    fn records_with_all_flags_tell_the_client_by_time_or_port() {
        let (client, server) = ((A, 50_000), (B, 3389));
        let whole = |from, to, at_ms| Flow { packets: 70, end_ms: at_ms + 9000, ..tcp(from, to, at_ms, 0x1b) };
        for (asks, answers) in [(1000, 1001), (1000, 1000)] {
            let (ask, answer) = (whole(client, server, asks), whole(server, client, answers));
            for both in [[ask, answer], [answer, ask]] {
                let steps = told(&both, ANSWER_MS);
                let (one, step) = steps[0];
                assert_eq!((one.client, one.server_port, step), (ip(A), 3389, Step::Judged(Outcome::Answered)));
            }
        }
        // The one that opens it is the client, whatever the ports and clocks.
        let steps = told(&[tcp(server, client, 1000, flag::SYN), whole(client, server, 999)], ANSWER_MS);
        assert_eq!(steps[0].0.client, ip(B));
    }

    #[test]
    fn udp_and_icmp_are_questions_and_answers() {
        let udp = |source, destination, at_ms| Flow { protocol: protocol::UDP, ..tcp(source, destination, at_ms, 0) };
        let (client, server) = ((A, 50_000), (B, 53));
        let outcome =
            |flows: &[Flow]| told(flows, ANSWER_MS).iter().map(|(one, step)| (one.client, *step)).collect::<Vec<_>>();
        assert_eq!(outcome(&[udp(client, server, 0)]), [(ip(A), Step::Judged(Outcome::Unanswered))]);
        for both in [[udp(client, server, 0), udp(server, client, 1)], [udp(server, client, 1), udp(client, server, 1)]]
        {
            assert_eq!(outcome(&both), [(ip(A), Step::Judged(Outcome::Answered))]);
        }
        let icmp = |source, destination, kind: u16| Flow {
            protocol: protocol::ICMP,
            ..tcp((source, 0), (destination, kind << 8), 0, 0)
        };
        assert_eq!(outcome(&[icmp(A, B, 8)]), [(ip(A), Step::Judged(Outcome::Unanswered))]);
        assert_eq!(outcome(&[icmp(A, B, 8), icmp(B, A, 0)]), [(ip(A), Step::Judged(Outcome::Answered))]);
        assert_eq!(outcome(&[icmp(B, A, 3)]), []);
    }

    #[test]
    fn a_flood_finds_room_and_costs_no_outcome() {
        let mut connections = Connections::new(1000);
        let mut judged = 0;
        let mut tell = |_: &Connection, step| judged += u64::from(matches!(step, Step::Judged(_)));
        for number in 0..20_000_u16 {
            connections.take(
                &tcp((A, number), (B, 80), i64::from(number) / 1000, flag::SYN),
                i64::from(number) / 1000,
                &mut tell,
            );
            assert!(connections.len() <= 1000);
        }
        connections.finish(&mut tell);
        assert_eq!(judged, 20_000);
    }
}
