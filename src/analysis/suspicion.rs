//! The evidence against a canary by one criterion: a mixture of Shiryaev and Roberts, over all moments
//! at which it may have turned bad (Shiryaev 1963, Roberts 1966, Shin, Ramdas and Rinaldo 2024).

use super::criterion::{Criterion, Law};
use super::likelihood::{Tally, WORSE_ODDS, WORSE_RATIOS};
use super::run::Run;

/// In one block of a second slowness is worth at most this many nats: stalls come in clusters.
const BLOCK_MAX: f64 = 2.0;

/// Far above every level, and far below infinity.
const S_MAX: f64 = 1e200;

/// `S` of each alternative of one criterion.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Suspicion {
    pub s: [f64; 6],
    /// `η Σℓ` since the block began (latency).
    pub block: [f64; 6],
    pub run: Run,
}

/// What one criterion takes in at a tick.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Input {
    /// Prior mass of "it turned bad in this tick".
    pub prior: f64,
    /// η, above 0 and at most 1.
    pub tempering: f64,
    /// A block of a second begins.
    pub block_begins: bool,
    /// The canary's share of the requests, and the counts, by slot.
    pub slots: [(f64, Tally); 2],
}

impl Suspicion {
    /// `S ← (S + ω π h) exp(η ℓ)`; a tick began at `before_ms`.
    pub(super) fn tick(&mut self, criterion: &Criterion, input: &Input, before_ms: u64) {
        let mut found = [0.0; 6];
        let mut both = Tally::default();
        for (share, tally) in &input.slots {
            if *tally != Tally::default() {
                let slot = criterion.law.worse(*share, tally);
                found = std::array::from_fn(|j| found[j] + slot[j]);
                both += tally;
            }
        }
        self.run.tick(&both, found[0], before_ms);
        if input.block_begins {
            self.block = [0.0; 6];
        }
        for (j, pi) in prior(&criterion.law).enumerate() {
            let tempered = input.tempering * found[j];
            let nats = if criterion.is_latency() {
                let before = self.block[j].min(BLOCK_MAX);
                self.block[j] += tempered;
                self.block[j].min(BLOCK_MAX) - before
            } else {
                tempered
            };
            let s = self.s[j] + criterion.weight * pi * input.prior;
            // 0 × ∞ is still nothing.
            self.s[j] = if s > 0.0 { (s * nats.exp()).min(S_MAX) } else { 0.0 };
        }
    }

    /// The sum over all alternatives.
    pub(super) fn sum(&self) -> f64 {
        self.s.iter().sum()
    }

    /// The sum, as if `open` requests had turned out well already.
    #[allow(clippy::cast_precision_loss)] // counts stay far below 2^52
    pub(super) fn discounted(&self, criterion: &Criterion, open: u64, tempering: f64) -> f64 {
        match &criterion.law {
            Law::Absolute { worse, .. } if open > 0 => {
                let good = worse.of_one_good();
                let terms = self.s.iter().zip(good);
                terms.map(|(s, good)| s * (tempering * open as f64 * good).exp()).sum()
            }
            Law::Absolute { .. } | Law::Relative { .. } => self.sum(),
        }
    }

    /// Scales it down so that the sum is at most `sum_max`. Whether it was above.
    pub(super) fn scale_to(&mut self, sum_max: f64) -> bool {
        let sum = self.sum();
        let above = sum > sum_max;
        if above {
            self.s = self.s.map(|s| s * (sum_max / sum));
        }
        above
    }
}

/// The prior of each alternative.
pub(super) fn prior(law: &Law) -> impl Iterator<Item = f64> {
    let priors: ([f64; 6], usize) = match law {
        Law::Absolute { .. } => (WORSE_ODDS.map(|(_, pi)| pi), 6),
        Law::Relative { .. } => {
            let [a, b, c, d, e] = WORSE_RATIOS.map(|(_, pi)| pi);
            ([a, b, c, d, e, 0.0], 5)
        }
    };
    priors.0.into_iter().take(priors.1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::judge::Term;
    use super::super::prior::Prior;
    use super::super::spec::{AnalysisSpec, Level, Limits};
    use super::*;

    fn criterion(weight: f64) -> Criterion {
        let spec = AnalysisSpec {
            compare_with_stable: false,
            ..AnalysisSpec::default()
        };
        let mut found = Criterion::all(&spec, Level::Critical).remove(0);
        found.weight = weight;
        found
    }

    /// One criterion under T = 300 s, with ticks of 100 ms.
    struct Bench {
        criterion: Criterion,
        prior: Prior,
        suspicion: Suspicion,
    }

    impl Bench {
        fn new(criterion: Criterion) -> Self {
            let bake_time = Duration::from_secs(60);
            Self {
                criterion,
                prior: Prior::new(Term::Plan { bake_time }),
                suspicion: Suspicion::default(),
            }
        }

        fn tick(&mut self, canary: u64, canary_bad: u64) -> f64 {
            let tally = Tally {
                canary,
                canary_bad,
                ..Tally::default()
            };
            let input = Input {
                prior: self.prior.tick(Duration::from_millis(100)),
                tempering: 1.0,
                block_begins: false,
                slots: [(0.0, tally), (0.0, Tally::default())],
            };
            self.suspicion.tick(&self.criterion, &input, 0);
            self.suspicion.sum()
        }
    }

    fn check(found: f64, expected: f64) {
        // The worked values have six digits.
        assert!((found - expected).abs() <= 5e-6 * expected, "{found} is not {expected}");
    }

    #[test]
    fn four_failures_in_a_row_are_enough() {
        let mut whole = Bench::new(criterion(1.0));
        for expected in [3.400_03, 36.782_8, 575.891, 10_126.4] {
            check(whole.tick(1, 1), expected);
        }
        let mut part = Bench::new(criterion(0.25));
        for expected in [0.850_008, 9.195_69, 143.973, 2_531.60] {
            check(part.tick(1, 1), expected);
        }
    }

    #[test]
    fn a_long_good_past_does_not_shield() {
        let mut bench = Bench::new(criterion(1.0));
        let mut before = 0.0;
        for _ in 0..1500 {
            before = bench.tick(10, 0);
        }
        check(before, 4.361_29e-5);
        check(bench.tick(10, 10), 1.433_24e7);
    }

    #[test]
    fn eight_percent_against_five_shows_in_seconds() {
        let mut bench = Bench::new(criterion(1.0));
        let mut first = None;
        for tick in 1..=150u64 {
            let found = bench.tick(10, u64::from((tick - 1) % 5 > 0));
            match tick {
                50 => check(found, 10.764_6),
                100 => check(found, 552.070),
                150 => check(found, 30_418.9),
                _ => {}
            }
            first = first.or((found >= 1000.0).then_some(tick));
        }
        assert_eq!(first, Some(109));
    }

    #[test]
    fn a_second_of_slowness_is_worth_two_nats() {
        let limit = Limits {
            warn: None,
            critical: Some(Duration::from_millis(500)),
        };
        let spec = AnalysisSpec {
            compare_with_stable: false,
            latency: [None, None, Some(limit), None],
            ..AnalysisSpec::default()
        };
        let mut slow = Criterion::all(&spec, Level::Critical).remove(1);
        slow.weight = 1.0;
        let mut suspicion = Suspicion {
            s: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
            ..Suspicion::default()
        };
        let before = suspicion.s;
        for tick in 0..10 {
            let tally = Tally {
                canary: 10,
                canary_bad: 10,
                ..Tally::default()
            };
            let input = Input {
                prior: 0.0,
                tempering: 1.0,
                block_begins: tick == 0,
                slots: [(0.0, tally), (0.0, Tally::default())],
            };
            suspicion.tick(&slow, &input, 0);
        }
        for (after, before) in suspicion.s.iter().zip(before) {
            assert!((after / before - 7.389_056).abs() < 1e-6);
        }
    }

    #[test]
    fn open_requests_count_as_coming_successes() {
        let mut bench = Bench::new(criterion(1.0));
        for _ in 0..4 {
            bench.tick(1, 1);
        }
        let discounted = |open| bench.suspicion.discounted(&bench.criterion, open, 1.0);
        assert!((discounted(0) - bench.suspicion.sum()).abs() < 1e-9);
        assert!(discounted(400) < 1.0, "{}", discounted(400));
        // In the end it is as if they had been answered.
        let mut answered = bench.suspicion.clone();
        let good = Tally {
            canary: 400,
            ..Tally::default()
        };
        let input = Input {
            tempering: 1.0,
            slots: [(0.0, good), (0.0, Tally::default())],
            ..Input::default()
        };
        answered.tick(&bench.criterion, &input, 0);
        assert!((answered.sum() / discounted(400) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn nothing_overflows() {
        let mut bench = Bench::new(criterion(1.0));
        for _ in 0..50 {
            bench.tick(1_000_000, 1_000_000);
        }
        assert!(bench.suspicion.s.iter().all(|s| *s <= S_MAX));
        bench.suspicion.s = [0.0; 6];
        let input = Input {
            tempering: 1.0,
            slots: [
                (
                    0.0,
                    Tally {
                        canary: 1_000_000,
                        canary_bad: 1_000_000,
                        ..Tally::default()
                    },
                ),
                (0.0, Tally::default()),
            ],
            ..Input::default()
        };
        bench.suspicion.tick(&bench.criterion, &input, 0);
        assert_eq!(bench.suspicion.s, [0.0; 6]);
    }
}
