//! The threads that answer questions to history: a few at a time, giving way to all others, and with no more waiting than can be answered
//! soon. An answer that nobody waits for any more is given up.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use rustix::process::nice;
use tokio::sync::oneshot;
use tracing::debug;

/// Questions that are answered at a time: each may take several threads to read.
pub(crate) const WORKERS: usize = 2;

/// Questions that may wait.
const QUEUE: usize = 32;

/// How much more all other threads may run.
const NICENESS: i32 = 10;

type Job = Box<dyn FnOnce() + Send>;

/// Takes questions for the threads.
#[derive(Clone)]
pub(crate) struct Pool {
    queue: mpsc::SyncSender<Job>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// Too many are waiting.
    Busy,
    /// The work has panicked.
    Failed,
}

/// Set when whoever asked has gone away.
struct GoneAway(Arc<AtomicBool>);

impl Drop for GoneAway {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Pool {
    /// Starts the threads.
    ///
    /// # Errors
    /// One cannot be started.
    pub(crate) fn open() -> io::Result<Self> {
        let (queue, jobs) = mpsc::sync_channel::<Job>(QUEUE);
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..WORKERS {
            let jobs = Arc::clone(&jobs);
            thread::Builder::new().name("questions".into()).spawn(move || {
                // Of this thread alone, and of those that it starts.
                if let Err(error) = nice(NICENESS) {
                    debug!("threads that answer questions cannot give way: {error}");
                }
                loop {
                    let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(job) = job else { break };
                    // The panic has said why; whoever asked sees that there is no answer, and the next question gets one.
                    let _ = panic::catch_unwind(AssertUnwindSafe(job));
                }
            })?;
        }
        Ok(Self { queue })
    }

    /// What `work` says, which gets told when nobody waits for it any more.
    ///
    /// # Errors
    /// See [`Unanswered`].
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&AtomicBool) -> T + Send + 'static,
    ) -> Result<T, Unanswered> {
        let (answer, answered) = oneshot::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let _gone_away = GoneAway(Arc::clone(&stop));
        let job: Job = Box::new(move || {
            if !stop.load(Ordering::Relaxed) {
                let _ = answer.send(work(&stop));
            }
        });
        self.queue.try_send(job).map_err(|_| Unanswered::Busy)?;
        answered.await.map_err(|_| Unanswered::Failed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use super::*;

    /// Waits until `condition` holds; the test's own patience is that of whoever runs it.
    async fn until(condition: impl Fn() -> bool) {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// A question that goes on until nobody waits for it; the counters are of those that have begun and ended.
    async fn endless(pool: Pool, begun: Arc<AtomicUsize>, ended: Arc<AtomicUsize>) -> Result<(), Unanswered> {
        let work = move |stop: &AtomicBool| {
            begun.fetch_add(1, Ordering::SeqCst);
            while !stop.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(1));
            }
            ended.fetch_add(1, Ordering::SeqCst);
        };
        pool.ask(work).await
    }

    #[tokio::test]
    async fn no_more_wait_than_there_is_room_for_and_those_who_leave_make_room() {
        let pool = Pool::open().expect("threads");
        let (begun, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let ask = |_| tokio::spawn(endless(pool.clone(), Arc::clone(&begun), Arc::clone(&ended)));
        let mut asked: Vec<_> = (0..WORKERS).map(ask).collect();
        until(|| begun.load(Ordering::SeqCst) == WORKERS).await;
        asked.extend((0..QUEUE).map(ask));
        // On this thread they are queued one by one, in their order, before this is.
        tokio::task::yield_now().await;
        assert_eq!(pool.ask(|_| ()).await, Err(Unanswered::Busy));
        asked.iter().for_each(|one| one.abort());
        until(|| ended.load(Ordering::SeqCst) == WORKERS).await;
        // What had not begun never does, and there is room again.
        let answer = loop {
            match pool.ask(|_| 7).await {
                Ok(answer) => break answer,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        assert_eq!((answer, begun.load(Ordering::SeqCst)), (7, WORKERS));
    }

    #[tokio::test]
    async fn a_question_that_panics_costs_nobody_else_an_answer() {
        let pool = Pool::open().expect("threads");
        for _ in 0..WORKERS * 2 {
            let answer = pool.ask(|_| -> u32 { unreachable!("a question that cannot be answered") }).await;
            assert_eq!(answer, Err(Unanswered::Failed));
        }
        assert_eq!(pool.ask(|_| 7).await, Ok(7));
    }
}
