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
pub(super) mod tests {
    use super::super::plan::Step;
    use super::*;
    use crate::analysis::Evidence;
    use crate::rollout::Verb;

    /// Steps as (percent, seconds of baking).
    pub(in crate::rollout) fn plan(steps: &[(u32, u64)]) -> Plan {
        let step = |&(percent, seconds): &(u32, u64)| Step::weigh(percent * 10_000, Duration::from_secs(seconds));
        Plan::new(steps.iter().map(step).collect()).unwrap()
    }

    pub(in crate::rollout) fn three_steps() -> Plan {
        plan(&[(5, 10), (25, 10), (100, 10)])
    }

    fn verdict(kind: VerdictKind) -> Verdict {
        Verdict {
            kind,
            metric: None,
            reason: format!("the verdict is {}", kind.as_str()),
            evidence: Evidence::default(),
        }
    }

    /// Longer than any test waits.
    const PATIENT: Duration = Duration::from_secs(1_000_000);

    fn tick_of<'a>(plan: &'a Plan, verdict: &'a Verdict, seconds: u64) -> Tick<'a> {
        Tick {
            plan,
            verdict,
            elapsed: Duration::from_secs(seconds),
            patience: PATIENT,
            observe: false,
            held: false,
            cleared: false,
            now_ms: 99,
        }
    }

    /// The state after one tick of `seconds`.
    fn ticked(state: &State, plan: &Plan, kind: VerdictKind, seconds: u64) -> State {
        let verdict = verdict(kind);
        let ticked = state.tick(tick_of(plan, &verdict, seconds));
        ticked.map_or_else(|baked| baked, |moved| moved.state)
    }

    /// The state after one tick of `seconds` with so many seconds of patience.
    fn tried(state: &State, kind: VerdictKind, seconds: u64, patience: u64) -> State {
        let (plan, verdict) = (three_steps(), verdict(kind));
        let ticked = state.tick(Tick {
            patience: Duration::from_secs(patience),
            ..tick_of(&plan, &verdict, seconds)
        });
        ticked.map_or_else(|baked| baked, |moved| moved.state)
    }

    /// A state in `phase`, in the second step where there is one.
    pub(in crate::rollout) fn in_phase(phase: Phase) -> State {
        let plan = three_steps();
        let verb = |state: State, verb| state.command(&plan, verb, 1).unwrap().state;
        let begun = verb(State::initial(false, 1), Verb::Start);
        let second = verb(begun.clone(), Verb::Promote { full: false });
        let found = match phase {
            Phase::Idle => State::initial(false, 1),
            Phase::Watching => State::initial(true, 1),
            Phase::Progressing => second,
            Phase::Paused => verb(second, Verb::Pause),
            Phase::Promoting => verb(begun, Verb::Promote { full: true }),
            Phase::Succeeded => ticked(&in_phase(Phase::Promoting), &plan, VerdictKind::Pass, 10),
            Phase::Aborted => verb(begun, Verb::Abort),
        };
        assert_eq!(found.phase(), phase);
        found
    }

    #[test]
    fn a_verdict_and_a_tick_move_each_phase_only_as_the_table_says() {
        use Phase::{Aborted, Idle, Paused, Progressing, Promoting, Succeeded, Watching};
        use VerdictKind::{Fail, Hold, Inconclusive, Pass};
        let check = |phase, kind, seconds, expected| {
            let found = ticked(&in_phase(phase), &three_steps(), kind, seconds).phase();
            assert_eq!(found, expected, "{phase:?} {kind:?} {seconds} s");
        };
        for waits in [Hold, Inconclusive] {
            for phase in Phase::ALL {
                check(phase, waits, 10_000, phase);
            }
        }
        for settled in [Idle, Succeeded, Aborted] {
            for kind in VerdictKind::ALL {
                check(settled, kind, 10_000, settled);
            }
        }
        for judged in [Watching, Progressing, Paused, Promoting] {
            check(judged, Fail, 0, Aborted);
            assert!(judged.is_judged());
        }
        for waits in [Watching, Paused] {
            check(waits, Pass, 10_000, waits);
        }
        check(Progressing, Pass, 9, Progressing);
        check(Progressing, Pass, 10, Promoting);
        check(Promoting, Pass, 9, Promoting);
        check(Promoting, Pass, 10, Succeeded);
    }

    #[test]
    fn steps_follow_each_other_to_the_end() {
        let plan = three_steps();
        let mut state = in_phase(Phase::Idle).command(&plan, Verb::Start, 5).unwrap().state;
        let mut seen = Vec::new();
        while state.phase() != Phase::Succeeded {
            seen.push((state.step(), state.canary_ppm(&plan)));
            state = ticked(&state, &plan, VerdictKind::Pass, 10);
        }
        let step = |index, ppm| (Some(index), Some(ppm));
        assert_eq!(seen, [step(0, 50_000), step(1, 250_000), step(2, 1_000_000)]);
        assert_eq!(
            (state.step(), state.canary_ppm(&plan), state.since_ms()),
            (None, Some(1_000_000), 99)
        );
    }

    #[test]
    fn baking_adds_up_over_ticks_and_begins_anew_with_a_step() {
        let plan = three_steps();
        let state = in_phase(Phase::Progressing);
        let baked = ticked(
            &ticked(&state, &plan, VerdictKind::Hold, 6),
            &plan,
            VerdictKind::Inconclusive,
            3,
        );
        assert_eq!(
            (baked.baked(), baked.since_ms()),
            (Duration::from_secs(9), state.since_ms())
        );
        let next = ticked(&baked, &plan, VerdictKind::Pass, 1);
        assert_eq!((next.phase(), next.baked()), (Phase::Promoting, Duration::ZERO));
    }

    #[test]
    fn nothing_bakes_in_a_pause() {
        let paused = ticked(&in_phase(Phase::Paused), &three_steps(), VerdictKind::Pass, 500);
        assert_eq!(paused.baked(), Duration::ZERO);
    }

    #[test]
    fn a_last_step_without_bake_time_is_success_at_once() {
        let plan = plan(&[(50, 0), (100, 0)]);
        let state = State::initial(false, 0).command(&plan, Verb::Start, 0).unwrap().state;
        assert_eq!(ticked(&state, &plan, VerdictKind::Pass, 0).phase(), Phase::Succeeded);
    }

    #[test]
    fn a_move_says_where_it_was_and_why() {
        let (plan, state) = (three_steps(), in_phase(Phase::Progressing));
        let reason = |kind| {
            let moved = state.tick(tick_of(&plan, &verdict(kind), 12)).unwrap();
            assert_eq!(moved.state.reason(), moved.reason);
            moved.reason
        };
        assert_eq!(reason(VerdictKind::Fail), "step 2 of 3 (25 %): the verdict is fail");
        assert_eq!(
            reason(VerdictKind::Pass),
            "step 2 of 3 (25 %) passed after 12.0 s: the verdict is pass"
        );
    }

    #[test]
    fn patience_with_thin_evidence_ends_in_a_pause() {
        use VerdictKind::{Hold, Inconclusive};
        let check = |kind, seconds, patience, expected| {
            let found = tried(&in_phase(Phase::Progressing), kind, seconds, patience);
            assert_eq!(found.phase(), expected, "{kind:?} {seconds} s, patience {patience} s");
        };
        check(Inconclusive, 9, 0, Phase::Progressing);
        check(Inconclusive, 10, 0, Phase::Paused);
        check(Inconclusive, 14, 5, Phase::Progressing);
        check(Inconclusive, 15, 5, Phase::Paused);
        check(Hold, 10_000, 0, Phase::Progressing);
        let paused = tried(&in_phase(Phase::Promoting), Inconclusive, 15, 5);
        assert_eq!(
            (paused.phase(), paused.canary_ppm(&three_steps())),
            (Phase::Paused, Some(MILLION))
        );
        let reason = "step 3 of 3 (100 %): bake time over, evidence too thin: the verdict is inconclusive; resume \
                      to go on waiting, promote to go on without";
        assert_eq!(paused.reason(), reason);
    }

    #[test]
    fn only_time_with_thin_evidence_spends_the_patience() {
        use VerdictKind::{Hold, Inconclusive};
        let held = tried(&in_phase(Phase::Progressing), Hold, 500, 5);
        let waits = tried(&held, Inconclusive, 4, 5);
        assert_eq!(waits.phase(), Phase::Progressing);
        assert_eq!(
            tried(&tried(&waits, Hold, 9, 5), Inconclusive, 1, 5).phase(),
            Phase::Paused
        );
    }

    #[test]
    fn who_resumes_after_thin_evidence_waits_again() {
        use VerdictKind::{Inconclusive, Pass};
        let plan = three_steps();
        let resumed = |patience| {
            let paused = tried(&in_phase(Phase::Progressing), Inconclusive, 2_000, patience);
            assert_eq!(paused.phase(), Phase::Paused);
            paused.command(&plan, Verb::Resume, 7).unwrap().state
        };
        let check = |patience, seconds, expected| {
            let found = tried(&resumed(patience), Inconclusive, seconds, patience).phase();
            assert_eq!(found, expected, "{seconds} s, patience {patience} s");
        };
        check(500, 499, Phase::Progressing);
        check(500, 500, Phase::Paused);
        // Without any patience it would be paused at once, and nobody could wait.
        check(0, 59, Phase::Progressing);
        check(0, 60, Phase::Paused);
        assert_eq!(tried(&resumed(0), Pass, 1, 0).phase(), Phase::Promoting);
        // A pause before the end of the bake time is none for want of evidence.
        let early = in_phase(Phase::Paused).command(&plan, Verb::Resume, 7).unwrap().state;
        assert_eq!(tried(&early, Inconclusive, 10, 0).phase(), Phase::Paused);
    }

    #[test]
    fn who_observes_moves_nothing() {
        let plan = three_steps();
        for phase in Phase::ALL {
            for kind in VerdictKind::ALL {
                let (state, verdict) = (in_phase(phase), verdict(kind));
                let found = state.tick(Tick {
                    observe: true,
                    patience: Duration::ZERO,
                    ..tick_of(&plan, &verdict, 50)
                });
                let baked = found.expect_err("nothing moved");
                assert_eq!((baked.phase(), baked.step()), (phase, state.step()));
                let runs = matches!(phase, Phase::Progressing | Phase::Promoting);
                assert_eq!(baked.baked(), Duration::from_secs(if runs { 50 } else { 0 }));
            }
        }
    }

    #[test]
    fn the_canary_gets_what_the_phase_says() {
        let check = |phase, expected| assert_eq!(in_phase(phase).canary_ppm(&three_steps()), expected, "{phase:?}");
        check(Phase::Idle, None);
        check(Phase::Watching, None);
        check(Phase::Progressing, Some(250_000));
        check(Phase::Paused, Some(250_000));
        check(Phase::Promoting, Some(1_000_000));
        check(Phase::Succeeded, Some(1_000_000));
        check(Phase::Aborted, Some(0));
    }

    #[test]
    fn a_changed_plan_keeps_phase_and_weight_and_takes_the_nearest_step() {
        let check = |phase, new: &[(u32, u64)], step, ppm| {
            let new = plan(new);
            let found = in_phase(phase).plan_changed(&three_steps(), &new, 7);
            assert_eq!(
                (found.phase(), found.step(), found.canary_ppm(&new)),
                (phase, step, ppm),
                "{phase:?}"
            );
        };
        check(Phase::Progressing, &[(5, 1), (30, 1), (100, 1)], Some(1), Some(250_000));
        check(
            Phase::Progressing,
            &[(25, 1), (50, 1), (100, 1)],
            Some(0),
            Some(250_000),
        );
        check(Phase::Progressing, &[(100, 1)], Some(0), Some(250_000));
        check(Phase::Paused, &[(5, 1), (100, 1)], Some(0), Some(250_000));
        check(Phase::Promoting, &[(5, 1), (100, 1)], Some(1), Some(1_000_000));
        check(Phase::Succeeded, &[(5, 1), (100, 1)], None, Some(1_000_000));
        check(Phase::Aborted, &[(5, 1), (100, 1)], None, Some(0));
        check(Phase::Idle, &[], None, None);
        check(Phase::Aborted, &[], None, Some(0));
    }

    #[test]
    fn after_a_changed_plan_the_next_step_is_above_the_weight_in_force() {
        let new = plan(&[(25, 1), (30, 1), (100, 1)]);
        let kept = in_phase(Phase::Progressing).plan_changed(&three_steps(), &new, 7);
        let next = ticked(&kept, &new, VerdictKind::Pass, 1);
        assert_eq!((next.step(), next.canary_ppm(&new)), (Some(1), Some(300_000)));
    }

    #[test]
    fn a_plan_whose_steps_are_gone_leaves_its_weight_watched() {
        let gone = Plan::default();
        let left = in_phase(Phase::Promoting).plan_changed(&three_steps(), &gone, 7);
        assert_eq!(
            (left.phase(), left.canary_ppm(&gone)),
            (Phase::Watching, Some(1_000_000))
        );
        let by_hand = in_phase(Phase::Paused).weights_set(true, 3).unwrap().state;
        let left = by_hand.plan_changed(&three_steps(), &gone, 7);
        assert_eq!((left.phase(), left.canary_ppm(&gone)), (Phase::Watching, None));
    }

    #[test]
    fn a_new_release_starts_the_plan_where_it_may() {
        let check = |phase, auto_start, expected: Option<(Phase, u32)>| {
            let plan = three_steps();
            let moved = in_phase(phase).release_changed(&plan, auto_start, 7);
            let found = moved.map(|m| (m.state.phase(), m.state.canary_ppm(&plan).unwrap()));
            assert_eq!(found, expected, "{phase:?}");
        };
        for phase in Phase::ALL {
            let phase_after = if phase == Phase::Paused {
                Phase::Paused
            } else {
                Phase::Progressing
            };
            check(phase, true, Some((phase_after, 50_000)));
            check(phase, false, (phase == Phase::Aborted).then_some((Phase::Idle, 0)));
        }
    }

    #[test]
    fn a_new_release_of_an_aborted_guard_leads_to_idle_without_weight() {
        let guard = Plan::default();
        let aborted = State::initial(true, 0).command(&guard, Verb::Abort, 1).unwrap().state;
        let idle = aborted.release_changed(&guard, true, 2).unwrap().state;
        assert_eq!((idle.phase(), idle.canary_ppm(&guard)), (Phase::Idle, Some(0)));
        assert_eq!(idle.release_changed(&guard, true, 3), None);
        let watched = idle.weights_set(true, 4).unwrap().state;
        assert_eq!((watched.phase(), watched.canary_ppm(&guard)), (Phase::Watching, None));
    }
}
