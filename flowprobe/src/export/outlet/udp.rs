//! Datagrams to one collector (RFC 7011 section 10.3): no IP fragments, many with one system call, templates again and again.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::export::Format;
use crate::export::encode::Clock;
use crate::export::packed::{Packed, TemplateSet};
use crate::export::session::{Session, Templates};
use crate::export::transport::SocketOptions;
use crate::kernel;

/// Octets of the UDP header and of the IP header without options.
const HEADERS_V4: usize = 8 + 20;
const HEADERS_V6: usize = 8 + 40;

/// Messages that are gathered for one system call.
const BATCH: usize = 32;

/// How long the answer of a host may take that has no such port.
const PROBE: Duration = Duration::from_millis(500);

/// A socket that is connected to a collector, and what the collector has had.
pub struct Udp {
    socket: UdpSocket,
    address: SocketAddr,
    mtu: usize,
    session: Session,
    batch: Vec<Packed>,
    /// After a message that was refused no other is sent: they are somebody else's.
    stops_at_loss: bool,
    /// Data messages refused in a row.
    failures: u64,
}

/// What has become of a batch.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What has left.
    pub sent: Vec<Packed>,
    /// Messages of templates that left with it, and their octets.
    pub templates: (u64, u64),
    /// What the kernel refused.
    pub lost: Vec<Packed>,
    /// The last reason.
    pub error: Option<io::Error>,
    /// What the collector's host has answered to something that was sent before.
    pub refused: Option<io::Error>,
    /// What is longer than the path allows by now, and what came after it: to be packed anew.
    pub too_long: Vec<Packed>,
    /// Messages went out again, after so many that did not.
    pub recovered: Option<u64>,
}

/// A datagram of a batch.
struct Datagram {
    octets: Vec<u8>,
    /// The message that it is; templates are none.
    message: Option<Packed>,
    is_second_attempt: bool,
}

impl Udp {
    /// Opens a socket to the collector at `address`, whose datagrams have at most `mtu` octets with their IP header.
    ///
    /// # Errors
    /// The socket cannot be opened, an option is refused, or there is no route.
    pub fn open(
        address: SocketAddr,
        options: &SocketOptions,
        format: Format,
        mtu: u16,
        refresh: Duration,
    ) -> anyhow::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        options.apply(&socket, address.ip())?;
        socket.set_nonblocking(true)?;
        socket.connect(&address.into())?;
        kernel::forbid_fragments(socket.as_fd(), address.is_ipv6())?;
        Ok(Self {
            socket: UdpSocket::from_std(socket.into())?,
            address,
            mtu: usize::from(mtu),
            session: Session::new(format, Templates::Refreshed(refresh)),
            batch: Vec::new(),
            stops_at_loss: false,
            failures: 0,
        })
    }

    /// Has nothing sent after a message that was refused: [`Outcome::lost`] has all that follow, too.
    #[must_use]
    pub fn stopping_at_loss(self) -> Self {
        Self { stops_at_loss: true, ..self }
    }

    /// Finds out whether somebody listens, as far as datagrams can tell: templates are sent, and the collector's host does not
    /// answer that it has no such port.
    ///
    /// # Errors
    /// It does, or the templates cannot be sent.
    pub async fn probe(&mut self, templates: &Arc<TemplateSet>, domain: u32) -> anyhow::Result<()> {
        let due = self.session.announce(domain, templates, Instant::now(), Clock::read().now_s());
        let outcome = self.send(due.into_iter().map(Datagram::of_templates).collect()).await;
        if let Some(error) = outcome.error.or(outcome.refused) {
            return Err(error.into());
        }
        match tokio::time::timeout(PROBE, self.socket.recv(&mut [0; 1])).await {
            Ok(Err(error)) => Err(error.into()),
            // A collector says nothing; one that does is there.
            Ok(Ok(_)) | Err(_) => Ok(()),
        }
    }

    /// Waits until the collector's host answers that nobody takes what was sent, or that it cannot be sent. May be cancelled.
    pub async fn refusal(&self) -> io::Error {
        loop {
            // A collector says nothing; one that does is there.
            if let Err(error) = self.socket.recv(&mut [0; 1]).await {
                return error;
            }
        }
    }

    /// The messages that wait for the next [`Udp::flush`], which are not sent then.
    pub fn take_unsent(&mut self) -> Vec<Packed> {
        std::mem::take(&mut self.batch)
    }

    /// The collector's address.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Octets that a message may have on this path.
    #[must_use]
    pub fn capacity(&self) -> usize {
        let is_ipv6 = self.address.is_ipv6();
        let headers = if is_ipv6 { HEADERS_V6 } else { HEADERS_V4 };
        let path = kernel::path_mtu(self.socket.as_fd(), is_ipv6).map_or(self.mtu, |mtu| mtu as usize);
        self.mtu.min(path).saturating_sub(headers)
    }

    /// Messages that the kernel refused, in a row.
    #[must_use]
    pub const fn failures(&self) -> u64 {
        self.failures
    }

    /// Has a message wait for the next [`Udp::flush`]. Returns whether so many wait that it is time for that.
    pub fn push(&mut self, message: Packed) -> bool {
        self.batch.push(message);
        self.batch.len() >= BATCH
    }

    /// Sends what waits.
    pub async fn flush(&mut self, now: Instant, export_time: u32) -> Outcome {
        let mut datagrams = Vec::new();
        for mut message in std::mem::take(&mut self.batch) {
            let before = self.session.next(&mut message, now, export_time);
            datagrams.extend(before.into_iter().map(Datagram::of_templates));
            let octets = std::mem::take(&mut message.octets);
            datagrams.push(Datagram { octets, message: Some(message), is_second_attempt: false });
        }
        self.send(datagrams).await
    }

    /// Sends the templates that are due again.
    pub async fn refresh(&mut self, now: Instant, export_time: u32) -> Outcome {
        let due = self.session.refresh(now, export_time).into_iter().map(Datagram::of_templates).collect();
        self.send(due).await
    }

    async fn send(&mut self, mut datagrams: Vec<Datagram>) -> Outcome {
        let mut outcome = Outcome::default();
        let mut next = 0;
        while next < datagrams.len() {
            match self.send_some(&datagrams[next..]).await {
                Ok(count) => {
                    for datagram in &mut datagrams[next..next + count] {
                        self.sent(datagram, &mut outcome);
                    }
                    next += count.max(1);
                }
                // What a collector's host has answered to an earlier datagram; this one was not sent.
                Err(error)
                    if error.kind() == io::ErrorKind::ConnectionRefused && !datagrams[next].is_second_attempt =>
                {
                    datagrams[next].is_second_attempt = true;
                    outcome.refused = Some(error);
                }
                Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {
                    self.take_back(datagrams.split_off(next), &mut outcome);
                }
                Err(error) if self.stops_at_loss => {
                    for datagram in &mut datagrams[next..] {
                        self.refused(datagram, &mut outcome);
                    }
                    outcome.error = Some(error);
                    break;
                }
                Err(error) => {
                    self.refused(&mut datagrams[next], &mut outcome);
                    outcome.error = Some(error);
                    next += 1;
                }
            }
        }
        outcome
    }

    /// Sends as many as the kernel takes at once, one at least, and waits until it takes that.
    async fn send_some(&self, datagrams: &[Datagram]) -> io::Result<usize> {
        let slices: Vec<[IoSlice<'_>; 1]> = datagrams.iter().map(|datagram| [IoSlice::new(&datagram.octets)]).collect();
        self.socket
            .async_io(Interest::WRITABLE, || {
                let mut controls: Vec<_> = slices.iter().map(|_| SendAncillaryBuffer::default()).collect();
                let messages = slices.iter().zip(&mut controls);
                let mut messages: Vec<_> = messages.map(|(slice, control)| MMsgHdr::new(slice, control)).collect();
                Ok(sendmmsg(&self.socket, &mut messages, SendFlags::empty())?)
            })
            .await
    }

    fn sent(&mut self, datagram: &mut Datagram, outcome: &mut Outcome) {
        let octets = std::mem::take(&mut datagram.octets);
        let Some(message) = datagram.message.take() else {
            outcome.templates.0 += 1;
            outcome.templates.1 += octets.len() as u64;
            return;
        };
        if self.failures > 0 {
            outcome.recovered = Some(std::mem::take(&mut self.failures));
        }
        outcome.sent.push(Packed { octets, ..message });
    }

    /// The collector may not have seen the templates, whichever of them were lost.
    fn refused(&mut self, datagram: &mut Datagram, outcome: &mut Outcome) {
        self.session.lost();
        if let Some(message) = datagram.message.take() {
            self.failures += 1;
            outcome.recovered = None;
            outcome.lost.push(Packed { octets: std::mem::take(&mut datagram.octets), ..message });
        }
    }

    /// These have not left, and their numbers are free again. Templates among them are packed anew too.
    fn take_back(&mut self, datagrams: Vec<Datagram>, outcome: &mut Outcome) {
        for Datagram { octets, message, .. } in datagrams {
            match message {
                Some(message) => {
                    let message = Packed { octets, ..message };
                    self.session.take_back(&message);
                    outcome.too_long.push(message);
                }
                None => self.session.take_back_templates(&octets),
            }
        }
        self.session.lost();
    }
}

impl Datagram {
    fn of_templates(octets: Vec<u8>) -> Self {
        Self { octets, message: None, is_second_attempt: false }
    }
}
