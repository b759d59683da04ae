//! A verdict in words that a person understands, with the figures behind them.

use std::time::Duration;

use super::baseline::Baseline;
use super::criterion::{Criterion, Law};
use super::figures;
use super::likelihood::Tally;
use super::spec::{AnalysisSpec, LATENCIES, slow_us};
use super::verdict::{Against, Measured, Metric};
use crate::measure::Counts;

/// `8.1 % (6.4 to 10.1 %, 74 of 913)`.
pub(super) fn share(measured: &Measured) -> String {
    interval(figures::measured(measured.share), measured)
}

fn interval(share: String, measured: &Measured) -> String {
    let Measured { bad, all, .. } = measured;
    let (low, high) = (figures::measured(measured.low), figures::measured(measured.high));
    let low = low.trim_end_matches(" %");
    format!("{share} ({low} to {high}, {bad} of {all})")
}

/// `canary errorRate 8.1 % (6.4 to 10.1 %, 74 of 913) is above the critical limit 5 %; stable 0.4 %`.
/// Not `certain`: it may be, the evidence does not tell yet.
pub(super) fn complaint(
    criterion: &Criterion,
    spec: &AnalysisSpec,
    baseline: &Baseline,
    tally: &Tally,
    certain: bool,
) -> String {
    let Some(canary) = Measured::new(tally.canary_bad, tally.canary) else {
        return format!("canary {}: no request of it is over yet", criterion.metric.as_str());
    };
    let metric = criterion.metric.as_str();
    let level = criterion.level.as_str();
    let is = if certain { "is" } else { "may be" };
    let stable = Measured::new(tally.stable_bad, tally.stable).filter(|_| spec.compare_with_stable);
    let stable_share = |stable: &Measured| {
        let share = figures::measured(stable.share);
        format!("{share} ({} of {})", stable.bad, stable.all)
    };
    let beside = match &stable {
        Some(stable) => format!("; stable {}", stable_share(stable)),
        None if spec.compare_with_stable => "; stable had no requests".to_owned(),
        None => String::new(),
    };
    match (&criterion.law, criterion.metric) {
        (Law::Absolute { limit, .. }, Metric::SuccessRate) => {
            let good = |of: Measured| Measured::new(of.all - of.bad, of.all).unwrap_or(of);
            let limit = figures::written(1.0 - limit);
            let found = share(&good(canary));
            let beside = stable.map_or(beside, |stable| format!("; stable {}", stable_share(&good(stable))));
            format!("canary {metric} {found} {is} below the {level} limit {limit}{beside}")
        }
        (Law::Absolute { limit, .. }, Metric::ErrorRate) => {
            let found = interval(figures::measured_above(canary.share, *limit), &canary);
            let limit = figures::written(*limit);
            format!("canary {metric} {found} {is} above the {level} limit {limit}{beside}")
        }
        (Law::Absolute { .. }, _) => {
            let found = share(&canary);
            let limit = latency(spec, criterion).map_or_else(String::new, figures::limit);
            format!("canary {metric} {is} above the {level} limit {limit}: {found} took longer{beside}")
        }
        (Law::Relative { ratio, margin, .. }, Metric::LatencyFactorP90 | Metric::LatencyFactorP99) => {
            let (name, q) = quantile(criterion.metric, baseline);
            let factor = spec.latency_factor.unwrap_or(1.0);
            let us = |us| figures::limit(Duration::from_micros(us));
            let (took, slow) = q.map_or_else(Default::default, |q| {
                (format!(" of {}", us(q)), format!("{}: ", us(slow_us(q, factor))))
            });
            let factor = figures::number(factor);
            let (ratio, margin) = (figures::number(*ratio), figures::written(*margin));
            let found = share(&canary);
            let stable = stable.as_ref().map_or_else(|| "none".to_owned(), stable_share);
            format!(
                "canary {metric} {is} beyond stable's: {found} took longer than {slow}{factor} times stable's {name}{took}, \
                 where {stable} of stable's took longer than that {name}; {ratio} times that and {margin} are allowed"
            )
        }
        (Law::Relative { ratio, margin, .. }, _) => {
            let (ratio, margin) = (figures::number(*ratio), figures::written(*margin));
            let what = if criterion.metric == Metric::ClientErrors {
                metric
            } else {
                "errorRate"
            };
            let found = share(&canary);
            let stable = stable.as_ref().map_or_else(|| "no requests".to_owned(), stable_share);
            format!("canary {what} {found} {is} above {ratio} times stable's plus {margin}; stable {stable}")
        }
    }
}

/// The limit that `criterion` holds the canary against, as written.
pub(super) fn against(criterion: &Criterion, spec: &AnalysisSpec) -> Against {
    let limit = match (&criterion.law, criterion.metric) {
        (Law::Absolute { limit, .. }, Metric::SuccessRate) => 1.0 - limit,
        (Law::Absolute { limit, .. }, Metric::ErrorRate) => *limit,
        (Law::Absolute { limit, .. }, _) => latency(spec, criterion).map_or(*limit, |limit| limit.as_secs_f64()),
        (Law::Relative { .. }, Metric::LatencyFactorP90 | Metric::LatencyFactorP99) => {
            spec.latency_factor.unwrap_or(1.0)
        }
        (Law::Relative { ratio, .. }, _) => *ratio,
    };
    Against {
        level: criterion.level,
        limit,
    }
}

/// `errorRate: about 340 more requests without a bad one are needed`.
pub(super) fn wanted(criterion: &Criterion, needed: Option<u64>) -> String {
    let metric = criterion.metric.as_str();
    match needed {
        Some(needed) => format!("{metric}: {needed} more good requests are needed"),
        None => format!("{metric}: more good requests are needed than can be waited for"),
    }
}

/// `canary errorRate 0.4 % (0.1 to 1.0 %, 4 of 1000 in 2.0 s); stable 0.5 %; within all limits`.
pub(super) fn praise(canary: Option<&Measured>, stable: Option<&Counts>, window_ms: u64, idle: &[Metric]) -> String {
    let window = figures::time(Duration::from_millis(window_ms));
    let found = canary.map_or_else(|| "none".to_owned(), share);
    let mut words = format!("canary errorRate {found} in {window}");
    if let Some(rate) = stable.and_then(Counts::error_rate) {
        words += &format!("; stable {}", figures::measured(rate));
    }
    words += "; within all limits";
    if !idle.is_empty() {
        let idle: Vec<&str> = idle.iter().map(|metric| metric.as_str()).collect();
        words += &format!("; not judged for want of comparison: {}", idle.join(", "));
    }
    words
}

/// `evidence 1320 to 1`.
pub(super) fn odds(value: f64, level: f64) -> String {
    let shown = |value: f64| match value {
        v if v >= 1e7 => format!("{v:.1e}"),
        v if v >= 10.0 => format!("{v:.0}"),
        v => format!("{v:.1}"),
    };
    format!("evidence {} to 1 of {} to 1", shown(value), shown(level))
}

fn latency(spec: &AnalysisSpec, criterion: &Criterion) -> Option<Duration> {
    let at = LATENCIES.iter().position(|&(metric, _)| metric == criterion.metric)?;
    spec.latency[at]?.of(criterion.level)
}

fn quantile(metric: Metric, baseline: &Baseline) -> (&'static str, Option<u64>) {
    let [p90, p99] = baseline.quantiles_us();
    if metric == Metric::LatencyFactorP90 {
        ("p90", p90)
    } else {
        ("p99", p99)
    }
}
