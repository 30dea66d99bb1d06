//! How regular connections are: robust statistics of the times between them and of their sizes.

use serde::{Deserialize, Serialize};

/// Part of the median interval within which another counts as one of the rhythm: ±40 % of jitter about a median that is itself uncertain.
const STEADY: (f64, f64) = (0.5, 1.6);

/// An interval of more medians than this is a gap: the client slept, or was away.
const GAP: f64 = 4.0;

/// Intervals inside a burst are shorter than those between bursts by this factor at least.
const JUMP: u32 = 5;

/// Longest pause within a burst, milliseconds.
const BURST_MS: u32 = 60_000;

/// Largest median deviation of the intervals, in medians; of a uniform jitter of ±40 % it is 0.2, of chance (a Poisson process) 0.7.
const LOOSE: f64 = 0.3;

/// Share of the sizes that lie between half and twice the median.
const ALIKE: f64 = 0.7;

/// One connection, or some that came together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Beat {
    /// First packet, milliseconds from an origin.
    pub(super) at: u32,
    /// Start of the last connection of the burst, or of the last attempt.
    pub(super) tail: u32,
    /// Octets of the client.
    pub(super) sent: u32,
    /// Octets of the server.
    pub(super) received: u32,
    /// Seconds from the first packet to the last.
    pub(super) lasts: u16,
    /// The client's, of the first connection.
    pub(super) port: u16,
    /// Packets of the client.
    pub(super) packets: u16,
    /// Connections.
    pub(super) connections: u8,
    /// How many of them came to nothing.
    pub(super) failed: u8,
}

impl Beat {
    /// Takes in what belongs to the same burst and comes later.
    pub(super) fn join(&mut self, other: &Self) {
        self.tail = self.tail.max(other.tail);
        self.sent = self.sent.saturating_add(other.sent);
        self.received = self.received.saturating_add(other.received);
        self.lasts = self.lasts.max(other.lasts);
        self.packets = self.packets.saturating_add(other.packets);
        self.connections = self.connections.saturating_add(other.connections);
        self.failed = self.failed.saturating_add(other.failed);
    }
}

/// What beats have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rhythm {
    /// Median interval, milliseconds.
    pub(super) period_ms: u32,
    /// Median absolute deviation from it.
    pub(super) off_ms: u32,
    /// Intervals.
    pub(super) intervals: usize,
    /// Of these, far longer ones.
    pub(super) gaps: usize,
    /// Median octets of the client.
    pub(super) sent: u32,
    /// Median octets of the server.
    pub(super) received: u32,
    /// Median duration, seconds.
    pub(super) lasts: u16,
    /// 0 to 1: how regular it is in all.
    pub(super) score: f64,
}

/// The rhythm of beats in the order of their time, if they have one of so many intervals at least.
pub(super) fn rhythm(beats: &[Beat], least: usize) -> Option<Rhythm> {
    let beats = joined(beats, burst_gap(beats, least));
    if beats.len() <= least {
        return None;
    }
    let times: Vec<u32> = beats.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    let sorted = sorted(times.iter().copied());
    let count = sorted.len();
    let period = f64::from(median(&sorted)).max(1.0);
    let gaps = sorted.iter().filter(|time| f64::from(**time) > GAP * period).count();
    let steady =
        sorted.iter().filter(|time| (STEADY.0 * period..=STEADY.1 * period).contains(&f64::from(**time))).count();
    let steady = share(steady, count - gaps);
    let off_ms = deviation(&sorted);
    let spread = f64::from(off_ms) / period;
    // Few intervals may look regular by chance, so nearly all of them must.
    if gaps * 6 > count || steady < 0.75 + 1.8 / precise(count) || spread > LOOSE {
        return None;
    }
    let sizes = self::sorted(beats.iter().map(|beat| beat.sent));
    let sent = median(&sizes);
    // An acknowledgement or an attempt more or less makes no difference.
    let alike = sizes
        .iter()
        .filter(|size| size.saturating_add(120) >= sent / 2 && **size <= sent.saturating_mul(2).saturating_add(120))
        .count();
    if share(alike, sizes.len()) < ALIKE {
        return None;
    }
    let covered: f64 = times.iter().map(|time| f64::from(*time).min(STEADY.1 * period)).sum();
    let span = f64::from(beats[beats.len() - 1].at - beats[0].at).max(1.0);
    let size_spread = f64::from(deviation(&sizes)) / f64::from(sent.max(1));
    let parts = [
        steady,
        1.0 - spread,
        1.0 - skew(&sorted).abs(),
        1.0 - size_spread.min(1.0),
        1.0 - skew(&sizes).abs(),
        covered / span,
    ];
    Some(Rhythm {
        period_ms: median(&sorted),
        off_ms,
        intervals: count,
        gaps,
        sent,
        received: median(&self::sorted(beats.iter().map(|beat| beat.received))),
        lasts: median(&self::sorted(beats.iter().map(|beat| beat.lasts))),
        score: parts.iter().sum::<f64>() / precise(parts.len()),
    })
}

/// The pause from which on connections no longer belong to one burst; 0 where there are no bursts of which this many pauses remain.
pub(super) fn burst_gap(beats: &[Beat], least: usize) -> u32 {
    let pauses = sorted(beats.windows(2).map(|pair| pair[1].at.saturating_sub(pair[0].tail)));
    let jump = |place: usize| pauses[place] / pauses[place - 1].max(1);
    (1..(pauses.len() + 1).saturating_sub(least))
        .filter(|place| jump(*place) >= JUMP && pauses[place - 1] <= BURST_MS)
        .max_by_key(|place| jump(*place))
        .map_or(0, |place| pauses[place - 1] + 1)
}

/// The beats with pauses below this joined.
pub(super) fn joined(beats: &[Beat], gap: u32) -> Vec<Beat> {
    let mut out: Vec<Beat> = Vec::with_capacity(beats.len());
    for beat in beats {
        match out.last_mut() {
            Some(last) if beat.at.saturating_sub(last.tail) < gap => last.join(beat),
            _ => out.push(*beat),
        }
    }
    out
}

fn sorted<T: Ord>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    values
}

fn median<T: Copy + Default>(sorted: &[T]) -> T {
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// Median absolute deviation.
fn deviation(sorted: &[u32]) -> u32 {
    let middle = median(sorted);
    median(&self::sorted(sorted.iter().map(|value| value.abs_diff(middle))))
}

/// Bowley's skewness (1901), by the quartiles: 0 is symmetric, ±1 as skewed as can be. 0 where the quartiles are within 5 % of the median,
/// since what remains then is noise.
fn skew(sorted: &[u32]) -> f64 {
    let at = |part: usize| f64::from(sorted[(sorted.len() - 1) * part / 4]);
    let (low, middle, high) = (at(1), at(2), at(3));
    if high - low <= middle * 0.05 { 0.0 } else { (high + low - 2.0 * middle) / (high - low) }
}

fn share(part: usize, whole: usize) -> f64 {
    precise(part) / precise(whole.max(1))
}

#[expect(clippy::cast_precision_loss, reason = "there are at most some dozens")]
const fn precise(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beats(times: impl IntoIterator<Item = u32>) -> Vec<Beat> {
        times.into_iter().map(|at| Beat { at, tail: at, sent: 1000, connections: 1, ..Beat::default() }).collect()
    }

    #[test]
    fn a_metronome_is_perfect() {
        let found = rhythm(&beats((0..13).map(|n| n * 1000)), 12).expect("a rhythm");
        assert_eq!((found.period_ms, found.off_ms, found.intervals, found.gaps), (1000, 0, 12, 0));
        assert!((found.score - 1.0).abs() < 1e-9, "{found:?}");
        assert_eq!(rhythm(&beats((0..12).map(|n| n * 1000)), 12), None);
    }

    /// So many times of which each is this much later than the one before.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time to a thousandth")]
    fn times(count: usize, mut step: impl FnMut() -> f64) -> Vec<u32> {
        let later = |at: &mut u32, ()| {
            *at += (step() * 60_000.0) as u32;
            Some(*at)
        };
        std::iter::repeat_n((), count).scan(0, later).collect()
    }

    #[test]
    fn chance_hardly_ever_has_a_rhythm_and_jitter_nearly_always() {
        let seed = 7;
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for count in [13, 25, 48] {
            let (mut chance, mut jitter) = (0, 0);
            for _ in 0..3000 {
                let poisson = times(count, || -(1.0 - random.f64()).ln());
                chance += u32::from(rhythm(&beats(poisson), 12).is_some());
                let loose = times(count, || 0.6 + 0.8 * random.f64());
                jitter += u32::from(rhythm(&beats(loose), 12).is_some());
            }
            println!("{count} beats: chance {chance}, jitter {jitter} of 3,000");
            assert!(chance <= 9 && jitter >= 2700, "{count} beats: chance {chance}, jitter {jitter}");
        }
    }

    #[test]
    fn bursts_are_one_beat_and_gaps_are_left_out() {
        let bursts = (0..16).flat_map(|n| [0, 700, 2000].map(|more| n * 60_000 + more));
        let found = rhythm(&beats(bursts), 12).expect("a rhythm");
        assert_eq!((found.period_ms, found.intervals, found.sent), (60_000, 15, 3000));
        let asleep = (0..24).map(|n| n * 60_000 + n / 9 * 30_000_000);
        let found = rhythm(&beats(asleep), 12).expect("a rhythm");
        assert_eq!((found.period_ms, found.gaps), (60_000, 2));
    }

    #[test]
    fn sizes_must_be_alike() {
        let mut regular = beats((0..24).map(|n| n * 1000));
        regular.iter_mut().zip(1..).for_each(|(beat, n)| beat.sent = 900 + n * 10);
        assert!(rhythm(&regular, 12).is_some());
        regular.iter_mut().zip(1..).for_each(|(beat, n)| beat.sent = 500 << (n % 5 * 2));
        assert_eq!(rhythm(&regular, 12), None);
    }
}
