//! The thread that sends hours: again and again where it fails, each time after a longer while.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::{error, info, warn};

use super::bucket::SendFault;
use super::{Bucket, BucketFault, Marks, RemoteCondition};
use crate::config::Remote;
use crate::store::compaction::first_of;
use crate::store::file::FileFault;
use crate::store::layout::{FileId, Hour, whole_name};
use crate::store::shelf::Shelf;

/// The first pause after a failure; each is twice the one before.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How often a failure that goes on is said.
const REMIND: Duration = Duration::from_secs(600);

/// The thread, running.
#[derive(Debug)]
pub struct Running {
    thread: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

/// Sends hours of `shelf` to `remote` from now on.
///
/// # Errors
/// A thread cannot be started.
pub fn start(shelf: Arc<Shelf>, remote: Remote) -> io::Result<Running> {
    let (stop, stopped) = watch::channel(false);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = thread::Builder::new().name("history remote".into()).spawn(move || {
        let uploader = Uploader::new(shelf, move || Bucket::open(&remote), stopped);
        runtime.block_on(uploader.run());
        // Whoever looks up a name is not waited for.
        runtime.shutdown_background();
    })?;
    Ok(Running { thread, stop })
}

impl Running {
    /// Lets go of what is under way. What has not arrived is sent after the next start.
    pub fn stop(self) {
        self.stop.send_replace(true);
        let _ = self.thread.join();
    }
}

/// Sends what is to be sent.
pub(super) struct Uploader<O> {
    shelf: Arc<Shelf>,
    /// Opens the bucket, with the keys as they are now.
    open: O,
    bucket: Option<Bucket>,
    stop: watch::Receiver<bool>,
    /// The hour that failed last: the others come first then.
    failed: Option<Hour>,
    /// When a failure was said for the last time; nothing while all is well.
    said: Option<Instant>,
}

impl<O: Fn() -> Result<Bucket, BucketFault>> Uploader<O> {
    pub(super) const fn new(shelf: Arc<Shelf>, open: O, stop: watch::Receiver<bool>) -> Self {
        Self { shelf, open, bucket: None, stop, failed: None, said: None }
    }

    /// Until it is stopped.
    async fn run(mut self) {
        let shelf = Arc::clone(&self.shelf);
        let Some(marks) = shelf.remote() else { return };
        let mut pause = SHORTEST_PAUSE;
        loop {
            let failed = self.round(marks).await.is_err();
            let mut stop = self.stop.clone();
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = marks.change(), if !failed => {}
                // Not all at once, where many have waited for the same server.
                () = tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)), if failed => {}
            }
            pause = if failed { LONGEST_PAUSE.min(2 * pause) } else { SHORTEST_PAUSE };
        }
    }

    /// Sends all that waits, the earliest hour first, up to the first that fails.
    pub(super) async fn round(&mut self, marks: &Marks) -> Result<(), SendFault> {
        let outcome = self.send_all(marks).await;
        match &outcome {
            Ok(()) => self.all_is_well(),
            Err(SendFault::Stopped) => {}
            Err(fault) => self.complain(fault),
        }
        outcome
    }

    async fn send_all(&mut self, marks: &Marks) -> Result<(), SendFault> {
        let waiting = self.waiting(marks)?;
        let mut left = waiting.len() as u64;
        self.note(|remote| remote.waiting_hours = left);
        // One that cannot be sent must not be in the way of the others.
        let from = self.failed.map_or(0, |failed| waiting.partition_point(|(hour, _)| *hour <= failed));
        for (hour, id) in waiting[from..].iter().chain(&waiting[..from]) {
            let sent = self.send(*hour, id).await;
            left -= u64::from(sent.is_ok());
            match sent {
                Ok(octets) => {
                    self.note(|remote| {
                        remote.sent_hours += 1;
                        remote.sent_octets += octets;
                        remote.waiting_hours = left;
                        remote.problem = None;
                    });
                    self.all_is_well();
                    // Where it cannot be kept, the worst that comes of it is that it is sent once more.
                    marks.set(*hour, id)?;
                }
                // It has been replaced, or deleted; what took its place comes next time.
                Err(SendFault::File(fault)) if fault.is_missing() => {}
                Err(SendFault::File(fault)) if fault.is_damage() => {
                    left -= 1;
                    self.pass_over(marks, *hour, id, &fault);
                    self.note(|remote| remote.waiting_hours = left);
                }
                Err(fault) => {
                    (self.failed, self.bucket) = (Some(*hour), None);
                    return Err(fault);
                }
            }
        }
        self.failed = None;
        Ok(())
    }

    /// The hours whose file is not there.
    fn waiting(&self, marks: &Marks) -> Result<Vec<(Hour, FileId)>, FileFault> {
        let layout = self.shelf.layout();
        let hours = layout.hours()?;
        marks.keep(&hours);
        let mut waiting = Vec::new();
        for hour in hours {
            waiting.extend(layout.files(hour)?.whole.filter(|id| !marks.has(hour, id)).map(|id| (hour, id)));
        }
        Ok(waiting)
    }

    /// Sends the file of an hour, and returns its octets.
    async fn send(&mut self, hour: Hour, id: &FileId) -> Result<u64, SendFault> {
        let path = self.shelf.layout().hour(hour).join(whole_name(id));
        let first = first_of(&path, id)?;
        let bucket = match self.bucket.take() {
            Some(bucket) => bucket,
            None => (self.open)()?,
        };
        let octets = bucket.put(&bucket.key(hour, &first), &path, &mut self.stop).await?;
        self.bucket = Some(bucket);
        Ok(octets)
    }

    fn pass_over(&self, marks: &Marks, hour: Hour, id: &FileId, fault: &FileFault) {
        marks.pass_over(hour, id);
        error!("a damaged file of history is not sent: {fault}");
        self.note(|remote| {
            remote.missed_hours += 1;
            remote.problems += 1;
        });
    }

    fn note(&self, change: impl FnOnce(&mut RemoteCondition)) {
        self.shelf.note(|condition| {
            if let Some(remote) = &mut condition.remote {
                change(remote);
            }
        });
    }

    fn all_is_well(&mut self) {
        if self.said.take().is_some() {
            info!("history goes to {} again", self.name());
        }
        self.note(|remote| remote.problem = None);
    }

    fn complain(&mut self, fault: &SendFault) {
        let problem = match (self.failed, fault) {
            (Some(hour), SendFault::Bucket(fault)) => format!("{hour}: {fault}"),
            _ => fault.to_string(),
        };
        if self.said.is_none_or(|said| said.elapsed() >= REMIND) {
            warn!("history does not get to {}, and waits: {problem}", self.name());
            self.said = Some(Instant::now());
        }
        self.note(|remote| {
            remote.problem = Some(problem);
            remote.problems += 1;
        });
    }

    fn name(&self) -> String {
        self.shelf.condition().remote.map(|remote| remote.name).unwrap_or_default()
    }
}
