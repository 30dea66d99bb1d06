//! Ranges of addresses that leave no gap: what holds of an address is found by one look, in memory that is read in a row. A tree of
//! prefixes takes a step for every bit, and of addresses that hardly ever come twice nearly every step waits for memory.

/// An address as a number.
pub(crate) trait Address: Copy + Ord {
    /// The first of all.
    const FIRST: Self;
    /// The last of all.
    const LAST: Self;

    /// The next one; none after the last.
    fn next(self) -> Option<Self>;

    /// Its highest 16 bits.
    fn top(self) -> usize;
}

impl Address for u32 {
    const FIRST: Self = 0;
    const LAST: Self = Self::MAX;

    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }

    fn top(self) -> usize {
        (self >> 16) as usize
    }
}

impl Address for u128 {
    const FIRST: Self = 0;
    const LAST: Self = Self::MAX;

    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }

    fn top(self) -> usize {
        (self >> 112) as usize
    }
}

/// Numbers of highest 16 bits.
const TOPS: usize = 1 << 16;

/// Ranges one behind the other, from the first address to the last, each with a number for what holds in it; 0 is nothing.
#[derive(Debug)]
pub(crate) struct Ranges<A> {
    /// The first address of each range, which ends before the next.
    starts: Vec<A>,
    values: Vec<u32>,
    /// For the highest 16 bits of an address, in which range the first address with them is; and the last range of all.
    tops: Vec<u32>,
}

impl<A: Address> Ranges<A> {
    /// Those of networks: first address, last address, number. Of networks that lie in each other the smallest counts; of two that
    /// are the same, the one that is named last.
    pub(crate) fn of(mut networks: Vec<(A, A, u32)>) -> Self {
        networks.sort_by(|(a, a_last, _), (b, b_last, _)| a.cmp(b).then(b_last.cmp(a_last)));
        let mut out = Builder::new();
        // Those that begin before the next one and have not ended, the smallest last.
        let mut open: Vec<(A, u32)> = Vec::new();
        for (first, last, value) in networks {
            while let Some((_, after)) = open.pop_if(|(end, _)| *end < first).map(|(end, _)| (end, end.next())) {
                out.begin(after, &open);
            }
            out.push(first, value);
            open.push((last, value));
        }
        while let Some((end, _)) = open.pop() {
            out.begin(end.next(), &open);
        }
        out.finish()
    }

    /// Ranges in which both hold: `combine` makes one number of two.
    pub(crate) fn and(&self, other: &Self, mut combine: impl FnMut(u32, u32) -> u32) -> Self {
        let mut out = Builder::new();
        let (mut one, mut another) = (0, 0);
        loop {
            let start = self.starts[one].max(other.starts[another]);
            out.push(start, combine(self.values[one], other.values[another]));
            let next = (self.starts.get(one + 1), other.starts.get(another + 1));
            match next {
                (None, None) => return out.finish(),
                (Some(a), Some(b)) if a == b => (one, another) = (one + 1, another + 1),
                (Some(a), Some(b)) if a > b => another += 1,
                (None, Some(_)) => another += 1,
                (Some(_), _) => one += 1,
            }
        }
    }

    /// The number for what holds of an address.
    #[inline]
    pub(crate) fn find(&self, address: A) -> u32 {
        let top = address.top();
        let (from, to) = (self.tops[top] as usize, self.tops[top + 1] as usize);
        let before = self.starts[from + 1..=to].partition_point(|start| *start <= address);
        self.values[from + before]
    }

    /// All ranges: the first address, that of the next range if there is one, and the number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (A, Option<A>, u32)> {
        let next = self.starts.iter().skip(1).copied().map(Some).chain([None]);
        self.starts.iter().zip(next).zip(&self.values).map(|((start, next), value)| (*start, next, *value))
    }

    /// Ranges.
    pub(crate) fn len(&self) -> usize {
        self.starts.len()
    }
}

/// Without any network: nothing holds of anything.
impl<A: Address> Default for Ranges<A> {
    fn default() -> Self {
        Builder::new().finish()
    }
}

struct Builder<A> {
    starts: Vec<A>,
    values: Vec<u32>,
}

impl<A: Address> Builder<A> {
    fn new() -> Self {
        Self { starts: vec![A::FIRST], values: vec![0] }
    }

    /// A range begins, not before those that are there; where the last begins at the same address, this one takes its place.
    fn push(&mut self, start: A, value: u32) {
        if self.starts.last() == Some(&start) {
            self.starts.pop();
            self.values.pop();
        }
        // What goes on as it was is one range.
        if self.values.last() != Some(&value) {
            self.starts.push(start);
            self.values.push(value);
        }
    }

    /// A network has ended: from here on the smallest of those counts that are open.
    fn begin(&mut self, start: Option<A>, open: &[(A, u32)]) {
        if let Some(start) = start {
            self.push(start, open.last().map_or(0, |(_, value)| *value));
        }
    }

    fn finish(self) -> Ranges<A> {
        let Self { mut starts, mut values } = self;
        starts.shrink_to_fit();
        values.shrink_to_fit();
        let mut tops = Vec::with_capacity(TOPS + 1);
        let mut range = 0;
        for top in 0..TOPS {
            // The last range that begins before any address with these bits, or at the first of them.
            while starts.get(range + 1).is_some_and(|start| start.top() < top) {
                range += 1;
            }
            tops.push(u32::try_from(range).unwrap_or(u32::MAX));
        }
        tops.push(u32::try_from(starts.len() - 1).unwrap_or(u32::MAX));
        Ranges { starts, values, tops }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plainly: the smallest of the networks in which an address is, the last of those that are alike.
    fn plainly<A: Address>(networks: &[(A, A, u32)], address: A) -> u32 {
        let has = |network: &&(A, A, u32)| network.0 <= address && address <= network.1;
        let mut found: Option<&(A, A, u32)> = None;
        for network in networks.iter().filter(has) {
            if found.is_none_or(|(first, last, _)| *first <= network.0 && network.1 <= *last) {
                found = Some(network);
            }
        }
        found.map_or(0, |network| network.2)
    }

    fn random_networks(random: &mut fastrand::Rng) -> Vec<(u32, u32, u32)> {
        let count = random.usize(..40);
        (0..count)
            .map(|_| {
                let length = random.u32(..=32);
                let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
                // Few enough that many lie in each other.
                let first = random.u32(..) & 0x0103_0f0f & mask;
                (first, first | !mask, random.u32(..5))
            })
            .collect()
    }

    #[test]
    fn the_smallest_network_counts_wherever_an_address_lies() {
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..400 {
            let (one, other) = (random_networks(&mut random), random_networks(&mut random));
            let (ranges, others) = (Ranges::of(one.clone()), Ranges::of(other.clone()));
            let both = ranges.and(&others, |a, b| 10 * a + b);
            let ends = one.iter().chain(&other).flat_map(|(first, last, _)| [*first, *last]);
            let beside = ends.flat_map(|end| [end, end.wrapping_add(1), end.wrapping_sub(1)]);
            for address in beside.chain((0..20).map(|_| random.u32(..))).chain([0, u32::MAX]) {
                let (a, b) = (plainly(&one, address), plainly(&other, address));
                assert_eq!((ranges.find(address), others.find(address)), (a, b), "{address:08x} in {one:08x?}");
                assert_eq!(both.find(address), 10 * a + b, "{address:08x} in {one:08x?} and {other:08x?}");
            }
            assert!(ranges.values.windows(2).all(|pair| pair[0] != pair[1]), "{ranges:?}");
            assert!(ranges.len() <= 2 * one.len() + 1);
        }
    }

    #[test]
    fn the_first_and_the_last_address_of_ipv6_are_addresses() {
        let networks = vec![(0, u128::MAX, 1), (u128::MAX, u128::MAX, 2), (0, 0, 3), (1 << 112, (2 << 112) - 1, 4)];
        let ranges = Ranges::of(networks.clone());
        for address in [0, 1, (1 << 112) - 1, 1 << 112, (2 << 112) - 1, 2 << 112, u128::MAX - 1, u128::MAX] {
            assert_eq!(ranges.find(address), plainly(&networks, address), "{address:032x}");
        }
        assert_eq!(Ranges::default().find(7_u128), 0);
    }
}
