//! What is asked about flags, and the views of them.

use tokio::time::Instant;

use super::controller::{Controller, unix_ms};
use super::draft::Wish;
use super::ground::Ground;
use super::handle::{Refusal, SetWeights};
use super::view::{ByHandView, FlagVariantView, FlagView};
use super::weights::check_posted;
use crate::config::Rules;
use crate::name::Name;
use crate::route::FlagId;

/// What somebody asks of a flag's switch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Switching<'a> {
    pub(super) flag: &'a str,
    pub(super) enabled: bool,
    /// The `If-Match` header as sent.
    pub(super) if_match: Option<&'a str>,
    /// Check and answer, change nothing.
    pub(super) dry_run: bool,
}

impl Controller {
    /// Every flag, those of routes first.
    pub(super) fn flags(&self) -> Vec<FlagView> {
        let spec = &self.ground.spec;
        let routes = (0..spec.routes.len()).map(FlagId::Route);
        let all = routes.chain((0..spec.flags.len()).map(FlagId::Own));
        all.map(|flag| self.flag_view(&self.ground, flag)).collect()
    }

    /// Checks in the order 404, 412, 409. Off: live first, as an abort is; on: durable first.
    pub(super) fn switch_flag(&mut self, asked: Switching<'_>, wish: Wish<'_>) -> Result<FlagView, Refusal> {
        let flag = self.find_flag(asked.flag)?;
        self.check_generation(asked.if_match)?;
        let changed = self.ground.switch(flag, asked.enabled, wish, unix_ms());
        let changed = changed.map_err(|refused| Refusal::Conflict(refused.0))?;
        if asked.dry_run {
            return Ok(self.flag_view(&changed.0, flag));
        }
        if asked.enabled {
            self.commit(changed).map_err(Refusal::Unavailable)?;
        } else {
            self.commit_abort(changed);
            self.keep_up(Instant::now());
            self.tell_outside();
        }
        Ok(self.flag_view(&self.ground, flag))
    }

    /// Weights of a flag: those of its route, where it has one. Checks in the order 404, 422, 412, 409.
    pub(super) fn set_flag_weights(&mut self, wanted: &SetWeights) -> Result<FlagView, Refusal> {
        let flag = self.find_flag(&wanted.route)?;
        let own = match flag {
            FlagId::Own(own) => own,
            FlagId::Route(route) => {
                let changed = self.set_route_weights(route, wanted)?;
                return Ok(self.flag_view(changed.as_ref().unwrap_or(&self.ground), flag));
            }
        };
        let variants = &self.ground.spec.flags[own].variants;
        let weights = check_posted(variants, &wanted.weights).map_err(Refusal::Invalid)?;
        self.check_generation(wanted.if_match.as_deref())?;
        let wish = Wish::of(&wanted.by, &wanted.reason);
        let changed = self.ground.set_flag_weights(own, &weights, wish, unix_ms());
        let changed = changed.map_err(|refused| Refusal::Conflict(refused.0))?;
        if wanted.dry_run {
            return Ok(self.flag_view(&changed.0, flag));
        }
        self.commit(changed).map_err(Refusal::Unavailable)?;
        Ok(self.flag_view(&self.ground, flag))
    }

    fn find_flag(&self, key: &str) -> Result<FlagId, Refusal> {
        let found = self.ground.flag_named(key);
        found.ok_or_else(|| Refusal::NotFound(format!("no flag is called {:?}", super::answers::words(key))))
    }

    /// A flag as it is in `ground`, which may be one that only might come.
    fn flag_view(&self, ground: &Ground, flag: FlagId) -> FlagView {
        let (key, schedule, route) = ground.flag_in_file(flag);
        let enabled = ground.is_on(key);
        let by_hand = ground
            .standing
            .switches
            .get(key)
            .and_then(|switch| switch.by_hand.as_ref());
        let rollout = match flag {
            FlagId::Route(route) => ground.rollout_on(route),
            FlagId::Own(_) => None,
        };
        let (rules, weights, names) = parts(ground, flag);
        let default = ground.default_of(flag);
        let shares = ground.shares(flag);
        let name_of = |asked: FlagId, variant: usize| match asked {
            FlagId::Route(route) => ground.spec.routes[route].variants[variant].name.clone(),
            FlagId::Own(own) => ground.spec.flags[own].variants[variant].name.clone(),
        };
        let prerequisites = rules.prerequisites.iter().map(|asked| {
            let other = ground.rules(asked.flag).flag.clone();
            (other, name_of(asked.flag, asked.variant))
        });
        let variants = names.iter().enumerate().map(|(at, (name, value))| FlagVariantView {
            name: (*name).clone(),
            value: value.cloned(),
            weight: weights[at],
            share: shares[at],
        });
        FlagView {
            key: key.clone(),
            route: route.map(|route| route.name.clone()),
            generation: self.publisher.generation(),
            enabled,
            schedule,
            by_hand: by_hand.map(|said| ByHandView {
                enabled: said.enabled,
                by: said.by.clone(),
                reason: said.reason.clone(),
                at_ms: said.at_ms,
            }),
            prerequisites: prerequisites.collect(),
            held_by: ground.held_by(flag).cloned(),
            default: names[default].0.clone(),
            variants: variants.collect(),
            cohorts: rules.cohorts.iter().map(|cohort| cohort.name.clone()).collect(),
            rollout: rollout.map(|index| {
                let name = ground.spec.rollouts[index].name.clone();
                (name, ground.rollout(index).state.phase())
            }),
        }
    }
}

type Named<'g> = Vec<(&'g Name, Option<&'g serde_json::Value>)>;

/// The rules of a flag, its weights in force, and its variants with what they mean.
fn parts(ground: &Ground, flag: FlagId) -> (&Rules, Vec<u32>, Named<'_>) {
    match flag {
        FlagId::Route(index) => {
            let route = &ground.spec.routes[index];
            let names = route.variants.iter();
            let names = names.map(|variant| (&variant.name, variant.value.as_ref()));
            (&route.rules, ground.in_force_on(index), names.collect())
        }
        FlagId::Own(own) => {
            let flag = &ground.spec.flags[own];
            let names = flag.variants.iter();
            let names = names.map(|variant| (&variant.name, variant.value.as_ref()));
            (&flag.rules, ground.flag_weights(flag), names.collect())
        }
    }
}
