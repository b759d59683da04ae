//! A file meets what stands: new rollouts, changed plans, releases and weights. Pure.

use super::{Draft, exposes, release};
use crate::control::draft::Wish;
use crate::control::standing::{RolloutStanding, RouteStanding, marks};
use crate::control::weights::{declared, in_file_order};
use crate::rollout::{Move, Phase, Plan, State};

impl Draft<'_> {
    /// A rollout that the file names for the first time. The release that it finds is the first
    /// sight of one, and no change.
    pub(in crate::control) fn begin_rollout(&mut self, index: usize) {
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
            pair: Some(self.ground.file_pair(index)),
            releases: releases.collect(),
            trial: 0,
            returning: 0,
            aborted_in: None,
            answered: false,
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
    pub(in crate::control) fn meet_rollout(&mut self, index: usize, known: RolloutStanding) {
        let spec = self.ground.spec.clone();
        let rollout = &spec.rollouts[index];
        self.ground.standing.rollouts.insert(rollout.name.clone(), known);
        self.adopt_declared(index);
        self.meet_plan(index, &rollout.plan);
        self.meet_release(index);
        self.adopt_declared(index);
        self.watch_exposure(index);
    }

    fn meet_plan(&mut self, index: usize, plan: &Plan) {
        let now_ms = self.now_ms;
        let standing = self.ground.rollout_mut(index);
        if standing.plan == *plan {
            return;
        }
        let before = std::mem::replace(&mut standing.marks, marks(plan));
        let old = std::mem::replace(&mut standing.plan, plan.clone());
        if before == standing.marks {
            // What was stored stood for this plan.
            return;
        }
        let state = standing.state.plan_changed(&old, plan, now_ms);
        standing.approvals.clear();
        // Its steps are others.
        standing.aborted_in = None;
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
        let held = self.ground.is_held(index, now_ms) || self.ground.must_knock(index);
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

    /// What waited while nothing could move forward: weights and releases of the file.
    pub(in crate::control) fn catch_up(&mut self, index: usize) {
        self.adopt_declared(index);
        self.meet_release(index);
        self.adopt_declared(index);
        self.settle(self.ground.spec.rollouts[index].route);
    }

    /// Weights that the file changed apply where the phase allows it.
    pub(super) fn adopt_declared(&mut self, index: usize) {
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
}
