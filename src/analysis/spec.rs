//! What is judged, and the limits.

use std::time::Duration;

use super::verdict::Metric;
use crate::measure::{LIMITS, NO_LIMIT};

/// A limit that warns (holds) and one that is critical (aborts).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits<T> {
    /// Beyond it the rollout holds.
    pub warn: Option<T>,
    /// Beyond it the rollout aborts.
    pub critical: Option<T>,
}

/// How evidence is turned into a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    /// Sequential tests that may be looked at at any time: a healthy canary is aborted with a
    /// probability of at most [`AnalysisSpec::alpha`], however long it runs.
    Sequential,
    /// Plain limits on the last second, the last ten seconds and the step, for those who want to
    /// predict a verdict by hand. Only absolute limits are looked at.
    Threshold,
}

/// How much something weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// It holds.
    Warn,
    /// It aborts.
    Critical,
}

impl Level {
    /// The word in the configuration, JSON and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Critical => "critical",
        }
    }
}

/// What is judged, and the limits.
#[derive(Clone, Debug, PartialEq)]
pub struct AnalysisSpec {
    /// The kind of test.
    pub test: Test,
    /// Compare with stable in the same moments, and hold instead of aborting where stable shows the
    /// same trouble.
    pub compare_with_stable: bool,
    /// Evidence below this never passes a step. Default 50.
    pub min_requests: u64,
    /// The chance that a healthy canary is ever aborted: above 0, at most 0.05. Default 0.001.
    pub alpha: f64,
    /// Largest shares of failures, above 0 and below 1.
    pub error_rate: Option<Limits<f64>>,
    /// Smallest shares of successes, above 0 and below 1.
    pub success_rate: Option<Limits<f64>>,
    /// Largest quantiles of latency: p50, p90, p95, p99.
    pub latency: [Option<Limits<Duration>>; 4],
    /// Beside stable the canary may fail this many times as often (1 or more; default 1.5) ...
    pub error_rate_ratio: f64,
    /// ... plus this share of its requests (0 or more; default 0.005).
    pub error_rate_margin: f64,
    /// A response is slow beside stable when it takes longer than this many times stable's p90 or
    /// p99 (above 1; default 1.25). `None`: latency is not compared.
    pub latency_factor: Option<f64>,
    /// Failures that the canary may add beyond what stable's rate explains; `None`: no such bound.
    pub failed_requests: Option<u64>,
    /// What follows when the canary answers 4xx where stable does not; `None`: nothing.
    pub client_errors: Option<Level>,
}

impl Default for AnalysisSpec {
    /// What an empty `analysis` means: failures above 5 % abort, and trouble that stable does not have.
    fn default() -> Self {
        Self {
            test: Test::Sequential,
            compare_with_stable: true,
            min_requests: 50,
            alpha: 0.001,
            error_rate: Some(Limits {
                warn: None,
                critical: Some(0.05),
            }),
            success_rate: None,
            latency: [None; 4],
            error_rate_ratio: 1.5,
            error_rate_margin: 0.005,
            latency_factor: Some(1.25),
            failed_requests: None,
            client_errors: Some(Level::Warn),
        }
    }
}

/// The latency metrics in the order of [`AnalysisSpec::latency`], with the share of requests that may
/// be slower than the limit.
pub const LATENCIES: [(Metric, f64); 4] = [
    (Metric::LatencyP50, 0.50),
    (Metric::LatencyP90, 0.10),
    (Metric::LatencyP95, 0.05),
    (Metric::LatencyP99, 0.01),
];

/// Index of p95 in [`LATENCIES`].
pub(super) const P95: usize = 2;

/// Where recorders count slower than limit `level` of latency `metric` (index in [`LATENCIES`]).
#[must_use]
pub const fn limit_index(metric: usize, level: Level) -> usize {
    2 * metric + level as usize
}

impl AnalysisSpec {
    /// The fixed limits at which recorders count, in microseconds; those that move with stable are off.
    /// Patience ends at the largest critical latency, or at half of the route's `timeout`.
    #[must_use]
    pub fn limits_us(&self, timeout: Duration) -> [u64; LIMITS] {
        let us = |limit: Duration| u64::try_from(limit.as_micros()).unwrap_or(NO_LIMIT);
        let mut limits_us = [NO_LIMIT; LIMITS];
        for (metric, limits) in self.latency.iter().enumerate() {
            for (level, limit) in limits.iter().flat_map(Limits::each) {
                limits_us[limit_index(metric, level)] = us(limit);
            }
        }
        let critical = self.latency.iter().flatten().filter_map(|limits| limits.critical);
        let patience = critical.max().unwrap_or(timeout / 2).min(timeout / 2);
        limits_us[crate::measure::PATIENCE] = us(patience);
        limits_us
    }
}

impl AnalysisSpec {
    /// A canary's response is slow beyond so many times stable's quantile; `None`: latency is not
    /// compared with stable's.
    #[must_use]
    pub fn compared_latency_factor(&self) -> Option<f64> {
        let compares = self.compare_with_stable && self.test == Test::Sequential;
        self.latency_factor.filter(|_| compares)
    }
}

/// The canary is slow only where it is this much slower than stable's quantile, in microseconds:
/// less than a millisecond is nobody's experience.
const SLOWER_US_MIN: u64 = 1_000;

/// From where on a canary's response is slow beside stable's quantile, in microseconds.
#[must_use]
pub fn slow_us(quantile_us: u64, factor: f64) -> u64 {
    let slower = Duration::from_micros(quantile_us).as_secs_f64() * factor;
    // Beyond all clocks is beyond all limits.
    let slower_us = Duration::try_from_secs_f64(slower).map_or(NO_LIMIT, |slower| {
        u64::try_from(slower.as_nanos().div_ceil(1_000)).unwrap_or(NO_LIMIT)
    });
    slower_us.max(quantile_us.saturating_add(SLOWER_US_MIN))
}

impl<T: Copy> Limits<T> {
    /// The limits that are given.
    pub fn each(&self) -> impl Iterator<Item = (Level, T)> {
        let warn = self.warn.map(|limit| (Level::Warn, limit));
        let critical = self.critical.map(|limit| (Level::Critical, limit));
        warn.into_iter().chain(critical)
    }

    /// The limit of `level`, if given.
    #[must_use]
    pub const fn of(&self, level: Level) -> Option<T> {
        match level {
            Level::Warn => self.warn,
            Level::Critical => self.critical,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{NO_LIMIT, slow_us};

    #[test]
    fn slow_is_a_multiple_of_the_quantile_and_at_least_a_millisecond_more() {
        let check = |quantile_us, factor, expected| assert_eq!(slow_us(quantile_us, factor), expected);
        check(100_000, 1.25, 125_000);
        check(10_001, 1.25, 12_502);
        check(4_000, 1.25, 5_000);
        check(900, 1.25, 1_900);
        check(0, 1.25, 1_000);
        check(u64::MAX, 100.0, NO_LIMIT);
    }
}
