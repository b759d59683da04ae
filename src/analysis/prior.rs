//! How likely it is beforehand that a canary turns bad in a given tick.

use std::time::Duration;

use super::judge::Term;

/// Mass of "it was bad from the start".
const AT_THE_START: f64 = 0.70;
/// Mass that is divided over the changes of weight, `1/(i(i+1))` of it at the i-th.
const AT_CHANGES: f64 = 0.15;
/// Mass that is divided over time, by `t/(t+T)`.
const OVER_TIME: f64 = 0.15;
/// The least T of a plan, in seconds.
const HORIZON_LEAST: f64 = 300.0;
/// T while watching, in seconds.
const HORIZON_WATCH: f64 = 3600.0;

/// The prior of the moment of change; all that it ever gives out adds up to less than 1.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Prior {
    /// T, in seconds.
    horizon: f64,
    /// Time spent, in seconds.
    spent: f64,
    /// Changes of weight so far.
    changes: u32,
    /// Mass that waits for the next tick.
    due: f64,
}

impl Prior {
    pub(super) fn new(term: Term) -> Self {
        Self {
            horizon: match term {
                Term::Plan { bake_time } => bake_time.as_secs_f64().max(HORIZON_LEAST),
                Term::Watch => HORIZON_WATCH,
            },
            spent: 0.0,
            changes: 0,
            due: AT_THE_START,
        }
    }

    /// The weight was changed.
    pub(super) fn change(&mut self) {
        self.changes += 1;
        let i = f64::from(self.changes);
        self.due += AT_CHANGES / (i * (i + 1.0));
    }

    /// The mass of a tick that took so long.
    pub(super) fn tick(&mut self, elapsed: Duration) -> f64 {
        let gone = |t: f64| t / (t + self.horizon);
        let now = self.spent + elapsed.as_secs_f64();
        let mass = OVER_TIME * (gone(now) - gone(self.spent));
        self.spent = now;
        std::mem::take(&mut self.due) + mass
    }

    /// Time spent.
    pub(super) fn spent(&self) -> Duration {
        Duration::from_secs_f64(self.spent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAN: Term = Term::Plan {
        bake_time: Duration::from_secs(60),
    };

    #[test]
    fn most_of_it_stands_at_the_start() {
        let mut prior = Prior::new(PLAN);
        let tick = Duration::from_millis(100);
        let of_time = |from: f64, to: f64| 0.15 * (to / (to + 300.0) - from / (from + 300.0));
        assert!((prior.tick(tick) - 0.70 - of_time(0.0, 0.1)).abs() < 1e-15);
        assert!((prior.tick(tick) - of_time(0.1, 0.2)).abs() < 1e-15);
        prior.change();
        assert!((prior.tick(tick) - of_time(0.2, 0.3) - 0.075).abs() < 1e-15);
        prior.change();
        assert!((prior.tick(tick) - of_time(0.3, 0.4) - 0.025).abs() < 1e-15);
    }

    #[test]
    fn a_long_plan_and_a_watch_spread_it_wider() {
        let horizon = |term| Prior::new(term).horizon;
        let bake_time = Duration::from_secs(7200);
        assert_eq!(horizon(Term::Plan { bake_time }), 7200.0);
        assert_eq!((horizon(PLAN), horizon(Term::Watch)), (300.0, 3600.0));
    }

    proptest! {
        #[test]
        fn it_never_gives_out_more_than_one(ticks in prop::collection::vec((0u64..1_000_000, any::<bool>()), 0..200)) {
            let mut prior = Prior::new(PLAN);
            let mut sum = 0.0;
            for (ms, changed) in ticks {
                if changed {
                    prior.change();
                }
                sum += prior.tick(Duration::from_millis(ms));
            }
            prop_assert!(sum <= 1.0);
        }
    }
}
