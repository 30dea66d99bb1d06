//! The system calls that no crate in use wraps. All of the daemon's `unsafe` is here, each block with its proof.
#![expect(unsafe_code, reason = "the boundary to the kernel")]

use std::ffi::{CStr, CString, c_int, c_long};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU8;

use aya::maps::{MapData, RingBuf};
use bytemuck::Pod;
use flowprobe_ebpf::LinkLayer;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Nanoseconds of `CLOCK_MONOTONIC`.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a timespec to write to; the clock exists on every Linux, so the call cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    let [seconds, nanoseconds] = [time.tv_sec, time.tv_nsec].map(|part| u64::try_from(part).unwrap_or(0));
    seconds * 1_000_000_000 + nanoseconds
}

/// Waits until every kernel program that was running when the call began has ended: one RCU grace period
/// (`kernel/sched/membarrier.c`).
///
/// # Errors
/// `ENOSYS` on a kernel built without membarrier, `EINVAL` where CPUs run without ticks (`nohz_full`).
pub fn wait_for_grace_period() -> io::Result<()> {
    // SAFETY: the call takes three integers and touches no memory of ours.
    let status = unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A position in a hash map that is being read in batches (the kernel's bucket number).
#[derive(Clone, Copy, Debug, Default)]
pub struct BatchCursor(Option<u32>);

/// How a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// So many entries were read and deleted; there may be more.
    More(usize),
    /// So many entries were read and deleted; they were the last.
    Last(usize),
    /// One bucket holds more entries than the buffers; nothing was read.
    BufferTooSmall,
}

/// `union bpf_attr` for the batch commands (`include/uapi/linux/bpf.h`).
#[repr(C)]
struct BatchAttributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: c_int,
    elem_flags: u64,
    flags: u64,
}

/// `BPF_MAP_LOOKUP_AND_DELETE_BATCH` (Linux 5.6): moves entries of the hash map `map` into `keys` and `values`, which have
/// the same length.
///
/// # Errors
/// The kernel's errno, `EINVAL` where the sizes of `K` and `V` are not the map's.
pub fn lookup_and_delete_batch<K: Pod, V: Pod>(
    map: BorrowedFd<'_>,
    cursor: &mut BatchCursor,
    keys: &mut [K],
    values: &mut [V],
) -> io::Result<Batch> {
    const BPF_MAP_LOOKUP_AND_DELETE_BATCH: c_int = 25;
    let mut next = 0_u32;
    let room = keys.len().min(values.len());
    let mut attributes = BatchAttributes {
        in_batch: cursor.0.as_ref().map_or(0, |position| std::ptr::from_ref(position) as u64),
        out_batch: (&raw mut next) as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: u32::try_from(room).unwrap_or(u32::MAX),
        map_fd: map.as_raw_fd(),
        elem_flags: 0,
        flags: 0,
    };
    // SAFETY: the attributes are laid out as the kernel's; the pointers are to live buffers that hold `count` keys and
    // values, `K` and `V` accept any bytes, and a hash map's batch position is a u32. The kernel checks that the map's key
    // and value sizes are nonzero and copies `count` of each; that they are `size_of::<K>()` and `size_of::<V>()` was
    // asserted when the map was opened (`drain::BatchMap`).
    let status = unsafe { bpf(BPF_MAP_LOOKUP_AND_DELETE_BATCH, &mut attributes) };
    let count = attributes.count as usize;
    match status {
        Ok(()) => {
            cursor.0 = Some(next);
            Ok(Batch::More(count))
        }
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOENT) => Ok(Batch::Last(count)),
            Some(libc::ENOSPC) => Ok(Batch::BufferTooSmall),
            _ => Err(error),
        },
    }
}

/// # Safety
/// `attributes` must be laid out as the kernel expects for `command`, and its pointers valid for what the command does.
unsafe fn bpf<T>(command: c_int, attributes: &mut T) -> io::Result<()> {
    let size = size_of::<T>();
    let attributes = std::ptr::from_mut(attributes);
    // SAFETY: by this function's contract.
    let status: c_long = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A type of which any bytes are a value, as aya reads and writes it in maps.
#[derive(Clone, Copy, Default)]
#[repr(transparent)]
pub struct MapValue<T>(pub T);

// SAFETY: `bytemuck::Pod` promises what aya's trait of the same name asks for: any bytes are a value, and there is no padding.
unsafe impl<T: Pod> aya::Pod for MapValue<T> {}

/// The octets of a BPF array that was made with `BPF_F_MMAPABLE` (Linux 5.5), shared with the programs.
#[derive(Debug)]
pub struct SharedOctets {
    begin: NonNull<AtomicU8>,
    length: usize,
}

// SAFETY: it owns its mapping, which is not bound to a thread, and gives out shared references to atomics only.
unsafe impl Send for SharedOctets {}

impl SharedOctets {
    /// Maps the first `length` octets of the array `map`.
    ///
    /// # Errors
    /// The array is shorter, or is not one that can be mapped.
    pub fn map(map: BorrowedFd<'_>, length: usize) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping, which overlaps no other; the kernel checks the length against the map's.
        let address =
            unsafe { libc::mmap(std::ptr::null_mut(), length, protection, libc::MAP_SHARED, map.as_raw_fd(), 0) };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let begin = NonNull::new(address.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        Ok(Self { begin, length })
    }

    /// The octets. Programs write them too, at any time.
    #[must_use]
    pub fn octets(&self) -> &[AtomicU8] {
        // SAFETY: the mapping has this length and lives as long as `self`; all octets are values of `AtomicU8`.
        unsafe { std::slice::from_raw_parts(self.begin.as_ptr(), self.length) }
    }
}

impl Drop for SharedOctets {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and references into it cannot outlive it.
        unsafe { libc::munmap(self.begin.as_ptr().cast(), self.length) };
    }
}

/// The programs' log, to be waited for.
///
/// # Errors
/// The ring buffer cannot be polled. Must be called within a tokio runtime.
pub fn wait_for_log<T>(log: aya_log::EbpfLogger<T>) -> io::Result<AsyncFd<aya_log::EbpfLogger<T>>> {
    // SAFETY: the logger owns its ring buffer's descriptor, returns that one at every call, and closes it when dropped.
    unsafe { AsyncFd::register_with_interest(log, Interest::READABLE) }.map_err(Into::into)
}

/// A ring buffer, to be waited for.
///
/// # Errors
/// It cannot be polled. Must be called within a tokio runtime.
pub fn wait_for_ring(ring: RingBuf<MapData>) -> io::Result<AsyncFd<RingBuf<MapData>>> {
    // SAFETY: the ring buffer owns its descriptor, returns that one at every call, and closes it when dropped.
    unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }.map_err(Into::into)
}

/// The index of the interface called `name` in this network namespace.
#[must_use]
pub fn interface_index(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: `name` is a C string that lives through the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}

/// How the frames of the interface called `name` begin, by its hardware type (`netdevice(7)`, `SIOCGIFHWADDR`).
///
/// # Errors
/// `ENODEV` where there is no such interface.
pub fn link_layer(name: &str) -> io::Result<LinkLayer> {
    // SAFETY: the call takes three integers.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is fresh and ours.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: a structure of integers and a union of integers and pointers; all zero is a value of each.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    // SAFETY: the request is a live `ifreq`, which is what this command reads and writes.
    let status = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFHWADDR, &raw mut request) };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has filled in this arm of the union.
    let hardware = unsafe { request.ifr_ifru.ifru_hwaddr.sa_family };
    Ok(match hardware {
        libc::ARPHRD_NONE
        | ARPHRD_RAWIP
        | libc::ARPHRD_PPP
        | libc::ARPHRD_TUNNEL
        | libc::ARPHRD_TUNNEL6
        | libc::ARPHRD_SIT
        | libc::ARPHRD_IPGRE
        | ARPHRD_IP6GRE => LinkLayer::Ip,
        _ => LinkLayer::Ethernet,
    })
}

/// Of `include/uapi/linux/if_arp.h`.
const ARPHRD_RAWIP: libc::sa_family_t = 519;
const ARPHRD_IP6GRE: libc::sa_family_t = 823;

/// The name of the interface with this index in this network namespace.
#[must_use]
pub fn interface_name(index: u32) -> Option<String> {
    let mut name = [0_u8; libc::IF_NAMESIZE];
    // SAFETY: the buffer has the size that the call asks for, and lives through it.
    let named = unsafe { libc::if_indextoname(index, name.as_mut_ptr().cast()) };
    if named.is_null() {
        return None;
    }
    CStr::from_bytes_until_nul(&name).ok().map(|name| name.to_string_lossy().into_owned())
}

/// The alias of the interface with this name (`ip link set … alias …`), if it has one.
#[must_use]
pub fn interface_alias(name: &str) -> Option<String> {
    let alias = std::fs::read_to_string(format!("/sys/class/net/{name}/ifalias")).ok()?;
    Some(alias.trim_end().to_owned()).filter(|alias| !alias.is_empty())
}

/// Bits a second that the interface with this name can do, where it says so: virtual ones do not, and others not without a link.
#[must_use]
pub fn interface_speed(name: &str) -> Option<u64> {
    let megabits: i64 = std::fs::read_to_string(format!("/sys/class/net/{name}/speed")).ok()?.trim().parse().ok()?;
    u64::try_from(megabits).ok().filter(|megabits| *megabits > 0).map(|megabits| megabits * 1_000_000)
}

/// The names of all interfaces in this network namespace, in the kernel's order.
#[must_use]
pub fn interface_names() -> Vec<String> {
    // SAFETY: the call takes nothing; its result is freed below.
    let list = unsafe { libc::if_nameindex() };
    if list.is_null() {
        return Vec::new();
    }
    let mut names = Vec::new();
    let mut entry = list;
    loop {
        // SAFETY: the array ends with an entry whose name is null, and the loop stops there.
        let libc::if_nameindex { if_name, .. } = unsafe { *entry };
        if if_name.is_null() {
            break;
        }
        // SAFETY: a name that is not null is a C string that lives until the list is freed.
        let name = unsafe { CStr::from_ptr(if_name) };
        names.push(name.to_string_lossy().into_owned());
        // SAFETY: this entry was not the last, so there is a next.
        entry = unsafe { entry.add(1) };
    }
    // SAFETY: `list` came from `if_nameindex` and nothing refers to it any more.
    unsafe { libc::if_freenameindex(list) };
    names
}

/// Puts an interface into promiscuous mode for as long as the returned socket lives (`packet(7)`, `PACKET_ADD_MEMBERSHIP`).
///
/// # Errors
/// `EPERM` without `CAP_NET_RAW`, `ENODEV` where the interface has gone.
pub fn promiscuous(ifindex: u32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes three integers. Protocol 0: the socket receives nothing.
    let socket = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is fresh and ours.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let membership = libc::packet_mreq {
        mr_ifindex: c_int::try_from(ifindex).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))?,
        mr_type: PACKET_MR_PROMISC,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    // SAFETY: the option value is a live `packet_mreq` of the size given.
    let status = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_ADD_MEMBERSHIP,
            (&raw const membership).cast(),
            option_length::<libc::packet_mreq>(),
        )
    };
    if status == 0 { Ok(socket) } else { Err(io::Error::last_os_error()) }
}

/// `PACKET_MR_PROMISC` of `include/uapi/linux/if_packet.h`, in the width of `packet_mreq`.
const PACKET_MR_PROMISC: u16 = 1;

/// The length of a socket option that is a `T`.
const fn option_length<T>() -> libc::socklen_t {
    assert!(size_of::<T>() <= 64);
    #[expect(clippy::cast_possible_truncation, reason = "asserted above")]
    {
        size_of::<T>() as libc::socklen_t
    }
}

/// The path MTU of a connected socket, octets (`ip(7)`, `IP_MTU`; `ipv6(7)`, `IPV6_MTU`).
///
/// # Errors
/// `ENOTCONN` where the socket is not connected.
pub fn path_mtu(socket: BorrowedFd<'_>, is_ipv6: bool) -> io::Result<u32> {
    let (level, option) = if is_ipv6 { (libc::IPPROTO_IPV6, libc::IPV6_MTU) } else { (libc::IPPROTO_IP, libc::IP_MTU) };
    let mut mtu: c_int = 0;
    let mut length = option_length::<c_int>();
    // SAFETY: `mtu` is a live int and `length` its size.
    let status = unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, (&raw mut mtu).cast(), &raw mut length) };
    if status == 0 { Ok(u32::try_from(mtu).unwrap_or(0)) } else { Err(io::Error::last_os_error()) }
}

/// Forbids the kernel to fragment what the socket sends (`IP_PMTUDISC_DO`): a datagram over the path MTU is refused with
/// `EMSGSIZE`.
///
/// # Errors
/// The kernel's errno.
pub fn forbid_fragments(socket: BorrowedFd<'_>, is_ipv6: bool) -> io::Result<()> {
    let (level, option, value) = if is_ipv6 {
        (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DO)
    } else {
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO)
    };
    // SAFETY: the option value is a live int of the size given.
    let status = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), option_length::<c_int>())
    };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Datagrams that the kernel has dropped since the socket was made because its receive buffer was full, in 32 bits that begin anew
/// (`SK_MEMINFO_DROPS` of `include/uapi/linux/sock_diag.h`).
///
/// # Errors
/// The socket is none, or a security module forbids it.
pub fn dropped_datagrams(socket: BorrowedFd<'_>) -> io::Result<u32> {
    const DROPS: usize = 8;
    let mut information = [0_u32; DROPS + 1];
    let mut length = option_length::<[u32; DROPS + 1]>();
    let place = information.as_mut_ptr();
    // SAFETY: `place` has as many octets as `length` says, and the kernel writes no more; integers of any value are valid.
    let status = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_MEMINFO, place.cast(), &raw mut length)
    };
    if status == 0 { Ok(information[DROPS]) } else { Err(io::Error::last_os_error()) }
}

/// Octets of a TCP connection that the peer has not acknowledged, a FIN counted as one (`tcp(7)`, `SIOCOUTQ`). Once the
/// connection is broken, it stays what it was then.
///
/// # Errors
/// `EINVAL` where the socket listens.
pub fn unacknowledged(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut octets: c_int = 0;
    // `TIOCOUTQ` is the number that the kernel calls `SIOCOUTQ` where the descriptor is a socket's.
    // SAFETY: `octets` is a live int, which is what this command writes.
    let status = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut octets) };
    if status == 0 { Ok(u32::try_from(octets).unwrap_or(0)) } else { Err(io::Error::last_os_error()) }
}
