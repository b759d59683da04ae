//! Plain copies of counters: added, subtracted, turned into rates and quantiles.

use std::ops::{Add, Sub};

use super::histogram::Histogram;
use super::recorder::LIMITS;

/// Attempts of one (route, variant, backend). All count from the recorder's birth, or are the
/// difference of two such.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sent on their way.
    pub dispatched: u64,
    /// Ended well.
    pub success: u64,
    /// Ended by the backend's fault.
    pub failure: u64,
    /// Ended by the client's fault or ours.
    pub no_evidence: u64,
    /// Response heads received.
    pub headed: u64,
    /// Response heads that came within each limit.
    pub fast: [u64; LIMITS],
    /// Requests older than each limit, answered or not.
    pub slow: [u64; LIMITS],
}

/// Counters and latencies together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Attempts.
    pub counts: Counts,
    /// From request head complete to response head received, in microseconds.
    pub latency: Histogram,
}

impl Counts {
    /// Requests that are evidence: success or failure.
    #[must_use]
    pub const fn resolved(&self) -> u64 {
        self.success + self.failure
    }

    /// Failures among the evidence, 0 to 1; `None` without any.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // counts stay far below 2^52
    pub fn error_rate(&self) -> Option<f64> {
        (self.resolved() > 0).then(|| self.failure as f64 / self.resolved() as f64)
    }
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.zip(other, u64::saturating_add)
    }
}

impl Sub for Counts {
    type Output = Self;

    /// What happened since `earlier`; never below 0.
    fn sub(self, earlier: Self) -> Self {
        self.zip(earlier, u64::saturating_sub)
    }
}

impl Counts {
    fn zip(self, other: Self, f: fn(u64, u64) -> u64) -> Self {
        Self {
            dispatched: f(self.dispatched, other.dispatched),
            success: f(self.success, other.success),
            failure: f(self.failure, other.failure),
            no_evidence: f(self.no_evidence, other.no_evidence),
            headed: f(self.headed, other.headed),
            fast: std::array::from_fn(|i| f(self.fast[i], other.fast[i])),
            slow: std::array::from_fn(|i| f(self.slow[i], other.slow[i])),
        }
    }
}
