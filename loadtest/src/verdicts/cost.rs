//! What a look costs: the mean time of `Judge::observe` with every criterion in use.

use std::hint::black_box;
use std::time::{Duration, Instant};

use serde::Serialize;
use serin::analysis::{AnalysisSpec, Baseline, Judge, Level, Limits, Reading, Term};
use serin::measure::{Counts, Histogram, LIMITS};

/// What a look costs.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cost {
    /// Mean microseconds of a look: the counts of both sides into a verdict.
    pub(super) tick_us: f64,
    /// The share of a core that 100 rollouts with ten looks a second take.
    pub(super) core_share: f64,
}

/// Measures `ticks` looks at a healthy rollout of 1000 requests per second, every limit set.
pub(super) fn measure(ticks: u64) -> Cost {
    let spec = everything();
    let mut reading = Reading {
        slot: 1,
        weight: 0.1,
        ..Reading::default()
    };
    let mut baseline = Baseline::default();
    let mut latencies = Histogram::default();
    for second in 0..300 {
        reading.now_ms = second * 1_000;
        add(&mut reading, 1_000, 0);
        (0..120).for_each(|i| latencies.record(20_000 + 500 * i));
        baseline.observe(reading.now_ms, &reading.stable);
        if baseline.wants_latencies(reading.now_ms) {
            baseline.latencies(reading.now_ms, latencies.clone());
        }
    }
    let bake_time = Duration::from_secs(300);
    let mut judge = Judge::new(&spec, Term::Plan { bake_time }, reading);
    let began = Instant::now();
    for _ in 0..ticks {
        reading.now_ms += 100;
        add(&mut reading, 90, 10);
        black_box(judge.observe(black_box(reading), &baseline));
    }
    let tick_us = began.elapsed().as_secs_f64() * 1e6 / ticks as f64;
    Cost {
        tick_us,
        core_share: 100.0 * 10.0 * tick_us / 1e6,
    }
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
        latency: [latency(100), latency(200), latency(300), latency(500)],
        failed_requests: Some(100),
        client_errors: Some(Level::Critical),
        ..AnalysisSpec::default()
    }
}

/// So many requests on each side; one in a hundred fails, one in fifty is slow.
fn add(reading: &mut Reading, stable: u64, canary: u64) {
    let slot = usize::from(reading.slot);
    for (side, n) in [(&mut reading.stable, stable), (&mut reading.canary, canary)] {
        let turn = u64::from(n > 0 && (reading.now_ms / 100).is_multiple_of(10));
        let counts = &mut side.counts[slot];
        let slow = (n / 50).max(turn);
        *counts = *counts
            + Counts {
                dispatched: n,
                success: n - (n / 100).max(turn),
                failure: (n / 100).max(turn),
                no_evidence: 0,
                client_errors: turn,
                headed: n,
                headless: 0,
                fast: [n - slow; LIMITS],
                slow: [slow; LIMITS],
            };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_costs_something() {
        let cost = measure(50);
        assert!(cost.tick_us > 0.0);
        assert!((cost.core_share - cost.tick_us * 1e-3).abs() < 1e-9);
    }
}
