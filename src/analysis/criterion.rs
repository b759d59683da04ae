//! What a test looks at: which requests are bad, and what rate of them is too many.

use super::likelihood::{Absolute, Relative, Tally};
use super::reading::{Reading, Side};
use super::spec::{AnalysisSpec, LATENCIES, Level, limit_index};
use super::verdict::Metric;
use crate::measure::{AT_P90, AT_P99, Counts, PATIENCE};

/// Parts of the prior by group; those in use are brought to a sum of 1.
const ERRORS: f64 = 0.25;
const ERRORS_BESIDE: f64 = 0.25;
const LATENCIES_ALL: f64 = 0.20;
const LATENCY_BESIDE: f64 = 0.15;
const CLIENT_ERRORS: f64 = 0.10;

/// A response may be slow beside stable this many times as often as stable's own ...
const SLOW_RATIO: f64 = 1.2;
/// ... plus this share of requests.
const SLOW_MARGIN: f64 = 0.005;

/// Which requests are bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Basis {
    /// Those that failed.
    Errors,
    /// Those that the backend answered with 4xx.
    ClientErrors,
    /// Those that took longer than the recorders' limit of this index.
    Latency(usize),
}

/// One criterion of a test. Immutable.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Criterion {
    pub metric: Metric,
    pub basis: Basis,
    pub level: Level,
    /// Part of the prior; those of a test add up to 1.
    pub weight: f64,
    pub law: Law,
}

/// What rate is too much.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Law {
    /// More than `limit`.
    Absolute {
        limit: f64,
        worse: Absolute<6>,
        better: Absolute<4>,
    },
    /// More than `ratio` times stable's plus `margin`.
    Relative {
        ratio: f64,
        margin: f64,
        worse: Relative<5>,
        better: Relative<4>,
    },
}

impl Criterion {
    /// The criteria of `spec` at `level`. Relative ones are critical, but for client errors, which
    /// are what the person said.
    pub(super) fn all(spec: &AnalysisSpec, level: Level) -> Vec<Self> {
        let mut criteria = Vec::new();
        let mut add = |metric, basis, weight, law| {
            criteria.push(Self {
                metric,
                basis,
                level,
                weight,
                law,
            });
        };
        let rate = spec.error_rate.and_then(|limits| limits.of(level));
        let success = spec.success_rate.and_then(|limits| limits.of(level));
        let rates = [
            (Metric::ErrorRate, rate),
            (Metric::SuccessRate, success.map(|share| 1.0 - share)),
        ];
        let rates: Vec<_> = rates
            .into_iter()
            .filter_map(|(metric, limit)| Some((metric, limit?)))
            .collect();
        for &(metric, limit) in &rates {
            add(metric, Basis::Errors, ERRORS / len(&rates), Law::absolute(limit));
        }
        let latencies: Vec<_> = (0..LATENCIES.len())
            .filter(|&at| spec.latency[at].is_some_and(|limits| limits.of(level).is_some()))
            .collect();
        for &at in &latencies {
            let (metric, share) = LATENCIES[at];
            let basis = Basis::Latency(limit_index(at, level));
            add(metric, basis, LATENCIES_ALL / len(&latencies), Law::absolute(share));
        }
        if spec.compare_with_stable {
            if level == Level::Critical {
                let law = Law::relative(spec.error_rate_ratio, spec.error_rate_margin);
                add(Metric::ErrorRateRatio, Basis::Errors, ERRORS_BESIDE, law);
            }
            if level == Level::Critical && spec.latency_factor.is_some() {
                for (metric, index) in [(Metric::LatencyFactorP90, AT_P90), (Metric::LatencyFactorP99, AT_P99)] {
                    let law = Law::relative(SLOW_RATIO, SLOW_MARGIN);
                    add(metric, Basis::Latency(index), LATENCY_BESIDE, law);
                }
            }
            if spec.client_errors == Some(level) {
                let law = Law::relative(spec.error_rate_ratio, spec.error_rate_margin);
                add(Metric::ClientErrors, Basis::ClientErrors, CLIENT_ERRORS, law);
            }
        }
        let sum: f64 = criteria.iter().map(|criterion| criterion.weight).sum();
        for criterion in &mut criteria {
            criterion.weight /= sum;
        }
        criteria
    }

    /// The critical criteria, and the warning of each metric that has no critical limit: what a step
    /// must show the canary to be better than.
    pub(super) fn all_for_promotion(spec: &AnalysisSpec) -> Vec<Self> {
        let mut criteria = Self::all(spec, Level::Critical);
        for warning in Self::all(spec, Level::Warn) {
            let known = criteria.iter().any(|known| known.metric == warning.metric);
            if !known && warning.basis != Basis::ClientErrors {
                criteria.push(warning);
            }
        }
        criteria
    }

    /// Whether its limit does not depend on stable.
    pub(super) const fn is_absolute(&self) -> bool {
        matches!(self.law, Law::Absolute { .. })
    }

    /// Whether it is about slowness, which stalls bring in clusters.
    pub(super) const fn is_latency(&self) -> bool {
        matches!(self.basis, Basis::Latency(_))
    }
}

impl Law {
    fn absolute(limit: f64) -> Self {
        Self::Absolute {
            limit,
            worse: Absolute::worse_than(limit),
            better: Absolute::better_than(limit),
        }
    }

    fn relative(ratio: f64, margin: f64) -> Self {
        Self::Relative {
            ratio,
            margin,
            worse: Relative::<5>::worse_than(ratio, margin),
            better: Relative::<4>::better_than(ratio, margin),
        }
    }

    /// The log likelihood ratio of each alternative that is worse; unused ones are 0.
    pub(super) fn worse(&self, share: f64, tally: &Tally) -> [f64; 6] {
        match self {
            Self::Absolute { worse, .. } => worse.of_counts(tally.canary, tally.canary_bad),
            Self::Relative { worse, .. } => {
                let [a, b, c, d, e] = worse.of_tally(share, tally);
                [a, b, c, d, e, 0.0]
            }
        }
    }

    /// The log likelihood ratio of each alternative that is better.
    pub(super) fn better(&self, share: f64, tally: &Tally) -> [f64; 4] {
        match self {
            Self::Absolute { better, .. } => better.of_counts(tally.canary, tally.canary_bad),
            Self::Relative { better, .. } => better.of_tally(share, tally),
        }
    }
}

impl Basis {
    /// Requests with evidence, and bad ones among them.
    pub(super) const fn of(self, counts: &Counts) -> (u64, u64) {
        match self {
            Self::Errors => (counts.resolved(), counts.failure),
            Self::ClientErrors => (counts.headed, counts.client_errors),
            Self::Latency(index) => (counts.fast[index] + counts.slow[index], counts.slow[index]),
        }
    }

    pub(super) const fn tally(self, canary: &Counts, stable: &Counts) -> Tally {
        let (canary_all, canary_bad) = self.of(canary);
        let (stable_all, stable_bad) = self.of(stable);
        Tally {
            dispatched: canary.dispatched,
            canary: canary_all,
            canary_bad,
            stable: stable_all,
            stable_bad,
        }
    }

    /// The canary's open requests that may still turn out well, of the slots that are `live`.
    pub(super) fn open(self, side: &Side, live: [bool; 2]) -> u64 {
        let slots = || side.counts.iter().zip(live).filter(|&(_, live)| live);
        let (open, overdue): (u64, u64) = match self {
            Self::Errors => (slots().map(|(counts, _)| counts.open()).sum(), side.overdue[PATIENCE]),
            Self::Latency(index) => (
                slots().map(|(counts, _)| counts.open_without_head()).sum(),
                side.overdue[index],
            ),
            Self::ClientErrors => (0, 0),
        };
        open.saturating_sub(overdue)
    }

    /// The canary's open requests that are as good as failed.
    pub(super) const fn lost(self, reading: &Reading) -> u64 {
        match self {
            Self::Errors => reading.canary.overdue[PATIENCE],
            Self::ClientErrors | Self::Latency(_) => 0,
        }
    }
}

#[allow(clippy::cast_precision_loss)] // a handful
fn len<T>(list: &[T]) -> f64 {
    list.len() as f64
}

#[cfg(test)]
mod tests {
    use super::super::spec::Limits;
    use super::*;
    use std::time::Duration;

    fn limits<T>(warn: Option<T>, critical: Option<T>) -> Option<Limits<T>> {
        Some(Limits { warn, critical })
    }

    fn parts(spec: &AnalysisSpec, level: Level) -> Vec<(Metric, f64)> {
        let criteria = Criterion::all(spec, level).into_iter();
        let rounded = |weight: f64| (weight * 1e4).round() / 1e4;
        criteria
            .map(|criterion| (criterion.metric, rounded(criterion.weight)))
            .collect()
    }

    #[test]
    fn parts_of_the_prior_add_up_to_one() {
        use Metric::{
            ClientErrors, ErrorRate, ErrorRateRatio, LatencyFactorP90, LatencyFactorP99, LatencyP95, LatencyP99,
        };
        let ms = Duration::from_millis;
        let whole = AnalysisSpec {
            latency: [None, None, limits(Some(ms(500)), Some(ms(1000))), None],
            ..AnalysisSpec::default()
        };
        let usual = [
            (ErrorRate, 0.25),
            (LatencyP95, 0.2),
            (ErrorRateRatio, 0.25),
            (LatencyFactorP90, 0.15),
            (LatencyFactorP99, 0.15),
        ];
        assert_eq!(parts(&whole, Level::Critical), usual);
        assert_eq!(
            parts(&whole, Level::Warn),
            [(LatencyP95, 0.6667), (ClientErrors, 0.3333)]
        );
        let alone = AnalysisSpec {
            compare_with_stable: false,
            latency: [None, None, None, limits(None, Some(ms(500)))],
            ..AnalysisSpec::default()
        };
        assert_eq!(
            parts(&alone, Level::Critical),
            [(ErrorRate, 0.5556), (LatencyP99, 0.4444)]
        );
        assert_eq!(parts(&alone, Level::Warn), []);
        let strict = AnalysisSpec {
            client_errors: Some(Level::Critical),
            latency_factor: None,
            ..AnalysisSpec::default()
        };
        let expected = [(ErrorRate, 0.4167), (ErrorRateRatio, 0.4167), (ClientErrors, 0.1667)];
        assert_eq!(parts(&strict, Level::Critical), expected);
    }

    #[test]
    fn a_metric_with_a_warning_alone_is_what_a_step_must_stay_below() {
        let spec = AnalysisSpec {
            compare_with_stable: false,
            error_rate: limits(Some(0.01), None),
            ..AnalysisSpec::default()
        };
        assert!(Criterion::all(&spec, Level::Critical).is_empty());
        let found: Vec<_> = Criterion::all_for_promotion(&spec)
            .iter()
            .map(|criterion| criterion.metric)
            .collect();
        assert_eq!(found, [Metric::ErrorRate]);
        let usual = Criterion::all_for_promotion(&AnalysisSpec::default());
        assert!(usual.iter().all(|criterion| criterion.basis != Basis::ClientErrors));
    }

    #[test]
    fn a_success_rate_is_judged_by_its_failures() {
        let spec = AnalysisSpec {
            error_rate: None,
            success_rate: limits(None, Some(0.95)),
            ..AnalysisSpec::default()
        };
        let found = &Criterion::all(&spec, Level::Critical)[0];
        let Law::Absolute { limit, .. } = found.law else {
            panic!("it has a limit of its own")
        };
        assert!((limit - 0.05).abs() < 1e-12);
    }

    #[test]
    fn open_requests_that_are_overdue_are_no_coming_successes() {
        let mut side = Side::default();
        side.counts[0] = Counts {
            dispatched: 10,
            success: 2,
            headed: 5,
            headless: 1,
            ..Counts::default()
        };
        side.counts[1].dispatched = 100;
        side.overdue[PATIENCE] = 3;
        side.overdue[5] = 1;
        assert_eq!(Basis::Errors.open(&side, [true, false]), 5);
        assert_eq!(Basis::Latency(5).open(&side, [true, false]), 3);
        assert_eq!(Basis::Errors.open(&side, [true, true]), 105);
    }
}
