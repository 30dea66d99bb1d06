//! A bound for tables of which only the top is of interest.

use std::hash::Hash;

use hashbrown::HashMap;

/// Forgets the half of the entries that weighs less. Of entries that weigh the same it is chance which stay.
pub fn keep_busier_half<K: Hash + Eq, V>(table: &mut HashMap<K, V>, weight: impl Fn(&V) -> u64) {
    let half = table.len() / 2;
    let mut weights: Vec<u64> = table.values().map(&weight).collect();
    if weights.is_empty() {
        return;
    }
    weights.sort_unstable();
    let lightest_kept = weights[weights.len() - half.max(1)];
    let heavier = weights.iter().rev().take_while(|one| **one > lightest_kept).count();
    let mut equal = half.max(1) - heavier;
    table.retain(|_, value| {
        let one = weight(value);
        let stays = one > lightest_kept || (one == lightest_kept && equal > 0);
        if one == lightest_kept && stays {
            equal -= 1;
        }
        stays
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busier_half_stays() {
        for weights in [&[5_u64, 1, 4, 2, 3, 6][..], &[1, 1, 1, 1], &[9, 1, 1, 1, 1, 9], &[7]] {
            let mut table: HashMap<usize, u64> = weights.iter().copied().enumerate().collect();
            keep_busier_half(&mut table, |weight| *weight);
            let mut kept: Vec<u64> = table.values().copied().collect();
            kept.sort_unstable();
            let mut expected = weights.to_vec();
            expected.sort_unstable();
            assert_eq!(kept, expected[weights.len() - (weights.len() / 2).max(1)..]);
        }
        keep_busier_half(&mut HashMap::<u8, u64>::new(), |weight| *weight);
    }
}
