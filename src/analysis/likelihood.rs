//! Log likelihood ratios of what one tick shows, against the border of "healthy".
//!
//! The sums `Σ π exp ℓ` that are made of them are test supermartingales (Ville 1939): where the null
//! hypothesis holds their expectation is at most 1, whatever was seen before.

use std::ops::AddAssign;

/// What one tick, or any sum of ticks, shows of one metric.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Tally {
    /// The canary's requests dispatched, `D_c`.
    pub dispatched: u64,
    /// The canary's requests with evidence, `n_c`.
    pub canary: u64,
    /// Bad ones among them, `k_c`.
    pub canary_bad: u64,
    /// Stable's requests with evidence, `n_s`.
    pub stable: u64,
    /// Bad ones among them, `k_s`.
    pub stable_bad: u64,
}

/// A likelihood ratio test of a rate against a fixed limit, for some alternatives.
///
/// `ℓ = k ln(q/p0) + (n-k) ln((1-q)/(1-p0))` (Wald 1945), linear in the counts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Absolute<const J: usize> {
    /// `ln(q/p0)`, for each alternative.
    bad: [f64; J],
    /// `ln((1-q)/(1-p0))`.
    good: [f64; J],
}

/// A likelihood ratio test of the canary's rate against `ratio × stable's rate + margin`, whatever
/// stable's rate is: "given a bad one, whose was it?" (Lindon and Malek 2022, Turner, Ly and Grünwald
/// 2024). With `θ = r s/(r s + 1 - s)` and `Z = 1 + θ(ρ - 1)`
///
/// `ℓ = k_c ln ρ - (k_c + k_s) ln Z - δ (ρ/Z - 1) D_c`
///
/// The last term pays for the margin: `E[a^k_c b^k_s] ≤ exp(D_c p_c (a-1) + D_s p_s (b-1))` with
/// `a = ρ/Z`, `b = 1/Z`, and at `p_c = r p_s + δ` the exponent is `δ(a-1)D_c`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Relative<const J: usize> {
    ratio: f64,
    margin: f64,
    rho: [f64; J],
    ln_rho: [f64; J],
}

/// Multiples of the limit's odds that stand for "above the limit", with their prior.
pub(super) const WORSE_ODDS: [(f64, f64); 6] = [
    (1.2, 0.10),
    (1.6, 0.25),
    (2.5, 0.25),
    (5.0, 0.20),
    (20.0, 0.10),
    (400.0, 0.10),
];

/// Multiples of the rate that stable explains which stand for "worse than stable", with their prior.
pub(super) const WORSE_RATIOS: [(f64, f64); 5] = [(1.3, 0.15), (2.0, 0.25), (4.0, 0.25), (10.0, 0.20), (100.0, 0.15)];

/// Multiples of the limit that stand for "below the limit"; each has a prior of 1/4.
pub(super) const BETTER: [f64; 4] = [0.0, 0.1, 0.3, 0.6];

impl AddAssign<&Tally> for Tally {
    fn add_assign(&mut self, other: &Self) {
        self.dispatched += other.dispatched;
        self.canary += other.canary;
        self.canary_bad += other.canary_bad;
        self.stable += other.stable;
        self.stable_bad += other.stable_bad;
    }
}

impl<const J: usize> Absolute<J> {
    fn of(limit: f64, rates: [f64; J]) -> Self {
        Self {
            bad: rates.map(|q| (q / limit).ln()),
            good: rates.map(|q| ((1.0 - q) / (1.0 - limit)).ln()),
        }
    }

    /// The logarithm of the ratio of each alternative.
    #[allow(clippy::cast_precision_loss)] // counts stay far below 2^52
    pub(super) fn of_counts(&self, all: u64, bad: u64) -> [f64; J] {
        let (good, bad) = (all.saturating_sub(bad) as f64, bad as f64);
        std::array::from_fn(|j| times(bad, self.bad[j]) + good * self.good[j])
    }

    /// What one good request adds to each.
    pub(super) const fn of_one_good(&self) -> &[f64; J] {
        &self.good
    }
}

impl Absolute<6> {
    /// Against "the rate is at most `limit`", above 0 and below 1: the odds of the alternatives are
    /// [`WORSE_ODDS`] times those of the limit.
    pub(super) fn worse_than(limit: f64) -> Self {
        Self::of(
            limit,
            WORSE_ODDS.map(|(m, _)| {
                let odds = m * limit / (1.0 - limit);
                odds / (1.0 + odds)
            }),
        )
    }
}

impl Absolute<4> {
    /// Against "the rate is at least `limit`": the alternatives are [`BETTER`] times the limit.
    pub(super) fn better_than(limit: f64) -> Self {
        Self::of(limit, BETTER.map(|part| part * limit))
    }
}

impl<const J: usize> Relative<J> {
    fn of(ratio: f64, margin: f64, rho: [f64; J]) -> Self {
        Self {
            ratio,
            margin,
            rho,
            ln_rho: rho.map(f64::ln),
        }
    }

    /// The logarithm of the ratio of each alternative, where the canary gets `share` (0 to 1) of the
    /// requests. All zero without dispatched or bad ones.
    #[allow(clippy::cast_precision_loss)] // counts stay far below 2^52
    pub(super) fn of_tally(&self, share: f64, tally: &Tally) -> [f64; J] {
        if tally.dispatched == 0 && tally.canary_bad == 0 && tally.stable_bad == 0 {
            return [0.0; J];
        }
        let theta = self.ratio * share / (self.ratio * share + 1.0 - share);
        let canary = tally.canary_bad as f64;
        let both = canary + tally.stable_bad as f64;
        let paid = self.margin * tally.dispatched as f64;
        std::array::from_fn(|j| {
            let z = 1.0 + theta * (self.rho[j] - 1.0);
            let margin = if paid > 0.0 {
                paid * (self.rho[j] / z - 1.0)
            } else {
                0.0
            };
            let found = times(canary, self.ln_rho[j]) - times(both, z.ln()) - margin;
            // Everything is the canary's, and the alternative says that nothing is: no evidence.
            if found < f64::INFINITY { found } else { 0.0 }
        })
    }
}

impl Relative<5> {
    /// Against "at most `ratio` times stable's rate plus `margin`".
    pub(super) fn worse_than(ratio: f64, margin: f64) -> Self {
        Self::of(ratio, margin, WORSE_RATIOS.map(|(rho, _)| rho))
    }
}

impl Relative<4> {
    /// Against "at least `ratio` times stable's rate plus `margin`".
    pub(super) fn better_than(ratio: f64, margin: f64) -> Self {
        Self::of(ratio, margin, BETTER)
    }
}

/// `n × ln x`, where no events of any probability, also 0, are no evidence.
fn times(n: f64, ln: f64) -> f64 {
    if n == 0.0 { 0.0 } else { n * ln }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use statrs::distribution::{Binomial, Discrete};

    fn mixture<const J: usize>(found: [f64; J], prior: impl Fn(usize) -> f64, tempering: f64) -> f64 {
        let terms = found.iter().enumerate();
        terms.map(|(j, l)| prior(j) * (tempering * l).exp()).sum()
    }

    /// `ln Σ π exp(η ℓ)`; large counts need the largest term taken out first.
    fn ln_worse(limit: f64, (n, k): (u64, u64), tempering: f64) -> f64 {
        let found = Absolute::worse_than(limit).of_counts(n, k).map(|l| tempering * l);
        let top = found.iter().copied().fold(f64::MIN, f64::max);
        top + mixture(found.map(|l| l - top), |j| WORSE_ODDS[j].1, 1.0).ln()
    }

    fn check(found: f64, expected: f64) {
        let error = (found - expected).abs();
        assert!(
            error <= 1e-6 * expected.abs().max(1.0) && error < 1e-5,
            "{found} is not {expected}"
        );
    }

    fn close(found: f64, expected: f64) {
        assert!(
            (found - expected).abs() <= 1e-6 * expected.abs(),
            "{found} is not {expected}"
        );
    }

    #[test]
    fn the_alternatives_have_multiples_of_the_limits_odds() {
        let test = Absolute::worse_than(0.05);
        let expected = [0.059_406, 0.077_670, 0.116_279, 0.208_333, 0.512_821, 0.954_654];
        for (ln, expected) in test.bad.iter().zip(expected) {
            assert!((0.05 * ln.exp() - expected).abs() < 1e-6);
        }
    }

    #[test]
    fn the_absolute_mixture_has_the_worked_values() {
        let check = |counts, expected| check(ln_worse(0.05, counts, 1.0), expected);
        check((0, 0), 0.0);
        check((1, 1), 1.580_388);
        check((3, 1), 0.608_901);
        check((3, 3), 6.712_516);
        check((4, 4), 9.579_500);
        check((20, 1), -0.707_173);
        check((20, 5), 3.186_833);
        check((100, 8), -0.005_593);
        check((1000, 50), -3.123_468);
        check((1000, 80), 6.669_223);
        check((2000, 160), 14.697_123);
        close(ln_worse(0.05, (10_000_000, 500_000), 1.0), -8_344.832_720);
    }

    #[test]
    fn the_absolute_mixture_has_the_worked_values_at_a_low_limit() {
        let check = |counts, expected| check(ln_worse(0.001, counts, 1.0), expected);
        check((1, 1), 3.487_203);
        check((2, 2), 9.014_418);
        check((1000, 3), 0.711_827);
        check((1000, 6), 4.302_964);
    }

    #[test]
    fn a_tempered_ratio_is_tempered_before_it_is_mixed() {
        check(ln_worse(0.05, (100, 15), 1.0), 5.551_437);
        check(ln_worse(0.05, (100, 15), 1.0 / 3.0), 1.564_947);
    }

    fn tally(dispatched: u64, canary_bad: u64, stable_bad: u64) -> Tally {
        Tally {
            dispatched,
            canary_bad,
            stable_bad,
            ..Tally::default()
        }
    }

    fn relative(ratio: f64, margin: f64, epochs: &[(f64, Tally)]) -> f64 {
        let test = Relative::<5>::worse_than(ratio, margin);
        let mut sum = [0.0; 5];
        for (share, tally) in epochs {
            let found = test.of_tally(*share, tally);
            sum = std::array::from_fn(|j| sum[j] + found[j]);
        }
        mixture(sum, |j| WORSE_RATIOS[j].1, 1.0).ln()
    }

    #[test]
    fn the_relative_mixture_has_the_worked_values() {
        let usual = |share, counts| relative(1.5, 0.005, &[(share, counts)]);
        check(usual(0.1, tally(100, 8, 4)), 5.649_909);
        check(relative(1.0, 0.0, &[(0.1, tally(100, 8, 4))]), 9.239_317);
        check(usual(0.1, tally(100, 1, 4)), -0.940_899);
        check(usual(0.5, tally(1000, 300, 300)), -23.004_978);
        check(usual(1.0, tally(100, 50, 0)), 0.0);
        check(usual(0.1, tally(0, 0, 5)), -1.220_577);
    }

    #[test]
    fn each_epoch_has_a_share_of_its_own() {
        let epochs = [(0.1, tally(1000, 1, 9)), (0.5, tally(1000, 50, 50))];
        check(relative(1.0, 0.0, &epochs), -2.779_685);
        check(relative(1.0, 0.0, &[(2.0 / 11.0, tally(2000, 51, 59))]), 21.432_636);
    }

    #[test]
    fn promotion_has_the_worked_values() {
        let ln = |limit, (n, k)| mixture(Absolute::better_than(limit).of_counts(n, k), |_| 0.25, 1.0).ln();
        check(ln(0.05, (70, 0)), 2.978_879);
        check(ln(0.05, (71, 0)), 3.024_495);
        check(ln(0.05, (130, 1)), 2.994_430);
        check(ln(0.05, (131, 1)), 3.033_900);
        check(ln(0.05, (1000, 30)), 3.500_712);
        check(ln(0.05, (1000, 50)), -7.135_193);
        check(ln(0.01, (360, 0)), 2.997_840);
        let first = |k| (1..).find(|&n| ln(0.05, (n, k)) >= 20f64.ln());
        assert_eq!([0, 1, 2, 3].map(first), [Some(71), Some(131), Some(172), Some(211)]);
        let beside = |dispatched, canary_bad, stable_bad| {
            let test = Relative::<4>::better_than(1.5, 0.005);
            mixture(
                test.of_tally(0.1, &tally(dispatched, canary_bad, stable_bad)),
                |_| 0.25,
                1.0,
            )
            .ln()
        };
        check(beside(500, 0, 22), 5.032_919);
        check(beside(1000, 5, 45), 1.754_017);
        check(beside(1000, 13, 45), -2.787_881);
    }

    fn binomial(n: u64, p: f64) -> impl Fn(u64) -> f64 {
        let law = Binomial::new(p, n).unwrap();
        move |k| law.pmf(k)
    }

    proptest! {
        #[test]
        fn the_expectation_under_the_limit_is_at_most_one(n in 0u64..60, limit in 0.001..0.5f64, part in 0.0..=1.0f64) {
            let expectation = |p| {
                let law = binomial(n, p);
                (0..=n).map(|k| law(k) * ln_worse(limit, (n, k), 1.0).exp()).sum::<f64>()
            };
            prop_assert!((expectation(limit) - 1.0).abs() < 1e-9);
            prop_assert!(expectation(limit * part) <= 1.0 + 1e-9);
        }

        #[test]
        fn the_expectation_beside_stable_is_at_most_one(
            canary in 0u64..25,
            stable in 0u64..25,
            stable_rate in 0.0..0.6f64,
            ratio in 1.0..2.0f64,
            margin in 0.0..0.05f64,
        ) {
            let share = if canary + stable == 0 { 0.5 } else { canary as f64 / (canary + stable) as f64 };
            let canary_rate = ratio * stable_rate + margin;
            prop_assume!(canary_rate <= 1.0);
            let (of_canary, of_stable) = (binomial(canary, canary_rate), binomial(stable, stable_rate));
            let mut expectation = 0.0;
            for kc in 0..=canary {
                for ks in 0..=stable {
                    let value = relative(ratio, margin, &[(share, tally(canary, kc, ks))]).exp();
                    expectation += of_canary(kc) * of_stable(ks) * value;
                }
            }
            prop_assert!(expectation <= 1.0 + 1e-9, "{}", expectation);
        }

        #[test]
        fn counts_of_two_replicas_may_be_added_before_or_after(
            a in (0u64..1000, 0u64..1000, 0u64..100, 0u64..100),
            b in (0u64..1000, 0u64..1000, 0u64..100, 0u64..100),
            share in 0.01..0.99f64,
        ) {
            let of = |(dispatched, all, canary_bad, stable_bad): (u64, u64, u64, u64)| Tally {
                dispatched, canary: all + canary_bad, canary_bad, stable: 0, stable_bad,
            };
            let (one, two) = (of(a), of(b));
            let sum = Tally {
                dispatched: one.dispatched + two.dispatched,
                canary: one.canary + two.canary,
                canary_bad: one.canary_bad + two.canary_bad,
                stable: 0,
                stable_bad: one.stable_bad + two.stable_bad,
            };
            let beside = Relative::<5>::worse_than(1.5, 0.005);
            let limit = Absolute::worse_than(0.05);
            let same = |one: f64, two: f64, sum: f64| (one + two - sum).abs() <= 1e-9 * (one.abs() + two.abs() + 1.0);
            for j in 0..5 {
                let of = |tally| beside.of_tally(share, tally)[j];
                prop_assert!(same(of(&one), of(&two), of(&sum)));
                let of = |tally: &Tally| limit.of_counts(tally.canary, tally.canary_bad)[j];
                prop_assert!(same(of(&one), of(&two), of(&sum)));
            }
        }
    }
}
