//! Sends messages to one collector over UDP (RFC 7011 section 10.3).

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::elements::Schema;
use super::message::Encoder;
use super::statistics::{Facts, Sent};
use crate::clock::{self, WallOffset};
use crate::config::Collector;
use crate::kernel;
use crate::losses::{Losses, Lost, Noted};
use crate::record::FlowRecord;
use crate::sink::{Event, Tick};

/// Octets of the UDP header and of the IP header without options.
const HEADERS_V4: usize = 8 + 20;
const HEADERS_V6: usize = 8 + 40;

/// A session with each of `collectors`.
///
/// # Errors
/// A name has no address, or a socket cannot be opened.
pub async fn connect_all(
    collectors: &[Collector],
    schema: &Arc<Schema>,
    observation_domain: u32,
) -> anyhow::Result<Vec<(Collector, UdpExporter)>> {
    let mut exporters = Vec::new();
    for collector in collectors {
        let address = resolve(collector).await.with_context(|| format!("cannot find the collector {collector}"))?;
        let exporter = UdpExporter::connect(collector, address, Arc::clone(schema), observation_domain)
            .await
            .with_context(|| format!("cannot reach the collector {collector}"))?;
        exporters.push((collector.clone(), exporter));
    }
    Ok(exporters)
}

async fn resolve(collector: &Collector) -> io::Result<SocketAddr> {
    let mut addresses = tokio::net::lookup_host((collector.host.as_str(), collector.port)).await?;
    addresses.next().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
}

/// One collector's session.
pub struct UdpExporter {
    name: Arc<str>,
    socket: UdpSocket,
    is_ipv6: bool,
    mtu: usize,
    encoder: Encoder,
    observation_domain: u32,
    /// The records of the message being built.
    pending: Vec<FlowRecord>,
    template_refresh: Duration,
    templates_sent: Option<Instant>,
    /// The collector has not had options records since it was last sent templates.
    options_due: bool,
    /// Messages refused in a row.
    failures: u64,
    sent: Sent,
    losses: Losses,
    not_sent: Noted<Lost>,
}

impl UdpExporter {
    /// Opens a socket to the collector at `address`.
    ///
    /// # Errors
    /// The socket cannot be opened or there is no route.
    pub async fn connect(
        collector: &Collector,
        address: SocketAddr,
        schema: Arc<Schema>,
        observation_domain: u32,
    ) -> io::Result<Self> {
        let is_ipv6 = address.is_ipv6();
        let any: SocketAddr =
            if is_ipv6 { (Ipv6Addr::UNSPECIFIED, 0).into() } else { (Ipv4Addr::UNSPECIFIED, 0).into() };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(address).await?;
        kernel::forbid_fragments(socket.as_fd(), is_ipv6)?;
        let mut exporter = Self {
            name: Arc::from(collector.to_string()),
            socket,
            is_ipv6,
            mtu: usize::from(collector.mtu),
            encoder: Encoder::new(schema, observation_domain, 0),
            observation_domain,
            pending: Vec::new(),
            template_refresh: collector.template_refresh,
            templates_sent: None,
            options_due: true,
            failures: 0,
            sent: Sent::default(),
            losses: Losses::default(),
            not_sent: Noted::default(),
        };
        exporter.follow_path_mtu();
        Ok(exporter)
    }

    /// Where it counts the records that could not be sent.
    #[must_use]
    pub fn losses(&self) -> Losses {
        self.losses.clone()
    }

    /// Sends what comes in until the queue is closed and empty. What cannot be sent is counted in [`UdpExporter::losses`].
    pub async fn run(mut self, mut queue: mpsc::Receiver<Event>) {
        while let Some(event) = queue.recv().await {
            match event {
                Event::Records(batch) => {
                    self.follow_schema(&batch.schema).await;
                    for record in &*batch.records {
                        self.push(record).await;
                    }
                }
                Event::Tick(tick) => self.report(&tick).await,
                Event::Deltas(_) => {}
            }
            // What waits in the queue may fill the message; nothing else is worth a delay.
            if queue.is_empty() {
                self.flush().await;
            }
        }
        self.flush().await;
        match self.losses.total().records {
            0 => info!("{}: {} records sent", self.name, self.sent.records),
            lost => warn!("{}: {} records sent, {lost} lost", self.name, self.sent.records),
        }
    }

    /// Where records come to have another schema, it goes into messages of its own, templates first.
    async fn follow_schema(&mut self, schema: &Arc<Schema>) {
        if !Arc::ptr_eq(schema, self.encoder.schema()) {
            self.flush().await;
            self.encoder.set_schema(Arc::clone(schema));
            self.templates_sent = None;
        }
    }

    /// Says what the session has had and what it lacks (RFC 7011 section 4): at first, with every refresh of the templates,
    /// and at the end.
    async fn report(&mut self, tick: &Tick) {
        self.flush().await;
        self.not_sent.note(self.losses.total(), tick.offset.to_wall_ms(tick.now_ns));
        self.refresh_templates().await;
        if !self.options_due && !tick.last {
            return;
        }
        // Once more where the path has turned out to be too narrow.
        for _ in 0..2 {
            self.options_due = false;
            let (process, not_sent) = (std::process::id(), self.not_sent);
            let facts = Facts::new(tick, self.observation_domain, process, self.sent, not_sent);
            for (template, facts) in facts.records(tick) {
                if !self.encoder.fits_options(template, &facts) {
                    self.flush().await;
                }
                self.encoder.push_options(template, &facts);
            }
            self.flush().await;
            if !self.options_due {
                break;
            }
        }
    }

    async fn push(&mut self, record: &FlowRecord) {
        if !self.encoder.fits(record) {
            self.flush().await;
        }
        self.refresh_templates().await;
        if !self.encoder.fits(record) {
            self.flush().await;
        }
        self.encoder.push(record);
        self.pending.push(*record);
    }

    /// Puts the templates in front of what follows, when they are due.
    async fn refresh_templates(&mut self) {
        let due = self.templates_sent.is_none_or(|sent| sent.elapsed() >= self.template_refresh);
        if due {
            self.flush().await;
            // Before: where a message of templates is lost, they are due again.
            self.templates_sent = Some(Instant::now());
            self.options_due = true;
            let mut next = self.encoder.push_templates(0);
            while next < self.encoder.templates() {
                self.flush().await;
                next = self.encoder.push_templates(next);
            }
        }
    }

    /// Finishes and sends the message being built.
    async fn flush(&mut self) {
        let export_time = WallOffset::measure().to_wall_s(clock::monotonic_ns());
        let Some(message) = self.encoder.finish(export_time) else {
            return;
        };
        match self.send().await {
            Ok(()) => self.sent(),
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {
                self.encoder.take_back(message);
                // Only flow records are packed again.
                self.options_due = true;
                Box::pin(self.repack()).await;
            }
            Err(error) => self.lost(&error),
        }
        self.encoder.clear();
        self.pending.clear();
    }

    /// A collector's ICMP "port unreachable" is reported at the next send, which is then not sent: it is tried once more.
    async fn send(&self) -> io::Result<()> {
        let octets = self.encoder.octets();
        let outcome = match self.socket.send(octets).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => self.socket.send(octets).await,
            outcome => outcome,
        };
        outcome.map(|_| ())
    }

    /// Packs the pending records anew for a path MTU that has become smaller. Each piece is sent once: a message that is too
    /// large even so is lost.
    async fn repack(&mut self) {
        self.follow_path_mtu();
        debug!("{}: the path MTU allows messages of {} octets", self.name, self.encoder.capacity());
        let records = std::mem::take(&mut self.pending);
        let mut next = self.encoder.push_templates(0);
        while next < self.encoder.templates() {
            self.send_piece().await;
            next = self.encoder.push_templates(next);
        }
        for record in &records {
            if !self.encoder.fits(record) {
                self.send_piece().await;
            }
            self.encoder.push(record);
            self.pending.push(*record);
        }
        self.send_piece().await;
    }

    async fn send_piece(&mut self) {
        let export_time = WallOffset::measure().to_wall_s(clock::monotonic_ns());
        if self.encoder.finish(export_time).is_none() {
            return;
        }
        match self.send().await {
            Ok(()) => self.sent(),
            Err(error) => self.lost(&error),
        }
        self.encoder.clear();
        self.pending.clear();
    }

    fn sent(&mut self) {
        self.sent.messages += 1;
        self.sent.records += self.pending.len() as u64;
        self.sent.octets += self.encoder.octets().len() as u64;
        if self.failures > 0 {
            info!("{}: messages go out again, after {} that did not", self.name, self.failures);
            self.failures = 0;
        }
    }

    /// The message of the pending records was not sent.
    fn lost(&mut self, error: &io::Error) {
        self.losses.add(Lost::of(&self.pending));
        self.failures += 1;
        // The collector has not seen these templates.
        self.templates_sent = None;
        if self.failures == 1 {
            warn!("{}: a message of {} records could not be sent: {error}", self.name, self.pending.len());
        }
    }

    fn follow_path_mtu(&mut self) {
        let headers = if self.is_ipv6 { HEADERS_V6 } else { HEADERS_V4 };
        let path = kernel::path_mtu(self.socket.as_fd(), self.is_ipv6).map_or(self.mtu, |mtu| mtu as usize);
        self.encoder.set_capacity(self.mtu.min(path).saturating_sub(headers));
    }
}
