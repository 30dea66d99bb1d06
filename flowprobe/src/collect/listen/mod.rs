//! Sockets where exporters' messages come in. Each [`Listener`] has a thread of its own, and hands on what it receives to its own
//! [`Handler`]: one that blocks delays nobody else, and what comes meanwhile waits in the kernel.

mod datagrams;
mod framing;
mod health;
mod seldom;
mod stream;
mod tls;

#[cfg(test)]
mod tests;

use std::io;
use std::net::{SocketAddr, SocketAddrV6, TcpListener, UdpSocket};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tokio::sync::watch;
use tracing::{info, warn};

pub use super::session::Peer;
pub(crate) use framing::Frames;
pub use health::{ListenerCounters, ListenerHealth};
pub use tls::{TlsServer, TlsServerFiles};

use crate::config::{Listen, ListenTransport};
use crate::export::transport::TlsError;

/// How often a handler is flushed at least.
pub const FLUSH_INTERVAL: Duration = Duration::from_millis(100);

/// How long what the kernel has received is still read when a listener is stopped.
const LAST_READS: Duration = Duration::from_millis(300);

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// Takes what a listener receives. It is called by the listener's thread only, and may block: datagrams wait in the socket's buffer
/// then, and connections are not read.
pub trait Handler: Send + 'static {
    /// A message: the whole of a datagram, or one of IPFIX with a length that fits.
    fn message(&mut self, from: Peer, octets: &[u8]);

    /// No more is there at the moment. Comes after each batch, and at least every [`FLUSH_INTERVAL`], as long as nothing blocks.
    fn flush(&mut self);

    /// A connection has ended, which may not have brought a message.
    fn closed(&mut self, connection: u64);
}

/// Why nobody can be listened to.
#[derive(Debug, Error)]
pub enum ListenError {
    /// The kernel does not give the address.
    #[error("cannot listen on {url}: {error}{}", hint(error))]
    Address {
        /// What was to be listened on.
        url: String,
        /// What the kernel says.
        error: io::Error,
    },
    /// Certificates or key cannot be used.
    #[error("cannot listen on {url}: {error}")]
    Tls {
        /// What was to be listened on.
        url: String,
        /// What is wrong with them.
        error: TlsError,
    },
}

/// What the operator can do about it.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; `ss -lnptu` shows which program has it",
        io::ErrorKind::AddrNotAvailable => "; no interface has this address now",
        io::ErrorKind::PermissionDenied => "; ports below 1024 take root or CAP_NET_BIND_SERVICE",
        _ => "",
    }
}

/// A socket that is bound and not read yet.
#[derive(Debug)]
pub struct Listener {
    listen: Listen,
    socket: Bound,
    counters: ListenerCounters,
}

#[derive(Debug)]
enum Bound {
    Datagrams(UdpSocket),
    Connections(TcpListener, Option<TlsServer>),
}

impl Listener {
    /// Binds the socket. Exporters may send from now on; what they send waits in the kernel until [`Listener::start`].
    ///
    /// # Errors
    /// The kernel does not give the address, or certificates or key cannot be used.
    pub fn bind(listen: &Listen) -> Result<Self, ListenError> {
        let tls = match &listen.transport {
            ListenTransport::Tls(files) => Some(TlsServer::new(files)),
            ListenTransport::Udp { .. } | ListenTransport::Tcp => None,
        };
        let tls = tls.transpose().map_err(|error| ListenError::Tls { url: listen.to_string(), error })?;
        let failed = |error: io::Error| ListenError::Address { url: listen.to_string(), error };
        let (socket, address, receive_buffer) = match listen.transport {
            ListenTransport::Udp { receive_buffer } => {
                let (socket, granted) = datagrams::open(listen.address, receive_buffer).map_err(failed)?;
                let address = socket.local_addr().map_err(failed)?;
                (Bound::Datagrams(socket), address, Some((granted, receive_buffer)))
            }
            ListenTransport::Tcp | ListenTransport::Tls(_) => {
                let socket = bound(listen.address, Type::STREAM, Protocol::TCP, |_| Ok(())).map_err(failed)?;
                socket.listen(BACKLOG).map_err(failed)?;
                let socket = TcpListener::from(socket);
                let address = socket.local_addr().map_err(failed)?;
                (Bound::Connections(socket, tls), address, None)
            }
        };
        let listen = listen.at(address);
        match receive_buffer {
            Some((granted, wanted)) if granted < u64::from(wanted) => warn!(
                "listening on {listen}; its receive buffer is {granted} octets instead of {wanted}: that takes CAP_NET_ADMIN, or a \
                 larger net.core.rmem_max"
            ),
            _ => info!("listening on {listen}"),
        }
        let counters = ListenerCounters::new(listen.to_string(), address, receive_buffer.map(|(granted, _)| granted));
        Ok(Self { listen, socket, counters })
    }

    /// Counters that go on to be there when the listener has ended.
    #[must_use]
    pub const fn counters(&self) -> &ListenerCounters {
        &self.counters
    }

    /// The address that the kernel has given.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.listen.address
    }

    /// Receives from now on, in a thread of its own.
    ///
    /// # Errors
    /// There is no thread to be had, or nothing to wait for its connections with.
    pub fn start<H: Handler>(self, handler: H) -> io::Result<Running> {
        let (stop, stopped) = watch::channel(());
        let Self { listen, socket, counters } = self;
        let name = format!("listen {}", listen.address.port());
        let thread = std::thread::Builder::new().name(name);
        let shared = counters.clone();
        let thread = match socket {
            Bound::Datagrams(socket) => {
                thread.spawn(move || datagrams::Receiver::new(socket, listen, shared, handler).run(&stopped))?
            }
            Bound::Connections(socket, tls) => {
                let (ready, told) = mpsc::sync_channel(1);
                let thread = thread.spawn(move || {
                    match stream::Server::new(socket, tls, listen, shared, stream::Limits::of_this_process()) {
                        Ok(server) => {
                            let _ = ready.send(Ok(()));
                            server.run(handler, stopped);
                        }
                        Err(error) => {
                            let _ = ready.send(Err(error));
                        }
                    }
                })?;
                told.recv().map_err(io::Error::other)??;
                thread
            }
        };
        Ok(Running { stop, thread, counters })
    }
}

/// A listener that receives. One that is dropped stops too, but is not waited for.
#[derive(Debug)]
pub struct Running {
    /// Closed when it is to stop.
    stop: watch::Sender<()>,
    thread: JoinHandle<()>,
    counters: ListenerCounters,
}

impl Running {
    /// How it fares.
    #[must_use]
    pub const fn counters(&self) -> &ListenerCounters {
        &self.counters
    }

    /// Whether its thread has ended without being told to, which is a bug of the handler.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Hands on what the kernel has received by now, flushes the handler for the last time, drops it and waits until all of that is
    /// done. Takes less than half a second unless the handler blocks.
    pub fn stop(self) {
        let Self { stop, thread, .. } = self;
        drop(stop);
        // One that has panicked has said so.
        let _ = thread.join();
    }
}

/// A socket at `address`, with what `prepare` sets before it is bound.
fn bound(
    address: SocketAddr,
    kind: Type,
    protocol: Protocol,
    prepare: impl FnOnce(&Socket) -> io::Result<()>,
) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        // `[::]` is both versions, whatever net.ipv6.bindv6only says.
        socket.set_only_v6(false)?;
    }
    if kind == Type::STREAM {
        // Connections of an earlier run that are not forgotten yet are no reason not to start.
        socket.set_reuse_address(true)?;
    }
    prepare(&socket)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// An IPv4-mapped address as what it is.
fn unmapped(address: SocketAddrV6) -> SocketAddr {
    match address.ip().to_ipv4_mapped() {
        Some(ip) => SocketAddr::from((ip, address.port())),
        None => SocketAddr::V6(address),
    }
}
