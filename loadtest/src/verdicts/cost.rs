//! What a look costs: the mean time of `Judge::observe` with every criterion in use.

use std::hint::black_box;
use std::time::{Duration, Instant};

use serde::Serialize;
use serin::analysis::{AnalysisSpec, Judge, Level, Limits, Term, VerdictKind};

use super::scenario::{Both, Scenario};
use super::trial;

/// What a look costs.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cost {
    /// Mean microseconds of a look: the counts of both sides into a verdict.
    pub(super) tick_us: f64,
    /// The same while the word is fail, which a rollout sees once.
    pub(super) fail_us: f64,
    /// The share of a core that 100 rollouts with ten looks a second take.
    pub(super) core_share: f64,
}

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
    let (mut elapsed, mut looked) = (Duration::ZERO, 0);
    while looked < looks {
        let mut judge = Judge::new(&spec, Term::Plan { bake_time }, recorded.first);
        let began = Instant::now();
        for reading in &recorded.readings {
            black_box(judge.observe(black_box(*reading), &recorded.baseline));
        }
        elapsed += began.elapsed();
        looked += LOOKS;
    }
    let tick_us = elapsed.as_secs_f64() * 1e6 / looked as f64;
    Cost {
        tick_us,
        fail_us: of_a_fail(seed, &spec),
        core_share: 100.0 * 10.0 * tick_us / 1e6,
    }
}

/// Mean microseconds of the looks at a dead canary that say fail, proof and all.
fn of_a_fail(seed: u64, spec: &AnalysisSpec) -> f64 {
    let dead = Scenario {
        spec: spec.clone(),
        ..Scenario::new("cost", "Everything fails.", |_, _| Both::failing(1.0, 0.005))
    };
    let recorded = trial::record(&dead, seed, 200);
    let bake_time = Duration::from_secs(300);
    let mut judge = Judge::new(spec, Term::Plan { bake_time }, recorded.first);
    let (mut elapsed, mut fails) = (Duration::ZERO, 0);
    for reading in recorded.readings {
        let began = Instant::now();
        let verdict = judge.observe(reading, &recorded.baseline);
        if verdict.kind == VerdictKind::Fail {
            elapsed += began.elapsed();
            fails += 1;
        }
    }
    elapsed.as_secs_f64() * 1e6 / f64::from(fails.max(1))
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
