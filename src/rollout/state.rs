//! Where a rollout stands, and how it moves on. Pure: the caller brings time and verdict.

use std::time::Duration;

use super::errand::{Errand, OnFailure};
use super::phase::Phase;
use super::place::Place;
use super::plan::{Needs, Plan};
use crate::analysis::{Verdict, VerdictKind, figures};
use crate::share::MILLION;

/// One rollout's place in its plan, and since when and why it stands there. It is rebuilt from a
/// stored form with [`State::restore`].
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    pub(super) at: At,
    pub(super) since_ms: u64,
    pub(super) reason: String,
}

/// Where it stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum At {
    /// The weights of file or person stand, and give the canary none. `withheld`: the canary gets
    /// nothing even if they give it some, until weights are set anew (it was aborted before).
    Idle { withheld: bool },
    /// The weights of file or person stand. `left_ppm`: no, those that a plan left when it was
    /// taken out of the file.
    Watching { left_ppm: Option<u32> },
    /// A step is in force: progressing below 100 %, promoting at 100 %.
    Running(Place),
    /// A person has stopped it in `place`, or too little evidence came. `by_hand`: other weights
    /// than the step's stand.
    Paused { place: Place, by_hand: bool },
    /// The canary has everything, or what a person gave it afterwards (`by_hand`); `passed`: so much time since.
    Succeeded { by_hand: bool, passed: Duration },
    /// The canary has nothing. No tick leads out: only a person or a new release.
    Aborted,
}

/// What a tick brings.
#[derive(Clone, Copy, Debug)]
pub struct Tick<'a> {
    /// The plan in force.
    pub plan: &'a Plan,
    /// What the evidence says.
    pub verdict: &'a Verdict,
    /// Since the last tick.
    pub elapsed: Duration,
    /// How long beyond the bake time evidence is waited for.
    pub patience: Duration,
    /// Judge and report: nothing moves by itself.
    pub observe: bool,
    /// Nothing moves forward now: frozen, or outside of the rollout's window.
    pub held: bool,
    /// What the step needs beside time and evidence has come about.
    pub cleared: bool,
    /// Unix time in milliseconds.
    pub now_ms: u64,
}

/// A new state, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Move {
    /// Where it stands now.
    pub state: State,
    /// In words, with figures where a verdict decided.
    pub reason: String,
}

impl State {
    /// Not begun: the weights of file or person stand. `Watching` when they give the canary weight.
    #[must_use]
    pub fn initial(canary_has_weight: bool, now_ms: u64) -> Self {
        Self {
            at: At::unplanned(canary_has_weight),
            since_ms: now_ms,
            reason: "not started".to_owned(),
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.at {
            At::Idle { .. } => Phase::Idle,
            At::Watching { .. } => Phase::Watching,
            At::Running(place) if place.weight_ppm < MILLION => Phase::Progressing,
            At::Running(_) => Phase::Promoting,
            At::Paused { .. } => Phase::Paused,
            At::Succeeded { .. } => Phase::Succeeded,
            At::Aborted => Phase::Aborted,
        }
    }

    /// Index of the step in force (progressing, paused, promoting); `None` in other phases.
    #[must_use]
    pub fn step(&self) -> Option<usize> {
        self.place().map(|place| place.step)
    }

    /// When this phase and step began, in Unix milliseconds.
    #[must_use]
    pub const fn since_ms(&self) -> u64 {
        self.since_ms
    }

    /// Why it stands there, in words.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// How long the present step has baked, or how long ago it succeeded. Time in a pause, or that
    /// Serin was down, does not count.
    #[must_use]
    pub fn baked(&self) -> Duration {
        match self.at {
            At::Succeeded { passed, .. } => passed,
            _ => self.place().map_or(Duration::ZERO, |place| place.baked),
        }
    }

    /// Whether a verdict can move it: while the canary has weight and is on trial, and after success
    /// for as long as the plan has it watched.
    #[must_use]
    pub fn is_judged(&self, plan: &Plan) -> bool {
        match self.at {
            At::Succeeded { passed, .. } => passed < plan.after.watch,
            _ => self.phase().is_judged(),
        }
    }

    /// What the step in force needs; `None` without one. Also in a pause.
    #[must_use]
    pub fn needs<'p>(&self, plan: &'p Plan) -> Option<&'p Needs> {
        self.place()?.needs(plan)
    }

    /// The errand to be run now: the step in force needs it, nothing is paused, and it has not been done.
    #[must_use]
    pub fn errand<'p>(&self, plan: &'p Plan) -> Option<&'p std::sync::Arc<Errand>> {
        match (self.at, self.needs(plan)?) {
            (At::Running(place), Needs::Errand(errand)) if !place.cleared => Some(errand),
            _ => None,
        }
    }

    /// The errand of the step in force has been done: the next tick may move on.
    #[must_use]
    pub fn errand_done(&self, plan: &Plan) -> Self {
        match (self.at, self.errand(plan)) {
            (At::Running(place), Some(_)) => self.with(At::Running(Place { cleared: true, ..place })),
            _ => self.clone(),
        }
    }

    /// The errand of the step in force has failed for good, for `reason`. A smoke test aborts; a webhook
    /// does what it was told to. `None`: no errand is waited for any more.
    #[must_use]
    pub fn errand_failed(&self, plan: &Plan, reason: &str, now_ms: u64) -> Option<Result<Move, Self>> {
        let (At::Running(place), errand) = (self.at, self.errand(plan)?) else {
            return None;
        };
        let reason = format!("{}: {reason}", place.words(plan));
        let then = match &**errand {
            Errand::Smoke(_) => OnFailure::Abort,
            Errand::Webhook(webhook) => webhook.on_failure,
        };
        Some(match then {
            OnFailure::Abort => Ok(At::Aborted.because(reason, now_ms)),
            OnFailure::Pause => {
                let reason = format!("{reason}; resume to ask again, promote to go on without");
                Ok(At::Paused { place, by_hand: false }.because(reason, now_ms))
            }
            OnFailure::GoOn => Err(self.errand_done(plan)),
        })
    }

    /// What the rollout puts in force: the canary's part of the pair in parts per million.
    /// `None`: the weights of file or person stand. Always the weight of a step, 0, or the whole;
    /// a step that was changed in the file keeps the weight it began with.
    #[must_use]
    pub const fn canary_ppm(&self, _plan: &Plan) -> Option<u32> {
        match self.at {
            At::Idle { withheld: true } | At::Aborted => Some(0),
            At::Watching { left_ppm } => left_ppm,
            At::Running(place) | At::Paused { place, by_hand: false } => Some(place.weight_ppm),
            At::Succeeded { by_hand: false, .. } => Some(MILLION),
            At::Idle { withheld: false } | At::Paused { by_hand: true, .. } | At::Succeeded { by_hand: true, .. } => {
                None
            }
        }
    }

    /// One tick. `Ok(new state)` moved on for a reason (weights, phase or step changed); `Err(new
    /// state)` only baked on. A failed verdict aborts wherever the canary is judged; a passed one
    /// counts only after the whole bake time; a hold waits, and so does too little evidence, but
    /// not for ever: when the patience is spent it pauses for a person.
    pub fn tick(&self, tick: Tick<'_>) -> Result<Move, Self> {
        let Tick {
            plan, verdict, now_ms, ..
        } = tick;
        let fails = verdict.kind == VerdictKind::Fail && !tick.observe;
        match self.at {
            At::Idle { .. } | At::Aborted => Err(self.clone()),
            At::Succeeded { by_hand, passed } => self.tick_after_success(by_hand, passed, &tick, fails),
            At::Watching { .. } if fails => Ok(At::Aborted.because(verdict.reason.clone(), now_ms)),
            At::Running(place) | At::Paused { place, .. } if fails => {
                Ok(At::Aborted.because(format!("{}: {}", place.words(plan), verdict.reason), now_ms))
            }
            At::Watching { .. } | At::Paused { .. } => Err(self.clone()),
            At::Running(mut place) => {
                place.bake(&tick);
                let at = Some(place).filter(|_| !tick.observe && !tick.held);
                let moved = at.and_then(|place| place.passed(&tick).or_else(|| place.gave_up(&tick)));
                moved.ok_or_else(|| self.with(At::Running(place)))
            }
        }
    }

    /// The canary has everything. While it is watched, a failed verdict takes it all back; the end of the
    /// watch and of the standby are told once.
    fn tick_after_success(&self, by_hand: bool, before: Duration, tick: &Tick<'_>, fails: bool) -> Result<Move, Self> {
        let after = &tick.plan.after;
        if before < after.watch && fails {
            let watched = figures::time(before);
            let reason = format!("rolled back {watched} after the promotion: {}", tick.verdict.reason);
            return Ok(At::Aborted.because(reason, tick.now_ms));
        }
        let passed = before.saturating_add(tick.elapsed).min(after.watch.max(after.standby));
        let state = self.with(At::Succeeded { by_hand, passed });
        let over = |term: Duration| before < term && passed >= term;
        let mut words = Vec::new();
        if over(after.watch) {
            words.push(format!(
                "watched for {} after the promotion: {}",
                figures::time(after.watch),
                tick.verdict.reason
            ));
        }
        if over(after.standby) {
            words.push(format!(
                "the former version has stood by for {}",
                figures::time(after.standby)
            ));
        }
        if words.is_empty() {
            return Err(state);
        }
        let reason = words.join("; ");
        Ok(Move {
            state: Self {
                reason: reason.clone(),
                ..state
            },
            reason,
        })
    }

    /// The plan was changed from `old` to `new`, another one: phase and weight stay, the step is the nearest by
    /// weight. Steps that are all gone leave their weight, watched.
    #[must_use]
    pub fn plan_changed(&self, old: &Plan, new: &Plan, now_ms: u64) -> Self {
        let (At::Running(place) | At::Paused { place, .. }) = self.at else {
            return self.clone();
        };
        let by_hand = matches!(self.at, At::Paused { by_hand: true, .. });
        let Some(step) = new.place_of(old, place.step, place.weight_ppm) else {
            let left_ppm = (!by_hand).then_some(place.weight_ppm);
            let reason = "the plan has no steps any more; its last weight stands, watched".to_owned();
            return At::Watching { left_ppm }.because(reason, now_ms).state;
        };
        let place = place.moved_to(step);
        self.with(match self.at {
            At::Paused { by_hand, .. } => At::Paused { place, by_hand },
            _ => At::Running(place),
        })
    }

    /// The `release` of the canary's backend was changed; `None`: nothing follows from it. With
    /// `auto_start` the plan begins at its first step, also while it was running; a pause stays a
    /// pause, at the first step. Without, it leads from aborted to idle, where the canary has no
    /// weight until somebody gives it some. A guard has no plan to start.
    #[must_use]
    pub fn release_changed(&self, plan: &Plan, auto_start: bool, now_ms: u64) -> Option<Move> {
        let why = "the release of the canary changed";
        match (self.at, At::first(plan).filter(|_| auto_start)) {
            (At::Aborted, None) => {
                let reason = format!("{why}; the canary gets no weight until it is started");
                Some(At::Idle { withheld: true }.because(reason, now_ms))
            }
            (_, None) => None,
            (At::Paused { by_hand, .. }, Some(_)) => {
                let place = Place::of(plan, 0)?;
                let reason = format!("{why}: {}, still paused", place.words(plan));
                Some(At::Paused { place, by_hand }.because(reason, now_ms))
            }
            (_, Some(at)) => Some(at.because(format!("{why}: {}", at.words(plan)), now_ms)),
        }
    }

    /// The canary's requests vote now, or do not any more, though nobody set weights: a voting
    /// cohort came or went (rule 13). A weight that is withheld stays withheld. `None`: nothing
    /// follows from it.
    #[must_use]
    pub fn exposure_changed(&self, exposed: bool, now_ms: u64) -> Option<Move> {
        match (self.at, exposed) {
            (At::Idle { withheld }, true) => {
                let left_ppm = withheld.then_some(0);
                let reason = "the canary is watched: its requests vote".to_owned();
                Some(At::Watching { left_ppm }.because(reason, now_ms))
            }
            (At::Watching { left_ppm }, false) => {
                let withheld = left_ppm == Some(0);
                let reason = "the canary gets no request that votes".to_owned();
                Some(At::Idle { withheld }.because(reason, now_ms))
            }
            _ => None,
        }
    }

    pub(super) const fn place(&self) -> Option<Place> {
        match self.at {
            At::Running(place) | At::Paused { place, .. } => Some(place),
            At::Idle { .. } | At::Watching { .. } | At::Succeeded { .. } | At::Aborted => None,
        }
    }

    fn with(&self, at: At) -> Self {
        Self {
            at,
            since_ms: self.since_ms,
            reason: self.reason.clone(),
        }
    }
}

impl At {
    /// Just now.
    pub(super) const SUCCEEDED: Self = Self::Succeeded {
        by_hand: false,
        passed: Duration::ZERO,
    };

    /// Without a plan: watched while the canary has weight.
    pub(super) const fn unplanned(canary_has_weight: bool) -> Self {
        if canary_has_weight {
            Self::Watching { left_ppm: None }
        } else {
            Self::Idle { withheld: false }
        }
    }

    /// The beginning of the plan; `None` for a guard.
    pub(super) fn first(plan: &Plan) -> Option<Self> {
        (!plan.is_guard()).then(|| Self::entering(plan, 0))
    }

    /// What comes after `place`: the next step, or success.
    pub(super) fn after(plan: &Plan, place: Place) -> Self {
        match plan.after_step(place.step, place.weight_ppm) {
            Some(step) => Self::entering(plan, step).no_less_than(place.weight_ppm),
            None => Self::SUCCEEDED,
        }
    }

    /// In force at `step`. A step of 100 % that bakes no time is not waited for (rule 13); one that waits
    /// for a person is a pause.
    pub(super) fn entering(plan: &Plan, step: usize) -> Self {
        let Some(place) = Place::of(plan, step) else {
            return Self::SUCCEEDED;
        };
        match &plan.steps()[step].needs {
            Needs::Evidence { bake_time } if place.weight_ppm == MILLION && bake_time.is_zero() => {
                Self::after(plan, place)
            }
            Needs::Person => Self::Paused { place, by_hand: false },
            _ => Self::Running(place),
        }
    }

    /// A gate that the file put in front of the weight in force takes none of it away.
    fn no_less_than(self, weight_ppm: u32) -> Self {
        let raise = |place: Place| Place {
            weight_ppm: place.weight_ppm.max(weight_ppm),
            ..place
        };
        match self {
            Self::Running(place) => Self::Running(raise(place)),
            Self::Paused { place, by_hand } => Self::Paused {
                place: raise(place),
                by_hand,
            },
            other => other,
        }
    }

    /// As a move to here.
    pub(super) fn because(self, reason: String, since_ms: u64) -> Move {
        Move {
            state: State {
                at: self,
                since_ms,
                reason: reason.clone(),
            },
            reason,
        }
    }

    /// `step 2 of 4 (25 %)`, or the phase.
    pub(super) fn words(self, plan: &Plan) -> String {
        match self {
            Self::Running(place) | Self::Paused { place, .. } => place.words(plan),
            Self::Succeeded { .. } => "the canary has everything".to_owned(),
            Self::Idle { .. } | Self::Aborted => "the canary has nothing".to_owned(),
            Self::Watching { .. } => "the canary is watched".to_owned(),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
