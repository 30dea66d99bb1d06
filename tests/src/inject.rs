//! Frames put onto an interface through a packet socket, paced so that the receiving end drops none.
#![expect(unsafe_code, reason = "no library builds the address of a packet socket")]

use std::fs;
use std::mem::size_of;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::frames::{Flow, packets_of};
use crate::namespace::Namespace;
use crate::process::patience;
use crate::truth::Flows;

/// `AF_PACKET` (`include/linux/socket.h`) in the width of `sockaddr_ll`.
const FAMILY: u16 = 17;

/// Frames that may be on their way: fewer than the 256 that a veth's ring for XDP holds.
const WINDOW: u64 = 128;

/// Sends all of `frames` into `interface`, whose peer is `peer` in the same namespace, and returns when `peer` has
/// received them.
///
/// # Errors
/// The kernel refuses a frame, or the peer does not receive it.
pub fn send(namespace: &Namespace, interface: &str, peer: &str, frames: &[Vec<u8>]) -> Result<()> {
    let index = namespace.index(interface)?;
    namespace.inside(|| {
        let socket = packet_socket(index)?;
        let start = received(peer)?;
        let arrived = |sent: u64, most: u64| -> Result<()> {
            let end = Instant::now() + patience();
            loop {
                let arrived = received(peer)? - start;
                if sent.saturating_sub(arrived) <= most {
                    return Ok(());
                }
                ensure!(Instant::now() < end, "{peer} received {arrived} of {sent} frames");
                sleep(Duration::from_micros(50));
            }
        };
        let mut sent = 0;
        for frame in frames {
            if sent % (WINDOW / 2) == 0 {
                arrived(sent, WINDOW / 2)?;
            }
            socket.send(frame).with_context(|| format!("cannot send {} octets into {interface}", frame.len()))?;
            sent += 1;
        }
        arrived(sent, 0)
    })
}

/// Sends ten packets each of twenty UDP flows, numbered from `first` on, half of them IPv6; returns what must be counted.
///
/// # Errors
/// As [`send`].
pub fn send_flows(namespace: &Namespace, interface: &str, peer: &str, first: u16) -> Result<Flows> {
    let flows: Vec<Flow> = (first..first + 20).map(|number| Flow::udp(number, number % 2 == 0)).collect();
    let (frames, sent) = packets_of(&flows, 10)?;
    send(namespace, interface, peer, &frames)?;
    Ok(sent)
}

/// Frames that an interface of this thread's namespace has received.
fn received(interface: &str) -> Result<u64> {
    let table = fs::read_to_string("/proc/thread-self/net/dev")?;
    let row = table.lines().find_map(|line| line.trim_start().strip_prefix(interface)?.strip_prefix(':'));
    let packets =
        row.and_then(|row| row.split_whitespace().nth(1)).with_context(|| format!("no interface {interface}"))?;
    Ok(packets.parse()?)
}

/// A raw packet socket that sends out of the interface `index` and receives nothing.
fn packet_socket(index: u32) -> Result<Socket> {
    let socket = Socket::new(Domain::from(libc::AF_PACKET), Type::from(libc::SOCK_RAW), None)
        .context("cannot open a packet socket")?;
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>())?;
    let interface = i32::try_from(index)?;
    let fill = |storage: *mut socket2::SockAddrStorage, storage_length: *mut libc::socklen_t| {
        let address = storage.cast::<libc::sockaddr_ll>();
        // SAFETY: `try_init` hands out zeroed storage that is larger than every socket address and aligned for each, and
        // for a `sockaddr_ll` all zero is a value.
        let address = unsafe { &mut *address };
        address.sll_family = FAMILY;
        address.sll_ifindex = interface;
        // SAFETY: `try_init` hands out a valid pointer to the length.
        unsafe { *storage_length = length };
        Ok(())
    };
    // SAFETY: the closure makes the storage a `sockaddr_ll` and the length that type's, as the family says.
    let ((), address) = unsafe { SockAddr::try_init(fill) }?;
    socket.bind(&address).context("cannot bind a packet socket")?;
    Ok(socket)
}
