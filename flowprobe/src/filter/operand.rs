//! What comparisons compare: `len`, `tcp[tcpflags] & (tcp-syn|tcp-ack)`, and numbers.

use flowprobe_ebpf::protocol::{DCCP, SCTP, TCP, UDP, UDP_LITE};

use super::FilterError;
use super::ast::{Comparison, Primitive, Quantity, Relation, Version};
use super::error::{unexpected, unsupported};
use super::lexer::Token;
use super::names;
use super::parser::Parser;
use super::primitive::Qualifiers;

const NUMBER: &str = "a number, or a name such as tcp-syn or icmp-echo";
const RELATION: &str = "a comparison such as == or !=";
const ACCESSORS: &str = "flows keep a few header fields only: tcp[tcpflags], icmp[icmptype], icmp[icmpcode], their like of \
                         icmp6, ip[1], ip[2:2], ip[8], ip[9], ip6[7], and ports as in tcp[0:2]";
const ARITHMETIC: &str =
    "there is no arithmetic but `&` with a constant on the left of a comparison and `|` between constants";

/// The symbols that pcap calculates with.
const OPERATORS: [&str; 9] = ["+", "*", "/", "%", "^", "<<", ">>", "&", "|"];

impl<'a> Parser<'a> {
    /// A comparison, whose first token is the next one.
    pub(super) fn comparison(&mut self) -> Result<Primitive, FilterError> {
        let (quantity, mask) = self.operand()?;
        let relation = self.relation()?;
        let number = self.constants()?;
        self.no_arithmetic()?;
        self.qualifiers = Qualifiers::default();
        Ok(Primitive::Compare(Comparison { quantity, mask, relation, number }))
    }

    /// Whether a comparison's left side begins here with a parenthesis; any other would be of a whole expression.
    pub(super) fn is_operand_in_parentheses(&mut self) -> bool {
        let begin = self.position();
        let is_operand = self.operand().is_ok() && relation_of(self.peek().text).is_some();
        self.go_back(begin);
        is_operand
    }

    fn operand(&mut self) -> Result<(Quantity, u32), FilterError> {
        let (quantity, mask) = if let Some(open) = self.take("(") {
            self.nest(open)?;
            let inner = self.operand()?;
            self.expect(")", "`)`")?;
            inner
        } else {
            (self.quantity()?, u32::MAX)
        };
        if self.take("&").is_none() {
            return Ok((quantity, mask));
        }
        Ok((quantity, mask & self.constant()?))
    }

    fn quantity(&mut self) -> Result<Quantity, FilterError> {
        let header = self.next();
        if header.text == "len" {
            return Ok(Quantity::Length);
        }
        self.expect("[", "`[`")?;
        let mut index = String::new();
        while self.peek().text != "]" {
            let token = self.next();
            if token.text.is_empty() {
                return Err(unexpected(token, "`]`"));
            }
            index.push_str(token.text);
        }
        self.next();
        quantity_at(header.text, &index)
            .ok_or_else(|| unsupported(header, format!("{}[{index}]", header.text), ACCESSORS))
    }

    fn relation(&mut self) -> Result<Relation, FilterError> {
        self.no_arithmetic()?;
        let token = self.next();
        relation_of(token.text).ok_or_else(|| unexpected(token, RELATION))
    }

    /// Constants joined by `|`.
    fn constants(&mut self) -> Result<u32, FilterError> {
        let mut number = self.constant()?;
        while self.take("|").is_some() {
            number |= self.constant()?;
        }
        Ok(number)
    }

    fn constant(&mut self) -> Result<u32, FilterError> {
        if let Some(open) = self.take("(") {
            self.nest(open)?;
            let number = self.constants()?;
            self.no_arithmetic()?;
            self.expect(")", "`)`")?;
            return Ok(number);
        }
        let token = self.next();
        names::number(token.text).or_else(|| names::constant(token.text)).ok_or_else(|| unexpected(token, NUMBER))
    }

    fn no_arithmetic(&self) -> Result<(), FilterError> {
        let token: Token<'a> = self.peek();
        if OPERATORS.contains(&token.text) { Err(unsupported(token, token.text, ARITHMETIC)) } else { Ok(()) }
    }
}

fn relation_of(symbol: &str) -> Option<Relation> {
    Some(match symbol {
        "=" | "==" => Relation::Equal,
        "!=" => Relation::NotEqual,
        "<" => Relation::Less,
        "<=" => Relation::LessOrEqual,
        ">" => Relation::Greater,
        ">=" => Relation::GreaterOrEqual,
        _ => return None,
    })
}

/// The field at `header[index]`, where `index` is a name, an offset, or an offset and a size.
fn quantity_at(header: &str, index: &str) -> Option<Quantity> {
    let (offset, size) = match (header, index) {
        ("tcp", "tcpflags") => (13, 1),
        ("icmp", "icmptype") | ("icmp6", "icmp6type") => (0, 1),
        ("icmp", "icmpcode") | ("icmp6", "icmp6code") => (1, 1),
        _ => match index.split_once(':') {
            Some((offset, size)) => (names::number(offset)?, names::number(size)?),
            None => (names::number(index)?, 1),
        },
    };
    let ports_of = match header {
        "tcp" => Some(TCP),
        "udp" => Some(UDP),
        "sctp" => Some(SCTP),
        "dccp" => Some(DCCP),
        "udplite" => Some(UDP_LITE),
        _ => None,
    };
    match (ports_of, offset, size) {
        (Some(protocol), 0, 2) => return Some(Quantity::SourcePort(protocol)),
        (Some(protocol), 2, 2) => return Some(Quantity::DestinationPort(protocol)),
        _ => {}
    }
    Some(match (header, offset, size) {
        ("ip", 1, 1) => Quantity::Tos,
        ("ip", 2, 2) => Quantity::IpLength,
        ("ip", 8, 1) => Quantity::Ttl(Version::V4),
        ("ip", 9, 1) => Quantity::Protocol,
        ("ip6", 7, 1) => Quantity::Ttl(Version::V6),
        ("tcp", 13, 1) => Quantity::TcpFlags,
        ("icmp", 0, 1) => Quantity::IcmpType(Version::V4),
        ("icmp", 1, 1) => Quantity::IcmpCode(Version::V4),
        ("icmp6", 0, 1) => Quantity::IcmpType(Version::V6),
        ("icmp6", 1, 1) => Quantity::IcmpCode(Version::V6),
        _ => return None,
    })
}
