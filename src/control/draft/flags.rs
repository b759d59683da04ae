//! Switches of flags, and weights of those without a route, as one event changes them. Pure.

use super::Draft;
use crate::control::journal::{Happening, Kind};
use crate::control::standing::{FlagWeights, Standing, Switch, SwitchedByHand};
use crate::control::weights::{declared, in_file_order, in_words};
use crate::route::FlagId;

impl Draft<'_> {
    /// The file's flags meet what stands of them. Where the file says something else than it did when a person
    /// switched a flag, the file has the last word. What it switches on waits while all is frozen.
    pub(in crate::control) fn meet_flags(&mut self, known: &mut Standing) {
        let spec = self.ground.spec.clone();
        let routes = (0..spec.routes.len()).map(FlagId::Route);
        for flag in routes.chain((0..spec.flags.len()).map(FlagId::Own)) {
            let (key, schedule, _) = self.ground.flag_in_file(flag);
            let key = key.clone();
            let stored = known.switches.remove(&key);
            let was_on = stored.as_ref().map(|switch| switch.on);
            let is_same = stored.as_ref().is_some_and(|switch| switch.declared == schedule);
            let by_hand = stored.filter(|_| is_same);
            let mut switch = Switch {
                declared: schedule,
                by_hand: by_hand.and_then(|switch| switch.by_hand),
                on: was_on.unwrap_or(true),
            };
            let wants = switch.wants(self.now_ms);
            let waits = wants && !switch.on && self.ground.standing.frozen.is_some();
            switch.on = wants && !waits;
            let on = switch.on;
            if !switch.is_plain() {
                self.ground.standing.switches.insert(key, switch);
            }
            if was_on.is_some_and(|was| was != on) {
                let why = if is_same {
                    "its schedule says so"
                } else {
                    "the file says so"
                };
                self.tell_switch(flag, [!on, on], why);
            }
        }
        for (own, flag) in spec.flags.iter().enumerate() {
            let file = declared(&flag.variants);
            match known.flag_weights.remove(&flag.name) {
                Some(by_hand) if by_hand.declared == file => {
                    self.ground.standing.flag_weights.insert(flag.name.clone(), by_hand);
                }
                Some(by_hand) => {
                    let from = in_words(&flag.variants, &in_file_order(&flag.variants, &by_hand.weights));
                    self.tell_flag_weights(own, from, "changed in the file");
                }
                None => {}
            }
        }
    }

    /// A person's word: it stands until the file says something else.
    pub(in crate::control) fn switch_by_hand(&mut self, flag: FlagId, said: SwitchedByHand) {
        let (key, declared, _) = self.ground.flag_in_file(flag);
        let (key, on) = (key.clone(), said.enabled);
        let was = self.ground.is_on(&key);
        let switch = Switch {
            declared,
            by_hand: Some(said),
            on: was,
        };
        self.ground.standing.switches.insert(key, switch);
        self.put_switch(flag, on, "by hand");
    }

    /// A flag is on from now on, or off; it is told, also where it was so before.
    pub(in crate::control) fn put_switch(&mut self, flag: FlagId, on: bool, why: &str) {
        let (key, ..) = self.ground.flag_in_file(flag);
        let key = key.clone();
        let was = self.ground.is_on(&key);
        if let Some(switch) = self.ground.standing.switches.get_mut(&key) {
            switch.on = on;
        }
        self.tell_switch(flag, [was, on], why);
    }

    /// A person's weights of a flag without a route.
    pub(in crate::control) fn set_flag_weights(&mut self, own: usize, weights: FlagWeights) {
        let flag = &self.ground.spec.flags[own];
        let from = in_words(&flag.variants, &self.ground.flag_weights(flag));
        self.ground.standing.flag_weights.insert(flag.name.clone(), weights);
        self.tell_flag_weights(own, from, "set by hand");
    }

    /// Tells what a flag was and is.
    pub(in crate::control) fn tell_switch(&mut self, flag: FlagId, states: [bool; 2], why: &str) {
        let (key, _, route) = self.ground.flag_in_file(flag);
        let (key, route) = (key.clone(), route.map(|route| route.name.clone()));
        let rollout = match flag {
            FlagId::Route(route) => self.ground.rollout_on(route),
            FlagId::Own(_) => None,
        };
        let [from, to] = states.map(|on| if on { "enabled" } else { "disabled" }.to_owned());
        self.happenings.push(Happening {
            kind: Kind::Flag,
            by: self.wish.by.to_owned(),
            route,
            rollout: rollout.map(|rollout| self.ground.spec.rollouts[rollout].name.clone()),
            from,
            to,
            reason: self.wish.words(why.to_owned()),
            facts: vec![("flag", key.to_string())],
            seq: None,
            decided: false,
            verdict: None,
        });
    }

    fn tell_flag_weights(&mut self, own: usize, from: String, why: &str) {
        let flag = &self.ground.spec.flags[own];
        let to = in_words(&flag.variants, &self.ground.flag_weights(flag));
        let name = flag.name.to_string();
        let wish = self.wish;
        self.happenings.push(Happening {
            kind: Kind::Weights,
            by: wish.by.to_owned(),
            route: None,
            rollout: None,
            from,
            to,
            reason: wish.words(why.to_owned()),
            facts: vec![("flag", name)],
            seq: None,
            decided: false,
            verdict: None,
        });
    }
}
