//! Says when interfaces come, go or change.

use std::io;

use futures_util::StreamExt as _;
use rtnetlink::MulticastGroup;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::error;

/// Sends a word to `changed` whenever the kernel reports a change of some interface (`rtnetlink(7)`, `RTNLGRP_LINK`).
/// Starts a task that ends when the receiver is gone; needs a running tokio runtime.
///
/// # Errors
/// The netlink socket cannot be opened.
pub fn watch_links(changed: mpsc::Sender<()>) -> io::Result<JoinHandle<()>> {
    let (connection, handle, mut messages) = rtnetlink::new_multicast_connection(&[MulticastGroup::Link])?;
    let connection = tokio::spawn(connection);
    Ok(tokio::spawn(async move {
        loop {
            if messages.next().await.is_none() {
                error!("interfaces are no longer watched: the netlink socket has ended");
                break;
            }
            // A word that is waiting to be read says as much as two.
            if let Err(mpsc::error::TrySendError::Closed(())) = changed.try_send(()) {
                break;
            }
        }
        drop(handle);
        connection.abort();
    }))
}
