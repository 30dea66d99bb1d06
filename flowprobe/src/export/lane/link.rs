//! Which collector is in use, and how another comes to be.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::Plan;
use crate::config::{Collector, Transport};
use crate::export::outlet::{Connection, Ended, IpfixFiles, Outlet, Udp};
use crate::export::packed::TemplateSet;
use crate::export::transport::{Closed, Stream, TlsClient};

/// How long a collector may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// Time to the next attempt after none could be reached; it doubles up to the second.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How often those that come before the one in use are tried.
const RETURN: Duration = Duration::from_secs(10);

/// A connection that ends before this was none to rely on: a collector may accept what it then refuses.
const STEADY: Duration = Duration::from_secs(10);

/// So many of these in a row are told of. There may be very many more.
const TOLD: u32 = 2;

/// How long a collector's word about the client's certificate is waited for, which it gives after the handshake (RFC 8446
/// section 4.4.2.4).
const VERDICT: Duration = Duration::from_millis(300);

/// One of the collectors of a lane, ready to be used.
#[derive(Clone, Debug)]
pub struct Member {
    /// What is configured.
    pub collector: Collector,
    /// What has been read from its files.
    pub tls: Option<TlsClient>,
}

/// What has happened to a lane's way out.
pub(super) enum LinkEvent {
    /// A collector can be used.
    Open(usize, Box<Outlet>),
    /// One cannot.
    Failed(usize, anyhow::Error),
    /// The connection in use has ended.
    Ended(Ended),
    /// The connection takes another message.
    Room,
    /// It is time for another attempt.
    Due,
}

/// The way out of a lane.
pub(super) struct Link {
    plan: Arc<Plan>,
    /// The collector in use, by its place in the order.
    pub(super) active: Option<(usize, Outlet)>,
    attempt: Option<(usize, Attempt)>,
    next_attempt: Instant,
    pause: Duration,
    /// Since when none is in use.
    pub(super) away_since: Option<Instant>,
    in_use_since: Instant,
    /// Connections in a row that did not last.
    short_lived: u32,
}

type Attempt = Pin<Box<dyn Future<Output = anyhow::Result<Outlet>> + Send>>;

impl Link {
    pub(super) fn new(plan: Arc<Plan>) -> Self {
        let now = Instant::now();
        Self {
            plan,
            active: None,
            attempt: None,
            next_attempt: now,
            pause: FIRST_PAUSE,
            away_since: Some(now),
            in_use_since: now,
            short_lived: 0,
        }
    }

    /// Waits for what happens next. `room_after` asks for room in the connection, after a pause. May be cancelled.
    pub(super) async fn event(&mut self, room_after: Option<Duration>) -> LinkEvent {
        let in_use = self.active.as_ref().map(|(position, _)| *position);
        let wants_attempt = self.attempt.is_none() && in_use != Some(0);
        let Self { plan, active, attempt, next_attempt, .. } = self;
        let has_others = plan.members.len() > 1;
        let pause = async {
            match room_after {
                Some(pause) => tokio::time::sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        let connection = async {
            match active {
                Some((_, Outlet::Stream(connection))) => connection.event(room_after).await,
                Some((_, Outlet::Udp(udp))) if has_others => tokio::select! {
                    error = udp.refusal() => Some(Ended { left: Vec::new(), why: Some(error.to_string()) }),
                    () = pause => None,
                },
                // Datagrams and files have room at any time.
                Some(_) => {
                    pause.await;
                    None
                }
                None => std::future::pending().await,
            }
        };
        let outcome = async {
            match attempt {
                Some((position, attempt)) => (*position, attempt.await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            (position, outcome) = outcome => {
                self.attempt = None;
                match outcome {
                    Ok(outlet) => LinkEvent::Open(position, Box::new(outlet)),
                    Err(error) => LinkEvent::Failed(position, error),
                }
            }
            ended = connection => ended.map_or(LinkEvent::Room, LinkEvent::Ended),
            () = tokio::time::sleep_until((*next_attempt).into()), if wants_attempt => LinkEvent::Due,
        }
    }

    /// Tries a collector, unless one is being tried.
    pub(super) fn try_member(&mut self, position: usize, templates: Arc<TemplateSet>) {
        if self.attempt.is_none()
            && let Some(member) = self.plan.members.get(position)
        {
            let opening = open(Arc::clone(&self.plan), member.clone(), templates);
            self.attempt = Some((position, Box::pin(opening)));
        }
    }

    /// The collector that is to be tried after `failed` could not be used; none before the next pause is over.
    pub(super) fn after(&mut self, failed: usize) -> Option<usize> {
        let end = self.active.as_ref().map_or(self.plan.members.len(), |(position, _)| *position);
        let next = failed + 1;
        if next < end {
            return Some(next);
        }
        let pause = if self.active.is_some() { RETURN } else { self.pause };
        self.next_attempt = Instant::now() + pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        None
    }

    /// Takes a collector into use; returns the one that was.
    pub(super) fn set_active(&mut self, position: usize, outlet: Outlet) -> Option<Outlet> {
        self.away_since = None;
        self.in_use_since = Instant::now();
        if self.short_lived == 0 {
            self.pause = FIRST_PAUSE;
        }
        self.next_attempt = Instant::now() + RETURN;
        self.active.replace((position, outlet)).map(|(_, outlet)| outlet)
    }

    /// The collector in use cannot be used any more. Where it was of use, all are tried at once; else it is as if it could not be
    /// reached: returns the one that is to be tried after it.
    pub(super) fn set_away(&mut self) -> Option<usize> {
        let (position, _) = self.active.take()?;
        self.away_since = Some(Instant::now());
        if self.in_use_since.elapsed() >= STEADY {
            self.short_lived = 0;
            self.pause = FIRST_PAUSE;
            self.next_attempt = Instant::now();
            return None;
        }
        self.short_lived = self.short_lived.saturating_add(1);
        self.after(position)
    }

    /// Whether connections come and go, which was said.
    pub(super) const fn is_unsteady(&self) -> bool {
        self.short_lived > TOLD
    }

    /// Takes note that a connection lasts. Returns whether they came and went before.
    pub(super) fn has_steadied(&mut self) -> bool {
        let lasts = self.active.is_some() && self.in_use_since.elapsed() >= STEADY;
        let was_unsteady = self.is_unsteady();
        if lasts {
            self.short_lived = 0;
        }
        lasts && was_unsteady
    }
}

/// Opens the way to a collector.
async fn open(plan: Arc<Plan>, member: Member, templates: Arc<TemplateSet>) -> anyhow::Result<Outlet> {
    let Member { collector, tls } = member;
    match &collector.transport {
        Transport::Udp => {
            let mut udp = open_udp(&plan, &collector).await?;
            if plan.members.len() > 1 {
                udp.probe(&templates, plan.domain.of_options()).await?;
                udp = udp.stopping_at_loss();
            }
            Ok(Outlet::Udp(Box::new(udp)))
        }
        Transport::Tcp | Transport::Tls(_) => {
            let Collector { host, port, socket, .. } = &collector;
            let mut stream = Stream::connect(host, *port, socket, tls.as_ref(), PATIENCE).await?;
            if tls.is_some()
                && let Ok(Closed::Broken(error)) = tokio::time::timeout(VERDICT, stream.closed()).await
            {
                return Err(error.into());
            }
            Ok(Outlet::Stream(Connection::start(stream, plan.format)))
        }
        Transport::File(options) => Ok(Outlet::File(IpfixFiles::new(options.clone())?)),
    }
}

/// Opens a socket to a collector, whose name is looked up.
pub(super) async fn open_udp(plan: &Plan, collector: &Collector) -> anyhow::Result<Udp> {
    let address = resolve(collector).await?;
    let Collector { socket, mtu, template_refresh, .. } = collector;
    Udp::open(address, socket, plan.format, *mtu, *template_refresh)
}

/// An address of a collector, of the IP version of the source address where there is one.
pub(super) async fn resolve(collector: &Collector) -> anyhow::Result<SocketAddr> {
    let cannot = || format!("cannot find `{}`", collector.host);
    let looked_up = tokio::time::timeout(PATIENCE, tokio::net::lookup_host((collector.host.as_str(), collector.port)));
    let addresses: Vec<SocketAddr> = looked_up.await.with_context(cannot)?.with_context(cannot)?.collect();
    let source = collector.socket.source;
    let usable = addresses.iter().find(|address| source.is_none_or(|source| source.is_ipv4() == address.is_ipv4()));
    usable.or(addresses.first()).copied().with_context(|| format!("the name `{}` has no address", collector.host))
}
