//! How time, verdicts and the ends of errands move a rollout, and what holds it. Pure.

use std::time::Duration;

use super::{Changed, Ground, Ticked};
use crate::analysis::{Term, Verdict, figures};
use crate::config::Rollout;
use crate::control::draft::{Draft, Wish, release};
use crate::control::standing::{Freeze, RolloutStanding};
use crate::control::view::Afterwards;
use crate::control::weights::declared;
use crate::rollout::{Errand, Needs, Phase, Smoke, SmokeCheck, State, Step, Tick};
use crate::route::FlagId;
use crate::share::MILLION;

/// The former stable is asked this often, and has so long to answer.
const KNOCK_PAUSE: Duration = Duration::from_secs(5);

impl Ground {
    /// What waited while nothing could move forward, and may now. `None`: nothing did.
    pub(in crate::control) fn catch_up(&self, now_ms: u64) -> Option<Changed> {
        let may_begin = |index| !self.is_held(index, now_ms) && !self.must_knock(index);
        let waits = |&index: &usize| may_begin(index) && self.is_behind(index);
        let mut waiting = (0..self.spec.rollouts.len()).filter(waits).peekable();
        waiting.peek()?;
        let mut draft = Draft::new(self.clone(), Wish::FILE, now_ms);
        waiting.for_each(|index| draft.catch_up(index));
        Some(draft.finish())
    }

    /// Whether the former stable is to answer before a new release starts by itself: after a success the start
    /// gives it most of its weight back, and it may be gone by now.
    pub(in crate::control) fn must_knock(&self, index: usize) -> bool {
        let rollout = &self.spec.rollouts[index];
        let standing = self.rollout(index);
        let gives_back = self.next_pair(index) == self.pair(index);
        let is_idle = gives_back && standing.state.canary_ppm(&standing.plan) == Some(MILLION);
        let starts = rollout.auto_start && !standing.plan.is_guard();
        starts && is_idle && standing.state.phase() == Phase::Succeeded && !standing.answered
    }

    /// What it is asked: anything that it answers will do. `None`: nobody is to be asked now.
    pub(in crate::control) fn knock(&self, index: usize, now_ms: u64) -> Option<Errand> {
        let asks = self.must_knock(index) && !self.is_held(index, now_ms) && self.is_behind(index);
        let check = SmokeCheck {
            method: "GET".to_owned(),
            path: "/".to_owned(),
            headers: Vec::new(),
            body: None,
            statuses: vec![(100, 599)],
            answer_headers: Vec::new(),
            answer_body: None,
            latency_max: None,
        };
        asks.then(|| {
            Errand::Smoke(Smoke {
                checks: vec![check],
                attempts: u32::MAX,
                interval: KNOCK_PAUSE,
                timeout: KNOCK_PAUSE,
                endpoints: None,
            })
        })
    }

    /// The former stable has answered: what the file brought may begin.
    pub(in crate::control) fn knocked(&mut self, index: usize) {
        self.rollout_mut(index).answered = true;
    }

    /// Whether the file says something about a rollout that has not been seen for want of a moment.
    pub(super) fn is_behind(&self, index: usize) -> bool {
        let Rollout { route, .. } = self.spec.rollouts[index];
        let variants = &self.spec.routes[route].variants;
        let (_, to) = self.next_pair(index);
        let standing = self.rollout(index);
        let seen = standing.releases.get(&variants[to].name);
        let is_new = release(&self.spec, route, to).is_some_and(|found| seen.is_some_and(|seen| *seen != found));
        let waits = matches!(standing.state.phase(), Phase::Idle | Phase::Watching | Phase::Succeeded);
        let kept = self
            .route(route)
            .is_some_and(|known| known.declared != declared(variants));
        is_new || (waits && kept)
    }

    /// Whether the rollout cannot move forward at `now_ms`; asked ten times a second.
    pub(in crate::control) fn is_held(&self, rollout: usize, now_ms: u64) -> bool {
        let window = self.spec.rollouts[rollout].window.as_ref();
        let is_shut = window.is_some_and(|window| !window.is_open(now_ms));
        self.standing.frozen.is_some() || is_shut || self.gets_nobody(rollout)
    }

    /// Whether the canary gets no request whatever its weight: its flag is off, or held by another.
    fn gets_nobody(&self, rollout: usize) -> bool {
        let flag = FlagId::Route(self.spec.rollouts[rollout].route);
        !self.is_on(&self.rules(flag).flag) || self.held_by(flag).is_some()
    }

    /// Why the rollout cannot move forward at `now_ms`; `None`: it can.
    pub(in crate::control) fn held(&self, rollout: usize, now_ms: u64) -> Option<String> {
        let flag = FlagId::Route(self.spec.rollouts[rollout].route);
        self.shut(rollout, now_ms).or_else(|| self.gives_default(flag))
    }

    /// Why nobody may give the canary more at `now_ms`, be its flag on or off; `None`: it may get more.
    pub(in crate::control) fn shut(&self, rollout: usize, now_ms: u64) -> Option<String> {
        if let Some(Freeze { by, reason, .. }) = &self.standing.frozen {
            let why = if reason.trim().is_empty() {
                String::new()
            } else {
                format!(" ({reason})")
            };
            return Some(format!("frozen by {by}{why}"));
        }
        let window = self.spec.rollouts[rollout].window.as_ref()?;
        if window.is_open(now_ms) {
            return None;
        }
        Some(match window.opens(now_ms) {
            Some(opens) => format!("outside of its window, which opens {opens}"),
            None => format!("outside of its window, {window}"),
        })
    }

    /// What a step waits for beside time and evidence, in words.
    pub(in crate::control) fn waiting(&self, rollout: usize, now_ms: u64) -> Option<String> {
        let RolloutStanding {
            state, plan, approvals, ..
        } = self.rollout(rollout);
        let step = state.needs(plan).and_then(|needs| match needs {
            Needs::Evidence { .. } => None,
            Needs::Time(time) => Some(format!("a pause of {}", figures::time(*time))),
            Needs::Person => Some("somebody who resumes".to_owned()),
            Needs::Approvals(gate) => gate.missing(approvals, now_ms),
            Needs::Window(window) => Some(format!("a time within {window}")),
            Needs::Errand(errand) => Some(errand.words()),
            Needs::Drained(_) => Some("requests that end".to_owned()),
        });
        let out = self.rollout(rollout).returning;
        let step = step.or((out > 0).then(|| format!("{out} former endpoints that do not answer as they should yet")));
        let knocks = self.knock(rollout, now_ms).map(|_| {
            let (from, _) = self.next_pair(rollout);
            let route = self.spec.rollouts[rollout].route;
            let name = &self.spec.routes[route].variants[from].name;
            let of = release(&self.spec, route, from).map_or_else(String::new, |release| format!(" ({release})"));
            format!("{name}{of} to answer: the start of the new release gives it its weight back")
        });
        let step = step.or(knocks);
        let held = self
            .held(rollout, now_ms)
            .filter(|_| state.step().is_some() || self.is_behind(rollout));
        match (step, held) {
            (Some(step), Some(held)) => Some(format!("{step}; {held}")),
            (step, held) => step.or(held),
        }
    }

    /// Until when what follows its success goes on.
    pub(in crate::control) fn afterwards(&self, rollout: usize, now_ms: u64) -> Afterwards {
        let RolloutStanding { state, plan, .. } = self.rollout(rollout);
        if state.phase() != Phase::Succeeded {
            return Afterwards::default();
        }
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let passed = state.baked();
        let left = |term: Duration| (passed < term).then(|| now_ms.saturating_add(ms(term - passed)));
        let window = plan.after.rollback_window;
        let closes = window.map(|window| state.since_ms().saturating_add(ms(window)));
        Afterwards {
            standby_ms: left(plan.after.standby),
            watch_ms: left(plan.after.watch),
            rollback_ms: closes.filter(|closes| now_ms <= *closes),
        }
    }

    /// The part of the file whose steps are the strides of one ramp, where such a stride is in force.
    pub(in crate::control) fn ramp(&self, rollout: usize) -> Option<usize> {
        let RolloutStanding { state, plan, .. } = self.rollout(rollout);
        let stride = |step: &Step| matches!(step.needs, Needs::Evidence { .. }) && step.rotation.is_none();
        let step = plan.steps().get(state.step()?).filter(|step| stride(step))?;
        let strides = plan
            .steps()
            .iter()
            .filter(|other| stride(other) && other.part == step.part);
        (strides.count() > 1).then_some(step.part)
    }

    /// Whether time alone can move a rollout on.
    pub(in crate::control) fn awaits_time(&self, rollout: usize) -> bool {
        let RolloutStanding { state, plan, .. } = self.rollout(rollout);
        match state.phase() {
            Phase::Progressing | Phase::Promoting => true,
            Phase::Succeeded => state.baked() < plan.after.watch.max(plan.after.standby),
            Phase::Idle | Phase::Watching | Phase::Paused | Phase::Aborted => false,
        }
    }

    /// Whether verdicts move a rollout: its canary is on trial, or watched after the promotion.
    pub(in crate::control) fn is_judged(&self, rollout: usize) -> bool {
        let RolloutStanding { state, plan, .. } = self.rollout(rollout);
        state.is_judged(plan)
    }

    /// The errand of a rollout has come to an end. `None`: nothing follows, or no errand was waited for.
    pub(in crate::control) fn errand_ended(
        &self,
        rollout: usize,
        outcome: Result<(), &str>,
        now_ms: u64,
    ) -> Option<Ticked> {
        let standing = self.rollout(rollout);
        standing.state.errand(&standing.plan)?;
        let moved = match outcome {
            Ok(()) => Err(standing.state.errand_done(&standing.plan)),
            Err(reason) => standing.state.errand_failed(&standing.plan, reason, now_ms)?,
        };
        Some(match moved {
            Err(state) => Ticked::Baked(state),
            Ok(moved) => {
                let mut draft = Draft::new(self.clone(), Wish::SERIN, now_ms);
                draft.put_move(rollout, moved, None);
                Ticked::Moved(Box::new(draft.finish()))
            }
        })
    }

    /// One tick of a rollout under judgement, `elapsed` after the last. `drained`: no endpoint that has
    /// left the rotation has a request open.
    pub(in crate::control) fn tick(
        &self,
        rollout: usize,
        verdict: &Verdict,
        elapsed: Duration,
        drained: bool,
        now_ms: u64,
    ) -> Ticked {
        let standing = self.rollout(rollout);
        let Rollout { patience, observe, .. } = self.spec.rollouts[rollout];
        let cleared = match standing.state.needs(&standing.plan) {
            Some(Needs::Approvals(gate)) => gate.missing(&standing.approvals, now_ms).is_none(),
            Some(Needs::Window(window)) => window.is_open(now_ms),
            Some(Needs::Drained(_)) => drained,
            Some(Needs::Evidence { .. } | Needs::Time(_) | Needs::Person | Needs::Errand(_)) | None => false,
        };
        let tick = Tick {
            plan: &standing.plan,
            verdict,
            // While nobody sees the canary no time is bake time.
            elapsed: if self.gets_nobody(rollout) {
                Duration::ZERO
            } else {
                elapsed
            },
            patience,
            observe,
            held: self.is_held(rollout, now_ms),
            cleared,
            now_ms,
        };
        match standing.state.tick(tick) {
            Err(baked) => Ticked::Baked(baked),
            Ok(moved) => {
                let mut draft = Draft::new(self.clone(), Wish::SERIN, now_ms);
                draft.put_move(rollout, moved, Some(verdict.clone()));
                Ticked::Moved(Box::new(draft.finish()))
            }
        }
    }

    /// Takes down what a trial has spent of its budget.
    pub(in crate::control) fn spend(&mut self, rollout: usize, spent: f64) {
        if self.rollout(rollout).spent != spent {
            self.rollout_mut(rollout).spent = spent;
        }
    }

    /// What all trials together have spent of their budgets.
    pub(in crate::control) fn spent(&self) -> f64 {
        self.standing.rollouts.values().map(|standing| standing.spent).sum()
    }

    /// Takes over a state that only time has changed.
    pub(in crate::control) fn bake(&mut self, rollout: usize, state: State) {
        self.rollout_mut(rollout).state = state;
    }

    /// How long the test of a rollout is expected to run: a plan's bake times while it sets the weight.
    pub(in crate::control) fn term(&self, rollout: usize) -> Term {
        let RolloutStanding { state, plan, .. } = self.rollout(rollout);
        let sets_weight = state.canary_ppm(plan).is_some();
        match state.step().filter(|_| sets_weight) {
            Some(_) => Term::Plan {
                bake_time: plan.bake_time(),
            },
            None => Term::Watch,
        }
    }
}
