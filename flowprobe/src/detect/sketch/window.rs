//! Counts of the last minute by the time at which they were counted, so that rates are right however late a record comes.

/// What is counted together, milliseconds.
pub(crate) const SLOT_MS: i64 = 2000;

/// The same in seconds.
const SLOT_SECONDS: u64 = SLOT_MS.unsigned_abs() / 1000;

/// Slots that are kept: a little more than the minute after which most exporters report a flow that goes on.
const SLOTS: usize = 32;

/// Slots that make ten seconds.
pub(crate) const TEN_SECONDS: usize = 5;

/// Slots that make a minute.
pub(crate) const MINUTE: usize = 30;

/// `N` counts for each of the last 32 slots of two seconds.
#[derive(Clone, Debug)]
pub(crate) struct Window<const N: usize> {
    slots: [[u64; N]; SLOTS],
    newest: i64,
}

/// The slots in which most happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peak<const N: usize> {
    /// By the measure that was asked for.
    pub(crate) score: u64,
    /// The counts of these slots.
    pub(crate) counts: [u64; N],
    /// The largest sum of all counts in one of the slots, for each second of it.
    pub(crate) fastest: u64,
    /// When the last slot ends, milliseconds since 1970 UTC.
    pub(crate) end_ms: i64,
}

impl<const N: usize> Default for Window<N> {
    fn default() -> Self {
        Self { slots: [[0; N]; SLOTS], newest: i64::MIN / 2 }
    }
}

impl<const N: usize> Window<N> {
    /// Counts what happened between two moments, spread evenly over this time; what is older than the oldest slot is left out.
    pub(crate) fn add(&mut self, start_ms: i64, end_ms: i64, counts: [u64; N]) {
        let last = end_ms.div_euclid(SLOT_MS);
        self.move_to(last);
        let first = start_ms.min(end_ms).div_euclid(SLOT_MS);
        if first == last {
            self.count(last, counts);
            return;
        }
        let lasts = end_ms - start_ms;
        let until = |slot: i64, count: u64| {
            let elapsed = (slot * SLOT_MS - start_ms).clamp(0, lasts);
            u64::try_from(i128::from(count) * i128::from(elapsed) / i128::from(lasts)).unwrap_or(count)
        };
        for slot in first.max(self.oldest())..=last {
            // What falls on the very end belongs into the last slot.
            let end = |count| if slot == last { count } else { until(slot + 1, count) };
            self.count(slot, counts.map(|count| end(count) - until(slot, count)));
        }
    }

    /// The `width` slots in a row, ending later than a moment, whose counts score highest. The measure is also told when they end.
    pub(crate) fn peak(&self, width: usize, after_ms: i64, score: impl Fn(&[u64; N], i64) -> u64) -> Peak<N> {
        let mut best = Peak { score: 0, counts: [0; N], fastest: 0, end_ms: 0 };
        let width = i64::try_from(width).unwrap_or(1);
        for slot in self.oldest().max(after_ms.div_euclid(SLOT_MS))..=self.newest {
            let mut counts = [0_u64; N];
            let mut fastest = 0;
            for one in (slot - width + 1).max(self.oldest())..=slot {
                let of_it = &self.slots[index(one)];
                fastest = fastest.max(of_it.iter().fold(0, |sum: u64, count| sum.saturating_add(*count)));
                counts.iter_mut().zip(of_it).for_each(|(sum, count)| *sum = sum.saturating_add(*count));
            }
            let end_ms = (slot + 1) * SLOT_MS;
            let scored = score(&counts, end_ms);
            if scored > best.score {
                best = Peak { score: scored, counts, fastest: fastest / SLOT_SECONDS, end_ms };
            }
        }
        best
    }

    const fn oldest(&self) -> i64 {
        self.newest - SLOTS as i64 + 1
    }

    fn move_to(&mut self, slot: i64) {
        if slot <= self.newest {
            return;
        }
        for fresh in (self.newest + 1).max(slot - SLOTS as i64 + 1)..=slot {
            self.slots[index(fresh)] = [0; N];
        }
        self.newest = slot;
    }

    fn count(&mut self, slot: i64, counts: [u64; N]) {
        if slot >= self.oldest() {
            self.slots[index(slot)].iter_mut().zip(counts).for_each(|(sum, count)| *sum = sum.saturating_add(count));
        }
    }
}

fn index(slot: i64) -> usize {
    usize::try_from(slot.rem_euclid(SLOTS as i64)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peak(window: &Window<1>) -> (u64, u64) {
        let peak = window.peak(TEN_SECONDS, i64::MIN, |counts, _| counts[0]);
        (peak.score, peak.fastest)
    }

    #[test]
    fn packets_drains_and_records_come_to_the_same() {
        let mut packets = Window::default();
        (0..30_000).for_each(|number| packets.add(number, number, [1]));
        let mut drains = Window::default();
        (0..30).for_each(|second| drains.add(second * 1000, second * 1000 + 999, [1000]));
        let mut record = Window::default();
        record.add(0, 29_999, [30_000]);
        assert_eq!([peak(&packets), peak(&drains), peak(&record)], [(10_000, 1000); 3]);
        let mut long = Window::default();
        long.add(-1_800_000, 0, [1_800_000]);
        assert_eq!(peak(&long).0, 10_000);
    }

    #[test]
    fn records_may_come_in_any_order_and_old_ones_are_dropped() {
        let mut window = Window::default();
        window.add(100_000, 100_000, [1]);
        window.add(60_000, 60_000, [7]);
        window.add(10_000, 20_000, [1000]);
        window.add(9_000_000_000, 8_000_000_000, [1]);
        assert_eq!(peak(&window).0, 1);
        let mut window = Window::default();
        window.add(100_000, 100_000, [1]);
        window.add(60_000, 60_000, [7]);
        window.add(10_000, 20_000, [1000]);
        assert_eq!(peak(&window).0, 7);
        assert_eq!(window.peak(MINUTE, 90_000, |counts, _| counts[0]).score, 8);
        assert_eq!(window.peak(TEN_SECONDS, 90_000, |counts, _| counts[0]).score, 1);
    }
}
