//! Switches of flags: by people, by the file, by the clock.

use super::{ALICE, Story, file};
use crate::config::{Flag, FlagVariant, Rules, Spec};
use crate::control::fixture::{name, spec};
use crate::control::ground::Ground;
use crate::rollout::{Phase, Schedule, Verb};
use crate::route::{FlagId, Prerequisite};

/// The flag of the first route, which has the rollout.
const ROUTE: FlagId = FlagId::Route(0);
const OWN: FlagId = FlagId::Own(0);

fn with_flag(spec: &mut Spec) {
    let variant = |(text, weight)| FlagVariant {
        name: name(text),
        weight,
        value: None,
    };
    spec.flags.push(Flag {
        name: name("dark-mode"),
        variants: [("off", 100), ("on", 0)].map(variant).into(),
        rules: Rules::of(name("dark-mode")),
    });
}

impl Story {
    fn switch(mut self, flag: FlagId, enabled: bool) -> Self {
        let changed = self.ground.switch(flag, enabled, ALICE, self.now_ms).unwrap();
        self.take(changed);
        self
    }

    #[track_caller]
    fn cannot_be_switched_on(self, flag: FlagId, why: &str) -> Self {
        let refused = self.ground.switch(flag, true, ALICE, self.now_ms).unwrap_err();
        assert!(refused.0.contains(why), "{refused}");
        self
    }

    /// All that is due at `now_ms` happens.
    fn at(mut self, now_ms: u64) -> Self {
        self.now_ms = now_ms;
        while let Some((changed, _)) = self.ground.switch_due(now_ms) {
            self.take(changed);
            self.now_ms = now_ms;
        }
        self
    }

    #[track_caller]
    fn serves(self, flag: FlagId, expected: bool) -> Self {
        let index = match flag {
            FlagId::Route(route) => route,
            FlagId::Own(own) => self.ground.spec.routes.len() + own,
        };
        assert_eq!(
            self.ground.in_force()[index].enabled,
            expected,
            "{:?}",
            self.happenings.last()
        );
        self
    }
}

fn scheduled(enable_at_ms: Option<u64>, disable_at_ms: Option<u64>) -> impl Fn(&mut Spec) {
    move |spec| {
        spec.routes[0].rules.schedule = Schedule {
            enabled: true,
            enable_at_ms,
            disable_at_ms,
        };
    }
}

fn killed(spec: &mut Spec) {
    spec.routes[0].rules.schedule.enabled = false;
}

#[test]
fn a_person_switches_a_flag_and_it_stays_so_over_restarts_and_reloads() {
    file()
        .serves(ROUTE, true)
        .switch(ROUTE, false)
        .told("flag", "alice", "enabled", "disabled")
        .serves(ROUTE, false)
        .restart(|_| {})
        .serves(ROUTE, false)
        .reload(|spec| spec.routes[1].timeout *= 2)
        .serves(ROUTE, false)
        .switch(ROUTE, true)
        .told("flag", "alice", "disabled", "enabled")
        .serves(ROUTE, true)
        .restart(|_| {})
        .serves(ROUTE, true);
}

#[test]
fn the_file_has_the_last_word_when_it_says_something_else() {
    file()
        .reload(killed)
        .told("flag", "file", "enabled", "disabled")
        .serves(ROUTE, false)
        .switch(ROUTE, true)
        .serves(ROUTE, true)
        .restart(killed)
        .serves(ROUTE, true)
        .reload(|spec| spec.routes[0].rules.schedule = Schedule::default())
        .serves(ROUTE, true)
        .reload(killed)
        .serves(ROUTE, false)
        .reload(|spec| spec.routes[0].rules.schedule = Schedule::default())
        .told("flag", "file", "disabled", "enabled")
        .serves(ROUTE, true);
}

#[test]
fn the_clock_switches_a_flag() {
    Story::begin(spec(scheduled(Some(100), Some(200))))
        .serves(ROUTE, false)
        .at(99)
        .serves(ROUTE, false)
        .at(100)
        .told("flag", "serin", "disabled", "enabled")
        .serves(ROUTE, true)
        .at(200)
        .told("flag", "serin", "enabled", "disabled")
        .serves(ROUTE, false)
        .at(300)
        .serves(ROUTE, false);
}

#[test]
fn what_a_person_switched_off_no_clock_switches_on() {
    let story = Story::begin(spec(scheduled(Some(100), None))).switch(ROUTE, false);
    story.at(150).serves(ROUTE, false).restart(|_| {}).serves(ROUTE, false);
}

#[test]
fn while_all_is_frozen_a_flag_can_only_be_switched_off() {
    Story::begin(spec(scheduled(Some(100), None)))
        .freeze(true)
        .at(150)
        .serves(ROUTE, false)
        .cannot_be_switched_on(ROUTE, "frozen by alice")
        .restart(|_| {})
        .serves(ROUTE, false)
        .freeze(false)
        .at(151)
        .serves(ROUTE, true);
    let story = file().freeze(true).switch(ROUTE, false).serves(ROUTE, false);
    story.cannot_be_switched_on(ROUTE, "frozen by alice");
}

#[test]
fn a_rollout_waits_while_its_flag_is_off() {
    use crate::analysis::VerdictKind::Pass;
    let story = file().command(Verb::Start).switch(ROUTE, false);
    let weights = story.ground.in_force()[0].weights.clone();
    let story = story.tick(Pass, 60).tick(Pass, 60);
    assert_eq!(story.ground.in_force()[0].weights, weights);
    assert!(story.ground.waiting(0, story.now_ms).unwrap().contains("is off"));
    let story = story.switch(ROUTE, true).tick(Pass, 60);
    assert_ne!(story.ground.in_force()[0].weights, weights);
}

#[test]
fn an_abort_works_while_the_flag_is_off_and_to_switch_it_on_revives_nobody() {
    file()
        .command(Verb::Start)
        .switch(ROUTE, false)
        .command(Verb::Abort)
        .switch(ROUTE, true)
        .stands(Phase::Aborted, [1_000_000, 0]);
}

#[test]
fn each_abort_voids_what_was_drawn_for_clients() {
    let aborts = |story: &Story| story.ground.in_force()[0].trial.as_ref().map(|trial| trial.aborts);
    let story = file().command(Verb::Start);
    assert_eq!(aborts(&story), Some(0));
    let story = story.command(Verb::Abort);
    assert_eq!(aborts(&story), Some(1));
    let story = story.restart(|_| {}).command(Verb::Retry);
    assert_eq!(aborts(&story), Some(1));
}

#[test]
fn a_flag_without_a_route_has_switch_and_weights_of_its_own() {
    let weights = |ground: &Ground| ground.in_force().last().unwrap().weights.clone();
    let mut story = Story::begin(spec(with_flag))
        .serves(OWN, true)
        .switch(OWN, false)
        .serves(OWN, false);
    story = story.switch(OWN, true).serves(OWN, true);
    assert_eq!(weights(&story.ground), [100, 0]);
    let changed = story
        .ground
        .set_flag_weights(0, &[90, 10], ALICE, story.now_ms)
        .unwrap();
    story.take(changed);
    story = story
        .told("weights", "alice", "off=100 on=0", "off=90 on=10")
        .restart(|_| {});
    assert_eq!(weights(&story.ground), [90, 10]);
    // What the file says anew counts.
    story = story.reload(|spec| spec.flags[0].variants[1].weight = 50);
    assert_eq!(weights(&story.ground), [100, 50]);
    story = story.freeze(true);
    assert!(story.ground.set_flag_weights(0, &[1, 1], ALICE, story.now_ms).is_err());
}

#[test]
fn a_flag_that_is_gone_is_forgotten() {
    let story = Story::begin(spec(with_flag))
        .switch(OWN, false)
        .reload(|spec| spec.flags.clear());
    let story = story.reload(with_flag);
    story.serves(OWN, true);
}

#[test]
fn a_flag_that_a_route_asks_is_not_divided_by_hand() {
    let leaning = |spec: &mut Spec| {
        with_flag(spec);
        spec.routes[1].rules.prerequisites = vec![Prerequisite { flag: OWN, variant: 0 }];
    };
    let story = Story::begin(spec(leaning));
    let set = |weights: [u32; 2]| story.ground.set_flag_weights(0, &weights, ALICE, 1).map(|_| ());
    let refused = set([1, 1]).unwrap_err();
    assert!(refused.0.contains("one variant all the weight"), "{refused}");
    set([0, 1]).unwrap();
}

#[test]
fn time_while_the_flag_is_off_is_no_bake_time() {
    use crate::analysis::VerdictKind::Pass;
    let story = file().command(Verb::Start).tick(Pass, 4);
    let baked = |story: &Story| story.ground.rollout(0).state.baked().as_secs();
    assert_eq!(baked(&story), 4);
    let story = story.switch(ROUTE, false).tick(Pass, 60);
    assert_eq!(baked(&story), 4);
    let story = story.switch(ROUTE, true).tick(Pass, 1);
    assert_eq!(baked(&story), 5);
}

/// The route with the rollout asks that `dark-mode` is `on`, which has all the weight.
fn asking(spec: &mut Spec) {
    with_flag(spec);
    for (variant, weight) in spec.flags[0].variants.iter_mut().zip([0, 1]) {
        variant.weight = weight;
    }
    spec.routes[0].rules.prerequisites = vec![Prerequisite { flag: OWN, variant: 1 }];
}

#[test]
fn a_rollout_waits_while_a_flag_that_its_route_asks_cannot_answer_as_it_must() {
    use crate::analysis::VerdictKind::Pass;
    let story = Story::begin(spec(asking)).command(Verb::Start);
    assert_eq!(story.ground.held_by(ROUTE), None);
    let weights = story.ground.in_force()[0].weights.clone();
    let check = |story: Story| {
        assert_eq!(story.ground.held_by(ROUTE), Some(&name("dark-mode")));
        assert_eq!(story.ground.shares(ROUTE), [1.0, 0.0]);
        let story = story.tick(Pass, 60).tick(Pass, 60);
        assert_eq!(story.ground.in_force()[0].weights, weights);
        let waiting = story.ground.waiting(0, story.now_ms).unwrap();
        assert!(waiting.contains("is held by flag dark-mode"), "{waiting}");
        story
    };
    let story = check(story.switch(OWN, false)).switch(OWN, true);
    let mut story = story;
    let changed = story.ground.set_flag_weights(0, &[1, 0], ALICE, story.now_ms).unwrap();
    story.take(changed);
    let mut story = check(story);
    let changed = story.ground.set_flag_weights(0, &[0, 1], ALICE, story.now_ms).unwrap();
    story.take(changed);
    assert_eq!(story.ground.held_by(ROUTE), None);
    assert_ne!(story.tick(Pass, 60).ground.in_force()[0].weights, weights);
}

#[test]
fn a_flag_that_is_off_gives_everybody_the_default() {
    let story = file().by_hand([50, 50]).switch(ROUTE, false);
    assert_eq!(story.ground.shares(ROUTE), [1.0, 0.0]);
    let story = story.switch(ROUTE, true);
    assert_eq!(story.ground.shares(ROUTE), [0.5, 0.5]);
}

#[test]
fn it_is_told_why_a_flag_was_switched() {
    let story = file()
        .reload(killed)
        .freeze(true)
        .reload(|spec| spec.routes[0].rules.schedule = Schedule::default());
    let story = story.serves(ROUTE, false).freeze(false).at(1_000).serves(ROUTE, true);
    let reason = &story.happenings.last().unwrap().reason;
    assert!(reason.contains("nothing is frozen any more"), "{reason}");
}
