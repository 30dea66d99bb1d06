//! A harness for any test of accuracy: traffic of a known mix ([`mix`]) at millions of packets a second ([`Load`]), the
//! truth counted where it arrives ([`Tally`]), what the daemon reports, folded while it comes ([`Ledger`]), faults in
//! between ([`faults`]), and the exact comparison ([`Outcome`]).
//!
//! ```text
//! Generator ─► lane ─► the daemon's program ─► Tally ─┐
//!                            └► daemon ─► Ledger ─────┴► Outcome
//! ```
//!
//! What must be equal is equal to the last octet, and nothing depends on how fast the machine is. The truth takes Linux 6.6,
//! where programs at tc have an order.

pub mod faults;
mod generator;
mod ledger;
mod load;
pub mod mix;
mod outcome;
mod tally;
mod wire;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};

use crate::daemon::Daemon;
use crate::process::wait_until;
use crate::truth::Object;
pub use generator::Generator;
pub use ledger::Ledger;
pub use load::{Load, Pace};
pub use mix::{Distribution, Mix, Traffic};
pub use outcome::Outcome;
pub use tally::Tally;
pub use wire::{Hook, Lane, Quiet, Wire};

/// Whether the long forms of tests were asked for.
#[must_use]
pub fn is_long() -> bool {
    std::env::var_os("FLOWPROBE_LONG").is_some()
}

/// The short or the long form of a time.
#[must_use]
pub fn seconds(short: u64, long: u64) -> Duration {
    Duration::from_secs(if is_long() { long } else { short })
}

/// A daemon at the end of lanes.
pub struct Lab {
    /// The daemon.
    pub daemon: Daemon,
    /// The lanes, what arrived on them and what was reported.
    pub wire: Arc<Wire>,
}

impl Lab {
    /// Lays `lanes` lanes for `traffic`, and starts the daemon with more arguments on all of them.
    ///
    /// # Errors
    /// The kernel refuses, or the daemon ends.
    pub fn new(traffic: &Traffic, lanes: usize, hook: Hook, arguments: &[&str]) -> Result<Self> {
        let wire = Arc::new(Wire::new(traffic, lanes, hook)?);
        let mut all = vec!["--mode", hook.mode()];
        for lane in wire.lanes() {
            all.extend(["-i", &lane.receiver]);
        }
        all.extend(arguments);
        let reader = Arc::clone(&wire);
        let daemon = Daemon::start_folding(&wire.room, &all, move |line| reader.ledger().take(line))?;
        Ok(Self { daemon, wire })
    }

    /// Does `action` while `loads` send.
    ///
    /// # Errors
    /// `action` or a load fails.
    pub fn under_load<T>(&mut self, loads: &mut [Load], action: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let wire = Arc::clone(&self.wire);
        under_load(&wire, loads, || action(self))
    }

    /// Waits until the accounting of what came in on the first lane satisfies `enough`.
    ///
    /// # Errors
    /// It does not come to.
    pub fn wait_for_accounting(&mut self, what: &str, enough: impl Fn(&Object) -> bool) -> Result<()> {
        let receiver = self.wire.lane(0)?.receiver.clone();
        wait_until(what, || Ok(self.wire.ledger().accounting(&receiver).is_some_and(&enough)))
    }

    /// Waits until everything that has arrived is in the daemon's accounting.
    ///
    /// # Errors
    /// It does not come to be.
    pub fn settle(&mut self) -> Result<()> {
        for lane in self.wire.lanes() {
            let mut last = None;
            let equal = || {
                let (arrived, seen) = self.wire.arrived_and_seen(lane)?;
                last = Some((arrived, seen));
                Ok(arrived == seen)
            };
            let what = format!("all that arrived on {} seen there", lane.receiver);
            wait_until(&what, equal).map_err(|error| error.context(format!("arrived and seen: {last:?}")))?;
        }
        Ok(())
    }

    /// Waits until everything is accounted for, ends the daemon, and has both sides of the comparison.
    ///
    /// # Errors
    /// The daemon does not end well, or one of its accountings does not balance.
    pub fn finish(mut self) -> Result<Outcome> {
        self.settle()?;
        let report = self.daemon.stop()?;
        Outcome::new(&self.wire, report)
    }
}

/// Does `action` while `loads` send.
///
/// # Errors
/// `action` or a load fails.
pub fn under_load<T>(wire: &Wire, loads: &mut [Load], action: impl FnOnce() -> Result<T>) -> Result<T> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let running: Vec<_> = loads.iter_mut().map(|load| scope.spawn(|| load.run(wire, u64::MAX, &stop))).collect();
        // Also where it panics: else the scope would wait for ever.
        let guard = Stop(&stop);
        let done = action();
        drop(guard);
        for load in running {
            load.join().map_err(|_| anyhow!("a load panicked"))??;
        }
        done
    })
}

/// Sets a flag when dropped.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
