//! Shares side by side in file order; a draw falls into exactly one.

use smallvec::SmallVec;

use crate::share::MILLION;

/// The ranges that a route's variants own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// In the route itself for up to four variants: one line of cache less to wait for.
    ends: SmallVec<[u32; 4]>,
}

impl Split {
    /// From the exclusive upper ends of the ranges, rising, the last a million ([`crate::share::bounds`]).
    #[must_use]
    pub fn new(ends: Vec<u32>) -> Self {
        debug_assert!(ends.is_sorted() && ends.last() == Some(&MILLION));
        Self { ends: ends.into() }
    }

    /// The variant that owns `bucket`, below a million.
    #[must_use]
    pub fn variant_of(&self, bucket: u32) -> usize {
        debug_assert!(bucket < MILLION);
        // Counting has no branch that depends on the draw, unlike a search.
        self.ends.iter().filter(|&&end| end <= bucket).count()
    }

    /// Whether one variant owns everything.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        // In rising order, so all that come before the owner are 0.
        self.ends.iter().all(|&end| end == 0 || end == MILLION)
    }

    /// What `variant` owns, in parts per million.
    #[must_use]
    pub fn share_ppm(&self, variant: usize) -> u32 {
        self.ends[variant] - variant.checked_sub(1).map_or(0, |before| self.ends[before])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Split;
    use crate::share::{MILLION, bounds, divide_pair};

    fn check(weights: &[u32], bucket: u32, expected: usize) {
        let split = Split::new(bounds(weights).unwrap());
        assert_eq!(split.variant_of(bucket), expected, "{bucket} of {weights:?}");
    }

    #[test]
    fn ranges_lie_side_by_side_in_file_order() {
        check(&[90, 10], 0, 0);
        check(&[90, 10], 899_999, 0);
        check(&[90, 10], 900_000, 1);
        check(&[90, 10], 999_999, 1);
        check(&[1, 1, 1], 333_333, 1);
        check(&[1, 1, 1], 666_666, 2);
    }

    #[test]
    fn weight_zero_gets_nothing() {
        check(&[0, 1], 0, 1);
        check(&[1, 0], 999_999, 0);
        check(&[1, 0, 1], 499_999, 0);
        check(&[1, 0, 1], 500_000, 2);
    }

    #[test]
    fn the_split_is_exact_to_one_part_per_million() {
        let weights = [7, 0, 1, 3];
        let split = Split::new(bounds(&weights).unwrap());
        let mut owned = [0u32; 4];
        (0..MILLION).for_each(|bucket| owned[split.variant_of(bucket)] += 1);
        for (variant, &owned) in owned.iter().enumerate() {
            assert_eq!(owned, split.share_ppm(variant));
            assert!((f64::from(owned) - f64::from(weights[variant]) / 11.0 * 1e6).abs() <= 1.0);
        }
    }

    proptest! {
        #[test]
        fn every_bucket_has_an_owner_with_weight(
            weights in prop::collection::vec(0u32..=3, 1..8),
            bucket in 0..MILLION,
        ) {
            if let Some(ends) = bounds(&weights) {
                prop_assert!(weights[Split::new(ends).variant_of(bucket)] > 0);
            }
        }

        #[test]
        fn raising_the_canary_moves_no_client_back(a in 0..=MILLION, b in 0..=MILLION, bucket in 0..MILLION) {
            let variant = |ppm| Split::new(bounds(&divide_pair(&[5, 90, 0], 1, 2, ppm).unwrap()).unwrap()).variant_of(bucket);
            let (before, after) = (variant(a.min(b)), variant(a.max(b)));
            prop_assert!(before == after || (before, after) == (1, 2));
        }
    }
}
