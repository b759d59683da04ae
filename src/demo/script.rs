//! When the canary of the demo turns bad, and when the run is over. Pure: the caller brings the time.

use std::time::Duration;

use super::scenario::{Outcome, Scenario};
use crate::rollout::Phase;

/// The canary turns bad so long after the first step was seen in force.
const WELL_BEFORE: Duration = Duration::from_secs(1);

/// A plan that goes well takes some fifteen seconds; more than this is no trial any more.
const TIME_MAX: Duration = Duration::from_secs(40);

/// The requests that the first, thinnest step needs as evidence beside a stable that fails as little, and
/// its share of all.
const EVIDENCE: u32 = 370;
const FIRST_SHARE: f64 = 0.10;

/// The course of one run.
#[derive(Clone, Debug)]
pub(super) struct Script {
    scenario: Scenario,
    time_max: Duration,
    /// When the first step was seen in force.
    first_step_at: Option<Duration>,
    turned: bool,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cue {
    /// Nothing.
    Wait,
    /// The canary turns bad.
    TurnBad,
    /// It is over.
    End(Outcome),
}

impl Script {
    /// For a load of `rate` requests per second, above 0: a thin one needs longer for its evidence.
    pub(super) fn new(scenario: Scenario, rate: u32) -> Self {
        let evidence = f64::from(EVIDENCE) / (FIRST_SHARE * f64::from(rate));
        Self {
            scenario,
            time_max: TIME_MAX + Duration::from_secs_f64(3.0 * evidence),
            first_step_at: None,
            turned: false,
        }
    }

    /// What is to be done `at` a time since the rollout began, in this phase and step.
    pub(super) fn next(&mut self, at: Duration, phase: Phase, step: Option<usize>) -> Cue {
        match phase {
            Phase::Succeeded => return Cue::End(Outcome::Succeeded),
            Phase::Aborted => return Cue::End(Outcome::Aborted),
            _ if at >= self.time_max => return Cue::End(Outcome::TimedOut),
            Phase::Idle | Phase::Watching | Phase::Paused => return Cue::Wait,
            Phase::Progressing | Phase::Promoting => {}
        }
        if self.turned || self.scenario == Scenario::Healthy || step.is_none() {
            return Cue::Wait;
        }
        if at < *self.first_step_at.get_or_insert(at) + WELL_BEFORE {
            return Cue::Wait;
        }
        self.turned = true;
        Cue::TurnBad
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(scenario: Scenario, course: &[(u64, Phase, usize, Cue)]) {
        let mut script = Script::new(scenario, 1000);
        for &(at_ms, phase, step, expected) in course {
            let cue = script.next(Duration::from_millis(at_ms), phase, Some(step));
            assert_eq!(cue, expected, "{scenario:?} at {at_ms} ms");
        }
    }

    #[test]
    fn the_canary_turns_bad_once_in_its_first_step() {
        check(
            Scenario::Errors,
            &[
                (50, Phase::Idle, 0, Cue::Wait),
                (100, Phase::Progressing, 0, Cue::Wait),
                (1_050, Phase::Progressing, 0, Cue::Wait),
                (1_100, Phase::Progressing, 0, Cue::TurnBad),
                (1_150, Phase::Progressing, 0, Cue::Wait),
                (3_200, Phase::Aborted, 0, Cue::End(Outcome::Aborted)),
            ],
        );
    }

    #[test]
    fn a_healthy_canary_stays_well_to_the_end() {
        check(
            Scenario::Healthy,
            &[
                (3_000, Phase::Progressing, 1, Cue::Wait),
                (7_000, Phase::Promoting, 3, Cue::Wait),
                (9_000, Phase::Succeeded, 3, Cue::End(Outcome::Succeeded)),
            ],
        );
    }

    #[test]
    fn a_run_without_an_end_is_ended() {
        check(
            Scenario::Healthy,
            &[
                (51_099, Phase::Progressing, 0, Cue::Wait),
                (51_100, Phase::Progressing, 0, Cue::End(Outcome::TimedOut)),
            ],
        );
    }

    #[test]
    fn a_paused_canary_stays_as_it_is() {
        check(
            Scenario::Down,
            &[
                (500, Phase::Progressing, 0, Cue::Wait),
                (4_000, Phase::Paused, 0, Cue::Wait),
                (4_050, Phase::Progressing, 0, Cue::TurnBad),
            ],
        );
    }
}
