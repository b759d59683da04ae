//! What control owns, the checked file and what stands beside it, and how each event changes the
//! two. Pure: no clock, no disk, no log.
//!
//! An event makes a *new* ground, so that it can be written down before it takes effect, and
//! dropped when that fails. A start, a restart and a reload are one event: a file meets what stands.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::draft::{Draft, Wish};
use super::journal::Happening;
use super::standing::{RolloutStanding, RouteStanding, Standing};
use super::weights::{by_name, declared, in_words};
use crate::analysis::{Term, Verdict};
use crate::compile::{InForce, Trial};
use crate::config::{Rollout, Route, Spec};
use crate::name::Name;
use crate::rollout::{Phase, Refused, State, Tick, Verb};

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
            standing: Standing::default(),
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

    /// What a person asks of a rollout.
    ///
    /// # Errors
    /// [`Refused`] says what is possible in its phase.
    pub(super) fn command(&self, rollout: usize, verb: Verb, wish: Wish, now_ms: u64) -> Result<Changed, Refused> {
        let standing = self.rollout(rollout);
        let moved = standing.state.command(&standing.plan, verb, now_ms)?;
        let mut draft = Draft::new(self.clone(), wish, now_ms);
        draft.put_move(rollout, moved, None);
        if matches!(verb, Verb::Start | Verb::Retry) {
            draft.begin_trial(rollout);
        }
        Ok(draft.finish())
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

    /// One tick of a rollout under judgement, `elapsed` after the last.
    pub(super) fn tick(&self, rollout: usize, verdict: &Verdict, elapsed: Duration, now_ms: u64) -> Ticked {
        let standing = self.rollout(rollout);
        let Rollout { patience, observe, .. } = self.spec.rollouts[rollout];
        let tick = Tick {
            plan: &standing.plan,
            verdict,
            elapsed,
            patience,
            observe,
            held: false,
            cleared: false,
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
        Some(format!(
            "route {name}: the file's weights {} wait while rollout {} is {}",
            in_words(variants, &file),
            rollout.name,
            self.rollout(index).state.phase().as_str()
        ))
    }

    fn trial(&self, index: usize) -> Trial {
        let rollout = &self.spec.rollouts[index];
        Trial {
            rollout: rollout.name.clone(),
            from: rollout.from,
            to: rollout.to,
            aborted: self.rollout(index).state.phase() == Phase::Aborted,
            rotation: None,
            idle: None,
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

#[cfg(test)]
mod tests;
