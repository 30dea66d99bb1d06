//! The interfaces between generator and daemon, and who may send into them when.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use anyhow::{Context as _, Result};

use super::mix::Traffic;
use super::{Ledger, Tally, lock};
use crate::live::redirected;
use crate::namespace::Namespace;
use crate::process::{read, wait_until};
use crate::truth::Total;

/// Where the daemon meters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Native XDP.
    Native,
    /// tc. Live frames come there only by way of GRO, which must be switched on.
    Tc,
}

impl Hook {
    /// What `--mode` calls it.
    #[must_use]
    pub const fn mode(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Tc => "tc",
        }
    }
}

/// A veth pair: frames go into one end and are metered and counted where they come out of the other.
pub struct Lane {
    /// Where frames go in.
    pub sender: String,
    /// Where they are metered.
    pub receiver: String,
    /// The index of the sending end, which a new pair of the same names changes.
    index: AtomicU32,
    /// Packets that had arrived before the pair was made.
    earlier: AtomicU64,
    /// How many want to have no frames sent.
    quieters: AtomicU32,
    turn: Mutex<()>,
}

/// A namespace with lanes, the tally of what arrives, and the ledger of what is reported.
pub struct Wire {
    /// The namespace of both ends.
    pub room: Namespace,
    lanes: Vec<Lane>,
    hook: Hook,
    tally: Mutex<Tally>,
    ledger: Mutex<Ledger>,
}

/// No frame is on its way into a lane as long as this lives.
pub struct Quiet<'a> {
    lane: &'a Lane,
    _turn: MutexGuard<'a, ()>,
}

impl Lane {
    /// Waits until nobody sends, and keeps it so.
    fn quiet(&self) -> Quiet<'_> {
        self.quieters.fetch_add(1, Ordering::Relaxed);
        Quiet { lane: self, _turn: self.turn.lock().unwrap_or_else(PoisonError::into_inner) }
    }

    /// The index of the sending end.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index.load(Ordering::Relaxed)
    }

    /// The turn of a sender; none while somebody wants quiet.
    pub(super) fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        if self.quieters.load(Ordering::Relaxed) > 0 {
            return None;
        }
        match self.turn.try_lock() {
            Ok(turn) => Some(turn),
            Err(TryLockError::Poisoned(turn)) => Some(turn.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        self.lane.quieters.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Wire {
    /// `lanes` pairs: the first is `va` and `vb`, then `va1` and `vb1` and so on.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn new(traffic: &Traffic, lanes: usize, hook: Hook) -> Result<Self> {
        let room = Namespace::new()?;
        let name = |end: &str, number: usize| if number == 0 { end.to_owned() } else { format!("{end}{number}") };
        let lane = |number| Lane {
            sender: name("va", number),
            receiver: name("vb", number),
            index: AtomicU32::new(0),
            earlier: AtomicU64::new(0),
            quieters: AtomicU32::new(0),
            turn: Mutex::new(()),
        };
        let lanes = (0..lanes).map(lane).collect();
        let (tally, ledger) = (Mutex::new(Tally::new(traffic)?), Mutex::new(Ledger::new(traffic)));
        let wire = Self { room, lanes, hook, tally, ledger };
        for lane in &wire.lanes {
            wire.lay(lane)?;
        }
        Ok(wire)
    }

    /// The lanes.
    #[must_use]
    pub fn lanes(&self) -> &[Lane] {
        &self.lanes
    }

    /// A lane by its number.
    ///
    /// # Errors
    /// There is none.
    pub fn lane(&self, number: usize) -> Result<&Lane> {
        self.lanes.get(number).with_context(|| format!("no lane {number}"))
    }

    /// Keeps a lane quiet and waits until all that was sent into it has arrived. Of a veth that is closed, the kernel takes the
    /// XDP program off while frames may still be in its ring, and these would arrive without having been metered.
    ///
    /// # Errors
    /// Something does not arrive.
    pub fn quiet<'a>(&self, lane: &'a Lane) -> Result<Quiet<'a>> {
        let quiet = lane.quiet();
        let all = || {
            let arrived = self.tally().arrived(&lane.receiver)?.packets - lane.earlier.load(Ordering::Relaxed);
            Ok(arrived == redirected(&self.room, &lane.sender)?.0)
        };
        wait_until("what was sent has arrived", all)?;
        Ok(quiet)
    }

    /// Deletes a lane's pair.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn cut(&self, lane: &Lane) -> Result<()> {
        self.room.ip(&format!("link delete {}", lane.sender))
    }

    /// Makes a lane's pair. Frames may go in only when the daemon meters it: what arrives is counted from now on.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn lay(&self, lane: &Lane) -> Result<()> {
        self.room.pair(&lane.sender, &lane.receiver)?;
        if self.hook == Hook::Tc {
            read(self.room.command("ethtool").args(["-K", &lane.receiver, "gro", "on"]))?;
        }
        lane.earlier.store(self.tally().arrived(&lane.receiver)?.packets, Ordering::Relaxed);
        self.watch(lane)?;
        lane.index.store(self.room.index(&lane.sender)?, Ordering::Relaxed);
        Ok(())
    }

    /// Counts again what arrives at a lane that has been elsewhere.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn watch(&self, lane: &Lane) -> Result<()> {
        self.tally().watch(&self.room, &lane.receiver)
    }

    /// Stops counting what arrives at a lane; what has arrived stays counted.
    pub fn leave(&self, lane: &Lane) {
        self.tally().leave(&lane.receiver);
    }

    /// What has arrived.
    pub fn tally(&self) -> MutexGuard<'_, Tally> {
        lock(&self.tally)
    }

    /// What has been reported. As long as it is held, nobody reads the daemon's output.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }

    /// What has arrived on a lane, by the tally, and what has been seen there, by the daemon's last accounting.
    ///
    /// # Errors
    /// The tally cannot be read.
    pub fn arrived_and_seen(&self, lane: &Lane) -> Result<(Total, Total)> {
        let seen = self.ledger().seen(&lane.receiver);
        Ok((self.tally().arrived(&lane.receiver)?, seen))
    }
}
