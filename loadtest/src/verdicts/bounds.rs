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

/// A detector that is told the share before and after a change, and not the moment: none can do better than such ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct Informed {
    /// Evidence of one failure, and of one success, in nats.
    failure: f64,
    success: f64,
    rule: Rule,
}

#[derive(Clone, Copy, Debug)]
enum Rule {
    /// Page's cumulative sum (1954): in the worst case none is better (Lorden 1971, Moustakides 1986). Its level is found
    /// by simulation, so that it raises as few false alarms as the judge may.
    Page { sum: f64, level: f64 },
    /// The recursion of Shiryaev and Roberts with the judge's prior over moments, and its guarantee: the best that may be
    /// looked at at any time without a simulation to rely on.
    Mixture {
        s: f64,
        spent_s: f64,
        term_s: f64,
        level: f64,
    },
}

/// How a level is found: runs of a rollout that is exactly at the border.
pub(super) struct Runs {
    pub(super) seed: u64,
    pub(super) replicates: u64,
    pub(super) ticks: u64,
    /// Requests in a tick.
    pub(super) mean: f64,
}

impl Informed {
    /// The recursion, for a plan of `term_s` seconds.
    pub(super) fn mixture(p0: f64, p1: f64, alpha: f64, term_s: f64) -> Self {
        let rule = Rule::Mixture {
            s: 0.0,
            spent_s: 0.0,
            term_s,
            level: 1.0 / alpha,
        };
        Self::new(p0, p1, rule)
    }

    /// The sum, with the level at which a share of `alpha` of the runs raises a false alarm.
    pub(super) fn page(p0: f64, p1: f64, alpha: f64, runs: &Runs) -> Self {
        let endless = Self::new(
            p0,
            p1,
            Rule::Page {
                sum: 0.0,
                level: f64::INFINITY,
            },
        );
        let highest = |replicate| {
            let mut chance = Chance::new(runs.seed, "page", replicate);
            let mut detector = endless;
            (0..runs.ticks).fold(0.0_f64, |highest, _| {
                let (good, bad) = (runs.mean * (1.0 - p0), runs.mean * p0);
                detector.observe(chance.poisson(good), chance.poisson(bad), 0.0);
                highest.max(detector.sum())
            })
        };
        let mut found: Vec<f64> = (0..runs.replicates).map(highest).collect();
        found.sort_by(|a, b| b.total_cmp(a));
        let alarms = (alpha * runs.replicates as f64) as usize;
        let level = found.get(alarms).copied().unwrap_or(f64::INFINITY);
        Self::new(p0, p1, Rule::Page { sum: 0.0, level })
    }

    fn new(p0: f64, p1: f64, rule: Rule) -> Self {
        Self {
            failure: (p1 / p0).ln(),
            success: ((1.0 - p1) / (1.0 - p0)).ln(),
            rule,
        }
    }

    /// Takes in a tick of so many seconds; `true`: alarm.
    pub(super) fn observe(&mut self, good: u64, bad: u64, tick_s: f64) -> bool {
        let nats = bad as f64 * self.failure + good as f64 * self.success;
        match &mut self.rule {
            Rule::Page { sum, level } => {
                *sum = (*sum + nats).max(0.0);
                *sum > *level
            }
            Rule::Mixture {
                s,
                spent_s,
                term_s,
                level,
            } => {
                let at_the_start = if *spent_s == 0.0 { 0.70 } else { 0.0 };
                let gone = |t: f64| t / (t + *term_s);
                let prior = at_the_start + 0.15 * (gone(*spent_s + tick_s) - gone(*spent_s));
                *spent_s += tick_s;
                *s = ((*s + prior) * nats.exp()).min(1e200);
                *s >= *level
            }
        }
    }

    fn sum(&self) -> f64 {
        match self.rule {
            Rule::Page { sum, .. } => sum,
            Rule::Mixture { s, .. } => s,
        }
    }
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
    fn a_detector_rarely_cries_wolf_and_soon_finds_a_change() {
        let runs = Runs {
            seed: 1,
            replicates: 400,
            ticks: 300,
            mean: 10.0,
        };
        let page = Informed::page(0.05, 0.2, 0.01, &runs);
        let mixture = Informed::mixture(0.05, 0.2, 0.01, 300.0);
        for detector in [page, mixture] {
            let mut chance = Chance::new(2, "informed", 0);
            let mut at_the_border = detector;
            let alarms = (0..300).filter(|_| at_the_border.observe(chance.poisson(9.5), chance.poisson(0.5), 0.1));
            assert_eq!(alarms.count(), 0, "{detector:?}");
            let mut changed = detector;
            let ticks = (0..300).take_while(|_| !changed.observe(chance.poisson(8.0), chance.poisson(2.0), 0.1));
            assert!(ticks.count() < 30, "{detector:?}");
        }
    }

    /// At the border the recursion grows by its prior, on average: so much and no more.
    #[test]
    fn the_prior_adds_up_to_less_than_one() {
        let mut mixture = Informed::mixture(0.05, 0.2, 0.001, 300.0);
        for _ in 0..100_000 {
            mixture.observe(0, 0, 0.1);
        }
        let expected = 0.70 + 0.15 * 10_000.0 / 10_300.0;
        assert!((mixture.sum() - expected).abs() < 1e-9, "{}", mixture.sum());
    }
}
