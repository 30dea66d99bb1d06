//! The demo's network: namespaces and veth pairs with the process id in their names, removed when dropped.
//!
//! ```text
//! client1 ── lan1 ┐
//! client2 ── lan2 ┤           ┌ dmz ── server
//!                 ├─ gateway ─┤
//! stranger ─ lan3 ┘           └ wan ── outside
//! ```

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::process;

pub(super) const GATEWAY: &str = "gateway";

/// A host at a port of the gateway, and the addresses of both: the gateway's end in 1, the host's in 2. They exist in the namespaces only.
pub(super) struct Link {
    pub(super) host: &'static str,
    /// The gateway's interface.
    pub(super) port: &'static str,
    /// One of those that are for documentation (RFC 7042 section 2.1.2).
    pub(super) mac: &'static str,
    /// The first 24 bits, and the first 64.
    networks: [&'static str; 2],
}

const fn link(host: &'static str, port: &'static str, mac: &'static str, networks: [&'static str; 2]) -> Link {
    Link { host, port, mac, networks }
}

/// Private addresses (RFC 1918, RFC 4193).
pub(super) const CLIENTS: [Link; 2] = [
    link("client1", "lan1", "00:00:5e:00:53:01", ["10.77.1", "fd77:0:0:1"]),
    link("client2", "lan2", "00:00:5e:00:53:02", ["10.77.2", "fd77:0:0:2"]),
];
pub(super) const SERVER: Link = link("server", "dmz", "00:00:5e:00:53:03", ["10.77.3", "fd77:0:0:3"]);

/// What is plugged in only later.
pub(super) const STRANGER: Link = link("stranger", "lan3", "00:00:5e:00:53:66", ["10.77.4", "fd77:0:0:4"]);

/// The rest of the world, with addresses that are for documentation (RFC 5737, RFC 3849): the gateway's way to all that it does not know.
pub(super) const OUTSIDE: Link = link("outside", "wan", "00:00:5e:00:53:ff", ["192.0.2", "2001:db8:0:1"]);

/// Two of its hosts.
pub(super) const CONTROL: &str = "198.51.100.7";
pub(super) const DROP_OFF: &str = "203.0.113.9";

/// All of them, in the order of the picture.
pub(super) const LINKS: [&Link; 5] = [&CLIENTS[0], &CLIENTS[1], &STRANGER, &SERVER, &OUTSIDE];

impl Link {
    /// The host's address, of IPv4 and of IPv6.
    pub(super) fn addresses(&self) -> [String; 2] {
        let [v4, v6] = self.networks;
        [format!("{v4}.2"), format!("{v6}::2")]
    }

    /// The gateway's, of IPv4.
    pub(super) fn gateway(&self) -> String {
        format!("{}.1", self.networks[0])
    }

    /// What `ip`, in the host's namespace, switches the link on with, and makes the gateway the way to the rest.
    pub(super) fn plug_in(&self) -> [String; 3] {
        let v6 = self.networks[1];
        [
            "link set eth0 up".to_owned(),
            format!("route add default via {}", self.gateway()),
            format!("-6 route add default via {v6}::1"),
        ]
    }
}

const PREFIX: &str = "fpdemo";

pub(super) struct Lab {
    pid: u32,
}

impl Lab {
    pub(super) fn build() -> Result<Self> {
        sweep()?;
        // The guard comes first: what follows may fail half-way.
        let lab = Self { pid: std::process::id() };
        for role in LINKS.into_iter().map(|link| link.host).chain([GATEWAY]) {
            ip(["netns", "add", &lab.name(role)])?;
            ip(["-netns", &lab.name(role), "link", "set", "lo", "up"])?;
            // Nobody else can have an address here, and looking for one would take the first seconds. (/proc/sys/net shows the namespace
            // of whoever looks.)
            let sure = "for of in all default; do echo 0 > /proc/sys/net/ipv6/conf/$of/accept_dad; done";
            process::read(lab.command(role, "sh").args(["-c", sure])).with_context(|| format!("{role} has no IPv6"))?;
        }
        for link in LINKS {
            lab.connect(link)?;
        }
        let forward = "echo 1 > /proc/sys/net/ipv4/ip_forward && echo 1 > /proc/sys/net/ipv6/conf/all/forwarding";
        process::read(lab.command(GATEWAY, "sh").args(["-c", forward])).context("the gateway cannot forward")?;
        for address in [CONTROL, DROP_OFF] {
            ip(["-netns", &lab.name(OUTSIDE.host), "address", "add", address, "dev", "lo"])?;
        }
        for (family, address) in ["-4", "-6"].into_iter().zip(OUTSIDE.addresses()) {
            ip(["-netns", &lab.name(GATEWAY), family, "route", "add", "default", "via", &address])?;
        }
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

    /// A veth pair from a host to the gateway, both ends made where they belong; all but the stranger's is switched on.
    fn connect(&self, link: &Link) -> Result<()> {
        let (host, gateway) = (self.name(link.host), self.name(GATEWAY));
        let peer = ["peer", "name", link.port, "netns", &gateway];
        ip(["-netns", &host, "link", "add", "eth0", "address", link.mac, "type", "veth"].into_iter().chain(peer))?;
        let [v4, v6] = link.networks;
        for (namespace, interface, end) in [(&gateway, link.port, 1), (&host, "eth0", 2)] {
            ip(["-netns", namespace, "address", "add", &format!("{v4}.{end}/24"), "dev", interface])?;
            ip(["-netns", namespace, "address", "add", &format!("{v6}::{end}/64"), "dev", interface])?;
        }
        ip(["-netns", &gateway, "link", "set", link.port, "up"])?;
        if link.host == STRANGER.host {
            return Ok(());
        }
        link.plug_in().iter().try_for_each(|line| ip(["-netns", &host].into_iter().chain(line.split(' '))))
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
