//! Names of addresses, asked of the system's resolver by threads of their own: who enriches a record never waits. The first records
//! of an address go without its name.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use lru::LruCache;
use serde::{Deserialize, Serialize};

/// Which addresses are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ReverseDns {
    /// None.
    #[default]
    None,
    /// Those of private networks (RFC 1918, RFC 4193, RFC 6598) and of links, which one's own servers know.
    Private,
    /// All. Whoever runs the servers learns with whom one talks.
    All,
}

/// Questions at a time.
const THREADS: usize = 8;

/// Questions that wait. Beyond these, an address is asked for when it is seen again.
const QUEUE: usize = 4096;

/// Addresses whose names are remembered, or that they have none.
const MOST_KNOWN: usize = 1 << 16;

/// How long a name holds, and how long that there is none. The system's resolver does not say how long the servers mean.
const HOLDS: Duration = Duration::from_secs(3600);
const NONE_HOLDS: Duration = Duration::from_secs(600);

/// Octets of a name in the DNS (RFC 1035 section 2.3.4).
const LONGEST: usize = 253;

/// Octets of memory at most.
pub(super) const MOST_OCTETS: u64 = (MOST_KNOWN * (LONGEST + 128) + THREADS * (64 << 10)) as u64;

/// How asking for names fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamesCondition {
    /// Questions since the start.
    pub asked: u64,
    /// Those that found a name.
    pub found: u64,
    /// Those that were not asked since too many waited.
    pub refused: u64,
    /// Addresses that are remembered, with a name or without.
    pub known: u64,
}

/// What is remembered of an address.
struct Known {
    name: Option<Arc<str>>,
    /// Until when; while it is asked for, forever.
    until: Option<Instant>,
}

/// The names that are known, and those who ask for others.
pub(super) struct Names {
    scope: ReverseDns,
    known: Mutex<LruCache<u128, Known>>,
    queue: SyncSender<IpAddr>,
    asked: AtomicU64,
    found: AtomicU64,
    refused: AtomicU64,
}

impl Names {
    /// Starts those who ask.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub(super) fn start(scope: ReverseDns) -> io::Result<Option<Arc<Self>>> {
        if scope == ReverseDns::None {
            return Ok(None);
        }
        let (queue, questions) = sync_channel(QUEUE);
        let most = NonZeroUsize::new(MOST_KNOWN).unwrap_or(NonZeroUsize::MIN);
        let names = Arc::new(Self {
            scope,
            known: Mutex::new(LruCache::new(most)),
            queue,
            asked: AtomicU64::new(0),
            found: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        });
        let questions = Arc::new(Mutex::new(questions));
        for _ in 0..THREADS {
            // They hold no more than a weak reference: with the last of the others they end.
            let (names, questions) = (Arc::downgrade(&names), Arc::clone(&questions));
            thread::Builder::new().name("reverse dns".into()).spawn(move || {
                while let Some(address) = next(&questions) {
                    let Some(names) = names.upgrade() else { break };
                    names.asked.fetch_add(1, Relaxed);
                    let name = ask(address);
                    names.learn(address, name);
                }
            })?;
        }
        Ok(Some(names))
    }

    fn known(&self) -> MutexGuard<'_, LruCache<u128, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name of an address, if it is known; else it is asked for.
    pub(super) fn find(&self, bits: u128, address: IpAddr) -> Option<Arc<str>> {
        if !self.is_asked_for(address) {
            return None;
        }
        let mut known = self.known();
        if let Some(one) = known.get(&bits)
            && one.until.is_none_or(|until| Instant::now() < until)
        {
            return one.name.clone();
        }
        // What it was called holds until the answer is there.
        let name = known.peek(&bits).and_then(|one| one.name.clone());
        if self.queue.try_send(address).is_ok() {
            known.put(bits, Known { name: name.clone(), until: None });
        } else {
            self.refused.fetch_add(1, Relaxed);
        }
        name
    }

    fn learn(&self, address: IpAddr, name: Option<Arc<str>>) {
        self.found.fetch_add(u64::from(name.is_some()), Relaxed);
        let until = Instant::now() + if name.is_some() { HOLDS } else { NONE_HOLDS };
        self.known().put(crate::store::flows::mapped(address), Known { name, until: Some(until) });
    }

    fn is_asked_for(&self, address: IpAddr) -> bool {
        match self.scope {
            ReverseDns::None => false,
            ReverseDns::Private => is_private(address),
            ReverseDns::All => !address.is_unspecified() && !address.is_multicast(),
        }
    }

    /// How it fares.
    pub(super) fn condition(&self) -> NamesCondition {
        NamesCondition {
            asked: self.asked.load(Relaxed),
            found: self.found.load(Relaxed),
            refused: self.refused.load(Relaxed),
            known: self.known().len() as u64,
        }
    }
}

/// The next question; none when there will be no more.
fn next(questions: &Mutex<Receiver<IpAddr>>) -> Option<IpAddr> {
    questions.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// The name that the system's resolver has for an address: by `/etc/hosts`, the DNS, or whatever else `nsswitch.conf` names.
fn ask(address: IpAddr) -> Option<Arc<str>> {
    let (name, _) = dns_lookup::getnameinfo(&SocketAddr::new(address, 0), libc::NI_NAMEREQD).ok()?;
    host_name(&name)
}

/// A name that is one of a host: whoever owns an address says in the DNS what he likes.
fn host_name(name: &str) -> Option<Arc<str>> {
    let name = name.trim_end_matches('.');
    let is_name = !name.is_empty()
        && name.len() <= LONGEST
        && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.'));
    is_name.then(|| name.to_ascii_lowercase().into())
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            address.is_private() || address.is_link_local() || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(address) => address.is_unique_local() || address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_told_from_others() {
        let is = |text: &str| is_private(text.parse().expect("an address"));
        for text in ["10.0.0.1", "172.31.255.1", "192.168.1.1", "169.254.1.1", "100.64.0.1", "fd00::1", "fe80::1"] {
            assert!(is(text), "{text}");
        }
        for text in ["172.32.0.1", "100.128.0.1", "8.8.8.8", "::1", "2001:db8::1", "ff02::1"] {
            assert!(!is(text), "{text}");
        }
    }

    #[test]
    fn what_the_dns_says_is_a_name_or_nothing() {
        for (said, name) in [
            ("Host-1.Example.NET.", Some("host-1.example.net")),
            ("_sip.example", Some("_sip.example")),
            ("", None),
            (".", None),
            ("<script>alert(1)</script>", None),
            ("a b", None),
            ("h\u{f6}st", None),
        ] {
            assert_eq!(host_name(said).as_deref(), name, "{said}");
        }
        assert_eq!(host_name(&"a".repeat(254)), None);
    }

    #[test]
    fn who_enriches_does_not_wait_and_the_name_comes_later() {
        let names = Names::start(ReverseDns::All).expect("threads").expect("names are asked for");
        let address: IpAddr = std::net::Ipv4Addr::LOCALHOST.into();
        let bits = crate::store::flows::mapped(address);
        let before = Instant::now();
        assert_eq!(names.find(bits, address), None);
        assert!(before.elapsed() < Duration::from_secs(1));
        // A file of hosts that has no name for it is possible; then it is learnt that there is none.
        while names.known().peek(&bits).is_none_or(|one| one.until.is_none()) {
            thread::sleep(Duration::from_millis(5));
            assert!(before.elapsed() < Duration::from_secs(60), "no answer");
        }
        let condition = names.condition();
        assert_eq!((condition.asked, condition.refused, condition.known), (1, 0, 1));
        assert_eq!(names.find(bits, address).is_some(), condition.found == 1);
        let other = Names::start(ReverseDns::Private).expect("threads").expect("names are asked for");
        assert_eq!((other.find(bits, address), other.condition()), (None, NamesCondition::default()));
        assert!(Names::start(ReverseDns::None).expect("none").is_none());
    }
}
