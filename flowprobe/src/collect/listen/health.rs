//! How a listener fares, as the status shows it: counted by its thread, read by who asks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// What is known of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerHealth {
    /// Its name: the URL without options, with the address that the kernel has given.
    pub url: String,
    /// This address.
    pub address: SocketAddr,
    /// Octets that the kernel keeps of datagrams that are not read yet; none of connections.
    pub receive_buffer: Option<u64>,
    /// Messages that were handed on.
    pub messages: u64,
    /// Octets of them.
    pub octets: u64,
    /// Datagrams, or connections, of senders that the access list does not have.
    pub refused: u64,
    /// Octets of these datagrams.
    pub refused_octets: u64,
    /// Datagrams that the kernel dropped because the receive buffer was full.
    pub kernel_drops: u64,
    /// Datagrams that were longer than what UDP over IP may carry, and are lost.
    pub truncated: u64,
    /// Reads, or acceptances of connections, that the kernel refused.
    pub receive_errors: u64,
    /// Connections that are open, also those that have not come to an agreement on TLS yet.
    pub connections_open: u64,
    /// Connections so far.
    pub connections_total: u64,
    /// Connections that were closed at once, because so many were open.
    pub connections_turned_away: u64,
    /// Connections that came to no agreement on TLS: in time, or for want of a certificate.
    pub handshakes_failed: u64,
    /// Connections that were closed because something else than IPFIX came.
    pub ended_not_ipfix: u64,
    /// Connections that were closed because nothing came for long.
    pub ended_idle: u64,
    /// Connections that broke, or ended within a message.
    pub ended_broken: u64,
}

/// The same, shared.
#[derive(Clone, Debug)]
pub struct ListenerCounters(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    url: String,
    address: SocketAddr,
    receive_buffer: Option<u64>,
    counts: Counts,
}

/// See the fields of these names of [`ListenerHealth`].
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) messages: Count,
    pub(super) octets: Count,
    pub(super) refused: Count,
    pub(super) refused_octets: Count,
    pub(super) kernel_drops: Count,
    pub(super) truncated: Count,
    pub(super) receive_errors: Count,
    pub(super) connections_open: Count,
    pub(super) connections_total: Count,
    pub(super) connections_turned_away: Count,
    pub(super) handshakes_failed: Count,
    pub(super) ended_not_ipfix: Count,
    pub(super) ended_idle: Count,
    pub(super) ended_broken: Count,
}

/// A number that one thread changes and others read.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn take_away(&self, less: u64) {
        self.0.fetch_sub(less, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl ListenerCounters {
    pub(in crate::collect) fn new(url: String, address: SocketAddr, receive_buffer: Option<u64>) -> Self {
        Self(Arc::new(Shared { url, address, receive_buffer, counts: Counts::default() }))
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.0.counts
    }

    /// All of it.
    #[must_use]
    pub fn health(&self) -> ListenerHealth {
        let Shared { url, address, receive_buffer, counts } = &*self.0;
        ListenerHealth {
            url: url.clone(),
            address: *address,
            receive_buffer: *receive_buffer,
            messages: counts.messages.get(),
            octets: counts.octets.get(),
            refused: counts.refused.get(),
            refused_octets: counts.refused_octets.get(),
            kernel_drops: counts.kernel_drops.get(),
            truncated: counts.truncated.get(),
            receive_errors: counts.receive_errors.get(),
            connections_open: counts.connections_open.get(),
            connections_total: counts.connections_total.get(),
            connections_turned_away: counts.connections_turned_away.get(),
            handshakes_failed: counts.handshakes_failed.get(),
            ended_not_ipfix: counts.ended_not_ipfix.get(),
            ended_idle: counts.ended_idle.get(),
            ended_broken: counts.ended_broken.get(),
        }
    }
}
