//! What a look costs: the mean time of `Judge::observe` with every criterion in use.

use std::hint::black_box;
use std::time::{Duration, Instant};

use serde::Serialize;
use serin::analysis::{AnalysisSpec, Judge, Level, Limits, Term, VerdictKind};

use super::scenario::{Both, Scenario};
use super::trial;
use crate::stats;

/// What a look costs.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cost {
    /// Mean microseconds of a look, the counts of both sides into a verdict: the median over passes through a rollout.
    pub(super) tick_us: f64,
    /// The same of the look that says fail, which a rollout sees once.
    pub(super) fail_us: f64,
    /// The share of a core that 100 rollouts with ten looks a second take.
    pub(super) core_share: f64,
}

/// So many dead canaries are timed.
const FAILS: u32 = 25;

/// Looks at one rollout: five minutes.
const LOOKS: u64 = 3_000;

/// Measures at least `looks` looks at a healthy rollout of 1000 requests per second and every limit set, recorded
/// beforehand.
pub(super) fn measure(seed: u64, looks: u64) -> Cost {
    let spec = everything();
    let healthy = Scenario {
        spec: spec.clone(),
        ..Scenario::new("cost", "0.5 % fail on both sides.", |_, _| Both::alike(0.005))
    };
    let recorded = trial::record(&healthy, seed, LOOKS);
    let bake_time = Duration::from_secs(300);
    let pass = || {
        let mut judge = Judge::new(&spec, Term::Plan { bake_time }, recorded.first);
        let began = Instant::now();
        for reading in &recorded.readings {
            black_box(judge.observe(black_box(*reading), &recorded.baseline));
        }
        began.elapsed().as_secs_f64() * 1e6 / LOOKS as f64
    };
    // Something else may run beside a pass, and then it is that which is measured.
    let passes: Vec<f64> = (0..looks.div_ceil(LOOKS)).map(|_| pass()).collect();
    let tick_us = stats::median(&passes).unwrap_or(f64::INFINITY);
    Cost {
        tick_us,
        fail_us: of_a_fail(seed, &spec),
        core_share: 100.0 * 10.0 * tick_us / 1e6,
    }
}

/// Microseconds of the first look at a dead canary that says fail, proof and all; median of some.
fn of_a_fail(seed: u64, spec: &AnalysisSpec) -> f64 {
    let dead = Scenario {
        spec: spec.clone(),
        ..Scenario::new("cost", "Everything fails.", |_, _| Both::failing(1.0, 0.005))
    };
    let recorded = trial::record(&dead, seed, 200);
    let bake_time = Duration::from_secs(300);
    let first_fail = |_| {
        let mut judge = Judge::new(spec, Term::Plan { bake_time }, recorded.first);
        recorded.readings.iter().find_map(|reading| {
            let began = Instant::now();
            let verdict = judge.observe(*reading, &recorded.baseline);
            (verdict.kind == VerdictKind::Fail).then(|| began.elapsed().as_secs_f64() * 1e6)
        })
    };
    let found: Vec<f64> = (0..FAILS).filter_map(first_fail).collect();
    stats::median(&found).unwrap_or(f64::INFINITY)
}

/// Every criterion there is.
fn everything() -> AnalysisSpec {
    let latency = |ms| {
        Some(Limits {
            warn: Some(Duration::from_millis(ms)),
            critical: Some(Duration::from_millis(2 * ms)),
        })
    };
    AnalysisSpec {
        error_rate: Some(Limits {
            warn: Some(0.02),
            critical: Some(0.05),
        }),
        success_rate: Some(Limits {
            warn: Some(0.97),
            critical: Some(0.95),
        }),
        latency: [latency(150), latency(250), latency(350), latency(500)],
        failed_requests: Some(100),
        client_errors: Some(Level::Critical),
        ..AnalysisSpec::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_costs_something() {
        let cost = measure(1, 1);
        assert!(cost.tick_us > 0.0 && cost.fail_us > 0.0);
        assert!((cost.core_share - cost.tick_us * 1e-3).abs() < 1e-9);
    }
}
