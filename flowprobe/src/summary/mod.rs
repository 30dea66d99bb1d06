//! The summary on the terminal: what went by in the last seconds, and whether the numbers add up.

mod accounting;
pub(crate) mod format;
mod screen;
pub(crate) mod window;

use std::io::{self, Write};
use std::time::Duration;

use crate::collect::Listening;
use crate::output::Writer;
use crate::record::has_ports;
use crate::sink::{Event, Tick};
use format::{bits_per_second, bytes, compact, count, duration};
pub(crate) use format::{protocol_name, protocol_number};
pub use screen::Screen;
use window::{Amount, Conversation, Port, Window};

/// How much of the past the tables show.
const WINDOW: Duration = Duration::from_secs(10);

/// Columns; the narrowest terminal that is catered for.
const WIDTH: usize = 80;

/// Writes a summary at each tick.
pub struct Summary {
    screen: Screen,
    /// How much of the past the tables show; all of it, and only at the end, without.
    span: Option<Duration>,
    window: Window,
    /// What is metered and how, as the title shows it.
    metered: String,
    begin_ns: Option<u64>,
    /// Packets and octets seen, and the time, at the tick before.
    previous: Option<(u64, u64, u64)>,
}

impl Summary {
    /// A summary of the interfaces that `metered` names.
    #[must_use]
    pub fn new(screen: Screen, metered: String) -> Self {
        Self { screen, span: Some(WINDOW), window: Window::new(WINDOW), metered, begin_ns: None, previous: None }
    }

    /// A summary, at the end, of everything that was read from `captures`.
    #[must_use]
    pub fn of_everything(captures: String) -> Self {
        Self { span: None, ..Self::new(Screen::elsewhere(), captures) }
    }

    fn render(&mut self, tick: &Tick, rows: usize) -> Vec<String> {
        let begin = *self.begin_ns.get_or_insert(tick.now_ns);
        let up = Duration::from_nanos(tick.now_ns.saturating_sub(begin));
        let metered = format!("{}{}", self.metered, tick.selection);
        let title = match self.span {
            Some(_) => format!("flowprobe {} · up {} · {metered}", env!("CARGO_PKG_VERSION"), duration(up)),
            None => format!("flowprobe {} · {metered}", env!("CARGO_PKG_VERSION")),
        };
        let mut lines = vec![shortened(&title, WIDTH)];
        // Without interfaces nothing was seen here, and nothing is open.
        if !tick.accounting.is_empty() || tick.listening.listeners.is_empty() {
            lines.push(self.rates(tick));
        }
        lines.extend(accounting::lines(&tick.accounting, rows / 3));
        lines.extend(received(&tick.listening));
        for sink in tick.sinks.iter().filter(|sink| sink.lost.records > 0) {
            lines.push(format!("{}: {} records lost", sink.name, count(sink.lost.records)));
        }
        let rows_per_table = (rows.saturating_sub(lines.len() + 7) / 3).clamp(3, 10);
        lines.push(String::new());
        lines.extend(self.tables(rows_per_table));
        lines
    }

    fn rates(&mut self, tick: &Tick) -> String {
        let packets: u64 = tick.accounting.iter().map(|one| one.kernel.seen.packets).sum();
        let octets: u64 = tick.accounting.iter().map(|one| one.kernel.seen.octets).sum();
        let now = (packets, octets, tick.now_ns);
        let (packets_before, octets_before, then) = self.previous.replace(now).unwrap_or((0, 0, tick.now_ns));
        let nanoseconds = tick.now_ns.saturating_sub(then);
        let per_second = |amount: u64| {
            let rate = u128::from(amount) * 1_000_000_000 / u128::from(nanoseconds.max(1));
            if nanoseconds == 0 { 0 } else { u64::try_from(rate).unwrap_or(u64::MAX) }
        };
        let total = format!("total {} packets, {}", compact(packets), bytes(octets));
        if tick.last {
            // The programs are off and the table is empty: there is no "now" any more.
            return total;
        }
        format!(
            "now {} packets/s, {} · {total} · {} open flows",
            compact(per_second(packets - packets_before)),
            bits_per_second(per_second(octets - octets_before)),
            compact(tick.open_flows as u64),
        )
    }

    /// The heading of a table as wide as the screen, which says how much of the past it shows.
    fn heading(&self, title: &str) -> String {
        match self.span {
            Some(span) => heading(&format!("{title} (last {})", duration(span)), WIDTH),
            None => heading(title, WIDTH),
        }
    }

    fn tables(&self, rows: usize) -> Vec<String> {
        let totals = self.window.totals();
        let mut lines = vec![self.heading("Top sources")];
        lines.extend(totals.top_sources(rows).map(|(address, amount)| row(&address.to_string(), amount, WIDTH)));
        lines.push(String::new());

        let half = WIDTH / 2 - 1;
        let mut left = vec![heading("Protocols", half)];
        left.extend(totals.top_protocols(rows).map(|(protocol, amount)| row(&protocol_name(protocol), amount, half)));
        let mut right = vec![heading("Ports", half)];
        right.extend(totals.top_ports(rows).map(|(Port { protocol, port }, amount)| {
            row(&format!("{}/{port}", protocol_name(protocol).to_lowercase()), amount, half)
        }));
        for line in 0..left.len().max(right.len()) {
            let cell = |column: &[String]| column.get(line).cloned().unwrap_or_default();
            lines.push(format!("{:half$}  {}", cell(&left), cell(&right)).trim_end().to_owned());
        }
        lines.push(String::new());

        lines.push(self.heading("Conversations"));
        lines.extend(
            totals.top_conversations(rows).map(|(conversation, amount)| row(&describe(&conversation), amount, WIDTH)),
        );
        lines
    }
}

/// What listeners have received, a line for each.
fn received(listening: &Listening) -> impl Iterator<Item = String> {
    listening.listeners.iter().map(|listener| {
        let heard = listening.exporters.iter().filter(|exporter| exporter.listener == listener.socket.url);
        let (exporters, records, missing) = heard.fold((0, 0, 0), |(exporters, records, missing), one| {
            (exporters + 1, records + one.health.records, missing + one.health.missing)
        });
        let dropped = listener.socket.kernel_drops + listener.socket.truncated;
        let plural = if exporters == 1 { "" } else { "s" };
        let numbers = format!(
            ": {} records of {exporters} exporter{plural} · {} missing · {} dropped",
            compact(records),
            compact(missing),
            compact(dropped)
        );
        let room = WIDTH.saturating_sub(numbers.chars().count()).max(8);
        format!("{}{numbers}", shortened(&listener.socket.url, room))
    })
}

impl Writer for Summary {
    fn write(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()> {
        match event {
            Event::Deltas(deltas) | Event::ReceivedDeltas(deltas) => {
                self.window.add(deltas);
                Ok(())
            }
            Event::Tick(tick) if self.span.is_none() && !tick.last => Ok(()),
            Event::Tick(tick) => {
                self.window.tick(tick.now_ns);
                let rows = self.screen.rows();
                let lines = self.render(tick, rows);
                self.screen.draw(&lines, tick.last, out)
            }
            Event::Records(_) | Event::Datagrams(_) => Ok(()),
        }
    }
}

/// Width of the two columns of numbers.
const NUMBER: usize = 10;

fn heading(title: &str, width: usize) -> String {
    let label = width - 2 * NUMBER;
    format!("{title:label$}{:>NUMBER$}{:>NUMBER$}", "packets", "bytes")
}

fn row(label: &str, amount: Amount, width: usize) -> String {
    let room = width - 2 * NUMBER;
    let label = shortened(label, room);
    format!("{label:room$}{:>NUMBER$}{:>NUMBER$}", count(amount.packets), bytes(amount.octets))
}

/// A label that fits: its middle is left out.
fn shortened(label: &str, room: usize) -> String {
    let length = label.chars().count();
    if length <= room {
        return label.to_owned();
    }
    let half = (room - 1) / 2;
    let begin: String = label.chars().take(half).collect();
    let end: String = label.chars().skip(length - (room - 1 - half)).collect();
    format!("{begin}…{end}")
}

fn describe(conversation: &Conversation) -> String {
    let Conversation { source, destination, protocol, source_port, destination_port } = conversation;
    let name = protocol_name(*protocol).to_lowercase();
    if has_ports(*protocol) {
        format!("{name} {source} :{source_port} → {destination} :{destination_port}")
    } else if matches!(*protocol, crate::record::ICMP | crate::record::ICMPV6) {
        format!("{name} {source} → {destination} type {} code {}", destination_port >> 8, destination_port & 0xff)
    } else {
        format!("{name} {source} → {destination}")
    }
}

/// Of a capture, its name without the folders. Interfaces have none.
#[must_use]
pub fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
pub(crate) mod tests;
