//! Datagrams: many with one system call, and what the kernel dropped told by the kernel itself.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::{Duration, Instant};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrStorage, recvmmsg, setsockopt, sockopt,
};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use socket2::{Protocol, Socket, Type};
use tokio::sync::watch;
use tracing::{error, warn};

use super::health::ListenerCounters;
use super::seldom::Seldom;
use super::{FLUSH_INTERVAL, Handler, LAST_READS, Peer, bound, unmapped};
use crate::config::Listen;
use crate::kernel;

/// Datagrams of one system call.
pub(super) const BATCH: usize = 64;

/// Where that many do not come at once, room is made for fewer: at least so many, else twice as many as came last.
const LEAST: usize = 4;

/// Octets of the longest datagram: what the length of an IP packet has room for.
const LONGEST: usize = 65_535;

/// How long a socket is left alone that cannot be read.
const RESPITE: Duration = Duration::from_millis(100);

/// A socket at `address`, and the receive buffer that the kernel grants it where `wanted` octets are asked for.
pub(super) fn open(address: SocketAddr, wanted: u32) -> io::Result<(UdpSocket, u64)> {
    let socket = bound(address, Type::DGRAM, Protocol::UDP, |socket| prepare(socket, wanted))?;
    // The kernel doubles what it is asked for, to have room for its own overhead.
    let granted = socket.recv_buffer_size()? as u64 / 2;
    Ok((socket.into(), granted))
}

fn prepare(socket: &Socket, receive_buffer: u32) -> io::Result<()> {
    let size = receive_buffer as usize;
    // Beyond net.core.rmem_max with CAP_NET_ADMIN only; without, the kernel gives what it may.
    if set_socket_recv_buffer_size_force(socket, size).is_err() {
        socket.set_recv_buffer_size(size)?;
    }
    setsockopt(socket, sockopt::RxqOvfl, &1)?;
    socket.set_read_timeout(Some(FLUSH_INTERVAL))
}

/// Reads a socket until it is told to stop.
pub(super) struct Receiver<H> {
    socket: UdpSocket,
    listen: Listen,
    counters: ListenerCounters,
    handler: H,
    /// [`BATCH`] times as many octets as the longest has. Pages that no datagram reaches are never there.
    buffer: Vec<u8>,
    longest: usize,
    /// Datagrams to make room for next time.
    width: usize,
    drops: Drops,
    refusals: Seldom,
    losses: Seldom,
    errors: Seldom,
}

impl<H: Handler> Receiver<H> {
    pub(super) fn new(socket: UdpSocket, listen: Listen, counters: ListenerCounters, handler: H) -> Self {
        Self::with_longest(LONGEST, socket, listen, counters, handler)
    }

    /// The same where datagrams with more octets are cut short.
    pub(super) fn with_longest(
        longest: usize,
        socket: UdpSocket,
        listen: Listen,
        counters: ListenerCounters,
        handler: H,
    ) -> Self {
        Self {
            socket,
            listen,
            counters,
            handler,
            buffer: vec![0; longest * BATCH],
            longest,
            width: LEAST,
            drops: Drops::default(),
            refusals: Seldom::default(),
            losses: Seldom::default(),
            errors: Seldom::default(),
        }
    }

    /// Receives until `stop` is closed, then what the kernel has by then.
    pub(super) fn run(mut self, stop: &watch::Receiver<()>) {
        let mut until = None;
        loop {
            if until.is_none() && stop.has_changed().is_err() {
                until = Some(Instant::now() + LAST_READS);
            }
            let flags = if until.is_some() { MsgFlags::MSG_DONTWAIT } else { MsgFlags::MSG_WAITFORONE };
            let outcome = self.receive(flags);
            if outcome == Err(Errno::EAGAIN) {
                self.ask_for_drops();
            }
            self.handler.flush();
            match (outcome, until) {
                (Ok(()) | Err(Errno::EINTR), Some(until)) if Instant::now() < until => {}
                (_, Some(_)) => return self.ask_for_drops(),
                (Ok(()) | Err(Errno::EAGAIN | Errno::EINTR), None) => {}
                (Err(error), None) => {
                    self.counters.counts().receive_errors.add(1);
                    if let Some(unsaid) = self.errors.due(Instant::now()) {
                        warn!("cannot receive on {}: {}{unsaid}", self.listen, io::Error::from(error));
                    }
                    std::thread::sleep(RESPITE);
                }
            }
        }
    }

    /// Counts what was dropped after the last datagram that came: no other has told it.
    fn ask_for_drops(&mut self) {
        if let Ok(total) = kernel::dropped_datagrams(self.socket.as_fd()) {
            let dropped = self.drops.since_last(total);
            self.tell_drops(dropped);
        }
    }

    fn tell_drops(&mut self, dropped: u64) {
        if dropped == 0 {
            return;
        }
        self.counters.counts().kernel_drops.add(dropped);
        if let Some(unsaid) = self.losses.due(Instant::now()) {
            let listen = &self.listen;
            error!("the kernel has dropped {dropped} datagrams to {listen}: its receive buffer was full{unsaid}");
        }
    }

    /// Receives a batch, one datagram at least, and hands it on.
    fn receive(&mut self, flags: MsgFlags) -> nix::Result<()> {
        let Self { socket, listen, counters, handler, buffer, longest, width, drops, refusals, .. } = self;
        let counts = counters.counts();
        // Anew each time: the kernel has written into the last ones how much of their room it used.
        let mut headers = MultiHeaders::preallocate(*width, Some(cmsg_space!(u32)));
        let chunks = buffer.chunks_exact_mut(*longest).take(*width);
        let mut slices: Vec<_> = chunks.map(|octets| [IoSliceMut::new(octets)]).collect();
        let (mut count, mut dropped) = (0, 0);
        for message in recvmmsg(socket.as_raw_fd(), &mut headers, slices.iter_mut(), flags, None)? {
            count += 1;
            dropped += drops.in_total(&message).map_or(0, |total| drops.since_last(total));
            let Some(address) = message.address.as_ref().and_then(sender) else { continue };
            let octets = message.iovs().next().unwrap_or_default();
            if !listen.allows(address.ip()) {
                counts.refused.add(1);
                counts.refused_octets.add(octets.len() as u64);
                if let Some(unsaid) = refusals.due(Instant::now()) {
                    warn!("a datagram from {} to {listen} is refused: not in `allow`{unsaid}", address.ip());
                }
            } else if message.flags.contains(MsgFlags::MSG_TRUNC) {
                counts.truncated.add(1);
            } else {
                counts.messages.add(1);
                counts.octets.add(octets.len() as u64);
                handler.message(Peer { address, connection: None }, octets);
            }
        }
        *width = (2 * count).clamp(LEAST, BATCH);
        self.tell_drops(dropped);
        Ok(())
    }
}

/// How many datagrams a socket has dropped, in 32 bits that begin anew: the kernel's number (`SO_RXQ_OVFL`).
#[derive(Debug, Default)]
struct Drops {
    last: u32,
}

impl Drops {
    /// The number that came with a datagram. The kernel says nothing before the first.
    fn in_total(&self, message: &RecvMsg<'_, '_, SockaddrStorage>) -> Option<u32> {
        message.cmsgs().ok()?.find_map(|control| match control {
            ControlMessageOwned::RxqOvfl(total) => Some(total),
            _ => None,
        })
    }

    /// How many there are more than last time. A datagram brings the number of the moment in which it was queued, which may be
    /// before the one in which the kernel was asked.
    fn since_last(&mut self, total: u32) -> u64 {
        let more = total.wrapping_sub(self.last);
        if more > u32::MAX / 2 {
            return 0;
        }
        self.last = total;
        u64::from(more)
    }
}

fn sender(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|address| SocketAddr::V4((*address).into()));
    v4.or_else(|| address.as_sockaddr_in6().map(|address| unmapped((*address).into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_counted_beyond_thirty_two_bits_and_never_twice() {
        let mut drops = Drops::default();
        let half = u32::MAX / 2;
        let totals = [7, 7, half, 2 * half, 3];
        let more: Vec<u64> = totals.into_iter().map(|total| drops.since_last(total)).collect();
        assert_eq!(more, [7, 0, u64::from(half) - 7, u64::from(half), 5]);
        // One that was queued before the kernel was asked.
        assert_eq!([1, 3, 4].map(|total| drops.since_last(total)), [0, 0, 1]);
    }
}
