//! The evidence that a canary is not worse than its limits, which a step needs to pass.
//!
//! Fresh at each step, without a prior of change: a bad canary passes a step with a probability of at
//! most 5 % (Ville 1939), and the test against it goes on.

use super::criterion::{Criterion, Law};
use super::likelihood::Tally;

/// `P` that passes.
pub(super) const LEVEL: f64 = 20.0;

/// More clean requests than this are said to be many.
const NEEDED_MAX: u64 = 100_000_000;

/// One criterion's `P` of a step.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Confidence {
    /// `η Σℓ` of each alternative.
    l: [f64; 4],
    /// What both sides did in the step, as far as the criterion looked.
    pub tally: Tally,
}

impl Confidence {
    /// Takes in a tick of the step's own epoch.
    pub(super) fn tick(&mut self, criterion: &Criterion, share: f64, tally: &Tally, tempering: f64) {
        if *tally != Tally::default() {
            let found = criterion.law.better(share, tally);
            self.l = std::array::from_fn(|j| self.l[j] + tempering * found[j]);
            self.tally += tally;
        }
    }

    /// `P = Σ ¼ exp L`, where `lost` open requests count as bad.
    pub(super) fn value(&self, criterion: &Criterion, lost: u64, share: f64, tempering: f64) -> f64 {
        let as_failed = Tally {
            canary: lost,
            canary_bad: lost,
            ..Tally::default()
        };
        self.with(criterion, share, &as_failed, tempering)
    }

    /// Whether it says anything of this step: a relative one needs requests of both sides. Where the canary's
    /// `weight` is the whole, the few of stable's that ended late are no comparison: no more will come.
    pub(super) fn says_something(&self, criterion: &Criterion, weight: f64) -> bool {
        match criterion.law {
            Law::Absolute { .. } => true,
            Law::Relative { .. } => weight < 1.0 && self.tally.canary > 0 && self.tally.stable > 0,
        }
    }

    /// How many more good requests make it pass, where stable goes on as it did; `None`: very many.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )] // below 2^52
    pub(super) fn needed(&self, criterion: &Criterion, lost: u64, share: f64, tempering: f64) -> Option<u64> {
        let stable_rate = self.tally.stable_bad as f64 / self.tally.stable.max(1) as f64;
        let beside = stable_rate * (1.0 - share) / share.max(1e-6);
        let passes = |more: u64| {
            let good = Tally {
                dispatched: more,
                canary: more + lost,
                canary_bad: lost,
                stable: 0,
                stable_bad: (more as f64 * beside) as u64,
            };
            self.with(criterion, share, &good, tempering) >= LEVEL
        };
        let mut high = 1;
        while !passes(high) {
            high *= 2;
            if high > NEEDED_MAX {
                return None;
            }
        }
        let mut low = high / 2;
        while low + 1 < high {
            let middle = u64::midpoint(low, high);
            if passes(middle) {
                high = middle;
            } else {
                low = middle;
            }
        }
        Some(high)
    }

    fn with(&self, criterion: &Criterion, share: f64, more: &Tally, tempering: f64) -> f64 {
        let found = criterion.law.better(share, more);
        let terms = self.l.iter().zip(found);
        terms.map(|(l, more)| 0.25 * (l + tempering * more).exp()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::super::spec::{AnalysisSpec, Level};
    use super::*;

    fn criterion(at: usize) -> Criterion {
        Criterion::all(&AnalysisSpec::default(), Level::Critical).remove(at)
    }

    fn of(criterion: &Criterion, tally: &Tally) -> Confidence {
        let mut found = Confidence::default();
        found.tick(criterion, 0.1, tally, 1.0);
        found
    }

    fn clean(requests: u64) -> Tally {
        Tally {
            dispatched: requests,
            canary: requests,
            stable: 9 * requests,
            ..Tally::default()
        }
    }

    #[test]
    fn a_limit_of_five_percent_takes_71_clean_requests() {
        let limit = criterion(0);
        let check = |requests, lost, passes| {
            let found = of(&limit, &clean(requests)).value(&limit, lost, 0.1, 1.0);
            assert_eq!(found >= LEVEL, passes, "{found}");
        };
        check(70, 0, false);
        check(71, 0, true);
        check(71, 1, false);
        assert_eq!(Confidence::default().needed(&limit, 0, 0.1, 1.0), Some(71));
        assert_eq!(of(&limit, &clean(60)).needed(&limit, 0, 0.1, 1.0), Some(11));
    }

    #[test]
    fn beside_a_stable_without_failures_it_takes_about_730() {
        let beside = criterion(1);
        assert!(beside.law.better(0.1, &clean(1))[0] > 0.0);
        let needed = Confidence::default().needed(&beside, 0, 0.1, 1.0);
        assert!((700..=760).contains(&needed.unwrap()), "{needed:?}");
        let mut failing = clean(100);
        failing.stable_bad = 45;
        let sooner = of(&beside, &failing).needed(&beside, 0, 0.1, 1.0);
        assert!(sooner.unwrap() < 300, "{sooner:?}");
    }

    #[test]
    fn a_relative_criterion_needs_both_sides() {
        let beside = criterion(1);
        let says = |tally: Tally| of(&beside, &tally).says_something(&beside, 0.1);
        assert!(says(clean(1)));
        assert!(!says(Tally {
            stable: 0,
            ..clean(100)
        }));
        assert!(!Confidence::default().says_something(&beside, 0.1));
        assert!(Confidence::default().says_something(&criterion(0), 1.0));
    }
}
