//! Holds that datagrams gone wrong, of every vendor of the corpus and of the tests' own, do no harm: the daemon lives, its memory
//! is bounded, and of another exporter's stream beside them no record is lost or changed. `FLOWPROBE_LONG` makes it ten million.

use std::fs;
use std::net::UdpSocket;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use fastrand::Rng;
use flowprobe_tests::captures::{datagrams, shared};
use flowprobe_tests::daemon::Daemon;
use flowprobe_tests::exporting::{ExportingProcess, Field, Flow, Layout, Sender, Set, VARIABLE, says};
use flowprobe_tests::listening::{HERE, flows};
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::process::wait_until;
use flowprobe_tests::require;
use flowprobe_tests::resources::memory;
use flowprobe_tests::truth::{Object, number};

/// Whose stream is well-formed.
const SOUND: &str = "127.0.0.2";

/// Datagrams that are on their way at once: what a socket's buffer has room for, and the queues behind it.
const WINDOW: usize = 4000;

/// Flows of each message of the sound stream.
const FLOWS: u32 = 4;

/// How much more than after the first tenth the daemon may have in memory at the end.
const GROWTH: u64 = 32 << 20;

/// How many, and from which seed.
fn plan() -> (usize, u64) {
    if std::env::var_os("FLOWPROBE_LONG").is_some() { (10_000_000, fastrand::u64(..)) } else { (20_000, 6) }
}

/// What there is to mutate: the corpus, where it is, and messages with one of everything.
fn originals() -> Result<Vec<Vec<u8>>> {
    let mut originals = own();
    let Some(folder) = shared("corpus/netflow") else {
        println!("no corpus lies beside the checkout: only the tests' own messages are mutated");
        return Ok(originals);
    };
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("pcap") => originals.extend(datagrams(&fs::read(path)?).into_iter().map(|datagram| datagram.payload)),
            Some("dat" | "bin") => originals.push(fs::read(path)?),
            _ => {}
        }
    }
    Ok(originals)
}

/// A template, its data, options and a withdrawal in one message, so that one change can reach all.
fn own() -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    for version in [9, 10] {
        let mut process = ExportingProcess::new(version, 3);
        let mut layout = Layout::plain(300, &process).with(Field::iana(225, 4), &[203, 0, 113, 9]);
        if version == 10 {
            layout = layout.with(Field { enterprise: 35_632, element: 188, octets: VARIABLE }, b"example.net");
        }
        let told = flows(0, 10, &process);
        let options =
            Set::OptionsTemplate(301, 1, vec![Field::iana(if version == 9 { 1 } else { 149 }, 4), Field::iana(34, 4)]);
        let sampled = Set::Data(301, vec![vec![0, 0, 0, 3, 0, 0, 0, 100]]);
        let mut sets = vec![layout.template(), options, sampled, layout.data(&told, &process)];
        if version == 10 {
            sets.push(Set::Withdrawal(300));
        }
        messages.push(process.message(&sets));
    }
    let mut process = ExportingProcess::new(5, 3);
    messages.push(process.netflow5(&flows(0, 30, &process), 0));
    messages
}

/// Numbers on which readers stumble.
const ODD: [u16; 12] = [0, 1, 2, 3, 4, 5, 255, 256, 0x7fff, 0x8000, 0xfffe, 0xffff];

/// One of the originals, changed in a few places, cut off, lengthened, or with another's end.
fn mutated(originals: &[Vec<u8>], random: &mut Rng) -> Vec<u8> {
    let mut datagram = originals[random.usize(..originals.len())].clone();
    for _ in 0..=random.u8(..4) {
        let place = random.usize(..datagram.len().max(1));
        // Half of them where headers of messages and sets are.
        let place = if random.bool() { place % 64 } else { place };
        if random.bool() {
            if let Some(octet) = datagram.get_mut(place) {
                *octet = random.u8(..);
            }
        } else if let Some(word) = datagram.get_mut(place & !1..(place & !1) + 2) {
            word.copy_from_slice(&ODD[random.usize(..ODD.len())].to_be_bytes());
        }
    }
    match random.u8(..16) {
        0 | 1 => datagram.truncate(random.usize(..=datagram.len())),
        2 => datagram.extend((0..random.usize(..64)).map(|_| random.u8(..))),
        3 => {
            let other = &originals[random.usize(..originals.len())];
            datagram.truncate(random.usize(..=datagram.len()));
            datagram.extend_from_slice(&other[random.usize(..=other.len())..]);
        }
        _ => {}
    }
    // The loopback's MTU.
    datagram.truncate(65_000);
    datagram
}

/// The sound exporter, and what came of it.
struct Sound {
    sender: Sender,
    process: ExportingProcess,
    layout: Layout,
    sent: u32,
    came: Arc<Mutex<Came>>,
}

/// Records of the sound stream: how many came, and the first that was not the one to come.
#[derive(Default)]
struct Came {
    records: u32,
    wrong: Option<String>,
}

impl Sound {
    fn send(&mut self) -> Result<()> {
        let told = flows(self.sent, FLOWS, &self.process);
        let mut sets = vec![self.layout.data(&told, &self.process)];
        if self.sent.is_multiple_of(FLOWS * 64) {
            sets.insert(0, self.layout.template());
        }
        self.sent += FLOWS;
        self.sender.send(&self.process.message(&sets))
    }

    /// Waits until every record of it is printed: so is, then, all that was sent before.
    fn wait(&self, daemon: &Daemon) -> Result<()> {
        let mut came = 0;
        let waited = wait_until("the sound stream", || {
            let state = self.came.lock().unwrap_or_else(PoisonError::into_inner);
            ensure!(state.wrong.is_none(), "{:?}", state.wrong);
            came = state.records;
            Ok(came == self.sent)
        });
        waited.with_context(|| format!("{came} of {} records: {:?}", self.sent, daemon.log()))
    }
}

/// A fold of the daemon's lines: the sound stream's records are compared with what was sent, and nothing is kept but what the
/// daemon says of itself at its end.
fn compare(process: ExportingProcess, came: Arc<Mutex<Came>>) -> impl FnMut(&str) -> bool + Send + 'static {
    let by_sound = format!("\"exporterIPv4Address\":\"{SOUND}\"");
    move |line| {
        if line.starts_with("{\"listener\"") || line.starts_with("{\"accounting\"") {
            return true;
        }
        if line.starts_with("{\"exporter\"") {
            return line.contains(SOUND);
        }
        if line.contains(&by_sound) {
            let mut came = came.lock().unwrap_or_else(PoisonError::into_inner);
            let expected = Flow::numbered(came.records, &process).told();
            if came.wrong.is_none()
                && !serde_json::from_str::<Object>(line).is_ok_and(|record| says(&record, &expected))
            {
                came.wrong = Some(format!("{line} is not {expected:?}"));
            }
            came.records += 1;
        }
        false
    }
}

#[test]
fn datagrams_gone_wrong_do_no_harm() -> Result<()> {
    require!();
    let (count, seed) = plan();
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    let originals = originals()?;
    let room = Namespace::new()?;
    let process = ExportingProcess::new(10, 1);
    let came = Arc::new(Mutex::new(Came::default()));
    let fold = compare(process.clone(), Arc::clone(&came));
    // Encoders are to live, too: a collector for each format, at sockets that nobody reads.
    let unread = room.inside(|| {
        let sockets = ["ipfix", "netflow9", "netflow5"].map(|format| Ok((format, UdpSocket::bind("127.0.0.1:0")?)));
        sockets.into_iter().collect::<Result<Vec<_>>>()
    })?;
    let urls = unread.iter().map(|(format, socket)| Ok(format!("udp://{}?format={format}", socket.local_addr()?)));
    let collectors = urls.collect::<Result<Vec<_>>>()?;
    let listen = format!("udp://{HERE}");
    let arguments = collectors.iter().flat_map(|url| ["--collector", url]).chain(["--listen", &listen]);
    let daemon = Daemon::start_folding(&room, &arguments.collect::<Vec<_>>(), fold)?;
    let layout = Layout::plain(300, &process);
    let sender = Sender::new(&room, &format!("{SOUND}:9000"), HERE)?;
    let mut sound = Sound { sender, process, layout, sent: 0, came };
    let senders =
        (0..32).map(|place| Sender::new(&room, &format!("127.0.7.{}:{}", place / 4 + 1, 9000 + place % 4), HERE));
    let senders = senders.collect::<Result<Vec<_>>>()?;

    let mut after_warm_up = 0;
    for done in 1..=count {
        senders[random.usize(..senders.len())].send(&mutated(&originals, &mut random))?;
        if done % 50 == 0 {
            sound.send()?;
        }
        if done % WINDOW == 0 {
            sound.wait(&daemon).with_context(|| format!("seed {seed}, after {done}"))?;
        }
        if done == count / 10 {
            after_warm_up = memory(daemon.id(), "VmRSS")?;
        }
    }
    let at_end = memory(daemon.id(), "VmRSS")?;
    println!("{} MiB after a tenth, {} MiB in the end", after_warm_up >> 20, at_end >> 20);
    let sent = count as u64 + u64::from(sound.sent / FLOWS);
    let read = |listener: &serde_json::Value| listener["messages"] == sent && listener["kernelDrops"] == 0;
    daemon.wait_for_health("listeners", "every datagram", read).with_context(|| format!("{sent} sent"))?;
    let report = daemon.stop()?;
    ensure!(at_end <= after_warm_up + GROWTH, "seed {seed}: from {after_warm_up} octets to {at_end}");
    ensure!(report.logged("panicked").is_empty(), "seed {seed}: {:?}", report.logged("panicked"));
    let [exporter] = &report.exporters[..] else {
        anyhow::bail!("not one sound exporter: {:?}", report.exporters);
    };
    for (name, expected) in [("records", sound.sent), ("missing", 0), ("duplicates", 0), ("restarts", 0)] {
        ensure!(number(exporter, name)? == u64::from(expected), "seed {seed}: {name} of {exporter:?}");
    }
    Ok(())
}
