//! The demo's network: namespaces and veth pairs with the process id in their names, removed when dropped.
//!
//! ```text
//! client1 ─ lan1 ┐
//!                gateway ─ wan ─ server
//! client2 ─ lan2 ┘
//! ```

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::process;

pub(super) const GATEWAY: &str = "gateway";
pub(super) const SERVER: &str = "server";
pub(super) const CLIENTS: [&str; 2] = ["client1", "client2"];
pub(super) const GATEWAY_INTERFACES: [&str; 3] = ["lan1", "lan2", "wan"];

/// Private addresses (RFC 1918, RFC 4193), which exist in the namespaces only.
pub(super) const SERVER_V4: &str = "10.77.3.2";
pub(super) const SERVER_V6: &str = "fd77:0:0:3::2";

const PREFIX: &str = "fpdemo";

pub(super) struct Lab {
    pid: u32,
}

impl Lab {
    pub(super) fn build() -> Result<Self> {
        sweep()?;
        // The guard comes first: what follows may fail half-way.
        let lab = Self { pid: std::process::id() };
        for role in CLIENTS.into_iter().chain([GATEWAY, SERVER]) {
            ip(["netns", "add", &lab.name(role)])?;
            ip(["-netns", &lab.name(role), "link", "set", "lo", "up"])?;
        }
        for ((role, interface), net) in CLIENTS.into_iter().chain([SERVER]).zip(GATEWAY_INTERFACES).zip(1..) {
            lab.connect(role, interface, net)?;
        }
        // /proc/sys/net shows the namespace of whoever looks, so this is the gateway's only.
        let forward = "echo 1 > /proc/sys/net/ipv4/ip_forward && echo 1 > /proc/sys/net/ipv6/conf/all/forwarding";
        process::read(lab.command(GATEWAY, "sh").args(["-c", forward])).context("the gateway cannot forward")?;
        Ok(lab)
    }

    /// A command inside one of the namespaces.
    pub(super) fn command(&self, role: &str, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name(role)]).arg(program);
        command
    }

    /// Where a thread enters one of the namespaces.
    pub(super) fn path(&self, role: &str) -> PathBuf {
        Path::new("/run/netns").join(self.name(role))
    }

    fn name(&self, role: &str) -> String {
        format!("{PREFIX}{}-{role}", self.pid)
    }

    /// A veth pair from a host to the gateway, both ends made where they belong; the gateway is the way to the rest.
    fn connect(&self, role: &str, interface: &str, net: u8) -> Result<()> {
        let (host, gateway) = (self.name(role), self.name(GATEWAY));
        let peer = ["peer", "name", interface, "netns", &gateway];
        ip(["-netns", &host, "link", "add", "eth0", "type", "veth"].into_iter().chain(peer))?;
        for (namespace, interface, address) in [(&gateway, interface, 1), (&host, "eth0", 2)] {
            let v4 = format!("10.77.{net}.{address}/24");
            let v6 = format!("fd77:0:0:{net}::{address}/64");
            ip(["-netns", namespace, "address", "add", &v4, "dev", interface])?;
            // Without duplicate address detection, which would take the first second.
            ip(["-netns", namespace, "address", "add", &v6, "dev", interface, "nodad"])?;
            ip(["-netns", namespace, "link", "set", interface, "up"])?;
        }
        ip(["-netns", &host, "route", "add", "default", "via", &format!("10.77.{net}.1")])?;
        ip(["-netns", &host, "-6", "route", "add", "default", "via", &format!("fd77:0:0:{net}::1")])
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in namespaces().unwrap_or_default() {
            if owner(&namespace) == Some(self.pid) {
                remove(&namespace);
            }
        }
    }
}

/// Removes what a demo that was killed outright has left behind.
fn sweep() -> Result<()> {
    for namespace in namespaces()? {
        if owner(&namespace).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            println!("demo: removing {namespace}, whose demo is gone");
            remove(&namespace);
        }
    }
    Ok(())
}

fn namespaces() -> Result<Vec<String>> {
    let list = process::read(Command::new("ip").args(["netns", "list"])).context("the demo needs iproute2")?;
    Ok(list.lines().filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect())
}

/// The process id in the name of a demo's namespace.
fn owner(namespace: &str) -> Option<u32> {
    namespace.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()
}

/// Removes a namespace, and first ends what still runs in it: only a process keeps a namespace alive without its name.
fn remove(namespace: &str) {
    let pids = process::read(Command::new("ip").args(["netns", "pids", namespace])).unwrap_or_default();
    for pid in pids.lines().filter_map(|pid| Pid::from_raw(pid.trim().parse().ok()?)) {
        // Gone already is as good.
        let _ = kill_process(pid, Signal::KILL);
    }
    if let Err(error) = ip(["netns", "delete", namespace]) {
        eprintln!("warning: {error:#}");
    }
}

fn ip<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<()> {
    process::read(Command::new("ip").args(arguments)).map(drop)
}
