//! What people ask of rollouts and routes: verbs, directions, approvals, weights, a freeze. Pure.

use crate::config::Route;
use crate::control::draft::{Draft, Wish};
use crate::control::standing::{Freeze, RolloutStanding, RouteStanding};
use crate::control::weights::{by_name, declared};
use crate::people::Tokens;
use crate::rollout::{Approval, Needs, Phase, Refused, Verb};

use super::{Changed, Ground, Ordered};

/// Verbs that are refused while nothing may move forward.
const MOVES_FORWARD: [&str; 5] = ["start", "promote", "resume", "retry", "setting weights"];

impl Ground {
    /// What a person asks of a rollout. `order`: how, where it is a start.
    ///
    /// # Errors
    /// [`Refused`] says what is possible in its phase, or why nothing moves forward now.
    pub(in crate::control) fn command(
        &self,
        rollout: usize,
        verb: Verb,
        order: &Ordered,
        wish: Wish,
        now_ms: u64,
    ) -> Result<Changed, Refused> {
        let standing = self.rollout(rollout);
        let moved = standing.state.command(&standing.plan, verb, now_ms);
        let held = self.held(rollout, now_ms);
        if let Some(held) = held.filter(|_| verb.moves_forward() || moved.is_err()) {
            let possible = self.possible(rollout, now_ms);
            let why = match &moved {
                Ok(_) => format!("{} is not possible: {held}", verb.as_str()),
                Err(Refused(why)) => format!("{}; {held}", why.split("; possible now").next().unwrap_or_default()),
            };
            return Err(Refused(format!("{why}; possible now: {possible}")));
        }
        let moved = moved?;
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

    /// What people may ask of a rollout now, in words.
    fn possible(&self, rollout: usize, now_ms: u64) -> String {
        let RolloutStanding { state, plan, .. } = self.rollout(rollout);
        let held = self.is_held(rollout, now_ms);
        let mut possible = state.possible(plan, now_ms);
        possible.retain(|word| !held || !MOVES_FORWARD.contains(word));
        possible.join(", ")
    }

    /// Between which variants a start moves weight. Who turns a rollout round names the side that has
    /// less: to begin with the other one would move users at once, and nobody would judge it.
    fn direction(&self, rollout: usize, order: &Ordered) -> Result<(usize, usize), Refused> {
        let Some((from, to)) = order.direction else {
            return Ok(self.next_pair(rollout));
        };
        let spec = &self.spec.rollouts[rollout];
        let weights = self.in_force_on(spec.route);
        if (from, to) != self.pair(rollout) && weights[to] >= weights[from] {
            let name = &self.spec.routes[spec.route].variants[to].name;
            return Err(Refused(format!(
                "{name} has at least as much weight already; start towards the other variant, or leave the direction out"
            )));
        }
        Ok((from, to))
    }

    /// Why the word of somebody with these roles counts for nothing at the gate that the rollout stands at.
    pub(in crate::control) fn unwanted(&self, rollout: usize, roles: &[String]) -> Option<String> {
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
    pub(in crate::control) fn approve(
        &self,
        rollout: usize,
        approval: Approval,
        wish: Wish,
        now_ms: u64,
    ) -> Result<Changed, Refused> {
        let RolloutStanding { state, plan, .. } = self.rollout(rollout);
        let Some(Needs::Approvals(gate)) = state.needs(plan) else {
            let phase = state.phase().as_str();
            let possible = self.possible(rollout, now_ms);
            return Err(Refused(format!(
                "no gate of this rollout waits for approvals now: it is {phase}; possible now: {possible}"
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

    /// Approvals count for as long as those who gave them are in `people`, and hold the roles they gave them in.
    pub(in crate::control) fn keep_approvals_of(&mut self, people: Option<&Tokens>) {
        let roles_of = |name: &str| {
            let token = people?.iter().find(|token| token.name.as_str() == name)?;
            Some(&token.roles)
        };
        for standing in self.standing.rollouts.values_mut() {
            standing.approvals.retain_mut(|approval| {
                let Some(held) = roles_of(&approval.by) else {
                    return false;
                };
                approval.roles.retain(|role| held.contains(role));
                true
            });
        }
    }

    /// Nothing moves forward from now on, or may again: then what the file brought meanwhile applies.
    pub(in crate::control) fn freeze(&self, frozen: bool, wish: Wish, now_ms: u64) -> Changed {
        let mut draft = Draft::new(self.clone(), wish, now_ms);
        draft.freeze(frozen);
        draft.finish()
    }

    /// A person sets checked weights, in file order, on a route.
    ///
    /// # Errors
    /// [`Refused`] where a rollout's phase does not allow it.
    pub(in crate::control) fn set_weights(
        &self,
        route: usize,
        weights: &[u32],
        wish: Wish,
        now_ms: u64,
    ) -> Result<Changed, Refused> {
        let Route { name, variants, .. } = &self.spec.routes[route];
        self.may_weigh(route, weights, now_ms)?;
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

    /// Weight may be taken from a canary at any time. By hand it gets more only where the rollout might give it
    /// more: not while all is frozen, not outside of its window, and not in front of people who have to approve.
    fn may_weigh(&self, route: usize, weights: &[u32], now_ms: u64) -> Result<(), Refused> {
        let Some(rollout) = self.rollout_on(route) else {
            return match &self.standing.frozen {
                Some(Freeze { by, .. }) => Err(Refused(format!("frozen by {by}; unfreeze first"))),
                None => Ok(()),
            };
        };
        if !self.raises(rollout, weights) {
            return Ok(());
        }
        let RolloutStanding { state, plan, .. } = self.rollout(rollout);
        let is_gated = state.phase() != Phase::Succeeded && plan.has_gate_from(state.step().unwrap_or(0));
        let gate = || "people have to approve before the canary gets more".to_owned();
        let Some(why) = self.shut(rollout, now_ms).or_else(|| is_gated.then(gate)) else {
            return Ok(());
        };
        let possible = self.possible(rollout, now_ms);
        Err(Refused(format!(
            "{why}: weights by hand may only be taken from it; possible now: {possible}"
        )))
    }

    /// Whether the canary's part of the split would be larger.
    fn raises(&self, rollout: usize, weights: &[u32]) -> bool {
        let (_, to) = self.pair(rollout);
        let part = |weights: &[u32]| {
            let sum: u64 = weights.iter().copied().map(u64::from).sum();
            (u128::from(weights[to]), u128::from(sum))
        };
        let now = self.in_force_on(self.spec.rollouts[rollout].route);
        let ((now, all_now), (then, all_then)) = (part(&now), part(weights));
        then * all_now > now * all_then
    }
}
