//! Confidence intervals of a share.

use statrs::function::beta::beta_reg;

use super::verdict::Measured;

/// Each side of the interval is beyond the truth with a probability of at most this.
const TAIL: f64 = 0.025;

/// Far below any digit that is shown, as a part of the value or of what it lacks to 1.
const PRECISION: f64 = 1e-6;

/// It takes less than ten.
const STEPS_MAX: u32 = 100;

impl Measured {
    /// `bad` of `all` with the interval of Clopper and Pearson (1934), 95 %: the ends are quantiles of
    /// Beta(k, n-k+1) and Beta(k+1, n-k). `None` of nothing. Some ten microseconds: not for every tick.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // counts stay far below 2^52
    pub fn new(bad: u64, all: u64) -> Option<Self> {
        if all == 0 {
            return None;
        }
        let bad = bad.min(all);
        let (k, n) = (bad as f64, all as f64);
        Some(Self {
            bad,
            all,
            share: k / n,
            low: if bad == 0 {
                0.0
            } else {
                beta_quantile(k, n - k + 1.0, TAIL)
            },
            high: if bad == all {
                1.0
            } else {
                beta_quantile(k + 1.0, n - k, 1.0 - TAIL)
            },
        })
    }
}

/// Where the distribution function of Beta(a, b) reaches `p`, by false position with halved weights
/// (Illinois, Dowell and Jarratt 1971): it rises, and each value of it is dear.
fn beta_quantile(a: f64, b: f64, p: f64) -> f64 {
    let off = |x: f64| beta_reg(a, b, x) - p;
    let (mut low, mut high) = bracket(a, b);
    let (mut at_low, mut at_high) = (off(low), off(high));
    if at_low > 0.0 || at_high < 0.0 {
        (low, high) = (0.0, 1.0);
        (at_low, at_high) = (-p, 1.0 - p);
    }
    let mut last_was_low = None;
    for _ in 0..STEPS_MAX {
        if high - low <= PRECISION * high.min(1.0 - low) {
            break;
        }
        let inside = (low * at_high - high * at_low) / (at_high - at_low);
        let x = if inside > low && inside < high {
            inside
        } else {
            f64::midpoint(low, high)
        };
        let found = off(x);
        if found.abs() <= PRECISION * p {
            return x;
        }
        if found < 0.0 {
            (low, at_low) = (x, found);
            at_high = if last_was_low == Some(true) {
                at_high / 2.0
            } else {
                at_high
            };
        } else {
            (high, at_high) = (x, found);
            at_low = if last_was_low == Some(false) {
                at_low / 2.0
            } else {
                at_low
            };
        }
        last_was_low = Some(found < 0.0);
    }
    f64::midpoint(low, high)
}

/// Four standard deviations around the mean of Beta(a, b): the quantiles that we want are mostly inside.
fn bracket(a: f64, b: f64) -> (f64, f64) {
    let (sum, mean) = (a + b, a / (a + b));
    let spread = 4.0 * (mean * (1.0 - mean) / (sum + 1.0)).sqrt();
    ((mean - spread).max(0.0), (mean + spread).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_interval_has_known_ends() {
        let check = |bad, all, low: f64, high: f64| {
            let found = Measured::new(bad, all).unwrap();
            assert!(
                (found.low - low).abs() < 1e-4 && (found.high - high).abs() < 1e-4,
                "{found:?}"
            );
        };
        check(74, 913, 0.0642, 0.1007);
        // Exact: 1 - 0.025^(1/n) for none of n.
        check(0, 10, 0.0, 0.3085);
        check(10, 10, 0.6915, 1.0);
        check(1, 2, 0.0126, 0.9874);
        check(5, 100, 0.0164, 0.1128);
        assert_eq!(Measured::new(0, 0), None);
    }

    proptest! {
        #[test]
        fn the_ends_are_where_the_tails_begin(all in 1u64..100_000, part in 0.0..=1.0f64) {
            let bad = (all as f64 * part) as u64;
            let found = Measured::new(bad, all).unwrap();
            let (k, n) = (bad as f64, all as f64);
            prop_assert!(found.low <= found.share && found.share <= found.high);
            if bad > 0 {
                prop_assert!((beta_reg(k, n - k + 1.0, found.low) - TAIL).abs() < 1e-4, "{found:?}");
            }
            if bad < all {
                prop_assert!((beta_reg(k + 1.0, n - k, found.high) - 1.0 + TAIL).abs() < 1e-4, "{found:?}");
            }
        }
    }

    #[test]
    fn large_counts_have_narrow_intervals() {
        let found = Measured::new(500_000, 10_000_000).unwrap();
        assert!(found.low > 0.0498 && found.high < 0.0502, "{found:?}");
    }
}
