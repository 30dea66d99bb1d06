//! Captures instead of interfaces: the same parser, compiled for the host, the same table and the same outputs, on the
//! capture's own clock. Files of messages (RFC 5655) instead of listeners.
//!
//! A packet becomes a delta of one packet; once for each second of the capture's clock a report goes after them, as a drain
//! would send it, so that flows time out as they would have live.

mod capture;
mod detect;
mod fragments;
mod link;
mod messages;
mod run;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use flowprobe_ebpf::parse::{Bytes, Origin, Packet};
use flowprobe_ebpf::selection::Verdict;
use flowprobe_ebpf::{Direction, FlowValue, InterfaceStats, Selection, Tunnels, Weight};
use hashbrown::HashMap;
use tokio::sync::mpsc;
use tracing::warn;

use crate::clock::WallOffset;
use crate::config::SelectionConfig;
use crate::drain::{DrainReport, Drained, MeterStats};
use crate::record::FlowDelta;
pub use capture::{CaptureError, Input};
use capture::{CapturedFrame, Kind};
use fragments::RecentFragments;
pub use run::{extras, open_all, run};

/// Deltas in one message to the metering thread: 160 kB, which stay in a CPU's cache from one thread to the other.
const BATCH: usize = 1024;

/// How often flows are looked at for their timeouts, on the capture's clock.
const STEP_NS: u64 = 1_000_000_000;

/// From which sampling draws.
const SEED: u32 = 0x0f10_09b0;

/// Nobody wants the rest: every output was closed, or the metering thread has failed.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads the output any more")]
pub struct NoReceiver;

/// Why a replay stopped.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A capture cannot be read, or not to its end. What came before the place was metered.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// What was read has nowhere to go.
    #[error(transparent)]
    NoReceiver(#[from] NoReceiver),
}

/// Reads captures and hands on what they hold.
pub struct Replay {
    out: SyncSender<Drained>,
    closed: mpsc::Receiver<()>,
    /// Outputs and collectors that still take records.
    readers: usize,
    deltas: Vec<FlowDelta>,
    fragments: RecentFragments,
    interfaces: Vec<Interface>,
    by_source: HashMap<(PathBuf, u32), usize>,
    /// The interface of the packet before, by its number in the capture that is being read.
    latest: Option<(u32, usize)>,
    /// A file of which nothing was read yet, if it matters which comes first.
    begins: Option<PathBuf>,
    minds_order: bool,
    /// The capture's clock: the latest packet's time stamp.
    now_ns: u64,
    reported_ns: u64,
    packets: u64,
    tunnels: Tunnels,
    selection: Selection,
    chance: fastrand::Rng,
}

/// One interface of one capture.
struct Interface {
    name: Arc<str>,
    stats: InterfaceStats,
}

impl Replay {
    /// A replay whose deltas go to `out`. There are `readers` of what becomes of them, and a word comes from `closed` for each
    /// that takes no more; after the last one there is no use in reading on.
    ///
    /// Sampling chooses the same packets each time that the same captures are read.
    #[must_use]
    pub fn new(
        out: SyncSender<Drained>,
        closed: mpsc::Receiver<()>,
        readers: usize,
        selection: &SelectionConfig,
    ) -> Self {
        Self {
            out,
            closed,
            readers,
            deltas: Vec::with_capacity(BATCH),
            fragments: RecentFragments::default(),
            interfaces: Vec::new(),
            by_source: HashMap::new(),
            latest: None,
            begins: None,
            minds_order: false,
            now_ns: 0,
            reported_ns: 0,
            packets: 0,
            tunnels: selection.tunnels,
            selection: selection.seeded(SEED),
            chance: fastrand::Rng::with_seed(u64::from(SEED)),
        }
    }

    /// Warns of files that begin before the end of what was read before them, as detectors take them for late.
    #[must_use]
    pub fn minding_order(self, minds_order: bool) -> Self {
        Self { minds_order, ..self }
    }

    /// Reads `input` to its end. `progress` is told now and then how many octets of it were read.
    ///
    /// # Errors
    /// The file is damaged or of an unknown kind; everything before the damage has been handed on.
    pub fn read(&mut self, input: Input, progress: &mut dyn FnMut(u64)) -> Result<(), ReplayError> {
        self.begins = self.minds_order.then(|| input.path().to_owned());
        if input.kind() == Kind::Messages {
            return self.read_messages(input, progress);
        }
        let path = input.path().to_owned();
        self.latest = None;
        input.read(progress, |frame| self.frame(&path, frame))
    }

    /// Hands on what is left and ends the replay. Returns the number of packets.
    ///
    /// # Errors
    /// The metering thread has ended.
    pub fn finish(mut self) -> Result<u64, NoReceiver> {
        self.report()?;
        Ok(self.packets)
    }

    fn frame(&mut self, path: &Path, frame: &CapturedFrame<'_>) -> Result<(), ReplayError> {
        let number = self.interface(path, frame);
        self.packets += 1;
        if self.is_time_to_report(frame.time_ns, STEP_NS) {
            self.report()?;
        }
        let origin = Origin {
            // The kernel numbers interfaces from 1.
            ifindex: u32::try_from(number).unwrap_or(u32::MAX - 1) + 1,
            direction: Direction::Ingress,
            offloaded_vlan: None,
        };
        let bytes = Bytes { captured: frame.data, original_length: frame.original_length };
        let octets = u64::from(frame.original_length);
        let stats = &mut self.interfaces[number].stats;
        stats.seen.add(1, octets);
        let mut packet = Packet::default();
        let parsed = frame.link.parse(&bytes, origin, self.tunnels, &self.fragments, &mut packet);
        match parsed.map(|()| self.selection.decide(&packet, octets, || self.chance.u32(..))) {
            Err(reason) => stats.unparsed[reason as usize].add(1, octets),
            Ok(Verdict::FilteredOut) => stats.filtered_out.add(1, octets),
            Ok(Verdict::SampledOut) => stats.sampled_out.add(1, octets),
            Ok(Verdict::Metered) => {
                let weight = Weight::of_one(&packet, octets);
                let value = FlowValue::begin(&packet, weight, frame.time_ns);
                self.deltas.push(FlowDelta { key: packet.key, tunnel: packet.tunnel, value });
            }
        }
        if self.deltas.len() == BATCH {
            self.hand_on()?;
        }
        Ok(())
    }

    /// Sets the clock; whether so much of it has gone by since the last report.
    fn is_time_to_report(&mut self, time_ns: u64, step_ns: u64) -> bool {
        if let Some(path) = self.begins.take().filter(|_| time_ns < self.now_ns) {
            let early = Duration::from_nanos(self.now_ns - time_ns);
            warn!(
                "{}: begins {early:.1?} before the end of what was read before it, which is late for detectors: some of it may not be \
                 found. Name files in the order of their times",
                path.display()
            );
        }
        self.now_ns = self.now_ns.max(time_ns);
        if self.reported_ns == 0 {
            self.reported_ns = self.now_ns;
        }
        self.now_ns - self.reported_ns >= step_ns
    }

    /// The number of the frame's interface among all that were met.
    fn interface(&mut self, path: &Path, frame: &CapturedFrame<'_>) -> usize {
        match self.latest {
            Some((number, interface)) if number == frame.interface => interface,
            _ => {
                let interface = self.find_interface(path, frame);
                self.latest = Some((frame.interface, interface));
                interface
            }
        }
    }

    fn find_interface(&mut self, path: &Path, frame: &CapturedFrame<'_>) -> usize {
        if let Some(number) = self.by_source.get(&InterfaceOf { path, number: frame.interface }) {
            return *number;
        }
        let number = self.interfaces.len();
        let name = if frame.interface == 0 {
            path.display().to_string()
        } else {
            format!("{}#{}", path.display(), frame.interface)
        };
        self.interfaces.push(Interface { name: name.into(), stats: InterfaceStats::default() });
        self.by_source.insert((path.to_owned(), frame.interface), number);
        number
    }

    /// Notes which readers have gone; when all have, there is no use in reading on.
    fn look_for_readers(&mut self) -> Result<(), NoReceiver> {
        while self.closed.try_recv().is_ok() {
            self.readers -= 1;
            if self.readers == 0 {
                return Err(NoReceiver);
            }
        }
        Ok(())
    }

    fn hand_on(&mut self) -> Result<(), NoReceiver> {
        self.look_for_readers()?;
        let deltas = std::mem::replace(&mut self.deltas, Vec::with_capacity(BATCH));
        self.out.send(Drained::Flows { deltas, crowded: false }).map_err(|_| NoReceiver)
    }

    fn report(&mut self) -> Result<(), NoReceiver> {
        if !self.deltas.is_empty() {
            self.hand_on()?;
        }
        let stats = self.interfaces.iter().zip(1..).map(|(interface, ifindex)| MeterStats {
            interface: Arc::clone(&interface.name),
            ifindex,
            direction: Direction::Ingress,
            totals: interface.stats,
        });
        let report = DrainReport {
            now_ns: self.now_ns,
            // The capture's time stamps are the wall clock.
            offset: WallOffset::between(Duration::ZERO, 0),
            flows: 0,
            took: Duration::ZERO,
            stats: stats.collect(),
            overflow: Vec::new(),
        };
        self.reported_ns = self.now_ns;
        self.out.send(Drained::End(report)).map_err(|_| NoReceiver)
    }
}

/// A key of [`Replay::by_source`] that owns nothing.
#[derive(Hash)]
struct InterfaceOf<'a> {
    path: &'a Path,
    number: u32,
}

impl hashbrown::Equivalent<(PathBuf, u32)> for InterfaceOf<'_> {
    fn equivalent(&self, (path, number): &(PathBuf, u32)) -> bool {
        self.path == path && self.number == *number
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;
    use crate::logging::tests::Page;

    /// A capture of one frame of each of these seconds.
    fn capture(path: &str, seconds: &[u32]) -> Input {
        let mut octets = Vec::new();
        for number in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 1_u32] {
            octets.extend(number.to_le_bytes());
        }
        for second in seconds {
            for number in [*second, 0, 14, 14] {
                octets.extend(number.to_le_bytes());
            }
            octets.extend([2; 14]);
        }
        Input::from_stream(Path::new(path), std::io::Cursor::new(octets)).expect("a capture")
    }

    /// A file of one message without records.
    fn message(path: &str, second: u32) -> Input {
        let octets = [&[0, 10, 0, 16][..], &second.to_be_bytes(), &[0; 8]].concat();
        Input::from_stream(Path::new(path), std::io::Cursor::new(octets)).expect("a file")
    }

    fn said(minds_order: bool, inputs: Vec<Input>) -> String {
        let selection = crate::config::SelectionSettings::default().check().expect("a selection");
        let ((out, drained), (_open, closed)) = (sync_channel(1000), mpsc::channel(1));
        let mut replay = Replay::new(out, closed, 1, &selection).minding_order(minds_order);
        let said = Page::of(|| inputs.into_iter().for_each(|input| replay.read(input, &mut |_| ()).expect("read")));
        drop(drained);
        said
    }

    #[test]
    fn files_that_are_not_in_the_order_of_time_are_named() {
        // Frames within one file may be late, as those of several CPUs are.
        let files = || {
            vec![
                capture("first", &[100, 90, 200]),
                capture("late", &[150, 300]),
                capture("next", &[300, 400]),
                message("older", 310),
                message("newer", 500),
            ]
        };
        let text = said(true, files());
        let named: Vec<&str> = text.lines().filter_map(|line| line.split(": ").nth(1)).collect();
        assert_eq!(named, ["late", "older"], "{text}");
        assert!(text.contains("late: begins 50.0s before the end") && text.contains("older: begins 90.0s"), "{text}");
        assert_eq!(said(false, files()), "");
    }
}
