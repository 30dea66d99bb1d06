//! Connections with IPFIX (RFC 7011 section 10.4), alone or under TLS: one thread reads all of a listener, so that its handler
//! may block without anybody else's work waiting. What is not read meanwhile stays with the exporters: TCP sees to that.

use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::framing::{Frames, NotIpfix};
use super::health::{Counts, ListenerCounters};
use super::seldom::Seldom;
use super::{FLUSH_INTERVAL, Handler, LAST_READS, Peer, TlsServer, unmapped};
use crate::config::Listen;

/// What connections may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How many are open at once.
    pub(super) connections: u64,
    /// How long the agreement on TLS may take.
    pub(super) handshake: Duration,
    /// How long one may bring nothing. Exporters without traffic are silent, and those that vanished are too.
    pub(super) idle: Duration,
}

impl Limits {
    /// So many that the rest of the process does not run out of files.
    pub(super) fn of_this_process() -> Self {
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Self {
            connections: (files / 4).min(1024),
            handshake: Duration::from_secs(10),
            idle: Duration::from_secs(30 * 60),
        }
    }
}

/// How long a connection is still read that brings nothing, when the listener is stopped: that something has arrived is known a
/// moment later than that it is to stop.
const LAST_WAIT: Duration = Duration::from_millis(50);

/// How long nobody is accepted when the kernel has refused to.
const RESPITE: Duration = Duration::from_millis(100);

/// A socket that accepts connections, and what runs its tasks.
pub(super) struct Server {
    runtime: Runtime,
    listener: tokio::net::TcpListener,
    acceptor: Option<TlsAcceptor>,
    listen: Listen,
    counters: ListenerCounters,
    limits: Limits,
}

impl Server {
    pub(super) fn new(
        listener: TcpListener,
        tls: Option<TlsServer>,
        listen: Listen,
        counters: ListenerCounters,
        limits: Limits,
    ) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        listener.set_nonblocking(true)?;
        let listener = {
            let _guard = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let acceptor = tls.map(|tls| TlsAcceptor::from(tls.config().clone()));
        Ok(Self { runtime, listener, acceptor, listen, counters, limits })
    }

    /// Receives until `stop` is closed, then what the kernel has by then.
    pub(super) fn run<H: Handler>(self, handler: H, stop: watch::Receiver<()>) {
        let Self { runtime, listener, acceptor, listen, counters, limits } = self;
        let service = Rc::new(Service {
            handler: RefCell::new(handler),
            acceptor,
            listen,
            counters,
            limits,
            refusals: RefCell::default(),
            faults: RefCell::default(),
        });
        LocalSet::new().block_on(&runtime, Rc::clone(&service).serve(&listener, stop));
        service.handler.borrow_mut().flush();
    }
}

/// What the tasks of all connections share, in one thread. No borrow lasts over an `await`.
struct Service<H> {
    handler: RefCell<H>,
    acceptor: Option<TlsAcceptor>,
    listen: Listen,
    counters: ListenerCounters,
    limits: Limits,
    refusals: RefCell<Seldom>,
    faults: RefCell<Seldom>,
}

/// Why a connection has ended.
enum Ended {
    ByExporter,
    ByUs,
    Idle,
    NotIpfix(NotIpfix),
    WithinMessage,
    Broken(io::Error),
    Handshake(String),
}

impl<H: Handler> Service<H> {
    async fn serve(self: Rc<Self>, listener: &tokio::net::TcpListener, mut stop: watch::Receiver<()>) {
        let mut flush = interval(FLUSH_INTERVAL);
        flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut connections = JoinSet::new();
        let mut number = 0;
        loop {
            tokio::select! {
                _ = stop.changed() => break,
                _ = flush.tick() => self.handler.borrow_mut().flush(),
                Some(_) = connections.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, address)) => {
                        let address = match address {
                            SocketAddr::V6(address) => unmapped(address),
                            SocketAddr::V4(_) => address,
                        };
                        if self.admits(address) {
                            number += 1;
                            let open = Open::new(&self, Peer { address, connection: Some(number) }, number);
                            connections.spawn_local(connection(open, stream, stop.clone()));
                        }
                    }
                    Err(error) => {
                        self.counts().receive_errors.add(1);
                        self.remark(format_args!("cannot accept connections: {error}"));
                        sleep(RESPITE).await;
                    }
                },
            }
        }
        // Each reads what is there, and ends.
        let ended = timeout(LAST_READS, async { while connections.join_next().await.is_some() {} }).await;
        if ended.is_err() {
            connections.shutdown().await;
        }
    }

    fn counts(&self) -> &Counts {
        self.counters.counts()
    }

    fn admits(&self, address: SocketAddr) -> bool {
        if !self.listen.allows(address.ip()) {
            self.counts().refused.add(1);
            if let Some(unsaid) = self.refusals.borrow_mut().due(Instant::now()) {
                warn!("a connection from {} to {} is refused: not in `allow`{unsaid}", address.ip(), self.listen);
            }
            return false;
        }
        let most = self.limits.connections;
        if self.counts().connections_open.get() >= most {
            self.counts().connections_turned_away.add(1);
            self.remark(format_args!("a connection from {address} is turned away: {most} are open"));
            return false;
        }
        true
    }

    /// Hands on the messages that have been read.
    fn hand_on(&self, from: Peer, frames: &mut Frames) -> Result<(), NotIpfix> {
        let mut handler = self.handler.borrow_mut();
        let outcome = loop {
            match frames.next() {
                Ok(Some(message)) => {
                    self.counts().messages.add(1);
                    self.counts().octets.add(message.len() as u64);
                    handler.message(from, message);
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        handler.flush();
        outcome
    }

    async fn read(&self, mut stream: impl AsyncRead + Unpin, from: Peer, mut stop: watch::Receiver<()>) -> Ended {
        let (mut frames, mut is_stopped) = (Frames::default(), false);
        loop {
            let patience = if is_stopped { LAST_WAIT } else { self.limits.idle };
            let read = tokio::select! {
                read = timeout(patience, stream.read_buf(frames.room())) => read,
                _ = stop.changed(), if !is_stopped => {
                    is_stopped = true;
                    continue;
                }
            };
            match read {
                Err(_) if is_stopped => return Ended::ByUs,
                Err(_) => return Ended::Idle,
                Ok(Ok(0)) if frames.is_within_message() => return Ended::WithinMessage,
                Ok(Ok(0)) => return Ended::ByExporter,
                Ok(Ok(_)) => {
                    if let Err(error) = self.hand_on(from, &mut frames) {
                        return Ended::NotIpfix(error);
                    }
                }
                // Most exporters do not say TLS's goodbye; what came before is whole all the same, since messages have lengths.
                Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof && !frames.is_within_message() => {
                    return Ended::ByExporter;
                }
                Ok(Err(error)) => return Ended::Broken(error),
            }
        }
    }

    fn note(&self, peer: SocketAddr, ended: &Ended) {
        let counts = self.counts();
        match ended {
            Ended::ByExporter | Ended::ByUs => debug!("the connection from {peer} to {} has ended", self.listen),
            Ended::Idle => {
                counts.ended_idle.add(1);
                let idle = self.limits.idle;
                self.remark(format_args!("the connection from {peer} is closed: nothing came for {idle:?}"));
            }
            Ended::NotIpfix(error) => {
                counts.ended_not_ipfix.add(1);
                self.remark(format_args!("the connection from {peer} is closed: {error}"));
            }
            Ended::WithinMessage => {
                counts.ended_broken.add(1);
                self.remark(format_args!("the connection from {peer} has ended within a message"));
            }
            Ended::Broken(error) => {
                counts.ended_broken.add(1);
                self.remark(format_args!("the connection from {peer} is broken: {error}"));
            }
            Ended::Handshake(error) => {
                counts.handshakes_failed.add(1);
                self.remark(format_args!("no TLS session with {peer}: {error}"));
            }
        }
    }

    fn remark(&self, what: std::fmt::Arguments<'_>) {
        if let Some(unsaid) = self.faults.borrow_mut().due(Instant::now()) {
            warn!("listening on {}: {what}{unsaid}", self.listen);
        }
    }
}

async fn connection<H: Handler>(open: Open<H>, stream: TcpStream, stop: watch::Receiver<()>) {
    let service = &open.service;
    let ended = match &service.acceptor {
        None => service.read(stream, open.peer, stop).await,
        Some(acceptor) => match timeout(service.limits.handshake, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => service.read(stream, open.peer, stop).await,
            Ok(Err(error)) => Ended::Handshake(error.to_string()),
            Err(_) => Ended::Handshake(format!("not within {:?}", service.limits.handshake)),
        },
    };
    service.note(open.peer.address, &ended);
}

/// A connection as long as it is open, however its task ends.
struct Open<H: Handler> {
    service: Rc<Service<H>>,
    peer: Peer,
    number: u64,
}

impl<H: Handler> Open<H> {
    fn new(service: &Rc<Service<H>>, peer: Peer, number: u64) -> Self {
        service.counts().connections_open.add(1);
        service.counts().connections_total.add(1);
        Self { service: Rc::clone(service), peer, number }
    }
}

impl<H: Handler> Drop for Open<H> {
    fn drop(&mut self) {
        self.service.counts().connections_open.take_away(1);
        // Borrowed only where the handler itself has panicked.
        if let Ok(mut handler) = self.service.handler.try_borrow_mut() {
            handler.closed(self.number);
        }
    }
}
