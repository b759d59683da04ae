//! Weights as written, and the parts per million of a split that they come to.

/// Parts in the whole of a split: shares, bounds and buckets are all in `0..=MILLION`.
pub const MILLION: u32 = 1_000_000;

/// The largest weight a person may write for one variant.
pub const WEIGHT_MAX: u32 = MILLION;

/// Upper ends, exclusive, of the ranges that `weights` own, side by side from 0:
/// `floor(1,000,000 × sum of the first i weights / sum of all)` (design rule 3).
///
/// `None` when the weights add up to 0. A weight of 0 owns an empty range.
#[must_use]
pub fn bounds(weights: &[u32]) -> Option<Vec<u32>> {
    let sum: u64 = weights.iter().map(|&w| u64::from(w)).sum();
    if sum == 0 {
        return None;
    }
    let mut first = 0u64;
    Some(
        weights
            .iter()
            .map(|&w| {
                first += u64::from(w);
                u32::try_from(u64::from(MILLION) * first / sum).expect("first <= sum")
            })
            .collect(),
    )
}

/// Parts per million of each weight: the lengths of the ranges of [`bounds`]. They sum to a million.
#[must_use]
pub fn shares(weights: &[u32]) -> Option<Vec<u32>> {
    let mut last = 0;
    Some(
        bounds(weights)?
            .into_iter()
            .map(|end| end - std::mem::replace(&mut last, end))
            .collect(),
    )
}

/// `weights` with the pair (`from`, `to`) divided anew: `to` gets `ppm` of what the two have
/// together, the others keep theirs (design rule 14). The answer is in parts per million of the
/// whole split. `None` when the weights add up to 0.
///
/// When the pair owns nothing, it stays at nothing.
#[must_use]
pub fn divide_pair(weights: &[u32], from: usize, to: usize, ppm: u32) -> Option<Vec<u32>> {
    let mut parts = shares(weights)?;
    let pair = parts[from] + parts[to];
    let moved = u64::from(pair) * u64::from(ppm.min(MILLION)) / u64::from(MILLION);
    parts[to] = u32::try_from(moved).expect("moved <= pair");
    parts[from] = pair - parts[to];
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::{bounds, divide_pair, shares};
    use proptest::prelude::*;

    #[test]
    fn weights_of_any_sum_become_parts_per_million() {
        assert_eq!(bounds(&[1, 2]), Some(vec![333_333, 1_000_000]));
        assert_eq!(shares(&[90, 10]), Some(vec![900_000, 100_000]));
        assert_eq!(shares(&[0, 5]), Some(vec![0, 1_000_000]));
        assert_eq!(bounds(&[0, 0]), None);
    }

    #[test]
    fn a_rollout_moves_weight_inside_its_pair_only() {
        assert_eq!(
            divide_pair(&[60, 20, 20], 0, 1, 250_000),
            Some(vec![600_000, 200_000, 200_000])
        );
        assert_eq!(divide_pair(&[100, 0], 0, 1, 50_000), Some(vec![950_000, 50_000]));
        assert_eq!(divide_pair(&[0, 0, 1], 0, 1, 50_000), Some(vec![0, 0, 1_000_000]));
    }

    proptest! {
        #[test]
        fn shares_sum_to_the_whole(weights in prop::collection::vec(0u32..=1_000_000, 1..20)) {
            if let Some(parts) = shares(&weights) {
                prop_assert_eq!(parts.iter().sum::<u32>(), 1_000_000);
            }
        }

        #[test]
        fn raising_the_canary_only_adds_buckets(a in 0u32..=1_000_000, b in 0u32..=1_000_000, w in 1u32..1000) {
            let (low, high) = (a.min(b), a.max(b));
            let end = |ppm| bounds(&divide_pair(&[w, 7, 13], 0, 1, ppm).unwrap()).unwrap();
            prop_assert!(end(high)[0] <= end(low)[0]);
            prop_assert_eq!(end(high)[1], end(low)[1]);
        }
    }
}
