//! The rows of a panel, made from what the daemon said: the same for every size of the terminal.

use std::cmp::Ordering;
use std::net::{IpAddr, SocketAddr};

use super::api::{
    Accounting, Conversation, Direction, Interface, Interfaces, Live, Picture, Series, Sum, Terms, Text, whole,
};
use super::panel::{Choice, Key, Panel};
use super::text::{bars, rates};
use crate::record::has_ports;
use crate::status::Amount;
use crate::summary::format::{bits, bytes, compact, count};

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) title: &'static str,
    /// Columns of the terminal that it takes, or at least takes where it grows.
    pub(super) width: u16,
    /// Columns that it takes, where it grows, before others get any.
    pub(super) likes: u16,
    /// Columns that it takes at most: what is in a row is to be seen as one.
    pub(super) most: u16,
    pub(super) shape: Shape,
    /// Whether rows can be sorted by it.
    pub(super) sorts: bool,
}

/// How a column is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Text that takes what room is left, sorted from A to Z.
    Growing,
    /// Text, sorted from A to Z.
    Text,
    /// To the right, and sorted from the largest down.
    Number,
}

/// What a cell is sorted by.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Order {
    /// It is not known.
    #[default]
    None,
    Number(u64),
    Address(IpAddr, u16),
    Text(String),
}

/// A cell.
#[derive(Clone, Debug, Default)]
pub(super) struct Cell {
    pub(super) text: String,
    order: Order,
}

/// A row.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) key: Key,
    pub(super) cells: Vec<Cell>,
    /// Whether it says that something is wrong.
    pub(super) alarming: bool,
}

/// How a panel's rows are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sorting {
    pub(super) column: usize,
    pub(super) reversed: bool,
}

const fn growing(title: &'static str, width: u16, likes: u16, most: u16) -> Column {
    Column { title, width, likes, most, shape: Shape::Growing, sorts: true }
}

const fn text(title: &'static str, width: u16) -> Column {
    Column { title, width, likes: width, most: width, shape: Shape::Text, sorts: true }
}

const fn number(title: &'static str, width: u16) -> Column {
    Column { title, width, likes: width, most: width, shape: Shape::Number, sorts: true }
}

/// A column with the same order as one that sorts.
const fn more(title: &'static str, width: u16, shape: Shape) -> Column {
    Column { title, width, likes: width, most: width, shape, sorts: false }
}

const RATE: Column = number("rate", 11);
const PACKETS_PER_SECOND: Column = number("packets/s", 10);
const SHARE: Column = more("share", 6, Shape::Number);
const BYTES: Column = more("bytes", 8, Shape::Number);
const PACKETS: Column = more("packets", 8, Shape::Number);

/// Columns of the longest addresses, and with a port.
const V4: u16 = 15;
const V4_AND_PORT: u16 = 21;
const V6: u16 = 39;
const V6_AND_PORT: u16 = 47;

/// Columns of a protocol's last minutes.
const TREND: u16 = 30;

impl Panel {
    /// Its columns; those that come first stay where room is scarce.
    pub(super) const fn columns(self) -> &'static [Column] {
        match self {
            Self::Sources => {
                const { &[growing("source", V4, V6, V6_AND_PORT), RATE, PACKETS_PER_SECOND, SHARE, BYTES, PACKETS] }
            }
            Self::Destinations => {
                const { &[growing("destination", V4, V6, V6_AND_PORT), RATE, PACKETS_PER_SECOND, SHARE, BYTES, PACKETS] }
            }
            Self::Protocols => {
                const {
                    &[
                        growing("protocol", 9, 9, 20),
                        RATE,
                        PACKETS_PER_SECOND,
                        SHARE,
                        more("last minutes", TREND, Shape::Text),
                        BYTES,
                        PACKETS,
                    ]
                }
            }
            Self::Ports => const { &[growing("port", 9, 16, 40), RATE, PACKETS_PER_SECOND, SHARE, BYTES, PACKETS] },
            Self::Conversations | Self::Chosen => {
                const {
                    &[
                        text("service", 11),
                        growing("source", V4, V4_AND_PORT, V6_AND_PORT),
                        growing("destination", V4, V4_AND_PORT, V6_AND_PORT),
                        RATE,
                        PACKETS_PER_SECOND,
                        SHARE,
                        BYTES,
                        PACKETS,
                    ]
                }
            }
            Self::Interfaces => {
                const {
                    &[
                        growing("interface", 10, 15, 40),
                        text("dir", 4),
                        RATE,
                        PACKETS_PER_SECOND,
                        number("use", 6),
                        more("hook", 12, Shape::Text),
                        number("bytes", 8),
                        number("packets", 8),
                        number("speed", 11),
                    ]
                }
            }
            Self::Accounting => {
                const {
                    &[
                        growing("accounting", 11, 12, 40),
                        text("dir", 4),
                        text("adds up", 8),
                        number("seen", 8),
                        number("exported", 9),
                        number("held", 8),
                        number("overflow", 9),
                        number("unparsed", 9),
                        number("sampled", 8),
                        number("filtered", 9),
                    ]
                }
            }
        }
    }

    /// By what rows are sorted at first.
    pub(super) fn sorting(self) -> Sorting {
        let wanted = if self == Self::Accounting { "accounting" } else { "rate" };
        let column = self.columns().iter().position(|column| column.title == wanted);
        Sorting { column: column.unwrap_or_default(), reversed: false }
    }

    /// Its rows, in no order. Of conversations, those of the `choice`.
    pub(super) fn rows(self, picture: &Picture, choice: Option<Choice>) -> Vec<Row> {
        let Picture { live, accounting, interfaces, .. } = picture;
        match self {
            Self::Sources => live.sources.iter().map(|one| talker(one.address, one.sum, live)).collect(),
            Self::Destinations => live.destinations.iter().map(|one| talker(one.address, one.sum, live)).collect(),
            Self::Protocols => protocols(live),
            Self::Ports => ports(live),
            Self::Conversations => live.conversations.iter().map(|one| conversation(one, live)).collect(),
            Self::Chosen => {
                let chosen = live.conversations.iter().filter(|one| choice.is_none_or(|choice| choice.has(one)));
                chosen.map(|one| conversation(one, live)).collect()
            }
            Self::Interfaces => interface_rows(interfaces),
            Self::Accounting => accounting_rows(accounting),
        }
    }

    /// How many rows the daemon has given for it, of those of which it gives no more than it is asked for.
    pub(super) fn given(self, live: &Live) -> usize {
        match self {
            Self::Sources => live.sources.len(),
            Self::Destinations => live.destinations.len(),
            Self::Protocols => live.protocols.len(),
            Self::Ports => live.services.len(),
            Self::Conversations | Self::Chosen => live.conversations.len(),
            Self::Interfaces | Self::Accounting => 0,
        }
    }
}

impl Column {
    /// Whether its largest come first, so sorted.
    pub(super) fn descends(&self, sorting: Sorting) -> bool {
        (self.shape == Shape::Number) != sorting.reversed
    }
}

impl Sorting {
    /// Sorts rows of these columns. What is equal keeps the same order from time to time.
    pub(super) fn sort(self, columns: &[Column], rows: &mut [Row]) {
        let descends = columns.get(self.column).is_some_and(|column| column.descends(self));
        rows.sort_by(|one, other| {
            let order = match (one.cells.get(self.column), other.cells.get(self.column)) {
                (Some(one), Some(other)) => one.order.cmp(&other.order),
                _ => Ordering::Equal,
            };
            if descends { order.reverse() } else { order }.then_with(|| one.key.cmp(&other.key))
        });
    }

    /// Sorted by the next column that sorts.
    pub(super) fn next(self, columns: &[Column]) -> Self {
        let next = (1..=columns.len()).map(|by| (self.column + by) % columns.len().max(1));
        let column = next.into_iter().find(|column| columns.get(*column).is_some_and(|column| column.sorts));
        Self { column: column.unwrap_or(self.column), reversed: false }
    }
}

impl Row {
    /// Whether one of its texts, or all of them with a space between, contain `wanted`, which is in small letters.
    pub(super) fn contains(&self, wanted: &str) -> bool {
        let texts: Vec<&str> = self.cells.iter().map(|cell| cell.text.as_str()).collect();
        texts.join(" ").to_lowercase().contains(wanted)
    }
}

impl Cell {
    fn text(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { order: Order::Text(text.to_lowercase()), text }
    }

    fn number(number: u64, text: impl FnOnce(u64) -> String) -> Self {
        Self { text: text(number), order: Order::Number(number) }
    }

    fn address(address: IpAddr, port: Option<u16>) -> Self {
        let text = port.map_or_else(|| address.to_string(), |port| SocketAddr::new(address, port).to_string());
        Self { text, order: Order::Address(address, port.unwrap_or_default()) }
    }
}

/// The cells of [`RATE`] and those that follow it.
fn amounts(sum: Sum, live: &Live) -> [Cell; 5] {
    // Sorted by what was counted, which has no ties that rounding makes.
    let per_second = |amount: u64, factor: f64| rate(amount, live.covered_seconds, factor);
    [
        Cell::number(sum.octets, |octets| bits(per_second(octets, 8.0))),
        Cell::number(sum.packets, |packets| count(per_second(packets, 1.0))),
        share(sum.octets, live.total.octets),
        Cell::number(sum.octets, bytes),
        Cell::number(sum.packets, compact),
    ]
}

/// So many times an amount, a second.
fn rate(amount: u64, seconds: f64, factor: f64) -> u64 {
    #[expect(clippy::cast_precision_loss, reason = "three digits of it are shown")]
    let rate = if seconds > 0.0 { amount as f64 * factor / seconds } else { 0.0 };
    whole(rate)
}

/// A part in percent, of nothing none.
fn share(part: u64, whole: u64) -> Cell {
    let tenths = (u128::from(part) * 1000).checked_div(u128::from(whole)).unwrap_or_default();
    let tenths = u64::try_from(tenths).unwrap_or(u64::MAX);
    Cell::number(tenths, |tenths| format!("{}.{}%", tenths / 10, tenths % 10))
}

fn row(key: Key, cells: impl IntoIterator<Item = Cell>) -> Row {
    Row { key, cells: cells.into_iter().collect(), alarming: false }
}

fn talker(address: IpAddr, sum: Sum, live: &Live) -> Row {
    row(Key::Address(address), [Cell::address(address, None)].into_iter().chain(amounts(sum, live)))
}

fn protocols(live: &Live) -> Vec<Row> {
    let rows = live.protocols.iter().map(|protocol| {
        let trend = trend(&live.series, protocol.protocol_identifier);
        let [rate, packets_per_second, share, bytes, packets] = amounts(protocol.sum, live);
        let name = Cell::text(protocol.protocol.as_str());
        let cells = [name, rate, packets_per_second, share, Cell::text(trend), bytes, packets];
        row(Key::Protocol(protocol.protocol_identifier), cells)
    });
    rows.collect()
}

fn trend(series: &Series, protocol: u8) -> String {
    let of_it = series.protocols.iter().find(|one| one.protocol_identifier == protocol);
    of_it.map_or_else(String::new, |of_it| bars(&rates(series, &of_it.octets, TREND)))
}

fn ports(live: &Live) -> Vec<Row> {
    let rows = live.services.iter().map(|service| {
        let number = format!("{}/{}", service.protocol.as_str().to_lowercase(), service.port);
        let text = match &service.service_name {
            Some(name) => format!("{number} {}", name.as_str()),
            None => number,
        };
        let label = Cell { text, order: Order::Number(u64::from(service.port)) };
        let key = Key::Port(service.protocol_identifier, service.port);
        row(key, [label].into_iter().chain(amounts(service.sum, live)))
    });
    rows.collect()
}

fn conversation(conversation: &Conversation, live: &Live) -> Row {
    let Conversation { source, destination, protocol_identifier, protocol, service_name, sum, .. } = conversation;
    let ports = match has_ports(*protocol_identifier) {
        true => [conversation.source_port, conversation.destination_port],
        false => [None; 2],
    };
    let service = match service_name {
        Some(name) => format!("{} {}", protocol.as_str().to_lowercase(), name.as_str()),
        None => protocol.as_str().to_lowercase(),
    };
    let key = Key::Conversation(
        *protocol_identifier,
        (*source, ports[0].unwrap_or_default()),
        (*destination, ports[1].unwrap_or_default()),
    );
    let ends = [Cell::text(service), Cell::address(*source, ports[0]), Cell::address(*destination, ports[1])];
    row(key, ends.into_iter().chain(amounts(*sum, live)))
}

fn interface_rows(interfaces: &Interfaces) -> Vec<Row> {
    let of_one = |interface: &Interface| -> Vec<Row> {
        let Interface { interface: name, hook, speed_bits_per_second: speed, directions } = interface;
        let away = hook.is_none();
        let rows = directions.iter().map(|Direction { direction, bits_per_second, packets_per_second, seen }| {
            let rate = whole(*bits_per_second);
            let hook = hook.as_ref().map_or("not there", Text::as_str);
            let cells = [
                Cell::text(name.as_str()),
                Cell::text(short(direction)),
                Cell::number(rate, bits),
                Cell::number(whole(*packets_per_second), count),
                speed.map_or_else(Cell::default, |speed| share(rate, speed)),
                Cell::text(hook),
                Cell::number(seen.octets, bytes),
                Cell::number(seen.packets, compact),
                speed.map_or_else(Cell::default, |speed| Cell::number(speed, bits)),
            ];
            let key = Key::Interface(name.as_str().to_owned(), short(direction).to_owned());
            Row { alarming: away, ..row(key, cells) }
        });
        rows.collect()
    };
    interfaces.interfaces.iter().flat_map(of_one).collect()
}

fn accounting_rows(accounting: &Accounting) -> Vec<Row> {
    let rows = accounting.sums.iter().map(|terms| {
        let Terms { interface, direction, balances, .. } = terms;
        let packets = |amount: Amount| Cell::number(amount.packets, compact);
        let cells = [
            Cell::text(interface.as_str()),
            Cell::text(short(direction)),
            Cell::text(if *balances { "yes" } else { "NO" }),
            packets(terms.seen),
            packets(terms.exported),
            packets(terms.held),
            packets(terms.overflow),
            packets(terms.unparsed),
            packets(terms.sampled_out),
            packets(terms.filtered_out),
        ];
        let key = Key::Interface(interface.as_str().to_owned(), short(direction).to_owned());
        Row { alarming: !balances, ..row(key, cells) }
    });
    rows.collect()
}

/// A direction in few columns.
fn short(direction: &Text) -> &str {
    match direction.as_str() {
        "ingress" => "in",
        "egress" => "out",
        other => other,
    }
}
