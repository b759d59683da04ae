//! What a canary may still cost: whether it may be used at all, by how many requests at once, and how
//! often it may still fail. Asked at every dispatch; the caller brings the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use crate::measure::Track;

/// The breaker of one rollout's canary. It outlives swaps, so that requests that chose the canary
/// by an older table meet it too.
///
/// All that control writes has one writer: control. What requests take is shared by the workers, and is
/// touched only where the bound is on (or a request failed).
#[derive(Debug)]
pub struct Breaker {
    /// [`OPEN`], [`FAILURES`], [`IN_FLIGHT`].
    state: AtomicU8,
    in_flight_max: AtomicU32,
    in_flight: AtomicU32,
    /// Failures so far.
    failures: AtomicU64,
    /// Nothing more is admitted once `failures` is here.
    failures_max: AtomicU64,
    /// When control last said so, by the clock of `Live`.
    granted_us: AtomicU64,
    diverted: AtomicU64,
}

/// What is bounded besides the circuit itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Failures, to what [`Breaker::grant`] says.
    pub failures: bool,
    /// Requests that are open without a response head at once; `None`: any number.
    pub in_flight: Option<u32>,
}

/// What the breaker says to a request that is about to be dispatched to the canary.
#[derive(Debug)]
pub enum Admission {
    /// Go on, and keep the place, where there is one, until the response head has come.
    Canary(Option<Place>),
    /// Send it to stable.
    Stable,
}

/// One of the requests that may be in flight at once. Dropping it gives the place back.
#[derive(Debug)]
pub struct Place(Arc<Breaker>);

/// The circuit is open: nothing is admitted.
const OPEN: u8 = 1;
/// Failures are bounded.
const FAILURES: u8 = 2;
/// Requests in flight are bounded.
const IN_FLIGHT: u8 = 4;

/// A grant that is older counts as spent: control sleeps, and nobody watches.
const GRANT_US: u64 = 1_000_000;

impl Breaker {
    /// A breaker that admits (`true`) or not, without bounds.
    #[must_use]
    pub fn new(admits: bool) -> Self {
        Self {
            state: AtomicU8::new(if admits { 0 } else { OPEN }),
            in_flight_max: AtomicU32::new(u32::MAX),
            in_flight: AtomicU32::new(0),
            failures: AtomicU64::new(0),
            failures_max: AtomicU64::new(0),
            granted_us: AtomicU64::new(0),
            diverted: AtomicU64::new(0),
        }
    }

    /// Asked before a request of `track` is dispatched: the one that the table chose, because what a
    /// cohort placed without a vote takes nothing from the failures that are left. Without bounds it
    /// costs one load.
    #[must_use]
    pub fn admit(self: &Arc<Self>, track: Track, now_us: u64) -> Admission {
        let state = self.state.load(Ordering::Acquire);
        if state == 0 {
            return Admission::Canary(None);
        }
        if !self.refuses(state, track, now_us) {
            if state & IN_FLIGHT == 0 {
                return Admission::Canary(None);
            }
            if let Some(place) = self.take_place() {
                return Admission::Canary(Some(place));
            }
        }
        self.diverted.fetch_add(1, Ordering::Relaxed);
        Admission::Stable
    }

    /// Asked again after each wait, by a request that was admitted before and has kept its place: an
    /// abort must not be overtaken by it.
    #[must_use]
    pub fn admits_still(&self, track: Track, now_us: u64) -> bool {
        let state = self.state.load(Ordering::Acquire);
        let admits = !self.refuses(state, track, now_us);
        if !admits {
            self.diverted.fetch_add(1, Ordering::Relaxed);
        }
        admits
    }

    /// From now on nothing more goes to the canary (`true`), or it may again.
    pub fn set_open(&self, open: bool) {
        if open {
            self.state.fetch_or(OPEN, Ordering::Release);
        } else {
            self.state.fetch_and(!OPEN, Ordering::Release);
        }
    }

    /// What is bounded from now on. Requests that were admitted without a bound on those in flight are
    /// not counted there. Where failures begin to be bounded, nothing is admitted before a grant.
    pub fn set_bounds(&self, bounds: Bounds) {
        let state = self.state.load(Ordering::Relaxed);
        if bounds.failures && state & FAILURES == 0 {
            self.failures_max.store(0, Ordering::Relaxed);
        }
        self.in_flight_max
            .store(bounds.in_flight.unwrap_or(u32::MAX), Ordering::Relaxed);
        let failures = if bounds.failures { FAILURES } else { 0 };
        let in_flight = bounds.in_flight.map_or(0, |_| IN_FLIGHT);
        self.state.store(state & OPEN | failures | in_flight, Ordering::Release);
    }

    /// Failures so far, each counted after it was in the recorder: whoever reads this first and the
    /// recorder then misses none there that is in here.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Acquire)
    }

    /// [`Breaker::failures`] may go up to `up_to`, by requests that are dispatched within one second from
    /// `now_us` on. What is in flight when it gets there may go beyond it.
    pub fn grant(&self, up_to: u64, now_us: u64) {
        // Whoever sees the new time sees the new bound.
        self.failures_max.store(up_to, Ordering::Relaxed);
        self.granted_us.store(now_us, Ordering::Release);
    }

    /// A request failed by the canary's fault that was not placed by a cohort without a vote.
    pub fn take_failure(&self) {
        self.failures.fetch_add(1, Ordering::Release);
    }

    /// Requests that were refused and went to stable.
    #[must_use]
    pub fn diverted(&self) -> u64 {
        self.diverted.load(Ordering::Relaxed)
    }

    /// Requests that hold a place.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    fn refuses(&self, state: u8, track: Track, now_us: u64) -> bool {
        state & OPEN != 0 || (state & FAILURES != 0 && track != Track::Cohort && self.is_spent(now_us))
    }

    fn is_spent(&self, now_us: u64) -> bool {
        let granted_us = self.granted_us.load(Ordering::Acquire);
        now_us.saturating_sub(granted_us) > GRANT_US
            || self.failures.load(Ordering::Relaxed) >= self.failures_max.load(Ordering::Relaxed)
    }

    fn take_place(self: &Arc<Self>) -> Option<Place> {
        let max = self.in_flight_max.load(Ordering::Relaxed);
        let more = |now| (now < max).then_some(now + 1);
        let taken = self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.is_ok().then(|| Place(Arc::clone(self)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::{Admission, Bounds, Breaker, Place};
    use crate::measure::Track;

    const DRAWN: Track = Track::Draw { slot: 1 };

    const FAILURES: Bounds = Bounds {
        failures: true,
        in_flight: None,
    };

    fn breaker(bounds: Bounds) -> Arc<Breaker> {
        let breaker = Arc::new(Breaker::new(true));
        breaker.set_bounds(bounds);
        breaker
    }

    fn two_at_once() -> Arc<Breaker> {
        breaker(Bounds {
            failures: false,
            in_flight: Some(2),
        })
    }

    /// Whether a request of `track` is admitted, and is still after a wait.
    fn check_track(breaker: &Arc<Breaker>, track: Track, now_us: u64, expected: bool) {
        let admission = breaker.admit(track, now_us);
        assert_eq!(
            matches!(admission, Admission::Canary(_)),
            expected,
            "{track:?} {now_us} {breaker:?}"
        );
        assert_eq!(breaker.admits_still(track, now_us), expected);
    }

    fn check(breaker: &Arc<Breaker>, now_us: u64, expected: bool) {
        check_track(breaker, DRAWN, now_us, expected);
    }

    fn place(breaker: &Arc<Breaker>) -> Option<Place> {
        match breaker.admit(DRAWN, 0) {
            Admission::Canary(place) => place,
            Admission::Stable => None,
        }
    }

    #[test]
    fn an_open_breaker_sends_everything_to_stable() {
        let breaker = breaker(Bounds::default());
        check(&breaker, 0, true);
        breaker.set_open(true);
        check(&breaker, 0, false);
        check_track(&breaker, Track::Cohort, 0, false);
        assert_eq!(breaker.diverted(), 4);
        breaker.set_open(false);
        check(&breaker, 0, true);
        check(&Arc::new(Breaker::new(false)), 0, false);
    }

    #[test]
    fn an_abort_opens_it_whatever_is_left_and_bounds_do_not_close_it() {
        let breaker = breaker(FAILURES);
        breaker.grant(100, 0);
        check(&breaker, 0, true);
        breaker.set_open(true);
        check(&breaker, 0, false);
        breaker.set_bounds(Bounds {
            in_flight: Some(10),
            ..FAILURES
        });
        check(&breaker, 0, false);
        breaker.set_bounds(Bounds::default());
        check(&breaker, 0, false);
    }

    #[test]
    fn failures_take_what_was_granted() {
        let breaker = breaker(FAILURES);
        check(&breaker, 0, false);
        breaker.grant(2, 0);
        check(&breaker, 0, true);
        breaker.take_failure();
        check(&breaker, 0, true);
        breaker.take_failure();
        check(&breaker, 0, false);
        breaker.grant(3, 0);
        check(&breaker, 0, true);
        assert_eq!(breaker.failures(), 2);
        breaker.grant(1, 0);
        check(&breaker, 0, false);
    }

    #[test]
    fn a_grant_lasts_a_second() {
        let breaker = breaker(FAILURES);
        breaker.grant(5, 3_000_000);
        check(&breaker, 2_999_000, true);
        check(&breaker, 4_000_000, true);
        check(&breaker, 4_000_001, false);
        breaker.grant(5, 4_000_002);
        check(&breaker, 4_000_002, true);
    }

    #[test]
    fn a_bound_that_is_switched_on_again_waits_for_a_grant() {
        let breaker = breaker(FAILURES);
        breaker.grant(5, 0);
        breaker.set_bounds(FAILURES);
        check(&breaker, 0, true);
        breaker.set_bounds(Bounds::default());
        check(&breaker, u64::MAX, true);
        breaker.set_bounds(FAILURES);
        check(&breaker, 0, false);
    }

    #[test]
    fn what_a_cohort_placed_without_a_vote_takes_a_place_and_no_failure() {
        let breaker = breaker(Bounds {
            failures: true,
            in_flight: Some(1),
        });
        check_track(&breaker, Track::Cohort, 0, true);
        check(&breaker, 0, false);
        assert_eq!(breaker.in_flight(), 0, "a refused request keeps no place");
        breaker.grant(9, 0);
        let kept = place(&breaker);
        assert!(kept.is_some());
        assert!(matches!(breaker.admit(Track::Cohort, 0), Admission::Stable));
        // Who has a place needs no other one after a wait.
        assert!(breaker.admits_still(DRAWN, 0));
    }

    #[test]
    fn places_come_back_when_they_are_dropped() {
        let breaker = two_at_once();
        let (first, second) = (place(&breaker), place(&breaker));
        assert!(first.is_some() && second.is_some());
        check_place(&breaker, false);
        drop(first);
        check_place(&breaker, true);
        let third = place(&breaker);
        check_place(&breaker, false);
        drop((second, third));
        assert_eq!(breaker.in_flight(), 0);
    }

    fn check_place(breaker: &Arc<Breaker>, expected: bool) {
        assert_eq!(place(breaker).is_some(), expected);
    }

    #[test]
    fn a_place_goes_back_also_after_the_bound_was_lifted() {
        let breaker = two_at_once();
        let kept = place(&breaker);
        breaker.set_bounds(Bounds::default());
        check(&breaker, 0, true);
        drop(kept);
        breaker.set_bounds(Bounds {
            failures: false,
            in_flight: Some(1),
        });
        check_place(&breaker, true);
        assert_eq!(breaker.in_flight(), 0);
    }

    #[test]
    fn threads_together_never_hold_more_places_than_there_are() {
        const MAX: u32 = 3;
        let breaker = breaker(Bounds {
            failures: false,
            in_flight: Some(MAX),
        });
        let (held, admitted) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5_000 {
                        if let Some(place) = place(&breaker) {
                            assert!(held.fetch_add(1, Ordering::SeqCst) < MAX);
                            admitted.fetch_add(1, Ordering::SeqCst);
                            held.fetch_sub(1, Ordering::SeqCst);
                            drop(place);
                        }
                    }
                });
            }
        });
        assert_eq!(breaker.in_flight(), 0);
        let all = u64::from(admitted.into_inner()) + breaker.diverted();
        assert_eq!(all, 20_000);
    }
}
