//! Whether an address may be listed: of nearly all it is known by one look into memory that is small enough to stay near the processor.

/// Bits for each entry, as far as there may be so many: about one in sixteen addresses passes by chance.
const BITS_EACH: usize = 16;

/// The IPv4 addresses with the same first bits share a bit.
#[derive(Debug)]
pub(super) struct Filter4 {
    shift: u32,
    bits: Vec<u64>,
}

impl Filter4 {
    /// Of so many ranges.
    pub(super) fn of(count: usize, ranges: impl Iterator<Item = (u32, u32)>) -> Self {
        let prefix = (count * BITS_EACH).next_power_of_two().trailing_zeros().clamp(16, 27);
        let mut filter = Self { shift: 32 - prefix, bits: vec![0; 1 << (prefix - 6)] };
        for (first, last) in ranges {
            fill(&mut filter.bits, (first >> filter.shift) as usize, (last >> filter.shift) as usize);
        }
        filter
    }

    #[inline]
    pub(super) fn may_have(&self, address: u32) -> bool {
        is_set(&self.bits, (address >> self.shift) as usize)
    }

    pub(super) fn octets(&self) -> usize {
        self.bits.len() * 8
    }
}

impl Default for Filter4 {
    fn default() -> Self {
        Self::of(0, std::iter::empty())
    }
}

/// Of IPv6, what lies in one /64, one /48 or one /32 is hashed by that; wider ranges have bits by the first 16.
#[derive(Debug)]
pub(super) struct Filter6 {
    levels: Vec<Level>,
    wide: Vec<u64>,
}

#[derive(Debug)]
struct Level {
    shift: u32,
    /// Highest bits of the product that count.
    hash_shift: u32,
    bits: Vec<u64>,
}

impl Level {
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the highest 64 bits or less; an index of at most 30 bits")]
    fn index(&self, address: u128) -> usize {
        // Fibonacci hashing: the odd number nearest to 2^64 divided by the golden ratio.
        (((address >> self.shift) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.hash_shift) as usize
    }
}

impl Filter6 {
    /// Of these ranges.
    pub(super) fn of(ranges: impl Iterator<Item = (u128, u128)> + Clone) -> Self {
        let shift_of =
            |(first, last): (u128, u128)| [64_u32, 80, 96].into_iter().find(|shift| first >> shift == last >> shift);
        let mut filter = Self { levels: Vec::new(), wide: vec![0; 1024] };
        for shift in [64, 80, 96] {
            let of_level = || ranges.clone().filter(|range| shift_of(*range) == Some(shift));
            let count = of_level().count();
            if count == 0 {
                continue;
            }
            let log = (count * BITS_EACH).next_power_of_two().trailing_zeros().clamp(6, 30);
            let mut level = Level { shift, hash_shift: 64 - log, bits: vec![0; 1 << (log - 6)] };
            for (first, _) in of_level() {
                let index = level.index(first);
                fill(&mut level.bits, index, index);
            }
            filter.levels.push(level);
        }
        for (first, last) in ranges.filter(|range| shift_of(*range).is_none()) {
            fill(&mut filter.wide, (first >> 112) as usize, (last >> 112) as usize);
        }
        filter
    }

    #[inline]
    pub(super) fn may_have(&self, address: u128) -> bool {
        is_set(&self.wide, (address >> 112) as usize)
            || self.levels.iter().any(|level| is_set(&level.bits, level.index(address)))
    }

    pub(super) fn octets(&self) -> usize {
        (self.wide.len() + self.levels.iter().map(|level| level.bits.len()).sum::<usize>()) * 8
    }
}

impl Default for Filter6 {
    fn default() -> Self {
        Self::of(std::iter::empty())
    }
}

#[inline]
fn is_set(bits: &[u64], index: usize) -> bool {
    bits[index / 64] >> (index % 64) & 1 != 0
}

/// Sets the bits from the first to the last.
fn fill(bits: &mut [u64], first: usize, last: usize) {
    let (low, high) = (u64::MAX << (first % 64), u64::MAX >> (63 - last % 64));
    if first / 64 == last / 64 {
        bits[first / 64] |= low & high;
        return;
    }
    bits[first / 64] |= low;
    bits[first / 64 + 1..last / 64].fill(u64::MAX);
    bits[last / 64] |= high;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed_passes_and_little_else() {
        let mut random = fastrand::Rng::with_seed(11);
        let v4: Vec<(u32, u32)> = (0..20_000_u32)
            .map(|number| (random.u32(..), number % 9))
            .map(|(first, more)| (first, first.saturating_add(more)))
            .collect();
        let wide = [(0x0a00_0000, 0x0aff_ffff), (0, 0), (u32::MAX, u32::MAX), (0x0b00_0100, 0x0b00_81ff)];
        let v4: Vec<(u32, u32)> = v4.into_iter().chain(wide).collect();
        let filter = Filter4::of(v4.len(), v4.iter().copied());
        for (first, last) in &v4 {
            assert!(
                [*first, *last, first + (last - first) / 2].into_iter().all(|address| filter.may_have(address)),
                "{first:x}-{last:x}"
            );
        }
        let passes = (0..100_000).filter(|_| filter.may_have(random.u32(0x1000_0000..))).count();
        assert!(passes < 10_000, "{passes}");

        let v6: Vec<(u128, u128)> = (0..20_000)
            .map(|number| (random.u128(..) >> 3 | 1 << 125, [0, 16, 70, 90, 100][number % 5]))
            .map(|(address, bits)| (address & (u128::MAX << bits), address | !(u128::MAX << bits)))
            .collect();
        let filter = Filter6::of(v6.iter().copied());
        for (first, last) in &v6 {
            assert!(
                [*first, *last, first + (last - first) / 2].into_iter().all(|address| filter.may_have(address)),
                "{first:x}-{last:x}"
            );
        }
        let narrow = Filter6::of(v6.iter().copied().filter(|(first, last)| first >> 96 == last >> 96));
        let passes = (0..100_000).filter(|_| narrow.may_have(random.u128(..))).count();
        assert!(passes < 20_000, "{passes}");
        assert!(!Filter4::default().may_have(1) && !Filter6::default().may_have(1));
    }
}
