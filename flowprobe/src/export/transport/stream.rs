//! A connection to a collector: TCP, alone or under TLS.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::fault::TlsFault;
use super::socket::{OptionError, SocketOptions};
use super::tls::TlsClient;
use crate::kernel;

/// A peer that has not acknowledged anything for this long, though it was sent something, is gone (`TCP_USER_TIMEOUT`). The
/// kernel takes one for gone too that acknowledges but has had no room for as long.
const GONE_AFTER: Duration = Duration::from_secs(30);
/// A connection on which nothing is sent is tried after this long, and then at this interval. With [`GONE_AFTER`] set the
/// kernel gives up then, after three that were not answered.
const PROBE_AFTER: Duration = Duration::from_secs(15);
const PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// How long what the peer said before it broke the connection is looked for. It lies in the socket, if anywhere.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// How often a connection that is being closed is asked whether all has arrived, of which the kernel does not tell.
const CLOSE_POLL: Duration = Duration::from_millis(5);

/// Why there is no connection. Where a name has several addresses, this is about the last.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The name has no address, or nobody could be asked.
    #[error("cannot find `{host}`: {error}")]
    Resolve {
        /// The collector's name.
        host: String,
        /// What the resolver says.
        error: io::Error,
    },
    /// A socket option cannot be had.
    #[error(transparent)]
    SocketOption(#[from] OptionError),
    /// The collector does not accept connections, or cannot be reached.
    #[error("cannot connect to {address}: {error}")]
    Connect {
        /// Its address.
        address: SocketAddr,
        /// What the kernel says.
        error: io::Error,
    },
    /// The collector is not who it should be.
    #[error("the certificate that {address} shows is not accepted: {fault}")]
    Certificate {
        /// Its address.
        address: SocketAddr,
        /// What is wrong with the certificate.
        fault: TlsFault,
    },
    /// The collector and this side do not come to a TLS session.
    #[error("no TLS session with {address}: {error}")]
    Handshake {
        /// Its address.
        address: SocketAddr,
        /// What went wrong, with a [`TlsFault`] in it where TLS knows.
        error: io::Error,
    },
    /// The collector does not answer.
    #[error("{address} does not answer")]
    Timeout {
        /// Its address.
        address: SocketAddr,
    },
}

/// How a connection ended.
#[derive(Debug)]
pub enum Closed {
    /// The peer has closed it: with TLS it said goodbye. What it had acknowledged by then it had read, unless it ends TLS
    /// without reading on; what it had not, it will not get.
    InGoodOrder,
    /// It was reset, or timed out, or TLS failed. What the peer had acknowledged it may not have read.
    Broken(io::Error),
}

/// A connection. Once it is broken, or a message was cut off, it can only be asked for what was acknowledged.
#[derive(Debug)]
pub struct Stream {
    peer: SocketAddr,
    channel: Channel,
    /// The kernel reports an error once, and what comes after it looks like the end of a connection in good order.
    is_broken: bool,
}

#[derive(Debug)]
enum Channel {
    Plain(Counted),
    Tls { session: Box<TlsStream<Counted>>, has_certificate: bool },
}

impl Stream {
    /// Connects to `host`, which is looked up anew, with `tls` under TLS. Each of its addresses is tried in turn; all
    /// together may take as long as `patience`.
    ///
    /// # Errors
    /// No address could be connected to, or TLS did not come to be there.
    pub async fn connect(
        host: &str,
        port: u16,
        options: &SocketOptions,
        tls: Option<&TlsClient>,
        patience: Duration,
    ) -> Result<Self, ConnectError> {
        let end = Instant::now() + patience;
        let unresolved = |error| ConnectError::Resolve { host: host.to_owned(), error };
        let found = timeout_at(end, lookup_host((host, port))).await;
        let found = found.map_err(|_| unresolved(io::Error::new(io::ErrorKind::TimedOut, "nobody answers in time")))?;
        let addresses: Vec<_> = found.map_err(unresolved)?.collect();
        // Those of the other IP version are tried only where there are no others: the error then says why not.
        let usable = |address: &&SocketAddr| options.source.is_none_or(|source| source.is_ipv4() == address.is_ipv4());
        let usable: Vec<_> = addresses.iter().filter(usable).collect();
        let usable = if usable.is_empty() { addresses.iter().collect() } else { usable };
        let mut last = unresolved(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        for (tried, address) in usable.iter().enumerate() {
            let left = u32::try_from(usable.len() - tried).unwrap_or(u32::MAX);
            // One that does not answer must not take the time of those after it.
            let share = Instant::now() + end.saturating_duration_since(Instant::now()) / left;
            match Self::connect_to(**address, options, tls, share).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn connect_to(
        peer: SocketAddr,
        options: &SocketOptions,
        tls: Option<&TlsClient>,
        end: Instant,
    ) -> Result<Self, ConnectError> {
        let failed = |error| ConnectError::Connect { address: peer, error };
        let socket = Socket::new(Domain::for_address(peer), Type::STREAM, Some(Protocol::TCP)).map_err(failed)?;
        options.apply(&socket, peer.ip())?;
        prepare(&socket).map_err(failed)?;
        let socket = TcpSocket::from_std_stream(socket.into());
        let connected = timeout_at(end, socket.connect(peer)).await;
        let tcp = connected.map_err(|_| ConnectError::Timeout { address: peer })?.map_err(failed)?;
        // A port of this machine on which nobody listens may be the one that the kernel has just chosen for this end.
        if tcp.local_addr().map_err(failed)? == peer {
            return Err(failed(io::ErrorKind::ConnectionRefused.into()));
        }
        let tcp = Counted { tcp, written: 0 };
        let Some(client) = tls else {
            return Ok(Self { peer, channel: Channel::Plain(tcp), is_broken: false });
        };
        let connector = TlsConnector::from(client.config().clone());
        let session = match timeout_at(end, connector.connect(client.name().clone(), tcp)).await {
            Ok(session) => session.map_err(|error| handshake_error(peer, error, client.has_certificate()))?,
            Err(_) => {
                let error = io::Error::new(io::ErrorKind::TimedOut, "it accepts connections but does not answer TLS");
                return Err(ConnectError::Handshake { address: peer, error });
            }
        };
        let channel = Channel::Tls { session: Box::new(session), has_certificate: client.has_certificate() };
        Ok(Self { peer, channel, is_broken: false })
    }

    /// The collector's address.
    #[must_use]
    pub const fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Hands all of `octets` to the socket, with TLS as records that are complete. It waits where the peer does not read.
    ///
    /// Must not be cancelled: part of a message may have been sent by then, and the stream takes no other.
    ///
    /// # Errors
    /// The connection is broken. Where the collector has said why, that is the error.
    pub async fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        if self.is_broken {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "the connection was broken before"));
        }
        // Until it is known better, also where this never goes on.
        self.is_broken = true;
        let outcome = match &mut self.channel {
            Channel::Plain(tcp) => tcp.write_all(octets).await,
            Channel::Tls { session, .. } => match session.write_all(octets).await {
                Ok(()) => session.flush().await,
                Err(error) => Err(error),
            },
        };
        let Err(error) = outcome else {
            self.is_broken = false;
            return Ok(());
        };
        match timeout(LAST_WORDS, self.closed()).await {
            Ok(Closed::Broken(said)) if TlsFault::of(&said).is_some_and(TlsFault::is_alert) => Err(said),
            _ => Err(error),
        }
    }

    /// Octets handed to the socket so far; with TLS those of its records and of the handshake.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.socket().written
    }

    /// How many of [`Stream::written`] the peer's TCP has acknowledged, which may be more than the peer has read.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn acknowledged(&self) -> io::Result<u64> {
        // A FIN is one more; only `close` sends it.
        Ok(self.written().saturating_sub(self.unacknowledged()?.into()))
    }

    fn unacknowledged(&self) -> io::Result<u32> {
        kernel::unacknowledged(self.as_fd())
    }

    fn socket(&self) -> &Counted {
        match &self.channel {
            Channel::Plain(tcp) => tcp,
            Channel::Tls { session, .. } => session.get_ref().0,
        }
    }

    /// Waits until the peer closes the connection or it breaks. What the peer sends is thrown away: a collector has nothing
    /// to say in IPFIX. May be cancelled at any time.
    pub async fn closed(&mut self) -> Closed {
        let mut ignored = [0; 1024];
        loop {
            let read = match &mut self.channel {
                Channel::Plain(tcp) => tcp.read(&mut ignored).await,
                Channel::Tls { session, has_certificate } => {
                    session.read(&mut ignored).await.map_err(|error| TlsFault::within(error, *has_certificate))
                }
            };
            match read {
                Ok(0) if self.is_broken => return Closed::Broken(io::ErrorKind::NotConnected.into()),
                Ok(0) => return Closed::InGoodOrder,
                Ok(_) => {}
                Err(error) => {
                    self.is_broken = true;
                    return Closed::Broken(error);
                }
            }
        }
    }

    /// Says goodbye, and waits until the peer has acknowledged all, up to `patience`. Returns whether it has. What it has not
    /// by then may arrive nevertheless.
    pub async fn close(mut self, patience: Duration) -> bool {
        // Running out of patience leaves something unacknowledged.
        let _ = timeout(patience, self.finish()).await;
        self.unacknowledged().is_ok_and(|octets| octets == 0)
    }

    /// Ends when all is acknowledged or can no longer be.
    async fn finish(&mut self) {
        let shut = match &mut self.channel {
            Channel::Plain(tcp) => tcp.shutdown().await,
            Channel::Tls { session, .. } => session.shutdown().await,
        };
        if shut.is_err() {
            return;
        }
        let mut peer_is_open = true;
        while self.unacknowledged().is_ok_and(|octets| octets > 0) {
            // What is not read when the socket is dropped would turn its end into a reset.
            tokio::select! {
                closed = self.closed(), if peer_is_open => {
                    peer_is_open = false;
                    if matches!(closed, Closed::Broken(error) if error.raw_os_error().is_some()) {
                        return;
                    }
                }
                () = sleep(CLOSE_POLL) => {}
            }
            if !matches!(SockRef::from(&*self).take_error(), Ok(None)) {
                return;
            }
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket().tcp.as_fd()
    }
}

/// What every socket of a [`Stream`] has: messages leave when they are sent, and a peer that vanished without a word is
/// noticed.
fn prepare(socket: &Socket) -> io::Result<()> {
    let keepalive = TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_INTERVAL).with_retries(3);
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(GONE_AFTER))
}

fn handshake_error(address: SocketAddr, error: io::Error, has_certificate: bool) -> ConnectError {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        let error = io::Error::new(error.kind(), "it closes the connection instead of answering TLS");
        return ConnectError::Handshake { address, error };
    }
    let error = TlsFault::within(error, has_certificate);
    match error.downcast::<TlsFault>() {
        Ok(fault) if fault.is_certificate() => ConnectError::Certificate { address, fault },
        Ok(fault) => ConnectError::Handshake { address, error: io::Error::new(io::ErrorKind::InvalidData, fault) },
        Err(error) => ConnectError::Handshake { address, error },
    }
}

/// A connection that knows how much it was given.
#[derive(Debug)]
struct Counted {
    tcp: TcpStream,
    written: u64,
}

impl AsyncRead for Counted {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_read(context, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.tcp).poll_write(context, octets))?;
        this.written += written as u64;
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.tcp).poll_write_vectored(context, pieces))?;
        this.written += written as u64;
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(context)
    }
}
