//! Flags: whether each is on, by the file, its schedule and people; and the weights of those without a route. Pure.

use super::{Changed, Ground};
use crate::config::{self, Route, Rules};
use crate::control::draft::{Draft, Wish};
use crate::control::standing::{FlagWeights, Freeze, SwitchedByHand};
use crate::control::weights::{by_name, declared, in_file_order};
use crate::name::Name;
use crate::rollout::{Phase, Refused, Schedule};
use crate::route::{CohortSpec, FlagId, Prerequisite};
use crate::share::{MILLION, shares};

impl Ground {
    /// Whether the flag with this key is on.
    pub(in crate::control) fn is_on(&self, flag: &Name) -> bool {
        self.standing.switches.get(flag).is_none_or(|switch| switch.on)
    }

    /// The variant of those whom a flag is not for: never an aborted canary.
    pub(in crate::control) fn default_of(&self, flag: FlagId) -> usize {
        let rollout = match flag {
            FlagId::Route(route) => self.rollout_on(route),
            FlagId::Own(_) => None,
        };
        let pair = rollout.map(|rollout| self.pair(rollout));
        let is_aborted = |rollout: usize| self.rollout(rollout).state.phase() == Phase::Aborted;
        let aborted = rollout.filter(|&rollout| is_aborted(rollout)).and(pair);
        let default = self.rules(flag).default;
        let default = default.filter(|&default| aborted.is_none_or(|(_, canary)| canary != default));
        default.or(pair.map(|(from, _)| from)).unwrap_or(0)
    }

    /// The flag that `flag` asks, and that never answers as it must: so everybody gets the default variant.
    pub(in crate::control) fn held_by(&self, flag: FlagId) -> Option<&Name> {
        let unmet = |asked: &&Prerequisite| {
            let other = self.rules(asked.flag);
            if !self.is_on(&other.flag) || self.held_by(asked.flag).is_some() {
                return self.default_of(asked.flag) != asked.variant;
            }
            let weights = match asked.flag {
                FlagId::Route(route) => self.in_force_on(route),
                FlagId::Own(own) => self.flag_weights(&self.spec.flags[own]),
            };
            let may_be_default = !other.prerequisites.is_empty() && self.default_of(asked.flag) == asked.variant;
            let leads_there = |cohort: &CohortSpec| cohort.to.leads_to(asked.variant);
            weights[asked.variant] == 0 && !may_be_default && !other.cohorts.iter().any(leads_there)
        };
        let held_by = self.rules(flag).prerequisites.iter().find(unmet)?;
        Some(&self.rules(held_by.flag).flag)
    }

    /// Why a flag gives everybody the default variant, whatever its weights; `None`: it does not.
    pub(in crate::control) fn gives_default(&self, flag: FlagId) -> Option<String> {
        let key = &self.rules(flag).flag;
        if !self.is_on(key) {
            return Some(format!("flag {key} is off"));
        }
        let held_by = self.held_by(flag)?;
        Some(format!("flag {key} is held by flag {held_by}"))
    }

    /// The part of each variant of a flag, 0 to 1, of those whom no cohort places.
    pub(in crate::control) fn shares(&self, flag: FlagId) -> Vec<f64> {
        let weights = match flag {
            FlagId::Route(route) => self.in_force_on(route),
            FlagId::Own(own) => self.flag_weights(&self.spec.flags[own]),
        };
        let all_to = |default: usize| {
            (0..weights.len())
                .map(|at| f64::from(u8::from(at == default)))
                .collect()
        };
        match self.gives_default(flag) {
            Some(_) => all_to(self.default_of(flag)),
            None => {
                let shares = shares(&weights).unwrap_or_else(|| vec![0; weights.len()]);
                shares
                    .into_iter()
                    .map(|ppm| f64::from(ppm) / f64::from(MILLION))
                    .collect()
            }
        }
    }

    pub(in crate::control) fn rules(&self, flag: FlagId) -> &Rules {
        match flag {
            FlagId::Route(route) => &self.spec.routes[route].rules,
            FlagId::Own(own) => &self.spec.flags[own].rules,
        }
    }

    /// The flag that applications call so.
    pub(in crate::control) fn flag_named(&self, key: &str) -> Option<FlagId> {
        let mut routes = self.spec.routes.iter();
        let mut own = self.spec.flags.iter();
        let route = routes.position(|route| route.rules.flag.as_str() == key);
        route
            .map(FlagId::Route)
            .or_else(|| own.position(|flag| flag.rules.flag.as_str() == key).map(FlagId::Own))
    }

    /// The weights in force of a flag without a route, in file order.
    pub(in crate::control) fn flag_weights(&self, flag: &config::Flag) -> Vec<u32> {
        let by_hand = self.standing.flag_weights.get(&flag.name);
        let file = || flag.variants.iter().map(|variant| variant.weight).collect();
        by_hand.map_or_else(file, |known| in_file_order(&flag.variants, &known.weights))
    }

    /// A person switches a flag. What is so already changes nothing, but the person's word stands from then on
    /// against the schedule.
    ///
    /// # Errors
    /// [`Refused`] where nothing may move forward, and the flag would be switched on. It can always be
    /// switched off.
    pub(in crate::control) fn switch(
        &self,
        flag: FlagId,
        enabled: bool,
        wish: Wish<'_>,
        now_ms: u64,
    ) -> Result<Changed, Refused> {
        if let Some(why) = self.shut_for(flag, now_ms).filter(|_| enabled) {
            return Err(Refused(format!("{why}: the flag may only be switched off")));
        }
        let mut draft = Draft::new(self.clone(), wish, now_ms);
        draft.switch_by_hand(
            flag,
            SwitchedByHand {
                enabled,
                by: wish.by.to_owned(),
                reason: wish.reason.to_owned(),
                at_ms: now_ms,
            },
        );
        Ok(draft.finish())
    }

    /// What the clock says of flags now: those that are due to be off, else those that are due to be on and may
    /// be. `None`: nothing is due. Asked ten times a second.
    pub(in crate::control) fn switch_due(&self, now_ms: u64) -> Option<(Changed, bool)> {
        let is_due = |on: bool| {
            let switches = self.standing.switches.iter();
            switches.filter(move |(_, switch)| switch.on != on && switch.wants(now_ms) == on)
        };
        let of = |on: bool| -> Vec<FlagId> {
            let due = is_due(on).filter_map(|(key, _)| self.flag_named(key.as_str()));
            due.filter(|&flag| !on || self.shut_for(flag, now_ms).is_none())
                .collect()
        };
        let (flags, on) = match of(false) {
            off if off.is_empty() => (of(true), true),
            off => (off, false),
        };
        if flags.is_empty() {
            return None;
        }
        let mut draft = Draft::new(self.clone(), Wish::SERIN, now_ms);
        for flag in flags {
            let (_, schedule, _) = self.flag_in_file(flag);
            let why = match schedule.enable_at_ms.or(schedule.disable_at_ms) {
                Some(_) => "its schedule says so",
                None => "the file says so, and nothing is frozen any more",
            };
            draft.put_switch(flag, on, why);
        }
        Some((draft.finish(), on))
    }

    /// A person sets checked weights, in file order, of a flag without a route.
    ///
    /// # Errors
    /// [`Refused`] while all is frozen.
    pub(in crate::control) fn set_flag_weights(
        &self,
        own: usize,
        weights: &[u32],
        wish: Wish<'_>,
        now_ms: u64,
    ) -> Result<Changed, Refused> {
        if let Some(why) = self.frozen_words() {
            return Err(Refused(format!("{why}; unfreeze first")));
        }
        let divides = weights.iter().filter(|&&weight| weight > 0).count() > 1;
        if let Some(route) = self.leaning_on(own).filter(|_| divides) {
            return Err(Refused(format!(
                "the route {route} asks this flag, and requests have no targeting key that could divide them; give one \
                 variant all the weight"
            )));
        }
        let flag = &self.spec.flags[own];
        let mut draft = Draft::new(self.clone(), wish, now_ms);
        draft.set_flag_weights(
            own,
            FlagWeights {
                declared: declared(&flag.variants),
                weights: by_name(&flag.variants, weights.iter().copied()),
            },
        );
        Ok(draft.finish())
    }

    /// A route that asks the flag without a route at `own`, be it by way of other such flags.
    fn leaning_on(&self, own: usize) -> Option<&Name> {
        let asks = |rules: &Rules, reached: &[bool]| {
            let in_cohorts = rules.cohorts.iter().flat_map(|cohort| &cohort.prerequisites);
            let mut all = rules.prerequisites.iter().chain(in_cohorts);
            all.any(|asked| matches!(asked.flag, FlagId::Own(other) if reached[other]))
        };
        let mut reached = vec![false; self.spec.flags.len()];
        reached[own] = true;
        // Each round reaches one flag more, or is the last.
        while let Some(more) = (0..reached.len()).find(|&at| !reached[at] && asks(&self.spec.flags[at].rules, &reached))
        {
            reached[more] = true;
        }
        let mut routes = self.spec.routes.iter();
        routes
            .find(|route| asks(&route.rules, &reached))
            .map(|route| &route.name)
    }

    /// Flags that the file alone switched off by being changed from this one to `next`.
    pub(super) fn switched_off_in(&self, next: &Self) -> Vec<FlagId> {
        let routes = (0..next.spec.routes.len()).map(FlagId::Route);
        let all = routes.chain((0..next.spec.flags.len()).map(FlagId::Own));
        let was_plain =
            |key: &Name| !self.standing.switches.contains_key(key) && self.flag_named(key.as_str()).is_some();
        all.filter(|&flag| {
            let (key, ..) = next.flag_in_file(flag);
            !next.is_on(key) && was_plain(key)
        })
        .collect()
    }

    /// What the file says of a flag's switch, and the route whose split it is.
    pub(in crate::control) fn flag_in_file(&self, flag: FlagId) -> (&Name, Schedule, Option<&Route>) {
        match flag {
            FlagId::Route(route) => {
                let route = &self.spec.routes[route];
                (&route.rules.flag, route.rules.schedule, Some(route))
            }
            FlagId::Own(own) => {
                let rules = &self.spec.flags[own].rules;
                (&rules.flag, rules.schedule, None)
            }
        }
    }

    /// Why a flag may not be switched on.
    fn shut_for(&self, flag: FlagId, now_ms: u64) -> Option<String> {
        let rollout = match flag {
            FlagId::Route(route) => self.rollout_on(route),
            FlagId::Own(_) => None,
        };
        match rollout {
            Some(rollout) => self.shut(rollout, now_ms),
            None => self.frozen_words(),
        }
    }

    fn frozen_words(&self) -> Option<String> {
        let Freeze { by, .. } = self.standing.frozen.as_ref()?;
        Some(format!("frozen by {by}"))
    }
}
