//! What the kernel programs log, in the daemon's own log.

use std::io;

use aya::Ebpf;
use aya_log::EbpfLogger;
use tracing::{debug, warn};

use crate::kernel;

/// Forwards messages until the task is dropped. Starts a task; needs a running tokio runtime.
///
/// # Errors
/// The object has no ring buffer for messages, or it cannot be polled.
pub fn forward_kernel_logs(ebpf: &mut Ebpf) -> io::Result<tokio::task::JoinHandle<()>> {
    let logger = EbpfLogger::init(ebpf).map_err(io::Error::other)?;
    let mut logger = kernel::wait_for_log(logger)?;
    Ok(tokio::spawn(async move {
        loop {
            match logger.readable_mut().await {
                Ok(mut guard) => {
                    guard.get_inner_mut().flush();
                    guard.clear_ready();
                }
                Err(error) => {
                    warn!("messages of the kernel programs are no longer read: {error}");
                    break;
                }
            }
        }
        debug!("end of kernel messages");
    }))
}
