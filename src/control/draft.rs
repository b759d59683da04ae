//! A ground in the making: the steps of one event, their order, and what each must bring with it.
//! Pure.

mod flags;
mod meet;
mod notes;

use std::collections::BTreeSet;

use super::ground::{Changed, Ground};
use super::journal::{Happening, Kind};
use super::standing::{Pair, RouteStanding};
use super::weights::in_file_order;
use crate::analysis::Verdict;
use crate::config::{Rollout, Spec};
use crate::rollout::{Move, Phase, Plan, Refused, State};
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

    /// From now on the rollout moves weight from the one to the other.
    pub(super) fn turn(&mut self, index: usize, (from, _): (usize, usize)) {
        let file = self.ground.file_pair(index);
        let swapped = from != self.ground.spec.rollouts[index].from;
        self.ground.rollout_mut(index).pair = Some(match swapped {
            false => file,
            true => Pair {
                route: file.route,
                from: file.to,
                to: file.from,
            },
        });
    }

    fn put_state(&mut self, index: usize, moved: Move, verdict: Option<Verdict>) {
        let rollout = &self.ground.spec.rollouts[index];
        let (route, name) = (rollout.route, rollout.name.clone());
        let reason = self.wish.words(moved.reason);
        let returning = self.ground.returning_after(index, &moved.state);
        let standing = self.ground.rollout_mut(index);
        standing.returning = returning;
        standing.answered = false;
        let before = std::mem::replace(&mut standing.state, moved.state);
        if before.phase() != Phase::Aborted && standing.state.phase() == Phase::Aborted {
            let aborts = self
                .ground
                .standing
                .aborts
                .entry(self.ground.spec.routes[route].name.clone());
            let aborts = aborts.or_default();
            *aborts = aborts.wrapping_add(1);
        }
        let standing = self.ground.rollout_mut(index);
        standing.aborted_in = match (before.phase(), standing.state.phase()) {
            (Phase::Aborted, Phase::Aborted) => standing.aborted_in,
            (Phase::Succeeded, Phase::Aborted) => Some(standing.plan.steps().len()),
            (_, Phase::Aborted) => before.step(),
            _ => None,
        };
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
    let cohorts = &spec.routes[route].rules.cohorts;
    weights[to] > 0 || cohorts.iter().any(|cohort| cohort.evidence && cohort.to.leads_to(to))
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
