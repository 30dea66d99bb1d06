//! The way to a syslog collector: RFC 5426 over UDP, RFC 6587 with octet counts over TCP, RFC 5425 over TLS, or a socket of this machine.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};
use socket2::{SockRef, TcpKeepalive};

use super::super::settings::SyslogUrl;
use crate::export::transport::TlsClient;

/// A socket without a connection is used for so long: the name may be another address's by then.
const AGE: Duration = Duration::from_secs(60);

/// A peer that acknowledges nothing for so long is gone. A connection on which nothing is sent is tried after a while.
const GONE_AFTER: Duration = Duration::from_secs(30);
const PROBE_AFTER: Duration = Duration::from_secs(15);
const PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// A collector, and the socket that leads to it, if there is one by now.
pub(in crate::alert) struct Transport {
    url: SyslogUrl,
    tls: Option<TlsClient>,
    patience: Duration,
    pub(super) open: Option<(Channel, Instant)>,
}

pub(super) enum Channel {
    Local(UnixDatagram),
    Udp(UdpSocket),
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Transport {
    /// A place of the kind `tls` needs `tls`. A step of an attempt may take as long as `patience`.
    pub(in crate::alert) const fn new(url: SyslogUrl, tls: Option<TlsClient>, patience: Duration) -> Self {
        Self { url, tls, patience, open: None }
    }

    /// Sends a message, over a new socket where there is none or the old one fails.
    ///
    /// # Errors
    /// There is no way to the collector now. Part of the message may have been sent.
    pub(in crate::alert) fn send(&mut self, message: &[u8]) -> io::Result<()> {
        if let Some((mut channel, since)) = self.open.take()
            && channel.is_usable(since)
            && channel.send(message).is_ok()
        {
            self.open = Some((channel, since));
            return Ok(());
        }
        let told = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", self.url));
        let mut channel = self.connect().map_err(told)?;
        channel.send(message).map_err(told)?;
        self.open = Some((channel, Instant::now()));
        Ok(())
    }

    fn connect(&self) -> io::Result<Channel> {
        match &self.url {
            SyslogUrl::Local(path) => local(path, self.patience).map(Channel::Local),
            SyslogUrl::Udp(host, port) => self.first(host, *port, |address| {
                let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(any)?;
                socket.connect(address)?;
                Ok(Channel::Udp(socket))
            }),
            SyslogUrl::Tcp(host, port) => self.first(host, *port, |address| self.tcp(address).map(Channel::Tcp)),
            SyslogUrl::Tls(host, port) => self.first(host, *port, |address| self.tls(self.tcp(address)?)),
        }
    }

    /// The first address of a name that works, or what is wrong with the last.
    fn first(&self, host: &str, port: u16, open: impl Fn(SocketAddr) -> io::Result<Channel>) -> io::Result<Channel> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in (host, port).to_socket_addrs()? {
            match open(address) {
                Ok(channel) => return Ok(channel),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn tcp(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let tcp = TcpStream::connect_timeout(&address, self.patience)?;
        tcp.set_write_timeout(Some(self.patience))?;
        tcp.set_read_timeout(Some(self.patience))?;
        tcp.set_nodelay(true)?;
        let socket = SockRef::from(&tcp);
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_INTERVAL))?;
        socket.set_tcp_user_timeout(Some(GONE_AFTER))?;
        Ok(tcp)
    }

    fn tls(&self, mut tcp: TcpStream) -> io::Result<Channel> {
        let client = self.tls.as_ref().ok_or_else(|| io::Error::other("TLS is not set up"))?;
        let mut session =
            ClientConnection::new(client.config().clone(), client.name().clone()).map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut tcp)?;
        }
        Ok(Channel::Tls(Box::new(StreamOwned::new(session, tcp))))
    }
}

fn local(path: &Path, patience: Duration) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    socket.set_write_timeout(Some(patience))?;
    Ok(socket)
}

impl Channel {
    /// Whether a message over it may arrive. A peer that has closed would only say so after the first that it does not read.
    fn is_usable(&mut self, since: Instant) -> bool {
        match self {
            Self::Local(_) | Self::Udp(_) => since.elapsed() < AGE,
            Self::Tcp(tcp) => without_waiting(tcp, |tcp| is_open(&mut &*tcp)).unwrap_or(false),
            Self::Tls(stream) => {
                let StreamOwned { conn, sock } = &mut **stream;
                without_waiting(sock, |sock| is_session_open(conn, &mut &*sock)).unwrap_or(false)
            }
        }
    }

    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            Self::Local(socket) => socket.send(message).map(drop),
            Self::Udp(socket) => socket.send(message).map(drop),
            Self::Tcp(tcp) => tcp.write_all(&counted(message)),
            Self::Tls(stream) => {
                stream.write_all(&counted(message))?;
                stream.flush()
            }
        }
    }
}

/// A message of a stream, with its length before it (RFC 6587 section 3.4.1, RFC 5425 section 4.3).
fn counted(message: &[u8]) -> Vec<u8> {
    let mut framed = format!("{} ", message.len()).into_bytes();
    framed.extend_from_slice(message);
    framed
}

fn without_waiting<T>(tcp: &TcpStream, look: impl FnOnce(&TcpStream) -> T) -> io::Result<T> {
    tcp.set_nonblocking(true)?;
    let seen = look(tcp);
    tcp.set_nonblocking(false)?;
    Ok(seen)
}

/// A collector has nothing to say; what it says is not listened to, up to a bound.
fn is_open(tcp: &mut &TcpStream) -> bool {
    let mut said = [0; 4096];
    for _ in 0..16 {
        match tcp.read(&mut said) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
    }
    false
}

fn is_session_open(session: &mut ClientConnection, tcp: &mut &TcpStream) -> bool {
    for _ in 0..16 {
        match session.read_tls(tcp) {
            Ok(0) => return false,
            Ok(_) => match session.process_new_packets() {
                Ok(state) if !state.peer_has_closed() && state.plaintext_bytes_to_read() == 0 => {}
                _ => return false,
            },
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
    }
    false
}
