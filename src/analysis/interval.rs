//! Confidence intervals of a share.

use statrs::function::beta::beta_reg;

use super::verdict::Measured;

/// Each side of the interval is beyond the truth with a probability of at most this.
const TAIL: f64 = 0.025;

/// Halvings of [0, 1]: far below any digit that is shown.
const HALVINGS: u32 = 50;

impl Measured {
    /// `bad` of `all` with the interval of Clopper and Pearson (1934), 95 %: the ends are quantiles of
    /// Beta(k, n-k+1) and Beta(k+1, n-k). `None` of nothing. Some 100 µs: not for every tick.
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

/// Where the distribution function of Beta(a, b) reaches `p`, by bisection: it rises.
fn beta_quantile(a: f64, b: f64, p: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if beta_reg(a, b, middle) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn large_counts_have_narrow_intervals() {
        let found = Measured::new(500_000, 10_000_000).unwrap();
        assert!(found.low > 0.0498 && found.high < 0.0502, "{found:?}");
    }
}
