//! Plain thresholds with minimum evidence, looked at on every tick.

use std::time::Duration;

use super::verdict::Verdict;
use crate::measure::{Counts, LIMITS};

/// A limit that warns (holds) and one that is critical (aborts).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits<T> {
    /// Above it the rollout holds.
    pub warn: Option<T>,
    /// Above it the rollout aborts.
    pub critical: Option<T>,
}

/// What is judged, and the limits.
#[derive(Clone, Debug, PartialEq)]
pub struct AnalysisSpec {
    /// Hold instead of aborting where stable shows the same trouble.
    pub compare_with_stable: bool,
    /// Evidence below this never passes a step. Default 50.
    pub min_requests: u64,
    /// Shares, 0 to 1.
    pub error_rate: Option<Limits<f64>>,
    /// 95 % of requests must be faster.
    pub latency_p95: Option<Limits<Duration>>,
}

impl AnalysisSpec {
    /// The limits at which recorders count, in microseconds: warn, critical, unused, unused.
    #[must_use]
    pub fn limits_us(&self) -> [u64; LIMITS] {
        todo!()
    }
}

/// Cumulative counts of both sides at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// A clock that never goes back, in milliseconds.
    pub now_ms: u64,
    /// Parity of the present epoch.
    pub slot: u8,
    /// The canary's drawn requests, by slot of the epoch they were dispatched in.
    pub canary: [Counts; 2],
    /// Stable's.
    pub stable: [Counts; 2],
}

/// The evidence of one rollout so far. Small; the same however much traffic there was.
#[derive(Clone, Debug)]
pub struct Judge {
    _spec: AnalysisSpec,
}

impl Judge {
    /// With no evidence yet; what `first` holds was before.
    #[must_use]
    pub fn new(_spec: &AnalysisSpec, _first: Reading) -> Self {
        todo!()
    }

    /// A step begins, or the weight was changed by hand: promotion needs fresh evidence from here.
    pub fn begin_step(&mut self, _reading: Reading) {
        todo!()
    }

    /// Takes in the counts of a tick and judges.
    pub fn observe(&mut self, _reading: Reading) -> Verdict {
        todo!()
    }
}
