//! One limit of one metric: whether the canary exceeds it in a window, on how much evidence, and
//! whether stable shows the same.

use std::time::Duration;

use super::figures;
use super::spec::{AnalysisSpec, LATENCIES, Level, P95, limit_index};
use super::verdict::{Evidence, Metric, SideEvidence};
use crate::measure::Counts;

/// Failures (or slow requests) below this never abort: they may be anybody's.
const LEAST_BAD: u64 = 5;

/// Stable excuses a canary that is at most this many times as bad as itself ...
const SHARED_FACTOR: f64 = 1.5;
/// ... plus this share of the limit, and at most so much: half a point at a limit of 5 %.
const SHARED_SLACK: f64 = 0.1;
const SHARED_SLACK_MAX: f64 = 0.005;
/// Beyond that the difference must be this much likelier than none, as a natural logarithm: chance
/// shows it in one of 200,000 looks. 14 failures of 140 against none of 140 just do.
const CLEARLY_WORSE: f64 = 10.0;

/// What both sides did between two moments, by slot of the epoch the requests were dispatched in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub window_ms: u64,
    pub canary: [Counts; 2],
    pub stable: [Counts; 2],
}

/// One limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub metric: Metric,
    pub level: Level,
    /// Largest share of bad requests that is still in order.
    share: f64,
    /// What makes a request bad, where it is slowness.
    latency: Option<Slowness>,
}

/// Slower than a limit.
#[derive(Clone, Copy, Debug)]
struct Slowness {
    limit: Duration,
    /// Where it is counted.
    index: usize,
}

/// Bad ones of all.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    bad: u64,
    all: u64,
}

impl Limit {
    /// The limits of `level` in `spec`.
    pub(super) fn all(spec: &AnalysisSpec, level: Level) -> impl Iterator<Item = Self> {
        let share = |metric, share: Option<f64>| {
            share.map(|share| Self {
                metric,
                level,
                share,
                latency: None,
            })
        };
        let errors = share(Metric::ErrorRate, spec.error_rate.and_then(|limits| limits.of(level)));
        let successes = spec.success_rate.and_then(|limits| limits.of(level));
        let successes = share(Metric::SuccessRate, successes.map(|share| 1.0 - share));
        let latencies = LATENCIES.iter().zip(&spec.latency).enumerate();
        let latencies = latencies.filter_map(move |(at, (&(metric, share), limits))| {
            let limit = limits.and_then(|limits| limits.of(level))?;
            let index = limit_index(at, level);
            Some(Self {
                metric,
                level,
                share,
                latency: Some(Slowness { limit, index }),
            })
        });
        errors.into_iter().chain(successes).chain(latencies)
    }

    /// Whether the canary's share of bad requests is above the limit. Requests that were sent in
    /// the window and are still open count as good: errors come back at once, good answers later.
    pub(super) fn is_exceeded(&self, look: &Look) -> bool {
        self.canary(look).share().is_some_and(|share| share > self.share)
    }

    /// Whether there is enough evidence for an abort.
    pub(super) fn is_certain(&self, look: &Look, min_requests: u64) -> bool {
        self.evident(&look.canary).is_enough(min_requests)
    }

    /// Why the canary is not blamed for what it shows; `None` where it is, or where stable had no
    /// request to compare with. Stable's share is the one that requests spread over the epochs as
    /// the canary's were would have met.
    pub(super) fn excuse(&self, look: &Look) -> Option<&'static str> {
        let (canary, stable) = (self.canary(look), self.evident(&look.stable));
        let (canary_share, stable_share) = (canary.share()?, self.stable_share(look)?);
        let slack = (self.share * SHARED_SLACK).min(SHARED_SLACK_MAX);
        if canary_share <= SHARED_FACTOR * stable_share + slack {
            return Some("shared fault: stable shows the same");
        }
        let evidence = likelihood_ratio(canary_share, canary.all, stable_share, stable.all);
        (evidence < CLEARLY_WORSE).then_some("not clearly worse than stable")
    }

    /// Whether stable had requests to compare with.
    pub(super) fn has_stable(&self, look: &Look) -> bool {
        self.evident(&look.stable).all > 0
    }

    /// `canary errorRate 8.1 % (74 of 913 in 1.0 s) is above the critical limit 5 %`.
    pub(super) fn words(&self, look: &Look) -> String {
        let canary = self.evident(&look.canary);
        let window = figures::time(Duration::from_millis(look.window_ms));
        let share = figures::measured_above(canary.share().unwrap_or_default(), self.share);
        let figure = format!("{share} ({} of {} in {window})", canary.bad, canary.all);
        let level = self.level.as_str();
        let metric = self.metric.as_str();
        match self.latency {
            None if self.metric == Metric::SuccessRate => {
                let good = figures::measured(1.0 - canary.share().unwrap_or_default());
                let limit = figures::written(1.0 - self.share);
                let counts = format!("{} of {} in {window}", canary.all - canary.bad, canary.all);
                format!("canary {metric} {good} ({counts}) is below the {level} limit {limit}")
            }
            None => {
                let limit = figures::written(self.share);
                format!("canary {metric} {figure} is above the {level} limit {limit}")
            }
            Some(slowness) => {
                let limit = figures::limit(slowness.limit);
                format!("canary {metric} is above the {level} limit {limit}: {figure} took longer")
            }
        }
    }

    /// `; stable 0.4 %`, or nothing where stable had no requests.
    pub(super) fn stable_words(&self, look: &Look) -> String {
        let share = self.evident(&look.stable).share();
        share.map_or_else(String::new, |share| format!("; stable {}", figures::measured(share)))
    }

    /// The canary's requests, those still open included.
    fn canary(&self, look: &Look) -> Tally {
        let evident = self.evident(&look.canary);
        match self.latency {
            Some(_) => evident,
            None => {
                let sum = look.canary[0] + look.canary[1];
                let sent = sum.dispatched.saturating_sub(sum.no_evidence);
                Tally {
                    all: evident.all.max(sent),
                    ..evident
                }
            }
        }
    }

    /// Stable's share, each epoch weighted by the canary's requests in it: comparing sums over a
    /// change of weight would blame the side that had more traffic in the bad epoch (Simpson 1951).
    #[allow(clippy::cast_precision_loss)] // counts stay far below 2^52
    fn stable_share(&self, look: &Look) -> Option<f64> {
        let overall = self.evident(&look.stable).share()?;
        let canary: [Tally; 2] = look.canary.map(|counts| self.tally(&counts));
        let all = canary[0].all + canary[1].all;
        let weighted = |slot: usize| {
            let share = self.tally(&look.stable[slot]).share().unwrap_or(overall);
            share * canary[slot].all as f64 / all as f64
        };
        (all > 0).then(|| weighted(0) + weighted(1))
    }

    fn evident(&self, slots: &[Counts; 2]) -> Tally {
        self.tally(&(slots[0] + slots[1]))
    }

    fn tally(&self, counts: &Counts) -> Tally {
        match self.latency {
            None => Tally {
                bad: counts.failure,
                all: counts.resolved(),
            },
            Some(slowness) => Tally::slow(counts, slowness.index),
        }
    }
}

/// How much likelier two shares `a` of `a_n` and `b` of `b_n` are than one common share, as a
/// natural logarithm: half of Wilks' G (1938), the sum of `n KL(share, common share)`.
#[allow(clippy::cast_precision_loss)] // counts stay far below 2^52
fn likelihood_ratio(a: f64, a_n: u64, b: f64, b_n: u64) -> f64 {
    let (a_n, b_n) = (a_n as f64, b_n as f64);
    let common = (a * a_n + b * b_n) / (a_n + b_n);
    let term = |share: f64, of: f64| if share > 0.0 { share * (share / of).ln() } else { 0.0 };
    let divergence = |share: f64| term(share, common) + term(1.0 - share, 1.0 - common);
    a_n * divergence(a) + b_n * divergence(b)
}

impl Tally {
    fn slow(counts: &Counts, index: usize) -> Self {
        Self {
            bad: counts.slow[index],
            all: counts.slow[index] + counts.fast[index],
        }
    }

    const fn is_enough(self, min_requests: u64) -> bool {
        self.bad >= LEAST_BAD && self.all >= min_requests
    }

    #[allow(clippy::cast_precision_loss)] // counts stay far below 2^52
    fn share(self) -> Option<f64> {
        (self.all > 0).then(|| self.bad as f64 / self.all as f64)
    }
}

impl Look {
    /// The figures of both sides, stable's where it is compared.
    pub(super) fn evidence(&self, spec: &AnalysisSpec) -> Evidence {
        let side = |slots: &[Counts; 2]| {
            let counts = slots[0] + slots[1];
            let judged = spec.latency[P95].is_some_and(|limits| limits.critical.is_some());
            SideEvidence {
                requests: counts.resolved(),
                failures: counts.failure,
                error_rate: counts.error_rate(),
                slow_share: Tally::slow(&counts, limit_index(P95, Level::Critical))
                    .share()
                    .filter(|_| judged),
                measured: None,
            }
        };
        Evidence {
            window_ms: self.window_ms,
            canary: side(&self.canary),
            stable: spec.compare_with_stable.then(|| side(&self.stable)),
            ..Evidence::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two-sample tables, worked by hand.
    #[test]
    fn evidence_for_a_difference_grows_with_both_samples() {
        let check = |a: (u64, u64), b: (u64, u64), expected: f64| {
            let share = |(n, k): (u64, u64)| k as f64 / n as f64;
            let found = likelihood_ratio(share(a), a.0, share(b), b.0);
            assert!((found - expected).abs() < 1e-9, "{a:?} {b:?}: {found}");
        };
        check((6, 6), (6, 0), 12.0 * std::f64::consts::LN_2);
        check((4, 4), (16, 0), 4.0 * 5f64.ln() + 16.0 * 1.25f64.ln());
        check((200, 60), (1800, 540), 0.0);
        check((10, 10), (10, 10), 0.0);
        check((10, 0), (10, 0), 0.0);
        let by_hand = 14.0 * 2f64.ln() + 126.0 * (18.0 / 19.0f64).ln() + 140.0 * (20.0 / 19.0f64).ln();
        check((140, 14), (140, 0), by_hand);
    }
}
