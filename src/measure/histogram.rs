//! Log-linear latency buckets: atomic with one writer, of fixed size, with a stated error bound.
//!
//! Each power of two is divided into 32 buckets of equal width, so a bucket is never wider than
//! 1/32 of the values in it: what is said of a value from its bucket is off by at most 3.125 %.
//! Values below 64 us have buckets of their own. Values from 2^36 us (19 hours) on count in the
//! last bucket, as 2^36 - 1 us.

use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering};

/// Buckets in a power of two, as a power of two.
const SUB_BITS: u32 = 5;
/// Values from `2^MAX_BITS` us on count in the last bucket.
const MAX_BITS: u32 = 36;
/// One block of buckets for the values below `2^SUB_BITS`, and one for each power of two above.
const BUCKETS: usize = ((MAX_BITS - SUB_BITS + 1) << SUB_BITS) as usize;

/// Latencies in microseconds as plain counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// `BUCKETS` counts, or none at all while everything is 0.
    buckets: Vec<u64>,
    sum_us: u64,
}

/// Latencies in microseconds, written by one worker and read by anyone. 8 KiB.
#[derive(Debug)]
pub struct LatencyHistogram {
    buckets: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self {
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
            sum_us: AtomicU64::new(0),
        }
    }
}

impl LatencyHistogram {
    /// Counts one latency. One writer only: two relaxed loads and stores.
    pub fn record(&self, latency_us: u64) {
        let bucket = &self.buckets[bucket_of(latency_us)];
        bucket.store(bucket.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        let sum = self.sum_us.load(Ordering::Relaxed).wrapping_add(latency_us);
        self.sum_us.store(sum, Ordering::Relaxed);
    }

    /// Adds all that was recorded to `sum`. A value that is recorded meanwhile may be in the sum
    /// of values and not yet in its bucket, or the other way round.
    pub fn add_to(&self, sum: &mut Histogram) {
        // While nothing was recorded, `sum` is left without buckets if it has none.
        if self.buckets.iter().any(|from| from.load(Ordering::Relaxed) > 0) {
            for (into, from) in sum.buckets_mut().iter_mut().zip(&self.buckets) {
                *into += from.load(Ordering::Relaxed);
            }
        }
        sum.sum_us = sum.sum_us.wrapping_add(self.sum_us.load(Ordering::Relaxed));
    }
}

impl Histogram {
    /// Counts one latency.
    pub fn record(&mut self, latency_us: u64) {
        self.buckets_mut()[bucket_of(latency_us)] += 1;
        self.sum_us = self.sum_us.wrapping_add(latency_us);
    }

    /// The quantile `q` (0 to 1) in microseconds by nearest rank: the upper end of the bucket that
    /// holds the value of rank `ceil(q × count)`. Never below the exact quantile, and above it by
    /// at most 3.125 % (values from 2^36 us on: as 2^36 - 1). `None` when empty.
    #[must_use]
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )]
    // counts stay far below 2^52, and the product is not negative
    pub fn quantile_us(&self, q: f64) -> Option<u64> {
        let rank = ((self.count() as f64 * q).ceil() as u64).max(1);
        let mut seen = 0;
        let index = self.buckets.iter().position(|n| {
            seen += n;
            seen >= rank
        })?;
        Some(last_value_of(index))
    }

    /// What was recorded since `earlier`, which holds a part of this.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut rest = self.clone();
        for (n, before) in rest.buckets.iter_mut().zip(&earlier.buckets) {
            *n = n.saturating_sub(*before);
        }
        rest.sum_us = rest.sum_us.wrapping_sub(earlier.sum_us);
        if rest.count() == 0 { Self::default() } else { rest }
    }

    /// Number of values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Exact sum of all values in microseconds, also of those beyond the last bucket.
    #[must_use]
    pub const fn sum_us(&self) -> u64 {
        self.sum_us
    }

    /// Number of values at most `bound_us`. A bucket that straddles the bound counts as above it,
    /// so the answer is exact for some bound at most 3.125 % lower. It grows with `bound_us`.
    #[must_use]
    pub fn count_at_most(&self, bound_us: u64) -> u64 {
        let below = bucket_of(bound_us.saturating_add(1));
        let below = if bound_us >= last_value_of(BUCKETS - 1) {
            BUCKETS
        } else {
            below
        };
        self.buckets.iter().take(below).sum()
    }

    fn buckets_mut(&mut self) -> &mut [u64] {
        self.buckets.resize(BUCKETS, 0);
        &mut self.buckets
    }
}

impl AddAssign<&Self> for Histogram {
    fn add_assign(&mut self, other: &Self) {
        if !other.buckets.is_empty() {
            for (into, n) in self.buckets_mut().iter_mut().zip(&other.buckets) {
                *into += n;
            }
        }
        self.sum_us = self.sum_us.wrapping_add(other.sum_us);
    }
}

/// Index of the bucket of `value`.
#[allow(clippy::cast_possible_truncation)] // below BUCKETS
fn bucket_of(value: u64) -> usize {
    let value = value.min((1 << MAX_BITS) - 1);
    // Below 2^SUB_BITS: block 0, width 1. From there on the highest bit is the block, and the
    // SUB_BITS below it the bucket in the block.
    let block = (u64::BITS - (value >> SUB_BITS).leading_zeros()) as usize;
    let width_bits = block.saturating_sub(1);
    let in_block = (value >> width_bits) as usize & ((1 << SUB_BITS) - 1);
    (block << SUB_BITS) + in_block
}

/// The largest value in bucket `index`.
const fn last_value_of(index: usize) -> u64 {
    let (block, in_block) = (index >> SUB_BITS, index as u64 & ((1 << SUB_BITS) - 1));
    match block {
        0 => in_block,
        _ => (((1 << SUB_BITS) + in_block + 1) << (block - 1)) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        values.iter().for_each(|&value| histogram.record(value));
        histogram
    }

    fn exact_quantile(values: &[u64], q: f64) -> u64 {
        let mut sorted = values.to_vec();
        sorted.sort_unstable();
        let rank = ((values.len() as f64 * q).ceil() as usize).max(1);
        sorted[rank - 1]
    }

    #[test]
    fn buckets_lie_side_by_side_and_none_is_wider_than_a_32nd_of_its_values() {
        assert_eq!(BUCKETS, 1024);
        let mut first = 0;
        for index in 0..BUCKETS {
            let last = last_value_of(index);
            assert_eq!((bucket_of(first), bucket_of(last)), (index, index));
            assert!((last - first) * 32 <= first, "{first} to {last}");
            first = last + 1;
        }
        assert_eq!(first, 1 << 36);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn nothing_has_no_quantile() {
        let empty = Histogram::default();
        assert_eq!(
            (
                empty.quantile_us(0.5),
                empty.count(),
                empty.sum_us(),
                empty.count_at_most(u64::MAX)
            ),
            (None, 0, 0, 0)
        );
    }

    #[test]
    fn a_quantile_is_the_value_of_its_rank() {
        let check = |values: &[u64], q, expected| assert_eq!(of(values).quantile_us(q), Some(expected));
        check(&[7], 0.0, 7);
        check(&[7], 1.0, 7);
        check(&[1, 2, 3, 4], 0.5, 2);
        check(&[1, 2, 3, 4], 0.51, 3);
        check(&[0, 63], 0.99, 63);
        check(&[1000], 0.95, 1007);
        check(&[u64::MAX], 0.95, (1 << 36) - 1);
    }

    #[test]
    fn a_bucket_that_straddles_a_bound_counts_as_above_it() {
        let histogram = of(&[10, 50, 992, 1000, 1007, 1 << 40]);
        let check = |bound, expected| assert_eq!(histogram.count_at_most(bound), expected, "{bound}");
        check(9, 0);
        check(10, 1);
        check(991, 2);
        check(1000, 2);
        check(1006, 2);
        check(1007, 5);
        check(1 << 35, 5);
        check(u64::MAX, 6);
    }

    #[test]
    fn bounds_of_the_metrics_page_move_by_at_most_a_32nd() {
        for bound_us in [
            5_000, 10_000, 25_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 10_000_000,
        ] {
            let exact_for = (1..=bound_us).rev().find(|&v| of(&[v]).count_at_most(bound_us) == 1);
            let exact_for = exact_for.expect("small values are below every bound");
            assert!((bound_us - exact_for) * 32 <= bound_us, "{bound_us}: {exact_for}");
        }
    }

    #[test]
    fn a_sum_of_nothing_has_no_buckets() {
        let mut sum = Histogram::default();
        LatencyHistogram::default().add_to(&mut sum);
        assert_eq!(sum, Histogram::default());
    }

    proptest! {
        #[test]
        fn a_quantile_is_at_most_a_32nd_above_the_exact_one(
            values in prop::collection::vec(0u64..1 << 36, 1..200),
            scale in 0u32..36,
            q in 0.0..=1.0f64,
        ) {
            let values: Vec<u64> = values.into_iter().map(|value| value >> scale).collect();
            let (found, exact) = (of(&values).quantile_us(q).unwrap(), exact_quantile(&values, q));
            prop_assert!(found >= exact && (found - exact) * 32 <= exact, "{found} for {exact}");
        }

        #[test]
        fn merging_equals_recording_into_one(
            a in prop::collection::vec(any::<u64>().prop_map(|v| v >> 20), 0..50),
            b in prop::collection::vec(any::<u64>().prop_map(|v| v >> 20), 0..50),
        ) {
            let mut merged = of(&a);
            merged += &of(&b);
            let both = of(&[a.clone(), b.clone()].concat());
            prop_assert_eq!(&merged, &both);
            prop_assert_eq!(merged.since(&of(&a)), of(&b));

            let atomic = LatencyHistogram::default();
            a.iter().for_each(|&value| atomic.record(value));
            let mut read = of(&b);
            atomic.add_to(&mut read);
            prop_assert_eq!(read, both);
        }

        #[test]
        fn sum_and_count_are_exact(values in prop::collection::vec(0u64..1 << 40, 0..50)) {
            let histogram = of(&values);
            prop_assert_eq!(histogram.sum_us(), values.iter().sum::<u64>());
            prop_assert_eq!(histogram.count(), values.len() as u64);
        }
    }
}
