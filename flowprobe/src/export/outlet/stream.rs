//! A connection to one collector (RFC 7011 sections 10.4 and 11), and the task that writes to it.
//!
//! IPFIX has no acknowledgment: that the peer's TCP has acknowledged a message does not mean that the collector has read it. So
//! what was written stays in memory for a while, and goes out once more when the connection breaks:
//!
//! - what was not acknowledged, whatever the reason;
//! - where the connection was not closed in good order, also what was acknowledged last: as much as a receiver's buffer holds,
//!   [`WINDOW`], and nothing older than [`SETTLED`]. A collector that is killed takes what it has not read with it.
//!
//! Of these a collector may get some twice. It never gets less.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::export::Format;
use crate::export::encode::Clock;
use crate::export::lane::Place;
use crate::export::packed::Packed;
use crate::export::session::{Session, Templates};
use crate::export::transport::{Closed, Stream};

/// Octets that a receiver's buffer holds: what Linux lets it grow to (`net.ipv4.tcp_rmem`; older kernels have 6 MiB).
pub const WINDOW: u64 = 32 << 20;

/// What was acknowledged so long ago was read: in good order or not, it does not go out again.
const SETTLED: Duration = Duration::from_secs(60);

/// Messages that wait for the socket. More of them wait where they are kept.
pub const QUEUE: usize = 64;

/// How long a collector may take to take the last messages, and then to acknowledge them.
const GOODBYE: Duration = Duration::from_secs(2);

/// What is said where it takes longer.
const TOO_SLOW: &str = "the collector did not take the last messages in time";

/// A message on its way.
#[derive(Debug)]
pub struct Item {
    /// The message.
    pub message: Packed,
    /// Where it is kept, if it came from there.
    pub place: Option<Place>,
}

/// The end of a connection.
#[derive(Debug)]
pub struct Ended {
    /// What may not have arrived, in order.
    pub left: Vec<Item>,
    /// Why, where it was not this side that ended it.
    pub why: Option<String>,
}

impl Ended {
    fn failed(error: &tokio::task::JoinError) -> Self {
        Self { left: Vec::new(), why: Some(error.to_string()) }
    }
}

/// A connection and its task.
pub struct Connection {
    items: Option<mpsc::Sender<Item>>,
    task: JoinHandle<Ended>,
    arrived: Arc<AtomicU64>,
    /// Dropped to say that there is no more to come.
    hurry: oneshot::Sender<()>,
}

impl Connection {
    /// Starts the task that writes to `stream`.
    #[must_use]
    pub fn start(stream: Stream, format: Format) -> Self {
        let (items, queue) = mpsc::channel(QUEUE);
        let (hurry, hurried) = oneshot::channel();
        let arrived = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            stream,
            session: Session::new(format, Templates::Withdrawn),
            written: VecDeque::new(),
            arrived: Arc::clone(&arrived),
        };
        Self { items: Some(items), task: tokio::spawn(writer.run(queue, hurried)), arrived, hurry }
    }

    /// Hands over a message; gives it back where too many wait, or the connection has ended.
    ///
    /// # Errors
    /// The message.
    pub fn offer(&self, item: Item) -> Result<(), Box<Item>> {
        match &self.items {
            None => Err(Box::new(item)),
            Some(items) => items.try_send(item).map_err(|error| match error {
                TrySendError::Full(item) | TrySendError::Closed(item) => Box::new(item),
            }),
        }
    }

    /// How many messages have arrived or are taken to have, since the beginning.
    #[must_use]
    pub fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    /// Waits for the end, or, where `room_after` says so, until a message can be handed over, after a pause: then none. May be
    /// cancelled.
    pub async fn event(&mut self, room_after: Option<Duration>) -> Option<Ended> {
        let Self { items, task, .. } = self;
        let room = async {
            match (items, room_after) {
                (Some(items), Some(pause)) => {
                    tokio::time::sleep(pause).await;
                    items.reserve().await.is_ok()
                }
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            ended = task => Some(ended.unwrap_or_else(|error| Ended::failed(&error))),
            true = room => None,
        }
    }

    /// Lets what waits go out, and ends the connection.
    pub async fn close(self) -> Ended {
        drop((self.items, self.hurry));
        self.task.await.unwrap_or_else(|error| Ended::failed(&error))
    }
}

struct Writer {
    stream: Stream,
    session: Session,
    written: VecDeque<Written>,
    arrived: Arc<AtomicU64>,
}

/// A message that may have to go out again.
struct Written {
    item: Item,
    /// Octets that had been written with it.
    end: u64,
    at: Instant,
}

impl Writer {
    async fn run(mut self, mut queue: mpsc::Receiver<Item>, hurried: oneshot::Receiver<()>) -> Ended {
        let mut settle = tokio::time::interval(Duration::from_secs(1));
        // A collector that does not read must not keep the daemon from ending.
        let late = async {
            let _ = hurried.await;
            tokio::time::sleep(GOODBYE).await;
        };
        tokio::pin!(late);
        loop {
            tokio::select! {
                closed = self.stream.closed() => {
                    let (in_good_order, why) = match closed {
                        Closed::InGoodOrder => (true, "the collector has closed the connection".to_owned()),
                        Closed::Broken(error) => (false, error.to_string()),
                    };
                    return self.end(queue, in_good_order, Some(why));
                }
                item = queue.recv() => match item {
                    None => return self.say_goodbye(queue).await,
                    Some(item) => tokio::select! {
                        outcome = self.write(item) => if let Err(error) = outcome {
                            return self.end(queue, false, Some(error.to_string()));
                        },
                        () = &mut late => return self.end(queue, false, Some(TOO_SLOW.to_owned())),
                    },
                },
                _ = settle.tick() => self.settle(),
            }
        }
    }

    /// Where this is cancelled, or fails, the message is among those that may not have arrived.
    async fn write(&mut self, mut item: Item) -> std::io::Result<()> {
        let now = Instant::now();
        let before = self.session.next(&mut item.message, now, Clock::read().now_s());
        self.written.push_back(Written { item, end: u64::MAX, at: now });
        let Some(written) = self.written.back_mut() else { return Ok(()) };
        for octets in before.iter().chain([&written.item.message.octets]) {
            self.stream.send(octets).await?;
        }
        written.end = self.stream.written();
        self.settle();
        Ok(())
    }

    /// Forgets what has arrived.
    fn settle(&mut self) {
        let acknowledged = self.stream.acknowledged().unwrap_or(0);
        let settled = |written: &Written| {
            written.end <= acknowledged && (written.end + WINDOW <= acknowledged || written.at.elapsed() >= SETTLED)
        };
        let mut count = 0;
        while self.written.pop_front_if(|written| settled(written)).is_some() {
            count += 1;
        }
        self.arrived.fetch_add(count, Ordering::Relaxed);
    }

    async fn say_goodbye(self, queue: mpsc::Receiver<Item>) -> Ended {
        let Self { stream, written, arrived, .. } = self;
        if stream.close(GOODBYE).await {
            arrived.fetch_add(written.len() as u64, Ordering::Relaxed);
            return Ended { left: Vec::new(), why: None };
        }
        Ended { left: leftovers(written, queue), why: Some(TOO_SLOW.to_owned()) }
    }

    fn end(mut self, queue: mpsc::Receiver<Item>, in_good_order: bool, why: Option<String>) -> Ended {
        if in_good_order {
            let acknowledged = self.stream.acknowledged().unwrap_or(0);
            self.written.retain(|written| written.end > acknowledged);
        }
        Ended { left: leftovers(self.written, queue), why }
    }
}

fn leftovers(written: VecDeque<Written>, mut queue: mpsc::Receiver<Item>) -> Vec<Item> {
    queue.close();
    let mut left: Vec<Item> = written.into_iter().map(|written| written.item).collect();
    while let Ok(item) = queue.try_recv() {
        left.push(item);
    }
    left
}
