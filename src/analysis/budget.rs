//! What a canary may cost at most: failures beyond those that stable's rate explains.

use super::spec::AnalysisSpec;
use crate::measure::{Counts, Window};

/// Stable's rate is that of so much of the past.
const PAST_MS: u64 = 10_000;
/// Readings closer together than this are not kept.
const RESOLUTION_MS: u64 = 100;

/// The excess so far: `B ← max(0, B + k_c - n_c (r p̂_s + δ))`, spent where it reaches the bound.
/// Counting every failure would stop healthy canaries: at 0.5 % errors 100,000 requests have 500.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    failed_requests: u64,
    ratio: f64,
    margin: f64,
    /// Stands for `r p̂_s + δ` where stable has nothing to say.
    limit: f64,
    excess: f64,
    /// Stable's requests with evidence and its failures, cumulative.
    stable: Option<Window<(u64, u64)>>,
}

impl Budget {
    /// `None` where no bound was given.
    pub(super) fn new(spec: &AnalysisSpec) -> Option<Self> {
        let entries = usize::try_from(PAST_MS / RESOLUTION_MS).unwrap_or(usize::MAX);
        let rate = spec.error_rate.and_then(|limits| limits.critical);
        let success = spec.success_rate.and_then(|limits| limits.critical);
        Some(Self {
            failed_requests: spec.failed_requests?,
            ratio: spec.error_rate_ratio,
            margin: spec.error_rate_margin,
            limit: rate
                .or(success.map(|share| 1.0 - share))
                .unwrap_or(spec.error_rate_margin),
            excess: 0.0,
            stable: spec.compare_with_stable.then(|| Window::new(entries + 2)),
        })
    }

    /// Takes in a tick: what the canary did in it, and stable's cumulative counters.
    #[allow(clippy::cast_precision_loss)] // counts stay far below 2^52
    pub(super) fn tick(&mut self, now_ms: u64, canary: &Counts, stable: &Counts) {
        let cumulative = (stable.resolved(), stable.failure);
        let past = self.stable.as_ref().and_then(|window| {
            let (_, &(all, bad)) = window.since_or_oldest(now_ms.saturating_sub(PAST_MS))?;
            let all = cumulative.0.saturating_sub(all);
            (all > 0).then(|| cumulative.1.saturating_sub(bad) as f64 / all as f64)
        });
        let explained = past.map_or(self.limit, |rate| self.ratio * rate + self.margin);
        let surplus = canary.failure as f64 - canary.resolved() as f64 * explained;
        self.excess = (self.excess + surplus).max(0.0);
        if let Some(window) = &mut self.stable
            && window.latest().is_none_or(|(at_ms, _)| at_ms + RESOLUTION_MS <= now_ms)
        {
            window.push(now_ms, cumulative);
        }
    }

    /// Goes on where `before` ended, in stable's past too.
    pub(super) fn keep_spent(&mut self, before: &Self) {
        self.excess = before.excess;
        if let (Some(stable), Some(before)) = (&mut self.stable, &before.stable) {
            stable.clone_from(before);
        }
    }

    /// Begins with so much spent.
    pub(super) fn spend(&mut self, excess: f64) {
        self.excess = excess.max(0.0);
    }

    /// Failures that the canary may still add.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )] // 0 to the bound
    pub(super) fn left(&self) -> u64 {
        (self.failed_requests as f64 - self.excess).max(0.0).ceil() as u64
    }

    /// Whether nothing is left.
    pub(super) fn is_spent(&self) -> bool {
        self.left() == 0
    }

    /// The bound.
    pub(super) const fn bound(&self) -> u64 {
        self.failed_requests
    }

    /// What was spent.
    pub(super) const fn excess(&self) -> f64 {
        self.excess
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(compare_with_stable: bool) -> AnalysisSpec {
        AnalysisSpec {
            failed_requests: Some(100),
            compare_with_stable,
            ..AnalysisSpec::default()
        }
    }

    fn counts(all: u64, bad: u64) -> Counts {
        Counts {
            success: all - bad,
            failure: bad,
            ..Counts::default()
        }
    }

    /// What is left after `ticks` of 100 ms.
    fn left(spec: &AnalysisSpec, ticks: u64, canary: (u64, u64), stable: (u64, u64)) -> u64 {
        let mut budget = Budget::new(spec).unwrap();
        let mut sum = Counts::default();
        for tick in 1..=ticks {
            sum = sum + counts(stable.0, stable.1);
            budget.tick(tick * 100, &counts(canary.0, canary.1), &sum);
        }
        budget.left()
    }

    #[test]
    fn a_rate_like_stables_costs_nothing() {
        assert_eq!(left(&spec(true), 10_000, (100, 1), (1000, 10)), 100);
        assert_eq!(left(&spec(true), 10_000, (1000, 8), (1000, 2)), 100);
    }

    #[test]
    fn what_is_beyond_it_adds_up() {
        // 10 of 100 where 1.5 × 1 % + 0.5 points explain 2.
        let usual = left(&spec(true), 10, (100, 10), (1000, 10));
        assert!((20..=24).contains(&usual), "{usual}");
        assert_eq!(left(&spec(true), 20, (100, 10), (1000, 10)), 0);
    }

    #[test]
    fn a_dead_canary_may_fail_as_often_as_the_bound_says() {
        let after = |ticks| left(&spec(false), ticks, (1, 1), (0, 0));
        assert_eq!((after(1), after(100), after(105), after(106)), (100, 5, 1, 0));
    }

    #[test]
    fn without_a_bound_there_is_none() {
        assert!(Budget::new(&AnalysisSpec::default()).is_none());
    }
}
