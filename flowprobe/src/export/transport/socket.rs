//! The options of a socket to a collector, over UDP and TCP alike.

use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::Socket;
use thiserror::Error;

/// How a socket to a collector is opened, beside the address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// The address to send from, else the one that the route suggests.
    pub source: Option<IpAddr>,
    /// The interface (or VRF) to send by, whatever the routes say.
    pub interface: Option<String>,
    /// The Differentiated Services code point, 0 to 63 (RFC 2474).
    pub dscp: Option<u8>,
}

/// Which option a socket did not take.
#[derive(Debug, Error)]
pub enum OptionError {
    /// The interface is not there.
    #[error("there is no interface `{0}`")]
    NoInterface(String),
    /// The socket cannot be bound to the interface: before Linux 5.7 that takes `CAP_NET_RAW`.
    #[error("cannot send by the interface `{name}`: {error}")]
    Interface {
        /// The interface.
        name: String,
        /// What the kernel says.
        error: io::Error,
    },
    /// The code point was refused.
    #[error("cannot send with the DSCP {dscp}: {error}")]
    Dscp {
        /// The code point.
        dscp: u8,
        /// What the kernel says.
        error: io::Error,
    },
    /// IPv4 cannot be sent from an IPv6 address, nor the other way round.
    #[error("cannot send from {source_address} to {peer}: one is IPv4 and the other IPv6")]
    Family {
        /// The address to send from.
        source_address: IpAddr,
        /// The address to send to.
        peer: IpAddr,
    },
    /// The socket cannot be bound to the source address.
    #[error("cannot send from {source_address}: {error}")]
    Source {
        /// The address.
        source_address: IpAddr,
        /// What the kernel says.
        error: io::Error,
    },
}

impl SocketOptions {
    /// Sets all that was asked for on `socket`, of `peer`'s IP version, which must not be bound or connected yet.
    ///
    /// # Errors
    /// The first option that the kernel refuses.
    pub fn apply(&self, socket: &Socket, peer: IpAddr) -> Result<(), OptionError> {
        if let Some(name) = &self.interface {
            bind_to_interface(socket, name)?;
        }
        if let Some(dscp) = self.dscp {
            set_dscp(socket, peer, dscp).map_err(|error| OptionError::Dscp { dscp, error })?;
        }
        // After the interface, in whose VRF the address may be.
        if let Some(source_address) = self.source {
            if source_address.is_ipv4() != peer.is_ipv4() {
                return Err(OptionError::Family { source_address, peer });
            }
            socket
                .bind(&SocketAddr::new(source_address, 0).into())
                .map_err(|error| OptionError::Source { source_address, error })?;
        }
        Ok(())
    }
}

fn bind_to_interface(socket: &Socket, name: &str) -> Result<(), OptionError> {
    // The kernel would cut a longer name off, and take none for the wish to be bound to nothing.
    if name.is_empty() || name.len() >= libc::IFNAMSIZ {
        return Err(OptionError::NoInterface(name.to_owned()));
    }
    socket.bind_device(Some(name.as_bytes())).map_err(|error| match error.raw_os_error() {
        Some(libc::ENODEV) => OptionError::NoInterface(name.to_owned()),
        _ => OptionError::Interface { name: name.to_owned(), error },
    })
}

fn set_dscp(socket: &Socket, peer: IpAddr, dscp: u8) -> io::Result<()> {
    if dscp > 63 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it has six bits"));
    }
    // The two bits below are those of congestion notification, the kernel's own.
    let class = u32::from(dscp) << 2;
    if peer.is_ipv6() { socket.set_tclass_v6(class) } else { socket.set_tos_v4(class) }
}
