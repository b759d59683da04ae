//! A rollout's state as plain fields, for whoever stores it.

use std::time::Duration;

use super::phase::Phase;
use super::place::Place;
use super::plan::Plan;
use super::state::{At, State};
use crate::share::MILLION;

/// Everything in a [`State`], in plain fields. Those that mean nothing in the phase are `None`, 0 or false.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Where it stands.
    pub phase: Phase,
    /// Index of the step in force.
    pub step: Option<usize>,
    /// What the rollout put in force, in parts per million of the pair, if it did.
    pub weight_ppm: Option<u32>,
    /// How long the step has baked, or how long ago it succeeded, in milliseconds.
    pub baked_ms: u64,
    /// How long of that it has waited for evidence beyond the bake time, in milliseconds.
    pub waited_ms: u64,
    /// Whether a person resumed it after its bake time.
    pub resumed: bool,
    /// Whether the errand that it needs has been done.
    pub cleared: bool,
    /// Whether weights set by hand stand instead of the rollout's, in a pause or after success.
    pub by_hand: bool,
    /// When phase and step began, in Unix milliseconds.
    pub since_ms: u64,
    /// Why, in words.
    pub reason: String,
}

impl State {
    /// Its stored form.
    #[must_use]
    pub fn parts(&self) -> Parts {
        let place = self.place();
        Parts {
            phase: self.phase(),
            step: place.map(|place| place.step),
            weight_ppm: match self.at {
                At::Idle { withheld } => withheld.then_some(0),
                At::Watching { left_ppm } => left_ppm,
                At::Running(place) | At::Paused { place, .. } => Some(place.weight_ppm),
                At::Succeeded { .. } | At::Aborted => None,
            },
            baked_ms: millis(self.baked()),
            waited_ms: place.map_or(0, |place| millis(place.waited)),
            resumed: place.is_some_and(|place| place.resumed),
            cleared: place.is_some_and(|place| place.cleared),
            by_hand: matches!(
                self.at,
                At::Paused { by_hand: true, .. } | At::Succeeded { by_hand: true, .. }
            ),
            since_ms: self.since_ms,
            reason: self.reason.clone(),
        }
    }

    /// The state that `parts` were taken from, by the plan that it was made under (then call
    /// [`State::plan_changed`] if the plan is another one now). Parts that do not fit the plan are
    /// bent, never refused: a step out of range becomes the nearest one, a weight above the whole
    /// the whole; a place in a plan without steps becomes watching. Aborted stays aborted.
    #[must_use]
    pub fn restore(parts: Parts, plan: &Plan) -> Self {
        let weight_ppm = parts.weight_ppm.map(|ppm| ppm.min(MILLION));
        let unplaced = At::Watching {
            left_ppm: weight_ppm.filter(|_| !parts.by_hand),
        };
        let place = Place::restore(&parts, weight_ppm, plan);
        let by_hand = parts.by_hand;
        Self {
            at: match parts.phase {
                Phase::Idle => At::Idle {
                    withheld: weight_ppm == Some(0),
                },
                Phase::Watching => At::Watching { left_ppm: weight_ppm },
                Phase::Progressing | Phase::Promoting => place.map_or(unplaced, At::Running),
                Phase::Paused => place.map_or(unplaced, |place| At::Paused { place, by_hand }),
                Phase::Succeeded => At::Succeeded {
                    by_hand,
                    passed: Duration::from_millis(parts.baked_ms),
                },
                Phase::Aborted => At::Aborted,
            },
            since_ms: parts.since_ms,
            reason: parts.reason,
        }
    }
}

impl Place {
    /// `None` for a guard, which has no places.
    fn restore(parts: &Parts, weight_ppm: Option<u32>, plan: &Plan) -> Option<Self> {
        let last = plan.steps().len().checked_sub(1)?;
        let step = match (parts.step, weight_ppm) {
            (Some(step), _) if step <= last => step,
            (_, Some(weight_ppm)) => plan.nearest(weight_ppm)?,
            (Some(_), None) => last,
            (None, None) => 0,
        };
        Some(Self {
            step,
            weight_ppm: weight_ppm.unwrap_or(plan.steps()[step].weight_ppm),
            baked: Duration::from_millis(parts.baked_ms),
            waited: Duration::from_millis(parts.waited_ms),
            resumed: parts.resumed,
            cleared: parts.cleared,
        })
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::state::tests::{in_phase, three_steps};
    use super::*;
    use crate::rollout::Verb;

    #[test]
    fn every_state_comes_back_as_it_was() {
        let plan = three_steps();
        let check = |state: State| assert_eq!(State::restore(state.parts(), &plan), state);
        for phase in Phase::ALL {
            let state = in_phase(phase);
            check(state.clone());
            if let Ok(by_hand) = state.weights_set(true, 4) {
                check(by_hand.state);
            }
            check(state.plan_changed(&plan, &Plan::default(), 5));
        }
        let waits = Place {
            step: 1,
            weight_ppm: 250_000,
            baked: Duration::from_millis(12_345),
            waited: Duration::from_millis(2_345),
            resumed: true,
            cleared: false,
        };
        check(At::Running(waits).because("thin".to_owned(), 8).state);
        check(in_phase(Phase::Aborted).release_changed(&plan, false, 6).unwrap().state);
        let guard = Plan::default();
        let idle = in_phase(Phase::Aborted).command(&guard, Verb::Retry, 6).unwrap().state;
        assert_eq!(State::restore(idle.parts(), &guard), idle);
    }

    #[test]
    fn parts_that_do_not_fit_are_bent() {
        let check = |change: fn(&mut Parts), plan: &Plan, phase, step, ppm| {
            let mut parts = in_phase(Phase::Progressing).parts();
            change(&mut parts);
            let found = State::restore(parts, plan);
            assert_eq!(
                (found.phase(), found.step(), found.canary_ppm(plan)),
                (phase, step, ppm)
            );
        };
        let plan = three_steps();
        let (progressing, promoting) = (Phase::Progressing, Phase::Promoting);
        check(|p| p.step = Some(9), &plan, progressing, Some(1), Some(250_000));
        check(|p| p.step = None, &plan, progressing, Some(1), Some(250_000));
        check(|p| p.weight_ppm = None, &plan, progressing, Some(1), Some(250_000));
        check(
            |p| p.weight_ppm = Some(u32::MAX),
            &plan,
            promoting,
            Some(1),
            Some(1_000_000),
        );
        check(|_| (), &Plan::default(), Phase::Watching, None, Some(250_000));
        check(|p| p.phase = Phase::Aborted, &plan, Phase::Aborted, None, Some(0));
    }
}
