//! Policies as they are written, and the form in which a conversation is compared with all of them at once.

use std::collections::HashSet;

use ipnet::IpNet;
use serde::Deserialize;

use super::super::finding::Severity;
use super::super::flow::{Ip, protocol};
use super::super::site::{Range, Site};
use super::terms::{Ports, Term, fault, ports, protocol_number, terms};

/// A policy as it is written. Of `from`, `to`, `protocols` and `ports`, what is left out means any.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Written {
    /// What it is called in findings.
    pub name: String,
    /// Of a breach: `low`, `medium`, `high` or `critical`. Medium if left out.
    pub severity: Option<Severity>,
    /// Clients that it is about: networks, addresses, `inside`, `outside`, `any`; with `!` before it, all but these.
    pub from: Option<Vec<String>>,
    /// Servers that it is about, the same.
    pub to: Option<Vec<String>>,
    /// Protocols that it is about, by name or number.
    pub protocols: Option<Vec<NumberOrText>>,
    /// Ports of servers that it is about: numbers, and ranges such as `"8000-8100"`.
    pub ports: Option<Vec<NumberOrText>>,
    /// Whether all of that is a breach.
    pub forbid: bool,
    /// Ports of servers to which alone these clients may talk.
    pub only_ports: Option<Vec<NumberOrText>>,
    /// Clients who alone may talk to these servers.
    pub only_from: Option<Vec<String>>,
    /// Servers to whom alone these clients may talk.
    pub only_to: Option<Vec<String>>,
}

/// `53` or `"53"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum NumberOrText {
    /// A number.
    Number(i64),
    /// A name, a number or a range.
    Text(String),
}

/// One policy, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) name: String,
    pub(super) severity: Severity,
    from: Vec<Term>,
    to: Vec<Term>,
    protocols: Vec<u8>,
    ports: Ports,
    forbid: bool,
    only_ports: Option<Ports>,
    only_from: Option<Vec<Term>>,
    only_to: Option<Vec<Term>>,
}

/// Protocols whose packets have ports: TCP, UDP, DCCP, SCTP, UDP-Lite.
pub(super) const WITH_PORTS: [u8; 5] = [protocol::TCP, protocol::UDP, 33, 132, 136];

impl Policy {
    pub(super) const fn has_only_ports(&self) -> bool {
        self.only_ports.is_some()
    }
}

impl TryFrom<Written> for Policy {
    type Error = String;

    /// Fails with what is wrong, and the name of the policy.
    fn try_from(written: Written) -> Result<Self, String> {
        let name = written.name.trim().to_owned();
        if name.is_empty() {
            return Err("a policy has no name".to_owned());
        }
        check(written, &name).map_err(|fault| format!("policy \"{name}\": {fault}"))
    }
}

fn check(written: Written, name: &str) -> Result<Policy, String> {
    let Written { only_ports, only_from, only_to, forbid, .. } = written;
    let has_only = only_ports.is_some() || only_from.is_some() || only_to.is_some();
    match (forbid, has_only) {
        (false, false) => {
            return Err("it forbids nothing: forbid = true, only-ports, only-from or only-to is missing".to_owned());
        }
        (true, true) => {
            return Err("forbid = true leaves nothing for only-ports, only-from or only-to to permit".to_owned());
        }
        _ => {}
    }
    for (key, all, only) in [
        ("ports", written.ports.is_some(), only_ports.is_some()),
        ("from", written.from.is_some(), only_from.is_some()),
        ("to", written.to.is_some(), only_to.is_some()),
    ] {
        if all && only {
            return Err(format!(
                "it has both {key} and only-{key}; those whom only-{key} does not name are the rest of all, not of {key}"
            ));
        }
    }
    if written.protocols.as_ref().is_some_and(Vec::is_empty) {
        return Err("protocols is an empty list, which no conversation matches; leave it out for any".to_owned());
    }
    let hosts = |key: &str, list: Option<Vec<String>>| list.map(|list| terms(key, &list)).transpose();
    let policy = Policy {
        name: name.to_owned(),
        severity: written.severity.unwrap_or(Severity::Medium),
        from: hosts("from", written.from)?.unwrap_or_default(),
        to: hosts("to", written.to)?.unwrap_or_default(),
        protocols: written
            .protocols
            .map(|list| list.iter().map(protocol_number).collect())
            .transpose()?
            .unwrap_or_default(),
        ports: written.ports.map(|list| ports("ports", &list)).transpose()?.unwrap_or_default(),
        forbid,
        only_ports: only_ports.map(|list| ports("only-ports", &list)).transpose()?,
        only_from: hosts("only-from", only_from)?,
        only_to: hosts("only-to", only_to)?,
    };
    let has_ports = !policy.ports.is_empty() || policy.only_ports.is_some();
    if has_ports && !policy.protocols.is_empty() && !policy.protocols.iter().any(|number| WITH_PORTS.contains(number)) {
        return Err("it has ports, but none of its protocols has any".to_owned());
    }
    if policy.only_ports.as_ref().is_some_and(|ports| ports.contains(&(0, u16::MAX)) || ports.contains(&(1, u16::MAX)))
    {
        return Err("only-ports permits all ports, so nothing breaks it".to_owned());
    }
    for (key, list) in [("only-from", &policy.only_from), ("only-to", &policy.only_to)] {
        if list.as_ref().is_some_and(|list| list.contains(&Term::ANY)) {
            return Err(format!("{key} permits any, so nothing breaks it"));
        }
    }
    let from = policy.only_from.as_ref().unwrap_or(&policy.from);
    let to = policy.only_to.as_ref().unwrap_or(&policy.to);
    fault(from, to).map_or(Ok(policy), Err)
}

/// A set of policies, a bit for each.
type Bits = Box<[u64]>;

/// For each range of values that starts here, which policies hold.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Table<K> {
    starts: Vec<K>,
    /// Those that are about it, and those that permit it.
    sets: Vec<(Bits, Bits)>,
}

impl<K: Ord + Copy> Table<K> {
    /// From the starts of ranges (the least value of all is one of them), and what holds at each.
    fn new(mut starts: Vec<K>, count: usize, mut holds: impl FnMut(K, usize) -> (bool, bool)) -> Self {
        starts.sort_unstable();
        starts.dedup();
        let set = |at: K| {
            let (mut about, mut permits) = (vec![0; count.div_ceil(64)], vec![0; count.div_ceil(64)]);
            for index in 0..count {
                let (is_about, is_permitted) = holds(at, index);
                about[index / 64] |= u64::from(is_about) << (index % 64);
                permits[index / 64] |= u64::from(is_permitted) << (index % 64);
            }
            (about.into(), permits.into())
        };
        let sets = starts.iter().copied().map(set).collect();
        Self { starts, sets }
    }

    fn at(&self, value: K) -> &(Bits, Bits) {
        &self.sets[self.starts.partition_point(|start| *start <= value).saturating_sub(1)]
    }
}

/// The hosts on one end whom a policy is about, and those whom it permits.
type Hosts = fn(&Policy) -> (&[Term], Option<&[Term]>);

/// All policies. Two look-ups of addresses, one of a protocol and one of a port say which are broken, however many there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) policies: Vec<Policy>,
    /// By address, of hosts that are outside, and that are inside.
    clients: [Table<Ip>; 2],
    servers: [Table<Ip>; 2],
    protocols: Table<u8>,
    ports: Table<u16>,
    forbid: Bits,
}

impl Rules {
    /// No policies.
    pub(super) fn none() -> Self {
        let hosts = || [(); 2].map(|()| Table::new(vec![Ip(0)], 0, |_, _| (false, false)));
        let (protocols, ports) =
            (Table::new(vec![0], 0, |_, _| (false, false)), Table::new(vec![0], 0, |_, _| (false, false)));
        Self { policies: vec![], clients: hosts(), servers: hosts(), protocols, ports, forbid: Box::default() }
    }

    pub(super) fn new(written: Vec<Written>) -> Result<Self, String> {
        let mut policies = Vec::new();
        let mut names = HashSet::new();
        for one in written {
            let policy = Policy::try_from(one)?;
            if !names.insert(policy.name.clone()) {
                return Err(format!("policy \"{}\": there are two of this name", policy.name));
            }
            policies.push(policy);
        }
        let hosts = |list: Hosts| {
            let all = policies.iter().map(list).flat_map(|(about, only)| about.iter().chain(only.unwrap_or_default()));
            let mut starts: Vec<Ip> = all.filter_map(|term| term.network).flat_map(bounds).collect();
            starts.push(Ip(0));
            [false, true].map(|is_inside| {
                Table::new(starts.clone(), policies.len(), |ip, index| {
                    let (about, only) = list(&policies[index]);
                    (Term::have(about, ip, is_inside), only.is_none_or(|only| Term::have(only, ip, is_inside)))
                })
            })
        };
        let all_ports = |policy: &Policy| {
            policy.ports.iter().chain(policy.only_ports.iter().flatten()).copied().collect::<Vec<_>>()
        };
        let mut starts: Vec<u16> = policies
            .iter()
            .flat_map(all_ports)
            .flat_map(|(first, last)| [Some(first), last.checked_add(1)])
            .flatten()
            .collect();
        starts.push(0);
        let has = |ports: &Ports, port: u16| ports.iter().any(|(first, last)| (*first..=*last).contains(&port));
        let mut forbid = vec![0; policies.len().div_ceil(64)];
        for (index, policy) in policies.iter().enumerate() {
            forbid[index / 64] |= u64::from(policy.forbid) << (index % 64);
        }
        Ok(Self {
            clients: hosts(|policy| (&policy.from, policy.only_from.as_deref())),
            servers: hosts(|policy| (&policy.to, policy.only_to.as_deref())),
            protocols: Table::new((0..=u8::MAX).collect(), policies.len(), |number, index| {
                let policy = &policies[index];
                let is_named = policy.protocols.contains(&number);
                // The network does not work without ICMP, which has no ports.
                let is_exempt =
                    policy.only_ports.is_some() && !is_named && matches!(number, protocol::ICMP | protocol::ICMPV6);
                ((policy.protocols.is_empty() || is_named) && !is_exempt, true)
            }),
            ports: Table::new(starts, policies.len(), |port, index| {
                let policy = &policies[index];
                (
                    policy.ports.is_empty() || has(&policy.ports, port),
                    policy.only_ports.as_ref().is_none_or(|only| has(only, port)),
                )
            }),
            forbid: forbid.into(),
            policies,
        })
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// Calls for each policy that is broken by a client that talks to a port of a server.
    pub(super) fn broken(
        &self,
        site: &Site,
        client: Ip,
        server: Ip,
        protocol: u8,
        port: u16,
        mut call: impl FnMut(usize),
    ) {
        let client = self.clients[usize::from(site.is_inside(client))].at(client);
        let server = self.servers[usize::from(site.is_inside(server))].at(server);
        let protocol = self.protocols.at(protocol);
        let port = self.ports.at(port);
        for (word, forbid) in self.forbid.iter().enumerate() {
            let about = client.0[word] & server.0[word] & protocol.0[word] & port.0[word];
            let permitted = client.1[word] & server.1[word] & port.1[word] & !forbid;
            let mut broken = about & !permitted;
            while broken != 0 {
                call(word * 64 + broken.trailing_zeros() as usize);
                broken &= broken - 1;
            }
        }
    }
}

/// Where a network begins, and what comes after it.
fn bounds(network: IpNet) -> impl Iterator<Item = Ip> {
    let first: Ip = network.network().into();
    let last: Ip = network.broadcast().into();
    debug_assert!(Range::from(network).has(last));
    [Some(first), last.0.checked_add(1).map(Ip)].into_iter().flatten()
}
