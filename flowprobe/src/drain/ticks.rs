//! Where no interface is metered there is nothing to drain, but whoever waits for ticks and for changes waits for them all the same.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use super::pace::Pace;
use super::{Command, DrainError, DrainReport, Drained};
use crate::clock::{self, WallOffset};

/// Reports every `interval` that nothing was drained, until told to stop or nobody is left to tell.
///
/// # Errors
/// There is nobody to report to.
pub fn tick_alone(
    interval: Duration,
    commands: &Receiver<Command>,
    out: &SyncSender<Drained>,
) -> Result<(), DrainError> {
    let mut pace = Pace::new(interval, Instant::now());
    let send = |message| out.send(message).map_err(|_| DrainError::NoReceiver);
    loop {
        match commands.recv_timeout(pace.wait(Instant::now())) {
            Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => return send(Drained::End(nothing())),
            Ok(Command::Hurry) => {}
            Ok(Command::Reload(reload)) => {
                pace.set_interval(reload.interval, Instant::now());
                send(Drained::Change(Box::new(reload.change)))?;
            }
            Err(RecvTimeoutError::Timeout) => {
                let began = Instant::now();
                send(Drained::End(nothing()))?;
                pace.drained(began, Instant::now());
            }
        }
    }
}

fn nothing() -> DrainReport {
    DrainReport {
        now_ns: clock::monotonic_ns(),
        offset: WallOffset::measure(),
        flows: 0,
        took: Duration::ZERO,
        stats: Vec::new(),
        overflow: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn there_are_ticks_without_a_probe_and_one_at_the_end() {
        let (commands, told) = mpsc::channel();
        let (out, drained) = mpsc::sync_channel(1);
        let ticking = thread::spawn(move || tick_alone(Duration::from_millis(1), &told, &out));
        assert!(matches!(drained.recv(), Ok(Drained::End(report)) if report.now_ns > 0 && report.stats.is_empty()));
        commands.send(Command::Stop).expect("it listens");
        assert!(drained.iter().all(|message| matches!(message, Drained::End(_))));
        assert!(ticking.join().expect("no panic").is_ok());
    }
}
