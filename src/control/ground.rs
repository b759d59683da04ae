//! What control owns, the checked file and what stands beside it, and how each event changes the
//! two. Pure: no clock, no disk, no log.
//!
//! An event makes a *new* ground, so that it can be written down before it takes effect, and
//! dropped when that fails. A start, a restart and a reload are one event: a file meets what stands.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::draft::{Draft, Wish, release};
use super::errands::Task;
use super::journal::Happening;
use super::standing::{Freeze, RolloutStanding, RouteStanding, Standing};
use super::weights::{by_name, declared, in_words};
use crate::analysis::{Term, Verdict, figures};
use crate::compile::{InForce, Trial};
use crate::config::{self, Rollout, Route, Spec};
use crate::name::Name;
use crate::outgoing::{Payload, checksum};
use crate::rollout::{Approval, Errand, Needs, Phase, Refused, Rotation, Smoke, State, Tick, Verb};
use crate::route::HostMatch;
use crate::share::MILLION;

/// The checked file, and what stands beside it. Every rollout of the file has its standing, and so
/// has the route of each.
#[derive(Clone, Debug)]
pub(super) struct Ground {
    pub(super) spec: Arc<Spec>,
    pub(super) standing: Standing,
    /// For each route of the file the rollout on it.
    trials: Arc<[Option<usize>]>,
}

/// A new ground, and what made it so.
pub(super) type Changed = (Ground, Vec<Happening>);

/// How a rollout is to be started: checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ordered {
    /// The pair's two variants, one way or the other; `None`: as the file and the last promotion have it.
    pub(super) direction: Option<(usize, usize)>,
    /// When the newest commit in the release was made, in Unix milliseconds.
    pub(super) commit_ms: Option<u64>,
}

/// What a tick leads to.
#[derive(Debug)]
pub(super) enum Ticked {
    /// Only time has passed.
    Baked(State),
    /// It moved on.
    Moved(Box<Changed>),
}

impl Ground {
    /// A file meets what stands: at a start with what was stored, at a reload with what is live.
    /// Weights that the file changed apply where the rollout's phase allows it and are kept for
    /// later where not; changed plans and releases are told to the rollouts; what the file does not
    /// name any more is forgotten.
    pub(super) fn meet(spec: Arc<Spec>, mut known: Standing, now_ms: u64) -> Changed {
        let mut trials = vec![None; spec.routes.len()];
        for (index, rollout) in spec.rollouts.iter().enumerate() {
            trials[rollout.route] = Some(index);
        }
        let mut ground = Self {
            spec: Arc::clone(&spec),
            standing: Standing {
                frozen: known.frozen.take(),
                ..Standing::default()
            },
            trials: trials.into(),
        };
        for (index, route) in spec.routes.iter().enumerate() {
            let file = declared(&route.variants);
            let standing = known.routes.remove(&route.name);
            let standing = match ground.trials[index] {
                Some(_) => Some(standing.unwrap_or_else(|| RouteStanding::of_file(file))),
                None => standing.filter(|standing| standing.by_hand && standing.declared == file),
            };
            if let Some(standing) = standing {
                ground.standing.routes.insert(route.name.clone(), standing);
            }
        }
        let mut draft = Draft::new(ground, Wish::FILE, now_ms);
        for (index, rollout) in spec.rollouts.iter().enumerate() {
            match known.rollouts.remove(&rollout.name) {
                Some(standing) => draft.meet_rollout(index, standing),
                None => draft.begin_rollout(index),
            }
        }
        for route in 0..spec.routes.len() {
            draft.settle(route);
        }
        draft.finish()
    }

    /// [`Ground::meet`] with what is live; also tells which weights in force the file thereby changed.
    pub(super) fn reload(&self, spec: Arc<Spec>, now_ms: u64) -> Changed {
        let (next, mut happenings) = Self::meet(spec, self.standing.clone(), now_ms);
        let routes = self.spec.routes.iter().enumerate();
        let before: HashMap<&Name, usize> = routes.map(|(index, route)| (&route.name, index)).collect();
        let told: HashSet<Name> = happenings.iter().filter_map(|told| told.route.clone()).collect();
        for (index, route) in next.spec.routes.iter().enumerate() {
            let Some(&old) = before.get(&route.name) else { continue };
            let from = self.words(old);
            if from != next.words(index) && !told.contains(&route.name) {
                happenings.push(next.weights_happening(index, from, "changed in the file".to_owned(), Wish::FILE));
            }
        }
        (next, happenings)
    }

    /// Nobody knows any more how rollouts stood: a canary that was aborted must not come back, so all are
    /// until a person says otherwise.
    pub(super) fn distrust(&self, now_ms: u64) -> Changed {
        let mut draft = Draft::new(self.clone(), Wish::SERIN, now_ms);
        for (index, _) in self.spec.rollouts.iter().enumerate() {
            let RolloutStanding { state, plan, .. } = self.rollout(index);
            if let Ok(mut moved) = state.command(plan, Verb::Abort, now_ms) {
                moved.reason = "the state was lost, and with it whether this canary had been aborted; \
                                start it when you know it to be well"
                    .to_owned();
                draft.put_move(index, moved, None);
            }
        }
        draft.finish()
    }

    /// What a person asks of a rollout. `order`: how, where it is a start.
    ///
    /// # Errors
    /// [`Refused`] says what is possible in its phase, or why nothing moves forward now.
    pub(super) fn command(
        &self,
        rollout: usize,
        verb: Verb,
        order: &Ordered,
        wish: Wish,
        now_ms: u64,
    ) -> Result<Changed, Refused> {
        let standing = self.rollout(rollout);
        let moved = standing.state.command(&standing.plan, verb, now_ms)?;
        if let Some(why) = self.held(rollout, now_ms).filter(|_| verb.moves_forward()) {
            return Err(Refused(format!(
                "{} is not possible: {why}; abort works",
                verb.as_str()
            )));
        }
        let begins = matches!(verb, Verb::Start | Verb::Retry);
        let mut draft = Draft::new(self.clone(), wish, now_ms);
        if begins {
            draft.commit_ms = order.commit_ms;
            draft.turn(rollout, self.direction(rollout, order)?);
        }
        draft.put_move(rollout, moved, None);
        if begins {
            draft.tell_trial(rollout);
            draft.begin_trial(rollout);
        }
        Ok(draft.finish())
    }

    /// Between which variants a start moves weight. Who turns a rollout round names the side that has
    /// less: to begin with the other one would move users at once, and nobody would judge it.
    fn direction(&self, rollout: usize, order: &Ordered) -> Result<(usize, usize), Refused> {
        let Some((from, to)) = order.direction else {
            return Ok(self.next_pair(rollout));
        };
        let spec = &self.spec.rollouts[rollout];
        let weights = self.in_force_on(spec.route);
        if (from, to) != self.pair(rollout) && weights[to] > weights[from] {
            let name = &self.spec.routes[spec.route].variants[to].name;
            return Err(Refused(format!(
                "{name} has most of the weight already; start towards the other variant, or leave the direction out"
            )));
        }
        Ok((from, to))
    }

    /// Why the word of somebody with these roles counts for nothing at the gate that the rollout stands at.
    pub(super) fn unwanted(&self, rollout: usize, roles: &[String]) -> Option<String> {
        let RolloutStanding { state, plan, .. } = self.rollout(rollout);
        match state.needs(plan) {
            Some(Needs::Approvals(gate)) if !gate.wants(roles) => Some(format!(
                "this gate wants somebody who is {}; none of your roles is asked for",
                gate.wanted()
            )),
            _ => None,
        }
    }

    /// One person's approval of the gate that a rollout stands at.
    ///
    /// # Errors
    /// [`Refused`] where no gate waits for approvals.
    pub(super) fn approve(
        &self,
        rollout: usize,
        approval: Approval,
        wish: Wish,
        now_ms: u64,
    ) -> Result<Changed, Refused> {
        let RolloutStanding { state, plan, .. } = self.rollout(rollout);
        let Some(Needs::Approvals(gate)) = state.needs(plan) else {
            let phase = state.phase().as_str();
            return Err(Refused(format!(
                "no gate of this rollout waits for approvals now: it is {phase}"
            )));
        };
        let missing = |approvals: &[Approval]| gate.missing(approvals, now_ms).unwrap_or_else(|| "approved".to_owned());
        let given = &self.rollout(rollout).approvals;
        let mut next: Vec<Approval> = given.iter().filter(|other| other.by != approval.by).cloned().collect();
        next.push(approval.clone());
        let words = [missing(given), missing(&next)];
        let mut draft = Draft::new(self.clone(), wish, now_ms);
        draft.approve(rollout, approval, words);
        Ok(draft.finish())
    }

    /// Nothing moves forward from now on, or may again: then what the file brought meanwhile applies.
    pub(super) fn freeze(&self, frozen: bool, wish: Wish, now_ms: u64) -> Changed {
        let mut draft = Draft::new(self.clone(), wish, now_ms);
        draft.freeze(frozen);
        draft.finish()
    }

    /// What waited while nothing could move forward, and may now. `None`: nothing did.
    pub(super) fn catch_up(&self, now_ms: u64) -> Option<Changed> {
        let waits = |&index: &usize| self.held(index, now_ms).is_none() && self.is_behind(index);
        let mut waiting = (0..self.spec.rollouts.len()).filter(waits).peekable();
        waiting.peek()?;
        let mut draft = Draft::new(self.clone(), Wish::FILE, now_ms);
        waiting.for_each(|index| draft.catch_up(index));
        Some(draft.finish())
    }

    /// Whether the file says something about a rollout that has not been seen for want of a moment.
    fn is_behind(&self, index: usize) -> bool {
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

    /// Why the rollout cannot move forward at `now_ms`; `None`: it can.
    pub(super) fn held(&self, rollout: usize, now_ms: u64) -> Option<String> {
        if let Some(Freeze { by, reason, .. }) = &self.standing.frozen {
            let why = if reason.trim().is_empty() {
                String::new()
            } else {
                format!(" ({reason})")
            };
            return Some(format!("frozen by {by}{why}"));
        }
        let window = self.spec.rollouts[rollout].window.as_ref()?;
        let opens = window.opens(now_ms)?;
        Some(format!("outside of its window, which opens {opens}"))
    }

    /// `from` and `to` of a rollout as it stands.
    pub(super) fn pair(&self, rollout: usize) -> (usize, usize) {
        let Rollout { name, from, to, .. } = &self.spec.rollouts[rollout];
        let swapped = self
            .standing
            .rollouts
            .get(name)
            .is_some_and(|standing| standing.swapped);
        if swapped { (*to, *from) } else { (*from, *to) }
    }

    /// `from` and `to` of the next trial: after a success with the roles exchanged, where the file says so.
    pub(super) fn next_pair(&self, rollout: usize) -> (usize, usize) {
        let (from, to) = self.pair(rollout);
        let RolloutStanding { state, plan, .. } = self.rollout(rollout);
        let swaps = plan.after.swap_roles && state.phase() == Phase::Succeeded;
        if swaps { (to, from) } else { (from, to) }
    }

    /// What is on trial, for the record.
    pub(super) fn facts(&self, rollout: usize) -> Vec<(&'static str, String)> {
        let (_, to) = self.pair(rollout);
        let release = release(&self.spec, self.spec.rollouts[rollout].route, to);
        let RolloutStanding { state, plan, .. } = self.rollout(rollout);
        let waits_for = match state.needs(plan) {
            Some(Needs::Approvals(gate)) => Some(format!("approvals: {}", gate.wanted())),
            Some(Needs::Person) => Some("somebody who resumes".to_owned()),
            _ => None,
        };
        let release = release.map(|release| ("release", release)).into_iter();
        release.chain(waits_for.map(|who| ("waitsFor", who))).collect()
    }

    /// What a step waits for beside time and evidence, in words.
    pub(super) fn waiting(&self, rollout: usize, now_ms: u64) -> Option<String> {
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
        let held = self
            .held(rollout, now_ms)
            .filter(|_| state.step().is_some() || self.is_behind(rollout));
        match (step, held) {
            (Some(step), Some(held)) => Some(format!("{step}; {held}")),
            (step, held) => step.or(held),
        }
    }

    /// A person sets checked weights, in file order, on a route.
    ///
    /// # Errors
    /// [`Refused`] where a rollout's phase does not allow it.
    pub(super) fn set_weights(
        &self,
        route: usize,
        weights: &[u32],
        wish: Wish,
        now_ms: u64,
    ) -> Result<Changed, Refused> {
        let Route { name, variants, .. } = &self.spec.routes[route];
        self.may_weigh(route, weights)?;
        let mut ground = self.clone();
        let standing = RouteStanding {
            declared: declared(variants),
            weights: by_name(variants, weights.iter().copied()),
            by_hand: true,
            epoch: self.epoch(route),
            exposed: self.route(route).and_then(|standing| standing.exposed),
            in_force: self.in_force_on(route),
        };
        ground.standing.routes.insert(name.clone(), standing);
        let mut draft = Draft::new(ground, wish, now_ms);
        draft.weights_set(route)?;
        draft.settle(route);
        draft.tell_weights(route, self.words(route), "set by hand");
        Ok(draft.finish())
    }

    /// While all is frozen a person may take weight from a canary, and nothing else.
    fn may_weigh(&self, route: usize, weights: &[u32]) -> Result<(), Refused> {
        let Some(Freeze { by, .. }) = &self.standing.frozen else {
            return Ok(());
        };
        let lowers = self.rollout_on(route).is_some_and(|rollout| {
            let (_, to) = self.pair(rollout);
            let part = |weights: &[u32]| {
                let sum: u64 = weights.iter().copied().map(u64::from).sum();
                (u64::from(weights[to]), sum)
            };
            let ((now, all_now), (then, all_then)) = (part(&self.in_force_on(route)), part(weights));
            u128::from(then) * u128::from(all_now) <= u128::from(now) * u128::from(all_then)
        });
        if lowers {
            return Ok(());
        }
        Err(Refused(format!(
            "frozen by {by}: weights may only be taken from a canary; unfreeze first"
        )))
    }

    /// Whether time alone can move a rollout on.
    pub(super) fn awaits_time(&self, rollout: usize) -> bool {
        let RolloutStanding { state, plan, .. } = self.rollout(rollout);
        match state.phase() {
            Phase::Progressing | Phase::Promoting => true,
            Phase::Succeeded => state.baked() < plan.after.watch.max(plan.after.standby),
            Phase::Idle | Phase::Watching | Phase::Paused | Phase::Aborted => false,
        }
    }

    /// Whether verdicts move a rollout: its canary is on trial, or watched after the promotion.
    pub(super) fn is_judged(&self, rollout: usize) -> bool {
        let RolloutStanding { state, plan, .. } = self.rollout(rollout);
        state.is_judged(plan)
    }

    /// The errand of a rollout has come to an end. `None`: nothing follows, or no errand was waited for.
    pub(super) fn errand_ended(&self, rollout: usize, outcome: Result<(), &str>, now_ms: u64) -> Option<Ticked> {
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
    pub(super) fn tick(
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
            elapsed,
            patience,
            observe,
            held: self.held(rollout, now_ms).is_some(),
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
    pub(super) fn spend(&mut self, rollout: usize, spent: f64) {
        if self.rollout(rollout).spent != spent {
            self.rollout_mut(rollout).spent = spent;
        }
    }

    /// What all trials together have spent of their budgets.
    pub(super) fn spent(&self) -> f64 {
        self.standing.rollouts.values().map(|standing| standing.spent).sum()
    }

    /// Takes over a state that only time has changed.
    pub(super) fn bake(&mut self, rollout: usize, state: State) {
        self.rollout_mut(rollout).state = state;
    }

    /// What is in force on each route of the file, in order.
    pub(super) fn in_force(&self) -> Vec<InForce> {
        let on = |route| InForce {
            weights: self.in_force_on(route),
            epoch: self.epoch(route),
            trial: self.trials[route].map(|index| self.trial(index)),
        };
        (0..self.spec.routes.len()).map(on).collect()
    }

    /// The file's weights that wait for a rollout's phase to allow them, in words.
    pub(super) fn kept(&self) -> Vec<String> {
        let rollouts = self.spec.rollouts.iter().enumerate();
        rollouts
            .filter_map(|(index, rollout)| self.kept_by(index, rollout))
            .collect()
    }

    fn kept_by(&self, index: usize, rollout: &Rollout) -> Option<String> {
        let Route { name, variants, .. } = &self.spec.routes[rollout.route];
        self.route(rollout.route)
            .filter(|standing| standing.declared != declared(variants))?;
        let file: Vec<u32> = variants.iter().map(|variant| variant.weight).collect();
        let phase = self.rollout(index).state.phase().as_str();
        let until = match self.standing.frozen {
            Some(_) => "all is frozen".to_owned(),
            None => format!("rollout {} is {phase}", rollout.name),
        };
        Some(format!(
            "route {name}: the file's weights {} wait while {until}",
            in_words(variants, &file)
        ))
    }

    fn trial(&self, index: usize) -> Trial {
        let rollout = &self.spec.rollouts[index];
        let (from, to) = self.pair(index);
        let aborted = self.rollout(index).state.phase() == Phase::Aborted;
        let weights = self.in_force_on(rollout.route);
        let idle = [to, from].into_iter().find(|&side| weights[side] == 0);
        Trial {
            rollout: rollout.name.clone(),
            from,
            to,
            aborted,
            rotation: self.rotation(index),
            // What was aborted is shown to nobody.
            idle: idle.filter(|_| !aborted && rollout.preview.is_some()),
        }
    }

    /// Which endpoints of the pair take requests; `None`: all.
    pub(super) fn rotation(&self, rollout: usize) -> Option<Rotation> {
        let standing = self.rollout(rollout);
        if standing.returning > 0 {
            return Some(Rotation {
                from_out: standing.returning,
                to_in: 0,
            });
        }
        standing.plan.steps().get(standing.state.step()?)?.rotation
    }

    /// How many of stable's endpoints are out after a move to `state`: an abort ends the canary's exposure at
    /// once, and those that the canary's had replaced come back as they prove well. Where none is left to
    /// serve meanwhile, or nobody says how to check them, all are back at once.
    pub(super) fn returning_after(&self, rollout: usize, state: &State) -> u32 {
        let standing = self.rollout(rollout);
        if state.phase() != Phase::Aborted {
            return 0;
        }
        if standing.state.phase() == Phase::Aborted {
            return standing.returning;
        }
        let spec = &self.spec;
        let (from, _) = self.pair(rollout);
        let stable = &spec.routes[spec.rollouts[rollout].route].variants[from];
        let endpoints = spec.backends[stable.backend].endpoints.len();
        let out = self.rotation(rollout).map_or(0, |rotation| rotation.from_out);
        let some_are_left = (out as usize) < endpoints;
        if some_are_left && standing.plan.health().is_some() {
            out
        } else {
            0
        }
    }

    /// The check that the next batch of former endpoints must pass; `None`: all are back.
    pub(super) fn return_check(&self, rollout: usize) -> Option<Errand> {
        let RolloutStanding { plan, returning, .. } = self.rollout(rollout);
        let out = Some(*returning).filter(|out| *out > 0)?;
        let first = plan.out_before(out);
        let health = plan.health().cloned();
        Some(Errand::Smoke(Smoke {
            // They are asked until they answer, or somebody starts anew.
            attempts: u32::MAX,
            endpoints: Some((first as usize, out as usize)),
            ..health?
        }))
    }

    /// A batch of former endpoints has passed its check.
    pub(super) fn take_back(&self, rollout: usize, now_ms: u64) -> Changed {
        let mut draft = Draft::new(self.clone(), Wish::SERIN, now_ms);
        draft.take_back(rollout);
        draft.finish()
    }

    /// What it takes to run an errand of a rollout.
    pub(super) fn task(&self, index: usize, errand: Arc<Errand>, generation: u64) -> Task {
        let spec = &self.spec;
        let rollout = &spec.rollouts[index];
        let route = &spec.routes[rollout.route];
        let RolloutStanding {
            state,
            plan,
            marks,
            reason,
            ..
        } = self.rollout(index);
        let (from, to) = self.pair(index);
        let side = if self.rollout(index).returning > 0 { from } else { to };
        let endpoints = spec.backends[route.variants[side].backend].endpoints.iter();
        let canary = release(spec, rollout.route, to);
        Task {
            errand,
            endpoints: endpoints.map(authority).collect(),
            host: route.matches.hosts.iter().find_map(|host| match host {
                HostMatch::Exact(name) => Some(name.clone()),
                _ => None,
            }),
            payload: Payload {
                rollout: rollout.name.to_string(),
                route: route.name.to_string(),
                environment: spec.environment.clone(),
                checksum: checksum(canary.as_deref(), marks),
                step: state.step().map(|step| step + 1),
                of: plan.steps().len(),
                weight: f64::from(state.canary_ppm(plan).unwrap_or(0)) / f64::from(MILLION),
                release: canary,
                generation,
                from: route.variants[from].name.to_string(),
                to: route.variants[to].name.to_string(),
                reason: reason.clone(),
            },
        }
    }

    /// The rollout on a route.
    pub(super) fn rollout_on(&self, route: usize) -> Option<usize> {
        self.trials[route]
    }

    /// Where a rollout of the file stands.
    pub(super) fn rollout(&self, rollout: usize) -> &RolloutStanding {
        let name = &self.spec.rollouts[rollout].name;
        self.standing
            .rollouts
            .get(name)
            .expect("every rollout has its standing")
    }

    pub(super) fn rollout_mut(&mut self, rollout: usize) -> &mut RolloutStanding {
        let name = &self.spec.rollouts[rollout].name;
        let standing = self.standing.rollouts.get_mut(name);
        standing.expect("every rollout has its standing")
    }

    /// What stands on a route beside the file, if anything does.
    pub(super) fn route(&self, route: usize) -> Option<&RouteStanding> {
        self.standing.routes.get(&self.spec.routes[route].name)
    }

    /// The epoch of evidence of a route.
    pub(super) fn epoch(&self, route: usize) -> u32 {
        self.route(route).map_or(0, |standing| standing.epoch)
    }

    /// The weights in force on a route, in file order.
    pub(super) fn in_force_on(&self, route: usize) -> Vec<u32> {
        match self.route(route) {
            Some(standing) => standing.in_force.clone(),
            None => self.spec.routes[route]
                .variants
                .iter()
                .map(|variant| variant.weight)
                .collect(),
        }
    }

    /// How long the test of a rollout is expected to run: a plan's bake times while it sets the weight.
    pub(super) fn term(&self, rollout: usize) -> Term {
        let RolloutStanding { state, plan, .. } = self.rollout(rollout);
        let sets_weight = state.canary_ppm(plan).is_some();
        match state.step().filter(|_| sets_weight) {
            Some(_) => Term::Plan {
                bake_time: plan.bake_time(),
            },
            None => Term::Watch,
        }
    }

    /// The weights in force on a route, in words.
    pub(super) fn words(&self, route: usize) -> String {
        in_words(&self.spec.routes[route].variants, &self.in_force_on(route))
    }
}

/// `host:port`, with brackets where the host is an IPv6 address.
fn authority(endpoint: &config::Endpoint) -> String {
    match endpoint.host.contains(':') {
        true => format!("[{}]:{}", endpoint.host, endpoint.port),
        false => format!("{}:{}", endpoint.host, endpoint.port),
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod simulation;
