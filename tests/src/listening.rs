//! A daemon that listens in a namespace of its own, and what it says in the end of those it heard.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::daemon::{Daemon, Report};
use crate::exporting::{ExportingProcess, Flow, Layout, Sender};
use crate::namespace::Namespace;
use crate::truth::{Counts, Object, number};

/// Where daemons listen for datagrams.
pub const HERE: &str = "127.0.0.1:2055";

/// A namespace, and a daemon that listens there.
pub struct Listening {
    /// The namespace.
    pub room: Namespace,
    /// The daemon.
    pub daemon: Daemon,
    /// Datagrams that it was sent, and may read.
    pub sent: u64,
}

impl Listening {
    /// One that listens for datagrams.
    ///
    /// # Errors
    /// It ends before.
    pub fn start() -> Result<Self> {
        Self::at(&[&format!("udp://{HERE}")])
    }

    /// One that listens at these URLs.
    ///
    /// # Errors
    /// It ends before.
    pub fn at(urls: &[&str]) -> Result<Self> {
        let room = Namespace::new()?;
        let arguments: Vec<&str> = urls.iter().flat_map(|url| ["--listen", url]).collect();
        let daemon = Daemon::start(&room, &arguments)?;
        Ok(Self { room, daemon, sent: 0 })
    }

    /// A socket that sends from this address and port.
    ///
    /// # Errors
    /// The address is taken.
    pub fn from(&self, address: &str) -> Result<Sender> {
        Sender::new(&self.room, address, HERE)
    }

    /// Sends a message, and counts it.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn send(&mut self, sender: &Sender, message: &[u8]) -> Result<()> {
        self.sent += 1;
        sender.send(message)
    }

    /// Ends it when it has read all datagrams.
    ///
    /// # Errors
    /// It does not read them, or see [`Daemon::stop_with`].
    pub fn stop(self) -> Result<Report> {
        self.daemon.wait_for_health("listeners", "every datagram", |listener| listener["messages"] == self.sent)?;
        self.daemon.stop()
    }
}

/// `count` flows from number `first` on.
#[must_use]
pub fn flows(first: u32, count: u32, process: &ExportingProcess) -> Vec<Flow> {
    (first..first + count).map(|number| Flow::numbered(number, process)).collect()
}

/// Tells who listens at [`HERE`] of so many flows, in messages of 20, from an exporter at 127.0.0.3; `protocol` says of which protocol the
/// flow of a number is. What they have counted.
///
/// # Errors
/// Nobody listens.
pub fn tell(room: &Namespace, count: u32, protocol: impl Fn(u32) -> u8) -> Result<Counts> {
    let sender = Sender::new(room, "127.0.0.3:9000", HERE)?;
    let mut process = ExportingProcess::new(10, 1);
    let layout = Layout::plain(256, &process);
    let mut told = Counts::default();
    for first in (0..count).step_by(20) {
        let mut data = flows(first, 20.min(count - first), &process);
        for (flow, number) in data.iter_mut().zip(first..) {
            flow.protocol = protocol(number);
            told += Counts { packets: flow.packets.into(), octets: flow.octets.into(), layer2_octets: 0 };
        }
        sender.send(&process.message(&[layout.template(), layout.data(&data, &process)]))?;
    }
    Ok(told)
}

/// Protocols of all kinds, by the number of the flow.
#[must_use]
pub fn of_all_kinds(number: u32) -> u8 {
    [6, 17, 17, 1, 58, 47][number as usize % 6]
}

/// The records of an exporter.
#[must_use]
pub fn of<'a>(report: &'a Report, address: &str) -> Vec<&'a Object> {
    let by = |record: &&Object| {
        ["exporterIPv4Address", "exporterIPv6Address"]
            .iter()
            .any(|name| record.get(*name).and_then(Value::as_str) == Some(address))
    };
    report.records.iter().filter(by).collect()
}

/// The sum of a number in the health of all exporters of an address.
///
/// # Errors
/// There is no such exporter, or no such number.
pub fn health(report: &Report, address: &str, name: &str) -> Result<u64> {
    let mut of_address = report.exporters.iter().filter(|exporter| exporter.get("address") == Some(&json!(address)));
    let first = of_address.next().with_context(|| format!("no exporter {address}: {:?}", report.exporters))?;
    of_address.try_fold(number(first, name)?, |sum, exporter| Ok(sum + number(exporter, name)?))
}
