//! A flow map emptied one key at a time, with two system calls per flow. aya's hash map would take a third: it has no
//! lookup that also deletes.
#![expect(unsafe_code, reason = "the yardstick is the bare system call")]

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};

use anyhow::{Context as _, Result, ensure};
use aya::maps::MapData;
use bytemuck::Zeroable as _;
use flowprobe::record::FlowDelta;
use flowprobe_ebpf::{FlowKey, FlowValue, Tunnel};

/// `union bpf_attr` for the commands on one element (`include/uapi/linux/bpf.h`).
#[repr(C)]
struct ElementAttributes {
    map_fd: c_int,
    padding: u32,
    key: u64,
    /// Or the next key.
    value: u64,
    flags: u64,
}

const BPF_MAP_GET_NEXT_KEY: c_int = 4;
/// For hash maps since Linux 5.14.
const BPF_MAP_LOOKUP_AND_DELETE_ELEM: c_int = 21;

/// Moves all flows out of `map` to the end of `flows`.
pub(crate) fn take_all(map: &MapData, flows: &mut Vec<FlowDelta>) -> Result<()> {
    let info = map.info()?;
    ensure!(info.key_size() as usize == size_of::<FlowKey>(), "keys of {} octets", info.key_size());
    ensure!(info.value_size() as usize == size_of::<FlowValue>(), "values of {} octets", info.value_size());

    let fd = map.fd().as_fd().as_raw_fd();
    let mut key = FlowKey::zeroed();
    // SAFETY: the sizes were checked; a null key asks for the first one.
    let mut found = unsafe { element(BPF_MAP_GET_NEXT_KEY, fd, std::ptr::null(), &raw mut key) }?;
    while found {
        // Before the key goes: the kernel finds the next one by it, and begins anew where it is gone.
        let mut next = FlowKey::zeroed();
        // SAFETY: as above.
        found = unsafe { element(BPF_MAP_GET_NEXT_KEY, fd, &raw const key, &raw mut next) }?;
        let mut value = FlowValue::zeroed();
        // SAFETY: as above.
        let taken = unsafe { element(BPF_MAP_LOOKUP_AND_DELETE_ELEM, fd, &raw const key, &raw mut value) };
        ensure!(taken.context("cannot look up and delete a flow")?, "a flow went away: {key:?}");
        flows.push(FlowDelta { key, tunnel: Tunnel::NONE, value });
        key = next;
    }
    Ok(())
}

/// One command on the element of `key`. False where there is none.
///
/// # Safety
/// The map's keys are of the size of `FlowKey`, and what the command writes is of the size of `T`, of which any bytes are
/// a value. `key` may be null where the command allows it.
unsafe fn element<T: bytemuck::Pod>(
    command: c_int,
    map_fd: c_int,
    key: *const FlowKey,
    out: *mut T,
) -> io::Result<bool> {
    let mut attributes = ElementAttributes { map_fd, padding: 0, key: key as u64, value: out as u64, flags: 0 };
    let size = size_of::<ElementAttributes>();
    // SAFETY: the attributes are laid out as the kernel's and live through the call; for what they point to, see this
    // function's contract.
    let status = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut attributes, size) };
    if status == 0 {
        return Ok(true);
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        error => Err(error),
    }
}
