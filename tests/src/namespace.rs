//! Network namespaces with the process id in their names, the veth pairs between them, and their removal.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Command;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use aya::programs::{SchedClassifier, TcAttachType};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;

use crate::kernel;
use crate::process::read;

const PREFIX: &str = "fptest";

/// A network namespace, removed with all that is in it when dropped.
pub struct Namespace {
    name: String,
}

/// What an interface has counted, as `ip -s link` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    /// Frames received.
    pub rx_packets: u64,
    /// Octets received; see [`crate::truth::Total`] about what veth leaves out.
    pub rx_octets: u64,
    /// Frames that were to be sent and were not, such as those for which the receiving end of a veth pair had no room.
    pub tx_dropped: u64,
}

impl Namespace {
    /// A namespace with its loopback up. IPv6 is off on what is added to it, so that no packet is in it but the test's own;
    /// [`Namespace::address`] turns it on where there is an IPv6 address.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn new() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        static SWEEP: Once = Once::new();
        SWEEP.call_once(sweep);
        let name = format!("{PREFIX}{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        read(Command::new("ip").args(["netns", "add", &name]))?;
        let namespace = Self { name };
        namespace.set("net/ipv6/conf/default/disable_ipv6", "1")?;
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// A namespace with one veth pair in it: frames sent into `va` come out of `vb`.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn with_pair() -> Result<Self> {
        let namespace = Self::new()?;
        namespace.pair("va", "vb")?;
        Ok(namespace)
    }

    /// Its name, as `ip netns` knows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds a veth pair, both ends up.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn pair(&self, one: &str, other: &str) -> Result<()> {
        self.ip(&format!("link add {one} type veth peer name {other}"))?;
        self.ip(&format!("link set {one} up"))?;
        self.ip(&format!("link set {other} up"))
    }

    /// Adds a veth pair whose far end, of the same name, lies in another namespace.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn connect(&self, interface: &str, other: &Self) -> Result<()> {
        self.ip(&format!("link add {interface} type veth peer name {interface} netns {}", other.name))?;
        self.ip(&format!("link set {interface} up"))?;
        other.ip(&format!("link set {interface} up"))
    }

    /// Gives an interface an address with its prefix length, without duplicate address detection.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn address(&self, interface: &str, address: &str) -> Result<()> {
        if address.contains(':') {
            self.set(&format!("net/ipv6/conf/{interface}/disable_ipv6"), "0")?;
            self.ip(&format!("address add {address} dev {interface} nodad"))
        } else {
            self.ip(&format!("address add {address} dev {interface}"))
        }
    }

    /// Writes a sysctl of the namespace, by its path under `/proc/sys`.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set(&self, sysctl: &str, value: &str) -> Result<()> {
        // That folder shows the namespace of the thread that looks.
        self.inside(|| fs::write(format!("/proc/sys/{sysctl}"), value).with_context(|| format!("cannot set {sysctl}")))
    }

    /// Runs `ip` in the namespace with the words of `line`.
    ///
    /// # Errors
    /// It fails.
    pub fn ip(&self, line: &str) -> Result<()> {
        read(Command::new("ip").args(["-netns", &self.name]).args(line.split(' '))).map(drop)
    }

    /// What `ip -json -details -statistics link show` says of an interface.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn link(&self, interface: &str) -> Result<Value> {
        let arguments = ["-netns", &self.name, "-json", "-details", "-statistics", "link", "show", "dev", interface];
        let text = read(Command::new("ip").args(arguments))?;
        let mut links: Vec<Value> = serde_json::from_str(&text)?;
        links.pop().with_context(|| format!("no interface {interface}"))
    }

    /// The BPF programs on an interface: each a hook and the name of the program there, like `tcx tc_ingress`.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn programs(&self, interface: &str) -> Result<Vec<String>> {
        let link = self.link(interface)?;
        let mut programs = Vec::new();
        if let Some(xdp) = link.get("xdp") {
            let mode = match xdp["mode"].as_u64() {
                Some(1) => "native",
                Some(2) => "generic",
                _ => "another XDP",
            };
            programs.push(format!("{mode} {}", xdp["prog"]["name"].as_str().unwrap_or_default()));
        }
        if kernel::has_tcx() {
            let (_, at_tc) = self.inside(|| Ok(SchedClassifier::query_tcx(interface, TcAttachType::Ingress)?))?;
            programs.extend(at_tc.iter().map(|it| format!("tcx {}", it.name_as_str().unwrap_or_default())));
        } else {
            programs.extend(self.filters(interface)?.into_iter().map(|name| format!("tc clsact {name}")));
        }
        Ok(programs)
    }

    /// The BPF programs of an interface's filters at tc ingress.
    fn filters(&self, interface: &str) -> Result<Vec<String>> {
        let tc = |what: &[&str]| -> Result<Vec<Value>> {
            let text = read(Command::new("tc").args(["-netns", &self.name, "-json"]).args(what))?;
            Ok(serde_json::from_str(&text)?)
        };
        if tc(&["qdisc", "show", "dev", interface])?.iter().all(|qdisc| qdisc["kind"] != "clsact") {
            return Ok(Vec::new());
        }
        let filters = tc(&["filter", "show", "dev", interface, "ingress"])?;
        // A filter is listed first as a place in the order, then with what it does.
        let names = filters.iter().filter_map(|filter| filter["options"]["prog"]["name"].as_str());
        Ok(names.map(str::to_owned).collect())
    }

    /// The kernel's index of an interface.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn index(&self, interface: &str) -> Result<u32> {
        let index = self.link(interface)?["ifindex"].as_u64().context("no ifindex")?;
        Ok(u32::try_from(index)?)
    }

    /// What an interface has counted.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn counters(&self, interface: &str) -> Result<Counters> {
        let link = self.link(interface)?;
        let of = |direction: &str, name: &str| {
            link["stats64"][direction][name].as_u64().with_context(|| format!("no {direction} {name}"))
        };
        Ok(Counters {
            rx_packets: of("rx", "packets")?,
            rx_octets: of("rx", "bytes")?,
            tx_dropped: of("tx", "dropped")?,
        })
    }

    /// A counter of the kernel's protocol statistics, such as `Tcp` `OutSegs`.
    ///
    /// # Errors
    /// There is no such counter.
    pub fn protocol_counter(&self, protocol: &str, counter: &str) -> Result<u64> {
        let text = self.inside(|| Ok(fs::read_to_string("/proc/thread-self/net/snmp")?))?;
        let prefix = format!("{protocol}:");
        let mut rows = text.lines().filter(|line| line.starts_with(&prefix)).map(str::split_whitespace);
        let (names, values) = rows.next().zip(rows.next()).with_context(|| format!("no {protocol} counters"))?;
        let (_, value) =
            names.zip(values).find(|(name, _)| *name == counter).with_context(|| format!("no {counter}"))?;
        Ok(value.parse()?)
    }

    /// A command that runs in the namespace; `ip` becomes the program, so that the child's process id is the program's.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Runs `action` on a thread in the namespace. Sockets that it opens stay there.
    ///
    /// # Errors
    /// The namespace cannot be entered, or `action` fails or panics.
    pub fn inside<T: Send>(&self, action: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let path = format!("/run/netns/{}", self.name);
        let entered = || {
            let namespace = File::open(&path).with_context(|| format!("cannot open {path}"))?;
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .with_context(|| format!("cannot enter {path}"))?;
            action()
        };
        thread::scope(|scope| scope.spawn(entered).join()).map_err(|_| anyhow!("a thread in {path} panicked"))?
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Removes what tests that were killed outright have left behind.
fn sweep() {
    let list = read(Command::new("ip").args(["netns", "list"])).unwrap_or_default();
    for name in list.lines().filter_map(|line| line.split_whitespace().next()) {
        let pid = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split_once('-'))
            .and_then(|(pid, _)| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            remove(name);
        }
    }
}

/// Removes a namespace, and first ends what still runs in it: only a process keeps a namespace alive without its name.
fn remove(name: &str) {
    let pids = read(Command::new("ip").args(["netns", "pids", name])).unwrap_or_default();
    for pid in pids.lines().filter_map(|pid| Pid::from_raw(pid.trim().parse().ok()?)) {
        if pid == rustix::process::getpid() {
            continue;
        }
        // Gone already is as good.
        let _ = kill_process(pid, Signal::KILL);
    }
    if let Err(error) = read(Command::new("ip").args(["netns", "delete", name])) {
        eprintln!("warning: {error:#}");
    }
}
