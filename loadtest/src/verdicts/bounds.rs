//! What no rule can beat, and how sure a simulated share is. Pure.

use statrs::distribution::{Beta, ContinuousCDF};

use super::chance::Chance;

/// Wald's bound (1945) on the mean number of bad requests until a sequential test tells a share of `p1` from `p0`, with
/// error probabilities `alpha` and `beta`: the expected evidence, over the evidence in a request, times `p1`.
pub(super) fn wald(p0: f64, p1: f64, alpha: f64, beta: f64) -> f64 {
    let evidence = (1.0 - beta) * ((1.0 - beta) / alpha).ln() + beta * (beta / (1.0 - alpha)).ln();
    evidence * p1 / divergence(p1, p0)
}

/// Kullback and Leibler's divergence (1951) of a share `p` from a share `q`.
fn divergence(p: f64, q: f64) -> f64 {
    let term = |p: f64, q: f64| if p > 0.0 { p * (p / q).ln() } else { 0.0 };
    term(p, q) + term(1.0 - p, 1.0 - q)
}

/// Upper end of the one-sided 95 % interval of a share, `hits` of `trials` (Clopper and Pearson 1934). With no hit it is
/// nearly 3 / trials.
pub(super) fn upper_bound(hits: u64, trials: u64) -> f64 {
    if hits >= trials {
        return 1.0;
    }
    let beta = Beta::new(hits as f64 + 1.0, (trials - hits) as f64).expect("both shapes are at least 1");
    beta.inverse_cdf(0.95)
}

/// Page's cumulative sum (1954) for a known share `p1` against the border `p0`: for a change at an unknown moment no
/// detector is better in the worst case (Lorden 1971, Moustakides 1986).
#[derive(Clone, Copy, Debug)]
pub(super) struct Cusum {
    failure: f64,
    success: f64,
    level: f64,
    sum: f64,
}

impl Cusum {
    /// With the alarm at `level`.
    pub(super) fn new(p0: f64, p1: f64, level: f64) -> Self {
        Self {
            failure: (p1 / p0).ln(),
            success: ((1.0 - p1) / (1.0 - p0)).ln(),
            level,
            sum: 0.0,
        }
    }

    /// Takes in a tick; `true`: alarm.
    pub(super) fn observe(&mut self, good: u64, bad: u64) -> bool {
        self.sum = (self.sum + bad as f64 * self.failure + good as f64 * self.success).max(0.0);
        self.sum >= self.level
    }

    /// The same with the level at which a share of `alpha` of `replicates` runs of `ticks` ticks with `mean` requests
    /// each, bad with probability `p0`, raise a false alarm.
    pub(super) fn calibrated(p0: f64, p1: f64, alpha: f64, runs: &Runs, seed: u64) -> Self {
        let highest = |replicate| {
            let mut chance = Chance::new(seed, "cusum", replicate);
            let mut cusum = Self::new(p0, p1, f64::INFINITY);
            (0..runs.ticks).fold(0.0_f64, |highest, _| {
                cusum.observe(chance.poisson(runs.mean * (1.0 - p0)), chance.poisson(runs.mean * p0));
                highest.max(cusum.sum)
            })
        };
        let mut found: Vec<f64> = (0..runs.replicates).map(highest).collect();
        found.sort_by(f64::total_cmp);
        let alarms = (alpha * runs.replicates as f64) as usize;
        let level = found[found.len() - 1 - alarms.min(found.len() - 1)];
        Self::new(p0, p1, level)
    }
}

/// How [`Cusum::calibrated`] is simulated.
pub(super) struct Runs {
    pub(super) replicates: u64,
    pub(super) ticks: u64,
    pub(super) mean: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walds_bound_is_that_of_the_figures() {
        let check = |p1, expected: f64| {
            let found = wald(0.05, p1, 0.001, 0.001);
            assert!((found - expected).abs() < 0.05, "{p1}: {found}");
        };
        check(0.08, 68.3);
        check(0.15, 14.7);
    }

    #[test]
    fn the_upper_bound_of_no_hit_is_the_rule_of_three() {
        let check = |hits, trials, expected: f64| {
            let found = upper_bound(hits, trials);
            assert!((found - expected).abs() < 1e-5, "{hits} of {trials}: {found}");
        };
        // 1 - 0.05^(1/n).
        check(0, 20_000, 0.000_149_8);
        check(0, 10, 0.258_866);
        // The 95 % point of Beta(2, 19), by the binomial sum: 20 q (1-q)^19 + (1-q)^20 = 0.05.
        check(1, 20, 0.216_106);
        check(10, 10, 1.0);
    }

    #[test]
    fn a_calibrated_sum_rarely_cries_wolf_and_soon_finds_a_change() {
        let runs = Runs {
            replicates: 400,
            ticks: 300,
            mean: 10.0,
        };
        let cusum = Cusum::calibrated(0.05, 0.2, 0.01, &runs, 1);
        let mut chance = Chance::new(2, "cusum", 0);
        let mut changed = cusum;
        let ticks = (0..300).take_while(|_| !changed.observe(chance.poisson(8.0), chance.poisson(2.0)));
        assert!(ticks.count() < 30);
        assert!((4.0..9.0).contains(&cusum.level), "{}", cusum.level);
    }
}
