//! What people may ask of a rollout, and in which phase; the weights they set by hand.

use std::time::Duration;

use super::phase::Phase;
use super::place::Place;
use super::plan::{Needs, Plan};
use super::state::{At, Move, State};
use crate::analysis::figures;

/// What a person may say to a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Begin the plan at its first step.
    Start,
    /// Go on to the next step without waiting; `full`: to the end.
    Promote {
        /// Straight to 100 %.
        full: bool,
    },
    /// The canary gets nothing; the trial is over.
    Abort,
    /// Stay where it is.
    Pause,
    /// Go on.
    Resume,
    /// Begin anew after an abort.
    Retry,
    /// Undo a promotion: the former stable again.
    Rollback,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Start,
        Self::Promote { full: false },
        Self::Promote { full: true },
        Self::Abort,
        Self::Pause,
        Self::Resume,
        Self::Retry,
        Self::Rollback,
    ];

    /// Whether it can give the canary more than it has.
    #[must_use]
    pub const fn moves_forward(self) -> bool {
        match self {
            Self::Start | Self::Promote { .. } | Self::Resume | Self::Retry => true,
            Self::Abort | Self::Pause | Self::Rollback => false,
        }
    }

    /// The word in paths, commands and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Promote { .. } => "promote",
            Self::Abort => "abort",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Retry => "retry",
            Self::Rollback => "rollback",
        }
    }
}

/// Why a command cannot be done now: 409.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

impl State {
    /// What a person asks.
    ///
    /// | verb | possible in | leads to |
    /// | --- | --- | --- |
    /// | start | idle, watching, succeeded, aborted | the first step |
    /// | promote | progressing, paused, promoting with steps to come | the next step; `full`: the step of 100 % |
    /// | abort | all but aborted | aborted |
    /// | pause | progressing, promoting | paused, at the same weight |
    /// | resume | paused | the step's weight in force again; after a `pause` step, the next step |
    /// | retry | aborted | the first step |
    /// | rollback | succeeded, within the rollback window | aborted |
    ///
    /// A step of 100 % that bakes no time is not waited for: after the last one it is success at once. Paused in
    /// the step of 100 %, promote begins that step anew; when it has baked, it is left. No verb passes people
    /// who have yet to approve. A guard (no steps) knows abort, and after it start and retry, which
    /// lead to idle: the canary has no weight until somebody gives it some.
    ///
    /// # Errors
    /// [`Refused`] says what is possible instead.
    pub fn command(&self, plan: &Plan, verb: Verb, now_ms: u64) -> Result<Move, Refused> {
        match self.leads_to(plan, verb, now_ms) {
            Ok(at) => Ok(at.because(self.words(plan, verb, at), now_ms)),
            Err(why) => Err(self.refusal(plan, verb, now_ms, why)),
        }
    }

    /// Weights were set by a person or the file; `canary_has_weight` by them.
    ///
    /// # Errors
    /// [`Refused`] where the phase does not allow it: a plan is running, or it was aborted.
    pub fn weights_set(&self, canary_has_weight: bool, now_ms: u64) -> Result<Move, Refused> {
        let at = match self.at {
            At::Idle { .. } | At::Watching { .. } => At::unplanned(canary_has_weight),
            At::Paused { place, .. } => At::Paused { place, by_hand: true },
            At::Succeeded { passed, .. } => At::Succeeded { by_hand: true, passed },
            At::Running(_) => {
                let phase = self.phase().as_str();
                let possible = "pause it first, or abort it";
                return Err(Refused(format!(
                    "the rollout is {phase} and sets the weights itself; {possible}"
                )));
            }
            At::Aborted => {
                let possible = "start or retry it, or bring a new release";
                return Err(Refused(format!(
                    "the rollout is aborted and its canary gets no weight; {possible}"
                )));
            }
        };
        let mut moved = at.because("the weights were set".to_owned(), now_ms);
        if moved.state.phase() == self.phase() {
            moved.state.since_ms = self.since_ms;
        }
        Ok(moved)
    }

    /// Where `verb` leads, or why not, where more is to be said than that it is not possible.
    fn leads_to(&self, plan: &Plan, verb: Verb, now_ms: u64) -> Result<At, Option<String>> {
        match (verb, self.at) {
            (Verb::Start | Verb::Retry, At::Aborted) => Ok(At::first(plan).unwrap_or(At::Idle { withheld: true })),
            (Verb::Start, At::Idle { .. } | At::Watching { .. } | At::Succeeded { .. }) => At::first(plan).ok_or(None),
            (Verb::Promote { full }, At::Running(place) | At::Paused { place, .. }) => self.promoted(plan, place, full),
            (Verb::Abort, at) if at != At::Aborted => Ok(At::Aborted),
            (Verb::Pause, At::Running(place)) => Ok(At::Paused { place, by_hand: false }),
            (Verb::Resume, At::Paused { place, .. }) => Ok(match place.needs(plan) {
                Some(Needs::Person) => At::after(plan, place),
                _ => At::Running(place.resume(plan)),
            }),
            (Verb::Rollback, At::Succeeded { .. }) => self.rolled_back(plan, now_ms),
            _ => Err(None),
        }
    }

    /// Where `promote` leads from `place`.
    fn promoted(&self, plan: &Plan, place: Place, full: bool) -> Result<At, Option<String>> {
        let is_gate = |needs: Option<&Needs>| matches!(needs, Some(Needs::Approvals(_)));
        if is_gate(place.needs(plan)) {
            return Err(Some(format!("{} waits for people to approve", place.words(plan))));
        }
        let next = plan.after_step(place.step, place.weight_ppm);
        let to_whole = plan
            .whole()
            .filter(|whole| full && next.is_some_and(|next| next <= *whole));
        if let (Some(next), Some(whole)) = (next, to_whole) {
            let gate = (next..=whole).find(|&step| is_gate(Some(&plan.steps()[step].needs)));
            return match gate {
                Some(gate) => Err(Some(format!("step {} wants approvals; promote step by step", gate + 1))),
                None => Ok(At::entering(plan, whole)),
            };
        }
        let paused = self.phase() == Phase::Paused;
        match next {
            Some(next) => Ok(At::entering(plan, next)),
            None if paused && place.has_baked(plan) => Ok(At::SUCCEEDED),
            None if paused => Ok(At::entering(plan, place.step)),
            None => Err(None),
        }
    }

    fn rolled_back(&self, plan: &Plan, now_ms: u64) -> Result<At, Option<String>> {
        let since = Duration::from_millis(now_ms.saturating_sub(self.since_ms));
        match plan.after.rollback_window {
            Some(window) if since > window => Err(Some(format!(
                "the rollback window of {} after success is over, and the former version may be gone",
                figures::time(window)
            ))),
            Some(_) | None => Ok(At::Aborted),
        }
    }

    fn words(&self, plan: &Plan, verb: Verb, at: At) -> String {
        match verb {
            Verb::Start => format!("started: {}", at.words(plan)),
            Verb::Promote { .. } => format!("promoted by command: {}", at.words(plan)),
            Verb::Abort => format!("aborted by command while {}", self.phase().as_str()),
            Verb::Pause => format!("paused in {}", at.words(plan)),
            Verb::Resume => format!("resumed: {}", at.words(plan)),
            Verb::Retry => format!("tried again: {}", at.words(plan)),
            Verb::Rollback => "rolled back by command after the promotion".to_owned(),
        }
    }

    /// What people may ask now, in words: the verbs, `approve` and `setting weights`.
    #[must_use]
    pub fn possible(&self, plan: &Plan, now_ms: u64) -> Vec<&'static str> {
        let mut possible: Vec<&str> = Verb::ALL
            .into_iter()
            .filter(|&verb| self.leads_to(plan, verb, now_ms).is_ok())
            .map(Verb::as_str)
            .collect();
        if matches!(self.needs(plan), Some(Needs::Approvals(_))) {
            possible.push("approve");
        }
        if self.phase().allows_weights_by_hand() {
            possible.push("setting weights");
        }
        possible.dedup();
        possible
    }

    /// `pause is not possible while the rollout is idle; possible now: start, abort`.
    fn refusal(&self, plan: &Plan, verb: Verb, now_ms: u64, why: Option<String>) -> Refused {
        let possible = self.possible(plan, now_ms);
        let word = verb.as_str();
        let why = match why {
            Some(why) => format!("{word} is not possible: {why}"),
            None if plan.is_guard() && self.phase() != Phase::Aborted => {
                format!("{word} needs a plan, and this rollout has no steps")
            }
            None if verb == Verb::Abort => "the rollout is already aborted".to_owned(),
            None => format!("{word} is not possible while the rollout is {}", self.phase().as_str()),
        };
        Refused(format!("{why}; possible now: {}", possible.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::super::state::tests::{in_phase, plan, three_steps};
    use super::*;

    const PROMOTE: Verb = Verb::Promote { full: false };
    const FULL: Verb = Verb::Promote { full: true };

    /// What `verb` does in `phase`: the phase and weight it leads to, or the refusal.
    fn said(plan: &Plan, state: &State, verb: Verb) -> String {
        match state.command(plan, verb, 7) {
            Ok(moved) => {
                assert!(!moved.reason.is_empty());
                let weight = moved.state.canary_ppm(plan).map(|ppm| format!(" {}", ppm / 10_000));
                format!("{}{}", moved.state.phase().as_str(), weight.unwrap_or_default())
            }
            Err(Refused(why)) => why,
        }
    }

    #[test]
    fn each_verb_in_each_phase_is_done_or_refused_with_what_is_possible() {
        let check = |phase: Phase, expected: [&str; 8]| {
            for (verb, expected) in Verb::ALL.into_iter().zip(expected) {
                let found = said(&three_steps(), &in_phase(phase), verb);
                match expected {
                    "no" => assert!(
                        found.contains("possible now: ") && found.contains(phase.as_str()),
                        "{phase:?} {verb:?}: {found}"
                    ),
                    done => assert_eq!(found, done, "{phase:?} {verb:?}"),
                }
            }
        };
        let (first, second) = ("progressing 5", "progressing 25");
        let (aborted, paused) = ("aborted 0", "paused 25");
        let all = "promoting 100";
        // start, promote, promote full, abort, pause, resume, retry, rollback
        check(Phase::Idle, [first, "no", "no", aborted, "no", "no", "no", "no"]);
        check(Phase::Watching, [first, "no", "no", aborted, "no", "no", "no", "no"]);
        check(Phase::Progressing, ["no", all, all, aborted, paused, "no", "no", "no"]);
        check(Phase::Paused, ["no", all, all, aborted, "no", second, "no", "no"]);
        check(
            Phase::Promoting,
            ["no", "no", "no", aborted, "paused 100", "no", "no", "no"],
        );
        check(
            Phase::Succeeded,
            [first, "no", "no", aborted, "no", "no", "no", aborted],
        );
        check(Phase::Aborted, [first, "no", "no", "no", "no", "no", first, "no"]);
    }

    #[test]
    fn a_refusal_says_what_is_possible() {
        let check = |phase, verb, expected: &str| assert_eq!(said(&three_steps(), &in_phase(phase), verb), expected);
        check(
            Phase::Idle,
            Verb::Pause,
            "pause is not possible while the rollout is idle; possible now: start, abort, setting weights",
        );
        check(
            Phase::Progressing,
            Verb::Start,
            "start is not possible while the rollout is progressing; possible now: promote, abort, pause",
        );
        check(
            Phase::Aborted,
            Verb::Abort,
            "the rollout is already aborted; possible now: start, retry",
        );
    }

    #[test]
    fn a_guard_knows_abort_and_after_it_a_way_back_to_no_weight() {
        let guard = Plan::default();
        let watching = State::initial(true, 0);
        for verb in [Verb::Start, PROMOTE, FULL, Verb::Pause, Verb::Resume, Verb::Retry] {
            let found = said(&guard, &watching, verb);
            let expected = "needs a plan, and this rollout has no steps; possible now: abort, setting weights";
            assert!(found.ends_with(expected), "{found}");
        }
        let aborted = watching.command(&guard, Verb::Abort, 1).unwrap().state;
        assert_eq!(said(&guard, &aborted, Verb::Retry), "idle 0");
        assert_eq!(said(&guard, &aborted, Verb::Start), "idle 0");
    }

    #[test]
    fn promote_is_success_at_once_where_the_whole_bakes_no_time() {
        let plan = plan(&[(5, 10), (100, 0)]);
        let begun = State::initial(false, 0).command(&plan, Verb::Start, 0).unwrap().state;
        assert_eq!(said(&plan, &begun, PROMOTE), "succeeded 100");
    }

    #[test]
    fn promote_while_paused_at_the_whole_begins_the_last_step_anew() {
        let paused = in_phase(Phase::Promoting)
            .command(&three_steps(), Verb::Pause, 1)
            .unwrap()
            .state;
        assert_eq!(said(&three_steps(), &paused, PROMOTE), "promoting 100");
    }

    #[test]
    fn promote_ends_a_whole_that_has_baked_and_has_too_little_evidence() {
        let plan = three_steps();
        let mut parts = in_phase(Phase::Promoting).parts();
        (parts.phase, parts.baked_ms) = (Phase::Paused, 10_000);
        assert_eq!(said(&plan, &State::restore(parts, &plan), PROMOTE), "succeeded 100");
    }

    #[test]
    fn weights_by_hand_stand_where_the_phase_allows_them() {
        let check = |phase: Phase, canary_has_weight, expected: Option<Phase>| {
            let found = in_phase(phase).weights_set(canary_has_weight, 7);
            assert_eq!(found.is_ok(), phase.allows_weights_by_hand());
            match found {
                Ok(moved) => {
                    assert_eq!(Some(moved.state.phase()), expected, "{phase:?}");
                    assert_eq!(moved.state.canary_ppm(&three_steps()), None);
                }
                Err(Refused(why)) => {
                    assert_eq!(None, expected, "{phase:?}");
                    assert!(why.contains(phase.as_str()), "{why}");
                }
            }
        };
        for has in [true, false] {
            let unplanned = Some(if has { Phase::Watching } else { Phase::Idle });
            check(Phase::Idle, has, unplanned);
            check(Phase::Watching, has, unplanned);
            check(Phase::Paused, has, Some(Phase::Paused));
            check(Phase::Succeeded, has, Some(Phase::Succeeded));
            check(Phase::Progressing, has, None);
            check(Phase::Promoting, has, None);
            check(Phase::Aborted, has, None);
        }
    }

    #[test]
    fn resume_puts_the_weight_of_the_step_in_force_again() {
        let by_hand = in_phase(Phase::Paused).weights_set(true, 3).unwrap().state;
        assert_eq!(said(&three_steps(), &by_hand, Verb::Resume), "progressing 25");
    }

    #[test]
    fn weights_that_change_no_phase_do_not_make_it_younger() {
        let again = in_phase(Phase::Watching).weights_set(true, 50).unwrap().state;
        assert_eq!(again.since_ms(), in_phase(Phase::Watching).since_ms());
        assert_eq!(
            in_phase(Phase::Idle).weights_set(true, 50).unwrap().state.since_ms(),
            50
        );
    }
}
