//! When exchanges end that began on a side of a rollout before it lost its weight. Control says when, the
//! workers look; the caller brings the time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The hour for what began on one side while it had weight. It outlives swaps, so that exchanges that chose
/// the side by an older table meet it; what begins without weight, by a cohort, does not. The workers look at each
/// exchange once a second at least: an hour that is nearer than that is met up to a second late.
#[derive(Debug)]
pub struct Curfew {
    /// By the clock of `Live`; [`NONE`]: they end by themselves.
    at_us: AtomicU64,
    ended: AtomicU64,
}

const NONE: u64 = u64::MAX;

impl Curfew {
    /// None is set.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            at_us: AtomicU64::new(NONE),
            ended: AtomicU64::new(0),
        }
    }

    /// What is in force since `now_us`: whether the side `has_weight`, and how long after it lost that
    /// exchanges may go on (`None`: as long as they like). An hour that is set stays until the side has
    /// weight again, or may take its time. One writer: control.
    pub fn heed(&self, has_weight: bool, drain: Option<Duration>, now_us: u64) {
        let at_us = match drain.filter(|_| !has_weight) {
            None => NONE,
            Some(_) if self.at_us() != NONE => return,
            // Later than any clock shows, and yet an hour.
            Some(drain) => {
                u64::try_from(drain.as_micros()).map_or(NONE - 1, |drain_us| now_us.saturating_add(drain_us))
            }
        };
        self.at_us.store(at_us, Ordering::Release);
    }

    /// The hour; `u64::MAX` when none is set. One load.
    #[must_use]
    pub fn at_us(&self) -> u64 {
        self.at_us.load(Ordering::Acquire)
    }

    /// An exchange was ended.
    pub fn count(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    /// How many exchanges were ended so far.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }
}

impl Default for Curfew {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Curfew, NONE};

    const DRAIN: Option<Duration> = Some(Duration::from_micros(30));

    /// What has come into force in turn, as `(has weight, drain, now)`, and the hour after the last.
    fn check(changes: &[(bool, Option<Duration>, u64)], expected: u64) {
        let curfew = Curfew::new();
        for &(has_weight, drain, now_us) in changes {
            curfew.heed(has_weight, drain, now_us);
        }
        assert_eq!(curfew.at_us(), expected, "{changes:?}");
    }

    #[test]
    fn what_has_weight_goes_on() {
        check(&[], NONE);
        check(&[(true, DRAIN, 100)], NONE);
        check(&[(true, None, 100)], NONE);
    }

    #[test]
    fn the_loss_of_all_weight_sets_the_hour_once() {
        check(&[(true, DRAIN, 50), (false, DRAIN, 100)], 130);
        check(&[(false, DRAIN, 100), (false, DRAIN, 120)], 130);
        check(&[(false, DRAIN, 100), (false, Some(Duration::ZERO), 120)], 130);
        check(&[(false, Some(Duration::MAX), 100)], NONE - 1);
    }

    #[test]
    fn weight_lifts_it_and_the_next_loss_sets_another() {
        check(&[(false, DRAIN, 100), (true, DRAIN, 110)], NONE);
        check(&[(false, DRAIN, 100), (true, DRAIN, 110), (false, DRAIN, 200)], 230);
    }

    #[test]
    fn without_a_policy_exchanges_end_by_themselves() {
        check(&[(false, None, 100)], NONE);
        check(&[(false, DRAIN, 100), (false, None, 110)], NONE);
        check(&[(false, None, 100), (false, DRAIN, 110)], 140);
    }
}
