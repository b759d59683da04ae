//! Plain copies of counters: added, subtracted, turned into rates and quantiles.

use std::ops::{Add, AddAssign, Sub};

use super::histogram::Histogram;
use super::outcome::Outcome;
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
    /// Answers of the backend with a status of 4xx that were no failure.
    pub client_errors: u64,
    /// Response heads received.
    pub headed: u64,
    /// Ended, however, without a response head.
    pub headless: u64,
    /// Response heads that came within each limit.
    pub fast: [u64; LIMITS],
    /// Requests older than each limit, answered or not.
    pub slow: [u64; LIMITS],
}

/// Counters and latencies together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Attempts that are evidence.
    pub counts: Counts,
    /// What cohorts sent that do not vote; not in `counts`.
    pub cohort: Counts,
    /// From request head complete to response head received, in microseconds.
    pub latency: Histogram,
}

impl Counts {
    /// How many ended as `outcome`.
    #[must_use]
    pub const fn of(&self, outcome: Outcome) -> u64 {
        match outcome {
            Outcome::Success => self.success,
            Outcome::Failure => self.failure,
            Outcome::NoEvidence => self.no_evidence,
        }
    }

    /// Requests that are evidence: success or failure.
    #[must_use]
    pub const fn resolved(&self) -> u64 {
        self.success + self.failure
    }

    /// Still open, where these are all counts since the recorder's birth.
    #[must_use]
    pub const fn open(&self) -> u64 {
        self.dispatched
            .saturating_sub(self.resolved())
            .saturating_sub(self.no_evidence)
    }

    /// Still open and without a response head, where these are all counts since the recorder's birth.
    #[must_use]
    pub const fn open_without_head(&self) -> u64 {
        self.dispatched
            .saturating_sub(self.headed)
            .saturating_sub(self.headless)
    }

    /// Failures among the evidence, 0 to 1; `None` without any.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // counts stay far below 2^52
    pub fn error_rate(&self) -> Option<f64> {
        (self.resolved() > 0).then(|| self.failure as f64 / self.resolved() as f64)
    }
}

impl Snapshot {
    /// What happened since `earlier`; never below 0.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            counts: self.counts - earlier.counts,
            cohort: self.cohort - earlier.cohort,
            latency: self.latency.since(&earlier.latency),
        }
    }
}

impl AddAssign<&Self> for Snapshot {
    fn add_assign(&mut self, other: &Self) {
        self.counts = self.counts + other.counts;
        self.cohort = self.cohort + other.cohort;
        self.latency += &other.latency;
    }
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.zip(&other, u64::saturating_add)
    }
}

impl Sub for Counts {
    type Output = Self;

    /// What happened since `earlier`; never below 0.
    fn sub(self, earlier: Self) -> Self {
        self.zip(&earlier, u64::saturating_sub)
    }
}

impl Counts {
    /// Whether some counter is lower than it was in `earlier`: the two are not of one recorder's life.
    #[must_use]
    pub const fn went_back_from(&self, earlier: &Self) -> bool {
        self.dispatched < earlier.dispatched
            || self.success < earlier.success
            || self.failure < earlier.failure
            || self.no_evidence < earlier.no_evidence
    }

    #[inline]
    fn zip(&self, other: &Self, f: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            dispatched: f(self.dispatched, other.dispatched),
            success: f(self.success, other.success),
            failure: f(self.failure, other.failure),
            no_evidence: f(self.no_evidence, other.no_evidence),
            client_errors: f(self.client_errors, other.client_errors),
            headed: f(self.headed, other.headed),
            headless: f(self.headless, other.headless),
            fast: std::array::from_fn(|i| f(self.fast[i], other.fast[i])),
            slow: std::array::from_fn(|i| f(self.slow[i], other.slow[i])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(dispatched: u64, success: u64, failure: u64) -> Counts {
        Counts {
            dispatched,
            success,
            failure,
            slow: [failure; LIMITS],
            ..Counts::default()
        }
    }

    #[test]
    fn sums_and_differences_are_field_by_field() {
        let (a, b) = (counts(9, 5, 3), counts(4, 2, 1));
        assert_eq!(a + b, counts(13, 7, 4));
        assert_eq!(a - b, counts(5, 3, 2));
        assert_eq!(b - a, Counts::default());
        assert!(b.went_back_from(&a) && !a.went_back_from(&b));
    }

    #[test]
    fn the_rate_is_of_evidence_only() {
        let check = |found: Counts, expected| assert_eq!(found.error_rate(), expected);
        check(counts(10, 6, 2), Some(0.25));
        check(counts(10, 0, 0), None);
        let no_evidence = Counts {
            no_evidence: 90,
            ..counts(100, 9, 1)
        };
        check(no_evidence, Some(0.1));
    }

    #[test]
    fn a_snapshot_is_taken_apart_as_it_was_put_together() {
        let mut latency = Histogram::default();
        latency.record(700);
        let part = Snapshot {
            counts: counts(3, 2, 1),
            cohort: Counts::default(),
            latency,
        };
        let mut whole = part.clone();
        whole += &part;
        assert_eq!((whole.counts.dispatched, whole.latency.count()), (6, 2));
        assert_eq!(whole.since(&part), part);
    }
}
