//! A ground in the making: the steps of one event, their order, and what each must bring with it.
//! Pure.

use std::collections::BTreeSet;

use super::ground::{Changed, Ground};
use super::journal::{Happening, Kind};
use super::standing::{Freeze, RolloutStanding, RouteStanding, marks};
use super::weights::{declared, in_file_order};
use crate::analysis::Verdict;
use crate::config::{Rollout, Spec};
use crate::rollout::{Approval, Move, Phase, Plan, Refused, State};
use crate::share::divide_pair;

/// Who wants a change, and why, in their own words (perhaps none).
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish<'a> {
    pub(super) by: &'a str,
    pub(super) reason: &'a str,
}

/// What one event has changed so far.
pub(super) struct Draft<'a> {
    ground: Ground,
    wish: Wish<'a>,
    now_ms: u64,
    happenings: Vec<Happening>,
    /// When the newest commit of a release that is started was made, if somebody says so.
    pub(super) commit_ms: Option<u64>,
    /// Routes whose evidence begins anew; their epochs rise once, however many steps asked for it.
    fresh: BTreeSet<usize>,
}

impl Wish<'_> {
    pub(super) const FILE: Self = Self { by: "file", reason: "" };
    pub(super) const SERIN: Self = Self {
        by: "serin",
        reason: "",
    };

    /// `reason`, with what the person adds.
    fn words(self, reason: String) -> String {
        match self.reason.trim() {
            "" => reason,
            words => format!("{reason}: {words}"),
        }
    }
}

impl<'a> Draft<'a> {
    pub(super) fn new(ground: Ground, wish: Wish<'a>, now_ms: u64) -> Self {
        Self {
            ground,
            wish,
            now_ms,
            happenings: Vec::new(),
            commit_ms: None,
            fresh: BTreeSet::new(),
        }
    }

    pub(super) fn finish(mut self) -> Changed {
        for route in 0..self.ground.spec.routes.len() {
            let exposes = self.exposes_canary(route);
            let name = &self.ground.spec.routes[route].name;
            let Some(standing) = self.ground.standing.routes.get_mut(name) else {
                continue;
            };
            if self.fresh.contains(&route) {
                standing.begin_epoch(exposes);
            }
            if exposes {
                standing.exposed = Some(standing.epoch);
            }
        }
        (self.ground, self.happenings)
    }

    /// Whether the canary on `route`, if there is one, gets requests that vote.
    fn exposes_canary(&self, route: usize) -> bool {
        self.ground.rollout_on(route).is_some_and(|index| {
            let spec = &self.ground.spec;
            let aborted = self.ground.rollout(index).state.phase() == Phase::Aborted;
            let (_, to) = self.ground.pair(index);
            !aborted && exposes(spec, route, to, &self.ground.in_force_on(route))
        })
    }

    /// A rollout that the file names for the first time. The release that it finds is the first
    /// sight of one, and no change.
    pub(super) fn begin_rollout(&mut self, index: usize) {
        let rollout = &self.ground.spec.rollouts[index];
        let route = &self.ground.spec.routes[rollout.route];
        let weights = &self.standing_of(rollout).weights;
        let weights = in_file_order(&route.variants, weights);
        let exposed = exposes(&self.ground.spec, rollout.route, rollout.to, &weights);
        let state = State::initial(exposed, self.now_ms);
        let releases = [rollout.from, rollout.to].into_iter().filter_map(|variant| {
            let name = route.variants[variant].name.clone();
            Some((name, release(&self.ground.spec, rollout.route, variant)?))
        });
        let standing = RolloutStanding {
            reason: state.reason().to_owned(),
            state,
            plan: rollout.plan.clone(),
            marks: marks(&rollout.plan),
            swapped: false,
            releases: releases.collect(),
            trial: 0,
            returning: 0,
            approvals: Vec::new(),
            commit_ms: None,
            spent: 0.0,
        };
        let name = rollout.name.clone();
        self.ground.standing.rollouts.insert(name, standing);
        self.adopt_declared(index);
    }

    /// A rollout that is known meets what the file says now. Weights come first: they apply in
    /// the phase that the rollout is in, before a new release may start the plan.
    pub(super) fn meet_rollout(&mut self, index: usize, known: RolloutStanding) {
        let spec = self.ground.spec.clone();
        let rollout = &spec.rollouts[index];
        self.ground.standing.rollouts.insert(rollout.name.clone(), known);
        self.adopt_declared(index);
        self.meet_plan(index, &rollout.plan);
        self.meet_release(index);
        self.adopt_declared(index);
        self.watch_exposure(index);
    }

    /// A rollout moves on. What its new phase allows, such as weights of the file that were kept,
    /// comes with it.
    pub(super) fn put_move(&mut self, index: usize, moved: Move, verdict: Option<Verdict>) {
        self.put_state(index, moved, verdict);
        self.adopt_declared(index);
        self.settle(self.ground.spec.rollouts[index].route);
    }

    /// What was seen of the canary so far is no evidence any more, neither for it nor against it.
    pub(super) fn begin_trial(&mut self, index: usize) {
        let standing = self.ground.rollout_mut(index);
        standing.trial += 1;
        standing.spent = 0.0;
        standing.approvals.clear();
        self.fresh.insert(self.ground.spec.rollouts[index].route);
    }

    /// The rollout on `route`, if any, hears that a person or the file set its weights.
    ///
    /// # Errors
    /// [`Refused`] where its phase does not allow that.
    pub(super) fn weights_set(&mut self, route: usize) -> Result<(), Refused> {
        let Some(index) = self.ground.rollout_on(route) else {
            return Ok(());
        };
        let spec = &self.ground.spec;
        let rollout = &spec.rollouts[index];
        let weights = in_file_order(&spec.routes[route].variants, &self.standing_of(rollout).weights);
        let exposed = exposes(spec, route, self.ground.pair(index).1, &weights);
        let state = &self.ground.rollout(index).state;
        let moved = state.weights_set(exposed, self.now_ms)?;
        if moved.state.phase() == state.phase() {
            // The change of weights tells it; the place is the same.
            self.ground.rollout_mut(index).state = moved.state;
        } else {
            self.put_state(index, moved, None);
        }
        Ok(())
    }

    /// Derives what is in force on `route`; when that is new, evidence begins anew.
    pub(super) fn settle(&mut self, route: usize) {
        let in_force = self.derive(route);
        let name = &self.ground.spec.routes[route].name;
        let Some(standing) = self.ground.standing.routes.get_mut(name) else {
            return;
        };
        if standing.in_force != in_force {
            standing.in_force = in_force;
            self.fresh.insert(route);
        }
    }

    /// Tells that the weights on `route` are others than `from`.
    pub(super) fn tell_weights(&mut self, route: usize, from: String, why: &str) {
        let happening = self.ground.weights_happening(route, from, why.to_owned(), self.wish);
        self.happenings.push(happening);
    }

    fn meet_plan(&mut self, index: usize, plan: &Plan) {
        let now_ms = self.now_ms;
        let standing = self.ground.rollout_mut(index);
        if standing.plan == *plan {
            return;
        }
        let before = std::mem::replace(&mut standing.marks, marks(plan));
        standing.plan = plan.clone();
        if before == standing.marks {
            // What was stored stood for this plan.
            return;
        }
        let state = standing.state.plan_changed(plan, now_ms);
        standing.approvals.clear();
        if plan.health().is_none() {
            // Nobody says any more how to check them.
            standing.returning = 0;
        }
        let reason = format!("the plan was changed in the file; {}", state.reason());
        self.put_state(index, Move { state, reason }, None);
        self.fresh.insert(self.ground.spec.rollouts[index].route);
    }

    /// The releases that the file names meet those that were seen last. A new one of the canary, or of
    /// the former stable where the next canary is to be that one, may start the plan. While nothing may
    /// move forward it is not seen yet.
    fn meet_release(&mut self, index: usize) {
        let (now_ms, spec) = (self.now_ms, self.ground.spec.clone());
        let rollout = &spec.rollouts[index];
        let variants = &spec.routes[rollout.route].variants;
        let (from, to) = self.ground.next_pair(index);
        let held = self.ground.held(index, now_ms).is_some();
        // A file that names no release any more is no new release, and makes none forgotten.
        if let Some(found) = release(&spec, rollout.route, from) {
            let seen = &mut self.ground.rollout_mut(index).releases;
            seen.insert(variants[from].name.clone(), found);
        }
        let Some(found) = release(&spec, rollout.route, to) else {
            return;
        };
        let name = &variants[to].name;
        let known = self.ground.rollout(index).releases.get(name).cloned();
        if held && known.as_ref().is_some_and(|known| *known != found) {
            return;
        }
        self.ground
            .rollout_mut(index)
            .releases
            .insert(name.clone(), found.clone());
        let Some(known) = known.filter(|known| *known != found) else {
            return;
        };
        let standing = self.ground.rollout_mut(index);
        let moved = standing
            .state
            .release_changed(&standing.plan, rollout.auto_start, now_ms);
        if let Some(mut moved) = moved {
            moved.reason = format!("{known} gave way to {found}; {}", moved.reason);
            self.turn(index, (from, to));
            let begins = moved.state.phase() != Phase::Idle;
            self.put_state(index, moved, None);
            if begins {
                self.tell_trial(index);
            }
        }
        // Another release is another canary.
        self.begin_trial(index);
    }

    /// From now on the rollout moves weight from the one to the other.
    pub(super) fn turn(&mut self, index: usize, (from, _): (usize, usize)) {
        let swapped = from != self.ground.spec.rollouts[index].from;
        self.ground.rollout_mut(index).swapped = swapped;
    }

    /// The last move began a trial: it says of what.
    pub(super) fn tell_trial(&mut self, index: usize) {
        let spec = self.ground.spec.clone();
        let rollout = &spec.rollouts[index];
        let variants = &spec.routes[rollout.route].variants;
        let (from, to) = self.ground.pair(index);
        let commit_ms = self.commit_ms.or(spec.backends[variants[to].backend].commit_ms);
        let standing = self.ground.rollout_mut(index);
        standing.commit_ms = commit_ms;
        let mut facts = vec![
            ("direction", format!("{} to {}", variants[from].name, variants[to].name)),
            ("trial", (standing.trial + 1).to_string()),
        ];
        facts.extend(commit_ms.map(|ms| ("commitTime", ms.to_string())));
        let mut moves = self.happenings.iter_mut().rev();
        if let Some(happening) = moves.find(|happening| happening.kind == Kind::Rollout) {
            happening.facts.extend(facts);
        }
    }

    /// A batch of former endpoints is well, and takes requests again.
    pub(super) fn take_back(&mut self, index: usize) {
        let rollout = &self.ground.spec.rollouts[index];
        let (route, name) = (rollout.route, rollout.name.clone());
        let standing = self.ground.rollout_mut(index);
        let before = standing.returning;
        standing.returning = standing.plan.out_before(before);
        let words = |out: u32| match out {
            0 => "all former endpoints serve".to_owned(),
            out => format!("{out} former endpoints are out"),
        };
        let (from, to) = (words(before), words(standing.returning));
        self.happenings.push(Happening {
            kind: Kind::Return,
            by: self.wish.by.to_owned(),
            route: Some(self.ground.spec.routes[route].name.clone()),
            rollout: Some(name),
            from,
            to,
            reason: "they answer again as they should".to_owned(),
            facts: Vec::new(),
            seq: None,
            decided: false,
            verdict: None,
        });
    }

    /// Somebody approves the gate that the rollout stands at.
    pub(super) fn approve(&mut self, index: usize, approval: Approval, missing: [String; 2]) {
        let rollout = &self.ground.spec.rollouts[index];
        let [from, to] = missing;
        let step = self.ground.rollout(index).state.step().map_or(0, |step| step + 1);
        let happening = Happening {
            kind: Kind::Approval,
            by: self.wish.by.to_owned(),
            route: Some(self.ground.spec.routes[rollout.route].name.clone()),
            rollout: Some(rollout.name.clone()),
            from,
            to,
            reason: self.wish.words("approved".to_owned()),
            facts: vec![
                ("step", step.to_string()),
                ("roles", approval.roles.join(" ")),
                ("approvedGeneration", approval.generation.to_string()),
            ],
            seq: None,
            decided: false,
            verdict: None,
        };
        let approvals = &mut self.ground.rollout_mut(index).approvals;
        approvals.retain(|other| other.by != approval.by);
        approvals.push(approval);
        self.happenings.push(happening);
    }

    /// Nothing moves forward from now on, or may again.
    pub(super) fn freeze(&mut self, frozen: bool) {
        let words = |frozen: bool| if frozen { "frozen" } else { "not frozen" }.to_owned();
        let before = self.ground.standing.frozen.is_some();
        self.ground.standing.frozen = frozen.then(|| Freeze {
            by: self.wish.by.to_owned(),
            reason: self.wish.reason.to_owned(),
            since_ms: self.now_ms,
        });
        self.happenings.push(Happening {
            kind: Kind::Freeze,
            by: self.wish.by.to_owned(),
            route: None,
            rollout: None,
            from: words(before),
            to: words(frozen),
            reason: self.wish.words(
                if frozen {
                    "nothing moves forward"
                } else {
                    "rollouts may move forward"
                }
                .to_owned(),
            ),
            facts: Vec::new(),
            seq: None,
            decided: false,
            verdict: None,
        });
    }

    /// What waited while nothing could move forward: weights and releases of the file.
    pub(super) fn catch_up(&mut self, index: usize) {
        self.adopt_declared(index);
        self.meet_release(index);
        self.adopt_declared(index);
        self.settle(self.ground.spec.rollouts[index].route);
    }

    /// Weights that the file changed apply where the phase allows it.
    fn adopt_declared(&mut self, index: usize) {
        let phase = self.ground.rollout(index).state.phase();
        let route = self.ground.spec.rollouts[index].route;
        let file = declared(&self.ground.spec.routes[route].variants);
        let known = self.standing_of(&self.ground.spec.rollouts[index]);
        let frozen = self.ground.standing.frozen.is_some();
        if known.declared == file || frozen || !matches!(phase, Phase::Idle | Phase::Watching | Phase::Succeeded) {
            return;
        }
        let from = self.ground.words(route);
        let adopted = RouteStanding {
            epoch: known.epoch,
            exposed: known.exposed,
            in_force: known.in_force.clone(),
            ..RouteStanding::of_file(file)
        };
        let name = self.ground.spec.routes[route].name.clone();
        self.ground.standing.routes.insert(name, adopted);
        let heard = self.weights_set(route);
        debug_assert!(heard.is_ok(), "these phases allow weights");
        self.settle(route);
        let happening = self
            .ground
            .weights_happening(route, from, "changed in the file".to_owned(), Wish::FILE);
        self.happenings.push(happening);
    }

    /// A canary that got or lost a voting cohort is watched from now on, or not any more.
    fn watch_exposure(&mut self, index: usize) {
        let spec = &self.ground.spec;
        let rollout = &spec.rollouts[index];
        let exposed = exposes(
            spec,
            rollout.route,
            self.ground.pair(index).1,
            &self.derive(rollout.route),
        );
        let state = &self.ground.rollout(index).state;
        if let Some(moved) = state.exposure_changed(exposed, self.now_ms) {
            self.put_state(index, moved, None);
        }
    }

    fn put_state(&mut self, index: usize, moved: Move, verdict: Option<Verdict>) {
        let rollout = &self.ground.spec.rollouts[index];
        let (route, name) = (rollout.route, rollout.name.clone());
        let reason = self.wish.words(moved.reason);
        let returning = self.ground.returning_after(index, &moved.state);
        let standing = self.ground.rollout_mut(index);
        standing.returning = returning;
        let before = std::mem::replace(&mut standing.state, moved.state);
        let (from, to) = places(&before, &standing.state, &standing.plan);
        if before.step() != standing.state.step() {
            standing.approvals.clear();
            self.fresh.insert(route);
        }
        standing.reason.clone_from(&reason);
        let facts = self.ground.facts(index);
        self.happenings.push(Happening {
            kind: Kind::Rollout,
            by: self.wish.by.to_owned(),
            route: Some(self.ground.spec.routes[route].name.clone()),
            rollout: Some(name),
            from,
            to,
            reason,
            facts,
            seq: None,
            decided: verdict.is_some(),
            verdict,
        });
    }

    /// What is in force on `route`: the weights of file or person, and the pair divided anew where
    /// a rollout says so.
    fn derive(&self, route: usize) -> Vec<u32> {
        let variants = &self.ground.spec.routes[route].variants;
        let Some(standing) = self.ground.route(route) else {
            return variants.iter().map(|variant| variant.weight).collect();
        };
        let weights = in_file_order(variants, &standing.weights);
        let moved = self.ground.rollout_on(route).and_then(|index| {
            let (from, to) = self.ground.pair(index);
            let standing = self.ground.rollout(index);
            divide_pair(&weights, from, to, standing.state.canary_ppm(&standing.plan)?)
        });
        moved.unwrap_or(weights)
    }

    fn standing_of(&self, rollout: &Rollout) -> &RouteStanding {
        let standing = self.ground.route(rollout.route);
        standing.expect("the route of every rollout has its standing")
    }
}

impl Ground {
    /// The weights on `route` are others than `from` now.
    pub(super) fn weights_happening(&self, route: usize, from: String, why: String, wish: Wish) -> Happening {
        let rollout = self.rollout_on(route).map(|index| &self.spec.rollouts[index]);
        Happening {
            kind: Kind::Weights,
            by: wish.by.to_owned(),
            route: Some(self.spec.routes[route].name.clone()),
            rollout: rollout.map(|rollout| rollout.name.clone()),
            from,
            to: self.words(route),
            reason: wish.words(why),
            facts: Vec::new(),
            seq: None,
            decided: false,
            verdict: None,
        }
    }
}

/// Whether the canary's requests vote: it has weight, or a cohort that is evidence (rule 13).
fn exposes(spec: &Spec, route: usize, to: usize, weights: &[u32]) -> bool {
    let cohorts = &spec.routes[route].cohorts;
    weights[to] > 0 || cohorts.iter().any(|cohort| cohort.evidence && cohort.variant == to)
}

/// The release of a variant's backend.
pub(super) fn release(spec: &Spec, route: usize, variant: usize) -> Option<String> {
    let variant = &spec.routes[route].variants[variant];
    spec.backends[variant.backend].release.clone()
}

/// Before and after in words: the phases, or the steps where the phase is the same.
fn places(before: &State, after: &State, plan: &Plan) -> (String, String) {
    let words = |state: &State| {
        let phase = state.phase().as_str();
        match state.step().filter(|_| before.phase() == after.phase()) {
            Some(step) => format!("{phase}, step {} of {}", step + 1, plan.steps().len()),
            None => phase.to_owned(),
        }
    };
    (words(before), words(after))
}
