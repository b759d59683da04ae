//! The yardstick of one rollout: what its stable does, watched also while nothing is on trial, and
//! the latency limits that move with it.

use std::sync::Arc;

use crate::analysis::{AnalysisSpec, Baseline, Side, slow_us};
use crate::measure::{AT_P90, AT_P99, NO_LIMIT, Recorder};

/// While nothing is on trial stable is looked at this often, in milliseconds: it has to be once a
/// second, also when a look comes late.
const IDLE_LOOK_MS: u64 = 500;

/// What stable does, and where both sides count as slow because of it.
#[derive(Debug)]
pub(super) struct Yardstick {
    stable: Arc<Recorder>,
    canary: Arc<Recorder>,
    /// A canary's response is slow beyond so many times stable's quantile; `None`: not compared.
    factor: Option<f64>,
    baseline: Baseline,
    looked_ms: Option<u64>,
}

impl Yardstick {
    /// That of `known` goes on where the counters of stable are the same. Limits that moved with
    /// other counters, or for another canary, are put back.
    pub(super) fn follow(
        known: Option<Self>,
        stable: &Arc<Recorder>,
        canary: &Arc<Recorder>,
        spec: &AnalysisSpec,
    ) -> Self {
        let known = known.filter(|known| Arc::ptr_eq(&known.stable, stable));
        let (baseline, looked_ms) = known.map_or_else(Default::default, |known| (known.baseline, known.looked_ms));
        let yardstick = Self {
            stable: Arc::clone(stable),
            canary: Arc::clone(canary),
            factor: spec.compared_latency_factor(),
            baseline,
            looked_ms,
        };
        yardstick.set_limits();
        yardstick
    }

    /// Stable's counters.
    pub(super) const fn stable(&self) -> &Arc<Recorder> {
        &self.stable
    }

    /// What stable did so far.
    pub(super) const fn baseline(&self) -> &Baseline {
        &self.baseline
    }

    /// Whether it is time to look though nothing is on trial.
    pub(super) fn is_due(&self, now_ms: u64) -> bool {
        self.looked_ms
            .is_none_or(|looked_ms| looked_ms + IDLE_LOOK_MS <= now_ms)
    }

    /// Takes in stable's counters.
    pub(super) fn observe(&mut self, now_ms: u64, stable: &Side) {
        self.looked_ms = Some(now_ms);
        self.baseline.observe(now_ms, stable);
    }

    /// Whether it is time to measure stable's quantiles anew.
    pub(super) fn wants_latencies(&self, now_ms: u64) -> bool {
        self.factor.is_some() && self.baseline.wants_latencies(now_ms)
    }

    /// Measures stable's quantiles, and moves the limits. Costs a pass over stable's histograms.
    pub(super) fn take_latencies(&mut self, now_ms: u64) {
        self.baseline.latencies(now_ms, self.stable.snapshot().latency);
        self.set_limits();
    }

    fn set_limits(&self) {
        for (index, quantile_us) in [AT_P90, AT_P99].into_iter().zip(self.baseline.quantiles_us()) {
            let limits = self.factor.zip(quantile_us);
            let (stable_us, canary_us) = limits.map_or((NO_LIMIT, NO_LIMIT), |(factor, quantile_us)| {
                (quantile_us, slow_us(quantile_us, factor))
            });
            self.stable.set_limit_us(index, stable_us);
            self.canary.set_limit_us(index, canary_us);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Test;
    use crate::control::fixture::name;
    use crate::measure::RecorderKey;

    fn recorder() -> Arc<Recorder> {
        let key = RecorderKey {
            route: name("shop"),
            variant: name("canary"),
            backend: name("v1"),
            cohort: None,
        };
        Arc::new(Recorder::new(key, 1))
    }

    #[test]
    fn limits_are_off_without_quantiles_and_put_back_with_other_counters() {
        let [stable, canary, other] = [recorder(), recorder(), recorder()];
        let spec = AnalysisSpec::default();
        for recorder in [&stable, &canary, &other] {
            recorder.set_limit_us(AT_P90, 7);
        }
        let mut yardstick = Yardstick::follow(None, &stable, &canary, &spec);
        assert_eq!([&stable, &canary].map(|r| r.limit_us(AT_P90)), [NO_LIMIT; 2]);
        assert!(yardstick.is_due(0));
        yardstick.observe(0, &Side::default());
        assert!(!yardstick.is_due(499) && yardstick.is_due(500));
        let kept = Yardstick::follow(Some(yardstick), &stable, &other, &spec);
        assert_eq!((kept.looked_ms, other.limit_us(AT_P90)), (Some(0), NO_LIMIT));
        let anew = Yardstick::follow(Some(kept), &other, &canary, &spec);
        assert_eq!(anew.looked_ms, None);
    }

    #[test]
    fn nothing_is_measured_that_nobody_compares() {
        let compared = |change: fn(&mut AnalysisSpec)| {
            let mut spec = AnalysisSpec::default();
            change(&mut spec);
            Yardstick::follow(None, &recorder(), &recorder(), &spec)
                .factor
                .is_some()
        };
        assert!(compared(|_| ()));
        assert!(!compared(|spec| spec.latency_factor = None));
        assert!(!compared(|spec| spec.compare_with_stable = false));
        assert!(!compared(|spec| spec.test = Test::Threshold));
    }
}
