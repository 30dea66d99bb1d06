//! The programs' word that a flow map is filling.

use std::io;
use std::sync::mpsc::Sender;

use aya::Ebpf;
use aya::maps::RingBuf;
use tokio::task::JoinHandle;
use tracing::warn;

use super::{Command, take};
use crate::kernel;

/// Tells the drain to hurry whenever a flow map is filling. Starts a task that ends when the drain has ended; needs a running
/// tokio runtime.
///
/// # Errors
/// The object has no such ring buffer, or it cannot be polled.
pub fn forward_filling(ebpf: &mut Ebpf, drain: Sender<Command>) -> io::Result<JoinHandle<()>> {
    let map = take(ebpf, "FILLING").map_err(io::Error::other)?;
    let ring = RingBuf::try_from(map).map_err(io::Error::other)?;
    let mut ring = kernel::wait_for_ring(ring)?;
    Ok(tokio::spawn(async move {
        loop {
            let mut guard = match ring.readable_mut().await {
                Ok(guard) => guard,
                Err(error) => {
                    warn!("it is no longer heard that a flow map is filling: {error}");
                    return;
                }
            };
            // One word says as much as many.
            while guard.get_inner_mut().next().is_some() {}
            guard.clear_ready();
            if drain.send(Command::Hurry).is_err() {
                return;
            }
        }
    }))
}
