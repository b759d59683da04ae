//! What control owns, the checked file and what stands beside it, and how each event changes the
//! two. Pure: no clock, no disk, no log.
//!
//! An event makes a *new* ground, so that it can be written down before it takes effect, and
//! dropped when that fails. A start, a restart and a reload are one event: a file meets what stands.

mod course;
mod flags;
mod people;
mod rotation;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::draft::{Draft, Wish, release};
use super::journal::Happening;
use super::standing::{Pair, RolloutStanding, RouteStanding, Standing};
use super::weights::{declared, in_file_order, in_words};
use crate::compile::{InForce, Trial};
use crate::config::{Rollout, Route, Spec};
use crate::name::Name;
use crate::rollout::{Needs, Phase, State, Verb};
use crate::route::FlagId;

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
                aborts: std::mem::take(&mut known.aborts),
                ..Standing::default()
            },
            trials: trials.into(),
        };
        let met: Vec<_> = (0..spec.rollouts.len())
            .map(|index| ground.known_as(index, &mut known.rollouts))
            .collect();
        for (index, route) in spec.routes.iter().enumerate() {
            let file = declared(&route.variants);
            // What people gave a canary that was aborted does not come back with the end of its rollout.
            let was_aborted = |gone: &RolloutStanding| {
                let pair = gone.pair.as_ref();
                gone.state.phase() == Phase::Aborted && pair.is_some_and(|pair| pair.route == route.name)
            };
            let standing = known.routes.remove(&route.name);
            let standing = standing.filter(|_| !known.rollouts.values().any(was_aborted));
            let standing = match ground.trials[index] {
                Some(_) => Some(standing.unwrap_or_else(|| RouteStanding::of_file(file))),
                None => standing.filter(|standing| standing.by_hand && standing.declared == file),
            };
            if let Some(standing) = standing {
                ground.standing.routes.insert(route.name.clone(), standing);
            }
        }
        let mut draft = Draft::new(ground, Wish::FILE, now_ms);
        for (index, met) in met.into_iter().enumerate() {
            match met {
                Some(standing) => draft.meet_rollout(index, standing),
                None => draft.begin_rollout(index),
            }
        }
        for route in 0..spec.routes.len() {
            draft.settle(route);
        }
        draft.meet_flags(&mut known);
        draft.finish()
    }

    /// [`Ground::meet`] with what is live; also tells which weights in force the file thereby changed.
    pub(super) fn reload(&self, spec: Arc<Spec>, now_ms: u64) -> Changed {
        let mut standing = self.standing.clone();
        self.forget_approvals(&spec, &mut standing);
        let (next, mut happenings) = Self::meet(spec, standing, now_ms);
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
        let switched_off = self.switched_off_in(&next);
        let mut draft = Draft::new(next, Wish::FILE, now_ms);
        for flag in switched_off {
            draft.tell_switch(flag, [true, false], "the file says so");
        }
        let (next, more) = draft.finish();
        happenings.extend(more);
        (next, happenings)
    }

    /// Who has approved has approved what the file said: another rollout, route or canary is to be approved anew.
    fn forget_approvals(&self, next: &Spec, standing: &mut Standing) {
        for (index, rollout) in self.spec.rollouts.iter().enumerate() {
            let (_, to) = self.pair(index);
            let approved = |spec: &Spec| {
                let rollout = spec.rollouts.iter().find(|other| other.name == rollout.name)?;
                let route = spec.routes.get(rollout.route)?.clone();
                let backend = spec.backends.get(route.variants.get(to)?.backend)?.clone();
                Some((rollout.clone(), route, backend))
            };
            let approvals = standing
                .rollouts
                .get_mut(&rollout.name)
                .map(|standing| &mut standing.approvals);
            if let Some(approvals) = approvals.filter(|approvals| !approvals.is_empty())
                && approved(&self.spec) != approved(next)
            {
                approvals.clear();
            }
        }
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

    /// `from` and `to` of a rollout as it stands.
    pub(super) fn pair(&self, rollout: usize) -> (usize, usize) {
        let Rollout {
            name, route, from, to, ..
        } = &self.spec.rollouts[rollout];
        let standing = self.standing.rollouts.get(name);
        let pair = standing.and_then(|standing| standing.pair.as_ref());
        let variants = &self.spec.routes[*route].variants;
        match pair.is_some_and(|pair| pair.from == variants[*to].name) {
            true => (*to, *from),
            false => (*from, *to),
        }
    }

    /// The same as the file has it, by name.
    pub(super) fn file_pair(&self, rollout: usize) -> Pair {
        let Rollout { route, from, to, .. } = self.spec.rollouts[rollout];
        let Route { name, variants, .. } = &self.spec.routes[route];
        Pair {
            route: name.clone(),
            from: variants[from].name.clone(),
            to: variants[to].name.clone(),
        }
    }

    /// Takes out of `known` what stands of a rollout of the file: under its name where it moved weight between
    /// the same two variants. A trial of other variants is none of this one. What was aborted is known under
    /// another name, too: to rename a rollout brings no canary back.
    fn known_as(&self, rollout: usize, known: &mut BTreeMap<Name, RolloutStanding>) -> Option<RolloutStanding> {
        let name = &self.spec.rollouts[rollout].name;
        let file = self.file_pair(rollout);
        let is_same = |standing: &RolloutStanding| standing.pair.as_ref().is_none_or(|pair| pair.is_of(&file));
        if known.get(name).is_some_and(is_same) {
            return known.remove(name);
        }
        let is_gone = |other: &Name| self.spec.rollouts.iter().all(|rollout| rollout.name != *other);
        let renamed = known.iter().find(|(other, standing)| {
            let is_aborted = standing.state.phase() == Phase::Aborted;
            is_aborted && is_gone(other) && standing.pair.as_ref().is_some_and(|pair| pair.is_of(&file))
        });
        let renamed = renamed.map(|(other, _)| other.clone())?;
        known.remove(&renamed)
    }

    /// `from` and `to` of the next trial: after a success with the roles exchanged, where the file says so.
    pub(super) fn next_pair(&self, rollout: usize) -> (usize, usize) {
        let (from, to) = self.pair(rollout);
        let RolloutStanding { state, plan, .. } = self.rollout(rollout);
        if !plan.after.swap_roles || state.phase() != Phase::Succeeded {
            return (from, to);
        }
        let swaps = match state.canary_ppm(plan) {
            Some(_) => true,
            // A person has set weights since: the side that serves is the one to begin with.
            None => {
                let Rollout { route, .. } = self.spec.rollouts[rollout];
                let variants = &self.spec.routes[route].variants;
                let weights = self.route(route).map(|route| in_file_order(variants, &route.weights));
                weights.is_some_and(|weights| weights[to] > weights[from])
            }
        };
        if swaps { (to, from) } else { (from, to) }
    }

    /// What is on trial, for the record.
    pub(super) fn facts(&self, rollout: usize) -> Vec<(&'static str, String)> {
        let (_, to) = self.pair(rollout);
        let release = release(&self.spec, self.spec.rollouts[rollout].route, to);
        let RolloutStanding { state, plan, .. } = self.rollout(rollout);
        let waits_for = match state.needs(plan) {
            Some(Needs::Approvals(gate)) => Some(format!("approvals: {}", gate.asked())),
            Some(Needs::Person) => Some("somebody who resumes".to_owned()),
            _ => None,
        };
        let release = release.map(|release| ("release", release)).into_iter();
        release.chain(waits_for.map(|who| ("waitsFor", who))).collect()
    }

    /// The release on trial, or last on trial: one that the file brought and that may not begin yet is none.
    pub(super) fn release_on_trial(&self, rollout: usize) -> Option<String> {
        let route = self.spec.rollouts[rollout].route;
        let (_, to) = self.pair(rollout);
        let in_file = release(&self.spec, route, to)?;
        let seen = self
            .rollout(rollout)
            .releases
            .get(&self.spec.routes[route].variants[to].name);
        Some(seen.cloned().unwrap_or(in_file))
    }

    /// How often a rollout was aborted on a route.
    fn aborts_on(&self, route: usize) -> u32 {
        let aborts = self.standing.aborts.get(&self.spec.routes[route].name);
        aborts.copied().unwrap_or(0)
    }

    /// What is in force on each route of the file, in order.
    pub(super) fn in_force(&self) -> Vec<InForce> {
        let on = |route: usize| InForce {
            enabled: self.is_on(FlagId::Route(route)),
            aborts: self.aborts_on(route),
            weights: self.in_force_on(route),
            epoch: self.epoch(route),
            trial: self.trials[route].map(|index| self.trial(index)),
        };
        let own = self.spec.flags.iter().enumerate().map(|(own, flag)| InForce {
            weights: self.flag_weights(flag),
            epoch: 0,
            trial: None,
            enabled: self.is_on(FlagId::Own(own)),
            aborts: 0,
        });
        (0..self.spec.routes.len()).map(on).chain(own).collect()
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

    /// The weights in force on a route, in words.
    pub(super) fn words(&self, route: usize) -> String {
        in_words(&self.spec.routes[route].variants, &self.in_force_on(route))
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod simulation;
